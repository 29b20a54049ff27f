//! Who belongs in an application by groups: in with the first, out with the last, and no slip that empties it.

use std::time::Duration;

use serde_json::{Value, json};
use usher::journal::report::Query;

use crate::house::{House, Plan};

const CORE_GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const CORE_USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
const BULK: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";

/// Members of these groups belong.
fn policies(groups: &[&str]) -> String {
    let policy = |group: &&str| {
        format!("[[application.policy]]\nname = \"for {group}\"\ngroup = \"{group}\"\n")
    };
    groups.iter().map(policy).collect()
}

pub(crate) fn plan(groups: &[&str], more: &str) -> Plan {
    Plan {
        tables: format!("{more}\n{}", policies(groups)),
        ..Plan::default()
    }
}

async fn user(house: &House, name: &str) -> String {
    let body = json!({
        "schemas": [CORE_USER], "userName": format!("{name}@example.com"), "displayName": name,
        "name": {"givenName": name, "familyName": "Test"}, "active": true,
    });
    let made = house.ask("POST", "/Users", Some(&body)).await;
    made.expect(201).id()
}

pub(crate) async fn users(house: &House, prefix: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(user(house, &format!("{prefix}{number}")).await);
    }
    ids
}

fn values(members: &[&str]) -> Vec<Value> {
    members.iter().map(|id| json!({ "value": id })).collect()
}

pub(crate) async fn group(house: &House, name: &str, members: &[&str]) -> String {
    let body = json!({ "schemas": [CORE_GROUP], "displayName": name, "members": values(members) });
    let made = house.ask("POST", "/Groups", Some(&body)).await;
    made.expect(201).id()
}

pub(crate) async fn patch(house: &House, path: &str, operations: Value) {
    let body = json!({ "schemas": [PATCH], "Operations": operations });
    let answer = house.ask("PATCH", path, Some(&body)).await;
    assert!(answer.status < 300, "{answer:?}");
    house.settled().await;
}

pub(crate) async fn add(house: &House, group: &str, members: &[&str]) {
    let operation = json!([{"op": "add", "path": "members", "value": values(members)}]);
    patch(house, &format!("/Groups/{group}"), operation).await;
}

pub(crate) async fn remove(house: &House, group: &str, members: &[&str]) {
    let operation = json!([{"op": "remove", "path": "members", "value": values(members)}]);
    patch(house, &format!("/Groups/{group}"), operation).await;
}

