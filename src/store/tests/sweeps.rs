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
