//! Schema of the first payload of a new table (spec: ingestion, section 8).

use std::net::IpAddr;

use super::time::{self, Zone};
use super::{Cell, Chunk, Column, ColumnDef, LogicalType, Schema};

/// Seconds at the start of the year 2000: smaller numbers in a column called "time" are no instants.
const YEAR_2000_S: i64 = 946_684_800;
const LARGEST_INT: u64 = 99_999_999;
const LONGEST_CHAR: usize = 8;
const LONGEST_FLOAT_TEXT: usize = 19;

/// Columns in order of first appearance, each of the narrowest kind that takes all its values.
pub fn infer(chunks: &[&Chunk], zone: &Zone) -> Schema {
    let mut inference = Inference::default();
    for chunk in chunks {
        inference.add(chunk, zone);
    }
    inference.finish()
}

/// A schema in the making, over chunks that need not be kept.
#[derive(Default)]
pub(super) struct Inference {
    schema: Schema,
    kinds: Vec<Option<LogicalType>>,
}

impl Inference {
    pub(super) fn add(&mut self, chunk: &Chunk, zone: &Zone) {
        for column in &chunk.columns {
            let columns = &mut self.schema.columns;
            let known = columns.iter().position(|c| c.name == column.name);
            let at = known.unwrap_or_else(|| {
                columns.push(definition(&column.name, LogicalType::Varchar));
                self.kinds.push(None);
                self.kinds.len() - 1
            });
            if self.kinds[at] != Some(LogicalType::Varchar) {
                self.kinds[at] = join_kinds(self.kinds[at], column_kind(column, zone));
            }
        }
    }

    pub(super) fn finish(mut self) -> Schema {
        for (column, kind) in self.schema.columns.iter_mut().zip(self.kinds) {
            *column = definition(&column.name, kind.unwrap_or(LogicalType::Varchar));
        }
        self.schema
    }
}

/// A column of this kind, with the default that its kind brings.
pub(super) fn definition(name: &str, kind: LogicalType) -> ColumnDef {
    ColumnDef {
        name: name.to_owned(),
        kind,
        default_now: matches!(
            kind,
            LogicalType::Timestamp | LogicalType::Date | LogicalType::Time
        ),
    }
}

/// Kind of all values of a column; `None` when all are null.
pub(super) fn column_kind(column: &Column, zone: &Zone) -> Option<LogicalType> {
    let rows = column.data.len();
    let mut kind = None;
    for row in 0..rows {
        kind = join_kinds(kind, cell_kind(&column.name, column.cell(row), zone));
        if kind == Some(LogicalType::Varchar) {
            break; // nothing is wider
        }
    }
    kind
}

fn join_kinds(a: Option<LogicalType>, b: Option<LogicalType>) -> Option<LogicalType> {
    match (a, b) {
        (Some(a), Some(b)) => Some(join(a, b)),
        (one, None) | (None, one) => one,
    }
}

/// The kind of a column that holds values of two kinds.
fn join(a: LogicalType, b: LogicalType) -> LogicalType {
    use LogicalType::{BigInt, Char, Decimal, Float, Int, Varchar};
    match (a, b) {
        (a, b) if a == b => a,
        (Char(n), Char(m)) => Char(n.max(m)),
        (Char(_), Varchar) | (Varchar, Char(_)) => Varchar,
        (Char(_), _) | (_, Char(_)) => Char(32),
        (Int, Decimal) | (Decimal, Int) => Decimal,
        (Int, BigInt) | (BigInt, Int) => BigInt,
        // Numbers never become text: here the reference makes varchar, or a bigint that cuts fractions.
        (Int | Decimal | BigInt | Float, Float)
        | (Float, Int | Decimal | BigInt)
        | (BigInt, Decimal)
        | (Decimal, BigInt) => Float,
        _ => Varchar,
    }
}

