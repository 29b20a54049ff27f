//! A backup: every row of one snapshot, byte for byte, in a file of its own that opens as a data file does.
//!
//! Rows are copied and not pages, so that each one's checksum is looked at as it passes, and nothing that is free goes
//! along. Writes go on meanwhile; the pages that the snapshot needs are not reused until it is done, so the data file
//! may grow by what is written in that time.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition,
};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

use super::front::Store;
use super::ids::hex;
use super::manifest::{Counted, EachTable, Manifest, Sealed, each_table, label, load, rows_of};
use super::marker::{Marker, create_private, sync_directory, with_suffix};
use super::open::{Found, OpenError, SMALL_CACHE, check_and_open, failed};
use super::read_only::ReadStore;
use super::space;
use super::tables::{self, Bytes, Head, STATE, Seal, Trouble, name};
use super::transaction::json;
use super::view::View;

/// Rows that one transaction of the new file takes: what bounds memory. It is nobody's until it is whole.
const SLICE: usize = 50_000;
/// Rows between two looks at free space and at whether anybody still wants the backup.
const LOOK: u64 = 5_000;
/// Behind the name of a backup that is not whole.
const UNFINISHED: &str = ".unfinished";

/// How far a backup is, and the way to end it early.
#[derive(Debug, Default)]
pub struct Progress {
    /// Rows that are copied.
    pub rows: AtomicU64,
    /// Rows that there are; 0: not known yet.
    pub of: AtomicU64,
    /// Nobody wants it any more.
    pub stop: AtomicBool,
}

/// A backup that is whole, checked and on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// Where it is.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// How long it took.
    pub seconds: f64,
    /// What it holds.
    #[serde(flatten)]
    pub manifest: Manifest,
}

/// Why there is no backup. Nothing is left of it, and what stood under its name still does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupError {
    /// It cannot go there; the text says why and what to do.
    Target(String),
    /// There is too little room, or there was while it was written.
    NoRoom(String),
    /// A row of the data file is not what was written.
    Damaged(String),
    /// [`Progress::stop`].
    Stopped,
    /// The disk or the engine failed.
    Failed(String),
}

impl std::fmt::Display for BackupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Target(text) | Self::NoRoom(text) => f.write_str(text),
            Self::Damaged(text) => write!(
                f,
                "the data file is damaged, so there is no backup of it: {text}"
            ),
            Self::Stopped => f.write_str("the backup was stopped"),
            Self::Failed(text) => write!(f, "the backup failed: {text}"),
        }
    }
}

impl std::error::Error for BackupError {}

impl From<Trouble> for BackupError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Damaged(text) => Self::Damaged(text),
            Trouble::Engine(text) => Self::Failed(text),
        }
    }
}

