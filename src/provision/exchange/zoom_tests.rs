use serde_json::json;

use super::*;
use crate::provision::plan::{Facts, plan_with};
use crate::scim::{Handle, Id, Kind, Resource};

const NOW: Timestamp = Timestamp(1_795_465_845_000);
const NAME: &str = "ada@x.example";

fn application(lines: &str) -> Application {
    let text = format!(
        r#"
[[client]]
name = "okta"
token_sha256 = ["{}"]
[[application]]
name = "zoom"
profile = "zoom"
credentials = {{ kind = "bearer", token = {{ env = "T" }} }}
{lines}
"#,
        "0".repeat(64)
    );
    let origin = std::path::Path::new("usher.toml");
    let config = crate::config::parse(&text, origin, &|_| Some(String::from("token")));
    let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
    Application::compile(config.applications[0].clone())
}

fn account() -> Map<String, Value> {
    let account = json!({
        "userName": NAME, "displayName": "Ada King", "active": true,
        "emails": [{"type": "work", "value": NAME, "primary": true}],
        "name": {"givenName": "Ada", "familyName": "King"},
    });
    account.as_object().unwrap().clone()
}

fn shown(changes: &[(&str, Value)]) -> Value {
    let mut shown = account();
    shown.insert("id".into(), "k&1".into());
    for (key, value) in changes {
        shown.insert((*key).into(), value.clone());
    }
    Value::Object(shown)
}

fn reply(status: u16, body: &Value) -> Answer {
    Answer::reply(status, &body.to_string(), None)
}

/// Runs a dialogue with these answers in turn: the calls, what each answer showed of the application, the outcome.
fn run(
    act: Act,
    link: Option<Link>,
    answers: &[Answer],
) -> (Vec<String>, Vec<pace::Heard>, Outcome) {
    run_with("", act, link, answers)
}

fn run_with(
    lines: &str,
    act: Act,
    link: Option<Link>,
    answers: &[Answer],
) -> (Vec<String>, Vec<pace::Heard>, Outcome) {
    let application = application(lines);
    let mut exchange = Exchange::begin(&application, act, link, NOW);
    let (mut calls, mut heard, mut answers) = (Vec::new(), Vec::new(), answers.iter());
    loop {
        match exchange.step() {
            Step::Call(call) => {
                calls.push(format!("{} {}", call.method.as_str(), call.path));
                let answer = answers.next().unwrap_or_else(|| panic!("{calls:?}"));
                heard.push(exchange.hear(answer, NOW));
            }
            Step::Claim(_) => exchange.claimed(None),
            Step::End(outcome) => return (calls, heard, *outcome),
        }
    }
}

fn give() -> Act {
    Act::Give { account: account() }
}

fn update() -> Act {
    Act::Update { account: account() }
}

#[test]
fn a_create_whose_read_failed_is_read_again_and_not_written_again() {
    let refused = [
        reply(429, &json!({})),
        reply(403, &json!({"detail": "insufficient permissions"})),
        Answer::NotSent("no route".into()),
        Answer::Lost("no answer".into()),
    ];
    for failed in refused {
        let answers = [reply(201, &shown(&[])), failed];
        let (calls, _, made) = run(give(), None, &answers);
        assert_eq!(calls, ["POST /Users", "GET /Users/k%261"]);
        let link = made.link.unwrap();
        assert_eq!((made.end, link.state), (End::Done, State::Unseen));

        // It is there: nothing more goes.
        let (calls, _, read) = run(update(), Some(link.clone()), &[reply(200, &shown(&[]))]);
        assert_eq!(calls, ["GET /Users/k%261"]);
        assert_eq!(
            (&read.end, read.link.unwrap().state),
            (&End::Done, State::Active)
        );
        assert!(read.dropped.is_empty());

        // What was dropped is found out all the same.
        let other = shown(&[("displayName", "A. King".into())]);
        let (calls, _, read) = run(update(), Some(link.clone()), &[reply(200, &other)]);
        assert_eq!(
            (calls.len(), read.dropped),
            (1, vec![String::from("displayName")])
        );

        // It is an invitation.
        let denied = reply(404, &json!({"detail": "User does not exist."}));
        let (_, _, read) = run(update(), Some(link.clone()), &[denied]);
        assert!(matches!(read.end, End::Pending(_)), "{:?}", read.end);
        assert_eq!(read.link.unwrap().state, State::Pending);

        // It is to go, and is gone already.
        let denied = reply(404, &json!({"detail": "User does not exist."}));
        let (_, _, gone) = run(Act::Delete, Some(link.clone()), &[denied]);
        assert_eq!((gone.end, gone.link), (End::Done, None));

        // Changed meanwhile: then it is written.
        let mut account = account();
        account.insert("displayName".into(), "Augusta King".into());
        let answers = [
            reply(200, &shown(&[])),
            reply(200, &shown(&[("displayName", "Augusta King".into())])),
        ];
        let (calls, _, written) = run(Act::Update { account }, Some(link), &answers);
        assert_eq!(calls, ["GET /Users/k%261", "PUT /Users/k%261"]);
        assert_eq!(written.end, End::Done);
    }
}

