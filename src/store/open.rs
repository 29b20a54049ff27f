//! Opening: creation that a crash cannot half-do, the integrity check, the marker's rules. What an older build wrote is
//! [`super::migrate`]'s, the intents that an earlier process left are [`super::leftover`]'s.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTableMetadata, StorageBackend,
};

use crate::clock::Timestamp;

use super::apply::Writer;
use super::front::{Running, Store};
use super::ids::{Instance, hex};
use super::leftover;
use super::manifest;
use super::marker::{Marker, create_private, open_to_others, sync_directory, with_suffix};
use super::migrate;
use super::restored;
use super::tables::{self, Head, ROWS, SCHEMA, STATE, Seal, Trouble, name};
use super::transaction::Transaction;
use super::view::View;

/// How often a locked file is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(50);
/// Cache for the short-lived readers of the command line, and for a directory in memory.
pub(super) const SMALL_CACHE: usize = 16 << 20;

/// How long notes of reads are kept where nobody says otherwise.
const KEEP_READS: Duration = Duration::from_secs(7 * 86_400);

/// How to open a data file.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data file.
    pub path: PathBuf,
    /// Bytes of cache.
    pub cache_bytes: usize,
    /// How long to wait for another process to let go of the file.
    pub wait_for_lock: Duration,
    /// Writes that may wait.
    pub queue: usize,
    /// A person says that the file is the right one, whatever the marker says.
    pub accept: bool,
    /// How long notes of reads are kept; zero: reads are not noted.
    pub keep_reads: Duration,
    /// Now: when what an earlier process left becomes due.
    pub now: Timestamp,
}

impl Options {
    /// 64 MiB of cache, 10 s for the lock, 1,024 writes waiting, notes of reads for 7 days.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, now: Timestamp) -> Self {
        Self {
            path: path.into(),
            cache_bytes: 64 << 20,
            wait_for_lock: Duration::from_secs(10),
            queue: 1024,
            accept: false,
            keep_reads: KEEP_READS,
            now,
        }
    }
}

/// Why a data file was not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// The file may not be the right one; the text says why, and how to accept it.
    Refused(String),
    /// Another process has it.
    Locked(PathBuf),
    /// There is no such file (only where one is not to be created).
    Missing(PathBuf),
    /// A newer usher wrote it.
    Newer {
        /// The file's schema version.
        found: u64,
        /// The highest that this build knows.
        known: u64,
    },
    /// An older usher wrote it, and this process only reads.
    Older {
        /// The file's schema version.
        found: u64,
        /// The one that this build reads.
        known: u64,
    },
    /// A crash left it in need of repair, and this process may not write it.
    NeedsRepair(PathBuf),
    /// It is damaged, or the disk failed.
    Failed(String),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(text) => f.write_str(text),
            Self::Locked(path) => write!(f, "another process has {} open", path.display()),
            Self::Missing(path) => write!(f, "there is no data file {}", path.display()),
            Self::Newer { found, known } => write!(
                f,
                "the data file is of schema {found}, written by a newer usher; this one knows {known}"
            ),
            Self::Older { found, known } => write!(
                f,
                "the data file is of schema {found}, written by an older usher; this one reads {known}. \
                 `usher serve` brings it there when it is started once, and keeps a copy of it as it was"
            ),
            Self::NeedsRepair(path) => write!(
                f,
                "{} was not closed and needs repair, which takes the right to write it",
                path.display()
            ),
            Self::Failed(text) => write!(f, "the data file cannot be opened: {text}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<Trouble> for OpenError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Damaged(text) | Trouble::Engine(text) => Self::Failed(text),
        }
    }
}

