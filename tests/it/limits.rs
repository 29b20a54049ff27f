//! Every limit at n, where it is met, and at n + 1, where it is refused as promise 4 says: a SCIM error within a second,
//! nothing changed, the next request served.

mod table;

use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use usher::journal::record::Status;
use usher::journal::report::Query;
use usher::sandbox::{Fault, What};

use crate::house::{House, Plan, TOKEN, say};
use crate::process::Site;
use crate::wire::{Said, Wire};
use table::{Limit, limits, user};

/// That it is a SCIM error, and that the connection goes where the rest of the request may still come.
fn check(name: &str, said: &Said, status: u16, scim_type: Option<&str>) {
    let body = said.json();
    assert_eq!(said.status, status, "{name}: {body}");
    assert_eq!(
        body["schemas"][0], "urn:ietf:params:scim:api:messages:2.0:Error",
        "{name}"
    );
    assert_eq!(body["status"], status.to_string(), "{name}");
    assert_eq!(body["scimType"].as_str(), scim_type, "{name}: {body}");
    assert!(
        body["detail"]
            .as_str()
            .is_some_and(|detail| !detail.is_empty()),
        "{name}"
    );
    assert_eq!(
        said.header("content-type"),
        Some("application/scim+json"),
        "{name}"
    );
    let closes = matches!(status, 408 | 413 | 414 | 431);
    // A Bulk of too many operations came whole.
    assert_eq!(said.header("connection") == Some("close"), closes, "{name}");
}

#[tokio::test]
async fn every_limit_at_n_and_one_more() {
    let house = House::new().await;
    let body = json!({"userName": "ada@example.com", "name": {"givenName": "Ada", "familyName": "King"}, "emails": [{"value": "ada@example.com", "type": "work"}]});
    let id = house
        .ask("POST", "/Users", Some(&body))
        .await
        .expect(201)
        .id();
    let all = limits(&id);
    let mut slowest = (Duration::ZERO, "");
    for Limit {
        name,
        n,
        ask,
        met,
        over,
        scim_type,
    } in &all
    {
        let mut wire = Wire::open(house.serving.address).await;
        let request = ask(*n);
        let said = wire.send_and_hear(&request.bytes(), request.method).await;
        assert_eq!(said.status, *met, "{name} at {n}: {}", said.json());
        // Where both are refused, not for the same reason.
        let why = said.json()["scimType"].as_str().map(str::to_owned);
        assert_ne!((*met, why.as_deref()), (*over, *scim_type), "{name} at {n}");
        house.settled().await;
        let store = &house.serving.gateway.engine().expect("open").store;
        let before = (
            store.last_sequence(),
            house.ask("GET", "/Users", None).await.body,
        );

        let request = ask(n + 1);
        let bytes = request.bytes();
        let mut wire = Wire::open(house.serving.address).await;
        let began = Instant::now();
        let said = wire.send_and_hear(&bytes, request.method).await;
        let took = began.elapsed();
        check(name, &said, *over, *scim_type);
        let detail = said.json()["detail"].to_string();
        assert!(detail.contains(&n.to_string()), "{name}: {detail}");
        assert!(took < Duration::from_secs(1), "{name}: {took:?}");
        slowest = slowest.max((took, name));
        let after = (
            store.last_sequence(),
            house.ask("GET", "/Users", None).await.body,
        );
        assert_eq!(before, after, "{name}: something changed");
    }
    say(&format!(
        "limits: {} at n and n + 1; the slowest refusal took {:?} ({})",
        all.len(),
        slowest.0,
        slowest.1
    ));
}

/// Each of the file's limits at another value than its default, as a reload puts it in force.
#[tokio::test]
async fn the_limits_are_those_of_the_file() {
    let house = House::new().await;
    let id = house
        .ask("POST", "/Users", Some(&user("ada@example.com")))
        .await
        .expect(201)
        .id();
    house
        .reload(&with(
            "body = \"2KiB\"\njson_depth = 8\nfilter_length = 100\nfilter_depth = 3\npatch_operations = 5\nbulk_operations = 6",
        ))
        .await;
    let small = [
        ("body", 2_048),
        ("body in chunks", 2_048),
        ("JSON, depth", 8),
        ("filter, bytes", 100),
        ("filter in a body, bytes", 100),
        ("filter, depth", 3),
        ("PATCH, operations", 5),
        ("PATCH, path", 100),
        ("PATCH, depth of a path's filter", 3),
        ("Bulk, operations", 6),
    ];
    let all = limits(&id);
    for (name, n) in small {
        let limit = all.iter().find(|limit| limit.name == name);
        let limit = limit.unwrap_or_else(|| panic!("no limit {name}"));
        for (size, wanted) in [(n, limit.met), (n + 1, limit.over)] {
            let ask = (limit.ask)(size);
            let mut wire = Wire::open(house.serving.address).await;
            let said = wire.send_and_hear(&ask.bytes(), ask.method).await;
            assert_eq!(said.status, wanted, "{name} at {size}: {}", said.json());
            let why = said.json()["scimType"].as_str().map(str::to_owned);
            let refused = (said.status, why.as_deref()) == (limit.over, limit.scim_type);
            assert_eq!(refused, size > n, "{name} at {size}: {}", said.json());
        }
    }
}

