//! Groups and memberships are put back, and nobody is out for a moment.

use usher::provision::link::Link;
use usher::scim::Kind;
use usher::store::Key;

use super::*;
use crate::belonging::{active, add, all, group, held, patch, plan, remove};
use crate::house::{Answer, PATIENCE};
use crate::import;

const CORE_GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const BULK: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
/// The token of the second client, entra.
const OTHER: &str = "ush_a-token-for-the-second-client-of-the-tests-02";

/// Licences for the members of these groups; so many may be removed at once.
fn licences(groups: &[&str], removals: usize) -> Plan {
    let tables = TABLES.replace("max_removals = 50", &format!("max_removals = {removals}"));
    plan(groups, &tables)
}

/// The ids of a group's members, sorted.
async fn members(house: &House, group: &str) -> Vec<String> {
    let read = house.ask("GET", &format!("/Groups/{group}"), None).await;
    let members = read.expect(200).body["members"].as_array().cloned();
    let id = |member: Value| member["value"].as_str().unwrap().to_owned();
    let mut ids: Vec<String> = members.unwrap_or_default().into_iter().map(id).collect();
    ids.sort();
    ids
}

fn sorted(ids: &[String]) -> Vec<String> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}

/// The id of the one group of a name.
async fn named(house: &House, name: &str) -> String {
    let path = format!("/Groups?filter=displayName%20eq%20%22{name}%22");
    let found = house.ask("GET", &path, None).await.expect(200).body;
    assert_eq!(found["totalResults"], 1, "{found}");
    found["Resources"][0]["id"].as_str().unwrap().to_owned()
}

/// A moment from which on what is done is to be undone.
async fn mistake(house: &House) -> String {
    house.later(Duration::from_secs(60)).await;
    house.clock.now().rfc3339()
}

async fn empty(house: &House, group: &str, name: &str) {
    let body = json!({ "schemas": [CORE_GROUP], "displayName": name, "members": [] });
    let path = format!("/Groups/{group}");
    house.ask("PUT", &path, Some(&body)).await.expect(200);
    house.settled().await;
}

fn calls(house: &House) -> usize {
    house.sandbox.state().calls().len()
}

