//! `usher links`: which account in which application is whose, and what a person may have done about one. Lists and shows
//! through a running gateway, else out of the data file; changes through a running gateway only.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::backup::opening;
use super::socket::{self, Failed, Reach};
use super::{FAILURE, Format, TEMPORARY, USAGE, complain, say};
use crate::clock::Timestamp;
use crate::console::links::{LIMIT, MOST, Page, Row, STATES, Wanted, find};
use crate::settle::Relinked;
use crate::store::Store;

/// How long the gateway may be silent: it may look at everybody.
const SILENCE: Duration = Duration::from_secs(60);
/// The widest that a column becomes.
const WIDE: usize = 48;

/// `usher links`
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Lists, with one line for each account, what usher knows of it: state (active, deactivated, unseen, pending, unborn; none:\nthere is no account), then uncertain (looked at before anything is sent), removal, held, kept, quarantined and overdue.\nAsks the gateway on its admin socket; where none answers, reads the data file itself.\nWith --socket or --store and without --config, only the places named are tried.\nExit code: 0 done, 64 wrong usage, 65 the data file does not open, 66 no data file, 70 a failure, 75 try again.\n\nExample:\n  usher links --application zoom --state quarantined"
)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// An application's name
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// The beginning of the userName, or of a group's name; case does not matter
    #[arg(long, value_name = "PREFIX")]
    person: Option<String>,
    /// active, deactivated, unseen, pending, unborn, none, uncertain, removal, held, kept, quarantined or overdue
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(STATES), hide_possible_values = true)]
    state: Option<String>,
    /// The most rows; with more, it is told how to go on
    #[arg(long, value_name = "ROWS", default_value_t = LIMIT, value_parser = limit)]
    limit: usize,
    /// Goes on where a list ended
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    #[command(flatten)]
    places: Asking,
}

/// Where to ask, and how to tell.
#[derive(Debug, clap::Args)]
struct Asking {
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    found: socket::Places,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Shows everything that is known of somebody's accounts
    #[command(after_help = "Example:\n  usher links show jane@example.com")]
    Show {
        /// The userName, a group's name, or an id
        person: String,
        #[command(flatten)]
        places: Asking,
    },
    /// Forgets a link; the account in the application is left alone
    #[command(
        after_help = "The user is planned as one without an account from then on: who belongs in the application is looked for there at once,\nand with adopt = true linked again. To leave somebody alone for good, take them out of scope first.\nA removal that was asked for is forgotten with the link. It takes a running gateway.\n\nExample:\n  usher links unlink --application zoom jane@example.com"
    )]
    Unlink(Change),
    /// Looks the account up again by its name, and links what is found
    #[command(
        after_help = "For an account that was made anew in the application, or linked wrongly. Where none is found and the user belongs there,\none is made. It takes adopt = true and a running gateway.\n\nExample:\n  usher links rematch --application zoom jane@example.com"
    )]
    Rematch(Change),
}

/// What is changed.
#[derive(Debug, clap::Args)]
struct Change {
    /// The userName, or the id
    person: String,
    /// The application
    #[arg(long, value_name = "NAME")]
    application: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    places: Asking,
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok();
    let limit = limit.filter(|limit| (1..=MOST).contains(limit));
    limit.ok_or_else(|| format!("a number from 1 to {MOST}"))
}

/// Lists, shows or changes.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match tell(args) {
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

fn tell(args: Args) -> Result<String, Failed> {
    let (wanted, places) = match args.what {
        None => {
            let wanted = Wanted {
                application: args.application,
                person: args.person,
                whole: false,
                state: args.state,
                limit: args.limit,
                after: args.after,
            };
            (wanted, args.places)
        }
        Some(What::Show { person, places }) => (one(person, None), places),
        Some(What::Unlink(change)) => return relink(&change, "unlink"),
        Some(What::Rematch(change)) => return relink(&change, "rematch"),
    };
    let page = look(&wanted, &places)?;
    if let Some(next) = page.next.filter(|_| !wanted.whole) {
        complain(&format!(
            "usher: there may be more: the same with --after {next}\n"
        ));
    }
    Ok(match (places.format, wanted.whole) {
        (Format::Json, _) => page.rows.iter().map(line).collect(),
        (Format::Text, false) => table(&page.rows),
        (Format::Text, true) => blocks(&page.rows),
    })
}

