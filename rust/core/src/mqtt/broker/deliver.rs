//! Messages to one session: at once, or through its queue.

use std::sync::Arc;

use super::super::packet::{Ack, AckKind, QoS, Reason};
use super::change::{Change, packet_id_of};
use super::keep::{Held, Keep, Step};
use super::link::Link;
use super::message::Message;
use super::output::How;
use super::queue::{Entry, Ids, NO_SHARE, Queue, Stage, Zero};
use super::route::{Own, Target};
use super::seam::{ConnId, Host, Now};
use super::session::{NONE, Sessions};
use super::{Broker, Cx};

/// How often the log is told that a session's queue is full.
const FULL_TOLD_MS: u64 = 60_000;
/// Notices of a round at most; what is left waits for the next message that is dropped.
const NOTICES_MAX: usize = 100;

/// What of a message goes to subscribers.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub properties: &'a [u8],
    pub expires_unix_ms: Option<u64>,
}

impl<'a> View<'a> {
    pub fn of(message: &'a Message) -> Self {
        Self {
            topic: &message.topic,
            payload: &message.payload,
            properties: &message.properties,
            expires_unix_ms: message.expires_unix_ms,
        }
    }
}

/// A message on its way to subscribers; it becomes a `Message` only when somebody has to keep it.
pub(super) struct Source<'a> {
    pub view: View<'a>,
    pub is_text: bool,
    pub qos: QoS,
    pub retain: bool,
    /// Session of the publisher, or `NONE`.
    pub publisher: u32,
    pub shared: Option<Arc<Message>>,
    /// The store has it, or gets it in this round.
    pub is_recorded: bool,
}

impl<'a> Source<'a> {
    pub fn of(message: &'a Arc<Message>, publisher: u32) -> Self {
        Self {
            view: View::of(message),
            is_text: message.is_text,
            qos: message.qos,
            retain: message.retain,
            publisher,
            shared: Some(Arc::clone(message)),
            is_recorded: false,
        }
    }

    pub fn message(&mut self, sessions: &Sessions, keep: &mut Keep) -> Arc<Message> {
        let make = || {
            Arc::new(Message {
                id: keep.message_id(),
                topic: self.view.topic.into(),
                payload: self.view.payload.into(),
                properties: self.view.properties.into(),
                is_text: self.is_text,
                qos: self.qos,
                retain: self.retain,
                expires_unix_ms: self.view.expires_unix_ms,
                publisher: sessions
                    .get(self.publisher)
                    .map(|session| Arc::clone(&session.client_id)),
            })
        };
        Arc::clone(self.shared.get_or_insert_with(make))
    }

    /// The same, in the store.
    pub fn record(&mut self, sessions: &Sessions, keep: &mut Keep) -> Arc<Message> {
        let message = self.message(sessions, keep);
        if !std::mem::replace(&mut self.is_recorded, true) {
            keep.change(Change::Message(Arc::clone(&message)));
        }
        message
    }
}

/// What became of a message for one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Nothing of it is kept.
    Passed,
    Recorded,
    /// The session outlives its connection and is to keep the message, but its queue is full.
    Full,
}

impl Broker {
    /// One message to one session. `is_one_of_many`: others get it too, perhaps in the same bytes.
    pub(super) fn deliver<H: Host>(
        &mut self,
        target: &Target,
        retain: bool,
        (share, is_one_of_many): (u32, bool),
        source: &mut Source<'_>,
        feeder: Option<ConnId>,
        cx: &mut Cx<'_, H>,
    ) -> Delivery {
        let qos = source.qos.min(target.qos);
        if qos == QoS::AtMostOnce {
            self.deliver_zero(target, retain, is_one_of_many, source, feeder, cx);
            return Delivery::Passed;
        }
        let Some(session) = self.sessions.get(target.session) else {
            return Delivery::Passed;
        };
        let conn = session.link;
        let is_recorded = session.is_recorded();
        let at_once = !(is_recorded && qos == QoS::ExactlyOnce)
            && self
                .links
                .get(conn)
                .is_some_and(|link| link.is_live() && session.queue.is_open(link.window))
            && cx.host.backlog(conn) <= self.options.backlog_bytes;
        if !at_once && !self.may_queue(target.session, source) {
            self.stats.publishes_dropped += 1;
            if !is_recorded {
                return Delivery::Passed;
            }
            self.note_full(target.session, cx.now);
            return Delivery::Full;
        }
        let message = if is_recorded {
            Some(source.record(&self.sessions, &mut self.keep))
        } else if !at_once || share != NO_SHARE {
            Some(source.message(&self.sessions, &mut self.keep))
        } else {
            None
        };
        let message_id = message.as_ref().map_or(0, |message| message.id);
        let entry = Entry {
            message,
            ids: target.ids.clone(),
            share,
            stage: Stage::Publish,
            qos,
            retain,
        };
        let Some(seq) = self.queue(target.session, |queue| {
            let seq = queue.push(entry);
            if at_once {
                queue.pushed_is_sent();
            }
            seq
        }) else {
            return Delivery::Passed;
        };
        if is_recorded {
            self.record_queued(target, seq, message_id, qos, retain);
        }
        if at_once {
            let how = How {
                qos,
                retain,
                duplicate: false,
                packet_id: packet_id_of(seq),
                ids: target.ids.as_slice(),
            };
            if !self.put(conn, &source.view, &how, is_one_of_many, cx) {
                self.give_up(target.session, seq);
            }
        } else if conn != NONE {
            self.falls_behind(conn, feeder, cx);
        }
        if is_recorded {
            Delivery::Recorded
        } else {
            Delivery::Passed
        }
    }

