//! The shipped file against its defaults, and many mistakes at once.

mod credentials;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::shape::{Credentials, MaxRemovals, Mode, ProfileName, Secret, Taking};
use super::{Config, Places, Problem, decisions, load, parse, places};

const SHIPPED: &str = include_str!("../../config/usher.toml");

fn env(name: &str) -> Option<String> {
    match name {
        "ZOOM_TOKEN" => Some("s3cr3t".into()),
        "ZOOM_CLIENT_SECRET" => Some("cl1ent-s3cr3t".into()),
        "EMPTY" => Some(String::new()),
        "SPACED" => Some("two words".into()),
        _ => None,
    }
}

fn parsed(text: &str) -> Result<Config, Vec<Problem>> {
    parse(text, Path::new("usher.toml"), &env)
}

/// A client and an application as short as can be, with more lines under the application.
fn small(more: &str) -> String {
    let hash = "4b1f0c6f2e9d7a83c5e1b0d94a7263f8150eab9cd27f4e6618b3a05d9c72e4f1";
    format!(
        "[[client]]\nname = \"okta\"\ntoken_sha256 = [\"{hash}\"]\n[[application]]\nname = \"zoom\"\nprofile = \"zoom\"\ncredentials = {{ kind = \"bearer\", token = {{ env = \"ZOOM_TOKEN\" }} }}\n{more}"
    )
}

/// The shipped file with its examples on: a `#` right before a key or a table's header goes away.
fn all_on() -> String {
    let on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    SHIPPED.lines().map(on).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_file_holds_the_defaults() {
    let mut shipped = parsed(SHIPPED).expect("the shipped file");
    let plain = parsed(&small("")).expect("the small file");
    assert_eq!(
        shipped.applications[0].base_url,
        "https://api.zoom.us/scim2"
    );
    let bearer = Credentials::Bearer(Secret("s3cr3t".into()));
    assert_eq!(shipped.applications[0].credentials, bearer);
    assert_eq!(shipped.fingerprint.len(), 64);
    assert_ne!(shipped.fingerprint, plain.fingerprint);
    shipped.fingerprint.clone_from(&plain.fingerprint);
    assert_eq!(shipped, plain);
}

#[test]
fn every_example_in_the_shipped_file_is_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, credentials::authority()).expect("written");
    let text = all_on().replace("/etc/usher/upstream-ca.pem", &ca.display().to_string());
    let problems = parsed(&text).expect_err("what comes later");
    let (files, problems): (Vec<_>, Vec<_>) = problems
        .iter()
        .partition(|problem| problem.found.contains("cannot be read"));
    let files: Vec<&str> = files.iter().map(|problem| problem.key.as_str()).collect();
    let wanted = [
        "server.tls.certificate",
        "server.tls.key",
        "server.tls.client_ca",
    ];
    assert_eq!(files, wanted);
    let keys: Vec<&str> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    for problem in &problems {
        assert!(
            problem.wanted.contains("comes with a later version"),
            "{problem}"
        );
    }
    assert_eq!(
        keys,
        [
            "server.trusted_proxies",
            "admin.user[0]",
            "client[0].allow_from",
            "application[0].map.user[4].expr",
            "alert[0]",
        ]
    );
}

#[test]
fn every_key_that_is_known_stands_in_the_shipped_file() {
    let mut lines = Vec::new();
    for line in all_on().lines() {
        lines.push(line.to_owned());
        if line.starts_with('[') {
            lines.push("zzzzzz = 1".into());
        }
    }
    let text = format!("zzzzzz = 1\n{}", lines.join("\n"));
    let problems = parsed(&text).expect_err("unknown keys");
    let known: BTreeSet<&str> = problems
        .iter()
        .filter(|problem| problem.key.ends_with("zzzzzz"))
        .filter_map(|problem| problem.wanted.strip_prefix("one of "))
        .flat_map(|keys| keys.split(", "))
        .collect();
    assert!(known.len() > 90, "{known:?}");
    let written: BTreeSet<&str> = text
        .lines()
        .flat_map(|line| line.split(['=', '.', '[', ']', ' ']).take(6))
        .collect();
    // Inside an inline table, or headed only by the tables below it.
    let known: BTreeSet<&str> = known.difference(&written).copied().collect();
    assert_eq!(known, BTreeSet::new());
}

