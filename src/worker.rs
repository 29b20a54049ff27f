//! The worker: picks marks that are due and has each settled, one task a mark, as many at once as the application takes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Timestamp;
use crate::error::Fault;
use crate::scim::Handle;
use crate::settle::{Application, Engine};

/// How many due marks are looked at in one go.
const PAGE: usize = 64;

/// After this, a mark whose turn failed for a reason of ours (claims, a full queue) is looked at again.
const SOON: Duration = Duration::from_secs(1);

/// Starts two loops for each application: one sends, the other sweeps when a changed configuration asks for it. They end, their exchanges finished, when `drain` becomes true.
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
    }
}

async fn run(
    engine: Arc<Engine>,
    application: Arc<Application>,
    mut rests: watch::Receiver<bool>,
    mut drain: watch::Receiver<bool>,
) {
    let mut busy: JoinSet<Handle> = JoinSet::new();
    let mut taken: Vec<Handle> = Vec::new();
    let mut committed = engine.store.committed();
    // Nothing is sent on the strength of what was restored before a person says that it is right.
    tokio::select! {
        () = engine.store.confirmed() => {}
        _ = drain.wait_for(|drain| *drain) => return,
    }
    while !*drain.borrow() {
        committed.mark_unchanged();
        let picked = if *rests.borrow_and_update() {
            Ok(Picked::Until(Timestamp::NEVER))
        } else {
            pick(&engine, &application, &taken)
        };
        let wake = match picked {
            Ok(Picked::Marks(handles)) => {
                for handle in handles {
                    taken.push(handle);
                    busy.spawn(turn(
                        Arc::clone(&engine),
                        Arc::clone(&application),
                        handle,
                        drain.clone(),
                    ));
                }
                None
            }
            Ok(Picked::Until(due)) => Some(due),
            Err(fault) => {
                tracing::error!(application = application.plan.name(), error = %fault, "the worker cannot read its marks");
                Some(engine.clock.now().plus(SOON))
            }
        };
        tokio::select! {
            _ = drain.changed() => {}
            Ok(()) = rests.changed() => {}
            Some(done) = busy.join_next(), if !busy.is_empty() => {
                let handle = done.ok();
                taken.retain(|known| Some(*known) != handle);
                if handle.is_none() {
                    // A turn that panicked: its mark stands. Forget who is taken only when nobody is.
                    if busy.is_empty() { taken.clear(); }
                }
            }
            () = engine.clock.sleep_until(wake.unwrap_or(Timestamp::NEVER)), if wake.is_some() => {}
            _ = committed.changed(), if taken.len() < application.plan.config.pace.concurrency => {}
        }
    }
    // What is under way is finished and committed; what is left stays marked.
    while busy.join_next().await.is_some() {}
}

enum Picked {
    /// These are due.
    Marks(Vec<Handle>),
    /// Nothing to do before then, or before a commit sets a mark.
    Until(Timestamp),
}

fn pick(engine: &Engine, application: &Application, taken: &[Handle]) -> Result<Picked, Fault> {
    let name = application.plan.name();
    let now = engine.clock.now();
    let room = application
        .plan
        .config
        .pace
        .concurrency
        .saturating_sub(taken.len());
    if room == 0 {
        return Ok(Picked::Until(Timestamp::NEVER));
    }
    if let Some(until) = application.gate.closed(now) {
        return Ok(Picked::Until(until));
    }
    // While the application is being tried again, one call at most finds out whether it is back.
    let room = if application.gate.probing() {
        1_usize.saturating_sub(taken.len())
    } else {
        room
    };
    let view = engine.store.view()?;
    let due = view.due(name, now, PAGE.max(taken.len() + room))?;
    let fresh: Vec<Handle> = due
        .into_iter()
        .map(|mark| mark.handle)
        .filter(|handle| !taken.contains(handle))
        .take(room)
        .collect();
    if fresh.is_empty() {
        let next = view.next_due(name)?.filter(|due| *due > now);
        return Ok(Picked::Until(next.unwrap_or(Timestamp::NEVER)));
    }
    Ok(Picked::Marks(fresh))
}

async fn turn(
    engine: Arc<Engine>,
    application: Arc<Application>,
    handle: Handle,
    mut drain: watch::Receiver<bool>,
) -> Handle {
    match engine.deliver(handle, &application).await {
        Ok(_) => {}
        Err(fault) => {
            tracing::warn!(application = application.plan.name(), error = %fault, "a delivery is put off");
            tokio::select! {
                () = engine.clock.sleep(SOON) => {}
                _ = drain.changed() => {}
            }
        }
    }
    handle
}