impl From<OpenError> for BackupError {
    fn from(error: OpenError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<io::Error> for BackupError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Store {
    /// Writes what is committed now to a new file for its owner alone. `force`: in place of one that is there. Blocks,
    /// for as long as all rows take; writes go on.
    ///
    /// # Errors
    /// As [`BackupError`] says.
    pub fn backup(
        &self,
        to: &Path,
        force: bool,
        now: Timestamp,
        progress: &Progress,
    ) -> Result<Written, BackupError> {
        let view = self
            .view()
            .map_err(|fault| BackupError::Failed(fault.internal().into_owned()))?;
        write(&view, self.path(), to, force, now, progress)
    }
}

impl ReadStore {
    /// As [`Store::backup`], of a file that nobody serves.
    ///
    /// # Errors
    /// As [`BackupError`] says.
    pub fn backup(
        &self,
        to: &Path,
        force: bool,
        now: Timestamp,
        progress: &Progress,
    ) -> Result<Written, BackupError> {
        let view = self
            .view()
            .map_err(|fault| BackupError::Failed(fault.internal().into_owned()))?;
        write(&view, Some(&self.path), to, force, now, progress)
    }
}

fn write(
    view: &View,
    data: Option<&Path>,
    to: &Path,
    force: bool,
    now: Timestamp,
    progress: &Progress,
) -> Result<Written, BackupError> {
    let begun = Instant::now();
    let new = with_suffix(to, UNFINISHED);
    may_go_there(data, to, &new, force)?;
    let needed = match data {
        Some(data) => fs::metadata(data)?.len(),
        None => 0,
    };
    has_room(to, needed)?;
    let made = fill(view, &new, to, now, progress).and_then(|manifest| {
        check(&new, &manifest)?;
        put(&new, to, force)?;
        Ok(manifest)
    });
    if made.is_err() {
        // Half a backup is worth nothing, and the disk may be full. It may not be there at all.
        let _removed = fs::remove_file(&new);
    }
    let manifest = made?;
    Ok(Written {
        file: to.to_owned(),
        bytes: fs::metadata(to)?.len(),
        rows: manifest.rows(),
        seconds: begun.elapsed().as_secs_f64(),
        manifest,
    })
}

/// A backup stands on no file that the gateway lives on, and on nobody's else unless that was asked for.
fn may_go_there(
    data: Option<&Path>,
    to: &Path,
    new: &Path,
    force: bool,
) -> Result<(), BackupError> {
    let refused = |why: &str| Err(BackupError::Target(format!("{} {why}", to.display())));
    if to.file_name().is_none() {
        return refused("is no name for a file");
    }
    let folder = match to.parent() {
        Some(folder) if folder.as_os_str() != "" => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return refused("is in a folder that is not there");
    }
    for ours in data.iter().flat_map(|data| {
        let marker = Marker::beside(data).path();
        [data.to_path_buf(), with_suffix(&marker, ".new"), marker]
    }) {
        if same_file(&ours, to)? || same_file(&ours, new)? {
            return refused("is what the gateway lives on: name another file");
        }
    }
    match fs::symlink_metadata(to) {
        Ok(there) if !there.is_file() => refused("is there and is no plain file"),
        Ok(_) if !force => refused("is there already: name another file, or say --force"),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => refused(&format!("cannot be looked at: {error}")),
    }
}

/// Whether two names are of one file, or would be.
pub(super) fn same_file(one: &Path, other: &Path) -> io::Result<bool> {
    if let (Ok(one), Ok(other)) = (fs::metadata(one), fs::metadata(other)) {
        return Ok((one.dev(), one.ino()) == (other.dev(), other.ino()));
    }
    let whole = |path: &Path| {
        let path = std::path::absolute(path)?;
        let folder = path.parent().map(fs::canonicalize).transpose();
        Ok::<_, io::Error>((
            folder.ok().flatten(),
            path.file_name().map(ToOwned::to_owned),
        ))
    };
    Ok(whole(one)? == whole(other)?)
}

/// Refuses to write where too little would be left: the gateway's own writes may need the same disk.
pub(super) fn has_room(beside: &Path, needed: u64) -> Result<(), BackupError> {
    let folder = match beside.parent() {
        Some(folder) if folder.as_os_str() != "" => folder,
        _ => Path::new("."),
    };
    let free = space::free(folder)?;
    if free < needed.saturating_add(space::RESERVE) {
        return Err(BackupError::NoRoom(format!(
            "{} has {} MiB free; {} MiB may be needed, and {} MiB stay free for the gateway",
            folder.display(),
            free >> 20,
            (needed >> 20) + 1,
            space::RESERVE >> 20
        )));
    }
    Ok(())
}

/// Writes every row of a snapshot, and what the backup says of itself, to a new file.
fn fill(
    view: &View,
    new: &Path,
    to: &Path,
    now: Timestamp,
    progress: &Progress,
) -> Result<Manifest, BackupError> {
    let from = &view.transaction;
    let all = rows_of(from)?.values().sum();
    progress.of.store(all, Ordering::Relaxed);
    let file = create_private(new).map_err(|error| {
        BackupError::Target(format!("{} cannot be written: {error}", new.display()))
    })?;
    let file = FileBackend::new(file).map_err(|error| failed(new, error))?;
    let db = Builder::new()
        .set_cache_size(SMALL_CACHE)
        .create_with_backend(file)
        .map_err(|error| failed(new, error))?;
    let mut copy = Copy {
        from,
        db: &db,
        counted: Counted::default(),
        progress,
        beside: to,
    };
    each_table(&mut copy)?;
    let Counted {
        users,
        groups,
        links,
        tables,
    } = copy.counted;

    // What the others are worth comes last: without it the file is nobody's directory.
    let state = from.open_table(STATE).map_err(Trouble::from)?;
    let stated = |name| {
        tables::read(&state, Seal::State, name)?.ok_or_else(|| {
            Trouble::Damaged("it does not say which schema and instance it is".into())
        })
    };
    let head = Head::load(&state)?;
    let manifest = Manifest {
        taken: now,
        usher: Some(env!("CARGO_PKG_VERSION").to_owned()),
        schema: tables::number(&stated(name::SCHEMA)?)?,
        instance: hex(&stated(name::INSTANCE)?),
        sequence: head.next_sequence.saturating_sub(1),
        users,
        groups,
        links,
        tables,
    };
    let mut transaction = db.begin_write().map_err(Trouble::from)?;
    transaction.set_two_phase_commit(true);
    {
        let mut into = transaction.open_table(STATE).map_err(Trouble::from)?;
        for entry in state.iter().map_err(Trouble::from)? {
            let (key, value) = entry.map_err(Trouble::from)?;
            tables::unseal(Seal::State, key.value(), value.value())?;
            into.insert(key.value(), value.value())
                .map_err(Trouble::from)?;
        }
        let own = tables::seal(Seal::State, name::BACKUP, json(&manifest)?);
        into.insert(name::BACKUP, own.as_slice())
            .map_err(Trouble::from)?;
    }
    transaction.commit().map_err(Trouble::from)?;
    db.close().map_err(|error| failed(new, error))?;
    Ok(manifest)
}

/// One snapshot's way into another file.
struct Copy<'a> {
    from: &'a ReadTransaction,
    db: &'a Database,
    counted: Counted,
    progress: &'a Progress,
    beside: &'a Path,
}

impl Copy<'_> {
    fn passed(&self) -> Result<(), BackupError> {
        let rows = self.progress.rows.fetch_add(1, Ordering::Relaxed) + 1;
        if !rows.is_multiple_of(LOOK) {
            return Ok(());
        }
        if self.progress.stop.load(Ordering::Relaxed) {
            return Err(BackupError::Stopped);
        }
        has_room(self.beside, 0)
    }
}

