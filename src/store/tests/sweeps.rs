//! Sweeps: when one begins, what moves it, and what another one does to it.

use super::*;
use crate::store::{Configuration, Configured, Lane, MarkEdit, Sweep, SweepPhase, SweepStep};

/// Applications by name and what planning reads of them.
fn configure(store: &Store, fingerprint: &str, applications: &[(&str, &str)]) -> Vec<String> {
    let configuration = Configuration {
        fingerprint: fingerprint.to_owned(),
        applications: applications
            .iter()
            .map(|(name, planning)| Configured {
                name: (*name).to_owned(),
                planning: (*planning).to_owned(),
                groups: false,
                policies: Vec::new(),
            })
            .collect(),
    };
    let in_force = wait(store.configure(configuration)).expect("stored");
    in_force.sweeps
}

fn sweep(store: &Store, application: &str) -> Option<Sweep> {
    let view = store.view().expect("view");
    view.sweep(application).expect("readable")
}

fn step(store: &Store, sweep: &Sweep, ends: bool, marks: Vec<MarkEdit>) -> bool {
    let step = SweepStep {
        sweep: sweep.clone(),
        ends,
        marks,
    };
    wait(store.step_sweep(step)).expect("stored")
}

fn due(handle: Handle) -> MarkEdit {
    MarkEdit::Set {
        handle,
        application: "zoom".into(),
        due: Timestamp(5),
        attempts: 0,
        lane: Lane::Update,
        caused: false,
        read: None,
    }
}

#[test]
fn what_is_new_back_or_planned_otherwise_is_swept() {
    let store = inline();
    let zoom = ("zoom", "a");
    assert!(
        configure(&store, "1", &[zoom]).is_empty(),
        "nobody is there"
    );
    create(&store, &minted(&store, "ada"));
    let none: [&str; 0] = [];
    // Another file, and another start with it.
    assert_eq!(configure(&store, "2", &[zoom]), none);
    assert_eq!(configure(&store, "2", &[zoom]), none);
    assert_eq!(configure(&store, "3", &[zoom, ("new", "a")]), ["new"]);
    assert_eq!(
        configure(&store, "4", &[("zoom", "b"), ("new", "a")]),
        ["zoom"]
    );
    assert_eq!(configure(&store, "5", &[("zoom", "b")]), none);
    assert_eq!(
        configure(&store, "6", &[("new", "a"), ("zoom", "b")]),
        ["new"]
    );
    // The version of the program is in it: the file may be the same.
    assert_eq!(
        configure(&store, "6", &[("new", "c"), ("zoom", "b")]),
        ["new"]
    );
    let begun = sweep(&store, "zoom").expect("under way");
    assert_eq!(
        (begun.phase, begun.total, begun.done, begun.next),
        (SweepPhase::Counting, 1, 0, Handle(0))
    );
}

#[test]
fn a_step_sets_marks_and_moves_on_unless_another_sweep_stands_there() {
    let store = inline();
    let (ada, bob) = (minted(&store, "ada"), minted(&store, "bob"));
    create(&store, &ada);
    create(&store, &bob);
    configure(&store, "1", &[("zoom", "a")]);
    let mut first = sweep(&store, "zoom").expect("under way");
    first.phase = SweepPhase::Marking;
    first.next = bob.handle;
    // Nobody is there any more with the second handle.
    assert!(step(
        &store,
        &first,
        false,
        vec![due(ada.handle), due(Handle(99))]
    ));
    assert_eq!(sweep(&store, "zoom"), Some(first.clone()));
    let marked = || store.view().expect("view").mark_count("zoom");
    assert_eq!(marked(), Ok(1));

    configure(&store, "2", &[("zoom", "b")]);
    let second = sweep(&store, "zoom").expect("under way");
    assert_eq!(
        (second.phase, second.next),
        (SweepPhase::Counting, Handle(0))
    );
    assert!(!step(&store, &first, false, vec![due(bob.handle)]));
    assert!(!step(&store, &first, true, Vec::new()));
    assert_eq!(
        (marked(), sweep(&store, "zoom")),
        (Ok(1), Some(second.clone()))
    );

    assert!(step(&store, &second, true, vec![due(bob.handle)]));
    assert_eq!((marked(), sweep(&store, "zoom")), (Ok(2), None));
    assert!(!step(&store, &second, false, Vec::new()), "it has ended");
}

#[test]
fn a_doubt_outlives_the_sweep_that_takes_its_place() {
    let store = inline();
    create(&store, &minted(&store, "ada"));
    configure(&store, "1", &[("zoom", "a")]);
    assert!(!sweep(&store, "zoom").expect("under way").doubt);
    wait(store.begin_sweep("zoom", true)).expect("begun");
    configure(&store, "2", &[("zoom", "b")]);
    let doubtful = sweep(&store, "zoom").expect("under way");
    assert!(doubtful.doubt);
    assert!(step(&store, &doubtful, true, Vec::new()));
    wait(store.begin_sweep("zoom", false)).expect("begun");
    assert!(!sweep(&store, "zoom").expect("under way").doubt);
}

