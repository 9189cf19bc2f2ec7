//! The durable way of a payload: parse, journal, acknowledge, buffer, hand over to the writer (design, section 3).
//!
//! `submit` parses (small payloads at the caller, large ones on workers) and queues for the journal. The journal's
//! thread puts the rows into their table's buffer once they are durable, so buffers are in journal order, and tells
//! the submitter through the completions. A writer takes what is due, commits it with its last position, and says
//! so; a segment whose records are all committed and synced is deleted.
//!
//! Records of a database that nobody has attached stay in the journal and cost no memory: `take` reads them back
//! when somebody does. The same way leads through a restart.

mod buffer;
mod ledger;
mod meta;
mod publish;
mod replay;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::{Condvar, Mutex};

use crate::journal::{Entry, Journal, JournalError, Level, Options as JournalOptions};
use crate::rows::time::Zone;
use crate::rows::{self, Chunk, PayloadError, Schema};

use buffer::Tables;
use ledger::Segments;
use meta::Meta;
use publish::{Publisher, Ticket};
use replay::Replays;

pub use buffer::{Flush, TableStats, Threshold};

/// Payloads up to this are parsed by the caller: handing them over would cost more.
const INLINE_BYTES: usize = 8 * 1024;
/// Record kind of rows as JSON.
const ROWS_JSON: u8 = 1;

/// A logical table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub dbms: String,
    pub table: String,
}

impl Key {
    pub fn new(dbms: &str, table: &str) -> Self {
        Self {
            dbms: dbms.to_owned(),
            table: table.to_owned(),
        }
    }
}

/// What became of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Kept at the level in force: rows, rows kept out, reason of the first of those.
    Stored {
        rows: usize,
        rejected: usize,
        reason: String,
    },
    /// Not JSON, or no rows; nothing was kept.
    Payload(PayloadError),
    Journal(JournalError),
}

/// Why a payload was not even taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("{0}")]
    Payload(PayloadError),
    #[error("{waiting} bytes wait for the disk or the database, the limit is {limit}")]
    Overloaded { waiting: usize, limit: usize },
    #[error("the pipeline is closed")]
    Closed,
}

#[derive(Clone)]
pub struct Options {
    pub journal: JournalOptions,
    /// Threads that parse large payloads.
    pub workers: usize,
    /// Payloads and rows in memory together; beyond it `submit` refuses.
    pub limit_bytes: usize,
    pub zone: Zone,
}

impl Options {
    pub fn new(dir: impl AsRef<Path>, zone: Zone) -> Self {
        Self {
            journal: JournalOptions::new(dir.as_ref()),
            workers: 2,
            limit_bytes: 64 << 20,
            zone,
        }
    }
}

/// Wakes whoever waits for completions. Called on Rust threads, once a group.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What all threads of a pipeline share.
struct Shared {
    tables: Mutex<Tables>,
    /// A buffer became due, or a database was attached.
    due: Condvar,
    replays: Mutex<Replays>,
    segments: Mutex<Segments>,
    completions: Mutex<Vec<(u64, Outcome)>>,
    wake: Wake,
    in_flight_bytes: AtomicUsize,
    limit_bytes: usize,
    zone: Zone,
}

impl Shared {
    fn complete(&self, done: impl IntoIterator<Item = (u64, Outcome)>) {
        let mut completions = self.completions.lock();
        let before = completions.len();
        completions.extend(done);
        let any = completions.len() > before;
        drop(completions);
        if any {
            (self.wake)();
        }
    }

