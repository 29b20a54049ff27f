//! Lists, counts and edges against a model, over random histories; every index against a plain scan of the rows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;
use crate::scim::schema::fold;
use crate::store::{Stretch, View};

/// Names that are near each other: in case, composed and not, one the beginning of another, with what keys escape.
const NAMES: [&str; 9] = [
    "",
    "a",
    "A",
    "ab",
    "a\0",
    "a\0\u{1}",
    "a\u{1}",
    "\u{c5}",
    "A\u{30a}b",
];

#[derive(Debug, Clone)]
enum Step {
    /// Handles are skipped first, so that several blocks come into play.
    Create {
        group: bool,
        skip: u16,
        name: usize,
    },
    /// `active`: true, false, gone. A displayName may go, too.
    Change {
        who: prop::sample::Index,
        name: usize,
        display: Option<usize>,
        active: Option<bool>,
        modified: u64,
    },
    Delete(prop::sample::Index),
    Erase(prop::sample::Index),
    Join(prop::sample::Index, prop::sample::Index),
    Leave(prop::sample::Index, prop::sample::Index),
    /// A group gets these members, in two edits of one change set, each at a time of its own.
    Replace(prop::sample::Index, Vec<prop::sample::Index>, [u64; 2]),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        5 => (any::<bool>(), 0..700_u16, 0..NAMES.len())
            .prop_map(|(group, skip, name)| Step::Create { group, skip, name }),
        5 => (
            index(), 0..NAMES.len(), prop::option::of(0..NAMES.len()), any::<Option<bool>>(), 0..9_u64,
        )
            .prop_map(|(who, name, display, active, modified)| Step::Change {
                who, name, display, active, modified,
            }),
        2 => index().prop_map(Step::Delete),
        1 => index().prop_map(Step::Erase),
        4 => (index(), index()).prop_map(|(a, b)| Step::Join(a, b)),
        2 => (index(), index()).prop_map(|(a, b)| Step::Leave(a, b)),
        2 => (index(), prop::collection::vec(index(), 0..4), any::<[u8; 2]>())
            .prop_map(|(a, b, times)| Step::Replace(a, b, times.map(u64::from))),
    ]
}

#[derive(Default)]
struct Model {
    live: BTreeMap<u64, Resource>,
    dead: BTreeMap<u64, Resource>,
    edges: BTreeSet<(u64, u64)>,
}

impl Model {
    fn pick(&self, kind: Option<Kind>, index: &prop::sample::Index) -> Option<Resource> {
        let fitting: Vec<&Resource> = self
            .live
            .values()
            .filter(|one| kind.is_none_or(|kind| one.kind == kind))
            .collect();
        (!fitting.is_empty()).then(|| (*index.get(&fitting)).clone())
    }

