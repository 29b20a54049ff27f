//! Indexes as lists need them: stretches that run in the index's order, both ways, from any position; and users by
//! `active`, where most of them are, by blocks of handles.

use std::ops::{ControlFlow, RangeInclusive};

use crate::clock::Timestamp;
use crate::error::Fault;
use crate::scim::schema::fold;
use crate::scim::{Handle, Kind};

use super::keys::{self, Key as KeyBytes, active, tag};
use super::row::{RowRef, kind_byte};
use super::tables::{self, BLOCK, Seal, Trouble};
use super::view::{View, parse};

/// A stretch of an index, in the index's order. Whoever a client cannot see is in none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch<'a> {
    /// Users by folded userName, or groups by folded displayName: those that start with the text ("": all that have
    /// one). Groups of one name run in handle order.
    Title(Kind, &'a str),
    /// Users by folded displayName, those of one name in handle order: whose name starts with the text ("": all that
    /// have one), or, `whole`, equals it.
    DisplayName {
        /// In any case.
        text: &'a str,
        /// Whether the text is the whole name.
        whole: bool,
    },
    /// Users without displayName, by handle. RFC 7644 3.4.2.3 sorts them last, or first when descending.
    Nameless,
    /// By `meta.lastModified`, from one moment to another, both included.
    Modified(Kind, Timestamp, Timestamp),
    /// Users who have no `active`, by handle.
    ActiveAbsent,
    /// The groups that a member is directly in, by handle.
    GroupsOf(Handle),
}

/// A stretch's first key, the first one behind it, and how many bytes all of its keys share: the rest is a position.
struct Bounds {
    start: Vec<u8>,
    end: Vec<u8>,
    shared: usize,
}

impl Bounds {
    fn of(stretch: &Stretch<'_>) -> Self {
        let under = match *stretch {
            Stretch::Title(Kind::User, text) => starting(tag::USER_NAME, text),
            Stretch::Title(Kind::Group, text) => starting(tag::GROUP_NAME, text),
            Stretch::DisplayName { text, whole: true } => keys::display_names(text),
            Stretch::DisplayName { text, whole: false } => starting(tag::DISPLAY_NAME, text),
            Stretch::Nameless => KeyBytes::new(tag::NAMELESS).done(),
            Stretch::Modified(kind, from, to) => {
                return Self {
                    start: keys::modified(kind, from),
                    end: tables::after(&keys::modified(kind, to)),
                    // The tag and the kind.
                    shared: 2,
                };
            }
            Stretch::ActiveAbsent => keys::not_active(active::ABSENT),
            Stretch::GroupsOf(member) => keys::by_handle(tag::IN_GROUP, member),
        };
        Self {
            end: tables::after(&under),
            shared: under.len(),
            start: under,
        }
    }

    /// Only what lies behind a position, or before it. Whatever its bytes are, the rest is a part of the stretch.
    fn cut(&mut self, position: &[u8], backwards: bool) {
        let mut key = self.start.clone();
        key.truncate(self.shared);
        key.extend_from_slice(position);
        if backwards {
            if key < self.end {
                self.end = key;
            }
        } else {
            // The first key that there can be behind this one.
            key.push(0);
            if key > self.start {
                self.start = key;
            }
        }
    }
}

fn starting(tag: u8, text: &str) -> Vec<u8> {
    KeyBytes::new(tag).open_text(&fold(text)).done()
}

