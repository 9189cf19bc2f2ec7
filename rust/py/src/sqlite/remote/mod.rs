//! `edgelake_remote`: tables of another database server as read-only SQLite tables.
//!
//! A statement runs in SQLite, so that its answer is the same wherever the rows are; what narrows a scan (columns,
//! comparisons with constants, one order) is handed to the source, a Python object that asks the server. Rows come back
//! as blocks of COPY data and are read in place.

#![allow(unsafe_code)]

mod scan;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt::Write;
use std::sync::Arc;

use edgelake_core::postgres::Wire;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use rusqlite::ffi;

use scan::given;

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

static MODULE: ffi::sqlite3_module = ffi::sqlite3_module {
    xCreate: Some(connect),
    xConnect: Some(connect),
    xBestIndex: Some(best_index),
    xDisconnect: Some(disconnect),
    xDestroy: Some(disconnect),
    xOpen: Some(scan::open),
    xClose: Some(scan::close),
    xFilter: Some(scan::filter),
    xNext: Some(scan::next),
    xEof: Some(scan::eof),
    xColumn: Some(scan::column),
    xRowid: Some(scan::rowid),
    ..super::READ_ONLY
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
