//! WebSocket without a socket (RFC 6455 by tungstenite; MQTT 5.0 chapter 6): HTTP upgrade, then binary messages.

use std::io::{self, Read, Write};

use tungstenite::error::Error;
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::MidHandshake;
use tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response, ServerHandshake};
use tungstenite::http::{HeaderMap, HeaderValue, StatusCode, header};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Message, WebSocket};

/// Names of the subprotocol: of 3.1.1 and 5, and of 3.1.
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];
const READ_BUFFER_BYTES: usize = 4096;
/// Beyond the largest packet: a message may hold several packets.
pub(super) const MESSAGE_SLACK_BYTES: usize = 256 << 10;
/// Header and mask of a control frame of a client.
const CONTROL_BYTES: usize = 6;
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nSec-WebSocket-Version: 13\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// The stream that tungstenite reads and writes: memory.
#[derive(Default)]
struct Pipe {
    input: Vec<u8>,
    taken: usize,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.input[self.taken..];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        self.taken += n;
        if self.taken == self.input.len() {
            self.input = Vec::new();
            self.taken = 0;
        }
        Ok(n)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers the upgrade request.
struct Upgrade {
    /// Refuse pages of other sites.
    own_pages_only: bool,
}

impl Callback for Upgrade {
    fn on_request(
        self,
        request: &Request,
        mut response: Response,
    ) -> Result<Response, ErrorResponse> {
        if self.own_pages_only && is_foreign(request.headers()) {
            return Err(refusal(
                StatusCode::FORBIDDEN,
                "a page of another site, from this machine",
            ));
        }
        let Some(protocol) = protocol(request.headers()) else {
            return Err(refusal(
                StatusCode::BAD_REQUEST,
                "the WebSocket subprotocol has to be mqtt",
            ));
        };
        response.headers_mut().insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(protocol),
        );
        Ok(response)
    }
}

fn refusal(status: StatusCode, text: &str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(text.to_owned()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    response
}

/// The first name that the client offers and we know.
fn protocol(headers: &HeaderMap) -> Option<&'static str> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|name| PROTOCOLS.into_iter().find(|known| *known == name.trim()))
}

/// A browser's page that is neither of this node's host nor of this machine.
fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let host_of = |value: &HeaderValue| -> Option<String> {
        let text = value.to_str().ok()?;
        let authority = text.rsplit("//").next()?;
        let host = match authority.strip_prefix('[') {
            Some(v6) => v6.split(']').next()?,
            None => authority.split(':').next()?,
        };
        Some(host.to_ascii_lowercase())
    };
    let Some(origin) = host_of(origin) else {
        return true;
    };
    let own = headers.get(header::HOST).and_then(host_of);
    !(matches!(origin.as_str(), "localhost" | "127.0.0.1" | "::1") || Some(origin) == own)
}

enum State {
    Shaking(MidHandshake<ServerHandshake<Pipe, Upgrade>>),
    Open(WebSocket<Pipe>),
    /// Refused or closed; what is left to send stands in `last`.
    Ended,
}

pub(super) struct Web {
    state: State,
    last: Vec<u8>,
    /// Taken in since the last whole message.
    held_bytes: usize,
}

/// What received bytes led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Shaking,
    Open,
    /// The peer closed, or it was refused; what is left to send is to be sent.
    Ended,
}

