use super::*;
use crate::scim::filter::Bounds;

fn shown(kind: Kind, text: &str) -> String {
    let filter = Filter::parse(text, Bounds::default()).unwrap();
    let plan = filter.plan(kind);
    format!(
        "{:?}{}",
        plan.access,
        if plan.exact { "" } else { ", check" }
    )
}

#[test]
fn the_most_selective_index_is_chosen() {
    let user = |text: &str| shown(Kind::User, text);
    for (text, wanted) in [
        ("userName eq \"Ada\"", "UserName(\"Ada\")"),
        (
            "urn:ietf:params:scim:schemas:core:2.0:User:USERNAME eq \"a\"",
            "UserName(\"a\")",
        ),
        ("id eq \"7\"", "Id(\"7\")"),
        ("id eq 7", "Nothing"),
        ("id eq null", "All, check"),
        ("externalId eq jyoung", "ExternalId(\"jyoung\")"),
        ("emails eq \"a\"", "Email(\"a\")"),
        ("emails.value eq \"a\"", "Email(\"a\")"),
        ("emails[value eq \"a\"]", "Email(\"a\")"),
        (
            "emails[type eq \"work\"].value eq \"a\"",
            "Email(\"a\"), check",
        ),
        (
            "emails[type eq \"work\" and value eq \"a\"]",
            "Email(\"a\"), check",
        ),
        (
            "emails[value eq \"a\"].type eq \"work\"",
            "Email(\"a\"), check",
        ),
        ("emails[type eq \"work\" or value eq \"a\"]", "All, check"),
        ("emails[not (value eq \"a\")]", "All, check"),
        ("emails.type eq \"a\"", "All, check"),
        ("displayName eq \"a\"", "DisplayName(\"a\")"),
        ("displayName sw \"a\"", "DisplayNameStarts(\"a\")"),
        ("userName sw \"a\"", "UserNameStarts(\"a\")"),
        ("userName sw \"\"", "All, check"),
        ("active eq true", "Active(true)"),
        ("active eq \"False\"", "Active(false)"),
        ("active ne true", "All, check"),
        ("active eq \"x\"", "Nothing"),
        ("groups.value eq \"g\"", "InGroup(\"g\")"),
        ("groups[value eq \"g\"]", "InGroup(\"g\")"),
        ("meta.resourceType eq \"User\"", "All"),
        ("meta.resourceType eq \"Group\"", "Nothing"),
        (
            "meta.resourceType ne \"Group\" and active eq true",
            "Active(true)",
        ),
        ("not (meta.resourceType eq \"User\")", "Nothing"),
        ("userName pr", "All"),
        ("title pr", "All, check"),
        (
            "title pr and active eq false and userName eq \"a\"",
            "UserName(\"a\"), check",
        ),
        (
            "title pr and (userName sw \"a\" or userName eq \"b\")",
            "Any([UserNameStarts(\"a\"), UserName(\"b\")]), check",
        ),
        (
            "userName eq \"a\" or id eq \"b\" or id eq 4",
            "Any([UserName(\"a\"), Id(\"b\")])",
        ),
        (
            "userName eq \"a\" or (id eq \"b\" and title pr)",
            "Any([UserName(\"a\"), Id(\"b\")]), check",
        ),
        ("userName eq \"a\" or title pr", "All, check"),
        ("id eq 4 or id eq 5", "Nothing"),
        ("not (userName eq \"a\")", "All, check"),
        ("members.value eq \"a\"", "All, check"),
        ("urn:x:1.0:T:userName eq \"a\"", "All, check"),
        ("department eq \"a\"", "All, check"),
    ] {
        assert_eq!(user(text), wanted, "{text}");
    }
    let group = |text: &str| shown(Kind::Group, text);
    for (text, wanted) in [
        ("displayName eq \"a\"", "DisplayName(\"a\")"),
        ("members eq \"a\"", "HasMember(\"a\")"),
        ("members[value eq \"a\"]", "HasMember(\"a\")"),
        (
            "members[value eq \"a\" and type eq \"User\"]",
            "HasMember(\"a\"), check",
        ),
        ("id eq \"g\" and members eq \"a\"", "Id(\"g\"), check"),
        ("userName eq \"a\"", "All, check"),
        ("active eq true", "All, check"),
        ("meta.resourceType eq \"Group\"", "All"),
    ] {
        assert_eq!(group(text), wanted, "{text}");
    }
}

