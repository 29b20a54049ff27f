//! Groups of policies: who was in them when, told by the journal.

use serde_json::{Value, json};

use super::{DAY, Said, delete, now, person, replay, set, written};
use crate::belonging::{add, group, patch, plan, remove};
use crate::house::House;

#[tokio::test]
async fn a_policy_counts_by_who_was_in_its_group() {
    let house = House::new().await;
    let since = now(&house).await;
    let ada = person(&house, "ada@example.com", json!({})).await;
    person(&house, "bob@example.com", json!({})).await;
    group(&house, "Zoom Users", &[&ada]).await;
    house.settled().await;
    let assigned = plan(&["zoom users"], "");
    let said = replay(&house, &written(&house, &assigned), &since).await;
    assert_eq!(said.all("person").len(), 1, "{:?}", said.lines);
    let bob = said.person("bob@example.com");
    assert_eq!(
        bob["now"]["code"], "unknown_group",
        "there was none when he came"
    );
    assert!(said.notes().contains("only who belongs by them"));
    // A group that nobody has gives nothing and takes nothing.
    let unknown = plan(&["Nobody has it"], "");
    let said = replay(&house, &written(&house, &unknown), &since).await;
    assert_eq!(
        said.person("ada@example.com")["now"]["code"],
        "unknown_group"
    );
}

#[tokio::test]
async fn who_came_and_went_by_the_same_groups_is_no_difference() {
    let assigned = plan(&["Zoom Users"], "");
    let house = House::with(assigned.clone()).await;
    let first = person(&house, "first@example.com", json!({})).await;
    let zoom = group(&house, "Zoom Users", &[&first]).await;
    house.settled().await;
    let since = now(&house).await;
    let comes = person(&house, "comes@example.com", json!({})).await;
    set(&house, &comes, "displayName", json!("C")).await;
    let add = json!([{"op": "add", "path": "members", "value": [{"value": comes}]}]);
    patch(&house, &format!("/Groups/{zoom}"), add).await;
    set(&house, &first, "displayName", json!("F")).await;
    remove(&house, &zoom, &[&first]).await;
    let said = replay(&house, &written(&house, &assigned), &since).await;
    said.is_the_same();
    assert_eq!(said.count("create"), (1, 1));
    assert_eq!(said.count("deactivate"), (1, 1));
}

fn deeds(person: &Value, side: &str) -> String {
    let deeds = person[side]["did"].as_array().unwrap().iter();
    let deeds: Vec<_> = deeds.map(|deed| deed.as_str().unwrap()).collect();
    deeds.join(" ")
}

/// Groups do all that they do, with people who come, go, come back and are deleted.
async fn lively(house: &House, first: &str, leaves: &str) {
    let zoom = group(house, "Zoom Users", &[first, leaves]).await;
    house.settled().await;
    let ada = person(house, "ada@example.com", json!({})).await;
    let bob = person(house, "bob@example.com", json!({})).await;
    let eve = person(house, "eve@example.com", json!({"active": false})).await;
    let gone = person(house, "gone@example.com", json!({})).await;
    add(house, &zoom, &[&ada, &eve]).await;
    let inner = group(house, "Inner", &[&bob, &gone]).await;
    let outer = group(house, "Outer", &[&inner]).await;
    house.settled().await;
    add(house, &zoom, &[&outer]).await;
    // In a circle.
    add(house, &inner, &[&outer]).await;
    house.later(DAY).await;
    remove(house, &zoom, &[leaves]).await;
    set(house, &eve, "active", json!(true)).await;
    remove(house, &zoom, &[&ada]).await;
    house.later(DAY).await;
    add(house, &zoom, &[&ada]).await;
    delete(house, &gone).await;
    rename(house, &zoom, "Video Users").await;
    remove(house, &outer, &[&inner]).await;
    add(house, &outer, &[&inner]).await;
    house.later(DAY).await;
    end(house, &inner).await;
    let late = person(house, "late@example.com", json!({})).await;
    add(house, &zoom, &[&late]).await;
    delete(house, &late).await;
    // What was begun is done by then.
    house.later(3 * DAY).await;
}

async fn rename(house: &House, group: &str, name: &str) {
    let rename = json!([{"op": "replace", "path": "displayName", "value": name}]);
    patch(house, &format!("/Groups/{group}"), rename).await;
}

async fn end(house: &House, group: &str) {
    let path = format!("/Groups/{group}");
    house.ask("DELETE", &path, None).await.expect(204);
    house.settled().await;
}

