//! Lists that no index has in their order: what may match is gone through once, and only the page is kept.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::parts::{Asked, Found, From, Read};
use super::picture::Needs;
use crate::error::Fault;
use crate::scim::filter::{Access, Filter, Plan};
use crate::scim::request::Sort;
use crate::scim::sort::{self, SortKey};
use crate::scim::{Handle, Kind, cursor};
use crate::store::{Key, Lookup, RowRef, Stretch};

/// Members of a group that are read at once.
const SLICE: usize = 1_000;

/// What is looked for, and the order that it is wanted in: without a sort users before groups, by handle.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Search<'q> {
    pub(super) plans: Vec<(Kind, Plan<'q>)>,
    pub(super) sort: Option<&'q Sort>,
}

/// Something that may match.
enum Candidate<'r> {
    Handle(Handle),
    Row(RowRef<'r>),
}

type Offer<'o> = &'o mut dyn FnMut(Candidate<'_>) -> Result<(), Fault>;

impl Search<'_> {
    /// Whether it may look at more than the few that share a key.
    pub(super) fn is_long(&self) -> bool {
        self.plans.iter().any(|(_, plan)| plan.is_long())
    }

    pub(super) fn read(
        &self,
        asked: &Asked<'_>,
        from: From<'_>,
        most: usize,
    ) -> Result<Read, Fault> {
        let (skip, behind) = match from {
            From::Skip(skip) => (skip, None),
            From::Behind(position) => (0, Some(Place::of_position(position)?)),
        };
        let reach = usize::try_from(skip).map_or(usize::MAX, |skip| skip.saturating_add(most));
        let mut nearest = Nearest {
            // Who asks for nothing but the total needs none.
            keep: if most == 0 { 0 } else { reach.min(asked.limit) },
            behind,
            descending: self.sort.is_some_and(|sort| sort.descending),
            places: Vec::new(),
            farthest: None,
            total: 0,
        };
        for (kind, plan) in &self.plans {
            let look = Look {
                asked,
                kind: *kind,
                filter: asked.filter.filter(|_| !plan.exact),
                sort: self.sort,
                needs: Needs::of(
                    asked.view,
                    *kind,
                    asked.filter.filter(|_| !plan.exact),
                    self.sort,
                )?,
            };
            candidates(asked, *kind, &plan.access, &mut |candidate| {
                look.at(candidate, &mut nearest)
            })?;
        }
        let total = nearest.total;
        let found = nearest.page(skip, most).ok_or_else(|| {
            Fault::TooMany(format!(
                "This list is not kept in its order, so that startIndex reaches to {} only. Ask for its pages by cursor (RFC 9865).",
                asked.limit
            ))
        })?;
        Ok(Read {
            found,
            passed: skip.min(total),
            total,
        })
    }
}