pub(crate) fn all(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

/// The names of the accounts that are active there.
pub(crate) fn active(house: &House) -> Vec<String> {
    let accounts = house.sandbox.state().accounts().into_iter();
    let mut names: Vec<String> = accounts
        .filter(|account| account.user["active"] == true)
        .map(|account| {
            let name = account.user["userName"].as_str().unwrap();
            name.split('@').next().unwrap().to_owned()
        })
        .collect();
    names.sort();
    names
}

fn accounts(house: &House) -> usize {
    house.sandbox.state().accounts().len()
}

pub(crate) fn held(house: &House) -> u64 {
    let engine = house.serving.gateway.engine().unwrap();
    let view = engine.store.view().unwrap();
    assert!(view.sets("zoom").unwrap().is_empty(), "a set was left");
    view.tally("zoom").unwrap().holds
}

/// Rows of one person: operation, status and code, oldest first.
fn told(house: &House, name: &str) -> Vec<String> {
    let rows = house.report(Query {
        user_prefix: Some(format!("{name}@")),
        ..Query::default()
    });
    let mut told: Vec<String> = rows
        .into_iter()
        .map(|row| {
            format!(
                "{} {} {}",
                format!("{:?}", row.operation).to_lowercase(),
                format!("{:?}", row.status).to_lowercase(),
                row.code.unwrap_or_default()
            )
        })
        .collect();
    told.reverse();
    told
}

#[tokio::test]
async fn in_with_the_first_group_and_out_with_the_last() {
    let house = House::with(plan(&["Zoom", "Sales"], "")).await;
    let ada = user(&house, "ada").await;
    let (zoom, sales) = (
        group(&house, "Zoom", &[]).await,
        group(&house, "Sales", &[]).await,
    );
    let other = group(&house, "Others", &[&ada]).await;
    house.settled().await;
    assert_eq!(accounts(&house), 0, "no group of a policy has her");
    add(&house, &zoom, &[&ada]).await;
    assert_eq!(active(&house), ["ada"]);
    add(&house, &sales, &[&ada]).await;
    let calls = house.sandbox.state().calls().len();
    remove(&house, &zoom, &[&ada]).await;
    remove(&house, &other, &[&ada]).await;
    assert_eq!(active(&house), ["ada"], "still in Sales");
    assert_eq!(
        house.sandbox.state().calls().len(),
        calls,
        "and nothing went"
    );

    let before = house.sandbox.state().account("ada@example.com").unwrap();
    remove(&house, &sales, &[&ada]).await;
    assert_eq!(active(&house), [""; 0]);
    assert_eq!(accounts(&house), 1, "on_leave deactivates");
    add(&house, &zoom, &[&ada]).await;
    assert_eq!(active(&house), ["ada"]);
    let after = house.sandbox.state().account("ada@example.com").unwrap();
    assert_eq!(before["id"], after["id"], "the same account");
    assert_eq!(
        told(&house, "ada"),
        [
            "create skipped unknown_group",
            "create success ",
            "deactivate success not_assigned",
            "reactivate success ",
        ]
    );
}

#[tokio::test]
async fn groups_in_groups_count_and_circles_end() {
    let house = House::with(plan(&["Zoom"], "")).await;
    let (ada, bob) = (user(&house, "ada").await, user(&house, "bob").await);
    let team = group(&house, "Team", &[&ada]).await;
    let staff = group(&house, "Staff", &[&team]).await;
    let zoom = group(&house, "Zoom", &[&staff]).await;
    house.settled().await;
    assert_eq!(active(&house), ["ada"]);
    // A circle: everybody in it is in all of it.
    add(&house, &team, &[&zoom]).await;
    add(&house, &team, &[&bob]).await;
    assert_eq!(active(&house), ["ada", "bob"]);
    remove(&house, &zoom, &[&staff]).await;
    assert_eq!(active(&house), [""; 0], "all beneath it leave with a group");
    add(&house, &zoom, &[&team]).await;
    assert_eq!(active(&house), ["ada", "bob"]);
    // What stands in a policy's group is deleted: its members leave.
    house
        .ask("DELETE", &format!("/Groups/{team}"), None)
        .await
        .expect(204);
    house.settled().await;
    assert_eq!(active(&house), [""; 0]);
    assert_eq!(held(&house), 0);
}

#[tokio::test]
async fn leaving_waits_and_coming_back_cancels() {
    let more =
        "[application.users]\nleave_after = \"1d\"\non_leave = \"delete\"\ndelete_after = \"2d\"";
    let house = House::with(plan(&["Zoom"], more)).await;
    let ids = users(&house, "u", 3).await;
    let zoom = group(&house, "Zoom", &all(&ids)).await;
    house.settled().await;
    remove(&house, &zoom, &all(&ids)).await;
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    house.later(hours(23)).await;
    assert_eq!(active(&house).len(), 3);
    add(&house, &zoom, &[&ids[0]]).await;
    house.later(hours(2)).await;
    assert_eq!(active(&house), ["u0"]);
    assert_eq!(accounts(&house), 3);
    add(&house, &zoom, &[&ids[1]]).await;
    house.later(hours(48)).await;
    assert_eq!(active(&house), ["u0", "u1"]);
    assert_eq!(accounts(&house), 2, "u2 is deleted");
}

#[tokio::test]
async fn a_group_that_is_not_known_gives_nothing_and_takes_nothing() {
    let open = Plan::default();
    let house = House::with(open).await;
    let old = users(&house, "old", 2).await;
    house.settled().await;
    assert_eq!(active(&house), ["old0", "old1"]);
    let house = house.restart_with(plan(&["Zoom"], "")).await;
    house.settled().await;
    let new = user(&house, "new").await;
    assert_eq!(active(&house), ["old0", "old1"]);
    // What is there is kept up to date, and who leaves the company leaves.
    patch(
        &house,
        &format!("/Users/{}", old[0]),
        json!([{"op": "replace", "path": "displayName", "value": "Other"}]),
    )
    .await;
    let account = house.sandbox.state().account("old0@example.com").unwrap();
    assert_eq!(account["displayName"], "Other");
    // An empty group says nothing of anybody yet.
    let zoom = group(&house, "zoom", &[]).await;
    house.settled().await;
    assert_eq!(active(&house), ["old0", "old1"]);
    patch(
        &house,
        &format!("/Users/{}", old[1]),
        json!([{"op": "replace", "path": "active", "value": false}]),
    )
    .await;
    assert_eq!(active(&house), ["old0"]);
    add(&house, &zoom, &[&new]).await;
    assert_eq!(active(&house), ["new"], "now it counts, for everybody");
}

/// A group in which there are only groups without people says as little as one without members, however it came to be.
#[tokio::test]
async fn a_group_of_empty_groups_waits_for_a_person() {
    let house = House::new().await;
    users(&house, "old", 3).await;
    let new = user(&house, "new").await;
    let everybody = ["new", "old0", "old1", "old2"];
    let below = group(&house, "Below", &[]).await;
    let inner = group(&house, "Inner", &[&below]).await;
    // Bound when the configuration comes into force, and when the group is made.
    let made = group(&house, "Made before", &[&inner]).await;
    house
        .reload(&plan(&["Made before", "Made after"], ""))
        .await;
    house.settled().await;
    assert_eq!(
        (active(&house), held(&house)),
        (everybody.map(String::from).to_vec(), 0)
    );
    let after = group(&house, "Made after", &[&inner]).await;
    house.settled().await;
    // In a circle there is nobody either.
    add(&house, &below, &[&made]).await;
    let both = plan(&["Made before", "Made after"], "");
    let house = house.restart_with(both).await;
    house.settled().await;
    assert_eq!(
        (active(&house), held(&house)),
        (everybody.map(String::from).to_vec(), 0)
    );
    // A person two groups down makes both count.
    add(&house, &below, &[&new]).await;
    house.settled().await;
    assert_eq!(
        (active(&house), held(&house)),
        (vec![String::from("new")], 0),
        "{after}"
    );
}

#[tokio::test]
async fn a_policy_stays_with_its_group_whatever_it_is_called() {
    let house = House::with(plan(&["Zoom"], "")).await;
    let (ada, bob) = (user(&house, "ada").await, user(&house, "bob").await);
    let zoom = group(&house, "Zoom", &[&ada]).await;
    house.settled().await;
    let rename = json!([{"op": "replace", "path": "displayName", "value": "Video"}]);
    patch(&house, &format!("/Groups/{zoom}"), rename).await;
    assert_eq!(active(&house), ["ada"]);
    add(&house, &zoom, &[&bob]).await;
    assert_eq!(active(&house), ["ada", "bob"]);
    // Another one takes the name, and nothing else.
    group(&house, "Zoom", &[]).await;
    house.settled().await;
    let house = house.restart().await;
    house.settled().await;
    assert_eq!(active(&house), ["ada", "bob"]);
}

#[tokio::test]
async fn what_goes_with_a_deleted_group_waits_for_a_person() {
    let house = House::with(plan(&["Zoom", "Sales"], "")).await;
    let ids = users(&house, "u", 4).await;
    let zoom = group(&house, "Zoom", &all(&ids[..3])).await;
    group(&house, "Sales", &all(&ids[2..])).await;
    house.settled().await;
    assert_eq!(active(&house).len(), 4);
    house
        .ask("DELETE", &format!("/Groups/{zoom}"), None)
        .await
        .expect(204);
    house.settled().await;
    assert_eq!(active(&house).len(), 4, "though two are within the limit");
    assert_eq!(held(&house), 2, "u2 is in Sales, too");
    house.later(Duration::from_secs(7 * 86_400)).await;
    assert_eq!((active(&house).len(), held(&house)), (4, 2));
    assert!(told(&house, "u0").contains(&String::from("deactivate held group_deleted")));
    // Whose removal is held stays so, whatever else is said against them.
    patch(
        &house,
        &format!("/Users/{}", ids[0]),
        json!([{"op": "replace", "path": "active", "value": false}]),
    )
    .await;
    // Made again with the same people: nobody was ever gone but who is inactive.
    group(&house, "Zoom", &all(&ids[..2])).await;
    house.settled().await;
    assert_eq!((active(&house).len(), held(&house)), (4, 1));
    patch(
        &house,
        &format!("/Users/{}", ids[0]),
        json!([{"op": "replace", "path": "active", "value": true}]),
    )
    .await;
    assert_eq!((active(&house).len(), held(&house)), (4, 0));
}

#[tokio::test]
async fn what_is_decided_at_once_is_counted_before_the_first_goes() {
    // 40 people: 5 an hour.
    let house = House::with(plan(&["Zoom"], "")).await;
    let ids = users(&house, "u", 40).await;
    let zoom = group(&house, "Zoom", &all(&ids)).await;
    house.settled().await;
    assert_eq!(active(&house).len(), 40);
    remove(&house, &zoom, &all(&ids[..6])).await;
    assert_eq!((active(&house).len(), held(&house)), (40, 6));
    add(&house, &zoom, &all(&ids[..6])).await;
    assert_eq!((active(&house).len(), held(&house)), (40, 0));
    remove(&house, &zoom, &all(&ids[..5])).await;
    assert_eq!((active(&house).len(), held(&house)), (35, 0));
    // The hour is used up; the whole of the next set waits.
    remove(&house, &zoom, &all(&ids[5..7])).await;
    assert_eq!((active(&house).len(), held(&house)), (35, 2));
    house.later(Duration::from_secs(2 * 3600)).await;
    assert_eq!(
        (active(&house).len(), held(&house)),
        (35, 2),
        "time releases nothing"
    );
    add(&house, &zoom, &all(&ids[5..7])).await;
    // The group is emptied by a list that names one.
    let body =
        json!({ "schemas": [CORE_GROUP], "displayName": "Zoom", "members": values(&[&ids[39]]) });
    house
        .ask("PUT", &format!("/Groups/{zoom}"), Some(&body))
        .await
        .expect(200);
    house.settled().await;
    assert_eq!((active(&house).len(), held(&house)), (35, 34));
}

#[tokio::test]
async fn a_group_in_a_group_is_counted_whole() {
    let house = House::with(plan(&["Zoom"], "")).await;
    let ids = users(&house, "u", 12).await;
    let large = group(&house, "Large", &all(&ids[..9])).await;
    let zoom = group(&house, "Zoom", &[&large, &ids[9], &ids[10], &ids[11]]).await;
    house.settled().await;
    assert_eq!(active(&house).len(), 12);
    remove(&house, &zoom, &[&large]).await;
    assert_eq!((active(&house).len(), held(&house)), (12, 9));
    add(&house, &zoom, &[&large]).await;
    assert_eq!((active(&house).len(), held(&house)), (12, 0));
    house
        .ask("DELETE", &format!("/Groups/{large}"), None)
        .await
        .expect(204);
    house.settled().await;
    assert_eq!((active(&house).len(), held(&house)), (12, 9));
    // Out of scope and held, they are kept through a restart.
    let house = house.restart().await;
    house.settled().await;
    assert_eq!((active(&house).len(), held(&house)), (12, 9));
}

#[tokio::test]
async fn a_bulk_is_counted_whole() {
    let house = House::new().await;
    let ids = users(&house, "u", 30).await;
    let off = |id: &String| json!({"method": "PATCH", "path": format!("/Users/{id}"), "data": {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "active", "value": false}]}});
    let delete = |id: &String| json!({"method": "DELETE", "path": format!("/Users/{id}")});
    let bulk = async |operations: Vec<Value>| {
        let body = json!({ "schemas": [BULK], "Operations": operations });
        let answer = house.ask("POST", "/Bulk", Some(&body)).await.expect(200);
        for operation in answer.body["Operations"].as_array().unwrap() {
            let status = operation["status"].as_str().unwrap();
            assert!(status.starts_with('2'), "{operation}");
        }
        house.settled().await;
    };
    bulk(
        ids[..3]
            .iter()
            .map(off)
            .chain(ids[3..6].iter().map(delete))
            .collect(),
    )
    .await;
    assert_eq!((active(&house).len(), held(&house)), (30, 6));
    // Who is back is not held; those who were deleted are gone from the directory and held there.
    let on = |id: &String| json!({"method": "PATCH", "path": format!("/Users/{id}"), "data": {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "active", "value": true}]}});
    bulk(ids[..3].iter().map(on).collect()).await;
    assert_eq!((active(&house).len(), held(&house)), (30, 3));
    for number in 3..6 {
        let again = user(&house, &format!("u{number}")).await;
        assert!(!ids.contains(&again));
    }
    house.settled().await;
    assert_eq!((active(&house).len(), held(&house)), (30, 0));
    bulk(ids[10..15].iter().map(off).collect()).await;
    assert_eq!((active(&house).len(), held(&house)), (25, 0));
}

