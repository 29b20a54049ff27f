//! One configuration in the place of another while the gateway runs: what goes by which, and what everybody's accounts
//! become.

use std::time::Duration;

use serde_json::{Value, json};
use usher::journal::record::Status;
use usher::journal::report::Query;
use usher::sandbox::{Fault, What};
use usher::settle::Engine;
use usher::store::SweepPhase;

use crate::house::{House, PATIENCE, Plan, TOKEN, text};
use crate::process::{SANDBOX_TOKEN, Site};

fn user(name: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name,
        "name": {"givenName": "Ada", "familyName": "King"}, "displayName": "Ada King", "nickName": "Countess",
        "emails": [{"value": name, "type": "work", "primary": true}], "active": true
    })
}

fn application(lines: &str) -> Plan {
    Plan {
        application: lines.to_owned(),
        ..Plan::default()
    }
}

/// displayName by nickName.
fn by_nickname() -> Plan {
    Plan {
        tables: String::from(
            "[[application.map.user]]\nto = 'displayName'\nfrom = '$.nickName'\nrequired = true",
        ),
        ..Plan::default()
    }
}

/// The next call hangs until it is released.
fn hold(house: &House) {
    house.sandbox.state().fail_next(Fault {
        calls: 1,
        matching: None,
        what: What::Hold,
    });
}

/// What a call sent as displayName.
fn sent_names(house: &House) -> Vec<String> {
    let calls = house.sandbox.state().calls().into_iter();
    let names = calls.filter_map(|call| Some(call.body?["displayName"].as_str()?.to_owned()));
    names.collect()
}

/// The status that a token gets.
async fn with_token(house: &House, token: &str) -> u16 {
    let bearer = [("authorization", format!("Bearer {token}"))];
    let answer = house.knock.send("GET", "/Users", &bearer, None).await;
    answer.expect("an answer").status
}

#[tokio::test]
async fn another_token_is_in_and_the_one_before_is_out_at_once() {
    let house = House::new().await;
    assert_eq!(with_token(&house, TOKEN).await, 200);
    assert_eq!(with_token(&house, "another").await, 401);
    let hex = |token: &str| -> String {
        let hash = usher::auth::hash(token.as_bytes());
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let text = text(&Plan::default(), &house.sandbox.base_url(), "127.0.0.1:0");
    let text = text.replace(&hex(TOKEN), &hex("another"));
    let reloaded = house.serving.reload(house.config_of(&text)).await;
    let reloaded = reloaded.expect("it takes the place of the one before");
    assert_eq!(reloaded.clients.changed, ["okta"]);
    assert!(reloaded.applications.is_empty());
    assert_eq!(with_token(&house, TOKEN).await, 401);
    assert_eq!(with_token(&house, "another").await, 200);
}

#[tokio::test]
async fn a_reload_fills_no_bucket() {
    let slow = |lines: &str| {
        let text = text(
            &Plan {
                client: lines.to_owned(),
                ..Plan::default()
            },
            "http://127.0.0.1:1/scim2",
            "127.0.0.1:0",
        );
        text.replace(
            "per_second = 100000, burst = 100000",
            "per_second = 1, burst = 3",
        )
    };
    let house = House::new().await;
    let reload = async |lines: &str| {
        let reloaded = house.serving.reload(house.config_of(&slow(lines))).await;
        reloaded.expect("it takes the place of the one before");
    };
    reload("").await;
    assert_eq!(with_token(&house, TOKEN).await, 200);
    reload("take_over = true").await;
    assert_eq!(with_token(&house, TOKEN).await, 200);
    assert_eq!(with_token(&house, TOKEN).await, 200);
    reload("").await;
    assert_eq!(with_token(&house, TOKEN).await, 429);
    house.reload(&Plan::default()).await;
    assert_eq!(
        with_token(&house, TOKEN).await,
        200,
        "another rate, another bucket"
    );
}

#[tokio::test]
async fn what_needs_a_restart_is_said_and_all_else_is_in_force() {
    let house = House::new().await;
    let text = text(
        &application("authorized_domains = [\"x.example\"]"),
        &house.sandbox.base_url(),
        "127.0.0.1:1",
    );
    let reload = || async {
        let reloaded = house.serving.reload(house.config_of(&text)).await;
        reloaded.expect("it takes the place of the one before")
    };
    for _ in 0..2 {
        // The second time too: what the process was started with counts, not what the file said last.
        let told: Vec<String> = reload()
            .await
            .restart
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "server.listen needs a restart: 127.0.0.1:0 stays until then, and the file says 127.0.0.1:1"
            ]
        );
    }
    // On the address that it had.
    house
        .ask("POST", "/Users", Some(&user("foreign@y.example")))
        .await
        .expect(201);
    assert!(house.sandbox.state().accounts().is_empty());
}

