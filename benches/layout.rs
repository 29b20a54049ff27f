//! What the data layout costs: rows, CPU, commits and bytes for a created user, beside what the disk's flush alone
//! allows in the same run. A create here is what a provisioned one is: an intent, then the commit that settles it.
//!
//! `cargo bench --bench layout`, or `-- --quick` for a tenth of the time.

mod machine;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use usher::clock::{Clock, Timestamp};
use usher::journal::record::{CallRecord, Delivery, Event, Operation, Record, Status};
use usher::provision::link::{Link, Origin, State, Uncertain};
use usher::scim::{Kind, Resource};
use usher::store::{ChangeSet, Intent, Lane, MarkEdit, Options, Put, Statistics, Store};

use machine::{Failure, OURSELVES, cpu_time, flush_rate, percentile};

fn main() -> Result<(), Failure> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let span = Duration::from_secs(if quick { 1 } else { 10 });
    // On the disk that the build is on: a temporary directory may be memory.
    let home =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("layout-{}", std::process::id()));
    fs::create_dir_all(&home)?;
    let result = run(&home, span);
    fs::remove_dir_all(&home)?;
    result
}

fn run(home: &Path, span: Duration) -> Result<(), Failure> {
    let flushes = flush_rate(home, span)?;
    println!("flush alone (4 KiB, fdatasync)   {flushes:>9.0} a second");
    println!(
        "  a commit is two of them; a create that calls an application waits for two commits\n"
    );
    println!(
        "writers  creates/s  commits/s  creates/commit  rows/create  CPU us/create  p50 ms  p99 ms"
    );
    for writers in [1_usize, 8, 64] {
        let path = home.join(format!("usher-{writers}.redb"));
        let store = Store::open(&Options::new(&path, Timestamp(0)), |_| ())?;
        let empty = fs::metadata(&path)?.len();
        let measured = measure(&store, writers, span)?;
        println!("{measured}");
        store.close()?;
        drop(store);
        if writers == 64 {
            let grown = fs::metadata(&path)?.len() - empty;
            let users = measured.creates;
            println!(
                "\n{} bytes of file a user, with its record, over {users} users",
                grown / users.max(1)
            );
        }
    }
    Ok(())
}

struct Measured {
    writers: usize,
    creates: u64,
    elapsed: Duration,
    cpu: Duration,
    done: Statistics,
    p50: Duration,
    p99: Duration,
}

impl std::fmt::Display for Measured {
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let creates = self.creates.max(1) as f64;
        let seconds = self.elapsed.as_secs_f64();
        write!(
            f,
            "{:>7}  {:>9.0}  {:>9.0}  {:>14.1}  {:>11.2}  {:>13.0}  {:>6.1}  {:>6.1}",
            self.writers,
            creates / seconds,
            self.done.commits as f64 / seconds,
            creates / self.done.commits.max(1) as f64,
            self.done.rows as f64 / creates,
            self.cpu.as_secs_f64() * 1e6 / creates,
            self.p50.as_secs_f64() * 1e3,
            self.p99.as_secs_f64() * 1e3,
        )
    }
}

fn measure(store: &Store, writers: usize, span: Duration) -> Result<Measured, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let stop = Arc::new(AtomicBool::new(false));
    let number = Arc::new(AtomicU64::new(0));
    let (started, cpu, before) = (Instant::now(), cpu_time(OURSELVES)?, store.statistics());
    let mut waits: Vec<Duration> = runtime.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..writers {
            let (store, stop, number) = (store.clone(), Arc::clone(&stop), Arc::clone(&number));
            tasks.push(tokio::spawn(async move {
                let mut waits = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    create(&store, number.fetch_add(1, Ordering::Relaxed)).await?;
                    waits.push(begun.elapsed());
                }
                Ok::<_, Failure>(waits)
            }));
        }
        tokio::time::sleep(span).await;
        stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in tasks {
            all.append(&mut task.await??);
        }
        Ok::<_, Failure>(all)
    })?;
    waits.sort_unstable();
    let after = store.statistics();
    Ok(Measured {
        writers,
        creates: u64::try_from(waits.len())?,
        elapsed: started.elapsed(),
        cpu: cpu_time(OURSELVES)?.saturating_sub(cpu),
        done: Statistics {
            commits: after.commits - before.commits,
            rows: after.rows - before.rows,
            ..after
        },
        p50: percentile(&waits, 50),
        p99: percentile(&waits, 99),
    })
}

