//! The index below `Tree` and `TopicMap`: a tree with one node per level of a name.
//!
//! All nodes stand in one vector and know each other by number. A child is found through one hash table over
//! (parent, name), so a node with a million children costs no more than one with two; the children of a node are
//! also a list, for walks.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Number of a node.
pub type NodeId = u32;

pub const ROOT: NodeId = 0;
/// No node: the root is nobody's child.
const NONE: NodeId = ROOT;

struct Node<T> {
    name: Box<str>,
    parent: NodeId,
    first_child: NodeId,
    /// Siblings; of a free node, `next` is the next free one.
    next: NodeId,
    previous: NodeId,
    value: Option<T>,
}

pub struct Levels<T> {
    nodes: Vec<Node<T>>,
    children: HashTable<NodeId>,
    first_free: NodeId,
    hasher: RandomState,
    /// Nodes with a value.
    len: usize,
}

impl<T> Default for Levels<T> {
    fn default() -> Self {
        Self {
            nodes: vec![Node::new(Box::default(), NONE)],
            children: HashTable::new(),
            first_free: NONE,
            hasher: RandomState::default(), // seeded: names come from clients
            len: 0,
        }
    }
}

impl<T> Node<T> {
    fn new(name: Box<str>, parent: NodeId) -> Self {
        Self {
            name,
            parent,
            first_child: NONE,
            next: NONE,
            previous: NONE,
            value: None,
        }
    }
}

impl<T> Levels<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn value(&self, node: NodeId) -> Option<&T> {
        self.nodes[node as usize].value.as_ref()
    }

    pub fn value_mut(&mut self, node: NodeId) -> Option<&mut T> {
        self.nodes[node as usize].value.as_mut()
    }

    pub fn name(&self, node: NodeId) -> &str {
        &self.nodes[node as usize].name
    }

    pub fn has_children(&self, node: NodeId) -> bool {
        self.nodes[node as usize].first_child != NONE
    }

    /// Child of `parent` called `name`.
    pub fn child(&self, parent: NodeId, name: &str) -> Option<NodeId> {
        let hash = self.hasher.hash_one((parent, name));
        self.children
            .find(hash, |&id| is(&self.nodes, id, parent, name))
            .copied()
    }

    pub fn children(&self, parent: NodeId) -> impl Iterator<Item = NodeId> {
        let listed = |id: NodeId| (id != NONE).then_some(id);
        std::iter::successors(
            listed(self.nodes[parent as usize].first_child),
            move |&id| listed(self.nodes[id as usize].next),
        )
    }

    /// Node of the levels of `path`.
    pub fn find(&self, path: &str) -> Option<NodeId> {
        path.split('/')
            .try_fold(ROOT, |node, name| self.child(node, name))
    }

    /// Node of the levels of `path`, made where missing. The caller gives it a value.
    pub fn make(&mut self, path: &str) -> NodeId {
        path.split('/')
            .fold(ROOT, |node, name| match self.child(node, name) {
                Some(child) => child,
                None => self.add(node, name),
            })
    }

    /// Gives `node` a value; returns the one it had.
    pub fn set(&mut self, node: NodeId, value: T) -> Option<T> {
        let before = self.nodes[node as usize].value.replace(value);
        self.len += usize::from(before.is_none());
        before
    }

    pub fn value_or_default(&mut self, node: NodeId) -> &mut T
    where
        T: Default,
    {
        let value = &mut self.nodes[node as usize].value;
        self.len += usize::from(value.is_none());
        value.get_or_insert_default()
    }

    /// Takes the value of `node` and the nodes that are of no use without it.
    pub fn take(&mut self, node: NodeId) -> Option<T> {
        let value = self.nodes[node as usize].value.take()?;
        self.len -= 1;
        let mut unused = node;
        while unused != ROOT && !self.has_children(unused) && self.value(unused).is_none() {
            let parent = self.nodes[unused as usize].parent;
            self.free(unused);
            unused = parent;
        }
        Some(value)
    }

    /// Nodes with a value in order of their number, from number `first` on. The number of an entry stays the same
    /// as long as it exists.
    pub fn scan(&self, first: NodeId) -> impl Iterator<Item = (NodeId, &T)> {
        let rest = self.nodes.iter().enumerate().skip(first as usize);
        rest.filter_map(|(id, node)| node.value.as_ref().map(|value| (id as NodeId, value)))
    }

    fn add(&mut self, parent: NodeId, name: &str) -> NodeId {
        let first_child = self.nodes[parent as usize].first_child;
        let mut node = Node::new(name.into(), parent);
        node.next = first_child;
        let id = self.place(node);
        if first_child != NONE {
            self.nodes[first_child as usize].previous = id;
        }
        self.nodes[parent as usize].first_child = id;
        let hash = self.hasher.hash_one((parent, name));
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        self.children
            .insert_unique(hash, id, |&id| rehash(nodes, hasher, id));
        id
    }

    fn place(&mut self, node: Node<T>) -> NodeId {
        let free = self.first_free;
        if free != NONE {
            let slot = &mut self.nodes[free as usize];
            self.first_free = slot.next;
            *slot = node;
            return free;
        }
        if self.nodes.len() == self.nodes.capacity() {
            // By a quarter, not by the usual factor 2: of a large index the spare room would be the most of it.
            self.nodes.reserve_exact(16 + self.nodes.len() / 4);
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as NodeId
    }

    fn free(&mut self, id: NodeId) {
        let node = &self.nodes[id as usize];
        let (parent, previous, next) = (node.parent, node.previous, node.next);
        let hash = rehash(&self.nodes, &self.hasher, id);
        if let Ok(entry) = self.children.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        match previous {
            NONE => self.nodes[parent as usize].first_child = next,
            _ => self.nodes[previous as usize].next = next,
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        let mut empty = Node::new(Box::default(), NONE);
        empty.next = self.first_free;
        self.nodes[id as usize] = empty;
        self.first_free = id;
    }
}

fn is<T>(nodes: &[Node<T>], id: NodeId, parent: NodeId, name: &str) -> bool {
    let node = &nodes[id as usize];
    node.parent == parent && &*node.name == name
}

fn rehash<T>(nodes: &[Node<T>], hasher: &RandomState, id: NodeId) -> u64 {
    let node = &nodes[id as usize];
    hasher.hash_one((node.parent, &*node.name))
}
