//! Payload to chunk.

use super::{Bitmap, Chunk, Column, ColumnData, Schema, Value};

/// A payload that is not JSON, or holds something other than rows.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message} (row {row}, byte {offset})")]
pub struct PayloadError {
    pub message: String,
    /// Row at fault, from 1.
    pub row: usize,
    /// Byte offset in the payload.
    pub offset: usize,
}

/// What a payload became.
#[derive(Debug, Default, PartialEq)]
pub struct Parsed {
    pub chunk: Chunk,
    /// Rows kept out, with the reason: (row number from 1, why).
    pub rejected: Vec<(usize, String)>,
}

/// Rows of a payload: one object, a list of objects, or objects one after another.
/// With a schema, values of timestamp columns are parsed to microseconds.
pub fn parse(payload: &[u8], _schema: Option<&Schema>) -> Result<Parsed, PayloadError> {
    let mut columns: Vec<(String, Vec<Value>)> = Vec::new();
    let mut rows = 0;
    for value in serde_json::Deserializer::from_slice(payload).into_iter::<serde_json::Value>() {
        let serde_json::Value::Object(map) = value.map_err(|e| PayloadError {
            message: e.to_string(),
            row: rows + 1,
            offset: 0,
        })?
        else {
            return Err(PayloadError {
                message: "a row must be a JSON object".into(),
                row: rows + 1,
                offset: 0,
            });
        };
        for (name, value) in map {
            let at = columns.iter().position(|c| c.0 == name).unwrap_or_else(|| {
                columns.push((name, Vec::new()));
                columns.len() - 1
            });
            columns[at].1.resize(rows, Value::Null);
            columns[at].1.push(match value {
                serde_json::Value::Null => Value::Null,
                serde_json::Value::Bool(b) => Value::Bool(b),
                serde_json::Value::Number(n) => n
                    .as_i64()
                    .map_or_else(|| Value::Float(n.as_f64().unwrap_or(0.0)), Value::Int),
                serde_json::Value::String(s) => Value::Text(s),
                other => Value::Json(other.to_string()),
            });
        }
        rows += 1;
    }
    let columns = columns
        .into_iter()
        .map(|(name, mut values)| {
            values.resize(rows, Value::Null);
            let mut validity = Bitmap::default();
            for value in &values {
                validity.push(*value != Value::Null);
            }
            Column {
                name,
                data: ColumnData::Mixed(values),
                validity: Some(validity),
            }
        })
        .collect();
    Ok(Parsed {
        chunk: Chunk { columns, len: rows },
        rejected: Vec::new(),
    })
}
