//! Restores: what is refused, what a crash leaves, and what a directory that is not confirmed does and does not.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::backups::{NOW, backup, employed, names, open, shut};
use super::migration::{is_migrated, written};
use super::*;
use crate::error::Fault;
use crate::store::restored;
use crate::store::tables::{SCHEMA, STATE, Seal, name, seal};
use crate::store::{
    Configuration, Lane, MarkEdit, OpenError, Options, RestoreError, Restoring, Step, There,
    restore,
};

/// A data file with `later` people more than its backup.
struct Site {
    home: tempfile::TempDir,
    data: PathBuf,
    backup: PathBuf,
}

impl Site {
    fn new(early: usize, later: usize) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        fs::create_dir(home.path().join("var")).expect("made");
        let (data, to) = (
            home.path().join("var/usher.redb"),
            home.path().join("backup"),
        );
        let store = open(&data);
        for at in 0..early {
            employed(&store, &format!("early-{at}"));
        }
        backup(&store, &to).expect("written");
        for at in 0..later {
            employed(&store, &format!("later-{at}"));
        }
        shut(store);
        Self {
            home,
            data,
            backup: to,
        }
    }

    fn restoring(&self, from: &Path) -> Restoring {
        Restoring {
            from: from.to_owned(),
            data: self.data.clone(),
            force: false,
            now: NOW,
        }
    }

    fn folder(&self) -> &Path {
        self.data.parent().expect("a folder")
    }

    fn users(&self) -> u64 {
        let store = open(&self.data);
        let users = store
            .view()
            .expect("view")
            .count(Kind::User)
            .expect("counted");
        shut(store);
        users
    }
}

#[test]
fn what_is_restored_is_read_only_until_it_is_confirmed_and_then_doubted() {
    let site = Site::new(5, 3);
    let from = site.restoring(&site.backup);
    let replaced = restore(&from, |_| (), |_| true).expect("restored");
    assert_eq!(
        (replaced.manifest.users, replaced.manifest.sequence),
        (5, 5)
    );
    assert!(matches!(
        replaced.there,
        There::Directory { sequence: 8, .. }
    ));
    let aside = replaced.aside.expect("kept");
    assert_eq!(
        aside.file_name().and_then(|name| name.to_str()),
        Some("usher.redb.before-restore-20261123T203045000Z")
    );

    let store = open(&site.data);
    assert_eq!(
        store.restored().map(|it| it.manifest),
        Some(replaced.manifest)
    );
    let seen = store.view().expect("view");
    assert_eq!(seen.count(Kind::User), Ok(5));
    let refused = store.reserve().map(drop).expect_err("refused");
    assert_eq!(refused.retry_after(), Some(60));
    assert!(refused.public().contains("`usher confirm`"), "{refused}");
    let bob = minted(&store, "bob");
    let late = commit(&store, puts([created(&bob)]));
    assert!(matches!(late, Err(CommitError::Failed(_))), "{late:?}");
    // The gateway's own goes on, also over a start.
    for (fingerprint, generation) in [("a", 1), ("b", 2)] {
        let configuration = Configuration {
            fingerprint: fingerprint.to_owned(),
            applications: Vec::new(),
        };
        let in_force = wait(store.configure(configuration)).expect("in force");
        assert_eq!(in_force.generation, generation);
    }
    drop(seen);
    shut(store);
    let store = open(&site.data);
    assert!(store.is_unconfirmed());

    // One waits for its turn already; another is held.
    let now = Timestamp(NOW.0 + 5_000);
    assert_eq!(wait(store.confirm(now)), Ok(true));
    assert!(!store.is_unconfirmed());
    let view = store.view().expect("view");
    assert_eq!(view.restored(), Ok(None));
    let due = view.due("zoom", now, 100).expect("due");
    assert_eq!(due.len(), 5);
    for mark in due {
        let resource = view.resource(mark.handle).expect("whole").expect("there");
        let uncertain = resource.links[0].uncertain.expect("uncertain");
        assert_eq!((uncertain.intended, uncertain.sent), (now, now));
    }
    assert_eq!(
        view.tally("zoom").map(|tally| (tally.active, tally.marks)),
        Ok((5, 5))
    );
    drop(view);
    create(&store, &bob);
    assert_eq!(
        wait(store.confirm(now)),
        Ok(false),
        "nothing more to confirm"
    );
    shut(store);
    let store = open(&site.data);
    assert!(!store.is_unconfirmed());
    shut(store);

    // Back again: what was there is a data file as it was.
    let again = restore(&site.restoring(&aside), |_| (), |_| true).expect("restored");
    assert_eq!((again.manifest.users, again.manifest.usher), (8, None));
    assert_eq!(site.users(), 8);
}

