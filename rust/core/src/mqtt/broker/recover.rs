//! Recovery: changes are replayed in the order in which they were kept.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::super::packet::{QoS, Subscription};
use super::Broker;
use super::acks::Need;
use super::change::{Change, SessionRecord};
use super::message::Message;
use super::queue::{Entry, Ids, NO_SHARE, Stage};
use super::seam::{Now, Receipt};
use super::session::{Known, Session, Unreleased};

/// What only a replay needs.
#[derive(Default)]
pub(super) struct Replay {
    /// Messages by id, those too that nothing refers to: a later piece of a snapshot may.
    messages: HashMap<u64, Arc<Message>>,
    /// Index by the id that outlives the process.
    sessions: HashMap<u64, u32>,
    /// Round of the last receipt.
    receipted: u64,
}

impl Replay {
    pub fn new() -> Self {
        Self {
            messages: HashMap::new(),
            sessions: HashMap::new(),
            receipted: 0,
        }
    }
}

impl Broker {
    fn replayed(&self, session: u64) -> Option<u32> {
        self.replay.as_ref()?.sessions.get(&session).copied()
    }

    fn replayed_message(&self, message: u64) -> Option<Arc<Message>> {
        self.replay.as_ref()?.messages.get(&message).cloned()
    }

    /// What refers to something unknown is about what is gone.
    pub(super) fn replay(&mut self, change: Change) {
        self.replay.get_or_insert_with(|| Box::new(Replay::new()));
        match change {
            Change::Session(record) => self.replay_session(*record),
            Change::SessionGone { session } => {
                if let Some(index) = self
                    .replay
                    .as_mut()
                    .and_then(|replay| replay.sessions.remove(&session))
                {
                    self.forget_session(index);
                }
            }
            Change::Subscribed {
                session,
                filter,
                options,
                subscription_id,
            } => {
                if let Some(index) = self.replayed(session) {
                    let wanted = Subscription {
                        filter: &filter,
                        options,
                    };
                    self.add_subscription(index, &wanted, subscription_id.unwrap_or(0));
                }
            }
            Change::Unsubscribed { session, filter } => {
                if let Some(index) = self.replayed(session) {
                    self.remove_subscription(index, &filter);
                }
            }
            Change::Message(message) => {
                self.keep.skip_ids(message.id, 0);
                if let Some(replay) = &mut self.replay {
                    replay.messages.insert(message.id, message);
                }
            }
            Change::Queued {
                session,
                seq,
                message,
                qos,
                retain,
                subscription_ids,
            } => {
                if let Some(message) = self.replayed_message(message) {
                    let entry = Entry {
                        message: Some(message),
                        ids: Ids::of(&subscription_ids),
                        share: NO_SHARE,
                        stage: Stage::Publish,
                        qos,
                        retain,
                    };
                    self.replay_entry(session, seq, entry);
                }
            }
            Change::OutReceived { session, seq } => {
                let entry = Entry {
                    message: None,
                    ids: Ids::One(0),
                    share: NO_SHARE,
                    stage: Stage::Release,
                    qos: QoS::ExactlyOnce,
                    retain: false,
                };
                self.replay_entry(session, seq, entry);
            }
            Change::Acked { session, seq } => {
                if let Some(index) = self.replayed(session) {
                    self.queue(index, |queue| queue.finish(seq));
                }
            }
            Change::Received { session, packet_id } => {
                if let Some(session) = self
                    .replayed(session)
                    .and_then(|index| self.sessions.get_mut(index))
                {
                    session.set_unreleased(packet_id, RECORDED);
                }
            }
            Change::RowsKept { session, packet_id } => {
                if let Some(session) = self
                    .replayed(session)
                    .and_then(|index| self.sessions.get_mut(index))
                {
                    session.set_unreleased(packet_id, HAS_ROWS);
                }
            }
            Change::Mapped { round } => self.keep.receipted = self.keep.receipted.max(round),
            Change::Released { session, packet_id } => {
                if let Some(session) = self
                    .replayed(session)
                    .and_then(|index| self.sessions.get_mut(index))
                {
                    session.take_unreleased(packet_id);
                }
            }
            Change::Retained { topic, message } => {
                if let Some(message) = self
                    .replayed_message(message)
                    .filter(|message| message.topic == topic)
                {
                    self.retained.insert(message);
                }
            }
            Change::RetainedGone { topic } => {
                self.retained.remove(&topic);
            }
        }
    }

