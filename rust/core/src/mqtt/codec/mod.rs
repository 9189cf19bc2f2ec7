//! Bytes to packets and back (MQTT 3.1, 3.1.1 and 5.0, chapters 2 and 3), one file per family of packets.
//!
//! No I/O and no state: `split` finds the first packet in a buffer, `decode` reads it, `encode` and its quick
//! relatives write one. Every statement of the standard about the form of a packet is checked by `decode`; what
//! depends on what came before is the state machine's.

mod ack;
mod connack;
mod connect;
mod disconnect;
mod properties;
mod publish;
mod read;
mod subscribe;
mod write;

#[cfg(test)]
mod tests;

pub use ack::encode_ack;
pub use publish::{PublishHead, encode_publish, publish_len};

use super::packet::{AckKind, Packet, Reason, Version};
use read::{Reader, malformed};

/// Why bytes are not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Malformed {
    /// What the other side is told, if it speaks version 5.
    pub reason: Reason,
    pub text: &'static str,
}

/// What stands at the begin of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// A whole packet of this many bytes.
    Packet(usize),
    /// At least this many bytes more are needed.
    More(usize),
}

/// Types of packet, the upper half of the first byte.
mod kind {
    pub const CONNECT: u8 = 1;
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const PUBREL: u8 = 6;
    pub const PUBCOMP: u8 = 7;
    pub const SUBSCRIBE: u8 = 8;
    pub const SUBACK: u8 = 9;
    pub const UNSUBSCRIBE: u8 = 10;
    pub const UNSUBACK: u8 = 11;
    pub const PINGREQ: u8 = 12;
    pub const PINGRESP: u8 = 13;
    pub const DISCONNECT: u8 = 14;
    pub const AUTH: u8 = 15;
}

/// The first packet in `buf`. Fails as early as the bytes allow: at a first byte that begins no packet, at a length
/// above `max_bytes` (of the whole packet).
pub fn split(buf: &[u8], max_bytes: usize) -> Result<Split, Malformed> {
    let Some(&first) = buf.first() else {
        return Ok(Split::More(2));
    };
    check_first(first)?;
    let Some((head, length)) = lengths(buf)? else {
        return Ok(Split::More(1));
    };
    let whole = head + length;
    if whole > max_bytes {
        let text = "the packet is larger than this server takes";
        return Err(Malformed {
            reason: Reason::PACKET_TOO_LARGE,
            text,
        });
    }
    Ok(match whole.checked_sub(buf.len()) {
        None | Some(0) => Split::Packet(whole),
        Some(missing) => Split::More(missing),
    })
}

/// Bytes of the fixed header and of the body; `None` when the header isn't all there.
#[inline]
fn lengths(buf: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0;
    for (index, shift) in [0, 7, 14, 21].into_iter().enumerate() {
        let Some(&byte) = buf.get(1 + index) else {
            return Ok(None);
        };
        length |= usize::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Ok(Some((2 + index, length)));
        }
    }
    Err(malformed("the remaining length has more than four bytes"))
}

/// Type and flags of a first byte [MQTT-2.1.3-1]. Whether the type exists in the version in use is seen later.
fn check_first(first: u8) -> Result<(), Malformed> {
    let flags = first & 0x0F;
    let fits = match first >> 4 {
        0 => return Err(malformed("packet type 0")),
        kind::PUBLISH => true,
        // Version 3.1 lets these three be marked as duplicates; `decode` knows the version.
        kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => flags & 0b0111 == 0b0010,
        _ => flags == 0,
    };
    if fits {
        Ok(())
    } else {
        Err(malformed("reserved bits of the first byte"))
    }
}

/// Reads one whole packet, as `split` cut it. Of a CONNECT the version is taken from the packet.
pub fn decode(packet: &[u8], version: Version) -> Result<Packet<'_>, Malformed> {
    let (first, body) = parts(packet, version)?;
    let mut body = Reader::new(body);
    let decoded = match first >> 4 {
        kind::PUBLISH => Packet::Publish(publish::decode(first, &mut body, version)?),
        kind::PUBACK => Packet::Ack(ack::decode(AckKind::PubAck, &mut body, version)?),
        kind::PUBREC => Packet::Ack(ack::decode(AckKind::PubRec, &mut body, version)?),
        kind::PUBREL => Packet::Ack(ack::decode(AckKind::PubRel, &mut body, version)?),
        kind::PUBCOMP => Packet::Ack(ack::decode(AckKind::PubComp, &mut body, version)?),
        kind::CONNECT => Packet::Connect(Box::new(connect::decode(&mut body)?)),
        kind::CONNACK => Packet::ConnAck(Box::new(connack::decode(&mut body, version)?)),
        kind::SUBSCRIBE => Packet::Subscribe(subscribe::decode(&mut body, version)?),
        kind::SUBACK => Packet::SubAck(subscribe::decode_suback(&mut body, version)?),
        kind::UNSUBSCRIBE => {
            Packet::Unsubscribe(subscribe::decode_unsubscribe(&mut body, version)?)
        }
        kind::UNSUBACK => Packet::UnsubAck(subscribe::decode_unsuback(&mut body, version)?),
        kind::PINGREQ => Packet::PingReq,
        kind::PINGRESP => Packet::PingResp,
        kind::DISCONNECT => Packet::Disconnect(disconnect::decode(&mut body, version)?),
        kind::AUTH if version == Version::V5 => Packet::Auth(disconnect::decode_auth(&mut body)?),
        _ => return Err(malformed("no packet of this version has this type")),
    };
    if !body.is_empty() {
        return Err(malformed("the packet is longer than what it holds"));
    }
    Ok(decoded)
}

/// First byte and body of a whole packet.
fn parts(packet: &[u8], version: Version) -> Result<(u8, &[u8]), Malformed> {
    let Some((head, length)) = lengths(packet)?.filter(|(head, body)| head + body == packet.len())
    else {
        return Err(malformed("the packet's length is not the one that it says"));
    };
    let first = packet[0];
    check_first(first)?;
    if version != Version::V31 && first >> 4 != kind::PUBLISH && first & 0b1000 != 0 {
        return Err(malformed("reserved bits of the first byte"));
    }
    if version == Version::V5 && head > 2 && length >> (7 * (head - 2)) == 0 {
        return Err(malformed(
            "the remaining length is written longer than needed",
        ));
    }
    Ok((first, &packet[head..]))
}

/// Appends one packet to `out`. What `version` does not have is left out; reasons become the codes of older versions.
pub fn encode(out: &mut Vec<u8>, version: Version, packet: &Packet<'_>) {
    match packet {
        Packet::Connect(connect) => connect::encode(out, connect),
        Packet::ConnAck(connack) => connack::encode(out, version, connack),
        Packet::Publish(one) => encode_publish(out, version, &PublishHead::of(one)),
        Packet::Ack(ack) => encode_ack(out, version, *ack),
        Packet::Subscribe(one) => subscribe::encode(out, version, one),
        Packet::SubAck(one) => subscribe::encode_suback(out, version, one),
        Packet::Unsubscribe(one) => subscribe::encode_unsubscribe(out, version, one),
        Packet::UnsubAck(one) => subscribe::encode_unsuback(out, version, one),
        Packet::PingReq => out.extend_from_slice(&[kind::PINGREQ << 4, 0]),
        Packet::PingResp => out.extend_from_slice(&[kind::PINGRESP << 4, 0]),
        Packet::Disconnect(one) => disconnect::encode(out, version, one),
        Packet::Auth(one) => disconnect::encode_auth(out, one),
    }
}
