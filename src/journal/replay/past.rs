//! What one person went through since the beginning of the span, folded from their records: where they stood before.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::journal::record::{Changed, Delivery, Event, Operation, Record, Status};
use crate::policy::scope::REFUSED;
use crate::scim::schema::fold;
use crate::scim::{Kind, Resource};

/// An attribute's values at both ends of what the journal shows.
#[derive(Debug)]
struct Trace {
    /// Before the first record of it; the outer `None`: not shown.
    before: Option<Option<Value>>,
    /// After the last one, likewise.
    after: Option<Option<Value>>,
    /// The last record of it.
    last: u64,
}

/// A person's records, folded.
#[derive(Debug, Default)]
pub struct Past {
    pub(super) user: String,
    pub(super) id: String,
    /// There is a record before the end of the span.
    spanned: bool,
    /// Whether the first write that was kept created them; `None`: there is none.
    born: Option<bool>,
    /// Whether the last one deleted them.
    gone: bool,
    /// The last write that was kept.
    pub(super) last: u64,
    attributes: BTreeMap<String, Trace>,
    /// The first that the journal says of them in each application.
    first: BTreeMap<String, Delivery>,
    /// An attribute of which records are missing.
    torn: Option<String>,
    /// A write was refused of which the journal does not hold what it asked for.
    refused: Option<String>,
}

/// Whose record it is: the id, or the name where nobody has one. `None`: it says nothing of a user's accounts.
#[must_use]
pub fn whose(record: &Record) -> Option<String> {
    let says = is_kept(record) || !record.deliveries.is_empty() || is_ruled_out(record);
    if record.kind != Kind::User || record.operation == Operation::Import || !says {
        return None;
    }
    Some(if record.id.is_empty() {
        format!("name {}", fold(&record.user))
    } else {
        record.id.clone()
    })
}

/// Whether a client's write was kept.
pub(super) fn is_kept(record: &Record) -> bool {
    record.event == Event::Request && matches!(record.status, Status::Success | Status::Warning)
}

impl Past {
    /// Takes the next record of this person, from the beginning of the span to the journal's end. `until`: the span's end.
    pub fn take(&mut self, record: &Record, until: Timestamp) {
        if record.time < until || self.user.is_empty() {
            record.user.clone_into(&mut self.user);
            record.id.clone_into(&mut self.id);
        }
        self.spanned |= record.time < until;
        for delivery in &record.deliveries {
            let known = self.first.contains_key(&delivery.application);
            if !known && delivery.code.as_deref() != Some("superseded") {
                let delivery = delivery.clone();
                self.first.insert(delivery.application.clone(), delivery);
            }
        }
        if !is_kept(record) {
            if is_ruled_out(record) && record.time < until {
                self.refused.clone_from(&record.reason);
            }
            return;
        }
        let is_first = self.born.is_none();
        let born = *self
            .born
            .get_or_insert(record.operation == Operation::Create);
        self.gone = record.operation == Operation::Delete;
        self.last = record.sequence;
        for changed in &record.changed {
            self.trace(changed, record.sequence, born && !is_first);
        }
    }

    /// `whole`: all that the person ever had is in the records before.
    fn trace(&mut self, changed: &Changed, sequence: u64, whole: bool) {
        let hidden = changed.old.is_none() && changed.new.is_none();
        let old = (!hidden).then(|| changed.old.clone());
        let new = (!hidden).then(|| changed.new.clone());
        let before = match self.attributes.get_mut(&changed.attribute) {
            Some(trace) => {
                let before = trace.after.take();
                trace.after = new;
                trace.last = sequence;
                before
            }
            None => {
                let trace = Trace {
                    before: old.clone(),
                    after: new,
                    last: sequence,
                };
                self.attributes.insert(changed.attribute.clone(), trace);
                whole.then_some(None)
            }
        };
        if let (Some(before), Some(old)) = (before, old)
            && before != old
        {
            self.torn.get_or_insert(changed.attribute.clone());
        }
    }

    /// Takes them although the span has no record of them: a membership of theirs moved. `user`: as they are called now.
    pub fn pick(&mut self, id: &str, user: &str) {
        if self.id.is_empty() {
            id.clone_into(&mut self.id);
            user.clone_into(&mut self.user);
        }
    }

    /// Whether the span has anything of them.
    #[must_use]
    pub fn is_spanned(&self) -> bool {
        self.spanned
    }

    /// The directory's id; empty where nobody was created.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn first(&self, application: &str) -> Option<&Delivery> {
        self.first.get(application)
    }

    /// Whether a record is the last that says anything of an attribute: what stands there now is what it wrote.
    pub(super) fn is_last(&self, attribute: &str, sequence: u64) -> bool {
        let trace = self.attributes.get(attribute);
        trace.is_some_and(|trace| trace.last == sequence)
    }

    /// Why nothing can be said of them at all. `now`: as the directory has them.
    pub(super) fn unsaid(&self, now: Option<&Resource>) -> Option<String> {
        if let Some(reason) = &self.refused {
            return Some(format!(
                "a write was refused then, and the journal does not hold what it asked for ({reason})"
            ));
        }
        let missing = |attribute: &str| {
            Some(format!(
                "records are missing: what the journal shows of {attribute} does not hold together"
            ))
        };
        if let Some(attribute) = &self.torn {
            return missing(attribute);
        }
        match now {
            // Nobody came of what was asked for.
            None if self.born.is_none()
                && self.last == 0
                && self.spanned
                && self.only_refused() =>
            {
                None
            }
            None if self.gone => None,
            None => Some(String::from(
                "gone from the directory, and the journal does not show how they were before",
            )),
            Some(now) => {
                let differs = |(name, trace): (&String, &Trace)| {
                    let shown = trace.after.as_ref()?;
                    (shown.as_ref() != now.attributes.get(name)).then(|| name.clone())
                };
                let mut all = self.attributes.iter();
                all.find_map(differs).and_then(|name| missing(&name))
            }
        }
    }

    /// Whether all that there is was asked for and not kept, so that there was nobody.
    fn only_refused(&self) -> bool {
        let mut all = self.first.values();
        all.all(|delivery| matches!(delivery.operation, Operation::Create | Operation::Adopt))
    }

    /// The attributes before the first record, and those of them that are not shown.
    pub(super) fn before(&self, now: Option<&Resource>) -> (Map<String, Value>, BTreeSet<String>) {
        let mut attributes = now.map(|now| now.attributes.clone()).unwrap_or_default();
        let mut unknown = BTreeSet::new();
        for (name, trace) in &self.attributes {
            match &trace.before {
                Some(Some(value)) => attributes.insert(name.clone(), value.clone()),
                Some(None) => attributes.remove(name),
                // Who is created had nothing before.
                None if self.born == Some(true) => attributes.remove(name),
                None => {
                    unknown.insert(name.clone());
                    attributes.remove(name)
                }
            };
        }
        (attributes, unknown)
    }
}

/// Whether a write was refused because no application takes the user.
fn is_ruled_out(record: &Record) -> bool {
    let reason = record.reason.as_deref();
    record.event == Event::Request && reason.is_some_and(|reason| reason.starts_with(REFUSED))
}
