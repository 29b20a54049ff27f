//! Group (RFC 7643 4.2).

use super::{Returned, Schema, Uniqueness, complex, reference, string};

/// `urn:ietf:params:scim:schemas:core:2.0:Group`
pub static GROUP: Schema = Schema {
    urn: "urn:ietf:params:scim:schemas:core:2.0:Group",
    name: "Group",
    description: "A group of users and of other groups.",
    attributes: &[
        // Required by 4.2 (8.7.1 forgot it). Unique as `unique_groups` says, which it does unless it is turned off.
        string(
            "displayName",
            "The group's name. Upper and lower case are the same.",
        )
        .required()
        .unique(Uniqueness::Server),
        // Of a member its id is kept and the rest follows from it.
        complex(
            "members",
            "The users and groups in the group.",
            &[
                // 8.7.1 says that it is not required, but a member without it is nobody: 400.
                string("value", "The id of the user or group.")
                    .required()
                    .exact()
                    .immutable(),
                reference(
                    "$ref",
                    "Where the user or group is read.",
                    &["User", "Group"],
                )
                .immutable(),
                string("type", "Whether it is a user or a group.")
                    .suggested(&["User", "Group"])
                    .immutable(),
                // 2.4; Okta sends it. It is the member's own name, for which each member is read: on request only.
                string("display", "The member's displayName.")
                    .read_only()
                    .returned(Returned::Request),
            ],
        )
        .multi(),
    ],
};
