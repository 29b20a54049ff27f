//! Applications that are away, hang up, drip, and say what nobody asked for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use usher::journal::report::Query;
use usher::provision::call::Method;
use usher::sandbox::{Fault, Sandbox, What};

use crate::cli::{patch, user};
use crate::credentials::{Peer, Standing, config, grant, http, server_to_server};
use crate::house::{House, PATIENCE, Plan, say};
use crate::process::SANDBOX_TOKEN;

const SECOND: Duration = Duration::from_secs(1);
const BEARER: &str = r#"{ kind = "bearer", token = { env = "SANDBOX_TOKEN" } }"#;

/// So many bytes lie between one cut and the next; `USHER_CUTS=1` cuts at every byte.
const CUTS: u64 = 9;

/// An answer that breaks off wherever it may: whoever was created is found, and never created again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_cut_at_any_byte_makes_no_second_account() {
    let house = House::new().await;
    let state = house.sandbox.state();
    let every = std::env::var("USHER_CUTS").ok();
    let every: u64 = every.map_or(CUTS, |n| n.parse().expect("a number"));
    let (mut trials, mut end) = (0, 0);
    loop {
        let name = format!("cut{trials}@x.example");
        state.fail_next(Fault {
            calls: 1,
            matching: Some((Method::Post, String::from("/Users"))),
            what: What::CutAfter(end),
        });
        house
            .ask("POST", "/Users", Some(&user(&name)))
            .await
            .expect(201);
        let row = house.report(Query::default()).remove(0);
        let whole = row
            .calls
            .first()
            .is_some_and(|call| call.status == Some(201));
        house.later(SECOND * 31).await;
        assert_eq!(
            house.last().1,
            "success",
            "after {end} bytes: {:?}",
            house.last()
        );
        trials += 1;
        if whole {
            break;
        }
        end += every;
        assert!(end < 4_000, "its answers have no end");
    }
    let posts = state.counts()["POST"].clone();
    let duplicates = state.accounts().len() - usize::try_from(trials).expect("few");
    assert_eq!(
        (posts.calls, posts.effects, duplicates),
        (trials, trials, 0)
    );
    say(&format!(
        "an answer of {end} bytes cut at {trials} places: {duplicates} duplicates"
    ));
    assert!(end > 200, "{end}");
}

