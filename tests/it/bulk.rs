//! Bulk (RFC 7644 3.7) over HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use usher::claims::{Claim, Held};
use usher::clock::Timestamp;
use usher::journal::record::Status;
use usher::journal::report::Query;
use usher::scim::Kind;

use crate::house::{Answer, House, Plan, row_version};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn bulk(operations: Value) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations})
}

fn post(path: &str, bulk_id: &str, data: Value) -> Value {
    json!({"method": "POST", "path": path, "bulkId": bulk_id, "data": data})
}

fn user(name: &str) -> Value {
    json!({"userName": name, "name": {"givenName": "Ada", "familyName": "King"},
        "emails": [{"value": name, "type": "work", "primary": true}]})
}

fn group(name: &str, members: &[&str]) -> Value {
    let members: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
    json!({"displayName": name, "members": members})
}

fn patch(operations: Value) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations})
}

async fn send(house: &House, operations: Value) -> Vec<Value> {
    answers(
        &house
            .ask("POST", "/Bulk", Some(&bulk(operations)))
            .await
            .expect(200),
    )
}

fn answers(answer: &Answer) -> Vec<Value> {
    assert_eq!(
        answer.body["schemas"],
        json!(["urn:ietf:params:scim:api:messages:2.0:BulkResponse"])
    );
    answer.body["Operations"]
        .as_array()
        .expect("an array")
        .clone()
}

/// Every answer's status.
fn statuses(answers: &[Value]) -> Vec<&str> {
    answers
        .iter()
        .map(|answer| answer["status"].as_str().expect("a text"))
        .collect()
}

/// Where an answer says that its resource is, below our root.
fn place(house: &House, answer: &Value) -> String {
    let location = answer["location"]
        .as_str()
        .unwrap_or_else(|| panic!("no location: {answer}"));
    location
        .strip_prefix(&house.base)
        .expect("it is ours")
        .to_owned()
}

fn id(house: &House, answer: &Value) -> String {
    place(house, answer)
        .rsplit('/')
        .next()
        .expect("an id")
        .to_owned()
}

/// The ids of a group's members.
async fn members(house: &House, path: &str) -> Vec<String> {
    let body = house.ask("GET", path, None).await.expect(200).body;
    let id = |member: &Value| member["value"].as_str().expect("an id").to_owned();
    body["members"]
        .as_array()
        .into_iter()
        .flatten()
        .map(id)
        .collect()
}

#[tokio::test]
async fn operations_refer_to_each_other_in_any_order() {
    let house = House::new().await;
    let ops = json!([
        post("/Groups", "g", group("Staff", &["bulkId:ada", "bulkId:bob"])),
        {"method": "PATCH", "path": "/Groups/bulkId:g", "bulkId": "later", "data": patch(json!([
            {"op": "remove", "path": "members[value eq \"bulkId:ada\"]"}
        ]))},
        {"method": "put", "path": "Users/bulkId:ada", "version": "W/\"1\"", "data": {
            "userName": "ada@x.example", "displayName": "Ada", ENTERPRISE: {"manager": {"value": "bulkId:bob"}}
        }},
        post("/Users", "ada", user("ada@x.example")),
        post("/Users", "bob", user("bob@x.example")),
        {"method": "DELETE", "path": "/Groups/bulkId:other"},
        post("/Groups", "other", group("Other", &[])),
    ]);
    let answers = send(&house, ops).await;
    assert_eq!(
        statuses(&answers),
        ["201", "200", "200", "201", "201", "204", "201"]
    );
    let head = |answer: &Value| (answer["method"].clone(), answer["bulkId"].clone());
    assert_eq!(head(&answers[0]), (json!("POST"), json!("g")));
    assert_eq!(head(&answers[1]), (json!("PATCH"), json!("later")));
    assert_eq!(head(&answers[2]), (json!("PUT"), json!(null)));
    assert!(
        answers
            .iter()
            .all(|answer| answer.get("response").is_none())
    );
    let (group, ada, bob) = (
        place(&house, &answers[0]),
        place(&house, &answers[3]),
        id(&house, &answers[4]),
    );
    assert_eq!(place(&house, &answers[1]), group);
    assert_eq!(place(&house, &answers[2]), ada);
    assert_eq!(place(&house, &answers[5]), place(&house, &answers[6]));
    assert_eq!(members(&house, &group).await, std::slice::from_ref(&bob));
    let ada = house.ask("GET", &ada, None).await.expect(200);
    assert_eq!(ada.body["displayName"], "Ada");
    assert_eq!(ada.body[ENTERPRISE]["manager"]["value"], json!(bob));
    // Each shows the version that it left.
    let versions: Vec<&Value> = answers.iter().map(|answer| &answer["version"]).collect();
    assert_eq!(versions[2], &ada.body["meta"]["version"]);
    assert_eq!(versions[5], &json!(null));
    let read = house.ask("GET", &group, None).await.expect(200);
    assert_eq!(versions[1], &read.body["meta"]["version"]);
    assert_ne!(versions[0], versions[1]);
    house
        .ask("GET", &place(&house, &answers[5]), None)
        .await
        .expect(404);
}

