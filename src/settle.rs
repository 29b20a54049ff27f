//! Claim, change, plan, intend, exchange, commit: the one way anything changes, called for a client's request and for a
//! mark.
//!
//! ```text
//! claim     what this write changes, and of the applications what can be had        claims.rs
//! change    resource + request -> new resource                                      scim/change.rs
//! plan      for each application: what should be against what is known to be        provision/plan.rs
//! intend    only if a call follows: the change set as it stands if we die now       store/
//! exchange  the dialogue with the application, at most `wait`                       provision/exchange.rs
//! commit    directory, links, marks and journal in one durable transaction          store/
//! ```

mod deliver;
mod discover;
mod draft;
mod groups;
pub mod holds;
mod import;
mod peruse;
mod reconcile;
mod record;
mod relink;
mod succession;
mod sweep;
mod verdict;
mod write;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use crate::claims::{Claim, Claims, Held};
use crate::clock::{Clock, Timestamp};
use crate::config::difference::planning;
use crate::config::shape::{self, Limits};
use crate::error::Fault;
use crate::journal::record::CallRecord;
use crate::provision::call::{Answer, Call};
use crate::provision::exchange::{Exchange, Outcome, Step};
use crate::provision::pace::{self, rate::REST};
use crate::provision::plan::{self, Decision};
use crate::provision::weigh::Weighed;
use crate::scim::{Handle, Kind};
use crate::store::{ChangeSet, CommitError, Configuration, Configured, Intent, Key, Store};
use crate::upstream::client::{Called, Upstream};
use crate::upstream::gate::{Gate, Permit, Swing, Turn};

pub use deliver::Turned;
pub(crate) use draft::absent;
pub use reconcile::{Account, Comparison, Reconciled, Told};
pub use relink::{Relink, Relinked, Retried};
use verdict::{budget, count, hold, lost, presumed};
pub use write::{Asked, Settled};

const STOPPING: &str = "the gateway is stopping";

/// How often a write whose claims keep growing starts over before it gives way.
const TRIES: usize = 8;

/// An application with the way to it.
pub struct Application {
    /// What planning knows of it.
    pub plan: plan::Application,
    /// The way there.
    pub upstream: Upstream,
    /// Pace, concurrency and health.
    pub gate: Gate,
    /// What it can do.
    known: discover::Known,
    /// Who reads it through.
    pub(crate) reading: Arc<peruse::Reading>,
}

impl Application {
    /// Compiles one. What leads to it is taken from `before`, the same one in the configuration before, as far as it is
    /// called in the same way.
    fn new(
        config: &shape::Application,
        before: Option<&Arc<Self>>,
        store: &Store,
        clock: &Clock,
    ) -> Result<Arc<Self>, String> {
        if let Some(before) = before.filter(|before| before.plan.config == *config) {
            return Ok(Arc::clone(before));
        }
        let reading = before.map_or_else(Arc::default, |before| Arc::clone(&before.reading));
        let same_way = |before: &&Arc<Self>| {
            let before = &before.plan.config;
            before.profile == config.profile
                && before.base_url == config.base_url
                && before.credentials == config.credentials
                && before.ca == config.ca
        };
        let (known, before) = (before.is_some(), before.filter(same_way));
        let upstream = match before {
            Some(before) => before.upstream.clone(),
            None => Upstream::new(config, clock.clone())
                .map_err(|why| format!("{}: {why}", config.name))?,
        };
        let gate = match before {
            Some(before) => {
                before.gate.retune(&config.pace);
                before.gate.clone()
            }
            // The way there was changed while we ran: whatever was heard was about another one.
            None if known => Gate::new(&config.pace, clock.clone()),
            None => resumed(config, store, clock),
        };
        Ok(Arc::new(Self {
            plan: plan::Application::compile(config.clone()),
            upstream,
            gate,
            known: discover::Known::default(),
            reading,
        }))
    }

    /// Has stored what was heard of it, if a restart has to know that.
    pub(crate) fn remember(&self, store: &Store) {
        self.gate.news(|patience| {
            store.remember(self.plan.name(), &way(&self.plan.config), patience);
        });
    }
}

