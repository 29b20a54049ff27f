//! `usher report`: what was provisioned, for whom, where, and how it ended. Asks a running gateway over its admin
//! socket; where none answers, reads the data file. Needs no secret and changes nothing.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;

use super::socket::{self, Failed, Places, Reach};
use super::{FAILURE, NO_INPUT, TEMPORARY, USAGE, complain, say};
use crate::clock::{Clock, Timestamp};
use crate::journal::record::{Operation, Status};
use crate::journal::report::{Query, Row};
use crate::journal::{table, url};
use crate::store::{OpenError, ReadStore, Store};

/// How long the gateway may be silent: a search through a large journal takes a while.
const SILENCE: Duration = Duration::from_secs(60);

/// `usher report`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Asks the gateway on its admin socket; where none answers, reads the data file itself. TIME is UTC.\nA moment is a duration back from now (7d, 12h, 90m), a date, or an RFC 3339 time.\nWith --socket or --store and without --config, only the places named are tried.\nExit code: 0 done, 64 wrong usage, 66 no data file, 70 a failure, 75 try again.\n\nExample:\n  usher report --user jane@ --application zoom --status failure --since 7d"
)]
pub struct Args {
    /// The beginning of the user's identifier, or of a group's name; case does not matter
    #[arg(long, value_name = "PREFIX")]
    user: Option<String>,
    /// An application's name in the configuration
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// A client's name in the configuration
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// create, update, deactivate, reactivate, delete, adopt or membership
    #[arg(long, value_parser = operation)]
    operation: Option<Operation>,
    /// success, failure, skipped, warning, held, queued or unknown
    #[arg(long, value_parser = status)]
    status: Option<Status>,
    /// Not before this moment
    #[arg(long, value_name = "MOMENT")]
    since: Option<String>,
    /// Before this moment
    #[arg(long, value_name = "MOMENT")]
    until: Option<String>,
    /// The most rows, newest first
    #[arg(long, value_name = "ROWS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// How the rows are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    places: Places,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For spreadsheets: RFC 4180
    Csv,
    /// For programs: one object a line
    Json,
}

/// A report, and what to say beside it.
#[derive(Debug)]
struct Found {
    rows: Vec<Row>,
    note: Option<String>,
}

fn operation(text: &str) -> Result<Operation, String> {
    url::word(text).ok_or_else(|| url::OPERATIONS.to_owned())
}

fn status(text: &str) -> Result<Status, String> {
    url::word(text).ok_or_else(|| url::STATUSES.to_owned())
}

/// Finds and prints.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match find(&args, Clock::system().now()) {
        Ok(Found { rows, note }) => {
            if let Some(note) = note {
                complain(&format!("usher: {note}\n"));
            }
            say(&match args.format {
                Format::Table => table::table(&rows),
                Format::Csv => table::csv(&rows),
                Format::Json => table::json(&rows),
            });
            ExitCode::SUCCESS
        }
        Err(Failed(code, text)) => {
            complain(&format!("usher: {text}\n"));
            ExitCode::from(code)
        }
    }
}

fn find(args: &Args, now: Timestamp) -> Result<Found, Failed> {
    let query = query(args, now)?;
    let reached = args.places.reach()?;
    match reached {
        Reach::Gateway(stream, path) => {
            let rows = ask(&stream, &query)
                .map_err(|Failed(code, why)| Failed(code, format!("{}: {why}", path.display())))?;
            Ok(Found { rows, note: None })
        }
        Reach::File(store, silent) => read(&store, &query, silent.as_deref()),
    }
}

fn query(args: &Args, now: Timestamp) -> Result<Query, Failed> {
    let moment = |flag: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => url::moment(text, now)
            .map(Some)
            .ok_or_else(|| Failed(USAGE, format!("--{flag} {text:?} is not {}", url::MOMENTS))),
    };
    Ok(Query {
        user_prefix: args.user.clone(),
        application: args.application.clone(),
        client: args.client.clone(),
        operation: args.operation,
        status: args.status,
        since: moment("since", &args.since)?,
        until: moment("until", &args.until)?,
        limit: usize::try_from(args.limit).unwrap_or(usize::MAX),
    })
}

