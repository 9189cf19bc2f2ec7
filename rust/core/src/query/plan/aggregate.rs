//! Functions that put rows together.

use std::ops::ControlFlow;

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function as Call, FunctionArg, FunctionArgExpr, FunctionArguments,
    Value, visit_expressions,
};

use crate::query::error::{QueryError, Result, parse_error};
use crate::query::spec::Function;

pub fn is_function(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Function(call) if call.name.to_string().eq_ignore_ascii_case(name))
}

/// The aggregate that an expression is, with its argument; `None` when it is none.
pub fn of(expr: &Expr) -> Result<Option<(Function, Option<&Expr>)>> {
    let Expr::Function(call) = expr else {
        return Ok(None);
    };
    let Some((function, arguments, distinct)) = named(call) else {
        return Ok(None);
    };
    if call.filter.is_some() || call.over.is_some() || (distinct && function != Function::Count) {
        return Err(QueryError::Unsupported(format!("'{call}'")));
    }
    match (function, arguments) {
        (Function::Count, [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]) if !distinct => {
            Ok(Some((Function::CountRows, None)))
        }
        (_, [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))]) => {
            let argument = inside(argument);
            Ok(Some(match function {
                Function::Count if distinct => (Function::CountDistinct, Some(argument)),
                Function::Count if is_constant(argument) => (Function::CountRows, None),
                _ => (function, Some(argument)),
            }))
        }
        _ => parse_error(format!("'{call}': the function takes one column")),
    }
}

/// Function, arguments, and whether `distinct` stands before them. Two arguments make min and max scalar.
fn named(call: &Call) -> Option<(Function, &[FunctionArg], bool)> {
    let function = match call.name.to_string().to_ascii_lowercase().as_str() {
        "count" => Function::Count,
        "min" => Function::Min,
        "max" => Function::Max,
        "sum" => Function::Sum,
        "avg" => Function::Avg,
        "range" => Function::Range,
        _ => return None,
    };
    let FunctionArguments::List(list) = &call.args else {
        return None;
    };
    if matches!(function, Function::Min | Function::Max) && list.args.len() > 1 {
        return None;
    }
    let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
    Some((function, &list.args, distinct))
}

fn inside(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => inside(inner),
        other => other,
    }
}

fn is_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if !matches!(value.value, Value::Null))
}

pub fn contains_aggregate(expr: &Expr) -> bool {
    visit_expressions(expr, |part| match part {
        Expr::Function(call) if named(call).is_some() && call.over.is_none() => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}
