//! The writer's side of the pipeline: who stores a database takes its rows here, and says what became of them.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::flush::{Arrived, Buffer, Unread};
use super::run::{Origin, Reader, Run, Runs};
use super::table::Taken;
use super::{Flush, IDLE_BYTES, Key, Outcome, Part, Pipeline, Threshold};
use crate::journal::JournalError;
use crate::rows;

/// Rows that the database has, and whose archive file is not written yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub table: String,
    pub first: u64,
    pub last: u64,
    pub origin: Origin,
}

/// What became of a part of a flush: rows kept out (number in the part, reason), and whether its records are held
/// until their archive file is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    pub rejected: Vec<(usize, String)>,
    pub hold: bool,
}

impl Pipeline {
    /// Somebody stores this database from now on. `watermarks` are the last positions committed by table: what
    /// the journal holds up to them is not given out again. The records of `unarchived` are held until `archived`.
    /// Returns how many rows of each of those the journal has.
    pub fn attach(
        &self,
        dbms: &str,
        watermarks: &HashMap<String, u64>,
        unarchived: &[Batch],
    ) -> Result<Vec<u64>, JournalError> {
        let mut tables = self.shared.tables.lock();
        let mut reader = Reader::new(self.journal.dir());
        let mut found = Vec::with_capacity(unarchived.len());
        for batch in unarchived {
            let table = tables.table(&Key::new(dbms, &batch.table));
            let before = table.waiting().memory();
            if table.held(batch.first).is_none() {
                let runs = table
                    .waiting()
                    .take_range(batch.first, batch.last, &mut reader)?;
                // Records of other origins belong to other batches, which follow.
                let (own, others): (Vec<_>, Vec<_>) = runs
                    .iter()
                    .cloned()
                    .partition(|run| *run.origin == batch.origin);
                let held: Runs = own.into_iter().collect();
                table.stats.recovered -= held.rows;
                table.rest(others.into_iter().collect(), 0);
                self.shared.charge(held.memory());
                table.hold(batch.first, held);
            }
            found.push(table.held(batch.first).map_or(0, |runs| runs.rows));
            let after = table.waiting().memory();
            self.recharge(before, after);
        }
        for (name, mark) in watermarks {
            let table = tables.table(&Key::new(dbms, name));
            let before = table.waiting().memory();
            let stored = table.waiting().take_range(0, *mark, &mut reader)?;
            table.stats.recovered -= stored.rows;
            let after = table.waiting().memory();
            self.recharge(before, after);
        }
        tables.attach(dbms, !self.shared.by_origin.load(Ordering::SeqCst));
        drop(tables);
        self.shared.due.notify_all();
        Ok(found)
    }

    fn recharge(&self, before: usize, after: usize) {
        if after > before {
            self.shared.charge(after - before);
        } else {
            self.shared.release(before - after);
        }
    }

    /// Nobody stores this database any more; what is buffered stays in the journal for the next one. Submitters that
    /// wait for the commit are told that their rows are kept.
    pub fn detach(&self, dbms: &str) {
        let (mut freed, mut charged, mut done) = (0, 0, Vec::new());
        let mut tables = self.shared.tables.lock();
        tables.detach(dbms);
        for (_, table) in tables.of(dbms) {
            let Some(buffer) = table.unbuffer() else {
                continue;
            };
            freed += buffer.memory;
            let (runs, asking, lost) = buffer.into_runs();
            charged += runs.memory();
            table.rest(runs, lost);
            done.extend(asking.into_iter().map(|a| (a.ticket, a.outcome)));
        }
        tables.buffered -= freed;
        done.extend(tables.passed());
        drop(tables);
        self.shared.charge(charged);
        self.shared.release(freed);
        done.retain(|(ticket, _)| *ticket != 0);
        self.shared.complete(done);
    }

    /// Rows of this database that are due; waits for them up to `timeout`. One flush of a table is out at a time; it
    /// ends with `committed` or `put_back`.
    pub fn take(&self, dbms: &str, timeout: Duration) -> Result<Option<Flush>, JournalError> {
        let until = Instant::now() + timeout;
        let mut tables = self.shared.tables.lock();
        let interrupts = self.shared.interrupts();
        loop {
            let now = Instant::now();
            let due = tables.next_due(dbms);
            if let Some((at, key)) = due.as_ref()
                && *at <= now
            {
                match tables.table(key).take(key) {
                    Some(Taken::Flush(flush)) => {
                        drop(tables);
                        return Ok(Some(self.parted(flush)));
                    }
                    Some(Taken::Runs(runs)) => {
                        drop(tables);
                        let read = self.read(key, &runs);
                        if read.is_err() {
                            self.shared.tables.lock().table(key).untake(runs);
                        }
                        return read.map(|flush| Some(self.parted(flush)));
                    }
                    None => return Ok(None),
                }
            }
            if now >= until || self.shared.interrupts() != interrupts {
                return Ok(None);
            }
            let wake_at = due.map_or(until, |(at, _)| at.min(until));
            self.shared.due.wait_until(&mut tables, wake_at);
        }
    }

