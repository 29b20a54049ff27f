//! Every route under many spellings of its path. Who is unknown reaches nothing by any of them; who is known gets by each
//! what the plain one gives, or is told that there is nothing; and who may only read, changes nothing by any.

use std::collections::BTreeSet;

use serde_json::json;
use usher::scim::route::Route;
use usher::server::service::segments;

use crate::house::{House, Plan, TOKEN, say};
use crate::way::{Door, State, Way, refusal};

/// The token of a client that may only read.
const READER: &str = "ush_a-token-of-a-reader-and-of-nobody-else-00001";

/// Letters that look like these, or that some folding of case makes of them: full width, Cyrillic, the long s, the
/// Kelvin sign, the dotless i.
const ALIKE: [(char, &[char]); 8] = [
    ('U', &['\u{ff35}']),
    ('s', &['\u{17f}', '\u{455}', '\u{ff53}']),
    ('e', &['\u{435}']),
    ('r', &['\u{433}']),
    ('o', &['\u{43e}', '\u{3bf}']),
    ('k', &['\u{212a}']),
    ('i', &['\u{131}', '\u{456}']),
    ('c', &['\u{441}']),
];

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Spellings of a whole path. None of them is the path itself.
fn spellings(path: &str, host: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let swapped = |text: &str| -> String {
        let swap = |letter: char| {
            if letter.is_ascii_uppercase() {
                letter.to_ascii_lowercase()
            } else {
                letter.to_ascii_uppercase()
            }
        };
        text.chars().map(swap).collect()
    };
    all.extend([
        path.to_ascii_uppercase(),
        path.to_ascii_lowercase(),
        swapped(path),
        encoded(path),
        format!("/{}", encoded(&path[1..])),
        // As a whole.
        path.replace('/', "//"),
        path.replace('/', "\\"),
        path.replace('/', "%2f"),
        path.replace('/', "/./"),
        path.replace('/', "/;/"),
        path[1..].to_owned(),
        format!("/{path}"),
        format!("//{host}{path}"),
        format!("\\{path}"),
        format!("/x/..{path}"),
        format!("/%2e%2e{path}"),
        format!("/healthz/..{path}"),
        format!("/healthz/..;{path}"),
        format!("/scim/v2{path}"),
        format!("/scim/v1/../v2{}", path.trim_start_matches("/scim/v2")),
        path.replace("/v2", "/v2.0"),
        path.replace("/v2", ""),
        path.replace("/v2", "/v%32"),
        path.replace("/v2", "/v2;x=1"),
        // A whole URL: its own, and somebody else's.
        format!("http://{host}{path}"),
        format!("HTTP://{host}{path}"),
        format!("https://{host}{path}"),
        format!("http://elsewhere{path}"),
        format!("http://{host}@elsewhere{path}"),
        format!("http://{host}//{path}"),
    ]);
    // Behind it.
    for tail in [
        "/",
        "//",
        "/.",
        "/..",
        "/./",
        "/../",
        "/%2e",
        "/%2e%2e",
        "/x/..",
        ".",
        "..",
        ".json",
        ".xml",
        ";",
        ";a=b",
        "/;a=b",
        "%3b",
        "%20",
        "%09",
        "%00",
        "%00.json",
        "%0a",
        "%0d%0aX:%20y",
        "%23",
        "%3f",
        "%2f",
        "%5c",
        "\\",
        "~",
        "*",
        "%",
        "%2",
        "%zz",
        "?",
        "??",
        "#",
        "#/../../admin",
        "?#",
        "%ef%bb%bf",
        "%e2%80%8b",
        "%c0%80",
        "%ff",
        "&",
        "+",
    ] {
        all.insert(format!("{path}{tail}"));
    }
    // At every slash.
    for (at, _) in path.match_indices('/') {
        let (before, after) = (&path[..at], &path[at + 1..]);
        for slash in [
            "//",
            "///",
            "/./",
            "/.//",
            "/x/../",
            "/%2e/",
            "/%2e%2e/x/",
            "/.%2e/",
            "/..;/x/",
            "/;/",
            "/;a=b/",
            ";a=b/",
            "%2f",
            "%2F",
            "%252f",
            "%5c",
            "\\",
            "/\\",
            "%c0%af",
            "%e0%80%af",
            "%ef%bc%8f",
            "\u{ff0f}",
            "\u{2215}",
            "/%20",
            "%20/",
            "/%00/",
            "/*/",
            "/+/",
        ] {
            all.insert(format!("{before}{slash}{after}"));
        }
    }
    // Every letter: encoded in both cases of hex and encoded twice, in another case, and as one that looks like it.
    for (at, letter) in path.char_indices().filter(|(_, letter)| *letter != '/') {
        let (before, after) = (&path[..at], &path[at + letter.len_utf8()..]);
        let code = u32::from(letter);
        all.extend([
            format!("{before}%{code:02x}{after}"),
            format!("{before}%{code:02X}{after}"),
            format!("{before}%25{code:02x}{after}"),
            format!("{before}%u{code:04x}{after}"),
            format!("{before}{}{after}", swapped(&letter.to_string())),
        ]);
        let alike = ALIKE.iter().find(|(plain, _)| *plain == letter);
        for other in alike.map(|(_, others)| *others).unwrap_or_default() {
            all.insert(format!("{before}{other}{after}"));
            all.insert(format!("{before}{}{after}", encoded(&other.to_string())));
        }
    }
    all.remove(path);
    all
}

