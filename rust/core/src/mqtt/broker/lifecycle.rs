//! How connections and sessions end, and what becomes of wills.

use std::sync::Arc;

use super::super::packet::{Disconnect, Packet, QoS, Reason, Version};
use super::change::{Change, SessionRecord};
use super::deliver::Source;
use super::link::Phase;
use super::message::Message;
use super::queue::{NO_SHARE, Stage};
use super::seam::{ConnId, Host, Now};
use super::session::{NONE, Session};
use super::timers::Due;
use super::{Broker, Cx};

/// How a connection ends, for its will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By a DISCONNECT: the will is discarded [MQTT-3.14.4-3].
    Normal,
    /// In any other way: the will is due [MQTT-3.1.2-8].
    Broken,
    /// The session goes on with another connection: a will that has a delay is not sent.
    TakenOver,
}

impl Broker {
    pub(super) fn on_disconnect<H: Host>(
        &mut self,
        conn: ConnId,
        packet: &Disconnect<'_>,
        cx: &mut Cx<'_, H>,
    ) {
        let maximum = self.options.session_expiry_max_s;
        let Some(session) = self
            .links
            .get(conn)
            .and_then(|link| self.sessions.get_mut(link.session))
        else {
            return;
        };
        if let Some(wanted) = packet.session_expiry_s {
            if session.expiry_s == 0 && wanted != 0 {
                // [MQTT-3.14.2-2]
                return self.fault(
                    conn,
                    Reason::PROTOCOL_ERROR,
                    "a session that had no expiry gets one",
                    cx,
                );
            }
            if session.expiry_s != 0 && wanted == 0 {
                self.keep.change(Change::SessionGone {
                    session: session.id,
                });
            }
            session.expiry_s = match wanted {
                0 => 0,
                wanted => wanted.min(maximum).max(1),
            };
        }
        let end = if packet.reason == Reason::SUCCESS {
            End::Normal
        } else {
            End::Broken
        };
        self.detach(conn, end, cx);
        self.close(conn, cx);
    }

    /// The client has done what it must not.
    pub(super) fn fault<H: Host>(
        &mut self,
        conn: ConnId,
        reason: Reason,
        text: &str,
        cx: &mut Cx<'_, H>,
    ) {
        self.stats.faults += 1;
        self.event_failed(conn, reason, text, cx.now);
        self.hang_up(conn, reason, text, cx);
    }

    /// Ends a connection from our side.
    pub(super) fn hang_up<H: Host>(
        &mut self,
        conn: ConnId,
        reason: Reason,
        text: &str,
        cx: &mut Cx<'_, H>,
    ) {
        self.say_why(conn, reason, text, cx);
        self.detach(conn, End::Broken, cx);
        self.close(conn, cx);
    }

    /// DISCONNECT, where the version has one for servers.
    pub(super) fn say_why<H: Host>(
        &mut self,
        conn: ConnId,
        reason: Reason,
        text: &str,
        cx: &mut Cx<'_, H>,
    ) {
        if self
            .links
            .get(conn)
            .is_some_and(|link| link.is_live() && link.version == Version::V5)
        {
            let packet = Packet::Disconnect(Disconnect {
                reason,
                session_expiry_s: None,
                // Other reasons say it all.
                reason_text: matches!(reason, Reason::MALFORMED_PACKET | Reason::PROTOCOL_ERROR)
                    .then_some(text),
            });
            self.put_packet(conn, &packet, cx);
        }
    }

    pub(super) fn close<H: Host>(&mut self, conn: ConnId, cx: &mut Cx<'_, H>) {
        if let Some(link) = self.links.get_mut(conn) {
            link.phase = Phase::Closing;
            cx.host.close(conn);
        }
    }

    /// Parts a connection from its session. Nothing is sent on it after this.
    pub(super) fn detach<H: Host>(&mut self, conn: ConnId, end: End, cx: &mut Cx<'_, H>) {
        self.end_flow(conn, cx);
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        let index = std::mem::replace(&mut link.session, NONE);
        link.phase = Phase::Closing;
        link.pending.clear();
        link.connecting = None;
        self.timers
            .set(Due::KeepAlive(conn), &mut link.keep_alive_timer, 0);
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        self.stats.clients_connected -= 1;
        session.link = NONE;
        if end == End::Normal {
            session.will = None;
        }
        let dropped = self
            .queue(index, super::queue::Queue::clear_zeros)
            .unwrap_or(0);
        self.stats.publishes_dropped += dropped as u64;
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        if session.expiry_s == 0 {
            return self.end_session(index, cx);
        }
        session.disconnected_unix_ms = Some(cx.now.unix_ms);
        let delay_s = session
            .will
            .as_ref()
            .map(|will| will.delay_s.min(session.expiry_s));
        if delay_s == Some(0) {
            self.publish_will(index, cx);
        }
        self.set_end_timers(index, cx.now);
        self.record_session(index);
    }