    fn record_queued(&mut self, target: &Target, seq: u64, message: u64, qos: QoS, retain: bool) {
        let Some(session) = self.sessions.get(target.session) else {
            return;
        };
        self.keep.change(Change::Queued {
            session: session.id,
            seq,
            message,
            qos,
            retain,
            subscription_ids: target.ids.as_slice().into(),
        });
        if qos == QoS::ExactlyOnce {
            let id = session.id;
            self.hold(target.session, id, seq, Step::Publish);
        }
    }

    fn deliver_zero<H: Host>(
        &mut self,
        target: &Target,
        retain: bool,
        is_one_of_many: bool,
        source: &mut Source<'_>,
        feeder: Option<ConnId>,
        cx: &mut Cx<'_, H>,
    ) {
        let Some(session) = self.sessions.get(target.session) else {
            return;
        };
        let conn = session.link;
        if conn == NONE {
            return;
        }
        if !session.queue.has_zeros()
            && self.links.get(conn).is_some_and(Link::is_live)
            && cx.host.backlog(conn) <= self.options.backlog_bytes
        {
            let how = How {
                qos: QoS::AtMostOnce,
                retain,
                duplicate: false,
                packet_id: 0,
                ids: target.ids.as_slice(),
            };
            self.put(conn, &source.view, &how, is_one_of_many, cx);
            return;
        }
        if !self.falls_behind(conn, feeder, cx) || !self.may_queue(target.session, source) {
            self.stats.publishes_dropped += 1;
            return;
        }
        let zero = Zero {
            message: source.message(&self.sessions, &mut self.keep),
            ids: target.ids.clone(),
            retain,
        };
        self.queue(target.session, |queue| queue.push_zero(zero));
    }

    /// Changes a session's queue and counts its bytes.
    pub(super) fn queue<R>(
        &mut self,
        session: u32,
        change: impl FnOnce(&mut Queue) -> R,
    ) -> Option<R> {
        let queue = &mut self.sessions.get_mut(session)?.queue;
        let before = queue.bytes();
        let result = change(queue);
        self.queued_bytes = self.queued_bytes + queue.bytes() - before;
        Some(result)
    }

    fn may_queue(&self, session: u32, source: &Source<'_>) -> bool {
        let size =
            source.view.topic.len() + source.view.payload.len() + source.view.properties.len();
        self.sessions.get(session).is_some_and(|session| {
            session.queue.len() < self.options.queue_messages
                && session.queue.bytes() + size <= self.options.queue_bytes
                && self.queued_bytes + size <= self.options.queue_total_bytes
        })
    }

    /// Says so once a minute for each session, for the log.
    fn note_full(&mut self, session: u32, now: Now) {
        let Some(session) = self.sessions.get_mut(session) else {
            return;
        };
        session.full_messages += 1;
        if now.mono_ms < session.full_told_ms || self.notices.len() >= NOTICES_MAX {
            return;
        }
        session.full_told_ms = now.mono_ms + FULL_TOLD_MS;
        let lost = std::mem::take(&mut session.full_messages);
        self.notices.push(format!(
            "the queue of the client '{}' is full: {lost} messages that it has not got since the last such line",
            session.client_id
        ));
    }

    /// A message that its client will not get.
    pub(super) fn give_up(&mut self, session: u32, seq: u64) {
        if self.queue(session, |queue| queue.finish(seq)) == Some(true) {
            self.record_done(session, seq);
        }
    }

    pub(super) fn record_done(&mut self, session: u32, seq: u64) {
        if let Some(session) = self
            .sessions
            .get(session)
            .filter(|session| session.is_recorded())
        {
            self.keep.change(Change::Acked {
                session: session.id,
                seq,
            });
        }
    }

    /// Sends what waits for a session, as far as its client takes it.
    pub(super) fn pump<H: Host>(&mut self, index: u32, cx: &mut Cx<'_, H>) {
        loop {
            let Some(session) = self.sessions.get(index) else {
                return;
            };
            let conn = session.link;
            let Some(window) = self
                .links
                .get(conn)
                .filter(|link| link.is_live())
                .map(|link| link.window)
            else {
                return;
            };
            if cx.host.backlog(conn) > self.options.backlog_bytes {
                return;
            }
            if !self.pump_zero(index, conn, cx) && !self.pump_entry(index, conn, window, cx) {
                return;
            }
        }
    }

