//! Packets as values (MQTT 3.1.1 chapter 3, MQTT 5.0 chapter 3). Texts and payloads are slices of the receive buffer.

use std::borrow::Cow;

/// Version of the protocol that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Version {
    /// `MQIsdp`, level 3.
    V31 = 3,
    V311 = 4,
    V5 = 5,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    #[default]
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

/// A reason code of MQTT 5.0 (section 2.4); the codec translates for older versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(pub u8);

impl Reason {
    /// Also normal disconnection, and granted QoS 0.
    pub const SUCCESS: Self = Self(0x00);
    pub const DISCONNECT_WITH_WILL: Self = Self(0x04);
    pub const NO_MATCHING_SUBSCRIBERS: Self = Self(0x10);
    pub const NO_SUBSCRIPTION_EXISTED: Self = Self(0x11);
    pub const UNSPECIFIED: Self = Self(0x80);
    pub const MALFORMED_PACKET: Self = Self(0x81);
    pub const PROTOCOL_ERROR: Self = Self(0x82);
    pub const IMPLEMENTATION_SPECIFIC: Self = Self(0x83);
    pub const UNSUPPORTED_VERSION: Self = Self(0x84);
    pub const CLIENT_ID_NOT_VALID: Self = Self(0x85);
    pub const BAD_USER_OR_PASSWORD: Self = Self(0x86);
    pub const NOT_AUTHORIZED: Self = Self(0x87);
    pub const SERVER_UNAVAILABLE: Self = Self(0x88);
    pub const SERVER_BUSY: Self = Self(0x89);
    pub const BANNED: Self = Self(0x8A);
    pub const SERVER_SHUTTING_DOWN: Self = Self(0x8B);
    pub const BAD_AUTHENTICATION_METHOD: Self = Self(0x8C);
    pub const KEEP_ALIVE_TIMEOUT: Self = Self(0x8D);
    pub const SESSION_TAKEN_OVER: Self = Self(0x8E);
    pub const TOPIC_FILTER_INVALID: Self = Self(0x8F);
    pub const TOPIC_NAME_INVALID: Self = Self(0x90);
    pub const PACKET_ID_IN_USE: Self = Self(0x91);
    pub const PACKET_ID_NOT_FOUND: Self = Self(0x92);
    pub const RECEIVE_MAXIMUM_EXCEEDED: Self = Self(0x93);
    pub const TOPIC_ALIAS_INVALID: Self = Self(0x94);
    pub const PACKET_TOO_LARGE: Self = Self(0x95);
    pub const MESSAGE_RATE_TOO_HIGH: Self = Self(0x96);
    pub const QUOTA_EXCEEDED: Self = Self(0x97);
    pub const ADMINISTRATIVE_ACTION: Self = Self(0x98);
    pub const PAYLOAD_FORMAT_INVALID: Self = Self(0x99);
    pub const RETAIN_NOT_SUPPORTED: Self = Self(0x9A);
    pub const QOS_NOT_SUPPORTED: Self = Self(0x9B);
    pub const SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: Self = Self(0x9E);
    pub const CONNECTION_RATE_EXCEEDED: Self = Self(0x9F);
    pub const SUBSCRIPTION_IDS_NOT_SUPPORTED: Self = Self(0xA1);
    pub const WILDCARDS_NOT_SUPPORTED: Self = Self(0xA2);

    pub fn is_error(self) -> bool {
        self.0 >= 0x80
    }
}

