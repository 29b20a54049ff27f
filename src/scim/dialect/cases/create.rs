//! POST and PUT: whole resources.

use super::{Case, Comes, Delta, NOBODY, case};

const fn user(
    name: &'static str,
    facts: &'static [u16],
    body: &'static str,
    kept: &'static str,
) -> Case {
    case(
        name,
        facts,
        "POST",
        "/Users",
        body,
        "",
        Comes::Whole(kept, NOBODY),
    )
}

const fn put(
    name: &'static str,
    facts: &'static [u16],
    body: &'static str,
    meets: &'static str,
    kept: &'static str,
) -> Case {
    case(
        name,
        facts,
        "PUT",
        "/Users/u1",
        body,
        meets,
        Comes::Whole(kept, NOBODY),
    )
}

pub(super) static CASES: &[Case] = &[
    user(
        "Entra creates a user with meta and an empty array of roles",
        &[12],
        r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],"externalId":"jyoung","userName":"jyoung@contoso.example","active":true,"emails":[{"primary":true,"type":"work","value":"jyoung@contoso.example"}],"meta":{"resourceType":"User"},"name":{"formatted":"Joy Young","familyName":"Young","givenName":"Joy"},"roles":[]}"#,
        r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],"externalId":"jyoung","userName":"jyoung@contoso.example","active":true,"emails":[{"primary":true,"type":"work","value":"jyoung@contoso.example"}],"name":{"formatted":"Joy Young","familyName":"Young","givenName":"Joy"},"roles":[]}"#,
    ),
    user(
        "Entra sends null for what is not mapped",
        &[13],
        r#"{"userName":"a","addresses":null,"phoneNumbers":null,"title":null,"department":null,"manager":null,"name":{"givenName":"A","familyName":null}}"#,
        r#"{"userName":"a","active":true,"name":{"givenName":"A"}}"#,
    ),
    user(
        "the enterprise URN without its last colon",
        &[13],
        r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0User"],"userName":"a","urn:ietf:params:scim:schemas:extension:enterprise:2.0User":{"department":"D","manager":null}}"#,
        r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],"userName":"a","active":true,"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"D"}}"#,
    ),
    user(
        "a manager as a bare id on create",
        &[14],
        r#"{"userName":"a","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"manager":"271"}}"#,
        r#"{"userName":"a","active":true,"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"manager":{"value":"271"}}}"#,
    ),
    user(
        "a role whose primary is a text",
        &[15],
        r#"{"userName":"a","roles":[{"primary":"True","display":"Reader","value":"reader","type":"WindowsAzureActiveDirectoryRole"}]}"#,
        r#"{"userName":"a","active":true,"roles":[{"primary":true,"display":"Reader","value":"reader","type":"WindowsAzureActiveDirectoryRole"}]}"#,
    ),
    user(
        "a role as JSON in a text stays the text it is",
        &[24],
        r#"{"userName":"a","roles":[{"primary":false,"value":"{\"value\":\"editor\",\"displayName\":\"Editor\"}"},{"value":"{not JSON"}]}"#,
        r#"{"userName":"a","active":true,"roles":[{"primary":false,"value":"{\"value\":\"editor\",\"displayName\":\"Editor\"}"},{"value":"{not JSON"}]}"#,
    ),
    case(
        "Entra creates a group without members and with a schema of its own",
        &[16, 36],
        "POST",
        "/Groups",
        r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group","http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],"externalId":"8aa1a0c0","displayName":"Research","meta":{"resourceType":"Group"}}"#,
        "",
        Comes::Whole(
            r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"externalId":"8aa1a0c0","displayName":"Research"}"#,
            NOBODY,
        ),
    ),
    user(
        "values stay as they were sent",
        &[40, 86],
        r#"{"schemas":["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User","urn:ietf:params:scim:schemas:core:2.0:User"],"userName":" A ","active":true,"preferredLanguage":"en-gb","phoneNumbers":[{"value":"tel:+1-201-555-0123;ext=9","type":"mobile"},{"value":"(020) 7946 0000"}],"emails":[{"value":"B@x.example"},{"value":"a@x.example","type":"anything"}],"badge":{"floors":[3,1,2],"since":null,"weight":0.10}}"#,
        r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],"userName":" A ","active":true,"preferredLanguage":"en-gb","phoneNumbers":[{"value":"tel:+1-201-555-0123;ext=9","type":"mobile"},{"value":"(020) 7946 0000"}],"emails":[{"value":"B@x.example"},{"value":"a@x.example","type":"anything"}],"badge":{"floors":[3,1,2],"since":null,"weight":0.10}}"#,
    ),
    user(
        "Okta creates with a password, no groups and e-mails without type",
        &[57],
        r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"a@x.example","name":{"givenName":"A","familyName":"B"},"emails":[{"primary":true,"value":"a@x.example"}],"locale":"en-US","externalId":"00u1","groups":[],"password":"secret","active":true}"#,
        r#"{"userName":"a@x.example","name":{"givenName":"A","familyName":"B"},"emails":[{"primary":true,"value":"a@x.example"}],"locale":"en-US","externalId":"00u1","active":true}"#,
    ),
    put(
        "Okta sends back all that it read, changed",
        &[59],
        r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":"u1","meta":{"resourceType":"User","version":"W/\"1\""},"groups":[{"value":"g1","display":"G"}],"userName":"a","name":{"givenName":"New"},"shoeSize":42,"active":true}"#,
        r#"{"userName":"a","name":{"givenName":"Old"},"shoeSize":42,"active":true}"#,
        r#"{"userName":"a","name":{"givenName":"New"},"shoeSize":42,"active":true}"#,
    ),
    put(
        "Okta's wizard deactivates by PUT",
        &[51, 60],
        r#"{"userName":"a","active":false}"#,
        r#"{"userName":"a","title":"T","active":true}"#,
        r#"{"userName":"a","active":false}"#,
    ),
    put(
        "a PUT without active leaves it as it was",
        &[139],
        r#"{"userName":"a"}"#,
        r#"{"userName":"a","title":"T","active":false}"#,
        r#"{"userName":"a","active":false}"#,
    ),
    case(
        "Okta creates a group with an empty array of members",
        &[62],
        "POST",
        "/Groups",
        r#"{"displayName":"APP-Research","members":[]}"#,
        "",
        Comes::Whole(
            r#"{"displayName":"APP-Research"}"#,
            Delta {
                clear: true,
                add: &[],
                remove: &[],
            },
        ),
    ),
    case(
        "Okta's wizard creates a group with its members",
        &[62, 140],
        "POST",
        "/Groups",
        r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"G","members":[{"value":"a","display":"A"},{"value":"b"},{"value":"a"}]}"#,
        "",
        Comes::Whole(
            r#"{"displayName":"G"}"#,
            Delta {
                clear: true,
                add: &["a", "b"],
                remove: &[],
            },
        ),
    ),
    case(
        "a PUT of a group with members replaces them",
        &[62, 65, 98, 107, 140],
        "PUT",
        "/Groups/g1",
        r#"{"id":"g1","schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"G","externalId":"e","members":[{"value":"a","$ref":"Users/a"}]}"#,
        r#"{"displayName":"G"}"#,
        Comes::Whole(
            r#"{"displayName":"G","externalId":"e"}"#,
            Delta {
                clear: true,
                add: &["a"],
                remove: &[],
            },
        ),
    ),
    case(
        "a PUT of a group without members keeps them",
        &[139],
        "PUT",
        "/Groups/g1",
        r#"{"displayName":"New"}"#,
        r#"{"displayName":"G"}"#,
        Comes::Whole(r#"{"displayName":"New"}"#, NOBODY),
    ),
    user(
        "OneLogin's schema URNs from before the RFC",
        &[78],
        r#"{"schemas":["urn:scim:schemas:core:2.0","urn:scim:schemas:extension:enterprise:2.0"],"userName":"a","urn:scim:schemas:extension:enterprise:2.0":{"department":"Finance"}}"#,
        r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],"userName":"a","active":true,"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Finance"}}"#,
    ),
    user(
        "any schemas are taken",
        &[78],
        r#"{"schemas":["anything","urn:x:1.0:Thing"],"userName":"a","urn:y:1.0:Other":{"b":1}}"#,
        r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:y:1.0:Other"],"userName":"a","active":true,"urn:y:1.0:Other":{"b":1}}"#,
    ),
    user(
        "e-mails as one object instead of an array",
        &[79],
        r#"{"userName":"a","emails":{"value":"a@x.example"}}"#,
        r#"{"userName":"a","active":true,"emails":[{"value":"a@x.example"}]}"#,
    ),
    user(
        "JumpCloud lists the enterprise URN without its object",
        &[86],
        r#"{"schemas":["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User","urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"a","externalId":"5f0c"}"#,
        r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],"userName":"a","externalId":"5f0c","active":true}"#,
    ),
    put(
        "JumpCloud's short PUT: e-mails null, no externalId",
        &[86],
        r#"{"userName":"a","emails":null,"active":true}"#,
        r#"{"userName":"a","externalId":"5f0c","emails":[{"value":"a@x.example"}],"active":true}"#,
        r#"{"userName":"a","active":true}"#,
    ),
    put(
        "authentik's PUT carries the id",
        &[92],
        r#"{"userName":"avery","schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"displayName":"New","active":true,"id":"u1"}"#,
        r#"{"userName":"avery","displayName":"Old","active":true}"#,
        r#"{"userName":"avery","displayName":"New","active":true}"#,
    ),
    user(
        "authentik's default mapping",
        &[94],
        r#"{"userName":"avery","name":{"formatted":"Avery Lund"},"photos":[],"locale":"en","emails":[{"value":"a@x.example","type":"other","primary":true}],"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"externalId":"f0e1d2c3b4a5968778695a4b3c2d1e0f11223344556677889900aabbccddeeff","displayName":"Avery Lund","active":true}"#,
        r#"{"userName":"avery","name":{"formatted":"Avery Lund"},"photos":[],"locale":"en","emails":[{"value":"a@x.example","type":"other","primary":true}],"externalId":"f0e1d2c3b4a5968778695a4b3c2d1e0f11223344556677889900aabbccddeeff","displayName":"Avery Lund","active":true}"#,
    ),
    user(
        "Keycloak's e-mails without type and primary, and its roles",
        &[106],
        r#"{"userName":"a","emails":[{"value":"a@x.example"}],"roles":[{"value":"offline_access"},{"value":"uma"}],"active":true}"#,
        r#"{"userName":"a","emails":[{"value":"a@x.example"}],"roles":[{"value":"offline_access"},{"value":"uma"}],"active":true}"#,
    ),
    put(
        "Keycloak deactivates by PUT",
        &[108],
        r#"{"userName":"a","externalId":"k","active":false}"#,
        r#"{"userName":"a","externalId":"k","active":true}"#,
        r#"{"userName":"a","externalId":"k","active":false}"#,
    ),
    user(
        "empty arrays stay, foreign group ids do not",
        &[111],
        r#"{"userName":"a","phoneNumbers":[],"ims":[],"photos":[],"x509Certificates":[],"groups":[{"value":"a-keycloak-id","type":"direct"}],"active":true}"#,
        r#"{"userName":"a","phoneNumbers":[],"ims":[],"photos":[],"x509Certificates":[],"active":true}"#,
    ),
    user(
        "a disabled user may be created disabled",
        &[115],
        r#"{"userName":"a","active":false}"#,
        r#"{"userName":"a","active":false}"#,
    ),
    user(
        "Google sends the address as userName alone",
        &[118],
        r#"{"userName":"a@x.example","name":{"givenName":"A","familyName":"B"}}"#,
        r#"{"userName":"a@x.example","name":{"givenName":"A","familyName":"B"},"active":true}"#,
    ),
    user(
        "Asgardeo's password is dropped, whatever its place",
        &[57, 125],
        r#"{"userName":"a","urn:ietf:params:scim:schemas:core:2.0:User":{"password":"p"},"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"password":"p","department":"D"},"urn:scim:wso2:schema":{"password":"p","deep":[{"Password":"p","b":1}]},"urn:x:password":"p","login.password":"p","emails":[{"value":"v","password":"p"}]}"#,
        r#"{"userName":"a","active":true,"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"D"},"urn:scim:wso2:schema":{"deep":[{"b":1}]},"emails":[{"value":"v"}]}"#,
    ),
    user(
        "miniOrange: no schemas, a meta of its own with Unix times",
        &[145],
        r#"{"userName":"Ada King","externalId":"5f0c1c5e","displayName":"Ada King","emails":[{"type":"work","primary":true,"value":"ada@x.example"}],"preferredLanguage":"en","timezone":"Asia/Kolkata","active":true,"meta":{"resourceType":"User","created":1790000000,"lastModified":1790000000}}"#,
        r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"Ada King","externalId":"5f0c1c5e","displayName":"Ada King","emails":[{"type":"work","primary":true,"value":"ada@x.example"}],"preferredLanguage":"en","timezone":"Asia/Kolkata","active":true}"#,
    ),
    user(
        "active as a number",
        &[148],
        r#"{"userName":"a","active":0}"#,
        r#"{"userName":"a","active":false}"#,
    ),
    case(
        "a name given in two spellings is refused",
        &[13, 78],
        "POST",
        "/Users",
        r#"{"userName":"a","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"A"},"urn:ietf:params:scim:schemas:extension:enterprise:2.0User":{"department":"B"}}"#,
        "",
        Comes::Refused("invalidSyntax"),
    ),
];
