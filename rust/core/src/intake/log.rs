//! Messages as lines of a file, written by a thread of its own: raw messages that failed, and those of clients that only
//! log.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use parking_lot::Mutex;

/// Bytes that may wait for the disk.
const WAITING_BYTES: usize = 16 << 20;
/// Files are written out and closed when nothing came for so long.
const QUIET: Duration = Duration::from_millis(50);
/// Open at the same time.
const OPEN_FILES: usize = 64;

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
                .spawn(move || Writer::new(state).run(&from));
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
    open: HashMap<Arc<Path>, BufWriter<File>>,
}

impl Writer {
    fn new(state: Arc<State>) -> Self {
        Self {
            state,
            open: HashMap::new(),
        }
    }

    fn run(mut self, items: &Receiver<Item>) {
        loop {
            match items.recv_timeout(QUIET) {
                Ok(Item::Line(path, line)) => {
                    let written = self.write(&path, &line);
                    self.note(&path, written);
                    self.state.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                }
                Ok(Item::Flush(done)) => {
                    self.close();
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) if self.open.is_empty() => match items.recv() {
                    Ok(Item::Line(path, line)) => {
                        let written = self.write(&path, &line);
                        self.note(&path, written);
                        self.state.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                    }
                    Ok(Item::Flush(done)) => {
                        let _ = done.send(());
                    }
                    Err(_) => return,
                },
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
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            self.open.insert(path.clone(), BufWriter::new(file));
        }
        match self.open.get_mut(path) {
            Some(file) => file.write_all(line),
            None => Ok(()), // it was put there just now
        }
    }

    fn close(&mut self) {
        for (path, mut file) in std::mem::take(&mut self.open) {
            let flushed = file.flush();
            self.note(&path, flushed);
        }
    }

    fn note(&self, path: &Path, result: io::Result<()>) {
        if let Err(error) = result {
            *self.state.last_error.lock() = format!("{}: {error}", path.display());
        }
    }
}
