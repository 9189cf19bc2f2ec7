//! QoS 1 and 2 messages on their way to one client, and QoS 0 messages that wait for its socket.
//!
//! `entries` is a ring: an entry's sequence number says where it stands, and its packet id follows from it, so an
//! acknowledgement is found without a search. What is done leaves a hole that goes when it comes to the front.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::packet::QoS;
use super::change::packet_id_of;
use super::message::Message;

/// Subscription ids; one at most is the usual case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    /// 0 = none.
    One(u32),
    Many(Box<[u32]>),
}

impl Ids {
    pub fn of(ids: &[u32]) -> Self {
        match ids {
            [] => Self::One(0),
            [id] => Self::One(*id),
            more => Self::Many(more.into()),
        }
    }

    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(0) => &[],
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }

    pub fn push(&mut self, id: u32) {
        let mut ids = self.as_slice().to_vec();
        ids.push(id);
        *self = Self::of(&ids);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Done: a hole.
    Done,
    /// To be published, or not acknowledged yet.
    Publish,
    /// PUBREC has come, which the store does not know yet.
    Received,
    /// PUBREL is what is sent.
    Release,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// None: it has been sent on the only connection that its session will have, or received (QoS 2).
    pub message: Option<Arc<Message>>,
    pub ids: Ids,
    /// Group of a shared subscription; `NO_SHARE` = none.
    pub share: u32,
    pub stage: Stage,
    pub qos: QoS,
    pub retain: bool,
}

pub(super) const NO_SHARE: u32 = u32::MAX;

impl Entry {
    const HOLE: Self = Self {
        message: None,
        ids: Ids::One(0),
        share: NO_SHARE,
        stage: Stage::Done,
        qos: QoS::AtLeastOnce,
        retain: false,
    };

    fn size_bytes(&self) -> usize {
        self.message
            .as_ref()
            .map_or(0, |message| message.size_bytes())
    }
}

/// A QoS 0 message that waits.
#[derive(Clone, Debug)]
pub(super) struct Zero {
    pub message: Arc<Message>,
    pub ids: Ids,
    pub retain: bool,
}

/// The most that may lie between the oldest unacknowledged message and the newest one sent.
const SPAN: usize = 65_535;

/// More holes than this are not made up for a replay: its numbers are wrong.
const GAP_MAX: u64 = 10_000_000;

#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// Sequence number of `entries[0]`.
    base: u64,
    /// Index of what is sent next on this connection.
    next: usize,
    /// Messages with a number below it have been sent once at least.
    sent_seq: u64,
    /// Sent on this connection and not acknowledged.
    in_flight: usize,
    /// Entries that are no holes.
    live: usize,
    /// QoS 2 messages of a recorded session below it are kept.
    kept_seq: u64,
    zeros: VecDeque<Zero>,
    bytes: usize,
}

