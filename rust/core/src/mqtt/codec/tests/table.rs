//! Bytes against statements of the standards. Numbers are those of MQTT 5.0; `(3.1.1)` marks the older document's.

use Version::{V5, V31, V311};

use crate::mqtt::codec::{Split, decode, encode, split};
use crate::mqtt::packet::*;

/// Bytes of "00 04 'MQTT' 05": hexadecimal digits, and texts between quotes.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for word in text.split(' ') {
        match word
            .strip_prefix('\'')
            .and_then(|word| word.strip_suffix('\''))
        {
            Some(plain) => out.extend_from_slice(plain.as_bytes()),
            None => out.push(u8::from_str_radix(word, 16).expect(word)),
        }
    }
    out
}

/// A whole packet of a first byte and a body of less than 128 bytes.
fn packet(text: &str) -> Vec<u8> {
    let mut all = bytes(text);
    let length = all.len() as u8 - 1;
    all.insert(1, length);
    all
}

const MALFORMED: Reason = Reason::MALFORMED_PACKET;

/// Rows of a table: statement | version | packet, and where it is refused | reason. Wide, hence as a text.
fn rows(table: &str) -> impl Iterator<Item = (Vec<&str>, Version)> {
    table
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let row: Vec<&str> = line.split(" | ").collect();
            let version = match row[1] {
                "3.1" => V31,
                "3.1.1" => V311,
                _ => V5,
            };
            (row, version)
        })
}

fn check_refused(table: &str) {
    for (row, version) in rows(table) {
        match decode(&packet(row[2]), version) {
            Err(error) => assert_eq!(vec![error.reason.0], bytes(row[3]), "{row:?}: {error}"),
            Ok(packet) => panic!("{row:?} is taken for {packet:?}"),
        }
    }
}

fn check_taken(table: &str) {
    for (row, version) in rows(table) {
        if let Err(error) = decode(&packet(row[2]), version) {
            panic!("{row:?} is refused: {error}");
        }
    }
}

#[test]
fn fixed_headers() {
    check_refused(
        "
        2.1.2 type 0 | 3.1.1 | 00 | 81
        2.2.1 type 15 (3.1.1) | 3.1.1 | F0 | 81
        MQTT-2.1.3-1 CONNECT | 5 | 11 00 04 'MQTT' 05 02 00 00 00 00 00 | 81
        MQTT-2.1.3-1 CONNACK | 5 | 21 00 00 00 | 81
        MQTT-2.1.3-1 PUBACK | 5 | 41 00 01 | 81
        MQTT-2.1.3-1 PUBREC | 5 | 52 00 01 | 81
        MQTT-3.6.1-1 PUBREL | 5 | 60 00 01 | 81
        MQTT-3.6.1-1 PUBREL | 3.1.1 | 6A 00 01 | 81
        MQTT-2.1.3-1 PUBCOMP | 5 | 72 00 01 | 81
        MQTT-3.8.1-1 SUBSCRIBE | 5 | 80 00 01 00 00 01 'a' 00 | 81
        MQTT-3.8.1-1 SUBSCRIBE | 3.1.1 | 8A 00 01 00 01 'a' 00 | 81
        MQTT-2.1.3-1 SUBACK | 5 | 92 00 01 00 00 | 81
        MQTT-3.10.1-1 UNSUBSCRIBE | 5 | A0 00 01 00 00 01 'a' | 81
        MQTT-2.1.3-1 UNSUBACK | 5 | B1 00 01 00 00 | 81
        MQTT-2.1.3-1 PINGREQ | 5 | C1 | 81
        MQTT-2.1.3-1 PINGRESP | 5 | D8 | 81
        MQTT-3.14.1-1 DISCONNECT | 5 | E1 | 81
        MQTT-3.15.1-1 AUTH | 5 | F2 | 81
        3.12 PINGREQ has no body | 5 | C0 00 | 81
        3.14 DISCONNECT has no body (3.1.1) | 3.1.1 | E0 00 | 81
    ",
    );
    check_taken(
        "
        3.1: duplicates of these are marked | 3.1 | 6A 00 01
        3.1: duplicates of these are marked | 3.1 | 8A 00 01 00 01 'a' 00
        3.1: duplicates of these are marked | 3.1 | AA 00 01 00 01 'a'
        3.12 | 5 | C0
        3.13 | 3.1 | D0
        3.14 | 3.1.1 | E0
    ",
    );
}

