//! Columns out of typed memory: numpy's arrays, and what the Cython module makes of Python objects.

use std::str::FromStr;

use super::time;
use super::{Bitmap, Column, ColumnData, TextColumn, Value};

/// First and last instant that has an ISO text of four digits for the year.
const FIRST_US: i64 = -62_135_596_800_000_000;
const LAST_US: i64 = 253_402_300_799_999_999;
/// numpy's "not a time".
const NOT_A_TIME: i64 = i64::MIN;
/// Texts of a column at most (their ends have 32 bits).
const MAX_TEXT_BYTES: usize = u32::MAX as usize;

/// A column that cannot be taken as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ColumnError {
    #[error("values of the type '{0}' can't be stored; use bool, int, float, datetime64 or text")]
    Kind(String),
    #[error("{0}")]
    Layout(String),
    #[error("row {row}: {reason}")]
    Value { row: usize, reason: String },
}

/// What the bytes of a column are. The names are numpy's (`dtype.str` without the byte order), and `text` and `json`
/// for texts end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    /// Bytes of a value: 1, 2, 4 or 8.
    Int(usize),
    Uint(usize),
    /// Bytes of a value: 4 or 8.
    Float(usize),
    Time(Scale),
    /// Characters of a value, four bytes each, filled up with NUL.
    Ucs4(usize),
    /// UTF-8 bytes of a value, filled up with NUL.
    Utf8(usize),
    Text,
    /// One JSON value a row.
    Json,
}

/// The unit of a time column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Microseconds of a step, as a fraction.
    Fixed { times: i64, divided: i64 },
    /// Months of a step.
    Months(i64),
}

impl FromStr for Kind {
    type Err = ColumnError;

    fn from_str(text: &str) -> Result<Self, ColumnError> {
        let unknown = || ColumnError::Kind(text.to_owned());
        let sized = |from: usize| text[from..].parse::<usize>().map_err(|_| unknown());
        match text {
            "text" => return Ok(Self::Text),
            "json" => return Ok(Self::Json),
            "b1" => return Ok(Self::Bool),
            _ => {}
        }
        match (text.as_bytes().first(), text.is_ascii()) {
            (Some(b'M'), true) => text
                .strip_prefix("M8[")
                .and_then(|t| t.strip_suffix(']'))
                .and_then(Scale::parse)
                .map(Self::Time)
                .ok_or_else(unknown),
            (Some(b'i'), true) => match sized(1)? {
                n @ (1 | 2 | 4 | 8) => Ok(Self::Int(n)),
                _ => Err(unknown()),
            },
            (Some(b'u'), true) => match sized(1)? {
                n @ (1 | 2 | 4 | 8) => Ok(Self::Uint(n)),
                _ => Err(unknown()),
            },
            (Some(b'f'), true) => match sized(1)? {
                n @ (4 | 8) => Ok(Self::Float(n)),
                _ => Err(unknown()),
            },
            (Some(b'U'), true) => sized(1).map(|n| Self::Ucs4(n.max(1))),
            (Some(b'S'), true) => sized(1).map(|n| Self::Utf8(n.max(1))),
            _ => Err(unknown()),
        }
    }
}

