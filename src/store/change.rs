//! What is committed, in the directory's own terms.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::journal::record::Record;
use crate::provision::link::Link;
use crate::scim::{Handle, Id, Kind, Resource};

use super::import::Import;
use super::sent::SentEdit;

/// The order in which the worker goes about its work: who must not get in any more comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Removals.
    Deactivate = 0,
    /// New accounts.
    Create = 1,
    /// Changes to accounts.
    Update = 2,
    /// Groups and memberships.
    Group = 3,
}

/// "This resource may differ from this application": the unit of queued work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The resource.
    pub handle: Handle,
    /// The application.
    pub application: String,
    /// Goes up with every [`MarkEdit::Set`] and [`MarkEdit::Raise`]; a commit clears the mark only if it is still the one that its plan read.
    pub generation: u64,
    /// When the worker may take it. [`Timestamp::NEVER`]: only a person or a new change makes it due (held, simulate).
    pub due: Timestamp,
    /// Failed attempts so far.
    pub attempts: u32,
    /// Its lane.
    pub lane: Lane,
    /// The journal sequences of what it will settle; at most the last eight are kept.
    #[serde(default)]
    pub cause: Vec<u64>,
    /// It failed to the end of the ladder of retries.
    #[serde(default)]
    pub stuck: Option<Stuck>,
}

/// What became of a mark that failed to the end of the ladder of retries. Any change that sets the mark anew ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stuck {
    /// Since when.
    pub since: Timestamp,
    /// A removal: it is still tried, and told of as overdue. All else is quarantined: nothing is sent for the resource before
    /// a person or a change asks for it.
    pub removal: bool,
    /// The journal's code of the last failure.
    pub code: String,
    /// The same for people.
    pub reason: String,
}

/// A change to a mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MarkEdit {
    /// Sets it, or moves it, and raises its generation. `cause` keeps what was there and adds the sequence of this
    /// change set's first journal record when `caused` is true.
    Set {
        /// The resource.
        handle: Handle,
        /// The application.
        application: String,
        /// When it is due.
        due: Timestamp,
        /// Failed attempts so far.
        attempts: u32,
        /// Its lane.
        lane: Lane,
        /// Whether the mark will settle what this change set's own record leaves open: a request, or what a worker began by
        /// itself.
        caused: bool,
        /// The generation of the mark that the plan read, if one stood. What was raised since by the writer itself
        /// (somebody's scope changed meanwhile) stays due when it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        read: Option<u64>,
    },
    /// Makes it due, or sets it, though nobody here has read it: whoever is settling it now is overtaken by this, and
    /// what their commit says of it neither clears it nor puts it off.
    Raise {
        /// The resource.
        handle: Handle,
        /// The application.
        application: String,
        /// When it is due.
        due: Timestamp,
        /// Its lane, unless the one it is in goes first.
        lane: Lane,
        /// As of [`MarkEdit::Set`].
        caused: bool,
    },
    /// Clears it if its generation is still this one.
    Clear {
        /// The resource.
        handle: Handle,
        /// The application.
        application: String,
        /// The generation that the plan read.
        generation: u64,
    },
    /// Says of the mark that this change set has set that it is at the end of the ladder.
    Stick {
        /// The resource.
        handle: Handle,
        /// The application.
        application: String,
        /// Why, and since when.
        stuck: Stuck,
    },
}

impl MarkEdit {
    /// Whose mark it is.
    #[must_use]
    pub fn handle(&self) -> Handle {
        match self {
            Self::Set { handle, .. }
            | Self::Raise { handle, .. }
            | Self::Clear { handle, .. }
            | Self::Stick { handle, .. } => *handle,
        }
    }
}

/// A resource's new row, with the version that the writer must find before it.
///
/// A tombstone is kept for as long as it has a link or a mark; the writer erases it when it has neither.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Put {
    /// The new row. Of its links those that are not as in `before` are changed, and the others stay as they are by then:
    /// a link belongs to whoever claims it, and the row's writer need not claim them all.
    pub resource: Resource,
    /// `Some(v)`: the row must stand there with version `v` ; `None`: there must be none.
    pub expect: Option<u64>,
    /// The links that the change was made from: each that it changes must still be so. `None`: whatever they are, the new
    /// ones replace them.
    pub before: Option<Vec<Link>>,
}

/// A change to one link, beside whatever becomes of the row and of its other links meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkEdit {
    /// The resource.
    pub handle: Handle,
    /// The application.
    pub application: String,
    /// The link must still be this; the writer finds it so, or nothing is done.
    pub before: Option<Link>,
    /// And becomes this.
    pub after: Option<Link>,
}

/// A change to a group's members. Clear comes first, then the removals, then the additions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemberEdit {
    /// The group.
    pub group: Handle,
    /// The group's outward id, kept on the edge for replies.
    pub group_id: Option<Id>,
    /// Every member goes.
    pub clear: bool,
    /// These go.
    pub remove: Vec<Handle>,
    /// These come: handle, outward id and kind.
    pub add: Vec<(Handle, Id, Kind)>,
    /// The group's `meta.lastModified` becomes this and its version rises by one if any edge changed and the change set
    /// does not put the group's row itself.
    pub touch: Option<Timestamp>,
}

/// What the safety limit is asked before a removal, inside the intend transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The application.
    pub application: String,
    /// The person.
    pub handle: Handle,
    /// The limit of the configuration; `None`: auto.
    pub limit: Option<u64>,
    /// The window, in milliseconds.
    pub window: u64,
    /// Now.
    pub now: Timestamp,
}

/// Everything that one commit changes. Applied whole or not at all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ChangeSet {
    /// Rows to write.
    pub puts: Vec<Put>,
    /// Links to change, of rows that are not written by this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkEdit>,
    /// Edges.
    pub members: Vec<MemberEdit>,
    /// What was sent of memberships.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<SentEdit>,
    /// Marks.
    pub marks: Vec<MarkEdit>,
    /// Records to append, in order.
    pub journal: Vec<Record>,
    /// The intent that this settles.
    pub settles: Option<u64>,
    /// The generation of the configuration under which this was decided: if another one is in force by the time of the
    /// commit, what this changes is marked for all its applications. 0: no configuration had a say.
    #[serde(default)]
    pub generation: u64,
    /// The Bulk that this is an operation of: the removals that it decides are counted together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk: Option<u64>,
    /// How far an import is with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Box<Import>>,
}
