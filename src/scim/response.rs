//! Replies from the directory: the stored attributes with `id`, `meta`, `members` and `groups` spliced in, without
//! reading what is stored unless a projection asks for part of it.

use std::io::Write as _;
use std::rc::Rc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::condition::Tag;
use super::projection::Fields;
use super::{Handle, Id, Kind};
use crate::clock::Timestamp;
use crate::error::Fault;

/// What an id does not show in a path as it is. A UUID does whole.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-');

/// What the splice needs of a resource.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// User or Group.
    pub kind: Kind,
    /// The outward id.
    pub id: &'a str,
    /// `meta.version`
    pub tag: Tag,
    /// `meta.created`
    pub created: Timestamp,
    /// `meta.lastModified`
    pub modified: Timestamp,
    /// The attributes as canonical JSON, an object.
    pub attributes: &'a [u8],
}

/// What is derived from edges.
#[derive(Debug, Default)]
pub struct Edges {
    /// Of a group.
    pub members: Members,
    /// Of a user: the groups that it is in, and whether directly.
    pub groups: Vec<(Rc<Group>, bool)>,
}

/// A group's members as a reply shows them.
#[derive(Debug, Default)]
pub enum Members {
    /// Not at all.
    #[default]
    Without,
    /// These.
    Here(Vec<Member>),
    /// Too many to stand in memory: a gap, filled while the reply is sent.
    Later(Handle),
}

/// A member as its group shows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    /// The outward id.
    pub id: Id,
    /// User or Group.
    pub kind: Kind,
    /// Its displayName, if that is asked for and it has one.
    pub display: Option<String>,
}

/// A group as its members show it.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// The outward id.
    pub id: Id,
    /// displayName
    pub name: String,
}

/// A reply's text, with gaps where the members of large groups belong.
#[derive(Debug, Default)]
pub struct Text {
    /// What is not in the gaps.
    pub bytes: Vec<u8>,
    /// In the order of their places.
    pub gaps: Vec<Gap>,
}

/// A place in a reply for a group's members, between the brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Before which of the bytes.
    pub at: usize,
    /// The group.
    pub group: Handle,
    /// What each member shows, as [`Fields::members`].
    pub fields: [bool; 4],
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

/// Writes one resource, as far as `fields` shows it.
///
/// # Errors
/// [`Fault::Internal`]: what is stored is no JSON object.
pub fn resource(
    text: &mut Text,
    base: &str,
    shown: &Shown<'_>,
    edges: &Edges,
    fields: &Fields<'_>,
) -> Result<(), Fault> {
    let out = &mut text.bytes;
    out.extend_from_slice(b"{\"id\":");
    string(out, shown.id);
    stored(out, shown.attributes, fields)?;
    match &edges.members {
        Members::Without => {}
        Members::Here(found) => {
            out.extend_from_slice(b",\"members\":[");
            members(out, base, found, fields.members, true);
            out.push(b']');
        }
        Members::Later(group) => {
            out.extend_from_slice(b",\"members\":[");
            text.gaps.push(Gap {
                at: out.len(),
                group: *group,
                fields: fields.members,
            });
            out.push(b']');
        }
    }
    if fields.shows_groups() && !edges.groups.is_empty() {
        groups(out, base, &edges.groups, fields.groups);
    }
    meta(out, base, shown, fields.meta);
    out.push(b'}');
    Ok(())
}

fn stored(out: &mut Vec<u8>, attributes: &[u8], fields: &Fields<'_>) -> Result<(), Fault> {
    if fields.is_default() {
        let inner = attributes
            .strip_prefix(b"{")
            .and_then(|rest| rest.strip_suffix(b"}"))
            .unwrap_or_default();
        if !inner.is_empty() {
            out.push(b',');
            out.extend_from_slice(inner);
        }
        return Ok(());
    }
    let shown = fields
        .stored(attributes)
        .map_err(|why| Fault::Internal(format!("a stored resource is no JSON object: {why}")))?;
    for (name, value) in shown {
        out.push(b',');
        string(out, &name);
        // Writing a value into memory cannot fail.
        let _written = write!(out, ":{value}");
    }
    Ok(())
}

