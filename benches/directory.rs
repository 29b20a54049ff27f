//! Lists, filters, sorts, pages, PATCH and member changes against directories of 1,000, 100,000 and 1,000,000 users. What
//! is wanted is a flat line: the same microseconds at each size.
//!
//! Through the library, from the decoding of a query or body to the bytes of the answer, without HTTP. A write is a real
//! one, with its commit on disk. CPU is what the process used for one, its writer included.

mod filling;
mod machine;
mod people;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use usher::error::Fault;
use usher::read;
use usher::reply;
use usher::scim::Kind;
use usher::scim::condition::Conditions;
use usher::scim::projection::Projection;
use usher::scim::request::{Parts, ScimRequest};
use usher::scim::route::Route;
use usher::server::service;
use usher::settle::Asked;

use filling::{Directory, INACTIVE};
use machine::{
    Failure, OURSELVES, cpu_time, flush_rate, forget_peak, memory, percentile, progress,
};

const HELP: &str = "\
cargo bench --bench directory -- [--quick] [SIZE ...] [WORD]

  --quick   1,000 and 100,000 users, a fifth of the time for each case
  SIZE      directories of so many users, in thousands: 1000 5000
  WORD      the cases with this word: page, patch, member, ...

A million users take some minutes to fill in and 5 GB of disk beside the build.
";

const BASE: &str = "https://scim.example.com/scim/v2";
/// The largest size may take so many times as long as the smallest before a line is marked.
const FLAT: f64 = 3.0;

/// One line of the table.
struct Case {
    name: &'static str,
    ask: Ask,
    /// Whether it is meant to cost the same at each size.
    flat: bool,
}

/// What is asked.
enum Ask {
    List(Query),
    /// The page after the last one asked for.
    NextPage,
    /// One user by id.
    User,
    /// One group of so many members.
    Group(u64),
    /// PATCH of a user's attribute.
    Patch,
    /// PATCH that takes a member out of a group of so many, or puts it back.
    Member(u64),
}

/// A list of users: its filter, the rest of its query, and what it finds. What is in braces is filled in, each time for
/// another user.
#[derive(Clone, Copy)]
struct Query(&'static str, &'static str, Finds);

/// How many users a query finds.
#[derive(Clone, Copy)]
enum Finds {
    Just(u64),
    All,
    /// All, the last one first.
    Backwards,
    Active,
    Inactive,
}

const LISTS: [(&str, Query); 17] = [
    (
        "userName eq",
        Query("userName eq \"person.{n}@example.com\"", "", Finds::Just(1)),
    ),
    (
        "emails.value eq",
        Query(
            "emails.value eq \"person.{n}@home.example.net\"",
            "",
            Finds::Just(1),
        ),
    ),
    (
        "externalId eq",
        Query("externalId eq \"00u0000000000{n}\"", "", Finds::Just(1)),
    ),
    (
        "userName eq and active eq",
        Query(
            "userName eq \"person.{n}@example.com\" and active eq true",
            "",
            Finds::Just(1),
        ),
    ),
    (
        "active eq and userName eq",
        Query(
            "active eq true and userName eq \"person.{n}@example.com\"",
            "",
            Finds::Just(1),
        ),
    ),
    (
        "userName sw, 10 found",
        Query("userName sw \"person.{ten}\"", "", Finds::Just(10)),
    ),
    (
        "displayName sw, 10 found",
        Query(
            "displayName sw \"person number {ten}\"",
            "",
            Finds::Just(10),
        ),
    ),
    (
        "meta.lastModified gt, 10 found",
        Query("meta.lastModified gt \"{recent}\"", "", Finds::Just(10)),
    ),
    (
        "active eq false, page of 100",
        Query("active eq false", "&count=100", Finds::Inactive),
    ),
    (
        "active eq true, middle page",
        Query(
            "active eq true",
            "&count=100&startIndex={middle}",
            Finds::Active,
        ),
    ),
    ("count=0", Query("", "&count=0", Finds::All)),
    ("first page of 100", Query("", "&count=100", Finds::All)),
    (
        "middle page",
        Query("", "&count=100&startIndex={middle}", Finds::All),
    ),
    (
        "last page",
        Query("", "&count=100&startIndex={last}", Finds::All),
    ),
    (
        "sortBy userName, first page",
        Query("", "&count=100&sortBy=userName", Finds::All),
    ),
    (
        "sortBy userName, descending",
        Query(
            "",
            "&count=100&sortBy=userName&sortOrder=descending",
            Finds::Backwards,
        ),
    ),
    (
        "sortBy displayName, descending",
        Query(
            "",
            "&count=100&sortBy=displayName&sortOrder=descending",
            Finds::Backwards,
        ),
    ),
];
/// No index serves it.
const WALK: Query = Query("nickName eq \"nobody {n}\"", "", Finds::Just(0));

