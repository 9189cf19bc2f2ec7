//! Filters, asked with a topic.

use super::levels::{Levels, NodeId, ROOT};

/// Filter to `T` (its subscribers). Filters are valid ones without a share.
#[derive(Default)]
pub struct Tree<T> {
    levels: Levels<T>,
}

impl<T: Default> Tree<T> {
    pub fn new() -> Self {
        Self {
            levels: Levels::default(),
        }
    }

    /// Filters held.
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Value of `filter`; a new filter has the default.
    pub fn entry(&mut self, filter: &str) -> &mut T {
        let node = self.levels.make(filter);
        self.levels.value_or_default(node)
    }

    pub fn get(&self, filter: &str) -> Option<&T> {
        self.levels.value(self.levels.find(filter)?)
    }

    pub fn get_mut(&mut self, filter: &str) -> Option<&mut T> {
        let node = self.levels.find(filter)?;
        self.levels.value_mut(node)
    }

    /// Removes `filter` if `is_empty` says so of its value, which it may change before. False: no such filter, or
    /// it stays.
    pub fn remove_if(&mut self, filter: &str, is_empty: impl FnOnce(&mut T) -> bool) -> bool {
        let Some(node) = self.levels.find(filter) else {
            return false;
        };
        self.levels.value_mut(node).is_some_and(is_empty) && self.levels.take(node).is_some()
    }

    /// Calls `found` with the value of each filter that matches `topic`.
    pub fn for_each_match<'a>(&'a self, topic: &str, mut found: impl FnMut(&'a T)) {
        self.descend(ROOT, Some(topic), !topic.starts_with('$'), &mut found);
    }

    /// `rest`: the levels of the topic below `node`; `None` at its end. `wildcards`: whether they match here, which
    /// they don't in the first level of topics that begin with `$`.
    fn descend<'a>(
        &'a self,
        node: NodeId,
        rest: Option<&str>,
        wildcards: bool,
        found: &mut impl FnMut(&'a T),
    ) {
        if rest.is_none()
            && let Some(value) = self.levels.value(node)
        {
            found(value);
        }
        if !self.levels.has_children(node) {
            return;
        }
        if wildcards
            && let Some(all) = self.levels.child(node, "#")
            && let Some(value) = self.levels.value(all)
        {
            found(value);
        }
        let Some(rest) = rest else { return };
        let (name, rest) = first_level(rest);
        if let Some(child) = self.levels.child(node, name) {
            self.descend(child, rest, true, found);
        }
        if wildcards && let Some(any) = self.levels.child(node, "+") {
            self.descend(any, rest, true, found);
        }
    }
}

pub(super) fn first_level(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    }
}
