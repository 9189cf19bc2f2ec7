//! A stream of packets, its first byte the version: no panic, and what is taken for a packet reads the same when it
//! is written again.
#![no_main]

use edgelake_core::mqtt::codec::{Split, decode, encode, split};
use edgelake_core::mqtt::packet::{Packet, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&first, mut rest)) = data.split_first() else { return };
    let version = [Version::V31, Version::V311, Version::V5][usize::from(first % 3)];
    while let Ok(Split::Packet(length)) = split(rest, 1 << 20) {
        if let Ok(packet) = decode(&rest[..length], version) {
            let version = match &packet {
                Packet::Connect(connect) => connect.version,
                _ => version,
            };
            let mut again = Vec::new();
            encode(&mut again, version, &packet);
            assert_eq!(decode(&again, version), Ok(packet));
        }
        rest = &rest[length..];
    }
});
