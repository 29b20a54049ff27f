//! A link outlives its resource, and a new user of the same name takes it over: the account of somebody who was deleted,
//! whether it is gone by then or not.

use std::collections::BTreeSet;
use std::time::Duration;

use super::verdict::lost;
use super::{Application, Engine, record};
use crate::claims::Claim;
use crate::error::Fault;
use crate::journal::record::{Delivery, Operation, Record, Status};
use crate::mapping;
use crate::provision::link::Link;
use crate::provision::plan;
use crate::scim::{Handle, Kind, Resource, schema};
use crate::store::{ChangeSet, Key, Lane, Lookup, Mark, MarkEdit, View};

/// How long a deleted user's account waits for the turn of the new user whose it is.
const TURN: Duration = Duration::from_secs(60);

/// An application's part of a user.
pub(super) struct Part {
    /// What is claimed by whoever changes it: the link, the account that it is about, and what it is taken over from.
    pub(super) claims: BTreeSet<Claim>,
    /// The tombstone whose link is this user's now, and that link.
    pub(super) orphan: Option<(Resource, Link)>,
    /// The user is new to the account, and [`successor`] would not find them by its name.
    pub(super) hidden: bool,
    /// The tombstone whose account waited for this user to take it over, which they do not any more.
    pub(super) let_go: Option<Handle>,
}

/// What belongs to a user's link. `before`: the user as it was.
pub(super) fn part(
    view: &View,
    application: &Application,
    user: &Resource,
    before: Option<&Resource>,
) -> Result<Part, Fault> {
    let name = application.plan.name();
    let mut part = Part {
        claims: BTreeSet::from([Claim::link(user.handle, name)]),
        orphan: None,
        hidden: false,
        let_go: None,
    };
    let takes = takes_over(user, name);
    let took = before.filter(|before| takes_over(before, name));
    let key = plan::account_key(&application.plan, user);
    let key_before = before
        .filter(|_| takes || took.is_some())
        .and_then(|before| plan::account_key(&application.plan, before));
    if let Some(account) = key_before.as_ref().filter(|_| took.is_some())
        && !(takes && key.as_ref() == Some(account))
    {
        let tombstone = orphan(view, application, account)?;
        part.let_go = tombstone.map(|(tombstone, _)| tombstone.handle);
    }
    let Some(account) = key else {
        return Ok(part);
    };
    if takes {
        part.orphan = orphan(view, application, &account)?;
        part.hidden = key_before.as_ref() != Some(&account)
            && !names(user).any(|name| schema::fold(name) == account);
    }
    let tombstone = part.orphan.iter();
    let tombstone = tombstone.map(|(tombstone, _)| Claim::link(tombstone.handle, name));
    part.claims.extend(tombstone);
    part.claims.insert(Claim::Account {
        application: name.to_owned(),
        key: account,
    });
    Ok(part)
}

/// Who was imported and is nobody's takes nothing: nothing is planned for them.
fn takes_over(user: &Resource, application: &str) -> bool {
    user.kind == Kind::User
        && user.deleted.is_none()
        && !user.owner.is_empty()
        && user.link(application).is_none()
}

/// What a user is found by in the directory, and is called by in most applications.
fn names(user: &Resource) -> impl Iterator<Item = &str> {
    let emails = user.attributes.get("emails").and_then(|it| it.as_array());
    let emails = emails.into_iter().flatten();
    let emails = emails.filter_map(|email| email.get("value")?.as_str());
    std::iter::once(user.title()).chain(emails)
}

fn orphan(
    view: &View,
    application: &Application,
    account: &str,
) -> Result<Option<(Resource, Link)>, Fault> {
    let name = application.plan.name();
    let Some(handle) = view.find(&Key::Orphan {
        application: name,
        account,
    })?
    else {
        return Ok(None);
    };
    let Some(tombstone) = view.resource(handle)? else {
        return Ok(None);
    };
    let link = tombstone.link(name).cloned();
    Ok(link.map(|link| (tombstone, link)))
}

/// The new user whose the account of a deleted one is, and who has not taken it over yet: somebody was at it when they
/// came.
pub(super) fn successor(
    view: &View,
    application: &Application,
    tombstone: &Resource,
) -> Result<Option<Handle>, Fault> {
    let name = application.plan.name();
    let Some(link) = tombstone
        .link(name)
        .filter(|_| tombstone.kind == Kind::User && tombstone.deleted.is_some())
    else {
        return Ok(None);
    };
    let sent = link.sent.as_ref().and_then(mapping::user_name);
    for account in link.seen_name.as_deref().into_iter().chain(sent) {
        let by_name = view.find(&Key::UserName(account))?;
        let by_email = view.find_all(Kind::User, &Lookup::Email(account))?;
        for handle in by_name.into_iter().chain(by_email) {
            let Some(user) = view.resource(handle)? else {
                continue;
            };
            let key = plan::account_key(&application.plan, &user);
            if takes_over(&user, name) && key.is_some_and(|key| key == schema::fold(account)) {
                return Ok(Some(handle));
            }
        }
    }
    Ok(None)
}

impl Engine {
    /// The account of somebody who is deleted is another one's now: what was still to be done about it ends, and whoever
    /// waits for that hears of it.
    pub(super) fn take_over(
        &self,
        change: &mut ChangeSet,
        application: &Application,
        tombstone: &Resource,
        mark: Option<&Mark>,
    ) -> Option<Record> {
        record::relink(change, tombstone, application.plan.name(), None);
        let mark = mark?;
        change.marks.push(MarkEdit::Clear {
            handle: mark.handle,
            application: mark.application.clone(),
            generation: mark.generation,
        });
        let why = (
            "superseded",
            "a new user of the same name has taken the account over",
        );
        let name = application.plan.name();
        let delivery = Delivery::skipped(tombstone, name, Operation::Delete, why);
        Some(self.delivered(tombstone, delivery, mark.cause.clone()))
    }

    /// Nothing is done about a deleted user's account before the new user whose it is had a turn.
    pub(super) async fn pass_on(
        &self,
        mark: Mark,
        successor: Handle,
    ) -> Result<Option<Status>, Fault> {
        let now = self.clock.now();
        let raise = MarkEdit::Raise {
            handle: successor,
            application: mark.application.clone(),
            due: now,
            lane: Lane::Create,
            caused: false,
        };
        let wait = MarkEdit::Set {
            handle: mark.handle,
            application: mark.application,
            due: now.plus(TURN),
            attempts: mark.attempts,
            lane: mark.lane,
            caused: false,
            read: Some(mark.generation),
        };
        let change = ChangeSet {
            marks: vec![raise, wait],
            generation: self.generation,
            ..ChangeSet::default()
        };
        self.store.reserve()?.commit(change).await.map_err(lost)?;
        Ok(None)
    }
}
