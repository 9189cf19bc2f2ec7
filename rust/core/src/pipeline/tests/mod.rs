use std::collections::HashMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::*;
use crate::rows::Cell;

mod conditions;
mod files;
mod limits;
mod positions;

const WAIT: Duration = Duration::from_secs(20);

struct Bench {
    pipeline: Pipeline,
    woken: Receiver<()>,
}

impl Bench {
    fn open(options: &Options) -> Self {
        let (sender, woken) = channel();
        let wake: Wake = Arc::new(move || {
            let _ = sender.send(());
        });
        Self {
            pipeline: Pipeline::open(options, wake).expect("open"),
            woken,
        }
    }

    fn submit(&self, table: &str, payload: &str) -> u64 {
        self.pipeline
            .submit(Key::new("d", table), payload.as_bytes().to_vec(), "0", "0")
            .expect("taken")
    }

    /// Outcomes of this many payloads, in the order told.
    fn outcomes(&self, n: usize) -> Vec<(u64, Outcome)> {
        let mut found = Vec::new();
        while found.len() < n {
            self.woken.recv_timeout(WAIT).expect("a wake-up");
            let told = self.pipeline.completions();
            found.extend(told.into_iter().filter(|t| t.1 != Outcome::Passed));
        }
        found
    }

    /// Wait until a flush is told.
    fn passed(&self, ticket: u64) {
        while !self
            .pipeline
            .completions()
            .contains(&(ticket, Outcome::Passed))
        {
            self.woken.recv_timeout(WAIT).expect("a wake-up");
        }
    }

    /// Submit and wait until it is durable.
    fn store(&self, table: &str, payload: &str) {
        let ticket = self.submit(table, payload);
        let (told, outcome) = self.outcomes(1).remove(0);
        assert_eq!(told, ticket);
        assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
    }

    fn attach(&self, marks: &HashMap<String, u64>) {
        self.pipeline.attach("d", marks, &[]).expect("readable");
    }

    fn commit(&self, flush: Flush) {
        let parts = vec![Ended::default(); flush.parts.len()];
        self.pipeline.committed(flush, &parts);
    }

    fn stats(&self, table: &str) -> TableStats {
        let stats = self.pipeline.stats();
        let found = stats.iter().find(|(key, _)| key.table == table);
        found.expect("known").1
    }

    fn take(&self) -> Flush {
        self.pipeline
            .take("d", WAIT)
            .expect("readable")
            .expect("rows")
    }
}

fn options(dir: &Path) -> Options {
    Options::new(dir, Zone::named("UTC").expect("UTC"))
}

fn row(n: usize) -> String {
    format!("{{\"n\": {n}}}")
}