impl View {
    /// Calls `each` with position and handle along the stretch, from behind (or, backwards, before) `after` on, until
    /// it says stop. A position is opaque, and good for the same stretch in any later snapshot. It may come from a
    /// client: bytes that are no position stand for some place in the stretch, or for its start or end.
    ///
    /// # Errors
    /// [`Fault::Internal`]: a damaged row, or the disk.
    pub fn stretch(
        &self,
        stretch: &Stretch<'_>,
        after: Option<&[u8]>,
        backwards: bool,
        mut each: impl FnMut(&[u8], Handle) -> ControlFlow<()>,
    ) -> Result<(), Fault> {
        let mut bounds = Bounds::of(stretch);
        if let Some(position) = after {
            bounds.cut(position, backwards);
        }
        let dead = match stretch {
            Stretch::GroupsOf(of) => {
                let dead = self.sweeping()?;
                if dead.contains(of) {
                    return Ok(());
                }
                Some(dead).filter(|dead| !dead.is_empty())
            }
            _ => None,
        };
        self.keys_between(&bounds.start, &bounds.end, backwards, |key, value| {
            let handle = Handle(match stretch {
                // Unique: the handle is no part of the key.
                Stretch::Title(Kind::User, _) => tables::number(value)?,
                _ => keys::last_number(key),
            });
            if dead.is_some_and(|dead| dead.contains(&handle)) {
                return Ok(ControlFlow::Continue(()));
            }
            Ok(each(key.get(bounds.shared..).unwrap_or_default(), handle))
        })?;
        Ok(())
    }

    /// How many users have `active` false.
    ///
    /// # Errors
    /// As [`View::stretch`].
    pub fn count_inactive(&self) -> Result<u64, Fault> {
        Ok(self.total(active::OFF)?)
    }

    /// How many users have `active` as asked: true, or false. Those who have none are neither.
    ///
    /// # Errors
    /// As [`View::stretch`].
    pub fn count_active(&self, active: bool) -> Result<u64, Fault> {
        if !active {
            return self.count_inactive();
        }
        let others = self
            .total(active::OFF)?
            .saturating_add(self.total(active::ABSENT)?);
        Ok(self.count(Kind::User)?.saturating_sub(others))
    }

