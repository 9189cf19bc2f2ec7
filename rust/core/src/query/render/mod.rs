//! Rows as text: the formats of a result, row by row, in bounded memory (spec: query, section 11).

mod block;
mod cells;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use foldhash::fast::FixedState;

pub use self::block::{Block, BlockReader, Values};
use self::cells::Cells;
use self::table::Table;
use super::error::{QueryError, Result};
use super::group::{Row, key};
use super::spec::{Format, Nodes, NullText, Render};

const EMPTY: &[u8] = br#"{"reply" : "Empty data set"}"#;

/// Most values that `limit n per c` keeps count of.
const MAX_COUNTED: usize = 1_000_000;

/// Writes a result: `row` for each row, then `finish`.
#[derive(Debug)]
pub struct Renderer {
    spec: Render,
    cells: Cells,
    /// What stands before each value of a json row: `{"a": `, `, "b": `.
    heads: Vec<Vec<u8>>,
    table: Option<Table>,
    counted: Counted,
    rows: u64,
}

impl Renderer {
    /// `now_us` is `now()` in casts. Raises CastFailed for a cast that reads a column which is not there.
    pub fn new(spec: Render, now_us: i64) -> Result<Self> {
        let cells = Cells::new(&spec, now_us)?;
        let heads = spec.outputs.iter().enumerate().map(|(at, output)| {
            if spec.format == Format::Peer {
                let open = if at == 0 { r#"{"Query":[{"# } else { "," };
                return format!("{open}\"{at}\":").into_bytes();
            }
            let mut head = if at == 0 {
                b"{".to_vec()
            } else {
                b", ".to_vec()
            };
            cells::push_text(&mut head, &output.title);
            head.extend_from_slice(b": ");
            head
        });
        let heads = heads.collect();
        let table = (spec.format == Format::Table).then(|| Table::new(&spec.outputs));
        Ok(Self {
            counted: Counted::new(spec.per_column_limit),
            spec,
            cells,
            heads,
            table,
            rows: 0,
        })
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Nodes of the statistics, where they are known late.
    pub fn set_nodes(&mut self, target: u32, participating: u32) {
        self.spec.nodes = Nodes {
            target,
            participating,
        };
    }

    /// Append a row. Raises CastFailed.
    pub fn row<R: Row + ?Sized>(&mut self, out: &mut Vec<u8>, row: &R) -> Result<()> {
        if !self.counted.admit(row)? {
            return Ok(());
        }
        if let Some(table) = &mut self.table {
            table.row(row, &mut self.cells)?;
            if table.is_full() {
                table.write(out, self.spec.line_end.bytes());
            }
        } else if self.spec.format == Format::Peer {
            for (at, head) in self.heads.iter().enumerate() {
                out.extend_from_slice(head);
                self.cells.push_peer(out, row, at)?;
            }
            out.extend_from_slice(b"}]}\n");
        } else if self.spec.format == Format::Csv {
            self.csv_head(out);
            for at in 0..self.heads.len() {
                if at > 0 {
                    out.push(b',');
                }
                self.cells.push_csv(out, row, at)?;
            }
            out.push(b'\n');
        } else {
            self.before_row(out);
            let null: &[u8] = match self.spec.json_null {
                NullText::Empty => b"\"\"",
                NullText::Null => b"null",
            };
            for (at, head) in self.heads.iter().enumerate() {
                out.extend_from_slice(head);
                self.cells.push_json(out, row, at, null)?;
            }
            out.extend_from_slice(if self.heads.is_empty() { b"{}" } else { b"}" });
            if self.spec.format == Format::Lines {
                out.push(b'\n');
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Append a row that another node printed as a line; the format is one of the json ones.
    pub fn printed(&mut self, out: &mut Vec<u8>, row: &[u8]) {
        self.before_row(out);
        out.extend_from_slice(row);
        self.rows += 1;
    }

    fn before_row(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match (self.spec.format, self.rows) {
            (Format::Json, 0) => br#"{"Query": ["#,
            (Format::JsonList, 0) => b"[",
            (Format::Json | Format::JsonList, _) => b",",
            _ => b"",
        });
        if self.rows > 0 && matches!(self.spec.format, Format::JsonList | Format::JsonOutput) {
            out.extend_from_slice(self.spec.line_end.bytes());
        }
    }

    /// The line of titles, before the first row.
    fn csv_head(&self, out: &mut Vec<u8>) {
        if self.rows > 0 {
            return;
        }
        for (at, output) in self.spec.outputs.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            cells::push_csv_text(out, &output.title);
        }
        out.push(b'\n');
    }

    /// Append what stands behind the rows.
    pub fn finish(&mut self, out: &mut Vec<u8>, elapsed_s: u64) {
        if matches!(self.spec.format, Format::Peer | Format::Lines) {
            return;
        }
        if self.spec.format == Format::Csv {
            return self.csv_head(out);
        }
        let end = self.spec.line_end.bytes();
        if self.rows == 0 {
            if self.spec.statistics {
                out.extend_from_slice(end);
                out.push(b'{');
                self.statistics(out, elapsed_s, b"");
                out.push(b'}');
            } else {
                out.extend_from_slice(EMPTY);
            }
            return;
        }
        match self.spec.format {
            Format::Json => {
                out.push(b']');
                if self.spec.statistics {
                    out.push(b',');
                    out.extend_from_slice(end);
                    self.statistics(out, elapsed_s, b"");
                }
                out.push(b'}');
                return;
            }
            Format::JsonList => out.push(b']'),
            Format::JsonOutput | Format::Peer | Format::Lines | Format::Csv => {}
            Format::Table => {
                if let Some(table) = &mut self.table {
                    table.write(out, end);
                }
            }
        }
        if self.spec.statistics {
            out.extend_from_slice(end);
            out.push(b'{');
            let mut between = Vec::new();
            if self.spec.format == Format::Table {
                between.extend_from_slice(end);
                between.extend_from_slice(&[b' '; 16]);
            }
            self.statistics(out, elapsed_s, &between);
            out.push(b'}');
        }
    }

    fn statistics(&self, out: &mut Vec<u8>, elapsed_s: u64, between: &[u8]) {
        let Nodes {
            target,
            participating,
        } = self.spec.nodes;
        let count = format!("\"Statistics\":[{{\"Count\": {},", self.rows);
        let time = format!(
            "\"Time\":\"{:02}:{:02}:{:02}\",",
            elapsed_s / 3600,
            elapsed_s / 60 % 60,
            elapsed_s % 60
        );
        let nodes = if target == participating {
            format!("\"Nodes\": {target}}}]")
        } else {
            format!("\"Target Nodes\": {target},\"Participating Nodes\": {participating}}}]")
        };
        out.extend_from_slice(count.as_bytes());
        out.extend_from_slice(between);
        out.extend_from_slice(time.as_bytes());
        out.extend_from_slice(between);
        out.extend_from_slice(nodes.as_bytes());
    }
}

/// `limit n per c`: rows of each value so far.
#[derive(Debug)]
struct Counted {
    limit: Option<(usize, u64)>,
    counts: HashMap<Box<[u8]>, u64, FixedState>,
    scratch: Vec<u8>,
}

impl Counted {
    fn new(limit: Option<(usize, u64)>) -> Self {
        Self {
            limit,
            counts: HashMap::default(),
            scratch: Vec::new(),
        }
    }

    /// Whether the row's value still has room. Raises TooLarge for too many values.
    fn admit<R: Row + ?Sized>(&mut self, row: &R) -> Result<bool> {
        let Some((column, most)) = self.limit else {
            return Ok(true);
        };
        self.scratch.clear();
        key::push(&mut self.scratch, row.cell(column));
        if let Some(count) = self.counts.get_mut(&self.scratch[..]) {
            *count += 1;
            return Ok(*count <= most);
        }
        if self.counts.len() == MAX_COUNTED {
            return Err(QueryError::TooLarge(format!(
                "'limit ... per' over more than {MAX_COUNTED} different values"
            )));
        }
        self.counts.insert(self.scratch.as_slice().into(), 1);
        Ok(most > 0)
    }
}
