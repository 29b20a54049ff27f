//! What another configuration would have done with the same requests: told from the journal, with nothing sent.

mod groups;

use std::path::Path;
use std::time::Duration;

use redb::{Database, TableDefinition};
use serde_json::{Value, json};
use usher::sandbox::{Fault, What};

use crate::belonging::patch;
use crate::house::{House, Plan, text};

const CORE_USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a run said.
struct Said {
    lines: Vec<Value>,
    errors: String,
    code: Option<i32>,
}

impl Said {
    fn all(&self, kind: &str) -> Vec<&Value> {
        let lines = self.lines.iter();
        lines.filter(|line| line["line"] == kind).collect()
    }

    /// The one person of this name that is different.
    fn person(&self, name: &str) -> &Value {
        let people = self.all("person").into_iter();
        let mut found = people.filter(|line| line["user"] == name);
        let first = found.next();
        assert!(found.next().is_none(), "{name} once: {:?}", self.lines);
        first.unwrap_or_else(|| panic!("{name} is not in {:?} {}", self.lines, self.errors))
    }

    /// Then and now, of a deed or of a reason for none.
    fn count(&self, what: &str) -> (u64, u64) {
        let counts = self.all("count").into_iter();
        let mut found = counts.filter(|line| line["did"] == what || line["code"] == what);
        let count = |line: &Value, side: &str| line[side].as_u64().unwrap();
        found
            .next()
            .map_or((0, 0), |line| (count(line, "then"), count(line, "now")))
    }

    fn end(&self) -> &Value {
        self.lines.last().expect("a last line")
    }

    fn notes(&self) -> String {
        self.end()["notes"].to_string()
    }

    /// The same would have been done.
    fn is_the_same(&self) {
        assert_eq!(self.code, Some(0), "{:?} {}", self.lines, self.errors);
        assert!(self.all("unsaid").is_empty());
        self.differs_for_nobody();
    }

    /// The same would have been done, as far as it can be said.
    fn differs_for_nobody(&self) {
        assert!(self.all("person").is_empty(), "{:?}", self.lines);
        assert!(
            self.all("count")
                .iter()
                .all(|one| one["then"] == one["now"]),
            "{:?}",
            self.lines
        );
    }
}

