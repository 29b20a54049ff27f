//! `usher holds`: removals that the safety limit stopped, and a person's word on them.

use std::fmt::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::report::read_only;
use super::socket::{self, Failed, Reach};
use super::{FAILURE, Format, TEMPORARY, complain, say};
use crate::provision::link::Cause;
use crate::settle::Engine;
use crate::settle::holds::{Hold, Said};

/// How long the gateway may be silent: each of thousands is written on its own.
const SILENCE: Duration = Duration::from_secs(600);

/// Lines of a table for people.
const LINES: usize = 200;

/// `usher holds`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a word more it lists them, those held longest first. `release` lets them go, for a time: what has not gone by\nthen is held again. `reject` leaves the accounts as they are, until their people have been in scope again.\nThe list comes from the gateway on its admin socket, or where none answers from the data file; the rest needs the gateway.\nExit code: 0 done, 64 wrong usage, 66 no data file, 70 a failure, nobody of that name held, 75 no gateway answers.\n\nExample:\n  usher holds --application zoom\n  usher holds release --application zoom --people 40 --for 24h\n  usher holds reject --application zoom --person jane@example.com"
)]
pub struct Args {
    #[command(subcommand)]
    word: Option<Word>,
    /// Of this application only
    #[arg(long, value_name = "NAME", global = true)]
    application: Option<String>,
    /// json: one object a line
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    format: Format,
    /// The configuration, for the places of socket and data file [default: usher.toml]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The gateway's admin socket
    #[arg(long, value_name = "FILE", global = true)]
    socket: Option<PathBuf>,
    /// The data file
    #[arg(long, value_name = "FILE", global = true)]
    store: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// Lets held removals go
    #[command(
        after_help = "--people N releases the N that are held longest, and lets as many more go as are left of N, whoever they are, until the\ntime is over.\n\nExample:\n  usher holds release --application zoom --people 40 --for 24h"
    )]
    Release {
        #[command(flatten)]
        whom: Whom,
        /// So many people
        #[arg(long, value_name = "N", conflicts_with_all = ["person", "all"], required_unless_present_any = ["person", "all"], value_parser = clap::value_parser!(u64).range(1..))]
        people: Option<u64>,
        /// How long this holds: 90m, 24h, 7d
        #[arg(long = "for", value_name = "TIME", default_value = "24h", value_parser = time)]
        span: String,
    },
    /// Leaves the accounts as they are
    #[command(
        after_help = "Example:\n  usher holds reject --application zoom --person jane@example.com"
    )]
    Reject {
        #[command(flatten)]
        whom: Whom,
    },
}

#[derive(Debug, clap::Args)]
struct Whom {
    /// This one, by userName or id
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    person: Option<String>,
    /// Everybody who is held now
    #[arg(long)]
    all: bool,
}

fn time(text: &str) -> Result<String, String> {
    match crate::config::value::duration(text) {
        Some(span) if !span.is_zero() => Ok(text.to_owned()),
        _ => Err(String::from("a time such as 90m, 24h or 7d")),
    }
}

/// Lists, or says.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    let done = match &args.word {
        None => list(&args),
        Some(word) => tell(&args, word),
    };
    match done {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(Failed(code, text)) => {
            complain(&format!("usher: {text}\n"));
            ExitCode::from(code)
        }
    }
}

fn reached(args: &Args) -> Result<Reach, Failed> {
    socket::reach(
        args.config.as_deref(),
        args.socket.as_deref(),
        args.store.as_deref(),
    )
}

fn list(args: &Args) -> Result<String, Failed> {
    let holds = match reached(args)? {
        Reach::Gateway(stream, path) => ask(&stream, args.application.as_deref())
            .map_err(|Failed(code, why)| Failed(code, format!("{}: {why}", path.display())))?,
        Reach::File(store, silent) => {
            let (store, note) = read_only(&store, silent.as_deref())?;
            complain(&format!("usher: {note}\n"));
            let found = store.view().and_then(|view| {
                let names = match &args.application {
                    Some(name) => vec![name.clone()],
                    None => view.configured()?,
                };
                let mut holds = Vec::new();
                for name in names {
                    holds.extend(Engine::holds(&view, &name)?);
                }
                Ok(holds)
            });
            found.map_err(|fault| Failed(FAILURE, fault.internal().into_owned()))?
        }
    };
    Ok(match args.format {
        Format::Text => table(&holds),
        Format::Json => holds
            .iter()
            // Texts and numbers: cannot fail.
            .map(|hold| serde_json::to_string(hold).unwrap_or_default() + "\n")
            .collect(),
    })
}

