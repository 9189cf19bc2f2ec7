//! Over real sockets: what a client sees, and what bad clients cannot do.

mod bad;
mod client;
mod durable;
mod layers;
mod life;
mod lines;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::super::broker::{Broker, Intake, Options};
use super::{Keep, Listener, Prepared, Server, ServerOptions, TlsConfig};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn plain() -> Listener {
    Listener {
        address: ANY_PORT,
        web_socket: false,
        tls: None,
    }
}

/// A server and the notifications of its owner.
struct Started {
    server: Server,
    news: Receiver<()>,
}

impl Started {
    fn address(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    /// Waits until something that the owner is notified of makes `check` true.
    fn wait<T>(&self, mut check: impl FnMut(&Server) -> Option<T>) -> T {
        loop {
            if let Some(found) = check(&self.server) {
                return found;
            }
            self.news
                .recv_timeout(Duration::from_secs(20))
                .expect("news of the server");
        }
    }
}

fn start(listeners: Vec<Listener>) -> Started {
    start_with(ServerOptions::new(listeners), Options::default(), |_| {
        (None, None)
    })
}

type Behind = (Option<Box<dyn Intake>>, Option<Box<dyn Keep>>);

fn start_with(
    options: ServerOptions,
    broker: Options,
    behind: impl FnOnce(&Prepared) -> Behind,
) -> Started {
    let prepared = Prepared::new().expect("prepared");
    let (intake, keep) = behind(&prepared);
    let (notify, news) = channel();
    let notify = Box::new(move || {
        // The test may have ended.
        let _ = notify.send(());
    });
    let broker = Broker::new(broker);
    let server = Server::start(prepared, options, broker, intake, keep, notify).expect("started");
    Started { server, news }
}
