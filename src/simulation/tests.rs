//! The seeds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::bugs::{Bug, plant};
use super::history::{EVENTS, Told, play};

/// A planted bug is found in so many seeds at the latest.
const SEEDS: u64 = 500;

/// So many seeds are played where `USHER_SEEDS` does not say how many: each takes a second of one core. CI plays 500.
const PLAYED: u64 = 30;

/// What happens at least once in all seeds together.
const KINDS: [&str; 29] = [
    "not sent",
    "lost before",
    "lost after",
    "late effect",
    "slow",
    "5xx",
    "5xx after effect",
    "429 told",
    "429 untold",
    "401 once",
    "401 revoked",
    "403",
    "bad JSON",
    "giant answer",
    "silent drops",
    "read-after-write lag",
    "pending",
    "crash",
    "crash at a flush",
    "crash before effect",
    "crash after effect",
    "torn or lost writes",
    "intents rolled forward",
    "restart",
    "reload",
    "bulk",
    "removals",
    "held at the end",
    "overtaken exchanges",
];

fn fails(seed: u64, told: &Told) -> String {
    let from = told.history.len().saturating_sub(60);
    let end = told.history.get(from..).unwrap_or_default().join("\n");
    format!("{end}\nUSHER_SEED={seed}: {}", told.broken.join("\n"))
}

/// Plays seeds on two threads until one of them breaks something.
fn all(seeds: u64, bug: Option<Bug>) -> (BTreeMap<&'static str, u64>, Option<(u64, Told)>) {
    let next = AtomicU64::new(1);
    let one = || {
        plant(bug);
        let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > seeds {
                return (counts, None);
            }
            let told = play(seed, false);
            for (name, count) in &told.counts {
                *counts.entry(name).or_default() += count;
            }
            assert!(
                told.events >= 200 || !told.broken.is_empty(),
                "a short history"
            );
            if !told.broken.is_empty() && bug.is_none() && std::env::var_os("USHER_ALL").is_some() {
                println!("USHER_SEED={seed}: {}", told.broken[0]);
                continue;
            }
            if !told.broken.is_empty() {
                next.store(seeds + 1, Ordering::Relaxed);
                return (counts, Some((seed, told)));
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(one), scope.spawn(one)];
        let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut broken: Option<(u64, Told)> = None;
        for thread in threads {
            let (some, failed) = thread.join().expect("a thread ends");
            for (name, count) in some {
                *counts.entry(name).or_default() += count;
            }
            broken = [broken, failed]
                .into_iter()
                .flatten()
                .min_by_key(|(seed, _)| *seed);
        }
        (counts, broken)
    })
}

/// Plays seeds until a planted bug shows, by one of these words.
fn finds(bug: Bug, words: &[&str]) {
    let begun = Instant::now();
    let (_, broken) = all(SEEDS, Some(bug));
    let (seed, told) = broken.unwrap_or_else(|| panic!("{bug:?} is not found in {SEEDS} seeds"));
    println!(
        "{bug:?}: seed {seed}, {:?}: {}",
        begun.elapsed(),
        told.broken[0]
    );
    let said = told.broken.join("\n");
    assert!(
        words.iter().any(|word| said.contains(word)),
        "{bug:?} shows as something else: {said}"
    );
}

/// How it shows that what was asked for is forgotten.
const LOST: [&str; 4] = ["should be", "wanted false", "wanted true", "nobody settles"];

#[test]
fn a_mark_that_is_cleared_whatever_its_generation_is_found() {
    finds(Bug::AnyGeneration, &LOST);
}

#[test]
fn a_create_that_is_not_looked_for_is_found() {
    finds(Bug::NoLookUp, &["has two accounts"]);
}

#[test]
fn a_safety_limit_that_is_not_asked_is_found() {
    finds(Bug::NoBudget, &["in a window of"]);
}

#[test]
fn a_lost_answer_that_is_taken_for_done_is_found() {
    finds(Bug::LostIsDone, &["should be", "has two accounts"]);
}

#[test]
fn intents_that_are_forgotten_are_found() {
    finds(Bug::ForgottenIntents, &["has two accounts", "should be"]);
}

#[test]
fn members_that_are_replaced_are_found() {
    finds(Bug::Replace, &["members are replaced"]);
}

#[test]
fn a_call_while_told_to_wait_is_found() {
    finds(Bug::Impatient, &["while told to wait"]);
}

#[test]
fn what_overtakes_an_exchange_and_is_left_to_it_is_found() {
    finds(Bug::Unraised, &LOST);
}

#[test]
fn what_is_promised_holds_in_every_history() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if let Some(seed) = number("USHER_SEED") {
        let told = play(seed, true);
        assert!(told.broken.is_empty(), "{}", fails(seed, &told));
        println!("{:?}", told.counts);
        return;
    }
    let seeds = number("USHER_SEEDS").unwrap_or(PLAYED);
    let begun = Instant::now();
    let (counts, broken) = all(seeds, None);
    println!(
        "simulation: {seeds} seeds of {EVENTS} events and more in {:?}: {counts:?}",
        begun.elapsed()
    );
    if let Some((seed, told)) = broken {
        panic!("{}", fails(seed, &told));
    }
    for kind in KINDS {
        assert!(counts.contains_key(kind), "{kind} never happened");
    }
}