/// One resource, whole.
fn one(person: String, application: Option<String>) -> Wanted {
    Wanted {
        application,
        person: Some(person),
        whole: true,
        limit: MOST,
        ..Wanted::default()
    }
}

fn look(wanted: &Wanted, places: &Asking) -> Result<Page, Failed> {
    match places.found.reach()? {
        Reach::Gateway(stream, path) => ask(&stream, wanted)
            .map_err(|Failed(code, why)| Failed(code, format!("{}: {why}", path.display()))),
        Reach::File(store, silent) => read(&store, wanted, silent.as_deref()),
    }
}

fn ask(stream: &UnixStream, wanted: &Wanted) -> Result<Page, Failed> {
    let target = format!("/links?{}", wanted.to_url());
    let body = socket::ask(stream, "GET", &target, SILENCE)?;
    serde_json::from_slice(&body).map_err(|_| socket::foreign())
}

/// Reads the data file itself. `silent`: why no gateway was asked.
fn read(path: &Path, wanted: &Wanted, silent: Option<&str>) -> Result<Page, Failed> {
    let why = silent.map_or_else(String::new, |silent| format!("{silent}; "));
    let store = Store::open_read_only(path)
        .map_err(|error| Failed(opening(&error), format!("{why}{error}")))?;
    let page = store
        .view()
        .and_then(|view| find(&view, wanted, None))
        .map_err(|fault| Failed(FAILURE, format!("{}: {}", path.display(), fault.internal())))?;
    let sent = match wanted.whole {
        true => "; what was sent is not shown, because only the rules say what of it is redacted",
        false => "",
    };
    complain(&format!(
        "usher: {why}read {} directly{sent}\n",
        path.display()
    ));
    Ok(page)
}

fn relink(change: &Change, how: &str) -> Result<String, Failed> {
    let places = &change.places;
    let connect = || match places.found.reach()? {
        Reach::Gateway(stream, _) => Ok(stream),
        Reach::File(_, silent) => Err(Failed(
            TEMPORARY,
            format!(
                "{}; a link is changed by a running gateway only",
                silent.unwrap_or_else(|| String::from("no socket was named"))
            ),
        )),
    };
    let wanted = one(change.person.clone(), Some(change.application.clone()));
    let page = ask(&connect()?, &wanted)?;
    if !page.rows.iter().any(|row| row.state.is_some()) {
        return Err(Failed(
            USAGE,
            format!(
                "no user {} has an account in {} that usher knows of",
                change.person, change.application
            ),
        ));
    }
    complain(&blocks(&page.rows));
    sure(change.yes, how)?;
    let text = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let target = format!(
        "/links/{how}?application={}&person={}",
        text(&change.application),
        text(&change.person)
    );
    let body = socket::ask(&connect()?, "POST", &target, SILENCE)?;
    let done: Relinked = serde_json::from_slice(&body).map_err(|_| socket::foreign())?;
    Ok(match places.format {
        Format::Json => line(&done),
        Format::Text => {
            let next = done.next.as_deref().unwrap_or("nothing is sent now");
            let what = match how {
                "unlink" => "unlinked: the account is left alone",
                _ => "to be matched again",
            };
            format!(
                "{} in {}: {what}. Next: {next}.\n",
                done.person, done.application
            )
        }
    })
}

