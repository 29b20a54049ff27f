//! Claim, change, plan, intend, exchange, commit: the one way anything changes, called for a client's request and for a
//! mark.
//!
//! ```text
//! claim     everything that this write may change, until its commit is on disk      claims.rs
//! change    resource + request -> new resource                                      scim/change.rs
//! plan      for each application: what should be against what is known to be        provision/plan.rs
//! intend    only if a call follows: the change set as it stands if we die now       store/
//! exchange  the dialogue with the application, at most `wait`                       provision/exchange.rs
//! commit    directory, links, marks and journal in one durable transaction          store/
//! ```

mod deliver;
mod draft;
mod groups;
mod record;
mod verdict;
mod write;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::claims::{Claim, Claims, Held};
use crate::clock::{Clock, Timestamp};
use crate::config::shape::{self, Limits};
use crate::error::Fault;
use crate::journal::record::CallRecord;
use crate::provision::call::{Answer, Call};
use crate::provision::exchange::{Exchange, Outcome, Step};
use crate::provision::plan::{self, Decision};
use crate::provision::weigh::Weighed;
use crate::scim::{Handle, Kind};
use crate::store::{ChangeSet, CommitError, Intent, Key, Store};
use crate::upstream::client::Upstream;
use crate::upstream::gate::{Gate, Permit, Turn};

pub(crate) use draft::absent;
use verdict::{budget, count, hold, lost, presumed};
pub use write::{Asked, Settled};

const STOPPING: &str = "the gateway is stopping";

/// How often a write whose claims keep growing starts over before it gives way.
const TRIES: usize = 8;

/// An application with the way to it.
pub struct Application {
    /// What planning knows of it.
    pub plan: plan::Application,
    upstream: Upstream,
    /// Pace, concurrency and health.
    pub gate: Gate,
}

/// Everything that settling needs.
pub struct Engine {
    /// The directory.
    pub store: Store,
    /// Who is changing what.
    pub claims: Claims,
    /// In the configuration's order.
    pub applications: Vec<Arc<Application>>,
    /// Time.
    pub clock: Clock,
    /// Bounds.
    pub limits: Limits,
    /// The configuration's generation.
    pub generation: u64,
    /// True when a drain has waited long enough: calls under way are cut, and what they were for becomes a mark.
    pub cut: watch::Sender<bool>,
}

/// Whose exchange it is, since when, and how long it may take.
#[derive(Clone, Copy)]
struct Occasion {
    handle: Handle,
    /// When the intent was stored.
    intended: Timestamp,
    deadline: Timestamp,
    turn: Turn,
}

/// An exchange that was carried.
struct Attempt {
    /// What its commit settles.
    intent: u64,
    outcome: Outcome,
    calls: Vec<CallRecord>,
}

