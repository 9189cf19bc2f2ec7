//! Which values of a time column a condition lets through: partitions and index ranges that need no reading.

use sqlparser::ast::{BinaryOperator, Expr, InTarget, UnaryOperator};

use super::error::Result;
use super::moments::Moments;

/// Closed intervals in order, none touching the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges(Vec<(i64, i64)>);

/// More intervals than this are taken as one: pruning stays right, and cheap.
const MOST: usize = 64;

impl Ranges {
    pub fn all() -> Self {
        Self(vec![(i64::MIN, i64::MAX)])
    }

    fn of(low: i64, high: i64) -> Self {
        Self(if low > high {
            Vec::new()
        } else {
            vec![(low, high)]
        })
    }

    pub fn is_all(&self) -> bool {
        self.0 == [(i64::MIN, i64::MAX)]
    }

    /// The smallest and the largest value that may occur; `None` when no value can.
    pub fn hull(&self) -> Option<(i64, i64)> {
        Some((self.0.first()?.0, self.0.last()?.1))
    }

    /// Whether a value with `start <= value < end` may pass.
    pub fn meets(&self, start: i64, end: i64) -> bool {
        self.0
            .iter()
            .any(|(low, high)| *low < end && *high >= start)
    }

    fn union(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self.0.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::with_capacity(self.0.len());
        for (low, high) in self.0 {
            match merged.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        if merged.len() > MOST {
            let hull = Self(merged).hull();
            return hull.map_or_else(Self::all, |(low, high)| Self::of(low, high));
        }
        Self(merged)
    }

    fn intersection(self, other: &Self) -> Self {
        let mut met = Vec::new();
        for (low, high) in &self.0 {
            for (other_low, other_high) in &other.0 {
                let (low, high) = (*low.max(other_low), *high.min(other_high));
                if low <= high {
                    met.push((low, high));
                }
            }
        }
        Self(Vec::new()).union(Self(met))
    }

    /// Values of `column` for which a condition can be true.
    pub fn of_condition(expr: &Expr, column: &str, moments: &Moments) -> Self {
        walk(expr, column, moments, false)
    }
}

/// `negated`: the condition stands under an odd number of `not`.
fn walk(expr: &Expr, column: &str, moments: &Moments, negated: bool) -> Ranges {
    use BinaryOperator as Op;
    match expr {
        Expr::Nested(inner) => walk(inner, column, moments, negated),
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr,
        } => walk(expr, column, moments, !negated),
        Expr::BinaryOp {
            left,
            op: op @ (Op::And | Op::Or),
            right,
        } => {
            let (left, right) = (
                walk(left, column, moments, negated),
                walk(right, column, moments, negated),
            );
            // not (a and b) is (not a or not b)
            if (*op == Op::And) == negated {
                left.union(right)
            } else {
                left.intersection(&right)
            }
        }
        Expr::BinaryOp { left, op, right } => match compared(left, op, right, column, moments) {
            Some((op, us)) => of_comparison(&op, us, negated),
            None => Ranges::all(),
        },
        Expr::Between {
            expr,
            negated: not,
            low,
            high,
        } if is_column(expr, column) => match (known(low, moments), known(high, moments)) {
            (Some(low), Some(high)) if *not == negated => Ranges::of(low, high),
            (Some(low), Some(high)) => {
                of_comparison(&Op::Lt, low, false).union(of_comparison(&Op::Gt, high, false))
            }
            _ => Ranges::all(),
        },
        Expr::In {
            expr,
            target: InTarget::List(list),
            negated: not,
            ..
        } if is_column(expr, column) && *not == negated => list
            .iter()
            .map(|value| known(value, moments).map_or_else(Ranges::all, |us| Ranges::of(us, us)))
            .fold(Ranges(Vec::new()), Ranges::union),
        _ => Ranges::all(),
    }
}

fn of_comparison(op: &BinaryOperator, us: i64, negated: bool) -> Ranges {
    use BinaryOperator as Op;
    let below = |us: i64| {
        us.checked_sub(1)
            .map_or(Ranges(Vec::new()), |us| Ranges::of(i64::MIN, us))
    };
    let above = |us: i64| {
        us.checked_add(1)
            .map_or(Ranges(Vec::new()), |us| Ranges::of(us, i64::MAX))
    };
    match (op, negated) {
        (Op::Eq, false) | (Op::NotEq, true) => Ranges::of(us, us),
        (Op::Eq, true) | (Op::NotEq, false) => below(us).union(above(us)),
        (Op::Lt, false) | (Op::GtEq, true) => below(us),
        (Op::GtEq, false) | (Op::Lt, true) => Ranges::of(us, i64::MAX),
        (Op::Gt, false) | (Op::LtEq, true) => above(us),
        (Op::LtEq, false) | (Op::Gt, true) => Ranges::of(i64::MIN, us),
        _ => Ranges::all(),
    }
}

