//! Hash aggregation: the rows of scans become groups, groups of several scans become one result.
//!
//! SQLite groups by sorting, which costs more than the scan itself; a table of groups costs little. Rows of a time
//! series stand in time order, so the group of the row before is tried first.

mod budget;
mod columns;
pub mod key;
mod stats;
mod sum;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::HashMap;

use foldhash::fast::FixedState;

use self::budget::Budget;
pub use self::columns::to_chunk;
pub use self::stats::Gathered;
use self::stats::{Needs, Stats, cells_of};
pub use self::sum::Sum;
use super::bucket::Bucket;
use super::error::{QueryError, Result, parse_error};
use super::spec::{Function, GroupSpec, Key};
use super::value::{Cell, Val, compare};

/// One row of a scan.
pub trait Row {
    /// The value of a column; null for a column that the scan lacks.
    fn cell(&self, column: usize) -> Cell<'_>;
}

impl Row for [Val] {
    fn cell(&self, column: usize) -> Cell<'_> {
        self.get(column).map_or(Cell::Null, Val::cell)
    }
}

/// Bytes of a group beside its key and its statistics, about: entries of the table and of the vectors.
const GROUP_BYTES: usize = 64;

/// How a key is computed.
#[derive(Clone, Debug)]
enum KeyMaker {
    Column(usize),
    Bucket(usize, Bucket),
}

/// What a scan does with a row, made once from the spec.
#[derive(Clone, Debug)]
struct Layout {
    keys: Vec<KeyMaker>,
    /// Columns that aggregates read, each once.
    columns: Vec<(usize, Needs)>,
    /// (function, position in `columns`)
    aggregates: Vec<(Function, usize)>,
}

impl Layout {
    fn new(spec: &GroupSpec) -> Result<Self> {
        let mut columns: Vec<(usize, Needs)> = Vec::new();
        let mut aggregates = Vec::with_capacity(spec.aggregates.len());
        for aggregate in &spec.aggregates {
            let at = match (aggregate.function, aggregate.column) {
                (Function::CountRows, _) => 0,
                (function, Some(column)) => {
                    let at = columns.iter().position(|(c, _)| *c == column);
                    let at = at.unwrap_or_else(|| {
                        columns.push((column, Needs::default()));
                        columns.len() - 1
                    });
                    columns[at].1.add(function);
                    at
                }
                (function, None) => {
                    return parse_error(format!("the function {function:?} needs a column"));
                }
            };
            aggregates.push((aggregate.function, at));
        }
        let keys = spec.keys.iter().map(|key| match key {
            Key::Column(column) => KeyMaker::Column(*column),
            Key::Bucket { column, unit, n } => KeyMaker::Bucket(*column, Bucket::new(*unit, *n)),
        });
        Ok(Self {
            keys: keys.collect(),
            columns,
            aggregates,
        })
    }
}

/// The groups of one scan, or of several merged.
#[derive(Debug)]
pub struct Groups {
    layout: Layout,
    /// Bytes of the keys to the number of the group.
    index: HashMap<Box<[u8]>, u32, FixedState>,
    /// By group.
    rows: Vec<i64>,
    /// By group and column.
    stats: Vec<Stats>,
    /// By group and key: the first value was a float that stands in the key as an integer.
    floats: Vec<bool>,
    /// Key and number of the last row's group.
    last: Vec<u8>,
    last_group: Option<u32>,
    scratch: Vec<u8>,
    budget: Budget,
}

impl Groups {
    /// Raises a parse error for a spec that makes no sense. `limit_bytes` bounds these groups and all that `empty`
    /// makes from them, together.
    pub fn new(spec: &GroupSpec, limit_bytes: usize) -> Result<Self> {
        let layout = Layout::new(spec)?;
        Ok(Self::with(layout, Budget::new(limit_bytes)))
    }

    /// No groups, of the same spec and under the same bound.
    #[must_use]
    pub fn empty(&self) -> Self {
        Self::with(self.layout.clone(), self.budget.share())
    }

