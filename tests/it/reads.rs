//! Notes of reads, and reads that go on while the disk has no room for writes.

use std::time::Duration;

use serde_json::{Value, json};
use usher::clock::Timestamp;
use usher::scim::Kind;
use usher::store::{RESERVE, ReadNote, ReadShape, Store};

use crate::house::{House, Knock, PATIENCE, Plan};

fn user(name: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name, "active": true,
        "name": {"givenName": "Ada", "familyName": "King"}
    })
}

fn store(house: &House) -> Store {
    let engine = house.serving.gateway.engine().expect("it is open");
    engine.store.clone()
}

fn notes(store: &Store) -> Vec<ReadNote> {
    let view = store.view().expect("a view");
    view.reads(Timestamp(0), 100).expect("notes")
}

/// Waits until there are so many notes on disk.
async fn until_noted(store: &Store, count: usize) {
    let mut committed = store.committed();
    let wait = async {
        while notes(store).len() != count {
            committed.changed().await.expect("the store lives");
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("not {count} notes: {:?}", notes(store)));
}

#[tokio::test]
async fn every_answered_read_is_noted_without_a_value_and_pruned_in_time() {
    let house = House::new().await;
    let store = store(&house);
    let created = house
        .ask("POST", "/Users", Some(&user("ada@x.example")))
        .await;
    let id = created.expect(201).id();
    house.settled().await;
    let one = format!("/Users/{id}");
    let filter = "/Users?filter=userName%20eq%20%22ada@x.example%22";
    let reads = [
        (one.as_str(), 200, Kind::User, ReadShape::One, Some(id)),
        ("/Groups?count=5", 200, Kind::Group, ReadShape::List, None),
        (
            filter,
            200,
            Kind::User,
            ReadShape::filter([String::from("userName")]),
            None,
        ),
        (
            "/Users/ada@x.example",
            404,
            Kind::User,
            ReadShape::One,
            None,
        ),
    ];
    let mut expected = Vec::new();
    for (path, status, kind, shape, id) in reads {
        let answer = house.ask("GET", path, None).await.expect(status);
        let request = answer.headers["x-request-id"].to_str().expect("text");
        expected.push(ReadNote {
            time: house.clock.now(),
            client: String::from("okta"),
            request: request.to_owned(),
            kind: Some(kind),
            shape,
            id,
            status,
        });
    }
    // What was not understood is not an answered read.
    house.ask("GET", "/Nothing", None).await.expect(404);
    assert_eq!(notes(&store), [], "they wait for a commit or a second");
    house.clock.advance(Duration::from_secs(1));
    until_noted(&store, expected.len()).await;
    expected.reverse();
    assert_eq!(notes(&store), expected);
    assert!(!format!("{expected:?}").contains('@'), "{expected:?}");
    // The next ones ride on a commit, and a restart keeps them all.
    house.ask("GET", "/Users", None).await.expect(200);
    let bob = user("bob@x.example");
    house.ask("POST", "/Users", Some(&bob)).await.expect(201);
    assert_eq!(notes(&store).len(), expected.len() + 1);
    drop(store);
    let house = house.restart().await;
    let store = self::store(&house);
    assert_eq!(notes(&store).len(), expected.len() + 1);
    assert_eq!(store.statistics().notes_dropped, 0);
    house.clock.advance(Duration::from_secs(8 * 86_400));
    until_noted(&store, 0).await;
}

#[tokio::test]
async fn reads_are_not_noted_where_they_are_kept_for_no_time() {
    let house = House::with(Plan {
        tables: String::from("[journal]\nkeep_reads = \"0s\""),
        ..Plan::default()
    })
    .await;
    house.ask("GET", "/Users", None).await.expect(200);
    let ada = user("ada@x.example");
    house.ask("POST", "/Users", Some(&ada)).await.expect(201);
    assert_eq!(notes(&store(&house)), []);
}

#[tokio::test]
async fn a_nearly_full_disk_refuses_writes_and_reads_go_on() {
    let house = House::new().await;
    let store = store(&house);
    let (ada, bob) = (user("ada@x.example"), user("bob@x.example"));
    let id = house
        .ask("POST", "/Users", Some(&ada))
        .await
        .expect(201)
        .id();
    house.settled().await;
    let one = format!("/Users/{id}");
    let admin = Knock::at(format!("http://{}", house.serving.admin));
    let ready = async || {
        let answer = admin.send("GET", "/readyz", &[], None).await;
        let mut body = answer.expect("answered").expect(200).body;
        let components = body.as_object_mut().and_then(|it| it.remove("components"));
        let disk = components.map(|mut it| it["disk"]["status"].take());
        (body, disk.expect("components"))
    };
    assert_eq!(ready().await, (json!({"status": "ready"}), json!("ok")));

    store.set_free_space(RESERVE - 1);
    let calls = house.sandbox.state().calls().len();
    let patch = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "active", "value": false}]
    });
    for (method, path, body) in [
        ("POST", "/Users", Some(&bob)),
        ("PUT", &one, Some(&ada)),
        ("PATCH", &one, Some(&patch)),
        ("DELETE", &one, None),
    ] {
        let answer = house.ask(method, path, body).await.expect(503);
        assert_eq!(answer.headers["retry-after"], "30", "{method}");
        let detail = answer.body["detail"].to_string();
        assert!(detail.contains("disk is nearly full"), "{method}: {detail}");
    }
    assert_eq!(
        house.sandbox.state().calls().len(),
        calls,
        "nothing was sent"
    );
    let read = house.ask("GET", &one, None).await.expect(200);
    assert_eq!(read.body["active"], true);
    let listed = house.ask("GET", "/Users", None).await.expect(200);
    assert_eq!(listed.body["totalResults"], 1);
    assert_eq!(
        ready().await,
        (
            json!({"status": "ready", "writes": "refused: disk nearly full"}),
            json!("nearly full")
        )
    );

    store.set_free_space(RESERVE);
    assert_eq!(ready().await, (json!({"status": "ready"}), json!("ok")));
    house.ask("POST", "/Users", Some(&bob)).await.expect(201);
}

#[tokio::test]
async fn free_space_is_measured_again_by_itself() {
    let house = House::new().await;
    let store = store(&house);
    store.set_free_space(0);
    let ada = user("ada@x.example");
    house.ask("POST", "/Users", Some(&ada)).await.expect(503);
    // The disk that tests run on has room; a look at it each five seconds finds that out.
    house.clock.advance(Duration::from_secs(5));
    let wait = async {
        while store.disk_nearly_full() {
            tokio::task::yield_now().await;
        }
    };
    let measured = tokio::time::timeout(PATIENCE, wait).await;
    measured.expect("it is measured");
}
