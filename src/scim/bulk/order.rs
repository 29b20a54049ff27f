//! The order in which a Bulk's operations run: each after what it refers to, else as they were sent.
//!
//! What refers to each other in a circle (RFC 7644 3.7.1) stands together: all of it is made first, without the references
//! that cannot be filled in yet, and those are patched in afterwards.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use super::{Operation, refer};

/// What runs together: one operation, or all of a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The operations' places, ascending.
    pub operations: Vec<usize>,
    /// They refer to each other, or the one to itself.
    pub circle: bool,
    /// How many of the turns must have ended before: it comes after none of those that follow.
    pub behind: usize,
}

/// The turns of a Bulk's operations, first to last. Every operation has exactly one.
#[must_use]
pub fn turns(operations: &[Operation]) -> Vec<Turn> {
    let mut defined: HashMap<&str, usize> = HashMap::new();
    for (at, operation) in operations.iter().enumerate() {
        if let Some(id) = operation.defines() {
            defined.entry(id).or_insert(at);
        }
    }
    let mut last = HashMap::new();
    let after = operations.iter().enumerate().map(|(at, operation)| {
        let Ok(task) = &operation.task else {
            return BTreeSet::new();
        };
        let mut after: BTreeSet<usize> = refer::names(task)
            .into_iter()
            .filter_map(|name| defined.get(name.as_str()).copied())
            .collect();
        if !task.id.is_empty() {
            // Changes to one resource stay in the order in which they were sent, though one of them has to wait.
            after.extend(last.insert((task.kind, task.id.as_str()), at));
        }
        after
    });
    let after: Vec<BTreeSet<usize>> = after.collect();
    arrange(&after)
}

/// Arranges `after.len()` things, each of which comes after those that `after` has for it. A number that is no place is
/// ignored.
#[must_use]
pub fn arrange(after: &[BTreeSet<usize>]) -> Vec<Turn> {
    let circles = circles(after);
    let mut turn_of = vec![0; after.len()];
    for (turn, places) in circles.iter().enumerate() {
        for place in places {
            if let Some(of) = turn_of.get_mut(*place) {
                *of = turn;
            }
        }
    }
    // Which turns wait for a turn, and for how many others it waits itself.
    let mut waiting = vec![Vec::new(); circles.len()];
    let mut waits = vec![0_usize; circles.len()];
    for (turn, places) in circles.iter().enumerate() {
        let before: BTreeSet<usize> = places
            .iter()
            .filter_map(|place| after.get(*place))
            .flatten()
            .filter_map(|other| turn_of.get(*other).copied())
            .collect();
        for other in before.into_iter().filter(|other| *other != turn) {
            if let (Some(waiting), Some(waits)) = (waiting.get_mut(other), waits.get_mut(turn)) {
                waiting.push(turn);
                *waits += 1;
            }
        }
    }
    let first = |turn: usize| {
        circles
            .get(turn)
            .and_then(|places| places.first())
            .copied()
            .unwrap_or_default()
    };
    let ready = waits.iter().enumerate().filter(|(_, waits)| **waits == 0);
    // Of those that wait for nothing the one that was sent first.
    let mut ready: BinaryHeap<Reverse<(usize, usize)>> = ready
        .map(|(turn, _)| Reverse((first(turn), turn)))
        .collect();
    let mut behind = vec![0; circles.len()];
    let mut turns = Vec::with_capacity(circles.len());
    while let Some(Reverse((_, turn))) = ready.pop() {
        let operations = circles.get(turn).cloned().unwrap_or_default();
        let itself = |place: &usize| after.get(*place).is_some_and(|after| after.contains(place));
        turns.push(Turn {
            circle: operations.len() > 1 || operations.iter().any(itself),
            behind: behind.get(turn).copied().unwrap_or_default(),
            operations,
        });
        for other in waiting
            .get_mut(turn)
            .map(std::mem::take)
            .unwrap_or_default()
        {
            if let (Some(waits), Some(behind)) = (waits.get_mut(other), behind.get_mut(other)) {
                // The last of those that it waits for is the one that counts.
                *behind = turns.len();
                *waits -= 1;
                if *waits == 0 {
                    ready.push(Reverse((first(other), other)));
                }
            }
        }
    }
    turns
}

