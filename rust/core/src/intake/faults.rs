//! Messages that could not be mapped, for the error log: the first ones of each second or so, and how many more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Kept until they are taken.
const KEPT: usize = 64;
/// Shown of a payload.
const SHOWN_BYTES: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Id of the client.
    pub client: u32,
    pub topic: String,
    /// The first bytes of the payload.
    pub start: Vec<u8>,
    /// The reference's number.
    pub code: u16,
    pub reason: String,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    list: Mutex<VecDeque<Fault>>,
    len: AtomicUsize,
    missed: AtomicU64,
}

impl Faults {
    pub fn add(&self, client: u32, topic: &str, payload: &[u8], code: u16, reason: &str) {
        if self.len.load(Ordering::Relaxed) >= KEPT {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut list = self.list.lock();
        list.push_back(Fault {
            client,
            topic: topic.to_owned(),
            start: payload[..payload.len().min(SHOWN_BYTES)].to_vec(),
            code,
            reason: reason.to_owned(),
        });
        self.len.store(list.len(), Ordering::Relaxed);
    }

    /// Those since the last call, and how many there were besides.
    pub fn take(&self) -> (Vec<Fault>, u64) {
        let mut list = self.list.lock();
        self.len.store(0, Ordering::Relaxed);
        let taken = list.drain(..).collect();
        (taken, self.missed.swap(0, Ordering::Relaxed))
    }
}
