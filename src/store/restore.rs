//! The way back: a backup, or a data file as it was, becomes the data file. At every moment the old or the new one stands
//! in its place and can be started, and nothing is deleted.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::Database;

use crate::clock::Timestamp;

use super::backup::{BackupError, has_room, same_file};
use super::ids::hex;
use super::manifest::{self, Manifest, verify};
use super::marker::{Marker, like_owner_of, sync_directory, with_suffix};
use super::migrate::duplicate;
use super::open::{Found, OpenError, SMALL_CACHE, check_and_open, failed};
use super::read_only::read_only;
use super::restored::{self, Restored};
use super::tables::{self, STATE, Seal, Trouble, name};
use super::transaction::json;

/// What is to be restored, and where.
#[derive(Debug, Clone)]
pub struct Restoring {
    /// The backup. It is only read.
    pub from: PathBuf,
    /// The data file that it becomes.
    pub data: PathBuf,
    /// Though it is the backup of another directory.
    pub force: bool,
    /// Now.
    pub now: Timestamp,
}

/// What was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Replaced {
    /// What is in place now, read-only until it is confirmed.
    pub manifest: Manifest,
    /// What was there.
    pub there: There,
    /// Where that is now, its marker beside it.
    pub aside: Option<PathBuf>,
}

/// What was in a data file's place.
#[derive(Debug, Clone, PartialEq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// A data file: its instance, and its journal's last sequence.
    Directory {
        /// The directory's own id, in hex.
        instance: String,
        /// The journal's last sequence.
        sequence: u64,
    },
    /// Something that could not be read, and why.
    Unread(String),
}

/// What a restore has done so far. A crash may come after each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The backup is copied beside the data file.
    Copied,
    /// The copy is whole.
    Checked,
    /// The copy says that it was restored.
    Flagged,
    /// What is there has a second name.
    KeptAside,
    /// The copy is in place.
    InPlace,
    /// The marker is the copy's.
    Marked,
}

impl Step {
    /// All, in their order.
    pub const ALL: [Self; 6] = [
        Self::Copied,
        Self::Checked,
        Self::Flagged,
        Self::KeptAside,
        Self::InPlace,
        Self::Marked,
    ];
}

/// Why nothing was restored. Except for [`RestoreError::Failed`] nothing was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreError {
    /// There is no such backup.
    Missing(PathBuf),
    /// It was asked for in a way that cannot be.
    Usage(String),
    /// What is to be restored is not what it should be; the text says why.
    Refused(String),
    /// A gateway runs.
    Locked(String),
    /// There is too little room.
    NoRoom(String),
    /// The disk or the engine failed; what stands in place can be started, and the restore done again.
    Failed(String),
    /// The caller stopped it after this step.
    Stopped(Step),
}

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "there is no file {}", path.display()),
            Self::Usage(text) | Self::Refused(text) | Self::Locked(text) | Self::NoRoom(text) => {
                f.write_str(text)
            }
            Self::Failed(text) => write!(f, "the restore failed: {text}"),
            Self::Stopped(step) => write!(f, "the restore was stopped after {step:?}"),
        }
    }
}

impl std::error::Error for RestoreError {}

impl From<io::Error> for RestoreError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<Trouble> for RestoreError {
    fn from(trouble: Trouble) -> Self {
        let (Trouble::Damaged(text) | Trouble::Engine(text)) = trouble;
        Self::Failed(text)
    }
}

