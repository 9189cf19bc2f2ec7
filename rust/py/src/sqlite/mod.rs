//! The door to apsw's SQLite: the extension entry point, and the virtual table that rows come in through.
//!
//! There is one SQLite in the process, apsw's. Its API table reaches this module when a throw-away apsw
//! connection loads it as an extension; nothing here opens a database.

mod batch;
mod remote;
mod vtab;

use std::ffi::{c_char, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, ffi};

pub use batch::BatchTable;
pub use remote::RemoteTables;

/// What virtual tables here leave out: no transactions, no changes, no functions of their own.
const READ_ONLY: ffi::sqlite3_module = ffi::sqlite3_module {
    iVersion: 1,
    xCreate: None,
    xConnect: None,
    xBestIndex: None,
    xDisconnect: None,
    xDestroy: None,
    xOpen: None,
    xClose: None,
    xFilter: None,
    xNext: None,
    xEof: None,
    xColumn: None,
    xRowid: None,
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

/// Whether SQLite's API table has arrived. Its functions panic before that.
static READY: AtomicBool = AtomicBool::new(false);

/// True once apsw has loaded this module as an extension.
pub fn is_ready() -> bool {
    READY.load(Ordering::Acquire)
}

/// SQLite calls this when apsw loads the module as an extension.
///
/// # Safety
/// `db`, `message` and `api` are what SQLite hands to an extension's entry point.
// SAFETY: the name is this module's own, so that no other symbol of the process is replaced.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_edgelake_init(
    db: *mut ffi::sqlite3,
    message: *mut *mut c_char,
    api: *mut ffi::sqlite3_api_routines,
) -> c_int {
    // SAFETY: called by SQLite with the pointers of its extension protocol; `announce` only sets a flag.
    unsafe { Connection::extension_init2(db, message, api, announce) }
}

#[allow(clippy::unnecessary_wraps)] // the signature that `extension_init2` takes
fn announce(_db: Connection) -> rusqlite::Result<bool> {
    READY.store(true, Ordering::Release);
    // Permanent: the module stays loaded when the throw-away connection closes.
    Ok(true)
}

/// Whether Rust may use SQLite.
#[pyo3::pyfunction]
pub fn sqlite_ready() -> bool {
    is_ready()
}
