//! All tables, the settings by scope, and who takes what.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flush::Threshold;
use super::positions::Positions;
use super::receipts::Held;
use super::table::{Table, TableStats};
use super::{Key, Outcome};
use crate::journal::Level;
use crate::rows::{ColumnDef, Schema};

/// How long rows that an operator was to book wait for one after the start.
const OPERATOR_WAIT: Duration = Duration::from_secs(10);

/// Values of the node, a database (no table) or a table.
#[derive(Debug)]
struct Scoped<T>(HashMap<Key, T>);

impl<T: Copy> Scoped<T> {
    fn set(&mut self, scope: Key, value: Option<T>) {
        match value {
            Some(value) => self.0.insert(scope, value),
            None => self.0.remove(&scope),
        };
    }

    /// The table's own value, else its database's, else the node's.
    fn of(&self, key: &Key) -> Option<T> {
        if self.0.is_empty() {
            return None;
        }
        let database = || self.0.get(&Key::new(&key.dbms, ""));
        let node = || self.0.get(&Key::new("", ""));
        self.0.get(key).or_else(database).or_else(node).copied()
    }
}

/// Somebody waits until everything up to these positions is stored.
struct Barrier {
    ticket: u64,
    targets: Vec<(Key, u64)>,
}

pub(super) struct Tables {
    known: BTreeMap<Key, Table>,
    attached: HashSet<String>,
    /// Databases that are about to be attached: their rows do not become files.
    expected: HashSet<String>,
    thresholds: Scoped<Threshold>,
    levels: Scoped<Level>,
    barriers: Vec<Barrier>,
    /// Rows that nobody stores become files; the position from which on without being asked.
    filing: Option<u64>,
    /// Memory of buffers and of flushes that are out.
    pub buffered: usize,
    pub receipts: Held,
    pub positions: Positions,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            attached: HashSet::new(),
            expected: HashSet::new(),
            thresholds: Scoped(HashMap::new()),
            levels: Scoped(HashMap::new()),
            barriers: Vec::new(),
            filing: None,
            buffered: 0,
            receipts: Held::default(),
            positions: Positions::default(),
        }
    }
}

impl Tables {
    pub fn table(&mut self, key: &Key) -> &mut Table {
        if !self.known.contains_key(key) {
            self.known.insert(key.clone(), Table::default());
        }
        // Just inserted if it was absent.
        self.known.entry(key.clone()).or_default()
    }

    pub fn schema(&self, key: &Key) -> Option<Arc<Schema>> {
        self.known.get(key)?.schema()
    }

    /// The schema, or what was declared for a table that is not there yet.
    pub fn expected(&self, key: &Key) -> Option<Arc<Schema>> {
        let table = self.known.get(key)?;
        let declared = || {
            let declared = table.declared();
            (!declared.columns.is_empty()).then(|| Arc::new(declared.clone()))
        };
        table.schema().or_else(declared)
    }

    /// Columns that a record of the table has to carry.
    pub fn undeclared(&self, key: &Key) -> &[ColumnDef] {
        self.known.get(key).map_or(&[], Table::undeclared)
    }

    pub fn of(&mut self, dbms: &str) -> impl Iterator<Item = (&Key, &mut Table)> {
        self.known
            .iter_mut()
            .filter(move |(key, _)| key.dbms == dbms)
    }

    // ---- settings

    pub fn set_threshold(&mut self, scope: Key, threshold: Option<Threshold>) {
        self.thresholds.set(scope, threshold);
    }

    pub fn set_level(&mut self, scope: Key, level: Option<Level>) {
        self.levels.set(scope, level);
    }

    pub fn threshold(&self, key: &Key) -> Threshold {
        self.thresholds.of(key).unwrap_or_default()
    }

    pub fn level(&self, key: &Key) -> Level {
        self.levels.of(key).unwrap_or(Level::Durable)
    }

    // ---- who takes what

    /// Rows of an earlier run that an operator was to book wait a little for the operator of this one (`reserve`).
    pub fn attach(&mut self, dbms: &str, reserve: bool) {
        self.attached.insert(dbms.to_owned());
        let until = reserve.then(|| Instant::now() + OPERATOR_WAIT);
        for (_, table) in self.of(dbms) {
            table.reserve(until);
        }
    }

