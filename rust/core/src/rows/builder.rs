//! Chunks value by value: what the parser and the mapping engine write into.

use foldhash::{HashMap, HashMapExt};

use super::time::{self, Zone};
use super::{Bitmap, Cell, Chunk, Column, ColumnData, LogicalType, Schema, TextColumn, Value};
use crate::names;

/// Columns of a chunk at most: SQLite's limit less the automatic ones.
pub const MAX_COLUMNS: usize = 1_996;

/// Keys up to this number are searched one by one; above, by hash.
const FEW: usize = 16;

/// More different names than a table can have columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_COLUMNS} different names")]
pub struct TooManyColumns;

/// What a schema asks of values while they are built; everything else waits for `fit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    AsGiven,
    Time,
    Float,
}

impl From<LogicalType> for Want {
    fn from(kind: LogicalType) -> Self {
        match kind {
            LogicalType::Timestamp => Self::Time,
            LogicalType::Float => Self::Float,
            _ => Self::AsGiven,
        }
    }
}

/// One column in the making. Until the first value it only counts nulls.
#[derive(Debug)]
pub(super) struct ColumnBuilder {
    name: String,
    want: Want,
    data: Option<ColumnData>,
    validity: Option<Bitmap>,
    len: usize,
}

impl ColumnBuilder {
    pub fn new(name: String) -> Self {
        Self {
            name,
            want: Want::AsGiven,
            data: None,
            validity: None,
            len: 0,
        }
    }

    /// Set the value of row `row`; rows between become null, a value already there is replaced.
    #[inline]
    pub fn set(&mut self, row: usize, cell: Cell<'_>, zone: &Zone) {
        if self.len != row {
            self.seek(row);
        }
        self.push(cell, zone);
    }

    #[cold]
    fn seek(&mut self, row: usize) {
        if self.len > row {
            self.truncate(row);
        }
        while self.len < row {
            self.push_null();
        }
    }

    #[inline]
    pub fn push(&mut self, cell: Cell<'_>, zone: &Zone) {
        let cell = match self.want {
            Want::AsGiven => cell,
            Want::Time => as_time(cell, zone),
            Want::Float => match cell {
                Cell::Int(i) => Cell::Float(i as f64),
                other => other,
            },
        };
        match (&mut self.data, cell) {
            (Some(ColumnData::Time(v)), Cell::Time(us)) => v.push(us),
            (Some(ColumnData::Text(v)), Cell::Text(text)) if !text.is_empty() => v.push(text),
            (Some(ColumnData::Float(v)), Cell::Float(f)) if f.is_finite() => v.push(f),
            (Some(ColumnData::Int(v)), Cell::Int(i)) => v.push(i),
            (Some(ColumnData::Bool(v)), Cell::Bool(b)) => v.push(b),
            _ => return self.push_other(cell),
        }
        self.len += 1;
        if let Some(validity) = &mut self.validity {
            validity.push(true);
        }
    }

    fn push_other(&mut self, cell: Cell<'_>) {
        match cell {
            Cell::Null | Cell::Text("") => return self.push_null(),
            Cell::Float(f) if !f.is_finite() => return self.push_null(),
            _ => {}
        }
        match &mut self.data {
            None => self.begin(cell),
            Some(ColumnData::Mixed(values)) => values.push(cell.into()),
            Some(_) => {
                self.mix();
                if let Some(ColumnData::Mixed(values)) = &mut self.data {
                    values.push(cell.into());
                }
            }
        }
        self.len += 1;
        if let Some(validity) = &mut self.validity {
            validity.push(true);
        }
    }

    /// The first value decides the kind; the nulls before it get fillers.
    fn begin(&mut self, cell: Cell<'_>) {
        let n = self.len;
        if n > 0 {
            self.validity = Some(Bitmap::filled(n, false));
        }
        self.data = Some(match cell {
            Cell::Bool(b) => ColumnData::Bool(filled(n, false, b)),
            Cell::Int(i) => ColumnData::Int(filled(n, 0, i)),
            Cell::Float(f) => ColumnData::Float(filled(n, 0.0, f)),
            Cell::Time(us) => ColumnData::Time(filled(n, 0, us)),
            Cell::Text(text) => {
                let mut column = TextColumn::blank(n);
                column.push(text);
                ColumnData::Text(column)
            }
            Cell::Null | Cell::BigInt(_) | Cell::Json(_) => {
                ColumnData::Mixed(filled(n, Value::Null, cell.into()))
            }
        });
    }