#[test]
fn remaining_length() {
    assert_eq!(split(&[], 100), Ok(Split::More(2)));
    assert_eq!(split(&[0xC0], 100), Ok(Split::More(1)));
    assert_eq!(split(&[0x30, 0x80], 100), Ok(Split::More(1)));
    assert_eq!(split(&[0x30, 5, 0], 100), Ok(Split::More(4)));
    assert_eq!(split(&[0xC0, 0, 0xC0], 100), Ok(Split::Packet(2)));
    // Table 2-1 of 3.1.1: borders of the sizes.
    let borders = [
        (0x7F, "7F"),
        (0x80, "80 01"),
        (0x3FFF, "FF 7F"),
        (0x4000, "80 80 01"),
    ];
    for (length, text) in borders.into_iter().chain([(268_435_455, "FF FF FF 7F")]) {
        let head = [vec![0x30], bytes(text)].concat();
        assert_eq!(split(&head, usize::MAX), Ok(Split::More(length)), "{text}");
        let whole = length + head.len();
        assert_eq!(split(&head, whole), Ok(Split::More(length)), "{text}");
        let error = split(&head, whole - 1).expect_err(text);
        assert_eq!(
            error.reason,
            Reason::PACKET_TOO_LARGE,
            "MQTT-3.2.2-15: {text}"
        );
    }
    for text in ["30 80 80 80 80", "30 FF FF FF FF 01"] {
        assert_eq!(
            split(&bytes(text), usize::MAX).expect_err(text).reason,
            MALFORMED
        );
    }
    // What can't become a packet is known at its first byte.
    for begin in [&b"\0"[..], b"GET / HTTP/1.1", b"\x16\x03\x01"] {
        assert_eq!(
            split(&begin[..1], 100).expect_err("no packet").reason,
            MALFORMED
        );
    }
    let longer_than_needed = bytes("C0 80 00");
    assert!(decode(&longer_than_needed, V311).is_ok());
    assert_eq!(
        decode(&longer_than_needed, V5).expect_err("1.5.5-1").reason,
        MALFORMED
    );
}