impl From<std::io::Error> for OpenError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Store {
    /// Opens the data file, or creates it where there is none and never was. Checks every page, and commits what an
    /// earlier process left as unknown before anybody reads. A file of an older schema is copied first, to its name with
    /// `.v` and the schema's number behind it, and then brought to this one in one transaction. Blocks, for seconds with
    /// a large file: `progress` is told how far the check is, from 0 to 1, and then the same of copy and migration.
    ///
    /// # Errors
    /// As [`OpenError`] says.
    pub fn open(
        options: &Options,
        progress: impl Fn(f32) + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let progress = Arc::new(progress);
        let marker = Marker::beside(&options.path);
        let marked = match marker.read() {
            Ok(marked) => marked,
            // The answer to a marker that does not read is the same as to one that does not fit.
            Err(_) if options.accept => None,
            Err(error) => {
                return Err(refusal(
                    &options.path,
                    &format!("its marker cannot be read ({error})"),
                ));
            }
        };
        let exists = options.path.try_exists()?;
        if !exists {
            if marked.is_some() && !options.accept {
                return Err(refusal(
                    &options.path,
                    "it is gone, and its marker says that there was one",
                ));
            }
            let folder = options.path.parent().filter(|it| it.as_os_str() != "");
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                return Err(OpenError::Failed(format!(
                    "there is no folder {} to create it in",
                    folder.display()
                )));
            }
            create(options)?;
        } else if let Some(mode) = open_to_others(&options.path)? {
            // Somebody's backup or group may depend on it, so it is theirs to change.
            tracing::warn!(
                path = %options.path.display(), mode = %format_args!("{mode:04o}"),
                "the data file is open to others than its owner and holds people's data; `chmod 600` closes it"
            );
        }
        let db = check_and_open(&options.path, options.cache_bytes, options.wait_for_lock, {
            let progress = Arc::clone(&progress);
            move |share| progress(share)
        })?;
        let found = Found::load(&db)?;
        // `usher restore` put it here for a person, and nothing is sent on its strength until that person confirms it:
        // the marker that it found may be one that a crash kept from being replaced.
        let waits = restored::load(&db)?.is_some_and(|restored| restored.confirmed.is_none());
        if exists && !options.accept && !waits {
            let last = found.head.next_sequence.saturating_sub(1);
            let doubt = match &marked {
                None if found.empty => None,
                None => Some("it has no marker beside it".to_owned()),
                Some(marked) if marked.instance != hex(&found.instance.0) => {
                    Some("its marker belongs to another one".to_owned())
                }
                Some(marked) if marked.sequence > last => Some(format!(
                    "it ends with record {last} and its marker knows of record {}: an old copy",
                    marked.sequence
                )),
                Some(_) => None,
            };
            if let Some(doubt) = doubt {
                return Err(refusal(&options.path, &doubt));
            }
        }
        if found.schema < SCHEMA {
            migrate::with_copy(&db, &options.path, &found, &*progress)?;
        }
        let store = start(
            db,
            found,
            options.now,
            Some(marker),
            options.keep_reads,
            Running::Thread(options.queue),
        )?;
        store.renew_marker()?;
        Ok(store)
    }

    /// A directory in memory, with a writer thread.
    ///
    /// # Errors
    /// As [`OpenError`] says.
    pub fn memory() -> Result<Self, OpenError> {
        Self::on(InMemoryBackend::new(), Running::Thread(1024), Timestamp(0))
    }

    /// A directory in memory whose commits are done on their caller: for simulations. See [`Store::tidy`].
    ///
    /// # Errors
    /// As [`OpenError`] says.
    pub fn inline_memory() -> Result<Self, OpenError> {
        Self::on(InMemoryBackend::new(), Running::Inline, Timestamp(0))
    }

    /// A directory on a disk that a test made, with its writer on its caller.
    ///
    /// # Errors
    /// As [`OpenError`] says.
    #[cfg(test)]
    pub(crate) fn inline_on(disk: impl StorageBackend, now: Timestamp) -> Result<Self, OpenError> {
        Self::on(disk, Running::Inline, now)
    }

    pub(super) fn on(
        backend: impl StorageBackend,
        running: Running,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let db = Builder::new()
            .set_cache_size(SMALL_CACHE)
            .set_check_integrity_on_open(true)
            .create_with_backend(backend)
            .map_err(|error| OpenError::Failed(error.to_string()))?;
        let fresh = db
            .begin_read()
            .map_err(Trouble::from)?
            .list_tables()
            .map_err(Trouble::from)?
            .next()
            .is_none();
        if fresh {
            initialise(&db)?;
        }
        let found = Found::load(&db)?;
        start(db, found, now, None, KEEP_READS, running)
    }
}

fn refusal(path: &Path, doubt: &str) -> OpenError {
    OpenError::Refused(format!(
        "{} may not be the directory that was served last: {doubt}. Serving a wrong or empty directory would take \
         people out of applications. If it is right, `usher serve --accept-store` accepts it.",
        path.display()
    ))
}

pub(super) fn failed(path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::Locked(path.to_owned()),
        DatabaseError::Storage(redb::StorageError::Io(error))
            if error.kind() == std::io::ErrorKind::NotFound =>
        {
            OpenError::Missing(path.to_owned())
        }
        other => OpenError::Failed(other.to_string()),
    }
}

/// A crash while redb writes its first pages leaves a file that does not open (320 of 360,000 simulated cuts): it gets
/// its name when it is whole.
fn create(options: &Options) -> Result<(), OpenError> {
    let new = with_suffix(&options.path, ".new");
    let file = FileBackend::new(create_private(&new)?).map_err(|error| failed(&new, error))?;
    let db = Builder::new()
        .set_cache_size(SMALL_CACHE)
        .create_with_backend(file)
        .map_err(|error| failed(&new, error))?;
    initialise(&db)?;
    db.close().map_err(|error| failed(&new, error))?;
    fs::File::open(&new)?.sync_all()?;
    fs::rename(&new, &options.path)?;
    sync_directory(&options.path)?;
    Ok(())
}

