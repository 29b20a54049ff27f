//! The chain, and reports over index and tail.

use proptest::prelude::*;

use super::*;
use crate::journal::record::{Record, Status};
use crate::journal::report::tests::record;
use crate::journal::report::{self, Query};
use crate::scim::schema::fold;

fn append(store: &Store, records: Vec<Record>) -> u64 {
    let set = ChangeSet {
        journal: records,
        ..ChangeSet::default()
    };
    commit(store, set).expect("appended").first_sequence
}

#[test]
fn records_are_chained_and_time_never_runs_back() {
    let store = inline();
    let mut late = record(0, "ada", &[], &[]);
    late.time = Timestamp(5_000);
    assert_eq!(append(&store, vec![late, record(0, "bob", &[], &[])]), 1);
    assert_eq!(append(&store, vec![record(0, "eve", &[], &[])]), 3);
    let view = store.view().expect("view");
    assert_eq!(view.last_sequence(), Ok(3));
    assert_eq!(store.last_sequence(), 3);
    let times: Vec<u64> = (1..=3)
        .map(|one| view.record(one).expect("whole").expect("there").time.0)
        .collect();
    assert_eq!(times, [5_000, 5_000, 5_000]);
    let hashes: Vec<String> = (1..=3)
        .map(|one| view.record(one).expect("whole").expect("there").hash)
        .collect();
    assert!(hashes.iter().all(|hash| hash.len() == 64));
    assert_ne!(hashes[1], hashes[2]);
    for (from, to) in [(1, 3), (2, 3), (3, 3), (2, 2)] {
        assert_eq!(view.verify_chain(from, to), Ok(None), "{from}..={to}");
    }
    assert_eq!(view.verify_chain(1, 4), Ok(Some(4)), "one is missing");
}

/// What the report must be, computed the slow way.
fn expected(records: &[Record], query: &Query) -> Vec<(u64, Option<String>, Status)> {
    let mut rows = Vec::new();
    for one in records.iter().rev() {
        let later: Vec<Record> = records
            .iter()
            .filter(|record| record.cause.contains(&one.sequence))
            .cloned()
            .collect();
        let causes: Vec<Record> = records
            .iter()
            .filter(|record| one.cause.contains(&record.sequence))
            .cloned()
            .collect();
        for row in report::rows(one, &later, &causes) {
            if query.takes(&row, fold) && rows.len() < query.limit {
                rows.push((row.sequence, row.application, row.status));
            }
        }
    }
    rows
}

fn history(length: u64, salt: u64) -> Vec<Record> {
    let applications = ["zoom", "wiki"];
    (1..=length)
        .map(|sequence| {
            let draw = (sequence ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            let person =
                ["Ada", "adam", "bob", "\u{c9}ve"][usize::try_from(draw % 4).expect("small")];
            let application = applications[usize::try_from(draw / 4 % 2).expect("small")];
            if draw % 5 < 2 && sequence > 4 {
                let cause = [sequence - 1 - draw % 3];
                return record(sequence, person, &cause, &[(application, Status::Success)]);
            }
            let asked = [(application, Status::Queued), ("hr", Status::Skipped)];
            let count = usize::try_from(draw / 8 % 3).expect("small");
            record(sequence, person, &[], &asked[..count])
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn a_report_is_the_same_from_index_and_tail(
        length in 1..60_u64, salt: u16,
        prefix in prop::option::of(prop::sample::select(vec!["a", "ADA", "adam@", "\u{e9}v", "z"])),
        application in prop::option::of(prop::sample::select(vec!["zoom", "hr", "zo"])),
        status in prop::option::of(prop::sample::select(vec![Status::Success, Status::Queued])),
        since in prop::option::of(0..70_u64), until in prop::option::of(0..70_u64),
        limit in prop::sample::select(vec![0_usize, 1, 3, 1_000]),
        indexed in 0..3_u8,
    ) {
        let store = inline();
        let records = history(length, salt.into());
        let half = records.len() / 2;
        append(&store, records[..half].to_vec());
        if indexed > 0 {
            store.index_for_tests();
        }
        append(&store, records[half..].to_vec());
        if indexed > 1 {
            store.index_for_tests();
        }
        let query = Query {
            user_prefix: prefix.map(Into::into),
            application: application.map(Into::into),
            status,
            since: since.map(|at| Timestamp(1_000 + at)),
            until: until.map(|at| Timestamp(1_000 + at)),
            limit,
            ..Query::default()
        };
        let view = store.view().expect("view");
        let found: Vec<_> = view
            .journal(&query)
            .expect("report")
            .into_iter()
            .map(|row| (row.sequence, row.application, row.status))
            .collect();
        prop_assert_eq!(found, expected(&records, &query));
        prop_assert_eq!(view.verify_chain(1, length), Ok(None));
    }
}

#[test]
fn the_index_is_derived_when_it_is_worth_it() {
    let store = inline();
    append(&store, history(900, 1));
    store.tidy().expect("tidied");
    assert_eq!(store.indexed_for_tests(), 1, "the tail is short");
    append(&store, history(900, 2));
    store.tidy().expect("tidied");
    let indexed = store.indexed_for_tests();
    assert!((801..=1_801).contains(&indexed), "indexed to {indexed}");
}
