//! Plays the cases through the real decoding and changing.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::clock::Timestamp;
use crate::config::shape::{Limits, PutMembers};
use crate::error::Fault;
use crate::scim::change::{self, Birth, Draft};
use crate::scim::patch::MemberDelta;
use crate::scim::request::{Page, Parts, ScimRequest, Verb};
use crate::scim::route::Route;
use crate::scim::schema::normalise;
use crate::scim::{Handle, Id, Kind, Resource};

const LIMITS: Limits = Limits {
    connections: 1,
    header_timeout: Duration::from_secs(1),
    request_timeout: Duration::from_secs(1),
    body: 1 << 20,
    json_depth: 32,
    filter_length: 4096,
    filter_depth: 16,
    patch_operations: 1000,
    bulk_operations: 1000,
    page: 200,
};

fn decode(given: &Given) -> Result<ScimRequest, Fault> {
    let (path, query) = match given.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (given.target, None),
    };
    let segments: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
    let parts = Parts {
        method: given.method,
        route: &Route::of(&segments).unwrap(),
        query,
        body: given.body.as_bytes(),
        if_match: None,
        if_none_match: None,
    };
    ScimRequest::decode(parts, &LIMITS)
}

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

fn resource(kind: Kind, text: &str) -> Resource {
    Resource {
        handle: Handle(1),
        id: Id::from("u1"),
        kind,
        version: 1,
        created: Timestamp(0),
        modified: Timestamp(0),
        owner: String::from("idp"),
        deleted: None,
        attributes: normalise(kind, object(text)).unwrap(),
        links: Vec::new(),
    }
}

fn draft(given: &Given) -> Result<Draft, Fault> {
    let write = match decode(given)? {
        ScimRequest::Write(write) => write,
        other => panic!("{other:?}"),
    };
    if let Verb::Create(body) = &write.verb {
        let birth = Birth {
            handle: Handle(1),
            id: Id::from("u1"),
        };
        return change::create(write.kind, body, "idp", birth, Timestamp(1));
    }
    let before = resource(write.kind, given.meets);
    change::change(before, &write, PutMembers::Keep, Timestamp(1))
}

fn delta(wanted: &Delta) -> MemberDelta {
    let own = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    MemberDelta {
        clear: wanted.clear,
        add: own(wanted.add),
        remove: own(wanted.remove),
    }
}

/// Says what is wrong with a case, if anything is.
fn play(case: &Case) -> Result<(), String> {
    let differ = |got: &dyn std::fmt::Debug, wanted: &dyn std::fmt::Debug| {
        Err(format!(
            "{}:\n  got    {got:?}\n  wanted {wanted:?}",
            case.name
        ))
    };
    match case.comes {
        Comes::Whole(attributes, members) => {
            let draft = draft(&case.given).map_err(|fault| format!("{}: {fault}", case.name))?;
            let wanted = object(attributes);
            let mut got = draft.resource.attributes;
            if !wanted.contains_key("schemas") {
                got.remove("schemas");
            }
            if got != wanted || draft.members != delta(&members) {
                return differ(&(got, draft.members), &(wanted, members));
            }
        }
        Comes::Differs(attributes, members) => {
            let draft = draft(&case.given).map_err(|fault| format!("{}: {fault}", case.name))?;
            let mut wanted = draft.before.unwrap().attributes;
            for (key, value) in object(attributes) {
                if value.is_null() {
                    wanted.remove(&key).expect("it was there");
                } else {
                    wanted.insert(key, value);
                }
            }
            let got = draft.resource.attributes;
            if got != wanted || draft.members != delta(&members) {
                return differ(&(got, draft.members), &(wanted, members));
            }
        }
        Comes::Lists(filter, start, count, members) => {
            let (kind, query) = match decode(&case.given) {
                Ok(ScimRequest::List { kind, query }) => (kind, query),
                other => return Err(format!("{}: {other:?}", case.name)),
            };
            let printed = query.filter.map(|filter| filter.to_string());
            let fields = query.projection.fields(kind.unwrap_or(Kind::User));
            let shown = fields.shows_members();
            let got = (printed.unwrap_or_default(), query.page, query.count, shown);
            let wanted = (filter.to_owned(), Page::Index(start), count, members);
            if got != wanted {
                return differ(&got, &wanted);
            }
        }
        Comes::Refused(scim_type) => {
            let got = match decode(&case.given) {
                Ok(ScimRequest::Write(_)) => draft(&case.given).map(|_| ()),
                other => other.map(|_| ()),
            };
            let got = got.map_err(|fault| (fault.status(), fault.scim_type()));
            if got != Err((400, Some(scim_type))) {
                return differ(&got, &scim_type);
            }
        }
    }
    Ok(())
}

#[test]
fn every_case_comes_to_what_it_says() {
    let wrong: Vec<String> = cases().filter_map(|case| play(case).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases().count() > 80);
}

#[test]
fn a_case_that_says_something_else_fails() {
    for case in cases() {
        let comes = match case.comes {
            Comes::Whole(_, members) => Comes::Whole(r#"{"userName":"else"}"#, members),
            Comes::Differs(_, members) => Comes::Differs(r#"{"nickName":"else"}"#, members),
            Comes::Lists(_, start, count, members) => Comes::Lists("a pr", start, count, members),
            Comes::Refused(_) => Comes::Refused("else"),
        };
        assert!(play(&Case { comes, ..*case }).is_err(), "{}", case.name);
    }
}

#[test]
fn names_of_cases_differ() {
    let mut names: Vec<&str> = cases().map(|case| case.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn booleans_come_as_texts_and_numbers() {
    for (value, wanted) in [
        (json!(true), Some(true)),
        (json!("False"), Some(false)),
        (json!("tRUE"), Some(true)),
        (json!(1), Some(true)),
        (json!(0), Some(false)),
        (json!(2), None),
        (json!(1.0), None),
        (json!("yes"), None),
        (json!(" true"), None),
        (json!([true]), None),
    ] {
        assert_eq!(boolean(&value), wanted, "{value}");
    }
}

#[test]
fn parts_of_a_query() {
    let read = |text| query_parts(text).collect::<Vec<_>>();
    assert_eq!(read(""), []);
    assert_eq!(read("&&"), []);
    assert_eq!(
        read("a=b+c%2Bd&flag&e=f=g"),
        [
            Ok(("a", "b c+d".to_owned())),
            Ok(("flag", String::new())),
            Ok(("e", "f=g".to_owned()))
        ]
    );
    assert_eq!(read("a=%ff"), [Err("a")]);
}
