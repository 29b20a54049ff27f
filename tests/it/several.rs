//! Several applications at once, each with its own policy, mapping, switches, pace and health: what one of them is like is
//! nothing to the others.

use std::time::Duration;

use serde_json::{Value, json};
use usher::clock::{Clock, Timestamp};
use usher::journal::record::Status;
use usher::journal::report::Query;
use usher::sandbox::{Fault, Options, Sandbox, Seen, What};

use crate::applications::scim2_server;
use crate::house::{House, Knock, PATIENCE, Plan, TOKEN};

const SECOND: Duration = Duration::from_secs(1);

fn user(name: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name, "displayName": "Ada King",
        "name": {"givenName": "Ada", "familyName": "King"}, "active": true
    })
}

/// One more application, behind those of the plan.
pub(crate) fn one_more(name: &str, profile: &str, base_url: &str, more: &str) -> String {
    format!(
        "[[application]]\nname = \"{name}\"\nprofile = \"{profile}\"\nbase_url = \"{base_url}\"\ncredentials = {{ kind = \"bearer\", token = {{ env = \"TOKEN\" }} }}\n{more}\n"
    )
}

/// A second sandbox, on the clock of the first.
fn second(token: &str) -> Sandbox {
    Sandbox::start(Options {
        token: token.to_owned(),
        clock: Clock::manual(Timestamp(1_795_465_845_000)),
        ..Options::default()
    })
    .expect("a sandbox")
}

/// Lets the gateway's tasks run until `done`, time going on by `tick` each time. How much of it passed.
async fn until(
    house: &House,
    tick: Duration,
    what: &str,
    mut done: impl FnMut() -> bool,
) -> Duration {
    let before = house.clock.now();
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            house.clock.advance(tick);
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("{what} does not come"));
    house.clock.now().since(before)
}

fn marks(house: &House, application: &str) -> u64 {
    let engine = house.serving.gateway.engine().expect("it is open");
    let view = engine.store.view().expect("a view");
    view.mark_count(application).expect("marks")
}

