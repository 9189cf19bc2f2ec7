//! The log of changes: appending, acknowledging, cleaning.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::bytes::In;
use super::encode::{decode, encode};
use crate::journal::{
    BeforeSync, Entry, Journal, JournalError, Level, Options as JournalOptions, Place, Placed,
    Publish, Record,
};
use crate::mqtt::broker::{Broker, Change, Cursor, Refusal};

/// Record kinds: changes of a round, or a piece of the live state.
const CHANGES: u8 = 1;
/// A log that is smaller than this is never cleaned.
const CLEAN_ABOVE_BYTES: u64 = 16 << 20;
/// Live state written per step, so that a step does not hold up the round.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that may wait for the disk.
const PIECES_WAITING: usize = 4;
/// After a failure the state is written anew, at most this often.
const RETRY: Duration = Duration::from_secs(2);

/// Called on the journal's thread when [`Store::completed`] has something to tell.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone)]
pub struct Options {
    pub dir: PathBuf,
    /// All files together; beyond it what has to be kept is refused.
    pub limit_bytes: u64,
    pub before_sync: Option<BeforeSync>,
}

impl Options {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            limit_bytes: 512 << 20,
            before_sync: None,
        }
    }
}

/// What an entry of the journal is for.
#[derive(Clone, Copy, Debug)]
enum Tag {
    Round(u64),
    Piece { last: bool },
}

#[derive(Default)]
struct Told {
    rounds: VecDeque<(u64, Result<(), Refusal>)>,
    pieces: usize,
    /// The last piece is durable.
    cleaned: bool,
    failed: bool,
    error: String,
}

struct Publisher {
    told: Arc<Mutex<Told>>,
    wake: Wake,
}

/// Pieces of the live state on their way.
struct Cleaning {
    cursor: Cursor,
    /// Segments up to this one hold nothing that is not written again.
    through: u64,
    bytes: u64,
    written: bool,
}

pub struct Store {
    journal: Journal<Tag>,
    told: Arc<Mutex<Told>>,
    wake: Wake,
    cleaning: Option<Cleaning>,
    clean_above: u64,
    /// A write was refused: what is in memory and what is on the disk may differ until the state is written anew.
    unsound: bool,
    retry_at: Instant,
    last_round: u64,
}

impl Store {
    /// Open or create the log in a directory; every change that is there is shown to `apply`, oldest first.
    pub fn open(
        options: &Options,
        wake: Wake,
        apply: &mut dyn FnMut(Change),
    ) -> Result<Self, JournalError> {
        let told = Arc::new(Mutex::new(Told::default()));
        let publisher = Box::new(Publisher {
            told: told.clone(),
            wake: wake.clone(),
        });
        let mut journal_options = JournalOptions::new(&options.dir);
        journal_options.segment_bytes = CLEAN_ABOVE_BYTES / 2;
        journal_options.limit_bytes = options.limit_bytes;
        journal_options.before_sync.clone_from(&options.before_sync);
        let (mut last_round, mut fault) = (0, None);
        let journal = Journal::open(
            &journal_options,
            publisher,
            &mut |place, record| match read(record, apply) {
                Some(round) => last_round = last_round.max(round),
                None => fault = fault.or(Some(place)),
            },
        )?;
        if let Some(place) = fault {
            return Err(unreadable(&options.dir, place));
        }
        let bytes = journal.bytes();
        Ok(Self {
            journal,
            told,
            wake,
            cleaning: None,
            clean_above: CLEAN_ABOVE_BYTES.max(bytes / 2),
            unsound: false,
            retry_at: Instant::now(),
            last_round,
        })
    }

    /// The highest round that is in the log: its numbers go on behind it.
    pub fn last_round(&self) -> u64 {
        self.last_round
    }

    pub fn bytes(&self) -> u64 {
        self.journal.bytes()
    }

    /// Queue the changes of a round. Where nobody's acknowledgement waits for them it is enough that they survive the
    /// process: without the power a message may come twice.
    pub fn append(&mut self, round: u64, changes: &[Change]) {
        let is_light = |c: &Change| matches!(c, Change::Acked { .. });
        let level = if changes.iter().all(is_light) {
            Level::Fast
        } else {
            Level::Durable
        };
        self.last_round = self.last_round.max(round);
        let payload = encoded(changes);
        if !self.push(Tag::Round(round), level, payload, false) {
            self.told
                .lock()
                .rounds
                .push_back((round, Err(Refusal::Failed)));
            (self.wake)();
        }
    }

    /// What became of rounds since the last call, in order, one at a time.
    pub fn completed(&mut self) -> Option<(u64, Result<(), Refusal>)> {
        let mut told = self.told.lock();
        self.unsound |= std::mem::take(&mut told.failed);
        told.rounds.pop_front()
    }

