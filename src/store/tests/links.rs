//! A link is changed by whoever has claimed it, beside whatever becomes of the row and of the other links meanwhile.

use redb::{ReadableDatabase as _, ReadableTable as _};

use super::*;
use crate::journal::record::Status;
use crate::journal::report::Query;
use crate::journal::report::tests::record;
use crate::store::keys::tag;
use crate::store::tables::KEYS;
use crate::store::{
    Budget, Configuration, Configured, Intent, Key, Lane, LinkEdit, Mark, MarkEdit,
};

fn relinked(before: &Resource, application: &str, remote_id: Option<&str>) -> ChangeSet {
    ChangeSet {
        links: vec![LinkEdit {
            handle: before.handle,
            application: application.into(),
            before: before.link(application).cloned(),
            after: remote_id.map(|id| link(application, Some(id))),
        }],
        ..ChangeSet::default()
    }
}

fn stored(store: &Store, one: &Resource) -> Option<Resource> {
    let view = store.view().expect("view");
    view.resource(one.handle).expect("whole")
}

fn found(store: &Store, application: &str, remote_id: &str) -> Option<Handle> {
    let key = Key::Remote {
        application,
        remote_id,
    };
    store.view().expect("view").find(&key).expect("whole")
}

/// Notes of who was counted as a removal.
fn counted(store: &Store) -> usize {
    let transaction = store.0.db.begin_read().expect("begins");
    let keys = transaction.open_table(KEYS).expect("table");
    let all = keys.iter().expect("all").map(|entry| entry.expect("whole"));
    all.filter(|(key, _)| key.value().first() == Some(&tag::COUNTED))
        .count()
}

fn marked(edit: MarkEdit) -> ChangeSet {
    ChangeSet {
        marks: vec![edit],
        ..ChangeSet::default()
    }
}

fn set(one: &Resource, due: u64, read: Option<u64>) -> MarkEdit {
    MarkEdit::Set {
        handle: one.handle,
        application: "zoom".into(),
        due: Timestamp(due),
        attempts: 1,
        lane: Lane::Update,
        caused: false,
        read,
    }
}

fn raised(one: &Resource) -> MarkEdit {
    MarkEdit::Raise {
        handle: one.handle,
        application: "zoom".into(),
        due: Timestamp(3),
        lane: Lane::Deactivate,
        caused: false,
    }
}

fn mark(store: &Store, one: &Resource) -> Option<Mark> {
    let view = store.view().expect("view");
    view.mark(one.handle, "zoom").expect("whole")
}

fn clear(one: &Resource, generation: u64) -> MarkEdit {
    MarkEdit::Clear {
        handle: one.handle,
        application: "zoom".into(),
        generation,
    }
}

