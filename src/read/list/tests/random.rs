//! Random directories, queries and histories.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::town::{CLIENT, Town, query};
use super::{KINDS, SORTS};
use crate::clock::Timestamp;
use crate::scim::{Handle, Kind};

#[derive(Debug, Clone)]
struct Person {
    group: bool,
    name: usize,
    display: Option<usize>,
    active: Option<bool>,
    title: Option<usize>,
    email: Option<usize>,
    at: u64,
    own: bool,
}

const NAMES: [&str; 7] = ["", "a", "A", "ab", "\u{c5}", "A\u{30a}b", "b"];

fn person() -> impl Strategy<Value = Person> {
    let name = || 0..NAMES.len();
    (
        prop::bool::weighted(0.25),
        name(),
        prop::option::of(name()),
        any::<Option<bool>>(),
        prop::option::of(name()),
        prop::option::of(name()),
        0..6_u64,
        any::<bool>(),
    )
        .prop_map(
            |(group, name, display, active, title, email, at, own)| Person {
                group,
                name,
                display,
                active,
                title,
                email,
                at,
                own,
            },
        )
}

impl Town {
    fn settle(&mut self, person: &Person) -> Handle {
        let number = self.store.mint(Timestamp(0), 0).0.0;
        let mut body = json!({"at": person.at * 1_000});
        let mut set = |key: &str, value: Value| body[key] = value;
        if person.group {
            set("displayName", json!(format!("x{}", NAMES[person.name])));
        } else {
            set("userName", json!(format!("{}{number}", NAMES[person.name])));
            if let Some(display) = person.display {
                set("displayName", json!(NAMES[display]));
            }
            if let Some(active) = person.active {
                set("active", json!(active));
            }
        }
        if let Some(title) = person.title {
            set("title", json!(NAMES[title]));
            set("externalId", json!(NAMES[title]));
        }
        if let Some(email) = person.email {
            let address = format!("{}@x", NAMES[email]);
            set(
                "emails",
                json!([{"value": "q@x", "type": "home"}, {"value": address, "type": "work", "primary": true}]),
            );
        }
        let (kind, owner) = (
            if person.group {
                Kind::Group
            } else {
                Kind::User
            },
            if person.own { CLIENT } else { "entra" },
        );
        self.create(kind, owner, None, body)
    }
}