/// What the report says of somebody in an application, newest first.
fn told(house: &House, user: &str, application: &str) -> Vec<(String, Status)> {
    let rows = house.report(Query {
        user_prefix: Some(user.to_owned()),
        application: Some(application.to_owned()),
        ..Query::default()
    });
    let told = rows
        .iter()
        .map(|row| (format!("{:?}", row.operation).to_lowercase(), row.status));
    told.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaver_is_removed_from_all_and_each_outcome_is_on_the_record() {
    let other = second(TOKEN);
    let folder = tempfile::tempdir().expect("a folder");
    let third = scim2_server(&folder).await;
    let mut tables = one_more(
        "wiki",
        "zoom",
        &other.base_url(),
        "authorized_domains = [\"x.example\"]\n[application.users]\non_delete = \"deactivate\"\n[[application.map.user]]\nto = \"displayName\"\nvalue = \"From the wiki\"",
    );
    if let Some((_, base)) = &third {
        let more = "lookup_lag = \"0s\"\n[application.users]\ndelete_after = \"0s\"";
        tables.push_str(&one_more("shop", "scim", base, more));
    }
    let house = House::with(Plan {
        tables,
        sandbox: Options {
            token: TOKEN.to_owned(),
            ..Options::default()
        },
        ..Plan::default()
    })
    .await;
    let mut ids = Vec::new();
    for name in ["ada@x.example", "eve@y.example"] {
        let made = house.ask("POST", "/Users", Some(&user(name))).await;
        ids.push(made.expect(201).id());
    }
    let all = ["zoom", "wiki", "shop"];
    let quiet = || all.iter().all(|name| marks(&house, name) == 0);
    until(&house, Duration::from_millis(5), "what was created", quiet).await;
    let there = house.sandbox.state();
    assert_eq!(there.accounts().len(), 2);
    let in_wiki: Vec<_> = other
        .state()
        .accounts()
        .iter()
        .map(|it| it.user["displayName"].clone())
        .collect();
    assert_eq!(in_wiki, ["From the wiki"], "its own domains, its own rules");
    if let Some((_, base)) = &third {
        assert_eq!(in_shop(base).await, 2);
    }

    let path = format!("/Users/{}", ids[0]);
    house.ask("DELETE", &path, None).await.expect(204);
    // Zoom's account is deleted a week later, and is deactivated until then.
    let quiet = || marks(&house, "zoom") == 1 && marks(&house, "wiki") + marks(&house, "shop") == 0;
    until(&house, Duration::from_millis(5), "the removals", quiet).await;
    let zoom = there.account("ada@x.example").expect("an account");
    let wiki = other.state().account("ada@x.example").expect("an account");
    assert_eq!(
        (&zoom["active"], &wiki["active"]),
        (&json!(false), &json!(false))
    );
    for name in ["zoom", "wiki"] {
        let (operation, status) = told(&house, "ada@", name).remove(0);
        assert!(
            ["deactivate", "delete"].contains(&operation.as_str()),
            "{operation}"
        );
        assert_eq!(status, Status::Success, "{name}");
    }
    if let Some((_, base)) = &third {
        assert_eq!(in_shop(base).await, 1);
        assert_eq!(
            told(&house, "ada@", "shop")[0],
            (String::from("delete"), Status::Success)
        );
    }
    assert_eq!(told(&house, "eve@", "wiki")[0].1, Status::Skipped);
}

/// How many people there are at the foreign server.
async fn in_shop(base: &str) -> u64 {
    let users = Knock::at(base.to_owned()).ask("GET", "/Users", None).await;
    users.expect(200).body["totalResults"]
        .as_u64()
        .expect("a number")
}

async fn with_sick(sick: What, more: &str) -> (House, Sandbox) {
    let other = second("sandbox-token");
    let tables = one_more("wiki", "zoom", &other.base_url(), more);
    let house = House::with(Plan {
        tables,
        ..Plan::default()
    })
    .await;
    house.sandbox.state().fail_next(Fault {
        calls: 100_000,
        matching: None,
        what: sick,
    });
    (house, other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_costs_a_client_its_wait_at_most_and_the_others_nothing() {
    let (house, other) = with_sick(What::Hold, "").await;
    let (mut waited, mut at_once) = (0, 0);
    for n in 0..10 {
        let name = format!("u{n}@x.example");
        let body = user(&name);
        // The clock stands until this one's own call hangs, so that only what the gateway waits for is counted.
        let hangs = async {
            let is_ours = |call: &Seen| {
                let body = call.body.as_ref();
                body.is_some_and(|body| body["userName"] == name.as_str())
            };
            while !house.sandbox.state().calls().iter().any(is_ours) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let asked = house.ask("POST", "/Users", Some(&body));
        tokio::pin!(asked);
        let answer = tokio::select! {
            answer = &mut asked => {
                at_once += 1;
                answer
            }
            () = hangs => {
                waited += 1;
                house.clock.advance(SECOND * 4);
                let answered = tokio::time::timeout(PATIENCE, asked).await;
                answered.expect("an answer when its wait is over")
            }
        };
        answer.expect(201);
    }
    assert_eq!(waited + at_once, 10);
    assert!(waited > 0, "nobody's call hung");
    // After some calls without an answer it counts as unavailable, and nobody waits for it.
    assert!(at_once > 0, "everybody waited");
    let tick = Duration::from_millis(10);
    let took = until(&house, tick, "the other's accounts", || {
        marks(&house, "wiki") == 0
    })
    .await;
    assert!(took <= SECOND * 5, "{took:?}");
    assert_eq!(other.state().accounts().len(), 10);
}

/// What is wrong with the first application, and how: the queue of the second goes on as if it were well, for those too
/// whose call hangs at the first.
async fn the_others_queue_goes_on(sick: What, told: &str) {
    let other = second("sandbox-token");
    let queued = "delivery = \"queued\"";
    // Two slots, for forty people: whoever kept one waiting would show.
    let pace = "[application.pace]\nlight = { per_second = 100000 }\nmedium = { per_second = 100000 }\nconcurrency = 2";
    let house = House::with(Plan {
        application: String::from(queued),
        pace: Some((100_000, 100_000, 2)),
        tables: one_more(
            "wiki",
            "zoom",
            &other.base_url(),
            &format!("{queued}\n{pace}"),
        ),
        ..Plan::default()
    })
    .await;
    house.sandbox.state().fail_next(Fault {
        calls: 100_000,
        matching: None,
        what: sick,
    });
    for n in 0..40 {
        let body = user(&format!("u{n}@x.example"));
        house.ask("POST", "/Users", Some(&body)).await.expect(201);
    }
    let tick = Duration::from_millis(10);
    let quiet = || marks(&house, "wiki") == 0;
    let took = until(&house, tick, "the other's accounts", quiet).await;
    assert!(took <= SECOND * 10, "{told}: {took:?}");
    assert_eq!(other.state().accounts().len(), 40, "{told}");
    assert_eq!(marks(&house, "zoom"), 40, "{told}: nothing is forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_hangs_keeps_no_place_of_the_others() {
    the_others_queue_goes_on(What::Hold, "hangs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_down_or_refuses_us_stops_alone() {
    for (status, told) in [(503, "down"), (401, "refused")] {
        let sick = What::Status {
            status,
            retry_after: None,
            body: None,
        };
        the_others_queue_goes_on(sick, told).await;
    }
}
