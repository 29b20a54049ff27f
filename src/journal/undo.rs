//! What it takes to bring people back to where they were before a client's writes. Pure: the journal's records and the
//! directory of now in, a proposal for each person out.
//!
//! Only what stands as the client left it is brought back. What the journal does not show, or what somebody has changed
//! since, is told with the reason and left alone.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::record::{Changed, Event, Operation, Record, Status};
use crate::scim::Kind;

/// What undoing would do for one resource, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Attributes are put back.
    Restore,
    /// Somebody deleted is made again.
    Recreate,
    /// All is as it was already.
    Nothing,
    /// Nothing is done, and `reason` says why.
    NotUndone,
}

/// One resource that the client changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// User or Group.
    pub kind: Kind,
    /// The identifier as the client left it.
    pub user: String,
    /// The id that the client changed.
    pub id: String,
    /// What is done.
    pub step: Step,
    /// The attributes that are put back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Why something, or all of it, is not undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it was done.
    #[serde(default)]
    pub done: bool,
}

/// What is to be written for a proposal: the whole resource as it should be.
pub type Wanted = Map<String, Value>;

/// A value as the journal shows it on one side of a change.
type Shown = Option<Value>;

/// What one resource went through, folded from its records.
#[derive(Debug)]
pub struct Passed {
    kind: Kind,
    user: String,
    id: String,
    created: bool,
    deleted: bool,
    /// Attribute -> before the first record and after the last; `None`: the journal does not show it.
    attributes: BTreeMap<String, Option<(Shown, Shown)>>,
}

impl Passed {
    /// The id that the client changed.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// User or Group.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The userName that somebody deleted had, if it is shown.
    #[must_use]
    pub fn name_before(&self) -> Option<&str> {
        let (old, _) = self.attributes.get("userName")?.as_ref()?;
        old.as_ref()?.as_str()
    }

    /// Whether the client deleted it, and it is to be looked for by its name.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }

    fn note(&mut self, changed: &Changed) {
        let hidden = changed.old.is_none() && changed.new.is_none();
        let sides = (!hidden).then(|| (changed.old.clone(), changed.new.clone()));
        match self.attributes.get_mut(&changed.attribute) {
            None => {
                self.attributes.insert(changed.attribute.clone(), sides);
            }
            Some(first) => {
                *first = match (first.take(), sides) {
                    (Some((old, _)), Some((_, new))) => Some((old, new)),
                    // A rule that hid it at one time hides it for the whole way.
                    _ => None,
                };
            }
        }
    }
}

/// Folds records, oldest first, into what each resource went through.
#[derive(Debug, Default)]
pub struct Fold {
    passed: Vec<Passed>,
    places: HashMap<String, usize>,
}

impl Fold {
    /// Takes a record of `client`'s; others are passed over, and so is what was refused.
    pub fn take(&mut self, record: &Record, client: &str) {
        let applied = matches!(record.status, Status::Success | Status::Warning);
        if record.event != Event::Request || record.client != client || !applied {
            return;
        }
        let place = *self.places.entry(record.id.clone()).or_insert_with(|| {
            self.passed.push(Passed {
                kind: record.kind,
                user: String::new(),
                id: record.id.clone(),
                created: record.operation == Operation::Create,
                deleted: false,
                attributes: BTreeMap::new(),
            });
            self.passed.len() - 1
        });
        let Some(passed) = self.passed.get_mut(place) else {
            return;
        };
        record.user.clone_into(&mut passed.user);
        passed.deleted = record.operation == Operation::Delete;
        for changed in &record.changed {
            passed.note(changed);
        }
    }

    /// How many resources were changed so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.passed.len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.passed.is_empty()
    }

    /// All, in the order of their first change.
    #[must_use]
    pub fn end(self) -> Vec<Passed> {
        self.passed
    }
}

