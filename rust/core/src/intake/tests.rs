mod crash;
mod refused;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::mqtt::broker::{Inbound, Intake, Message, Receipt, Refusal};
use crate::mqtt::packet::QoS;
use crate::pipeline::{Ended, Flush, Options, Pipeline, Receipts};
use crate::rows::time::Zone;
use crate::rows::{Cell, LogicalType};

const WAIT: Duration = Duration::from_secs(20);

fn spec(topics: &serde_json::Value) -> serde_json::Value {
    json!({ "topics": topics })
}

fn readings(filter: &str, table: &str) -> serde_json::Value {
    json!({"name": filter, "dbms": "d", "table": table, "columns": [
        {"name": "n", "type": "int", "value": "bring [n]"},
        {"name": "value", "type": "float", "value": "bring [value]", "optional": true}]})
}

fn declare(clients: &Clients, id: u32, topics: &serde_json::Value) {
    clients
        .add(Declaration {
            id,
            broker: LOCAL.into(),
            spec: spec(topics),
            directories: Directories::default(),
        })
        .expect("a client");
}

struct Bench {
    clients: Arc<Clients>,
    pipeline: Arc<Pipeline>,
    intake: LocalIntake,
    woken: Receiver<()>,
}

impl Bench {
    fn open(dir: &Path, threads: usize) -> Self {
        Self::with(&Options::new(dir, Zone::UTC), threads)
    }

    fn with(options: &Options, threads: usize) -> Self {
        let clients = Arc::new(Clients::new(Zone::UTC));
        let pipeline = Arc::new(Pipeline::open(options, Arc::new(|| {})).expect("open"));
        let (sender, woken) = channel();
        let wake = Arc::new(move || {
            let _ = sender.send(());
        });
        let intake = LocalIntake::new(clients.clone(), pipeline.clone(), threads, wake);
        Self {
            clients,
            pipeline,
            intake: intake.expect("threads"),
            woken,
        }
    }

    /// What is told up to a round.
    fn until(&mut self, round: u64) -> Vec<(u64, Result<(), Refusal>)> {
        let mut told = Vec::new();
        loop {
            while let Some(news) = self.intake.completed() {
                told.push(news);
                if news.0 >= round {
                    return told;
                }
            }
            self.woken.recv_timeout(WAIT).expect("a wake-up");
        }
    }

    fn take(&self) -> Flush {
        self.pipeline.hurry();
        let taken = self.pipeline.take("d", WAIT).expect("readable");
        taken.expect("rows")
    }

    /// Everything stored, by table: the numbers in order.
    fn drain(&self) -> HashMap<String, Vec<i64>> {
        self.pipeline
            .attach("d", &HashMap::new(), &[])
            .expect("readable");
        let mut found: HashMap<String, Vec<i64>> = HashMap::new();
        while self.pipeline.pending("d") > 0 {
            let flush = self.take();
            for part in &flush.parts {
                let column = part.chunk.column("n").expect("n");
                let numbers = (0..part.chunk.len).map(|row| match column.cell(row) {
                    Cell::Int(n) => n,
                    other => panic!("{other:?}"),
                });
                let table = found.entry(flush.key.table.clone()).or_default();
                table.extend(numbers);
            }
            let ended = vec![Ended::default(); flush.parts.len()];
            self.pipeline.committed(flush, &ended);
        }
        found
    }
}

fn message(topic: &str, payload: &str) -> Inbound {
    Inbound {
        message: Arc::new(Message {
            id: 0,
            topic: topic.into(),
            payload: payload.as_bytes().into(),
            properties: Box::default(),
            is_text: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_unix_ms: None,
            publisher: None,
        }),
        arrival_us: 1_000_000,
        receipt: None,
    }
}

fn number(topic: &str, n: usize) -> Inbound {
    message(topic, &format!("{{\"n\": {n}}}"))
}

fn with_receipt(inbound: Inbound, session: u64, packet_id: u16) -> Inbound {
    Inbound {
        receipt: Some(Receipt { session, packet_id }),
        ..inbound
    }
}

