//! CONNECT: checks, login, take-over, CONNACK.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::super::packet::{ConnAck, Connect, Packet, Reason, Version};
use super::acks::{Need, Pending};
use super::change::Change;
use super::lifecycle::End;
use super::link::{AliasesOut, Phase};
use super::message::{Message, StoredWill};
use super::seam::{ConnId, Grant, Host, Login};
use super::session::Session;
use super::timers::Due;
use super::{Broker, Cx};

/// What a CONNECT said, while its login is pending.
#[derive(Debug)]
pub(super) struct Connecting {
    version: Version,
    clean: bool,
    keep_alive_s: u16,
    client_id: Arc<str>,
    is_assigned: bool,
    will: Option<Box<StoredWill>>,
    session_expiry_s: u32,
    receive_maximum: Option<u16>,
    topic_alias_maximum: u16,
    request_response_information: bool,
}

/// CONNACK.
#[derive(Debug)]
pub(super) struct Welcome {
    connecting: Connecting,
    is_present: bool,
    pub need: Need,
}

/// Why a CONNECT is refused whoever sends it.
fn objection(connect: &Connect<'_>) -> Option<(Reason, &'static str)> {
    if connect.authentication_method.is_some() {
        return Some((
            Reason::BAD_AUTHENTICATION_METHOD,
            "no authentication methods here",
        ));
    }
    if connect.receive_maximum == Some(0) || connect.maximum_packet_bytes == Some(0) {
        return Some((Reason::PROTOCOL_ERROR, "a maximum of 0"));
    }
    let needs_id = match connect.version {
        Version::V31 => true,
        Version::V311 => !connect.clean, // [MQTT-3.1.3-8]
        Version::V5 => false,
    };
    (connect.client_id.is_empty() && needs_id)
        .then_some((Reason::CLIENT_ID_NOT_VALID, "a client id is needed"))
}

impl Broker {
    pub(super) fn on_connect<H: Host>(
        &mut self,
        conn: ConnId,
        connect: &Connect<'_>,
        cx: &mut Cx<'_, H>,
    ) {
        self.stats.connects += 1;
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        link.version = connect.version;
        link.maximum_packet_bytes = connect.maximum_packet_bytes.unwrap_or(u32::MAX);
        if let Some((reason, text)) = objection(connect) {
            return self.refuse_connect(conn, reason, text, cx);
        }
        let is_assigned = connect.client_id.is_empty();
        let client_id: Arc<str> = if is_assigned {
            self.new_client_id()
        } else {
            connect.client_id.into()
        };
        let will = connect.will.as_ref().map(|will| {
            Box::new(StoredWill {
                message: Arc::new(Message {
                    id: self.keep.message_id(),
                    topic: will.topic.into(),
                    payload: will.payload.into(),
                    properties: will.properties.encoded.as_ref().into(),
                    is_text: will.properties.is_text,
                    qos: will.qos,
                    retain: will.retain,
                    expires_unix_ms: None,
                    publisher: Some(Arc::clone(&client_id)),
                }),
                expiry_s: will.expiry_s,
                delay_s: will.delay_s,
            })
        });
        let connecting = Connecting {
            version: connect.version,
            clean: connect.clean,
            keep_alive_s: connect.keep_alive_s,
            client_id: Arc::clone(&client_id),
            is_assigned,
            will,
            session_expiry_s: connect.session_expiry_s,
            receive_maximum: connect.receive_maximum,
            topic_alias_maximum: connect.topic_alias_maximum,
            request_response_information: connect.request_response_information,
        };
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        let is_anonymous = connect.user.is_none() && connect.password.is_none();
        let may_anonymous = self.options.may_be_anonymous(link.peer.address);
        if is_anonymous && may_anonymous && link.peer.certificate.is_none() {
            let grant = Grant {
                user: None,
                acl: Arc::clone(&self.options.anonymous_acl),
            };
            return self.accept(conn, connecting, &grant, cx);
        }
        link.phase = Phase::Login;
        link.connecting = Some(Box::new(connecting));
        self.logins.push(Login {
            conn,
            client_id: client_id.to_string(),
            user: connect.user.map(Into::into),
            password: connect.password.map(Into::into),
            peer: (*link.peer).clone(),
        });
        cx.host.pause(conn, true);
    }

    fn new_client_id(&self) -> Arc<str> {
        loop {
            let random = RandomState::new();
            let id = format!(
                "auto-{:016x}{:016x}",
                random.hash_one(0),
                random.hash_one(1)
            );
            if self.sessions.find(&id).is_none() {
                return id.into();
            }
        }
    }

