//! The message clients of a node: who takes the messages of which topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use serde_json::Value;

use super::counters::Counters;
use super::dynamic::{Dynamic, DynamicTopic, Latest};
use super::faults::{Fault, Faults};
use super::files::{Directories, Files};
use super::lines::Rules;
use super::log::MessageLog;
use crate::mapping::{CompileError, Program};
use crate::rows::time::Zone;

/// A message client as it is declared.
#[derive(Debug)]
pub struct Declaration {
    pub id: u32,
    /// `local`, `rest`, or the name of another broker.
    pub broker: String,
    /// The specification of its topics.
    pub spec: Value,
    pub directories: Directories,
}

/// A message client: its topics, compiled, and what came.
#[derive(Debug)]
pub struct Client {
    pub id: u32,
    pub broker: String,
    pub program: Program,
    pub counters: Arc<Counters>,
    /// By topic, in the order of the declaration.
    pub topics: Arc<[Counters]>,
    pub(super) files: Files,
}

/// Who takes the messages of a topic: a client and the number of its topic.
pub type Routes = Arc<[(Arc<Client>, usize)]>;

/// All clients of a node. They come and go at any time.
pub struct Clients {
    all: RwLock<BTreeMap<u32, Arc<Client>>>,
    generation: AtomicU64,
    /// Mapping threads; 0 = as the entry says.
    threads: AtomicUsize,
    /// What becomes of lines that are no MQTT.
    pub rules: Rules,
    pub(super) zone: Zone,
    pub(super) faults: Faults,
    pub(super) log: MessageLog,
    pub(super) dynamic: Dynamic,
}

impl Clients {
    /// `zone` is the node's own, for times that name none.
    pub fn new(zone: Zone) -> Self {
        Self {
            all: RwLock::default(),
            generation: AtomicU64::new(1),
            threads: AtomicUsize::new(0),
            rules: Rules::default(),
            zone,
            faults: Faults::default(),
            log: MessageLog::default(),
            dynamic: Dynamic::default(),
        }
    }

    /// Compile and add a client, or replace the one of this id (with new counters).
    pub fn add(&self, declaration: Declaration) -> Result<Arc<Client>, CompileError> {
        let program = Program::compile(&declaration.spec)?;
        let names: Vec<String> = declaration.spec["topics"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|topic| topic["name"].as_str().unwrap_or_default().trim().to_owned())
            .collect();
        let files = Files::new(&declaration.broker, &names, declaration.directories);
        let client = Arc::new(Client {
            id: declaration.id,
            broker: declaration.broker,
            program,
            counters: Arc::default(),
            topics: names.iter().map(|_| Counters::default()).collect(),
            files,
        });
        self.all.write().insert(client.id, client.clone());
        self.generation.fetch_add(1, Ordering::Release);
        Ok(client)
    }

    /// Give a client other mappings of the same topics, from the next message on; its counters go on. False when there
    /// is none of this id.
    pub fn update(&self, id: u32, spec: &Value) -> Result<bool, CompileError> {
        let program = Program::compile(spec)?;
        let mut all = self.all.write();
        let Some(client) = all.get_mut(&id) else {
            return Ok(false);
        };
        let topics = spec["topics"].as_array().map_or(0, Vec::len);
        if topics != client.topics.len() {
            return Err(CompileError {
                code: 124,
                message: format!("{topics} topics in place of {}", client.topics.len()),
            });
        }
        *client = Arc::new(Client {
            id,
            broker: client.broker.clone(),
            program,
            counters: client.counters.clone(),
            topics: client.topics.clone(),
            files: client.files.clone(),
        });
        drop(all);
        self.generation.fetch_add(1, Ordering::Release);
        Ok(true)
    }

    /// End a client; false when there is none of this id.
    pub fn remove(&self, id: u32) -> bool {
        let removed = self.all.write().remove(&id).is_some();
        self.dynamic.forget(id);
        self.generation.fetch_add(1, Ordering::Release);
        removed
    }

    pub fn get(&self, id: u32) -> Option<Arc<Client>> {
        self.all.read().get(&id).cloned()
    }

    /// Changes when `routes` may answer otherwise.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Every client of a broker that takes a topic, each by its most specific filter.
    pub fn routes(&self, broker: &str, topic: &str) -> Routes {
        let all = self.all.read();
        let own = all.values().filter(|client| client.broker == broker);
        own.filter_map(|client| Some((client.clone(), client.program.topic(topic)?)))
            .collect()
    }

    /// Whether any client of a broker takes a topic.
    pub fn takes(&self, broker: &str, topic: &str) -> bool {
        let all = self.all.read();
        all.values()
            .any(|client| client.broker == broker && client.program.topic(topic).is_some())
    }

    /// Threads that map large rounds, from the next one on; none = as many as the entry has by itself.
    pub fn set_threads(&self, threads: Option<usize>) {
        self.threads
            .store(threads.map_or(0, |n| n.max(1)), Ordering::Relaxed);
    }

    pub fn threads(&self) -> Option<usize> {
        Some(self.threads.load(Ordering::Relaxed)).filter(|&n| n > 0)
    }

    /// Messages that failed since the last call, the first ones, and how many more there were.
    pub fn take_faults(&self) -> (Vec<Fault>, u64) {
        self.faults.take()
    }

    /// Dynamic topics that came since the last call, and how many messages were of more than are known or collected.
    pub fn take_topics(&self) -> (Vec<DynamicTopic>, u64) {
        self.dynamic.take_new()
    }

    /// Whether the last messages of dynamic topics are collected from now on.
    pub fn collect_latest(&self, on: bool) {
        self.dynamic.collect(on);
    }

    /// What dynamic topics said last, of those that said something since the last call.
    pub fn take_latest(&self) -> Vec<Latest> {
        self.dynamic.take_latest()
    }

    /// Returns when logged messages are in their files.
    pub fn flush_log(&self) {
        self.log.flush();
    }

    /// Why messages could not be logged, since the last call.
    pub fn take_log_error(&self) -> String {
        self.log.take_error()
    }
}
