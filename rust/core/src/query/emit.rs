//! Expressions as SQLite's text: times are integer microseconds, texts compared to them become instants.

use std::fmt::Write;

use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DataType, Expr, Function, InTarget,
    UnaryOperator, Value,
};

use super::catalogue::literal;
use super::compare::{like, pair};
use super::engine_functions as functions;
use super::error::{QueryError, Result, parse_error};
use super::moments::{Moments, plain_arguments, step};
use super::time::{DAY, HOUR, MINUTE, SECOND, Unit};
use super::value::Kind;

/// SQL text, and the kind of its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sql {
    pub text: String,
    pub kind: Kind,
}

impl Sql {
    pub fn new(text: impl Into<String>, kind: Kind) -> Self {
        Self {
            text: text.into(),
            kind,
        }
    }
}

/// What stands at the leaves of an expression: columns of a table, or of merged groups.
pub trait Leaves {
    fn moments(&self) -> &Moments;
    /// Whether a name is a column here; a quoted one that is none is a text.
    fn is_column(&self, name: &str) -> bool;
    fn column(&mut self, name: &str) -> Result<Sql>;
    /// What stands for a whole expression; `None`: look inside it.
    fn whole(&mut self, expr: &Expr) -> Result<Option<Sql>>;
    /// Whether `qualifier.name` is a column here.
    fn is_qualifier(&self, qualifier: &[&str]) -> bool;
}

/// The SQL of an expression.
pub fn emit<L: Leaves>(expr: &Expr, leaves: &mut L) -> Result<Sql> {
    if let Some(found) = leaves.whole(expr)? {
        return Ok(found);
    }
    if let Some(us) = leaves.moments().instant_but_text(expr)? {
        return Ok(Sql::new(us.to_string(), Kind::Timestamp));
    }
    match expr {
        Expr::Identifier(name) => {
            if name.quote_style.is_some() && !leaves.is_column(&name.value) {
                return Ok(Sql::new(literal(&name.value), Kind::Text));
            }
            leaves.column(&name.value)
        }
        Expr::CompoundIdentifier(parts) => {
            let names: Vec<&str> = parts.iter().map(|p| p.value.as_str()).collect();
            match names.split_last() {
                Some((name, qualifier)) if leaves.is_qualifier(qualifier) => leaves.column(name),
                _ => parse_error(format!("'{}' is not recognized", names.join("."))),
            }
        }
        Expr::Nested(inner) => {
            let inner = emit(inner, leaves)?;
            Ok(Sql::new(format!("({})", inner.text), inner.kind))
        }
        Expr::Value(value) => constant(&value.value),
        Expr::BinaryOp { left, op, right } => binary(left, op, right, leaves),
        Expr::UnaryOp { op, expr } => unary(*op, expr, leaves),
        Expr::Function(function) => functions::call(function, leaves),
        Expr::Extract { field, expr, .. } => functions::extract(field, expr, leaves),
        Expr::Ceil { expr, field } => rounding("ceil", expr, field, leaves),
        Expr::Floor { expr, field } => rounding("floor", expr, field, leaves),
        Expr::Substring {
            expr,
            substring_from,
            substring_for,
            ..
        } => {
            let mut text = format!("substr({}", as_text(expr, leaves)?);
            for part in [substring_from, substring_for].into_iter().flatten() {
                text.push_str(", ");
                text.push_str(&emit(part, leaves)?.text);
            }
            Ok(Sql::new(text + ")", Kind::Text))
        }
        Expr::Trim {
            expr,
            trim_where: None,
            trim_what: None,
            trim_characters: None,
        } => Ok(Sql::new(
            format!("trim({})", as_text(expr, leaves)?),
            Kind::Text,
        )),
        Expr::Case {
            operand,
            conditions,
            else_result,
            ..
        } => case(
            operand.as_deref(),
            conditions,
            else_result.as_deref(),
            leaves,
        ),
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr,
            data_type,
            format: None,
        } => cast(expr, data_type, leaves),
        _ => condition(expr, leaves),
    }
}

