//! What a monitor is told: readiness by component, and metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;
use usher::clock::Timestamp;
use usher::console::status;
use usher::gateway::Phase;
use usher::sandbox::{Fault, What};

use crate::appliance::user;
use crate::house::{House, Knock, PATIENCE, Plan};
use crate::tls::Secured;

/// GET, and the body as text.
fn fetch(address: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_ascii_lowercase(), body.to_owned())
}

/// Reads the text format strictly: every family said once, with its samples behind it; no sample twice.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let (mut family, mut kind) = ("", "");
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().expect("a name");
            assert!(families.insert(family), "{family} twice");
            let declared = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
            let (name, of) = declared.and_then(|it| it.split_once(' ')).expect("a type");
            assert_eq!(name, family);
            assert!(["counter", "gauge", "histogram"].contains(&of), "{line}");
            assert_eq!(of == "counter", family.ends_with("_total"), "{family}");
            kind = of;
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("a value");
        let bare = name.split('{').next().expect("a name");
        let suffix = bare.strip_prefix(family).expect("of its family");
        let suffixes: &[&str] = if kind == "histogram" {
            &["_bucket", "_sum", "_count"]
        } else {
            &[""]
        };
        assert!(suffixes.contains(&suffix), "{line}");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(samples.insert(name.to_owned(), value).is_none(), "{line}");
    }
    assert!(text.ends_with('\n'));
    samples
}

