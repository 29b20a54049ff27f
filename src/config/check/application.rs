//! `[[application]]`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::{DAY, Source, Surroundings, filter, mapping, name};
use crate::config::read::{Node, Table};
use crate::config::shape::{
    Application, Credentials, DeliveryMode, Groups, Limits, MaxRemovals, Mode, OutOfScope, Pace,
    Policy, ProfileName, Safety, Secret, Taking, Users, WhenUnavailable,
};
use crate::config::{pem, value};
use crate::policy::assignment::Selector;

pub(super) fn all(
    rows: Vec<Table<'_>>,
    limits: &Limits,
    names: &mut BTreeMap<String, usize>,
    around: &Surroundings<'_>,
) -> Vec<Application> {
    let mut keepers: Option<usize> = None;
    rows.into_iter()
        .map(|row| {
            if let Some(node) = row.get("keep_ids")
                && node.value.as_bool() == Some(true)
            {
                match keepers {
                    Some(line) => node.wrong(&format!(
                        "true in one application at most: line {line} has it"
                    )),
                    None => keepers = Some(node.line()),
                }
            }
            application(row, limits, names, around)
        })
        .collect()
}

fn application(
    table: Table<'_>,
    limits: &Limits,
    names: &mut BTreeMap<String, usize>,
    around: &Surroundings<'_>,
) -> Application {
    let seconds = Duration::from_secs;
    let name = name(&table, "zoom", names);
    let profile = profile(&table);
    let (map_user, map_group) = mapping::rows(table.table("map"), limits);
    let application = Application {
        name,
        profile: profile.unwrap_or(ProfileName::Scim),
        base_url: base_url(&table, profile),
        credentials: credentials(&table, profile, around),
        ca: ca(&table, around),
        keep_ids: table.boolean("keep_ids", false),
        lookup_lag: table.duration("lookup_lag", seconds(30)),
        mode: table.word(
            "mode",
            &[("live", Mode::Live), ("simulate", Mode::Simulate)],
            Mode::Live,
        ),
        delivery: table.word(
            "delivery",
            &[
                ("immediate", DeliveryMode::Immediate),
                ("queued", DeliveryMode::Queued),
            ],
            DeliveryMode::Immediate,
        ),
        wait: wait(&table, limits),
        when_unavailable: table.word(
            "when_unavailable",
            &[
                ("queue", WhenUnavailable::Queue),
                ("refuse", WhenUnavailable::Refuse),
            ],
            WhenUnavailable::Queue,
        ),
        out_of_scope: table.word(
            "out_of_scope",
            &[
                ("accept", OutOfScope::Accept),
                ("refuse", OutOfScope::Refuse),
            ],
            OutOfScope::Accept,
        ),
        adopt: table.boolean("adopt", true),
        authorized_domains: authorized_domains(&table),
        condition: table
            .get("condition")
            .and_then(|node| filter(&node, limits)),
        users: users(table.table("users")),
        groups: groups(table.table("groups")),
        safety: safety(table.table("safety")),
        import_every: import(table.table("import")),
        pace: pace(table.table("pace")),
        policies: policies(&table),
        map_user,
        map_group,
    };
    table.finish();
    application
}

/// What an application is imported at most as often as.
const OFTEN: Duration = Duration::from_secs(60);

fn import(table: Table<'_>) -> Option<Duration> {
    let every = table.duration("every", Duration::ZERO);
    if let Some(node) = table.get("every")
        && !every.is_zero()
        && every < OFTEN
    {
        node.wrong("\"0s\", or a duration of a minute or more: each import reads the whole list");
    }
    table.finish();
    Some(every).filter(|every| !every.is_zero())
}

fn profile(table: &Table<'_>) -> Option<ProfileName> {
    table
        .required("profile", "\"zoom\" or \"scim\"")?
        .word(&[("zoom", ProfileName::Zoom), ("scim", ProfileName::Scim)])
}

fn base_url(table: &Table<'_>, profile: Option<ProfileName>) -> String {
    let Some(node) = table.get("base_url") else {
        if profile == Some(ProfileName::Scim) {
            let wanted = "a URL such as \"https://app.example.com/scim/v2\": profile \"scim\" has no default";
            table
                .notes
                .absent(table.at, &table.dotted("base_url"), wanted);
        }
        return String::from("https://api.zoom.us/scim2");
    };
    address(&node, "https://api.zoom.us/scim2", "the token")
}

