//! An application's patience: its pace is kept under a burst, its 429s are obeyed, and `usher status` shows it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use usher::clock::Timestamp;
use usher::sandbox::{Fault, What};
use usher::store::Lane;
use usher::upstream::gate::{Gate, GateView};

use crate::cli::{patch, user};
use crate::house::{House, PATIENCE, Plan, say};

const SECOND: Duration = Duration::from_secs(1);

/// Requests of the IdP at once.
const AT_ONCE: usize = 400;
/// How many calls a second go, light and medium.
const LIGHT: u32 = 40;
const MEDIUM: u32 = 30;

fn paced(tables: &str) -> Plan {
    Plan {
        tables: tables.to_owned(),
        pace: Some((LIGHT, MEDIUM, 8)),
        ..Plan::default()
    }
}

fn gate(house: &House) -> Gate {
    let engine = house.serving.gateway.engine().expect("it is open");
    engine.applications[0].gate.clone()
}

fn look(house: &House) -> GateView {
    gate(house).snapshot(house.clock.now())
}

fn fail(house: &House, calls: u32, retry_after: Option<&str>, text: &str) {
    house.sandbox.state().fail_next(Fault {
        calls,
        matching: None,
        what: What::Status {
            status: 429,
            retry_after: retry_after.map(str::to_owned),
            body: Some(json!({"status": "429", "detail": text}).to_string()),
        },
    });
}

/// Lets the gateway's tasks run until `done`.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("{what} does not come"));
}

/// How many marks are due in a lane.
fn due(house: &House, lane: Lane) -> u64 {
    let engine = house.serving.gateway.engine().expect("it is open");
    let view = engine.store.view().expect("a view");
    let lanes = view
        .lanes("zoom", house.clock.now(), 100_000)
        .expect("lanes");
    let count = lanes.iter().find(|count| count.lane == lane);
    count.expect("every lane is there").due
}

/// Moves the clock one step, once nobody has anything left to do at the present moment: the worker stands in the gate's
/// line and no call is under way, so that every call is counted where it belongs.
async fn step(house: &House, span: Duration) {
    rest(house).await;
    house.clock.advance(span);
}

async fn rest(house: &House) {
    let gate = gate(house);
    until("the worker's turn", || {
        let seen = gate.snapshot(house.clock.now());
        seen.in_flight == 0 && seen.waiting + seen.queued > 0
    })
    .await;
}

/// Bytes of memory that this process holds.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.expect("a number of pages") * 4_096
}

/// The most calls in any stretch of a second.
fn most_in_a_second(times: &[Timestamp]) -> usize {
    let mut most = 0;
    let mut first = 0;
    for (n, at) in times.iter().enumerate() {
        while at.since(times[first]) >= SECOND {
            first += 1;
        }
        most = most.max(n - first + 1);
    }
    most
}

