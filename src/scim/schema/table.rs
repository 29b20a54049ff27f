//! The table itself (RFC 7643 3.1, 4 and 8.7), one file a schema. Where usher differs from 8.7.1 a comment says why.

mod discovery;
mod enterprise;
mod group;
mod user;

use super::{Attribute, Mutability, Returned, Schema, Type, Uniqueness};

pub use discovery::{RESOURCE_TYPE, SCHEMA, SERVICE_PROVIDER_CONFIG};
pub use enterprise::ENTERPRISE_USER;
pub use group::GROUP;
pub use user::USER;

/// What every resource has (RFC 7643 3.1). No schema lists it: it belongs to each without being said.
pub static COMMON: &[Attribute] = &[
    Attribute {
        // URNs differ by case nowhere in SCIM.
        case_exact: false,
        ..reference(
            "schemas",
            "The schemas that the resource follows.",
            &["uri"],
        )
    }
    .multi()
    .required()
    .returned(Returned::Always),
    string("id", "The id that usher gave the resource.")
        .required()
        .exact()
        .read_only()
        .returned(Returned::Always)
        .unique(Uniqueness::Server),
    string("externalId", "The client's own id of the resource.").exact(),
    complex(
        "meta",
        "What usher says of the resource.",
        &[
            string("resourceType", "User or Group.").exact().read_only(),
            of("created", Type::DateTime, "When it was created.").read_only(),
            of(
                "lastModified",
                Type::DateTime,
                "When it was changed for the last time.",
            )
            .read_only(),
            reference("location", "Where it is read.", &["uri"]).read_only(),
            string("version", "Its version, as in the ETag header.")
                .exact()
                .read_only(),
        ],
    )
    .read_only(),
];

/// `display` of a value (RFC 7643 2.4).
const DISPLAY: Attribute = string("display", "The value as people are shown it.");

/// `primary` of a value (RFC 7643 2.4).
const PRIMARY: Attribute = of(
    "primary",
    Type::Boolean,
    "Whether this is the preferred value; true of one value at most.",
);

/// `type` of a value (RFC 7643 2.4).
const LABEL: Attribute = string("type", "What kind of value this is.");

const fn of(name: &'static str, kind: Type, description: &'static str) -> Attribute {
    Attribute {
        name,
        description,
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

const fn string(name: &'static str, description: &'static str) -> Attribute {
    of(name, Type::String, description)
}

/// A reference is case exact (RFC 7643 2.3.7), though 8.7.1 says otherwise of each (erratum 6001).
const fn reference(
    name: &'static str,
    description: &'static str,
    references: &'static [&'static str],
) -> Attribute {
    Attribute {
        references,
        ..of(name, Type::Reference, description).exact()
    }
}

const fn complex(
    name: &'static str,
    description: &'static str,
    subs: &'static [Attribute],
) -> Attribute {
    Attribute {
        subs,
        ..of(name, Type::Complex, description)
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
