//! Other people's programs against the gateway, over HTTP: two conformance suites, and an identity provider that provisions
//! through it. They are Python's; `.ci/peers` installs them. Without them these tests say that they did not run, and fail
//! only where `USHER_PEERS=required` is set, as `.ci/run` does.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::house::{House, Plan, TOKEN, say};

/// A peer that says nothing for so long hangs. A suite takes seconds, and says everything at its end.
const LONG: Duration = Duration::from_secs(300);

/// The folder with a peer's programs, if `.ci/peers` has made it to this list of packages.
pub(crate) fn programs(name: &str, list: &str) -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/peers")
        .join(name);
    let stamp = std::fs::read_to_string(home.join("stamp")).unwrap_or_default();
    if !list.is_empty() && stamp.trim_end().ends_with(list.trim_end()) {
        return Some(home.join("bin"));
    }
    let missing = format!(
        "NOT RUN: {name}, listed in tests/peers, is not installed. `.ci/peers` does that; it takes Python 3.11 or newer."
    );
    let required = std::env::var("USHER_PEERS").is_ok_and(|value| value == "required");
    assert!(!required, "{missing}");
    say(&missing);
    None
}

/// A program of somebody else's. Killed when the test ends early.
pub(crate) struct Peer {
    child: Child,
    commands: Option<ChildStdin>,
    lines: UnboundedReceiver<String>,
    errors: Option<JoinHandle<String>>,
}

impl Peer {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            // A proxy of the machine's has no business between two programs on it.
            .env("NO_PROXY", "127.0.0.1")
            .env("PYTHONUTF8", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|why| panic!("{command:?}: {why}"));
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut stderr = child.stderr.take().expect("a pipe");
        let (sender, lines) = unbounded_channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let errors = std::thread::spawn(move || {
            let mut errors = Vec::new();
            let _cut = stderr.read_to_end(&mut errors);
            String::from_utf8_lossy(&errors).into_owned()
        });
        Self {
            commands: child.stdin.take(),
            child,
            lines,
            errors: Some(errors),
        }
    }

    /// The next line that it prints, if there is one before its end.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let next = tokio::time::timeout(LONG, self.lines.recv()).await;
        next.unwrap_or_else(|_| panic!("{:?} says nothing", self.child))
    }

    /// What it writes to standard error, all of it: it has ended, or is made to.
    pub(crate) fn complaint(&mut self) -> String {
        let _gone = self.child.kill();
        let errors = self.errors.take().expect("asked once");
        errors.join().expect("no panic")
    }

    /// Sends a command line, and has the line that answers it.
    async fn tell(&mut self, command: &Value) -> Value {
        let pipe = self.commands.as_mut().expect("it is open");
        let told = writeln!(pipe, "{command}");
        match (told, self.line().await) {
            (Ok(()), Some(line)) => serde_json::from_str(&line).expect("JSON"),
            _ => panic!("{command}: {}", self.complaint()),
        }
    }

    /// Runs it to its end: what it printed and its exit code.
    async fn run(mut self) -> (String, Option<i32>) {
        self.commands = None;
        let mut out = String::new();
        while let Some(line) = self.line().await {
            out.push_str(&line);
            out.push('\n');
        }
        // It has closed its output: it is ending.
        let code = self.child.wait().expect("a status").code();
        let errors = self.complaint();
        if !errors.is_empty() {
            say(&errors);
        }
        (out, code)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// What a suite found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    /// The check and why.
    failed: Vec<String>,
    skipped: usize,
}

impl Tally {
    /// Why the test fails: a check did, or fewer ran than the suite is known to have.
    fn verdict(&self, known: usize) -> Result<(), String> {
        if !self.failed.is_empty() {
            return Err(self.failed.join("\n"));
        }
        if self.passed < known {
            return Err(format!("it has {known} checks and ran {}", self.passed));
        }
        Ok(())
    }

    /// Prints the count and passes the verdict.
    fn judge(&self, suite: &str, known: usize) {
        say(&format!(
            "{suite}: {} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped
        ));
        if let Err(why) = self.verdict(known) {
            panic!("{suite}: {why}");
        }
    }
}

/// `scim2 test -v` prints a line for each check, STATUS TITLE, and below it, indented, why and what it was answered.
fn scim2_cli(out: &str) -> Tally {
    let mut tally = Tally::default();
    let mut failing = false;
    for line in out.lines() {
        if line.starts_with(' ') {
            if let (true, Some(failed)) = (failing, tally.failed.last_mut()) {
                failed.push_str(line);
            }
            continue;
        }
        failing = false;
        match line.split_once(' ').map_or(line, |(status, _)| status) {
            // RFC 2119: as a MUST, a SHOULD and a MAY have it.
            "SUCCESS" | "COMPLIANT" | "ACCEPTABLE" => tally.passed += 1,
            "SKIPPED" => tally.skipped += 1,
            "DEVIATION" | "ERROR" | "CRITICAL" => {
                tally.failed.push(line.to_owned());
                failing = true;
            }
            _ => {}
        }
    }
    tally
}

