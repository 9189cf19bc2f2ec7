//! The lines of a connection, on their way to rows.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::LOCAL;
use super::lines::{LineRule, Lines};
use super::local::{LINES, Shared};
use super::round::Incoming;
use crate::mqtt::broker::LineSink;
use crate::pipeline::MappedRows;

pub(super) struct LineStream {
    lines: Lines,
    shared: Arc<Shared>,
    /// Records that had been lost when the connection began.
    lost_before: u64,
}

impl LineStream {
    pub fn new(shared: Arc<Shared>, rule: Arc<LineRule>, peer: IpAddr) -> Self {
        let lost_before = shared.lines_lost.load(Ordering::Relaxed);
        Self {
            lines: Lines::new(rule, peer),
            shared,
            lost_before,
        }
    }

    /// Nobody waits for these rows, but what has been lost is noticed.
    fn submit(&self, rows: Option<MappedRows>) -> Result<usize, String> {
        if self.shared.lines_lost.load(Ordering::Relaxed) > self.lost_before {
            return Err("lines could not be kept: the disk is full, or writing failed".into());
        }
        let Some(rows) = rows else { return Ok(0) };
        let count = rows.chunk.len;
        let Some(topic) = &self.lines.rule().topic else {
            self.shared.submitter.submit(LINES, vec![rows]);
            return Ok(count);
        };
        // With a topic in their rule the message clients map them.
        let text = rows.chunk.to_json_lines(0..count);
        let routes = self.shared.clients.routes(LOCAL, topic);
        let messages = text.split(|&b| b == b'\n').filter(|line| !line.is_empty());
        let messages = messages.map(|payload| Incoming {
            topic,
            payload,
            arrival_us: rows.arrival_us,
            receipt: None,
            routes: &routes,
        });
        let mapped = self.shared.clients.map(messages, 0);
        if let Some(reason) = mapped.unwritten {
            return Err(reason);
        }
        self.shared.submitter.submit(LINES, mapped.rows);
        for command in mapped.commands {
            self.shared.submitter.act(command.into());
        }
        Ok(count)
    }
}

impl LineSink for LineStream {
    fn feed(&mut self, bytes: &[u8], now_us: i64) -> Result<usize, String> {
        let rows = self.lines.feed(bytes, now_us);
        self.submit(rows)
    }

    fn finish(&mut self, now_us: i64) -> Result<usize, String> {
        let rows = self.lines.finish(now_us);
        self.submit(rows)
    }

    fn held_bytes(&self) -> usize {
        self.lines.held_bytes()
    }
}