fn metrics(house: &House) -> BTreeMap<String, f64> {
    let (head, body) =
        tokio::task::block_in_place(|| fetch(house.serving.admin, "GET", "/metrics"));
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    for secret in ["x.example", "Ada", "Byron", "@"] {
        assert!(!body.contains(secret), "{secret} in {body}");
    }
    parse(&body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_what_was_asked_and_agree_with_status() {
    let house = House::new().await;
    let before = metrics(&house);
    assert_eq!(before["usher_phase{phase=\"ready\"}"], 1.0);
    assert_eq!(before["usher_phase{phase=\"opening\"}"], 0.0);
    for name in ["ada", "bob", "cy"] {
        let person = user(&format!("{name}@x.example"));
        let made = house.ask("POST", "/Users", Some(&person)).await;
        made.expect(201);
    }
    let again = house
        .ask("POST", "/Users", Some(&user("ada@x.example")))
        .await;
    again.expect(409);
    house.ask("GET", "/Users", None).await.expect(200);
    house.ask("GET", "/Users/none", None).await.expect(404);
    house.ask("GET", "/Nothing", None).await.expect(404);
    let nobody = [("authorization", String::from("Bearer ush_wrong"))];
    for _ in 0..3 {
        let refused = house.knock.send("GET", "/Users", &nobody, None).await;
        refused.expect("an answer").expect(401);
    }
    let headers = [
        ("authorization", format!("Bearer {}", crate::house::TOKEN)),
        ("content-type", String::from("application/scim+json")),
    ];
    let twice = Some(String::from("{\"a\":1,\"a\":2}"));
    let mangled = house.knock.send("POST", "/Users", &headers, twice).await;
    mangled.expect("an answer").expect(400);
    // The application is away for the next one: it becomes a mark.
    house.sandbox.state().fail_next(Fault {
        calls: 100,
        matching: None,
        what: What::Status {
            status: 503,
            retry_after: Some(String::from("600")),
            body: None,
        },
    });
    let dot = house
        .ask("POST", "/Users", Some(&user("dot@x.example")))
        .await;
    dot.expect(201);
    house.clock.advance(Duration::from_secs(7));

    let found = metrics(&house);
    let requests = |operation: &str, class: &str| {
        let labels = format!("client=\"okta\",operation=\"{operation}\",status=\"{class}\"");
        let count = found.get(&format!("usher_requests_total{{{labels}}}"));
        count.copied().unwrap_or_default()
    };
    for (operation, class, count) in [
        ("create", "2xx", 4.0),
        ("create", "4xx", 1.0),
        ("list", "2xx", 1.0),
        ("read", "4xx", 1.0),
        ("read", "2xx", 0.0),
    ] {
        assert_eq!(requests(operation, class), count, "{operation} {class}");
    }
    for (status, count) in [("401", 3.0), ("404", 1.0), ("400", 1.0), ("429", 0.0)] {
        let name = format!("usher_requests_refused_total{{status=\"{status}\"}}");
        assert_eq!(found[&name], count, "{status}");
    }
    let took = "usher_request_duration_seconds";
    assert_eq!(found[&format!("{took}_count{{operation=\"create\"}}")], 5.0);
    let all = format!("{took}_bucket{{operation=\"create\",le=\"+Inf\"}}");
    assert_eq!(found[&all], 5.0);
    let calls = |class: &str, status: &str| {
        let labels = format!("application=\"zoom\",class=\"{class}\",status=\"{status}\"");
        let count = found.get(&format!("usher_application_calls_total{{{labels}}}"));
        count.copied().unwrap_or_default()
    };
    let state = house.sandbox.state();
    let seen: f64 = ["2xx", "404", "409", "5xx", "none"]
        .iter()
        .map(|status| calls("light", status) + calls("medium", status))
        .sum();
    assert_eq!(seen, state.calls().len() as f64);
    assert!(calls("light", "2xx") + calls("medium", "2xx") >= 3.0);
    assert_eq!(calls("light", "5xx") + calls("medium", "5xx"), 1.0);
    let connections = found["usher_connections_open"];
    assert!((1.0..100.0).contains(&connections), "{connections}");
    assert!(found["usher_writer_commits_total"] > before["usher_writer_commits_total"]);
    for name in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "usher_store_bytes",
        "usher_store_free_bytes",
        "usher_writer_last_commit_seconds",
    ] {
        assert!(found[name] > 0.0, "{name}");
    }
    assert!(!found.contains_key("usher_tls_certificate_end_seconds"));

    // The same as `usher status` shows.
    let engine = house.serving.gateway.engine().expect("it is open");
    let (phase, now) = (*house.serving.gateway.phase.borrow(), house.clock.now());
    let status = status::status(phase, now, now, Some(&engine)).expect("a status");
    let zoom = &status.applications[0];
    assert_eq!(
        found["usher_marks{application=\"zoom\"}"],
        zoom.marks as f64
    );
    assert!(zoom.marks >= 1);
    assert_eq!(
        found["usher_application_accounts{application=\"zoom\"}"],
        zoom.active as f64
    );
    assert_eq!(
        found["usher_removals_held{application=\"zoom\"}"],
        zoom.held as f64
    );
    for count in &zoom.queue {
        let lane = serde_json::to_value(count.lane).expect("a name");
        let lane = lane.as_str().expect("text").to_lowercase();
        for (state, wanted) in [
            ("due", count.due),
            ("later", count.later),
            ("parked", count.parked),
        ] {
            let labels = format!("application=\"zoom\",lane=\"{lane}\",state=\"{state}\"");
            let name = format!("usher_queue_marks{{{labels}}}");
            assert_eq!(found[&name], wanted as f64, "{name}");
        }
    }
    let light = "usher_application_pace{application=\"zoom\",class=\"light\"}";
    assert_eq!(found[light].to_string(), zoom.light.rate);
    let told = match zoom.state {
        status::State::Ok => "ok",
        status::State::Waiting { .. } => "waiting",
        status::State::Failing { .. } => "failing",
        status::State::Refused { .. } => "refused",
    };
    assert_ne!(told, "ok");
    let name = format!("usher_application_state{{application=\"zoom\",state=\"{told}\"}}");
    assert_eq!(found[&name], 1.0);

    // A reload takes nothing back.
    house.reload(&Plan::default()).await;
    let after = metrics(&house);
    for (name, count) in &found {
        if name.contains("_total") && !name.contains("read_notes") {
            assert!(after[name] >= *count, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_is_told_by_component() {
    let house = House::new().await;
    let admin = Knock::at(format!("http://{}", house.serving.admin));
    let mut ready = admin.ask("GET", "/readyz", None).await.expect(200);
    let waiting = ready.body["components"]["writer"]["waiting"].take();
    assert!(waiting.is_u64(), "{waiting}");
    assert_eq!(
        ready.body,
        json!({"status": "ready", "components": {
            "store": {"status": "ok"},
            "writer": {"status": "ok", "waiting": null},
            "disk": {"status": "ok"},
            "application:zoom": {"status": "ok"}
        }})
    );
    house.sandbox.state().fail_next(Fault {
        calls: 100,
        matching: None,
        what: What::Status {
            status: 429,
            retry_after: Some(String::from("60")),
            body: Some(json!({"status": "429", "detail": "too fast"}).to_string()),
        },
    });
    let made = house
        .ask("POST", "/Users", Some(&user("ada@x.example")))
        .await;
    made.expect(201);
    // An application that wants to be left alone does not make the gateway less ready.
    let ready = admin.ask("GET", "/readyz", None).await.expect(200);
    let zoom = &ready.body["components"]["application:zoom"];
    assert_eq!(zoom["status"], "told to wait", "{zoom}");
    let until = house.clock.now().plus(Duration::from_secs(60)).rfc3339();
    assert!(zoom["until"].as_str() >= Some(&until), "{zoom}");

    for path in ["/healthz", "/readyz", "/metrics"] {
        let (head, body) = tokio::task::block_in_place(|| fetch(house.serving.admin, "HEAD", path));
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        assert_eq!(body, "", "{path}");
        let other = admin.ask("POST", path, None).await;
        other.expect(405);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_readiness_follow_the_phase() {
    let house = House::new().await;
    let admin = Knock::at(format!("http://{}", house.serving.admin));
    for (phase, healthy, told, checked, store) in [
        (
            Phase::Opening(0.257),
            200,
            "opening",
            json!(0.26),
            "opening",
        ),
        (Phase::Broken, 503, "broken", json!(null), "broken"),
        (Phase::Draining, 200, "draining", json!(null), "ok"),
    ] {
        house.serving.gateway.phase.send_replace(phase);
        admin.ask("GET", "/healthz", None).await.expect(healthy);
        let ready = admin.ask("GET", "/readyz", None).await.expect(503);
        assert_eq!(ready.body["status"], told);
        assert_eq!(ready.body["checked"], checked, "{told}");
        assert_eq!(ready.body["components"]["store"]["status"], store);
        let found = metrics(&house);
        assert_eq!(found[&format!("usher_phase{{phase=\"{told}\"}}")], 1.0);
        assert_eq!(found["usher_phase{phase=\"ready\"}"], 0.0);
    }
    house.serving.gateway.phase.send_replace(Phase::Ready);
    admin.ask("GET", "/healthz", None).await.expect(200);
    admin.ask("GET", "/readyz", None).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_certificate_is_told_before_it_comes() {
    let secured = Secured::new().await;
    let house = &secured.house;
    let admin = Knock::at(format!("http://{}", house.serving.admin));
    let tls = async || {
        let ready = admin.ask("GET", "/readyz", None).await.expect(200);
        ready.body["components"]["tls"].clone()
    };
    assert_eq!(tls().await["status"], "ok");
    let end = "usher_tls_certificate_end_seconds";
    assert!(metrics(house)[end] > 4e9);
    // The house's clock shows the 23rd of November 2026.
    for (day, status) in [(24, "certificate ends soon"), (22, "certificate has ended")] {
        let card = secured.issuer.issue(|params| {
            params.not_after = rcgen::date_time_ymd(2026, 11, day);
        });
        let acceptor = house.serving.tls.as_ref().expect("it has TLS");
        acceptor.replace(&card.tls(None)).expect("a certificate");
        let until = format!("2026-11-{day}T00:00:00.000Z");
        assert_eq!(tls().await, json!({"status": status, "until": until}));
        let ends = Timestamp::parse(&until).expect("a time").0;
        assert_eq!(metrics(house)[end], (ends / 1_000) as f64);
    }
}
