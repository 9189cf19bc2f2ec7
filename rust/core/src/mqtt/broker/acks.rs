//! Acknowledgements to publishers: in the order of their packets, and not before what they promise is kept.

use std::collections::VecDeque;

use super::super::packet::{AckKind, Granted, Packet, QoS, Reason, Version};
use super::change::packet_id_of;
use super::connect::Welcome;
use super::keep::{Keep, Step};
use super::lifecycle::End;
use super::link::Phase;
use super::queue::Ids;
use super::seam::{ConnId, Host, Refusal};
use super::session::Known;
use super::{Broker, Cx};

/// Rounds that have to be kept and mapped first; 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    pub kept: u64,
    pub mapped: u64,
}

impl Need {
    pub const NOTHING: Self = Self { kept: 0, mapped: 0 };

    pub fn is_met(self, keep: &Keep) -> bool {
        self.kept <= keep.kept && self.mapped <= keep.mapped
    }
}

/// Retained messages that a new subscription gets, after its SUBACK.
#[derive(Debug)]
pub(super) struct RetainedFor {
    pub filter: Box<str>,
    pub qos: QoS,
    pub no_local: bool,
    pub ids: Ids,
}

#[derive(Debug)]
pub(super) enum Pending {
    /// The first one of its connection, which is not read from meanwhile.
    Connect(Box<Welcome>),
    /// PUBACK, PUBCOMP, or a PUBREC that refuses.
    Publish {
        kind: AckKind,
        packet_id: u16,
        reason: Reason,
        need: Need,
    },
    /// PUBREC; its need stands in the session, where it survives the connection.
    Received {
        packet_id: u16,
        reason: Reason,
        refused: Option<Refusal>,
    },
    Subscribe(Box<Subscribe>),
    Unsubscribe(Box<(Granted, Need)>),
}

/// SUBACK.
#[derive(Debug)]
pub(super) struct Subscribe {
    pub granted: Granted,
    pub need: Need,
    pub retained: Vec<RetainedFor>,
}

/// Acknowledgements that may wait for a client of an older version.
pub(super) const PENDING_MAX: u32 = 65_535;

fn reason_of(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::Full => Reason::QUOTA_EXCEEDED,
        Refusal::Failed => Reason::IMPLEMENTATION_SPECIFIC,
    }
}

impl Broker {
    /// Acknowledges, now or when its turn comes.
    pub(super) fn acknowledge<H: Host>(
        &mut self,
        conn: ConnId,
        pending: Pending,
        cx: &mut Cx<'_, H>,
    ) {
        let Some(link) = self.links.get(conn) else {
            return;
        };
        if link.pending.is_empty() && self.is_ready(link.session, &pending) {
            return self.send_ack(conn, link.session, pending, cx);
        }
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        link.pending.push_back(pending);
        if !std::mem::replace(&mut link.is_awaiting, true) {
            self.awaiting.push((conn, link.serial));
        }
    }

    fn is_ready(&self, session: u32, pending: &Pending) -> bool {
        match pending {
            Pending::Connect(welcome) => welcome.need.is_met(&self.keep),
            Pending::Publish { need, .. } => need.is_met(&self.keep),
            Pending::Subscribe(subscribe) => subscribe.need.is_met(&self.keep),
            Pending::Unsubscribe(unsubscribe) => unsubscribe.1.is_met(&self.keep),
            Pending::Received {
                packet_id, refused, ..
            } => {
                refused.is_some()
                    || self
                        .sessions
                        .get(session)
                        .and_then(|session| session.unreleased(*packet_id))
                        .is_none_or(|message| message.need.is_met(&self.keep))
            }
        }
    }

    /// Sends the acknowledgements whose turn has come.
    fn release_acks<H: Host>(&mut self, conn: ConnId, cx: &mut Cx<'_, H>) {
        while let Some(link) = self.links.get(conn)
            && matches!(link.phase, Phase::Greeting | Phase::Live)
        {
            let session = link.session;
            match link.pending.front() {
                Some(front) if self.is_ready(session, front) => {}
                _ => return,
            }
            let Some(pending) = self
                .links
                .get_mut(conn)
                .and_then(|link| link.pending.pop_front())
            else {
                return;
            };
            if matches!(pending, Pending::Connect(_)) {
                cx.host.pause(conn, false);
            }
            self.send_ack(conn, session, pending, cx);
        }
    }

