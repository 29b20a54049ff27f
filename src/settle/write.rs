//! The second half of a write: intend, exchange, commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::draft::{Prepared, Round};
use super::{Application, Engine, Occasion, TRIES};
use crate::auth::Client;
use crate::claims::{Claim, Held};
use crate::clock::Timestamp;
use crate::config::shape::{DeliveryMode, Mode, OutOfScope, WhenUnavailable};
use crate::error::Fault;
use crate::journal::record::{CallRecord, Delivery, Event, Operation, Record, Status};
use crate::provision::exchange::{self, End, Outcome};
use crate::provision::link::State;
use crate::provision::plan::{self, Act, Decision};
use crate::provision::weigh::{self, Weighed};
use crate::scim::change::Birth;
use crate::scim::request::{Verb, Write};
use crate::scim::{Handle, Kind, Resource};
use crate::store::{Budget, CAUSES, ChangeSet, CommitError, Intent, Mark, MarkEdit, Put};
use crate::upstream::gate::Turn;

/// A client's write: who asks for what.
pub struct Asked<'a> {
    /// Who.
    pub client: &'a Client,
    /// The request's id.
    pub request: &'a str,
    /// What.
    pub write: Write,
}

/// A write that is on disk.
#[derive(Debug, Clone)]
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
}

