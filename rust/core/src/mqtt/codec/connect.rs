//! CONNECT (section 3.1).

use super::properties::{self, id, place};
use super::publish::Forwarding;
use super::read::{self, Reader, malformed, protocol_error};
use super::{Malformed, kind, write};
use crate::mqtt::packet::{Connect, Forwarded, Reason, Version, Will};

mod flag {
    pub const RESERVED: u8 = 0x01;
    pub const CLEAN: u8 = 0x02;
    pub const WILL: u8 = 0x04;
    pub const WILL_QOS_SHIFT: u8 = 3;
    pub const WILL_RETAIN: u8 = 0x20;
    /// All that says something about a will.
    pub const OF_WILL: u8 = 0x38;
    pub const PASSWORD: u8 = 0x40;
    pub const USER: u8 = 0x80;
}

pub fn decode<'a>(body: &mut Reader<'a>) -> Result<Connect<'a>, Malformed> {
    let version = version(body.text()?, body.u8()?)?;
    let flags = body.u8()?;
    check_flags(flags, version)?;
    let clean = flags & flag::CLEAN != 0;
    let mut connect = Connect {
        clean,
        keep_alive_s: body.u16()?,
        session_expiry_s: if version == Version::V5 || clean {
            0
        } else {
            u32::MAX
        },
        ..Connect::new(version, "")
    };
    decode_properties(&mut connect, body.properties(version)?)?;
    connect.client_id = body.text()?;
    if flags & flag::WILL != 0 {
        connect.will = Some(decode_will(flags, body, version)?);
    }
    // Version 3.1 lets old clients set these flags and leave the fields away (its section 3.1).
    let may_miss = version == Version::V31;
    if flags & flag::USER != 0 && !(may_miss && body.is_empty()) {
        connect.user = Some(body.text()?);
    }
    if flags & flag::PASSWORD != 0 && !(may_miss && body.is_empty()) {
        connect.password = Some(body.binary()?);
    }
    Ok(connect)
}

/// Version of a protocol name and level [MQTT-3.1.2-1, MQTT-3.1.2-2].
fn version(name: &str, level: u8) -> Result<Version, Malformed> {
    match (name, level) {
        ("MQTT", 5) => Ok(Version::V5),
        ("MQTT", 4) => Ok(Version::V311),
        ("MQIsdp", 3) => Ok(Version::V31),
        ("MQTT" | "MQIsdp", _) => Err(Malformed {
            reason: Reason::UNSUPPORTED_VERSION,
            text: "a version of MQTT other than 3.1, 3.1.1 and 5",
        }),
        _ => Err(protocol_error("the protocol's name is not MQTT")),
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), Malformed> {
    if flags & flag::RESERVED != 0 && version != Version::V31 {
        return Err(malformed("the reserved bit of the flags is set")); // [MQTT-3.1.2-3]
    }
    if flags & flag::WILL == 0 && flags & flag::OF_WILL != 0 {
        return Err(malformed("QoS or retain of a will that is not there")); // [MQTT-3.1.2-11, -13]
    }
    if flags & flag::USER == 0 && flags & flag::PASSWORD != 0 && version < Version::V5 {
        return Err(malformed("a password without a user")); // 3.1.1: [MQTT-3.1.2-22]
    }
    Ok(())
}

fn decode_properties<'a>(connect: &mut Connect<'a>, block: &'a [u8]) -> Result<(), Malformed> {
    properties::for_each(block, place::CONNECT, |id, value, _| {
        match id {
            id::SESSION_EXPIRY => connect.session_expiry_s = value.number(),
            id::RECEIVE_MAXIMUM => connect.receive_maximum = Some(value.number() as u16),
            id::MAXIMUM_PACKET_SIZE => connect.maximum_packet_bytes = Some(value.number()),
            id::TOPIC_ALIAS_MAXIMUM => connect.topic_alias_maximum = value.number() as u16,
            id::REQUEST_RESPONSE_INFORMATION => {
                connect.request_response_information = value.flag();
            }
            id::REQUEST_PROBLEM_INFORMATION => connect.request_problem_information = value.flag(),
            id::AUTHENTICATION_METHOD => connect.authentication_method = Some(value.text()),
            id::AUTHENTICATION_DATA => connect.authentication_data = Some(value.binary()),
            _ => {}
        }
        Ok(())
    })?;
    if connect.authentication_data.is_some() && connect.authentication_method.is_none() {
        return Err(protocol_error("authentication data without a method"));
    }
    Ok(())
}

