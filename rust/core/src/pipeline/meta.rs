//! What a journal record needs so that its payload becomes the same rows again.

use super::Key;
use super::run::Origin;

/// Head of a record of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub key: Key,
    pub origin: Origin,
    pub arrival_us: i64,
    pub rows: u32,
    /// Batches are booked by an operator.
    pub booked: bool,
}

impl Meta {
    /// Arrival (i64), rows (u32), booked (u8), then each text as length (u16) and bytes.
    pub fn encode(&self) -> Vec<u8> {
        let texts = [
            &self.key.dbms,
            &self.key.table,
            &self.origin.source,
            &self.origin.instructions,
        ];
        let mut out = Vec::with_capacity(21 + texts.iter().map(|t| t.len() + 2).sum::<usize>());
        out.extend_from_slice(&self.arrival_us.to_le_bytes());
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.push(u8::from(self.booked));
        for text in texts {
            push_text(text, &mut out);
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (arrival, rest) = bytes.split_at_checked(8)?;
        let (rows, rest) = rest.split_at_checked(4)?;
        let (booked, mut rest) = rest.split_first()?;
        Some(Self {
            arrival_us: i64::from_le_bytes(arrival.try_into().ok()?),
            rows: u32::from_le_bytes(rows.try_into().ok()?),
            booked: *booked != 0,
            key: Key {
                dbms: take_text(&mut rest)?,
                table: take_text(&mut rest)?,
            },
            origin: Origin {
                source: take_text(&mut rest)?,
                instructions: take_text(&mut rest)?,
            },
        })
    }
}

/// Records of a table that became a file: the journal need not keep them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filed {
    pub key: Key,
    /// (first, last) positions.
    pub ranges: Vec<(u64, u64)>,
}

impl Filed {
    /// Each text as length (u16) and bytes, then the ranges as pairs of u64.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        push_text(&self.key.dbms, &mut out);
        push_text(&self.key.table, &mut out);
        for (first, last) in &self.ranges {
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&last.to_le_bytes());
        }
        out
    }

    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let key = Key {
            dbms: take_text(&mut bytes)?,
            table: take_text(&mut bytes)?,
        };
        let (pairs, rest) = bytes.as_chunks::<16>();
        let ranges = pairs
            .iter()
            .map(|pair| {
                let number = |at: usize| {
                    let field: [u8; 8] = pair[at..at + 8].try_into().unwrap_or_default();
                    u64::from_le_bytes(field)
                };
                (number(0), number(8))
            })
            .collect();
        rest.is_empty().then_some(Self { key, ranges })
    }
}

fn push_text(text: &str, out: &mut Vec<u8>) {
    // Names are bounded at the entries; a longer one is cut rather than written wrongly.
    let mut len = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    out.extend_from_slice(&(len as u16).to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..len]);
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let (len, after) = rest.split_at_checked(2)?;
    let len = usize::from(u16::from_le_bytes(len.try_into().ok()?));
    let (text, after) = after.split_at_checked(len)?;
    *rest = after;
    String::from_utf8(text.to_vec()).ok()
}
