//! Retained messages.

use std::sync::Arc;

use super::super::packet::Publish;
use super::super::topics::TopicMap;
use super::acks::RetainedFor;
use super::change::Change;
use super::deliver::{Source, single};
use super::message::Message;
use super::options::Options;
use super::queue::NO_SHARE;
use super::seam::Host;
use super::{Broker, Cx};

/// Topics looked at per tick for messages that have expired.
const SWEEP: usize = 1_000;

pub(super) struct Retained {
    map: TopicMap<Arc<Message>>,
    bytes: usize,
    /// Where the sweep for expired messages stands.
    sweep_at: u32,
    /// Messages with an expiry time, about: none = no sweep.
    expiring: usize,
}

impl Retained {
    pub fn new() -> Self {
        Self {
            map: TopicMap::new(),
            bytes: 0,
            sweep_at: 0,
            expiring: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn get(&self, topic: &str) -> Option<&Arc<Message>> {
        self.map.get(topic)
    }

    pub fn scan(&self, first: u32) -> impl Iterator<Item = (u32, &Arc<Message>)> {
        self.map.scan(first)
    }

    pub fn insert(&mut self, message: Arc<Message>) {
        self.bytes += message.size_bytes();
        self.expiring += usize::from(message.expires_unix_ms.is_some());
        let topic = Arc::clone(&message);
        let old = self.map.insert(&topic.topic, message);
        self.forget(old.as_ref());
    }

    pub fn remove(&mut self, topic: &str) -> Option<Arc<Message>> {
        let old = self.map.remove(topic);
        self.forget(old.as_ref());
        old
    }

    fn forget(&mut self, old: Option<&Arc<Message>>) {
        if let Some(old) = old {
            self.bytes -= old.size_bytes();
            self.expiring -= usize::from(old.expires_unix_ms.is_some());
        }
    }

    /// Whether a message may be retained: there is room, or it replaces one.
    pub fn has_room(&self, topic: &str, publish: &Publish<'_>, options: &Options) -> bool {
        let size = topic.len() + publish.payload.len() + publish.properties.encoded.len();
        self.bytes + size <= options.retained_bytes
            && (self.len() < options.retained_max || self.get(topic).is_some())
    }
}

impl Broker {
    /// Replaces or removes the retained message of a topic [MQTT-3.3.1-5], [MQTT-3.3.1-6]. Returns whether the store
    /// has to keep it.
    pub(super) fn retain(&mut self, source: &mut Source<'_>) -> bool {
        let topic = source.view.topic;
        self.keep.is_retained_anew(topic);
        if source.view.payload.is_empty() {
            let is_recorded = self.retained.remove(topic).is_some_and(|old| old.id != 0);
            if is_recorded {
                self.keep.change(Change::RetainedGone {
                    topic: topic.into(),
                });
            }
            return is_recorded;
        }
        let message = source.message(&self.sessions, &mut self.keep);
        self.retained.insert(Arc::clone(&message));
        if message.id == 0 {
            return false;
        }
        source.record(&self.sessions, &mut self.keep);
        self.keep.change(Change::Retained {
            topic: topic.into(),
            message: message.id,
        });
        true
    }

    /// What a new subscription gets.
    pub(super) fn send_retained<H: Host>(
        &mut self,
        index: u32,
        wanted: &RetainedFor,
        cx: &mut Cx<'_, H>,
    ) {
        let Some(session) = self.sessions.get(index) else {
            return;
        };
        let mut found = Vec::new();
        self.retained
            .map
            .for_each_match(&wanted.filter, |topic, message| {
                let is_own =
                    wanted.no_local && message.publisher.as_ref() == Some(&session.client_id);
                if !is_own && !message.is_expired(cx.now.unix_ms) && session.may_read(topic) {
                    found.push(Arc::clone(message));
                }
            });
        let target = single(index, wanted.qos, wanted.ids.clone());
        for message in found {
            // For a recorded session the store gets the message again: where it stands as the retained one may be
            // cleaned away while the session still waits for it.
            let mut source = Source::of(&message, super::session::NONE);
            self.deliver(&target, true, (NO_SHARE, false), &mut source, None, cx);
        }
    }

    /// Looks at some of the retained messages and removes those that have expired.
    pub(super) fn sweep_retained(&mut self, unix_ms: u64) {
        if self.retained.expiring == 0 {
            return;
        }
        let mut expired = Vec::new();
        let (mut seen, mut last) = (0, 0);
        for (at, message) in self.retained.scan(self.retained.sweep_at).take(SWEEP) {
            seen += 1;
            last = at;
            if message.is_expired(unix_ms) {
                expired.push(Arc::clone(message));
            }
        }
        self.retained.sweep_at = if seen == SWEEP { last + 1 } else { 0 };
        for message in expired {
            self.stats.publishes_expired += 1;
            self.retained.remove(&message.topic);
            if message.id != 0 {
                self.keep.change(Change::RetainedGone {
                    topic: message.topic.clone(),
                });
            }
        }
    }
}
