//! `usher backup`: the directory in a file of its own. The running gateway writes it and goes on serving; where none
//! answers, the data file is read here.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use super::progress::{shown, told};
use super::socket::{self, Failed, Places, Reach};
use super::{DATA, FAILURE, Format, NO_INPUT, TEMPORARY, USAGE, complain, say};
use crate::clock::Clock;
use crate::store::{BackupError, OpenError, Progress, Store, Written};

/// How long the gateway may be silent about a backup: it shows how far it is elsewhere.
const SILENCE: Duration = Duration::from_secs(24 * 3600);

/// `usher backup`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The gateway writes FILE itself while it serves on, as its own user and where it may write: under config/usher.service\nbelow /var/lib/usher. Where none answers on its admin socket, the data file is read here.\nFILE is readable by its owner alone and gets its name when it is whole. `usher restore` is the way back.\nWith --socket or --store and without --config, only the places named are tried.\nExit code: 0 done, 64 wrong usage or FILE is there already, 65 the data file is damaged, 66 no data file, 70 a failure,\n75 try again (no room, or another process has the data file).\n\nExample:\n  usher backup /var/lib/usher/monday.redb --config /etc/usher/usher.toml"
)]
pub struct Args {
    /// The backup
    file: PathBuf,
    /// In place of a file that is there
    #[arg(long)]
    force: bool,
    /// How it is told what was written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    places: Places,
}

/// Writes a backup and tells what is in it.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match write(&args) {
        Ok((written, note)) => {
            if let Some(note) = note {
                complain(&format!("usher: {note}\n"));
            }
            say(&match args.format {
                Format::Text => text(&written),
                Format::Json => serde_json::to_string(&written).unwrap_or_default() + "\n",
            });
            ExitCode::SUCCESS
        }
        Err(Failed(code, text)) => {
            complain(&format!("usher: {text}\n"));
            ExitCode::from(code)
        }
    }
}

fn write(args: &Args) -> Result<(Written, Option<String>), Failed> {
    let file = std::path::absolute(&args.file)
        .map_err(|why| Failed(USAGE, format!("{}: {why}", args.file.display())))?;
    let reached = args.places.reach()?;
    match reached {
        Reach::Gateway(stream, path) => ask(stream, &path, &file, args.force)
            .and_then(|written| seen(&file).map(|()| (written, None)))
            .map_err(|Failed(code, why)| Failed(code, format!("{}: {why}", path.display()))),
        Reach::File(store, silent) => {
            let why = silent.map_or_else(String::new, |silent| format!("{silent}; "));
            let written = read(&store, &file, args.force)
                .map_err(|Failed(code, text)| Failed(code, format!("{why}{text}")))?;
            let note = format!("{why}read {} directly", store.display());
            Ok((written, Some(note)))
        }
    }
}

/// Has the gateway write it, and shows how far that is.
fn ask(stream: UnixStream, socket: &Path, file: &Path, force: bool) -> Result<Written, Failed> {
    let path = percent_encode(file.as_os_str().as_bytes(), NON_ALPHANUMERIC);
    let target = format!("/backup?path={path}&force={force}");
    let asked = move || socket::ask(&stream, "POST", &target, SILENCE);
    let body = shown(asked, || {
        let so_far: serde_json::Value = serde_json::from_slice(&told(socket, "/backup")?).ok()?;
        Some((so_far["rows"].as_u64()?, so_far["of"].as_u64()?))
    })?;
    serde_json::from_slice(&body).map_err(|_| socket::foreign())
}

/// A gateway that is locked down has a /tmp of its own, which goes when it stops: what it wrote there is nobody's backup.
fn seen(file: &Path) -> Result<(), Failed> {
    match file.try_exists() {
        Ok(false) => Err(Failed(
            FAILURE,
            format!(
                "the gateway wrote {} where it cannot be seen from here: it has a view of the disk of its own; name a file \
                 beside its data file",
                file.display()
            ),
        )),
        // There, or not ours to look at.
        _ => Ok(()),
    }
}

/// Reads the data file itself.
fn read(store: &Path, file: &Path, force: bool) -> Result<Written, Failed> {
    let opened =
        Store::open_read_only(store).map_err(|error| Failed(opening(&error), error.to_string()))?;
    let (file, now) = (file.to_owned(), Clock::system().now());
    let progress = Arc::new(Progress::default());
    let seen = Arc::clone(&progress);
    shown(
        move || {
            opened
                .backup(&file, force, now, &progress)
                .map_err(|error| {
                    let code = match error {
                        BackupError::Target(_) => USAGE,
                        BackupError::Damaged(_) => DATA,
                        BackupError::NoRoom(_) | BackupError::Stopped => TEMPORARY,
                        BackupError::Failed(_) => FAILURE,
                    };
                    Failed(code, error.to_string())
                })
        },
        || {
            let load = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
            Some((load(&seen.rows), load(&seen.of)))
        },
    )
}

/// The exit code where a data file does not open.
pub(super) fn opening(error: &OpenError) -> u8 {
    match error {
        OpenError::Missing(_) => NO_INPUT,
        OpenError::Locked(_) | OpenError::NeedsRepair(_) => TEMPORARY,
        OpenError::Refused(_)
        | OpenError::Newer { .. }
        | OpenError::Older { .. }
        | OpenError::Failed(_) => DATA,
    }
}

fn text(written: &Written) -> String {
    let Written {
        file,
        bytes,
        rows,
        seconds,
        manifest,
    } = written;
    format!(
        "backup    {}\ntaken     {}\nholds     {} users, {} groups, {} links, the journal to record {}\nwritten   {rows} rows, {bytes} bytes in {seconds:.1} s\n",
        file.display(),
        manifest.taken.rfc3339(),
        manifest.users,
        manifest.groups,
        manifest.links,
        manifest.sequence,
    )
}
