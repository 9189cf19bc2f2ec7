//! One table on its way into its database: what waits in the journal, what is buffered, what is with the writer.
//!
//! Positions ascend from the flush that is out over the buffer to what waits in the journal: as long as anything
//! waits there, nothing is buffered behind it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::Key;
use super::flush::{Arrived, Buffer, Flush, Threshold};
use super::run::{RUN_BYTES, Run, Runs};
use crate::rows::{ColumnDef, Schema};

/// Exact counters of a table since the start of the pipeline:
/// rows + recovered = stored + rejected + what is pending, at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Payloads accepted, their rows and bytes; rows kept out are among them.
    pub calls: u64,
    pub rows: u64,
    pub bytes: u64,
    /// Rows that the journal held at the start.
    pub recovered: u64,
    /// Rows committed, or handed over as a file.
    pub stored: u64,
    /// Rows kept out (they stand in the error folder), or lost with a journal that failed after their acknowledgement.
    pub rejected: u64,
    /// Rows of `stored` that were committed before they were acknowledged.
    pub immediate: u64,
    /// Rows in memory, in the journal only, and with the writer.
    pub buffered: u64,
    pub waiting: u64,
    pub out: u64,
    /// Bytes of payloads in the buffer or waiting in the journal.
    pub buffer_bytes: u64,
    /// Milliseconds since the last payload, and since the oldest row that waits arrived.
    pub idle_ms: u64,
    pub age_ms: u64,
}

impl TableStats {
    pub fn pending(&self) -> u64 {
        self.buffered + self.waiting + self.out
    }
}

/// A flush, or a file in the making, that is out.
#[derive(Debug)]
struct Out {
    first: u64,
    rows: u64,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    schema: Option<Arc<Schema>>,
    /// Types that mappings declare for columns, the first word counts.
    declared: Schema,
    /// Declared columns that the schema lacks: the next records carry the declaration, for the case that their rows
    /// make the table after a restart.
    undeclared: bool,
    buffer: Option<Buffer>,
    waiting: Runs,
    waiting_since: Option<Instant>,
    waiting_forced: bool,
    /// Rows of an earlier run are to be booked by an operator, who may come until then.
    booked: bool,
    reserved_until: Option<Instant>,
    out: Option<Out>,
    /// Runs whose archive file is not written yet, by first position.
    held: BTreeMap<u64, Runs>,
    /// Lowest position that is committed but perhaps not on the database's disk.
    unsynced: Option<u64>,
    /// Last position in each segment that holds records of the table.
    segments: VecDeque<(u64, u64)>,
    pub stats: TableStats,
    last_add: Option<Instant>,
}

impl Table {
    // ---- columns

    pub fn schema(&self) -> Option<Arc<Schema>> {
        self.schema.clone()
    }

    /// The columns as the database has them.
    pub fn set_schema(&mut self, schema: Option<Schema>) {
        self.schema = schema.map(Arc::new);
        self.compare();
    }

    /// Types for columns, before the first row of the table or of the column.
    pub fn declare(&mut self, columns: &[ColumnDef]) {
        let mut news = false;
        for column in columns {
            if self.declared.get(&column.name).is_none() {
                self.declared.columns.push(column.clone());
                news = true;
            }
        }
        if news {
            self.compare();
        }
    }

    fn compare(&mut self) {
        let known = |def: &ColumnDef| {
            self.schema
                .as_ref()
                .is_some_and(|s| s.get(&def.name).is_some())
        };
        self.undeclared = !self.declared.columns.iter().all(known);
    }

    pub fn declared(&self) -> &Schema {
        &self.declared
    }

    /// What a record has to carry.
    pub fn undeclared(&self) -> &[ColumnDef] {
        if self.undeclared {
            &self.declared.columns
        } else {
            &[]
        }
    }

    // ---- in

    /// A record of an earlier run of the node.
    pub fn recover(&mut self, run: Run, booked: bool) {
        self.booked |= booked;
        self.placed(&run);
        self.stats.recovered += run.rows;
        self.waiting_since.get_or_insert_with(Instant::now);
        self.waiting.push(run);
    }

    fn placed(&mut self, run: &Run) {
        match self.segments.back_mut() {
            Some((segment, last)) if *segment == run.segment => *last = run.last(),
            _ => self.segments.push_back((run.segment, run.last())),
        }
    }