    fn mix(&mut self) {
        let Some(data) = self.data.take() else {
            return;
        };
        let column = Column {
            name: String::new(),
            data,
            validity: self.validity.take(),
        };
        let values = (0..self.len).map(|row| column.cell(row).into()).collect();
        self.data = Some(ColumnData::Mixed(values));
        self.validity = column.validity;
    }

    pub fn push_null(&mut self) {
        if let Some(data) = &mut self.data {
            match data {
                ColumnData::Bool(v) => v.push(false),
                ColumnData::Int(v) | ColumnData::Time(v) => v.push(0),
                ColumnData::Float(v) => v.push(0.0),
                ColumnData::Text(v) => v.push(""),
                ColumnData::Mixed(v) => v.push(Value::Null),
            }
            let len = self.len;
            self.validity
                .get_or_insert_with(|| Bitmap::filled(len, true))
                .push(false);
        }
        self.len += 1;
    }

    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        match &mut self.data {
            Some(ColumnData::Bool(v)) => v.truncate(len),
            Some(ColumnData::Int(v) | ColumnData::Time(v)) => v.truncate(len),
            Some(ColumnData::Float(v)) => v.truncate(len),
            Some(ColumnData::Text(v)) => v.truncate(len),
            Some(ColumnData::Mixed(v)) => v.truncate(len),
            None => {}
        }
        if let Some(validity) = &mut self.validity {
            validity.truncate(len);
        }
        self.len = len;
    }

    pub fn finish(mut self, rows: usize) -> Column {
        while self.len < rows {
            self.push_null();
        }
        match self.data {
            Some(data) => Column {
                name: self.name,
                data,
                validity: self.validity.filter(|v| v.ones() < v.len()),
            },
            None => Column::nulls(self.name, rows),
        }
    }
}

fn filled<T: Clone>(n: usize, filler: T, last: T) -> Vec<T> {
    let mut values = vec![filler; n];
    values.push(last);
    values
}

/// The instant that a value of a timestamp column means, or the value itself if it means none.
#[inline]
fn as_time<'a>(cell: Cell<'a>, zone: &Zone) -> Cell<'a> {
    let us = match cell {
        Cell::Text(text) => time::parse(text, zone),
        Cell::Int(n) => time::epoch_us(n),
        Cell::Float(f) => time::epoch_us_f64(f),
        _ => None,
    };
    us.map_or(cell, Cell::Time)
}

/// A name as it came, the column it means, and the key that followed it last time.
#[derive(Debug)]
struct Key {
    raw: Box<[u8]>,
    /// `None`: the name is empty after sanitising; its values are dropped.
    column: Option<u32>,
    next: u32,
}

/// Builds a chunk row by row: `begin_row`, `push` for each value, `end_row`.
///
/// Names are sanitised; of equal names in a row the last wins. With a schema, values of timestamp
/// columns become instants and values of float columns floats; a value that can't stays as it is
/// (the column is then mixed) and `changes` or `fit` decide about it.
#[derive(Debug)]
pub struct ChunkBuilder {
    columns: Vec<ColumnBuilder>,
    by_name: HashMap<String, u32>,
    by_raw: HashMap<Box<[u8]>, u32>,
    keys: Vec<Key>,
    /// Key of the value pushed last; 0 at the start of a row.
    last: u32,
    rows: usize,
    columns_before: usize,
    touched: bool,
    zone: Zone,
}

impl ChunkBuilder {
    /// `zone` is the node's own: times with a blank and without an offset are in it.
    pub fn new(schema: Option<&Schema>, zone: &Zone) -> Self {
        let columns: Vec<ColumnBuilder> = schema
            .map(|s| {
                s.columns
                    .iter()
                    .map(|def| ColumnBuilder {
                        want: def.kind.into(),
                        ..ColumnBuilder::new(def.name.clone())
                    })
                    .collect()
            })
            .unwrap_or_default();
        let mut by_name = HashMap::new();
        if columns.len() > FEW {
            by_name = columns
                .iter()
                .enumerate()
                .map(|(i, c)| (c.name.clone(), i as u32))
                .collect();
        }
        Self {
            columns_before: columns.len(),
            columns,
            by_name,
            by_raw: HashMap::new(),
            keys: vec![Key {
                raw: Box::default(),
                column: None,
                next: 0,
            }],
            last: 0,
            rows: 0,
            touched: false,
            zone: zone.clone(),
        }
    }

