//! PUBLISH from a client, and messages of the node itself.

use std::sync::Arc;

use super::super::packet::{AckKind, Publish, QoS, Reason, Version};
use super::acks::{Need, PENDING_MAX, Pending};
use super::deliver::{Delivery, Source, View};
use super::link::Link;
use super::message::Message;
use super::queue::{Ids, NO_SHARE};
use super::route::{Own, Route, Target};
use super::seam::{ConnId, Host, Inbound, Receipt};
use super::session::NONE;
use super::{Broker, Cx};

/// What became of a message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread {
    /// Subscribers that match.
    pub reached: usize,
    /// Of those the sessions whose queue was full.
    pub full: usize,
    /// The store has to keep something of it.
    pub is_kept: bool,
}

/// The topic that an alias stands for; defines it when there is a topic, too.
fn resolve(
    link: &mut Link,
    publish: &Publish<'_>,
    maximum: u16,
) -> Result<Option<Arc<str>>, Reason> {
    let Some(alias) = publish.topic_alias else {
        return if publish.topic.is_empty() {
            Err(Reason::PROTOCOL_ERROR)
        } else {
            Ok(None)
        };
    };
    if alias == 0 || alias > maximum {
        return Err(Reason::TOPIC_ALIAS_INVALID);
    }
    let index = usize::from(alias) - 1;
    if publish.topic.is_empty() {
        return match link.aliases_in.get(index) {
            Some(Some(topic)) => Ok(Some(Arc::clone(topic))),
            _ => Err(Reason::PROTOCOL_ERROR),
        };
    }
    if link.aliases_in.len() <= index {
        link.aliases_in.resize(index + 1, None);
    }
    if link.aliases_in[index].as_deref() != Some(publish.topic) {
        link.aliases_in[index] = Some(publish.topic.into());
    }
    Ok(None)
}

impl Spread {
    fn add(&mut self, delivery: Delivery) {
        self.reached += 1;
        self.is_kept |= delivery == Delivery::Recorded;
        self.full += usize::from(delivery == Delivery::Full);
    }

    /// All who were to get the message have no room for it.
    fn is_lost(&self) -> bool {
        self.full > 0 && self.full == self.reached && !self.is_kept
    }
}

impl Broker {
    pub(super) fn on_publish<H: Host>(
        &mut self,
        conn: ConnId,
        publish: &Publish<'_>,
        cx: &mut Cx<'_, H>,
    ) {
        let alias_maximum = self.options.topic_alias_maximum;
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        let alias = match resolve(link, publish, alias_maximum) {
            Ok(alias) => alias,
            Err(reason) => return self.fault(conn, reason, "topic alias", cx),
        };
        let topic = alias.as_deref().unwrap_or(publish.topic);
        let index = link.session;
        if publish.qos != QoS::AtMostOnce {
            let maximum = match link.version {
                Version::V5 => u32::from(self.options.receive_maximum),
                _ => PENDING_MAX,
            };
            if self.is_known(conn, index, publish, cx) {
                return;
            }
            let Some(link) = self.links.get_mut(conn) else {
                return;
            };
            if link.unacknowledged >= maximum {
                return self.fault(
                    conn,
                    Reason::RECEIVE_MAXIMUM_EXCEEDED,
                    "receive maximum",
                    cx,
                );
            }
            link.unacknowledged += 1;
        }
        self.stats.publishes_received += 1;
        self.stats.publish_bytes_received += publish.payload.len() as u64;
        let route = self
            .router
            .route(topic, &self.sessions, cx.host.generation(), |topic| {
                cx.host.takes(topic)
            });
        if !route.is_valid {
            return self.fault(conn, Reason::TOPIC_NAME_INVALID, "topic name", cx);
        }
        if let Err(reason) = self.check_rights(conn, index, topic, publish, &route) {
            return self.refuse_publish(conn, publish, reason, cx);
        }
        let mut source = Source {
            view: View {
                topic,
                payload: publish.payload,
                properties: &publish.properties.encoded,
                expires_unix_ms: publish
                    .expiry_s
                    .map(|expiry_s| cx.now.unix_ms + u64::from(expiry_s) * 1_000),
            },
            is_text: publish.properties.is_text,
            qos: publish.qos,
            retain: publish.retain,
            publisher: index,
            shared: None,
            is_recorded: false,
        };
        let has_rows = self.has_rows(index, publish);
        let is_mapped = route.is_mapped && !has_rows;
        let waits = is_mapped && publish.qos == QoS::ExactlyOnce;
        let mut spread = Spread::default();
        if !waits {
            spread = self.spread(&route, &mut source, Some(conn), cx);
            spread.is_kept |= publish.retain && self.retain(&mut source);
        }
        if spread.is_lost() && !route.is_mapped && self.understands_quota(conn) {
            return self.refuse_publish(conn, publish, Reason::QUOTA_EXCEEDED, cx);
        }
        if is_mapped {
            let receipt = self.receipt(index, publish);
            let message = self.map(&mut source, receipt, cx);
            if waits {
                self.spread_later(index, publish, &route, message);
            }
        } else if spread.reached == 0 {
            self.stats.publishes_unmatched += 1;
        }
        let need = Need {
            kept: if spread.is_kept || has_rows {
                self.keep.round
            } else {
                0
            },
            mapped: if is_mapped { self.keep.round } else { 0 },
        };
        let reason = if spread.reached == 0 && !route.is_mapped {
            Reason::NO_MATCHING_SUBSCRIBERS
        } else {
            Reason::SUCCESS
        };
        self.answer(conn, index, publish, need, reason, cx);
    }

