//! The worker's half: a mark, settled by the same path as a client's write.

use std::collections::BTreeSet;

use super::record::{mark, put};
use super::verdict::lost;
use super::{Application, Attempt, Engine, Occasion, TRIES};
use crate::claims::{Claim, Held};
use crate::config::shape::Mode;
use crate::error::Fault;
use crate::journal::record::Status;
use crate::provision::plan::{self, Act};
use crate::provision::weigh::{self, Weighed};
use crate::scim::{Handle, Kind, Resource};
use crate::store::{ChangeSet, Mark, MarkEdit};
use crate::upstream::gate::Turn;

impl Engine {
    /// Settles a mark: the worker's half of the same path. `Ok(None)`: there was nothing to do.
    ///
    /// # Errors
    /// The mark stands and will be taken up again.
    pub async fn deliver(
        &self,
        handle: Handle,
        application: &Application,
    ) -> Result<Option<Status>, Fault> {
        let begun = self.clock.now();
        let patience = begun.plus(self.patience());
        let name = application.plan.name();
        let kind = self.store.view()?.row(handle, |row| row.kind)?;
        if kind == Some(Kind::Group) {
            return self.deliver_group(handle, application).await;
        }
        let mut wanted = BTreeSet::from([Claim::Resource(handle)]);
        for _ in 0..TRIES {
            let held = self.claims.acquire(&wanted, patience, &self.clock).await?;
            let view = self.store.view()?;
            let now = self.clock.now();
            let Some(mark) = view.mark(handle, name)?.filter(|mark| mark.due <= now) else {
                return Ok(None);
            };
            let resource = view.resource(handle)?;
            drop(view);
            let Some(resource) = resource else {
                // The resource is gone, and so is what the mark was about.
                let clear = MarkEdit::Clear {
                    handle,
                    application: name.to_owned(),
                    generation: mark.generation,
                };
                let change = ChangeSet {
                    marks: vec![clear],
                    ..ChangeSet::default()
                };
                self.store.reserve()?.commit(change).await.map_err(lost)?;
                return Ok(None);
            };
            let mut needed = wanted.clone();
            if let Some(key) = plan::account_key(&application.plan, &resource) {
                needed.insert(Claim::Account {
                    application: name.to_owned(),
                    key,
                });
            }
            if held.covers(&needed) {
                return self
                    .carry_on(resource, mark, application, held)
                    .await
                    .map(Some);
            }
            drop(held);
            wanted = needed;
        }
        Ok(None)
    }

    async fn carry_on(
        &self,
        resource: Resource,
        mark: Mark,
        application: &Application,
        held: Held,
    ) -> Result<Status, Fault> {
        let now = self.clock.now();
        let name = application.plan.name();
        let mut decision = plan::plan(&application.plan, &resource, now);
        let place = self.store.reserve()?;
        let mut held = vec![held];
        let mut settles = None;
        let mut weighed = None;
        if decision.act != Act::Nothing && application.plan.config.mode == Mode::Live {
            let occasion = Occasion {
                handle: resource.handle,
                intended: now,
                // A worker has no client waiting: each call has its own time, and the whole has an end.
                deadline: now.plus(std::time::Duration::from_secs(60)),
                turn: Turn::Queued,
            };
            let if_unknown =
                |presumed| self.delivery(&resource, &mark, application, presumed, None);
            if let Some(Attempt {
                intent,
                outcome,
                calls,
            }) = self
                .attempt(application, &mut decision, occasion, if_unknown, &mut held)
                .await?
            {
                settles = Some(intent);
                weighed = Some(self.weighed(
                    application,
                    &resource,
                    &decision,
                    outcome,
                    calls,
                    mark.attempts,
                ));
            }
        }
        let weighed = weighed.unwrap_or_else(|| {
            weigh::unsent(
                &application.plan,
                &decision,
                self.clock.now(),
                mark.attempts,
                "this is sent next",
            )
        });
        let status = weighed.delivery.status;
        tracing::info!(application = name, operation = ?weighed.delivery.operation, status = ?status, code = weighed.delivery.code.as_deref(), "delivery");
        let change = self.delivery(&resource, &mark, application, weighed, settles);
        place.commit(change).await.map_err(lost)?;
        Ok(status)
    }

    /// A worker's exchange as a change set.
    fn delivery(
        &self,
        before: &Resource,
        mark_was: &Mark,
        application: &Application,
        weighed: Weighed,
        settles: Option<u64>,
    ) -> ChangeSet {
        let mut after = before.clone();
        after.set_link(application.plan.name(), weighed.link.clone());
        let mut change = ChangeSet {
            settles,
            ..ChangeSet::default()
        };
        change.marks.extend(mark(
            &weighed,
            before.handle,
            application.plan.name(),
            std::slice::from_ref(mark_was),
            false,
        ));
        change
            .journal
            .push(self.delivered(before, weighed.delivery, mark_was.cause.clone()));
        put(&mut change, Some(before), after);
        change
    }
}
