//! Types of mapped columns, and values as those types hold them (spec: brokers and mapping, section 8).

use std::borrow::Cow;

use super::json::Json;
use super::path::Item;
use super::{CompileError, Fault};
use crate::rows::time::{self, Zone};
use crate::rows::{Cell, LogicalType};

/// What a column becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Of(LogicalType),
    /// `nonetype`: always null.
    Null,
    /// `*`: as the data says.
    Any,
}

impl Kind {
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        Some(Self::Of(match name.as_str() {
            "str" | "string" | "text" | "varchar" | "bytestring" | "char varying" | "nodeid"
            | "expandednodeid" | "qualifiedname" | "localizedtext" | "variant" | "datavalue"
            | "diagnosticinfo" => LogicalType::Varchar,
            "int" | "integer" | "int8" | "int16" | "int32" | "uint8" | "uint16" | "sbyte"
            | "statuscode" => LogicalType::Int,
            "bigint" | "int64" | "uint32" | "uint64" => LogicalType::BigInt,
            "float" | "float32" | "float64" | "double" | "decimal" | "numeric" => {
                LogicalType::Float
            }
            "bool" | "boolean" => LogicalType::Boolean,
            "timestamp" | "datetime" => LogicalType::Timestamp,
            "date" => LogicalType::Date,
            "time" => LogicalType::Time,
            "uuid" => LogicalType::Uuid,
            "byte" => LogicalType::Char(1),
            "char" => LogicalType::Char(32),
            "nonetype" => return Some(Self::Null),
            "*" => return Some(Self::Any),
            other => {
                let n = other
                    .strip_prefix("char(")
                    .or_else(|| other.strip_prefix("varchar("))?;
                let n = n.strip_suffix(')')?.trim().parse().ok()?;
                if other.starts_with('v') {
                    LogicalType::Varchar
                } else {
                    LogicalType::Char(n)
                }
            }
        }))
    }

    pub fn compile(name: &str) -> Result<Self, CompileError> {
        Self::parse(name).ok_or_else(|| CompileError::unknown_type(name))
    }

    /// The column's type, when the mapping says one.
    pub fn logical(self) -> Option<LogicalType> {
        match self {
            Self::Of(kind) => Some(kind),
            Self::Null | Self::Any => None,
        }
    }
}

/// A converted value, on its way into a chunk.
#[derive(Clone, Debug, PartialEq)]
pub enum Held<'v> {
    Null,
    Bool(bool),
    Int(i64),
    /// Digits beyond 64 bits.
    Digits(Cow<'v, str>),
    Float(f64),
    Text(Cow<'v, str>),
    /// Microseconds UTC.
    Time(i64),
}

impl Held<'_> {
    pub fn cell(&self) -> Cell<'_> {
        match self {
            Held::Null => Cell::Null,
            Held::Bool(b) => Cell::Bool(*b),
            Held::Int(i) => Cell::Int(*i),
            Held::Digits(digits) => Cell::BigInt(digits),
            Held::Float(f) => Cell::Float(*f),
            Held::Text(text) => Cell::Text(text),
            Held::Time(us) => Cell::Time(*us),
        }
    }
}

/// A value as `kind` holds it. `cut` counts fractions that an int column lost.
pub fn convert<'v>(
    item: &Item<'v>,
    kind: Kind,
    zone: &Zone,
    cut: &mut u64,
) -> Result<Held<'v>, Fault> {
    match item {
        Item::Absent => Ok(Held::Null),
        Item::Value(value) => convert_json(value, kind, zone, cut),
        Item::Made(text) => convert_text(text.clone(), kind, zone, cut),
    }
}

