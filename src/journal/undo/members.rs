//! Memberships: what a client's writes did to them in the end, and what undoes it.

use std::collections::{BTreeMap, HashMap};

use super::fold::Passed;
use super::since::Since;
use crate::scim::Kind;

/// One membership, before the first of the writes and after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    before: bool,
    after: bool,
    /// It fell with the member, who was deleted: the group may be anybody's.
    fell: bool,
    since: Since,
}

impl Edge {
    /// Whether it fell with the member, who was deleted.
    #[must_use]
    pub fn fell(self) -> bool {
        self.fell
    }

    /// Whether somebody changed it since.
    #[must_use]
    pub fn is_since(self) -> bool {
        self.since.is_any()
    }

    /// Whether it was there before the writes, and not after them.
    #[must_use]
    pub fn is_missing(self) -> bool {
        self.before && !self.after
    }

    /// Whether it is there after the writes, and was not before them.
    #[must_use]
    pub fn is_new(self) -> bool {
        self.after && !self.before
    }
}

/// What happened to memberships: group -> member -> edge.
#[derive(Debug, Default)]
pub struct Memberships {
    groups: BTreeMap<String, BTreeMap<Box<str>, Edge>>,
    len: usize,
}

impl Memberships {
    pub(super) fn note(&mut self, group: &str, member: &str, after: bool, fell: bool) {
        let members = match self.groups.get_mut(group) {
            Some(members) => members,
            None => self.groups.entry(group.to_owned()).or_default(),
        };
        match members.get_mut(member) {
            Some(edge) => {
                edge.after = after;
                edge.fell |= fell;
                edge.since = Since::Not;
            }
            None => {
                let before = !after;
                let edge = Edge {
                    before,
                    after,
                    fell,
                    since: Since::Not,
                };
                members.insert(Box::from(member), edge);
                self.len += 1;
            }
        }
    }

    /// Notes that somebody changed it since, if it is one of these.
    pub(super) fn touch(&mut self, group: &str, member: &str, after: bool, undoes: bool) {
        let members = self.groups.get_mut(group);
        if let Some(edge) = members.and_then(|members| members.get_mut(member)) {
            edge.since.touch(after == edge.after, undoes);
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The groups that they are of.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }

    /// Those of one group whose end differs from their beginning.
    pub fn of(&self, group: &str) -> impl Iterator<Item = (&str, Edge)> {
        let edges = self.groups.get(group).into_iter().flatten();
        edges
            .filter(|(_, edge)| edge.before != edge.after)
            .map(|(member, edge)| (&**member, *edge))
    }

    /// How one membership ended, if it was changed.
    #[must_use]
    pub fn get(&self, group: &str, member: &str) -> Option<Edge> {
        self.groups.get(group)?.get(member).copied()
    }
}

/// How a member stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// In the group.
    In,
    /// Not in it.
    Out,
    /// Nowhere any more.
    Gone,
}

/// What undoes one membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// The member is put in.
    PutIn,
    /// The member is taken out.
    TakeOut,
    /// It is as it was.
    Nothing,
    /// It is left alone, and told.
    Left,
}

/// What is done to a group's members, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moves {
    /// Put in again.
    pub put_in: usize,
    /// Taken out again.
    pub taken_out: usize,
    /// They were created by these writes and stay, and stay in.
    pub created: usize,
    /// Somebody changed them since.
    pub since: usize,
    /// They are gone, and cannot be put in.
    pub gone: usize,
}

impl Moves {
    /// What undoes a membership. `created`: the member was created by these writes and is not taken away.
    pub fn weigh(&mut self, edge: Edge, stands: Stands, created: bool) -> Move {
        match (edge.is_missing(), edge.is_new(), stands) {
            (true, _, Stands::Out) | (_, true, Stands::In) if edge.is_since() => {
                self.since += 1;
                Move::Left
            }
            (true, _, Stands::Out) => {
                self.put_in += 1;
                Move::PutIn
            }
            (true, _, Stands::Gone) => {
                self.gone += 1;
                Move::Left
            }
            // It came about with the member, and goes with the member or not at all.
            (_, true, Stands::In) if created => {
                self.created += 1;
                Move::Left
            }
            (_, true, Stands::In) => {
                self.taken_out += 1;
                Move::TakeOut
            }
            _ => Move::Nothing,
        }
    }

    /// What is told of those that are left alone.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let of = |number: usize, text: &str| (number > 0).then(|| format!("{number} {text}"));
        let told = [
            of(
                self.created,
                "that these writes created and put in stay in it",
            ),
            of(
                self.since,
                "whose membership somebody changed since are left as they are",
            ),
            of(self.gone, "of those to put in are not there any more"),
        ];
        let told: Vec<String> = told.into_iter().flatten().collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

/// The places of the deleted groups among what passed, those that were in others before these: a group that decides who
/// belongs is made again with all that was beneath it, else somebody would be out for a moment.
#[must_use]
pub fn inner_first(passed: &[Passed], memberships: &Memberships) -> Vec<usize> {
    let deleted = |one: &Passed| one.kind == Kind::Group && one.deleted && !one.created;
    let places: HashMap<&str, usize> = passed
        .iter()
        .enumerate()
        .filter(|(_, one)| deleted(one))
        .map(|(place, one)| (one.id(), place))
        .collect();
    let mut order = Vec::new();
    let mut seen = vec![false; passed.len()];
    // No recursion: how deep groups stand in groups is a client's choice.
    for start in 0..passed.len() {
        if !passed.get(start).is_some_and(deleted) {
            continue;
        }
        let mut open = vec![(start, false)];
        while let Some((place, done)) = open.pop() {
            if done {
                order.push(place);
                continue;
            }
            let Some(one) = passed.get(place) else {
                continue;
            };
            if seen
                .get_mut(place)
                .is_none_or(|seen| std::mem::replace(seen, true))
            {
                continue;
            }
            open.push((place, true));
            let inner = memberships
                .of(one.id())
                .filter(|(_, edge)| edge.is_missing());
            open.extend(inner.filter_map(|(member, _)| Some((*places.get(member)?, false))));
        }
    }
    order
}