    /// Count a payload that was accepted.
    pub fn received(&mut self, rows: usize, rejected: usize, bytes: usize) {
        self.stats.calls += 1;
        self.stats.rows += (rows + rejected) as u64;
        self.stats.rejected += rejected as u64;
        self.stats.bytes += bytes as u64;
        self.last_add = Some(Instant::now());
    }

    /// Whether rows may be buffered: nothing of the table waits in the journal.
    pub fn is_direct(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The settings of the buffer that the next row goes to.
    pub fn threshold(&self, current: Threshold) -> Threshold {
        self.buffer.as_ref().map_or(current, |b| b.threshold)
    }

    /// Rows into memory; how much memory that takes.
    pub fn buffer(&mut self, arrived: Arrived, threshold: Threshold) -> usize {
        if let Some(run) = &arrived.run {
            let run = run.clone();
            self.placed(&run);
        }
        let buffer = self
            .buffer
            .get_or_insert_with(|| Buffer::new(threshold, arrived.position));
        let before = buffer.memory;
        buffer.add(arrived);
        buffer.memory - before
    }

    /// Rows that stay in the journal alone; how much memory that takes.
    pub fn wait(&mut self, run: Run) -> usize {
        self.placed(&run);
        self.waiting_since.get_or_insert_with(Instant::now);
        let before = self.waiting.memory();
        self.waiting.push(run);
        self.waiting.memory() - before
    }

    // ---- out

    /// When the table has something for its database.
    pub fn due_at(&self) -> Option<Instant> {
        if self.out.is_some() {
            return None; // one flush of a table at a time, so that its rows keep their order
        }
        if self.reserved_until.is_some() && !self.waiting.is_empty() {
            return self.reserved_until;
        }
        // What waits in the journal waits for nothing but its turn.
        match &self.buffer {
            Some(buffer) if self.waiting.is_empty() => buffer.due_at(),
            Some(buffer) => Some(buffer.since),
            None if self.waiting.is_empty() => None,
            None => self.waiting_since,
        }
    }

    /// Rows of an earlier run that an operator was to book wait until then.
    pub fn reserve(&mut self, until: Option<Instant>) {
        self.reserved_until = until.filter(|_| self.booked && !self.waiting.is_empty());
        self.booked &= self.reserved_until.is_some();
    }

    /// What the writer gets next.
    pub fn take(&mut self, key: &Key) -> Option<Taken> {
        if let Some(buffer) = self.buffer.take() {
            let flush = buffer.into_flush(key.clone());
            self.out = Some(Out {
                first: flush.first,
                rows: flush.all_rows(),
            });
            return Some(Taken::Flush(flush));
        }
        self.take_waiting().map(Taken::Runs)
    }

    fn take_waiting(&mut self) -> Option<Runs> {
        let runs = self.waiting.pop_bytes(RUN_BYTES);
        self.out = Some(Out {
            first: runs.first()?,
            rows: runs.rows,
        });
        if self.waiting.is_empty() {
            self.waiting_since = None;
            self.waiting_forced = false;
        }
        Some(runs)
    }

    /// When what waits in the journal is to become a file, as nobody stores it; the runs of this run of the node only
    /// (`cutoff`), unless it is forced.
    pub fn file_due_at(&self, threshold: Threshold, cutoff: u64) -> Option<Instant> {
        let first = self.waiting.first()?;
        if self.out.is_some() || (first < cutoff && !self.waiting_forced) {
            return None;
        }
        let since = self.waiting_since?;
        let full = threshold.bytes > 0 && self.waiting.bytes > threshold.bytes as u64;
        if self.waiting_forced || full {
            return Some(since);
        }
        (!threshold.age.is_zero()).then(|| since + threshold.age)
    }

    /// Runs of one origin for a file.
    pub fn take_file(&mut self) -> Option<Runs> {
        let mut taken = Runs::default();
        let mut rest = Runs::default();
        while let Some(run) = self.waiting.pop() {
            let fits = taken.bytes < RUN_BYTES
                && taken.iter().next().is_none_or(|r| r.origin == run.origin);
            if fits { &mut taken } else { &mut rest }.push(run);
        }
        self.waiting = rest;
        self.out = Some(Out {
            first: taken.first()?,
            rows: taken.rows,
        });
        if self.waiting.is_empty() {
            self.waiting_since = None;
            self.waiting_forced = false;
        }
        Some(taken)
    }

    /// Runs could not be read or filed now: they come first again.
    pub fn untake(&mut self, runs: Runs) {
        self.out = None;
        self.waiting.put_first(runs);
        self.waiting_since.get_or_insert_with(Instant::now);
    }

    /// The end of a flush. `held`: runs whose archive file is to be written.
    pub fn committed(&mut self, flush: &Flush, rejected: u64, held: Vec<(u64, Runs)>) {
        self.out = None;
        let stored = (flush.rows as u64).saturating_sub(rejected);
        self.stats.stored += stored;
        self.stats.rejected += flush.all_rows() - stored;
        if flush.immediate {
            self.stats.immediate += stored;
        }
        self.unsynced = Some(self.unsynced.map_or(flush.first, |at| at.min(flush.first)));
        self.held.extend(held);
    }

    /// What was out became a file.
    pub fn filed(&mut self, rows: u64) {
        self.out = None;
        self.stats.stored += rows;
    }

    pub fn put_back(&mut self, flush: Flush, threshold: Threshold) {
        self.out = None;
        self.buffer = Some(Buffer::put_back(flush, self.buffer.take(), threshold));
    }

    pub fn buffer_memory(&self) -> usize {
        self.buffer.as_ref().map_or(0, |buffer| buffer.memory)
    }

    /// Give the buffer up.
    pub fn unbuffer(&mut self) -> Option<Buffer> {
        self.buffer.take()
    }

    /// What was buffered waits in the journal again. `lost` rows are not in the journal.
    pub fn rest(&mut self, runs: Runs, lost: u64) {
        self.stats.rejected += lost;
        if !runs.is_empty() {
            self.waiting.put_first(runs);
            self.waiting_since.get_or_insert_with(Instant::now);
        }
    }

    pub fn waiting(&mut self) -> &mut Runs {
        &mut self.waiting
    }

    // ---- archive

    pub fn hold(&mut self, first: u64, runs: Runs) {
        self.held.entry(first).or_insert(runs);
    }

    pub fn held(&self, first: u64) -> Option<&Runs> {
        self.held.get(&first)
    }

    /// The archive file is durable; how much memory that gives back.
    pub fn archived(&mut self, first: u64) -> usize {
        self.held.remove(&first).map_or(0, |runs| runs.memory())
    }

    // ---- state

    /// Everything committed is on the database's disk.
    pub fn synced(&mut self) {
        self.unsynced = None;
    }

    pub fn force(&mut self) {
        self.waiting_forced = !self.waiting.is_empty();
        if let Some(buffer) = &mut self.buffer {
            buffer.forced = true;
        }
    }

    /// Lowest position whose rows are not stored yet.
    pub fn pending_from(&self) -> Option<u64> {
        let out = self.out.as_ref().map(|out| out.first);
        let buffer = self.buffer.as_ref().map(|buffer| buffer.first);
        [out, buffer, self.waiting.first()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Last position that the table has.
    pub fn last(&self) -> Option<u64> {
        self.segments.back().map(|(_, last)| *last)
    }

    /// The first segment that the table needs.
    pub fn needs(&mut self) -> Option<u64> {
        let held = self.held.keys().next().copied();
        let from = [self.pending_from(), held, self.unsynced]
            .into_iter()
            .flatten()
            .min();
        while let Some(&(_, last)) = self.segments.front()
            && from.is_none_or(|from| last < from)
        {
            self.segments.pop_front();
        }
        self.segments.front().map(|(segment, _)| *segment)
    }

    pub fn stats(&self) -> TableStats {
        let since = self
            .buffer
            .as_ref()
            .map(|b| b.since)
            .into_iter()
            .chain(self.waiting_since)
            .min();
        let ms = |at: Option<Instant>| at.map_or(0, |at| at.elapsed().as_millis() as u64);
        TableStats {
            buffered: self.buffer.as_ref().map_or(0, Buffer::all_rows),
            waiting: self.waiting.rows,
            out: self.out.as_ref().map_or(0, |out| out.rows),
            buffer_bytes: self.buffer.as_ref().map_or(0, |b| b.bytes) as u64 + self.waiting.bytes,
            idle_ms: ms(self.last_add),
            age_ms: ms(since),
            ..self.stats
        }
    }
}

/// What the writer takes: rows, or runs that have to be read first.
#[derive(Debug)]
pub(super) enum Taken {
    Flush(Flush),
    Runs(Runs),
}
