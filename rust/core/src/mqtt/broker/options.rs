//! What an owner may set.

use std::net::SocketAddr;
use std::sync::Arc;

use super::acl::Acl;

#[derive(Clone, Debug)]
pub struct Options {
    /// Without name and password, from this machine.
    pub anonymous_local: bool,
    /// The same, from elsewhere.
    pub anonymous_remote: bool,
    pub anonymous_acl: Arc<Acl>,
    /// Told to version 5 clients; the host enforces it.
    pub maximum_packet_bytes: u32,
    /// QoS 1 and 2 messages that a client may have unacknowledged (version 5 is told).
    pub receive_maximum: u16,
    /// The same towards clients of older versions, which cannot say what they take.
    pub in_flight_old: u16,
    /// Aliases that a client may define.
    pub topic_alias_maximum: u16,
    /// Aliases that we define, at most, where the client allows them.
    pub topic_alias_out: u16,
    /// Server Keep Alive: version 5 clients that ask for a longer one get this. 0 = no limit.
    pub keep_alive_max_s: u16,
    /// Longest session without a connection; `u32::MAX` = no limit.
    pub session_expiry_max_s: u32,
    /// Messages that wait for one session, and their bytes.
    pub queue_messages: usize,
    pub queue_bytes: usize,
    /// Bytes that wait for all sessions together.
    pub queue_total_bytes: usize,
    pub sessions_max: usize,
    pub subscriptions_per_session: usize,
    pub retained_max: usize,
    pub retained_bytes: usize,
    /// Backlog of a connection above which its messages wait in the queue instead.
    pub backlog_bytes: usize,
    /// Period of `$SYS`; 0 = none.
    pub sys_interval_s: u32,
    /// Start of the topic that a client gets which asks for response information; its id follows.
    pub response_prefix: Option<String>,
    /// `$SYS/broker/version`.
    pub version_text: String,
    /// Topics whose route is remembered.
    pub routes_cached: usize,
}

impl Options {
    /// Whether clients of an address need no name.
    pub fn may_be_anonymous(&self, address: SocketAddr) -> bool {
        if address.ip().to_canonical().is_loopback() {
            self.anonymous_local
        } else {
            self.anonymous_remote
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            anonymous_local: true,
            anonymous_remote: true,
            anonymous_acl: Arc::new(Acl::open()),
            maximum_packet_bytes: 16 * 1024 * 1024,
            receive_maximum: 1_000,
            in_flight_old: 1_000,
            topic_alias_maximum: 16,
            topic_alias_out: 16,
            keep_alive_max_s: 60,
            session_expiry_max_s: u32::MAX,
            queue_messages: 100_000,
            queue_bytes: 32 * 1024 * 1024,
            queue_total_bytes: 128 * 1024 * 1024,
            sessions_max: 100_000,
            subscriptions_per_session: 10_000,
            retained_max: 1_000_000,
            retained_bytes: 256 * 1024 * 1024,
            backlog_bytes: 1024 * 1024,
            sys_interval_s: 10,
            response_prefix: Some("response/".into()),
            version_text: concat!("edgelake ", env!("CARGO_PKG_VERSION")).into(),
            routes_cached: 16_384,
        }
    }
}
