use proptest::prelude::*;

use super::super::spec::Aggregate;
use super::super::time::{HOUR, MINUTE, Unit};
use super::*;
use crate::rows::ColumnData;

const LIMIT: usize = 1 << 20;
const FUNCTIONS: [Function; 7] = [
    Function::Count,
    Function::CountDistinct,
    Function::Min,
    Function::Max,
    Function::Sum,
    Function::Avg,
    Function::Range,
];

fn spec(keys: Vec<Key>, aggregates: &[(Function, usize)]) -> GroupSpec {
    let aggregates = aggregates.iter().map(|&(function, column)| Aggregate {
        function,
        column: (function != Function::CountRows).then_some(column),
    });
    GroupSpec {
        keys,
        aggregates: aggregates.collect(),
    }
}

fn group(spec: &GroupSpec, rows: &[Vec<Val>]) -> Groups {
    let mut groups = Groups::new(spec, LIMIT).expect("a spec");
    for row in rows {
        groups.add(&row[..]).expect("room");
    }
    groups
}

/// The result by rows.
fn result(groups: Groups) -> Vec<Vec<Val>> {
    let columns = groups.finish().expect("a result");
    let len = columns.first().map_or(0, Vec::len);
    (0..len)
        .map(|row| columns.iter().map(|c| c[row].clone()).collect())
        .collect()
}

fn int(value: i64) -> Val {
    Val::Int(value)
}

#[test]
fn every_function_over_one_column() {
    let spec = spec(vec![], &FUNCTIONS.map(|f| (f, 0)));
    let rows: Vec<Vec<Val>> = [int(4), Val::Null, int(1), int(4), Val::Float(1.5)]
        .map(|v| vec![v])
        .into();
    let expected = vec![
        int(4),
        int(3),
        int(1),
        int(4),
        Val::Float(10.5),
        Val::Float(2.625),
        int(3),
    ];
    assert_eq!(result(group(&spec, &rows)), [expected]);
}

#[test]
fn nothing_is_one_row_without_keys_and_none_with() {
    let aggregates = [
        (Function::CountRows, 0),
        (Function::Count, 0),
        (Function::Sum, 0),
        (Function::Avg, 0),
        (Function::Min, 0),
        (Function::Range, 0),
    ];
    let mut expected = vec![Val::Null; 6];
    expected[0] = int(0);
    expected[1] = int(0);
    assert_eq!(result(group(&spec(vec![], &aggregates), &[])), [expected]);
    let keyed = spec(vec![Key::Column(0)], &aggregates);
    assert!(result(group(&keyed, &[])).is_empty());
    assert_eq!(
        result(group(&spec(vec![], &aggregates[..1]), &[])),
        [[int(0)]]
    );
}

#[test]
fn keys_are_equal_as_sqlite_holds_them_and_sorted() {
    let spec = spec(vec![Key::Column(0)], &[(Function::CountRows, 0)]);
    let keys = [
        Val::text("b"),
        Val::Float(2.0),
        int(2),
        Val::Null,
        Val::text(""),
        Val::text("b"),
        Val::Null,
        Val::Float(-0.0),
        int(0),
    ];
    let rows: Vec<Vec<Val>> = keys.map(|v| vec![v]).into();
    let expected = [
        [Val::Null, int(2)],
        [Val::Float(0.0), int(2)],
        [Val::Float(2.0), int(2)],
        [Val::text(""), int(1)],
        [Val::text("b"), int(2)],
    ];
    assert_eq!(result(group(&spec, &rows)), expected);
}

#[test]
fn a_bucket_goes_on_after_a_null_and_after_other_buckets() {
    let bucket = Key::Bucket {
        column: 0,
        unit: Unit::Minute,
        n: 1,
    };
    let spec = spec(
        vec![bucket],
        &[(Function::CountRows, 0), (Function::Min, 0)],
    );
    let rows: Vec<Vec<Val>> = [
        int(5),
        Val::Null,
        int(MINUTE - 1),
        int(MINUTE),
        int(6),
        Val::Null,
        int(HOUR),
    ]
    .map(|v| vec![v])
    .into();
    let got: Vec<Vec<Val>> = result(group(&spec, &rows))
        .into_iter()
        .map(|row| row[1..].to_vec())
        .collect();
    let expected = [
        [int(2), Val::Null],
        [int(3), int(5)],
        [int(1), int(MINUTE)],
        [int(1), int(HOUR)],
    ];
    assert_eq!(got, expected);
    let mut groups = Groups::new(&spec, LIMIT).expect("a spec");
    assert!(matches!(
        groups.add(&[Val::text("yesterday")][..]),
        Err(QueryError::Parse(_))
    ));
}

