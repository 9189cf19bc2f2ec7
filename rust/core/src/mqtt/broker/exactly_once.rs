//! QoS 2 messages from clients: each is taken once, from its PUBLISH to its PUBREL, whatever comes again.
//!
//! Two logs keep what becomes of a message: the intake's journal its rows, with a receipt, and the broker's store all
//! else. A crash may leave one without the other. So there is an order: first the rows are made durable; then, in one
//! round of the store, subscribers get the message and its id is recorded; then comes PUBREC. A receipt without a
//! recorded id says that the message comes again and has its rows already.

use std::sync::Arc;

use super::super::packet::{AckKind, Publish, QoS, Reason};
use super::acks::{Need, Pending};
use super::change::Change;
use super::deliver::Source;
use super::keep::Unspread;
use super::message::Message;
use super::publish::Spread;
use super::route::Route;
use super::seam::{ConnId, Host, Receipt};
use super::session::{Known, NONE, Unreleased};
use super::{Broker, Cx};

impl Broker {
    /// A QoS 2 message that was received already is acknowledged again and goes no further [MQTT-4.3.3-10].
    pub(super) fn is_known<H: Host>(
        &mut self,
        conn: ConnId,
        index: u32,
        publish: &Publish<'_>,
        cx: &mut Cx<'_, H>,
    ) -> bool {
        let is_known = publish.qos == QoS::ExactlyOnce
            && self
                .sessions
                .get(index)
                .and_then(|session| session.unreleased(publish.packet_id))
                .is_some_and(|message| message.known != Known::Rows);
        if is_known {
            let pending = Pending::Received {
                packet_id: publish.packet_id,
                reason: Reason::SUCCESS,
                refused: None,
            };
            self.acknowledge(conn, pending, cx);
        }
        is_known
    }

    /// The message comes again, and its rows are durable: it is for the others only.
    pub(super) fn has_rows(&self, index: u32, publish: &Publish<'_>) -> bool {
        publish.qos == QoS::ExactlyOnce
            && self
                .sessions
                .get(index)
                .and_then(|session| session.unreleased(publish.packet_id))
                .is_some_and(|message| message.known == Known::Rows)
    }

    /// What makes a mapped QoS 2 message known after a crash.
    pub(super) fn receipt(&self, index: u32, publish: &Publish<'_>) -> Option<Receipt> {
        if publish.qos != QoS::ExactlyOnce {
            return None;
        }
        let session = self
            .sessions
            .get(index)
            .filter(|session| session.is_recorded())?;
        Some(Receipt {
            session: session.id,
            packet_id: publish.packet_id,
        })
    }

    /// The others get the message when its rows are durable.
    pub(super) fn spread_later(
        &mut self,
        index: u32,
        publish: &Publish<'_>,
        route: &Route,
        message: Arc<Message>,
    ) {
        let Some(session) = self.sessions.get(index) else {
            return;
        };
        let is_for_others = publish.retain || !route.targets.is_empty() || !route.groups.is_empty();
        if publish.retain {
            self.keep.is_retained_anew(&message.topic);
        }
        self.keep.spread_later(Unspread {
            round: self.keep.round,
            session: index,
            session_id: session.id,
            packet_id: publish.packet_id,
            message: is_for_others.then_some(message),
            retains: publish.retain,
        });
    }

