//! Chunks joined and cut: what buffers and partitions need.

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
    /// One JSON object a line, nulls left out, times as `2025-01-01T00:00:00.000000Z`.
    pub fn to_json_lines(&self) -> String {
        let mut out = String::with_capacity(self.reserved_bytes() * 2);
        for row in 0..self.len {
            out.push('{');
            let mut first = true;
            for column in &self.columns {
                let cell = column.cell(row);
                if cell == Cell::Null {
                    continue;
                }
                if !first {
                    out.push_str(", ");
                }
                first = false;
                push_quoted(&column.name, &mut out);
                out.push_str(": ");
                push_json(cell, &mut out);
            }
            out.push_str("}\n");
        }
        out
    }
}

fn push_quoted(text: &str, out: &mut String) {
    // A text always has a JSON form.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

fn push_json(cell: Cell<'_>, out: &mut String) {
    match cell {
        Cell::Null => out.push_str("null"),
        Cell::Bool(b) => out.push_str(if b { "true" } else { "false" }),
        Cell::Int(n) => out.push_str(&n.to_string()),
        Cell::BigInt(text) | Cell::Json(text) => out.push_str(text),
        Cell::Float(f) => out.push_str(&serde_json::to_string(&f).unwrap_or_default()),
        Cell::Text(text) => push_quoted(text, out),
        Cell::Time(us) => push_quoted(time::format(us, Style::Iso).as_str(), out),
    }
}