impl Scale {
    /// `ns`, `10us`, `M`: a unit of numpy with the number of units in a step.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (count, unit) = text.split_at(digits);
        let count: i64 = if count.is_empty() {
            1
        } else {
            count.parse().ok()?
        };
        let fixed = |us: i64| {
            Some(Self::Fixed {
                times: count.checked_mul(us)?,
                divided: 1,
            })
        };
        let part = |divided: i64| {
            Some(Self::Fixed {
                times: count,
                divided,
            })
        };
        match unit {
            "Y" => count.checked_mul(12).map(Self::Months),
            "M" => Some(Self::Months(count)),
            "W" => fixed(7 * 86_400_000_000),
            "D" => fixed(86_400_000_000),
            "h" => fixed(3_600_000_000),
            "m" => fixed(60_000_000),
            "s" => fixed(1_000_000),
            "ms" => fixed(1_000),
            "us" => fixed(1),
            "ns" => part(1_000),
            "ps" => part(1_000_000),
            "fs" => part(1_000_000_000),
            "as" => part(1_000_000_000_000),
            _ => None,
        }
    }

    /// Microseconds of so many steps since 1970; `None` outside of the years 1 to 9999.
    fn micros(self, steps: i64) -> Option<i64> {
        let us = match self {
            Self::Fixed { times, divided } => {
                (i128::from(steps) * i128::from(times)).div_euclid(i128::from(divided))
            }
            Self::Months(count) => {
                let months = i128::from(steps) * i128::from(count);
                let year = i64::try_from(months.div_euclid(12))
                    .ok()?
                    .checked_add(1970)?;
                if !(1..=9999).contains(&year) {
                    return None;
                }
                let month = months.rem_euclid(12) as u32 + 1;
                i128::from(time::days_from_civil(year, month, 1)) * 86_400_000_000
            }
        };
        i64::try_from(us)
            .ok()
            .filter(|us| (FIRST_US..=LAST_US).contains(us))
    }
}

/// The memory of a column.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    pub values: &'a [u8],
    /// Of the kinds `text` and `json`: where each value ends, eight bytes each.
    pub ends: Option<&'a [u8]>,
    /// A byte a row; not 0 = null.
    pub nulls: Option<&'a [u8]>,
}

/// A column out of memory in this machine's byte order. As everywhere, empty texts and floats that are no numbers
/// become nulls, and NUL characters are dropped.
///
/// # Errors
/// When the sizes don't fit the kind, a text is not UTF-8, or a time is outside of the years 1 to 9999.
pub fn column(name: String, kind: Kind, memory: Memory<'_>) -> Result<Column, ColumnError> {
    let (data, absent) = match kind {
        Kind::Bool => (
            ColumnData::Bool(memory.values.iter().map(|b| *b != 0).collect()),
            None,
        ),
        Kind::Int(width) => (ColumnData::Int(ints(memory.values, width)?), None),
        Kind::Uint(8) => (wide(memory.values)?, None),
        Kind::Uint(width) => (ColumnData::Int(uints(memory.values, width)?), None),
        Kind::Float(width) => floats(memory.values, width)?,
        Kind::Time(scale) => times(memory, scale)?,
        Kind::Ucs4(_) | Kind::Utf8(_) | Kind::Text => texts(kind, memory)?,
        Kind::Json => values(memory)?,
    };
    let len = data.len();
    if memory.nulls.is_some_and(|nulls| nulls.len() != len) {
        return Err(ColumnError::Layout(format!(
            "{len} values, but a null mask of {}",
            memory.nulls.map_or(0, <[u8]>::len)
        )));
    }
    Ok(Column {
        name,
        validity: validity(len, memory.nulls, absent.as_ref()),
        data,
    })
}

/// Bits of the rows that are neither masked nor absent; `None` when all have a value.
fn validity(len: usize, nulls: Option<&[u8]>, absent: Option<&Bitmap>) -> Option<Bitmap> {
    let masked = nulls.filter(|mask| mask.iter().any(|m| *m != 0));
    if masked.is_none() && absent.is_none() {
        return None;
    }
    let mut bits = Bitmap::default();
    for row in 0..len {
        let null = masked.is_some_and(|m| m[row] != 0) || absent.is_some_and(|a| a.get(row));
        bits.push(!null);
    }
    Some(bits)
}

/// Values of `N` bytes each.
fn split<const N: usize>(bytes: &[u8]) -> Result<&[[u8; N]], ColumnError> {
    match bytes.as_chunks::<N>() {
        (values, []) => Ok(values),
        _ => Err(ColumnError::Layout(format!(
            "{} bytes are no values of {N} bytes each",
            bytes.len()
        ))),
    }
}

