//! `$SYS`: figures as retained messages, under the names that mosquitto uses.

use std::sync::Arc;

use super::super::packet::QoS;
use super::message::Message;
use super::seam::Host;
use super::stats::Stats;
use super::{Broker, Cx};

/// A name below `$SYS/broker`, and where its value stands.
type Figure = (&'static str, fn(&Stats) -> u64);

/// Figures that also come as averages per minute over 1, 5 and 15 minutes.
const LOADS: [Figure; 8] = [
    ("messages/received", |stats| stats.packets_received),
    ("messages/sent", |stats| stats.packets_sent),
    ("publish/received", |stats| stats.publishes_received),
    ("publish/sent", |stats| stats.publishes_sent),
    ("publish/dropped", |stats| stats.publishes_dropped),
    ("bytes/received", |stats| stats.bytes_received),
    ("bytes/sent", |stats| stats.bytes_sent),
    ("connections", |stats| stats.connects),
];

const SPANS: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

/// Figures as they are.
const FIGURES: [Figure; 24] = [
    ("clients/total", |stats| {
        stats.clients_connected + stats.clients_offline
    }),
    ("clients/connected", |stats| stats.clients_connected),
    ("clients/active", |stats| stats.clients_connected),
    ("clients/disconnected", |stats| stats.clients_offline),
    ("clients/inactive", |stats| stats.clients_offline),
    ("clients/maximum", |stats| stats.clients_connected_peak),
    ("clients/expired", |stats| stats.sessions_expired),
    ("messages/received", |stats| stats.packets_received),
    ("messages/sent", |stats| stats.packets_sent),
    ("publish/messages/received", |stats| {
        stats.publishes_received
    }),
    ("publish/messages/sent", |stats| stats.publishes_sent),
    ("publish/messages/dropped", |stats| stats.publishes_dropped),
    ("publish/messages/expired", |stats| stats.publishes_expired),
    ("publish/messages/mapped", |stats| stats.publishes_mapped),
    ("publish/messages/unmatched", |stats| {
        stats.publishes_unmatched
    }),
    ("publish/bytes/received", |stats| {
        stats.publish_bytes_received
    }),
    ("publish/bytes/sent", |stats| stats.publish_bytes_sent),
    ("bytes/received", |stats| stats.bytes_received),
    ("bytes/sent", |stats| stats.bytes_sent),
    ("subscriptions/count", |stats| stats.subscriptions),
    ("shared_subscriptions/count", |stats| {
        stats.shared_subscriptions
    }),
    ("retained messages/count", |stats| stats.retained),
    ("store/messages/count", |stats| stats.queued),
    ("store/messages/bytes", |stats| stats.queued_bytes),
];

#[derive(Debug, Default)]
pub(super) struct Sys {
    /// None before the first time.
    started_ms: Option<u64>,
    last_ms: u64,
    last: Stats,
    loads: [[f64; SPANS.len()]; LOADS.len()],
}

impl Broker {
    pub(super) fn publish_sys<H: Host>(&mut self, cx: &mut Cx<'_, H>) {
        let interval_ms = u64::from(self.options.sys_interval_s) * 1_000;
        let is_first = self.sys.started_ms.is_none();
        if interval_ms == 0 || (!is_first && cx.now.mono_ms < self.sys.last_ms + interval_ms) {
            return;
        }
        let started_ms = *self.sys.started_ms.get_or_insert(cx.now.mono_ms);
        let stats = self.stats();
        if is_first {
            let version = self.options.version_text.clone();
            self.put_sys("version", version, cx);
        } else {
            self.update_loads(&stats, cx.now.mono_ms);
        }
        self.sys.last_ms = cx.now.mono_ms;
        self.sys.last = stats;
        self.put_sys(
            "uptime",
            format!("{} seconds", (cx.now.mono_ms - started_ms) / 1_000),
            cx,
        );
        for (name, figure) in FIGURES {
            self.put_sys(name, figure(&stats).to_string(), cx);
        }
        for (at, (name, _)) in LOADS.iter().enumerate() {
            for (span, (label, _)) in SPANS.iter().enumerate() {
                let value = format!("{:.2}", self.sys.loads[at][span]);
                self.put_sys(&format!("load/{name}/{label}"), value, cx);
            }
        }
    }

    fn update_loads(&mut self, stats: &Stats, mono_ms: u64) {
        let elapsed_s = (mono_ms - self.sys.last_ms) as f64 / 1_000.0;
        for (at, (_, figure)) in LOADS.iter().enumerate() {
            let per_minute = (figure(stats) - figure(&self.sys.last)) as f64 * 60.0 / elapsed_s;
            for (span, (_, span_s)) in SPANS.iter().enumerate() {
                let weight = (-elapsed_s / span_s).exp();
                let load = &mut self.sys.loads[at][span];
                *load = per_minute + weight * (*load - per_minute);
            }
        }
    }

    /// Only what has changed is published.
    fn put_sys<H: Host>(&mut self, name: &str, value: String, cx: &mut Cx<'_, H>) {
        let topic = format!("$SYS/broker/{name}");
        let payload = value.into_bytes();
        if self
            .retained
            .get(&topic)
            .is_some_and(|old| *old.payload == *payload)
        {
            return;
        }
        let message = Arc::new(Message {
            id: 0,
            topic: topic.into(),
            payload: payload.into(),
            properties: Box::default(),
            is_text: false,
            qos: QoS::AtMostOnce,
            retain: true,
            expires_unix_ms: None,
            publisher: None,
        });
        self.publish_message(&message, cx);
    }
}
