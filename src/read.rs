//! Reads. They never leave the box: every one is answered from one snapshot of the directory.

mod list;
mod memberships;
mod parts;
mod picture;
mod search;

use crate::error::Fault;
use crate::scim::condition::{Conditions, Fresh, Tag};
use crate::scim::projection::{Fields, Projection};
use crate::scim::request::ListQuery;
use crate::scim::response::{self, Edges, List, Member, Shown, Text};
use crate::scim::{Handle, Kind};
use crate::settle::absent;
use crate::store::{Key, RowRef, View};
use memberships::Memberships;

pub use list::{is_search, select};
pub use memberships::GROUPS;

/// One resource as a reply.
#[derive(Debug)]
pub struct Found {
    /// The JSON; `None` if the client has this version already.
    pub text: Option<Text>,
    /// Its ETag.
    pub etag: String,
    /// Its location.
    pub location: String,
    /// Its outward id: all that a log may say of it.
    pub id: String,
}

/// How many members a reply to a PATCH shows at most (`patch_response`): more are left out whole.
pub const MEMBERS_IN_WRITE_REPLY: u64 = 200;

/// A group of more members leaves a gap in the reply, which is filled while it is sent.
const MEMBERS_INLINE: u64 = 200;

/// How many members all groups of a list together may show before the next group leaves a gap as well.
const MEMBERS_IN_LIST: u64 = 2_000;

/// Which of a group's members a reply shows, if its projection shows any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Members {
    /// All.
    All,
    /// All, or none if there are more than so many, unless the projection asks for them by name.
    UpTo(u64),
}

/// One resource by its outward id.
///
/// # Errors
/// 404, or 412 by the conditions.
pub fn by_id(
    view: &View,
    base: &str,
    kind: Kind,
    id: &str,
    projection: &Projection,
    conditions: Conditions<'_>,
) -> Result<Found, Fault> {
    let handle = view.find(&Key::Id(kind, id))?.ok_or_else(|| absent(kind))?;
    let mut rendering = Rendering::new(view, base, projection, Members::All);
    rendering.one(kind, handle, conditions)
}

/// One resource by its handle: the reply to a write.
///
/// # Errors
/// 404.
pub fn by_handle(
    view: &View,
    base: &str,
    kind: Kind,
    handle: Handle,
    projection: &Projection,
    members: Members,
) -> Result<Found, Fault> {
    let mut rendering = Rendering::new(view, base, projection, members);
    rendering.one(kind, handle, Conditions::default())
}

/// One resource by its handle, without its text: what a reply says of it that does not show it.
///
/// # Errors
/// 404.
pub fn head(view: &View, base: &str, kind: Kind, handle: Handle) -> Result<Found, Fault> {
    let known = Conditions {
        if_none_match: Some("*"),
        ..Conditions::default()
    };
    let projection = Projection::default();
    Rendering::new(view, base, &projection, Members::All).one(kind, handle, known)
}

/// A page of resources (RFC 7644 3.4.2).
///
/// # Errors
/// As [`list::select`].
pub fn list(
    view: &View,
    base: &str,
    client: &str,
    kind: Option<Kind>,
    query: &ListQuery,
) -> Result<Text, Fault> {
    let mut list = List::new(query.count);
    let mut rendering = Rendering::new(view, base, &query.projection, Members::All);
    let selected = select(view, base, client, kind, query, |row| {
        rendering.push(&mut list, &row)
    })?;
    Ok(list.finish(&selected))
}

/// One answer in the making.
struct Rendering<'a> {
    view: &'a View,
    base: &'a str,
    user: Fields<'a>,
    group: Fields<'a>,
    members: Members,
    /// How many members may still stand in memory.
    room: u64,
    memberships: Memberships<'a>,
}

impl<'a> Rendering<'a> {
    fn new(view: &'a View, base: &'a str, projection: &'a Projection, members: Members) -> Self {
        let members = match members {
            Members::UpTo(_) if projection.asks_for(Kind::Group, "members") => Members::All,
            members => members,
        };
        Self {
            view,
            base,
            user: projection.fields(Kind::User),
            group: projection.fields(Kind::Group),
            members,
            room: MEMBERS_IN_LIST,
            memberships: Memberships::new(view),
        }
    }

