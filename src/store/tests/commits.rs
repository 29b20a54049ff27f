//! One commit at a time: keys, tombstones, edges, marks, the budget.

use serde_json::json;

use super::*;
use crate::policy::safety::Window;
use crate::provision::link::{Cause, Removal};
use crate::store::{Budget, Intent, Key, Lane, Lookup, MarkEdit};

fn find(store: &Store, key: Key<'_>) -> Option<u64> {
    let view = store.view().expect("view");
    view.find(&key).expect("find").map(|handle| handle.0)
}

fn find_all(store: &Store, kind: Kind, lookup: Lookup<'_>) -> Vec<u64> {
    let view = store.view().expect("view");
    let found = view.find_all(kind, &lookup).expect("find");
    found.into_iter().map(|handle| handle.0).collect()
}

#[test]
fn a_created_user_is_found_under_every_key_and_reads_back() {
    let store = inline();
    let mut ada = minted(&store, "Ada@Example.com");
    ada.attributes.insert("externalId".into(), json!("X-1"));
    ada.attributes.insert(
        "emails".into(),
        json!([{ "value": "ADA@example.com" }, { "value": "Ada@Home.example" }]),
    );
    ada.links = vec![link("zoom", Some("z 1"))];
    let mut eve = minted(&store, "eve@example.com");
    eve.id = Id::from("zoom-id-of-eve");
    create(&store, &ada);
    create(&store, &eve);
    let a = Some(ada.handle.0);
    assert_eq!(find(&store, Key::Id(Kind::User, ada.id.as_str())), a);
    assert_eq!(find(&store, Key::Id(Kind::Group, ada.id.as_str())), None);
    let shouted = ada.id.as_str().to_uppercase();
    assert_eq!(find(&store, Key::Id(Kind::User, &shouted)), None);
    let imported = Key::Id(Kind::User, "zoom-id-of-eve");
    assert_eq!(find(&store, imported), Some(eve.handle.0));
    assert_eq!(find(&store, Key::UserName("ada@EXAMPLE.com")), a);
    let remote = |application, remote_id| Key::Remote {
        application,
        remote_id,
    };
    assert_eq!(find(&store, remote("zoom", "z 1")), a);
    assert_eq!(find(&store, remote("zoom", "Z 1")), None);
    assert_eq!(find(&store, remote("wiki", "z 1")), None);
    let all = |lookup| find_all(&store, Kind::User, lookup);
    let a = [ada.handle.0];
    assert_eq!(all(Lookup::UserName("ADA@example.com")), a);
    assert_eq!(all(Lookup::Email("ada@EXAMPLE.com")), a);
    assert_eq!(all(Lookup::Email("ada@home.example")), a);
    // A userName that is no address of the user's is not found as one.
    assert_eq!(all(Lookup::Email("eve@example.com")), [0_u64; 0]);
    let external = |client, value| Lookup::ExternalId { client, value };
    assert_eq!(all(external("entra", "X-1")), a);
    assert_eq!(all(external("entra", "x-1")), [0_u64; 0]);
    assert_eq!(all(external("okta", "X-1")), [0_u64; 0]);
    let view = store.view().expect("view");
    assert_eq!(view.resource(ada.handle).expect("whole"), Some(ada.clone()));
    let version = view.row(eve.handle, |row| (row.version, row.id == eve.id.as_str()));
    assert_eq!(version.expect("whole"), Some((1, true)));
    assert_eq!(view.row(Handle(99), |_| ()).expect("whole"), None);
    assert_eq!(view.count(Kind::User).expect("count"), 2);
}

#[test]
fn a_change_moves_the_keys_that_differ() {
    let store = inline();
    let before = minted(&store, "ada@example.com");
    create(&store, &before);
    let mut after = before.clone();
    after.version = 2;
    after
        .attributes
        .insert("userName".into(), json!("ada.l@example.com"));
    commit(&store, puts([changed(&before, &after)])).expect("changed");
    assert_eq!(find(&store, Key::UserName("ada@example.com")), None);
    assert_eq!(
        find(&store, Key::UserName("ada.l@example.com")),
        Some(after.handle.0)
    );
    // Two users trade their names in one change set.
    let eve = minted(&store, "eve@example.com");
    create(&store, &eve);
    let (mut one, mut two) = (after.clone(), eve.clone());
    one.version = 3;
    two.version = 2;
    one.attributes
        .insert("userName".into(), json!("eve@example.com"));
    two.attributes
        .insert("userName".into(), json!("ada.l@example.com"));
    commit(&store, puts([changed(&after, &one), changed(&eve, &two)])).expect("traded");
    assert_eq!(
        find(&store, Key::UserName("eve@example.com")),
        Some(one.handle.0)
    );
    assert_eq!(
        find(&store, Key::UserName("ada.l@example.com")),
        Some(two.handle.0)
    );
    assert_eq!(
        store
            .view()
            .expect("view")
            .count(Kind::User)
            .expect("count"),
        2
    );
}

