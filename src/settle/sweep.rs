//! A sweep: everybody is planned again for an application of which planning reads something else than before.
//!
//! First it counts the removals, and only reads. Then it marks who differs, slice by slice: planning is a function, so who
//! does not differ costs a read and nothing else. Where the removals are over the safety limit all of them are held, and
//! not all but the first few. The worker does the rest; it rests until what is to be held cannot slip past.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::draft::Known;
use super::record::{mark, relink};
use super::verdict::{budget, fits, hold, lost};
use super::{Application, Engine};
use crate::claims::Claim;
use crate::clock::Timestamp;
use crate::config::shape::Mode;
use crate::error::Fault;
use crate::provision::link::Uncertain;
use crate::provision::plan::{self, Act, Decision};
use crate::provision::weigh;
use crate::scim::{Handle, Kind, Resource};
use crate::store::{
    Among, ChangeSet, Compared, Lane, Mark, MarkEdit, SentEdit, Sweep, SweepPhase, SweepStep, View,
};

/// Resources that are planned in one go, and at most marked in one transaction.
const SLICE: usize = 500;

/// Resources of a slice whose rows are written at the same time.
const TOGETHER: usize = 32;

/// Slices between two lines in the log.
const TOLD: u64 = 40;

/// After this, a sweep that failed (a full queue, the disk) goes on where it was.
const SOON: Duration = Duration::from_secs(1);

/// What a sweep does about a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// It is as it should be.
    Nothing,
    /// The worker settles it.
    Mark(Lane),
    /// Its link is written as well: its removal is held, or what was sent is in doubt.
    Link,
}

/// A slice, planned.
struct Slice {
    marks: Vec<MarkEdit>,
    links: Vec<Handle>,
    /// Removals that the safety limit would be asked for.
    removals: u64,
    planned: u64,
    next: Option<Handle>,
}

impl Engine {
    /// Carries the sweeps of an application, those that an earlier process left too, until `drain`. While `rests` is true
    /// the worker sends nothing there.
    pub async fn sweeps(
        self: Arc<Self>,
        application: Arc<Application>,
        rests: watch::Sender<bool>,
        mut drain: watch::Receiver<bool>,
    ) {
        let name = application.plan.name();
        let mut begun = self.store.sweeps_begun();
        // What was restored is planned when a person has said that it is right.
        tokio::select! {
            () = self.store.confirmed() => {}
            _ = drain.wait_for(|drain| *drain) => return,
        }
        while !*drain.borrow() {
            #[cfg(test)]
            crate::simulation::in_turn(name).await;
            begun.mark_unchanged();
            match self.sweep(&application, &rests, &drain).await {
                // Another one has taken its place, or a loop of the configuration before has ended it.
                Ok(false) => {}
                Ok(true) => tokio::select! {
                    _ = begun.changed() => {}
                    _ = drain.changed() => {}
                },
                Err(fault) => {
                    tracing::error!(application = name, error = %fault, "the sweep is put off");
                    tokio::select! {
                        () = self.clock.sleep(SOON) => {}
                        _ = drain.changed() => {}
                    }
                }
            }
        }
    }

