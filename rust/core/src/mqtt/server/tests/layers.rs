//! TLS and WebSocket, with clients of the libraries' own.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Message, WebSocket};

use super::super::super::broker::{Acl, Grant, Options, Transport};
use super::super::super::packet::{Packet, QoS, Reason, Version};
use super::client::{Client, Got, connect, encoded, publish, tcp};
use super::*;

/// An authority, and a certificate of it for a name.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).expect("params");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        Self(CertifiedIssuer::self_signed(params, key).expect("signed"))
    }

    /// Certificate and key, in PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".into()]).expect("params");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }

    pub(super) fn server(&self, check_clients: bool) -> TlsConfig {
        let (certificate, key) = self.issue("server");
        let own = self.0.pem();
        let authority = check_clients.then_some(own.as_bytes());
        TlsConfig::new(certificate.as_bytes(), key.as_bytes(), authority).expect("config")
    }

    pub(super) fn client(
        &self,
        address: SocketAddr,
        own: Option<(String, String)>,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        use rustls::pki_types::pem::PemObject;
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
                builder
                    .with_client_auth_cert(vec![certificate.expect("pem")], key.expect("pem"))
                    .expect("own certificate")
            }
        };
        let name = ServerName::try_from("localhost").expect("name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("connection");
        StreamOwned::new(connection, tcp(address))
    }
}

pub(super) fn over(tls: Option<TlsConfig>, web_socket: bool) -> Listener {
    Listener {
        address: ANY_PORT,
        web_socket,
        tls,
    }
}

/// CONNECT, SUBSCRIBE, and a large message there and back.
fn converses<S: Read + Write>(stream: S) -> Client<S> {
    let mut client = Client::new(stream, Version::V5);
    client.send(&Packet::Connect(Box::new(connect("c", Version::V5))));
    assert_eq!(client.next(), Got::ConnAck(Reason::SUCCESS));
    client.subscribe("t", QoS::AtMostOnce);
    let payload = vec![9; 1_000_000];
    client.send(&publish("t", &payload, 0));
    assert_eq!(client.next(), Got::Publish("t".into(), payload, 0));
    client.ping();
    client
}

#[test]
fn tls_carries_packets() {
    let authority = Authority::new();
    let started = start(vec![over(Some(authority.server(false)), false)]);
    converses(authority.client(started.address(), None));
}

/// Says all that there is to say at once, its good-bye included.
pub(super) fn say_all(stream: &mut StreamOwned<ClientConnection, TcpStream>, bytes: &[u8]) {
    stream.conn.complete_io(&mut stream.sock).expect("shaken");
    stream.conn.writer().write_all(bytes).expect("encrypted");
    stream.conn.send_close_notify();
    let mut raw = Vec::new();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut raw).expect("written");
    }
    stream.sock.write_all(&raw).expect("sent");
}

#[test]
fn what_a_client_says_before_its_login_is_answered_and_it_closes_is_taken() {
    let authority = Authority::new();
    let mut broker = Options::default();
    (broker.anonymous_local, broker.anonymous_remote) = (false, false);
    let options = ServerOptions::new(vec![over(Some(authority.server(false)), false)]);
    let started = start_with(options, broker, |_| (None, None));
    let packets = [
        Packet::Connect(Box::new(connect("c", Version::V5))),
        publish("t", b"x", 0),
        publish("t", b"y", 0),
    ];
    let bytes: Vec<u8> = packets
        .iter()
        .flat_map(|packet| encoded(Version::V5, packet))
        .collect();
    let mut stream = authority.client(started.address(), None);
    say_all(&mut stream, &bytes);
    let ticket = started.wait(|s| s.take_logins().pop()).ticket;
    let acl = Arc::new(Acl::open());
    started.server.answer(ticket, Ok(Grant { user: None, acl }));
    let mut rest = Vec::new();
    stream.sock.read_to_end(&mut rest).expect("closed");
    assert_eq!(started.server.broker().stats().publishes_received, 2);
}

#[test]
fn a_client_certificate_names_its_owner() {
    let authority = Authority::new();
    let mut broker = Options::default();
    (broker.anonymous_local, broker.anonymous_remote) = (false, false);
    let options = ServerOptions::new(vec![over(Some(authority.server(true)), false)]);
    let started = start_with(options, broker, |_| (None, None));
    let own = authority.issue("pump 7");
    let mut client = Client::new(authority.client(started.address(), Some(own)), Version::V5);
    client.send(&Packet::Connect(Box::new(connect("c", Version::V5))));
    let login = started.wait(|s| s.take_logins().pop()).login;
    assert_eq!(login.peer.certificate.as_deref(), Some("pump 7"));
    assert_eq!(login.peer.transport, Transport::Tls);
}