#[test]
fn values_arrive() {
    let text = small(
        r#"
base_url = "http://127.0.0.1:9/scim/"
mode = "simulate"
authorized_domains = ["Example.com", "*.B\u00fccher.example"]
condition = 'userType ne "Contractor"'
[application.users]
on_delete = "keep"
leave_after = "2d"
[application.safety]
max_removals = 7
protected = ["Owner@Example.com", "svc-*"]
[application.pace]
light = { per_second = 3 }
[[application.map.user]]
to = "displayName"
from = "$.displayName"
transform = ["trim", { prefix = "idp-" }]
[server]
listen = "[::1]:0"
[admin]
socket = "/run/usher.sock"
[journal]
keep = "9600h"
keep_reads = "0s"
[log]
level = "info,usher=debug"
"#,
    );
    let config = parse(&text, Path::new("/etc/usher/usher.toml"), &env).expect("a good file");
    let zoom = &config.applications[0];
    assert_eq!(zoom.profile, ProfileName::Zoom);
    assert_eq!(zoom.base_url, "http://127.0.0.1:9/scim");
    assert_eq!(zoom.mode, Mode::Simulate);
    assert_eq!(
        zoom.authorized_domains,
        ["example.com", "*.xn--bcher-kva.example"]
    );
    assert!(zoom.condition.is_some());
    assert_eq!(zoom.users.on_delete, Taking::Keep);
    assert_eq!(zoom.users.leave_after, Duration::from_secs(2 * 86_400));
    assert_eq!(zoom.safety.max_removals, MaxRemovals::Count(7));
    assert_eq!(zoom.safety.protected, ["owner@example.com", "svc-*"]);
    assert_eq!((zoom.pace.light, zoom.pace.medium), (3, 30));
    assert_eq!(zoom.map_user.len(), 1);
    assert_eq!(config.server.listen.port(), 0);
    assert_eq!(config.admin.socket, Path::new("/run/usher.sock"));
    assert_eq!(config.store.path, Path::new("/etc/usher/usher.redb"));
    assert_eq!(config.journal.keep_reads, Duration::ZERO);
}