    fn send_ack<H: Host>(
        &mut self,
        conn: ConnId,
        session: u32,
        pending: Pending,
        cx: &mut Cx<'_, H>,
    ) {
        match pending {
            Pending::Connect(welcome) => self.greet(conn, &welcome, cx),
            Pending::Publish {
                kind,
                packet_id,
                reason,
                ..
            } => {
                if reason != Reason::PACKET_ID_NOT_FOUND {
                    self.is_acknowledged(conn);
                }
                self.put_ack(conn, kind, packet_id, reason, cx);
            }
            Pending::Received {
                packet_id,
                refused: None,
                reason,
            } => self.put_ack(conn, AckKind::PubRec, packet_id, reason, cx),
            Pending::Received {
                packet_id,
                refused: Some(refusal),
                ..
            } => {
                self.is_acknowledged(conn);
                self.put_ack(conn, AckKind::PubRec, packet_id, reason_of(refusal), cx);
            }
            Pending::Subscribe(subscribe) => {
                self.put_packet(conn, &Packet::SubAck(subscribe.granted), cx);
                for wanted in &subscribe.retained {
                    self.send_retained(session, wanted, cx);
                }
            }
            Pending::Unsubscribe(unsubscribe) => {
                self.put_packet(conn, &Packet::UnsubAck(unsubscribe.0), cx);
            }
        }
    }

    /// One message less that the client waits for.
    pub(super) fn is_acknowledged(&mut self, conn: ConnId) {
        if let Some(link) = self.links.get_mut(conn) {
            link.unacknowledged = link.unacknowledged.saturating_sub(1);
        }
    }

    pub(super) fn on_kept<H: Host>(
        &mut self,
        round: u64,
        result: Result<(), Refusal>,
        cx: &mut Cx<'_, H>,
    ) {
        if round <= self.keep.kept {
            return;
        }
        if let Err(refusal) = result {
            let from = self.keep.kept;
            self.refuse(refusal, |need| need.kept > from && need.kept <= round, cx);
        }
        self.keep.kept = round;
        self.keep.note_receipts(round, result);
        self.release_held(round, result.is_ok(), cx);
        self.release_all(cx);
    }

    pub(super) fn on_mapped<H: Host>(
        &mut self,
        round: u64,
        result: Result<(), Refusal>,
        cx: &mut Cx<'_, H>,
    ) {
        if round <= self.keep.mapped {
            return;
        }
        if let Err(refusal) = result {
            let from = self.keep.mapped;
            self.refuse(
                refusal,
                |need| need.mapped > from && need.mapped <= round,
                cx,
            );
        }
        self.keep.mapped = round;
        self.finish_rows(round, result.is_ok(), cx);
        self.release_all(cx);
    }

    /// QoS 2 messages whose round is kept go out; those whose round is refused do not.
    fn release_held<H: Host>(&mut self, round: u64, is_kept: bool, cx: &mut Cx<'_, H>) {
        let mut ready: Vec<(u32, u64)> = Vec::new();
        while let Some(held) = self
            .keep
            .held
            .front()
            .copied()
            .filter(|held| held.round <= round)
        {
            self.keep.held.pop_front();
            if let Some(session) = self.sessions.same(held.session, held.session_id) {
                let conn = session.link;
                match held.step {
                    Step::Publish => {
                        session.queue.keep_up_to(held.seq + 1);
                        if !is_kept {
                            self.give_up(held.session, held.seq);
                        }
                    }
                    Step::Release => {
                        if session.queue.release(held.seq) {
                            let packet_id = packet_id_of(held.seq);
                            self.put_ack(conn, AckKind::PubRel, packet_id, Reason::SUCCESS, cx);
                        }
                    }
                }
                if ready.last() != Some(&(held.session, held.session_id)) {
                    ready.push((held.session, held.session_id));
                }
            }
        }
        for (session, id) in ready {
            if self.sessions.same(session, id).is_some() {
                self.pump(session, cx);
            }
        }
    }

