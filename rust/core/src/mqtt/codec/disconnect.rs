//! DISCONNECT and AUTH (sections 3.14 and 3.15).

use super::properties::{self, id, place};
use super::read::{Reader, protocol_error};
use super::{Malformed, kind, write};
use crate::mqtt::packet::{Auth, Disconnect, Reason, Version};

pub fn decode<'a>(body: &mut Reader<'a>, version: Version) -> Result<Disconnect<'a>, Malformed> {
    let mut disconnect = Disconnect {
        reason: Reason::SUCCESS,
        session_expiry_s: None,
        reason_text: None,
    };
    if version < Version::V5 || body.is_empty() {
        return Ok(disconnect); // what is left over in an older version is refused by the caller
    }
    disconnect.reason = Reason(body.u8()?);
    if !is_reason(disconnect.reason) {
        return Err(protocol_error("a reason that DISCONNECT does not have")); // [MQTT-3.14.2-1]
    }
    if body.is_empty() {
        return Ok(disconnect);
    }
    properties::for_each(
        body.properties(version)?,
        place::DISCONNECT,
        |id, value, _| {
            match id {
                id::SESSION_EXPIRY => disconnect.session_expiry_s = Some(value.number()),
                id::REASON_TEXT => disconnect.reason_text = Some(value.text()),
                _ => {}
            }
            Ok(())
        },
    )?;
    Ok(disconnect)
}

/// Of either side.
fn is_reason(reason: Reason) -> bool {
    matches!(
        reason.0,
        0x00 | 0x04 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x90 | 0x93..=0xA2
    )
}

/// Older versions know a DISCONNECT without anything in it, from the client only.
pub fn encode(out: &mut Vec<u8>, version: Version, disconnect: &Disconnect<'_>) {
    let bare = disconnect.session_expiry_s.is_none() && disconnect.reason_text.is_none();
    if version < Version::V5 || bare && disconnect.reason == Reason::SUCCESS {
        out.extend_from_slice(&[kind::DISCONNECT << 4, 0]);
        return;
    }
    write::packet(out, kind::DISCONNECT << 4, |out| {
        out.push(disconnect.reason.0);
        if !bare {
            properties::write(out, |writer| {
                writer.u32(id::SESSION_EXPIRY, disconnect.session_expiry_s);
                writer.text(id::REASON_TEXT, disconnect.reason_text);
            });
        }
    });
}

pub fn decode_auth<'a>(body: &mut Reader<'a>) -> Result<Auth<'a>, Malformed> {
    let mut auth = Auth {
        reason: Reason::SUCCESS,
        method: None,
        data: None,
    };
    if body.is_empty() {
        return Ok(auth);
    }
    auth.reason = Reason(body.u8()?);
    if !matches!(auth.reason.0, 0x00 | 0x18 | 0x19) {
        return Err(protocol_error("a reason that AUTH does not have")); // [MQTT-3.15.2-1]
    }
    properties::for_each(
        body.properties(Version::V5)?,
        place::AUTH,
        |id, value, _| {
            match id {
                id::AUTHENTICATION_METHOD => auth.method = Some(value.text()),
                id::AUTHENTICATION_DATA => auth.data = Some(value.binary()),
                _ => {}
            }
            Ok(())
        },
    )?;
    if auth.method.is_none() {
        return Err(protocol_error("an AUTH without a method")); // section 3.15.2.2.2
    }
    Ok(auth)
}

pub fn encode_auth(out: &mut Vec<u8>, auth: &Auth<'_>) {
    if auth.reason == Reason::SUCCESS && auth.method.is_none() {
        out.extend_from_slice(&[kind::AUTH << 4, 0]);
        return;
    }
    write::packet(out, kind::AUTH << 4, |out| {
        out.push(auth.reason.0);
        properties::write(out, |writer| {
            writer.text(id::AUTHENTICATION_METHOD, auth.method);
            writer.binary(id::AUTHENTICATION_DATA, auth.data);
        });
    });
}
