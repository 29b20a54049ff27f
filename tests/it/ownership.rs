//! Whose resource it is: two clients at one directory, with and without `take_over`; and what a write changes that
//! changes nothing.

use serde_json::{Value, json};
use usher::journal::record::Status;
use usher::journal::report::Query;

use crate::house::{Answer, House, Plan, row_version};

/// The token of the second client, entra.
const OTHER: &str = "ush_a-token-for-the-second-client-of-the-tests-02";

fn house(take_over: bool) -> Plan {
    let hash: String = usher::auth::hash(OTHER.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Plan {
        tables: format!(
            "[[client]]\nname = \"entra\"\ntoken_sha256 = [\"{hash}\"]\ntake_over = {take_over}\nrate = {{ per_second = 100000, burst = 100000 }}\n"
        ),
        ..Plan::default()
    }
}

/// Asks as entra; okta is [`House::ask`].
async fn entra(house: &House, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let headers = [
        ("authorization", format!("Bearer {OTHER}")),
        ("content-type", String::from("application/scim+json")),
    ];
    let body = body.map(Value::to_string);
    house
        .knock
        .send(method, path, &headers, body)
        .await
        .expect("an answer")
}

fn user(name: &str) -> Value {
    json!({"userName": name, "externalId": format!("x-{name}"), "name": {"givenName": "Ada", "familyName": "King"},
        "emails": [{"value": name, "type": "work", "primary": true}], "active": true})
}

fn patch(operations: Value) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations})
}

fn members(ids: &[&str]) -> Value {
    ids.iter().map(|id| json!({ "value": id })).collect()
}

/// The ids of a group's members, as everybody reads them.
async fn who(house: &House, group: &str) -> Vec<String> {
    let group = house
        .ask("GET", &format!("/Groups/{group}"), None)
        .await
        .expect(200);
    let members = group.body["members"].as_array().cloned();
    let id = |member: Value| member["value"].as_str().expect("an id").to_owned();
    members.unwrap_or_default().into_iter().map(id).collect()
}

/// The row's part of the version, without what is derived from edges; and when it was changed.
async fn version(house: &House, path: &str) -> (String, String) {
    let read = house.ask("GET", path, None).await.expect(200).body;
    let text = |name: &str| read["meta"][name].as_str().expect("a text").to_owned();
    (row_version(&text("version")), text("lastModified"))
}

/// How many resources this client finds by an externalId.
fn total(found: &Answer) -> u64 {
    found.body["totalResults"].as_u64().expect("a total")
}

#[tokio::test]
async fn what_another_client_created_is_read_and_not_written() {
    let house = House::with(house(false)).await;
    let id = house
        .ask("POST", "/Users", Some(&user("a@x.example")))
        .await
        .expect(201)
        .id();
    let group = json!({"displayName": "Staff", "members": members(&[&id])});
    let group = house
        .ask("POST", "/Groups", Some(&group))
        .await
        .expect(201)
        .id();
    let (person, group) = (format!("/Users/{id}"), format!("/Groups/{group}"));
    let before = (
        version(&house, &person).await,
        version(&house, &group).await,
    );
    let rename = patch(json!([{"op": "replace", "path": "displayName", "value": "Somebody else"}]));
    let leave = patch(json!([{"op": "remove", "path": format!("members[value eq \"{id}\"]")}]));
    for (method, path, body) in [
        ("PUT", &person, Some(user("b@x.example"))),
        ("PATCH", &person, Some(rename.clone())),
        ("DELETE", &person, None),
        ("PUT", &group, Some(json!({"displayName": "Staff"}))),
        ("PATCH", &group, Some(rename)),
        ("PATCH", &group, Some(leave)),
        ("DELETE", &group, None),
    ] {
        let refused = entra(&house, method, path, body.as_ref()).await.expect(403);
        let detail = refused.body["detail"].as_str().expect("a detail");
        assert!(
            detail.contains("okta") && detail.contains("take_over"),
            "{method} {path}: {detail}"
        );
    }
    let after = (
        version(&house, &person).await,
        version(&house, &group).await,
    );
    assert_eq!(before, after);
    let read = entra(&house, "GET", &person, None).await.expect(200);
    assert_eq!(read.body["userName"], "a@x.example");
}

