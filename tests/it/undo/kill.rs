//! The real binary, killed in the midst of an undo: run again, it completes it.

use std::collections::BTreeSet;

use usher::clock::Clock;
use usher::sandbox::{Options, Sandbox};

use super::*;
use crate::crash::process::Process;
use crate::house::{Knock, PATIENCE, text};

const PEOPLE: usize = 60;

async fn exists(knock: &Knock, number: usize) -> bool {
    let path = format!("/Users?filter=userName%20eq%20%22p{number:02}@example.com%22");
    let found = knock.try_ask("GET", &path, None).await;
    found.is_ok_and(|found| found.body["totalResults"] == 1)
}

/// The ids of all at a path.
async fn ids(knock: &Knock, path: &str) -> Vec<String> {
    let found = knock.ask("GET", path, None).await.expect(200).body;
    let all = found["Resources"].as_array().cloned().unwrap_or_default();
    let ids = all.iter().map(|one| one["id"].as_str().unwrap().to_owned());
    ids.collect()
}

/// Deletes everybody, and the group. What undoes that.
async fn mistake(knock: &Knock) -> Vec<String> {
    let clock = Clock::system();
    let since = clock.now().rfc3339();
    for id in ids(knock, "/Users?count=100").await {
        let path = format!("/Users/{id}");
        knock.ask("DELETE", &path, None).await.expect(204);
    }
    for id in ids(knock, "/Groups").await {
        let path = format!("/Groups/{id}");
        knock.ask("DELETE", &path, None).await.expect(204);
    }
    let until = clock.now().plus(Duration::from_millis(1)).rfc3339();
    ["--yes", "--since", &since, "--until", &until]
        .map(str::to_owned)
        .to_vec()
}

/// The names of those who have an active account.
fn active(sandbox: &Sandbox) -> Vec<String> {
    let accounts = sandbox.state().accounts().into_iter();
    accounts
        .filter(|account| account.user["active"] == true)
        .map(|account| account.user["userName"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_again_after_a_kill_it_completes_what_it_began() {
    let sandbox = Sandbox::start(Options::default()).expect("a sandbox");
    let folder = tempfile::tempdir().expect("a folder");
    let tables = "[application.safety]\nmax_removals = 1000\n[[application.policy]]\nname = \"all\"\ngroup = \"Zoom\"\n";
    let plan = Plan {
        tables: tables.to_owned(),
        ..Plan::default()
    };
    let log = "[log]\nformat = \"json\"\n";
    let config = text(&plan, &sandbox.base_url(), "127.0.0.1:0") + log;
    std::fs::write(folder.path().join("usher.toml"), config).expect("a configuration");
    let gateway = Process::start(folder.path(), sandbox.token()).await;
    let knock = Knock::at(gateway.base.clone());
    let mut made = Vec::new();
    for number in 0..PEOPLE {
        let body = json!({
            "schemas": [CORE_USER], "userName": format!("p{number:02}@example.com"),
            "name": {"givenName": "P", "familyName": number.to_string()},
        });
        let one = knock.ask("POST", "/Users", Some(&body)).await;
        made.push(json!({ "value": one.expect(201).id() }));
    }
    let body = json!({"displayName": "Zoom", "members": made});
    knock.ask("POST", "/Groups", Some(&body)).await.expect(201);
    wait("everybody is there", async || {
        active(&sandbox).len() == PEOPLE
    })
    .await;

    let (mut gateway, mut knock) = (gateway, knock);
    let mut attempts = 0;
    // The group is made again last of all: where it is not there, the kill came in the midst. Where it is, the undo was
    // faster than the kill, and all is as it was before.
    let more = loop {
        attempts += 1;
        assert!(attempts <= 20, "no kill comes before the undo's end");
        let more = mistake(&knock).await;
        let (begun, place) = (more.clone(), folder.path().to_owned());
        let undoing = tokio::spawn(async move { run(&place, &begun).await });
        wait("somebody is back", async || exists(&knock, 3).await).await;
        gateway.kill();
        let (_, code) = undoing.await.unwrap();
        gateway = Process::start(folder.path(), sandbox.token()).await;
        knock = Knock::at(gateway.base.clone());
        if ids(&knock, "/Groups").await.is_empty() {
            assert_eq!(code, Some(75), "whoever asked is told that it broke off");
            break more;
        }
    };
    let before = ids(&knock, "/Users?count=100").await.len();
    let (undone, code) = run(folder.path(), &more).await;
    assert_eq!(code, Some(0));
    assert!(before > 0, "the first run made some again");
    assert_eq!(
        (count(&undone, "nothing"), count(&undone, "recreate")),
        (before, PEOPLE - before + 1)
    );
    assert_eq!(done(&undone), PEOPLE - before + 1);
    let all = knock.ask("GET", "/Users?count=100", None).await;
    assert_eq!(all.body["totalResults"], PEOPLE);
    let found = knock.ask("GET", "/Groups", None).await.expect(200).body;
    assert_eq!(found["totalResults"], 1);
    let members = found["Resources"][0]["members"].as_array().unwrap();
    assert_eq!(members.len(), PEOPLE);
    wait("everybody is back", async || {
        active(&sandbox).len() == PEOPLE
    })
    .await;
    let names: BTreeSet<String> = active(&sandbox).into_iter().collect();
    assert_eq!(names.len(), PEOPLE, "nobody has two accounts");
    let (again, code) = run(folder.path(), &more).await;
    assert_eq!((count(&again, "nothing"), done(&again)), (PEOPLE + 1, 0));
    assert_eq!(code, Some(0));
    gateway.stop();
}

/// Waits for what another process does.
async fn wait(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "{what} does not come");
}
