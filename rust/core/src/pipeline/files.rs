//! Rows as files: the archive of what was stored, and batches of the watch directory for rows that nobody stores.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::meta::Filed;
use super::publish::Tag;
use super::run::{Origin, Reader, Runs};
use super::{FILED, Key, Pipeline, TICKET_BYTES};
use crate::journal::{Entry, JournalError, Level};
use crate::rows;

/// Text of one piece of a file.
const PIECE_BYTES: usize = 1 << 20;

/// Rows of one table and origin that are to become a file. It ends with `filed` or `unfiled`.
#[derive(Debug)]
pub struct FileBatch {
    pub key: Key,
    pub origin: Arc<Origin>,
    pub first: u64,
    /// Arrival of the first record, microseconds UTC.
    pub arrival_us: i64,
    pub rows: u64,
    runs: Runs,
}

/// Records as JSON lines, piece by piece.
pub struct Content {
    reader: Reader,
    runs: Runs,
}

impl Content {
    /// The next piece; none at the end.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, JournalError> {
        let mut piece = Vec::new();
        while piece.len() < PIECE_BYTES
            && let Some(run) = self.runs.pop()
        {
            self.reader.each(&run, &mut |_, record, _| {
                rows::json_lines(&record.payload, &mut piece);
            })?;
        }
        Ok((!piece.is_empty()).then_some(piece))
    }
}

impl Pipeline {
    fn content_of(&self, runs: &Runs) -> Content {
        Content {
            reader: Reader::new(self.journal.dir()),
            runs: runs.clone(),
        }
    }

    // ---- archive

    /// The rows of a batch that is held; none when the journal does not have it.
    pub fn held(&self, key: &Key, first: u64) -> Option<Content> {
        let mut tables = self.shared.tables.lock();
        let runs = tables.table(key).held(first)?;
        Some(self.content_of(runs))
    }

    /// The archive file of a batch is durable: the journal need not hold it for that any longer.
    pub fn archived(&self, key: &Key, first: u64) -> Result<(), JournalError> {
        let freed = self.shared.tables.lock().table(key).archived(first);
        self.shared.release(freed);
        self.free_segments()
    }

    // ---- files of the watch directory

    /// From now on rows that nobody stores become files, or they do no longer. Rows of an earlier run of the node
    /// wait for their database until `flush_all` asks for them.
    pub fn set_filing(&self, on: bool) {
        let from = on.then_some(self.journal.first_position());
        self.shared.tables.lock().set_filing(from);
        self.shared.due.notify_all();
    }

    /// A database is about to be attached (its server is away), or no longer: its rows wait in the journal, and
    /// become no files.
    pub fn expect(&self, dbms: &str, on: bool) {
        self.shared.tables.lock().expect(dbms, on);
        self.shared.due.notify_all();
    }

    /// Rows that are due and that nobody stores; waits for them up to `timeout`.
    pub fn take_file(&self, timeout: Duration) -> Result<Option<FileBatch>, JournalError> {
        let until = Instant::now() + timeout;
        let mut tables = self.shared.tables.lock();
        let interrupts = self.shared.interrupts();
        loop {
            let now = Instant::now();
            let due = tables.next_file();
            if let Some((at, key)) = due.as_ref()
                && *at <= now
            {
                let Some(runs) = tables.table(key).take_file() else {
                    return Ok(None);
                };
                drop(tables);
                let arrived = self.arrival(&runs);
                return match arrived {
                    Ok(arrival_us) => Ok(Some(file_batch(key, runs, arrival_us))),
                    Err(error) => {
                        self.unfile(key, runs);
                        Err(error)
                    }
                };
            }
            if now >= until || self.shared.interrupts() != interrupts {
                return Ok(None);
            }
            let wake_at = due.map_or(until, |(at, _)| at.min(until));
            self.shared.due.wait_until(&mut tables, wake_at);
        }
    }

    /// When the first record arrived.
    fn arrival(&self, runs: &Runs) -> Result<i64, JournalError> {
        let mut arrival_us = None;
        if let Some(run) = runs.iter().next() {
            Reader::new(self.journal.dir()).each(run, &mut |_, _, meta| {
                arrival_us.get_or_insert(meta.arrival_us);
            })?;
        }
        Ok(arrival_us.unwrap_or_default())
    }

    pub fn content(&self, batch: &FileBatch) -> Content {
        self.content_of(&batch.runs)
    }

    /// The file is durable: note in the journal that it need not keep these rows. Returns when the note is durable.
    pub fn filed(&self, batch: &FileBatch) -> Result<(), JournalError> {
        let (sender, receiver) = bounded(1);
        let note = Filed {
            key: batch.key.clone(),
            ranges: batch.runs.iter().map(|r| (r.first, r.last())).collect(),
        };
        self.shared.charge(TICKET_BYTES);
        let queued = self.journal.append(Entry {
            level: Level::Durable,
            kind: FILED,
            meta: note.encode(),
            payload: Vec::new(),
            control: true,
            followers: 0,
            tag: Tag::Filed {
                key: batch.key.clone(),
                rows: batch.rows,
                done: sender,
            },
        });
        let closed = || JournalError::Failed("the journal is closed".into());
        if !queued {
            self.shared.release(TICKET_BYTES);
            return Err(closed());
        }
        receiver.recv().map_err(|_| closed())??;
        self.shared.release(batch.runs.memory());
        self.free_segments()
    }

    /// The file could not be written now.
    pub fn unfiled(&self, batch: FileBatch) {
        self.unfile(&batch.key, batch.runs);
    }

    fn unfile(&self, key: &Key, runs: Runs) {
        self.shared.tables.lock().table(key).untake(runs);
        self.shared.due.notify_all();
    }
}

fn file_batch(key: &Key, runs: Runs, arrival_us: i64) -> FileBatch {
    let origin = runs.iter().next().map(|run| run.origin.clone());
    FileBatch {
        key: key.clone(),
        origin: origin.unwrap_or_default(),
        first: runs.first().unwrap_or_default(),
        arrival_us,
        rows: runs.rows,
        runs,
    }
}
