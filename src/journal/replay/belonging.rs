//! Who was in the groups of the new configuration's policies, and when: walked back from the memberships of now to the
//! beginning of the span, over the few groups that matter, and then forward.
//!
//! The new configuration is taken to come into force at the beginning of the span. A policy that is in force already is
//! bound as it is, as far as its group stood then.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::groups::{Called, Groups, Names, moves};
use super::history::{Epoch, Giving, History, How, was_bound};
use super::past::is_kept;
use crate::clock::Timestamp;
use crate::journal::record::{Event, Operation, Record};
use crate::policy::assignment::{Assigned, Selector};
use crate::scim::Kind;

/// Why it cannot be said whether somebody was in a policy's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unclear {
    /// They are gone, and an older usher did not write where they were.
    Gone,
    /// What the journal shows of memberships does not hold together.
    Missing,
    /// Whether the group ever had anybody before.
    Empty,
    /// The group is gone, and an older usher did not write who was in it.
    Dead,
    /// How a group was called.
    Name,
}

impl Unclear {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Gone => "gone from the directory, so that nobody knows in which groups they were",
            Self::Missing => {
                "records are missing: what the journal shows of memberships does not hold together"
            }
            Self::Empty => {
                "nobody was in a policy's group then, and the journal does not show whether anybody had been before"
            }
            Self::Dead => {
                "a policy's group was deleted, and the journal does not show who was in it"
            }
            Self::Name => "the journal does not show what a policy's group was called",
        }
    }

    /// It is of no account where these come to the same.
    pub(super) fn between(self) -> [Assigned; 2] {
        match self {
            Self::Empty => [Assigned::Out, Assigned::Unknown],
            Self::Gone | Self::Missing | Self::Dead | Self::Name => [Assigned::In, Assigned::Out],
        }
    }
}

/// What an application's policies come to for somebody, as far as it can be said.
pub type Stood = Result<Assigned, Unclear>;

/// A policy of the new configuration.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How it names its group.
    pub selector: Selector,
    /// What it is bound to now, if it is in force already.
    pub bound: Option<Bound>,
}

/// What a policy is bound to now.
#[derive(Debug, Clone)]
pub struct Bound {
    /// The group's id; `None`: it is gone.
    pub group: Option<String>,
    /// What it was called last.
    pub name: String,
    /// There was somebody in it since.
    pub populated: bool,
}

/// From a moment on somebody belongs, or does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The record that it came by.
    pub sequence: u64,
    /// When.
    pub time: Timestamp,
    /// For each application.
    pub stood: Vec<Stood>,
    /// Not by a membership, but because a policy has another group: whoever is not touched by that is not told of.
    pub quiet: bool,
}

/// Where somebody belonged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Belonging {
    /// Before the first record of the span, for each application.
    pub begin: Vec<Stood>,
    /// And from then on, oldest first.
    pub turns: VecDeque<Turn>,
    /// An older usher wrote some records without memberships: what stands in an entry of theirs is better.
    pub gaps: bool,
}

/// A person was put into a group, or taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    sequence: u64,
    time: Timestamp,
    group: usize,
    after: bool,
}

/// The groups that matter, and who was picked by them.
#[derive(Debug, Default)]
pub struct Relevant {
    pub(super) ids: Vec<String>,
    pub(super) places: HashMap<String, usize>,
    /// How many people were in each before the first record.
    pub(super) people: Vec<i64>,
    running: Vec<i64>,
    /// A group got its first person, or lost its last.
    pub(super) peopled: Vec<(u64, Timestamp, usize, bool)>,
    /// Nothing was written of memberships until then.
    blind: Option<Timestamp>,
    epochs: Vec<Epoch>,
}

impl Relevant {
    /// The groups that the policies had, and all that ever stood in them.
    #[must_use]
    pub fn of(groups: &Groups, cases: &[Vec<Policy>]) -> Self {
        let policies = || cases.iter().flatten();
        let named = |names: Option<&Names>| {
            names.is_some_and(|names| policies().any(|one| names.are_of(&one.selector)))
        };
        let mut wanted: Vec<&str> = policies()
            .filter_map(|one| one.bound.as_ref()?.group.as_deref())
            .collect();
        let standing = groups.standing.iter();
        wanted.extend(
            standing
                .filter(|one| named(Some(&one.names)))
                .map(|one| one.id.as_str()),
        );
        for (id, called) in &groups.called {
            let last = called.last().and_then(|last| last.before.as_ref());
            let was_bound = |one: &Policy| was_bound(one, last);
            let any = |one: &Called| named(one.before.as_ref()) || named(one.after.as_ref());
            if called.iter().any(any) || policies().any(was_bound) {
                wanted.push(id);
            }
        }
        let mut beneath: HashMap<&str, Vec<&str>> = HashMap::new();
        for one in &groups.standing {
            for above in &one.above {
                beneath.entry(above).or_default().push(&one.id);
            }
        }
        for one in &groups.nested {
            beneath.entry(&one.group).or_default().push(&one.member);
        }
        let mut found = Self::default();
        while let Some(id) = wanted.pop() {
            if found.places.contains_key(id) {
                continue;
            }
            found.places.insert(id.to_owned(), found.ids.len());
            found.ids.push(id.to_owned());
            wanted.extend(beneath.get(id).into_iter().flatten());
        }
        let blind = groups.blind.iter();
        let blind = blind.filter(|(id, _)| found.places.contains_key(*id));
        found.blind = blind.map(|(_, (_, time, _))| *time).max();
        found
    }

