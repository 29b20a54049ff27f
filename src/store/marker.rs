//! The marker beside the data file: an instance's id and its last sequence.
//!
//! An empty or older data file must never be taken for an empty or older directory, or everybody would be taken out of
//! every application. The marker is what tells.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ids::{Instance, hex};

/// Read and write for the owner, nothing for anybody else.
const PRIVATE: u32 = 0o600;

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
        let mut file = create_private(&new)?;
        like_owner_of(&self.data, &file);
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

/// Creates a file for its owner alone, in place of one that a crash may have left: it holds what people's records say.
/// The mode is given at creation, so that there is no moment in which others can open it, and set again because an
/// umask may have taken from it.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(PRIVATE))?;
    Ok(file)
}

/// Gives a file that root writes to whom `other` belongs: root restores for the user that the gateway runs as. Whoever
/// else restores is that user, and may not give files away.
pub(super) fn like_owner_of(other: &Path, file: &File) {
    if let Ok(owner) = fs::metadata(other) {
        let _kept = fchown(file, Some(owner.uid()), Some(owner.gid()));
    }
}

/// What others than its owner may do with the file at `path`, as permission bits; `None`: nothing.
pub(super) fn open_to_others(path: &Path) -> io::Result<Option<u32>> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

/// A rename is on disk only when its directory is.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}
