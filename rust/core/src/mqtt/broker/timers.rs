//! What is due when. An owner keeps the time it asked for, so that its timer can be taken back.

use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// Index of a link.
    KeepAlive(u32),
    /// Index of a session.
    Will(u32),
    /// Index of a session. After `Will`: a will comes at the end of its session at the latest.
    SessionEnd(u32),
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    set: BTreeSet<(u64, Due)>,
}

impl Timers {
    /// Moves a timer; 0 = none.
    pub fn set(&mut self, due: Due, slot: &mut u64, at_ms: u64) {
        if *slot != 0 {
            self.set.remove(&(*slot, due));
        }
        *slot = at_ms;
        if at_ms != 0 {
            self.set.insert((at_ms, due));
        }
    }

    /// Takes the next timer that is due.
    pub fn pop(&mut self, now_ms: u64) -> Option<Due> {
        if self.set.first()?.0 > now_ms {
            return None;
        }
        self.set.pop_first().map(|(_, due)| due)
    }
}
