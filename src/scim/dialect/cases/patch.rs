//! PATCH of a user, and of what a group has besides its members.

use super::{Case, Comes, NOBODY, case, operations};

/// A user that most PATCHes meet.
const ADA: &str = r#"{"userName":"ada@x.example","title":"Analyst","active":true,"name":{"givenName":"Ada","familyName":"King"},"emails":[{"value":"ada@x.example","type":"work","primary":true}],"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"R&D","manager":{"value":"m1","$ref":"../Users/m1"}}}"#;

const fn on(
    name: &'static str,
    facts: &'static [u16],
    meets: &'static str,
    body: &'static str,
    differs: &'static str,
) -> Case {
    case(
        name,
        facts,
        "PATCH",
        "/Users/u1",
        body,
        meets,
        Comes::Differs(differs, NOBODY),
    )
}

const fn ada(
    name: &'static str,
    facts: &'static [u16],
    body: &'static str,
    differs: &'static str,
) -> Case {
    on(name, facts, ADA, body, differs)
}

const fn refused(
    name: &'static str,
    facts: &'static [u16],
    body: &'static str,
    scim_type: &'static str,
) -> Case {
    case(
        name,
        facts,
        "PATCH",
        "/Users/u1",
        body,
        ADA,
        Comes::Refused(scim_type),
    )
}