fn cases() -> Vec<Case> {
    let flat = |name, ask| Case {
        name,
        ask,
        flat: true,
    };
    let lists = LISTS
        .into_iter()
        .map(|(name, query)| flat(name, Ask::List(query)));
    let walk = Case {
        flat: false,
        ..flat("no index: nickName eq", Ask::List(WALK))
    };
    let others = [
        flat("next page by cursor", Ask::NextPage),
        walk,
        flat("user by id", Ask::User),
        flat("group of 10", Ask::Group(10)),
        flat("group of 1,000", Ask::Group(1_000)),
        flat("group of 100,000", Ask::Group(100_000)),
        flat("PATCH of a user", Ask::Patch),
        flat("member change, group of 10", Ask::Member(10)),
        flat("member change, group of 1,000", Ask::Member(1_000)),
        flat("member change, group of 100,000", Ask::Member(100_000)),
    ];
    lists.chain(others).collect()
}

impl Query {
    fn text(self, directory: &Directory, turn: u64) -> String {
        let (number, size) = (directory.pick(turn), directory.size);
        let fill = |text: &str| {
            text.replace("{n}", &format!("{number:07}"))
                .replace("{ten}", &format!("{:06}", number / 10))
                .replace("{recent}", &directory.modified(size - 11).rfc3339())
                .replace("{middle}", &format!("{}", size / 2 + turn % 100))
                .replace("{last}", &format!("{}", size - 99 - turn % 100))
        };
        let filter = fill(self.0);
        let filter = utf8_percent_encode(&filter, NON_ALPHANUMERIC);
        format!("filter={filter}{}", fill(self.1))
    }

    fn finds(self, size: u64) -> u64 {
        match self.2 {
            Finds::Just(users) => users,
            Finds::All | Finds::Backwards => size,
            Finds::Active => size - size / INACTIVE,
            Finds::Inactive => size / INACTIVE,
        }
    }
}

fn main() -> Result<(), Failure> {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|one| one != "--bench")
        .collect();
    if arguments.iter().any(|one| one == "--help") {
        print!("{HELP}");
        return Ok(());
    }
    let quick = arguments.iter().any(|one| one == "--quick");
    let mut sizes: Vec<u64> = arguments
        .iter()
        .filter_map(|one| one.parse().ok())
        .collect();
    if sizes.is_empty() {
        sizes = vec![1_000, 100_000, 1_000_000];
        sizes.truncate(if quick { 2 } else { 3 });
    }
    if sizes.iter().any(|size| *size == 0 || size % 1_000 != 0) {
        return Err("sizes are in thousands".into());
    }
    let is_word = |one: &&String| !one.starts_with("--") && one.parse::<u64>().is_err();
    let word = arguments.iter().find(is_word).map_or("", String::as_str);
    let span = Duration::from_millis(if quick { 200 } else { 1_000 });
    // On the disk that the build is on: a temporary directory may be memory.
    let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("directory-{}", std::process::id()));
    fs::create_dir_all(&home)?;
    let result = run(&home, &sizes, word, span);
    fs::remove_dir_all(&home)?;
    result
}

fn run(home: &Path, sizes: &[u64], word: &str, span: Duration) -> Result<(), Failure> {
    let flushes = flush_rate(home, span)?;
    println!("flush alone (4 KiB, fdatasync)   {flushes:.0} a second; a commit is two of them\n");
    let cases: Vec<Case> = cases()
        .into_iter()
        .filter(|case| case.name.contains(word))
        .collect();
    let mut table: Vec<Vec<Cell>> = cases.iter().map(|_| Vec::new()).collect();
    for size in sizes {
        forget_peak()?;
        let begun = Instant::now();
        let directory = Directory::fill(home, *size)?;
        let (filled, held) = (begun.elapsed().as_secs_f64(), memory(OURSELVES, "VmRSS")?);
        forget_peak()?;
        for (case, line) in cases.iter().zip(&mut table) {
            progress(&format!("{size} users: {}", case.name));
            line.push(directory.measure(&case.ask, span)?);
        }
        progress("");
        println!(
            "{size:>9} users filled in within {filled:.1} s, {:.0} bytes of file each; resident {held:.0} MiB then, {:.0} MiB at the peak of what follows",
            directory.bytes_each()?,
            memory(OURSELVES, "VmHWM")?,
        );
        directory.close()?;
    }
    print_table(sizes, &cases, &table)
}

