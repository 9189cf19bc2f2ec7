//! The journal thread.

use std::fs::File;
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::padding::Padding;
use super::queue::{Entry, Next, Queue};
use super::segment::{self, HEAD, JournalId};
use super::{BeforeSync, JournalError, Level, Options, Placed, Publish, Segments, record};

/// Payloads from here on are written from where they are instead of being copied together.
const COPY_BELOW: usize = 16 * 1024;
/// How long a group waits for those that came with the last one, at most.
const LONGEST_PATIENCE: Duration = Duration::from_millis(1);
/// What control records may use beyond the journal's byte limit.
const CONTROL_SLACK: u64 = 1 << 20;

pub(super) struct Writer<T> {
    dir: PathBuf,
    id: JournalId,
    segment_bytes: u64,
    limit_bytes: u64,
    group_bytes: usize,
    before_sync: Option<BeforeSync>,
    segments: Arc<Mutex<Segments>>,
    publisher: Box<dyn Publish<T>>,
    number: u64,
    file: File,
    /// End of the last whole record.
    good: u64,
    synced: u64,
    padding: Padding,
    position: u64,
    staging: Vec<u8>,
    failed: Option<JournalError>,
    /// Entries of the last group that was synced, and how long the sync took.
    companions: usize,
    sync_time: Duration,
}

