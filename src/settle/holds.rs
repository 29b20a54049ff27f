//! What a person says about held removals: released, for a time, or rejected. Each is written by the path of any other
//! change: claimed, looked at again, committed with its line in the journal.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::record::relink;
use super::verdict::lost;
use super::{Application, Engine};
use crate::claims::Claim;
use crate::clock::Timestamp;
use crate::error::Fault;
use crate::journal::record::{Delivery, Operation, Status};
use crate::policy::safety::Allowance;
use crate::provision::link::{Cause, Removal, State};
use crate::scim::{Handle, Resource, schema};
use crate::store::{ChangeSet, Lane, MarkEdit, View};

/// A removal that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The application.
    pub application: String,
    /// The person's userName in the directory.
    pub user: String,
    /// The person's id in the directory.
    pub id: String,
    /// The account's id in the application.
    pub remote_id: Option<String>,
    /// Why the account is to go.
    pub cause: Cause,
    /// What is to become of it first.
    pub operation: Operation,
    /// When the removal was asked for.
    pub asked: Timestamp,
    /// Since when it is held.
    pub held: Timestamp,
}

/// Whom a person's word is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// One, by userName (in any case) or id.
    Person(String),
    /// So many, those who are held longest first, and what is left of that number whoever comes next.
    People(u64),
    /// All that are held now.
    All,
}

/// What came of a person's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The application.
    pub application: String,
    /// Whose removal was released or rejected.
    pub people: Vec<String>,
    /// Removals that may go beside these until then.
    pub allowance: Option<(u64, Timestamp)>,
}

