//! Continuous aggregates: the rows of a batch go into the time intervals of one value column.
//!
//! Nothing is kept here between batches: who calls has the intervals, and puts those that changed back in the
//! transaction of the rows, so that a crash neither loses nor doubles a value. Memory is that of one batch and of the
//! intervals that are kept.

mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::query::value::Val;
use crate::rows::{Cell, Chunk, Column, ColumnData, TextColumn};

pub use tally::{BadText, Interval, Run, Tally};

/// How a value column is aggregated.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Length of an interval in microseconds, > 0; intervals are counted from 1970-01-01 UTC.
    pub interval_us: i64,
    /// Intervals that are kept, the latest; > 0.
    pub keep: usize,
    /// With run-length encoding: how far a value may be from the first of its run, in percent of that.
    pub tolerance: Option<f64>,
}

/// Where the time of a row comes from.
#[derive(Clone, Copy, Debug)]
pub enum Time<'a> {
    Column(&'a str),
    /// All rows have the same.
    Fixed(i64),
}

/// A row of the derived table.
#[derive(Clone, Debug)]
pub struct Entry {
    pub start_us: i64,
    /// It may change with the next batch, and takes the place of what was there for this interval.
    pub open: bool,
    pub tally: Tally,
}

/// What a batch changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// Intervals that are kept, as far as they changed, by their start.
    pub kept: BTreeMap<i64, Interval>,
    /// Start of the first interval that is kept; those before it are done.
    pub oldest_us: i64,
    /// The entries of an interval stand in the order of their values.
    pub entries: Vec<Entry>,
    /// Rows that have no time or no number.
    pub unused: Vec<usize>,
}

/// Put rows into intervals. `known` are the intervals that were kept so far, all of them.
pub fn aggregate(
    chunk: &Chunk,
    time: Time<'_>,
    value: &str,
    spec: Spec,
    known: &BTreeMap<i64, Interval>,
) -> Changes {
    let mut changes = Changes::default();
    let values = values(chunk, time, value, &mut changes.unused);
    let starts: BTreeSet<i64> = values
        .iter()
        .map(|(us, _)| start(*us, spec.interval_us))
        .chain(known.keys().copied())
        .collect();
    changes.oldest_us = starts
        .iter()
        .rev()
        .nth(spec.keep.max(1) - 1)
        .or_else(|| starts.first())
        .copied()
        .unwrap_or(i64::MIN);
    let mut rest = values.as_slice();
    while let Some((us, _)) = rest.first() {
        let from = start(*us, spec.interval_us);
        let same = rest.partition_point(|(us, _)| start(*us, spec.interval_us) == from);
        let (own, others) = rest.split_at(same);
        let interval = known.get(&from).cloned().unwrap_or_default();
        changes.add(from, interval, own, spec.tolerance);
        rest = others;
    }
    changes
}

impl Changes {
    fn add(
        &mut self,
        start_us: i64,
        mut interval: Interval,
        values: &[(i64, Val)],
        tolerance: Option<f64>,
    ) {
        let open = start_us >= self.oldest_us;
        for (us, value) in values {
            interval.all.add(*us, value);
            let Some(tolerance) = tolerance else {
                continue;
            };
            let number = tally::float(value);
            match &mut interval.run {
                Some(run) if is_near(run.initial, number, tolerance) => run.tally.add(*us, value),
                held => {
                    let mut run = Run {
                        initial: number,
                        tally: Tally::default(),
                    };
                    run.tally.add(*us, value);
                    if let Some(ended) = held.replace(run) {
                        self.entries.push(Entry {
                            start_us,
                            open: false,
                            tally: ended.tally,
                        });
                    }
                }
            }
        }
        let run = tolerance.and(interval.run.as_ref());
        self.entries.push(Entry {
            start_us,
            open,
            tally: run.map_or_else(|| interval.all.clone(), |run| run.tally.clone()),
        });
        if open {
            self.kept.insert(start_us, interval);
        }
    }
}

#[allow(clippy::float_cmp)] // equal infinities have no difference
fn is_near(initial: f64, value: f64, tolerance: f64) -> bool {
    value == initial || (value - initial).abs() <= initial.abs() * tolerance / 100.0
}

fn start(us: i64, interval_us: i64) -> i64 {
    us.saturating_sub(us.rem_euclid(interval_us.max(1)))
}

/// The rows' times and numbers in the order of time; rows of the same time in theirs.
fn values(chunk: &Chunk, time: Time<'_>, value: &str, unused: &mut Vec<usize>) -> Vec<(i64, Val)> {
    let (times, fixed) = match time {
        Time::Column(name) => (chunk.column(name), None),
        Time::Fixed(us) => (None, Some(us)),
    };
    let numbers = chunk.column(value);
    let mut found = Vec::with_capacity(chunk.len);
    for row in 0..chunk.len {
        let us = fixed.or_else(|| match times.map(|column| column.cell(row)) {
            Some(Cell::Time(us)) => Some(us),
            _ => None,
        });
        match (us, numbers.and_then(|column| number(column, row))) {
            (Some(us), Some(number)) => found.push((us, number)),
            _ => unused.push(row),
        }
    }
    if !found.is_sorted_by_key(|(us, _)| *us) {
        found.sort_by_key(|(us, _)| *us);
    }
    found
}

fn number(column: &Column, row: usize) -> Option<Val> {
    match column.cell(row) {
        Cell::Int(n) => Some(Val::Int(n)),
        Cell::Float(f) => Some(Val::Float(f)),
        Cell::Bool(b) => Some(Val::Int(i64::from(b))),
        // A column that once got a text holds its numbers as texts.
        Cell::BigInt(text) | Cell::Text(text) => match text.parse() {
            Ok(n) => Some(Val::Int(n)),
            Err(_) => text
                .parse()
                .ok()
                .filter(|f: &f64| f.is_finite())
                .map(Val::Float),
        },
        _ => None,
    }
}

/// Rows of a derived table: (value column, values); `bounds`: with the lowest and the highest.
pub fn derived(entries: &[(String, Tally)], bounds: bool) -> Chunk {
    let column = |name: &str, data: ColumnData| Column {
        name: name.to_owned(),
        data,
        validity: None,
    };
    let times = |pick: fn(&Tally) -> i64| {
        ColumnData::Time(entries.iter().map(|(_, tally)| pick(tally)).collect())
    };
    let floats = |pick: fn(&Tally) -> f64| {
        ColumnData::Float(entries.iter().map(|(_, tally)| pick(tally)).collect())
    };
    let mut names = TextColumn::default();
    for (name, _) in entries {
        names.push(name);
    }
    let mut columns = vec![
        column("timestamp", times(|t| t.first_us)),
        column("end_interval", times(|t| t.last_us)),
        column("value_column", ColumnData::Text(names)),
    ];
    if bounds {
        columns.push(column("min_val", floats(|t| tally::float(&t.min))));
        columns.push(column("max_val", floats(|t| tally::float(&t.max))));
    }
    columns.push(column("avg_val", floats(Tally::average)));
    columns.push(column(
        "events",
        ColumnData::Int(
            entries
                .iter()
                .map(|(_, t)| i64::try_from(t.count).unwrap_or(i64::MAX))
                .collect(),
        ),
    ));
    Chunk {
        columns,
        len: entries.len(),
    }
}
