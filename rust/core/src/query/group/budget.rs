//! A bound on memory that several threads share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::error::QueryError;
use super::Result;

/// Small reservations are taken from the shared bound in steps, so that threads seldom meet there.
const STEP_BYTES: usize = 64 * 1024;

/// One holder's part of a shared bound; given back when it is dropped.
#[derive(Debug)]
pub struct Budget {
    shared: Arc<Shared>,
    /// Taken from the bound.
    taken: usize,
    /// Of it, not yet in use.
    left: usize,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit: limit_bytes,
                used: AtomicUsize::new(0),
            }),
            taken: 0,
            left: 0,
        }
    }

    /// Another holder of the same bound.
    pub fn share(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            taken: 0,
            left: 0,
        }
    }

    /// Account for memory that is about to be used.
    #[inline]
    pub fn reserve(&mut self, bytes: usize) -> Result<()> {
        if bytes <= self.left {
            self.left -= bytes;
            return Ok(());
        }
        self.refill(bytes)
    }

    #[cold]
    fn refill(&mut self, bytes: usize) -> Result<()> {
        let missing = bytes - self.left;
        // A small bound is shared out in small steps.
        let step = STEP_BYTES.min(self.shared.limit / 16);
        let wanted = missing.max(step);
        let before = self.shared.used.fetch_add(wanted, Ordering::Relaxed);
        self.taken += wanted;
        if before + wanted > self.shared.limit {
            return Err(QueryError::TooLarge(format!(
                "the groups of the query need more than {} bytes of memory: narrow the time range or group by fewer \
                 columns",
                self.shared.limit
            )));
        }
        self.left += wanted - bytes;
        Ok(())
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.shared.used.fetch_sub(self.taken, Ordering::Relaxed);
    }
}