fn sure(yes: bool, how: &str) -> Result<(), Failed> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        let why = "there is no terminal to ask on: say --yes if this is the right one";
        return Err(Failed(USAGE, String::from(why)));
    }
    complain(match how {
        "unlink" => {
            "Forget this link? The account is left alone; who belongs there is linked again where adopt = true. (yes/no) "
        }
        _ => "Forget its id and look it up by its name? (yes/no) ",
    });
    let mut answer = String::new();
    match std::io::stdin().lock().read_line(&mut answer) {
        Ok(_) if answer.trim().eq_ignore_ascii_case("yes") => Ok(()),
        _ => Err(Failed(USAGE, String::from("not done"))),
    }
}

fn line(value: &impl serde::Serialize) -> String {
    // Maps with text for keys: nothing can fail.
    let text = serde_json::to_string(value).unwrap_or_default();
    format!("{text}\n")
}

/// What came from outside can hold line ends and terminal escapes.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn name(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_value(value).ok();
    let text = text.as_ref().and_then(|text| text.as_str());
    text.unwrap_or_default().to_owned()
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::from("no links match\n");
    }
    let head = ["PERSON", "APPLICATION", "ACCOUNT", "ORIGIN", "STATE"].map(str::to_owned);
    let mut lines = vec![head];
    lines.extend(rows.iter().map(|row| {
        let gone = if row.deleted.is_some() {
            " (deleted)"
        } else {
            ""
        };
        [
            plain(&format!("{}{gone}", row.person)),
            plain(&row.application),
            plain(row.remote_id.as_deref().unwrap_or("-")),
            row.origin.as_ref().map_or_else(|| String::from("-"), name),
            row.words().join(", "),
        ]
    }));
    let mut widths = [0; 5];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().min(WIDE).max(*width);
        }
    }
    let mut out = String::new();
    for line in &lines {
        let cells = line
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    let _never = writeln!(out, "{} shown", rows.len());
    out
}

fn blocks(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::from("no links match\n");
    }
    rows.iter().map(block).collect::<Vec<_>>().join("\n")
}

fn block(row: &Row) -> String {
    let at = |at: Timestamp| at.rfc3339();
    let mut lines = vec![
        ("person", format!("{} ({})", plain(&row.person), row.id)),
        ("application", plain(&row.application)),
        ("state", row.words().join(", ")),
    ];
    let mut add = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
    add("deleted", row.deleted.map(at));
    add("account", row.remote_id.as_deref().map(plain));
    add("origin", row.origin.as_ref().map(name));
    add(
        "removal",
        row.removal.as_ref().map(|removal| {
            let held = removal.held.map_or_else(String::new, |held| {
                format!(", held by the safety limit since {}", at(held))
            });
            format!(
                "{}, asked for {}{held}",
                name(&removal.cause),
                at(removal.asked)
            )
        }),
    );
    add(
        "kept",
        row.kept
            .then(|| String::from("left alone on purpose until the user has been in scope again")),
    );
    add(
        "next try",
        row.mark.as_ref().map(|mark| {
            let due = mark.due.map_or_else(
                || String::from("not before a person or a change asks for it"),
                at,
            );
            format!("{due}, failed attempts {}", mark.attempts)
        }),
    );
    add(
        "stuck",
        row.stuck.as_ref().map(|stuck| {
            let what = match stuck.removal {
                true => "a removal that is still tried",
                false => "quarantined",
            };
            let (since, reason) = (at(stuck.since), plain(&stuck.reason));
            format!("{what}, since {since}: {} ({reason})", plain(&stuck.code))
        }),
    );
    if let Some(whole) = &row.whole {
        add("seen name", whole.seen_name.as_deref().map(plain));
        add(
            "dropped",
            (!whole.dropped.is_empty()).then(|| plain(&whole.dropped.join(", "))),
        );
        add(
            "fresh",
            whole
                .fresh
                .then(|| String::from("adopted, and not written since")),
        );
        add("not taken", whole.untaken.map(at));
        for (key, value) in whole.sent.iter().flatten() {
            add("sent", Some(plain(&format!("{key} = {value}"))));
        }
    }
    let mut out = String::new();
    for (name, value) in lines {
        let _never = writeln!(out, "{name:<12} {value}");
    }
    out
}
