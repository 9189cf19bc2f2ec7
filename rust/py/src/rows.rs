//! `Rows`: the Python face of a chunk, and of the names that go with it.

use std::sync::Arc;

use edgelake_core::names::{self, FileKind, FileName, Member, PartitionSpec};
use edgelake_core::rows::time::{self, Style, Zone};
use edgelake_core::rows::{self, Cell, Chunk, ColumnDef, ColumnError, Kind, Memory, Schema};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors;

/// A schema as it crosses the boundary: (name, kind, default now).
pub type Columns = Vec<(String, String, bool)>;

/// A column as it crosses the boundary: name, kind (`rows::Kind`), and as bytes its values, ends and nulls.
type Memories = Vec<(
    String,
    String,
    PyBuffer<u8>,
    Option<PyBuffer<u8>>,
    Option<PyBuffer<u8>>,
)>;

/// Payloads above this are parsed without the interpreter's lock.
pub const DETACH_BYTES: usize = 64 * 1024;

pub fn to_schema(columns: Columns) -> PyResult<Schema> {
    let columns = columns
        .into_iter()
        .map(|(name, kind, default_now)| {
            Ok(ColumnDef {
                name,
                kind: kind
                    .parse()
                    .map_err(|e: rows::UnknownType| PyValueError::new_err(e.to_string()))?,
                default_now,
            })
        })
        .collect::<PyResult<_>>()?;
    Ok(Schema { columns })
}

pub fn to_columns(defs: Vec<ColumnDef>) -> Columns {
    defs.into_iter()
        .map(|def| (def.name, def.kind.to_string(), def.default_now))
        .collect()
}

pub fn to_zone(name: Option<&str>) -> PyResult<Zone> {
    match name {
        Some(name) => Zone::named(name).map_err(|e| PyValueError::new_err(e.to_string())),
        None => Ok(Zone::local()),
    }
}

/// Rows as typed columns.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct Rows {
    chunk: Arc<Chunk>,
    zone: Zone,
}

impl Rows {
    pub fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }

    pub fn new(chunk: Chunk, zone: Zone) -> Self {
        Self {
            chunk: Arc::new(chunk),
            zone,
        }
    }
}

#[pymethods]
impl Rows {
    #[staticmethod]
    #[pyo3(signature = (payload, schema = None, timezone = None))]
    fn parse(
        py: Python<'_>,
        payload: &[u8],
        schema: Option<Columns>,
        timezone: Option<&str>,
    ) -> PyResult<Self> {
        let schema = schema.map(to_schema).transpose()?;
        let zone = to_zone(timezone)?;
        let read = || rows::parse(payload, schema.as_ref(), &zone);
        let parsed = if payload.len() > DETACH_BYTES {
            py.detach(read)
        } else {
            read()
        };
        match parsed {
            Ok(parsed) => Ok(Self::new(parsed.chunk, zone)),
            Err(error) => Err(errors::payload(py, &error)),
        }
    }

    /// Rows of columns that are memory already. Copies the memory first, so that nobody changes it meanwhile.
    #[staticmethod]
    #[pyo3(signature = (columns, timezone = None))]
    fn from_columns(py: Python<'_>, columns: Memories, timezone: Option<&str>) -> PyResult<Self> {
        let zone = to_zone(timezone)?;
        let bytes = |buffer: Option<PyBuffer<u8>>| buffer.map(|b| b.to_vec(py)).transpose();
        let mut copied = Vec::with_capacity(columns.len());
        for (name, kind, values, ends, nulls) in columns {
            let kind: Kind = kind
                .parse()
                .map_err(|error| errors::column(py, &name, &error))?;
            copied.push((name, kind, values.to_vec(py)?, bytes(ends)?, bytes(nulls)?));
        }
        py.detach(|| chunk_of(&copied))
            .map(|chunk| Self::new(chunk, zone))
            .map_err(|(name, error)| errors::column(py, &name, &error))
    }

    fn __len__(&self) -> usize {
        self.chunk.len
    }

    fn names(&self) -> Vec<String> {
        self.chunk.columns.iter().map(|c| c.name.clone()).collect()
    }

    fn infer(&self) -> Columns {
        to_columns(rows::infer(&[&self.chunk], &self.zone).columns)
    }

    fn changes(&self, schema: Columns) -> PyResult<Columns> {
        let schema = to_schema(schema)?;
        Ok(to_columns(rows::changes(&schema, &self.chunk, &self.zone)))
    }

    fn fit(
        &self,
        py: Python<'_>,
        schema: Columns,
        now_us: i64,
    ) -> PyResult<(Self, Vec<(usize, String)>)> {
        let schema = to_schema(schema)?;
        let chunk = Chunk::clone(&self.chunk);
        let fitted = py.detach(|| rows::fit(chunk, &schema, now_us, &self.zone));
        Ok((Self::new(fitted.chunk, self.zone.clone()), fitted.rejected))
    }

    /// The rows of these numbers (from 0), in this order.
    #[allow(clippy::needless_pass_by_value)] // what PyO3 extracts is owned
    fn take(&self, numbers: Vec<u32>) -> PyResult<Self> {
        if numbers.iter().any(|&row| row as usize >= self.chunk.len) {
            return Err(PyValueError::new_err("no such row"));
        }
        Ok(Self::new(self.chunk.take(&numbers), self.zone.clone()))
    }