fn convert_json<'v>(
    value: &'v Json<'v>,
    kind: Kind,
    zone: &Zone,
    cut: &mut u64,
) -> Result<Held<'v>, Fault> {
    let kind = match kind {
        Kind::Of(kind) => kind,
        Kind::Null => return Ok(Held::Null),
        Kind::Any => return Ok(as_given(value)),
    };
    let misfit = || Fault::cast(&value.text(), kind);
    Ok(match (kind, value) {
        (_, Json::Null) => Held::Null,
        (_, Json::Text(text)) => {
            return convert_text(Cow::Borrowed(text), Kind::Of(kind), zone, cut);
        }
        (LogicalType::Boolean, Json::Bool(b)) => Held::Bool(*b),
        (LogicalType::Boolean, Json::Int(0)) => Held::Bool(false),
        (LogicalType::Boolean, Json::Int(1)) => Held::Bool(true),
        (LogicalType::Int | LogicalType::BigInt, Json::Int(i)) => Held::Int(*i),
        (LogicalType::Int | LogicalType::BigInt, Json::Big(u)) => {
            Held::Digits(Cow::Owned(u.to_string()))
        }
        (LogicalType::Int | LogicalType::BigInt, Json::Float(f)) => {
            whole(*f, cut).ok_or_else(misfit)?
        }
        (LogicalType::Int | LogicalType::BigInt, Json::Bool(b)) => Held::Int(i64::from(*b)),
        (LogicalType::Float | LogicalType::Decimal, Json::Int(i)) => Held::Float(*i as f64),
        (LogicalType::Float | LogicalType::Decimal, Json::Big(u)) => Held::Float(*u as f64),
        (LogicalType::Float | LogicalType::Decimal, Json::Float(f)) => Held::Float(*f),
        (LogicalType::Timestamp, Json::Int(i)) => {
            Held::Time(time::epoch_us(*i).ok_or_else(|| Fault::time(&value.text()))?)
        }
        (LogicalType::Timestamp, Json::Float(f)) => {
            Held::Time(time::epoch_us_f64(*f).ok_or_else(|| Fault::time(&value.text()))?)
        }
        (LogicalType::Timestamp, _) => return Err(Fault::time(&value.text())),
        (
            LogicalType::Char(_)
            | LogicalType::Varchar
            | LogicalType::Uuid
            | LogicalType::Cidr
            | LogicalType::Date
            | LogicalType::Time,
            _,
        ) => Held::Text(value.text()),
        _ => return Err(misfit()),
    })
}

fn convert_text<'v>(
    text: Cow<'v, str>,
    kind: Kind,
    zone: &Zone,
    cut: &mut u64,
) -> Result<Held<'v>, Fault> {
    let kind = match kind {
        Kind::Of(kind) => kind,
        Kind::Null => return Ok(Held::Null),
        Kind::Any => return Ok(Held::Text(text)),
    };
    Ok(match kind {
        LogicalType::Boolean => match text.trim() {
            t if t.eq_ignore_ascii_case("true") || t == "1" => Held::Bool(true),
            t if t.eq_ignore_ascii_case("false") || t == "0" => Held::Bool(false),
            _ => return Err(Fault::cast(&text, kind)),
        },
        LogicalType::Int | LogicalType::BigInt => {
            let trimmed = text.trim();
            let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
            if let Ok(i) = trimmed.parse() {
                Held::Int(i)
            } else if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
                Held::Digits(Cow::Owned(trimmed.trim_start_matches('+').to_owned()))
            } else {
                number(trimmed)
                    .and_then(|f| whole(f, cut))
                    .ok_or_else(|| Fault::cast(&text, kind))?
            }
        }
        LogicalType::Float | LogicalType::Decimal => {
            Held::Float(number(text.trim()).ok_or_else(|| Fault::cast(&text, kind))?)
        }
        LogicalType::Timestamp => {
            Held::Time(instant(text.trim(), zone).ok_or_else(|| Fault::time(&text))?)
        }
        _ => Held::Text(text),
    })
}

/// A value of a column whose type is the data's.
fn as_given<'v>(value: &'v Json<'v>) -> Held<'v> {
    match value {
        Json::Null => Held::Null,
        Json::Bool(b) => Held::Bool(*b),
        Json::Int(i) => Held::Int(*i),
        Json::Big(u) => Held::Digits(Cow::Owned(u.to_string())),
        Json::Float(f) => Held::Float(*f),
        Json::Text(_) | Json::List(_) | Json::Object(_) => Held::Text(value.text()),
    }
}