    fn release(&self, bytes: usize) {
        self.in_flight_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}

struct Job {
    ticket: u64,
    meta: Meta,
    payload: Vec<u8>,
}

pub struct Pipeline {
    shared: Arc<Shared>,
    journal: Arc<Journal<Ticket>>,
    next_ticket: AtomicU64,
    jobs: Mutex<Option<Sender<Job>>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

impl Pipeline {
    /// Open the journal and begin. Records that are there wait for their databases to be attached.
    pub fn open(options: &Options, wake: Wake) -> Result<Self, JournalError> {
        let shared = Arc::new(Shared {
            tables: Mutex::default(),
            due: Condvar::new(),
            replays: Mutex::new(Replays::new(&options.journal.dir)),
            segments: Mutex::default(),
            completions: Mutex::default(),
            wake,
            in_flight_bytes: AtomicUsize::new(0),
            limit_bytes: options.limit_bytes,
            zone: options.zone.clone(),
        });
        let publisher = Publisher::new(shared.clone());
        let journal = Journal::open(
            &options.journal,
            |_, _| Box::new(publisher),
            &mut |segment, record| {
                if let (ROWS_JSON, Some(meta)) = (record.kind, Meta::decode(&record.meta)) {
                    shared
                        .segments
                        .lock()
                        .placed(&meta.key, record.position, segment);
                    shared
                        .replays
                        .lock()
                        .push(meta.key, record.position, segment, None);
                }
            },
        )?;
        let journal = Arc::new(journal);
        let (sender, receiver) = unbounded();
        let workers = (0..options.workers.max(1))
            .map(|at| Self::worker(at, &shared, &journal, receiver.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            shared,
            journal,
            next_ticket: AtomicU64::new(1),
            jobs: Mutex::new(Some(sender)),
            workers: Mutex::new(workers),
        })
    }

    fn worker(
        at: usize,
        shared: &Arc<Shared>,
        journal: &Arc<Journal<Ticket>>,
        jobs: Receiver<Job>,
    ) -> Result<JoinHandle<()>, JournalError> {
        let (shared, journal) = (shared.clone(), journal.clone());
        std::thread::Builder::new()
            .name(format!("parse-{at}"))
            .spawn(move || {
                for job in jobs {
                    let bytes = job.payload.len();
                    let parsed = parse(&shared, &job.meta, &job.payload);
                    match parsed {
                        Ok(parsed) => enqueue(&shared, &journal, job, parsed),
                        Err(error) => {
                            shared.release(bytes);
                            shared.complete([(job.ticket, Outcome::Payload(error))]);
                        }
                    }
                }
            })
            .map_err(|e| JournalError::Failed(format!("cannot start a thread: {e}")))
    }

    /// Take a payload of rows for a table; returns the ticket under which its outcome will be told.
    pub fn submit(
        &self,
        key: Key,
        payload: Vec<u8>,
        source: &str,
        instructions: &str,
    ) -> Result<u64, SubmitError> {
        let bytes = payload.len();
        self.reserve(bytes)?;
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let meta = Meta {
            key,
            source: source.to_owned(),
            instructions: instructions.to_owned(),
            arrival_us: now_us(),
        };
        let job = Job {
            ticket,
            meta,
            payload,
        };
        if bytes <= INLINE_BYTES {
            match parse(&self.shared, &job.meta, &job.payload) {
                Ok(parsed) => enqueue(&self.shared, &self.journal, job, parsed),
                Err(error) => {
                    self.shared.release(bytes);
                    return Err(SubmitError::Payload(error));
                }
            }
            return Ok(ticket);
        }
        let sent = (self.jobs.lock().as_ref()).is_some_and(|jobs| jobs.send(job).is_ok());
        if sent {
            return Ok(ticket);
        }
        self.shared.release(bytes);
        Err(SubmitError::Closed)
    }

    fn reserve(&self, bytes: usize) -> Result<(), SubmitError> {
        let limit = self.shared.limit_bytes;
        let before = self
            .shared
            .in_flight_bytes
            .fetch_add(bytes, Ordering::AcqRel);
        // A single payload above the limit may pass while nothing else is there.
        if before > 0 && before + bytes > limit {
            self.shared.release(bytes);
            return Err(SubmitError::Overloaded {
                waiting: before,
                limit,
            });
        }
        Ok(())
    }

