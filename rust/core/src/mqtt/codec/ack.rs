//! PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7).

use super::properties::{self, place};
use super::read::{Reader, protocol_error};
use super::{Malformed, kind};
use crate::mqtt::packet::{Ack, AckKind, Reason, Version};

pub fn decode(kind: AckKind, body: &mut Reader<'_>, version: Version) -> Result<Ack, Malformed> {
    let mut ack = Ack {
        kind,
        packet_id: body.packet_id()?,
        reason: Reason::SUCCESS,
    };
    if version < Version::V5 || body.is_empty() {
        return Ok(ack); // what is left over in an older version is refused by the caller
    }
    ack.reason = Reason(body.u8()?);
    if !is_reason(kind, ack.reason) {
        return Err(protocol_error(
            "an acknowledgement with a reason that it does not have",
        ));
    }
    if !body.is_empty() {
        let from = body.properties(version)?;
        properties::for_each(from, place::ACK, |_, _, _| Ok(()))?;
    }
    Ok(ack)
}

/// [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1]
fn is_reason(kind: AckKind, reason: Reason) -> bool {
    match kind {
        AckKind::PubAck | AckKind::PubRec => {
            matches!(
                reason.0,
                0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99
            )
        }
        AckKind::PubRel | AckKind::PubComp => matches!(reason.0, 0x00 | 0x92),
    }
}

/// Appends an acknowledgement to `out`.
pub fn encode_ack(out: &mut Vec<u8>, version: Version, ack: Ack) {
    let first = match ack.kind {
        AckKind::PubAck => kind::PUBACK << 4,
        AckKind::PubRec => kind::PUBREC << 4,
        AckKind::PubRel => kind::PUBREL << 4 | 0b0010,
        AckKind::PubComp => kind::PUBCOMP << 4,
    };
    let [high, low] = ack.packet_id.to_be_bytes();
    if ack.reason == Reason::SUCCESS || version < Version::V5 {
        out.extend_from_slice(&[first, 2, high, low]);
    } else {
        out.extend_from_slice(&[first, 3, high, low, ack.reason.0]);
    }
}
