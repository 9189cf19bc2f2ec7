use proptest::prelude::*;

use super::*;
use crate::rows::Bitmap;

const MINUTE: i64 = 60_000_000;

fn chunk(rows: &[(i64, Option<f64>)]) -> Chunk {
    let mut validity = Bitmap::default();
    for (_, value) in rows {
        validity.push(value.is_some());
    }
    let column = |name: &str, data, validity| Column {
        name: name.to_owned(),
        data,
        validity,
    };
    Chunk {
        columns: vec![
            column(
                "timestamp",
                ColumnData::Time(rows.iter().map(|(us, _)| *us).collect()),
                None,
            ),
            column(
                "value",
                ColumnData::Float(rows.iter().map(|(_, v)| v.unwrap_or(0.0)).collect()),
                Some(validity),
            ),
        ],
        len: rows.len(),
    }
}

fn spec(keep: usize, tolerance: Option<f64>) -> Spec {
    Spec {
        interval_us: MINUTE,
        keep,
        tolerance,
    }
}

/// As the database does: the state crosses every batch as text; entries of open intervals are replaced.
fn run(batches: &[Vec<(i64, Option<f64>)>], spec: Spec) -> (Vec<Tally>, Vec<usize>) {
    let mut known: BTreeMap<i64, Interval> = BTreeMap::new();
    let (mut open, mut done, mut unused) = (BTreeMap::new(), Vec::new(), Vec::new());
    for batch in batches {
        let found = aggregate(
            &chunk(batch),
            Time::Column("timestamp"),
            "value",
            spec,
            &known,
        );
        for entry in found.entries {
            let text = entry.tally.to_text();
            let tally: Tally = text.parse().expect("what was written is read");
            assert_eq!(tally.to_text(), text);
            open.remove(&entry.start_us);
            if entry.open {
                open.insert(entry.start_us, tally);
            } else {
                done.push(tally);
            }
        }
        known.retain(|start, _| *start >= found.oldest_us);
        for (start, interval) in found.kept {
            known.insert(start, interval.to_text().parse().expect("read"));
        }
        assert!(known.len() <= spec.keep);
        let (kept, ended): (BTreeMap<_, _>, BTreeMap<_, _>) = open
            .into_iter()
            .partition(|(start, _)| *start >= found.oldest_us);
        open = kept;
        done.extend(ended.into_values());
        unused.extend(found.unused);
    }
    done.extend(open.into_values());
    (done, unused)
}

#[test]
fn an_interval_grows_over_batches_and_late_values_go_where_they_belong() {
    let batches = vec![
        vec![(10, Some(1.0)), (MINUTE + 1, Some(5.0))],
        vec![(MINUTE + 2, Some(7.0)), (5, Some(-1.0)), (30, None)],
    ];
    let (mut done, unused) = run(&batches, spec(10, None));
    done.sort_by_key(|t| t.first_us);
    assert_eq!(unused, [2]);
    assert_eq!(
        done.iter()
            .map(|t| (t.count, t.first_us, t.last_us))
            .collect::<Vec<_>>(),
        [(2, 5, 10), (2, MINUTE + 1, MINUTE + 2)]
    );
    assert_eq!(
        (&done[1].min, &done[1].max),
        (&Val::Float(5.0), &Val::Float(7.0))
    );
    assert!((done[1].average() - 6.0).abs() < f64::EPSILON);
}

#[test]
fn a_value_before_the_kept_intervals_has_an_entry_of_its_own() {
    let batches = vec![
        vec![(0, Some(1.0)), (MINUTE, Some(2.0)), (2 * MINUTE, Some(3.0))],
        vec![(1, Some(9.0))],
    ];
    let (done, _) = run(&batches, spec(2, None));
    assert_eq!(done.iter().map(|t| t.count).sum::<u64>(), 4);
    assert_eq!(done.iter().filter(|t| t.first_us < MINUTE).count(), 2);
}

