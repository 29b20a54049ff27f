//! Which resources a list shows: filter, order and page.

use crate::error::Fault;
use crate::scim::filter::Filter;
use crate::scim::request::{ListQuery, Page};
use crate::scim::response::Selected;
use crate::scim::{Handle, Kind, json};
use crate::store::{Key, Lookup, RowRef, View};

/// Calls `each` with the rows of one page, and says what the list as a whole is. `kind` `None`: users and groups.
/// `client` is who asks: an externalId is one client's own.
///
/// # Errors
/// 400 `invalidFilter` for a filter that no index answers; whatever `each` fails with.
pub fn select(
    view: &View,
    client: &str,
    kind: Option<Kind>,
    query: &ListQuery,
    mut each: impl FnMut(RowRef<'_>) -> Result<(), Fault>,
) -> Result<Selected, Fault> {
    let kind = kind.ok_or_else(|| Fault::NotImplemented(String::from("root query")))?;
    let Page::Index(start) = query.page else {
        return Err(Fault::NotImplemented(String::from("cursor")));
    };
    let selected = |total| Selected {
        total,
        start: Some(start),
        ..Selected::default()
    };
    let Some(filter) = &query.filter else {
        let mut result = Ok(());
        view.page(kind, start, query.count, |row| {
            if result.is_ok() {
                result = each(row);
            }
        })?;
        result?;
        return Ok(selected(view.count(kind)?));
    };
    let matching = matching(view, client, kind, filter)?;
    let total = matching.len() as u64;
    let skip = usize::try_from(start - 1).unwrap_or(usize::MAX);
    for handle in matching.into_iter().skip(skip).take(query.count) {
        view.row(handle, &mut each)?.transpose()?;
    }
    Ok(selected(total))
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
