//! Files: creation, markers, kill, intents, damage.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::{fs, io};

use redb::{Database, ReadableTable};

use super::*;
use crate::error::Fault;
use crate::journal::record::Status;
use crate::journal::report::tests::record;
use crate::provision::link::Uncertain;
use crate::store::tables::{KEYS, ROWS, SCHEMA, STATE, Seal, name, seal};
use crate::store::{Intent, Key, Lane, LinkEdit, MarkEdit, OpenError, Options};

fn open(path: &Path) -> Result<Store, OpenError> {
    Store::open(&Options::new(path, Timestamp(7_000)), |_| ())
}

fn accept(path: &Path) -> Result<Store, OpenError> {
    let options = Options {
        accept: true,
        ..Options::new(path, Timestamp(7_000))
    };
    Store::open(&options, |_| ())
}

/// Lets go of the file.
fn shut(store: Store) {
    store.close().expect("closed");
    drop(store);
}

/// The file and its marker as a kill at this moment would leave them.
fn kill(path: &Path, copy: &Path) {
    for suffix in ["", ".marker"] {
        let name = |path: &Path| format!("{}{suffix}", path.display());
        fs::copy(name(path), name(copy)).expect("copied");
    }
}

fn recorded(store: &Store, name: &str) -> Resource {
    let one = minted(store, name);
    let set = ChangeSet {
        journal: vec![record(0, name, &[], &[])],
        ..puts([created(&one)])
    };
    commit(store, set).expect("created");
    one
}

