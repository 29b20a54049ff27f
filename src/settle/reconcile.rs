//! Comparing an application with what the links say of it: accounts that are missing there, that are nobody's here, and
//! that somebody else has changed.
//!
//! Reading changes nothing. What is to be mended is only marked, as in doubt and due: the ordinary path reads it back, and
//! does what policy allows. Whoever is marked is a set of its own, so that the removals in it are counted whole before the
//! first of them goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::draft::Known;
use super::peruse::{Page, Stop};
use super::record::relink;
use super::verdict::lost;
use super::{Application, Engine};
use crate::claims::Claim;
use crate::clock::Timestamp;
use crate::config::shape::Mode;
use crate::error::Fault;
use crate::journal::record::{Delivery, Status};
use crate::provision::drift::{Drifted, drift};
use crate::provision::link::{Link, State, Uncertain};
use crate::provision::plan::{self, Act};
use crate::provision::profile::Shown;
use crate::scim::{Handle, Kind, Resource};
use crate::store::{ChangeSet, Import, MarkEdit};

/// Accounts of each kind that are named; all are counted.
const NAMED: usize = 10_000;

/// Resources whose links are looked at in one go.
const SLICE: usize = 500;

/// How many accounts are read before what they show is kept.
const CHUNK: usize = 64;

/// What a comparison found. The shape is public: scripts read it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reconciled {
    /// The application.
    pub application: String,
    /// Accounts that its list shows.
    pub accounts: u64,
    /// Users here that have an account there by their link.
    pub links: u64,
    /// Linked here, and not there.
    pub missing: Told,
    /// There, and nobody's here.
    pub foreign: Told,
    /// Changed there by somebody else.
    pub drifted: Told,
    /// Accounts that were marked, to be mended by the ordinary path.
    pub marked: u64,
    /// Accounts that differ, and about which policy lets nothing be done.
    pub left: u64,
}

/// Some accounts that differ in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Told {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub accounts: Vec<Account>,
}

/// An account that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id there.
    pub remote_id: String,
    /// Its user here, or what it is called there.
    pub user: String,
    /// What differs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Drifted>,
}

impl Told {
    fn tell(&mut self, account: Account) {
        self.count += 1;
        if self.accounts.len() < NAMED {
            self.accounts.push(account);
        }
    }
}

impl Reconciled {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.missing.count + self.foreign.count + self.drifted.count == 0
    }
}

/// What came of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// This.
    Whole(Reconciled),
    /// The list is suspiciously short: nothing was compared and nothing changed. Why, for people.
    Short(String),
}

/// A link that should have an account behind it: whose, and the account's id.
type Linked = (Handle, String);

/// What differs of one, to be marked.
struct Differs {
    handle: Handle,
    remote_id: String,
    /// It is active there, whatever the link says.
    active: bool,
}

impl Engine {
    /// Compares. `fix`: marks what differs, as far as policy lets anything be done about it.
    ///
    /// # Errors
    /// [`Fault::Unavailable`]: somebody else reads it through at the moment, or it gives no good answer.
    pub async fn reconcile(
        self: &Arc<Self>,
        application: &Arc<Application>,
        fix: bool,
    ) -> Result<Comparison, Fault> {
        if fix {
            self.store.refuse_unconfirmed()?;
        }
        let busy = || Fault::Unavailable {
            retry_after: 60,
            detail: String::from(
                "An import or a comparison of it is under way; try again when it has ended.",
            ),
        };
        let _turn = application.reading.turn.try_lock().map_err(|_| busy())?;
        application.reading.is_at(0, None);
        let name = application.plan.name();
        let mut found = Reconciled {
            application: name.to_owned(),
            ..Reconciled::default()
        };
        let listed = self.listed(application).await?;
        let linked = {
            let (engine, name) = (Arc::clone(self), name.to_owned());
            blocking(move || engine.linked(&name)).await?
        };
        found.accounts = listed.len() as u64;
        found.links = linked.len() as u64;
        if let Some(short) = self.doubted(application, &found)? {
            return Ok(Comparison::Short(short));
        }
        found.foreign = {
            let (engine, name) = (Arc::clone(self), name.to_owned());
            blocking(move || engine.foreign(&name, listed)).await?
        };
        let differing = self.compare_all(application, linked, &mut found).await?;
        self.seen_whole(application, found.accounts).await?;
        if fix {
            // Whoever asked may go away; the set is closed all the same.
            let (engine, application) = (Arc::clone(self), Arc::clone(application));
            let marking =
                tokio::spawn(async move { engine.mark_all(&application, differing).await });
            let marked = marking
                .await
                .map_err(|died| Fault::Internal(died.to_string()))?;
            (found.marked, found.left) = marked?;
        }
        tracing::info!(
            application = name,
            accounts = found.accounts,
            links = found.links,
            missing = found.missing.count,
            foreign = found.foreign.count,
            drifted = found.drifted.count,
            marked = found.marked,
            "reconcile: done"
        );
        Ok(Comparison::Whole(found))
    }

