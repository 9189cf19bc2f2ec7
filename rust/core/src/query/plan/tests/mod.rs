//! Statements to plans, as text. What the plans answer is tested against the vectors, over real databases.

mod faults;
mod network;
mod server;

use super::*;
use crate::query::catalogue::{Column, Partition};
use crate::query::dialect::prepare;
use crate::query::time::{DAY, parse_instant};

fn at(text: &str) -> i64 {
    parse_instant(text, &Zone::Utc).expect("a time")
}

pub fn table(name: &str) -> Table {
    let columns = [
        ("row_id", "bigint"),
        ("insert_timestamp", "timestamp"),
        ("tsd_name", "char(3)"),
        ("tsd_id", "int"),
        ("timestamp", "timestamp"),
        ("id", "int"),
        ("name", "varchar"),
        ("value", "float"),
        ("open", "boolean"),
        ("day", "date"),
    ];
    Table {
        dbms: "edge".to_owned(),
        name: name.to_owned(),
        columns: columns
            .iter()
            .map(|(name, kind)| Column {
                name: (*name).to_owned(),
                kind: Kind::of(kind),
                stored: Some((*name).to_owned()),
            })
            .collect(),
        partitions: Vec::new(),
        own: true,
        indexed: Some("timestamp".to_owned()),
    }
}

pub fn by_day(name: &str, days: i64) -> Table {
    let partitions = (0..days).map(|day| Partition {
        name: format!("p{day}"),
        column: "timestamp".to_owned(),
        start_us: at("2025-01-01") + day * DAY,
        end_us: at("2025-01-01") + (day + 1) * DAY,
    });
    Table {
        partitions: partitions.collect(),
        ..table(name)
    }
}

pub fn settings() -> Settings {
    Settings {
        dbms: "edge".to_owned(),
        now_us: at("2025-06-01"),
        local: Zone::Utc,
        extend: Vec::new(),
        reference_order: false,
        leading: None,
        also: None,
        on_server: false,
        part: Part::Whole,
    }
}

pub fn planned(sql: &str, table: &Table) -> Result<Plan> {
    plan(&prepare(sql)?, &[table], &[], &settings())
}

pub fn planned_as(sql: &str, table: &Table, part: Part) -> Result<Plan> {
    let settings = Settings { part, ..settings() };
    plan(&prepare(sql)?, &[table], &[], &settings)
}

/// The statement over rows, or the merge.
fn sql_of(sql: &str) -> String {
    match planned(sql, &table("t")).expect(sql).work {
        Work::Rows { sql } | Work::Leading { sql } | Work::Engine { sql } => sql,
        Work::Groups { merge, .. } => merge,
        other @ (Work::Network(_) | Work::Elsewhere { .. }) => panic!("{other:?}"),
    }
}

fn scan_of(sql: &str) -> String {
    match planned(sql, &table("t")).expect(sql).work {
        Work::Groups { scans, .. } => scans[0].sql.clone(),
        other => panic!("{other:?}"),
    }
}

fn condition(text: &str) -> String {
    let sql = sql_of(&format!("select id from t where {text}"));
    sql.split_once(" WHERE ").expect("a condition").1.to_owned()
}

#[test]
fn rows_are_one_statement() {
    assert_eq!(
        sql_of("SELECT Name, value AS v FROM t WHERE ID=2 ORDER BY v DESC, timestamp LIMIT 3;"),
        r#"SELECT "name", "value" FROM "t" WHERE "id" = 2 ORDER BY "value" DESC, "timestamp" LIMIT 3"#
    );
    assert_eq!(
        sql_of("select top 2 value from t order by 1"),
        r#"SELECT "value" FROM "t" ORDER BY "value" LIMIT 2"#
    );
    assert_eq!(
        sql_of("select distinct(name) as nm from edge.t order by nm"),
        r#"SELECT DISTINCT "name" FROM "t" ORDER BY "name""#
    );
}

