//! Backups: of a store that is written meanwhile, and what stands in the way of one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redb::Database;

use super::model::lists_equal_a_scan;
use super::*;
use crate::journal::report::tests::record;
use crate::store::tables::{ROWS, STATE, name};
use crate::store::{BackupError, Options, Progress, Restoring, Written, restore};

pub(super) const NOW: Timestamp = Timestamp(1_795_465_845_000);

pub(super) fn open(path: &Path) -> Store {
    Store::open(&Options::new(path, NOW), |_| ()).expect("opens")
}

/// Lets go of the file.
pub(super) fn shut(store: Store) {
    store.close().expect("closed");
    drop(store);
}

/// A user with an account, on the record.
pub(super) fn employed(store: &Store, name: &str) -> Resource {
    let mut one = minted(store, name);
    one.links = vec![link("zoom", Some(&format!("z-{name}")))];
    let set = ChangeSet {
        journal: vec![record(0, name, &[], &[])],
        ..puts([created(&one)])
    };
    commit(store, set).expect("created");
    one
}

pub(super) fn backup(store: &Store, to: &Path) -> Result<Written, BackupError> {
    store.backup(to, false, NOW, &Progress::default())
}

/// The names in a folder.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    names
}

/// Everything that clients see.
fn everybody(store: &Store) -> Vec<Resource> {
    let view = store.view().expect("view");
    (0..20_000)
        .filter_map(|handle| view.resource(Handle(handle)).expect("whole"))
        .filter(|one| one.deleted.is_none())
        .collect()
}

