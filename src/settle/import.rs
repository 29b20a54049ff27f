//! An import: what is in an application and not here is taken in, at the paced rate, by reading calls alone. It is durable:
//! a row says how far it is, and a loop of its own carries it, the one that an earlier process left too.
//!
//! ```text
//! groups, then users: a page of the list -> each one read by id -> mapped back -> whose is it? -> linked, created, or told
//! ```

mod take;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::peruse::{Page, Read, Stop};
use super::verdict::lost;
use super::{Application, Engine};
use crate::clock::Timestamp;
use crate::error::Fault;
use crate::provision::profile::Shown;
use crate::scim::Kind;
use crate::store::{ChangeSet, Import, Key};

/// After this, an import that failed for a reason of ours (claims, a full queue, the disk) goes on where it was.
const SOON: Duration = Duration::from_secs(1);

/// A scheduled one that an outage ended goes on after this, if that is sooner than the next is due.
const AGAIN: Duration = Duration::from_secs(3600);

/// How many are read before the first of them is taken in.
const CHUNK: usize = 8;

/// What the loop does next.
enum Next {
    Import,
    /// One is due by the schedule.
    Begin,
    At(Timestamp),
}

/// Why an import does not go on.
enum Halt {
    Stop(Stop),
    Fault(Fault),
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Engine {
    /// Begins an import, durably; the loop carries it. Where one is under way, that one. Its number.
    ///
    /// # Errors
    /// One is under way that claims otherwise, or nothing can be committed.
    pub async fn begin_import(&self, application: &Application, claim: bool) -> Result<u64, Fault> {
        self.store.refuse_unconfirmed()?;
        let _begins = application.reading.begins.lock().await;
        let name = application.plan.name();
        let before = self.store.view()?.import(name)?;
        if let Some(under_way) = before.as_ref().filter(|before| before.ended.is_none()) {
            if under_way.claim == claim {
                return Ok(under_way.number);
            }
            return Err(Fault::Unavailable {
                retry_after: 60,
                detail: String::from(
                    "An import without --claim, or with it, is under way; try again when it has ended.",
                ),
            });
        }
        let import = Import::after(before, name, claim, self.clock.now());
        let number = import.number;
        self.note(&import).await?;
        Ok(number)
    }

    /// Waits until that import has ended.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn import_ended(&self, application: &str, number: u64) -> Result<Import, Fault> {
        let mut told = self.imports.subscribe();
        loop {
            told.mark_unchanged();
            let import = self.store.view()?.import(application)?;
            if let Some(import) =
                import.filter(|import| import.number != number || import.ended.is_some())
            {
                return Ok(import);
            }
            // The sender lives in `self`.
            let _told = told.changed().await;
        }
    }

    /// Carries the imports of an application, those that an earlier process left too, and begins those that are due by the
    /// schedule, until `drain`.
    pub async fn imports(
        self: Arc<Self>,
        application: Arc<Application>,
        mut drain: watch::Receiver<bool>,
    ) {
        let name = application.plan.name();
        let mut told = self.imports.subscribe();
        tokio::select! {
            () = self.store.confirmed() => {}
            _ = drain.wait_for(|drain| *drain) => return,
        }
        while !*drain.borrow() {
            told.mark_unchanged();
            let carried = match self.next_import(&application) {
                Ok(Next::Import) => self.import(&application, &drain).await,
                Ok(Next::Begin) => self.begin_import(&application, false).await.map(drop),
                Ok(Next::At(at)) => {
                    tokio::select! {
                        () = self.clock.sleep_until(at) => {}
                        _ = told.changed() => {}
                        _ = drain.wait_for(|drain| *drain) => {}
                    }
                    continue;
                }
                Err(fault) => Err(fault),
            };
            if let Err(fault) = carried {
                tracing::error!(application = name, error = %fault, "the import is put off");
                tokio::select! {
                    () = self.clock.sleep(SOON) => {}
                    _ = drain.wait_for(|drain| *drain) => {}
                }
            }
        }
    }

    fn next_import(&self, application: &Application) -> Result<Next, Fault> {
        let last = self.store.view()?.import(application.plan.name())?;
        let every = application.plan.config.import_every;
        let at = match (last, every) {
            (Some(Import { ended: None, .. }), _) => return Ok(Next::Import),
            (_, None) => Timestamp::NEVER,
            (None, Some(_)) => return Ok(Next::Begin),
            (Some(last), Some(every)) => match (last.ended, last.failed) {
                (Some(ended), Some(_)) => ended.plus(every.min(AGAIN)),
                _ => last.begun.plus(every),
            },
        };
        Ok(if at <= self.clock.now() {
            Next::Begin
        } else {
            Next::At(at)
        })
    }