    pub(super) fn on_verdict<H: Host>(
        &mut self,
        conn: ConnId,
        verdict: Result<Grant, Reason>,
        cx: &mut Cx<'_, H>,
    ) {
        let Some(link) = self
            .links
            .get_mut(conn)
            .filter(|link| link.phase == Phase::Login)
        else {
            return;
        };
        let Some(connecting) = link.connecting.take() else {
            return;
        };
        cx.host.pause(conn, false);
        match verdict {
            Ok(grant) => self.accept(conn, *connecting, &grant, cx),
            Err(reason) => self.refuse_connect(conn, reason, "login refused", cx),
        }
    }

    /// CONNACK with a reason, then the end [MQTT-3.2.2-7].
    pub(super) fn refuse_connect<H: Host>(
        &mut self,
        conn: ConnId,
        reason: Reason,
        text: &str,
        cx: &mut Cx<'_, H>,
    ) {
        self.stats.connects_refused += 1;
        self.event_failed(conn, reason, text, cx.now);
        self.put_packet(
            conn,
            &Packet::ConnAck(Box::new(conn_ack(reason, Some(text)))),
            cx,
        );
        self.close(conn, cx);
    }

    fn accept<H: Host>(
        &mut self,
        conn: ConnId,
        mut connecting: Connecting,
        grant: &Grant,
        cx: &mut Cx<'_, H>,
    ) {
        let found = self.sessions.find(&connecting.client_id);
        if found.is_none() && self.sessions.len() >= self.options.sessions_max {
            return self.refuse_connect(conn, Reason::QUOTA_EXCEEDED, "too many sessions", cx);
        }
        if let Some(index) = found {
            self.take_over(index, connecting.clean, cx);
        }
        let resumed = self.sessions.find(&connecting.client_id);
        let index = resumed.unwrap_or_else(|| {
            let id = self.keep.session_id();
            let client_id = Arc::clone(&connecting.client_id);
            self.sessions.insert(Session::new(
                id,
                client_id,
                connecting.version,
                Arc::clone(&grant.acl),
            ))
        });
        self.attach(conn, index, &connecting, grant, cx);
        self.set_will(index, connecting.will.take());
        if resumed.is_some() {
            self.recheck_rights(index);
        }
        self.record_session(index);
        let welcome = Welcome {
            connecting,
            is_present: resumed.is_some(),
            need: self.need_of_welcome(index),
        };
        self.acknowledge(conn, Pending::Connect(Box::new(welcome)), cx);
        if self
            .links
            .get(conn)
            .is_some_and(|link| link.phase == Phase::Greeting)
        {
            cx.host.pause(conn, true);
        }
    }

    /// A session that outlives its connection, as it is now, has to be in the store; and one that has ended must not
    /// come back after the client has heard that there is none.
    fn need_of_welcome(&self, index: u32) -> Need {
        let is_recorded = |session: &Session| session.is_recorded();
        Need {
            kept: if self.sessions.get(index).is_some_and(is_recorded) {
                self.keep.round
            } else {
                self.keep.gone_round
            },
            mapped: 0,
        }
    }

    /// The store has what CONNACK promises.
    pub(super) fn greet<H: Host>(&mut self, conn: ConnId, welcome: &Welcome, cx: &mut Cx<'_, H>) {
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        link.phase = Phase::Live;
        link.last_seen_ms = cx.now.mono_ms;
        let index = link.session;
        self.welcome(conn, index, &welcome.connecting, welcome.is_present, cx);
        self.pump(index, cx);
    }

    /// The session exists: its connection is closed, and with a clean start it ends [MQTT-3.1.4-3], [MQTT-3.1.2-4].
    fn take_over<H: Host>(&mut self, index: u32, clean: bool, cx: &mut Cx<'_, H>) {
        let Some(session) = self.sessions.get(index) else {
            return;
        };
        let (id, old) = (session.id, session.link);
        if session.is_connected() {
            let end = if clean { End::Broken } else { End::TakenOver };
            self.say_why(
                old,
                Reason::SESSION_TAKEN_OVER,
                "the client has connected again",
                cx,
            );
            self.detach(old, end, cx);
            self.close(old, cx);
        }
        if clean && self.sessions.same(index, id).is_some() {
            self.end_session(index, cx);
        }
    }

