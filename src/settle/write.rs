//! A client's write, from its claims to its commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::draft::{Prepared, Round};
use super::verdict::{away, lost, verdict};
use super::{Application, Attempt, Engine, Occasion, TRIES};
use crate::auth::Client;
use crate::claims::Held;
use crate::clock::Timestamp;
use crate::config::shape::{DeliveryMode, Mode, OutOfScope, WhenUnavailable};
use crate::error::Fault;
use crate::journal::record::{CallRecord, Delivery, Operation, Status};
use crate::policy::scope::REFUSED;
use crate::provision::call::Class;
use crate::provision::exchange::Outcome;
use crate::provision::ladder::Tries;
use crate::provision::plan::{Act, Decision, Facts};
use crate::provision::weigh::{self, Weighed};
use crate::scim::change::Birth;
use crate::scim::request::{Verb, Write};
use crate::scim::{Handle, Kind};
use crate::store::{ChangeSet, View};
use crate::upstream::gate::Turn;

/// A client's write: who asks for what.
pub struct Asked<'a> {
    /// Who.
    pub client: &'a Client,
    /// The request's id.
    pub request: &'a str,
    /// What.
    pub write: Write,
    /// The Bulk that this is an operation of: nothing is exchanged now, what would be is a mark for the worker, and the
    /// removals of all its operations are counted together.
    pub bulk: Option<u64>,
}

/// A write that is on disk.
#[derive(Debug)]
pub struct Settled {
    /// The resource.
    pub handle: Handle,
    /// User or Group.
    pub kind: Kind,
    /// What was done.
    pub operation: Operation,
    /// What became of it in the application that was called while the client waited, or else in the first that has
    /// anything to say: name and status, for the log.
    pub application: Option<(String, Status)>,
    /// The directory as this write left it.
    pub view: View,
}

impl Engine {
    /// Settles a client's write.
    ///
    /// # Errors
    /// What the client is told. Unless it is [`Fault::Storage`], nothing was changed.
    pub async fn settle(&self, asked: &Asked<'_>) -> Result<Settled, Fault> {
        let begun = self.clock.now();
        let patience = begun.plus(self.patience());
        let birth = match asked.write.verb {
            Verb::Create(_) => Some(self.birth(begun)?),
            _ => None,
        };
        let mut wanted = BTreeSet::new();
        let mut parts = Vec::new();
        let mut earlier = None;
        for _ in 0..TRIES {
            let mut held = self.claims.acquire(&wanted, patience, &self.clock).await?;
            for part in &parts {
                // Nobody is waited for: an application may hang.
                let _busy = self.claims.join(&mut held, part, begun, &self.clock).await;
            }
            loop {
                // Every write wants something: the first round, without claims, only finds out what.
                let round = Round {
                    held: Some(&held).filter(|_| !wanted.is_empty()),
                    earlier: earlier.take(),
                };
                let decides = round.held.is_some();
                let prepared = match self.prepare(
                    asked.client,
                    &asked.write,
                    birth.as_ref(),
                    round,
                    self.clock.now(),
                ) {
                    Ok(prepared) => prepared,
                    // What another write is about to change may look different when it is done; but a refusal reads
                    // only what is committed, so it stands.
                    Err(fault) => return Err(self.refused(asked, fault).await),
                };
                if decides && held.covers(&prepared.wanted) {
                    // Except the one that is called while the client waits.
                    if let Some((at, deadline)) = self.awaited(asked, &prepared, begun)
                        && self
                            .claims
                            .join(&mut held, &prepared.parts[at], deadline, &self.clock)
                            .await
                            .is_ok()
                    {
                        earlier = Some(prepared.draft);
                        continue;
                    }
                    return self.carry_out(asked, prepared, held, begun).await;
                }
                wanted.extend(prepared.wanted);
                parts = prepared.parts;
                earlier = Some(prepared.draft);
                break;
            }
        }
        Err(Fault::Unavailable {
            retry_after: 1,
            detail: String::from("Too many writes are after the same resources; try again."),
        })
    }