/// The path of a look-up, which is medium; all else is light.
fn is_look_up(path: &str) -> bool {
    path == "/Users" || path == "/Groups"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_creates_is_taken_at_once_and_drains_by_lane_at_the_pace() {
    // Beside other tests in this process, whose memory is counted too.
    burst(1_500, 256).await;
}

/// The same with as many as Zoom's customers are promised; takes a debug build most of a minute:
/// `cargo test --test it five_thousand -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes most of a minute"]
async fn a_burst_of_five_thousand() {
    burst(5_000, 96).await;
}

/// So many creates; the process may grow by so many MiB.
async fn burst(users: usize, growth: u64) {
    let began = std::time::Instant::now();
    let house = House::with(paced("[application.safety]\nmax_removals = 1000")).await;
    let wait = Duration::from_secs(4);

    // People who are there already: some of them leave in the middle of the burst.
    let mut leavers = Vec::new();
    for n in 0..20 {
        let body = user(&format!("leaver{n}@x.example"));
        let answer = house.ask_in_time("POST", "/Users", Some(&body)).await;
        leavers.push(answer.expect(201).id());
    }
    let before = resident();

    // The burst: every answer is 201 and comes within `wait`, while time goes on.
    let names = Arc::new(Mutex::new(0..users));
    let mut clients = JoinSet::new();
    let open = Arc::new(AtomicUsize::new(AT_ONCE));
    for _ in 0..AT_ONCE {
        let (knock, clock, names) = (house.knock.clone(), house.clock.clone(), names.clone());
        let open = open.clone();
        clients.spawn(async move {
            let mut longest = Duration::ZERO;
            loop {
                let Some(n) = names.lock().expect("nobody panics").next() else {
                    open.fetch_sub(1, Ordering::SeqCst);
                    return longest;
                };
                let asked = clock.now();
                let body = user(&format!("new{n}@x.example"));
                knock.ask("POST", "/Users", Some(&body)).await.expect(201);
                longest = longest.max(clock.now().since(asked));
            }
        });
    }
    let tick = Duration::from_millis(2);
    let burst = async {
        let mut longest = Duration::ZERO;
        while let Some(client) = clients.join_next().await {
            longest = longest.max(client.expect("no client panics"));
        }
        longest
    };
    let passing = async {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            // Only once every client stands in line: time that a slow machine takes for its own work is none of the
            // gateway's, and a call on its way would be counted later than it was let go.
            let seen = look(&house);
            if seen.in_flight == 0 && seen.waiting >= open.load(Ordering::SeqCst) {
                house.clock.advance(tick);
            }
        }
    };
    let longest = tokio::select! {
        longest = burst => longest,
        () = passing => unreachable!("time does not end"),
    };
    assert!(longest <= wait + tick, "a client waited {longest:?}");
    let taken = began.elapsed();
    let queued = due(&house, Lane::Create);
    assert!(queued > users as u64 / 2, "only {queued} were queued");
    let peak = resident();

    // Some of the queue drains; then people leave, and go before whoever is still to come.
    while due(&house, Lane::Create) > queued - 100 {
        step(&house, Duration::from_millis(100)).await;
    }
    rest(&house).await;
    let gone = |id: &String| json!({"method": "PATCH", "path": format!("/Users/{id}"), "data": patch("active", Value::Bool(false))});
    let bulk = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": leavers.iter().map(gone).collect::<Vec<_>>()
    });
    let state = house.sandbox.state();
    house.ask("POST", "/Bulk", Some(&bulk)).await.expect(200);
    // A Bulk's removals are due when all of them are counted.
    until("the count", || {
        due(&house, Lane::Deactivate) == leavers.len() as u64
    })
    .await;
    let late = state.calls().len();
    while due(&house, Lane::Deactivate) > 0 {
        step(&house, Duration::from_millis(100)).await;
    }
    let calls = state.calls();
    let order: Vec<&str> = calls[late..]
        .iter()
        .map(|call| call.method.as_str())
        .collect();
    let last = order.iter().rposition(|method| *method == "PATCH");
    let creates = order[..last.expect("they were deactivated")].iter();
    let creates = creates.filter(|method| **method == "POST").count();
    // Those that were under way already, or went beside the last of them.
    assert!(creates <= 8, "creates went before deactivations: {order:?}");
    assert!(due(&house, Lane::Create) > queued / 2);
    for _ in 0..100 {
        step(&house, Duration::from_millis(100)).await;
    }
    let calls = state.calls();

    // At this pace the rest takes minutes of nothing new: a reload allows more.
    let drained = std::time::Instant::now();
    gate(&house).retune(&usher::config::shape::Pace {
        light: 100_000,
        medium: 100_000,
        concurrency: 8,
    });
    until("the end of the queue", || {
        house.clock.advance(Duration::from_millis(10));
        due(&house, Lane::Create) == 0 && look(&house).in_flight == 0
    })
    .await;
    let after = resident();
    assert_eq!(state.accounts().len(), users + leavers.len());
    for (class, granted) in [("light", LIGHT), ("medium", MEDIUM)] {
        let times: Vec<Timestamp> = calls
            .iter()
            .filter(|call| {
                let medium = call.method == "GET" && is_look_up(&call.path);
                medium == (class == "medium")
            })
            .map(|call| call.at)
            .collect();
        let most = most_in_a_second(&times);
        assert!(most <= granted as usize, "{most} {class} calls in a second");
    }
    let bound = growth << 20;
    let grown = peak.max(after).saturating_sub(before);
    assert!(grown < bound, "memory grew by {grown} bytes");
    say(&format!(
        "burst: {users} creates, longest wait {longest:?} of the clock, {queued} queued, memory +{} MiB, taken in {taken:?}, drained in {:?}",
        grown >> 20,
        drained.elapsed()
    ));
}