#[test]
fn moments_become_one_stretch_of_milliseconds() {
    for (text, wanted) in [
        ("gt \"1970-01-01T00:00:01Z\"", "1001..18446744073709551615"),
        ("ge \"1970-01-01T00:00:01Z\"", "1000..18446744073709551615"),
        (
            "ge \"1970-01-01T00:00:01.0001Z\"",
            "1001..18446744073709551615",
        ),
        (
            "gt \"1970-01-01T00:00:01.0001Z\"",
            "1001..18446744073709551615",
        ),
        ("lt \"1970-01-01T00:00:01Z\"", "0..999"),
        ("lt \"1970-01-01T00:00:01.0001Z\"", "0..1000"),
        ("le \"1970-01-01T01:00:01.0001+01:00\"", "0..1000"),
        ("eq \"1970-01-01T00:00:01.5Z\"", "1500..1500"),
        ("eq \"1970-01-01T00:00:01.5001Z\"", "nothing"),
        ("lt \"1970-01-01T00:00:00Z\"", "nothing"),
        ("gt \"1960-01-01T00:00:00Z\"", "0..18446744073709551615"),
        ("gt \"yesterday\"", "nothing"),
        ("gt 5", "nothing"),
        (
            "ge \"1970-01-01T00:00:01Z\" and meta.lastModified lt \"1970-01-01T00:00:02Z\"",
            "1000..1999",
        ),
        (
            "gt \"1970-01-01T00:00:02Z\" and meta.lastModified lt \"1970-01-01T00:00:02Z\"",
            "nothing",
        ),
    ] {
        let filter = format!("meta.lastModified {text}");
        let filter = Filter::parse(&filter, Bounds::default()).unwrap();
        let shown = match filter.plan(Kind::User) {
            Plan {
                access: Access::Modified(from, to),
                exact: true,
            } => format!("{}..{}", from.0, to.0),
            Plan {
                access: Access::Nothing,
                ..
            } => String::from("nothing"),
            other => format!("{other:?}"),
        };
        assert_eq!(shown, wanted, "{text}");
    }
}

#[test]
fn what_has_no_order_is_not_ordered() {
    for (text, wanted) in [
        ("active gt \"a\"", Some("active")),
        ("title pr or emails[primary le 5]", Some("emails.primary")),
        ("emails.primary lt \"x\"", Some("emails.primary")),
        ("x509Certificates ge \"x\"", Some("x509Certificates")),
        (
            "x509Certificates.value ge \"x\"",
            Some("x509Certificates.value"),
        ),
        ("active eq \"a\" and x gt 5 and userName gt \"a\"", None),
    ] {
        let filter = Filter::parse(text, Bounds::default()).unwrap();
        assert_eq!(
            filter.without_order(Kind::User).as_deref(),
            wanted,
            "{text}"
        );
    }
    let filter = Filter::parse("active gt \"a\"", Bounds::default()).unwrap();
    assert_eq!(filter.without_order(Kind::Group), None);
}

#[test]
fn it_is_known_of_which_members_a_filter_speaks() {
    for (text, wanted) in [
        ("id eq \"g\" and members eq \"a\"", Some(vec!["a"])),
        (
            "not (members.value eq \"a\") or members[value eq \"b\" and type pr]",
            Some(vec!["a", "b"]),
        ),
        ("members[type eq \"User\"].value eq \"a\"", Some(vec!["a"])),
        ("displayName pr", Some(vec![])),
        ("members pr", None),
        ("members.value ne \"a\"", None),
        ("members.value eq null", None),
        ("members[not (value eq \"a\")]", None),
        ("members[value eq \"a\" or type pr]", None),
        ("members.type eq \"User\"", None),
    ] {
        let filter = Filter::parse(text, Bounds::default()).unwrap();
        assert_eq!(filter.member_ids(), wanted, "{text}");
    }
}