#[tokio::test]
async fn a_group_that_was_emptied_is_filled_again() {
    let house = House::with(licences(&["Zoom"], 3)).await;
    let ids = people(&house, 12).await;
    let zoom = group(&house, "Zoom", &all(&ids)).await;
    house.settled().await;
    assert_eq!(licensed(&house), 12);
    let since = mistake(&house).await;
    empty(&house, &zoom, "Empty").await;
    assert_eq!((licensed(&house), held(&house)), (12, 12));

    let (shown, code) = undo(&house, &since, &until(&house), &[]).await;
    assert_eq!(count(&shown, "restore"), 1);
    assert_eq!((moved(&shown), done(&shown), code), ((12, 0), 0, Some(0)));
    assert_eq!(held(&house), 12, "showing changes nothing");
    assert!(members(&house, &zoom).await.is_empty());

    let before = calls(&house);
    let (undone, code) = undo(&house, &since, &until(&house), &["--yes"]).await;
    assert_eq!((moved(&undone), done(&undone), code), ((12, 0), 1, Some(0)));
    assert_eq!(undone[0]["attributes"], json!(["displayName"]));
    house.settled().await;
    assert_eq!(named(&house, "Zoom").await, zoom);
    assert_eq!(members(&house, &zoom).await, sorted(&ids));
    assert_eq!((licensed(&house), held(&house)), (12, 0));
    assert_eq!(calls(&house), before, "nobody was ever gone");

    // Two are within the limit, and gone; they come back with their licences.
    let since = mistake(&house).await;
    remove(&house, &zoom, &all(&ids[..2])).await;
    assert_eq!((licensed(&house), active(&house).len()), (10, 10));
    let (undone, _) = undo(&house, &since, &until(&house), &["--yes"]).await;
    assert_eq!((moved(&undone), done(&undone)), ((2, 0), 1));
    house.settled().await;
    assert_eq!(licensed(&house), 12);
    let (again, code) = undo(&house, &since, &until(&house), &["--yes"]).await;
    assert_eq!((count(&again, "nothing"), moved(&again)), (1, (0, 0)));
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn the_group_of_a_policy_is_made_again_with_all_that_was_in_it() {
    let house = House::with(licences(&["Zoom"], 50)).await;
    let ids = people(&house, 6).await;
    let team = group(&house, "Team", &all(&ids[..3])).await;
    let zoom = group(&house, "Zoom", &[&team, &ids[3], &ids[4]]).await;
    house.settled().await;
    assert_eq!(licensed(&house), 5);
    let since = mistake(&house).await;
    for group in [&zoom, &team] {
        let path = format!("/Groups/{group}");
        house.ask("DELETE", &path, None).await.expect(204);
    }
    house.settled().await;
    assert_eq!((licensed(&house), held(&house)), (5, 5));

    let (shown, _) = undo(&house, &since, &until(&house), &[]).await;
    assert_eq!((count(&shown, "recreate"), moved(&shown)), (2, (6, 0)));
    let before = calls(&house);
    let until = until(&house);
    let (undone, code) = undo(&house, &since, &until, &["--yes"]).await;
    assert_eq!((moved(&undone), done(&undone), code), ((6, 0), 2, Some(0)));
    house.later(Duration::from_secs(60)).await;
    house.settled().await;
    assert_eq!((licensed(&house), held(&house)), (5, 0));
    assert_eq!(calls(&house), before);
    let (zoom, team) = (named(&house, "Zoom").await, named(&house, "Team").await);
    assert_eq!(members(&house, &team).await, sorted(&ids[..3]));
    let outer = [team.clone(), ids[3].clone(), ids[4].clone()];
    assert_eq!(members(&house, &zoom).await, sorted(&outer));
    // The policy is the new group's.
    add(&house, &team, &[&ids[5]]).await;
    assert_eq!(licensed(&house), 6);
    remove(&house, &zoom, &[&team]).await;
    assert_eq!(licensed(&house), 2);

    let (again, code) = undo(&house, &since, &until, &["--yes"]).await;
    // Somebody has taken it out since, and it stands as it stood when these writes were done.
    assert_eq!((moved(&again), code), ((1, 0), Some(0)));
}

/// Asks as entra; okta is [`House::ask`].
async fn entra(house: &House, method: &str, path: &str, body: Value) -> Answer {
    let headers = [
        ("authorization", format!("Bearer {OTHER}")),
        ("content-type", String::from("application/scim+json")),
    ];
    let body = (!body.is_null()).then(|| body.to_string());
    let answer = house.knock.send(method, path, &headers, body).await;
    answer.expect("an answer")
}

#[tokio::test]
async fn who_was_deleted_is_in_their_groups_again_whosever_these_are() {
    let hash: String = usher::auth::hash(OTHER.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut two = licences(&["Zoom"], 50);
    two.tables += &format!("[[client]]\nname = \"entra\"\ntoken_sha256 = [\"{hash}\"]\n");
    let house = House::with(two).await;
    let ids = people(&house, 5).await;
    let values: Vec<Value> = ids.iter().map(|id| json!({ "value": id })).collect();
    let body = json!({"schemas": [CORE_GROUP], "displayName": "Zoom", "members": values});
    let zoom = entra(&house, "POST", "/Groups", body)
        .await
        .expect(201)
        .id();
    let own = group(&house, "Own", &all(&ids[..1])).await;
    house.settled().await;
    assert_eq!(licensed(&house), 5);
    let since = mistake(&house).await;
    for id in &ids[..2] {
        let path = format!("/Users/{id}");
        house.ask("DELETE", &path, None).await.expect(204);
    }
    // What entra does at the same time is not okta's, and stays.
    let body = json!({"schemas": [PATCH], "Operations": [{"op": "remove", "path": "members", "value": [{"value": ids[4]}]}]});
    let path = format!("/Groups/{zoom}");
    assert!(entra(&house, "PATCH", &path, body).await.status < 300);
    house.settled().await;
    assert_eq!(licensed(&house), 2);

    let (shown, _) = undo(&house, &since, &until(&house), &[]).await;
    assert_eq!((count(&shown, "recreate"), moved(&shown)), (2, (3, 0)));
    let (undone, code) = undo(&house, &since, &until(&house), &["--yes"]).await;
    assert_eq!((moved(&undone), done(&undone), code), ((3, 0), 4, Some(0)));
    house.settled().await;
    assert_eq!(licensed(&house), 4, "in scope again, with their licences");
    assert_eq!(members(&house, &zoom).await.len(), 4);
    assert_eq!(members(&house, &own).await.len(), 1);
    // It is entra's as before.
    let rename = json!({"schemas": [PATCH], "Operations": [{"op": "replace", "path": "displayName", "value": "Video"}]});
    house.ask("PATCH", &path, Some(&rename)).await.expect(403);
    assert!(entra(&house, "PATCH", &path, rename).await.status < 300);

    let (again, code) = undo(&house, &since, &until(&house), &["--yes"]).await;
    assert_eq!((moved(&again), done(&again), code), ((0, 0), 0, Some(0)));
}

#[tokio::test]
async fn a_group_that_is_nobodys_has_them_again_and_stays_nobodys() {
    let house = House::with(Plan {
        tables: String::from("[application.groups]\npush = [\"*\"]\n"),
        ..Plan::default()
    })
    .await;
    let accounts = ["ada", "bob"].map(|name| import::account(&house, &import::body(name)));
    import::group_there(&house, "Team", &accounts);
    import::import(&house, false).await;
    let team = named(&house, "Team").await;
    assert_eq!(members(&house, &team).await.len(), 2);
    let found = house.ask("GET", "/Users?filter=displayName%20eq%20%22ada%22", None);
    let found = found.await.expect(200).body;
    let ada = found["Resources"][0]["id"].as_str().unwrap();
    replace(&house, ada, "title", json!("Prof")).await;
    let since = mistake(&house).await;
    let path = format!("/Users/{ada}");
    house.ask("DELETE", &path, None).await.expect(204);
    house.settled().await;
    let (undone, code) = undo(&house, &since, &until(&house), &["--yes"]).await;
    assert_eq!((moved(&undone), done(&undone), code), ((1, 0), 2, Some(0)));
    house.settled().await;
    assert_eq!(members(&house, &team).await.len(), 2);
    let engine = house.serving.gateway.engine().unwrap();
    let view = engine.store.view().unwrap();
    let handle = view.find(&Key::Id(Kind::Group, &team)).unwrap().unwrap();
    let group = view.resource(handle).unwrap().unwrap();
    assert_eq!(group.owner, "");
    assert!(group.links.iter().all(Link::is_unclaimed) && !group.links.is_empty());
}

#[tokio::test]
async fn what_somebody_changed_since_stays_as_they_left_it() {
    let house = House::with(licences(&["Zoom"], 50)).await;
    let ids = people(&house, 5).await;
    let zoom = group(&house, "Zoom", &all(&ids[..3])).await;
    let other = group(&house, "Other", &all(&ids[..2])).await;
    house.settled().await;
    let since = mistake(&house).await;
    let name = |name: &str| json!([{"op": "replace", "path": "displayName", "value": name}]);
    let path = format!("/Groups/{zoom}");
    patch(&house, &path, name("Wrong")).await;
    remove(&house, &zoom, &all(&ids[..2])).await;
    add(&house, &zoom, &[&ids[3]]).await;
    // In and out again: nothing.
    add(&house, &zoom, &[&ids[4]]).await;
    remove(&house, &zoom, &[&ids[4]]).await;
    remove(&house, &other, &[&ids[0]]).await;
    let until = until(&house);
    house.later(Duration::from_secs(60)).await;
    patch(&house, &path, name("Right")).await;
    add(&house, &zoom, &[&ids[0]]).await;
    let gone = format!("/Groups/{other}");
    house.ask("DELETE", &gone, None).await.expect(204);
    house.settled().await;

    let (undone, code) = undo(&house, &since, &until, &["--yes"]).await;
    assert_eq!((moved(&undone), done(&undone), code), ((1, 1), 1, Some(0)));
    let line = |id: &str| undone.iter().find(|line| line["id"] == id).unwrap();
    assert_eq!(line(&zoom)["reason"], "changed since: displayName");
    assert_eq!(line(&other)["reason"], "deleted since by somebody else");
    house.settled().await;
    assert_eq!(members(&house, &zoom).await, sorted(&ids[..3]));
    let read = house.ask("GET", &path, None).await;
    assert_eq!(read.body["displayName"], "Right");
    assert_eq!(licensed(&house), 3);
}

#[tokio::test]
async fn who_was_moved_between_two_groups_keeps_the_account() {
    let house = House::with(licences(&["Sales", "Staff"], 50)).await;
    let ids = people(&house, 4).await;
    let sales = group(&house, "Sales", &all(&ids)).await;
    let staff = group(&house, "Staff", &all(&ids[..1])).await;
    house.settled().await;
    assert_eq!(licensed(&house), 4);
    let since = mistake(&house).await;
    add(&house, &staff, &all(&ids[1..3])).await;
    remove(&house, &sales, &all(&ids[1..3])).await;
    let before = calls(&house);
    let (undone, _) = undo(&house, &since, &until(&house), &["--yes"]).await;
    assert_eq!((moved(&undone), done(&undone)), ((2, 2), 2));
    house.settled().await;
    assert_eq!(members(&house, &staff).await, sorted(&ids[..1]));
    assert_eq!(members(&house, &sales).await, sorted(&ids));
    assert_eq!((calls(&house), licensed(&house)), (before, 4));
}

#[tokio::test]
async fn a_group_of_more_than_a_record_holds_comes_back_whole() {
    const COUNT: usize = 1_207;
    // Nobody has an account: this is about the directory.
    let house = House::with(plan(&["Nobody"], "")).await;
    let one = |number: usize| {
        let data = json!({"schemas": [CORE_USER], "userName": format!("b{number}@example.com")});
        json!({"method": "POST", "path": "/Users", "bulkId": number.to_string(), "data": data})
    };
    let mut ids = Vec::new();
    let all: Vec<Value> = (0..COUNT).map(one).collect();
    for some in all.chunks(700) {
        let body = json!({ "schemas": [BULK], "Operations": some });
        let made = house.ask("POST", "/Bulk", Some(&body)).await.expect(200);
        for made in made.body["Operations"].as_array().unwrap() {
            let location = made["location"].as_str().unwrap();
            ids.push(location.rsplit('/').next().unwrap().to_owned());
        }
    }
    let refs: Vec<&str> = ids.iter().map(String::as_str).collect();
    let large = group(&house, "Large", &refs).await;
    house.settled().await;

    let since = mistake(&house).await;
    empty(&house, &large, "Large").await;
    let (undone, code) = undo(&house, &since, &until(&house), &["--yes"]).await;
    assert_eq!((moved(&undone), code), ((COUNT as u64, 0), Some(0)));
    assert_eq!(members(&house, &large).await, sorted(&ids));

    let since = mistake(&house).await;
    let path = format!("/Groups/{large}");
    house.ask("DELETE", &path, None).await.expect(204);
    let until = until(&house);
    // Its members go in slices. Where the last one has not gone yet the command says so, and is run again.
    let back = async {
        loop {
            let (undone, code) = undo(&house, &since, &until, &["--yes"]).await;
            if code == Some(0) {
                return undone;
            }
            assert_eq!(code, Some(75), "{undone:?}");
        }
    };
    let undone = tokio::time::timeout(PATIENCE, back).await.unwrap();
    assert_eq!((moved(&undone), done(&undone)), ((COUNT as u64, 0), 1));
    let large = named(&house, "Large").await;
    assert_eq!(members(&house, &large).await, sorted(&ids));
}

#[tokio::test]
async fn what_is_undone_goes_at_the_pace_of_the_application() {
    let house = House::with(licences(&["Zoom"], 50)).await;
    let ids = people(&house, 13).await;
    let zoom = group(&house, "Zoom", &all(&ids)).await;
    house.settled().await;
    let since = mistake(&house).await;
    remove(&house, &zoom, &all(&ids[..12])).await;
    assert_eq!(licensed(&house), 1);
    house
        .reload(&Plan {
            pace: Some((1, 1, 8)),
            ..licences(&["Zoom"], 50)
        })
        .await;
    house.settled().await;
    house.later(Duration::from_secs(60)).await;

    let before = calls(&house);
    let (undone, _) = undo(&house, &since, &until(&house), &["--yes"]).await;
    assert_eq!(moved(&undone), (12, 0));
    let rows = house.report(Query {
        client: Some(String::from("undo")),
        ..Query::default()
    });
    assert!(rows.iter().all(|row| row.calls.is_empty()), "none inline");
    let gate = {
        let engine = house.serving.gateway.engine().unwrap();
        engine.applications[0].gate.clone()
    };
    let back = async {
        while licensed(&house) < 13 {
            // Gives the gateway's tasks the machine; how long does not matter.
            tokio::time::sleep(Duration::from_millis(1)).await;
            // A call on its way would be counted later than it was let go.
            if gate.snapshot(house.clock.now()).in_flight == 0 {
                house.clock.advance(Duration::from_millis(50));
            }
        }
    };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    // Two calls for each: some at once, then one a second.
    let calls = house.sandbox.state().calls();
    let times: Vec<_> = calls[before..].iter().map(|call| call.at).collect();
    assert_eq!(times.len(), 24);
    for (first, last) in times.iter().zip(&times[14..]) {
        let span = last.since(*first);
        assert!(span >= Duration::from_secs(8), "15 calls in {span:?}");
    }
}

#[tokio::test]
async fn with_an_application_only_whom_it_concerns_is_undone() {
    let house = House::with(licences(&["Zoom"], 50)).await;
    let ids = people(&house, 4).await;
    let zoom = group(&house, "Zoom", &all(&ids[..2])).await;
    let choir = group(&house, "Choir", &all(&ids)).await;
    house.settled().await;
    let since = mistake(&house).await;
    for id in &ids {
        replace(&house, id, "active", json!(false)).await;
    }
    remove(&house, &zoom, &[&ids[0]]).await;
    remove(&house, &choir, &[&ids[0]]).await;
    house.settled().await;
    assert_eq!(licensed(&house), 0);
    let (undone, code) = undo(
        &house,
        &since,
        &until(&house),
        &["--yes", "--application", "zoom"],
    )
    .await;
    assert_eq!((undone.len(), done(&undone), code), (3, 3, Some(0)));
    house.settled().await;
    assert_eq!(licensed(&house), 2);
    assert_eq!(members(&house, &choir).await.len(), 3);
    for (id, is) in ids.iter().zip([true, true, false, false]) {
        let read = house.ask("GET", &format!("/Users/{id}"), None).await;
        assert_eq!(read.body["active"], is);
    }
    let (_, code) = undo(&house, &since, &until(&house), &["--application", "wiki"]).await;
    assert_eq!(code, Some(64));
}
