//! Single values of a result as text.

use super::super::cast::{Cast, Surroundings};
use super::super::error::{QueryError, Result};
use super::super::group::Row;
use super::super::spec::Render;
use super::super::time::{Clock, Zone, parse_instant, utc_text};
use super::super::value::{Cell, Kind, Val, push_float};

/// Turns values of a row into text: kinds, casts, the zone.
#[derive(Debug)]
pub struct Cells {
    outputs: Vec<(Kind, Vec<Cast>)>,
    /// In lower case, as casts name them.
    titles: Vec<String>,
    clock: Clock,
    now_us: i64,
    scratch: Vec<u8>,
}

impl Cells {
    pub fn new(spec: &Render, now_us: i64) -> Result<Self> {
        let titles: Vec<String> = spec
            .outputs
            .iter()
            .map(|output| output.title.to_lowercase())
            .collect();
        for output in &spec.outputs {
            for title in output.casts.iter().flat_map(Cast::titles) {
                if !titles.iter().any(|t| t == title) {
                    return Err(QueryError::CastFailed(format!(
                        "no column '{title}' in the result, which a cast of '{}' reads",
                        output.title
                    )));
                }
            }
        }
        Ok(Self {
            outputs: spec
                .outputs
                .iter()
                .map(|output| (output.kind, output.casts.clone()))
                .collect(),
            titles,
            clock: Clock::new(spec.zone.clone(), spec.iso),
            now_us,
            scratch: Vec::new(),
        })
    }

    /// Kind of an output's values; None where casts decide it row by row.
    pub fn kind(&self, at: usize) -> Option<Kind> {
        let (kind, casts) = self.outputs.get(at)?;
        casts.is_empty().then_some(*kind)
    }

    /// The value of an output after its casts. Raises CastFailed.
    pub fn cast<R: Row + ?Sized>(&self, row: &R, at: usize) -> Result<Val> {
        let raw = |at: usize| seen(row.cell(at), self.outputs[at].0);
        let (_, casts) = &self.outputs[at];
        let mut value = raw(at);
        for cast in casts {
            // The column's own title is its value as far as it is cast.
            let named = |title: &str| match self.titles.iter().position(|t| t == title) {
                Some(other) if other == at => value.clone(),
                Some(other) => raw(other),
                None => Val::Null,
            };
            let around = Surroundings {
                row: &named,
                now_us: self.now_us,
            };
            value = cast.apply(&value, &around)?;
        }
        Ok(value)
    }

    /// Append a value as JSON. Raises CastFailed.
    #[inline]
    pub fn push_json<R: Row + ?Sized>(
        &mut self,
        out: &mut Vec<u8>,
        row: &R,
        at: usize,
        null: &[u8],
    ) -> Result<()> {
        let (kind, casts) = &self.outputs[at];
        let kind = *kind;
        if casts.is_empty() {
            self.json(out, row.cell(at), kind, null);
        } else {
            let value = self.cast(row, at)?;
            self.json(out, value.cell(), Kind::Any, null);
        }
        Ok(())
    }

    #[inline]
    fn json(&mut self, out: &mut Vec<u8>, cell: Cell<'_>, kind: Kind, null: &[u8]) {
        match (cell, kind) {
            (Cell::Null, _) => out.extend_from_slice(null),
            (Cell::Int(us), Kind::Timestamp) => {
                out.push(b'"');
                self.clock.push(out, us);
                out.push(b'"');
            }
            (Cell::Text(text), Kind::Timestamp) => {
                let plain = self.time_of_text(text);
                push_text(out, plain.as_deref().unwrap_or(text));
            }
            (Cell::Text(text), _) => push_text(out, text),
            (Cell::Blob(bytes), _) => {
                out.push(b'"');
                push_hex(out, bytes);
                out.push(b'"');
            }
            // JSON has no word for it.
            (Cell::Float(value), _) if !value.is_finite() => {
                push_text(out, infinite(value));
            }
            (cell, kind) => push_number(out, cell, kind),
        }
    }

    /// Append a value as it travels to another node: a JSON text, whatever it is; null as an empty one, truth values
    /// as the database prints them (network protocol, section 3.3). Raises CastFailed.
    pub fn push_peer<R: Row + ?Sized>(
        &mut self,
        out: &mut Vec<u8>,
        row: &R,
        at: usize,
    ) -> Result<()> {
        let start = out.len();
        self.push_json(out, row, at, b"\"\"")?;
        match &out[start..] {
            [b'"', ..] => {}
            b"true" => out.splice(start.., *b"\"1\"").for_each(drop),
            b"false" => out.splice(start.., *b"\"0\"").for_each(drop),
            _ => {
                out.insert(start, b'"');
                out.push(b'"');
            }
        }
        Ok(())
    }