/// Writes members as the items of an array; `first` if none stands there yet.
pub fn members(
    out: &mut Vec<u8>,
    base: &str,
    members: &[Member],
    [value, reference, kind, display]: [bool; 4],
    first: bool,
) {
    for (at, member) in members.iter().enumerate() {
        if at > 0 || !first {
            out.push(b',');
        }
        let mut object = Object::open(out);
        if value {
            object.text("value", member.id.as_str());
        }
        if reference {
            object.text("$ref", &location(base, member.kind, member.id.as_str()));
        }
        if kind {
            object.text("type", member.kind.name());
        }
        if let (true, Some(name)) = (display, &member.display) {
            object.text("display", name);
        }
        out.push(b'}');
    }
}

fn groups(
    out: &mut Vec<u8>,
    base: &str,
    groups: &[(Rc<Group>, bool)],
    [value, reference, display, kind]: [bool; 4],
) {
    out.extend_from_slice(b",\"groups\":[");
    for (at, (group, direct)) in groups.iter().enumerate() {
        comma(out, at);
        let mut object = Object::open(out);
        if value {
            object.text("value", group.id.as_str());
        }
        if reference {
            object.text("$ref", &location(base, Kind::Group, group.id.as_str()));
        }
        if display {
            object.text("display", &group.name);
        }
        if kind {
            object.text("type", if *direct { "direct" } else { "indirect" });
        }
        out.push(b'}');
    }
    out.push(b']');
}

fn meta(
    out: &mut Vec<u8>,
    base: &str,
    shown: &Shown<'_>,
    [kind, created, modified, at, version]: [bool; 5],
) {
    if !(kind || created || modified || at || version) {
        return;
    }
    out.extend_from_slice(b",\"meta\":");
    let mut object = Object::open(out);
    if kind {
        object.text("resourceType", shown.kind.name());
    }
    if created {
        object.text("created", &shown.created.rfc3339());
    }
    if modified {
        object.text("lastModified", &shown.modified.rfc3339());
    }
    if at {
        object.text("location", &location(base, shown.kind, shown.id));
    }
    if version {
        object.name("version");
        // Writing into memory cannot fail.
        let _written = write!(out, "\"W/\\\"{}\\\"\"", shown.tag.opaque());
    }
    out.push(b'}');
}

/// An object being written: knows when a comma is due.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    fn name(&mut self, name: &str) {
        self.out
            .extend_from_slice(if self.first { b"\"" } else { b",\"" });
        self.first = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        string(self.out, text);
    }
}