/// Runs the binary in a folder where a gateway's socket or data file is.
fn run(folder: &Path, config: &str, more: &[&str]) -> Said {
    let file = folder.join("new.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_usher"));
    // What the configuration names as secrets is nowhere.
    command
        .args(["replay", "--format", "json", "--config"])
        .arg(file)
        .args(more)
        .env_remove("SANDBOX_TOKEN")
        .stdin(std::process::Stdio::null());
    let output = command.output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    Said {
        lines: lines.collect(),
        errors: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

/// The configuration of a plan, as a person would write it to another file.
fn written(house: &House, plan: &Plan) -> String {
    text(plan, &house.sandbox.base_url(), "127.0.0.1:0")
}

/// From `since` on, whatever the house's clock says, while its gateway runs. That sends nothing.
async fn replay(house: &House, config: &str, since: &str) -> Said {
    let (folder, config) = (house.folder().to_owned(), config.to_owned());
    let until = house.clock.now().plus(DAY).rfc3339();
    let since = since.to_owned();
    let calls = house.sandbox.state().calls().len();
    let said = tokio::task::spawn_blocking(move || {
        run(&folder, &config, &["--since", &since, "--until", &until])
    });
    let said = said.await.unwrap();
    assert_eq!(
        house.sandbox.state().calls().len(),
        calls,
        "nothing is sent"
    );
    said
}

async fn person(house: &House, name: &str, more: Value) -> String {
    let mut body = json!({
        "schemas": [CORE_USER], "userName": name, "displayName": "P",
        "name": {"givenName": "P", "familyName": "T"}, "active": true,
    });
    let more = more.as_object().cloned().unwrap_or_default();
    body.as_object_mut().unwrap().extend(more);
    let made = house.ask("POST", "/Users", Some(&body)).await;
    let id = made.expect(201).id();
    house.settled().await;
    id
}

async fn set(house: &House, id: &str, path: &str, value: Value) {
    let operations = json!([{"op": "replace", "path": path, "value": value}]);
    patch(house, &format!("/Users/{id}"), operations).await;
}

async fn delete(house: &House, id: &str) {
    let path = format!("/Users/{id}");
    house.ask("DELETE", &path, None).await.expect(204);
    house.settled().await;
}

/// A moment that parts what was from what comes.
async fn now(house: &House) -> String {
    house.later(Duration::from_secs(60)).await;
    house.clock.now().rfc3339()
}

const TITLE: &str = "[[application.map.user]]\nto = \"title\"\nfrom = \"$.title\"\n";

fn tables(tables: &str) -> Plan {
    Plan {
        tables: tables.to_owned(),
        ..Plan::default()
    }
}

/// Waits until what is due is settled, while the clock goes on: an application that failed is left alone for a while.
async fn in_time(house: &House) {
    let passing = async {
        loop {
            // Gives the gateway's tasks the machine; how long does not matter.
            tokio::time::sleep(Duration::from_millis(1)).await;
            house.clock.advance(Duration::from_secs(30));
        }
    };
    tokio::select! {
        () = house.settled() => {}
        () = passing => unreachable!("time does not end"),
    }
}

#[tokio::test]
async fn the_same_configuration_does_the_same_whatever_happened() {
    let plan = Plan {
        tables: format!(
            "[application.users]\ndelete_after = \"1d\"\nleave_after = \"1h\"\n{TITLE}[application.safety]\nmax_removals = 2\nprotected = [\"root@*\"]\n"
        ),
        application: String::from("condition = 'title ne \"Guest\"'\n"),
        ..Plan::default()
    };
    let house = House::with(plan.clone()).await;
    let before = person(&house, "before@example.com", json!({"title": "A"})).await;
    let left = person(&house, "left@example.com", json!({})).await;
    let since = now(&house).await;
    set(&house, &before, "title", json!("B")).await;
    set(&house, &before, "nickName", json!("not mapped")).await;
    set(&house, &left, "title", json!("Guest")).await;
    person(&house, "guest@example.com", json!({"title": "Guest"})).await;
    person(&house, "root@example.com", json!({})).await;
    let gone = person(&house, "gone@example.com", json!({})).await;
    let back = person(&house, "back@example.com", json!({})).await;
    let more = person(&house, "more@example.com", json!({})).await;
    let idle = person(&house, "idle@example.com", json!({"active": false})).await;
    delete(&house, &idle).await;
    set(&house, &back, "active", json!(false)).await;
    set(&house, &back, "active", json!(true)).await;
    delete(&house, &gone).await;
    // Over the limit: held.
    set(&house, &more, "active", json!(false)).await;
    // Down for a while: what is asked for meanwhile is one call later.
    house.sandbox.state().fail_next(Fault {
        calls: 3,
        matching: None,
        what: What::Status {
            status: 503,
            retry_after: None,
            body: None,
        },
    });
    let body = json!({
        "schemas": [CORE_USER], "userName": "waits@example.com", "displayName": "W",
        "name": {"givenName": "W", "familyName": "T"}, "active": true,
    });
    let waits = house.ask_in_time("POST", "/Users", Some(&body)).await;
    let waits = format!("/Users/{}", waits.expect(201).id());
    for title in ["C", "D"] {
        let operations = json!([{"op": "replace", "path": "title", "value": title}]);
        let body = json!({"schemas": [PATCH], "Operations": operations});
        let changed = house.ask_in_time("PATCH", &waits, Some(&body)).await;
        changed.expect(200);
    }
    in_time(&house).await;
    house.clock.advance(2 * DAY);
    in_time(&house).await;
    let said = replay(&house, &written(&house, &plan), &since).await;
    said.is_the_same();
    assert_eq!(said.end()["people"], 9, "{:?}", said.lines);
    assert_eq!(said.count("create"), (4, 4), "{:?}", said.lines);
    assert_eq!(said.count("protected"), (1, 1));
    assert_eq!(said.count("condition"), (1, 1));

    // And from the file, once it has stopped.
    let (mut stopped, config) = (None, written(&house, &plan));
    house
        .restart_after(|folder| {
            let more = ["--since", &since, "--until", "2027-12-01"];
            stopped = Some(run(folder, &config, &more));
        })
        .await;
    let stopped = stopped.unwrap();
    stopped.is_the_same();
    assert_eq!(stopped.lines, said.lines);
    assert!(stopped.errors.contains("directly"), "{}", stopped.errors);
}

#[tokio::test]
async fn a_narrower_domain_gives_no_account_and_takes_one_away() {
    let house = House::new().await;
    let partner = person(&house, "old@partner.com", json!({})).await;
    let since = now(&house).await;
    person(&house, "jane@example.com", json!({})).await;
    person(&house, "guest@partner.com", json!({})).await;
    set(&house, &partner, "displayName", json!("Q")).await;
    let narrow = Plan {
        application: String::from("authorized_domains = [\"example.com\"]"),
        ..Plan::default()
    };
    let said = replay(&house, &written(&house, &narrow), &since).await;
    assert_eq!(said.code, Some(1), "{}", said.errors);
    let guest = said.person("guest@partner.com");
    assert_eq!(guest["then"]["did"], json!(["create"]));
    assert_eq!(guest["now"]["did"], json!([]));
    assert_eq!(guest["now"]["code"], "foreign_domain");
    assert!(
        guest["now"]["reason"]
            .as_str()
            .unwrap()
            .contains("partner.com")
    );
    let old = said.person("old@partner.com");
    assert_eq!(old["then"]["did"], json!(["update"]));
    assert_eq!(old["now"]["did"], json!(["deactivate"]));
    assert_eq!(said.all("person").len(), 2, "jane is as she was");
    assert_eq!(said.count("create"), (2, 1));
    assert_eq!(said.count("update"), (1, 0));
    assert_eq!(said.count("deactivate"), (0, 1));
    assert_eq!(said.count("foreign_domain"), (0, 1));
    assert_eq!(said.end()["differ"], 2);
    assert_eq!(said.end()["people"], 3);

    // People read the same.
    let (folder, until) = (house.folder().to_owned(), house.clock.now().plus(DAY));
    let told = tokio::task::spawn_blocking(move || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_usher"))
            .args(["replay", "--since", &since, "--until", &until.rfc3339()])
            .arg("--config")
            .arg(folder.join("new.toml"))
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    });
    let told = told.await.unwrap();
    for part in [
        "zoom                                 THEN      NOW\n  create                                2        1\n",
        "Different for 2 of 3 people:\n",
        "  guest@partner.com  zoom: then create, now nothing (foreign_domain)\n",
        "domain partner.com",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[tokio::test]
async fn a_wider_domain_gives_accounts_and_who_was_refused_is_not_known() {
    let narrow = |more: &str| Plan {
        application: format!("authorized_domains = [\"example.com\"]\n{more}"),
        ..Plan::default()
    };
    let house = House::with(narrow("")).await;
    let since = now(&house).await;
    let guest = person(&house, "guest@partner.com", json!({})).await;
    set(&house, &guest, "displayName", json!("Q")).await;
    let said = replay(&house, &written(&house, &Plan::default()), &since).await;
    let told = said.person("guest@partner.com");
    assert_eq!(told["then"]["code"], "foreign_domain");
    assert_eq!(told["now"]["did"], json!(["create", "update"]));

    let refusing = narrow("out_of_scope = \"refuse\"");
    let said = replay(&house, &written(&house, &refusing), &since).await;
    let told = said.person("guest@partner.com");
    assert_eq!(told["now"]["code"], "refused");
    house.reload(&refusing).await;
    let body = json!({"schemas": [CORE_USER], "userName": "shut@partner.com", "name": {"givenName": "S", "familyName": "S"}});
    house.ask("POST", "/Users", Some(&body)).await.expect(403);
    let said = replay(&house, &written(&house, &Plan::default()), &since).await;
    let unsaid = said.all("unsaid");
    assert_eq!(unsaid.len(), 1, "{:?}", said.lines);
    assert_eq!(unsaid[0]["user"], "shut@partner.com");
    assert!(
        unsaid[0]["reason"]
            .as_str()
            .unwrap()
            .contains("refused then")
    );
}

#[tokio::test]
async fn a_changed_rule_is_told_attribute_by_attribute() {
    let house = House::with(tables(TITLE)).await;
    let since = now(&house).await;
    person(&house, "ada@example.com", json!({"title": "Countess"})).await;
    person(&house, "bob@example.com", json!({})).await;
    let changed = tables(&format!("{TITLE}transform = [\"upper\"]\n"));
    let said = replay(&house, &written(&house, &changed), &since).await;
    assert_eq!(said.code, Some(1), "{}", said.errors);
    assert_eq!(said.all("person").len(), 1);
    let ada = said.person("ada@example.com");
    assert_eq!(ada["then"]["did"], ada["now"]["did"]);
    assert_eq!(
        ada["attributes"],
        json!([{"attribute": "title", "then": "Countess", "now": "COUNTESS"}])
    );
    // What is redacted is not shown here either.
    let redacted = tables(&format!("{TITLE}transform = [\"upper\"]\nredact = true\n"));
    let said = replay(&house, &written(&house, &redacted), &since).await;
    let ada = said.person("ada@example.com");
    assert_eq!(ada["attributes"], json!([{"attribute": "title"}]));
    // A rule more makes a call of what needed none.
    let since = now(&house).await;
    let eve = person(&house, "eve@example.com", json!({})).await;
    set(&house, &eve, "nickName", json!("E")).await;
    let nick = tables(&format!(
        "{TITLE}[[application.map.user]]\nto = \"nickName\"\nfrom = \"$.nickName\"\n"
    ));
    let said = replay(&house, &written(&house, &nick), &since).await;
    let eve = said.person("eve@example.com");
    assert_eq!(eve["then"]["did"], json!(["create"]));
    assert_eq!(eve["now"]["did"], json!(["create", "update"]));
    assert_eq!(eve["attributes"][0]["now"], "E");
}

#[tokio::test]
async fn an_application_comes_and_another_is_gone() {
    let house = House::new().await;
    let since = now(&house).await;
    person(&house, "ada@example.com", json!({})).await;
    let text = written(&house, &Plan::default());
    let more = "[[application]]\nname = \"wiki\"\nprofile = \"scim\"\nbase_url = \"https://wiki.example.com/scim\"\ncredentials = { kind = \"bearer\", token = { file = \"/nowhere/token\" } }\nca = \"/nowhere/ca.pem\"\n";
    let said = replay(&house, &format!("{text}{more}"), &since).await;
    assert_eq!(said.code, Some(1), "{}", said.errors);
    let ada = said.person("ada@example.com");
    assert_eq!(ada["application"], "wiki");
    assert_eq!(ada["then"], json!({"did": []}));
    assert_eq!(ada["now"]["did"], json!(["create"]));

    let other = text.replace("name = \"zoom\"", "name = \"meet\"");
    let said = replay(&house, &other, &since).await;
    let told: Vec<_> = said.all("person");
    assert_eq!(told.len(), 2, "{:?}", said.lines);
    let zoom = told.iter().find(|line| line["application"] == "zoom");
    let zoom = zoom.expect("what was done there is told");
    assert_eq!(zoom["then"]["did"], json!(["create"]));
    assert_eq!(zoom["now"]["code"], "not_configured");
}

#[tokio::test]
async fn switches_and_what_a_removal_is_are_replayed() {
    let house = House::new().await;
    let since = now(&house).await;
    let ada = person(&house, "ada@example.com", json!({})).await;
    set(&house, &ada, "active", json!(false)).await;
    let bob = person(&house, "bob@example.com", json!({})).await;
    delete(&house, &bob).await;
    let off = tables("[application.users]\ndelete = false\n");
    let said = replay(&house, &written(&house, &off), &since).await;
    assert_eq!(said.count("create"), (2, 2), "{:?}", said.lines);
    let ada = said.person("ada@example.com");
    assert_eq!(ada["then"]["did"], json!(["create", "deactivate"]));
    assert_eq!(ada["now"]["did"], json!(["create"]));
    assert_eq!(ada["now"]["code"], "delete_off");
    said.person("bob@example.com");

    let gone = tables("[application.users]\non_delete = \"delete\"\ndelete_after = \"1h\"\n");
    let said = replay(&house, &written(&house, &gone), &since).await;
    assert_eq!(said.all("person").len(), 1, "{:?}", said.lines);
    let bob = said.person("bob@example.com");
    assert_eq!(bob["now"]["did"], json!(["create", "deactivate", "delete"]));
}

#[tokio::test]
async fn what_is_redacted_is_said_where_it_matters() {
    let redacted = tables(&format!("{TITLE}redact = true\n"));
    let house = House::with(redacted.clone()).await;
    let twice = person(&house, "twice@example.com", json!({"title": "One"})).await;
    let since = now(&house).await;
    set(&house, &twice, "title", json!("Two")).await;
    set(&house, &twice, "displayName", json!("T")).await;
    set(&house, &twice, "title", json!("Three")).await;
    // Known: it is as it was written, and nobody has changed it since.
    person(&house, "once@example.com", json!({"title": "Four"})).await;
    let said = replay(&house, &written(&house, &redacted), &since).await;
    assert_eq!(said.code, Some(1), "{}", said.errors);
    assert!(said.all("person").is_empty(), "{:?}", said.lines);
    let unsaid = said.all("unsaid");
    assert_eq!(unsaid.len(), 1, "{:?}", said.lines);
    assert_eq!(unsaid[0]["user"], "twice@example.com");
    assert_eq!(unsaid[0]["application"], "zoom");
    assert_eq!(unsaid[0]["reason"], "the journal does not show title");
    assert_eq!(said.count("create"), (1, 1));
    for secret in ["One", "Two", "Three", "Four"] {
        assert!(!format!("{:?}", said.lines).contains(secret), "{secret}");
    }
    // Of no account to who does not read it.
    let said = replay(&house, &written(&house, &Plan::default()), &since).await;
    assert!(said.all("unsaid").is_empty(), "{:?}", said.lines);
}

#[tokio::test]
async fn a_journal_with_records_missing_is_told() {
    let house = House::new().await;
    let since = now(&house).await;
    let ada = person(&house, "ada@example.com", json!({})).await;
    set(&house, &ada, "displayName", json!("A")).await;
    set(&house, &ada, "displayName", json!("B")).await;
    let bob = person(&house, "bob@example.com", json!({})).await;
    set(&house, &bob, "displayName", json!("C")).await;
    let config = written(&house, &Plan::default());
    let mut said = Vec::new();
    house
        .restart_after(|folder| {
            let more = ["--since", &since, "--until", "2027-12-01"];
            // The first record, and one between two others.
            for gone in [1, 2] {
                prune(&folder.join("usher.redb"), gone);
                said.push(run(folder, &config, &more));
            }
        })
        .await;
    let [first, second] = &said[..] else {
        panic!("two runs")
    };
    first.is_the_same();
    assert!(
        first.notes().contains("the journal begins at"),
        "{}",
        first.notes()
    );
    assert_eq!(first.count("create"), (1, 1));
    assert!(second.all("person").is_empty());

    let house = House::new().await;
    let ada = person(&house, "ada@example.com", json!({})).await;
    set(&house, &ada, "displayName", json!("A")).await;
    set(&house, &ada, "displayName", json!("B")).await;
    let mut said = None;
    house
        .restart_after(|folder| {
            prune(&folder.join("usher.redb"), 2);
            said = Some(run(
                folder,
                &config,
                &["--since", "2026-01-01", "--until", "2027-12-01"],
            ));
        })
        .await;
    let said = said.unwrap();
    let unsaid = said.all("unsaid");
    assert_eq!(unsaid.len(), 1, "{:?}", said.lines);
    assert!(
        unsaid[0]["reason"]
            .as_str()
            .unwrap()
            .contains("records are missing")
    );
    assert_eq!(said.code, Some(1));
}

/// Takes a record out of the journal of a data file that nobody has open.
fn prune(file: &Path, sequence: u64) {
    const JOURNAL: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("journal");
    let database = Database::open(file).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut journal = transaction.open_table(JOURNAL).unwrap();
    assert!(journal.remove(sequence).unwrap().is_some());
    drop(journal);
    transaction.commit().unwrap();
}

#[tokio::test]
async fn mistakes_are_told_and_nothing_is_asked() {
    let house = House::new().await;
    let text = written(&house, &Plan::default());
    let said = replay(
        &house,
        &text.replace("profile = \"zoom\"", "profile = \"zom\""),
        "7d",
    )
    .await;
    assert_eq!(said.code, Some(64));
    assert!(said.errors.contains("new.toml:"), "{}", said.errors);
    assert!(
        said.errors.contains("application[0].profile"),
        "{}",
        said.errors
    );
    for (since, told) in [("soon", "--since"), ("2030-01-01", "not before --until")] {
        let said = replay(&house, &text, since).await;
        assert_eq!(said.code, Some(64));
        assert!(said.errors.contains(told), "{}", said.errors);
    }
    // Nothing there is nothing different.
    let said = replay(&house, &text, "2026-01-01").await;
    said.is_the_same();
    assert_eq!(said.end()["records"], 0);
    let folder = tempfile::tempdir().unwrap();
    let said = run(folder.path(), &text, &["--since", "7d"]);
    assert_eq!(said.code, Some(66), "{}", said.errors);
}
