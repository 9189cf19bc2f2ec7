//! The durable way of a payload: parse, journal, acknowledge, buffer, hand over to the writer (design, section 3).
//!
//! `submit` parses (small payloads at the caller, large ones on workers) and queues for the journal. The journal's
//! thread puts the rows into their table's buffer once they are durable, so buffers are in journal order, and tells
//! the submitter through the completions. A writer takes what is due, commits it with its last position, and says
//! so; a segment whose records are all committed, synced and archived is deleted.
//!
//! Records of a database that nobody has attached, and rows that come faster than they are stored, stay in the
//! journal and cost a few bytes of memory: `take` reads them back. The same way leads through a restart.
//!
//! Locks: only one is held at a time, except that the journal's own are taken inside the tables'.

mod conditions;
mod entries;
mod files;
mod flush;
mod mapped;
mod meta;
mod positions;
mod publish;
mod queue;
mod receipts;
mod run;
mod shared;
mod store;
mod table;
mod tables;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

use crate::journal::{Journal, JournalError, Level, Options as JournalOptions};
use crate::mapping::CompileError;
use crate::rows::time::Zone;
use crate::rows::{self, Chunk, ColumnDef, PayloadError, Schema};

use entries::enqueue;
use meta::{Filed, Meta};
use publish::{Publisher, Tag};
use run::{Reader, Run};
use shared::Shared;

pub use conditions::{Action, Then};
pub use files::{Content, FileBatch};
pub use flush::{Flush, Part, Threshold, Unread};
pub use mapped::{MappedRows, Ready, Submitter};
pub use positions::Position;
pub use receipts::Receipts;
pub use run::Origin;
pub use shared::Wake;
pub use store::{Batch, Ended};
pub use table::TableStats;

/// Payloads up to this are parsed by the caller: handing them over would cost more.
const INLINE_BYTES: usize = 8 * 1024;
/// Record kinds: rows as JSON; the note that rows became a file; receipts without their rows; positions of sources.
const ROWS_JSON: u8 = 1;
const FILED: u8 = 2;
const RECEIPTS: u8 = 3;
const POSITIONS: u8 = 4;
/// What a journal that nobody needs may keep on the disk.
const IDLE_BYTES: u64 = 256 << 10;
/// What a payload costs on its way beside its bytes and rows.
const TICKET_BYTES: usize = 512;
/// The number under which completions tell that there is room again.
pub const ROOM: u64 = 0;

/// The number under which the first submitter is told that commands wait (`take_actions`).
pub const ACTIONS: u64 = (1 << 48) - 1;

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
    /// What was waited for has come: a flush, or room.
    Passed,
}

/// Why a payload was not even taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("{0}")]
    Payload(PayloadError),
    #[error("{waiting} bytes of {what} wait for the disk or the database, the limit is {limit}")]
    Overloaded {
        waiting: u64,
        limit: u64,
        what: &'static str,
    },
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

struct Job {
    ticket: u64,
    key: Key,
    origin: Origin,
    arrival_us: i64,
    payload: Vec<u8>,
    /// What was reserved for it.
    charged: usize,
}

pub struct Pipeline {
    shared: Arc<Shared>,
    journal: Arc<Journal<Tag>>,
    next_ticket: AtomicU64,
    jobs: Mutex<Option<Sender<Job>>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

impl Pipeline {
    /// Open the journal and begin. Records that are there wait for their databases to be attached.
    pub fn open(options: &Options, wake: Wake) -> Result<Self, JournalError> {
        let shared = Arc::new(Shared::new(options.limit_bytes, options.zone.clone(), wake));
        let publisher = Box::new(Publisher::new(shared.clone()));
        let mut unread = Ok(());
        let journal = Journal::open(&options.journal, publisher, &mut |place, record| {
            let mut tables = shared.tables.lock();
            if let (ROWS_JSON, Some(meta)) = (record.kind, Meta::decode(&record.meta)) {
                let (rows, origin) = (u64::from(meta.rows), Arc::new(meta.origin));
                let run = Run::new(record.position, rows, place, origin);
                let table = tables.table(&meta.key);
                table.declare(&meta.declared);
                table.recover(run, meta.booked);
                tables.receipts.add(place.segment, meta.receipts);
            } else if let (RECEIPTS, Some(all)) =
                (record.kind, receipts::decode_all(&record.payload))
            {
                for receipts in all {
                    tables.receipts.add(place.segment, receipts);
                }
            } else if let (POSITIONS, Some(all)) =
                (record.kind, positions::decode_all(&record.payload))
            {
                tables.positions.add(place.segment, all);
            } else if let (FILED, Some(filed)) = (record.kind, Filed::decode(&record.meta)) {
                let table = tables.table(&filed.key);
                for (first, last) in filed.ranges {
                    let mut reader = Reader::new(&options.journal.dir);
                    match table.waiting().take_range(first, last, &mut reader) {
                        Ok(runs) => table.stats.recovered -= runs.rows,
                        Err(error) => unread = Err(error),
                    }
                }
            }
        })?;
        unread?;
        let waiting: usize = shared.tables.lock().waiting_memory();
        shared.charge(waiting);
        let journal = Arc::new(journal);
        let (sender, receiver) = unbounded();
        let workers = (0..options.workers.max(1))
            .map(|at| Self::worker(at, &shared, &journal, receiver.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            shared,
            journal,
            next_ticket: AtomicU64::new(ROOM + 1),
            jobs: Mutex::new(Some(sender)),
            workers: Mutex::new(workers),
        })
    }

