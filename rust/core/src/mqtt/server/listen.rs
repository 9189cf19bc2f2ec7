//! Listening sockets: bound before the thread starts, accepted from in small portions.

use std::fs::File;
use std::io;
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

use super::options::Listener;

/// Connections that the kernel completes for us until they are accepted.
const BACKLOG: i32 = 4096;

pub(super) struct Listening {
    pub(super) socket: TcpListener,
    pub(super) options: Listener,
    /// Connections may wait.
    pub(super) ready: bool,
    /// To be tried again with the next tick.
    pub(super) retry: bool,
}

/// Binds an address. Port 0: the options get the port that the system chose.
pub(super) fn bind(mut options: Listener) -> io::Result<Listening> {
    let domain = Domain::for_address(options.address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if options.address.is_ipv6() {
        // An IPv4 listener of its own may stand beside it.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&options.address.into())?;
    socket.listen(BACKLOG)?;
    let socket = TcpListener::from_std(socket.into());
    options.address = socket.local_addr()?;
    Ok(Listening {
        socket,
        options,
        ready: true,
        retry: false,
    })
}

/// A descriptor in reserve: without one left, a connection can still be accepted in order to close it, instead of
/// being offered again and again.
pub(super) struct Reserve(Option<File>);

/// What `accept` found.
pub(super) enum Accepted {
    Connection(TcpStream, SocketAddr),
    /// Closed at once, for want of descriptors.
    Refused,
    /// None waits.
    None,
    /// Not now; try again with the next tick.
    Later(io::Error),
}

impl Reserve {
    pub(super) fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    pub(super) fn accept(&mut self, listener: &TcpListener) -> Accepted {
        loop {
            match listener.accept() {
                Ok((socket, address)) => {
                    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                    return Accepted::Connection(socket, address);
                }
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock => return Accepted::None,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ if is_out_of_descriptors(&e) && self.0.take().is_some() => {
                        drop(listener.accept());
                        self.0 = File::open("/dev/null").ok();
                        return Accepted::Refused;
                    }
                    _ => return Accepted::Later(e),
                },
            }
        }
    }

    /// After a time without a reserve.
    pub(super) fn restore(&mut self) {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Raises the soft limit of open files to the hard one. Returns the limit that is in force.
#[cfg(unix)]
pub(super) fn raise_file_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a local of the type that the call fills.
    #[allow(unsafe_code)]
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if got != 0 {
        return 1024;
    }
    let before = limit.rlim_cur;
    if before < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the pointer is to a local that outlives the call; nothing is written to it.
        #[allow(unsafe_code)]
        let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        if set != 0 {
            return before;
        }
    }
    limit.rlim_cur
}
