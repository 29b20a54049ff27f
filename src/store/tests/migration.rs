//! A file of schema 1, row for row as the build wrote it that knew no other, with people of every sort, a tombstone,
//! groups, a mark, and an intent that nobody settled.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::model::lists_equal_a_scan;
use super::*;
use crate::store::tables::{
    Bytes, INDEX, INTENTS, JOURNAL, KEYS, MARKS, READS, ROWS, SCHEMA, STATE, Seal, name, number,
    seal, unseal,
};
use crate::store::{Key, Lookup, OpenError, Options};

const ROWS_OF_SCHEMA_1: &str = include_str!("schema-1.txt");

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|two| std::str::from_utf8(two).expect("digits"))
        .map(|two| u8::from_str_radix(two, 16).expect("hex"))
        .collect()
}

/// Table, key and value.
fn rows() -> impl Iterator<Item = (&'static str, Vec<u8>, Vec<u8>)> {
    ROWS_OF_SCHEMA_1.lines().map(|line| {
        let mut parts = line.split(' ');
        let mut part = || parts.next().expect("three parts");
        (part(), bytes(part()), bytes(part()))
    })
}

/// The file and its marker.
pub(super) fn written(path: &Path) {
    let db = Database::create(path).expect("created");
    let transaction = db.begin_write().expect("begins");
    {
        transaction.open_table(READS).expect("table");
        let numbered = |table| transaction.open_table(table).expect("table");
        let mut tables = (numbered(ROWS), numbered(INTENTS), numbered(JOURNAL));
        let by_bytes = |table: TableDefinition<'static, Bytes, Bytes>| {
            transaction.open_table(table).expect("table")
        };
        let mut others = (
            by_bytes(KEYS),
            by_bytes(MARKS),
            by_bytes(INDEX),
            by_bytes(STATE),
        );
        for (table, key, value) in rows() {
            let (key, value) = (key.as_slice(), value.as_slice());
            let handle = || number(key).expect("eight bytes");
            match table {
                "rows" => drop(tables.0.insert(handle(), value)),
                "intents" => drop(tables.1.insert(handle(), value)),
                "journal" => drop(tables.2.insert(handle(), value)),
                "keys" => drop(others.0.insert(key, value)),
                "marks" => drop(others.1.insert(key, value)),
                "state" => drop(others.3.insert(key, value)),
                other => panic!("{other}"),
            }
        }
    }
    transaction.commit().expect("committed");
    drop(db);
    let instance = rows()
        .find(|(table, key, _)| *table == "state" && key == name::INSTANCE)
        .map(|(_, _, value)| crate::store::ids::hex(&value[..16]))
        .expect("an instance");
    let marker = format!(r#"{{"instance":"{instance}","sequence":6}}"#);
    fs::write(beside(path, ".marker"), marker).expect("written");
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn open(path: &Path) -> Result<Store, OpenError> {
    Store::open(&Options::new(path, Timestamp(7_000)), |_| ())
}

fn schema(path: &Path) -> u64 {
    let db = Database::open(path).expect("opens");
    let read = db.begin_read().expect("begins");
    let state = read.open_table(STATE).expect("table");
    let stored = state.get(name::SCHEMA).expect("read").expect("there");
    number(unseal(Seal::State, name::SCHEMA, stored.value()).expect("whole")).expect("a number")
}

/// Everything is as it was, and can be listed as if this build had written it.
pub(super) fn is_migrated(store: &Store) {
    let view = store.view().expect("view");
    let rows: Vec<Resource> = (0..4_000)
        .filter_map(|handle| view.resource(Handle(handle)).expect("whole"))
        .filter(|one| one.deleted.is_none())
        .collect();
    assert_eq!(rows.len(), 8, "five users, two groups, and the intent's");
    lists_equal_a_scan(&view, &rows);
    assert_eq!(view.count_active(false), Ok(2));
    assert_eq!(view.count_active(true), Ok(3), "one has no `active`");
    let find = |key: &Key<'_>| view.find(key).expect("whole").map(|found| found.0);
    assert_eq!(find(&Key::UserName("ADA@example.com")), Some(1));
    assert_eq!(find(&Key::UserName("late@example.com")), Some(3009));
    let staff = view.find_all(Kind::Group, &Lookup::GroupName("staff"));
    assert_eq!(staff, Ok(vec![Handle(3007)]));
    assert_eq!(view.member_count(Handle(3007)), Ok(3));
    assert_eq!(view.mark_count("zoom"), Ok(1));
    assert_eq!(view.verify_chain(1, 7), Ok(None));
}

/// What came with schema 3 needs nothing but the number: whoever goes back takes the copy.
#[test]
fn a_file_of_schema_2_is_copied_and_gets_its_number() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("usher.redb");
    written(&path);
    open(&path).expect("migrated").close().expect("closed");
    fs::remove_file(beside(&path, ".v1")).expect("the first copy");
    let db = Database::open(&path).expect("opens");
    let transaction = db.begin_write().expect("begins");
    {
        let mut state = transaction.open_table(STATE).expect("table");
        let number = seal(Seal::State, name::SCHEMA, 2_u64.to_be_bytes().to_vec());
        state
            .insert(name::SCHEMA, number.as_slice())
            .expect("written");
    }
    transaction.commit().expect("committed");
    drop(db);
    let store = open(&path).expect("migrated");
    is_migrated(&store);
    store.close().expect("closed");
    drop(store);
    let copy = beside(&path, ".v2");
    assert_eq!((schema(&path), schema(&copy)), (SCHEMA, 2));
}