    /// Outcomes since the last call: (ticket, outcome).
    pub fn completions(&self) -> Vec<(u64, Outcome)> {
        std::mem::take(&mut self.shared.completions.lock())
    }

    /// Bytes of payloads and rows between `submit` and commit.
    pub fn in_flight_bytes(&self) -> usize {
        self.shared.in_flight_bytes.load(Ordering::Acquire)
    }

    pub fn journal_bytes(&self) -> u64 {
        self.journal.bytes()
    }

    /// The table's schema, by which later payloads are parsed.
    pub fn set_schema(&self, key: &Key, schema: Option<Schema>) {
        self.shared.tables.lock().table(key).schema = schema.map(Arc::new);
    }

    /// How safe a table's payloads are before they are acknowledged.
    pub fn set_level(&self, key: Option<&Key>, level: Level) {
        self.shared.tables.lock().set_level(key, level);
    }

    /// When a buffer is due: of a table, or of all without one of their own.
    pub fn set_threshold(&self, key: Option<&Key>, threshold: Option<Threshold>) {
        self.shared.tables.lock().set_threshold(key, threshold);
        self.shared.due.notify_all();
    }

    /// Somebody stores this database from now on. `watermarks` are the last positions committed by table: what
    /// the journal holds up to them is not given out again.
    pub fn attach(&self, dbms: &str, watermarks: &HashMap<String, u64>) {
        let dropped = self.shared.replays.lock().attach(dbms, watermarks);
        let mut segments = self.shared.segments.lock();
        for (key, position) in &dropped {
            segments.committed(key, *position);
        }
        drop(segments);
        self.shared.tables.lock().attached.insert(dbms.to_owned());
        self.shared.due.notify_all();
    }

    /// Nobody stores this database any more; what is buffered stays in the journal for the next one.
    pub fn detach(&self, dbms: &str) {
        let mut replays = self.shared.replays.lock();
        let mut tables = self.shared.tables.lock();
        tables.attached.remove(dbms);
        let freed = tables.drain(dbms, |key, positions| {
            for (position, segment) in positions {
                replays.push(key.clone(), position, segment, None);
            }
        });
        drop(tables);
        replays.sort(dbms);
        drop(replays);
        self.shared.release(freed);
    }

    /// Rows of this database that are due; waits for them up to `timeout`. Records that wait in the journal come
    /// first. One flush of a table is out at a time; it ends with `committed` or `put_back`.
    pub fn take(&self, dbms: &str, timeout: Duration) -> Result<Option<Flush>, JournalError> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(flush) = self.take_replay(dbms)? {
                return Ok(Some(flush));
            }
            let mut tables = self.shared.tables.lock();
            if let Some(flush) = tables.take_due(dbms, Instant::now()) {
                return Ok(Some(flush));
            }
            let now = Instant::now();
            if now >= until {
                return Ok(None);
            }
            let wake_at = tables.next_due(dbms).map_or(until, |at| at.min(until));
            if wake_at > now {
                self.shared.due.wait_until(&mut tables, wake_at);
            }
        }
    }

    fn take_replay(&self, dbms: &str) -> Result<Option<Flush>, JournalError> {
        let mut replays = self.shared.replays.lock();
        if replays.len(dbms) == 0 {
            return Ok(None);
        }
        // While records wait in the journal nothing is buffered but what was put back, and that is older: given
        // out later, its positions would lie below the watermark of the others.
        if let Some(flush) = self.shared.tables.lock().take_any(dbms) {
            return Ok(Some(flush));
        }
        let schema = |key: &Key| self.shared.tables.lock().table(key).schema.clone();
        replays.take(dbms, &schema, &self.shared.zone)
    }