#[tokio::test]
async fn the_same_groups_do_the_same_whatever_happened() {
    for more in [
        "[application.safety]\nmax_removals = 100\n",
        "[application.users]\nleave_after = \"1h\"\n[application.safety]\nmax_removals = 2\n",
        "[application.users]\non_leave = \"delete\"\ndelete_after = \"2d\"\n[application.safety]\nmax_removals = 100\n",
    ] {
        let assigned = plan(&["Zoom Users"], more);
        let house = House::with(assigned.clone()).await;
        let first = person(&house, "first@example.com", json!({})).await;
        let leaves = person(&house, "leaves@example.com", json!({})).await;
        let idle = person(&house, "idle@example.com", json!({"active": false})).await;
        let since = now(&house).await;
        lively(&house, &first, &leaves).await;
        let written = written(&house, &assigned);
        let whole = replay(&house, &written, &since).await;
        whole.is_the_same();
        assert!(whole.count("create").0 >= 4, "{:?}", whole.lines);
        // From then on all are in it already. Who was deleted before is looked at by workers only, which says too little.
        let part = |said: &Said| {
            said.differs_for_nobody();
            let unsaid = said.all("unsaid").into_iter();
            for one in unsaid {
                assert!(
                    ["gone@example.com", "late@example.com"]
                        .contains(&one["user"].as_str().unwrap()),
                    "{:?}",
                    said.lines
                );
            }
        };
        let since = now(&house).await;
        set(&house, &first, "displayName", json!("F")).await;
        let groups = house.ask("GET", "/Groups", None).await.body;
        let zoom = groups["Resources"].as_array().unwrap().iter();
        let zoom = zoom.clone().find(|one| one["displayName"] == "Video Users");
        let zoom = zoom.unwrap()["id"].as_str().unwrap().to_owned();
        add(&house, &zoom, &[&idle]).await;
        remove(&house, &zoom, &[&first]).await;
        add(&house, &zoom, &[&first]).await;
        end(&house, &zoom).await;
        house.later(DAY).await;
        part(&replay(&house, &written, &since).await);
        // And with a new group of the name.
        let again = group(&house, "Zoom Users", &[&leaves]).await;
        house.settled().await;
        house.later(DAY).await;
        set(&house, &leaves, "displayName", json!("L")).await;
        remove(&house, &again, &[&leaves]).await;
        house.later(DAY).await;
        part(&replay(&house, &written, &since).await);
        replay(&house, &written, "2026-01-01").await.is_the_same();
    }
}

#[tokio::test]
async fn a_group_gives_and_takes_scope_where_nothing_was_done_then() {
    let house = House::with(plan(&["Old"], "[application.safety]\nmax_removals = 100\n")).await;
    let mut ids = Vec::new();
    for name in ["in", "out", "nested", "stays", "dies", "other"] {
        ids.push(person(&house, &format!("{name}@example.com"), json!({})).await);
    }
    let [came, out, nested, stays, dies, other] = &ids[..] else {
        panic!("six people")
    };
    let old = group(&house, "Old", &[out, stays, dies]).await;
    let new = group(&house, "New", &[out, stays, dies]).await;
    let inner = group(&house, "Inner", &[nested]).await;
    group(&house, "Elsewhere", &[other]).await;
    house.settled().await;
    let since = now(&house).await;
    add(&house, &new, &[came]).await;
    remove(&house, &new, &[out]).await;
    add(&house, &new, &[&inner]).await;
    house.later(DAY).await;
    add(&house, &old, &[other]).await;
    delete(&house, dies).await;
    let more = "[application.safety]\nmax_removals = 100\n";
    let config = written(&house, &plan(&["New"], more));
    let said = replay(&house, &config, &since).await;
    for (name, then, now) in [
        ("in", "", "create"),
        ("out", "", "deactivate"),
        ("nested", "", "create"),
        ("other", "create", ""),
    ] {
        let person = said.person(&format!("{name}@example.com"));
        assert_eq!(deeds(person, "then"), then, "{name} {:?}", said.lines);
        assert_eq!(deeds(person, "now"), now, "{name} {:?}", said.lines);
    }
    assert_eq!(said.all("person").len(), 4, "{:?}", said.lines);
    assert!(said.all("unsaid").is_empty(), "{:?}", said.lines);
    assert_eq!(said.count("deactivate"), (1, 2), "who died was in both");
    let kept = plan(
        &["New"],
        &format!("[application.users]\non_leave = \"keep\"\n{more}"),
    );
    let said = replay(&house, &written(&house, &kept), &since).await;
    let told = said.person("out@example.com");
    assert_eq!(deeds(told, "now"), "", "{:?}", said.lines);

    // Taken out again with all that is in it, and then there is no group any more.
    let since = now(&house).await;
    remove(&house, &new, &[&inner]).await;
    house.later(DAY).await;
    let said = replay(&house, &config, &since).await;
    assert_eq!(said.all("person").len(), 1, "{:?}", said.lines);
    let since = now(&house).await;
    end(&house, &new).await;
    let said = replay(&house, &config, &since).await;
    let stays = said.person("stays@example.com");
    assert_eq!(deeds(stays, "now"), "deactivate", "{:?}", said.lines);
    assert_eq!(stays["now"]["code"], "group_deleted");
}
