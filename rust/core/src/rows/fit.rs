//! Chunks against a table's schema: what must change in the table, and rows typed as its columns.

use std::net::IpAddr;

use super::infer::{column_kind, definition, is_uuid};
use super::time::{self, Style, Zone};
use super::{
    Bitmap, Cell, Chunk, Column, ColumnData, ColumnDef, LogicalType, Physical, Schema, TextColumn,
    Value,
};

/// Rows that fit, and those that don't with the reason (row from 0).
#[derive(Debug, Default, PartialEq)]
pub struct Fitted {
    pub chunk: Chunk,
    pub rejected: Vec<(usize, String)>,
}

/// Columns to add to the table or to retype so that every value of the chunk fits
/// (spec: ingestion, section 8, "Change").
pub fn changes(schema: &Schema, chunk: &Chunk, zone: &Zone) -> Vec<ColumnDef> {
    let mut found = Vec::new();
    for column in &chunk.columns {
        match schema.get(&column.name) {
            None => {
                let kind = column_kind(column, zone).unwrap_or(LogicalType::Varchar);
                let def = definition(&column.name, kind);
                // In a table that exists, the rows before have no value: no default may pretend they had.
                found.push(ColumnDef {
                    default_now: def.default_now && schema.columns.is_empty(),
                    ..def
                });
            }
            Some(def) => {
                let kind = widened(def.kind, column, zone);
                if kind != def.kind {
                    found.push(ColumnDef {
                        kind,
                        default_now: def.default_now && kind == LogicalType::Timestamp,
                        ..def.clone()
                    });
                }
            }
        }
    }
    found
}

fn widened(kind: LogicalType, column: &Column, zone: &Zone) -> LogicalType {
    let fits_whole = match (&column.data, kind) {
        (ColumnData::Time(_), LogicalType::Timestamp)
        | (ColumnData::Bool(_), LogicalType::Boolean)
        | (ColumnData::Float(_), LogicalType::Float | LogicalType::Decimal)
        | (ColumnData::Int(_), LogicalType::BigInt | LogicalType::Float | LogicalType::Decimal) => {
            true
        }
        (_, kind) => matches!(kind, LogicalType::Varchar | LogicalType::Char(_)),
    };
    if fits_whole {
        return kind;
    }
    let mut kind = kind;
    for row in 0..column.data.len() {
        let cell = column.cell(row);
        while !fits(kind, cell, zone) {
            kind = wider(kind, cell);
        }
    }
    kind
}

/// The next kind that may take the value: int, bigint, float; anything else becomes text.
fn wider(kind: LogicalType, cell: Cell<'_>) -> LogicalType {
    let number = match cell {
        Cell::Int(_) | Cell::Float(_) | Cell::BigInt(_) => true,
        Cell::Text(text) => text.parse::<f64>().is_ok_and(f64::is_finite),
        _ => false,
    };
    match (kind, cell) {
        // Digits beyond 64 bit stay digits in a decimal; a float would lose them.
        (LogicalType::Int | LogicalType::BigInt, Cell::BigInt(_)) => LogicalType::Decimal,
        (LogicalType::Int, Cell::Int(_)) => LogicalType::BigInt,
        (LogicalType::Int | LogicalType::BigInt, _) if number => LogicalType::Float,
        _ => LogicalType::Varchar,
    }
}

fn fits(kind: LogicalType, cell: Cell<'_>, zone: &Zone) -> bool {
    match (kind, cell) {
        (_, Cell::Null)
        | (LogicalType::Varchar | LogicalType::Char(_), _)
        | (LogicalType::Decimal, Cell::BigInt(_)) => true,
        (LogicalType::Boolean, cell) => as_bool(cell).is_some(),
        (LogicalType::Int, cell) => as_whole(cell).is_some_and(|n| i32::try_from(n).is_ok()),
        (LogicalType::BigInt, cell) => as_whole(cell).is_some(),
        (LogicalType::Float | LogicalType::Decimal, cell) => as_float(cell).is_some(),
        (LogicalType::Timestamp, cell) => as_instant(cell, zone).is_some(),
        (LogicalType::Date, Cell::Text(text)) => time::is_date(text),
        (LogicalType::Time, Cell::Text(text)) => time::is_clock(text),
        (LogicalType::Uuid, Cell::Text(text)) => is_uuid(text),
        (LogicalType::Cidr, Cell::Text(text)) => text.parse::<IpAddr>().is_ok(),
        _ => false,
    }
}