/// Kind of one value; `None` for null.
fn cell_kind(name: &str, cell: Cell<'_>, zone: &Zone) -> Option<LogicalType> {
    Some(match cell {
        Cell::Null => return None,
        Cell::Bool(_) => LogicalType::Boolean,
        Cell::Int(n) if n.unsigned_abs() <= LARGEST_INT => LogicalType::Int,
        Cell::Int(_) => LogicalType::BigInt,
        Cell::BigInt(_) => LogicalType::Decimal,
        Cell::Float(f) => float_kind(f),
        Cell::Json(_) => LogicalType::Varchar,
        Cell::Time(_) => LogicalType::Timestamp,
        Cell::Text(text) => text_kind(name, text, zone),
    })
}

/// A float whose printed form shows 1 to 5 characters after the dot (of all of it without a dot) is a decimal.
fn float_kind(value: f64) -> LogicalType {
    if value == 0.0 {
        return LogicalType::Float;
    }
    let printed = format!("{value:?}");
    // Exponents count as Python prints them: a sign and two digits at least.
    let length = |text: &str| match text.split_once('e') {
        Some((digits, exponent)) => {
            let plain = exponent.trim_start_matches('-');
            digits.len() + 2 + plain.len().max(2)
        }
        None => text.len(),
    };
    let shown = match printed.split_once('.') {
        Some((_, after)) => length(after),
        None => length(&printed),
    };
    if (1..=5).contains(&shown) {
        LogicalType::Decimal
    } else {
        LogicalType::Float
    }
}

fn text_kind(name: &str, text: &str, zone: &Zone) -> LogicalType {
    if is_uuid(text) {
        LogicalType::Uuid
    } else if time::parse(text, zone).is_some() {
        LogicalType::Timestamp
    } else if time::is_date(text) {
        LogicalType::Date
    } else if time::is_clock(text) {
        LogicalType::Time
    } else if text.parse::<IpAddr>().is_ok() {
        LogicalType::Cidr
    } else if let Some(kind) = number_kind(name, text) {
        kind
    } else {
        let characters = text.chars().count();
        if characters <= LONGEST_CHAR {
            LogicalType::Char(characters as u16)
        } else {
            LogicalType::Varchar
        }
    }
}

/// Kind of a text that is a number; `None` for codes such as `00123` and for what 64 bits cannot hold.
fn number_kind(name: &str, text: &str) -> Option<LogicalType> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        let whole: i64 = match text.parse() {
            Ok(whole) if digits.len() == 1 || !digits.starts_with('0') => whole,
            _ => return Some(LogicalType::Varchar),
        };
        return Some(if name.contains("time") && whole >= YEAR_2000_S {
            LogicalType::Timestamp
        } else if text.len() < 9 {
            LogicalType::Int
        } else {
            LogicalType::BigInt
        });
    }
    let numeric = text.len() <= LONGEST_FLOAT_TEXT
        && text.contains('.')
        && !text.contains(|c: char| c.is_ascii_alphabetic() && c != 'e' && c != 'E')
        && text.parse::<f64>().is_ok_and(f64::is_finite);
    numeric.then_some(LogicalType::Float)
}

/// 8-4-4-4-12 hex digits, or 32 without dashes.
pub(super) fn is_uuid(text: &str) -> bool {
    let bytes = text.as_bytes();
    let dashed = bytes.len() == 36;
    (dashed || bytes.len() == 32)
        && bytes.iter().enumerate().all(|(i, b)| {
            if dashed && matches!(i, 8 | 13 | 18 | 23) {
                *b == b'-'
            } else {
                b.is_ascii_hexdigit()
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_decimals_by_their_printed_form() {
        for (value, kind) in [
            (1.5, LogicalType::Decimal),
            (1.123_456, LogicalType::Float),
            (0.0, LogicalType::Float),
            (1e-7, LogicalType::Decimal),
            (1e20, LogicalType::Decimal),
            (1.5e300, LogicalType::Float),
            (12.0, LogicalType::Decimal),
        ] {
            assert_eq!(float_kind(value), kind, "{value}");
        }
    }
}
