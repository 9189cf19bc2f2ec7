//! What happens on the journal's thread once a group is written.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::flush::{Arrived, Asking};
use super::positions::Kept;
use super::receipts::{Moving, Receipts};
use super::run::{Origin, Run};
use super::tables::Tables;
use super::{Key, Outcome, Shared, TICKET_BYTES};
use crate::journal::{Entry, JournalError, Level, Place, Placed, Publish};
use crate::rows::Chunk;

/// What an entry is for.
#[derive(Debug)]
pub(super) enum Tag {
    Rows(Box<Ticket>),
    /// The note that this table's rows are in a file.
    Filed {
        key: Key,
        rows: u64,
        done: Sender<Result<(), JournalError>>,
    },
    Receipts(Moving),
    Positions {
        all: Vec<Kept>,
        done: Option<Sender<Result<(), JournalError>>>,
    },
    /// Somebody waits until everything up to here is stored.
    Flush {
        ticket: u64,
    },
    /// Somebody waits until everything up to here has been written or refused.
    Passed(Sender<()>),
}

/// A record's rows on their way through the journal.
#[derive(Debug)]
pub(super) struct Ticket {
    pub id: u64,
    /// The submitter knows already.
    pub told: bool,
    pub stored: Outcome,
    pub chunk: Chunk,
    pub rejected: usize,
    pub charged: usize,
    pub payload_bytes: usize,
    pub arrival_us: i64,
    pub key: Key,
    pub origin: Arc<Origin>,
    pub receipts: Receipts,
}

pub(super) struct Publisher {
    shared: Arc<Shared>,
}

impl Publisher {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Rows into their buffer, or to those that wait in the journal; the answer, if it is time for one. `due` is set
    /// when somebody who waits for rows has to look again.
    fn place(
        &self,
        tables: &mut Tables,
        ticket: Ticket,
        position: u64,
        place: Option<Place>,
        due: &mut bool,
    ) -> Option<(u64, Outcome)> {
        let key = &ticket.key;
        let (current, attached) = (tables.threshold(key), tables.is_attached(&key.dbms));
        let spill = tables.buffered >= self.shared.spill_bytes && place.is_some();
        let rows = ticket.chunk.len as u64;
        let run = place.map(|place| Run::new(position, rows, place, ticket.origin.clone()));
        let table = tables.table(key);
        table.received(ticket.chunk.len, ticket.rejected, ticket.payload_bytes);
        let told = (ticket.id, ticket.stored);
        if attached && table.is_direct() && !spill {
            let immediate = table.threshold(current).immediate;
            let (ticket_id, outcome) = told.clone();
            let asking = immediate.then_some(Asking {
                ticket: if ticket.told { 0 } else { ticket_id },
                first_row: 0,
                rows: ticket.chunk.len,
                outcome,
            });
            let arrived = Arrived {
                position,
                chunk: ticket.chunk,
                payload_bytes: ticket.payload_bytes,
                arrival_us: ticket.arrival_us,
                origin: ticket.origin,
                run,
                asking,
            };
            let before = table.due_at();
            let memory = table.buffer(arrived, current);
            // Waking the writer for every group would cost as much as the group itself.
            *due |= match (before, table.due_at()) {
                (Some(before), Some(after)) => after < before,
                (before, after) => before.is_none() && after.is_some(),
            };
            tables.buffered += memory;
            self.shared.charge(memory);
            return (!immediate && !ticket.told).then_some(told);
        }
        *due = true;
        match run {
            Some(run) => self.shared.charge(table.wait(run)),
            // Acknowledged before a journal that failed: without a database they are lost.
            None => table.stats.rejected += rows,
        }
        (!ticket.told).then_some(told)
    }
}

impl Publish<Tag> for Publisher {
    fn written(&mut self, group: &mut [Entry<Tag>]) {
        let mut done = Vec::new();
        for entry in group.iter_mut().filter(|e| e.level == Level::Fast) {
            if let Tag::Rows(ticket) = &mut entry.tag {
                // Rows that are stored before their acknowledgement are acknowledged later.
                ticket.told = !self.shared.tables.lock().threshold(&ticket.key).immediate;
                if ticket.told {
                    done.push((ticket.id, ticket.stored.clone()));
                }
            }
        }
        self.shared.complete(done);
    }

