//! The worker's half: a mark, settled by the same path as a client's write.

use std::collections::BTreeSet;
use std::time::Duration;

use super::draft::Known;
use super::record::{mark, put};
use super::verdict::lost;
use super::{Application, Attempt, Engine, Occasion, TRIES};
use crate::claims::{Claim, Held};
use crate::clock::Timestamp;
use crate::config::shape::Mode;
use crate::error::Fault;
use crate::journal::record::Status;
use crate::provision::call::Class;
use crate::provision::exchange::{Exchange, Step};
use crate::provision::plan::{self, Act, Decision};
use crate::provision::weigh::{self, Weighed};
use crate::scim::{Handle, Kind, Resource};
use crate::store::{ChangeSet, Mark, MarkEdit};
use crate::upstream::gate::{Permit, Turn};

/// How long a turn waits for claims: a commit takes less.
pub(super) const MOMENT: Duration = Duration::from_secs(1);

/// What came of a mark's turn.
pub enum Turned {
    /// There was nothing to do.
    Nothing,
    /// It was settled.
    Settled(Status),
    /// Somebody else holds one of these for long: its turn comes when they are free, and others go first.
    Claimed(BTreeSet<Claim>),
}

impl From<Option<Status>> for Turned {
    fn from(status: Option<Status>) -> Self {
        status.map_or(Self::Nothing, Self::Settled)
    }
}

impl Engine {
    /// Waits until nobody holds any of these.
    pub async fn released(&self, claims: &BTreeSet<Claim>) {
        // Without an end there is no refusal.
        let _free = self
            .claims
            .acquire(claims, Timestamp::NEVER, &self.clock)
            .await;
    }

