use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const WAIT: Duration = Duration::from_secs(20);

/// What a publisher was told: (tags, outcome).
type Told = (Vec<u32>, Result<Placed, JournalError>);

struct Tell {
    settled: Sender<Told>,
    written: Sender<Vec<u32>>,
}

impl Publish<u32> for Tell {
    fn written(&mut self, group: &mut [Entry<u32>]) {
        let _ = self.written.send(group.iter().map(|e| e.tag).collect());
    }
    fn settled(&mut self, group: &mut Vec<Entry<u32>>, placed: Placed) {
        let _ = self
            .settled
            .send((group.iter().map(|e| e.tag).collect(), Ok(placed)));
    }
    fn failed(&mut self, group: &mut Vec<Entry<u32>>, _: u64, _: bool, error: &JournalError) {
        let _ = self
            .settled
            .send((group.iter().map(|e| e.tag).collect(), Err(error.clone())));
    }
    fn reached(&mut self, _: u32) {}
    fn is_idle(&mut self) -> bool {
        true
    }
    fn emptied(&mut self) {}
}

struct Opened {
    journal: Journal<u32>,
    settled: Receiver<Told>,
    written: Receiver<Vec<u32>>,
    found: Vec<Record>,
}

fn open(options: &Options) -> Result<Opened, JournalError> {
    let (settled_in, settled) = channel();
    let (written_in, written) = channel();
    let mut found = Vec::new();
    let journal = Journal::open(
        options,
        Box::new(Tell {
            settled: settled_in,
            written: written_in,
        }),
        &mut |_, record| found.push(record.clone()),
    )?;
    Ok(Opened {
        journal,
        settled,
        written,
        found,
    })
}

fn entry(tag: u32, level: Level, payload: Vec<u8>) -> Entry<u32> {
    Entry {
        level,
        kind: 1,
        meta: tag.to_le_bytes().to_vec(),
        payload,
        control: false,
        followers: 0,
        tag,
    }
}

fn store(opened: &Opened, tag: u32, payload: &[u8]) -> Placed {
    assert!(
        opened
            .journal
            .append(entry(tag, Level::Durable, payload.to_vec()))
    );
    let (tags, outcome) = opened.settled.recv_timeout(WAIT).expect("settled");
    assert_eq!(tags, [tag]);
    outcome.expect("placed")
}

fn last_file(dir: &Path) -> PathBuf {
    let last = segment::list(dir).expect("list").pop().expect("a segment");
    segment::path(dir, last)
}

#[test]
fn records_are_found_again_in_order_with_growing_positions() {
    let dir = tempfile::tempdir().expect("dir");
    let options = Options::new(dir.path());
    let mut positions = Vec::new();
    for round in 0..3_u32 {
        let opened = open(&options).expect("open");
        assert_eq!(opened.found.len() as u32, round * 2);
        for tag in [round * 2, round * 2 + 1] {
            positions.push(store(&opened, tag, format!("payload {tag}").as_bytes()).first);
        }
    }
    let opened = open(&options).expect("open");
    assert_eq!(
        opened.found.iter().map(|r| r.position).collect::<Vec<_>>(),
        positions
    );
    assert!(positions.is_sorted_by(|a, b| a < b));
    assert_eq!(opened.found[5].payload, b"payload 5");
}

/// A journal with one record and three that belong together; where these begin, and all bytes of its last file.
fn with_a_set(dir: &Path) -> (u64, Vec<u8>) {
    let opened = open(&Options::new(dir)).expect("open");
    let alone = store(&opened, 0, b"alone");
    let together = (1..4).map(|tag| entry(tag, Level::Durable, vec![tag as u8; 40]));
    opened.journal.append_all(together.collect()).expect("open");
    let (tags, placed) = opened.settled.recv_timeout(WAIT).expect("settled");
    assert_eq!(tags, [1, 2, 3]);
    let start = placed.expect("placed").start;
    assert!(start > alone.start);
    drop(opened);
    (start, std::fs::read(last_file(dir)).expect("read"))
}