/// Away for an hour in which clients go on: everything is taken, and afterwards goes in each account's order, the newest
/// alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_application_missed_for_an_hour_comes_in_order() {
    const PEOPLE: usize = 40;
    let house = House::with(Plan {
        tables: String::from("[application.safety]\nmax_removals = 1000\nwindow = \"1ms\""),
        ..Plan::default()
    })
    .await;
    let mut ids = Vec::new();
    for n in 0..PEOPLE {
        let body = user(&format!("u{n}@x.example"));
        ids.push(
            house
                .ask("POST", "/Users", Some(&body))
                .await
                .expect(201)
                .id(),
        );
    }
    house.settled().await;
    let House {
        sandbox,
        serving,
        clock,
        knock,
        ..
    } = house;
    let (address, state) = (sandbox.address(), sandbox.state().clone());
    sandbox.stop().await;
    let before = state.calls().len();
    let mut said: BTreeMap<usize, (u64, bool)> = BTreeMap::new();
    let mut writes = 0_u64;
    for minute in 0..60_usize {
        clock.advance(SECOND * 60);
        for at in [
            minute * 7 % PEOPLE,
            minute * 11 % PEOPLE,
            minute * 13 % PEOPLE,
        ] {
            writes += 1;
            let now = said.entry(at).or_insert((0, true));
            let change = if writes.is_multiple_of(3) {
                now.1 = !now.1;
                patch("active", json!(now.1))
            } else {
                now.0 = writes;
                patch("displayName", json!(format!("v{writes}")))
            };
            let path = format!("/Users/{}", ids[at]);
            knock.ask("PATCH", &path, Some(&change)).await.expect(200);
        }
    }
    let engine = serving.gateway.engine().expect("open");
    let marks = || {
        engine
            .store
            .view()
            .expect("a view")
            .mark_count("zoom")
            .expect("marks")
    };
    let backlog = marks();
    assert_eq!(
        backlog,
        said.len() as u64,
        "one mark a person, whatever was said"
    );
    let sandbox = Sandbox::resume(address, state).expect("it is back");
    let began = clock.now();
    let drained = async {
        while marks() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            clock.advance(SECOND * 2);
        }
    };
    if tokio::time::timeout(PATIENCE, drained).await.is_err() {
        let view = engine.store.view().expect("a view");
        let left = view.tally("zoom").expect("a tally");
        panic!("not drained after {:?}: {left:?}", clock.now().since(began));
    }
    let took = clock.now().since(began);
    let calls = sandbox.state().calls().split_off(before);
    // Order, by account: no older version behind a newer one.
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    let mut violations = 0;
    for call in &calls {
        let shown = call
            .body
            .as_ref()
            .and_then(|body| body["displayName"].as_str());
        let version: Option<u64> = shown.and_then(|shown| shown.strip_prefix('v')?.parse().ok());
        if let Some(version) = version {
            let last = newest.entry(call.path.clone()).or_default();
            violations += usize::from(version < *last);
            *last = version.max(*last);
        }
    }
    for (at, (version, active)) in &said {
        let there = sandbox
            .state()
            .account(&format!("u{at}@x.example"))
            .expect("an account");
        assert_eq!(there["active"], json!(active), "u{at}");
        if *version > 0 && *active {
            assert_eq!(there["displayName"], format!("v{version}"), "u{at}");
        }
    }
    assert_eq!(violations, 0, "older after newer: {calls:?}");
    let writes_there = calls.iter().filter(|call| call.method != "GET").count();
    say(&format!(
        "away for an hour: {writes} writes taken, backlog {backlog} people, drained by {writes_there} calls in {took:?}, {violations} order violations"
    ));
}

/// An answer that comes a byte at a time: what waits for it waits no longer than a call may take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_drips_is_given_up_in_time() {
    for (delivery, most) in [("immediate", SECOND * 4), ("queued", SECOND * 30)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!(
            "http://{}/scim2",
            listener.local_addr().expect("an address")
        );
        let more = format!("delivery = \"{delivery}\"\nwait = \"4s\"");
        let text = config(&url, BEARER, &more);
        let gateway = Standing::new(&text, tempfile::tempdir().expect("a folder")).await;
        let clock = gateway.clock.clone();
        let dripping = async {
            let (mut stream, _) = listener.accept().await.expect("it calls");
            let mut head = [0; 4_096];
            let read = stream.read(&mut head).await.expect("a request");
            assert!(head[..read].starts_with(b"POST"));
            let began = clock.now();
            let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 1000000\r\n\r\n";
            stream.write_all(answer).await.expect("sent");
            loop {
                // It reads as well: the gateway's end of it is what is waited for.
                let gone = tokio::time::timeout(Duration::from_millis(2), stream.read(&mut head));
                if gone.await.is_ok_and(|read| read.unwrap_or(0) == 0) {
                    return clock.now().since(began);
                }
                let _cut = stream.write_all(b" ").await;
                clock.advance(SECOND / 4);
            }
        };
        let asked = clock.now();
        let writing = async {
            gateway.create("ada@x.example").await;
            clock.now().since(asked)
        };
        let both = async { tokio::join!(dripping, writing) };
        let (held, answered) = tokio::time::timeout(PATIENCE, both).await.expect("an end");
        // What the machine needs to notice is time of the clock that goes on meanwhile.
        assert!(held <= most + SECOND * 3, "{delivery}: held for {held:?}");
        assert!(
            answered <= SECOND * 6,
            "{delivery}: a client waited {answered:?}"
        );
        say(&format!(
            "an answer that drips, {delivery}: given up after {held:?}, the client after {answered:?}"
        ));
    }
}