/// Finite numbers only: no `inf`, no `nan`.
fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|f| f.is_finite())
}

/// The whole part, cut towards zero.
fn whole(f: f64, cut: &mut u64) -> Option<Held<'static>> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if !(-LIMIT..LIMIT).contains(&f) {
        return None;
    }
    *cut += u64::from(f.fract() != 0.0);
    Some(Held::Int(f as i64))
}

/// Microseconds UTC of a timestamp text; besides what every timestamp column takes: ISO without seconds, and
/// `MM/DD/YYYY hh:mm:ss AM` without an offset (node local time).
pub fn instant(text: &str, zone: &Zone) -> Option<i64> {
    time::parse_value(text, zone)
        .or_else(|| without_seconds(text).and_then(|text| time::parse(&text, zone)))
        .or_else(|| us_form(text).and_then(|text| time::parse(&text, zone)))
}

fn without_seconds(text: &str) -> Option<String> {
    let (head, tail) = (text.get(..16)?, text.get(16..)?);
    let clock = matches!(text.as_bytes()[10], b'T' | b' ') && text.as_bytes()[13] == b':';
    (clock && !tail.starts_with(':')).then(|| format!("{head}:00{tail}"))
}

fn us_form(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    let (date, clock, half) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    let mut date = date.split('/');
    let (month, day, year) = (date.next()?, date.next()?, date.next()?);
    let (hour, rest) = clock.split_once(':')?;
    let hour: u32 = hour.parse().ok().filter(|h| (1..=12).contains(h))?;
    let hour = match half.to_ascii_uppercase().as_str() {
        "AM" => hour % 12,
        "PM" => hour % 12 + 12,
        _ => return None,
    };
    Some(format!("{year}-{month:0>2}-{day:0>2} {hour:02}:{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_types_in_any_case() {
        for (name, kind) in [
            ("Int8", LogicalType::Int),
            ("UINT32", LogicalType::BigInt),
            ("Float32", LogicalType::Float),
            ("char(4)", LogicalType::Char(4)),
            ("DateTime", LogicalType::Timestamp),
            ("bool", LogicalType::Boolean),
        ] {
            assert_eq!(Kind::parse(name), Some(Kind::Of(kind)), "{name}");
        }
        assert_eq!(Kind::parse("no such"), None);
        assert_eq!(Kind::parse("char(x)"), None);
    }

    #[test]
    fn numbers_out_of_text() {
        let mut cut = 0;
        let mut int = |text: &str| {
            convert_text(
                Cow::Owned(text.to_owned()),
                Kind::Of(LogicalType::Int),
                &Zone::UTC,
                &mut cut,
            )
            .ok()
        };
        assert_eq!(int("7"), Some(Held::Int(7)));
        assert_eq!(int("7.9"), Some(Held::Int(7)));
        assert_eq!(
            int("99999999999999999999"),
            Some(Held::Digits("99999999999999999999".into()))
        );
        for bad in ["abc", "", "1e400", "nan", "inf", "0x10"] {
            assert_eq!(int(bad), None, "{bad}");
        }
        assert_eq!(cut, 1);
    }

    proptest! {
        #[test]
        fn any_text_converts_or_fails(text in ".{0,30}", kind in "int|float|bool|timestamp|char\\(3\\)|uuid") {
            let kind = Kind::parse(&kind).unwrap();
            let _ = convert_text(Cow::Owned(text), kind, &Zone::UTC, &mut 0);
        }

        #[test]
        fn almost_timestamps_never_panic(text in r"[0-9]{1,2}/[0-9]{1,2}/[0-9é]{4} [0-9]{1,2}:[0-9:]{0,5} [AP]M|[0-9-]{10}T[0-9:]{4,9}[Z+]?") {
            let _ = instant(&text, &Zone::UTC);
        }
    }
}