    fn with(layout: Layout, budget: Budget) -> Self {
        Self {
            layout,
            index: HashMap::default(),
            rows: Vec::new(),
            stats: Vec::new(),
            floats: Vec::new(),
            last: Vec::new(),
            last_group: None,
            scratch: Vec::new(),
            budget,
        }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Columns that a scan must have at least.
    pub fn width(&self) -> usize {
        let keys = self.layout.keys.iter().map(|key| match key {
            KeyMaker::Column(column) | KeyMaker::Bucket(column, _) => column + 1,
        });
        let columns = self.layout.columns.iter().map(|(column, _)| column + 1);
        keys.chain(columns).max().unwrap_or(0)
    }

    /// Take a row in.
    #[inline]
    pub fn add<R: Row + ?Sized>(&mut self, row: &R) -> Result<()> {
        let group = self.group_of(row)? as usize;
        self.rows[group] += 1;
        let columns = self.layout.columns.len();
        let stats = &mut self.stats[group * columns..(group + 1) * columns];
        for (held, (column, needs)) in stats.iter_mut().zip(&self.layout.columns) {
            held.add(
                row.cell(*column),
                *needs,
                &mut self.scratch,
                &mut self.budget,
            )?;
        }
        Ok(())
    }

    /// Columns of the rows that `add_gathered` takes: the keys, the number of rows, then the cells of each column.
    pub fn gathered_width(&self) -> usize {
        let cells = self
            .layout
            .columns
            .iter()
            .map(|(_, needs)| cells_of(*needs));
        self.layout.keys.len() + 1 + cells.sum::<usize>()
    }

    /// Take in rows that a database server has grouped. Its groups may be smaller than ours; the place of a bucket
    /// holds any time in it. Once a sum is not exact, the groups are of no more use.
    pub fn add_gathered<R: Row + ?Sized>(&mut self, row: &R) -> Result<Gathered> {
        let keys = self.layout.keys.len();
        let group = self.gathered_group(row)? as usize;
        self.rows[group] += match row.cell(keys) {
            Cell::Int(rows) => rows,
            _ => 0,
        };
        let columns = self.layout.columns.len();
        let stats = &mut self.stats[group * columns..(group + 1) * columns];
        let mut at = keys;
        let mut gathered = Gathered::Exactly;
        for (held, (_, needs)) in stats.iter_mut().zip(&self.layout.columns) {
            let next = || {
                at += 1;
                row.cell(at)
            };
            let one = held.add_gathered(next, *needs, &mut self.scratch, &mut self.budget)?;
            if one == Gathered::NotExactly {
                gathered = one;
            }
        }
        Ok(gathered)
    }

    /// The group of keys that stand first in a row.
    fn gathered_group<R: Row + ?Sized>(&mut self, row: &R) -> Result<u32> {
        self.scratch.clear();
        let mut floats = Vec::with_capacity(self.layout.keys.len());
        for (at, key) in self.layout.keys.iter_mut().enumerate() {
            let cell = row.cell(at);
            floats.push(false);
            match (key, cell) {
                (KeyMaker::Column(_), cell) => {
                    floats[at] = matches!(cell, Cell::Float(_));
                    key::push(&mut self.scratch, cell);
                }
                (KeyMaker::Bucket(_, bucket), Cell::Int(us)) => {
                    key::push_int(&mut self.scratch, bucket.key(us));
                }
                (KeyMaker::Bucket(..), Cell::Null) => {
                    key::push(&mut self.scratch, Cell::Null);
                }
                (KeyMaker::Bucket(..), other) => return Err(no_time(other)),
            }
        }
        if let Some(&group) = self.index.get(&self.scratch[..]) {
            return Ok(group);
        }
        self.floats.extend(floats);
        self.open_key(self.scratch.as_slice().into())
    }

    #[inline]
    fn group_of<R: Row + ?Sized>(&mut self, row: &R) -> Result<u32> {
        // One bucket: the common question. As long as the row before lies in the same one there is nothing to do.
        if let [KeyMaker::Bucket(column, bucket)] = &self.layout.keys[..]
            && let Some(group) = self.last_group
            && let Cell::Int(us) = row.cell(*column)
            && bucket.same(us)
            && !key::is_null(&self.last)
        {
            return Ok(group);
        }
        if self.layout.keys.is_empty()
            && let Some(group) = self.last_group
        {
            return Ok(group);
        }
        self.scratch.clear();
        for key in &mut self.layout.keys {
            match key {
                KeyMaker::Column(column) => {
                    key::push(&mut self.scratch, row.cell(*column));
                }
                KeyMaker::Bucket(column, bucket) => match row.cell(*column) {
                    Cell::Int(us) => key::push_int(&mut self.scratch, bucket.key(us)),
                    Cell::Null => {
                        key::push(&mut self.scratch, Cell::Null);
                    }
                    other => return Err(no_time(other)),
                },
            }
        }
        if let Some(group) = self.last_group
            && self.scratch == self.last
        {
            return Ok(group);
        }
        let group = match self.index.get(&self.scratch[..]) {
            Some(&group) => group,
            None => self.open(row)?,
        };
        self.last_group = Some(group);
        std::mem::swap(&mut self.last, &mut self.scratch);
        Ok(group)
    }

    /// A group for the key in `scratch`.
    #[cold]
    fn open<R: Row + ?Sized>(&mut self, row: &R) -> Result<u32> {
        let Self { layout, floats, .. } = self;
        for key in &layout.keys {
            floats.push(match key {
                KeyMaker::Column(column) => matches!(row.cell(*column), Cell::Float(_)),
                KeyMaker::Bucket(..) => false,
            });
        }
        self.open_key(self.scratch.as_slice().into())
    }

    fn open_key(&mut self, key: Box<[u8]>) -> Result<u32> {
        let columns = self.layout.columns.len();
        self.budget
            .reserve(key.len() + GROUP_BYTES + columns * size_of::<Stats>())?;
        let group = u32::try_from(self.rows.len())
            .map_err(|_| QueryError::TooLarge("more than 2^32 groups".to_owned()))?;
        self.index.insert(key, group);
        self.rows.push(0);
        self.stats
            .resize_with(self.stats.len() + columns, Stats::default);
        Ok(group)
    }

    /// Take the groups of another scan of the same spec in. On an error the groups are of no more use.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        let Self {
            layout,
            index,
            rows,
            stats,
            floats,
            ..
        } = other;
        let (keys, columns) = (self.layout.keys.len(), self.layout.columns.len());
        if layout.keys.len() != keys || layout.columns.len() != columns {
            return parse_error("groups of different questions cannot be merged");
        }
        let mut order: Vec<(Box<[u8]>, u32)> = index.into_iter().collect();
        order.sort_unstable_by_key(|(_, group)| *group);
        let mut stats = stats.into_iter();
        for (key, from) in order {
            let to = if let Some(&group) = self.index.get(&key) {
                group as usize
            } else {
                let from = from as usize * keys;
                self.floats.extend_from_slice(&floats[from..from + keys]);
                self.open_key(key)? as usize
            };
            self.rows[to] += rows[from as usize];
            for held in &mut self.stats[to * columns..(to + 1) * columns] {
                if let Some(more) = stats.next() {
                    held.merge(more, &mut self.budget)?;
                }
            }
        }
        Ok(())
    }

    /// The result as columns of values: keys, then aggregates. Rows are in the order of the keys.
    pub fn finish(mut self) -> Result<Vec<Vec<Val>>> {
        if self.layout.keys.is_empty() && self.rows.is_empty() {
            self.open_key(Box::default())?;
        }
        let keys = self.layout.keys.len();
        let mut groups: Vec<(Vec<Val>, u32)> = Vec::with_capacity(self.rows.len());
        for (bytes, group) in std::mem::take(&mut self.index) {
            let mut values = Vec::with_capacity(keys);
            let mut rest = &bytes[..];
            for at in 0..keys {
                let (value, after) = key::take(rest);
                values.push(match value {
                    Val::Int(whole) if self.floats[group as usize * keys + at] => {
                        Val::Float(whole as f64)
                    }
                    other => other,
                });
                rest = after;
            }
            groups.push((values, group));
        }
        groups.sort_unstable_by(|(a, _), (b, _)| compare_all(a, b));
        let width = keys + self.layout.aggregates.len();
        let mut columns: Vec<Vec<Val>> = (0..width)
            .map(|_| Vec::with_capacity(groups.len()))
            .collect();
        let stride = self.layout.columns.len();
        for (values, group) in groups {
            let group = group as usize;
            for (column, value) in columns.iter_mut().zip(values) {
                column.push(value);
            }
            for (column, (function, at)) in columns[keys..].iter_mut().zip(&self.layout.aggregates)
            {
                let rows = self.rows[group];
                column.push(match function {
                    Function::CountRows => Val::Int(rows),
                    function => self.stats[group * stride + at].value(*function),
                });
            }
        }
        Ok(columns)
    }
}

fn compare_all(a: &[Val], b: &[Val]) -> Ordering {
    a.iter()
        .zip(b)
        .map(|(a, b)| compare(a.cell(), b.cell()))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

#[cold]
fn no_time(cell: Cell<'_>) -> QueryError {
    QueryError::Parse(format!(
        "increments needs a time column; it met the value {:?}",
        cell.to_val()
    ))
}
