//! Many at once.

use serde_json::{Value, json};
use usher::sandbox::{Fault, What};

use crate::house::{House, PATIENCE, Plan, TOKEN};

fn user(name: &str) -> Value {
    json!({"userName": name, "name": {"givenName": "A", "familyName": "B"}, "displayName": "A B", "emails": [{"type": "work", "value": name}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_creates_of_one_name_make_one() {
    let house = House::new().await;
    let tasks: Vec<_> = (0..64)
        .map(|at| {
            let knock = house.knock.clone();
            let name = if at % 2 == 0 {
                "same@x.example"
            } else {
                "SAME@x.example"
            };
            tokio::spawn(async move { knock.ask("POST", "/Users", Some(&user(name))).await })
        })
        .collect();
    let mut statuses = Vec::new();
    for task in tasks {
        let answer = task.await.expect("no panic");
        assert!(
            answer.status == 201 || answer.body["scimType"] == "uniqueness",
            "{:?}",
            answer.body
        );
        statuses.push(answer.status);
    }
    statuses.sort_unstable();
    assert_eq!(
        (statuses[0], statuses[1], statuses[63]),
        (201, 409, 409),
        "{statuses:?}"
    );
    assert_eq!(house.sandbox.state().accounts().len(), 1);
    assert_eq!(
        house.ask("GET", "/Users", None).await.body["totalResults"],
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_of_one_user_lose_no_update_while_the_application_is_slow() {
    let house = House::new().await;
    let id = house
        .ask("POST", "/Users", Some(&user("w@x.example")))
        .await
        .expect(201)
        .id();
    let path = format!("/Users/{id}");
    house.sandbox.state().fail_next(Fault {
        calls: 1,
        matching: None,
        what: What::Hold,
    });
    let write = |attribute: &'static str, value: &'static str| {
        let (knock, path) = (house.knock.clone(), path.clone());
        let body = json!({"Operations": [{"op": "replace", "path": attribute, "value": value}]});
        tokio::spawn(async move { knock.ask("PATCH", &path, Some(&body)).await })
    };
    let first = write("displayName", "First");
    // One call for the create, one GET after it, and now the held one.
    house.sandbox.state().arrived(3).await;
    let second = write("name.givenName", "Second");
    // The second waits for the first one's claim; nothing tells from outside that it does, so it may as well come later.
    house.sandbox.state().release();
    first.await.expect("no panic").expect(200);
    second.await.expect("no panic").expect(200);
    let read = house.ask("GET", &path, None).await.body;
    assert_eq!(
        (&read["displayName"], &read["name"]["givenName"]),
        (&json!("First"), &json!("Second"))
    );
    assert_eq!(read["meta"]["version"], "W/\"3\"");
    let zoom = house.sandbox.state().account("w@x.example").expect("there");
    assert_eq!(
        (&zoom["displayName"], &zoom["name"]["givenName"]),
        (&json!("First"), &json!("Second"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_members_at_once_all_arrive() {
    let house = House::new().await;
    let group = house
        .ask("POST", "/Groups", Some(&json!({"displayName": "All"})))
        .await
        .expect(201)
        .id();
    let mut ids = Vec::new();
    for at in 0..40 {
        ids.push(
            house
                .ask("POST", "/Users", Some(&user(&format!("m{at}@x.example"))))
                .await
                .expect(201)
                .id(),
        );
    }
    let tasks: Vec<_> = ids
        .iter()
        .map(|id| {
            let (knock, path) = (house.knock.clone(), format!("/Groups/{group}"));
            let body =
                json!({"Operations": [{"op": "add", "path": "members", "value": [{"value": id}]}]});
            tokio::spawn(async move { knock.ask("PATCH", &path, Some(&body)).await.status })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.expect("no panic"), 200);
    }
    let read = house
        .ask("GET", &format!("/Groups/{group}"), None)
        .await
        .body;
    assert_eq!(read["members"].as_array().map(Vec::len), Some(40));
    assert_eq!(
        read["meta"]["version"], "W/\"41-28\"",
        "each change is a version"
    );
}

/// hyper drops a handler when its client goes away; what was begun is finished all the same.
/// Additions share their claim on the group, but of those for one version only one can be the first (RFC 7644 3.14).

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_does_not_stop_its_write() {
    let house = House::new().await;
    house.sandbox.state().fail_next(Fault {
        calls: 1,
        matching: None,
        what: What::Hold,
    });
    let knock = house.knock.clone();
    let asking = tokio::spawn(async move {
        knock
            .try_ask("POST", "/Users", Some(&user("gone@x.example")))
            .await
    });
    house.sandbox.state().arrived(1).await;
    asking.abort();
    assert!(asking.await.is_err(), "the client is gone");
    house.sandbox.state().release();
    let quiet = async {
        house.serving.gateway.quiet().await;
        house.settled().await;
    };
    tokio::time::timeout(PATIENCE, quiet)
        .await
        .expect("it ends");
    assert_eq!(
        house.ask("GET", "/Users", None).await.body["totalResults"],
        1
    );
    assert!(house.sandbox.state().account("gone@x.example").is_some());
}

/// A drain finishes what was begun and loses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_loses_nothing() {
    let house = House::new().await;
    let tasks: Vec<_> = (0..50)
        .map(|at| {
            let knock = house.knock.clone();
            tokio::spawn(async move {
                (
                    at,
                    knock
                        .try_ask("POST", "/Users", Some(&user(&format!("d{at}@x.example"))))
                        .await,
                )
            })
        })
        .collect();
    house.sandbox.state().arrived(10).await;
    let house = house.restart().await;
    let mut acknowledged = 0;
    for task in tasks {
        let (at, answer) = task.await.expect("no panic");
        if answer.is_ok_and(|answer| answer.status == 201) {
            acknowledged += 1;
            let found = house
                .ask(
                    "GET",
                    &format!("/Users?filter=userName%20eq%20%22d{at}%40x.example%22"),
                    None,
                )
                .await
                .body;
            assert_eq!(found["totalResults"], 1, "d{at} was acknowledged");
        }
    }
    assert!(acknowledged >= 1, "some were acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_member_changes_for_one_version_one_is_let_through() {
    const MANY: usize = 16;
    let house = House::with(Plan {
        application: String::from("mode = \"simulate\""),
        ..Plan::default()
    })
    .await;
    let group = json!({"displayName": "Staff"});
    let created = house.ask("POST", "/Groups", Some(&group)).await.expect(201);
    let path = format!("/Groups/{}", created.id());
    let version = created.body["meta"]["version"].clone();
    let mut tasks = Vec::new();
    for at in 0..MANY {
        let name = format!("m{at}@x.example");
        let member = house.ask("POST", "/Users", Some(&user(&name))).await;
        let id = member.expect(201).id();
        let (knock, path) = (house.knock.clone(), path.clone());
        let headers = [
            ("authorization", format!("Bearer {TOKEN}")),
            ("content-type", String::from("application/scim+json")),
            ("if-match", version.as_str().expect("a version").to_owned()),
        ];
        let body =
            json!({"Operations": [{"op": "add", "path": "members", "value": [{"value": id}]}]});
        tasks.push(async move {
            let answer = knock
                .send("PATCH", &path, &headers, Some(body.to_string()))
                .await;
            answer.expect("an answer").status
        });
    }
    let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    let mut statuses = Vec::new();
    for task in tasks {
        statuses.push(task.await.expect("no panic"));
    }
    statuses.sort_unstable();
    let mut wanted = vec![412; MANY];
    wanted[0] = 200;
    assert_eq!(statuses, wanted);
    let members = house.ask("GET", &path, None).await.body["members"].clone();
    assert_eq!(members.as_array().map(Vec::len), Some(1), "{members}");
}