#[test]
fn clients_without_a_certificate_of_the_authority_are_refused() {
    let authority = Authority::new();
    let started = start(vec![over(Some(authority.server(true)), false), plain()]);
    for own in [None, Some(Authority::new().issue("stranger"))] {
        let mut stream = authority.client(started.address(), own);
        let connect = encoded(
            Version::V5,
            &Packet::Connect(Box::new(connect("c", Version::V5))),
        );
        let refused = stream
            .write_all(&connect)
            .and_then(|()| stream.read_exact(&mut [0]));
        assert!(refused.is_err());
    }
    Client::join(started.server.addresses()[1], "b", Version::V5).ping();
    assert_eq!(started.server.stats().handshakes_failed, 2);
}

#[test]
fn bytes_that_are_no_tls_end_their_connection() {
    let authority = Authority::new();
    let mut options = ServerOptions::new(vec![over(Some(authority.server(false)), false)]);
    options.connect_timeout = Duration::from_millis(50);
    let started = start_with(options, Options::default(), |_| (None, None));
    let mut garbled = tcp(started.address());
    garbled
        .write_all(b"\x10\x0cno TLS at all")
        .expect("written");
    let mut rest = Vec::new();
    let _ = garbled.read_to_end(&mut rest);
    // One that says nothing is closed in time.
    assert_eq!(tcp(started.address()).read(&mut [0]).expect("closed"), 0);
}

#[test]
fn certificates_that_cannot_be_used_say_which() {
    let (certificate, key) = Authority::new().issue("a");
    let cases = [
        (TlsConfig::new(b"", key.as_bytes(), None), "certificate:"),
        (TlsConfig::new(certificate.as_bytes(), b"", None), "key:"),
        (
            TlsConfig::new(certificate.as_bytes(), key.as_bytes(), Some(b"")),
            "certificate authority",
        ),
    ];
    for (made, start) in cases {
        let text = made.err().expect("refused").to_string();
        assert!(text.starts_with(start), "{text}");
    }
}

// ---- WebSocket

/// Packets as binary messages; reading gives the payloads as a stream.
struct Web<S>(WebSocket<S>, Vec<u8>);

impl<S: Read + Write> Read for Web<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.1.is_empty() {
            match self.0.read() {
                Ok(Message::Binary(payload)) => self.1.extend_from_slice(&payload),
                Ok(Message::Close(_)) => return Ok(0),
                Ok(_) => {}
                Err(tungstenite::Error::Io(e)) => return Err(e),
                Err(_) => return Ok(0),
            }
        }
        let n = self.1.len().min(into.len());
        into[..n].copy_from_slice(&self.1[..n]);
        self.1.drain(..n);
        Ok(n)
    }
}

impl<S: Read + Write> Write for Web<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let message = Message::Binary(bytes.to_vec().into());
        self.0.send(message).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(io::Error::other)
    }
}