fn ints(bytes: &[u8], width: usize) -> Result<Vec<i64>, ColumnError> {
    Ok(match width {
        1 => bytes.iter().map(|b| i64::from(*b as i8)).collect(),
        2 => split(bytes)?
            .iter()
            .map(|b| i64::from(i16::from_ne_bytes(*b)))
            .collect(),
        4 => split(bytes)?
            .iter()
            .map(|b| i64::from(i32::from_ne_bytes(*b)))
            .collect(),
        _ => split(bytes)?
            .iter()
            .map(|b| i64::from_ne_bytes(*b))
            .collect(),
    })
}

fn uints(bytes: &[u8], width: usize) -> Result<Vec<i64>, ColumnError> {
    Ok(match width {
        1 => bytes.iter().map(|b| i64::from(*b)).collect(),
        2 => split(bytes)?
            .iter()
            .map(|b| i64::from(u16::from_ne_bytes(*b)))
            .collect(),
        _ => split(bytes)?
            .iter()
            .map(|b| i64::from(u32::from_ne_bytes(*b)))
            .collect(),
    })
}

/// Unsigned integers of 64 bits: integers, or digits where one is too large for 63 bits.
fn wide(bytes: &[u8]) -> Result<ColumnData, ColumnError> {
    let all: Vec<u64> = split(bytes)?
        .iter()
        .map(|b| u64::from_ne_bytes(*b))
        .collect();
    if let Ok(ints) = all.iter().map(|n| i64::try_from(*n)).collect() {
        return Ok(ColumnData::Int(ints));
    }
    let value = |n: u64| i64::try_from(n).map_or_else(|_| Value::BigInt(n.to_string()), Value::Int);
    Ok(ColumnData::Mixed(all.into_iter().map(value).collect()))
}

/// Numbers, and the rows that have none.
fn floats(bytes: &[u8], width: usize) -> Result<(ColumnData, Option<Bitmap>), ColumnError> {
    let mut all: Vec<f64> = match width {
        4 => split(bytes)?
            .iter()
            .map(|b| f64::from(f32::from_ne_bytes(*b)))
            .collect(),
        _ => split(bytes)?
            .iter()
            .map(|b| f64::from_ne_bytes(*b))
            .collect(),
    };
    if all.iter().all(|f| f.is_finite()) {
        return Ok((ColumnData::Float(all), None));
    }
    let mut absent = Bitmap::default();
    for value in &mut all {
        absent.push(!value.is_finite());
        if !value.is_finite() {
            *value = 0.0;
        }
    }
    Ok((ColumnData::Float(all), Some(absent)))
}

fn times(memory: Memory<'_>, scale: Scale) -> Result<(ColumnData, Option<Bitmap>), ColumnError> {
    let steps = split(memory.values)?;
    let mut all = Vec::with_capacity(steps.len());
    let mut absent = Bitmap::default();
    let mut any_absent = false;
    for (row, bytes) in steps.iter().enumerate() {
        let step = i64::from_ne_bytes(*bytes);
        let masked = memory
            .nulls
            .is_some_and(|m| m.get(row).is_some_and(|b| *b != 0));
        let null = masked || step == NOT_A_TIME;
        any_absent |= null;
        absent.push(null);
        all.push(if null {
            0
        } else {
            scale.micros(step).ok_or_else(|| ColumnError::Value {
                row,
                reason: "a time outside of the years 1 to 9999".into(),
            })?
        });
    }
    Ok((ColumnData::Time(all), any_absent.then_some(absent)))
}

