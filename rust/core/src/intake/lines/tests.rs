use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

/// 2026-01-02 00:00:00 UTC.
const NOW_US: i64 = 1_767_312_000_000_000;

fn rule(name: &str) -> LineRule {
    LineRule {
        name: name.into(),
        ip: None,
        port: None,
        header: None,
        dbms: "d".into(),
        table: "t".into(),
        format: LineFormat::Plain,
        extend_ip: false,
        topic: None,
        included: false,
    }
}

fn peer(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Rows as JSON, fed in pieces of `size` bytes.
fn rows(rule: LineRule, text: &str, size: usize) -> Vec<String> {
    let mut lines = Lines::new(Arc::new(rule), peer("10.0.0.1:5").ip());
    let mut found = Vec::new();
    let mut add = |rows: Option<MappedRows>| {
        let text = rows
            .map(|r| r.chunk.to_json_lines(0..r.chunk.len))
            .unwrap_or_default();
        let text = String::from_utf8(text).expect("text");
        found.extend(text.lines().map(str::to_owned));
    };
    for piece in text.as_bytes().chunks(size) {
        add(lines.feed(piece, NOW_US));
    }
    add(lines.finish(NOW_US));
    found
}

#[test]
fn the_nearest_rule_is_found_and_a_header_decides() {
    let rules = Rules::default();
    assert!(rules.find(peer("10.0.0.1:514"), b"x").is_none());
    rules.set(rule("any"));
    rules.set(LineRule {
        header: Some("al.".into()),
        ..rule("header")
    });
    rules.set(LineRule {
        ip: Some("10.0.0.1".into()),
        ..rule("ip")
    });
    rules.set(LineRule {
        ip: Some("10.0.0.1".into()),
        port: Some(514),
        ..rule("both")
    });
    let name = |address: &str, first: &[u8]| {
        let found = rules.find(peer(address), first);
        found.map(|rule| rule.name.clone()).unwrap_or_default()
    };
    assert_eq!(name("10.0.0.1:514", b"al."), "both");
    assert_eq!(name("10.0.0.1:9", b"al."), "ip");
    assert_eq!(name("[::ffff:10.0.0.1]:9", b""), "ip");
    assert_eq!(name("10.0.0.2:9", b"al.sl.header"), "header");
    assert_eq!(name("10.0.0.2:9", b"<34>"), "any");
    assert_eq!(rules.header_bytes(), 3);
    assert!(rules.remove("any") && !rules.remove("any"));
    assert_eq!(name("10.0.0.2:9", b"<34>"), "");
}

#[test]
fn lines_of_every_form_become_rows_however_they_are_cut() {
    let bsd = LineRule {
        format: LineFormat::Bsd,
        header: Some("al.sl ".into()),
        extend_ip: true,
        ..rule("bsd")
    };
    let ietf = LineRule {
        format: LineFormat::Ietf,
        ..rule("ietf")
    };
    let included = LineRule {
        included: true,
        ..rule("included")
    };
    for size in [1, 7, 1000] {
        assert_eq!(
            rows(
                bsd.clone(),
                "al.sl <34>Dec  1 22:14:15 host su[7]: it's \"bad\": x\r\nal.sl <5>Dec 11 01:02:03.5 h no tag\n\nodd",
                size
            ),
            [
                r#"{"source_ip": "10.0.0.1", "priority": 34, "timestamp": "2025-12-01T22:14:15.000000Z", "hostname": "host", "tag": "su[7]", "message": "it's \"bad\": x"}"#,
                r#"{"source_ip": "10.0.0.1", "priority": 5, "timestamp": "2025-12-11T01:02:03.500000Z", "hostname": "h", "message": "no tag"}"#,
                r#"{"source_ip": "10.0.0.1", "timestamp": "2026-01-02T00:00:00.000000Z", "message": "odd"}"#,
            ]
        );
        assert_eq!(
            rows(
                ietf.clone(),
                "<165>1 2003-10-11T22:14:15.003Z h.example.com ev - ID47 [e@1 k=\"a \\\"]\\\" b\"][x] \u{feff}An event\n",
                size
            ),
            [
                r#"{"priority": 165, "version": 1, "timestamp": "2003-10-11T22:14:15.003000Z", "hostname": "h.example.com", "application": "ev", "mid": "ID47", "struct": "[e@1 k=\"a \\\"]\\\" b\"][x]", "message": "An event"}"#
            ]
        );
        assert_eq!(
            rows(
                included.clone(),
                "Time      Thread  Rest\n12:00:01  0x17    the message: é\n",
                size
            ),
            [r#"{"time": "12:00:01", "thread": "0x17", "message": "the message: é"}"#]
        );
    }
}

#[test]
fn a_first_line_of_many_words_names_no_more_columns_than_a_table_should_have() {
    let included = LineRule {
        included: true,
        ..rule("included")
    };
    let words: Vec<String> = (1000..6000).map(|n| format!("w{n}")).collect();
    let line = words.join(" ");
    let text = format!("{line}\n{line}\nw1000 w1001\n");
    let found = rows(included, &text, 10_000);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].matches("\": \"").count(), MAX_COLUMNS);
    assert!(found[0].contains(r#""w1198": "w1198", "message": "w1199 w1200 w1201"#));
    assert!(found[0].ends_with("w5999\"}"));
    assert_eq!(found[1], r#"{"w1000": "w1000", "w1001": "w1001"}"#);
}

#[test]
fn counted_messages_and_lines_may_follow_each_other() {
    let bsd = LineRule {
        format: LineFormat::Bsd,
        ..rule("bsd")
    };
    let text = "35 <34>Oct  1 22:14:15 a su: two\nlines<34>Oct  1 22:14:15 b su: y\n\
                99999 <34>no count\n12 no message\n20 <34>Oct";
    for size in [1, 5, 1000] {
        let found = rows(bsd.clone(), text, size);
        let messages: Vec<_> = found
            .iter()
            .map(|row| row.split("\"message\": ").nth(1).unwrap_or_default())
            .collect();
        assert_eq!(
            messages,
            [
                r#""two\nlines"}"#,
                r#""y"}"#,
                r#""99999 <34>no count"}"#,
                r#""12 no message"}"#,
                r#""<34>Oct"}"#,
            ]
        );
    }
}

#[test]
fn a_connection_is_shown_its_rule_when_enough_of_it_came() {
    use crate::intake::{Clients, LocalIntake};
    use crate::mqtt::broker::{Intake, Opening};
    use crate::pipeline::{Options, Pipeline};

    let dir = tempfile::tempdir().expect("dir");
    let clients = Arc::new(Clients::new(Zone::UTC));
    let options = Options::new(dir.path(), Zone::UTC);
    let pipeline = Arc::new(Pipeline::open(&options, Arc::new(|| {})).expect("open"));
    let intake =
        LocalIntake::new(clients.clone(), pipeline, 0, Arc::new(|| {})).expect("an intake");
    let ask = |address: &str, first: &[u8], is_all, is_anonymous| match intake.open_lines(
        peer(address),
        first,
        is_all,
        is_anonymous,
    ) {
        Opening::Lines(_) => "lines",
        Opening::Undecided => "undecided",
        Opening::Refused => "refused",
    };
    assert_eq!(ask("10.0.0.2:9", b"x", false, true), "refused");
    clients.rules.set(LineRule {
        header: Some("al.sl".into()),
        ..rule("header")
    });
    clients.rules.set(LineRule {
        ip: Some("10.0.0.1".into()),
        ..rule("ip")
    });
    assert_eq!(ask("10.0.0.2:9", b"al.", false, true), "undecided");
    assert_eq!(ask("10.0.0.2:9", b"al.", true, true), "refused");
    assert_eq!(ask("10.0.0.2:9", b"al.sl x", false, true), "lines");
    assert_eq!(ask("10.0.0.2:9", b"al\n", false, true), "refused");
    // Where clients need a name, the address must be the rule's.
    assert_eq!(ask("10.0.0.2:9", b"al.sl x", false, false), "refused");
    assert_eq!(ask("10.0.0.1:9", b"x\n", false, false), "lines");
}

#[test]
fn rows_go_to_the_table_of_the_rule_or_through_a_topic() {
    use crate::intake::{Clients, Declaration, Directories, LocalIntake};
    use crate::mqtt::broker::{Intake, Opening};
    use crate::pipeline::{Options, Pipeline};

    let dir = tempfile::tempdir().expect("dir");
    let clients = Arc::new(Clients::new(Zone::UTC));
    let topic = serde_json::json!({"name": "log", "dbms": "d", "table": "bring [hostname]",
        "columns": [{"name": "text", "type": "str", "value": "bring [message]"}]});
    let declaration = Declaration {
        id: 1,
        broker: "local".into(),
        spec: serde_json::json!({ "topics": [topic] }),
        directories: Directories::default(),
    };
    clients.add(declaration).expect("a client");
    let options = Options::new(dir.path(), Zone::UTC);
    let pipeline = Arc::new(Pipeline::open(&options, Arc::new(|| {})).expect("open"));
    let wake = Arc::new(|| {});
    let rules = clients.clone();
    let intake = LocalIntake::new(clients, pipeline.clone(), 0, wake).expect("an intake");
    for topic in [None, Some("log".to_owned())] {
        let rule = LineRule {
            format: LineFormat::Bsd,
            topic,
            ..rule("r")
        };
        rules.rules.set(rule);
        let text = b"<34>Oct 1 22:14:15 web su: x\n<34>Oct 1 22:14:16 db su: y";
        let Opening::Lines(mut sink) = intake.open_lines(peer("10.0.0.1:5"), text, false, true)
        else {
            panic!("the rule is for everybody");
        };
        assert_eq!(sink.feed(text, NOW_US), Ok(1));
        assert_eq!(sink.finish(NOW_US), Ok(1));
    }
    drop(intake);
    pipeline.close();
    let stats = pipeline.stats();
    let rows: Vec<_> = stats
        .iter()
        .map(|(key, s)| (key.table.as_str(), s.rows))
        .collect();
    assert_eq!(rows, [("db", 1), ("t", 2), ("web", 1)]);
}

#[test]
fn a_line_without_end_does_not_grow() {
    let mut lines = Lines::new(Arc::new(rule("r")), peer("10.0.0.1:5").ip());
    let mut taken = 0;
    for _ in 0..40 {
        taken += lines
            .feed(&[b'x'; 16 * 1024], NOW_US)
            .map_or(0, |rows| rows.chunk.len);
        assert!(lines.partial.len() <= LINE_BYTES);
    }
    assert_eq!(taken, 9);
}

proptest! {
    #[test]
    fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..200), format in 0..3) {
        let format = [LineFormat::Bsd, LineFormat::Ietf, LineFormat::Plain][format as usize];
        for included in [false, true] {
            let mut lines = Lines::new(
                Arc::new(LineRule { format, included, ..rule("r") }),
                peer("10.0.0.1:5").ip(),
            );
            let _ = lines.feed(&bytes, NOW_US);
            let _ = lines.feed(b"<34>1 x\n<34>Oct 1 2 3\n", NOW_US);
            let _ = lines.finish(NOW_US);
        }
    }
}
