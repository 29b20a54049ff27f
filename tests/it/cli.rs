//! The real binary, as those who run it do: arguments, exit codes, what is printed and logged, signals, files.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Notify;
use usher::clock::{Clock, Timestamp};

use crate::house::{Answer, Knock, PATIENCE, Plan, TOKEN, text};
use crate::process::{Running, Site, rows, run};

/// A user, as an IdP sends one.
pub(crate) fn user(name: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name,
        "name": {"givenName": "A", "familyName": "B"}, "emails": [{"type": "work", "value": name}], "active": true
    })
}

/// A PATCH that replaces one attribute.
pub(crate) fn patch(path: &str, value: Value) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": path, "value": value}]
    })
}

async fn create(knock: &Knock, name: &str) -> String {
    let answer = knock.ask("POST", "/Users", Some(&user(name))).await;
    answer.expect(201).id()
}

/// How many users have a userName.
async fn count(knock: &Knock, name: &str) -> Value {
    let filter = name.replace('@', "%40");
    let path = format!("/Users?filter=userName%20eq%20%22{filter}%22");
    let answer = knock.ask("GET", &path, None).await.expect(200);
    answer.body["totalResults"].clone()
}

#[test]
fn the_demo_shows_everything_and_ends_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = run(folder.path(), "demo --once");
    assert_eq!((demo.code, demo.err.as_str()), (0, ""), "{}", demo.out);
    for (part, times) in [
        ("SCIM base URL  http://127.0.0.1:", 1),
        ("Token          ush_", 1),
        ("  curl -", 3),
    ] {
        assert_eq!(
            demo.out.matches(part).count(),
            times,
            "{part}: {}",
            demo.out
        );
    }
    let lines: Vec<Vec<&str>> = demo
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for (step, status) in [
        ("Jane joins POST /Users", "201"),
        ("she is looked up GET /Users", "200"),
        ("she marries PUT /Users/", "200"),
        ("a guest of a foreign domain comes POST /Users", "201"),
        ("Jane is sent once more POST /Users", "409"),
        ("Jane leaves PATCH /Users/", "200"),
        ("she is deleted DELETE /Users/", "204"),
    ] {
        let is = |words: &&Vec<&str>| words.join(" ").starts_with(step);
        let words = lines.iter().find(is).unwrap_or_else(|| panic!("{step}"));
        assert_eq!(words.last(), Some(&status), "{words:?}");
    }
    let table = lines
        .iter()
        .skip_while(|words| words.first() != Some(&"TIME"));
    let mut found: Vec<String> = table
        .skip(1)
        .filter(|words| words.len() >= 6)
        .map(|words| words[2..6].join(" "))
        .collect();
    found.sort();
    found.dedup();
    for wanted in [
        "guest@elsewhere.example create zoom skipped",
        "jane@example.com create - failure",
        "jane@example.com create zoom success",
        "jane@example.com deactivate zoom success",
        "jane@example.com update zoom success",
    ] {
        assert!(found.iter().any(|row| row == wanted), "{wanted}: {found:?}");
    }
}

/// Five mistakes in one file, in the order of their places.
const MISTAKES: &str = r#"
[server]
plain_htpp = "loopback"
[[client]]
name = "Okta"
token_sha256 = []
[[application]]
name = "zoom"
profile = "zom"
credentials = { kind = "bearer", token = { env = "SANDBOX_TOKEN" } }
wait = "4 parsecs"
"#;

