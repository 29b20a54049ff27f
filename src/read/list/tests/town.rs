//! A directory beside a model of it that knows no index.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::error::Fault;
use crate::read::list::{LIMIT, within};
use crate::read::memberships::fingerprint;
use crate::scim::condition::Tag;
use crate::scim::filter::{Bounds, Filter};
use crate::scim::name::AttrPath;
use crate::scim::projection::Projection;
use crate::scim::request::{ListQuery, Page, Sort};
use crate::scim::response::{Group, Selected};
use crate::scim::{Handle, Id, Kind, Resource, schema, sort};
use crate::store::{ChangeSet, MemberEdit, Put, Store};

/// A directory and the same as plain values.
pub(super) struct Town {
    pub(super) store: Store,
    pub(super) people: BTreeMap<Handle, Resource>,
    /// Group and member.
    pub(super) edges: BTreeSet<(Handle, Handle)>,
}

impl Town {
    pub(super) fn new() -> Self {
        Self {
            store: Store::inline_memory().expect("memory"),
            people: BTreeMap::new(),
            edges: BTreeSet::new(),
        }
    }

    pub(super) fn commit(&self, set: ChangeSet) {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(self.store.commit(set))
            .expect("committed");
    }

    pub(super) fn put(&mut self, resource: Resource, expect: Option<u64>) {
        self.commit(ChangeSet {
            puts: vec![Put {
                resource: resource.clone(),
                expect,
                before: None,
            }],
            ..ChangeSet::default()
        });
        self.people.insert(resource.handle, resource);
    }

    /// `id`: one that was brought along.
    pub(super) fn create(
        &mut self,
        kind: Kind,
        owner: &str,
        id: Option<&str>,
        body: Value,
    ) -> Handle {
        let (handle, minted) = self.store.mint(Timestamp(1_000), 7);
        let Value::Object(mut body) = body else {
            panic!("{body}")
        };
        let at = body.remove("at").and_then(|at| at.as_u64()).unwrap_or(0);
        let resource = Resource {
            handle,
            id: id.map_or(minted, Id::from),
            kind,
            version: 1,
            created: Timestamp(at - at % 2_000),
            modified: Timestamp(at),
            owner: owner.to_owned(),
            deleted: None,
            attributes: schema::normalise(kind, body).expect("it fits"),
            links: Vec::new(),
        };
        self.put(resource, None);
        handle
    }

    pub(super) fn change(&mut self, handle: Handle, change: impl FnOnce(&mut Resource)) {
        let mut resource = self.people[&handle].clone();
        let before = resource.version;
        resource.version += 1;
        change(&mut resource);
        self.put(resource, Some(before));
    }

    pub(super) fn delete(&mut self, handle: Handle) {
        let mut resource = self.people.remove(&handle).expect("it is there");
        self.edges
            .retain(|(group, member)| *group != handle && *member != handle);
        let before = resource.version;
        resource.deleted = Some(resource.modified);
        resource.links.clear();
        self.commit(ChangeSet {
            puts: vec![Put {
                resource,
                expect: Some(before),
                before: None,
            }],
            ..ChangeSet::default()
        });
    }

    pub(super) fn join(&mut self, group: Handle, member: Handle) {
        let one = &self.people[&member];
        self.commit(ChangeSet {
            members: vec![MemberEdit {
                group,
                group_id: Some(self.people[&group].id.clone()),
                add: vec![(member, one.id.clone(), one.kind)],
                ..MemberEdit::default()
            }],
            ..ChangeSet::default()
        });
        self.edges.insert((group, member));
    }

    pub(super) fn of_kind(&self, kind: Kind) -> Vec<Handle> {
        let all = self.people.values();
        all.filter(|one| one.kind == kind)
            .map(|one| one.handle)
            .collect()
    }

    /// All of a resource that a filter may ask for.
    pub(super) fn whole(&self, client: &str, resource: &Resource) -> Map<String, Value> {
        let mut map = resource.attributes.clone();
        if resource.owner != client {
            map.remove("externalId");
        }
        map.insert("id".into(), json!(resource.id));
        let place = |kind: Kind, id: &Id| format!("{BASE}/{}/{id}", kind.endpoint());
        let derived = match resource.kind {
            Kind::Group => {
                let edges = self.edges.iter();
                let members = edges.filter(|(group, _)| *group == resource.handle);
                let members: Vec<Value> = members
                    .map(|(_, member)| {
                        let member = &self.people[member];
                        let place = place(member.kind, &member.id);
                        json!({"value": member.id, "$ref": place, "type": member.kind.name()})
                    })
                    .collect();
                let derived = members.len() as u64;
                map.insert("members".into(), members.into());
                derived
            }
            Kind::User => {
                let groups = self.groups_of(resource.handle);
                let shown = groups.iter().map(|(group, direct)| {
                    let kind = if *direct { "direct" } else { "indirect" };
                    let place = place(Kind::Group, &group.id);
                    json!({"value": group.id, "$ref": place, "display": group.name, "type": kind})
                });
                map.insert("groups".into(), shown.collect());
                fingerprint(&groups)
            }
        };
        let version = resource.version;
        let location = place(resource.kind, &resource.id);
        map.insert(
            "meta".into(),
            json!({
                "resourceType": resource.kind.name(), "version": Tag { version, derived }.to_string(),
                "created": resource.created.rfc3339(), "lastModified": resource.modified.rfc3339(),
                "location": location,
            }),
        );
        map
    }

