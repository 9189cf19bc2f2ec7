//! Outcomes on their way back to who asked for them: a queue for each submitter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use super::{Outcome, ROOM};

/// Wakes whoever waits for completions. Called on Rust threads, once a group.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Tickets carry their submitter above these bits.
const NUMBER_BITS: u32 = 48;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;

struct Queue {
    told: Mutex<Vec<(u64, Outcome)>>,
    wake: Wake,
    room_wanted: AtomicBool,
}

impl Queue {
    fn new(wake: Wake) -> Arc<Self> {
        Arc::new(Self {
            told: Mutex::default(),
            wake,
            room_wanted: AtomicBool::new(false),
        })
    }

    fn push(&self, outcomes: &mut Vec<(u64, Outcome)>) {
        if !outcomes.is_empty() {
            self.told.lock().append(outcomes);
            (self.wake)();
        }
    }
}

/// The queues of all submitters. The first one is there from the start and stays.
pub(super) struct Queues {
    all: RwLock<Vec<Option<Arc<Queue>>>>,
    /// How many wait for room.
    wanting: AtomicUsize,
}

/// The ticket of a submitter's number.
pub(super) fn ticket(submitter: usize, number: u64) -> u64 {
    (submitter as u64) << NUMBER_BITS | number & NUMBER
}

impl Queues {
    pub fn new(wake: Wake) -> Self {
        Self {
            all: RwLock::new(vec![Some(Queue::new(wake))]),
            wanting: AtomicUsize::new(0),
        }
    }

    pub fn add(&self, wake: Wake) -> usize {
        let mut all = self.all.write();
        let queue = Some(Queue::new(wake));
        if let Some(free) = all.iter().position(Option::is_none) {
            all[free] = queue;
            return free;
        }
        all.push(queue);
        all.len() - 1
    }

    /// What is told to it from now on is dropped.
    pub fn remove(&self, submitter: usize) {
        let removed = self.all.write().get_mut(submitter).and_then(Option::take);
        if removed.is_some_and(|queue| queue.room_wanted.swap(false, Ordering::SeqCst)) {
            self.wanting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn get(&self, submitter: usize) -> Option<Arc<Queue>> {
        self.all.read().get(submitter)?.clone()
    }

    /// Outcomes by ticket.
    pub fn tell(&self, done: impl IntoIterator<Item = (u64, Outcome)>) {
        let mut own = Vec::new();
        let mut whose = 0;
        for (ticket, outcome) in done {
            let submitter = (ticket >> NUMBER_BITS) as usize;
            if submitter != whose {
                self.push(whose, &mut own);
                whose = submitter;
            }
            own.push((ticket & NUMBER, outcome));
        }
        self.push(whose, &mut own);
    }

    fn push(&self, submitter: usize, outcomes: &mut Vec<(u64, Outcome)>) {
        if let Some(queue) = self.get(submitter) {
            queue.push(outcomes);
        }
        outcomes.clear();
    }

    /// Outcomes of a submitter since the last call.
    pub fn take(&self, submitter: usize) -> Vec<(u64, Outcome)> {
        self.get(submitter)
            .map(|queue| std::mem::take(&mut *queue.told.lock()))
            .unwrap_or_default()
    }

    // ---- room

    pub fn want_room(&self, submitter: usize) {
        if let Some(queue) = self.get(submitter)
            && !queue.room_wanted.swap(true, Ordering::SeqCst)
        {
            self.wanting.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub fn tell_room(&self) {
        if self.wanting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let all = self.all.read().clone();
        for queue in all.into_iter().flatten() {
            if queue.room_wanted.swap(false, Ordering::SeqCst) {
                self.wanting.fetch_sub(1, Ordering::SeqCst);
                queue.push(&mut vec![(ROOM, Outcome::Passed)]);
            }
        }
    }
}
