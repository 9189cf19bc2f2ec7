//! What a journal record needs so that its payload can be mapped again.

use super::Key;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub key: Key,
    pub source: String,
    pub instructions: String,
    pub arrival_us: i64,
}

impl Meta {
    /// Arrival (i64), then each text as length (u16) and bytes.
    pub fn encode(&self) -> Vec<u8> {
        let texts = [
            &self.key.dbms,
            &self.key.table,
            &self.source,
            &self.instructions,
        ];
        let mut out = Vec::with_capacity(16 + texts.iter().map(|t| t.len() + 2).sum::<usize>());
        out.extend_from_slice(&self.arrival_us.to_le_bytes());
        for text in texts {
            // Names are bounded at the entries; a longer one is cut rather than written wrongly.
            let mut len = text.len().min(usize::from(u16::MAX));
            while !text.is_char_boundary(len) {
                len -= 1;
            }
            out.extend_from_slice(&(len as u16).to_le_bytes());
            out.extend_from_slice(&text.as_bytes()[..len]);
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (arrival, mut rest) = bytes.split_at_checked(8)?;
        let arrival_us = i64::from_le_bytes(arrival.try_into().ok()?);
        let mut text = || {
            let (len, after) = rest.split_at_checked(2)?;
            let len = usize::from(u16::from_le_bytes(len.try_into().ok()?));
            let (text, after) = after.split_at_checked(len)?;
            rest = after;
            String::from_utf8(text.to_vec()).ok()
        };
        Some(Self {
            key: Key {
                dbms: text()?,
                table: text()?,
            },
            source: text()?,
            instructions: text()?,
            arrival_us,
        })
    }
}
