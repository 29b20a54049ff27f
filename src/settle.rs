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

mod draft;
mod write;

use std::sync::Arc;
use std::time::Instant;

use crate::claims::Claims;
use crate::clock::{Clock, Timestamp};
use crate::config::shape::{self, Limits};
use crate::error::Fault;
use crate::journal::record::CallRecord;
use crate::provision::call::Answer;
use crate::provision::exchange::{Exchange, Outcome, Step};
use crate::provision::pace::Heard;
use crate::provision::plan::{self, Decision};
use crate::scim::Handle;
use crate::store::{Key, Store};
use crate::upstream::client::Upstream;
use crate::upstream::gate::{Gate, Turn};

pub(crate) use draft::absent;
pub use write::{Asked, Settled};

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

    /// Carries one exchange until it ends or `deadline` passes. The only place where calls are made.
    async fn converse(
        &self,
        application: &Application,
        decision: &Decision,
        handle: Handle,
        intended: Timestamp,
        deadline: Timestamp,
        turn: Turn,
    ) -> (Outcome, Vec<CallRecord>) {
        let mut exchange = Exchange::begin(
            &application.plan,
            decision.act.clone(),
            decision.link.clone(),
            intended,
        );
        let mut calls = Vec::new();
        // What is claimed on the way is held until the caller has committed: the claim on the resource covers that,
        // because a remote id has one resource, and the commit checks it once more.
        loop {
            let call = match exchange.next() {
                Step::End(outcome) => return (*outcome, calls),
                Step::Claim(remote_id) => {
                    match self.holder(application.plan.name(), &remote_id, handle) {
                        Ok(other) => exchange.claimed(other.as_deref()),
                        Err(why) => return (exchange.cut(&why.to_string()), calls),
                    }
                    continue;
                }
                Step::Call(call) => call,
            };
            let permit = match application.gate.pass(call.class, turn, deadline).await {
                Ok(permit) => permit,
                Err(closed) => {
                    let wait = closed.until.since(self.clock.now()).as_secs();
                    return (
                        exchange.cut(&format!(
                            "{} is left alone for another {wait} s",
                            application.plan.name()
                        )),
                        calls,
                    );
                }
            };
            let (answer, ms) = application.upstream.call(&call, deadline).await;
            permit.heard(&Heard::of(&answer));
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
            exchange.hear(&answer, self.clock.now());
        }
    }

    /// Whose account this is, if it is somebody else's: named as a person would look for it.
    fn holder(
        &self,
        application: &str,
        remote_id: &str,
        ours: Handle,
    ) -> Result<Option<String>, Fault> {
        let view = self.store.view()?;
        match view.find(&Key::Remote {
            application,
            remote_id,
        })? {
            Some(handle) if handle != ours => {
                let resource = view.resource(handle)?;
                Ok(Some(resource.map_or_else(
                    || String::from("another user"),
                    |resource| resource.title().to_owned(),
                )))
            }
            _ => Ok(None),
        }
    }

    /// A number to spread retries by.
    fn dice(&self) -> u64 {
        // Spreading only: a poor source would do, and a failing one must not fail the write.
        getrandom::u64().unwrap_or_else(|_| u64::from(Instant::now().elapsed().subsec_nanos()))
    }
}
