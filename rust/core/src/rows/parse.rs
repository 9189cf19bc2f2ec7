//! Payload to chunk: strict JSON straight into columns, with a second, lenient try when that fails.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::builder::ChunkBuilder;
use super::lenient;
use super::time::Zone;
use super::{Cell, Chunk, Schema};

/// A payload that is not JSON, or holds something other than rows.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message} (row {row}, byte {offset})")]
pub struct PayloadError {
    pub message: String,
    /// Row at fault, from 1.
    pub row: usize,
    /// Byte offset in the payload.
    pub offset: usize,
}

/// What a payload became.
#[derive(Debug, Default, PartialEq)]
pub struct Parsed {
    pub chunk: Chunk,
    /// Rows kept out, with the reason: (row number from 1, why).
    pub rejected: Vec<(usize, String)>,
}

/// Rows of a payload: one object, a list of objects, or objects one after another (spec: ingestion,
/// section 3). With a schema, values of timestamp and float columns are converted at once.
///
/// Strict JSON is tried first; only when it fails, control characters count as blanks, trailing commas
/// and texts in single quotes are taken, and numbers that are none (`NaN`, `1e400`) become null.
pub fn parse(payload: &[u8], schema: Option<&Schema>, zone: &Zone) -> Result<Parsed, PayloadError> {
    let text = std::str::from_utf8(payload).map_err(|e| PayloadError {
        message: "the payload is not UTF-8 text".into(),
        row: 1 + memchr::memchr_iter(b'\n', &payload[..e.valid_up_to()]).count(),
        offset: e.valid_up_to(),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(chunk) = parse_lines(text, schema, zone) {
        return Ok(done(chunk));
    }
    match parse_values(text, schema, zone) {
        Ok(chunk) => Ok(done(chunk)),
        Err(strict) => match lenient::normalise(text) {
            Some(mended) => parse_values(&mended, schema, zone)
                .map(done)
                .map_err(|_| strict),
            None => Err(strict),
        },
    }
}

fn done(chunk: Chunk) -> Parsed {
    Parsed {
        chunk,
        rejected: Vec::new(),
    }
}

/// The fast way: one object a line. `None` when the payload is anything else.
fn parse_lines(text: &str, schema: Option<&Schema>, zone: &Zone) -> Option<Chunk> {
    let mut builder = ChunkBuilder::new(schema, zone);
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]) {
        let line = text[start..end].trim_ascii();
        start = end + 1;
        if !line.is_empty() {
            if !line.starts_with('{') {
                return None;
            }
            parse_row(line, &mut builder).ok()?;
        }
    }
    let chunk = builder.finish();
    (chunk.len > 0).then_some(chunk)
}

/// Rows of a payload as they stand in it, by number from 0 in ascending order; none of one that is no payload.
pub fn pick(payload: &[u8], numbers: &[usize]) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(payload) else {
        return Vec::new();
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let read = |text: &str| {
        let mut wanted = numbers.iter().copied().peekable();
        let mut number = 0;
        let mut picked = Vec::with_capacity(numbers.len());
        let end = each_row(text, |row| {
            if wanted.next_if_eq(&number).is_some() {
                picked.push(row.to_owned());
            }
            number += 1;
            Ok(())
        });
        end.map(|_| picked)
    };
    match read(text) {
        Ok(picked) => picked,
        Err(_) => lenient::normalise(text)
            .and_then(|mended| read(&mended).ok())
            .unwrap_or_default(),
    }
}

/// The general way: values one after another, parted by blanks, commas or nothing; lists hold rows.
fn parse_values(text: &str, schema: Option<&Schema>, zone: &Zone) -> Result<Chunk, PayloadError> {
    let mut builder = ChunkBuilder::new(schema, zone);
    let rows = each_row(text, |row| parse_row(row, &mut builder))?;
    if rows == 0 {
        return Err(PayloadError {
            message: "no rows in the payload".into(),
            row: 1,
            offset: 0,
        });
    }
    Ok(builder.finish())
}