/// As `emit`, in parentheses where the text could bind otherwise than the parser understood it.
pub fn operand<L: Leaves>(expr: &Expr, leaves: &mut L) -> Result<Sql> {
    let mut sql = emit(expr, leaves)?;
    let is_simple = matches!(
        expr,
        Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::Value(_)
            | Expr::Nested(_)
            | Expr::Function(_)
            | Expr::Case { .. }
            | Expr::Cast { .. }
    );
    if !is_simple && !sql.text.bytes().all(|b| b.is_ascii_digit()) {
        sql.text = format!("({})", sql.text);
    }
    Ok(sql)
}

/// The left side of a chain such as `a and b and c` needs none: long chains would nest too deep for the engine.
fn left_operand<L: Leaves>(expr: &Expr, above: &BinaryOperator, leaves: &mut L) -> Result<Sql> {
    match expr {
        Expr::BinaryOp { op, .. } if op == above && !matches!(op, BinaryOperator::Modulo) => {
            emit(expr, leaves)
        }
        _ => operand(expr, leaves),
    }
}

/// Conditions other than comparisons.
fn condition<L: Leaves>(expr: &Expr, leaves: &mut L) -> Result<Sql> {
    let suffix = |inner: &Expr, text: &str, leaves: &mut L| -> Result<Sql> {
        Ok(Sql::new(
            format!("{} {text}", operand(inner, leaves)?.text),
            Kind::Bool,
        ))
    };
    match expr {
        Expr::IsNull(inner) => suffix(inner, "IS NULL", leaves),
        Expr::IsNotNull(inner) => suffix(inner, "IS NOT NULL", leaves),
        Expr::IsTrue(inner) => suffix(inner, "IS TRUE", leaves),
        Expr::IsNotTrue(inner) => suffix(inner, "IS NOT TRUE", leaves),
        Expr::IsFalse(inner) => suffix(inner, "IS FALSE", leaves),
        Expr::IsNotFalse(inner) => suffix(inner, "IS NOT FALSE", leaves),
        Expr::Between {
            expr,
            negated,
            low,
            high,
        } => {
            let (column, low) = pair(expr, low, leaves)?;
            let (_, high) = pair(expr, high, leaves)?;
            let not = if *negated { "NOT " } else { "" };
            Ok(Sql::new(
                format!("{column} {not}BETWEEN {low} AND {high}"),
                Kind::Bool,
            ))
        }
        Expr::In {
            expr,
            target: InTarget::List(list),
            negated,
            ..
        } => {
            let mut column = String::new();
            let mut values = Vec::with_capacity(list.len());
            for value in list {
                let (left, right) = pair(expr, value, leaves)?;
                column = left;
                values.push(right);
            }
            let not = if *negated { "NOT " } else { "" };
            Ok(Sql::new(
                format!("{column} {not}IN ({})", values.join(", ")),
                Kind::Bool,
            ))
        }
        Expr::Like {
            negated,
            any: false,
            expr: left,
            pattern,
            escape_char,
        }
        | Expr::ILike {
            negated,
            any: false,
            expr: left,
            pattern,
            escape_char,
        } => {
            let exact = matches!(expr, Expr::Like { .. });
            let escape = escape_char.as_deref();
            like(left, pattern, *negated, escape, exact, leaves)
        }
        _ => Err(QueryError::Unsupported(format!(
            "'{expr}' is not part of the dialect"
        ))),
    }
}

fn constant(value: &Value) -> Result<Sql> {
    Ok(match value {
        Value::Number(text, _) => {
            let kind = if text.bytes().all(|b| b.is_ascii_digit()) {
                Kind::Int
            } else {
                Kind::Float
            };
            Sql::new(text.clone(), kind)
        }
        Value::SingleQuotedString(text) => Sql::new(literal(text), Kind::Text),
        Value::Boolean(true) => Sql::new("1", Kind::Bool),
        Value::Boolean(false) => Sql::new("0", Kind::Bool),
        Value::Null => Sql::new("NULL", Kind::Any),
        other => return parse_error(format!("'{other}' is no value")),
    })
}

