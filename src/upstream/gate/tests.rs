//! The gate, on a clock that only the test moves.

use super::*;
use crate::provision::pace::{Limit, Limited};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

const LATE: Timestamp = Timestamp(1_000_000);
const DOWN: Heard = Heard::Unavailable(None);

fn pace(light: u32, concurrency: usize) -> shape::Pace {
    shape::Pace {
        light,
        medium: 1,
        concurrency,
    }
}

fn gate(light: u32, concurrency: usize) -> (Gate, Clock) {
    let clock = Clock::manual(Timestamp(10_000));
    (Gate::new(&pace(light, concurrency), clock.clone()), clock)
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// What `pass` says without waiting: `None` if it would wait.
fn now(
    gate: &Gate,
    class: Class,
    turn: Turn,
    deadline: Timestamp,
) -> Option<Result<Permit, Closed>> {
    match poll(pin!(gate.pass(class, turn, deadline))) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

fn light(gate: &Gate, turn: Turn) -> Option<Result<Permit, Closed>> {
    now(gate, Class::Light, turn, LATE)
}

fn through(gate: &Gate, turn: Turn) -> Permit {
    light(gate, turn).expect("no wait").expect("open")
}

#[tokio::test]
async fn the_rate_is_kept_by_class_and_waits_for_the_clock() {
    let (gate, clock) = gate(25, 9);
    let held: Vec<_> = (0..2).map(|_| through(&gate, Turn::Inline)).collect();
    let soon = clock.now().plus(Duration::from_millis(43));
    let refused = now(&gate, Class::Light, Turn::Inline, soon).expect("known at once");
    assert_eq!(refused.unwrap_err().until, Timestamp(10_044));
    assert!(now(&gate, Class::Medium, Turn::Inline, soon).is_some_and(|got| got.is_ok()));
    let mut waiting = pin!(gate.pass(Class::Light, Turn::Inline, LATE));
    assert!(poll(waiting.as_mut()).is_pending());
    clock.advance(Duration::from_millis(44));
    assert!(waiting.await.is_ok());
    drop(held);
}

#[tokio::test]
async fn queued_calls_leave_a_place_to_inline_ones() {
    let (gate, _clock) = gate(1_000, 2);
    let first = through(&gate, Turn::Queued);
    assert!(light(&gate, Turn::Queued).is_none(), "took the last place");
    let second = through(&gate, Turn::Inline);
    let mut queued = pin!(gate.pass(Class::Light, Turn::Queued, LATE));
    let mut inline = pin!(gate.pass(Class::Light, Turn::Inline, LATE));
    assert!(poll(queued.as_mut()).is_pending());
    assert!(poll(inline.as_mut()).is_pending());
    drop(first);
    assert!(poll(queued.as_mut()).is_pending(), "went before inline");
    let Poll::Ready(Ok(third)) = poll(inline.as_mut()) else {
        panic!("a place is free");
    };
    drop(second);
    assert!(poll(queued.as_mut()).is_pending());
    drop(third);
    assert!(queued.await.is_ok());
}

#[tokio::test]
async fn a_cancelled_inline_wait_wakes_the_queue() {
    let (gate, clock) = gate(1_000, 2);
    let held = [through(&gate, Turn::Inline), through(&gate, Turn::Inline)];
    let mut inline = Box::pin(gate.pass(Class::Light, Turn::Inline, LATE));
    assert!(poll(inline.as_mut()).is_pending());
    let waiting = gate.clone();
    let queued =
        tokio::spawn(async move { waiting.pass(Class::Light, Turn::Queued, LATE).await.is_ok() });
    tokio::task::yield_now().await;
    // One place goes to the inline call, which never looks; the queue is told of both too early.
    drop(held);
    tokio::task::yield_now().await;
    drop(inline);
    tokio::task::yield_now().await;
    clock.advance(LATE.since(clock.now()));
    assert!(queued.await.unwrap());
}

#[tokio::test]
async fn one_place_is_for_all_alike() {
    let (gate, clock) = gate(1_000, 1);
    let held = through(&gate, Turn::Queued);
    let mut waiting = Box::pin(gate.pass(Class::Light, Turn::Inline, Timestamp(14_000)));
    assert!(poll(waiting.as_mut()).is_pending());
    clock.advance(Duration::from_secs(4));
    assert_eq!(waiting.await.unwrap_err().until, Timestamp(15_000));
    drop(held);
    drop(through(&gate, Turn::Queued));
    drop(through(&gate, Turn::Inline));
}

#[tokio::test]
async fn an_application_that_failed_is_left_alone_then_asked_by_one() {
    let (gate, clock) = gate(1_000, 4);
    let under_way = through(&gate, Turn::Inline);
    through(&gate, Turn::Inline).heard(
        &Heard::Unavailable(Some(Duration::from_secs(30))),
        Some(503),
        None,
    );
    let refused = now(&gate, Class::Light, Turn::Inline, Timestamp(14_000));
    let until = Timestamp(40_000);
    assert_eq!(refused.expect("at once").unwrap_err(), Closed { until });

    let mut patient = pin!(gate.pass(Class::Light, Turn::Queued, LATE));
    assert!(poll(patient.as_mut()).is_pending());
    clock.advance(Duration::from_secs(30));
    let probe = patient.await.expect("the time has come");
    assert!(probe.probes());
    let soon = Timestamp(41_000);
    let other = light(&gate, Turn::Inline).expect("at once");
    assert_eq!(other.unwrap_err(), Closed { until: soon });

    // It fails: left alone longer. A probe that says nothing lets another one ask.
    probe.heard(&DOWN, None, None);
    assert_eq!(gate.health().not_before, Timestamp(42_000));
    clock.advance(Duration::from_secs(2));
    drop(through(&gate, Turn::Inline));
    let probe = through(&gate, Turn::Inline);
    assert!(probe.probes());
    probe.heard(&Heard::Well, None, None);
    let [one, two] = [through(&gate, Turn::Inline), through(&gate, Turn::Inline)];
    assert!(!one.probes() && !two.probes());
    drop(under_way);
}

#[tokio::test]
async fn who_stood_in_line_when_it_failed_does_not_go() {
    let (gate, _clock) = gate(1_000, 1);
    let first = through(&gate, Turn::Inline);
    let mut second = pin!(gate.pass(Class::Light, Turn::Inline, Timestamp(10_500)));
    assert!(poll(second.as_mut()).is_pending());
    first.heard(&DOWN, None, None);
    let until = Timestamp(11_000);
    assert_eq!(second.await.unwrap_err(), Closed { until });
}

#[tokio::test]
async fn a_deadline_that_has_passed_gets_no_call() {
    let (gate, clock) = gate(1_000, 1);
    assert!(matches!(
        now(&gate, Class::Light, Turn::Inline, clock.now()),
        Some(Err(_))
    ));
    drop(through(&gate, Turn::Inline));
}

fn second() -> Duration {
    Duration::from_secs(1)
}

fn too_many(limit: Limit, wait: Option<u64>) -> Heard {
    Heard::Limited(Limited {
        limit,
        wait: wait.map(Duration::from_secs),
        every_class: false,
    })
}

#[tokio::test]
async fn a_queued_call_has_its_turn_though_clients_never_stop() {
    let (gate, clock) = gate(10, 4);
    drop(through(&gate, Turn::Inline));
    let mut queued = pin!(gate.pass(Class::Light, Turn::Queued, LATE));
    let mut order = String::new();
    // There is always a client that waits.
    for _ in 0..12 {
        let mut inline = pin!(gate.pass(Class::Light, Turn::Inline, LATE));
        loop {
            if let Poll::Ready(permit) = poll(queued.as_mut()) {
                drop(permit.expect("a permit"));
                order.push('q');
                queued.set(gate.pass(Class::Light, Turn::Queued, LATE));
                continue;
            }
            if let Poll::Ready(permit) = poll(inline.as_mut()) {
                drop(permit.expect("a permit"));
                order.push('i');
                break;
            }
            clock.advance(Duration::from_millis(10));
        }
    }
    let mut rows = order.split('q').map(str::len);
    assert_eq!(rows.next(), Some(4), "{order}");
    assert_eq!(rows.next(), Some(4), "{order}");
}

#[tokio::test]
async fn inline_calls_go_before_queued_ones_and_what_was_begun_before_both() {
    let (gate, clock) = gate(10, 9);
    drop(through(&gate, Turn::Inline));
    let mut lines: Vec<_> = [Turn::Queued, Turn::Inline, Turn::Underway, Turn::Inline]
        .into_iter()
        .map(|turn| Box::pin(gate.pass(Class::Light, turn, LATE)))
        .collect();
    for waiting in &mut lines {
        assert!(poll(waiting.as_mut()).is_pending());
    }
    let seen = gate.snapshot(clock.now());
    assert_eq!((seen.waiting, seen.queued, seen.in_flight), (3, 1, 0));
    let mut order = Vec::new();
    for _ in 0..4 {
        clock.advance(Duration::from_millis(101));
        let mut gone = Vec::new();
        for (n, waiting) in lines.iter_mut().enumerate() {
            if !order.contains(&n) && poll(waiting.as_mut()).is_ready() {
                gone.push(n);
            }
        }
        assert_eq!(gone.len(), 1, "after {order:?}");
        order.extend(gone);
    }
    assert_eq!(order, [2, 1, 3, 0]);
}

#[tokio::test]
async fn who_cannot_go_in_time_hears_it_at_once() {
    let (gate, clock) = gate(10, 99);
    let deadline = clock.now().plus(second());
    let mut line = Vec::new();
    let refused = loop {
        let mut waiting = Box::pin(gate.pass(Class::Light, Turn::Inline, deadline));
        match poll(waiting.as_mut()) {
            Poll::Ready(Ok(permit)) => drop(permit),
            Poll::Ready(Err(closed)) => break closed,
            Poll::Pending => line.push(waiting),
        }
        assert!(line.len() < 50, "nobody is refused");
    };
    assert!(refused.until > deadline);
    assert_eq!(line.len(), 6);
    // What comes first in spite of them all is not refused.
    assert!(now(&gate, Class::Light, Turn::Underway, deadline).is_none());
}

#[tokio::test]
async fn too_many_a_second_is_about_one_class_and_no_failure() {
    let (gate, clock) = gate(40, 9);
    let together = [through(&gate, Turn::Inline), through(&gate, Turn::Inline)];
    for permit in together {
        permit.heard(&too_many(Limit::Rate, None), Some(429), Some(20));
    }
    let seen = gate.snapshot(clock.now());
    assert_eq!((seen.failures, seen.left_alone_until), (0, None));
    assert_eq!(seen.light.granted, Some(20));
    assert_eq!(
        seen.light.rate,
        Rate(10_000),
        "halved once, of what was granted"
    );
    assert_eq!(seen.light.not_before, Some(clock.now().plus(second())));
    assert_eq!(
        seen.last.unwrap().to_string(),
        "answered 429: too many calls a second"
    );
    assert!(!gate.probing() && gate.closed(clock.now()).is_none());
    let medium = now(&gate, Class::Medium, Turn::Queued, LATE).expect("no wait");
    drop(medium.expect("open"));
    // Not before it was told, and then at half the rate.
    let soon = clock.now().plus(Duration::from_millis(999));
    assert!(now(&gate, Class::Light, Turn::Underway, soon).is_some_and(|got| got.is_err()));
    clock.advance(second());
    let mut calls = 0;
    for _ in 0..100 {
        clock.advance(Duration::from_millis(10));
        while let Some(Ok(permit)) = light(&gate, Turn::Inline) {
            permit.heard(&Heard::Well, Some(200), None);
            calls += 1;
        }
    }
    assert!((9..=11).contains(&calls), "{calls} calls in a second");
    // All is won back.
    clock.advance(second() * 60);
    assert_eq!(gate.snapshot(clock.now()).light.rate, Rate(20_000));
}

#[tokio::test]
async fn a_wait_for_every_class_shuts_every_class() {
    let (gate, clock) = gate(40, 9);
    let told = Heard::Limited(Limited {
        limit: Limit::Rate,
        wait: Some(second() * 30),
        every_class: true,
    });
    through(&gate, Turn::Inline).heard(&told, Some(429), None);
    let until = clock.now().plus(second() * 30);
    let deadline = clock.now().plus(second() * 4);
    for class in [Class::Light, Class::Medium] {
        let refused = now(&gate, class, Turn::Inline, deadline).expect("at once");
        assert_eq!(refused.unwrap_err(), Closed { until });
    }
}

#[tokio::test]
async fn too_many_at_once_about_an_account_changes_nothing() {
    let (gate, clock) = gate(40, 9);
    let before = gate.snapshot(clock.now());
    through(&gate, Turn::Inline).heard(&too_many(Limit::Concurrency, None), Some(429), None);
    let after = gate.snapshot(clock.now());
    assert_eq!((after.light, after.medium), (before.light, before.medium));
    assert_eq!((after.failures, after.concurrency), (0, 9));
}

#[tokio::test]
async fn a_permit_given_before_the_gate_closed_holds_no_more() {
    let (gate, clock) = gate(40, 9);
    let early = through(&gate, Turn::Queued);
    assert!(early.holds());
    through(&gate, Turn::Inline).heard(&too_many(Limit::Rate, None), Some(429), None);
    assert!(!early.holds());
    clock.advance(second());
    assert!(early.holds());
    through(&gate, Turn::Inline).heard(&DOWN, Some(503), None);
    clock.advance(second());
    assert!(!early.holds(), "another call finds out whether it is back");
}

#[tokio::test]
async fn a_reload_keeps_health_and_what_was_learnt() {
    let (gate, clock) = gate(40, 2);
    let held = [through(&gate, Turn::Inline), through(&gate, Turn::Inline)];
    let mut waiting = pin!(gate.pass(Class::Light, Turn::Inline, LATE));
    assert!(poll(waiting.as_mut()).is_pending());
    gate.retune(&pace(100, 3));
    let third = waiting.await.expect("there is a place more");
    third.heard(&too_many(Limit::Rate, None), Some(429), None);
    gate.retune(&pace(80, 1));
    let seen = gate.snapshot(clock.now());
    assert_eq!((seen.light.configured, seen.light.rate), (80, Rate(50_000)));
    assert_eq!((seen.in_flight, seen.concurrency), (2, 1));
    clock.advance(second());
    assert!(
        light(&gate, Turn::Inline).is_none(),
        "two are under way already"
    );
    drop(held);
    drop(through(&gate, Turn::Inline));
}

/// However the clock ticks and whoever asks: in no stretch of a second more calls than the rate.
#[tokio::test]
async fn never_more_than_the_rate_in_any_second() {
    for rate in [1, 7, 25, 40, 100] {
        let (gate, clock) = gate(rate, 9);
        let mut calls: Vec<Timestamp> = Vec::new();
        for tick in 0..600_u64 {
            clock.advance(Duration::from_millis(1 + tick * 7 % 23));
            // A task that never yields is made to wait by the runtime.
            tokio::task::yield_now().await;
            for turn in [Turn::Queued, Turn::Inline, Turn::Underway] {
                if let Some(Ok(permit)) = light(&gate, turn) {
                    calls.push(clock.now());
                    drop(permit);
                }
            }
        }
        let most = calls.iter().map(|from| {
            let within = |at: &&Timestamp| **at >= *from && at.since(*from) < second();
            calls.iter().filter(within).count()
        });
        let most = most.max().unwrap_or(0);
        assert!(
            most <= rate as usize,
            "{most} calls in a second at {rate}/s"
        );
        assert!(most * 10 >= rate as usize * 8, "{most} calls at {rate}/s");
    }
}
