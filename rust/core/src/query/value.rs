//! Values as they come out of a database and go into a merge.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A column's type as far as queries care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Bool,
    Int,
    Float,
    /// Integers or reals, as given.
    Decimal,
    Text,
    Date,
    Clock,
    /// Microseconds UTC.
    Timestamp,
    /// Not known: an engine's own expression.
    Any,
}

impl Kind {
    /// The kind behind a declared type such as `char(3)` or `timestamp without time zone`.
    pub fn of(declared: &str) -> Self {
        let lower = declared.trim().to_ascii_lowercase();
        let word = lower.split(['(', ' ']).next().unwrap_or_default();
        match word {
            "boolean" | "bool" => Self::Bool,
            "int" | "integer" | "bigint" | "smallint" | "tinyint" | "serial" | "int2" | "int4"
            | "int8" => Self::Int,
            "float" | "real" | "double" | "float4" | "float8" => Self::Float,
            "decimal" | "numeric" => Self::Decimal,
            "timestamp" | "datetime" | "timestamptz" => Self::Timestamp,
            "date" => Self::Date,
            "time" => Self::Clock,
            "char" | "varchar" | "character" | "text" | "uuid" | "cidr" | "string" | "nchar"
            | "nvarchar" | "clob" | "json" => Self::Text,
            _ => Self::Any,
        }
    }

    pub fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Decimal)
    }

    pub fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Date | Self::Clock)
    }

    /// Name as printed for users (`columns` of a result).
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Int => "bigint",
            Self::Float => "float",
            Self::Decimal => "decimal",
            Self::Text => "varchar",
            Self::Date => "date",
            Self::Clock => "time",
            Self::Timestamp => "timestamp",
            Self::Any => "any",
        }
    }
}

/// A value that is owned.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Val {
    #[default]
    Null,
    Int(i64),
    Float(f64),
    Text(Box<str>),
    Blob(Box<[u8]>),
}

/// A value that is borrowed from a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    Null,
    Int(i64),
    Float(f64),
    Text(&'a str),
    Blob(&'a [u8]),
}

impl Val {
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    pub fn cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Int(i) => Cell::Int(*i),
            Self::Float(f) => Cell::Float(*f),
            Self::Text(t) => Cell::Text(t),
            Self::Blob(b) => Cell::Blob(b),
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Bytes on the heap, for memory bounds.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Text(t) => t.len(),
            Self::Blob(b) => b.len(),
            _ => 0,
        }
    }
}

impl Cell<'_> {
    pub fn to_val(self) -> Val {
        match self {
            Self::Null => Val::Null,
            Self::Int(i) => Val::Int(i),
            Self::Float(f) => Val::Float(f),
            Self::Text(t) => Val::Text(t.into()),
            Self::Blob(b) => Val::Blob(b.into()),
        }
    }

    fn class(self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Int(_) | Self::Float(_) => 1,
            Self::Text(_) => 2,
            Self::Blob(_) => 3,
        }
    }
}

/// The order that SQLite sorts by: null, numbers, texts by bytes, blobs.
pub fn compare(a: Cell<'_>, b: Cell<'_>) -> Ordering {
    match (a, b) {
        (Cell::Int(a), Cell::Int(b)) => a.cmp(&b),
        (Cell::Float(a), Cell::Float(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (Cell::Int(a), Cell::Float(b)) => compare_int_float(a, b),
        (Cell::Float(a), Cell::Int(b)) => compare_int_float(b, a).reverse(),
        (Cell::Text(a), Cell::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Cell::Blob(a), Cell::Blob(b)) => a.cmp(b),
        _ => a.class().cmp(&b.class()),
    }
}

/// Exact: a float is not allowed to round the integer.
fn compare_int_float(i: i64, f: f64) -> Ordering {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if f.is_nan() || f >= LIMIT {
        return if f.is_nan() {
            Ordering::Greater
        } else {
            Ordering::Less
        };
    }
    if f < -LIMIT {
        return Ordering::Greater;
    }
    let whole = f.trunc() as i64;
    i.cmp(&whole)
        .then_with(|| (f.trunc()).partial_cmp(&f).unwrap_or(Ordering::Equal))
}

/// Text of a float as JSON and Python write it: shortest, with `.0` on whole numbers.
pub fn push_float(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        // A Vec takes every write, so there is nothing to report.
        let _ = serde_json::to_writer(out, &value);
    } else {
        out.extend_from_slice(b"null");
    }
}

/// A number's text, as casts see it.
pub fn float_text(value: f64) -> String {
    let mut out = Vec::with_capacity(24);
    push_float(&mut out, value);
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_sqlites() {
        let sorted = [
            Cell::Null,
            Cell::Float(-1.5),
            Cell::Int(-1),
            Cell::Int(2),
            Cell::Float(2.5),
            Cell::Int(i64::MAX),
            Cell::Float(9.3e18),
            Cell::Text("10"),
            Cell::Text("9"),
            Cell::Blob(b"0"),
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(compare(*a, *b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn floats_are_shortest() {
        assert_eq!(float_text(4.0), "4.0");
        assert_eq!(float_text(-1.039_999_961_853_027_3), "-1.0399999618530273");
    }
}
