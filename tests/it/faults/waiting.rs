//! An application that asks to be left alone, fails, or refuses our credentials: how many calls it gets meanwhile, also
//! where the gateway starts anew or has another configuration put in force in the middle of it.

use std::time::Duration;

use serde_json::json;
use usher::clock::Timestamp;
use usher::sandbox::{Fault, What};
use usher::upstream::gate::GateView;

use crate::cli::user;
use crate::house::{House, PATIENCE, Plan, say};
use crate::process::Site;

const SECOND: Duration = Duration::from_secs(1);

fn sick(house: &House, calls: u32, status: u16, retry_after: Option<&str>, text: &str) {
    house.sandbox.state().fail_next(Fault {
        calls,
        matching: None,
        what: What::Status {
            status,
            retry_after: retry_after.map(str::to_owned),
            body: Some(json!({"status": status.to_string(), "detail": text}).to_string()),
        },
    });
}

fn look(house: &House) -> GateView {
    let engine = house.serving.gateway.engine().expect("it is open");
    engine.applications[0].gate.snapshot(house.clock.now())
}

fn marks(house: &House) -> u64 {
    let engine = house.serving.gateway.engine().expect("it is open");
    let view = engine.store.view().expect("a view");
    view.mark_count("zoom").expect("marks")
}

fn queued() -> Plan {
    Plan {
        application: String::from("delivery = \"queued\""),
        pace: Some((100_000, 100_000, 8)),
        ..Plan::default()
    }
}

/// Gives the gateway's tasks the machine until nothing has come of it for a while.
async fn idle() {
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Lets time go by, a step at a time and the gateway's tasks running at each, until `done`.
async fn until(house: &House, tick: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            house.clock.advance(tick);
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("{what} does not come"));
}

/// How many calls came before `until`.
fn early(house: &House, until: Timestamp) -> usize {
    let calls = house.sandbox.state().calls();
    calls.iter().skip(1).filter(|call| call.at < until).count()
}

const DAILY: &str = "You have reached the maximum daily rate limit for this API. Refer to the response header for details on when you can make another request.";

/// What an application asks for, and whether calls of the other class may go on.
const ASKED: [(u16, u64, &str, bool); 3] = [
    (429, 30, "Slow down.", false),
    (503, 600, "Down for maintenance.", false),
    (429, 9_000, DAILY, true),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_told_to_wait_waits_through_restarts_and_reloads() {
    for (status, seconds, text, others_go) in ASKED {
        let mut house = House::new().await;
        let wait = SECOND * u32::try_from(seconds).expect("a small number");
        let until_then = house.clock.now().plus(wait);
        sick(&house, 1, status, Some(&seconds.to_string()), text);
        let first = user("first@x.example");
        house.ask("POST", "/Users", Some(&first)).await.expect(201);
        assert_eq!(house.sandbox.state().calls().len(), 1);
        for n in 0..6 {
            house = match n {
                0 | 3 => house.restart().await,
                // An application that goes from the file and comes back is called as before.
                1 => {
                    let nothing = "[[client]]\nname = \"c\"\ntoken_sha256 = [\"0000000000000000000000000000000000000000000000000000000000000000\"]\n";
                    let none = house.config_of(nothing);
                    house.serving.reload(none).await.expect("in force");
                    house.reload(&Plan::default()).await;
                    house
                }
                _ => {
                    let paced = Plan {
                        pace: Some((1_000 + n, 1_000, 8)),
                        ..Plan::default()
                    };
                    house.reload(&paced).await;
                    house
                }
            };
            let body = user(&format!("next{n}@x.example"));
            house.ask("POST", "/Users", Some(&body)).await.expect(201);
            house.clock.advance(wait / 7);
            idle().await;
            assert_eq!(early(&house, until_then), 0, "{text} {n}");
        }
        let seen = look(&house);
        let rests = [seen.left_alone_until, seen.light.not_before];
        assert!(rests.contains(&Some(until_then)), "{text}: {seen:?}");
        assert_eq!(seen.medium.not_before.is_none() && status == 429, others_go);
        house.clock.advance(until_then.since(house.clock.now()));
        until(&house, SECOND, "what waited", || marks(&house) == 0).await;
        assert_eq!(house.sandbox.state().accounts().len(), 7);
        let early = early(&house, until_then);
        assert_eq!(early, 0, "{text}: calls while told to wait");
        say(&format!(
            "told to wait {seconds} s by {status}: 2 restarts and 4 reloads, {early} calls meanwhile"
        ));
    }
}

/// The same of the real binary, killed as soon as its client has heard that the create is queued.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_told_to_wait_waits_though_the_gateway_is_killed() {
    let site = Site::new(&Plan::default());
    let state = site.sandbox.state();
    state.fail_next(Fault {
        calls: 1,
        matching: None,
        what: What::Status {
            status: 429,
            retry_after: Some(String::from("3600")),
            body: None,
        },
    });
    for life in 0..4 {
        let running = site.serve("");
        let knock = running.scim();
        for n in 0..3 {
            let body = user(&format!("life{life}-{n}@x.example"));
            knock.ask("POST", "/Users", Some(&body)).await.expect(201);
        }
        running.kill();
    }
    assert_eq!(state.calls().len(), 1, "{:?}", state.calls());
    let early: u64 = state.counts().values().map(|counts| counts.early).sum();
    assert_eq!(early, 0);
    // A clean end and start is no other case.
    let running = site.serve("");
    let body = user("last@x.example");
    let knock = running.scim();
    knock.ask("POST", "/Users", Some(&body)).await.expect(201);
    assert_eq!(running.terminate().code, 0);
    assert_eq!(state.calls().len(), 1);
    say("told to wait an hour: 4 kills and 13 creates, 0 calls meanwhile");
}

