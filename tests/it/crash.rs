//! The real binary, killed at random moments under a few hundred concurrent writers while the sandbox loses answers
//! before and after the effect. In the end: nothing acknowledged is lost, nobody has two accounts, no operation is
//! silent.
//!
//! Each person has one writer, so that what the directory may say of them is known: what was acknowledged last or,
//! where the gateway died with a request unanswered, that or what the request would have made of it. Every writer reads
//! its person back after every restart. `USHER_SEED` gives another seed than [`SEED`].

mod people;
pub(crate) mod process;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use usher::journal::record::{Event, Status};
use usher::journal::report::Query;
use usher::sandbox::{AccountView, Chaos, Counts, Options, Quirks, Sandbox, State};
use usher::store::Store;

use crate::house::{Knock, PATIENCE, Plan, text};
use people::{Dice, Person, Tally};
use process::Process;

const SEED: u64 = 20_260_704;

/// Writers at once.
const PEOPLE: usize = 240;

/// So many times it is killed at least,
const KILLS: usize = 10;

/// and until so many creates were lost before their effect, and as many after it,
const LOST: u64 = 20;

/// but not more often than this.
const KILLS_AT_MOST: usize = 30;

/// So many writes are acknowledged at least before each kill.
const ACKNOWLEDGED: usize = 40;

/// The sandbox's. The configuration's is a second: between the two lies the time that a call of a dead gateway may take to
/// be read from its socket.
const LAG: Duration = Duration::from_millis(700);

/// The worker's ladder has a rung of half a minute; the sandbox is well from here on.
const SETTLED: Duration = Duration::from_secs(40);