    fn worker(
        at: usize,
        shared: &Arc<Shared>,
        journal: &Arc<Journal<Tag>>,
        jobs: Receiver<Job>,
    ) -> Result<JoinHandle<()>, JournalError> {
        let (shared, journal) = (shared.clone(), journal.clone());
        std::thread::Builder::new()
            .name(format!("parse-{at}"))
            .spawn(move || {
                for job in jobs {
                    match parse(&shared, &job.key, &job.payload) {
                        Ok(parsed) => enqueue(&shared, &journal, job.with(parsed)),
                        Err(error) => {
                            shared.release(job.charged);
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
        // Rows take about as much memory as their text; what they really take is known after parsing.
        let charged = payload.len() * 2 + TICKET_BYTES;
        self.check_journal(payload.len())?;
        self.shared.reserve(charged)?;
        let inline = payload.len() <= INLINE_BYTES;
        let job = Job {
            ticket: self.ticket(),
            key,
            origin: Origin {
                source: source.to_owned(),
                instructions: instructions.to_owned(),
            },
            arrival_us: now_us(),
            payload,
            charged,
        };
        let ticket = job.ticket;
        if inline {
            match parse(&self.shared, &job.key, &job.payload) {
                Ok(parsed) => enqueue(&self.shared, &self.journal, job.with(parsed)),
                Err(error) => {
                    self.shared.release(charged);
                    return Err(SubmitError::Payload(error));
                }
            }
            return Ok(ticket);
        }
        let sent = (self.jobs.lock().as_ref()).is_some_and(|jobs| jobs.send(job).is_ok());
        if sent {
            return Ok(ticket);
        }
        self.shared.release(charged);
        Err(SubmitError::Closed)
    }

    fn ticket(&self) -> u64 {
        self.next_ticket.fetch_add(1, Ordering::Relaxed)
    }

    /// Refuse early what the journal has no room for: rows that nobody stores, or too slowly.
    fn check_journal(&self, bytes: usize) -> Result<(), SubmitError> {
        let (waiting, limit) = (self.journal.bytes(), self.journal.limit_bytes());
        if waiting + bytes as u64 <= limit {
            return Ok(());
        }
        Err(SubmitError::Overloaded {
            waiting,
            limit,
            what: "the journal",
        })
    }

    /// Whether a payload of this size would be taken now. If not, completions tell when there is more room: under the
    /// number `ROOM`.
    pub fn has_room(&self, payload_bytes: usize) -> bool {
        self.has_room_for(0, payload_bytes)
    }

    fn has_room_for(&self, submitter: usize, payload_bytes: usize) -> bool {
        let memory = payload_bytes * 2 + TICKET_BYTES;
        let reserve = (self.journal.limit_bytes() / 16) as usize;
        self.shared.room(submitter, || {
            let occupied = self.shared.occupied();
            (occupied == 0 || occupied + memory <= self.shared.limit_bytes)
                && self.check_journal(payload_bytes.max(reserve)).is_ok()
        })
    }

    /// Outcomes since the last call: (ticket, outcome).
    pub fn completions(&self) -> Vec<(u64, Outcome)> {
        self.shared.queues.take(0)
    }

    /// Memory of payloads and rows between `submit` and commit, and of the list of what waits in the journal.
    pub fn occupied_bytes(&self) -> usize {
        self.shared.occupied()
    }

    pub fn journal_bytes(&self) -> u64 {
        self.journal.bytes()
    }

    /// The table's schema, by which later payloads are parsed.
    pub fn set_schema(&self, key: &Key, schema: Option<Schema>) {
        self.shared.tables.lock().table(key).set_schema(schema);
    }

    /// Types that the table gets for columns that it does not have yet, whatever their first values look like. The
    /// journal keeps them with the rows; the first declaration of a column counts.
    pub fn declare(&self, key: &Key, columns: &[ColumnDef]) {
        self.shared.tables.lock().table(key).declare(columns);
    }

    /// What was declared for the table.
    pub fn declared(&self, key: &Key) -> Vec<ColumnDef> {
        let mut tables = self.shared.tables.lock();
        tables.table(key).declared().columns.clone()
    }

    /// How safe payloads are before they are acknowledged. An empty table means the database, an empty database the
    /// node; none: as the wider scope says.
    pub fn set_level(&self, scope: Key, level: Option<Level>) {
        self.shared.tables.lock().set_level(scope, level);
    }

    /// When the next buffer of a table is due; scopes as in `set_level`.
    pub fn set_threshold(&self, scope: Key, threshold: Option<Threshold>) {
        self.shared.tables.lock().set_threshold(scope, threshold);
        self.shared.due.notify_all();
    }

    /// Make everything due now, and whoever waits in `take` or `take_file` look again at once.
    pub fn hurry(&self) {
        self.shared.tables.lock().force();
        self.shared.interrupt();
    }

    /// Make everything due; completions tell under the returned number when all that was submitted before is stored.
    pub fn flush_all(&self) -> u64 {
        let ticket = self.ticket();
        if !self.journal.mark(Tag::Flush { ticket }) {
            self.shared.complete([(ticket, Outcome::Passed)]);
        }
        ticket
    }

    // ---- streaming conditions

    /// Look at every row of a table before it is buffered, behind the conditions that are there. `limit`: how often
    /// it acts.
    pub fn add_condition(
        &self,
        key: &Key,
        id: u32,
        condition: &str,
        then: Then,
        limit: Option<u64>,
    ) -> Result<(), CompileError> {
        self.shared.conditions.add(key, id, condition, then, limit)
    }

    pub fn remove_condition(&self, key: &Key, id: u32) {
        self.shared.conditions.remove(key, id);
    }

    /// A command that somebody is to run.
    pub fn act(&self, action: Action) {
        if self.shared.conditions.act(action) {
            self.shared.complete([(ACTIONS, Outcome::Passed)]);
        }
    }

    /// Commands since the last call, and how many were dropped because too many waited.
    pub fn take_actions(&self) -> (Vec<Action>, u64) {
        self.shared.conditions.take()
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

fn parse(shared: &Shared, key: &Key, payload: &[u8]) -> Result<rows::Parsed, PayloadError> {
    let schema = shared.tables.lock().schema(key);
    rows::parse(payload, schema.as_deref(), &shared.zone)
}

/// Rows on their way to the journal's queue.
struct Record {
    ticket: u64,
    key: Key,
    origin: Origin,
    arrival_us: i64,
    /// JSON of the rows.
    payload: Vec<u8>,
    chunk: Chunk,
    /// Rows of the payload that are not in the chunk, and the first reason.
    rejected: usize,
    reason: String,
    receipts: Receipts,
    /// What is reserved for it.
    charged: usize,
}

impl Job {
    fn with(self, parsed: rows::Parsed) -> Record {
        let rejected = parsed.rejected.len();
        let first = parsed.rejected.into_iter().next();
        Record {
            ticket: self.ticket,
            key: self.key,
            origin: self.origin,
            arrival_us: self.arrival_us,
            payload: self.payload,
            chunk: parsed.chunk,
            rejected,
            reason: first.map(|(_, reason)| reason).unwrap_or_default(),
            receipts: Receipts::default(),
            charged: self.charged,
        }
    }
}

/// Microseconds UTC: when something arrives.
pub fn now_us() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_micros() as i64)
}

#[cfg(test)]
mod tests;
