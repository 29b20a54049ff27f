use serde_json::json;

use super::super::plan::Decision;
use super::super::plan::tests::{application, body, link, scim};
use super::super::weigh::weigh;
use super::*;

const NOW: Timestamp = Timestamp(1_000_000);

fn reply(status: u16, body: &Value) -> Answer {
    Answer::reply(status, &body.to_string(), None)
}

fn shown(id: &str, name: &str, created: &str) -> Value {
    json!({ "id": id, "displayName": name, "meta": { "created": created } })
}

fn list(groups: &[Value]) -> Answer {
    reply(
        200,
        &json!({ "totalResults": groups.len(), "Resources": groups }),
    )
}

fn give() -> Act {
    Act::Give {
        body: body("Staff"),
    }
}

/// Runs a dialogue with these answers in turn, nobody else holding anything: the calls and the outcome.
fn run(
    lines: &str,
    act: Act,
    link: Option<Link>,
    now: Timestamp,
    answers: Vec<Answer>,
) -> (Vec<String>, Outcome) {
    run_at(&application("", lines), act, link, now, answers)
}

fn run_at(
    application: &Application,
    act: Act,
    link: Option<Link>,
    now: Timestamp,
    answers: Vec<Answer>,
) -> (Vec<String>, Outcome) {
    let mut exchange = Exchange::begin(application, act, Operation::Create, link, NOW);
    let (mut calls, mut answers) = (Vec::new(), answers.into_iter());
    loop {
        match exchange.step() {
            Step::Call(call) => {
                calls.push(format!("{} {}", call.method.as_str(), call.path));
                let answer = answers.next().unwrap_or_else(|| panic!("{calls:?}"));
                exchange.hear(&answer, now);
            }
            Step::Claim(id) => exchange.claimed((id == "theirs").then_some("Others")),
            Step::End(outcome) => {
                assert_eq!(answers.next(), None, "{calls:?}");
                return (calls, *outcome);
            }
        }
    }
}

#[test]
fn it_is_looked_for_then_created() {
    let made = reply(201, &shown("r", "Staff", "2026-01-01T00:00:00Z"));
    // A server that ignores the filter shows others.
    let (calls, outcome) = run(
        "",
        give(),
        None,
        NOW,
        vec![list(&[shown("x", "Other", "")]), made],
    );
    assert_eq!(calls, ["GET /Groups", "POST /Groups"]);
    let link = outcome.link.unwrap();
    assert_eq!(
        (outcome.end, outcome.operation),
        (End::Done, Operation::Create)
    );
    assert_eq!(
        (link.remote_id.as_deref(), link.origin),
        (Some("r"), Origin::Created)
    );
    assert_eq!(link.sent, Some(body("Staff")));
}

#[test]
fn what_is_there_is_adopted_unless_it_is_anothers() {
    let there = |id: &str| list(&[shown(id, "STAFF", "2020-01-01T00:00:00Z")]);
    let (calls, outcome) = run("", give(), None, NOW, vec![there("r")]);
    assert_eq!(calls, ["GET /Groups"]);
    assert_eq!(outcome.operation, Operation::Adopt);
    assert_eq!(outcome.link.unwrap().origin, Origin::Adopted);

    let (_, outcome) = run("", give(), None, NOW, vec![there("theirs")]);
    assert_eq!(outcome.link, None);
    let End::Refused { code, detail } = outcome.end else {
        panic!("{:?}", outcome.end);
    };
    assert_eq!((code, detail.contains("Others")), ("exists", true));

    // The next one of the name is free.
    let two = list(&[
        shown("theirs", "Staff", "2020-01-01T00:00:00Z"),
        shown("r", "Staff", "2021-01-01T00:00:00Z"),
    ]);
    let (_, outcome) = run("", give(), None, NOW, vec![two]);
    assert_eq!(outcome.link.unwrap().remote_id.as_deref(), Some("r"));

    let (_, outcome) = run("adopt = false", give(), None, NOW, vec![there("r")]);
    assert_eq!(outcome.link, None);
    assert!(matches!(outcome.end, End::Refused { code: "exists", .. }));
}

