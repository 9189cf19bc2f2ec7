//! Rows as columns of plain values, for callers that compute with them.

use super::super::error::Result;
use super::super::group::Row;
use super::super::spec::Render;
use super::super::time::{Zone, parse_instant};
use super::super::value::{Cell, Kind, Val};
use super::Counted;
use super::cells::Cells;

/// Integers up to here are exact as floats.
const EXACT: u64 = 1 << 53;

/// The values of one column in a block. Nulls are 0, NaN or `Val::Null`, and marked in `Block::nulls`.
#[derive(Debug, PartialEq)]
pub enum Values {
    Bool(Vec<bool>),
    /// Integers, and microseconds UTC of times.
    Int(Vec<i64>),
    Float(Vec<f64>),
    /// Texts, binary values, and columns that hold more than one type.
    Any(Vec<Val>),
}

/// One column of a block.
#[derive(Debug, PartialEq)]
pub struct Block {
    pub values: Values,
    /// A byte a row, 1 = null; None = no row is.
    pub nulls: Option<Vec<u8>>,
}

/// Collects rows into blocks.
#[derive(Debug)]
pub struct BlockReader {
    cells: Cells,
    columns: Vec<Builder>,
    counted: Counted,
    rows: usize,
}

impl BlockReader {
    /// `now_us` is `now()` in casts. Raises CastFailed for a cast that reads a column which is not there.
    pub fn new(spec: &Render, now_us: i64) -> Result<Self> {
        let cells = Cells::new(spec, now_us)?;
        let columns = (0..spec.outputs.len()).map(|at| Builder::new(cells.kind(at)));
        Ok(Self {
            columns: columns.collect(),
            cells,
            counted: Counted::new(spec.per_column_limit),
            rows: 0,
        })
    }

