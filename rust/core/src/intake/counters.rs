//! What came to a client or a topic of it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Counters that many threads add to.
#[derive(Debug, Default)]
pub struct Counters {
    success: AtomicU64,
    errors: AtomicU64,
    last_message_us: AtomicI64,
    last_error: Mutex<(i64, String)>,
}

/// Counters at one moment. Times are microseconds UTC, 0 = never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub messages: u64,
    pub success: u64,
    pub errors: u64,
    pub last_message_us: i64,
    pub last_error_us: i64,
    pub last_error: String,
}

impl Counters {
    pub fn add(&self, success: u64, errors: u64, now_us: i64) {
        self.success.fetch_add(success, Ordering::Relaxed);
        if errors > 0 {
            self.errors.fetch_add(errors, Ordering::Relaxed);
        }
        self.last_message_us.store(now_us, Ordering::Relaxed);
    }

    /// Why the last of the errors that were added happened.
    pub fn set_error(&self, now_us: i64, reason: &str) {
        let mut last = self.last_error.lock();
        last.0 = now_us;
        last.1.clear();
        last.1.push_str(reason);
    }

    pub fn read(&self) -> Counted {
        let (last_error_us, last_error) = self.last_error.lock().clone();
        let success = self.success.load(Ordering::Relaxed);
        let errors = self.errors.load(Ordering::Relaxed);
        Counted {
            messages: success + errors,
            success,
            errors,
            last_message_us: self.last_message_us.load(Ordering::Relaxed),
            last_error_us,
            last_error,
        }
    }
}