/// A file with many mistakes: each must be told, at its place, and nothing else.
#[test]
fn all_mistakes_are_told_at_once() {
    let text = r#"[server]
listen = "0.0.0.0:8080"
plain_htpp = "loopback"
base_url = "ftp://x.example"
[server.limits]
page = 1001
body = "1MB"
request_timeout = "4s"
json_depth = 0
[admin]
listen = "localhost:8081"
editable = "no"
[store]
path = 7
cache = "lots"
[journal]
keep = "30d"
[log]
level = "verbose"
format = "jsno"
[[client]]
name = "Okta"
token_sha256 = ["ush_this_is_the_token_itself"]
rate = { per_second = 0, brust = 3 }
take_over = 1
[[client]]
token_sha256 = []
patch_response = "Resource"
[[application]]
name = "zoom"
profile = "zom"
base_url = "http://api.zoom.us/scim2"
credentials = { kind = "bearer", token = "s3cr3t-token" }
wait = "4 parsecs"
lookup_lag = 30
authorized_domains = ["@example.com"]
[application.users]
on_leave = "disable"
[application.groups]
push = [" "]
[application.safety]
max_removals = "5"
protected = "owner@example.com"
[application.import]
every = "daily"
[[application.map.user]]
to = "displayName"
transform = [{ prefix = "a", suffix = "b" }]
from = 4
[[application]]
name = "zoom"
profile = "scim"
credentials = { kind = "bearer", token = { env = "MISSING" } }
when_unavailable = "queu"
[[applicaton]]
"#;
    let wanted = [
        "2:10: server.listen: found \"0.0.0.0:8080\", wanted a loopback address, or [server.tls] for another one, or plain_http = \"anywhere\" where a proxy before it does TLS; did you mean \"127.0.0.1:8080\"?",
        "3:1: server.plain_htpp: found an unknown key, wanted one of plain_http, trusted_proxies, tls, listen, base_url, limits; did you mean plain_http?",
        "4:12: server.base_url: found a URL that is neither https nor http, wanted a URL such as \"https://scim.example.com/scim/v2\"",
        "6:8: server.limits.page: found 1001, wanted a whole number from 1 to 1000",
        "7:8: server.limits.body: found \"1MB\", wanted a size such as \"1MiB\" (units: B, KiB, MiB, GiB, TiB); did you mean \"1MiB\"?",
        "9:14: server.limits.json_depth: found 0, wanted a whole number from 1 to 127",
        "11:10: admin.listen: found \"localhost:8081\", wanted an address and port such as \"127.0.0.1:8081\"; did you mean \"127.0.0.1:8081\"?",
        "12:12: admin.editable: found \"no\", wanted true or false; did you mean false?",
        "14:8: store.path: found 7, wanted a text in quotes; did you mean \"7\"?",
        "15:9: store.cache: found \"lots\", wanted a size such as \"1MiB\" (units: B, KiB, MiB, GiB, TiB)",
        "17:8: journal.keep: found \"30d\", wanted \"400d\" (the default): anything else comes with a later version",
        "19:9: log.level: found \"verbose\", wanted a level (off, error, warn, info, debug, trace) or a filter such as \"info,usher=debug\"",
        "20:10: log.format: found \"jsno\", wanted \"text\" or \"json\"; did you mean \"json\"?",
        "22:8: client[0].name: found \"Okta\", wanted a name such as \"okta\": 1 to 64 of a-z, 0-9, _ and -; did you mean \"okta\"?",
        "23:17: client[0].token_sha256[0]: found 28 characters (not shown), wanted 64 hex digits, the SHA-256 of a token; this looks like a token itself, and whoever can read this file knows it now: make a new one with `usher token NAME`",
        "24:23: client[0].rate.per_second: found 0, wanted a whole number from 1 to 1000000",
        "24:26: client[0].rate.brust: found an unknown key, wanted one of per_second, burst; did you mean burst?",
        "25:13: client[0].take_over: found 1, wanted true or false",
        "26:1: client[1].name: found nothing, wanted a name such as \"okta\": 1 to 64 of a-z, 0-9, _ and -",
        "27:16: client[1].token_sha256: found an empty list, wanted at least one token's SHA-256 (`usher token NAME` makes a token and this line)",
        "28:18: client[1].patch_response: found \"Resource\", wanted \"resource\" or \"none\"; did you mean \"resource\"?",
        "31:11: application[0].profile: found \"zom\", wanted \"zoom\" or \"scim\"; did you mean \"zoom\"?",
        "32:12: application[0].base_url: found \"http://api.zoom.us/scim2\", wanted https://: plain http, with the token in it, goes to a loopback address only; did you mean \"https://api.zoom.us/scim2\"?",
        "33:42: application[0].credentials.token: found a text (not shown), wanted { env = \"NAME\" } or { file = \"PATH\" }: a secret never stands in this file",
        "34:8: application[0].wait: found \"4 parsecs\", wanted a duration such as \"4s\" (units: ms, s, m, h, d); did you mean \"4s\"?",
        "35:14: application[0].lookup_lag: found 30, wanted a duration such as \"4s\" (units: ms, s, m, h, d); did you mean \"30s\"?",
        "36:23: application[0].authorized_domains[0]: found \"@example.com\", wanted a domain such as \"example.com\", or \"*.example.com\" for every subdomain; did you mean \"example.com\"?",
        "38:12: application[0].users.on_leave: found \"disable\", wanted \"delete\" or \"deactivate\" or \"keep\"",
        "40:9: application[0].groups.push[0]: found \" \", wanted a group's displayName, or one with * for any letters, such as \"zoom-*\"; [\"*\"] is all",
        "42:16: application[0].safety.max_removals: found \"5\", wanted \"auto\" or a whole number of people; did you mean 5?",
        "43:13: application[0].safety.protected: found \"owner@example.com\", wanted a list in brackets; did you mean [\"owner@example.com\"]?",
        "45:9: application[0].import.every: found \"daily\", wanted a duration such as \"4s\" (units: ms, s, m, h, d)",
        "48:14: application[0].map.user[0].transform[0]: found a table of 2 keys, wanted a name such as \"trim\", or a name with its argument such as { prefix = \"idp-\" }",
        "49:8: application[0].map.user[0].from: found 4, wanted a text in quotes; did you mean \"4\"?",
        "50:1: application[1].base_url: found nothing, wanted a URL such as \"https://app.example.com/scim/v2\": profile \"scim\" has no default",
        "50:1: application[1].wait: found nothing, wanted a duration that is less than server.limits.request_timeout (4s): the default is \"4s\"",
        "51:8: application[1].name: found \"zoom\", wanted a name of its own: line 30 has this one",
        "53:50: application[1].credentials.token.env: found no environment variable MISSING, wanted one that holds the secret",
        "54:20: application[1].when_unavailable: found \"queu\", wanted \"queue\" or \"refuse\"; did you mean \"queue\"?",
        "55:3: applicaton: found an unknown key, wanted one of server, admin, store, journal, log, client, application, alert; did you mean application?",
    ];
    let problems = parsed(text).expect_err("mistakes");
    let told: Vec<String> = problems.iter().map(Problem::to_string).collect();
    let told: Vec<&str> = told
        .iter()
        .map(|line| &line["usher.toml:".len()..])
        .collect();
    for (told, wanted) in told.iter().zip(wanted) {
        assert_eq!(*told, wanted);
    }
    assert_eq!(told.len(), wanted.len());
}

