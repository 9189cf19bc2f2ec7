//! Changes as bytes: a tag, then its fields.

use std::sync::Arc;

use super::bytes::{In, Out, Result, Unreadable};
use crate::mqtt::broker::{Change, Message, SessionRecord, StoredWill};
use crate::mqtt::packet::{QoS, RetainHandling, SubscriptionOptions, Version};

/// Tags; a number is never given to another change.
mod tag {
    pub const SESSION: u8 = 1;
    pub const SESSION_GONE: u8 = 2;
    pub const SUBSCRIBED: u8 = 3;
    pub const UNSUBSCRIBED: u8 = 4;
    pub const MESSAGE: u8 = 5;
    pub const QUEUED: u8 = 6;
    pub const ACKED: u8 = 7;
    pub const OUT_RECEIVED: u8 = 8;
    pub const RECEIVED: u8 = 9;
    pub const RELEASED: u8 = 10;
    pub const RETAINED: u8 = 11;
    pub const RETAINED_GONE: u8 = 12;
    pub const MAPPED: u8 = 13;
    pub const ROWS_KEPT: u8 = 14;
}

/// Append a change.
pub fn encode(out: &mut Vec<u8>, change: &Change) {
    let mut out = Out(out);
    match change {
        Change::Session(record) => session(&mut out, record),
        Change::SessionGone { session } => numbers(&mut out, tag::SESSION_GONE, &[*session]),
        Change::Subscribed {
            session,
            filter,
            options,
            subscription_id,
        } => {
            numbers(&mut out, tag::SUBSCRIBED, &[*session]);
            out.bytes(filter.as_bytes());
            out.byte(packed(*options));
            out.maybe(subscription_id.map(u64::from));
        }
        Change::Unsubscribed { session, filter } => {
            numbers(&mut out, tag::UNSUBSCRIBED, &[*session]);
            out.bytes(filter.as_bytes());
        }
        Change::Message(kept) => {
            out.byte(tag::MESSAGE);
            message(&mut out, kept);
        }
        Change::Queued {
            session,
            seq,
            message,
            qos,
            retain,
            subscription_ids,
        } => {
            numbers(&mut out, tag::QUEUED, &[*session, *seq, *message]);
            out.byte(*qos as u8 | u8::from(*retain) << 2);
            out.number(subscription_ids.len() as u64);
            for id in subscription_ids {
                out.number(u64::from(*id));
            }
        }
        Change::Acked { session, seq } => numbers(&mut out, tag::ACKED, &[*session, *seq]),
        Change::OutReceived { session, seq } => {
            numbers(&mut out, tag::OUT_RECEIVED, &[*session, *seq]);
        }
        Change::Received { session, packet_id } => {
            numbers(&mut out, tag::RECEIVED, &[*session, u64::from(*packet_id)]);
        }
        Change::RowsKept { session, packet_id } => {
            numbers(&mut out, tag::ROWS_KEPT, &[*session, u64::from(*packet_id)]);
        }
        Change::Released { session, packet_id } => {
            numbers(&mut out, tag::RELEASED, &[*session, u64::from(*packet_id)]);
        }
        Change::Mapped { round } => numbers(&mut out, tag::MAPPED, &[*round]),
        Change::Retained { topic, message } => {
            numbers(&mut out, tag::RETAINED, &[*message]);
            out.bytes(topic.as_bytes());
        }
        Change::RetainedGone { topic } => {
            out.byte(tag::RETAINED_GONE);
            out.bytes(topic.as_bytes());
        }
    }
}

fn numbers(out: &mut Out<'_>, tag: u8, values: &[u64]) {
    out.byte(tag);
    for value in values {
        out.number(*value);
    }
}

fn session(out: &mut Out<'_>, record: &SessionRecord) {
    numbers(out, tag::SESSION, &[record.id]);
    out.bytes(record.client_id.as_bytes());
    out.byte(record.version as u8);
    out.number(u64::from(record.expiry_s));
    out.maybe(record.disconnected_unix_ms);
    out.number(record.sent_seq);
    out.number(record.next_seq);
    out.byte(u8::from(record.will.is_some()));
    if let Some(will) = &record.will {
        message(out, &will.message);
        out.maybe(will.expiry_s.map(u64::from));
        out.number(u64::from(will.delay_s));
    }
}

