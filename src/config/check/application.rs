//! `[[application]]`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::{DAY, Source, Surroundings, filter, later_rows, mapping, name, only};
use crate::config::read::{Node, Table};
use crate::config::shape::{
    Application, Credentials, DeliveryMode, Groups, Limits, MaxRemovals, Mode, OutOfScope, Pace,
    ProfileName, Safety, Secret, Taking, Users, WhenUnavailable,
};
use crate::config::value;

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
                && node.boolean() == Some(true)
            {
                match keepers {
                    Some(line) => node.wrong(&format!(
                        "true in one application at most: line {line} has it"
                    )),
                    None => node.later("false"),
                }
                keepers = keepers.or(Some(node.line()));
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
        credentials: Credentials::Bearer(credentials(&table, around)),
        ca: None,
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
        pace: pace(table.table("pace")),
        map_user,
        map_group,
    };
    let import = table.table("import");
    only(&import, "every", "\"0s\"", Duration::ZERO, Node::duration);
    import.finish();
    later_rows(&table, "policy", &["name", "group"]);
    if let Some(node) = table.get("ca") {
        node.later("no `ca`, so the system's roots");
    }
    table.finish();
    application
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
    let Some(text) = node.text() else {
        return String::new();
    };
    match value::url(text) {
        Ok(url) if url.plain && !url.loopback => {
            let meant = format!("\"{}\"", url.text.replacen("http", "https", 1));
            let wanted =
                "https://: plain http, with the token in it, goes to a loopback address only";
            node.mistaken(wanted, Some(meant));
            String::new()
        }
        Ok(url) => url.text,
        Err(found) => {
            let wanted = "a URL such as \"https://api.zoom.us/scim2\"";
            node.tell(found.into(), wanted, None);
            String::new()
        }
    }
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

/// The token, fetched. Nothing of a credential is ever shown, not even where it is only half a one.
fn credentials(table: &Table<'_>, around: &Surroundings<'_>) -> Secret {
    let wanted = "{ kind = \"bearer\", token = { env = \"NAME\" } } or token = { file = \"PATH\" }";
    let none = Secret(String::new());
    let Some(node) = table.required("credentials", wanted) else {
        return none;
    };
    let node = node.hidden();
    if node.value.as_table().is_none() {
        node.wrong(wanted);
    }
    let Some(table) = node.value.as_table().and_then(|_| node.table()) else {
        return none;
    };
    let bearer = table
        .required("kind", "\"bearer\"")
        .and_then(|node| {
            let node = node.shown();
            let bearer = node.word(&[("bearer", true), ("server_to_server", false)])?;
            if !bearer {
                node.wrong("\"bearer\": \"server_to_server\" comes with a later version");
            }
            Some(bearer)
        })
        .unwrap_or(false);
    for key in ["account_id", "client_id", "client_secret", "token_url"] {
        if let Some(node) = table.get(key)
            && bearer
        {
            node.wrong("no such key beside kind = \"bearer\": it belongs to \"server_to_server\", which comes with a later version");
        }
    }
    let token = if bearer {
        table
            .required("token", "{ env = \"NAME\" } or { file = \"PATH\" }")
            .and_then(|node| token(&node, around))
    } else {
        table.get("token");
        None
    };
    table.finish();
    token.map_or(none, Secret)
}

fn token(node: &Node<'_>, around: &Surroundings<'_>) -> Option<String> {
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
            let fetched = (around.secret)(Source::Env(name));
            (node, fetched)
        }
        (None, Some(node)) => {
            let text = node.text()?;
            if text.is_empty() || text.contains('\0') {
                node.wrong("a path");
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