    /// As [`View::page`], but only users whose `active` is as asked. Whole blocks are skipped over by their counts.
    ///
    /// # Errors
    /// As [`View::stretch`].
    pub fn page_active(
        &self,
        active: bool,
        start_index: u64,
        count: usize,
        mut each: impl FnMut(RowRef<'_>),
    ) -> Result<(), Fault> {
        let mut left = count;
        if left == 0 {
            return Ok(());
        }
        let skip = start_index.max(1) - 1;
        self.active_users(active, Handle(0), skip, false, &mut |row| {
            each(row);
            left -= 1;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(())
    }

    /// Calls `each` with the users whose `active` is as asked, in handle order from `from` on (or, backwards, down
    /// from `from`), until it says stop.
    ///
    /// # Errors
    /// As [`View::stretch`].
    pub fn walk_active(
        &self,
        active: bool,
        from: Handle,
        backwards: bool,
        mut each: impl FnMut(RowRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), Fault> {
        Ok(self.active_users(active, from, 0, backwards, &mut each)?)
    }

    /// Walks users by blocks of handles: one without a fitting user is not looked into, nor is one that `skip` takes
    /// whole.
    fn active_users(
        &self,
        active: bool,
        from: Handle,
        mut skip: u64,
        backwards: bool,
        each: &mut dyn FnMut(RowRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), Trouble> {
        let what = if active {
            kind_byte(Kind::User)
        } else {
            active::OFF
        };
        let blocks = KeyBytes::new(tag::BLOCK).byte(what).done();
        let here = KeyBytes::new(tag::BLOCK)
            .byte(what)
            .number(from.0 / BLOCK)
            .done();
        let (start, end) = if backwards {
            (blocks, tables::after(&here))
        } else {
            (here, tables::after(&blocks))
        };
        self.keys_between(&start, &end, backwards, |key, value| {
            let block = keys::last_number(key);
            let mut fitting = tables::number(value)?;
            let mut others = 0;
            if active {
                for what in [active::OFF, active::ABSENT] {
                    let count = KeyBytes::new(tag::BLOCK).byte(what).number(block).done();
                    let count = tables::read_number(&self.keys, &count)?;
                    others += count.unwrap_or(0);
                }
                fitting = fitting.saturating_sub(others);
            }
            if fitting == 0 || skip >= fitting {
                skip = skip.saturating_sub(fitting);
                return Ok(ControlFlow::Continue(()));
            }
            let first = block.saturating_mul(BLOCK);
            let last = first.saturating_add(BLOCK - 1);
            let span = if backwards {
                Handle(first)..=Handle(last.min(from.0))
            } else {
                Handle(first.max(from.0))..=Handle(last)
            };
            if !active {
                return self.not_active(active::OFF, &span, backwards, |handle| {
                    if skip > 0 {
                        skip -= 1;
                        return Ok(ControlFlow::Continue(()));
                    }
                    self.listed(handle, &mut *each)
                });
            }
            let mut out = Vec::new();
            if others > 0 {
                for what in [active::OFF, active::ABSENT] {
                    self.not_active(what, &span, false, |handle| {
                        out.push(handle);
                        Ok(ControlFlow::Continue(()))
                    })
                    .map(drop)?;
                }
                out.sort_unstable();
            }
            self.users_between(span, backwards, &mut |row| {
                if out.binary_search(&row.handle).is_ok() {
                    return ControlFlow::Continue(());
                }
                if skip > 0 {
                    skip -= 1;
                    return ControlFlow::Continue(());
                }
                each(row)
            })
        })?;
        Ok(())
    }

    /// Handles in a span of users whose `active` is not true.
    fn not_active(
        &self,
        what: u8,
        span: &RangeInclusive<Handle>,
        backwards: bool,
        mut each: impl FnMut(Handle) -> Result<ControlFlow<()>, Trouble>,
    ) -> Result<ControlFlow<()>, Trouble> {
        let key = |handle: &Handle| {
            let under = KeyBytes::new(tag::NOT_ACTIVE).byte(what);
            under.number(handle.0).done()
        };
        let end = tables::after(&key(span.end()));
        let mut flow = ControlFlow::Continue(());
        self.keys_between(&key(span.start()), &end, backwards, |key, _| {
            flow = each(Handle(keys::last_number(key)))?;
            Ok(flow)
        })?;
        Ok(flow)
    }

    /// Rows of users that clients can see.
    pub(super) fn users_between(
        &self,
        span: RangeInclusive<Handle>,
        backwards: bool,
        each: &mut dyn FnMut(RowRef<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Trouble> {
        if span.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let mut rows = self.rows.range(span.start().0..=span.end().0)?;
        while let Some(entry) = if backwards {
            rows.next_back()
        } else {
            rows.next()
        } {
            let (handle, stored) = entry?;
            let row = parse(Handle(handle.value()), stored.value())?;
            if row.kind == Kind::User && row.deleted.is_none() && each(row).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Calls `each` with the row that an index names.
    pub(super) fn listed(
        &self,
        handle: Handle,
        each: impl FnOnce(RowRef<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Trouble> {
        self.look(handle, each)?
            .ok_or_else(|| Trouble::Damaged(format!("{} has a key and no row", handle.0)))
    }

    fn total(&self, what: u8) -> Result<u64, Trouble> {
        let key = KeyBytes::new(tag::TOTAL).byte(what).done();
        Ok(tables::read_number(&self.keys, &key)?.unwrap_or(0))
    }

    /// Calls `each` with the keys from `start` up to, without, `end`, either way, until it says stop.
    pub(super) fn keys_between(
        &self,
        start: &[u8],
        end: &[u8],
        backwards: bool,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Trouble>,
    ) -> Result<(), Trouble> {
        if start >= end {
            return Ok(());
        }
        let mut range = self.keys.range::<&[u8]>(start..end)?;
        while let Some(entry) = if backwards {
            range.next_back()
        } else {
            range.next()
        } {
            let (key, value) = entry?;
            let value = tables::unseal(Seal::Key, key.value(), value.value())?;
            if each(key.value(), value)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}
