//! Memory, the journal's size, and how it gives room back.

use super::*;

#[test]
fn rows_beyond_the_memory_for_buffers_wait_in_the_journal_and_keep_their_order() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = options(dir.path());
    options.limit_bytes = 64 * 1024;
    let bench = Bench::open(&options);
    bench.attach(&HashMap::new());
    let pad = "x".repeat(500);
    for n in 0..400 {
        bench.store("t", &format!("{{\"n\": {n}, \"pad\": \"{pad}\"}}"));
        assert!(bench.pipeline.occupied_bytes() <= options.limit_bytes);
    }
    let stats = bench.stats("t");
    assert!(stats.waiting > 100, "{stats:?}");
    assert_eq!(stats.pending(), 400);
    let found = drain(&bench, &mut HashMap::new());
    assert_eq!(found, (0..400).collect::<Vec<_>>());
    assert_eq!(bench.pipeline.occupied_bytes(), 0);
}

#[test]
fn a_full_journal_refuses_and_tells_when_there_is_room() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = options(dir.path());
    options.journal.segment_bytes = 4 << 10;
    options.journal.limit_bytes = 32 << 10;
    let bench = Bench::open(&options);
    bench.attach(&HashMap::new());
    let mut stored = 0;
    let refused = loop {
        let payload = format!("{{\"n\": {stored}, \"pad\": \"{}\"}}", "x".repeat(500));
        match bench
            .pipeline
            .submit(Key::new("d", "t"), payload.into_bytes(), "0", "0")
        {
            Ok(_) => {
                bench.outcomes(1);
                stored += 1;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SubmitError::Overloaded { .. }));
    assert!(!bench.pipeline.has_room(100));
    assert_eq!(drain(&bench, &mut HashMap::new()).len(), stored);
    assert!(!bench.pipeline.has_room(100), "committed is not synced");
    while !bench.pipeline.completions().is_empty() {}
    bench.pipeline.synced("d").expect("freed");
    assert_eq!(bench.pipeline.completions(), [(ROOM, Outcome::Passed)]);
    assert!(bench.pipeline.has_room(100));
    bench.store("t", &row(0));
}

#[test]
fn segments_go_when_all_their_rows_are_committed_and_synced() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = options(dir.path());
    options.journal.segment_bytes = 2048;
    let bench = Bench::open(&options);
    bench.attach(&HashMap::new());
    for n in 0..100 {
        bench.store(if n % 2 == 0 { "t" } else { "u" }, &row(n));
    }
    let all = bench.pipeline.journal.segments().len();
    assert!(all > 3);
    bench.pipeline.hurry();
    let flush = bench.take();
    bench.commit(flush);
    bench.pipeline.synced("d").expect("synced");
    assert_eq!(
        bench.pipeline.journal.segments().len(),
        all,
        "the other table still needs them"
    );
    let flush = bench.take();
    bench.commit(flush);
    assert_eq!(
        bench.pipeline.journal.segments().len(),
        all,
        "committed is not synced"
    );
    bench.pipeline.synced("d").expect("synced");
    assert_eq!(bench.pipeline.journal.segments().len(), 1);
}
