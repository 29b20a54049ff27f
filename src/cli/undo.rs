//! `usher undo`: brings people and groups back to where they were before a client's writes. Shows what it would do first.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::socket::{self, Door, Failed};
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
    after_help = "Reads in the journal what the client's writes changed, and puts it back: attributes as they were, deactivated people\nactive, deleted people and groups made again with the same attributes under a new id, members put in and taken out\nagain. They stay the client's. Applications follow from the queue at their pace, with everything that is mapped,\nlicences included; removals that waited are cancelled, and new ones are counted like any other. What the journal does\nnot show, and what somebody has changed since, is told with the reason and left alone. Whom these writes created stays,\nmemberships too, unless --created says otherwise: then that is a removal like any other, held by the safety limit where\nit is too many. Whose account was in an application before stays even then, and so does who has the name of somebody\ndeleted that cannot be made again. With --application, people without an account there are left as they are, and groups\nthat have nothing to do with it; other applications follow the directory all the same.\nWithout --yes it shows what it would do, and asks where there is a terminal. It needs the running gateway. Where it\nstopped on the way, run it again: it goes on with what is left.\nA moment is a duration back from now (7d, 12h, 90m), a date, or an RFC 3339 time.\nExit code: 0 shown or done, 64 wrong usage, 70 a failure, 75 try again: no gateway answers, or some of it was not done.\n\nExample:\n  usher undo --client okta --since 2026-11-28T08:00:00Z --until 2026-11-28T09:00:00Z"
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
    /// Only people who have an account there, or had, and groups that are pushed there or decide who belongs there
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// Take away as well whom and what these writes created
    #[arg(long)]
    created: bool,
    /// Do it, and do not ask
    #[arg(long)]
    yes: bool,
    /// How it is told; json never asks
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    door: Door,
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
        application: args.application.clone(),
        // Fixed here: what is done is what was shown, however long somebody thinks about it.
        since: moment("since", &args.since)?,
        until: moment("until", &args.until)?,
        ..Query::default()
    };
    if query.since >= query.until {
        return Err(Failed(USAGE, String::from("--since is not before --until")));
    }
    let created = if args.created { "&created=true" } else { "" };
    let target = format!("/undo?{}{created}", query.to_url());
    let (stream, path) = args.door.knock()?;
    if !args.yes {
        let proposals = ask(&stream, &path, "GET", &target)?;
        show(args.format, &proposals);
        let any = proposals.iter().any(Proposal::is_due);
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
    let open = proposals
        .iter()
        .filter(|one| one.is_due() && !one.done)
        .count();
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
    let sum = |of: fn(&Proposal) -> usize| proposals.iter().map(of).sum::<usize>();
    let mut text = format!(
        "restore {}, make again {}, take away {}, as it was already {}, not undone {}; members put in {}, taken out {}; done {done}\n",
        count(Step::Restore),
        count(Step::Recreate),
        count(Step::Remove),
        count(Step::Nothing),
        count(Step::NotUndone),
        sum(|one| one.put_in),
        sum(|one| one.taken_out),
    );
    let told = || proposals.iter().filter(|one| one.step != Step::Nothing);
    for one in told().take(SHOWN) {
        let step = match one.step {
            Step::Restore => "restore",
            Step::Recreate => "make again",
            Step::Remove => "take away",
            Step::Nothing | Step::NotUndone => "not undone",
        };
        let done = if one.done { "done" } else { "" };
        let reason = one.reason.as_deref().unwrap_or_default();
        // What a client wrote may hold what a terminal obeys.
        let user: String = one.user.chars().filter(|char| !char.is_control()).collect();
        let mut what = one.attributes.join(",");
        for (sign, members) in [('+', one.put_in), ('-', one.taken_out)] {
            if members > 0 {
                let space = if what.is_empty() { "" } else { " " };
                let _written = write!(what, "{space}members {sign}{members}");
            }
        }
        let line = format!("{step:<10}  {done:<4}  {user:<32}  {what}  {reason}");
        let _written = writeln!(text, "{}", line.trim_end());
    }
    let more = told().count().saturating_sub(SHOWN);
    if more > 0 {
        let _written = writeln!(text, "... and {more} more; --format json has all");
    }
    text
}
