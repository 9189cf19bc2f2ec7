//! Selects over other nodes: the statement that goes to them, and the merge of their rows (spec: query, section 9;
//! network protocol, section 6.2).

use std::ops::ControlFlow;

use sqlparser::ast::{BinaryOperator, Expr, InTarget, Value, VisitMut, visit_expressions_mut};

use super::groups::{Bucket, Groups};
use super::order::{self, OrderKey};
use super::period::Period;
use super::source::Sources;
use super::statement::Statement;
use super::{Work, rows};
use crate::query::emit::{Leaves, emit};
use crate::query::error::Result;
use crate::query::spec::{Aggregate, Function, GroupSpec, Key, Output};
use crate::query::time::utc_text;
use crate::query::value::Kind;

/// A statement for the leaves, and what becomes of the rows that they send.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub statement: String,
    /// Of the leaves' columns.
    pub kinds: Vec<Kind>,
    pub merge: Merge,
}

/// What becomes of the rows of the leaves.
#[derive(Clone, Debug, PartialEq)]
pub enum Merge {
    /// They are the answer, as they come: from the row `offset` on, `limit` of them.
    Pass { limit: Option<u64>, offset: u64 },
    /// They go into `edgelake_batch` as c0, c1 ...; the statement over it is the answer.
    Rows { sql: String },
    /// They are grouped; the statement over the groups is the answer.
    Groups { spec: GroupSpec, sql: String },
}

/// An expression as it travels: times as absolute instants, quoted texts as such.
fn wire(expr: &Expr, sources: &Sources<'_>) -> String {
    let mut expr = expr.clone();
    make_absolute(&mut expr, &mut sources.columns());
    expr.to_string()
}

/// Put absolute instants in place of times, in all expressions of a tree.
pub fn make_absolute<T: VisitMut, L: Leaves>(tree: &mut T, leaves: &mut L) {
    // Inner expressions come first, so that the moment of `now() - 3 days` is known when the step is taken.
    let _ = visit_expressions_mut(tree, |part| {
        absolute(part, leaves);
        ControlFlow::<()>::Continue(())
    });
}

fn absolute<L: Leaves>(part: &mut Expr, leaves: &mut L) {
    if let Expr::Identifier(name) = part
        && name.quote_style.is_some()
        && !leaves.is_column(&name.value)
    {
        let text = name.value.clone();
        *part = Expr::Value(Value::SingleQuotedString(text).into());
        return;
    }
    if let Ok(Some(us)) = leaves.moments().instant_but_text(part) {
        *part = instant(us);
        return;
    }
    match part {
        Expr::BinaryOp { left, op, right } if is_comparison(op) => {
            match (is_time(left, leaves), is_time(right, leaves)) {
                (true, false) => fix(right, leaves),
                (false, true) => fix(left, leaves),
                _ => {}
            }
        }
        Expr::Between {
            expr, low, high, ..
        } if is_time(expr, leaves) => {
            fix(low, leaves);
            fix(high, leaves);
        }
        Expr::In {
            expr,
            target: InTarget::List(list),
            ..
        } if is_time(expr, leaves) => list.iter_mut().for_each(|one| fix(one, leaves)),
        _ => {}
    }
}

fn is_time<L: Leaves>(expr: &Expr, leaves: &mut L) -> bool {
    emit(expr, leaves).is_ok_and(|sql| sql.kind == Kind::Timestamp)
}

/// An operand beside a time.
fn fix<L: Leaves>(expr: &mut Expr, leaves: &L) {
    if let Ok(Some(us)) = leaves.moments().instant(expr) {
        *expr = instant(us);
    }
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator as Op;
    matches!(
        op,
        Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq
    )
}

fn instant(us: i64) -> Expr {
    Expr::Value(Value::SingleQuotedString(utc_text(us)).into())
}

fn filter(selection: Option<&Expr>, sources: &Sources<'_>) -> String {
    match selection {
        Some(selection) => format!(" where {}", wire(selection, sources)),
        None => String::new(),
    }
}