impl Engine {
    /// Puts an engine together.
    ///
    /// # Errors
    /// Names the application whose credentials or address cannot be used.
    pub fn new(
        store: Store,
        config: &shape::Config,
        generation: u64,
        clock: Clock,
    ) -> Result<Self, String> {
        let build = |config: &shape::Application| {
            let upstream = Upstream::new(config, clock.clone())
                .map_err(|why| format!("{}: {why}", config.name))?;
            let gate = Gate::new(&config.pace, clock.clone());
            Ok::<_, String>(Arc::new(Application {
                plan: plan::Application::compile(config.clone()),
                upstream,
                gate,
            }))
        };
        let applications = config
            .applications
            .iter()
            .map(build)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            store,
            claims: Claims::default(),
            applications,
            clock,
            limits: config.limits.clone(),
            generation,
            cut: watch::Sender::new(false),
        })
    }

    /// How long a write may wait for claims: the longest `wait` of the applications.
    fn patience(&self) -> std::time::Duration {
        let waits = self
            .applications
            .iter()
            .map(|application| application.plan.config.wait);
        waits.max().unwrap_or(std::time::Duration::from_secs(4))
    }

    /// Stores the intent, then carries the exchange: no call without the one before it. `Ok(None)`: the safety limit holds
    /// the removal, and the decision says so. Else the decision is counted, as `if_unknown` was made from it.
    async fn attempt(
        &self,
        application: &Application,
        decision: &mut Decision,
        occasion: Occasion,
        if_unknown: impl FnOnce(Weighed) -> ChangeSet,
        held: &mut Vec<Held>,
    ) -> Result<Option<Attempt>, Fault> {
        let now = occasion.intended;
        let budget = budget(application, decision, occasion.handle, now);
        let mut counted = decision.clone();
        if budget.is_some() {
            count(&mut counted);
        }
        let intent = Intent {
            if_unknown: if_unknown(presumed(application, &counted, now)),
            checks: Vec::new(),
            budget,
        };
        match self.store.intend(intent).await {
            Ok(intent) => {
                *decision = counted;
                let (outcome, calls) = self.converse(application, decision, occasion, held).await;
                Ok(Some(Attempt {
                    intent,
                    outcome,
                    calls,
                }))
            }
            Err(CommitError::Held) => {
                hold(decision, now);
                Ok(None)
            }
            Err(other) => Err(lost(other)),
        }
    }

    /// Carries one exchange until it ends or `deadline` passes.
    async fn converse(
        &self,
        application: &Application,
        decision: &Decision,
        occasion: Occasion,
        held: &mut Vec<Held>,
    ) -> (Outcome, Vec<CallRecord>) {
        let Occasion {
            handle,
            intended,
            deadline,
            turn,
        } = occasion;
        let mut exchange = Exchange::begin(
            &application.plan,
            decision.act.clone(),
            decision.link.clone(),
            intended,
        );
        let mut calls = Vec::new();
        loop {
            let call = match exchange.step() {
                Step::End(outcome) => return (*outcome, calls),
                Step::Claim(remote_id) => {
                    let owner = (Kind::User, handle);
                    match self.claim(application, remote_id, owner, deadline).await {
                        Ok((right, other)) => {
                            held.push(right);
                            exchange.claimed(other.as_deref());
                        }
                        Err(why) => return (exchange.cut(&why.to_string()), calls),
                    }
                    continue;
                }
                Step::Call(call) => call,
            };
            match self
                .carry(application, call, (turn, deadline), &mut calls)
                .await
            {
                Ok((answer, permit)) => {
                    permit.heard(&exchange.hear(&answer, self.clock.now()));
                }
                Err(why) => return (exchange.cut(&why), calls),
            }
        }
    }

    /// Carries one call. The only place where calls are made. `Err`: it was not made, and why.
    async fn carry(
        &self,
        application: &Application,
        call: Call,
        (turn, deadline): (Turn, Timestamp),
        calls: &mut Vec<CallRecord>,
    ) -> Result<(Answer, Permit), String> {
        let passing = application.gate.pass(call.class, turn, deadline);
        let permit = match self.unless_cut(passing).await {
            Some(Ok(permit)) => permit,
            Some(Err(closed)) => {
                let wait = closed.until.since(self.clock.now()).as_secs();
                return Err(format!(
                    "{} is left alone for another {wait} s",
                    application.plan.name()
                ));
            }
            None => return Err(STOPPING.to_owned()),
        };
        let calling = application.upstream.call(&call, deadline);
        // It may have been sent: nobody knows.
        let (answer, ms) = match self.unless_cut(calling).await {
            Some(done) => done,
            None => (Answer::Lost(STOPPING.to_owned()), 0),
        };
        let status = match &answer {
            Answer::Reply { status, .. } => Some(*status),
            Answer::NotSent(_) | Answer::Lost(_) => None,
        };
        let method = call.method.as_str();
        tracing::debug!(
            application = application.plan.name(),
            method,
            status,
            ms,
            "call"
        );
        calls.push(CallRecord {
            method: method.to_owned(),
            path: call.path,
            status,
            ms,
        });
        Ok((answer, permit))
    }

    /// Runs `work` unless a drain cuts it.
    async fn unless_cut<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut cut = self.cut.subscribe();
        tokio::select! {
            biased;
            done = work => Some(done),
            // The sender lives in `self`.
            _ = cut.wait_for(|cut| *cut) => None,
        }
    }

    /// Claims a found account until the commit, and says whose it is if it is somebody else's: named as a person would
    /// look for it. Remote claims come after all that a write holds by then, so the order of taking stands.
    async fn claim(
        &self,
        application: &Application,
        id: String,
        (kind, ours): (Kind, Handle),
        deadline: Timestamp,
    ) -> Result<(Held, Option<String>), Fault> {
        let name = application.plan.name();
        let claim = Claim::Remote {
            application: name.to_owned(),
            // Some servers number users and groups both from 1.
            id: match kind {
                Kind::User => id.clone(),
                Kind::Group => format!("Groups/{id}"),
            },
        };
        let held = self
            .claims
            .acquire(&BTreeSet::from([claim]), deadline, &self.clock)
            .await?;
        let view = self.store.view()?;
        let key = match kind {
            Kind::User => Key::Remote {
                application: name,
                remote_id: &id,
            },
            Kind::Group => Key::RemoteGroup {
                application: name,
                remote_id: &id,
            },
        };
        let holder = view.find(&key)?;
        let Some(other) = holder.filter(|handle| *handle != ours) else {
            return Ok((held, None));
        };
        let resource = view.resource(other)?;
        let title = resource.map_or_else(
            || String::from("another one"),
            |resource| resource.title().to_owned(),
        );
        Ok((held, Some(title)))
    }

    /// A number to spread retries by.
    fn dice(&self) -> u64 {
        // Spreading only: a poor source would do, and a failing one must not fail the write.
        getrandom::u64().unwrap_or_else(|_| u64::from(Instant::now().elapsed().subsec_nanos()))
    }
}
