//! `usher confirm`: a person says that the directory that was restored is the right one.

use std::io::{BufRead as _, IsTerminal as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::backup::opening;
use super::progress::shown;
use super::socket::{self, Failed, Places, Reach};
use super::{FAILURE, Format, USAGE, complain, say};
use crate::clock::Clock;
use crate::store::{OpenError, Options, Restored, Store};

/// How long the gateway may be silent: it goes through every link first, some ten thousand a second.
const SILENCE: Duration = Duration::from_secs(3600);
/// ... and while it only tells what was restored.
const SHORT: Duration = Duration::from_secs(30);

/// `usher confirm`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Shows what was restored and asks; then writes are taken again, and every account is read back before anything is sent\nto it. Asks the gateway on its admin socket; where none answers, writes the data file itself.\nWith --socket or --store and without --config, only the places named are tried.\nExit code: 0 confirmed, or nothing was to be, 64 wrong usage or not confirmed, 65 the data file does not open, 66 no data\nfile, 70 a failure, 75 try again.\n\nExample:\n  usher confirm --config /etc/usher/usher.toml"
)]
pub struct Args {
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// How it is told what was confirmed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    places: Places,
}

/// Shows, asks, confirms.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match confirm(&args) {
        Ok(restored) => {
            say(&match (args.format, &restored) {
                (Format::Json, _) => format!("{}\n", serde_json::json!({"confirmed": restored})),
                (Format::Text, Some(_)) => String::from(
                    "Confirmed: writes are taken, and every account is read back before anything is sent to it.\n",
                ),
                (Format::Text, None) => String::from("Nothing was restored that waits for this.\n"),
            });
            ExitCode::SUCCESS
        }
        Err(Failed(code, text)) => {
            complain(&format!("usher: {text}\n"));
            ExitCode::from(code)
        }
    }
}

/// What was confirmed; `None`: nothing had to be.
fn confirm(args: &Args) -> Result<Option<Restored>, Failed> {
    let reached = args.places.reach()?;
    match reached {
        Reach::Gateway(stream, path) => by_gateway(&stream, &path, args.yes)
            .map_err(|Failed(code, why)| Failed(code, format!("{}: {why}", path.display()))),
        Reach::File(store, silent) => {
            let why = silent.map_or_else(String::new, |silent| format!("{silent}; "));
            in_file(store, args.yes)
                .map_err(|Failed(code, text)| Failed(code, format!("{why}{text}")))
        }
    }
}

fn by_gateway(stream: &UnixStream, path: &Path, yes: bool) -> Result<Option<Restored>, Failed> {
    let body = socket::ask(stream, "GET", "/confirm", SHORT)?;
    let restored: Option<Restored> =
        serde_json::from_slice(&body).map_err(|_| socket::foreign())?;
    let Some(restored) = restored else {
        return Ok(None);
    };
    sure(&restored, yes)?;
    let connect = |path: &Path| {
        UnixStream::connect(path).map_err(|why| Failed(super::TEMPORARY, why.to_string()))
    };
    let (stream, links) = (connect(path)?, restored.manifest.links);
    shown(
        move || socket::ask(&stream, "POST", "/confirm", SILENCE),
        || {
            let body = socket::ask(&connect(path).ok()?, "GET", "/confirm", SHORT).ok()?;
            let so_far: Option<Restored> = serde_json::from_slice(&body).ok()?;
            Some((so_far?.doubted, links))
        },
    )?;
    Ok(Some(restored))
}

/// Opens the data file as a gateway would, and leaves it as a gateway would find it after a confirmation.
fn in_file(path: PathBuf, yes: bool) -> Result<Option<Restored>, Failed> {
    let cannot = |error: OpenError| Failed(opening(&error), error.to_string());
    // Looked at first: a file that waits for nothing is not touched, and none is made where there is none.
    match Store::open_read_only(&path) {
        Ok(read) => {
            let view = read.view().and_then(|view| view.restored());
            let restored = view.map_err(|fault| Failed(FAILURE, fault.internal().into_owned()))?;
            if restored.is_none() {
                return Ok(None);
            }
        }
        // It is brought to this build's schema below.
        Err(OpenError::Older { .. }) => {}
        Err(error) => return Err(cannot(error)),
    }
    let now = Clock::system().now();
    let mut options = Options::new(path, now);
    options.wait_for_lock = Duration::ZERO;
    let store = Store::open(&options, |_| ()).map_err(cannot)?;
    let Some(restored) = store.restored() else {
        return Ok(None);
    };
    sure(&restored, yes)?;
    let failed = |why: String| Failed(FAILURE, why);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|why| failed(why.to_string()))?;
    runtime
        .block_on(store.confirm(now))
        .map_err(|why| failed(why.to_string()))?;
    store.close().map_err(|why| failed(why.to_string()))?;
    Ok(Some(restored))
}

/// Shows what was restored, and has a person say yes.
fn sure(restored: &Restored, yes: bool) -> Result<(), Failed> {
    let manifest = &restored.manifest;
    complain(&format!(
        "restored  {}\ntaken     {}\nholds     {} users, {} groups, {} links, the journal to record {}\n",
        restored.restored.rfc3339(),
        manifest.taken.rfc3339(),
        manifest.users,
        manifest.groups,
        manifest.links,
        manifest.sequence,
    ));
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failed(
            USAGE,
            String::from(
                "there is no terminal to ask on: say --yes if this is the right directory",
            ),
        ));
    }
    complain("Is this the right directory? Applications will be brought to its state. (yes/no) ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read {
        Ok(_) if answer.trim().eq_ignore_ascii_case("yes") => Ok(()),
        _ => Err(Failed(USAGE, String::from("not confirmed"))),
    }
}
