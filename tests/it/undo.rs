//! What a client did by mistake is undone: people, licences and all, at the pace of the queue.

mod created;
mod groups;
mod kill;
mod since;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use usher::journal::report::Query;

use crate::house::{House, Plan};

const CORE_USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
const LICENCES: &str = "urn:ietf:params:scim:schemas:extension:zoom:1.0:User";

const TABLES: &str = r#"
[application.safety]
max_removals = 50
[[application.map.user]]
to = "userType"
from = "$.userType"
table = { Employee = "Licensed", Intern = "Basic" }
[[application.map.user]]
to = "urn:ietf:params:scim:schemas:extension:zoom:1.0:User:zoomWhiteboard"
value = true
"#;

async fn people(house: &House, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        let body = json!({
            "schemas": [CORE_USER], "userName": format!("p{number:02}@example.com"), "displayName": format!("P {number}"),
            "name": {"givenName": "P", "familyName": number.to_string()}, "userType": "Employee", "active": true,
        });
        let made = house.ask("POST", "/Users", Some(&body)).await;
        ids.push(made.expect(201).id());
    }
    house.settled().await;
    ids
}

async fn replace(house: &House, id: &str, path: &str, value: Value) {
    let body = json!({"schemas": [PATCH], "Operations": [{"op": "replace", "path": path, "value": value}]});
    let path = format!("/Users/{id}");
    house.ask("PATCH", &path, Some(&body)).await.expect(200);
}

/// A moment behind all that was written so far.
fn until(house: &House) -> String {
    house.clock.now().plus(Duration::from_secs(1)).rfc3339()
}

/// Runs the command against the house's socket. Its lines, and its exit code.
async fn undo(house: &House, since: &str, until: &str, more: &[&str]) -> (Vec<Value>, Option<i32>) {
    let more: Vec<String> = [&["--since", since, "--until", until], more]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    run(house.folder(), &more).await
}

/// The same against the socket in any folder.
async fn run(folder: &Path, more: &[String]) -> (Vec<Value>, Option<i32>) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_usher"));
    command
        .args(["undo", "--client", "okta", "--format", "json"])
        .arg("--socket")
        .arg(folder.join("usher.sock"))
        .args(more)
        .stdin(std::process::Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (lines.collect(), output.status.code())
}

fn count(lines: &[Value], step: &str) -> usize {
    lines.iter().filter(|line| line["step"] == step).count()
}

/// How many members are put in, and taken out.
fn moved(lines: &[Value]) -> (u64, u64) {
    let sum = |name: &str| lines.iter().filter_map(|line| line[name].as_u64()).sum();
    (sum("put_in"), sum("taken_out"))
}

fn done(lines: &[Value]) -> usize {
    lines.iter().filter(|line| line["done"] == true).count()
}

/// How many accounts are active with the licences that are mapped.
fn licensed(house: &House) -> usize {
    let accounts = house.sandbox.state().accounts().into_iter();
    accounts
        .filter(|account| {
            account.user["active"] == true
                && account.user["userType"] == "Licensed"
                && account.user[LICENCES]["zoomWhiteboard"] == true
        })
        .count()
}

#[tokio::test]
async fn thirty_of_forty_come_back_with_their_licences_and_the_second_time_nothing_is_left() {
    let house = House::with(Plan {
        tables: TABLES.to_owned(),
        ..Plan::default()
    })
    .await;
    let ids = people(&house, 40).await;
    assert_eq!(licensed(&house), 40);
    house.later(Duration::from_secs(60)).await;
    let since = house.clock.now().rfc3339();
    for id in &ids[..30] {
        replace(&house, id, "active", json!(false)).await;
    }
    for id in &ids[30..33] {
        let path = format!("/Users/{id}");
        house.ask("DELETE", &path, None).await.expect(204);
    }
    house.settled().await;
    assert_eq!(licensed(&house), 7);

    let (shown, code) = undo(&house, &since, &until(&house), &[]).await;
    assert_eq!(
        (count(&shown, "restore"), count(&shown, "recreate")),
        (30, 3)
    );
    assert_eq!((done(&shown), code), (0, Some(0)));
    assert_eq!(licensed(&house), 7, "showing changes nothing");

    let (undone, code) = undo(&house, &since, &until(&house), &["--yes"]).await;
    assert_eq!((undone.len(), done(&undone), code), (33, 33, Some(0)));
    house.settled().await;
    assert_eq!(licensed(&house), 40, "all are back, licences included");
    let rows = house.report(Query {
        client: Some(String::from("undo")),
        ..Query::default()
    });
    assert_eq!(rows.len(), 33);

    let calls = house.sandbox.state().calls().len();
    let (again, code) = undo(&house, &since, &until(&house), &["--yes"]).await;
    assert_eq!((count(&again, "nothing"), done(&again)), (33, 0));
    assert_eq!(code, Some(0));
    house.settled().await;
    assert_eq!(house.sandbox.state().calls().len(), calls);

    // They are the client's own, as they were.
    replace(&house, &ids[0], "displayName", json!("Mine")).await;
}

