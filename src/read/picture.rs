//! What a filter and a sort see of a row: the attributes that they name and no others.

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::memberships;
use super::parts::Asked;
use crate::error::Fault;
use crate::scim::condition::Tag;
use crate::scim::filter::Filter;
use crate::scim::name;
use crate::scim::request::Sort;
use crate::scim::response::{self, Group};
use crate::scim::{Handle, Kind, json, schema};
use crate::store::{Key, RowRef, View};

/// The attributes that are wanted of the resources of one kind.
pub(super) struct Needs<'q> {
    kind: Kind,
    names: Vec<&'q str>,
    /// Objects under a URN.
    extensions: bool,
    id: bool,
    meta: bool,
    /// `meta.version`, which costs a look at the edges.
    version: bool,
    members: Members<'q>,
    groups: bool,
}

/// Which members of a group are wanted.
enum Members<'q> {
    None,
    /// These alone decide, whoever else is in the group.
    These(Vec<(Handle, &'q str, Kind)>),
    All,
}

impl<'q> Needs<'q> {
    pub(super) fn of(
        view: &View,
        kind: Kind,
        filter: Option<&'q Filter>,
        sort: Option<&'q Sort>,
    ) -> Result<Self, Fault> {
        let mut needs = Self {
            kind,
            names: Vec::new(),
            extensions: false,
            id: false,
            meta: false,
            version: false,
            members: Members::None,
            groups: false,
        };
        let filtered = filter.map(Filter::heads).unwrap_or_default();
        let sorted = sort.map(|sort| &sort.by);
        let mut members = false;
        for path in filtered.into_iter().chain(sorted) {
            let urn = path.urn.as_deref();
            if urn.is_some_and(|urn| !name::same(urn, kind.schema())) {
                needs.extensions = true;
                continue;
            }
            let is = |name: &str| name::same(&path.attr, name);
            match kind {
                _ if is("id") => needs.id = true,
                _ if is("meta") => {
                    needs.meta = true;
                    let sub = path.sub.as_deref();
                    needs.version |= sub.is_none_or(|sub| name::same(sub, "version"));
                }
                Kind::Group if is("members") => members = true,
                Kind::User if is("groups") => needs.groups = true,
                _ => {
                    // A bare name may be one of the enterprise extension's.
                    needs.extensions |= schema::core(kind, &path.attr).is_none();
                    needs.names.push(&path.attr);
                }
            }
        }
        if members {
            let sorted = sorted.is_some_and(|path| name::same(&path.attr, "members"));
            let ids = filter.filter(|_| !sorted).and_then(Filter::member_ids);
            needs.members = match ids {
                Some(ids) => Members::These(these(view, &ids)?),
                None => Members::All,
            };
        }
        Ok(needs)
    }

    /// The canonical attributes of a row, as far as they are wanted.
    pub(super) fn picture(
        &self,
        asked: &Asked<'_>,
        row: &RowRef<'_>,
    ) -> Result<Map<String, Value>, Fault> {
        let named = |key: &str| {
            (self.extensions && key.contains(':'))
                || self.names.iter().any(|name| name::same(name, key))
        };
        let mut map = json::members(row.attributes, named)
            .map_err(|why| Fault::Internal(format!("row {}: {why}", row.handle.0)))?;
        if row.owner != asked.client {
            map.remove("externalId");
        }
        if self.id {
            map.insert(String::from("id"), row.id.into());
        }
        let mut derived = 0;
        if self.groups || (self.version && self.kind == Kind::User) {
            let found = asked.memberships.borrow_mut().of(row.handle)?;
            asked.look_at(found.len())?;
            derived = memberships::fingerprint(&found);
            if self.groups {
                map.insert(String::from("groups"), groups(asked.base, &found));
            }
        } else if self.version {
            derived = asked.view.member_count(row.handle)?;
        }
        if self.meta {
            let version = row.version;
            let tag = Tag { version, derived };
            let meta = json!({
                "resourceType": self.kind.name(),
                "created": row.created.rfc3339(),
                "lastModified": row.modified.rfc3339(),
                "location": response::location(asked.base, self.kind, row.id),
                "version": tag.to_string(),
            });
            map.insert(String::from("meta"), meta);
        }
        if let Some(members) = self.members(asked, row.handle)? {
            map.insert(String::from("members"), members);
        }
        Ok(map)
    }

    fn members(&self, asked: &Asked<'_>, group: Handle) -> Result<Option<Value>, Fault> {
        let shown = |id: &str, kind: Kind| {
            let location = response::location(asked.base, kind, id);
            json!({"value": id, "$ref": location, "type": kind.name()})
        };
        let mut members = Vec::new();
        match &self.members {
            Members::None => return Ok(None),
            Members::These(these) => {
                for (member, id, kind) in these {
                    if asked.view.is_member(group, *member)? {
                        members.push(shown(id, *kind));
                    }
                }
            }
            Members::All => {
                let all = asked.view.members(group, None, asked.left() + 1)?;
                asked.look_at(all.len())?;
                members.extend(all.iter().map(|(_, id, kind)| shown(id.as_str(), *kind)));
            }
        }
        Ok(Some(Value::Array(members)))
    }
}

/// Those of the ids that there are.
fn these<'q>(view: &View, ids: &[&'q str]) -> Result<Vec<(Handle, &'q str, Kind)>, Fault> {
    let mut found = Vec::new();
    for id in ids {
        for kind in [Kind::User, Kind::Group] {
            if let Some(handle) = view.find(&Key::Id(kind, id))? {
                found.push((handle, *id, kind));
            }
        }
    }
    Ok(found)
}

/// A user's groups, as replies show them.
fn groups(base: &str, groups: &[(Rc<Group>, bool)]) -> Value {
    let shown = groups.iter().map(|(group, direct)| {
        json!({
            "value": group.id.as_str(),
            "$ref": response::location(base, Kind::Group, group.id.as_str()),
            "display": group.name,
            "type": if *direct { "direct" } else { "indirect" },
        })
    });
    shown.collect()
}