#[test]
fn preconditions_name_what_stands_in_the_way() {
    let store = inline();
    let mut ada = minted(&store, "ada@example.com");
    ada.links = vec![link("zoom", Some("z1"))];
    create(&store, &ada);
    let try_put = |put: Put| conflict(commit(&store, puts([put])));
    assert_eq!(try_put(created(&ada)), Conflict::Row(ada.handle));
    let mut stale = ada.clone();
    stale.version = 7;
    assert_eq!(try_put(changed(&stale, &ada)), Conflict::Row(ada.handle));
    // The version is right, a link that it changes is not: somebody else was faster.
    let mut blind = ada.clone();
    blind.links.clear();
    assert_eq!(try_put(changed(&blind, &ada)), Conflict::Row(ada.handle));
    let twin = minted(&store, "ADA@example.com");
    assert_eq!(try_put(created(&twin)), Conflict::UserName(ada.handle));
    let mut claimant = minted(&store, "eve@example.com");
    claimant.links = vec![link("zoom", Some("z1"))];
    assert_eq!(try_put(created(&claimant)), Conflict::Remote(ada.handle));
    let mut imported = minted(&store, "b@example.com");
    imported.id = Id::from("z9");
    create(&store, &imported);
    let mut thief = minted(&store, "c@example.com");
    thief.id = Id::from("z9");
    assert_eq!(try_put(created(&thief)), Conflict::Id(imported.handle));
    let (one, two) = (
        minted(&store, "d@example.com"),
        minted(&store, "D@example.com"),
    );
    let both = commit(&store, puts([created(&one), created(&two)]));
    assert_eq!(conflict(both), Conflict::UserName(one.handle));
    let twice = commit(&store, puts([created(&one), created(&one)]));
    assert_eq!(conflict(twice), Conflict::Row(one.handle));
    let settles = ChangeSet {
        settles: Some(77),
        ..ChangeSet::default()
    };
    assert_eq!(conflict(commit(&store, settles)), Conflict::Intent(77));
    let view = store.view().expect("view");
    assert_eq!(view.count(Kind::User).expect("count"), 2);
    assert_eq!(view.tally("zoom").expect("tally").active, 1);
}

#[test]
fn a_tombstone_keeps_its_accounts_and_nothing_else() {
    let store = inline();
    let mut ada = minted(&store, "ada@example.com");
    ada.attributes.insert("externalId".into(), json!("x1"));
    let mut zoom = link("zoom", Some("z1"));
    zoom.seen_name = Some("Ada.Lovelace@example.com".into());
    let sent = json!({ "userName": "ada@corp.example" });
    zoom.sent = sent.as_object().cloned();
    ada.links = vec![zoom];
    let staff = minted_group(&store, "Staff");
    create(&store, &ada);
    create(&store, &staff);
    commit(&store, membership(&staff, &[&ada], &[])).expect("joined");
    let dead = buried(&ada);
    commit(&store, puts([changed(&ada, &dead)])).expect("deleted");
    assert_eq!(find(&store, Key::Id(Kind::User, ada.id.as_str())), None);
    assert_eq!(find(&store, Key::UserName("ada@example.com")), None);
    let external = Lookup::ExternalId {
        client: "entra",
        value: "x1",
    };
    assert_eq!(find_all(&store, Kind::User, external), [0_u64; 0]);
    let handle = Some(ada.handle.0);
    let orphan = |account| Key::Orphan {
        application: "zoom",
        account,
    };
    assert_eq!(find(&store, orphan("ada.lovelace@EXAMPLE.com")), handle);
    assert_eq!(find(&store, orphan("ada@corp.example")), handle);
    assert_eq!(find(&store, orphan("ada@example.com")), None);
    let remote = Key::Remote {
        application: "zoom",
        remote_id: "z1",
    };
    assert_eq!(find(&store, remote), handle);
    let view = store.view().expect("view");
    assert_eq!(view.count(Kind::User).expect("count"), 0);
    assert_eq!(view.member_count(staff.handle).expect("count"), 0);
    assert_eq!(view.members(staff.handle, None, 9).expect("members"), []);
    // The account is there still, and counts.
    assert_eq!(view.tally("zoom").expect("tally").active, 1);

    // Another person takes the name, then the tombstone goes for good.
    create(&store, &minted(&store, "ada@example.com"));
    let mark = MarkEdit::Set {
        handle: dead.handle,
        application: "zoom".into(),
        due: Timestamp(3),
        attempts: 0,
        lane: Lane::Deactivate,
        caused: false,
        read: None,
    };
    let marked = ChangeSet {
        marks: vec![mark],
        ..ChangeSet::default()
    };
    commit(&store, marked).expect("marked");
    let view = store.view().expect("view");
    let marked = view.mark(dead.handle, "zoom").expect("whole");
    let erase = ChangeSet {
        marks: vec![MarkEdit::Clear {
            handle: dead.handle,
            application: "zoom".into(),
            generation: marked.expect("stands").generation,
        }],
        ..erased(&dead)
    };
    commit(&store, erase.clone()).expect("erased");
    assert_eq!(conflict(commit(&store, erase)), Conflict::Row(dead.handle));
    assert_eq!(find(&store, orphan("ada@corp.example")), None);
    assert_eq!(find(&store, remote), None);
    let view = store.view().expect("view");
    assert_eq!(view.resource(dead.handle).expect("whole"), None);
    assert_eq!(view.mark_count("zoom").expect("count"), 0);
    assert_eq!(view.due("zoom", Timestamp(9), 9).expect("due"), []);
    assert_eq!(view.tally("zoom").expect("tally").active, 0);
}