    /// Their ids, in the order that [`Relevant::people`] takes them.
    #[must_use]
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// Until when an older usher wrote records of them without their memberships.
    #[must_use]
    pub fn blind(&self) -> Option<Timestamp> {
        self.blind
    }

    /// How many people are in each now.
    pub fn people(&mut self, now: &[i64], groups: &Groups) {
        let were = self.ids.iter().zip(now).map(|(id, now)| {
            let grown = groups.grown.get(id).copied().unwrap_or_default();
            now.saturating_sub(grown)
        });
        self.people = were.collect();
        self.running.clone_from(&self.people);
    }

    /// Counts a record's people.
    pub fn count(&mut self, record: &Record, groups: &Groups) {
        for (group, member, after) in moved(record) {
            let Some(place) = self.places.get(group).copied() else {
                continue;
            };
            let Some(count) = self.running.get_mut(place) else {
                continue;
            };
            if groups.is_group(member) {
                continue;
            }
            let was = *count > 0;
            *count += if after { 1 } else { -1 };
            if was != (*count > 0) {
                let one = (record.sequence, record.time, place, !was);
                self.peopled.push(one);
            }
        }
    }

    /// The people whom a record puts into one of the groups, or takes out: with their moves.
    pub fn moves(&self, record: &Record, groups: &Groups, mut each: impl FnMut(&str, Move)) {
        for (group, member, after) in moved(record) {
            if let Some(group) = self.places.get(group).copied()
                && !groups.is_group(member)
            {
                let one = Move {
                    sequence: record.sequence,
                    time: record.time,
                    group,
                    after,
                };
                each(member, one);
            }
        }
    }

    /// Once all is counted: what the policies came to at each moment.
    pub fn settle(&mut self, groups: &Groups, cases: &[Vec<Policy>]) {
        self.epochs = History::begin(self, groups, cases).epochs();
    }

    /// The groups whose people came to belong before `until`, or ceased to, by what happened to groups.
    #[must_use]
    pub fn affected(&self, until: Timestamp) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for pair in self.epochs.windows(2) {
            if let [one, other] = pair
                && other.time < until
            {
                for (one, other) in one.cases.iter().zip(&other.cases) {
                    found.extend(one.groups.symmetric_difference(&other.groups));
                }
            }
        }
        found
    }

    /// Where a person belonged. `now`: the ids of the groups they are in directly; `None`: nobody knows. `moves`: oldest
    /// first.
    #[must_use]
    pub fn belonging(&self, now: Option<&[String]>, moves: &[Move]) -> Belonging {
        let known = now.map(|now| {
            let now = now.iter().filter_map(|id| self.places.get(id).copied());
            now.collect::<BTreeSet<usize>>()
        });
        let mut whole = true;
        let mut direct = known.clone().unwrap_or_default();
        for one in moves.iter().rev() {
            whole &= if one.after {
                direct.remove(&one.group)
            } else {
                direct.insert(one.group)
            };
        }
        let unclear = match known {
            None => Some(Unclear::Gone),
            // Where an older usher wrote nothing there are gaps, and that is told.
            Some(_) if !whole && self.blind.is_none() => Some(Unclear::Missing),
            Some(_) => None,
        };
        let stood = |direct: &BTreeSet<usize>, epoch: &Epoch| -> Vec<Stood> {
            let cases = epoch.cases.iter();
            let one = |giving: &Giving| match unclear {
                Some(unclear) => Err(unclear),
                None if direct.is_disjoint(&giving.groups) => giving.others,
                None => Ok(Assigned::In),
            };
            cases.map(one).collect()
        };
        let mut found = Belonging {
            gaps: self.blind.is_some(),
            ..Belonging::default()
        };
        let mut epochs = self.epochs.iter();
        let Some(mut epoch) = epochs.next() else {
            return found;
        };
        found.begin = stood(&direct, epoch);
        let (mut epochs, mut moves) = (epochs.peekable(), moves.iter().peekable());
        loop {
            let next = [
                epochs.peek().map(|epoch| (epoch.sequence, epoch.time)),
                moves.peek().map(|one| (one.sequence, one.time)),
            ];
            let Some((sequence, time)) = next.into_iter().flatten().min() else {
                return found;
            };
            let (mut how, mut own) = (None, false);
            while let Some(next) = epochs.next_if(|epoch| epoch.sequence == sequence) {
                epoch = next;
                how = Some(epoch.how);
            }
            while let Some(one) = moves.next_if(|one| one.sequence == sequence) {
                own = true;
                if one.after {
                    direct.insert(one.group);
                } else {
                    direct.remove(&one.group);
                }
            }
            let stood = stood(&direct, epoch);
            let last = found.turns.back().map_or(&found.begin, |last| &last.stood);
            if *last != stood {
                let nests = |how: How| how.nests && stood.contains(&Ok(Assigned::In));
                let quiet = |how: How| how.rebound && (how.died || !own && !nests(how));
                let quiet = how.is_some_and(quiet);
                found.turns.push_back(Turn {
                    sequence,
                    time,
                    stood,
                    quiet,
                });
            }
        }
    }
}

/// The memberships that a record moved, if it was kept.
fn moved(record: &Record) -> impl Iterator<Item = (&str, &str, bool)> {
    let kept = record.event == Event::Members || is_kept(record);
    moves(record).filter(move |_| kept)
}

/// Whether a user's record should say in which groups they were, and does not.
#[must_use]
pub fn is_silent(record: &Record) -> bool {
    record.kind == Kind::User
        && record.operation == Operation::Delete
        && is_kept(record)
        && record.edges.is_none()
}