    /// Carries the one sweep that is under way, if there is one, to its end or until `drain`. False: it is not the one that
    /// is under way any more.
    async fn sweep(
        self: &Arc<Self>,
        application: &Arc<Application>,
        rests: &watch::Sender<bool>,
        drain: &watch::Receiver<bool>,
    ) -> Result<bool, Fault> {
        let name = application.plan.name();
        let found = self.store.view()?.sweep(name)?;
        // Before that nobody knows.
        rests.send_replace(found.as_ref().is_some_and(|sweep| {
            matches!(
                sweep.phase,
                SweepPhase::Gathering | SweepPhase::Counting | SweepPhase::Holding
            )
        }));
        let Some(mut sweep) = found else {
            return Ok(true);
        };
        if sweep.generation > self.generation {
            // A reload has begun it, and ends this loop in a moment: what would be counted and planned here is what was
            // wanted before. Nothing is sent until then either.
            rests.send_replace(true);
            return Ok(true);
        }
        if sweep.phase == SweepPhase::Gathering {
            // The writer finds its people, and tells.
            return Ok(true);
        }
        let set = sweep.among == Among::Set;
        if sweep.phase == SweepPhase::Counting {
            if !set {
                tracing::info!(
                    application = name,
                    total = sweep.total,
                    "sweep: everybody is planned again"
                );
            }
            if !self.count(application, &mut sweep, drain).await? {
                return Ok(false);
            }
            rests.send_replace(sweep.phase == SweepPhase::Holding);
        }
        let mut slices = 0;
        while !*drain.borrow() {
            let slice = self.slice(application, &sweep, sweep.next).await?;
            for some in slice.links.chunks(TOGETHER) {
                self.write_links(application, &sweep, some).await?;
            }
            sweep.done += slice.planned;
            sweep.marked += slice.marks.len() as u64 + slice.links.len() as u64;
            sweep.next = slice.next.unwrap_or(sweep.next);
            let ends = slice.next.is_none();
            slices += 1;
            let told = slices % TOLD == 0;
            let wrote = !slice.marks.is_empty() || !slice.links.is_empty();
            if !(ends || wrote || told || set) {
                // After a crash it is read again; that is cheaper than to note each slice.
                continue;
            }
            let step = SweepStep {
                sweep: sweep.clone(),
                ends,
                marks: slice.marks,
            };
            let stands = self.store.step_sweep(step).await.map_err(lost)?;
            if !stands {
                return Ok(false);
            }
            let (done, marked) = (sweep.done, sweep.marked);
            if ends {
                let held = sweep.held();
                tracing::info!(application = name, done, marked, held, "sweep: done");
                rests.send_replace(false);
                // After a set there may be another one.
                return Ok(!set);
            }
            if told {
                let total = sweep.total;
                tracing::info!(application = name, done, total, marked, "sweep");
            }
        }
        Ok(true)
    }

    /// Counts the removals of a sweep and decides about them, durably. False: it did not come to that.
    async fn count(
        self: &Arc<Self>,
        application: &Arc<Application>,
        sweep: &mut Sweep,
        drain: &watch::Receiver<bool>,
    ) -> Result<bool, Fault> {
        let name = application.plan.name();
        let (mut next, mut removals) = (Some(Handle(0)), 0);
        // What only simulates removes nobody.
        while let Some(from) = next.filter(|_| application.plan.config.mode == Mode::Live) {
            if *drain.borrow() {
                return Ok(false);
            }
            let slice = self.slice(application, sweep, from).await?;
            removals += slice.removals;
            next = slice.next;
        }
        let tally = self.store.view()?.tally(name)?;
        sweep.removals = removals;
        sweep.phase = if fits(application, &tally, removals, self.clock.now()) {
            SweepPhase::Marking
        } else {
            tracing::warn!(
                application = name,
                removals,
                "sweep: over the safety limit, so all of these removals are held until a person says so"
            );
            SweepPhase::Holding
        };
        let step = SweepStep {
            sweep: sweep.clone(),
            ends: false,
            marks: Vec::new(),
        };
        self.store.step_sweep(step).await.map_err(lost)
    }

    /// Plans a slice. On a thread of its own: it is work, and requests come first.
    async fn slice(
        self: &Arc<Self>,
        application: &Arc<Application>,
        sweep: &Sweep,
        from: Handle,
    ) -> Result<Slice, Fault> {
        let turn = Arc::clone(&self.sweeping).acquire_owned().await;
        let (engine, application, sweep) =
            (Arc::clone(self), Arc::clone(application), sweep.clone());
        // A simulation has one thread.
        #[cfg(test)]
        if engine.store.is_inline() {
            return engine.plan_slice(&application, &sweep, from);
        }
        let planning = tokio::task::spawn_blocking(move || {
            let planned = engine.plan_slice(&application, &sweep, from);
            drop(turn);
            planned
        });
        planning
            .await
            .map_err(|died| Fault::Internal(format!("planning a slice died: {died}")))?
    }

