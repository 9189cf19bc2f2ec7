//! Bytes of a record.
//!
//! ```text
//! 0  u32 length of the body (meta + payload)    12 u32 length of the meta
//! 4  u32 crc32c of everything from byte 8 on    16 u64 position
//! 8  u8  kind                                   24 u32 bytes of this segment that were synced when the record was made
//! 9  3 x 0                                      28 u32 records behind this one that belong together with it
//! 32 meta, payload
//! ```
//!
//! Little endian. `synced` tells a torn tail from damage: what comes after a bad record may be there because the disk
//! kept the later pages of an unfinished write, but only if nobody ever synced the place where the bad record stands.

use super::Entry;

pub const HEADER: usize = 32;
/// Largest body. Nothing near it is accepted (the byte limits of the entries are far below); it bounds what a
/// damaged length can make the reader allocate.
pub const MAX_BODY: usize = 1 << 30;

/// Fixed part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub body: usize,
    pub crc: u32,
    pub kind: u8,
    pub meta: usize,
    pub position: u64,
    pub synced: u32,
    pub followers: u32,
}

impl Header {
    /// The header in `bytes`; `None` if it cannot be one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let u32_at = |at: usize| {
            let field: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(field))
        };
        let position: [u8; 8] = bytes.get(16..24)?.try_into().ok()?;
        let header = Self {
            body: u32_at(0)? as usize,
            crc: u32_at(4)?,
            kind: *bytes.get(8)?,
            meta: u32_at(12)? as usize,
            position: u64::from_le_bytes(position),
            synced: u32_at(24)?,
            followers: u32_at(28)?,
        };
        let sound = header.kind != 0
            && header.position != 0
            && header.body <= MAX_BODY
            && header.meta <= header.body
            && bytes.get(9..12)? == [0; 3];
        sound.then_some(header)
    }

    pub fn total(&self) -> usize {
        HEADER + self.body
    }

    /// Is the checksum of a whole record (header and body) right?
    pub fn verify(&self, record: &[u8]) -> bool {
        record.len() == self.total() && crc32c::crc32c(&record[8..]) == self.crc
    }
}

/// Append header and meta of an entry to `out`. The payload follows them on disk and is part of the checksum.
pub fn encode<T>(out: &mut Vec<u8>, entry: &Entry<T>, position: u64, synced: u32) {
    let (meta, payload) = (&entry.meta, &entry.payload);
    let at = out.len();
    out.extend_from_slice(&((meta.len() + payload.len()) as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[entry.kind, 0, 0, 0]);
    out.extend_from_slice(&(meta.len() as u32).to_le_bytes());
    out.extend_from_slice(&position.to_le_bytes());
    out.extend_from_slice(&synced.to_le_bytes());
    out.extend_from_slice(&entry.followers.to_le_bytes());
    out.extend_from_slice(meta);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out[at + 8..]), payload);
    out[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: u8,
    /// Records behind this one that belong together with it: all of them are there, or none is.
    pub followers: u32,
    pub position: u64,
    pub meta: Vec<u8>,
    pub payload: Vec<u8>,
}