#[tokio::test]
async fn a_reload_that_shuts_everybody_out_shuts_out_nobody() {
    let house = House::new().await;
    let ids = users(&house, "u", 12).await;
    group(&house, "Few", &[&ids[0]]).await;
    house.reload(&plan(&["Few"], "")).await;
    house.settled().await;
    assert_eq!((active(&house).len(), held(&house)), (12, 11));
    house.reload(&Plan::default()).await;
    house.settled().await;
    assert_eq!((active(&house).len(), held(&house)), (12, 0));
}

#[tokio::test]
async fn an_external_id_names_a_group() {
    let tables = "[[application.policy]]\nname = \"p\"\ngroup = { external_id = \"g-7\" }\n";
    let house = House::with(Plan {
        tables: String::from(tables),
        ..Plan::default()
    })
    .await;
    let ada = user(&house, "ada").await;
    let body = json!({ "schemas": [CORE_GROUP], "displayName": "Any", "externalId": "g-7", "members": values(&[&ada]) });
    house.ask("POST", "/Groups", Some(&body)).await.expect(201);
    house.settled().await;
    assert_eq!(active(&house), ["ada"]);
    // Known again after a start with another configuration in between.
    let house = house.restart_with(plan(&["Nobody"], "")).await;
    house.settled().await;
    assert_eq!(active(&house), ["ada"]);
    let house = house
        .restart_with(Plan {
            tables: String::from(tables),
            ..Plan::default()
        })
        .await;
    let bob = user(&house, "bob").await;
    house.settled().await;
    assert_eq!(active(&house), ["ada"], "{bob}");
}
