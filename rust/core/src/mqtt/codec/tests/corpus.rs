//! The seeds of the fuzzer (rust/fuzz), so that every test run covers them.

use std::fs;

use super::any::check_any;
use crate::mqtt::codec::{Split, split};
use crate::mqtt::packet::Version;

#[test]
fn seeds_of_the_fuzzer_do_no_harm() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/mqtt_decode");
    let mut packets = 0;
    for file in fs::read_dir(folder).expect(folder) {
        let bytes = fs::read(file.expect(folder).path()).expect("a seed");
        let (first, mut rest) = bytes.split_first().expect("a version");
        let version = [Version::V31, Version::V311, Version::V5][usize::from(first % 3)];
        while let Ok(Split::Packet(length)) = split(rest, usize::MAX) {
            check_any(&rest[..length], version).expect("the same packet again");
            rest = &rest[length..];
            packets += 1;
        }
    }
    assert!(packets > 100, "{packets} packets");
}
