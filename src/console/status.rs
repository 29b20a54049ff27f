//! `GET /status`: how the gateway and its applications are, for `usher status`. The shape is public: scripts read it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::config::shape::{Mode, Policy};
use crate::error::Fault;
use crate::gateway::Phase;
use crate::settle::{Application, Engine};
use crate::store::{Among, Lane, LaneCount, View, nearly_full};
use crate::upstream::gate::{ClassView, GateView};

/// Marks of a lane that are counted; above, it is "more than".
const BOUND: u64 = 10_000;

/// The gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `opening`, `ready`, `broken` or `draining`.
    pub phase: String,
    /// usher's version.
    pub version: String,
    /// When this was written, by the gateway's clock (milliseconds since the epoch, as all times here).
    pub now: Timestamp,
    /// Since when the gateway runs.
    pub started: Timestamp,
    /// The configuration's generation.
    pub generation: Option<u64>,
    /// The data file; `None` while it is being opened.
    pub store: Option<StoreStatus>,
    /// In the configuration's order.
    pub applications: Vec<ApplicationStatus>,
}

/// The data file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Where it is.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes free on its disk, if the disk tells.
    pub free: Option<u64>,
    /// Whether writes are refused because the disk is nearly full.
    pub full: bool,
    /// It was restored from a backup then, and nobody has confirmed it: writes are refused and nothing is sent.
    pub unconfirmed: Option<Timestamp>,
}

/// One application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApplicationStatus {
    /// Its name.
    pub name: String,
    /// `live` or `simulate`.
    pub mode: String,
    /// How it is.
    pub state: State,
    /// Zoom's "Light".
    pub light: ClassStatus,
    /// Zoom's "Medium".
    pub medium: ClassStatus,
    /// Calls under way.
    pub in_flight: usize,
    /// Calls at once at most.
    pub concurrency: usize,
    /// Exchanges under way or with a client waiting that wait for their turn.
    pub waiting: usize,
    /// Rounds of failure in a row.
    pub failures: u32,
    /// What was heard last, and when.
    pub last: Option<(Timestamp, String)>,
    /// Active accounts.
    pub active: u64,
    /// Removals that the safety limit holds until a person decides.
    pub held: u64,
    /// What a person has allowed beyond the limit: so many removals, until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowance: Option<(u64, Timestamp)>,
    /// Who belongs there by groups; none: everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyStatus>,
    /// Accounts for which nothing is sent any more until a person or a change asks for it: they failed to the end of the
    /// ladder of retries.
    #[serde(default)]
    pub quarantined: u64,
    /// Removals that failed as long, and are still tried.
    #[serde(default)]
    pub overdue: u64,
    /// Everybody is planned again, because the configuration changed.
    pub sweep: Option<SweepStatus>,
    /// All marks.
    pub marks: u64,
    /// The queue, lane by lane, in the order in which it is worked off.
    pub queue: Vec<LaneStatus>,
}

/// A policy and its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// Its name.
    pub name: String,
    /// How it names its group.
    pub group: String,
    /// How that is.
    pub state: PolicyState,
    /// What the group is called now, where it is known.
    pub called: Option<String>,
    /// Its direct members.
    pub members: u64,
}

/// How a policy's group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyState {
    /// Known, and its members belong.
    Bound,
    /// Known, and never had a member: nothing is given and nothing taken away by it.
    Empty,
    /// Not known: likewise.
    Unknown,
    /// Deleted: whoever loses an account by that keeps it until a person says so.
    Deleted,
}

/// A sweep that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepStatus {
    /// Not everybody, but a set: those whose groups changed at once.
    #[serde(default)]
    pub set: bool,
    /// Resources there are.
    pub total: u64,
    /// Resources planned so far.
    pub done: u64,
    /// People whose removal it holds, because there are more than the safety limit allows.
    pub held: u64,
}

/// How an application is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum State {
    /// Nothing is wrong.
    Ok,
    /// It asked for fewer calls: those of a class wait.
    Waiting {
        /// Until when.
        until: Timestamp,
    },
    /// It does not answer, or answers that it cannot.
    Failing {
        /// Since when.
        since: Timestamp,
        /// The next try.
        next: Timestamp,
    },
    /// It refuses the credentials (401) or what they may do (403).
    Refused {
        /// Since when.
        since: Timestamp,
        /// The next try.
        next: Timestamp,
    },
}

/// One rate class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassStatus {
    /// Calls a second now, as a decimal number.
    pub rate: String,
    /// Calls a second by the configuration.
    pub configured: u32,
    /// Calls a second that the application says it allows, if it ever said.
    pub granted: Option<u32>,
    /// No call of this class before this.
    pub not_before: Option<Timestamp>,
}

