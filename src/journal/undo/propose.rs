//! What to do for one resource's attributes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::fold::Passed;
use super::{Proposal, Step, Wanted};
use crate::provision::link::Origin;
use crate::scim::{Kind, Resource};

/// What to do for one resource. `now`: it, or, where the client deleted it, whoever has its name now. `removes`: what was
/// created goes.
#[must_use]
pub fn propose(
    passed: &Passed,
    now: Option<&Resource>,
    removes: bool,
) -> (Proposal, Option<Wanted>) {
    let mut proposal = Proposal::new(passed.kind, &passed.user, &passed.id);
    let wanted = match (passed.created, passed.deleted, now) {
        (true, true, _) | (true, false, None) => None,
        (true, false, Some(now)) => remove(passed, now, removes, &mut proposal),
        (false, true, now) => recreate(passed, now, &mut proposal),
        (false, false, None) => not(&mut proposal, "deleted since by somebody else"),
        (false, false, Some(now)) => restore(passed, &now.attributes, &mut proposal),
    };
    (proposal, wanted)
}

fn not(proposal: &mut Proposal, reason: &str) -> Option<Wanted> {
    proposal.step = Step::NotUndone;
    proposal.tell(reason);
    None
}

fn remove(
    passed: &Passed,
    now: &Resource,
    removes: bool,
    proposal: &mut Proposal,
) -> Option<Wanted> {
    if !removes {
        return not(
            proposal,
            "created by these writes: --created takes it away as well",
        );
    }
    let links = now.links.iter();
    let mut there = links.filter(|link| link.origin != Origin::Created);
    let there = there.next().map(|link| &link.application);
    if let Some(application) = there.or(passed.adopted.as_ref()) {
        let what = match passed.kind {
            Kind::User => "account",
            Kind::Group => "group",
        };
        return not(
            proposal,
            &format!("its {what} in {application} was there before"),
        );
    }
    let differing = passed.attributes.iter().filter(|(name, sides)| {
        let left = sides.as_ref().map(|(_, new)| new.as_ref());
        left.is_some_and(|left| left != now.attributes.get(*name))
    });
    let mut since: BTreeSet<&str> = differing.map(|(name, _)| name.as_str()).collect();
    let touched = passed.since.keys().filter(|name| passed.is_since(name));
    since.extend(touched.map(String::as_str));
    if !since.is_empty() {
        let since: Vec<&str> = since.into_iter().collect();
        return not(proposal, &format!("changed since: {}", since.join(", ")));
    }
    proposal.step = Step::Remove;
    Some(Wanted::Gone)
}

fn recreate(passed: &Passed, now: Option<&Resource>, proposal: &mut Proposal) -> Option<Wanted> {
    let hidden = hidden(passed);
    if !hidden.is_empty() {
        return not(
            proposal,
            &format!("the journal does not show {}", hidden.join(", ")),
        );
    }
    let (kind, name) = match passed.kind {
        Kind::User => ("user", "userName"),
        Kind::Group => ("group", "displayName"),
    };
    if let Some(now) = now {
        return if same(passed, now) {
            None
        } else {
            not(proposal, &format!("another {kind} has the {name} now"))
        };
    }
    if passed.named.is_any() {
        return not(proposal, &format!("somebody had the {name} since"));
    }
    let before = before(passed);
    if !before.contains_key(name) {
        return not(proposal, &format!("the journal does not show the {name}"));
    }
    match (passed.kind, passed.unknown) {
        // Empty it would say nothing of anybody; nobody would know that it was not.
        (Kind::Group, true) => {
            return not(proposal, "the journal does not hold who its members were");
        }
        (Kind::User, true) => proposal.tell("the journal does not hold which groups it was in"),
        (_, false) => {}
    }
    proposal.step = Step::Recreate;
    proposal.attributes = before.keys().cloned().collect();
    Some(Wanted::Whole(before))
}

fn restore(passed: &Passed, now: &Map<String, Value>, proposal: &mut Proposal) -> Option<Wanted> {
    let mut wanted = now.clone();
    let mut since = Vec::new();
    for (name, sides) in &passed.attributes {
        let Some((old, new)) = sides else { continue };
        let is = now.get(name);
        if is == old.as_ref() {
            continue;
        }
        if is != new.as_ref() || passed.is_since(name) {
            since.push(name.as_str());
            continue;
        }
        match old {
            Some(old) => wanted.insert(name.clone(), old.clone()),
            None => wanted.remove(name),
        };
        proposal.attributes.push(name.clone());
    }
    if !since.is_empty() {
        proposal.tell(&format!("changed since: {}", since.join(", ")));
    }
    let hidden = hidden(passed);
    if !hidden.is_empty() {
        proposal.tell(&format!("the journal does not show {}", hidden.join(", ")));
    }
    if passed.unknown {
        proposal.tell("the journal does not hold what these writes did to its members");
    }
    proposal.step = match (proposal.attributes.is_empty(), &proposal.reason) {
        (false, _) => Step::Restore,
        (true, None) => Step::Nothing,
        (true, Some(_)) => Step::NotUndone,
    };
    (proposal.step == Step::Restore).then_some(Wanted::Whole(wanted))
}

fn hidden(passed: &Passed) -> Vec<&str> {
    let attributes = passed.attributes.iter();
    attributes
        .filter(|(_, sides)| sides.is_none())
        .map(|(name, _)| name.as_str())
        .collect()
}

/// The attributes before the writes, as far as the journal shows them.
fn before(passed: &Passed) -> Map<String, Value> {
    let attributes = passed.attributes.iter();
    attributes
        .filter_map(|(name, sides)| Some((name.clone(), sides.as_ref()?.0.clone()?)))
        .collect()
}

/// Whether this has the attributes that something deleted had, all of them shown, and so stands for it. Apart from
/// `schemas`, which is made anew with each write. A group of the same name that was there beside it stands for nothing.
#[must_use]
pub fn same(passed: &Passed, now: &Resource) -> bool {
    fn own(attributes: &Map<String, Value>) -> BTreeMap<&String, &Value> {
        let attributes = attributes.iter();
        attributes.filter(|(name, _)| *name != "schemas").collect()
    }
    (passed.kind == Kind::User || now.created >= passed.last)
        && hidden(passed).is_empty()
        && own(&now.attributes) == own(&before(passed))
}
