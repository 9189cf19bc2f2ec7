//! Records that wait in the journal: of databases that nobody has attached, and of the time before a restart.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::meta::Meta;
use super::{Flush, Key};
use crate::journal::{JournalError, ReadError, Record, SegmentReader};
use crate::rows::time::Zone;
use crate::rows::{self, Chunk, Schema};

/// Payloads of one flush at most, so that a long journal comes back in pieces.
const FLUSH_BYTES: usize = 4 << 20;

struct Waiting {
    key: Key,
    position: u64,
    segment: u64,
}

struct Open {
    segment: u64,
    reader: SegmentReader,
}

#[derive(Default)]
struct Database {
    records: VecDeque<Waiting>,
    open: Option<Open>,
}

pub struct Replays {
    dir: PathBuf,
    databases: HashMap<String, Database>,
    /// Bytes of whole records in segments that are being written.
    ends: HashMap<u64, u64>,
}

impl Replays {
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            databases: HashMap::new(),
            ends: HashMap::new(),
        }
    }

    /// Note a record; `end` = whole bytes of its segment, for one that is being written.
    pub fn push(&mut self, key: Key, position: u64, segment: u64, end: Option<u64>) {
        if let Some(end) = end {
            self.ends.insert(segment, end);
        }
        let database = self.databases.entry(key.dbms.clone()).or_default();
        database.records.push_back(Waiting {
            key,
            position,
            segment,
        });
    }

    pub fn len(&self, dbms: &str) -> usize {
        self.databases.get(dbms).map_or(0, |d| d.records.len())
    }

    /// Bring the records of a database into journal order again.
    pub fn sort(&mut self, dbms: &str) {
        if let Some(database) = self.databases.get_mut(dbms) {
            database
                .records
                .make_contiguous()
                .sort_by_key(|r| r.position);
            database.open = None;
        }
    }

    /// Forget records up to the watermark of their table; returns the last one of each table.
    pub fn attach(&mut self, dbms: &str, watermarks: &HashMap<String, u64>) -> Vec<(Key, u64)> {
        let Some(database) = self.databases.get_mut(dbms) else {
            return Vec::new();
        };
        let mut dropped: HashMap<Key, u64> = HashMap::new();
        database.records.retain(|record| {
            let done = watermarks
                .get(&record.key.table)
                .is_some_and(|mark| record.position <= *mark);
            if done {
                dropped.insert(record.key.clone(), record.position);
            }
            !done
        });
        dropped.into_iter().collect()
    }

    /// The next records of one table as a flush: those that follow each other, up to a size.
    pub fn take(
        &mut self,
        dbms: &str,
        schema: &dyn Fn(&Key) -> Option<Arc<Schema>>,
        zone: &Zone,
    ) -> Result<Option<Flush>, JournalError> {
        let Some(database) = self.databases.get_mut(dbms) else {
            return Ok(None);
        };
        let mut flush: Option<Flush> = None;
        while let Some(next) = database.records.front() {
            if flush
                .as_ref()
                .is_some_and(|f| f.key != next.key || f.bytes >= FLUSH_BYTES)
            {
                break;
            }
            let (position, segment) = (next.position, next.segment);
            let end = self.ends.get(&segment).copied();
            let record = find(&mut database.open, &self.dir, segment, position, end)?;
            let Some(waiting) = database.records.pop_front() else {
                break;
            };
            let arrival_us = Meta::decode(&record.meta).map_or(0, |m| m.arrival_us);
            let flush = flush.get_or_insert_with(|| Flush {
                key: waiting.key.clone(),
                chunk: Chunk::default(),
                rows: 0,
                bytes: 0,
                first: position,
                last: position,
                arrival_us,
                in_flight_bytes: 0,
                positions: Vec::new(),
            });
            // It was parsed before it was journaled, so this fails only if the rules of parsing have changed since.
            if let Ok(parsed) = rows::parse(&record.payload, schema(&waiting.key).as_deref(), zone)
            {
                flush.rows += parsed.chunk.len;
                flush.chunk.append(parsed.chunk);
            }
            flush.bytes += record.payload.len();
            flush.last = position;
            flush.positions.push((position, segment));
        }
        Ok(flush)
    }
}

/// Read on to a record. Positions of a database ascend, so the reader only ever goes forward.
fn find(
    open: &mut Option<Open>,
    dir: &Path,
    segment: u64,
    position: u64,
    end: Option<u64>,
) -> Result<Record, JournalError> {
    let failed = |text: String| {
        JournalError::Failed(format!("segment {segment} of {}: {text}", dir.display()))
    };
    let current = match open {
        Some(current) if current.segment == segment => current,
        _ => {
            let (reader, _) =
                SegmentReader::open(dir, segment).map_err(|e| failed(e.to_string()))?;
            open.insert(Open { segment, reader })
        }
    };
    let end = match end {
        Some(end) => end,
        None => current
            .reader
            .file_bytes()
            .map_err(|e| failed(e.to_string()))?,
    };
    loop {
        match current.reader.next(end) {
            Ok(Some(record)) if record.position == position => return Ok(record),
            Ok(Some(record)) if record.position < position => {}
            Ok(_) => return Err(failed(format!("record {position} is not there"))),
            Err(ReadError::Io(error)) => return Err(failed(error.to_string())),
            Err(ReadError::Bad { offset }) => {
                return Err(failed(format!("damaged record at byte {offset}")));
            }
        }
    }
}
