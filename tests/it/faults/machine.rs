//! The real binary on a machine that fails it: killed at a flush, a write or a send, a disk that errs, is slow, or is full.
//! strace makes system calls fail; where there is none, or it may not trace, `NOT RUN` is said.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::user;
use crate::house::{Knock, PATIENCE, Plan, say};
use crate::process::{Running, SANDBOX_TOKEN, Site};

/// `usher serve`, traced. Its own process is killed when the test ends early: strace's end alone would let it live.
struct Traced(Option<Running>);

impl Traced {
    /// `None`: it cannot be traced here.
    fn serve(site: &Site, calls: &str, inject: &str) -> Option<Self> {
        if !can_trace() {
            say("NOT RUN: a machine that fails: no strace that may trace");
            return None;
        }
        let mut command = Command::new("strace");
        command
            .current_dir(site.path())
            .args(["-f", "-qq", "-o", "/dev/null", "-e"])
            .arg(format!("trace={calls}"))
            .arg("-e")
            .arg(format!("inject={calls}:{inject}"))
            .args([env!("CARGO_BIN_EXE_usher"), "serve"])
            .env("SANDBOX_TOKEN", SANDBOX_TOKEN)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        Some(Self(Some(Running::of(command))))
    }

    /// The traced process: strace has others of its own at the begin.
    fn usher(&self) -> Option<u32> {
        let id = self.running().id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        let mut children = children.split_whitespace().filter_map(|id| id.parse().ok());
        children.find(|id: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{id}/comm"));
            name.is_ok_and(|name| name.trim() == "usher")
        })
    }

    fn running(&self) -> &Running {
        self.0.as_ref().expect("until the end")
    }

    /// Where SCIM is, once it is ready; `None`: it ended before.
    fn ready(&self) -> Option<Knock> {
        let ready = self.running().says_or_ends(": ready\n");
        ready.then(|| self.running().scim())
    }

    /// SIGTERM to usher itself; the exit code.
    fn terminate(mut self) -> i32 {
        signal(self.usher().expect("it serves"), "TERM");
        let strace = self.0.take().expect("until the end");
        strace.ended().code
    }

    /// SIGTERM, unless it has ended already, and its end, by itself or by a signal.
    fn asked_to_end(self) -> Option<i32> {
        if let Some(usher) = self.usher() {
            let _gone = Command::new("kill").arg(usher.to_string()).status();
        }
        self.ended()
    }

    /// Waits for its end, by itself or by a signal.
    fn ended(mut self) -> Option<i32> {
        let strace = self.0.take().expect("until the end");
        strace.ended_somehow()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if self.0.is_some()
            && let Some(usher) = self.usher()
        {
            let _gone = Command::new("kill")
                .arg("-KILL")
                .arg(usher.to_string())
                .status();
        }
    }
}

fn signal(id: u32, name: &str) {
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(id.to_string())
        .status();
    assert!(sent.expect("kill").success());
}

