//! One person's account in one application, on the way through their records: what a record shows of it, and what a plan
//! comes to.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::account::carried;
use super::belonging::Stood;
use super::case::Case;
use super::{Course, Deed, Event, wrote};
use crate::clock::Timestamp;
use crate::config::shape::Mode;
use crate::journal::record::{Delivery, Operation, Record, Status};
use crate::mapping::Giving;
use crate::policy::assignment::Assigned;
use crate::provision::link::{Link, Origin, State};
use crate::provision::plan::{Act, Decision};
use crate::scim::Resource;

/// One application's side of it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) link: Option<Link>,
    /// When to look again although nothing changes.
    pub(super) again: Option<Timestamp>,
    /// What the account held before is not known.
    pub(super) blind: bool,
    /// So far the same was planned as was done: the account is as the journal shows it.
    pub(super) same: bool,
    /// What the policies come to by the groups they are in.
    pub(super) stood: Stood,
    /// What the journal has shown since of whether they were in a policy's group.
    pub(super) assigned: Option<Assigned>,
    /// When that changed by a group, if it is not gone through yet.
    pub(super) moved: Option<Moved>,
    pub(super) then: Course,
    pub(super) now: Course,
    pub(super) unsaid: Option<String>,
    /// Requests that wait for a worker, the oldest first.
    pub(super) waiting: Vec<Waiting>,
}

/// A request that waits for a worker.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) sequence: u64,
    /// The person as they were before it.
    pub(super) before: Resource,
    /// Attributes of them that are not known there.
    pub(super) unknown: BTreeSet<String>,
}

/// A group gave them scope, or took it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    pub(super) time: Timestamp,
    /// They are told of only if something is done.
    pub(super) quiet: bool,
}

impl Place {
    /// The first request that a worker's turn did not know of: it came when the turn was under way, so that its record
    /// stands before the turn's.
    pub(super) fn overtaken(&self, turn: &Record, delivery: &Delivery) -> Option<&Waiting> {
        // What a person says of a link is said of it as it is.
        let called = !delivery.calls.is_empty() || delivery.status == Status::Unknown;
        let mut waiting = self.waiting.iter().filter(|_| called);
        waiting.find(|waiting| !turn.cause.contains(&waiting.sequence))
    }

    /// What a record settles waits no longer.
    pub(super) fn settled(&mut self, record: &Record, delivery: &Delivery) {
        if !delivery.status.is_open() {
            self.waiting
                .retain(|waiting| !record.cause.contains(&waiting.sequence));
        }
    }

    /// Takes the account to be as a record shows it, while nothing else was done here than there: what became of a call
    /// whose answer was lost, or was done there by somebody else, shows in no other way.
    pub(super) fn agree(
        &mut self,
        case: &Case<'_>,
        user: &Map<String, Value>,
        then: Option<&Delivery>,
    ) {
        let Some((then, deed)) = then.and_then(|then| Some((then, Deed::of(then.operation)?)))
        else {
            return;
        };
        let code = then.code.as_deref().unwrap_or_default();
        let there = || Link {
            origin: Origin::Created,
            ..Link::imported(case.new.name(), "replayed", None, Some(true))
        };
        match (deed, code) {
            (_, "superseded" | "unclaimed" | "unknown_group") => {}
            (Deed::Create, _) | (_, "no_account") => self.link = None,
            (deed, _) => {
                let link = self.link.get_or_insert_with(there);
                let away = is_away(then);
                let was = link.state == State::Deactivated;
                let back = was && (deed == Deed::Update || deed == Deed::Deactivate && wrote(then));
                if away != was && (away || back) {
                    link.state = if away {
                        State::Deactivated
                    } else {
                        State::Active
                    };
                    link.sent = None;
                }
                let rests = matches!(Event::of(then), Some(Event::Rests));
                if link.sent.is_none() && link.state == State::Active && rests && !self.blind {
                    link.sent = Some(case.new.mapping.run(user, Giving::Create).account);
                }
            }
        }
    }