fn upgrade<S: Read + Write>(stream: S, headers: &[(&'static str, &str)]) -> Result<Web<S>, u16> {
    let mut request = "ws://localhost/mqtt"
        .into_client_request()
        .expect("request");
    for (name, value) in headers {
        let value = value.parse().expect("header");
        request.headers_mut().insert(*name, value);
    }
    match tungstenite::client(request, stream) {
        Ok((socket, response)) => {
            let chosen = response.headers().get("sec-websocket-protocol");
            assert_eq!(chosen.expect("subprotocol"), "mqtt");
            Ok(Web(socket, Vec::new()))
        }
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            Err(response.status().as_u16())
        }
        Err(other) => panic!("{other}"),
    }
}

const MQTT: (&str, &str) = ("sec-websocket-protocol", "chat, mqtt");

#[test]
fn web_socket_carries_packets() {
    let started = start(vec![over(None, true)]);
    converses(upgrade(tcp(started.address()), &[MQTT]).expect("upgraded"));
}

#[test]
fn web_socket_over_tls_carries_packets() {
    let authority = Authority::new();
    let started = start(vec![over(Some(authority.server(false)), true)]);
    let stream = authority.client(started.address(), None);
    converses(upgrade(stream, &[MQTT]).expect("upgraded"));
}

#[test]
fn fragments_and_pings_are_taken_between_packets() {
    let started = start(vec![over(None, true)]);
    let mut client = converses(upgrade(tcp(started.address()), &[MQTT]).expect("upgraded"));
    let packet = encoded(Version::V5, &publish("t", b"in pieces", 0));
    let (a, b) = packet.split_at(4);
    let socket = &mut client.stream.0;
    let first = Frame::message(a.to_vec(), OpCode::Data(Data::Binary), false);
    socket.send(Message::Frame(first)).expect("sent");
    socket.send(Message::Ping(vec![5].into())).expect("sent");
    let second = Frame::message(b.to_vec(), OpCode::Data(Data::Continue), true);
    socket.send(Message::Frame(second)).expect("sent");
    assert_eq!(socket.read().expect("pong"), Message::Pong(vec![5].into()));
    assert_eq!(
        client.next(),
        Got::Publish("t".into(), b"in pieces".to_vec(), 0)
    );
    // A packet may be cut between messages, too.
    for byte in encoded(Version::V5, &Packet::PingReq) {
        client.stream.write_all(&[byte]).expect("sent");
    }
    assert_eq!(client.next(), Got::PingResp);
}

#[test]
fn a_text_message_closes_the_connection() {
    let started = start(vec![over(None, true)]);
    let mut client = converses(upgrade(tcp(started.address()), &[MQTT]).expect("upgraded"));
    client.stream.0.send(Message::text("hello")).expect("sent");
    let closing = client.stream.0.read().expect("close");
    assert!(matches!(closing, Message::Close(Some(frame)) if u16::from(frame.code) == 1003));
}

#[test]
fn an_upgrade_without_the_subprotocol_or_of_another_site_is_refused() {
    let started = start(vec![over(None, true)]);
    let address = started.address();
    assert_eq!(upgrade(tcp(address), &[]).err(), Some(400));
    let other = ("sec-websocket-protocol", "chat");
    assert_eq!(upgrade(tcp(address), &[other]).err(), Some(400));
    let foreign = ("origin", "https://elsewhere.example");
    assert_eq!(upgrade(tcp(address), &[MQTT, foreign]).err(), Some(403));
    for own in [
        "http://localhost:3000",
        "http://127.0.0.1",
        "http://[::1]:80",
    ] {
        converses(upgrade(tcp(address), &[MQTT, ("origin", own)]).expect("upgraded"));
    }
    let mut plain = tcp(address);
    plain
        .write_all(b"GET /mqtt HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("written");
    let mut answer = String::new();
    plain.read_to_string(&mut answer).expect("answer");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[test]
fn unmasked_frames_close_the_connection() {
    let started = start(vec![over(None, true)]);
    let mut client = converses(upgrade(tcp(started.address()), &[MQTT]).expect("upgraded"));
    client
        .stream
        .0
        .get_mut()
        .write_all(&[0x82, 2, 0xc0, 0])
        .expect("written");
    let closing = client.stream.0.read().expect("close");
    assert!(matches!(closing, Message::Close(Some(frame)) if u16::from(frame.code) == 1002));
}

fn fragment<S: Read + Write>(socket: &mut WebSocket<S>, opcode: Data, bytes: usize) -> bool {
    let frame = Frame::message(vec![0; bytes], OpCode::Data(opcode), false);
    socket.send(Message::Frame(frame)).is_ok() && socket.send(Message::Ping(vec![5].into())).is_ok()
}

/// Whether the other side ends the connection.
fn is_ended<S: Read + Write>(socket: &mut WebSocket<S>) -> bool {
    loop {
        match socket.read() {
            Ok(Message::Pong(_) | Message::Binary(_)) => {}
            Err(tungstenite::Error::Io(e)) => return e.kind() != io::ErrorKind::WouldBlock,
            Ok(_) | Err(_) => return true,
        }
    }
}

#[test]
fn a_message_without_an_end_of_an_unknown_client_is_not_kept() {
    let started = start(vec![over(None, true)]);
    let mut socket = upgrade(tcp(started.address()), &[MQTT])
        .expect("upgraded")
        .0;
    let mut sent = fragment(&mut socket, Data::Binary, 300_000);
    for _ in 0..50 {
        sent = sent && fragment(&mut socket, Data::Continue, 300_000);
    }
    assert!(is_ended(&mut socket));
    drop(socket);
    while started.server.stats().connections > 0 {
        std::thread::yield_now();
    }
    assert_eq!(started.server.stats().unread_bytes, 0);
}

#[test]
fn messages_without_an_end_are_bounded_over_all_connections() {
    let mut options = ServerOptions::new(vec![over(None, true)]);
    options.unread_max_bytes = 2_000_000;
    let started = start_with(options, Options::default(), |_| (None, None));
    let begun = |name: &str| {
        let web = upgrade(tcp(started.address()), &[MQTT]).expect("upgraded");
        let mut client = Client::new(web, Version::V5);
        client.send(&Packet::Connect(Box::new(connect(name, Version::V5))));
        assert_eq!(client.next(), Got::ConnAck(Reason::SUCCESS));
        fragment(&mut client.stream.0, Data::Binary, 600_000);
        client
    };
    let mut others = ["a", "b", "c"].map(|name| {
        let mut client = begun(name);
        let pong = client.stream.0.read().expect("pong");
        assert_eq!(pong, Message::Pong(vec![5].into()));
        client
    });
    let mut last = begun("d");
    assert!(is_ended(&mut last.stream.0));
    // The others go on where they were.
    for client in &mut others {
        assert!(client.stream.0.send(Message::Ping(vec![1].into())).is_ok());
        let pong = client.stream.0.read().expect("pong");
        assert_eq!(pong, Message::Pong(vec![1].into()));
    }
    drop((others, last));
    while started.server.stats().connections > 0 {
        std::thread::yield_now();
    }
    assert_eq!(started.server.stats().unread_bytes, 0);
}
