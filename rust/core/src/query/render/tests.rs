use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::spec::LineEnd;
use super::super::time::SECOND;
use super::super::value::Val;
use super::*;

const NEW_YEAR: i64 = 1_767_225_600 * SECOND; // 2026-01-01T00:00:00Z

/// A spec from (title, kind, casts), with the options of a JSON object.
fn spec(outputs: &[(&str, &str, &[&str])], options: &Value) -> Render {
    let outputs: Vec<Value> = outputs
        .iter()
        .map(|(title, kind, casts)| json!({"title": title, "kind": kind, "casts": casts}))
        .collect();
    let mut whole = json!({"outputs": outputs, "zone": "utc"});
    if let (Some(whole), Some(options)) = (whole.as_object_mut(), options.as_object()) {
        whole.extend(options.clone());
    }
    serde_json::from_value(whole).expect("a spec")
}

fn print(spec: Render, rows: &[Vec<Val>]) -> String {
    let mut renderer = Renderer::new(spec, NEW_YEAR).expect("a spec");
    let mut out = Vec::new();
    for row in rows {
        renderer.row(&mut out, &row[..]).expect("a row");
    }
    renderer.finish(&mut out, 3723);
    String::from_utf8(out).expect("a text")
}

fn two(options: &Value) -> String {
    let rows = [
        vec![Val::Int(1), Val::text("x")],
        vec![Val::Null, Val::text("y\"\n")],
    ];
    print(
        spec(&[("a", "int", &[]), ("b", "text", &[])], options),
        &rows,
    )
}