/// The statement that finds the latest time before the end of a period.
pub fn leading(sources: &Sources<'_>, period: &Period) -> Result<String> {
    rows::leading(sources, period)?;
    Ok(format!(
        "select max({}) from {}{}",
        period.column(),
        sources.main.name,
        filter(Some(&period.leading_condition()), sources)
    ))
}

/// Rows of the table itself; `shown` begins with the extended columns, which leaves add by themselves.
pub fn rows(
    statement: &Statement,
    sources: &Sources<'_>,
    shown: &[&Expr],
    outputs: &[Output],
    keys: &[OrderKey],
) -> Result<Work> {
    let mut list: Vec<String> = shown.iter().map(|e| wire(e, sources)).collect();
    let mut kinds: Vec<Kind> = outputs.iter().map(|o| o.kind).collect();
    let (mut leaf_order, mut order) = (Vec::new(), Vec::new());
    for key in keys {
        let text = wire(&key.expr, sources);
        let known = list.iter().position(|l| *l == text);
        let at = known.unwrap_or(list.len());
        leaf_order.push(format!("{text}{}", key.direction));
        order.push(format!("c{at}{}", key.direction));
        if known.is_none() {
            kinds.push(emit(&key.expr, &mut sources.columns())?.kind);
            list.push(text);
        }
    }
    let (limit, offset) = bounds(&statement.limit);
    let leaf_limit = limit.map_or_else(String::new, |n| {
        format!(" limit {}", n.saturating_add(offset))
    });
    let distinct = if statement.distinct { "distinct " } else { "" };
    let text = format!(
        "select {distinct}{} from {}{}{}{leaf_limit}",
        list[sources.extend.len()..].join(", "),
        sources.main.name,
        filter(statement.selection.as_ref(), sources),
        order::clause(&leaf_order),
    );
    let merge = if keys.is_empty() && !statement.distinct {
        Merge::Pass { limit, offset }
    } else {
        let columns: Vec<String> = (0..shown.len()).map(|at| format!("c{at}")).collect();
        Merge::Rows {
            sql: format!(
                "SELECT {distinct}{} FROM edgelake_batch{}{}",
                columns.join(", "),
                order::clause(&order),
                statement.limit
            ),
        }
    };
    Ok(Work::Network(Network {
        statement: text,
        kinds,
        merge,
    }))
}

/// Limit and offset of ` LIMIT n OFFSET m`.
fn bounds(clause: &str) -> (Option<u64>, u64) {
    let mut words = clause.split_whitespace();
    let mut after = |word: &str| {
        words
            .by_ref()
            .find(|w| *w == word)
            .and_then(|_| words.next())
            .and_then(|n| n.parse().ok())
    };
    (after("LIMIT"), after("OFFSET").unwrap_or(0))
}

/// Groups: the leaves send theirs, extended columns first, then the bucket, the group columns, the values that are to
/// be counted once, the aggregates.
pub fn groups(
    statement: &Statement,
    sources: &Sources<'_>,
    groups: &Groups<'_>,
    bucket: Option<&Bucket>,
    sql: String,
) -> Work {
    let mut leaf = Leaf::new(sources, bucket);
    let keys = leaf.keys(groups, bucket);
    leaf.counted(groups);
    let aggregates = leaf.aggregates(groups);
    let mut text = format!(
        "select {} from {}{}",
        leaf.list.join(", "),
        sources.main.name,
        filter(statement.selection.as_ref(), sources)
    );
    if !leaf.by.is_empty() {
        text.push_str(" group by ");
        text.push_str(&leaf.by.join(", "));
    }
    Work::Network(Network {
        statement: text,
        kinds: leaf.kinds,
        merge: Merge::Groups {
            spec: GroupSpec { keys, aggregates },
            sql,
        },
    })
}

