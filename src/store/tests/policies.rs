//! Policies and their groups, and the sets of those whose scope changed at once.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::policy::assignment::{Assigned, Selector};
use crate::store::{
    Configuration, Configured, Lane, MarkEdit, Options, SweepPhase, SweepStep, View,
};

fn named(name: &str) -> Selector {
    Selector::DisplayName(name.to_owned())
}

fn configure(store: &Store, fingerprint: &str, policies: &[&str]) {
    let configuration = Configuration {
        fingerprint: fingerprint.to_owned(),
        applications: vec![Configured {
            name: String::from("zoom"),
            planning: fingerprint.to_owned(),
            groups: false,
            policies: policies.iter().map(|name| named(name)).collect(),
        }],
    };
    wait(store.configure(configuration)).expect("stored");
    end_sweep(store);
}

/// Ends the sweep over everybody, if one is under way.
fn end_sweep(store: &Store) {
    let view = store.view().expect("view");
    let swept = view.sweep("zoom").expect("readable");
    if let Some(sweep) = swept.filter(|sweep| sweep.among == crate::store::Among::Everybody) {
        let step = SweepStep {
            sweep,
            ends: true,
            marks: Vec::new(),
        };
        assert!(wait(store.step_sweep(step)).expect("stored"));
    }
}

fn assigned(store: &Store, policies: &[&str], user: &Resource) -> Assigned {
    let view = store.view().expect("view");
    let selectors: Vec<Selector> = policies.iter().map(|name| named(name)).collect();
    view.assigned("zoom", &selectors, user.handle)
        .expect("readable")
}

fn marked(store: &Store) -> Vec<(u64, Lane)> {
    let view = store.view().expect("view");
    let due = view.due("zoom", Timestamp(u64::MAX - 1), 10_000);
    let due = due.expect("readable").into_iter();
    due.map(|mark| (mark.handle.0, mark.lane)).collect()
}

fn clear_marks(store: &Store) {
    let view = store.view().expect("view");
    let due = view
        .due("zoom", Timestamp::NEVER, 10_000)
        .expect("readable");
    let marks = due.into_iter().map(|mark| MarkEdit::Clear {
        handle: mark.handle,
        application: mark.application,
        generation: mark.generation,
    });
    let set = ChangeSet {
        marks: marks.collect(),
        ..ChangeSet::default()
    };
    commit(store, set).expect("cleared");
}

fn people(store: &Store, count: usize) -> Vec<Resource> {
    let people: Vec<_> = (0..count)
        .map(|number| minted(store, &format!("p{number}")))
        .collect();
    commit(store, puts(people.iter().map(created))).expect("created");
    people
}

fn sets(store: &Store) -> Vec<(SweepPhase, u64)> {
    sets_of(&store.view().expect("view"))
}

fn sets_of(view: &View) -> Vec<(SweepPhase, u64)> {
    let sets = view.sets("zoom").expect("readable").into_iter();
    sets.map(|set| {
        let mut people = 0;
        let counted = view.swept(&set, Handle(0), usize::MAX - 1, |_| {
            people += 1;
            Ok(())
        });
        counted.expect("readable");
        (set.phase, people)
    })
    .collect()
}

#[test]
fn a_policy_counts_from_its_groups_first_member_on_and_stays_with_it() {
    let store = inline();
    let ada = people(&store, 1).remove(0);
    configure(&store, "1", &["zoom", "sales"]);
    assert_eq!(assigned(&store, &[], &ada), Assigned::Everybody);
    assert_eq!(assigned(&store, &["zoom"], &ada), Assigned::Unknown);
    let zoom = minted_group(&store, "Zoom");
    create(&store, &zoom);
    assert_eq!(
        assigned(&store, &["zoom"], &ada),
        Assigned::Unknown,
        "empty"
    );
    let bob = minted(&store, "bob");
    create(&store, &bob);
    commit(&store, membership(&zoom, &[&bob], &[])).expect("in");
    let sweep = store.view().expect("view").sweep("zoom").expect("readable");
    assert!(sweep.is_some(), "everybody is planned again");
    end_sweep(&store);
    assert_eq!(assigned(&store, &["zoom"], &ada), Assigned::Out);
    assert_eq!(assigned(&store, &["zoom"], &bob), Assigned::In);
    // Another policy, whose group nobody knows, may be hers.
    assert_eq!(
        assigned(&store, &["zoom", "sales"], &ada),
        Assigned::Unknown
    );
    assert_eq!(assigned(&store, &["zoom", "sales"], &bob), Assigned::In);

    let mut renamed = store
        .view()
        .expect("view")
        .resource(zoom.handle)
        .expect("readable")
        .expect("there");
    let before = renamed.clone();
    renamed.version += 1;
    renamed
        .attributes
        .insert("displayName".into(), json!("Video"));
    commit(&store, puts([changed(&before, &renamed)])).expect("renamed");
    let other = minted_group(&store, "Zoom");
    create(&store, &other);
    assert_eq!(assigned(&store, &["zoom"], &bob), Assigned::In);
    commit(&store, membership(&renamed, &[], &[&bob])).expect("out");
    assert_eq!(
        assigned(&store, &["zoom"], &bob),
        Assigned::Out,
        "emptied, and known"
    );
    // Another configuration, and the first one again: what is called so now.
    configure(&store, "2", &[]);
    configure(&store, "3", &["zoom"]);
    commit(&store, membership(&other, &[&ada], &[])).expect("in");
    end_sweep(&store);
    assert_eq!(assigned(&store, &["zoom"], &ada), Assigned::In);

    let other = store
        .view()
        .expect("view")
        .resource(other.handle)
        .expect("readable")
        .expect("there");
    commit(&store, erased(&other)).expect("deleted");
    store.tidy().expect("tidy");
    assert!(
        store
            .view()
            .expect("view")
            .sweep("zoom")
            .expect("readable")
            .is_some()
    );
    end_sweep(&store);
    assert_eq!(assigned(&store, &["zoom"], &ada), Assigned::Deleted);
    let third = minted_group(&store, "ZOOM");
    create(&store, &third);
    assert_eq!(
        assigned(&store, &["zoom"], &ada),
        Assigned::Unknown,
        "until it has members"
    );
    commit(&store, membership(&third, &[&bob], &[])).expect("in");
    assert_eq!(assigned(&store, &["zoom"], &ada), Assigned::Out);
}

