use serde_json::{Value, json};

use super::super::plan::tests::{application, link, scim};
use super::super::weigh::{Left, weigh_members};
use super::*;
use crate::clock::Timestamp;
use crate::journal::record::Status;
use crate::provision::link::Origin;

fn known(member: bool, account: &str, sent: &str, sure: bool) -> Known {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Known {
        member,
        account: some(account),
        sent: some(sent).map(|remote_id| Sent { remote_id, sure }),
        passed_on: false,
        held: true,
    }
}

#[test]
fn what_differs() {
    let add = |id: &str| Difference::Add(id.to_owned());
    let remove = |id: &str| Difference::Remove(id.to_owned());
    for (known, wanted) in [
        (known(false, "a", "", true), Difference::None),
        (known(true, "", "", true), Difference::None),
        (known(true, "a", "", true), add("a")),
        (known(true, "a", "a", true), Difference::None),
        // The answer is missing: it is sent again, whichever way.
        (known(true, "a", "a", false), add("a")),
        (known(false, "a", "a", false), remove("a")),
        (known(false, "a", "a", true), remove("a")),
        // The account went to somebody else, who is no member.
        (known(false, "", "a", true), remove("a")),
        (known(true, "b", "a", true), remove("a")),
    ] {
        assert_eq!(difference(&known), wanted, "{known:?}");
    }
    let passed_on = |member, account| Known {
        passed_on: true,
        ..known(member, account, "a", true)
    };
    let gone = |member, account| Known {
        held: false,
        ..known(member, account, "a", true)
    };
    for known in [passed_on, gone] {
        assert_eq!(difference(&known(false, "")), Difference::Forget);
        assert_eq!(difference(&known(true, "")), Difference::Forget);
        assert_eq!(difference(&known(true, "b")), add("b"));
    }
}

fn changes(count: u64, removed: u64) -> Vec<Change> {
    (1..=count)
        .map(|n| Change {
            member: Handle(n),
            remote_id: format!("r{n}"),
            adding: n > removed,
            doubt: Some(Doubt {
                member: Handle(n),
                generation: n,
                refused: false,
            }),
        })
        .collect()
}

fn reply(status: u16, detail: &str) -> Answer {
    let body = if detail.is_empty() {
        Vec::new()
    } else {
        json!({ "detail": detail }).to_string().into_bytes()
    };
    Answer::Reply {
        status,
        body,
        retry_after: None,
        limits: crate::provision::call::Limits::default(),
    }
}

/// The ids that a call names, and whether it adds them.
fn named(call: &Call) -> (bool, Vec<String>) {
    let body: Value = serde_json::from_slice(call.body.as_deref().unwrap_or(b"null")).unwrap();
    let operations = body["Operations"].as_array().unwrap().clone();
    let adding = operations[0]["op"] == "add";
    let ids = if adding {
        let members = operations[0]["value"].as_array().unwrap();
        let id = |member: &Value| member["value"].as_str().unwrap().to_owned();
        members.iter().map(id).collect()
    } else {
        let id = |operation: &Value| {
            let path = operation["path"].as_str().unwrap();
            path.split('"').nth(1).unwrap().to_owned()
        };
        operations.iter().map(id).collect()
    };
    (adding, ids)
}

/// Runs a dialogue against a server: its outcome, what is kept of it, and how many calls it took.
fn run(changes: &[Change], server: impl FnMut(&Call) -> Answer) -> (Outcome, SentEdit, usize) {
    run_at(&application("", ""), changes, server)
}

fn run_at(
    application: &Application,
    changes: &[Change],
    mut server: impl FnMut(&Call) -> Answer,
) -> (Outcome, SentEdit, usize) {
    let mut exchange = Exchange::begin(application, "g", changes);
    let mut calls = 0;
    while let Some(call) = exchange.step() {
        calls += 1;
        exchange.hear(&server(&call));
    }
    let outcome = exchange.end(None);
    let edit = kept("zoom", Handle(9), changes, &outcome);
    (outcome, edit, calls)
}

#[test]
fn chunks_go_out_whole_and_removals_first() {
    let changes = changes(250, 30);
    let mut seen = Vec::new();
    let (outcome, edit, calls) = run(&changes, |call| {
        let (adding, ids) = named(call);
        seen.push((adding, ids.len()));
        reply(204, "")
    });
    assert_eq!(seen, [(false, 30), (true, 100), (true, 100), (true, 20)]);
    assert_eq!((outcome.added, outcome.removed, calls), (220, 30, 4));
    assert!(!outcome.open && outcome.end == End::Done);
    assert_eq!(edit.settled.len(), 250);
    let sure = |(_, sent): &&(Handle, Option<Sent>)| sent.as_ref().is_some_and(|sent| sent.sure);
    assert_eq!(edit.rows.iter().filter(sure).count(), 220);
    assert_eq!(edit.rows.len(), 250);
}

#[test]
fn a_lost_answer_leaves_its_chunk_unsure_and_the_rest_unsent() {
    let changes = changes(250, 0);
    let mut calls = 0;
    let (outcome, edit, _) = run(&changes, |_| {
        calls += 1;
        match calls {
            1 => reply(204, ""),
            _ => Answer::Lost(String::from("cut")),
        }
    });
    assert_eq!(calls, 2);
    assert_eq!(outcome.end, End::Unknown(String::from("cut")));
    assert!(outcome.open);
    assert_eq!(edit.settled.len(), 100);
    let unsure = |(_, sent): &&(Handle, Option<Sent>)| sent.as_ref().is_some_and(|sent| !sent.sure);
    assert_eq!(edit.rows.iter().filter(unsure).count(), 100);
    assert_eq!(edit.rows.len(), 200);
}