    /// Append a value as a field of CSV; null as nothing. Raises CastFailed.
    pub fn push_csv<R: Row + ?Sized>(
        &mut self,
        out: &mut Vec<u8>,
        row: &R,
        at: usize,
    ) -> Result<()> {
        if let Some(kind) = self.kind(at) {
            self.csv(out, row.cell(at), kind);
        } else {
            let value = self.cast(row, at)?;
            self.csv(out, value.cell(), Kind::Any);
        }
        Ok(())
    }

    fn csv(&mut self, out: &mut Vec<u8>, cell: Cell<'_>, kind: Kind) {
        match (cell, kind) {
            (Cell::Null, _) => {}
            (Cell::Text(text), Kind::Timestamp) => {
                let plain = self.time_of_text(text);
                push_csv_text(out, plain.as_deref().unwrap_or(text));
            }
            (Cell::Text(text), _) => push_csv_text(out, text),
            (cell, kind) => self.plain(out, cell, kind),
        }
    }

    /// Append a value as a table shows it; null as `null`. Raises CastFailed.
    pub fn push_plain<R: Row + ?Sized>(
        &mut self,
        out: &mut Vec<u8>,
        row: &R,
        at: usize,
    ) -> Result<()> {
        if let Some(kind) = self.kind(at) {
            self.plain(out, row.cell(at), kind);
        } else {
            let value = self.cast(row, at)?;
            self.plain(out, value.cell(), Kind::Any);
        }
        Ok(())
    }

    fn plain(&mut self, out: &mut Vec<u8>, cell: Cell<'_>, kind: Kind) {
        match (cell, kind) {
            (Cell::Null, _) => out.extend_from_slice(b"null"),
            (Cell::Int(us), Kind::Timestamp) => self.clock.push(out, us),
            (Cell::Text(text), Kind::Timestamp) => {
                let plain = self.time_of_text(text);
                out.extend_from_slice(plain.as_deref().unwrap_or(text).as_bytes());
            }
            (Cell::Text(text), _) => out.extend_from_slice(text.as_bytes()),
            (Cell::Blob(bytes), _) => push_hex(out, bytes),
            (Cell::Float(value), _) if !value.is_finite() => {
                out.extend_from_slice(infinite(value).as_bytes());
            }
            (cell, kind) => push_number(out, cell, kind),
        }
    }

    /// A time that a table of plain SQL keeps as UTC text, in the zone; None for other texts.
    #[cold]
    fn time_of_text(&mut self, text: &str) -> Option<String> {
        let us = parse_instant(text, &Zone::Utc).ok()?;
        self.scratch.clear();
        self.clock.push(&mut self.scratch, us);
        String::from_utf8(self.scratch.clone()).ok()
    }
}

/// A value as casts see it: times as the stored UTC text.
fn seen(cell: Cell<'_>, kind: Kind) -> Val {
    match (cell, kind) {
        (Cell::Int(us), Kind::Timestamp) => Val::text(&utc_text(us)),
        (Cell::Text(text), Kind::Timestamp) => match parse_instant(text, &Zone::Utc) {
            Ok(us) => Val::text(&utc_text(us)),
            Err(_) => Val::text(text),
        },
        (Cell::Int(flag @ (0 | 1)), Kind::Bool) => {
            Val::text(if flag == 1 { "true" } else { "false" })
        }
        (Cell::Int(whole), Kind::Float) => Val::Float(whole as f64),
        (cell, _) => cell.to_val(),
    }
}

/// Append a finite number, or a truth value kept as one.
#[inline]
fn push_number(out: &mut Vec<u8>, cell: Cell<'_>, kind: Kind) {
    match (cell, kind) {
        (Cell::Int(flag @ (0 | 1)), Kind::Bool) => {
            out.extend_from_slice(if flag == 1 { b"true" } else { b"false" });
        }
        (Cell::Int(value), Kind::Float) => push_float(out, value as f64),
        (Cell::Int(value), _) => {
            // A Vec takes every write, so there is nothing to report.
            let _ = serde_json::to_writer(out, &value);
        }
        (Cell::Float(value), _) => push_float(out, value),
        _ => {}
    }
}

fn infinite(value: f64) -> &'static str {
    if value > 0.0 { "Infinity" } else { "-Infinity" }
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// Append a text as a JSON string.
#[inline]
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    // Most texts are short names without a sign to escape: one look, one copy.
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // A Vec takes every write, so there is nothing to report.
        let _ = serde_json::to_writer(out, text);
    }
}

/// Append a text as a field of CSV: quoted where it must be, and where it is empty.
#[inline]
pub fn push_csv_text(out: &mut Vec<u8>, text: &str) {
    let is_plain = |b: u8| !matches!(b, b',' | b'"' | b'\n' | b'\r');
    if !text.is_empty() && text.bytes().all(is_plain) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    let mut input = text.as_bytes();
    let mut piece = [0; 256];
    loop {
        let (result, read, written) = csv_core::quote(input, &mut piece, b'"', b'"', true);
        out.extend_from_slice(&piece[..written]);
        input = &input[read..];
        if result == csv_core::WriteResult::InputEmpty {
            break;
        }
    }
    out.push(b'"');
}
