//! Properties of the codec over any packet and any bytes.

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::mqtt::codec::{PublishHead, Split, decode, encode, publish_len, split};
use crate::mqtt::packet::*;

/// What a packet borrows.
#[derive(Clone, Debug)]
struct Owned {
    texts: [String; 4],
    filters: Vec<(String, SubscriptionOptions)>,
    blobs: [Vec<u8>; 2],
    forwarded: Vec<u8>,
}

/// Numbers of a packet.
#[derive(Clone, Debug)]
struct Numbers {
    flags: [bool; 7],
    qos: QoS,
    id: u16,
    words: [Option<u32>; 3],
    shorts: [Option<u16>; 3],
    subscription_ids: Vec<u32>,
    reason: usize,
}

fn text() -> impl Strategy<Value = String> {
    "[a-z0-9/é漢😀]{0,12}"
}

fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn options() -> impl Strategy<Value = SubscriptionOptions> {
    let handling = [
        RetainHandling::Send,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ];
    (
        qos(),
        any::<[bool; 2]>(),
        prop::sample::select(handling.to_vec()),
    )
        .prop_map(|(qos, [no_local, retain_as_published], retain_handling)| {
            SubscriptionOptions {
                qos,
                no_local,
                retain_as_published,
                retain_handling,
            }
        })
}

/// Encoded properties that go on: content type, correlation data, user properties, in any order, format last.
fn forwarded() -> impl Strategy<Value = Vec<u8>> {
    let field = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    (
        option::of(text()),
        option::of(vec(any::<u8>(), 0..9)),
        vec((text(), text()), 0..3),
        any::<bool>(),
    )
        .prop_map(move |(content, correlation, users, is_text)| {
            let mut all = Vec::new();
            for (name, value) in users {
                all.extend([vec![0x26], field(name.as_bytes()), field(value.as_bytes())].concat());
            }
            if let Some(content) = content {
                all.extend([vec![0x03], field(content.as_bytes())].concat());
            }
            if let Some(correlation) = correlation {
                all.extend([vec![0x09], field(&correlation)].concat());
            }
            if is_text {
                all.extend([0x01, 1]);
            }
            all
        })
}

fn owned() -> impl Strategy<Value = Owned> {
    let texts = [text(), text(), text(), text()];
    let blobs = || vec(any::<u8>(), 0..300);
    (
        texts,
        vec((text(), options()), 1..4),
        [blobs(), blobs()],
        forwarded(),
    )
        .prop_map(|(texts, filters, blobs, forwarded)| Owned {
            texts,
            filters,
            blobs,
            forwarded,
        })
}

fn numbers() -> impl Strategy<Value = Numbers> {
    let short = || option::of(1..=u16::MAX);
    let word = || option::of(1..=u32::MAX);
    (
        any::<[bool; 7]>(),
        qos(),
        1..=u16::MAX,
        [word(), word(), word()],
        [short(), short(), short()],
        vec(1..1_u32 << 28, 0..4),
        any::<usize>(),
    )
        .prop_map(
            |(flags, qos, id, words, shorts, subscription_ids, reason)| Numbers {
                flags,
                qos,
                id,
                words,
                shorts,
                subscription_ids,
                reason,
            },
        )
}

