//! Properties of version 5 (section 2.2.2) as a table: type, where allowed, how often, which values.

use std::ops::Range;

use super::Malformed;
use super::read::{Reader, malformed, protocol_error};
use super::write;
use crate::mqtt::packet::Reason;

pub mod id {
    pub const PAYLOAD_FORMAT: u8 = 0x01;
    pub const MESSAGE_EXPIRY: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_ID: u8 = 0x0B;
    pub const SESSION_EXPIRY: u8 = 0x11;
    pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub const WILL_DELAY: u8 = 0x18;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1A;
    pub const SERVER_REFERENCE: u8 = 0x1C;
    pub const REASON_TEXT: u8 = 0x1F;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARDS_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDS_AVAILABLE: u8 = 0x29;
    pub const SHARES_AVAILABLE: u8 = 0x2A;
}

/// Where properties stand: the packets, and the will in a CONNECT.
pub mod place {
    pub const CONNECT: u16 = 1 << 0;
    pub const WILL: u16 = 1 << 1;
    pub const CONNACK: u16 = 1 << 2;
    pub const PUBLISH: u16 = 1 << 3;
    /// PUBACK, PUBREC, PUBREL and PUBCOMP have the same.
    pub const ACK: u16 = 1 << 4;
    pub const SUBSCRIBE: u16 = 1 << 5;
    /// SUBACK and UNSUBACK.
    pub const GRANTED: u16 = 1 << 6;
    pub const UNSUBSCRIBE: u16 = 1 << 7;
    pub const DISCONNECT: u16 = 1 << 8;
    pub const AUTH: u16 = 1 << 9;
    pub const EVERYWHERE: u16 = (1 << 10) - 1;
}

#[derive(Clone, Copy)]
enum Type {
    /// A byte that is 0 or 1.
    Flag,
    U16,
    U32,
    VarInt,
    Text,
    Binary,
    Pair,
}

#[derive(Clone, Copy)]
struct Rule {
    kind: Type,
    places: u16,
    /// Where it may stand more than once.
    repeats: u16,
    /// Reason for the value 0, if that is not allowed.
    zero: Option<Reason>,
}

const IDS: usize = 0x2B;
static RULES: [Option<Rule>; IDS] = rules();

const fn rules() -> [Option<Rule>; IDS] {
    use Type::{Binary, Flag, Pair, Text, U16, U32, VarInt};
    use place::{
        ACK, AUTH, CONNACK, CONNECT, DISCONNECT, EVERYWHERE, GRANTED, PUBLISH, SUBSCRIBE, WILL,
    };
    const NO: Option<Reason> = None;
    const WRONG: Option<Reason> = Some(Reason::PROTOCOL_ERROR);
    const ALIAS: Option<Reason> = Some(Reason::TOPIC_ALIAS_INVALID);
    let table = [
        (id::PAYLOAD_FORMAT, Flag, PUBLISH | WILL, 0, NO),
        (id::MESSAGE_EXPIRY, U32, PUBLISH | WILL, 0, NO),
        (id::CONTENT_TYPE, Text, PUBLISH | WILL, 0, NO),
        (id::RESPONSE_TOPIC, Text, PUBLISH | WILL, 0, NO),
        (id::CORRELATION_DATA, Binary, PUBLISH | WILL, 0, NO),
        (
            id::SUBSCRIPTION_ID,
            VarInt,
            PUBLISH | SUBSCRIBE,
            PUBLISH,
            WRONG,
        ),
        (
            id::SESSION_EXPIRY,
            U32,
            CONNECT | CONNACK | DISCONNECT,
            0,
            NO,
        ),
        (id::ASSIGNED_CLIENT_ID, Text, CONNACK, 0, NO),
        (id::SERVER_KEEP_ALIVE, U16, CONNACK, 0, NO),
        (
            id::AUTHENTICATION_METHOD,
            Text,
            CONNECT | CONNACK | AUTH,
            0,
            NO,
        ),
        (
            id::AUTHENTICATION_DATA,
            Binary,
            CONNECT | CONNACK | AUTH,
            0,
            NO,
        ),
        (id::REQUEST_PROBLEM_INFORMATION, Flag, CONNECT, 0, NO),
        (id::WILL_DELAY, U32, WILL, 0, NO),
        (id::REQUEST_RESPONSE_INFORMATION, Flag, CONNECT, 0, NO),
        (id::RESPONSE_INFORMATION, Text, CONNACK, 0, NO),
        (id::SERVER_REFERENCE, Text, CONNACK | DISCONNECT, 0, NO),
        (
            id::REASON_TEXT,
            Text,
            CONNACK | ACK | GRANTED | DISCONNECT | AUTH,
            0,
            NO,
        ),
        (id::RECEIVE_MAXIMUM, U16, CONNECT | CONNACK, 0, WRONG),
        (id::TOPIC_ALIAS_MAXIMUM, U16, CONNECT | CONNACK, 0, NO),
        (id::TOPIC_ALIAS, U16, PUBLISH, 0, ALIAS),
        (id::MAXIMUM_QOS, Flag, CONNACK, 0, NO),
        (id::RETAIN_AVAILABLE, Flag, CONNACK, 0, NO),
        (id::USER_PROPERTY, Pair, EVERYWHERE, EVERYWHERE, NO),
        (id::MAXIMUM_PACKET_SIZE, U32, CONNECT | CONNACK, 0, WRONG),
        (id::WILDCARDS_AVAILABLE, Flag, CONNACK, 0, NO),
        (id::SUBSCRIPTION_IDS_AVAILABLE, Flag, CONNACK, 0, NO),
        (id::SHARES_AVAILABLE, Flag, CONNACK, 0, NO),
    ];
    let mut rules = [None; IDS];
    let mut row = 0;
    while row < table.len() {
        let (id, kind, places, repeats, zero) = table[row];
        rules[id as usize] = Some(Rule {
            kind,
            places,
            repeats,
            zero,
        });
        row += 1;
    }
    rules
}

