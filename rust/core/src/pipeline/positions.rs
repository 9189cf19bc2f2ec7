//! How far the node has read sources that can be read again: partitions of Kafka topics.
//!
//! A position stands in the group of records that hold the rows up to it: after a crash both are there or neither is,
//! so a source that is read from here brings each row once. The journal keeps positions for good, as it has them of no
//! one else: those in a segment that nothing else needs are written anew into the one that is being written.

use std::collections::HashMap;

use crossbeam_channel::{Sender, bounded};

use super::meta::{push_text, take_bytes, take_text};
use super::publish::Tag;
use super::{POSITIONS, Pipeline};
use crate::journal::{Entry, JournalError, Level};

/// Sources whose positions are kept; of more, those that moved longest ago are forgotten.
const MOST_SOURCES: usize = 65_536;

/// Where reading a source goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub source: String,
    /// The first message that is not in.
    pub next: i64,
}

/// A position as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub position: Position,
    /// The later of two has the higher one, wherever they stand.
    pub version: u64,
}

/// Each as source (length (u16) and bytes), next (i64) and version (u64).
fn encode_all(all: &[Kept]) -> Vec<u8> {
    let mut out = Vec::new();
    for kept in all {
        push_text(&kept.position.source, &mut out);
        out.extend_from_slice(&kept.position.next.to_le_bytes());
        out.extend_from_slice(&kept.version.to_le_bytes());
    }
    out
}

pub(super) fn decode_all(mut bytes: &[u8]) -> Option<Vec<Kept>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let source = take_text(&mut bytes)?;
        let next = i64::from_le_bytes(take_bytes(&mut bytes)?);
        let version = u64::from_le_bytes(take_bytes(&mut bytes)?);
        all.push(Kept {
            position: Position { source, next },
            version,
        });
    }
    Some(all)
}

/// An entry of positions; `done` is told what became of it.
pub(super) fn entry(
    all: Vec<Kept>,
    level: Level,
    done: Option<Sender<Result<(), JournalError>>>,
) -> Entry<Tag> {
    Entry {
        level,
        kind: POSITIONS,
        meta: Vec::new(),
        payload: encode_all(&all),
        control: done.is_some(),
        followers: 0,
        tag: Tag::Positions { all, done },
    }
}

#[derive(Debug)]
struct Held {
    segment: u64,
    next: i64,
    version: u64,
}

/// Positions by their source, with the segments they stand in.
#[derive(Debug, Default)]
pub(super) struct Positions {
    held: HashMap<String, Held>,
    /// The highest version.
    last: u64,
}

impl Positions {
    pub fn add(&mut self, segment: u64, all: Vec<Kept>) {
        for Kept { position, version } in all {
            let Position { source, next } = position;
            self.last = self.last.max(version);
            if self.held.get(&source).is_some_and(|h| h.version > version) {
                continue; // written anew after a later one
            }
            let held = Held {
                segment,
                next,
                version,
            };
            self.held.insert(source, held);
        }
        while self.held.len() > MOST_SOURCES {
            let oldest = self.held.iter().min_by_key(|(_, held)| held.version);
            let Some(source) = oldest.map(|(source, _)| source.clone()) else {
                return;
            };
            self.held.remove(&source);
        }
    }

    pub fn get(&self, source: &str) -> Option<i64> {
        self.held.get(source).map(|held| held.next)
    }

    /// The first segment that is needed.
    pub fn needs(&self) -> Option<u64> {
        self.held.values().map(|held| held.segment).min()
    }

    /// Positions as the next ones of their sources.
    pub fn versioned(&self, all: Vec<Position>) -> Vec<Kept> {
        all.into_iter()
            .map(|position| Kept {
                position,
                version: self.last + 1,
            })
            .collect()
    }

    fn before(&self, segment: u64) -> Vec<Kept> {
        let old = self.held.iter().filter(|(_, held)| held.segment < segment);
        old.map(|(source, held)| Kept {
            position: Position {
                source: source.clone(),
                next: held.next,
            },
            version: held.version,
        })
        .collect()
    }

    fn give_up(&mut self, before: u64) {
        self.held.retain(|_, held| held.segment >= before);
    }
}

impl Pipeline {
    /// Where reading a source goes on; None when nothing of it has come in.
    pub fn position(&self, source: &str) -> Option<i64> {
        self.shared.tables.lock().positions.get(source)
    }

    /// Write positions of segments before this one anew, into the segment that is being written.
    pub(super) fn move_positions(&self, before: u64) {
        let old = self.shared.tables.lock().positions.before(before);
        if old.is_empty() {
            return;
        }
        let (done, moved) = bounded(1);
        let queued = self.journal.append(entry(old, Level::Durable, Some(done)));
        if queued && matches!(moved.recv(), Ok(Err(JournalError::Full(_)))) {
            // The segments have to go for the disk to have room again: the group's own offset is left.
            self.shared.tables.lock().positions.give_up(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(source: &str, next: i64, version: u64) -> Kept {
        Kept {
            position: Position {
                source: source.into(),
                next,
            },
            version,
        }
    }

    #[test]
    fn positions_come_back_and_cut_ones_are_refused() {
        let all = [kept("é", i64::MAX, 1), kept("", 0, u64::MAX)];
        let bytes = encode_all(&all);
        assert_eq!(decode_all(&bytes).as_deref(), Some(&all[..]));
        for len in 0..bytes.len() {
            assert_ne!(decode_all(&bytes[..len]).as_deref(), Some(&all[..]));
        }
    }

    #[test]
    fn the_later_position_holds_wherever_it_stands() {
        let mut positions = Positions::default();
        positions.add(1, vec![kept("a", 10, 1), kept("b", 5, 1)]);
        let moving = positions.before(2);
        positions.add(2, vec![kept("a", 20, 2)]);
        positions.add(2, moving); // written behind it
        assert_eq!(
            (positions.get("a"), positions.get("b")),
            (Some(20), Some(5))
        );
        assert_eq!(positions.needs(), Some(2));
        let next = positions.versioned(vec![Position {
            source: "a".into(),
            next: 0, // the topic was made anew
        }]);
        positions.add(3, next);
        assert_eq!(positions.get("a"), Some(0));
    }
}