#[test]
fn a_link_and_its_row_are_changed_by_two_who_know_nothing_of_each_other() {
    let store = inline();
    let mut ada = minted(&store, "ada");
    ada.links = vec![link("other", Some("o1")), link("zoom", Some("z1"))];
    create(&store, &ada);
    // A worker at zoom, one at other and a client all begin with the row as it is.
    let mut renamed = ada.clone();
    renamed.version = 2;
    renamed
        .attributes
        .insert("userName".into(), json!("ada.l@example.com"));
    renamed.set_link("other", None);
    commit(&store, relinked(&ada, "zoom", Some("z2"))).expect("the link");
    commit(&store, puts([changed(&ada, &renamed)])).expect("the row, and another link");
    let now = stored(&store, &ada).expect("there");
    assert_eq!(now.title(), "ada.l@example.com");
    assert_eq!(now.links, [link("zoom", Some("z2"))]);
    // The look-up keys and what is counted are those of the row that came of it.
    assert_eq!(found(&store, "zoom", "z1"), None);
    assert_eq!(found(&store, "zoom", "z2"), Some(ada.handle));
    assert_eq!(found(&store, "other", "o1"), None);
    let tally = |application| {
        let view = store.view().expect("view");
        view.tally(application).expect("tally").active
    };
    assert_eq!((tally("zoom"), tally("other")), (1, 0));

    // Who did not know the link itself changes nothing, neither beside the row nor with it.
    let stale = relinked(&ada, "zoom", Some("z3"));
    let blind = puts([changed(&renamed, &now), created(&minted(&store, "bob"))]);
    assert_eq!(conflict(commit(&store, stale)), Conflict::Row(ada.handle));
    assert_eq!(store.view().expect("view").count(Kind::User), Ok(1));
    assert_eq!(conflict(commit(&store, blind)), Conflict::Row(ada.handle));
    assert_eq!(stored(&store, &ada), Some(now.clone()));
    // Not both ways at once; but several links at once.
    let mut twice = relinked(&now, "zoom", None);
    twice.puts.push(changed(&now, &now));
    assert_eq!(conflict(commit(&store, twice)), Conflict::Row(ada.handle));
    let mut both = relinked(&now, "zoom", None);
    both.links.extend(relinked(&now, "other", Some("o2")).links);
    commit(&store, both).expect("two links");
    let now = stored(&store, &ada).expect("there");
    assert_eq!(now.links, [link("other", Some("o2"))]);
    let nobody = minted(&store, "nobody");
    let set = relinked(&nobody, "zoom", Some("z9"));
    assert_eq!(conflict(commit(&store, set)), Conflict::Row(nobody.handle));
}

/// An account is being made when its user is deleted: the tombstone has no link yet, and must be there when it comes.
#[test]
fn a_tombstone_is_kept_while_it_has_a_link_or_a_mark() {
    let store = inline();
    let ada = minted(&store, "ada");
    create(&store, &ada);
    commit(&store, marked(set(&ada, 2, None))).expect("marked");
    let read = mark(&store, &ada).expect("stands").generation;
    let mut deleted = puts([changed(&ada, &buried(&ada))]);
    deleted.marks.push(raised(&ada));
    commit(&store, deleted).expect("deleted");
    let dead = stored(&store, &ada).expect("kept for its mark");
    assert_eq!((dead.deleted.is_some(), dead.links.len()), (true, 0));
    assert_eq!(store.view().expect("view").count(Kind::User), Ok(0));

    // The account is made; then it goes, and counts as a removal.
    let mut made = relinked(&dead, "zoom", Some("z1"));
    made.marks.push(clear(&ada, read));
    commit(&store, made).expect("made");
    let linked = stored(&store, &ada).expect("kept");
    assert!(mark(&store, &ada).is_some(), "raised, so not cleared");
    let removal = Intent {
        if_unknown: ChangeSet::default(),
        budget: Some(Budget {
            application: "zoom".into(),
            handle: ada.handle,
            limit: Some(5),
            window: 100,
            now: Timestamp(10),
        }),
    };
    let intent = wait(store.intend(removal)).expect("within the limit");
    let mut gone = relinked(&linked, "zoom", None);
    gone.settles = Some(intent);
    assert_eq!(counted(&store), 1);
    commit(&store, gone).expect("gone there");
    assert!(stored(&store, &ada).is_some(), "its mark stands");
    let generation = mark(&store, &ada).expect("stands").generation;
    commit(&store, marked(clear(&ada, generation))).expect("cleared");
    assert_eq!(stored(&store, &ada), None);
    assert_eq!(counted(&store), 0, "nor that it was counted");

    // Whose mark was cleared already, and who never had one, goes at once.
    for marked_before in [false, true] {
        let bob = minted(&store, "bob");
        create(&store, &bob);
        let mut deleted = erased(&bob);
        if marked_before {
            commit(&store, marked(set(&bob, 2, None))).expect("marked");
            let generation = mark(&store, &bob).expect("stands").generation;
            deleted.marks.push(clear(&bob, generation));
        }
        commit(&store, deleted).expect("deleted");
        assert_eq!((stored(&store, &bob), mark(&store, &bob)), (None, None));
    }
    assert_eq!(store.view().expect("view").mark_count("zoom"), Ok(0));
}