fn binary<L: Leaves>(
    left: &Expr,
    op: &BinaryOperator,
    right: &Expr,
    leaves: &mut L,
) -> Result<Sql> {
    use BinaryOperator as Op;
    match op {
        Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => {
            let sign = if *op == Op::NotEq {
                "<>".to_owned()
            } else {
                op.to_string()
            };
            let (left, right) = pair(left, right, leaves)?;
            Ok(Sql::new(format!("{left} {sign} {right}"), Kind::Bool))
        }
        Op::And | Op::Or => {
            let (left, right) = (left_operand(left, op, leaves)?, operand(right, leaves)?);
            Ok(Sql::new(
                format!("{} {op} {}", left.text, right.text),
                Kind::Bool,
            ))
        }
        Op::StringConcat => {
            let text = format!("{} || {}", as_text(left, leaves)?, as_text(right, leaves)?);
            Ok(Sql::new(text, Kind::Text))
        }
        Op::Plus | Op::Minus => match step(right)? {
            Some((n, unit)) => stepped(left, if *op == Op::Plus { n } else { -n }, unit, leaves),
            None => arithmetic(left, op, right, leaves),
        },
        Op::Multiply | Op::Divide | Op::Modulo | Op::BitwiseAnd | Op::BitwiseOr => {
            arithmetic(left, op, right, leaves)
        }
        _ => Err(QueryError::Unsupported(format!("the operator '{op}'"))),
    }
}

fn arithmetic<L: Leaves>(
    left: &Expr,
    op: &BinaryOperator,
    right: &Expr,
    leaves: &mut L,
) -> Result<Sql> {
    let (a, b) = (left_operand(left, op, leaves)?, operand(right, leaves)?);
    let times = (a.kind == Kind::Timestamp, b.kind == Kind::Timestamp);
    if times == (true, true) && *op == BinaryOperator::Minus {
        // Seconds between two times.
        return Ok(Sql::new(
            format!("(({} - {}) / 1000000.0)", a.text, b.text),
            Kind::Float,
        ));
    }
    if times != (false, false) {
        return parse_error(format!(
            "'{left} {op} {right}': a time takes a step such as '+ 2 hours', and a time minus a time is seconds"
        ));
    }
    let kind = match (a.kind, b.kind) {
        (Kind::Int | Kind::Bool, Kind::Int | Kind::Bool) => Kind::Int,
        (Kind::Float, x) | (x, Kind::Float) if x.is_number() => Kind::Float,
        (x, y) if x.is_number() && y.is_number() => Kind::Decimal,
        _ => Kind::Any,
    };
    Ok(Sql::new(format!("{} {op} {}", a.text, b.text), kind))
}

/// A column of times moved by a fixed step.
fn stepped<L: Leaves>(left: &Expr, n: i64, unit: Unit, leaves: &mut L) -> Result<Sql> {
    let width = match unit {
        Unit::Second => SECOND,
        Unit::Minute => MINUTE,
        Unit::Hour => HOUR,
        Unit::Day => DAY,
        Unit::Week => 7 * DAY,
        Unit::Month | Unit::Year => {
            return parse_error(
                "a column takes steps up to weeks; months and years go on the other side",
            );
        }
    };
    let column = emit(left, leaves)?;
    let (Kind::Timestamp, Some(us)) = (column.kind, n.checked_mul(width)) else {
        return parse_error(format!(
            "'{left}' is no time, it takes no step of {}",
            unit.name()
        ));
    };
    Ok(Sql::new(
        format!("({} + {us})", column.text),
        Kind::Timestamp,
    ))
}

