//! One configuration in force after another, and what was decided under the one before.

use super::*;
use crate::store::{Configuration, Configured, Intent, Lane, Mark, MarkEdit, Options};

/// A configuration with these applications; those with `+` behind their names have groups too.
fn configuration(fingerprint: &str, applications: &[&str]) -> Configuration {
    Configuration {
        fingerprint: fingerprint.to_owned(),
        applications: applications
            .iter()
            .map(|name| Configured {
                name: name.trim_end_matches('+').to_owned(),
                planning: String::from("p"),
                groups: name.ends_with('+'),
                policies: Vec::new(),
            })
            .collect(),
    }
}

fn configure(store: &Store, fingerprint: &str, applications: &[&str]) -> u64 {
    let configuration = configuration(fingerprint, applications);
    let in_force = wait(store.configure(configuration)).expect("stored");
    in_force.generation
}

fn marks(store: &Store, resource: &Resource) -> Vec<Mark> {
    let view = store.view().expect("view");
    view.marks(resource.handle).expect("marks")
}

fn names(store: &Store, resource: &Resource) -> Vec<String> {
    let marks = marks(store, resource).into_iter();
    marks.map(|mark| mark.application).collect()
}

fn under(generation: u64, set: ChangeSet) -> ChangeSet {
    ChangeSet { generation, ..set }
}

#[test]
fn another_file_is_another_generation() {
    let store = inline();
    assert_eq!(
        store.view().expect("view").generation(),
        Ok((0, String::new()))
    );
    assert_eq!(configure(&store, "aa", &["zoom"]), 1);
    assert_eq!(configure(&store, "aa", &["zoom"]), 1);
    assert_eq!(configure(&store, "bb", &[]), 2);
    assert_eq!(configure(&store, "aa", &[]), 3);
    assert_eq!(
        store.view().expect("view").generation(),
        Ok((3, "aa".into()))
    );
}

#[test]
fn what_was_decided_under_an_older_one_is_marked_for_every_application() {
    let store = inline();
    let (ada, staff) = (minted(&store, "ada"), minted_group(&store, "Staff"));
    assert_eq!(configure(&store, "aa", &["zoom", "gone"]), 1);
    commit(&store, under(1, puts([created(&ada), created(&staff)]))).expect("created");
    assert!(names(&store, &ada).is_empty(), "it decided");
    assert_eq!(configure(&store, "bb", &["zoom", "new", "wide+"]), 2);
    assert!(names(&store, &ada).is_empty(), "nothing was committed");

    let later = |before: &Resource| Resource {
        version: before.version + 1,
        ..before.clone()
    };
    let (ada2, staff2) = (later(&ada), later(&staff));
    let both = puts([changed(&ada, &ada2), changed(&staff, &staff2)]);
    commit(&store, under(0, both)).expect("changed");
    assert!(names(&store, &ada).is_empty(), "no configuration had a say");

    let (ada3, staff3) = (later(&ada2), later(&staff2));
    let both = puts([changed(&ada2, &ada3), changed(&staff2, &staff3)]);
    commit(&store, under(1, both)).expect("changed");
    assert_eq!(names(&store, &ada), ["new", "wide", "zoom"]);
    assert_eq!(names(&store, &staff), ["wide"], "groups go nowhere else");
    let due = store.view().expect("view").due("zoom", Timestamp(1), 9);
    assert_eq!(due.expect("marks").len(), 1, "at once");

    let other = minted(&store, "bob");
    commit(&store, under(2, puts([created(&other)]))).expect("created");
    assert!(names(&store, &other).is_empty(), "the one in force decided");
}

#[test]
fn a_membership_changed_under_an_older_one_marks_its_group() {
    let store = inline();
    let (ada, staff) = (minted(&store, "ada"), minted_group(&store, "Staff"));
    configure(&store, "aa", &[]);
    commit(&store, under(1, puts([created(&ada), created(&staff)]))).expect("created");
    configure(&store, "bb", &["zoom", "wide+"]);
    commit(&store, under(1, membership(&staff, &[&ada], &[]))).expect("added");
    assert_eq!(names(&store, &staff), ["wide"]);
    assert!(names(&store, &ada).is_empty());
}

#[test]
fn a_mark_that_the_old_one_set_or_cleared_stands_afterwards() {
    let store = inline();
    let ada = minted(&store, "ada");
    configure(&store, "aa", &["zoom"]);
    let set = |attempts| MarkEdit::Set {
        handle: ada.handle,
        application: "zoom".into(),
        due: Timestamp::NEVER,
        attempts,
        lane: Lane::Create,
        caused: false,
        read: None,
    };
    let marked = ChangeSet {
        marks: vec![set(3)],
        ..puts([created(&ada)])
    };
    commit(&store, under(1, marked)).expect("created");
    let read = marks(&store, &ada)[0].clone();
    configure(&store, "bb", &["zoom"]);
    // A worker's delivery that ends after the swap clears the mark that it read; what it decided is asked about again.
    let mut delivered = ada.clone();
    delivered.links.push(link("zoom", Some("r1")));
    let clear = ChangeSet {
        marks: vec![MarkEdit::Clear {
            handle: ada.handle,
            application: "zoom".into(),
            generation: read.generation,
        }],
        ..puts([changed(&ada, &delivered)])
    };
    commit(&store, under(1, clear)).expect("delivered");
    let [mark] = &marks(&store, &ada)[..] else {
        panic!("one mark");
    };
    assert!(mark.generation > read.generation);
    assert_ne!(mark.due, Timestamp::NEVER);
    assert_eq!((mark.attempts, mark.lane), (0, Lane::Update));
    // One that it moved keeps its lane and its attempts, and is due.
    let moved = ChangeSet {
        marks: vec![set(4)],
        ..puts([changed(&delivered, &ada)])
    };
    commit(&store, under(1, moved)).expect("moved");
    let [mark] = &marks(&store, &ada)[..] else {
        panic!("one mark");
    };
    assert_ne!(mark.due, Timestamp::NEVER);
    assert_eq!((mark.attempts, mark.lane), (4, Lane::Create));
    // Parking it alone, without a row, is a decision too.
    let parked = ChangeSet {
        marks: vec![set(5)],
        ..ChangeSet::default()
    };
    commit(&store, under(1, parked)).expect("parked");
    assert_ne!(marks(&store, &ada)[0].due, Timestamp::NEVER);
}

#[test]
fn an_intent_of_an_older_one_is_marked_when_it_is_rolled_forward() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("usher.redb");
    let open = || Store::open(&Options::new(&path, Timestamp(7_000)), |_| ()).expect("opens");
    let store = open();
    wait(store.configure(configuration("aa", &["zoom"]))).expect("stored");
    let (ada, bob) = (minted(&store, "ada"), minted(&store, "bob"));
    let intend = |generation, one: &Resource| {
        let intent = Intent {
            if_unknown: under(generation, puts([created(one)])),
            ..Intent::default()
        };
        wait(store.intend(intent)).expect("stored");
    };
    intend(1, &ada);
    wait(store.configure(configuration("bb", &["zoom", "new"]))).expect("stored");
    intend(2, &bob);
    store.close().expect("closed");
    drop(store);
    let store = open();
    assert_eq!(store.rolled_forward(), 2);
    assert_eq!(names(&store, &ada), ["new", "zoom"]);
    assert!(names(&store, &bob).is_empty());
}
