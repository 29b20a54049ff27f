//! Who is changing what: rights to change something, held from reading it until the change is on disk.
//!
//! A right is a lock by name. Locks are fair, so who came first goes first and a second create of a userName sees the
//! outcome of the first. All rights that a write cannot do without are taken in one order (that of [`Claim`]), so that two
//! writes can never wait for each other; one that it can do without is taken behind them, and if it is waited for at all
//! then until a time. A name exists only while somebody holds it or waits for it. No map guard crosses an
//! await, and dropping a waiting future leaves nothing behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::clock::{Clock, Timestamp};
use crate::error::Fault;
use crate::scim::Handle;

/// Alone, or beside others whose changes commute with ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Nobody else. Ordered first: where a set wants both, this one is taken and is enough.
    Exclusive,
    /// Beside other shared ones.
    Shared,
}

/// A right to change something. The order is the order in which rights are taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// A resource's row. Its links are rights of their own, so that an exchange with one application keeps nobody from the
    /// row, nor from the others.
    Resource(Handle),
    /// A userName, folded.
    UserName(String),
    /// A group's displayName, folded.
    GroupName(String),
    /// A resource's link to one application: what is known there of it, and the one exchange about it.
    Link {
        /// The resource.
        handle: Handle,
        /// The application.
        application: String,
    },
    /// The account that a resource maps to in one application, by the key that it is looked up by.
    Account {
        /// The application.
        application: String,
        /// The mapped userName, folded.
        key: String,
    },
    /// An account by its id in one application.
    Remote {
        /// The application.
        application: String,
        /// The application's id of the account.
        id: String,
    },
    /// A group's edges. Adding and removing members commutes: shared. What replaces or ends them is exclusive.
    Members(Handle, Mode),
}

impl Claim {
    /// A resource's link to this application.
    #[must_use]
    pub fn link(handle: Handle, application: &str) -> Self {
        Self::Link {
            handle,
            application: application.to_owned(),
        }
    }

    /// The name of the lock, and how it is taken.
    fn name(&self) -> (Self, Mode) {
        match self {
            Self::Members(group, mode) => (Self::Members(*group, Mode::Exclusive), *mode),
            other => (other.clone(), Mode::Exclusive),
        }
    }
}

type Names = DashMap<Claim, Arc<RwLock<()>>>;

/// Everybody's rights. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Names>);

impl Claims {
    /// Nobody holds anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes every right in `wanted`, waiting for those that hold one of them.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] when the clock reaches `deadline` before all are had; then none is held.
    pub async fn acquire(
        &self,
        wanted: &BTreeSet<Claim>,
        deadline: Timestamp,
        clock: &Clock,
    ) -> Result<Held, Fault> {
        let mut held = Held {
            rights: Vec::with_capacity(wanted.len()),
        };
        self.join(&mut held, wanted, deadline, clock).await?;
        Ok(held)
    }

    /// Takes what is missing in `held` of `wanted` beside it.
    ///
    /// # Errors
    /// As [`Claims::acquire`]; then what was held before still is.
    pub async fn join(
        &self,
        held: &mut Held,
        wanted: &BTreeSet<Claim>,
        deadline: Timestamp,
        clock: &Clock,
    ) -> Result<(), Fault> {
        let before = held.rights.len();
        for claim in wanted {
            // The same members exclusive and shared stand next to each other, exclusive first.
            if held.holds(claim) {
                continue;
            }
            let (name, mode) = claim.name();
            let (place, lock) = Place::take(&self.0, name);
            let taking = async {
                match mode {
                    Mode::Exclusive => Guard::Exclusive {
                        _guard: lock.write_owned().await,
                    },
                    Mode::Shared => Guard::Shared {
                        _guard: lock.read_owned().await,
                    },
                }
            };
            let Some(guard) = clock.until(deadline, taking).await else {
                held.rights.truncate(before);
                return Err(Fault::Unavailable {
                    retry_after: 1,
                    detail: "Another change to the same resource or name is under way and took too long. Try again."
                        .into(),
                });
            };
            held.rights.push(Right {
                mode,
                _guard: guard,
                place,
            });
        }
        Ok(())
    }

    /// The resources whose link to an application somebody holds or waits for.
    #[must_use]
    pub fn links(&self, application: &str) -> BTreeSet<Handle> {
        let names = self.0.iter();
        let links = names.filter_map(|name| match name.key() {
            Claim::Link {
                handle,
                application: of,
            } if of == application => Some(*handle),
            _ => None,
        });
        links.collect()
    }