#[tokio::test]
async fn an_address_that_cannot_be_used_changes_nothing() {
    let house = House::new().await;
    let mut config = house.config(&Plan {
        client: String::from("read_only = true"),
        ..Plan::default()
    });
    // What a check of the text cannot see.
    config.applications[0].credentials = usher::config::shape::Credentials::Bearer(
        usher::config::shape::Secret(String::from("a token with spaces")),
    );
    let refused = house.serving.reload(config).await;
    let refused = refused.expect_err("no such token can be sent");
    assert_eq!(refused.len(), 1);
    assert!(!refused[0].contains("with spaces"), "{refused:?}");
    house
        .ask("POST", "/Users", Some(&user("ada@x.example")))
        .await
        .expect(201);
    assert_eq!(house.sandbox.state().accounts().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_with_mistakes_leaves_the_running_one_in_force_and_a_good_one_takes_its_place() {
    let site = Site::new(&Plan::default());
    let serving = site.serve("");
    let scim = serving.scim();
    let file = site.path().join("usher.toml");
    let good = std::fs::read_to_string(&file).expect("a file");
    let bad = good
        .replace(
            "name = \"okta\"",
            "name = \"okta\"\nread_only = 7\ntoke = 1",
        )
        .replace("profile = \"zoom\"", "profile = \"room\"");
    std::fs::write(&file, &bad).expect("a file");
    let check = site.run("check");
    let all = [check.out.as_str(), check.err.as_str()].concat();
    let mistakes: Vec<&str> = all.lines().filter(|line| line.contains("toml:")).collect();
    assert_eq!(mistakes.len(), 3, "{all}");
    serving.hang_up();
    serving.says("not reloaded: the configuration that ran before stays in force");
    for mistake in mistakes {
        serving.says(mistake);
    }
    scim.ask("POST", "/Users", Some(&user("ada@x.example")))
        .await
        .expect(201);

    let read_only = good.replace("name = \"okta\"", "name = \"okta\"\nread_only = true");
    std::fs::write(&file, read_only).expect("a file");
    serving.hang_up();
    serving.says("client changed name=\"okta\"");
    serving.says("reloaded generation=2");
    scim.ask("POST", "/Users", Some(&user("bob@x.example")))
        .await
        .expect(403);

    std::fs::write(&file, good + "[log]\nlevel = \"debug\"\n").expect("a file");
    serving.hang_up();
    serving.says("reloaded generation=3");
    scim.ask("POST", "/Users", Some(&user("bob@x.example")))
        .await
        .expect(201);
    serving.says(" DEBUG ");
    let ended = serving.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
}

#[tokio::test]
async fn a_request_under_way_ends_with_what_it_began_with_and_is_asked_about_again() {
    let house = House::new().await;
    hold(&house);
    let asking = {
        let knock = house.knock.clone();
        tokio::spawn(async move {
            knock
                .ask("POST", "/Users", Some(&user("ada@x.example")))
                .await
        })
    };
    house.sandbox.state().arrived(1).await;
    let reloaded = house.reload(&by_nickname()).await;
    assert_eq!(
        (
            reloaded.generation,
            reloaded.applications.changed.as_slice()
        ),
        (2, &[String::from("zoom")][..])
    );
    // Who comes after it goes by the new one, though the old one is not done.
    house
        .ask("POST", "/Users", Some(&user("bob@x.example")))
        .await
        .expect(201);
    assert_eq!(sent_names(&house), ["Ada King", "Countess"]);
    house.sandbox.state().release();
    asking.await.expect("no panic").expect(201);
    house.settled().await;
    assert_eq!(sent_names(&house), ["Ada King", "Countess", "Countess"]);
    for name in ["ada@x.example", "bob@x.example"] {
        let account = house.sandbox.state().account(name).expect("an account");
        assert_eq!(account["displayName"], "Countess", "{name}");
    }
}

/// The same for the worker: its exchange of before ends, and nobody else is at that account meanwhile.
#[tokio::test]
async fn a_delivery_under_way_ends_and_the_next_one_waits_for_it() {
    let house = House::with(application("delivery = \"queued\"")).await;
    hold(&house);
    house
        .ask("POST", "/Users", Some(&user("ada@x.example")))
        .await
        .expect(201);
    house.sandbox.state().arrived(1).await;
    let by_nickname = Plan {
        application: String::from("delivery = \"queued\""),
        ..by_nickname()
    };
    house.reload(&by_nickname).await;
    // It is sent by the loop of the new configuration: that one runs beside the one that hangs.
    house
        .ask("POST", "/Users", Some(&user("bob@x.example")))
        .await
        .expect(201);
    house.sandbox.state().arrived(2).await;
    assert_eq!(sent_names(&house), ["Ada King", "Countess"]);
    house.sandbox.state().release();
    house.settled().await;
    assert_eq!(sent_names(&house), ["Ada King", "Countess", "Countess"]);
    assert_eq!(house.sandbox.state().accounts().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_read_again_though_the_file_is_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new(&Plan::default());
    let file = site.path().join("usher.toml");
    let secret = site.path().join("token");
    let text = std::fs::read_to_string(&file).expect("a file");
    let text = text.replace("{ env = \"SANDBOX_TOKEN\" }", "{ file = \"token\" }");
    std::fs::write(&file, text).expect("a file");
    std::fs::write(&secret, "a-token-of-yesterday").expect("a file");
    let only_mine = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&secret, only_mine).expect("its mode");
    let serving = site.serve("");
    let scim = serving.scim();
    scim.ask("POST", "/Users", Some(&user("ada@x.example")))
        .await
        .expect(201);
    assert!(site.sandbox.state().accounts().is_empty());
    std::fs::write(&secret, SANDBOX_TOKEN).expect("a file");
    serving.hang_up();
    serving.says("application changed name=\"zoom\"");
    serving.says("reloaded generation=1");
    let wait = async {
        let mut calls = 1;
        while site.sandbox.state().account("ada@x.example").is_none() {
            calls += 1;
            site.sandbox.state().arrived(calls).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("it is sent");
    let ended = serving.terminate();
    assert!(!ended.err.contains(SANDBOX_TOKEN), "{}", ended.err);
    assert!(!ended.err.contains("a-token-of-yesterday"), "{}", ended.err);
}

/// displayName by nickName where there is one.
const NICKNAMES: &str = "[[application.map.user]]\nto = 'displayName'\nfrom = '$.nickName'\ndefault = 'Ada King'\nrequired = true\n";

fn tables(tables: &str) -> Plan {
    Plan {
        tables: tables.to_owned(),
        ..Plan::default()
    }
}

/// Creates a user and tells its path.
async fn create(house: &House, name: &str) -> String {
    let created = house.ask("POST", "/Users", Some(&user(name))).await;
    format!("/Users/{}", created.expect(201).id())
}

/// The calls that came since there were so many: method and path.
fn calls_since(house: &House, before: usize) -> Vec<(String, String)> {
    let calls = house.sandbox.state().calls().into_iter().skip(before);
    calls.map(|call| (call.method, call.path)).collect()
}

fn inactive(house: &House) -> usize {
    let accounts = house.sandbox.state().accounts();
    accounts.iter().filter(|account| !account.active).count()
}

/// How many removals are held.
fn holds(house: &House) -> u64 {
    let engine = house.serving.gateway.engine().expect("it is open");
    let view = engine.store.view().expect("a view");
    view.tally("zoom").expect("a tally").holds
}

fn commits(house: &House) -> u64 {
    let engine = house.serving.gateway.engine().expect("it is open");
    engine.store.statistics().commits
}

#[tokio::test]
async fn another_rule_reaches_everybody_whom_it_changes_and_nobody_else() {
    let house = House::new().await;
    for at in 0..5 {
        create(&house, &format!("countess{at}@x.example")).await;
    }
    for at in 0..5 {
        let mut plain = user(&format!("plain{at}@x.example"));
        plain.as_object_mut().expect("an object").remove("nickName");
        house.ask("POST", "/Users", Some(&plain)).await.expect(201);
    }
    // Neither of them is anything that the application should know of.
    let off = json!({"userName": "off@x.example", "active": false});
    house.ask("POST", "/Users", Some(&off)).await.expect(201);
    let staff = json!({"displayName": "Staff"});
    house.ask("POST", "/Groups", Some(&staff)).await.expect(201);
    let before = house.sandbox.state().calls().len();

    let reloaded = house.reload(&tables(NICKNAMES)).await;
    assert_eq!(reloaded.sweeps, ["zoom"]);
    house.settled().await;
    let calls = calls_since(&house, before);
    assert_eq!(calls.len(), 5, "one each: {calls:?}");
    assert!(calls.iter().all(|(method, _)| method == "PUT"), "{calls:?}");
    for account in house.sandbox.state().accounts() {
        let there = house.sandbox.state().account(&account.user_name);
        let name = there.expect("an account")["displayName"].clone();
        let wanted = if account.user_name.starts_with("countess") {
            "Countess"
        } else {
            "Ada King"
        };
        assert_eq!(name, wanted, "{}", account.user_name);
    }

    // Other text, the same outcome: everybody is read, nothing is sent and nothing is written but how far it is.
    let (calls, written) = (house.sandbox.state().calls().len(), commits(&house));
    let same = NICKNAMES.replace("required", "transform = ['trim']\nrequired");
    assert_eq!(house.reload(&tables(&same)).await.sweeps, ["zoom"]);
    house.settled().await;
    assert_eq!(calls_since(&house, calls), []);
    assert_eq!(commits(&house) - written, 3, "put in force, counted, done");

    // Another pace plans nothing anew, and neither does a restart.
    let slower = same + "[application.safety]\nwindow = '2h'\n";
    let reloaded = house.reload(&tables(&slower)).await;
    assert_eq!((reloaded.sweeps.len(), reloaded.generation), (0, 4));
    let house = house.restart_with(tables(&slower)).await;
    house.settled().await;
    assert_eq!(calls_since(&house, calls), []);
}

#[tokio::test]
async fn a_file_that_changed_between_two_runs_is_swept_too() {
    let house = House::new().await;
    create(&house, "ada@x.example").await;
    let house = house.restart_with(tables(NICKNAMES)).await;
    house.settled().await;
    let account = house.sandbox.state().account("ada@x.example");
    assert_eq!(account.expect("an account")["displayName"], "Countess");
}

/// Between the commit that begins a sweep and the end of the loops of before there is a moment. What they count and plan in
/// it is by the rules of before.
#[tokio::test]
async fn a_sweep_is_left_to_the_configuration_that_began_it() {
    let house = House::new().await;
    create(&house, "ada@x.example").await;
    let engine = house.serving.gateway.engine().expect("it is open");
    let wanted = house.config(&tables(NICKNAMES));
    let begun = engine.store.configure(Engine::configuration(&wanted)).await;
    assert_eq!(begun.expect("it is in force").sweeps, ["zoom"]);
    // Each of these takes longer than such a sweep.
    for at in 0..5 {
        create(&house, &format!("later{at}@x.example")).await;
    }
    let sweep = engine.store.view().expect("a view").sweep("zoom");
    let sweep = sweep.expect("read").expect("it is under way");
    assert_eq!((sweep.phase, sweep.done), (SweepPhase::Counting, 0));

    house.serving.reload(wanted).await.expect("in force");
    house.settled().await;
    for account in house.sandbox.state().accounts() {
        let there = house.sandbox.state().account(&account.user_name);
        assert_eq!(there.expect("an account")["displayName"], "Countess");
    }
}

const TWO: &str = "[application.safety]\nmax_removals = 2\n";

#[tokio::test]
async fn a_set_of_removals_over_the_limit_is_held_whole_and_one_within_it_goes() {
    let queued = "delivery = \"queued\"";
    let plan = |lines: &str| Plan {
        application: format!("{queued}\n{lines}"),
        tables: TWO.to_owned(),
        ..Plan::default()
    };
    let house = House::with(plan("")).await;
    let mut paths = Vec::new();
    for at in 0..4 {
        paths.push(create(&house, &format!("y{at}@y.example")).await);
        create(&house, &format!("x{at}@x.example")).await;
    }
    house.settled().await;
    // One of those who leave is being written just now; what comes of it must not slip past the count.
    hold(&house);
    let before = house.sandbox.state().calls().len();
    let rename = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "replace", "path": "displayName", "value": "Y"}]});
    house
        .ask("PATCH", &paths[3], Some(&rename))
        .await
        .expect(200);
    house.sandbox.state().arrived(before as u64 + 1).await;

    house
        .reload(&plan("authorized_domains = [\"x.example\"]"))
        .await;
    house.sandbox.state().release();
    house.settled().await;
    assert_eq!(calls_since(&house, before).len(), 1, "the one that hung");
    assert_eq!((holds(&house), inactive(&house)), (4, 0));
    let held = Query {
        status: Some(Status::Held),
        ..Query::default()
    };
    for row in house.report(held) {
        assert_eq!(row.code.as_deref(), Some("safety_limit"), "{row:?}");
    }
    // Time alone releases nothing, and a restart neither.
    house.later(Duration::from_secs(86_400)).await;
    let house = house
        .restart_with(plan("authorized_domains = [\"x.example\"]"))
        .await;
    house.later(Duration::from_secs(86_400)).await;
    assert_eq!((holds(&house), inactive(&house)), (4, 0));

    // Whoever is back is not held any more.
    let wide = "authorized_domains = [\"x.example\", \"y.example\"]";
    house.reload(&plan(wide)).await;
    house.settled().await;
    assert_eq!((holds(&house), inactive(&house)), (0, 0));
    assert_eq!(calls_since(&house, before).len(), 1);

    // Two of them are gone already when the domain goes again: the rest is within the limit.
    for path in &paths[..2] {
        house.ask("DELETE", path, None).await.expect(204);
    }
    house.settled().await;
    house.clock.advance(Duration::from_secs(3_601));
    house
        .reload(&plan("authorized_domains = [\"x.example\"]"))
        .await;
    house.settled().await;
    assert_eq!((holds(&house), inactive(&house)), (0, 4));
    assert_eq!(house.sandbox.state().accounts().len(), 8);
}