/// An exchange settles what it was for; what overtook it waits for the next.
#[test]
fn a_raised_mark_remembers_what_was_not_settled_yet() {
    let store = inline();
    let ada = minted(&store, "ada");
    let asked = |edit: MarkEdit| ChangeSet {
        journal: vec![record(0, "ada", &[], &[])],
        ..marked(edit)
    };
    create(&store, &ada);
    let mut first = set(&ada, 2, None);
    if let MarkEdit::Set { caused, .. } = &mut first {
        *caused = true;
    }
    commit(&store, asked(first)).expect("asked");
    let read = mark(&store, &ada).expect("stands");
    let mut second = raised(&ada);
    if let MarkEdit::Raise { caused, .. } = &mut second {
        *caused = true;
    }
    commit(&store, asked(second)).expect("asked again");
    let stands = mark(&store, &ada).expect("stands");
    assert_eq!(
        (read.cause.as_slice(), stands.cause.as_slice()),
        (&[1][..], &[1, 2][..])
    );
    let mut done = asked(clear(&ada, read.generation));
    done.journal[0].cause = read.cause;
    commit(&store, done).expect("done");
    let stands = mark(&store, &ada).expect("stands");
    assert_eq!(
        (stands.cause.as_slice(), stands.due),
        (&[2][..], Timestamp(3))
    );
}

/// So much is asked for while an exchange is under way that the mark has no room for what the exchange is about.
#[test]
fn no_request_stays_open_without_a_mark_that_waits_for_it() {
    let store = inline();
    let ada = minted(&store, "ada");
    create(&store, &ada);
    let id = ada.id.as_str();
    let asked = |mut edit: MarkEdit| {
        if let MarkEdit::Set { caused, .. } | MarkEdit::Raise { caused, .. } = &mut edit {
            *caused = true;
        }
        let request = record(0, id, &[], &[("zoom", Status::Queued)]);
        let set = ChangeSet {
            journal: vec![request],
            ..marked(edit)
        };
        commit(&store, set).expect("asked").first_sequence
    };
    let ended = |edit: MarkEdit, cause: &[u64], status| {
        let set = ChangeSet {
            journal: vec![record(0, id, cause, &[("zoom", status)])],
            ..marked(edit)
        };
        commit(&store, set).expect("ended");
    };
    // Requests whose row in the report is open, and those that the mark waits for: the same, always.
    let open = || {
        let view = store.view().expect("view");
        let query = Query {
            limit: 100,
            ..Query::default()
        };
        let rows = view.journal(&query).expect("a report");
        let open = rows.iter().filter(|row| row.status.is_open());
        let mut open: Vec<u64> = open.map(|row| row.sequence).collect();
        open.reverse();
        let mark = mark(&store, &ada);
        assert_eq!(open, mark.map(|mark| mark.cause).unwrap_or_default());
        open
    };
    let first = asked(set(&ada, 2, None));
    let read = mark(&store, &ada).expect("stands");
    assert_eq!(open(), [first]);
    for more in 1..=9 {
        asked(raised(&ada));
        assert_eq!(open().len(), 8.min(more + 1));
    }
    assert!(!open().contains(&first), "no room");
    // The exchange does not know that, and nobody knows how it ended.
    ended(
        set(&ada, 9, Some(read.generation)),
        &read.cause,
        Status::Unknown,
    );
    assert_eq!(open().len(), 8);
    // A few fail, and one settles all of them.
    let read = mark(&store, &ada).expect("stands");
    ended(
        set(&ada, 9, Some(read.generation)),
        &read.cause,
        Status::Queued,
    );
    assert_eq!(open().len(), 8);
    asked(raised(&ada));
    ended(
        set(&ada, 9, Some(read.generation)),
        &read.cause,
        Status::Unknown,
    );
    let read = mark(&store, &ada).expect("stands");
    assert_eq!(open(), read.cause);
    // One ends, and its mark stays for something else: that is no reason to call it superseded.
    ended(
        set(&ada, 9, Some(read.generation)),
        &read.cause,
        Status::Success,
    );
    let succeeded = |sequence| {
        let view = store.view().expect("view");
        let query = Query {
            limit: 100,
            ..Query::default()
        };
        let rows = view.journal(&query).expect("a report");
        let row = rows.iter().find(|row| row.sequence == sequence);
        row.expect("a row").status == Status::Success
    };
    let done = read.cause.clone();
    for _ in 0..9 {
        asked(raised(&ada));
    }
    assert!(done.iter().all(|done| succeeded(*done)));
    let read = mark(&store, &ada).expect("stands");
    ended(clear(&ada, read.generation), &read.cause, Status::Success);
    assert_eq!(open(), [0_u64; 0]);
}