    fn apply(&mut self, store: &Store, step: &Step) {
        match step {
            Step::Create { group, skip, name } => {
                for _ in 0..*skip {
                    let _skipped = store.mint(Timestamp(0), 0);
                }
                let mut one = minted_group(store, NAMES[*name]);
                if !group {
                    one = minted(store, &format!("{}{}", NAMES[*name], one.handle.0));
                }
                create(store, &one);
                self.live.insert(one.handle.0, one);
            }
            Step::Change {
                who,
                name,
                display,
                active,
                modified,
            } => {
                let Some(one) = self.pick(None, who) else {
                    return;
                };
                let stored = store.view().expect("view").resource(one.handle);
                let stored = stored.expect("whole").expect("there");
                let mut after = stored.clone();
                after.version += 1;
                after.modified = Timestamp(*modified);
                let mut set = |name: &str, value: Option<serde_json::Value>| {
                    match value {
                        Some(value) => after.attributes.insert(name.into(), value),
                        None => after.attributes.remove(name),
                    };
                };
                set("displayName", display.map(|name| json!(NAMES[name])));
                if one.kind == Kind::User {
                    let name = format!("{}{}", NAMES[*name], one.handle.0);
                    set("userName", Some(json!(name)));
                    set("active", active.map(|active| json!(active)));
                }
                commit(store, puts([changed(&stored, &after)])).expect("changed");
            }
            Step::Delete(index) => {
                let Some(one) = self.pick(None, index) else {
                    return;
                };
                let stored = store
                    .view()
                    .expect("view")
                    .resource(one.handle)
                    .expect("whole");
                let stored = stored.expect("there");
                let mut after = buried(&stored);
                // Something is left of it somewhere: else it would be gone at once.
                after.links = vec![link("zoom", None)];
                commit(store, puts([changed(&stored, &after)])).expect("deleted");
                self.forget(one.handle.0);
                self.dead.insert(one.handle.0, after);
            }
            Step::Erase(index) => {
                let all: Vec<u64> = self.live.keys().chain(self.dead.keys()).copied().collect();
                if all.is_empty() {
                    return;
                }
                let handle = *index.get(&all);
                let stored = store
                    .view()
                    .expect("view")
                    .resource(Handle(handle))
                    .expect("whole");
                commit(store, erased(&stored.expect("there"))).expect("erased");
                self.forget(handle);
                self.dead.remove(&handle);
            }
            Step::Replace(group, members, times) => {
                let Some(group) = self.pick(Some(Kind::Group), group) else {
                    return;
                };
                let mut members: Vec<Resource> = members
                    .iter()
                    .filter_map(|member| self.pick(None, member))
                    .collect();
                members.dedup_by_key(|one| one.handle);
                self.replace(store, &group, &members, *times);
            }
            Step::Join(group, member) | Step::Leave(group, member) => {
                let (Some(group), Some(member)) =
                    (self.pick(Some(Kind::Group), group), self.pick(None, member))
                else {
                    return;
                };
                let edge = (group.handle.0, member.handle.0);
                if matches!(step, Step::Join(..)) {
                    commit(store, membership(&group, &[&member], &[])).expect("joined");
                    self.edges.insert(edge);
                } else {
                    commit(store, membership(&group, &[], &[&member])).expect("left");
                    self.edges.remove(&edge);
                }
            }
        }
    }

    /// Puts exactly these into a group: everybody out and some in, then the rest.
    fn replace(&mut self, store: &Store, group: &Resource, members: &[Resource], times: [u64; 2]) {
        let before = store.view().expect("view").resource(group.handle);
        let before = before.expect("whole").expect("there");
        let (some, rest) = members.split_at(members.len() / 2);
        let [mut first, mut second] = [some, rest].map(|add| {
            let add: Vec<&Resource> = add.iter().collect();
            membership(group, &add, &[]).members.remove(0)
        });
        first.clear = true;
        first.touch = Some(Timestamp(times[0]));
        second.touch = Some(Timestamp(times[1]));
        let set = ChangeSet {
            members: vec![first, second],
            ..ChangeSet::default()
        };
        commit(store, set).expect("replaced");
        let handle = group.handle.0;
        let old: BTreeSet<u64> = self.members(handle).collect();
        let kept = |add: &[Resource]| add.iter().map(|one| one.handle.0).collect::<BTreeSet<_>>();
        // Each edit that changes an edge touches once.
        let (some, rest) = (kept(some), kept(rest));
        let touches = [old != some, !rest.is_subset(&some)];
        let after = store.view().expect("view").resource(group.handle);
        let after = after.expect("whole").expect("there");
        let touched = touches.iter().zip(times).filter(|(touched, _)| **touched);
        assert_eq!(
            after.version,
            before.version + touched.clone().count() as u64
        );
        let modified = touched.map(|(_, at)| at).max().unwrap_or(0);
        assert_eq!(after.modified.0, before.modified.0.max(modified));
        self.edges.retain(|edge| edge.0 != handle);
        self.edges
            .extend(some.union(&rest).map(|member| (handle, *member)));
    }

    fn members(&self, group: u64) -> impl Iterator<Item = u64> {
        self.edges
            .range((group, 0)..(group + 1, 0))
            .map(|edge| edge.1)
    }

    fn forget(&mut self, handle: u64) {
        self.live.remove(&handle);
        self.edges
            .retain(|(group, member)| *group != handle && *member != handle);
    }

