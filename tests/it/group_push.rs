//! Groups that exist in the application too: created, renamed, filled, emptied and deleted there, whatever gets lost on
//! the way.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use usher::journal::report::Query;
use usher::provision::call::Method;
use usher::sandbox::{Fault, Options, What};
use usher::scim::Kind;

use crate::house::{House, Plan};

const CORE_GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const CORE_USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// A plan that pushes what the globs name; `more` are further tables.
fn pushing(push: &str, more: &str) -> Plan {
    Plan {
        tables: format!("[application.groups]\npush = {push}\n{more}"),
        ..Plan::default()
    }
}

async fn user(house: &House, name: &str) -> String {
    let body = json!({
        "schemas": [CORE_USER], "userName": format!("{name}@example.com"), "displayName": name,
        "name": {"givenName": name, "familyName": "Test"},
        "emails": [{"value": format!("{name}@example.com"), "type": "work", "primary": true}],
        "active": true,
    });
    house
        .ask("POST", "/Users", Some(&body))
        .await
        .expect(201)
        .id()
}

async fn group(house: &House, name: &str, members: &[&str]) -> String {
    let members: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
    let body = json!({ "schemas": [CORE_GROUP], "displayName": name, "members": members });
    house
        .ask("POST", "/Groups", Some(&body))
        .await
        .expect(201)
        .id()
}

async fn patch(house: &House, id: &str, operations: Value) {
    let body = json!({ "schemas": [PATCH], "Operations": operations });
    let answer = house
        .ask("PATCH", &format!("/Groups/{id}"), Some(&body))
        .await;
    assert!(answer.status < 300, "{answer:?}");
}

async fn add(house: &House, id: &str, members: &[&str]) {
    let members: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
    patch(
        house,
        id,
        json!([{"op": "add", "path": "members", "value": members}]),
    )
    .await;
}

async fn remove(house: &House, id: &str, members: &[&str]) {
    let operations: Vec<Value> = members
        .iter()
        .map(|id| json!({"op": "remove", "path": format!("members[value eq \"{id}\"]")}))
        .collect();
    patch(house, id, Value::Array(operations)).await;
}

async fn rename(house: &House, id: &str, name: &str) {
    patch(
        house,
        id,
        json!([{"op": "replace", "path": "displayName", "value": name}]),
    )
    .await;
}

/// The names of the group's members there: the part before the @.
fn members(house: &House, group: &str) -> Vec<String> {
    let (_, ids) = house
        .sandbox
        .state()
        .group(group)
        .unwrap_or_else(|| panic!("no group {group} there"));
    let ids: BTreeSet<String> = ids.into_iter().collect();
    let accounts = house.sandbox.state().accounts();
    let mut names: Vec<String> = accounts
        .into_iter()
        .filter(|account| ids.contains(&account.id))
        .map(|account| {
            let name = account.user["userName"].as_str().unwrap();
            name.split('@').next().unwrap().to_owned()
        })
        .collect();
    names.sort();
    names
}

/// Calls about groups since the last count: method and path, ids left out.
fn calls(house: &House, from: usize) -> Vec<String> {
    house.sandbox.state().calls()[from..]
        .iter()
        .filter(|call| call.path.starts_with("/Groups"))
        .map(|call| {
            let path = if call.path == "/Groups" {
                "/Groups"
            } else {
                "/Groups/id"
            };
            format!("{} {path}", call.method)
        })
        .collect()
}

fn so_far(house: &House) -> usize {
    house.sandbox.state().calls().len()
}

/// Lets time pass until nothing is left to do, a retry an hour away included.
async fn converge(house: &House) {
    for _ in 0..12 {
        house.later(Duration::from_secs(700)).await;
    }
}

fn fail(house: &House, method: Method, path: &str, what: What) {
    house.sandbox.state().fail_next(Fault {
        calls: 1,
        matching: Some((method, path.to_owned())),
        what,
    });
}

/// The report's rows about groups: operation, status, code; oldest first.
fn told(house: &House) -> Vec<(String, String, String)> {
    let rows = house.report(Query::default());
    let mut told: Vec<_> = rows
        .into_iter()
        .filter(|row| row.kind == Kind::Group && row.application.is_some())
        .map(|row| {
            (
                format!("{:?}", row.operation).to_lowercase(),
                format!("{:?}", row.status).to_lowercase(),
                row.code.unwrap_or_default(),
            )
        })
        .collect();
    told.reverse();
    told
}

fn row(operation: &str, status: &str, code: &str) -> (String, String, String) {
    (operation.into(), status.into(), code.into())
}

#[tokio::test]
async fn a_group_lives_there_as_it_lives_here() {
    let house = House::with(pushing("[\"zoom-*\"]", "")).await;
    let (ada, bob) = (user(&house, "ada").await, user(&house, "bob").await);
    let start = so_far(&house);
    let id = group(&house, "Zoom-Staff", &[&ada]).await;
    let other = group(&house, "Others", &[&ada, &bob]).await;
    house.settled().await;
    assert_eq!(members(&house, "Zoom-Staff"), ["ada"]);
    assert!(house.sandbox.state().group("Others").is_none());
    assert_eq!(
        calls(&house, start),
        ["GET /Groups", "POST /Groups", "PATCH /Groups/id"]
    );

    // Nothing changed, nothing goes.
    let start = so_far(&house);
    add(&house, &id, &[&ada]).await;
    rename(&house, &id, "Zoom-Staff").await;
    add(&house, &other, &[&bob]).await;
    house.settled().await;
    assert_eq!(calls(&house, start), [""; 0]);

    add(&house, &id, &[&bob]).await;
    house.settled().await;
    assert_eq!(members(&house, "Zoom-Staff"), ["ada", "bob"]);
    assert_eq!(calls(&house, start), ["PATCH /Groups/id"]);

    let there = house.sandbox.state().group("Zoom-Staff").unwrap().0;
    rename(&house, &id, "Zoom-People").await;
    remove(&house, &id, &[&ada]).await;
    house.settled().await;
    assert_eq!(house.sandbox.state().group("Zoom-People").unwrap().0, there);
    assert_eq!(members(&house, "Zoom-People"), ["bob"]);

    house
        .ask("DELETE", &format!("/Groups/{id}"), None)
        .await
        .expect(204);
    house.settled().await;
    assert!(house.sandbox.state().group("Zoom-People").is_none());
    let engine = house.serving.gateway.engine().unwrap();
    let view = engine.store.view().unwrap();
    assert_eq!(view.mark_count("zoom").unwrap(), 0);
    assert_eq!(view.groups_in("zoom").unwrap(), []);
    drop(view);

    let told = told(&house);
    for wanted in [
        row("create", "success", ""),
        row("membership", "success", ""),
        row("update", "success", ""),
        row("delete", "success", ""),
        row("create", "skipped", "not_pushed"),
    ] {
        assert!(told.contains(&wanted), "{wanted:?} is not in {told:?}");
    }
}