    /// Remembers a message until it is released. In the store only when something of it is kept: it would be there
    /// twice if it came again after a crash. The id of one that becomes rows follows them.
    pub(super) fn note_received(&mut self, index: u32, packet_id: u16, need: Need) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let has_rows = session
            .unreleased(packet_id)
            .is_some_and(|message| message.has_rows);
        let is_recorded = session.is_recorded() && need.kept != 0;
        let known = if is_recorded {
            Known::Recorded
        } else {
            Known::Here
        };
        session.set_unreleased(
            packet_id,
            Unreleased {
                need,
                known,
                has_rows,
            },
        );
        if is_recorded {
            self.keep.change(Change::Received {
                session: session.id,
                packet_id,
            });
        }
    }

    /// The rows of all rounds up to this one are durable, or refused: then the messages go no further.
    pub(super) fn finish_rows<H: Host>(&mut self, round: u64, is_kept: bool, cx: &mut Cx<'_, H>) {
        let mut is_first = true;
        while let Some(row) = self.keep.next_unspread(round) {
            if std::mem::take(&mut is_first) {
                self.keep.receipts_are_recorded(round);
            }
            if is_kept {
                self.finish_row(&row, cx);
            }
        }
    }

    fn finish_row<H: Host>(&mut self, row: &Unspread, cx: &mut Cx<'_, H>) {
        let publisher = self
            .sessions
            .same(row.session, row.session_id)
            .map(|session| session.link);
        let mut spread = Spread::default();
        if let Some(message) = &row.message {
            let index = publisher.map_or(NONE, |_| row.session);
            spread = self.spread_now(message, index, publisher, row.retains, cx);
        }
        let Some(session) = self.sessions.same(row.session, row.session_id) else {
            return;
        };
        // None: released before PUBREC.
        let Some(message) = session.unreleased(row.packet_id) else {
            return;
        };
        let is_recorded = session.is_recorded();
        let known = if is_recorded {
            Known::Recorded
        } else {
            Known::Here
        };
        let kept = if is_recorded || spread.is_kept {
            self.keep.round
        } else {
            0
        };
        let need = Need {
            kept,
            ..message.need
        };
        session.set_unreleased(
            row.packet_id,
            Unreleased {
                need,
                known,
                has_rows: true,
            },
        );
        if is_recorded {
            self.keep.change(Change::Received {
                session: session.id,
                packet_id: row.packet_id,
            });
        }
    }

    fn spread_now<H: Host>(
        &mut self,
        message: &Arc<Message>,
        publisher: u32,
        link: Option<ConnId>,
        retains: bool,
        cx: &mut Cx<'_, H>,
    ) -> Spread {
        let route = self.router.route(
            &message.topic,
            &self.sessions,
            cx.host.generation(),
            |topic| cx.host.takes(topic),
        );
        let mut source = Source::of(message, publisher);
        let feeder = link.filter(|link| *link != NONE);
        let mut spread = self.spread(&route, &mut source, feeder, cx);
        spread.is_kept |= retains && self.retain(&mut source);
        spread
    }

    /// A message is refused: its id is free, which the store has to know before the client, if it knows the id.
    /// Returns the round.
    pub(super) fn release_refused(&mut self, conn: ConnId, packet_id: u16) -> u64 {
        let session = self
            .links
            .get(conn)
            .and_then(|link| self.sessions.get_mut(link.session));
        let Some(session) = session else {
            return 0;
        };
        let known = session.take_unreleased(packet_id);
        if known.is_none_or(|message| message.known == Known::Here) || !session.is_recorded() {
            return 0;
        }
        self.keep.change(Change::Released {
            session: session.id,
            packet_id,
        });
        self.keep.round
    }

    pub(super) fn on_release<H: Host>(&mut self, conn: ConnId, packet_id: u16, cx: &mut Cx<'_, H>) {
        let Some(session) = self
            .links
            .get(conn)
            .and_then(|link| self.sessions.get_mut(link.session))
        else {
            return;
        };
        // After PUBCOMP the client may use the id for another message, so the store has to know first; also when
        // PUBREL comes again meanwhile.
        let known = session.take_unreleased(packet_id);
        let may_be_stored =
            session.is_release_refused || known.is_some_and(|message| message.known != Known::Here);
        if may_be_stored && session.is_recorded() {
            session.released_round = self.keep.round;
            self.keep.change(Change::Released {
                session: session.id,
                packet_id,
            });
        }
        let need = Need {
            kept: session.released_round,
            mapped: 0,
        };
        let reason = match known {
            Some(_) => Reason::SUCCESS,
            None => Reason::PACKET_ID_NOT_FOUND,
        };
        let pending = Pending::Publish {
            kind: AckKind::PubComp,
            packet_id,
            reason,
            need,
        };
        self.acknowledge(conn, pending, cx);
    }
}
