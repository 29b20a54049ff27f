//! Every limit at n, where it is met, and at n + 1, where it is refused as promise 4 says: a SCIM error within a second,
//! nothing changed, the next request served.

use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use usher::journal::record::Status;
use usher::journal::report::Query;
use usher::sandbox::{Fault, What};

use crate::house::{House, Plan, TOKEN, say};
use crate::process::Site;
use crate::wire::{Said, Wire};

/// One request.
struct Ask {
    method: &'static str,
    target: String,
    /// Header lines beside Host, Authorization and those of the body.
    lines: String,
    body: Vec<u8>,
    chunked: bool,
}

impl Ask {
    fn get(target: impl Into<String>) -> Self {
        let (target, lines, body) = (target.into(), String::new(), Vec::new());
        Self {
            method: "GET",
            target,
            lines,
            body,
            chunked: false,
        }
    }

    fn with(method: &'static str, target: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self {
            method,
            body: body.into(),
            ..Self::get(target)
        }
    }

    /// A search, whose body may hold anything under `x`.
    fn search(x: &str) -> Self {
        Self::with(
            "POST",
            "/Users/.search",
            format!("{{\"count\":0,\"x\":{x}}}"),
        )
    }

    fn bytes(&self) -> Vec<u8> {
        let Self {
            method,
            target,
            lines,
            body,
            chunked,
        } = self;
        let mut bytes = format!("{method} /scim/v2{target} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n{lines}").into_bytes();
        if !body.is_empty() {
            bytes.extend_from_slice(b"Content-Type: application/scim+json\r\n");
        }
        if *chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(10_000) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

/// A limit: how much it lets through, a request of a given size, and what is said at n and at n + 1.
struct Limit<'a> {
    name: &'a str,
    n: usize,
    ask: Box<dyn Fn(usize) -> Ask + 'a>,
    met: u16,
    over: u16,
    scim_type: Option<&'a str>,
}

fn limit<'a>(
    name: &'a str,
    n: usize,
    met: u16,
    (over, scim_type): (u16, &'a str),
    ask: impl Fn(usize) -> Ask + 'a,
) -> Limit<'a> {
    let scim_type = (!scim_type.is_empty()).then_some(scim_type);
    Limit {
        name,
        n,
        ask: Box::new(ask),
        met,
        over,
        scim_type,
    }
}

/// Bytes of Host and Authorization as the gateway counts them, with four more a line, and of the length of no body.
fn head() -> usize {
    ("host".len() + 1 + 4)
        + ("authorization".len() + "Bearer ".len() + TOKEN.len() + 4)
        + ("content-length".len() + 1 + 4)
}

fn patch(operations: &Value) -> Vec<u8> {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations})
        .to_string()
        .into_bytes()
}

fn user(name: &str) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name, "name": {"givenName": "A", "familyName": "B"}})
}