#[test]
fn a_lost_create_is_looked_for_and_never_repeated_blindly() {
    let lost = || Answer::Lost(String::from("cut"));
    let (calls, outcome) = run("", give(), None, NOW, vec![list(&[]), lost(), list(&[])]);
    assert_eq!(calls, ["GET /Groups", "POST /Groups", "GET /Groups"]);
    let doubtful = outcome.link.unwrap();
    assert!(doubtful.uncertain.is_some() && doubtful.remote_id.is_none());
    let End::Later(at) = outcome.end else {
        panic!("{:?}", outcome.end);
    };
    // Before then a miss says nothing; after it, it is made.
    let again = |now, answers| run("", give(), Some(doubtful.clone()), now, answers);
    let early = Timestamp(at.0 - 1);
    assert_eq!(again(early, vec![list(&[])]).1.end, End::Later(at));
    let made = reply(201, &shown("r", "Staff", "2026-01-01T00:00:00Z"));
    assert_eq!(again(at, vec![list(&[]), made]).0.len(), 2);
    // What came to be is ours, and not adopted.
    let ours = list(&[shown("r", "Staff", "1970-01-01T00:16:41Z")]);
    assert_eq!(
        again(early, vec![ours]).1.link.unwrap().origin,
        Origin::Created
    );
    // Deleted meanwhile: ours goes, one that was there before does not.
    let ours = list(&[shown("r", "Staff", "1970-01-01T00:16:41Z")]);
    let gone = |answers| run("", Act::Delete, Some(doubtful.clone()), early, answers);
    let (calls, outcome) = gone(vec![ours, reply(204, &Value::Null)]);
    assert_eq!((calls.len(), outcome.link), (2, None));
    let older = list(&[shown("r", "Staff", "1970-01-01T00:00:00Z")]);
    let (calls, outcome) = gone(vec![older]);
    assert_eq!((calls.len(), outcome.link), (1, None));
}

#[test]
fn a_group_that_is_gone_there_is_made_again_and_a_removal_is_content() {
    let linked = || Some(link(Some("r"), Origin::Created));
    let update = Act::Update { body: body("New") };
    let gone = || reply(404, &json!({ "detail": "Group does not exist." }));
    let made = reply(201, &shown("r2", "New", "2026-01-01T00:00:00Z"));
    let (calls, outcome) = run("", update, linked(), NOW, vec![gone(), list(&[]), made]);
    assert_eq!(calls, ["PATCH /Groups/r", "GET /Groups", "POST /Groups"]);
    assert_eq!(outcome.link.unwrap().remote_id.as_deref(), Some("r2"));
    let (_, outcome) = run("", Act::Delete, linked(), NOW, vec![gone()]);
    assert_eq!((outcome.end, outcome.link), (End::Done, None));
}

#[test]
fn a_refused_deletion_is_noted_and_a_forbidden_one_is_tried_again() {
    for (status, kept) in [(400, true), (403, false)] {
        let answer = reply(
            status,
            &json!({ "detail": "Cannot delete account default group." }),
        );
        let linked = Some(link(Some("r"), Origin::Created));
        let (_, outcome) = run("", Act::Delete, linked, NOW, vec![answer]);
        assert_eq!(outcome.link.unwrap().kept, kept, "{status}");
        assert!(matches!(outcome.end, End::Refused { .. }));
    }
}

#[test]
fn what_a_server_does_not_do_with_a_group_is_told_once() {
    let server = scim();
    let no = |status| reply(status, &json!({ "detail": "no" }));
    for (act, answers) in [
        (Act::Update { body: body("New") }, vec![no(403)]),
        (Act::Update { body: body("New") }, vec![no(405), no(403)]),
        (Act::Update { body: body("New") }, vec![no(501), no(405)]),
        (Act::Delete, vec![no(403)]),
        (Act::Delete, vec![no(405)]),
        (Act::Delete, vec![no(501)]),
    ] {
        let linked = Some(link(Some("r"), Origin::Created));
        let (calls, outcome) = run_at(&server, act.clone(), linked.clone(), NOW, answers);
        let decision = Decision {
            operation: outcome.operation,
            act,
            link: linked,
            note: None,
        };
        let weighed = weigh(&server, &decision, outcome, |_| false, 0, NOW, 7);
        let told = weighed.delivery.code.as_deref();
        assert_eq!(
            (told, weighed.mark),
            (Some("unsupported"), None),
            "{calls:?}"
        );
    }
}

#[test]
fn the_intent_says_that_nobody_knows() {
    let application = application("", "");
    let link = unknown(&application, &give(), None, NOW).unwrap();
    assert_eq!(link.uncertain.unwrap().intended, NOW);
    assert_eq!(link.seen_name.as_deref(), Some("Staff"));
}
