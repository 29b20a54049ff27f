//! A resource as the directory keeps it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::provision::link::Link;

/// The directory's own key of a resource: given once, in order of creation, never reused, never shown outside.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Handle(pub u64);

/// A resource's id as clients see it (RFC 7643 3.1): a UUIDv7 that we made, or the id that an imported account
/// brought from the application it came from. Never made from what a client sent (CVE-2025-41115).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(pub Box<str>);

impl Id {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// User or Group (RFC 7643 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `urn:ietf:params:scim:schemas:core:2.0:User`
    User,
    /// `urn:ietf:params:scim:schemas:core:2.0:Group`
    Group,
}

impl Kind {
    /// The resource type's name (RFC 7643 6): `User` or `Group`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
        }
    }

    /// The last segment of the type's endpoint: `Users` or `Groups`.
    #[must_use]
    pub fn endpoint(self) -> &'static str {
        match self {
            Self::User => "Users",
            Self::Group => "Groups",
        }
    }

    /// The URN of the type's core schema.
    #[must_use]
    pub fn schema(self) -> &'static str {
        match self {
            Self::User => "urn:ietf:params:scim:schemas:core:2.0:User",
            Self::Group => "urn:ietf:params:scim:schemas:core:2.0:Group",
        }
    }
}

/// A user or a group with everything that the directory keeps of it.
///
/// `attributes` is what the client said, in the schema's spelling, without `id`, `meta`, `members`, `groups` and
/// `password`. Group members are edges in the store, not part of this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// The directory's key.
    pub handle: Handle,
    /// The outward id.
    pub id: Id,
    /// User or Group.
    pub kind: Kind,
    /// Counts the changes that a client can see; `meta.version` and the ETag are `W/"<version>"`.
    pub version: u64,
    /// `meta.created`.
    pub created: Timestamp,
    /// `meta.lastModified`.
    pub modified: Timestamp,
    /// The client that created or claimed it.
    pub owner: String,
    /// When a client deleted it. Such a row is not visible any more; it stands only until its accounts are gone
    /// (a link outlives its resource).
    pub deleted: Option<Timestamp>,
    /// What the client said.
    pub attributes: Map<String, Value>,
    /// Its accounts, at most one an application, by the application's name.
    pub links: Vec<Link>,
}

impl Resource {
    /// The link to one application's account.
    #[must_use]
    pub fn link(&self, application: &str) -> Option<&Link> {
        self.links
            .iter()
            .find(|link| link.application == application)
    }

    /// Replaces, adds or (with `None`) drops the link to one application.
    pub fn set_link(&mut self, application: &str, link: Option<Link>) {
        self.links.retain(|old| old.application != application);
        if let Some(link) = link {
            let at = self
                .links
                .partition_point(|old| old.application < link.application);
            self.links.insert(at, link);
        }
    }

    /// The userName of a user, the displayName of a group: what a report names it by.
    #[must_use]
    pub fn title(&self) -> &str {
        let key = match self.kind {
            Kind::User => "userName",
            Kind::Group => "displayName",
        };
        self.attributes
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or("")
    }
}