/// Until schema 3 an intent named the rows that it erases.
#[test]
fn what_an_intent_of_schema_3_erases_is_gone_after_its_migration() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("usher.redb");
    let store = open(&path).expect("created");
    let mut ada = minted(&store, "ada");
    ada.links = vec![link("zoom", Some("z1"))];
    create(&store, &ada);
    let dead = buried(&ada);
    commit(&store, puts([changed(&ada, &dead)])).expect("a tombstone");
    let bob = minted(&store, "bob");
    create(&store, &bob);
    store.close().expect("closed");
    drop(store);

    let db = Database::open(&path).expect("opens");
    let transaction = db.begin_write().expect("begins");
    {
        let mut state = transaction.open_table(STATE).expect("table");
        let number = seal(Seal::State, name::SCHEMA, 3_u64.to_be_bytes().to_vec());
        state
            .insert(name::SCHEMA, number.as_slice())
            .expect("written");
        let mut intents = transaction.open_table(INTENTS).expect("table");
        for (intent, erase) in [(1_u64, vec![dead]), (2, vec![bob]), (3, Vec::new())] {
            let mut set = serde_json::to_value(ChangeSet::default()).expect("JSON");
            set["erase"] = serde_json::to_value(erase).expect("JSON");
            let value = serde_json::to_vec(&set).expect("JSON");
            let value = seal(Seal::Intent, &intent.to_be_bytes(), value);
            intents.insert(intent, value.as_slice()).expect("written");
        }
    }
    transaction.commit().expect("committed");
    drop(db);

    let store = open(&path).expect("migrated");
    assert_eq!(store.rolled_forward(), 3);
    let view = store.view().expect("view");
    let mut left = 0;
    let rows = view.everybody(Handle(0), 100, |_| {
        left += 1;
        Ok(())
    });
    assert_eq!((rows, left), (Ok(None), 0));
    let key = Key::Remote {
        application: "zoom",
        remote_id: "z1",
    };
    assert_eq!(view.find(&key), Ok(None));
    assert_eq!(view.tally("zoom").expect("tally").active, 0);
}

#[test]
fn a_file_of_schema_1_is_copied_and_migrated() {
    let home = tempfile::tempdir().expect("a directory");
    let (path, copy) = (
        home.path().join("usher.redb"),
        home.path().join("usher.redb.v1"),
    );
    written(&path);
    let told = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&told);
    let store = Store::open(&Options::new(&path, Timestamp(7_000)), move |share| {
        hears.lock().expect("whole").push(share);
    })
    .expect("migrated");
    let told = told.lock().expect("whole").clone();
    assert!(told.contains(&0.5) && told.ends_with(&[1.0]), "{told:?}");
    is_migrated(&store);
    assert_eq!(store.rolled_forward(), 1);
    store.close().expect("closed");
    drop(store);
    assert!(!beside(&copy, ".new").exists());
    let mode = fs::metadata(&copy).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!((schema(&path), schema(&copy)), (SCHEMA, 1));

    // The copy is what the older build wrote, and nothing else.
    let db = Database::open(&copy).expect("opens");
    let read = db.begin_read().expect("begins");
    let table = read.open_table(KEYS).expect("table");
    let kept: Vec<_> = table
        .iter()
        .expect("all")
        .map(|entry| entry.expect("whole"))
        .map(|(key, value)| (key.value().to_vec(), value.value().to_vec()))
        .collect();
    let expected: Vec<_> = rows()
        .filter(|(table, ..)| *table == "keys")
        .map(|(_, key, value)| (key, value))
        .collect();
    assert_eq!(kept, expected);

    // Once.
    let told = Arc::new(Mutex::new(0));
    let before = fs::metadata(&copy).expect("there").ino();
    let hears = Arc::clone(&told);
    let store = Store::open(&Options::new(&path, Timestamp(8_000)), move |_| {
        *hears.lock().expect("whole") += 1;
    });
    is_migrated(&store.expect("opens"));
    assert_eq!(fs::metadata(&copy).expect("there").ino(), before);
}

