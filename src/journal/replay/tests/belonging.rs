//! Who was in the groups of policies, and when.

use super::*;
use crate::journal::record::Edges;
use crate::journal::replay::belonging::{Bound, Move, Policy, Relevant, Stood, Unclear, is_silent};
use crate::journal::replay::groups::{Groups, Names, Standing};
use crate::policy::assignment::Selector;

fn names(name: &str) -> Names {
    Names {
        display: Some(name.to_owned()),
        external: None,
    }
}

fn standing(id: &str, name: &str, above: &[&str]) -> Standing {
    Standing {
        id: id.to_owned(),
        names: names(name),
        above: above.iter().map(|one| String::from(*one)).collect(),
    }
}

fn policy(name: &str, bound: Option<(&str, bool)>) -> Policy {
    Policy {
        selector: Selector::DisplayName(name.to_owned()),
        bound: bound.map(|(id, populated)| Bound {
            group: Some(id.to_owned()),
            name: name.to_owned(),
            populated,
        }),
    }
}

/// A write to a group: of whom it put in and whom it took out.
fn group(at: u64, id: &str, operation: Operation, added: &[&str], removed: &[&str]) -> Record {
    let all = |ids: &[&str]| ids.iter().map(|one| String::from(*one)).collect();
    Record {
        kind: Kind::Group,
        user: String::from("staff"),
        id: id.to_owned(),
        edges: Some(Edges {
            added: all(added),
            removed: all(removed),
            ..Edges::default()
        }),
        ..record(at, Event::Request, operation, Vec::new())
    }
}

fn called(mut record: Record, old: Option<&str>, new: Option<&str>) -> Record {
    record.user = new.or(old).unwrap_or_default().to_owned();
    record.changed = vec![Changed {
        attribute: String::from("displayName"),
        old: old.map(|name| json!(name)),
        new: new.map(|name| json!(name)),
    }];
    record
}

struct Town {
    groups: Groups,
    relevant: Relevant,
    records: Vec<Record>,
}

impl Town {
    /// `people`: how many are in each group now.
    fn of(
        standing: Vec<Standing>,
        people: &[(&str, i64)],
        policies: &[Policy],
        records: Vec<Record>,
    ) -> Self {
        let mut groups = Groups::of(standing);
        let policies = [policies.to_vec()];
        records.iter().for_each(|record| groups.name(record));
        records.iter().for_each(|record| groups.take(record));
        groups.close();
        let mut relevant = Relevant::of(&groups, &policies);
        let now = relevant.ids().iter().map(|id| {
            let its = people.iter().find(|(group, _)| group == id);
            its.map_or(0, |(_, people)| *people)
        });
        let now: Vec<i64> = now.collect();
        relevant.people(&now, &groups);
        for record in &records {
            relevant.count(record, &groups);
        }
        relevant.settle(&groups, &policies);
        Self {
            groups,
            relevant,
            records,
        }
    }

    /// Where somebody belonged: at first, and at each record where that changed.
    fn stood(&self, who: &str, now: &[&str]) -> Vec<(u64, Stood)> {
        let mut moves: Vec<Move> = Vec::new();
        for record in &self.records {
            self.relevant.moves(record, &self.groups, |member, one| {
                if member == who {
                    moves.push(one);
                }
            });
        }
        let now: Vec<String> = now.iter().map(|one| String::from(*one)).collect();
        let found = self.relevant.belonging(Some(&now), &moves);
        let turns = found.turns.iter();
        std::iter::once((0, found.begin[0]))
            .chain(turns.map(|turn| (turn.sequence, turn.stood[0])))
            .collect()
    }
}

const IN: Stood = Ok(Assigned::In);
const OUT: Stood = Ok(Assigned::Out);
const UNKNOWN: Stood = Ok(Assigned::Unknown);

