//! Contents of blob columns as files.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::journal::sync_dir;

const COMPARED_BYTES: usize = 64 << 10;

/// Put a content into a directory, durable. An error says which file could not be written, and why.
pub fn keep_blob(dir: &Path, name: &str, content: &[u8]) -> Result<(), String> {
    keep(dir, name, content).map_err(|e| format!("{}: {e}", dir.join(name).display()))
}

/// One that is there already is left alone, unless it was cut or changed on disk. Whoever wrote it may not have come
/// to its sync, so it is synced here as well: the row that names it is acknowledged next.
fn keep(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let path = dir.join(name);
    if let Some(file) = holding(&path, content)? {
        file.sync_data()?;
        return sync_dir(dir);
    }
    let working = dir.join(format!("{name}.{:?}_tmp", std::thread::current().id()));
    let written = (|| {
        let mut file = File::create(&working)?;
        file.write_all(content)?;
        file.sync_data()?;
        fs::rename(&working, &path)?;
        sync_dir(dir)
    })();
    if written.is_err() {
        // What is left of it is of no use; it may not be there at all.
        let _ = fs::remove_file(&working);
    }
    written
}

/// The file, when it is there with that content.
fn holding(path: &Path, content: &[u8]) -> io::Result<Option<File>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    if file.metadata()?.len() != content.len() as u64 {
        return Ok(None);
    }
    let mut rest = content;
    let mut buffer = vec![0; COMPARED_BYTES.min(content.len())];
    while !rest.is_empty() {
        let read = file.read(&mut buffer)?;
        if read == 0 || !rest.starts_with(&buffer[..read]) {
            return Ok(None);
        }
        rest = &rest[read..];
    }
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::keep_blob;
    use std::fs;

    #[test]
    fn a_content_that_was_cut_or_changed_on_disk_is_written_anew() {
        let dir = tempfile::tempdir().expect("dir");
        let content = vec![7_u8; 200_000];
        let mut changed = content.clone();
        changed[199_999] = 8;
        for found in [&content[..], &content[..1000], &[], &changed] {
            fs::write(dir.path().join("d.t.1"), found).expect("written");
            keep_blob(dir.path(), "d.t.1", &content).expect("kept");
            assert_eq!(fs::read(dir.path().join("d.t.1")).expect("there"), content);
        }
        let names = fs::read_dir(dir.path()).expect("listed").count();
        assert_eq!(names, 1);
    }

    #[test]
    fn what_cannot_be_kept_is_said_with_its_file() {
        let dir = tempfile::tempdir().expect("dir");
        let said = keep_blob(&dir.path().join("gone"), "d.t.1", b"x").expect_err("no folder");
        assert!(said.contains("gone/d.t.1: "), "{said}");
        fs::create_dir(dir.path().join("d.t.2")).expect("made");
        assert!(keep_blob(dir.path(), "d.t.2", b"x").is_err());
    }
}
