//! The worker: picks marks that are due and has each settled, one task a mark, as many at once as the application takes.
//! It stands in the gate's line first and picks when its turn has come, so that nobody is claimed only to wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Timestamp;
use crate::error::Fault;
use crate::provision::call::Class;
use crate::scim::Handle;
use crate::settle::{Application, Engine, Turned};
use crate::upstream::gate::{Permit, Turn};

/// After this, a mark whose turn failed for a reason of ours (claims, a full queue) is looked at again.
const SOON: Duration = Duration::from_secs(1);

/// How long a mark stands aside whose resource cannot be read.
const ASIDE: Duration = Duration::from_secs(60);

/// So many stand aside at most: where more cannot be read it is not about one row.
const FEW: usize = 100;

/// A class that has to wait longer than this does not stop what needs another.
const LONG: Duration = Duration::from_secs(5);

/// Starts three loops for each application: one sends, another sweeps when a changed configuration asks for it, the third
/// imports. They end, their exchanges finished, when `drain` becomes true.
pub fn start(engine: &Arc<Engine>, drain: &watch::Sender<bool>, loops: &mut JoinSet<()>) {
    for application in &engine.applications {
        // Nobody knows yet whether something is to be counted first.
        let rests = watch::Sender::new(true);
        loops.spawn(run(
            Arc::clone(engine),
            Arc::clone(application),
            rests.subscribe(),
            drain.subscribe(),
        ));
        let sweeps = Arc::clone(engine).sweeps(Arc::clone(application), rests, drain.subscribe());
        loops.spawn(sweeps);
        loops.spawn(Arc::clone(engine).imports(Arc::clone(application), drain.subscribe()));
    }
}

async fn run(
    engine: Arc<Engine>,
    application: Arc<Application>,
    mut rests: watch::Receiver<bool>,
    mut drain: watch::Receiver<bool>,
) {
    let mut busy: JoinSet<(Handle, Turned)> = JoinSet::new();
    let mut taken: Vec<Handle> = Vec::new();
    // Whom somebody else is changing, until they are free: who hangs at one application must not stop another.
    let mut claimed: Vec<Handle> = Vec::new();
    let mut waits: JoinSet<Handle> = JoinSet::new();
    // A damaged row must not keep everybody else waiting.
    let (mut aside, mut until): (Vec<Handle>, _) = (Vec::new(), Timestamp::NEVER);
    let mut permit: Option<Permit> = None;
    let mut committed = engine.store.committed();
    // Nothing is sent on the strength of what was restored before a person says that it is right.
    tokio::select! {
        () = engine.store.confirmed() => {}
        _ = drain.wait_for(|drain| *drain) => return,
    }
    while !*drain.borrow() {
        #[cfg(test)]
        crate::simulation::in_turn(application.plan.name()).await;
        committed.mark_unchanged();
        if until <= engine.clock.now() {
            aside.clear();
            until = Timestamp::NEVER;
        }
        let picked = if *rests.borrow_and_update() {
            Ok(Picked::Until(Timestamp::NEVER))
        } else {
            let passed_over = [aside.as_slice(), &claimed].concat();
            pick(&engine, &application, &taken, &passed_over, permit.as_ref())
        };
        let (wake, line) = match picked {
            Ok(Picked::Mark { handle, calls }) => {
                taken.push(handle);
                busy.spawn(turn(
                    Arc::clone(&engine),
                    Arc::clone(&application),
                    handle,
                    permit.take_if(|_| calls),
                    drain.clone(),
                ));
                continue;
            }
            Ok(Picked::Line(class)) => (None, Some(class)),
            Ok(Picked::Aside(handle, fault)) if aside.len() < FEW => {
                tracing::error!(application = application.plan.name(), handle = handle.0, error = %fault, "what is marked cannot be read: it stands aside");
                aside.push(handle);
                until = until.min(engine.clock.now().plus(ASIDE));
                continue;
            }
            Ok(Picked::Until(due)) => (Some(due.min(until)), None),
            Ok(Picked::Aside(_, fault)) | Err(fault) => {
                tracing::error!(application = application.plan.name(), error = %fault, "the worker cannot read its marks");
                (Some(engine.clock.now().plus(SOON)), None)
            }
        };
        // A turn that nobody takes is left to others.
        permit = None;
        // In their order, so that a simulation's seed always gives the same history; none of them is ready for ever.
        tokio::select! {
            biased;
            _ = drain.changed() => {}
            Ok(()) = rests.changed() => {}
            Some(done) = busy.join_next(), if !busy.is_empty() => {
                let handle = done.as_ref().ok().map(|(handle, _)| *handle);
                taken.retain(|known| Some(*known) != handle);
                if let Ok((handle, Turned::Claimed(claims))) = done {
                    claimed.push(handle);
                    let engine = Arc::clone(&engine);
                    waits.spawn(async move {
                        engine.released(&claims).await;
                        handle
                    });
                }
                if handle.is_none() {
                    // A turn that panicked: its mark stands. Forget who is taken only when nobody is.
                    if busy.is_empty() { taken.clear(); }
                }
            }
            Some(free) = waits.join_next(), if !waits.is_empty() => {
                claimed.retain(|known| free.as_ref().ok() != Some(known));
            }
            () = engine.clock.sleep_until(wake.unwrap_or(Timestamp::NEVER)), if wake.is_some() => {}
            // What is committed meanwhile is seen when the turn has come: it goes to whatever is first then.
            _ = committed.changed(), if line.is_none() && taken.len() < application.plan.config.pace.concurrency => {}
            passed = stand(&engine, &application, line) => permit = passed,
        }
    }
    drop(permit);
    // What is under way is finished and committed; what is left stays marked.
    while busy.join_next().await.is_some() {}
}