#[test]
fn a_mark_that_stands_is_not_moved_by_doubt() {
    let site = Site::new(0, 0);
    let store = open(&site.data);
    let (ada, bob) = (employed(&store, "ada"), employed(&store, "bob"));
    let mut carl = minted(&store, "carl");
    carl.links = vec![link("zoom", Some("c")), link("wiki", Some("c"))];
    create(&store, &buried(&carl));
    let mark = |handle, due| MarkEdit::Set {
        handle,
        application: "zoom".into(),
        due,
        attempts: 3,
        lane: Lane::Deactivate,
        caused: false,
        read: None,
    };
    let set = ChangeSet {
        marks: vec![
            mark(ada.handle, Timestamp::NEVER),
            mark(bob.handle, Timestamp(NOW.0 + 9)),
        ],
        ..ChangeSet::default()
    };
    commit(&store, set).expect("marked");
    let to = site.home.path().join("second");
    backup(&store, &to).expect("written");
    shut(store);
    restore(&site.restoring(&to), |_| (), |_| true).expect("restored");
    let store = open(&site.data);
    wait(store.confirm(NOW)).expect("confirmed");
    let view = store.view().expect("view");
    let stands = |one: &Resource, application| {
        let mark = view
            .mark(one.handle, application)
            .expect("whole")
            .expect("there");
        (mark.due, mark.attempts)
    };
    assert_eq!(stands(&ada, "zoom"), (Timestamp::NEVER, 3));
    assert_eq!(stands(&bob, "zoom"), (Timestamp(NOW.0 + 9), 3));
    // A link outlives its resource.
    assert_eq!(stands(&carl, "zoom"), (NOW, 0));
    assert_eq!(stands(&carl, "wiki"), (NOW, 0));
    for one in [&ada, &bob, &carl] {
        let links = view
            .resource(one.handle)
            .expect("whole")
            .expect("there")
            .links;
        assert!(
            links.iter().all(|link| link.uncertain.is_some()),
            "{links:?}"
        );
    }
}

#[test]
fn a_kill_while_links_are_doubted_leaves_it_closed_and_the_next_start_goes_on() {
    let site = Site::new(0, 0);
    let store = open(&site.data);
    // More than two slices.
    let people: Vec<Resource> = (0..700)
        .map(|at| {
            let mut one = minted(&store, &format!("p-{at}"));
            one.links = vec![link("zoom", Some(&format!("z-{at}")))];
            one
        })
        .collect();
    commit(&store, puts(people.iter().map(created))).expect("created");
    let to = site.home.path().join("second");
    backup(&store, &to).expect("written");
    shut(store);
    restore(&site.restoring(&to), |_| (), |_| true).expect("restored");

    // Every durable state in between, as a kill would leave it: the confirmation itself, and each slice.
    let file = |path: &Path| {
        fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .expect("opens")
    };
    let inline = || {
        let backend = redb::backends::FileBackend::new(file(&site.data)).expect("a backend");
        Store::on(backend, crate::store::front::Running::Inline, NOW).expect("opens")
    };
    let store = inline();
    let mut writer = store.writer_for_tests();
    drop(store);
    let confirm = writer.transact(|transaction| restored::confirmed(transaction, NOW));
    assert!(confirm.expect("confirmed"));
    let mut states = 0;
    loop {
        let left = writer.transact(restored::doubt).expect("a slice");
        let Some(left) = left else { break };
        states += 1;
        assert_eq!(left.doubted, (300 * states).min(700));
        let copy = site.home.path().join(format!("killed-{states}.redb"));
        fs::copy(&site.data, &copy).expect("copied");
        fs::copy(
            site.folder().join("usher.redb.marker"),
            format!("{}.marker", copy.display()),
        )
        .expect("copied");
        let store = Store::open(&Options::new(&copy, NOW), |_| ()).expect("opens after a kill");
        wait(store.confirmed());
        let view = store.view().expect("view");
        assert_eq!(view.due("zoom", NOW, 1_000).expect("due").len(), 700);
        let doubted = |one: &Resource| {
            let links = view
                .resource(one.handle)
                .expect("whole")
                .expect("there")
                .links;
            links[0].uncertain.is_some()
        };
        assert!(people.iter().all(doubted));
    }
    assert_eq!(states, 3);
}