#[test]
fn edges_stand_in_both_directions_and_touch_only_when_they_change() {
    let store = inline();
    let (ada, bob) = (minted(&store, "ada"), minted(&store, "bob"));
    let (staff, inner) = (minted_group(&store, "Staff"), minted_group(&store, "Inner"));
    for one in [&ada, &bob, &staff, &inner] {
        create(&store, one);
    }
    let check = |members: &[&Resource], version: u64| {
        let view = store.view().expect("view");
        let found = view.members(staff.handle, None, 99).expect("members");
        let wanted: Vec<_> = members
            .iter()
            .map(|one| (one.handle, one.id.clone(), one.kind))
            .collect();
        assert_eq!(found, wanted);
        let count = view.member_count(staff.handle).expect("count");
        assert_eq!(count, u64::try_from(wanted.len()).expect("small"));
        for one in [&ada, &bob, &inner] {
            let is = members.iter().any(|member| member.handle == one.handle);
            assert_eq!(view.is_member(staff.handle, one.handle).expect("is"), is);
            let groups = view.groups_of(one.handle).expect("groups");
            let wanted = [(staff.handle, staff.id.clone())];
            assert_eq!(groups, &wanted[..usize::from(is)]);
        }
        let row = view.resource(staff.handle).expect("whole").expect("there");
        assert_eq!(row.version, version);
        assert_eq!(row.modified, Timestamp(if version > 1 { 50 } else { 1 }));
    };
    check(&[], 1);
    commit(&store, membership(&staff, &[&ada, &inner], &[])).expect("added");
    check(&[&ada, &inner], 2);
    commit(&store, membership(&staff, &[&ada, &inner], &[&bob])).expect("nothing to do");
    check(&[&ada, &inner], 2);
    commit(&store, membership(&staff, &[&bob], &[&ada])).expect("swapped");
    check(&[&bob, &inner], 3);
    let view = store.view().expect("view");
    let behind = view
        .members(staff.handle, Some(bob.handle), 9)
        .expect("members");
    assert_eq!(behind, [(inner.handle, inner.id.clone(), Kind::Group)]);
    assert_eq!(
        view.members(staff.handle, None, 1).expect("members").len(),
        1
    );
    let mut fresh = membership(&staff, &[&ada], &[]);
    fresh.members[0].clear = true;
    commit(&store, fresh).expect("replaced");
    check(&[&ada], 4);
    // Whoever is gone is not added; a group that is gone is a conflict.
    commit(&store, puts([changed(&bob, &buried(&bob))])).expect("deleted");
    commit(&store, membership(&staff, &[&bob], &[])).expect("skipped");
    check(&[&ada], 4);
    commit(&store, puts([changed(&inner, &buried(&inner))])).expect("deleted");
    let late = commit(&store, membership(&inner, &[&ada], &[]));
    assert_eq!(conflict(late), Conflict::Row(inner.handle));
}