    /// The class of the first call that settling a mark would make; `None`: it makes none. A guess without claims, for
    /// waiting in the right line before anything is claimed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn foresee(
        &self,
        handle: Handle,
        application: &Application,
    ) -> Result<Option<Class>, Fault> {
        if application.plan.config.mode != Mode::Live {
            return Ok(None);
        }
        let view = self.store.view()?;
        let Some(resource) = view.resource(handle)? else {
            return Ok(None);
        };
        if resource.kind == Kind::Group {
            return self.foresee_group(&resource, application);
        }
        let now = self.clock.now();
        let known = Known::read(&view, application, &resource)?;
        drop(view);
        let facts = known.facts(&resource, now);
        let Decision { act, link, .. } = plan::plan(&application.plan, facts);
        if act == Act::Nothing {
            return Ok(None);
        }
        let mut exchange = Exchange::begin(&application.plan, act, link, now);
        Ok(match exchange.step() {
            Step::Call(call) => Some(call.class),
            Step::Claim(_) | Step::End(_) => None,
        })
    }

    /// Settles a mark: the worker's half of the same path. `permit`: the first call's turn, as [`Engine::foresee`] told
    /// its class.
    ///
    /// # Errors
    /// The mark stands and will be taken up again.
    pub async fn deliver(
        &self,
        handle: Handle,
        application: &Application,
        mut permit: Option<Permit>,
    ) -> Result<Turned, Fault> {
        let begun = self.clock.now();
        let name = application.plan.name();
        let kind = self.store.view()?.row(handle, |row| row.kind)?;
        if kind == Some(Kind::Group) {
            return self.deliver_group(handle, application, permit).await;
        }
        let mut wanted = BTreeSet::from([Claim::Resource(handle)]);
        for _ in 0..TRIES {
            // Whoever holds them may stand in the gate's line, or hang at another application: a place in that line is not
            // kept from them, nor one of the worker's for long.
            let at_once = self.claims.acquire(&wanted, begun, &self.clock).await;
            let held = match at_once {
                Ok(held) => held,
                Err(_) => {
                    permit = None;
                    let until = begun.plus(MOMENT);
                    match self.claims.acquire(&wanted, until, &self.clock).await {
                        Ok(held) => held,
                        Err(_) => return Ok(Turned::Claimed(wanted)),
                    }
                }
            };
            let view = self.store.view()?;
            let now = self.clock.now();
            let Some(mark) = view.mark(handle, name)?.filter(|mark| mark.due <= now) else {
                return Ok(Turned::Nothing);
            };
            let Some(resource) = view.resource(handle)? else {
                // The resource is gone, and so is what the mark was about.
                return self.clear(mark).await.map(Turned::from);
            };
            let known = Known::read(&view, application, &resource)?;
            drop(view);
            let mut needed = wanted.clone();
            if let Some(key) = plan::account_key(&application.plan, &resource) {
                needed.insert(Claim::Account {
                    application: name.to_owned(),
                    key,
                });
            }
            if held.covers(&needed) {
                return self
                    .carry_on((resource, known), mark, application, permit, held)
                    .await
                    .map(Turned::from);
            }
            drop(held);
            wanted = needed;
        }
        Ok(Turned::Claimed(wanted))
    }

    async fn carry_on(
        &self,
        (resource, known): (Resource, Known),
        mark: Mark,
        application: &Application,
        permit: Option<Permit>,
        held: Held,
    ) -> Result<Option<Status>, Fault> {
        let now = self.clock.now();
        let name = application.plan.name();
        let facts = known.facts(&resource, now);
        let mut decision = plan::plan(&application.plan, facts);
        let settled = decision.act == Act::Nothing
            && decision.note.is_none()
            && decision.again.is_none()
            && decision.link.as_ref() == resource.link(name);
        if settled && mark.cause.is_empty() {
            // Nobody asked for anything, and nothing differs: there is nothing to tell either.
            return self.clear(mark).await;
        }
        let place = self.store.reserve()?;
        let mut held = vec![held];
        let mut settles = None;
        let mut weighed = None;
        if decision.act != Act::Nothing && application.plan.config.mode == Mode::Live {
            let occasion = Occasion {
                handle: resource.handle,
                intended: now,
                // A worker has no client waiting: each call has its own time, and the whole has an end.
                deadline: now.plus(Duration::from_secs(60)),
                turn: Turn::Queued,
            };
            let if_unknown =
                |presumed| self.delivery(&resource, &mark, application, presumed, None);
            if let Some(Attempt {
                intent,
                outcome,
                calls,
            }) = self
                .attempt(
                    application,
                    &mut decision,
                    occasion,
                    permit,
                    if_unknown,
                    &mut held,
                )
                .await?
            {
                settles = Some(intent);
                weighed = Some(self.weighed(
                    application,
                    facts,
                    &decision,
                    outcome,
                    calls,
                    mark.attempts,
                ));
            }
        }
        let weighed = weighed.unwrap_or_else(|| {
            weigh::unsent(
                &application.plan,
                &decision,
                self.clock.now(),
                mark.attempts,
                "this is sent next",
            )
        });
        let status = weighed.delivery.status;
        tracing::info!(application = name, operation = ?weighed.delivery.operation, status = ?status, code = weighed.delivery.code.as_deref(), "delivery");
        let change = self.delivery(&resource, &mark, application, weighed, settles);
        place.commit(change).await.map_err(lost)?;
        Ok(Some(status))
    }

    pub(super) async fn clear(&self, mark: Mark) -> Result<Option<Status>, Fault> {
        let clear = MarkEdit::Clear {
            handle: mark.handle,
            application: mark.application,
            generation: mark.generation,
        };
        let change = ChangeSet {
            marks: vec![clear],
            generation: self.generation,
            ..ChangeSet::default()
        };
        self.store.reserve()?.commit(change).await.map_err(lost)?;
        Ok(None)
    }

    /// A worker's exchange as a change set.
    fn delivery(
        &self,
        before: &Resource,
        mark_was: &Mark,
        application: &Application,
        weighed: Weighed,
        settles: Option<u64>,
    ) -> ChangeSet {
        let mut after = before.clone();
        after.set_link(application.plan.name(), weighed.link.clone());
        let mut change = ChangeSet {
            settles,
            generation: self.generation,
            ..ChangeSet::default()
        };
        change.marks.extend(mark(
            &weighed,
            before.handle,
            application.plan.name(),
            std::slice::from_ref(mark_was),
            false,
        ));
        change
            .journal
            .push(self.delivered(before, weighed.delivery, mark_was.cause.clone()));
        put(&mut change, Some(before), after);
        change
    }
}