/// A ListResponse (RFC 7644 3.4.2) around resources that [`resource`] wrote; `Resources` is there even when empty.
#[derive(Debug)]
pub struct List {
    text: Text,
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
        let text = Text {
            bytes: out,
            gaps: Vec::new(),
        };
        Self { text, items: 0 }
    }

    /// Adds one.
    ///
    /// # Errors
    /// As [`resource`].
    pub fn push(
        &mut self,
        base: &str,
        shown: &Shown<'_>,
        edges: &Edges,
        fields: &Fields<'_>,
    ) -> Result<(), Fault> {
        comma(&mut self.text.bytes, self.items);
        resource(&mut self.text, base, shown, edges, fields)?;
        self.items += 1;
        Ok(())
    }

    /// The whole.
    #[must_use]
    pub fn finish(mut self, selected: &Selected) -> Text {
        let out = &mut self.text.bytes;
        // Writing into memory cannot fail.
        let _written = write!(out, "],\"totalResults\":{}", selected.total);
        if let Some(start) = selected.start {
            let _written = write!(out, ",\"startIndex\":{start}");
        }
        if let Some(cursor) = &selected.next {
            out.extend_from_slice(b",\"nextCursor\":");
            string(out, cursor);
        }
        let _written = write!(out, ",\"itemsPerPage\":{}}}", self.items);
        self.text
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
    use crate::scim::projection::Projection;
    use serde_json::{Value, json};

    const BASE: &str = "http://h/scim/v2";

    fn render(kind: Kind, only: &str, edges: &Edges) -> (Text, Value) {
        let shown = Shown {
            kind,
            id: "k&K",
            tag: Tag {
                version: 3,
                derived: 0x2a,
            },
            created: Timestamp(0),
            modified: Timestamp(1),
            attributes: br#"{"displayName":"A \"b\"","schemas":["s"]}"#,
        };
        let projection = Projection::read(only.split(','), []).unwrap();
        let mut text = Text::default();
        resource(&mut text, BASE, &shown, edges, &projection.fields(kind)).unwrap();
        let value = serde_json::from_slice(&text.bytes).unwrap();
        (text, value)
    }

    fn group(id: &str, name: &str) -> Rc<Group> {
        Rc::new(Group {
            id: Id::from(id),
            name: name.to_owned(),
        })
    }

    fn member(id: &str, kind: Kind, display: Option<&str>) -> Member {
        Member {
            id: Id::from(id),
            kind,
            display: display.map(str::to_owned),
        }
    }

    #[test]
    fn a_reply_is_the_stored_json_with_the_rest_spliced_in() {
        let edges = Edges {
            members: Members::Here(vec![
                member("u-1", Kind::User, Some("Ada")),
                member("g/2", Kind::Group, None),
            ]),
            groups: Vec::new(),
        };
        let meta = json!({
            "resourceType": "Group", "created": "1970-01-01T00:00:00.000Z",
            "lastModified": "1970-01-01T00:00:00.001Z", "location": "http://h/scim/v2/Groups/k%26K",
            "version": "W/\"3-2a\""
        });
        let (_, whole) = render(Kind::Group, "", &edges);
        let members = json!([
            {"value": "u-1", "$ref": "http://h/scim/v2/Users/u-1", "type": "User"},
            {"value": "g/2", "$ref": "http://h/scim/v2/Groups/g%2F2", "type": "Group"}
        ]);
        assert_eq!(
            whole,
            json!({"id": "k&K", "displayName": "A \"b\"", "schemas": ["s"], "members": members, "meta": meta})
        );
        let (_, named) = render(Kind::Group, "members.display,members.type", &edges);
        assert_eq!(
            named["members"],
            json!([{"type": "User", "display": "Ada"}, {"type": "Group"}])
        );
        let (_, part) = render(Kind::Group, "members.type,meta.version,DISPLAYNAME", &edges);
        assert_eq!(
            part,
            json!({
                "id": "k&K", "displayName": "A \"b\"", "schemas": ["s"],
                "members": [{"type": "User"}, {"type": "Group"}], "meta": {"version": "W/\"3-2a\""}
            })
        );
    }

    #[test]
    fn groups_show_how_they_were_come_by() {
        let edges = Edges {
            members: Members::Without,
            groups: vec![(group("g-1", "One"), true), (group("g-2", "Two"), false)],
        };
        let (_, whole) = render(Kind::User, "", &edges);
        assert_eq!(
            whole["groups"],
            json!([
                {"value": "g-1", "$ref": "http://h/scim/v2/Groups/g-1", "display": "One", "type": "direct"},
                {"value": "g-2", "$ref": "http://h/scim/v2/Groups/g-2", "display": "Two", "type": "indirect"}
            ])
        );
        let (_, part) = render(Kind::User, "groups.$ref", &edges);
        assert_eq!(
            part,
            json!({"id": "k&K", "schemas": ["s"], "groups": [
                {"$ref": "http://h/scim/v2/Groups/g-1"}, {"$ref": "http://h/scim/v2/Groups/g-2"}
            ]})
        );
    }

    #[test]
    fn members_that_come_later_leave_a_gap_between_the_brackets() {
        let edges = Edges {
            members: Members::Later(Handle(9)),
            groups: Vec::new(),
        };
        let (text, value) = render(Kind::Group, "", &edges);
        assert_eq!(value["members"], json!([]));
        let [gap] = text.gaps[..] else {
            panic!("{:?}", text.gaps);
        };
        assert_eq!(
            (gap.group, gap.fields),
            (Handle(9), [true, true, true, false])
        );
        assert_eq!(&text.bytes[gap.at - 1..=gap.at], b"[]");
    }

    #[test]
    fn an_empty_list_still_has_resources() {
        let list = List::new(0).finish(&Selected::default());
        let list: Value = serde_json::from_slice(&list.bytes).unwrap();
        assert_eq!(list["Resources"], json!([]));
        assert_eq!(list["itemsPerPage"], 0);
    }
}
