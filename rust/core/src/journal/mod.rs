//! The journal: what was accepted, durable before it is acknowledged (design, section 3).
//!
//! A directory of segment files. One thread takes whatever has queued up, gives it consecutive positions, writes it
//! with one call, syncs once and hands it to the [`Publish`]er: a slow disk makes larger groups by itself. No timer;
//! only when fewer records came than were acknowledged together last, it waits for the others up to a quarter of the
//! time that the last sync took (64 senders of single rows over a busy disk: 1.4 times the rows/s; bodies: no change).
//!
//! Measured on the build machine (ext4, fdatasync after 250 bytes): appending 160 us and 14 KiB on the disk, over zeros
//! written before 90 us and 6 KiB; after 4 KiB both write the same, after 16 KiB zeros half as much again. So they are
//! written ahead of small groups only, 64 KiB at a time (`padding`). A segment ends with its last record all the same,
//! but for the one that a crash leaves, whose zeros are cut off like a torn end.
//!
//! Positions grow for ever: a journal that is opened again goes on at least 2^32 above its last record, and at the
//! microsecond of the clock if that is later. So a position that a database has seen (level `fast`, power loss) is
//! never given again to another record, even when the journal lost its end.

mod padding;
mod queue;
mod record;
mod recover;
mod segment;
mod writer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

pub use queue::Entry;
pub use record::Record;
pub(crate) use segment::sync_dir;
pub use segment::{JournalId, ReadError, SegmentReader};

use queue::Queue;
use writer::Writer;

/// How safe a record is before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Acknowledged when it is queued.
    Memory,
    /// Acknowledged when the system has it: survives the process, not the power.
    Fast,
    /// Acknowledged when the disk has it.
    Durable,
}

/// Called before each sync; an error counts as the sync's. Tests and benches slow the disk or break it with it.
pub type BeforeSync = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

#[derive(Clone)]
pub struct Options {
    pub dir: PathBuf,
    /// A new segment begins when one is this large (an eighth of the limit at most).
    pub segment_bytes: u64,
    /// All segments together; beyond it records are refused as on a full disk.
    pub limit_bytes: u64,
    /// What one write takes from the queue at most (a larger record goes alone).
    pub group_bytes: usize,
    pub before_sync: Option<BeforeSync>,
}

impl Options {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            limit_bytes: 1 << 30,
            group_bytes: 8 << 20,
            before_sync: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The disk has no room: nothing of the group was kept; it goes on when there is room again.
    #[error("{0}")]
    Full(String),
    /// The journal has reached its byte limit: nothing of the group was kept.
    #[error("{0}")]
    Limit(String),
    /// A write or sync failed. Nothing is accepted until the journal is opened anew.
    #[error("{0}")]
    Failed(String),
    /// Bytes that had been synced cannot be read back.
    #[error("{path}: damaged record at byte {offset}; {hint}")]
    Damaged {
        path: String,
        offset: u64,
        hint: &'static str,
    },
    #[error("{path}: {error}")]
    Io { path: String, error: String },
}

impl JournalError {
    fn io(path: &Path, error: &io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            error: error.to_string(),
        }
    }
}

/// Where a group went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Position of the group's first record; the others follow without gaps.
    pub first: u64,
    pub segment: u64,
    /// Offset of the first record; the others follow without gaps.
    pub start: u64,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub segment: u64,
    pub offset: u64,
    pub bytes: u64,
}

/// What happens to records once they are written. Called on the journal's thread.
pub trait Publish<T>: Send + 'static {
    /// The group is with the system: records of level `fast` may be acknowledged.
    fn written(&mut self, group: &mut [Entry<T>]);
    /// The group is durable (or holds no record that asked for it).
    fn settled(&mut self, group: &mut Vec<Entry<T>>, placed: Placed);
    /// The group was refused. Its positions, from `first` on, are not given again. `written` says whether
    /// [`Publish::written`] has been called for it.
    fn failed(
        &mut self,
        group: &mut Vec<Entry<T>>,
        first: u64,
        written: bool,
        error: &JournalError,
    );
    /// Everything that was queued before this mark is settled or failed.
    fn reached(&mut self, mark: T);
    /// Whether nobody needs any record that was settled.
    fn is_idle(&mut self) -> bool;
    /// The segment was emptied.
    fn emptied(&mut self);
}

/// Files and sizes of the segments; shared with those who free and read them.
#[derive(Default)]
struct Segments {
    /// (number, bytes), ascending; the last one is being written.
    sizes: Vec<(u64, u64)>,
}

/// A journal that is open for writing.
pub struct Journal<T: Send + 'static> {
    dir: PathBuf,
    first_position: u64,
    limit_bytes: u64,
    queue: Arc<Queue<T>>,
    segments: Arc<Mutex<Segments>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<File>>,
}

