//! The line to the applications, in place of TCP: what goes wrong with a call is decided here, and what nobody may do is
//! noticed here.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;

use super::world::{Shared, World, at};
use crate::clock::{Clock, Timestamp};
use crate::provision::call::{Answer, Call, Class, Limits, Method};

/// The line to one application. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    world: Shared,
    application: usize,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Well,
    NotSent,
    LostBefore,
    LostAfter,
    /// The call lies about for a while after its sender gave up, and takes effect then.
    Late,
    /// It has its effect at once, and is answered when nobody waits any more.
    Slow,
    /// 500, 502, 503 or 504, without effect.
    Sick,
    /// 502, with effect.
    SickAfter,
    /// 429 with `Retry-After`.
    Told(u64),
    /// 429 without.
    Throttled,
    /// 401, and the next token is good.
    Stale,
    /// 401, whatever the token.
    Revoked,
    Forbidden,
    /// 2xx that is no JSON, with effect.
    Garbage,
    /// More than is read of an answer, with effect.
    Giant,
    /// The gateway dies before the call leaves.
    DieBefore,
    /// The gateway dies after its effect.
    DieAfter,
}

impl Fate {
    /// What it is counted as; nothing for what goes well.
    fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Well => return None,
            Self::NotSent => "not sent",
            Self::LostBefore => "lost before",
            Self::LostAfter => "lost after",
            Self::Late => "late effect",
            Self::Slow => "slow",
            Self::Sick => "5xx",
            Self::SickAfter => "5xx after effect",
            Self::Told(_) => "429 told",
            Self::Throttled => "429 untold",
            Self::Stale => "401 once",
            Self::Revoked => "401 revoked",
            Self::Forbidden => "403",
            Self::Garbage => "bad JSON",
            Self::Giant => "giant answer",
            Self::DieBefore => "crash before effect",
            Self::DieAfter => "crash after effect",
        })
    }
}

thread_local! {
    static LINES: Cell<Option<Shared>> = const { Cell::new(None) };
}

/// What the applications' base URLs begin with.
pub(super) const BASE: &str = "http://127.0.0.1:9/simulated/";

impl Line {
    /// Lays lines to the world of this thread's simulation, or takes them away.
    pub(super) fn lay(world: Option<Shared>) {
        LINES.set(world);
    }

    /// The line to the application that is at this address, if a simulation says so on this thread.
    pub(crate) fn to(base_url: &str) -> Option<Self> {
        let application = base_url.strip_prefix(BASE)?.parse().ok()?;
        let world = LINES.take()?;
        LINES.set(Some(world.clone()));
        Some(Self { world, application })
    }

    /// Makes a call: what became of it, and whether another token may help.
    pub(crate) async fn call(
        &self,
        call: &Call,
        deadline: Timestamp,
        clock: &Clock,
    ) -> (Answer, bool) {
        let (fate, pause) = {
            let mut world = at(&self.world);
            world.begins(self.application, call, clock.now());
            let fate = world.fate(self.application, call, clock.now());
            if let Some(name) = fate.name() {
                world.count(name);
            }
            let name = world.applications[self.application].name;
            world.say(|| {
                format!(
                    "{name} {} {} {} {} {fate:?}",
                    call.method.as_str(),
                    call.path,
                    call.query.as_deref().unwrap_or_default(),
                    call.body
                        .as_deref()
                        .map(String::from_utf8_lossy)
                        .unwrap_or_default()
                )
            });
            (fate, world.pause())
        };
        let sent = AtomicBool::new(false);
        let under_way = UnderWay::begin(&self.world);
        let dialogue = self.dialogue(call, fate, pause, clock, &sent);
        let answer = clock.until(deadline, dialogue).await;
        drop(under_way);
        let answer = answer.unwrap_or_else(|| {
            if sent.load(Relaxed) {
                Answer::Lost("no whole answer in time".into())
            } else {
                Answer::NotSent("no connection in time".into())
            }
        });
        let again = fate == Fate::Stale && matches!(answer, Answer::Reply { status: 401, .. });
        (answer, again)
    }

    /// The gateway is killed.
    async fn die(&self) -> Answer {
        at(&self.world).disk.die();
        std::future::pending().await
    }