impl Queue {
    pub fn next_seq(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    pub fn sent_seq(&self) -> u64 {
        self.sent_seq
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Messages that are there, QoS 0 included.
    pub fn len(&self) -> usize {
        self.live + self.zeros.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that have not been sent on this connection, about (holes count).
    pub fn waiting(&self) -> usize {
        self.entries.len() - self.next + self.zeros.len()
    }

    /// Whether an entry that is pushed now may go out at once.
    pub fn is_open(&self, window: u16) -> bool {
        self.next == self.entries.len()
            && self.in_flight < usize::from(window)
            && self.entries.len() < SPAN
    }

    pub fn push(&mut self, entry: Entry) -> u64 {
        let seq = self.next_seq();
        self.bytes += entry.size_bytes();
        self.live += 1;
        self.entries.push_back(entry);
        seq
    }

    /// The entry just pushed goes out (`is_open` said so).
    pub fn pushed_is_sent(&mut self) {
        self.next = self.entries.len();
        self.sent_seq = self.next_seq();
        self.in_flight += 1;
    }

    /// What is to be sent next, with its number and whether it has been sent before. The caller says `advance`, or
    /// `finish` when it is not to be sent at all.
    pub fn peek(&mut self, window: u16, is_recorded: bool) -> Option<(u64, &Entry, bool)> {
        while self.entries.get(self.next)?.stage == Stage::Done {
            self.next += 1;
        }
        let seq = self.base + self.next as u64;
        let entry = &self.entries[self.next];
        let waits_for_store = entry.stage == Stage::Received
            || (is_recorded && entry.qos == QoS::ExactlyOnce && seq >= self.kept_seq);
        if self.in_flight >= usize::from(window) || self.next >= SPAN || waits_for_store {
            return None;
        }
        Some((seq, entry, seq < self.sent_seq))
    }

    /// What `peek` gave has been sent. A message that will never be sent again is let go.
    pub fn advance(&mut self, is_last_connection: bool) {
        let entry = &mut self.entries[self.next];
        if is_last_connection && entry.share == NO_SHARE {
            self.bytes -= entry.size_bytes();
            entry.message = None;
        }
        self.next += 1;
        self.sent_seq = self.sent_seq.max(self.base + self.next as u64);
        self.in_flight += 1;
    }

    fn index_of_seq(&self, seq: u64) -> Option<usize> {
        let index = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        (index < self.entries.len()).then_some(index)
    }

    /// The sent message that a packet id of the client means.
    pub fn find(&self, packet_id: u16) -> Option<(u64, &Entry)> {
        let first = packet_id_of(self.base);
        let distance = (u32::from(packet_id) + 65_535 - u32::from(first)) % 65_535;
        let seq = self.base + u64::from(distance);
        if packet_id == 0 || seq >= self.sent_seq {
            return None;
        }
        let entry = self.entries.get(distance as usize)?;
        (entry.stage != Stage::Done).then_some((seq, entry))
    }

    /// PUBREC has come: `stage` is what the message is in now.
    pub fn received(&mut self, seq: u64, stage: Stage) {
        if let Some(index) = self.index_of_seq(seq) {
            let entry = &mut self.entries[index];
            if entry.stage == Stage::Publish {
                self.bytes -= entry.size_bytes();
                entry.message = None;
                entry.stage = stage;
            }
        }
    }

    /// The store knows of PUBREC. Returns whether PUBREL is due; if not, it comes in its turn.
    pub fn release(&mut self, seq: u64) -> bool {
        match self.index_of_seq(seq) {
            Some(index) if self.entries[index].stage == Stage::Received => {
                self.entries[index].stage = Stage::Release;
                index < self.next
            }
            _ => false,
        }
    }

    /// The message is done, for whatever reason. False: it was.
    pub fn finish(&mut self, seq: u64) -> bool {
        let Some(index) = self.index_of_seq(seq) else {
            return false;
        };
        let entry = &mut self.entries[index];
        if entry.stage == Stage::Done {
            return false;
        }
        self.bytes -= entry.size_bytes();
        *entry = Entry::HOLE;
        self.live -= 1;
        if index < self.next {
            self.in_flight -= 1;
        }
        self.trim();
        true
    }

    fn trim(&mut self) {
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.stage == Stage::Done)
        {
            self.entries.pop_front();
            self.base += 1;
            self.next = self.next.saturating_sub(1);
        }
        if self.entries.is_empty() && self.entries.capacity() > 64 {
            self.entries.shrink_to(16);
        }
    }

    /// A new connection: all that is not done is sent again, in order.
    pub fn restart(&mut self) {
        self.next = 0;
        self.in_flight = 0;
    }

    pub fn keep_up_to(&mut self, seq: u64) {
        self.kept_seq = self.kept_seq.max(seq);
    }

    pub fn push_zero(&mut self, zero: Zero) {
        self.bytes += zero.message.size_bytes();
        self.zeros.push_back(zero);
    }

    pub fn pop_zero(&mut self) -> Option<Zero> {
        let zero = self.zeros.pop_front();
        match &zero {
            Some(zero) => self.bytes -= zero.message.size_bytes(),
            None if self.zeros.capacity() > 0 => self.zeros = VecDeque::new(),
            None => {}
        }
        zero
    }

    pub fn has_zeros(&self) -> bool {
        !self.zeros.is_empty()
    }

    /// Lets go of the QoS 0 messages. Returns how many there were.
    pub fn clear_zeros(&mut self) -> usize {
        let zeros = std::mem::take(&mut self.zeros);
        self.bytes -= zeros
            .iter()
            .map(|zero| zero.message.size_bytes())
            .sum::<usize>();
        zeros.len()
    }

    /// All that is not done, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.iter_from(0)
    }

    pub fn iter_from(&self, seq: u64) -> impl Iterator<Item = (u64, &Entry)> {
        let skip = usize::try_from(seq.saturating_sub(self.base))
            .unwrap_or(usize::MAX)
            .min(self.entries.len());
        let first = self.base + skip as u64;
        self.entries
            .range(skip..)
            .enumerate()
            .filter(|(_, entry)| entry.stage != Stage::Done)
            .map(move |(index, entry)| (first + index as u64, entry))
    }

    /// Numbers of the messages not sent yet for which `drop` says so.
    pub fn unsent_where(&self, drop: impl Fn(&Message) -> bool) -> Vec<u64> {
        self.iter_from(self.sent_seq())
            .filter(|(_, entry)| entry.message.as_ref().is_some_and(|message| drop(message)))
            .map(|(seq, _)| seq)
            .collect()
    }

    /// Replay: puts an entry where it was.
    pub fn restore(&mut self, seq: u64, entry: Entry) {
        if self.entries.is_empty() {
            self.base = self.base.max(seq);
        }
        if seq < self.base {
            if self.base - seq > GAP_MAX {
                return;
            }
            while seq < self.base {
                self.entries.push_front(Entry::HOLE);
                self.base -= 1;
            }
        }
        if seq - self.base > self.entries.len() as u64 + GAP_MAX {
            return;
        }
        while self.next_seq() <= seq {
            self.entries.push_back(Entry::HOLE);
        }
        self.finish_in_place(seq);
        if let Some(index) = self.index_of_seq(seq) {
            self.bytes += entry.size_bytes();
            self.live += 1;
            self.entries[index] = entry;
        }
        self.kept_seq = self.kept_seq.max(seq + 1);
    }

    fn finish_in_place(&mut self, seq: u64) {
        if let Some(index) = self.index_of_seq(seq) {
            let entry = &mut self.entries[index];
            if entry.stage != Stage::Done {
                self.bytes -= entry.size_bytes();
                self.live -= 1;
                *entry = Entry::HOLE;
            }
        }
    }

    /// Replay: numbers that a session record tells.
    pub fn restore_marks(&mut self, sent_seq: u64, next_seq: u64) {
        if self.entries.is_empty() {
            self.base = self.base.max(next_seq);
        }
        self.sent_seq = self.sent_seq.max(sent_seq);
        self.kept_seq = self.kept_seq.max(next_seq);
    }

    /// After a crash: what was queued may have been sent.
    pub fn all_may_be_sent(&mut self) {
        self.sent_seq = self.next_seq();
    }
}