fn refused(result: Result<Store, OpenError>, why: &str) {
    match result {
        Err(OpenError::Refused(text)) => {
            assert!(text.contains(why), "{text}");
            assert!(text.contains("usher serve --accept-store"), "{text}");
        }
        other => panic!("{why}: {other:?}"),
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill_and_after_a_close() {
    let home = tempfile::tempdir().expect("a directory");
    let (path, copy) = (
        home.path().join("usher.redb"),
        home.path().join("copy.redb"),
    );
    let store = open(&path).expect("created");
    let ada = recorded(&store, "ada");
    kill(&path, &copy);
    let killed = open(&copy).expect("opens after a kill");
    assert_eq!(
        killed.view().expect("view").resource(ada.handle),
        Ok(Some(ada.clone()))
    );
    assert_eq!(killed.last_sequence(), 1);
    let bob = recorded(&store, "bob");
    shut(store);
    let store = open(&path).expect("opens after a close");
    let view = store.view().expect("view");
    assert_eq!(view.count(Kind::User), Ok(2));
    assert_eq!(
        view.find(&Key::Id(Kind::User, bob.id.as_str())),
        Ok(Some(bob.handle))
    );
    assert_eq!(view.verify_chain(1, 2), Ok(None));
    assert_eq!(store.rolled_forward(), 0);
}

#[test]
fn handles_are_never_given_twice() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("usher.redb");
    let store = open(&path).expect("created");
    let (ada, bob) = (recorded(&store, "ada"), recorded(&store, "bob"));
    for gone in [&bob, &ada] {
        commit(&store, erased(gone)).expect("erased");
    }
    let planned = minted(&store, "carl");
    let intent = Intent {
        if_unknown: puts([created(&planned)]),
        ..Intent::default()
    };
    wait(store.intend(intent)).expect("stored");
    shut(store);
    let store = open(&path).expect("opens");
    assert_eq!(store.rolled_forward(), 1);
    let (next, _) = store.mint(Timestamp(1), 1);
    assert!(next > planned.handle, "{next:?} after {:?}", planned.handle);
}

/// A client's write is called at one application while a worker's exchange with the other is under way, about which
/// nobody knows anything either: seed 18 of the simulation.
#[test]
fn two_left_over_intents_of_one_row_are_both_committed() {
    let home = tempfile::tempdir().expect("a directory");
    let (path, copy) = (
        home.path().join("usher.redb"),
        home.path().join("copy.redb"),
    );
    let store = open(&path).expect("created");
    let doubted = |application: &str, at| {
        let mut link = link(application, Some(application));
        link.uncertain = Some(Uncertain {
            intended: Timestamp(at),
            sent: Timestamp(at),
        });
        link
    };
    let mut ada = minted(&store, "ada");
    ada.links = vec![doubted("crm", 10), link("zoom", Some("zoom"))];
    create(&store, &ada);
    let intend = |set: ChangeSet| {
        let intent = Intent {
            if_unknown: set,
            ..Intent::default()
        };
        wait(store.intend(intent)).expect("stored")
    };
    intend(ChangeSet {
        links: vec![LinkEdit {
            handle: ada.handle,
            application: "crm".into(),
            before: ada.link("crm").cloned(),
            after: Some(doubted("crm", 20)),
        }],
        ..ChangeSet::default()
    });
    let mut renamed = ada.clone();
    renamed.version = 2;
    renamed.attributes.insert("userName".into(), json!("eve"));
    renamed.set_link("zoom", Some(doubted("zoom", 30)));
    intend(puts([changed(&ada, &renamed)]));
    kill(&path, &copy);

    let store = open(&copy).expect("opens");
    assert_eq!(store.rolled_forward(), 2);
    let view = store.view().expect("view");
    let now = view.resource(ada.handle).expect("whole").expect("there");
    assert_eq!(now.title(), "eve");
    let intended = now.links.iter().map(|link| link.uncertain);
    let intended: Vec<_> = intended.map(|it| it.expect("uncertain").intended).collect();
    assert_eq!(intended, [Timestamp(20), Timestamp(30)]);
}

#[test]
fn left_over_intents_are_committed_as_unknown() {
    let home = tempfile::tempdir().expect("a directory");
    let (path, copy) = (
        home.path().join("usher.redb"),
        home.path().join("copy.redb"),
    );
    let store = open(&path).expect("created");
    let mut ada = minted(&store, "ada");
    ada.links = vec![link("zoom", None)];
    ada.links[0].state = State::Unborn;
    ada.links[0].uncertain = Some(Uncertain {
        intended: Timestamp(10),
        sent: Timestamp(10),
    });
    let mark = |handle, application: &str, due| MarkEdit::Set {
        handle,
        application: application.into(),
        due,
        attempts: 0,
        lane: Lane::Create,
        caused: true,
        read: None,
    };
    let intend = |set: ChangeSet| {
        let intent = Intent {
            if_unknown: set,
            ..Intent::default()
        };
        wait(store.intend(intent)).expect("stored")
    };
    intend(ChangeSet {
        marks: vec![
            mark(ada.handle, "zoom", Timestamp(99_000)),
            mark(ada.handle, "simulated", Timestamp::NEVER),
        ],
        journal: vec![record(0, "ada", &[], &[("zoom", Status::Unknown)])],
        ..puts([created(&ada)])
    });
    // One was settled before the kill, one lost its precondition on the way.
    let bob = minted(&store, "bob");
    let settled = intend(puts([created(&bob)]));
    let commit_bob = ChangeSet {
        settles: Some(settled),
        ..puts([created(&bob)])
    };
    commit(&store, commit_bob).expect("settled");
    let eve = minted(&store, "eve");
    intend(ChangeSet {
        journal: vec![record(0, "eve", &[], &[("zoom", Status::Unknown)])],
        ..puts([created(&eve)])
    });
    let other = minted(&store, "EVE");
    create(&store, &other);
    kill(&path, &copy);

    let store = open(&copy).expect("opens");
    assert_eq!(store.rolled_forward(), 2);
    let view = store.view().expect("view");
    let there = view.resource(ada.handle).expect("whole").expect("there");
    let uncertain = there.links[0].uncertain.expect("uncertain");
    assert_eq!(
        (uncertain.intended, uncertain.sent),
        (Timestamp(10), Timestamp(7_000))
    );
    let due = view.due("zoom", Timestamp(7_000), 9).expect("due");
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].cause, [1]);
    assert_eq!(view.next_due("simulated"), Ok(None));
    assert_eq!(view.mark_count("simulated"), Ok(1));
    assert_eq!(view.resource(eve.handle), Ok(None));
    assert_eq!(view.find(&Key::UserName("eve")), Ok(Some(other.handle)));
    assert_eq!(view.last_sequence(), Ok(2), "both are on the record");
    drop(view);
    shut(store);
    let store = open(&copy).expect("opens");
    assert_eq!(store.rolled_forward(), 0, "once");
}