/// `scim-sanity probe --json-output` prints one JSON document. A warning is a failure here.
fn scim_sanity(out: &str) -> Tally {
    let mut tally = Tally::default();
    let report: Value =
        serde_json::from_str(out).unwrap_or_else(|why| panic!("no report: {why}: {out}"));
    for check in report["results"].as_array().expect("results") {
        match check["status"].as_str() {
            Some("pass") => tally.passed += 1,
            Some("skip") => tally.skipped += 1,
            _ => tally.failed.push(check.to_string()),
        }
    }
    tally
}

/// A gateway with Zoom behind it, by the machine's clock: nothing here moves another.
async fn house() -> House {
    House::with(Plan {
        real_time: true,
        ..Plan::default()
    })
    .await
}

const SUITES: &str = include_str!("../peers/suites.txt");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scim2_cli_finds_nothing() {
    let Some(programs) = programs("suites", SUITES) else {
        return;
    };
    let house = house().await;
    let mut command = Command::new(programs.join("scim2"));
    command
        .args(["--url", &house.base, "test", "-v"])
        .env("SCIM_CLI_HEADERS", format!("Authorization: Bearer {TOKEN}"));
    let (out, code) = Peer::start(&mut command).run().await;
    let tally = scim2_cli(&out);
    assert!(tally != Tally::default(), "no check ran: {out}");
    tally.judge("scim2-cli", 135);
    assert_eq!(code, Some(0), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scim_sanity_finds_nothing() {
    let Some(programs) = programs("suites", SUITES) else {
        return;
    };
    let house = house().await;
    let mut command = Command::new(programs.join("scim-sanity"));
    command.args(["probe", &house.base, "--token", TOKEN]);
    command.args(["--i-accept-side-effects", "--json-output"]);
    let (out, code) = Peer::start(&mut command).run().await;
    let tally = scim_sanity(&out);
    tally.judge("scim-sanity", 28);
    assert_eq!(code, Some(0), "{out}");
}

/// Canaille with the gateway as its application, and the gateway.
struct Pair {
    canaille: Peer,
    house: House,
    changes: usize,
}

impl Pair {
    /// Has Canaille change its database; its SCIM client follows at once, and warns of what it could not do.
    async fn change(&mut self, command: Value) {
        let answer = self.canaille.tell(&command).await;
        assert_eq!(answer, json!({"warnings": []}), "{command}");
        self.changes += 1;
    }

    /// The one resource that a filter finds.
    async fn one(&self, endpoint: &str, attribute: &str, value: &str) -> Option<Value> {
        let path = format!("/{endpoint}?filter={attribute}%20eq%20%22{value}%22");
        let list = self.house.ask("GET", &path, None).await.expect(200).body;
        let found = list["Resources"].as_array().expect("Resources");
        assert!(found.len() < 2, "{value} twice: {list}");
        found.first().cloned()
    }

    async fn user(&self, name: &str) -> Value {
        let user = self.one("Users", "userName", name).await;
        user.unwrap_or_else(|| panic!("no user {name}"))
    }

    async fn group(&self, name: &str) -> Value {
        let group = self.one("Groups", "displayName", name).await;
        group.unwrap_or_else(|| panic!("no group {name}"))
    }

    /// What Zoom has.
    async fn account(&self, name: &str) -> Value {
        self.house.settled().await;
        let account = self.house.sandbox.state().account(name);
        account.unwrap_or_else(|| panic!("no account {name}"))
    }
}

/// The ids of a group's members, sorted.
fn members(group: &Value) -> Vec<&str> {
    let members = group["members"].as_array().into_iter().flatten();
    let mut ids: Vec<&str> = members
        .filter_map(|member| member["value"].as_str())
        .collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canaille_provisions_people_and_groups() {
    let Some(programs) = programs("canaille", include_str!("../peers/canaille.txt")) else {
        return;
    };
    let house = house().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/drive_canaille.py");
    let mut command = Command::new(programs.join("python"));
    command
        .args([script, &house.base])
        .env("USHER_TOKEN", TOKEN);
    let canaille = Peer::start(&mut command);
    let mut pair = Pair {
        canaille,
        house,
        changes: 0,
    };

    pair.change(json!({"do": "create", "what": "User", "set": {
        "user_name": "ada", "given_name": "Ada", "family_name": "King", "formatted_name": "Ada King",
        "display_name": "Ada", "emails": ["ada@example.com", "a.king@example.com"], "phone_numbers": ["+44 20 7946 0001"],
        "street": "St James's Square 12", "locality": "London", "title": "Countess", "department": "Engines",
        "employee_number": "1815", "preferred_language": "en", "password": "correct horse battery staple"
    }}))
    .await;
    let ada = pair.user("ada").await;
    let enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    assert_eq!(
        ada["name"],
        json!({"formatted": "Ada King", "familyName": "King", "givenName": "Ada"})
    );
    assert_eq!(
        ada["emails"],
        json!([{"value": "ada@example.com"}, {"value": "a.king@example.com"}])
    );
    assert_eq!(ada["phoneNumbers"], json!([{"value": "+44 20 7946 0001"}]));
    assert_eq!(ada["addresses"][0]["locality"], "London");
    assert_eq!(ada[enterprise]["employeeNumber"], "1815");
    assert_eq!(ada[enterprise]["department"], "Engines");
    assert_eq!(
        (&ada["title"], &ada["active"]),
        (&json!("Countess"), &json!(true))
    );
    assert_eq!(ada["preferredLanguage"], "en");
    assert_eq!(ada.get("password"), None, "{ada}");
    assert!(
        ada["externalId"].is_string(),
        "Canaille finds her again by it"
    );
    assert_eq!(pair.account("ada@example.com").await["active"], true);

    // Canaille writes with PUT: what she has no longer goes.
    pair.change(json!({"do": "change", "what": "User", "name": "ada", "set": {
        "title": null, "emails": ["ada@example.com"], "family_name": "Lovelace", "formatted_name": "Ada Lovelace"
    }}))
    .await;
    let changed = pair.user("ada").await;
    assert_eq!(changed["id"], ada["id"]);
    assert_eq!(changed["name"]["familyName"], "Lovelace");
    assert_eq!(changed["emails"], json!([{"value": "ada@example.com"}]));
    assert_eq!(changed.get("title"), None, "{changed}");
    let account = pair.account("ada@example.com").await;
    assert_eq!(account["name"]["familyName"], "Lovelace");

    pair.change(json!({"do": "create", "what": "User", "set": {
        "user_name": "bob", "given_name": "Bob", "family_name": "Ray", "emails": ["bob@example.com"]
    }}))
    .await;
    let bob = pair.user("bob").await;
    pair.change(json!({"do": "create", "what": "Group", "set": {
        "display_name": "Engineers", "members": ["ada", "bob"]
    }}))
    .await;
    let engineers = pair.group("Engineers").await;
    let mut both = [&ada, &bob].map(|user| user["id"].as_str().expect("an id"));
    both.sort_unstable();
    assert_eq!(members(&engineers), both);
    assert_eq!(
        pair.user("bob").await["groups"][0]["value"],
        engineers["id"]
    );

    pair.change(
        json!({"do": "change", "what": "Group", "name": "Engineers", "set": {
            "display_name": "Analysts", "members": ["ada"]
        }}),
    )
    .await;
    let analysts = pair.group("Analysts").await;
    assert_eq!(analysts["id"], engineers["id"], "renamed, not made again");
    assert_eq!(members(&analysts), [ada["id"].as_str().expect("an id")]);
    assert_eq!(pair.one("Groups", "displayName", "Engineers").await, None);

    // A locked account is an inactive user, and comes back.
    for locked in [true, false] {
        pair.change(
            json!({"do": "change", "what": "User", "name": "ada", "set": {"locked": locked}}),
        )
        .await;
        assert_eq!(pair.user("ada").await["active"], !locked);
        assert_eq!(pair.account("ada@example.com").await["active"], !locked);
    }
    assert_eq!(
        members(&pair.group("Analysts").await),
        [ada["id"].as_str().expect("an id")],
        "a PUT of her leaves her groups alone"
    );

    pair.change(json!({"do": "delete", "what": "User", "name": "bob"}))
        .await;
    assert_eq!(pair.one("Users", "userName", "bob").await, None);
    // `delete_after` gives Zoom's administrator a week.
    assert_eq!(pair.account("bob@example.com").await["active"], false);
    pair.change(json!({"do": "delete", "what": "Group", "name": "Analysts"}))
        .await;
    assert_eq!(pair.one("Groups", "displayName", "Analysts").await, None);
    assert_eq!(pair.user("ada").await.get("groups"), None);
    say(&format!("canaille: {} passed, 0 failed", pair.changes));
}

#[test]
fn a_failed_check_is_read_as_one() {
    let out = "Performing a SCIM compliance check on http://x ...\nSUCCESS discovery\n  found\nERROR object_creation\n  \
               no 201\n  {'status': 500}\nSKIPPED bulk\nACCEPTABLE sort\nDEVIATION etag\n";
    assert_eq!(
        scim2_cli(out),
        Tally {
            passed: 2,
            failed: vec![
                String::from("ERROR object_creation  no 201  {'status': 500}"),
                String::from("DEVIATION etag"),
            ],
            skipped: 1,
        }
    );
    let out = r#"{"results": [{"name": "a", "status": "pass"}, {"name": "b", "status": "warn"},
                 {"name": "c", "status": "error"}, {"name": "d", "status": "skip"}]}"#;
    let tally = scim_sanity(out);
    assert_eq!((tally.passed, tally.failed.len(), tally.skipped), (1, 2, 1));
}

#[test]
fn a_suite_that_stops_early_has_failed() {
    let ran = |passed| Tally {
        passed,
        ..Tally::default()
    };
    assert_eq!(
        ran(27).verdict(28),
        Err(String::from("it has 28 checks and ran 27"))
    );
    assert_eq!(ran(28).verdict(28), Ok(()));
    let failed = Tally {
        failed: vec![String::from("a"), String::from("b")],
        ..ran(50)
    };
    assert_eq!(failed.verdict(28), Err(String::from("a\nb")));
}
