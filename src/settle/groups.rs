//! Groups in the applications: what a client's write of one means there, and the worker's half. Nothing here is ever
//! exchanged inline.
//!
//! A turn is either about the group itself (find, create, rename, delete) or about some of its members. It changes the
//! group's link and nothing that a client's write needs, so that a large group can be filled for minutes, or an application
//! hang, while the group is renamed and its members come and go.

mod compare;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::deliver::{MOMENT, Turned};
use super::draft::Prepared;
use super::record::{mark, relink};
use super::verdict::lost;
use super::{Application, Engine, Passage, STOPPING, TRIES, Unmade};
use crate::claims::{Claim, Held};
use crate::clock::Timestamp;
use crate::config::shape::Mode;
use crate::error::Fault;
use crate::journal::record::Status;
use crate::provision::call::Class;
use crate::provision::group::exchange::{self, Exchange, Step};
use crate::provision::group::members;
use crate::provision::group::plan::{self, Act, Decision, Facts};
use crate::provision::group::weigh;
use crate::provision::link::Link;
use crate::provision::weigh::{Due, OVERTAKING, Weighed};
use crate::scim::{Handle, Kind, Resource};
use crate::store::{ChangeSet, Intent, Lane, Mark, SentEdit, View};
use crate::upstream::gate::{Permit, Turn};
use compare::Batch;

/// How long one turn may take. A worker has no client waiting.
const TURN: Duration = Duration::from_secs(60);

impl Engine {
    /// What a client's write of a group means for every application; nothing if no application has to do with it.
    pub(super) fn unsent_group(&self, prepared: &Prepared, now: Timestamp) -> Vec<Weighed> {
        let group = &prepared.draft.resource;
        let concerned = |application: &Arc<Application>| {
            !application.plan.config.groups.push.is_empty()
                || group.link(application.plan.name()).is_some()
        };
        if !self.applications.iter().any(concerned) {
            return Vec::new();
        }
        // Taken after the marks were read: what came into doubt since has raised its mark.
        let view = self.store.view().ok();
        let known = |application: &str| {
            let view = view.as_ref()?;
            facts(view, application, group.handle).ok()
        };
        let all = self.applications.iter().zip(&prepared.busy);
        let weighed = all.map(|(application, busy)| {
            // Where that cannot be read, the worker looks.
            let mut facts = known(application.plan.name()).unwrap_or(Facts {
                in_doubt: true,
                refused: true,
                any_sent: true,
            });
            facts.in_doubt |= prepared.members.is_some();
            let decision = plan::plan(&application.plan, group, facts);
            let mut weighed =
                weigh::unsent(&application.plan, &decision, now, 0, "this is sent next");
            if decision.act == Act::Nothing {
                weighed.delivery.operation = prepared.draft.operation;
            }
            // The row is put by this write: a link goes by the worker, who knows what else goes with it.
            weighed.link = group.link(application.plan.name()).cloned();
            let overtakes = *busy && concerned(application);
            if overtakes {
                // Nothing that is known of the group there holds when the exchange about it has ended.
                weighed.delivery.status = Status::Queued;
                weighed.delivery.code = Some(String::from("queued"));
                weighed.delivery.reason = Some(OVERTAKING.to_owned());
            }
            if overtakes || weighed.mark.is_none() && decision.relinks(group, &application.plan) {
                weighed.mark = Some(Due {
                    at: now,
                    attempts: 0,
                    lane: Lane::Group,
                });
            }
            weighed
        });
        weighed.collect()
    }

    /// The class of the first call that settling a group's mark would make; `None`: it makes none.
    pub(super) fn foresee_group(
        &self,
        group: &Resource,
        application: &Application,
    ) -> Result<Option<Class>, Fault> {
        let facts = facts(&self.store.view()?, application.plan.name(), group.handle)?;
        let Decision {
            act,
            link,
            operation,
            ..
        } = plan::plan(&application.plan, group, facts);
        let now = self.clock.now();
        Ok(match act {
            Act::Nothing => None,
            Act::Members | Act::Leave => Some(Class::Light),
            Act::Give { .. } | Act::Update { .. } | Act::Delete => {
                match Exchange::begin(&application.plan, act, operation, link, now).step() {
                    Step::Call(call) => Some(call.class),
                    Step::Claim(_) | Step::End(_) => None,
                }
            }
        })
    }

