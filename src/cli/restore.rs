//! `usher restore`: a backup becomes the data file, while no gateway runs. What was there is kept beside it.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::progress::shown;
use super::socket::{self, Failed};
use super::{DATA, FAILURE, Format, NO_INPUT, TEMPORARY, USAGE, complain, say};
use crate::clock::Clock;
use crate::store::{self, Replaced, RestoreError, Restoring, There};

/// `usher restore`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "FILE is a backup, or a data file as it was: `usher.redb.before-restore-...` takes a restore back. It is checked whole\nfirst. The gateway must not run. What is in place is kept under another name beside it; nothing is deleted.\nThe gateway that is started then serves reads, refuses writes and sends nothing until `usher confirm`.\nExit code: 0 done, 64 wrong usage, 65 FILE is not a whole backup of this directory, 66 there is no FILE, 70 a failure,\n75 try again (a gateway runs, or too little room).\n\nExample:\n  usher restore /var/backups/usher-monday.redb --config /etc/usher/usher.toml"
)]
pub struct Args {
    /// The backup
    file: PathBuf,
    /// Though it is the backup of another directory than the one that is there
    #[arg(long)]
    force: bool,
    /// How it is told what was done
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The configuration, for the place of the data file [default: usher.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data file
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
}

/// Restores and tells what is in place now.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match put_back(&args) {
        Ok(replaced) => {
            say(&match args.format {
                Format::Text => text(&replaced),
                Format::Json => json(&replaced),
            });
            ExitCode::SUCCESS
        }
        Err(Failed(code, text)) => {
            complain(&format!("usher: {text}\n"));
            ExitCode::from(code)
        }
    }
}

fn put_back(args: &Args) -> Result<Replaced, Failed> {
    let (socket, store) = socket::places(args.config.as_deref(), None, args.store.as_deref())?;
    let Some(data) = store else {
        return Err(Failed(USAGE, String::from("no data file is known")));
    };
    // The file's lock tells as much where there is a file.
    if let Some(path) = socket
        && UnixStream::connect(&path).is_ok()
    {
        return Err(Failed(
            TEMPORARY,
            format!("a gateway answers on {}: stop it first", path.display()),
        ));
    }
    let restoring = Restoring {
        from: args.file.clone(),
        data,
        force: args.force,
        now: Clock::system().now(),
    };
    let done = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&done);
    shown(
        move || {
            let progress = move |share: f32| {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a percentage for people"
                )]
                done.store((share * 100.0) as u64, Ordering::Relaxed);
            };
            store::restore(&restoring, progress, |_| true)
                .map_err(|error| Failed(code(&error), error.to_string()))
        },
        || Some((seen.load(Ordering::Relaxed), 100)),
    )
}

fn code(error: &RestoreError) -> u8 {
    match error {
        RestoreError::Missing(_) => NO_INPUT,
        RestoreError::Usage(_) => USAGE,
        RestoreError::Refused(_) => DATA,
        RestoreError::Locked(_) | RestoreError::NoRoom(_) => TEMPORARY,
        RestoreError::Failed(_) | RestoreError::Stopped(_) => FAILURE,
    }
}

fn text(replaced: &Replaced) -> String {
    let manifest = &replaced.manifest;
    let taken = manifest.taken.rfc3339();
    let taken = match &manifest.usher {
        Some(version) => format!("{taken} by usher {version}"),
        None => format!("no backup but a data file, last changed {taken}"),
    };
    let there = match &replaced.there {
        There::Nothing => String::from("nothing"),
        There::Directory { sequence, .. } => {
            format!("a directory whose journal ends with record {sequence}")
        }
        There::Unread(why) => format!("a file that cannot be read: {why}"),
    };
    let aside = replaced.aside.as_ref().map_or_else(String::new, |aside| {
        format!("kept as   {}\n", aside.display())
    });
    format!(
        "taken     {taken}\nholds     {} users, {} groups, {} links, the journal to record {}\nwas there {there}\n{aside}Start the gateway: it serves reads, refuses writes and sends nothing until `usher confirm`.\n",
        manifest.users, manifest.groups, manifest.links, manifest.sequence,
    )
}

fn json(replaced: &Replaced) -> String {
    let there = match &replaced.there {
        There::Nothing => serde_json::Value::Null,
        There::Directory { instance, sequence } => {
            serde_json::json!({"instance": instance, "sequence": sequence})
        }
        There::Unread(why) => serde_json::json!({"unread": why}),
    };
    let whole = serde_json::json!({
        "restored": replaced.manifest,
        "was_there": there,
        "kept_as": replaced.aside.as_ref().map(|aside| aside.display().to_string()),
    });
    format!("{whole}\n")
}