#[test]
fn who_comes_or_leaves_alone_is_marked_and_several_are_a_set() {
    let store = inline();
    let all = people(&store, 4);
    let zoom = minted_group(&store, "zoom");
    create(&store, &zoom);
    configure(&store, "1", &["zoom"]);
    let members: Vec<&Resource> = all.iter().collect();
    commit(&store, membership(&zoom, &members, &[])).expect("in");
    end_sweep(&store);
    let handle = |at: usize| all[at].handle.0;
    let came: Vec<_> = (0..4).map(|at| (handle(at), Lane::Create)).collect();
    assert_eq!(marked(&store), came);
    clear_marks(&store);
    commit(&store, membership(&zoom, &[], &[&all[3]])).expect("out");
    assert_eq!(marked(&store), [(handle(3), Lane::Deactivate)]);
    assert_eq!(sets(&store), []);
    clear_marks(&store);

    commit(&store, membership(&zoom, &[], &[&all[0], &all[1]])).expect("out");
    assert_eq!(marked(&store), []);
    assert_eq!(sets(&store), [(SweepPhase::Counting, 2)]);
    let view = store.view().expect("view");
    let counting = |at: usize| view.is_counting("zoom", all[at].handle).expect("readable");
    assert_eq!([0, 1, 2, 3].map(counting), [true, true, false, false]);
    assert!(!view.is_counting("other", all[0].handle).expect("readable"));
    // Half of it is planned, then the rest.
    let mut set = view.sets("zoom").expect("readable").remove(0);
    set.phase = SweepPhase::Marking;
    set.next = all[1].handle;
    let step = SweepStep {
        sweep: set.clone(),
        ends: false,
        marks: Vec::new(),
    };
    assert!(wait(store.step_sweep(step)).expect("stored"));
    assert_eq!(sets(&store), [(SweepPhase::Marking, 1)]);
    let step = SweepStep {
        sweep: set,
        ends: true,
        marks: Vec::new(),
    };
    assert!(wait(store.step_sweep(step.clone())).expect("stored"));
    assert_eq!(sets(&store), []);
    assert!(!wait(store.step_sweep(step)).expect("stored"), "once");
    let view = store.view().expect("view");
    assert!(!view.is_counting("zoom", all[1].handle).expect("readable"));
}

#[test]
fn what_a_plan_has_not_read_stays_due() {
    let store = inline();
    let ada = people(&store, 1).remove(0);
    let zoom = minted_group(&store, "zoom");
    create(&store, &zoom);
    configure(&store, "1", &["zoom"]);
    commit(&store, membership(&zoom, &[&ada], &[])).expect("in");
    end_sweep(&store);
    let read = store
        .view()
        .expect("view")
        .mark(ada.handle, "zoom")
        .expect("readable");
    let read = read.expect("marked").generation;
    // She leaves while somebody plans by what was before.
    commit(&store, membership(&zoom, &[], &[&ada])).expect("out");
    let set = |read| MarkEdit::Set {
        handle: ada.handle,
        application: "zoom".into(),
        due: Timestamp::NEVER,
        attempts: 3,
        lane: Lane::Update,
        caused: false,
        read,
    };
    let put_off = |read| {
        let marks = ChangeSet {
            marks: vec![set(read)],
            ..ChangeSet::default()
        };
        commit(&store, marks).expect("stored");
        let mark = store.view().expect("view").mark(ada.handle, "zoom");
        mark.expect("readable").expect("marked")
    };
    let mark = put_off(Some(read));
    assert_ne!(mark.due, Timestamp::NEVER);
    assert_eq!(mark.lane, Lane::Deactivate, "as it was raised");
    let mark = put_off(None);
    assert_ne!(mark.due, Timestamp::NEVER);
    // Now it was read.
    assert_eq!(put_off(Some(mark.generation)).due, Timestamp::NEVER);
}

