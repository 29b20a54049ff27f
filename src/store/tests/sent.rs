//! What is known of memberships in applications.

use super::*;
use crate::provision::link::State;
use crate::store::{Compared, Doubt, Key, MarkEdit, Sent, SentEdit};

const APP: &str = "zoom";

/// Gives a resource an account, or takes it away.
fn relink(store: &Store, resource: &mut Resource, remote_id: Option<&str>) {
    let before = resource.clone();
    resource.set_link(APP, remote_id.map(|id| link(APP, Some(id))));
    commit(store, puts([changed(&before, resource)])).expect("relinked");
}

fn doubtful(store: &Store, group: &Resource) -> Vec<Doubt> {
    let view = store.view().expect("a view");
    view.doubts(APP, group.handle, false, 10_000)
        .expect("doubts")
}

fn members_in_doubt(store: &Store, group: &Resource) -> Vec<Handle> {
    let doubts = doubtful(store, group).into_iter();
    doubts.map(|doubt| doubt.member).collect()
}

/// Takes the mark away, as a worker's turn does. Whether there was one.
fn settle(store: &Store, group: &Resource, edit: SentEdit) -> bool {
    let view = store.view().expect("a view");
    let mark = view.mark(group.handle, APP).expect("a mark");
    drop(view);
    let clear = mark.as_ref().map(|mark| MarkEdit::Clear {
        handle: mark.handle,
        application: APP.into(),
        generation: mark.generation,
    });
    let set = ChangeSet {
        marks: clear.into_iter().collect(),
        sent: vec![edit],
        ..ChangeSet::default()
    };
    commit(store, set).expect("settled");
    mark.is_some()
}

fn edit(group: &Resource) -> SentEdit {
    SentEdit {
        application: APP.into(),
        group: group.handle,
        ..SentEdit::default()
    }
}

fn told(id: &str) -> Option<Sent> {
    Some(Sent {
        remote_id: id.into(),
        sure: true,
    })
}

#[test]
fn edges_leave_doubts_where_an_application_has_the_group() {
    let store = inline();
    let (mut staff, ada) = (minted_group(&store, "Staff"), minted(&store, "ada@x"));
    create(&store, &staff);
    create(&store, &ada);
    commit(&store, membership(&staff, &[&ada], &[])).expect("a member");
    assert_eq!(members_in_doubt(&store, &staff), [], "nobody has the group");
    let view = || store.view().expect("a view");
    assert_eq!(view().mark_count(APP).expect("counted"), 0);

    // It comes there: all of it is to be compared, and a worker hears of it.
    staff = view().resource(staff.handle).unwrap().unwrap();
    relink(&store, &mut staff, Some("g1"));
    assert_eq!(
        view().comparing(APP, staff.handle).unwrap(),
        Some(Handle(0))
    );
    let compared = SentEdit {
        rows: vec![(ada.handle, told("r1"))],
        compared: Some(Compared::Whole),
        ..edit(&staff)
    };
    assert!(settle(&store, &staff, compared));
    assert_eq!(view().comparing(APP, staff.handle).unwrap(), None);
    assert_eq!(
        view().sent(APP, staff.handle, ada.handle).unwrap(),
        told("r1")
    );
    assert_eq!(
        view()
            .find(&Key::RemoteGroup {
                application: APP,
                remote_id: "g1"
            })
            .unwrap(),
        Some(staff.handle)
    );
    assert_eq!(
        view()
            .find(&Key::Remote {
                application: APP,
                remote_id: "g1"
            })
            .unwrap(),
        None
    );

    // One leaves, and comes again while a turn is under way: the later doubt outlives the turn.
    commit(&store, membership(&staff, &[], &[&ada])).expect("left");
    let early = doubtful(&store, &staff);
    assert_eq!(early.len(), 1);
    commit(&store, membership(&staff, &[&ada], &[])).expect("again");
    let stale = SentEdit {
        rows: vec![(ada.handle, None)],
        settled: early,
        ..edit(&staff)
    };
    assert!(settle(&store, &staff, stale));
    assert_eq!(members_in_doubt(&store, &staff), [ada.handle]);
    assert_eq!(view().sent(APP, staff.handle, ada.handle).unwrap(), None);

    // What is refused waits apart, until something new is heard of it.
    let refused = SentEdit {
        settled: doubtful(&store, &staff),
        refused: vec![ada.handle],
        ..edit(&staff)
    };
    settle(&store, &staff, refused);
    assert_eq!(members_in_doubt(&store, &staff), []);
    assert_eq!(view().doubts(APP, staff.handle, true, 9).unwrap().len(), 1);
}

