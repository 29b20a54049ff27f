//! `usher status`: how a running gateway and its applications are, and whether a person has to do something.

use std::fmt::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::socket::{self, Failed};
use super::{Format, TEMPORARY, USAGE, complain, say};
use crate::clock::Timestamp;
use crate::config;
use crate::console::status::{
    ApplicationStatus, ClassStatus, LaneStatus, PolicyState, State, Status,
};
use crate::store::Lane;

/// A person has to do something.
const ATTENTION: u8 = 1;
/// An application that fails for longer than this does not come back by itself in a moment.
const LONG: Duration = Duration::from_secs(5 * 60);
/// How long the gateway may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// `usher status`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 all is well, 1 a person has to do something (what, is in the last lines: removals held by the safety\nlimit, removals overdue, accounts quarantined, a policy whose group is not known or was deleted, credentials refused, an\napplication that fails for more than five minutes, a disk nearly full, a failed commit), 64 wrong usage, 75 no gateway\nanswers.\n\nExample:\n  usher status --config /etc/usher/usher.toml"
)]
pub struct Args {
    /// The configuration, for the place of the socket [default: usher.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The gateway's admin socket
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Asks and prints.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match ask(&args) {
        Ok((status, raw)) => {
            say(&match args.format {
                Format::Text => text(&status),
                Format::Json => raw,
            });
            ExitCode::from(if wanting(&status).is_empty() {
                0
            } else {
                ATTENTION
            })
        }
        Err(Failed(code, text)) => {
            complain(&format!("usher: {text}\n"));
            ExitCode::from(code)
        }
    }
}

fn ask(args: &Args) -> Result<(Status, String), Failed> {
    let path = match (&args.socket, &args.config) {
        (Some(socket), _) => socket.clone(),
        (None, file) => {
            let file = file.as_deref().unwrap_or(Path::new("usher.toml"));
            let places = config::places(file).map_err(|problems| {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                Failed(USAGE, problems.join("\nusher: "))
            })?;
            places.socket
        }
    };
    let stream = UnixStream::connect(&path).map_err(|why| {
        let text = format!("no gateway answers on {} ({why})", path.display());
        Failed(TEMPORARY, text)
    })?;
    let body = socket::ask(&stream, "GET", "/status", SILENCE)?;
    let status = serde_json::from_slice(&body).map_err(|_| socket::foreign())?;
    let raw = String::from_utf8(body).map_err(|_| socket::foreign())?;
    Ok((status, format!("{raw}\n")))
}

/// What a person has to do something about.
fn wanting(status: &Status) -> Vec<String> {
    let mut wanting = Vec::new();
    if status.phase == "broken" {
        wanting.push(String::from(
            "a commit failed: the gateway restarts and settles it; look at the disk and the log",
        ));
    }
    if status.store.as_ref().is_some_and(|store| store.full) {
        wanting.push(String::from(
            "the disk is nearly full: changes are refused until there is room",
        ));
    }
    if let Some(restored) = status.store.as_ref().and_then(|store| store.unconfirmed) {
        wanting.push(format!(
            "restored from a backup at {}: writes are refused and nothing is sent until `usher confirm`",
            restored.rfc3339()
        ));
    }
    for application in &status.applications {
        let name = &application.name;
        if application.held > 0 {
            wanting.push(format!(
                "{name}: removals held by the safety limit: {}; `usher holds --application {name}` lists them",
                application.held
            ));
        }
        for policy in &application.policies {
            let group = &policy.group;
            match policy.state {
                PolicyState::Bound => {}
                PolicyState::Empty => wanting.push(format!(
                    "{name}: the group of policy {} ({group}) has not had a member yet: by it nothing is given and nothing taken away",
                    policy.name
                )),
                PolicyState::Unknown => wanting.push(format!(
                    "{name}: policy {} names a group that nobody has sent ({group}): nothing is given and nothing taken away",
                    policy.name
                )),
                PolicyState::Deleted => wanting.push(format!(
                    "{name}: the group of policy {} ({group}) was deleted: who loses an account by that is held",
                    policy.name
                )),
            }
        }
        if application.overdue > 0 {
            wanting.push(format!(
                "{name}: removals that fail again and again, and are still tried: {}; `usher links --application {name} --state overdue` lists them",
                application.overdue
            ));
        }
        if application.quarantined > 0 {
            wanting.push(format!(
                "{name}: quarantined accounts, for which nothing is sent any more: {}; `usher links --application {name} --state quarantined` lists them, `usher retry` tries them again",
                application.quarantined
            ));
        }
        match application.state {
            State::Refused { .. } => wanting.push(format!(
                "{name}: the credentials or their scopes are refused; mend them there or in the configuration"
            )),
            State::Failing { since, .. } if status.now.since(since) > LONG => {
                wanting.push(format!(
                    "{name}: no good answer for {}; is it down, or is its address wrong?",
                    span(status.now.since(since))
                ));
            }
            State::Ok | State::Waiting { .. } | State::Failing { .. } => {}
        }
    }
    wanting
}

