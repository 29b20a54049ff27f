//! The folding, and the proposals.

use serde_json::json;

use super::*;
use crate::clock::Timestamp;
use crate::journal::record::{Changed, Edges, Event, Operation, Record, Status};
use crate::journal::report::tests::record;
use crate::scim::{Handle, Id, Resource};

/// A record of the client's.
fn wrote(sequence: u64, kind: Kind, id: &str, operation: Operation) -> Record {
    Record {
        kind,
        operation,
        ..record(sequence, id, &[], &[])
    }
}

fn changes(name: &str, old: Option<Value>, new: Option<Value>) -> Vec<Changed> {
    vec![Changed {
        attribute: name.to_owned(),
        old,
        new,
    }]
}

fn strings(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// A record of memberships: who came, who went, and the groups that somebody deleted was in.
fn moved(record: Record, added: &[&str], removed: &[&str], left: &[&str]) -> Record {
    Record {
        edges: Some(Edges {
            added: strings(added),
            removed: strings(removed),
            left: strings(left),
            ..Edges::default()
        }),
        ..record
    }
}

fn fold(records: &[Record]) -> Folded {
    let mut fold = Fold::new("entra", None);
    for record in records {
        fold.take(record);
    }
    fold.end()
}

fn now(kind: Kind, id: &str, created: u64, attributes: Value) -> Resource {
    Resource {
        handle: Handle(1),
        id: Id::from(id),
        kind,
        version: 1,
        created: Timestamp(created),
        modified: Timestamp(created),
        owner: String::from("entra"),
        deleted: None,
        attributes: attributes.as_object().cloned().unwrap(),
        links: Vec::new(),
    }
}

fn edges(folded: &Folded, group: &str) -> Vec<(String, bool)> {
    let edges = folded.memberships.of(group);
    edges
        .map(|(member, edge)| (member.to_owned(), edge.is_missing()))
        .collect()
}

#[test]
fn what_came_and_went_again_is_nothing() {
    let group = |sequence| wrote(sequence, Kind::Group, "g", Operation::Membership);
    let folded = fold(&[
        moved(group(1), &["a", "b"], &["c", "d"], &[]),
        moved(group(2), &["c"], &["a"], &[]),
        moved(group(3), &["a", "e"], &[], &[]),
        moved(group(4), &[], &["a"], &[]),
    ]);
    let missing = |member: &str, missing| (member.to_owned(), missing);
    assert_eq!(
        edges(&folded, "g"),
        [missing("b", false), missing("d", true), missing("e", false)]
    );
}

#[test]
fn who_is_deleted_falls_out_of_groups_that_may_be_anybodys() {
    let gone = wrote(1, Kind::User, "u", Operation::Delete);
    let folded = fold(&[moved(gone, &[], &[], &["g", "h"])]);
    let edge = folded.memberships.get("h", "u").unwrap();
    assert!(edge.is_missing() && edge.fell());
    assert_eq!(folded.memberships.groups().collect::<Vec<_>>(), ["g", "h"]);
}

#[test]
fn what_follows_a_record_counts_with_it_wherever_it_stands() {
    let mut first = moved(
        wrote(5, Kind::Group, "g", Operation::Delete),
        &[],
        &["a"],
        &[],
    );
    first.edges.as_mut().unwrap().more = true;
    let last = first.continued(Edges {
        removed: strings(&["b"]),
        ..Edges::default()
    });
    let strange = wrote(9, Kind::Group, "x", Operation::Delete).continued(Edges::default());
    let mut open = Fold::new("entra", None);
    open.take(&first);
    assert!(open.wants_more());
    open.take_more(&strange);
    assert!(open.wants_more());
    open.take_more(&last);
    assert!(!open.wants_more());
    let folded = open.end();
    assert_eq!(folded.memberships.len(), 2);
    assert!(!folded.passed[0].is_incomplete());
    assert!(fold(&[first]).passed[0].is_incomplete());
}

#[test]
fn others_and_what_was_refused_are_passed_over() {
    let mine = moved(
        wrote(1, Kind::Group, "g", Operation::Membership),
        &["a"],
        &[],
        &[],
    );
    let refused = Record {
        status: Status::Failure,
        ..mine.clone()
    };
    let elses = Record {
        client: String::from("okta"),
        ..mine.clone()
    };
    let delivery = Record {
        event: Event::Delivery,
        ..mine
    };
    let folded = fold(&[refused, elses, delivery]);
    assert!(folded.passed.is_empty() && folded.memberships.is_empty());
}

#[test]
fn only_what_differs_is_moved() {
    let folded = fold(&[moved(
        wrote(1, Kind::Group, "g", Operation::Membership),
        &["new"],
        &["old"],
        &[],
    )]);
    let (new, old) = (
        folded.memberships.get("g", "new").unwrap(),
        folded.memberships.get("g", "old").unwrap(),
    );
    for (edge, stands, created, wanted) in [
        (old, Stands::Out, false, Move::PutIn),
        (old, Stands::In, false, Move::Nothing),
        (old, Stands::Gone, false, Move::Left),
        (new, Stands::In, false, Move::TakeOut),
        (new, Stands::In, true, Move::Left),
        (new, Stands::Out, false, Move::Nothing),
        (new, Stands::Gone, false, Move::Nothing),
    ] {
        let mut moves = Moves::default();
        assert_eq!(
            moves.weigh(edge, stands, created),
            wanted,
            "{edge:?} {stands:?}"
        );
        assert_eq!(moves.reason().is_some(), wanted == Move::Left);
    }
}

#[test]
fn a_deleted_group_is_made_again_unless_the_name_is_another_ones() {
    let mut gone = moved(
        wrote(7, Kind::Group, "g", Operation::Delete),
        &[],
        &["a"],
        &[],
    );
    gone.changed = changes("displayName", Some(json!("Staff")), None);
    let folded = fold(std::slice::from_ref(&gone));
    let passed = &folded.passed[0];
    let (proposal, wanted) = propose(passed, None, false);
    assert_eq!(proposal.step, Step::Recreate);
    let whole = json!({"displayName": "Staff"});
    assert_eq!(
        wanted,
        Some(Wanted::Whole(whole.as_object().cloned().unwrap()))
    );
    let name = json!({"displayName": "Staff", "schemas": ["s"]});
    let again = now(Kind::Group, "h", 1_007, name.clone());
    assert_eq!(propose(passed, Some(&again), false).0.step, Step::Nothing);
    // It was there beside the one that was deleted.
    let twin = now(Kind::Group, "h", 1_006, name);
    let (proposal, wanted) = propose(passed, Some(&twin), false);
    assert_eq!((proposal.step, wanted), (Step::NotUndone, None));
    // An older usher did not write down who its members were.
    gone.edges = None;
    let (proposal, _) = propose(&fold(&[gone]).passed[0], None, false);
    assert_eq!(proposal.step, Step::NotUndone);
}

#[test]
fn what_was_created_goes_only_when_asked_for_and_as_it_was_left() {
    let mut made = wrote(1, Kind::User, "u", Operation::Create);
    made.changed = changes("userName", None, Some(json!("ada")));
    let folded = fold(&[made]);
    let passed = &folded.passed[0];
    let left = now(Kind::User, "u", 1, json!({"userName": "ada"}));
    let changed = now(Kind::User, "u", 1, json!({"userName": "bob"}));
    for (found, removes, step) in [
        (Some(&left), false, Step::NotUndone),
        (Some(&left), true, Step::Remove),
        (Some(&changed), true, Step::NotUndone),
        (None, true, Step::Nothing),
    ] {
        let (proposal, wanted) = propose(passed, found, removes);
        assert_eq!(proposal.step, step);
        assert_eq!(wanted.is_some(), step == Step::Remove);
    }
}

#[test]
fn inner_groups_come_first_and_circles_end() {
    let gone = |sequence, id, members: &[&str]| {
        moved(
            wrote(sequence, Kind::Group, id, Operation::Delete),
            &[],
            members,
            &[],
        )
    };
    let folded = fold(&[
        gone(1, "outer", &["middle", "a"]),
        gone(2, "middle", &["inner"]),
        gone(3, "inner", &["outer", "b"]),
        gone(4, "alone", &[]),
    ]);
    let order: Vec<&str> = inner_first(&folded.passed, &folded.memberships)
        .into_iter()
        .map(|place| folded.passed[place].id())
        .collect();
    assert_eq!(order, ["inner", "middle", "outer", "alone"]);
}

/// What is left of a created user after later records that change its title there and back.
fn after(later: &[Record]) -> Step {
    let mut made = wrote(1, Kind::User, "u", Operation::Create);
    made.changed = changes("userName", None, Some(json!("ada")));
    let mut open = Fold::new("entra", None);
    open.take(&made);
    open.behind();
    for record in later {
        open.take_behind(record);
    }
    let left = now(Kind::User, "u", 1, json!({"userName": "ada"}));
    propose(&open.end().passed[0], Some(&left), true).0.step
}

#[test]
fn there_and_back_again_is_a_change_unless_an_undo_took_it_back() {
    let title = |sequence, old: Option<Value>, new: Option<Value>| Record {
        changed: changes("title", old, new),
        ..wrote(sequence, Kind::User, "u", Operation::Update)
    };
    let there = title(2, None, Some(json!("Dr")));
    let back = title(3, Some(json!("Dr")), None);
    let undone = |client: &str| Record {
        client: String::from("undo"),
        code: Some(String::from("undo")),
        reason: Some(format!("undoes what the client {client} wrote")),
        ..back.clone()
    };
    assert_eq!(after(&[]), Step::Remove);
    assert_eq!(after(&[there.clone(), back.clone()]), Step::NotUndone);
    assert_eq!(after(&[there.clone(), undone("entra")]), Step::Remove);
    assert_eq!(after(&[there, undone("okta")]), Step::NotUndone);
    // An undo alone is no change.
    assert_eq!(after(&[undone("entra")]), Step::Remove);
}
