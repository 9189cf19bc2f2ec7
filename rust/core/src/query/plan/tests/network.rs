//! What travels to other nodes, and what becomes of their rows.

use super::{planned_as, table};
use crate::query::plan::{Merge, Network, Part, Work};
use crate::query::value::Kind;

fn network(sql: &str) -> Network {
    match planned_as(sql, &table("t"), Part::Query).expect(sql).work {
        Work::Network(network) => network,
        other => panic!("{other:?}"),
    }
}

fn merged(sql: &str) -> String {
    match network(sql).merge {
        Merge::Rows { sql } | Merge::Groups { sql, .. } => sql,
        other @ Merge::Pass { .. } => panic!("{other:?}"),
    }
}

#[test]
fn aggregates_are_taken_apart() {
    let sql = "select name, avg(value), count(*), range(value) from t where id = 2 group by name";
    let found = network(sql);
    assert_eq!(
        found.statement,
        "select name, sum(value), count(value), count(*), min(value), max(value) from t where id = 2 group by name"
    );
    assert_eq!(
        found.kinds,
        [
            Kind::Text,
            Kind::Float,
            Kind::Int,
            Kind::Int,
            Kind::Float,
            Kind::Float
        ]
    );
    assert_eq!(
        merged(sql),
        "SELECT c0, (CAST(c1 AS REAL) / nullif(c2, 0)), coalesce(c3, 0), abs(c5 - c4) FROM edgelake_batch ORDER BY c0"
    );
}

#[test]
fn different_values_are_grouped_by() {
    assert_eq!(
        network("select count(distinct name), sum(value) from t").statement,
        "select name, sum(value) from t group by name"
    );
}

#[test]
fn times_travel_as_instants() {
    assert_eq!(
        network(
            "select id from t where timestamp >= '2025-01-01 10:00' and timestamp < now() - 1 day"
        )
        .statement,
        "select id from t where timestamp >= '2025-01-01T10:00:00.000000Z' \
         AND timestamp < '2025-05-31T00:00:00.000000Z'"
    );
}

#[test]
fn orders_and_limits_go_to_both_sides() {
    let sql = "select name from t order by value desc limit 3 offset 2";
    assert_eq!(
        network(sql).statement,
        "select name, value from t ORDER BY value DESC limit 5"
    );
    assert_eq!(
        merged(sql),
        "SELECT c0 FROM edgelake_batch ORDER BY c1 DESC LIMIT 3 OFFSET 2"
    );
    let passed = network("select name from t limit 3").merge;
    assert_eq!(
        passed,
        Merge::Pass {
            limit: Some(3),
            offset: 0
        }
    );
}

#[test]
fn leaves_show_buckets() {
    let sql = "select increments(minute, 5, timestamp), max(value) from t";
    let outputs = planned_as(sql, &table("t"), Part::Leaf).expect(sql).outputs;
    let kinds: Vec<Kind> = outputs.iter().map(|o| o.kind).collect();
    assert_eq!(kinds, [Kind::Text, Kind::Int, Kind::Float]);
    assert_eq!(
        network(sql).kinds,
        [Kind::Timestamp, Kind::Int, Kind::Float]
    );
}

#[test]
fn what_one_node_has_to_run_travels_whole_with_absolute_times_and_titles() {
    let sql = "select a.name, count(*) as n from t a join t b on a.id = b.id \
               where a.timestamp >= '2025-01-01 10:00' group by a.name order by n";
    let plan = planned_as(sql, &table("t"), Part::Query).expect(sql);
    let Work::Elsewhere { statement, reason } = plan.work else {
        panic!("{:?}", plan.work);
    };
    assert_eq!(reason, "a join");
    assert_eq!(
        statement,
        "SELECT a.name AS \"name\", count(*) AS \"n\" FROM t a JOIN t b ON a.id = b.id \
         WHERE a.timestamp >= '2025-01-01T10:00:00.000000Z' GROUP BY a.name ORDER BY n"
    );
    let star = "select * from t a join t b on a.id = b.id";
    let failure = planned_as(star, &table("t"), Part::Query).expect_err(star);
    assert!(
        failure.to_string().contains("names its columns"),
        "{failure}"
    );
}