    /// How many names somebody holds or waits for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody holds or waits for anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Rights that are held. Dropping this gives them back.
#[derive(Debug)]
#[must_use = "rights are given back when this is dropped"]
pub struct Held {
    rights: Vec<Right>,
}

impl Held {
    /// Whether every right in `wanted` is among these: what a look at the snapshot must confirm.
    #[must_use]
    pub fn covers(&self, wanted: &BTreeSet<Claim>) -> bool {
        wanted.iter().all(|claim| self.holds(claim))
    }

    /// Whether this right is among these.
    #[must_use]
    pub fn holds(&self, claim: &Claim) -> bool {
        let mut rights = self.rights.iter();
        rights.any(|right| match (&right.place.name, claim) {
            (Claim::Members(held, _), Claim::Members(group, mode)) => {
                held == group && right.mode <= *mode
            }
            (held, claim) => held == claim,
        })
    }
}

/// The guard is declared before the place, and so dropped before it: the place counts who is left.
#[derive(Debug)]
struct Right {
    mode: Mode,
    _guard: Guard,
    place: Place,
}

#[derive(Debug)]
enum Guard {
    Exclusive { _guard: OwnedRwLockWriteGuard<()> },
    Shared { _guard: OwnedRwLockReadGuard<()> },
}

/// A place at a name, holding or waiting. Who drops the last one takes the name away. Whatever else holds the lock's
/// Arc must be gone before the place is: it is always declared after it.
#[derive(Debug)]
struct Place {
    names: Arc<Names>,
    name: Claim,
}

impl Place {
    fn take(names: &Arc<Names>, name: Claim) -> (Self, Arc<RwLock<()>>) {
        let lock = names.entry(name.clone()).or_default().clone();
        (
            Self {
                names: Arc::clone(names),
                name,
            },
            lock,
        )
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Counted under the shard's lock, under which newcomers clone: one is the map's own.
        self.names
            .remove_if(&self.name, |_, lock| Arc::strong_count(lock) == 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    fn set(claims: &[Claim]) -> BTreeSet<Claim> {
        claims.iter().cloned().collect()
    }

    fn name(text: &str) -> Claim {
        Claim::UserName(text.into())
    }

    fn row(n: u64) -> Claim {
        Claim::Resource(Handle(n))
    }

    fn members(mode: Mode) -> Claim {
        Claim::Members(Handle(1), mode)
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Whether somebody who wants `second` gets it while `first` is held.
    fn beside(first: &[Claim], second: &[Claim]) -> bool {
        let (claims, clock) = (Claims::new(), Clock::manual(Timestamp(0)));
        let (first, second) = (set(first), set(second));
        let Poll::Ready(Ok(held)) = poll(pin!(claims.acquire(&first, Timestamp(1), &clock))) else {
            panic!("the first one waits");
        };
        let got = {
            let mut other = pin!(claims.acquire(&second, Timestamp(1), &clock));
            match poll(other.as_mut()) {
                Poll::Ready(result) => result.is_ok(),
                Poll::Pending => false,
            }
        };
        drop(held);
        assert!(claims.is_empty(), "something was left behind");
        got
    }

    #[test]
    fn who_may_be_beside_whom() {
        use Mode::{Exclusive, Shared};
        let account = |application: &str| Claim::Account {
            application: application.into(),
            key: "ada".into(),
        };
        let remote = Claim::Remote {
            application: "zoom".into(),
            id: "ada".into(),
        };
        let table: &[(&[Claim], &[Claim], bool)] = &[
            (&[row(1)], &[row(1)], false),
            (&[row(1)], &[row(2)], true),
            (&[name("ada")], &[name("ada")], false),
            (&[name("ada")], &[Claim::GroupName("ada".into())], true),
            (&[account("zoom")], &[account("zoom")], false),
            (&[account("zoom")], &[account("other")], true),
            (&[account("zoom")], &[remote], true),
            (&[row(1), name("ada")], &[row(2), name("ada")], false),
            (&[members(Shared)], &[members(Shared)], true),
            (&[members(Shared)], &[members(Exclusive)], false),
            (&[members(Exclusive)], &[members(Shared)], false),
            (
                &[members(Exclusive), members(Shared)],
                &[members(Shared)],
                false,
            ),
            (&[members(Shared)], &[row(1)], true),
            (&[], &[], true),
        ];
        for (n, (first, second, want)) in table.iter().enumerate() {
            assert_eq!(beside(first, second), *want, "row {n}");
        }
    }

    #[tokio::test]
    async fn covering_looks_at_the_mode() {
        let (claims, clock) = (Claims::new(), Clock::manual(Timestamp(0)));
        let shared = set(&[row(1), members(Mode::Shared)]);
        let both = set(&[row(1), members(Mode::Shared), members(Mode::Exclusive)]);
        let held = claims.acquire(&shared, Timestamp(1), &clock).await.unwrap();
        assert!(held.covers(&shared));
        assert!(held.covers(&set(&[row(1)])));
        assert!(!held.covers(&both));
        assert!(!held.covers(&set(&[row(2)])));
        drop(held);
        let held = claims.acquire(&both, Timestamp(1), &clock).await.unwrap();
        assert!(held.covers(&both) && held.covers(&shared));
    }

    #[tokio::test]
    async fn the_deadline_gives_everything_back() {
        let (claims, clock) = (Claims::new(), Clock::manual(Timestamp(0)));
        let held = claims
            .acquire(&set(&[row(2)]), Timestamp(1), &clock)
            .await
            .unwrap();
        let wanted = set(&[row(1), row(2)]);
        let mut waiting = Box::pin(claims.acquire(&wanted, Timestamp(4_000), &clock));
        assert!(poll(waiting.as_mut()).is_pending());
        assert_eq!(claims.len(), 2);
        clock.advance(Duration::from_secs(4));
        let fault = waiting.await.unwrap_err();
        assert!(
            matches!(fault, Fault::Unavailable { retry_after: 1, .. }),
            "{fault:?}"
        );
        assert_eq!(claims.len(), 1);
        drop(held);
        assert!(claims.is_empty());
    }

    #[tokio::test]
    async fn a_dropped_wait_leaves_nothing_and_lets_the_next_one_in() {
        let (claims, clock) = (Claims::new(), Clock::manual(Timestamp(0)));
        let wanted = set(&[row(1), row(2)]);
        let held = claims
            .acquire(&set(&[row(2)]), Timestamp(1), &clock)
            .await
            .unwrap();
        let mut first = Box::pin(claims.acquire(&wanted, Timestamp(1), &clock));
        let mut second = Box::pin(claims.acquire(&wanted, Timestamp(1), &clock));
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        drop(first);
        drop(held);
        drop(second.await.unwrap());
        assert!(claims.is_empty());
    }

    #[tokio::test]
    async fn first_come_first_served() {
        let (claims, clock) = (Claims::new(), Clock::manual(Timestamp(0)));
        let wanted = set(&[members(Mode::Shared)]);
        let alone = set(&[members(Mode::Exclusive)]);
        let held = claims.acquire(&wanted, Timestamp(1), &clock).await.unwrap();
        let mut writer = Box::pin(claims.acquire(&alone, Timestamp(1), &clock));
        let mut reader = Box::pin(claims.acquire(&wanted, Timestamp(1), &clock));
        assert!(poll(writer.as_mut()).is_pending());
        assert!(
            poll(reader.as_mut()).is_pending(),
            "a PUT of the group would starve"
        );
        drop(held);
        drop(writer.await.unwrap());
        drop(reader.await.unwrap());
        assert!(claims.is_empty());
    }

    /// 1,000 writes over a few names, each wanting several in an arbitrary order, some shared: nobody meets anybody,
    /// all come through (sorted taking: no deadlock), nothing is left.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_thousand_at_once() {
        let (claims, clock) = (Claims::new(), Clock::manual(Timestamp(0)));
        let inside: Arc<[AtomicUsize; 6]> = Arc::default();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..1_000_u64 {
            let (claims, clock, inside) = (claims.clone(), clock.clone(), Arc::clone(&inside));
            tasks.spawn(async move {
                for round in 0..5_u64 {
                    // Names empty and fill again between rounds.
                    let n = n + round * 131;
                    let (a, b) = (n % 5, n / 5 % 5);
                    let mode = if n % 7 == 0 {
                        Mode::Exclusive
                    } else {
                        Mode::Shared
                    };
                    let held = claims
                        .acquire(&set(&[row(b), row(a), members(mode)]), Timestamp(1), &clock)
                        .await
                        .expect("the clock stands");
                    let rooms = BTreeSet::from([a, b]);
                    for room in &rooms {
                        let room = &inside[usize::try_from(*room).unwrap()];
                        assert_eq!(room.fetch_add(1, Ordering::SeqCst), 0, "not alone");
                    }
                    // The sixth room counts a shared one as 1, an exclusive one as 10,000.
                    let weight = if mode == Mode::Exclusive { 10_000 } else { 1 };
                    let before = inside[5].fetch_add(weight, Ordering::SeqCst);
                    assert!(
                        if weight == 1 {
                            before < 10_000
                        } else {
                            before == 0
                        },
                        "{before}"
                    );
                    tokio::task::yield_now().await;
                    inside[5].fetch_sub(weight, Ordering::SeqCst);
                    for room in &rooms {
                        inside[usize::try_from(*room).unwrap()].fetch_sub(1, Ordering::SeqCst);
                    }
                    drop(held);
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert_eq!(claims.len(), 0);
    }
}
