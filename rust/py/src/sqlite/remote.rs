//! `edgelake_remote`: tables of another database server as read-only SQLite tables.
//!
//! A statement runs in SQLite, so that its answer is the same wherever the rows are; what narrows a scan (columns,
//! comparisons with constants, one order) is handed to the source, a Python object that asks the server. Rows come back
//! as blocks of COPY data and are read in place.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt::Write;
use std::sync::Arc;

use edgelake_core::postgres::{CopyReader, Field, Wire};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use rusqlite::ffi;

const MODULE_NAME: &CStr = c"edgelake_remote";

/// One column: its name, whether SQLite is to take it for text, its type on the wire.
struct Column {
    name: String,
    is_text: bool,
    wire: Wire,
}

/// A table of the server, by the schema of this connection and its name.
struct Remote {
    schema: String,
    name: String,
    columns: Vec<Column>,
    /// The column of whole numbers that tells its rows apart. Without one nothing narrows a scan: SQLite may answer an
    /// `OR` by a scan for each side, and knows a row that it has seen by its row id.
    key: Option<usize>,
}

struct Shared {
    source: Py<PyAny>,
    tables: Vec<Remote>,
}

#[repr(C)]
struct Table {
    base: ffi::sqlite3_vtab,
    shared: Arc<Shared>,
    index: usize,
}

#[repr(C)]
struct Cursor {
    base: ffi::sqlite3_vtab_cursor,
    stream: Option<Py<PyAny>>,
    reader: Option<CopyReader>,
    /// Place of each column among those that were asked for.
    places: Vec<Option<usize>>,
    /// Place of the key.
    key: Option<usize>,
    /// Rows to come of a scan that asks for no column: they were counted by the server.
    bare: Option<i64>,
    row: i64,
    at_end: bool,
}

impl Cursor {
    /// Forget the scan; the source may use its connection for another.
    fn end(&mut self) {
        self.at_end = true;
        self.bare = None;
        self.reader = None;
        if let Some(stream) = self.stream.take() {
            Python::attach(|py| {
                if let Err(problem) = stream.call_method0(py, "close") {
                    problem.write_unraisable(py, Some(stream.bind(py)));
                }
            });
        }
    }

    /// Go to the next row, over the end of a block.
    fn advance(&mut self) -> Result<(), Failure> {
        self.row += 1;
        if let Some(left) = &mut self.bare {
            self.at_end = *left <= 0;
            *left -= 1;
            return Ok(());
        }
        loop {
            let Some(reader) = self.reader.as_mut() else {
                self.at_end = true;
                return Ok(());
            };
            if reader
                .advance()
                .map_err(|e| Failure::error(&e.to_string()))?
            {
                return Ok(());
            }
            let Some(stream) = &self.stream else {
                self.at_end = true;
                return Ok(());
            };
            let more = Python::attach(|py| -> Result<bool, Failure> {
                let block = stream
                    .call_method0(py, "read")
                    .map_err(|e| Failure::of(py, &e))?;
                let bytes = block
                    .cast_bound::<PyBytes>(py)
                    .map_err(|_| Failure::error("the source gave no bytes"))?;
                if bytes.as_bytes().is_empty() {
                    return Ok(false);
                }
                reader
                    .feed(bytes.as_bytes())
                    .map_err(|e| Failure::error(&e.to_string()))?;
                Ok(true)
            })?;
            if !more {
                self.end();
                return Ok(());
            }
        }
    }
}

/// What SQLite is told of a scan that failed.
struct Failure {
    code: c_int,
    text: String,
}

impl Failure {
    fn error(text: &str) -> Self {
        Self {
            code: ffi::SQLITE_ERROR,
            text: text.to_owned(),
        }
    }

    /// An exception of the source; one that was interrupted says so by its attribute.
    fn of(py: Python<'_>, problem: &PyErr) -> Self {
        let value = problem.value(py);
        let interrupted = value
            .getattr("interrupted")
            .and_then(|flag| flag.is_truthy())
            .unwrap_or(false);
        Self {
            code: if interrupted {
                ffi::SQLITE_INTERRUPT
            } else {
                ffi::SQLITE_ERROR
            },
            text: value.str().map_or_else(
                |_| "the source failed".to_owned(),
                |s| s.to_string_lossy().into_owned(),
            ),
        }
    }

