//! What a person has done about links and marks: forgotten, looked up again, tried again. By the path of any other change.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::draft::Known;
use super::record::{self, mark};
use super::verdict::lost;
use super::{Application, Engine, TRIES};
use crate::claims::Claim;
use crate::clock::Timestamp;
use crate::error::Fault;
use crate::journal::record::{Delivery, Operation, Status};
use crate::mapping;
use crate::provision::link::{Link, Origin, State, Uncertain};
use crate::provision::plan::{self, Act};
use crate::provision::weigh;
use crate::scim::{Handle, Kind, Resource, schema};
use crate::store::{ChangeSet, Key, MarkEdit, View};

/// Marks that are made due in one transaction.
const SLICE: usize = 500;

/// What is done about a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relink {
    /// It is forgotten. The account is left alone, and the user planned as one without.
    Forget,
    /// Its account is looked up again by its name.
    Rematch,
}

/// What was done about a link, and what comes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relinked {
    /// The application.
    pub application: String,
    /// The user.
    pub person: String,
    /// The directory's id.
    pub id: String,
    /// The account's id in the application, as it was.
    pub remote_id: Option<String>,
    /// What is sent next, and the way it is; none: nothing is.
    pub next: Option<String>,
}

/// What was made due in an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// The application.
    pub application: String,
    /// Resources that are tried again now.
    pub due: u64,
}

impl Engine {
    /// Forgets a link, or has its account looked up again.
    ///
    /// # Errors
    /// 400: there is no such link, or it cannot be; 503: somebody is at it for too long, or nothing can be written.
    pub async fn relink(
        &self,
        application: &str,
        person: &str,
        how: Relink,
    ) -> Result<Relinked, Fault> {
        let mut all = self.applications.iter();
        let known = all.find(|known| known.plan.name() == application);
        let handle = holder(&self.store.view()?, application, person)?;
        let patience = self.clock.now().plus(self.patience());
        let mut wanted = BTreeSet::from([Claim::link(handle, application)]);
        for _ in 0..TRIES {
            let held = self.claims.acquire(&wanted, patience, &self.clock).await?;
            let view = self.store.view()?;
            let resource = view.resource(handle)?;
            let found = resource.and_then(|resource| {
                let link = resource.link(application).cloned()?;
                Some((resource, link))
            });
            let (before, link) = found.ok_or_else(|| no_link(application, person))?;
            let mut needed = wanted.clone();
            let account = known.and_then(|known| plan::account_key(&known.plan, &before));
            needed.extend(account.map(|key| Claim::Account {
                application: application.to_owned(),
                key,
            }));
            if !held.covers(&needed) {
                drop(held);
                wanted = needed;
                continue;
            }
            let known = known.map(AsRef::as_ref);
            let (change, relinked) = self.relinking(&view, known, before, link, how)?;
            drop(view);
            self.store.reserve()?.commit(change).await.map_err(lost)?;
            tracing::warn!(application, id = relinked.id, how = ?how, "a person changed a link");
            return Ok(relinked);
        }
        Err(Fault::Unavailable {
            retry_after: 1,
            detail: String::from("Too many writes are after this user; try again."),
        })
    }

    fn relinking(
        &self,
        view: &View,
        known: Option<&Application>,
        before: Resource,
        link: Link,
        how: Relink,
    ) -> Result<(ChangeSet, Relinked), Fault> {
        let (now, name) = (self.clock.now(), link.application.clone());
        let mut after = before.clone();
        after.set_link(
            &name,
            match how {
                Relink::Forget => None,
                Relink::Rematch => Some(looked_for(known, link.clone(), now)?),
            },
        );
        let mark_was = view.mark(before.handle, &name)?;
        let mut change = ChangeSet {
            generation: self.generation,
            ..ChangeSet::default()
        };
        let mut next = None;
        if let Some(application) = known {
            let facts = Known::read(view, application, &after)?;
            let decision = plan::plan(&application.plan, facts.facts(&after, now));
            let weighed = weigh::unsent(&application.plan, &decision, now, 0, "this is sent next");
            change.marks = mark(&weighed, before.handle, &name, mark_was.as_slice(), false);
            after.set_link(&name, weighed.link);
            next = (decision.act != Act::Nothing).then(|| match how {
                Relink::Forget => String::from(
                    "the user belongs there: an account of this name is looked for and adopted, or made",
                ),
                Relink::Rematch => String::from("the account is looked up by its name"),
            });
        } else if let Some(mark) = &mark_was {
            change.marks.push(MarkEdit::Clear {
                handle: mark.handle,
                application: name.clone(),
                generation: mark.generation,
            });
        }
        let (code, reason) = match how {
            Relink::Forget => (
                "unlinked",
                "a person had the link forgotten; the account is left alone",
            ),
            Relink::Rematch => (
                "rematch",
                "a person has the account looked up again by its name",
            ),
        };
        let line = Delivery {
            application: name.clone(),
            operation: Operation::Update,
            remote_id: link.remote_id.clone(),
            status: Status::Success,
            code: Some(code.to_owned()),
            reason: Some(reason.to_owned()),
            calls: Vec::new(),
        };
        // Who waits for a mark that stays hears of it when that is settled.
        let stays = change
            .marks
            .iter()
            .any(|edit| matches!(edit, MarkEdit::Set { .. }));
        let cause = mark_was.filter(|_| !stays).map(|mark| mark.cause);
        let record = self.delivered(&before, line, cause.unwrap_or_default());
        change.journal.push(record);
        let relinked = Relinked {
            application: name,
            person: before.title().to_owned(),
            id: before.id.as_str().to_owned(),
            remote_id: link.remote_id,
            next,
        };
        let link = after.link(&relinked.application).cloned();
        record::relink(&mut change, &before, &relinked.application, link);
        Ok((change, relinked))
    }