#[tokio::test]
async fn circles_are_made_first_and_joined_after() {
    let house = House::new().await;
    let manager = |name: &str, of: &str| {
        let mut user = user(name);
        user[ENTERPRISE] = json!({"department": "R&D", "manager": {"value": of}});
        user
    };
    let ops = json!([
        post("/Groups", "g", group("G", &["bulkId:h", "bulkId:ada"])),
        post("/Groups", "h", group("H", &["bulkId:i"])),
        post("/Groups", "i", group("I", &["bulkId:g"])),
        post("/Users", "ada", manager("ada@x.example", "bulkId:bob")),
        post("/Users", "bob", manager("bob@x.example", "bulkId:ada")),
        post("/Users", "cy", manager("cy@x.example", "bulkId:cy")),
        post(
            "/Groups",
            "all",
            group("All", &["bulkId:g", "bulkId:h", "bulkId:cy"])
        ),
    ]);
    let answers = send(&house, ops).await;
    assert_eq!(statuses(&answers), ["201"; 7]);
    let ids: Vec<String> = answers.iter().map(|answer| id(&house, answer)).collect();
    let [g, h, i, ada, bob, cy, all] = [0, 1, 2, 3, 4, 5, 6].map(|at| ids[at].clone());
    for (group, wanted) in [
        (&g, vec![&h, &ada]),
        (&h, vec![&i]),
        (&i, vec![&g]),
        (&all, vec![&g, &h, &cy]),
    ] {
        let mut found = members(&house, &format!("/Groups/{group}")).await;
        let mut wanted: Vec<String> = wanted.into_iter().cloned().collect();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
    }
    for (user, of) in [(&ada, &bob), (&bob, &ada), (&cy, &cy)] {
        let read = house
            .ask("GET", &format!("/Users/{user}"), None)
            .await
            .expect(200);
        assert_eq!(
            read.body[ENTERPRISE],
            json!({"department": "R&D", "manager": {"value": of}})
        );
    }
    // What was patched in afterwards counts: the version shown is the last.
    for answer in &answers {
        let read = house
            .ask("GET", &place(&house, answer), None)
            .await
            .expect(200);
        let versions = [&answer["version"], &read.body["meta"]["version"]];
        let [told, stands] = versions.map(|version| row_version(version.as_str().expect("one")));
        assert_eq!(told, stands);
        assert_eq!(answer["location"], read.body["meta"]["location"]);
    }
}

#[tokio::test]
async fn a_circle_that_cannot_be_closed_leaves_nothing() {
    let house = House::new().await;
    let taken = house
        .ask("POST", "/Groups", Some(&group("Taken", &[])))
        .await
        .expect(201)
        .id();
    let ops = json!([
        post("/Groups", "g", group("G", &["bulkId:h"])),
        post("/Groups", "h", group("taken", &["bulkId:g"])),
        post("/Groups", "i", group("I", &["bulkId:h"])),
        post("/Groups", "self", group("Self", &["bulkId:self"])),
        post("/Users", "u", {
            let mut user = user("u@x.example");
            user["userName"] = json!("bulkId:u");
            user
        }),
        {"method": "PATCH", "path": "/Groups/bulkId:g", "data": patch(json!([
            {"op": "replace", "path": "displayName", "value": "Never"}
        ]))},
        post("/Groups", "last", group("Last", &[&taken])),
    ]);
    let answers = send(&house, ops).await;
    assert_eq!(
        statuses(&answers),
        ["409", "409", "409", "400", "400", "409", "201"]
    );
    assert_eq!(answers[1]["response"]["scimType"], "uniqueness");
    assert_eq!(answers[0]["response"]["scimType"], json!(null));
    assert!(
        answers[..6]
            .iter()
            .all(|answer| answer.get("location").is_none())
    );
    let groups = house.ask("GET", "/Groups", None).await.expect(200).body;
    let mut names: Vec<&str> = groups["Resources"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|group| group["displayName"].as_str().expect("a text"))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["Last", "Taken"]);
    let users = house.ask("GET", "/Users", None).await.expect(200).body;
    assert_eq!(users["totalResults"], 0);
    assert!(
        house
            .serving
            .gateway
            .engine()
            .expect("open")
            .claims
            .is_empty()
    );
}

