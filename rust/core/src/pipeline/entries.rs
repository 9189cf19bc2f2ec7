//! Rows on their way into the journal: their entries, and what is kept together.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::meta::Meta;
use super::publish::{Tag, Ticket};
use super::shared::Shared;
use super::{ACTIONS, Outcome, Position, ROWS_JSON, Record, TICKET_BYTES, positions};
use crate::journal::{Entry, Journal, JournalError, Level};

/// Rows to the journal's queue. They count as occupied beside their payload until they are committed.
pub(super) fn enqueue(shared: &Shared, journal: &Journal<Tag>, record: Record) {
    enqueue_all(shared, journal, [record], Vec::new());
}

/// Records that belong together, and how far their sources are read with them: one write, one sync.
pub(super) fn enqueue_all(
    shared: &Shared,
    journal: &Journal<Tag>,
    records: impl IntoIterator<Item = Record>,
    read_to: Vec<Position>,
) {
    let entries = records.into_iter().filter_map(|record| {
        let entry = entry_of(shared, record);
        entry.map_err(|told| shared.complete([told])).ok()
    });
    let entries = entries.collect();
    append_together(shared, journal, entries, read_to);
}

/// Entries that are kept all or none, so at the level of the safest of them: else some would be acknowledged, and live
/// on, when the journal refuses the others.
pub(super) fn append_together(
    shared: &Shared,
    journal: &Journal<Tag>,
    mut entries: Vec<Entry<Tag>>,
    read_to: Vec<Position>,
) {
    let level = entries.iter().map(|entry| entry.level).max();
    let level = level.unwrap_or(Level::Durable);
    for entry in &mut entries {
        entry.level = level;
    }
    if level == Level::Memory {
        let mut done = Vec::new();
        for entry in &mut entries {
            if let Tag::Rows(ticket) = &mut entry.tag {
                // Rows that are stored before their acknowledgement are acknowledged later.
                ticket.told = !shared.tables.lock().threshold(&ticket.key).immediate;
                done.extend(ticket.told.then(|| (ticket.id, ticket.stored.clone())));
            }
        }
        shared.complete(done);
    }
    if !read_to.is_empty() {
        let all = shared.tables.lock().positions.versioned(read_to);
        entries.push(positions::entry(all, level, None));
    }
    let Err(refused) = journal.append_all(entries) else {
        return;
    };
    for entry in refused {
        if let Tag::Rows(ticket) = entry.tag {
            shared.release(ticket.charged);
            if !ticket.told {
                let closed = JournalError::Failed("the journal is closed".into());
                shared.complete([(ticket.id, Outcome::Journal(closed))]);
            }
        }
    }
}

/// When no row is left to keep, what its submitter is to be told.
pub(super) fn entry_of(shared: &Shared, mut record: Record) -> Result<Entry<Tag>, (u64, Outcome)> {
    let (kept, acts) = shared.conditions.apply(&record.key, &record.chunk);
    if acts {
        shared.complete([(ACTIONS, Outcome::Passed)]);
    }
    if let Some(kept) = kept {
        record.chunk = record.chunk.take(&kept);
        record.payload = record.chunk.to_json_lines(0..record.chunk.len);
    }
    let chunk = record.chunk;
    let charged =
        record.payload.len() + chunk.reserved_bytes() + chunk.mixed_bytes() + TICKET_BYTES;
    if charged > record.charged {
        shared.charge(charged - record.charged);
    } else {
        shared.release(record.charged - charged);
    }
    let stored = Outcome::Stored {
        rows: chunk.len,
        rejected: record.rejected,
        reason: record.reason,
    };
    if chunk.is_empty() {
        // Conditions dropped all rows: there is nothing to keep.
        shared.release(charged);
        return Err((record.ticket, stored));
    }
    let (level, declared) = {
        let tables = shared.tables.lock();
        (
            tables.level(&record.key),
            tables.undeclared(&record.key).to_vec(),
        )
    };
    let meta = Meta {
        key: record.key,
        origin: record.origin,
        arrival_us: record.arrival_us,
        rows: chunk.len as u32,
        booked: shared.by_origin.load(Ordering::Relaxed),
        declared,
        receipts: record.receipts,
    };
    Ok(Entry {
        level,
        kind: ROWS_JSON,
        meta: meta.encode(),
        control: false,
        followers: 0,
        tag: Tag::Rows(Box::new(Ticket {
            id: record.ticket,
            told: false,
            stored,
            chunk,
            rejected: record.rejected,
            charged,
            payload_bytes: record.payload.len(),
            arrival_us: record.arrival_us,
            key: meta.key,
            origin: Arc::new(meta.origin),
            receipts: meta.receipts,
        })),
        payload: record.payload,
    })
}
