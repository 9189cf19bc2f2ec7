//! From a topic to those who get its messages: subscriptions by filter, groups of shared subscriptions, and the
//! remembered answers.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::super::packet::{QoS, SubscriptionOptions};
use super::super::topics::{self, Tree};
use super::queue::Ids;
use super::session::Sessions;

/// A subscription as its filter has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscriber {
    pub session: u32,
    /// 0 = none.
    pub id: u32,
    pub options: SubscriptionOptions,
}

#[derive(Debug, Default)]
struct Node {
    subscribers: Vec<Subscriber>,
    /// Groups with this filter.
    groups: Vec<u32>,
}

/// Sessions that share a subscription.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub members: Vec<Subscriber>,
    /// Whose turn it is.
    pub next: usize,
}

/// What one session gets of a topic, all its subscriptions taken together.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub session: u32,
    pub qos: QoS,
    pub retain_as_published: bool,
    pub ids: Ids,
    /// What it gets of its own messages.
    pub own: Own,
}

/// What a session gets of its own messages, by its no-local options.
#[derive(Clone, Debug)]
pub(super) enum Own {
    All,
    Some(Box<Target>),
    Nothing,
}

#[derive(Debug)]
pub(super) struct Route {
    /// Never used again.
    pub stamp: u64,
    version: u64,
    generation: u64,
    /// A message client takes it.
    pub is_mapped: bool,
    pub is_valid: bool,
    pub targets: Box<[Target]>,
    pub groups: Box<[u32]>,
}

impl Route {
    fn weight(&self) -> usize {
        4 + self.targets.len() + self.groups.len()
    }
}

/// Targets in all remembered routes, at most.
const WEIGHT_MAX: usize = 1_000_000;

pub(super) struct Router {
    tree: Tree<Node>,
    /// By a number that is not used again: messages on their way refer to it.
    groups: HashMap<u32, Group>,
    next_group: u32,
    by_name: HashMap<(Box<str>, Box<str>), u32>,
    /// Goes up with everything that may change a route.
    version: u64,
    stamps: u64,
    routes: HashMap<Box<str>, Arc<Route>>,
    weight: usize,
    routes_max: usize,
    pub subscriptions: u64,
    pub shared: u64,
}

impl Router {
    pub fn new(routes_max: usize) -> Self {
        Self {
            tree: Tree::new(),
            groups: HashMap::new(),
            next_group: 0,
            by_name: HashMap::new(),
            version: 1,
            stamps: 0,
            routes: HashMap::new(),
            weight: 0,
            routes_max: routes_max.max(1),
            subscriptions: 0,
            shared: 0,
        }
    }

    /// Somebody's rights have changed.
    pub fn forget(&mut self) {
        self.version += 1;
    }

    pub fn group(&self, number: u32) -> Option<&Group> {
        self.groups.get(&number)
    }

    pub fn group_mut(&mut self, number: u32) -> Option<&mut Group> {
        self.groups.get_mut(&number)
    }

    /// Adds a subscription, or replaces the one that the session has. `filter` is valid.
    pub fn subscribe(
        &mut self,
        (share, filter): (Option<&str>, &str),
        subscriber: Subscriber,
        is_new: bool,
    ) {
        self.version += 1;
        let members = match share {
            None => &mut self.tree.entry(filter).subscribers,
            Some(name) => {
                let group = self.group_of(name, filter);
                match self.groups.get_mut(&group) {
                    Some(group) => &mut group.members,
                    None => return,
                }
            }
        };
        if !is_new
            && let Some(old) = members
                .iter_mut()
                .find(|old| old.session == subscriber.session)
        {
            *old = subscriber;
            return;
        }
        if members.is_empty() {
            members.reserve_exact(1);
        }
        members.push(subscriber);
        self.subscriptions += 1;
        self.shared += u64::from(share.is_some());
    }

    fn group_of(&mut self, name: &str, filter: &str) -> u32 {
        let key = (Box::from(name), Box::from(filter));
        if let Some(&number) = self.by_name.get(&key) {
            return number;
        }
        let number = self.next_group;
        self.next_group += 1;
        self.groups.insert(number, Group::default());
        self.by_name.insert(key, number);
        self.tree.entry(filter).groups.push(number);
        number
    }