#[tokio::test]
async fn a_failure_is_its_operations_own_and_shows_as_an_error() {
    let house = House::new().await;
    let ada = house
        .ask("POST", "/Users", Some(&user("ada@x.example")))
        .await
        .expect(201);
    let path = format!("/Users/{}", ada.id());
    let ops = json!([
        {"method": "PUT", "path": path, "version": "W/\"7\"", "data": user("eve@x.example")},
        post("/Users", "dup", user("ADA@x.example")),
        post("/Groups", "g", group("G", &["bulkId:dup"])),
        {"method": "PATCH", "path": path, "data": patch(json!([
            {"op": "replace", "path": "title", "value": "bulkId:nobody"}
        ]))},
        {"method": "DELETE", "path": "/Users/nobody"},
        {"method": "TRACE", "path": path},
        {"method": "POST", "path": "/Users", "data": user("no-bulk-id@x.example")},
        post("/Users", "two", user("one@x.example")),
        post("/Users", "two", user("two@x.example")),
        {"method": "PATCH", "path": format!("{}{path}", house.base), "version": "W/\"1\"", "data": patch(json!([
            {"op": "replace", "path": "title", "value": "Dr"}
        ]))},
    ]);
    let answers = send(&house, ops).await;
    assert_eq!(
        statuses(&answers),
        [
            "412", "409", "409", "409", "404", "400", "400", "400", "400", "200"
        ]
    );
    for answer in &answers[..9] {
        let error = &answer["response"];
        assert_eq!(error["status"], answer["status"]);
        assert_eq!(
            error["schemas"],
            json!(["urn:ietf:params:scim:api:messages:2.0:Error"])
        );
        assert!(error["detail"].is_string() && answer["version"].is_null());
    }
    // A failure has the location of what it is about, unless that was to be made.
    let placed: Vec<bool> = answers
        .iter()
        .map(|answer| answer["location"].is_string())
        .collect();
    assert_eq!(
        placed,
        [
            true, false, false, true, true, false, false, false, false, true
        ]
    );
    let users = house.ask("GET", "/Users", None).await.expect(200).body;
    assert_eq!(users["totalResults"], 1);
    assert_eq!(users["Resources"][0]["title"], "Dr");
    let groups = house.ask("GET", "/Groups", None).await.expect(200).body;
    assert_eq!(groups["totalResults"], 0);
}

#[tokio::test]
async fn after_so_many_errors_the_rest_is_not_tried() {
    let house = House::new().await;
    for (most, wanted) in [
        (1, vec!["201", "409"]),
        (2, vec!["201", "409", "201", "400"]),
        (3, vec!["201", "409", "201", "400", "201"]),
    ] {
        let name = |at: usize| format!("{most}-{at}@x.example");
        let ops = json!([
            post("/Users", "a", user(&name(0))),
            post("/Users", "b", user(&name(0))),
            post("/Users", "c", user(&name(1))),
            post("/Users", "d", json!({})),
            post("/Users", "e", user(&name(2))),
        ]);
        let mut body = bulk(ops);
        body["failOnErrors"] = json!(most);
        let answer = house.ask("POST", "/Bulk", Some(&body)).await.expect(200);
        assert_eq!(statuses(&answers(&answer)), wanted, "{most}");
        let made = wanted.iter().filter(|status| **status == "201").count();
        for at in 0..3 {
            let filter = format!("/Users?filter=userName%20eq%20%22{}%22", name(at));
            let found = house.ask("GET", &filter, None).await.expect(200).body;
            assert_eq!(found["totalResults"], usize::from(at < made), "{most} {at}");
        }
    }
}