#[tokio::test]
async fn nobody_is_asked_while_told_to_wait() {
    let house = House::with(paced("")).await;
    fail(&house, 1, Some("30"), "Slow down.");
    let first = user("first@x.example");
    house.ask("POST", "/Users", Some(&first)).await.expect(201);
    let state = house.sandbox.state();
    assert_eq!(state.calls().len(), 1);
    assert_eq!(house.last().1, "queued");
    let second = user("second@x.example");
    house.ask("POST", "/Users", Some(&second)).await.expect(201);
    // It is no failure: no back-off, and the wait is the application's own.
    let seen = look(&house);
    assert_eq!((seen.failures, seen.left_alone_until), (0, None));
    assert_eq!(seen.light.rate.0, LIGHT * 500, "halved");
    let until_then = house.clock.now().plus(SECOND * 30);
    assert_eq!(seen.light.not_before, Some(until_then));
    assert_eq!(seen.medium.not_before, Some(until_then));
    for _ in 0..29 {
        house.clock.advance(SECOND);
        tokio::task::yield_now().await;
        assert_eq!(state.calls().len(), 1, "asked while told to wait");
    }
    // Then both, without another word from the client; a tenth of the wait spreads them.
    for _ in 0..60 {
        house.clock.advance(Duration::from_millis(100));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    until("both accounts", || state.accounts().len() == 2).await;
    let early = state.calls()[1..]
        .iter()
        .filter(|call| call.at < until_then)
        .count();
    assert_eq!(early, 0);
}

#[tokio::test]
async fn too_many_at_once_about_an_account_is_tried_again_and_slows_nobody() {
    let house = House::with(paced("")).await;
    fail(
        &house,
        1,
        None,
        "Too many concurrent requests. A request to disassociate this user has already been made.",
    );
    let body = user("busy@x.example");
    house.ask("POST", "/Users", Some(&body)).await.expect(201);
    assert_eq!(house.last().1, "queued");
    let seen = look(&house);
    assert_eq!(
        (seen.light.rate.0, seen.light.not_before),
        (LIGHT * 1_000, None)
    );
    assert_eq!(seen.failures, 0);
    let other = user("other@x.example");
    house.ask("POST", "/Users", Some(&other)).await.expect(201);
    assert_eq!(house.last().1, "success");
    house.clock.advance(SECOND * 3);
    let state = house.sandbox.state();
    until("the account", || state.account("busy@x.example").is_some()).await;
}

/// While the rate is used up, who is queued is not claimed: a client's write to that person does not wait for them.
#[tokio::test]
async fn a_write_to_somebody_queued_does_not_wait_for_the_queue() {
    let house = House::with(Plan {
        application: String::from("delivery = \"queued\""),
        pace: Some((1, 1, 8)),
        ..Plan::default()
    })
    .await;
    let mut ids = Vec::new();
    for n in 0..6 {
        let body = user(&format!("queued{n}@x.example"));
        let answer = house.ask("POST", "/Users", Some(&body)).await;
        ids.push(answer.expect(201).id());
    }
    // One call a second: the first was created and its read waits, the others wait for their turn.
    let gate = gate(&house);
    until("the worker in line", || {
        let seen = gate.snapshot(house.clock.now());
        seen.waiting == 1 && seen.queued == 1
    })
    .await;
    let change = patch("displayName", Value::from("Changed"));
    for id in &ids[1..] {
        let path = format!("/Users/{id}");
        let writing = house.ask("PATCH", &path, Some(&change));
        let written = tokio::time::timeout(PATIENCE, writing).await;
        written.expect("the clock need not move").expect(200);
    }
    // What was begun gives its claims back as soon as the clock shows that its turn does not come.
    let path = format!("/Users/{}", ids[0]);
    let before = house.clock.now();
    house
        .ask_in_time("PATCH", &path, Some(&change))
        .await
        .expect(200);
    let waited = house.clock.now().since(before);
    assert!(waited <= SECOND * 4, "waited {waited:?}");
}

/// Both kinds of daily limit close the class until the application says, and the report says why.
#[tokio::test]
async fn a_daily_limit_closes_the_class_until_its_date() {
    let house = House::with(paced("")).await;
    let until_then = house.clock.now().plus(SECOND * 9_000);
    let text = "You have reached the maximum daily rate limit for this API. Refer to the response header for details on when you can make another request.";
    fail(&house, 1, Some(&until_then.rfc3339()), text);
    let body = user("daily@x.example");
    house.ask("POST", "/Users", Some(&body)).await.expect(201);
    let (_, status, code) = house.last();
    assert_eq!((status.as_str(), code.as_str()), ("queued", "paced"));
    let seen = look(&house);
    assert_eq!(seen.light.not_before, Some(until_then));
    assert_eq!(
        (seen.light.rate.0, seen.medium.not_before),
        (LIGHT * 1_000, None)
    );
    house.clock.advance(SECOND * 8_999);
    let state = house.sandbox.state();
    assert_eq!(state.calls().len(), 1);
    // A tenth of the wait at most spreads what comes back.
    house.clock.advance(SECOND * 901);
    until("the account", || state.account("daily@x.example").is_some()).await;
}

#[tokio::test]
async fn status_shows_pace_queue_and_who_has_to_look() {
    let house = House::with(paced("")).await;
    fail(&house, 1, Some("3600"), "Slow down.");
    let body = user("queued@x.example");
    house.ask("POST", "/Users", Some(&body)).await.expect(201);
    let socket = house.folder().join("usher.sock");
    let (code, out) = status(&socket, &[]).await;
    assert_eq!(code, Some(0), "{out}");
    for part in [
        "ready, up 0s",
        "zoom: told to wait, another 1h 0m",
        "20/s",
        "answered 429",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, out) = status(&socket, &["--format", "json"]).await;
    let told: Value = serde_json::from_str(&out).expect("JSON");
    let zoom = &told["applications"][0];
    assert_eq!(code, Some(0));
    assert_eq!(
        (&zoom["light"]["rate"], &zoom["marks"]),
        (&json!("20"), &json!(1))
    );
    assert_eq!(
        zoom["queue"][1],
        json!({"lane": "create", "due": 0, "later": 1, "parked": 0, "oldest": null, "more": false})
    );
    house.clock.advance(SECOND * 7_200);
    house.sandbox.state().fail_next(Fault {
        calls: 9,
        matching: None,
        what: What::Status {
            status: 401,
            retry_after: None,
            body: None,
        },
    });
    until("a refused token", || look(&house).failures > 0).await;
    let (code, out) = status(&socket, &[]).await;
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("zoom: credentials refused"), "{out}");
    let (code, _) = status(&house.folder().join("none.sock"), &[]).await;
    assert_eq!(code, Some(75));
}

/// `usher status` as a process of its own: exit code and what it prints.
async fn status(socket: &std::path::Path, more: &[&str]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_usher"));
    command.arg("status").arg("--socket").arg(socket).args(more);
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = run.await.expect("no panic").expect("it runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}