    /// Leave the text with the table, as SQLite wants it.
    ///
    /// # Safety
    /// `table` is a table of this module.
    unsafe fn say(self, table: *mut ffi::sqlite3_vtab) -> c_int {
        // SAFETY: the text that stands there is SQLite's memory or null.
        unsafe {
            ffi::sqlite3_free((*table).zErrMsg.cast());
            (*table).zErrMsg = given(&self.text);
        }
        self.code
    }
}

/// A text in SQLite's own memory; null when there is none left.
fn given(text: &str) -> *mut c_char {
    let clean = text.replace('\0', " ");
    // SAFETY: `len + 1` bytes are asked for, and written when they were given.
    unsafe {
        let memory = ffi::sqlite3_malloc64(clean.len() as u64 + 1).cast::<c_char>();
        if !memory.is_null() {
            std::ptr::copy_nonoverlapping(clean.as_ptr().cast(), memory, clean.len());
            *memory.add(clean.len()) = 0;
        }
        memory
    }
}

static MODULE: ffi::sqlite3_module = ffi::sqlite3_module {
    iVersion: 1,
    xCreate: Some(connect),
    xConnect: Some(connect),
    xBestIndex: Some(best_index),
    xDisconnect: Some(disconnect),
    xDestroy: Some(disconnect),
    xOpen: Some(open),
    xClose: Some(close),
    xFilter: Some(filter),
    xNext: Some(next),
    xEof: Some(eof),
    xColumn: Some(column),
    xRowid: Some(rowid),
    xUpdate: None,
    xBegin: None,
    xSync: None,
    xCommit: None,
    xRollback: None,
    xFindFunction: None,
    xRename: None,
    xSavepoint: None,
    xRelease: None,
    xRollbackTo: None,
    xShadowName: None,
    xIntegrity: None,
};

/// Registers tables of a server with one connection: `CREATE VIRTUAL TABLE schema.name USING edgelake_remote`.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct RemoteTables;

#[pymethods]
impl RemoteTables {
    #[new]
    #[allow(clippy::needless_pass_by_value, clippy::type_complexity)] // what PyO3 extracts is owned
    fn new(
        pointer: usize,
        source: Py<PyAny>,
        tables: Vec<(String, String, Vec<(String, bool, String)>, Option<usize>)>,
    ) -> PyResult<Self> {
        if !super::is_ready() || pointer == 0 {
            return Err(PyRuntimeError::new_err("no open connection of the engine"));
        }
        let mut all = Vec::with_capacity(tables.len());
        for (schema, name, columns, key) in tables {
            let columns = columns
                .into_iter()
                .map(|(name, is_text, wire)| {
                    let wire =
                        wire.parse()
                            .map_err(|e: edgelake_core::postgres::UnknownWire| {
                                PyValueError::new_err(e.to_string())
                            })?;
                    Ok(Column {
                        name,
                        is_text,
                        wire,
                    })
                })
                .collect::<PyResult<Vec<_>>>()?;
            if key.is_some_and(|key| key >= columns.len()) {
                return Err(PyValueError::new_err("a key that is no column"));
            }
            all.push(Remote {
                schema,
                name,
                columns,
                key,
            });
        }
        let shared = Arc::new(Shared {
            source,
            tables: all,
        });
        let aux = Arc::into_raw(shared).cast_mut().cast::<c_void>();
        // SAFETY: the pointer is of an open apsw connection (store.engine hands no other); MODULE is static; `aux` is an
        // Arc that `release` takes back, which SQLite calls exactly once, also when this call fails.
        let code = unsafe {
            ffi::sqlite3_create_module_v2(
                pointer as *mut ffi::sqlite3,
                MODULE_NAME.as_ptr(),
                &raw const MODULE,
                aux,
                Some(release),
            )
        };
        if code == ffi::SQLITE_OK {
            Ok(Self)
        } else {
            Err(PyRuntimeError::new_err(format!(
                "SQLite refused the remote tables (result code {code})"
            )))
        }
    }
}

unsafe extern "C" fn release(aux: *mut c_void) {
    // SAFETY: `aux` came from Arc::into_raw and is given back once.
    drop(unsafe { Arc::from_raw(aux.cast::<Shared>()) });
}

fn declaration(table: &Remote) -> CString {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|c| {
            format!(
                "{}{}",
                quoted(&c.name),
                if c.is_text { " TEXT" } else { "" }
            )
        })
        .collect();
    CString::new(format!("CREATE TABLE x({})", columns.join(", "))).unwrap_or_default()
}

