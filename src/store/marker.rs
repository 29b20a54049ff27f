//! The marker beside the data file: an instance's id and its last sequence.
//!
//! An empty or older data file must never be taken for an empty or older directory, or everybody would be taken out of
//! every application. The marker is what tells.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ids::{Instance, hex};

/// What a marker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marked {
    /// The instance's id, in hex.
    pub(super) instance: String,
    /// The journal's last sequence when it was written.
    pub(super) sequence: u64,
}

/// Where a data file's marker is.
#[derive(Debug, Clone)]
pub(super) struct Marker {
    data: PathBuf,
}

impl Marker {
    pub(super) fn beside(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
        }
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// `None`: there is none.
    pub(super) fn read(&self) -> io::Result<Option<Marked>> {
        let bytes = match fs::read(self.path()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Replaces the marker: whole or not at all, and on disk when this returns.
    pub(super) fn write(&self, instance: Instance, sequence: u64) -> io::Result<()> {
        let marked = Marked {
            instance: hex(&instance.0),
            sequence,
        };
        let new = with_suffix(&self.data, ".marker.new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(&marked)?)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&new, self.path())?;
        sync_directory(&self.data)
    }

    pub(super) fn path(&self) -> PathBuf {
        with_suffix(&self.data, ".marker")
    }
}

/// `path` with something behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

/// A rename is on disk only when its directory is.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}
