//! Policies as whole programs.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::*;
use crate::rows::Cell;
use crate::rows::time::Zone;

fn program(policies: &Value, imported: &Value) -> Program {
    let spec = json!({"topics": [{"name": "#", "policies": policies}], "imported": imported});
    Program::compile(&spec).expect("a program")
}

fn map(program: &Program, topic: &str, payload: &str) -> Mapped {
    let mapped = program.map(topic, payload.as_bytes(), 1_000_000, &Zone::UTC, None);
    mapped.expect("rows")
}

/// `table: {column: value}` of every row, as JSON.
fn rows(mapped: &Mapped) -> Vec<String> {
    let of_target = |target: &Target| {
        let lines = target.chunk.to_json_lines(0..target.chunk.len);
        let lines = String::from_utf8(lines).expect("text");
        let named = lines
            .lines()
            .map(|line| format!("{}.{}: {line}", target.dbms, target.table));
        named.collect::<Vec<_>>()
    };
    mapped.targets.iter().flat_map(of_target).collect()
}

#[test]
fn tags_become_a_row_for_each_table_and_id() {
    let policy = json!([{"transform": {
        "id": "tr", "re_match": "(\\w+)\\.(\\w+)\\.(\\w+)", "dbms": "plant", "table": "re.group(2)",
        "column": "c_re.group(3)", "schema": {
            "timestamp": {"type": "timestamp", "bring": "[ts]", "default": "now()"},
            "id": {"type": "str", "value": "re.group(1)"}}}}]);
    let program = program(&policy, &Value::Null);
    let mapped = map(
        &program,
        "t",
        r#"{"G1.Pump.Speed": 1, "G2.Pump.Speed": 3, "zz": 4, "G1.Pump.Temp": "hot", "G1.Fan.Speed": 2}"#,
    );
    assert_eq!(
        rows(&mapped),
        [
            r#"plant.pump: {"id": "G1", "timestamp": "1970-01-01T00:00:01.000000Z", "c_speed": 1, "c_temp": "hot"}"#,
            r#"plant.pump: {"id": "G2", "timestamp": "1970-01-01T00:00:01.000000Z", "c_speed": 3}"#,
            r#"plant.fan: {"id": "G1", "timestamp": "1970-01-01T00:00:01.000000Z", "c_speed": 2}"#,
        ]
    );
    assert!(map(&program, "t", r#"{"zz": 1}"#).targets.is_empty());
    for (key, value) in [
        ("re_match", "("),
        ("re_match", ""),
        ("table", ""),
        ("column", "re.group(4)"),
        ("dbms", "re.group(x)"),
    ] {
        let mut wrong = policy.clone();
        wrong[0]["transform"][key] = value.into();
        let spec = json!({"topics": [{"name": "t", "policies": wrong}]});
        assert_eq!(
            Program::compile(&spec).expect_err(value).code,
            124,
            "{key} {value}"
        );
    }
}

#[test]
fn topics_without_mapping_keep_messages_as_they_come() {
    let spec = json!({"topics": [
        {"name": "line/#", "dbms": "Plant 1", "dynamic": true},
        {"name": "raw/#", "dbms": "10.0.0.1", "persist": true}]});
    let program = Program::compile(&spec).expect("a program");
    for (topic, payload, row) in [
        (
            "line/a/Motor-1",
            r#"{"Speed": 1.5, "on": true}"#,
            r#"plant_1.motor_1: {"speed": 1.5, "on": true}"#,
        ),
        (
            "line/temp",
            "21.5",
            r#"plant_1.temp: {"timestamp": "1970-01-01T00:00:01.000000Z", "value": 21.5}"#,
        ),
        (
            "line/state",
            "running fast",
            r#"plant_1.state: {"timestamp": "1970-01-01T00:00:01.000000Z", "value": "running fast"}"#,
        ),
        (
            "line/state",
            "True",
            r#"plant_1.state: {"timestamp": "1970-01-01T00:00:01.000000Z", "value": true}"#,
        ),
        (
            "line/state",
            "\"7\"",
            r#"plant_1.state: {"timestamp": "1970-01-01T00:00:01.000000Z", "value": 7}"#,
        ),
        (
            "raw/a",
            r#"{"x": {"y": 1}}"#,
            r#"10_0_0_1.raw_a: {"x": "{\"y\": 1}"}"#,
        ),
    ] {
        assert_eq!(
            rows(&map(&program, topic, payload)),
            [row],
            "{topic} {payload}"
        );
    }
    let many = map(&program, "line/temp", "[1, 2]");
    assert_eq!((many.messages, many.rows()), (2, 2));
    let none = program.map("line/temp", b"\xff", 0, &Zone::UTC, None);
    assert_eq!(none.expect_err("no text").code(), 299);
}

#[test]
fn scripts_hand_over_to_imported_policies_and_leave_commands() {
    let schema = |name: &str| json!({"v": {"type": "int", "bring": "[v]"}, name: {"type": "str", "default": "x"}});
    let imported = json!({
        "p2": {"mapping": {"id": "p2", "dbms": "d", "table": "second", "schema": schema("b"),
                           "import": {"third": "p3"}, "script": ["if [kind] == 3 then change policy third"]}},
        "p3": {"mapping": {"id": "p3", "dbms": "d", "table": "third", "schema": schema("c")}}});
    let policy = json!([{"mapping": {"id": "p1", "dbms": "d", "table": "first", "schema": schema("a"),
        "import": {"second": "p2"},
        "script": ["x = incr !x", "if [kind] >= 2 then streaming data change policy second", "print never"]}}]);
    let program = program(&policy, &imported);
    for (kind, row) in [
        (1, r#"d.first: {"v": 7, "a": "x"}"#),
        (2, r#"d.second: {"v": 7, "b": "x"}"#),
        (3, r#"d.third: {"v": 7, "c": "x"}"#),
    ] {
        let mapped = map(&program, "t", &format!(r#"{{"kind": {kind}, "v": 7}}"#));
        assert_eq!(rows(&mapped), [row]);
        let lines: Vec<&str> = mapped.commands.iter().map(|c| c.line.as_str()).collect();
        let expected: &[&str] = if kind == 1 {
            &["x = incr !x", "print never"]
        } else {
            &["x = incr !x"]
        };
        assert_eq!(lines, expected);
    }
    let lost = json!({"topics": [{"name": "t", "policies": policy}]});
    let error = Program::compile(&lost).expect_err("p2 is not there");
    assert!(error.message.contains("p2"), "{}", error.message);
    let mut circle = imported.clone();
    circle["p3"]["mapping"]["import"] = json!({"again": "p2"});
    let spec = json!({"topics": [{"name": "t", "policies": policy}], "imported": circle});
    assert!(Program::compile(&spec).is_err());
}

#[test]
fn contents_of_blob_columns_may_be_hexadecimal() {
    let column =
        json!({"blob": true, "bring": "[data]", "apply": "hexdecoding", "type": "varchar"});
    let policy =
        json!([{"mapping": {"id": "p", "dbms": "d", "table": "t", "schema": {"file": column}}}]);
    let program = program(&policy, &Value::Null);
    for (text, content) in [
        ("00fFa1", Some(&[0, 0xff, 0xa1][..])),
        (" 0a\n", Some(&[10])),
        ("0", None),
        ("0g", None),
        ("\u{e9}", None),
    ] {
        let kept = Mutex::new(None);
        let keep = |source: BlobSource<'_>| {
            let BlobSource::Message { name, content } = source else {
                return Err("no message".to_owned());
            };
            *kept.lock().expect("held") = Some(content.to_vec());
            Ok(name.to_owned())
        };
        let payload = json!({"data": text}).to_string();
        let mapped = program.map("t", payload.as_bytes(), 0, &Zone::UTC, Some(&keep));
        assert_eq!(
            mapped.expect("an object").rows(),
            usize::from(content.is_some())
        );
        assert_eq!(kept.into_inner().expect("held").as_deref(), content);
    }
    let lone = json!([{"mapping": {"id": "p", "dbms": "d", "table": "t", "schema":
        {"x": {"type": "varchar", "apply": "hexdecoding"}}}}]);
    let error = Program::compile(&json!({"topics": [{"name": "t", "policies": lone}]}));
    assert!(error.expect_err("no blob").message.contains("blob = true"));
}

#[test]
fn lists_of_pixels_become_images() {
    let policy = |apply: &Value| {
        let mut column = json!({"bring": "[data]", "apply": "opencv", "type": "varchar"});
        for (key, value) in apply.as_object().expect("an object") {
            column[key] = value.clone();
        }
        json!([{"mapping": {"id": "p", "dbms": "d", "table": "t", "schema": {"file": column}}}])
    };
    let program = program(
        &policy(&json!({"blob": true, "extension": "png"})),
        &Value::Null,
    );
    let kept = Mutex::new(Vec::new());
    let keep = |source: BlobSource<'_>| {
        let BlobSource::Message { name, content } = source else {
            return Err("no message".to_owned());
        };
        let content = content.to_vec();
        kept.lock().expect("held").push((name.to_owned(), content));
        Ok(name.to_owned())
    };
    let map = |payload: &str| {
        let mapped = program.map("t", payload.as_bytes(), 0, &Zone::UTC, Some(&keep));
        mapped.expect("an object")
    };
    // The same image, as a list and as the text of one.
    for payload in [
        r#"{"data": [[0,255], [7, 8]]}"#,
        r#"{"data": "[[0, 255], [7, 8]]"}"#,
    ] {
        assert_eq!(map(payload).rows(), 1);
    }
    let kept = std::mem::take(&mut *kept.lock().expect("held"));
    assert_eq!(kept[0], kept[1]);
    let hash = crate::names::payload_hash("d", "t", b"[[0, 255], [7, 8]]");
    assert_eq!(kept[0].0, format!("d.t.{hash}.png"));
    assert!(kept[0].1.starts_with(b"\x89PNG"));
    for (data, reason) in [
        ("[[1], [2, 3]]", "row 2"),
        ("[[256]]", "'256'"),
        ("\"x\"", "list of rows"),
        ("7", "list of rows"),
    ] {
        let mapped = map(&format!("{{\"data\": {data}}}"));
        assert_eq!(mapped.rows(), 0);
        let said = &mapped.rejected[0].reason;
        assert!(said.contains(reason), "{data}: {said}");
    }
    for (spec, part) in [
        (json!({}), "blob = true"),
        (json!({"blob": true}), "png, jpg or bmp, not ''"),
        (json!({"blob": true, "extension": "mp4"}), "not 'mp4'"),
    ] {
        let error =
            Program::compile(&json!({"topics": [{"name": "t", "policies": policy(&spec)}]}));
        let said = error.expect_err("no image").message;
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn contents_of_blob_columns_are_kept_before_their_row() {
    let policy = json!([{"mapping": {"id": "p", "dbms": "edgex", "table": "image", "schema": {
        "file": {"blob": true, "bring": "[data]", "extension": "png", "apply": "base64decoding",
                 "hash": "md5", "type": "varchar"}}}}]);
    let program = program(&policy, &Value::Null);
    let kept = Mutex::new(Vec::new());
    let keep = |source: BlobSource<'_>| {
        let BlobSource::Message { name, content } = source else {
            return Err("no message".to_owned());
        };
        if content == b"full" {
            return Err("no room".to_owned());
        }
        kept.lock()
            .expect("held")
            .push((name.to_owned(), content.to_vec()));
        Ok(name.to_owned())
    };
    let map = |payload: &str| {
        let mapped = program.map("t", payload.as_bytes(), 0, &Zone::UTC, Some(&keep));
        mapped.expect("an object")
    };
    let mapped = map(r#"{"data": "aGVsbG8="}"#);
    let name = "b8537d4d6e827ff72d6214d1b41428de.png";
    let column = mapped.targets[0].chunk.column("file").expect("file");
    assert_eq!(column.cell(0), Cell::Text(name));
    let expected = [(format!("edgex.image.{name}"), b"hello".to_vec())];
    assert_eq!(*kept.lock().expect("held"), expected);
    for (payload, reason) in [
        (r#"{"data": "ZnVsbA=="}"#, "no room"),
        (r#"{"data": "?"}"#, "base64"),
    ] {
        let mapped = map(payload);
        assert_eq!(mapped.rows(), 0);
        assert!(
            mapped.rejected[0].reason.contains(reason),
            "{:?}",
            mapped.rejected
        );
    }
}
