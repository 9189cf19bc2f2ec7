//! Buffers of rows per table, and when they are due.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Key;
use crate::journal::Level;
use crate::rows::{Chunk, Schema};

/// A buffer is due at this age or when it holds more than this many bytes of payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Zero: age doesn't matter.
    pub age: Duration,
    pub bytes: usize,
}

impl Default for Threshold {
    fn default() -> Self {
        Self {
            age: Duration::from_millis(100),
            bytes: 1 << 20,
        }
    }
}

/// Rows of a table for its database.
#[derive(Debug)]
pub struct Flush {
    pub key: Key,
    pub chunk: Chunk,
    pub rows: usize,
    /// Bytes of the payloads.
    pub bytes: usize,
    /// Journal positions of the first and last record.
    pub first: u64,
    pub last: u64,
    /// Arrival of the first record, microseconds UTC.
    pub arrival_us: i64,
    /// What counts as in flight until it is committed.
    pub(super) in_flight_bytes: usize,
    /// (position, segment) of every record.
    pub(super) positions: Vec<(u64, u64)>,
}

/// Exact counters of a table: received = flushed + buffered (+ refused by the journal).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    pub calls: u64,
    pub rows: u64,
    pub rejected: u64,
    pub refused: u64,
    pub bytes: u64,
    pub buffered_rows: u64,
    pub flushed_rows: u64,
    pub threshold: Option<Threshold>,
    pub buffer_bytes: u64,
    /// Milliseconds since the last payload.
    pub idle_ms: u64,
}

#[derive(Default)]
pub struct Table {
    pub schema: Option<Arc<Schema>>,
    threshold: Option<Threshold>,
    level: Option<Level>,
    buffer: Option<Flush>,
    since: Option<Instant>,
    /// A flush is with the writer.
    out: Option<usize>,
    forced: bool,
    stats: TableStats,
    last_add: Option<Instant>,
}

#[derive(Default)]
pub struct Tables {
    known: BTreeMap<Key, Table>,
    pub attached: HashSet<String>,
    by_dbms: HashMap<String, Threshold>,
    default: Threshold,
    level: Option<Level>,
}

impl Tables {
    pub fn table(&mut self, key: &Key) -> &mut Table {
        if !self.known.contains_key(key) {
            self.known.insert(key.clone(), Table::default());
        }
        // Just inserted if it was absent.
        self.known.entry(key.clone()).or_default()
    }

    /// An empty table name means the whole database; no key, the node.
    pub fn set_threshold(&mut self, key: Option<&Key>, threshold: Option<Threshold>) {
        match key {
            None => self.default = threshold.unwrap_or_default(),
            Some(key) if key.table.is_empty() => match threshold {
                Some(threshold) => {
                    self.by_dbms.insert(key.dbms.clone(), threshold);
                }
                None => {
                    self.by_dbms.remove(&key.dbms);
                }
            },
            Some(key) => self.table(key).threshold = threshold,
        }
    }

    pub fn set_level(&mut self, key: Option<&Key>, level: Level) {
        match key {
            None => self.level = Some(level),
            Some(key) => self.table(key).level = Some(level),
        }
    }

    pub fn level(&self, key: &Key) -> Level {
        self.known
            .get(key)
            .and_then(|t| t.level)
            .or(self.level)
            .unwrap_or(Level::Durable)
    }

    fn threshold_of(&self, key: &Key) -> Threshold {
        self.known
            .get(key)
            .and_then(|t| t.threshold)
            .or_else(|| self.by_dbms.get(&key.dbms).copied())
            .unwrap_or(self.default)
    }

    pub fn received(&mut self, key: &Key, rows: usize, rejected: usize, bytes: usize) {
        let table = self.table(key);
        table.stats.calls += 1;
        table.stats.rows += rows as u64;
        table.stats.rejected += rejected as u64;
        table.stats.bytes += bytes as u64;
        table.last_add = Some(Instant::now());
    }

    pub fn refused(&mut self, key: &Key, rows: usize) {
        self.table(key).stats.refused += rows as u64;
    }

