//! `Rows`: the Python face of a chunk.

use std::sync::Arc;

use edgelake_core::rows::{Chunk, ColumnData, Value, parse};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

type Columns = Vec<(String, String, bool)>;

#[pyclass(module = "edgelake._rust", frozen)]
pub struct Rows {
    chunk: Arc<Chunk>,
}

impl Rows {
    pub fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }
}

#[allow(clippy::needless_pass_by_value)] // what PyO3 extracts is owned
#[pymethods]
impl Rows {
    #[staticmethod]
    fn parse(payload: &[u8]) -> PyResult<Self> {
        let parsed = parse(payload, None).map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(Self {
            chunk: Arc::new(parsed.chunk),
        })
    }

    fn __len__(&self) -> usize {
        self.chunk.len
    }

    fn names(&self) -> Vec<String> {
        self.chunk.columns.iter().map(|c| c.name.clone()).collect()
    }

    fn changes(&self, schema: Columns) -> Columns {
        let mut found = Vec::new();
        for column in &self.chunk.columns {
            let ColumnData::Mixed(values) = &column.data else {
                continue;
            };
            let kind = values
                .iter()
                .find(|v| **v != Value::Null)
                .map_or("varchar", |v| match v {
                    Value::Bool(_) => "boolean",
                    Value::Int(_) => "int",
                    Value::Float(_) => "float",
                    _ => "varchar",
                });
            let kind = if column.name == "timestamp" && kind == "int" {
                "timestamp"
            } else {
                kind
            };
            match schema.iter().find(|c| c.0 == column.name) {
                None => found.push((column.name.clone(), kind.to_owned(), kind == "timestamp")),
                Some(c) if kind == "varchar" && c.1 != "varchar" => {
                    found.push((column.name.clone(), kind.to_owned(), false));
                }
                Some(_) => {}
            }
        }
        found
    }

    fn fit(&self, _schema: Columns, _now_us: i64) -> (Self, Vec<(usize, String)>) {
        (
            Self {
                chunk: Arc::clone(&self.chunk),
            },
            Vec::new(),
        )
    }
}
