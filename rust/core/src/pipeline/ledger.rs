//! Which segments still hold records that their databases don't have on disk.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::Key;

#[derive(Default)]
pub struct Segments {
    /// Records of a table that are not committed, in order: (position, segment).
    open: HashMap<Key, VecDeque<(u64, u64)>>,
    /// Records of a database that are committed but perhaps not on disk, by segment.
    unsynced: HashMap<String, HashMap<u64, usize>>,
    /// Records of a segment that are needed still.
    needed: BTreeMap<u64, usize>,
}

impl Segments {
    pub fn placed(&mut self, key: &Key, position: u64, segment: u64) {
        match self.open.get_mut(key) {
            Some(open) => open.push_back((position, segment)),
            None => {
                self.open
                    .insert(key.clone(), VecDeque::from([(position, segment)]));
            }
        }
        *self.needed.entry(segment).or_default() += 1;
    }

    /// Records of a table up to `position` are committed.
    pub fn committed(&mut self, key: &Key, position: u64) {
        let Some(open) = self.open.get_mut(key) else {
            return;
        };
        let unsynced = self.unsynced.entry(key.dbms.clone()).or_default();
        while let Some(&(at, segment)) = open.front()
            && at <= position
        {
            open.pop_front();
            *unsynced.entry(segment).or_default() += 1;
        }
    }

    /// What a database has committed is on its disk.
    pub fn synced(&mut self, dbms: &str) {
        for (segment, records) in self.unsynced.remove(dbms).unwrap_or_default() {
            if let Some(needed) = self.needed.get_mut(&segment) {
                *needed = needed.saturating_sub(records);
            }
        }
    }

    /// Number up to which all segments are free, the last one (being written) excepted.
    pub fn free_through(&mut self, present: &[u64]) -> Option<u64> {
        let closed = present.split_last()?.1;
        let free = closed
            .iter()
            .take_while(|number| self.needed.get(number).is_none_or(|n| *n == 0))
            .last()
            .copied();
        if let Some(number) = free {
            self.needed.retain(|segment, _| *segment > number);
        }
        free
    }
}