    /// Every account that the list shows: its id, and what it is called.
    async fn listed(&self, application: &Application) -> Result<BTreeMap<String, String>, Fault> {
        let mut all = BTreeMap::new();
        let (mut next, mut first) = (1, None);
        let drain = self.cut.subscribe();
        loop {
            let page = self.page(application, Kind::User, next, &drain).await;
            let Page { items, total } = page.map_err(|stop| away(application, stop))?;
            let shows = items.first().map(|shown| shown.id.clone());
            if items.is_empty() || shows == first {
                break;
            }
            first = shows;
            next += items.len();
            all.extend(items.into_iter().map(|shown| {
                let called = shown.user_name.clone().unwrap_or_default();
                (shown.id, called)
            }));
            application.reading.is_at(0, total);
            if total.is_some_and(|total| next > total) {
                break;
            }
        }
        Ok(all)
    }

    /// Those of them that are nobody's here.
    fn foreign(&self, name: &str, listed: BTreeMap<String, String>) -> Result<Told, Fault> {
        let view = self.store.view()?;
        let mut foreign = Told::default();
        for (remote_id, user) in listed {
            let key = super::import::remote(Kind::User, name, &remote_id);
            if view.find(&key)?.is_none() {
                foreign.tell(Account {
                    remote_id,
                    user,
                    attributes: Vec::new(),
                });
            }
        }
        Ok(foreign)
    }

    /// Every link of a user to an account that reads of the application show.
    fn linked(&self, name: &str) -> Result<Vec<Linked>, Fault> {
        let view = self.store.view()?;
        let (mut linked, mut next) = (Vec::new(), Some(Handle(0)));
        while let Some(from) = next {
            next = view.everybody(from, SLICE, |resource| {
                let link = resource.link(name).filter(|_| resource.kind == Kind::User);
                // What is pending is denied, and what is not born yet is looked for by who gives it.
                let there = |link: &&Link| {
                    matches!(
                        link.state,
                        State::Active | State::Deactivated | State::Unseen
                    )
                };
                let remote_id = link.filter(there).and_then(|link| link.remote_id.clone());
                linked.extend(remote_id.map(|remote_id| (resource.handle, remote_id)));
                Ok(())
            })?;
        }
        Ok(linked)
    }

    /// Why a list that came back suspiciously short is not believed: everybody whom it does not show would be taken for
    /// gone.
    fn doubted(
        &self,
        application: &Application,
        found: &Reconciled,
    ) -> Result<Option<String>, Fault> {
        let name = application.plan.name();
        let last = self.store.view()?.import(name)?;
        let whole = last.map_or(0, |last| last.whole);
        for (expected, from) in [
            (found.links, "are linked here"),
            (whole, "were there the last time"),
        ] {
            if found.accounts.saturating_mul(5) < expected.saturating_mul(4) {
                return Ok(Some(format!(
                    "{name} shows {} accounts, and {expected} {from}: a list that is so short is not believed. Nothing was changed.",
                    found.accounts
                )));
            }
        }
        Ok(None)
    }

    /// Reads each account that is linked, and tells what differs.
    async fn compare_all(
        self: &Arc<Self>,
        application: &Arc<Application>,
        linked: Vec<Linked>,
        found: &mut Reconciled,
    ) -> Result<Vec<Differs>, Fault> {
        let (all, mut done) = (linked.len(), 0);
        let mut differing = Vec::new();
        let drain = self.cut.subscribe();
        for chunk in linked.chunks(CHUNK) {
            let before = self.users(chunk)?;
            let ids = chunk.iter().map(|(_, id)| id.clone()).collect();
            let read = self.read_all(application, Kind::User, ids, &drain).await;
            let read = read.map_err(|stop| away(application, stop))?;
            let after = self.users(chunk)?;
            for (at, read) in read.into_iter().enumerate() {
                let (Some((handle, remote_id)), Some(Some(user))) = (chunk.get(at), before.get(at))
                else {
                    continue;
                };
                let link = |user: &Resource| user.link(application.plan.name()).cloned();
                let now = after.get(at).and_then(Option::as_ref).and_then(link);
                // What we write to meanwhile is as we leave it.
                let Some(link) = link(user).filter(|link| now.as_ref() == Some(link)) else {
                    continue;
                };
                let differs = match &read.shown {
                    None => Vec::new(),
                    Some(shown) => drift(&application.plan, &link, shown),
                };
                let told = match &read.shown {
                    None => &mut found.missing,
                    Some(_) if differs.is_empty() => continue,
                    Some(_) => &mut found.drifted,
                };
                told.tell(Account {
                    remote_id: remote_id.clone(),
                    user: user.title().to_owned(),
                    attributes: differs,
                });
                differing.push(Differs {
                    handle: *handle,
                    remote_id: remote_id.clone(),
                    active: read.shown.as_ref().is_some_and(is_active),
                });
            }
            done += chunk.len();
            application.reading.is_at(done, Some(all));
        }
        Ok(differing)
    }

