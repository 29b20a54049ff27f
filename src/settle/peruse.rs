//! Reading an application through, page by page and one by one, as its pace allows: for imports, and for comparing. Only
//! reads, and holds no claim meanwhile; clients and what is under way go before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Application, Engine, Passage, Unmade};
use crate::journal::record::CallRecord;
use crate::provision::call::{Answer, Call};
use crate::provision::pace;
use crate::provision::profile::group::GroupAim;
use crate::provision::profile::{Aim, Heard, Shown};
use crate::scim::Kind;
use crate::upstream::gate::Turn;

/// Calls in the worker's line at once: it shares that line, and must not come to nothing by it.
const AT_ONCE: usize = 4;

/// After so many bad answers to the same call it is given up.
const TRIES: u32 = 5;

/// How long one call may take.
const LONGEST: Duration = Duration::from_secs(60);

/// Who reads an application through, and how far that is. One at a time; the same under every configuration.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Held by whoever reads.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Held while an import begins.
    pub(super) begins: tokio::sync::Mutex<()>,
    done: AtomicU64,
    of: AtomicU64,
}

impl Reading {
    pub(super) fn is_at(&self, done: usize, of: Option<usize>) {
        let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.done.store(wide(done), Ordering::Relaxed);
        self.of.store(of.map_or(0, wide), Ordering::Relaxed);
    }

    /// How far a comparison is: done, and of how many (0: not known).
    pub(crate) fn progress(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.done), load(&self.of))
    }
}

/// A page of a list.
pub(super) struct Page {
    pub(super) items: Vec<Shown>,
    /// How many there are in all, if it says so.
    pub(super) total: Option<usize>,
}

/// What a read of one of them found.
pub(super) struct Read {
    /// As it is; `None`: it is denied that there is one.
    pub(super) shown: Option<Shown>,
    pub(super) calls: Vec<CallRecord>,
    /// Why it was not read at all, though others were.
    pub(super) unreadable: Option<String>,
}

impl Read {
    /// Of one that gives no good answer where others do.
    pub(super) fn unreadable(why: &str) -> Self {
        Self {
            shown: None,
            calls: Vec::new(),
            unreadable: Some(why.to_owned()),
        }
    }
}

/// Why reading stops.
pub(super) enum Stop {
    /// The gateway ends, or goes on under another configuration.
    Drain,
    /// The application has no such thing, or not for us.
    Refused(String),
    /// It gives no good answer.
    Failed(String),
    /// It gives none about this one: its id, and why.
    Unread(String, String),
}

/// What is read.
#[derive(Debug, Clone, Copy)]
enum Look {
    List(Kind),
    One(Kind),
}

impl Engine {
    /// The page of a list that begins with this one, from 1.
    pub(super) async fn page(
        &self,
        application: &Application,
        kind: Kind,
        start: usize,
        drain: &watch::Receiver<bool>,
    ) -> Result<Page, Stop> {
        let profile = application.plan.profile;
        let call = match kind {
            Kind::User => profile.list(start),
            Kind::Group => profile.list_groups(start),
        };
        let (heard, _) = self
            .look(application, Look::List(kind), call, drain.clone())
            .await?;
        match heard {
            Heard::Page(items, total) => Ok(Page { items, total }),
            Heard::Found(items) => Ok(Page { items, total: None }),
            other => Err(refused(other)),
        }
    }

