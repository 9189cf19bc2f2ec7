//! Contents of blob columns as files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Put a content into a directory, durable. An error says which file could not be written, and why.
pub fn keep_blob(dir: &Path, name: &str, content: &[u8]) -> Result<(), String> {
    keep(dir, name, content).map_err(|e| format!("{}: {e}", dir.join(name).display()))
}

/// One that is there already has the same name for the same content.
fn keep(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let path = dir.join(name);
    if path.exists() {
        return Ok(());
    }
    let working = dir.join(format!("{name}.{:?}_tmp", std::thread::current().id()));
    let written = (|| {
        let mut file = File::create(&working)?;
        file.write_all(content)?;
        file.sync_data()?;
        fs::rename(&working, &path)?;
        File::open(dir)?.sync_all()
    })();
    if written.is_err() {
        // What is left of it is of no use; it may not be there at all.
        let _ = fs::remove_file(&working);
    }
    written
}