    /// They as they are here now.
    fn users(&self, linked: &[Linked]) -> Result<Vec<Option<Resource>>, Fault> {
        let view = self.store.view()?;
        linked
            .iter()
            .map(|(handle, _)| view.resource(*handle))
            .collect()
    }

    /// Remembers how long a whole list was.
    async fn seen_whole(&self, application: &Application, accounts: u64) -> Result<(), Fault> {
        let name = application.plan.name();
        let _begins = application.reading.begins.lock().await;
        let last = self.store.view()?.import(name)?;
        let mut last = last.unwrap_or_else(|| Import {
            number: 0,
            ended: Some(self.clock.now()),
            ..Import::after(None, name, false, Timestamp(0))
        });
        last.whole = accounts;
        self.note(&last).await
    }

    /// Marks them, as one set. How many, and how many were left alone.
    async fn mark_all(
        &self,
        application: &Application,
        differing: Vec<Differs>,
    ) -> Result<(u64, u64), Fault> {
        let set = self.set_number();
        let (mut marked, mut left) = (0, 0);
        let mut failed = None;
        for one in differing {
            match self.mark_one(application, &one, set).await {
                Ok(true) => marked += 1,
                Ok(false) => left += 1,
                Err(fault) => {
                    failed = Some(fault);
                    break;
                }
            }
        }
        // What was marked of it is counted, whatever became of the rest.
        self.close_set(set).await;
        failed.map_or(Ok((marked, left)), Err)
    }

    /// Marks one. False: it is not what it was any more, or nothing is to be done about it.
    async fn mark_one(
        &self,
        application: &Application,
        one: &Differs,
        set: u64,
    ) -> Result<bool, Fault> {
        let name = application.plan.name();
        let patience = self.clock.now().plus(self.patience());
        let wanted = BTreeSet::from([Claim::link(one.handle, name)]);
        let _held = self.claims.acquire(&wanted, patience, &self.clock).await?;
        let (view, now) = (self.store.view()?, self.clock.now());
        let Some(before) = view.resource(one.handle)? else {
            return Ok(false);
        };
        let mut after = before.clone();
        let Some(mut link) = after.link(name).cloned() else {
            return Ok(false);
        };
        if link.remote_id.as_deref() != Some(one.remote_id.as_str()) || link.is_unclaimed() {
            return Ok(false);
        }
        doubt(&mut link, one.active, now);
        after.set_link(name, Some(link));
        let known = Known::read(&view, application, &after)?.counted();
        let decision = plan::plan(&application.plan, known.facts(&after, now));
        drop(view);
        if decision.act == Act::Nothing || application.plan.config.mode != Mode::Live {
            return Ok(false);
        }
        let delivery = Delivery {
            application: name.to_owned(),
            operation: decision.act.operation(),
            remote_id: Some(one.remote_id.clone()),
            status: Status::Queued,
            code: Some(String::from("reconcile")),
            reason: Some(String::from(
                "it is not as it was left there: it is read back, and brought to what it should be",
            )),
            calls: Vec::new(),
        };
        let mut change = ChangeSet {
            generation: self.generation,
            bulk: Some(set),
            ..ChangeSet::default()
        };
        change
            .journal
            .push(self.delivered(&before, delivery, Vec::new()));
        change.marks.push(MarkEdit::Set {
            handle: before.handle,
            application: name.to_owned(),
            due: now,
            attempts: 0,
            lane: decision.act.lane(),
            caused: true,
            read: None,
        });
        let link = after.link(name).cloned();
        relink(&mut change, &before, name, link);
        self.store.reserve()?.commit(change).await.map_err(lost)?;
        Ok(true)
    }
}

/// Nothing is certain of it. What is active there, and was deactivated by us, has to be taken away again, and counts again.
fn doubt(link: &mut Link, active: bool, now: Timestamp) {
    let uncertain = link.uncertain.get_or_insert(Uncertain {
        intended: now,
        sent: now,
    });
    uncertain.sent = now;
    if active && link.state == State::Deactivated {
        link.state = State::Active;
        if let Some(removal) = &mut link.removal {
            removal.counted = false;
        }
    }
}

/// The store is read on a thread of its own: requests come first.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|died| Fault::Internal(died.to_string()))?
}

fn is_active(shown: &Shown) -> bool {
    shown.active != Some(false)
}

fn away(application: &Application, stop: Stop) -> Fault {
    let name = application.plan.name();
    Fault::Unavailable {
        retry_after: 60,
        detail: match stop {
            Stop::Drain => String::from("The gateway is stopping."),
            Stop::Refused(why) | Stop::Failed(why) | Stop::Unread(_, why) => {
                format!("{name} gives no good answer, so nothing was compared: {why}")
            }
        },
    }
}
