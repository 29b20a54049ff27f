//! What the discovery documents themselves look like (RFC 7643 5, 6, 7 and 8.7.2; `pagination`: RFC 9865 4).

use super::{Attribute, Schema, Type, complex, of, reference, string};

const SUPPORTED: Attribute = truth("supported", "Whether it is supported.").required();

/// `urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig`
pub static SERVICE_PROVIDER_CONFIG: Schema = Schema {
    urn: "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig",
    // 8.7.2 writes it in three words; the resource type's name (8.5) is this.
    name: "ServiceProviderConfig",
    description: "What this server can do.",
    attributes: &[
        option("patch", "PATCH.", &[SUPPORTED]),
        option(
            "bulk",
            "Many operations in one request.",
            &[
                SUPPORTED,
                count("maxOperations", "Operations in one request at most.").required(),
                count("maxPayloadSize", "Bytes of one request at most.").required(),
            ],
        ),
        option(
            "filter",
            "Filters.",
            &[
                SUPPORTED,
                count("maxResults", "Resources in one answer at most.").required(),
            ],
        ),
        option("changePassword", "Changing a password.", &[SUPPORTED]),
        option("sort", "Sorting.", &[SUPPORTED]),
        // 8.7.2 forgot it; 5 requires it.
        option("etag", "Versions of resources.", &[SUPPORTED]),
        option(
            "authenticationSchemes",
            "The ways to authenticate.",
            &[
                // `type` and `primary` are missing in 8.7.2; 5 and 8.5 have them.
                text("type", "Which scheme it is.").required().suggested(&[
                    "oauth",
                    "oauth2",
                    "oauthbearertoken",
                    "httpbasic",
                    "httpdigest",
                ]),
                text("name", "The scheme's common name.").required(),
                text("description", "What the scheme needs.").required(),
                reference("specUri", "Where the scheme is specified.", &["external"]).read_only(),
                truth("primary", "Whether this is the preferred scheme."),
            ],
        )
        .multi(),
        complex(
            "pagination",
            "Paging through lists.",
            &[
                truth("cursor", "Whether pages are had by cursor.").required(),
                truth("index", "Whether pages are had by startIndex.").required(),
                text(
                    "defaultPaginationMethod",
                    "How pages are had unless a request says.",
                )
                .suggested(&["cursor", "index"]),
                count("defaultPageSize", "Resources a page unless a request says."),
                count("maxPageSize", "Resources a page at most."),
            ],
        )
        .read_only(),
    ],
};

/// `urn:ietf:params:scim:schemas:core:2.0:ResourceType`
pub static RESOURCE_TYPE: Schema = Schema {
    urn: "urn:ietf:params:scim:schemas:core:2.0:ResourceType",
    name: "ResourceType",
    description: "A type of resource.",
    attributes: &[
        // `id` is a common attribute and optional here (6).
        text("name", "The type's name.").required(),
        text("description", "What the type is."),
        reference(
            "endpoint",
            "Where its resources are, below the base URL.",
            &["uri"],
        )
        .required()
        .read_only(),
        reference("schema", "The type's schema.", &["uri"])
            .required()
            .read_only(),
        option(
            "schemaExtensions",
            "The schemas that extend it.",
            &[
                reference("schema", "The extension's schema.", &["uri"])
                    .required()
                    .read_only(),
                truth("required", "Whether every resource of the type has it.").required(),
            ],
        )
        .multi(),
    ],
};

/// `urn:ietf:params:scim:schemas:core:2.0:Schema`
pub static SCHEMA: Schema = Schema {
    urn: "urn:ietf:params:scim:schemas:core:2.0:Schema",
    name: "Schema",
    description: "A schema: the attributes of a type of resource, or of an extension of it.",
    attributes: &[
        text("name", "The schema's name.").required(),
        text("description", "What the schema describes."),
        option(
            "attributes",
            "The attributes.",
            &[
                ATTRIBUTE_NAME,
                TYPE,
                MULTI_VALUED,
                DESCRIPTION,
                REQUIRED,
                CANONICAL_VALUES,
                CASE_EXACT,
                MUTABILITY,
                RETURNED,
                UNIQUENESS,
                REFERENCE_TYPES,
                // The one complex attribute in another: 7 wants it where 2.3.8 forbids it.
                complex(
                    "subAttributes",
                    "The attributes of a complex attribute.",
                    &[
                        ATTRIBUTE_NAME,
                        TYPE,
                        MULTI_VALUED,
                        DESCRIPTION,
                        REQUIRED,
                        CANONICAL_VALUES,
                        CASE_EXACT,
                        MUTABILITY,
                        RETURNED,
                        UNIQUENESS,
                        REFERENCE_TYPES,
                    ],
                )
                .multi()
                .read_only(),
            ],
        )
        .multi(),
    ],
};

const ATTRIBUTE_NAME: Attribute = text("name", "The attribute's name.").required().exact();
const TYPE: Attribute = text("type", "The type of its values.")
    .required()
    .suggested(&[
        "string",
        "complex",
        "boolean",
        "decimal",
        "integer",
        "dateTime",
        "reference",
        "binary",
    ]);
const MULTI_VALUED: Attribute = truth("multiValued", "Whether it is an array.").required();
const DESCRIPTION: Attribute = text("description", "What it says.").exact();
const REQUIRED: Attribute = truth("required", "Whether nothing can be without it.");
const CANONICAL_VALUES: Attribute = text(
    "canonicalValues",
    "Values that are suggested; others are taken.",
)
.exact()
.multi();
const CASE_EXACT: Attribute = truth("caseExact", "Whether values differ by case.");
const MUTABILITY: Attribute = text("mutability", "Who may write it.").exact().suggested(&[
    "readOnly",
    "readWrite",
    "immutable",
    "writeOnly",
]);
const RETURNED: Attribute = text("returned", "When an answer holds it.")
    .exact()
    .suggested(&["always", "never", "default", "request"]);
const UNIQUENESS: Attribute = text("uniqueness", "Where no two may have one value.")
    .exact()
    .suggested(&["none", "server", "global"]);
const REFERENCE_TYPES: Attribute = text("referenceTypes", "What a reference may refer to.")
    .exact()
    .multi();

const fn text(name: &'static str, description: &'static str) -> Attribute {
    string(name, description).read_only()
}

const fn truth(name: &'static str, description: &'static str) -> Attribute {
    of(name, Type::Boolean, description).read_only()
}

const fn count(name: &'static str, description: &'static str) -> Attribute {
    of(name, Type::Integer, description).read_only()
}

const fn option(
    name: &'static str,
    description: &'static str,
    subs: &'static [Attribute],
) -> Attribute {
    complex(name, description, subs).required().read_only()
}
