//! ServiceProviderConfig, ResourceTypes and Schemas (RFC 7644 4, RFC 7643 5 to 7): what is so, for the client that asks.

use serde_json::Value;

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

/// The document as this client may rely on it. `base` is where SCIM is served.
///
/// # Errors
/// 404 for a resource type or schema that there is not.
pub fn document(
    document: &Document,
    _base: &str,
    _client: &Client,
    _limits: &Limits,
) -> Result<Value, Fault> {
    Err(Fault::NotImplemented(format!("{document:?}")))
}