    /// Ties a session and its new connection together.
    fn attach<H: Host>(
        &mut self,
        conn: ConnId,
        index: u32,
        connecting: &Connecting,
        grant: &Grant,
        cx: &mut Cx<'_, H>,
    ) {
        let (Some(link), Some(session)) = (self.links.get_mut(conn), self.sessions.get_mut(index))
        else {
            return;
        };
        if session.is_recorded() && connecting.session_expiry_s == 0 {
            // From here on it ends with its connection.
            self.keep.change(Change::SessionGone {
                session: session.id,
            });
        }
        session.link = conn;
        session.version = connecting.version;
        session.expiry_s = match connecting.session_expiry_s {
            0 => 0,
            wanted => wanted.min(self.options.session_expiry_max_s).max(1),
        };
        session.disconnected_unix_ms = None;
        session.user.clone_from(&grant.user);
        if !Arc::ptr_eq(&session.acl, &grant.acl) {
            session.acl = Arc::clone(&grant.acl);
            if !session.subscriptions.is_empty() {
                self.router.forget();
            }
        }
        session.queue.restart();
        self.timers
            .set(Due::SessionEnd(index), &mut session.end_timer, 0);
        link.phase = Phase::Greeting;
        link.session = index;
        link.window = match (connecting.version, connecting.receive_maximum) {
            (Version::V5, Some(maximum)) => maximum,
            _ => self.options.in_flight_old,
        };
        let aliases = connecting
            .topic_alias_maximum
            .min(self.options.topic_alias_out);
        if aliases > 0 {
            link.aliases_out = Some(Box::new(AliasesOut::new(aliases)));
        }
        let keep_alive_s = agreed_keep_alive(connecting, self.options.keep_alive_max_s);
        link.keep_alive_ms = u64::from(keep_alive_s) * 1_500;
        if link.keep_alive_ms > 0 {
            let at = cx.now.mono_ms + link.keep_alive_ms;
            self.timers
                .set(Due::KeepAlive(conn), &mut link.keep_alive_timer, at);
        }
        self.stats.clients_connected += 1;
        self.stats.clients_connected_peak = self
            .stats
            .clients_connected_peak
            .max(self.stats.clients_connected);
    }

    /// A will of an earlier connection is not sent when its session goes on [MQTT-3.1.3-9].
    fn set_will(&mut self, index: u32, will: Option<Box<StoredWill>>) {
        if let Some(session) = self.sessions.get_mut(index) {
            self.timers
                .set(Due::Will(index), &mut session.will_timer, 0);
            session.will = will;
        }
    }

    /// What waits for a client that may no longer read it is given up.
    fn recheck_rights(&mut self, index: u32) {
        let Some(session) = self
            .sessions
            .get(index)
            .filter(|session| !session.acl.is_open())
        else {
            return;
        };
        for seq in session
            .queue
            .unsent_where(|message| !session.may_read(&message.topic))
        {
            self.stats.publishes_dropped += 1;
            self.give_up(index, seq);
        }
    }

    fn welcome<H: Host>(
        &mut self,
        conn: ConnId,
        index: u32,
        connecting: &Connecting,
        is_present: bool,
        cx: &mut Cx<'_, H>,
    ) {
        let expiry_s = self
            .sessions
            .get(index)
            .map_or(0, |session| session.expiry_s);
        let keep_alive_s = agreed_keep_alive(connecting, self.options.keep_alive_max_s);
        let response = match &self.options.response_prefix {
            Some(prefix) if connecting.request_response_information => {
                Some(format!("{prefix}{}", connecting.client_id))
            }
            _ => None,
        };
        let maximum_packet_bytes = self.options.maximum_packet_bytes;
        let ack = ConnAck {
            session_present: is_present && connecting.version != Version::V31,
            session_expiry_s: (expiry_s != connecting.session_expiry_s).then_some(expiry_s),
            receive_maximum: (self.options.receive_maximum != u16::MAX)
                .then_some(self.options.receive_maximum),
            maximum_packet_bytes: (maximum_packet_bytes != u32::MAX)
                .then_some(maximum_packet_bytes),
            assigned_client_id: connecting.is_assigned.then_some(&*connecting.client_id),
            topic_alias_maximum: self.options.topic_alias_maximum,
            server_keep_alive_s: (keep_alive_s != connecting.keep_alive_s).then_some(keep_alive_s),
            response_information: response.as_deref(),
            ..conn_ack(Reason::SUCCESS, None)
        };
        self.put_packet(conn, &Packet::ConnAck(Box::new(ack)), cx);
    }
}

/// What the client asked for, or none; of version 5 at most our limit.
fn agreed_keep_alive(connecting: &Connecting, maximum_s: u16) -> u16 {
    match connecting.keep_alive_s {
        wanted if maximum_s == 0 || connecting.version != Version::V5 => wanted,
        wanted => wanted.min(maximum_s),
    }
}

fn conn_ack(reason: Reason, text: Option<&str>) -> ConnAck<'_> {
    ConnAck {
        reason_text: text,
        ..ConnAck::new(reason)
    }
}