/// One mistake a file: the key and a part of the text.
#[test]
fn single_mistakes() {
    let hash = "4b1f0c6f2e9d7a83c5e1b0d94a7263f8150eab9cd27f4e6618b3a05d9c72e4f1";
    let twin = small(&format!(
        "[[client]]\nname = \"entra\"\ntoken_sha256 = [\"{hash}\"]\n"
    ));
    let same = small(&format!(
        "[[client]]\nname = \"okta\"\ntoken_sha256 = [\"{}\"]\n",
        hash.replace('4', "5")
    ));
    let bearer = "{ env = \"ZOOM_TOKEN\" }";
    let token = |text: &str| small("").replace(bearer, text);
    for (text, key, part) in [
        (String::new(), "client", "nobody could ask"),
        (
            small("").replace("[[client]]", "[client]"),
            "client",
            "[[client]]",
        ),
        (
            twin,
            "client[1].token_sha256[0]",
            "the same token as in line 3",
        ),
        (same, "client[1].name", "line 2 has this one"),
        (
            small("wait = \"30s\"\n"),
            "application[0].wait",
            "less than server.limits.request_timeout (30s)",
        ),
        (
            small("keep_ids = true\n")
                + &small("keep_ids = true\n")
                    .split_off(small("").find("[[application]]").unwrap_or_default())
                    .replace("name = \"zoom\"", "name = \"emea\""),
            "application[1].keep_ids",
            "in one application at most: line 8 has it",
        ),
        (
            small("[application.import]\nevery = \"5s\"\n"),
            "application[0].import.every",
            "a minute or more",
        ),
        (
            small("[server]\nplain_http = \"anywhere\"\n[admin]\nlisten = \"0.0.0.0:1\"\n"),
            "admin.listen",
            "beyond it only with [server.tls]",
        ),
        (
            small("").replace(
                "[[application]]",
                &format!("certificate_sha256 = [\"{hash}\"]\n[[application]]"),
            ),
            "client[0].certificate_sha256",
            "server.tls.client_ca beside it",
        ),
        (
            small("[server]\nlisten = \"127.0.0.1:8081\"\n"),
            "admin.listen",
            "an address of its own",
        ),
        (
            small("[server.limits]\nheader_timeout = \"0s\"\n"),
            "server.limits.header_timeout",
            "longer than nothing",
        ),
        (
            small("[log]\nlevel = \"info,usher=loud\"\n"),
            "log.level",
            "a log filter",
        ),
        (
            small("[[application.map.user]]\nfrom = \"$.x\"\n"),
            "application[0].map.user[0].to",
            "the target",
        ),
        (
            small(
                "[[application.map.user]]\nto = \"displayName\"\nfrom = \"$.displayName\"\ndefault = { expr = \"x\" }\n",
            ),
            "application[0].map.user[0].default",
            "`expr` comes with a later version",
        ),
        (
            small("[[application.map.user]]\nto = \"displayName\"\nvalue = 2020-01-01\n"),
            "application[0].map.user[0].value",
            "put the date in quotes",
        ),
        (
            small("").replace("name = \"okta\"", "name = \"undo\""),
            "client[0].name",
            "another name",
        ),
        (
            small("[[application.policy]]\ngroup = \"Zoom\"\n"),
            "application[0].policy[0].name",
            "a name for people",
        ),
        (
            small("[[application.policy]]\nname = \"p\"\ngroup = \" Zoom\"\n"),
            "application[0].policy[0].group",
            "a group's displayName, or { external_id",
        ),
        (
            small("[[application.policy]]\nname = \"p\"\ngroup = { external_id = \"\" }\n"),
            "application[0].policy[0].group.external_id",
            "a group's displayName, or { external_id",
        ),
        (
            small(
                "[[application.policy]]\nname = \"p\"\ngroup = \"a\"\n[[application.policy]]\nname = \"p\"\ngroup = \"b\"\n",
            ),
            "application[0].policy[1].name",
            "no other policy of this application has",
        ),
        (
            token("{ env = \"EMPTY\" }"),
            "application[0].credentials.token.env",
            "nothing in it",
        ),
        (
            token("{ env = \"SPACED\" }"),
            "application[0].credentials.token.env",
            "spaces",
        ),
        (
            token("{ env = \"ey.s3cr3t\" }"),
            "application[0].credentials.token.env",
            "not the secret itself",
        ),
        (
            token("{ env = \"s3cr3t\" }"),
            "application[0].credentials.token.env",
            "variable of this name",
        ),
        (
            token("{ file = \"/nonexistent/s3cr3t\" }"),
            "application[0].credentials.token.file",
            "cannot be read",
        ),
        (
            token("{ file = \"/\" }"),
            "application[0].credentials.token.file",
            "not a file",
        ),
        (
            token("\"s3cr3t\""),
            "application[0].credentials.token",
            "a secret never stands in this file",
        ),
        (
            small("").replace(
                &format!("{{ kind = \"bearer\", token = {bearer} }}"),
                "\"s3cr3t\"",
            ),
            "application[0].credentials",
            "{ kind = \"bearer\"",
        ),
        (
            token("{ }"),
            "application[0].credentials.token",
            "{ env = \"NAME\" }",
        ),
        (
            small("").replace("\"bearer\"", "\"oauth\""),
            "application[0].credentials.kind",
            "\"server_to_server\"",
        ),
        (
            small("").replace("kind = \"bearer\", ", ""),
            "application[0].credentials.kind",
            "\"bearer\"",
        ),
        (
            small("").replace(
                "kind = \"bearer\"",
                "kind = \"bearer\", token_url = \"s3cr3t\"",
            ),
            "application[0].credentials.token_url",
            "no such key",
        ),
    ] {
        let problems = parsed(&text).expect_err(key);
        let told = problems.iter().map(Problem::to_string).collect::<Vec<_>>();
        assert_eq!(problems.len(), 1, "{told:?}");
        assert_eq!(problems[0].key, key, "{told:?}");
        assert!(told[0].contains(part), "{told:?}");
        assert!(!told[0].contains("s3cr3t"), "{told:?}");
    }
}