fn decode_will<'a>(
    flags: u8,
    body: &mut Reader<'a>,
    version: Version,
) -> Result<Will<'a>, Malformed> {
    let qos = read::qos(flags >> flag::WILL_QOS_SHIFT & 3);
    let mut will = Will {
        topic: "",
        payload: &[],
        qos: qos.ok_or(malformed("a will of QoS 3"))?, // [MQTT-3.1.2-12]
        retain: flags & flag::WILL_RETAIN != 0,
        delay_s: 0,
        expiry_s: None,
        properties: Forwarded::default(),
    };
    let block = body.properties(version)?;
    let mut forwarding = Forwarding::new(block);
    properties::for_each(block, place::WILL, |id, value, range| {
        match id {
            id::WILL_DELAY => will.delay_s = value.number(),
            id::MESSAGE_EXPIRY => will.expiry_s = Some(value.number()),
            _ => forwarding.add(id, value, range)?,
        }
        Ok(())
    })?;
    will.properties = forwarding.forwarded;
    will.topic = body.text_with_nul()?;
    read::check_topic(will.topic)?;
    if will.topic.is_empty() {
        return Err(protocol_error("a will without a topic")); // [MQTT-4.7.3-1]
    }
    will.payload = body.binary()?;
    Ok(will)
}

pub fn encode(out: &mut Vec<u8>, connect: &Connect<'_>) {
    write::packet(out, kind::CONNECT << 4, |out| {
        write::text(
            out,
            if connect.version == Version::V31 {
                "MQIsdp"
            } else {
                "MQTT"
            },
        );
        out.extend_from_slice(&[connect.version as u8, flags(connect)]);
        out.extend_from_slice(&connect.keep_alive_s.to_be_bytes());
        if connect.version == Version::V5 {
            encode_properties(out, connect);
        }
        write::text(out, connect.client_id);
        if let Some(will) = &connect.will {
            encode_will(out, will, connect.version);
        }
        if let Some(user) = connect.user {
            write::text(out, user);
        }
        if let Some(password) = connect.password {
            write::binary(out, password);
        }
    });
}

fn flags(connect: &Connect<'_>) -> u8 {
    let bit = |set, flag| if set { flag } else { 0 };
    let will = connect.will.as_ref().map_or(0, |will| {
        flag::WILL | (will.qos as u8) << flag::WILL_QOS_SHIFT | bit(will.retain, flag::WILL_RETAIN)
    });
    will | bit(connect.clean, flag::CLEAN)
        | bit(connect.user.is_some(), flag::USER)
        | bit(connect.password.is_some(), flag::PASSWORD)
}

fn encode_properties(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let some = |number: u32| (number != 0).then_some(number);
    properties::write(out, |writer| {
        writer.u32(id::SESSION_EXPIRY, some(connect.session_expiry_s));
        writer.u16(id::RECEIVE_MAXIMUM, connect.receive_maximum);
        writer.u32(id::MAXIMUM_PACKET_SIZE, connect.maximum_packet_bytes);
        let aliases = connect.topic_alias_maximum;
        writer.u16(id::TOPIC_ALIAS_MAXIMUM, (aliases != 0).then_some(aliases));
        let response = connect.request_response_information;
        writer.flag(id::REQUEST_RESPONSE_INFORMATION, response.then_some(true));
        let problem = connect.request_problem_information;
        writer.flag(id::REQUEST_PROBLEM_INFORMATION, (!problem).then_some(false));
        writer.text(id::AUTHENTICATION_METHOD, connect.authentication_method);
        writer.binary(id::AUTHENTICATION_DATA, connect.authentication_data);
    });
}

fn encode_will(out: &mut Vec<u8>, will: &Will<'_>, version: Version) {
    if version == Version::V5 {
        properties::write(out, |writer| {
            writer.u32(id::WILL_DELAY, (will.delay_s != 0).then_some(will.delay_s));
            writer.u32(id::MESSAGE_EXPIRY, will.expiry_s);
            writer.out.extend_from_slice(&will.properties.encoded);
        });
    }
    write::text(out, will.topic);
    write::binary(out, will.payload);
}