    /// Settles a group's mark.
    pub(super) async fn deliver_group(
        &self,
        handle: Handle,
        application: &Application,
        permit: Option<Permit>,
    ) -> Result<Turned, Fault> {
        let patience = self.clock.now().plus(MOMENT);
        let name = application.plan.name();
        let mut wanted = BTreeSet::from([Claim::link(handle, name)]);
        for _ in 0..TRIES {
            let held = self.claims.acquire(&wanted, patience, &self.clock).await;
            let Ok(held) = held else {
                return Ok(Turned::Claimed(wanted));
            };
            let view = self.store.view()?;
            let now = self.clock.now();
            let Some(mark) = view.mark(handle, name)?.filter(|mark| mark.due <= now) else {
                return Ok(Turned::Nothing);
            };
            let Some(group) = view.resource(handle)? else {
                return self.clear(mark).await.map(Turned::from);
            };
            if view.forgetting(name, handle)? {
                // What was sent of an earlier group is still being dropped, and the mark is raised when that is done.
                return self.park(mark).await.map(Turned::from);
            }
            let facts = facts(&view, name, handle)?;
            let decision = plan::plan(&application.plan, &group, facts);
            let mut needed = wanted.clone();
            if decision.relinks(&group, &application.plan) {
                needed.insert(Claim::Account {
                    application: name.to_owned(),
                    key: plan::account_key(&application.plan, &group),
                });
            }
            if !held.covers(&needed) {
                drop(held);
                wanted = needed;
                continue;
            }
            let turn = GroupTurn {
                engine: self,
                application,
                group,
                mark,
                decision,
            };
            return turn.run(&view, permit, held).await.map(Turned::from);
        }
        Ok(Turned::Claimed(wanted))
    }
}

fn facts(view: &View, application: &str, group: Handle) -> Result<Facts, Fault> {
    Ok(Facts {
        in_doubt: view.comparing(application, group)?.is_some()
            || !view.doubts(application, group, false, 1)?.is_empty(),
        refused: !view.doubts(application, group, true, 1)?.is_empty(),
        any_sent: !view.sent_members(application, group, 1)?.is_empty(),
    })
}

/// One turn of the worker at one group.
struct GroupTurn<'a> {
    engine: &'a Engine,
    application: &'a Application,
    group: Resource,
    mark: Mark,
    decision: Decision,
}