#[tokio::test]
async fn what_is_given_up_can_be_taken_and_of_two_the_first_one_gets_it() {
    let house = House::new().await;
    let ada = house
        .ask("POST", "/Users", Some(&user("ada@x.example")))
        .await
        .expect(201);
    let path = format!("/Users/{}", ada.id());
    let mut ops = vec![
        json!({"method": "PATCH", "path": path, "data": patch(json!([
            {"op": "replace", "path": "userName", "value": "bob@x.example"}
        ]))}),
        post("/Users", "a", user("ada@x.example")),
        json!({"method": "DELETE", "path": path}),
        post("/Users", "b", user("bob@x.example")),
    ];
    for at in 0..40 {
        ops.push(post(
            "/Users",
            &format!("n{at}"),
            user(&format!("n{}@x.example", at / 2)),
        ));
    }
    let answers = send(&house, ops.into()).await;
    let statuses = statuses(&answers);
    assert_eq!(statuses[..4], ["200", "201", "204", "201"]);
    for pair in statuses[4..].chunks(2) {
        assert_eq!(pair, ["201", "409"]);
    }
}

#[tokio::test]
async fn deliveries_are_the_workers_and_every_operation_is_in_the_journal() {
    let house = House::new().await;
    let ops = json!([
        post("/Users", "ada", user("ada@x.example")),
        post("/Users", "bob", user("bob@x.example")),
        post("/Users", "dup", user("bob@x.example")),
    ]);
    let answer = house
        .ask("POST", "/Bulk", Some(&bulk(ops)))
        .await
        .expect(200);
    assert_eq!(statuses(&answers(&answer)), ["201", "201", "409"]);
    let request = answer.headers["x-request-id"].to_str().expect("a text");
    let engine = house.serving.gateway.engine().expect("it is open");
    let view = engine.store.view().expect("a view");
    let last = view.last_sequence().expect("a journal");
    let records: Vec<_> = (1..=last)
        .filter_map(|sequence| view.record(sequence).expect("a record"))
        .filter(|record| record.request == request)
        .collect();
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|record| record.client == "okta"));
    for record in records
        .iter()
        .filter(|record| record.status == Status::Success)
    {
        // Nothing was sent while the client waited.
        let [delivery] = record.deliveries.as_slice() else {
            panic!("one application: {record:?}");
        };
        assert_eq!(delivery.status, Status::Queued);
        assert!(delivery.calls.is_empty());
    }
    drop(view);
    house.settled().await;
    for name in ["ada@x.example", "bob@x.example"] {
        let account = house.sandbox.state().account(name).expect("an account");
        assert_eq!(account["active"], true);
    }
    let rows = house.report(Query::default());
    let done = rows
        .iter()
        .filter(|row| row.status == Status::Success)
        .count();
    assert_eq!((rows.len(), done), (3, 2));
}

#[tokio::test]
async fn bounds_and_rights() {
    let house = House::with(Plan {
        tables: String::from("[server.limits]\nbulk_operations = 2\nbody = \"2KiB\"\n"),
        ..Plan::default()
    })
    .await;
    let ops = |count: usize| -> Value {
        let one = |at| post("/Groups", &format!("g{at}"), group(&format!("G{at}"), &[]));
        (0..count).map(one).collect()
    };
    let three = house
        .ask("POST", "/Bulk", Some(&bulk(ops(3))))
        .await
        .expect(413);
    assert!(
        three.body["detail"]
            .as_str()
            .is_some_and(|text| text.contains('2'))
    );
    house
        .ask("POST", "/Bulk", Some(&bulk(ops(40))))
        .await
        .expect(413);
    let found = house.ask("GET", "/Groups", None).await.expect(200).body;
    assert_eq!(found["totalResults"], 0);
    assert_eq!(send(&house, json!([])).await, Vec::<Value>::new());
    assert_eq!(statuses(&send(&house, ops(2)).await), ["201", "201"]);
    house
        .ask("POST", "/Bulk", Some(&json!({"Operations": 1})))
        .await
        .expect(400);
    house.ask("GET", "/Bulk", None).await.expect(405);

    let house = house
        .restart_with(Plan {
            client: String::from("read_only = true"),
            ..Plan::default()
        })
        .await;
    house
        .ask("POST", "/Bulk", Some(&bulk(ops(2))))
        .await
        .expect(403);
}