#[test]
fn a_crash_after_any_step_leaves_the_old_or_the_new_and_the_next_try_goes_through() {
    for (at, last) in Step::ALL.into_iter().enumerate() {
        // The marker knows of more records than the backup has.
        let site = Site::new(2, 3);
        let mut seen = Vec::new();
        let stopped = restore(
            &site.restoring(&site.backup),
            |_| (),
            |step| {
                seen.push(step);
                step != last
            },
        );
        assert_eq!(stopped, Err(RestoreError::Stopped(last)));
        assert_eq!(seen, Step::ALL[..=at]);
        let store = open(&site.data);
        let users = store.view().expect("view").count(Kind::User);
        let in_place = at >= 4;
        assert_eq!(store.is_unconfirmed(), in_place, "{last:?}");
        assert_eq!(users, Ok(if in_place { 2 } else { 5 }), "{last:?}");
        if !in_place {
            employed(&store, "still-served");
        }
        shut(store);
        restore(&site.restoring(&site.backup), |_| (), |_| true).expect("again");
        assert_eq!(site.users(), 2, "{last:?}");
        assert!(!names(site.folder()).contains(&String::from("usher.redb.restoring")));
    }
}

#[test]
fn what_is_no_whole_backup_is_refused_and_nothing_is_moved() {
    let site = Site::new(30, 1);
    let bad = site.home.path().join("bad");
    let whole = fs::read(&site.backup).expect("read");
    let there = names(site.folder());
    let refuses = |bytes: &[u8], why: &str| {
        fs::write(&bad, bytes).expect("written");
        let refused = restore(&site.restoring(&bad), |_| (), |_| true);
        match refused {
            Err(RestoreError::Refused(text)) => {
                assert!(text.contains("no whole backup"), "{why}: {text}");
            }
            other => panic!("{why}: {other:?}"),
        }
        assert_eq!(names(site.folder()), there, "{why}");
    };
    refuses(b"", "empty");
    refuses(b"PK\x03\x04 and no database", "another file");
    for share in [1, 30, 50, 70, 90, 99] {
        refuses(&whole[..whole.len() * share / 100], "truncated");
    }
    // A flipped bit is refused, or was of no consequence: then what is restored is what was backed up.
    let (mut refused, mut harmless) = (0, 0);
    for at in 0..120 {
        let mut flipped = whole.clone();
        let place = at * (flipped.len() - 1) / 119;
        flipped[place] ^= 1 << (at % 8);
        fs::write(&bad, &flipped).expect("written");
        let mut checked = None;
        let result = restore(
            &site.restoring(&bad),
            |_| (),
            |step| {
                checked = Some(step);
                step != Step::Flagged
            },
        );
        match result {
            Err(RestoreError::Refused(_)) => refused += 1,
            Err(RestoreError::Stopped(_)) => {
                harmless += 1;
                let copy = site.home.path().join("copy.redb");
                fs::rename(site.folder().join("usher.redb.restoring"), &copy).expect("moved");
                let store = open(&copy);
                let view = store.view().expect("view");
                assert_eq!(view.count(Kind::User), Ok(30), "byte {place}");
                assert_eq!(view.verify_chain(1, 30), Ok(None), "byte {place}");
                drop(view);
                shut(store);
                fs::remove_file(copy).expect("removed");
                fs::remove_file(site.home.path().join("copy.redb.marker")).expect("removed");
            }
            other => panic!("byte {place}: {other:?} after {checked:?}"),
        }
    }
    assert!(refused > 0, "{refused} refused, {harmless} harmless");
    assert_eq!(names(site.folder()), there);
    assert_eq!(site.users(), 31);
}

