//! What a list is made of: stretches of an index that stand in the list's order, and searches for what no index orders.
//! Which they are follows from the query alone.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;

use super::memberships::Memberships;
use super::search::Search;
use crate::clock::Timestamp;
use crate::error::Fault;
use crate::scim::filter::{Access, Filter, Plan, known};
use crate::scim::request::{ListQuery, Sort};
use crate::scim::{Handle, Kind, cursor};
use crate::store::{Stretch, View};

/// What is asked, of which snapshot, by whom.
pub(super) struct Asked<'a> {
    pub(super) view: &'a View,
    /// Where SCIM is served, for what names a resource by its location.
    pub(super) base: &'a str,
    pub(super) client: &'a str,
    pub(super) filter: Option<&'a Filter>,
    /// How much may be looked at, and kept, in this request.
    pub(super) limit: usize,
    pub(super) memberships: RefCell<Memberships<'a>>,
    looked: Cell<usize>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(
        view: &'a View,
        base: &'a str,
        client: &'a str,
        query: &'a ListQuery,
        limit: usize,
    ) -> Self {
        Self {
            view,
            base,
            client,
            filter: query.filter.as_ref(),
            limit,
            memberships: RefCell::new(Memberships::new(view)),
            looked: Cell::new(0),
        }
    }

    /// Takes note of rows or edges that are looked at.
    pub(super) fn look_at(&self, more: usize) -> Result<(), Fault> {
        let looked = self.looked.get().saturating_add(more);
        self.looked.set(looked);
        if looked > self.limit {
            return Err(self.too_many());
        }
        Ok(())
    }

    /// Whether so many rows may be looked at: who cannot be answered is told so before the work, not after it.
    pub(super) fn may_look_at(&self, more: u64) -> Result<(), Fault> {
        if more > self.left() as u64 {
            return Err(self.too_many());
        }
        Ok(())
    }

    /// What may still be looked at.
    pub(super) fn left(&self) -> usize {
        self.limit - self.looked.get().min(self.limit)
    }

    /// 400 `tooMany`, and what would be answered.
    pub(super) fn too_many(&self) -> Fault {
        Fault::TooMany(format!(
            "This list needs a look at more than {} resources. An index serves the filters eq on id, userName, externalId, emails.value, displayName, active, groups.value and members.value, sw on userName and displayName, eq, gt, ge, lt and le on meta.lastModified, and `and` of one of these with others; and without a filter sortBy userName, displayName, active and meta.lastModified.",
            self.limit
        ))
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part<'q> {
    /// All of a kind, by handle.
    Rows(Kind),
    /// Users whose `active` is this, by handle.
    Active { active: bool, backwards: bool },
    /// A stretch of an index.
    Stretch {
        stretch: Stretch<'q>,
        backwards: bool,
    },
    /// What has to be looked for.
    Search(Search<'q>),
}

/// The parts of a list, in its order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Arrangement<'q> {
    pub(super) parts: Vec<Part<'q>>,
    /// They are all of this kind, so that none of them needs to be counted.
    pub(super) whole: Option<Kind>,
}

impl<'q> Arrangement<'q> {
    pub(super) fn of(kinds: &[Kind], query: &'q ListQuery) -> Self {
        let mut plans = Vec::new();
        for kind in kinds {
            let plan = query
                .filter
                .as_ref()
                .map_or(Plan::EVERYTHING, |filter| filter.plan(*kind));
            if plan.access != Access::Nothing {
                plans.push((*kind, plan));
            }
        }
        let whole = match plans.as_slice() {
            [(kind, plan)] if *plan == Plan::EVERYTHING => Some(*kind),
            _ => None,
        };
        let Some(sort) = &query.sort else {
            let parts = plans.into_iter().map(|(kind, plan)| match plan {
                Plan {
                    access: Access::All,
                    exact: true,
                } => Part::Rows(kind),
                Plan {
                    access: Access::Active(active),
                    exact: true,
                } => Part::Active {
                    active,
                    backwards: false,
                },
                plan => Part::Search(Search {
                    plans: vec![(kind, plan)],
                    sort: None,
                }),
            });
            return Self {
                parts: parts.collect(),
                whole,
            };
        };
        if let [(kind, plan)] = plans.as_slice()
            && let Some(parts) = ordered(*kind, plan, sort)
        {
            return Self { parts, whole };
        }
        let parts = if plans.is_empty() {
            Vec::new()
        } else {
            vec![Part::Search(Search {
                plans,
                sort: Some(sort),
            })]
        };
        Self { parts, whole: None }
    }

    /// `totalResults`, if the parts together counted `counted`.
    pub(super) fn total(&self, asked: &Asked<'_>, counted: u64) -> Result<u64, Fault> {
        match self.whole {
            Some(kind) => asked.view.count(kind),
            None => Ok(counted),
        }
    }
}