fn wait(table: &Table<'_>, limits: &Limits) -> Duration {
    let default = Duration::from_secs(4);
    let wait = match table.get("wait") {
        Some(node) => match node.duration() {
            Some(wait) => wait,
            None => return default,
        },
        None => default,
    };
    if wait >= limits.request_timeout {
        let wanted = format!(
            "less than server.limits.request_timeout ({})",
            value::show_duration(limits.request_timeout)
        );
        match table.get("wait") {
            Some(node) => node.wrong(&wanted),
            None => {
                let wanted = format!("a duration that is {wanted}: the default is \"4s\"");
                let key = table.dotted("wait");
                table.notes.absent(table.at, &key, &wanted);
            }
        }
    }
    wait
}

/// What opens the application, secrets fetched. Nothing of a credential is ever shown, not even where it is only half a
/// one.
fn credentials(
    table: &Table<'_>,
    profile: Option<ProfileName>,
    around: &Surroundings<'_>,
) -> Credentials {
    let wanted = "{ kind = \"bearer\", token = { env = \"NAME\" } } or { kind = \"server_to_server\", account_id = \"...\", client_id = \"...\", client_secret = { env = \"NAME\" } }";
    let none = || Credentials::Bearer(Secret(String::new()));
    let Some(node) = table.required("credentials", wanted) else {
        return none();
    };
    let node = node.hidden();
    if node.value.as_table().is_none() {
        node.wrong(wanted);
    }
    let Some(table) = node.value.as_table().and_then(|_| node.table()) else {
        return none();
    };
    let kind = table
        .required("kind", "\"bearer\" or \"server_to_server\"")
        .and_then(|node| {
            node.shown()
                .word(&[("bearer", true), ("server_to_server", false)])
        });
    let strangers: &[&'static str] = match kind {
        Some(true) => &["account_id", "client_id", "client_secret", "token_url"],
        Some(false) => &["token"],
        None => &[],
    };
    for key in strangers {
        if let Some(node) = table.get(key) {
            node.wrong(if kind == Some(true) {
                "no such key beside kind = \"bearer\": it belongs to \"server_to_server\""
            } else {
                "no such key beside kind = \"server_to_server\": usher gets tokens itself, with client_id and client_secret"
            });
        }
    }
    let secret_of = |key| {
        let node = table.required(key, "{ env = \"NAME\" } or { file = \"PATH\" }");
        Secret(
            node.and_then(|node| secret(&node, around))
                .unwrap_or_default(),
        )
    };
    let credentials = match kind {
        Some(true) => Credentials::Bearer(secret_of("token")),
        Some(false) => Credentials::ServerToServer {
            account_id: id(
                &table,
                "account_id",
                "the Account ID that Zoom shows under App Credentials",
            ),
            client_id: id(
                &table,
                "client_id",
                "the Client ID that Zoom shows under App Credentials",
            ),
            client_secret: secret_of("client_secret"),
            token_url: token_url(&table, profile),
        },
        None => {
            // Each is of one of the two kinds: that the kind is missing is told already.
            for key in [
                "token",
                "account_id",
                "client_id",
                "client_secret",
                "token_url",
            ] {
                table.get(key);
            }
            none()
        }
    };
    table.finish();
    credentials
}

/// An id that no header or URL stumbles over: visible ASCII. A colon would end it in Basic credentials (RFC 7617 2).
fn id(table: &Table<'_>, key: &'static str, wanted: &str) -> String {
    let Some(node) = table.required(key, wanted) else {
        return String::new();
    };
    let text = node.text().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    if node.value.as_str().is_some() && (text.is_empty() || !text.bytes().all(plain)) {
        node.wrong(&format!("{wanted}: visible ASCII characters"));
    }
    text.to_owned()
}

fn token_url(table: &Table<'_>, profile: Option<ProfileName>) -> String {
    let Some(node) = table.get("token_url") else {
        if profile == Some(ProfileName::Scim) {
            let wanted = "a URL such as \"https://app.example.com/oauth/token\": profile \"scim\" has no default";
            table
                .notes
                .absent(table.at, &table.dotted("token_url"), wanted);
        }
        return String::from("https://zoom.us/oauth/token");
    };
    address(&node, "https://zoom.us/oauth/token", "the client's secret")
}

