//! Notes of reads, and writes refused on a full disk.

use std::time::Duration;

use redb::Database;

use super::*;
use crate::store::apply::Job;
use crate::store::reads::{BUFFER, SLICE};
use crate::store::tables::READS;
use crate::store::{Intent, Options, RESERVE, ReadNote, ReadShape};

fn note(time: u64) -> ReadNote {
    ReadNote {
        time: Timestamp(time),
        client: "entra".into(),
        request: format!("request-{time}"),
        kind: Some(Kind::User),
        shape: ReadShape::One,
        id: Some("id-1".into()),
        status: 200,
    }
}

/// The times of the notes on disk, newest first.
fn times(store: &Store) -> Vec<u64> {
    let view = store.view().expect("view");
    let notes = view.reads(Timestamp(0), usize::MAX).expect("notes");
    notes.iter().map(|note| note.time.0).collect()
}

#[test]
fn notes_are_written_with_the_next_commit_and_read_newest_first() {
    let store = inline();
    let notes = [
        note(5),
        ReadNote {
            shape: ReadShape::filter([String::from("userName")]),
            id: None,
            ..note(7)
        },
        // In the same millisecond.
        ReadNote {
            shape: ReadShape::List,
            kind: Some(Kind::Group),
            id: None,
            status: 400,
            ..note(7)
        },
        // A client whose answer was late: times need not arrive in order.
        note(6),
    ];
    for note in &notes {
        store.note(note.clone());
    }
    assert_eq!(times(&store), [] as [u64; 0], "nothing is written yet");
    create(&store, &minted(&store, "ada"));
    let view = store.view().expect("view");
    let [five, seven, twin, six] = notes;
    for (since, limit, expected) in [
        (
            0,
            9,
            vec![twin.clone(), seven.clone(), six.clone(), five.clone()],
        ),
        (6, 9, vec![twin.clone(), seven.clone(), six]),
        (0, 1, vec![twin]),
        (8, 9, vec![]),
        (0, 0, vec![]),
    ] {
        assert_eq!(
            view.reads(Timestamp(since), limit),
            Ok(expected),
            "since {since}, limit {limit}"
        );
    }
    // Two transactions may hold notes of the same millisecond.
    store.note(seven);
    store.write_notes();
    assert_eq!(times(&store), [7, 7, 7, 6, 5]);
    assert_eq!(store.statistics().notes, 5);
    let commits = store.statistics().commits;
    store.write_notes();
    assert_eq!(store.statistics().commits, commits, "nothing waits");
}

#[test]
fn a_commit_takes_a_slice_along_and_what_the_buffer_cannot_hold_is_counted() {
    let store = inline();
    for time in 0..BUFFER + 10 {
        store.note(note(time as u64));
    }
    assert_eq!(store.statistics().notes_dropped, 10);
    create(&store, &minted(&store, "ada"));
    assert_eq!(store.statistics().notes, SLICE as u64);
    store.tidy().expect("tidied");
    store.write_notes();
    let statistics = store.statistics();
    assert_eq!(
        (statistics.notes, statistics.notes_dropped),
        (BUFFER as u64, 10)
    );
    assert_eq!(times(&store), (0..BUFFER as u64).rev().collect::<Vec<_>>());
}

#[test]
fn old_notes_are_pruned_in_slices_and_newer_ones_stay() {
    let store = inline();
    let week = Duration::from_secs(7 * 86_400);
    let now = Timestamp(1_000).plus(week);
    for time in 0..4_500_u64 {
        // 4,500 of them older than 1,000 ms, several in each.
        store.note(note(time % 1_000));
    }
    store.note(note(1_000));
    store.note(note(1_001));
    store.tidy().expect("tidied");
    store.write_notes();
    assert_eq!(times(&store).len(), 4_502);
    let before = store.statistics();
    store.prune_notes(now);
    store.tidy().expect("tidied");
    assert_eq!(times(&store), [1_001, 1_000]);
    let after = store.statistics();
    assert_eq!(
        after.commits - before.commits,
        3,
        "4,500 in slices of 2,000"
    );
    // Nothing to prune costs no transaction.
    store.prune_notes(now);
    store.tidy().expect("tidied");
    assert_eq!(store.statistics().commits, after.commits);
}