/// A packet of either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    Connect(Box<Connect<'a>>),
    ConnAck(Box<ConnAck<'a>>),
    Publish(Publish<'a>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(Ack),
    Subscribe(Subscribe<'a>),
    SubAck(Granted),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(Granted),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    pub version: Version,
    /// Clean session, or clean start.
    pub clean: bool,
    /// Seconds; 0 = none.
    pub keep_alive_s: u16,
    pub client_id: &'a str,
    pub will: Option<Will<'a>>,
    pub user: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    /// 0 = ends with the connection, `u32::MAX` = never. Of older versions: what `clean` says.
    pub session_expiry_s: u32,
    /// Absent = 65,535.
    pub receive_maximum: Option<u16>,
    /// Absent = no limit.
    pub maximum_packet_bytes: Option<u32>,
    pub topic_alias_maximum: u16,
    pub request_response_information: bool,
    /// Default true.
    pub request_problem_information: bool,
    pub authentication_method: Option<&'a str>,
    pub authentication_data: Option<&'a [u8]>,
}

impl<'a> Connect<'a> {
    /// Of a client whose session ends with its connection, with the defaults of the protocol.
    pub fn new(version: Version, client_id: &'a str) -> Self {
        Self {
            version,
            clean: true,
            keep_alive_s: 0,
            client_id,
            will: None,
            user: None,
            password: None,
            session_expiry_s: 0,
            receive_maximum: None,
            maximum_packet_bytes: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: QoS,
    pub retain: bool,
    pub delay_s: u32,
    pub expiry_s: Option<u32>,
    pub properties: Forwarded<'a>,
}

/// Properties of a message that go on to subscribers as they are: payload format, content type, response topic,
/// correlation data, user properties; encoded, in the order received, without the length before them. Older
/// versions: empty. Checked by the decoder, so a server may copy them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// Borrowed when they stand together in the packet (the usual case).
    pub encoded: Cow<'a, [u8]>,
    /// The payload says it is UTF-8.
    pub is_text: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    pub session_present: bool,
    /// A reason of version 5; the encoder gives older versions the nearest return code.
    pub reason: Reason,
    // All below: version 5 only; `None` or default = not sent.
    pub session_expiry_s: Option<u32>,
    pub receive_maximum: Option<u16>,
    pub maximum_packet_bytes: Option<u32>,
    pub assigned_client_id: Option<&'a str>,
    pub topic_alias_maximum: u16,
    pub server_keep_alive_s: Option<u16>,
    pub reason_text: Option<&'a str>,
    pub response_information: Option<&'a str>,
    pub authentication_method: Option<&'a str>,
}

impl ConnAck<'_> {
    /// Without a session and without properties.
    pub fn new(reason: Reason) -> Self {
        Self {
            session_present: false,
            reason,
            session_expiry_s: None,
            receive_maximum: None,
            maximum_packet_bytes: None,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            server_keep_alive_s: None,
            reason_text: None,
            response_information: None,
            authentication_method: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    pub duplicate: bool,
    pub qos: QoS,
    pub retain: bool,
    /// Checked: no wildcard, not too many levels. Empty with a topic alias only.
    pub topic: &'a str,
    /// 0 with QoS 0.
    pub packet_id: u16,
    pub topic_alias: Option<u16>,
    pub expiry_s: Option<u32>,
    /// Of a message from the server; a client may send none.
    pub subscription_ids: Vec<u32>,
    pub properties: Forwarded<'a>,
    pub payload: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckKind {
    PubAck,
    PubRec,
    PubRel,
    PubComp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    pub kind: AckKind,
    pub packet_id: u16,
    /// Success with older versions.
    pub reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    pub packet_id: u16,
    /// 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// One at least. Filters are checked as UTF-8 only: a bad one gets a reason code, not a disconnect.
    pub filters: Vec<Subscription<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    pub filter: &'a str,
    pub options: SubscriptionOptions,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionOptions {
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    #[default]
    Send,
    SendIfNew,
    DoNotSend,
}

/// The body of SUBACK and UNSUBACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub packet_id: u16,
    /// One per filter. Of an UNSUBACK of older versions: empty.
    pub reasons: Vec<Reason>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    pub packet_id: u16,
    pub filters: Vec<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    pub reason: Reason,
    /// From a client only.
    pub session_expiry_s: Option<u32>,
    pub reason_text: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    pub reason: Reason,
    pub method: Option<&'a str>,
    pub data: Option<&'a [u8]>,
}
