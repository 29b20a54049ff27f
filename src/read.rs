//! Reads. They never leave the box: every one is answered from one snapshot of the directory.

mod list;
mod parts;
mod picture;
mod search;

use serde_json::{Map, Value};

use crate::error::Fault;
use crate::scim::request::ListQuery;
use crate::scim::response::{self, Edges, List, Shown};
use crate::scim::{Handle, Id, Kind};
use crate::settle::absent;
use crate::store::{Key, RowRef, View};

pub use list::select;

/// One resource as a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The JSON.
    pub body: Vec<u8>,
    /// Its ETag.
    pub etag: String,
    /// Its location.
    pub location: String,
    /// Its kind's name and what a log may say of it: nothing but the id.
    pub id: String,
}

/// How many members a reply to a write shows at most (`patch_response`): more are left out whole.
pub const MEMBERS_IN_WRITE_REPLY: usize = 200;

/// Which of a group's members a reply shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Members {
    /// All.
    All,
    /// None.
    Without,
    /// All, or none if there are more than so many.
    UpTo(usize),
}

/// One resource by its outward id.
///
/// # Errors
/// 404.
pub fn by_id(
    view: &View,
    base: &str,
    kind: Kind,
    id: &str,
    members: Members,
) -> Result<Found, Fault> {
    let handle = view.find(&Key::Id(kind, id))?.ok_or_else(|| absent(kind))?;
    by_handle(view, base, kind, handle, members)
}

/// One resource by its handle.
///
/// # Errors
/// 404.
pub fn by_handle(
    view: &View,
    base: &str,
    kind: Kind,
    handle: Handle,
    members: Members,
) -> Result<Found, Fault> {
    let edges = edges(view, kind, handle, members)?;
    let found = view.row(handle, |row| {
        let shown = shown(&row);
        let mut body = Vec::with_capacity(shown.attributes.len() + 512);
        response::resource(&mut body, base, &shown, &edges);
        let etag = format!("W/\"{}\"", shown.version);
        Found {
            body,
            etag,
            location: response::location(base, kind, shown.id),
            id: shown.id.to_owned(),
        }
    })?;
    found.ok_or_else(|| absent(kind))
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
) -> Result<Vec<u8>, Fault> {
    let mut list = List::new(query.count);
    let selected = select(view, client, kind, query, |row| {
        let members = if query.projection.shows(row.kind, "members") {
            Members::All
        } else {
            Members::Without
        };
        let edges = edges(view, row.kind, row.handle, members)?;
        list.push(base, &shown(&row), &edges);
        Ok(())
    })?;
    Ok(list.finish(&selected))
}

fn shown<'a>(row: &RowRef<'a>) -> Shown<'a> {
    Shown {
        kind: row.kind,
        id: row.id,
        version: row.version,
        created: row.created,
        modified: row.modified,
        attributes: row.attributes,
    }
}

fn edges(view: &View, kind: Kind, handle: Handle, members: Members) -> Result<Edges, Fault> {
    match (kind, members) {
        (Kind::Group, Members::Without) => Ok(Edges::default()),
        (Kind::Group, Members::All) => Ok(Edges {
            members: Some(view.members(handle, None, usize::MAX)?),
            groups: Vec::new(),
        }),
        (Kind::Group, Members::UpTo(most)) => {
            let first = view.members(handle, None, most + 1)?;
            Ok(Edges {
                members: (first.len() <= most).then_some(first),
                groups: Vec::new(),
            })
        }
        (Kind::User, _) => {
            let mut groups: Vec<(Id, String)> = Vec::new();
            for (group, id) in view.groups_of(handle)? {
                let name = view.row(group, |row| {
                    let map: Option<Map<String, Value>> =
                        serde_json::from_slice(row.attributes).ok();
                    map.and_then(|map| map.get("displayName")?.as_str().map(str::to_owned))
                        .unwrap_or_default()
                })?;
                groups.extend(name.map(|name| (id, name)));
            }
            Ok(Edges {
                members: None,
                groups,
            })
        }
    }
}
