//! What happens on the journal's thread once a group is written.

use std::sync::Arc;

use super::{Key, Outcome, Shared, taken};
use crate::journal::{Entry, HeadRecord, JournalError, Level, Placed, Publish};
use crate::rows::Chunk;

/// A record's rows on their way through the journal.
#[derive(Debug)]
pub struct Ticket {
    pub id: u64,
    /// The submitter knows already.
    pub told: bool,
    pub stored: Outcome,
    pub chunk: Chunk,
    pub chunk_bytes: usize,
    pub payload_bytes: usize,
    pub arrival_us: i64,
    pub key: Key,
}

pub struct Publisher {
    shared: Arc<Shared>,
}

impl Publisher {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Publish<Ticket> for Publisher {
    fn written(&mut self, group: &mut [Entry<Ticket>]) {
        let mut done = Vec::new();
        for entry in group.iter_mut().filter(|e| e.level == Level::Fast) {
            entry.tag.told = true;
            done.push((entry.tag.id, entry.tag.stored.clone()));
        }
        self.shared.complete(done);
    }

    fn settled(&mut self, group: &mut Vec<Entry<Ticket>>, placed: Placed) {
        let mut freed = 0;
        {
            // Locks in this order everywhere: replays, tables, segments.
            let mut replays = self.shared.replays.lock();
            let mut tables = self.shared.tables.lock();
            let mut segments = self.shared.segments.lock();
            for (entry, position) in group.iter_mut().zip(placed.first..) {
                let ticket = &mut entry.tag;
                segments.placed(&ticket.key, position, placed.segment);
                let direct = tables.attached.contains(&ticket.key.dbms)
                    && replays.len(&ticket.key.dbms) == 0;
                // The payload is on disk: only the rows stay in memory, and they only if somebody takes them.
                freed += ticket.payload_bytes;
                if direct {
                    let chunk = taken(&mut ticket.chunk);
                    tables.buffer(
                        &ticket.key,
                        chunk,
                        ticket.chunk_bytes,
                        ticket.payload_bytes,
                        (position, placed.segment),
                        ticket.arrival_us,
                    );
                } else {
                    freed += ticket.chunk_bytes;
                    replays.push(
                        ticket.key.clone(),
                        position,
                        placed.segment,
                        Some(placed.end),
                    );
                }
            }
        }
        self.shared.release(freed);
        self.shared.due.notify_all();
        let done: Vec<_> = group
            .drain(..)
            .filter(|entry| !entry.tag.told)
            .map(|entry| (entry.tag.id, entry.tag.stored))
            .collect();
        self.shared.complete(done);
    }

    fn failed(
        &mut self,
        group: &mut Vec<Entry<Ticket>>,
        _first: u64,
        _written: bool,
        error: &JournalError,
    ) {
        let freed = group
            .iter()
            .map(|e| e.tag.payload_bytes + e.tag.chunk_bytes)
            .sum();
        self.shared.release(freed);
        let mut tables = self.shared.tables.lock();
        for entry in group.iter() {
            tables.refused(&entry.tag.key, entry.tag.chunk.len);
        }
        drop(tables);
        let done: Vec<_> = group
            .drain(..)
            .filter(|entry| !entry.tag.told)
            .map(|entry| (entry.tag.id, Outcome::Journal(error.clone())))
            .collect();
        self.shared.complete(done);
    }

    fn head(&mut self, _segment: u64) -> Vec<HeadRecord> {
        Vec::new()
    }
}