    /// The rows of a flush are committed, together with its last position.
    pub fn committed(&self, flush: &Flush) {
        self.shared
            .segments
            .lock()
            .committed(&flush.key, flush.last);
        self.shared.tables.lock().committed(flush);
        self.shared.release(flush.in_flight_bytes);
        self.shared.due.notify_all();
    }

    /// The flush could not be stored now: its rows come first in the next one.
    pub fn put_back(&self, flush: Flush) {
        self.shared.tables.lock().put_back(flush);
        self.shared.due.notify_all();
    }

    /// Everything committed so far is on the database's disk: free the segments that hold nothing else.
    pub fn synced(&self, dbms: &str) -> Result<(), JournalError> {
        let free = {
            let mut segments = self.shared.segments.lock();
            segments.synced(dbms);
            segments.free_through(&self.journal.segments())
        };
        match free {
            Some(number) => self.journal.remove_through(number),
            None => Ok(()),
        }
    }

    /// Make every buffer due now.
    pub fn flush_all(&self) {
        self.shared.tables.lock().flush_all();
        self.shared.due.notify_all();
    }

    /// Rows of a database that are accepted and not yet committed (those waiting in the journal count by record).
    pub fn pending(&self, dbms: &str) -> usize {
        self.shared.replays.lock().len(dbms) + self.shared.tables.lock().pending(dbms)
    }

    pub fn stats(&self) -> Vec<(Key, TableStats)> {
        self.shared.tables.lock().stats()
    }

    /// Parse and write what was submitted, then stop. Idempotent.
    pub fn close(&self) {
        drop(self.jobs.lock().take());
        for worker in self.workers.lock().drain(..) {
            // A panic there was reported by the hook; its submitters hear of the close.
            let _ = worker.join();
        }
        self.journal.close();
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.close();
    }
}

fn parse(shared: &Shared, meta: &Meta, payload: &[u8]) -> Result<rows::Parsed, PayloadError> {
    let schema = shared.tables.lock().table(&meta.key).schema.clone();
    rows::parse(payload, schema.as_deref(), &shared.zone)
}

/// Rows to the journal's queue. The rows count as in flight beside their payload until they are committed.
fn enqueue(shared: &Shared, journal: &Journal<Ticket>, job: Job, parsed: rows::Parsed) {
    let chunk_bytes = parsed.chunk.memory_bytes();
    shared
        .in_flight_bytes
        .fetch_add(chunk_bytes, Ordering::AcqRel);
    let stored = Outcome::Stored {
        rows: parsed.chunk.len,
        rejected: parsed.rejected.len(),
        reason: parsed
            .rejected
            .first()
            .map(|r| r.1.clone())
            .unwrap_or_default(),
    };
    let level = {
        let mut tables = shared.tables.lock();
        tables.received(
            &job.meta.key,
            parsed.chunk.len,
            parsed.rejected.len(),
            job.payload.len(),
        );
        tables.level(&job.meta.key)
    };
    if level == Level::Memory {
        shared.complete([(job.ticket, stored.clone())]);
    }
    let accounted = job.payload.len() + chunk_bytes;
    let ticket = Ticket {
        id: job.ticket,
        told: level == Level::Memory,
        stored,
        chunk: parsed.chunk,
        chunk_bytes,
        payload_bytes: job.payload.len(),
        arrival_us: job.meta.arrival_us,
        key: job.meta.key.clone(),
    };
    let queued = journal.append(Entry {
        level,
        kind: ROWS_JSON,
        meta: job.meta.encode(),
        payload: job.payload,
        control: false,
        tag: ticket,
    });
    if !queued {
        shared.release(accounted);
        let closed = JournalError::Failed("the journal is closed".into());
        shared.complete([(job.ticket, Outcome::Journal(closed))]);
    }
}

fn now_us() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_micros() as i64)
}

/// An empty chunk to leave behind.
fn taken(chunk: &mut Chunk) -> Chunk {
    std::mem::take(chunk)
}

#[cfg(test)]
mod tests;
