//! The worker: picks marks that are due and has each settled, one task a mark, as many at once as the application takes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Timestamp;
use crate::config::shape::Mode;
use crate::error::Fault;
use crate::scim::Handle;
use crate::settle::{Application, Engine};
use crate::store::{ChangeSet, MarkEdit};

/// How many due marks are looked at in one go.
const PAGE: usize = 64;

/// Marks that one transaction wakes.
const WAKE: usize = 500;

/// After this, a mark whose turn failed for a reason of ours (claims, a full queue) is looked at again.
const SOON: Duration = Duration::from_secs(1);

/// Starts one loop for each application. They end, their exchanges finished, when `drain` becomes true.
pub fn start(engine: &Arc<Engine>, drain: &watch::Receiver<bool>) -> JoinSet<()> {
    let mut loops = JoinSet::new();
    for application in &engine.applications {
        loops.spawn(run(
            Arc::clone(engine),
            Arc::clone(application),
            drain.clone(),
        ));
    }
    loops
}

async fn run(engine: Arc<Engine>, application: Arc<Application>, mut drain: watch::Receiver<bool>) {
    let mut busy: JoinSet<Handle> = JoinSet::new();
    let mut taken: Vec<Handle> = Vec::new();
    let mut committed = engine.store.committed();
    if let Err(fault) = wake(&engine, &application).await {
        tracing::error!(application = application.plan.name(), error = %fault, "marks that were simulated could not be woken");
    }
    if let Err(fault) = engine.mark_groups(&application).await {
        tracing::error!(application = application.plan.name(), error = %fault, "groups that may differ could not be marked");
    }
    while !*drain.borrow() {
        committed.mark_unchanged();
        let wake = match pick(&engine, &application, &taken) {
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

/// What `mode = "simulate"` parked is due now that the application is live. What the safety limit holds stays held.
async fn wake(engine: &Engine, application: &Application) -> Result<(), Fault> {
    if application.plan.config.mode == Mode::Simulate {
        return Ok(());
    }
    let name = application.plan.name();
    let parked = engine.store.view()?.parked(name)?;
    for slice in parked.chunks(WAKE) {
        let view = engine.store.view()?;
        let mut marks = Vec::new();
        for mark in slice {
            let resource = view.resource(mark.handle)?;
            let removal = resource
                .as_ref()
                .and_then(|resource| resource.link(name)?.removal.as_ref());
            if removal.is_none_or(|removal| removal.held.is_none()) {
                marks.push(MarkEdit::Set {
                    handle: mark.handle,
                    application: name.to_owned(),
                    due: engine.clock.now(),
                    attempts: 0,
                    lane: mark.lane,
                    caused: false,
                });
            }
        }
        drop(view);
        let change = ChangeSet {
            marks,
            ..ChangeSet::default()
        };
        engine
            .store
            .commit(change)
            .await
            .map_err(|why| Fault::Storage(why.to_string()))?;
    }
    Ok(())
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