    /// Rows ended so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns seen so far, with those of the schema.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    pub fn begin_row(&mut self) {
        self.last = 0;
        self.touched = false;
        self.columns_before = self.columns.len();
    }

    /// A value of the row begun. A name that is empty after sanitising is dropped.
    pub fn push(&mut self, name: &str, value: Cell<'_>) -> Result<(), TooManyColumns> {
        let column = match self.guess() {
            Some(raw) if raw == name.as_bytes() => self.take_guess(),
            _ => self.column_of(name.as_bytes(), || name.to_owned())?,
        };
        self.set(column, value);
        Ok(())
    }

    /// End the row; `false` (and no row) if nothing was pushed into it.
    pub fn end_row(&mut self) -> bool {
        if self.touched {
            self.rows += 1;
        }
        self.touched
    }

    /// Forget the row begun.
    pub fn abort_row(&mut self) {
        if self.columns.len() > self.columns_before {
            for column in self.columns.drain(self.columns_before..) {
                self.by_name.remove(&column.name);
            }
            // Keys may point at the columns dropped: learn them again.
            self.keys.truncate(1);
            self.keys[0].next = 0;
            self.by_raw.clear();
        }
        for column in &mut self.columns {
            column.truncate(self.rows);
        }
    }

    /// The rows. Columns of the schema come first, in its order; those without any value in the rows
    /// (not even a null) are left out.
    pub fn finish(self) -> Chunk {
        let rows = self.rows;
        Chunk {
            columns: self
                .columns
                .into_iter()
                .filter(|column| column.len > 0)
                .map(|column| column.finish(rows))
                .collect(),
            len: rows,
        }
    }

    /// The raw key that followed the last one in the row before.
    #[inline]
    pub(super) fn guess(&self) -> Option<&[u8]> {
        let next = self.keys[self.last as usize].next;
        (next != 0).then(|| &*self.keys[next as usize].raw)
    }

    /// Column of the guessed key, after a comparison said that it is right.
    #[inline]
    pub(super) fn take_guess(&mut self) -> Option<u32> {
        self.last = self.keys[self.last as usize].next;
        self.keys[self.last as usize].column
    }

    /// Column of a key that was not the guessed one; `name` decodes it when it is new.
    pub(super) fn column_of(
        &mut self,
        raw: &[u8],
        name: impl FnOnce() -> String,
    ) -> Result<Option<u32>, TooManyColumns> {
        let known = if self.keys.len() <= FEW {
            (1..self.keys.len()).find(|&i| &*self.keys[i].raw == raw)
        } else {
            self.by_raw.get(raw).map(|&i| i as usize)
        };
        let index = match known {
            Some(index) => index,
            None => self.learn(raw, &name())?,
        };
        self.keys[self.last as usize].next = index as u32;
        self.last = index as u32;
        Ok(self.keys[index].column)
    }

    fn learn(&mut self, raw: &[u8], name: &str) -> Result<usize, TooManyColumns> {
        // Many spellings of few names can't fill the memory either.
        if self.keys.len() > 4 * MAX_COLUMNS {
            return Err(TooManyColumns);
        }
        let column = match names::column_name(name) {
            Some(name) => Some(self.column_named(name)?),
            None => None,
        };
        let index = self.keys.len();
        self.keys.push(Key {
            raw: raw.into(),
            column,
            next: 0,
        });
        if self.keys.len() == FEW + 1 {
            self.by_raw = (1..self.keys.len())
                .map(|i| (self.keys[i].raw.clone(), i as u32))
                .collect();
        } else if self.keys.len() > FEW {
            self.by_raw.insert(raw.into(), index as u32);
        }
        Ok(index)
    }

    fn column_named(&mut self, name: String) -> Result<u32, TooManyColumns> {
        let known = if self.columns.len() <= FEW {
            self.columns
                .iter()
                .position(|c| c.name == name)
                .map(|i| i as u32)
        } else {
            self.by_name.get(&name).copied()
        };
        if let Some(index) = known {
            return Ok(index);
        }
        if self.columns.len() >= MAX_COLUMNS {
            return Err(TooManyColumns);
        }
        let index = self.columns.len() as u32;
        self.columns.push(ColumnBuilder::new(name));
        if self.columns.len() == FEW + 1 {
            self.by_name = self
                .columns
                .iter()
                .enumerate()
                .map(|(i, c)| (c.name.clone(), i as u32))
                .collect();
        } else if self.columns.len() > FEW {
            let name = self.columns[index as usize].name.clone();
            self.by_name.insert(name, index);
        }
        Ok(index)
    }

    /// The key that was taken last, as it came.
    pub(super) fn raw_key(&self) -> Option<&[u8]> {
        (self.last != 0).then(|| &*self.keys[self.last as usize].raw)
    }

    /// Set a value of the row begun.
    #[inline]
    pub(super) fn set(&mut self, column: Option<u32>, cell: Cell<'_>) {
        if let Some(column) = column {
            self.columns[column as usize].set(self.rows, cell, &self.zone);
            self.touched = true;
        }
    }
}
