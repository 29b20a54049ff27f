//! What somebody changed after a client's writes. That it stands as the client left it does not say that nobody meant it.

use std::collections::HashMap;

use super::super::record::{Event, Operation, Record, Status};
use super::fold::{Fold, Passed};
use crate::config::check::UNDO;
use crate::scim::Kind;
use crate::scim::schema::fold;

/// What became of one thing since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Since {
    /// Nothing.
    #[default]
    Not,
    /// It was changed, and an undo of that change may bring it back to where it was.
    Away,
    /// It was brought to where the client had left it by somebody who meant that.
    Meant,
}

impl Since {
    /// `back`: to where the client left it. `undoes`: by an undo of the same client's writes, which is no change of its own.
    pub(super) fn touch(&mut self, back: bool, undoes: bool) {
        *self = match (*self, back, undoes) {
            // Spans are undone one after the other, the latest first.
            (Self::Away, true, true) => Self::Not,
            (before, _, true) => before,
            (_, true, false) | (Self::Meant, false, false) => Self::Meant,
            (_, false, false) => Self::Away,
        };
    }

    /// Whether there is anything.
    pub(super) fn is_any(self) -> bool {
        self != Self::Not
    }
}

/// Whom later records may be about, apart from those whose ids the client changed. Only what was folded is in it.
#[derive(Debug, Default)]
pub(super) struct Heirs {
    /// The folded names of those that were deleted -> their places.
    names: HashMap<(Kind, String), usize>,
    /// The ids of those that have such a name since -> the place of who had it.
    ids: HashMap<String, usize>,
}

impl Fold {
    /// From here on come the records behind the span, all to the journal's end.
    pub fn behind(&mut self) {
        self.floor = Some(self.last);
        let mut heirs = Heirs::default();
        for (place, passed) in self.passed.iter().enumerate() {
            if passed.deleted
                && !passed.created
                && let Some(name) = passed.name_before()
            {
                heirs.names.insert((passed.kind, fold(name)), place);
            }
        }
        for passed in self.passed.iter().filter(|one| one.created) {
            if let Some(place) = heirs.names.get(&(passed.kind, fold(&passed.user))) {
                heirs.ids.insert(passed.id.clone(), *place);
            }
        }
        self.heirs = heirs;
    }

    /// Takes a record that stands behind the span.
    pub fn take_behind(&mut self, record: &Record) {
        self.take_more(record);
        self.hear(record);
        self.take_since(record);
    }

    /// A delivery that says whose an account was.
    pub(super) fn hear(&mut self, record: &Record) {
        let Some(place) = self.places.get(&record.id) else {
            return;
        };
        let mut deliveries = record.deliveries.iter();
        let adopted = deliveries.find(|one| {
            one.operation == Operation::Adopt
                && matches!(one.status, Status::Success | Status::Warning)
        });
        if let (Some(adopted), Some(passed)) = (adopted, self.passed.get_mut(*place)) {
            passed.adopted = Some(adopted.application.clone());
        }
    }

    /// A change of somebody else's, or a later one of the client's.
    pub(super) fn take_since(&mut self, record: &Record) {
        if !matches!(record.status, Status::Success | Status::Warning) {
            return;
        }
        let undoes = self.undoes(record);
        match record.event {
            Event::Delivery => return,
            Event::Request => self.touch(record, undoes),
            // Of a request in the span, or before it, more may come behind it.
            Event::Members => {
                let of = record.edges.as_ref().and_then(|edges| edges.of);
                if of.is_none_or(|of| self.floor.is_none_or(|floor| of <= floor)) {
                    return;
                }
            }
        }
        if let Some(edges) = &record.edges {
            for member in &edges.added {
                self.touch_edge(&record.id, member, true, undoes);
            }
            for member in &edges.removed {
                self.touch_edge(&record.id, member, false, undoes);
            }
            for group in &edges.left {
                self.touch_edge(group, &record.id, false, undoes);
            }
        }
        if record.event == Event::Request
            && record.operation == Operation::Delete
            && !edges_follow(record)
        {
            self.heirs.ids.remove(&record.id);
        }
    }

    /// Whether an earlier undo of the same client's writes wrote it.
    fn undoes(&self, record: &Record) -> bool {
        record.client == UNDO
            && record.code.as_deref() == Some("undo")
            && record.reason.as_deref()
                == Some(&*format!("undoes what the client {} wrote", self.client))
    }

    fn touch(&mut self, record: &Record, undoes: bool) {
        if let Some(place) = self.places.get(&record.id)
            && let Some(passed) = self.passed.get_mut(*place)
        {
            passed.touch(record, undoes);
        }
        if self.heirs.names.is_empty() {
            return;
        }
        let named = self.heirs.names.get(&(record.kind, fold(&record.user)));
        if let (Some(place), Operation::Create) = (named, record.operation) {
            self.heirs.ids.insert(record.id.clone(), *place);
        }
        let heir = self.heirs.ids.get(&record.id).or(named);
        if let Some(passed) = heir.and_then(|place| self.passed.get_mut(*place))
            && passed.id != record.id
        {
            let back = record.operation == Operation::Delete;
            passed.named.touch(back, undoes);
        }
    }

    fn touch_edge(&mut self, group: &str, member: &str, after: bool, undoes: bool) {
        let before = |id: &str| {
            let place = self.heirs.ids.get(id)?;
            self.passed.get(*place).map(|passed| passed.id.as_str())
        };
        for group in [Some(group), before(group)].into_iter().flatten() {
            for member in [Some(member), before(member)].into_iter().flatten() {
                self.memberships.touch(group, member, after, undoes);
            }
        }
    }
}

fn edges_follow(record: &Record) -> bool {
    record.edges.as_ref().is_some_and(|edges| edges.more)
}

impl Passed {
    fn touch(&mut self, record: &Record, undoes: bool) {
        for changed in &record.changed {
            let folded = self.attributes.get(&changed.attribute);
            if folded.is_none() && !self.created {
                continue;
            }
            let left = || match folded {
                Some(Some((_, new))) => new.clone(),
                _ => changed.old.clone(),
            };
            let hidden = changed.old.is_none() && changed.new.is_none();
            let (left, since) = self
                .since
                .entry(changed.attribute.clone())
                .or_insert_with(|| (left(), Since::Not));
            // What is hidden may be anything.
            let back = if hidden {
                !undoes
            } else {
                changed.new == *left
            };
            since.touch(back, undoes);
        }
    }

    /// Whether somebody changed this attribute since.
    pub(super) fn is_since(&self, attribute: &str) -> bool {
        let since = self.since.get(attribute);
        since.is_some_and(|(_, since)| since.is_any())
    }
}
