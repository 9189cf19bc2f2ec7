//! Scans as another database server can run them: columns, and conditions in parts that mean the same to every engine.
//!
//! What is not told here (a function, arithmetic, a text beside a number) has SQLite's meaning, so that its rows come
//! to SQLite.

use serde::Serialize;
use sqlparser::ast::{BinaryOperator, Expr, InTarget, UnaryOperator, Value};

use super::source::{Columns, Place};
use crate::query::emit::Leaves;
use crate::query::moments::Moments;
use crate::query::value::Kind;

/// One scan: what it shows, and of which rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerScan {
    pub shown: Vec<Shown>,
    pub condition: Option<Condition>,
}

/// A column of a scan.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// By its name in the physical table.
    Column(String),
    /// The same text in every row.
    Text(String),
    Null,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    IsNull(String),
    /// (column, operator, value)
    Compare(String, &'static str, Constant),
    In(String, Vec<Constant>),
}

/// A constant of its column's kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Constant {
    /// Digits, with a sign.
    Int(String),
    /// As it was written.
    Float(String),
    Text(String),
    Bool(bool),
    /// Microseconds UTC.
    Time(i64),
}

/// `None`: a part of it is SQLite's own matter.
pub fn scan(
    columns: &Columns<'_>,
    scanned: &[&Expr],
    conditions: [Option<&Expr>; 2],
) -> Option<ServerScan> {
    let shown = scanned.iter().map(|expr| show(columns.place(expr)?));
    let conditions = conditions.into_iter().flatten();
    let mut parts: Vec<Condition> = conditions
        .map(|expr| condition(expr, columns))
        .collect::<Option<_>>()?;
    Some(ServerScan {
        shown: shown.collect::<Option<_>>()?,
        condition: match parts.len() {
            0 | 1 => parts.pop(),
            _ => Some(Condition::And(parts)),
        },
    })
}

fn show(place: Place<'_>) -> Option<Shown> {
    Some(match place {
        Place::Stored(name, _) => Shown::Column(name.to_owned()),
        Place::Constant(text, Kind::Text) => Shown::Text(text.to_owned()),
        Place::Constant(..) => return None,
        Place::Null => Shown::Null,
    })
}

fn condition(expr: &Expr, columns: &Columns<'_>) -> Option<Condition> {
    use BinaryOperator as Op;
    Some(match expr {
        Expr::Nested(inner) => condition(inner, columns)?,
        Expr::BinaryOp { left, op, right } => match op {
            Op::And => Condition::And(vec![condition(left, columns)?, condition(right, columns)?]),
            Op::Or => Condition::Or(vec![condition(left, columns)?, condition(right, columns)?]),
            _ => comparison(left, op, right, columns)?,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr,
        } => negated(condition(expr, columns)?),
        Expr::IsNull(inner) => Condition::IsNull(stored(inner, columns)?.0.to_owned()),
        Expr::IsNotNull(inner) => negated(Condition::IsNull(stored(inner, columns)?.0.to_owned())),
        Expr::Between {
            expr,
            negated: is_negated,
            low,
            high,
        } => {
            let (name, kind) = stored(expr, columns)?;
            let bound = |op, value| {
                Some(Condition::Compare(
                    name.to_owned(),
                    op,
                    constant(value, kind, columns)?,
                ))
            };
            let both = Condition::And(vec![bound(">=", low)?, bound("<=", high)?]);
            if *is_negated { negated(both) } else { both }
        }
        Expr::In {
            expr,
            target: InTarget::List(list),
            negated: is_negated,
            ..
        } => {
            let (name, kind) = stored(expr, columns)?;
            let values = list.iter().map(|value| constant(value, kind, columns));
            let found = Condition::In(name.to_owned(), values.collect::<Option<_>>()?);
            if *is_negated { negated(found) } else { found }
        }
        _ => return None,
    })
}

fn negated(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

fn comparison(
    left: &Expr,
    op: &BinaryOperator,
    right: &Expr,
    columns: &Columns<'_>,
) -> Option<Condition> {
    use BinaryOperator as Op;
    let (sign, turned) = match op {
        Op::Eq => ("=", "="),
        Op::NotEq => ("<>", "<>"),
        Op::Lt => ("<", ">"),
        Op::LtEq => ("<=", ">="),
        Op::Gt => (">", "<"),
        Op::GtEq => (">=", "<="),
        _ => return None,
    };
    let (column, sign, value) = match stored(left, columns) {
        Some(column) => (column, sign, right),
        None => (stored(right, columns)?, turned, left),
    };
    let value = constant(value, column.1, columns)?;
    Some(Condition::Compare(column.0.to_owned(), sign, value))
}

/// Name in the physical table, and kind, of a column.
fn stored<'a>(expr: &Expr, columns: &Columns<'a>) -> Option<(&'a str, Kind)> {
    match columns.place(expr)? {
        Place::Stored(name, kind) => Some((name, kind)),
        _ => None,
    }
}

/// A constant that the engines compare alike with a column of this kind.
fn constant(expr: &Expr, kind: Kind, columns: &Columns<'_>) -> Option<Constant> {
    let moments: &Moments = columns.moments();
    match kind {
        Kind::Timestamp => return moments.instant(expr).ok()?.map(Constant::Time),
        _ if moments.instant_but_text(expr).ok()?.is_some() => return None,
        _ => {}
    }
    match (expr, kind) {
        (Expr::Nested(inner), _) => constant(inner, kind, columns),
        (
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr,
            },
            _,
        ) if kind.is_number() => match constant(expr, kind, columns)? {
            Constant::Int(digits) if !digits.starts_with('-') => {
                Some(Constant::Int(format!("-{digits}")))
            }
            Constant::Float(digits) if !digits.starts_with('-') => {
                Some(Constant::Float(format!("-{digits}")))
            }
            _ => None,
        },
        (Expr::Value(value), _) => match (&value.value, kind) {
            (Value::Number(text, _), _) if kind.is_number() => {
                if text.bytes().all(|b| b.is_ascii_digit()) {
                    // What needs more than 64 bits is a float to SQLite.
                    text.parse::<i64>().ok()?;
                    Some(Constant::Int(text.clone()))
                } else {
                    text.parse::<f64>().ok().filter(|f| f.is_finite())?;
                    Some(Constant::Float(text.clone()))
                }
            }
            (Value::SingleQuotedString(text), Kind::Text) => Some(Constant::Text(text.clone())),
            (Value::Boolean(flag), Kind::Bool) => Some(Constant::Bool(*flag)),
            _ => None,
        },
        (Expr::Identifier(name), Kind::Text)
            if name.quote_style.is_some() && !columns.is_column(&name.value) =>
        {
            Some(Constant::Text(name.value.clone()))
        }
        _ => None,
    }
}