fn message(out: &mut Out<'_>, message: &Message) {
    out.number(message.id);
    out.bytes(message.topic.as_bytes());
    out.bytes(&message.payload);
    out.bytes(&message.properties);
    out.byte(message.qos as u8 | u8::from(message.retain) << 2 | u8::from(message.is_text) << 3);
    out.maybe(message.expires_unix_ms);
    out.byte(u8::from(message.publisher.is_some()));
    if let Some(publisher) = &message.publisher {
        out.bytes(publisher.as_bytes());
    }
}

/// Take a change from the front. Errors: it is none of this version.
pub fn decode(fields: &mut In<'_>) -> Result<Change> {
    let tag = fields.byte()?;
    Ok(match tag {
        tag::SESSION => Change::Session(Box::new(read_session(fields)?)),
        tag::SESSION_GONE => Change::SessionGone {
            session: fields.number()?,
        },
        tag::SUBSCRIBED => Change::Subscribed {
            session: fields.number()?,
            filter: fields.text()?.into(),
            options: unpacked(fields.byte()?)?,
            subscription_id: maybe_u32(fields)?,
        },
        tag::UNSUBSCRIBED => Change::Unsubscribed {
            session: fields.number()?,
            filter: fields.text()?.into(),
        },
        tag::MESSAGE => Change::Message(Arc::new(read_message(fields)?)),
        tag::QUEUED => read_queued(fields)?,
        tag::ACKED => Change::Acked {
            session: fields.number()?,
            seq: fields.number()?,
        },
        tag::OUT_RECEIVED => Change::OutReceived {
            session: fields.number()?,
            seq: fields.number()?,
        },
        tag::RECEIVED => Change::Received {
            session: fields.number()?,
            packet_id: fields.narrow()?,
        },
        tag::ROWS_KEPT => Change::RowsKept {
            session: fields.number()?,
            packet_id: fields.narrow()?,
        },
        tag::RELEASED => Change::Released {
            session: fields.number()?,
            packet_id: fields.narrow()?,
        },
        tag::MAPPED => Change::Mapped {
            round: fields.number()?,
        },
        tag::RETAINED => Change::Retained {
            message: fields.number()?,
            topic: fields.text()?.into(),
        },
        tag::RETAINED_GONE => Change::RetainedGone {
            topic: fields.text()?.into(),
        },
        _ => return Err(Unreadable),
    })
}

fn read_queued(fields: &mut In<'_>) -> Result<Change> {
    let (session, seq, message) = (fields.number()?, fields.number()?, fields.number()?);
    let flags = fields.byte()?;
    let count: usize = fields.narrow()?;
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(fields.narrow()?);
    }
    Ok(Change::Queued {
        session,
        seq,
        message,
        qos: qos(flags & 3)?,
        retain: flags & 4 != 0,
        subscription_ids: ids.into(),
    })
}

fn read_session(fields: &mut In<'_>) -> Result<SessionRecord> {
    Ok(SessionRecord {
        id: fields.number()?,
        client_id: fields.text()?.into(),
        version: version(fields.byte()?)?,
        expiry_s: fields.narrow()?,
        disconnected_unix_ms: fields.maybe()?,
        sent_seq: fields.number()?,
        next_seq: fields.number()?,
        will: if fields.flag()? {
            Some(Box::new(StoredWill {
                message: Arc::new(read_message(fields)?),
                expiry_s: maybe_u32(fields)?,
                delay_s: fields.narrow()?,
            }))
        } else {
            None
        },
    })
}

fn read_message(fields: &mut In<'_>) -> Result<Message> {
    let id = fields.number()?;
    let topic = fields.text()?.into();
    let payload = fields.bytes()?.into();
    let properties = fields.bytes()?.into();
    let flags = fields.byte()?;
    Ok(Message {
        id,
        topic,
        payload,
        properties,
        is_text: flags & 8 != 0,
        qos: qos(flags & 3)?,
        retain: flags & 4 != 0,
        expires_unix_ms: fields.maybe()?,
        publisher: if fields.flag()? {
            Some(fields.text()?.into())
        } else {
            None
        },
    })
}

fn maybe_u32(fields: &mut In<'_>) -> Result<Option<u32>> {
    let value = fields.maybe()?;
    value
        .map(|value| u32::try_from(value).map_err(|_| Unreadable))
        .transpose()
}

fn qos(bits: u8) -> Result<QoS> {
    match bits {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        2 => Ok(QoS::ExactlyOnce),
        _ => Err(Unreadable),
    }
}

fn version(level: u8) -> Result<Version> {
    match level {
        3 => Ok(Version::V31),
        4 => Ok(Version::V311),
        5 => Ok(Version::V5),
        _ => Err(Unreadable),
    }
}

fn packed(options: SubscriptionOptions) -> u8 {
    options.qos as u8
        | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | (options.retain_handling as u8) << 4
}