#[test]
fn a_run_takes_what_is_near_its_first_value() {
    let values = [100.0, 109.0, 91.0, 111.0, 112.0, 0.0, 0.0, 1.0];
    let rows: Vec<_> = values
        .iter()
        .zip(0..)
        .map(|(v, us)| (us, Some(*v)))
        .collect();
    let found = aggregate(
        &chunk(&rows),
        Time::Column("timestamp"),
        "value",
        spec(1, Some(10.0)),
        &BTreeMap::new(),
    );
    let counts: Vec<_> = found.entries.iter().map(|e| e.tally.count).collect();
    assert_eq!(counts, [3, 2, 2, 1]);
    assert_eq!(found.entries.iter().filter(|e| e.open).count(), 1);
    assert_eq!(found.kept[&0].all.count, 8);
}

#[test]
fn a_text_of_the_database_that_is_none_is_an_error() {
    for text in [
        "",
        "1 2",
        "1 2 3.0 4.0 0 1 2 x 4",
        "1 1 0.0 0.0 0 1 1 0 0 1.0 2",
    ] {
        assert!(text.parse::<Interval>().is_err(), "{text}");
    }
}

#[test]
fn the_batch_may_give_all_rows_their_time() {
    let rows = chunk(&[(1, Some(1.0)), (3 * MINUTE, Some(2.0))]);
    let found = aggregate(
        &rows,
        Time::Fixed(7),
        "value",
        spec(3, None),
        &BTreeMap::new(),
    );
    assert_eq!(found.entries.len(), 1);
    assert_eq!(found.entries[0].tally.count, 2);
    let none = aggregate(
        &rows,
        Time::Column("no"),
        "value",
        spec(3, None),
        &BTreeMap::new(),
    );
    assert_eq!(none.unused, [0, 1]);
}

proptest! {
    /// However the rows are cut into batches, each interval has what one pass over its rows gives, and with too few
    /// intervals kept the totals still hold.
    #[test]
    fn batches_come_to_what_all_rows_come_to(
        rows in prop::collection::vec((0_i64..8 * MINUTE, prop::option::weighted(0.9, -1e6_f64..1e6)), 1..120),
        cuts in prop::collection::vec(1_usize..30, 1..12),
        keep in 1_usize..10,
        tolerance in prop::option::of(0.0_f64..80.0),
    ) {
        let (mut batches, mut rest, mut cut) = (Vec::new(), rows.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (own, others) = rest.split_at((*cut.next().expect("cycles")).min(rest.len()));
            batches.push(own.to_vec());
            rest = others;
        }
        let (done, unused) = run(&batches, spec(keep, tolerance));
        let used: Vec<_> = rows.iter().filter_map(|(us, v)| v.map(|v| (*us, v))).collect();
        prop_assert_eq!(unused.len() + used.len(), rows.len());
        let mut wanted: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for (us, v) in &used {
            wanted.entry(us / MINUTE).or_default().push(*v);
        }
        let mut got: BTreeMap<i64, Vec<&Tally>> = BTreeMap::new();
        for t in &done {
            got.entry(t.first_us / MINUTE).or_default().push(t);
        }
        for (minute, values) in &wanted {
            let parts = &got[minute];
            if keep >= 8 && tolerance.is_none() {
                prop_assert_eq!(parts.len(), 1);
            }
            prop_assert_eq!(parts.iter().map(|t| t.count).sum::<u64>(), values.len() as u64);
            let least = parts.iter().map(|t| tally::float(&t.min)).fold(f64::INFINITY, f64::min);
            let most = parts.iter().map(|t| tally::float(&t.max)).fold(f64::NEG_INFINITY, f64::max);
            let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
            prop_assert!((least - low).abs() < f64::EPSILON && (most - high).abs() < f64::EPSILON);
            let total: f64 = parts.iter().map(|t| t.average() * t.count as f64).sum();
            prop_assert!((total - values.iter().sum::<f64>()).abs() < 1e-3);
            for part in parts {
                prop_assert!(part.first_us / MINUTE == *minute && part.last_us / MINUTE == *minute);
            }
        }
        prop_assert_eq!(got.len(), wanted.len());
    }
}