    pub fn unsubscribe(&mut self, share: Option<&str>, filter: &str, session: u32) {
        self.version += 1;
        match share {
            None => {
                let mut found = false;
                self.tree.remove_if(filter, |node| {
                    let at = node
                        .subscribers
                        .iter()
                        .position(|subscriber| subscriber.session == session);
                    if let Some(at) = at {
                        node.subscribers.remove(at);
                        found = true;
                    }
                    node.subscribers.is_empty() && node.groups.is_empty()
                });
                self.subscriptions -= u64::from(found);
            }
            Some(name) => self.leave_group(name, filter, session),
        }
    }

    fn leave_group(&mut self, name: &str, filter: &str, session: u32) {
        let key = (Box::from(name), Box::from(filter));
        let Some(&number) = self.by_name.get(&key) else {
            return;
        };
        let Some(group) = self.groups.get_mut(&number) else {
            return;
        };
        let Some(at) = group
            .members
            .iter()
            .position(|member| member.session == session)
        else {
            return;
        };
        group.members.remove(at);
        if group.next > at {
            group.next -= 1;
        }
        let is_empty = group.members.is_empty();
        self.subscriptions -= 1;
        self.shared -= 1;
        if is_empty {
            self.groups.remove(&number);
            self.by_name.remove(&key);
            self.tree.remove_if(filter, |node| {
                node.groups.retain(|group| *group != number);
                node.subscribers.is_empty() && node.groups.is_empty()
            });
        }
    }

    /// Who gets the messages of a topic; remembered.
    pub fn route(
        &mut self,
        topic: &str,
        sessions: &Sessions,
        generation: u64,
        takes: impl FnOnce(&str) -> bool,
    ) -> Arc<Route> {
        if let Some(route) = self.routes.get(topic)
            && route.version == self.version
            && route.generation == generation
        {
            return Arc::clone(route);
        }
        self.stamps += 1;
        let route = Arc::new(self.find(topic, sessions, generation, takes));
        if self.routes.len() >= self.routes_max || self.weight + route.weight() > WEIGHT_MAX {
            self.routes.clear();
            self.weight = 0;
        }
        self.weight += route.weight();
        if let Some(old) = self.routes.insert(topic.into(), Arc::clone(&route)) {
            self.weight -= old.weight();
        }
        route
    }

    fn find(
        &self,
        topic: &str,
        sessions: &Sessions,
        generation: u64,
        takes: impl FnOnce(&str) -> bool,
    ) -> Route {
        let is_valid = topics::check_topic(topic);
        let mut found: Vec<Subscriber> = Vec::new();
        let mut groups: Vec<u32> = Vec::new();
        if is_valid {
            self.tree.for_each_match(topic, |node| {
                found.extend_from_slice(&node.subscribers);
                groups.extend_from_slice(&node.groups);
            });
        }
        found.sort_by_key(|subscriber| subscriber.session);
        let targets = found
            .chunk_by(|one, other| one.session == other.session)
            .filter(|same| {
                sessions
                    .get(same[0].session)
                    .is_some_and(|session| session.may_read(topic))
            })
            .map(merge)
            .collect();
        Route {
            stamp: self.stamps,
            version: self.version,
            generation,
            is_mapped: is_valid && takes(topic),
            is_valid,
            targets,
            groups: groups.into(),
        }
    }
}

/// One delivery for all subscriptions of a session that match: the highest QoS, all ids [MQTT-3.3.4-2],
/// [MQTT-3.3.4-4].
fn merge(subscribers: &[Subscriber]) -> Target {
    let all = merge_of(subscribers.iter());
    if !subscribers
        .iter()
        .any(|subscriber| subscriber.options.no_local)
    {
        return all;
    }
    let others = || {
        subscribers
            .iter()
            .filter(|subscriber| !subscriber.options.no_local)
    };
    let own = if others().next().is_some() {
        Own::Some(Box::new(merge_of(others())))
    } else {
        Own::Nothing
    };
    Target { own, ..all }
}

fn merge_of<'a>(subscribers: impl Iterator<Item = &'a Subscriber>) -> Target {
    let mut target = Target {
        session: 0,
        qos: QoS::AtMostOnce,
        retain_as_published: false,
        ids: Ids::One(0),
        own: Own::All,
    };
    for subscriber in subscribers {
        target.session = subscriber.session;
        target.qos = target.qos.max(subscriber.options.qos);
        target.retain_as_published |= subscriber.options.retain_as_published;
        if subscriber.id != 0 {
            target.ids.push(subscriber.id);
        }
    }
    target
}
