//! From the broker's output to the socket, and how a connection ends.

use std::net::SocketAddr;

use super::super::broker::{Broker, Cause, ConnId};
use super::event_loop::EventLoop;
use super::shared::Severity;
use super::sockets::{Ending, Stage};

impl EventLoop {
    /// Writes what has come up, one call per connection; those that have more follow in the next round.
    pub(super) fn flush(&mut self, broker: &mut Broker) {
        for id in std::mem::take(&mut self.sockets.dirty) {
            let Ok(written) = self.sockets.write(id) else {
                self.drop_conn(broker, id, Cause::Failed);
                continue;
            };
            let Some(conn) = self.sockets.peek(id) else {
                continue;
            };
            match conn.ending {
                Ending::No if written.taken > 0 => {
                    broker.progress(id, self.now, &mut self.sockets);
                }
                Ending::Flushing(cause) if written.drained => self.finish(broker, id, cause),
                Ending::Flushing(_) => self.give_time(id),
                Ending::No | Ending::Lingering => {}
            }
        }
    }

    fn give_time(&mut self, id: ConnId) {
        let by = self.now.mono_ms + self.options.linger.as_millis() as u64;
        if let Some(conn) = self.sockets.get(id)
            && !conn.timed
        {
            conn.timed = true;
            self.gone_by.push_back((by, id, conn.stamp));
        }
    }

    /// All is written: the broker is told, and the peer has a moment to read it before the socket goes.
    fn finish(&mut self, broker: &mut Broker, id: ConnId, cause: Cause) {
        let Some(conn) = self.sockets.get(id) else {
            return;
        };
        conn.timed = false;
        let (address, known) = (conn.address, conn.stage != Stage::Shaking && !conn.is_told);
        self.last_line(id);
        if cause == Cause::Peer || self.sockets.say_goodbye(id).is_err() {
            self.drop_conn(broker, id, cause);
            return;
        }
        self.give_time(id);
        if known {
            self.tell_closed(broker, id, address, cause);
        }
    }

    /// Drops a connection at once.
    pub(super) fn drop_conn(&mut self, broker: &mut Broker, id: ConnId, cause: Cause) {
        self.last_line(id);
        let Some(conn) = self.sockets.remove(id) else {
            return;
        };
        let known = conn.stage != Stage::Shaking && !conn.is_told;
        let address = conn.address;
        drop(conn);
        if known {
            self.tell_closed(broker, id, address, cause);
        }
        self.sockets.release(id);
    }

    fn tell_closed(&mut self, broker: &mut Broker, id: ConnId, address: SocketAddr, cause: Cause) {
        if let Some(conn) = self.sockets.get(id) {
            conn.is_told = true;
        }
        if self.shared.is_debug() {
            let text = format!("{address}: disconnected ({cause:?})");
            self.shared.report(Severity::Debug, text);
        }
        broker.closed(id, cause, self.now, &mut self.sockets);
    }
}