/// What waits for the worker already is counted with the rest before any of it goes.
#[tokio::test]
async fn what_was_due_before_does_not_slip_past_the_count() {
    let plan = |lines: &str| Plan {
        application: format!("delivery = \"queued\"\n{lines}"),
        tables: TWO.to_owned(),
        ..Plan::default()
    };
    let house = House::with(plan("")).await;
    let mut paths = Vec::new();
    for at in 0..6 {
        paths.push(create(&house, &format!("y{at}@y.example")).await);
    }
    house.settled().await;
    let before = house.sandbox.state().calls().len();
    house.sandbox.state().fail_next(Fault {
        calls: 1,
        matching: None,
        what: What::Status {
            status: 503,
            retry_after: Some(String::from("3600")),
            body: None,
        },
    });
    let rename = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "replace", "path": "displayName", "value": "Y"}]});
    // After the first of them the application is left alone; the others are due all the same.
    for path in &paths {
        house.ask("PATCH", path, Some(&rename)).await.expect(200);
        house.sandbox.state().arrived(before as u64 + 1).await;
    }
    let house = house
        .restart_with(plan("authorized_domains = [\"x.example\"]"))
        .await;
    house.settled().await;
    assert_eq!(calls_since(&house, before).len(), 1);
    assert_eq!((holds(&house), inactive(&house)), (6, 0));
}

