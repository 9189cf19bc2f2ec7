//! Rows as the server sends them, read in place.

use std::ops::Range;

use super::{EPOCH_US, SIGNATURE, Wire, numeric};

/// Bytes that are no COPY data of the columns asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's rows cannot be read: {0}")]
pub struct NotCopyData(&'static str);

/// A value of the current row.
#[derive(Clone, Debug, PartialEq)]
pub enum Field<'a> {
    Null,
    Int(i64),
    Float(f64),
    Text(&'a [u8]),
    /// Digits that neither an integer nor a float holds.
    Digits(String),
}

/// Reads one block after another; a row never stands in two blocks.
#[derive(Debug)]
pub struct CopyReader {
    types: Vec<Wire>,
    block: Vec<u8>,
    at: usize,
    fields: Vec<Option<Range<usize>>>,
    begun: bool,
    ended: bool,
}

impl CopyReader {
    pub fn new(types: Vec<Wire>) -> Self {
        Self {
            fields: vec![None; types.len()],
            types,
            block: Vec::new(),
            at: 0,
            begun: false,
            ended: false,
        }
    }

    /// Take the next block, when the last one is read.
    pub fn feed(&mut self, block: &[u8]) -> Result<(), NotCopyData> {
        self.block.clear();
        self.block.extend_from_slice(block);
        self.at = 0;
        if !self.begun {
            let head = SIGNATURE.len() + 8;
            if self.block.len() < head || !self.block.starts_with(SIGNATURE) {
                return Err(NotCopyData("no header"));
            }
            self.at = head;
            self.begun = true;
        }
        Ok(())
    }

    /// Go to the next row; false at the end of the block.
    pub fn advance(&mut self) -> Result<bool, NotCopyData> {
        if self.ended || self.at >= self.block.len() {
            return Ok(false);
        }
        let count = i16::from_be_bytes(self.take().ok_or(NotCopyData("a row is cut"))?);
        if count == -1 {
            self.ended = true;
            return Ok(false);
        }
        if usize::try_from(count) != Ok(self.fields.len()) {
            return Err(NotCopyData("another number of columns than asked for"));
        }
        for index in 0..self.fields.len() {
            let len = i32::from_be_bytes(self.take().ok_or(NotCopyData("a row is cut"))?);
            self.fields[index] = match usize::try_from(len) {
                Ok(len) => {
                    let range = self.at..self.at + len;
                    if range.end > self.block.len() {
                        return Err(NotCopyData("a field is cut"));
                    }
                    self.at = range.end;
                    Some(range)
                }
                Err(_) => None,
            };
        }
        Ok(true)
    }

    /// A value of the current row, by the place of its column among those asked for.
    pub fn field(&self, index: usize) -> Result<Field<'_>, NotCopyData> {
        let (Some(range), Some(wire)) = (
            self.fields.get(index).cloned().flatten(),
            self.types.get(index),
        ) else {
            return Ok(Field::Null);
        };
        let bytes = self.block.get(range).unwrap_or_default();
        let wrong = NotCopyData("a value of another type than asked for");
        Ok(match wire {
            Wire::Bool => Field::Int(i64::from(*bytes.first().ok_or(wrong)? != 0)),
            Wire::Int4 => Field::Int(i64::from(i32::from_be_bytes(
                bytes.try_into().map_err(|_| wrong)?,
            ))),
            Wire::Int8 => Field::Int(i64::from_be_bytes(bytes.try_into().map_err(|_| wrong)?)),
            Wire::Float8 => Field::Float(f64::from_be_bytes(bytes.try_into().map_err(|_| wrong)?)),
            Wire::Timestamp => {
                let us = i64::from_be_bytes(bytes.try_into().map_err(|_| wrong)?);
                Field::Int(us.saturating_add(EPOCH_US))
            }
            Wire::Text => Field::Text(bytes),
            Wire::Numeric => match numeric::get(bytes).ok_or(wrong)? {
                numeric::Number::Int(value) => Field::Int(value),
                numeric::Number::Float(value) => Field::Float(value),
                numeric::Number::Text(digits) => Field::Digits(digits),
            },
        })
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let found = self.block.get(self.at..)?.first_chunk::<N>().copied()?;
        self.at += N;
        Some(found)
    }
}