    fn one(
        &mut self,
        kind: Kind,
        handle: Handle,
        conditions: Conditions<'_>,
    ) -> Result<Found, Fault> {
        let view = self.view;
        let found = view.row(handle, |row| {
            let (derived, edges) = self.derived(&row, true)?;
            let tag = tag(&row, derived);
            let text = match conditions.read(tag)? {
                Fresh::Known => None,
                Fresh::New => {
                    let edges = self.with_members(&row, derived, edges)?;
                    let mut text = Text {
                        bytes: Vec::with_capacity(row.attributes.len() + 512),
                        gaps: Vec::new(),
                    };
                    let shown = shown(&row, tag);
                    response::resource(
                        &mut text,
                        self.base,
                        &shown,
                        &edges,
                        self.fields(row.kind),
                    )?;
                    Some(text)
                }
            };
            Ok(Found {
                text,
                etag: tag.to_string(),
                location: response::location(self.base, kind, row.id),
                id: row.id.to_owned(),
            })
        })?;
        found.ok_or_else(|| absent(kind))?
    }

    fn push(&mut self, list: &mut List, row: &RowRef<'_>) -> Result<(), Fault> {
        let (derived, edges) = self.derived(row, self.fields(row.kind).shows_version())?;
        let edges = self.with_members(row, derived, edges)?;
        let shown = shown(row, tag(row, derived));
        list.push(self.base, &shown, &edges, self.fields(row.kind))
    }

    fn fields(&self, kind: Kind) -> &Fields<'a> {
        match kind {
            Kind::User => &self.user,
            Kind::Group => &self.group,
        }
    }

    /// What a resource's edges add to its version, and a user's groups. Edges are read only for what is shown, and for
    /// the `tag` if that is.
    ///
    /// A group's row counts what is done to its members, but not that one of them was deleted: how many are left tells
    /// that.
    fn derived(&mut self, row: &RowRef<'_>, tag: bool) -> Result<(u64, Edges), Fault> {
        match row.kind {
            Kind::User if tag || self.user.shows_groups() => {
                let groups = self.memberships.of(row.handle)?;
                let edges = Edges {
                    groups,
                    ..Edges::default()
                };
                Ok((memberships::fingerprint(&edges.groups), edges))
            }
            Kind::Group if tag || self.group.shows_members() => {
                Ok((self.view.member_count(row.handle)?, Edges::default()))
            }
            Kind::User | Kind::Group => Ok((0, Edges::default())),
        }
    }

    /// A group's members, or a gap for them.
    fn with_members(&mut self, row: &RowRef<'_>, count: u64, edges: Edges) -> Result<Edges, Fault> {
        if row.kind == Kind::User || !self.group.shows_members() {
            return Ok(edges);
        }
        let members = match self.members {
            Members::UpTo(most) if count > most => response::Members::Without,
            _ if count > MEMBERS_INLINE.min(self.room) => response::Members::Later(row.handle),
            _ => {
                self.room -= count;
                let most = usize::try_from(MEMBERS_INLINE).unwrap_or(usize::MAX);
                let (found, _) = members(self.view, row.handle, None, most, self.group.members)?;
                response::Members::Here(found)
            }
        };
        Ok(Edges { members, ..edges })
    }
}

/// At most `most` members of a group behind `after`, with what `fields` shows of them, and the last one's handle.
///
/// # Errors
/// [`Fault::Internal`].
pub fn members(
    view: &View,
    group: Handle,
    after: Option<Handle>,
    most: usize,
    fields: [bool; 4],
) -> Result<(Vec<Member>, Option<Handle>), Fault> {
    let [.., named] = fields;
    let found = view.members(group, after, most)?;
    let last = found.last().map(|(handle, ..)| *handle);
    let shown = found.into_iter().map(|(handle, id, kind)| {
        // A row is read for each: only who asks for names pays for them.
        let display = if named {
            view.row(handle, |row| memberships::name(row.attributes))?
        } else {
            None
        };
        Ok(Member {
            id,
            kind,
            display: display.filter(|name| !name.is_empty()),
        })
    });
    Ok((shown.collect::<Result<_, Fault>>()?, last))
}

fn tag(row: &RowRef<'_>, derived: u64) -> Tag {
    Tag {
        version: row.version,
        derived,
    }
}

fn shown<'a>(row: &RowRef<'a>, tag: Tag) -> Shown<'a> {
    Shown {
        kind: row.kind,
        id: row.id,
        tag,
        created: row.created,
        modified: row.modified,
        attributes: row.attributes,
    }
}
