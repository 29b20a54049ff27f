//! Backup, restore and confirmation, by the real command line: beside a gateway that is written, and beside one that is
//! killed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use usher::clock::Timestamp;
use usher::sandbox::{Fault, What};
use usher::store::{ChangeSet, Key, Options, Put, Store};

use crate::cli::{patch, user};
use crate::house::{House, PATIENCE, Plan};
use crate::process::{Ended, Running, Site, run};

/// Runs `usher LINE` in a folder, while the gateway goes on here.
async fn usher(folder: &Path, line: &str) -> Ended {
    let (folder, line) = (folder.to_owned(), line.to_owned());
    let ended = tokio::task::spawn_blocking(move || run(&folder, &line));
    ended.await.expect("no panic")
}

fn json(ended: &Ended) -> Value {
    assert_eq!(ended.code, 0, "{}", ended.err);
    serde_json::from_str(&ended.out).expect("one object")
}

/// What the gateway answers on its admin socket; `None`: nothing.
fn ask(socket: &Path, path: &str) -> Option<Value> {
    let mut stream = UnixStream::connect(socket).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: usher\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

/// Puts a backup where nobody serves it, and opens it.
fn opened(folder: &Path, backup: &str) -> Store {
    let data = folder.join(format!("{backup}.redb"));
    let line = format!("restore {backup} --store {}", data.display());
    assert_eq!(run(folder, &line).code, 0);
    Store::open(&Options::new(&data, Timestamp(7)), |_| ()).expect("opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_writers_has_everything_that_was_acknowledged_before_it() {
    let house = House::new().await;
    let stop = Arc::new(AtomicBool::new(false));
    let (told, mut names) = tokio::sync::mpsc::unbounded_channel();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (knock, stop, told) = (house.knock.clone(), Arc::clone(&stop), told.clone());
            tokio::spawn(async move {
                let mut at = 0;
                while !stop.load(Ordering::SeqCst) {
                    let name = format!("w{writer}-{at}@x.example");
                    let made = knock.ask("POST", "/Users", Some(&user(&name))).await;
                    let id = made.expect(201).id();
                    told.send(name).expect("heard");
                    let off = patch("active", json!(false));
                    knock
                        .ask("PATCH", &format!("/Users/{id}"), Some(&off))
                        .await
                        .expect(200);
                    at += 1;
                }
            })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        // Some before each.
        for _ in 0..12 {
            acknowledged.push(names.recv().await.expect("they write"));
        }
        let line = format!("backup backup-{round} --socket usher.sock --format json");
        let written = json(&usher(house.folder(), &line).await);
        let store = opened(house.folder(), &format!("backup-{round}"));
        let view = store.view().expect("view");
        for name in &acknowledged {
            assert!(
                view.find(&Key::UserName(name)).expect("whole").is_some(),
                "{name}"
            );
        }
        let users = view.count(usher::scim::Kind::User).expect("counted");
        // What was on its way goes along as an intent, and is settled when the file is opened.
        let settled = store.rolled_forward() as u64;
        let said = written["users"].as_u64().expect("a number");
        assert!(
            (said..=said + settled).contains(&users),
            "{said} {settled} {users}"
        );
        let (on, off) = (view.count_active(true), view.count_active(false));
        assert_eq!(
            on.expect("counted") + off.expect("counted"),
            users,
            "users and their index"
        );
        let last = view.last_sequence().expect("read");
        assert_eq!(written["sequence"].as_u64(), Some(last - settled));
        assert_eq!(view.verify_chain(1, last), Ok(None));
        assert!(written["rows"].as_u64() > Some(users) && written["bytes"].as_u64() > Some(0));
    }
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.expect("it wrote on meanwhile");
    }
    let again = usher(house.folder(), "backup backup-0 --socket usher.sock").await;
    assert_eq!(again.code, 64, "{}", again.err);
    assert!(again.err.contains("say --force"), "{}", again.err);
    let forced = usher(
        house.folder(),
        "backup backup-0 --socket usher.sock --force",
    )
    .await;
    assert_eq!(forced.code, 0, "{}", forced.err);
    assert!(forced.out.contains(" users, 0 groups, "), "{}", forced.out);
    let own = usher(
        house.folder(),
        "backup usher.redb --socket usher.sock --force",
    )
    .await;
    assert_eq!(own.code, 64, "{}", own.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_restored_only_reads_until_it_is_confirmed_and_then_converges() {
    let house = House::new().await;
    let made = house
        .ask("POST", "/Users", Some(&user("ada@x.example")))
        .await;
    let path = format!("/Users/{}", made.expect(201).id());
    let rename = |name: &str| patch("name.givenName", json!(name));
    house
        .ask("PATCH", &path, Some(&rename("Early")))
        .await
        .expect(200);
    // Zoom is away for a moment: this one is in the backup with a mark, and gets the account after it.
    house.sandbox.state().fail_next(Fault {
        calls: 1,
        matching: None,
        what: What::Status {
            status: 503,
            retry_after: None,
            body: None,
        },
    });
    let late = user("late@x.example");
    let late = house.ask_in_time("POST", "/Users", Some(&late)).await;
    late.expect(201);
    assert!(house.sandbox.state().account("late@x.example").is_none());
    let written = usher(house.folder(), "backup b --socket usher.sock").await;
    assert_eq!(written.code, 0, "{}", written.err);
    house.later(Duration::from_secs(600)).await;
    assert!(house.sandbox.state().account("late@x.example").is_some());
    // What the restore takes back, though Zoom has it.
    house
        .ask("PATCH", &path, Some(&rename("Late")))
        .await
        .expect(200);
    house
        .ask("POST", "/Users", Some(&user("bob@x.example")))
        .await
        .expect(201);
    let given = |house: &House| {
        let zoom = house
            .sandbox
            .state()
            .account("ada@x.example")
            .expect("there");
        zoom["name"]["givenName"].clone()
    };
    assert_eq!(given(&house), "Late");
    let house = house
        .restart_after(|folder| {
            let done = run(folder, "restore b --store usher.redb");
            assert_eq!(done.code, 0, "{}", done.err);
        })
        .await;
    let calls = house.sandbox.state().calls().len();

    let read = house.ask("GET", &path, None).await.expect(200);
    assert_eq!(read.body["name"]["givenName"], "Early");
    let listed = house.ask("GET", "/Users", None).await.expect(200);
    assert_eq!(listed.body["totalResults"], 2);
    let bulk = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": [{"method": "DELETE", "path": path}]
    });
    // As it stands: nothing would be sent, and it is refused all the same.
    let same = rename("Early");
    for (method, path, body) in [
        ("POST", "/Users", Some(&user("carl@x.example"))),
        ("PATCH", path.as_str(), Some(&same)),
        ("PUT", path.as_str(), Some(&user("ada@x.example"))),
        ("DELETE", path.as_str(), None),
        ("POST", "/Bulk", Some(&bulk)),
        ("POST", "/Groups", Some(&json!({"displayName": "g"}))),
    ] {
        let refused = house.ask(method, path, body).await.expect(503);
        assert_eq!(refused.headers["retry-after"], "60", "{method} {path}");
        let detail = refused.body["detail"].as_str().expect("a text");
        assert!(detail.contains("`usher confirm`"), "{detail}");
    }
    let admin = crate::house::Knock::at(format!("http://{}", house.serving.admin));
    let ready = admin.ask("GET", "/readyz", None).await.expect(200);
    assert_eq!(
        ready.body["writes"],
        "refused: restored from a backup and not confirmed"
    );
    house.clock.advance(Duration::from_secs(3600));
    house.ask("GET", &path, None).await.expect(200);
    assert_eq!(
        house.sandbox.state().calls().len(),
        calls,
        "no call went out"
    );

    let unsure = usher(house.folder(), "confirm --socket usher.sock").await;
    assert_eq!(unsure.code, 64, "{}", unsure.err);
    assert!(
        unsure.err.contains("2 users, 0 groups, ") && unsure.err.contains("--yes"),
        "{}",
        unsure.err
    );
    house.ask("DELETE", &path, None).await.expect(503);
    let sure = usher(house.folder(), "confirm --yes --socket usher.sock").await;
    assert_eq!(sure.code, 0, "{}", sure.err);
    assert!(sure.out.starts_with("Confirmed"), "{}", sure.out);
    house.settled().await;
    assert_eq!(
        given(&house),
        "Early",
        "Zoom is what the directory says again"
    );
    let ready = admin.ask("GET", "/readyz", None).await.expect(200);
    assert_eq!(ready.body["status"], "ready");
    assert_eq!(ready.body["components"]["store"], json!({"status": "ok"}));
    assert!(ready.body.get("writes").is_none(), "{}", ready.body);
    // Nobody knows of bob here any more; the client's next push finds the account.
    let bob = house
        .ask("POST", "/Users", Some(&user("bob@x.example")))
        .await;
    bob.expect(201);
    assert_eq!(house.sandbox.state().accounts().len(), 3);
    house
        .ask("PATCH", &path, Some(&rename("Last")))
        .await
        .expect(200);
    house.settled().await;
    assert_eq!(given(&house), "Last");
    let nothing = usher(house.folder(), "confirm --socket usher.sock --format json").await;
    assert_eq!(json(&nothing), json!({"confirmed": null}));
}