unsafe extern "C" fn connect(
    db: *mut ffi::sqlite3,
    aux: *mut c_void,
    count: c_int,
    arguments: *const *const c_char,
    out: *mut *mut ffi::sqlite3_vtab,
    _error: *mut *mut c_char,
) -> c_int {
    if count < 3 {
        return ffi::SQLITE_ERROR;
    }
    // SAFETY: SQLite gives `count` texts (module, schema, table ...), its own `db` and a valid `out`; `aux` is the Arc of
    // `new`, which the module keeps alive, so one more count may be taken; the table is freed in `disconnect`.
    unsafe {
        let schema = CStr::from_ptr(*arguments.add(1)).to_string_lossy();
        let name = CStr::from_ptr(*arguments.add(2)).to_string_lossy();
        Arc::increment_strong_count(aux.cast::<Shared>());
        let shared = Arc::from_raw(aux.cast::<Shared>());
        let Some(index) = shared
            .tables
            .iter()
            .position(|t| t.schema == schema && t.name == name)
        else {
            return ffi::SQLITE_ERROR;
        };
        let code = ffi::sqlite3_declare_vtab(db, declaration(&shared.tables[index]).as_ptr());
        if code != ffi::SQLITE_OK {
            return code;
        }
        let table = Box::new(Table {
            base: ffi::sqlite3_vtab::default(),
            shared,
            index,
        });
        *out = Box::into_raw(table).cast();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn disconnect(table: *mut ffi::sqlite3_vtab) -> c_int {
    // SAFETY: made by `connect`, given back once.
    drop(unsafe { Box::from_raw(table.cast::<Table>()) });
    ffi::SQLITE_OK
}

/// The comparison as the source writes it; `None`: it stays with SQLite.
fn operator(op: u8) -> Option<&'static str> {
    Some(match c_int::from(op) {
        ffi::SQLITE_INDEX_CONSTRAINT_EQ => "=",
        ffi::SQLITE_INDEX_CONSTRAINT_GT => ">",
        ffi::SQLITE_INDEX_CONSTRAINT_GE => ">=",
        ffi::SQLITE_INDEX_CONSTRAINT_LT => "<",
        ffi::SQLITE_INDEX_CONSTRAINT_LE => "<=",
        _ => return None,
    })
}

/// Order in which the server sorts as SQLite does.
fn sorts_alike(wire: Wire) -> bool {
    matches!(
        wire,
        Wire::Bool | Wire::Int4 | Wire::Int8 | Wire::Timestamp | Wire::Float8
    )
}

/// Plan: `used columns;column op,column op;column direction`. SQLite checks every comparison once more.
unsafe extern "C" fn best_index(
    table: *mut ffi::sqlite3_vtab,
    info: *mut ffi::sqlite3_index_info,
) -> c_int {
    // SAFETY: SQLite gives a table of `connect` and a valid `info`, whose arrays have the lengths it says.
    unsafe {
        let table = &*table.cast::<Table>();
        let Remote { columns, key, .. } = &table.shared.tables[table.index];
        let info = &mut *info;
        let mut plan = String::new();
        for (at, _) in columns.iter().enumerate() {
            if info.colUsed >> at.min(63) & 1 == 1 {
                let _ = write!(plan, "{at},");
            }
        }
        plan.push(';');
        let (mut arguments, mut cost) = (0, 1e7);
        for at in 0..usize::try_from(info.nConstraint).unwrap_or(0) {
            let constraint = &*info.aConstraint.add(at);
            let column = usize::try_from(constraint.iColumn)
                .ok()
                .filter(|at| *at < columns.len());
            let (Some(column), Some(op)) = (column, operator(constraint.op)) else {
                continue;
            };
            if constraint.usable == 0 || key.is_none() {
                continue;
            }
            arguments += 1;
            (*info.aConstraintUsage.add(at)).argvIndex = arguments;
            let _ = write!(plan, "{column} {op},");
            cost /= if op == "=" { 100.0 } else { 4.0 };
        }
        plan.push(';');
        if info.nOrderBy == 1 {
            let order = &*info.aOrderBy;
            let column = usize::try_from(order.iColumn)
                .ok()
                .filter(|at| columns.get(*at).is_some_and(|c| sorts_alike(c.wire)));
            if let Some(column) = column {
                let _ = write!(
                    plan,
                    "{column} {}",
                    if order.desc != 0 { "desc" } else { "asc" }
                );
                info.orderByConsumed = 1;
            }
        }
        info.idxStr = given(&plan);
        if info.idxStr.is_null() {
            return ffi::SQLITE_NOMEM;
        }
        info.needToFreeIdxStr = 1;
        info.estimatedCost = cost;
        info.estimatedRows = cost as i64;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn open(
    _table: *mut ffi::sqlite3_vtab,
    out: *mut *mut ffi::sqlite3_vtab_cursor,
) -> c_int {
    let cursor = Box::new(Cursor {
        base: ffi::sqlite3_vtab_cursor::default(),
        stream: None,
        reader: None,
        places: Vec::new(),
        key: None,
        bare: None,
        row: 0,
        at_end: true,
    });
    // SAFETY: SQLite gives a valid `out`, sets `base.pVtab` itself and frees through `close`.
    unsafe { *out = Box::into_raw(cursor).cast() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: made by `open`, given back once.
    let mut cursor = unsafe { Box::from_raw(cursor.cast::<Cursor>()) };
    cursor.end();
    ffi::SQLITE_OK
}

/// A constant of the statement as a Python value.
///
/// # Safety
/// `value` is SQLite's, for this call.
unsafe fn to_python(py: Python<'_>, value: *mut ffi::sqlite3_value) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: as the caller says; a text lives as long as the value is not read otherwise.
    unsafe {
        Ok(match ffi::sqlite3_value_type(value) {
            ffi::SQLITE_INTEGER => ffi::sqlite3_value_int64(value)
                .into_pyobject(py)?
                .into_any(),
            ffi::SQLITE_FLOAT => ffi::sqlite3_value_double(value)
                .into_pyobject(py)?
                .into_any(),
            ffi::SQLITE_TEXT => {
                let text = ffi::sqlite3_value_text(value);
                let len = usize::try_from(ffi::sqlite3_value_bytes(value)).unwrap_or(0);
                if text.is_null() {
                    py.None().into_bound(py)
                } else {
                    let bytes = std::slice::from_raw_parts(text, len);
                    PyString::new(py, &String::from_utf8_lossy(bytes)).into_any()
                }
            }
            _ => py.None().into_bound(py),
        })
    }
}

unsafe extern "C" fn filter(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    _plan: c_int,
    plan_text: *const c_char,
    count: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) -> c_int {
    // SAFETY: a cursor of `open`; `pVtab` is its table, which outlives it; the text is that of `best_index`, and there
    // are `count` values.
    unsafe {
        let base = (*cursor).pVtab;
        let cursor = &mut *cursor.cast::<Cursor>();
        let table = &*base.cast::<Table>();
        cursor.end();
        let plan = CStr::from_ptr(plan_text).to_string_lossy();
        let values = std::slice::from_raw_parts(
            if count > 0 {
                arguments.cast_const()
            } else {
                std::ptr::NonNull::dangling().as_ptr()
            },
            usize::try_from(count).unwrap_or(0),
        );
        let started = Python::attach(|py| {
            begin(py, table, cursor, &plan, values).map_err(|e| Failure::of(py, &e))
        });
        let done = started.and_then(|()| {
            cursor.at_end = false;
            cursor.row = 0;
            cursor.advance()
        });
        match done {
            Ok(()) => ffi::SQLITE_OK,
            Err(failure) => {
                cursor.end();
                failure.say(base)
            }
        }
    }
}

/// Ask the source for a scan.
///
/// # Safety
/// `values` are SQLite's, for this call.
unsafe fn begin(
    py: Python<'_>,
    table: &Table,
    cursor: &mut Cursor,
    plan: &str,
    values: &[*mut ffi::sqlite3_value],
) -> PyResult<()> {
    let remote = &table.shared.tables[table.index];
    let mut parts = plan.split(';');
    let mut list = || {
        parts
            .next()
            .unwrap_or_default()
            .split(',')
            .filter(|part| !part.is_empty())
    };
    let mut used: Vec<usize> = list().filter_map(|at| at.parse().ok()).collect();
    let tests: Vec<&str> = list().collect();
    if used.is_empty() && tests.is_empty() {
        let source = &table.shared.source;
        let rows = source.call_method1(py, "count", (&remote.name,))?;
        cursor.bare = Some(rows.extract(py)?);
        return Ok(());
    }
    if let Some(key) = remote.key.filter(|key| !used.contains(key)) {
        used.push(key);
    }
    let order: Option<&str> = list().next();
    let name = |at: &str| {
        at.parse()
            .ok()
            .and_then(|at: usize| remote.columns.get(at))
            .map(|c| c.name.as_str())
    };
    let mut conditions = Vec::with_capacity(tests.len());
    for (test, value) in tests.iter().zip(values) {
        if let Some((column, op)) = test.split_once(' ')
            && let Some(column) = name(column)
        {
            // SAFETY: as the caller says.
            conditions.push((column, op, unsafe { to_python(py, *value) }?));
        }
    }
    let order = order
        .and_then(|order| order.split_once(' '))
        .and_then(|(column, direction)| Some((name(column)?, direction == "desc")));
    let names: Vec<&str> = used
        .iter()
        .map(|at| remote.columns[*at].name.as_str())
        .collect();
    let wires = used.iter().map(|at| remote.columns[*at].wire).collect();
    let stream = table.shared.source.call_method1(
        py,
        "scan",
        (&remote.schema, &remote.name, names, conditions, order),
    )?;
    cursor.places = vec![None; remote.columns.len()];
    for (place, at) in used.iter().enumerate() {
        cursor.places[*at] = Some(place);
    }
    cursor.key = remote.key.and_then(|key| cursor.places[key]);
    cursor.stream = Some(stream);
    cursor.reader = Some(CopyReader::new(wires));
    Ok(())
}

unsafe extern "C" fn next(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: a cursor of `open`; `pVtab` is its table.
    unsafe {
        let base = (*cursor).pVtab;
        let cursor = &mut *cursor.cast::<Cursor>();
        match cursor.advance() {
            Ok(()) => ffi::SQLITE_OK,
            Err(failure) => {
                cursor.end();
                failure.say(base)
            }
        }
    }
}

unsafe extern "C" fn eof(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: a cursor of `open`.
    let cursor = unsafe { &*cursor.cast::<Cursor>() };
    c_int::from(cursor.at_end)
}

unsafe extern "C" fn rowid(cursor: *mut ffi::sqlite3_vtab_cursor, out: *mut i64) -> c_int {
    // SAFETY: a cursor of `open`, and SQLite's place for the answer.
    unsafe {
        let base = (*cursor).pVtab;
        let cursor = &*cursor.cast::<Cursor>();
        *out = match (cursor.key, &cursor.reader) {
            (Some(place), Some(reader)) => match reader.field(place) {
                Ok(Field::Int(value)) => value,
                Ok(_) => return Failure::error("a key that is no number").say(base),
                Err(problem) => return Failure::error(&problem.to_string()).say(base),
            },
            _ => cursor.row,
        };
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn column(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    ctx: *mut ffi::sqlite3_context,
    index: c_int,
) -> c_int {
    // SAFETY: a cursor of `open`; `ctx` is SQLite's for this call.
    unsafe {
        let base = (*cursor).pVtab;
        let cursor = &*cursor.cast::<Cursor>();
        let place = cursor.places.get(index as usize).copied().flatten();
        // A column that was not asked for is null, which is what SQLite takes when nothing is set.
        let (Some(place), Some(reader)) = (place, &cursor.reader) else {
            return ffi::SQLITE_OK;
        };
        match reader.field(place) {
            Ok(Field::Null) => {}
            Ok(Field::Int(value)) => ffi::sqlite3_result_int64(ctx, value),
            Ok(Field::Float(value)) => ffi::sqlite3_result_double(ctx, value),
            Ok(Field::Text(bytes)) => text(ctx, bytes),
            Ok(Field::Digits(digits)) => text(ctx, digits.as_bytes()),
            Err(problem) => return Failure::error(&problem.to_string()).say(base),
        }
    }
    ffi::SQLITE_OK
}

/// Answer a text; SQLite copies it, since the next row overwrites it.
///
/// # Safety
/// `ctx` is SQLite's for this call.
unsafe fn text(ctx: *mut ffi::sqlite3_context, bytes: &[u8]) {
    // SAFETY: pointer and length of one slice.
    unsafe {
        ffi::sqlite3_result_text64(
            ctx,
            bytes.as_ptr().cast(),
            bytes.len() as u64,
            ffi::SQLITE_TRANSIENT(),
            ffi::SQLITE_UTF8 as u8,
        );
    }
}
