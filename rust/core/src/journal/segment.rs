//! Segment files: names, head, reading, and what to make of a bad record.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::record::{HEADER, Header, Record};

/// magic (8), journal id (16), number (8), zero (24), crc32c of these (4), zero (4)
pub const HEAD: u64 = 64;
const MAGIC: &[u8; 8] = b"ELJRNL\x00\x01";
const WINDOW: usize = 256 * 1024;

pub type JournalId = [u8; 16];

pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.journal"))
}

/// Numbers of the segments in a directory, ascending.
pub fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(stem) = name.to_str().and_then(|n| n.strip_suffix(".journal")) else {
            continue;
        };
        if stem.len() >= 8
            && let Ok(number) = stem.parse()
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A new segment with its head written and its name durable.
pub fn create(dir: &Path, number: u64, id: &JournalId) -> io::Result<File> {
    let path = path(dir, number);
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(&head(number, id))?;
            file.sync_all()?;
            sync_dir(dir)?;
            Ok(file)
        });
    if let Err(error) = &made
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        // Half a head would be taken for damage at the next start. If this fails too, the head test says so then.
        let _ = std::fs::remove_file(&path);
    }
    made
}

fn head(number: u64, id: &JournalId) -> [u8; HEAD as usize] {
    let mut head = [0; HEAD as usize];
    head[..8].copy_from_slice(MAGIC);
    head[8..24].copy_from_slice(id);
    head[24..32].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&head[..56]);
    head[56..60].copy_from_slice(&crc.to_le_bytes());
    head
}

/// Why reading stopped before the end.
#[derive(Debug)]
pub enum ReadError {
    Io(io::Error),
    /// The bytes at `offset` are no record.
    Bad {
        offset: u64,
    },
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads records one after another, never beyond the end it is told: what lies there may still be cut off.
pub struct SegmentReader {
    file: File,
    offset: u64,
    window: Vec<u8>,
    window_at: u64,
    last_position: u64,
}

impl SegmentReader {
    /// Open a segment; `None` in place of the id when its head is not (wholly) there.
    pub fn open(dir: &Path, number: u64) -> io::Result<(Self, Option<JournalId>)> {
        let file = File::open(path(dir, number))?;
        let mut found = [0; HEAD as usize];
        let id = match file.read_exact_at(&mut found, 0) {
            Ok(()) => {
                let mut id = JournalId::default();
                id.copy_from_slice(&found[8..24]);
                (head(number, &id) == found).then_some(id)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        let reader = Self {
            file,
            offset: HEAD,
            window: Vec::new(),
            window_at: HEAD,
            last_position: 0,
        };
        Ok((reader, id))
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Go on at an offset where a record begins.
    pub fn seek(&mut self, offset: u64) {
        if offset < self.window_at || offset > self.window_at + self.window.len() as u64 {
            self.window.clear();
            self.window_at = offset;
        }
        self.offset = offset;
        self.last_position = 0;
    }

    pub fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// The next record before `end`; `None` at the end.
    pub fn next(&mut self, end: u64) -> Result<Option<Record>, ReadError> {
        if self.offset >= end {
            return Ok(None);
        }
        let offset = self.offset;
        let bad = || ReadError::Bad { offset };
        let Some(header) = self
            .window(HEADER, end)?
            .and_then(Header::decode)
            .filter(|h| h.position > self.last_position)
        else {
            return Err(bad());
        };
        let Some(bytes) = self.window(header.total(), end)? else {
            return Err(bad());
        };
        if !header.verify(bytes) {
            return Err(bad());
        }
        let (meta, payload) = bytes[HEADER..].split_at(header.meta);
        let record = Record {
            kind: header.kind,
            followers: header.followers,
            position: header.position,
            meta: meta.to_vec(),
            payload: payload.to_vec(),
        };
        self.offset += header.total() as u64;
        self.last_position = header.position;
        Ok(Some(record))
    }

    /// `need` bytes from the offset; `None` if they would go beyond `end`.
    fn window(&mut self, need: usize, end: u64) -> io::Result<Option<&[u8]>> {
        if self.offset + need as u64 > end {
            return Ok(None);
        }
        let from = (self.offset - self.window_at) as usize;
        if from + need > self.window.len() {
            let size = (end - self.offset).min(WINDOW.max(need) as u64) as usize;
            self.window.resize(size, 0);
            self.window_at = self.offset;
            self.file.read_exact_at(&mut self.window, self.offset)?;
            return Ok(Some(&self.window[..need]));
        }
        Ok(Some(&self.window[from..from + need]))
    }

    /// After a bad record: can it be the torn end of the last write? It cannot when a later record says that this
    /// place had been synced; then bytes that were promised are damaged.
    pub fn is_torn_tail(&self, end: u64) -> io::Result<bool> {
        let mut rest = vec![0; (end - self.offset) as usize];
        self.file.read_exact_at(&mut rest, self.offset)?;
        for at in 1..rest.len().saturating_sub(HEADER) {
            let Some(header) = Header::decode(&rest[at..]) else {
                continue;
            };
            if header.position > self.last_position
                && u64::from(header.synced) > self.offset
                && rest
                    .get(at..at + header.total())
                    .is_some_and(|record| header.verify(record))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
