//! Aggregates that SQLite answers without reading rows: `count(*)`, and the ends of an index.
//!
//! Others are left to the native scan: count, min, max and avg over 5 M rows took it 0.34 s of CPU time, SQLite's own
//! functions 0.41 s (and two threads share it).

use super::source::Physical;
use crate::query::spec::{Aggregate, Function};

/// What a scan selects instead of its rows; `None` when rows must be read.
///
/// `columns`: texts of the aggregates' columns, in the aggregates' order.
pub fn columns(
    one: &Physical<'_>,
    aggregates: &[Aggregate],
    columns: &[Option<&str>],
) -> Option<String> {
    if aggregates.is_empty() {
        return None;
    }
    let counts_only = aggregates.iter().all(|a| a.function == Function::CountRows);
    if counts_only {
        return Some(format!("SELECT count(*){}", one.tail(false)));
    }
    if one.condition.is_some() {
        return None;
    }
    let indexed = one.table.time_column().map(|c| c.sql(true));
    let parts: Vec<String> = aggregates
        .iter()
        .zip(columns)
        .map(|(aggregate, column)| {
            let end = match aggregate.function {
                Function::CountRows => {
                    return Some(format!("(SELECT count(*){})", one.tail(false)));
                }
                Function::Min => "min",
                Function::Max => "max",
                _ => return None,
            };
            let column = column.filter(|c| indexed.as_deref() == Some(c))?;
            Some(format!("(SELECT {end}({column}){})", one.tail(false)))
        })
        .collect::<Option<_>>()?;
    Some(format!("SELECT {}", parts.join(", ")))
}

/// How the answers of several scans become one.
pub fn merged(aggregates: &[Aggregate]) -> Vec<Aggregate> {
    let merged = aggregates
        .iter()
        .enumerate()
        .map(|(at, aggregate)| Aggregate {
            function: match aggregate.function {
                Function::Min => Function::Min,
                Function::Max => Function::Max,
                _ => Function::Sum,
            },
            column: Some(at),
        });
    merged.collect()
}