#[test]
fn json_formats_with_and_without_statistics() {
    let rows = r#"{"a": 1, "b": "x"},{"a": "", "b": "y\"\n"}"#;
    assert_eq!(two(&json!({})), format!(r#"{{"Query": [{rows}]}}"#));
    assert_eq!(
        two(&json!({"statistics": true})),
        format!(
            "{{\"Query\": [{rows}],\n\"Statistics\":[{{\"Count\": 2,\"Time\":\"01:02:03\",\"Nodes\": 1}}]}}"
        )
    );
    let lines = rows.replace("},{", "},\n{");
    assert_eq!(two(&json!({"format": "json:list"})), format!("[{lines}]"));
    let statistics = "\n{\"Statistics\":[{\"Count\": 2,\"Time\":\"01:02:03\",\"Target Nodes\": 3,\"Participating Nodes\": 2}]}";
    let nodes = json!({"target": 3, "participating": 2});
    assert_eq!(
        two(&json!({"format": "json:list", "statistics": true, "nodes": nodes})),
        format!("[{lines}]{statistics}")
    );
    let lines = rows.replace("},{", "}\n{").replace("\"\"", "null");
    assert_eq!(
        two(
            &json!({"format": "json:output", "statistics": true, "nodes": nodes, "json_null": "null"})
        ),
        format!("{lines}{statistics}")
    );
}

#[test]
fn csv_is_quoted_where_it_must_be_and_tells_null_from_nothing() {
    let csv = json!({"format": "csv"});
    assert_eq!(two(&csv), "a,b\n1,x\n,\"y\"\"\n\"\n");
    let outputs: &[(&str, &str, &[&str])] = &[("a, b", "text", &[])];
    assert_eq!(print(spec(outputs, &csv), &[]), "\"a, b\"\n");
    let long = "\"".repeat(1000);
    let texts = ["", ",", "\r", "é", &long];
    let rows: Vec<Vec<Val>> = texts.iter().map(|t| vec![Val::text(t)]).collect();
    let quoted = "\"\"".repeat(1000);
    assert_eq!(
        print(spec(outputs, &csv), &rows),
        format!("\"a, b\"\n\"\"\n\",\"\n\"\r\"\né\n\"{quoted}\"\n")
    );
}

#[test]
fn the_console_gets_its_line_ends() {
    let options = json!({"format": "table", "statistics": true, "line_end": "cr_lf"});
    let expected = "\na    b\n---- --- \n   1 x\nnull y\"\n\n\n{\"Statistics\":[{\"Count\": 2,\n                \"Time\":\"01:02:03\",\n                \"Nodes\": 1}]}";
    let got = two(&options);
    // The break inside the value is the value's own.
    assert_eq!(got.replace("\r\n", "\n"), expected);
    assert_eq!(got.matches('\n').count() - got.matches("\r\n").count(), 1);
    let spec = spec(&[("a", "int", &[])], &options);
    assert_eq!(spec.line_end, LineEnd::CrLf);
}

#[test]
fn empty_results() {
    for format in ["json", "json:list", "json:output", "table"] {
        let outputs: &[(&str, &str, &[&str])] = &[("a", "int", &[])];
        let silent = spec(outputs, &json!({"format": format}));
        assert_eq!(print(silent, &[]), r#"{"reply" : "Empty data set"}"#);
        let counted = spec(outputs, &json!({"format": format, "statistics": true}));
        assert_eq!(
            print(counted, &[]),
            "\n{\"Statistics\":[{\"Count\": 0,\"Time\":\"01:02:03\",\"Nodes\": 1}]}"
        );
    }
}

#[test]
fn tables_of_the_vectors() {
    let values = [4.0, 6.0, 10.0, 20.0, 100.0];
    let table = json!({"format": "table"});
    let value = ("value", "float", &[][..]);
    let name = ("name", "text", &[][..]);
    let rows: Vec<Vec<Val>> = values.map(|v| vec![Val::Float(v)]).into();
    assert_eq!(
        print(spec(&[value], &table), &rows),
        "\nvalue\n----- \n  4.0 \n  6.0 \n 10.0 \n 20.0 \n100.0 \n"
    );
    let rows: Vec<Vec<Val>> = values.map(|v| vec![Val::text("b"), Val::Float(v)]).into();
    assert_eq!(
        print(spec(&[name, value], &table), &rows),
        "\nname value\n---- ----- \nb      4.0 \nb      6.0 \nb     10.0 \nb     20.0 \nb    100.0 \n"
    );
    let rows: Vec<Vec<Val>> = values.map(|v| vec![Val::Float(v), Val::text("b")]).into();
    assert_eq!(
        print(spec(&[value, name], &table), &rows),
        "\nvalue name\n----- ---- \n  4.0 b\n  6.0 b\n 10.0 b\n 20.0 b\n100.0 b\n"
    );
}

#[test]
fn a_last_short_block_keeps_the_widths_of_the_rows_before() {
    // Block 1: row 0 is the widest, row 20 the next. Block 2 has one row, which replaces row 0 only.
    let rows: Vec<Vec<Val>> = (0..26)
        .map(|at| {
            let width = if at == 0 {
                9
            } else if at == 20 {
                5
            } else {
                1
            };
            vec![Val::text(&"x".repeat(width)), Val::text("é")]
        })
        .collect();
    let printed = print(
        spec(
            &[("a", "text", &[]), ("b", "text", &[])],
            &json!({"format": "table"}),
        ),
        &rows,
    );
    let lines: Vec<&str> = printed.split('\n').collect();
    assert_eq!(lines[2], "--------- - ");
    assert_eq!(lines[3], "xxxxxxxxx é");
    assert_eq!(&lines[28..], ["", "a     b", "----- - ", "x     é", ""]);
}

#[test]
fn cells_stand_on_the_right_when_they_are_short_numbers() {
    let texts = [
        "-1,234.5",
        "1-2",
        "12345678901234567890",
        "1234567890123456789",
        "",
        "-",
        "1e5",
    ];
    let rows: Vec<Vec<Val>> = texts.map(|t| vec![Val::text(t), Val::Int(1)]).into();
    let printed = print(
        spec(
            &[("a", "text", &[]), ("b", "int", &[])],
            &json!({"format": "table"}),
        ),
        &rows,
    );
    let starts: Vec<bool> = printed
        .lines()
        .skip(3)
        .map(|l| l.starts_with("   "))
        .collect();
    assert_eq!(starts, [true, false, false, false, true, false, false]);
    assert!(printed.contains("\n 1234567890123456789 1 \n"));
}

#[test]
fn values_by_kind() {
    let cases = [
        ("bool", Val::Int(1), "true"),
        ("bool", Val::Int(0), "false"),
        ("bool", Val::Int(7), "7"),
        ("float", Val::Int(4), "4.0"),
        (
            "float",
            Val::Float(-1.039_999_961_853_027_3),
            "-1.0399999618530273",
        ),
        ("decimal", Val::Int(4), "4"),
        ("decimal", Val::Float(4.5), "4.5"),
        ("int", Val::Int(i64::MIN), "-9223372036854775808"),
        ("any", Val::Float(f64::INFINITY), "\"Infinity\""),
        ("any", Val::Blob((*b"\x00\xff").into()), "\"00ff\""),
        ("text", Val::text("ä\u{1}\\"), "\"ä\\u0001\\\\\""),
        ("text", Val::Int(5), "5"),
        (
            "timestamp",
            Val::Int(NEW_YEAR),
            "\"2026-01-01 00:00:00.000000\"",
        ),
        (
            "timestamp",
            Val::text("2026-01-01 00:00:00"),
            "\"2026-01-01 00:00:00.000000\"",
        ),
        ("timestamp", Val::text("soon"), "\"soon\""),
        ("date", Val::text("2026-01-01"), "\"2026-01-01\""),
    ];
    for (kind, value, expected) in cases {
        let options = json!({"format": "json:output"});
        let got = print(spec(&[("a", kind, &[])], &options), &[vec![value]]);
        assert_eq!(got, format!("{{\"a\": {expected}}}"), "{kind}");
    }
}

#[test]
fn times_in_the_zone_unless_cast() {
    let rows = [vec![Val::Int(NEW_YEAR), Val::Int(NEW_YEAR), Val::Null]];
    let outputs: &[(&str, &str, &[&str])] = &[
        ("t", "timestamp", &[]),
        ("c", "timestamp", &["ljust(19)"]),
        ("n", "timestamp", &["ljust(19)"]),
    ];
    let in_zone = spec(outputs, &json!({"format": "json:output", "zone": "et"}));
    assert_eq!(
        print(in_zone, &rows),
        r#"{"t": "2025-12-31 19:00:00.000000", "c": "2026-01-01T00:00:00", "n": ""}"#
    );
    let iso = spec(outputs, &json!({"format": "json:output", "iso": true}));
    assert_eq!(
        print(iso, &rows),
        r#"{"t": "2026-01-01T00:00:00.000000Z", "c": "2026-01-01T00:00:00", "n": ""}"#
    );
}

#[test]
fn casts_see_other_columns_and_their_own_value_so_far() {
    let outputs: &[(&str, &str, &[&str])] = &[
        ("lo", "float", &["float(1)", "function([lo] + [hi])"]),
        ("hi", "float", &["int"]),
        ("since", "timestamp", &["timediff(now())"]),
        ("flag", "bool", &["replace(tr by T)"]),
    ];
    let rows = [vec![
        Val::Float(1.26),
        Val::Float(0.5),
        Val::Int(NEW_YEAR - SECOND),
        Val::Int(1),
    ]];
    assert_eq!(
        print(spec(outputs, &json!({"format": "json:output"})), &rows),
        r#"{"lo": 1.8, "hi": 0, "since": "00:00:01.00000", "flag": "Tue"}"#
    );
    let missing = spec(&[("a", "int", &["function([b] + 1)"])], &json!({}));
    assert!(matches!(
        Renderer::new(missing, 0),
        Err(QueryError::CastFailed(_))
    ));
    let failing = spec(&[("a", "text", &["int"])], &json!({}));
    let mut renderer = Renderer::new(failing, 0).expect("a spec");
    let row = [Val::text("x")];
    assert!(matches!(
        renderer.row(&mut Vec::new(), &row[..]),
        Err(QueryError::CastFailed(_))
    ));
}

#[test]
fn a_limit_per_value_counts_a_column_that_is_not_printed() {
    let options = json!({"format": "json:output", "per_column_limit": [1, 2], "statistics": true});
    let rows: Vec<Vec<Val>> = [(1, "a"), (2, "b"), (3, "a"), (4, "a"), (5, "b"), (6, "b")]
        .map(|(v, n)| vec![Val::Int(v), Val::text(n)])
        .into();
    let printed = print(spec(&[("v", "int", &[])], &options), &rows);
    assert!(printed.starts_with(
        "{\"v\": 1}\n{\"v\": 2}\n{\"v\": 3}\n{\"v\": 5}\n{\"Statistics\":[{\"Count\": 4,"
    ));
}

proptest! {
    /// Whatever the values are, every json format parses and gives them back.
    #[test]
    fn json_gives_the_values_back(
        rows in prop::collection::vec((any::<i64>(), ".{0,12}", any::<f64>().prop_filter("finite", |f| f.is_finite())), 1..20),
    ) {
        let outputs: &[(&str, &str, &[&str])] = &[("i\"", "int", &[]), ("t", "text", &[]), ("f", "float", &[])];
        let values: Vec<Vec<Val>> =
            rows.iter().map(|(i, t, f)| vec![Val::Int(*i), Val::text(t), Val::Float(*f)]).collect();
        let expected: Vec<Value> = rows.iter().map(|(i, t, f)| json!({"i\"": i, "t": t, "f": f})).collect();
        for format in ["json", "json:list", "json:output"] {
            let printed = print(spec(outputs, &json!({"format": format})), &values);
            let parsed: Value = match format {
                "json" => serde_json::from_str::<Value>(&printed).expect("JSON")["Query"].clone(),
                "json:list" => serde_json::from_str(&printed).expect("JSON"),
                _ => printed.lines().map(|l| serde_json::from_str::<Value>(l).expect("JSON")).collect(),
            };
            prop_assert_eq!(parsed, Value::Array(expected.clone()));
        }
    }
}
