//! One configuration in the place of another while the gateway runs: what goes by which, and what everybody's accounts
//! become.

use serde_json::{Value, json};
use usher::sandbox::{Fault, What};

use crate::house::{House, Plan, TOKEN, text};
use crate::process::Site;

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