    pub fn buffer(
        &mut self,
        key: &Key,
        chunk: Chunk,
        chunk_bytes: usize,
        payload_bytes: usize,
        place: (u64, u64),
        arrival_us: i64,
    ) {
        let table = self.table(key);
        let buffer = table.buffer.get_or_insert_with(|| Flush {
            key: key.clone(),
            chunk: Chunk::default(),
            rows: 0,
            bytes: 0,
            first: place.0,
            last: place.0,
            arrival_us,
            in_flight_bytes: 0,
            positions: Vec::new(),
        });
        table.since.get_or_insert_with(Instant::now);
        buffer.rows += chunk.len;
        buffer.chunk.append(chunk);
        buffer.bytes += payload_bytes;
        buffer.in_flight_bytes += chunk_bytes;
        buffer.last = place.0;
        buffer.positions.push(place);
    }

    fn due_at(&self, key: &Key, table: &Table) -> Option<Instant> {
        let buffer = table.buffer.as_ref()?;
        let since = table.since?;
        if table.out.is_some() {
            return None; // one flush of a table at a time, so that its rows keep their order
        }
        let threshold = self.threshold_of(key);
        if table.forced || buffer.bytes > threshold.bytes {
            return Some(since);
        }
        (!threshold.age.is_zero()).then(|| since + threshold.age)
    }

    fn earliest(&self, dbms: &str) -> Option<(Instant, Key)> {
        self.known
            .iter()
            .filter(|(key, _)| key.dbms == dbms)
            .filter_map(|(key, table)| self.due_at(key, table).map(|at| (at, key)))
            .min()
            .map(|(at, key)| (at, key.clone()))
    }

    pub fn next_due(&self, dbms: &str) -> Option<Instant> {
        self.earliest(dbms).map(|found| found.0)
    }

    pub fn take_due(&mut self, dbms: &str, now: Instant) -> Option<Flush> {
        if !self.attached.contains(dbms) {
            return None;
        }
        let (at, key) = self.earliest(dbms)?;
        if at > now {
            return None;
        }
        self.take_out(&key)
    }

    /// Whatever a database has buffered, due or not.
    pub fn take_any(&mut self, dbms: &str) -> Option<Flush> {
        let key = self.earliest(dbms)?.1;
        self.take_out(&key)
    }

    fn take_out(&mut self, key: &Key) -> Option<Flush> {
        let table = self.table(key);
        table.since = None;
        table.forced = false;
        let flush = table.buffer.take()?;
        table.out = Some(flush.rows);
        Some(flush)
    }

    pub fn committed(&mut self, flush: &Flush) {
        let table = self.table(&flush.key);
        table.out = None;
        table.stats.flushed_rows += flush.rows as u64;
    }

    /// Rows that could not be stored come first again, and are due at once.
    pub fn put_back(&mut self, mut flush: Flush) {
        let table = self.table(&flush.key.clone());
        table.out = None;
        table.since = Some(Instant::now());
        table.forced = true;
        if let Some(later) = table.buffer.take() {
            flush.rows += later.rows;
            flush.bytes += later.bytes;
            flush.last = later.last;
            flush.in_flight_bytes += later.in_flight_bytes;
            flush.positions.extend(later.positions);
            flush.chunk.append(later.chunk);
        }
        table.buffer = Some(flush);
    }

    pub fn flush_all(&mut self) {
        for table in self.known.values_mut() {
            table.forced = table.buffer.is_some();
        }
    }

    pub fn pending(&self, dbms: &str) -> usize {
        self.known
            .iter()
            .filter(|(key, _)| key.dbms == dbms)
            .map(|(_, t)| t.buffer.as_ref().map_or(0, |b| b.rows) + t.out.unwrap_or(0))
            .sum()
    }

    /// Give up the buffers of a database; returns what counted as in flight for them.
    pub fn drain(&mut self, dbms: &str, mut each: impl FnMut(&Key, Vec<(u64, u64)>)) -> usize {
        let mut freed = 0;
        for (key, table) in &mut self.known {
            if key.dbms == dbms
                && let Some(buffer) = table.buffer.take()
            {
                table.since = None;
                freed += buffer.in_flight_bytes;
                each(key, buffer.positions);
            }
        }
        freed
    }

    pub fn stats(&self) -> Vec<(Key, TableStats)> {
        self.known
            .iter()
            .map(|(key, table)| {
                let mut stats = table.stats;
                stats.buffered_rows = table.buffer.as_ref().map_or(0, |b| b.rows) as u64;
                stats.buffer_bytes = table.buffer.as_ref().map_or(0, |b| b.bytes) as u64;
                stats.threshold = Some(self.threshold_of(key));
                stats.idle_ms = table
                    .last_add
                    .map_or(0, |at| at.elapsed().as_millis() as u64);
                (key.clone(), stats)
            })
            .collect()
    }
}
