//! Where rows go: one chunk per database, table, source and policy.

use std::borrow::Cow;

use super::script::Command;
use super::types::Held;
use crate::rows::time::Zone;
use crate::rows::{Chunk, ChunkBuilder, ColumnDef, LogicalType};

/// Rows of one target.
#[derive(Debug, PartialEq)]
pub struct Target {
    pub dbms: String,
    pub table: String,
    pub source: String,
    /// Id of the mapping policy, else `0`.
    pub instructions: String,
    /// Columns with the types that the mapping gives them; columns typed by the data are not among them.
    pub declared: Vec<ColumnDef>,
    pub chunk: Chunk,
}

/// A message, or a reading of it, that gave no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Element of the payload's list, from 1.
    pub element: usize,
    /// The reference's number.
    pub code: u16,
    pub reason: String,
}

/// What a payload became.
#[derive(Debug, Default, PartialEq)]
pub struct Mapped {
    /// Which topic of the program took the payload.
    pub topic: usize,
    pub targets: Vec<Target>,
    /// Elements of the payload.
    pub messages: usize,
    pub rejected: Vec<Rejected>,
    /// Fractions that int columns lost.
    pub cut: u64,
    /// Commands out of scripts.
    pub commands: Vec<Command>,
}

/// What became of one payload whose rows went to shared targets.
#[derive(Debug, Default, PartialEq)]
pub struct Tally {
    /// Elements of the payload.
    pub messages: usize,
    pub rejected: Vec<Rejected>,
    /// Fractions that int columns lost.
    pub cut: u64,
    /// Commands out of scripts.
    pub commands: Vec<Command>,
}

impl Tally {
    /// Elements of which something was rejected.
    pub fn failed(&self) -> usize {
        let mut elements: Vec<usize> = self.rejected.iter().map(|r| r.element).collect();
        elements.dedup(); // they are in order
        elements.len()
    }
}

impl Mapped {
    pub fn rows(&self) -> usize {
        self.targets.iter().map(|target| target.chunk.len).sum()
    }
}

/// Where a row goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place<'v> {
    pub dbms: Cow<'v, str>,
    pub table: Cow<'v, str>,
    pub source: Cow<'v, str>,
    pub instructions: &'v str,
}

/// One value of a row. The name is sanitised already.
#[derive(Debug)]
pub(super) struct Field<'v> {
    pub name: Cow<'v, str>,
    pub value: Held<'v>,
    /// The type the mapping declares, and whether an absent value means now.
    pub declared: Option<(LogicalType, bool)>,
}

/// A row before it goes into a chunk: a message is mapped whole before any of it is kept.
#[derive(Debug)]
pub(super) struct Row<'v> {
    pub place: Place<'v>,
    pub fields: Vec<Field<'v>>,
}

struct Open {
    dbms: String,
    table: String,
    source: String,
    instructions: String,
    declared: Vec<ColumnDef>,
    builder: ChunkBuilder,
}

/// The chunks of one payload, or of several, while they grow.
pub struct Targets<'z> {
    pub(super) zone: &'z Zone,
    open: Vec<Open>,
    last: usize,
    /// The highest number of a target that got a row since `begin`, and one.
    touched: usize,
}

impl<'z> Targets<'z> {
    pub fn new(zone: &'z Zone) -> Self {
        Self {
            zone,
            open: Vec::new(),
            last: 0,
            touched: 0,
        }
    }

    /// A payload begins.
    pub fn begin(&mut self) {
        self.touched = 0;
    }

    /// The last target that got a row of the payload.
    pub fn touched(&self) -> Option<usize> {
        self.touched.checked_sub(1)
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Add a row; a reason when the table would get too many columns.
    pub(super) fn add(&mut self, row: &Row<'_>) -> Result<(), String> {
        if row.fields.is_empty() {
            return Ok(());
        }
        let at = self.index(&row.place);
        let open = &mut self.open[at];
        open.builder.begin_row();
        for (index, field) in row.fields.iter().enumerate() {
            if let Err(problem) = open.builder.push(&field.name, field.value.cell()) {
                open.builder.abort_row();
                return Err(problem.to_string());
            }
            if let Some((kind, default_now)) = field.declared {
                declare(&mut open.declared, index, &field.name, kind, default_now);
            }
        }
        open.builder.end_row();
        self.touched = self.touched.max(at + 1);
        Ok(())
    }

    fn index(&mut self, place: &Place<'_>) -> usize {
        let is = |open: &Open| {
            open.table == place.table
                && open.dbms == place.dbms
                && open.source == place.source
                && open.instructions == place.instructions
        };
        if !self.open.get(self.last).is_some_and(is) {
            self.last = self.open.iter().position(is).unwrap_or_else(|| {
                self.open.push(Open {
                    dbms: place.dbms.to_string(),
                    table: place.table.to_string(),
                    source: place.source.to_string(),
                    instructions: place.instructions.to_owned(),
                    declared: Vec::new(),
                    builder: ChunkBuilder::new(None, self.zone),
                });
                self.open.len() - 1
            });
        }
        self.last
    }

    /// All targets in the order of their first row; one whose only row was taken back has none.
    pub fn finish(self) -> impl Iterator<Item = Target> {
        self.open.into_iter().map(|open| Target {
            dbms: open.dbms,
            table: open.table,
            source: open.source,
            instructions: open.instructions,
            declared: open.declared,
            chunk: open.builder.finish(),
        })
    }
}

/// Remember a column's type; `index` is where it most likely stands already.
fn declare(
    known: &mut Vec<ColumnDef>,
    index: usize,
    name: &str,
    kind: LogicalType,
    default_now: bool,
) {
    if known.get(index).is_some_and(|def| def.name == name)
        || known.iter().any(|def| def.name == name)
    {
        return;
    }
    known.push(ColumnDef {
        name: name.to_owned(),
        kind,
        default_now,
    });
}
