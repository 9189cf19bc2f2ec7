//! Groups as a chunk, in which they enter the merge query.

use crate::rows::{Bitmap, Chunk, Column, ColumnData, TextColumn, Value};

use super::super::error::{QueryError, Result};
use super::super::value::Val;

/// Columns `c0`, `c1` ... of a result. Raises Unsupported for binary values, which a chunk cannot hold.
pub fn to_chunk(columns: Vec<Vec<Val>>) -> Result<Chunk> {
    let len = columns.first().map_or(0, Vec::len);
    let columns = columns
        .into_iter()
        .enumerate()
        .map(|(at, values)| column(at, values))
        .collect::<Result<_>>()?;
    Ok(Chunk { columns, len })
}

fn column(at: usize, values: Vec<Val>) -> Result<Column> {
    let mut validity = Bitmap::default();
    for value in &values {
        validity.push(!value.is_null());
    }
    let has_nulls = validity.ones() < values.len();
    let all = |wanted: fn(&Val) -> bool| values.iter().all(|v| v.is_null() || wanted(v));
    let data = if all(|v| matches!(v, Val::Int(_))) {
        let int = |v: &Val| if let Val::Int(i) = v { *i } else { 0 };
        ColumnData::Int(values.iter().map(int).collect())
    } else if all(|v| matches!(v, Val::Float(_))) {
        let float = |v: &Val| if let Val::Float(f) = v { *f } else { 0.0 };
        ColumnData::Float(values.iter().map(float).collect())
    } else if all(|v| matches!(v, Val::Text(_))) {
        let mut texts = TextColumn::default();
        for value in &values {
            texts.push(if let Val::Text(text) = value {
                text
            } else {
                ""
            });
        }
        ColumnData::Text(texts)
    } else {
        ColumnData::Mixed(values.into_iter().map(mixed).collect::<Result<_>>()?)
    };
    Ok(Column {
        name: format!("c{at}"),
        data,
        validity: has_nulls.then_some(validity),
    })
}

fn mixed(value: Val) -> Result<Value> {
    Ok(match value {
        Val::Null => Value::Null,
        Val::Int(i) => Value::Int(i),
        Val::Float(f) => Value::Float(f),
        Val::Text(text) => Value::Text(text.into_string()),
        Val::Blob(_) => {
            return Err(QueryError::Unsupported(
                "binary values cannot be grouped by, nor be the smallest or largest: use hex(column)"
                    .to_owned(),
            ));
        }
    })
}