fn print_table(sizes: &[u64], cases: &[Case], table: &[Vec<Cell>]) -> Result<(), Failure> {
    print!("\n{:<32}", "microseconds");
    for size in sizes {
        print!("{:>29}", format!("{size} users"));
    }
    print!("{:>20}\n{:<32}", "last : first", "case");
    for _ in sizes {
        print!("{:>11}{:>9}{:>9}", "p50", "p99", "CPU");
    }
    println!("{:>12}{:>8}", "p50", "CPU");
    let (mut refusals, mut wrong) = (Vec::new(), Vec::new());
    for (case, line) in cases.iter().zip(table) {
        print!("{:<32}", case.name);
        for cell in line {
            match cell {
                Cell::Measured { p50, p99, cpu } => print!("{p50:>11.0}{p99:>9.0}{cpu:>9.0}"),
                Cell::Refused(fault) => {
                    print!("{:>29}", format!("refused, {}", fault.status()));
                    refusals.push(fault.public().into_owned());
                }
                Cell::Wrong(what) => {
                    print!("{:>29}", "WRONG");
                    wrong.push(format!("{}: {what}", case.name));
                }
                Cell::TooSmall => print!("{:>29}", "-"),
            }
        }
        let measured = |cell: &Cell| match cell {
            Cell::Measured { p50, cpu, .. } => Some((*p50, *cpu)),
            Cell::Refused(_) | Cell::Wrong(_) | Cell::TooSmall => None,
        };
        let mut both = line.iter().filter_map(measured);
        if let (Some(first), Some(last)) = (both.next(), both.next_back()) {
            let ratio = last.0 / first.0;
            let note = match (case.flat, ratio > FLAT) {
                (true, true) => "  <- not flat",
                (false, true) => "  (walks, as it must)",
                (_, false) => "",
            };
            print!("{ratio:>12.2}{:>8.2}{note}", last.1 / first.1);
        }
        println!();
    }
    refusals.dedup();
    for text in refusals {
        println!("refused: {text}");
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("; ").into())
    }
}

/// What came of one case at one size. Microseconds.
enum Cell {
    Measured {
        p50: f64,
        p99: f64,
        cpu: f64,
    },
    Refused(Fault),
    /// The answer is not the one asked for.
    Wrong(String),
    /// There are not so many users.
    TooSmall,
}

impl Directory {
    /// Asks again and again for so long.
    fn measure(&self, ask: &Ask, span: Duration) -> Result<Cell, Failure> {
        if let Ask::Group(members) | Ask::Member(members) = ask
            && *members > self.size
        {
            return Ok(Cell::TooSmall);
        }
        self.next_page.replace(String::new());
        // Made before anything is measured.
        let queries: Vec<String> = match ask {
            Ask::List(query) => (0..500).map(|turn| query.text(self, turn)).collect(),
            _ => Vec::new(),
        };
        let query = |turn: usize| {
            queries
                .get(turn % queries.len().max(1))
                .map_or("", String::as_str)
        };
        // The first answers are looked at and not measured.
        for turn in 0..2 {
            match self.once(ask, query(turn), turn) {
                Ok((_, answer)) => {
                    if let Some(wrong) = self.wrong(ask, &answer)? {
                        return Ok(Cell::Wrong(wrong));
                    }
                }
                Err(fault) => return Ok(Cell::Refused(fault)),
            }
        }
        let (begun, cpu) = (Instant::now(), cpu_time(OURSELVES)?);
        let mut waits = Vec::new();
        while begun.elapsed() < span || waits.len() < 4 {
            let turn = 2 + waits.len();
            let (wait, _) = self.once(ask, query(turn), turn)?;
            waits.push(wait);
        }
        let cpu = cpu_time(OURSELVES)? - cpu;
        let each = u32::try_from(waits.len())?;
        waits.sort_unstable();
        let micros = |span: Duration| span.as_secs_f64() * 1e6;
        Ok(Cell::Measured {
            p50: micros(percentile(&waits, 50)),
            p99: micros(percentile(&waits, 99)),
            cpu: micros(cpu / each),
        })
    }

    /// One request, how long it took, and its answer.
    fn once(&self, ask: &Ask, query: &str, turn: usize) -> Result<(Duration, Vec<u8>), Fault> {
        let timed = |work: &dyn Fn() -> Result<Vec<u8>, Fault>| {
            let begun = Instant::now();
            work().map(|answer| (begun.elapsed(), answer))
        };
        match ask {
            Ask::List(_) => timed(&|| self.list(query)),
            Ask::NextPage => {
                let query = format!("count=100&cursor={}", self.next_page.borrow());
                let timed = timed(&|| self.list(&query))?;
                self.next_page.replace(next_cursor(&timed.1));
                Ok(timed)
            }
            Ask::User => timed(&|| self.read(Kind::User, self.some(turn), turn < 2)),
            Ask::Group(members) => {
                timed(&|| self.read(Kind::Group, self.group(*members), turn < 2))
            }
            Ask::Patch => {
                let operation = json!({
                    "op": "replace", "path": "name.formatted", "value": format!("Dr Person {turn}")
                });
                timed(&|| self.patch(Kind::User, self.some(turn), &operation))
            }
            Ask::Member(members) => {
                // It goes, and with the next turn it comes back.
                let id = self.member(turn / 2);
                let operation = if turn.is_multiple_of(2) {
                    json!({"op": "remove", "path": format!("members[value eq {id:?}]")})
                } else {
                    json!({"op": "add", "path": "members", "value": [{"value": id}]})
                };
                timed(&|| self.patch(Kind::Group, self.group(*members), &operation))
            }
        }
    }