fn ask(stream: &UnixStream, application: Option<&str>) -> Result<Vec<Hold>, Failed> {
    let narrowed = application.map(|name| format!("?application={}", encoded(name)));
    let target = format!("/holds{}", narrowed.unwrap_or_default());
    let body = socket::ask(stream, "GET", &target, SILENCE)?;
    body.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).map_err(|_| socket::foreign()))
        .collect()
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn tell(args: &Args, word: &Word) -> Result<String, Failed> {
    let Some(application) = &args.application else {
        return Err(Failed(
            super::USAGE,
            String::from("which application? --application NAME"),
        ));
    };
    let (stream, path) = match reached(args)? {
        Reach::Gateway(stream, path) => (stream, path),
        Reach::File(_, why) => {
            let why = why.unwrap_or_else(|| String::from("no gateway was asked"));
            return Err(Failed(TEMPORARY, format!("{why}, and this needs one")));
        }
    };
    let (route, whom, people, span) = match word {
        Word::Release { whom, people, span } => ("release", whom, *people, Some(span)),
        Word::Reject { whom } => ("reject", whom, None, None),
    };
    let mut target = format!("/holds/{route}?application={}", encoded(application));
    match (&whom.person, people) {
        (Some(person), _) => {
            let _never = write!(target, "&person={}", encoded(person));
        }
        (None, Some(people)) => {
            let _never = write!(target, "&people={people}");
        }
        (None, None) if whom.all => target.push_str("&all=true"),
        (None, None) => {
            return Err(Failed(
                super::USAGE,
                String::from("whom? --person NAME or --all"),
            ));
        }
    }
    if let Some(span) = span {
        let _never = write!(target, "&for={}", encoded(span));
    }
    let body = socket::ask(&stream, "POST", &target, SILENCE)
        .map_err(|Failed(code, why)| Failed(code, format!("{}: {why}", path.display())))?;
    let said: Said = serde_json::from_slice(&body).map_err(|_| socket::foreign())?;
    Ok(match args.format {
        Format::Json => serde_json::to_string(&said).unwrap_or_default() + "\n",
        Format::Text => told(&said, route),
    })
}

fn told(said: &Said, route: &str) -> String {
    let done = if route == "release" {
        "released"
    } else {
        "rejected"
    };
    let mut out = format!("{}: {done} {}", said.application, said.people.len());
    if !said.people.is_empty() {
        let shown: Vec<&str> = said.people.iter().take(10).map(String::as_str).collect();
        let _never = write!(out, ": {}", shown.join(", "));
        if let Some(more) = said
            .people
            .len()
            .checked_sub(shown.len())
            .filter(|n| *n > 0)
        {
            let _never = write!(out, " and {more} more");
        }
    }
    if let Some((left, until)) = said.allowance {
        let _never = write!(out, "; {left} more may go until {}", until.rfc3339());
    }
    out.push('\n');
    out
}

fn table(holds: &[Hold]) -> String {
    if holds.is_empty() {
        return String::from("No removal is held.\n");
    }
    let head = ["USER", "APPLICATION", "GOES", "BECAUSE", "HELD SINCE"].map(String::from);
    let mut rows = vec![head];
    rows.extend(holds.iter().take(LINES).map(|hold| {
        let cause = match hold.cause {
            Cause::Inactive => "inactive",
            Cause::Deleted => "deleted",
            Cause::OutOfScope => "out of scope",
        };
        [
            hold.user.clone(),
            hold.application.clone(),
            format!("{:?}", hold.operation).to_lowercase(),
            cause.to_owned(),
            hold.held.rfc3339(),
        ]
    }));
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        out.push_str(line.join("  ").trim_end());
        out.push('\n');
    }
    if let Some(more) = holds.len().checked_sub(LINES).filter(|more| *more > 0) {
        let _never = writeln!(out, "and {more} more: --format json has all");
    }
    let _never = writeln!(
        out,
        "\n{} held. `usher holds release` lets them go, `usher holds reject` keeps the accounts.",
        holds.len()
    );
    out
}