fn can_trace() -> bool {
    let tried = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", "trace=none", "true"])
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

fn real_time() -> Plan {
    Plan {
        real_time: true,
        ..Plan::default()
    }
}

/// Creates people until the gateway dies, at most so many: who was acknowledged, and who may be there.
async fn create(knock: &Knock, most: usize) -> (Vec<String>, Option<String>) {
    let mut acknowledged = Vec::new();
    for n in 0..most {
        let name = format!("p{n}@x.example");
        match knock.try_ask("POST", "/Users", Some(&user(&name))).await {
            Ok(answer) if answer.status == 201 => acknowledged.push(name),
            Ok(answer) => {
                assert!(answer.status >= 500, "{answer:?}");
                return (acknowledged, Some(name));
            }
            Err(_) => return (acknowledged, Some(name)),
        }
    }
    (acknowledged, None)
}

/// The next start: everybody who was acknowledged is there, at most one more is, and all of them have one account.
async fn recovers(
    site: &Site,
    acknowledged: &[String],
    unknown: Option<&String>,
    what: &str,
) -> Duration {
    let begun = Instant::now();
    let running = site.serve("");
    let took = begun.elapsed();
    let knock = running.scim();
    let list = knock.ask("GET", "/Users?count=200", None).await.expect(200);
    let there: Vec<String> = list.body["Resources"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|user| user["userName"].as_str().map(str::to_owned))
        .collect();
    for name in acknowledged {
        assert!(
            there.contains(name),
            "{what}: {name} was acknowledged and is lost"
        );
    }
    for name in &there {
        let known = acknowledged.contains(name) || unknown == Some(name);
        assert!(known, "{what}: nobody asked for {name}");
    }
    // Whatever was on its way is settled, and nobody has two accounts.
    let begun = Instant::now();
    loop {
        let state = site.sandbox.state();
        let mut names: Vec<String> = state
            .accounts()
            .into_iter()
            .map(|one| one.user_name)
            .collect();
        names.sort_unstable();
        let mut wanted = there.clone();
        wanted.sort_unstable();
        if names == wanted {
            break;
        }
        // A create that was lost on its way may be there without its user: it is found by the next one.
        let more = names
            .iter()
            .all(|name| wanted.contains(name) || unknown == Some(name));
        let all = wanted.iter().all(|name| names.contains(name));
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "{what}: two accounts of one name");
        if more && all {
            break;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{what}: {names:?} and not {wanted:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let posts = site
        .sandbox
        .state()
        .counts()
        .get("POST")
        .cloned()
        .unwrap_or_default();
    assert_eq!(
        posts.statuses.get(&409),
        None,
        "{what}: an account was asked for twice"
    );
    assert_eq!(running.terminate().code, 0, "{what}");
    took
}

/// Every so many of these calls it is killed, from one run to the next. `USHER_KILLS=1` kills at every one.
const SWEEP: [(&str, usize, usize); 3] = [
    ("fdatasync", 5, 44),
    ("pwrite64", 23, 280),
    ("sendto,writev,write", 3, 34),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_a_flush_a_write_or_a_send_it_loses_nothing_and_doubles_nobody() {
    let every = std::env::var("USHER_KILLS").ok();
    let every: Option<usize> = every.map(|n| n.parse().expect("a number"));
    let plan = Plan {
        application: String::from("lookup_lag = \"0s\""),
        ..real_time()
    };
    let (mut kills, mut starts, mut acknowledged_in_all) = (0, Vec::new(), 0);
    for (calls, step, last) in SWEEP {
        for n in (1..last).step_by(every.unwrap_or(step)) {
            let what = format!("{calls} {n}");
            let site = Site::new(&plan);
            let Some(traced) = Traced::serve(&site, calls, &format!("signal=KILL:when={n}")) else {
                return;
            };
            let (acknowledged, unknown) = match traced.ready() {
                Some(knock) => create(&knock, 8).await,
                None => (Vec::new(), None),
            };
            let code = if unknown.is_none() && !acknowledged.is_empty() {
                traced.asked_to_end()
            } else {
                traced.ended()
            };
            if code == Some(0) {
                // It made fewer calls than that.
                continue;
            }
            assert_eq!(code, None, "{what}: killed by a signal");
            kills += 1;
            acknowledged_in_all += acknowledged.len();
            starts.push(recovers(&site, &acknowledged, unknown.as_ref(), &what).await);
        }
    }
    starts.sort_unstable();
    let p99 = starts[(starts.len() * 99).div_ceil(100) - 1];
    say(&format!(
        "killed at {kills} points: {acknowledged_in_all} acknowledged, 0 lost, 0 duplicated, restart p50 {:?}, p99 {p99:?}",
        starts[starts.len() / 2]
    ));
    assert!(kills >= 15, "only {kills} kills hit");
    assert!(
        starts[starts.len() / 2] < Duration::from_secs(2),
        "{starts:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_fails_is_503_and_the_end_and_the_next_start_settles_it() {
    let mut covered = 0;
    // The first few are the file's own making and the start.
    for n in [12, 13, 14, 15, 16, 17, 26, 27] {
        let what = format!("flush {n}");
        let site = Site::new(&Plan {
            application: String::from("lookup_lag = \"0s\""),
            ..real_time()
        });
        let inject = format!("error=EIO:when={n}");
        let Some(traced) = Traced::serve(&site, "fdatasync", &inject) else {
            return;
        };
        let Some(knock) = traced.ready() else {
            assert_ne!(
                traced.ended(),
                Some(0),
                "{what}: a start that fails says so"
            );
            continue;
        };
        let (acknowledged, unknown) = create(&knock, 12).await;
        assert!(unknown.is_some(), "{what}: everybody was acknowledged");
        assert_eq!(traced.ended(), Some(75), "{what}");
        covered += 1;
        recovers(&site, &acknowledged, unknown.as_ref(), &what).await;
    }
    say(&format!(
        "EIO at {covered} flushes of the real binary: exit 75, 0 lost, 0 duplicated"
    ));
    assert!(covered >= 4, "only {covered}");
}

/// A number of /proc/ID/status, in KiB.
fn memory(id: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    kib.and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Each flush takes a fifth of a second: what waits is bounded, is answered, and shares its flushes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_makes_answers_slow_and_nothing_else() {
    const AT_ONCE: usize = 96;
    let site = Site::new(&real_time());
    let Some(traced) = Traced::serve(&site, "fdatasync", "delay_enter=200000") else {
        return;
    };
    let knock = traced.ready().expect("it starts");
    let id = traced.usher().expect("it serves");
    let before = memory(id, "VmHWM");
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..AT_ONCE {
        let knock = knock.clone();
        tasks.spawn(async move {
            let begun = Instant::now();
            let body = user(&format!("p{n}@x.example"));
            let answer = knock.ask("POST", "/Users", Some(&body)).await;
            (
                answer.status,
                answer.headers.contains_key("retry-after"),
                begun.elapsed(),
            )
        });
    }
    let (mut took, mut made, mut shed) = (Vec::new(), 0, 0);
    while let Some(answer) = tasks.join_next().await {
        let (status, later, elapsed) = answer.expect("no panic");
        match status {
            201 => made += 1,
            503 if later => shed += 1,
            other => panic!("{other} without a word when to try again"),
        }
        took.push(elapsed);
    }
    took.sort_unstable();
    let read = knock.ask("GET", "/Users?count=0", None).await.expect(200);
    assert_eq!(read.body["totalResults"], made);
    let grown = memory(id, "VmHWM").saturating_sub(before);
    let p99 = took[AT_ONCE * 99 / 100];
    say(&format!(
        "flushes of 200 ms, {AT_ONCE} creates at once: {made} made, {shed} shed, p50 {:?}, p99 {p99:?}, memory +{grown} KiB",
        took[AT_ONCE / 2]
    ));
    assert!(p99 < Duration::from_secs(25), "{p99:?}");
    assert!(grown < 64 * 1024, "memory grew by {grown} KiB");
    assert_eq!(traced.terminate(), 0);
}

/// A disk of its own that fills up, and has room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_refuses_writes_serves_reads_and_takes_them_again() {
    const USHER: &str = env!("CARGO_BIN_EXE_usher");
    let site = Site::new(&Plan {
        tables: String::from("[store]\npath = \"data/usher.redb\"\n"),
        ..real_time()
    });
    let data = site.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    let mount = "mount -t tmpfs -o size=264m,mode=700 none data";
    let alone = |program: &str| {
        let mut command = Command::new("unshare");
        command
            .current_dir(site.path())
            .args(["-m", "sh", "-c", &format!("{mount} && exec {program}")])
            .env("SANDBOX_TOKEN", SANDBOX_TOKEN)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        command
    };
    if !alone("true").status().is_ok_and(|status| status.success()) {
        say("NOT RUN: a disk that fills: no mount of its own");
        return;
    }
    let running = Running::of(alone(&format!("{USHER} serve")));
    running.says(": ready\n");
    let (knock, admin) = (running.scim(), running.admin());
    let ada = user("ada@x.example");
    let id = knock
        .ask("POST", "/Users", Some(&ada))
        .await
        .expect(201)
        .id();
    let filler = format!("/proc/{}/root{}/filler", running.id(), data.display());
    std::fs::write(&filler, vec![7; 16 << 20]).expect("it fits");
    let mut n = 0;
    let mut until = async |wanted: u16| {
        let begun = Instant::now();
        loop {
            n += 1;
            let body = user(&format!("p{n}@x.example"));
            let answer = knock.ask("POST", "/Users", Some(&body)).await;
            if answer.status == wanted {
                return begun.elapsed();
            }
            assert!(matches!(answer.status, 201 | 503), "{answer:?}");
            assert!(begun.elapsed() < PATIENCE, "never {wanted}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let refused = until(503).await;
    let calls = site.sandbox.state().calls().len();
    for (method, path, body) in [
        ("POST", String::from("/Users"), Some(user("late@x.example"))),
        ("DELETE", format!("/Users/{id}"), None::<Value>),
    ] {
        let answer = knock.ask(method, &path, body.as_ref()).await.expect(503);
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(
        site.sandbox.state().calls().len(),
        calls,
        "nothing was sent"
    );
    let read = knock
        .ask("GET", &format!("/Users/{id}"), None)
        .await
        .expect(200);
    assert_eq!(read.body["userName"], "ada@x.example");
    let ready = admin.ask("GET", "/readyz", None).await.body;
    assert!(
        ready["writes"]
            .as_str()
            .is_some_and(|told| told.contains("disk")),
        "{ready}"
    );
    std::fs::remove_file(&filler).expect("it was there");
    let recovered = until(201).await;
    say(&format!(
        "a disk that fills: writes refused after {refused:?}, taken again after {recovered:?}"
    ));
    assert_eq!(running.terminate().code, 0);
}