fn unary<L: Leaves>(op: UnaryOperator, expr: &Expr, leaves: &mut L) -> Result<Sql> {
    let inner = operand(expr, leaves)?;
    match op {
        UnaryOperator::Not => Ok(Sql::new(format!("NOT {}", inner.text), Kind::Bool)),
        UnaryOperator::Minus => Ok(Sql::new(format!("- {}", inner.text), inner.kind)),
        UnaryOperator::Plus => Ok(inner),
        _ => Err(QueryError::Unsupported(format!("the operator '{op}'"))),
    }
}

/// An expression as text; a time is the stored UTC text.
pub fn as_text<L: Leaves>(expr: &Expr, leaves: &mut L) -> Result<String> {
    let inner = operand(expr, leaves)?;
    Ok(if inner.kind == Kind::Timestamp {
        stored_text(&inner.text)
    } else {
        inner.text
    })
}

/// SQL that shows integer microseconds as `2025-01-01T00:00:00.000000Z`.
pub fn stored_text(us: &str) -> String {
    let rest = format!("((({us}) % 1000000 + 1000000) % 1000000)");
    format!(
        "(strftime('%Y-%m-%dT%H:%M:%S', (({us}) - {rest}) / 1000000, 'unixepoch') || printf('.%06dZ', {rest}))"
    )
}

fn rounding<L: Leaves>(
    name: &str,
    expr: &Expr,
    field: &CeilFloorKind,
    leaves: &mut L,
) -> Result<Sql> {
    match field {
        CeilFloorKind::DateTimeField(sqlparser::ast::DateTimeField::NoDateTime) => {
            let inner = emit(expr, leaves)?;
            Ok(Sql::new(format!("{name}({})", inner.text), inner.kind))
        }
        _ => Err(QueryError::Unsupported(format!(
            "{name} with a second argument"
        ))),
    }
}

fn case<L: Leaves>(
    operand: Option<&Expr>,
    conditions: &[CaseWhen],
    otherwise: Option<&Expr>,
    leaves: &mut L,
) -> Result<Sql> {
    let mut text = "CASE".to_owned();
    let mut kinds = Vec::new();
    if let Some(operand) = operand {
        text.push(' ');
        text.push_str(&emit(operand, leaves)?.text);
    }
    for when in conditions {
        let condition = match operand {
            Some(operand) => pair(operand, &when.condition, leaves)?.1,
            None => emit(&when.condition, leaves)?.text,
        };
        let result = emit(&when.result, leaves)?;
        let _ = write!(text, " WHEN {condition} THEN {}", result.text);
        kinds.push(result.kind);
    }
    if let Some(otherwise) = otherwise {
        let result = emit(otherwise, leaves)?;
        let _ = write!(text, " ELSE {}", result.text);
        kinds.push(result.kind);
    }
    let same = kinds.windows(2).all(|k| k[0] == k[1]);
    let kind = if same { kinds[0] } else { Kind::Any };
    Ok(Sql::new(text + " END", kind))
}

/// `cast(x as type)` inside an expression.
fn cast<L: Leaves>(expr: &Expr, wanted: &DataType, leaves: &mut L) -> Result<Sql> {
    let kind = Kind::of(&wanted.to_string());
    let inner = as_text(expr, leaves)?;
    let engine = match kind {
        Kind::Int | Kind::Bool => "INTEGER",
        Kind::Float => "REAL",
        Kind::Decimal => "NUMERIC",
        Kind::Text => "TEXT",
        _ => {
            return Err(QueryError::Unsupported(format!(
                "a cast to {wanted} inside an expression"
            )));
        }
    };
    Ok(Sql::new(format!("CAST({inner} AS {engine})"), kind))
}

/// Name of a function in lower case, and its arguments when all are plain expressions.
pub fn called(function: &Function) -> (String, Option<Vec<&Expr>>) {
    (
        function.name.to_string().to_lowercase(),
        plain_arguments(function),
    )
}
