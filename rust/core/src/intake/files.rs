//! Where a client writes files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blobs::keep_blob;
use crate::mapping::BlobSource;

/// Directories of a client.
#[derive(Clone, Debug, Default)]
pub struct Directories {
    /// For raw messages that fail.
    pub errors: Option<PathBuf>,
    /// For all messages, which are not mapped then.
    pub log: Option<PathBuf>,
    /// For the contents of blob columns.
    pub blobs: Option<PathBuf>,
}

/// Files of a client.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// Raw messages that failed, by topic number.
    pub errors: Option<Vec<Arc<Path>>>,
    /// All messages, unmapped.
    pub all: Option<Arc<Path>>,
    blobs: Option<PathBuf>,
}

impl Files {
    pub fn new(broker: &str, topics: &[String], directories: Directories) -> Self {
        let broker = crate::names::sanitize(broker);
        let of_topic = |dir: &Path, topic: &str| -> Arc<Path> {
            let topic = crate::names::sanitize(topic);
            dir.join(format!("err_{broker}.{topic}.0.0.0.json")).into()
        };
        Self {
            errors: directories
                .errors
                .map(|dir| topics.iter().map(|topic| of_topic(&dir, topic)).collect()),
            all: directories
                .log
                .map(|dir| dir.join(format!("log_{broker}.json")).into()),
            blobs: directories.blobs,
        }
    }

    pub fn keeps_blobs(&self) -> bool {
        self.blobs.is_some()
    }

    pub fn keep_blob(&self, source: BlobSource<'_>) -> Result<String, String> {
        let dir = self
            .blobs
            .as_deref()
            .ok_or("the client has no directory for blobs")?;
        keep_blob(dir, source)
    }
}
