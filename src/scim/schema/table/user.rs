//! User (RFC 7643 4.1).

use super::{
    Attribute, DISPLAY, LABEL, Mutability, PRIMARY, Returned, Schema, Type, Uniqueness, complex,
    of, reference, string,
};

/// `urn:ietf:params:scim:schemas:core:2.0:User`
pub static USER: Schema = Schema {
    urn: "urn:ietf:params:scim:schemas:core:2.0:User",
    name: "User",
    description: "A person's account.",
    attributes: &[
        string(
            "userName",
            "The name that the person signs in with. Upper and lower case are the same.",
        )
        .required()
        .unique(Uniqueness::Server),
        complex(
            "name",
            "The person's name.",
            &[
                string("formatted", "The whole name as it is shown."),
                string("familyName", "The family name."),
                string("givenName", "The given name."),
                string("middleName", "The middle names."),
                string("honorificPrefix", "What stands before the name: Dr."),
                string("honorificSuffix", "What stands after the name: III."),
            ],
        ),
        string("displayName", "The name to show for the person."),
        string("nickName", "What the person is called casually."),
        reference(
            "profileUrl",
            "Where the person's profile page is.",
            &["external"],
        ),
        string("title", "The person's job: Vice President."),
        string(
            "userType",
            "How the person belongs here: Employee, Contractor.",
        ),
        string(
            "preferredLanguage",
            "The languages that the person reads, as in an Accept-Language header.",
        ),
        string(
            "locale",
            "Where dates and numbers follow the customs of: en-US.",
        ),
        string("timezone", "The person's time zone: Europe/Berlin."),
        of(
            "active",
            Type::Boolean,
            "Whether the account may be used. A new user without it is active.",
        ),
        // Never kept, passed on or shown, which is what writeOnly and never say. Canaille writes it, and refuses a schema
        // without it.
        Attribute {
            mutability: Mutability::WriteOnly,
            returned: Returned::Never,
            ..string("password", "Taken and thrown away.").exact()
        },
        complex(
            "emails",
            "The person's e-mail addresses.",
            &[
                string("value", "The address."),
                DISPLAY,
                LABEL.suggested(&["work", "home", "other"]),
                PRIMARY,
            ],
        )
        .multi(),
        complex(
            "phoneNumbers",
            "The person's phone numbers.",
            &[
                string("value", "The number."),
                DISPLAY,
                LABEL.suggested(&["work", "home", "mobile", "fax", "pager", "other"]),
                PRIMARY,
            ],
        )
        .multi(),
        complex(
            "ims",
            "The person's instant messaging addresses.",
            &[
                string("value", "The address."),
                DISPLAY,
                LABEL.suggested(&["aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo"]),
                PRIMARY,
            ],
        )
        .multi(),
        complex(
            "photos",
            "Pictures of the person.",
            &[
                reference("value", "Where the picture is.", &["external"]),
                DISPLAY,
                LABEL.suggested(&["photo", "thumbnail"]),
                PRIMARY,
            ],
        )
        .multi(),
        complex(
            "addresses",
            "The person's postal addresses.",
            &[
                string(
                    "formatted",
                    "The whole address as it is written on a letter.",
                ),
                string("streetAddress", "Street and house number."),
                string("locality", "The town."),
                string("region", "The state or province."),
                string("postalCode", "The postal code."),
                string("country", "The country, by ISO 3166-1: DE."),
                LABEL.suggested(&["work", "home", "other"]),
                // Not in RFC 7643 8.7.1, but in 2.4 and in the full user of 8.2.
                PRIMARY,
            ],
        )
        .multi(),
        complex(
            "groups",
            "The groups that the user is in. To change it, change the group.",
            &[
                // Ids are exact (3.1), though 8.7.1 says otherwise here, in `members` and in `manager`.
                string("value", "The group's id.").exact().read_only(),
                // 8.7.1 names User as well, but only a group has members.
                reference("$ref", "Where the group is read.", &["Group"]).read_only(),
                string("display", "The group's displayName.").read_only(),
                string(
                    "type",
                    "direct: a member of the group itself. indirect: of a group in it.",
                )
                .suggested(&["direct", "indirect"])
                .read_only(),
            ],
        )
        .multi()
        .read_only(),
        complex(
            "entitlements",
            "What the person is entitled to.",
            &[string("value", "The entitlement."), DISPLAY, LABEL, PRIMARY],
        )
        .multi(),
        complex(
            "roles",
            "The person's roles.",
            &[string("value", "The role."), DISPLAY, LABEL, PRIMARY],
        )
        .multi(),
        complex(
            "x509Certificates",
            "The person's certificates.",
            &[
                // A binary is case exact (2.3.6), though 8.7.1 says otherwise.
                of("value", Type::Binary, "The certificate: DER in base64.").exact(),
                DISPLAY,
                LABEL,
                PRIMARY,
            ],
        )
        .multi(),
    ],
};