    /// Nothing waits for an operator any longer.
    pub fn unreserve(&mut self) {
        for table in self.known.values_mut() {
            table.reserve(None);
        }
    }

    pub fn detach(&mut self, dbms: &str) {
        self.attached.remove(dbms);
    }

    pub fn expect(&mut self, dbms: &str, on: bool) {
        if on {
            self.expected.insert(dbms.to_owned());
        } else {
            self.expected.remove(dbms);
        }
    }

    /// Whether somebody stores the rows of a database, or makes files of them.
    fn is_stored(&self, dbms: &str) -> bool {
        self.is_attached(dbms) || (self.filing.is_some() && !self.expected.contains(dbms))
    }

    pub fn is_attached(&self, dbms: &str) -> bool {
        self.attached.contains(dbms)
    }

    pub fn set_filing(&mut self, from: Option<u64>) {
        self.filing = from;
    }

    fn earliest<'a>(
        found: impl Iterator<Item = (&'a Key, Option<Instant>)>,
    ) -> Option<(Instant, Key)> {
        found
            .filter_map(|(key, at)| at.map(|at| (at, key)))
            .min()
            .map(|(at, key)| (at, key.clone()))
    }

    /// The table of an attached database that is due first.
    pub fn next_due(&self, dbms: &str) -> Option<(Instant, Key)> {
        if !self.is_attached(dbms) {
            return None;
        }
        let of_dbms = self.known.iter().filter(|(key, _)| key.dbms == dbms);
        Self::earliest(of_dbms.map(|(key, table)| (key, table.due_at())))
    }

    /// The table whose rows become a file first.
    pub fn next_file(&self) -> Option<(Instant, Key)> {
        let cutoff = self.filing?;
        let free = self
            .known
            .iter()
            .filter(|(key, _)| !self.is_attached(&key.dbms) && self.is_stored(&key.dbms));
        Self::earliest(
            free.map(|(key, table)| (key, table.file_due_at(self.threshold(key), cutoff))),
        )
    }

    // ---- waiting until all is stored

    /// Make everything due that anybody stores.
    pub fn force(&mut self) {
        let keys = self.known.keys().filter(|key| self.is_stored(&key.dbms));
        for key in keys.cloned().collect::<Vec<_>>() {
            self.table(&key).force();
        }
    }

    /// `ticket` is told by `passed` when what is here now is stored, as far as anybody stores it.
    pub fn wait(&mut self, ticket: u64) {
        let targets = self.known.iter().filter_map(|(key, table)| {
            table.pending_from()?;
            Some((key.clone(), table.last()?))
        });
        self.barriers.push(Barrier {
            ticket,
            targets: targets.collect(),
        });
    }

    /// Waits that have ended.
    pub fn passed(&mut self) -> Vec<(u64, Outcome)> {
        let mut done = Vec::new();
        let mut barriers = std::mem::take(&mut self.barriers);
        barriers.retain_mut(|barrier| {
            barrier.targets.retain(|(key, last)| {
                let stored = self.is_stored(&key.dbms);
                let from = self.known.get(key).and_then(Table::pending_from);
                stored && from.is_some_and(|from| from <= *last)
            });
            if barrier.targets.is_empty() {
                done.push((barrier.ticket, Outcome::Passed));
            }
            !barrier.targets.is_empty()
        });
        self.barriers = barriers;
        done
    }

    // ---- state

    /// Memory of the list of what waits in the journal.
    pub fn waiting_memory(&mut self) -> usize {
        self.known
            .values_mut()
            .map(|table| table.waiting().memory())
            .sum()
    }

    /// The first segment that any table needs.
    pub fn needs_for_rows(&mut self) -> Option<u64> {
        self.known.values_mut().filter_map(Table::needs).min()
    }

    /// The first segment that is needed.
    pub fn needs(&mut self) -> Option<u64> {
        let rows = self.needs_for_rows();
        let others = [self.receipts.needs(), self.positions.needs()];
        rows.into_iter().chain(others.into_iter().flatten()).min()
    }

    pub fn stats(&self) -> Vec<(Key, TableStats)> {
        self.known
            .iter()
            .map(|(key, table)| (key.clone(), table.stats()))
            .collect()
    }
}