/// A Bulk of a thousand users whose 40th name somebody else has claimed: it stops there until that claim is given back.
/// `meanwhile` happens by then.
async fn stopped<F: Future<Output = House>>(
    house: House,
    meanwhile: impl FnOnce(House, Held) -> F,
) {
    let name = |at: usize| format!("u{at}@x.example");
    let one = |at| post("/Users", &format!("u{at}"), user(&name(at)));
    let body = bulk((0..1_000).map(one).collect());
    let engine = house.serving.gateway.engine().expect("it is open").clone();
    let claim = Claim::UserName(name(40));
    let held = engine
        .claims
        .acquire(&[claim].into(), Timestamp::NEVER, &house.clock)
        .await
        .expect("nobody has it");
    let knock = house.knock.clone();
    let asking = tokio::spawn(async move { knock.ask("POST", "/Bulk", Some(&body)).await });
    let mut committed = engine.store.committed();
    loop {
        committed.mark_unchanged();
        let view = engine.store.view().expect("a view");
        if view.count(Kind::User).expect("a count") > 0 {
            break;
        }
        committed.changed().await.expect("the store lives");
    }
    drop(engine);
    let house = meanwhile(house, held).await;
    let answer = asking.await.expect("it ends").expect(200);
    let answers = answers(&answer);
    let statuses = statuses(&answers);
    assert_eq!(statuses.len(), 1_000);
    assert!(statuses[..32].iter().all(|status| *status == "201"));
    // Begun together with the one that waited, at most.
    assert!(statuses[64..].iter().all(|status| *status == "503"));
    for (at, status) in statuses.iter().enumerate().take(80) {
        let filter = format!("/Users?filter=userName%20eq%20%22{}%22", name(at));
        let found = house.ask("GET", &filter, None).await.expect(200).body;
        assert_eq!(found["totalResults"], usize::from(*status == "201"), "{at}");
    }
    let all = house.ask("GET", "/Users", None).await.expect(200).body;
    let made = statuses.iter().filter(|status| **status == "201").count();
    assert_eq!(all["totalResults"], made);
}

#[tokio::test]
async fn a_drain_finishes_what_was_begun_and_begins_nothing() {
    stopped(House::new().await, |house, held| async {
        let (house, ()) = tokio::join!(house.restart(), async { drop(held) });
        house
    })
    .await;
}

#[tokio::test]
async fn what_would_take_too_long_is_not_begun() {
    stopped(House::new().await, |house, held| async {
        // Three quarters of request_timeout; the last one is for what is under way.
        house.clock.advance(Duration::from_millis(22_500));
        drop(held);
        house
    })
    .await;
}

#[tokio::test]
async fn a_group_of_a_thousand_is_compared_whole() {
    let house = House::new().await;
    let one = |at| post("/Groups", &format!("g{at}"), group(&format!("G{at}"), &[]));
    let mut ids = Vec::new();
    for part in [0..1_000, 1_000..1_100] {
        let answers = send(&house, part.map(one).collect()).await;
        ids.extend(answers.iter().map(|answer| id(&house, answer)));
    }
    // A group of more members than are compared at a time: the same again changes nothing, in any order.
    let mut all: Vec<&str> = ids.iter().map(String::as_str).collect();
    let path = place(
        &house,
        &send(&house, json!([post("/Groups", "all", group("All", &all))])).await[0],
    );
    all.reverse();
    let put = house.ask("PUT", &path, Some(&group("All", &all))).await;
    let version = |put: &Answer| row_version(put.body["meta"]["version"].as_str().expect("one"));
    assert_eq!(version(&put.expect(200)), "W/\"1\"");
    let put = house
        .ask("PUT", &path, Some(&group("All", &all[1..])))
        .await;
    assert_eq!(version(&put.expect(200)), "W/\"2\"");
    let left = members(&house, &path).await;
    assert_eq!(left, ids[..1_099]);

    // As many PATCHes: each of another group, then each of the same one, in the order in which they were sent.
    let join = |group: &str, id: &str| {
        json!({"method": "PATCH", "path": group, "data": patch(json!([
            {"op": "replace", "path": "members", "value": [{ "value": id }]}
        ]))})
    };
    let each = |id: &String| join(&format!("/Groups/{id}"), &ids[1_099]);
    let answers = send(&house, ids[..100].iter().map(each).collect()).await;
    let left = |answer: &Value| row_version(answer["version"].as_str().expect("one"));
    assert!(answers.iter().all(|answer| left(answer) == "W/\"2\""));
    for id in &ids[..100] {
        let members = members(&house, &format!("/Groups/{id}")).await;
        assert_eq!(members, ids[1_099..]);
    }
    let same = |id: &String| join(&path, id);
    let answers = send(&house, ids[..50].iter().map(same).collect()).await;
    for (at, answer) in answers.iter().enumerate() {
        assert_eq!(left(answer), format!("W/\"{}\"", at + 3));
    }
    assert_eq!(members(&house, &path).await, ids[49..50]);
}