fn unpacked(bits: u8) -> Result<SubscriptionOptions> {
    Ok(SubscriptionOptions {
        qos: qos(bits & 3)?,
        no_local: bits & 4 != 0,
        retain_as_published: bits & 8 != 0,
        retain_handling: match bits >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Unreadable),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn a_message() -> impl Strategy<Value = Message> {
        (
            any::<u64>(),
            "[a-z/é]{0,12}",
            prop::collection::vec(any::<u8>(), 0..200),
            prop::collection::vec(any::<u8>(), 0..20),
            (any::<bool>(), any::<bool>(), 0..3_u8),
            prop::option::of(any::<u64>()),
            prop::option::of("[a-z]{0,9}"),
        )
            .prop_map(
                |(id, topic, payload, properties, (is_text, retain, level), expires, publisher)| {
                    Message {
                        id,
                        topic: topic.into(),
                        payload: payload.into(),
                        properties: properties.into(),
                        is_text,
                        qos: qos(level).unwrap(),
                        retain,
                        expires_unix_ms: expires,
                        publisher: publisher.map(Into::into),
                    }
                },
            )
    }

    fn a_session() -> impl Strategy<Value = Change> {
        let will = (a_message(), prop::option::of(any::<u32>()), any::<u32>());
        (
            any::<(u64, u32, u64, u64)>(),
            "[a-zé]{0,23}",
            3..6_u8,
            prop::option::of(any::<u64>()),
            prop::option::of(will),
        )
            .prop_map(|((id, expiry_s, sent, next), client, level, gone, will)| {
                Change::Session(Box::new(SessionRecord {
                    id,
                    client_id: client.into(),
                    version: version(level).unwrap(),
                    expiry_s,
                    disconnected_unix_ms: gone,
                    sent_seq: sent,
                    next_seq: next,
                    will: will.map(|(message, expiry_s, delay_s)| {
                        Box::new(StoredWill {
                            message: Arc::new(message),
                            expiry_s,
                            delay_s,
                        })
                    }),
                }))
            })
    }

    fn a_change() -> impl Strategy<Value = Change> {
        let text = || "[a-z/#+é]{0,12}".prop_map(Box::<str>::from);
        let ids = prop::collection::vec(any::<u32>(), 0..4);
        prop_oneof![
            a_session(),
            any::<u64>().prop_map(|session| Change::SessionGone { session }),
            (
                any::<u64>(),
                text(),
                0..3_u8,
                0..3_u8,
                prop::option::of(any::<u32>())
            )
                .prop_map(|(session, filter, level, handling, subscription_id)| {
                    Change::Subscribed {
                        session,
                        filter,
                        options: unpacked(level | 4 | handling << 4).unwrap(),
                        subscription_id,
                    }
                }),
            (any::<u64>(), text())
                .prop_map(|(session, filter)| Change::Unsubscribed { session, filter }),
            a_message().prop_map(|message| Change::Message(Arc::new(message))),
            (any::<(u64, u64, u64, bool)>(), 0..3_u8, ids).prop_map(
                |((session, seq, message, retain), level, ids)| Change::Queued {
                    session,
                    seq,
                    message,
                    qos: qos(level).unwrap(),
                    retain,
                    subscription_ids: ids.into(),
                }
            ),
            any::<(u64, u64)>().prop_map(|(session, seq)| Change::Acked { session, seq }),
            any::<(u64, u64)>().prop_map(|(session, seq)| Change::OutReceived { session, seq }),
            any::<(u64, u16)>()
                .prop_map(|(session, packet_id)| Change::Received { session, packet_id }),
            any::<(u64, u16)>()
                .prop_map(|(session, packet_id)| Change::Released { session, packet_id }),
            any::<u64>().prop_map(|round| Change::Mapped { round }),
            (text(), any::<u64>()).prop_map(|(topic, message)| Change::Retained { topic, message }),
            text().prop_map(|topic| Change::RetainedGone { topic }),
        ]
    }

    proptest! {
        #[test]
        fn changes_come_back_as_they_were(changes in prop::collection::vec(a_change(), 0..8)) {
            let mut bytes = Vec::new();
            for change in &changes {
                encode(&mut bytes, change);
            }
            let mut fields = In(&bytes);
            for change in &changes {
                prop_assert_eq!(&decode(&mut fields).unwrap(), change);
            }
            prop_assert!(fields.is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut fields = In(&bytes);
            while !fields.is_empty() && decode(&mut fields).is_ok() {}
        }
    }
}
