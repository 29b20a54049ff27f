//! Several jobs in one transaction, the queue, and a disk that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::InMemoryBackend;
use redb::{ReadableTable, StorageBackend};

use super::*;
use crate::error::Fault;
use crate::store::apply::{Done, Job, Writer};
use crate::store::front::Running;
use crate::store::{Conflict, Key};

/// A disk that refuses to sync when told to.
#[derive(Debug)]
struct Failing {
    disk: InMemoryBackend,
    fails: Arc<AtomicBool>,
}

impl StorageBackend for Failing {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.disk.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.disk.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.disk.set_len(len)
    }
    fn sync_data(&self) -> Result<(), std::io::Error> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("EIO"));
        }
        self.disk.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.disk.write(offset, data)
    }
}

fn job(set: ChangeSet) -> Job {
    Job::Commit(Box::new(set))
}

#[test]
fn a_conflict_takes_no_neighbour_with_it() {
    let store = inline();
    let [ada, twin, bob] = ["ada", "ADA", "bob"].map(|name| minted(&store, name));
    let mut writer = store.writer_for_tests();
    let results = writer
        .apply(&mut [
            job(puts([created(&ada)])),
            job(puts([created(&twin), created(&minted(&store, "carl"))])),
            job(puts([created(&bob)])),
        ])
        .expect("the engine works");
    let expected = CommitError::Conflict(Conflict::UserName(ada.handle));
    assert!(matches!(&results[0], Ok(Done::Committed(_))));
    assert_eq!(results[1], Err(expected));
    assert!(matches!(&results[2], Ok(Done::Committed(_))));
    let view = store.view().expect("view");
    assert_eq!(view.count(Kind::User).expect("count"), 2);
    assert_eq!(view.find(&Key::UserName("carl")), Ok(None));
}

#[test]
fn a_damaged_row_fails_its_own_job_only() {
    let store = inline();
    let [ada, bob] = ["ada", "bob"].map(|name| minted(&store, name));
    create(&store, &ada);
    let mut writer = store.writer_for_tests();
    damage(&mut writer, ada.handle);
    let mut after = ada.clone();
    after.version = 2;
    let results = writer
        .apply(&mut [
            job(puts([created(&bob)])),
            job(puts([changed(&ada, &after)])),
        ])
        .expect("the engine works");
    assert!(matches!(&results[0], Ok(Done::Committed(_))));
    assert!(matches!(&results[1], Err(CommitError::Failed(_))));
    let view = store.view().expect("view");
    assert!(matches!(view.resource(ada.handle), Err(Fault::Internal(_))));
    assert!(matches!(
        view.find(&Key::Id(Kind::User, ada.id.as_str())),
        Err(Fault::Internal(_))
    ));
    assert_eq!(view.resource(bob.handle), Ok(Some(bob)));
}

/// Flips a byte of a row behind the store's back.
pub(super) fn damage(writer: &mut Writer, handle: Handle) {
    writer
        .raw_for_tests(|rows| {
            let mut bytes = rows
                .get(handle.0)
                .expect("row")
                .expect("there")
                .value()
                .to_vec();
            bytes[60] ^= 1;
            rows.insert(handle.0, bytes.as_slice()).expect("written");
        })
        .expect("committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_transactions_and_each_hears_its_own() {
    let store = Store::memory().expect("memory");
    let mut tasks = Vec::new();
    for number in 0..200_u64 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            // Every name is wanted twice.
            let one = minted(&store, &format!("user{}", number / 2));
            (one.handle, store.commit(puts([created(&one)])).await)
        }));
    }
    let (mut won, mut lost) = (0, 0);
    for task in tasks {
        let (handle, result) = task.await.expect("ends");
        match result {
            Ok(_) => won += 1,
            Err(CommitError::Conflict(Conflict::UserName(holder))) => {
                assert_ne!(holder, handle);
                lost += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((won, lost), (100, 100));
    assert_eq!(store.view().expect("view").count(Kind::User), Ok(100));
    store.close().expect("closed");
    assert!(store.reserve().is_err(), "closed for writes");
}

#[tokio::test]
async fn a_full_queue_refuses_before_anything_is_sent() {
    let store = Store::on(InMemoryBackend::new(), Running::Thread(2), Timestamp(0)).expect("opens");
    let first = store.reserve().expect("room");
    let _second = store.reserve().expect("room");
    let full = store.reserve().expect_err("no room");
    assert_eq!(full.retry_after(), Some(1));
    let one = minted(&store, "ada");
    let late = store.commit(puts([created(&one)])).await;
    assert_eq!(late, Err(CommitError::Full));
    first
        .commit(puts([created(&one)]))
        .await
        .expect("had a place");
    store.reserve().expect("room again");
}

#[tokio::test]
async fn a_failed_commit_breaks_the_store_for_writes() {
    let fails = Arc::new(AtomicBool::new(false));
    let disk = Failing {
        disk: InMemoryBackend::new(),
        fails: Arc::clone(&fails),
    };
    let store = Store::on(disk, Running::Thread(8), Timestamp(0)).expect("opens");
    let [ada, bob] = ["ada", "bob"].map(|name| minted(&store, name));
    store.commit(puts([created(&ada)])).await.expect("stored");
    let mut broken = store.broken();
    assert!(!store.is_broken());
    let place = store.reserve().expect("room");
    fails.store(true, Ordering::SeqCst);
    let failed = store.commit(puts([created(&bob)])).await;
    assert!(matches!(failed, Err(CommitError::Failed(_))), "{failed:?}");
    broken.wait_for(Option::is_some).await.expect("told");
    assert!(store.is_broken());
    // The disk works again, but what is on it is not known: no write until the next start.
    fails.store(false, Ordering::SeqCst);
    let late = place.commit(puts([created(&bob)])).await;
    assert!(matches!(late, Err(CommitError::Failed(_))));
    assert!(store.reserve().is_err());
    assert_eq!(
        store.view().expect("view").resource(ada.handle),
        Ok(Some(ada))
    );
}

#[test]
fn store_view_and_futures_may_move_between_threads() {
    fn moves<T: Send + 'static>(_: &T) {}
    let store = inline();
    moves(&store);
    moves(&store.view().expect("view"));
    moves(&store.reserve().expect("room").commit(ChangeSet::default()));
}
