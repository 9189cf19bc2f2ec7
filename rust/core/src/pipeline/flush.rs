//! Rows on their way out of the pipeline: buffers of a table, and what the writer takes of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use super::run::{Origin, Run, Runs};
use super::{Key, Outcome};
use crate::rows::Chunk;

/// When a buffer is due, and whether its rows are stored before they are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Zero: age doesn't matter.
    pub age: Duration,
    /// Due above this many bytes of payloads. Zero: the size doesn't matter.
    pub bytes: usize,
    pub immediate: bool,
}

impl Default for Threshold {
    fn default() -> Self {
        Self {
            age: Duration::from_millis(100),
            bytes: 1 << 20,
            immediate: false,
        }
    }
}

/// A submitter that is answered when its rows are stored.
#[derive(Debug)]
pub(super) struct Asking {
    pub ticket: u64,
    /// Its rows in the chunk of its part.
    pub first_row: usize,
    pub rows: usize,
    pub outcome: Outcome,
}

/// Rows of one origin.
#[derive(Debug)]
pub struct Part {
    pub origin: Arc<Origin>,
    pub chunk: Chunk,
    /// Position of the first record.
    pub first: u64,
    pub last: u64,
    /// Arrival of the first record, microseconds UTC.
    pub arrival_us: i64,
    pub(super) runs: Runs,
    pub(super) asking: Vec<Asking>,
    mixed_bytes: usize,
}

impl Part {
    /// Add the rows of later records.
    pub(super) fn append(&mut self, later: Part) {
        let before = self.chunk.len;
        self.chunk.append(later.chunk);
        self.last = self.last.max(later.last);
        self.mixed_bytes += later.mixed_bytes;
        self.asking
            .extend(later.asking.into_iter().map(|asking| Asking {
                first_row: asking.first_row + before,
                ..asking
            }));
        self.runs.extend(later.runs.iter().cloned());
    }

    fn memory(&self) -> usize {
        self.chunk.reserved_bytes() + self.mixed_bytes + self.runs.memory()
    }
}

/// Rows of a table for its database.
#[derive(Debug)]
pub struct Flush {
    pub key: Key,
    /// Rows by origin, in the order of first appearance.
    pub parts: Vec<Part>,
    pub rows: usize,
    /// Bytes of the payloads.
    pub bytes: usize,
    /// Journal positions of the first and last record.
    pub first: u64,
    pub last: u64,
    /// Its submitters wait for the commit.
    pub immediate: bool,
    pub unread: Vec<Unread>,
    /// What counts as occupied until the end of the flush.
    pub(super) memory: usize,
}

/// A payload that does not become rows any more.
#[derive(Debug)]
pub struct Unread {
    pub payload: Vec<u8>,
    pub reason: String,
    pub(super) run: Run,
}

impl Unread {
    pub fn rows(&self) -> u64 {
        self.run.rows
    }
}

/// A record's rows.
pub(super) struct Arrived {
    pub position: u64,
    pub chunk: Chunk,
    pub payload_bytes: usize,
    pub arrival_us: i64,
    pub origin: Arc<Origin>,
    /// Its place in the journal; none when the journal failed after the acknowledgement.
    pub run: Option<Run>,
    pub asking: Option<Asking>,
}

/// Rows of a table in memory.
#[derive(Debug)]
pub(super) struct Buffer {
    parts: IndexMap<Arc<Origin>, Part, RandomState>,
    unread: Vec<Unread>,
    pub threshold: Threshold,
    pub since: Instant,
    pub rows: usize,
    pub bytes: usize,
    pub first: u64,
    last: u64,
    /// Due whatever the threshold says.
    pub forced: bool,
    pub memory: usize,
}

impl Buffer {
    pub fn new(threshold: Threshold, first: u64) -> Self {
        Self {
            parts: IndexMap::default(),
            unread: Vec::new(),
            threshold,
            since: Instant::now(),
            rows: 0,
            bytes: 0,
            first,
            last: first,
            forced: false,
            memory: 0,
        }
    }

    pub fn add(&mut self, arrived: Arrived) {
        self.rows += arrived.chunk.len;
        self.bytes += arrived.payload_bytes;
        self.last = arrived.position;
        let part = Part {
            origin: arrived.origin.clone(),
            mixed_bytes: arrived.chunk.mixed_bytes(),
            chunk: arrived.chunk,
            first: arrived.position,
            last: arrived.position,
            arrival_us: arrived.arrival_us,
            runs: arrived.run.into_iter().collect(),
            asking: arrived.asking.into_iter().collect(),
        };
        self.add_part(part);
    }