    fn pump_zero<H: Host>(&mut self, index: u32, conn: ConnId, cx: &mut Cx<'_, H>) -> bool {
        let Some(zero) = self.queue(index, Queue::pop_zero).flatten() else {
            return false;
        };
        if zero.message.is_expired(cx.now.unix_ms) {
            self.stats.publishes_expired += 1;
            return true;
        }
        let how = How {
            qos: QoS::AtMostOnce,
            retain: zero.retain,
            duplicate: false,
            packet_id: 0,
            ids: zero.ids.as_slice(),
        };
        self.put(conn, &View::of(&zero.message), &how, false, cx);
        true
    }

    fn pump_entry<H: Host>(
        &mut self,
        index: u32,
        conn: ConnId,
        window: u16,
        cx: &mut Cx<'_, H>,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(index) else {
            return false;
        };
        let is_recorded = session.is_recorded();
        let Some((seq, entry, was_sent)) = session.queue.peek(window, is_recorded) else {
            return false;
        };
        let packet_id = packet_id_of(seq);
        if entry.stage == Stage::Release {
            self.queue(index, |queue| queue.advance(false));
            self.put_ack(conn, AckKind::PubRel, packet_id, Reason::SUCCESS, cx);
            return true;
        }
        let Some(message) = entry.message.clone() else {
            self.give_up(index, seq);
            return true;
        };
        // A message whose delivery has begun is not dropped any more.
        if !was_sent && message.is_expired(cx.now.unix_ms) {
            self.stats.publishes_expired += 1;
            self.give_up(index, seq);
            return true;
        }
        let (qos, retain, ids) = (entry.qos, entry.retain, entry.ids.clone());
        self.queue(index, |queue| queue.advance(!is_recorded));
        let how = How {
            qos,
            retain,
            duplicate: was_sent,
            packet_id,
            ids: ids.as_slice(),
        };
        if !self.put(conn, &View::of(&message), &how, false, cx) {
            self.give_up(index, seq);
        }
        true
    }

    /// PUBACK, PUBREC or PUBCOMP of a client. False: it does not fit the message.
    pub(super) fn on_ack<H: Host>(&mut self, conn: ConnId, ack: Ack, cx: &mut Cx<'_, H>) -> bool {
        let Some(index) = self.links.get(conn).map(|link| link.session) else {
            return true;
        };
        let Some(session) = self.sessions.get_mut(index) else {
            return true;
        };
        let found = session
            .queue
            .find(ack.packet_id)
            .map(|(seq, entry)| (seq, entry.qos, entry.stage));
        match (ack.kind, found) {
            (AckKind::PubAck, Some((_, QoS::ExactlyOnce, _)))
            | (AckKind::PubRec, Some((_, QoS::AtLeastOnce, _)))
            | (AckKind::PubComp, Some((_, _, Stage::Publish | Stage::Received))) => return false,
            (AckKind::PubRec, None) => {
                self.put_ack(
                    conn,
                    AckKind::PubRel,
                    ack.packet_id,
                    Reason::PACKET_ID_NOT_FOUND,
                    cx,
                );
                return true;
            }
            (AckKind::PubRec, Some((seq, _, stage))) if !ack.reason.is_error() => {
                self.on_received(index, seq, stage, cx);
                return true;
            }
            (_, None) => return true,
            (_, Some((seq, ..))) => self.give_up(index, seq),
        }
        self.pump(index, cx);
        self.makes_progress(conn, cx);
        true
    }

    /// PUBREC. PUBREL makes the client forget the message, so the store has to know first: otherwise it would be sent
    /// again after a crash.
    fn on_received<H: Host>(&mut self, index: u32, seq: u64, stage: Stage, cx: &mut Cx<'_, H>) {
        let Some(session) = self.sessions.get(index) else {
            return;
        };
        let (conn, id) = (session.link, session.id);
        match (stage, session.is_recorded()) {
            (Stage::Publish, true) => {
                self.queue(index, |queue| queue.received(seq, Stage::Received));
                self.keep.change(Change::OutReceived { session: id, seq });
                self.hold(index, id, seq, Step::Release);
            }
            (Stage::Received, _) => {}
            (Stage::Publish | Stage::Release | Stage::Done, _) => {
                self.queue(index, |queue| queue.received(seq, Stage::Release));
                self.put_ack(
                    conn,
                    AckKind::PubRel,
                    packet_id_of(seq),
                    Reason::SUCCESS,
                    cx,
                );
            }
        }
    }

    fn hold(&mut self, session: u32, session_id: u64, seq: u64, step: Step) {
        self.keep.held.push_back(Held {
            round: self.keep.round,
            session,
            session_id,
            seq,
            step,
        });
    }
}

/// The delivery of one message to one session, outside of a route.
pub(super) fn single(session: u32, qos: QoS, ids: Ids) -> Target {
    Target {
        session,
        qos,
        retain_as_published: false,
        ids,
        own: Own::All,
    }
}