#[tokio::test]
async fn a_user_taken_over_belongs_to_its_taker_also_after_a_restart() {
    let house = House::with(house(true)).await;
    let id = house
        .ask("POST", "/Users", Some(&user("a@x.example")))
        .await
        .expect(201)
        .id();
    let path = format!("/Users/{id}");
    let filter = "/Users?filter=externalId%20eq%20%22x-a@x.example%22";
    assert_eq!(total(&house.ask("GET", filter, None).await), 1);
    assert_eq!(total(&entra(&house, "GET", filter, None).await), 0);
    let before = version(&house, &path).await;
    // A write that changes nothing else takes over all the same, and nobody sees another version.
    let same = patch(json!([{"op": "replace", "path": "active", "value": true}]));
    entra(&house, "PATCH", &path, Some(&same)).await.expect(200);
    assert_eq!(version(&house, &path).await, before);
    let row = house.report(Query::default()).remove(0);
    assert_eq!((row.client.as_str(), row.id.as_str()), ("entra", &*id));

    let house = house.restart().await;
    assert_eq!(total(&house.ask("GET", filter, None).await), 0);
    assert_eq!(total(&entra(&house, "GET", filter, None).await), 1);
    let refused = house
        .ask("PUT", &path, Some(&user("a@x.example")))
        .await
        .expect(403);
    let detail = refused.body["detail"].as_str().expect("a detail");
    assert!(detail.contains("belongs to the client entra"), "{detail}");

    let mut other = user("a@x.example");
    other["externalId"] = json!("entra-1");
    entra(&house, "PUT", &path, Some(&other)).await.expect(200);
    let found = "/Users?filter=externalId%20eq%20%22entra-1%22";
    assert_eq!(total(&entra(&house, "GET", found, None).await), 1);
    assert_eq!(total(&entra(&house, "GET", filter, None).await), 0);
    entra(&house, "DELETE", &path, None).await.expect(204);
    house.ask("GET", &path, None).await.expect(404);
}

#[tokio::test]
async fn put_and_delete_take_over_and_the_journal_says_from_whom() {
    let house = House::with(house(true)).await;
    let mut ids = Vec::new();
    for name in ["a@x.example", "b@x.example"] {
        let created = house.ask("POST", "/Users", Some(&user(name))).await;
        ids.push(created.expect(201).id());
    }
    let mut changed = user("a@x.example");
    changed["title"] = json!("Dr");
    let (first, second) = (format!("/Users/{}", ids[0]), format!("/Users/{}", ids[1]));
    entra(&house, "PUT", &first, Some(&changed))
        .await
        .expect(200);
    assert_eq!(version(&house, &first).await.0, "W/\"2\"");
    house.ask("DELETE", &first, None).await.expect(403);
    entra(&house, "DELETE", &second, None).await.expect(204);
    house.ask("GET", &second, None).await.expect(404);
    let engine = house.serving.gateway.engine().expect("it is open");
    let view = engine.store.view().expect("a view");
    let last = view.last_sequence().expect("a journal");
    let taken: Vec<String> = (1..=last)
        .filter_map(|sequence| view.record(sequence).expect("a record"))
        .filter(|record| record.code.as_deref() == Some("taken_over"))
        .map(|record| format!("{} {}", record.id, record.reason.unwrap_or_default()))
        .collect();
    let told = |id: &str| format!("{id} taken over from the client okta");
    assert_eq!(taken, [told(&ids[0]), told(&ids[1])]);
}

