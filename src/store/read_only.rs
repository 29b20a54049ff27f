//! Reading a data file without a gateway, for the command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::{Builder, DatabaseError, ReadOnlyDatabase, ReadableDatabase};

use crate::error::Fault;

use super::front::Store;
use super::ids::Instance;
use super::open::{Found, OpenError, SMALL_CACHE, check_and_open, failed};
use super::tables::{SCHEMA, Trouble};
use super::view::View;

/// A data file opened for reading only, by the command line, without a gateway.
#[derive(Debug)]
pub struct ReadStore {
    db: ReadOnly,
    instance: Instance,
    checked: bool,
    pub(super) path: PathBuf,
}

struct ReadOnly(ReadOnlyDatabase);

impl std::fmt::Debug for ReadOnly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadOnly")
    }
}

impl ReadStore {
    /// A snapshot. See [`Store::view`].
    ///
    /// # Errors
    /// [`Fault::Internal`]: the disk.
    pub fn view(&self) -> Result<View, Fault> {
        let transaction = self.db.0.begin_read().map_err(Trouble::from)?;
        Ok(View::new(transaction, self.instance)?)
    }

    /// Whether every page was checked. It was if a crash had left the file in need of repair; else only the rows that
    /// are read are.
    #[must_use]
    pub fn checked(&self) -> bool {
        self.checked
    }
}

impl Store {
    /// Opens a data file for reading, while no gateway runs. Where a crash left it in need of repair, repairs it first
    /// if it may. What the crashed process left as intents stays for the next start.
    ///
    /// # Errors
    /// As [`OpenError`] says.
    pub fn open_read_only(path: &Path) -> Result<ReadStore, OpenError> {
        let (db, checked) = match read_only(path) {
            Ok(db) => (db, false),
            Err(DatabaseError::RepairAborted) => {
                if !may_write(path) {
                    return Err(OpenError::NeedsRepair(path.to_owned()));
                }
                let repaired = check_and_open(path, SMALL_CACHE, Duration::ZERO, |_| ())?;
                repaired.close().map_err(|error| failed(path, error))?;
                (read_only(path).map_err(|error| failed(path, error))?, true)
            }
            Err(error) => return Err(failed(path, error)),
        };
        let found = Found::load(&db)?;
        if found.schema < SCHEMA {
            return Err(OpenError::Older {
                found: found.schema,
                known: SCHEMA,
            });
        }
        Ok(ReadStore {
            db: ReadOnly(db),
            instance: found.instance,
            checked,
            path: path.to_owned(),
        })
    }
}

pub(super) fn read_only(path: &Path) -> Result<ReadOnlyDatabase, DatabaseError> {
    Builder::new()
        .set_cache_size(SMALL_CACHE)
        .open_read_only(path)
}

fn may_write(path: &Path) -> bool {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .is_ok()
}
