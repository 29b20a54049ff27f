//! Lists, counts and edges against a model, over random histories.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// Handles are skipped first, so that several blocks come into play.
    Create {
        group: bool,
        skip: u16,
    },
    Delete(prop::sample::Index),
    Erase(prop::sample::Index),
    Join(prop::sample::Index, prop::sample::Index),
    Leave(prop::sample::Index, prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        5 => (any::<bool>(), 0..700_u16).prop_map(|(group, skip)| Step::Create { group, skip }),
        2 => index().prop_map(Step::Delete),
        1 => index().prop_map(Step::Erase),
        4 => (index(), index()).prop_map(|(a, b)| Step::Join(a, b)),
        2 => (index(), index()).prop_map(|(a, b)| Step::Leave(a, b)),
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
            Step::Create { group, skip } => {
                for _ in 0..*skip {
                    let _skipped = store.mint(Timestamp(0), 0);
                }
                let mut one = minted_group(store, "Group");
                if !group {
                    one = minted(store, &format!("user{}", one.handle.0));
                }
                create(store, &one);
                self.live.insert(one.handle.0, one);
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
                let after = buried(&stored);
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
                let set = ChangeSet {
                    erase: vec![stored.expect("there")],
                    ..ChangeSet::default()
                };
                commit(store, set).expect("erased");
                self.forget(handle);
                self.dead.remove(&handle);
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
            let members: Vec<u64> = self
                .edges
                .range((handle, 0)..(handle + 1, 0))
                .map(|edge| edge.1)
                .collect();
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
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn lists_counts_and_edges_follow_the_model(steps in prop::collection::vec(step(), 1..40)) {
        let store = inline();
        let mut model = Model::default();
        for step in &steps {
            model.apply(&store, step);
        }
        model.check(&store);
    }
}