#[test]
fn rows_of_one_message_for_several_tables_are_synced_as_one() {
    let dir = tempfile::tempdir().expect("dir");
    let syncs = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut options = Options::new(dir.path(), Zone::UTC);
    options.journal.before_sync = Some({
        let syncs = syncs.clone();
        Arc::new(move || {
            syncs.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(())
        })
    });
    let mut bench = Bench::with(&options, 0);
    for id in 1..=8 {
        declare(
            &bench.clients,
            id,
            &json!([readings("a", &format!("t{id}"))]),
        );
    }
    bench.intake.submit(1, vec![message("a", "{\"n\": 1}")]);
    assert_eq!(bench.until(1), [(1, Ok(()))]);
    assert_eq!(bench.pipeline.stats().len(), 8);
    assert_eq!(syncs.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn a_round_is_one_record_per_table_and_bad_messages_hold_nothing_up() {
    let dir = tempfile::tempdir().expect("dir");
    let mut bench = Bench::open(dir.path(), 0);
    declare(&bench.clients, 1, &json!([readings("a/#", "bring [to]")]));
    assert!(bench.intake.takes("a/x") && !bench.intake.takes("b"));
    let to =
        |table: &str, n: usize| message("a/x", &format!("{{\"to\": \"{table}\", \"n\": {n}}}"));
    bench.intake.submit(
        7,
        vec![
            to("one", 1),
            message("a/x", "not json"),
            to("two", 2),
            message("a/x", "{\"to\": \"one\", \"n\": \"x\"}"),
            to("one", 3),
        ],
    );
    bench.intake.submit(8, vec![message("a/x", "[]")]);
    assert_eq!(bench.until(8).last(), Some(&(8, Ok(()))));
    assert_eq!(bench.pipeline.stats().len(), 2);
    assert!(bench.pipeline.stats().iter().all(|(_, s)| s.calls == 1));
    let found = bench.drain();
    assert_eq!(found["one"], [1, 3]);
    assert_eq!(found["two"], [2]);
    let client = bench.clients.get(1).expect("there");
    let counted = client.counters.read();
    assert_eq!(
        (counted.messages, counted.success, counted.errors),
        (5, 3, 2)
    );
    assert_eq!(counted, client.topics[0].read());
    assert!(counted.last_error.contains("'x'"), "{}", counted.last_error);
    let (faults, more) = bench.clients.take_faults();
    assert_eq!((faults.len(), more), (2, 0));
    assert_eq!(
        (faults[0].code, faults[0].start.as_slice()),
        (299, b"not json".as_slice())
    );
}

#[test]
fn topics_keep_their_order_over_workers_and_small_rounds() {
    let dir = tempfile::tempdir().expect("dir");
    let mut bench = Bench::open(dir.path(), 2);
    let topics: Vec<_> = (0..4)
        .map(|t| readings(&format!("t{t}"), &format!("t{t}")))
        .collect();
    declare(&bench.clients, 1, &json!(topics));
    let mut n = 0;
    for round in 1..=60 {
        bench.clients.set_threads(Some(1 + round as usize % 3));
        let size = if round % 3 == 0 { 5 } else { 2_000 };
        let messages = (0..size).map(|_| {
            n += 1;
            number(&format!("t{}", n % 4), n)
        });
        bench.intake.submit(round, messages.collect());
    }
    assert!(bench.until(60).iter().all(|told| told.1.is_ok()));
    let found = bench.drain();
    for (name, numbers) in &found {
        assert!(numbers.is_sorted(), "{name}");
    }
    assert_eq!(found.values().map(Vec::len).sum::<usize>(), n);
    assert_eq!(bench.pipeline.occupied_bytes(), 0);
}

#[test]
fn dynamic_topics_are_told_of_when_they_have_brought_a_row() {
    let dir = tempfile::tempdir().expect("dir");
    let mut bench = Bench::open(dir.path(), 0);
    let topics = json!([{"name": "site/#", "dbms": "D", "dynamic": true}, readings("t", "t")]);
    declare(&bench.clients, 7, &topics);
    bench.clients.collect_latest(true);
    let round = vec![
        message("site/line/speed", "12"),
        number("t", 1),
        message("site/line/", "12"), // no name for a table
        message("site/line/speed", "14"),
    ];
    bench.intake.submit(1, round);
    bench.until(1);
    let (told, more) = bench.clients.take_topics();
    let topic = DynamicTopic {
        client: 7,
        dbms: "d".into(),
        topic: "site/line/speed".into(),
    };
    assert_eq!((told, more), (vec![topic.clone()], 0));
    let latest = Latest {
        topic,
        payload: b"14".to_vec(),
        arrival_us: 1_000_000,
    };
    assert_eq!(bench.clients.take_latest(), [latest]);
}

#[test]
fn clients_come_and_go_while_messages_come() {
    let dir = tempfile::tempdir().expect("dir");
    let mut bench = Bench::open(dir.path(), 0);
    declare(&bench.clients, 1, &json!([readings("t", "first")]));
    bench.intake.submit(1, vec![number("t", 1)]);
    let before = bench.intake.generation();
    declare(&bench.clients, 2, &json!([readings("+", "second")]));
    assert_ne!(bench.intake.generation(), before);
    bench.intake.submit(2, vec![number("t", 2)]);
    assert!(bench.clients.remove(1) && !bench.clients.remove(1));
    bench.intake.submit(3, vec![number("t", 3)]);
    bench.until(3);
    let found = bench.drain();
    assert_eq!(found["first"], [1, 2]);
    assert_eq!(found["second"], [2, 3]);
}

#[test]
fn mappings_change_while_the_counters_go_on() {
    let dir = tempfile::tempdir().expect("dir");
    let mut bench = Bench::open(dir.path(), 0);
    declare(&bench.clients, 1, &json!([readings("t", "before")]));
    bench.intake.submit(1, vec![number("t", 1)]);
    let other = spec(&json!([readings("t", "after")]));
    assert_eq!(bench.clients.update(1, &other), Ok(true));
    assert_eq!(bench.clients.update(2, &other), Ok(false));
    let two = spec(&json!([readings("t", "a"), readings("u", "b")]));
    assert!(bench.clients.update(1, &two).is_err());
    bench.intake.submit(2, vec![number("t", 2)]);
    bench.until(2);
    let found = bench.drain();
    assert_eq!((&found["before"], &found["after"]), (&vec![1], &vec![2]));
    let counted = bench.clients.get(1).expect("there").counters.read();
    assert_eq!(counted.success, 2);
}

#[test]
fn receipts_that_wait_for_the_disk_are_known_to_the_next_broker() {
    let dir = tempfile::tempdir().expect("dir");
    let gate = Arc::new(parking_lot::Mutex::new(()));
    let mut options = Options::new(dir.path(), Zone::UTC);
    options.journal.before_sync = Some({
        let gate = gate.clone();
        Arc::new(move || {
            drop(gate.lock());
            Ok(())
        })
    });
    let mut bench = Bench::with(&options, 0);
    declare(&bench.clients, 1, &json!([readings("a", "one")]));
    let held = gate.lock();
    let message = with_receipt(number("a", 1), 1, 7);
    bench.intake.submit(5, vec![message]);
    let pipeline = bench.pipeline.clone();
    let asking = std::thread::spawn(move || pipeline.receipts());
    // The disk is slow: whoever asks has to wait for it.
    std::thread::sleep(Duration::from_millis(20));
    assert!(!asking.is_finished());
    drop(held);
    assert_eq!(asking.join().expect("receipts").len(), 1);
}

#[test]
fn types_and_receipts_come_back_with_the_journal() {
    let dir = tempfile::tempdir().expect("dir");
    let mut bench = Bench::open(dir.path(), 0);
    declare(
        &bench.clients,
        1,
        &json!([readings("a", "one"), readings("b", "two")]),
    );
    declare(&bench.clients, 2, &json!([readings("b", "three")]));
    bench.intake.submit(
        5,
        vec![
            with_receipt(number("a", 1), 1, 7),
            with_receipt(message("b", "{\"n\": 2, \"value\": 1}"), 2, 8),
            with_receipt(message("a", "no row"), 1, 9),
        ],
    );
    bench.intake.submit(6, vec![number("a", 2)]);
    bench.until(6);
    drop(bench);

    let bench = Bench::open(dir.path(), 0);
    let receipts = |session, packet| Receipts {
        round: 5,
        messages: vec![(session, packet)],
    };
    // Of the tables of the second message the last one knows its id.
    assert_eq!(bench.pipeline.receipts(), [receipts(1, 7), receipts(2, 8)]);
    bench.pipeline.receipted(4);
    assert_eq!(bench.pipeline.receipts().len(), 2);
    bench.pipeline.receipted(5);
    assert_eq!(bench.pipeline.receipts(), []);
    let key = crate::pipeline::Key::new("d", "three");
    let declared = bench.pipeline.declared(&key);
    assert_eq!(declared[1].kind, LogicalType::Float);
    let found = bench.drain();
    assert_eq!(
        (&found["one"], &found["two"], &found["three"]),
        (&vec![1, 2], &vec![2], &vec![2])
    );
}

#[test]
fn a_journal_without_room_refuses_rounds_and_tells_when_there_is_room() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = Options::new(dir.path(), Zone::UTC);
    options.journal.segment_bytes = 4 << 10;
    options.journal.limit_bytes = 32 << 10;
    let mut bench = Bench::with(&options, 0);
    declare(&bench.clients, 1, &json!([readings("t", "t")]));
    let mut round = 0;
    let refused = loop {
        round += 1;
        let messages = (0..100).map(|n| number("t", n)).collect();
        bench.intake.submit(round, messages);
        if let Some((_, Err(refusal))) = bench.until(round).last() {
            break *refusal;
        }
    };
    assert_eq!(refused, Refusal::Full);
    assert!(!bench.intake.has_room());
    while bench.woken.try_recv().is_ok() {}
    bench.drain();
    bench.pipeline.synced("d").expect("freed");
    bench.woken.recv_timeout(WAIT).expect("told of room");
    assert_eq!(bench.intake.completed(), None);
}

#[test]
fn a_segment_is_emptied_when_the_last_receipt_in_it_is_kept_elsewhere() {
    let dir = tempfile::tempdir().expect("dir");
    let mut bench = Bench::open(dir.path(), 0);
    declare(&bench.clients, 1, &json!([readings("t", "t")]));
    let messages = (0..20_000).map(|n| with_receipt(number("t", n), 1, n as u16));
    bench.intake.submit(3, messages.collect());
    bench.until(3);
    assert_eq!(bench.drain()["t"].len(), 20_000);
    bench.pipeline.synced("d").expect("freed");
    let full = bench.pipeline.journal_bytes();
    bench.intake.receipted(2);
    assert_eq!(bench.pipeline.receipts().len(), 1);
    bench.intake.receipted(3);
    let until = std::time::Instant::now() + WAIT;
    while bench.pipeline.journal_bytes() >= full {
        assert!(std::time::Instant::now() < until, "not emptied");
        std::thread::yield_now();
    }
}

#[test]
fn a_content_that_finds_no_room_refuses_its_round() {
    let dir = tempfile::tempdir().expect("dir");
    let mut bench = Bench::open(&dir.path().join("journal"), 0);
    let policy = json!({"mapping": {"id": "p", "dbms": "d", "table": "t", "schema": {
        "n": {"type": "int", "bring": "[n]"},
        "picture": {"type": "varchar", "bring": "[picture]", "blob": true}}}});
    let spec = json!({"topics": [{"name": "t", "policies": [policy]}]});
    let place = dir.path().join("blobs");
    let declared = bench.clients.add(Declaration {
        id: 1,
        broker: LOCAL.into(),
        spec,
        directories: Directories {
            errors: None,
            log: None,
            blobs: Some(place.clone()),
        },
    });
    declared.expect("a client");
    let picture = || message("t", r#"{"n": 1, "picture": "abc"}"#);
    bench.intake.submit(1, vec![picture()]);
    assert_eq!(bench.until(1).last(), Some(&(1, Err(Refusal::Full)))); // there is no such directory
    assert!(bench.drain().is_empty());
    std::fs::create_dir(place).expect("room");
    bench.intake.submit(2, vec![picture()]);
    assert_eq!(bench.until(2).last(), Some(&(2, Ok(()))));
}

#[test]
fn messages_are_logged_as_their_client_says() {
    let dir = tempfile::tempdir().expect("dir");
    let mut bench = Bench::open(&dir.path().join("journal"), 0);
    let add = |id: u32, topic: &str, err: bool| {
        let mut declared = spec(&json!([readings(topic, "t")]));
        if !err {
            declared = json!({"only_log": true, "topics": [{"name": topic}]});
        }
        let own = |wanted: bool| wanted.then(|| dir.path().to_owned());
        bench
            .clients
            .add(Declaration {
                id,
                broker: LOCAL.into(),
                spec: declared,
                directories: Directories {
                    errors: own(err),
                    log: own(!err),
                    blobs: None,
                },
            })
            .expect("a client");
    };
    add(1, "bad", true);
    add(2, "log", false);
    let round = vec![
        message("bad", "{\"x\":\n 1}"),
        number("bad", 1),
        message("log", "anything"),
    ];
    bench.intake.submit(1, round);
    bench.until(1);
    bench.clients.flush_log();
    let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect(name);
    assert_eq!(text("err_local.bad.0.0.0.json"), "{\"x\":  1}\n");
    assert_eq!(text("log_local.json"), "anything\n");
    assert_eq!(bench.clients.take_log_error(), "");
    let logged = bench.clients.get(2).expect("there").counters.read();
    assert_eq!((logged.success, logged.errors), (1, 0));
}
