use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::rows::Cell;

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
            found.extend(self.pipeline.completions());
        }
        found
    }

    /// Submit and wait until it is durable.
    fn store(&self, table: &str, payload: &str) {
        let ticket = self.submit(table, payload);
        let (told, outcome) = self.outcomes(1).remove(0);
        assert_eq!(told, ticket);
        assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
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
    let column = flush.chunk.column("n").expect("n");
    (0..flush.chunk.len)
        .map(|row| match column.cell(row) {
            Cell::Int(n) => n,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Take and commit everything of "d"; the numbers by table, and the watermarks a database would keep.
fn drain(bench: &Bench, marks: &mut HashMap<String, u64>) -> Vec<i64> {
    let mut found = Vec::new();
    bench.pipeline.flush_all();
    while bench.pipeline.pending("d") > 0 {
        let flush = bench.take();
        assert!(flush.first > marks.get(&flush.key.table).copied().unwrap_or(0));
        marks.insert(flush.key.table.clone(), flush.last);
        found.extend(numbers(&flush));
        bench.pipeline.committed(&flush);
        bench.pipeline.flush_all();
    }
    found
}

#[test]
fn rows_come_out_in_the_order_of_their_acknowledgement() {
    let dir = tempfile::tempdir().expect("dir");
    let bench = Bench::open(&options(dir.path()));
    bench.pipeline.attach("d", &HashMap::new());
    for n in 0..200 {
        bench.submit("t", &row(n));
    }
    assert_eq!(bench.outcomes(200).len(), 200);
    let found = drain(&bench, &mut HashMap::new());
    assert_eq!(found, (0..200).collect::<Vec<_>>());
    assert_eq!(bench.pipeline.in_flight_bytes(), 0);
    let stats = bench.pipeline.stats()[0].1;
    assert_eq!(
        (
            stats.calls,
            stats.rows,
            stats.flushed_rows,
            stats.buffered_rows
        ),
        (200, 200, 200, 0)
    );
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
    assert_eq!(bench.pipeline.in_flight_bytes(), 0);
    assert_eq!(bench.pipeline.pending("d"), 0);
}

#[test]
fn what_was_acknowledged_comes_back_once_after_a_restart() {
    let dir = tempfile::tempdir().expect("dir");
    let mut marks = HashMap::new();
    let mut committed = Vec::new();
    {
        let bench = Bench::open(&options(dir.path()));
        bench.pipeline.attach("d", &marks);
        for n in 0..10 {
            bench.store("t", &row(n));
        }
        bench.pipeline.flush_all();
        let flush = bench.take();
        marks.insert("t".to_owned(), flush.last);
        committed.extend(numbers(&flush));
        bench.pipeline.committed(&flush);
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
        bench.pipeline.in_flight_bytes(),
        0,
        "what waits in the journal costs no memory"
    );
    bench.pipeline.attach("d", &marks);
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
    bench.pipeline.attach("d", &HashMap::new());
    let first = bench.take();
    assert_eq!(numbers(&first), [0]);
    bench.pipeline.put_back(first);
    let again = bench.take();
    assert_eq!(
        numbers(&again),
        [0],
        "older than what still waits in the journal"
    );
    bench.pipeline.put_back(again);
    assert_eq!(drain(&bench, &mut HashMap::new()), [0, 1, 2]);
}

#[test]
fn a_buffer_is_due_by_age_or_by_volume() {
    let dir = tempfile::tempdir().expect("dir");
    let bench = Bench::open(&options(dir.path()));
    bench.pipeline.attach("d", &HashMap::new());
    let never = Threshold {
        age: Duration::ZERO,
        bytes: 30,
    };
    bench
        .pipeline
        .set_threshold(Some(&Key::new("d", "t")), Some(never));
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
    bench.pipeline.committed(&flush);
    bench.store("by_age", &row(7));
    assert_eq!(numbers(&bench.take()), [7]);
}

#[test]
fn a_full_pipeline_refuses_and_takes_again_after_a_commit() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = options(dir.path());
    options.limit_bytes = 2000;
    let bench = Bench::open(&options);
    bench.pipeline.attach("d", &HashMap::new());
    let mut stored = 0;
    let refused = loop {
        match bench
            .pipeline
            .submit(Key::new("d", "t"), row(stored).into_bytes(), "0", "0")
        {
            Ok(_) => {
                bench.outcomes(1);
                stored += 1;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(
        refused,
        SubmitError::Overloaded { limit: 2000, .. }
    ));
    assert_eq!(drain(&bench, &mut HashMap::new()).len(), stored);
    bench.store("t", &row(0));
}

#[test]
fn segments_go_when_all_their_rows_are_committed_and_synced() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = options(dir.path());
    options.journal.segment_bytes = 2048;
    let bench = Bench::open(&options);
    bench.pipeline.attach("d", &HashMap::new());
    for n in 0..100 {
        bench.store(if n % 2 == 0 { "t" } else { "u" }, &row(n));
    }
    let all = bench.pipeline.journal.segments().len();
    assert!(all > 3);
    bench.pipeline.flush_all();
    let flush = bench.take();
    bench.pipeline.committed(&flush);
    bench.pipeline.synced("d").expect("synced");
    assert_eq!(
        bench.pipeline.journal.segments().len(),
        all,
        "the other table still needs them"
    );
    let flush = bench.take();
    bench.pipeline.committed(&flush);
    assert_eq!(
        bench.pipeline.journal.segments().len(),
        all,
        "committed is not synced"
    );
    bench.pipeline.synced("d").expect("synced");
    assert_eq!(bench.pipeline.journal.segments().len(), 1);
}

#[test]
fn a_failed_sync_is_told_to_every_submitter() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = options(dir.path());
    options.journal.before_sync = Some(Arc::new(|| Err(std::io::Error::other("the disk is gone"))));
    let bench = Bench::open(&options);
    bench.pipeline.attach("d", &HashMap::new());
    for n in 0..5 {
        bench.submit("t", &row(n));
    }
    for (_, outcome) in bench.outcomes(5) {
        assert!(matches!(outcome, Outcome::Journal(JournalError::Failed(_))));
    }
    assert_eq!(bench.pipeline.pending("d"), 0);
    assert_eq!(bench.pipeline.in_flight_bytes(), 0);
}

#[test]
fn what_a_record_needs_is_read_back() {
    let meta = Meta {
        key: Key::new("plant", "größe"),
        source: "s1".into(),
        instructions: "0".into(),
        arrival_us: -5,
    };
    let bytes = meta.encode();
    assert_eq!(Meta::decode(&bytes), Some(meta));
    for cut in 0..bytes.len() {
        assert_eq!(Meta::decode(&bytes[..cut]), None);
    }
}
