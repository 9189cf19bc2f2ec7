//! How far sources are read, kept with the rows.

use super::*;
use crate::rows;

fn read_to(next: i64) -> Vec<Position> {
    vec![Position {
        source: "log 0".into(),
        next,
    }]
}

fn mapped(n: i64) -> MappedRows {
    let payload = format!("{{\"n\": {n}, \"pad\": \"{}\"}}", "x".repeat(500));
    let parsed = rows::parse(payload.as_bytes(), None, &Zone::UTC).expect("rows");
    MappedRows {
        key: Key::new("d", "t"),
        origin: Origin {
            source: "0".into(),
            instructions: "0".into(),
        },
        chunk: parsed.chunk,
        declared: Vec::new(),
        arrival_us: 0,
        receipts: Receipts::default(),
    }
}

#[test]
fn a_position_outlasts_its_rows_and_the_segments_they_stood_in() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = options(dir.path());
    options.journal.segment_bytes = 4 << 10;
    let mut marks = HashMap::new();
    for life in 0..3 {
        let bench = Bench::open(&options);
        let known = (life > 0).then_some(life * 40);
        assert_eq!(bench.pipeline.position("log 0"), known);
        bench.attach(&marks);
        for n in life * 40..(life + 1) * 40 {
            bench
                .pipeline
                .submit_mapped_all(vec![mapped(n)], read_to(n + 1));
            bench.outcomes(1);
        }
        assert_eq!(drain(&bench, &mut marks).len(), 40);
        bench.pipeline.synced("d").expect("freed");
        assert!(bench.pipeline.journal_bytes() < 12 << 10);
        assert_eq!(bench.pipeline.position("log 0"), Some((life + 1) * 40));
    }
}

#[test]
fn a_position_without_rows_is_kept_and_may_go_back() {
    let dir = tempfile::tempdir().expect("dir");
    for next in [7, 3] {
        let bench = Bench::open(&options(dir.path()));
        assert!(
            bench
                .pipeline
                .submit_mapped_all(Vec::new(), read_to(next))
                .is_empty()
        );
        bench.pipeline.close();
        assert_eq!(bench.pipeline.position("log 0"), Some(next));
    }
    let bench = Bench::open(&options(dir.path()));
    assert_eq!(bench.pipeline.position("log 0"), Some(3));
}