#[test]
fn a_raised_mark_is_neither_cleared_nor_put_off_by_who_did_not_read_it() {
    let store = inline();
    let ada = minted(&store, "ada");
    create(&store, &ada);
    commit(&store, marked(set(&ada, 2, None))).expect("marked");
    let read = mark(&store, &ada).expect("stands").generation;
    commit(&store, marked(raised(&ada))).expect("raised");
    let due = |at, lane| {
        let mark = mark(&store, &ada).expect("stands");
        assert_eq!((mark.due, mark.lane), (Timestamp(at), lane));
        let attempts = u32::from(lane != Lane::Deactivate);
        assert_eq!(mark.attempts, attempts, "a ladder of its own");
        mark.generation
    };
    let raised_at = due(3, Lane::Deactivate);
    commit(&store, marked(clear(&ada, read))).expect("no harm");
    commit(&store, marked(set(&ada, u64::MAX, Some(read)))).expect("no harm");
    let again = due(3, Lane::Deactivate);
    assert!(again > raised_at);
    // Whoever has read it decides.
    commit(&store, marked(set(&ada, 900, Some(again)))).expect("put off");
    let last = due(900, Lane::Update);
    commit(&store, marked(clear(&ada, last))).expect("cleared");
    assert_eq!(mark(&store, &ada), None);
}

#[test]
fn a_tombstone_does_not_wait_for_an_application_that_is_gone_from_the_file() {
    let store = inline();
    let configuration = |applications: &[&str]| Configuration {
        fingerprint: applications.join(" "),
        applications: applications
            .iter()
            .map(|name| Configured {
                name: (*name).to_owned(),
                planning: String::new(),
                groups: false,
                policies: Vec::new(),
            })
            .collect(),
    };
    for (configured, stays) in [(&["zoom"][..], true), (&["crm"], false)] {
        let ada = minted(&store, "ada");
        create(&store, &ada);
        let mut waits = set(&ada, 2, None);
        if let MarkEdit::Set { caused, .. } = &mut waits {
            *caused = true;
        }
        let request = record(0, ada.id.as_str(), &[], &[("zoom", Status::Queued)]);
        let asked = ChangeSet {
            journal: vec![request],
            ..marked(waits)
        };
        let asked = commit(&store, asked).expect("marked").first_sequence;
        wait(store.configure(configuration(configured))).expect("in force");
        let mut gone = erased(&ada);
        gone.journal.push(record(0, ada.id.as_str(), &[], &[]));
        let said = commit(&store, gone).expect("deleted").first_sequence;
        assert_eq!(stored(&store, &ada).is_some(), stays, "{configured:?}");
        assert_eq!(mark(&store, &ada).is_some(), stays, "{configured:?}");
        // Whoever waited for it hears that, behind what was asked for now.
        let view = store.view().expect("view");
        let all = Query {
            limit: 100,
            ..Query::default()
        };
        let rows = view.journal(&all).expect("a report");
        let row = rows.iter().find(|row| row.sequence == asked);
        let row = row.expect("a row");
        let closed = (row.status, row.code.as_deref());
        let wanted = match stays {
            true => (Status::Queued, None),
            false => (Status::Skipped, Some("not_configured")),
        };
        assert_eq!(closed, wanted, "{configured:?}");
        let last = view.last_sequence().expect("a journal");
        assert_eq!(said, last - u64::from(!stays));
    }
}