    fn check(&self, store: &Store) {
        let view = store.view().expect("view");
        for kind in [Kind::User, Kind::Group] {
            let all: Vec<u64> = self
                .live
                .values()
                .filter(|one| one.kind == kind)
                .map(|one| one.handle.0)
                .collect();
            let count = u64::try_from(all.len()).expect("small");
            assert_eq!(view.count(kind), Ok(count));
            for size in [1, 3, 100] {
                for start in 0..=all.len() + 1 {
                    let mut page = Vec::new();
                    let index = u64::try_from(start).expect("small");
                    view.page(kind, index, size, |row| page.push(row.handle.0))
                        .expect("page");
                    let from = start.saturating_sub(1).min(all.len());
                    let to = (from + size).min(all.len());
                    assert_eq!(page, all[from..to], "{kind:?} from {start}, {size}");
                }
            }
            let mut walked = Vec::new();
            let middle = all.get(all.len() / 2).copied().unwrap_or(1);
            view.walk(kind, Handle(middle), |row| {
                walked.push(row.handle.0);
                ControlFlow::Continue(())
            })
            .expect("walk");
            let rest: Vec<u64> = all.iter().copied().filter(|one| *one >= middle).collect();
            assert_eq!(walked, rest);
        }
        for one in self.live.values().chain(self.dead.values()) {
            let handle = one.handle.0;
            let members: Vec<u64> = self.members(handle).collect();
            let found = view.members(one.handle, None, usize::MAX).expect("members");
            assert_eq!(
                found.iter().map(|edge| edge.0.0).collect::<Vec<_>>(),
                members
            );
            let count = u64::try_from(members.len()).expect("small");
            assert_eq!(view.member_count(one.handle), Ok(count));
            let groups: Vec<u64> = self
                .edges
                .iter()
                .filter(|edge| edge.1 == handle)
                .map(|edge| edge.0)
                .collect();
            let found = view.groups_of(one.handle).expect("groups");
            assert_eq!(
                found.iter().map(|edge| edge.0.0).collect::<Vec<_>>(),
                groups
            );
            every_way(&view, &Stretch::GroupsOf(one.handle), &groups);
        }
        let live = self.live.values().map(|one| one.handle);
        let rows: Vec<Resource> = live
            .map(|handle| view.resource(handle).expect("whole").expect("there"))
            .collect();
        lists_equal_a_scan(&view, &rows);
    }
}

fn text<'a>(one: &'a Resource, name: &str) -> Option<&'a str> {
    one.attributes.get(name)?.as_str()
}

/// The handles of what `key` gives a key for, in that order.
fn sorted<'a, K: Ord>(rows: &'a [Resource], key: impl Fn(&'a Resource) -> Option<K>) -> Vec<u64> {
    let mut found: Vec<(K, u64)> = rows
        .iter()
        .filter_map(|one| Some((key(one)?, one.handle.0)))
        .collect();
    found.sort();
    found.into_iter().map(|(_, handle)| handle).collect()
}

/// Every index and count that lists use, against the rows that clients see.
pub(super) fn lists_equal_a_scan(view: &View, rows: &[Resource]) {
    by_name_and_time(view, rows);
    by_active(view, rows);
}

fn by_name_and_time(view: &View, rows: &[Resource]) {
    let folded = |one: &Resource, kind, name| {
        let is_it = one.kind == kind;
        is_it.then(|| text(one, name).map(fold)).flatten()
    };
    for start in NAMES {
        let starting = |name: &String| name.starts_with(&fold(start));
        let expected = sorted(rows, |one| {
            folded(one, Kind::User, "userName").filter(starting)
        });
        every_way(view, &Stretch::Title(Kind::User, start), &expected);
        let expected = sorted(rows, |one| {
            folded(one, Kind::Group, "displayName").filter(starting)
        });
        every_way(view, &Stretch::Title(Kind::Group, start), &expected);
        for whole in [false, true] {
            let expected = sorted(rows, |one| {
                folded(one, Kind::User, "displayName")
                    .filter(|name| starting(name) && (!whole || *name == fold(start)))
            });
            let stretch = Stretch::DisplayName { text: start, whole };
            every_way(view, &stretch, &expected);
        }
    }
    let nameless = sorted(rows, |one| {
        (one.kind == Kind::User && text(one, "displayName").is_none()).then_some(())
    });
    every_way(view, &Stretch::Nameless, &nameless);
    for kind in [Kind::User, Kind::Group] {
        for (from, to) in [(0, u64::MAX), (2, 5), (5, 5), (5, 2), (51, 200)] {
            let expected = sorted(rows, |one| {
                let fits = one.kind == kind && (from..=to).contains(&one.modified.0);
                fits.then_some(one.modified)
            });
            let stretch = Stretch::Modified(kind, Timestamp(from), Timestamp(to));
            every_way(view, &stretch, &expected);
        }
    }
}

