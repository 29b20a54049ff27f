//! Every oddity of Zoom's, alone and in all pairs: one scenario under each, checked by properties that hold whatever the
//! oddity is.

mod rows;
mod scenario;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::task::JoinSet;
use usher::sandbox::Quirks;

use crate::house::say;
use rows::{Row, Touches, excluded, rows};
use scenario::{Played, play};

/// How many scenarios are played at once.
const AT_ONCE: usize = 8;

#[test]
fn every_switch_of_the_sandbox_has_a_row() {
    let switches: BTreeSet<String> = Quirks::default()
        .to_object()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let rows = rows();
    let about: BTreeSet<String> = rows.iter().map(|row| row.switch().to_owned()).collect();
    let missing: Vec<&String> = switches.difference(&about).collect();
    assert!(missing.is_empty(), "no row is about {missing:?}");
    let names: BTreeSet<String> = rows.iter().map(Row::name).collect();
    assert_eq!(names.len(), rows.len(), "every row has a name of its own");
    let base = scenario::base();
    for row in &rows {
        let changed = base
            .changed(&row.changes())
            .expect("values of its switches");
        assert_ne!(changed, base, "{} changes nothing", row.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone() {
    let rows = rows();
    let mut sets = vec![Vec::new()];
    sets.extend(rows.iter().map(|row| vec![row.clone()]));
    run("alone", sets).await;
}

/// One value of each switch with one of every other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_pairs() {
    let mut rows = rows();
    let mut switches = BTreeSet::new();
    rows.retain(|row| switches.insert(row.switch()));
    pairs("in pairs", &rows, |first, second| {
        let one = |touches| first.touches == touches || second.touches == touches;
        let long = || match () {
            () if one(Touches::Lenience) => {
                Some("it only takes or shows more: alone, and with all in the long test")
            }
            () if one(Touches::Telling) && one(Touches::Accounts) => {
                Some("its limit is tried with it, and how that is told with all in the long test")
            }
            () => None,
        };
        excluded(first, second).or_else(long)
    })
    .await;
}

/// Every value of each switch with every other; takes some minutes:
/// `cargo test --test it quirks::in_all_pairs -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some minutes"]
async fn in_all_pairs() {
    let rows = rows();
    for (at, first) in rows.iter().enumerate() {
        for second in &rows[at + 1..] {
            if let Some(reason) = excluded(first, second) {
                let (first, second) = (first.name(), second.name());
                say(&format!("quirks left out: {first} & {second}: {reason}"));
            }
        }
    }
    pairs("in all pairs", &rows, excluded).await;
}

async fn pairs(what: &str, rows: &[Row], excluded: impl Fn(&Row, &Row) -> Option<&'static str>) {
    let mut sets = Vec::new();
    let mut reasons = BTreeMap::<&str, usize>::new();
    for (at, first) in rows.iter().enumerate() {
        for second in &rows[at + 1..] {
            match excluded(first, second) {
                Some(reason) => *reasons.entry(reason).or_default() += 1,
                None => sets.push(vec![first.clone(), second.clone()]),
            }
        }
    }
    say(&format!("quirks {what}: {} settings", rows.len()));
    for (reason, pairs) in &reasons {
        say(&format!("quirks {what}: {pairs} pairs left out: {reason}"));
    }
    run(what, sets).await;
}

/// Plays each set of rows, some at once, and says what it took.
async fn run(what: &str, sets: Vec<Vec<Row>>) {
    let began = Instant::now();
    let only = std::env::var("USHER_QUIRKS").ok();
    let named = |rows: &[Row]| rows.iter().map(Row::name).collect::<Vec<_>>().join(" & ");
    let sets: Vec<Vec<Row>> = sets
        .into_iter()
        .filter(|rows| only.as_ref().is_none_or(|only| named(rows).contains(only)))
        .collect();
    let count = sets.len();
    let sets = Arc::new(sets);
    let next = Arc::new(AtomicUsize::new(0));
    let results: Arc<Mutex<Vec<(String, Played)>>> = Arc::default();
    let mut players = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (sets, next, results) = (sets.clone(), next.clone(), results.clone());
        players.spawn(async move {
            while let Some(rows) = sets.get(next.fetch_add(1, Ordering::Relaxed)) {
                let name: Vec<String> = rows.iter().map(Row::name).collect();
                // Its panic is told with its name.
                let played = tokio::spawn(play(rows.clone())).await;
                let played = played.unwrap_or_else(|panicked| Played {
                    wrong: vec![panicked.to_string()],
                    ..Played::default()
                });
                results
                    .lock()
                    .expect("nobody panics")
                    .push((name.join(" & "), played));
            }
        });
    }
    while let Some(ended) = players.join_next().await {
        ended.expect("no player panics");
    }
    let results = std::mem::take(&mut *results.lock().expect("nobody panics"));
    let most = |of: fn(&Played) -> u64| {
        let most = results.iter().max_by_key(|(_, played)| of(played));
        most.map_or_else(String::new, |(name, played)| {
            format!("{} ({name})", of(played))
        })
    };
    let total: u64 = results.iter().map(|(_, played)| played.calls).sum();
    say(&format!(
        "quirks {what}: {count} played, {total} calls in all, {:.1?}",
        began.elapsed()
    ));
    say(&format!(
        "quirks {what}: most calls {}",
        most(|played| played.calls)
    ));
    say(&format!(
        "quirks {what}: most calls for one write {}",
        most(|played| played.a_write)
    ));
    say(&format!(
        "quirks {what}: most calls while it stayed {}",
        most(|played| played.while_on)
    ));
    say(&format!(
        "quirks {what}: most calls after it ended {}",
        most(|played| played.after)
    ));
    say(&format!(
        "quirks {what}: most tokens {}",
        most(|played| played.tokens)
    ));
    let wrong: Vec<String> = results
        .iter()
        .flat_map(|(name, played)| {
            played
                .wrong
                .iter()
                .map(move |wrong| format!("{name}: {wrong}"))
        })
        .collect();
    assert_eq!(results.len(), count);
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