#[tokio::test]
async fn a_group_is_taken_over_by_any_change_of_its_members() {
    let house = House::with(house(true)).await;
    let mut ids = Vec::new();
    for name in ["a@x.example", "b@x.example"] {
        let created = house.ask("POST", "/Users", Some(&user(name))).await;
        ids.push(created.expect(201).id());
    }
    let group = json!({"displayName": "Staff", "externalId": "g", "members": members(&[&ids[0]])});
    let group = house
        .ask("POST", "/Groups", Some(&group))
        .await
        .expect(201)
        .id();
    let path = format!("/Groups/{group}");
    let add = |id: &str| patch(json!([{"op": "add", "path": "members", "value": [{"value": id}]}]));
    let found = "/Groups?filter=externalId%20eq%20%22g%22";
    // Who is a member already: the group changes hands and nothing else.
    let before = version(&house, &path).await;
    entra(&house, "PATCH", &path, Some(&add(&ids[0])))
        .await
        .expect(200);
    assert_eq!(version(&house, &path).await, before);
    assert_eq!(total(&entra(&house, "GET", found, None).await), 1);
    assert_eq!(total(&house.ask("GET", found, None).await), 0);
    let refused = house
        .ask("PATCH", &path, Some(&add(&ids[1])))
        .await
        .expect(403);
    assert!(refused.body.to_string().contains("entra"));
    assert_eq!(who(&house, &group).await, [ids[0].clone()]);

    // Its own now: an addition raises the version by one.
    entra(&house, "PATCH", &path, Some(&add(&ids[1])))
        .await
        .expect(200);
    assert_eq!(version(&house, &path).await.0, "W/\"2\"");
    assert_eq!(who(&house, &group).await, ids);

    // And a group that changes hands and members at once.
    let other = json!({"displayName": "Other"});
    let other = house
        .ask("POST", "/Groups", Some(&other))
        .await
        .expect(201)
        .id();
    let path = format!("/Groups/{other}");
    entra(&house, "PATCH", &path, Some(&add(&ids[1])))
        .await
        .expect(200);
    assert_eq!(version(&house, &path).await.0, "W/\"2\"");
    assert_eq!(who(&house, &other).await, [ids[1].clone()]);
    let empty = patch(json!([{"op": "replace", "path": "members", "value": []}]));
    house.ask("PATCH", &path, Some(&empty)).await.expect(403);
    // And one by an addition of somebody whom nobody is: the journal tells both.
    let third = json!({"displayName": "Third"});
    let third = house.ask("POST", "/Groups", Some(&third)).await;
    let nobody = format!("/Groups/{}", third.expect(201).id());
    entra(&house, "PATCH", &nobody, Some(&add("nobody")))
        .await
        .expect(200);
    let engine = house.serving.gateway.engine().expect("it is open");
    let view = engine.store.view().expect("a view");
    let last = view.last_sequence().expect("a journal");
    let record = view
        .record(last)
        .expect("readable")
        .expect("the last record");
    assert_eq!(
        (record.code.as_deref(), record.reason.as_deref()),
        (
            Some("unknown_member"),
            Some(
                "taken over from the client okta; 1 of the members to add have an id that nobody has and were left out"
            )
        )
    );
    drop((view, engine));
    let house = house.restart().await;
    house.ask("DELETE", &path, None).await.expect(403);
    entra(&house, "DELETE", &path, None).await.expect(204);
}