    /// Makes due what failed and waits: for its next rung, or quarantined. Of one application or all, of one person (or
    /// group) or everybody. What the safety limit holds, and what waits for its time, is not touched.
    ///
    /// # Errors
    /// 400: there is no such application; 503: nothing can be written.
    pub async fn retry(
        &self,
        application: Option<&str>,
        person: Option<&str>,
    ) -> Result<Vec<Retried>, Fault> {
        let names = self.applications.iter().map(|known| known.plan.name());
        let wanted = |name: &&str| application.is_none_or(|wanted| wanted == *name);
        let names: Vec<&str> = names.filter(wanted).collect();
        if let (Some(application), true) = (application, names.is_empty()) {
            return Err(Fault::InvalidValue(format!(
                "The running gateway has no application {application}."
            )));
        }
        let mut retried = Vec::with_capacity(names.len());
        for name in names {
            let now = self.clock.now();
            let view = self.store.view()?;
            let mut marks = view.failing(name, now)?;
            if let Some(person) = person {
                let mut theirs = Vec::new();
                for mark in marks {
                    let resource = view.resource(mark.handle)?;
                    if resource.is_some_and(|resource| is(&resource, person)) {
                        theirs.push(mark);
                    }
                }
                marks = theirs;
            }
            drop(view);
            for some in marks.chunks(SLICE) {
                let again = some.iter().map(|mark| MarkEdit::Set {
                    handle: mark.handle,
                    application: name.to_owned(),
                    due: now,
                    attempts: 0,
                    lane: mark.lane,
                    caused: false,
                    read: Some(mark.generation),
                });
                let change = ChangeSet {
                    marks: again.collect(),
                    generation: self.generation,
                    ..ChangeSet::default()
                };
                self.store.reserve()?.commit(change).await.map_err(lost)?;
            }
            let due = marks.len() as u64;
            if due > 0 {
                tracing::info!(application = name, due, "a person has these tried again");
            }
            retried.push(Retried {
                application: name.to_owned(),
                due,
            });
        }
        Ok(retried)
    }
}

/// The link of somebody whose account is to be found by the ordinary path: as if a create had been begun and nobody knew
/// what became of it. Nothing was sent, so that a miss counts at once.
fn looked_for(
    application: Option<&Application>,
    link: Link,
    now: Timestamp,
) -> Result<Link, Fault> {
    let name = &link.application;
    let refused = |why: String| Err(Fault::InvalidValue(why));
    let Some(application) = application else {
        return refused(format!(
            "The running gateway has no application {name}: nothing can be looked up there."
        ));
    };
    if !application.plan.config.adopt {
        return refused(format!(
            "{name} has adopt = false: an account that is found by its name would not be linked. Set adopt = true first."
        ));
    }
    if link.origin == Origin::Imported {
        return refused(format!(
            "The account was imported from {name} and never claimed: nothing is sent for it, so nothing is looked up."
        ));
    }
    let sent_name = link.sent.as_ref().and_then(mapping::user_name);
    let seen_name = link.seen_name.clone().or(sent_name.map(str::to_owned));
    Ok(Link {
        remote_id: None,
        state: State::Unborn,
        uncertain: link.uncertain.or(Some(Uncertain {
            intended: now,
            sent: Timestamp(0),
        })),
        sent: None,
        seen_name,
        dropped: Vec::new(),
        fresh: false,
        untaken: None,
        ..link
    })
}

fn is(resource: &Resource, person: &str) -> bool {
    schema::same_folded(resource.title(), person) || resource.id.as_str() == person
}

/// The user of this name or id who has a link there: the one that clients see, else one that was deleted.
fn holder(view: &View, application: &str, person: &str) -> Result<Handle, Fault> {
    for key in [Key::UserName(person), Key::Id(Kind::User, person)] {
        let Some(handle) = view.find(&key)? else {
            continue;
        };
        let resource = view.resource(handle)?;
        if resource.is_some_and(|resource| resource.link(application).is_some()) {
            return Ok(handle);
        }
    }
    let mut found: Vec<Resource> = Vec::new();
    let mut from = Some(Handle(0));
    while let Some(start) = from {
        from = view.everybody(start, SLICE, |resource| {
            let theirs = resource.kind == Kind::User && is(&resource, person);
            if theirs && resource.link(application).is_some() {
                found.push(resource);
            }
            Ok(())
        })?;
    }
    match found.as_slice() {
        [] => Err(no_link(application, person)),
        [one] => Ok(one.handle),
        several => {
            let ids: Vec<&str> = several.iter().map(|one| one.id.as_str()).collect();
            Err(Fault::InvalidValue(format!(
                "Several deleted users of this name have an account in {application}; say which by its id: {}.",
                ids.join(", ")
            )))
        }
    }
}

fn no_link(application: &str, person: &str) -> Fault {
    Fault::InvalidValue(format!(
        "No user {person} has an account in {application} that usher knows of."
    ))
}
