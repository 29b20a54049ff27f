//! Queries. The page limit is 200 here.

use super::{Case, Comes, case};

const ALL: usize = 200;

const fn list(
    name: &'static str,
    facts: &'static [u16],
    target: &'static str,
    comes: Comes,
) -> Case {
    case(name, facts, "GET", target, "", "", comes)
}

pub(super) static CASES: &[Case] = &[
    list(
        "Entra's probe for a user that is not there",
        &[1, 3],
        "/Users?filter=userName+eq+%2200000000-aaaa-4bbb-8ccc-0123456789ab%22",
        Comes::Lists(
            r#"userName eq "00000000-aaaa-4bbb-8ccc-0123456789ab""#,
            1,
            ALL,
            true,
        ),
    ),
    list(
        "a plus for a space, an address percent-encoded",
        &[3, 91],
        "/Users?filter=userName+eq+%22a%40b%22",
        Comes::Lists(r#"userName eq "a@b""#, 1, ALL, true),
    ),
    list(
        "any attribute may match, one value of many too",
        &[4, 121],
        "/Users?filter=emails%5Btype%20eq%20%22work%22%5D.value%20eq%20%22x%40x.example%22",
        Comes::Lists(
            r#"emails[type eq "work"].value eq "x@x.example""#,
            1,
            ALL,
            true,
        ),
    ),
    list(
        "Rippling finds by an e-mail",
        &[121],
        "/Users?filter=emails.value%20eq%20%22x%40x.example%22",
        Comes::Lists(r#"emails.value eq "x@x.example""#, 1, ALL, true),
    ),
    list(
        "a value without quotation marks",
        &[6, 91],
        "/Users?filter=externalId+eq+jyoung",
        Comes::Lists(r#"externalId eq "jyoung""#, 1, ALL, true),
    ),
    list(
        "an address without quotation marks",
        &[91],
        "/Users?filter=userName+eq+a.b-c_d%2Be%40x.example",
        Comes::Lists(r#"userName eq "a.b-c_d+e@x.example""#, 1, ALL, true),
    ),
    list(
        "Entra's reference check: two terms joined by and",
        &[5, 7],
        "/Users?filter=id+eq+%22u1%22+and+manager+eq+%22u2%22&attributes=id",
        Comes::Lists(r#"id eq "u1" and manager eq "u2""#, 1, ALL, false),
    ),
    list(
        "the reference check on members, the other way round",
        &[5, 7],
        "/Groups?filter=members+eq+%22u1%22+and+id+eq+%22g1%22&attributes=id",
        Comes::Lists(r#"members eq "u1" and id eq "g1""#, 1, ALL, false),
    ),
    list(
        "groups without members, the parameter first",
        &[8, 142],
        "/Groups?excludedAttributes=members&filter=displayName+eq+%22G%22",
        Comes::Lists(r#"displayName eq "G""#, 1, ALL, false),
    ),
    list(
        "Entra's flag in the query is ignored",
        &[31, 35],
        "/Users?aadOptscim062020&filter=userName+eq+%22a%22",
        Comes::Lists(r#"userName eq "a""#, 1, ALL, true),
    ),
    list(
        "Entra's flag with a value, and the downgrade flag, are ignored",
        &[31, 35],
        "/Users?filter=userName+eq+%22a%22&aadOptscim062020=true&AzureAdScimPatch2017",
        Comes::Lists(r#"userName eq "a""#, 1, ALL, true),
    ),
    list(
        "Okta's test",
        &[53],
        "/Users?startIndex=1&count=2",
        Comes::Lists("", 1, 2, true),
    ),
    list(
        "Okta's match",
        &[55, 113],
        "/Users?filter=userName%20eq%20%22x%22&startIndex=1&count=100",
        Comes::Lists(r#"userName eq "x""#, 1, 100, true),
    ),
    list(
        "OneLogin's trailing ampersand",
        &[77],
        "/Users?filter=userName+eq+%22x%22&",
        Comes::Lists(r#"userName eq "x""#, 1, ALL, true),
    ),
    list(
        "a bare question mark",
        &[77],
        "/Users?",
        Comes::Lists("", 1, ALL, true),
    ),
    list(
        "authentik pages by startIndex alone",
        &[99],
        "/Users?startIndex=101",
        Comes::Lists("", 101, ALL, true),
    ),
    case(
        "a search by POST",
        &[109],
        "POST",
        "/Users/.search",
        r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"filter":"userName eq \"a\"","startIndex":"1","count":10}"#,
        "",
        Comes::Lists(r#"userName eq "a""#, 1, 10, true),
    ),
    list(
        "Keycloak's guard by externalId",
        &[110],
        "/Users?filter=externalId%20eq%20%22k-1%22",
        Comes::Lists(r#"externalId eq "k-1""#, 1, ALL, true),
    ),
    list(
        "PingOne's capitalised operators and small attribute",
        &[114],
        "/Users?filter=username%20Eq%20%22a%22%20And%20email%20Co%20%22b%22",
        Comes::Lists(r#"username eq "a" and email co "b""#, 1, ALL, true),
    ),
    list(
        "Google's probe",
        &[118],
        "/Users?count=1",
        Comes::Lists("", 1, 1, true),
    ),
    list(
        "miniOrange looks for the admin's own address",
        &[144],
        "/Users?filter=userName%20eq%20%22admin%40x.example%22",
        Comes::Lists(r#"userName eq "admin@x.example""#, 1, ALL, true),
    ),
    list(
        "a filter that does not parse",
        &[5],
        "/Users?filter=userName+is+%22a%22",
        Comes::Refused("invalidFilter"),
    ),
];
