//! Connections that speak lines instead of MQTT: syslog and the like (spec: brokers and mapping, section 3).
//!
//! A CONNECT begins with 0x10. What begins otherwise is shown to the intake, which has a rule for it or not. Lines are
//! not acknowledged: while the intake has no room nothing is read, and when it loses rows the connection is closed,
//! for the sender to notice.

use super::super::broker::{Broker, Cause, ConnId, Opening};
use super::event_loop::EventLoop;
use super::shared::{Counters, Severity};
use super::sockets::{Ending, Stage};

/// Type and flags of a CONNECT.
const CONNECT: u8 = 0x10;

impl EventLoop {
    /// Takes what came if the connection speaks lines, or may still turn out to. `is_all`: nothing more will come.
    pub(super) fn lines(
        &mut self,
        broker: &mut Broker,
        id: ConnId,
        fresh: &[u8],
        is_all: bool,
    ) -> bool {
        let Some(conn) = self.sockets.peek(id) else {
            return false;
        };
        match conn.stage {
            Stage::Shaking | Stage::Serving => return false,
            Stage::Lines => {}
            Stage::Opened if conn.transport.is_web_socket() => return false,
            Stage::Opened => {
                let first = conn.first_byte().or(fresh.first().copied());
                if first.is_none_or(|byte| byte == CONNECT) {
                    return false;
                }
            }
        }
        let mut bytes = self.sockets.take_input(id);
        let held_bytes = bytes.len();
        bytes.extend_from_slice(fresh);
        let Some(conn) = self.sockets.peek(id) else {
            return true;
        };
        if !conn.takes_packets() {
            self.put_back(broker, id, bytes);
            return true;
        }
        if conn.stage == Stage::Opened {
            let is_anonymous = broker.options().may_be_anonymous(conn.address);
            let opening = self.sockets.intake.as_ref().map_or(Opening::Refused, |i| {
                i.open_lines(conn.address, &bytes, is_all, is_anonymous)
            });
            match opening {
                Opening::Lines(sink) => {
                    Counters::add(&self.shared.counters.line_connections);
                    if self.shared.is_debug() {
                        let text = format!("{}: sends lines", conn.address);
                        self.shared.report(Severity::Debug, text);
                    }
                    if let Some(conn) = self.sockets.get(id) {
                        conn.stage = Stage::Lines;
                        conn.lines = Some(sink);
                        conn.is_told = true;
                    }
                    broker.closed(id, Cause::Lines, self.now, &mut self.sockets);
                }
                Opening::Undecided => {
                    self.put_back(broker, id, bytes);
                    return true;
                }
                Opening::Refused => {
                    // The broker says what is wrong with it as MQTT.
                    bytes.truncate(held_bytes);
                    self.sockets.put_input(id, bytes);
                    return false;
                }
            }
        }
        self.feed(broker, id, bytes);
        true
    }

    fn feed(&mut self, broker: &mut Broker, id: ConnId, bytes: Vec<u8>) {
        let has_room = self.intake_has_room();
        let now_us = self.now.unix_ms as i64 * 1000;
        let Some(conn) = self.sockets.get(id) else {
            return;
        };
        if bytes.is_empty() {
            return;
        }
        if !has_room {
            conn.held = true;
            self.held.push(id);
            self.put_back(broker, id, bytes);
            return;
        }
        let Some(sink) = &mut conn.lines else { return };
        let fed = sink.feed(&bytes, now_us);
        let held = sink.held_bytes();
        let before = std::mem::replace(&mut conn.lines_held_bytes, held);
        self.sockets.unread_bytes = self.sockets.unread_bytes - before + held;
        let is_over = self.sockets.unread_bytes > self.options.unread_max_bytes;
        let fed = match fed {
            Ok(_) if is_over => Err("too many bytes of unfinished lines".into()),
            fed => fed,
        };
        self.count_lines(id, fed);
    }

    fn count_lines(&mut self, id: ConnId, fed: Result<usize, String>) {
        match fed {
            Ok(lines) => Counters::add_many(&self.shared.counters.lines, lines as u64),
            Err(why) => {
                let Some(conn) = self.sockets.get(id) else {
                    return;
                };
                let (address, was_open) = (conn.address, conn.ending == Ending::No);
                conn.lines = None;
                let held = std::mem::take(&mut conn.lines_held_bytes);
                self.sockets.unread_bytes -= held;
                Counters::add(&self.shared.counters.lines_broken);
                self.warn(|| format!("{address}: {why}; its connection is closed"));
                if was_open {
                    self.sockets.end(id, Cause::Failed);
                }
            }
        }
    }

    /// What is left when a connection ends is its last line.
    pub(super) fn last_line(&mut self, id: ConnId) {
        let now_us = self.now.unix_ms as i64 * 1000;
        let Some(conn) = self.sockets.get(id) else {
            return;
        };
        if let Some(mut sink) = conn.lines.take() {
            let fed = sink.finish(now_us);
            self.count_lines(id, fed);
        }
    }

    /// The peer sends nothing more.
    pub(super) fn peer_ended(&mut self, broker: &mut Broker, id: ConnId) {
        // A short line may have waited for more of its header.
        self.lines(broker, id, &[], true);
        self.sockets.end(id, Cause::Peer);
    }
}
