//! What an owner may set about sockets.

use std::net::SocketAddr;
use std::time::Duration;

use super::tls::TlsConfig;

/// An address to listen on.
#[derive(Clone)]
pub struct Listener {
    /// Port 0: any free one.
    pub address: SocketAddr,
    pub web_socket: bool,
    pub tls: Option<TlsConfig>,
}

#[derive(Clone)]
pub struct ServerOptions {
    pub listeners: Vec<Listener>,
    /// At the same time; further ones are closed at once.
    pub connections_max: usize,
    /// From the accepted connection to its whole CONNECT, handshakes included.
    pub connect_timeout: Duration,
    /// For the last bytes of a connection that we close, and again for the peer to close its side.
    pub linger: Duration,
    /// Bytes of packets that have not come whole yet, of all connections.
    pub unread_max_bytes: usize,
    /// How long `stop` waits for what is on its way to the disk, and then for the clients.
    pub stop_timeout: Duration,
    /// Pages of other sites may connect through a browser on this machine. Otherwise such a connection, which would
    /// be taken for a local client, is refused.
    pub foreign_pages: bool,
}

impl ServerOptions {
    pub fn new(listeners: Vec<Listener>) -> Self {
        Self {
            listeners,
            connections_max: 100_000,
            connect_timeout: Duration::from_secs(10),
            linger: Duration::from_secs(1),
            unread_max_bytes: 256 << 20,
            stop_timeout: Duration::from_secs(2),
            foreign_pages: false,
        }
    }
}