#[test]
fn connect() {
    check_refused(
        "
        MQTT-3.1.2-1 | 5 | 10 00 04 'MQTS' 05 02 00 00 00 00 00 | 82
        MQTT-3.1.2-1 | 5 | 10 00 04 'mqtt' 04 02 00 00 00 00 | 82
        MQTT-3.1.2-2 | 5 | 10 00 04 'MQTT' 06 02 00 00 00 00 | 84
        MQTT-3.1.2-2 | 5 | 10 00 04 'MQTT' 03 02 00 00 00 00 | 84
        MQTT-3.1.2-2 | 5 | 10 00 06 'MQIsdp' 04 02 00 00 00 00 | 84
        MQTT-3.1.2-3 | 5 | 10 00 04 'MQTT' 05 03 00 00 00 00 00 | 81
        MQTT-3.1.2-3 (3.1.1) | 5 | 10 00 04 'MQTT' 04 03 00 00 00 00 | 81
        MQTT-3.1.2-11 | 5 | 10 00 04 'MQTT' 05 0A 00 00 00 00 00 | 81
        MQTT-3.1.2-13 | 5 | 10 00 04 'MQTT' 05 22 00 00 00 00 00 | 81
        MQTT-3.1.2-12 | 5 | 10 00 04 'MQTT' 05 1E 00 00 00 00 00 00 00 01 't' 00 00 | 81
        MQTT-3.1.2-22 (3.1.1) | 5 | 10 00 04 'MQTT' 04 42 00 00 00 00 00 01 'p' | 81
        MQTT-3.1.2-16 no user | 5 | 10 00 04 'MQTT' 04 82 00 00 00 00 | 81
        MQTT-3.1.2-19 no password | 5 | 10 00 04 'MQTT' 04 C2 00 00 00 00 00 01 'u' | 81
        MQTT-3.1.2-9 no will | 5 | 10 00 04 'MQTT' 04 06 00 00 00 00 | 81
        MQTT-3.1.2-17 unasked user | 5 | 10 00 04 'MQTT' 04 02 00 00 00 00 00 01 'u' | 81
        MQTT-3.1.3-3 no client id | 5 | 10 00 04 'MQTT' 04 02 00 00 | 81
        MQTT-3.1.3-4 client id | 5 | 10 00 04 'MQTT' 04 02 00 00 00 01 FF | 81
        MQTT-3.1.3-11 will topic | 5 | 10 00 04 'MQTT' 04 06 00 00 00 00 00 01 FF 00 00 | 81
        MQTT-4.7.3-1 will topic | 5 | 10 00 04 'MQTT' 04 06 00 00 00 00 00 00 00 00 | 82
        MQTT-3.3.2-2 will topic | 5 | 10 00 04 'MQTT' 04 06 00 00 00 00 00 01 '#' 00 00 | 81
        MQTT-3.1.3-12 user | 5 | 10 00 04 'MQTT' 04 82 00 00 00 00 00 01 FF | 81
        3.1.2.11.2 | 5 | 10 00 04 'MQTT' 05 02 00 00 0A 11 00 00 00 01 11 00 00 00 01 00 00 | 82
        3.1.2.11.3 zero | 5 | 10 00 04 'MQTT' 05 02 00 00 03 21 00 00 00 00 | 82
        3.1.2.11.4 zero | 5 | 10 00 04 'MQTT' 05 02 00 00 05 27 00 00 00 00 00 00 | 82
        3.1.2.11.6 | 5 | 10 00 04 'MQTT' 05 02 00 00 02 19 02 00 00 | 82
        3.1.2.11.7 | 5 | 10 00 04 'MQTT' 05 02 00 00 02 17 02 00 00 | 82
        3.1.2.11.10 | 5 | 10 00 04 'MQTT' 05 02 00 00 04 16 00 01 00 00 00 | 82
        2.2.2.2 of a PUBLISH | 5 | 10 00 04 'MQTT' 05 02 00 00 02 01 00 00 00 | 81
        2.2.2.2 of a will | 5 | 10 00 04 'MQTT' 05 02 00 00 05 18 00 00 00 01 00 00 | 81
        2.2.2.2 unknown | 5 | 10 00 04 'MQTT' 05 02 00 00 02 7F 00 00 00 | 81
        2.2.2.1 length | 5 | 10 00 04 'MQTT' 05 02 00 00 09 21 00 01 00 00 | 81
        2.2.2.1 cut | 5 | 10 00 04 'MQTT' 05 02 00 00 02 21 00 01 00 00 | 81
        3.1.3.2.2 twice | 5 | 10 00 04 'MQTT' 05 06 00 00 00 00 00 04 01 00 01 00 00 01 't' 00 00 | 82
    ",
    );
    check_taken(
        "
        3.1.2.9 password alone | 5 | 10 00 04 'MQTT' 05 42 00 00 00 00 00 00 01 'p'
        MQTT-3.1.3-5 | 5 | 10 00 04 'MQTT' 04 02 00 00 00 17 '0123456789abcdefghijklM'
        1.5.4 U+FEFF | 5 | 10 00 04 'MQTT' 04 02 00 00 00 03 EF BB BF
        3.1.2.11.8 twice | 5 | 10 00 04 'MQTT' 05 02 00 00 0A 26 00 00 00 00 26 00 00 00 00 00 00
        3.1: flags without fields | 3.1 | 10 00 06 'MQIsdp' 03 C2 00 00 00 01 'c'
        3.1: bit 0 is not used | 3.1 | 10 00 06 'MQIsdp' 03 03 00 00 00 01 'c'
    ",
    );
}

#[test]
fn a_connect_is_read_whole() {
    let bytes = packet(
        "10 00 04 'MQTT' 05 F6 00 3C 0D 11 00 00 00 10 21 00 05 27 00 00 10 00 00 02 'id' \
         0E 18 00 00 00 07 26 00 01 'k' 00 01 'v' 01 01 00 01 't' 00 02 01 00 00 01 'u' 00 02 00 FF",
    );
    let Ok(Packet::Connect(connect)) = decode(&bytes, V311) else {
        panic!("no CONNECT")
    };
    assert_eq!(
        (connect.version, connect.clean, connect.keep_alive_s),
        (V5, true, 60)
    );
    assert_eq!(
        (connect.session_expiry_s, connect.receive_maximum),
        (16, Some(5))
    );
    assert_eq!(
        (connect.maximum_packet_bytes, connect.client_id),
        (Some(4096), "id")
    );
    assert_eq!(
        (connect.user, connect.password),
        (Some("u"), Some(&[0, 0xFF][..]))
    );
    let will = connect.will.expect("a will");
    assert_eq!(
        (will.topic, will.payload, will.qos),
        ("t", &[1, 0][..], QoS::ExactlyOnce)
    );
    assert_eq!(
        (will.retain, will.delay_s, will.properties.is_text),
        (true, 7, true)
    );
    assert_eq!(&*will.properties.encoded, b"\x26\0\x01k\0\x01v\x01\x01");
}

