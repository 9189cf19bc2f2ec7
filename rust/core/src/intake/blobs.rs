//! Contents of blob columns as files.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::journal::sync_dir;
use crate::mapping::BlobSource;
use crate::names::PayloadHash;

const BLOCK_BYTES: usize = 64 << 10;

/// Where files stand that came along with a message: nobody else writes to them. A message names one as
/// `.uploads/<name>`.
const UPLOADS: &str = ".uploads/";

/// Put a content into a directory, durable; returns the name of its file. An error says which file could not be
/// written or read, and why.
pub fn keep_blob(dir: &Path, source: BlobSource<'_>) -> Result<String, String> {
    match source {
        BlobSource::Message { name, content } => keep(dir, name, content)
            .map(|()| name.to_owned())
            .map_err(|e| format!("{}: {e}", dir.join(name).display())),
        BlobSource::File {
            file,
            dbms,
            table,
            extension,
        } => {
            let path = beneath(dir, file)
                .ok_or_else(|| format!("'{file}' is no name of a file in {}", dir.display()))?;
            adopt(dir, &path, (dbms, table), extension)
                .map_err(|e| format!("{}: {e}", path.display()))
        }
    }
}

/// The path of a file that a message names; `None` for one that may lead elsewhere.
fn beneath(dir: &Path, file: &str) -> Option<PathBuf> {
    let name = file.strip_prefix(UPLOADS).unwrap_or(file);
    let plain = !name.is_empty()
        && !name.starts_with('.')
        && !name.contains(['/', '\\'])
        && !name.contains(char::is_control);
    plain.then(|| dir.join(file))
}

/// A file becomes a blob, by a link, or by a copy where others may write to it. It stays itself.
fn adopt(
    dir: &Path,
    path: &Path,
    (dbms, table): (&str, &str),
    extension: &str,
) -> io::Result<String> {
    let own = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    let own = own.to_ascii_lowercase();
    let extension = if extension.is_empty() {
        &own
    } else {
        extension
    };
    let working = dir.join(working_name(&format!("{dbms}.{table}")));
    let private = path.parent().is_some_and(|folder| folder != dir);
    let written = (|| {
        let _ = fs::remove_file(&working); // of a node that was killed
        let mut from = File::open(path)?;
        let linked = private && fs::hard_link(path, &working).is_ok();
        let mut copy = if linked {
            None
        } else {
            Some(File::create(&working)?)
        };
        let mut hash = PayloadHash::new(dbms, table);
        let mut buffer = vec![0; BLOCK_BYTES];
        loop {
            let read = from.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            if let Some(copy) = &mut copy {
                copy.write_all(&buffer[..read])?;
            }
        }
        copy.as_ref().unwrap_or(&from).sync_data()?;
        let dot = if extension.is_empty() { "" } else { "." };
        let name = format!("{dbms}.{table}.{}{dot}{extension}", hash.hex());
        fs::rename(&working, dir.join(&name))?;
        sync_dir(dir)?;
        Ok(name)
    })();
    // After a rename onto another link of the same file, or a failure.
    let _ = fs::remove_file(&working);
    written
}

fn working_name(name: &str) -> String {
    format!("{name}.{:?}_tmp", std::thread::current().id())
}

/// One that is there already is left alone, unless it was cut or changed on disk. Whoever wrote it may not have come
/// to its sync, so it is synced here as well: the row that names it is acknowledged next.
fn keep(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let path = dir.join(name);
    if let Some(file) = holding(&path, content)? {
        file.sync_data()?;
        return sync_dir(dir);
    }
    let working = dir.join(working_name(name));
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
    let mut buffer = vec![0; BLOCK_BYTES.min(content.len())];
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
    use std::fs;
    use std::path::Path;

    use super::keep_blob;
    use crate::mapping::BlobSource;

    fn of_message(dir: &Path, name: &str, content: &[u8]) -> Result<String, String> {
        keep_blob(dir, BlobSource::Message { name, content })
    }

    fn of_file(dir: &Path, file: &str, extension: &str) -> Result<String, String> {
        let source = BlobSource::File {
            file,
            dbms: "d",
            table: "t",
            extension,
        };
        keep_blob(dir, source)
    }

    #[test]
    fn a_file_becomes_a_blob_and_stays() {
        let dir = tempfile::tempdir().expect("dir");
        let content = vec![7_u8; 200_000];
        fs::create_dir(dir.path().join(".uploads")).expect("made");
        for file in ["a.PNG", ".uploads/b.png"] {
            fs::write(dir.path().join(file), &content).expect("written");
            for _ in 0..2 {
                let name = of_file(dir.path(), file, "").expect("kept");
                let hash = crate::names::payload_hash("d", "t", &content);
                assert_eq!(name, format!("d.t.{hash}.png"));
                assert_eq!(fs::read(dir.path().join(name)).expect("there"), content);
            }
        }
        let named = of_file(dir.path(), "a.PNG", "jpg").expect("kept");
        assert_eq!(Path::new(&named).extension(), Some("jpg".as_ref()));
        fs::write(dir.path().join("a.PNG"), "other").expect("written");
        let kept = fs::read(dir.path().join(named)).expect("there");
        assert_eq!(
            kept, content,
            "who writes to the file does not write to the blob"
        );
        let left = fs::read_dir(dir.path()).expect("listed");
        let mut files = left.map(|e| e.expect("entry").file_name().into_string().expect("text"));
        assert!(files.all(|name| !name.ends_with("_tmp")));
    }

    #[test]
    fn no_message_names_a_file_elsewhere() {
        let dir = tempfile::tempdir().expect("dir");
        fs::write(dir.path().join(".hidden"), "x").expect("written");
        for file in [
            "",
            ".",
            "..",
            "../x",
            ".hidden",
            "a/b",
            "/etc/passwd",
            ".uploads/../.hidden",
            ".uploads/",
            "gone",
            "a\n",
        ] {
            let said = of_file(dir.path(), file, "").expect_err("refused");
            assert!(said.contains(&*dir.path().to_string_lossy()), "{said}");
        }
    }

    #[test]
    fn a_content_that_was_cut_or_changed_on_disk_is_written_anew() {
        let dir = tempfile::tempdir().expect("dir");
        let content = vec![7_u8; 200_000];
        let mut changed = content.clone();
        changed[199_999] = 8;
        for found in [&content[..], &content[..1000], &[], &changed] {
            fs::write(dir.path().join("d.t.1"), found).expect("written");
            of_message(dir.path(), "d.t.1", &content).expect("kept");
            assert_eq!(fs::read(dir.path().join("d.t.1")).expect("there"), content);
        }
        let names = fs::read_dir(dir.path()).expect("listed").count();
        assert_eq!(names, 1);
    }

    #[test]
    fn what_cannot_be_kept_is_said_with_its_file() {
        let dir = tempfile::tempdir().expect("dir");
        let said = of_message(&dir.path().join("gone"), "d.t.1", b"x").expect_err("no folder");
        assert!(said.contains("gone/d.t.1: "), "{said}");
        fs::create_dir(dir.path().join("d.t.2")).expect("made");
        assert!(of_message(dir.path(), "d.t.2", b"x").is_err());
    }
}