    /// The groups that somebody is in, and whether directly.
    fn groups_of(&self, member: Handle) -> Vec<(Rc<Group>, bool)> {
        let mut found = Vec::new();
        let mut seen: BTreeSet<Handle> = BTreeSet::new();
        let mut level = BTreeSet::from([member]);
        while !level.is_empty() {
            let direct = seen.is_empty();
            let edges = self.edges.iter();
            let above =
                edges.filter(|(group, member)| level.contains(member) && !seen.contains(group));
            level = above.map(|(group, _)| *group).collect();
            seen.extend(&level);
            found.extend(level.iter().map(|group| {
                let group = &self.people[group];
                let (id, name) = (group.id.clone(), group.title().to_owned());
                (Rc::new(Group { id, name }), direct)
            }));
        }
        found
    }

    /// The whole list.
    pub(super) fn plain(&self, client: &str, kind: Option<Kind>, query: &ListQuery) -> Vec<Handle> {
        let mut list = Vec::new();
        for one in self.people.values() {
            let map = self.whole(client, one);
            let wanted = kind.is_none_or(|kind| kind == one.kind);
            let filter = query.filter.as_ref();
            if wanted && filter.is_none_or(|filter| filter.matches(one.kind, &map)) {
                let sorted = query.sort.as_ref();
                let key = sorted.map(|by| sort::key(one.kind, &map, &by.by));
                list.push((key, one.kind, one.handle));
            }
        }
        list.sort();
        if query.sort.as_ref().is_some_and(|sort| sort.descending) {
            list.reverse();
        }
        list.into_iter().map(|(_, _, handle)| handle).collect()
    }

    pub(super) fn page(
        &self,
        limit: usize,
        kind: Option<Kind>,
        query: &ListQuery,
    ) -> Result<(Selected, Vec<Handle>), Fault> {
        let view = self.store.view().expect("a view");
        let mut page = Vec::new();
        let selected = within(limit, &view, BASE, CLIENT, kind, query, |row| {
            assert_eq!(row.deleted, None);
            page.push(row.handle);
            Ok(())
        })?;
        assert!(page.len() <= query.count);
        Ok((selected, page))
    }

    /// All pages by `startIndex`, one after the other.
    pub(super) fn by_index(&self, kind: Option<Kind>, query: &ListQuery) -> (u64, Vec<Handle>) {
        let mut all = Vec::new();
        loop {
            let start = all.len() as u64 + 1;
            let query = ListQuery {
                page: Page::Index(start),
                ..query.clone()
            };
            let (selected, page) = self.page(LIMIT, kind, &query).expect("a page");
            assert_eq!(selected.start, Some(start));
            assert_eq!(selected.next, None);
            if page.is_empty() {
                return (selected.total, all);
            }
            all.extend(page);
            assert!(all.len() as u64 <= selected.total, "the pages do not end");
        }
    }

    /// All pages by cursor. Between two of them something may happen.
    pub(super) fn by_cursor(
        &mut self,
        kind: Option<Kind>,
        query: &ListQuery,
        mut between: impl FnMut(&mut Self, usize),
    ) -> Vec<Handle> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        for number in 0..100 {
            let query = ListQuery {
                page: Page::Cursor(cursor),
                ..query.clone()
            };
            let (selected, page) = self.page(LIMIT, kind, &query).expect("a page");
            assert_eq!(selected.start, None);
            let total = self.plain(CLIENT, kind, &query).len();
            assert_eq!(selected.total, total as u64);
            all.extend(&page);
            let Some(next) = selected.next else {
                return all;
            };
            assert_eq!(page.len(), query.count, "no page but the last is short");
            cursor = next;
            between(self, number);
        }
        panic!("the pages do not end")
    }

    /// Fills `{u3}` and `{g0}` with ids.
    pub(super) fn filled(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (letter, kind) in [("u", Kind::User), ("g", Kind::Group)] {
            for (number, handle) in self.of_kind(kind).into_iter().enumerate() {
                let id = self.people[&handle].id.as_str();
                text = text.replace(&format!("{{{letter}{number}}}"), id);
            }
        }
        text
    }
}

pub(super) const CLIENT: &str = "okta";
const BASE: &str = "http://h/scim/v2";

pub(super) fn query(filter: &str, sort: Option<(&str, bool)>, count: usize) -> ListQuery {
    let parsed =
        |text| Filter::parse(text, Bounds::default()).unwrap_or_else(|why| panic!("{text}: {why}"));
    ListQuery {
        filter: (!filter.is_empty()).then(|| parsed(filter)),
        sort: sort.map(|(by, descending)| Sort {
            by: AttrPath::parse(by).expect("a path"),
            descending,
        }),
        page: Page::Index(1),
        count,
        projection: Projection::default(),
    }
}