/// The select list of the leaves while it is put together.
struct Leaf<'a> {
    sources: &'a Sources<'a>,
    list: Vec<String>,
    by: Vec<String>,
    /// Of the leaves' columns, those included that they add by themselves.
    kinds: Vec<Kind>,
    /// Scanned columns that rows are grouped by, each with its position in the rows.
    grouped: Vec<(usize, usize)>,
}

impl<'a> Leaf<'a> {
    fn new(sources: &'a Sources<'a>, bucket: Option<&Bucket>) -> Self {
        let mut kinds: Vec<Kind> = sources.extend.iter().map(|e| e.kind).collect();
        let mut list = Vec::new();
        if let Some(bucket) = bucket {
            kinds.extend(bucket.leaf_kinds());
            let Bucket { unit, n, column } = bucket;
            list.push(format!("increments({}, {n}, {column})", unit.name()));
        }
        Self {
            sources,
            list,
            by: Vec::new(),
            kinds,
            grouped: Vec::new(),
        }
    }

    fn group_by(&mut self, groups: &Groups<'_>, scanned: usize, kind: Kind) -> usize {
        let text = wire(&groups.scanned[scanned].expr, self.sources);
        let place = self.kinds.len();
        self.grouped.push((scanned, place));
        self.kinds.push(kind);
        self.list.push(text.clone());
        self.by.push(text);
        place
    }

    /// Keys of the merge: those of the bucket first, as it orders the answer.
    fn keys(&mut self, groups: &Groups<'_>, bucket: Option<&Bucket>) -> Vec<Key> {
        let extended = self.sources.extend.len();
        let buckets = bucket.map_or(0, |b| b.leaf_kinds().len());
        let mut keys: Vec<Key> = (extended..extended + buckets).map(Key::Column).collect();
        for (at, key) in groups.keys.iter().enumerate().skip(buckets) {
            let Key::Column(scanned) = *key else { continue };
            let place = if at - buckets < extended {
                self.grouped.push((scanned, at - buckets));
                at - buckets
            } else {
                self.group_by(groups, scanned, groups.merged[at].kind)
            };
            keys.push(Key::Column(place));
        }
        keys
    }

    /// Columns whose different values are counted: rows are grouped by them too.
    fn counted(&mut self, groups: &Groups<'_>) {
        for (aggregate, kind) in &groups.aggregates {
            if let (Function::CountDistinct, Some(scanned)) = (aggregate.function, aggregate.column)
                && self.grouped.iter().all(|(known, _)| *known != scanned)
            {
                self.group_by(groups, scanned, *kind);
            }
        }
    }

    /// What the leaves compute of each group, and how it is merged.
    fn aggregates(&mut self, groups: &Groups<'_>) -> Vec<Aggregate> {
        let mut merged = Vec::with_capacity(groups.aggregates.len());
        for (aggregate, kind) in &groups.aggregates {
            let (name, kind, function) = match aggregate.function {
                Function::CountDistinct => {
                    let place = self
                        .grouped
                        .iter()
                        .find(|(scanned, _)| Some(*scanned) == aggregate.column);
                    merged.push(Aggregate {
                        function: Function::CountDistinct,
                        column: place.map(|(_, place)| *place),
                    });
                    continue;
                }
                Function::CountRows | Function::Count => ("count", Kind::Int, Function::Sum),
                Function::Min => ("min", *kind, Function::Min),
                Function::Max => ("max", *kind, Function::Max),
                // Averages and ranges were taken apart.
                Function::Sum | Function::Avg | Function::Range => {
                    ("sum", summed(*kind), Function::Sum)
                }
            };
            let argument = aggregate.column.map_or_else(
                || "*".to_owned(),
                |at| wire(&groups.scanned[at].expr, self.sources),
            );
            merged.push(Aggregate {
                function,
                column: Some(self.kinds.len()),
            });
            self.kinds.push(kind);
            self.list.push(format!("{name}({argument})"));
        }
        merged
    }
}

/// Kind of a sum: that of truth values is their number.
fn summed(kind: Kind) -> Kind {
    if kind == Kind::Bool { Kind::Int } else { kind }
}