#[test]
fn records_that_belong_together_are_all_there_or_none() {
    let dir = tempfile::tempdir().expect("dir");
    let (start, bytes) = with_a_set(dir.path());
    let file = last_file(dir.path());
    for end in start as usize..=bytes.len() {
        for other in segment::list(dir.path()).expect("list") {
            let path = segment::path(dir.path(), other);
            std::fs::remove_file(path).expect("remove");
        }
        std::fs::write(&file, &bytes[..end]).expect("write");
        let opened = open(&Options::new(dir.path())).expect("open");
        let found: Vec<u8> = opened.found.iter().map(|r| r.meta[0]).collect();
        let all = end == bytes.len();
        assert_eq!(found, if all { vec![0, 1, 2, 3] } else { vec![0] }, "{end}");
        store(&opened, 9, b"it goes on");
        drop(opened);
        let found = open(&Options::new(dir.path())).expect("open").found;
        assert_eq!(found.len(), if all { 5 } else { 2 }, "{end}");
    }
}

#[test]
fn a_set_that_lacks_a_record_in_an_earlier_file_is_damage() {
    let dir = tempfile::tempdir().expect("dir");
    let (start, bytes) = with_a_set(dir.path());
    let file = last_file(dir.path());
    store(&open(&Options::new(dir.path())).expect("open"), 4, b"later");
    let length = u32::from_le_bytes(bytes[start as usize..][..4].try_into().expect("4 bytes"));
    let first = start as usize + record::HEADER + length as usize;
    std::fs::write(&file, &bytes[..first]).expect("write");
    let failed = open(&Options::new(dir.path())).err().expect("damage");
    assert!(matches!(failed, JournalError::Damaged { offset, .. } if offset == start));
}

#[test]
fn a_group_is_synced_once_and_only_then_settled() {
    let dir = tempfile::tempdir().expect("dir");
    let (syncs, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(())));
    let mut options = Options::new(dir.path());
    options.before_sync = Some({
        let (syncs, gate) = (syncs.clone(), gate.clone());
        Arc::new(move || {
            drop(gate.lock());
            syncs.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
    });
    let opened = open(&options).expect("open");
    let held = gate.lock();
    opened.journal.append(entry(0, Level::Durable, vec![0]));
    assert_eq!(opened.written.recv_timeout(WAIT).expect("written"), [0]);
    for tag in 1..=50 {
        opened
            .journal
            .append(entry(tag, Level::Durable, vec![0; 20_000]));
    }
    // The first group waits in its sync: nothing may be acknowledged.
    assert!(opened.settled.try_recv().is_err());
    drop(held);
    assert_eq!(opened.settled.recv_timeout(WAIT).expect("first").0, [0]);
    let (tags, outcome) = opened.settled.recv_timeout(WAIT).expect("second");
    assert_eq!(tags, (1..=50).collect::<Vec<_>>());
    assert!(outcome.is_ok());
    assert_eq!(syncs.load(Ordering::SeqCst), 2);
}

#[test]
fn records_that_belong_together_are_one_group_whatever_their_size() {
    let dir = tempfile::tempdir().expect("dir");
    let syncs = Arc::new(AtomicUsize::new(0));
    let mut options = Options::new(dir.path());
    options.group_bytes = 1_000;
    options.before_sync = Some({
        let syncs = syncs.clone();
        Arc::new(move || {
            syncs.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
    });
    let opened = open(&options).expect("open");
    for first in [0, 10, 20] {
        let tags = first..first + 3;
        let entries = tags
            .clone()
            .map(|tag| entry(tag, Level::Durable, vec![0; 900]));
        assert!(opened.journal.append_all(entries.collect()).is_ok());
        let (told, outcome) = opened.settled.recv_timeout(WAIT).expect("settled");
        assert_eq!(told, tags.collect::<Vec<_>>());
        assert!(outcome.is_ok());
    }
    assert_eq!(syncs.load(Ordering::SeqCst), 3);
    opened.journal.close();
    let refused = opened
        .journal
        .append_all(vec![entry(9, Level::Durable, vec![])]);
    assert_eq!(refused.map_err(|entries| entries.len()), Err(1));
}

#[test]
fn a_failed_sync_acknowledges_nothing_ever_after() {
    let dir = tempfile::tempdir().expect("dir");
    let broken = Arc::new(AtomicBool::new(true));
    let mut options = Options::new(dir.path());
    options.before_sync = Some({
        let broken = broken.clone();
        Arc::new(move || {
            if broken.load(Ordering::SeqCst) {
                Err(io::Error::other("the disk is gone"))
            } else {
                Ok(())
            }
        })
    });
    let opened = open(&options).expect("open");
    for tag in 0..2 {
        opened.journal.append(entry(tag, Level::Durable, vec![1]));
        let (_, outcome) = opened.settled.recv_timeout(WAIT).expect("told");
        assert!(
            matches!(outcome, Err(JournalError::Failed(text)) if text.contains("the disk is gone"))
        );
        broken.store(false, Ordering::SeqCst); // the disk's return changes nothing
    }
}

/// What a crash would leave now: the directory without the lock's holder.
fn crashed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("dir");
    for number in segment::list(dir).expect("list") {
        let (from, to) = (
            segment::path(dir, number),
            segment::path(copy.path(), number),
        );
        std::fs::copy(from, to).expect("copied");
    }
    copy
}

fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).expect("there").len()
}

