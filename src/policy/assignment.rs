//! Who is given an application by groups: the policies of its configuration, and what they come to for one user. The edges
//! are the store's; here are only the words.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::scim::schema::fold;
use crate::scim::{Kind, Resource};

/// How a policy names its group. What a name means is settled once: see [`Selector::names`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// By displayName, folded.
    DisplayName(String),
    /// By the externalId that its client gave it, exactly.
    ExternalId(String),
}

impl Selector {
    /// Whether it names this group.
    #[must_use]
    pub fn names(&self, group: &Resource) -> bool {
        let is = |name: &str| group.attributes.get(name).and_then(Value::as_str);
        group.kind == Kind::Group
            && group.deleted.is_none()
            && match self {
                Self::DisplayName(name) => is("displayName").is_some_and(|it| fold(it) == *name),
                Self::ExternalId(id) => is("externalId") == Some(id),
            }
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DisplayName(name) => write!(f, "{name}"),
            Self::ExternalId(id) => write!(f, "externalId {id}"),
        }
    }
}

/// What an application's policies come to for one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assigned {
    /// There is no policy: everybody is.
    Everybody,
    /// A member of a policy's group, directly or by groups in it.
    In,
    /// In none of the groups.
    Out,
    /// In none of the groups that are known; another one is not known, or was never seen with a member. That may be the
    /// user's: nothing is given and nothing taken away.
    Unknown,
    /// In none of the groups that are left; one was deleted. Whoever goes by that goes when a person has said so.
    Deleted,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::store::tests::user;
    use serde_json::json;

    #[test]
    fn a_selector_names_groups_only_and_by_one_attribute() {
        let mut group = user(1, "");
        group.kind = Kind::Group;
        group.attributes = json!({"displayName": "Zoom Users", "externalId": "g-1"})
            .as_object()
            .expect("an object")
            .clone();
        let name = |text: &str| Selector::DisplayName(fold(text));
        let external = |text: &str| Selector::ExternalId(String::from(text));
        for (selector, is) in [
            (name("zoom users"), true),
            (name("Zoom"), false),
            (name("g-1"), false),
            (external("g-1"), true),
            (external("G-1"), false),
            (external("Zoom Users"), false),
        ] {
            assert_eq!(selector.names(&group), is, "{selector:?}");
        }
        let mut gone = group.clone();
        gone.deleted = Some(Timestamp(1));
        assert!(!name("Zoom Users").names(&gone));
        group.kind = Kind::User;
        assert!(!name("Zoom Users").names(&group));
    }
}