#[test]
fn the_marker_tells_a_missing_an_older_and_a_foreign_file() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("usher.redb");
    let marker = home.path().join("usher.redb.marker");
    let old = home.path().join("old.redb");

    // Created empty, and the marker lost: nothing is risked.
    shut(open(&path).expect("created"));
    fs::remove_file(&marker).expect("removed");
    shut(open(&path).expect("empty: gets a marker"));
    assert!(marker.exists());

    let store = open(&path).expect("opens");
    recorded(&store, "ada");
    shut(store);
    kill(&path, &old);
    let store = open(&path).expect("opens");
    recorded(&store, "bob");
    store.renew_marker().expect("renewed");
    let newer = fs::read(&marker).expect("read");
    shut(store);

    // An old copy of the file beside the marker of today.
    fs::copy(&old, &path).expect("restored");
    refused(open(&path), "an old copy");
    let store = accept(&path).expect("a person says so");
    assert_eq!(store.view().expect("view").count(Kind::User), Ok(1));
    shut(store);
    shut(open(&path).expect("accepted for good"));

    // No marker, and people in it.
    fs::remove_file(&marker).expect("removed");
    refused(open(&path), "no marker");
    shut(accept(&path).expect("a person says so"));

    // Another instance's marker; one that does not read.
    let other = home.path().join("other.redb");
    shut(open(&other).expect("created"));
    fs::copy(home.path().join("other.redb.marker"), &marker).expect("copied");
    refused(open(&path), "belongs to another");
    fs::write(&marker, b"{").expect("written");
    refused(open(&path), "cannot be read");
    fs::write(&marker, &newer).expect("written");

    // The file gone.
    fs::remove_file(&path).expect("removed");
    refused(open(&path), "it is gone");
    assert!(!path.exists(), "nothing was created");
    let store = accept(&path).expect("a person says so");
    assert_eq!(store.view().expect("view").count(Kind::User), Ok(0));
}

#[test]
fn a_damaged_row_is_refused_and_its_neighbours_are_served() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("usher.redb");
    let store = open(&path).expect("created");
    let (ada, bob) = (recorded(&store, "ada"), recorded(&store, "bob"));
    shut(store);
    let db = Database::open(&path).expect("opens");
    let transaction = db.begin_write().expect("begins");
    {
        let mut rows = transaction.open_table(ROWS).expect("table");
        let row = rows
            .get(ada.handle.0)
            .expect("read")
            .expect("there")
            .value()
            .to_vec();
        let place = row
            .windows(3)
            .position(|part| part == b"ada")
            .expect("a name");
        let mut flipped = row;
        flipped[place] ^= 0x20;
        rows.insert(ada.handle.0, flipped.as_slice())
            .expect("written");
        // A look-up key that leads to somebody else's row under a checksum of its own.
        let mut keys = transaction.open_table(KEYS).expect("table");
        let (from, to) = (
            super::super::keys::user_name("bob"),
            super::super::keys::user_name("eve"),
        );
        let value = keys
            .get(from.as_slice())
            .expect("read")
            .expect("there")
            .value()
            .to_vec();
        keys.insert(to.as_slice(), value.as_slice())
            .expect("written");
    }
    transaction.commit().expect("committed");
    drop(db);
    let store = open(&path).expect("redb sees nothing wrong");
    let view = store.view().expect("view");
    assert!(matches!(view.resource(ada.handle), Err(Fault::Internal(_))));
    let page = view.page(Kind::User, 1, 10, |_| ());
    assert!(
        matches!(page, Err(Fault::Internal(_))),
        "not skipped silently"
    );
    assert!(matches!(
        view.find(&Key::UserName("eve")),
        Err(Fault::Internal(_))
    ));
    assert_eq!(view.resource(bob.handle), Ok(Some(bob)));
}