/// A gate that knows what was heard of the application before this process was.
fn resumed(config: &shape::Application, store: &Store, clock: &Clock) -> Gate {
    let gate = Gate::new(&config.pace, clock.clone());
    let name = &config.name;
    match store
        .view()
        .and_then(|view| view.patience(name, &way(config)))
    {
        Ok(Some(known)) => gate.resume(&known),
        Ok(None) => {}
        Err(fault) => {
            tracing::error!(application = name, error = %fault, "it cannot be read how patient the application was: one call finds out");
            gate.doubt();
        }
    }
    gate
}

/// The way to an application, by what of it is no secret.
fn way(config: &shape::Application) -> String {
    let url = &config.base_url;
    match &config.credentials {
        shape::Credentials::Bearer(_) => url.clone(),
        shape::Credentials::ServerToServer {
            account_id,
            client_id,
            ..
        } => format!("{url} {account_id} {client_id}"),
    }
}

/// Everything that settling needs, as one configuration makes it. A reload makes another one over the same store, claims,
/// clock and cut.
pub struct Engine {
    /// The directory.
    pub store: Store,
    /// Who is changing what.
    pub claims: Arc<Claims>,
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
    /// One slice of a sweep at a time: one core stays for everybody else.
    sweeping: Arc<Semaphore>,
    /// Every client's name: an externalId is known by whose it is.
    pub(crate) clients: Vec<String>,
    /// Changes when an import has begun, moved or ended.
    imports: Arc<watch::Sender<u64>>,
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

/// How long a worker's exchange waits for its turn while it holds claims: a client whose write of the same person would
/// call the application at once waits as long, and its own patience is some seconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long one call may take, from connecting to the last byte of its answer: what drips is given up.
const CALL: Duration = Duration::from_secs(30);

/// The way of one exchange's calls: whose turn they take, until when, and which were made.
struct Passage {
    turn: Turn,
    /// A worker's: no client waits, but claims are held meanwhile.
    queued: bool,
    deadline: Timestamp,
    /// The first call's turn, if it was waited for already.
    permit: Option<Permit>,
    calls: Vec<CallRecord>,
}

impl Passage {
    fn new(turn: Turn, deadline: Timestamp, permit: Option<Permit>) -> Self {
        let queued = turn == Turn::Queued;
        Self {
            // Who holds claims goes before those who only stand in line.
            turn: if queued { Turn::Underway } else { turn },
            queued,
            deadline,
            permit,
            calls: Vec::new(),
        }
    }
}

/// A call that was made.
struct Carried {
    /// Of when the answer speaks: of a read it may be as old as the call, and a miss says nothing of what came since.
    at: Timestamp,
    answer: Answer,
    status: Option<u16>,
    /// `None`: our own stopping cut it, which shows nothing about the application.
    permit: Option<Permit>,
}

impl Carried {
    /// Ends it with what it shows about the application. That it is left alone from now on is told once, and that it is not
    /// any more.
    fn shows(self, store: &Store, application: &Application, heard: &pace::Heard) {
        let (name, status) = (application.plan.name(), self.status);
        let granted = pace::granted(&self.answer);
        let Some(permit) = self.permit else {
            return;
        };
        let swing = permit.heard(heard, status, granted);
        // Before the commit that records the answer is handed over, so that both are on disk together.
        application.remember(store);
        match swing {
            Swing::None => {}
            Swing::Down if matches!(status, Some(401 | 403)) => tracing::error!(
                application = name,
                status,
                "the application refuses the credentials: it is left alone, and tried by one call at a time"
            ),
            Swing::Down => tracing::warn!(
                application = name,
                status,
                "the application does not answer well: it is left alone, and tried by one call at a time"
            ),
            Swing::Up => tracing::info!(application = name, "the application answers again"),
        }
    }
}

/// Why a call was not made.
enum Unmade {
    /// Its turn comes too late: why, and after how long to try again.
    Late(String, Duration),
    /// The gateway ends.
    Stopping,
}

/// An exchange that was carried.
struct Attempt {
    /// What its commit settles.
    intent: u64,
    outcome: Outcome,
    calls: Vec<CallRecord>,
}

fn names(config: &shape::Config) -> Vec<String> {
    let clients = config.clients.iter();
    clients.map(|client| client.name.clone()).collect()
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
        let applications = config
            .applications
            .iter()
            .map(|config| Application::new(config, None, &store, &clock))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            store,
            claims: Arc::default(),
            applications,
            clock,
            limits: config.limits.clone(),
            generation,
            cut: watch::Sender::new(false),
            sweeping: Arc::new(Semaphore::new(1)),
            clients: names(config),
            imports: Arc::default(),
        })
    }

    /// The applications of another configuration. Those that are called as they were keep their connections, their token
    /// and what is known of their health.
    ///
    /// # Errors
    /// All that [`Engine::new`] would say.
    pub fn applications(
        &self,
        config: &shape::Config,
    ) -> Result<Vec<Arc<Application>>, Vec<String>> {
        let (mut applications, mut mistakes) = (Vec::new(), Vec::new());
        for config in &config.applications {
            let mut all = self.applications.iter();
            let before = all.find(|application| application.plan.name() == config.name);
            match Application::new(config, before, &self.store, &self.clock) {
                Ok(application) => applications.push(application),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if mistakes.is_empty() {
            Ok(applications)
        } else {
            Err(mistakes)
        }
    }

    /// The engine of another configuration, beside this one.
    #[must_use]
    pub fn beside(
        &self,
        limits: Limits,
        applications: Vec<Arc<Application>>,
        generation: u64,
    ) -> Self {
        Self {
            store: self.store.clone(),
            claims: Arc::clone(&self.claims),
            applications,
            clock: self.clock.clone(),
            limits,
            generation,
            cut: self.cut.clone(),
            sweeping: Arc::clone(&self.sweeping),
            clients: self.clients.clone(),
            imports: Arc::clone(&self.imports),
        }
    }

    /// The same with the clients of this configuration.
    #[must_use]
    pub fn known_by(mut self, config: &shape::Config) -> Self {
        self.clients = names(config);
        self
    }

    /// What the store keeps of a configuration.
    #[must_use]
    pub fn configuration(config: &shape::Config) -> Configuration {
        let applications = config.applications.iter();
        Configuration {
            fingerprint: config.fingerprint.clone(),
            applications: applications
                .map(|application| Configured {
                    name: application.name.clone(),
                    planning: planning(application),
                    groups: !application.groups.push.is_empty(),
                    policies: application
                        .policies
                        .iter()
                        .map(|policy| policy.group.clone())
                        .collect(),
                })
                .collect(),
        }
    }

    /// How long a write may wait for claims: the longest `wait` of the applications.
    fn patience(&self) -> Duration {
        let waits = self
            .applications
            .iter()
            .map(|application| application.plan.config.wait);
        waits.max().unwrap_or(Duration::from_secs(4))
    }

    /// Stores the intent, then carries the exchange: no call without the one before it. `Ok(None)`: the safety limit holds
    /// the removal, and the decision says so. Else the decision is counted, as `if_unknown` was made from it.
    async fn attempt(
        &self,
        application: &Application,
        decision: &mut Decision,
        occasion: Occasion,
        permit: Option<Permit>,
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
            budget,
        };
        match self.store.intend(intent).await {
            Ok(intent) => {
                *decision = counted;
                let (outcome, calls) = self
                    .converse(application, decision, occasion, permit, held)
                    .await;
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

    /// Carries one exchange until it ends or `deadline` passes. `permit`: the first call's turn, if it was waited for
    /// already.
    async fn converse(
        &self,
        application: &Application,
        decision: &Decision,
        occasion: Occasion,
        permit: Option<Permit>,
        held: &mut Vec<Held>,
    ) -> (Outcome, Vec<CallRecord>) {
        let Occasion {
            handle,
            intended,
            deadline,
            turn,
        } = occasion;
        let mut passage = Passage::new(turn, deadline, permit);
        let capabilities = self.discover(application, &mut passage).await;
        let mut exchange = Exchange::begin(
            &application.plan,
            decision.act.clone(),
            decision.link.clone(),
            intended,
        )
        .knowing(capabilities);
        loop {
            let call = match exchange.step() {
                Step::End(outcome) => return (*outcome, passage.calls),
                Step::Claim(remote_id) => {
                    let owner = (Kind::User, handle);
                    match self.claim(application, remote_id, owner, deadline).await {
                        Ok((right, other)) => {
                            held.push(right);
                            exchange.claimed(other.as_deref());
                        }
                        Err(why) => return (exchange.cut(&why.to_string()), passage.calls),
                    }
                    continue;
                }
                Step::Call(call) => call,
            };
            match self.carry(application, call, &mut passage).await {
                Ok(carried) => {
                    let heard = exchange.hear(&carried.answer, carried.at);
                    carried.shows(&self.store, application, &heard);
                    application.known.learn(exchange.capabilities());
                }
                Err(Unmade::Late(why, wait)) => {
                    return (exchange.put_off(&why, wait), passage.calls);
                }
                Err(Unmade::Stopping) => return (exchange.cut(STOPPING), passage.calls),
            }
        }
    }

    /// Carries one call. The only place where calls are made. One that its token's end kept from having any effect is
    /// made once more, with the next token.
    async fn carry(
        &self,
        application: &Application,
        call: Call,
        passage: &mut Passage,
    ) -> Result<Carried, Unmade> {
        let mut renewed = false;
        loop {
            let passing = async {
                // What was heard since may have closed the gate behind it.
                let ready = passage.permit.take();
                match ready.filter(|permit| permit.class() == call.class && permit.holds()) {
                    Some(permit) => Ok(permit),
                    None => {
                        let mut until = passage.deadline;
                        if passage.queued {
                            until = until.min(self.clock.now().plus(PATIENCE));
                        }
                        application.gate.pass(call.class, passage.turn, until).await
                    }
                }
            };
            let permit = match self.unless_cut(passing).await {
                Some(Ok(permit)) => permit,
                Some(Err(closed)) => {
                    // A line that moves on says no time: not at once all the same.
                    let wait = closed.until.since(self.clock.now()).max(REST);
                    let why = format!(
                        "{} takes no more calls at the moment; this goes on as soon as its turn comes",
                        application.plan.name()
                    );
                    return Err(Unmade::Late(why, wait));
                }
                None => return Err(Unmade::Stopping),
            };
            passage.turn = Turn::Underway;
            let asked = self.clock.now();
            let deadline = passage.deadline.min(asked.plus(CALL));
            let calling = application.upstream.call(&call, deadline);
            // It may have been sent: nobody knows.
            let called = self.unless_cut(calling).await;
            let is_cut = called.is_none();
            let Called { answer, ms, again } = called.unwrap_or_else(|| Called {
                answer: Answer::Lost(STOPPING.to_owned()),
                ms: 0,
                again: false,
            });
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
            passage.calls.push(CallRecord {
                method: method.to_owned(),
                path: call.path.clone(),
                status,
                ms,
            });
            if again && !renewed {
                renewed = true;
                permit.shows_nothing(status);
                continue;
            }
            let permit = if is_cut {
                permit.shows_nothing(status);
                None
            } else {
                Some(permit)
            };
            return Ok(Carried {
                at: if call.writes() {
                    self.clock.now()
                } else {
                    asked
                },
                answer,
                status,
                permit,
            });
        }
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

    /// A number for a Bulk's set; the writer's own count from 1.
    pub(crate) fn set_number(&self) -> u64 {
        self.dice() | 1 << 63
    }

    /// A Bulk or an undo has ended: its removals are counted. Nothing of it goes before, so a full queue is no reason to
    /// give up; the next start closes what this one cannot.
    pub(crate) async fn close_set(&self, number: u64) {
        let closed = self.store.close_set(number).await;
        if closed.is_ok() {
            return;
        }
        let (store, clock) = (self.store.clone(), self.clock.clone());
        tokio::spawn(async move {
            while let Err(why) = store.close_set(number).await {
                tracing::warn!(error = %why, "the removals of a Bulk or an undo are not counted yet");
                clock.sleep(Duration::from_secs(1)).await;
            }
        });
    }

    /// A number to spread retries by.
    fn dice(&self) -> u64 {
        #[cfg(test)]
        if let Some(number) = crate::simulation::thrown() {
            return number;
        }
        // Spreading only: a poor source would do, and a failing one must not fail the write.
        getrandom::u64().unwrap_or_else(|_| u64::from(Instant::now().elapsed().subsec_nanos()))
    }
}
