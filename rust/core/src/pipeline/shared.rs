//! What all threads of a pipeline share: tables, completions, and how much memory is occupied.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use super::conditions::Conditions;
use super::queue::Queues;
use super::tables::Tables;
use super::{Outcome, SubmitError};
use crate::rows::time::Zone;

pub use super::queue::Wake;

pub(super) struct Shared {
    pub tables: Mutex<Tables>,
    /// A buffer became due, or a database was attached.
    pub due: Condvar,
    pub queues: Queues,
    pub conditions: Conditions,
    occupied_bytes: AtomicUsize,
    pub limit_bytes: usize,
    /// Buffers beyond this: rows stay in the journal alone.
    pub spill_bytes: usize,
    interrupts: AtomicU64,
    /// Flushes are parted by origin.
    pub by_origin: AtomicBool,
    pub zone: Zone,
}

impl Shared {
    pub fn new(limit_bytes: usize, zone: Zone, wake: Wake) -> Self {
        Self {
            tables: Mutex::default(),
            due: Condvar::new(),
            queues: Queues::new(wake),
            conditions: Conditions::default(),
            occupied_bytes: AtomicUsize::new(0),
            limit_bytes,
            spill_bytes: limit_bytes / 2,
            interrupts: AtomicU64::new(0),
            by_origin: AtomicBool::new(false),
            zone,
        }
    }

    pub fn complete(&self, done: impl IntoIterator<Item = (u64, Outcome)>) {
        self.queues.tell(done);
    }

    /// How often those who wait for rows were interrupted.
    pub fn interrupts(&self) -> u64 {
        self.interrupts.load(Ordering::SeqCst)
    }

    /// Whoever waits for rows stops waiting.
    pub fn interrupt(&self) {
        let tables = self.tables.lock();
        self.interrupts.fetch_add(1, Ordering::SeqCst);
        drop(tables);
        self.due.notify_all();
    }

    // ---- memory

    pub fn occupied(&self) -> usize {
        self.occupied_bytes.load(Ordering::Acquire)
    }

    pub fn charge(&self, bytes: usize) {
        self.occupied_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Take room for a payload, or refuse.
    pub fn reserve(&self, bytes: usize) -> Result<(), SubmitError> {
        let before = self.occupied_bytes.fetch_add(bytes, Ordering::AcqRel);
        // A single payload above the limit may pass while nothing else is there.
        if before > 0 && before + bytes > self.limit_bytes {
            self.release(bytes);
            return Err(SubmitError::Overloaded {
                waiting: before as u64,
                limit: self.limit_bytes as u64,
                what: "memory",
            });
        }
        Ok(())
    }

    pub fn release(&self, bytes: usize) {
        let before = self.occupied_bytes.fetch_sub(bytes, Ordering::AcqRel);
        if before - bytes <= self.limit_bytes / 4 * 3 {
            self.tell_room();
        }
    }

    /// Whether there is room; if not, the submitter's completions tell of it under the number `ROOM`.
    pub fn room(&self, submitter: usize, has_room: impl Fn() -> bool) -> bool {
        if has_room() {
            return true;
        }
        self.queues.want_room(submitter);
        // It may have come in between.
        has_room()
    }

    pub fn tell_room(&self) {
        self.queues.tell_room();
    }
}
