//! What policies had and came to at each moment of the span: their groups, and all that stood in them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::belonging::{Policy, Relevant, Stood, Unclear};
use super::groups::{Called, Groups, Names};
use crate::clock::Timestamp;
use crate::policy::assignment::Assigned;

/// What policies come to for one application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Giving {
    /// Whoever is in one of these belongs.
    pub(super) groups: BTreeSet<usize>,
    /// What holds for all others.
    pub(super) others: Stood,
}

/// From a moment on it is so.
#[derive(Debug)]
pub(super) struct Epoch {
    pub(super) sequence: u64,
    pub(super) time: Timestamp,
    pub(super) cases: Vec<Giving>,
    pub(super) how: How,
}

/// What it came by.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    /// A policy has another group, or counts from now on: everybody is looked at, and only who differs is told of.
    pub(super) rebound: bool,
    /// By the end of the group that it had.
    pub(super) died: bool,
    /// A group was put into another one, or taken out: with everybody in it.
    pub(super) nests: bool,
}

/// Whether a policy that is bound to nothing any more was bound to the group of this last name.
pub(super) fn was_bound(policy: &Policy, last: Option<&Names>) -> bool {
    let bound = policy.bound.as_ref().filter(|one| one.group.is_none());
    let last = last.and_then(|names| names.display.as_ref());
    bound.is_some_and(|bound| last == Some(&bound.name))
}

/// Whether there was ever anybody in a policy's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Populated {
    Yes,
    No,
    Perhaps,
}

/// What a policy has at a moment.
#[derive(Debug, Clone)]
enum Has {
    Nothing,
    Group(usize, Populated),
    Deleted,
}

/// Something happened to groups.
enum Happened<'g> {
    Called(usize, &'g Called),
    Nested(usize, usize, bool),
    Peopled(usize, bool),
}

/// Groups on the way from the beginning of the span.
pub(super) struct History<'a> {
    relevant: &'a Relevant,
    cases: &'a [Vec<Policy>],
    has: Vec<Vec<Has>>,
    alive: HashSet<usize>,
    beneath: BTreeSet<(usize, usize)>,
    peopled: HashSet<usize>,
    /// Deleted later, by a record that does not say who was in them.
    dying: HashSet<usize>,
    hides: bool,
    happened: BTreeMap<(u64, usize), (Timestamp, Happened<'a>)>,
}

impl<'a> History<'a> {
    pub(super) fn begin(
        relevant: &'a Relevant,
        groups: &'a Groups,
        cases: &'a [Vec<Policy>],
    ) -> Self {
        let place = |id: &str| relevant.places.get(id).copied();
        let mut alive = HashSet::new();
        let mut beneath = BTreeSet::new();
        // By place: what it was called before the first record, and how old it is.
        let mut names: BTreeMap<usize, (&Names, usize)> = BTreeMap::new();
        for (age, one) in groups.standing.iter().enumerate() {
            let Some(at) = place(&one.id) else { continue };
            alive.insert(at);
            names.insert(at, (&one.names, age));
            let above = one.above.iter().filter_map(|above| place(above));
            beneath.extend(above.map(|above| (above, at)));
        }
        let mut happened = BTreeMap::new();
        for (id, called) in &groups.called {
            let Some(at) = place(id) else { continue };
            match called.first().map(|first| &first.before) {
                Some(Some(before)) => {
                    alive.insert(at);
                    // Those that are gone are told apart by their ids alone, which are in the order of creation.
                    let age = groups.standing.iter().position(|one| one.id >= *id);
                    let age = age.unwrap_or(groups.standing.len());
                    names.insert(at, (before, age));
                }
                _ => {
                    alive.remove(&at);
                    names.remove(&at);
                }
            }
            for one in called {
                let key = (one.sequence, happened.len());
                happened.insert(key, (one.time, Happened::Called(at, one)));
            }
        }
        for one in groups.nested.iter().rev() {
            if let (Some(group), Some(member)) = (place(&one.group), place(&one.member)) {
                if one.after {
                    beneath.remove(&(group, member));
                } else {
                    beneath.insert((group, member));
                }
                let key = (one.sequence, happened.len());
                let nested = Happened::Nested(group, member, one.after);
                happened.insert(key, (one.time, nested));
            }
        }
        for (sequence, time, group, after) in &relevant.peopled {
            let key = (*sequence, happened.len());
            happened.insert(key, (*time, Happened::Peopled(*group, *after)));
        }
        let peopled = relevant.people.iter().enumerate();
        let peopled = peopled.filter(|(_, people)| **people > 0);
        let dying = groups.blind.iter().filter(|(_, (_, _, dies))| *dies);
        let mut history = Self {
            relevant,
            cases,
            has: Vec::new(),
            alive,
            beneath,
            peopled: peopled.map(|(at, _)| at).collect(),
            dying: dying.filter_map(|(id, _)| place(id)).collect(),
            hides: groups.hides,
            happened,
        };
        let first = |policy: &Policy| history.first(policy, groups, &names);
        let has = cases.iter().map(|case| case.iter().map(first).collect());
        let has: Vec<Vec<Has>> = has.collect();
        history.has = has;
        history
    }