    /// Rows in the block so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn row<R: Row + ?Sized>(&mut self, row: &R) -> Result<()> {
        if !self.counted.admit(row)? {
            return Ok(());
        }
        for (at, column) in self.columns.iter_mut().enumerate() {
            if self.cells.kind(at).is_some() {
                column.push(row.cell(at));
            } else {
                column.push(self.cells.cast(row, at)?.cell());
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// The block; the next one begins.
    pub fn take(&mut self) -> Vec<Block> {
        self.rows = 0;
        self.columns.iter_mut().map(Builder::take).collect()
    }
}

#[derive(Debug)]
enum Held {
    /// Nothing but so many nulls.
    Nulls(usize),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Any(Vec<Val>),
}

#[derive(Debug)]
struct Builder {
    kind: Kind,
    held: Held,
    nulls: Vec<u8>,
}

impl Builder {
    fn new(kind: Option<Kind>) -> Self {
        let kind = kind.unwrap_or(Kind::Any);
        Self {
            kind,
            held: Self::start(kind),
            nulls: Vec::new(),
        }
    }

    fn start(kind: Kind) -> Held {
        match kind {
            Kind::Bool | Kind::Int | Kind::Timestamp => Held::Int(Vec::new()),
            Kind::Float => Held::Float(Vec::new()),
            Kind::Text | Kind::Date | Kind::Clock => Held::Any(Vec::new()),
            Kind::Decimal | Kind::Any => Held::Nulls(0),
        }
    }

    #[inline]
    fn push(&mut self, cell: Cell<'_>) {
        self.nulls.push(u8::from(matches!(cell, Cell::Null)));
        match (&mut self.held, cell) {
            (Held::Int(held), Cell::Int(value)) => held.push(value),
            (Held::Float(held), Cell::Float(value)) => held.push(value),
            (Held::Any(held), cell) => held.push(cell.to_val()),
            (Held::Int(held), Cell::Null) => held.push(0),
            (Held::Float(held), Cell::Null) => held.push(f64::NAN),
            (Held::Nulls(count), Cell::Null) => *count += 1,
            (Held::Int(held), Cell::Text(text)) if self.kind == Kind::Timestamp => {
                // A table of plain SQL may keep times as UTC text.
                match parse_instant(text, &Zone::Utc) {
                    Ok(us) => held.push(us),
                    Err(_) => self.change(cell),
                }
            }
            (_, cell) => self.change(cell),
        }
    }

    /// Take a value of another type than those before.
    #[cold]
    fn change(&mut self, cell: Cell<'_>) {
        let exact = |value: i64| value.unsigned_abs() <= EXACT;
        let nulls = &self.nulls;
        let held = std::mem::replace(&mut self.held, Held::Nulls(0));
        self.held = match (held, cell) {
            (Held::Nulls(count), Cell::Int(value)) => {
                let mut held = vec![0; count];
                held.push(value);
                Held::Int(held)
            }
            (Held::Nulls(count), Cell::Float(value)) => {
                let mut held = vec![f64::NAN; count];
                held.push(value);
                Held::Float(held)
            }
            (Held::Int(ints), Cell::Float(value))
                if self.kind != Kind::Timestamp && ints.iter().all(|i| exact(*i)) =>
            {
                let float = |(at, i): (usize, i64)| match nulls.get(at) {
                    Some(0) => i as f64,
                    _ => f64::NAN,
                };
                let mut held: Vec<f64> = ints.into_iter().enumerate().map(float).collect();
                held.push(value);
                Held::Float(held)
            }
            (Held::Float(mut held), Cell::Int(value)) if exact(value) => {
                held.push(value as f64);
                Held::Float(held)
            }
            (held, cell) => {
                let mut values = any(held, nulls);
                values.push(cell.to_val());
                Held::Any(values)
            }
        };
    }

    fn take(&mut self) -> Block {
        let held = std::mem::replace(&mut self.held, Self::start(self.kind));
        let nulls = std::mem::take(&mut self.nulls);
        let values = match held {
            Held::Int(held)
                if self.kind == Kind::Bool && held.iter().all(|i| matches!(i, 0 | 1)) =>
            {
                Values::Bool(held.iter().map(|i| *i == 1).collect())
            }
            Held::Int(held) => Values::Int(held),
            Held::Float(held) => Values::Float(held),
            Held::Any(held) => Values::Any(held),
            Held::Nulls(count) => Values::Any(vec![Val::Null; count]),
        };
        let nulls = nulls.contains(&1).then_some(nulls);
        Block { values, nulls }
    }
}

fn any(held: Held, nulls: &[u8]) -> Vec<Val> {
    let shown = |at: usize, value: Val| match nulls.get(at) {
        Some(0) => value,
        _ => Val::Null,
    };
    match held {
        Held::Nulls(count) => vec![Val::Null; count],
        Held::Int(held) => {
            let values = held.into_iter().enumerate();
            values.map(|(at, i)| shown(at, Val::Int(i))).collect()
        }
        Held::Float(held) => {
            let values = held.into_iter().enumerate();
            values.map(|(at, f)| shown(at, Val::Float(f))).collect()
        }
        Held::Any(held) => held,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(kind: &str, casts: &[&str], values: Vec<Val>) -> Block {
        let spec = serde_json::json!({
            "outputs": [{"title": "a", "kind": kind, "casts": casts}], "zone": "utc"
        });
        let spec: Render = serde_json::from_value(spec).expect("a spec");
        let mut reader = BlockReader::new(&spec, 0).expect("a spec");
        // A block before leaves nothing behind.
        reader.row(&[Val::text("before")][..]).expect("a row");
        assert_eq!(reader.take().len(), 1);
        for value in values {
            reader.row(&[value][..]).expect("a row");
        }
        reader.take().pop().expect("a column")
    }

    #[test]
    fn columns_hold_the_narrowest_type_that_loses_nothing() {
        let (null, int, float) = (Val::Null, Val::Int(1), Val::Float(0.5));
        let cases = [
            (
                "int",
                vec![int.clone(), null.clone()],
                Values::Int(vec![1, 0]),
            ),
            (
                "bool",
                vec![int.clone(), Val::Int(0)],
                Values::Bool(vec![true, false]),
            ),
            ("bool", vec![Val::Int(2)], Values::Int(vec![2])),
            (
                "float",
                vec![float.clone(), int.clone()],
                Values::Float(vec![0.5, 1.0]),
            ),
            (
                "decimal",
                vec![int.clone(), float.clone()],
                Values::Float(vec![1.0, 0.5]),
            ),
            (
                "decimal",
                vec![int.clone(), int.clone()],
                Values::Int(vec![1, 1]),
            ),
            (
                "any",
                vec![null.clone(), int.clone()],
                Values::Int(vec![0, 1]),
            ),
            ("any", vec![null.clone()], Values::Any(vec![null.clone()])),
            (
                "any",
                vec![Val::Int(i64::MAX), float.clone()],
                Values::Any(vec![Val::Int(i64::MAX), float.clone()]),
            ),
            (
                "int",
                vec![int.clone(), null.clone(), Val::text("x")],
                Values::Any(vec![int.clone(), null, Val::text("x")]),
            ),
            (
                "text",
                vec![Val::text("x"), int],
                Values::Any(vec![Val::text("x"), Val::Int(1)]),
            ),
            (
                "timestamp",
                vec![Val::text("1970-01-01T00:00:01Z")],
                Values::Int(vec![1_000_000]),
            ),
        ];
        for (kind, values, expected) in cases {
            let has_nulls = values.iter().any(Val::is_null);
            let block = blocks(kind, &[], values);
            assert_eq!(block.values, expected, "{kind}");
            assert_eq!(block.nulls.is_some(), has_nulls, "{kind}");
        }
        let block = blocks("float", &[], vec![Val::Null, float]);
        assert!(matches!(&block.values, Values::Float(v) if v[0].is_nan()));
        assert_eq!(block.nulls, Some(vec![1, 0]));
    }

    #[test]
    fn cast_values_choose_their_type() {
        let block = blocks(
            "text",
            &["replace(before by 1)", "int"],
            vec![Val::text("7")],
        );
        assert_eq!(block.values, Values::Int(vec![7]));
        let block = blocks(
            "timestamp",
            &["replace(before by 1)", "ljust(4)"],
            vec![Val::Int(0)],
        );
        assert_eq!(block.values, Values::Any(vec![Val::text("1970")]));
    }
}
