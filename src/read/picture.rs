//! What a filter and a sort see of a row: the attributes that they name and no others.

use serde_json::{Map, Value, json};

use super::parts::Asked;
use crate::error::Fault;
use crate::scim::filter::Filter;
use crate::scim::name;
use crate::scim::request::Sort;
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
                _ if is("meta") => needs.meta = true,
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
        if self.meta {
            let meta = json!({
                "resourceType": self.kind.name(),
                "created": row.created.rfc3339(),
                "lastModified": row.modified.rfc3339(),
                "version": format!("W/\"{}\"", row.version),
            });
            map.insert(String::from("meta"), meta);
        }
        if let Some(members) = self.members(asked, row.handle)? {
            map.insert(String::from("members"), members);
        }
        if self.groups {
            let groups = groups(asked, row.handle)?;
            map.insert(String::from("groups"), groups);
        }
        Ok(map)
    }

    fn members(&self, asked: &Asked<'_>, group: Handle) -> Result<Option<Value>, Fault> {
        let shown = |id: &str, kind: Kind| json!({"value": id, "type": kind.name()});
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

fn groups(asked: &Asked<'_>, user: Handle) -> Result<Value, Fault> {
    let groups = asked.view.groups_of(user)?;
    asked.look_at(groups.len())?;
    let mut shown = Vec::with_capacity(groups.len());
    for (group, id) in groups {
        let name = asked.view.row(group, |row| {
            json::members(row.attributes, |key| key == "displayName")
                .ok()
                .and_then(|mut map| map.remove("displayName"))
        })?;
        shown.push(json!({
            "value": id.as_str(),
            "display": name.flatten().unwrap_or_default(),
            "type": "direct",
        }));
    }
    Ok(Value::Array(shown))
}
