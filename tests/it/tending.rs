//! What is tried again, what is given up for a person to look at, and what that person can do: `usher retry`, `usher links`.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use usher::journal::report::Query;
use usher::provision::call::Method;
use usher::provision::link::{Origin, State};
use usher::sandbox::{Fault, Sandbox, What};
use usher::store::{Key, Tally};

use crate::house::{House, PATIENCE, Plan};

/// Longer than the ladder's last rung.
const RUNG: Duration = Duration::from_secs(8 * 3_600);
/// So many failures are the whole ladder.
const LADDER: usize = 9;

fn user(name: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name,
        "name": {"givenName": "Ada", "familyName": "King"}, "displayName": "Ada King", "active": true
    })
}

fn replace(path: &str, value: impl Into<Value>) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": path, "value": value.into()}]
    })
}

fn queued() -> Plan {
    Plan {
        application: String::from("delivery = \"queued\""),
        ..Plan::default()
    }
}

/// A user here with an account there: both ids.
async fn made(house: &House, name: &str) -> (String, String) {
    let made = house.ask("POST", "/Users", Some(&user(name))).await;
    let id = made.expect(201).id();
    house.settled().await;
    let account = house.sandbox.state().account(name).expect("an account");
    (id, account["id"].as_str().expect("an id").to_owned())
}

/// An account's path there as it is asked for: an id may hold what a path has to encode.
fn path_of(house: &House, account: &str) -> String {
    let path = format!("/Users/{account}");
    let decoded = |path: &str| {
        percent_encoding::percent_decode_str(path)
            .decode_utf8_lossy()
            .into_owned()
    };
    let mut calls = house.sandbox.state().calls().into_iter();
    let call = calls.find(|call| decoded(&call.path) == path);
    call.expect("it was read when it was made").path
}

fn refuse(house: &House, calls: usize, method: Method, account: &str) {
    house.sandbox.state().fail_next(Fault {
        calls: u32::try_from(calls).expect("few"),
        matching: Some((method, path_of(house, account))),
        what: What::Status {
            status: 400,
            retry_after: None,
            body: Some(json!({"status": "400", "detail": "The name is odd."}).to_string()),
        },
    });
}

fn calls(house: &House, method: &str, account: &str) -> usize {
    let path = path_of(house, account);
    let calls = house.sandbox.state().calls();
    let such = calls
        .iter()
        .filter(|call| call.method == method && call.path == path);
    such.count()
}

fn tally(house: &House) -> Tally {
    let engine = house.serving.gateway.engine().expect("it is open");
    let view = engine.store.view().expect("a view");
    view.tally("zoom").expect("a tally")
}