    pub fn add_part(&mut self, part: Part) {
        let known = match self.parts.last_mut() {
            // Mostly all rows have one origin.
            Some((origin, last)) if *origin == part.origin => Some(last),
            _ => self.parts.get_mut(&part.origin),
        };
        if let Some(known) = known {
            self.memory -= known.memory();
            known.append(part);
            self.memory += known.memory();
        } else {
            self.memory += part.memory() + size_of::<Part>();
            self.parts.insert(part.origin.clone(), part);
        }
    }

    pub fn add_unread(&mut self, unread: Unread) {
        self.bytes += unread.payload.len();
        self.last = self.last.max(unread.run.last());
        self.memory += unread.payload.len() + size_of::<Unread>();
        self.unread.push(unread);
    }

    /// Rows, with those of payloads that cannot be read.
    pub fn all_rows(&self) -> u64 {
        self.rows as u64 + self.unread.iter().map(Unread::rows).sum::<u64>()
    }

    pub fn due_at(&self) -> Option<Instant> {
        let threshold = self.threshold;
        if self.forced
            || threshold.immediate
            || (threshold.bytes > 0 && self.bytes > threshold.bytes)
        {
            return Some(self.since);
        }
        (!threshold.age.is_zero()).then(|| self.since + threshold.age)
    }

    pub fn into_flush(self, key: Key) -> Flush {
        Flush {
            key,
            parts: self.parts.into_values().collect(),
            rows: self.rows,
            bytes: self.bytes,
            first: self.first,
            last: self.last,
            immediate: self.threshold.immediate,
            unread: self.unread,
            memory: self.memory,
        }
    }

    /// The rows of a flush that could not be stored, before those that came meanwhile; due at once.
    pub fn put_back(flush: Flush, later: Option<Buffer>, threshold: Threshold) -> Self {
        let mut buffer = Self {
            threshold: Threshold {
                immediate: flush.immediate,
                ..threshold
            },
            forced: true,
            rows: flush.rows,
            ..Self::new(threshold, flush.first)
        };
        for part in flush.parts {
            buffer.add_part(part);
        }
        flush
            .unread
            .into_iter()
            .for_each(|one| buffer.add_unread(one));
        buffer.bytes = flush.bytes;
        buffer.last = flush.last;
        if let Some(later) = later {
            buffer.threshold.immediate |= later.threshold.immediate;
            buffer.rows += later.rows;
            buffer.bytes += later.bytes;
            buffer.last = later.last;
            for part in later.parts.into_values() {
                buffer.add_part(part);
            }
            buffer.memory += later
                .unread
                .iter()
                .map(|u| u.payload.len() + size_of::<Unread>())
                .sum::<usize>();
            buffer.unread.extend(later.unread);
        }
        buffer
    }

    /// What of it stands in the journal, and how many rows don't.
    pub fn into_runs(self) -> (Runs, Vec<Asking>, u64) {
        let mut runs: Vec<Run> = Vec::new();
        let mut asking = Vec::new();
        for part in self.parts.into_values() {
            runs.extend(part.runs.iter().cloned());
            asking.extend(part.asking);
        }
        let all = self.rows as u64 + self.unread.iter().map(Unread::rows).sum::<u64>();
        runs.extend(self.unread.into_iter().map(|unread| unread.run));
        runs.sort_by_key(|run| run.first);
        let sorted: Runs = runs.into_iter().collect();
        let lost = all.saturating_sub(sorted.rows);
        (sorted, asking, lost)
    }
}

impl Flush {
    /// Rows, with those of payloads that cannot be read.
    pub fn all_rows(&self) -> u64 {
        self.rows as u64 + self.unread.iter().map(Unread::rows).sum::<u64>()
    }

    /// Make one part of all: for a database that doesn't ask where rows come from.
    pub(super) fn merge(&mut self) {
        let mut parts = std::mem::take(&mut self.parts).into_iter();
        if let Some(mut all) = parts.next() {
            for part in parts {
                all.append(part);
            }
            self.parts.push(all);
        }
    }
}