    fn release_all<H: Host>(&mut self, cx: &mut Cx<'_, H>) {
        let awaiting = std::mem::take(&mut self.awaiting);
        for (conn, serial) in awaiting {
            if self
                .links
                .get(conn)
                .is_none_or(|link| link.serial != serial)
            {
                continue;
            }
            self.release_acks(conn, cx);
            self.check_replies(conn, cx);
            if let Some(link) = self.links.get_mut(conn) {
                if link.pending.is_empty() {
                    link.pending = VecDeque::new();
                    link.is_awaiting = false;
                } else {
                    self.awaiting.push((conn, serial));
                }
            }
        }
    }

    /// What waits for refused rounds is refused: version 5 clients are told, others are closed without an
    /// acknowledgement, so that they send again.
    fn refuse<H: Host>(
        &mut self,
        refusal: Refusal,
        is_refused: impl Fn(Need) -> bool,
        cx: &mut Cx<'_, H>,
    ) {
        let mut to_close = Vec::new();
        for &(conn, serial) in &self.awaiting {
            let Some(link) = self
                .links
                .get_mut(conn)
                .filter(|link| link.serial == serial)
            else {
                continue;
            };
            let session = self.sessions.get(link.session);
            let is_old = link.version != Version::V5;
            for pending in &mut link.pending {
                let refused_here = match pending {
                    // A PUBCOMP cannot refuse: the client sends PUBREL again.
                    Pending::Publish {
                        kind: AckKind::PubComp,
                        need,
                        ..
                    } if is_refused(*need) => true,
                    Pending::Publish { need, reason, .. } if is_refused(*need) => {
                        *reason = reason_of(refusal);
                        *need = Need::NOTHING;
                        is_old
                    }
                    Pending::Received {
                        packet_id, refused, ..
                    } => match session.and_then(|session| session.unreleased(*packet_id)) {
                        // Of a message that has its rows the rest is to come again.
                        Some(message) if is_refused(message.need) && message.has_rows => true,
                        // When writing failed, its rows may turn out to be kept: it is to come again as the same one.
                        Some(message) if is_refused(message.need) => {
                            *refused = Some(refusal);
                            is_old || (refusal == Refusal::Failed && message.need.mapped != 0)
                        }
                        _ => continue,
                    },
                    Pending::Connect(welcome) if is_refused(welcome.need) => true,
                    Pending::Subscribe(subscribe) if is_refused(subscribe.need) => true,
                    Pending::Unsubscribe(unsubscribe) if is_refused(unsubscribe.1) => true,
                    _ => continue,
                };
                self.stats.publishes_refused += 1;
                if refused_here {
                    to_close.push(conn);
                    break;
                }
            }
        }
        for (_, session) in self.sessions.iter_mut() {
            let release = Need {
                kept: session.released_round,
                mapped: 0,
            };
            session.is_release_refused |= is_refused(release);
            if let Some(unreleased) = &mut session.unreleased {
                unreleased.retain(|_, message| !is_refused(message.need) || message.has_rows);
                for message in unreleased.values_mut().filter(|m| is_refused(m.need)) {
                    message.need = Need::NOTHING;
                    message.known = Known::Rows;
                }
            }
        }
        for conn in to_close {
            let (reason, text) = (reason_of(refusal), "what was sent could not be kept");
            let is_new = |link: &super::link::Link| link.phase == Phase::Greeting;
            if self.links.get(conn).is_some_and(is_new) {
                // Never connected, so it has no will [MQTT-3.1.2-8].
                self.detach(conn, End::Normal, cx);
                self.refuse_connect(conn, reason, text, cx);
            } else {
                self.hang_up(conn, reason, text, cx);
            }
        }
    }
}