    /// The will and the end of a session without a connection, by the time at which it lost it.
    pub(super) fn set_end_timers(&mut self, index: u32, now: Now) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let Some(since) = session.disconnected_unix_ms else {
            return;
        };
        let gone_ms = now.unix_ms.saturating_sub(since);
        let due_at = |after_s: u32| {
            (now.mono_ms + (u64::from(after_s) * 1_000).saturating_sub(gone_ms)).max(1)
        };
        if let Some(will) = &session.will {
            let at = due_at(will.delay_s.min(session.expiry_s));
            self.timers
                .set(Due::Will(index), &mut session.will_timer, at);
        }
        if session.expiry_s != u32::MAX {
            let at = due_at(session.expiry_s);
            self.timers
                .set(Due::SessionEnd(index), &mut session.end_timer, at);
        }
    }

    pub(super) fn record_session(&mut self, index: u32) {
        if let Some(session) = self
            .sessions
            .get(index)
            .filter(|session| session.is_recorded())
        {
            self.keep
                .change(Change::Session(Box::new(record_of(session))));
        }
    }

    /// Ends a session that has no connection.
    pub(super) fn end_session<H: Host>(&mut self, index: u32, cx: &mut Cx<'_, H>) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        if session.is_recorded() {
            self.keep.change(Change::SessionGone {
                session: session.id,
            });
        }
        let shared = shared_messages(session);
        let filters: Vec<Box<str>> = session
            .subscriptions
            .iter()
            .map(|subscribed| subscribed.filter.clone())
            .collect();
        for filter in &filters {
            self.remove_subscription(index, filter);
        }
        self.publish_will(index, cx);
        self.remove_session(index);
        for (group, message) in shared {
            self.hand_on(group, &message, cx);
        }
    }

    /// Forgets a session whose subscriptions are gone.
    pub(super) fn remove_session(&mut self, index: u32) {
        if let Some(session) = self.sessions.get_mut(index) {
            self.timers
                .set(Due::Will(index), &mut session.will_timer, 0);
            self.timers
                .set(Due::SessionEnd(index), &mut session.end_timer, 0);
            self.queued_bytes -= session.queue.bytes();
            self.sessions.remove(index);
        }
    }

    /// A message of a shared subscription whose member is gone goes to another one [MQTT 5.0, 4.8.2].
    fn hand_on<H: Host>(&mut self, group: u32, message: &Arc<Message>, cx: &mut Cx<'_, H>) {
        let mut source = Source::of(message, NONE);
        if message.is_expired(cx.now.unix_ms) {
            return;
        }
        if let Some(target) = self.choose(group, &source, cx) {
            let retain = source.retain && target.retain_as_published;
            self.deliver(&target, retain, (group, false), &mut source, None, cx);
        }
    }

    /// Publishes the will of a session, if it still has one and may.
    pub(super) fn publish_will<H: Host>(&mut self, index: u32, cx: &mut Cx<'_, H>) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        self.timers
            .set(Due::Will(index), &mut session.will_timer, 0);
        let Some(will) = session.will.take() else {
            return;
        };
        if will.message.topic.starts_with("$SYS") || !session.may_write(&will.message.topic) {
            self.stats.publishes_unauthorized += 1;
            return;
        }
        let message = match will.expiry_s {
            None => will.message,
            Some(expiry_s) => Arc::new(Message {
                expires_unix_ms: Some(cx.now.unix_ms + u64::from(expiry_s) * 1_000),
                ..(*will.message).clone()
            }),
        };
        self.publish_message(&message, cx);
    }
}

/// What of a session's queue another member of a group may get: QoS 2 messages only while they have not been sent.
fn shared_messages(session: &Session) -> Vec<(u32, Arc<Message>)> {
    let sent_seq = session.queue.sent_seq();
    session
        .queue
        .iter()
        .filter(|(seq, entry)| {
            entry.share != NO_SHARE
                && entry.stage == Stage::Publish
                && (entry.qos == QoS::AtLeastOnce || *seq >= sent_seq)
        })
        .filter_map(|(_, entry)| Some((entry.share, Arc::clone(entry.message.as_ref()?))))
        .collect()
}

pub(super) fn record_of(session: &Session) -> SessionRecord {
    SessionRecord {
        id: session.id,
        client_id: Arc::clone(&session.client_id),
        version: session.version,
        expiry_s: session.expiry_s,
        disconnected_unix_ms: session.disconnected_unix_ms,
        sent_seq: session.queue.sent_seq(),
        next_seq: session.queue.next_seq(),
        will: session.will.clone(),
    }
}