impl Engine {
    /// The held removals of an application, those held longest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn holds(view: &View, application: &str) -> Result<Vec<Hold>, Fault> {
        let found = held(view, application)?;
        Ok(found.into_iter().map(|(_, hold)| hold).collect())
    }

    /// Releases held removals: they go without asking the safety limit, and what has not gone by `until` is held again.
    ///
    /// # Errors
    /// Nobody of this name is held there, or the store does not take it.
    pub async fn release(
        &self,
        application: &Application,
        whom: &Whom,
        until: Timestamp,
    ) -> Result<Said, Fault> {
        let name = application.plan.name();
        let people = self.whom(name, whom)?;
        let mut said = Said {
            application: name.to_owned(),
            people: Vec::new(),
            allowance: None,
        };
        for handle in people {
            let word = |removal: &mut Removal| {
                removal.held = None;
                removal.counted = true;
                removal.released = Some(until);
            };
            let released = self.say(application, handle, Word::Released, word).await?;
            said.people.extend(released);
        }
        if let Whom::People(number) = whom {
            let left = number.saturating_sub(said.people.len() as u64);
            let allowance = (left > 0).then_some(Allowance { left, until });
            self.store.allow(name, allowance).await.map_err(lost)?;
            said.allowance = allowance.map(|it| (it.left, it.until));
        }
        let (people, allowed) = (said.people.len(), said.allowance.map(|(left, _)| left));
        tracing::warn!(application = name, people, allowed, until = %until.rfc3339(), "held removals were released");
        Ok(said)
    }

    /// Rejects held removals: the accounts stay until their people have been in scope again.
    ///
    /// # Errors
    /// As [`Engine::release`].
    pub async fn reject(&self, application: &Application, whom: &Whom) -> Result<Said, Fault> {
        let name = application.plan.name();
        let mut people = Vec::new();
        for handle in self.whom(name, whom)? {
            let word = |removal: &mut Removal| removal.held = None;
            let rejected = self.say(application, handle, Word::Rejected, word).await?;
            people.extend(rejected);
        }
        tracing::warn!(
            application = name,
            people = people.len(),
            "held removals were rejected"
        );
        Ok(Said {
            application: name.to_owned(),
            people,
            allowance: None,
        })
    }

    fn whom(&self, application: &str, whom: &Whom) -> Result<Vec<Handle>, Fault> {
        let found = held(&self.store.view()?, application)?;
        let (wanted, most) = match whom {
            Whom::All => (None, usize::MAX),
            Whom::People(number) => (None, usize::try_from(*number).unwrap_or(usize::MAX)),
            Whom::Person(name) => (Some((name, schema::fold(name))), usize::MAX),
        };
        let is = |hold: &Hold| {
            wanted.as_ref().is_none_or(|(exact, folded)| {
                hold.id == **exact || schema::fold(&hold.user) == *folded
            })
        };
        let people: Vec<Handle> = found
            .into_iter()
            .filter(|(_, hold)| is(hold))
            .map(|(handle, _)| handle)
            .take(most)
            .collect();
        if wanted.is_some() && people.is_empty() {
            return Err(Fault::NotFound(format!(
                "No removal of that person is held for {application}."
            )));
        }
        Ok(people)
    }

    /// Writes a person's word on one link. The user's name; `None`: it is not held any more.
    async fn say(
        &self,
        application: &Application,
        handle: Handle,
        said: Word,
        word: impl FnOnce(&mut Removal),
    ) -> Result<Option<String>, Fault> {
        let name = application.plan.name();
        let patience = self.clock.now().plus(self.patience());
        let wanted = BTreeSet::from([Claim::link(handle, name)]);
        let _held = self.claims.acquire(&wanted, patience, &self.clock).await?;
        let (view, now) = (self.store.view()?, self.clock.now());
        let Some(before) = view.resource(handle)? else {
            return Ok(None);
        };
        let mark = view.mark(handle, name)?;
        let Some(mut link) = before.link(name).cloned() else {
            return Ok(None);
        };
        let Some(removal) = link.removal.as_mut().filter(|it| it.held.is_some()) else {
            return Ok(None);
        };
        word(removal);
        let operation = operation(removal.cause);
        let (status, code, reason) = match said {
            Word::Released => (
                Status::Queued,
                "released",
                "a person has released this removal; it goes next",
            ),
            Word::Rejected => {
                link.kept = true;
                (
                    Status::Skipped,
                    "rejected",
                    "a person has rejected this removal: the account stays until the person has been in scope again",
                )
            }
        };
        let delivery = Delivery {
            application: name.to_owned(),
            operation,
            remote_id: link.remote_id.clone(),
            status,
            code: Some(String::from(code)),
            reason: Some(String::from(reason)),
            calls: Vec::new(),
        };
        let cause = mark.as_ref().map(|mark| mark.cause.clone());
        let unasked = cause.as_ref().is_none_or(Vec::is_empty);
        let mut change = ChangeSet {
            generation: self.generation,
            ..ChangeSet::default()
        };
        change
            .journal
            .push(self.delivered(&before, delivery, cause.unwrap_or_default()));
        change.marks.extend(match (said, mark) {
            (Word::Released, mark) => Some(MarkEdit::Set {
                handle,
                application: name.to_owned(),
                due: now,
                attempts: 0,
                lane: Lane::Deactivate,
                caused: unasked,
                read: mark.map(|mark| mark.generation),
            }),
            (Word::Rejected, Some(mark)) => Some(MarkEdit::Clear {
                handle,
                application: name.to_owned(),
                generation: mark.generation,
            }),
            (Word::Rejected, None) => None,
        });
        relink(&mut change, &before, name, Some(link));
        drop(view);
        self.store.reserve()?.commit(change).await.map_err(lost)?;
        Ok(Some(before.title().to_owned()))
    }
}

#[derive(Debug, Clone, Copy)]
enum Word {
    Released,
    Rejected,
}

/// Those whose removal is held, longest first.
fn held(view: &View, application: &str) -> Result<Vec<(Handle, Hold)>, Fault> {
    let mut found = Vec::new();
    if view.tally(application)?.holds == 0 {
        return Ok(found);
    }
    for mark in view.parked(application)? {
        let Some(user) = view.resource(mark.handle)? else {
            continue;
        };
        found.extend(hold(application, &user).map(|hold| (mark.handle, hold)));
    }
    found.sort_by_key(|(handle, hold)| (hold.held, *handle));
    Ok(found)
}

fn hold(application: &str, user: &Resource) -> Option<Hold> {
    let link = user.link(application)?;
    let removal = link.removal.as_ref()?;
    Some(Hold {
        application: application.to_owned(),
        user: user.title().to_owned(),
        id: user.id.as_str().to_owned(),
        remote_id: link.remote_id.clone(),
        cause: removal.cause,
        operation: match link.state {
            State::Deactivated => Operation::Delete,
            _ => operation(removal.cause),
        },
        asked: removal.asked,
        held: removal.held?,
    })
}

fn operation(cause: Cause) -> Operation {
    match cause {
        Cause::Deleted => Operation::Delete,
        Cause::Inactive | Cause::OutOfScope => Operation::Deactivate,
    }
}
