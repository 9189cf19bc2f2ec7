//! Opening a journal that is there.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::segment::{self, HEAD, JournalId, ReadError, SegmentReader};
use super::{JournalError, Place, Record};

/// Above the last position by more records than one opening can lose.
const GAP: u64 = 1 << 32;

pub(super) struct Recovered {
    pub id: Option<JournalId>,
    pub sizes: Vec<(u64, u64)>,
    pub last_position: u64,
}

/// Check all segments. The end of the last one may be torn and is cut off; anything else is damage.
pub(super) fn recover(
    dir: &Path,
    visit: &mut dyn FnMut(Place, &Record),
) -> Result<Recovered, JournalError> {
    let numbers = segment::list(dir).map_err(|e| JournalError::io(dir, &e))?;
    let mut recovered = Recovered {
        id: None,
        sizes: Vec::new(),
        last_position: 0,
    };
    for (index, &number) in numbers.iter().enumerate() {
        let is_last = index + 1 == numbers.len();
        let path = segment::path(dir, number);
        let failed = |e: std::io::Error| JournalError::io(&path, &e);
        let (mut reader, id) = SegmentReader::open(dir, number).map_err(failed)?;
        let len = reader.file_bytes().map_err(failed)?;
        let Some(id) = id.filter(|id| recovered.id.is_none_or(|known| known == *id)) else {
            // The head is synced before the first record is written: a short last file holds nothing yet.
            if is_last && len <= HEAD {
                remove(dir, &path)?;
                continue;
            }
            return Err(damaged(&path, 0));
        };
        recovered.id = Some(id);
        let mut set = Set::default();
        let end = loop {
            let offset = reader.offset();
            match reader.next(len) {
                Ok(Some(record)) if record.position > recovered.last_position => {
                    recovered.last_position = record.position;
                    let place = Place {
                        segment: number,
                        offset,
                        bytes: reader.offset() - offset,
                    };
                    if !set.add(place, record) {
                        return Err(damaged(&path, offset));
                    }
                    set.show(visit);
                }
                Ok(Some(_)) => return Err(damaged(&path, reader.offset())),
                Ok(None) => match set.begun() {
                    None => break offset,
                    // The end was cut off between two records that belong together.
                    Some(begun) if is_last => {
                        cut(&path, begun).map_err(failed)?;
                        break begun;
                    }
                    Some(begun) => return Err(damaged(&path, begun)),
                },
                Err(ReadError::Io(error)) => return Err(failed(error)),
                Err(ReadError::Bad { offset }) => {
                    if !is_last || !reader.is_torn_tail(len).map_err(failed)? {
                        return Err(damaged(&path, offset));
                    }
                    let end = set.begun().unwrap_or(offset);
                    cut(&path, end).map_err(failed)?;
                    break end;
                }
            }
        };
        recovered.sizes.push((number, end));
    }
    Ok(recovered)
}

/// Records that belong together, until the last of them has come.
#[derive(Default)]
struct Set {
    records: Vec<(Place, Record)>,
    missing: u32,
}

impl Set {
    /// False: the record is none of those that have to follow.
    fn add(&mut self, place: Place, record: Record) -> bool {
        if self.missing > 0 && record.followers != self.missing - 1 {
            return false;
        }
        self.missing = record.followers;
        self.records.push((place, record));
        true
    }

    fn show(&mut self, visit: &mut dyn FnMut(Place, &Record)) {
        if self.missing == 0 {
            for (place, record) in self.records.drain(..) {
                visit(place, &record);
            }
        }
    }

    /// Where records stand that wait for others.
    fn begun(&self) -> Option<u64> {
        self.records.first().map(|(place, _)| place.offset)
    }
}

fn cut(path: &Path, len: u64) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(len)?;
    file.sync_all()
}

fn remove(dir: &Path, path: &Path) -> Result<(), JournalError> {
    std::fs::remove_file(path)
        .and_then(|()| segment::sync_dir(dir))
        .map_err(|e| JournalError::io(path, &e))
}

fn damaged(path: &Path, offset: u64) -> JournalError {
    JournalError::Damaged {
        path: path.display().to_string(),
        offset,
        hint: "check the disk, keep a copy of the journal directory and move the file away to start without it",
    }
}

/// Where a new opening begins to count (see the module's head).
pub(super) fn next_position(last: u64) -> u64 {
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |d| d.as_micros() as u64);
    if last == 0 {
        clock
    } else {
        clock.max(last + GAP)
    }
}