#[test]
fn zeros_that_a_crash_leaves_behind_the_records_are_cut_off() {
    let dir = tempfile::tempdir().expect("dir");
    let opened = open(&Options::new(dir.path())).expect("open");
    store(&opened, 0, &[1; 100]);
    let last = store(&opened, 1, &[2; 100]);
    let (file, copy) = (last_file(dir.path()), crashed(dir.path()));
    let end = last.start + (record::HEADER + 4 + 100) as u64;
    assert!(file_bytes(&file) > end, "a small group has zeros behind it");
    drop(opened);
    assert_eq!(file_bytes(&file), end, "not so when the journal is closed");
    let left = last_file(copy.path());
    let again = open(&Options::new(copy.path())).expect("open");
    assert_eq!(again.found.len(), 2);
    assert_eq!(file_bytes(&left), end);
    store(&again, 2, b"it goes on");
    let twice = crashed(copy.path());
    assert_eq!(
        open(&Options::new(twice.path())).expect("open").found.len(),
        3
    );
}

#[test]
fn a_record_torn_among_zeros_is_cut_off_and_a_damaged_one_is_told() {
    let dir = tempfile::tempdir().expect("dir");
    let opened = open(&Options::new(dir.path())).expect("open");
    let places = [1, 2, 3].map(|tag| store(&opened, tag, &[tag as u8; 100]).start as usize);
    let copy = crashed(dir.path());
    let file = last_file(copy.path());
    let whole = std::fs::read(&file).expect("read");
    let opened_with = |bytes: &[u8]| {
        for other in segment::list(copy.path()).expect("list") {
            std::fs::remove_file(segment::path(copy.path(), other)).expect("removed");
        }
        std::fs::write(&file, bytes).expect("written");
        open(&Options::new(copy.path()))
    };
    let end = places[2] + record::HEADER + 4 + 100;
    for cut in places[2]..=end {
        let mut torn = whole.clone();
        torn[cut..end].fill(0);
        let found = opened_with(&torn).expect("a torn end is no damage").found;
        assert_eq!(found.len(), if cut == end { 3 } else { 2 }, "{cut}");
    }
    for synced in [places[0], places[1]] {
        let mut damaged = whole.clone();
        damaged[synced + record::HEADER + 10] ^= 1;
        let told = opened_with(&damaged).err();
        assert!(
            matches!(told, Some(JournalError::Damaged { offset, .. }) if offset == synced as u64)
        );
    }
}

#[test]
fn every_segment_but_the_last_ends_with_its_last_record() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = Options::new(dir.path());
    options.segment_bytes = 4096;
    let opened = open(&options).expect("open");
    for tag in 0..100 {
        store(&opened, tag, &[7; 100]);
    }
    let copy = crashed(dir.path());
    let numbers = segment::list(copy.path()).expect("list");
    let record = (record::HEADER + 4 + 100) as u64;
    for number in &numbers[..numbers.len() - 1] {
        let bytes = file_bytes(&segment::path(copy.path(), *number));
        assert!(
            bytes <= 4096 && (bytes - segment::HEAD).is_multiple_of(record),
            "{bytes}"
        );
    }
    options.dir = copy.path().into();
    assert_eq!(open(&options).expect("open").found.len(), 100);
}

