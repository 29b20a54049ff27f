//! `usher replay`: what another configuration would have done with the requests in the journal. Nothing is sent and nothing
//! is changed. Asks a running gateway over its admin socket; where none answers, reads the data file.

use std::fmt::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use super::progress::{shown, told};
use super::report::read_only;
use super::socket::{self, Failed, Reach};
use super::{FAILURE, Format, USAGE, complain, say};
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::console::replay::{Span, applications, replay};
use crate::journal::replay::{Count, Different, Differs, End, Line, Side, Unsaid};
use crate::journal::report::Query;
use crate::journal::url;
use crate::store::Progress;

/// How long the gateway may be silent about it: it shows how far it is elsewhere.
const SILENCE: Duration = Duration::from_secs(24 * 3600);
/// Something is different, or cannot be said: a person may want to look.
const DIFFERS: u8 = 1;
/// People of each kind that the text shows.
const SHOWN: usize = 200;

/// `usher replay`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Goes through the requests of identity providers that the journal holds, plans each anew as the new configuration says, and\ncompares: how many people were created, updated, deactivated and so on in each application then, by the journal, and how\nmany would have been; then who differs, and why. Nothing is sent and nothing changed. An application is taken to answer as\nit did where the same is asked of it, so that what failed or was held then is no difference.\nOnly people are shown with requests in the span, or whom a group of the new configuration's policies gave scope or took it\nfrom; a reload plans everybody. Who was in which group is told by the journal. Groups in applications are not replayed.\nThe new configuration is taken to come into force at the beginning of the span. Where the journal shows too little of a\nperson, because a value is redacted or records are missing, that is said. Secrets and certificates that the configuration\nnames are not read.\nAsks the gateway on the admin socket that the new configuration names; where none answers, reads its data file. --socket\nand --store name others.\nA moment is a duration back from now (7d, 12h, 90m), a date, or an RFC 3339 time.\nExit code: 0 nothing is different, 1 something is or cannot be said, 64 wrong usage or mistakes in the configuration, 66 no\ndata file, 70 a failure, 75 try again.\n\nExample:\n  usher replay --config new.toml --since 7d"
)]
pub struct Args {
    /// The new configuration [default: usher.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Not before this moment
    #[arg(long, value_name = "MOMENT")]
    since: String,
    /// Before this moment [default: now]
    #[arg(long, value_name = "MOMENT")]
    until: Option<String>,
    /// json: one object a line, everybody in it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The gateway's admin socket
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
    /// The data file
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
}

/// Replays and prints.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match find(&args, Clock::system().now()) {
        Ok(lines) => {
            say(&match args.format {
                Format::Text => text(&lines),
                Format::Json => json(&lines),
            });
            ExitCode::from(if differs(&lines) { DIFFERS } else { 0 })
        }
        Err(Failed(code, text)) => {
            complain(&format!("usher: {text}\n"));
            ExitCode::from(code)
        }
    }
}

fn find(args: &Args, now: Timestamp) -> Result<Vec<Line>, Failed> {
    let moment = |flag: &str, text: &str| {
        let wrong = || Failed(USAGE, format!("--{flag} {text:?} is not {}", url::MOMENTS));
        url::moment(text, now).ok_or_else(wrong)
    };
    let since = moment("since", &args.since)?;
    let until = match &args.until {
        Some(until) => moment("until", until)?,
        // What is written while it is asked for belongs to it.
        None => now.plus(Duration::from_secs(1)),
    };
    if since >= until {
        return Err(Failed(USAGE, String::from("--since is not before --until")));
    }
    let path = args.config.as_deref().unwrap_or(Path::new("usher.toml"));
    let text = config::text(path).and_then(|text| {
        // The mistakes are told here, with the file's own name.
        config::decisions(&text, path)?;
        Ok(text)
    });
    let text = text.map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failed(USAGE, problems.join("\nusher: "))
    })?;
    let span = Span { since, until };
    let reached = socket::reach(Some(path), args.socket.as_deref(), args.store.as_deref())?;
    match reached {
        Reach::Gateway(stream, at) => ask(stream, &at, text, span)
            .map_err(|Failed(code, why)| Failed(code, format!("{}: {why}", at.display()))),
        Reach::File(store, silent) => read(&store, silent.as_deref(), text, span),
    }
}

/// Asks a running gateway.
fn ask(stream: UnixStream, at: &Path, text: String, span: Span) -> Result<Vec<Line>, Failed> {
    let query = Query {
        since: Some(span.since),
        until: Some(span.until),
        ..Query::default()
    };
    let target = format!("/replay?{}", query.to_url());
    let asked = move || socket::send(&stream, "POST", &target, text.as_bytes(), SILENCE);
    let body = shown(asked, || {
        let so_far: Value = serde_json::from_slice(&told(at, "/replay")?).ok()?;
        Some((so_far["rows"].as_u64()?, so_far["of"].as_u64()?))
    })?;
    let lines = body.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).map_err(|_| socket::foreign()))
        .collect()
}

