//! The round that is open: what has to be kept of it, and how far store and intake are.

use std::collections::VecDeque;
use std::sync::Arc;

use super::change::{Change, Round};
use super::message::Message;
use super::seam::{Inbound, Refusal};

/// What a client gets of a QoS 2 message when its round is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Publish,
    /// PUBREL.
    Release,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub round: u64,
    pub session: u32,
    pub session_id: u64,
    pub seq: u64,
    pub step: Step,
}

/// A QoS 2 message that becomes rows. When they are durable the others get it, in the round in which its id is
/// recorded: whatever a crash leaves, none of them gets it twice and none misses it.
#[derive(Clone, Debug)]
pub(super) struct Unspread {
    pub round: u64,
    pub session: u32,
    pub session_id: u64,
    pub packet_id: u16,
    /// None = nobody else is to get it.
    pub message: Option<Arc<Message>>,
    /// It is still to be retained: no later one of its topic has been meanwhile.
    pub retains: bool,
}

#[derive(Debug)]
pub(super) struct Keep {
    /// Number of the open round.
    pub round: u64,
    changes: Vec<Change>,
    messages: Vec<Inbound>,
    /// Rounds up to it are kept, or refused.
    pub kept: u64,
    pub mapped: u64,
    /// Round of the last `SessionGone`.
    pub gone_round: u64,
    /// Receipts of rounds up to it are among the changes.
    pub receipted: u64,
    /// The same by rounds that are not kept yet: (round, receipts up to).
    receipting: VecDeque<(u64, u64)>,
    /// Receipts of rounds up to it are in the store.
    pub receipts_kept: u64,
    next_message_id: u64,
    next_session_id: u64,
    pub held: VecDeque<Held>,
    pub unspread: VecDeque<Unspread>,
    /// Of those, how many are to be retained.
    pub unretained: usize,
}

impl Keep {
    pub fn new() -> Self {
        Self {
            round: 1,
            changes: Vec::new(),
            messages: Vec::new(),
            kept: 0,
            mapped: 0,
            gone_round: 0,
            receipted: 0,
            receipting: VecDeque::new(),
            receipts_kept: 0,
            next_message_id: 1,
            next_session_id: 1,
            held: VecDeque::new(),
            unspread: VecDeque::new(),
            unretained: 0,
        }
    }

    pub fn change(&mut self, change: Change) {
        if matches!(change, Change::SessionGone { .. }) {
            self.gone_round = self.round;
        }
        self.changes.push(change);
    }

    /// The changes of the open round have, with those before, all receipts up to `round`.
    pub fn receipts_are_recorded(&mut self, round: u64) {
        self.receipted = self.receipted.max(round);
        self.receipting.push_back((self.round, self.receipted));
        self.change(Change::Mapped {
            round: self.receipted,
        });
    }

    /// What the intake may forget when rounds up to `round` are kept or refused. With a full disk the messages are
    /// refused and come again anyway; the intake's journal must be able to give its room back.
    pub fn note_receipts(&mut self, round: u64, result: Result<(), Refusal>) {
        while let Some(&(_, receipted)) = self.receipting.front().filter(|(by, _)| *by <= round) {
            self.receipting.pop_front();
            if result != Err(Refusal::Failed) {
                self.receipts_kept = receipted;
            }
        }
    }

    pub fn map(&mut self, message: Inbound) {
        self.messages.push(message);
    }

    /// Remembers a message until its rows are durable.
    pub fn spread_later(&mut self, row: Unspread) {
        self.unretained += usize::from(row.retains);
        self.unspread.push_back(row);
    }

    /// The next message whose rows are durable, or refused, with those of rounds up to this one.
    pub fn next_unspread(&mut self, round: u64) -> Option<Unspread> {
        self.unspread.front().filter(|row| row.round <= round)?;
        let row = self.unspread.pop_front()?;
        self.unretained -= usize::from(row.retains);
        Some(row)
    }

    /// A message of the topic is retained now, or none any more: those that came before it are not to replace it.
    pub fn is_retained_anew(&mut self, topic: &str) {
        if self.unretained == 0 {
            return;
        }
        for row in &mut self.unspread {
            let is_older =
                row.retains && row.message.as_ref().is_some_and(|old| &*old.topic == topic);
            if is_older {
                row.retains = false;
                self.unretained -= 1;
            }
        }
    }

    pub fn message_id(&mut self) -> u64 {
        self.next_message_id += 1;
        self.next_message_id - 1
    }

    pub fn session_id(&mut self) -> u64 {
        self.next_session_id += 1;
        self.next_session_id - 1
    }

    /// Replay: ids that are taken.
    pub fn skip_ids(&mut self, message: u64, session: u64) {
        self.next_message_id = self.next_message_id.max(message + 1);
        self.next_session_id = self.next_session_id.max(session + 1);
    }

    pub fn continue_after(&mut self, round: u64) {
        if self.round <= round {
            self.round = round + 1;
            self.kept = round;
            self.mapped = round;
        }
    }

    pub fn end_round(&mut self) -> Round {
        let round = Round {
            number: self.round,
            changes: std::mem::take(&mut self.changes),
            messages: std::mem::take(&mut self.messages),
        };
        self.round += u64::from(!round.is_empty());
        round
    }
}