fn as_bool(cell: Cell<'_>) -> Option<bool> {
    match cell {
        Cell::Bool(b) => Some(b),
        Cell::Int(0) => Some(false),
        Cell::Int(1) => Some(true),
        Cell::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Cell::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn as_whole(cell: Cell<'_>) -> Option<i64> {
    match cell {
        Cell::Int(n) => Some(n),
        Cell::Float(f) if f.fract() == 0.0 && f.abs() < 9e15 => Some(f as i64),
        Cell::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn as_float(cell: Cell<'_>) -> Option<f64> {
    match cell {
        Cell::Int(n) => Some(n as f64),
        Cell::Float(f) => Some(f),
        Cell::BigInt(text) | Cell::Text(text) => text.parse().ok().filter(|f: &f64| f.is_finite()),
        _ => None,
    }
}

fn as_instant(cell: Cell<'_>, zone: &Zone) -> Option<i64> {
    match cell {
        Cell::Time(us) => Some(us),
        Cell::Text(text) => time::parse_value(text, zone),
        Cell::Int(n) => time::epoch_us(n),
        Cell::Float(f) => time::epoch_us_f64(f),
        _ => None,
    }
}

/// Text of a value in a text column.
fn push_text(cell: Cell<'_>, out: &mut TextColumn) {
    match cell {
        Cell::Text(text) | Cell::Json(text) | Cell::BigInt(text) => out.push(text),
        Cell::Bool(b) => out.push(if b { "true" } else { "false" }),
        Cell::Int(n) => out.push(&n.to_string()),
        Cell::Float(f) => out.push(&format!("{f:?}")),
        Cell::Time(us) => out.push(time::format(us, Style::Iso).as_str()),
        Cell::Null => out.push(""),
    }
}

/// Exactly the schema's columns, each typed by its kind, rows sorted by the first timestamp column.
///
/// An absent value of a column with `default_now` becomes `now_us`. A value that does not fit (the caller
/// did not apply `changes`, since widening is off) takes its row out.
pub fn fit(chunk: Chunk, schema: &Schema, now_us: i64, zone: &Zone) -> Fitted {
    let rows = chunk.len;
    let mut rejected: Vec<(usize, String)> = Vec::new();
    let mut given: Vec<Option<Column>> = chunk.columns.into_iter().map(Some).collect();
    let mut columns = Vec::with_capacity(schema.columns.len());
    for def in &schema.columns {
        let column = given
            .iter_mut()
            .find(|c| c.as_ref().is_some_and(|c| c.name == def.name))
            .and_then(Option::take)
            .unwrap_or_else(|| Column::nulls(def.name.clone(), rows));
        columns.push(typed(column, def, now_us, zone, &mut rejected));
    }
    let mut chunk = Chunk { columns, len: rows };
    if !rejected.is_empty() {
        rejected.sort_by_key(|r| r.0);
        rejected.dedup_by_key(|r| r.0);
        let out: Vec<usize> = rejected.iter().map(|r| r.0).collect();
        let kept: Vec<u32> = (0..rows)
            .filter(|row| out.binary_search(row).is_err())
            .map(|row| row as u32)
            .collect();
        chunk = chunk.take(&kept);
    }
    if let Some(def) = schema.time_column() {
        chunk = sorted_by(chunk, &def.name);
    }
    Fitted { chunk, rejected }
}

fn sorted_by(chunk: Chunk, name: &str) -> Chunk {
    let Some(Column {
        data: ColumnData::Time(times),
        ..
    }) = chunk.column(name)
    else {
        return chunk;
    };
    if times.is_sorted() {
        return chunk;
    }
    let mut order: Vec<u32> = (0..chunk.len as u32).collect();
    order.sort_by_key(|row| times[*row as usize]); // stable: equal times keep their order
    chunk.take(&order)
}

fn typed(
    column: Column,
    def: &ColumnDef,
    now_us: i64,
    zone: &Zone,
    rejected: &mut Vec<(usize, String)>,
) -> Column {
    let as_it_is = match (&column.data, def.kind) {
        (ColumnData::Time(_), LogicalType::Timestamp)
        | (ColumnData::Bool(_), LogicalType::Boolean)
        | (ColumnData::Float(_), LogicalType::Float | LogicalType::Decimal)
        | (ColumnData::Int(_), LogicalType::Int | LogicalType::BigInt | LogicalType::Decimal) => {
            true
        }
        (ColumnData::Text(_), kind) => matches!(kind, LogicalType::Varchar | LogicalType::Char(_)),
        _ => false,
    };
    if as_it_is && (!def.default_now || column.validity.is_none()) {
        return column;
    }
    let rows = column.data.len();
    let mut out = Sink::new(def.kind, rows);
    let mut validity = Bitmap::default();
    let mut all = true;
    for row in 0..rows {
        let mut cell = column.cell(row);
        let day;
        if cell == Cell::Null && def.default_now {
            cell = match def.kind {
                LogicalType::Date => {
                    day = time::format(now_us, Style::Date);
                    Cell::Text(day.as_str())
                }
                LogicalType::Time => {
                    day = time::format(now_us, Style::Clock);
                    Cell::Text(day.as_str())
                }
                _ => Cell::Time(now_us),
            };
        }
        let present = out.push(def.kind, cell, zone);
        if !present && cell != Cell::Null {
            rejected.push((
                row,
                format!("column {}: {} is no {}", def.name, shown(cell), def.kind),
            ));
        }
        validity.push(present);
        all &= present;
    }
    Column {
        name: column.name,
        data: out.0,
        validity: (!all).then_some(validity),
    }
}

fn shown(cell: Cell<'_>) -> String {
    let mut text = TextColumn::default();
    push_text(cell, &mut text);
    let cut: String = text.bytes.chars().take(40).collect();
    format!("'{cut}'")
}

struct Sink(ColumnData);

impl Sink {
    fn new(kind: LogicalType, rows: usize) -> Self {
        Self(match (kind, kind.physical()) {
            (LogicalType::Boolean, _) => ColumnData::Bool(Vec::with_capacity(rows)),
            (LogicalType::Timestamp, _) => ColumnData::Time(Vec::with_capacity(rows)),
            (_, Physical::Integer) => ColumnData::Int(Vec::with_capacity(rows)),
            (_, Physical::Real) => ColumnData::Float(Vec::with_capacity(rows)),
            (_, Physical::Number) => ColumnData::Mixed(Vec::with_capacity(rows)),
            (_, Physical::Text) => ColumnData::Text(TextColumn::default()),
        })
    }

    /// Push a value or, when there is none or it does not fit, a filler; whether there is one.
    fn push(&mut self, kind: LogicalType, cell: Cell<'_>, zone: &Zone) -> bool {
        match &mut self.0 {
            ColumnData::Bool(v) => put(v, as_bool(cell)),
            ColumnData::Time(v) => put(v, as_instant(cell, zone)),
            ColumnData::Int(v) => put(v, as_whole(cell)),
            ColumnData::Float(v) => put(v, as_float(cell)),
            ColumnData::Mixed(v) => {
                let value = match cell {
                    Cell::Int(n) => Some(Value::Int(n)),
                    Cell::BigInt(digits) => Some(Value::BigInt(digits.to_owned())),
                    Cell::Text(text) => match text.parse() {
                        Ok(n) => Some(Value::Int(n)),
                        Err(_) => as_float(cell).map(Value::Float),
                    },
                    other => as_float(other).map(Value::Float),
                };
                let present = value.is_some();
                v.push(value.unwrap_or(Value::Null));
                present
            }
            ColumnData::Text(v) => {
                let fit = cell != Cell::Null && fits(kind, cell, zone);
                push_text(if fit { cell } else { Cell::Null }, v);
                fit
            }
        }
    }
}

fn put<T: Default>(values: &mut Vec<T>, value: Option<T>) -> bool {
    let present = value.is_some();
    values.push(value.unwrap_or_default());
    present
}
