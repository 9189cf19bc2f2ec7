//! `edgelake_batch`: the rows of one batch as a read-only SQLite table, without an allocation per value.
//!
//! Written against the C interface, since a text result that SQLite need not copy (`SQLITE_STATIC`) is out of
//! reach of rusqlite's `VTab`. Columns are `c0`..`c1999` in the batch's order; the rowid counts on from a
//! number that the loader gives. All reads are one scan in order.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::Arc;

use edgelake_core::rows::{Chunk, ColumnData, Value};
use parking_lot::Mutex;
use rusqlite::ffi;

pub const MODULE_NAME: &CStr = c"edgelake_batch";
/// SQLite's limit of columns (SQLITE_MAX_COLUMN of apsw's build).
pub const COLUMNS: usize = 2000;

/// What the table shows at the moment.
#[derive(Clone, Default)]
pub struct Window {
    pub chunk: Arc<Chunk>,
    /// Rows in the order of the scan; `None` = as they stand in the chunk.
    pub order: Option<Arc<Vec<u32>>>,
    /// Positions of the scan: `start..end`.
    pub start: usize,
    pub end: usize,
    /// rowid of the row at `start`.
    pub first_row_id: i64,
}

/// Shared by the loader and the table of one connection.
pub type Slot = Mutex<Window>;

#[repr(C)]
struct Table {
    base: ffi::sqlite3_vtab,
    slot: Arc<Slot>,
}

#[repr(C)]
struct Cursor {
    base: ffi::sqlite3_vtab_cursor,
    /// A copy: the batch lives as long as the cursor that reads it.
    window: Window,
    at: usize,
    /// Row of the chunk at `at`.
    row: usize,
}

impl Cursor {
    fn settle(&mut self) {
        self.row = match &self.window.order {
            Some(order) => order.get(self.at).map_or(0, |&row| row as usize),
            None => self.at,
        };
    }
}

// Eponymous only: there is no CREATE VIRTUAL TABLE.
static MODULE: ffi::sqlite3_module = ffi::sqlite3_module {
    xConnect: Some(connect),
    xBestIndex: Some(best_index),
    xDisconnect: Some(disconnect),
    xOpen: Some(open),
    xClose: Some(close),
    xFilter: Some(filter),
    xNext: Some(next),
    xEof: Some(eof),
    xColumn: Some(column),
    xRowid: Some(rowid),
    ..super::READ_ONLY
};

/// Make the table known to a connection. Returns SQLite's result code.
///
/// # Safety
/// `db` is an open connection of the SQLite whose API table was loaded.
pub unsafe fn register(db: *mut ffi::sqlite3, slot: Arc<Slot>) -> c_int {
    let aux = Arc::into_raw(slot).cast_mut().cast::<c_void>();
    // SAFETY: `db` is open (caller); MODULE is static; `aux` is an Arc that `release` takes back, which SQLite
    // calls exactly once, also when this call fails.
    unsafe {
        ffi::sqlite3_create_module_v2(
            db,
            MODULE_NAME.as_ptr(),
            &raw const MODULE,
            aux,
            Some(release),
        )
    }
}

unsafe extern "C" fn release(aux: *mut c_void) {
    // SAFETY: `aux` came from Arc::into_raw in `register` and is given back once.
    drop(unsafe { Arc::from_raw(aux.cast::<Slot>()) });
}

fn declaration() -> CString {
    let mut text = String::with_capacity(COLUMNS * 6);
    text.push_str("CREATE TABLE x(c0");
    for at in 1..COLUMNS {
        text.push_str(",c");
        text.push_str(&at.to_string());
    }
    text.push(')');
    CString::new(text).unwrap_or_default()
}

