//! The dialogue with any SCIM server. Zoom's is tested through the gateway.

use serde_json::json;

use super::*;
use crate::provision::plan::{Act, Facts, plan};
use crate::provision::weigh;
use crate::scim::{Handle, Kind, Resource};

const NOW: Timestamp = Timestamp(1_000_000);

fn application_at(base_url: &str) -> Application {
    let text = format!(
        r#"
[[client]]
name = "okta"
token_sha256 = ["{}"]
[[application]]
name = "app"
profile = "scim"
base_url = "{base_url}"
credentials = {{ kind = "bearer", token = {{ env = "T" }} }}
[application.users]
delete_after = "0s"
"#,
        "0".repeat(64)
    );
    let origin = std::path::Path::new("usher.toml");
    let config = crate::config::parse(&text, origin, &|_| Some(String::from("token")));
    let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
    Application::compile(config.applications[0].clone())
}

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn account() -> Map<String, Value> {
    map(&json!({"userName": "ada@x.example", "displayName": "Ada", "active": true}))
}

fn linked(sent: Option<Value>) -> Option<Link> {
    Some(Link {
        application: String::from("app"),
        remote_id: Some(String::from("7")),
        origin: Origin::Created,
        state: State::Active,
        uncertain: None,
        sent: sent.as_ref().map(map),
        seen_name: Some(String::from("ada@x.example")),
        dropped: Vec::new(),
        fresh: false,
        removal: None,
        kept: false,
        untaken: None,
    })
}

fn reply(status: u16, body: Value) -> Answer {
    Answer::reply(status, &body.to_string(), None)
}

fn done() -> Answer {
    Answer::reply(204, "", None)
}

fn user(id: &str, name: &str) -> Value {
    json!({"id": id, "userName": name, "nickName": "n", "active": true})
}

fn page(total: usize, users: &[Value]) -> Answer {
    reply(200, json!({"totalResults": total, "Resources": users}))
}

struct Ran {
    calls: Vec<String>,
    bodies: Vec<Value>,
    capabilities: Capabilities,
    outcome: Outcome,
}

fn run(act: Act, link: Option<Link>, knowing: Capabilities, answers: Vec<Answer>) -> Ran {
    let application = application_at("https://app.example/scim");
    let mut exchange = Exchange::begin(&application, act, link, NOW).knowing(knowing);
    let (mut calls, mut bodies, mut answers) = (Vec::new(), Vec::new(), answers.into_iter());
    loop {
        match exchange.step() {
            Step::Call(call) => {
                let query = call.query.unwrap_or_default();
                let from = query
                    .split('&')
                    .find(|part| part.starts_with("startIndex="));
                let from = from
                    .filter(|_| !query.contains("filter"))
                    .unwrap_or_default();
                calls.push(format!("{} {} {from}", call.method.as_str(), call.path));
                bodies.extend(call.body.map(|body| serde_json::from_slice(&body).unwrap()));
                let answer = answers.next().unwrap_or_else(|| panic!("{calls:?}"));
                exchange.hear(&answer, NOW);
            }
            Step::Claim(_) => exchange.claimed(None),
            Step::End(outcome) => {
                assert_eq!(answers.next(), None, "{calls:?}");
                let calls = calls.iter().map(|call| call.trim_end().to_owned());
                return Ran {
                    calls: calls.collect(),
                    bodies,
                    capabilities: exchange.capabilities(),
                    outcome: *outcome,
                };
            }
        }
    }
}

/// What is wanted is what was sent last, and somebody else's value stands there: a lost change that was taken back, or an
/// administrator's.
#[test]
fn what_is_in_doubt_is_written_whole_once_it_is_read() {
    let mut link = linked(Some(Value::Object(account()))).unwrap();
    link.uncertain = Some(Uncertain {
        intended: NOW,
        sent: NOW,
    });
    let update = || Act::Update { account: account() };
    let shown = |display: &str| {
        reply(
            200,
            json!({"id": "7", "userName": "ada@x.example", "displayName": display, "active": true}),
        )
    };
    let tried = Capabilities::default();
    let answers = vec![shown("Eve"), done()];
    let ran = run(update(), Some(link.clone()), tried, answers);
    assert_eq!(ran.calls, ["GET /Users/7", "PATCH /Users/7"]);
    let operations = ran.bodies[0]["Operations"].as_array().unwrap();
    let named = json!({"op": "replace", "path": "displayName", "value": "Ada"});
    assert!(operations.contains(&named), "{operations:?}");
    assert_eq!(ran.outcome.end, End::Done);
    assert_eq!(ran.outcome.link.unwrap().uncertain, None);
    let ran = run(update(), Some(link.clone()), tried, vec![shown("Ada")]);
    assert_eq!(ran.calls, ["GET /Users/7"], "it is as it should be");
    assert_eq!(ran.outcome.link.unwrap().uncertain, None);

    // Read, and not written any more: the next one reads again.
    let application = application_at("https://app.example/scim");
    let mut exchange = Exchange::begin(&application, update(), Some(link), NOW);
    assert!(matches!(exchange.step(), Step::Call(_)));
    exchange.hear(&shown("Eve"), NOW);
    assert!(matches!(exchange.step(), Step::Call(_)));
    let late = exchange.put_off("no time is left", Duration::from_secs(1));
    assert!(late.link.unwrap().uncertain.is_some());
}

