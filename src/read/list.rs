//! Which resources a list shows: filter, order and page (RFC 7644 3.4.2, RFC 9865).
//!
//! A list is made of parts, one behind the other: see [`super::parts`]. Where an index has the list's order, a page
//! costs the page; else what the filter may select is looked at, to a limit, and only the page is kept. Without `sortBy`
//! lists run in the order of creation, users before groups.

use super::parts::{Arrangement, Asked, From, Part};
use crate::error::Fault;
use crate::scim::cursor::{self, Cursor, Fingerprint, POSITION};
use crate::scim::request::{ListQuery, Page};
use crate::scim::response::Selected;
use crate::scim::{Handle, Kind, sort};
use crate::store::{RowRef, View};

/// How many resources one request looks at: those that an index finds and the filter does not fully say, those that are
/// sorted, or all, where no index answers.
const LIMIT: usize = 100_000;

/// Calls `each` with the rows of one page, and says what the list as a whole is. `kind` `None`: users and groups.
/// `client` is who asks: an externalId is one client's own (RFC 7643 3.1), and what another client called a resource is
/// absent to filters and sorts.
///
/// # Errors
/// 400 `invalidFilter`, `invalidValue` for a `sortBy` that cannot be, `tooMany` where no index answers and the directory
/// is large, `invalidCursor`; whatever `each` fails with.
pub fn select(
    view: &View,
    base: &str,
    client: &str,
    kind: Option<Kind>,
    query: &ListQuery,
    each: impl FnMut(RowRef<'_>) -> Result<(), Fault>,
) -> Result<Selected, Fault> {
    within(LIMIT, view, base, client, kind, query, each)
}

/// Whether answering it may take long: it is then not done where other requests are answered.
#[must_use]
pub fn is_search(kind: Option<Kind>, query: &ListQuery) -> bool {
    let list = Arrangement::of(kinds(&kind), query);
    // Keys of a stretch are counted, and skipped, one by one.
    let deep = matches!(query.page, Page::Index(start) if start > 1);
    list.parts.iter().any(|part| match part {
        Part::Rows(_) | Part::Active { .. } => false,
        Part::Stretch { .. } => deep || list.whole.is_none(),
        Part::Search(search) => search.is_long(),
    })
}

fn kinds(kind: &Option<Kind>) -> &[Kind] {
    match kind {
        Some(kind) => std::slice::from_ref(kind),
        None => &[Kind::User, Kind::Group],
    }
}

/// ... looking at so many resources at most.
fn within(
    limit: usize,
    view: &View,
    base: &str,
    client: &str,
    kind: Option<Kind>,
    query: &ListQuery,
    mut each: impl FnMut(RowRef<'_>) -> Result<(), Fault>,
) -> Result<Selected, Fault> {
    let kinds = kinds(&kind);
    for kind in kinds {
        check(*kind, query)?;
    }
    let asked = Asked::new(view, base, client, query, limit);
    let list = Arrangement::of(kinds, query);
    let (selected, page) = match &query.page {
        Page::Index(start) => {
            if let [Part::Rows(kind)] = list.parts.as_slice() {
                // The most common list: the rows are read once.
                let mut result = Ok(());
                view.page(*kind, *start, query.count, |row| {
                    if result.is_ok() {
                        result = each(row);
                    }
                })?;
                result?;
            }
            by_index(&asked, &list, *start, query.count)?
        }
        Page::Cursor(text) => {
            let fingerprint = Fingerprint::of(client, kind, query);
            let behind = match text.as_str() {
                "" => None,
                text => Some(Cursor::decode(text, fingerprint)?),
            };
            by_cursor(&asked, &list, behind, query.count, fingerprint)?
        }
    };
    for handle in page {
        view.row(handle, &mut each)?.transpose()?;
    }
    Ok(selected)
}

fn check(kind: Kind, query: &ListQuery) -> Result<(), Fault> {
    let orderless = query
        .filter
        .as_ref()
        .and_then(|filter| filter.without_order(kind));
    if let Some(name) = orderless {
        return Err(Fault::InvalidFilter(format!(
            "{name} has no order: gt, ge, lt and le do not go with it (RFC 7644 3.4.2.2)."
        )));
    }
    match &query.sort {
        Some(sort) => sort::check(kind, &sort.by),
        None => Ok(()),
    }
}

/// The page that begins with the `start`-th; beyond the end it is empty.
fn by_index(
    asked: &Asked<'_>,
    list: &Arrangement<'_>,
    start: u64,
    count: usize,
) -> Result<(Selected, Vec<Handle>), Fault> {
    let mut skip = start.max(1) - 1;
    let mut page = Vec::new();
    let mut total = 0;
    let shown = matches!(list.parts.as_slice(), [Part::Rows(_)]);
    for part in &list.parts {
        let left = if shown { 0 } else { count - page.len() };
        if left == 0 && list.whole.is_some() {
            break;
        }
        let read = part.read(asked, From::Skip(skip), left, list.whole.is_none())?;
        skip -= read.passed.min(skip);
        total += read.total;
        page.extend(read.found.into_iter().map(|found| found.handle));
    }
    let selected = Selected {
        total: list.total(asked, total)?,
        start: Some(start),
        ..Selected::default()
    };
    Ok((selected, page))
}

/// The page behind a cursor, and the cursor behind the page if there is more. There is no `previousCursor`.
fn by_cursor(
    asked: &Asked<'_>,
    list: &Arrangement<'_>,
    behind: Option<Cursor>,
    count: usize,
    fingerprint: Fingerprint,
) -> Result<(Selected, Vec<Handle>), Fault> {
    let at = behind.as_ref().map_or(0, |cursor| usize::from(cursor.part));
    if behind.is_some() && at >= list.parts.len() {
        return Err(cursor::unknown());
    }
    // One more than asked for shows whether there is a next page; `count=0` asks for the total alone.
    let most = if count == 0 { 0 } else { count + 1 };
    let mut page = Vec::new();
    let mut total = 0;
    for (number, part) in list.parts.iter().enumerate() {
        let left = if number < at { 0 } else { most - page.len() };
        if left == 0 && list.whole.is_some() {
            continue;
        }
        let from = match &behind {
            Some(cursor) if number == at => From::Behind(&cursor.position),
            _ => From::Skip(0),
        };
        let read = part.read(asked, from, left, list.whole.is_none())?;
        total += read.total;
        page.extend(read.found.into_iter().map(|found| (number, found)));
    }
    let mut next = None;
    if page.len() > count {
        page.truncate(count);
        // A page may be shorter than asked for (RFC 9865 2): it ends where a cursor can say so.
        while page
            .last()
            .is_some_and(|(_, found)| found.position.len() > POSITION)
        {
            page.pop();
        }
        let Some((number, last)) = page.last() else {
            return Err(Fault::TooMany(String::from(
                "The values that this list is sorted by are too long for a cursor. Ask for a larger count, or by startIndex.",
            )));
        };
        let cursor = Cursor {
            part: u8::try_from(*number).unwrap_or(u8::MAX),
            position: last.position.clone(),
        };
        next = Some(cursor.encode(fingerprint));
    }
    let selected = Selected {
        total: list.total(asked, total)?,
        next,
        ..Selected::default()
    };
    let page = page.into_iter().map(|(_, found)| found.handle).collect();
    Ok((selected, page))
}

#[cfg(test)]
mod tests;