impl GroupTurn<'_> {
    async fn run(
        self,
        view: &View,
        permit: Option<Permit>,
        held: Held,
    ) -> Result<Option<Status>, Fault> {
        let now = self.engine.clock.now();
        let live = self.application.plan.config.mode == Mode::Live;
        match &self.decision.act {
            Act::Give { .. } | Act::Update { .. } | Act::Delete if live => {
                self.converse(permit, held, now).await.map(Some)
            }
            Act::Members | Act::Leave if live => {
                self.bring(view, permit, held, now).await.map(Some)
            }
            _ => self.settle_unsent(now).await,
        }
    }

    fn name(&self) -> &str {
        self.application.plan.name()
    }

    /// Nothing goes. That is a line in the journal only where somebody waits for it, or where it says something.
    async fn settle_unsent(self, now: Timestamp) -> Result<Option<Status>, Fault> {
        let weighed = weigh::unsent(
            &self.application.plan,
            &self.decision,
            now,
            self.mark.attempts,
            "this is sent next",
        );
        let silent = self.mark.cause.is_empty()
            && !self.decision.relinks(&self.group, &self.application.plan)
            && matches!(
                weighed.delivery.code.as_deref(),
                Some("unchanged" | "not_pushed" | "unclaimed")
            );
        let status = weighed.delivery.status;
        let mut change = self.change(weighed, SentEdit::default(), None);
        if silent {
            change.journal.clear();
        }
        self.commit(change).await?;
        Ok(Some(status))
    }

    /// About the group itself.
    async fn converse(
        self,
        permit: Option<Permit>,
        held: Held,
        now: Timestamp,
    ) -> Result<Status, Fault> {
        let engine = self.engine;
        let place = engine.store.reserve()?;
        let decision = &self.decision;
        let link = exchange::unknown(
            &self.application.plan,
            &decision.act,
            decision.link.as_ref(),
            now,
        );
        let presumed = weigh::presumed(&self.application.plan, decision.operation, link, now);
        let intent = self.intend(presumed, SentEdit::default()).await?;

        let deadline = now.plus(TURN);
        let mut held = vec![held];
        let mut passage = Passage::new(Turn::Queued, deadline, permit);
        let capabilities = engine.discover(self.application, &mut passage).await;
        let mut exchange = Exchange::begin(
            &self.application.plan,
            decision.act.clone(),
            decision.operation,
            decision.link.clone(),
            now,
        )
        .knowing(capabilities);
        let outcome = loop {
            let call = match exchange.step() {
                Step::End(outcome) => break *outcome,
                Step::Claim(remote_id) => {
                    let owner = (Kind::Group, self.group.handle);
                    let claiming = engine.claim(self.application, remote_id, owner, deadline);
                    match claiming.await {
                        Ok((right, other)) => {
                            held.push(right);
                            exchange.claimed(other.as_deref());
                        }
                        Err(why) => break exchange.cut(&why.to_string()),
                    }
                    continue;
                }
                Step::Call(call) => call,
            };
            match engine.carry(self.application, call, &mut passage).await {
                Ok(carried) => {
                    let heard = exchange.hear(&carried.answer, carried.at);
                    carried.shows(&engine.store, self.application, &heard);
                }
                Err(Unmade::Late(why, wait)) => break exchange.put_off(&why, wait),
                Err(Unmade::Stopping) => break exchange.cut(STOPPING),
            }
        };
        // Whatever is next is planned again: members, once the group is there.
        let more = |link: Option<&Link>| {
            link.is_some_and(|link| link.remote_id.is_some()) || self.mark_is_behind(link)
        };
        let mut weighed = weigh::weigh(
            &self.application.plan,
            decision,
            outcome,
            more,
            engine.tries(self.application, self.mark.attempts),
            engine.clock.now(),
        );
        weighed.delivery.calls = passage.calls;
        let status = weighed.delivery.status;
        self.said(&weighed);
        let change = self.change(weighed, SentEdit::default(), Some(intent));
        place.commit(change).await.map_err(lost)?;
        Ok(status)
    }

    /// Whether what was just done is not what is wanted: the group is wanted, and there is none.
    fn mark_is_behind(&self, link: Option<&Link>) -> bool {
        link.is_none() && plan::is_pushed(&self.application.plan, &self.group)
    }

    /// About some of its members.
    async fn bring(
        self,
        view: &View,
        permit: Option<Permit>,
        held: Held,
        now: Timestamp,
    ) -> Result<Status, Fault> {
        let engine = self.engine;
        let leaving = self.decision.act == Act::Leave;
        let batch = if leaving {
            self.leavers(view)?
        } else {
            self.compare(view)?
        };
        let Batch {
            changes,
            local,
            compared,
            mut left,
        } = batch;
        left.more |= self.changes_name();
        left.leaving = changes.iter().any(|change| !change.adding);
        // Until the commit.
        let _held = held;
        let place = engine.store.reserve()?;
        let mut settles = None;
        if !changes.is_empty() {
            let link = self.decision.link.clone();
            let operation = self.decision.operation;
            let presumed = weigh::presumed(&self.application.plan, operation, link, now);
            let mut unknown = members::unknown(self.name(), self.group.handle, &changes);
            // What passed to another holder is known whatever becomes of the calls.
            unknown.rows.splice(0..0, local.rows.iter().cloned());
            settles = Some(self.intend(presumed, unknown).await?);
        }
        let deadline = now.plus(TURN);
        let remote_id = self
            .decision
            .link
            .as_ref()
            .and_then(|link| link.remote_id.clone())
            .unwrap_or_default();
        let mut passage = Passage::new(Turn::Queued, deadline, permit);
        let takes_out = plan::takes_out(self.decision.link.as_ref());
        let mut exchange =
            members::Exchange::with(&self.application.plan, &remote_id, &changes, takes_out);
        let mut cut = None;
        while let Some(call) = exchange.step() {
            match engine.carry(self.application, call, &mut passage).await {
                Ok(carried) => {
                    let heard = exchange.hear(&carried.answer);
                    carried.shows(&engine.store, self.application, &heard);
                }
                Err(Unmade::Late(detail, wait)) => {
                    cut = Some(members::End::Limited { detail, wait });
                    break;
                }
                Err(Unmade::Stopping) => {
                    cut = Some(members::End::Unavailable {
                        detail: STOPPING.to_owned(),
                        retry_after: None,
                    });
                    break;
                }
            }
        }
        let outcome = exchange.end(cut);
        let mut edit = members::kept(self.name(), self.group.handle, &changes, &outcome);
        if leaving {
            // Whom it does not let us take out stays: nothing is left to try once the link is gone.
            let refused = std::mem::take(&mut edit.refused);
            edit.rows
                .extend(refused.into_iter().map(|member| (member, None)));
        }
        // What was heard comes behind what was known before.
        edit.rows.splice(0..0, local.rows);
        edit.settled.extend(local.settled);
        edit.compared = compared.filter(|_| !outcome.open);
        let mut weighed = weigh::weigh_members(
            &self.application.plan,
            self.decision.link.clone(),
            &outcome,
            left,
            engine.tries(self.application, self.mark.attempts),
            engine.clock.now(),
        );
        weighed.delivery.calls = passage.calls;
        if let Some(link) = self.relinked(&outcome) {
            weighed.link = link;
        }
        // A line where something went, or where somebody waits to hear that nothing had to.
        let quiet = changes.is_empty() && (self.mark.cause.is_empty() || left.more);
        self.said(&weighed);
        let status = weighed.delivery.status;
        let mut change = self.change(weighed, edit, settles);
        if quiet {
            change.journal.clear();
        }
        place.commit(change).await.map_err(lost)?;
        Ok(status)
    }

    /// Whether something other than members is next.
    fn changes_name(&self) -> bool {
        let mut group = self.group.clone();
        group.set_link(self.name(), self.decision.link.clone());
        let next = plan::plan(&self.application.plan, &group, Facts::default());
        matches!(next.act, Act::Give { .. } | Act::Update { .. })
    }

    /// The link that an outcome about members leaves, where that is another one.
    fn relinked(&self, outcome: &members::Outcome) -> Option<Option<Link>> {
        match outcome.end {
            members::End::Gone => Some(None),
            members::End::Unsupported(_) => {
                let mut link = self.decision.link.clone()?;
                link.dropped = vec![String::from("members")];
                Some(Some(link))
            }
            _ if outcome.staying > 0 && plan::takes_out(self.decision.link.as_ref()) => {
                let mut link = self.decision.link.clone()?;
                link.dropped.push(String::from(plan::STAYING));
                Some(Some(link))
            }
            _ => None,
        }
    }

    /// Stores what stands if we die from here on.
    async fn intend(&self, presumed: Weighed, sent: SentEdit) -> Result<u64, Fault> {
        let intent = Intent {
            if_unknown: self.change(presumed, sent, None),
            ..Intent::default()
        };
        self.engine.store.intend(intent).await.map_err(lost)
    }

    /// A turn as a change set.
    fn change(&self, weighed: Weighed, sent: SentEdit, settles: Option<u64>) -> ChangeSet {
        let before = &self.group;
        let mut change = ChangeSet {
            settles,
            generation: self.engine.generation,
            ..ChangeSet::default()
        };
        let unasked = self.mark.cause.is_empty() && weighed.delivery.status.is_open();
        change.marks.extend(mark(
            &weighed,
            before.handle,
            self.name(),
            std::slice::from_ref(&self.mark),
            unasked,
        ));
        relink(&mut change, before, self.name(), weighed.link);
        let cause = self.mark.cause.clone();
        let record = self.engine.delivered(before, weighed.delivery, cause);
        change.journal.push(record);
        if sent != SentEdit::default() {
            change.sent.push(sent);
        }
        change
    }

    async fn commit(&self, change: ChangeSet) -> Result<(), Fault> {
        let place = self.engine.store.reserve()?;
        place.commit(change).await.map_err(lost)?;
        Ok(())
    }

    fn said(&self, weighed: &Weighed) {
        let delivery = &weighed.delivery;
        tracing::info!(application = self.name(), operation = ?delivery.operation, status = ?delivery.status, code = delivery.code.as_deref(), "delivery");
    }
}