fn filter() -> impl Strategy<Value = String> {
    let name = || prop::sample::select(NAMES.to_vec());
    let time = || (0..6_u64).prop_map(|at| Timestamp(at * 1_000).rfc3339());
    let term = prop_oneof![
        (0..6_u8).prop_map(|at| format!("id eq \"{{u{at}}}\"")),
        name().prop_map(|name| format!("userName sw \"{name}\"")),
        (name(), 1..9_u8).prop_map(|(name, at)| format!("userName eq \"{name}{at}\"")),
        (name(), "eq|sw|ne|co").prop_map(|(name, op)| format!("displayName {op} \"{name}\"")),
        (name(), "eq|ne").prop_map(|(name, op)| format!("externalId {op} \"{name}\"")),
        (name(), "eq|gt|sw").prop_map(|(name, op)| format!("title {op} \"{name}\"")),
        name().prop_map(|name| format!("emails.value eq \"{name}@x\"")),
        name().prop_map(|name| format!("emails[type eq \"work\" and value eq \"{name}@X\"]")),
        "active (eq|ne) (true|false)".boxed(),
        (time(), "eq|gt|ge|lt|le|ne")
            .prop_map(|(at, op)| format!("meta.lastModified {op} \"{at}\"")),
        (0..6_u8, 0..3_u8).prop_map(|(u, g)| format!(
            "(members.value eq \"{{u{u}}}\" or members[value eq \"{{g{g}}}\"])"
        )),
        (0..3_u8).prop_map(|g| format!("groups.value eq \"{{g{g}}}\"")),
        "meta\\.resourceType (eq|ne) \"(User|Group)\"".boxed(),
        "(members|groups|emails|displayName|userName) pr".boxed(),
    ];
    term.prop_recursive(3, 6, 2, |inner| {
        prop_oneof![
            3 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) and ({b})")),
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) or ({b})")),
            1 => inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

fn any_query() -> impl Strategy<Value = (Option<Kind>, String, Option<(&'static str, bool)>, usize)>
{
    (
        prop::sample::select(KINDS.to_vec()),
        prop_oneof![1 => Just(String::new()), 3 => filter()],
        prop::option::of((prop::sample::select(SORTS.to_vec()), any::<bool>())),
        1..5_usize,
    )
}

fn settled(
    size: RangeInclusive<usize>,
) -> impl Strategy<Value = (Vec<Person>, Vec<(prop::sample::Index, prop::sample::Index)>)> {
    let index = any::<prop::sample::Index>;
    (
        prop::collection::vec(person(), size),
        prop::collection::vec((index(), index()), 0..12),
    )
}

fn town(people: &[Person], edges: &[(prop::sample::Index, prop::sample::Index)]) -> Town {
    let mut town = Town::new();
    for person in people {
        town.settle(person);
    }
    let groups = town.of_kind(Kind::Group);
    let all: Vec<Handle> = town.people.keys().copied().collect();
    for (group, member) in edges {
        if !groups.is_empty() && !all.is_empty() {
            town.join(*group.get(&groups), *member.get(&all));
        }
    }
    town
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn pages_make_the_whole((people, edges) in settled(0..=14), queries in prop::collection::vec(any_query(), 1..12)) {
        let mut town = town(&people, &edges);
        for (kind, filter, sort, count) in queries {
            let filter = town.filled(&filter);
            let query = query(&filter, sort, count);
            let wanted = town.plain(CLIENT, kind, &query);
            let (total, all) = town.by_index(kind, &query);
            prop_assert_eq!(&all, &wanted, "{:?} {} {:?}", kind, filter, sort);
            prop_assert_eq!(total, wanted.len() as u64);
            prop_assert_eq!(&town.by_cursor(kind, &query, |_, _| {}), &wanted, "{:?} {} {:?}", kind, filter, sort);
        }
    }

    /// What people who stay are called may change where no filter and no sort asks for it.
    #[test]
    fn who_is_there_the_whole_time_is_seen_once(
        (people, edges) in settled(6..=14), (kind, filter, sort, count) in any_query(),
        comers in prop::collection::vec(person(), 14), goers in prop::collection::vec(any::<prop::sample::Index>(), 14),
    ) {
        let mut town = town(&people, &edges);
        let filter = town.filled(&filter);
        // Who goes takes memberships along: what depends on them is another matter.
        prop_assume!(!filter.contains("members") && !filter.contains("groups"));
        prop_assume!(sort.is_none_or(|(by, _)| by != "members" && by != "groups.display"));
        let query = query(&filter, sort, count);
        let before = town.plain(CLIENT, kind, &query);
        let mut stayed: BTreeSet<Handle> = before.iter().copied().collect();
        let seen = town.by_cursor(kind, &query, |town, number| {
            let Some(comer) = comers.get(number) else { return };
            town.settle(comer);
            let all: Vec<Handle> = town.people.keys().copied().collect();
            let goer = *goers[number].get(&all);
            stayed.remove(&goer);
            town.delete(goer);
            let all: Vec<Handle> = town.people.keys().copied().collect();
            if filter.is_empty() && sort.is_none() && !all.is_empty() {
                town.change(*goers[number].get(&all), |one| {
                    one.attributes.insert("displayName".into(), json!("moved"));
                    one.modified = Timestamp(60_000);
                });
            }
        });
        let once: BTreeSet<Handle> = seen.iter().copied().collect();
        prop_assert_eq!(once.len(), seen.len(), "somebody is shown twice");
        let kept = |list: &[Handle]| -> Vec<Handle> {
            list.iter().copied().filter(|one| stayed.contains(one)).collect()
        };
        prop_assert_eq!(kept(&seen), kept(&before), "{:?} {} {:?}", kind, filter, sort);
    }
}
