//! Data types of the standard (section 1.5), read.

use crate::mqtt::codec::Malformed;
use crate::mqtt::packet::{QoS, Reason, Version};
use crate::mqtt::topics::MAX_LEVELS;

pub fn malformed(text: &'static str) -> Malformed {
    Malformed {
        reason: Reason::MALFORMED_PACKET,
        text,
    }
}

pub fn protocol_error(text: &'static str) -> Malformed {
    Malformed {
        reason: Reason::PROTOCOL_ERROR,
        text,
    }
}

const SHORT: Malformed = Malformed {
    reason: Reason::MALFORMED_PACKET,
    text: "the packet ends too early",
};

/// What is still to be read of a packet or a part of it.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// Variable byte integer, in as few bytes as it needs [MQTT-1.5.5-1].
    pub fn var_int(&mut self) -> Result<u32, Malformed> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return if byte == 0 && shift > 0 {
                    Err(malformed(
                        "a variable byte integer is written longer than needed",
                    ))
                } else {
                    Ok(value)
                };
            }
        }
        Err(malformed(
            "a variable byte integer has more than four bytes",
        ))
    }

    pub fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// UTF-8 without U+0000 [MQTT-1.5.4-1, MQTT-1.5.4-2]; Rust's own check refuses surrogates.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let text = self.text_with_nul()?;
        if text.as_bytes().contains(&0) {
            return Err(malformed("U+0000 in a text"));
        }
        Ok(text)
    }

    /// For texts whose check looks at every byte anyway.
    pub fn text_with_nul(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.binary()?).map_err(|_| malformed("a text is not valid UTF-8"))
    }

    /// Packet identifier [MQTT-2.2.1-3].
    pub fn packet_id(&mut self) -> Result<u16, Malformed> {
        match self.u16()? {
            0 => Err(protocol_error("packet id 0")),
            id => Ok(id),
        }
    }

    /// Block of properties after its length; older versions have none.
    pub fn properties(&mut self, version: Version) -> Result<&'a [u8], Malformed> {
        if version < Version::V5 {
            return Ok(&[]);
        }
        let length = self.var_int()?;
        self.take(length as usize)
    }
}

pub fn qos(bits: u8) -> Option<QoS> {
    match bits {
        0 => Some(QoS::AtMostOnce),
        1 => Some(QoS::AtLeastOnce),
        2 => Some(QoS::ExactlyOnce),
        _ => None,
    }
}

/// A topic that may be published to: as `topics::check_topic`, with the reason that fits.
pub fn check_topic(topic: &str) -> Result<(), Malformed> {
    // Without branches, so that many bytes are looked at in one step; what is wrong is found out when something is.
    let (mut odd, mut slashes) = (false, 0);
    for byte in topic.bytes() {
        odd |= matches!(byte, 0 | b'+' | b'#');
        slashes += usize::from(byte == b'/');
    }
    if odd && topic.contains('\0') {
        return Err(malformed("U+0000 in a text")); // [MQTT-1.5.4-2]
    }
    if odd {
        return Err(malformed("a wildcard in the topic of a message")); // [MQTT-3.3.2-2]
    }
    if slashes >= MAX_LEVELS {
        let text = "the topic has more levels than this server takes";
        return Err(Malformed {
            reason: Reason::TOPIC_NAME_INVALID,
            text,
        });
    }
    Ok(())
}