fn limits(id: &str) -> Vec<Limit<'_>> {
    let a = |n: usize| "a".repeat(n);
    let one = format!("/Users/{id}");
    let (patched, pathed, deep) = (one.clone(), one.clone(), one.clone());
    let create = |name: &str, n: usize| {
        let mut body = user(name).to_string().into_bytes();
        body.resize(n, b' ');
        Ask::with("POST", "/Users", body)
    };
    let path = |to: &str, path: String| {
        let operation = json!([{"op": "replace", "path": path, "value": "x"}]);
        Ask::with("PATCH", to, patch(&operation))
    };
    let filter = |text: String| {
        Ask::get(format!(
            "/Users?count=0&filter={}",
            text.replace(' ', "+").replace('"', "%22")
        ))
    };
    vec![
        limit("head, bytes", 16_384, 200, (431, ""), move |n| Ask {
            lines: format!("X: {}\r\n", a(n - head() - 5)),
            ..Ask::get("/Users?count=0")
        }),
        limit("head, lines", 64, 200, (431, ""), |n| Ask {
            lines: "X: a\r\n".repeat(n - 3),
            ..Ask::get("/Users?count=0")
        }),
        limit(
            "If-Match, as long as a head may be",
            16_384,
            412,
            (431, ""),
            move |n| Ask {
                method: "DELETE",
                lines: format!("If-Match: {}\r\n", a(n - head() - 12)),
                ..Ask::get(&one)
            },
        ),
        limit("target", 8_192, 200, (414, ""), move |n| {
            Ask::get(format!(
                "/Users?count=0&x={}",
                a(n - "/scim/v2/Users?count=0&x=".len())
            ))
        }),
        limit("body", 1_048_576, 201, (413, ""), move |n| {
            create("length@example.com", n)
        }),
        limit("body in chunks", 1_048_576, 201, (413, ""), move |n| Ask {
            chunked: true,
            ..create("chunks@example.com", n)
        }),
        limit("JSON, depth", 32, 200, (400, "invalidSyntax"), |n| {
            Ask::search(&("[".repeat(n - 1) + &"]".repeat(n - 1)))
        }),
        limit("JSON, values", 50_000, 200, (400, "invalidSyntax"), |n| {
            Ask::search(&format!("[{}0]", "0,".repeat(n - 4)))
        }),
        limit("JSON, keys", 256, 200, (400, "invalidSyntax"), |n| {
            let keys: Vec<String> = (0..n).map(|at| format!("\"{at}\":0")).collect();
            Ask::search(&format!("{{{}}}", keys.join(",")))
        }),
        limit(
            "JSON, keys that are equal but for their case",
            1,
            200,
            (400, "invalidSyntax"),
            |n| {
                Ask::search(if n == 1 {
                    "{\"key\":1}"
                } else {
                    "{\"key\":1,\"KEY\":1}"
                })
            },
        ),
        limit(
            "JSON, text",
            16_384,
            200,
            (400, "invalidSyntax"),
            move |n| Ask::search(&format!("\"{}\"", a(n))),
        ),
        limit("JSON, key", 16_384, 200, (400, "invalidSyntax"), move |n| {
            Ask::search(&format!("{{\"{}\":0}}", a(n)))
        }),
        limit(
            "filter, bytes",
            4_096,
            200,
            (400, "invalidFilter"),
            move |n| {
                filter(format!(
                    "userName eq \"{}\"",
                    a(n - "userName eq \"\"".len())
                ))
            },
        ),
        limit(
            "filter in a body, bytes",
            4_096,
            200,
            (400, "invalidFilter"),
            move |n| {
                let filter = format!("userName eq \"{}\"", a(n - "userName eq \"\"".len()));
                Ask::with(
                    "POST",
                    "/Users/.search",
                    json!({"filter": filter}).to_string(),
                )
            },
        ),
        limit("filter, depth", 16, 200, (400, "invalidFilter"), move |n| {
            filter(format!("{}active eq true{}", "(".repeat(n), ")".repeat(n)))
        }),
        limit("filter, terms", 64, 200, (400, "invalidFilter"), move |n| {
            filter(vec!["active eq true"; n].join(" or "))
        }),
        limit(
            "PATCH, operations",
            1_000,
            200,
            (400, "invalidSyntax"),
            move |n| {
                let operations =
                    vec![json!({"op": "replace", "path": "displayName", "value": "x"}); n];
                Ask::with("PATCH", &patched, patch(&json!(operations)))
            },
        ),
        // A filter that is read and matches nobody, and one that is not read.
        limit("PATCH, path", 4_096, 400, (400, "invalidPath"), move |n| {
            path(
                &pathed,
                format!(
                    "emails[value eq \"{}\"]",
                    a(n - "emails[value eq \"\"]".len())
                ),
            )
        }),
        limit(
            "PATCH, depth of a path's filter",
            16,
            400,
            (400, "invalidPath"),
            move |n| {
                path(
                    &deep,
                    format!("emails[{}value eq \"x\"{}]", "(".repeat(n), ")".repeat(n)),
                )
            },
        ),
        limit("Bulk, operations", 1_000, 200, (413, ""), |n| {
            let operations = vec![json!({"method": "DELETE", "path": "/Users/nobody"}); n];
            Ask::with(
                "POST",
                "/Bulk",
                json!({"Operations": operations}).to_string(),
            )
        }),
        limit("attributes", 200, 200, (400, "invalidValue"), |n| {
            Ask::get(format!(
                "/Users?count=0&attributes={}",
                vec!["a"; n].join(",")
            ))
        }),
        limit("excludedAttributes", 200, 200, (400, "invalidValue"), |n| {
            Ask::with(
                "POST",
                "/Users/.search",
                json!({"excludedAttributes": vec!["a"; n]}).to_string(),
            )
        }),
        // None of ours is that long; a longer text is not even looked at.
        limit("cursor", 16_384, 400, (400, "invalidSyntax"), move |n| {
            Ask::with(
                "POST",
                "/Users/.search",
                json!({"cursor": a(n)}).to_string(),
            )
        }),
        limit("sortBy", 16_384, 200, (400, "invalidSyntax"), move |n| {
            Ask::with(
                "POST",
                "/Users/.search",
                json!({"count": 0, "sortBy": a(n)}).to_string(),
            )
        }),
        limit("segments", 3, 200, (404, ""), |n| {
            Ask::get(format!(
                "{}?count=0",
                ["", "", "", "/Users", "/Users/x/y"][n]
            ))
        }),
    ]
}

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
        assert!(peak < 350, "{peak} MiB");
    }
}