/// A URL that credentials go to: https, or a loopback address.
fn address(node: &Node<'_>, example: &str, secret: &str) -> String {
    let Some(text) = node.text() else {
        return String::new();
    };
    match value::url(text) {
        Ok(url) if url.plain && !url.loopback => {
            let meant = format!("\"{}\"", url.text.replacen("http", "https", 1));
            let wanted = format!(
                "https://: plain http, with {secret} in it, goes to a loopback address only"
            );
            node.mistaken(&wanted, Some(meant));
            String::new()
        }
        Ok(url) => url.text,
        Err(found) => {
            node.tell(found.into(), &format!("a URL such as \"{example}\""), None);
            String::new()
        }
    }
}

/// The file of `ca`, read and looked through.
fn ca(table: &Table<'_>, around: &Surroundings<'_>) -> Option<Vec<u8>> {
    let node = table.get("ca")?;
    let text = node.text()?;
    if text.is_empty() || text.contains('\0') {
        node.wrong("a path");
        return None;
    }
    if !around.opens {
        return None;
    }
    match (around.public)(&around.beside.join(Path::new(text))) {
        Ok(bytes) => match pem::roots(&bytes) {
            Ok(_) => Some(bytes),
            Err(found) => {
                let wanted = "a PEM file with the certificate of the authority to trust: -----BEGIN CERTIFICATE-----";
                node.tell(format!("\"{text}\": {found}"), wanted, None);
                None
            }
        },
        Err(refusal) => {
            node.tell(
                format!("\"{text}\": {}", refusal.found),
                &refusal.wanted,
                None,
            );
            None
        }
    }
}

fn secret(node: &Node<'_>, around: &Surroundings<'_>) -> Option<String> {
    let wanted = "{ env = \"NAME\" } or { file = \"PATH\" }: a secret never stands in this file";
    if node.value.as_table().is_none() {
        node.wrong(wanted);
        return None;
    }
    let table = node.table()?;
    let (env, file) = (table.get("env"), table.get("file"));
    table.finish();
    let (place, fetched) = match (env, file) {
        (Some(node), None) => {
            let name = node.text()?;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || !name.bytes().all(plain) {
                node.wrong("the name of an environment variable, not the secret itself");
                return None;
            }
            if !around.opens {
                return None;
            }
            let fetched = (around.secret)(Source::Env(name));
            (node, fetched)
        }
        (None, Some(node)) => {
            let text = node.text()?;
            if text.is_empty() || text.contains('\0') {
                node.wrong("a path");
                return None;
            }
            if !around.opens {
                return None;
            }
            let path = around.beside.join(Path::new(text));
            let fetched = (around.secret)(Source::File(&path));
            (node, fetched)
        }
        _ => {
            node.wrong(wanted);
            return None;
        }
    };
    match fetched {
        Ok(secret) => Some(secret),
        Err(refusal) => {
            place.tell(refusal.found, &refusal.wanted, None);
            None
        }
    }
}

fn authorized_domains(table: &Table<'_>) -> Vec<String> {
    let list = table
        .get("authorized_domains")
        .and_then(|node| node.list())
        .unwrap_or_default();
    list.iter()
        .filter_map(|node| {
            let text = node.text()?;
            let domain = value::domain(text);
            if domain.is_none() {
                let meant = value::nearest_domain(text).map(|name| format!("\"{name}\""));
                let wanted =
                    "a domain such as \"example.com\", or \"*.example.com\" for every subdomain";
                node.mistaken(wanted, meant);
            }
            domain
        })
        .collect()
}

fn users(table: Table<'_>) -> Users {
    let takings = [
        ("delete", Taking::Delete),
        ("deactivate", Taking::Deactivate),
        ("keep", Taking::Keep),
    ];
    let users = Users {
        create: table.boolean("create", true),
        update: table.boolean("update", true),
        delete: table.boolean("delete", true),
        on_delete: table.word("on_delete", &takings, Taking::Delete),
        on_leave: table.word("on_leave", &takings, Taking::Deactivate),
        delete_after: table.duration("delete_after", DAY * 7),
        leave_after: table.duration("leave_after", Duration::ZERO),
    };
    table.finish();
    users
}

