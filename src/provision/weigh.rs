//! What follows from a decision or from an exchange's outcome: the link to keep, the line in the journal, and the mark
//! that stays. Pure; the one place where "done", "try again" and "never again" are told apart.

use std::time::Duration;

use serde_json::Value;

use super::exchange::{End, Outcome, rehearse};
use super::ladder::Tries;
use super::link::{Link, State};
use super::plan::{Act, Application, Decision, Facts, Note, plan_with};
use crate::clock::Timestamp;
use crate::config::shape::Mode;
use crate::journal::record::{CallRecord, Delivery, Operation, Status};
use crate::scim::Resource;
use crate::store::{Lane, Stuck};

/// Why a write waits for the exchange before it.
pub const OVERTAKING: &str = "another change is on its way to the application; this follows it";

/// When the worker takes a resource up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When. [`Timestamp::NEVER`]: not before a person or a change makes it due.
    pub at: Timestamp,
    /// Failed attempts so far.
    pub attempts: u32,
    /// Its lane.
    pub lane: Lane,
}

/// What follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighed {
    /// The link to keep; `None`: there is no account.
    pub link: Option<Link>,
    /// The journal's line.
    pub delivery: Delivery,
    /// The mark that stays; `None`: nothing is left to do.
    pub mark: Option<Due>,
    /// The mark is at the end of the ladder of retries.
    pub stuck: Option<Stuck>,
}

fn delivery(
    application: &Application,
    operation: Operation,
    link: Option<&Link>,
    status: Status,
) -> Delivery {
    Delivery {
        application: application.name().to_owned(),
        operation,
        remote_id: link.and_then(|link| link.remote_id.clone()),
        status,
        code: None,
        reason: None,
        calls: Vec::new(),
    }
}

fn noted(mut delivery: Delivery, note: Option<&Note>) -> Delivery {
    if let Some(note) = note {
        delivery.status = note.status;
        delivery.code = Some(note.code.to_owned());
        delivery.reason = Some(note.reason.clone());
    }
    delivery
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
    let held = decision
        .note
        .as_ref()
        .is_some_and(|note| note.status == Status::Held);
    let lane = if held {
        Lane::Deactivate
    } else {
        decision.act.lane()
    };
    let link = decision.link.clone();
    let mark = |at| Some(Due { at, attempts, lane });
    if decision.act == Act::Nothing {
        let mut line = noted(
            delivery(
                application,
                decision.operation,
                link.as_ref(),
                Status::Success,
            ),
            decision.note.as_ref(),
        );
        if decision.note.is_none() {
            line.code = Some(String::from("unchanged"));
            line.reason = Some(String::from("the account is as it should be"));
        }
        let mark = if held {
            mark(Timestamp::NEVER)
        } else {
            decision.again.and_then(mark)
        };
        return Weighed {
            link,
            delivery: line,
            mark,
            stuck: None,
        };
    }
    let mut line = delivery(
        application,
        decision.operation,
        link.as_ref(),
        Status::Queued,
    );
    if application.config.mode == Mode::Simulate {
        line = noted(line, decision.note.as_ref());
        let calls = rehearse(application.profile, &decision.act, link.as_ref());
        line.calls = calls
            .into_iter()
            .map(|call| CallRecord {
                method: call.method.as_str().to_owned(),
                path: call.path,
                status: None,
                ms: 0,
            })
            .collect();
        // No link, and the mark stays and is not due: going live makes it due.
        return Weighed {
            link,
            delivery: line,
            mark: mark(Timestamp::NEVER),
            stuck: None,
        };
    }
    line.code = Some(String::from("queued"));
    line.reason = Some(why.to_owned());
    Weighed {
        link,
        delivery: line,
        mark: mark(now),
        stuck: None,
    }
}

/// What follows of a write where an exchange with the application about the same user is under way: nothing that is known
/// of the account holds when it has ended, so the worker plans it then. `user`: as it will be; `new`: there was none, so
/// that nothing is taken away by this.
#[must_use]
pub fn overtaking(
    application: &Application,
    decision: &Decision,
    user: &Resource,
    new: bool,
    now: Timestamp,
) -> Weighed {
    let inactive = user.attributes.get("active").and_then(Value::as_bool) == Some(false);
    let leaves = !new && (user.deleted.is_some() || inactive || decision.ruled_out);
    let lane = if leaves {
        Lane::Deactivate
    } else {
        decision.act.lane()
    };
    let link = user.link(application.name());
    let mut line = delivery(application, decision.operation, link, Status::Queued);
    line.code = Some(String::from("queued"));
    line.reason = Some(OVERTAKING.to_owned());
    Weighed {
        link: link.cloned(),
        delivery: line,
        mark: Some(Due {
            at: now,
            attempts: 0,
            lane,
        }),
        stuck: None,
    }
}

