//! The enterprise extension of User (RFC 7643 4.3).

use super::{Schema, complex, reference, string};
use crate::scim::name;

/// `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User`
pub static ENTERPRISE_USER: Schema = Schema {
    urn: name::ENTERPRISE,
    name: "EnterpriseUser",
    description: "What an organization says of a person besides.",
    attributes: &[
        string(
            "employeeNumber",
            "The number that the organization gave the person.",
        ),
        string("costCenter", "The cost center."),
        string("organization", "The organization."),
        string("division", "The division."),
        string("department", "The department."),
        complex(
            "manager",
            "The person's manager.",
            &[
                string("value", "The manager's id.").exact(),
                reference("$ref", "Where the manager is read.", &["User"]),
                // readOnly in 4.3, for servers that look it up. A manager need not be in the directory, so what the
                // client says is kept, and mapping rules may use it.
                string("displayName", "The manager's name."),
            ],
        ),
    ],
};
