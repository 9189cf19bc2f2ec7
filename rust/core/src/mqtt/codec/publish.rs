//! PUBLISH (section 3.3), and the properties of messages that go on as they are.

use std::borrow::Cow;
use std::ops::Range;

use super::properties::{self, Value, id, place};
use super::read::{self, Reader, malformed, protocol_error};
use super::{Malformed, kind, write};
use crate::mqtt::packet::{Forwarded, Publish, QoS, Version};

const DUPLICATE: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

pub fn decode<'a>(
    first: u8,
    body: &mut Reader<'a>,
    version: Version,
) -> Result<Publish<'a>, Malformed> {
    let qos = read::qos(first >> 1 & 3).ok_or(malformed("QoS 3"))?; // [MQTT-3.3.1-4]
    let duplicate = first & DUPLICATE != 0;
    if duplicate && qos == QoS::AtMostOnce {
        return Err(malformed("a duplicate with QoS 0")); // [MQTT-3.3.1-2]
    }
    let topic = body.text_with_nul()?;
    read::check_topic(topic)?;
    let packet_id = if qos == QoS::AtMostOnce {
        0
    } else {
        body.packet_id()?
    };
    let mut publish = Publish {
        duplicate,
        qos,
        retain: first & RETAIN != 0,
        topic,
        packet_id,
        topic_alias: None,
        expiry_s: None,
        subscription_ids: Vec::new(),
        properties: Forwarded::default(),
        payload: &[],
    };
    if version == Version::V5 {
        decode_properties(&mut publish, body.properties(version)?)?;
    }
    if topic.is_empty() && publish.topic_alias.is_none() {
        return Err(protocol_error("a message without topic and topic alias")); // [MQTT-4.7.3-1]
    }
    publish.payload = body.rest();
    Ok(publish)
}

fn decode_properties<'a>(publish: &mut Publish<'a>, block: &'a [u8]) -> Result<(), Malformed> {
    let mut forwarding = Forwarding::new(block);
    properties::for_each(block, place::PUBLISH, |id, value, range| {
        match id {
            id::MESSAGE_EXPIRY => publish.expiry_s = Some(value.number()),
            id::TOPIC_ALIAS => publish.topic_alias = Some(value.number() as u16),
            id::SUBSCRIPTION_ID => publish.subscription_ids.push(value.number()),
            _ => forwarding.add(id, value, range)?,
        }
        Ok(())
    })?;
    publish.properties = forwarding.forwarded;
    Ok(())
}

/// Collects the properties of `block` that go on.
pub struct Forwarding<'a> {
    block: &'a [u8],
    /// End of the last one.
    end: usize,
    pub forwarded: Forwarded<'a>,
}

impl<'a> Forwarding<'a> {
    pub fn new(block: &'a [u8]) -> Self {
        Self {
            block,
            end: 0,
            forwarded: Forwarded::default(),
        }
    }

    pub fn add(&mut self, id: u8, value: Value<'_>, at: Range<usize>) -> Result<(), Malformed> {
        match id {
            id::PAYLOAD_FORMAT => self.forwarded.is_text = value.flag(),
            id::RESPONSE_TOPIC if value.text().contains(['+', '#']) => {
                return Err(protocol_error("a wildcard in the response topic")); // [MQTT-3.3.2-14]
            }
            _ => {}
        }
        let encoded = &mut self.forwarded.encoded;
        let end = std::mem::replace(&mut self.end, at.end);
        match encoded {
            Cow::Borrowed([]) => *encoded = Cow::Borrowed(&self.block[at]),
            // Side by side, the usual case: nothing is copied.
            Cow::Borrowed(before) if end == at.start => {
                *encoded = Cow::Borrowed(&self.block[end - before.len()..at.end]);
            }
            _ => encoded.to_mut().extend_from_slice(&self.block[at]),
        }
        Ok(())
    }
}

/// A PUBLISH to be written, in parts that may come from several places.
#[derive(Clone, Copy, Debug)]
pub struct PublishHead<'a> {
    pub topic: &'a str,
    pub duplicate: bool,
    pub qos: QoS,
    pub retain: bool,
    /// Ignored with QoS 0.
    pub packet_id: u16,
    // Version 5 only, down to `properties`.
    pub topic_alias: Option<u16>,
    pub expiry_s: Option<u32>,
    pub subscription_ids: &'a [u32],
    /// `Forwarded::encoded`.
    pub properties: &'a [u8],
    pub payload: &'a [u8],
}

impl<'a> PublishHead<'a> {
    pub fn of(publish: &'a Publish<'_>) -> Self {
        Self {
            topic: publish.topic,
            duplicate: publish.duplicate,
            qos: publish.qos,
            retain: publish.retain,
            packet_id: publish.packet_id,
            topic_alias: publish.topic_alias,
            expiry_s: publish.expiry_s,
            subscription_ids: &publish.subscription_ids,
            properties: &publish.properties.encoded,
            payload: publish.payload,
        }
    }

    fn properties_len(&self) -> usize {
        let ids = self
            .subscription_ids
            .iter()
            .map(|&id| 1 + write::var_int_len(id as usize));
        3 * usize::from(self.topic_alias.is_some())
            + 5 * usize::from(self.expiry_s.is_some())
            + ids.sum::<usize>()
            + self.properties.len()
    }

    /// Remaining length, and the length of the properties in version 5.
    fn lengths(&self, version: Version) -> (usize, usize) {
        let id_len = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let plain = 2 + self.topic.len() + id_len + self.payload.len();
        if version < Version::V5 {
            return (plain, 0);
        }
        let properties = self.properties_len();
        (
            plain + write::var_int_len(properties) + properties,
            properties,
        )
    }
}

/// Bytes that `encode_publish` writes, for the other side's maximum packet size.
pub fn publish_len(version: Version, head: &PublishHead<'_>) -> usize {
    let (length, _) = head.lengths(version);
    1 + write::var_int_len(length) + length
}

/// Appends a PUBLISH to `out`, which grows once at most.
pub fn encode_publish(out: &mut Vec<u8>, version: Version, head: &PublishHead<'_>) {
    let (length, properties_len) = head.lengths(version);
    out.reserve(5 + length);
    let flags = u8::from(head.duplicate) << 3 | (head.qos as u8) << 1 | u8::from(head.retain);
    out.push(kind::PUBLISH << 4 | flags);
    write::var_int(out, length);
    write::text(out, head.topic);
    if head.qos != QoS::AtMostOnce {
        out.extend_from_slice(&head.packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        write::var_int(out, properties_len);
        let mut writer = properties::Writer { out };
        writer.u16(id::TOPIC_ALIAS, head.topic_alias);
        writer.u32(id::MESSAGE_EXPIRY, head.expiry_s);
        for &one in head.subscription_ids {
            writer.var_int(id::SUBSCRIPTION_ID, Some(one));
        }
        out.extend_from_slice(head.properties);
    }
    out.extend_from_slice(head.payload);
}