/// The stretches that have a sort's order and hold just what the plan selects.
fn ordered<'q>(kind: Kind, plan: &Plan<'q>, sort: &'q Sort) -> Option<Vec<Part<'q>>> {
    if !plan.exact {
        return None;
    }
    let backwards = sort.descending;
    let part = |stretch| Part::Stretch { stretch, backwards };
    let active = |active| Part::Active { active, backwards };
    let mut parts = match (kind, known(kind, &sort.by)?, &plan.access) {
        (Kind::User, ("userName", None), Access::All) => {
            vec![part(Stretch::Title(kind, ""))]
        }
        (Kind::User, ("userName", None), Access::UserNameStarts(text)) => {
            vec![part(Stretch::Title(kind, text))]
        }
        (Kind::User, ("displayName", None), Access::All) => {
            let named = Stretch::DisplayName {
                text: "",
                whole: false,
            };
            vec![part(named), part(Stretch::Nameless)]
        }
        (Kind::User, ("displayName", None), Access::DisplayNameStarts(text)) => {
            vec![part(Stretch::DisplayName { text, whole: false })]
        }
        (Kind::Group, ("displayName", None), Access::All) => {
            vec![part(Stretch::Title(kind, ""))]
        }
        (Kind::Group, ("displayName", None), Access::DisplayNameStarts(text)) => {
            vec![part(Stretch::Title(kind, text))]
        }
        (_, ("meta", Some("lastModified")), Access::All) => {
            let ever = Stretch::Modified(kind, Timestamp(0), Timestamp::NEVER);
            vec![part(ever)]
        }
        (_, ("meta", Some("lastModified")), Access::Modified(from, to)) => {
            vec![part(Stretch::Modified(kind, *from, *to))]
        }
        (Kind::User, ("active", None), Access::All) => {
            vec![active(false), active(true), part(Stretch::ActiveAbsent)]
        }
        (Kind::User, ("active", None), Access::Active(which)) => vec![active(*which)],
        _ => return None,
    };
    if backwards {
        parts.reverse();
    }
    Some(parts)
}

/// Where in a part to begin.
#[derive(Debug, Clone, Copy)]
pub(super) enum From<'a> {
    /// Behind so many.
    Skip(u64),
    /// Behind this position, which a client sent.
    Behind(&'a [u8]),
}

/// One resource of a part.
pub(super) struct Found {
    /// Where it stands, for a cursor.
    pub(super) position: Vec<u8>,
    pub(super) handle: Handle,
}

/// What was read of a part.
#[derive(Default)]
pub(super) struct Read {
    pub(super) found: Vec<Found>,
    /// How many of those that were to be skipped are in this part.
    pub(super) passed: u64,
    /// How many are in this part, if that was asked.
    pub(super) total: u64,
}

impl Read {
    fn add(&mut self, handle: Handle) {
        self.found.push(Found {
            position: handle.0.to_be_bytes().to_vec(),
            handle,
        });
    }
}

impl Part<'_> {
    /// At most `most` resources; how many there are, if `count`.
    pub(super) fn read(
        &self,
        asked: &Asked<'_>,
        from: From<'_>,
        most: usize,
        count: bool,
    ) -> Result<Read, Fault> {
        let view = asked.view;
        match self {
            Self::Rows(kind) => {
                let total = view.count(*kind)?;
                rows(view, *kind, from, most, total)
            }
            Self::Active { active, backwards } => {
                let total = view.count_active(*active)?;
                users(view, *active, *backwards, from, most, total)
            }
            Self::Stretch { stretch, backwards } => {
                let mut read = along(view, stretch, *backwards, from, most)?;
                if count {
                    view.stretch(stretch, None, false, |_, _| {
                        read.total += 1;
                        ControlFlow::Continue(())
                    })?;
                }
                Ok(read)
            }
            Self::Search(search) => search.read(asked, from, most),
        }
    }
}

fn flow(more: bool) -> ControlFlow<()> {
    if more {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}

/// The handle that a cursor holds.
fn handle(position: &[u8]) -> Result<u64, Fault> {
    let bytes = position.try_into().map_err(|_| cursor::unknown())?;
    Ok(u64::from_be_bytes(bytes))
}

fn rows(view: &View, kind: Kind, from: From<'_>, most: usize, total: u64) -> Result<Read, Fault> {
    let mut read = Read {
        total,
        ..Read::default()
    };
    match from {
        From::Skip(skip) => {
            read.passed = skip.min(total);
            view.page(kind, skip.saturating_add(1), most, |row| {
                read.add(row.handle);
            })?;
        }
        From::Behind(position) => {
            let next = handle(position)?.checked_add(1);
            if let Some(next) = next
                && most > 0
            {
                view.walk(kind, Handle(next), |row| {
                    read.add(row.handle);
                    flow(read.found.len() < most)
                })?;
            }
        }
    }
    Ok(read)
}

fn users(
    view: &View,
    active: bool,
    backwards: bool,
    from: From<'_>,
    most: usize,
    total: u64,
) -> Result<Read, Fault> {
    let mut read = Read {
        total,
        ..Read::default()
    };
    if most == 0 {
        return Ok(read);
    }
    match from {
        From::Skip(skip) if skip >= total => read.passed = total,
        From::Skip(skip) => {
            read.passed = skip;
            let left = total - skip;
            let (start, count) = if backwards {
                let count = usize::try_from(left).map_or(most, |left| left.min(most));
                (left - count as u64, count)
            } else {
                (skip, most)
            };
            view.page_active(active, start + 1, count, |row| read.add(row.handle))?;
            if backwards {
                read.found.reverse();
            }
        }
        From::Behind(position) => {
            let last = handle(position)?;
            let next = if backwards {
                last.checked_sub(1)
            } else {
                last.checked_add(1)
            };
            if let Some(next) = next {
                view.walk_active(active, Handle(next), backwards, |row| {
                    read.add(row.handle);
                    flow(read.found.len() < most)
                })?;
            }
        }
    }
    Ok(read)
}

fn along(
    view: &View,
    stretch: &Stretch<'_>,
    backwards: bool,
    from: From<'_>,
    most: usize,
) -> Result<Read, Fault> {
    let mut read = Read::default();
    if most == 0 {
        return Ok(read);
    }
    let (behind, skip) = match from {
        From::Skip(skip) => (None, skip),
        From::Behind(position) => (Some(position), 0),
    };
    view.stretch(stretch, behind, backwards, |position, handle| {
        if read.passed < skip {
            read.passed += 1;
            return ControlFlow::Continue(());
        }
        read.found.push(Found {
            position: position.to_vec(),
            handle,
        });
        flow(read.found.len() < most)
    })?;
    Ok(read)
}