    /// The last failure of the disk; empty when there was none.
    pub fn last_error(&self) -> String {
        self.told.lock().error.clone()
    }

    /// Go on with cleaning, or begin with it where it is due; a small step.
    pub fn clean(&mut self, broker: &Broker) {
        let Some(cleaning) = &mut self.cleaning else {
            if self.is_due() {
                self.cleaning = Some(Cleaning {
                    cursor: Cursor::default(),
                    through: self.journal.segments().last().copied().unwrap_or(0),
                    bytes: 0,
                    written: false,
                });
            }
            return;
        };
        if self.told.lock().failed {
            // Begun anew later, from the first piece on.
            self.cleaning = None;
            self.unsound = true;
            return;
        }
        if !cleaning.written {
            if self.told.lock().pieces >= PIECES_WAITING {
                return;
            }
            let changes = broker.snapshot(&mut cleaning.cursor, PIECE_BYTES);
            let last = cleaning.cursor.is_done();
            let payload = encoded(&changes);
            cleaning.bytes += payload.len() as u64;
            cleaning.written = last;
            self.told.lock().pieces += 1;
            let level = if last { Level::Durable } else { Level::Fast };
            self.push(Tag::Piece { last }, level, payload, true);
        } else if self.told.lock().cleaned {
            self.finish();
        }
    }

    fn is_due(&mut self) -> bool {
        if self.unsound {
            let now = Instant::now();
            let due = now >= self.retry_at;
            if due {
                self.retry_at = now + RETRY;
            }
            return due;
        }
        self.journal.bytes() > self.clean_above
    }

    /// The live state is durable again: what stands before it goes, except the segment that is being written.
    fn finish(&mut self) {
        let Some(cleaning) = &self.cleaning else {
            return;
        };
        let (through, bytes) = (cleaning.through, cleaning.bytes);
        // A file that cannot be deleted now is tried again with the next step.
        if self.journal.remove_through(through).is_ok()
            && !self.journal.segments().contains(&through)
        {
            self.told.lock().cleaned = false;
            self.cleaning = None;
            self.unsound = false;
            self.clean_above = CLEAN_ABOVE_BYTES.max(bytes * 2);
        }
    }

    fn push(&self, tag: Tag, level: Level, payload: Vec<u8>, control: bool) -> bool {
        self.journal.append(Entry {
            level,
            kind: CHANGES,
            meta: self.last_round.to_le_bytes().to_vec(),
            payload,
            control,
            followers: 0,
            tag,
        })
    }

    /// Write what is queued and end. Idempotent.
    pub fn close(&self) {
        self.journal.close();
    }
}

fn encoded(changes: &[Change]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(changes.len() * 32);
    for change in changes {
        encode(&mut payload, change);
    }
    payload
}

/// Show the changes of a record; its round, or `None` when it is not of this version.
fn read(record: &Record, apply: &mut dyn FnMut(Change)) -> Option<u64> {
    let round = u64::from_le_bytes(record.meta.as_slice().try_into().ok()?);
    if record.kind != CHANGES {
        return None;
    }
    let mut fields = In(&record.payload);
    while !fields.is_empty() {
        apply(decode(&mut fields).ok()?);
    }
    Some(round)
}

fn unreadable(dir: &Path, place: Place) -> JournalError {
    JournalError::Damaged {
        path: format!("{} segment {}", dir.display(), place.segment),
        offset: place.offset,
        hint: "it was written by another version; start that version, or move the directory away to begin without its sessions",
    }
}

impl Publisher {
    fn tell(&mut self, group: &mut Vec<Entry<Tag>>, result: Result<(), Refusal>) {
        let mut told = self.told.lock();
        for entry in group.drain(..) {
            match entry.tag {
                Tag::Round(round) => told.rounds.push_back((round, result)),
                Tag::Piece { last } => {
                    told.pieces -= 1;
                    told.cleaned |= last && result.is_ok();
                }
            }
        }
        told.failed |= result.is_err();
        drop(told);
        (self.wake)();
    }
}

impl Publish<Tag> for Publisher {
    fn written(&mut self, _: &mut [Entry<Tag>]) {}

    fn settled(&mut self, group: &mut Vec<Entry<Tag>>, _: Placed) {
        self.tell(group, Ok(()));
    }

    fn failed(&mut self, group: &mut Vec<Entry<Tag>>, _: u64, _: bool, error: &JournalError) {
        let refusal = match error {
            JournalError::Full(_) | JournalError::Limit(_) => Refusal::Full,
            _ => Refusal::Failed,
        };
        self.told.lock().error = error.to_string();
        self.tell(group, Err(refusal));
    }

    fn reached(&mut self, _: Tag) {}

    fn is_idle(&mut self) -> bool {
        false
    }

    fn emptied(&mut self) {}
}