    /// What a policy had before the first record.
    fn first(
        &self,
        policy: &Policy,
        groups: &Groups,
        names: &BTreeMap<usize, (&Names, usize)>,
    ) -> Has {
        let bound = policy.bound.as_ref();
        let populated = |at: usize, was: bool| match (self.has_people(at), was) {
            (true, _) => Populated::Yes,
            (false, true) => Populated::Perhaps,
            (false, false) => Populated::No,
        };
        if let Some((bound, id)) = bound.and_then(|bound| Some((bound, bound.group.as_ref()?)))
            && let Some(at) = self.relevant.places.get(id).copied()
            && let Some((called, _)) = names.get(&at)
        {
            let later = groups.called.get(id).into_iter().flatten();
            let mut later = later.filter_map(|one| one.after.as_ref());
            let comes = later.any(|names| names.are_of(&policy.selector));
            // It stood then, and was not given the name later only.
            if called.are_of(&policy.selector) || !comes {
                return Has::Group(at, populated(at, bound.populated));
            }
        }
        let gone = bound.filter(|bound| bound.group.is_none());
        let last = |at: usize| {
            let id = self.relevant.ids.get(at)?;
            groups
                .called
                .get(id)?
                .last()
                .filter(|last| last.after.is_none())
        };
        if let Some(bound) = gone {
            let its = |at: &&usize| {
                last(**at).is_some_and(|last| was_bound(policy, last.before.as_ref()))
            };
            return match names.keys().find(its) {
                Some(at) => Has::Group(*at, populated(*at, bound.populated)),
                None => Has::Deleted,
            };
        }
        let named = names
            .iter()
            .filter(|(_, (names, _))| names.are_of(&policy.selector));
        match named.min_by_key(|(at, (_, age))| (*age, **at)) {
            Some((at, _)) => Has::Group(*at, populated(*at, false)),
            None => Has::Nothing,
        }
    }

    /// A group and all that stand in it, however deep; circles end.
    fn whole(&self, group: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut next = vec![group];
        while let Some(group) = next.pop() {
            if self.alive.contains(&group) && found.insert(group) {
                let beneath = self.beneath.range((group, 0)..=(group, usize::MAX));
                next.extend(beneath.map(|(_, member)| *member));
            }
        }
        found
    }

    fn has_people(&self, group: usize) -> bool {
        let whole = self.whole(group);
        whole.iter().any(|group| self.peopled.contains(group))
    }

