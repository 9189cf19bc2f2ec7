//! Topics, asked with a filter.

use super::levels::{Levels, NodeId, ROOT};
use super::tree::first_level;

/// Topic to `V` (its retained message).
#[derive(Default)]
pub struct TopicMap<V> {
    levels: Levels<V>,
}

impl<V> TopicMap<V> {
    pub fn new() -> Self {
        Self {
            levels: Levels::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.levels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps `value` for `topic`; returns what was there.
    pub fn insert(&mut self, topic: &str, value: V) -> Option<V> {
        let node = self.levels.make(topic);
        self.levels.set(node, value)
    }

    pub fn remove(&mut self, topic: &str) -> Option<V> {
        self.levels.take(self.levels.find(topic)?)
    }

    pub fn get(&self, topic: &str) -> Option<&V> {
        self.levels.value(self.levels.find(topic)?)
    }

    pub fn get_mut(&mut self, topic: &str) -> Option<&mut V> {
        let node = self.levels.find(topic)?;
        self.levels.value_mut(node)
    }

    /// Calls `found` with each topic that `filter` (valid, without a share) matches, and its value.
    pub fn for_each_match<'a>(&'a self, filter: &str, mut found: impl FnMut(&str, &'a V)) {
        self.descend(ROOT, Some(filter), &mut String::new(), &mut found);
    }

    /// The values in pieces, for who may not stop the world: position and value, from position `first` on. A value
    /// keeps its position as long as it is there; what is inserted later may land before or after.
    pub fn scan(&self, first: u32) -> impl Iterator<Item = (u32, &V)> {
        self.levels.scan(first)
    }

    /// `rest`: the levels of the filter below `node`, `None` at its end. `path`: the topic of `node`.
    fn descend<'a>(
        &'a self,
        node: NodeId,
        rest: Option<&str>,
        path: &mut String,
        found: &mut impl FnMut(&str, &'a V),
    ) {
        let Some(rest) = rest else {
            self.report(node, path, found);
            return;
        };
        let (name, rest) = first_level(rest);
        match name {
            "#" => self.everything(node, path, found),
            "+" => {
                for child in self.children(node) {
                    self.within(node, child, path, |path| {
                        self.descend(child, rest, path, found);
                    });
                }
            }
            _ => {
                if let Some(child) = self.levels.child(node, name) {
                    self.within(node, child, path, |path| {
                        self.descend(child, rest, path, found);
                    });
                }
            }
        }
    }

    /// `node` and all below it.
    fn everything<'a>(
        &'a self,
        node: NodeId,
        path: &mut String,
        found: &mut impl FnMut(&str, &'a V),
    ) {
        self.report(node, path, found);
        for child in self.children(node) {
            self.within(node, child, path, |path| {
                self.everything(child, path, found);
            });
        }
    }

    /// Children that a wildcard matches: all but those of the root that begin with `$`.
    fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        self.levels
            .children(node)
            .filter(move |&child| node != ROOT || !self.levels.name(child).starts_with('$'))
    }

    fn report<'a>(&'a self, node: NodeId, path: &str, found: &mut impl FnMut(&str, &'a V)) {
        if let Some(value) = self.levels.value(node) {
            found(path, value);
        }
    }

    /// Runs `walk` with the name of `child` (of `node`) added to `path`.
    fn within(
        &self,
        node: NodeId,
        child: NodeId,
        path: &mut String,
        walk: impl FnOnce(&mut String),
    ) {
        let length = path.len();
        if node != ROOT {
            path.push('/');
        }
        path.push_str(self.levels.name(child));
        walk(path);
        path.truncate(length);
    }
}
