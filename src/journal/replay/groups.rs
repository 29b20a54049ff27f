//! What groups went through since the beginning of the span: their names, which stood in which, and what the journal does
//! not show of them. Groups are few: this holds them all, and of people only how many.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::past::is_kept;
use crate::clock::Timestamp;
use crate::journal::record::{Changed, Event, Operation, Record};
use crate::policy::assignment::Selector;
use crate::scim::Kind;
use crate::scim::schema::fold;

/// By what a policy finds a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// `displayName`
    pub display: Option<String>,
    /// `externalId`
    pub external: Option<String>,
}

impl Names {
    pub(super) fn are_of(&self, selector: &Selector) -> bool {
        match selector {
            Selector::DisplayName(name) => {
                self.display.as_deref().map(fold).as_deref() == Some(name)
            }
            Selector::ExternalId(id) => self.external.as_ref() == Some(id),
        }
    }
}

/// A group as the directory has it now.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The directory's id.
    pub id: String,
    /// Its names.
    pub names: Names,
    /// The ids of the groups that it is in.
    pub above: Vec<String>,
}

/// A group came, went, or is called otherwise.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) sequence: u64,
    pub(super) time: Timestamp,
    /// `None`: there was none.
    pub(super) before: Option<Names>,
    /// `None`: it is gone.
    pub(super) after: Option<Names>,
}

/// A group was put into another one, or taken out of it.
#[derive(Debug)]
pub(super) struct Nested {
    pub(super) sequence: u64,
    pub(super) time: Timestamp,
    pub(super) group: String,
    pub(super) member: String,
    pub(super) after: bool,
}

/// Groups, folded from their records.
#[derive(Debug, Default)]
pub struct Groups {
    /// In the order of the directory.
    pub(super) standing: Vec<Standing>,
    /// What happened to names, for each group oldest first.
    pub(super) called: BTreeMap<String, Vec<Called>>,
    /// What happened to groups in groups, oldest first.
    pub(super) nested: Vec<Nested>,
    /// By how many people a group has grown.
    pub(super) grown: HashMap<String, i64>,
    /// The last record of a group that does not hold its memberships, and whether it is the group's end.
    pub(super) blind: HashMap<String, (u64, Timestamp, bool)>,
    /// A record of a group does not show what it was called.
    pub(super) hides: bool,
    /// All that are or were groups, with their place among those that stand.
    ids: HashMap<String, Option<usize>>,
    open: HashMap<u64, (String, Timestamp, bool)>,
}

impl Groups {
    /// With those that stand now.
    #[must_use]
    pub fn of(standing: Vec<Standing>) -> Self {
        Self {
            ids: standing
                .iter()
                .enumerate()
                .map(|(at, one)| (one.id.clone(), Some(at)))
                .collect(),
            standing,
            ..Self::default()
        }
    }

    /// Whether it is, or was, a group's id.
    #[must_use]
    pub fn is_group(&self, id: &str) -> bool {
        self.ids.contains_key(id)
    }

    /// First of all takes every record for what it says of names: only then is it known which members are groups.
    pub fn name(&mut self, record: &Record) {
        if record.kind != Kind::Group || !is_kept(record) {
            return;
        }
        let stands = *self.ids.entry(record.id.clone()).or_default();
        let (born, dies) = (
            record.operation == Operation::Create,
            record.operation == Operation::Delete,
        );
        let changed = |name: &str| record.changed.iter().find(|one| one.attribute == name);
        let (display, external) = (changed("displayName"), changed("externalId"));
        let hidden = |one: &Changed| one.old.is_none() && one.new.is_none();
        self.hides |= external.is_some_and(hidden) || !born && !dies && display.is_some_and(hidden);
        if !born && !dies && display.is_none() && external.is_none() {
            return;
        }
        let text = |value: &Option<Value>| value.as_ref()?.as_str().map(str::to_owned);
        let calls = self.called.entry(record.id.clone()).or_default();
        let last = calls.last().and_then(|last| last.after.clone());
        let stands = stands.and_then(|at| self.standing.get(at));
        let last = last.or_else(|| stands.map(|one| one.names.clone()));
        let other = last.unwrap_or_default();
        // A record names the group as it is after it, whatever a rule hides.
        let after = Names {
            display: Some(record.user.clone()),
            external: external.map_or(other.external.clone(), |one| text(&one.new)),
        };
        let before = Names {
            display: display
                .and_then(|one| text(&one.old))
                .or_else(|| Some(record.user.clone())),
            external: external.map_or(other.external, |one| text(&one.old)),
        };
        // What was told of the other name alone.
        let sides = calls.iter_mut().filter(|_| external.is_some());
        for names in sides
            .flat_map(|one| [one.before.as_mut(), one.after.as_mut()])
            .flatten()
        {
            if names.external.is_none() {
                names.external.clone_from(&before.external);
            }
        }
        calls.push(Called {
            sequence: record.sequence,
            time: record.time,
            before: (!born).then_some(before),
            after: (!dies).then_some(after),
        });
    }

    /// Then takes every record for its memberships.
    pub fn take(&mut self, record: &Record) {
        let more = record.event == Event::Members;
        if record.kind != Kind::Group && record.operation != Operation::Delete
            || !more && !is_kept(record)
        {
            return;
        }
        let is_group = record.kind == Kind::Group;
        let dies = record.operation == Operation::Delete;
        let Some(edges) = &record.edges else {
            if is_group {
                let blind = (record.sequence, record.time, dies);
                self.blind.insert(record.id.clone(), blind);
            }
            return;
        };
        let request = edges.of.unwrap_or(record.sequence);
        if is_group && edges.more {
            let open = (record.id.clone(), record.time, dies);
            self.open.insert(request, open);
        } else {
            self.open.remove(&request);
        }
        for (group, member, after) in moves(record) {
            if self.ids.contains_key(member) {
                self.nested.push(Nested {
                    sequence: record.sequence,
                    time: record.time,
                    group: group.to_owned(),
                    member: member.to_owned(),
                    after,
                });
            } else {
                let grown = self.grown.entry(group.to_owned()).or_default();
                *grown += if after { 1 } else { -1 };
            }
        }
    }

    /// There are no more records.
    pub fn close(&mut self) {
        for (request, (id, time, dies)) in self.open.drain() {
            // The rest of them is not written yet.
            self.blind.insert(id, (request, time, dies));
        }
    }
}

/// The memberships that a record moves: group, member, and whether it is one afterwards.
pub(super) fn moves(record: &Record) -> impl Iterator<Item = (&str, &str, bool)> {
    let id = record.id.as_str();
    record.edges.iter().flat_map(move |edges| {
        let added = edges.added.iter().map(move |one| (id, one.as_str(), true));
        let removed = edges
            .removed
            .iter()
            .map(move |one| (id, one.as_str(), false));
        let left = edges.left.iter().map(move |one| (one.as_str(), id, false));
        added.chain(removed).chain(left)
    })
}