#[tokio::test]
async fn going_live_counts_what_was_simulated_before_the_first_of_it_goes() {
    let plan = |mode: &str, tables: &str| Plan {
        application: format!("mode = \"{mode}\""),
        tables: tables.to_owned(),
        ..Plan::default()
    };
    let house = House::with(plan("live", TWO)).await;
    let mut paths = Vec::new();
    for at in 0..3 {
        paths.push(create(&house, &format!("y{at}@y.example")).await);
    }
    house.reload(&plan("simulate", TWO)).await;
    house.settled().await;
    let before = house.sandbox.state().calls().len();
    for path in &paths {
        house.ask("DELETE", path, None).await.expect(204);
    }
    create(&house, "new@x.example").await;
    house.settled().await;
    assert_eq!(calls_since(&house, before), []);
    house.reload(&plan("live", TWO)).await;
    house.settled().await;
    assert_eq!((holds(&house), inactive(&house)), (3, 0));
    assert!(house.sandbox.state().account("new@x.example").is_some());
}

#[tokio::test]
async fn an_application_that_is_gone_is_left_alone_and_goes_on_when_it_is_back() {
    let house = House::new().await;
    let (leaves, stays) = (
        create(&house, "leaves@x.example").await,
        create(&house, "stays@x.example").await,
    );
    let before = house.sandbox.state().calls().len();
    let mut without = house.config(&Plan::default());
    without.applications.clear();
    without.fingerprint = String::from("another");
    let reloaded = house.serving.reload(without).await.expect("in force");
    assert_eq!(reloaded.applications.removed, ["zoom"]);
    house.ask("DELETE", &leaves, None).await.expect(204);
    house.ask("GET", &stays, None).await.expect(200);
    create(&house, "comes@x.example").await;
    house.later(Duration::from_secs(86_400)).await;
    assert_eq!(calls_since(&house, before), []);

    let reloaded = house.reload(&Plan::default()).await;
    assert_eq!(reloaded.applications.added, ["zoom"]);
    house.settled().await;
    let calls = calls_since(&house, before);
    let mut methods: Vec<&str> = calls.iter().map(|(method, _)| method.as_str()).collect();
    methods.sort_unstable();
    // A look at what was created is one of them.
    assert_eq!(methods, ["GET", "PATCH", "POST"], "{calls:?}");
    assert_eq!(inactive(&house), 1);
    assert!(house.sandbox.state().account("comes@x.example").is_some());
}

