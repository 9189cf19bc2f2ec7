//! Records of one table that stand one behind the other in a segment: the small form of what waits in the journal.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::meta::Meta;
use crate::journal::{JournalError, Place, ReadError, Record, SegmentReader};

/// Bytes of one run at most, so that a long journal comes back in pieces.
pub const RUN_BYTES: u64 = 4 << 20;
/// What a run costs in memory, with its origin when it has one of its own.
pub const RUN_MEMORY: usize = 160;

/// Where rows come from, as file names carry it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    pub source: String,
    pub instructions: String,
}

/// Records with consecutive positions, of one table and one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub first: u64,
    pub records: u64,
    pub rows: u64,
    pub segment: u64,
    pub offset: u64,
    pub bytes: u64,
    pub origin: Arc<Origin>,
}

impl Run {
    /// One record.
    pub fn new(position: u64, rows: u64, place: Place, origin: Arc<Origin>) -> Self {
        Self {
            first: position,
            records: 1,
            rows,
            segment: place.segment,
            offset: place.offset,
            bytes: place.bytes,
            origin,
        }
    }

    pub fn last(&self) -> u64 {
        self.first + self.records - 1
    }

    fn end(&self) -> u64 {
        self.offset + self.bytes
    }

    /// Take in a run that follows at once; false when it doesn't.
    fn join(&mut self, next: &Run) -> bool {
        let follows = next.first == self.first + self.records
            && next.segment == self.segment
            && next.offset == self.end()
            && self.bytes + next.bytes <= RUN_BYTES
            && (Arc::ptr_eq(&self.origin, &next.origin) || self.origin == next.origin);
        if follows {
            self.records += next.records;
            self.rows += next.rows;
            self.bytes += next.bytes;
        }
        follows
    }
}

/// Runs in the order of their positions.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    list: VecDeque<Run>,
    pub rows: u64,
    pub bytes: u64,
}

impl Runs {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn first(&self) -> Option<u64> {
        self.list.front().map(|run| run.first)
    }

    pub fn memory(&self) -> usize {
        self.list.len() * RUN_MEMORY
    }

    pub fn iter(&self) -> impl Iterator<Item = &Run> {
        self.list.iter()
    }

    pub fn push(&mut self, run: Run) {
        self.rows += run.rows;
        self.bytes += run.bytes;
        if !self.list.back_mut().is_some_and(|last| last.join(&run)) {
            self.list.push_back(run);
        }
    }

    /// Put runs before all others.
    pub fn put_first(&mut self, earlier: Runs) {
        self.rows += earlier.rows;
        self.bytes += earlier.bytes;
        for run in earlier.list.into_iter().rev() {
            self.list.push_front(run);
        }
    }

    pub fn pop(&mut self) -> Option<Run> {
        let run = self.list.pop_front()?;
        self.rows -= run.rows;
        self.bytes -= run.bytes;
        Some(run)
    }

    /// Runs from the front up to about this many bytes, one at least.
    pub fn pop_bytes(&mut self, bytes: u64) -> Runs {
        let mut taken = Runs::default();
        while taken.bytes < bytes
            && let Some(run) = self.pop()
        {
            taken.push(run);
        }
        taken
    }

    /// Take the records of a range of positions out; runs that it cuts are read to find the place of the cut.
    pub fn take_range(
        &mut self,
        first: u64,
        last: u64,
        reader: &mut Reader,
    ) -> Result<Runs, JournalError> {
        let (mut taken, mut rest) = (Runs::default(), Runs::default());
        for run in &self.list {
            let (before, inside) = reader.split(run.clone(), first)?;
            let (inside, after) = match inside {
                Some(run) => reader.split(run, last.saturating_add(1))?,
                None => (None, None),
            };
            rest.extend(before.into_iter().chain(after));
            taken.extend(inside);
        }
        *self = rest;
        Ok(taken)
    }
}

impl FromIterator<Run> for Runs {
    fn from_iter<T: IntoIterator<Item = Run>>(runs: T) -> Self {
        let mut made = Self::default();
        made.extend(runs);
        made
    }
}

impl Extend<Run> for Runs {
    fn extend<T: IntoIterator<Item = Run>>(&mut self, runs: T) {
        for run in runs {
            self.push(run);
        }
    }
}

/// Reads records of runs; the segment used last stays open.
pub struct Reader {
    dir: PathBuf,
    open: Option<(u64, SegmentReader)>,
}

impl Reader {
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            open: None,
        }
    }

    /// Show every record of a run, with its head.
    pub fn each(
        &mut self,
        run: &Run,
        visit: &mut dyn FnMut(Place, Record, Meta),
    ) -> Result<(), JournalError> {
        let dir = self.dir.clone();
        let failed = |text: String| {
            let (segment, dir) = (run.segment, dir.display());
            JournalError::Failed(format!("segment {segment} of {dir}: {text}"))
        };
        let reader = match &mut self.open {
            Some((segment, reader)) if *segment == run.segment => reader,
            _ => {
                let (reader, _) = SegmentReader::open(&self.dir, run.segment)
                    .map_err(|e| failed(e.to_string()))?;
                &mut self.open.insert((run.segment, reader)).1
            }
        };
        reader.seek(run.offset);
        for position in run.first..=run.last() {
            let offset = reader.offset();
            let record = match reader.next(run.end()) {
                Ok(Some(record)) if record.position == position => record,
                Ok(_) => return Err(failed(format!("record {position} is not there"))),
                Err(ReadError::Io(error)) => return Err(failed(error.to_string())),
                Err(ReadError::Bad { offset }) => {
                    return Err(failed(format!("damaged record at byte {offset}")));
                }
            };
            let place = Place {
                segment: run.segment,
                offset,
                bytes: reader.offset() - offset,
            };
            let meta = Meta::decode(&record.meta)
                .ok_or_else(|| failed(format!("record {position} has no head")))?;
            visit(place, record, meta);
        }
        Ok(())
    }

    /// Cut a run before a position.
    fn split(
        &mut self,
        run: Run,
        position: u64,
    ) -> Result<(Option<Run>, Option<Run>), JournalError> {
        if run.last() < position {
            return Ok((Some(run), None));
        }
        if run.first >= position {
            return Ok((None, Some(run)));
        }
        let (mut before, mut after) = (Runs::default(), Runs::default());
        self.each(&run, &mut |place, record, meta| {
            let side = if record.position < position {
                &mut before
            } else {
                &mut after
            };
            let rows = u64::from(meta.rows);
            side.push(Run::new(record.position, rows, place, run.origin.clone()));
        })?;
        Ok((before.pop(), after.pop()))
    }
}