    fn plan_slice(
        &self,
        application: &Application,
        sweep: &Sweep,
        from: Handle,
    ) -> Result<Slice, Fault> {
        let name = application.plan.name();
        // Before the snapshot: whoever is free by then has committed what it shows, and whoever begins later reads all that
        // is planned here.
        let busy = self.claims.links(name);
        let (view, now) = (self.store.view()?, self.clock.now());
        let anything_marked = view.mark_count(name)? > 0;
        let mut slice = Slice {
            marks: Vec::new(),
            links: Vec::new(),
            removals: 0,
            planned: 0,
            next: None,
        };
        slice.next = view.swept(sweep, from, SLICE, |resource| {
            slice.planned += 1;
            let mark = match anything_marked {
                true => view.mark(resource.handle, name)?,
                false => None,
            };
            let decision = decide(&view, application, &resource, now)?;
            let decision = decision.as_ref();
            slice.removals += u64::from(counts(application, &resource, decision, now));
            let needs = needs(application, sweep, &resource, mark.as_ref(), decision, now);
            match needs {
                Needs::Link => slice.links.push(resource.handle),
                // An exchange under way was planned before this, and what it leaves is not known yet: an account that is
                // being made is nobody's to take away now.
                _ if busy.contains(&resource.handle) => slice.marks.push(MarkEdit::Raise {
                    handle: resource.handle,
                    application: name.to_owned(),
                    due: now,
                    lane: match (needs, resource.kind) {
                        (Needs::Mark(lane), _) => lane,
                        (_, Kind::Group) => Lane::Group,
                        (_, Kind::User) => Lane::Deactivate,
                    },
                    caused: false,
                }),
                Needs::Nothing => {}
                Needs::Mark(lane) => slice
                    .marks
                    .push(due(resource.handle, application, lane, now)),
            }
            Ok(())
        })?;
        Ok(slice)
    }

    async fn write_links(
        self: &Arc<Self>,
        application: &Arc<Application>,
        sweep: &Sweep,
        handles: &[Handle],
    ) -> Result<(), Fault> {
        let mut writing = JoinSet::new();
        for handle in handles.iter().copied() {
            let (engine, application, sweep) =
                (Arc::clone(self), Arc::clone(application), sweep.clone());
            writing.spawn(async move { engine.write_link(&application, &sweep, handle).await });
        }
        // To the end of all, whatever one of them says: each holds its claims until its commit is on disk.
        let mut first = Ok(());
        while let Some(written) = writing.join_next().await {
            let died = |died| Err(Fault::Internal(format!("a sweep's write died: {died}")));
            first = first.and(written.unwrap_or_else(died));
        }
        first
    }

    /// Writes one link by the path of any other change: claimed, and looked at again.
    async fn write_link(
        &self,
        application: &Application,
        sweep: &Sweep,
        handle: Handle,
    ) -> Result<(), Fault> {
        let patience = self.clock.now().plus(self.patience());
        let wanted = BTreeSet::from([Claim::link(handle, application.plan.name())]);
        let _held = self.claims.acquire(&wanted, patience, &self.clock).await?;
        let (view, now, name) = (
            self.store.view()?,
            self.clock.now(),
            application.plan.name(),
        );
        let Some(before) = view.resource(handle)? else {
            return Ok(());
        };
        let change = self.link_change(application, sweep, &view, &before, now)?;
        drop(view);
        let Some(change) = change else {
            return Ok(());
        };
        tracing::debug!(application = name, "sweep: a link is written");
        self.store.reserve()?.commit(change).await.map_err(lost)?;
        Ok(())
    }