#[test]
fn a_mark_is_not_cleared_by_a_turn_that_began_before_the_doubt() {
    let store = inline();
    let (mut staff, ada) = (minted_group(&store, "Staff"), minted(&store, "ada@x"));
    create(&store, &staff);
    create(&store, &ada);
    relink(&store, &mut staff, Some("g1"));
    let mark = store
        .view()
        .unwrap()
        .mark(staff.handle, APP)
        .unwrap()
        .expect("marked");
    commit(&store, membership(&staff, &[&ada], &[])).expect("a member");
    let clear = MarkEdit::Clear {
        handle: staff.handle,
        application: APP.into(),
        generation: mark.generation,
    };
    let set = ChangeSet {
        marks: vec![clear],
        ..ChangeSet::default()
    };
    commit(&store, set).expect("cleared");
    assert!(
        store
            .view()
            .unwrap()
            .mark(staff.handle, APP)
            .unwrap()
            .is_some()
    );
}

#[test]
fn groups_follow_their_members_accounts() {
    let store = inline();
    let mut ada = minted(&store, "ada@x");
    create(&store, &ada);
    let mut groups = Vec::new();
    // More than one slice.
    for n in 0..1_100 {
        let mut group = minted_group(&store, &format!("g{n}"));
        group.links = vec![link(APP, Some(&format!("r{n}")))];
        create(&store, &group);
        groups.push(group);
    }
    let lonely = minted_group(&store, "not there");
    create(&store, &lonely);
    groups.push(lonely.clone());
    for group in &groups {
        commit(&store, membership(group, &[&ada], &[])).expect("a member");
        settle(
            &store,
            group,
            SentEdit {
                settled: doubtful(&store, group),
                ..edit(group)
            },
        );
    }
    groups.pop();
    let in_doubt = || {
        let some = groups
            .iter()
            .filter(|group| !doubtful(&store, group).is_empty());
        some.count()
    };
    assert_eq!(in_doubt(), 0);

    // A pending account takes no membership yet.
    let before = ada.clone();
    let mut pending = link(APP, Some("a1"));
    pending.state = State::Pending;
    ada.set_link(APP, Some(pending));
    commit(&store, puts([changed(&before, &ada)])).expect("pending");
    assert_eq!(in_doubt(), 0);

    relink(&store, &mut ada, Some("a1"));
    assert_eq!(in_doubt(), 1_000, "the first slice goes with the commit");
    store.tidy().expect("the rest");
    assert_eq!(in_doubt(), 1_100);
    assert_eq!(members_in_doubt(&store, &lonely), []);
    let view = store.view().unwrap();
    assert_eq!(view.mark_count(APP).unwrap(), 1_100);
    drop(view);

    // She dies: her edges go, and each group hears of it.
    for group in &groups {
        settle(
            &store,
            group,
            SentEdit {
                settled: doubtful(&store, group),
                ..edit(group)
            },
        );
    }
    commit(&store, puts([changed(&ada, &buried(&ada))])).expect("buried");
    store.tidy().expect("swept");
    assert_eq!(in_doubt(), 1_100);
}

#[test]
fn what_was_sent_of_a_group_that_is_gone_is_forgotten_in_slices() {
    let store = inline();
    let mut staff = minted_group(&store, "Staff");
    staff.links = vec![link(APP, Some("g1"))];
    create(&store, &staff);
    for slice in (1..=2_500).collect::<Vec<u64>>().chunks(500) {
        let rows = slice.iter().map(|n| (Handle(1_000_000 + n), told("r")));
        settle(
            &store,
            &staff,
            SentEdit {
                rows: rows.collect(),
                compared: Some(Compared::To(Handle(7))),
                ..edit(&staff)
            },
        );
    }
    relink(&store, &mut staff, None);
    let view = || store.view().expect("a view");
    assert!(view().forgetting(APP, staff.handle).unwrap());
    assert_eq!(view().comparing(APP, staff.handle).unwrap(), None);
    // It is there again at once: nothing may be sent yet, and everything will be compared.
    relink(&store, &mut staff, Some("g2"));
    settle(&store, &staff, edit(&staff));
    store.tidy().expect("forgotten");
    assert!(!view().forgetting(APP, staff.handle).unwrap());
    assert_eq!(view().sent_members(APP, staff.handle, 9).unwrap(), []);
    assert_eq!(
        view().comparing(APP, staff.handle).unwrap(),
        Some(Handle(0))
    );
    assert!(
        view().mark(staff.handle, APP).unwrap().is_some(),
        "a turn waited for this"
    );
}
