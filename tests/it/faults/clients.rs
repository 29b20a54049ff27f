//! Clients that go away in the middle of a request, and clients that send everything again.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use usher::journal::record::Event;

use crate::cli::{patch, user};
use crate::house::{Answer, House, PATIENCE, TOKEN, row_version, say};

fn raw(method: &str, path: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "{method} /scim/v2{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/scim+json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// How many requests the journal has that were written, and how many resources the directory and the application have.
async fn counted(house: &House) -> (usize, u64, usize) {
    let engine = house.serving.gateway.engine().expect("it is open");
    let view = engine.store.view().expect("a view");
    let last = view.last_sequence().expect("a journal");
    let records = (1..=last).map(|at| view.record(at).expect("a journal").expect("no gap"));
    let requests = records.filter(|one| one.event == Event::Request).count();
    drop(view);
    let list = house.ask("GET", "/Users?count=0", None).await.expect(200);
    let users = list.body["totalResults"].as_u64().expect("a number");
    (requests, users, house.sandbox.state().accounts().len())
}

/// Waits until no write is under way and nothing is left to do.
async fn quiet(house: &House) {
    let quiet = async {
        house.serving.gateway.quiet().await;
        house.settled().await;
    };
    tokio::time::timeout(PATIENCE, quiet)
        .await
        .expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_cut_off_at_any_byte_leaves_all_or_nothing() {
    let house = House::new().await;
    let whole = raw("POST", "/Users", &user("cut@x.example"));
    let mut cuts = 0;
    for end in 0..whole.len() {
        let mut socket = TcpStream::connect(house.serving.address)
            .await
            .expect("it listens");
        if end % 2 == 0 {
            // A reset in place of an end.
            socket.set_zero_linger().expect("a socket");
        }
        socket.write_all(&whole[..end]).await.expect("sent");
        drop(socket);
        cuts += 1;
    }
    quiet(&house).await;
    // A request after them all is answered: by then each of them is known to have come to nothing.
    house.ask("GET", "/Users", None).await.expect(200);
    assert_eq!(counted(&house).await, (0, 0, 0), "half a request is none");
    assert!(house.sandbox.state().calls().is_empty());

    // Cut off as soon as the last byte has left: every kind of write is there whole, or not at all.
    let mut there = 0;
    for n in 0..60_u64 {
        let name = format!("gone{n}@x.example");
        let mut socket = TcpStream::connect(house.serving.address)
            .await
            .expect("it listens");
        if n % 2 == 0 {
            socket.set_zero_linger().expect("a socket");
        }
        let before = counted(&house).await;
        socket
            .write_all(&raw("POST", "/Users", &user(&name)))
            .await
            .expect("sent");
        if n % 3 == 0 {
            tokio::time::sleep(Duration::from_micros(n * 50)).await;
        }
        drop(socket);
        // Somebody else's write is behind it in the writer's queue, if it is there at all.
        let other = user(&format!("stays{n}@x.example"));
        house.ask("POST", "/Users", Some(&other)).await.expect(201);
        quiet(&house).await;
        let after = counted(&house).await;
        let came = after.0 - before.0 - 1;
        let path = format!("/Users?filter=userName%20eq%20%22gone{n}%40x.example%22");
        let found = house.ask("GET", &path, None).await.expect(200);
        let account = house.sandbox.state().account(&name);
        let halves = (came, found.body["totalResults"].as_u64(), account.is_some());
        assert!(
            halves == (0, Some(0), false) || halves == (1, Some(1), true),
            "{n}: half a state: {halves:?}"
        );
        there += came;
    }
    say(&format!(
        "cut off at {cuts} bytes: 0 effects; after the last byte 60 times: {there} whole, 0 half states"
    ));
}

/// Status and body without what only an answer of its own can have.
fn told(answer: &Answer) -> (u16, Value) {
    let mut body = answer.body.clone();
    if let Some(meta) = body.get_mut("meta").and_then(Value::as_object_mut) {
        let version = meta.get("version").and_then(Value::as_str).map(row_version);
        meta.insert(String::from("version"), json!(version));
    }
    (answer.status, body)
}

/// Everything is sent three times more, one after the other and at once: one effect, the same answer, and not one more call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_has_one_effect_and_one_answer() {
    let house = House::new().await;
    let writes = || {
        let calls = house.sandbox.state().calls();
        calls.iter().filter(|call| call.method != "GET").count()
    };
    let ada = user("ada@x.example");
    let id = house
        .ask("POST", "/Users", Some(&ada))
        .await
        .expect(201)
        .id();
    let group = json!({"displayName": "Staff", "members": []});
    let group = house
        .ask("POST", "/Groups", Some(&group))
        .await
        .expect(201)
        .id();
    let (one, all) = (format!("/Users/{id}"), format!("/Groups/{group}"));
    let mut other = ada.clone();
    other["displayName"] = json!("Ada Lovelace");
    let member =
        |op: &str| json!({"Operations": [{"op": op, "path": "members", "value": [{"value": id}]}]});
    let scripts = [
        ("POST", String::from("/Users"), Some(user("bob@x.example"))),
        ("PUT", one.clone(), Some(other)),
        (
            "PATCH",
            one.clone(),
            Some(patch("displayName", json!("Ada King"))),
        ),
        ("PATCH", all.clone(), Some(member("add"))),
        ("PATCH", all.clone(), Some(member("remove"))),
        ("PATCH", one.clone(), Some(patch("active", json!(false)))),
        ("PATCH", one.clone(), Some(patch("active", json!(true)))),
        ("DELETE", one.clone(), None),
        ("DELETE", all, None),
    ];
    let (mut replays, mut extra) = (0, 0);
    for (method, path, body) in scripts {
        let what = format!("{method} {path}");
        let first = house.ask(method, &path, body.as_ref()).await;
        assert!(first.status < 300, "{what}: {first:?}");
        quiet(&house).await;
        let (sent, accounts) = (writes(), house.sandbox.state().accounts());
        let mut again = Vec::new();
        for _ in 0..3 {
            again.push(house.ask(method, &path, body.as_ref()).await);
        }
        let mut at_once = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let (knock, path, body) = (house.knock.clone(), path.clone(), body.clone());
            at_once.spawn(async move { knock.ask(method, &path, body.as_ref()).await });
        }
        while let Some(answer) = at_once.join_next().await {
            again.push(answer.expect("no panic"));
        }
        quiet(&house).await;
        replays += again.len();
        extra += writes() - sent;
        assert_eq!(writes(), sent, "{what}: more calls that write");
        assert_eq!(house.sandbox.state().accounts(), accounts, "{what}");
        for answer in &again {
            match method {
                // Whom it made is there: SCIM's answer to that.
                "POST" => assert_eq!(
                    (answer.status, &answer.body["scimType"]),
                    (409, &json!("uniqueness"))
                ),
                "DELETE" => assert_eq!(answer.status, 404, "{what}"),
                _ => assert_eq!(told(answer), told(&first), "{what}"),
            }
        }
    }
    say(&format!(
        "{replays} replays of 9 writes: {extra} calls that write more"
    ));
}
