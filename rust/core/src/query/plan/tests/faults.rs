//! Statements that are wrong, and texts that are none.

use proptest::prelude::*;

use super::{by_day, planned, settings, table};
use crate::query::dialect::prepare;
use crate::query::error::QueryError;
use crate::query::plan::plan;

#[test]
fn faults_are_named() {
    for sql in [
        "select nocol from t",
        "select value from t where nosuch = 1",
        "select value from t order by nosuch",
        "select a.value from t a limit 1",
        "select name, value as v from t where v > 5",
        "select value, value from t",
        "select value fro t",
        "select value from t where",
        "selec value from t",
        "select name, count(*) from t",
        "select increments(day, 1, timestamp) from t",
        "select increments(days, 1, timestamp), count(*) from t",
        "select increments(day, 0, timestamp), count(*) from t",
        "select increments(day, 1, nosuch), count(*) from t",
        "select increments(day, 1, value), count(*) from t",
        "select value from t where timestamp > 'tomorrow'",
        "select value from t where timestamp > 5",
        "select value from t where count(*) > 5",
        "select sum(name) from t",
        "select value from t limit 1 per name",
        "select value from t limit 'x'",
        "select value from t order by 2",
        "select value::float(2) + 1 from t",
        "select value from t where period(day, 1, now())",
        "select value from t where period(day, 1, now(), value)",
        "select value from t; drop table t",
        "select increments(day, 1, timestamp), count(*) from t where period(day, 1, now(), timestamp)",
        "select value from t where id in (select increments(day, 1, timestamp) from t)",
        "select , value from t",
        "select value from t where value = 1 + 3 days",
    ] {
        match prepare(sql).and_then(|p| plan(&p, &[&table("t")], &[], &settings())) {
            Err(QueryError::Parse(text)) => assert!(text.len() > 10, "{sql}: {text}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
    assert!(matches!(
        prepare("select value::nosuch from t"),
        Err(QueryError::UnknownCast(_))
    ));
}

#[test]
fn deep_and_long_statements_are_refused_or_planned() {
    let deep = format!(
        "select value from t where {}id = 1{}",
        "(".repeat(900),
        ")".repeat(900)
    );
    let chain = format!(
        "select value from t where id = 1{}",
        " or id = 2".repeat(400)
    );
    let not = format!("select value from t where {}id = 1", "not ".repeat(900));
    let too_many = format!(
        "select value from t where id = 1{}",
        " or id = 2".repeat(40_000)
    );
    assert!(planned(&chain, &table("t")).is_ok());
    for sql in [deep, not, too_many] {
        assert!(
            prepare(&sql)
                .and_then(|p| plan(&p, &[&table("t")], &[], &settings()))
                .is_err()
        );
    }
}

const PIECES: [&str; 60] = [
    "select",
    "from",
    "t",
    "where",
    "group by",
    "order by",
    "having",
    "limit",
    "per",
    "top",
    "distinct",
    "as",
    "and",
    "or",
    "not",
    "in",
    "between",
    "like",
    "is null",
    "case",
    "when",
    "then",
    "end",
    "(",
    ")",
    ",",
    "*",
    "::",
    "::float(",
    "+",
    "-",
    "=",
    "<",
    ">=",
    "1",
    "3d",
    "0",
    "99999999999999999999",
    "'2025-01-01'",
    "'",
    "\"",
    "\"x\"",
    "value",
    "timestamp",
    "name",
    "increments(",
    "period(",
    "count(",
    "min(",
    "avg(",
    "now()",
    "date(",
    "day",
    "minute",
    "date_trunc('hour',",
    "extract(hour from",
    "interval '1 day'",
    "union all",
    "join",
    ";",
];

proptest! {
    #[test]
    fn no_text_makes_the_planner_panic(text in "\\PC{0,120}") {
        for sql in [text.clone(), format!("select {text} from t"), format!("select value from t where {text}")] {
            let _ = prepare(&sql).and_then(|p| plan(&p, &[&table("t")], &[], &settings()));
        }
    }

    #[test]
    fn no_mix_of_words_makes_the_planner_panic(at in proptest::collection::vec(0..PIECES.len(), 0..24)) {
        let text = at.iter().map(|i| PIECES[*i]).collect::<Vec<_>>().join(" ");
        let partitioned = by_day("t", 3);
        for sql in [text.clone(), format!("select {text}"), format!("select value from t where {text}")] {
            let _ = prepare(&sql).and_then(|p| plan(&p, &[&partitioned], &[], &settings()));
        }
    }
}