unsafe extern "C" fn connect(
    db: *mut ffi::sqlite3,
    aux: *mut c_void,
    _argc: c_int,
    _argv: *const *const c_char,
    out: *mut *mut ffi::sqlite3_vtab,
    _error: *mut *mut c_char,
) -> c_int {
    let text = declaration();
    // SAFETY: SQLite gives its own `db` and a valid `out`; `aux` is the Arc of `register`, which the module keeps
    // alive, so one more count may be taken; the table is given to SQLite and freed in `disconnect`.
    unsafe {
        let code = ffi::sqlite3_declare_vtab(db, text.as_ptr());
        if code != ffi::SQLITE_OK {
            return code;
        }
        Arc::increment_strong_count(aux.cast::<Slot>());
        let table = Box::new(Table {
            base: ffi::sqlite3_vtab::default(),
            slot: Arc::from_raw(aux.cast::<Slot>()),
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

unsafe extern "C" fn best_index(
    _table: *mut ffi::sqlite3_vtab,
    info: *mut ffi::sqlite3_index_info,
) -> c_int {
    // SAFETY: SQLite gives a valid `info`. One plan only: the whole scan.
    unsafe {
        (*info).estimatedCost = 1e6;
        (*info).estimatedRows = 100_000;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn open(
    _table: *mut ffi::sqlite3_vtab,
    out: *mut *mut ffi::sqlite3_vtab_cursor,
) -> c_int {
    let cursor = Box::new(Cursor {
        base: ffi::sqlite3_vtab_cursor::default(),
        window: Window::default(),
        at: 0,
        row: 0,
    });
    // SAFETY: SQLite gives a valid `out`, sets `base.pVtab` itself and frees through `close`.
    unsafe { *out = Box::into_raw(cursor).cast() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: made by `open`, given back once.
    drop(unsafe { Box::from_raw(cursor.cast::<Cursor>()) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn filter(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    _plan: c_int,
    _plan_text: *const c_char,
    _argc: c_int,
    _argv: *mut *mut ffi::sqlite3_value,
) -> c_int {
    // SAFETY: a cursor of `open`; `pVtab` is its table, which outlives it.
    unsafe {
        let cursor = &mut *cursor.cast::<Cursor>();
        let table = &*cursor.base.pVtab.cast::<Table>();
        cursor.window = table.slot.lock().clone();
        cursor.at = cursor.window.start;
        cursor.settle();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn next(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: a cursor of `open`.
    let cursor = unsafe { &mut *cursor.cast::<Cursor>() };
    cursor.at += 1;
    cursor.settle();
    ffi::SQLITE_OK
}

unsafe extern "C" fn eof(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: a cursor of `open`.
    let cursor = unsafe { &*cursor.cast::<Cursor>() };
    c_int::from(cursor.at >= cursor.window.end)
}

unsafe extern "C" fn rowid(cursor: *mut ffi::sqlite3_vtab_cursor, out: *mut i64) -> c_int {
    // SAFETY: a cursor of `open`, and SQLite's place for the answer.
    unsafe {
        let cursor = &*cursor.cast::<Cursor>();
        *out = cursor.window.first_row_id + (cursor.at - cursor.window.start) as i64;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn column(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    ctx: *mut ffi::sqlite3_context,
    index: c_int,
) -> c_int {
    // SAFETY: a cursor of `open`.
    let cursor = unsafe { &*cursor.cast::<Cursor>() };
    let row = cursor.row;
    // A column that the batch lacks is null, which is what SQLite takes when nothing is set.
    let Some(column) = cursor.window.chunk.columns.get(index as usize) else {
        return ffi::SQLITE_OK;
    };
    if column.is_null(row) {
        return ffi::SQLITE_OK;
    }
    // SAFETY: `ctx` is SQLite's for this call; see `text` for the life of texts.
    unsafe {
        match &column.data {
            ColumnData::Int(values) | ColumnData::Time(values) => {
                if let Some(&value) = values.get(row) {
                    ffi::sqlite3_result_int64(ctx, value);
                }
            }
            ColumnData::Float(values) => {
                if let Some(&value) = values.get(row) {
                    ffi::sqlite3_result_double(ctx, value);
                }
            }
            ColumnData::Text(values) => {
                if row < values.len() {
                    text(ctx, values.get(row));
                }
            }
            ColumnData::Bool(values) => {
                if let Some(&value) = values.get(row) {
                    ffi::sqlite3_result_int64(ctx, i64::from(value));
                }
            }
            ColumnData::Mixed(values) => match values.get(row) {
                None | Some(Value::Null) => {}
                Some(Value::Bool(value)) => ffi::sqlite3_result_int64(ctx, i64::from(*value)),
                Some(Value::Int(value) | Value::Time(value)) => {
                    ffi::sqlite3_result_int64(ctx, *value);
                }
                Some(Value::Float(value)) => ffi::sqlite3_result_double(ctx, *value),
                Some(Value::BigInt(value) | Value::Text(value) | Value::Json(value)) => {
                    text(ctx, value);
                }
            },
        }
    }
    ffi::SQLITE_OK
}

/// Answer a text without a copy.
///
/// # Safety
/// `value` belongs to the chunk of the cursor that answers. SQLite may read a static text until the statement is
/// reset or finalised, and it closes the cursor, which holds the chunk, in that very step. Whoever keeps a value
/// longer (records, sorters, results fetched by apsw) copies it by SQLite's own rules.
unsafe fn text(ctx: *mut ffi::sqlite3_context, value: &str) {
    // SAFETY: pointer and length of one str; its life as said above. SQLITE_STATIC is the null destructor.
    unsafe {
        ffi::sqlite3_result_text64(
            ctx,
            if value.is_empty() {
                c"".as_ptr()
            } else {
                value.as_ptr().cast()
            },
            value.len() as u64,
            None,
            ffi::SQLITE_UTF8 as u8,
        );
    }
}