#[test]
fn connack() {
    check_refused(
        "
        MQTT-3.2.2-1 | 5 | 20 02 00 00 | 81
        MQTT-3.2.2-6 | 5 | 20 01 80 00 | 82
        MQTT-3.2.2-4 (3.1.1) | 3.1.1 | 20 01 05 | 82
        MQTT-3.2.2-8 | 5 | 20 00 01 00 | 82
        3.2.2.3 (3.1.1) | 3.1.1 | 20 00 06 | 81
        3.2.2.3.4 | 5 | 20 00 00 02 24 02 | 82
        3.2.2.3.3 | 5 | 20 00 00 03 21 00 00 | 82
        2.2.2.2 of CONNECT | 5 | 20 00 00 02 17 00 | 81
    ",
    );
    check_taken(
        "
        3.2.2.3 | 5 | 20 01 00 0D 24 01 25 00 28 00 29 00 2A 00 13 00 09
    ",
    );
    for (reason, code) in [
        (0x00, 0),
        (0x84, 1),
        (0x85, 2),
        (0x88, 3),
        (0x97, 3),
        (0x86, 4),
        (0x87, 5),
        (0x8A, 5),
    ] {
        let connack = ConnAck {
            session_present: true,
            ..ConnAck::new(Reason(reason))
        };
        let mut out = Vec::new();
        encode(&mut out, V311, &Packet::ConnAck(Box::new(connack)));
        assert_eq!(out, [0x20, 2, u8::from(reason == 0), code], "{reason:#x}");
    }
}

#[test]
fn publish() {
    check_refused(
        "
        MQTT-3.3.1-4 | 3.1.1 | 36 00 01 't' 00 01 | 81
        MQTT-3.3.1-2 | 3.1.1 | 38 00 01 't' | 81
        MQTT-3.3.2-1 cut | 3.1.1 | 30 00 05 't' | 81
        MQTT-3.3.2-1 not UTF-8 | 3.1.1 | 30 00 02 C3 28 | 81
        MQTT-1.5.4-1 surrogate | 3.1.1 | 30 00 03 ED A0 80 | 81
        MQTT-1.5.4-1 overlong | 3.1.1 | 30 00 02 C0 80 | 81
        MQTT-1.5.4-2 U+0000 | 3.1.1 | 30 00 03 'a' 00 'b' | 81
        MQTT-3.3.2-2 + | 3.1.1 | 30 00 03 'a/+' | 81
        MQTT-3.3.2-2 # | 5 | 30 00 01 '#' 00 | 81
        MQTT-4.7.3-1 | 3.1.1 | 30 00 00 | 82
        3.3.2.1 no alias | 5 | 30 00 00 00 | 82
        MQTT-2.2.1-3 | 3.1.1 | 32 00 01 't' 00 00 | 82
        2.2.1 no id | 3.1.1 | 34 00 01 't' 00 | 81
        MQTT-3.3.2-8 alias 0 | 5 | 30 00 01 't' 03 23 00 00 | 94
        3.3.2.3.2 | 5 | 30 00 01 't' 02 01 02 | 82
        3.3.2.3.3 twice | 5 | 30 00 01 't' 0A 02 00 00 00 01 02 00 00 00 01 | 82
        3.3.2.3.4 twice | 5 | 30 00 01 't' 06 23 00 01 23 00 01 | 82
        MQTT-3.3.2-13 | 5 | 30 00 01 't' 04 08 00 01 FF | 81
        MQTT-3.3.2-14 | 5 | 30 00 01 't' 04 08 00 01 '#' | 82
        3.3.2.3.7 not UTF-8 | 5 | 30 00 01 't' 06 26 00 01 FF 00 00 | 81
        MQTT-1.5.4-2 in a value | 5 | 30 00 01 't' 07 26 00 01 'k' 00 01 00 | 81
        3.3.2.3.8 zero | 5 | 30 00 01 't' 02 0B 00 | 82
        MQTT-1.5.5-1 | 5 | 30 00 01 't' 03 0B 81 00 | 81
        1.5.5 five bytes | 5 | 30 00 01 't' 06 0B 80 80 80 80 01 | 81
        MQTT-3.3.2-19 | 5 | 30 00 01 't' 04 03 00 01 FF | 81
        2.2.2.2 of CONNECT | 5 | 30 00 01 't' 05 11 00 00 00 01 | 81
        2.2.2.1 length | 5 | 30 00 01 't' 05 | 81
    ",
    );
    check_taken(
        "
        3.3.3 no payload | 3.1.1 | 30 00 01 't'
        3.3.2.3.4 alias only | 5 | 30 00 00 03 23 00 01
        4.7.3 a slash | 5 | 3D 00 01 '/' 00 01 00
    ",
    );
    let deep = format!("30 00 C9 {}", vec!["2F"; 201].join(" "));
    let mut too_deep = bytes(&deep);
    too_deep.splice(1..1, [0xCB, 0x01]);
    assert_eq!(
        decode(&too_deep, V311).expect_err("levels").reason,
        Reason::TOPIC_NAME_INVALID
    );
}

