//! What all threads of a pipeline share: tables, completions, and how much memory is occupied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use super::tables::Tables;
use super::{Outcome, ROOM, SubmitError};
use crate::rows::time::Zone;

/// Wakes whoever waits for completions. Called on Rust threads, once a group.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

pub(super) struct Shared {
    pub tables: Mutex<Tables>,
    /// A buffer became due, or a database was attached.
    pub due: Condvar,
    completions: Mutex<Vec<(u64, Outcome)>>,
    wake: Wake,
    occupied_bytes: AtomicUsize,
    pub limit_bytes: usize,
    /// Buffers beyond this: rows stay in the journal alone.
    pub spill_bytes: usize,
    room_wanted: AtomicBool,
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
            completions: Mutex::default(),
            wake,
            occupied_bytes: AtomicUsize::new(0),
            limit_bytes,
            spill_bytes: limit_bytes / 2,
            room_wanted: AtomicBool::new(false),
            interrupts: AtomicU64::new(0),
            by_origin: AtomicBool::new(false),
            zone,
        }
    }

    pub fn complete(&self, done: impl IntoIterator<Item = (u64, Outcome)>) {
        let mut completions = self.completions.lock();
        let before = completions.len();
        completions.extend(done);
        let any = completions.len() > before;
        drop(completions);
        if any {
            (self.wake)();
        }
    }

    pub fn completions(&self) -> Vec<(u64, Outcome)> {
        std::mem::take(&mut self.completions.lock())
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

    /// Whether there is room; if not, completions tell of it under the number `ROOM`.
    pub fn room(&self, has_room: impl Fn() -> bool) -> bool {
        if has_room() {
            return true;
        }
        self.room_wanted.store(true, Ordering::SeqCst);
        // It may have come in between.
        has_room()
    }

    pub fn tell_room(&self) {
        if self.room_wanted.load(Ordering::SeqCst) && self.room_wanted.swap(false, Ordering::SeqCst)
        {
            self.complete([(ROOM, Outcome::Passed)]);
        }
    }
}
