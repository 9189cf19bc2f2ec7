//! `DirectoryWatch`: notifications of a directory for an event loop.

use std::path::PathBuf;

use edgelake_core::watch::Watch;
use parking_lot::Mutex;
use pyo3::prelude::*;

/// Observes one directory; wait on `fileno()`, then `read()`.
#[pyclass(frozen)]
pub struct DirectoryWatch {
    watch: Mutex<Option<Watch>>,
}

#[pymethods]
impl DirectoryWatch {
    #[new]
    #[allow(clippy::needless_pass_by_value)] // what Python hands over is owned
    fn new(directory: PathBuf) -> PyResult<Self> {
        let watch = Watch::open(&directory)?;
        Ok(Self {
            watch: Mutex::new(Some(watch)),
        })
    }

    /// Descriptor to wait on, -1 when closed.
    fn fileno(&self) -> i32 {
        self.watch.lock().as_ref().map_or(-1, Watch::fd)
    }

    /// What happened since the last call, as (change, name).
    fn read(&self) -> PyResult<Vec<(&'static str, String)>> {
        let mut watch = self.watch.lock();
        let Some(watch) = watch.as_mut() else {
            return Ok(Vec::new());
        };
        Ok(watch
            .read()?
            .into_iter()
            .map(|e| {
                (
                    e.change.name(),
                    String::from_utf8_lossy(&e.name).into_owned(),
                )
            })
            .collect())
    }

    fn close(&self) {
        *self.watch.lock() = None;
    }
}