impl From<OpenError> for RestoreError {
    fn from(error: OpenError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<BackupError> for RestoreError {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::NoRoom(text) => Self::NoRoom(text),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Puts a backup in the data file's place, while no gateway runs. Blocks, for as long as copying and checking take:
/// `progress` is told how far that is, from 0 to 1. `go_on` hears of each step, and ends it there by `false`, as a crash
/// would.
///
/// # Errors
/// As [`RestoreError`] says.
pub fn restore(
    what: &Restoring,
    progress: impl Fn(f32) + Clone + Send + 'static,
    mut go_on: impl FnMut(Step) -> bool,
) -> Result<Replaced, RestoreError> {
    let mut step = |step| match go_on(step) {
        true => Ok(()),
        false => Err(RestoreError::Stopped(step)),
    };
    let Restoring { from, data, .. } = what;
    let length = match fs::metadata(from) {
        Ok(there) if there.is_file() => there.len(),
        Ok(_) => {
            return Err(RestoreError::Usage(format!(
                "{} is no plain file",
                from.display()
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RestoreError::Missing(from.clone()));
        }
        Err(error) => return Err(error.into()),
    };
    if same_file(from, data)? {
        return Err(RestoreError::Usage(format!(
            "{} is the data file itself",
            from.display()
        )));
    }
    let there = look(data)?;
    // Held until the end: a gateway that starts meanwhile waits for it, and opens what is in place then.
    let _held = hold(data)?;
    has_room(data, length)?;

    let new = with_suffix(data, ".restoring");
    let made = copy(what, &there, &new, &progress, &mut step);
    if !matches!(made, Ok(_) | Err(RestoreError::Stopped(_))) {
        // It may not be there at all.
        let _removed = fs::remove_file(&new);
    }
    let (found, manifest) = made?;

    let aside = keep_aside(data, what.now)?;
    step(Step::KeptAside)?;
    fs::rename(&new, data)?;
    sync_directory(data)?;
    step(Step::InPlace)?;
    Marker::beside(data).write(found.instance, manifest.sequence)?;
    step(Step::Marked)?;
    Ok(Replaced {
        manifest,
        there,
        aside,
    })
}

/// What is there now. A gateway that runs shows itself by having it locked.
fn look(data: &Path) -> Result<There, RestoreError> {
    let there = read_only(data).map_err(|error| failed(data, error));
    match there.and_then(|db| Found::load(&db)) {
        Ok(found) => Ok(There::Directory {
            instance: hex(&found.instance.0),
            sequence: found.head.next_sequence.saturating_sub(1),
        }),
        Err(OpenError::Missing(_)) => Ok(There::Nothing),
        Err(OpenError::Locked(_)) => Err(locked(data)),
        Err(error) => Ok(There::Unread(error.to_string())),
    }
}

fn locked(data: &Path) -> RestoreError {
    RestoreError::Locked(format!(
        "a gateway runs on {}: stop it first",
        data.display()
    ))
}

/// The lock by which redb tells that a file is in use, whatever is in the file.
fn hold(data: &Path) -> Result<Option<File>, RestoreError> {
    let file = match File::open(data) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Err(locked(data)),
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Copies the backup beside the data file, checks the copy whole, and has it say that it was restored.
fn copy(
    what: &Restoring,
    there: &There,
    new: &Path,
    progress: &(impl Fn(f32) + Clone + Send + 'static),
    step: &mut impl FnMut(Step) -> Result<(), RestoreError>,
) -> Result<(Found, Manifest), RestoreError> {
    let part = |begin: f32, share: f32| begin + share / 3.0;
    duplicate(&what.from, new, &|share| progress(part(0.0, share)))
        .map_err(|error| RestoreError::Failed(error.to_string()))?;
    step(Step::Copied)?;
    let refused = |why: String| RestoreError::Refused(format!("{}: {why}", what.from.display()));
    let hears = progress.clone();
    let db = check_and_open(new, SMALL_CACHE, Duration::ZERO, move |share| {
        hears(part(0.33, share));
    })
    .map_err(|error| match error {
        OpenError::Failed(text) => refused(format!("it is no whole backup of usher's: {text}")),
        other => other.into(),
    })?;
    let found = Found::load(&db).map_err(|error| match error {
        OpenError::Newer { found, known } => refused(format!(
            "it is of schema {found}, written by a newer usher; this one knows {known}"
        )),
        other => refused(format!("it is no whole backup of usher's: {other}")),
    })?;
    let manifest = whole(&db, &found, &|share| progress(part(0.66, share)))
        .map_err(|why| refused(format!("it is no whole backup of usher's: {why}")))?;
    let other = match there {
        There::Directory { instance, .. } => *instance != manifest.instance,
        There::Nothing | There::Unread(_) => Marker::beside(&what.data)
            .read()
            .is_ok_and(|marked| marked.is_some_and(|it| it.instance != manifest.instance)),
    };
    if other && !what.force {
        return Err(refused(
            "it is the backup of another directory than the one that is there; --force restores it all the same".into(),
        ));
    }
    step(Step::Checked)?;
    flag(&db, &manifest, what.now)?;
    db.close().map_err(|error| failed(new, error))?;
    let file = File::open(new)?;
    let folder = what.data.parent().filter(|it| it.as_os_str() != "");
    let whose = match what.data.try_exists()? {
        true => &what.data,
        false => folder.unwrap_or(Path::new(".")),
    };
    like_owner_of(whose, &file);
    file.sync_all()?;
    step(Step::Flagged)?;
    Ok((found, manifest))
}

/// Reads every row, and compares with what the backup says of itself, if it is one.
fn whole(db: &Database, found: &Found, progress: &dyn Fn(f32)) -> Result<Manifest, String> {
    let text = |trouble: Trouble| {
        let (Trouble::Damaged(text) | Trouble::Engine(text)) = trouble;
        text
    };
    let counted = verify(db, progress).map_err(text)?;
    let said = manifest::load(db).map_err(text)?;
    let there = Manifest {
        taken: said
            .as_ref()
            .map_or(found.head.last_time, |said| said.taken),
        usher: said.as_ref().and_then(|said| said.usher.clone()),
        schema: found.schema,
        instance: hex(&found.instance.0),
        sequence: found.head.next_sequence.saturating_sub(1),
        users: counted.users,
        groups: counted.groups,
        links: counted.links,
        tables: counted.tables,
    };
    match said {
        Some(said) if said != there => Err("it does not hold what it says that it holds".into()),
        _ => Ok(there),
    }
}

/// Has a file say that it was restored and is not confirmed, and no more that it is a backup.
fn flag(db: &Database, manifest: &Manifest, now: Timestamp) -> Result<(), Trouble> {
    let mut transaction = db.begin_write()?;
    transaction.set_two_phase_commit(true);
    {
        let mut state = transaction.open_table(STATE)?;
        state.remove(name::BACKUP)?;
        let restored = json(&Restored::new(manifest.clone(), now))?;
        let sealed = tables::seal(Seal::State, name::RESTORED, restored);
        state.insert(name::RESTORED, sealed.as_slice())?;
    }
    transaction.commit()?;
    // Read back from what is on disk now, not from what was meant.
    restored::load(db)?
        .map(drop)
        .ok_or_else(|| Trouble::Engine("what was written does not read back".into()))
}

/// Gives what is there a second name, so that it is still there when its own name is the copy's. Where the filesystem
/// knows no second names it is copied.
fn keep_aside(data: &Path, now: Timestamp) -> Result<Option<PathBuf>, RestoreError> {
    let stamp: String = now
        .rfc3339()
        .chars()
        .filter(|letter| !matches!(letter, '-' | ':' | '.'))
        .collect();
    let mut aside = with_suffix(data, &format!(".before-restore-{stamp}"));
    for again in 2..100 {
        if !aside.try_exists()? && !Marker::beside(&aside).path().try_exists()? {
            break;
        }
        aside = with_suffix(data, &format!(".before-restore-{stamp}-{again}"));
    }
    let mut kept = None;
    for (from, to) in [
        (data.to_owned(), aside.clone()),
        (Marker::beside(data).path(), Marker::beside(&aside).path()),
    ] {
        if from.try_exists()? {
            link(&from, &to)?;
            kept = Some(aside.clone());
        }
    }
    sync_directory(data)?;
    Ok(kept)
}

fn link(from: &Path, to: &Path) -> Result<(), RestoreError> {
    match fs::hard_link(from, to) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
            ) =>
        {
            duplicate(from, to, &|_| ()).map_err(|error| RestoreError::Failed(error.to_string()))
        }
        other => Ok(other?),
    }
}