/// A window of the safety limit fixes at its start that one person stays; people come and go here more often than that,
/// so no window may last.
const TABLES: &str = r#"
[application.users]
delete_after = "0s"
[application.safety]
max_removals = 1000000
window = "1ms"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_loses_nothing_doubles_nobody_and_hides_no_operation() {
    let seed = std::env::var("USHER_SEED")
        .map_or(SEED, |seed| seed.parse().expect("USHER_SEED is a number"));
    println!("crash: USHER_SEED={seed}");
    let begun = Instant::now();
    let sandbox = Sandbox::start(Options {
        quirks: Quirks {
            lookup_lag_ms: u64::try_from(LAG.as_millis()).expect("a second or so"),
            ..Quirks::default()
        },
        seed,
        ..Options::default()
    })
    .expect("a sandbox");
    sandbox.state().chaos(Some(Chaos {
        seed,
        lose_before_percent: 15,
        lose_after_percent: 15,
        error_percent: 1,
        ..Chaos::default()
    }));
    let folder = tempfile::tempdir().expect("a folder");
    let plan = Plan {
        application: String::from("lookup_lag = \"1s\"\nwait = \"4s\""),
        tables: TABLES.to_owned(),
        ..Plan::default()
    };
    let log = "[log]\nlevel = \"info,usher=info\"\nformat = \"json\"\n";
    std::fs::write(
        folder.path().join("usher.toml"),
        text(&plan, &sandbox.base_url(), "127.0.0.1:0") + log,
    )
    .expect("a configuration");

    let mut dice = Dice(seed);
    let mut people: Vec<Person> = (0..PEOPLE)
        .map(|number| Person::new(number, dice.roll()))
        .collect();
    let mut tally = Tally::default();
    let (mut kills, mut rolled_forward) = (0, 0);
    while kills < KILLS
        || (kills < KILLS_AT_MOST
            && (posts(sandbox.state())
                .lost_before
                .min(posts(sandbox.state()).lost_after)
                < LOST
                || rolled_forward < 1))
    {
        let gateway = Process::start(folder.path(), sandbox.token()).await;
        rolled_forward += gateway.rolled_forward;
        let (acknowledged, mut so_far) = watch::channel(0);
        let writers = write(&mut people, &gateway.base, &acknowledged);
        // However fast the machine is: it is killed when so much is done, and then
        let enough = ACKNOWLEDGED + usize::try_from(dice.roll() % 60).expect("a small number");
        let done = so_far.wait_for(|so_far| *so_far >= enough);
        let done = tokio::time::timeout(PATIENCE, done).await;
        done.expect("writes are answered").expect("somebody writes");
        // not as an answer leaves: the moment of the kill is what is random here.
        tokio::time::sleep(Duration::from_millis(dice.roll() % 120)).await;
        gateway.kill();
        for writer in writers {
            let (person, counted) = tokio::time::timeout(PATIENCE, writer)
                .await
                .expect("a dead gateway leaves nobody waiting")
                .expect("no panic");
            people.push(person);
            tally.add(counted);
        }
        kills += 1;
    }
    let posts = posts(sandbox.state());
    println!("crash: chaos took {:?}", begun.elapsed());

    sandbox.state().chaos(None);
    let gateway = Process::start(folder.path(), sandbox.token()).await;
    rolled_forward += gateway.rolled_forward;
    let knock = Knock::at(gateway.base.clone());
    for person in &mut people {
        person.recall(&knock).await.expect("a well gateway answers");
    }
    let settle = async {
        while !(differences(&people, &sandbox.state().accounts()).is_empty()
            && gateway.open_rows().await.is_empty())
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(SETTLED, settle).await.is_err() {
        let accounts = sandbox.state().accounts();
        let (wrong, open) = (differences(&people, &accounts), gateway.open_rows().await);
        println!("{} rows are open:\n{}", open.len(), open.join("\n"));
        for (person, what) in &wrong {
            println!("{what}");
            gateway
                .report(&format!("user={person}"))
                .await
                .iter()
                .for_each(|row| println!("  {row}"));
            let ids = accounts
                .iter()
                .filter(|account| account.user_name == *person)
                .map(|account| account.id.as_str());
            let theirs: Vec<String> = ids.map(|id| id.replace('&', "%26")).collect();
            for call in sandbox.state().calls() {
                let named = call
                    .query
                    .as_ref()
                    .is_some_and(|query| query.contains(&person.replace('@', "%40")));
                let posted = call
                    .body
                    .as_ref()
                    .is_some_and(|body| body["userName"] == person.as_str());
                if named || posted || theirs.iter().any(|id| call.path.ends_with(id)) {
                    println!("  {call:?}");
                }
            }
        }
        let kept = folder.keep();
        println!("the file is kept in {}", kept.display());
        panic!(
            "not settled within {SETTLED:?}: {} accounts differ, rows are open: {}",
            wrong.len(),
            !open.is_empty()
        );
    }
    gateway.stop();

    println!(
        "crash: {kills} kills, {} acknowledged, {} unknown, {} refused, POSTs lost before/after {}/{}, rolled forward {rolled_forward}, {:?}",
        tally.acknowledged.len(),
        tally.unknown,
        tally.refused,
        posts.lost_before,
        posts.lost_after,
        begun.elapsed()
    );
    assert!(
        posts.lost_before >= LOST && posts.lost_after >= LOST,
        "{posts:?}"
    );
    assert!(
        rolled_forward >= 1,
        "no kill hit a write between its intent and its commit"
    );
    assert!(
        tally.acknowledged.len() >= KILLS * ACKNOWLEDGED,
        "the writers hardly wrote"
    );
    assert_eq!(
        posts.statuses.get(&409),
        None,
        "an account was asked for that was there: {:?}",
        posts.statuses
    );
    check_store(&folder.path().join("usher.redb"), &tally);
}

/// Everybody's writer, until the gateway dies.
fn write(
    people: &mut Vec<Person>,
    base: &str,
    acknowledged: &watch::Sender<usize>,
) -> Vec<tokio::task::JoinHandle<(Person, Tally)>> {
    let knock = Knock::at(base.to_owned());
    people
        .drain(..)
        .map(|person| tokio::spawn(person.write(knock.clone(), acknowledged.clone())))
        .collect()
}

fn posts(state: &State) -> Counts {
    state.counts().get("POST").cloned().unwrap_or_default()
}

/// What the application has and should not, or the other way about: of whom, and what.
fn differences(people: &[Person], accounts: &[AccountView]) -> Vec<(String, String)> {
    let mut by_name: BTreeMap<String, Vec<&AccountView>> = BTreeMap::new();
    for account in accounts {
        by_name
            .entry(account.user_name.to_lowercase())
            .or_default()
            .push(account);
    }
    let mut wrong = Vec::new();
    for person in people {
        let accounts = by_name.remove(&person.name).unwrap_or_default();
        let right = match (&person.is().user, accounts.as_slice()) {
            (None, []) | (Some((_, false)), []) => true,
            (Some((_, false)), [one]) => !one.active,
            (Some((display, true)), [one]) => {
                one.active && !one.pending && one.user["displayName"] == display.as_str()
            }
            _ => false,
        };
        if !right {
            wrong.push((
                person.name.clone(),
                format!("{:?} has {accounts:?}", person.is()),
            ));
        }
    }
    wrong.extend(
        by_name
            .into_iter()
            .map(|(name, accounts)| (name, format!("nobody has {accounts:?}"))),
    );
    wrong
}

/// What only the data file tells: every acknowledged write is in the journal once, nothing is left to do, and the
/// journal is whole.
fn check_store(path: &std::path::Path, tally: &Tally) {
    let store = Store::open_read_only(path).expect("it was closed cleanly");
    let view = store.view().expect("a view");
    let last = view.last_sequence().expect("a journal");
    assert_eq!(
        view.verify_chain(1, last).expect("a journal"),
        None,
        "the chain of {last} records"
    );
    assert_eq!(
        view.mark_count("zoom").expect("marks"),
        0,
        "nothing is left to do"
    );

    let mut requests: HashMap<String, usize> = HashMap::new();
    for sequence in 1..=last {
        let record = view.record(sequence).expect("a journal").expect("no gap");
        if record.event == Event::Request {
            *requests.entry(record.request).or_default() += 1;
        }
    }
    for request in &tally.acknowledged {
        assert_eq!(
            requests.get(request),
            Some(&1),
            "the acknowledged request {request} is in the journal once"
        );
    }
    assert!(
        requests.values().all(|times| *times == 1),
        "no request is in the journal twice"
    );
    let rows = view
        .journal(&Query {
            limit: usize::MAX,
            ..Query::default()
        })
        .expect("a report");
    let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
    for row in &rows {
        assert!(
            !matches!(row.status, Status::Queued | Status::Unknown | Status::Held),
            "{row:?}"
        );
        *statuses
            .entry(format!("{:?}", row.status).to_lowercase())
            .or_default() += 1;
    }
    println!("crash: {last} records, rows by status: {statuses:?}");
}