fn texts(kind: Kind, memory: Memory<'_>) -> Result<(ColumnData, Option<Bitmap>), ColumnError> {
    let mut column = TextColumn::default();
    let mut absent = Bitmap::default();
    let mut any_absent = false;
    let mut add = |row: usize, text: &str| {
        if column.bytes.len() + text.len() > MAX_TEXT_BYTES {
            return Err(ColumnError::Value {
                row,
                reason: "more than 4 GiB of text".into(),
            });
        }
        column.push(text);
        any_absent |= text.is_empty();
        absent.push(text.is_empty());
        Ok(())
    };
    match kind {
        Kind::Ucs4(chars) => {
            let mut text = String::with_capacity(chars);
            for (row, cell) in cells(memory.values, chars * 4)?.enumerate() {
                text.clear();
                for unit in cell.as_chunks::<4>().0 {
                    match char::from_u32(u32::from_ne_bytes(*unit)) {
                        Some('\0') => {}
                        Some(c) => text.push(c),
                        None => return Err(not_text(row)),
                    }
                }
                add(row, &text)?;
            }
        }
        Kind::Utf8(width) => {
            for (row, cell) in cells(memory.values, width)?.enumerate() {
                let text = std::str::from_utf8(cell).map_err(|_| not_text(row))?;
                add(row, &clean(text.trim_end_matches('\0')))?;
            }
        }
        _ => {
            for (row, cell) in joined(memory)?.enumerate() {
                let text = std::str::from_utf8(cell).map_err(|_| not_text(row))?;
                add(row, &clean(text))?;
            }
        }
    }
    Ok((ColumnData::Text(column), any_absent.then_some(absent)))
}

fn not_text(row: usize) -> ColumnError {
    ColumnError::Value {
        row,
        reason: "a text that is not UTF-8".into(),
    }
}

fn clean(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') {
        text.replace('\0', "").into()
    } else {
        text.into()
    }
}

fn cells(bytes: &[u8], width: usize) -> Result<std::slice::ChunksExact<'_, u8>, ColumnError> {
    let cells = bytes.chunks_exact(width);
    if cells.remainder().is_empty() {
        Ok(cells)
    } else {
        Err(ColumnError::Layout(format!(
            "{} bytes are no values of {width} bytes each",
            bytes.len()
        )))
    }
}

/// Values end to end, parted by where they end.
fn joined(memory: Memory<'_>) -> Result<impl Iterator<Item = &[u8]>, ColumnError> {
    let wrong = || ColumnError::Layout("the ends of the texts don't fit them".into());
    let ends = split::<8>(memory.ends.ok_or_else(wrong)?)?;
    let mut start = 0;
    for end in ends {
        let end = usize::try_from(u64::from_ne_bytes(*end)).map_err(|_| wrong())?;
        if end < start || end > memory.values.len() {
            return Err(wrong());
        }
        start = end;
    }
    if start != memory.values.len() {
        return Err(wrong());
    }
    let mut start = 0;
    Ok(ends.iter().map(move |end| {
        let end = u64::from_ne_bytes(*end) as usize;
        let cell = &memory.values[start..end];
        start = end;
        cell
    }))
}

fn values(memory: Memory<'_>) -> Result<(ColumnData, Option<Bitmap>), ColumnError> {
    let mut all = Vec::new();
    let mut absent = Bitmap::default();
    for (row, cell) in joined(memory)?.enumerate() {
        let text = std::str::from_utf8(cell).map_err(|_| not_text(row))?;
        let value = json_value(text).ok_or_else(|| ColumnError::Value {
            row,
            reason: format!(
                "'{}' is no JSON value",
                text.chars().take(40).collect::<String>()
            ),
        })?;
        absent.push(value == Value::Null);
        all.push(value);
    }
    let any = absent.ones() > 0;
    Ok((ColumnData::Mixed(all), any.then_some(absent)))
}

fn json_value(text: &str) -> Option<Value> {
    Some(match text.as_bytes().first()? {
        b'n' | b't' | b'f' => match text {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return None,
        },
        b'"' => match serde_json::from_str::<String>(text).ok()? {
            empty if empty.is_empty() => Value::Null,
            text => Value::Text(clean(&text).into_owned()),
        },
        b'{' | b'[' => {
            serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
            Value::Json(text.to_owned())
        }
        _ => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
                text.parse()
                    .map_or_else(|_| Value::BigInt(text.to_owned()), Value::Int)
            } else {
                Value::Float(serde_json::from_str(text).ok()?)
            }
        }
    })
}

#[cfg(test)]
mod tests;