#[test]
fn broken_syntax_has_places_too_and_hides_no_other_mistake() {
    let text = "[server]\nlisten = \n[log]\nformat = \"xml\"\nlevel = info\n";
    let problems = parsed(text).expect_err("mistakes");
    let places: Vec<_> = problems
        .iter()
        .map(|problem| (problem.line, problem.key.as_str()))
        .collect();
    assert_eq!(places, [(2, ""), (4, "log.format"), (5, "")]);
    assert!(
        problems[0]
            .to_string()
            .starts_with("usher.toml:2:10: found a syntax error ("),
        "{}",
        problems[0]
    );
}

#[test]
fn files_and_their_secrets() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("usher.toml");
    let secret = place.path().join("token");
    let text = small("").replace("{ env = \"ZOOM_TOKEN\" }", "{ file = \"token\" }");
    std::fs::write(&file, text).expect("a file");
    for (content, mode, wanted) in [
        ("s3cr3t\n", 0o600, Ok("s3cr3t")),
        ("s3cr3t", 0o400, Ok("s3cr3t")),
        ("s3cr3t\n", 0o640, Err("chmod 600")),
        ("s3cr3t\n", 0o604, Err("(mode 0604)")),
        ("\n", 0o600, Err("nothing in it")),
        ("s3cr3t and more", 0o600, Err("spaces")),
    ] {
        let _none = std::fs::remove_file(&secret);
        std::fs::write(&secret, content).expect("a secret");
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&secret, mode).expect("a mode");
        match (load(&file, &env), wanted) {
            (Ok(config), Ok(wanted)) => assert_eq!(
                config.applications[0].credentials,
                Credentials::Bearer(Secret(wanted.into()))
            ),
            (Err(problems), Err(wanted)) => {
                let told = problems[0].to_string();
                assert!(told.contains(wanted) && !told.contains("s3cr3t"), "{told}");
                assert_eq!(problems[0].key, "application[0].credentials.token.file");
            }
            (found, wanted) => panic!("{content:?}: {found:?} is not {wanted:?}"),
        }
    }

    std::fs::write(&file, b"[log]\n# \xff\n").expect("a file");
    for (path, part) in [
        (
            file.as_path(),
            "usher.toml:2:3: found bytes that are not UTF-8",
        ),
        (place.path(), ":1:1: found something that is not a file"),
        (&place.path().join("none.toml"), "cannot be read"),
    ] {
        let problems = load(path, &env).expect_err(part);
        assert!(problems[0].to_string().contains(part), "{}", problems[0]);
    }
}