/// The strongly connected components (Tarjan 1972), each ascending. Without recursion: its depth would be the sender's to
/// choose.
fn circles(after: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let mut found = Vec::new();
    // When a place was first seen, and the earliest that can be reached from it; UNSEEN and done are both told by `open`.
    let mut seen = vec![UNSEEN; after.len()];
    let mut low = vec![UNSEEN; after.len()];
    let mut open = vec![false; after.len()];
    let mut stack = Vec::new();
    let mut clock = 0;
    for root in 0..after.len() {
        if seen[root] != UNSEEN {
            continue;
        }
        let mut path = vec![(root, after[root].iter())];
        (seen[root], low[root], open[root]) = (clock, clock, true);
        clock += 1;
        stack.push(root);
        while let Some((place, others)) = path.last_mut() {
            let place = *place;
            match others.next() {
                Some(&other) if other >= after.len() => {}
                Some(&other) if seen[other] == UNSEEN => {
                    (seen[other], low[other], open[other]) = (clock, clock, true);
                    clock += 1;
                    stack.push(other);
                    path.push((other, after[other].iter()));
                }
                Some(&other) if open[other] => low[place] = low[place].min(seen[other]),
                Some(_) => {}
                None => {
                    path.pop();
                    if let Some((above, _)) = path.last() {
                        low[*above] = low[*above].min(low[place]);
                    }
                    if low[place] == seen[place] {
                        let mut circle = Vec::new();
                        while let Some(member) = stack.pop() {
                            open[member] = false;
                            circle.push(member);
                            if member == place {
                                break;
                            }
                        }
                        circle.sort_unstable();
                        found.push(circle);
                    }
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The turns' operations, whether they are a circle, and how many turns they are behind.
    fn arranged(after: &[&[usize]]) -> Vec<(Vec<usize>, bool, usize)> {
        let after: Vec<BTreeSet<usize>> = after
            .iter()
            .map(|after| after.iter().copied().collect())
            .collect();
        let turns = arrange(&after);
        turns
            .into_iter()
            .map(|turn| (turn.operations, turn.circle, turn.behind))
            .collect()
    }

    #[test]
    fn what_needs_nothing_runs_as_it_was_sent_and_the_rest_waits() {
        let one = |place: usize, behind| (vec![place], false, behind);
        assert_eq!(arranged(&[]), []);
        assert_eq!(
            arranged(&[&[], &[], &[]]),
            [one(0, 0), one(1, 0), one(2, 0)]
        );
        // The first one waits for the last; the one between keeps its place before the last.
        assert_eq!(
            arranged(&[&[2], &[], &[]]),
            [one(1, 0), one(2, 0), one(0, 2)]
        );
        assert_eq!(arranged(&[&[0]]), [(vec![0], true, 0)]);
        // 1 and 3 need each other, 0 needs 1, 2 nobody; 9 is no place.
        assert_eq!(
            arranged(&[&[1], &[3], &[9], &[1]]),
            [(vec![1, 3], true, 0), one(0, 1), one(2, 0)]
        );
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_needs_no_stack() {
        let chain: Vec<BTreeSet<usize>> = (0..100_000).map(|at| BTreeSet::from([at + 1])).collect();
        let turns = arrange(&chain);
        assert_eq!(turns.len(), chain.len());
        assert_eq!(turns[0].operations, [99_999]);
        assert_eq!(
            (turns[99_999].operations[0], turns[99_999].behind),
            (0, 99_999)
        );
        let ring: Vec<BTreeSet<usize>> = (0..100_000)
            .map(|at| BTreeSet::from([(at + 1) % 100_000]))
            .collect();
        assert_eq!(arrange(&ring).len(), 1);
    }

    proptest! {
        /// Any graph: each runs once, after what it needs or in one circle with it; and what is in one circle does need
        /// each other.
        #[test]
        fn everything_runs_once_after_what_it_needs(after in proptest::collection::vec(proptest::collection::btree_set(0_usize..14, 0..4), 0..12)) {
            let turns = arrange(&after);
            let mut turn_of = vec![None; after.len()];
            for (at, turn) in turns.iter().enumerate() {
                prop_assert!(turn.operations.is_sorted() && !turn.operations.is_empty());
                for place in &turn.operations {
                    prop_assert_eq!(turn_of[*place].replace(at), None);
                }
            }
            prop_assert!(turn_of.iter().all(Option::is_some));
            for (at, turn) in turns.iter().enumerate() {
                let needs = turn.operations.iter().flat_map(|place| &after[*place]).filter(|other| **other < after.len());
                let last = needs.filter_map(|other| turn_of[*other]).filter(|other| *other != at).map(|other| other + 1).max();
                prop_assert_eq!(turn.behind, last.unwrap_or(0));
                prop_assert!(turn.behind <= at);
            }
            let reach = reach(&after);
            for (place, others) in after.iter().enumerate() {
                for other in others.iter().filter(|other| **other < after.len()) {
                    prop_assert!(turn_of[*other] <= turn_of[place]);
                }
                for other in 0..after.len() {
                    let mutual = reach[place].contains(&other) && reach[other].contains(&place);
                    prop_assert_eq!(mutual, turn_of[place] == turn_of[other] && turns[turn_of[place].unwrap()].circle);
                }
            }
            // As sent where nothing else is asked: whoever overtakes is waited for by somebody, or the other one waits.
            for pair in turns.windows(2) {
                let (one, two) = (&pair[0].operations, &pair[1].operations);
                let waits = two.iter().any(|place| after[*place].iter().any(|other| one.contains(other)));
                prop_assert!(one[0] < two[0] || waits);
            }
        }
    }

    /// What each place needs, directly or not, by the plainest way.
    fn reach(after: &[BTreeSet<usize>]) -> Vec<BTreeSet<usize>> {
        let places = |set: &BTreeSet<usize>| {
            set.iter()
                .copied()
                .filter(|other| *other < after.len())
                .collect()
        };
        let mut reach: Vec<BTreeSet<usize>> = after.iter().map(places).collect();
        loop {
            let before = reach.clone();
            for set in &mut reach {
                let more: Vec<usize> = set
                    .iter()
                    .flat_map(|other| &before[*other])
                    .copied()
                    .collect();
                set.extend(more);
            }
            if reach == before {
                return reach;
            }
        }
    }
}