    /// The application that is called while this client waits, if somebody else is at it now: until when that is waited
    /// for.
    fn awaited(
        &self,
        asked: &Asked<'_>,
        prepared: &Prepared,
        begun: Timestamp,
    ) -> Option<(usize, Timestamp)> {
        let at = self.pick(prepared).filter(|_| asked.bulk.is_none())?;
        let application = &self.applications[at];
        let now = self.clock.now();
        let deadline = begun.plus(application.plan.config.wait);
        let worth = prepared.busy[at] && now < deadline && application.gate.closed(now).is_none();
        worth.then_some((at, deadline))
    }

    pub(super) fn birth(&self, now: Timestamp) -> Result<Birth, Fault> {
        let random =
            getrandom::u64().map_err(|why| Fault::Internal(format!("no random numbers: {why}")))?;
        let (handle, id) = self.store.mint(now, random);
        Ok(Birth { handle, id })
    }

    async fn carry_out(
        &self,
        asked: &Asked<'_>,
        mut prepared: Prepared,
        held: Held,
        begun: Timestamp,
    ) -> Result<Settled, Fault> {
        // What is claimed on the way is held until the commit as well.
        let mut held = vec![held];
        if let Some(fault) = self.ruled_out(&prepared) {
            return Err(self.refused(asked, fault).await);
        }
        let marks = std::mem::take(&mut prepared.marks);
        let place = self.store.reserve()?;
        let now = self.clock.now();
        let inline = match self.pick(&prepared).filter(|_| asked.bulk.is_none()) {
            Some(at) => self.reachable(asked, &prepared, at, begun).await?,
            None => None,
        };
        let mut tried = None;
        if let Some(at) = inline {
            let application = Arc::clone(&self.applications[at]);
            let mut decision = prepared.decisions[at].clone();
            let occasion = Occasion {
                handle: prepared.draft.resource.handle,
                intended: now,
                deadline: begun.plus(application.plan.config.wait),
                turn: Turn::Inline,
            };
            let if_unknown = |presumed| {
                let mut weighed = self.unsent(&prepared, now);
                weighed[at] = presumed;
                self.change_set(asked, &prepared, weighed, &marks, None)
            };
            tried = self
                .attempt(
                    &application,
                    &mut decision,
                    occasion,
                    None,
                    if_unknown,
                    &mut held,
                )
                .await?
                .map(|attempt| (at, attempt));
            prepared.decisions[at] = decision;
        }
        let mut weighed = self.unsent(&prepared, now);
        let mut settles = None;
        if let Some((
            at,
            Attempt {
                intent,
                outcome,
                calls,
            },
        )) = tried
        {
            settles = Some(intent);
            let (application, decision) = (&self.applications[at], &prepared.decisions[at]);
            if let Some(fault) = verdict(application, decision, &outcome) {
                let line = self.weighed(
                    application,
                    prepared.facts[at].facts(&prepared.draft.resource, now),
                    decision,
                    outcome,
                    calls,
                    0,
                );
                let mut record = self.record(asked, Some(&prepared.draft), Status::Failure);
                record.code = line.delivery.code.clone();
                // Nothing is kept of it: it does not wait for anything, whatever came in between.
                record.deliveries = vec![Delivery {
                    status: Status::Failure,
                    ..line.delivery
                }];
                let change = ChangeSet {
                    journal: vec![record],
                    settles,
                    ..ChangeSet::default()
                };
                place.commit(change).await.map_err(lost)?;
                return Err(fault);
            }
            weighed[at] = self.weighed(
                application,
                prepared.facts[at].facts(&prepared.draft.resource, now),
                decision,
                outcome,
                calls,
                0,
            );
        }
        let told = weighed
            .iter()
            .map(|weighed| &weighed.delivery)
            .find(|delivery| delivery.status != Status::Skipped)
            .or(weighed.first().map(|weighed| &weighed.delivery))
            .map(|delivery| (delivery.application.clone(), delivery.status));
        let change = self.change_set(asked, &prepared, weighed, &marks, settles);
        place.commit(change).await.map_err(lost)?;
        Ok(Settled {
            handle: prepared.draft.resource.handle,
            kind: prepared.draft.resource.kind,
            operation: prepared.draft.operation,
            application: told,
            // While the claims are held: later it may be as somebody else left it.
            view: self.store.view()?,
        })
    }