impl<T: Send + 'static> Journal<T> {
    /// Open or create. Every record that is there is checked and shown to `visit`, oldest first;
    /// a torn end is cut off. Writing begins in a new segment.
    pub fn open(
        options: &Options,
        publisher: Box<dyn Publish<T>>,
        visit: &mut dyn FnMut(Place, &Record),
    ) -> Result<Self, JournalError> {
        let dir = &options.dir;
        let failed = |e: &io::Error| JournalError::io(dir, e);
        std::fs::create_dir_all(dir).map_err(|e| failed(&e))?;
        let lock = lock(dir)?;
        let recovered = recover::recover(dir, visit)?;
        let id = recovered
            .id
            .map_or_else(random_id, Ok)
            .map_err(|e| failed(&e))?;
        let first_position = recover::next_position(recovered.last_position);
        let number = recovered.sizes.last().map_or(1, |s| s.0 + 1);
        let segments = Arc::new(Mutex::new(Segments {
            sizes: recovered.sizes,
        }));
        let queue = Arc::new(Queue::default());
        let writer = Writer::open(
            options,
            id,
            number,
            first_position,
            segments.clone(),
            publisher,
        )?;
        let thread = {
            let queue = queue.clone();
            std::thread::Builder::new()
                .name("journal".into())
                .spawn(move || writer.run(&queue))
                .map_err(|e| failed(&e))?
        };
        Ok(Self {
            dir: dir.clone(),
            first_position,
            limit_bytes: options.limit_bytes,
            queue,
            segments,
            thread: Mutex::new(Some(thread)),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// First position that this opening gives.
    pub fn first_position(&self) -> u64 {
        self.first_position
    }

    /// Queue a record. False when the journal is closed.
    pub fn append(&self, entry: Entry<T>) -> bool {
        self.queue.push(entry)
    }

    /// Queue records that belong together: they are in one group, with one write and one sync, and after a crash all of
    /// them are there or none is. Gives them back when the journal is closed.
    pub fn append_all(&self, entries: Vec<Entry<T>>) -> Result<(), Vec<Entry<T>>> {
        self.queue.push_all(entries)
    }

    /// Queue a mark, which is not written: [`Publish::reached`] is called in its turn. False when the journal is closed.
    pub fn mark(&self, tag: T) -> bool {
        self.queue.push_mark(tag)
    }

    /// Empty the segment that is being written, if nobody needs its records: it gives its room back without waiting
    /// for the next segment, for which a full disk may have no room.
    pub fn rewind(&self) {
        self.queue.request_rewind();
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.lock().sizes.iter().map(|s| s.1).sum()
    }

    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    pub fn segments(&self) -> Vec<u64> {
        self.segments.lock().sizes.iter().map(|s| s.0).collect()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Delete segments up to `number`, oldest first, never the one that is being written; whether any was there.
    pub fn remove_through(&self, number: u64) -> Result<bool, JournalError> {
        let mut segments = self.segments.lock();
        let before = segments.sizes.len();
        while segments.sizes.len() > 1 && segments.sizes[0].0 <= number {
            let path = segment::path(&self.dir, segments.sizes[0].0);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(JournalError::io(&path, &error));
                }
                _ => {}
            }
            segments.sizes.remove(0);
            // In order even if the power fails: a later segment may hold the records that close an earlier one.
            segment::sync_dir(&self.dir).map_err(|e| JournalError::io(&self.dir, &e))?;
        }
        Ok(segments.sizes.len() < before)
    }

    /// Write what is queued, end the thread and leave the directory to others. Idempotent.
    pub fn close(&self) {
        self.queue.close();
        if let Some(thread) = self.thread.lock().take() {
            // A panic on that thread has been reported by the panic hook; there is nothing to add here.
            let _ = thread.join();
        }
        drop(self.lock.lock().take());
    }
}

impl<T: Send + 'static> Drop for Journal<T> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Keeps a second process (or a second node of this one) from writing here.
fn lock(dir: &Path) -> Result<File, JournalError> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(|e| JournalError::io(&path, &e))?;
    file.try_lock().map_err(|e| match e {
        std::fs::TryLockError::WouldBlock => JournalError::Io {
            path: path.display().to_string(),
            error: "another node uses this journal; give each node a directory of its own".into(),
        },
        std::fs::TryLockError::Error(error) => JournalError::io(&path, &error),
    })?;
    Ok(file)
}

fn random_id() -> io::Result<JournalId> {
    use std::io::Read;
    let mut id = JournalId::default();
    File::open("/dev/urandom")?.read_exact(&mut id)?;
    Ok(id)
}

#[cfg(test)]
mod tests;