async fn usher(folder: &Path, line: &str) -> (Option<i32>, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_usher"));
    command.args(line.split(' '));
    command.arg("--socket").arg(folder.join("usher.sock"));
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = run.await.expect("no panic").expect("it runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

async fn display_name(house: &House, name: &str) -> Value {
    house.settled().await;
    house.sandbox.state().account(name).expect("an account")["displayName"].clone()
}

#[tokio::test]
async fn who_fails_to_the_end_is_left_alone_until_a_person_or_a_change_asks() {
    let house = House::with(queued()).await;
    let names = ["ada@x.example", "bob@x.example", "cat@x.example"];
    let mut people = Vec::new();
    for name in names {
        people.push(made(&house, name).await);
    }
    let (other, _) = made(&house, "dan@x.example").await;
    // Ada once more than the whole ladder: the retry that a person asks for fails, too.
    for ((_, account), calls) in people.iter().zip([LADDER + 1, LADDER, LADDER]) {
        refuse(&house, calls, Method::Put, account);
    }
    for (id, _) in &people {
        let change = replace("displayName", "Odd");
        let path = format!("/Users/{id}");
        house.ask("PATCH", &path, Some(&change)).await.expect(200);
    }
    house.settled().await;
    for rung in 1..LADDER {
        assert_eq!(tally(&house).quarantined, 0, "after {rung} failures");
        house.later(RUNG).await;
    }
    // A turn that came too late on a busy machine was no attempt.
    for _ in 0..LADDER {
        if tally(&house).quarantined < 3 {
            house.later(RUNG).await;
        }
    }
    assert_eq!((tally(&house).quarantined, tally(&house).overdue), (3, 0));
    // Durable, and nothing more is sent; for everybody else things go on.
    let house = house.restart().await;
    house.later(RUNG * 10).await;
    for (_, account) in &people {
        assert_eq!(calls(&house, "PUT", account), LADDER);
    }
    let change = replace("displayName", "Fine");
    let path = format!("/Users/{other}");
    house.ask("PATCH", &path, Some(&change)).await.expect(200);
    assert_eq!(display_name(&house, "dan@x.example").await, "Fine");

    let (code, out, _) = usher(house.folder(), "status").await;
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("zoom: quarantined accounts"), "{out}");
    let (code, out, _) = usher(house.folder(), "links --state quarantined --format json").await;
    assert_eq!(code, Some(0), "{out}");
    let rows: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(rows.len(), 3, "{out}");
    assert_eq!(rows[0]["stuck"]["code"], "refused", "{out}");
    assert_eq!(rows[0]["mark"]["due"], Value::Null, "{out}");
    let reason = rows[0]["stuck"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("The name is odd."), "{reason}");

    // A person asks: one call, and the ladder again from its foot.
    let line = "retry --application zoom --person ADA@x.example --format json";
    let (code, out, _) = usher(house.folder(), line).await;
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "{\"application\":\"zoom\",\"due\":1}\n")
    );
    house.settled().await;
    assert_eq!(calls(&house, "PUT", &people[0].1), LADDER + 1);
    assert_eq!(tally(&house).quarantined, 2);
    house.later(Duration::from_secs(2)).await;
    assert_eq!(display_name(&house, names[0]).await, "Odd");
    // A client's change is an attempt of its own.
    let change = replace("displayName", "Even");
    let path = format!("/Users/{}", people[1].0);
    house.ask("PATCH", &path, Some(&change)).await.expect(200);
    assert_eq!(display_name(&house, names[1]).await, "Even");
    assert_eq!(tally(&house).quarantined, 1);
    // So is another rule.
    let rule = "[[application.map.user]]\nto = \"displayName\"\nvalue = \"Ruled\"";
    house
        .reload(&Plan {
            tables: rule.to_owned(),
            ..queued()
        })
        .await;
    assert_eq!(display_name(&house, names[2]).await, "Ruled");
    assert_eq!(tally(&house).quarantined, 0);
    let (code, out, _) = usher(house.folder(), "status").await;
    assert_eq!(code, Some(0), "{out}");
    let (code, out, _) = usher(house.folder(), "retry --all").await;
    assert_eq!((code, out.as_str()), (Some(0), "zoom: 0 tried again now\n"));
    let (code, ..) = usher(house.folder(), "retry --all --application none").await;
    assert_eq!(code, Some(64));
}

#[tokio::test]
async fn a_removal_is_never_given_up_and_is_told_of() {
    let house = House::with(queued()).await;
    let (id, account) = made(&house, "ada@x.example").await;
    refuse(&house, LADDER + 3, Method::Patch, &account);
    let change = replace("active", false);
    let path = format!("/Users/{id}");
    house.ask("PATCH", &path, Some(&change)).await.expect(200);
    house.settled().await;
    for _ in 1..LADDER {
        house.later(RUNG).await;
    }
    let since = house.clock.now();
    for more in 0..3 {
        assert_eq!(calls(&house, "PATCH", &account), LADDER + more);
        assert_eq!((tally(&house).quarantined, tally(&house).overdue), (0, 1));
        house.later(RUNG).await;
    }
    let (code, out, _) = usher(house.folder(), "status").await;
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("zoom: removals that fail again and again"),
        "{out}"
    );
    let (_, out, _) = usher(house.folder(), "links --state overdue --format json").await;
    let row: Value = serde_json::from_str(&out).expect("one row");
    assert_eq!(
        row["stuck"]["since"],
        json!(since.0),
        "since it first was: {out}"
    );
    house.later(RUNG).await;
    let there = house.sandbox.state().account("ada@x.example");
    assert_eq!(there.expect("an account")["active"], false);
    assert_eq!(tally(&house).overdue, 0);
}

/// Lets the gateway's tasks run until `done`.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("{what} does not come"));
}

#[tokio::test]
async fn an_outage_costs_one_call_a_person_afterwards_and_is_nobodys_fault() {
    let house = House::new().await;
    let names = ["ada@x.example", "bob@x.example", "cat@x.example"];
    let mut ids = Vec::new();
    for name in names {
        ids.push(made(&house, name).await.0);
    }
    let House {
        sandbox,
        serving,
        clock,
        knock,
        ..
    } = house;
    let (address, state) = (sandbox.address(), sandbox.state().clone());
    sandbox.stop().await;
    for change in 1..=10 {
        for id in &ids {
            let change = replace("displayName", format!("Name {change}"));
            let path = format!("/Users/{id}");
            knock.ask("PATCH", &path, Some(&change)).await.expect(200);
        }
    }
    let engine = serving.gateway.engine().expect("open");
    let gate = &engine.applications[0].gate;
    let unanswered = || {
        let [light, medium] = gate.snapshot(clock.now()).calls;
        light[9] + medium[9]
    };
    // The last rung is the longest wait of anybody: each of these is one call that finds out, and none beside it.
    let mut asked = unanswered();
    for _ in 0..12 {
        clock.advance(RUNG);
        until("the call that finds out", || unanswered() > asked).await;
        asked += 1;
        assert_eq!(unanswered(), asked, "one at a time");
    }
    let tally = || {
        let view = engine.store.view().expect("a view");
        view.tally("zoom").expect("a tally")
    };
    assert_eq!((tally().quarantined, tally().marks), (0, 3));
    let before = state.calls().len();
    let sandbox = Sandbox::resume(address, state).expect("it is back on the same address");
    clock.advance(RUNG);
    until("the last change of each", || {
        tally().marks == 0 || {
            // The call that found out is followed by the others; who was tried last waits its rung.
            clock.advance(Duration::from_secs(1));
            false
        }
    })
    .await;
    for name in names {
        let account = sandbox.state().account(name).expect("an account");
        assert_eq!(account["displayName"], "Name 10");
    }
    let calls = sandbox.state().calls().split_off(before);
    let calls: Vec<&str> = calls.iter().map(|call| call.method.as_str()).collect();
    assert_eq!(calls, ["PUT"; 3]);
}

