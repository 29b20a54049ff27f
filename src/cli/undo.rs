//! `usher undo`: brings people back to where they were before a client's writes. Shows what it would do first.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::socket::{self, Failed, Reach};
use super::{Format, TEMPORARY, USAGE, complain, say};
use crate::clock::{Clock, Timestamp};
use crate::journal::report::Query;
use crate::journal::undo::{Proposal, Step};
use crate::journal::url;

/// How long the gateway may be silent: it writes one person after the other.
const SILENCE: Duration = Duration::from_secs(3600);
/// The most people that the text shows.
const SHOWN: usize = 200;

/// `usher undo`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reads in the journal what the client's writes changed, and puts it back: attributes as they were, deactivated people\nactive, deleted people made again with the same attributes under a new id. They stay the client's. Applications follow\nfrom the queue at their pace, with everything that is mapped, licences included. What the journal does not show, and\nwhat somebody has changed since, is told with the reason and left alone. Not undone either, and told: people whom these\nwrites created, and groups, their names and members; who is made again is in no group until a client says so.\nWithout --yes it shows what it would do, and asks where there is a terminal. It needs the running gateway.\nA moment is a duration back from now (7d, 12h, 90m), a date, or an RFC 3339 time.\nExit code: 0 shown or done, 64 wrong usage, 70 a failure, 75 try again: no gateway answers, or some of it was not done.\n\nExample:\n  usher undo --client okta --since 2026-11-28T08:00:00Z --until 2026-11-28T09:00:00Z"
)]
pub struct Args {
    /// The client whose writes are undone
    #[arg(long, value_name = "NAME")]
    client: String,
    /// Not before this moment
    #[arg(long, value_name = "MOMENT")]
    since: String,
    /// Before this moment
    #[arg(long, value_name = "MOMENT")]
    until: String,
    /// Do it, and do not ask
    #[arg(long)]
    yes: bool,
    /// How it is told; json never asks
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The configuration, for the place of the socket [default: usher.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The gateway's admin socket
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
}

/// Shows, asks, undoes.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match undo(&args, Clock::system().now()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(code, text)) => {
            complain(&format!("usher: {text}\n"));
            ExitCode::from(code)
        }
    }
}

fn undo(args: &Args, now: Timestamp) -> Result<(), Failed> {
    let moment = |flag: &str, text: &str| {
        let wrong = || Failed(USAGE, format!("--{flag} {text:?} is not {}", url::MOMENTS));
        url::moment(text, now).map(Some).ok_or_else(wrong)
    };
    let query = Query {
        client: Some(args.client.clone()),
        // Fixed here: what is done is what was shown, however long somebody thinks about it.
        since: moment("since", &args.since)?,
        until: moment("until", &args.until)?,
        ..Query::default()
    };
    if query.since >= query.until {
        return Err(Failed(USAGE, String::from("--since is not before --until")));
    }
    let target = format!("/undo?{}", query.to_url());
    let reached = socket::reach(args.config.as_deref(), args.socket.as_deref(), None)?;
    let (stream, path) = match reached {
        Reach::Gateway(stream, path) => (stream, path),
        Reach::File(_, silent) => {
            return Err(Failed(
                TEMPORARY,
                silent.unwrap_or_else(|| String::from("no gateway answers")),
            ));
        }
    };
    if !args.yes {
        let proposals = ask(&stream, &path, "GET", &target)?;
        show(args.format, &proposals);
        let any = proposals.iter().any(due);
        if !any || args.format == Format::Json || !std::io::stdin().is_terminal() {
            if any && args.format == Format::Text {
                say("Nothing was changed. --yes does it.\n");
            }
            return Ok(());
        }
        complain("Undo this? (yes/no) ");
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        if read.is_err() || answer.trim() != "yes" {
            say("Nothing was changed.\n");
            return Ok(());
        }
    }
    let stream = UnixStream::connect(&path)
        .map_err(|why| Failed(TEMPORARY, format!("{}: {why}", path.display())))?;
    let proposals = ask(&stream, &path, "POST", &target)?;
    show(args.format, &proposals);
    let open = proposals.iter().filter(|one| due(one) && !one.done).count();
    if open > 0 {
        return Err(Failed(
            TEMPORARY,
            format!("{open} were not undone; the reasons are above"),
        ));
    }
    Ok(())
}

fn ask(
    stream: &UnixStream,
    path: &Path,
    method: &str,
    target: &str,
) -> Result<Vec<Proposal>, Failed> {
    let body = socket::ask(stream, method, target, SILENCE)
        .map_err(|Failed(code, why)| Failed(code, format!("{}: {why}", path.display())))?;
    body.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).map_err(|_| socket::foreign()))
        .collect()
}

fn due(proposal: &Proposal) -> bool {
    matches!(proposal.step, Step::Restore | Step::Recreate)
}

fn show(format: Format, proposals: &[Proposal]) {
    say(&match format {
        Format::Json => lines(proposals),
        Format::Text => text(proposals),
    });
}

fn lines(proposals: &[Proposal]) -> String {
    let mut text = String::new();
    for line in proposals
        .iter()
        .filter_map(|one| serde_json::to_string(one).ok())
    {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Counts, then a line for each that is not as it was.
fn text(proposals: &[Proposal]) -> String {
    let count = |step: Step| proposals.iter().filter(|one| one.step == step).count();
    let done = proposals.iter().filter(|one| one.done).count();
    let mut text = format!(
        "restore {}, make again {}, as it was already {}, not undone {}; done {done}\n",
        count(Step::Restore),
        count(Step::Recreate),
        count(Step::Nothing),
        count(Step::NotUndone),
    );
    let told = || proposals.iter().filter(|one| one.step != Step::Nothing);
    for one in told().take(SHOWN) {
        let step = match one.step {
            Step::Restore => "restore",
            Step::Recreate => "make again",
            Step::Nothing | Step::NotUndone => "not undone",
        };
        let done = if one.done { "done" } else { "" };
        let reason = one.reason.as_deref().unwrap_or_default();
        // What a client wrote may hold what a terminal obeys.
        let user: String = one.user.chars().filter(|char| !char.is_control()).collect();
        let attributes = one.attributes.join(",");
        let line = format!("{step:<10}  {done:<4}  {user:<32}  {attributes}  {reason}");
        let _written = writeln!(text, "{}", line.trim_end());
    }
    let more = told().count().saturating_sub(SHOWN);
    if more > 0 {
        let _written = writeln!(text, "... and {more} more; --format json has all");
    }
    text
}