/// Zoom shows a group's members to nobody: what was sent of them is as old as the backup, and is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_groups_are_what_the_restored_directory_says() {
    let pushing = Plan {
        tables: String::from("[application.groups]\npush = ['*']"),
        ..Plan::default()
    };
    let house = House::with(pushing).await;
    let made = house
        .ask("POST", "/Users", Some(&user("ada@x.example")))
        .await;
    let ada = made.expect(201).id();
    let staff = json!({"displayName": "Staff", "members": [{"value": ada}]});
    let made = house.ask("POST", "/Groups", Some(&staff)).await;
    let staff = format!("/Groups/{}", made.expect(201).id());
    house.settled().await;
    let members = |house: &House| house.sandbox.state().group("Staff").expect("there").1.len();
    assert_eq!(members(&house), 1);
    let written = usher(house.folder(), "backup b --socket usher.sock").await;
    assert_eq!(written.code, 0, "{}", written.err);
    let nobody = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "remove", "path": "members"}]
    });
    let emptied = house.ask("PATCH", &staff, Some(&nobody)).await;
    assert!(emptied.status < 300, "{emptied:?}");
    house.settled().await;
    assert_eq!(members(&house), 0);
    let house = house
        .restart_after(|folder| {
            let done = run(folder, "restore b --store usher.redb");
            assert_eq!(done.code, 0, "{}", done.err);
        })
        .await;
    let sure = usher(house.folder(), "confirm --yes --socket usher.sock").await;
    assert_eq!(sure.code, 0, "{}", sure.err);
    house.settled().await;
    assert_eq!(members(&house), 1, "ada is in again");

    // The same without a restore: where nothing is certain any more.
    let (_, there) = house.sandbox.state().group("Staff").expect("there");
    let calls = house.sandbox.state().calls().len();
    let engine = house.serving.gateway.engine().expect("it is open");
    engine.store.begin_sweep("zoom", true).await.expect("begun");
    house.settled().await;
    let calls = house.sandbox.state().calls().split_off(calls);
    let named = |text: &Value| text.to_string().contains(&there[0]);
    let again = |call: &usher::sandbox::Seen| {
        call.path.starts_with("/Groups/") && call.body.as_ref().is_some_and(named)
    };
    assert!(calls.iter().any(again), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_there_and_back_by_processes_alone() {
    let site = Site::new(&Plan {
        real_time: true,
        ..Plan::default()
    });
    let codes = |line: &str| usher_code(&site, line);
    assert_eq!(codes("backup b"), 66, "neither gateway nor file");
    assert_eq!(codes("confirm --yes"), 66);
    let running = site.serve("");
    let knock = running.scim();
    let ada = knock
        .ask("POST", "/Users", Some(&user("ada@x.example")))
        .await
        .expect(201)
        .id();
    assert_eq!(codes("backup by-gateway"), 0);
    assert_eq!(codes("restore by-gateway"), 75, "it runs");
    // The lock tells, too.
    assert_eq!(codes("restore by-gateway --store usher.redb"), 75);
    assert_eq!(codes("backup b --store usher.redb"), 75);
    knock
        .ask("DELETE", &format!("/Users/{ada}"), None)
        .await
        .expect(204);
    assert_eq!(running.terminate().code, 0);

    let direct = site.run("backup by-file --format json");
    assert!(
        direct.err.contains("read ") && direct.err.contains(" directly"),
        "{}",
        direct.err
    );
    let direct = json(&direct);
    assert_eq!(
        (&direct["users"], &direct["links"]),
        (&json!(0), &json!(1)),
        "a removal is not done"
    );
    fs::write(site.path().join("wrong"), "no backup").expect("written");
    assert_eq!(codes("restore wrong"), 65);
    assert_eq!(codes("restore nowhere"), 66);
    assert_eq!(codes("restore usher.redb"), 64);
    let restored = site.run("restore by-gateway");
    assert_eq!(restored.code, 0, "{}", restored.err);
    assert!(
        restored.out.contains("1 users, 0 groups, 1 links"),
        "{}",
        restored.out
    );
    assert!(
        restored.out.contains("usher.redb.before-restore-"),
        "{}",
        restored.out
    );

    let calls = site.sandbox.state().calls().len();
    let running = site.serve("");
    let knock = running.scim();
    knock
        .ask("GET", &format!("/Users/{ada}"), None)
        .await
        .expect(200);
    knock
        .ask("DELETE", &format!("/Users/{ada}"), None)
        .await
        .expect(503);
    let ended = running.terminate();
    assert!(
        ended.err.contains("restored from a backup"),
        "{}",
        ended.err
    );
    assert_eq!(site.sandbox.state().calls().len(), calls);
    // No gateway: the file is written, and the next start serves writes.
    assert_eq!(codes("confirm"), 64);
    let confirmed = json(&site.run("confirm --yes --format json"));
    assert_eq!(confirmed["confirmed"]["manifest"]["users"], 1);
    assert_eq!(
        json(&site.run("confirm --format json"))["confirmed"],
        Value::Null
    );
    let running = site.serve("");
    running
        .scim()
        .ask("DELETE", &format!("/Users/{ada}"), None)
        .await
        .expect(204);
    assert_eq!(running.terminate().code, 0);
}

/// A gateway with a /tmp of its own answers that all is well, and the file is in a place that goes when it stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_cannot_be_seen_is_none() {
    let site = Site::new(&Plan::default());
    assert_eq!(site.serve("").terminate().code, 0);
    let written = site.run("backup b --format json");
    assert_eq!(written.code, 0, "{}", written.err);
    for there in [true, false] {
        if !there {
            fs::remove_file(site.path().join("b")).expect("removed");
        }
        let socket = site.path().join("usher.sock");
        let listener = UnixListener::bind(&socket).expect("bound");
        let body = written.out.clone();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("asked");
            let mut head = [0; 4_096];
            let _read = stream.read(&mut head).expect("a request");
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .expect("answered");
        });
        let ended = site.run("backup b");
        answering.join().expect("no panic");
        fs::remove_file(socket).expect("removed");
        assert_eq!(ended.code, if there { 0 } else { 70 }, "{}", ended.err);
        assert_eq!(ended.err.contains("cannot be seen from here"), !there);
    }
}