fn link(house: &House, name: &str) -> Option<usher::provision::link::Link> {
    let engine = house.serving.gateway.engine().expect("it is open");
    let view = engine.store.view().expect("a view");
    let handle = view.find(&Key::UserName(name)).expect("found")?;
    let resource = view.resource(handle).expect("read")?;
    resource.link("zoom").cloned()
}

#[tokio::test]
async fn links_are_listed_and_shown_with_a_gateway_and_without() {
    let secret = "[[application.map.user]]\nto = 'userType'\nfrom = '$.userType'\nredact = true";
    let house = House::with(Plan {
        tables: secret.to_owned(),
        ..queued()
    })
    .await;
    for name in ["ada@x.example", "adam@x.example", "bob@x.example"] {
        let mut user = user(name);
        user["userType"] = json!("Basic");
        house.ask("POST", "/Users", Some(&user)).await.expect(201);
    }
    house.settled().await;
    let folder = house.folder();
    let (code, out, err) = usher(folder, "links").await;
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("PERSON") && out.ends_with("3 shown\n"),
        "{out}"
    );
    assert_eq!(out.matches("active").count(), 3, "{out}");
    let (_, out, _) = usher(folder, "links --person ADA --format json").await;
    assert_eq!(out.lines().count(), 2, "{out}");
    for (line, rows) in [
        ("links --application zoom --state active --format json", 3),
        ("links --application none --format json", 0),
        ("links --state deactivated --format json", 0),
    ] {
        let (code, out, _) = usher(folder, line).await;
        assert_eq!(
            (code, out.lines().count()),
            (Some(0), rows),
            "{line}: {out}"
        );
    }
    // Page by page: everybody once.
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let (_, out, err) = usher(folder, &format!("links --limit 1 --format json{after}")).await;
        let rows = out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        seen.extend(rows.map(|row| row["person"].as_str().expect("a name").to_owned()));
        let Some((_, next)) = err.trim_end().split_once("--after ") else {
            break;
        };
        after = format!(" --after {next}");
    }
    assert_eq!(seen, ["ada@x.example", "adam@x.example", "bob@x.example"]);
    let (_, out, _) = usher(folder, "links show Ada@x.example").await;
    for part in [
        "origin       created",
        "sent         displayName = \"Ada King\"",
        "(redacted)",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains("Basic") && !out.contains("adam"), "{out}");

    house
        .restart_after(|folder| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_usher"));
            command.args(["links", "show", "ada@x.example", "--store"]);
            let output = command
                .arg(folder.join("usher.redb"))
                .output()
                .expect("it runs");
            let out = String::from_utf8_lossy(&output.stdout);
            let err = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{err}");
            assert!(
                out.contains("origin       created") && !out.contains("Ada King"),
                "{out}"
            );
            assert!(
                err.contains("directly; what was sent is not shown"),
                "{err}"
            );
        })
        .await;
}