fn text(status: &Status) -> String {
    let mut out = format!(
        "usher {}: {}, up {}",
        status.version,
        status.phase,
        span(status.now.since(status.started))
    );
    if let Some(generation) = status.generation {
        let _never = write!(out, ", configuration generation {generation}");
    }
    out.push('\n');
    if let Some(store) = &status.store {
        let free = store.free.map_or_else(|| String::from("unknown"), bytes);
        let _never = writeln!(
            out,
            "data file {}: {}, {free} free",
            store.path,
            bytes(store.bytes)
        );
    }
    for application in &status.applications {
        out.push('\n');
        out.push_str(&one(application, status.now));
    }
    let wanting = wanting(status);
    if !wanting.is_empty() {
        out.push_str("\nA person has to look:\n");
        for line in wanting {
            let _never = writeln!(out, "  {line}");
        }
    }
    out
}

fn one(application: &ApplicationStatus, now: Timestamp) -> String {
    let mut out = format!("{}: {}", application.name, in_words(application.state, now));
    if application.mode != "live" {
        let _never = write!(out, " ({})", application.mode);
    }
    if let Some((at, last)) = &application.last {
        let _never = write!(out, "; last: {last}, {} ago", span(now.since(*at)));
    }
    let _never = writeln!(
        out,
        "\n  accounts active {}, removals held {}, overdue {}, quarantined {}, calls under way {} of {}, waiting for their turn {}",
        application.active,
        application.held,
        application.overdue,
        application.quarantined,
        application.in_flight,
        application.concurrency,
        application.waiting
    );
    if let Some((left, until)) = application.allowance {
        let _never = writeln!(
            out,
            "  allowed beyond the safety limit: {left}, another {}",
            span(until.since(now))
        );
    }
    for policy in &application.policies {
        let state = match policy.state {
            PolicyState::Bound => "members",
            PolicyState::Empty => "never had a member",
            PolicyState::Unknown => "not known",
            PolicyState::Deleted => "deleted",
        };
        let _never = write!(out, "  policy {}: {}", policy.name, policy.group);
        if let Some(called) = policy
            .called
            .as_ref()
            .filter(|called| crate::scim::schema::fold(called) != policy.group)
        {
            let _never = write!(out, ", called {called} now");
        }
        let _never = match policy.state {
            PolicyState::Bound => writeln!(out, ", {} {state}", policy.members),
            _ => writeln!(out, ", {state}"),
        };
    }
    if let Some(sweep) = &application.sweep {
        let who = if sweep.set {
            "those whose groups changed"
        } else {
            "everybody"
        };
        let _never = writeln!(
            out,
            "  planning {who} again: {} of {}, removals held by it {}",
            sweep.done, sweep.total, sweep.held
        );
    }
    let mut rows = vec![row(["pace", "now", "configured", "granted", "not before"])];
    rows.push(class("light", &application.light, now));
    rows.push(class("medium", &application.medium, now));
    out.push_str(&table(&rows));
    let mut rows = vec![row(["queue", "due", "later", "parked", "oldest due"])];
    rows.extend(application.queue.iter().map(|lane| self::lane(lane, now)));
    out.push_str(&table(&rows));
    out
}

fn in_words(state: State, now: Timestamp) -> String {
    let next = |next: Timestamp| {
        if next > now {
            format!("next try in {}", span(next.since(now)))
        } else {
            String::from("the next call finds out")
        }
    };
    match state {
        State::Ok => String::from("ok"),
        State::Waiting { until } => format!("told to wait, another {}", span(until.since(now))),
        State::Failing { since, next: at } => {
            format!(
                "no good answer for {}, {}",
                span(now.since(since)),
                next(at)
            )
        }
        State::Refused { since, next: at } => {
            format!(
                "credentials refused for {}, {}",
                span(now.since(since)),
                next(at)
            )
        }
    }
}

fn class(name: &str, class: &ClassStatus, now: Timestamp) -> [String; 5] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| String::from("-"));
    [
        name.to_owned(),
        format!("{}/s", class.rate),
        format!("{}/s", class.configured),
        or_none(class.granted.map(|granted| format!("{granted}/s"))),
        or_none(
            class
                .not_before
                .map(|until| format!("in {}", span(until.since(now)))),
        ),
    ]
}

fn lane(lane: &LaneStatus, now: Timestamp) -> [String; 5] {
    let name = match lane.lane {
        Lane::Deactivate => "deactivate",
        Lane::Create => "create",
        Lane::Update => "update",
        Lane::Group => "group",
    };
    // The key order is by due time: what was not counted is the latest.
    let more = if lane.more { "more than " } else { "" };
    let oldest = lane.oldest.map(|due| span(now.since(due)));
    [
        name.to_owned(),
        format!("{more}{}", lane.due),
        lane.later.to_string(),
        lane.parked.to_string(),
        oldest.unwrap_or_else(|| String::from("-")),
    ]
}

fn row(cells: [&str; 5]) -> [String; 5] {
    cells.map(|cell| cell.to_uppercase())
}

