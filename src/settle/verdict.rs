//! What is decided around an exchange: what the safety limit is asked, what stands if we die, whether the client is
//! refused. Pure.

use super::Application;
use crate::clock::Timestamp;
use crate::config::shape::{MaxRemovals, WhenUnavailable};
use crate::error::Fault;
use crate::journal::record::Status;
use crate::policy::safety;
use crate::provision::exchange::{self, End, Outcome};
use crate::provision::link::State;
use crate::provision::plan::{self, Act, Decision};
use crate::provision::weigh::{self, Weighed};
use crate::scim::Handle;
use crate::store::{Budget, CommitError, Tally};

/// The removal is taken from the safety limit in the intend transaction, once a person, application and window; what
/// was deactivated already was counted then.
pub(super) fn budget(
    application: &Application,
    decision: &Decision,
    handle: Handle,
    now: Timestamp,
) -> Option<Budget> {
    let link = decision.link.as_ref()?;
    let removal = link.removal.as_ref()?;
    if !decision.act.removes() || removal.counted || link.state == State::Deactivated {
        return None;
    }
    let (limit, window) = limit(application);
    Some(Budget {
        application: application.plan.name().to_owned(),
        handle,
        limit,
        window,
        now,
    })
}

/// How many people a window may lose, `None` for auto, and how long the window is, in milliseconds.
fn limit(application: &Application) -> (Option<u64>, u64) {
    let safety = &application.plan.config.safety;
    let limit = match safety.max_removals {
        MaxRemovals::Auto => None,
        MaxRemovals::Count(people) => Some(people),
    };
    let window = u64::try_from(safety.window.as_millis()).unwrap_or(u64::MAX);
    (limit, window)
}

/// Whether so many removals may go now. A set that is decided at once is counted whole before its first.
pub(super) fn fits(
    application: &Application,
    tally: &Tally,
    removals: u64,
    now: Timestamp,
) -> bool {
    let (limit, window) = limit(application);
    let Tally {
        window: last,
        holds,
        active,
        allowance,
        ..
    } = *tally;
    let allowed = allowance.map_or(0, |allowance| allowance.room(now));
    let room = safety::room(last, holds, active, limit, window, now);
    removals <= room.saturating_add(allowed)
}

pub(super) fn count(decision: &mut Decision) {
    if let Some(removal) = decision
        .link
        .as_mut()
        .and_then(|link| link.removal.as_mut())
    {
        removal.counted = true;
    }
}

/// The safety limit stopped it: nothing goes until a person says so, or the user is back.
pub(super) fn hold(decision: &mut Decision, now: Timestamp) {
    if let Some(removal) = decision
        .link
        .as_mut()
        .and_then(|link| link.removal.as_mut())
    {
        removal.held = Some(now);
    }
    decision.act = Act::Nothing;
    decision.note = Some(plan::held_note());
    decision.again = None;
}

/// What stands if we die before the answer: an uncertain link, a mark that is due, and a line that says so.
pub(super) fn presumed(application: &Application, decision: &Decision, now: Timestamp) -> Weighed {
    let link = exchange::unknown(
        &application.plan,
        &decision.act,
        decision.link.as_ref(),
        now,
    );
    let mut weighed = weigh::unsent(&application.plan, decision, now, 0, "");
    weighed.delivery.status = Status::Unknown;
    weighed.delivery.code = Some(String::from("interrupted"));
    weighed.delivery.reason = Some(String::from(
        "the gateway stopped while the application was asked; the account is read back first",
    ));
    Weighed { link, ..weighed }
}

/// Whether the client is refused, and nothing is kept.
pub(super) fn verdict(
    application: &Application,
    decision: &Decision,
    outcome: &Outcome,
) -> Option<Fault> {
    if decision.act.removes() || outcome.effect {
        return None;
    }
    match &outcome.end {
        End::Refused {
            status,
            detail,
            uniqueness,
        } => Some(Fault::Refused {
            application: application.plan.name().to_owned(),
            status: *status,
            detail: detail.clone(),
            uniqueness: *uniqueness,
        }),
        End::Limited { wait, .. }
            if !outcome.sent
                && application.plan.config.when_unavailable == WhenUnavailable::Refuse =>
        {
            Some(away(application, wait.as_secs().max(1)))
        }
        End::Unavailable { retry_after, .. }
            if !outcome.sent
                && application.plan.config.when_unavailable == WhenUnavailable::Refuse =>
        {
            Some(away(
                application,
                retry_after.map_or(5, |wait| wait.as_secs().max(1)),
            ))
        }
        _ => None,
    }
}

pub(super) fn away(application: &Application, retry_after: u64) -> Fault {
    Fault::Unavailable {
        retry_after,
        detail: format!(
            "{} cannot be reached at the moment, and nothing was sent.",
            application.plan.name()
        ),
    }
}

/// A commit that did not come back.
pub(super) fn lost(error: CommitError) -> Fault {
    match error {
        CommitError::Full => Fault::Unavailable {
            retry_after: 1,
            detail: String::from("The gateway is busy; try again."),
        },
        CommitError::DiskFull => Fault::Unavailable {
            retry_after: 30,
            detail: String::from(crate::store::REFUSAL),
        },
        CommitError::Conflict(what) => Fault::Unavailable {
            retry_after: 1,
            detail: format!("Another write got there first ({what:?}); try again."),
        },
        CommitError::Held => Fault::Internal(String::from("a commit was held")),
        CommitError::Failed(why) => Fault::Storage(why),
    }
}