fn numbers(flush: &Flush) -> Vec<i64> {
    let of_part = |part: &Part| {
        let column = part.chunk.column("n").expect("n").clone();
        (0..part.chunk.len)
            .map(|row| match column.cell(row) {
                Cell::Int(n) => n,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    flush.parts.iter().flat_map(of_part).collect()
}

/// Take and commit everything of "d"; the numbers by table, and the watermarks a database would keep.
fn drain(bench: &Bench, marks: &mut HashMap<String, u64>) -> Vec<i64> {
    let mut found = Vec::new();
    bench.pipeline.hurry();
    while bench.pipeline.pending("d") > 0 {
        let flush = bench.take();
        assert!(flush.first > marks.get(&flush.key.table).copied().unwrap_or(0));
        marks.insert(flush.key.table.clone(), flush.last);
        found.extend(numbers(&flush));
        bench.commit(flush);
        bench.pipeline.hurry();
    }
    found
}

#[test]
fn rows_come_out_in_the_order_of_their_acknowledgement() {
    let dir = tempfile::tempdir().expect("dir");
    let bench = Bench::open(&options(dir.path()));
    bench.attach(&HashMap::new());
    for n in 0..200 {
        bench.submit("t", &row(n));
    }
    assert_eq!(bench.outcomes(200).len(), 200);
    let found = drain(&bench, &mut HashMap::new());
    assert_eq!(found, (0..200).collect::<Vec<_>>());
    assert_eq!(bench.pipeline.occupied_bytes(), 0);
    let stats = bench.stats("t");
    assert_eq!((stats.calls, stats.rows, stats.stored), (200, 200, 200));
    assert_eq!(stats.pending(), 0);
}

#[test]
fn small_and_large_payloads_that_are_no_rows_are_told_and_leave_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let bench = Bench::open(&options(dir.path()));
    let refused = bench
        .pipeline
        .submit(Key::new("d", "t"), b"nonsense".to_vec(), "0", "0");
    assert!(matches!(refused, Err(SubmitError::Payload(_))));
    bench.submit("t", &"x".repeat(INLINE_BYTES * 2));
    assert!(matches!(bench.outcomes(1)[0].1, Outcome::Payload(_)));
    assert_eq!(bench.pipeline.occupied_bytes(), 0);
    assert_eq!(bench.pipeline.pending("d"), 0);
}

#[test]
fn what_was_acknowledged_comes_back_once_after_a_restart() {
    let dir = tempfile::tempdir().expect("dir");
    let mut marks = HashMap::new();
    let mut committed = Vec::new();
    {
        let bench = Bench::open(&options(dir.path()));
        bench.attach(&marks);
        for n in 0..10 {
            bench.store("t", &row(n));
        }
        bench.pipeline.hurry();
        let flush = bench.take();
        marks.insert("t".to_owned(), flush.last);
        committed.extend(numbers(&flush));
        bench.commit(flush);
        for n in 10..20 {
            bench.store("t", &row(n));
        }
        // Stopped without a word to the database: the last ten are in the journal only.
    }
    let bench = Bench::open(&options(dir.path()));
    for n in 20..25 {
        bench.store("t", &row(n)); // before the database is there
    }
    assert_eq!(
        bench.pipeline.occupied_bytes(),
        run::RUN_MEMORY * 2, // a stretch of the earlier run of the node, and one of this
        "what waits in the journal costs next to no memory"
    );
    bench.attach(&marks);
    bench.store("t", &row(25));
    committed.extend(drain(&bench, &mut marks));
    assert_eq!(committed, (0..26).collect::<Vec<_>>());
}

#[test]
fn rows_that_could_not_be_stored_come_first_again() {
    let dir = tempfile::tempdir().expect("dir");
    {
        let bench = Bench::open(&options(dir.path()));
        bench.store("t", &row(0));
        bench.store("u", &row(1));
        bench.store("t", &row(2));
    }
    let bench = Bench::open(&options(dir.path()));
    bench.attach(&HashMap::new());
    let first = bench.take();
    assert_eq!(numbers(&first), [0, 2]);
    bench.pipeline.put_back(first);
    bench.store("t", &row(3)); // behind them
    assert_eq!(drain(&bench, &mut HashMap::new()), [1, 0, 2, 3]);
}

#[test]
fn a_buffer_is_due_by_age_or_by_volume() {
    let dir = tempfile::tempdir().expect("dir");
    let bench = Bench::open(&options(dir.path()));
    bench.attach(&HashMap::new());
    let never = Threshold {
        age: Duration::ZERO,
        bytes: 30,
        immediate: false,
    };
    bench
        .pipeline
        .set_threshold(Key::new("d", "t"), Some(never));
    bench.store("t", &row(1));
    assert!(
        bench
            .pipeline
            .take("d", Duration::from_millis(150))
            .expect("ok")
            .is_none()
    );
    for n in 2..6 {
        bench.store("t", &row(n));
    }
    let flush = bench.take();
    assert_eq!(numbers(&flush), [1, 2, 3, 4, 5]);
    bench.commit(flush);
    bench.store("by_age", &row(7));
    assert_eq!(numbers(&bench.take()), [7]);
}

#[test]
fn a_new_threshold_is_in_force_for_the_next_buffer() {
    let dir = tempfile::tempdir().expect("dir");
    let bench = Bench::open(&options(dir.path()));
    bench.attach(&HashMap::new());
    let threshold = |bytes| Threshold {
        age: Duration::ZERO,
        bytes,
        immediate: false,
    };
    let node = Key::new("", "");
    bench
        .pipeline
        .set_threshold(node.clone(), Some(threshold(1000)));
    bench.store("t", &row(1));
    bench.pipeline.set_threshold(node, Some(threshold(1)));
    bench.store("t", &row(2));
    let due = bench.pipeline.take("d", Duration::from_millis(50));
    assert!(due.expect("ok").is_none());
    bench.pipeline.hurry();
    let flush = bench.take();
    assert_eq!(numbers(&flush), [1, 2]);
    bench.commit(flush);
    bench.store("t", &row(3));
    assert_eq!(numbers(&bench.take()), [3]);
}

#[test]
fn rows_stored_before_their_acknowledgement_are_told_after_the_commit_with_those_kept_out() {
    let dir = tempfile::tempdir().expect("dir");
    let bench = Bench::open(&options(dir.path()));
    bench.attach(&HashMap::new());
    let immediate = Threshold {
        immediate: true,
        ..Threshold::default()
    };
    bench
        .pipeline
        .set_threshold(Key::new("d", ""), Some(immediate));
    let first = bench.submit("t", "{\"n\": 1}\n{\"n\": 2}");
    let mut flush = bench.take();
    let second = bench.submit("t", &row(3));
    bench.pipeline.put_back(flush); // the database was busy
    while bench.stats("t").buffered < 3 {
        std::thread::yield_now();
    }
    flush = bench.take();
    assert_eq!(numbers(&flush), [1, 2, 3]);
    assert!(bench.pipeline.completions().is_empty());
    let ended = Ended {
        rejected: vec![(1, "no".into())],
        hold: false,
    };
    bench.pipeline.committed(flush, &[ended]);
    let stored = |rows, rejected, reason: &str| Outcome::Stored {
        rows,
        rejected,
        reason: reason.to_owned(),
    };
    let told = bench.outcomes(2);
    assert_eq!(
        told,
        [(first, stored(1, 1, "no")), (second, stored(1, 0, ""))]
    );
    let stats = bench.stats("t");
    assert_eq!((stats.immediate, stats.stored, stats.rejected), (2, 2, 1));
}

#[test]
fn a_flush_is_told_when_what_was_there_is_stored() {
    let dir = tempfile::tempdir().expect("dir");
    let bench = Bench::open(&options(dir.path()));
    bench.passed(bench.pipeline.flush_all());
    bench.attach(&HashMap::new());
    bench
        .pipeline
        .set_level(Key::new("d", "t"), Some(Level::Memory));
    bench.store("t", &row(1));
    bench.store("u", &row(2));
    let ticket = bench.pipeline.flush_all();
    for _ in 0..2 {
        let flush = bench.take();
        bench.submit("v", &row(3)); // later: it is not waited for
        let told = bench.pipeline.completions();
        assert!(!told.contains(&(ticket, Outcome::Passed)));
        bench.commit(flush);
    }
    bench.passed(ticket);
}

#[test]
fn rows_acknowledged_before_the_journal_failed_live_on_in_memory() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = options(dir.path());
    options.journal.before_sync = Some(Arc::new(|| Err(std::io::Error::other("gone"))));
    let bench = Bench::open(&options);
    bench.attach(&HashMap::new());
    bench
        .pipeline
        .set_level(Key::new("d", "fast"), Some(Level::Fast));
    bench
        .pipeline
        .set_level(Key::new("d", "memory"), Some(Level::Memory));
    bench.store("fast", &row(1));
    bench.store("memory", &row(2));
    bench.submit("durable", &row(3));
    assert!(matches!(bench.outcomes(1)[0].1, Outcome::Journal(_)));
    let mut found = drain(&bench, &mut HashMap::new());
    found.sort_unstable();
    assert_eq!(found, [1, 2]);
}

#[test]
fn what_is_received_is_stored_kept_out_or_pending_at_any_time() {
    let dir = tempfile::tempdir().expect("dir");
    let exact = |bench: &Bench| {
        for (key, s) in bench.pipeline.stats() {
            assert_eq!(
                s.rows + s.recovered,
                s.stored + s.rejected + s.pending(),
                "{key:?} {s:?}"
            );
        }
    };
    let mut marks = HashMap::new();
    for _ in 0..3 {
        let bench = Bench::open(&options(dir.path()));
        exact(&bench);
        bench.store("t", "[{\"n\": 1}, {\"n\": 2}]");
        exact(&bench);
        bench.attach(&marks);
        exact(&bench);
        bench.store("t", &row(3));
        bench.pipeline.hurry();
        let flush = bench.take();
        exact(&bench);
        assert_eq!(flush.rows, 3);
        marks.insert("t".to_owned(), flush.last);
        let ended = Ended {
            rejected: vec![(0, "no".into())],
            hold: false,
        };
        bench.pipeline.committed(flush, &[ended]);
        exact(&bench);
        bench.pipeline.detach("d");
        exact(&bench);
    }
}

#[test]
fn a_payload_that_is_no_rows_any_more_is_told_and_not_lost() {
    let dir = tempfile::tempdir().expect("dir");
    let bench = Bench::open(&options(dir.path()));
    let wide: Vec<String> = (0..1500).map(|n| format!("\"c{n}\": 1")).collect();
    bench.store("t", &format!("{{{}}}", wide.join(",")));
    bench.store("t", &row(2));
    let columns = (0..1500).map(|n| crate::rows::ColumnDef {
        name: format!("other{n}"),
        kind: crate::rows::LogicalType::Int,
        default_now: false,
    });
    let schema = Schema {
        columns: columns.collect(),
    };
    bench.pipeline.set_schema(&Key::new("d", "t"), Some(schema));
    bench.attach(&HashMap::new());
    let flush = bench.take();
    assert_eq!((numbers(&flush), flush.unread.len()), (vec![2], 1));
    bench.pipeline.put_back(flush);
    let flush = bench.take();
    assert_eq!(flush.unread.len(), 1);
    bench.commit(flush);
    let stats = bench.stats("t");
    assert_eq!((stats.stored, stats.rejected, stats.pending()), (1, 1, 0));
}

#[test]
fn a_failed_sync_is_told_to_every_submitter() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = options(dir.path());
    options.journal.before_sync = Some(Arc::new(|| Err(std::io::Error::other("the disk is gone"))));
    let bench = Bench::open(&options);
    bench.attach(&HashMap::new());
    for n in 0..5 {
        bench.submit("t", &row(n));
    }
    for (_, outcome) in bench.outcomes(5) {
        assert!(matches!(outcome, Outcome::Journal(JournalError::Failed(_))));
    }
    assert_eq!(bench.pipeline.pending("d"), 0);
    assert_eq!(bench.pipeline.occupied_bytes(), 0);
}