/// Left-aligned columns.
fn table(rows: &[[String; 5]]) -> String {
    let mut widths = [0; 5];
    for cells in rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = cell.len().max(*width);
        }
    }
    let mut out = String::new();
    for cells in rows {
        let mut line = String::from(" ");
        for (width, cell) in widths.iter().zip(cells) {
            let _never = write!(line, " {cell:<width$} ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A time span as people say it: the two largest units.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

fn bytes(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..0x10_0000 => (1 << 10, "KiB"),
        0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    let tenths = bytes.saturating_mul(10) / unit;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::status::{PolicyStatus, StoreStatus, SweepStatus};

    fn class() -> ClassStatus {
        ClassStatus {
            rate: String::from("20"),
            configured: 40,
            granted: Some(80),
            not_before: None,
        }
    }

    fn status() -> Status {
        let lane = |lane, due, more| LaneStatus {
            lane,
            due,
            later: 2,
            parked: 0,
            oldest: (due > 0).then_some(Timestamp(900_000)),
            more,
        };
        Status {
            phase: String::from("ready"),
            version: String::from("0.1.0"),
            now: Timestamp(1_000_000),
            started: Timestamp(0),
            generation: Some(4),
            store: None,
            applications: vec![ApplicationStatus {
                name: String::from("zoom"),
                mode: String::from("live"),
                state: State::Waiting {
                    until: Timestamp(1_030_000),
                },
                light: class(),
                medium: ClassStatus {
                    not_before: Some(Timestamp(1_030_000)),
                    granted: None,
                    ..class()
                },
                in_flight: 3,
                concurrency: 8,
                waiting: 1,
                failures: 0,
                last: Some((Timestamp(999_000), String::from("answered 429"))),
                active: 700,
                held: 0,
                allowance: None,
                policies: vec![PolicyStatus {
                    name: String::from("ours"),
                    group: String::from("zoom users"),
                    state: PolicyState::Bound,
                    called: Some(String::from("Video Users")),
                    members: 700,
                }],
                quarantined: 0,
                overdue: 0,
                sweep: Some(SweepStatus {
                    set: false,
                    total: 900,
                    done: 500,
                    held: 0,
                }),
                marks: 10_004,
                queue: vec![
                    lane(Lane::Deactivate, 0, false),
                    lane(Lane::Create, 9_998, true),
                ],
            }],
        }
    }

    #[test]
    fn people_get_a_table() {
        let want = "\
usher 0.1.0: ready, up 16m 40s, configuration generation 4

zoom: told to wait, another 30s; last: answered 429, 1s ago
  accounts active 700, removals held 0, overdue 0, quarantined 0, calls under way 3 of 8, waiting for their turn 1
  policy ours: zoom users, called Video Users now, 700 members
  planning everybody again: 500 of 900, removals held by it 0
  PACE    NOW   CONFIGURED  GRANTED  NOT BEFORE
  light   20/s  40/s        80/s     -
  medium  20/s  40/s        -        in 30s
  QUEUE       DUE              LATER  PARKED  OLDEST DUE
  deactivate  0                2      0       -
  create      more than 9998   2      0       1m 40s
";
        let squeeze = |text: &str| -> Vec<String> {
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            text.lines().map(words).collect()
        };
        assert_eq!(squeeze(&text(&status())), squeeze(want));
    }

    #[test]
    fn what_a_person_has_to_look_at() {
        let with = |state, held| {
            let mut status = status();
            status.applications[0].state = state;
            status.applications[0].held = held;
            wanting(&status).len()
        };
        let (since, next) = (Timestamp(700_001), Timestamp(1_000_001));
        assert_eq!(with(State::Ok, 0), 0);
        assert_eq!(with(State::Waiting { until: next }, 0), 0);
        assert_eq!(with(State::Failing { since, next }, 0), 0);
        let long = Timestamp(699_999);
        assert_eq!(with(State::Failing { since: long, next }, 0), 1);
        assert_eq!(with(State::Refused { since, next }, 3), 2);
        for (policy, lines) in [
            (PolicyState::Bound, 0),
            (PolicyState::Empty, 1),
            (PolicyState::Unknown, 1),
            (PolicyState::Deleted, 1),
        ] {
            let mut status = status();
            status.applications[0].policies[0].state = policy;
            assert_eq!(wanting(&status).len(), lines, "{policy:?}");
        }
        let broken = Status {
            phase: String::from("broken"),
            ..status()
        };
        assert_eq!(wanting(&broken).len(), 1);
        let restored = Status {
            store: Some(StoreStatus {
                path: String::from("usher.redb"),
                bytes: 1,
                free: None,
                full: false,
                unconfirmed: Some(Timestamp(0)),
            }),
            ..status()
        };
        let told = wanting(&restored);
        assert!(told[0].contains("`usher confirm`"), "{told:?}");
    }

    #[test]
    fn spans_and_sizes() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (61, "1m 1s"),
            (7_260, "2h 1m"),
            (180_000, "2d 2h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        let cases = [
            (512, "0.5 KiB"),
            (1_048_576, "1.0 MiB"),
            (3 << 29, "1.5 GiB"),
        ];
        for (size, text) in cases {
            assert_eq!(bytes(size), text);
        }
    }
}