#[test]
fn a_condition_besides_bounds_every_table_that_is_read() {
    let also = crate::query::dialect::condition("id <= 7 or name = 'x'").expect("a condition");
    let settings = Settings {
        also: Some(also),
        ..settings()
    };
    let sql = |text: &str| {
        let table = by_day("t", 2);
        let made = plan(&prepare(text).expect(text), &[&table], &[], &settings).expect(text);
        match made.work {
            Work::Groups { scans, .. } => scans.into_iter().map(|s| s.sql).collect(),
            Work::Rows { sql } | Work::Leading { sql } => vec![sql],
            other => panic!("{other:?}"),
        }
    };
    let also = r#"WHERE ("id" <= 7) OR ("name" = 'x')"#;
    for one in sql("select sum(value) from t") {
        assert!(one.ends_with(also), "{one}");
    }
    let both = r#"(("value" > 1) OR ("id" = 2)) AND (("id" <= 7) OR ("name" = 'x'))"#;
    for one in sql("select value from t where value > 1 or id = 2") {
        assert_eq!(one.matches(both).count(), 2, "{one}");
    }
    let leading = sql("select value from t where period(minute, 1, '2025-01-01', timestamp)");
    assert_eq!(
        leading[0].matches(r#""name" = 'x'"#).count(),
        1,
        "{leading:?}"
    );
}

#[test]
fn titles_are_as_written() {
    let titles = |sql: &str| -> Vec<String> {
        let plan = planned(sql, &table("t")).expect(sql);
        plan.outputs.into_iter().map(|o| o.title).collect()
    };
    assert_eq!(
        titles(
            "select MIN(Value), COUNT(*) , avg( value )::float(2), 'A b' , id as \"The Id\" from t group by id"
        ),
        ["min(value)", "count(*)", "avg( value )", "'A b'", "The Id"]
    );
    assert_eq!(titles("select count(*) as c as c from t;"), ["c"]);
    assert_eq!(titles("select distinct(name) from t"), ["distinct(name)"]);
    assert_eq!(titles("select * from t").len(), 10);
}

#[test]
fn texts_beside_times_become_instants() {
    let us = at("2025-01-02").to_string();
    assert_eq!(
        condition("timestamp >= '2025-01-02 00:00:00'"),
        format!(r#""timestamp" >= {us}"#)
    );
    assert_eq!(
        condition("timestamp > \"2025-01-01\" + 1d"),
        format!(r#""timestamp" > {us}"#)
    );
    assert_eq!(
        condition("timestamp between '2025-01-02' and '2025-01-02T00:00:00Z'"),
        format!(r#""timestamp" BETWEEN {us} AND {us}"#)
    );
    assert_eq!(
        condition("timestamp in ('2025-01-02')"),
        format!(r#""timestamp" IN ({us})"#)
    );
    assert_eq!(
        condition("day = date('2025-01-02 10:00:00')"),
        r#""day" = '2025-01-02'"#
    );
    assert_eq!(
        condition("id = '5' and open = 'true'"),
        r#"("id" = 5) AND ("open" = 1)"#
    );
    assert_eq!(condition("name = \"b\""), r#""name" = 'b'"#);
    assert_eq!(condition("name like 'a%_*'"), r#""name" GLOB 'a*?[*]'"#);
    assert!(
        condition("strftime('%H', timestamp) = '10'")
            .starts_with("strftime('%H', (strftime('%Y-%m-%dT")
    );
}

#[test]
fn operators_bind_as_they_were_read() {
    assert_eq!(
        condition("(id = 1 or id = 2) and not value + 1 * 2 > 3"),
        r#"(("id" = 1) OR ("id" = 2)) AND (NOT (("value" + (1 * 2)) > 3))"#
    );
}

#[test]
fn groups_have_scans_and_a_merge() {
    assert_eq!(
        scan_of("select name, avg(value), max(value), count(*) from t where id > 1 group by name"),
        r#"SELECT "name", "value" FROM "t" WHERE "id" > 1"#
    );
    assert_eq!(
        sql_of(
            "select name as n, avg(value) from t group by n having count(*) > 3 order by max(value) desc"
        ),
        "SELECT c0, c1 FROM edgelake_batch WHERE c2 > 3 ORDER BY c3 DESC, c0"
    );
    assert_eq!(
        sql_of("select sum(value) / count(*) + 1 as x from t"),
        "SELECT (c0 / c1) + 1 FROM edgelake_batch"
    );
    assert_eq!(
        sql_of("select name, count(*) as c from t group by name having c > 1 and name <> 'a'"),
        "SELECT c0, c1 FROM edgelake_batch WHERE (c1 > 1) AND (c0 <> 'a') ORDER BY c0"
    );
    assert_eq!(
        scan_of("select count(*), name from t group by name"),
        r#"SELECT "name" FROM "t""#
    );
}

#[test]
fn what_an_index_knows_needs_no_rows() {
    assert_eq!(
        scan_of("select count(*) from t where id = 3"),
        r#"SELECT count(*) FROM "t" WHERE "id" = 3"#
    );
    assert_eq!(
        scan_of("select count(*), max(timestamp) from t"),
        r#"SELECT (SELECT count(*) FROM "t"), (SELECT max("timestamp") FROM "t")"#
    );
    assert_eq!(
        scan_of("select max(value) from t"),
        r#"SELECT "value" FROM "t""#
    );
}

#[test]
fn increments_come_first_and_order_last() {
    let sql = "select increments(day, 1, timestamp), name, min(timestamp) as mn from t group by name order by mn desc";
    let plan = planned(sql, &table("t")).expect("a plan");
    assert_eq!(plan.increments, Some((Unit::Day, 1)));
    match plan.work {
        Work::Groups { spec, merge, .. } => {
            assert!(matches!(
                spec.keys[0],
                crate::query::spec::Key::Bucket { column: 0, .. }
            ));
            assert_eq!(
                merge,
                "SELECT c1, c2 FROM edgelake_batch ORDER BY c2 DESC, c0, c1"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn optimised_increments_take_their_span_from_where() {
    let unit = |sql: &str| planned(sql, &table("t")).map(|p| p.increments);
    let sql = |list: &str, limits: &str| {
        format!("select increments({list}), count(*) from t where {limits}")
    };
    let day = "timestamp >= '2025-01-01' and timestamp < '2025-01-02'";
    assert_eq!(unit(&sql("timestamp, 10", day)), Ok(Some((Unit::Hour, 2))));
    assert_eq!(unit(&sql("10, timestamp", day)), Ok(Some((Unit::Hour, 2))));
    assert_eq!(
        unit(&sql("timestamp", "timestamp > now() - 3 hours")),
        Ok(Some((Unit::Second, 11)))
    );
    assert!(unit(&sql("timestamp", "id = 1")).is_err());
}

#[test]
fn partitions_are_united() {
    let partitioned = by_day("t", 5);
    let sql = |text: &str| match planned(text, &partitioned).expect(text).work {
        Work::Rows { sql } | Work::Leading { sql } => sql,
        other => panic!("{other:?}"),
    };
    let us = at("2025-01-04");
    assert_eq!(
        sql("select value from t where timestamp >= '2025-01-04' order by timestamp limit 1"),
        format!(
            "SELECT o0 FROM (SELECT \"value\" AS o0, \"timestamp\" AS k0 FROM \"p3\" WHERE \"timestamp\" >= {us} \
             UNION ALL SELECT \"value\" AS o0, \"timestamp\" AS k0 FROM \"p4\" WHERE \"timestamp\" >= {us}) \
             ORDER BY k0 LIMIT 1"
        )
    );
    assert_eq!(
        sql("select value from t where timestamp > '2026-01-01'"),
        "SELECT NULL LIMIT 0"
    );
    assert!(
        sql("select value from t where period(day, 1, '2025-01-02', timestamp)")
            .starts_with("SELECT max(m) FROM (SELECT max(\"timestamp\") AS m FROM \"p0\"")
    );
    match planned("select count(*) from t", &by_day("t", 900))
        .expect("a plan")
        .work
    {
        Work::Groups { scans, .. } => assert_eq!(scans.len(), 900),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_period_takes_two_steps() {
    let prepared = prepare(
        "select value from t where period(hour, 1, now(), timestamp, and id = 2) and value > 1",
    )
    .expect("a select");
    let mut settings = settings();
    let table = table("t");
    let first = plan(&prepared, &[&table], &[], &settings).expect("a plan");
    assert_eq!(
        first.work,
        Work::Leading {
            sql: format!(
                "SELECT max(m) FROM (SELECT max(\"timestamp\") AS m FROM \"t\" WHERE (\"timestamp\" <= {}) AND (\"id\" = 2))",
                at("2025-06-01")
            )
        }
    );
    settings.leading = Some(Leading(Some(at("2025-02-01"))));
    let second = plan(&prepared, &[&table], &[], &settings).expect("a plan");
    assert_eq!(
        second.work,
        Work::Rows {
            sql: format!(
                "SELECT \"value\" FROM \"t\" WHERE (\"timestamp\" > {}) AND (\"timestamp\" <= {}) AND (\"id\" = 2) AND (\"value\" > 1)",
                at("2025-01-31T23:00:00Z"),
                at("2025-02-01")
            )
        }
    );
    settings.leading = Some(Leading(None));
    let empty = plan(&prepared, &[&table], &[], &settings).expect("a plan");
    assert_eq!(
        empty.work,
        Work::Rows {
            sql: "SELECT \"value\" FROM \"t\" WHERE 0".to_owned()
        }
    );
}

#[test]
fn include_and_extend() {
    let prepared = prepare("select value, count(*) from t group by value").expect("a select");
    let mut other = table("u");
    "db2".clone_into(&mut other.dbms);
    other.columns.retain(|c| c.name != "value");
    let mut settings = settings();
    settings.extend.push(Extend {
        title: "table_name".to_owned(),
        value: Constant::TableName,
        kind: Kind::Text,
        casts: Vec::new(),
    });
    let made = plan(&prepared, &[&table("t")], &[&other], &settings).expect("a plan");
    match made.work {
        Work::Groups { scans, merge, .. } => {
            assert_eq!(scans[0].sql, "SELECT 't', \"value\" FROM \"t\"");
            assert_eq!(scans[1].sql, "SELECT 'u', NULL FROM \"u\"");
            assert_eq!(scans[1].dbms, "db2");
            assert_eq!(
                merge,
                "SELECT c0, c1, c2 FROM edgelake_batch ORDER BY c0, c1"
            );
        }
        other => panic!("{other:?}"),
    }
    let all = prepare("select * from t").expect("a select");
    assert!(matches!(
        plan(&all, &[&table("t")], &[&other], &settings),
        Err(QueryError::IncludeMismatch(_))
    ));
}

#[test]
fn engines_get_what_the_dialect_lacks() {
    let (a, b) = (table("a"), by_day("b", 2));
    let prepared = prepare(
        "select a.id, max(b.timestamp) as last, strftime('%H', a.timestamp) as h from a join b on a.id = b.id \
         where a.timestamp >= '2025-01-02' and b.timestamp > now() - 1 day group by a.id",
    )
    .expect("a select");
    let made = plan(&prepared, &[&a, &b], &[], &settings()).expect("a plan");
    let Work::Engine { sql } = made.work else {
        panic!("{:?}", made.work)
    };
    assert!(
        sql.starts_with("WITH edgelake_parts_0 AS (SELECT \"row_id\" AS \"row_id\","),
        "{sql}"
    );
    assert!(
        sql.contains(&format!("a.timestamp >= {}", at("2025-01-02"))),
        "{sql}"
    );
    assert!(
        sql.contains(&format!("b.timestamp > {}", at("2025-05-31"))),
        "{sql}"
    );
    assert!(
        sql.contains("FROM \"a\" AS \"a\" JOIN \"edgelake_parts_0\" AS \"b\""),
        "{sql}"
    );
    let kinds: Vec<(&str, Kind)> = made
        .outputs
        .iter()
        .map(|o| (o.title.as_str(), o.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            ("id", Kind::Int),
            ("last", Kind::Timestamp),
            ("h", Kind::Text)
        ]
    );
}

#[test]
fn changes_compare_instants_too() {
    let changed = |sql: &str| change(sql, &table("t"), at("2025-06-01"), Zone::Utc);
    let us = at("2025-01-02");
    assert_eq!(
        changed("DELETE FROM t WHERE timestamp < '2025-01-02' AND name = 'A'"),
        Ok(format!(
            "DELETE FROM t WHERE (timestamp < {us}) AND (name = 'A')"
        ))
    );
    assert_eq!(
        changed("update t set timestamp = '2025-01-01' + 1 day, name = '2025-01-01' where id = 1;"),
        Ok(format!(
            "UPDATE t SET timestamp = {us}, name = '2025-01-01' WHERE id = 1"
        ))
    );
    let insert = "insert into t (timestamp) values ('2025-01-02')";
    assert_eq!(changed(insert), Ok(insert.to_owned()));
    assert!(changed("delete from t where timestamp < 'tomorrow'").is_err());
}