/// Asks a running gateway.
fn ask(stream: &UnixStream, query: &Query) -> Result<Vec<Row>, Failed> {
    let body = socket::ask(
        stream,
        "GET",
        &format!("/report?{}", query.to_url()),
        SILENCE,
    )?;
    rows(&body)
}

/// The rows of an answer: JSON lines.
fn rows(body: &[u8]) -> Result<Vec<Row>, Failed> {
    body.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).map_err(|_| socket::foreign()))
        .collect()
}

/// Reads the data file itself. `silent`: why no gateway was asked.
fn read(path: &Path, query: &Query, silent: Option<&str>) -> Result<Found, Failed> {
    let (store, note) = read_only(path, silent)?;
    let rows = store
        .view()
        .and_then(|view| view.journal(query))
        .map_err(|fault| Failed(FAILURE, format!("{}: {}", path.display(), fault.internal())))?;
    Ok(Found {
        rows,
        note: Some(note),
    })
}

/// Opens the data file itself for reading, and what to say of that. `silent`: why no gateway was asked.
pub(super) fn read_only(path: &Path, silent: Option<&str>) -> Result<(ReadStore, String), Failed> {
    let why = silent.map_or_else(String::new, |silent| format!("{silent}; "));
    let store = Store::open_read_only(path).map_err(|error| {
        let code = match error {
            OpenError::Missing(_) => NO_INPUT,
            OpenError::Locked(_) | OpenError::NeedsRepair(_) => TEMPORARY,
            OpenError::Refused(_)
            | OpenError::Newer { .. }
            | OpenError::Older { .. }
            | OpenError::Failed(_) => FAILURE,
        };
        Failed(code, format!("{why}{error}"))
    })?;
    let checked = if store.checked() {
        "a crash had left it open, so it was checked whole and repaired first"
    } else {
        "the rows read were checked, the file as a whole was not"
    };
    let note = format!("{why}read {} directly: {checked}", path.display());
    Ok((store, note))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use clap::Parser;

    use super::*;
    use crate::cli::socket::tests::http;
    use crate::journal::report::tests::record;
    use crate::store::{ChangeSet, Options};

    const NOW: Timestamp = Timestamp(1_795_465_845_120);

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        let words = std::iter::once("report").chain(line.split_whitespace());
        Line::try_parse_from(words).expect(line).args
    }

    fn two() -> Vec<Row> {
        use Status::{Failure, Success};
        let records = [
            record(1, "ada", &[], &[("zoom", Success)]),
            record(2, "bob", &[], &[("zoom", Failure), ("wiki", Success)]),
        ];
        records
            .iter()
            .flat_map(|record| crate::journal::report::rows(record, &[], &[]))
            .collect()
    }

    /// A gateway's socket that gives one answer; what it was asked.
    fn gateway(path: &Path, answer: Vec<u8>) -> thread::JoinHandle<String> {
        let listener = UnixListener::bind(path).expect("a socket");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let mut asked = Vec::new();
            let mut byte = [0];
            while !asked.ends_with(b"\r\n\r\n")
                && stream.read(&mut byte).is_ok_and(|read| read == 1)
            {
                asked.extend_from_slice(&byte);
            }
            stream.write_all(&answer).expect("the caller reads");
            String::from_utf8(asked).expect("a request")
        })
    }

    /// A data file with two records.
    fn data(path: &Path) -> Store {
        let store = Store::open(&Options::new(path, NOW), |_| ()).expect("a data file");
        let set = ChangeSet {
            journal: vec![
                record(0, "ada", &[], &[("zoom", Status::Success)]),
                record(0, "bob", &[], &[("zoom", Status::Failure)]),
            ],
            ..ChangeSet::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let place = store.reserve().expect("a place");
        runtime.block_on(place.commit(set)).expect("a commit");
        store
    }

    #[test]
    fn flags_make_a_query() {
        let line = "--user Jane@ --application zoom --client okta --operation create --status failure --since 7d --until 2026-11-01 --limit 100";
        let url = query(&args(line), NOW).expect("a query").to_url();
        assert_eq!(
            url,
            "user=Jane%40&application=zoom&client=okta&operation=create&status=failure&since=1794861045120&until=1793491200000&limit=100"
        );
        assert_eq!(
            query(&args(""), NOW).expect("a query").to_url(),
            "limit=1000"
        );
        for line in ["--since soon", "--until 2026-02-30"] {
            let Failed(code, text) = query(&args(line), NOW).expect_err(line);
            assert_eq!(code, USAGE, "{text}");
            assert!(
                text.starts_with(line.split(' ').next().expect("a flag")),
                "{text}"
            );
        }
        for line in [
            "--limit 0",
            "--limit 1000001",
            "--status done",
            "--operation post",
            "--format xml",
        ] {
            let words = std::iter::once("report").chain(line.split_whitespace());
            assert!(Line::try_parse_from(words).is_err(), "{line}");
        }
    }

    #[test]
    fn a_running_gateway_is_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("usher.sock");
        // A place of its own in the configuration, and a secret that is nowhere.
        let config = folder.path().join("usher.toml");
        let text = "[admin]\nsocket = 'usher.sock'\n[[application]]\ncredentials = { token = { env = 'NOWHERE' } }\n";
        std::fs::write(&config, text).expect("a file");
        let asked = gateway(&socket, http("200 OK", table::json(&two()).as_bytes()));
        let mut args = args("--user ada --limit 3");
        args.places.config = Some(config);
        let found = find(&args, NOW).expect("a report");
        assert_eq!(found.rows, two());
        assert_eq!(found.note, None);
        let asked = asked.join().expect("one request");
        assert!(
            asked.starts_with("GET /report?user=ada&limit=3 HTTP/1.1\r\n"),
            "{asked}"
        );
        assert!(asked.contains("\r\nConnection: close\r\n"), "{asked}");
    }

    #[test]
    fn answers_that_are_no_report() {
        let Failed(code, text) = rows(b"<html>\n").expect_err("no rows");
        assert_eq!(code, FAILURE, "{text}");
        assert!(text.contains("no usher of this version"), "{text}");
        assert_eq!(rows(table::json(&two()).as_bytes()), Ok(two()));
        assert_eq!(rows(b""), Ok(Vec::new()));
    }

    #[test]
    fn without_a_gateway_the_file_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut args = args("--status failure");
        args.places.store = Some(folder.path().join("usher.redb"));
        let path = args.places.store.clone().expect("a path");
        let fails = |args: &Args| match find(args, NOW) {
            Err(Failed(code, text)) => (code, text),
            Ok(found) => (0, format!("{found:?}")),
        };

        let (code, text) = fails(&args);
        assert_eq!(code, NO_INPUT, "{text}");
        assert!(text.starts_with("there is no data file "), "{text}");

        let store = data(&path);
        let (code, text) = fails(&args);
        assert_eq!(code, TEMPORARY, "{text}");
        store.close().expect("closed");
        drop(store);

        args.places.socket = Some(folder.path().join("usher.sock"));
        let found = find(&args, NOW).expect("a report");
        let users: Vec<&str> = found.rows.iter().map(|row| row.user.as_str()).collect();
        assert_eq!(users, ["bob@example.com"]);
        let note = found.note.expect("a note");
        assert!(note.starts_with("no gateway answers on "), "{note}");
        assert!(
            note.ends_with("the rows read were checked, the file as a whole was not"),
            "{note}"
        );

        args.places.store = None;
        let (code, text) = fails(&args);
        assert_eq!(code, TEMPORARY, "{text}");
        args.places.config = Some(folder.path().join("none.toml"));
        let (code, text) = fails(&args);
        assert_eq!(code, USAGE, "{text}");
    }
}
