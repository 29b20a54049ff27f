//! A source that went empty, and every other way of taking away many at once, against the safety limit at its default.

use std::time::Duration;

use serde_json::{Value, json};

use crate::belonging::{group, patch, plan, users};
use crate::house::{House, Plan, say};

/// How many there are, and how many of them the limit lets go within an hour.
const PEOPLE: usize = 40;
const THRESHOLD: usize = 5;

/// What a client does to all of them.
#[derive(Debug, Clone, Copy)]
enum Slip {
    /// The members of the policy's group are a list that names nobody of them.
    EmptyGroup,
    /// They are taken out of it one by one.
    Unassigned,
    /// One request a person says `active: false`, for nearly a third.
    Deactivated,
    /// One request a person deletes them, all of them.
    Deleted,
    /// The same in one Bulk.
    Bulk,
    /// The group itself is deleted.
    GroupDeleted,
    /// The configuration names a domain that nobody has.
    OtherDomain,
}

/// Accounts that are not active any more, or gone.
fn taken(house: &House) -> usize {
    let accounts = house.sandbox.state().accounts();
    PEOPLE - accounts.iter().filter(|one| one.active).count()
}

/// What is in force afterwards.
async fn slip(house: &House, slip: Slip, group: &str, ids: &[String]) -> Plan {
    let zoom = format!("/Groups/{group}");
    let off = json!([{"op": "replace", "path": "active", "value": false}]);
    match slip {
        Slip::EmptyGroup => {
            let none = json!([{"op": "replace", "path": "members", "value": []}]);
            patch(house, &zoom, none).await;
        }
        Slip::Unassigned => {
            for id in ids {
                let out = json!([{"op": "remove", "path": "members", "value": [{"value": id}]}]);
                patch(house, &zoom, out).await;
            }
        }
        Slip::Deactivated => {
            for id in &ids[..PEOPLE * 3 / 10] {
                patch(house, &format!("/Users/{id}"), off.clone()).await;
            }
        }
        Slip::Deleted => {
            for id in ids {
                let gone = house.ask("DELETE", &format!("/Users/{id}"), None).await;
                gone.expect(204);
            }
        }
        Slip::Bulk => {
            let operation =
                |id: &String| json!({"method": "DELETE", "path": format!("/Users/{id}")});
            let body = json!({
                "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
                "Operations": ids.iter().map(operation).collect::<Vec<Value>>()
            });
            house.ask("POST", "/Bulk", Some(&body)).await.expect(200);
        }
        Slip::GroupDeleted => {
            house.ask("DELETE", &zoom, None).await.expect(204);
        }
        Slip::OtherDomain => {
            let other = Plan {
                application: String::from("authorized_domains = [\"other.example\"]"),
                ..plan(&["Zoom"], "")
            };
            house.reload(&other).await;
            house.settled().await;
            return other;
        }
    }
    house.settled().await;
    plan(&["Zoom"], "")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_slip_of_a_source_takes_more_than_the_limit_lets_go() {
    for kind in [
        Slip::EmptyGroup,
        Slip::Unassigned,
        Slip::Deactivated,
        Slip::Deleted,
        Slip::Bulk,
        Slip::GroupDeleted,
        Slip::OtherDomain,
    ] {
        let house = House::with(plan(&["Zoom"], "")).await;
        let ids = users(&house, "u", PEOPLE).await;
        let all: Vec<&str> = ids.iter().map(String::as_str).collect();
        let zoom = group(&house, "Zoom", &all).await;
        house.settled().await;
        assert_eq!(taken(&house), 0);
        let then = slip(&house, kind, &zoom, &ids).await;
        let sent = taken(&house);
        assert!(sent <= THRESHOLD, "{kind:?}: {sent} were sent");
        // Neither time nor a restart lets the others go; the week after a delete deletes only who was taken already.
        let house = house.restart_with(then).await;
        for _ in 0..3 {
            house.later(Duration::from_secs(26 * 3_600)).await;
        }
        assert_eq!(taken(&house), sent, "{kind:?}: later");
        let engine = house.serving.gateway.engine().expect("it is open");
        let held = engine
            .store
            .view()
            .expect("a view")
            .tally("zoom")
            .expect("a tally")
            .holds;
        assert!(held > 0, "{kind:?}: they are held for a person to see");
        say(&format!(
            "{kind:?}: {sent} sent of a threshold of {THRESHOLD}, {held} held"
        ));
    }
}
