//! The header of a block: 207 bytes, integers big-endian.

use super::block::{BlockError, HEADER_BYTES};

/// What a block is about, where it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info(pub u8);

impl Info {
    pub const FILE: Self = Self(0);
    pub const ROWS: Self = Self(1);
    pub const TABLE_STRUCTURE: Self = Self(2);
    pub const CONFIGURATION: Self = Self(3);
    pub const TEXT: Self = Self(4);
    pub const TABLES: Self = Self(5);
    pub const REQUEST: Self = Self(6);
}

/// Form of the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Structure(pub u8);

impl Structure {
    pub const NONE: Self = Self(0);
    pub const JSON: Self = Self(1);
    pub const SEGMENTS: Self = Self(2);
    /// Rows as other nodes send them, a line each; in frames only.
    pub const LINES: Self = Self(3);
    /// Rows as whoever asked for them prints them, a line each; in frames only.
    pub const PRINTED: Self = Self(4);
    /// A piece of a file; in frames only, blocks of files say nothing.
    pub const FILE: Self = Self(5);
}

const ADDRESS_BYTES: usize = 128;

/// The address that replies go to, as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address {
    len: u8,
    bytes: [u8; ADDRESS_BYTES],
    pub port: u32,
}

impl Address {
    /// `None`: the host is longer than 128 bytes.
    pub fn new(host: &str, port: u32) -> Option<Self> {
        let mut bytes = [0; ADDRESS_BYTES];
        bytes
            .get_mut(..host.len())?
            .copy_from_slice(host.as_bytes());
        Some(Self {
            len: host.len() as u8,
            bytes,
            port,
        })
    }

    /// `None`: no text.
    pub fn host(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).ok()
    }
}

impl Default for Address {
    fn default() -> Self {
        Self {
            len: 0,
            bytes: [0; ADDRESS_BYTES],
            port: 0,
        }
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host().unwrap_or("?"), self.port)
    }
}

/// Where a message belongs: what a request says and its replies echo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    pub job_location: u16,
    /// 0 = nobody waits for a reply.
    pub job_id: u32,
    pub receivers: u16,
    pub receiver_id: u16,
    /// Streams of rows that a receiver sends; 0 is read as 1.
    pub partitions: u16,
    pub partition_id: u16,
}

/// All fields but the lengths, which the encoder knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Reserved; zeros.
    pub hash: [u8; 16],
    pub socket_id: u16,
    /// Zeros, or the mark of a node of this kind (section 14).
    pub mark: [u8; 8],
    pub socket_counter: u32,
    /// From 1.
    pub block_number: u32,
    pub structure: Structure,
    pub is_last: bool,
    pub info: Info,
    /// Section 8; above 1,000 no error.
    pub error: u16,
    pub segments: u16,
    pub reply_flag: u8,
    pub flow: Flow,
    pub dbms_seconds: u32,
    pub send_seconds: u32,
    pub source: Address,
    /// Text replies: 1 text, 2 JSON. Files: 0 path, 1 watch directory, 2 ledger, 3 large command.
    pub generic_flag: u16,
}

/// Bytes of the parts of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lengths {
    pub command: usize,
    pub authentication: usize,
    /// All parts together.
    pub payload: usize,
}

struct Reader<'a>(&'a [u8; HEADER_BYTES], usize);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.0[self.1..self.1 + N]);
        self.1 += N;
        field
    }

    fn u8(&mut self) -> u8 {
        u8::from_be_bytes(self.take())
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take())
    }
}

impl Header {
    pub(super) fn read(bytes: &[u8; HEADER_BYTES]) -> Result<(Self, Lengths), BlockError> {
        let mut field = Reader(bytes, 0);
        let mut header = Self {
            hash: field.take(),
            socket_id: field.u16(),
            mark: field.take(),
            socket_counter: field.u32(),
            block_number: field.u32(),
            structure: Structure(field.u8()),
            is_last: field.u8() != 0,
            info: Info(field.u8()),
            error: field.u16(),
            ..Self::default()
        };
        let lengths = Lengths {
            command: usize::from(field.u16()),
            authentication: usize::from(field.u16()),
            payload: field.u32() as usize,
        };
        header.segments = field.u16();
        header.reply_flag = field.u8();
        header.flow = Flow {
            job_location: field.u16(),
            job_id: field.u32(),
            receivers: field.u16(),
            receiver_id: field.u16(),
            partitions: field.u16(),
            partition_id: field.u16(),
        };
        header.dbms_seconds = field.u32();
        header.send_seconds = field.u32();
        header.source = Address {
            len: field.u8(),
            bytes: field.take(),
            port: field.u32(),
        };
        header.generic_flag = field.u16();
        if usize::from(header.source.len) > ADDRESS_BYTES {
            return Err(BlockError::Address(header.source.len));
        }
        // What follows a shorter address is left over from an earlier message.
        header.source.bytes[usize::from(header.source.len)..].fill(0);
        Ok((header, lengths))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, lengths: Lengths) {
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(&self.socket_id.to_be_bytes());
        out.extend_from_slice(&self.mark);
        out.extend_from_slice(&self.socket_counter.to_be_bytes());
        out.extend_from_slice(&self.block_number.to_be_bytes());
        out.extend_from_slice(&[self.structure.0, u8::from(self.is_last), self.info.0]);
        out.extend_from_slice(&self.error.to_be_bytes());
        out.extend_from_slice(&(lengths.command as u16).to_be_bytes());
        out.extend_from_slice(&(lengths.authentication as u16).to_be_bytes());
        out.extend_from_slice(&(lengths.payload as u32).to_be_bytes());
        out.extend_from_slice(&self.segments.to_be_bytes());
        out.push(self.reply_flag);
        let flow = &self.flow;
        out.extend_from_slice(&flow.job_location.to_be_bytes());
        out.extend_from_slice(&flow.job_id.to_be_bytes());
        for field in [
            flow.receivers,
            flow.receiver_id,
            flow.partitions,
            flow.partition_id,
        ] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        out.extend_from_slice(&self.dbms_seconds.to_be_bytes());
        out.extend_from_slice(&self.send_seconds.to_be_bytes());
        out.push(self.source.len);
        out.extend_from_slice(&self.source.bytes);
        out.extend_from_slice(&self.source.port.to_be_bytes());
        out.extend_from_slice(&self.generic_flag.to_be_bytes());
    }
}