/// Whether it is one of the few other spellings that are taken: another case, a slash at the end, an id with escapes, a
/// whole URL of ours, and a query or fragment with nothing in it.
fn is_known(target: &str, path: &str) -> bool {
    let whole = target.split_once("://localhost");
    let below = whole.map_or(target, |(_, below)| below);
    let end = below.find(['?', '#']).unwrap_or(below.len());
    let plain = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
    let (below, path) = (plain(&below[..end]), plain(path));
    let (below, path): (Vec<_>, Vec<_>) = (below.split('/').collect(), path.split('/').collect());
    let same = |(at, (one, plain)): (usize, (&&str, &&str))| match at {
        // `/scim/v2`, as it stands.
        0..3 => one == plain,
        3 => one.eq_ignore_ascii_case(plain),
        _ => {
            let decoded = percent_encoding::percent_decode_str(one).decode_utf8_lossy();
            decoded.eq_ignore_ascii_case(plain)
        }
    };
    below.len() == path.len() && below.iter().zip(&path).enumerate().all(same)
}

/// What the three of them ask at one path.
#[derive(Default)]
struct Count {
    spellings: usize,
    fewest: usize,
    same: usize,
    requests: usize,
    wrong: Vec<String>,
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_where_the_plain_one_does_not() {
    let hash = usher::auth::hash(READER.as_bytes());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let house = House::with(Plan {
        tables: format!(
            "[[client]]\nname = \"reader\"\ntoken_sha256 = [\"{hash}\"]\nread_only = true\nrate = {{ per_second = 100000, burst = 100000 }}\n"
        ),
        ..Plan::default()
    })
    .await;
    let door = Door::Plain(house.serving.address);
    let mut owner = Way::bearing(door.clone(), TOKEN);
    let mut reader = Way::bearing(door.clone(), READER);
    let mut nobody = Way::new(door, "");
    let ids = [
        owner.create("Users", "victim").await,
        owner.create("Groups", "Victims").await,
    ];
    house.settled().await;

    let mut count = Count {
        fewest: usize::MAX,
        ..Count::default()
    };
    let mut paths = Vec::new();
    for (_, template) in Route::PATHS {
        let id = &ids[usize::from(template.starts_with("/Groups"))];
        let path = template.replace("{id}", id);
        let route = Route::of(&segments(&path).unwrap()).unwrap();
        paths.push((format!("/scim/v2{path}"), route));
    }
    // First those that nothing may come of, so that all of it together leaves the file as it is.
    let before = State::of(&house);
    for (path, route) in &paths {
        let all = spellings(path, "localhost");
        count.fewest = count.fewest.min(all.len());
        count.spellings += all.len();
        for target in &all {
            for method in route.methods() {
                let said = nobody.ask(method, target, "{}").await;
                let said = said.expect("an answer");
                count.requests += 1;
                let refused = matches!(said.status, 400 | 401 | 404);
                let plain = said.header("content-type").is_none();
                // What hyper cannot read it refuses without a word.
                let explained = plain && said.status == 400 || refusal(method, &said).is_ok();
                if !(refused && explained) {
                    let line = format!("nobody: {method} {target}: {}", said.status);
                    count.wrong.push(line);
                }
            }
        }
    }
    let after = State::of(&house);
    assert!(after == before, "{} became {}", before.told(), after.told());

    for (path, route) in &paths {
        let method = if route.methods().contains(&"GET") {
            "GET"
        } else {
            "POST"
        };
        // A Bulk that comes to nothing, and a search.
        let body = match route {
            Route::Bulk => json!({"Operations": [{"method": "DELETE", "path": "/Users/nobody"}]}),
            _ => json!({"sortBy": "id"}),
        };
        let body = body.to_string();
        let wanted = owner.ask(method, path, &body).await.expect("an answer");
        assert!(
            matches!(wanted.status, 200 | 501),
            "{path}: {}",
            wanted.status
        );
        for target in &spellings(path, "localhost") {
            let said = owner.ask(method, target, &body).await.expect("an answer");
            count.requests += 1;
            if (said.status, &said.body) == (wanted.status, &wanted.body) {
                count.same += 1;
                // All of /Me is not here, whatever follows it.
                if *route != Route::Me && !is_known(target, path) {
                    count
                        .wrong
                        .push(format!("{method} {target}: the same as {path}"));
                }
            } else {
                // What is not quite `.search` is the id of nobody, and a POST there is a 405.
                let id = said.status == 405 && matches!(route, Route::Search(Some(_)));
                let status = if id {
                    let read = owner.ask("GET", target, "").await;
                    read.expect("an answer").status
                } else {
                    said.status
                };
                if !matches!(status, 400 | 404) {
                    let line = format!("{method} {target}: {status}, and it is {}", wanted.status);
                    count.wrong.push(line);
                }
            }
            for method in route.methods().iter().filter(|method| route.writes(method)) {
                let said = reader.ask(method, target, &body).await.expect("an answer");
                count.requests += 1;
                if !matches!(said.status, 400 | 403 | 404 | 405) {
                    count
                        .wrong
                        .push(format!("a reader: {method} {target}: {}", said.status));
                }
            }
        }
    }
    for (kind, id) in ["Users", "Groups"].iter().zip(&ids) {
        let there = owner.ask("GET", &format!("/scim/v2/{kind}/{id}"), "").await;
        let version = there.expect("an answer").json()["meta"]["version"].clone();
        assert!(
            version.as_str().is_some_and(|it| it.starts_with("W/\"1")),
            "{kind}: {version}"
        );
    }
    say(&format!(
        "paths: {} spellings of {} routes (at least {} of each), {} requests, {} spellings are the same as the plain one, {} wrong",
        count.spellings,
        paths.len(),
        count.fewest,
        count.requests,
        count.same,
        count.wrong.len()
    ));
    assert!(count.fewest >= 40 && count.same > 0);
    assert!(count.wrong.is_empty(), "{}", count.wrong.join("\n"));
}
