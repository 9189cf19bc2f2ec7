//! Streaming conditions.

use super::*;

fn add(bench: &Bench, id: u32, condition: &str, then: Then, limit: Option<u64>) {
    let key = Key::new("d", "t");
    bench
        .pipeline
        .add_condition(&key, id, condition, then, limit)
        .expect("a condition");
}

fn command(line: &str) -> Then {
    Then::Command(line.into())
}

#[test]
fn rows_are_dropped_and_commands_wait_in_the_order_of_the_conditions() {
    let dir = tempfile::tempdir().expect("dir");
    let bench = Bench::open(&options(dir.path()));
    bench.attach(&HashMap::new());
    add(&bench, 1, "[n] > 9", command("first"), None);
    add(&bench, 2, "[n] >= 20", Then::Ignore, None);
    add(&bench, 3, "[n]", command("last"), Some(2));
    bench.submit(
        "t",
        "[{\"n\": 10}, {\"n\": 20}, {\"n\": 9}, {\"n\": 30}, {\"n\": 8}]",
    );
    bench.submit("other", "{\"n\": 50}");
    let outcomes: Vec<_> = bench
        .outcomes(2)
        .into_iter()
        .filter_map(|(_, outcome)| match outcome {
            Outcome::Stored { rows, .. } => Some(rows),
            _ => None,
        })
        .collect();
    assert_eq!(outcomes, [3, 1]);
    let (actions, missed) = bench.pipeline.take_actions();
    let said: Vec<_> = actions
        .iter()
        .map(|a| (a.command.as_str(), a.row.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("first", "{\"n\": 10}"),
            ("last", "{\"n\": 10}"),
            ("first", "{\"n\": 20}"),
            ("last", "{\"n\": 9}"),
            ("first", "{\"n\": 30}"),
        ]
    );
    assert_eq!((missed, actions[0].table.as_str()), (0, "t"));

    bench.pipeline.remove_condition(&Key::new("d", "t"), 2);
    let mut found = drain(&bench, &mut HashMap::new());
    found.sort_unstable();
    assert_eq!(found, [8, 9, 10, 50]);
    assert_eq!(bench.pipeline.occupied_bytes(), 0);
}

#[test]
fn what_is_dropped_is_not_there_after_a_restart_and_a_payload_without_rows_is_done() {
    let dir = tempfile::tempdir().expect("dir");
    let bench = Bench::open(&options(dir.path()));
    add(&bench, 1, "[n] > 1", Then::Ignore, None);
    let ticket = bench.submit("t", "{\"n\": 5}");
    let nothing = Outcome::Stored {
        rows: 0,
        rejected: 0,
        reason: String::new(),
    };
    assert_eq!(bench.outcomes(1), [(ticket, nothing)]);
    bench.store("t", "[{\"n\": 1}, {\"n\": 2}]");
    drop(bench);
    let bench = Bench::open(&options(dir.path()));
    bench.attach(&HashMap::new());
    assert_eq!(drain(&bench, &mut HashMap::new()), [1]);
}

#[test]
fn commands_that_nobody_takes_are_bounded() {
    let dir = tempfile::tempdir().expect("dir");
    let bench = Bench::open(&options(dir.path()));
    add(&bench, 1, "[n]", command("x"), None);
    let rows: Vec<String> = (0..1_500).map(row).collect();
    bench.submit("t", &rows.join("\n"));
    bench.outcomes(1);
    let (actions, missed) = bench.pipeline.take_actions();
    assert_eq!((actions.len(), missed), (1_000, 500));
}
