//! What each resource went through, folded from a client's records.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::super::record::{Changed, Edges, Event, Operation, Record, Status};
use super::members::Memberships;
use super::since::{Heirs, Since};
use crate::clock::Timestamp;
use crate::scim::Kind;

/// A value as the journal shows it on one side of a change.
pub(super) type Shown = Option<Value>;

/// What one resource went through.
#[derive(Debug)]
pub struct Passed {
    pub(super) kind: Kind,
    pub(super) user: String,
    pub(super) id: String,
    pub(super) created: bool,
    pub(super) deleted: bool,
    /// When it was changed last.
    pub(super) last: Timestamp,
    /// A record that should hold memberships holds none: an older usher wrote it.
    pub(super) unknown: bool,
    /// Not all of its memberships are in the journal yet.
    pub(super) incomplete: bool,
    /// Something was done by it, or was to be, in the application that is asked for.
    concerned: bool,
    /// An application where its account was there before.
    pub(super) adopted: Option<String>,
    /// Attribute -> how the client left it, and what became of it since. Only what was changed since is in it.
    pub(super) since: BTreeMap<String, (Shown, Since)>,
    /// What became of the name of what was deleted.
    pub(super) named: Since,
    /// Attribute -> before the first record and after the last; `None`: the journal does not show it.
    pub(super) attributes: BTreeMap<String, Option<(Shown, Shown)>>,
}

impl Passed {
    fn new(record: &Record) -> Self {
        Self {
            kind: record.kind,
            user: String::new(),
            id: record.id.clone(),
            created: record.operation == Operation::Create,
            deleted: false,
            last: record.time,
            unknown: false,
            incomplete: false,
            concerned: false,
            adopted: None,
            since: BTreeMap::new(),
            named: Since::Not,
            attributes: BTreeMap::new(),
        }
    }

    /// The id that the client changed.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The identifier as the client left it.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// User or Group.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The userName or displayName before the writes, if it is shown.
    #[must_use]
    pub fn name_before(&self) -> Option<&str> {
        let name = match self.kind {
            Kind::User => "userName",
            Kind::Group => "displayName",
        };
        let (old, _) = self.attributes.get(name)?.as_ref()?;
        old.as_ref()?.as_str()
    }

    /// Whether the client created it.
    #[must_use]
    pub fn is_created(&self) -> bool {
        self.created
    }

    /// Whether the client deleted it, and it is to be looked for by its name.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// Whether the journal does not have all of its memberships yet.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// Whether something was done by it, or was to be, in the application that is asked for.
    #[must_use]
    pub fn is_concerned(&self) -> bool {
        self.concerned
    }

    fn note(&mut self, changed: &Changed) {
        let hidden = changed.old.is_none() && changed.new.is_none();
        // What others did before the client wrote again is not since.
        self.since.remove(&changed.attribute);
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
    pub(super) client: String,
    application: Option<String>,
    pub(super) passed: Vec<Passed>,
    pub(super) places: HashMap<String, usize>,
    pub(super) memberships: Memberships,
    /// The sequence of the last record in the span.
    pub(super) last: u64,
    /// More of the memberships of a request up to this sequence is no change since.
    pub(super) floor: Option<u64>,
    pub(super) heirs: Heirs,
    /// Requests of whose memberships more follow, and the places of what they are about.
    open: HashMap<u64, usize>,
}

/// What a fold comes to.
#[derive(Debug, Default)]
pub struct Folded {
    /// All that the client changed, in the order of their first change.
    pub passed: Vec<Passed>,
    /// What happened to memberships.
    pub memberships: Memberships,
}

impl Fold {
    /// Of this client's records. `application`: where something has to have been done for a resource to be concerned.
    #[must_use]
    pub fn new(client: &str, application: Option<&str>) -> Self {
        Self {
            client: client.to_owned(),
            application: application.map(str::to_owned),
            ..Self::default()
        }
    }

    /// Takes a record of the span. Those of the client are folded; of others only what they did to these things since is
    /// looked at. What was refused is passed over.
    pub fn take(&mut self, record: &Record) {
        self.last = record.sequence;
        self.floor
            .get_or_insert_with(|| record.sequence.saturating_sub(1));
        let applied = matches!(record.status, Status::Success | Status::Warning);
        if record.event != Event::Request || record.client != self.client || !applied {
            self.take_more(record);
            self.hear(record);
            // More memberships of the client's own requests are folded, not changed since.
            if record.client != self.client {
                self.take_since(record);
            }
            return;
        }
        let place = *self.places.entry(record.id.clone()).or_insert_with(|| {
            self.passed.push(Passed::new(record));
            self.passed.len() - 1
        });
        let Some(passed) = self.passed.get_mut(place) else {
            return;
        };
        record.user.clone_into(&mut passed.user);
        passed.deleted = record.operation == Operation::Delete;
        passed.last = record.time;
        passed.concerned |= self.application.as_ref().is_none_or(|application| {
            let mut deliveries = record.deliveries.iter();
            deliveries.any(|one| one.application == *application && one.status != Status::Skipped)
        });
        for changed in &record.changed {
            passed.note(changed);
        }
        self.hear(record);
        match &record.edges {
            Some(edges) => self.note(place, record.sequence, edges),
            None => {
                if let Some(passed) = self.passed.get_mut(place) {
                    passed.unknown |= record.kind == Kind::Group || passed.deleted;
                }
            }
        }
    }

    /// Takes a record only if it holds more memberships of one before it: for those that stand behind the span.
    pub fn take_more(&mut self, record: &Record) {
        let more = record.edges.as_ref();
        if let Some((of, edges)) = more.and_then(|edges| Some((edges.of?, edges)))
            && record.event == Event::Members
            && let Some(place) = self.open.get(&of)
        {
            self.note(*place, of, edges);
        }
    }

    /// Whether more memberships of what it took are to come.
    #[must_use]
    pub fn wants_more(&self) -> bool {
        !self.open.is_empty()
    }

    fn note(&mut self, place: usize, request: u64, edges: &Edges) {
        if edges.more {
            self.open.insert(request, place);
        } else {
            self.open.remove(&request);
        }
        let Some(passed) = self.passed.get(place) else {
            return;
        };
        for member in &edges.added {
            self.memberships.note(&passed.id, member, true, false);
        }
        for member in &edges.removed {
            self.memberships.note(&passed.id, member, false, false);
        }
        for group in &edges.left {
            self.memberships.note(group, &passed.id, false, true);
        }
    }

    /// How many resources were changed so far.
    #[must_use]
    pub fn resources(&self) -> usize {
        self.passed.len()
    }

    /// How many memberships were changed so far.
    #[must_use]
    pub fn memberships(&self) -> usize {
        self.memberships.len()
    }

    /// All of it.
    #[must_use]
    pub fn end(mut self) -> Folded {
        for place in self.open.values() {
            if let Some(passed) = self.passed.get_mut(*place) {
                passed.incomplete = true;
            }
        }
        Folded {
            passed: self.passed,
            memberships: self.memberships,
        }
    }
}