#[test]
fn properties_of_messages_go_on_in_their_order() {
    let bytes = packet(
        "32 00 01 't' 00 07 1B 26 00 01 'k' 00 01 'v' 02 00 00 00 09 03 00 01 'c' 09 00 01 00 01 01 0B 05 0B 80 01 'x'",
    );
    let Ok(Packet::Publish(publish)) = decode(&bytes, V5) else {
        panic!("no PUBLISH")
    };
    assert_eq!(
        &*publish.properties.encoded,
        b"\x26\0\x01k\0\x01v\x03\0\x01c\x09\0\x01\0\x01\x01"
    );
    assert_eq!((publish.expiry_s, publish.packet_id), (Some(9), 7));
    assert_eq!(
        (publish.subscription_ids, publish.payload),
        (vec![5, 128], &b"x"[..])
    );
    assert!(publish.properties.is_text);
}

#[test]
fn acknowledgements() {
    check_refused(
        "
        MQTT-2.2.1-3 | 3.1.1 | 40 00 00 | 82
        3.4 cut | 3.1.1 | 40 00 | 81
        3.4 (3.1.1) long | 3.1.1 | 40 00 01 00 | 81
        MQTT-3.4.2-1 | 5 | 40 00 01 92 | 82
        MQTT-3.5.2-1 | 5 | 50 00 01 01 | 82
        MQTT-3.6.2-1 | 5 | 62 00 01 10 | 82
        MQTT-3.7.2-1 | 5 | 70 00 01 80 | 82
        3.4.2.2.2 twice | 5 | 40 00 01 00 06 1F 00 00 1F 00 00 | 82
        2.2.2.2 | 5 | 40 00 01 00 03 23 00 01 | 81
        2.2.2.1 length | 5 | 40 00 01 00 04 1F 00 00 | 81
        trailing | 5 | 40 00 01 00 00 00 | 81
    ",
    );
    check_taken(
        "
        3.4.2.1 length 2 | 5 | 40 00 01
        3.4.2.1 length 3 | 5 | 50 00 01 10
        3.6.2.2 | 5 | 62 00 01 92 08 1F 00 05 'words'
        3.7.2.2 | 5 | 70 00 01 00 05 26 00 00 00 00
    ",
    );
}

