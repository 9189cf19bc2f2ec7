//! Rounds of which a part cannot be kept: nothing of them is, for the publisher sends all of it again.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::crash::Life;
use super::*;
use crate::journal::Level;
use crate::pipeline::Key;

/// Topics that are mapped by different workers, if there are several.
const TOPICS: usize = 8;

/// Of each topic a table `t`; one more topic, `p`, has a picture in each message, whose directory may be missing.
fn declare_all(clients: &Clients, pictures: &Path) {
    let topics: Vec<_> = (0..TOPICS)
        .map(|at| readings(&format!("t{at}"), "t"))
        .collect();
    declare(clients, 1, &json!(topics));
    let policy = json!({"mapping": {"id": "p", "dbms": "d", "table": "p", "schema": {
        "n": {"type": "int", "bring": "[n]"},
        "picture": {"type": "varchar", "bring": "[picture]", "blob": true}}}});
    let declared = clients.add(Declaration {
        id: 2,
        broker: LOCAL.into(),
        spec: json!({"topics": [{"name": "p", "policies": [policy]}]}),
        directories: Directories {
            errors: None,
            log: None,
            blobs: Some(pictures.to_owned()),
        },
    });
    declared.expect("a client");
}

fn picture(n: usize) -> String {
    format!("{{\"n\": {n}, \"picture\": \"abc{n}\"}}")
}

/// More than is mapped by the caller.
fn round() -> Vec<Inbound> {
    let numbers = (0..1_000).map(|n| number(&format!("t{}", n % TOPICS), n));
    numbers.chain([message("p", &picture(0))]).collect()
}

#[test]
fn what_other_workers_mapped_of_a_refused_round_is_not_kept() {
    let dir = tempfile::tempdir().expect("dir");
    let pictures = dir.path().join("pictures");
    let mut bench = Bench::open(&dir.path().join("journal"), 4);
    declare_all(&bench.clients, &pictures);
    bench.intake.submit(1, round());
    // The next round goes on all the same.
    bench.intake.submit(2, vec![number("t0", 5_000)]);
    assert_eq!(bench.until(2), [(1, Err(Refusal::Full)), (2, Ok(()))]);
    assert_eq!(bench.drain()["t"], [5_000]);
    std::fs::create_dir(&pictures).expect("room");
    bench.intake.submit(3, round());
    assert_eq!(bench.until(3), [(3, Ok(()))]);
    let mut found = bench.drain();
    let numbers = found.get_mut("t").expect("rows");
    numbers.sort_unstable();
    assert_eq!(*numbers, (0..1_000).collect::<Vec<_>>());
    assert_eq!(found["p"], [0]);
    assert_eq!(bench.pipeline.occupied_bytes(), 0);
}

#[test]
fn rows_at_a_lower_level_are_refused_with_those_that_they_came_with() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = Options::new(dir.path(), Zone::UTC);
    options.journal.segment_bytes = 4 << 10;
    options.journal.limit_bytes = 32 << 10;
    let mut bench = Bench::with(&options, 0);
    declare(
        &bench.clients,
        1,
        &json!([readings("a", "safe"), readings("b", "loose")]),
    );
    let level = |table, level| bench.pipeline.set_level(Key::new("d", table), Some(level));
    level("safe", Level::Durable);
    level("loose", Level::Memory);
    let both = |n: usize| vec![number("a", n), number("b", n)];
    let mut taken = 0;
    loop {
        bench.intake.submit(taken as u64 + 1, both(taken));
        match bench.until(taken as u64 + 1).last() {
            Some((_, Ok(()))) => taken += 1,
            other => break assert_eq!(other, Some(&(taken as u64 + 1, Err(Refusal::Full)))),
        }
    }
    let found = bench.drain();
    let all: Vec<i64> = (0..taken as i64).collect();
    assert_eq!((&found["safe"], &found["loose"]), (&all, &all));
    // By themselves they are acknowledged at once, and live on whatever the journal says.
    bench
        .intake
        .submit(taken as u64 + 2, vec![number("b", taken)]);
    assert_eq!(bench.until(taken as u64 + 2), [(taken as u64 + 2, Ok(()))]);
}

// ---- over a socket

/// A PUBLISH of QoS 2.
fn publish(topic: &str, packet_id: u16, payload: &str) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    body.extend_from_slice(&packet_id.to_be_bytes());
    body.extend_from_slice(payload.as_bytes());
    let mut packet = vec![0x34];
    let mut rest = body.len();
    while rest > 127 {
        packet.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    packet.push(rest as u8);
    packet.extend_from_slice(&body);
    packet
}

/// Packet ids of PUBRECs, until there are so many or the broker closes.
fn received(client: &mut TcpStream, count: usize) -> BTreeSet<u16> {
    let mut ids = BTreeSet::new();
    let mut packet = [0; 4];
    while ids.len() < count && client.read_exact(&mut packet).is_ok() {
        assert_eq!(packet[0], 0x50);
        ids.insert(u16::from_be_bytes([packet[2], packet[3]]));
    }
    ids
}

#[test]
fn a_publisher_of_qos_2_whose_round_was_refused_in_part_gets_each_row_once() {
    let dir = tempfile::tempdir().expect("dir");
    let pictures = dir.path().join("pictures");
    let clients = Arc::new(Clients::new(Zone::UTC));
    declare_all(&clients, &pictures);
    let life = Life::with(dir.path(), false, clients, 4);
    let count = 2_000;
    let mut waiting: BTreeSet<u16> = (1..=count as u16).collect();
    let message = |id: u16| {
        let n = usize::from(id);
        if n % 500 == 0 {
            publish("p", id, &picture(n))
        } else {
            publish(&format!("t{}", n % TOPICS), id, &format!("{{\"n\": {n}}}"))
        }
    };
    let mut lives = 0;
    while !waiting.is_empty() {
        let mut client = life.client();
        let all: Vec<u8> = waiting.iter().flat_map(|&id| message(id)).collect();
        if lives > 0 {
            std::fs::create_dir_all(&pictures).expect("room");
        }
        lives += 1;
        // It may close while we write.
        let _ = client.write_all(&all);
        for id in received(&mut client, waiting.len()) {
            waiting.remove(&id);
        }
    }
    assert!(lives > 1, "nothing was refused");
    assert_eq!(life.store_rows(), count);
    assert_eq!(life.rows(), count as u64);
}