/// One lane of the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneStatus {
    /// Its name.
    pub lane: Lane,
    /// Marks that are due.
    pub due: u64,
    /// Marks that are due later.
    pub later: u64,
    /// Marks that only a person or a change makes due.
    pub parked: u64,
    /// Since when the first one is due.
    pub oldest: Option<Timestamp>,
    /// There are more marks than were counted.
    pub more: bool,
}

/// The gateway at this moment. Blocks: it reads the store.
///
/// # Errors
/// The store cannot be read.
pub fn status(
    phase: Phase,
    started: Timestamp,
    now: Timestamp,
    engine: Option<&Arc<Engine>>,
) -> Result<Status, Fault> {
    let phase = match phase {
        Phase::Opening(_) => "opening",
        Phase::Ready => "ready",
        Phase::Broken => "broken",
        Phase::Draining => "draining",
    };
    let mut status = Status {
        phase: phase.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now,
        started,
        generation: None,
        store: None,
        applications: Vec::new(),
    };
    let Some(engine) = engine else {
        return Ok(status);
    };
    status.generation = Some(engine.generation);
    status.store = engine.store.path().map(|path| {
        let free = engine.store.measure_free_space().ok().flatten();
        StoreStatus {
            path: path.display().to_string(),
            bytes: std::fs::metadata(path).map_or(0, |file| file.len()),
            free,
            full: free.is_some_and(nearly_full) || engine.store.disk_nearly_full(),
            unconfirmed: engine.store.restored().map(|restored| restored.restored),
        }
    });
    let applications = engine.applications.iter();
    let applications = applications.map(|application| one(engine, application, now));
    status.applications = applications.collect::<Result<_, _>>()?;
    Ok(status)
}

fn one(
    engine: &Engine,
    application: &Application,
    now: Timestamp,
) -> Result<ApplicationStatus, Fault> {
    let name = application.plan.name();
    let gate = application.gate.snapshot(now);
    let view = engine.store.view()?;
    let tally = view.tally(name)?;
    let lanes = view.lanes(name, now, BOUND)?;
    Ok(ApplicationStatus {
        name: name.to_owned(),
        mode: match application.plan.config.mode {
            Mode::Live => String::from("live"),
            Mode::Simulate => String::from("simulate"),
        },
        state: state(&gate, now),
        light: class(&gate.light),
        medium: class(&gate.medium),
        in_flight: gate.in_flight,
        concurrency: gate.concurrency,
        waiting: gate.waiting,
        failures: gate.failures,
        last: gate.last.map(|last| (last.at, last.to_string())),
        active: tally.active,
        held: tally.holds,
        allowance: tally
            .allowance
            .filter(|allowance| allowance.room(now) > 0)
            .map(|allowance| (allowance.left, allowance.until)),
        policies: policies(&view, application)?,
        quarantined: tally.quarantined,
        overdue: tally.overdue,
        sweep: view.sweep(name)?.map(|sweep| SweepStatus {
            set: sweep.among == Among::Set,
            total: sweep.total,
            done: sweep.done,
            held: sweep.held(),
        }),
        marks: tally.marks,
        queue: lanes.iter().map(lane).collect(),
    })
}

fn policies(view: &View, application: &Application) -> Result<Vec<PolicyStatus>, Fault> {
    let bindings = view.bindings()?;
    let one = |policy: &Policy| {
        let binding = bindings.iter().find(|binding| {
            binding.application == application.plan.name() && binding.selector == policy.group
        });
        let members = match binding {
            Some(binding) => view.member_count(binding.group)?,
            None => 0,
        };
        Ok(PolicyStatus {
            name: policy.name.clone(),
            group: policy.group.to_string(),
            state: match binding {
                None => PolicyState::Unknown,
                Some(binding) if binding.deleted => PolicyState::Deleted,
                Some(binding) if binding.populated => PolicyState::Bound,
                Some(_) => PolicyState::Empty,
            },
            called: binding.map(|binding| binding.name.clone()),
            members,
        })
    };
    application.plan.config.policies.iter().map(one).collect()
}

/// How an application is, by its gate.
pub(super) fn state(gate: &GateView, now: Timestamp) -> State {
    let rests = gate.light.not_before.max(gate.medium.not_before);
    match (gate.failing_since, rests) {
        (Some(since), _) => {
            let next = gate.left_alone_until.unwrap_or(now);
            let status = gate.last.and_then(|last| last.status);
            if matches!(status, Some(401 | 403)) {
                State::Refused { since, next }
            } else {
                State::Failing { since, next }
            }
        }
        (None, Some(until)) => State::Waiting { until },
        (None, None) => State::Ok,
    }
}

fn class(view: &ClassView) -> ClassStatus {
    ClassStatus {
        rate: view.rate.to_string(),
        configured: view.configured,
        granted: view.granted,
        not_before: view.not_before,
    }
}

fn lane(count: &LaneCount) -> LaneStatus {
    LaneStatus {
        lane: count.lane,
        due: count.due,
        later: count.later,
        parked: count.parked,
        oldest: count.oldest,
        more: count.more,
    }
}