    /// What a decision comes to. `moved`: it is looked for because of a group.
    pub(super) fn weigh(
        &mut self,
        case: &Case<'_>,
        decision: &Decision,
        then: Option<&Delivery>,
        moved: Option<Moved>,
    ) {
        let blind = std::mem::take(&mut self.blind);
        let Some(deed) = Deed::of(decision.operation) else {
            return;
        };
        let note = decision.note.as_ref();
        let code = note.map(|note| note.code);
        let reason = note.map(|note| note.reason.as_str());
        let same = then.filter(|then| Deed::of(then.operation) == Some(deed));
        self.again = decision.again;
        let event = match (&decision.act, note) {
            (Act::Nothing, None) => Event::Rests,
            (Act::Nothing, Some(note)) if note.status == Status::Queued => Event::Waits,
            (Act::Nothing, Some(note)) if note.status == Status::Held => {
                Event::Does(deed, code, reason)
            }
            (Act::Nothing, Some(note)) => Event::Stops(note.code, reason, None),
            _ if case.new.config.mode == Mode::Simulate => {
                Event::Stops("simulate", reason, Some(deed))
            }
            _ if blind && deed == Deed::Update && !same.is_some_and(acts) => {
                self.unsaid = Some(String::from(
                    "the journal does not show what an attribute was before, so that nobody knows whether the account would change",
                ));
                return;
            }
            // It answers as it did where the same is asked of it.
            _ => match same.and_then(answered) {
                Some(answer) => {
                    self.again = None;
                    answer
                }
                None => Event::Does(deed, code, reason),
            },
        };
        let kept = decision.act == Act::Nothing || case.new.config.mode == Mode::Live;
        if kept {
            self.link.clone_from(&decision.link);
        }
        if decision.act != Act::Nothing && kept && same.and_then(answered).is_none() {
            self.link = carried(case, decision);
        }
        let lost = same.is_some_and(|same| same.status == Status::Unknown);
        if let Some(link) = self.link.as_mut().filter(|_| lost) {
            // Nobody knows what it holds.
            link.sent = None;
        }
        if let Some(moved) = moved.filter(|_| then.is_none()) {
            // A worker who finds nothing to do says nothing.
            match event {
                Event::Rests | Event::Waits => return,
                Event::Stops(_, _, None) if moved.quiet => return,
                _ => {}
            }
        }
        let there = then.map_or(Some(Event::Rests), Event::of);
        self.same &= there.is_none_or(|there| there.is_as(event));
        self.now.hear(event);
    }
}

/// How an application answered what did not take effect, or not for certain; `None`: it did as it was asked.
fn answered(then: &Delivery) -> Option<Event<'_>> {
    let its = match (then.status, then.code.as_deref()) {
        (Status::Queued | Status::Held | Status::Unknown, _) => true,
        (Status::Failure, code) => code != Some("missing"),
        // Skipped for what it answered, and not for what a configuration says.
        (Status::Skipped, Some("unsupported")) => true,
        (Status::Skipped, Some("simulate")) => false,
        (Status::Skipped, _) => !then.calls.is_empty(),
        (Status::Success | Status::Warning, _) => false,
    };
    its.then(|| Event::of(then)).flatten()
}

pub(super) fn is_inactive(attributes: &Map<String, Value>) -> bool {
    attributes.get("active") == Some(&Value::Bool(false))
}

/// Whether an entry says of an account that it is deactivated already.
pub(super) fn is_away(delivery: &Delivery) -> bool {
    match (delivery.operation, delivery.code.as_deref()) {
        (Operation::Reactivate, _) | (Operation::Deactivate, Some("unchanged")) => true,
        (Operation::Delete, Some("delete_after")) => !wrote(delivery),
        _ => false,
    }
}

/// Whether a new user of the same name has taken the account of somebody deleted over.
pub(super) fn is_taken_over(delivery: &Delivery) -> bool {
    delivery.operation == Operation::Delete && delivery.code.as_deref() == Some("superseded")
}

/// Whether it says only that requests wait no longer, because later ones do.
pub(super) fn is_superseded(delivery: &Delivery) -> bool {
    delivery.operation != Operation::Delete && delivery.code.as_deref() == Some("superseded")
}

/// Whether something went, or was to go.
fn acts(delivery: &Delivery) -> bool {
    wrote(delivery) || matches!(delivery.status, Status::Queued | Status::Held)
}

/// What an entry shows of whether the person was in a policy's group; `None`: it says nothing of that. `stays`: no client
/// has deactivated or deleted them.
pub(super) fn assigned(delivery: &Delivery, stays: bool) -> Option<Assigned> {
    let code = delivery.code.as_deref();
    let gives = match Deed::of(delivery.operation)? {
        Deed::Create | Deed::Update | Deed::Reactivate => true,
        Deed::Deactivate | Deed::Delete => false,
    };
    match (delivery.status, code) {
        (_, Some("not_assigned")) => Some(Assigned::Out),
        (_, Some("unknown_group")) => Some(Assigned::Unknown),
        (_, Some("group_deleted")) => Some(Assigned::Deleted),
        (_, Some("superseded")) => None,
        // What is decided only of those who are in it.
        (
            Status::Skipped,
            Some("inactive" | "simulate" | "create_off" | "update_off" | "protected"),
        ) => gives.then_some(Assigned::In),
        (Status::Skipped, _) => None,
        _ if gives => Some(Assigned::In),
        // Whoever leaves without that left the groups, or is ruled out whatever their groups are.
        _ => stays.then_some(Assigned::Out),
    }
}
