//! Groups that exist in the application too: created, renamed, filled, emptied and deleted there, whatever gets lost on
//! the way.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use usher::journal::report::Query;
use usher::provision::call::Method;
use usher::sandbox::{Fault, What};
use usher::scim::Kind;
use usher::serve::Serving;

use crate::house::{House, Knock, Plan};

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

/// Lets time pass until nothing is left to do, a retry an hour away included: also what waits for the application's
/// patience in the middle of a turn.
async fn converge(house: &House) {
    for _ in 0..12 {
        house.clock.advance(Duration::from_secs(700));
        in_time(house).await;
    }
}

/// Waits until what is due is settled, while the clock goes on.
async fn in_time(house: &House) {
    let passing = async {
        loop {
            // Gives the gateway's tasks the machine; how long does not matter.
            tokio::time::sleep(Duration::from_millis(1)).await;
            house.clock.advance(Duration::from_millis(50));
        }
    };
    tokio::select! {
        () = house.settled() => {}
        () = passing => unreachable!("time does not end"),
    }
}

/// Waits until a gateway that has just started has settled what its configuration wants otherwise.
async fn started(house: &House) {
    house.settled().await;
}

/// Waits until it holds: looked at after each commit.
async fn until(house: &House, holds: impl Fn() -> bool) {
    let engine = house.serving.gateway.engine().unwrap();
    let mut committed = engine.store.committed();
    let waiting = async {
        loop {
            committed.mark_unchanged();
            if holds() {
                return;
            }
            committed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(crate::house::PATIENCE, waiting)
        .await
        .expect("it comes to hold");
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

#[tokio::test]
async fn a_group_that_is_there_already_is_taken_on_and_keeps_its_own() {
    let house = House::with(pushing("[\"*\"]", "")).await;
    let (ada, _bob) = (user(&house, "ada").await, user(&house, "bob").await);
    let state = house.sandbox.state();
    let body = json!({ "schemas": [CORE_GROUP], "displayName": "STAFF" });
    let (status, made) = state.answer(Method::Post, "/Groups", None, Some(&body));
    assert_eq!(status, 201);
    let there = made.unwrap()["id"].as_str().unwrap().to_owned();
    // Somebody there put bob in.
    let bobs = state.account("bob@example.com").unwrap()["id"].clone();
    let inside = json!({ "schemas": [PATCH], "Operations": [{"op": "add", "path": "members", "value": [{"value": bobs}]}] });
    let path = format!("/Groups/{there}");
    assert_eq!(
        state.answer(Method::Patch, &path, None, Some(&inside)).0,
        204
    );

    let id = group(&house, "Staff", &[&ada]).await;
    house.settled().await;
    assert_eq!(state.groups().len(), 1);
    assert_eq!(members(&house, "Staff"), ["ada", "bob"]);
    assert!(
        told(&house).contains(&row("create", "success", "")),
        "{:?}",
        told(&house)
    );

    // It is not ours to delete: our member goes, theirs and the group stay.
    house
        .ask("DELETE", &format!("/Groups/{id}"), None)
        .await
        .expect(204);
    house.settled().await;
    assert_eq!(state.group("Staff").unwrap().0, there);
    assert_eq!(members(&house, "Staff"), ["bob"]);
    let engine = house.serving.gateway.engine().unwrap();
    assert_eq!(engine.store.view().unwrap().groups_in("zoom").unwrap(), []);
    assert_eq!(engine.store.view().unwrap().mark_count("zoom").unwrap(), 0);
}

#[tokio::test]
async fn where_adopting_is_off_a_group_of_the_name_stays_alone() {
    let house = House::with(Plan {
        application: String::from("adopt = false"),
        ..pushing("[\"*\"]", "")
    })
    .await;
    let ada = user(&house, "ada").await;
    let body = json!({ "schemas": [CORE_GROUP], "displayName": "Staff" });
    let state = house.sandbox.state();
    assert_eq!(
        state.answer(Method::Post, "/Groups", None, Some(&body)).0,
        201
    );
    group(&house, "Staff", &[&ada]).await;
    house.settled().await;
    assert_eq!(members(&house, "Staff"), [""; 0]);
    assert!(
        told(&house).contains(&row("create", "failure", "exists")),
        "{:?}",
        told(&house)
    );
}

#[tokio::test]
async fn members_follow_their_accounts() {
    let house = House::with(Plan {
        application: String::from("authorized_domains = [\"example.com\"]"),
        tables: String::from(
            "[application.groups]\npush = [\"*\"]\n[application.users]\ndelete_after = \"0s\"\non_leave = \"delete\"",
        ),
        ..Plan::default()
    })
    .await;
    let ada = user(&house, "ada").await;
    // Out of scope: no account.
    let body = json!({
        "schemas": [CORE_USER], "userName": "eve@elsewhere.org", "displayName": "eve",
        "name": {"givenName": "eve", "familyName": "T"},
        "emails": [{"value": "eve@elsewhere.org", "type": "work", "primary": true}], "active": true,
    });
    let eve = house
        .ask("POST", "/Users", Some(&body))
        .await
        .expect(201)
        .id();
    let nested = group(&house, "Inner", &[&ada]).await;
    let id = group(&house, "Staff", &[&ada, &eve, &nested]).await;
    house.settled().await;
    assert_eq!(members(&house, "Staff"), ["ada"]);
    let reason = house
        .report(Query::default())
        .into_iter()
        .filter_map(|row| row.reason.filter(|_| row.user == "Staff"))
        .next()
        .unwrap();
    assert_eq!(
        reason,
        "1 added, 0 removed, 1 without an account there yet, 1 nested groups not pushed"
    );

    // She comes into scope, gets an account, and her group follows.
    let start = so_far(&house);
    let moved = json!([
        {"op": "replace", "path": "userName", "value": "eve@example.com"},
        {"op": "replace", "path": "emails[type eq \"work\"].value", "value": "eve@example.com"},
    ]);
    let body = json!({ "schemas": [PATCH], "Operations": moved });
    house
        .ask("PATCH", &format!("/Users/{eve}"), Some(&body))
        .await
        .expect(200);
    house.settled().await;
    assert_eq!(members(&house, "Staff"), ["ada", "eve"]);
    assert_eq!(calls(&house, start), ["PATCH /Groups/id"]);

    // Her account goes, and her membership with it, without a call.
    let start = so_far(&house);
    house
        .ask("DELETE", &format!("/Users/{eve}"), None)
        .await
        .expect(204);
    house.settled().await;
    assert_eq!(members(&house, "Staff"), ["ada"]);
    assert_eq!(calls(&house, start), [""; 0]);

    // Somebody who is only deactivated there is a member all the same, until the group says otherwise.
    let off = json!({ "schemas": [PATCH], "Operations": [{"op": "replace", "path": "active", "value": false}] });
    house
        .ask("PATCH", &format!("/Users/{ada}"), Some(&off))
        .await
        .expect(200);
    house.settled().await;
    assert_eq!(calls(&house, start), [""; 0]);
    remove(&house, &id, &[&ada]).await;
    house.settled().await;
    assert_eq!(members(&house, "Staff"), [""; 0]);
}

#[tokio::test]
async fn a_deleted_user_leaves_the_group_there_before_the_account_goes() {
    let house = House::with(pushing("[\"*\"]", "")).await;
    let (ada, bob) = (user(&house, "ada").await, user(&house, "bob").await);
    group(&house, "Staff", &[&ada, &bob]).await;
    house.settled().await;
    house
        .ask("DELETE", &format!("/Users/{ada}"), None)
        .await
        .expect(204);
    house.settled().await;
    // Deactivated for seven days, and out of the group at once.
    assert_eq!(members(&house, "Staff"), ["bob"]);
    // A new user takes the account over, and is in no group.
    user(&house, "ada").await;
    house.settled().await;
    assert_eq!(members(&house, "Staff"), ["bob"]);
}

#[tokio::test]
async fn an_account_that_is_taken_over_leaves_its_former_groups() {
    let house = House::with(pushing("[\"*\"]", "")).await;
    let ada = user(&house, "ada").await;
    let id = group(&house, "Staff", &[&ada]).await;
    house.settled().await;
    // The group's turn cannot go through before the new user is there.
    fail(&house, Method::Patch, "/Groups", What::LoseBefore);
    house
        .ask("DELETE", &format!("/Users/{ada}"), None)
        .await
        .expect(204);
    let again = user(&house, "ada").await;
    converge(&house).await;
    assert_eq!(members(&house, "Staff"), [""; 0]);
    add(&house, &id, &[&again]).await;
    converge(&house).await;
    assert_eq!(members(&house, "Staff"), ["ada"]);
}

/// The account stays in the group under whoever has it now: also where the group could be told nothing meanwhile.
#[tokio::test]
async fn an_account_that_is_taken_over_goes_with_whoever_has_it() {
    let house = House::with(pushing("[\"*\"]", "")).await;
    let (ada, bob) = (user(&house, "ada").await, user(&house, "bob").await);
    let id = group(&house, "Staff", &[&ada]).await;
    house.settled().await;
    let wait = || What::Status {
        status: 429,
        retry_after: Some(String::from("30")),
        body: None,
    };
    fail(&house, Method::Patch, "/Groups", wait());
    let before = so_far(&house);
    house
        .ask("DELETE", &format!("/Users/{ada}"), None)
        .await
        .expect(204);
    until(&house, || calls(&house, before) == ["PATCH /Groups/id"]).await;
    let again = user(&house, "ada").await;
    fail(&house, Method::Patch, "/Groups", wait());
    add(&house, &id, &[&again, &bob]).await;
    house.clock.advance(Duration::from_secs(40));
    until(&house, || calls(&house, before).len() == 2).await;
    remove(&house, &id, &[&again]).await;
    converge(&house).await;
    assert_eq!(members(&house, "Staff"), ["bob"]);
}

/// Each call of a group's life, lost before it has its effect and after; in the end exactly what should be is there.
#[tokio::test]
async fn whatever_is_lost_the_members_are_exact_in_the_end() {
    let mut lost = 0;
    for what in [
        What::LoseBefore,
        What::LoseAfter,
        What::Garbage,
        What::Status {
            status: 502,
            retry_after: None,
            body: None,
        },
        What::Status {
            status: 429,
            retry_after: Some(String::from("3")),
            body: None,
        },
    ] {
        for (method, path) in [
            (Method::Get, "/Groups"),
            (Method::Post, "/Groups"),
            (Method::Patch, "/Groups"),
            (Method::Delete, "/Groups"),
        ] {
            let house = House::with(pushing("[\"*\"]", "")).await;
            let (ada, bob) = (user(&house, "ada").await, user(&house, "bob").await);
            let eve = user(&house, "eve").await;
            let check = |wanted: &[&str], name: &str, when: &str| {
                assert_eq!(members(&house, name), wanted, "{what:?} {method:?} {when}");
                let all = house.sandbox.state().groups();
                assert_eq!(all.len(), 1, "{what:?} {method:?} {when}: {all:?}");
            };
            // Only what the next step calls: what waited for a later one would fail it again and again.
            let lose = |called: &[Method]| {
                if called.contains(&method) {
                    fail(&house, method, path, what.clone());
                }
            };
            lose(&[Method::Get, Method::Post, Method::Patch]);
            let id = group(&house, "Staff", &[&ada, &bob]).await;
            converge(&house).await;
            check(&["ada", "bob"], "Staff", "created");
            lose(&[Method::Patch]);
            remove(&house, &id, &[&ada]).await;
            converge(&house).await;
            check(&["bob"], "Staff", "removed");
            // Added, and gone again before anybody knows whether it arrived.
            lose(&[Method::Patch]);
            add(&house, &id, &[&eve]).await;
            in_time(&house).await;
            remove(&house, &id, &[&eve]).await;
            converge(&house).await;
            check(&["bob"], "Staff", "added and removed");
            lose(&[Method::Patch]);
            rename(&house, &id, "People").await;
            add(&house, &id, &[&ada]).await;
            converge(&house).await;
            check(&["ada", "bob"], "People", "renamed");
            lose(&[Method::Delete]);
            house
                .ask("DELETE", &format!("/Groups/{id}"), None)
                .await
                .expect(204);
            converge(&house).await;
            let left = house.sandbox.state().groups();
            assert_eq!(left.len(), 0, "{what:?} {method:?}: {left:?}");
            let engine = house.serving.gateway.engine().unwrap();
            let view = engine.store.view().unwrap();
            assert_eq!(view.mark_count("zoom").unwrap(), 0, "{what:?} {method:?}");
            lost += 1;
        }
    }
    assert_eq!(lost, 20);
}

#[tokio::test]
async fn a_large_group_goes_in_chunks_and_one_change_is_one_call() {
    const PEOPLE: usize = 1_500;
    let house = House::with(pushing("[\"*\"]", "")).await;
    let ids: Vec<String> = {
        let mut made = Vec::new();
        for slice in (0..PEOPLE).collect::<Vec<_>>().chunks(50) {
            let asked = slice.iter().map(|n| {
                let house = &house;
                async move { user(house, &format!("u{n}")).await }
            });
            made.extend(futures_all(asked).await);
        }
        made
    };
    house.settled().await;
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    let start = so_far(&house);
    let id = group(&house, "Everybody", &[]).await;
    for slice in all.chunks(500) {
        add(&house, &id, slice).await;
    }
    house.settled().await;
    assert_eq!(members(&house, "Everybody").len(), PEOPLE);
    let made = calls(&house, start);
    let patches = made.iter().filter(|call| call.starts_with("PATCH")).count();
    assert!(
        (15..=20).contains(&patches),
        "{patches} calls for 1,500 members"
    );
    for call in house.sandbox.state().calls() {
        let size = call.body.map_or(0, |body| body.to_string().len());
        assert!(size < 100_000, "a body of {size}");
    }

    let start = so_far(&house);
    remove(&house, &id, &[all[700]]).await;
    house.settled().await;
    assert_eq!(members(&house, "Everybody").len(), PEOPLE - 1);
    assert_eq!(calls(&house, start), ["PATCH /Groups/id"]);

    // The whole group gone there: found missing at the next change, and made anew with everybody.
    let there = house.sandbox.state().group("Everybody").unwrap().0;
    let path = format!("/Groups/{there}");
    let gone = house
        .sandbox
        .state()
        .answer(Method::Delete, &path, None, None);
    assert_eq!(gone.0, 204);
    add(&house, &id, &[all[700]]).await;
    until(&house, || {
        let there = house.sandbox.state().group("Everybody");
        there.is_some_and(|(_, members)| members.len() == PEOPLE)
    })
    .await;
    house.settled().await;

    // And a restart has nothing to do.
    let start = so_far(&house);
    let house = house.restart().await;
    house.settled().await;
    assert_eq!(calls(&house, start), [""; 0]);
}

async fn futures_all<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (one, slot) in all.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let std::task::Poll::Ready(value) = one.as_mut().poll(context)
            {
                *slot = Some(value);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn another_configuration_brings_groups_there_and_takes_them_away() {
    let house = House::new().await;
    let ada = user(&house, "ada").await;
    group(&house, "Zoom-A", &[&ada]).await;
    group(&house, "Zoom-B", &[&ada]).await;
    house.settled().await;
    assert_eq!(house.sandbox.state().groups().len(), 0);
    assert_eq!(told(&house), []);

    let house = house.restart_with(pushing("[\"zoom-*\"]", "")).await;
    started(&house).await;
    assert_eq!(members(&house, "Zoom-A"), ["ada"]);
    assert_eq!(members(&house, "Zoom-B"), ["ada"]);

    let house = house
        .restart_with(pushing("[\"zoom-b\"]", "delete = false"))
        .await;
    started(&house).await;
    assert_eq!(members(&house, "Zoom-A"), ["ada"], "deleting is off");

    let house = house.restart_with(pushing("[\"zoom-b\"]", "")).await;
    started(&house).await;
    assert!(house.sandbox.state().group("Zoom-A").is_none());
    assert_eq!(members(&house, "Zoom-B"), ["ada"]);

    let off = house
        .restart_with(pushing("[\"*\"]", "membership = false\nupdate = false"))
        .await;
    started(&off).await;
    assert_eq!(
        members(&off, "Zoom-A"),
        [""; 0],
        "there again, without members"
    );
    assert_eq!(members(&off, "Zoom-B"), ["ada"]);
    let on = off.restart_with(pushing("[\"*\"]", "")).await;
    started(&on).await;
    assert_eq!(members(&on, "Zoom-A"), ["ada"], "the switch is on again");
}

/// What a turn of before puts off is looked at again by the rules of now.
#[tokio::test]
async fn a_turn_under_way_at_a_reload_is_asked_about_again() {
    let house = House::with(pushing("['*']", "")).await;
    fail(&house, Method::Get, "/Groups", What::Hold);
    let refused = What::Status {
        status: 400,
        retry_after: None,
        body: None,
    };
    fail(&house, Method::Post, "/Groups", refused);
    group(&house, "Staff", &[]).await;
    house.sandbox.state().arrived(1).await;
    let reloaded = house.reload(&pushing("['S*']", "")).await;
    assert_eq!(reloaded.generation, 2);
    // It marks everybody first: what the turn leaves comes after that.
    let engine = house.serving.gateway.engine().unwrap();
    until(&house, || {
        let view = engine.store.view().unwrap();
        view.sweep("zoom").unwrap().is_none()
    })
    .await;
    house.sandbox.state().release();
    house.settled().await;
    assert!(house.sandbox.state().group("Staff").is_some());
}

#[tokio::test]
async fn rules_give_a_group_its_name() {
    let rules = "[[application.map.group]]\nto = \"displayName\"\nfrom = \"$.displayName\"\ntransform = [{ prefix = \"idp-\" }]";
    let house = House::with(pushing("[\"staff\"]", rules)).await;
    let ada = user(&house, "ada").await;
    let id = group(&house, "Staff", &[&ada]).await;
    house.settled().await;
    assert_eq!(members(&house, "idp-Staff"), ["ada"]);
    // A name that is not pushed any more: it goes there.
    rename(&house, &id, "Secret").await;
    house.settled().await;
    assert_eq!(house.sandbox.state().groups().len(), 0);
}

#[tokio::test]
async fn what_the_application_refuses_to_delete_is_told_once() {
    let house = House::with(pushing("[\"*\"]", "")).await;
    let ada = user(&house, "ada").await;
    let id = group(&house, "Staff", &[&ada]).await;
    house.settled().await;
    let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "400", "detail": "Cannot delete account default group."});
    house.sandbox.state().fail_next(Fault {
        calls: 100,
        matching: Some((Method::Delete, String::from("/Groups"))),
        what: What::Status {
            status: 400,
            retry_after: None,
            body: Some(body.to_string()),
        },
    });
    let start = so_far(&house);
    house
        .ask("DELETE", &format!("/Groups/{id}"), None)
        .await
        .expect(204);
    converge(&house).await;
    assert_eq!(calls(&house, start), ["DELETE /Groups/id"]);
    let newest = told(&house).pop().unwrap();
    assert_eq!(newest, row("delete", "failure", "refused"));
}

#[tokio::test]
async fn an_application_without_groups_is_asked_once_and_goes_on_with_users() {
    for status in [405, 501] {
        let house = House::with(pushing("[\"*\"]", "")).await;
        let ada = user(&house, "ada").await;
        house.sandbox.state().fail_next(Fault {
            calls: 100,
            matching: Some((Method::Get, String::from("/Groups"))),
            what: What::Status {
                status,
                retry_after: None,
                body: None,
            },
        });
        let start = so_far(&house);
        let id = group(&house, "Staff", &[&ada]).await;
        house.settled().await;
        let bob = user(&house, "bob").await;
        add(&house, &id, &[&bob]).await;
        converge(&house).await;
        assert_eq!(calls(&house, start), ["GET /Groups"]);
        let told = told(&house);
        let failures = told.iter().filter(|row| row.1 == "failure").count();
        assert_eq!(failures, 1, "{told:?}");
        assert!(house.sandbox.state().account("bob@example.com").is_some());
        assert_eq!(
            house
                .serving
                .gateway
                .engine()
                .unwrap()
                .store
                .view()
                .unwrap()
                .mark_count("zoom")
                .unwrap(),
            0
        );
    }
}

#[tokio::test]
async fn simulate_mode_calls_nothing_for_a_group() {
    let simulated = Plan {
        application: String::from("mode = \"simulate\""),
        ..pushing("[\"*\"]", "")
    };
    let house = House::with(simulated).await;
    let ada = user(&house, "ada").await;
    group(&house, "Staff", &[&ada]).await;
    house.settled().await;
    assert_eq!(so_far(&house), 0);
    assert!(
        told(&house).contains(&row("create", "skipped", "simulate")),
        "{:?}",
        told(&house)
    );
    let house = house.restart_with(pushing("[\"*\"]", "")).await;
    // The gateway wakes what was only simulated when it has started: two calls for the user, three for the group.
    house.sandbox.state().arrived(5).await;
    house.settled().await;
    assert_eq!(members(&house, "Staff"), ["ada"]);
}

/// Any SCIM server: here another gateway of ours, which keeps its members and shows them.
#[tokio::test]
async fn groups_of_a_scim_server_are_kept_too() {
    let upstream = House::new().await;
    let text = crate::house::text(&pushing("[\"*\"]", ""), &upstream.base, "127.0.0.1:0")
        .replace("profile = \"zoom\"", "profile = \"scim\"");
    let folder = tempfile::tempdir().unwrap();
    let config = usher::config::parse(&text, &folder.path().join("usher.toml"), &|_| {
        Some(crate::house::TOKEN.to_owned())
    });
    let mut serving = Serving::start(config.unwrap(), upstream.clock.clone(), false)
        .await
        .unwrap();
    serving.ready().await.unwrap();
    let knock = Knock::at(format!("http://{}/scim/v2", serving.address));
    let engine = serving.gateway.engine().unwrap();
    let quiet = async || {
        let mut committed = engine.store.committed();
        let waiting = async {
            loop {
                committed.mark_unchanged();
                if engine.store.view().unwrap().mark_count("zoom").unwrap() == 0 {
                    return;
                }
                committed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(crate::house::PATIENCE, waiting)
            .await
            .expect("it is all done");
    };
    // What the server shows: each group's name and how many members it has.
    let there = async || {
        let list = upstream.ask("GET", "/Groups", None).await.expect(200).body;
        let groups = list["Resources"].as_array().cloned().unwrap_or_default();
        let told = groups.into_iter().map(|group| {
            let members = group["members"].as_array().map_or(0, Vec::len);
            (group["displayName"].as_str().unwrap().to_owned(), members)
        });
        told.collect::<Vec<_>>()
    };

    let mut people = Vec::new();
    for name in ["ada", "bob", "eve"] {
        let body = json!({
            "schemas": [CORE_USER], "userName": format!("{name}@example.com"), "displayName": name,
            "name": {"givenName": name, "familyName": "Test"},
            "emails": [{"value": format!("{name}@example.com"), "type": "work", "primary": true}],
            "active": true,
        });
        people.push(
            knock
                .ask("POST", "/Users", Some(&body))
                .await
                .expect(201)
                .id(),
        );
    }
    let listed: Vec<Value> = people.iter().map(|id| json!({ "value": id })).collect();
    let body = json!({ "schemas": [CORE_GROUP], "displayName": "Staff", "members": listed });
    let id = knock
        .ask("POST", "/Groups", Some(&body))
        .await
        .expect(201)
        .id();
    quiet().await;
    assert_eq!(there().await, [(String::from("Staff"), 3)]);

    let path = format!("/Groups/{id}");
    let operations = json!([
        {"op": "remove", "path": format!("members[value eq \"{}\"]", people[0])},
        {"op": "remove", "path": format!("members[value eq \"{}\"]", people[1])},
        {"op": "replace", "path": "displayName", "value": "People"},
    ]);
    let body = json!({ "schemas": [PATCH], "Operations": operations });
    knock.ask("PATCH", &path, Some(&body)).await.expect(200);
    quiet().await;
    assert_eq!(there().await, [(String::from("People"), 1)]);

    knock.ask("DELETE", &path, None).await.expect(204);
    quiet().await;
    assert_eq!(there().await, []);
    assert!(serving.drain().await.whole);
}

/// The process dies while a call is out, with and without effect: what it left on disk is carried on by another one.
#[tokio::test]
async fn a_gateway_that_dies_in_a_call_leaves_nothing_twice_and_nobody_behind() {
    for (method, effect) in [
        (Method::Post, true),
        (Method::Post, false),
        (Method::Patch, true),
        (Method::Patch, false),
        (Method::Delete, true),
        (Method::Delete, false),
    ] {
        let plan = pushing("[\"*\"]", "");
        let house = House::with(plan.clone()).await;
        let (ada, bob) = (user(&house, "ada").await, user(&house, "bob").await);
        let state = house.sandbox.state();
        if method != Method::Delete {
            fail(&house, method, "/Groups", What::Hold);
        }
        let id = group(&house, "Staff", &[&ada]).await;
        if method == Method::Delete {
            house.settled().await;
            fail(&house, method, "/Groups", What::Hold);
            house
                .ask("DELETE", &format!("/Groups/{id}"), None)
                .await
                .expect(204);
        }
        // Two users took two calls each, the group a look-up, a create, its member and its end.
        let before = match method {
            Method::Post => 6,
            Method::Patch => 7,
            _ => 8,
        };
        state.arrived(before).await;

        // As a kill at this moment would leave it.
        let folder = tempfile::tempdir().unwrap();
        for name in ["usher.redb", "usher.redb.marker"] {
            std::fs::copy(house.folder().join(name), folder.path().join(name)).unwrap();
        }
        if effect {
            // What is held has no effect when its caller goes away: so it has it here.
            let held = state.calls().pop().unwrap();
            let answer = state.answer(method, &held.path, None, held.body.as_ref());
            assert!(answer.0 < 300, "{answer:?}");
        }
        let engine = house.serving.gateway.engine().unwrap();
        engine.cut.send_replace(true);

        // Nothing of what is in doubt is repeated before the client's next word.
        let what = What::Status {
            status: 429,
            retry_after: None,
            body: None,
        };
        fail(&house, Method::Patch, "/Groups", what);
        let text = crate::house::text(&plan, &house.sandbox.base_url(), "127.0.0.1:0");
        let secret = house.sandbox.token().to_owned();
        let origin = folder.path().join("usher.toml");
        let config = usher::config::parse(&text, &origin, &|_| Some(secret.clone())).unwrap();
        let mut serving = Serving::start(config, house.clock.clone(), false)
            .await
            .unwrap();
        serving.ready().await.unwrap();
        let engine = serving.gateway.engine().unwrap();
        assert_eq!(engine.store.rolled_forward(), 1, "{method:?} {effect}");
        let knock = Knock::at(format!("http://{}/scim/v2", serving.address));
        if method != Method::Delete {
            // She leaves before anybody knows whether she arrived.
            let operations = json!([
                {"op": "remove", "path": format!("members[value eq \"{ada}\"]")},
                {"op": "add", "path": "members", "value": [{"value": bob}]},
            ]);
            let body = json!({ "schemas": [PATCH], "Operations": operations });
            let path = format!("/Groups/{id}");
            knock.ask("PATCH", &path, Some(&body)).await.expect(200);
        }
        let settled = async {
            let mut committed = engine.store.committed();
            loop {
                committed.mark_unchanged();
                if engine.store.view().unwrap().mark_count("zoom").unwrap() == 0 {
                    return;
                }
                committed.changed().await.unwrap();
            }
        };
        let passing = async {
            loop {
                // Gives the gateway's tasks the machine; how long does not matter.
                tokio::time::sleep(Duration::from_millis(1)).await;
                house.clock.advance(Duration::from_millis(500));
            }
        };
        let whole = async {
            tokio::select! {
                () = settled => {}
                () = passing => unreachable!("time does not end"),
            }
        };
        tokio::time::timeout(crate::house::PATIENCE, whole)
            .await
            .unwrap_or_else(|_| panic!("{method:?} {effect}: it is all done"));
        let groups = house.sandbox.state().groups();
        if method == Method::Delete {
            assert_eq!(groups.len(), 0, "{method:?} {effect}: {groups:?}");
        } else {
            assert_eq!(groups.len(), 1, "{method:?} {effect}: {groups:?}");
            assert_eq!(members(&house, "Staff"), ["bob"], "{method:?} {effect}");
        }
    }
}
