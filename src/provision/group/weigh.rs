//! What follows from a decision about a group or from an exchange's outcome: the link, the journal's line, the mark.

use std::time::Duration;

use super::exchange::{self, Outcome};
use super::members;
use super::plan::{Act, Decision};
use crate::clock::Timestamp;
use crate::config::shape::Mode;
use crate::journal::record::{CallRecord, Delivery, Operation, Status};
use crate::provision::call::Call;
use crate::provision::link::Link;
use crate::provision::plan::Application;
use crate::provision::weigh::{Due, Weighed, back_off};
use crate::store::Lane;

/// What stays in the directory when a turn is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// More may differ, and nothing speaks against going on at once.
    pub more: bool,
    /// Members were refused, and stay in doubt.
    pub refused: bool,
    /// Members that are groups: not pushed.
    pub nested: usize,
    /// Members that have no account there yet: they follow when they get one.
    pub waiting: usize,
}

fn line(
    application: &Application,
    operation: Operation,
    link: Option<&Link>,
    said: (Status, Option<&str>, Option<String>),
) -> Delivery {
    let (status, code, reason) = said;
    Delivery {
        application: application.name().to_owned(),
        operation,
        remote_id: link.and_then(|link| link.remote_id.clone()),
        status,
        code: code.map(str::to_owned),
        reason,
        calls: Vec::new(),
    }
}

fn due(at: Timestamp, attempts: u32) -> Due {
    Due {
        at,
        attempts,
        lane: Lane::Group,
    }
}

/// What follows when nothing is sent now: because nothing is to be sent, because the application only simulates, or
/// because the worker will send it (`why` says why not at once).
#[must_use]
pub fn unsent(
    application: &Application,
    decision: &Decision,
    now: Timestamp,
    attempts: u32,
    why: &str,
) -> Weighed {
    let link = decision.link.clone();
    let noted = decision
        .note
        .as_ref()
        .map(|note| (note.status, Some(note.code), Some(note.reason.clone())));
    let simulates = application.config.mode == Mode::Simulate;
    let (said, mark, calls) = match (&decision.act, noted) {
        (Act::Nothing, Some(said)) => (said, None, Vec::new()),
        (Act::Nothing, None) => {
            let reason = String::from("the group is as it should be");
            (
                (Status::Success, Some("unchanged"), Some(reason)),
                None,
                Vec::new(),
            )
        }
        // No link, and the mark stays and is not due: going live makes it due.
        (act, Some(said)) if simulates => (
            said,
            Some(due(Timestamp::NEVER, attempts)),
            rehearse(application, act, link.as_ref()),
        ),
        (_, _) => (
            (Status::Queued, Some("queued"), Some(why.to_owned())),
            Some(due(now, attempts)),
            Vec::new(),
        ),
    };
    let mut delivery = line(application, decision.operation, link.as_ref(), said);
    delivery.calls = calls;
    Weighed {
        link,
        delivery,
        mark,
    }
}

/// The calls that would go if nothing went wrong.
fn rehearse(application: &Application, act: &Act, link: Option<&Link>) -> Vec<CallRecord> {
    let profile = application.profile;
    let id = link
        .and_then(|link| link.remote_id.as_deref())
        .unwrap_or("{id}");
    let calls: Vec<Call> = match act {
        Act::Nothing => Vec::new(),
        Act::Give { body } => {
            let name = super::plan::name(body);
            vec![profile.look_up_group(name), profile.create_group(body)]
        }
        Act::Update { body } => vec![profile.update_group(id, body)],
        Act::Members => vec![profile.add_members(id, &[])],
        Act::Leave => vec![profile.remove_members(id, &[])],
        Act::Delete => vec![profile.delete_group(id)],
    };
    let record = |call: Call| CallRecord {
        method: call.method.as_str().to_owned(),
        path: call.path,
        status: None,
        ms: 0,
    };
    calls.into_iter().map(record).collect()
}

/// What stands if we die before the answer.
#[must_use]
pub fn presumed(
    application: &Application,
    operation: Operation,
    link: Option<Link>,
    now: Timestamp,
) -> Weighed {
    let reason = "the gateway stopped while the application was asked; what was sent is sent again, or read back";
    let said = (
        Status::Unknown,
        Some("interrupted"),
        Some(reason.to_owned()),
    );
    Weighed {
        delivery: line(application, operation, link.as_ref(), said),
        link,
        mark: Some(due(now, 0)),
    }
}

