//! ServiceProviderConfig, ResourceTypes and Schemas (RFC 7644 4, RFC 7643 5 to 7): what is so, for the client that asks.
//!
//! Schemas come out of the table that everything else goes by ([`super::schema`]), so they cannot say anything else. The
//! documents are made afresh: a client asks for them once an hour or less.

use serde_json::{Map, Value, json};

use super::Kind;
use super::name;
use super::schema::{
    self, Attribute, ENTERPRISE_USER, GROUP, RESOURCE_TYPE, SCHEMA, SERVICE_PROVIDER_CONFIG,
    Schema, Type, USER, Uniqueness,
};
use crate::config::shape::{Client, Limits};
use crate::error::Fault;

/// What a client asks of discovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// `/ServiceProviderConfig`
    ServiceProviderConfig,
    /// `/ResourceTypes`
    ResourceTypes,
    /// `/ResourceTypes/<name>`
    ResourceType(String),
    /// `/Schemas`
    Schemas,
    /// `/Schemas/<urn>`
    Schema(String),
}

const KINDS: [Kind; 2] = [Kind::User, Kind::Group];

/// Those of the resources first: whoever reads only the beginning wants these.
static SCHEMAS: [&Schema; 6] = [
    &USER,
    &GROUP,
    &ENTERPRISE_USER,
    &SERVICE_PROVIDER_CONFIG,
    &RESOURCE_TYPE,
    &SCHEMA,
];

/// The document as this client may rely on it. `base` is where SCIM is served.
///
/// # Errors
/// 404 for a resource type or schema that there is not.
pub fn document(
    document: &Document,
    base: &str,
    client: &Client,
    limits: &Limits,
) -> Result<Value, Fault> {
    match document {
        Document::ServiceProviderConfig => Ok(service_provider_config(base, client, limits)),
        Document::ResourceTypes => Ok(list(KINDS.map(|kind| resource_type(kind, base)).to_vec())),
        // Names fold case, as endpoints do.
        Document::ResourceType(wanted) => KINDS
            .into_iter()
            .find(|kind| name::same(kind.name(), wanted))
            .map(|kind| resource_type(kind, base))
            .ok_or_else(|| {
                let names = KINDS.map(Kind::name).join(", ");
                Fault::NotFound(format!(
                    "There is no resource type of this name. There are: {names}."
                ))
            }),
        Document::Schemas => Ok(list(
            SCHEMAS
                .iter()
                .map(|schema| published(schema, base, client))
                .collect(),
        )),
        Document::Schema(wanted) => SCHEMAS
            .iter()
            .find(|schema| name::same(schema.urn, wanted))
            .map(|schema| published(schema, base, client))
            .ok_or_else(|| {
                let urns = SCHEMAS.map(|schema| schema.urn).join(", ");
                Fault::NotFound(format!("There is no schema of this id. There are: {urns}."))
            }),
    }
}

/// RFC 7643 5.
fn service_provider_config(base: &str, client: &Client, limits: &Limits) -> Value {
    let writes = !client.read_only;
    let mut config = json!({
        "schemas": [SERVICE_PROVIDER_CONFIG.urn],
        "patch": {"supported": writes},
        // The numbers stay where it is not supported: they are required, and authentik throws a document without
        // maxOperations away.
        "bulk": {
            "supported": writes,
            "maxOperations": limits.bulk_operations,
            "maxPayloadSize": limits.body,
        },
        "filter": {"supported": true, "maxResults": limits.page},
        // A password is taken and thrown away.
        "changePassword": {"supported": false},
        "sort": {"supported": true},
        "etag": {"supported": true},
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "OAuth Bearer Token",
            "description": "A token that does not expire, in the Authorization header. `usher token NAME` makes one.",
            "specUri": "https://www.rfc-editor.org/info/rfc6750",
            "primary": true,
        }],
        "meta": {
            "resourceType": SERVICE_PROVIDER_CONFIG.name,
            "location": format!("{base}/ServiceProviderConfig"),
        },
    });
    // RFC 9865 4, where it is optional: clients that are older and strict (Canaille) refuse a document that has it, and
    // then provision nothing. No cursorTimeout: a cursor does not grow old.
    if client.announce_cursors {
        config["pagination"] = json!({
            "cursor": true,
            "index": true,
            "defaultPaginationMethod": "index",
            "defaultPageSize": limits.page,
            "maxPageSize": limits.page,
        });
    }
    config
}

/// RFC 7643 6.
fn resource_type(kind: Kind, base: &str) -> Value {
    let extensions: Vec<Value> = schema::schemas(kind)
        .iter()
        .skip(1)
        .map(|extension| json!({"schema": extension.urn, "required": false}))
        .collect();
    let description = match kind {
        Kind::User => USER.description,
        Kind::Group => GROUP.description,
    };
    json!({
        "schemas": [RESOURCE_TYPE.urn],
        "id": kind.name(),
        "name": kind.name(),
        "description": description,
        "endpoint": format!("/{}", kind.endpoint()),
        "schema": kind.schema(),
        "schemaExtensions": extensions,
        "meta": {
            "resourceType": RESOURCE_TYPE.name,
            "location": format!("{base}/ResourceTypes/{}", kind.name()),
        },
    })
}

/// RFC 7643 7. The common attributes (3.1) are not listed: every resource has them without its schema saying so.
fn published(schema: &Schema, base: &str, client: &Client) -> Value {
    let attributes: Vec<Value> = schema
        .attributes
        .iter()
        .map(|attribute| {
            let named_freely = schema.urn == GROUP.urn
                && attribute.uniqueness != Uniqueness::None
                && !client.unique_groups;
            if named_freely {
                described(&Attribute {
                    uniqueness: Uniqueness::None,
                    ..*attribute
                })
            } else {
                described(attribute)
            }
        })
        .collect();
    json!({
        "schemas": [SCHEMA.urn],
        "id": schema.urn,
        "name": schema.name,
        "description": schema.description,
        "attributes": attributes,
        "meta": {
            "resourceType": SCHEMA.name,
            "location": format!("{base}/Schemas/{}", schema.urn),
        },
    })
}

fn described(attribute: &Attribute) -> Value {
    let mut shown = Map::new();
    let mut show = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    show("name", attribute.name.into());
    show("type", attribute.kind.name().into());
    show("multiValued", attribute.multi.into());
    show("description", attribute.description.into());
    show("required", attribute.required.into());
    show("mutability", attribute.mutability.name().into());
    show("returned", attribute.returned.name().into());
    // By 2.3 these have neither.
    let (cased, unique) = match attribute.kind {
        Type::String | Type::Reference | Type::Binary => (true, true),
        Type::Integer | Type::Decimal => (false, true),
        Type::Boolean | Type::DateTime | Type::Complex => (false, false),
    };
    if cased {
        show("caseExact", attribute.case_exact.into());
    }
    if unique {
        show("uniqueness", attribute.uniqueness.name().into());
    }
    if !attribute.canonical.is_empty() {
        show("canonicalValues", attribute.canonical.into());
    }
    if !attribute.references.is_empty() {
        show("referenceTypes", attribute.references.into());
    }
    if !attribute.subs.is_empty() {
        let subs: Vec<Value> = attribute.subs.iter().map(described).collect();
        show("subAttributes", subs.into());
    }
    Value::Object(shown)
}

/// All on one page: paging parameters are ignored here (RFC 7644 4).
fn list(resources: Vec<Value>) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": resources.len(),
        "startIndex": 1,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    })
}

#[cfg(test)]
mod tests;