async fn create(store: &Store, number: u64) -> Result<(), Failure> {
    let now = Clock::system().now();
    let (handle, id) = store.mint(now, number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let name = format!("person.{number}@example.com");
    let mut resource = Resource {
        handle,
        id,
        kind: Kind::User,
        version: 1,
        created: now,
        modified: now,
        owner: "entra".into(),
        deleted: None,
        attributes: object(json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": name,
            "externalId": format!("00u{number:017}"),
            "active": true,
            "displayName": format!("Person Number {number}"),
            "name": { "givenName": "Person", "familyName": format!("Number {number}") },
            "emails": [{ "value": name, "type": "work", "primary": true }],
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {
                "department": "Research", "employeeNumber": number.to_string()
            }
        })),
        links: vec![Link {
            application: "zoom".into(),
            remote_id: None,
            origin: Origin::Created,
            state: State::Unborn,
            uncertain: Some(Uncertain {
                intended: now,
                sent: now,
            }),
            sent: None,
            seen_name: None,
            dropped: Vec::new(),
            fresh: false,
            removal: None,
            kept: false,
            untaken: None,
        }],
    };
    let place = store.reserve()?;
    let if_unknown = ChangeSet {
        puts: vec![put(&resource)],
        marks: vec![MarkEdit::Set {
            handle,
            application: "zoom".into(),
            due: now,
            attempts: 0,
            lane: Lane::Create,
            caused: true,
            read: None,
        }],
        journal: vec![record(&resource, now, Status::Unknown, None)],
        ..ChangeSet::default()
    };
    let intent = Intent {
        if_unknown,
        ..Intent::default()
    };
    let intent = store.intend(intent).await?;
    let remote_id = format!("zoom{number:016x}");
    for link in &mut resource.links {
        link.remote_id = Some(remote_id.clone());
        link.state = State::Active;
        link.uncertain = None;
        link.seen_name = Some(name.clone());
        link.sent = Some(object(json!({
            "userName": name, "displayName": format!("Person Number {number}"), "active": true,
            "name": { "givenName": "Person", "familyName": format!("Number {number}") },
            "emails": [{ "value": name, "type": "work", "primary": true }]
        })));
    }
    let last = ChangeSet {
        puts: vec![put(&resource)],
        journal: vec![record(&resource, now, Status::Success, Some(remote_id))],
        settles: Some(intent),
        ..ChangeSet::default()
    };
    place.commit(last).await?;
    Ok(())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn put(resource: &Resource) -> Put {
    Put {
        resource: resource.clone(),
        expect: None,
        before: None,
    }
}

fn record(
    resource: &Resource,
    now: Timestamp,
    status: Status,
    remote_id: Option<String>,
) -> Record {
    Record {
        sequence: 0,
        time: now,
        event: Event::Request,
        client: "entra".into(),
        request: format!("{:016x}", resource.handle.0),
        kind: Kind::User,
        operation: Operation::Create,
        user: resource.title().to_owned(),
        id: resource.id.to_string(),
        status: Status::Success,
        code: None,
        reason: None,
        deliveries: vec![Delivery {
            application: "zoom".into(),
            operation: Operation::Create,
            remote_id,
            status,
            code: None,
            reason: None,
            calls: vec![CallRecord {
                method: "POST".into(),
                path: "/Users".into(),
                status: Some(201),
                ms: 120,
            }],
        }],
        cause: Vec::new(),
        changed: Vec::new(),
        edges: None,
        generation: 1,
        hash: String::new(),
    }
}
