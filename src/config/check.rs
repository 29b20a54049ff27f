//! From TOML's tree to a [`Config`]: types, defaults, and what has to fit together. Pure: secrets are fetched through a
//! function that the caller brings. A key whose feature is not built yet is known, and refused only when it is set to
//! something else than its default.

mod application;
mod mapping;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use toml::de::DeTable;

use super::problem::Problem;
use super::read::{Node, Notes, Table};
use super::shape::{
    Admin, Client, Config, Journal, Limits, Log, PatchResponse, Places, PutMembers, Server, Store,
};
use super::value;
use crate::scim::filter::{Bounds, Filter};

const DAY: Duration = Duration::from_secs(86_400);

/// Where a secret is to be had from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// The environment variable of this name.
    Env(&'a str),
    /// The file at this path.
    File(&'a Path),
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
    let (server, limits) = server(root.table("server"));
    let admin = admin(root.table("admin"), server.listen, around.beside);
    let store = store(root.table("store"), around.beside);
    let journal = journal(root.table("journal"));
    let log = log(root.table("log"));

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
        .map(|row| client(row, &mut taken))
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

fn server(table: Table<'_>) -> (Server, Limits) {
    only(&table, "plain_http", "\"loopback\"", true, |node| {
        node.word(&[("loopback", true), ("anywhere", false)])
    });
    only_empty(&table, "trusted_proxies");
    if let Some(node) = table.get("tls") {
        if let Some(tls) = node.table() {
            for key in ["certificate", "key", "client_ca"] {
                tls.get(key);
            }
            tls.finish();
        }
        node.later("no [server.tls]");
    }
    let server = Server {
        listen: listen(&table, SocketAddr::from(([127, 0, 0, 1], 8080))),
        base_url: table.get("base_url").and_then(|node| {
            let text = node.text()?;
            match value::url(text) {
                Ok(url) => Some(url.text),
                Err(found) => {
                    let wanted = "a URL such as \"https://scim.example.com/scim/v2\"";
                    node.tell(found.into(), wanted, None);
                    None
                }
            }
        }),
        plain_anywhere: false,
        tls: None,
    };
    let limits = limits(table.table("limits"));
    table.finish();
    (server, limits)
}

fn limits(table: Table<'_>) -> Limits {
    let seconds = Duration::from_secs;
    let limits = Limits {
        connections: table.integer("connections", 1..=1_000_000, 10_000),
        header_timeout: table.positive("header_timeout", seconds(10)),
        request_timeout: table.positive("request_timeout", seconds(30)),
        body: table.size("body", 1..=(256 << 20), 1 << 20),
        // The upper ends keep whatever walks such a value within its stack.
        json_depth: table.integer("json_depth", 1..=128, 32),
        filter_length: table.integer("filter_length", 1..=65_536, 4_096),
        filter_depth: table.integer("filter_depth", 1..=64, 16),
        patch_operations: table.integer("patch_operations", 1..=100_000, 1_000),
        bulk_operations: table.integer("bulk_operations", 1..=100_000, 1_000),
        page: table.integer("page", 1..=1_000, 200),
    };
    table.finish();
    limits
}

fn admin(table: Table<'_>, scim: SocketAddr, beside: &Path) -> Admin {
    let admin = Admin {
        socket: socket(&table, beside),
        listen: listen(&table, SocketAddr::from(([127, 0, 0, 1], 8081))),
    };
    if admin.listen == scim && scim.port() != 0 {
        let wanted = "another port than server.listen has";
        match table.get("listen") {
            Some(node) => node.wrong(wanted),
            None => {
                let key = table.dotted("listen");
                let wanted = "an address of its own: server.listen has its default";
                table.notes.absent(table.at, &key, wanted);
            }
        }
    }
    // The console that would edit the file comes later; both answers are fine until then.
    table.boolean("editable", true);
    later_rows(&table, "user", &["name", "role", "password_hash"]);
    table.finish();
    admin
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
}

fn client(table: Table<'_>, taken: &mut Taken) -> Client {
    let name = name(&table, "okta", &mut taken.names);
    let wanted = "at least one token's SHA-256 (`usher token NAME` makes a token and this line)";
    let token_sha256 = table
        .required("token_sha256", wanted)
        .and_then(|node| {
            let list = node.clone().hidden().list()?;
            if list.is_empty() {
                node.wrong(wanted);
            }
            Some(list)
        })
        .unwrap_or_default()
        .iter()
        .filter_map(|node| token_hash(node, &mut taken.tokens))
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
        certificate_sha256: Vec::new(),
    };
    only_empty(&table, "certificate_sha256");
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

/// A name that no other row of its kind has.
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
    } else if let Some(line) = taken.get(text) {
        node.wrong(&format!("a name of its own: line {line} has this one"));
    }
    taken.entry(text.to_owned()).or_insert_with(|| node.line());
    text.to_owned()
}

/// An address to listen on. Plain HTTP is served on loopback only.
fn listen(table: &Table<'_>, default: SocketAddr) -> SocketAddr {
    let Some(node) = table.get("listen") else {
        return default;
    };
    let Some(text) = node.text() else {
        return default;
    };
    let Ok(address) = text.parse::<SocketAddr>() else {
        let meant = text.replacen("localhost", "127.0.0.1", 1);
        let meant = if text.starts_with(':') {
            format!("127.0.0.1{text}")
        } else {
            meant
        };
        let meant = meant.parse::<SocketAddr>().is_ok().then_some(meant);
        node.mistaken(
            &format!("an address and port such as \"{default}\""),
            meant.map(|address| format!("\"{address}\"")),
        );
        return default;
    };
    if !address.ip().is_loopback() {
        node.mistaken(
            "a loopback address: plain HTTP is served there only, and TLS comes with a later version (until then put a proxy that does TLS before it)",
            Some(format!("\"{}:{}\"", default.ip(), address.port())),
        );
    }
    address
}

/// A SCIM filter within the limits that a client's filters have.
fn filter(node: &Node<'_>, limits: &Limits) -> Option<Filter> {
    let text = node.text()?;
    let bounds = Bounds {
        length: limits.filter_length,
        depth: limits.filter_depth,
    };
    match Filter::parse(text, bounds) {
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