    /// 403 on create or update when the user's own attributes rule them out and no application takes them.
    fn ruled_out(&self, prepared: &Prepared) -> Option<Fault> {
        let giving = matches!(
            prepared.draft.operation,
            Operation::Create | Operation::Update | Operation::Reactivate
        );
        // Whoever is being made somewhere is there soon.
        let linked = !prepared.draft.resource.links.is_empty() || prepared.busy.contains(&true);
        let all = !prepared.decisions.is_empty()
            && prepared.decisions.iter().all(|decision| decision.ruled_out);
        let refuses = |application: &Arc<Application>| {
            application.plan.config.out_of_scope == OutOfScope::Refuse
        };
        if !giving || linked || !all || !self.applications.iter().any(refuses) {
            return None;
        }
        let reason = prepared
            .decisions
            .iter()
            .find_map(|decision| decision.note.as_ref())
            .map(|note| note.reason.clone());
        Some(Fault::Forbidden(format!(
            "{REFUSED}: {}.",
            reason.unwrap_or_default()
        )))
    }

    /// The first application with immediate delivery that has something to do and can be asked.
    fn pick(&self, prepared: &Prepared) -> Option<usize> {
        let immediate = |(at, application): (usize, &Arc<Application>)| {
            let config = &application.plan.config;
            let something = prepared
                .decisions
                .get(at)
                .is_some_and(|decision| decision.act != Act::Nothing);
            (something && config.mode == Mode::Live && config.delivery == DeliveryMode::Immediate)
                .then_some(at)
        };
        self.applications.iter().enumerate().find_map(immediate)
    }

    /// The application that is asked now, unless it is left alone for the moment, or more stand in line than it can take
    /// while this client waits: then nothing is gained by standing there too.
    async fn reachable(
        &self,
        asked: &Asked<'_>,
        prepared: &Prepared,
        at: usize,
        begun: Timestamp,
    ) -> Result<Option<usize>, Fault> {
        let application = &self.applications[at];
        let now = self.clock.now();
        let deadline = begun.plus(application.plan.config.wait);
        // Nearly every exchange begins with a light call.
        let gate = &application.gate;
        let hopeless = || gate.hopeless(Class::Light, Turn::Inline, now, deadline);
        let busy = prepared.busy[at].then_some(now);
        let Some(until) = busy.or_else(|| gate.closed(now)).or_else(hopeless) else {
            return Ok(Some(at));
        };
        if application.plan.config.when_unavailable == WhenUnavailable::Refuse
            && !prepared.decisions[at].act.removes()
        {
            let wait = until.since(now).as_secs().max(1);
            return Err(self.refused(asked, away(application, wait)).await);
        }
        Ok(None)
    }

    /// What follows for every application if none is asked now.
    fn unsent(&self, prepared: &Prepared, now: Timestamp) -> Vec<Weighed> {
        if prepared.draft.resource.kind == Kind::Group {
            return self.unsent_group(prepared, now);
        }
        let why = |application: &Application| match application.gate.closed(now) {
            Some(_) => "the application is not available; this is sent as soon as it is",
            None => "this is sent next",
        };
        let all = self.applications.iter().zip(&prepared.decisions);
        all.zip(&prepared.busy)
            .map(|((application, decision), busy)| {
                if *busy {
                    return weigh::overtaking(
                        &application.plan,
                        decision,
                        &prepared.draft.resource,
                        prepared.draft.before.is_none(),
                        now,
                    );
                }
                weigh::unsent(&application.plan, decision, now, 0, why(application))
            })
            .collect()
    }

    /// Where the ladder stands, after the exchange.
    pub(super) fn tries(&self, application: &Application, attempts: u32) -> Tries {
        Tries {
            attempts,
            outage: application.gate.health().is_outage(),
            dice: self.dice(),
        }
    }

    pub(super) fn weighed(
        &self,
        application: &Application,
        facts: Facts<'_>,
        decision: &Decision,
        outcome: Outcome,
        calls: Vec<CallRecord>,
        attempts: u32,
    ) -> Weighed {
        let mut weighed = weigh::weigh(
            &application.plan,
            facts,
            decision,
            outcome,
            self.tries(application, attempts),
            self.clock.now(),
        );
        weighed.delivery.calls = calls;
        weighed
    }
}