/// Reads the data file itself. `silent`: why no gateway was asked.
fn read(store: &Path, silent: Option<&str>, text: String, span: Span) -> Result<Vec<Line>, Failed> {
    let (opened, note) = read_only(store, silent)?;
    complain(&format!("usher: {note}\n"));
    let progress = Arc::new(Progress::default());
    let seen = Arc::clone(&progress);
    let replayed = shown(
        move || {
            let lines = applications(&text)
                .and_then(|new| replay(&opened.view()?, &new, &[], span, &progress));
            lines.map_err(|fault| Failed(FAILURE, fault.internal().into_owned()))
        },
        || {
            let rows = seen.rows.load(Ordering::Relaxed);
            Some((rows, seen.of.load(Ordering::Relaxed)))
        },
    );
    replayed.map_err(|Failed(code, why)| Failed(code, format!("{}: {why}", store.display())))
}

/// Whether anything is different, or cannot be said.
fn differs(lines: &[Line]) -> bool {
    lines.iter().any(|line| match line {
        Line::Count(Count { then, now, .. }) => then != now,
        Line::Person(_) | Line::Unsaid(_) => true,
        Line::End(End { differ, unsaid, .. }) => differ + unsaid > 0,
    })
}

fn json(lines: &[Line]) -> String {
    let mut text = String::new();
    // Texts and numbers: cannot fail.
    for line in lines
        .iter()
        .filter_map(|line| serde_json::to_string(line).ok())
    {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn text(lines: &[Line]) -> String {
    let (mut counts, mut people, mut unsaid) = (Vec::new(), Vec::new(), Vec::new());
    let mut end = &End::default();
    for line in lines {
        match line {
            Line::Count(count) => counts.push(count),
            Line::Person(person) => people.push(person),
            Line::Unsaid(one) => unsaid.push(one),
            Line::End(last) => end = last,
        }
    }
    let mut out = table(&counts);
    if end.differ + end.unsaid == 0 {
        parted(&mut out);
        let _never = writeln!(
            out,
            "No difference: the same would have been done for all {} people of {} records.",
            end.people, end.records
        );
    }
    if end.differ > 0 {
        parted(&mut out);
        let _never = writeln!(
            out,
            "Different for {} of {} people:",
            end.differ, end.people
        );
        for person in people.iter().take(SHOWN) {
            different(&mut out, person);
        }
        more(&mut out, people.len());
    }
    if end.unsaid > 0 {
        parted(&mut out);
        let _never = writeln!(out, "It cannot be said of {} people:", end.unsaid);
        for one in unsaid.iter().take(SHOWN) {
            let Unsaid {
                user,
                application,
                reason,
                ..
            } = one;
            let application = application.as_deref().unwrap_or("everywhere");
            let _never = writeln!(out, "  {}  {application}: {reason}", plain(user));
        }
        more(&mut out, unsaid.len());
    }
    if end.left_out > 0 {
        let _never = writeln!(out, "{} lines of people are left out.", end.left_out);
    }
    if !end.notes.is_empty() {
        parted(&mut out);
    }
    for note in &end.notes {
        let _never = writeln!(out, "Note: {note}.");
    }
    out
}

fn more(out: &mut String, all: usize) {
    if all > SHOWN {
        let _never = writeln!(out, "  ... and {} more; --format json has all", all - SHOWN);
    }
}

/// People, application by application.
fn table(counts: &[&Count]) -> String {
    let mut out = String::new();
    let mut before = None;
    for count in counts {
        if before != Some(&count.application) {
            parted(&mut out);
            let _never = writeln!(out, "{:<32}{:>9}{:>9}", count.application, "THEN", "NOW");
            before = Some(&count.application);
        }
        let what = match (&count.did, &count.code) {
            (Some(deed), _) => String::from(deed.name()),
            (None, code) => format!("nothing: {}", code.as_deref().unwrap_or_default()),
        };
        let _never = writeln!(out, "  {what:<30}{:>9}{:>9}", count.then, count.now);
    }
    out
}

/// An empty line before what comes next.
fn parted(out: &mut String) {
    if !out.is_empty() {
        out.push('\n');
    }
}

fn different(out: &mut String, person: &Different) {
    let Different {
        user,
        application,
        then,
        now,
        attributes,
        ..
    } = person;
    let _never = writeln!(
        out,
        "  {}  {application}: then {}, now {}",
        plain(user),
        side(then),
        side(now)
    );
    if let Some(reason) = now.reason.as_deref().or(then.reason.as_deref()) {
        let _never = writeln!(out, "    {}", plain(reason));
    }
    for Differs {
        attribute,
        then,
        now,
    } in attributes
    {
        let hidden = then.is_none() && now.is_none();
        let value = |value: &Option<Value>| match value {
            Some(value) => plain(&value.to_string()),
            None if hidden => String::from("(not shown)"),
            None => String::from("(nothing)"),
        };
        let _never = writeln!(out, "    {attribute}: {} -> {}", value(then), value(now));
    }
}

fn side(side: &Side) -> String {
    let did: Vec<&str> = side.did.iter().map(|deed| deed.name()).collect();
    match (did.is_empty(), &side.code) {
        (true, None) => String::from("nothing"),
        (true, Some(code)) => format!("nothing ({code})"),
        (false, None) => did.join(" and "),
        (false, Some(code)) => format!("{} ({code})", did.join(" and ")),
    }
}

/// What a client wrote may hold what a terminal obeys.
fn plain(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).collect()
}
