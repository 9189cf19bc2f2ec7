//! The table format: blocks of 25 rows, each with a header of its own.

use super::super::error::Result;
use super::super::group::Row;
use super::super::spec::Output;
use super::cells::Cells;

const BLOCK_ROWS: usize = 25;
/// From this length on a number stands on the left, as a text does.
const MAX_NUMBER: usize = 20;

/// The rows of a block. Slots keep the row of the block before until they are written again: in a last, shorter
/// block those rows still count for the widths, as they do in the reference's buffer.
#[derive(Debug)]
pub struct Table {
    titles: Vec<String>,
    slots: Vec<Vec<Text>>,
    filled: usize,
}

#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    /// Characters.
    width: usize,
}

impl Table {
    pub fn new(outputs: &[Output]) -> Self {
        Self {
            titles: outputs.iter().map(|o| o.title.clone()).collect(),
            slots: Vec::new(),
            filled: 0,
        }
    }

    pub fn is_full(&self) -> bool {
        self.filled == BLOCK_ROWS
    }

    pub fn row<R: Row + ?Sized>(&mut self, row: &R, cells: &mut Cells) -> Result<()> {
        if self.slots.len() == self.filled {
            let mut slot = Vec::new();
            slot.resize_with(self.titles.len(), Text::default);
            self.slots.push(slot);
        }
        for (at, text) in self.slots[self.filled].iter_mut().enumerate() {
            text.bytes.clear();
            cells.push_plain(&mut text.bytes, row, at)?;
            text.width = width(&text.bytes);
        }
        self.filled += 1;
        Ok(())
    }

    /// Write the block, if it has rows, and begin the next one.
    pub fn write(&mut self, out: &mut Vec<u8>, end: &[u8]) {
        if self.filled == 0 {
            return;
        }
        let last = self.titles.len().saturating_sub(1);
        let widths: Vec<usize> = self
            .titles
            .iter()
            .enumerate()
            .map(|(at, title)| {
                let held = self.slots.iter().map(|slot| slot[at].width).max();
                title.chars().count().max(held.unwrap_or(0))
            })
            .collect();
        out.extend_from_slice(end);
        for (at, (title, width)) in self.titles.iter().zip(&widths).enumerate() {
            out.extend_from_slice(title.as_bytes());
            if at < last {
                pad(out, width + 1 - title.chars().count(), b' ');
            }
        }
        out.extend_from_slice(end);
        for width in &widths {
            pad(out, *width, b'-');
            out.push(b' ');
        }
        out.extend_from_slice(end);
        for slot in &self.slots[..self.filled] {
            for (at, (text, width)) in slot.iter().zip(&widths).enumerate() {
                let missing = width - text.width;
                if is_number(&text.bytes) {
                    pad(out, missing, b' ');
                    out.extend_from_slice(&text.bytes);
                    out.push(b' ');
                } else {
                    out.extend_from_slice(&text.bytes);
                    if at < last {
                        pad(out, missing + 1, b' ');
                    }
                }
            }
            out.extend_from_slice(end);
        }
        self.filled = 0;
    }
}

fn pad(out: &mut Vec<u8>, count: usize, with: u8) {
    out.resize(out.len() + count, with);
}

/// Characters of UTF-8.
fn width(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| (**b & 0xc0) != 0x80).count()
}

/// Whether a cell stands on the right: short, and only digits, points, commas and a leading minus.
fn is_number(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    !digits.is_empty()
        && bytes.len() < MAX_NUMBER
        && digits
            .iter()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b','))
}
