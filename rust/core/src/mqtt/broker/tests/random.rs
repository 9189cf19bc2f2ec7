//! Runs of random clients, and the seeds of the fuzzer.

use std::fs;

use proptest::prelude::*;

use super::model::{CLIENTS, FILTERS, Op, TOPICS, check, check_bytes};

fn op() -> impl Strategy<Value = Op> {
    let client = || 0..CLIENTS;
    prop_oneof![
        3 => (client(), any::<bool>(), any::<bool>(), prop_oneof![Just(0), Just(5), Just(u32::MAX)], 1..4_u16).prop_map(
            |(client, is_new, clean, expiry_s, receive_maximum)|
                Op::Connect { client, is_new, clean, expiry_s, receive_maximum }),
        1 => client().prop_map(|client| Op::Lose { client }),
        1 => client().prop_map(|client| Op::Leave { client }),
        4 => (client(), 0..FILTERS.len(), 0..3_u8, any::<u8>()).prop_map(
            |(client, filter, qos, flags)| Op::Subscribe { client, filter, qos, flags }),
        1 => (client(), 0..FILTERS.len()).prop_map(|(client, filter)| Op::Unsubscribe { client, filter }),
        12 => (client(), 0..TOPICS.len(), 0..3_u8, any::<bool>(), any::<bool>()).prop_map(
            |(client, topic, qos, retain, expires)| Op::Publish { client, topic, qos, retain, expires }),
        12 => (client(), any::<bool>()).prop_map(|(client, all)| Op::Answer { client, all }),
        1 => (client(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(
            |(client, bytes)| Op::Noise { client, bytes }),
        6 => Just(Op::Keep),
        1 => Just(Op::Refuse),
        1 => (1..8_000_u64).prop_map(|ms| Op::Wait { ms }),
        3 => (1..2_000_usize).prop_map(|limit_bytes| Op::Snapshot { limit_bytes }),
        1 => Just(Op::Crash),
    ]
}

proptest! {
    #[test]
    fn clients_may_do_anything(ops in prop::collection::vec(op(), 1..120)) {
        check(ops.into_iter());
    }

    #[test]
    fn any_bytes_are_a_run(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_bytes(&bytes);
    }
}

#[test]
fn seeds_of_the_fuzzer_break_no_promise() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/mqtt_session");
    let mut seeds = 0;
    for file in fs::read_dir(folder).expect(folder) {
        check_bytes(&fs::read(file.expect(folder).path()).expect("a seed"));
        seeds += 1;
    }
    assert!(seeds > 10, "{seeds} seeds");
}
