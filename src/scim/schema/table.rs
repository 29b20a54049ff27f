//! The table itself (RFC 7643 8.7.1).

use super::{Attribute, Mutability, Returned, Schema, Type, Uniqueness};
use crate::scim::name;

/// What every resource has (RFC 7643 3.1).
pub static COMMON: &[Attribute] = &[
    reference("schemas", &["uri"])
        .multi()
        .required()
        .returned(Returned::Always),
    string("id")
        .required()
        .exact()
        .read_only()
        .returned(Returned::Always)
        .unique(Uniqueness::Server),
    string("externalId").exact(),
    complex(
        "meta",
        &[
            string("resourceType").exact().read_only(),
            of("created", Type::DateTime).read_only(),
            of("lastModified", Type::DateTime).read_only(),
            reference("location", &["uri"]).exact().read_only(),
            string("version").exact().read_only(),
        ],
    )
    .read_only(),
];

/// `urn:ietf:params:scim:schemas:core:2.0:User`
pub static USER: Schema = Schema {
    urn: "urn:ietf:params:scim:schemas:core:2.0:User",
    name: "User",
    attributes: &[
        string("userName").required().unique(Uniqueness::Server),
        complex(
            "name",
            &[
                string("formatted"),
                string("familyName"),
                string("givenName"),
                string("middleName"),
                string("honorificPrefix"),
                string("honorificSuffix"),
            ],
        ),
        string("displayName"),
        string("nickName"),
        reference("profileUrl", &["external"]),
        string("title"),
        string("userType"),
        string("preferredLanguage"),
        string("locale"),
        string("timezone"),
        of("active", Type::Boolean),
        Attribute {
            mutability: Mutability::WriteOnly,
            returned: Returned::Never,
            ..string("password")
        },
        complex(
            "emails",
            &[
                string("value"),
                string("display"),
                string("type").suggested(&["work", "home", "other"]),
                of("primary", Type::Boolean),
            ],
        )
        .multi(),
        complex(
            "phoneNumbers",
            &[
                string("value"),
                string("display"),
                string("type").suggested(&["work", "home", "mobile", "fax", "pager", "other"]),
                of("primary", Type::Boolean),
            ],
        )
        .multi(),
        complex(
            "ims",
            &[
                string("value"),
                string("display"),
                string("type")
                    .suggested(&["aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo"]),
                of("primary", Type::Boolean),
            ],
        )
        .multi(),
        complex(
            "photos",
            &[
                reference("value", &["external"]),
                string("display"),
                string("type").suggested(&["photo", "thumbnail"]),
                of("primary", Type::Boolean),
            ],
        )
        .multi(),
        complex(
            "addresses",
            &[
                string("formatted"),
                string("streetAddress"),
                string("locality"),
                string("region"),
                string("postalCode"),
                string("country"),
                string("type").suggested(&["work", "home", "other"]),
                // Not in RFC 7643 8.7.1, but in 2.4 and in the full user of 8.2.
                of("primary", Type::Boolean),
            ],
        )
        .multi(),
        complex(
            "groups",
            &[
                // Ids are exact (3.1), though 8.7.1 says otherwise here and in `members`.
                string("value").exact().read_only(),
                reference("$ref", &["User", "Group"]).read_only(),
                string("display").read_only(),
                string("type")
                    .suggested(&["direct", "indirect"])
                    .read_only(),
            ],
        )
        .multi()
        .read_only(),
        complex(
            "entitlements",
            &[
                string("value"),
                string("display"),
                string("type"),
                of("primary", Type::Boolean),
            ],
        )
        .multi(),
        complex(
            "roles",
            &[
                string("value"),
                string("display"),
                string("type"),
                of("primary", Type::Boolean),
            ],
        )
        .multi(),
        complex(
            "x509Certificates",
            &[
                of("value", Type::Binary).exact(),
                string("display"),
                string("type"),
                of("primary", Type::Boolean),
            ],
        )
        .multi(),
    ],
};

/// `urn:ietf:params:scim:schemas:core:2.0:Group`
pub static GROUP: Schema = Schema {
    urn: "urn:ietf:params:scim:schemas:core:2.0:Group",
    name: "Group",
    attributes: &[
        string("displayName").required(),
        complex(
            "members",
            &[
                string("value").exact().immutable(),
                reference("$ref", &["User", "Group"]).immutable(),
                string("type").suggested(&["User", "Group"]).immutable(),
                // RFC 7643 2.4 gives it to every multi-valued attribute; Okta sends it.
                string("display").immutable(),
            ],
        )
        .multi(),
    ],
};

/// `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User`
pub static ENTERPRISE_USER: Schema = Schema {
    urn: name::ENTERPRISE,
    name: "EnterpriseUser",
    attributes: &[
        string("employeeNumber"),
        string("costCenter"),
        string("organization"),
        string("division"),
        string("department"),
        complex(
            "manager",
            &[
                string("value").exact(),
                reference("$ref", &["User"]),
                string("displayName").read_only(),
            ],
        ),
    ],
};

const fn of(name: &'static str, kind: Type) -> Attribute {
    Attribute {
        name,
        kind,
        multi: false,
        required: false,
        case_exact: false,
        mutability: Mutability::ReadWrite,
        returned: Returned::Default,
        uniqueness: Uniqueness::None,
        canonical: &[],
        references: &[],
        subs: &[],
    }
}

const fn string(name: &'static str) -> Attribute {
    of(name, Type::String)
}

const fn reference(name: &'static str, references: &'static [&'static str]) -> Attribute {
    Attribute {
        references,
        ..of(name, Type::Reference)
    }
}

const fn complex(name: &'static str, subs: &'static [Attribute]) -> Attribute {
    Attribute {
        subs,
        ..of(name, Type::Complex)
    }
}

impl Attribute {
    const fn multi(self) -> Self {
        Self {
            multi: true,
            ..self
        }
    }

    const fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }

    const fn exact(self) -> Self {
        Self {
            case_exact: true,
            ..self
        }
    }

    const fn read_only(self) -> Self {
        Self {
            mutability: Mutability::ReadOnly,
            ..self
        }
    }

    const fn immutable(self) -> Self {
        Self {
            mutability: Mutability::Immutable,
            ..self
        }
    }

    const fn returned(self, returned: Returned) -> Self {
        Self { returned, ..self }
    }

    const fn unique(self, uniqueness: Uniqueness) -> Self {
        Self { uniqueness, ..self }
    }

    const fn suggested(self, canonical: &'static [&'static str]) -> Self {
        Self { canonical, ..self }
    }
}