    fn settled(&mut self, group: &mut Vec<Entry<Tag>>, placed: Placed) {
        let (mut freed, mut offset, mut done) = (0, placed.start, Vec::new());
        let mut due = false;
        let mut tables = self.shared.tables.lock();
        for (entry, position) in group.drain(..).zip(placed.first..) {
            let place = Place {
                segment: placed.segment,
                offset,
                bytes: entry.bytes() as u64,
            };
            offset += place.bytes;
            match entry.tag {
                Tag::Rows(mut ticket) => {
                    freed += ticket.charged;
                    let receipts = std::mem::take(&mut ticket.receipts);
                    tables.receipts.add(place.segment, receipts);
                    done.extend(self.place(&mut tables, *ticket, position, Some(place), &mut due));
                }
                Tag::Filed {
                    key,
                    rows,
                    done: noted,
                } => {
                    freed += TICKET_BYTES;
                    tables.table(&key).filed(rows);
                    // Nobody may be left to hear it.
                    let _ = noted.send(Ok(()));
                }
                Tag::Receipts(moving) => {
                    tables.receipts.moved(moving.before, place.segment);
                    let _ = moving.done.send(Ok(()));
                }
                Tag::Positions { all, done } => {
                    tables.positions.add(place.segment, all);
                    if let Some(done) = done {
                        let _ = done.send(Ok(()));
                    }
                }
                Tag::Flush { .. } | Tag::Passed(_) => {}
            }
        }
        done.extend(tables.passed());
        drop(tables);
        self.shared.release(freed);
        if due {
            self.shared.due.notify_all();
        }
        self.shared.complete(done);
    }

    fn failed(&mut self, group: &mut Vec<Entry<Tag>>, first: u64, _: bool, error: &JournalError) {
        let (mut freed, mut done, mut due) = (0, Vec::new(), false);
        let mut tables = self.shared.tables.lock();
        for (entry, position) in group.drain(..).zip(first..) {
            match entry.tag {
                // Acknowledged already: they live on in memory.
                Tag::Rows(ticket) if ticket.told => {
                    freed += ticket.charged;
                    self.place(&mut tables, *ticket, position, None, &mut due);
                }
                Tag::Rows(ticket) => {
                    freed += ticket.charged;
                    done.push((ticket.id, Outcome::Journal(error.clone())));
                }
                Tag::Filed { done: noted, .. } => {
                    freed += TICKET_BYTES;
                    let _ = noted.send(Err(error.clone()));
                }
                Tag::Receipts(moving) => {
                    let _ = moving.done.send(Err(error.clone()));
                }
                Tag::Positions { done, .. } => {
                    if let Some(done) = done {
                        let _ = done.send(Err(error.clone()));
                    }
                }
                Tag::Flush { .. } | Tag::Passed(_) => {}
            }
        }
        drop(tables);
        self.shared.release(freed);
        if due {
            self.shared.due.notify_all();
        }
        self.shared.complete(done);
    }

    fn reached(&mut self, mark: Tag) {
        let ticket = match mark {
            Tag::Flush { ticket } => ticket,
            Tag::Passed(done) => {
                // Whoever asked may have gone.
                let _ = done.send(());
                return;
            }
            Tag::Rows(_) | Tag::Filed { .. } | Tag::Receipts(_) | Tag::Positions { .. } => return,
        };
        let mut tables = self.shared.tables.lock();
        tables.unreserve();
        tables.force();
        tables.wait(ticket);
        let done = tables.passed();
        drop(tables);
        self.shared.due.notify_all();
        self.shared.complete(done);
    }

    fn is_idle(&mut self) -> bool {
        self.shared.tables.lock().needs().is_none()
    }

    fn emptied(&mut self) {
        self.shared.tell_room();
    }
}