    async fn dialogue(
        &self,
        call: &Call,
        fate: Fate,
        pause: Duration,
        clock: &Clock,
        sent: &AtomicBool,
    ) -> Answer {
        let lost = || Answer::Lost("the connection broke".into());
        if at(&self.world).disk.is_dead() {
            return std::future::pending().await;
        }
        rest(clock, pause).await;
        match fate {
            Fate::NotSent => return Answer::NotSent("cannot connect".into()),
            Fate::DieBefore => return self.die().await,
            _ => sent.store(true, Relaxed),
        }
        match fate {
            Fate::LostBefore => return lost(),
            Fate::Late => {
                let due = clock.now().plus(Duration::from_secs(12));
                at(&self.world).late(self.application, call, due);
                return lost();
            }
            Fate::Sick => {
                let status = at(&self.world).of(&[500, 502, 503, 504]);
                return reply(status, None, None);
            }
            Fate::Throttled => return reply(429, None, None),
            Fate::Told(seconds) => {
                let wait = Duration::from_secs(seconds);
                at(&self.world).told(self.application, call.class, clock.now().plus(wait));
                return reply(429, None, Some(wait));
            }
            Fate::Stale | Fate::Revoked => return reply(401, None, None),
            Fate::Forbidden => return reply(403, None, None),
            _ => {}
        }
        let (status, body) = at(&self.world).effect(self.application, call, clock.now());
        match fate {
            Fate::DieAfter => return self.die().await,
            Fate::Slow => rest(clock, Duration::from_secs(90)).await,
            _ => rest(clock, pause).await,
        }
        match fate {
            Fate::LostAfter => lost(),
            Fate::SickAfter => reply(502, None, None),
            Fate::Garbage if status < 300 => Answer::Reply {
                status,
                body: b"<html><body>It works!</body></html>".to_vec(),
                retry_after: None,
                limits: Limits::default(),
            },
            // As the client says of a body that is over the cap.
            Fate::Giant => Answer::Lost("answer too large".into()),
            _ => reply(status, body, None),
        }
    }
}

async fn rest(clock: &Clock, span: Duration) {
    if !span.is_zero() {
        clock.sleep(span).await;
    }
}

fn reply(status: u16, body: Option<Value>, retry_after: Option<Duration>) -> Answer {
    Answer::Reply {
        status,
        body: body
            .map(|body| body.to_string().into_bytes())
            .unwrap_or_default(),
        retry_after,
        limits: Limits::default(),
    }
}

/// Counts the calls under way.
struct UnderWay<'a>(&'a Shared);

impl<'a> UnderWay<'a> {
    fn begin(world: &'a Shared) -> Self {
        at(world).under_way += 1;
        Self(world)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        at(self.0).under_way -= 1;
    }
}

/// What kind of weather an application has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    Fair,
    /// No connection is had.
    Down,
    /// 5xx, mostly.
    Sick,
    /// 429.
    Throttling,
    /// Answers get lost, late or garbled.
    Lossy,
    Revoked,
    Forbidden,
    Slow,
}

impl Weather {
    pub(super) const ALL: [Self; 7] = [
        Self::Down,
        Self::Sick,
        Self::Throttling,
        Self::Lossy,
        Self::Revoked,
        Self::Forbidden,
        Self::Slow,
    ];
}

impl World {
    /// What becomes of a call in the weather of its application.
    fn fate(&mut self, application: usize, call: &Call, now: Timestamp) -> Fate {
        if self.mended {
            return Fate::Well;
        }
        if let Some(after) = self.dies_in_call.take_if(|_| call.writes()) {
            return if after {
                Fate::DieAfter
            } else {
                Fate::DieBefore
            };
        }
        let one = &mut self.applications[application];
        if one.until <= now {
            one.weather = Weather::Fair;
        }
        let weather = one.weather;
        let dice = &mut self.dice;
        let creates = call.method == Method::Post && call.path == "/Users";
        match weather {
            Weather::Down => Fate::NotSent,
            Weather::Sick if dice.percent(80) => Fate::Sick,
            Weather::Sick => Fate::SickAfter,
            Weather::Throttling => match dice.below(4) {
                0 => Fate::Throttled,
                1 => Fate::Well,
                _ => Fate::Told(1 + dice.below(40)),
            },
            Weather::Revoked => Fate::Revoked,
            // To a SCIM server's no to one write nothing is asked again, and the journal says so.
            Weather::Forbidden if application == 0 => Fate::Forbidden,
            Weather::Forbidden => Fate::Revoked,
            Weather::Slow if dice.percent(60) => Fate::Slow,
            Weather::Lossy => match dice.below(9) {
                0 | 1 => Fate::LostBefore,
                2 | 3 => Fate::LostAfter,
                4 if creates => Fate::Late,
                4 => Fate::LostAfter,
                5 => Fate::Garbage,
                6 => Fate::Giant,
                7 => Fate::SickAfter,
                _ => Fate::Well,
            },
            Weather::Fair | Weather::Slow => match dice.below(60) {
                0 => Fate::LostBefore,
                1 => Fate::LostAfter,
                2 if creates => Fate::Late,
                3 => Fate::Stale,
                4 => Fate::Sick,
                5 => Fate::Told(2),
                _ => Fate::Well,
            },
        }
    }

    /// The class of a call may not be called again before then.
    fn told(&mut self, application: usize, class: Class, until: Timestamp) {
        let told = &mut self.applications[application].told[usize::from(class == Class::Medium)];
        *told = (*told).max(until);
    }

    fn pause(&mut self) -> Duration {
        if self.mended {
            return Duration::ZERO;
        }
        Duration::from_millis(5 + self.dice.below(120))
    }

    fn of(&mut self, statuses: &[u16]) -> u16 {
        self.dice.pick(statuses).copied().unwrap_or(500)
    }
}
