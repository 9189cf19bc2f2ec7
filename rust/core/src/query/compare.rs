//! Comparisons: both sides in one form, instants with instants, texts with texts, numbers with numbers.

use sqlparser::ast::Expr;

use super::catalogue::literal;
use super::emit::{Leaves, Sql, as_text, emit, operand, stored_text};
use super::error::{Result, parse_error};
use super::moments::text_of;
use super::time::utc_text;
use super::value::Kind;

/// Both sides of a comparison, in one form: instants with instants, texts with texts, numbers with numbers.
pub fn pair<L: Leaves>(left: &Expr, right: &Expr, leaves: &mut L) -> Result<(String, String)> {
    let (plain_left, plain_right) = (literal_of(left, leaves), literal_of(right, leaves));
    match (plain_left, plain_right) {
        (None, Some(text)) => {
            let column = operand(left, leaves)?;
            let value = fitted(&text, right, &column, leaves)?;
            Ok((column.text, value))
        }
        (Some(text), None) => {
            let column = operand(right, leaves)?;
            let value = fitted(&text, left, &column, leaves)?;
            Ok((value, column.text))
        }
        _ => {
            let (a, b) = (operand(left, leaves)?, operand(right, leaves)?);
            match (a.kind, b.kind) {
                (Kind::Timestamp, Kind::Timestamp | Kind::Any) | (Kind::Any, Kind::Timestamp) => {
                    Ok((a.text, b.text))
                }
                (Kind::Timestamp, Kind::Date) => Ok((day_text(left, &a.text, leaves), b.text)),
                (Kind::Date, Kind::Timestamp) => Ok((a.text, day_text(right, &b.text, leaves))),
                (Kind::Timestamp, kind) | (kind, Kind::Timestamp) if kind.is_text() => {
                    Ok((as_text(left, leaves)?, as_text(right, leaves)?))
                }
                (Kind::Timestamp, _) | (_, Kind::Timestamp) => parse_error(format!(
                    "'{left}' with '{right}': compare a time with a time such as '2025-01-31 10:00:00'"
                )),
                _ => Ok((a.text, b.text)),
            }
        }
    }
}

/// The text of a literal, unless a column has that name.
fn literal_of<L: Leaves>(expr: &Expr, leaves: &L) -> Option<String> {
    match expr {
        Expr::Identifier(name) if leaves.is_column(&name.value) => None,
        _ => text_of(expr),
    }
}

/// A text literal in the form of what it is compared with.
fn fitted<L: Leaves>(text: &str, expr: &Expr, other: &Sql, leaves: &L) -> Result<String> {
    let trimmed = text.trim();
    Ok(match other.kind {
        Kind::Timestamp => leaves
            .moments()
            .instant(expr)?
            .map_or_else(|| literal(text), |us| us.to_string()),
        Kind::Bool if trimmed.eq_ignore_ascii_case("true") => "1".to_owned(),
        Kind::Bool if trimmed.eq_ignore_ascii_case("false") => "0".to_owned(),
        kind if kind.is_number() && is_number(trimmed) => trimmed.to_owned(),
        _ => literal(text),
    })
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && digits.parse::<f64>().is_ok()
}

/// An instant as the text of its day, for columns of dates.
fn day_text<L: Leaves>(expr: &Expr, text: &str, leaves: &L) -> String {
    match leaves.moments().instant_but_text(expr) {
        Ok(Some(us)) => literal(&utc_text(us)[..10]),
        _ => format!("substr({}, 1, 10)", stored_text(text)),
    }
}

/// `like` tells capital letters apart, as the standard has it; SQLite's own does not, so it becomes `glob`.
pub fn like<L: Leaves>(
    expr: &Expr,
    pattern: &Expr,
    negated: bool,
    escape: Option<&Expr>,
    strict: bool,
    leaves: &mut L,
) -> Result<Sql> {
    let column = as_text(expr, leaves)?;
    let not = if negated { "NOT " } else { "" };
    if let (true, Some(text), None) = (strict, literal_of(pattern, leaves), escape) {
        let glob = literal(&glob_of(&text));
        return Ok(Sql::new(format!("{column} {not}GLOB {glob}"), Kind::Bool));
    }
    let mut text = format!("{column} {not}LIKE {}", as_text(pattern, leaves)?);
    if let Some(escape) = escape {
        text.push_str(" ESCAPE ");
        text.push_str(&emit(escape, leaves)?.text);
    }
    Ok(Sql::new(text, Kind::Bool))
}

fn glob_of(like: &str) -> String {
    let mut glob = String::with_capacity(like.len());
    for letter in like.chars() {
        match letter {
            '%' => glob.push('*'),
            '_' => glob.push('?'),
            '*' | '?' | '[' => {
                glob.push('[');
                glob.push(letter);
                glob.push(']');
            }
            _ => glob.push(letter),
        }
    }
    glob
}
