//! Bulk (RFC 7644 3.7): many operations in one request, that may refer to each other by `bulkId` in any order.

use serde_json::{Map, Value};

use crate::config::shape::Limits;
use crate::error::Fault;

/// A decoded bulk request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bulk {
    /// How many operations may fail before the rest is left alone. `None`: all are tried.
    pub fail_on_errors: Option<usize>,
    /// In the order in which they were sent.
    pub operations: Vec<Map<String, Value>>,
}

impl Bulk {
    /// Reads a BulkRequest.
    ///
    /// # Errors
    /// 400 `invalidSyntax` for another shape, 413 for too many operations.
    pub fn read(_body: Map<String, Value>, _limits: &Limits) -> Result<Self, Fault> {
        Err(Fault::NotImplemented(String::from("Bulk")))
    }
}