#[test]
fn everybody_beneath_a_group_is_gathered_once_also_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("usher.redb");
    let open = |path: &Path| Store::open(&Options::new(path, Timestamp(7)), |_| ()).expect("open");
    let store = open(&path);
    let all = people(&store, 2_500);
    let [top, large, inner] = ["zoom", "large", "inner"].map(|name| minted_group(&store, name));
    for group in [&top, &large, &inner] {
        create(&store, group);
    }
    configure(&store, "1", &["zoom"]);
    let (some, rest) = all.split_at(1_200);
    commit(
        &store,
        membership(&large, &some.iter().collect::<Vec<_>>(), &[]),
    )
    .expect("in");
    let mut within: Vec<&Resource> = rest.iter().chain(&some[..10]).collect();
    within.push(&large);
    commit(&store, membership(&inner, &within, &[])).expect("in");
    commit(&store, membership(&large, &[&inner], &[])).expect("a circle");
    commit(&store, membership(&top, &[&large], &[])).expect("in");
    let gathered = |store: &Store| {
        // The writer does it behind requests: each of them gives it a chance.
        for _ in 0..1_000 {
            wait(store.commit(ChangeSet::default())).expect("nothing");
            let view = store.view().expect("view");
            let found = sets_of(&view);
            if found
                .iter()
                .all(|(phase, _)| *phase != SweepPhase::Gathering)
            {
                return found;
            }
            assert!(view.is_counting("zoom", Handle(999_999)).expect("readable"));
        }
        panic!("it is never gathered");
    };
    assert_eq!(gathered(&store), [(SweepPhase::Counting, 2_500)]);
    end_set(&store);
    assert_eq!(assigned(&store, &["zoom"], &all[2_499]), Assigned::In);

    // The group in between dies, and so does the process before anybody is gathered.
    let large = store
        .view()
        .expect("view")
        .resource(large.handle)
        .expect("readable")
        .expect("there");
    commit(&store, erased(&large)).expect("deleted");
    store.close().expect("closed");
    drop(store);
    let store = open(&path);
    assert_eq!(assigned(&store, &["zoom"], &all[0]), Assigned::Out);
    assert_eq!(gathered(&store), [(SweepPhase::Counting, 2_500)]);
    end_set(&store);
    // Its edges are gone when all of that is done.
    let left = || -> BTreeSet<u64> {
        let view = store.view().expect("view");
        let groups = view.groups_of(all[0].handle).expect("readable");
        groups.iter().map(|(group, _)| group.0).collect()
    };
    assert_eq!(left(), BTreeSet::from([inner.handle.0]));
}

fn end_set(store: &Store) {
    let view = store.view().expect("view");
    let set = view.sets("zoom").expect("readable").remove(0);
    let step = SweepStep {
        sweep: set,
        ends: true,
        marks: Vec::new(),
    };
    assert!(wait(store.step_sweep(step)).expect("stored"));
    assert_eq!(sets(store), []);
    end_sweep(store);
    clear_marks(store);
}

#[test]
fn a_bulks_removals_wait_for_its_end_or_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("usher.redb");
    let store = Store::open(&Options::new(&path, Timestamp(7)), |_| ()).expect("open");
    let all = people(&store, 3);
    configure(&store, "1", &[]);
    let removal = |at: usize| ChangeSet {
        bulk: Some(1 << 63 | 5),
        marks: vec![MarkEdit::Set {
            handle: all[at].handle,
            application: "zoom".into(),
            due: Timestamp(0),
            attempts: 0,
            lane: Lane::Deactivate,
            caused: false,
            read: None,
        }],
        ..ChangeSet::default()
    };
    for at in 0..2 {
        commit(&store, removal(at)).expect("stored");
    }
    assert_eq!(marked(&store), []);
    assert_eq!(sets(&store), [(SweepPhase::Open, 2)]);
    assert_eq!(
        store.view().expect("view").sweep("zoom").expect("readable"),
        None
    );
    assert!(
        store
            .view()
            .expect("view")
            .is_counting("zoom", all[0].handle)
            .expect("readable")
    );
    wait(store.close_set(77)).expect("another one");
    assert_eq!(sets(&store), [(SweepPhase::Open, 2)]);
    wait(store.close_set(1 << 63 | 5)).expect("this one");
    assert_eq!(sets(&store), [(SweepPhase::Counting, 2)]);
    end_set(&store);

    commit(&store, removal(2)).expect("stored");
    store.close().expect("closed");
    drop(store);
    let store = Store::open(&Options::new(&path, Timestamp(8)), |_| ()).expect("open");
    assert_eq!(sets(&store), [(SweepPhase::Counting, 1)]);
}