fn usher_code(site: &Site, line: &str) -> i32 {
    let ended = site.run(line);
    if ended.code != 0 {
        assert!(ended.err.contains("usher: "), "{line}: {}", ended.err);
        assert_eq!(ended.out, "", "{line}");
    }
    ended.code
}

/// A data file with so many users that a backup of it can be met on its way.
async fn crowd(folder: &Path, users: u64) {
    let store = Store::open(
        &Options::new(folder.join("usher.redb"), Timestamp(7)),
        |_| (),
    );
    let store = store.expect("created");
    let mut made = 0;
    while made < users {
        let puts = (0..500).map(|at| {
            let (handle, id) = store.mint(Timestamp(7), at);
            let name = json!(format!("crowd-{}@x.example", handle.0));
            let attributes = [("active", json!(true)), ("userName", name)];
            Put {
                resource: usher::scim::Resource {
                    handle,
                    id,
                    kind: usher::scim::Kind::User,
                    version: 1,
                    created: Timestamp(7),
                    modified: Timestamp(7),
                    owner: String::from("okta"),
                    deleted: None,
                    attributes: attributes
                        .map(|(name, value)| (name.to_owned(), value))
                        .into_iter()
                        .collect(),
                    links: Vec::new(),
                },
                expect: None,
                before: None,
            }
        });
        let set = ChangeSet {
            puts: puts.collect(),
            ..ChangeSet::default()
        };
        made += 500;
        store.commit(set).await.expect("created");
    }
    store.close().expect("closed");
}