    /// Python values row by row; times as microseconds. For tests and small results.
    fn to_list<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        (0..self.chunk.len)
            .map(|row| {
                let made = PyDict::new(py);
                for column in &self.chunk.columns {
                    let name = &column.name;
                    match column.cell(row) {
                        Cell::Null => made.set_item(name, py.None())?,
                        Cell::Bool(b) => made.set_item(name, b)?,
                        Cell::Int(n) | Cell::Time(n) => made.set_item(name, n)?,
                        Cell::Float(f) => made.set_item(name, f)?,
                        Cell::Text(text) | Cell::Json(text) | Cell::BigInt(text) => {
                            made.set_item(name, text)?;
                        }
                    }
                }
                Ok(made)
            })
            .collect()
    }

    /// Rows `first .. last` as JSON lines, nulls left out.
    #[pyo3(signature = (first = 0, last = None))]
    fn to_json_lines<'py>(
        &self,
        py: Python<'py>,
        first: usize,
        last: Option<usize>,
    ) -> Bound<'py, pyo3::types::PyBytes> {
        let text = py.detach(|| {
            self.chunk
                .to_json_lines(first..last.unwrap_or(self.chunk.len))
        });
        pyo3::types::PyBytes::new(py, &text)
    }
}

/// A column's name, kind, values, ends and nulls.
type Copied = (String, Kind, Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);

/// Columns of equal length and different names as a chunk; the error comes with the name of its column.
fn chunk_of(columns: &[Copied]) -> Result<Chunk, (String, ColumnError)> {
    let mut chunk = Chunk::default();
    for (given, kind, values, ends, nulls) in columns {
        let fail = |reason: String| (given.clone(), ColumnError::Layout(reason));
        let name =
            names::column_name(given).ok_or_else(|| fail("a column without a name".into()))?;
        if let Some(other) = chunk.columns.iter().position(|c| c.name == name) {
            let other = &columns[other].0;
            return Err(fail(format!("is called '{name}', as '{other}' is")));
        }
        let memory = Memory {
            values,
            ends: ends.as_deref(),
            nulls: nulls.as_deref(),
        };
        let made = rows::column(name, *kind, memory).map_err(|error| (given.clone(), error))?;
        if chunk.columns.is_empty() {
            chunk.len = made.data.len();
        } else if made.data.len() != chunk.len {
            return Err(fail(format!(
                "{} values beside {} of the first column",
                made.data.len(),
                chunk.len
            )));
        }
        chunk.columns.push(made);
    }
    Ok(chunk)
}

#[pyfunction]
pub fn sanitize_name(name: &str) -> String {
    names::sanitize(name)
}

/// The rows of a payload, one JSON object a line, otherwise as they came.
#[pyfunction]
pub fn json_lines<'py>(py: Python<'py>, payload: &[u8]) -> Bound<'py, pyo3::types::PyBytes> {
    let lines = py.detach(|| {
        let mut out = Vec::with_capacity(payload.len() + 1);
        rows::json_lines(payload, &mut out);
        out
    });
    pyo3::types::PyBytes::new(py, &lines)
}

#[pyfunction]
pub fn payload_hash(py: Python<'_>, dbms: &str, table: &str, data: &[u8]) -> String {
    py.detach(|| names::payload_hash(dbms, table, data))
}

#[pyfunction]
pub fn storage_bytes(text: &str) -> Option<u64> {
    names::storage_bytes(text)
}

/// Fields of a file name, by the names of the specification.
#[pyfunction]
pub fn parse_file_name<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyDict>> {
    let parsed = FileName::parse(name).map_err(|e| PyValueError::new_err(e.to_string()))?;
    let fields = PyDict::new(py);
    fields.set_item("dbms", &parsed.dbms)?;
    fields.set_item("table", &parsed.table)?;
    fields.set_item("source", &parsed.source)?;
    fields.set_item("hash", &parsed.hash)?;
    fields.set_item("instructions", &parsed.instructions)?;
    match &parsed.tsd {
        Some((Member::Inserted, id, date)) => {
            fields.set_item("tsd_member", "@")?;
            fields.set_item("tsd_row_id", id.to_string())?;
            fields.set_item("tsd_date", date)?;
        }
        Some((Member::Number(number), id, date)) => {
            fields.set_item("tsd_member", number)?;
            fields.set_item("tsd_row_id", id.to_string())?;
            fields.set_item("tsd_date", date)?;
        }
        None => {
            fields.set_item("tsd_member", py.None())?;
            fields.set_item("tsd_row_id", "0")?;
            fields.set_item("tsd_date", py.None())?;
        }
    }
    let kind = match (parsed.compressed, parsed.kind) {
        (true, _) => "gz",
        (false, FileKind::Json) => "json",
        (false, FileKind::Sql) => "sql",
    };
    fields.set_item("type", kind)?;
    if let Some(partition) = &parsed.partition {
        fields.set_item("partition", partition)?;
    }
    Ok(fields)
}

/// (physical name, start, end) of the partition of a table that holds an instant; half-open microseconds.
#[pyfunction]
pub fn partition_of(
    interval: &str,
    column: &str,
    table: &str,
    us: i64,
) -> PyResult<(String, i64, i64)> {
    let spec =
        PartitionSpec::parse(interval, column).map_err(|e| PyValueError::new_err(e.to_string()))?;
    let partition = spec.of(table, us);
    Ok((partition.name, partition.start_us, partition.end_us))
}

/// Microseconds UTC of a timestamp text or epoch digits; `None` for anything else.
#[pyfunction]
#[pyo3(signature = (text, timezone = None))]
pub fn parse_time(text: &str, timezone: Option<&str>) -> PyResult<Option<i64>> {
    Ok(time::parse_value(text, &to_zone(timezone)?))
}

/// `2025-01-01T00:00:00.000000Z` of microseconds UTC.
#[pyfunction]
pub fn format_time(us: i64) -> String {
    time::format(us, Style::Iso).as_str().to_owned()
}