#[test]
fn a_kill_at_any_step_leaves_schema_1_or_2_and_the_next_start_goes_on() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("usher.redb");
    written(&path);
    // Every report of progress is a moment at which the process may die.
    let (from, to) = (path.clone(), home.path().to_owned());
    let kills = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&kills);
    let store = Store::open(&Options::new(&path, Timestamp(7_000)), move |_| {
        let mut kills = counted.lock().expect("whole");
        *kills += 1;
        let there = to.join(format!("killed-{kills}.redb"));
        for suffix in ["", ".marker", ".v1", ".v1.new"] {
            let from = beside(&from, suffix);
            if from.exists() {
                fs::copy(from, beside(&there, suffix)).expect("copied");
            }
        }
    });
    drop(store.expect("migrated"));
    let kills = *kills.lock().expect("whole");
    let (mut with_copy, mut with_half) = (0, 0);
    for kill in 1..=kills {
        let path = home.path().join(format!("killed-{kill}.redb"));
        let copy = beside(&path, ".v1");
        with_half += u32::from(beside(&copy, ".new").exists());
        let made = fs::metadata(&copy).map(|it| it.ino()).ok();
        with_copy += u32::from(made.is_some());
        let store = open(&path).expect("goes on");
        is_migrated(&store);
        drop(store);
        let after = fs::metadata(&copy).expect("a copy").ino();
        assert!(made.is_none_or(|made| made == after), "the copy is kept");
        assert_eq!(schema(&copy), 1);
        assert!(!beside(&copy, ".new").exists());
    }
    assert!(with_copy > 0 && with_half > 0, "{with_copy} {with_half}");
}

#[test]
fn what_stands_in_the_way_of_a_migration_leaves_the_file_as_it_was() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("usher.redb");
    let copy = beside(&path, ".v1");
    written(&path);

    // A person's file, or another state, under the copy's name.
    fs::write(&copy, b"mine").expect("written");
    let refused = open(&path).expect_err("refused").to_string();
    assert!(refused.contains("move it away"), "{refused}");
    assert_eq!(fs::read(&copy).expect("read"), b"mine");
    fs::remove_file(&copy).expect("removed");
    let other = open(&copy).expect("another directory");
    other.close().expect("closed");
    drop(other);
    let refused = open(&path).expect_err("refused").to_string();
    assert!(refused.contains("another state"), "{refused}");
    fs::remove_file(&copy).expect("removed");
    assert_eq!(schema(&path), 1);

    // The command line only reads.
    let older = Store::open_read_only(&path).expect_err("refused");
    assert_eq!(
        older,
        OpenError::Older {
            found: 1,
            known: SCHEMA
        }
    );
    assert!(older.to_string().contains("`usher serve`"), "{older}");

    // A doubtful file is not migrated.
    let marker = fs::read(beside(&path, ".marker")).expect("read");
    fs::remove_file(beside(&path, ".marker")).expect("removed");
    assert!(matches!(open(&path), Err(OpenError::Refused(_))));
    assert!(!copy.exists());
    assert_eq!(schema(&path), 1);
    fs::write(beside(&path, ".marker"), marker).expect("written");

    // A damaged row.
    let change = |flip: bool| {
        let db = Database::open(&path).expect("opens");
        let transaction = db.begin_write().expect("begins");
        {
            let mut table = transaction.open_table(ROWS).expect("table");
            let mut row = table.get(3).expect("read").expect("there").value().to_vec();
            let last = row.len() - 1;
            row[last] ^= u8::from(flip);
            table.insert(3, row.as_slice()).expect("written");
        }
        transaction.commit().expect("committed");
    };
    change(true);
    let refused = open(&path).expect_err("refused").to_string();
    assert!(refused.contains("stays as it was"), "{refused}");
    assert_eq!((schema(&path), schema(&copy)), (1, 1));
    change(true);
    is_migrated(&open(&path).expect("migrated"));
}