#[derive(Clone, Copy)]
pub enum Value<'a> {
    Number(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    Pair,
}

impl<'a> Value<'a> {
    // The table gives each id one type, so a value of another type does not occur; it would read as nothing.

    pub fn number(self) -> u32 {
        match self {
            Self::Number(number) => number,
            _ => 0,
        }
    }

    pub fn flag(self) -> bool {
        self.number() != 0
    }

    pub fn text(self) -> &'a str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    pub fn binary(self) -> &'a [u8] {
        match self {
            Self::Binary(bytes) => bytes,
            _ => &[],
        }
    }
}

/// Calls `found` with each property: its id, its value and where it stands in `block`.
pub fn for_each<'a>(
    block: &'a [u8],
    place: u16,
    mut found: impl FnMut(u8, Value<'a>, Range<usize>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut from = Reader::new(block);
    let mut seen = 0_u64;
    while !from.is_empty() {
        let start = block.len() - from.len();
        let id = from.u8()?;
        let rule = RULES.get(usize::from(id)).copied().flatten();
        let Some(rule) = rule.filter(|rule| rule.places & place != 0) else {
            return Err(malformed("a property that this packet does not have")); // section 2.2.2.2
        };
        if seen & (1 << id) != 0 && rule.repeats & place == 0 {
            return Err(protocol_error("a property that is there twice"));
        }
        seen |= 1 << id;
        let value = read(rule, &mut from)?;
        found(id, value, start..block.len() - from.len())?;
    }
    Ok(())
}

fn read<'a>(rule: Rule, from: &mut Reader<'a>) -> Result<Value<'a>, Malformed> {
    let number = match rule.kind {
        Type::Flag => match from.u8()? {
            byte @ (0 | 1) => u32::from(byte),
            _ => return Err(protocol_error("a property with a value other than 0 and 1")),
        },
        Type::U16 => u32::from(from.u16()?),
        Type::U32 => from.u32()?,
        Type::VarInt => from.var_int()?,
        Type::Text => return from.text().map(Value::Text),
        Type::Binary => return from.binary().map(Value::Binary),
        Type::Pair => return from.text().and_then(|_| from.text()).map(|_| Value::Pair),
    };
    match rule.zero {
        Some(reason) if number == 0 => Err(Malformed {
            reason,
            text: "a property with the value 0",
        }),
        _ => Ok(Value::Number(number)),
    }
}

/// Writer of properties; what is absent is not written.
pub struct Writer<'a> {
    pub out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    pub fn flag(&mut self, id: u8, value: Option<bool>) {
        if let Some(value) = value {
            self.out.extend_from_slice(&[id, u8::from(value)]);
        }
    }

    pub fn u16(&mut self, id: u8, value: Option<u16>) {
        if let Some(value) = value {
            self.out.push(id);
            self.out.extend_from_slice(&value.to_be_bytes());
        }
    }

    pub fn u32(&mut self, id: u8, value: Option<u32>) {
        if let Some(value) = value {
            self.out.push(id);
            self.out.extend_from_slice(&value.to_be_bytes());
        }
    }

    pub fn var_int(&mut self, id: u8, value: Option<u32>) {
        if let Some(value) = value {
            self.out.push(id);
            write::var_int(self.out, value as usize);
        }
    }

    pub fn text(&mut self, id: u8, value: Option<&str>) {
        self.binary(id, value.map(str::as_bytes));
    }

    pub fn binary(&mut self, id: u8, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.out.push(id);
            write::binary(self.out, value);
        }
    }
}

/// Writes the properties of a packet with their length.
pub fn write(out: &mut Vec<u8>, each: impl FnOnce(&mut Writer<'_>)) {
    write::with_length(out, |out| each(&mut Writer { out }));
}