impl EachTable for Copy<'_> {
    type Error = BackupError;

    fn table<K: Sealed>(
        &mut self,
        table: TableDefinition<'static, K, Bytes>,
        seal: Seal,
    ) -> Result<(), BackupError> {
        let from = self.from.open_table(table).map_err(Trouble::from)?;
        let mut rows = from.iter().map_err(Trouble::from)?;
        let (mut count, mut more) = (0, true);
        while more {
            let transaction = self.db.begin_write().map_err(Trouble::from)?;
            let mut into = transaction.open_table(table).map_err(Trouble::from)?;
            for _ in 0..SLICE {
                let Some(entry) = rows.next() else {
                    more = false;
                    break;
                };
                let (key, value) = entry.map_err(Trouble::from)?;
                self.counted
                    .row::<K>(seal, &key.value(), value.value())
                    .map_err(|trouble| in_table(&label(&table), trouble))?;
                into.insert(key.value(), value.value())
                    .map_err(Trouble::from)?;
                count += 1;
                self.passed()?;
            }
            drop(into);
            transaction.commit().map_err(Trouble::from)?;
        }
        self.counted.tables.insert(label(&table), count);
        Ok(())
    }
}

fn in_table(table: &str, trouble: Trouble) -> BackupError {
    match trouble {
        Trouble::Damaged(text) => BackupError::Damaged(format!("table {table}: {text}")),
        Trouble::Engine(text) => BackupError::Failed(format!("table {table}: {text}")),
    }
}

/// Opens what was written as a restore would, page by page, and compares it with what was meant.
fn check(new: &Path, meant: &Manifest) -> Result<(), BackupError> {
    let db = check_and_open(new, SMALL_CACHE, Duration::ZERO, |_| ())?;
    let found = Found::load(&db)?;
    let there = rows_of(&db.begin_read().map_err(Trouble::from)?)?;
    let whole = load(&db)?.as_ref() == Some(meant)
        && there == meant.tables
        && hex(&found.instance.0) == meant.instance;
    db.close().map_err(|error| failed(new, error))?;
    if !whole {
        return Err(BackupError::Failed(
            "what was written does not read back".into(),
        ));
    }
    Ok(File::open(new)?.sync_all()?)
}

/// Gives it its name, on disk when this returns. Whoever took that name meanwhile keeps it, unless `force`.
fn put(new: &Path, to: &Path, force: bool) -> Result<(), BackupError> {
    use rustix::fs::{CWD, RenameFlags, rename, renameat_with};
    use rustix::io::Errno;
    let renamed = if force {
        rename(new, to)
    } else {
        match renameat_with(CWD, new, CWD, to, RenameFlags::NOREPLACE) {
            // Some network filesystems do not know the flag. That nobody has the name was seen before.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => rename(new, to),
            other => other,
        }
    };
    match renamed {
        Ok(()) => Ok(sync_directory(to)?),
        Err(Errno::EXIST) => Err(BackupError::Target(format!(
            "{} was made by somebody else meanwhile",
            to.display()
        ))),
        Err(error) => Err(BackupError::Failed(error.to_string())),
    }
}
