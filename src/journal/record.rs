//! One event of the journal.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::scim::{Kind, Resource};

/// Whose event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// A client's write, written at its commit, with the calls that were made inline.
    Request,
    /// A worker's exchange, with the requests that it settles.
    Delivery,
    /// More of the memberships that a request changed than its own record has room for. No report shows it.
    Members,
}

/// What was done, in the application where one is named, else in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// A resource or an account was created.
    Create,
    /// Attributes were changed.
    Update,
    /// `active` became false.
    Deactivate,
    /// `active` became true again.
    Reactivate,
    /// The resource or the account was deleted.
    Delete,
    /// An account that was there already was linked.
    Adopt,
    /// Group members were added or removed.
    Membership,
    /// What is in an application was read, and linked here or created.
    Import,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Done.
    Success,
    /// Refused for good.
    Failure,
    /// Policy says that nothing goes; `reason` says which.
    Skipped,
    /// Done, but not all of it took.
    Warning,
    /// Stopped by the safety limit.
    Held,
    /// Waiting for the application.
    Queued,
    /// Sent, and nobody knows.
    Unknown,
}

impl Status {
    /// Whether it has not ended.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Unknown | Self::Held)
    }
}

/// One call to an application. Never a body, never a query's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The method.
    pub method: String,
    /// The path below the application's base URL, without the query.
    pub path: String,
    /// The status of the answer; `None` when none came.
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

/// An attribute that changed. `None` on both sides where a rule or the schema says that its value is not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The attribute.
    pub attribute: String,
    /// Before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// After.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// The memberships that a request changed in the end, by outward ids: who was there already, or stays, is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Edges {
    /// Of the group: those who came in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Of the group: those who went out of it, or with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// The groups that somebody deleted was in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// Further ones follow in a later record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// In such a record: the sequence of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
}

impl Edges {
    /// Ids that one record holds. One of more is slow to read for everybody who walks the journal.
    pub const ROOM: usize = 1_000;

    /// How many ids it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.added.len() + self.removed.len() + self.left.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes out as much as one record holds.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let (mut taken, mut room) = (Self::default(), Self::ROOM);
        for (from, to) in [
            (&mut self.added, &mut taken.added),
            (&mut self.removed, &mut taken.removed),
            (&mut self.left, &mut taken.left),
        ] {
            let some = from.len().min(room);
            to.extend(from.drain(..some));
            room -= some;
        }
        taken
    }
}

/// What one application has to do with an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The application's name.
    pub application: String,
    /// What was done there.
    pub operation: Operation,
    /// The account's id there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// How it ended.
    pub status: Status,
    /// A short code for scripts: `foreign_domain`, `inactive`, `simulate`, `exists`, `unavailable`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The calls made, or, in simulate mode, the calls that would have been made (`status` None, `ms` 0).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallRecord>,
}

impl Delivery {
    /// Nothing goes to this application. `why`: the code, and the same for people.
    #[must_use]
    pub fn skipped(
        resource: &Resource,
        application: &str,
        operation: Operation,
        why: (&str, &str),
    ) -> Self {
        let link = resource.link(application);
        Self {
            application: application.to_owned(),
            operation,
            remote_id: link.and_then(|link| link.remote_id.clone()),
            status: Status::Skipped,
            code: Some(why.0.to_owned()),
            reason: Some(why.1.to_owned()),
            calls: Vec::new(),
        }
    }
}

/// One record. Sequence, previous hash and hash are given by the writer inside the transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its place in the journal. 0 until the writer gives it one.
    #[serde(default)]
    pub sequence: u64,
    /// When. Never before the record that stands before it.
    pub time: Timestamp,
    /// A client's request or a worker's delivery.
    pub event: Event,
    /// The client whose request it was; empty for a worker's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// The request's id, as in the log and in the reply's `X-Request-Id`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request: String,
    /// User or Group.
    pub kind: Kind,
    /// What was asked for, or, for a delivery, what was done.
    pub operation: Operation,
    /// The end user's identifier: userName, or a group's displayName.
    pub user: String,
    /// The directory's outward id.
    pub id: String,
    /// How the request itself ended. A report shows one row an application, or this one if no application is concerned.
    pub status: Status,
    /// Code and text for the request itself, when it failed, was skipped, or took the resource over from another client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// See `code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What became of it, application by application.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deliveries: Vec<Delivery>,
    /// The sequences of the earlier requests that it settles: a delivery's, or those that waited when this request's own
    /// calls closed the same difference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cause: Vec<u64>,
    /// What changed in the directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<Changed>,
    /// The memberships that changed: of every write to a group, and of whoever was deleted. `None` elsewhere, and where an
    /// older usher wrote the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edges: Option<Edges>,
    /// The generation of the configuration that decided.
    pub generation: u64,
    /// SHA-256 over the previous record's hash and this record, in hex: a removed or altered record shows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

impl Record {
    /// The record of what a worker did about a resource in one application, or left undone for good.
    #[must_use]
    pub fn delivered(
        resource: &Resource,
        delivery: Delivery,
        cause: Vec<u64>,
        time: Timestamp,
        generation: u64,
    ) -> Self {
        Self {
            sequence: 0,
            time,
            event: Event::Delivery,
            client: String::new(),
            request: String::new(),
            kind: resource.kind,
            operation: delivery.operation,
            user: resource.title().to_owned(),
            id: resource.id.as_str().to_owned(),
            status: delivery.status,
            code: delivery.code.clone(),
            reason: delivery.reason.clone(),
            deliveries: vec![delivery],
            cause,
            changed: Vec::new(),
            edges: None,
            generation,
            hash: String::new(),
        }
    }

    /// A record of more memberships of a request.
    #[must_use]
    pub fn continued(&self, edges: Edges) -> Self {
        Self {
            event: Event::Members,
            edges: Some(Edges {
                of: Some(self.sequence),
                ..edges
            }),
            deliveries: Vec::new(),
            cause: Vec::new(),
            changed: Vec::new(),
            sequence: 0,
            hash: String::new(),
            ..self.clone()
        }
    }
}
