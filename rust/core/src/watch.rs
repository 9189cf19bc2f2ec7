//! Notifications of one directory: what was written, moved in, changed or taken away.
//!
//! The descriptor is non-blocking, so that an event loop can wait for it and read what there is.
//! Linux only (inotify); elsewhere `Watch::open` says so and the caller scans instead.

#[cfg(not(target_os = "linux"))]
use std::io;
#[cfg(not(target_os = "linux"))]
use std::path::Path;

/// What happened to an entry of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Closed by a writer.
    Written,
    /// Renamed into the directory, complete.
    MovedIn,
    /// Entered: opened by a creator, or linked in whole.
    Created,
    /// Written to by someone who has it still open.
    Open,
    /// Deleted or renamed away.
    Gone,
    /// Notifications were lost, or the directory itself went away: look for yourself.
    Lost,
}

impl Change {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::MovedIn => "moved in",
            Self::Created => "created",
            Self::Open => "open",
            Self::Gone => "gone",
            Self::Lost => "lost",
        }
    }
}

/// One notification; `name` is the entry's name in the directory, as bytes, empty for `Lost`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub change: Change,
    pub name: Vec<u8>,
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Change, Event};
    use std::ffi::CString;
    use std::fs::File;
    use std::io::{self, Read};
    use std::os::fd::{AsRawFd, FromRawFd, RawFd};
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    const WRITTEN: u32 = libc::IN_CLOSE_WRITE;
    const MOVED_IN: u32 = libc::IN_MOVED_TO;
    const CREATED: u32 = libc::IN_CREATE;
    const OPEN: u32 = libc::IN_MODIFY;
    const GONE: u32 = libc::IN_DELETE | libc::IN_MOVED_FROM;
    const LOST: u32 = libc::IN_Q_OVERFLOW | libc::IN_IGNORED | libc::IN_UNMOUNT;
    /// wd, mask, cookie, len of `struct inotify_event`, 4 bytes each; the name follows.
    const HEAD: usize = 16;

    /// A directory under observation.
    #[derive(Debug)]
    pub struct Watch {
        queue: File,
    }

    impl Watch {
        /// Starts to observe `directory`.
        pub fn open(directory: &Path) -> io::Result<Self> {
            let path = CString::new(directory.as_os_str().as_bytes())?;
            // SAFETY: no pointers are passed; the result is checked before use.
            #[allow(unsafe_code)]
            let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: `fd` was just opened and belongs to nobody else; the File closes it.
            #[allow(unsafe_code)]
            let queue = unsafe { File::from_raw_fd(fd) };
            let mask = WRITTEN | MOVED_IN | CREATED | OPEN | GONE | libc::IN_ONLYDIR;
            // SAFETY: `path` is a NUL-terminated string that outlives the call.
            #[allow(unsafe_code)]
            let watch = unsafe { libc::inotify_add_watch(fd, path.as_ptr(), mask) };
            if watch < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { queue })
        }

        /// Descriptor to wait on; it stays owned by the watch.
        pub fn fd(&self) -> RawFd {
            self.queue.as_raw_fd()
        }

        /// What happened since the last call; a run of equal events is one. Never waits.
        pub fn read(&mut self) -> io::Result<Vec<Event>> {
            let mut found = Vec::new();
            let mut buffer = [0_u8; 16 * 1024];
            loop {
                match self.queue.read(&mut buffer) {
                    Ok(0) => return Ok(found),
                    Ok(n) => split(&buffer[..n], &mut found),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(found),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
        }
    }

    fn word(bytes: &[u8], at: usize) -> u32 {
        let mut four = [0; 4];
        four.copy_from_slice(&bytes[at..at + 4]);
        u32::from_ne_bytes(four)
    }

    /// Cuts what the kernel wrote into events.
    pub(super) fn split(mut bytes: &[u8], found: &mut Vec<Event>) {
        while bytes.len() >= HEAD {
            let mask = word(bytes, 4);
            let end = (HEAD + word(bytes, 12) as usize).min(bytes.len());
            let name = &bytes[HEAD..end];
            let name = &name[..name.iter().position(|&b| b == 0).unwrap_or(name.len())];
            bytes = &bytes[end..];
            let change = match mask {
                m if m & LOST != 0 => Change::Lost,
                m if m & libc::IN_ISDIR != 0 => continue,
                m if m & WRITTEN != 0 => Change::Written,
                m if m & MOVED_IN != 0 => Change::MovedIn,
                m if m & GONE != 0 => Change::Gone,
                m if m & CREATED != 0 => Change::Created,
                m if m & OPEN != 0 => Change::Open,
                _ => continue,
            };
            let event = Event {
                change,
                name: name.to_vec(),
            };
            if found.last() != Some(&event) {
                found.push(event);
            }
        }
    }
}

#[cfg(target_os = "linux")]
pub use linux::Watch;

/// Stands where the system has no inotify.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub struct Watch;

#[cfg(not(target_os = "linux"))]
impl Watch {
    pub fn open(_directory: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn fd(&self) -> i32 {
        -1
    }

    pub fn read(&mut self) -> io::Result<Vec<Event>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn changes(watch: &mut Watch) -> Vec<(Change, String)> {
        watch
            .read()
            .expect("readable")
            .into_iter()
            .map(|e| (e.change, String::from_utf8(e.name).expect("ascii")))
            .collect()
    }

    #[test]
    fn a_written_file_is_created_open_then_written() {
        let dir = tempfile::tempdir().expect("dir");
        let mut watch = Watch::open(dir.path()).expect("watch");
        fs::write(dir.path().join("a.json"), "{}").expect("write");
        assert_eq!(
            changes(&mut watch),
            [
                (Change::Created, "a.json".into()),
                (Change::Open, "a.json".into()),
                (Change::Written, "a.json".into())
            ]
        );
        assert_eq!(changes(&mut watch), []);
    }

    #[test]
    fn a_rename_into_the_directory_and_away_is_told() {
        let (dir, other) = (
            tempfile::tempdir().expect("dir"),
            tempfile::tempdir().expect("dir"),
        );
        fs::write(other.path().join("x"), "1").expect("write");
        let mut watch = Watch::open(dir.path()).expect("watch");
        fs::rename(other.path().join("x"), dir.path().join("x")).expect("rename");
        fs::rename(dir.path().join("x"), other.path().join("x")).expect("rename");
        assert_eq!(
            changes(&mut watch),
            [(Change::MovedIn, "x".into()), (Change::Gone, "x".into())]
        );
    }

    #[test]
    fn directories_inside_are_no_files() {
        let dir = tempfile::tempdir().expect("dir");
        let mut watch = Watch::open(dir.path()).expect("watch");
        fs::create_dir(dir.path().join("sub")).expect("mkdir");
        assert_eq!(changes(&mut watch), []);
    }

    #[test]
    fn a_removed_directory_is_told_as_lost() {
        let dir = tempfile::tempdir().expect("dir");
        let mut watch = Watch::open(dir.path()).expect("watch");
        fs::remove_dir(dir.path()).expect("rmdir");
        assert_eq!(changes(&mut watch), [(Change::Lost, String::new())]);
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        assert!(Watch::open(Path::new("/nonexistent/nowhere")).is_err());
    }

    #[test]
    fn a_cut_event_does_not_panic() {
        let mut found = Vec::new();
        linux::split(&[1; 20], &mut found);
        linux::split(&[1; 7], &mut found);
    }
}
