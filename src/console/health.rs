//! `/healthz` and `/readyz`: whether the process lives, and whether requests are answered. No look at the disk: a monitor may
//! ask as often as it likes, and hears something also where the disk hangs.

use std::time::Duration;

use hyper::Response;
use serde_json::{Map, Value, json};

use super::Console;
use super::status::{self, State};
use crate::clock::Timestamp;
use crate::gateway::Phase;
use crate::server::outgoing::Outgoing;
use crate::server::tls;
use crate::settle::Engine;

/// A writer that has not come round for so long takes no writes, for all that a client can tell.
const SILENT: Duration = Duration::from_secs(5);

impl Console {
    pub(super) fn healthz(&self) -> Response<Outgoing> {
        let phase = *self.gateway.phase.borrow();
        let (status, body) = if phase == Phase::Broken {
            (503, json!({"status": "broken"}))
        } else {
            (200, json!({"status": "ok"}))
        };
        super::json(status, body.to_string().into_bytes())
    }

    /// 200 as long as requests are answered. An application that is away is told of and changes nothing: writes are taken
    /// for it all the same. Nor does a disk that is nearly full: a balancer would take the reads away too.
    pub(super) fn readyz(&self) -> Response<Outgoing> {
        let phase = *self.gateway.phase.borrow();
        let engine = self.gateway.engine();
        let (status, mut body) = match (phase, &engine) {
            (Phase::Ready, Some(engine)) => ready(engine),
            (Phase::Ready, None) => (503, json!({"status": "opening"})),
            (Phase::Opening(share), _) => {
                let checked = (f64::from(share) * 100.0).round() / 100.0;
                (503, json!({"status": "opening", "checked": checked}))
            }
            (Phase::Broken, _) => (
                503,
                json!({"status": "broken", "detail": "a commit failed; the process is about to restart"}),
            ),
            (Phase::Draining, _) => (503, json!({"status": "draining"})),
        };
        if let Some(body) = body.as_object_mut() {
            let components = self.components(phase, engine.as_deref());
            body.insert(String::from("components"), components.into());
        }
        if let Some(engine) = &engine {
            // Who asks next hears what this came to.
            engine.store.knock();
        }
        super::json(status, body.to_string().into_bytes())
    }

    fn components(&self, phase: Phase, engine: Option<&Engine>) -> Map<String, Value> {
        let now = self.clock.now();
        let mut components = Map::new();
        let mut add = |name: String, value| {
            components.insert(name, value);
        };
        let store = match phase {
            Phase::Opening(_) => "opening",
            Phase::Broken => "broken",
            Phase::Ready | Phase::Draining
                if engine.is_some_and(|it| it.store.is_unconfirmed()) =>
            {
                "restored and not confirmed"
            }
            Phase::Ready | Phase::Draining => "ok",
        };
        add(String::from("store"), json!({"status": store}));
        if let Some(engine) = engine {
            let store = &engine.store;
            let waiting = store.statistics().waiting;
            let writer = match silence(engine) {
                Some(silent) => {
                    let seconds = silent.as_secs();
                    json!({"status": "does not answer", "seconds": seconds, "waiting": waiting})
                }
                None => json!({"status": "ok", "waiting": waiting}),
            };
            add(String::from("writer"), writer);
            let disk = if store.disk_nearly_full() {
                "nearly full"
            } else {
                "ok"
            };
            add(String::from("disk"), json!({"status": disk}));
            for application in &engine.applications {
                let state = status::state(&application.gate.snapshot(now), now);
                let name = format!("application:{}", application.plan.name());
                add(name, told(state));
            }
        }
        if let Some(acceptor) = &self.tls {
            let ends = acceptor.ends();
            let status = match ends {
                Some(end) if end <= now => "certificate has ended",
                Some(end) if end < now.plus(tls::SOON) => "certificate ends soon",
                _ => "ok",
            };
            let until = ends.map(Timestamp::rfc3339);
            add(
                String::from("tls"),
                json!({"status": status, "until": until}),
            );
        }
        components
    }
}

/// Reads are answered; whether writes are is said beside it.
fn ready(engine: &Engine) -> (u16, Value) {
    let store = &engine.store;
    if silence(engine).is_some() {
        (
            503,
            json!({"status": "not ready", "detail": "the writer does not answer"}),
        )
    } else if store.is_unconfirmed() {
        (
            200,
            json!({"status": "ready", "writes": "refused: restored from a backup and not confirmed"}),
        )
    } else if store.disk_nearly_full() {
        (
            200,
            json!({"status": "ready", "writes": "refused: disk nearly full"}),
        )
    } else {
        (200, json!({"status": "ready"}))
    }
}

/// For how long the writer has been silent, if that is too long.
fn silence(engine: &Engine) -> Option<Duration> {
    let silent = engine.store.silent_for();
    (silent >= SILENT).then_some(silent)
}

fn told(state: State) -> Value {
    match state {
        State::Ok => json!({"status": "ok"}),
        State::Waiting { until } => {
            json!({"status": "told to wait", "until": until.rfc3339()})
        }
        State::Failing { since, next } => {
            json!({"status": "does not answer", "since": since.rfc3339(), "until": next.rfc3339()})
        }
        State::Refused { since, next } => {
            json!({"status": "refuses the credentials", "since": since.rfc3339(), "until": next.rfc3339()})
        }
    }
}