#[test]
fn check_tells_every_mistake_at_once_and_serve_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("usher.toml");
    std::fs::write(&file, MISTAKES).expect("a file");

    let check = run(folder.path(), "check");
    assert_eq!((check.code, check.err.as_str()), (64, ""), "{}", check.out);
    let wanted = [
        (3, 1, "server.plain_htpp", "did you mean plain_http?"),
        (5, 8, "client[0].name", "did you mean \"okta\"?"),
        (6, 16, "client[0].token_sha256", "`usher token NAME` makes"),
        (9, 11, "application[0].profile", "did you mean \"zoom\"?"),
        (11, 8, "application[0].wait", "did you mean \"4s\"?"),
    ];
    let lines: Vec<&str> = check.out.lines().collect();
    assert_eq!(lines.len(), wanted.len(), "{}", check.out);
    for (told, (line, column, key, hint)) in lines.iter().zip(wanted) {
        let start = format!("usher.toml:{line}:{column}: {key}: found ");
        assert!(told.starts_with(&start) && told.contains(hint), "{told}");
    }

    let as_json = run(folder.path(), "check --config usher.toml --format json");
    assert_eq!(as_json.code, 64, "{}", as_json.err);
    let told: Vec<(Value, Value, Value)> = rows(&as_json.out)
        .into_iter()
        .map(|row| {
            (
                row["line"].clone(),
                row["column"].clone(),
                row["key"].clone(),
            )
        })
        .collect();
    assert_eq!(
        told,
        wanted.map(|(line, column, key, _)| (json!(line), json!(column), json!(key)))
    );

    let serve = run(folder.path(), "serve");
    assert_eq!((serve.code, &serve.err), (64, &check.out));

    let missing = run(folder.path(), "check --config nowhere.toml");
    assert_eq!(missing.code, 64);
    assert!(missing.out.contains("nowhere.toml"), "{}", missing.out);

    let good = text(&Plan::default(), "http://127.0.0.1:1/scim2", "127.0.0.1:0");
    std::fs::write(&file, good).expect("a file");
    for (flags, wanted) in [
        ("", "usher.toml: ok: 1 client, 1 application\n"),
        (
            "--format json",
            "{\"applications\":1,\"clients\":1,\"file\":\"usher.toml\",\"ok\":true}\n",
        ),
    ] {
        let check = run(folder.path(), &format!("check {flags}"));
        assert_eq!((check.code, check.err.as_str()), (0, ""));
        assert_eq!(check.out, wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_file_in_a_folder_that_is_not_there_is_told() {
    let site = Site::new(&Plan {
        tables: "[store]\npath = 'nowhere/usher.redb'".into(),
        ..Plan::default()
    });
    let serve = site.run("serve");
    assert_eq!(serve.code, 65, "{}", serve.err);
    let last = serve.err.lines().last().expect("a line");
    assert!(
        last.starts_with("usher: the data file cannot be opened: there is no folder "),
        "{last}"
    );
    assert!(last.contains("nowhere"), "{last}");
    assert!(!site.path().join("usher.sock").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_is_the_same_beside_the_gateway_and_after_it() {
    let site = Site::new(&Plan {
        application: "authorized_domains = ['example.com']".into(),
        ..Plan::default()
    });
    let serving = site.serve("");
    let scim = serving.scim();
    let ada = create(&scim, "ada@example.com").await;
    // The rows below are of a later millisecond than the one above.
    let (clock, first) = (Clock::system(), Clock::system().now());
    while clock.now() == first {
        std::thread::yield_now();
    }
    let since = clock.now();
    create(&scim, "bob@example.com").await;
    create(&scim, "guest@elsewhere.example").await;
    let twin = user("ADA@example.com");
    let twin = scim.ask("POST", "/Users", Some(&twin)).await;
    assert_eq!(twin.status, 409);
    let path = format!("/Users/{ada}");
    for (attribute, value) in [("name.familyName", json!("C")), ("active", json!(false))] {
        let change = patch(attribute, value);
        let changed = scim.ask("PATCH", &path, Some(&change)).await;
        changed.expect(200);
    }

    let all = site.report("");
    assert!(all.len() >= 6, "{all:?}");
    assert!(all.iter().all(|row| row["status"] != "queued"), "{all:?}");
    let later = format!("--since {}", since.rfc3339());
    let earlier = format!("--until {}", since.rfc3339());
    type Wanted<'a> = &'a dyn Fn(&Value) -> bool;
    let is = |name: &'static str, value: &'static str| move |row: &Value| row[name] == value;
    let at = |row: &Value| Timestamp::parse(row["time"].as_str().expect("a time")).expect("a time");
    let filters: &[(&str, Wanted)] = &[
        ("--user ada@", &|row| {
            row["user"]
                .as_str()
                .is_some_and(|user| user.to_lowercase().starts_with("ada@"))
        }),
        ("--application zoom", &is("application", "zoom")),
        ("--status success", &is("status", "success")),
        ("--status skipped", &is("status", "skipped")),
        ("--status failure", &is("status", "failure")),
        ("--operation update", &is("operation", "update")),
        ("--operation deactivate", &is("operation", "deactivate")),
        (&later, &|row| at(row) >= since),
        (&earlier, &|row| at(row) < since),
        (
            "--user bob --status success --operation create --application zoom --client okta",
            &is("user", "bob@example.com"),
        ),
    ];
    let filtered = || {
        for (flags, wanted) in filters {
            let rows: Vec<Value> = all.iter().filter(|row| wanted(row)).cloned().collect();
            assert!(
                !rows.is_empty() && rows.len() < all.len(),
                "{flags} tells nothing"
            );
            assert_eq!(site.report(flags), rows, "{flags}");
        }
        assert_eq!(site.report("--since 1h"), all);
        assert_eq!(site.report("--limit 2"), all[..2]);
        assert_eq!(site.report("--user nobody"), Vec::<Value>::new());
        assert_eq!(
            site.run("report --user nobody").out,
            "no operations match\n"
        );
    };
    filtered();
    let live = (site.run("report"), site.run("report --format csv"));
    for report in [&live.0, &live.1] {
        assert_eq!((report.code, report.err.as_str()), (0, ""));
    }
    assert!(live.0.out.starts_with("TIME "), "{}", live.0.out);
    assert!(
        live.0.out.ends_with(&format!("\n{} rows\n", all.len())),
        "{}",
        live.0.out
    );
    let csv: Vec<&str> = live.1.out.split("\r\n").collect();
    assert!(csv[0].starts_with("time,client,application,operation,user,status,"));
    assert_eq!(csv.len(), all.len() + 2, "{csv:?}");
    for (line, row) in csv[1..].iter().zip(&all) {
        let user = row["user"].as_str().expect("a user");
        assert!(line.contains(user), "{line}");
    }

    let begun = Instant::now();
    let ended = serving.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(begun.elapsed() < Duration::from_secs(25));

    filtered();
    for (line, live) in [("report", live.0), ("report --format csv", live.1)] {
        let after = site.run(line);
        assert!(
            after.err.starts_with("usher: no gateway answers on "),
            "{}",
            after.err
        );
        assert_eq!((after.code, after.out), (live.code, live.out), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_while_it_was_told_to_end_is_there_after_the_next_start() {
    let site = Site::new(&Plan::default());
    let serving = site.serve("");
    let scim = serving.scim();
    let (enough, sum) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let writers: Vec<_> = (0..50)
        .map(|writer| {
            let (scim, enough, sum) = (scim.clone(), Arc::clone(&enough), Arc::clone(&sum));
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                loop {
                    let name = format!("w{writer}n{}@example.com", acknowledged.len());
                    match scim.try_ask("POST", "/Users", Some(&user(&name))).await {
                        Ok(Answer { status: 201, .. }) => acknowledged.push(name),
                        // Told to come later, or the door is closed: the gateway is going.
                        Ok(Answer { status: 503, .. }) | Err(_) => return acknowledged,
                        Ok(other) => panic!("{other:?}"),
                    }
                    if sum.fetch_add(1, Ordering::SeqCst) == 100 {
                        enough.notify_one();
                    }
                }
            })
        })
        .collect();
    tokio::time::timeout(PATIENCE, enough.notified())
        .await
        .expect("100 creates");
    let begun = Instant::now();
    let ended = tokio::task::block_in_place(|| serving.terminate());
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(begun.elapsed() < Duration::from_secs(25));
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("no panic"));
    }
    assert!(acknowledged.len() >= 100);

    let serving = site.serve("");
    let scim = serving.scim();
    for name in &acknowledged {
        assert_eq!(count(&scim, name).await, 1, "{name}");
    }
    assert_eq!(serving.terminate().code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_file_that_is_not_the_last_one_is_refused_until_a_person_accepts_it() {
    let site = Site::new(&Plan::default());
    let at = |name: &str| site.path().join(name);
    let serving = site.serve("");
    create(&serving.scim(), "ada@example.com").await;
    assert_eq!(serving.terminate().code, 0);
    std::fs::copy(at("usher.redb"), at("old.redb")).expect("a copy");

    type Tamper<'a> = &'a dyn Fn();
    let cases: &[(&str, Tamper, i32)] = &[
        (
            "an old copy",
            &|| drop(std::fs::copy(at("old.redb"), at("usher.redb"))),
            1,
        ),
        (
            "no marker",
            &|| std::fs::remove_file(at("usher.redb.marker")).expect("a marker"),
            2,
        ),
        (
            "its marker says that there was one",
            &|| std::fs::remove_file(at("usher.redb")).expect("a file"),
            0,
        ),
        (
            "belongs to another one",
            &|| drop(std::fs::copy(at("old.redb"), at("usher.redb"))),
            1,
        ),
    ];
    for (doubt, tamper, users) in cases {
        // Something that the old copy does not know, and the marker does.
        let serving = site.serve("");
        create(&serving.scim(), "bob@example.com").await;
        assert_eq!(serving.terminate().code, 0);
        tamper();
        let calls = site.sandbox.state().calls().len();
        for _again in 0..2 {
            let refused = site.run("serve");
            assert_eq!(refused.code, 65, "{doubt}: {}", refused.err);
            assert!(
                refused.err.contains(doubt) && refused.err.contains("--accept-store"),
                "{doubt}: {}",
                refused.err
            );
        }
        assert_eq!(
            site.sandbox.state().calls().len(),
            calls,
            "{doubt}: it sent"
        );
        let serving = site.serve("--accept-store");
        let scim = serving.scim();
        let list = scim.ask("GET", "/Users", None).await.expect(200);
        assert_eq!(list.body["totalResults"], *users, "{doubt}");
        // So that the next case creates him anew.
        if count(&scim, "bob@example.com").await == 1 {
            let id = list.body["Resources"][1]["id"].as_str().expect("an id");
            let gone = scim.ask("DELETE", &format!("/Users/{id}"), None).await;
            gone.expect(204);
        }
        assert_eq!(serving.terminate().code, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_gateway_waits_for_the_data_file_and_gives_up() {
    let site = Site::new(&Plan::default());
    let first = site.serve("");
    create(&first.scim(), "ada@example.com").await;
    let config = std::fs::read_to_string(site.path().join("usher.toml")).expect("a file");
    let config = config.replace("[admin]", "[admin]\nsocket = 'second.sock'");
    std::fs::write(site.path().join("second.toml"), config).expect("a file");

    let begun = Instant::now();
    let second = Running::start(site.path(), "serve --config second.toml");
    // It listens, and says that it is not ready yet.
    let (scim, admin) = (second.scim(), second.admin());
    assert_eq!(admin.ask("GET", "/healthz", None).await.status, 200);
    let opening = admin.ask("GET", "/readyz", None).await.expect(503);
    assert_eq!(opening.body["status"], "opening");
    let refused = scim.ask("GET", "/Users", None).await.expect(503);
    assert!(refused.headers.contains_key("retry-after"));
    let report = site.run("report --config second.toml");
    assert_eq!(report.code, 75, "{}", report.err);
    assert!(report.err.contains("starting"), "{}", report.err);

    let ended = tokio::task::block_in_place(|| second.ended());
    assert_eq!(ended.code, 75, "{}", ended.err);
    assert!(
        ended.err.contains("usher: another process has "),
        "{}",
        ended.err
    );
    assert!(begun.elapsed() >= Duration::from_secs(10));
    assert!(!site.path().join("second.sock").exists());
    assert_eq!(count(&first.scim(), "ada@example.com").await, 1);
    assert_eq!(first.terminate().code, 0);
}

/// Nobody but the owner may read any of these.
fn private(site: &Site, names: &[&str]) {
    use std::os::unix::fs::PermissionsExt;
    for name in names {
        let found = std::fs::symlink_metadata(site.path().join(name));
        let mode = found.expect(name).permissions().mode();
        assert_eq!(mode & 0o177, 0, "{name}: {mode:o}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_is_for_its_owner_alone() {
    let site = Site::new(&Plan::default());
    let serving = site.serve("");
    private(&site, &["usher.sock"]);
    assert_eq!(serving.terminate().code, 0);
    assert!(!site.path().join("usher.sock").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_file_and_marker_are_for_their_owner_alone() {
    let site = Site::new(&Plan::default());
    let serving = site.serve("");
    private(&site, &["usher.redb", "usher.redb.marker"]);
    assert_eq!(serving.terminate().code, 0);
    private(&site, &["usher.redb", "usher.redb.marker"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_on_the_admin_address_and_scim_is_not() {
    let site = Site::new(&Plan::default());
    let serving = site.serve("");
    let (scim, admin) = (serving.scim(), serving.admin());
    for (path, status, told) in [("/healthz", 200, "ok"), ("/readyz", 200, "ready")] {
        let answer = admin.send("GET", path, &[], None).await.expect("an answer");
        assert_eq!(answer.expect(status).body["status"], told);
    }
    assert_eq!(admin.ask("GET", "/scim/v2/Users", None).await.status, 404);
    assert_eq!(admin.ask("GET", "/report", None).await.status, 404);
    assert_eq!(scim.ask("GET", "/healthz", None).await.status, 404);
    assert_eq!(serving.terminate().code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_token_lets_its_bearer_in() {
    let site = Site::new(&Plan::default());
    let made = site.run("token entra");
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    let (token, lines) = made.out.split_once("\n\n").expect("two parts");
    assert!(!lines.contains(token));
    let file = site.path().join("usher.toml");
    let config = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, format!("{config}\n{lines}")).expect("a file");
    let check = site.run("check");
    assert_eq!(check.out, "usher.toml: ok: 2 clients, 1 application\n");

    let serving = site.serve("");
    for (token, status) in [(token, 200), (TOKEN, 200), (&token[..token.len() - 1], 401)] {
        let headers = [("authorization", format!("Bearer {token}"))];
        let answer = serving.scim().send("GET", "/Users", &headers, None).await;
        answer.expect("an answer").expect(status);
    }
    assert_eq!(serving.terminate().code, 0);
    assert_ne!(site.run("token entra").out, made.out);
    assert_eq!(site.run("token En/tra").code, 64);
}
