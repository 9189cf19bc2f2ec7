//! The entry of rows that a mapping made: they come as columns and are not parsed again.

use std::sync::Arc;

use super::entries::{append_together, enqueue_all, entry_of};
use super::publish::Tag;
use super::queue::ticket;
use super::shared::Shared;
use super::{
    Action, Key, Origin, Outcome, Pipeline, Position, Receipts, Record, SubmitError, TICKET_BYTES,
    Wake,
};
use crate::journal::Entry;
use crate::rows::{Chunk, ColumnDef};

/// Rows of one table and origin: one record of the journal.
#[derive(Debug)]
pub struct MappedRows {
    pub key: Key,
    pub origin: Origin,
    pub chunk: Chunk,
    /// Types that the mapping gives to columns.
    pub declared: Vec<ColumnDef>,
    /// When the first message came, microseconds UTC.
    pub arrival_us: i64,
    pub receipts: Receipts,
}

impl Pipeline {
    /// Whether a payload may come in now.
    pub fn admit(&self, payload_bytes: usize) -> Result<(), SubmitError> {
        self.check_journal(payload_bytes)?;
        let charged = payload_bytes * 2 + TICKET_BYTES;
        self.shared.reserve(charged)?;
        self.shared.release(charged);
        Ok(())
    }

    /// Take rows that `admit` let in; `completions` tell under the returned ticket when they are kept.
    pub fn submit_mapped(&self, rows: MappedRows) -> u64 {
        let number = self.ticket();
        self.enqueue_mapped([(number, rows)], Vec::new());
        number
    }

    /// The same for rows that belong together, and how far their sources are read with them: the journal writes and
    /// syncs them as one.
    pub fn submit_mapped_all(&self, rows: Vec<MappedRows>, read_to: Vec<Position>) -> Vec<u64> {
        let numbers: Vec<u64> = rows.iter().map(|_| self.ticket()).collect();
        self.enqueue_mapped(numbers.iter().copied().zip(rows), read_to);
        numbers
    }

    fn enqueue_mapped(
        &self,
        rows: impl IntoIterator<Item = (u64, MappedRows)>,
        read_to: Vec<Position>,
    ) {
        let records = rows
            .into_iter()
            .map(|(ticket, rows)| self.record(ticket, rows));
        enqueue_all(&self.shared, &self.journal, records, read_to);
    }

    fn record(&self, ticket: u64, rows: MappedRows) -> Record {
        if !rows.declared.is_empty() {
            self.declare(&rows.key, &rows.declared);
        }
        self.shared.charge(TICKET_BYTES);
        Record {
            ticket,
            key: rows.key,
            origin: rows.origin,
            arrival_us: rows.arrival_us,
            payload: rows.chunk.to_json_lines(0..rows.chunk.len),
            chunk: rows.chunk,
            rejected: 0,
            reason: String::new(),
            receipts: rows.receipts,
            charged: TICKET_BYTES,
        }
    }
}

/// Rows in the form of the journal, made by any thread, that wait for those that they belong together with. Dropped,
/// they were never there.
pub struct Ready {
    shared: Arc<Shared>,
    entries: Vec<Entry<Tag>>,
}

impl Ready {
    /// Records, each with a completion to come.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        for entry in &self.entries {
            if let Tag::Rows(ticket) = &entry.tag {
                self.shared.release(ticket.charged);
            }
        }
    }
}

/// An entry with completions of its own, in threads of its own. It ends when it is dropped.
pub struct Submitter {
    pipeline: Arc<Pipeline>,
    number: usize,
}

impl Submitter {
    /// `wake` is called when there are completions.
    pub fn new(pipeline: Arc<Pipeline>, wake: Wake) -> Self {
        let number = pipeline.shared.queues.add(wake);
        Self { pipeline, number }
    }

    /// Take rows that belong together, whatever room there is (`has_room` tells who shall wait); completions tell the
    /// number once for each, which is the submitter's own and may stand for several calls: above 0 and below 2^48.
    pub fn submit(&self, number: u64, rows: Vec<MappedRows>) {
        let number = ticket(self.number, number);
        let rows = rows.into_iter().map(|rows| (number, rows));
        self.pipeline.enqueue_mapped(rows, Vec::new());
    }

    /// The work of `submit` that needs no order; streaming conditions may leave fewer records than there were.
    pub fn prepare(&self, number: u64, rows: Vec<MappedRows>) -> Ready {
        let number = ticket(self.number, number);
        let shared = &self.pipeline.shared;
        let entries = rows
            .into_iter()
            .filter_map(|rows| entry_of(shared, self.pipeline.record(number, rows)).ok());
        Ready {
            entries: entries.collect(),
            shared: shared.clone(),
        }
    }

    /// Rows that belong together go on: the journal keeps all of them or none.
    pub fn submit_ready(&self, all: Vec<Ready>) {
        let mut entries = Vec::new();
        for mut ready in all {
            entries.append(&mut ready.entries);
        }
        if !entries.is_empty() {
            append_together(
                &self.pipeline.shared,
                &self.pipeline.journal,
                entries,
                Vec::new(),
            );
        }
    }

    /// As `Pipeline::receipted`.
    pub fn receipted(&self, round: u64) {
        self.pipeline.receipted(round);
    }

    /// A command that somebody is to run.
    pub fn act(&self, action: Action) {
        self.pipeline.act(action);
    }

    /// Outcomes since the last call.
    pub fn completions(&self) -> Vec<(u64, Outcome)> {
        self.pipeline.shared.queues.take(self.number)
    }

    /// As `Pipeline::has_room`, told among the completions of this submitter.
    pub fn has_room(&self, payload_bytes: usize) -> bool {
        self.pipeline.has_room_for(self.number, payload_bytes)
    }

    /// Memory that the submitter holds for messages it has not mapped yet.
    pub fn charge(&self, bytes: usize) {
        self.pipeline.shared.charge(bytes);
    }

    pub fn release(&self, bytes: usize) {
        self.pipeline.shared.release(bytes);
    }
}

impl Drop for Submitter {
    fn drop(&mut self) {
        self.pipeline.shared.queues.remove(self.number);
    }
}