#[test]
fn subscriptions() {
    check_refused(
        "
        MQTT-3.8.3-2 | 3.1.1 | 82 00 01 | 82
        MQTT-3.8.3-2 | 5 | 82 00 01 00 | 82
        MQTT-2.2.1-3 | 3.1.1 | 82 00 00 00 01 'a' 00 | 82
        MQTT-3.8.3-1 | 3.1.1 | 82 00 01 00 01 FF 00 | 81
        MQTT-1.5.4-2 | 3.1.1 | 82 00 01 00 01 00 00 | 81
        MQTT-3.8.3-5 | 5 | 82 00 01 00 00 01 'a' 40 | 81
        MQTT-3.8.3-5 | 5 | 82 00 01 00 00 01 'a' 80 | 81
        MQTT-3-8.3-4 (3.1.1) | 3.1.1 | 82 00 01 00 01 'a' 04 | 81
        3.8.3.1 QoS 3 | 5 | 82 00 01 00 00 01 'a' 03 | 82
        3.8.3.1 retain handling 3 | 5 | 82 00 01 00 00 01 'a' 30 | 82
        MQTT-3.8.3-4 | 5 | 82 00 01 00 00 0A '$share/g/a' 04 | 82
        MQTT-3.8.3-3 no options | 3.1.1 | 82 00 01 00 01 'a' | 81
        3.8.2.1.2 zero | 5 | 82 00 01 02 0B 00 00 01 'a' 00 | 82
        3.8.2.1.2 twice | 5 | 82 00 01 04 0B 01 0B 02 00 01 'a' 00 | 82
        MQTT-3.10.3-2 | 5 | A2 00 01 00 | 82
        MQTT-3.10.3-1 | 5 | A2 00 01 00 00 01 FF | 81
        MQTT-2.2.1-3 | 5 | A2 00 00 00 00 01 'a' | 82
        2.2.2.2 of SUBSCRIBE | 5 | A2 00 01 02 0B 01 00 01 'a' | 81
        MQTT-3.9.3-2 | 5 | 90 00 01 00 03 | 82
        MQTT-3.9.3-2 (3.1.1) | 3.1.1 | 90 00 01 87 | 82
        MQTT-3.11.3-2 | 5 | B0 00 01 00 01 | 82
        3.11 (3.1.1) no body | 3.1.1 | B0 00 01 00 | 81
    ",
    );
    check_taken(
        "
        3.8.3 an empty filter gets a reason | 3.1.1 | 82 00 01 00 00 00
        3.8.3 wrong filters get a reason | 5 | 82 00 01 00 00 03 'a#b' 2E 00 01 'b' 00
        3.8.2.1.2 | 5 | 82 00 01 05 0B FF FF FF 7F 00 01 'a' 00
    ",
    );
}

#[test]
fn disconnect_and_auth() {
    check_refused(
        "
        MQTT-3.14.2-1 | 5 | E0 01 | 82
        MQTT-3.14.2-1 | 5 | E0 86 | 82
        3.14.2.2.2 twice | 5 | E0 00 0A 11 00 00 00 01 11 00 00 00 01 | 82
        2.2.2.2 | 5 | E0 00 03 21 00 01 | 81
        trailing | 5 | E0 00 00 00 | 81
        MQTT-3.15.2-1 | 5 | F0 01 00 | 82
        3.15.2.1 reason alone | 5 | F0 18 | 81
        3.15.2.2.2 | 5 | F0 18 00 | 82
    ",
    );
    check_taken(
        "
        3.14.2.1 length 1 | 5 | E0 04
        3.14.2.2.5 | 5 | E0 9C 06 1C 00 03 'abc'
        3.15.2.1 length 0 | 5 | F0
        3.15.2.2 | 5 | F0 18 0A 15 00 01 'm' 16 00 03 00 01 02
    ",
    );
}

#[test]
fn what_older_versions_lack_is_left_out() {
    let publish = Publish {
        duplicate: false,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: "t",
        packet_id: 258,
        topic_alias: Some(3),
        expiry_s: Some(1),
        subscription_ids: vec![1],
        properties: Forwarded {
            encoded: b"\x01\x01"[..].into(),
            is_text: true,
        },
        payload: b"x",
    };
    let cases = [
        (Packet::Publish(publish), "33 06 00 01 't' 01 02 'x'"),
        (
            Packet::Ack(Ack {
                kind: AckKind::PubRec,
                packet_id: 1,
                reason: Reason(0x10),
            }),
            "50 02 00 01",
        ),
        (
            Packet::SubAck(Granted {
                packet_id: 1,
                reasons: vec![Reason(2), Reason(0x8F)],
            }),
            "90 04 00 01 02 80",
        ),
        (
            Packet::UnsubAck(Granted {
                packet_id: 1,
                reasons: vec![Reason(0)],
            }),
            "B0 02 00 01",
        ),
    ];
    for (packet, wanted) in cases {
        for version in [V31, V311] {
            let mut out = Vec::new();
            encode(&mut out, version, &packet);
            assert_eq!(out, bytes(wanted), "{packet:?}");
        }
    }
}