/// Redirects, codings, what is no JSON and what is too large: no call goes anywhere else, nothing is taken for done, and
/// memory stays where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_application_answers_no_call_goes_elsewhere() {
    let other = Peer::new(|_| http("200 OK", "{}")).await;
    let elsewhere = other.url.clone();
    let large = "x".repeat(4 * 1024 * 1024 + 1);
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let account = json!({"id": "k1", "userName": "a@x.example", "active": true}).to_string();
    let moved = |status: &str| {
        format!(
            "HTTP/1.1 {status}\r\nLocation: {elsewhere}/scim2/Users\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let coded = |coding: &str| {
        format!(
            "HTTP/1.1 201 Created\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n{account}",
            account.len()
        )
    };
    let answers = vec![
        moved("301 Moved Permanently"),
        moved("302 Found"),
        moved("303 See Other"),
        moved("307 Temporary Redirect"),
        moved("308 Permanent Redirect"),
        format!(
            "HTTP/1.1 300 Multiple Choices\r\nLocation: {elsewhere}\r\nRefresh: 0; url={elsewhere}\r\nContent-Length: 0\r\n\r\n"
        ),
        coded("gzip"),
        coded("br, identity"),
        http("201 Created", "<html>it is done</html>"),
        http("201 Created", "{\"id\":"),
        http("201 Created", &deep),
        http("201 Created", &large),
        http("200 OK", "null"),
        http("201 Created", ""),
        String::from("HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n"),
        String::from("no HTTP at all\r\n\r\n"),
    ];
    let kinds = answers.len();
    let next = AtomicUsize::new(0);
    let answers = Arc::new(answers);
    let turn = Arc::new(Mutex::new(0));
    let (kept, now) = (Arc::clone(&answers), Arc::clone(&turn));
    let app = Peer::new(move |_| {
        next.fetch_add(1, Ordering::SeqCst);
        kept[*now.lock().expect("no panic")].clone()
    })
    .await;
    // Time flies here, and no call is to be cut by it.
    let text = config(&format!("{}/scim2", app.url), BEARER, "wait = \"20s\"");
    let gateway = Standing::new(&text, tempfile::tempdir().expect("a folder")).await;
    let before = resident();
    let mut peak = before;
    for kind in 0..kinds {
        *turn.lock().expect("no panic") = kind;
        // What the one before did to its health is over.
        gateway.clock.advance(SECOND * 61);
        let name = format!("kind{kind}@x.example");
        let (knock, clock) = (gateway.knock.clone(), gateway.clock.clone());
        let creating = async { knock.ask("POST", "/Users", Some(&user(&name))).await };
        let passing = async {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                clock.advance(SECOND / 20);
            }
        };
        let answer: crate::house::Answer = tokio::select! {
            answer = creating => answer,
            () = passing => unreachable!("time does not end"),
        };
        assert_eq!(answer.status, 201, "{kind}: {:?}", answer.body);
        let told = format!("{:?}", gateway.last());
        assert!(!told.contains(SANDBOX_TOKEN), "{kind}: {told}");
        let (status, why) = gateway.told();
        assert_ne!(status, "success", "{kind}: {why}");
        peak = peak.max(resident());
    }
    assert_eq!(other.seen(), [""; 0], "no call went elsewhere");
    let seen = app.seen();
    assert!(seen.len() >= kinds, "{} calls", seen.len());
    let grown = peak.saturating_sub(before) >> 20;
    // The tests beside this one are counted too.
    assert!(grown < 256, "memory grew by {grown} MiB");
    say(&format!(
        "{kinds} kinds of bad answers in {} calls: {} foreign connects, memory +{grown} MiB",
        seen.len(),
        other.seen().len()
    ));
}

/// Bytes of memory that this process holds.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.expect("a number of pages") * 4_096
}