#[test]
fn people_are_put_in_and_taken_out() {
    use Operation::Membership;
    let town = Town::of(
        vec![standing("g", "Staff", &[]), standing("x", "Other", &[])],
        &[("g", 2)],
        &[policy("staff", None)],
        vec![
            group(1, "g", Membership, &["ada"], &["bob"]),
            group(2, "x", Membership, &["ada", "eve"], &[]),
            group(3, "g", Membership, &[], &["ada"]),
            group(4, "g", Membership, &["ada"], &[]),
        ],
    );
    assert_eq!(
        town.stood("ada", &["g", "x"]),
        [(0, OUT), (1, IN), (3, OUT), (4, IN)]
    );
    assert_eq!(town.stood("bob", &[]), [(0, IN), (1, OUT)]);
    assert_eq!(town.stood("eve", &["x"]), [(0, OUT)]);
    assert_eq!(town.stood("always", &["g"]), [(0, IN)]);
    // She is there, and the journal says that she went.
    assert_eq!(
        town.stood("bob", &["g"])[0],
        (0, Err(Unclear::Missing)),
        "it does not hold together"
    );
    assert_eq!(town.relevant.ids(), ["g"], "no other group matters");
}

#[test]
fn groups_in_groups_move_everybody_beneath_and_circles_end() {
    use Operation::{Delete, Membership};
    let town = Town::of(
        vec![
            standing("g", "Staff", &["mid"]),
            standing("mid", "Middle", &["g"]),
        ],
        &[("g", 1), ("mid", 1)],
        &[policy("staff", None)],
        vec![
            group(1, "mid", Membership, &["in"], &[]),
            group(2, "g", Membership, &["mid"], &[]),
            group(3, "mid", Membership, &["g"], &[]),
            group(4, "mid", Membership, &["ada"], &[]),
            called(group(5, "in", Delete, &[], &["bob"]), Some("Inner"), None),
            group(6, "g", Membership, &[], &["mid"]),
            group(7, "g", Membership, &["mid"], &[]),
        ],
    );
    assert_eq!(
        town.stood("ada", &["mid"]),
        [(0, OUT), (4, IN), (6, OUT), (7, IN)]
    );
    assert_eq!(town.stood("bob", &[]), [(0, OUT), (2, IN), (5, OUT)]);
    assert_eq!(town.relevant.affected(END).len(), 2);
}

#[test]
fn a_policy_stays_with_its_group_until_that_is_gone() {
    use Operation::{Create, Delete, Membership, Update};
    let deleted = Ok(Assigned::Deleted);
    let town = Town::of(
        vec![standing("new", "Staff", &[])],
        &[("new", 1)],
        &[policy("staff", None)],
        vec![
            called(
                group(1, "old", Update, &[], &[]),
                Some("Staff"),
                Some("Crew"),
            ),
            called(
                group(2, "old", Delete, &[], &["ada", "bob"]),
                Some("Crew"),
                None,
            ),
            called(group(3, "new", Create, &[], &[]), None, Some("Staff")),
            group(4, "new", Membership, &["ada"], &[]),
        ],
    );
    assert_eq!(
        town.stood("ada", &["new"]),
        [(0, IN), (2, deleted), (3, UNKNOWN), (4, IN)]
    );
    assert_eq!(
        town.stood("bob", &[]),
        [(0, IN), (2, deleted), (3, UNKNOWN), (4, OUT)]
    );
    // Nobody was in it at first: whether anybody had been before shows only where it was never so.
    for (bound, first) in [
        (None, UNKNOWN),
        (Some(("g", false)), UNKNOWN),
        (Some(("g", true)), Err(Unclear::Empty)),
    ] {
        let town = Town::of(
            vec![standing("g", "Staff", &[])],
            &[("g", 1)],
            &[policy("staff", bound)],
            vec![group(1, "g", Membership, &["ada"], &[])],
        );
        assert_eq!(town.stood("ada", &["g"]), [(0, first), (1, IN)]);
        assert_eq!(town.stood("bob", &[]), [(0, first), (1, OUT)]);
    }
    let nobody = Town::of(Vec::new(), &[], &[policy("staff", None)], Vec::new());
    assert_eq!(nobody.stood("ada", &[]), [(0, UNKNOWN)]);
    let nothing = Town::of(Vec::new(), &[], &[], Vec::new());
    assert_eq!(nothing.stood("ada", &[]), [(0, Ok(Assigned::Everybody))]);
}