pub(super) static CASES: &[Case] = &[
    ada(
        "Entra's capitalised operations, one path each",
        &[17, 19, 131],
        operations!(
            r#"{"op":"Replace","path":"displayName","value":"N"},{"op":"Replace","path":"emails[type eq \"work\"].value","value":"n@x.example"},{"op":"Add","path":"name.givenName","value":"G"},{"op":"Add","path":"externalId","value":"e"},{"op":"Replace","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber","value":"7"},{"op":"Remove","path":"title"}"#
        ),
        r#"{"displayName":"N","title":null,"externalId":"e","name":{"givenName":"G","familyName":"King"},"emails":[{"value":"n@x.example","type":"work","primary":true}],"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"R&D","employeeNumber":"7","manager":{"value":"m1","$ref":"../Users/m1"}}}"#,
    ),
    ada(
        "Entra disables with the text False",
        &[18],
        operations!(r#"{"op":"Replace","path":"active","value":"False"}"#),
        r#"{"active":false}"#,
    ),
    ada(
        "Entra disables with the text false",
        &[18],
        operations!(r#"{"op":"Replace","path":"active","value":"false"}"#),
        r#"{"active":false}"#,
    ),
    on(
        "Entra restores with the text True",
        &[18],
        r#"{"userName":"a","active":false}"#,
        operations!(r#"{"op":"Replace","path":"active","value":"True"}"#),
        r#"{"active":true}"#,
    ),
    ada(
        "a replaced value path that matches nothing makes the value",
        &[20, 133],
        operations!(
            r#"{"op":"Replace","path":"phoneNumbers[type eq \"work\"].value","value":"+44 20 7946 0000"},{"op":"Replace","path":"addresses[type eq \"work\"].locality","value":"London"},{"op":"Replace","path":"title","value":"T"}"#
        ),
        r#"{"title":"T","phoneNumbers":[{"type":"work","value":"+44 20 7946 0000"}],"addresses":[{"type":"work","locality":"London"}]}"#,
    ),
    on(
        "an added value path that matches nothing makes the value",
        &[20],
        r#"{"userName":"a","emails":[{"type":"home","value":"h@x.example"}]}"#,
        operations!(
            r#"{"op":"Add","path":"emails[type eq \"work\"].value","value":"w@x.example"}"#
        ),
        r#"{"emails":[{"type":"home","value":"h@x.example"},{"type":"work","value":"w@x.example"}]}"#,
    ),
    refused(
        "without a sub-attribute a replaced value path that matches nothing has no target",
        &[20],
        operations!(
            r#"{"op":"replace","path":"title","value":"lost"},{"op":"replace","path":"emails[type eq \"home\"]","value":{"value":"h@x.example"}}"#
        ),
        "noTarget",
    ),
    ada(
        "a manager as a bare id",
        &[21],
        operations!(
            r#"{"op":"Add","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager","value":"271"}"#
        ),
        r#"{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"R&D","manager":{"value":"271"}}}"#,
    ),
    ada(
        "a manager as an array of one, by its short name",
        &[21],
        operations!(
            r#"{"op":"Add","path":"manager","value":[{"$ref":"http://x.example/Users/271","value":"271"}]}"#
        ),
        r#"{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"R&D","manager":{"$ref":"http://x.example/Users/271","value":"271"}}}"#,
    ),
    ada(
        "a manager as an object",
        &[21, 122],
        operations!(
            r#"{"op":"replace","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager","value":{"value":"271"}}"#
        ),
        r#"{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"R&D","manager":{"value":"271"}}}"#,
    ),
    ada(
        "a manager cleared by an empty value in an object",
        &[22],
        operations!(
            r#"{"op":"replace","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager","value":{"value":""}}"#
        ),
        r#"{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"R&D"}}"#,
    ),
    ada(
        "a manager cleared by an empty text",
        &[22],
        operations!(
            r#"{"op":"replace","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager","value":""}"#
        ),
        r#"{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"R&D"}}"#,
    ),
    ada(
        "SailPoint replaces a complex attribute that is not there",
        &[122],
        operations!(r#"{"op":"replace","path":"urn:x:1.0:User:badge","value":{"colour":"blue"}}"#),
        r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User","urn:x:1.0:User"],"urn:x:1.0:User":{"badge":{"colour":"blue"}}}"#,
    ),
    on(
        "a role selected by the text True is made once",
        &[23],
        r#"{"userName":"a"}"#,
        operations!(
            r#"{"op":"Add","path":"roles[primary eq \"True\"].value","value":"editor"},{"op":"Replace","path":"roles[primary eq \"True\"].value","value":"admin"}"#
        ),
        r#"{"roles":[{"primary":true,"value":"admin"}]}"#,
    ),
    on(
        "a role selected by the text True that is there",
        &[23],
        r#"{"userName":"a","roles":[{"value":"reader","primary":false},{"value":"editor","primary":true}]}"#,
        operations!(
            r#"{"op":"Replace","path":"roles[primary eq \"True\"].value","value":"admin"}"#
        ),
        r#"{"roles":[{"value":"reader","primary":false},{"value":"admin","primary":true}]}"#,
    ),
    on(
        "a role as JSON in a text, added twice, is one and stays the text it is",
        &[24],
        r#"{"userName":"a"}"#,
        operations!(
            r#"{"op":"Add","path":"roles","value":[{"value":"{\"id\":\"1111\",\"value\":\"editor\",\"displayName\":\"Editor\"}"}]},{"op":"Add","path":"roles","value":[{"value":"{\"id\":\"1111\",\"value\":\"editor\",\"displayName\":\"Editor\"}"}]}"#
        ),
        r#"{"roles":[{"value":"{\"id\":\"1111\",\"value\":\"editor\",\"displayName\":\"Editor\"}"}]}"#,
    ),
    ada("no operations", &[27], operations!(""), "{}"),
    ada(
        "a filter on a single-valued attribute is left out",
        &[29],
        operations!(
            r#"{"op":"Replace","path":"title[type eq \"work\"]","value":"T"},{"op":"Replace","path":"active[primary eq true]","value":"False"}"#
        ),
        r#"{"title":"T","active":false}"#,
    ),
    ada(
        "a part of a name changes that part",
        &[30],
        operations!(r#"{"op":"Replace","path":"name","value":{"givenName":"Augusta"}}"#),
        r#"{"name":{"givenName":"Augusta","familyName":"King"}}"#,
    ),
    ada(
        "null clears a sub-attribute",
        &[30],
        operations!(
            r#"{"op":"Replace","path":"emails[type eq \"work\"].value","value":null},{"op":"replace","value":{"name":{"familyName":null},"title":null}}"#
        ),
        r#"{"title":null,"name":{"givenName":"Ada"},"emails":[{"type":"work","primary":true}]}"#,
    ),
    ada(
        "Entra's small operations: a path, then dotted and URN keys without one",
        &[32, 33, 137],
        operations!(
            r#"{"op":"replace","path":"emails[type eq \"work\"].value","value":"n@x.example"},{"op":"replace","value":{"active":false,"displayName":"N","name.givenName":"G","name.familyName":"F","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber":"7"}}"#
        ),
        r#"{"active":false,"displayName":"N","name":{"givenName":"G","familyName":"F"},"emails":[{"value":"n@x.example","type":"work","primary":true}],"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"R&D","employeeNumber":"7","manager":{"value":"m1","$ref":"../Users/m1"}}}"#,
    ),
    ada(
        "Entra's old job type: a dot instead of the colon",
        &[36],
        operations!(
            r#"{"op":"Replace","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User.department","value":"D"}"#
        ),
        r#"{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"D","manager":{"value":"m1","$ref":"../Users/m1"}}}"#,
    ),
    refused(
        "a path filter that does not parse",
        &[36],
        operations!(r#"{"op":"Replace","path":"emails[type eq work].value","value":"x"}"#),
        "invalidPath",
    ),
    ada(
        "a URN is not cut at the dot of 2.0",
        &[134],
        operations!(
            r#"{"op":"add","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.$ref","value":"r"},{"op":"add","path":"urn:ietf:params:scim:schemas:core:2.0:User:name.givenName","value":"G"}"#
        ),
        r#"{"name":{"givenName":"G","familyName":"King"},"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"R&D","manager":{"value":"m1","$ref":"r"}}}"#,
    ),
    ada(
        "a path with the enterprise URN that lacks its last colon",
        &[13],
        operations!(
            r#"{"op":"Replace","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0User:department","value":"D"},{"op":"add","value":{"urn:scim:schemas:extension:enterprise:2.0":{"division":"V"}}}"#
        ),
        r#"{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"D","division":"V","manager":{"value":"m1","$ref":"../Users/m1"}}}"#,
    ),
    ada(
        "Okta deactivates without a path",
        &[51, 60],
        operations!(r#"{"op":"replace","value":{"active":false}}"#),
        r#"{"active":false}"#,
    ),
    on(
        "Okta reactivates without a path",
        &[60],
        r#"{"userName":"a","active":false}"#,
        operations!(r#"{"op":"replace","value":{"active":true}}"#),
        r#"{"active":true}"#,
    ),
    ada(
        "Okta's password sync changes nothing that is kept",
        &[51, 57],
        operations!(
            r#"{"op":"replace","value":{"password":"secret"}},{"op":"add","path":"password","value":"secret"},{"op":"replace","value":{"urn:ietf:params:scim:schemas:core:2.0:User:password":"secret"}},{"op":"add","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:password","value":"secret"},{"op":"add","path":"urn:x:1.0:User:password","value":"secret"},{"op":"replace","value":{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"password":"secret"}}},{"op":"replace","path":"password.value","value":"secret"}"#
        ),
        "{}",
    ),
    case(
        "Okta renames a group with the read-only id inside",
        &[63],
        "PATCH",
        "/Groups/g1",
        operations!(r#"{"op":"replace","value":{"id":"g1","displayName":"New"}}"#),
        r#"{"displayName":"Old"}"#,
        Comes::Differs(r#"{"displayName":"New"}"#, NOBODY),
    ),
    case(
        "authentik sends id and schemas inside",
        &[97],
        "PATCH",
        "/Groups/g1",
        operations!(
            r#"{"op":"replace","value":{"id":"g1","schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"externalId":"e","displayName":"New"}}"#
        ),
        r#"{"displayName":"Old"}"#,
        Comes::Differs(r#"{"externalId":"e","displayName":"New"}"#, NOBODY),
    ),
    refused(
        "a path to a read-only attribute",
        &[63],
        operations!(
            r#"{"op":"replace","path":"title","value":"lost"},{"op":"replace","path":"id","value":"u1"}"#
        ),
        "mutability",
    ),
    ada(
        "authentik for AWS: a path each",
        &[101],
        operations!(
            r#"{"op":"replace","path":"displayName","value":"N"},{"op":"replace","path":"externalId","value":"e"}"#
        ),
        r#"{"displayName":"N","externalId":"e"}"#,
    ),
    ada(
        "Keycloak's text true, userName and displayName",
        &[106],
        operations!(
            r#"{"path":"active","op":"replace","value":"false"},{"path":"userName","op":"replace","value":"b"},{"path":"displayName","op":"replace","value":"B"}"#
        ),
        r#"{"active":false,"userName":"b","displayName":"B"}"#,
    ),
    ada(
        "a scalar in an array",
        &[109, 124],
        operations!(
            r#"{"op":"replace","path":"preferredLanguage","value":["de"]},{"op":"replace","path":"active","value":["false"]},{"op":"replace","path":"name.givenName","value":["G"]},{"op":"replace","path":"emails[type eq \"work\"].value","value":["n@x.example"]}"#
        ),
        r#"{"preferredLanguage":"de","active":false,"name":{"givenName":"G","familyName":"King"},"emails":[{"value":"n@x.example","type":"work","primary":true}]}"#,
    ),
    refused(
        "two scalars in an array fit nothing single",
        &[109],
        operations!(r#"{"op":"replace","path":"title","value":["a","b"]}"#),
        "invalidValue",
    ),
    ada(
        "active as a boolean",
        &[18, 32, 110],
        operations!(r#"{"op":"replace","path":"active","value":false}"#),
        r#"{"active":false}"#,
    ),
    ada(
        "the same with a path and without",
        &[116],
        operations!(
            r#"{"op":"replace","path":"title","value":"T"},{"op":"replace","value":{"nickName":"N"}}"#
        ),
        r#"{"title":"T","nickName":"N"}"#,
    ),
    case(
        "Asgardeo renames a group by its displayName",
        &[125],
        "PATCH",
        "/Groups/g1",
        operations!(r#"{"op":"replace","path":"displayName","value":"New"}"#),
        r#"{"displayName":"Old"}"#,
        Comes::Differs(r#"{"displayName":"New"}"#, NOBODY),
    ),
    ada(
        "suspend and restore end as they began",
        &[123],
        operations!(
            r#"{"op":"replace","path":"active","value":false},{"op":"replace","path":"active","value":true}"#
        ),
        "{}",
    ),
];
