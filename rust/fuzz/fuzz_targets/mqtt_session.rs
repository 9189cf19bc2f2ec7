//! Several clients, their packets and acknowledgements, the disk's answers, time and crashes, as the bytes say: the
//! broker keeps its promises (the model of its own tests).
#![no_main]

use edgelake_core::mqtt::broker::tests::model::check_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| check_bytes(data));
