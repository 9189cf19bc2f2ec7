//! MQTT load: flows of messages through a broker, latency at a fixed rate, and clients that misbehave.
//!
//! Publishes are encoded once; then only their numbers are written over. What arrives is counted and its order
//! checked, and nothing else is done with it. One thread drives all sockets of a flow.

pub mod crowd;
pub mod flow;
pub mod link;
pub mod message;
pub mod pace;
pub mod sink;

use std::net::SocketAddr;

use edgelake_core::mqtt::packet::{QoS, Version};

/// Where, and in which words.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub address: SocketAddr,
    pub version: Version,
}

/// A QoS by its number.
pub fn qos(number: u8) -> Option<QoS> {
    match number {
        0 => Some(QoS::AtMostOnce),
        1 => Some(QoS::AtLeastOnce),
        2 => Some(QoS::ExactlyOnce),
        _ => None,
    }
}

/// A version by the level that its CONNECT has.
pub fn version(level: u8) -> Option<Version> {
    match level {
        3 => Some(Version::V31),
        4 => Some(Version::V311),
        5 => Some(Version::V5),
        _ => None,
    }
}
