//! Sessions: what a client has with us, connected or not.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::super::packet::{SubscriptionOptions, Version};
use super::acks::Need;
use super::acl::Acl;
use super::message::StoredWill;
use super::queue::Queue;

/// No session, no link.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Subscribed {
    /// As the client wrote it.
    pub filter: Box<str>,
    pub options: SubscriptionOptions,
    /// 0 = none.
    pub id: u32,
}

/// How a QoS 2 message is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// As long as the process lives.
    Here,
    /// Its rows are durable, but nobody else has got it, so that it may come again for them.
    Rows,
    /// The store knows that all is done, or will.
    Recorded,
}

/// A QoS 2 message of the client that has not been released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreleased {
    /// What its PUBREC waits for.
    pub need: Need,
    pub known: Known,
    /// Its rows are durable.
    pub has_rows: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    /// Never used again, unlike the index.
    pub id: u64,
    pub client_id: Arc<str>,
    pub version: Version,
    /// Index of its connection.
    pub link: u32,
    /// 0 = ends with its connection; otherwise it is recorded.
    pub expiry_s: u32,
    pub disconnected_unix_ms: Option<u64>,
    /// In order of the filters.
    pub subscriptions: Vec<Subscribed>,
    pub queue: Queue,
    /// By packet id.
    pub unreleased: Option<Box<HashMap<u16, Unreleased>>>,
    /// Round of the last message that was released.
    pub released_round: u64,
    /// The store once refused to hear of a release: it may take ids for known that are not known here.
    pub is_release_refused: bool,
    /// Messages that found the queue full since the log was told, and when it may be told again.
    pub full_messages: u64,
    pub full_told_ms: u64,
    pub will: Option<Box<StoredWill>>,
    pub end_timer: u64,
    pub will_timer: u64,
    pub user: Option<Arc<str>>,
    pub acl: Arc<Acl>,
}

impl Session {
    pub fn new(id: u64, client_id: Arc<str>, version: Version, acl: Arc<Acl>) -> Self {
        Self {
            id,
            client_id,
            version,
            link: NONE,
            expiry_s: 0,
            disconnected_unix_ms: None,
            subscriptions: Vec::new(),
            queue: Queue::default(),
            unreleased: None,
            released_round: 0,
            is_release_refused: false,
            full_messages: 0,
            full_told_ms: 0,
            will: None,
            end_timer: 0,
            will_timer: 0,
            user: None,
            acl,
        }
    }

    pub fn is_connected(&self) -> bool {
        self.link != NONE
    }

    /// Whether it outlives its connection and stands in the store.
    pub fn is_recorded(&self) -> bool {
        self.expiry_s > 0
    }

    pub fn may_read(&self, topic: &str) -> bool {
        self.acl
            .may_read(topic, self.user.as_deref(), &self.client_id)
    }

    pub fn may_write(&self, topic: &str) -> bool {
        self.acl
            .may_write(topic, self.user.as_deref(), &self.client_id)
    }

    pub fn may_subscribe(&self, filter: &str) -> bool {
        self.acl
            .may_subscribe(filter, self.user.as_deref(), &self.client_id)
    }

    /// Where the subscription of a filter stands, or would.
    pub fn position(&self, filter: &str) -> Result<usize, usize> {
        self.subscriptions
            .binary_search_by(|subscribed| (*subscribed.filter).cmp(filter))
    }

    pub fn unreleased(&self, packet_id: u16) -> Option<Unreleased> {
        self.unreleased.as_ref()?.get(&packet_id).copied()
    }

    pub fn set_unreleased(&mut self, packet_id: u16, message: Unreleased) {
        self.unreleased
            .get_or_insert_with(|| Box::new(HashMap::new()))
            .insert(packet_id, message);
    }

    pub fn take_unreleased(&mut self, packet_id: u16) -> Option<Unreleased> {
        self.unreleased.as_mut()?.remove(&packet_id)
    }
}

/// All sessions, by index and by client id.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    slab: Vec<Option<Box<Session>>>,
    free: Vec<u32>,
    by_client: HashMap<Arc<str>, u32>,
}

impl Sessions {
    pub fn len(&self) -> usize {
        self.by_client.len()
    }

    pub fn find(&self, client_id: &str) -> Option<u32> {
        self.by_client.get(client_id).copied()
    }

    pub fn insert(&mut self, session: Session) -> u32 {
        let client_id = Arc::clone(&session.client_id);
        let session = Some(Box::new(session));
        let index = if let Some(index) = self.free.pop() {
            self.slab[index as usize] = session;
            index
        } else {
            self.slab.push(session);
            (self.slab.len() - 1) as u32
        };
        self.by_client.insert(client_id, index);
        index
    }

    pub fn remove(&mut self, index: u32) -> Option<Box<Session>> {
        let session = self.slab.get_mut(index as usize)?.take()?;
        self.by_client.remove(&session.client_id);
        self.free.push(index);
        Some(session)
    }

    pub fn get(&self, index: u32) -> Option<&Session> {
        self.slab.get(index as usize)?.as_deref()
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut Session> {
        self.slab.get_mut(index as usize)?.as_deref_mut()
    }

    /// The session of that index, if it is still the same one.
    pub fn same(&mut self, index: u32, id: u64) -> Option<&mut Session> {
        self.get_mut(index).filter(|session| session.id == id)
    }

    /// From an index on.
    pub fn iter_from(&self, index: u32) -> impl Iterator<Item = (u32, &Session)> {
        self.slab
            .iter()
            .enumerate()
            .skip(index as usize)
            .filter_map(|(index, session)| Some((index as u32, session.as_deref()?)))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Session)> {
        self.slab
            .iter_mut()
            .enumerate()
            .filter_map(|(index, session)| Some((index as u32, session.as_deref_mut()?)))
    }
}
