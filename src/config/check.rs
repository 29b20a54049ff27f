//! From TOML's tree to a [`Config`]: types, defaults, and what has to fit together. Pure: secrets are fetched through a
//! function that the caller brings. A key whose feature is not built yet is known, and refused only when it is set to
//! something else than its default.

mod application;
mod mapping;
mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use toml::de::DeTable;

use super::problem::Problem;
use super::read::{Node, Notes, Table};
use super::shape::{
    Client, Config, Journal, Limits, Log, PatchResponse, Places, PutMembers, Store,
};
use super::value;
use crate::scim::filter::{Bounds, Filter};
use crate::scim::json;

const DAY: Duration = Duration::from_secs(86_400);

/// Where a secret is to be had from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// The environment variable of this name.
    Env(&'a str),
    /// The file at this path.
    File(&'a Path),
    /// The same, and it holds a PEM key, which has lines.
    Key(&'a Path),
}

/// Why a secret was not to be had. Neither text holds any of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was found.
    pub found: String,
    /// What was wanted.
    pub wanted: String,
}

/// What a check needs beside the text.
pub struct Surroundings<'a> {
    /// The file's name in problems.
    pub file: String,
    /// The directory that relative paths are relative to.
    pub beside: &'a Path,
    /// Fetches a secret.
    pub secret: &'a dyn Fn(Source<'_>) -> Result<String, Refusal>,
    /// Reads a file that is no secret: certificates.
    pub public: &'a dyn Fn(&Path) -> Result<Vec<u8>, Refusal>,
    /// Whether anything will be opened with it. Else neither secrets nor certificates are fetched, and what it has of them
    /// is empty.
    pub opens: bool,
}

/// Checks a whole file.
///
/// # Errors
/// Every mistake, by position. Where the syntax is broken, keys that seem to be missing are not told.
pub fn check(text: &str, around: &Surroundings<'_>) -> Result<Config, Vec<Problem>> {
    let (tree, syntax) = DeTable::parse_recoverable(text);
    let notes = Notes::new(text, around.file.clone());
    let mut config = whole(Table::root(&notes, tree.get_ref()), around);
    config.fingerprint = Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let problems = notes.finish(&syntax);
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(problems)
    }
}

/// Reads only where the admin socket and the data file are, from the file of the name `file` in the directory `beside`.
/// No secret is fetched, and no other key is looked at.
///
/// # Errors
/// Mistakes in these two, and broken syntax: what it may have swallowed must not be taken for a default.
pub fn places(text: &str, file: String, beside: &Path) -> Result<Places, Vec<Problem>> {
    let (tree, syntax) = DeTable::parse_recoverable(text);
    let notes = Notes::new(text, file);
    let root = Table::root(&notes, tree.get_ref());
    let places = Places {
        socket: socket(&root.table("admin"), beside),
        store: data_file(&root.table("store"), beside),
    };
    let problems = notes.finish(&syntax);
    if problems.is_empty() {
        Ok(places)
    } else {
        Err(problems)
    }
}

fn socket(admin: &Table<'_>, beside: &Path) -> PathBuf {
    admin.path("socket", "usher.sock", beside)
}

fn data_file(store: &Table<'_>, beside: &Path) -> PathBuf {
    store.path("path", "usher.redb", beside)
}

fn whole(root: Table<'_>, around: &Surroundings<'_>) -> Config {
    let (server, limits) = server::server(root.table("server"), around);
    let admin = server::admin(root.table("admin"), &server, around.beside);
    let store = store(root.table("store"), around.beside);
    let journal = journal(root.table("journal"));
    let log = log(root.table("log"));

    let mutual = server
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_ca.is_some());
    let mut taken = Taken::default();
    let wanted = "at least one [[client]]: without one nobody could ask";
    if let Some(node) = root.required("client", wanted)
        && node.value.as_array().is_some_and(|rows| rows.is_empty())
    {
        node.wrong(wanted);
    }
    let clients = root
        .tables("client")
        .into_iter()
        .map(|row| client(row, &mut taken, mutual))
        .collect();

    let mut names = BTreeMap::new();
    let rows = root.tables("application");
    let applications = application::all(rows, &limits, &mut names, around);

    later_rows(&root, "alert", &["on", "webhook", "command"]);
    root.finish();
    Config {
        server,
        limits,
        admin,
        store,
        journal,
        log,
        clients,
        applications,
        fingerprint: String::new(),
    }
}

