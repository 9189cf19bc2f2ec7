//! `order by`: aliases, titles, positions and columns, each with its own direction.

use sqlparser::ast::{Expr, OrderByExpr, OrderBySort};

use super::statement::{Statement, whole_number};
use crate::query::error::{QueryError, Result, parse_error};

/// One key of the order.
pub struct OrderKey {
    pub expr: Expr,
    /// ` DESC`, ` NULLS LAST` or nothing.
    pub direction: String,
    /// Position in the select list, when it is there.
    item: Option<usize>,
}

/// The keys as expressions over the table; `reference`: the order that the reference makes of them.
pub fn keys(statement: &Statement, reference: bool) -> Result<Vec<OrderKey>> {
    let mut keys = Vec::with_capacity(statement.order_by.len());
    for written in &statement.order_by {
        let item = position(statement, &written.expr)?;
        let expr = match item.and_then(|at| statement.items[at].expr.clone()) {
            Some(expr) => expr,
            None => written.expr.clone(),
        };
        keys.push(OrderKey {
            expr,
            direction: direction(written)?,
            item,
        });
    }
    if reference {
        as_the_reference(&mut keys);
    }
    Ok(keys)
}

/// Keys in the order of the select list, ascending, the last in the last written direction.
fn as_the_reference(keys: &mut [OrderKey]) {
    let Some(last) = keys.last().map(|k| k.direction.clone()) else {
        return;
    };
    keys.sort_by_key(|k| k.item.unwrap_or(usize::MAX));
    for key in keys.iter_mut() {
        key.direction.clear();
    }
    if let Some(key) = keys.last_mut() {
        key.direction = last;
    }
}

fn position(statement: &Statement, expr: &Expr) -> Result<Option<usize>> {
    if let Some(n) = whole_number(expr) {
        let at = usize::try_from(n).unwrap_or(usize::MAX);
        if at == 0 || at > statement.items.len() {
            return parse_error(format!(
                "order by {n}: the select list has {} columns",
                statement.items.len()
            ));
        }
        return Ok(Some(at - 1));
    }
    let by_title = |title: &str| statement.items.iter().position(|i| i.title == title);
    let found = match expr {
        Expr::Identifier(name) => by_title(&name.value),
        _ => None,
    };
    // A title such as min(timestamp) is the expression itself.
    Ok(found.or_else(|| {
        statement
            .items
            .iter()
            .position(|i| i.expr.as_ref() == Some(expr))
    }))
}

fn direction(written: &OrderByExpr) -> Result<String> {
    let mut text = match &written.options.sort {
        None | Some(OrderBySort::Asc) => String::new(),
        Some(OrderBySort::Desc) => " DESC".to_owned(),
        Some(OrderBySort::Using(_)) => {
            return Err(QueryError::Unsupported("order by ... using".to_owned()));
        }
    };
    match written.options.nulls_first {
        Some(true) => text.push_str(" NULLS FIRST"),
        Some(false) => text.push_str(" NULLS LAST"),
        None => {}
    }
    Ok(text)
}

/// ` ORDER BY a, b DESC`, or nothing.
pub fn clause(terms: &[String]) -> String {
    if terms.is_empty() {
        String::new()
    } else {
        format!(" ORDER BY {}", terms.join(", "))
    }
}