#[test]
fn one_whom_the_application_does_not_take_keeps_nobody_else_out() {
    let changes = changes(100, 0);
    let (outcome, edit, calls) = run(&changes, |call| {
        let (_, ids) = named(call);
        if ids.iter().any(|id| id == "r42") {
            reply(400, "r42 is odd")
        } else {
            reply(204, "")
        }
    });
    assert_eq!((outcome.added, outcome.refused), (99, 1));
    assert_eq!(outcome.said.as_deref(), Some("r42 is odd"));
    assert_eq!(edit.refused, [Handle(42)]);
    assert!(edit.rows.iter().all(|(member, _)| *member != Handle(42)));
    assert!(calls <= 15, "{calls}");

    // One that refuses everything is not asked for ever.
    let (outcome, _, calls) = run(&changes, |_| reply(400, "no"));
    assert_eq!((outcome.added, outcome.refused), (0, 100));
    assert!(calls <= 2 * SEARCH + 1, "{calls}");
}

#[test]
fn whom_we_may_not_bring_in_is_told_once_and_keeps_nobody_else_out() {
    let changes = changes(100, 0);
    let weighed = |application: &Application, odd: u16| {
        let (outcome, edit, calls) = run_at(application, &changes, |call| {
            let (_, ids) = named(call);
            let has = |id: &str| ids.iter().any(|there| there == id);
            match (has("r42"), has("r43") && odd > 0) {
                (true, _) => reply(403, "r42 is the owner"),
                (_, true) => reply(odd, "r43 is odd"),
                _ => reply(204, ""),
            }
        });
        assert!(edit.refused.contains(&Handle(42)) && calls <= 25, "{calls}");
        let left = Left::default();
        let link = Some(link(Some("g"), Origin::Created));
        let weighed = weigh_members(application, link, &outcome, left, 0, Timestamp(0), 7);
        assert_eq!(weighed.delivery.status, Status::Warning);
        let code = weighed.delivery.code.unwrap_or_default();
        (outcome.refused, code, weighed.mark.is_some())
    };
    let told = |refused, code: &str, again| (refused, code.to_owned(), again);
    assert_eq!(weighed(&scim(), 0), told(1, "unsupported", false));
    // Another one is worth another try.
    assert_eq!(weighed(&scim(), 400), told(2, "refused", true));
    // At Zoom a permission of the role is missing, and somebody may give it.
    assert_eq!(weighed(&application("", ""), 0), told(1, "refused", true));
}

#[test]
fn not_found_is_asked_about_before_it_is_believed() {
    let there = |call: &Call| {
        assert_eq!(
            (call.method.as_str(), call.path.as_str()),
            ("GET", "/Groups/g")
        );
        Answer::Reply {
            status: 200,
            body: br#"{"id":"g"}"#.to_vec(),
            retry_after: None,
            limits: crate::provision::call::Limits::default(),
        }
    };
    // The group is gone.
    let (outcome, edit, _) = run(&changes(3, 0), |_| reply(404, ""));
    assert_eq!(outcome.end, End::Gone);
    assert_eq!(edit.rows, []);
    // A member is: what a removal wants is so already.
    let (outcome, edit, _) = run(&changes(1, 1), |call| match call.body {
        Some(_) => reply(404, ""),
        None => there(call),
    });
    assert_eq!((outcome.end, outcome.removed), (End::Done, 1));
    assert_eq!(edit.rows, [(Handle(1), None)]);
    let (outcome, ..) = run(&changes(1, 0), |call| match call.body {
        Some(_) => reply(404, "no such user"),
        None => there(call),
    });
    assert_eq!((outcome.end, outcome.refused), (End::Done, 1));
}

#[test]
fn what_stands_if_nobody_lives_is_unsure() {
    let edit = unknown("zoom", Handle(9), &changes(2, 1));
    for (_, sent) in edit.rows {
        assert!(!sent.expect("a row").sure);
    }
    assert_eq!(edit.settled, []);
}

#[test]
fn who_cannot_be_taken_out_stays_and_the_others_come_in() {
    let changes = changes(270, 150);
    let (outcome, edit, calls) = run(&changes, |call| match named(call) {
        (true, _) => reply(204, ""),
        (false, _) => reply(501, ""),
    });
    // One call found it out, and two brought the others in.
    assert_eq!(calls, 3);
    assert_eq!(
        (outcome.added, outcome.removed, outcome.staying),
        (120, 0, 150)
    );
    assert!(!outcome.open && outcome.end == End::Done);
    assert_eq!((edit.settled.len(), edit.rows.len()), (270, 120));

    // Known, it is not asked again.
    let application = application("", "");
    let mut exchange = Exchange::with(&application, "g", &changes, false);
    while let Some(call) = exchange.step() {
        assert!(named(&call).0);
        exchange.hear(&reply(204, ""));
    }
    assert_eq!(exchange.end(None).staying, 150);
    // An application that takes no members at all is another matter.
    let (outcome, _, calls) = run(&changes, |_| reply(501, ""));
    assert_eq!(calls, 2);
    assert!(matches!(outcome.end, End::Unsupported(_)));
}