#[test]
fn flipped_bytes_anywhere_in_a_closed_file_are_never_served() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("usher.redb");
    let store = open(&path).expect("created");
    let people: Vec<Resource> = (0..40)
        .map(|one| recorded(&store, &format!("user{one}")))
        .collect();
    shut(store);
    let whole = fs::read(&path).expect("read");
    let (mut refused, mut harmless) = (0, 0);
    // Most of a small file is room to grow: only bytes that hold something are worth flipping.
    let used: Vec<usize> = (0..whole.len())
        .filter(|place| whole[*place] != 0)
        .collect();
    for round in 0..60 {
        let mut bytes = whole.clone();
        let place = used[used.len() / 61 * (round + 1) + round * 7];
        bytes[place] ^= 0x10;
        fs::write(&path, &bytes).expect("written");
        let Ok(store) = open(&path) else {
            refused += 1;
            continue;
        };
        let view = store.view().expect("view");
        for one in &people {
            let read = view.resource(one.handle);
            assert!(
                read == Ok(Some(one.clone())) || read.is_err(),
                "wrong data from byte {place}"
            );
        }
        drop(view);
        shut(store);
        harmless += 1;
    }
    assert!(
        refused > 10,
        "only {refused} of 60 refused, {harmless} harmless"
    );
}

#[test]
fn a_newer_schema_and_a_locked_file_are_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("usher.redb");
    let store = open(&path).expect("created");
    let mut options = Options::new(&path, Timestamp(0));
    options.wait_for_lock = std::time::Duration::ZERO;
    let locked = Store::open(&options, |_| ());
    assert_eq!(locked.err(), Some(OpenError::Locked(path.clone())));
    assert_eq!(
        Store::open_read_only(&path).err(),
        Some(OpenError::Locked(path.clone()))
    );
    shut(store);
    let db = Database::open(&path).expect("opens");
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
    let newer = OpenError::Newer {
        found: SCHEMA + 1,
        known: SCHEMA,
    };
    assert_eq!(open(&path).err(), Some(newer.clone()));
    assert_eq!(accept(&path).err(), Some(newer));
}

#[test]
fn the_command_line_reads_a_closed_file_and_repairs_a_killed_one() {
    let home = tempfile::tempdir().expect("a directory");
    let (path, copy) = (
        home.path().join("usher.redb"),
        home.path().join("copy.redb"),
    );
    let missing = Store::open_read_only(&path);
    assert_eq!(missing.err(), Some(OpenError::Missing(path.clone())));
    let store = open(&path).expect("created");
    let ada = recorded(&store, "ada");
    kill(&path, &copy);
    shut(store);
    for (path, checked) in [(&path, false), (&copy, true)] {
        let store = Store::open_read_only(path).expect("opens");
        assert_eq!(store.checked(), checked, "{}", path.display());
        let view = store.view().expect("view");
        assert_eq!(view.find(&Key::UserName("ada")), Ok(Some(ada.handle)));
    }
}

/// What is logged while `work` runs.
fn logged(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("whole").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(log, work);
    let bytes = lines.0.lock().expect("whole").clone();
    String::from_utf8(bytes).expect("text")
}

#[test]
fn files_are_their_owners_alone_and_an_open_one_is_warned_of() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("usher.redb");
    let name = |suffix: &str| format!("{}{suffix}", path.display());
    let mode = |suffix: &str| {
        let found = fs::metadata(name(suffix)).expect("there");
        found.permissions().mode() & 0o777
    };
    let chmod = |suffix: &str, mode: u32| {
        fs::set_permissions(name(suffix), fs::Permissions::from_mode(mode)).expect("set");
    };
    // What a crash left, as an older build may have made it.
    for left in [".new", ".marker.new"] {
        fs::write(name(left), b"half").expect("written");
        chmod(left, 0o666);
    }
    let quiet = logged(|| shut(open(&path).expect("created")));
    assert_eq!((mode(""), mode(".marker")), (0o600, 0o600));
    assert!(!quiet.contains("chmod"), "{quiet}");
    for (open_to, warns) in [
        (0o640, true),
        (0o604, true),
        (0o620, true),
        (0o600, false),
        (0o700, false),
    ] {
        chmod("", open_to);
        let log = logged(|| shut(open(&path).expect("opens all the same")));
        assert_eq!(log.contains("chmod 600"), warns, "{open_to:04o}: {log}");
        assert_eq!(mode(""), open_to, "the mode is a person's to change");
    }
}