/// Calls `take` with the text of each row; returns how many there were.
fn each_row(
    text: &str,
    mut take: impl FnMut(&str) -> Result<(), String>,
) -> Result<usize, PayloadError> {
    let mut row = 0;
    let mut at = 0;
    let fail = |message: String, row: usize, offset: usize| PayloadError {
        message,
        row,
        offset,
    };
    loop {
        let rest = text[at..].trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        at = text.len() - rest.len();
        if rest.is_empty() {
            break;
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let raw = match values.next() {
            Some(Ok(raw)) => raw.get(),
            Some(Err(e)) => return Err(fail(plain(&e), row + 1, at + offset_of(rest, &e))),
            None => break,
        };
        let taken = values.byte_offset();
        if raw.starts_with('[') {
            let list: Vec<&RawValue> = serde_json::from_str(raw)
                .map_err(|e| fail(plain(&e), row + 1, at + offset_of(raw, &e)))?;
            for element in list {
                row += 1;
                take(element.get())
                    .map_err(|message| fail(message, row, within(text, element.get())))?;
            }
        } else {
            row += 1;
            take(raw).map_err(|message| fail(message, row, within(text, raw)))?;
        }
        at += taken;
    }
    Ok(row)
}

/// Offset of `part` in the text that it is a slice of.
fn within(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// serde's message without its own line and column.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

fn offset_of(text: &str, error: &serde_json::Error) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum();
    (before + error.column()).min(text.len())
}

/// One object into the builder; on an error the row is taken back.
fn parse_row(text: &str, builder: &mut ChunkBuilder) -> Result<(), String> {
    let mut exact = true;
    builder.begin_row();
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = RowSeed {
        builder,
        exact: &mut exact,
    }
    .deserialize(&mut reader)
    .and_then(|()| reader.end());
    if let Err(error) = read {
        builder.abort_row();
        return Err(plain(&error));
    }
    if !exact {
        // A number that a double cannot hold: once more, with the digits as they stand.
        builder.abort_row();
        builder.begin_row();
        if let Err(error) = parse_row_by_digits(text, builder) {
            builder.abort_row();
            return Err(plain(&error));
        }
    }
    if !builder.end_row() {
        return Err("a row without values".into());
    }
    Ok(())
}

fn parse_row_by_digits(text: &str, builder: &mut ChunkBuilder) -> Result<(), serde_json::Error> {
    struct Pairs<'b>(&'b mut ChunkBuilder);
    impl<'de> Visitor<'de> for Pairs<'_> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
                let token = raw.get();
                let digits = token.strip_prefix('-').unwrap_or(token);
                let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                if whole && token.parse::<i64>().is_err() {
                    self.0
                        .push(&name, Cell::BigInt(token))
                        .map_err(A::Error::custom)?;
                } else {
                    let value: serde_json::Value =
                        serde_json::from_str(token).map_err(A::Error::custom)?;
                    push_value(self.0, &name, &value).map_err(A::Error::custom)?;
                }
            }
            Ok(())
        }
    }
    serde_json::Deserializer::from_str(text).deserialize_map(Pairs(builder))
}

fn push_value(
    builder: &mut ChunkBuilder,
    name: &str,
    value: &serde_json::Value,
) -> Result<(), super::TooManyColumns> {
    match value {
        serde_json::Value::Null => builder.push(name, Cell::Null),
        serde_json::Value::Bool(b) => builder.push(name, Cell::Bool(*b)),
        serde_json::Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => builder.push(name, Cell::Int(i)),
            (None, Some(u)) => builder.push(name, Cell::BigInt(&u.to_string())),
            (None, None) => builder.push(name, Cell::Float(n.as_f64().unwrap_or(f64::NAN))),
        },
        serde_json::Value::String(text) => builder.push(name, Cell::Text(&clean(text))),
        serde_json::Value::Object(map) => match map.get(name) {
            Some(inner) => push_value(builder, name, inner),
            None => builder.push(name, Cell::Json(&value.to_string())),
        },
        serde_json::Value::Array(_) => builder.push(name, Cell::Json(&value.to_string())),
    }
}

/// Texts without NUL characters, which PostgreSQL cannot store.
fn clean(text: &str) -> std::borrow::Cow<'_, str> {
    if memchr::memchr(0, text.as_bytes()).is_some() {
        text.replace('\0', "").into()
    } else {
        text.into()
    }
}

struct RowSeed<'b> {
    builder: &'b mut ChunkBuilder,
    /// Cleared when a number lost digits.
    exact: &'b mut bool,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object (a row)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(column) = map.next_key_seed(KeySeed(self.builder))? {
            map.next_value_seed(CellSeed {
                builder: self.builder,
                column,
                exact: self.exact,
            })?;
        }
        Ok(())
    }
}

/// A key to its column; the key that followed the last one in the row before is tried first.
struct KeySeed<'b>(&'b mut ChunkBuilder);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Option<u32>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Option<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column name")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        match self.0.guess() {
            Some(raw) if raw == key.as_bytes() => Ok(self.0.take_guess()),
            _ => self
                .0
                .column_of(key.as_bytes(), || key.to_owned())
                .map_err(E::custom),
        }
    }
}

struct CellSeed<'b> {
    builder: &'b mut ChunkBuilder,
    column: Option<u32>,
    exact: &'b mut bool,
}