    fn link_change(
        &self,
        application: &Application,
        sweep: &Sweep,
        view: &View,
        before: &Resource,
        now: Timestamp,
    ) -> Result<Option<ChangeSet>, Fault> {
        let name = application.plan.name();
        let mark_was = view.mark(before.handle, name)?;
        let mut change = ChangeSet {
            generation: self.generation,
            ..ChangeSet::default()
        };
        let mut after = before.clone();
        if sweep.doubt
            && let Some(mut link) = after.link(name).cloned()
        {
            let uncertain = link.uncertain.get_or_insert(Uncertain {
                intended: now,
                sent: now,
            });
            uncertain.sent = now;
            if after.kind == Kind::Group && link.remote_id.is_some() {
                // So are its members, each of them.
                change.sent.push(SentEdit {
                    application: name.to_owned(),
                    group: after.handle,
                    compared: Some(Compared::To(Handle(0))),
                    ..SentEdit::default()
                });
            }
            after.set_link(name, Some(link));
        }
        let decision = decide(view, application, &after, now)?;
        let counts = counts(application, &after, decision.as_ref(), now);
        match decision {
            Some(mut decision) if sweep.phase == SweepPhase::Holding && counts => {
                // As a single removal that the limit holds.
                hold(&mut decision, now);
                let weighed = weigh::unsent(&application.plan, &decision, now, 0, "");
                let standing = mark_was.as_slice();
                let cause = mark_was
                    .as_ref()
                    .map(|mark| mark.cause.clone())
                    .unwrap_or_default();
                let unasked = cause.is_empty();
                let marked = mark(&weighed, before.handle, name, standing, unasked);
                change.marks.extend(marked);
                after.set_link(name, weighed.link);
                let record = self.delivered(before, weighed.delivery, cause);
                change.journal.push(record);
            }
            decision => {
                let mark = mark_was.as_ref();
                let lane = match needs(application, sweep, &after, mark, decision.as_ref(), now) {
                    // Somebody else has settled it meanwhile.
                    Needs::Nothing => return Ok(None),
                    Needs::Mark(lane) => lane,
                    Needs::Link => lane(decision.as_ref()),
                };
                let mark = due(before.handle, application, lane, now);
                change.marks.push(mark);
            }
        }
        let link = after.link(name).cloned();
        relink(&mut change, before, name, link);
        Ok(Some(change))
    }
}

/// The plan for a user. Whether a group differs there takes more than its row: the worker finds out.
fn decide(
    view: &View,
    application: &Application,
    resource: &Resource,
    now: Timestamp,
) -> Result<Option<Decision>, Fault> {
    if resource.kind != Kind::User {
        return Ok(None);
    }
    // Nobody is kept back by the very count that this is.
    let known = Known::read(view, application, resource)?.counted();
    let facts = known.facts(resource, now);
    Ok(Some(plan::plan(&application.plan, facts)))
}

fn lane(decision: Option<&Decision>) -> Lane {
    decision.map_or(Lane::Group, |decision| decision.act.lane())
}

/// Whether the safety limit is asked for it: somebody loses an account, and was not counted for it before.
fn counts(
    application: &Application,
    resource: &Resource,
    decision: Option<&Decision>,
    now: Timestamp,
) -> bool {
    application.plan.config.mode == Mode::Live
        && decision
            .is_some_and(|decision| budget(application, decision, resource.handle, now).is_some())
}

fn needs(
    application: &Application,
    sweep: &Sweep,
    resource: &Resource,
    mark: Option<&Mark>,
    decision: Option<&Decision>,
    now: Timestamp,
) -> Needs {
    let link = resource.link(application.plan.name());
    let holds = sweep.phase == SweepPhase::Holding && counts(application, resource, decision, now);
    if holds || (sweep.doubt && link.is_some()) {
        return Needs::Link;
    }
    let Some(decision) = decision else {
        let pushed = !application.plan.config.groups.push.is_empty();
        return if pushed || link.is_some() {
            Needs::Mark(Lane::Group)
        } else {
            Needs::Nothing
        };
    };
    let held = link
        .and_then(|link| link.removal.as_ref())
        .is_some_and(|removal| removal.held.is_some());
    // What was only simulated, and what waits for another moment than it has to now.
    let waits_wrongly = match (mark, decision.again) {
        (Some(mark), _) if mark.due == Timestamp::NEVER => !held,
        (mark, Some(again)) => mark.is_none_or(|mark| mark.due > again),
        (_, None) => false,
    };
    if decision.act != Act::Nothing || decision.link.as_ref() != link || waits_wrongly {
        Needs::Mark(decision.act.lane())
    } else {
        Needs::Nothing
    }
}

fn due(handle: Handle, application: &Application, lane: Lane, now: Timestamp) -> MarkEdit {
    MarkEdit::Set {
        handle,
        application: application.plan.name().to_owned(),
        due: now,
        attempts: 0,
        lane,
        caused: false,
        read: None,
    }
}