/// Makes the tables of an empty file.
fn initialise(db: &Database) -> Result<(), OpenError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| OpenError::Failed(error.to_string()))?;
    let instance = Instance(id);
    let mut transaction = db.begin_write().map_err(Trouble::from)?;
    transaction.set_two_phase_commit(true);
    let mut open = Transaction::open(&transaction, instance, Head::default())?;
    open.put_state(name::SCHEMA, SCHEMA.to_be_bytes().to_vec())?;
    open.put_state(name::INSTANCE, instance.0.to_vec())?;
    open.finish()?;
    transaction.commit().map_err(Trouble::from)?;
    Ok(())
}

pub(super) fn check_and_open(
    path: &Path,
    cache_bytes: usize,
    wait: Duration,
    progress: impl Fn(f32) + Send + 'static,
) -> Result<Database, OpenError> {
    let started = Instant::now();
    let mut builder = Builder::new();
    builder
        .set_cache_size(cache_bytes)
        .set_check_integrity_on_open(true)
        .set_repair_callback(move |session| {
            #[allow(clippy::cast_possible_truncation, reason = "a fraction for people")]
            progress(session.progress() as f32);
        });
    // `usher restore` may have put another file there between the opening and the lock.
    let which = || fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    loop {
        let before = which();
        match builder.open(path) {
            Ok(db) if which() == before => return Ok(db),
            Ok(replaced) => drop(replaced),
            Err(DatabaseError::DatabaseAlreadyOpen) if started.elapsed() < wait => {
                thread::sleep(LOCK_RETRY);
            }
            Err(error) => return Err(failed(path, error)),
        }
    }
}

/// Who a data file is, and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) schema: u64,
    pub(super) instance: Instance,
    pub(super) head: Head,
    /// It holds no resource.
    pub(super) empty: bool,
}

impl Found {
    pub(super) fn load(db: &impl ReadableDatabase) -> Result<Self, OpenError> {
        let transaction = db.begin_read().map_err(Trouble::from)?;
        let state = transaction.open_table(STATE).map_err(Trouble::from)?;
        let damaged =
            || OpenError::Failed("it does not say which schema and instance it is".into());
        let schema = tables::read(&state, Seal::State, name::SCHEMA)?.ok_or_else(damaged)?;
        let schema = tables::number(&schema)?;
        if schema > SCHEMA {
            return Err(OpenError::Newer {
                found: schema,
                known: SCHEMA,
            });
        }
        let instance = tables::read(&state, Seal::State, name::INSTANCE)?
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(damaged)?;
        let mut head = Head::load(&state)?;
        let rows = transaction.open_table(ROWS).map_err(Trouble::from)?;
        // The head row alone would do; the highest row costs nothing and cannot be wrong.
        if let Some((last, _)) = redb::ReadableTable::last(&rows).map_err(Trouble::from)? {
            head.next_handle = head.next_handle.max(last.value().saturating_add(1));
        }
        Ok(Self {
            schema,
            instance: Instance(instance),
            head,
            empty: rows.is_empty().map_err(Trouble::from)?,
        })
    }
}

fn start(
    db: Database,
    found: Found,
    now: Timestamp,
    marker: Option<Marker>,
    keep_reads: Duration,
    running: Running,
) -> Result<Store, OpenError> {
    let db = Arc::new(db);
    let Found { instance, head, .. } = found;
    let view = View::new(db.begin_read().map_err(Trouble::from)?, instance)?;
    let sweeps = !view.sweeping()?.is_empty() || view.put_off()?;
    let open_sets = view.has_open_set()?;
    drop(view);
    let mut writer = Writer::new(Arc::clone(&db), instance, head, sweeps);
    writer.restored = restored::load(&*db)?;
    // A crash ended what `usher confirm` had begun: it goes on.
    writer.doubts = writer
        .restored
        .as_ref()
        .is_some_and(|restored| restored.confirmed.is_some());
    // A backup that somebody put here by hand is one no more when it changes.
    if manifest::load(&*db)?.is_some() {
        writer.transact(|transaction| transaction.drop_state(name::BACKUP))?;
    }
    if open_sets {
        writer.transact(|transaction| transaction.close_sets(None))?;
    }
    let rolled_forward = leftover::roll_forward(&db, &mut writer, now)?;
    Store::start(
        writer,
        db,
        instance,
        marker,
        rolled_forward,
        keep_reads,
        running,
    )
}