#[tokio::test]
async fn what_was_changed_since_or_is_not_shown_is_told_and_left() {
    let redacted = format!(
        "{TABLES}\n[[application.map.user]]\nto = \"title\"\nfrom = \"$.title\"\nredact = true\n"
    );
    let house = House::with(Plan {
        tables: redacted,
        ..Plan::default()
    })
    .await;
    let ids = people(&house, 4).await;
    house.later(Duration::from_secs(60)).await;
    let since = house.clock.now().rfc3339();
    replace(&house, &ids[0], "displayName", json!("Wrong")).await;
    replace(&house, &ids[0], "active", json!(false)).await;
    replace(&house, &ids[1], "title", json!("Secret")).await;
    replace(&house, &ids[2], "active", json!(false)).await;
    let body = json!({"schemas": [CORE_USER], "userName": "new@example.com", "name": {"givenName": "N", "familyName": "N"}});
    house.ask("POST", "/Users", Some(&body)).await.expect(201);
    house.settled().await;
    let until = until(&house);
    house.later(Duration::from_secs(60)).await;
    // After the span: hers is not what these writes left any more.
    replace(&house, &ids[0], "displayName", json!("Right")).await;
    house.settled().await;

    let (undone, code) = undo(&house, &since, &until, &["--yes"]).await;
    assert_eq!((undone.len(), code), (4, Some(0)));
    let told = |id: &String| {
        let mut lines = undone.iter();
        lines.find(|line| line["id"] == **id).unwrap().clone()
    };
    let first = told(&ids[0]);
    assert_eq!(
        (&first["step"], &first["done"]),
        (&json!("restore"), &json!(true))
    );
    assert_eq!(first["attributes"], json!(["active"]));
    assert_eq!(first["reason"], "changed since: displayName");
    let second = told(&ids[1]);
    assert_eq!(second["step"], "not_undone");
    assert_eq!(second["reason"], "the journal does not show title");
    assert_eq!(told(&ids[2])["done"], true);
    let made = undone.iter().find(|line| line["user"] == "new@example.com");
    assert_eq!(made.unwrap()["step"], "not_undone");
    let read = house.ask("GET", &format!("/Users/{}", ids[0]), None).await;
    assert_eq!(read.body["displayName"], "Right");
    assert_eq!(read.body["active"], true);
    house.settled().await;
    // The new one is no Employee, and as active as they are.
    assert_eq!(licensed(&house), 4);
}

#[tokio::test]
async fn a_name_is_given_up_before_it_is_taken() {
    // Nobody has an account: the application has a say in names, too.
    let house = House::with(crate::belonging::plan(&["Nobody"], TABLES)).await;
    let ids = people(&house, 2).await;
    house.later(Duration::from_secs(60)).await;
    let since = house.clock.now().rfc3339();
    let path = format!("/Users/{}", ids[0]);
    house.ask("DELETE", &path, None).await.expect(204);
    house.settled().await;
    replace(&house, &ids[1], "userName", json!("p00@example.com")).await;
    house.settled().await;
    let both = |lines: &[Value]| (count(lines, "restore"), count(lines, "recreate"));
    let (shown, _) = undo(&house, &since, &until(&house), &[]).await;
    assert_eq!(both(&shown), (1, 1), "{shown:?}");
    let (undone, code) = undo(&house, &since, &until(&house), &["--yes"]).await;
    assert_eq!((both(&undone), done(&undone), code), ((1, 1), 2, Some(0)));
    let read = house.ask("GET", &format!("/Users/{}", ids[1]), None).await;
    assert_eq!(read.body["userName"], "p01@example.com");
    let all = house.ask("GET", "/Users", None).await;
    assert_eq!(all.body["totalResults"], 2);
}
