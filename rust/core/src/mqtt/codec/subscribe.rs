//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (sections 3.8 to 3.11).

use super::properties::{self, id, place};
use super::read::{self, Reader, malformed, protocol_error};
use super::{Malformed, kind, write};
use crate::mqtt::packet::{
    Granted, Reason, RetainHandling, Subscribe, Subscription, SubscriptionOptions, Unsubscribe,
    Version,
};

mod option {
    pub const NO_LOCAL: u8 = 0x04;
    pub const RETAIN_AS_PUBLISHED: u8 = 0x08;
    pub const RETAIN_HANDLING_SHIFT: u8 = 4;
    pub const RESERVED: u8 = 0xC0;
    /// In versions 3.1 and 3.1.1.
    pub const RESERVED_OLD: u8 = 0xFC;
}

pub fn decode<'a>(body: &mut Reader<'a>, version: Version) -> Result<Subscribe<'a>, Malformed> {
    let packet_id = body.packet_id()?;
    let mut subscription_id = None;
    properties::for_each(
        body.properties(version)?,
        place::SUBSCRIBE,
        |id, value, _| {
            if id == id::SUBSCRIPTION_ID {
                subscription_id = Some(value.number());
            }
            Ok(())
        },
    )?;
    let mut filters = Vec::new();
    while !body.is_empty() {
        let filter = body.text()?;
        let options = options(body.u8()?, version)?;
        if options.no_local && filter.starts_with("$share/") {
            return Err(protocol_error("no local on a shared subscription")); // [MQTT-3.8.3-4]
        }
        filters.push(Subscription { filter, options });
    }
    if filters.is_empty() {
        return Err(protocol_error("a SUBSCRIBE without filters")); // [MQTT-3.8.3-2]
    }
    Ok(Subscribe {
        packet_id,
        subscription_id,
        filters,
    })
}

fn options(byte: u8, version: Version) -> Result<SubscriptionOptions, Malformed> {
    let reserved = if version == Version::V5 {
        option::RESERVED
    } else {
        option::RESERVED_OLD
    };
    if byte & reserved != 0 {
        return Err(malformed("reserved bits of a subscription's options")); // [MQTT-3.8.3-5]
    }
    let qos = read::qos(byte & 3).ok_or(protocol_error("a subscription of QoS 3"))?;
    let retain_handling = match byte >> option::RETAIN_HANDLING_SHIFT & 3 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(protocol_error("a subscription with retain handling 3")),
    };
    Ok(SubscriptionOptions {
        qos,
        no_local: byte & option::NO_LOCAL != 0,
        retain_as_published: byte & option::RETAIN_AS_PUBLISHED != 0,
        retain_handling,
    })
}

pub fn encode(out: &mut Vec<u8>, version: Version, subscribe: &Subscribe<'_>) {
    write::packet(out, kind::SUBSCRIBE << 4 | 0b0010, |out| {
        out.extend_from_slice(&subscribe.packet_id.to_be_bytes());
        if version == Version::V5 {
            properties::write(out, |writer| {
                writer.var_int(id::SUBSCRIPTION_ID, subscribe.subscription_id);
            });
        }
        for one in &subscribe.filters {
            write::text(out, one.filter);
            out.push(options_byte(one.options, version));
        }
    });
}

fn options_byte(options: SubscriptionOptions, version: Version) -> u8 {
    let qos = options.qos as u8;
    if version < Version::V5 {
        return qos;
    }
    qos | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | (options.retain_handling as u8) << option::RETAIN_HANDLING_SHIFT
}

pub fn decode_suback(body: &mut Reader<'_>, version: Version) -> Result<Granted, Malformed> {
    let packet_id = body.packet_id()?;
    properties::for_each(body.properties(version)?, place::GRANTED, |_, _, _| Ok(()))?;
    let reasons: Vec<Reason> = body.rest().iter().copied().map(Reason).collect();
    let exists = |reason: &Reason| match version {
        Version::V5 => {
            matches!(
                reason.0,
                0..=2 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2
            )
        }
        _ => matches!(reason.0, 0..=2 | 0x80), // [MQTT-3.9.3-2] of 3.1.1
    };
    if reasons.is_empty() || !reasons.iter().all(exists) {
        return Err(protocol_error("reasons that SUBACK does not have"));
    }
    Ok(Granted { packet_id, reasons })
}

pub fn encode_suback(out: &mut Vec<u8>, version: Version, granted: &Granted) {
    write::packet(out, kind::SUBACK << 4, |out| {
        out.extend_from_slice(&granted.packet_id.to_be_bytes());
        if version == Version::V5 {
            out.push(0); // no properties
        }
        out.extend(granted.reasons.iter().map(|reason| match version {
            Version::V5 => reason.0,
            _ if reason.is_error() => Reason::UNSPECIFIED.0,
            _ => reason.0,
        }));
    });
}

pub fn decode_unsubscribe<'a>(
    body: &mut Reader<'a>,
    version: Version,
) -> Result<Unsubscribe<'a>, Malformed> {
    let packet_id = body.packet_id()?;
    properties::for_each(body.properties(version)?, place::UNSUBSCRIBE, |_, _, _| {
        Ok(())
    })?;
    let mut filters = Vec::new();
    while !body.is_empty() {
        filters.push(body.text()?);
    }
    if filters.is_empty() {
        return Err(protocol_error("an UNSUBSCRIBE without filters")); // [MQTT-3.10.3-2]
    }
    Ok(Unsubscribe { packet_id, filters })
}

pub fn encode_unsubscribe(out: &mut Vec<u8>, version: Version, unsubscribe: &Unsubscribe<'_>) {
    write::packet(out, kind::UNSUBSCRIBE << 4 | 0b0010, |out| {
        out.extend_from_slice(&unsubscribe.packet_id.to_be_bytes());
        if version == Version::V5 {
            out.push(0); // no properties
        }
        for filter in &unsubscribe.filters {
            write::text(out, filter);
        }
    });
}

pub fn decode_unsuback(body: &mut Reader<'_>, version: Version) -> Result<Granted, Malformed> {
    let packet_id = body.packet_id()?;
    if version < Version::V5 {
        return Ok(Granted {
            packet_id,
            reasons: Vec::new(),
        });
    }
    properties::for_each(body.properties(version)?, place::GRANTED, |_, _, _| Ok(()))?;
    let reasons: Vec<Reason> = body.rest().iter().copied().map(Reason).collect();
    let exists =
        |reason: &Reason| matches!(reason.0, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91);
    if reasons.is_empty() || !reasons.iter().all(exists) {
        return Err(protocol_error("reasons that UNSUBACK does not have"));
    }
    Ok(Granted { packet_id, reasons })
}

pub fn encode_unsuback(out: &mut Vec<u8>, version: Version, granted: &Granted) {
    write::packet(out, kind::UNSUBACK << 4, |out| {
        out.extend_from_slice(&granted.packet_id.to_be_bytes());
        if version == Version::V5 {
            out.push(0); // no properties
            out.extend(granted.reasons.iter().map(|reason| reason.0));
        }
    });
}