/// Calls `offer` with all that an access finds, each once.
fn candidates(
    asked: &Asked<'_>,
    kind: Kind,
    access: &Access<'_>,
    offer: Offer<'_>,
) -> Result<(), Fault> {
    let view = asked.view;
    let mut along = |stretch: Stretch<'_>| {
        let mut result = Ok(());
        view.stretch(&stretch, None, false, |_, handle| {
            result = offer(Candidate::Handle(handle));
            flow(&result)
        })?;
        result
    };
    match access {
        Access::Nothing => Ok(()),
        Access::Id(id) => each(view.find(&Key::Id(kind, id))?, offer),
        Access::UserName(name) => each(view.find(&Key::UserName(name))?, offer),
        Access::ExternalId(value) => {
            let client = asked.client;
            each(
                view.find_all(kind, &Lookup::ExternalId { client, value })?,
                offer,
            )
        }
        Access::Email(address) => each(view.find_all(kind, &Lookup::Email(address))?, offer),
        Access::DisplayName(name) if kind == Kind::Group => {
            each(view.find_all(kind, &Lookup::GroupName(name))?, offer)
        }
        Access::DisplayName(text) => along(Stretch::DisplayName { text, whole: true }),
        Access::HasMember(id) => {
            let user = view.find(&Key::Id(Kind::User, id))?;
            let group = view.find(&Key::Id(Kind::Group, id))?;
            let (Some(one), Some(other)) = (user, group) else {
                return user
                    .or(group)
                    .map_or(Ok(()), |member| along(Stretch::GroupsOf(member)));
            };
            // Ids that were brought along may be the same; a group may hold both.
            let mut groups = BTreeSet::new();
            for member in [one, other] {
                groups.extend(view.groups_of(member)?.into_iter().map(|(group, _)| group));
            }
            each(groups, offer)
        }
        Access::InGroup(id) => {
            let Some(group) = view.find(&Key::Id(Kind::Group, id))? else {
                return Ok(());
            };
            // Who is in one of its groups is in it as well (RFC 7643 4.1.2).
            let mut groups = vec![group];
            let mut seen = BTreeSet::from([group]);
            let mut indirect = BTreeSet::new();
            while let Some(one) = groups.pop() {
                let mut last = None;
                loop {
                    let members = view.members(one, last, SLICE)?;
                    let more = members.len() == SLICE;
                    last = members.last().map(|(member, ..)| *member);
                    for (member, _, kind) in members {
                        match kind {
                            Kind::Group if seen.insert(member) => groups.push(member),
                            Kind::Group => {}
                            Kind::User if one == group => offer(Candidate::Handle(member))?,
                            Kind::User if view.is_member(group, member)? => {}
                            Kind::User => {
                                indirect.insert(member);
                            }
                        }
                        if seen.len() + indirect.len() > asked.limit {
                            return Err(asked.too_many());
                        }
                    }
                    if !more {
                        break;
                    }
                }
            }
            each(indirect, offer)
        }
        Access::Any(several) => {
            let mut found = BTreeSet::new();
            for one in several {
                candidates(asked, kind, one, &mut |candidate| {
                    found.insert(match candidate {
                        Candidate::Handle(handle) => handle,
                        Candidate::Row(row) => row.handle,
                    });
                    if found.len() > asked.limit {
                        return Err(asked.too_many());
                    }
                    Ok(())
                })?;
            }
            each(found, offer)
        }
        Access::UserNameStarts(text) => along(Stretch::Title(Kind::User, text)),
        Access::DisplayNameStarts(text) if kind == Kind::Group => along(Stretch::Title(kind, text)),
        Access::DisplayNameStarts(text) => along(Stretch::DisplayName { text, whole: false }),
        Access::Modified(from, to) => along(Stretch::Modified(kind, *from, *to)),
        Access::Active(active) => {
            asked.may_look_at(view.count_active(*active)?)?;
            let mut result = Ok(());
            view.walk_active(*active, Handle(0), false, |row| {
                result = offer(Candidate::Row(row));
                flow(&result)
            })?;
            result
        }
        Access::All => {
            asked.may_look_at(view.count(kind)?)?;
            let mut result = Ok(());
            view.walk(kind, Handle(0), |row| {
                result = offer(Candidate::Row(row));
                flow(&result)
            })?;
            result
        }
    }
}

fn each(handles: impl IntoIterator<Item = Handle>, offer: Offer<'_>) -> Result<(), Fault> {
    for handle in handles {
        offer(Candidate::Handle(handle))?;
    }
    Ok(())
}

fn flow(result: &Result<(), Fault>) -> ControlFlow<()> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

/// A look at the candidates of one kind.
struct Look<'a, 'v> {
    asked: &'a Asked<'v>,
    kind: Kind,
    /// What they have to be checked with, if what was found is not all there is to it.
    filter: Option<&'a Filter>,
    sort: Option<&'a Sort>,
    needs: Needs<'a>,
}