/// `column op instant`, turned round when the instant stands first.
fn compared(
    left: &Expr,
    op: &BinaryOperator,
    right: &Expr,
    column: &str,
    moments: &Moments,
) -> Option<(BinaryOperator, i64)> {
    use BinaryOperator as Op;
    if is_column(left, column) {
        return Some((op.clone(), known(right, moments)?));
    }
    if !is_column(right, column) {
        return None;
    }
    let turned = match op {
        Op::Lt => Op::Gt,
        Op::LtEq => Op::GtEq,
        Op::Gt => Op::Lt,
        Op::GtEq => Op::LtEq,
        other => other.clone(),
    };
    Some((turned, known(left, moments)?))
}

fn is_column(expr: &Expr, column: &str) -> bool {
    match expr {
        Expr::Identifier(name) => name.value == column,
        Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|p| p.value == column),
        Expr::Nested(inner) => is_column(inner, column),
        _ => false,
    }
}

fn known(expr: &Expr, moments: &Moments) -> Option<i64> {
    moments.instant(expr).ok().flatten()
}

/// Every instant that a condition compares `column` with, for the span of `increments(column)`.
pub fn limits(expr: &Expr, column: &str, moments: &Moments) -> Result<Vec<i64>> {
    let mut found = Vec::new();
    let mut waiting = vec![expr];
    while let Some(expr) = waiting.pop() {
        match expr {
            Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => waiting.push(inner),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::And | BinaryOperator::Or,
                right,
            } => waiting.extend([left.as_ref(), right.as_ref()]),
            Expr::BinaryOp { left, right, .. } if is_column(left, column) => {
                found.extend(moments.instant(right)?);
            }
            Expr::BinaryOp { left, right, .. } if is_column(right, column) => {
                found.extend(moments.instant(left)?);
            }
            Expr::Between {
                expr, low, high, ..
            } if is_column(expr, column) => {
                found.extend(moments.instant(low)?);
                found.extend(moments.instant(high)?);
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::dialect::prepare;
    use crate::query::time::{DAY, Zone, parse_instant};

    fn day(text: &str) -> i64 {
        parse_instant(&format!("2025-01-{text}"), &Zone::Utc).expect("a day")
    }

    /// Days of January 2025 that are left over, as text.
    fn days(condition: &str) -> String {
        let moments = Moments {
            now_us: day("20"),
            local: Zone::Utc,
        };
        let prepared = prepare(&format!("select a from t where {condition}")).expect("a select");
        let expr = prepared
            .select()
            .and_then(|s| s.selection.clone())
            .expect("a condition");
        let ranges = Ranges::of_condition(&expr, "ts", &moments);
        (1..=31)
            .filter(|d| {
                let start = day("01") + (d - 1) * DAY;
                ranges.meets(start, start + DAY)
            })
            .map(|d| d.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn partitions_are_left_out_by_the_whole_tree() {
        assert_eq!(days("ts >= '2025-01-30'"), "30 31");
        assert_eq!(days("ts < '2025-01-03' and value > 5"), "1 2");
        assert_eq!(days("'2025-01-03' > ts"), "1 2");
        assert_eq!(
            days("ts = '2025-01-03' or ts between '2025-01-05' and '2025-01-06'"),
            "3 5 6"
        );
        assert_eq!(
            days("(ts > '2025-01-29T05:00:00Z' or ts < '2025-01-02') and name = 'a'"),
            "1 29 30 31"
        );
        assert_eq!(
            days("not (ts >= '2025-01-02' and ts < '2025-01-31')"),
            "1 31"
        );
        assert_eq!(
            days("not ts between '2025-01-02' and '2025-01-30T23:59:59.999999Z'"),
            "1 31"
        );
        assert_eq!(days("ts in ('2025-01-04', '2025-01-09')"), "4 9");
        assert_eq!(days("ts > now() - 2 days and ts <= now()"), "18 19 20");
        assert_eq!(days("ts > '2025-01-05' and ts < '2025-01-02'"), "");
        // An 'or' that is not bound to the column lets everything through.
        assert_eq!(
            days("ts = '2025-01-03' or value = 1").split(' ').count(),
            31
        );
        assert_eq!(days("ts is null").split(' ').count(), 31);
    }

    #[test]
    fn long_lists_become_one_range() {
        let list: Vec<String> = (0..300)
            .map(|i| format!("'2025-01-01T00:{:02}:{:02}Z'", i / 60, i % 60 / 2 * 2))
            .collect();
        assert_eq!(days(&format!("ts in ({})", list.join(","))), "1");
    }
}
