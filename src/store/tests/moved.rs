//! The memberships that a request changed are in the journal, all of them, and in its chain.

use super::*;
use crate::journal::record::{Edges, Event, Operation, Record};
use crate::journal::report::Query;
use crate::journal::report::tests::record;

fn about(resource: &Resource, operation: Operation) -> Record {
    Record {
        kind: resource.kind,
        operation,
        ..record(0, resource.id.as_str(), &[], &[])
    }
}

fn with(set: ChangeSet, record: Record) -> ChangeSet {
    ChangeSet {
        journal: vec![record],
        ..set
    }
}

/// A directory of so many users in one group, whose record is the only one.
fn town(store: &Store, count: usize) -> (Resource, Vec<Resource>) {
    let users: Vec<Resource> = (0..count)
        .map(|number| minted(store, &format!("u{number}@example.com")))
        .collect();
    for users in users.chunks(500) {
        commit(store, puts(users.iter().map(created))).expect("created");
    }
    let group = minted_group(store, "Staff");
    let mut set = membership(&group, &users.iter().collect::<Vec<_>>(), &[]);
    set.puts.push(created(&group));
    commit(store, with(set, about(&group, Operation::Create))).expect("created");
    (group, users)
}

fn all(store: &Store) -> Vec<Record> {
    let view = store.view().expect("view");
    let last = view.last_sequence().expect("a journal");
    assert_eq!(view.verify_chain(1, last), Ok(None));
    let read = |one| view.record(one).expect("whole").expect("there");
    (1..=last).map(read).collect()
}

fn edges(record: &Record) -> Edges {
    record.edges.clone().expect("edges")
}

fn ids(users: &[Resource]) -> Vec<String> {
    let mut ids: Vec<String> = users.iter().map(|one| one.id.as_str().to_owned()).collect();
    ids.sort();
    ids
}

fn sorted(parts: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    let mut ids: Vec<String> = parts.flatten().collect();
    ids.sort();
    ids
}

#[test]
fn what_changed_in_the_end_is_in_the_record_and_no_more() {
    let store = inline();
    let (group, users) = town(&store, 3);
    let newcomer = minted(&store, "new@example.com");
    create(&store, &newcomer);
    // One is there already, one goes, and one was never in.
    let set = membership(&group, &[&users[0], &newcomer], &[&users[1], &users[0]]);
    commit(&store, with(set, about(&group, Operation::Membership))).expect("changed");
    let records = all(&store);
    assert_eq!(edges(&records[0]).added.len(), 3);
    assert_eq!(
        edges(&records[1]),
        Edges {
            added: vec![newcomer.id.as_str().to_owned()],
            removed: vec![users[1].id.as_str().to_owned()],
            ..Edges::default()
        }
    );
    // Somebody who dies tells which groups they were in; who is created tells nothing.
    let set = puts([changed(&users[2], &buried(&users[2]))]);
    commit(&store, with(set, about(&users[2], Operation::Delete))).expect("deleted");
    let other = minted(&store, "other@example.com");
    let set = puts([created(&other)]);
    commit(&store, with(set, about(&other, Operation::Create))).expect("created");
    let records = all(&store);
    assert_eq!(edges(&records[2]).left, [group.id.as_str()]);
    assert_eq!(edges(&records[2]).len(), 1);
    assert_eq!(records[3].edges, None);
}

#[test]
fn more_than_a_record_holds_follow_in_records_of_their_own() {
    let store = inline();
    let count = 2 * Edges::ROOM + 7;
    let (group, users) = town(&store, count);
    let records = all(&store);
    assert_eq!(records.len(), 3);
    assert_eq!(records[0].event, Event::Request);
    let shape: Vec<(usize, bool, Option<u64>)> = records
        .iter()
        .map(edges)
        .map(|edges| (edges.len(), edges.more, edges.of))
        .collect();
    let room = Edges::ROOM;
    assert_eq!(
        shape,
        [
            (room, true, None),
            (room, true, Some(1)),
            (7, false, Some(1))
        ]
    );
    let added = sorted(records.iter().map(|record| edges(record).added));
    assert_eq!(added, ids(&users));

    // A dead group's edges are dropped in slices, and each slice is noted.
    let set = puts([changed(&group, &buried(&group))]);
    commit(&store, with(set, about(&group, Operation::Delete))).expect("deleted");
    assert!(edges(&all(&store)[3]).more);
    store.tidy().expect("tidied");
    let records = all(&store);
    let noted = &records[3..];
    assert!(noted[1..].iter().all(|one| one.event == Event::Members));
    assert!(noted[1..].iter().all(|one| edges(one).of == Some(4)));
    let open: Vec<bool> = noted.iter().map(|one| edges(one).more).collect();
    assert_eq!(open, [true, true, false]);
    let removed = sorted(noted.iter().map(|record| edges(record).removed));
    assert_eq!(removed, ids(&users));

    // A report shows the two requests, and none of what follows them.
    let query = Query {
        limit: 100,
        ..Query::default()
    };
    let rows = store.view().and_then(|view| view.journal(&query));
    assert_eq!(rows.expect("a report").len(), 2);
}

#[test]
fn a_user_costs_no_row_more_than_it_did() {
    let store = inline();
    let before = store.statistics().rows;
    let person = minted(&store, "ada@example.com");
    let set = puts([created(&person)]);
    commit(&store, with(set, about(&person, Operation::Create))).expect("created");
    let created = store.statistics().rows - before;
    let bare = minted(&store, "bob@example.com");
    let before = store.statistics().rows;
    commit(&store, puts([self::created(&bare)])).expect("created");
    assert_eq!(
        created,
        store.statistics().rows - before + 1,
        "the record's own"
    );
}
