//! Replies from the directory: the stored attributes with `id`, `meta`, `members` and `groups` spliced in, without
//! reading what is stored.

use std::io::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Handle, Id, Kind};
use crate::clock::Timestamp;

/// What an id does not show in a path as it is. A UUID does whole.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-');

/// What the splice needs of a resource.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// User or Group.
    pub kind: Kind,
    /// The outward id.
    pub id: &'a str,
    /// `meta.version` without its dressing.
    pub version: u64,
    /// `meta.created`
    pub created: Timestamp,
    /// `meta.lastModified`
    pub modified: Timestamp,
    /// The attributes as canonical JSON, an object.
    pub attributes: &'a [u8],
}

/// What is derived from edges.
#[derive(Debug, Clone, Default)]
pub struct Edges {
    /// Of a group: members. `None`: left out.
    pub members: Option<Vec<(Handle, Id, Kind)>>,
    /// Of a user: groups with their displayName.
    pub groups: Vec<(Id, String)>,
}

/// `<base>/Users/<id>`; an imported id may hold what a path may not.
#[must_use]
pub fn location(base: &str, kind: Kind, id: &str) -> String {
    let mut location = String::with_capacity(base.len() + id.len() + 16);
    for part in [base, "/", kind.endpoint(), "/"]
        .into_iter()
        .chain(utf8_percent_encode(id, ESCAPED))
    {
        location.push_str(part);
    }
    location
}

/// Writes one resource.
pub fn resource(out: &mut Vec<u8>, base: &str, shown: &Shown<'_>, edges: &Edges) {
    let Shown {
        kind,
        id,
        version,
        created,
        modified,
        attributes,
    } = *shown;
    let inner = attributes
        .strip_prefix(b"{")
        .and_then(|rest| rest.strip_suffix(b"}"))
        .unwrap_or_default();
    out.extend_from_slice(b"{\"id\":");
    string(out, id);
    if !inner.is_empty() {
        out.push(b',');
        out.extend_from_slice(inner);
    }
    if let Some(members) = &edges.members {
        out.extend_from_slice(b",\"members\":[");
        for (at, (_, member, kind)) in members.iter().enumerate() {
            comma(out, at);
            out.extend_from_slice(b"{\"value\":");
            string(out, member.as_str());
            out.extend_from_slice(b",\"$ref\":");
            string(out, &location(base, *kind, member.as_str()));
            out.extend_from_slice(b",\"type\":");
            string(out, kind.name());
            out.push(b'}');
        }
        out.push(b']');
    }
    if !edges.groups.is_empty() {
        out.extend_from_slice(b",\"groups\":[");
        for (at, (group, name)) in edges.groups.iter().enumerate() {
            comma(out, at);
            out.extend_from_slice(b"{\"value\":");
            string(out, group.as_str());
            out.extend_from_slice(b",\"$ref\":");
            string(out, &location(base, Kind::Group, group.as_str()));
            out.extend_from_slice(b",\"display\":");
            string(out, name);
            out.extend_from_slice(b",\"type\":\"direct\"}");
        }
        out.push(b']');
    }
    out.extend_from_slice(b",\"meta\":{\"resourceType\":");
    string(out, kind.name());
    out.extend_from_slice(b",\"created\":");
    string(out, &created.rfc3339());
    out.extend_from_slice(b",\"lastModified\":");
    string(out, &modified.rfc3339());
    out.extend_from_slice(b",\"location\":");
    string(out, &location(base, kind, id));
    // Writing into memory cannot fail.
    let _written = write!(out, ",\"version\":\"W/\\\"{version}\\\"\"}}}}");
}

/// A ListResponse (RFC 7644 3.4.2) around resources that [`resource`] wrote; `Resources` is there even when empty.
#[derive(Debug)]
pub struct List {
    out: Vec<u8>,
    items: usize,
}

/// What a resource takes in a list, roughly: a guess too low costs copying, one too high memory for a moment.
const ITEM: usize = 1_536;

impl List {
    /// Begins one that will hold about `items`.
    #[must_use]
    pub fn new(items: usize) -> Self {
        let mut out = Vec::with_capacity(items.saturating_mul(ITEM).saturating_add(256));
        out.extend_from_slice(b"{\"schemas\":[\"urn:ietf:params:scim:api:messages:2.0:ListResponse\"],\"Resources\":[");
        Self { out, items: 0 }
    }

    /// Adds one.
    pub fn push(&mut self, base: &str, shown: &Shown<'_>, edges: &Edges) {
        comma(&mut self.out, self.items);
        resource(&mut self.out, base, shown, edges);
        self.items += 1;
    }

    /// The whole.
    #[must_use]
    pub fn finish(mut self, selected: &Selected) -> Vec<u8> {
        // Writing into memory cannot fail.
        let _written = write!(self.out, "],\"totalResults\":{}", selected.total);
        if let Some(start) = selected.start {
            let _written = write!(self.out, ",\"startIndex\":{start}");
        }
        for (name, cursor) in [
            ("nextCursor", &selected.next),
            ("previousCursor", &selected.previous),
        ] {
            if let Some(cursor) = cursor {
                let _written = write!(self.out, ",\"{name}\":");
                string(&mut self.out, cursor);
            }
        }
        let _written = write!(self.out, ",\"itemsPerPage\":{}}}", self.items);
        self.out
    }
}

/// What a list says of itself besides its resources.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selected {
    /// `totalResults`: how many resources the query selects, on all pages.
    pub total: u64,
    /// `startIndex`; a page that was asked for by cursor has none (RFC 9865).
    pub start: Option<u64>,
    /// `nextCursor`; `None` on the last page.
    pub next: Option<String>,
    /// `previousCursor`
    pub previous: Option<String>,
}

fn comma(out: &mut Vec<u8>, at: usize) {
    if at > 0 {
        out.push(b',');
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    // Writing a string into memory cannot fail.
    let _written = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_the_stored_json_with_the_rest_spliced_in() {
        let mut out = Vec::new();
        let shown = Shown {
            kind: Kind::Group,
            id: "k&K",
            version: 3,
            created: Timestamp(0),
            modified: Timestamp(1),
            attributes: br#"{"displayName":"A \"b\""}"#,
        };
        let edges = Edges {
            members: Some(vec![(Handle(1), Id::from("u-1"), Kind::User)]),
            groups: Vec::new(),
        };
        resource(&mut out, "http://h/scim/v2", &shown, &edges);
        let reply: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(reply["displayName"], "A \"b\"");
        assert_eq!(reply["id"], "k&K");
        assert_eq!(reply["meta"]["location"], "http://h/scim/v2/Groups/k%26K");
        assert_eq!(reply["meta"]["version"], "W/\"3\"");
        assert_eq!(reply["members"][0]["$ref"], "http://h/scim/v2/Users/u-1");
        assert!(reply.get("groups").is_none());
    }

    #[test]
    fn an_empty_list_still_has_resources() {
        let list: serde_json::Value =
            serde_json::from_slice(&List::new(0).finish(&Selected::default())).unwrap();
        assert_eq!(list["Resources"], serde_json::json!([]));
        assert_eq!(list["itemsPerPage"], 0);
    }
}
