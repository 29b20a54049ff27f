//! Reads. They never leave the box: every one is answered from one snapshot of the directory.

use serde_json::{Map, Value};

use crate::error::Fault;
use crate::scim::filter::Filter;
use crate::scim::json;
use crate::scim::request::{ListQuery, Page};
use crate::scim::response::{self, Edges, List, Shown};
use crate::scim::{Handle, Id, Kind};
use crate::settle::absent;
use crate::store::{Key, Lookup, RowRef, View};

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
/// 400 `invalidFilter` for a filter that no index answers.
pub fn list(
    view: &View,
    base: &str,
    client: &str,
    kind: Kind,
    query: &ListQuery,
) -> Result<Vec<u8>, Fault> {
    let members = if query.projection.shows(kind, "members") {
        Members::All
    } else {
        Members::Without
    };
    let Page::Index(start) = query.page else {
        return Err(Fault::NotImplemented(String::from("cursor")));
    };
    let skip = usize::try_from(start - 1).unwrap_or(usize::MAX);
    let begin = |total: u64| {
        let behind = usize::try_from(total)
            .unwrap_or(usize::MAX)
            .saturating_sub(skip);
        List::new(total, start, query.count.min(behind))
    };
    let Some(filter) = &query.filter else {
        let mut list = begin(view.count(kind)?);
        let mut pushed = Ok(());
        view.page(kind, start, query.count, |row| {
            let edges = edges(view, kind, row.handle, members)
                .map(|edges| list.push(base, &shown(&row), &edges));
            pushed = std::mem::replace(&mut pushed, Ok(())).and(edges);
        })?;
        pushed?;
        return Ok(list.finish());
    };
    let matching = matching(view, client, kind, filter)?;
    let mut list = begin(matching.len() as u64);
    for handle in matching.into_iter().skip(skip).take(query.count) {
        let edges = edges(view, kind, handle, members)?;
        view.row(handle, |row| list.push(base, &shown(&row), &edges))?;
    }
    Ok(list.finish())
}

/// The handles that a filter selects, by an index and a second look at each row that it gives.
fn matching(view: &View, client: &str, kind: Kind, filter: &Filter) -> Result<Vec<Handle>, Fault> {
    let unsupported = || {
        let attributes = match kind {
            Kind::User => "userName, externalId, id and emails.value",
            Kind::Group => "displayName, externalId and id",
        };
        Fault::InvalidFilter(format!(
            "Lists of {} can be filtered by eq on {attributes}, and by `and` of these.",
            kind.endpoint()
        ))
    };
    let terms = filter.conjunction().ok_or_else(unsupported)?;
    let mut candidates = None;
    for (path, value) in &terms {
        let path = path.to_string().to_lowercase();
        let text = value.as_str();
        let found = match (
            kind,
            path.rsplit_once(":2.0:user:")
                .or(path.rsplit_once(":2.0:group:"))
                .map_or(path.as_str(), |(_, name)| name),
            text,
        ) {
            (_, "id", Some(id)) => view.find(&Key::Id(kind, id))?.into_iter().collect(),
            (Kind::User, "username", Some(name)) => view.find_all(kind, &Lookup::UserName(name))?,
            (Kind::User, "emails" | "emails.value", Some(address)) => {
                view.find_all(kind, &Lookup::Email(address))?
            }
            (Kind::Group, "displayname", Some(name)) => {
                view.find_all(kind, &Lookup::GroupName(name))?
            }
            (_, "externalid", Some(id)) => {
                view.find_all(kind, &Lookup::ExternalId { client, value: id })?
            }
            // An index holds strings; no string equals a number or null.
            (
                _,
                "id" | "username" | "emails" | "emails.value" | "displayname" | "externalid",
                None,
            ) => Vec::new(),
            _ => return Err(unsupported()),
        };
        candidates.get_or_insert(found);
    }
    // An attribute that no term names is not read. An extension's attributes stand under its URN.
    let named = |key: &str| {
        key.contains(':')
            || terms
                .iter()
                .any(|(path, _)| path.attr.eq_ignore_ascii_case(key))
    };
    let mut matching = Vec::new();
    for handle in candidates.unwrap_or_default() {
        let map = view.row(handle, |row| {
            let mut map = json::members(row.attributes, named).ok()?;
            map.insert(String::from("id"), row.id.into());
            Some(map)
        })?;
        if map.flatten().is_some_and(|map| filter.matches(kind, &map)) {
            matching.push(handle);
        }
    }
    Ok(matching)
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