#[tokio::test]
async fn a_link_is_forgotten_and_the_account_left_alone() {
    let house = House::with(queued()).await;
    let (id, account) = made(&house, "ada@x.example").await;
    let before = house.sandbox.state().calls().len();
    let (code, _, err) = usher(
        house.folder(),
        "links unlink --application zoom ada@x.example",
    )
    .await;
    assert_eq!(code, Some(64), "asks, and there is no terminal: {err}");
    let (code, _, err) = usher(
        house.folder(),
        "links unlink --yes --application zoom bob@x.example",
    )
    .await;
    assert_eq!(code, Some(64), "{err}");
    assert_eq!(
        link(&house, "ada@x.example")
            .expect("a link")
            .remote_id
            .as_deref(),
        Some(account.as_str())
    );

    // Who is inactive is not wanted there: the account stays, and nobody asks for it.
    let change = replace("active", false);
    let path = format!("/Users/{id}");
    refuse(&house, 1, Method::Patch, &account);
    house.ask("PATCH", &path, Some(&change)).await.expect(200);
    house.settled().await;
    let (code, out, err) = usher(
        house.folder(),
        "links unlink --yes --application zoom ada@x.example --format json",
    )
    .await;
    assert_eq!(code, Some(0), "{err}");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (&told["remote_id"], &told["next"]),
        (&json!(account), &Value::Null),
        "{out}"
    );
    house.later(RUNG).await;
    assert_eq!(link(&house, "ada@x.example"), None);
    assert_eq!(tally(&house).marks, 0);
    let there = house.sandbox.state().account("ada@x.example");
    assert_eq!(there.expect("an account")["active"], true);
    assert_eq!(
        house.sandbox.state().calls().len(),
        before + 1,
        "the one that was refused"
    );
    let rows = house.report(Query::default());
    let codes: Vec<_> = rows
        .iter()
        .map(|row| row.code.as_deref().unwrap_or_default())
        .collect();
    assert_eq!(codes[0], "unlinked", "{codes:?}");

    // Who belongs there is linked to it again.
    let change = replace("active", true);
    house.ask("PATCH", &path, Some(&change)).await.expect(200);
    house.settled().await;
    let found = link(&house, "ada@x.example").expect("a link");
    assert_eq!(
        (found.origin, found.remote_id.as_deref()),
        (Origin::Adopted, Some(account.as_str()))
    );
    let (_, out, _) = usher(
        house.folder(),
        "links unlink --yes --application zoom ada@x.example",
    )
    .await;
    assert!(out.contains("looked for and adopted"), "{out}");
}

#[tokio::test]
async fn an_account_that_was_made_anew_is_matched_again() {
    let house = House::with(queued()).await;
    let (_, account) = made(&house, "ada@x.example").await;
    let sandbox = stranger(&house);
    let token = [("authorization", format!("Bearer {}", house.sandbox.token()))];
    let gone = sandbox
        .send("DELETE", &format!("/Users/{account}"), &token, None)
        .await;
    assert_eq!(gone.expect("an answer").status, 204);
    let body = house
        .sandbox
        .state()
        .calls()
        .into_iter()
        .find_map(|call| (call.method == "POST").then_some(call.body).flatten());
    let kind = ("content-type", String::from("application/scim+json"));
    let [bearer] = token;
    let again = sandbox
        .send(
            "POST",
            "/Users",
            &[bearer, kind],
            Some(body.expect("a body").to_string()),
        )
        .await
        .expect("an answer");
    let anew = again.expect(201).id();
    assert_ne!(anew, account);
    // It is older than what is asked for next: found, and not made by us.
    house.later(Duration::from_secs(2)).await;
    let before = house.sandbox.state().calls().len();
    let (code, out, err) = usher(
        house.folder(),
        "links rematch --yes --application zoom ada@x.example",
    )
    .await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("looked up by its name"), "{out}");
    house.settled().await;
    let found = link(&house, "ada@x.example").expect("a link");
    assert_eq!((found.state, found.uncertain), (State::Active, None));
    assert_eq!(
        (found.origin, found.remote_id),
        (Origin::Adopted, Some(anew))
    );
    let calls = house.sandbox.state().calls().split_off(before);
    assert!(calls.iter().all(|call| call.method != "POST"), "{calls:?}");
    assert_eq!(house.sandbox.state().accounts().len(), 1);

    let house = house.restart_with(Plan {
        application: String::from("delivery = \"queued\"\nadopt = false"),
        ..Plan::default()
    });
    let house = house.await;
    let (code, _, err) = usher(
        house.folder(),
        "links rematch --yes --application zoom ada@x.example",
    )
    .await;
    assert_eq!(code, Some(64), "{err}");
    assert!(err.contains("adopt = false"), "{err}");
}

/// Asks the sandbox, as somebody else.
fn stranger(house: &House) -> crate::house::Knock {
    crate::house::Knock::at(house.sandbox.base_url())
}

#[tokio::test]
async fn what_is_held_is_not_tried_again_by_a_retry() {
    let house = House::with(Plan {
        tables: String::from("[application.safety]\nmax_removals = 0"),
        ..queued()
    })
    .await;
    let (id, account) = made(&house, "ada@x.example").await;
    let change = replace("active", false);
    let path = format!("/Users/{id}");
    house.ask("PATCH", &path, Some(&change)).await.expect(200);
    house.settled().await;
    assert_eq!(tally(&house).holds, 1);
    let (_, out, _) = usher(house.folder(), "retry --all").await;
    assert_eq!(out, "zoom: 0 tried again now\n");
    house.later(RUNG).await;
    assert_eq!(calls(&house, "PATCH", &account), 0);
}