    /// Older versions have no word for a message that is lost; a publisher that is closed for it would come again and
    /// again.
    fn understands_quota(&self, conn: ConnId) -> bool {
        self.links
            .get(conn)
            .is_some_and(|link| link.version == Version::V5)
    }

    fn check_rights(
        &mut self,
        conn: ConnId,
        index: u32,
        topic: &str,
        publish: &Publish<'_>,
        route: &Route,
    ) -> Result<(), Reason> {
        if let Some(link) = self.links.get_mut(conn)
            && link.allowed_route != route.stamp
        {
            let may_write = self
                .sessions
                .get(index)
                .is_some_and(|session| session.may_write(topic));
            if !may_write || topic.starts_with("$SYS") {
                return Err(Reason::NOT_AUTHORIZED);
            }
            link.allowed_route = route.stamp;
        }
        if publish.retain
            && !publish.payload.is_empty()
            && !self.retained.has_room(topic, publish, &self.options)
        {
            return Err(Reason::QUOTA_EXCEEDED);
        }
        Ok(())
    }

    /// A message that is not taken. Older versions have no word for it: what is not allowed is acknowledged and
    /// dropped [MQTT-3.3.5-2], what there is no room for is not acknowledged.
    fn refuse_publish<H: Host>(
        &mut self,
        conn: ConnId,
        publish: &Publish<'_>,
        reason: Reason,
        cx: &mut Cx<'_, H>,
    ) {
        self.event_failed(conn, reason, "not taken", cx.now);
        if reason == Reason::NOT_AUTHORIZED {
            self.stats.publishes_unauthorized += 1;
        } else {
            self.stats.publishes_refused += 1;
        }
        let is_old = self
            .links
            .get(conn)
            .is_some_and(|link| link.version != Version::V5);
        if is_old && reason != Reason::NOT_AUTHORIZED && publish.qos != QoS::AtMostOnce {
            return self.hang_up(conn, reason, "no room for the message", cx);
        }
        let kind = match publish.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => AckKind::PubAck,
            QoS::ExactlyOnce => AckKind::PubRec,
        };
        let kept = match publish.qos {
            QoS::ExactlyOnce => self.release_refused(conn, publish.packet_id),
            _ => 0,
        };
        let pending = Pending::Publish {
            kind,
            packet_id: publish.packet_id,
            reason,
            need: Need { kept, mapped: 0 },
        };
        self.acknowledge(conn, pending, cx);
    }

    fn map<H: Host>(
        &mut self,
        source: &mut Source<'_>,
        receipt: Option<Receipt>,
        cx: &Cx<'_, H>,
    ) -> Arc<Message> {
        self.stats.publishes_mapped += 1;
        let message = source.message(&self.sessions, &mut self.keep);
        self.keep.map(Inbound {
            message: Arc::clone(&message),
            arrival_us: cx.now.unix_ms as i64 * 1_000,
            receipt,
        });
        message
    }

    fn answer<H: Host>(
        &mut self,
        conn: ConnId,
        index: u32,
        publish: &Publish<'_>,
        need: Need,
        reason: Reason,
        cx: &mut Cx<'_, H>,
    ) {
        let packet_id = publish.packet_id;
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => {
                let pending = Pending::Publish {
                    kind: AckKind::PubAck,
                    packet_id,
                    reason,
                    need,
                };
                self.acknowledge(conn, pending, cx);
            }
            QoS::ExactlyOnce => {
                self.note_received(index, packet_id, need);
                let pending = Pending::Received {
                    packet_id,
                    reason,
                    refused: None,
                };
                self.acknowledge(conn, pending, cx);
            }
        }
    }

    /// To all subscribers.
    pub(super) fn spread<H: Host>(
        &mut self,
        route: &Route,
        source: &mut Source<'_>,
        feeder: Option<ConnId>,
        cx: &mut Cx<'_, H>,
    ) -> Spread {
        let mut spread = Spread::default();
        let is_one_of_many = route.targets.len() > 1;
        if is_one_of_many {
            self.scratch.reset();
        }
        for target in &route.targets {
            let target = match &target.own {
                Own::Nothing if target.session == source.publisher => continue,
                Own::Some(own) if target.session == source.publisher => own,
                _ => target,
            };
            let retain = source.retain && target.retain_as_published;
            let many = (NO_SHARE, is_one_of_many);
            spread.add(self.deliver(target, retain, many, source, feeder, cx));
        }
        for &group in &route.groups {
            let Some(target) = self.choose(group, source, cx) else {
                continue;
            };
            let retain = source.retain && target.retain_as_published;
            spread.add(self.deliver(&target, retain, (group, false), source, feeder, cx));
        }
        spread
    }

    /// The member of a group whose turn it is: one that has room, else one that is connected, else one whose session
    /// waits.
    pub(super) fn choose<H: Host>(
        &mut self,
        group: u32,
        source: &Source<'_>,
        cx: &Cx<'_, H>,
    ) -> Option<Target> {
        let members = &self.router.group(group)?.members;
        let first = self.router.group(group)?.next;
        let mut best: Option<(u8, usize)> = None;
        for step in 0..members.len() {
            let at = (first + step) % members.len();
            let Some(session) = self.sessions.get(members[at].session) else {
                continue;
            };
            let qos = source.qos.min(members[at].options.qos);
            let rank = match (session.is_connected(), qos) {
                (true, _) => u8::from(!self.has_room(session.link, qos, cx)),
                (false, QoS::AtMostOnce) => continue,
                (false, _) => 2,
            };
            if best.is_some_and(|(best, _)| best <= rank) || !session.may_read(source.view.topic) {
                continue;
            }
            best = Some((rank, at));
            if rank == 0 {
                break;
            }
        }
        let at = best?.1;
        let member = members[at];
        let next = (at + 1) % members.len();
        self.router.group_mut(group)?.next = next;
        Some(Target {
            session: member.session,
            qos: member.options.qos,
            retain_as_published: member.options.retain_as_published,
            ids: Ids::One(member.id),
            own: Own::All,
        })
    }

    /// A message that is whole already: a will, `$SYS`, the node's own.
    pub(super) fn publish_message<H: Host>(
        &mut self,
        message: &Arc<Message>,
        cx: &mut Cx<'_, H>,
    ) -> (Spread, bool) {
        let route = self.router.route(
            &message.topic,
            &self.sessions,
            cx.host.generation(),
            |topic| cx.host.takes(topic),
        );
        if !route.is_valid {
            return (Spread::default(), false);
        }
        let publisher = message
            .publisher
            .as_ref()
            .and_then(|client_id| self.sessions.find(client_id))
            .unwrap_or(NONE);
        let mut source = Source::of(message, publisher);
        let mut spread = self.spread(&route, &mut source, None, cx);
        spread.is_kept |= message.retain && self.retain(&mut source);
        let is_mapped = route.is_mapped && message.id != 0;
        if is_mapped {
            self.map(&mut source, None, cx);
        }
        (spread, is_mapped)
    }
}