/// What follows from an exchange about the group itself. `more`: its members, or something else, are next.
#[must_use]
pub fn weigh(
    application: &Application,
    decision: &Decision,
    outcome: Outcome,
    more: impl FnOnce(Option<&Link>) -> bool,
    attempts: u32,
    now: Timestamp,
    dice: u64,
) -> Weighed {
    use exchange::End;
    let Outcome {
        link,
        end,
        effect,
        operation,
    } = outcome;
    let doubtful = |sure| if effect { Status::Unknown } else { sure };
    let retry = |least| Some(again(attempts, least, now, dice));
    let (said, mark) = match end {
        End::Done => {
            let adopted = operation == Operation::Adopt;
            let reason = "a group of this name was there already and is linked now; its other members are left alone";
            (
                (
                    Status::Success,
                    adopted.then_some("adopted"),
                    adopted.then(|| reason.to_owned()),
                ),
                more(link.as_ref()).then(|| due(now, 0)),
            )
        }
        // What would never be taken is not asked for again; a change makes it due.
        End::Refused { code, detail } => {
            let kept = link.as_ref().is_some_and(|link| link.kept) || code == "unsupported";
            let status = if effect {
                Status::Warning
            } else {
                Status::Failure
            };
            (
                (status, Some(code), Some(detail)),
                if kept { None } else { retry(None) },
            )
        }
        End::Unsupported(detail) => (
            (
                Status::Failure,
                Some("unsupported"),
                Some(format!("the application does not take groups: {detail}")),
            ),
            None,
        ),
        End::Unavailable {
            detail,
            retry_after,
        } => (
            (doubtful(Status::Queued), Some("unavailable"), Some(detail)),
            retry(retry_after),
        ),
        End::Limited { detail, wait } => (
            (doubtful(Status::Queued), Some("paced"), Some(detail)),
            Some(due(now.plus(wait), attempts)),
        ),
        End::Unknown(detail) => (
            (Status::Unknown, Some("no_answer"), Some(detail)),
            retry(None),
        ),
        End::Later(at) => (
            (
                Status::Unknown,
                Some("looking_up"),
                Some(String::from(
                    "no answer came, and the group may take a while to show; it is looked up again",
                )),
            ),
            Some(due(at, attempts)),
        ),
    };
    let known = link.as_ref().or(decision.link.as_ref());
    Weighed {
        delivery: line(application, operation, known, said),
        link,
        mark,
    }
}

/// What follows from an exchange about members.
#[must_use]
pub fn weigh_members(
    application: &Application,
    link: Option<Link>,
    outcome: &members::Outcome,
    left: Left,
    attempts: u32,
    now: Timestamp,
    dice: u64,
) -> Weighed {
    use members::End;
    let counts = told(outcome, left);
    let retry = |least| Some(again(attempts, least, now, dice));
    let effect = outcome.added + outcome.removed > 0;
    let (said, mark) = match &outcome.end {
        End::Done if outcome.staying > 0 && outcome.refused == 0 => {
            let said = outcome.said.as_deref().unwrap_or("it said so before");
            let staying = outcome.staying;
            let reason = format!(
                "{counts}; {staying} stay: the application takes no members out of groups from us ({said})"
            );
            let mark = left.more.then(|| due(now, 0));
            ((Status::Warning, Some("unsupported"), Some(reason)), mark)
        }
        End::Done if outcome.refused > 0 => {
            let said = outcome.said.as_deref().unwrap_or("no reason");
            let status = if effect {
                Status::Warning
            } else {
                Status::Failure
            };
            let (code, reason, mark) = if outcome.forbidden == outcome.refused {
                let reason = format!("{counts}: not allowed there, and not tried again: {said}");
                ("unsupported", reason, None)
            } else {
                ("refused", format!("{counts}: {said}"), retry(None))
            };
            let mark = if left.more { Some(due(now, 0)) } else { mark };
            ((status, Some(code), Some(reason)), mark)
        }
        End::Done if left.more => (
            (
                Status::Queued,
                Some("more"),
                Some(format!("{counts}; more follow")),
            ),
            Some(due(now, 0)),
        ),
        End::Done => (
            (
                Status::Success,
                (!effect).then_some("unchanged"),
                Some(counts),
            ),
            if left.refused { retry(None) } else { None },
        ),
        End::Gone => (
            (
                Status::Warning,
                Some("gone"),
                Some(String::from(
                    "the group is not there any more; it is looked for, and made anew if it is to be there",
                )),
            ),
            Some(due(now, 0)),
        ),
        End::Unsupported(detail) => (
            (
                Status::Failure,
                Some("unsupported"),
                Some(format!(
                    "the application does not take members of groups: {detail}"
                )),
            ),
            None,
        ),
        End::Unavailable {
            detail,
            retry_after,
        } => (
            (
                Status::Queued,
                Some("unavailable"),
                Some(format!("{counts}; then: {detail}")),
            ),
            retry(*retry_after),
        ),
        End::Limited { detail, wait } => (
            (
                Status::Queued,
                Some("paced"),
                Some(format!("{counts}; then: {detail}")),
            ),
            Some(due(now.plus(*wait), attempts)),
        ),
        End::Unknown(detail) => (
            (
                Status::Unknown,
                Some("no_answer"),
                Some(format!("{counts}; then: {detail}")),
            ),
            retry(None),
        ),
    };
    Weighed {
        delivery: line(application, Operation::Membership, link.as_ref(), said),
        link,
        mark,
    }
}

/// How many came and went, and who was passed over.
fn told(outcome: &members::Outcome, left: Left) -> String {
    let mut text = format!("{} added, {} removed", outcome.added, outcome.removed);
    for (count, what) in [
        (outcome.refused, "refused"),
        (left.waiting, "without an account there yet"),
        (left.nested, "nested groups not pushed"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

fn again(attempts: u32, least: Option<Duration>, now: Timestamp, dice: u64) -> Due {
    let wait = back_off(attempts, dice).max(least.unwrap_or_default());
    due(now.plus(wait), attempts.saturating_add(1))
}