#[allow(clippy::many_single_char_names)] // flags without a meaning of their own
/// The packet number `which` that these make in `version`; what the version lacks is left out.
fn packet<'a>(which: u8, version: Version, owned: &'a Owned, numbers: &Numbers) -> Packet<'a> {
    let five = version == Version::V5;
    let [one, two, three, four] = &owned.texts;
    let [blob, other_blob] = &owned.blobs;
    let topic = if one.is_empty() { "t" } else { one };
    let [a, b, c, d, e, f, g] = numbers.flags;
    let [word, word_2, word_3] = numbers.words.map(|word| word.filter(|_| five));
    let [short, short_2, short_3] = numbers.shorts.map(|short| short.filter(|_| five));
    let text = |wanted: bool, text: &'a String| (wanted && five).then_some(text.as_str());
    let choose = |five_has: &[u8], older: &[u8]| {
        let list = if five { five_has } else { older };
        Reason(list[numbers.reason % list.len()])
    };
    let forwarded = || Forwarded {
        encoded: Cow::Borrowed(if five { &owned.forwarded } else { &[] }),
        is_text: five && owned.forwarded.ends_with(&[0x01, 1]),
    };
    match which {
        0 => Packet::Connect(Box::new(Connect {
            version,
            clean: a,
            keep_alive_s: numbers.id,
            client_id: two,
            will: b.then(|| Will {
                topic,
                payload: blob,
                qos: numbers.qos,
                retain: c,
                delay_s: word.unwrap_or(0),
                expiry_s: word_2,
                properties: forwarded(),
            }),
            user: d.then_some(three),
            password: (d && e).then_some(other_blob),
            session_expiry_s: match (five, a) {
                (true, _) => word_3.unwrap_or(0),
                (false, clean) => {
                    if clean {
                        0
                    } else {
                        u32::MAX
                    }
                }
            },
            receive_maximum: short,
            maximum_packet_bytes: word_2,
            topic_alias_maximum: short_2.unwrap_or(0),
            request_response_information: five && f,
            request_problem_information: !five || g,
            authentication_method: text(f, four),
            authentication_data: (f && five && a).then_some(blob),
        })),
        1 => {
            let reason = choose(&[0, 0x80, 0x95, 0x9F], &[0, 0x84, 0x85, 0x88, 0x86, 0x87]);
            Packet::ConnAck(Box::new(ConnAck {
                session_present: a && reason == Reason::SUCCESS && version != Version::V31,
                reason,
                session_expiry_s: word,
                receive_maximum: short,
                maximum_packet_bytes: word_2,
                assigned_client_id: text(b, one),
                topic_alias_maximum: short_2.unwrap_or(0),
                server_keep_alive_s: short_3,
                reason_text: text(c, two),
                response_information: text(d, three),
                authentication_method: text(e, four),
            }))
        }
        2 => Packet::Publish(Publish {
            duplicate: a && numbers.qos != QoS::AtMostOnce,
            qos: numbers.qos,
            retain: b,
            topic: if short.is_some() && c { "" } else { topic },
            packet_id: if numbers.qos == QoS::AtMostOnce {
                0
            } else {
                numbers.id
            },
            topic_alias: short,
            expiry_s: word,
            subscription_ids: if five {
                numbers.subscription_ids.clone()
            } else {
                Vec::new()
            },
            properties: forwarded(),
            payload: blob,
        }),
        3 => Packet::Ack(match (a, b) {
            (true, true) => ack(AckKind::PubAck, numbers.id, choose(&[0, 0x10, 0x97], &[0])),
            (true, false) => ack(AckKind::PubRec, numbers.id, choose(&[0, 0x10, 0x99], &[0])),
            (false, true) => ack(AckKind::PubRel, numbers.id, choose(&[0, 0x92], &[0])),
            (false, false) => ack(AckKind::PubComp, numbers.id, choose(&[0, 0x92], &[0])),
        }),
        4 => Packet::Subscribe(Subscribe {
            packet_id: numbers.id,
            subscription_id: word.map(|word| (word >> 4).max(1)),
            filters: owned
                .filters
                .iter()
                .map(|(filter, options)| Subscription {
                    filter,
                    options: if five {
                        *options
                    } else {
                        SubscriptionOptions {
                            qos: options.qos,
                            ..Default::default()
                        }
                    },
                })
                .collect(),
        }),
        5 => Packet::SubAck(Granted {
            packet_id: numbers.id,
            reasons: vec![choose(&[0, 1, 2, 0x80, 0x8F], &[0, 1, 2, 0x80]); 1 + usize::from(a)],
        }),
        6 => Packet::Unsubscribe(Unsubscribe {
            packet_id: numbers.id,
            filters: owned
                .filters
                .iter()
                .map(|(filter, _)| filter.as_str())
                .collect(),
        }),
        7 => Packet::UnsubAck(Granted {
            packet_id: numbers.id,
            reasons: if five {
                vec![choose(&[0, 0x11, 0x87], &[]); 2]
            } else {
                Vec::new()
            },
        }),
        8 => Packet::PingReq,
        9 => Packet::PingResp,
        10 => Packet::Disconnect(Disconnect {
            reason: choose(&[0, 4, 0x81, 0x8E, 0xA2], &[0]),
            session_expiry_s: word,
            reason_text: text(a, one),
        }),
        _ => Packet::Auth(Auth {
            reason: choose(&[0, 0x18, 0x19], &[0]),
            method: Some(one),
            data: a.then_some(blob),
        }),
    }
}