/// A token that is voided under many workers is renewed once for all of them; where the next one is refused as well, they
/// stop, and the token endpoint is left alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voided_token_is_renewed_once_for_all_workers_and_then_they_stop() {
    let sandbox = Sandbox::start(usher::sandbox::Options {
        token: SANDBOX_TOKEN.to_owned(),
        ..usher::sandbox::Options::default()
    })
    .expect("a sandbox");
    let valid = Arc::new(Mutex::new(true));
    let asked = Arc::new(AtomicUsize::new(0));
    let (now, count) = (Arc::clone(&valid), Arc::clone(&asked));
    let token = sandbox.token().to_owned();
    let endpoint = Peer::new(move |_| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let good = *now.lock().expect("no panic") && !first;
        grant(if good { &token } else { "voided-token" }, "scim2")
    })
    .await;
    let credentials = server_to_server(&endpoint.url);
    let text = config(&sandbox.base_url(), &credentials, "delivery = \"queued\"");
    let text = text.replace("concurrency = 64", "concurrency = 16");
    let gateway = Standing::new(&text, tempfile::tempdir().expect("a folder")).await;
    let engine = gateway.serving.gateway.engine().expect("open");
    let marks = || {
        engine
            .store
            .view()
            .expect("a view")
            .mark_count("zoom")
            .expect("marks")
    };
    for n in 0..40 {
        gateway.create(&format!("u{n}@x.example")).await;
    }
    let drain = async {
        while marks() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            gateway.clock.advance(Duration::from_millis(50));
        }
    };
    tokio::time::timeout(PATIENCE, drain)
        .await
        .expect("the queue");
    assert_eq!(sandbox.state().accounts().len(), 40);
    let renewed = asked.load(Ordering::SeqCst) - 1;
    assert_eq!(renewed, 1, "one renewal for all workers");
    // The next ones are void from the start.
    *valid.lock().expect("no panic") = false;
    sandbox.state().fail_next(Fault {
        calls: 1_000_000,
        matching: None,
        what: What::Status {
            status: 401,
            retry_after: None,
            body: None,
        },
    });
    let before = sandbox.state().calls().len();
    for n in 0..40 {
        gateway.create(&format!("v{n}@x.example")).await;
    }
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        gateway.clock.advance(SECOND);
    }
    let calls = sandbox.state().calls().len() - before;
    let more = asked.load(Ordering::SeqCst) - 1 - renewed;
    // Five minutes: sixteen at first, then one after 1, 2, 4, ... 60 s; each may cost a token.
    assert!(calls <= 2 * (16 + 12), "{calls} calls while refused");
    assert!(more <= 13, "{more} tokens asked for");
    let health = engine.applications[0].gate.health();
    assert!(health.failures > 3, "it is stopped: {health:?}");
    assert_eq!(marks(), 40, "and nothing is forgotten");
    say(&format!(
        "a voided token under 16 workers: {renewed} renewal; refused for good: {calls} calls and {more} tokens in five minutes"
    ));
}

/// An application that answers a create with an account that another one has: it stays theirs, and whoever asked is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_account_that_is_answered_to_two_creates_stays_the_firsts() {
    let account = json!({"id": "same", "userName": "first@x.example", "active": true});
    let account = account.to_string();
    let app = Peer::new(move |head| match head.starts_with("POST") {
        true => http("201 Created", &account),
        false => http("200 OK", &account),
    })
    .await;
    let text = config(&format!("{}/scim2", app.url), BEARER, "");
    let gateway = Standing::new(&text, tempfile::tempdir().expect("a folder")).await;
    gateway.create("first@x.example").await;
    for _ in 0..2 {
        let second = user("second@x.example");
        let answer = gateway.knock.ask("POST", "/Users", Some(&second)).await;
        let body = answer.expect(409).body;
        assert_eq!(body["scimType"], "uniqueness", "{body}");
        let detail = body["detail"].to_string();
        assert!(detail.contains("first@x.example"), "{detail}");
    }
    let list = gateway.knock.ask("GET", "/Users", None).await.expect(200);
    assert_eq!(list.body["totalResults"], 1);
    assert!(gateway.serving.drain().await.whole);
}
