//! Rows that become files, and rows that are booked.

use super::*;

#[test]
fn rows_are_parted_by_origin_and_held_until_their_archive_is_written() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = options(dir.path());
    options.journal.segment_bytes = 1024;
    let mut marks = HashMap::new();
    let mut batches = Vec::new();
    {
        let bench = Bench::open(&options);
        bench.attach(&marks);
        bench.pipeline.set_by_origin(true);
        for n in 0..40 {
            let payload = format!("[{{\"n\": {n}}}]").into_bytes();
            let source = if n % 2 == 0 { "even" } else { "odd" };
            let key = Key::new("d", "t");
            bench
                .pipeline
                .submit(key, payload, source, "0")
                .expect("taken");
            bench.outcomes(1);
        }
        bench.pipeline.hurry();
        let flush = bench.take();
        assert_eq!(flush.parts.len(), 2);
        for part in &flush.parts {
            batches.push(Batch {
                table: "t".into(),
                first: part.first,
                last: part.last,
                origin: Origin::clone(&part.origin),
            });
        }
        marks.insert("t".to_owned(), flush.last);
        let hold = Ended {
            hold: true,
            ..Ended::default()
        };
        bench.pipeline.committed(flush, &[hold.clone(), hold]);
        let segments = bench.pipeline.journal.segments().len();
        bench.pipeline.synced("d").expect("synced");
        assert_eq!(bench.pipeline.journal.segments().len(), segments);
    }
    let bench = Bench::open(&options);
    bench.pipeline.set_by_origin(true);
    let found = bench.pipeline.attach("d", &marks, &batches);
    assert_eq!(found.expect("readable"), [20, 20]);
    assert_eq!(bench.pipeline.pending("d"), 0);
    let key = Key::new("d", "t");
    let mut content = bench.pipeline.held(&key, batches[1].first).expect("held");
    let text = content.next_piece().expect("readable").expect("text");
    let expected: String = (0..20).map(|n| row(2 * n + 1) + "\n").collect();
    assert_eq!(String::from_utf8(text).expect("text"), expected);
    for batch in &batches {
        bench.pipeline.archived(&key, batch.first).expect("freed");
    }
    assert_eq!(bench.pipeline.journal.segments().len(), 1);
    assert_eq!(bench.pipeline.occupied_bytes(), 0);
}

#[test]
fn rows_that_an_operator_was_to_book_wait_for_the_next_one() {
    let dir = tempfile::tempdir().expect("dir");
    {
        let bench = Bench::open(&options(dir.path()));
        bench.pipeline.set_by_origin(true);
        bench.store("t", &row(1));
    }
    for by_flush in [true, false] {
        let bench = Bench::open(&options(dir.path()));
        bench.attach(&HashMap::new());
        let soon = Duration::from_millis(150);
        assert!(bench.pipeline.take("d", soon).expect("ok").is_none());
        if by_flush {
            bench.pipeline.flush_all();
        } else {
            bench.pipeline.set_by_origin(true);
            assert!(bench.pipeline.take("d", soon).expect("ok").is_none());
            bench.pipeline.unreserve();
        }
        assert_eq!(numbers(&bench.take()), [1]);
    }
}

#[test]
fn rows_that_nobody_stores_become_files_once() {
    let dir = tempfile::tempdir().expect("dir");
    let filed = {
        let bench = Bench::open(&options(dir.path()));
        bench.store("t", &row(1));
        bench.store("t", &row(2));
        bench.pipeline.set_filing(true);
        let batch = bench
            .pipeline
            .take_file(WAIT)
            .expect("readable")
            .expect("due");
        bench.pipeline.unfiled(batch); // the disk was full
        let batch = bench
            .pipeline
            .take_file(WAIT)
            .expect("readable")
            .expect("due");
        let piece = bench.pipeline.content(&batch).next_piece();
        assert_eq!(
            piece.expect("readable").expect("text"),
            b"{\"n\": 1}\n{\"n\": 2}\n"
        );
        bench.pipeline.filed(&batch).expect("noted");
        bench.store("t", &row(3));
        assert_eq!((bench.stats("t").stored, bench.stats("t").waiting), (2, 1));
        batch.rows
    };
    assert_eq!(filed, 2);
    let bench = Bench::open(&options(dir.path()));
    assert_eq!(bench.pipeline.pending("d"), 1);
    bench.pipeline.set_filing(true);
    let soon = Duration::from_millis(150);
    assert!(
        bench.pipeline.take_file(soon).expect("ok").is_none(),
        "rows of an earlier run wait for their database"
    );
    bench.attach(&HashMap::new());
    assert_eq!(drain(&bench, &mut HashMap::new()), [3]);
}

#[test]
fn rows_of_a_database_that_is_about_to_be_attached_become_no_files() {
    let dir = tempfile::tempdir().expect("dir");
    let bench = Bench::open(&options(dir.path()));
    bench.pipeline.set_filing(true);
    bench.pipeline.expect("d", true);
    bench.store("t", &row(1));
    bench.passed(bench.pipeline.flush_all()); // and nobody waits for it
    let soon = Duration::from_millis(150);
    assert!(bench.pipeline.take_file(soon).expect("ok").is_none());
    bench.attach(&HashMap::new());
    bench.pipeline.expect("d", false);
    assert_eq!(numbers(&bench.take()), [1]);
}