fn groups(table: Table<'_>) -> Groups {
    let push = table.get("push").and_then(|node| node.list());
    let groups = Groups {
        create: table.boolean("create", true),
        update: table.boolean("update", true),
        delete: table.boolean("delete", true),
        membership: table.boolean("membership", true),
        push: names(
            &push.unwrap_or_default(),
            "a group's displayName, or one with * for any letters, such as \"zoom-*\"; [\"*\"] is all",
        ),
    };
    table.finish();
    groups
}

/// Names or globs, folded.
fn names(list: &[Node<'_>], wanted: &str) -> Vec<String> {
    let name = |node: &Node<'_>| {
        let text = node.text()?;
        if text.trim().is_empty() || text.trim() != text || text.contains(char::is_control) {
            node.wrong(wanted);
            return None;
        }
        Some(crate::scim::schema::fold(text))
    };
    list.iter().filter_map(name).collect()
}

fn safety(table: Table<'_>) -> Safety {
    let max_removals = table.get("max_removals").and_then(|node| {
        if node.value.is_integer() {
            node.integer(0..=1_000_000_000).map(MaxRemovals::Count)
        } else if node.value.as_str() == Some("auto") {
            Some(MaxRemovals::Auto)
        } else {
            let number = node
                .value
                .as_str()
                .and_then(|text| text.parse::<u64>().ok());
            let meant = number.map_or_else(|| "\"auto\"".to_owned(), |number| number.to_string());
            node.mistaken("\"auto\" or a whole number of people", Some(meant));
            None
        }
    });
    let protected = table.get("protected").and_then(|node| node.list());
    let protected = protected.unwrap_or_default();
    let safety = Safety {
        max_removals: max_removals.unwrap_or(MaxRemovals::Auto),
        window: table.positive("window", Duration::from_secs(3_600)),
        protected: names(
            &protected,
            "a userName, or one with * for any letters, such as \"svc-*@example.com\"",
        ),
    };
    table.finish();
    safety
}

fn policies(table: &Table<'_>) -> Vec<Policy> {
    let mut policies: Vec<Policy> = Vec::new();
    for row in table.tables("policy") {
        let named = row.required(
            "name",
            "a name for people, such as \"ZoomProvisioningPolicy\"",
        );
        let name = named
            .as_ref()
            .and_then(|node| node.text())
            .unwrap_or_default();
        if let Some(node) = &named
            && node.value.as_str().is_some()
            && (name.trim().is_empty() || name.contains(char::is_control))
        {
            node.wrong("a name for people");
        }
        if let Some(node) = &named
            && policies.iter().any(|policy| policy.name == name)
        {
            node.wrong("a name that no other policy of this application has");
        }
        let group = row
            .required("group", POLICY_GROUP)
            .and_then(|node| selector(&node));
        row.finish();
        policies.extend(group.map(|group| Policy {
            name: name.to_owned(),
            group,
        }));
    }
    policies
}

const POLICY_GROUP: &str = "a group's displayName, or { external_id = \"...\" }";

fn selector(node: &Node<'_>) -> Option<Selector> {
    let whole = |node: &Node<'_>| {
        let text = node.text()?;
        let whole =
            !text.trim().is_empty() && text.trim() == text && !text.contains(char::is_control);
        if !whole {
            node.wrong(POLICY_GROUP);
        }
        whole.then(|| text.to_owned())
    };
    if node.value.as_table().is_none() {
        return match node.value.as_str() {
            Some(_) => {
                whole(node).map(|name| Selector::DisplayName(crate::scim::schema::fold(&name)))
            }
            None => {
                node.wrong(POLICY_GROUP);
                None
            }
        };
    }
    let table = node.table()?;
    let id = table.required("external_id", "the group's externalId");
    let id = id.and_then(|node| whole(&node));
    table.finish();
    id.map(Selector::ExternalId)
}

fn pace(table: Table<'_>) -> Pace {
    let rate = |key, default| {
        let class = table.table(key);
        let rate = class.integer("per_second", 1..=100_000, default);
        class.finish();
        rate
    };
    let pace = Pace {
        light: rate("light", 40),
        medium: rate("medium", 30),
        concurrency: table.integer("concurrency", 1..=10_000, 8),
    };
    table.finish();
    pace
}