fn ack(kind: AckKind, packet_id: u16, reason: Reason) -> Ack {
    Ack {
        kind,
        packet_id,
        reason,
    }
}

fn version() -> impl Strategy<Value = Version> {
    prop::sample::select(vec![Version::V31, Version::V311, Version::V5])
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        which in 0..12_u8, version in version(), owned in owned(), numbers in numbers(),
    ) {
        prop_assume!(which < 11 || version == Version::V5); // AUTH
        let packet = packet(which, version, &owned, &numbers);
        let mut bytes = Vec::new();
        encode(&mut bytes, version, &packet);
        prop_assert_eq!(split(&bytes, bytes.len()), Ok(Split::Packet(bytes.len())));
        prop_assert_eq!(decode(&bytes, version), Ok(packet.clone()));
        if let Packet::Publish(publish) = &packet {
            prop_assert_eq!(publish_len(version, &PublishHead::of(publish)), bytes.len());
        }
        // Cut short in its body it is never a packet, nor does anything fit behind it.
        let mut longer = bytes.clone();
        longer.push(0);
        prop_assert!(decode(&longer, version).is_err());
        prop_assert!(decode(&bytes[..bytes.len() - 1], version).is_err());
    }

    /// A stream gives the same packets in whatever pieces it comes.
    #[test]
    fn packets_survive_any_split_of_the_stream(
        version in version(),
        parts in vec((0..11_u8, owned(), numbers()), 1..5),
        cuts in vec(1..40_usize, 0..40),
    ) {
        let packets: Vec<Packet<'_>> =
            parts.iter().map(|(which, owned, numbers)| packet(*which, version, owned, numbers)).collect();
        let mut stream = Vec::new();
        for packet in &packets {
            encode(&mut stream, version, packet);
        }
        let (mut buffer, mut rest, mut cuts) = (Vec::new(), &stream[..], cuts.into_iter());
        let mut found = Vec::new();
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
            buffer.extend_from_slice(piece);
            rest = later;
            loop {
                match split(&buffer, usize::MAX) {
                    Ok(Split::Packet(length)) => {
                        let bytes: Vec<u8> = buffer.drain(..length).collect();
                        found.push(bytes);
                    }
                    Ok(Split::More(more)) => {
                        prop_assert!(more > 0);
                        break;
                    }
                    Err(error) => prop_assert!(false, "{}", error),
                }
            }
        }
        prop_assert!(buffer.is_empty());
        let found: Result<Vec<_>, _> = found.iter().map(|bytes| decode(bytes, version)).collect();
        prop_assert_eq!(found, Ok(packets));
    }

    /// Whatever comes: no panic, and what is taken for a packet can be written and read again.
    #[test]
    fn any_bytes_do_no_harm(
        first in any::<u8>(), body in vec(prop_oneof![any::<u8>(), 0..6_u8, Just(0x26)], 0..60), version in version(),
    ) {
        let mut bytes = vec![first, body.len() as u8];
        bytes.extend(&body);
        let _ = split(&body, 100);
        let _ = decode(&body, version);
        check_any(&bytes, version)?;
    }

    /// The same with packets of which a byte is wrong, which get further.
    #[test]
    fn a_changed_byte_does_no_harm(
        which in 0..12_u8, version in version(), owned in owned(), numbers in numbers(),
        at in any::<prop::sample::Index>(), byte in prop_oneof![any::<u8>(), 0..4_u8],
    ) {
        let mut bytes = Vec::new();
        encode(&mut bytes, version, &packet(which, version, &owned, &numbers));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        check_any(&bytes, version)?;
    }
}

pub fn check_any(bytes: &[u8], version: Version) -> Result<(), TestCaseError> {
    if let Ok(packet) = decode(bytes, version) {
        let version = match &packet {
            Packet::Connect(connect) => connect.version,
            _ => version,
        };
        let mut again = Vec::new();
        encode(&mut again, version, &packet);
        prop_assert_eq!(decode(&again, version), Ok(packet), "{:?}", again);
    }
    Ok(())
}