    /// Reads each of these, some at once; in their order.
    pub(super) async fn read_all(
        self: &Arc<Self>,
        application: &Arc<Application>,
        kind: Kind,
        ids: Vec<String>,
        drain: &watch::Receiver<bool>,
    ) -> Result<Vec<Read>, Stop> {
        let mut found: Vec<Option<Read>> = ids.iter().map(|_| None).collect();
        let mut left = ids.into_iter().enumerate();
        let mut reading = JoinSet::new();
        loop {
            while reading.len() < AT_ONCE
                && let Some((at, id)) = left.next()
            {
                let (engine, application) = (Arc::clone(self), Arc::clone(application));
                let drain = drain.clone();
                reading.spawn(async move {
                    (at, engine.read_one(&application, kind, &id, drain).await)
                });
            }
            let Some(read) = reading.join_next().await else {
                break;
            };
            let (at, read) = read.map_err(|died| Stop::Failed(format!("a read died: {died}")))?;
            if let Some(place) = found.get_mut(at) {
                *place = Some(read?);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    async fn read_one(
        &self,
        application: &Application,
        kind: Kind,
        id: &str,
        drain: watch::Receiver<bool>,
    ) -> Result<Read, Stop> {
        let profile = application.plan.profile;
        let call = match kind {
            Kind::User => profile.read(id),
            Kind::Group => profile.read_group(id),
        };
        let looked = self.look(application, Look::One(kind), call, drain).await;
        let (heard, calls) = looked.map_err(|stop| match stop {
            Stop::Failed(why) => Stop::Unread(id.to_owned(), why),
            other => other,
        })?;
        let shown = match heard {
            Heard::Account(shown) => Some(*shown),
            // One that it keeps from us says nothing of the others.
            Heard::Absent(_) | Heard::NotBelonging(_) | Heard::Refused { .. } => None,
            other => return Err(refused(other)),
        };
        Ok(Read {
            shown,
            calls,
            unreadable: None,
        })
    }

    /// Makes one reading call, when its turn has come, until it has a good answer or none is to be had.
    async fn look(
        &self,
        application: &Application,
        look: Look,
        call: Call,
        mut drain: watch::Receiver<bool>,
    ) -> Result<(Heard, Vec<CallRecord>), Stop> {
        let mut bad = 0;
        loop {
            // What an application wants to be left alone for is waited for in here.
            let passing =
                application
                    .gate
                    .pass(call.class, Turn::Queued, crate::clock::Timestamp::NEVER);
            let passed = tokio::select! {
                biased;
                _ = drain.wait_for(|drain| *drain) => return Err(Stop::Drain),
                passed = passing => passed,
            };
            let permit = match passed {
                Ok(permit) => permit,
                Err(closed) => {
                    tokio::select! {
                        _ = drain.wait_for(|drain| *drain) => return Err(Stop::Drain),
                        () = self.clock.sleep_until(closed.until) => {}
                    }
                    continue;
                }
            };
            let deadline = self.clock.now().plus(LONGEST);
            let mut passage = Passage::new(Turn::Queued, deadline, Some(permit));
            let wait = match self.carry(application, call.clone(), &mut passage).await {
                Err(Unmade::Stopping) => return Err(Stop::Drain),
                Err(Unmade::Late(_, wait)) => wait,
                Ok(carried) => {
                    let (heard, shows) = hear(application, look, &carried.answer);
                    carried.shows(&self.store, application, &shows);
                    let Heard::Unavailable(detail) = heard else {
                        return Ok((heard, passage.calls));
                    };
                    if !matches!(shows, pace::Heard::Limited(_)) {
                        bad += 1;
                    }
                    if bad == TRIES {
                        return Err(Stop::Failed(detail));
                    }
                    // The gate knows how long.
                    Duration::ZERO
                }
            };
            tokio::select! {
                _ = drain.wait_for(|drain| *drain) => return Err(Stop::Drain),
                () = self.clock.sleep(wait) => {}
            }
        }
    }
}

/// What an answer says, and what it shows of the application.
fn hear(application: &Application, look: Look, answer: &Answer) -> (Heard, pace::Heard) {
    let profile = application.plan.profile;
    let heard = match answer {
        Answer::Reply { status, body, .. } => match look {
            Look::List(Kind::User) => profile.hear(Aim::List, *status, body),
            Look::One(Kind::User) => profile.hear(Aim::Read, *status, body),
            Look::List(Kind::Group) => profile.hear_group(GroupAim::List, *status, body),
            Look::One(Kind::Group) => profile.hear_group(GroupAim::Read, *status, body),
        },
        Answer::NotSent(why) | Answer::Lost(why) => Heard::Unavailable(why.clone()),
    };
    let retry_after = match answer {
        Answer::Reply { retry_after, .. } => *retry_after,
        Answer::NotSent(_) | Answer::Lost(_) => None,
    };
    let shows = match (&heard, pace::Heard::of(answer)) {
        // The profile knows better than the status: an account-level 400, a 404 on a collection.
        (Heard::Unavailable(_), pace::Heard::Well) => pace::Heard::Unavailable(retry_after),
        (Heard::Unavailable(_), shows) => shows,
        // It answers, whatever it says of groups.
        _ => pace::Heard::Well,
    };
    (heard, shows)
}

fn refused(heard: Heard) -> Stop {
    Stop::Refused(match heard {
        Heard::Refused { status, detail } => format!("{detail} ({status})"),
        Heard::Unsupported(detail)
        | Heard::Forbidden(detail)
        | Heard::Absent(detail)
        | Heard::NotBelonging(detail)
        | Heard::Exists(detail)
        | Heard::Ambiguous(detail)
        | Heard::Unavailable(detail) => detail,
        Heard::Account(_) | Heard::Found(_) | Heard::Page(..) | Heard::Done => {
            String::from("an answer out of place")
        }
    })
}
