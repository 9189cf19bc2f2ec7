//! Functions inside expressions: time functions become integer arithmetic, the rest is SQLite's.

use sqlparser::ast::{DateTimeField, Expr, Function, FunctionArguments};

use super::emit::{Leaves, Sql, called, emit, stored_text};
use super::error::{QueryError, Result, parse_error};
use super::moments::{field_name, text_of};
use super::time::{DAY, HOUR, MINUTE, SECOND, Unit};
use super::value::Kind;

/// Aggregates of the engine that have no place in a merge of partial groups.
const ENGINE_AGGREGATES: [&str; 9] = [
    "group_concat",
    "string_agg",
    "total",
    "median",
    "percentile",
    "percentile_cont",
    "percentile_disc",
    "json_group_array",
    "json_group_object",
];

/// A call of a scalar function.
pub fn call<L: Leaves>(function: &Function, leaves: &mut L) -> Result<Sql> {
    let (name, arguments) = called(function);
    let decorated = function.over.is_some()
        || function.filter.is_some()
        || !function.within_group.is_empty()
        || function.null_treatment.is_some()
        || is_distinct(function);
    if decorated || ENGINE_AGGREGATES.contains(&name.as_str()) {
        return Err(QueryError::Unsupported(format!("'{function}'")));
    }
    let Some(arguments) = arguments else {
        return Err(QueryError::Unsupported(format!("'{function}'")));
    };
    match name.as_str() {
        "date_trunc" => return date_trunc(&arguments, leaves),
        "period" => return parse_error("period stands once, among the 'and' conditions of where"),
        "increments" => return parse_error("increments stands once, in the select list, alone"),
        "range" => return parse_error("range takes one column"),
        _ => {}
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return parse_error(format!("'{name}' is no function"));
    }
    let mut sql = Vec::with_capacity(arguments.len());
    for argument in &arguments {
        sql.push(emit(argument, leaves)?);
    }
    let kind = result_kind(&name, &sql);
    let keeps_time = kind == Kind::Timestamp || takes_any(&name);
    let texts: Vec<String> = sql
        .into_iter()
        .map(|a| {
            if a.kind == Kind::Timestamp && !keeps_time {
                stored_text(&a.text)
            } else {
                a.text
            }
        })
        .collect();
    Ok(Sql::new(format!("{name}({})", texts.join(", ")), kind))
}

fn is_distinct(function: &Function) -> bool {
    match &function.args {
        FunctionArguments::List(list) => {
            list.duplicate_treatment.is_some() || !list.clauses.is_empty()
        }
        _ => false,
    }
}

/// Functions for which an integer time is as good as any value.
fn takes_any(name: &str) -> bool {
    matches!(
        name,
        "count" | "content_hash" | "typeof" | "likelihood" | "likely" | "unlikely"
    )
}

fn result_kind(name: &str, arguments: &[Sql]) -> Kind {
    let first = arguments.first().map_or(Kind::Any, |a| a.kind);
    match name {
        "coalesce" | "ifnull" | "nullif" | "min" | "max" => {
            let same = arguments
                .iter()
                .all(|a| a.kind == first || a.kind == Kind::Any);
            if same { first } else { Kind::Any }
        }
        "iif" | "if" => arguments.get(1).map_or(Kind::Any, |a| a.kind),
        "abs" | "sign" if first.is_number() => first,
        "round" | "sqrt" | "exp" | "ln" | "log" | "log10" | "log2" | "pow" | "power" | "sin"
        | "cos" | "tan" | "julianday" | "random_float" => Kind::Float,
        "length" | "content_hash" | "instr" | "unicode" | "unixepoch" | "octet_length" => Kind::Int,
        "lower" | "upper" | "trim" | "ltrim" | "rtrim" | "replace" | "substr" | "substring"
        | "printf" | "format" | "hex" | "strftime" | "time" | "typeof" | "concat" | "concat_ws"
        | "quote" | "date" | "datetime" => Kind::Text,
        _ => Kind::Any,
    }
}

