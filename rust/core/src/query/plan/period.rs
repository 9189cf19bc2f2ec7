//! `period(unit, n, end, column [, filter])` (spec: query, section 7).

use sqlparser::ast::{BinaryOperator, Expr, Ident, Value};

use super::aggregate::is_function;
use super::statement::whole_number;
use crate::query::error::{Result, parse_error};
use crate::query::moments::{Moments, plain_arguments};
use crate::query::time::{Unit, shift, utc_text};

/// A period, and the conditions beside it.
pub struct Period {
    unit: Unit,
    n: i64,
    end_us: i64,
    column: Expr,
    filter: Option<Expr>,
    outer: Option<Expr>,
}

/// The period among the `and` conditions of a filter.
pub fn find(selection: &Expr, moments: &Moments) -> Result<Option<Period>> {
    let mut parts = Vec::new();
    conjuncts(selection, &mut parts);
    let Some(at) = parts.iter().position(|p| is_function(p, "period")) else {
        return Ok(None);
    };
    let mut found = read(parts.remove(at), moments)?;
    found.outer = parts.into_iter().cloned().reduce(and);
    Ok(Some(found))
}

fn conjuncts<'a>(expr: &'a Expr, parts: &mut Vec<&'a Expr>) {
    match expr {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            conjuncts(left, parts);
            conjuncts(right, parts);
        }
        other => parts.push(other),
    }
}

fn read(expr: &Expr, moments: &Moments) -> Result<Period> {
    let arguments = match expr {
        Expr::Function(call) => plain_arguments(call).unwrap_or_default(),
        _ => Vec::new(),
    };
    let ([unit, n, end, column], filter) = match arguments.as_slice() {
        [unit, n, end, column] => ([*unit, *n, *end, *column], None),
        [unit, n, end, column, filter] => ([*unit, *n, *end, *column], Some((*filter).clone())),
        _ => return parse_error("period is written so: period(day, 1, now(), timestamp)"),
    };
    let unit = Unit::singular(&unit.to_string().to_lowercase());
    let (Some(unit), Some(n), Some(end_us)) = (unit, whole_number(n), moments.instant(end)?) else {
        return parse_error(format!(
            "'{expr}': a unit (second to year), a number and a time are wanted, as in period(day, 1, now(), timestamp)"
        ));
    };
    if n == 0 {
        return parse_error("period takes a number above 0");
    }
    Ok(Period {
        unit,
        n: n as i64,
        end_us,
        column: column.clone(),
        filter,
        outer: None,
    })
}

impl Period {
    pub fn column(&self) -> &Expr {
        &self.column
    }

    /// What the row with the latest time must satisfy.
    pub fn leading_condition(&self) -> Expr {
        let before_end = compared(&self.column, BinaryOperator::LtEq, self.end_us);
        match &self.filter {
            Some(filter) => and(before_end, nested(filter.clone())),
            None => before_end,
        }
    }

    /// What the rows of the answer satisfy, once the latest time is known.
    pub fn condition(&self, latest: Option<i64>) -> Result<Expr> {
        let Some(latest) = latest else {
            return Ok(Expr::Value(Value::Boolean(false).into()));
        };
        let from = shift(latest, -self.n, self.unit)?;
        let mut whole = and(
            compared(&self.column, BinaryOperator::Gt, from),
            compared(&self.column, BinaryOperator::LtEq, latest),
        );
        for more in [&self.filter, &self.outer].into_iter().flatten() {
            whole = and(whole, nested(more.clone()));
        }
        Ok(whole)
    }
}

fn compared(column: &Expr, op: BinaryOperator, us: i64) -> Expr {
    Expr::BinaryOp {
        left: Box::new(column.clone()),
        op,
        right: Box::new(instant(us)),
    }
}

/// An instant that no column's name can hide.
fn instant(us: i64) -> Expr {
    Expr::Value(Value::SingleQuotedString(utc_text(us)).into())
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    }
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

/// A name as an expression.
pub fn named(name: &str) -> Expr {
    Expr::Identifier(Ident::new(name))
}