#[test]
fn a_backup_of_a_store_that_is_written_is_one_moment_of_it() {
    let home = tempfile::tempdir().expect("a directory");
    let store = open(&home.path().join("usher.redb"));
    let group = minted_group(&store, "staff");
    create(&store, &group);
    for at in 0..40 {
        let one = employed(&store, &format!("early-{at}"));
        commit(&store, membership(&group, &[&one], &[])).expect("a member");
    }
    let (done, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    let backups: Vec<(Written, usize)> = std::thread::scope(|scope| {
        for writer in 0..3 {
            let (store, done, written) = (&store, &done, &written);
            scope.spawn(move || {
                for at in 0.. {
                    employed(store, &format!("late-{writer}-{at}"));
                    written.fetch_add(1, Ordering::SeqCst);
                    if done.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
        }
        let backups = (0..4).map(|at| {
            let acknowledged = written.load(Ordering::SeqCst);
            let to = home.path().join(format!("backup-{at}"));
            (backup(&store, &to).expect("written"), acknowledged)
        });
        let backups = backups.collect();
        done.store(true, Ordering::SeqCst);
        backups
    });
    let after = store
        .view()
        .expect("view")
        .count(Kind::User)
        .expect("users");
    for (written, acknowledged) in backups {
        let manifest = &written.manifest;
        assert!(manifest.users >= 40 + acknowledged as u64, "{written:?}");
        assert!(manifest.users < after, "others wrote while it was taken");
        assert_eq!((manifest.links, manifest.groups), (manifest.users, 1));
        assert_eq!(manifest.sequence, manifest.users, "each has one record");
        let mode = fs::metadata(&written.file)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);

        let data = home.path().join(format!("{}.redb", written.file.display()));
        let restoring = Restoring {
            from: written.file.clone(),
            data: data.clone(),
            force: false,
            now: NOW,
        };
        let replaced = restore(&restoring, |_| (), |_| true).expect("restored");
        assert_eq!(&replaced.manifest, manifest);
        let copy = open(&data);
        let rows = everybody(&copy);
        let view = copy.view().expect("view");
        assert_eq!(view.count(Kind::User), Ok(manifest.users));
        assert_eq!(view.verify_chain(1, manifest.sequence), Ok(None));
        assert_eq!(view.member_count(group.handle), Ok(40));
        lists_equal_a_scan(&view, &rows);
        assert_eq!(rows.len() as u64, manifest.users + 1);
    }
    assert!(
        !names(home.path())
            .iter()
            .any(|name| name.contains("unfinished"))
    );
}

#[test]
fn a_backup_stands_on_nobodys_file() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("usher.redb");
    let store = open(&data);
    employed(&store, "ada");
    store.renew_marker().expect("renewed");
    let before = (
        fs::read(&data),
        fs::read(home.path().join("usher.redb.marker")),
    );
    let to = home.path().join("there");
    fs::write(&to, b"mine").expect("written");
    fs::create_dir(home.path().join("folder")).expect("made");
    std::os::unix::fs::symlink(&data, home.path().join("link")).expect("linked");
    let refused = |name: &str, force: bool, why: &str| {
        let to = home.path().join(name);
        match store.backup(&to, force, NOW, &Progress::default()) {
            Err(BackupError::Target(text)) => assert!(text.contains(why), "{name}: {text}"),
            other => panic!("{name}: {other:?}"),
        }
    };
    refused("there", false, "say --force");
    refused("folder", true, "no plain file");
    refused("nowhere/backup", true, "a folder that is not there");
    for ours in [
        "usher.redb",
        "folder/../usher.redb",
        "link",
        "usher.redb.marker",
        "usher.redb.marker.new",
    ] {
        refused(ours, true, "lives on");
    }
    // The name that an unfinished backup has is the data file's.
    let odd = home.path().join("odd.unfinished");
    let other = open(&odd);
    let whence = other.backup(&home.path().join("odd"), true, NOW, &Progress::default());
    assert!(matches!(whence, Err(BackupError::Target(_))), "{whence:?}");

    assert_eq!(fs::read(&to).expect("read"), b"mine");
    let forced = store
        .backup(&to, true, NOW, &Progress::default())
        .expect("asked for");
    assert_eq!(forced.manifest.users, 1);
    assert_eq!(fs::metadata(&to).expect("there").len(), forced.bytes);
    let after = (
        fs::read(&data),
        fs::read(home.path().join("usher.redb.marker")),
    );
    assert_eq!(before.0.expect("read"), after.0.expect("read"));
    assert_eq!(before.1.expect("read"), after.1.expect("read"));
}

#[test]
fn a_backup_that_is_stopped_or_meets_damage_leaves_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("usher.redb");
    let store = open(&data);
    // As many rows as are copied between two looks at whether anybody wants them.
    let group = minted_group(&store, "staff");
    create(&store, &group);
    for slice in 0..2 {
        let people: Vec<Resource> = (0..700)
            .map(|at| minted(&store, &format!("p-{slice}-{at}")))
            .collect();
        commit(&store, puts(people.iter().map(created))).expect("created");
    }
    let there = names(home.path());
    let to: PathBuf = home.path().join("backup");
    let progress = Progress::default();
    progress.stop.store(true, Ordering::Relaxed);
    let stopped = store.backup(&to, false, NOW, &progress);
    assert_eq!(stopped, Err(BackupError::Stopped));
    assert!(progress.of.load(Ordering::Relaxed) > progress.rows.load(Ordering::Relaxed));
    assert_eq!(names(home.path()), there);
    shut(store);

    let db = Database::open(&data).expect("opens");
    let transaction = db.begin_write().expect("begins");
    {
        let mut rows = transaction.open_table(ROWS).expect("table");
        let mut row = redb::ReadableTable::get(&rows, 9)
            .expect("read")
            .expect("there")
            .value()
            .to_vec();
        row[20] ^= 1;
        rows.insert(9, row.as_slice()).expect("written");
    }
    transaction.commit().expect("committed");
    drop(db);
    let store = open(&data);
    match backup(&store, &to) {
        Err(BackupError::Damaged(text)) => assert!(text.contains("table rows"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(names(home.path()), there);
}

#[test]
fn a_backup_put_in_place_by_hand_is_one_no_more() {
    let home = tempfile::tempdir().expect("a directory");
    let store = open(&home.path().join("usher.redb"));
    employed(&store, "ada");
    let to = home.path().join("other.redb");
    backup(&store, &to).expect("written");
    let accepted = Options {
        accept: true,
        ..Options::new(&to, NOW)
    };
    let copy = Store::open(&accepted, |_| ()).expect("a person says so");
    assert!(!copy.is_unconfirmed(), "what that person said");
    employed(&copy, "bob");
    shut(copy);
    let db = Database::open(&to).expect("opens");
    let read = redb::ReadableDatabase::begin_read(&db).expect("begins");
    let state = read.open_table(STATE).expect("table");
    assert!(state.get(name::BACKUP).expect("read").is_none());
}
