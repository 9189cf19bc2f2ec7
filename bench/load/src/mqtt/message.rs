//! The messages of a flow: JSON of a fixed size, of which only the number changes.

use edgelake_core::mqtt::codec::{PublishHead, encode_publish};
use edgelake_core::mqtt::packet::{QoS, Version};

/// Digits of numbers all have the same width: publishers from 10 on, messages from this on.
const FIRST_NUMBER: u64 = 1_000_000_000;
const FIRST_PUBLISHER: usize = 10;
const PUBLISHER_AT: usize = 5;
const NUMBER_AT: usize = 12;
const NUMBER_DIGITS: usize = 10;

/// Smallest payload.
pub const LEAST_BYTES: usize = 60;
pub const MOST_PUBLISHERS: usize = 90;

/// A PUBLISH of one publisher, ready but for its number and packet id.
pub struct Template {
    bytes: Vec<u8>,
    id_at: Option<usize>,
    number_at: usize,
}

impl Template {
    pub fn new(
        version: Version,
        topic: &str,
        qos: QoS,
        publisher: usize,
        payload_bytes: usize,
    ) -> Self {
        let payload = payload(publisher, payload_bytes);
        let mut bytes = Vec::new();
        let head = PublishHead {
            topic,
            duplicate: false,
            qos,
            retain: false,
            packet_id: 1,
            topic_alias: None,
            expiry_s: None,
            subscription_ids: &[],
            properties: &[],
            payload: &payload,
        };
        encode_publish(&mut bytes, version, &head);
        let body = bytes.len() - payload.len();
        let properties = usize::from(version == Version::V5); // their length, 0
        let id_at = (qos != QoS::AtMostOnce).then(|| body - properties - 2);
        Self {
            bytes,
            id_at,
            number_at: body + NUMBER_AT,
        }
    }

    /// Appends message `number` to `out`.
    pub fn write(&self, out: &mut Vec<u8>, number: u64, packet_id: u16) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let packet = &mut out[start..];
        if let Some(at) = self.id_at {
            packet[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        let mut rest = FIRST_NUMBER + number;
        for digit in packet[self.number_at..self.number_at + NUMBER_DIGITS]
            .iter_mut()
            .rev()
        {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
}

fn payload(publisher: usize, bytes: usize) -> Vec<u8> {
    let publisher = FIRST_PUBLISHER + publisher;
    let mut text =
        format!(r#"{{"p":{publisher},"n":{FIRST_NUMBER},"v":20.5,"t":"2026-01-01T00:00:00Z""#);
    while text.len() + 1 < bytes {
        text.push(' ');
    }
    text.push('}');
    text.into_bytes()
}

/// Publisher and number of a message that came through a broker.
pub fn read(payload: &[u8]) -> Option<(usize, u64)> {
    let publisher = digits(payload.get(PUBLISHER_AT..PUBLISHER_AT + 2)?)?;
    let number = digits(payload.get(NUMBER_AT..NUMBER_AT + NUMBER_DIGITS)?)?;
    let publisher = (publisher as usize).checked_sub(FIRST_PUBLISHER)?;
    Some((publisher, number.checked_sub(FIRST_NUMBER)?))
}

/// Where the packet id of a PUBLISH of QoS 1 or 2 stands.
pub fn packet_id_at(packet: &[u8]) -> Option<usize> {
    let head = 2 + packet
        .iter()
        .skip(1)
        .take_while(|&&byte| byte >= 0x80)
        .count();
    let &[high, low] = packet.get(head..head + 2)? else {
        return None;
    };
    let at = head + 2 + usize::from(u16::from_be_bytes([high, low]));
    (at + 2 <= packet.len()).then_some(at)
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |value, byte| match byte {
        b'0'..=b'9' => Some(value * 10 + u64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use edgelake_core::mqtt::codec::decode;
    use edgelake_core::mqtt::packet::Packet;

    use super::*;

    #[test]
    fn a_message_has_its_size_and_is_known_again() {
        for version in [Version::V311, Version::V5] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let template = Template::new(version, "bench/3", qos, 3, 64);
                let mut out = vec![1, 2];
                template.write(&mut out, 4_567, 89);
                let Ok(Packet::Publish(publish)) = decode(&out[2..], version) else {
                    panic!("no PUBLISH")
                };
                assert_eq!((publish.topic, publish.payload.len()), ("bench/3", 64));
                assert_eq!(
                    publish.packet_id,
                    if qos == QoS::AtMostOnce { 0 } else { 89 }
                );
                assert_eq!(read(publish.payload), Some((3, 4_567)));
            }
        }
        assert_eq!(read(b"{}"), None);
    }
}