#[tokio::test]
async fn a_page_holds_so_many() {
    let house = House::new().await;
    let operations: Vec<Value> = (0..201)
        .map(|at| json!({"method": "POST", "path": "/Users", "bulkId": at.to_string(), "data": user(&format!("u{at}@example.com"))}))
        .collect();
    house
        .ask("POST", "/Bulk", Some(&json!({"Operations": operations})))
        .await
        .expect(200);
    for (count, shown) in [("200", 200), ("201", 200), ("100000", 200), ("199", 199)] {
        let page = house
            .ask("GET", &format!("/Users?count={count}"), None)
            .await
            .expect(200);
        assert_eq!(
            page.body["Resources"].as_array().map(Vec::len),
            Some(shown),
            "{count}"
        );
        assert_eq!(
            (&page.body["itemsPerPage"], &page.body["totalResults"]),
            (&json!(shown), &json!(201))
        );
    }
}

fn with(limits: &str) -> Plan {
    Plan {
        tables: format!("[server.limits]\n{limits}\n"),
        ..Plan::default()
    }
}

const GOOD: &str = "GET /scim/v2/Users?count=0 HTTP/1.1\r\nHost: h\r\n";

fn good() -> Vec<u8> {
    format!("{GOOD}Authorization: Bearer {TOKEN}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn a_connection_too_many_waits_for_a_place() {
    let house = House::with(with("connections = 2")).await;
    let mut wires = Vec::new();
    for _ in 0..3 {
        let mut wire = Wire::open(house.serving.address).await;
        wire.send(&good()).await;
        wires.push(wire);
    }
    let mut third = wires.pop().expect("three");
    for wire in &mut wires {
        for _ in 0..3 {
            assert_eq!(wire.hear("GET").await.status, 200);
            wire.send(&good()).await;
        }
    }
    assert!(third.is_silent(), "it has a place");
    drop(wires.pop());
    assert_eq!(third.hear("GET").await.status, 200);
}

#[tokio::test]
async fn a_head_that_does_not_come_is_cut() {
    let limit = Duration::from_millis(300);
    let house = House::with(Plan {
        real_time: true,
        ..with("header_timeout = \"300ms\"")
    })
    .await;
    for (text, said) in [
        ("", None),
        ("GET /sc", Some(408)),
        (GOOD, Some(408)),
        ("\r\n", None),
        ("PRI * HT", Some(408)),
    ] {
        let began = Instant::now();
        let mut wire = Wire::open(house.serving.address).await;
        wire.send(text.as_bytes()).await;
        let all = wire.hear_all(&[]).await;
        let took = began.elapsed();
        // Before a head has been read there is nobody to explain anything to: a bare status, or none.
        let statuses: Vec<u16> = all.iter().map(|said| said.status).collect();
        assert!(
            statuses.is_empty() || statuses.first() == said.as_ref(),
            "{text:?}: {statuses:?}"
        );
        assert!(
            took >= limit && took < limit + Duration::from_secs(1),
            "{text:?}: {took:?}"
        );
    }
    // Between two requests.
    let mut wire = Wire::open(house.serving.address).await;
    wire.send(&good()).await;
    assert_eq!(wire.hear_all(&[]).await.len(), 1);
}

/// Runs `work` while the house's time goes on; with how long it took by that time.
async fn in_time<T>(house: &House, work: impl Future<Output = T>) -> (T, Duration) {
    let began = house.clock.now();
    let passing = async {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            house.clock.advance(Duration::from_millis(50));
        }
    };
    tokio::select! {
        done = work => (done, house.clock.now().since(began)),
        () = passing => unreachable!("time does not end"),
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_cut() {
    let body = user("slow@example.com").to_string();
    let start = format!(
        "POST /scim/v2/Users HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/scim+json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    for (limits, limit) in [("", 5_000), ("request_timeout = \"4500ms\"", 4_500)] {
        let house = House::with(with(limits)).await;
        for begun in ["", &body[..10], &body[..body.len() - 1]] {
            let mut wire = Wire::open(house.serving.address).await;
            wire.send(format!("{start}{begun}").as_bytes()).await;
            let (said, took) = in_time(&house, wire.hear_all(&["POST"])).await;
            assert_eq!(said.len(), 1, "{begun}");
            check("body", &said[0], 408, None);
            let limit = Duration::from_millis(limit);
            assert!(
                took >= limit && took < limit + Duration::from_secs(1),
                "{begun}: {took:?}"
            );
        }
        let none = house.ask("GET", "/Users?count=0", None).await.body;
        assert_eq!(none["totalResults"], 0);
    }
}

/// The client hears something by `request_timeout`; its write goes on, because a call may have been made.
#[tokio::test]
async fn what_takes_too_long_is_answered_and_goes_on() {
    let house = House::new().await;
    house.sandbox.state().fail_next(Fault {
        calls: 1,
        matching: None,
        what: What::Hold,
    });
    let body = user("held@example.com");
    let asked = house.ask("POST", "/Users", Some(&body));
    let late = async {
        house.sandbox.state().arrived(1).await;
        house.clock.advance(Duration::from_secs(31));
    };
    let (said, ()) = tokio::join!(asked, late);
    assert_eq!(said.status, 503, "{}", said.body);
    assert_eq!(said.headers["retry-after"], "5");
    house.serving.gateway.quiet().await;
    house.sandbox.state().release();
    let all = house.ask("GET", "/Users", None).await.body;
    assert_eq!(all["Resources"][0]["userName"], "held@example.com");
    house.later(Duration::from_secs(120)).await;
    assert_eq!(house.sandbox.state().accounts().len(), 1);
}

/// An application's answer of 4 MiB is read; a longer one is as good as none, and what it was about is asked again.
#[tokio::test]
async fn an_applications_answer_has_a_limit() {
    // It is read: it shows that the change was not applied.
    for (more, status) in [(0, Status::Warning), (1, Status::Unknown)] {
        let house = House::new().await;
        let id = house
            .ask("POST", "/Users", Some(&user("ada@example.com")))
            .await
            .expect(201)
            .id();
        let account = house
            .sandbox
            .state()
            .account("ada@example.com")
            .expect("there")
            .to_string();
        let length = 4 * 1024 * 1024 + more;
        let body = account.clone() + &" ".repeat(length - account.len());
        house.sandbox.state().fail_next(Fault {
            calls: 1,
            matching: Some((usher::provision::call::Method::Put, "/Users".into())),
            what: What::Status {
                status: 200,
                retry_after: None,
                body: Some(body),
            },
        });
        let change =
            json!({"Operations": [{"op": "replace", "path": "name.familyName", "value": "King"}]});
        house
            .ask("PATCH", &format!("/Users/{id}"), Some(&change))
            .await
            .expect(200);
        assert_eq!(house.report(Query::default())[0].status, status, "{more}");
        house.later(Duration::from_secs(120)).await;
        let account = house
            .sandbox
            .state()
            .account("ada@example.com")
            .expect("there");
        let wanted = if more == 0 { "B" } else { "King" };
        assert_eq!(account["name"]["familyName"], wanted, "{more}");
    }
}

/// A MiB that costs a hundred MiB to read, from many at once: each is answered, and memory stays where it was meant to.
#[tokio::test]
async fn large_bodies_together_have_one_room() {
    const AT_ONCE: usize = 24;
    let site = Site::new(&Plan {
        application: "authorized_domains = [\"nowhere.example\"]".into(),
        ..Plan::default()
    });
    let running = site.serve("");
    let scim = running.scim();
    let memory = |field: &str| {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", running.id())).expect("it lives");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .expect("a field");
        line.trim_matches(|c: char| !c.is_ascii_digit())
            .parse::<usize>()
            .expect("a number")
            / 1024
    };
    let before = memory("VmHWM:");
    let bombs = vec!["{\"\":0}"; 24_900].join(",");
    let filler = vec![format!("\"{}\"", "a".repeat(16_000)); 60].join(",");
    for (name, x) in [("objects", &bombs), ("texts", &filler)] {
        let mut asked = tokio::task::JoinSet::new();
        for at in 0..AT_ONCE {
            let body = format!(
                "{{\"userName\":\"{name}{at}@example.com\",\"urn:x:1.0:User\":{{\"a\":[{x}]}}}}"
            );
            let scim = scim.clone();
            asked.spawn(async move {
                let headers = [
                    ("authorization", format!("Bearer {TOKEN}")),
                    ("content-type", String::from("application/scim+json")),
                ];
                scim.send("POST", "/Users?attributes=userName", &headers, Some(body))
                    .await
            });
        }
        let mut answered = std::collections::BTreeMap::<u16, usize>::new();
        while let Some(answer) = asked.join_next().await {
            let answer = answer.expect("no panic").expect("an answer");
            *answered.entry(answer.status).or_default() += 1;
        }
        let peak = memory("VmHWM:");
        say(&format!(
            "memory: {AT_ONCE} bodies of {name} at once, {} KiB each: {answered:?}, {before} MiB before, at most {peak} MiB",
            x.len() / 1024
        ));
        assert_eq!(answered.values().sum::<usize>(), AT_ONCE);
        assert!(answered.keys().all(|status| matches!(status, 201 | 503)));
        // All of them side by side take 730 MiB.
        assert!(peak < 400, "{peak} MiB");
    }
}