#[test]
fn the_byte_limit_refuses_and_freed_segments_make_room() {
    let dir = tempfile::tempdir().expect("dir");
    let mut options = Options::new(dir.path());
    options.segment_bytes = 4096;
    options.limit_bytes = 12_000;
    let opened = open(&options).expect("open");
    let mut tag = 0;
    let (refused, last) = loop {
        opened
            .journal
            .append(entry(tag, Level::Durable, vec![7; 1000]));
        match opened.settled.recv_timeout(WAIT).expect("told").1 {
            Ok(_) => tag += 1,
            Err(error) => break (error, *opened.journal.segments().last().expect("segment")),
        }
    };
    assert!(matches!(refused, JournalError::Limit(text) if text.contains("limit")));
    opened.journal.remove_through(last - 1).expect("freed");
    store(&opened, 999, &[7; 1000]);
    assert_eq!(opened.journal.segments().first(), Some(&last));
}

#[test]
fn an_emptied_segment_goes_on_with_later_positions() {
    let dir = tempfile::tempdir().expect("dir");
    let options = Options::new(dir.path());
    let opened = open(&options).expect("open");
    let first = store(&opened, 0, &[1; 5000]);
    opened.journal.rewind();
    let mut second = store(&opened, 1, b"after");
    while second.start != first.start {
        second = store(&opened, 1, b"after"); // it came before the rewind, which waits for a quiet moment
    }
    assert!(second.first > first.first);
    drop(opened);
    let again = open(&options).expect("open");
    let payloads: Vec<_> = again.found.iter().map(|r| r.payload.clone()).collect();
    assert_eq!(payloads, [b"after"]);
}

#[test]
fn a_second_journal_in_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let options = Options::new(dir.path());
    let _first = open(&options).expect("open");
    let refused = open(&options).err().expect("refused");
    assert!(
        refused
            .to_string()
            .contains("another node uses this journal")
    );
}

#[test]
fn a_damaged_byte_in_the_middle_is_told_and_not_skipped() {
    let dir = tempfile::tempdir().expect("dir");
    let options = Options::new(dir.path());
    let opened = open(&options).expect("open");
    let first = store(&opened, 0, &[1; 100]);
    store(&opened, 1, &[2; 100]);
    store(&opened, 2, &[3; 100]);
    drop(opened);
    let path = last_file(dir.path());
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[first.start as usize + 100] ^= 1;
    std::fs::write(&path, bytes).expect("write");
    assert!(matches!(
        open(&options).err(),
        Some(JournalError::Damaged { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A crash may leave any part of what was not synced: what is found is a prefix, and all that was synced.
    #[test]
    fn a_cut_anywhere_leaves_a_prefix(sizes in proptest::collection::vec(0_usize..3000, 1..8), cut in 0.0_f64..1.0) {
        let dir = tempfile::tempdir().expect("dir");
        let options = Options::new(dir.path());
        let opened = open(&options).expect("open");
        for (tag, size) in sizes.iter().enumerate() {
            opened.journal.append(entry(tag as u32, Level::Fast, vec![tag as u8; *size]));
        }
        let mut settled = 0;
        while settled < sizes.len() {
            settled += opened.settled.recv_timeout(WAIT).expect("told").0.len();
        }
        drop(opened);
        let path = last_file(dir.path());
        let bytes = std::fs::read(&path).expect("read");
        let end = HEAD_BYTES + ((bytes.len() - HEAD_BYTES) as f64 * cut) as usize;
        std::fs::write(&path, &bytes[..end]).expect("cut");
        let opened = open(&options).expect("a torn end is no damage");
        prop_assert!(opened.found.len() <= sizes.len());
        for (at, record) in opened.found.iter().enumerate() {
            prop_assert_eq!(&record.payload, &vec![at as u8; sizes[at]]);
        }
        // It goes on after the cut.
        store(&opened, 77, b"after");
        drop(opened);
        let again = open(&options).expect("open");
        prop_assert_eq!(again.found.last().map(|r| r.payload.clone()), Some(b"after".to_vec()));
    }
}

const HEAD_BYTES: usize = segment::HEAD as usize;
