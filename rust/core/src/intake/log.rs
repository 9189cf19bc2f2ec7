//! Messages as lines of a file, written by a thread of its own: raw messages that failed, and those of clients that only
//! log.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use parking_lot::Mutex;

/// Bytes that may wait for the disk.
const WAITING_BYTES: usize = 16 << 20;
/// Files are written out and closed when nothing came for so long.
const QUIET: Duration = Duration::from_millis(50);
/// They are closed so often in any case, for one that was moved away to begin anew.
const OPEN: Duration = Duration::from_secs(1);
/// Open at the same time.
const OPEN_FILES: usize = 64;
/// A file grows no longer than that: whoever sends what cannot be mapped must not fill the disk.
const FILE_BYTES: u64 = 256 << 20;

enum Item {
    Line(Arc<Path>, Vec<u8>),
    /// Answered when everything before it is written.
    Flush(Sender<()>),
}

/// The way to the thread, which starts with the first line.
#[derive(Default)]
pub(super) struct MessageLog {
    sender: Mutex<Option<Sender<Item>>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    waiting: AtomicUsize,
    last_error: Mutex<String>,
}

impl MessageLog {
    /// Append a payload as one line. False: too much waits for the disk, it is not written.
    pub fn append(&self, path: &Arc<Path>, payload: &[u8]) -> bool {
        if self.state.waiting.load(Ordering::Relaxed) + payload.len() > WAITING_BYTES {
            return false;
        }
        let mut line: Vec<u8> = payload
            .iter()
            .map(|&b| if b == b'\n' || b == b'\r' { b' ' } else { b })
            .collect();
        line.push(b'\n');
        self.state.waiting.fetch_add(line.len(), Ordering::Relaxed);
        self.send(Item::Line(path.clone(), line))
    }

    fn send(&self, item: Item) -> bool {
        let mut sender = self.sender.lock();
        if sender.is_none() {
            let (into, from) = unbounded();
            let state = self.state.clone();
            let started = std::thread::Builder::new()
                .name("message-log".into())
                .spawn(move || Writer::new(state, FILE_BYTES).run(&from));
            if started.is_err() {
                return false;
            }
            *sender = Some(into);
        }
        sender.as_ref().is_some_and(|s| s.send(item).is_ok())
    }

    /// Returns when all lines so far are in their files.
    pub fn flush(&self) {
        if self.sender.lock().is_none() {
            return;
        }
        let (done, wait) = crossbeam_channel::bounded(1);
        if self.send(Item::Flush(done)) {
            // The thread ends only with the log itself.
            let _ = wait.recv();
        }
    }

    /// Why lines were lost, since the last call.
    pub fn take_error(&self) -> String {
        std::mem::take(&mut self.state.last_error.lock())
    }
}

struct Writer {
    state: Arc<State>,
    open: HashMap<Arc<Path>, LogFile>,
    /// When the first of them was opened.
    since: Instant,
    file_bytes: u64,
}

struct LogFile {
    file: BufWriter<File>,
    bytes: u64,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let bytes = file.metadata()?.len();
        let file = BufWriter::new(file);
        Ok(Self { file, bytes })
    }
}

impl Writer {
    fn new(state: Arc<State>, file_bytes: u64) -> Self {
        Self {
            state,
            open: HashMap::new(),
            since: Instant::now(),
            file_bytes,
        }
    }

    fn run(mut self, items: &Receiver<Item>) {
        loop {
            // With nothing open there is nothing to do but to wait.
            let next = if self.open.is_empty() {
                items.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                items.recv_timeout(QUIET)
            };
            match next {
                Ok(Item::Line(path, line)) => {
                    let written = self.write(&path, &line);
                    self.note(&path, written);
                    self.state.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                    if self.since.elapsed() > OPEN {
                        self.close();
                    }
                }
                Ok(Item::Flush(done)) => {
                    self.close();
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => self.close(),
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            }
        }
    }

    fn write(&mut self, path: &Arc<Path>, line: &[u8]) -> io::Result<()> {
        if !self.open.contains_key(path) {
            if self.open.len() >= OPEN_FILES {
                self.close();
            }
            if self.open.is_empty() {
                self.since = Instant::now();
            }
            self.open.insert(path.clone(), LogFile::open(path)?);
        }
        let Some(log) = self.open.get_mut(path) else {
            return Ok(()); // it was put there just now
        };
        if log.bytes + line.len() as u64 > self.file_bytes {
            let text = format!(
                "it has {} bytes, nothing more is written to it: move it away",
                log.bytes
            );
            return Err(io::Error::other(text));
        }
        log.bytes += line.len() as u64;
        log.file.write_all(line)
    }

    fn close(&mut self) {
        for (path, mut log) in std::mem::take(&mut self.open) {
            let flushed = log.file.flush();
            self.note(&path, flushed);
        }
    }

    fn note(&self, path: &Path, result: io::Result<()>) {
        if let Err(error) = result {
            *self.state.last_error.lock() = format!("{}: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_full_is_left_alone_until_it_is_moved_away() {
        let dir = tempfile::tempdir().expect("dir");
        let path: Arc<Path> = dir.path().join("err.json").into();
        let state = Arc::new(State::default());
        let mut writer = Writer::new(state.clone(), 10);
        assert!(writer.write(&path, b"12345\n").is_ok());
        let said = writer
            .write(&path, b"6789\n")
            .expect_err("full")
            .to_string();
        assert!(
            said.contains("6 bytes") && said.contains("move it away"),
            "{said}"
        );
        writer.close();
        std::fs::rename(&path, dir.path().join("old")).expect("moved");
        assert!(writer.write(&path, b"6789\n").is_ok());
        writer.close();
        assert_eq!(std::fs::read(&path).expect("there"), b"6789\n");
        assert_eq!(*state.last_error.lock(), "");
    }
}