impl Look<'_, '_> {
    fn at(&self, candidate: Candidate<'_>, nearest: &mut Nearest) -> Result<(), Fault> {
        match candidate {
            Candidate::Handle(handle) if self.filter.is_none() && self.sort.is_none() => {
                nearest.add(Place {
                    key: SortKey::default(),
                    kind: self.kind,
                    handle,
                });
                Ok(())
            }
            Candidate::Handle(handle) => {
                let looked = self
                    .asked
                    .view
                    .row(handle, |row| self.at_row(&row, nearest))?;
                looked.unwrap_or(Ok(()))
            }
            Candidate::Row(row) => self.at_row(&row, nearest),
        }
    }

    fn at_row(&self, row: &RowRef<'_>, nearest: &mut Nearest) -> Result<(), Fault> {
        self.asked.look_at(1)?;
        let resource = self.needs.picture(self.asked, row)?;
        let matches = self
            .filter
            .is_none_or(|filter| filter.matches(self.kind, &resource));
        if matches {
            nearest.add(Place {
                key: self.sort.map_or_else(SortKey::default, |sort| {
                    sort::key(self.kind, &resource, &sort.by)
                }),
                kind: self.kind,
                handle: row.handle,
            });
        }
        Ok(())
    }
}

/// Where a resource stands in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    key: SortKey,
    kind: Kind,
    handle: Handle,
}

impl Place {
    fn position(&self) -> Vec<u8> {
        let mut position = self.key.0.to_vec();
        position.push(match self.kind {
            Kind::User => 0,
            Kind::Group => 1,
        });
        position.extend_from_slice(&self.handle.0.to_be_bytes());
        position
    }

    fn of_position(position: &[u8]) -> Result<Self, Fault> {
        let read = || {
            let (rest, handle) = position.split_last_chunk::<8>()?;
            let (kind, key) = rest.split_last()?;
            Some(Self {
                key: SortKey(key.into()),
                kind: match kind {
                    0 => Kind::User,
                    1 => Kind::Group,
                    _ => return None,
                },
                handle: Handle(u64::from_be_bytes(*handle)),
            })
        };
        read().ok_or_else(cursor::unknown)
    }
}

/// Those of many places that come first behind one of them. Holds twice what is wanted at most.
struct Nearest {
    keep: usize,
    behind: Option<Place>,
    descending: bool,
    places: Vec<Place>,
    /// Whatever is not nearer than this is not wanted.
    farthest: Option<Place>,
    total: u64,
}

impl Nearest {
    fn order(&self, one: &Place, other: &Place) -> Ordering {
        if self.descending {
            other.cmp(one)
        } else {
            one.cmp(other)
        }
    }

    fn add(&mut self, place: Place) {
        self.total += 1;
        let too_near = |behind| self.order(&place, behind).is_le();
        let too_far = |farthest| self.order(&place, farthest).is_ge();
        if self.keep == 0
            || self.behind.as_ref().is_some_and(too_near)
            || self.farthest.as_ref().is_some_and(too_far)
        {
            return;
        }
        self.places.push(place);
        if self.places.len() >= self.keep.saturating_mul(2).saturating_add(16) {
            self.drop_farthest();
        }
    }

    fn drop_farthest(&mut self) {
        let mut places = std::mem::take(&mut self.places);
        places.sort_unstable_by(|one, other| self.order(one, other));
        if places.len() >= self.keep {
            places.truncate(self.keep);
            self.farthest = places.last().cloned();
        }
        self.places = places;
    }

    /// The page behind the first `skip`. `None`: it lies deeper than what is kept.
    fn page(mut self, skip: u64, most: usize) -> Option<Vec<Found>> {
        let end = skip.saturating_add(most as u64).min(self.total);
        if most > 0 && self.behind.is_none() && skip < end && end > self.keep as u64 {
            return None;
        }
        self.drop_farthest();
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let page = self.places.iter().skip(skip).take(most);
        Some(
            page.map(|place| Found {
                position: place.position(),
                handle: place.handle,
            })
            .collect(),
        )
    }
}