fn limits(table: Table<'_>) -> Limits {
    let seconds = Duration::from_secs;
    let limits = Limits {
        connections: table.integer("connections", 1..=1_000_000, 10_000),
        header_timeout: table.positive("header_timeout", seconds(10)),
        request_timeout: table.positive("request_timeout", seconds(30)),
        body: table.size("body", 1..=(256 << 20), 1 << 20),
        // The upper ends keep whatever walks such a value within its stack.
        json_depth: table.integer("json_depth", 1..=json::DEEPEST as u64, 32),
        filter_length: table.integer("filter_length", 1..=65_536, 4_096),
        filter_depth: table.integer("filter_depth", 1..=64, 16),
        patch_operations: table.integer("patch_operations", 1..=100_000, 1_000),
        bulk_operations: table.integer("bulk_operations", 1..=100_000, 1_000),
        page: table.integer("page", 1..=1_000, 200),
    };
    table.finish();
    limits
}

fn store(table: Table<'_>, beside: &Path) -> Store {
    let store = Store {
        path: data_file(&table, beside),
        cache: table.size("cache", 1..=(1 << 40), 64 << 20),
    };
    table.finish();
    store
}

fn journal(table: Table<'_>) -> Journal {
    let journal = Journal {
        keep: DAY * 400,
        keep_reads: table.duration("keep_reads", DAY * 7),
        max_size: 10 << 30,
    };
    only(&table, "keep", "\"400d\"", journal.keep, Node::duration);
    only(&table, "max_size", "\"10GiB\"", journal.max_size, |node| {
        node.size(1..=u64::MAX)
    });
    table.finish();
    journal
}

fn log(table: Table<'_>) -> Log {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let level = table.get("level").and_then(|node| {
        let text = node.text()?;
        // A bare word that is no level would be taken for a module's name, and nothing would be logged.
        let bare = !text.contains(['=', ',', '[']);
        if bare && !levels.contains(&text) {
            let near = value::nearest(text, levels);
            let wanted = "a level (off, error, warn, info, debug, trace) or a filter such as \"info,usher=debug\"";
            node.mistaken(wanted, near.map(|word| format!("\"{word}\"")));
        } else if let Err(error) = tracing_subscriber::EnvFilter::try_new(text) {
            node.wrong(&format!("a log filter such as \"info,usher=debug\" ({error})"));
        }
        Some(text.to_owned())
    });
    let log = Log {
        level: level.unwrap_or_else(|| String::from("info")),
        json: table.word("format", &[("text", false), ("json", true)], false),
    };
    table.finish();
    log
}

/// What no second client may have.
#[derive(Default)]
struct Taken {
    names: BTreeMap<String, usize>,
    tokens: BTreeMap<[u8; 32], usize>,
    certificates: BTreeMap<[u8; 32], Pinned>,
}

/// Where a certificate was pinned first.
struct Pinned {
    line: usize,
    client: usize,
    /// Whether that client shows a token too.
    token: bool,
}

/// `mutual`: client certificates are asked for.
fn client(table: Table<'_>, taken: &mut Taken, mutual: bool) -> Client {
    let name = name(&table, "okta", &mut taken.names);
    let pinned = table.get("certificate_sha256");
    let certificates = pinned.as_ref().and_then(Node::list).unwrap_or_default();
    let wanted = "at least one token's SHA-256 (`usher token NAME` makes a token and this line)";
    let tokens = match table.get("token_sha256") {
        // The certificate alone tells who calls.
        None if !certificates.is_empty() => Vec::new(),
        None => {
            table.required("token_sha256", wanted);
            Vec::new()
        }
        Some(node) => {
            let list = node.clone().hidden().list();
            if certificates.is_empty() && list.as_ref().is_some_and(Vec::is_empty) {
                node.wrong(wanted);
            }
            list.unwrap_or_default()
        }
    };
    let token_sha256: Vec<_> = tokens
        .iter()
        .filter_map(|node| token_hash(node, &mut taken.tokens))
        .collect();
    if let Some(node) = pinned.filter(|_| !certificates.is_empty() && !mutual) {
        node.tell(
            String::from("a certificate that nobody will ask for"),
            "server.tls.client_ca beside it: the root that issued it",
            None,
        );
    }
    let certificate_sha256 = certificates
        .iter()
        .filter_map(|node| fingerprint(node, &table, !tokens.is_empty(), &mut taken.certificates))
        .collect();

    let rate = table.table("rate");
    let (per_second, burst) = (
        rate.integer("per_second", 1..=1_000_000, 50),
        rate.integer("burst", 1..=1_000_000, 100),
    );
    rate.finish();

    let kinds = ["application/scim+json", "application/json"].map(|kind| (kind, kind));
    let client = Client {
        name,
        token_sha256,
        per_second,
        burst,
        read_only: table.boolean("read_only", false),
        response_type: table
            .word("response_type", &kinds, "application/scim+json")
            .to_owned(),
        patch_response: table.word(
            "patch_response",
            &[
                ("resource", PatchResponse::Resource),
                ("none", PatchResponse::None),
            ],
            PatchResponse::Resource,
        ),
        put_members: table.word(
            "put_members",
            &[("keep", PutMembers::Keep), ("clear", PutMembers::Clear)],
            PutMembers::Keep,
        ),
        unique_groups: table.boolean("unique_groups", true),
        announce_cursors: table.boolean("announce_cursors", false),
        take_over: table.boolean("take_over", false),
        certificate_sha256,
    };
    only_empty(&table, "allow_from");
    table.finish();
    client
}