    /// Rows of runs, read from the journal.
    fn read(&self, key: &Key, runs: &Runs) -> Result<Flush, JournalError> {
        let schema = self.shared.tables.lock().expected(key);
        let first = runs.first().unwrap_or_default();
        let mut buffer = Buffer::new(Threshold::default(), first);
        let mut reader = Reader::new(self.journal.dir());
        for run in runs.iter() {
            reader.each(run, &mut |place, record, meta| {
                let position = record.position;
                let run = Run::new(position, u64::from(meta.rows), place, run.origin.clone());
                match rows::parse(&record.payload, schema.as_deref(), &self.shared.zone) {
                    Ok(parsed) => buffer.add(Arrived {
                        position,
                        chunk: parsed.chunk,
                        payload_bytes: record.payload.len(),
                        arrival_us: meta.arrival_us,
                        origin: run.origin.clone(),
                        run: Some(run),
                        asking: None,
                    }),
                    // It was parsed before it was journaled; with the columns of today it may have too many names.
                    Err(error) => buffer.add_unread(Unread {
                        payload: record.payload,
                        reason: error.to_string(),
                        run,
                    }),
                }
            })?;
        }
        let flush = buffer.into_flush(key.clone());
        self.shared.charge(flush.memory);
        self.shared.tables.lock().buffered += flush.memory;
        self.shared.release(runs.memory());
        Ok(flush)
    }

    /// Whether an operator books what is flushed: flushes have a part for each origin then, otherwise one in all.
    pub fn set_by_origin(&self, on: bool) {
        self.shared.by_origin.store(on, Ordering::SeqCst);
    }

    /// The operator that rows of an earlier run wait for is there. Not before whoever takes them can book them: a
    /// writer may have them at once.
    pub fn unreserve(&self) {
        self.shared.tables.lock().unreserve();
        self.shared.due.notify_all();
    }

    fn parted(&self, mut flush: Flush) -> Flush {
        if !self.shared.by_origin.load(Ordering::SeqCst) {
            flush.merge();
        }
        flush
    }

    /// The rows of a flush are committed, together with its last position. `parts` says what became of each part.
    pub fn committed(&self, flush: Flush, parts: &[Ended]) {
        let rejected = parts.iter().map(|part| part.rejected.len() as u64).sum();
        let held: Vec<_> = flush
            .parts
            .iter()
            .zip(parts)
            .filter(|(_, ended)| ended.hold)
            .map(|(part, _)| (part.first, part.runs.clone()))
            .collect();
        let held_memory: usize = held.iter().map(|(_, runs)| runs.memory()).sum();
        let mut tables = self.shared.tables.lock();
        tables.table(&flush.key).committed(&flush, rejected, held);
        tables.buffered -= flush.memory;
        let mut done = tables.passed();
        drop(tables);
        self.shared.charge(held_memory);
        self.shared.release(flush.memory);
        self.shared.due.notify_all();
        for (part, ended) in flush.parts.into_iter().zip(parts) {
            done.extend(answers(part, &ended.rejected));
        }
        self.shared.complete(done);
    }

    /// The flush could not be stored now: its rows come first in the next one.
    pub fn put_back(&self, flush: Flush) {
        let memory = flush.memory;
        let mut tables = self.shared.tables.lock();
        let key = flush.key.clone();
        let threshold = tables.threshold(&key);
        let table = tables.table(&key);
        let before = table.buffer_memory();
        table.put_back(flush, threshold);
        let after = table.buffer_memory();
        tables.buffered = tables.buffered + after - before - memory;
        drop(tables);
        self.recharge(before + memory, after);
        self.shared.due.notify_all();
    }

    /// Everything committed so far is on the database's disk: free the segments that hold nothing else.
    pub fn synced(&self, dbms: &str) -> Result<(), JournalError> {
        let mut tables = self.shared.tables.lock();
        tables.of(dbms).for_each(|(_, table)| table.synced());
        drop(tables);
        self.free_segments()
    }

    /// Delete the segments that nobody needs.
    pub(super) fn free_segments(&self) -> Result<(), JournalError> {
        // A segment that the journal goes on to meanwhile has a higher number than any that is freed.
        let last = self.journal.segments().last().copied().unwrap_or_default();
        let needs = self.shared.tables.lock().needs_for_rows();
        let needed = needs.unwrap_or(last).min(last);
        self.move_receipts(needed);
        self.move_positions(needed);
        let needs = self.shared.tables.lock().needs();
        let needed = needs.unwrap_or(last).min(last);
        let freed = needed > 0 && self.journal.remove_through(needed - 1)?;
        if needs.is_none() && self.journal.bytes() > IDLE_BYTES {
            self.journal.rewind();
        }
        if freed {
            self.shared.tell_room();
        }
        Ok(())
    }

    /// Rows of a database that are accepted and not yet committed.
    pub fn pending(&self, dbms: &str) -> u64 {
        let mut tables = self.shared.tables.lock();
        tables
            .of(dbms)
            .map(|(_, table)| table.stats().pending())
            .sum()
    }
}

/// What the submitters that waited for a commit are told: their own rows among those kept out.
fn answers(part: Part, rejected: &[(usize, String)]) -> impl Iterator<Item = (u64, Outcome)> {
    part.asking.into_iter().filter(|a| a.ticket != 0).map(|a| {
        let own = || {
            rejected
                .iter()
                .filter(|(row, _)| (a.first_row..a.first_row + a.rows).contains(row))
        };
        let outcome = match (a.outcome, own().next()) {
            (Outcome::Stored { rejected, .. }, Some((_, reason))) => Outcome::Stored {
                rows: a.rows - own().count(),
                rejected: rejected + own().count(),
                reason: reason.clone(),
            },
            (outcome, _) => outcome,
        };
        (a.ticket, outcome)
    })
}