#[test]
fn a_deleted_large_group_is_out_of_sight_at_once_and_dropped_in_slices() {
    let store = inline();
    let staff = minted_group(&store, "Staff");
    let people: Vec<Resource> = (0..2_500)
        .map(|number| minted(&store, &format!("user{number}")))
        .collect();
    create(&store, &staff);
    commit(&store, puts(people.iter().map(created))).expect("created");
    let all: Vec<&Resource> = people.iter().collect();
    commit(&store, membership(&staff, &all, &[])).expect("joined");
    let mut group = staff.clone();
    group.version = 2;
    let rows = store.statistics().rows;
    commit(&store, puts([changed(&group, &buried(&group))])).expect("deleted");
    let first = store.statistics().rows - rows;
    assert!((2_000..2_020).contains(&first), "{first} rows at once");
    let last = people.last().expect("some");
    let hidden = || {
        let view = store.view().expect("view");
        assert_eq!(view.groups_of(last.handle).expect("groups"), []);
        assert_eq!(view.members(staff.handle, None, 9).expect("members"), []);
        assert_eq!(view.member_count(staff.handle).expect("count"), 0);
        assert!(!view.is_member(staff.handle, last.handle).expect("is"));
        view.sweeping().expect("list").len()
    };
    assert_eq!(hidden(), 1);
    store.tidy().expect("tidied");
    assert_eq!(hidden(), 0);
    let dropped = store.statistics().rows - rows;
    assert!(dropped > 5_000, "{dropped} rows in all");
}

#[test]
fn marks_rise_in_generation_and_are_cleared_only_as_they_were_read() {
    let store = inline();
    let ada = minted(&store, "ada");
    create(&store, &ada);
    let set = |due, lane, handle| MarkEdit::Set {
        handle,
        application: "zoom".into(),
        due: Timestamp(due),
        attempts: 1,
        lane,
        caused: true,
        read: None,
    };
    let clear = |generation| MarkEdit::Clear {
        handle: ada.handle,
        application: "zoom".into(),
        generation,
    };
    let edit = |marks: Vec<MarkEdit>| {
        let set = ChangeSet {
            marks,
            journal: vec![crate::journal::report::tests::record(0, "ada", &[], &[])],
            ..ChangeSet::default()
        };
        commit(&store, set).expect("committed")
    };
    let one = edit(vec![set(50, Lane::Update, ada.handle)]);
    let two = edit(vec![set(u64::MAX, Lane::Deactivate, ada.handle)]);
    let (first, second) = (one.generations[0], two.generations[0]);
    assert!(second > first);
    let view = store.view().expect("view");
    let mark = view.mark(ada.handle, "zoom").expect("mark").expect("set");
    assert_eq!(mark.generation, second);
    assert_eq!(mark.cause, [one.first_sequence, two.first_sequence]);
    assert_eq!(view.marks(ada.handle).expect("marks"), [mark]);
    // Never due by itself, and no trace of the due time before.
    assert_eq!(
        view.due("zoom", Timestamp(u64::MAX - 1), 9).expect("due"),
        []
    );
    assert_eq!(view.next_due("zoom").expect("due"), None);
    assert_eq!(view.mark_count("zoom").expect("count"), 1);
    edit(vec![clear(first)]);
    let view = store.view().expect("view");
    assert_eq!(view.mark_count("zoom").expect("count"), 1);
    edit(vec![clear(second)]);
    let view = store.view().expect("view");
    assert_eq!(view.mark(ada.handle, "zoom").expect("mark"), None);
    assert_eq!(view.mark_count("zoom").expect("count"), 0);
    // A mark set anew is never taken for the one before; only the last eight causes are kept.
    for _ in 0..10 {
        edit(vec![set(7, Lane::Create, ada.handle)]);
    }
    edit(vec![clear(second), clear(first)]);
    let view = store.view().expect("view");
    let mark = view.mark(ada.handle, "zoom").expect("mark").expect("set");
    assert!(mark.generation > second);
    // Two were closed, each with a record of its own.
    assert_eq!(mark.cause, [7, 8, 9, 10, 11, 12, 13, 15]);
    let gone = edit(vec![set(7, Lane::Create, Handle(999))]);
    assert_eq!(gone.generations, [0]);
    assert_eq!(
        store
            .view()
            .expect("view")
            .mark_count("zoom")
            .expect("count"),
        1
    );
}