#[test]
fn what_an_older_usher_did_not_write_is_told() {
    use Operation::{Delete, Membership};
    let old = |mut record: Record| {
        record.edges = None;
        record
    };
    // Taken from the memberships behind it, and noted.
    let records = vec![
        group(1, "g", Membership, &["ada"], &[]),
        old(group(2, "g", Membership, &[], &[])),
        group(3, "g", Membership, &["bob"], &[]),
    ];
    let standing = vec![standing("g", "Staff", &[])];
    let town = Town::of(standing, &[("g", 3)], &[policy("staff", None)], records);
    assert_eq!(town.relevant.blind(), Some(Timestamp(2 * HOUR)));
    assert_eq!(town.stood("bob", &["g"]), [(0, OUT), (3, IN)]);
    assert_eq!(town.stood("eve", &["g"]), [(0, IN)]);
    // Who was in a group that is gone nobody knows.
    let gone = called(old(group(2, "g", Delete, &[], &[])), Some("Staff"), None);
    let records = vec![group(1, "g", Membership, &["ada"], &[]), gone];
    let bound = Policy {
        bound: Some(Bound {
            group: None,
            name: String::from("Staff"),
            populated: true,
        }),
        ..policy("staff", None)
    };
    let town = Town::of(Vec::new(), &[], &[bound], records);
    let told = town.stood("eve", &[]);
    assert_eq!(told.last(), Some(&(2, Ok(Assigned::Deleted))), "{told:?}");
    assert!(
        matches!(told[0].1, Err(Unclear::Dead | Unclear::Empty)),
        "{told:?}"
    );
}

#[test]
fn the_deleted_were_in_the_groups_that_they_left() {
    use Operation::{Delete, Membership};
    let mut gone = record(2, Event::Request, Delete, Vec::new());
    assert!(is_silent(&gone), "an older usher's");
    gone.edges = Some(Edges {
        left: vec![String::from("g"), String::from("x")],
        more: true,
        ..Edges::default()
    });
    assert!(!is_silent(&gone));
    let mut more = gone.continued(Edges {
        left: vec![String::from("h")],
        ..Edges::default()
    });
    (more.sequence, more.time) = (3, Timestamp(3 * HOUR));
    let town = Town::of(
        vec![standing("g", "Staff", &[]), standing("h", "More", &[])],
        &[("g", 1)],
        &[policy("staff", None), policy("more", None)],
        vec![group(1, "g", Membership, &["ada"], &[]), gone, more],
    );
    assert_eq!(town.stood("ada", &[])[0], (0, IN), "by the other one");
    let nobody = town.relevant.belonging(None, &[]);
    assert_eq!(nobody.begin, [Err(Unclear::Gone)]);
}

#[test]
fn who_has_no_record_is_given_an_account_by_a_group() {
    let new = application("[[application.policy]]\nname = \"p\"\ngroup = \"Staff\"\n");
    let a = user("A");
    let records = [
        group(1, "g", Operation::Membership, &["ada"], &[]),
        group(9, "g", Operation::Membership, &[], &["ada"]),
    ];
    let town = Town::of(
        vec![standing("g", "Staff", &[])],
        &[("g", 1)],
        &[policy("staff", None)],
        records.to_vec(),
    );
    let mut moves = Vec::new();
    for record in &records {
        let each = |_: &str, one| moves.push(one);
        town.relevant.moves(record, &town.groups, each);
    }
    for (same_policies, did) in [
        (false, Some(vec![Deed::Create, Deed::Deactivate])),
        // A worker would have said so: it was not in force then, or came too late.
        (true, None),
    ] {
        let now = Present {
            belonging: town.relevant.belonging(Some(&[]), &moves),
            ..present(&a)
        };
        let cases = [Case {
            new: &new,
            old: None,
            same_policies,
        }];
        let mut past = Past::default();
        past.pick("ada", "ada@example.com");
        let mut tally = Tally::default();
        Person::begin(&cases, past, now).end(END, &mut tally);
        let told = tally.end(2, Vec::new());
        let (then, now) = sides(&told).unwrap_or_default();
        assert!(then.is_empty());
        assert_eq!(now, did.unwrap_or_default(), "{told:?}");
    }
}