#[test]
fn memory_is_bounded_by_keys_sets_and_texts_together() {
    let by_key = spec(vec![Key::Column(0)], &[(Function::CountRows, 0)]);
    let by_set = spec(vec![], &[(Function::CountDistinct, 0)]);
    let by_text = spec(vec![], &[(Function::Max, 0)]);
    for (spec, text_bytes) in [(by_key, 10), (by_set, 10), (by_text, 200)] {
        let mut groups = Groups::new(&spec, 100_000).expect("a spec");
        let failed = (0..10_000).find_map(|i| {
            let text = format!("{}{i}", "9".repeat(text_bytes * (1 + i / 10)));
            groups.add(&[Val::text(&text)][..]).err()
        });
        assert!(matches!(failed, Some(QueryError::TooLarge(_))), "{spec:?}");
    }
}

#[test]
fn the_bound_holds_for_all_threads_and_is_given_back() {
    let spec = spec(vec![Key::Column(0)], &[(Function::CountRows, 0)]);
    let whole = Groups::new(&spec, 100_000).expect("a spec");
    let fill = |groups: &mut Groups| (0..10_000).find(|i| groups.add(&[int(*i)][..]).is_err());
    let mut first = whole.empty();
    let alone = fill(&mut first);
    assert!(alone > Some(500));
    assert_eq!(fill(&mut whole.empty()), Some(0));
    drop(first);
    assert_eq!(fill(&mut whole.empty()), alone);
}

#[test]
fn columns_enter_the_merge_with_their_types() {
    let columns = vec![
        vec![int(1), Val::Null],
        vec![Val::Float(0.5), Val::Float(2.0)],
        vec![Val::text("x"), Val::text("")],
        vec![int(1), Val::text("y")],
        vec![Val::Null, Val::Null],
    ];
    let chunk = to_chunk(columns).expect("a chunk");
    assert_eq!(chunk.len, 2);
    assert_eq!(chunk.columns[0].data, ColumnData::Int(vec![1, 0]));
    assert!(chunk.columns[0].is_null(1) && chunk.columns[4].is_all_null());
    assert_eq!(chunk.columns[1].data, ColumnData::Float(vec![0.5, 2.0]));
    assert!(chunk.columns[2].validity.is_none());
    assert!(matches!(chunk.columns[3].data, ColumnData::Mixed(_)));
    let blob = Val::Blob((*b"x").into());
    assert!(matches!(
        to_chunk(vec![vec![blob]]),
        Err(QueryError::Unsupported(_))
    ));
}

fn value() -> impl Strategy<Value = Val> {
    prop_oneof![
        Just(Val::Null),
        (-4_i64..4).prop_map(Val::Int),
        (-4_i64..4).prop_map(|i| Val::Float(i as f64 / 2.0)),
        "[ab]{0,2}".prop_map(|t| Val::text(&t)),
    ]
}

proptest! {
    /// However the rows are dealt to scans, the merged answer is that of one scan.
    #[test]
    fn scans_merge_to_the_whole(
        rows in prop::collection::vec((value(), 0_i64..10_000_000_000, value()), 0..60),
        cut in 0_usize..60,
    ) {
        let rows: Vec<Vec<Val>> = rows.into_iter().map(|(a, us, b)| vec![a, int(us), b]).collect();
        let bucket = Key::Bucket { column: 1, unit: Unit::Minute, n: 7 };
        let all: Vec<_> = FUNCTIONS.iter().flat_map(|&f| [(f, 2), (f, 1)]).chain([(Function::CountRows, 0)]).collect();
        for keys in [vec![], vec![Key::Column(0)], vec![bucket.clone()], vec![bucket, Key::Column(0)]] {
            let spec = spec(keys, &all);
            let cut = cut.min(rows.len());
            let mut left = group(&spec, &rows[..cut]);
            left.merge(group(&spec, &rows[cut..])).expect("room");
            prop_assert_eq!(result(left), result(group(&spec, &rows)));
        }
    }
}
