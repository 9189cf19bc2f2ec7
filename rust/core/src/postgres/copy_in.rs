//! Rows of a chunk as binary COPY data.

use std::ops::Range;

use super::{EPOCH_US, SIGNATURE, Wire, numeric};
use crate::rows::{Cell, Chunk};

/// What the node gives each row besides what came in.
#[derive(Clone, Copy, Debug)]
pub struct Automatic<'a> {
    /// Row id of the first row; the others count on.
    pub first_row_id: i64,
    pub insert_timestamp_us: i64,
    pub tsd_name: &'a str,
    pub tsd_id: i32,
}

/// A value that its column cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {row}, column {column}: {reason}")]
pub struct WrongValue {
    pub row: usize,
    pub column: String,
    pub reason: &'static str,
}

/// Turns rows of one chunk into COPY data for columns of these types, which stand in the chunk's order.
#[derive(Clone, Debug)]
pub struct Encoder<'a> {
    pub chunk: &'a Chunk,
    pub types: &'a [Wire],
    pub automatic: Option<Automatic<'a>>,
}

impl Encoder<'_> {
    /// What stands before the first row.
    pub fn begin(out: &mut Vec<u8>) {
        out.extend_from_slice(SIGNATURE);
        out.extend_from_slice(&[0; 8]); // no flags, no extension
    }

    /// What stands behind the last row.
    pub fn end(out: &mut Vec<u8>) {
        out.extend_from_slice(&(-1i16).to_be_bytes());
    }

    /// Append rows until there are none, or `out` has `enough_bytes`; the number of rows.
    ///
    /// `positions`: of `order`, or of the chunk itself. `first`: position of the row that has the first row id.
    pub fn rows(
        &self,
        positions: Range<usize>,
        first: usize,
        order: Option<&[u32]>,
        enough_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, WrongValue> {
        let own = if self.automatic.is_some() { 4 } else { 0 };
        let count = ((self.types.len() + own) as i16).to_be_bytes();
        let (start, total) = (positions.start, positions.len());
        for position in positions {
            if out.len() >= enough_bytes {
                return Ok(position - start);
            }
            let row = match order {
                Some(order) => order.get(position).map_or(0, |&row| row as usize),
                None => position,
            };
            out.extend_from_slice(&count);
            if let Some(automatic) = &self.automatic {
                put_i64(automatic.first_row_id + (position - first) as i64, out);
                put_time(automatic.insert_timestamp_us, out);
                put_bytes(automatic.tsd_name.as_bytes(), out);
                put_i32(automatic.tsd_id, out);
            }
            for (column, wire) in self.chunk.columns.iter().zip(self.types) {
                put_cell(column.cell(row), *wire, out).map_err(|reason| WrongValue {
                    row,
                    column: column.name.clone(),
                    reason,
                })?;
            }
        }
        Ok(total)
    }
}

fn put_cell(cell: Cell<'_>, wire: Wire, out: &mut Vec<u8>) -> Result<(), &'static str> {
    match (wire, cell) {
        (_, Cell::Null) => out.extend_from_slice(&(-1i32).to_be_bytes()),
        (Wire::Bool, Cell::Bool(b)) => put_bytes(&[u8::from(b)], out),
        (Wire::Bool, Cell::Int(i)) => put_bytes(&[u8::from(i != 0)], out),
        (Wire::Int4, Cell::Int(i)) => {
            put_i32(
                i32::try_from(i).map_err(|_| "a whole number beyond 32 bits")?,
                out,
            );
        }
        (Wire::Int4, Cell::Bool(b)) => put_i32(i32::from(b), out),
        (Wire::Int8, Cell::Int(i)) => put_i64(i, out),
        (Wire::Int8, Cell::Bool(b)) => put_i64(i64::from(b), out),
        (Wire::Float8, Cell::Float(f)) => put_bytes(&f.to_be_bytes(), out),
        (Wire::Float8, Cell::Int(i)) => put_bytes(&(i as f64).to_be_bytes(), out),
        (Wire::Float8, Cell::BigInt(digits)) => {
            let value: f64 = digits.parse().map_err(|_| "no number")?;
            put_bytes(&value.to_be_bytes(), out);
        }
        (Wire::Numeric, Cell::Int(i)) => put_numeric(&i.to_string(), out)?,
        (Wire::Numeric, Cell::Float(f)) if f.is_finite() => put_numeric(&decimal(f), out)?,
        (Wire::Numeric, Cell::BigInt(digits)) => put_numeric(digits, out)?,
        (Wire::Timestamp, Cell::Time(us) | Cell::Int(us)) => put_time(us, out),
        (Wire::Text, Cell::Text(text) | Cell::Json(text) | Cell::BigInt(text)) => {
            put_bytes(text.as_bytes(), out);
        }
        (Wire::Text, Cell::Int(i)) => put_bytes(i.to_string().as_bytes(), out),
        (Wire::Text, Cell::Bool(b)) => put_bytes(if b { b"true" } else { b"false" }, out),
        (Wire::Text, Cell::Float(f)) => put_bytes(decimal(f).as_bytes(), out),
        _ => return Err("a value of another type than its column"),
    }
    Ok(())
}

/// The shortest digits that give the number again, with a point and without an exponent.
fn decimal(value: f64) -> String {
    let text = value.to_string();
    if text.contains('.') {
        text
    } else {
        text + ".0"
    }
}

fn put_numeric(digits: &str, out: &mut Vec<u8>) -> Result<(), &'static str> {
    if numeric::put(digits, out) {
        Ok(())
    } else {
        Err("no number that a numeric column can hold")
    }
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn put_i32(value: i32, out: &mut Vec<u8>) {
    put_bytes(&value.to_be_bytes(), out);
}

fn put_i64(value: i64, out: &mut Vec<u8>) {
    put_bytes(&value.to_be_bytes(), out);
}

/// Microseconds since 1970. An instant so far away that the server's clock does not reach it stays at the end.
fn put_time(us: i64, out: &mut Vec<u8>) {
    put_i64(us.saturating_sub(EPOCH_US), out);
}