impl Web {
    pub(super) fn new(packet_max_bytes: usize, own_pages_only: bool) -> Self {
        let limit = packet_max_bytes + MESSAGE_SLACK_BYTES;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(limit))
            .max_frame_size(Some(limit));
        let handshake =
            ServerHandshake::start(Pipe::default(), Upgrade { own_pages_only }, Some(config));
        Self {
            state: State::Shaking(handshake),
            last: Vec::new(),
            held_bytes: 0,
        }
    }

    pub(super) fn is_shaking(&self) -> bool {
        matches!(self.state, State::Shaking(_))
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Takes bytes of the lower layer; payloads of whole binary messages are appended to `plain`.
    pub(super) fn received(&mut self, raw: &[u8], plain: &mut Vec<u8>) -> io::Result<Progress> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => Ok(Progress::Ended),
            State::Shaking(mut handshake) => {
                handshake.get_mut().get_mut().input.extend_from_slice(raw);
                self.shake(handshake)
            }
            State::Open(mut socket) => {
                socket.get_mut().input.extend_from_slice(raw);
                self.held_bytes += raw.len();
                let ended = self.read(&mut socket, plain)?;
                if ended {
                    self.last = std::mem::take(&mut socket.get_mut().output);
                    return Ok(Progress::Ended);
                }
                self.state = State::Open(socket);
                Ok(Progress::Open)
            }
        }
    }

    fn shake(
        &mut self,
        handshake: MidHandshake<ServerHandshake<Pipe, Upgrade>>,
    ) -> io::Result<Progress> {
        match handshake.handshake() {
            Ok(socket) => {
                self.state = State::Open(socket);
                Ok(Progress::Open)
            }
            Err(HandshakeError::Interrupted(handshake)) => {
                self.state = State::Shaking(handshake);
                Ok(Progress::Shaking)
            }
            Err(HandshakeError::Failure(Error::Http(response))) => {
                // The stream went with the handshake: the answer is written again.
                let mut answer = Vec::new();
                tungstenite::handshake::server::write_response(&mut answer, &response)
                    .map_err(io::Error::other)?;
                answer.extend_from_slice(response.body().as_deref().unwrap_or_default());
                self.last = answer;
                Ok(Progress::Ended)
            }
            Err(HandshakeError::Failure(_)) => {
                self.last = BAD_REQUEST.to_vec();
                Ok(Progress::Ended)
            }
        }
    }

    /// Whether the connection has ended.
    fn read(&mut self, socket: &mut WebSocket<Pipe>, plain: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            match socket.read() {
                Ok(Message::Binary(payload)) => {
                    self.held_bytes = 0;
                    plain.extend_from_slice(&payload);
                }
                // MQTT-6.0.0-1: control packets come in binary frames, else the connection is closed.
                Ok(Message::Text(_)) => {
                    let frame = CloseFrame {
                        code: CloseCode::Unsupported,
                        reason: "binary messages only".into(),
                    };
                    let _ = socket.close(Some(frame));
                    let _ = socket.flush();
                    return Ok(true);
                }
                // Between the fragments of a message, which stay.
                Ok(Message::Ping(payload) | Message::Pong(payload)) => {
                    let taken = payload.len() + CONTROL_BYTES;
                    self.held_bytes = self.held_bytes.saturating_sub(taken);
                }
                Ok(_) => {}
                Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                    // Pongs, and the answer to a Close.
                    let closed = socket.flush().is_err() || !socket.can_read();
                    return Ok(closed);
                }
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(true),
                Err(Error::Io(e)) => return Err(e),
                Err(error) => {
                    let code = match error {
                        Error::Capacity(_) => CloseCode::Size,
                        _ => CloseCode::Protocol,
                    };
                    let frame = CloseFrame {
                        code,
                        reason: "".into(),
                    };
                    let _ = socket.close(Some(frame));
                    let _ = socket.flush();
                    return Ok(true);
                }
            }
        }
    }

    /// One binary message.
    pub(super) fn put(&mut self, plain: &[u8]) -> io::Result<()> {
        if let State::Open(socket) = &mut self.state {
            socket
                .send(Message::Binary(plain.to_vec().into()))
                .map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Bytes for the lower layer.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        match &mut self.state {
            State::Open(socket) => std::mem::take(&mut socket.get_mut().output),
            State::Shaking(handshake) => std::mem::take(&mut handshake.get_mut().get_mut().output),
            State::Ended => std::mem::take(&mut self.last),
        }
    }

    pub(super) fn close(&mut self) {
        if let State::Open(mut socket) = std::mem::replace(&mut self.state, State::Ended) {
            let _ = socket.close(None);
            let _ = socket.flush();
            self.last.append(&mut socket.get_mut().output);
        }
    }
}