#[test]
fn what_changed_is_patched_and_what_is_not_taken_is_put_back_whole() {
    let update = || Act::Update { account: account() };
    let sent = || {
        linked(Some(
            json!({"userName": "ada@x.example", "displayName": "A", "active": true}),
        ))
    };
    let tried = Capabilities::default();
    let ran = run(update(), sent(), tried, vec![done()]);
    assert_eq!(ran.calls, ["PATCH /Users/7"]);
    let operation = json!([{"op": "replace", "path": "displayName", "value": "Ada"}]);
    assert_eq!(ran.bodies[0]["Operations"], operation);
    assert_eq!(ran.outcome.end, End::Done);

    for status in [405, 501] {
        let answers = vec![
            reply(status, json!({})),
            reply(200, user("7", "ada@x.example")),
            reply(
                200,
                json!({"id": "7", "userName": "ada@x.example", "displayName": "Ada"}),
            ),
        ];
        let ran = run(update(), sent(), tried, answers);
        assert_eq!(
            ran.calls,
            ["PATCH /Users/7", "GET /Users/7", "PUT /Users/7"]
        );
        assert_eq!(
            ran.bodies[1],
            json!({"id": "7", "userName": "ada@x.example", "nickName": "n", "active": true, "displayName": "Ada"})
        );
        let link = ran.outcome.link.unwrap();
        assert_eq!((ran.outcome.end, link.uncertain), (End::Done, None));
        assert_eq!(link.sent, Some(account()));
        assert!(ran.capabilities.puts_attributes);
    }
    // What it says itself spares the first call.
    let says = Capabilities {
        patch: Some(false),
        ..tried
    };
    let read = || reply(200, user("7", "ada@x.example"));
    let ran = run(update(), sent(), says, vec![read(), done()]);
    assert_eq!(ran.calls, ["GET /Users/7", "PUT /Users/7"]);
    let ran = run(Act::Deactivate, sent(), says, vec![read(), done()]);
    assert_eq!(ran.bodies[0]["active"], false);
    assert_eq!(ran.outcome.link.unwrap().state, State::Deactivated);
    // An answer that never came to the PUT: nobody knows.
    let ran = run(
        update(),
        sent(),
        says,
        vec![read(), Answer::Lost(String::from("gone"))],
    );
    assert!(matches!(ran.outcome.end, End::Unknown(_)));
    assert!(ran.outcome.link.unwrap().uncertain.is_some());
}

#[test]
fn what_cannot_be_had_at_all_is_told_once() {
    let application = application_at("https://app.example/scim");
    let mut ada = Resource {
        handle: Handle(1),
        id: "1".into(),
        kind: Kind::User,
        version: 1,
        created: NOW,
        modified: NOW,
        owner: String::from("okta"),
        deleted: None,
        attributes: account(),
        links: Vec::new(),
    };
    let decision = plan(&application, Facts::of(&ada, NOW));
    let answers = vec![reply(403, json!({"detail": "read only"}))];
    let ran = run(decision.act.clone(), None, Capabilities::default(), answers);
    assert_eq!(ran.outcome.end, End::Unsupported(String::from("read only")));
    let weighed = weigh::weigh(
        &application,
        Facts::of(&ada, NOW),
        &decision,
        ran.outcome,
        crate::provision::ladder::Tries {
            attempts: 0,
            outage: false,
            dice: 7,
        },
        NOW,
    );
    assert_eq!(weighed.mark, None, "not retried");
    assert_eq!(weighed.delivery.code.as_deref(), Some("unsupported"));
    ada.set_link("app", weighed.link);

    let note =
        |decision: &super::super::plan::Decision| decision.note.as_ref().map(|note| note.code);
    let again = plan(&application, Facts::of(&ada, NOW));
    assert_eq!(
        (&again.act, note(&again)),
        (&Act::Nothing, Some("unsupported"))
    );
    assert_eq!(again.link.as_ref(), ada.link("app"), "and stays noted");
    // Another day, another configuration, another Ada.
    let day = NOW.plus(Duration::from_secs(24 * 3600));
    assert!(matches!(
        plan(&application, Facts::of(&ada, day)).act,
        Act::Give { .. }
    ));
    let other = application_at("https://other.example/scim");
    assert!(matches!(
        plan(&other, Facts::of(&ada, NOW)).act,
        Act::Give { .. }
    ));
    let mut changed = ada.clone();
    changed
        .attributes
        .insert(String::from("displayName"), json!("Countess"));
    let decision = plan(&application, Facts::of(&changed, NOW));
    assert!(matches!(decision.act, Act::Give { .. }) && decision.link.is_none());
    // No account came to be: nothing is looked for, and nothing taken away.
    ada.deleted = Some(NOW);
    let gone = plan(&application, Facts::of(&ada, NOW));
    assert_eq!((gone.act, gone.link), (Act::Nothing, None));
}

