//! What waits for the journal thread.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Level, record};

/// A record on its way into the journal. `tag` is the publisher's.
#[derive(Debug)]
pub struct Entry<T> {
    pub level: Level,
    pub kind: u8,
    pub meta: Vec<u8>,
    pub payload: Vec<u8>,
    /// May be written beyond the journal's byte limit: records that help to free segments.
    pub control: bool,
    /// Entries behind this one that belong together with it; `Journal::append_all` counts them.
    pub followers: u32,
    pub tag: T,
}

impl<T> Entry<T> {
    pub fn bytes(&self) -> usize {
        record::HEADER + self.meta.len() + self.payload.len()
    }
}

struct Waiting<T> {
    entries: VecDeque<Item<T>>,
    rewind: bool,
    closed: bool,
    /// The thread sleeps until so many entries are there; 0 = it doesn't sleep.
    wanted: usize,
}

/// What the thread does next.
pub(super) enum Next<T> {
    Write,
    /// Everything queued before has been dealt with.
    Mark(T),
    Rewind,
    End,
}

enum Item<T> {
    Entry(Entry<T>),
    /// Stays with the entry before it.
    Joined(Entry<T>),
    Mark(T),
}

pub(super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    ready: Condvar,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                entries: VecDeque::new(),
                rewind: false,
                closed: false,
                wanted: 0,
            }),
            ready: Condvar::new(),
        }
    }
}

impl<T> Queue<T> {
    pub fn push(&self, entry: Entry<T>) -> bool {
        self.push_item(Item::Entry(entry))
    }

    /// Entries of one group, whatever its size. Gives them back when the queue is closed.
    pub fn push_all(&self, entries: Vec<Entry<T>>) -> Result<(), Vec<Entry<T>>> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(entries);
        }
        let count = entries.len() as u32;
        let mut entries = entries.into_iter().enumerate().map(|(at, mut entry)| {
            entry.followers = count - 1 - at as u32;
            entry
        });
        waiting.entries.extend(entries.next().map(Item::Entry));
        waiting.entries.extend(entries.map(Item::Joined));
        self.wake(waiting);
        Ok(())
    }

    pub fn push_mark(&self, tag: T) -> bool {
        self.push_item(Item::Mark(tag))
    }

    fn push_item(&self, item: Item<T>) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return false;
        }
        waiting.entries.push_back(item);
        self.wake(waiting);
        true
    }

    pub fn request_rewind(&self) {
        let mut waiting = self.waiting.lock();
        waiting.rewind = true;
        self.wake(waiting);
    }

    pub fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        self.wake(waiting);
    }

    /// A system call only if the thread sleeps and has what it waits for; during a sync it doesn't sleep.
    fn wake(&self, mut waiting: parking_lot::MutexGuard<'_, Waiting<T>>) {
        let enough = waiting.entries.len() >= waiting.wanted || waiting.closed || waiting.rewind;
        if waiting.wanted > 0 && enough {
            waiting.wanted = 0;
            drop(waiting);
            self.ready.notify_one();
        }
    }

    /// Wait for work and move one group's worth into `group`. While there is less than `companions` it waits a little
    /// longer, for `patience` at most.
    pub fn take(
        &self,
        group: &mut Vec<Entry<T>>,
        max_bytes: usize,
        companions: usize,
        patience: Duration,
    ) -> Next<T> {
        let mut waiting = self.waiting.lock();
        loop {
            if !waiting.entries.is_empty() {
                if waiting.entries.len() < companions && !patience.is_zero() && !waiting.closed {
                    waiting.wanted = companions;
                    self.ready.wait_for(&mut waiting, patience);
                    waiting.wanted = 0;
                }
                break;
            }
            if std::mem::take(&mut waiting.rewind) {
                return Next::Rewind;
            }
            if waiting.closed {
                return Next::End;
            }
            waiting.wanted = 1;
            self.ready.wait(&mut waiting);
        }
        let mut bytes = 0;
        while let Some(item) = waiting.entries.pop_front() {
            match item {
                Item::Entry(entry) => {
                    bytes += entry.bytes();
                    if bytes > max_bytes && !group.is_empty() {
                        waiting.entries.push_front(Item::Entry(entry));
                        break;
                    }
                    group.push(entry);
                }
                Item::Joined(entry) => {
                    bytes += entry.bytes();
                    group.push(entry);
                }
                Item::Mark(tag) if group.is_empty() => return Next::Mark(tag),
                mark @ Item::Mark(_) => {
                    waiting.entries.push_front(mark);
                    break;
                }
            }
        }
        Next::Write
    }
}
