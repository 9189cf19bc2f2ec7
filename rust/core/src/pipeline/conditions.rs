//! Streaming conditions: rows are looked at before they are buffered (spec: brokers and mapping, section 11). Only the
//! tests are made here; commands wait in a bounded queue for whoever runs them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use foldhash::HashMap;
use parking_lot::{Mutex, RwLock};

use super::Key;
use crate::mapping::{Command, CompileError, Condition, Json};
use crate::rows::time::{self, Style};
use crate::rows::{Cell, Chunk};

/// Commands that may wait.
const WAITING: usize = 1_000;

/// What is done with a row that fulfils a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// The row is dropped, and no later condition looks at it.
    Ignore,
    Command(String),
}

#[derive(Debug)]
struct Rule {
    id: u32,
    condition: Condition,
    then: Then,
    /// How often it may still act; none = always.
    left: Option<AtomicU64>,
}

impl Rule {
    fn may_act(&self) -> bool {
        let Some(left) = &self.left else {
            return true;
        };
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
            .is_ok()
    }
}

/// A command that is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    pub command: String,
    /// What it is about: the table and the row, or what a script of a policy saw. JSON.
    pub dbms: String,
    pub table: String,
    pub row: String,
}

impl From<Command> for Action {
    fn from(command: Command) -> Self {
        Self {
            command: command.line,
            dbms: String::new(),
            table: String::new(),
            row: command.seen,
        }
    }
}

/// Conditions of all tables, and commands that wait.
#[derive(Default)]
pub(super) struct Conditions {
    any: AtomicBool,
    of_tables: RwLock<HashMap<Key, Arc<Vec<Arc<Rule>>>>>,
    actions: Mutex<VecDeque<Action>>,
    missed: AtomicU64,
}

impl Conditions {
    /// Add a condition behind those of its table.
    pub fn add(
        &self,
        key: &Key,
        id: u32,
        condition: &str,
        then: Then,
        limit: Option<u64>,
    ) -> Result<(), CompileError> {
        let rule = Arc::new(Rule {
            id,
            condition: Condition::compile(condition)?,
            then,
            left: limit.map(AtomicU64::new),
        });
        let mut of_tables = self.of_tables.write();
        let rules = of_tables.entry(key.clone()).or_default();
        Arc::make_mut(rules).push(rule);
        self.any.store(true, Ordering::Release);
        Ok(())
    }

    pub fn remove(&self, key: &Key, id: u32) {
        let mut of_tables = self.of_tables.write();
        if let Some(rules) = of_tables.get_mut(key) {
            Arc::make_mut(rules).retain(|rule| rule.id != id);
        }
        of_tables.retain(|_, rules| !rules.is_empty());
        self.any.store(!of_tables.is_empty(), Ordering::Release);
    }

    /// The rows that stay, when any is dropped; whether commands wait that did not before.
    pub fn apply(&self, key: &Key, chunk: &Chunk) -> (Option<Vec<u32>>, bool) {
        if !self.any.load(Ordering::Acquire) {
            return (None, false);
        }
        let Some(rules) = self.of_tables.read().get(key).cloned() else {
            return (None, false);
        };
        let mut dropped = Vec::new();
        let mut acts = false;
        for number in 0..chunk.len {
            let row = row_of(chunk, number);
            for rule in rules.iter() {
                // A path that cannot be followed is a condition that does not hold.
                if !rule.condition.holds(&row).unwrap_or(false) || !rule.may_act() {
                    continue;
                }
                match &rule.then {
                    Then::Ignore => {
                        dropped.push(number as u32);
                        break;
                    }
                    Then::Command(command) => {
                        acts |= self.act(Action {
                            command: command.clone(),
                            dbms: key.dbms.clone(),
                            table: key.table.clone(),
                            row: row.to_json(", ", ": "),
                        });
                    }
                }
            }
        }
        if dropped.is_empty() {
            return (None, acts);
        }
        let mut gone = dropped.into_iter().peekable();
        let kept = (0..chunk.len as u32).filter(|row| gone.next_if_eq(row).is_none());
        (Some(kept.collect()), acts)
    }

    /// Queue a command; whether it is the first one that waits. Too many are counted and dropped.
    pub fn act(&self, action: Action) -> bool {
        let mut actions = self.actions.lock();
        if actions.len() >= WAITING {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        actions.push_back(action);
        actions.len() == 1
    }

    /// Commands since the last call, and how many were dropped.
    pub fn take(&self) -> (Vec<Action>, u64) {
        let taken = self.actions.lock().drain(..).collect();
        (taken, self.missed.swap(0, Ordering::Relaxed))
    }
}

/// A row as conditions see it.
fn row_of(chunk: &Chunk, row: usize) -> Json<'_> {
    let fields = chunk.columns.iter().map(|column| {
        let value = match column.cell(row) {
            Cell::Null => Json::Null,
            Cell::Bool(b) => Json::Bool(b),
            Cell::Int(i) => Json::Int(i),
            Cell::Float(f) => Json::Float(f),
            Cell::BigInt(text) | Cell::Text(text) => Json::Text(text.into()),
            Cell::Time(us) => Json::Text(time::format(us, Style::Iso).as_str().to_owned().into()),
            Cell::Json(text) => {
                Json::parse(text.as_bytes()).unwrap_or_else(|_| Json::Text(text.into()))
            }
        };
        (column.name.as_str().into(), value)
    });
    Json::Object(fields.collect())
}