/// Certificates in files beside the configuration, and clients that are known by theirs.
#[test]
fn tls_and_certificates() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode).expect("a mode");
    };
    let made = || {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec![String::from("localhost")];
        let params = rcgen::CertificateParams::new(names).expect("a name");
        (params.self_signed(&key).expect("a certificate"), key)
    };
    let ((certificate, key), (_, other)) = (made(), made());
    write("tls.crt", &certificate.pem(), 0o644);
    write("tls.key", &key.serialize_pem(), 0o600);
    write("other.key", &other.serialize_pem(), 0o600);
    write("open.key", &key.serialize_pem(), 0o640);
    let origin = folder.path().join("usher.toml");
    let (a, b) = ("ab".repeat(32), "CD:".repeat(32));
    let b = b.trim_end_matches(':');
    let small = small("");
    let hash = "4b1f0c6f2e9d7a83c5e1b0d94a7263f8150eab9cd27f4e6618b3a05d9c72e4f1";
    let pinned = |hashes: &str| {
        let lines = format!("certificate_sha256 = [{hashes}]\n[[application]]");
        small.replace("[[application]]", &lines)
    };
    let second = |lines: &str| format!("[[client]]\nname = \"second\"\n{lines}\n");
    let tls = "[server.tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\n";
    let mutual = format!("{tls}client_ca = \"tls.crt\"\n");
    let good = format!(
        "{}{}[server]\nlisten = \"0.0.0.0:8443\"\n{mutual}[admin]\nlisten = \"[::]:9\"\n",
        pinned(&format!("\"{a}\"")),
        second(&format!("certificate_sha256 = [\"{b}\"]"))
    );
    let config = parse(&good, &origin, &env).expect("a good file");
    let read = config.server.tls.expect("tls");
    assert_eq!(read.certificate, certificate.pem().into_bytes());
    assert_eq!(read.client_ca, Some(certificate.pem().into_bytes()));
    assert_eq!(read.key, Secret(key.serialize_pem()));
    assert_eq!(format!("{:?}", read.key), "(secret)");
    assert_eq!(config.clients[0].certificate_sha256, [[0xab; 32]]);
    assert_eq!(config.clients[1].certificate_sha256, [[0xcd; 32]]);
    assert!(config.clients[1].token_sha256.is_empty());
    // One certificate for two, whom tokens tell apart.
    let shared = |token: &str| {
        let lines = format!("{token}certificate_sha256 = [\"{a}\"]");
        format!("{}{}{mutual}", pinned(&format!("\"{a}\"")), second(&lines))
    };
    let token = format!("token_sha256 = [\"{}\"]\n", hash.replace('4', "5"));
    assert!(parse(&shared(&token), &origin, &env).is_ok());
    let anywhere = "[server]\nlisten = \"0.0.0.0:80\"\nplain_http = \"anywhere\"\n";
    let config = parse(&format!("{small}{anywhere}"), &origin, &env).expect("a good file");
    assert!(config.server.plain_anywhere && config.server.tls.is_none());

    for (text, key, part) in [
        (
            format!("{small}[server.tls]\nkey = \"tls.key\"\n"),
            "server.tls.certificate",
            "found nothing",
        ),
        (
            format!("{small}[server.tls]\ncertificate = \"tls.crt\"\n"),
            "server.tls.key",
            "found nothing",
        ),
        (
            format!("{small}{}", tls.replace("tls.key", "open.key")),
            "server.tls.key",
            "(mode 0640), wanted one that only its owner may read",
        ),
        (
            format!("{small}{}", tls.replace("tls.key", "other.key")),
            "server.tls.key",
            "the key of another certificate",
        ),
        (
            format!("{small}{}", tls.replace("tls.key", "none.key")),
            "server.tls.key",
            "cannot be read",
        ),
        (
            format!("{small}{}", tls.replace("tls.crt", "tls.key")),
            "server.tls.certificate",
            "without a PEM certificate",
        ),
        (
            format!(
                "{small}{}",
                mutual.replace("client_ca = \"tls.crt\"", "client_ca = \"tls.key\"")
            ),
            "server.tls.client_ca",
            "without a PEM certificate",
        ),
        (
            format!("{}{tls}", pinned(&format!("\"{a}\""))),
            "client[0].certificate_sha256",
            "server.tls.client_ca beside it",
        ),
        (
            format!("{}{mutual}", pinned("\"abc\"")),
            "client[0].certificate_sha256[0]",
            "64 hex digits",
        ),
        (
            format!("{}{mutual}", pinned(&format!("\"{a}\", \"{a}\""))),
            "client[0].certificate_sha256[1]",
            "the same certificate as in line 4",
        ),
        (
            shared(""),
            "client[1].certificate_sha256[0]",
            "the same certificate as in line 4",
        ),
        (
            format!("{small}{}{mutual}", second("certificate_sha256 = []")),
            "client[1].token_sha256",
            "at least one token",
        ),
    ] {
        let problems = parse(&text, &origin, &env).expect_err(key);
        let told = problems.iter().map(Problem::to_string).collect::<Vec<_>>();
        assert_eq!(problems.len(), 1, "{told:?}");
        assert_eq!(problems[0].key, key, "{told:?}");
        assert!(told[0].contains(part), "{told:?}");
        assert!(!told[0].contains("BEGIN"), "{told:?}");
    }
}