#[test]
fn a_read_that_is_still_to_come_is_planned_whatever_the_update_switch_says() {
    let (_, _, made) = run(
        give(),
        None,
        &[reply(201, &shown(&[])), reply(429, &json!({}))],
    );
    let off = application("[application.users]\nupdate = false");
    let user = Resource {
        handle: Handle(1),
        id: Id::from("u"),
        kind: Kind::User,
        version: 1,
        created: NOW,
        modified: NOW,
        owner: String::from("okta"),
        deleted: None,
        attributes: account(),
        links: Vec::new(),
    };
    let decision = plan_with(&off, Facts::of(&user, NOW), made.link.clone());
    assert!(matches!(decision.act, Act::Update { .. }), "{decision:?}");
    let mut changed = user;
    changed
        .attributes
        .insert("displayName".into(), "Other".into());
    let decision = plan_with(&off, Facts::of(&changed, NOW), made.link);
    assert_eq!(decision.act, Act::Nothing);
}

#[test]
fn an_account_that_exists_and_is_not_shown_yet_is_looked_up_by_its_name_when_it_is_to_go() {
    let none = json!({"totalResults": 0, "Resources": []});
    let exists = json!({"detail": "The user already exists"});
    // By any status: none of them says that the application is away.
    for status in [409, 403, 400] {
        let answers = [reply(status, &exists), reply(200, &none)];
        let (calls, heard, outcome) = run(give(), None, &answers);
        assert_eq!(calls, ["POST /Users", "GET /Users"], "{status}");
        assert_eq!(heard, [pace::Heard::Well, pace::Heard::Well], "{status}");
        assert!(matches!(outcome.end, End::Later(_)), "{status}");

        let found = json!({"totalResults": 1, "Resources": [shown(&[])]});
        let off = shown(&[("active", false.into())]);
        let answers = [reply(200, &found), reply(200, &off)];
        let (calls, _, gone) = run(Act::Deactivate, outcome.link, &answers);
        assert_eq!(calls, ["GET /Users", "PATCH /Users/k%261"], "{status}");
        assert_eq!(gone.end, End::Done, "{status}");
    }
}

#[test]
fn the_last_look_at_the_door() {
    // Planned when nothing was known of it; the account is the owner's by now.
    let (_, _, made) = run(
        give(),
        None,
        &[reply(201, &shown(&[])), reply(200, &shown(&[]))],
    );
    let mut link = made.link.unwrap();
    link.uncertain = Some(Uncertain {
        intended: NOW,
        sent: NOW,
    });
    let update = Act::Update { account: account() };
    let owner = shown(&[("userName", "owner@x.example".into())]);
    let lines = "[application.safety]\nprotected = [\"Owner@*\"]";
    let answers = [reply(200, &owner)];
    let (calls, _, outcome) = run_with(lines, update, Some(link.clone()), &answers);
    assert_eq!(calls, ["GET /Users/k%261"]);
    assert_eq!(outcome.end, End::Protected);

    link.uncertain = None;
    link.seen_name = Some(String::from("owner@x.example"));
    for act in [Act::Deactivate, Act::Delete] {
        let (calls, _, outcome) = run_with(lines, act, Some(link.clone()), &[]);
        assert_eq!((calls.len(), outcome.end), (0, End::Protected));
    }
    link.seen_name = Some(String::from(NAME));
    link.origin = Origin::Imported;
    for act in [Act::Deactivate, Act::Delete] {
        let (calls, _, outcome) = run_with(lines, act, Some(link.clone()), &[]);
        assert_eq!((calls.len(), outcome.end), (0, End::Unclaimed));
    }
}