/// Refused credentials and an outage, with a queue behind them: no more than was under way is wasted at first, then one
/// call finds out at a time, also after a start; and when all is well again the queue goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_an_application_fails_one_call_at_a_time_finds_out_also_after_a_restart() {
    for status in [401, 403, 503] {
        let mut house = House::with(queued()).await;
        let began = house.clock.now();
        sick(&house, 1_000_000, status, None, "no");
        for n in 0..60 {
            let body = user(&format!("u{n}@x.example"));
            house.ask("POST", "/Users", Some(&body)).await.expect(201);
        }
        idle().await;
        let calls = |house: &House| house.sandbox.state().calls().len();
        let burst = calls(&house);
        assert!((1..=8).contains(&burst), "{status}: {burst} at first");
        let mut rounds = 0;
        let end = began.plus(SECOND * 900);
        let mut last = burst;
        while house.clock.now() < end {
            if rounds % 10 == 4 {
                house = house.restart().await;
                idle().await;
                assert_eq!(calls(&house), last, "{status}: nobody asks at the start");
            }
            let seen = look(&house);
            assert!(seen.failures > 0, "{status}: known to fail");
            let next = seen.left_alone_until;
            let next = next.unwrap_or_else(|| house.clock.now().plus(SECOND * 5));
            let now = calls(&house);
            house.clock.advance(next.since(house.clock.now()));
            // One finds out, and no second one beside it.
            let asked = async {
                while calls(&house) == now && marks_due(&house) > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(PATIENCE, asked).await.expect("a call");
            idle().await;
            assert!(calls(&house) <= now + 1, "{status}: more than one asks");
            last = calls(&house);
            rounds += 1;
        }
        let wasted = calls(&house);
        // A minute at most between them.
        assert!(
            wasted <= burst + 30,
            "{status}: {wasted} calls in a quarter of an hour"
        );
        house.sandbox.state().mend();
        let well = house.clock.now();
        let tick = Duration::from_millis(100);
        until(&house, tick, "recovery", || look(&house).failures == 0).await;
        let recovered = house.clock.now().since(well);
        assert!(recovered <= SECOND * 65, "{status}: {recovered:?}");
        until(&house, SECOND * 10, "the queue", || marks(&house) == 0).await;
        assert_eq!(house.sandbox.state().accounts().len(), 60);
        say(&format!(
            "{status} for a quarter of an hour with 60 waiting: {burst} calls at first, {wasted} in all, {rounds} rounds, well again after {recovered:?}"
        ));
    }
}

fn marks_due(house: &House) -> usize {
    let engine = house.serving.gateway.engine().expect("it is open");
    let view = engine.store.view().expect("a view");
    view.due("zoom", house.clock.now(), 1).expect("marks").len()
}

/// A storm of 429s: nobody is called before the time that each of them names. A call that came at the same moment as the
/// refused one was under way with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_429_every_wait_is_kept() {
    let house = House::with(queued()).await;
    let wait = |n: usize| SECOND * (3 + u32::try_from(n % 5).expect("a small number"));
    for n in 0..40 {
        let seconds = wait(n).as_secs().to_string();
        sick(&house, 1, 429, Some(&seconds), "Slow down.");
    }
    for n in 0..40 {
        let body = user(&format!("u{n}@x.example"));
        house.ask("POST", "/Users", Some(&body)).await.expect(201);
    }
    let mut left = PATIENCE.as_millis();
    while marks(&house) > 0 {
        idle().await;
        // No time goes by while a call is on its way.
        if look(&house).in_flight == 0 {
            house.clock.advance(SECOND / 2);
        }
        left = left.checked_sub(20).expect("the queue comes to its end");
    }
    let state = house.sandbox.state();
    let calls = state.calls();
    let refused = calls.iter().filter(|call| call.status == Some(429));
    let waits: Vec<(Timestamp, Timestamp)> = refused
        .enumerate()
        .map(|(n, call)| (call.at, call.at.plus(wait(n))))
        .collect();
    assert_eq!((waits.len(), state.accounts().len()), (40, 40));
    let early = |call: &&usher::sandbox::Seen| {
        let mut waits = waits.iter();
        waits.any(|(from, until)| *from < call.at && call.at < *until)
    };
    let early: Vec<_> = calls.iter().filter(early).collect();
    assert!(early.is_empty(), "calls while told to wait: {early:?}");
    say(&format!(
        "a storm of {} 429s: {} calls in all, {} while told to wait",
        waits.len(),
        calls.len(),
        early.len()
    ));
}