/// What follows from an exchange. `facts` has the user as it will be committed (its link there is replaced by what
/// this returns).
#[must_use]
pub fn weigh(
    application: &Application,
    facts: Facts<'_>,
    decision: &Decision,
    outcome: Outcome,
    tries: Tries,
    now: Timestamp,
) -> Weighed {
    let lane = decision.act.lane();
    let Tries { attempts, dice, .. } = tries;
    let blames = matches!(outcome.end, End::Refused { .. } | End::Ineffective(_));
    let retry = |least: Option<Duration>| Some(tries.again(blames, least, lane, now));
    let mut link = outcome.link;
    let say =
        |status, code: &str, reason: &str| (status, Some(code.to_owned()), Some(reason.to_owned()));
    let ((status, code, reason), mut mark) = match &outcome.end {
        End::Done => {
            let said = if outcome.dropped.is_empty() {
                let unseen = link
                    .as_ref()
                    .is_some_and(|link| link.state == State::Unseen);
                match &decision.note {
                    Some(note) => say(Status::Success, note.code, &note.reason),
                    None if unseen => say(
                        Status::Success,
                        "unseen",
                        "created; the read that tells whether the account waits for an invitation is still to come",
                    ),
                    None if outcome.operation == Operation::Adopt => say(
                        Status::Success,
                        "adopted",
                        "the account was there already and is linked now",
                    ),
                    None => (Status::Success, None, None),
                }
            } else {
                let names = outcome.dropped.join(", ");
                say(
                    Status::Warning,
                    "not_applied",
                    &format!("accepted but not applied: {names}"),
                )
            };
            (
                said,
                after(application, Facts { now, ..facts }, link.as_ref()),
            )
        }
        End::Refused {
            detail, uniqueness, ..
        } => {
            let status = if outcome.effect {
                Status::Warning
            } else {
                Status::Failure
            };
            (
                say(
                    status,
                    if *uniqueness { "exists" } else { "refused" },
                    detail,
                ),
                retry(None),
            )
        }
        End::Unavailable {
            detail,
            retry_after,
        } => {
            let status = if outcome.effect {
                Status::Unknown
            } else {
                Status::Queued
            };
            (say(status, "unavailable", detail), retry(*retry_after))
        }
        End::Limited { detail, wait } => {
            let status = if outcome.effect {
                Status::Unknown
            } else {
                Status::Queued
            };
            // No attempt failed: the ladder is for failures. A tenth more, so that not all come back at once.
            let tenth = u64::try_from(wait.as_millis() / 10).unwrap_or(0);
            let due = Due {
                at: now
                    .plus(*wait)
                    .plus(Duration::from_millis(dice % (tenth + 1))),
                attempts,
                lane,
            };
            (say(status, "paced", detail), Some(due))
        }
        End::Unknown(detail) => (say(Status::Unknown, "no_answer", detail), retry(None)),
        End::Later(at) => {
            let due = Due {
                at: *at,
                attempts,
                lane,
            };
            (
                say(
                    Status::Unknown,
                    "looking_up",
                    "no answer came, and the account may take a while to show; it is looked up again",
                ),
                Some(due),
            )
        }
        End::Pending(detail) => {
            // It may only not be visible yet; after that, a person has to accept an invitation.
            let wait = if attempts == 0 {
                application.config.lookup_lag
            } else {
                Duration::from_secs(3_600)
            };
            let due = Due {
                at: now.plus(wait),
                attempts: attempts.saturating_add(1),
                lane,
            };
            let reason = format!(
                "the account is pending: {detail}; the person has to accept the invitation, or an administrator to approve the domain"
            );
            (say(Status::Warning, "pending", &reason), Some(due))
        }
        End::Protected => (
            say(
                Status::Skipped,
                "protected",
                "the account is protected: no call is made for it",
            ),
            None,
        ),
        End::Unclaimed => (
            say(
                Status::Skipped,
                "unclaimed",
                "the account was imported and never claimed: it is not ours to take away",
            ),
            None,
        ),
        End::Ineffective(detail) => (say(Status::Failure, "ineffective", detail), retry(None)),
        // Told once and not retried: a change of the person or of the configuration makes it due.
        End::Unsupported(detail) => {
            let status = if outcome.effect {
                Status::Warning
            } else {
                Status::Failure
            };
            let reason = format!("not supported there, and not tried again: {detail}");
            (say(status, "unsupported", &reason), None)
        }
    };
    if let (Some(link), Some(removal)) = (
        &mut link,
        &decision
            .link
            .as_ref()
            .and_then(|link| link.removal.as_ref()),
    ) {
        // The exchange knows calls, not removals.
        link.removal = Some((*removal).clone());
    }
    let mut line = delivery(
        application,
        outcome.operation,
        link.as_ref().or(decision.link.as_ref()),
        status,
    );
    line.code = code;
    line.reason = reason;
    // Who waits for an invitation is looked at for as long as it takes.
    let fails = !matches!(outcome.end, End::Done | End::Pending(_));
    let stuck = mark.as_mut().filter(|_| fails).and_then(|due| {
        let removes = decision.act.removes();
        tries.ends(due, removes, decision.again, &line, now)
    });
    Weighed {
        link,
        delivery: line,
        mark,
        stuck,
    }
}

/// What is left to do once the link is this: planned again, because planning is the only judge of that.
fn after(application: &Application, facts: Facts<'_>, link: Option<&Link>) -> Option<Due> {
    let now = facts.now;
    let next = plan_with(application, facts, link.cloned());
    let lane = next.act.lane();
    match next.act {
        Act::Nothing => next.again.map(|at| Due {
            at,
            attempts: 0,
            lane,
        }),
        _ => Some(Due {
            at: now,
            attempts: 0,
            lane,
        }),
    }
}