#[test]
fn the_recipes_lines_are_a_configuration() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/recipes");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(place).expect("recipes") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("text");
        let lines = text.split("```toml\n").nth(1).expect("a block");
        let lines = lines.split("```").next().expect("its end");
        let config = parsed(&lines.replace("...", &"ab".repeat(32))).expect("no mistake");
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        assert_eq!(Some(config.clients[0].name.as_str()), stem);
        names.push(config.clients[0].name.clone());
    }
    assert_eq!(names.len(), 9, "{names:?}");
}

#[test]
fn places_need_nothing_else_to_be_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("usher.toml");
    let read = |text: &str| {
        std::fs::write(&path, text).expect("a file");
        places(&path)
    };
    let at = |socket: &str, store: &str| {
        Ok(Places {
            socket: folder.path().join(socket),
            store: folder.path().join(store),
        })
    };
    let broken =
        "[[application]]\nprofile = 'slack'\ncredentials = { token = { env = 'NOWHERE' } }\n";
    for (text, wanted) in [
        (String::new(), at("usher.sock", "usher.redb")),
        (broken.to_owned(), at("usher.sock", "usher.redb")),
        (
            format!(
                "[admin]\nsocket = '/run/u.sock'\nlisten = 7\n[store]\npath = 'd/u.redb'\ncash = 1\n{broken}"
            ),
            at("/run/u.sock", "d/u.redb"),
        ),
    ] {
        assert_eq!(read(&text), wanted, "{text}");
    }
    for (text, key) in [
        ("[store]\npath = 7\n", "store.path"),
        ("[admin]\nsocket = ''\n", "admin.socket"),
        ("admin = 1\n", "admin"),
        ("[store\npath = 'u.redb'\n", ""),
    ] {
        let problems = read(text).expect_err(text);
        assert_eq!(problems[0].key, key, "{text}");
    }
    assert!(places(folder.path()).is_err());
}

#[test]
fn who_only_decides_by_it_needs_neither_secrets_nor_certificates() {
    let text = "[server.tls]\ncertificate = '/nowhere/c.pem'\nkey = '/nowhere/k.pem'\nclient_ca = '/nowhere/r.pem'\n[[client]]\nname = 'okta'\ntoken_sha256 = ['HASH']\n[[application]]\nname = 'zoom'\nprofile = 'zoom'\nca = '/nowhere/a.pem'\ncredentials = { kind = 'bearer', token = { file = '/nowhere/t' } }\n";
    let text = text.replace("HASH", &"ab".repeat(32));
    let path = Path::new("/etc/usher/usher.toml");
    let problems = parse(&text, path, &|_| None).expect_err("nothing is there");
    assert_eq!(problems.len(), 5, "{problems:?}");
    let config = decisions(&text, path).expect("that does not matter");
    assert_eq!(config.applications.len(), 1);
    // Any other mistake does.
    let text = text.replace("profile = 'zoom'", "profile = 'zom'");
    let problems = decisions(&text, path).expect_err("a mistake");
    assert_eq!(problems.len(), 1, "{problems:?}");
}
