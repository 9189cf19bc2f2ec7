//! Load generator of the benches. It pre-encodes every request, then only sends, reads replies and counts,
//! so that it costs less than what it measures.

pub mod http;
pub mod mqtt;
pub mod workload;
