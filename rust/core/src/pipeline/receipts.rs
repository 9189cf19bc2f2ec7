//! Receipts of QoS 2 messages that the journal keeps for the broker, until the broker's own store has them.
//!
//! A row may be in its database, and so of no more use to the journal, before the broker's store has synced the packet
//! id of its message. If the journal forgot both then, a crash would let the message in a second time. So receipts need
//! their segment like rows do; those that nothing else needs the segment for move on to the one that is being written,
//! for there may be no broker that ever asks for them.

use crossbeam_channel::{Sender, bounded};

use super::meta::{take_bytes, take_u16};
use super::publish::Tag;
use super::{IDLE_BYTES, Pipeline, RECEIPTS};
use crate::journal::{Entry, JournalError, Level};

/// QoS 2 messages that a record's rows come from: whoever knows the row knows the packet id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipts {
    /// Of the broker.
    pub round: u64,
    /// (session, packet id)
    pub messages: Vec<(u64, u16)>,
}

impl Receipts {
    /// The round (u64), then each message as session (u64) and packet id (u16), to the end.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.round.to_le_bytes());
        for (session, packet) in &self.messages {
            out.extend_from_slice(&session.to_le_bytes());
            out.extend_from_slice(&packet.to_le_bytes());
        }
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut made = Self {
            round: u64::from_le_bytes(take_bytes(&mut bytes)?),
            messages: Vec::new(),
        };
        while !bytes.is_empty() {
            let session = u64::from_le_bytes(take_bytes(&mut bytes)?);
            made.messages.push((session, take_u16(&mut bytes)?));
        }
        Some(made)
    }
}

/// Each as length (u32) and bytes.
fn encode_all(all: &[Receipts]) -> Vec<u8> {
    let mut out = Vec::new();
    for receipts in all {
        let start = out.len() + 4;
        out.extend_from_slice(&[0; 4]);
        receipts.encode(&mut out);
        let len = (out.len() - start) as u32;
        out[start - 4..start].copy_from_slice(&len.to_le_bytes());
    }
    out
}

pub(super) fn decode_all(mut bytes: &[u8]) -> Option<Vec<Receipts>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let len = u32::from_le_bytes(take_bytes(&mut bytes)?) as usize;
        let (one, rest) = bytes.split_at_checked(len)?;
        all.push(Receipts::decode(one)?);
        bytes = rest;
    }
    Some(all)
}

/// What the journal holds, with the segments.
#[derive(Debug, Default)]
pub(super) struct Held(Vec<(u64, Receipts)>);

impl Held {
    pub fn add(&mut self, segment: u64, receipts: Receipts) {
        if !receipts.messages.is_empty() {
            self.0.push((segment, receipts));
        }
    }

    /// The first segment that is needed.
    pub fn needs(&self) -> Option<u64> {
        self.0.iter().map(|(segment, _)| *segment).min()
    }

    fn before(&self, segment: u64) -> Vec<Receipts> {
        let old = self.0.iter().filter(|(at, _)| *at < segment);
        old.map(|(_, receipts)| receipts.clone()).collect()
    }

    /// Those before a segment stand in a later one, too.
    pub fn moved(&mut self, before: u64, to: u64) {
        for (at, _) in self.0.iter_mut().filter(|(at, _)| *at < before) {
            *at = to;
        }
    }

    /// Those of rounds up to this one. Returns whether they were the last.
    fn forget(&mut self, round: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|(_, receipts)| receipts.round > round);
        self.0.is_empty() && before > 0
    }

    fn give_up(&mut self, before: u64) {
        self.0.retain(|(segment, _)| *segment >= before);
    }
}

/// Receipts on their way to another segment.
#[derive(Debug)]
pub(super) struct Moving {
    pub before: u64,
    pub done: Sender<Result<(), JournalError>>,
}

impl Pipeline {
    /// The receipts that the journal holds, with those that are on their way into it: a broker that ended in this
    /// process may have left some. Waits until these are written.
    pub fn receipts(&self) -> Vec<Receipts> {
        let (done, passed) = bounded(1);
        if self.journal.mark(Tag::Passed(done)) {
            // The journal's thread ends only behind what is queued.
            let _ = passed.recv();
        }
        self.shared.tables.lock().receipts.before(u64::MAX)
    }

    /// The broker's store has the receipts of rounds up to this one: the journal need not hold them any longer.
    pub fn receipted(&self, round: u64) {
        let is_last = self.shared.tables.lock().receipts.forget(round);
        // Whoever stored the last rows could not give the room back as long as their receipts were needed.
        if is_last
            && self.journal.bytes() > IDLE_BYTES
            && self.shared.tables.lock().needs().is_none()
        {
            self.journal.rewind();
        }
    }

    /// Write receipts of segments before this one anew, into the segment that is being written. Those that cannot be
    /// written now stay where they are.
    pub(super) fn move_receipts(&self, before: u64) {
        let old = self.shared.tables.lock().receipts.before(before);
        if old.is_empty() {
            return;
        }
        let (done, moved) = bounded(1);
        let queued = self.journal.append(Entry {
            level: Level::Durable,
            kind: RECEIPTS,
            meta: Vec::new(),
            payload: encode_all(&old),
            control: true,
            followers: 0,
            tag: Tag::Receipts(Moving { before, done }),
        });
        if queued && matches!(moved.recv(), Ok(Err(JournalError::Full(_)))) {
            // The segments have to go for the disk to have room again: better a message twice than none any more.
            self.shared.tables.lock().receipts.give_up(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_receipts_come_back_and_cut_ones_are_refused() {
        let all = [
            Receipts {
                round: u64::MAX,
                messages: vec![(u64::MAX, 65_535), (0, 1)],
            },
            Receipts {
                round: 1,
                messages: vec![(3, 7)],
            },
        ];
        let bytes = encode_all(&all);
        assert_eq!(decode_all(&bytes).as_deref(), Some(&all[..]));
        for len in 0..bytes.len() {
            assert_ne!(decode_all(&bytes[..len]).as_deref(), Some(&all[..]));
        }
    }

    #[test]
    fn the_first_segment_with_a_receipt_is_needed() {
        let receipts = |round| Receipts {
            round,
            messages: vec![(3, 7)],
        };
        let mut held = Held::default();
        held.add(1, Receipts::default());
        assert_eq!(held.needs(), None);
        for (segment, round) in [(3, 11), (2, 10), (4, 12)] {
            held.add(segment, receipts(round));
        }
        assert_eq!(held.needs(), Some(2));
        assert_eq!(held.before(4), [receipts(11), receipts(10)]);
        held.moved(4, 5);
        assert_eq!(held.needs(), Some(4));
        assert!(!held.forget(11) && held.forget(12) && !held.forget(13));
    }
}
