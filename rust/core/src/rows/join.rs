//! Chunks joined and cut: what buffers and partitions need.

use std::ops::Range;

use super::time::{self, Style};
use super::{Bitmap, Cell, Chunk, Column, ColumnData, TextColumn, Value};

impl Chunk {
    /// Add the rows of another chunk behind. Columns that one side lacks are null there; columns whose
    /// kinds differ become mixed.
    pub fn append(&mut self, other: Chunk) {
        if self.len == 0 {
            *self = other;
            return;
        }
        let before = self.len;
        let rows = other.len;
        for column in other.columns {
            if let Some(own) = self.columns.iter_mut().find(|c| c.name == column.name) {
                own.extend(column, before);
            } else {
                let mut own = Column::nulls(column.name.clone(), before);
                own.extend(column, before);
                self.columns.push(own);
            }
        }
        self.len += rows;
        for column in &mut self.columns {
            let missing = self.len - column.data.len();
            if missing > 0 {
                let len = column.data.len();
                column.extend(Column::nulls(String::new(), missing), len);
            }
        }
    }

    /// The rows of these numbers, in this order. Numbers must be below the chunk's length.
    #[must_use]
    pub fn take(&self, rows: &[u32]) -> Chunk {
        Chunk {
            columns: self.columns.iter().map(|c| c.take(rows)).collect(),
            len: rows.len(),
        }
    }
}

impl Column {
    /// Add the values of another column behind the `before` values that are here.
    fn extend(&mut self, other: Column, before: usize) {
        let rows = other.data.len();
        // All-null columns are of no kind: they take the other's.
        if self.is_all_null() && !same_kind(&self.data, &other.data) {
            self.data = fillers(&other.data, before);
        }
        let mut other = other;
        if other.is_all_null() && !same_kind(&self.data, &other.data) {
            other.data = fillers(&self.data, rows);
        }
        if self.validity.is_some() || other.validity.is_some() {
            let validity = self
                .validity
                .get_or_insert_with(|| Bitmap::filled(before, true));
            for row in 0..rows {
                validity.push(!other.is_null(row));
            }
        }
        if !same_kind(&self.data, &other.data) {
            self.data = ColumnData::Mixed(mixed(self, before));
            other.data = ColumnData::Mixed(mixed(&other, rows));
        }
        match (&mut self.data, other.data) {
            (ColumnData::Bool(a), ColumnData::Bool(b)) => a.extend(b),
            (ColumnData::Int(a), ColumnData::Int(b))
            | (ColumnData::Time(a), ColumnData::Time(b)) => {
                a.extend(b);
            }
            (ColumnData::Float(a), ColumnData::Float(b)) => a.extend(b),
            (ColumnData::Text(a), ColumnData::Text(b)) => {
                let shift = a.bytes.len() as u32;
                a.bytes.push_str(&b.bytes);
                a.ends.extend(b.ends.iter().map(|end| end + shift));
            }
            (ColumnData::Mixed(a), ColumnData::Mixed(b)) => a.extend(b),
            _ => unreachable!("kinds were made equal above"),
        }
    }

    fn take(&self, rows: &[u32]) -> Column {
        let at = |row: &u32| *row as usize;
        let data = match &self.data {
            ColumnData::Bool(v) => ColumnData::Bool(rows.iter().map(|r| v[at(r)]).collect()),
            ColumnData::Int(v) => ColumnData::Int(rows.iter().map(|r| v[at(r)]).collect()),
            ColumnData::Float(v) => ColumnData::Float(rows.iter().map(|r| v[at(r)]).collect()),
            ColumnData::Time(v) => ColumnData::Time(rows.iter().map(|r| v[at(r)]).collect()),
            ColumnData::Text(v) => {
                let mut out = TextColumn::default();
                for row in rows {
                    out.push(v.get(at(row)));
                }
                ColumnData::Text(out)
            }
            ColumnData::Mixed(v) => {
                ColumnData::Mixed(rows.iter().map(|r| v[at(r)].clone()).collect())
            }
        };
        let validity = self.validity.as_ref().map(|bits| {
            let mut taken = Bitmap::default();
            for row in rows {
                taken.push(bits.get(at(row)));
            }
            taken
        });
        Column {
            name: self.name.clone(),
            data,
            validity,
        }
    }
}

fn same_kind(a: &ColumnData, b: &ColumnData) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// `len` fillers of the kind of `like`.
fn fillers(like: &ColumnData, len: usize) -> ColumnData {
    match like {
        ColumnData::Bool(_) => ColumnData::Bool(vec![false; len]),
        ColumnData::Int(_) => ColumnData::Int(vec![0; len]),
        ColumnData::Float(_) => ColumnData::Float(vec![0.0; len]),
        ColumnData::Time(_) => ColumnData::Time(vec![0; len]),
        ColumnData::Text(_) => ColumnData::Text(TextColumn::blank(len)),
        ColumnData::Mixed(_) => ColumnData::Mixed(vec![Value::Null; len]),
    }
}

/// The values as they are; the validity may already reach further (it was extended first).
fn mixed(column: &Column, len: usize) -> Vec<Value> {
    (0..len).map(|row| column.cell(row).into()).collect()
}

impl Chunk {
    /// Rows as one JSON object a line, times as `2025-01-01T00:00:00.000000Z`. Nulls are left out, but the first row
    /// names every column that has a value, so that a new table gets them in this order. Rows past the end are
    /// passed over.
    pub fn to_json_lines(&self, rows: Range<usize>) -> Vec<u8> {
        let rows = rows.start.min(self.len)..rows.end.min(self.len);
        let names: Vec<Vec<u8>> = self.columns.iter().map(|c| key(&c.name)).collect();
        let keys: usize = names.iter().map(Vec::len).sum();
        let mut out =
            Vec::with_capacity(rows.len() * (keys + self.reserved_bytes() * 2 / self.len.max(1)));
        let valued = |column: &Column| rows.clone().any(|row| !column.is_null(row));
        for row in rows.clone() {
            out.push(b'{');
            let mut first = true;
            for (column, name) in self.columns.iter().zip(&names) {
                let cell = column.cell(row);
                if cell == Cell::Null && !(row == rows.start && valued(column)) {
                    continue;
                }
                if !first {
                    out.extend_from_slice(b", ");
                }
                first = false;
                out.extend_from_slice(name);
                push_json(cell, &mut out);
            }
            out.extend_from_slice(b"}\n");
        }
        out
    }
}

/// `"name": `
fn key(name: &str) -> Vec<u8> {
    let mut text = Vec::new();
    push(&mut text, name);
    text.extend_from_slice(b": ");
    text
}

fn push_json(cell: Cell<'_>, out: &mut Vec<u8>) {
    match cell {
        Cell::Null => out.extend_from_slice(b"null"),
        Cell::Bool(b) => push(out, &b),
        Cell::Int(n) => push(out, &n),
        Cell::BigInt(text) | Cell::Json(text) => out.extend_from_slice(text.as_bytes()),
        Cell::Float(f) => push(out, &f),
        Cell::Text(text) => push(out, text),
        Cell::Time(us) => push(out, time::format(us, Style::Iso).as_str()),
    }
}

/// A scalar's JSON text.
fn push<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // A scalar has a JSON form, and memory takes every write.
    let _ = serde_json::to_writer(out, value);
}