#[tokio::test]
async fn members_that_stay_are_no_change() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for name in ["a@x.example", "b@x.example", "c@x.example"] {
        let created = house.ask("POST", "/Users", Some(&user(name))).await;
        ids.push(created.expect(201).id());
    }
    let [a, b, c] = [&*ids[0], &*ids[1], &*ids[2]];
    let body = |ids: &[&str]| json!({"displayName": "Staff", "members": members(ids)});
    let group = house
        .ask("POST", "/Groups", Some(&body(&[a, b])))
        .await
        .expect(201)
        .id();
    let path = format!("/Groups/{group}");
    let add = |id: &str| patch(json!([{"op": "add", "path": "members", "value": [{"value": id}]}]));
    let remove =
        |id: &str| patch(json!([{"op": "remove", "path": format!("members[value eq \"{id}\"]")}]));
    let replace =
        |ids: &[&str]| patch(json!([{"op": "replace", "path": "members", "value": members(ids)}]));
    let created = version(&house, &path).await;
    let cases: [(&str, Value, u64, &[&str]); 9] = [
        ("PUT", body(&[b, a]), 1, &[a, b]),
        ("PUT", json!({"displayName": "Staff"}), 1, &[a, b]),
        ("PATCH", replace(&[a, b, a]), 1, &[a, b]),
        ("PATCH", add(a), 1, &[a, b]),
        ("PATCH", remove(c), 1, &[a, b]),
        ("PATCH", patch(json!([])), 1, &[a, b]),
        ("PUT", body(&[b, c]), 2, &[b, c]),
        ("PATCH", replace(&[c, a]), 3, &[a, c]),
        ("PUT", body(&[]), 4, &[]),
    ];
    for (method, body, after, left) in cases {
        house.clock.advance(std::time::Duration::from_secs(1));
        house.ask(method, &path, Some(&body)).await.expect(200);
        let (etag, modified) = version(&house, &path).await;
        assert_eq!(etag, format!("W/\"{after}\""), "{method} {body}");
        assert_eq!(modified == created.1, after == 1, "{method} {body}");
        assert_eq!(who(&house, &group).await, left, "{method} {body}");
    }
    // Empty already.
    for body in [body(&[]), json!({"displayName": "Staff", "members": null})] {
        house.ask("PUT", &path, Some(&body)).await.expect(200);
        assert_eq!(version(&house, &path).await.0, "W/\"4\"", "{body}");
    }
    // A list that replaces the members and names nobody would take others away.
    for (method, body) in [
        ("PUT", body(&[a, "nobody"])),
        ("PATCH", replace(&["nobody"])),
    ] {
        house.ask(method, &path, Some(&body)).await.expect(400);
    }
    // To add nobody adds nobody, and who else is named comes.
    let several = patch(
        json!([{"op": "add", "path": "members", "value": [{"value": "nobody"}, {"value": a}]}]),
    );
    house.ask("PATCH", &path, Some(&several)).await.expect(200);
    assert_eq!(who(&house, &group).await, [a]);
    let row = house
        .report(Query::default())
        .into_iter()
        .next()
        .expect("a row");
    assert_eq!(
        (row.status, row.code.as_deref()),
        (Status::Warning, Some("unknown_member"))
    );
    house
        .ask("PATCH", &path, Some(&remove(a)))
        .await
        .expect(200);
    house
        .ask("PUT", &path, Some(&body(&[&group])))
        .await
        .expect(400);
    assert_eq!(who(&house, &group).await, [""; 0]);
}

