//! What a journal record needs so that its payload becomes the same rows again.

use super::run::Origin;
use super::{Key, Receipts};
use crate::rows::ColumnDef;

/// Head of a record of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub key: Key,
    pub origin: Origin,
    pub arrival_us: i64,
    pub rows: u32,
    /// Batches are booked by an operator.
    pub booked: bool,
    /// Types that the table gets when these rows make it.
    pub declared: Vec<ColumnDef>,
    pub receipts: Receipts,
}

impl Meta {
    /// Arrival (i64), rows (u32), booked (u8), then each text as length (u16) and bytes. Where there is more: the
    /// number of columns (u16) with name, type and default (u8); the receipts to the end.
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
        let more = !self.declared.is_empty() || !self.receipts.messages.is_empty();
        if more {
            self.encode_more(&mut out);
        }
        out
    }

    fn encode_more(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.declared.len() as u16).to_le_bytes());
        for column in &self.declared {
            push_text(&column.name, out);
            push_text(&column.kind.to_string(), out);
            out.push(u8::from(column.default_now));
        }
        if !self.receipts.messages.is_empty() {
            self.receipts.encode(out);
        }
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (arrival, rest) = bytes.split_at_checked(8)?;
        let (rows, rest) = rest.split_at_checked(4)?;
        let (booked, mut rest) = rest.split_first()?;
        let mut made = Self {
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
            declared: Vec::new(),
            receipts: Receipts::default(),
        };
        if !rest.is_empty() {
            for _ in 0..take_u16(&mut rest)? {
                made.declared.push(ColumnDef {
                    name: take_text(&mut rest)?,
                    kind: take_text(&mut rest)?.parse().ok()?,
                    default_now: take_bytes::<1>(&mut rest)? != [0],
                });
            }
        }
        if !rest.is_empty() {
            made.receipts = Receipts::decode(rest)?;
        }
        Some(made)
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

pub(super) fn push_text(text: &str, out: &mut Vec<u8>) {
    // Names are bounded at the entries; a longer one is cut rather than written wrongly.
    let mut len = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    out.extend_from_slice(&(len as u16).to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..len]);
}

pub(super) fn take_bytes<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*bytes)
}

pub(super) fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    take_bytes(rest).map(u16::from_le_bytes)
}

pub(super) fn take_text(rest: &mut &[u8]) -> Option<String> {
    let len = usize::from(take_u16(rest)?);
    let (text, after) = rest.split_at_checked(len)?;
    *rest = after;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::LogicalType;

    #[test]
    fn heads_come_back_and_cut_ones_are_refused() {
        let column = |name: &str, kind, default_now| ColumnDef {
            name: name.to_owned(),
            kind,
            default_now,
        };
        let plain = Meta {
            key: Key::new("plant", "größe"),
            origin: Origin {
                source: "s1".into(),
                instructions: "0".into(),
            },
            arrival_us: -5,
            rows: 3,
            booked: true,
            declared: Vec::new(),
            receipts: Receipts::default(),
        };
        let declared = Meta {
            declared: vec![
                column("ts", LogicalType::Timestamp, true),
                column("c", LogicalType::Char(4), false),
            ],
            ..plain.clone()
        };
        let received = Meta {
            receipts: Receipts {
                round: u64::MAX,
                messages: vec![(u64::MAX, 65_535), (0, 1)],
            },
            ..plain.clone()
        };
        let both = Meta {
            declared: declared.declared.clone(),
            receipts: received.receipts.clone(),
            ..plain.clone()
        };
        for meta in [plain, declared, received, both] {
            let bytes = meta.encode();
            assert_eq!(Meta::decode(&bytes), Some(meta.clone()));
            for len in 0..bytes.len() {
                assert_ne!(Meta::decode(&bytes[..len]), Some(meta.clone()));
            }
        }
    }
}