    /// Carries the import that is under way, to its end or until `drain`.
    async fn import(
        self: &Arc<Self>,
        application: &Arc<Application>,
        drain: &watch::Receiver<bool>,
    ) -> Result<(), Fault> {
        let name = application.plan.name();
        let mut drained = drain.clone();
        let _turn = tokio::select! {
            turn = application.reading.turn.lock() => turn,
            _ = drained.wait_for(|drain| *drain) => return Ok(()),
        };
        let under_way = self.store.view()?.import(name)?;
        let Some(mut import) = under_way.filter(|import| import.ended.is_none()) else {
            return Ok(());
        };
        let from = import.next;
        tracing::info!(application = name, at = ?import.at, from, "import: what is there is read");
        let (mut first, mut unreadable) = (None, None);
        while import.ended.is_none() {
            if *drain.borrow() {
                return Ok(());
            }
            match self
                .import_page(application, &mut import, (&mut first, &unreadable), drain)
                .await
            {
                Ok(()) => {}
                Err(Halt::Fault(fault)) => return Err(fault),
                Err(Halt::Stop(Stop::Drain)) => return Ok(()),
                // Many applications have no groups, or not for us; they have users all the same.
                Err(Halt::Stop(Stop::Refused(why))) if import.at == Kind::Group => {
                    import.without_groups = Some(why);
                    self.list_ends(application, &mut import).await?;
                }
                // The list came between two tries of it: it is about this one.
                Err(Halt::Stop(Stop::Unread(id, why))) if import.stuck.as_ref() == Some(&id) => {
                    first = None;
                    unreadable = Some((id, why));
                }
                Err(Halt::Stop(stop @ (Stop::Refused(_) | Stop::Failed(_) | Stop::Unread(..)))) => {
                    let why = match stop {
                        Stop::Unread(id, why) => {
                            import.stuck = Some(id);
                            why
                        }
                        Stop::Refused(why) | Stop::Failed(why) => why,
                        Stop::Drain => return Ok(()),
                    };
                    import.failed = Some(why);
                    import.ended = Some(self.clock.now());
                    self.note(&import).await?;
                }
            }
        }
        let Import { groups, users, .. } = import;
        match import.failed {
            Some(why) => tracing::error!(
                application = name,
                why,
                "import: it did not come to its end, and goes on there next time"
            ),
            None => tracing::info!(
                application = name,
                found = users.found,
                matched = users.matched,
                created = users.created,
                conflicted = users.conflicted,
                groups = groups.found,
                "import: done"
            ),
        }
        Ok(())
    }

    /// Takes the next page in. `first`: the first of the page before; a server that knows no pages shows it again.
    /// `unreadable`: one that is left out, and why.
    async fn import_page(
        self: &Arc<Self>,
        application: &Arc<Application>,
        import: &mut Import,
        (first, unreadable): (&mut Option<String>, &Option<(String, String)>),
        drain: &watch::Receiver<bool>,
    ) -> Result<(), Halt> {
        let kind = import.at;
        let Page { items, total } = self.page(application, kind, import.next, drain).await?;
        import.total = total;
        let shows = items.first().map(|shown| shown.id.clone());
        let again = shows.is_some() && shows == *first;
        let mut over = items.is_empty() || again;
        *first = shows;
        if !over {
            for chunk in items.chunks(CHUNK) {
                if *drain.borrow() {
                    return Err(Halt::Stop(Stop::Drain));
                }
                // Who is linked already need not be read.
                let mut unknown = Vec::new();
                let view = self.store.view()?;
                for shown in chunk {
                    let linked = view.find(&remote(kind, application.plan.name(), &shown.id))?;
                    unknown.push(linked.is_none());
                }
                drop(view);
                let ids = chunk.iter().zip(&unknown);
                let left_out = |shown: &Shown| {
                    let unreadable = unreadable.as_ref();
                    unreadable.filter(|(id, _)| *id == shown.id)
                };
                let ids = ids.filter(|(shown, unknown)| **unknown && left_out(shown).is_none());
                let ids = ids.map(|(shown, _)| shown.id.clone()).collect();
                let read = self.read_all(application, kind, ids, drain).await?;
                let mut read = read.into_iter();
                for (shown, unknown) in chunk.iter().zip(unknown) {
                    if !unknown && !import.claim {
                        // Committed with the next one that changes anything, or at the page's end.
                        import.next += 1;
                        let counted = import.counted();
                        counted.found += 1;
                        counted.matched += 1;
                        continue;
                    }
                    let read = match left_out(shown) {
                        _ if !unknown => None,
                        Some((_, why)) => Some(Read::unreadable(why)),
                        None => read.next(),
                    };
                    self.take_in(application, import, shown, read).await?;
                }
            }
            over = total.is_some_and(|total| import.next > total);
        }
        if over {
            *first = None;
            self.list_ends(application, import).await?;
        } else {
            self.note(import).await?;
        }
        Ok(())
    }

    /// A list is through: users come after groups, and nothing after users.
    async fn list_ends(&self, application: &Application, import: &mut Import) -> Result<(), Fault> {
        match import.at {
            Kind::Group => {
                (import.at, import.next, import.total) = (Kind::User, 1, None);
            }
            Kind::User => {
                if import.claim {
                    // What is ours now is planned, and the removals that it needs are counted whole before the first.
                    let name = application.plan.name();
                    self.store.begin_sweep(name, false).await.map_err(lost)?;
                }
                import.whole = import.users.found;
                import.ended = Some(self.clock.now());
            }
        }
        self.note(import).await
    }

    /// Commits how far it is.
    pub(super) async fn note(&self, import: &Import) -> Result<(), Fault> {
        let change = ChangeSet {
            import: Some(Box::new(import.clone())),
            ..ChangeSet::default()
        };
        self.store.reserve()?.commit(change).await.map_err(lost)?;
        self.imports
            .send_modify(|told| *told = told.wrapping_add(1));
        Ok(())
    }
}

/// Under what an account's holder is found.
pub(super) fn remote<'k>(kind: Kind, application: &'k str, remote_id: &'k str) -> Key<'k> {
    match kind {
        Kind::User => Key::Remote {
            application,
            remote_id,
        },
        Kind::Group => Key::RemoteGroup {
            application,
            remote_id,
        },
    }
}

/// What a read found, where one was made: `None` is denied, as what is pending is at Zoom.
pub(super) fn denied(read: Option<&Read>) -> bool {
    read.is_some_and(|read| read.shown.is_none())
}
