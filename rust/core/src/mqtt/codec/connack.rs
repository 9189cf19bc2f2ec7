//! CONNACK (section 3.2).

use super::properties::{self, id, place};
use super::read::{Reader, malformed, protocol_error};
use super::{Malformed, kind, write};
use crate::mqtt::packet::{ConnAck, Reason, Version};

/// Return codes of versions 3.1 and 3.1.1 (3.1.1, section 3.2.2.3) from 0 on, as reasons.
const RETURN_CODES: [Reason; 6] = [
    Reason::SUCCESS,
    Reason::UNSUPPORTED_VERSION,
    Reason::CLIENT_ID_NOT_VALID,
    Reason::SERVER_UNAVAILABLE,
    Reason::BAD_USER_OR_PASSWORD,
    Reason::NOT_AUTHORIZED,
];

pub fn decode<'a>(body: &mut Reader<'a>, version: Version) -> Result<ConnAck<'a>, Malformed> {
    let flags = body.u8()?;
    if flags > 1 && version != Version::V31 {
        return Err(malformed("reserved bits of the flags are set")); // [MQTT-3.2.2-1]
    }
    let reason = reason(body.u8()?, version)?;
    let mut connack = ConnAck {
        session_present: flags == 1 && version != Version::V31,
        ..ConnAck::new(reason)
    };
    if connack.session_present && reason != Reason::SUCCESS {
        return Err(protocol_error("a refusal that speaks of a session")); // [MQTT-3.2.2-6]
    }
    properties::for_each(body.properties(version)?, place::CONNACK, |id, value, _| {
        match id {
            id::SESSION_EXPIRY => connack.session_expiry_s = Some(value.number()),
            id::RECEIVE_MAXIMUM => connack.receive_maximum = Some(value.number() as u16),
            id::MAXIMUM_PACKET_SIZE => connack.maximum_packet_bytes = Some(value.number()),
            id::ASSIGNED_CLIENT_ID => connack.assigned_client_id = Some(value.text()),
            id::TOPIC_ALIAS_MAXIMUM => connack.topic_alias_maximum = value.number() as u16,
            id::SERVER_KEEP_ALIVE => connack.server_keep_alive_s = Some(value.number() as u16),
            id::REASON_TEXT => connack.reason_text = Some(value.text()),
            id::RESPONSE_INFORMATION => connack.response_information = Some(value.text()),
            id::AUTHENTICATION_METHOD => connack.authentication_method = Some(value.text()),
            _ => {} // what a server lacks, and where else to go: our own clients don't ask
        }
        Ok(())
    })?;
    Ok(connack)
}

fn reason(code: u8, version: Version) -> Result<Reason, Malformed> {
    if version < Version::V5 {
        let reason = RETURN_CODES.get(usize::from(code)).copied();
        return reason.ok_or(malformed("a return code that does not exist"));
    }
    let exists =
        matches!(code, 0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F);
    exists
        .then_some(Reason(code))
        .ok_or(protocol_error("a reason that CONNACK does not have"))
}

/// The code for older versions; what they have none for is "server unavailable".
fn return_code(reason: Reason) -> u8 {
    let alike = match reason {
        Reason::BANNED | Reason::BAD_AUTHENTICATION_METHOD => Reason::NOT_AUTHORIZED,
        other => other,
    };
    RETURN_CODES
        .iter()
        .position(|&one| one == alike)
        .map_or(3, |code| code as u8)
}

pub fn encode(out: &mut Vec<u8>, version: Version, connack: &ConnAck<'_>) {
    let present = connack.session_present && connack.reason == Reason::SUCCESS;
    if version < Version::V5 {
        let present = present && version != Version::V31; // its flags are reserved
        let code = return_code(connack.reason);
        out.extend_from_slice(&[kind::CONNACK << 4, 2, u8::from(present), code]);
        return;
    }
    write::packet(out, kind::CONNACK << 4, |out| {
        out.extend_from_slice(&[u8::from(present), connack.reason.0]);
        properties::write(out, |writer| {
            writer.u32(id::SESSION_EXPIRY, connack.session_expiry_s);
            writer.u16(id::RECEIVE_MAXIMUM, connack.receive_maximum);
            writer.u32(id::MAXIMUM_PACKET_SIZE, connack.maximum_packet_bytes);
            writer.text(id::ASSIGNED_CLIENT_ID, connack.assigned_client_id);
            let aliases = connack.topic_alias_maximum;
            writer.u16(id::TOPIC_ALIAS_MAXIMUM, (aliases != 0).then_some(aliases));
            writer.u16(id::SERVER_KEEP_ALIVE, connack.server_keep_alive_s);
            writer.text(id::REASON_TEXT, connack.reason_text);
            writer.text(id::RESPONSE_INFORMATION, connack.response_information);
            writer.text(id::AUTHENTICATION_METHOD, connack.authentication_method);
        });
    });
}