#[test]
fn a_transaction_that_is_given_up_loses_and_doubles_no_note() {
    let store = inline();
    let [ada, bob] = ["ada", "bob"].map(|name| minted(&store, name));
    create(&store, &ada);
    let mut writer = store.writer_for_tests();
    batches::damage(&mut writer, ada.handle);
    let mut after = ada.clone();
    after.version = 2;
    for time in [1, 2] {
        writer
            .notes
            .sender()
            .try_send(note(time))
            .expect("there is room");
    }
    let jobs = [puts([changed(&ada, &after)]), puts([created(&bob)])];
    let results = writer
        .apply(&mut jobs.map(|set| Job::Commit(Box::new(set))))
        .expect("the engine works");
    assert!(results[0].is_err() && results[1].is_ok(), "{results:?}");
    assert_eq!(times(&store), [2, 1]);
    assert_eq!(writer.noted, 2);
}

#[tokio::test]
async fn the_writers_thread_writes_notes_though_nobody_commits() {
    let store = Store::memory().expect("memory");
    let mut committed = store.committed();
    committed.mark_unchanged();
    store.note(note(3));
    store.write_notes();
    committed.changed().await.expect("the store lives");
    assert_eq!(times(&store), [3]);
    // A whole slice does not wait to be called.
    for time in 0..SLICE as u64 {
        store.note(note(10 + time));
    }
    committed.changed().await.expect("the store lives");
    assert!(times(&store).len() > 1);
    store.prune_notes(Timestamp(0).plus(Duration::from_secs(365 * 86_400)));
    while !times(&store).is_empty() {
        store.write_notes();
        committed.changed().await.expect("the store lives");
    }
}

#[test]
fn closing_writes_what_waits_and_zero_keeps_none() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("usher.redb");
    let shut = |options: &Options| {
        let store = Store::open(options, |_| ()).expect("opens");
        store.note(note(5));
        store.close().expect("closed");
        store.statistics()
    };
    let options = Options::new(&path, Timestamp(7_000));
    assert_eq!(shut(&options).notes, 1);
    let none = Options {
        keep_reads: Duration::ZERO,
        ..options
    };
    let statistics = shut(&none);
    assert_eq!((statistics.notes, statistics.notes_dropped), (0, 0));
    let view = || {
        let store = Store::open_read_only(&path).expect("opens");
        store.view().expect("view").reads(Timestamp(0), 9)
    };
    assert_eq!(view(), Ok(vec![note(5)]));
    // A file from before there were notes has no table of them.
    let db = Database::open(&path).expect("opens");
    let transaction = db.begin_write().expect("begins");
    assert!(transaction.delete_table(READS).expect("deleted"));
    transaction.commit().expect("committed");
    drop(db);
    assert_eq!(view(), Ok(vec![]));
}

#[test]
fn a_nearly_full_disk_refuses_writes_until_there_is_room() {
    let store = inline();
    let ada = minted(&store, "ada");
    create(&store, &ada);
    let place = store.reserve().expect("room");
    store.note(note(1));
    store.set_free_space(RESERVE - 1);
    assert!(store.disk_nearly_full());
    let refused = store.reserve().expect_err("refused");
    assert_eq!((refused.status(), refused.retry_after()), (503, Some(30)));
    assert!(refused.public().contains("disk is nearly full"));
    let intent = wait(store.intend(Intent::default()));
    assert_eq!(intent, Err(CommitError::DiskFull));
    let bob = minted(&store, "bob");
    let late = commit(&store, puts([created(&bob)]));
    assert_eq!(late, Err(CommitError::DiskFull));
    // A note is a write as well.
    store.note(note(2));
    assert_eq!(store.statistics().notes_dropped, 1);
    // What had its place is committed: its call may have gone out.
    wait(place.commit(puts([created(&minted(&store, "carl"))]))).expect("had a place");
    let view = store.view().expect("reads go on");
    assert_eq!(view.count(Kind::User), Ok(2));
    assert!(!store.is_broken());
    store.set_free_space(RESERVE);
    create(&store, &bob);
    wait(store.intend(Intent::default())).expect("taken again");
}
