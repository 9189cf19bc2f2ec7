//! New connections, and those that take too long to begin or to end.

use std::collections::VecDeque;
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Token};

use super::super::broker::{Broker, Cause, ConnId, Peer, Transport};
use super::event_loop::{EventLoop, TICK};
use super::layers::Layers;
use super::listen::Accepted;
use super::shared::{Counters, Severity};
use super::sockets::{Conn, Ending, Stage};
use super::tls::Tls;
use super::web::Web;

/// Accepted in a millisecond at most: a storm of connections waits in the backlog instead of holding up those that are
/// there. It is over in less than a second all the same.
const ACCEPTS_PER_MS: usize = 8;
/// And in a round: whoever comes while it goes on waits for it.
const ACCEPTS_PER_ROUND: usize = 4;

/// Until when a connection has time: (time, id, stamp).
pub(super) type Deadlines = VecDeque<(u64, ConnId, u32)>;

impl EventLoop {
    pub(super) fn accept(&mut self, broker: &mut Broker) {
        if self.accepts_of_ms != self.now.mono_ms {
            self.accepts_of_ms = self.now.mono_ms;
            self.accepts_left = ACCEPTS_PER_MS;
        }
        let mut round_left = ACCEPTS_PER_ROUND;
        for n in 0..self.listeners.len() {
            while self.accepts_left > 0 && round_left > 0 {
                let listening = &mut self.listeners[n];
                if !listening.ready {
                    break;
                }
                self.accepts_left -= 1;
                round_left -= 1;
                match self.reserve.accept(&listening.socket) {
                    Accepted::Connection(socket, address) => self.admit(broker, n, socket, address),
                    Accepted::Refused => {
                        Counters::add(&self.shared.counters.over_limit);
                        self.warn(|| {
                            "no file descriptors left, connections are closed: raise the limit of open files (ulimit -n)"
                                .into()
                        });
                    }
                    Accepted::None => listening.ready = false,
                    Accepted::Later(error) => {
                        (listening.ready, listening.retry) = (false, true);
                        let address = listening.options.address;
                        self.warn(|| format!("{address} accepts no connection now: {error}"));
                    }
                }
            }
        }
    }

    fn admit(
        &mut self,
        broker: &mut Broker,
        listener: usize,
        socket: TcpStream,
        address: SocketAddr,
    ) {
        let limit = self.options.connections_max;
        if self.sockets.len() >= limit {
            Counters::add(&self.shared.counters.over_limit);
            self.warn(|| format!("there are {limit} connections, further ones are closed"));
            return;
        }
        Counters::add(&self.shared.counters.accepted);
        if let Err(error) = self.open(broker, listener, socket, address) {
            self.warn(|| format!("{address}: {error}"));
        }
    }

    fn open(
        &mut self,
        broker: &mut Broker,
        listener: usize,
        mut socket: TcpStream,
        address: SocketAddr,
    ) -> std::io::Result<()> {
        let options = &self.listeners[listener].options;
        let tls = options.tls.as_ref().map(Tls::new).transpose()?;
        let own_pages_only = address.ip().is_loopback() && !self.options.foreign_pages;
        let web = options
            .web_socket
            .then(|| Web::new(self.packet_max_bytes, own_pages_only));
        let transport = match (&tls, &web) {
            (None, None) => Transport::Tcp,
            (Some(_), None) => Transport::Tls,
            (None, Some(_)) => Transport::WebSocket,
            (Some(_), Some(_)) => Transport::WebSocketTls,
        };
        let is_plain = transport == Transport::Tcp;
        let layers = (!is_plain).then(|| Box::new(Layers::new(tls, web)));
        // Fails for a connection that is gone already; reading shows it.
        let _ = socket.set_nodelay(true);
        let id = self.sockets.reserve();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        if let Err(error) = registry.register(&mut socket, Token(id as usize), interest) {
            self.sockets.release(id);
            return Err(error);
        }
        self.next_stamp = self.next_stamp.wrapping_add(1);
        let conn = Conn::new(socket, address, transport, layers, self.next_stamp);
        self.sockets.put(id, conn);
        let by = self.now.mono_ms + self.options.connect_timeout.as_millis() as u64;
        self.connect_by.push_back((by, id, self.next_stamp));
        self.next_tick_ms = self
            .next_tick_ms
            .min(self.now.mono_ms + TICK.as_millis() as u64);
        if is_plain {
            self.introduce(broker, id);
        }
        Ok(())
    }

    /// The handshakes are over: the broker gets to know the connection.
    pub(super) fn introduce(&mut self, broker: &mut Broker, id: ConnId) {
        let Some(conn) = self.sockets.get(id) else {
            return;
        };
        conn.stage = Stage::Opened;
        let peer = Peer {
            address: conn.address,
            transport: conn.transport,
            certificate: conn.layers.as_ref().and_then(|l| l.client_name()),
        };
        if self.shared.is_debug() {
            let text = format!("{}: connected ({:?})", peer.address, peer.transport);
            self.shared.report(Severity::Debug, text);
        }
        broker.opened(id, peer, self.now);
    }

    /// Drops connections that sent no CONNECT in time, and those that we close and that do not close.
    pub(super) fn drop_late(&mut self, broker: &mut Broker) {
        while let Some((id, stamp)) = due(&mut self.connect_by, self.now.mono_ms) {
            let is_late = |c: &Conn| c.stamp == stamp && !c.is_settled();
            if self.sockets.peek(id).is_some_and(is_late) {
                Counters::add(&self.shared.counters.timed_out);
                self.drop_conn(broker, id, Cause::Limit);
            }
        }
        while let Some((id, stamp)) = due(&mut self.gone_by, self.now.mono_ms) {
            let Some(conn) = self.sockets.peek(id).filter(|c| c.stamp == stamp) else {
                continue;
            };
            let cause = match conn.ending {
                Ending::Flushing(cause) => cause,
                Ending::No | Ending::Lingering => Cause::Broker,
            };
            self.drop_conn(broker, id, cause);
        }
    }
}

fn due(deadlines: &mut Deadlines, now_ms: u64) -> Option<(ConnId, u32)> {
    deadlines.front().filter(|(by, ..)| *by <= now_ms)?;
    deadlines.pop_front().map(|(_, id, stamp)| (id, stamp))
}