    fn giving(&self) -> Vec<Giving> {
        let cases = self.has.iter().zip(self.cases);
        let one = |(has, policies): (&Vec<Has>, &Vec<Policy>)| {
            let mut giving = Giving {
                groups: BTreeSet::new(),
                others: Ok(Assigned::Everybody),
            };
            if policies.is_empty() {
                return giving;
            }
            let (mut unknown, mut deleted, mut perhaps) = (false, false, false);
            for has in has {
                match has {
                    Has::Nothing | Has::Group(_, Populated::No) => unknown = true,
                    Has::Deleted => deleted = true,
                    Has::Group(group, populated) => {
                        perhaps |= *populated == Populated::Perhaps;
                        giving.groups.extend(self.whole(*group));
                    }
                }
            }
            let dying = giving.groups.iter().any(|one| self.dying.contains(one));
            giving.others = if self.hides {
                Err(Unclear::Name)
            } else if dying {
                Err(Unclear::Dead)
            } else if unknown {
                Ok(Assigned::Unknown)
            } else if perhaps {
                Err(Unclear::Empty)
            } else if deleted {
                Ok(Assigned::Deleted)
            } else {
                Ok(Assigned::Out)
            };
            giving
        };
        cases.map(one).collect()
    }

    /// What the policies came to at each moment where that changed.
    pub(super) fn epochs(mut self) -> Vec<Epoch> {
        let mut epochs = vec![Epoch {
            sequence: 0,
            time: Timestamp(0),
            cases: self.giving(),
            how: How {
                rebound: false,
                died: false,
                nests: false,
            },
        }];
        let mut happened = std::mem::take(&mut self.happened).into_iter().peekable();
        while let Some(((sequence, _), (time, first))) = happened.next() {
            let mut all = vec![first];
            while let Some((_, (_, one))) = happened.next_if(|((next, _), _)| *next == sequence) {
                all.push(one);
            }
            let nests = all.iter().any(|one| matches!(one, Happened::Nested(..)));
            // Memberships first: a group that is made with people in it counts at once.
            for one in &all {
                match *one {
                    Happened::Nested(group, member, true) => {
                        self.beneath.insert((group, member));
                    }
                    Happened::Nested(group, member, false) => {
                        self.beneath.remove(&(group, member));
                    }
                    Happened::Peopled(group, true) => {
                        self.peopled.insert(group);
                    }
                    Happened::Peopled(group, false) => {
                        self.peopled.remove(&group);
                    }
                    Happened::Called(..) => {}
                }
            }
            let (mut rebound, mut died) = (false, false);
            for one in all {
                if let Happened::Called(group, called) = one {
                    let bound = self.call(group, called);
                    rebound |= bound;
                    died |= bound && called.after.is_none();
                }
            }
            rebound |= self.populate();
            let cases = self.giving();
            if epochs.last().is_none_or(|last| last.cases != cases) {
                epochs.push(Epoch {
                    sequence,
                    time,
                    cases,
                    how: How {
                        rebound,
                        died,
                        nests,
                    },
                });
            }
        }
        epochs
    }

    /// A group came, went, or is called otherwise. Whether a policy has another one by that.
    fn call(&mut self, group: usize, called: &Called) -> bool {
        let mut rebound = false;
        let Some(after) = &called.after else {
            self.alive.remove(&group);
            for has in self.has.iter_mut().flatten() {
                if matches!(has, Has::Group(its, _) if *its == group) {
                    *has = Has::Deleted;
                    rebound = true;
                }
            }
            return rebound;
        };
        self.alive.insert(group);
        let populated = match self.has_people(group) {
            true => Populated::Yes,
            false => Populated::No,
        };
        let policies = self.cases.iter().flatten();
        for (has, policy) in self.has.iter_mut().flatten().zip(policies) {
            let free = matches!(has, Has::Nothing | Has::Deleted);
            if free && after.are_of(&policy.selector) {
                *has = Has::Group(group, populated);
                rebound = true;
            }
        }
        rebound
    }

    /// Groups that have somebody count from now on.
    fn populate(&mut self) -> bool {
        let mut all = std::mem::take(&mut self.has);
        let mut rebound = false;
        for has in all.iter_mut().flatten() {
            if let Has::Group(group, populated) = has
                && *populated != Populated::Yes
                && self.has_people(*group)
            {
                *populated = Populated::Yes;
                rebound = true;
            }
        }
        self.has = all;
        rebound
    }
}
