//! Load generator of the benches: pre-encodes its requests, then only sends and counts.

fn main() {}