#[tokio::test]
async fn a_put_clears_what_it_leaves_out_but_not_active() {
    let house = House::new().await;
    let mut ada = user("a@x.example");
    for (key, value) in [
        ("displayName", json!("Ada")),
        ("title", json!("Dr")),
        ("phoneNumbers", json!([{"value": "555", "type": "work"}])),
        ("urn:example:badge:1.0", json!({"colour": "blue"})),
        (
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
            json!({"department": "R&D"}),
        ),
    ] {
        ada[key] = value;
    }
    // A new user has no version to match: If-Match says nothing on a POST.
    let headers = [
        ("authorization", format!("Bearer {}", crate::house::TOKEN)),
        ("content-type", String::from("application/scim+json")),
        ("if-match", String::from("W/\"9\"")),
    ];
    let body = Some(ada.to_string());
    let created = house.knock.send("POST", "/Users", &headers, body).await;
    let created = created.expect("an answer").expect(201);
    let path = format!("/Users/{}", created.id());
    // What it read is what it may write: nothing changes.
    house.clock.advance(std::time::Duration::from_secs(1));
    let same = house
        .ask("PUT", &path, Some(&created.body))
        .await
        .expect(200);
    assert_eq!(same.body["meta"], created.body["meta"]);
    let same = patch(json!([{"op": "replace", "path": "title", "value": "Dr"}]));
    let same = house.ask("PATCH", &path, Some(&same)).await.expect(200);
    assert_eq!(same.body["meta"], created.body["meta"]);

    let off = patch(json!([{"op": "replace", "path": "active", "value": false}]));
    house.ask("PATCH", &path, Some(&off)).await.expect(200);
    let bare = json!({"userName": "a@x.example"});
    let bare = house.ask("PUT", &path, Some(&bare)).await.expect(200).body;
    let mut names: Vec<&str> = bare
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["active", "id", "meta", "schemas", "userName"]);
    assert_eq!(bare["active"], false);
    assert_eq!(
        bare["schemas"],
        json!(["urn:ietf:params:scim:schemas:core:2.0:User"])
    );
    let new = json!({"userName": "b@x.example"});
    let new = house.ask("POST", "/Users", Some(&new)).await.expect(201);
    assert_eq!(new.body["active"], true);
}

#[tokio::test]
async fn put_members_clear_empties_a_group_by_a_put_without_members() {
    let house = House::with(Plan {
        client: String::from("put_members = \"clear\""),
        ..Plan::default()
    })
    .await;
    let id = house
        .ask("POST", "/Users", Some(&user("a@x.example")))
        .await
        .expect(201)
        .id();
    let body = json!({"displayName": "Staff", "members": members(&[&id])});
    let group = house
        .ask("POST", "/Groups", Some(&body))
        .await
        .expect(201)
        .id();
    let path = format!("/Groups/{group}");
    let bare = json!({"displayName": "Staff"});
    for _ in 0..2 {
        house.ask("PUT", &path, Some(&bare)).await.expect(200);
        assert_eq!(who(&house, &group).await, [""; 0]);
        assert_eq!(version(&house, &path).await.0, "W/\"2\"");
    }
}

/// A name that is taken twice, by another client's leave or from before `unique_groups`, is nobody's mistake who only
/// changes members.
#[tokio::test]
async fn a_group_whose_name_another_one_has_still_takes_members_and_is_not_renamed_to_it() {
    let mut plan = house(false);
    plan.tables.push_str("unique_groups = false\n");
    let house = House::with(plan).await;
    let created = house
        .ask("POST", "/Users", Some(&user("a@x.example")))
        .await;
    let ada = created.expect(201).id();
    let named = |name: &str| json!({ "displayName": name });
    let created = house.ask("POST", "/Groups", Some(&named("Staff"))).await;
    let group = created.expect(201).id();
    let second = entra(&house, "POST", "/Groups", Some(&named("staff"))).await;
    second.expect(201);
    let path = format!("/Groups/{group}");
    let add = patch(json!([{"op": "add", "path": "members", "value": [{"value": ada}]}]));
    house.ask("PATCH", &path, Some(&add)).await.expect(200);
    assert_eq!(who(&house, &group).await, [ada]);
    // Okta sends the name along with every change, and another spelling of it is the same name.
    for name in ["Staff", "STAFF"] {
        house
            .ask("PUT", &path, Some(&named(name)))
            .await
            .expect(200);
    }
    let rename = |to: &str| patch(json!([{"op": "replace", "path": "displayName", "value": to}]));
    let other = house.ask("PATCH", &path, Some(&rename("Other"))).await;
    other.expect(200);
    let back = house.ask("PATCH", &path, Some(&rename("Staff"))).await;
    assert_eq!(back.expect(409).body["scimType"], "uniqueness");
}