#[test]
fn everybody_is_everybody_in_slices() {
    let store = inline();
    let people: Vec<Resource> = (0..5).map(|at| minted(&store, &format!("p{at}"))).collect();
    people.iter().for_each(|one| create(&store, one));
    let dead = buried(&people[2]);
    let dead = Resource {
        links: vec![link("zoom", Some("r"))],
        ..dead
    };
    commit(&store, puts([changed(&people[2], &dead)])).expect("buried");
    create(&store, &minted_group(&store, "Staff"));
    let view = store.view().expect("view");
    let (mut from, mut slices) = (Some(Handle(0)), Vec::new());
    while let Some(next) = from {
        let mut slice = Vec::new();
        from = view
            .everybody(next, 4, |resource| {
                slice.push((resource.handle.0, resource.deleted.is_some()));
                Ok(())
            })
            .expect("readable");
        slices.push(slice);
    }
    assert_eq!(
        slices,
        [
            vec![(1, false), (2, false), (3, true), (4, false)],
            vec![(5, false), (6, false)]
        ]
    );
}

#[test]
fn a_damaged_row_keeps_nobody_else_waiting() {
    let store = inline();
    let people: Vec<Resource> = (0..3).map(|at| minted(&store, &format!("p{at}"))).collect();
    people.iter().for_each(|one| create(&store, one));
    batches::damage(&mut store.writer_for_tests(), people[1].handle);
    let view = store.view().expect("view");
    let mut seen = Vec::new();
    let left = view.everybody(Handle(0), 10, |resource| {
        seen.push(resource.handle);
        Ok(())
    });
    assert_eq!(left, Ok(None));
    assert_eq!(seen, [people[0].handle, people[2].handle]);
    assert!(view.resource(people[1].handle).is_err(), "it is damaged");
}

#[test]
fn a_bulk_has_a_set_in_each_application_and_none_ends_with_another() {
    let store = inline();
    let ada = minted(&store, "ada");
    create(&store, &ada);
    configure(&store, "1", &[("crm", "a"), ("zoom", "a")]);
    for name in ["crm", "zoom"] {
        let begun = sweep(&store, name).expect("everybody");
        assert!(step(&store, &begun, true, Vec::new()));
    }
    let bulk = 1 << 63 | 7;
    let removal = |name: &str| MarkEdit::Set {
        handle: ada.handle,
        application: name.into(),
        due: Timestamp(0),
        attempts: 0,
        lane: Lane::Deactivate,
        caused: false,
        read: None,
    };
    let set = ChangeSet {
        marks: vec![removal("crm"), removal("zoom")],
        bulk: Some(bulk),
        ..ChangeSet::default()
    };
    commit(&store, set).expect("stored");
    wait(store.close_set(bulk)).expect("closed");
    let crm = sweep(&store, "crm").expect("a set");
    assert!(step(&store, &crm, true, vec![]));
    let zoom = sweep(&store, "zoom").expect("another set");
    let mut planned = Vec::new();
    let view = store.view().expect("view");
    let left = view.swept(&zoom, Handle(0), 9, |one| {
        planned.push(one.handle);
        Ok(())
    });
    assert_eq!((left, planned), (Ok(None), vec![ada.handle]));
}

#[test]
fn a_mark_that_is_cleared_by_the_rules_of_before_is_set_again() {
    let store = inline();
    let ada = minted(&store, "ada");
    create(&store, &ada);
    configure(&store, "1", &[("zoom", "a")]);
    let begun = sweep(&store, "zoom").expect("under way");
    configure(&store, "2", &[("zoom", "a")]);
    assert!(step(&store, &begun, true, vec![due(ada.handle)]));
    let mark = |store: &Store| {
        store
            .view()
            .expect("view")
            .mark(ada.handle, "zoom")
            .expect("readable")
    };
    let clear = |generation| ChangeSet {
        marks: vec![MarkEdit::Clear {
            handle: ada.handle,
            application: "zoom".into(),
            generation: mark(&store).expect("marked").generation,
        }],
        generation,
        ..ChangeSet::default()
    };
    let now = store
        .view()
        .expect("view")
        .generation()
        .expect("readable")
        .0;
    commit(&store, clear(now - 1)).expect("stored");
    assert!(mark(&store).is_some(), "nobody has asked the rules of now");
    commit(&store, clear(now)).expect("stored");
    assert_eq!(mark(&store), None);
}