/// What to do for one resource. `now`: its attributes, or, where the client deleted it, those of whoever has its userName
/// now.
#[must_use]
pub fn propose(passed: &Passed, now: Option<&Map<String, Value>>) -> (Proposal, Option<Wanted>) {
    let proposal = Proposal {
        kind: passed.kind,
        user: passed.user.clone(),
        id: passed.id.clone(),
        step: Step::NotUndone,
        attributes: Vec::new(),
        reason: None,
        done: false,
    };
    let not = |reason: &str| {
        let reason = Some(reason.to_owned());
        let proposal = proposal.clone();
        (Proposal { reason, ..proposal }, None)
    };
    let nothing = || {
        let step = Step::Nothing;
        let proposal = proposal.clone();
        (Proposal { step, ..proposal }, None)
    };
    if passed.kind == Kind::Group {
        return not("a group: the journal does not hold who its members were");
    }
    match (passed.created, passed.deleted, now) {
        (true, true, _) => nothing(),
        (true, false, None) => nothing(),
        (true, false, Some(_)) => {
            not("created by these writes: delete the user if it should not be there")
        }
        (false, true, now) => {
            let hidden = hidden(passed);
            if !hidden.is_empty() {
                return not(&format!("the journal does not show {}", hidden.join(", ")));
            }
            let before: Wanted = passed
                .attributes
                .iter()
                .filter_map(|(name, sides)| Some((name.clone(), sides.as_ref()?.0.clone()?)))
                .collect();
            match now {
                None if !before.contains_key("userName") => {
                    not("the journal does not show the userName")
                }
                None => {
                    let attributes = before.keys().cloned().collect();
                    let step = Step::Recreate;
                    let proposal = Proposal {
                        step,
                        attributes,
                        ..proposal
                    };
                    (proposal, Some(before))
                }
                Some(now) if same(now, &before) => nothing(),
                Some(_) => not("another user has the userName now"),
            }
        }
        (false, false, None) => not("deleted since by somebody else"),
        (false, false, Some(now)) => restore(passed, now, proposal),
    }
}

fn restore(
    passed: &Passed,
    now: &Map<String, Value>,
    mut proposal: Proposal,
) -> (Proposal, Option<Wanted>) {
    let mut wanted = now.clone();
    let mut since = Vec::new();
    for (name, sides) in &passed.attributes {
        let Some((old, new)) = sides else { continue };
        let is = now.get(name);
        if is == old.as_ref() {
            continue;
        }
        if is != new.as_ref() {
            since.push(name.as_str());
            continue;
        }
        match old {
            Some(old) => wanted.insert(name.clone(), old.clone()),
            None => wanted.remove(name),
        };
        proposal.attributes.push(name.clone());
    }
    let mut reasons = Vec::new();
    if !since.is_empty() {
        reasons.push(format!("changed since: {}", since.join(", ")));
    }
    let hidden = hidden(passed);
    if !hidden.is_empty() {
        reasons.push(format!("the journal does not show {}", hidden.join(", ")));
    }
    proposal.step = match (proposal.attributes.is_empty(), reasons.is_empty()) {
        (false, _) => Step::Restore,
        (true, true) => Step::Nothing,
        (true, false) => Step::NotUndone,
    };
    proposal.reason = (!reasons.is_empty()).then(|| reasons.join("; "));
    let wanted = (proposal.step == Step::Restore).then_some(wanted);
    (proposal, wanted)
}

fn hidden(passed: &Passed) -> Vec<&str> {
    let attributes = passed.attributes.iter();
    attributes
        .filter(|(_, sides)| sides.is_none())
        .map(|(name, _)| name.as_str())
        .collect()
}

/// Apart from `schemas`, which is made anew with each write.
fn same(now: &Map<String, Value>, before: &Wanted) -> bool {
    let own = |attributes: &Map<String, Value>| -> BTreeMap<String, Value> {
        let attributes = attributes.iter().filter(|(name, _)| *name != "schemas");
        attributes
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    own(now) == own(before)
}