#[test]
fn who_asks_wrongly_is_told() {
    let site = Site::new(1, 0);
    let fails = |restoring: &Restoring| restore(restoring, |_| (), |_| true).expect_err("refused");
    let there = names(site.folder());
    assert!(matches!(
        fails(&site.restoring(Path::new("/nowhere"))),
        RestoreError::Missing(_)
    ));
    assert!(matches!(
        fails(&site.restoring(&site.data)),
        RestoreError::Usage(_)
    ));
    assert!(matches!(
        fails(&site.restoring(site.folder())),
        RestoreError::Usage(_)
    ));
    let running = open(&site.data);
    assert!(matches!(
        fails(&site.restoring(&site.backup)),
        RestoreError::Locked(_)
    ));
    shut(running);
    assert_eq!(names(site.folder()), there);

    // Another directory's.
    let other = Site::new(4, 0);
    let mut foreign = site.restoring(&other.backup);
    match fails(&foreign) {
        RestoreError::Refused(text) => assert!(text.contains("--force"), "{text}"),
        found => panic!("{found:?}"),
    }
    assert_eq!(names(site.folder()), there);
    assert_eq!(site.users(), 1);
    foreign.force = true;
    restore(&foreign, |_| (), |_| true).expect("asked for");
    assert_eq!(site.users(), 4);

    // The data file is gone, or garbage: that is what backups are for.
    for garbage in [None, Some("garbage")] {
        let site = Site::new(3, 1);
        match garbage {
            None => fs::remove_file(&site.data).expect("removed"),
            Some(text) => fs::write(&site.data, text).expect("written"),
        }
        let refused = Store::open(&Options::new(&site.data, NOW), |_| ());
        assert!(matches!(
            refused,
            Err(OpenError::Refused(_) | OpenError::Failed(_))
        ));
        let replaced = restore(&site.restoring(&site.backup), |_| (), |_| true).expect("restored");
        assert_eq!(matches!(replaced.there, There::Nothing), garbage.is_none());
        assert_eq!(site.users(), 3);
    }
}

#[test]
fn a_file_of_schema_1_is_restored_and_migrated_when_it_is_opened() {
    let site = Site::new(1, 0);
    let old = site.home.path().join("old.redb");
    written(&old);
    let before = fs::read(&old).expect("read");
    let mut restoring = site.restoring(&old);
    restoring.force = true;
    let replaced = restore(&restoring, |_| (), |_| true).expect("restored");
    assert_eq!(
        (replaced.manifest.schema, replaced.manifest.usher),
        (1, None)
    );
    assert_ne!(SCHEMA, 1);
    assert_eq!(fs::read(&old).expect("read"), before, "it is only read");
    let store = open(&site.data);
    is_migrated(&store);
    assert!(store.is_unconfirmed(), "over a migration too");
    assert!(matches!(
        store.reserve().map(drop),
        Err(Fault::Unavailable { .. })
    ));
}

#[test]
fn who_owned_the_data_file_owns_what_was_restored() {
    let site = Site::new(1, 1);
    let marker = site.folder().join("usher.redb.marker");
    let owner = |path: &Path| {
        let there = fs::metadata(path).expect("there");
        (there.uid(), there.gid())
    };
    // Only root can give files away; for everybody else the owner is who restores.
    let given = chown(&site.data, Some(4_711), Some(4_712)).is_ok();
    let before = owner(&site.data);
    assert_eq!(before == (4_711, 4_712), given);
    restore(&site.restoring(&site.backup), |_| (), |_| true).expect("restored");
    assert_eq!((owner(&site.data), owner(&marker)), (before, before));
    for file in [&site.data, &marker] {
        let mode = fs::metadata(file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_newer_backup_is_refused_by_its_schema() {
    let site = Site::new(1, 0);
    let db = redb::Database::open(&site.backup).expect("opens");
    let transaction = db.begin_write().expect("begins");
    {
        let mut state = transaction.open_table(STATE).expect("table");
        let newer = seal(
            Seal::State,
            name::SCHEMA,
            (SCHEMA + 1).to_be_bytes().to_vec(),
        );
        state
            .insert(name::SCHEMA, newer.as_slice())
            .expect("written");
    }
    transaction.commit().expect("committed");
    drop(db);
    let there = names(site.folder());
    match restore(&site.restoring(&site.backup), |_| (), |_| true) {
        Err(RestoreError::Refused(text)) => assert!(text.contains("a newer usher"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(names(site.folder()), there);
}
