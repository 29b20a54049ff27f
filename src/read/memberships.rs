//! The groups that a user is in, directly and through other groups (RFC 7643 4.1.2).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use serde::Deserialize;

use crate::error::Fault;
use crate::scim::response::Group;
use crate::scim::{Handle, Id};
use crate::store::View;

/// The most groups that one user shows: the direct ones first, then those that they are in, the nearer ones first.
pub const GROUPS: usize = 1_000;

/// How many groups, and groups that these are in, one answer remembers.
const HELD: usize = 10_000;

/// What one answer knows of groups: the users of a page share most of theirs.
pub(super) struct Memberships<'v> {
    view: &'v View,
    known: HashMap<Handle, Rc<Known>>,
    /// Groups and parents in `known`.
    held: usize,
}

struct Known {
    /// `None`: it is gone.
    group: Option<Rc<Group>>,
    /// The groups that it is in.
    parents: Vec<(Handle, Id)>,
}

impl<'v> Memberships<'v> {
    pub(super) fn new(view: &'v View) -> Self {
        Self {
            view,
            known: HashMap::new(),
            held: 0,
        }
    }

    /// The groups of a user, and whether it is in them directly. Breadth first; a circle of groups ends where it began.
    pub(super) fn of(&mut self, user: Handle) -> Result<Vec<(Rc<Group>, bool)>, Fault> {
        let mut level = self.view.groups_of(user)?;
        level.truncate(GROUPS);
        let mut groups = Vec::with_capacity(level.len());
        let mut seen: HashSet<Handle> = level.iter().map(|(handle, _)| *handle).collect();
        let mut direct = true;
        while !level.is_empty() {
            let mut next = Vec::new();
            for (handle, id) in level {
                let known = self.know(handle, id)?;
                groups.extend(known.group.clone().map(|group| (group, direct)));
                for (parent, id) in &known.parents {
                    if seen.len() < GROUPS && seen.insert(*parent) {
                        next.push((*parent, id.clone()));
                    }
                }
            }
            level = next;
            direct = false;
        }
        Ok(groups)
    }

    fn know(&mut self, handle: Handle, id: Id) -> Result<Rc<Known>, Fault> {
        if let Some(known) = self.known.get(&handle) {
            return Ok(Rc::clone(known));
        }
        let name = self.view.row(handle, |row| name(row.attributes))?;
        let mut parents = self.view.groups_of(handle)?;
        parents.truncate(GROUPS);
        let known = Rc::new(Known {
            group: name.map(|name| Rc::new(Group { id, name })),
            parents,
        });
        self.held += 1 + known.parents.len();
        if self.held > HELD {
            self.known.clear();
            self.held = 1 + known.parents.len();
        }
        self.known.insert(handle, Rc::clone(&known));
        Ok(known)
    }
}

/// A stored resource's displayName; the rest is passed over.
pub(super) fn name(attributes: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow, rename = "displayName")]
        name: Option<Cow<'a, str>>,
    }
    let named: Option<Named<'_>> = serde_json::from_slice(attributes).ok();
    named
        .and_then(|named| named.name)
        .unwrap_or_default()
        .into_owned()
}

/// What a user's tag says of its groups: changes whenever what is shown of them does. 0 for none.
pub(super) fn fingerprint(groups: &[(Rc<Group>, bool)]) -> u64 {
    if groups.is_empty() {
        return 0;
    }
    let mut hasher = crc32fast::Hasher::new();
    for (group, direct) in groups {
        hasher.update(group.id.as_str().as_bytes());
        // Neither may run into what follows it.
        hasher.update(&[0, u8::from(*direct)]);
        hasher.update(group.name.as_bytes());
        hasher.update(&[0]);
    }
    // Some groups are never none.
    u64::from(hasher.finalize()).max(1)
}
