//! HTTP/1.1 load over kept connections, one request in flight on each.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// What was sent and what came back.
#[derive(Debug, Default)]
pub struct Report {
    pub requests: u64,
    /// Replies with another status than 200, or cut connections.
    pub failures: u64,
    /// 503 replies, which were sent again.
    pub retries: u64,
    pub seconds: f64,
    /// Latency of every request in microseconds, sorted.
    pub latency_us: Vec<u32>,
    /// First reply that was not 200.
    pub first_failure: String,
}

/// Wait of a connection whose request was refused with 503: short enough to keep pressing on a full server, long
/// enough not to take its processor away.
const PAUSE: Duration = Duration::from_millis(5);

struct Connection {
    stream: TcpStream,
    request: Option<usize>,
    sent: usize,
    reply: Vec<u8>,
    started: Instant,
    paused_until: Option<Instant>,
}

/// Send every request once, over `connections` connections, and wait for all replies.
///
/// Stops at `limit`. A 503 is sent again after a short pause: it means that nothing was accepted.
pub fn run(
    address: SocketAddr,
    requests: &[Vec<u8>],
    connections: usize,
    limit: Duration,
) -> io::Result<Report> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(connections.max(1));
    let mut report = Report::default();
    let mut queue: Vec<usize> = (0..requests.len()).rev().collect();
    let mut open = Vec::with_capacity(connections);
    for at in 0..connections {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true).ok();
        poll.registry().register(
            &mut stream,
            Token(at),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        open.push(Connection {
            stream,
            request: None,
            sent: 0,
            reply: Vec::with_capacity(4096),
            started: Instant::now(),
            paused_until: None,
        });
    }
    let begin = Instant::now();
    let mut active = open.len();
    let mut ready = Vec::with_capacity(connections);
    while active > 0 && begin.elapsed() < limit {
        let paused = open.iter().any(|c| c.paused_until.is_some());
        let wait = if paused { PAUSE / 2 } else { PAUSE * 20 };
        poll.poll(&mut events, Some(wait))?;
        ready.clear();
        ready.extend(events.iter().map(|event| event.token().0));
        if paused {
            let now = Instant::now();
            for (at, connection) in open.iter_mut().enumerate() {
                if connection.paused_until.is_some_and(|until| until <= now) {
                    connection.paused_until = None;
                    ready.push(at);
                }
            }
        }
        for &at in &ready {
            let connection = &mut open[at];
            if connection.paused_until.is_none()
                && !step(connection, requests, &mut queue, &mut report)
            {
                active -= 1;
                poll.registry().deregister(&mut connection.stream)?;
            }
        }
    }
    report.seconds = begin.elapsed().as_secs_f64();
    report.latency_us.sort_unstable();
    Ok(report)
}

/// Drive one connection as far as it goes; false when it has nothing more to do.
fn step(
    connection: &mut Connection,
    requests: &[Vec<u8>],
    queue: &mut Vec<usize>,
    report: &mut Report,
) -> bool {
    loop {
        let Some(current) = connection.request else {
            let Some(next) = queue.pop() else {
                return false;
            };
            connection.request = Some(next);
            connection.sent = 0;
            connection.reply.clear();
            connection.started = Instant::now();
            continue;
        };
        let bytes = &requests[current];
        while connection.sent < bytes.len() {
            match connection.stream.write(&bytes[connection.sent..]) {
                Ok(n) => connection.sent += n,
                Err(e)
                    if e.kind() == io::ErrorKind::WouldBlock
                        || e.kind() == io::ErrorKind::NotConnected =>
                {
                    return true;
                }
                Err(e) => return fail(report, &e.to_string()),
            }
        }
        let mut block = [0_u8; 4096];
        loop {
            match connection.stream.read(&mut block) {
                Ok(0) => return fail(report, "connection closed by the server"),
                Ok(n) => connection.reply.extend_from_slice(&block[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return fail(report, &e.to_string()),
            }
        }
        let Some(status) = complete(&connection.reply) else {
            return true;
        };
        connection.request = None;
        if status == 503 {
            report.retries += 1;
            queue.push(current);
            connection.paused_until = Some(Instant::now() + PAUSE);
            return true;
        }
        report.requests += 1;
        report.latency_us.push(
            connection
                .started
                .elapsed()
                .as_micros()
                .min(u128::from(u32::MAX)) as u32,
        );
        if status != 200 {
            report.failures += 1;
            if report.first_failure.is_empty() {
                report.first_failure = String::from_utf8_lossy(&connection.reply).into_owned();
            }
        }
    }
}

fn fail(report: &mut Report, why: &str) -> bool {
    report.failures += 1;
    if report.first_failure.is_empty() {
        why.clone_into(&mut report.first_failure);
    }
    false
}

/// Status of a whole reply; `None` asks for more bytes. Replies carry Content-Length or an ended chunk list.
fn complete(reply: &[u8]) -> Option<u16> {
    let head_end = reply.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&reply[..head_end])
        .ok()?
        .to_ascii_lowercase();
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    if let Some(value) = head.lines().find_map(|l| l.strip_prefix("content-length:")) {
        let length: usize = value.trim().parse().ok()?;
        return (reply.len() >= head_end + length).then_some(status);
    }
    reply.ends_with(b"0\r\n\r\n").then_some(status)
}

#[cfg(test)]
mod tests {
    use super::complete;

    #[test]
    fn a_reply_is_complete_when_its_body_is_there() {
        assert_eq!(
            complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{"),
            None
        );
        assert_eq!(
            complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
            Some(200)
        );
        assert_eq!(
            complete(b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
            Some(400)
        );
    }
}
