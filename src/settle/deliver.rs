//! The worker's half: a mark, settled by the same path as a client's write.

use std::collections::BTreeSet;
use std::time::Duration;

use super::draft::Known;
use super::record::{mark, relink};
use super::succession::{Part, part, successor};
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
        // One after the other: who waits for the second must not seem to be at the first. Without an end there is no refusal.
        for claim in claims {
            let one = BTreeSet::from([claim.clone()]);
            let _free = self
                .claims
                .acquire(&one, Timestamp::NEVER, &self.clock)
                .await;
        }
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
        let mut wanted = BTreeSet::from([Claim::link(handle, name)]);
        for _ in 0..TRIES {
            // Whoever holds them may stand in the gate's line, or be a client's write whose call hangs elsewhere: a place in
            // that line is not kept from them, nor one of the worker's for long.
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
            if let Some(successor) = successor(&view, application, &resource)? {
                return self.pass_on(mark, successor).await.map(Turned::from);
            }
            let Part { claims, orphan, .. } = part(&view, application, &resource, None)?;
            if held.covers(&claims) {
                let taken = match orphan {
                    Some((tombstone, link)) => {
                        let mut user = resource.clone();
                        user.set_link(name, Some(link));
                        let mark = view.mark(tombstone.handle, name)?;
                        Some(Taken {
                            user,
                            tombstone,
                            mark,
                        })
                    }
                    None => None,
                };
                let user = taken.as_ref().map_or(&resource, |taken| &taken.user);
                let known = Known::read(&view, application, user)?;
                drop(view);
                let turn = UserTurn {
                    engine: self,
                    application,
                    before: resource,
                    taken,
                    known,
                    mark,
                };
                return turn.run(permit, held).await.map(Turned::from);
            }
            drop(held);
            wanted = claims;
        }
        Ok(Turned::Claimed(wanted))
    }

    /// Nothing is done before the mark is raised, and whoever waits for it goes on waiting.
    pub(super) async fn park(&self, mark: Mark) -> Result<Option<Status>, Fault> {
        let parked = MarkEdit::Set {
            handle: mark.handle,
            application: mark.application,
            due: Timestamp::NEVER,
            attempts: mark.attempts,
            lane: mark.lane,
            caused: false,
            read: Some(mark.generation),
        };
        let change = ChangeSet {
            marks: vec![parked],
            generation: self.generation,
            ..ChangeSet::default()
        };
        self.store.reserve()?.commit(change).await.map_err(lost)?;
        Ok(None)
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
}

/// One turn of the worker at one user.
struct UserTurn<'a> {
    engine: &'a Engine,
    application: &'a Application,
    /// As it is in the directory. Its row may change while this turn lasts: then its mark is raised.
    before: Resource,
    taken: Option<Taken>,
    known: Known,
    mark: Mark,
}

/// A deleted user's link that goes to a new user of the same name.
struct Taken {
    /// The new one, with it.
    user: Resource,
    tombstone: Resource,
    /// What was still to be done about it.
    mark: Option<Mark>,
}

impl UserTurn<'_> {
    async fn run(self, permit: Option<Permit>, held: Held) -> Result<Option<Status>, Fault> {
        let Self {
            engine,
            application,
            ..
        } = self;
        let now = engine.clock.now();
        let name = application.plan.name();
        let user = self
            .taken
            .as_ref()
            .map_or(&self.before, |taken| &taken.user);
        let facts = self.known.facts(user, now);
        let mut decision = plan::plan(&application.plan, facts);
        let settled = decision.act == Act::Nothing
            && decision.note.is_none()
            && decision.again.is_none()
            && decision.link.as_ref() == self.before.link(name);
        if settled && self.mark.cause.is_empty() {
            // Nobody asked for anything, and nothing differs: there is nothing to tell either.
            return engine.clear(self.mark).await;
        }
        let place = engine.store.reserve()?;
        let mut held = vec![held];
        let mut settles = None;
        let mut weighed = None;
        if decision.act != Act::Nothing && application.plan.config.mode == Mode::Live {
            let occasion = Occasion {
                handle: self.before.handle,
                intended: now,
                // A worker has no client waiting: each call has its own time, and the whole has an end.
                deadline: now.plus(Duration::from_secs(60)),
                turn: Turn::Queued,
            };
            let if_unknown = |presumed| self.change(presumed, None);
            if let Some(Attempt {
                intent,
                outcome,
                calls,
            }) = engine
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
                weighed = Some(engine.weighed(
                    application,
                    facts,
                    &decision,
                    outcome,
                    calls,
                    self.mark.attempts,
                ));
            }
        }
        let weighed = weighed.unwrap_or_else(|| {
            weigh::unsent(
                &application.plan,
                &decision,
                engine.clock.now(),
                self.mark.attempts,
                "this is sent next",
            )
        });
        let status = weighed.delivery.status;
        tracing::info!(application = name, operation = ?weighed.delivery.operation, status = ?status, code = weighed.delivery.code.as_deref(), "delivery");
        let change = self.change(weighed, settles);
        place.commit(change).await.map_err(lost)?;
        Ok(Some(status))
    }

    /// The turn as a change set.
    fn change(&self, weighed: Weighed, settles: Option<u64>) -> ChangeSet {
        let (before, name) = (&self.before, self.application.plan.name());
        let mut change = ChangeSet {
            settles,
            generation: self.engine.generation,
            ..ChangeSet::default()
        };
        let standing = std::slice::from_ref(&self.mark);
        let unasked = self.mark.cause.is_empty() && weighed.delivery.status.is_open();
        change.marks = mark(&weighed, before.handle, name, standing, unasked);
        relink(&mut change, before, name, weighed.link);
        let cause = self.mark.cause.clone();
        let record = self.engine.delivered(before, weighed.delivery, cause);
        change.journal.push(record);
        if let Some(Taken {
            tombstone, mark, ..
        }) = &self.taken
        {
            let closed =
                self.engine
                    .take_over(&mut change, self.application, tombstone, mark.as_ref());
            change.journal.extend(closed);
        }
        change
    }
}
