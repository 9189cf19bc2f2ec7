//! The entry of rows that a mapping made: they come as columns and are not parsed again.

use std::sync::Arc;

use super::queue::ticket;
use super::{
    Action, Key, Origin, Outcome, Pipeline, Receipts, Record, SubmitError, TICKET_BYTES, Wake,
    enqueue,
};
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
        self.enqueue_mapped(number, rows);
        number
    }

    fn enqueue_mapped(&self, ticket: u64, rows: MappedRows) {
        if !rows.declared.is_empty() {
            self.declare(&rows.key, &rows.declared);
        }
        self.shared.charge(TICKET_BYTES);
        let record = Record {
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
        };
        enqueue(&self.shared, &self.journal, record);
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

    /// Take rows, whatever room there is (`has_room` tells who shall wait); completions tell the number, which is the
    /// submitter's own and may stand for several calls: above 0 and below 2^48.
    pub fn submit(&self, number: u64, rows: MappedRows) {
        self.pipeline
            .enqueue_mapped(ticket(self.number, number), rows);
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