impl<T: 'static> Writer<T> {
    pub fn open(
        options: &Options,
        id: JournalId,
        number: u64,
        position: u64,
        segments: Arc<Mutex<Segments>>,
        publisher: Box<dyn Publish<T>>,
    ) -> Result<Self, JournalError> {
        let file = segment::create(&options.dir, number, &id)
            .map_err(|e| JournalError::io(&segment::path(&options.dir, number), &e))?;
        segments.lock().sizes.push((number, HEAD));
        Ok(Self {
            dir: options.dir.clone(),
            id,
            segment_bytes: options.segment_bytes.min(options.limit_bytes / 8),
            limit_bytes: options.limit_bytes,
            group_bytes: options.group_bytes,
            before_sync: options.before_sync.clone(),
            segments,
            publisher,
            number,
            file,
            good: HEAD,
            synced: HEAD,
            padding: Padding::default(),
            position,
            staging: Vec::new(),
            failed: None,
            companions: 0,
            sync_time: Duration::ZERO,
        })
    }

    pub fn run(mut self, queue: &Queue<T>) {
        let mut group = Vec::new();
        loop {
            // Whoever was acknowledged together soon comes back together: without this the first of them is synced
            // alone, and the others wait for two syncs.
            let patience = (self.sync_time / 4).min(LONGEST_PATIENCE);
            match queue.take(&mut group, self.group_bytes, self.companions, patience) {
                Next::Write => self.commit(&mut group),
                Next::Mark(tag) => self.publisher.reached(tag),
                Next::Rewind => self.rewind(),
                Next::End => break,
            }
        }
        // Records of level fast and memory: a stop is no power loss. A failure here has nobody left to tell.
        if self.failed.is_none() {
            let _ = self.complete();
        }
    }

    /// Give the room of this segment back. Between groups nothing is written that is not settled.
    fn rewind(&mut self) {
        if self.failed.is_some() || self.good == HEAD || !self.publisher.is_idle() {
            return;
        }
        let cut = self
            .padding
            .cut(&self.file, HEAD)
            .and_then(|()| self.file.seek(SeekFrom::Start(HEAD)))
            .and_then(|_| self.file.sync_all());
        match cut {
            Ok(()) => {
                self.synced = HEAD;
                self.set_end(HEAD);
                self.publisher.emptied();
            }
            Err(error) => {
                let path = segment::path(&self.dir, self.number);
                let text = format!("emptying {}: {error}", path.display());
                self.failed = Some(JournalError::Failed(text));
            }
        }
    }

    /// Write and publish one group.
    fn commit(&mut self, group: &mut Vec<Entry<T>>) {
        let first = self.position;
        let mut written = false;
        match self.try_commit(group, &mut written) {
            Ok(placed) => self.publisher.settled(group, placed),
            Err(error) => {
                // Records of level memory are acknowledged and live on with these positions.
                self.position = first + group.len() as u64;
                self.publisher.failed(group, first, written, &error);
                if matches!(error, JournalError::Failed(_)) {
                    self.failed = Some(error);
                }
            }
        }
        group.clear();
    }

    fn try_commit(
        &mut self,
        group: &mut [Entry<T>],
        written: &mut bool,
    ) -> Result<Placed, JournalError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let bytes: u64 = group.iter().map(|e| e.bytes() as u64).sum();
        self.check_limit(group, bytes)?;
        if self.good > HEAD && self.good + bytes > self.segment_bytes {
            self.roll()?;
        }
        let (first, start) = (self.position, self.good);
        self.write(group, bytes)?;
        self.publisher.written(group);
        *written = true;
        if group.iter().any(|e| e.level == Level::Durable) {
            self.padding
                .extend(&self.file, self.good, bytes, self.segment_bytes);
            let begin = Instant::now();
            self.sync()?;
            self.companions = group.len();
            self.sync_time = begin.elapsed();
        }
        Ok(Placed {
            first,
            segment: self.number,
            start,
        })
    }

    fn check_limit(&self, group: &[Entry<T>], bytes: u64) -> Result<(), JournalError> {
        let all: u64 = self.segments.lock().sizes.iter().map(|s| s.1).sum();
        let limit = if group.iter().all(|e| e.control) {
            self.limit_bytes + CONTROL_SLACK
        } else {
            self.limit_bytes
        };
        if all + bytes <= limit {
            return Ok(());
        }
        Err(JournalError::Limit(format!(
            "the journal in {} holds {all} bytes, its limit is {}; rows wait there for their database",
            self.dir.display(),
            self.limit_bytes
        )))
    }

    /// One vectored write of the whole group.
    fn write(&mut self, group: &[Entry<T>], bytes: u64) -> Result<(), JournalError> {
        self.staging.clear();
        // Ranges of the staging buffer, each followed by the payload of an entry (or by nothing).
        let mut pieces: Vec<(Range<usize>, Option<usize>)> = Vec::new();
        let mut from = 0;
        for (index, entry) in group.iter().enumerate() {
            record::encode(
                &mut self.staging,
                entry,
                self.position + index as u64,
                self.synced as u32,
            );
            if entry.payload.len() < COPY_BELOW {
                self.staging.extend_from_slice(&entry.payload);
            } else {
                pieces.push((from..self.staging.len(), Some(index)));
                from = self.staging.len();
            }
        }
        pieces.push((from..self.staging.len(), None));
        let mut slices = Vec::with_capacity(pieces.len() * 2);
        for (range, payload) in &pieces {
            slices.push(IoSlice::new(&self.staging[range.clone()]));
            slices.extend(payload.map(|index| IoSlice::new(&group[index].payload)));
        }
        let result = write_all(&mut self.file, &mut slices);
        // One large group must not keep its memory for ever.
        self.staging.shrink_to(1 << 20);
        if let Err(error) = result {
            return Err(self.undo(&error));
        }
        self.position += group.len() as u64;
        self.set_end(self.good + bytes);
        Ok(())
    }

    fn set_end(&mut self, end: u64) {
        self.good = end;
        if let Some(last) = self.segments.lock().sizes.last_mut() {
            last.1 = end;
        }
    }

    /// A write failed, perhaps after a part of it was taken. Where only room is missing the journal may go on, but
    /// not before the part is gone from the disk: a later, shorter group would otherwise leave its remains behind it,
    /// and a reader could take whole records among them for accepted ones. Cutting the file needs no room. It is
    /// synced, so that the part does not come back with the power; and since no sync has failed so far, nothing that
    /// was written before is in doubt. If any of this fails, the state of the file is unknown: failed for good.
    fn undo(&mut self, error: &io::Error) -> JournalError {
        let path = segment::path(&self.dir, self.number);
        let cut = self
            .padding
            .cut(&self.file, self.good)
            .and_then(|()| self.file.seek(SeekFrom::Start(self.good)))
            .and_then(|_| self.file.sync_all());
        match cut {
            Ok(()) if no_room(error) => JournalError::Full(format!("{}: {error}", path.display())),
            Ok(()) => JournalError::Failed(format!("write to {}: {error}", path.display())),
            Err(cut) => JournalError::Failed(format!(
                "write to {}: {error}; then cutting it off: {cut}",
                path.display()
            )),
        }
    }

    /// A sync that failed may have lost any page since the last one, and the system will not say so twice: never
    /// tried again, nothing after it is acknowledged.
    fn sync(&mut self) -> Result<(), JournalError> {
        let hook = self.before_sync.as_ref().map_or(Ok(()), |hook| hook());
        hook.and_then(|()| self.file.sync_data()).map_err(|e| {
            let path = segment::path(&self.dir, self.number);
            JournalError::Failed(format!("sync of {}: {e}", path.display()))
        })?;
        self.synced = self.good;
        Ok(())
    }

    /// Make this segment end with its last record, durable: a torn end, or zeros, are allowed in the last one only.
    fn complete(&mut self) -> Result<(), JournalError> {
        if self.synced < self.good {
            self.sync()?;
        }
        if self.padding.is_behind(self.good) {
            let cut = self.padding.cut(&self.file, self.good);
            cut.and_then(|()| self.file.sync_all()).map_err(|e| {
                let path = segment::path(&self.dir, self.number);
                JournalError::Failed(format!("cutting off {}: {e}", path.display()))
            })?;
        }
        Ok(())
    }

    /// Close this segment and begin the next.
    fn roll(&mut self) -> Result<(), JournalError> {
        self.complete()?;
        let number = self.number + 1;
        self.file = segment::create(&self.dir, number, &self.id).map_err(|e| {
            // Nothing was written: the next group may try again.
            let path = segment::path(&self.dir, number);
            if no_room(&e) {
                JournalError::Full(format!("{}: {e}", path.display()))
            } else {
                JournalError::io(&path, &e)
            }
        })?;
        self.number = number;
        self.good = HEAD;
        self.synced = HEAD;
        self.padding = Padding::default();
        self.segments.lock().sizes.push((number, HEAD));
        Ok(())
    }
}

fn no_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn write_all(file: &mut File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut slices, n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