/// Waits for the worker's turn in the line of a class; for ever in none.
async fn stand(engine: &Engine, application: &Application, line: Option<Class>) -> Option<Permit> {
    let Some(class) = line else {
        return std::future::pending().await;
    };
    let gate = &application.gate;
    match gate.pass(class, Turn::Queued, Timestamp::NEVER).await {
        Ok(permit) => Some(permit),
        Err(closed) => {
            engine.clock.sleep_until(closed.until).await;
            None
        }
    }
}

enum Picked {
    /// This one has its turn; whether it calls the application, and so uses the permit.
    Mark { handle: Handle, calls: bool },
    /// This one is first, and cannot be read.
    Aside(Handle, Fault),
    /// The first one that is due has to stand in this line.
    Line(Class),
    /// Nothing to do before then, or before a commit sets a mark.
    Until(Timestamp),
}

/// What to do next: one mark a time, so that each turn at the application goes to whoever is first at that moment. A
/// burst of marks waits on disk; neither memory nor claims are spent on it.
fn pick(
    engine: &Engine,
    application: &Application,
    taken: &[Handle],
    aside: &[Handle],
    permit: Option<&Permit>,
) -> Result<Picked, Fault> {
    let name = application.plan.name();
    let now = engine.clock.now();
    let concurrency = application.plan.config.pace.concurrency;
    // While the application is being tried again, one call at most finds out whether it is back.
    let room = if application.gate.probing() {
        1
    } else {
        concurrency
    };
    if taken.len() >= room {
        return Ok(Picked::Until(Timestamp::NEVER));
    }
    if permit.is_none()
        && let Some(until) = application.gate.closed(now)
    {
        return Ok(Picked::Until(until));
    }
    let view = engine.store.view()?;
    let next = match aside {
        [] => view.next(name, now, taken)?,
        _ => view.next(name, now, &[taken, aside].concat())?,
    };
    let Some(handle) = next else {
        let next = view.next_due(name)?.filter(|due| *due > now);
        return Ok(Picked::Until(next.unwrap_or(Timestamp::NEVER)));
    };
    drop(view);
    let foreseen = match engine.foresee(handle, application) {
        Ok(foreseen) => foreseen,
        Err(fault) => return Ok(Picked::Aside(handle, fault)),
    };
    let picked = match foreseen {
        None => Picked::Mark {
            handle,
            calls: false,
        },
        Some(class) if permit.is_some_and(|permit| permit.class() == class) => Picked::Mark {
            handle,
            calls: true,
        },
        // Closed for long, it must not stop what needs another class: its turn puts it off until then.
        Some(Class::Medium) if rests(application, now) => Picked::Mark {
            handle,
            calls: false,
        },
        Some(class) => Picked::Line(class),
    };
    Ok(picked)
}

/// Whether look-ups have to wait for long.
fn rests(application: &Application, now: Timestamp) -> bool {
    let gate = &application.gate;
    gate.hopeless(Class::Medium, Turn::Underway, now, now.plus(LONG))
        .is_some()
}

async fn turn(
    engine: Arc<Engine>,
    application: Arc<Application>,
    handle: Handle,
    permit: Option<Permit>,
    mut drain: watch::Receiver<bool>,
) -> (Handle, Turned) {
    let turned = match engine.deliver(handle, &application, permit).await {
        Ok(turned) => turned,
        Err(fault) => {
            tracing::warn!(application = application.plan.name(), error = %fault, "a delivery is put off");
            tokio::select! {
                () = engine.clock.sleep(SOON) => {}
                _ = drain.changed() => {}
            }
            Turned::Nothing
        }
    };
    (handle, turned)
}