fn token_hash(node: &Node<'_>, taken: &mut BTreeMap<[u8; 32], usize>) -> Option<[u8; 32]> {
    let text = node.text()?;
    let Some(hash) = value::digest(text) else {
        let hint = text.starts_with("ush_").then(|| {
            "this looks like a token itself, and whoever can read this file knows it now: make a new one with `usher token NAME`".to_owned()
        });
        let found = format!("{} characters (not shown)", text.chars().count());
        node.tell(found, "64 hex digits, the SHA-256 of a token", hint);
        return None;
    };
    if let Some(line) = taken.get(&hash) {
        let wanted = "a token of its own for every client: whose request it is must be certain";
        node.tell(format!("the same token as in line {line}"), wanted, None);
    }
    taken.insert(hash, node.line());
    Some(hash)
}

/// A certificate's fingerprint. Two clients may come with one certificate if a token tells them apart.
fn fingerprint(
    node: &Node<'_>,
    client: &Table<'_>,
    token: bool,
    taken: &mut BTreeMap<[u8; 32], Pinned>,
) -> Option<[u8; 32]> {
    // `openssl x509 -fingerprint -sha256` writes colons.
    let text = node.text()?;
    let plain = text.replace(':', "");
    let Some(hash) = value::digest(&plain) else {
        node.wrong("64 hex digits, the SHA-256 of a certificate's DER (`openssl x509 -noout -fingerprint -sha256 -in FILE`)");
        return None;
    };
    match taken.get(&hash) {
        Some(first) if first.client == client.at || !(first.token && token) => {
            let found = format!("the same certificate as in line {}", first.line);
            let wanted = "a certificate of its own, or a token beside it for every client that has it: whose request it is must be certain";
            node.tell(found, wanted, None);
        }
        Some(_) => {}
        None => {
            let pinned = Pinned {
                line: node.line(),
                client: client.at,
                token,
            };
            taken.insert(hash, pinned);
        }
    }
    Some(hash)
}

/// A name that no other row of its kind has.
/// The client under which the journal tells what a person undid.
pub const UNDO: &str = "undo";

fn name(table: &Table<'_>, example: &str, taken: &mut BTreeMap<String, usize>) -> String {
    let wanted = format!("a name such as \"{example}\": 1 to 64 of a-z, 0-9, _ and -");
    let Some(node) = table.required("name", &wanted) else {
        return String::new();
    };
    let Some(text) = node.text() else {
        return String::new();
    };
    if !value::is_name(text) {
        let meant = text.trim().to_lowercase().replace([' ', '.', '@'], "-");
        let meant = value::is_name(&meant).then(|| format!("\"{meant}\""));
        node.mistaken(&wanted, meant);
    } else if text == UNDO {
        node.wrong("another name: what `usher undo` writes is told under this one");
    } else if let Some(line) = taken.get(text) {
        node.wrong(&format!("a name of its own: line {line} has this one"));
    }
    taken.entry(text.to_owned()).or_insert_with(|| node.line());
    text.to_owned()
}

/// A SCIM filter within the limits that a client's filters have.
fn filter(node: &Node<'_>, limits: &Limits) -> Option<Filter> {
    let text = node.text()?;
    match Filter::parse(text, Bounds::of(limits)) {
        Ok(filter) => Some(filter),
        Err(error) => {
            let wanted = format!("a SCIM filter ({})", error.text);
            node.tell_within(error.at, node.describe(), &wanted);
            None
        }
    }
}

/// A key whose feature is not built yet: any other value than its default is refused.
fn only<'a, T: PartialEq>(
    table: &Table<'a>,
    key: &'static str,
    written: &str,
    default: T,
    read: impl FnOnce(&Node<'a>) -> Option<T>,
) {
    if let Some(node) = table.get(key)
        && read(&node).is_some_and(|value| value != default)
    {
        node.later(written);
    }
}

/// A list that must be empty until its feature is built.
fn only_empty(table: &Table<'_>, key: &'static str) {
    only(table, key, "[]", true, |node| {
        node.list().map(|list| list.is_empty())
    });
}

/// A list of tables whose feature is not built yet: their keys are known, every row is refused.
fn later_rows(table: &Table<'_>, key: &'static str, keys: &[&'static str]) {
    let Some(list) = table.get(key).and_then(|node| node.list()) else {
        return;
    };
    for node in list {
        if let Some(row) = node.table() {
            for key in keys {
                row.get(key);
            }
            row.finish();
        }
        node.later(&format!("no [[{}]]", table.dotted(key)));
    }
}