    /// What is wrong with the answer: what is quick because it is wrong is not measured.
    fn wrong(&self, ask: &Ask, answer: &[u8]) -> Result<Option<String>, Failure> {
        let text = std::str::from_utf8(answer)?;
        // Not parsed: a group of 100,000 as a tree would be the peak of memory.
        let members = text.matches("\"$ref\":").count() as u64;
        let list = |text| -> Result<(Value, usize, bool), Failure> {
            let body: Value = serde_json::from_str(text)?;
            let resources = body["Resources"].as_array().map_or(0, Vec::len);
            let last = people::user_name(self.size - 1);
            let backwards = body["Resources"][0]["userName"] == last;
            Ok((body["totalResults"].clone(), resources, backwards))
        };
        Ok(match ask {
            Ask::List(query) => {
                let (total, _, backwards) = list(text)?;
                let ordered = backwards || !matches!(query.2, Finds::Backwards);
                let is = ordered && total == query.finds(self.size);
                (!is).then(|| format!("totalResults {total}, the last one first: {backwards}"))
            }
            Ask::NextPage => {
                let (_, resources, _) = list(text)?;
                (resources != 100).then(|| format!("{resources} on a page"))
            }
            Ask::Group(wanted) => (members != *wanted).then(|| format!("{members} members")),
            Ask::User => (!text.contains("\"userName\":")).then(|| String::from("no user")),
            Ask::Patch | Ask::Member(_) => None,
        })
    }

    // What is asked of the library, in one place.

    fn decode(
        &self,
        method: &str,
        path: &str,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<ScimRequest, Fault> {
        let route = Route::of(&service::segments(path)?)?;
        let parts = Parts {
            method,
            route: &route,
            query,
            body,
            if_match: None,
            if_none_match: None,
        };
        ScimRequest::decode(parts, &self.engine.limits)
    }

    fn list(&self, query: &str) -> Result<Vec<u8>, Fault> {
        match self.decode("GET", "/Users", Some(query), b"")? {
            ScimRequest::List { kind, query } => {
                let view = self.engine.store.view()?;
                let text = read::list(&view, BASE, self.client.name(), kind, &query)?;
                // A list of users has no gaps.
                Ok(text.bytes)
            }
            other => Err(Fault::Internal(format!("{other:?} is no list"))),
        }
    }

    /// Reads one as it is sent, piece by piece; the pieces are put together only where somebody looks at them.
    fn read(&self, kind: Kind, id: &str, keep: bool) -> Result<Vec<u8>, Fault> {
        let view = self.engine.store.view()?;
        let (projection, conditions) = (Projection::default(), Conditions::default());
        let found = read::by_id(&view, BASE, kind, id, &projection, conditions)?;
        let mut body = reply::body(found.text.unwrap_or_default(), view, BASE);
        let mut answer = Vec::new();
        while let Some(piece) = self.runtime.block_on(body.frame()) {
            if let (true, Ok(piece)) = (keep, piece?.into_data()) {
                answer.extend_from_slice(&piece);
            }
        }
        Ok(answer)
    }

    fn patch(&self, kind: Kind, id: &str, operation: &Value) -> Result<Vec<u8>, Fault> {
        let body = json!({ "Operations": [operation] }).to_string();
        let path = format!("/{}/{id}", kind.endpoint());
        match self.decode("PATCH", &path, None, body.as_bytes())? {
            ScimRequest::Write(write) => {
                let asked = Asked {
                    client: &self.client,
                    request: "bench",
                    write,
                    bulk: None,
                };
                self.runtime.block_on(self.engine.settle(&asked))?;
                Ok(Vec::new())
            }
            other => Err(Fault::Internal(format!("{other:?} is no write"))),
        }
    }
}

/// The cursor of the next page; empty, which asks for the first, behind the last.
fn next_cursor(answer: &[u8]) -> String {
    let text = std::str::from_utf8(answer).unwrap_or_default();
    // Behind the resources.
    let found = text.rsplit_once("\"nextCursor\":\"");
    let cursor = found.and_then(|(_, rest)| rest.split_once('"'));
    cursor.map_or(String::new(), |(cursor, _)| cursor.to_owned())
}
