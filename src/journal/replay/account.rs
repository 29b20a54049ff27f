//! The account itself: as it was before the first record, as a plan leaves it, and what differs in what it holds.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::case::Case;
use super::past::Past;
use super::place::{Place, is_away, is_inactive};
use super::{Deed, Differs};
use crate::config::shape::Mode;
use crate::mapping::{Giving, user_name};
use crate::provision::link::{Link, Origin, State};
use crate::provision::plan::{Act, Decision};
use crate::scim::Resource;

/// The link before the first record, as that record shows it.
pub(super) fn before(
    case: &Case<'_>,
    past: &Past,
    now: Option<&Resource>,
    attributes: &Map<String, Value>,
    unknown: &BTreeSet<String>,
) -> Option<Link> {
    let name = case.new.name();
    let inactive = is_inactive(attributes);
    let known = now.and_then(|now| now.link(name));
    let mut link = match past.first(name) {
        None => known.cloned()?,
        Some(first) => {
            let nobody = first.code.as_deref() == Some("no_account");
            let state = match Deed::of(first.operation)? {
                Deed::Create => return None,
                _ if nobody => return None,
                _ if inactive || is_away(first) => State::Deactivated,
                Deed::Update | Deed::Reactivate | Deed::Deactivate | Deed::Delete => State::Active,
            };
            let remote = first.remote_id.as_deref().unwrap_or("replayed");
            let seen = known.and_then(|link| link.seen_name.as_deref());
            let mut link = Link::imported(name, remote, seen, Some(state == State::Active));
            if first.code.as_deref() != Some("unclaimed") {
                link.origin = known.map_or(Origin::Created, |known| known.origin);
            }
            link
        }
    };
    link.uncertain = None;
    link.untaken = None;
    link.fresh = false;
    let shown = !unknown.iter().any(|name| case.reads(name));
    let holds = link.state != State::Deactivated && shown;
    // As if the new configuration had been in force before: what it makes of the requests is the question.
    link.sent = holds.then(|| case.new.mapping.run(attributes, Giving::Create).account);
    if link.state != State::Deactivated {
        link.state = State::Active;
    }
    Some(link)
}

/// The link once a decision is carried out.
pub(super) fn carried(case: &Case<'_>, decision: &Decision) -> Option<Link> {
    let mut link = match (&decision.act, &decision.link) {
        (Act::Delete, _) => return None,
        (_, Some(link)) => link.clone(),
        (act, None) => {
            let seen = act.account().and_then(user_name);
            Link::imported(case.new.name(), "replayed", seen, Some(true))
        }
    };
    if link.origin == Origin::Imported {
        link.origin = Origin::Created;
    }
    link.uncertain = None;
    link.fresh = false;
    link.sent = decision.act.account().cloned();
    link.state = match decision.act {
        Act::Deactivate => State::Deactivated,
        _ => State::Active,
    };
    Some(link)
}

/// What an account that stands would hold instead of what was sent to it last.
pub(super) fn attributes(
    case: &Case<'_>,
    place: &Place,
    stands: &Link,
    user: &Map<String, Value>,
) -> Vec<Differs> {
    let live = case.new.config.mode == Mode::Live;
    let ours = place.link.as_ref().map(|link| link.state);
    let (Some(sent), State::Active, Some(State::Active), true) =
        (&stands.sent, stands.state, ours, live)
    else {
        return Vec::new();
    };
    let leaves = |link: &Link| link.removal.is_some();
    let settled = stands.uncertain.is_none() && stands.untaken.is_none() && !leaves(stands);
    let stops = place.now.stopped.is_some() || place.link.as_ref().is_some_and(leaves);
    if !settled || stops {
        return Vec::new();
    }
    let mapping = &case.new.mapping;
    let how = Giving::Update {
        current: Some(sent),
    };
    let mut account = mapping.run(user, how).account;
    mapping.clear(sent, &mut account);
    if mapping.same(sent, &account) {
        return Vec::new();
    }
    let names: BTreeSet<&String> = sent.keys().chain(account.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let one = |all: &Map<String, Value>| -> Map<String, Value> {
            let value = all.get(name).cloned();
            value
                .map(|value| (name.clone(), value))
                .into_iter()
                .collect()
        };
        if mapping.same(&one(sent), &one(&account)) {
            continue;
        }
        let conceals = case.conceals(name);
        let mut tell = |attribute: String, then: Option<&Value>, now: Option<&Value>| {
            if then != now {
                found.push(Differs {
                    attribute,
                    then: then.filter(|_| !conceals).cloned(),
                    now: now.filter(|_| !conceals).cloned(),
                });
            }
        };
        let empty = Map::new();
        let parts = |all: &'_ Map<String, Value>| all.get(name).is_none_or(Value::is_object);
        if !(parts(sent) && parts(&account)) {
            tell(name.clone(), sent.get(name), account.get(name));
            continue;
        }
        let object = |all: &'_ Map<String, Value>| {
            let object = all.get(name).and_then(Value::as_object);
            object.unwrap_or(&empty).clone()
        };
        let (then, now) = (object(sent), object(&account));
        let dot = if name.contains(':') { ':' } else { '.' };
        let keys: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
        for key in keys {
            tell(format!("{name}{dot}{key}"), then.get(key), now.get(key));
        }
    }
    found
}
