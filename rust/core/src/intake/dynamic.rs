//! Topics of clients with `dynamic = true`: which have come, and what each said last (spec: brokers and mapping,
//! section 10). Whoever publishes or collects them takes them from here, beside the messages.

use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::HashMap;
use parking_lot::Mutex;

/// Topics that are known; more are mapped as well, but not told of.
const MOST_TOPICS: usize = 16_384;
/// A last message above it is not collected: so the values of all topics have a bound, too.
const VALUE_BYTES: usize = 4 << 10;

/// A topic that has brought its first row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicTopic {
    pub client: u32,
    pub dbms: String,
    pub topic: String,
}

/// What a topic said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    pub topic: DynamicTopic,
    pub payload: Vec<u8>,
    pub arrival_us: i64,
}

#[derive(Default)]
struct Last {
    payload: Vec<u8>,
    arrival_us: i64,
}

#[derive(Default)]
struct State {
    /// By client; with what they said since it was taken, while that is collected.
    known: HashMap<u32, HashMap<Box<str>, Option<Last>>>,
    count: usize,
    fresh: Vec<DynamicTopic>,
    changed: Vec<DynamicTopic>,
    left_out: u64,
}

#[derive(Default)]
pub(super) struct Dynamic {
    state: Mutex<State>,
    collects: AtomicBool,
}

impl Dynamic {
    /// A message of a topic has been mapped.
    pub fn note(&self, client: u32, dbms: &str, topic: &str, payload: &[u8], arrival_us: i64) {
        let state = &mut *self.state.lock();
        let topics = state.known.entry(client).or_default();
        let told = || DynamicTopic {
            client,
            dbms: dbms.to_owned(),
            topic: topic.to_owned(),
        };
        if !topics.contains_key(topic) {
            if state.count >= MOST_TOPICS {
                state.left_out += 1;
                return;
            }
            state.count += 1;
            topics.insert(topic.into(), None);
            state.fresh.push(told());
        }
        if !self.collects.load(Ordering::Relaxed) {
            return;
        }
        let Some(last) = topics.get_mut(topic) else {
            return; // it was put there just now
        };
        if payload.len() > VALUE_BYTES {
            state.left_out += 1;
            return;
        }
        let last = last.get_or_insert_with(|| {
            state.changed.push(told());
            Last::default()
        });
        last.payload.clear();
        last.payload.extend_from_slice(payload);
        last.arrival_us = arrival_us;
    }

    /// Topics that came since the last call, and how many messages were of more than are known or collected.
    pub fn take_new(&self) -> (Vec<DynamicTopic>, u64) {
        let mut state = self.state.lock();
        let more = std::mem::take(&mut state.left_out);
        (std::mem::take(&mut state.fresh), more)
    }

    /// Whether what topics say is collected from now on.
    pub fn collect(&self, on: bool) {
        self.collects.store(on, Ordering::Relaxed);
        if !on {
            self.take_latest();
        }
    }

    /// What topics said last, of those that said something since the last call.
    pub fn take_latest(&self) -> Vec<Latest> {
        let state = &mut *self.state.lock();
        let known = &mut state.known;
        let taken = std::mem::take(&mut state.changed).into_iter();
        taken
            .filter_map(|topic| {
                let topics = known.get_mut(&topic.client)?;
                let last = topics.get_mut(topic.topic.as_str())?.take()?;
                Some(Latest {
                    topic,
                    payload: last.payload,
                    arrival_us: last.arrival_us,
                })
            })
            .collect()
    }

    /// A client has ended: if it comes again its topics are new.
    pub fn forget(&self, client: u32) {
        let state = &mut *self.state.lock();
        if let Some(topics) = state.known.remove(&client) {
            state.count -= topics.len();
            state.fresh.retain(|topic| topic.client != client);
            state.changed.retain(|topic| topic.client != client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(topics: &[DynamicTopic]) -> Vec<&str> {
        topics.iter().map(|topic| topic.topic.as_str()).collect()
    }

    #[test]
    fn a_topic_is_new_once_and_again_when_its_client_is() {
        let dynamic = Dynamic::default();
        for topic in ["a/x", "a/y", "a/x"] {
            dynamic.note(1, "d", topic, b"1", 5);
        }
        dynamic.note(2, "e", "a/x", b"1", 5);
        let (fresh, more) = dynamic.take_new();
        assert_eq!((names(&fresh), more), (vec!["a/x", "a/y", "a/x"], 0));
        assert_eq!((fresh[2].client, fresh[2].dbms.as_str()), (2, "e"));
        dynamic.note(1, "d", "a/x", b"1", 5);
        assert_eq!(dynamic.take_new(), (vec![], 0));
        assert_eq!(dynamic.take_latest(), [], "nobody collects");
        dynamic.forget(1);
        dynamic.note(1, "d", "a/y", b"1", 5);
        dynamic.note(2, "e", "a/x", b"1", 5);
        assert_eq!(names(&dynamic.take_new().0), ["a/y"]);
    }

    #[test]
    fn what_came_last_is_collected() {
        let dynamic = Dynamic::default();
        dynamic.collect(true);
        for (topic, payload, at) in [("x", "1", 1), ("y", "7", 2), ("x", "22", 3)] {
            dynamic.note(1, "d", topic, payload.as_bytes(), at);
        }
        let latest = dynamic.take_latest();
        let shown: Vec<_> = latest
            .iter()
            .map(|l| (l.topic.topic.as_str(), &l.payload[..], l.arrival_us))
            .collect();
        assert_eq!(shown, [("x", &b"22"[..], 3), ("y", b"7", 2)]);
        assert_eq!(dynamic.take_latest(), []);
        dynamic.note(1, "d", "x", b"3", 4);
        dynamic.note(1, "d", "y", &[b'0'; VALUE_BYTES + 1], 4);
        assert_eq!(dynamic.take_latest().len(), 1);
        assert_eq!(dynamic.take_new().1, 1, "one was too large");
        dynamic.note(1, "d", "x", b"4", 5);
        dynamic.forget(1);
        assert_eq!(dynamic.take_latest(), []);
        dynamic.note(1, "d", "x", b"4", 5);
        dynamic.collect(false);
        assert_eq!(dynamic.take_latest(), []);
    }

    #[test]
    fn topics_without_end_take_no_memory_without_end() {
        let dynamic = Dynamic::default();
        for n in 0..MOST_TOPICS + 3 {
            dynamic.note(1, "d", &n.to_string(), b"1", 5);
        }
        let (fresh, more) = dynamic.take_new();
        assert_eq!((fresh.len(), more), (MOST_TOPICS, 3));
    }
}
