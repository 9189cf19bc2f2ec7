//! What a database server is told of scans that it groups.

use super::{settings, table};
use crate::query::dialect::prepare;
use crate::query::plan::{ServerScan, Settings, Work, plan};

fn scan(sql: &str) -> Option<ServerScan> {
    let settings = Settings {
        on_server: true,
        ..settings()
    };
    let made = plan(&prepare(sql).expect(sql), &[&table("t")], &[], &settings).expect(sql);
    match made.work {
        Work::Groups { scans, .. } => scans.into_iter().next()?.server,
        other => panic!("{other:?}"),
    }
}

fn told(sql: &str) -> String {
    serde_json::to_string(&scan(sql).expect(sql)).expect("JSON")
}

#[test]
fn columns_and_conditions_are_told_in_parts() {
    assert_eq!(
        told(
            "select name, sum(value) from t where timestamp >= '2025-01-01' and not (id = 2 or -3 > id) group by name"
        ),
        concat!(
            r#"{"shown":[{"column":"name"},{"column":"value"}],"#,
            r#""condition":{"and":[{"compare":["timestamp",">=",{"time":1735689600000000}]},"#,
            r#"{"not":{"or":[{"compare":["id","=",{"int":"2"}]},{"compare":["id","<",{"int":"-3"}]}]}}]}}"#
        )
    );
    assert_eq!(
        told("select count(*) from t where name in ('a', \"b\") and value is not null"),
        concat!(
            r#"{"shown":[],"condition":{"and":[{"in":["name",[{"text":"a"},{"text":"b"}]]},"#,
            r#"{"not":{"is_null":"value"}}]}}"#
        )
    );
}

#[test]
fn what_means_something_else_to_another_engine_is_not_told() {
    for sql in [
        "select sum(value + 1) from t",
        "select count(*) from t where name like 'a%'",
        "select count(*) from t where name = 5",
        "select count(*) from t where value = '5'",
        "select count(*) from t where id = 99999999999999999999",
        "select count(*) from t where id in (1, null)",
        "select count(*) from t where abs(id) = 1",
        "select count(*) from t where id = value",
    ] {
        assert_eq!(scan(sql), None, "{sql}");
    }
}