impl CellSeed<'_> {
    fn json<E: serde::de::Error>(self, value: &serde_json::Value) -> Result<(), E> {
        // An object that holds a key of its column's name stands for that inner value.
        if let (Some(column), serde_json::Value::Object(map)) = (self.column, value)
            && let Some(inner) = self
                .builder
                .raw_key()
                .and_then(|raw| std::str::from_utf8(raw).ok())
                .and_then(|name| map.get(name))
        {
            return match inner {
                serde_json::Value::Null => self.set(Some(column), Cell::Null),
                serde_json::Value::Bool(b) => self.set(Some(column), Cell::Bool(*b)),
                serde_json::Value::Number(n) => match (n.as_i64(), n.as_u64()) {
                    (Some(i), _) => self.set(Some(column), Cell::Int(i)),
                    (None, Some(u)) => self.set(Some(column), Cell::BigInt(&u.to_string())),
                    (None, None) => {
                        self.set(Some(column), Cell::Float(n.as_f64().unwrap_or(f64::NAN)))
                    }
                },
                serde_json::Value::String(text) => self.set(Some(column), Cell::Text(&clean(text))),
                other => self.set(Some(column), Cell::Json(&other.to_string())),
            };
        }
        let column = self.column;
        self.set(column, Cell::Json(&value.to_string()))
    }

    #[allow(clippy::unnecessary_wraps)] // the visitors return it as it is
    fn set<E>(self, column: Option<u32>, cell: Cell<'_>) -> Result<(), E> {
        self.builder.set(column, cell);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for CellSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CellSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        let column = self.column;
        self.set(column, Cell::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        let column = self.column;
        self.set(column, Cell::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        let column = self.column;
        self.set(column, Cell::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        let column = self.column;
        match i64::try_from(value) {
            Ok(value) => self.set(column, Cell::Int(value)),
            Err(_) => self.set(column, Cell::BigInt(&value.to_string())),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        // Every double this large is whole, so the token may have been an integer with more digits.
        if value.abs() >= 9_223_372_036_854_775_808.0 {
            *self.exact = false;
        }
        let column = self.column;
        self.set(column, Cell::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        let column = self.column;
        self.set(column, Cell::Text(&clean(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        let value: serde_json::Value =
            serde::Deserialize::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))?;
        self.json(&value)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let value: serde_json::Value =
            serde::Deserialize::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        self.json(&value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utc() -> Zone {
        Zone::named("UTC").expect("UTC is known")
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&payload, None, &utc());
        }

        #[test]
        fn nearly_json_makes_no_panic(payload in r#"[\[\]{}",:'0-9a-eN .\\-]{0,60}"#) {
            if let Ok(parsed) = parse(payload.as_bytes(), None, &utc()) {
                prop_assert!(parsed.chunk.len > 0);
                for column in &parsed.chunk.columns {
                    prop_assert_eq!(column.data.len(), parsed.chunk.len);
                }
            }
        }

        #[test]
        fn rows_come_back(rows in proptest::collection::vec(
            proptest::collection::btree_map("[a-z]{1,4}", any::<i64>(), 1..5), 1..20)) {
            let lines: Vec<String> = rows.iter().map(|r| serde_json::json!(r).to_string()).collect();
            for joined in [lines.join("\n"), lines.join(","), lines.concat(), format!("[{}]", lines.join(","))] {
                let chunk = parse(joined.as_bytes(), None, &utc()).expect("valid").chunk;
                prop_assert_eq!(chunk.len, rows.len());
                for (at, row) in rows.iter().enumerate() {
                    for (name, value) in row {
                        let Some(name) = crate::names::column_name(name) else { continue };
                        let cell = chunk.column(&name).map(|c| c.cell(at));
                        prop_assert_eq!(cell, Some(Cell::Int(*value)));
                    }
                }
            }
        }

        #[test]
        fn chunks_join_whatever_they_hold(a in r#"(\{"x": (1|2.5|"t"|true|null|\[1\])(, "y": 1)?\}\n){1,4}"#,
                                          b in r#"(\{"x": (1|2.5|"t"|true|null|\[1\])(, "z": "q")?\}\n){1,4}"#) {
            let (Ok(one), Ok(two)) = (parse(a.as_bytes(), None, &utc()), parse(b.as_bytes(), None, &utc())) else {
                return Ok(());
            };
            let both = parse(format!("{a}{b}").as_bytes(), None, &utc()).expect("valid").chunk;
            let mut joined = one.chunk;
            joined.append(two.chunk);
            prop_assert_eq!(joined.len, both.len);
            for column in &both.columns {
                for row in 0..both.len {
                    prop_assert_eq!(joined.column(&column.name).map(|c| c.cell(row)), Some(column.cell(row)));
                }
            }
        }
    }
}