/// `date_trunc('hour', column)`: an instant.
fn date_trunc<L: Leaves>(arguments: &[&Expr], leaves: &mut L) -> Result<Sql> {
    let unit = arguments
        .first()
        .and_then(|u| text_of(u))
        .and_then(|u| Unit::lenient(&u.to_lowercase()));
    let (Some(unit), [_, column]) = (unit, arguments) else {
        return parse_error("date_trunc is written so: date_trunc('hour', timestamp)");
    };
    let column = time_column(column, "date_trunc", leaves)?;
    let text = match unit {
        Unit::Second => floor(&column, SECOND, 0),
        Unit::Minute => floor(&column, MINUTE, 0),
        Unit::Hour => floor(&column, HOUR, 0),
        Unit::Day => floor(&column, DAY, 0),
        // Weeks begin on Monday; day 0 was a Thursday.
        Unit::Week => floor(&column, 7 * DAY, 3 * DAY),
        Unit::Month => start_of(&column, "month"),
        Unit::Year => start_of(&column, "year"),
    };
    Ok(Sql::new(text, Kind::Timestamp))
}

/// `us` cut down to a multiple of `width`, counted from `-offset`; right before 1970 too.
fn floor(us: &str, width: i64, offset: i64) -> String {
    let moved = if offset == 0 {
        us.to_owned()
    } else {
        format!("({us} + {offset})")
    };
    format!("({us} - ({moved} % {width} + {width}) % {width})")
}

fn seconds(us: &str) -> String {
    format!("({} / {SECOND})", floor(us, SECOND, 0))
}

fn start_of(us: &str, unit: &str) -> String {
    format!(
        "(CAST(strftime('%s', {}, 'unixepoch', 'start of {unit}') AS INTEGER) * {SECOND})",
        seconds(us)
    )
}

/// `extract(hour from column)`: an integer; seconds have their fraction.
pub fn extract<L: Leaves>(field: &DateTimeField, expr: &Expr, leaves: &mut L) -> Result<Sql> {
    let name = field_name(field);
    let column = time_column(expr, "extract", leaves)?;
    let part = |form: &str| {
        format!(
            "CAST(strftime('{form}', {}, 'unixepoch') AS INTEGER)",
            seconds(&column)
        )
    };
    let of = |larger: i64, unit: i64| {
        format!("((({column}) % {larger} + {larger}) % {larger} / {unit})")
    };
    let text = match name.strip_suffix('s').unwrap_or(&name) {
        "second" => {
            let rest = format!("((({column}) % {MINUTE} + {MINUTE}) % {MINUTE})");
            return Ok(Sql::new(format!("({rest} / {SECOND}.0)"), Kind::Float));
        }
        "epoch" => return Ok(Sql::new(format!("({column} / {SECOND}.0)"), Kind::Float)),
        "microsecond" => of(MINUTE, 1),
        "millisecond" => of(MINUTE, 1000),
        "minute" => of(HOUR, MINUTE),
        "hour" => of(DAY, HOUR),
        "day" => part("%d"),
        "month" => part("%m"),
        "year" => part("%Y"),
        "dow" | "dayofweek" => part("%w"),
        "isodow" => part("%u"),
        "doy" | "dayofyear" => part("%j"),
        "week" | "isoweek" => part("%V"),
        "isoyear" => part("%G"),
        "quarter" => format!("(({} + 2) / 3)", part("%m")),
        _ => return parse_error(format!("extract knows no '{name}'")),
    };
    Ok(Sql::new(text, Kind::Int))
}

fn time_column<L: Leaves>(expr: &Expr, what: &str, leaves: &mut L) -> Result<String> {
    if let Some(us) = text_of(expr).and_then(|_| leaves.moments().instant(expr).ok().flatten()) {
        return Ok(us.to_string());
    }
    let column = emit(expr, leaves)?;
    if column.kind == Kind::Timestamp || column.kind == Kind::Any {
        return Ok(column.text);
    }
    parse_error(format!("{what} takes a time; '{expr}' is none"))
}