/// Where not even reading is offered: nobody can be looked for, and nothing put back.
#[test]
fn what_cannot_be_read_is_told_once_too() {
    let tried = Capabilities::default();
    for status in [405, 501] {
        let no = || reply(status, json!({"detail": "write only"}));
        let give = Act::Give { account: account() };
        let ran = run(give, None, tried, vec![reply(409, json!({})), no(), no()]);
        assert_eq!(ran.calls[1..], ["GET /Users", "GET /Users startIndex=1"]);
        let told = End::Unsupported(String::from("write only"));
        let link = ran.outcome.link.unwrap();
        assert_eq!((ran.outcome.end, link.state), (told.clone(), State::Unborn));
        assert!(link.untaken.is_some() && link.uncertain.is_none());

        let update = Act::Update { account: account() };
        let ran = run(update, linked(None), tried, vec![no(), no()]);
        assert_eq!(ran.calls, ["PATCH /Users/7", "GET /Users/7"]);
        let link = ran.outcome.link.unwrap();
        assert_eq!(ran.outcome.end, told);
        assert!(link.untaken.is_some() && link.remote_id.as_deref() == Some("7"));
    }
}

#[test]
fn what_cannot_be_deleted_is_deactivated() {
    let tried = Capabilities::default();
    let answers = vec![reply(405, json!({"detail": "no"})), done()];
    let ran = run(Act::Delete, linked(None), tried, answers);
    assert_eq!(ran.calls, ["DELETE /Users/7", "PATCH /Users/7"]);
    assert!(matches!(ran.outcome.end, End::Unsupported(_)) && ran.outcome.effect);
    let link = ran.outcome.link.unwrap();
    assert_eq!(link.state, State::Deactivated);
    assert_eq!(link.untaken.unwrap().operation, Operation::Delete);
    // A right that is missing for everything stops everybody, and blames nobody.
    let link = Link {
        remote_id: None,
        ..linked(None).unwrap()
    };
    let ran = run(
        Act::Deactivate,
        Some(link),
        tried,
        vec![reply(403, json!({}))],
    );
    assert!(matches!(ran.outcome.end, End::Unavailable { .. }));
}

#[test]
fn an_account_is_found_without_a_filter() {
    let give = || Act::Give { account: account() };
    let taken = || reply(409, json!({}));
    let people = |from: usize, to: usize| -> Vec<Value> {
        (from..to)
            .map(|n| user(&n.to_string(), &format!("{n}@x.example")))
            .collect()
    };
    let mut second = people(100, 120);
    second.push(user("120", "ADA@x.example"));
    let first = || page(121, &people(0, 100));
    for filtered in [
        // It takes no filter, ignores it, or minds the case of letters.
        reply(400, json!({"scimType": "invalidFilter"})),
        reply(501, json!({})),
        first(),
        page(0, &[]),
    ] {
        let answers = vec![taken(), filtered, first(), page(121, &second), done()];
        let ran = run(give(), None, Capabilities::default(), answers);
        assert_eq!(
            ran.calls,
            [
                "POST /Users",
                "GET /Users",
                "GET /Users startIndex=1",
                "GET /Users startIndex=101",
                "PATCH /Users/120"
            ]
        );
        assert_eq!(ran.outcome.operation, Operation::Adopt);
    }
    // A server that knows no pages shows the same one again.
    let everybody = || page(500, &people(0, 100));
    let answers = vec![taken(), page(0, &[]), everybody(), everybody()];
    let ran = run(give(), None, Capabilities::default(), answers);
    assert!(
        matches!(ran.outcome.end, End::Later(_)),
        "{:?}",
        ran.outcome.end
    );
    // And one without end has one for us.
    let mut answers = vec![taken(), page(0, &[])];
    answers.extend((0..100).map(|n| page(1_000_000, &people(n * 100, n * 100 + 100))));
    let ran = run(give(), None, Capabilities::default(), answers);
    assert!(matches!(ran.outcome.end, End::Unavailable { .. }));
}
