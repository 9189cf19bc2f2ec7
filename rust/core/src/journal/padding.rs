//! Zeros ahead of the records: while groups are small, a sync finds its place in the file there already and writes
//! data only, where a file that grows has the file system write its own log as well.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Groups up to this size are worth zeros: what these add to the writes is less than what the file system saves.
const SMALL_BYTES: u64 = 2048;
const AHEAD_BYTES: u64 = 64 << 10;
static ZEROS: [u8; AHEAD_BYTES as usize] = [0; AHEAD_BYTES as usize];

/// What stands behind the last record of the segment that is being written.
#[derive(Default)]
pub(super) struct Padding {
    /// There may be zeros up to here.
    end: u64,
    last_group_bytes: u64,
    /// There was no room for them: none in this segment any more.
    given_up: bool,
}

impl Padding {
    /// A group of so many bytes has been written, up to `good`, and is to be synced. When it has reached beyond the
    /// zeros new ones follow, up to `most` at most; not when it or the one before it was large, for among large groups
    /// they would serve one small group each.
    pub fn extend(&mut self, file: &File, good: u64, group_bytes: u64, most: u64) {
        let larger = group_bytes.max(self.last_group_bytes);
        self.last_group_bytes = group_bytes;
        let end = (good + AHEAD_BYTES).min(most);
        if self.given_up || larger > SMALL_BYTES || good <= self.end || end <= good {
            return;
        }
        self.end = end;
        let zeros = &ZEROS[..(end - good) as usize];
        if file.write_all_at(zeros, good).is_err() {
            // They are not worth the last of a disk. If this fails too, the segment is cut when it ends.
            self.given_up = true;
            let _ = self.cut(file, good);
        }
    }

    /// Whether there may be something behind the last record, which ends at `good`.
    pub fn is_behind(&self, good: u64) -> bool {
        self.end > good
    }

    /// Ends the file with its last record. Not synced.
    pub fn cut(&mut self, file: &File, good: u64) -> std::io::Result<()> {
        file.set_len(good)?;
        self.end = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn length(file: &File) -> u64 {
        file.metadata().expect("there").len()
    }

    #[test]
    fn zeros_follow_small_groups_only() {
        let file = tempfile::tempfile().expect("file");
        let mut padding = Padding::default();
        // Size of the group, its end, length of the file then.
        for (bytes, good, then) in [
            (300, 300, 300 + AHEAD_BYTES),
            (300, 600, 300 + AHEAD_BYTES),
            (1 << 20, 2 << 20, 300 + AHEAD_BYTES),
            (300, 3 << 20, 300 + AHEAD_BYTES),
            (300, 4 << 20, (4 << 20) + AHEAD_BYTES),
        ] {
            padding.extend(&file, good, bytes, u64::MAX);
            assert_eq!(length(&file), then, "{good}");
        }
        assert!(padding.is_behind(4 << 20));
        padding.cut(&file, 4 << 20).expect("cut");
        assert_eq!(length(&file), 4 << 20);
        assert!(!padding.is_behind(4 << 20));
    }

    #[test]
    fn zeros_end_where_the_segment_ends() {
        let file = tempfile::tempfile().expect("file");
        let mut padding = Padding::default();
        padding.extend(&file, 900, 100, 1000);
        assert_eq!(length(&file), 1000);
        padding.extend(&file, 1100, 100, 1000);
        assert_eq!(length(&file), 1000);
    }

    #[test]
    fn without_room_there_are_none_and_they_are_not_tried_again() {
        let named = tempfile::NamedTempFile::new().expect("file");
        let unwritable = File::open(named.path()).expect("opened");
        let mut padding = Padding::default();
        padding.extend(&unwritable, 100, 100, u64::MAX);
        // It could not be cut either, so that may still have to be done.
        assert!(padding.is_behind(100));
        padding.extend(named.as_file(), 1 << 20, 100, u64::MAX);
        assert_eq!(length(named.as_file()), 0);
    }
}