#[tokio::test]
async fn what_is_in_doubt_is_read_back_and_not_written_where_it_is_right() {
    let house = House::new().await;
    for at in 0..3 {
        create(&house, &format!("d{at}@x.example")).await;
    }
    let engine = house.serving.gateway.engine().expect("it is open");
    let before = house.sandbox.state().calls().len();
    engine.store.begin_sweep("zoom", true).await.expect("begun");
    house.settled().await;
    let calls = calls_since(&house, before);
    let methods: Vec<&str> = calls.iter().map(|(method, _)| method.as_str()).collect();
    assert_eq!(methods, ["GET"; 3], "{calls:?}");
    // It is certain again.
    engine
        .store
        .begin_sweep("zoom", false)
        .await
        .expect("begun");
    house.settled().await;
    assert_eq!(calls_since(&house, before).len(), 3);
}

/// People who stay, in more than one slice with those who leave.
const STAY: usize = 500;

/// People who leave: all but the last of them are in the first slice.
const LEAVE: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_goes_on_after_a_kill() {
    let site = Site::new(&application("wait = '20s'"));
    let file = site.path().join("usher.toml");
    let text = std::fs::read_to_string(&file).expect("a file");
    let serving = site.serve("");
    let scim = serving.scim();
    let leaving = (1..LEAVE).map(|at| format!("p{at}@y.example"));
    let staying = (0..STAY).map(|at| format!("p{at}@x.example"));
    let people: Vec<String> = leaving.chain(staying).collect();
    let operations: Vec<Value> = people
        .iter()
        .map(|name| json!({"method": "POST", "path": "/Users", "bulkId": name, "data": user(name)}))
        .collect();
    let bulk = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations});
    scim.ask("POST", "/Bulk", Some(&bulk)).await.expect(200);
    let last = scim
        .ask("POST", "/Users", Some(&user("last@y.example")))
        .await;
    let last = format!("/Users/{}", last.expect(201).id());
    let state = site.sandbox.state();
    let calls = || {
        state
            .counts()
            .values()
            .map(|count| count.calls)
            .sum::<u64>()
    };
    let named = |name: &str| {
        let accounts = state.accounts().into_iter();
        let accounts = accounts.filter_map(|one| state.account(&one.user_name));
        accounts.filter(|one| one["displayName"] == name).count()
    };
    let until = async |name: &str, many: usize| {
        let wait = async {
            loop {
                let calls = calls();
                if named(name) == many {
                    return;
                }
                state.arrived(calls + 1).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, wait).await;
        assert!(ended.is_ok(), "{} and not {many} are {name}", named(name));
    };
    until("Ada King", STAY + LEAVE).await;

    // Whoever writes the last one hangs, so the sweep cannot hold that removal, and does not end.
    state.fail_next(Fault {
        calls: 1,
        matching: None,
        what: What::Hold,
    });
    let before = calls();
    let hanging = {
        let (scim, rename) = (
            scim.clone(),
            json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "replace", "path": "displayName", "value": "Y"}]}),
        );
        tokio::spawn(async move { scim.try_ask("PATCH", &last, Some(&rename)).await })
    };
    state.arrived(before + 1).await;
    let narrow = text.replace("wait =", "authorized_domains = ['x.example']\nwait =");
    std::fs::write(&file, narrow + TWO + NICKNAMES).expect("a file");
    serving.hang_up();
    serving.says("over the safety limit");
    // Another process writes them: there is nothing to be woken by.
    let begun = std::time::Instant::now();
    while site.report("--status held").len() < LEAVE - 1 {
        assert!(begun.elapsed() < PATIENCE, "they are not held");
    }
    let said = serving.kill();
    assert!(!said.contains("sweep: done"), "{said}");
    assert_eq!(
        calls(),
        before + 1,
        "nothing goes before all of them are held"
    );
    let refused = hanging.await.expect("no panic");
    refused.expect_err("it died with the gateway");
    state.release();

    let open = || {
        let path = site.path().join("usher.redb");
        let options = usher::store::Options::new(path, usher::clock::Timestamp(1));
        let store = usher::store::Store::open(&options, |_| ()).expect("it opens");
        let view = store.view().expect("a view");
        let sweep = view.sweep("zoom").expect("readable");
        let holds = view.tally("zoom").expect("a tally").holds;
        drop(view);
        store.close().expect("closed");
        (sweep, holds)
    };
    let (sweep, holds) = open();
    let sweep = sweep.expect("it is under way");
    assert_eq!(
        (sweep.phase, sweep.removals),
        (SweepPhase::Holding, LEAVE as u64)
    );
    assert!(sweep.done < sweep.total, "{sweep:?}");
    assert_eq!(holds, LEAVE as u64 - 1);

    let serving = site.serve("");
    until("Countess", STAY).await;
    serving.says("sweep: done");
    let ended = serving.terminate();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(open(), (None, LEAVE as u64));
    let accounts = state.accounts();
    assert_eq!(accounts.len(), STAY + LEAVE);
    assert!(
        accounts.iter().all(|account| account.active),
        "all are held"
    );
}