/// Waits until something is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_during_a_backup_leaves_no_half_file_under_its_name() {
    const USERS: u64 = 15_000;
    let site = Site::new(&Plan {
        real_time: true,
        ..Plan::default()
    });
    crowd(site.path(), USERS).await;
    let (socket, unfinished) = (
        site.path().join("usher.sock"),
        site.path().join("b.unfinished"),
    );
    let under_way = || {
        let so_far = ask(&socket, "/backup");
        so_far.is_some_and(|it| it["rows"].as_u64() > Some(0))
    };
    let to: PathBuf = site.path().join("b");

    // Whoever asked goes away: nobody wants it any more, and the gateway serves on.
    let running = site.serve("");
    let asking = Running::start(site.path(), "backup b");
    until("a backup is under way", under_way);
    let _said = asking.kill();
    until("it is given up", || {
        ask(&socket, "/backup").is_some_and(|it| it["rows"].is_null())
    });
    assert!(!unfinished.exists() && !to.exists());

    // The gateway is killed.
    let asking = Running::start(site.path(), "backup b");
    until("a backup is under way", under_way);
    let _said = running.kill();
    let asked = asking.ended();
    assert_eq!(asked.code, 75, "{}", asked.err);
    assert!(!to.exists(), "what is not whole has no name");
    assert!(unfinished.exists(), "it was on its way");

    // What is left is in nobody's way.
    let running = site.serve("");
    let written = json(&usher(site.path(), "backup b --format json").await);
    assert_eq!(written["users"], USERS);
    assert!(!unfinished.exists());
    assert_eq!(running.terminate().code, 0);
}