#[test]
fn due_marks_come_lane_by_lane_and_by_time() {
    let store = inline();
    let mut marks = Vec::new();
    let plan = [
        (40, Lane::Group),
        (30, Lane::Update),
        (20, Lane::Update),
        (35, Lane::Deactivate),
        (90, Lane::Deactivate),
        (10, Lane::Create),
    ];
    for (due, lane) in plan {
        let one = minted(&store, &format!("u{due}"));
        create(&store, &one);
        for application in ["zoom", "zoom2"] {
            marks.push(MarkEdit::Set {
                handle: one.handle,
                application: application.into(),
                due: Timestamp(due),
                attempts: 0,
                lane,
                caused: false,
                read: None,
            });
        }
    }
    let set = ChangeSet {
        marks,
        ..ChangeSet::default()
    };
    commit(&store, set).expect("marked");
    let view = store.view().expect("view");
    let due = |now, limit| -> Vec<u64> {
        let found = view.due("zoom", Timestamp(now), limit).expect("due");
        found.iter().map(|mark| mark.due.0).collect()
    };
    assert_eq!(due(40, 9), [35, 10, 20, 30, 40]);
    assert_eq!(due(40, 2), [35, 10]);
    assert_eq!(due(20, 9), [10, 20]);
    assert_eq!(due(9, 9), [0_u64; 0]);
    assert_eq!(view.next_due("zoom").expect("due"), Some(Timestamp(10)));
    assert_eq!(view.next_due("zoo").expect("due"), None);
    assert_eq!(view.mark_count("zoom").expect("count"), 6);
}

#[test]
fn an_intent_takes_the_budget_or_is_not_stored() {
    let store = inline();
    let people: Vec<Resource> = (0..4)
        .map(|number| {
            let mut one = minted(&store, &format!("u{number}"));
            one.links = vec![link("zoom", Some(&format!("z{number}")))];
            one
        })
        .collect();
    commit(&store, puts(people.iter().map(created))).expect("created");
    assert_eq!(
        store
            .view()
            .expect("view")
            .tally("zoom")
            .expect("tally")
            .active,
        4
    );
    let ask = |person: usize, now| {
        wait(store.intend(Intent {
            if_unknown: puts([changed(&people[person], &people[person])]),
            budget: Some(Budget {
                application: "zoom".into(),
                handle: people[person].handle,
                limit: Some(2),
                window: 100,
                now: Timestamp(now),
            }),
        }))
    };
    let used = || {
        let view = store.view().expect("view");
        view.tally("zoom").expect("tally").window
    };
    let window = |started, used| {
        Some(Window {
            started: Timestamp(started),
            limit: 2,
            used,
        })
    };
    assert_eq!(ask(0, 1_000), Ok(1));
    assert_eq!(ask(0, 1_001), Ok(2), "counted once");
    assert_eq!(used(), window(1_000, 1));
    assert_eq!(ask(1, 1_002), Ok(3));
    assert_eq!(ask(2, 1_003), Err(CommitError::Held));
    assert_eq!(used(), window(1_000, 2));
    assert_eq!(ask(0, 1_100), Ok(4), "a new window counts anew");
    assert_eq!(used(), window(1_100, 1));
    // A held removal on any link holds all that follow.
    let mut held = people[3].clone();
    held.version = 2;
    held.links[0].removal = Some(Removal {
        cause: Cause::Deleted,
        asked: Timestamp(1),
        counted: false,
        held: Some(Timestamp(2)),
        released: None,
    });
    commit(&store, puts([changed(&people[3], &held)])).expect("held");
    assert_eq!(
        store
            .view()
            .expect("view")
            .tally("zoom")
            .expect("tally")
            .holds,
        1
    );
    assert_eq!(ask(1, 1_101), Err(CommitError::Held));
    let mut back = held.clone();
    back.links[0].removal = None;
    back.links[0].state = State::Deactivated;
    commit(&store, puts([changed(&held, &back)])).expect("released");
    let tally = store.view().expect("view").tally("zoom").expect("tally");
    assert_eq!((tally.active, tally.holds), (3, 0));
    assert_eq!(ask(1, 1_102), Ok(5));
}

#[test]
fn an_intent_checks_what_it_would_put() {
    let store = inline();
    let ada = minted(&store, "ada");
    create(&store, &ada);
    let twin = minted(&store, "Ada");
    let intent = Intent {
        if_unknown: puts([created(&twin)]),
        ..Intent::default()
    };
    let refused = wait(store.intend(intent));
    assert_eq!(
        refused,
        Err(CommitError::Conflict(Conflict::UserName(ada.handle)))
    );
    let eve = minted(&store, "eve");
    let intent = Intent {
        if_unknown: puts([created(&eve)]),
        ..Intent::default()
    };
    let intent = wait(store.intend(intent)).expect("stored");
    assert_eq!(find(&store, Key::UserName("eve")), None, "not visible");
    let settled = ChangeSet {
        settles: Some(intent),
        ..puts([created(&eve)])
    };
    commit(&store, settled.clone()).expect("settled");
    assert_eq!(find(&store, Key::UserName("eve")), Some(eve.handle.0));
    assert_eq!(conflict(commit(&store, settled)), Conflict::Intent(intent));
}