    fn replay_session(&mut self, record: SessionRecord) {
        self.keep.skip_ids(0, record.id);
        if let Some(will) = &record.will {
            self.keep.skip_ids(will.message.id, 0);
        }
        let known = self.replayed(record.id);
        let index = known.unwrap_or_else(|| {
            if let Some(other) = self.sessions.find(&record.client_id) {
                self.forget_session(other);
                if let Some(replay) = &mut self.replay {
                    replay.sessions.retain(|_, index| *index != other);
                }
            }
            let acl = Arc::clone(&self.options.anonymous_acl);
            self.sessions.insert(Session::new(
                record.id,
                Arc::clone(&record.client_id),
                record.version,
                acl,
            ))
        });
        if let Some(replay) = &mut self.replay {
            replay.sessions.insert(record.id, index);
        }
        if let Some(session) = self.sessions.get_mut(index) {
            session.version = record.version;
            session.expiry_s = record.expiry_s;
            session.disconnected_unix_ms = record.disconnected_unix_ms;
            session.will = record.will;
            // Until it connects again nobody knows what it may read; then what waits is looked at again.
            session.acl = Arc::new(super::Acl::open());
            session
                .queue
                .restore_marks(record.sent_seq, record.next_seq);
        }
    }

    fn replay_entry(&mut self, session: u64, seq: u64, entry: Entry) {
        if let Some(index) = self.replayed(session) {
            self.queue(index, |queue| queue.restore(seq, entry));
        }
    }

    fn forget_session(&mut self, index: u32) {
        let filters: Vec<Box<str>> = self.sessions.get(index).map_or_else(Vec::new, |session| {
            session
                .subscriptions
                .iter()
                .map(|subscribed| subscribed.filter.clone())
                .collect()
        });
        for filter in &filters {
            self.remove_subscription(index, filter);
        }
        self.remove_session(index);
    }

    /// The rows of a message are durable. Nobody else has got it, or the store would know its id; as PUBREC was not
    /// sent either, it comes again.
    pub(super) fn replay_receipt(&mut self, round: u64, receipt: &Receipt) {
        let replay = self.replay.get_or_insert_default();
        replay.receipted = replay.receipted.max(round);
        if round <= self.keep.receipted {
            return;
        }
        self.keep.continue_after(round);
        let Some(session) = self
            .replayed(receipt.session)
            .and_then(|index| self.sessions.get_mut(index))
        else {
            return;
        };
        if session.unreleased(receipt.packet_id).is_none() {
            session.set_unreleased(receipt.packet_id, HAS_ROWS);
            self.keep.change(Change::RowsKept {
                session: session.id,
                packet_id: receipt.packet_id,
            });
        }
    }

    pub(super) fn end_replay(&mut self, now: Now) {
        if let Some(replay) = self.replay.take()
            && replay.receipted > 0
        {
            // Also when the changes had them all: the intake waits to hear of it.
            self.keep.receipts_are_recorded(replay.receipted);
        }
        let all: Vec<u32> = self.sessions.iter_from(0).map(|(index, _)| index).collect();
        for index in all {
            let Some(session) = self.sessions.get_mut(index) else {
                continue;
            };
            let next_seq = session.queue.next_seq();
            session.queue.keep_up_to(next_seq);
            if session.disconnected_unix_ms.is_none() {
                session.disconnected_unix_ms = Some(now.unix_ms);
                session.queue.all_may_be_sent();
                self.record_session(index);
            }
            self.set_end_timers(index, now);
        }
    }
}

/// A QoS 2 message that the store knows.
const RECORDED: Unreleased = Unreleased {
    need: Need::NOTHING,
    known: Known::Recorded,
    has_rows: false,
};

const HAS_ROWS: Unreleased = Unreleased {
    need: Need::NOTHING,
    known: Known::Rows,
    has_rows: true,
};