/// The call that is made while the client waits.
struct Inline {
    at: usize,
    decision: Decision,
    intent: u64,
    intended: Timestamp,
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
        let mut earlier = None;
        for _ in 0..TRIES {
            let held = self.claims.acquire(&wanted, patience, &self.clock).await?;
            // Every write wants something: the first round, without claims, only finds out what.
            let decides = !wanted.is_empty();
            let round = Round {
                decides,
                earlier: earlier.take(),
            };
            let prepared = match self.prepare(
                asked.client,
                &asked.write,
                birth.as_ref(),
                round,
                self.clock.now(),
            ) {
                Ok(prepared) => prepared,
                // What another write is about to change may look different when it is done; but a refusal reads only
                // what is committed, so it stands.
                Err(fault) => return Err(self.refused(asked, birth.as_ref(), fault).await),
            };
            if decides && held.covers(&prepared.wanted) {
                return self.carry_out(asked, prepared, held, begun).await;
            }
            drop(held);
            wanted.extend(prepared.wanted);
            earlier = Some(prepared.draft);
        }
        Err(Fault::Unavailable {
            retry_after: 1,
            detail: String::from("Too many writes are after the same resources; try again."),
        })
    }

    fn birth(&self, now: Timestamp) -> Result<Birth, Fault> {
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
            return Err(self.refused(asked, None, fault).await);
        }
        let marks = self.standing(&prepared)?;
        let place = self.store.reserve()?;
        let now = self.clock.now();
        let inline = match self.pick(&prepared) {
            Some(at) => self.intend(asked, &mut prepared, at, &marks, now).await?,
            None => None,
        };
        let mut weighed = self.unsent(&prepared, now);
        let mut settles = None;
        if let Some(Inline {
            at,
            decision,
            intent,
            intended,
        }) = inline
        {
            settles = Some(intent);
            let application = &self.applications[at];
            let deadline = begun.plus(application.plan.config.wait);
            let handle = prepared.draft.resource.handle;
            let (outcome, calls) = self
                .converse(
                    application,
                    &decision,
                    Occasion {
                        handle,
                        intended,
                        deadline,
                        turn: Turn::Inline,
                    },
                    &mut held,
                )
                .await;
            if let Some(fault) = verdict(application, &decision, &outcome) {
                let line = self.weighed(
                    application,
                    &prepared.draft.resource,
                    &decision,
                    outcome,
                    calls,
                    0,
                );
                let mut record = self.record(asked, Some(&prepared.draft), Status::Failure);
                record.code = line.delivery.code.clone();
                record.deliveries = vec![line.delivery];
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
                &prepared.draft.resource,
                &decision,
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
        let settled = Settled {
            handle: prepared.draft.resource.handle,
            kind: prepared.draft.resource.kind,
            operation: prepared.draft.operation,
            application: told,
        };
        let change = self.change_set(asked, &prepared, weighed, &marks, settles);
        place.commit(change).await.map_err(lost)?;
        Ok(settled)
    }

    /// The marks of what this write changes: the resource's and those of the tombstones that it takes over.
    fn standing(&self, prepared: &Prepared) -> Result<Vec<Mark>, Fault> {
        let view = self.store.view()?;
        let mut marks = view.marks(prepared.draft.resource.handle)?;
        for (_, tombstone) in &prepared.takeovers {
            marks.extend(view.marks(tombstone.handle)?);
        }
        Ok(marks)
    }

    /// 403 on create or update when the user's own attributes rule them out and no application takes them.
    fn ruled_out(&self, prepared: &Prepared) -> Option<Fault> {
        let giving = matches!(
            prepared.draft.operation,
            Operation::Create | Operation::Update | Operation::Reactivate
        );
        let linked = !prepared.draft.resource.links.is_empty();
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
            "No application takes this user: {}.",
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

    /// Stores the intent. `None`: nothing is to be sent now after all, because the application is left alone for the
    /// moment or because the safety limit stopped a removal; the decision says which.
    async fn intend(
        &self,
        asked: &Asked<'_>,
        prepared: &mut Prepared,
        at: usize,
        marks: &[Mark],
        now: Timestamp,
    ) -> Result<Option<Inline>, Fault> {
        let application = Arc::clone(&self.applications[at]);
        let mut decision = prepared.decisions[at].clone();
        if let Some(until) = application.gate.closed(now) {
            if application.plan.config.when_unavailable == WhenUnavailable::Refuse
                && !decision.act.removes()
            {
                return Err(self
                    .refused(
                        asked,
                        None,
                        away(&application, until.since(now).as_secs().max(1)),
                    )
                    .await);
            }
            return Ok(None);
        }
        let budget = budget(&application, &decision, prepared.draft.resource.handle, now);
        if budget.is_some() {
            count(&mut decision);
        }
        let mut weighed = self.unsent(prepared, now);
        weighed[at] = presumed(&application, &decision, now);
        let if_unknown = self.change_set(asked, prepared, weighed, marks, None);
        match self
            .store
            .intend(Intent {
                if_unknown,
                checks: Vec::new(),
                budget,
            })
            .await
        {
            Ok(intent) => {
                prepared.decisions[at] = decision.clone();
                Ok(Some(Inline {
                    at,
                    decision,
                    intent,
                    intended: now,
                }))
            }
            Err(CommitError::Held) => {
                hold(&mut decision, now);
                prepared.decisions[at] = decision;
                Ok(None)
            }
            Err(other) => Err(lost(other)),
        }
    }

    /// What follows for every application if none is asked now.
    fn unsent(&self, prepared: &Prepared, now: Timestamp) -> Vec<Weighed> {
        let why = |application: &Application| match application.gate.closed(now) {
            Some(_) => "the application is not available; this is sent as soon as it is",
            None => "this is sent next",
        };
        let both = self.applications.iter().zip(&prepared.decisions);
        both.map(|(application, decision)| {
            weigh::unsent(&application.plan, decision, now, 0, why(application))
        })
        .collect()
    }

    fn weighed(
        &self,
        application: &Application,
        resource: &Resource,
        decision: &Decision,
        outcome: Outcome,
        calls: Vec<CallRecord>,
        attempts: u32,
    ) -> Weighed {
        let mut weighed = weigh::weigh(
            &application.plan,
            resource,
            decision,
            outcome,
            attempts,
            self.clock.now(),
            self.dice(),
        );
        weighed.delivery.calls = calls;
        weighed
    }

    /// Everything that the write changes, as one set.
    fn change_set(
        &self,
        asked: &Asked<'_>,
        prepared: &Prepared,
        weighed: Vec<Weighed>,
        marks: &[Mark],
        settles: Option<u64>,
    ) -> ChangeSet {
        let mut resource = prepared.draft.resource.clone();
        let mut change = ChangeSet {
            settles,
            ..ChangeSet::default()
        };
        let mut record = self.record(asked, Some(&prepared.draft), Status::Success);
        // No request's row may stay open when its mark is gone or has no room for it any more.
        let mut closed = Vec::new();
        for (application, mut weighed) in self.applications.iter().zip(weighed) {
            resource.set_link(application.plan.name(), weighed.link.take());
            if let Some(standing) = standing(marks, resource.handle, application.plan.name()) {
                if weighed.mark.is_none() {
                    record.cause.extend(&standing.cause);
                } else if let Some(oldest) = standing
                    .cause
                    .first()
                    .filter(|_| standing.cause.len() >= CAUSES)
                {
                    let reason = "later changes wait as well; what goes to the application is the last of them";
                    closed.push(self.superseded(
                        &resource,
                        application,
                        Operation::Update,
                        reason,
                        vec![*oldest],
                    ));
                }
            }
            let open = matches!(
                weighed.delivery.status,
                Status::Queued | Status::Unknown | Status::Held | Status::Warning
            );
            change.marks.extend(mark(
                &weighed,
                resource.handle,
                application.plan.name(),
                marks,
                open,
            ));
            record.deliveries.push(weighed.delivery);
        }
        for (at, tombstone) in &prepared.takeovers {
            let application = &self.applications[*at];
            let mut after = tombstone.clone();
            after.set_link(application.plan.name(), None);
            put(&mut change, Some(tombstone), after);
            if let Some(mark) = standing(marks, tombstone.handle, application.plan.name()) {
                let reason = "a new user of the same name has taken the account over";
                closed.push(self.superseded(
                    tombstone,
                    application,
                    Operation::Delete,
                    reason,
                    mark.cause.clone(),
                ));
                change.marks.push(MarkEdit::Clear {
                    handle: mark.handle,
                    application: mark.application.clone(),
                    generation: mark.generation,
                });
            }
        }
        // First, because marks name it as their cause.
        change.journal.push(record);
        change.journal.extend(closed);
        put(&mut change, prepared.draft.before.as_ref(), resource);
        change.members.extend(prepared.members.clone());
        change
    }

    /// What was asked for and never goes to the application by itself, because something later took its place.
    fn superseded(
        &self,
        resource: &Resource,
        application: &Application,
        operation: Operation,
        reason: &str,
        cause: Vec<u64>,
    ) -> Record {
        let delivery = Delivery {
            application: application.plan.name().to_owned(),
            operation,
            remote_id: resource
                .link(application.plan.name())
                .and_then(|link| link.remote_id.clone()),
            status: Status::Skipped,
            code: Some(String::from("superseded")),
            reason: Some(reason.to_owned()),
            calls: Vec::new(),
        };
        self.delivered(resource, delivery, cause)
    }

    fn record(
        &self,
        asked: &Asked<'_>,
        draft: Option<&crate::scim::change::Draft>,
        status: Status,
    ) -> Record {
        let redacted = |name: &str| {
            self.applications
                .iter()
                .any(|application| application.plan.mapping.redacts(name))
        };
        let operation = match (&asked.write.verb, draft) {
            (_, Some(draft)) => draft.operation,
            (Verb::Create(_), None) => Operation::Create,
            (Verb::Delete(_), None) => Operation::Delete,
            (Verb::Replace(..) | Verb::Patch(..), None) => Operation::Update,
        };
        let named = |key: &str| match &asked.write.verb {
            Verb::Create(body) | Verb::Replace(_, body) => body
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(key))
                .and_then(|(_, value)| value.as_str()),
            Verb::Patch(..) | Verb::Delete(_) => None,
        };
        let title = match asked.write.kind {
            Kind::User => "userName",
            Kind::Group => "displayName",
        };
        Record {
            sequence: 0,
            time: self.clock.now(),
            event: Event::Request,
            client: asked.client.name().to_owned(),
            request: asked.request.to_owned(),
            kind: asked.write.kind,
            operation,
            user: draft
                .map(|draft| draft.resource.title())
                .or_else(|| named(title))
                .unwrap_or_default()
                .to_owned(),
            id: draft
                .map(|draft| draft.resource.id.as_str())
                .or(asked.write.verb.id())
                .unwrap_or_default()
                .to_owned(),
            status,
            code: None,
            reason: None,
            deliveries: Vec::new(),
            cause: Vec::new(),
            changed: draft
                .map(|draft| draft.changed(&redacted))
                .unwrap_or_default(),
            generation: self.generation,
            hash: String::new(),
        }
    }

    /// A write that was understood and not done: journalled, nothing else changes.
    async fn refused(&self, asked: &Asked<'_>, birth: Option<&Birth>, fault: Fault) -> Fault {
        if matches!(fault, Fault::Storage(_) | Fault::Internal(_)) {
            return fault;
        }
        let mut record = self.record(asked, None, Status::Failure);
        record.code = Some(
            fault
                .scim_type()
                .map_or_else(|| fault.status().to_string(), str::to_owned),
        );
        record.reason = Some(fault.public().into_owned());
        let _unborn = birth;
        if asked.write.verb.id().is_some() && record.user.is_empty() {
            record.user = self.title_of(&asked.write).unwrap_or_default();
        }
        let change = ChangeSet {
            journal: vec![record],
            ..ChangeSet::default()
        };
        let committed = match self.store.reserve() {
            Ok(place) => place.commit(change).await.map_err(lost),
            Err(full) => Err(full),
        };
        match committed {
            Ok(_) => fault,
            Err(worse) => worse,
        }
    }

    fn title_of(&self, write: &Write) -> Option<String> {
        let view = self.store.view().ok()?;
        let handle = view
            .find(&crate::store::Key::Id(write.kind, write.verb.id()?))
            .ok()??;
        Some(view.resource(handle).ok()??.title().to_owned())
    }

    /// Settles a mark: the worker's half of the same path. `Ok(None)`: there was nothing to do.
    ///
    /// # Errors
    /// The mark stands and will be taken up again.
    pub async fn deliver(
        &self,
        handle: Handle,
        application: &Application,
    ) -> Result<Option<Status>, Fault> {
        let begun = self.clock.now();
        let patience = begun.plus(self.patience());
        let name = application.plan.name();
        let mut wanted = BTreeSet::from([Claim::Resource(handle)]);
        for _ in 0..TRIES {
            let held = self.claims.acquire(&wanted, patience, &self.clock).await?;
            let view = self.store.view()?;
            let now = self.clock.now();
            let Some(mark) = view.mark(handle, name)?.filter(|mark| mark.due <= now) else {
                return Ok(None);
            };
            let resource = view.resource(handle)?;
            drop(view);
            let Some(resource) = resource else {
                // The resource is gone, and so is what the mark was about.
                let clear = MarkEdit::Clear {
                    handle,
                    application: name.to_owned(),
                    generation: mark.generation,
                };
                let change = ChangeSet {
                    marks: vec![clear],
                    ..ChangeSet::default()
                };
                self.store.reserve()?.commit(change).await.map_err(lost)?;
                return Ok(None);
            };
            let mut needed = wanted.clone();
            if let Some(key) = plan::account_key(&application.plan, &resource) {
                needed.insert(Claim::Account {
                    application: name.to_owned(),
                    key,
                });
            }
            if held.covers(&needed) {
                return self
                    .carry_on(resource, mark, application, held)
                    .await
                    .map(Some);
            }
            drop(held);
            wanted = needed;
        }
        Ok(None)
    }

    async fn carry_on(
        &self,
        resource: Resource,
        mark: Mark,
        application: &Application,
        held: Held,
    ) -> Result<Status, Fault> {
        let now = self.clock.now();
        let name = application.plan.name();
        let mut decision = plan::plan(&application.plan, &resource, now);
        let place = self.store.reserve()?;
        let mut held = vec![held];
        let mut settles = None;
        let mut weighed = None;
        if decision.act != Act::Nothing && application.plan.config.mode == Mode::Live {
            let budget = budget(application, &decision, resource.handle, now);
            let mut counted = decision.clone();
            if budget.is_some() {
                count(&mut counted);
            }
            let if_unknown = self.delivery(
                &resource,
                &mark,
                application,
                presumed(application, &counted, now),
                None,
            );
            match self
                .store
                .intend(Intent {
                    if_unknown,
                    checks: Vec::new(),
                    budget,
                })
                .await
            {
                Ok(intent) => {
                    decision = counted;
                    settles = Some(intent);
                    // A worker has no client waiting: each call has its own time, and the whole has an end.
                    let deadline = now.plus(std::time::Duration::from_secs(60));
                    let (outcome, calls) = self
                        .converse(
                            application,
                            &decision,
                            Occasion {
                                handle: resource.handle,
                                intended: now,
                                deadline,
                                turn: Turn::Queued,
                            },
                            &mut held,
                        )
                        .await;
                    weighed = Some(self.weighed(
                        application,
                        &resource,
                        &decision,
                        outcome,
                        calls,
                        mark.attempts,
                    ));
                }
                Err(CommitError::Held) => hold(&mut decision, now),
                Err(other) => return Err(lost(other)),
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
        Ok(status)
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

    /// The journal's record of a delivery.
    fn delivered(&self, resource: &Resource, delivery: Delivery, cause: Vec<u64>) -> Record {
        Record {
            sequence: 0,
            time: self.clock.now(),
            event: Event::Delivery,
            client: String::new(),
            request: String::new(),
            kind: resource.kind,
            operation: delivery.operation,
            user: resource.title().to_owned(),
            id: resource.id.as_str().to_owned(),
            status: delivery.status,
            code: delivery.code.clone(),
            reason: delivery.reason.clone(),
            deliveries: vec![delivery],
            cause,
            changed: Vec::new(),
            generation: self.generation,
            hash: String::new(),
        }
    }
}

/// The row as it will be: written if it differs, erased if nothing is left of it.
fn put(change: &mut ChangeSet, before: Option<&Resource>, after: Resource) {
    if after.deleted.is_some() && after.links.is_empty() {
        // Nothing is left to settle anywhere. A resource that never was on disk has nothing to erase.
        change.erase.extend(before.cloned());
        return;
    }
    if before != Some(&after) {
        change.puts.push(Put {
            expect: before.map(|before| before.version),
            before: before.map(|before| before.links.clone()),
            resource: after,
        });
    }
}

fn standing<'m>(marks: &'m [Mark], handle: Handle, application: &str) -> Option<&'m Mark> {
    marks
        .iter()
        .find(|mark| mark.handle == handle && mark.application == application)
}

fn mark(
    weighed: &Weighed,
    handle: Handle,
    application: &str,
    marks: &[Mark],
    caused: bool,
) -> Option<MarkEdit> {
    match (weighed.mark, standing(marks, handle, application)) {
        (Some(due), _) => Some(MarkEdit::Set {
            handle,
            application: application.to_owned(),
            due: due.at,
            attempts: due.attempts,
            lane: due.lane,
            caused,
        }),
        (None, Some(mark)) => Some(MarkEdit::Clear {
            handle,
            application: application.to_owned(),
            generation: mark.generation,
        }),
        (None, None) => None,
    }
}

/// The removal is taken from the safety limit in the intend transaction, once a person, application and window; what
/// was deactivated already was counted then.
fn budget(
    application: &Application,
    decision: &Decision,
    handle: Handle,
    now: Timestamp,
) -> Option<Budget> {
    let link = decision.link.as_ref()?;
    let removal = link.removal.as_ref()?;
    if !decision.act.removes() || removal.counted || link.state == State::Deactivated {
        return None;
    }
    let safety = &application.plan.config.safety;
    let limit = match safety.max_removals {
        crate::config::shape::MaxRemovals::Auto => None,
        crate::config::shape::MaxRemovals::Count(people) => Some(people),
    };
    let window = u64::try_from(safety.window.as_millis()).unwrap_or(u64::MAX);
    Some(Budget {
        application: application.plan.name().to_owned(),
        handle,
        limit,
        window,
        now,
    })
}

fn count(decision: &mut Decision) {
    if let Some(removal) = decision
        .link
        .as_mut()
        .and_then(|link| link.removal.as_mut())
    {
        removal.counted = true;
    }
}

/// The safety limit stopped it: nothing goes until a person says so, or the user is back.
fn hold(decision: &mut Decision, now: Timestamp) {
    if let Some(removal) = decision
        .link
        .as_mut()
        .and_then(|link| link.removal.as_mut())
    {
        removal.held = Some(now);
    }
    decision.act = Act::Nothing;
    decision.note = Some(plan::held_note());
    decision.again = None;
}

/// What stands if we die before the answer: an uncertain link, a mark that is due, and a line that says so.
fn presumed(application: &Application, decision: &Decision, now: Timestamp) -> Weighed {
    let link = exchange::unknown(
        &application.plan,
        &decision.act,
        decision.link.as_ref(),
        now,
    );
    let mut weighed = weigh::unsent(&application.plan, decision, now, 0, "");
    weighed.delivery.status = Status::Unknown;
    weighed.delivery.code = Some(String::from("interrupted"));
    weighed.delivery.reason = Some(String::from(
        "the gateway stopped while the application was asked; the account is read back first",
    ));
    Weighed { link, ..weighed }
}

/// Whether the client is refused, and nothing is kept.
fn verdict(application: &Application, decision: &Decision, outcome: &Outcome) -> Option<Fault> {
    if decision.act.removes() || outcome.effect {
        return None;
    }
    match &outcome.end {
        End::Refused {
            status,
            detail,
            uniqueness,
        } => Some(Fault::Refused {
            application: application.plan.name().to_owned(),
            status: *status,
            detail: detail.clone(),
            uniqueness: *uniqueness,
        }),
        End::Unavailable { retry_after, .. }
            if !outcome.sent
                && application.plan.config.when_unavailable == WhenUnavailable::Refuse =>
        {
            Some(away(
                application,
                retry_after.map_or(5, |wait| wait.as_secs().max(1)),
            ))
        }
        _ => None,
    }
}

fn away(application: &Application, retry_after: u64) -> Fault {
    Fault::Unavailable {
        retry_after,
        detail: format!(
            "{} cannot be reached at the moment, and nothing was sent.",
            application.plan.name()
        ),
    }
}

/// A commit that did not come back.
fn lost(error: CommitError) -> Fault {
    match error {
        CommitError::Full => Fault::Unavailable {
            retry_after: 1,
            detail: String::from("The gateway is busy; try again."),
        },
        CommitError::DiskFull => Fault::Unavailable {
            retry_after: 30,
            detail: String::from(crate::store::REFUSAL),
        },
        CommitError::Conflict(what) => Fault::Unavailable {
            retry_after: 1,
            detail: format!("Another write got there first ({what:?}); try again."),
        },
        CommitError::Held => Fault::Internal(String::from("a commit was held")),
        CommitError::Failed(why) => Fault::Storage(why),
    }
}