/// A stretch equals what is expected, backwards is the reverse, each position gives the rest, and bytes that are no
/// position give a part.
fn every_way(view: &View, stretch: &Stretch<'_>, expected: &[u64]) {
    let along = |after: Option<&[u8]>, backwards| {
        let (mut positions, mut handles) = (Vec::new(), Vec::new());
        view.stretch(stretch, after, backwards, |position, handle| {
            positions.push(position.to_vec());
            handles.push(handle.0);
            ControlFlow::Continue(())
        })
        .expect("whole");
        if backwards {
            handles.reverse();
            positions.reverse();
        }
        (positions, handles)
    };
    let (positions, handles) = along(None, false);
    assert_eq!(handles, expected, "{stretch:?}");
    assert_eq!(along(None, true), (positions.clone(), handles));
    for (place, position) in positions.iter().enumerate() {
        assert_eq!(along(Some(position), false).1, expected[place + 1..]);
        assert_eq!(along(Some(position), true).1, expected[..place]);
    }
    let mut odd: Vec<Vec<u8>> = vec![vec![], vec![0], vec![0; 40], vec![0xff], vec![0xff; 40]];
    for position in &positions {
        let mut longer = position.clone();
        longer.push(7);
        odd.push(longer);
        odd.extend(position.split_last().map(|(_, shorter)| shorter.to_vec()));
    }
    for position in odd {
        let (behind, before) = (
            along(Some(&position), false).1,
            along(Some(&position), true).1,
        );
        assert!(expected.ends_with(&behind), "{stretch:?} {position:?}");
        assert!(expected.starts_with(&before), "{stretch:?} {position:?}");
        let missing = expected.len() - behind.len() - before.len();
        assert!(missing <= 1, "{stretch:?} {position:?}");
    }
    let mut first = Vec::new();
    view.stretch(stretch, None, false, |_, handle| {
        first.push(handle.0);
        ControlFlow::Break(())
    })
    .expect("whole");
    assert_eq!(first, expected[..expected.len().min(1)], "it stops");
}

fn by_active(view: &View, rows: &[Resource]) {
    for active in [true, false] {
        let all = sorted(rows, |one| {
            let is = one.attributes.get("active") == Some(&json!(active));
            (one.kind == Kind::User && is).then_some(())
        });
        assert_eq!(view.count_active(active), Ok(all.len() as u64));
        if !active {
            assert_eq!(view.count_inactive(), Ok(all.len() as u64));
        }
        for start in 0..=all.len() + 1 {
            for size in [0, 1, 3, 100] {
                let mut page = Vec::new();
                view.page_active(active, start as u64, size, |row| page.push(row.handle.0))
                    .expect("page");
                let from = start.saturating_sub(1).min(all.len());
                assert_eq!(page, all[from..(from + size).min(all.len())]);
            }
        }
        for (from, backwards) in rows
            .iter()
            .flat_map(|one| [(one.handle.0, false), (one.handle.0, true)])
            .chain([(0, false), (0, true), (u64::MAX, false), (u64::MAX, true)])
        {
            let mut walked = Vec::new();
            view.walk_active(active, Handle(from), backwards, |row| {
                walked.push(row.handle.0);
                ControlFlow::Continue(())
            })
            .expect("walk");
            let mut rest = all.clone();
            rest.retain(|one| {
                if backwards {
                    *one <= from
                } else {
                    *one >= from
                }
            });
            if backwards {
                rest.reverse();
            }
            assert_eq!(walked, rest, "{active} from {from}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn lists_counts_and_edges_follow_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let store = inline();
        let mut model = Model::default();
        for step in &steps {
            model.apply(&store, step);
        }
        model.check(&store);
    }
}
