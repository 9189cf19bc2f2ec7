//! Packets into the output of connections.

use super::super::codec::{self, PublishHead};
use super::super::packet::{Ack, AckKind, Packet, QoS, Reason, Version};
use super::deliver::View;
use super::seam::{ConnId, Host};
use super::{Broker, Cx};

/// How a message goes to one client.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    pub qos: QoS,
    pub retain: bool,
    pub duplicate: bool,
    /// 0 with QoS 0.
    pub packet_id: u16,
    pub ids: &'a [u32],
}

/// An encoded PUBLISH that several clients get.
#[derive(Debug, Default)]
struct Encoded {
    bytes: Vec<u8>,
    /// None = nothing yet.
    key: Option<(QoS, bool)>,
    packet_id_at: usize,
}

/// One per form of the packet: older versions, version 5.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    forms: [Encoded; 2],
}

impl Scratch {
    /// Bytes that are kept from message to message.
    const KEEP_BYTES: usize = 256 * 1024;

    pub fn reset(&mut self) {
        for form in &mut self.forms {
            form.key = None;
            if form.bytes.capacity() > Self::KEEP_BYTES {
                form.bytes = Vec::new();
            }
        }
    }

    /// Appends the packet; encodes it first when it is not there in this form.
    fn copy(&mut self, out: &mut Vec<u8>, version: Version, head: &PublishHead<'_>) {
        let form = &mut self.forms[usize::from(version == Version::V5)];
        let key = Some((head.qos, head.retain));
        if form.key != key {
            form.bytes.clear();
            codec::encode_publish(&mut form.bytes, version, head);
            form.key = key;
            let length = form.bytes[1..]
                .iter()
                .position(|byte| byte & 0x80 == 0)
                .map_or(1, |at| at + 1);
            form.packet_id_at = 1 + length + 2 + head.topic.len();
        }
        let start = out.len() + form.packet_id_at;
        out.extend_from_slice(&form.bytes);
        if head.qos != QoS::AtMostOnce {
            out[start..start + 2].copy_from_slice(&head.packet_id.to_be_bytes());
        }
    }
}

/// What an alias adds to a packet, at most: the property, and a longer length before the properties.
const ALIAS_BYTES: usize = 5;

impl Broker {
    /// Appends a PUBLISH to a connection's output. False: it is too large for the client [MQTT-3.1.2-25].
    pub(super) fn put<H: Host>(
        &mut self,
        conn: ConnId,
        view: &View<'_>,
        how: &How<'_>,
        is_one_of_many: bool,
        cx: &mut Cx<'_, H>,
    ) -> bool {
        let Some(link) = self.links.get_mut(conn) else {
            return true;
        };
        let mut head = PublishHead {
            topic: view.topic,
            duplicate: how.duplicate,
            qos: how.qos,
            retain: how.retain,
            packet_id: how.packet_id,
            topic_alias: None,
            expiry_s: view
                .expires_unix_ms
                .map(|at| at.saturating_sub(cx.now.unix_ms).div_ceil(1_000) as u32),
            subscription_ids: how.ids,
            properties: view.properties,
            payload: view.payload,
        };
        let mut may_alias = true;
        if link.maximum_packet_bytes != u32::MAX {
            let length = codec::publish_len(link.version, &head);
            let limit = link.maximum_packet_bytes as usize;
            if length > limit {
                self.stats.publishes_dropped += 1;
                return false;
            }
            may_alias = length + ALIAS_BYTES <= limit;
        }
        if may_alias
            && let Some((alias, is_known)) = link
                .aliases_out
                .as_mut()
                .and_then(|aliases| aliases.get(view.topic))
        {
            head.topic_alias = Some(alias);
            if is_known {
                head.topic = "";
            }
        }
        let out = cx.host.output(conn);
        let before = out.len();
        if is_one_of_many && how.ids.is_empty() && head.topic_alias.is_none() && !how.duplicate {
            self.scratch.copy(out, link.version, &head);
        } else {
            codec::encode_publish(out, link.version, &head);
        }
        self.stats.packets_sent += 1;
        self.stats.publishes_sent += 1;
        self.stats.bytes_sent += (out.len() - before) as u64;
        self.stats.publish_bytes_sent += view.payload.len() as u64;
        true
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub(super) fn put_ack<H: Host>(
        &mut self,
        conn: ConnId,
        kind: AckKind,
        packet_id: u16,
        reason: Reason,
        cx: &mut Cx<'_, H>,
    ) {
        let Some(link) = self.links.get(conn) else {
            return;
        };
        let out = cx.host.output(conn);
        let before = out.len();
        codec::encode_ack(
            out,
            link.version,
            Ack {
                kind,
                packet_id,
                reason,
            },
        );
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += (out.len() - before) as u64;
    }

    /// Appends any packet, not for the hot paths.
    pub(super) fn put_packet<H: Host>(
        &mut self,
        conn: ConnId,
        packet: &Packet<'_>,
        cx: &mut Cx<'_, H>,
    ) {
        let Some(link) = self.links.get(conn) else {
            return;
        };
        let limit = link.maximum_packet_bytes as usize;
        let out = cx.host.output(conn);
        let before = out.len();
        codec::encode(out, link.version, packet);
        if out.len() - before > limit {
            out.truncate(before);
            codec::encode(out, link.version, &shortened(packet));
            if out.len() - before > limit {
                // Discarded, as if it had been sent [MQTT-3.1.2-25].
                return out.truncate(before);
            }
        }
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += (out.len() - before) as u64;
    }
}

/// Without what need not be sent [MQTT-3.2.2-19], [MQTT-3.14.2-3].
fn shortened<'a>(packet: &Packet<'a>) -> Packet<'a> {
    let mut packet = packet.clone();
    match &mut packet {
        Packet::ConnAck(ack) => {
            ack.reason_text = None;
            ack.response_information = None;
        }
        Packet::Disconnect(disconnect) => disconnect.reason_text = None,
        _ => {}
    }
    packet
}
