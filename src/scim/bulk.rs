//! Bulk (RFC 7644 3.7): many operations in one request, that may refer to each other by `bulkId` in any order.
//!
//! Here is what needs no directory: reading the request, the order in which its operations run ([`order`]), and putting
//! ids in the place of `bulkId:..` ([`refer`]). [`crate::bulk`] runs them.

pub mod order;
pub mod refer;

use std::collections::HashMap;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::filter;
use super::patch;
use super::projection::Projection;
use super::request::{Verb, Write};
use super::route::Route;
use super::{Kind, name};
use crate::config::shape::Limits;
use crate::error::Fault;
use crate::server::path;

/// A decoded bulk request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bulk {
    /// How many operations may fail before the rest is left alone. `None`: all are tried.
    pub fail_on_errors: Option<usize>,
    /// In the order in which they were sent.
    pub operations: Vec<Operation>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// `method`, as the answer repeats it: in upper case.
    pub method: String,
    /// `bulkId`
    pub bulk_id: Option<String>,
    /// What it asks for, or why that cannot be done.
    pub task: Result<Task, Fault>,
}

/// What an operation asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// POST, PUT, PATCH or DELETE.
    pub method: Method,
    /// Of which kind.
    pub kind: Kind,
    /// Of which resource: an id or `bulkId:..`. Empty for a POST.
    pub id: String,
    /// `version`, the operation's If-Match.
    pub version: Option<String>,
    /// `data`; empty for a DELETE.
    pub data: Map<String, Value>,
}

/// The methods that an operation may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is HTTP's word")]
pub enum Method {
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    fn of(text: &str) -> Option<Self> {
        match text {
            "POST" => Some(Self::Post),
            "PUT" => Some(Self::Put),
            "PATCH" => Some(Self::Patch),
            "DELETE" => Some(Self::Delete),
            _ => None,
        }
    }

    /// The status of one that was done.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Post => 201,
            Self::Put | Self::Patch => 200,
            Self::Delete => 204,
        }
    }
}

impl Bulk {
    /// Reads a BulkRequest. What is wrong with one operation is that operation's own failure: the others are done all the
    /// same (3.7).
    ///
    /// # Errors
    /// 400 `invalidSyntax` for another shape, 413 for too many operations.
    pub fn read(mut body: Map<String, Value>, limits: &Limits) -> Result<Self, Fault> {
        let fail_on_errors = match take(&mut body, "failOnErrors") {
            None => None,
            // None accepted is: not after the first one.
            Some(value) => Some(
                count(&value)
                    .ok_or_else(|| syntax("failOnErrors must be a whole number."))?
                    .max(1),
            ),
        };
        let Some(Value::Array(operations)) = take(&mut body, "Operations") else {
            return Err(syntax("A Bulk needs Operations, an array."));
        };
        if operations.len() > limits.bulk_operations {
            return Err(Fault::TooManyOperations(limits.bulk_operations));
        }
        let mut operations = operations
            .into_iter()
            .map(Operation::read)
            .collect::<Result<Vec<_>, _>>()?;
        only_once(&mut operations);
        Ok(Self {
            fail_on_errors,
            operations,
        })
    }
}

impl Operation {
    fn read(operation: Value) -> Result<Self, Fault> {
        let Value::Object(mut operation) = operation else {
            return Err(syntax("Each of Operations is an object."));
        };
        let Some(Value::String(method)) = take(&mut operation, "method") else {
            return Err(syntax(
                "Each of Operations needs a method: POST, PUT, PATCH or DELETE.",
            ));
        };
        let bulk_id = match take(&mut operation, "bulkId") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err(syntax("A bulkId is a string.")),
        };
        // RFC 7644 3.7 writes it in upper case; nothing else could be meant by another.
        let method = method.trim().to_ascii_uppercase();
        let task = Task::read(&method, bulk_id.as_deref(), operation);
        Ok(Self {
            method,
            bulk_id,
            task,
        })
    }

    /// Whether others may refer to it: the `bulkId` of a resource that is made here.
    #[must_use]
    pub fn defines(&self) -> Option<&str> {
        self.bulk_id.as_deref().filter(|_| self.method == "POST")
    }
}

impl Task {
    fn read(
        method: &str,
        bulk_id: Option<&str>,
        mut operation: Map<String, Value>,
    ) -> Result<Self, Fault> {
        let Some(method) = Method::of(method) else {
            return Err(syntax("method must be POST, PUT, PATCH or DELETE."));
        };
        let Some(Value::String(path)) = take(&mut operation, "path") else {
            return Err(syntax(
                "path is missing: /Users, /Groups, or a resource below them.",
            ));
        };
        let (kind, id) = target(method, &path)?;
        if method == Method::Post && bulk_id.is_none_or(str::is_empty) {
            return Err(syntax("A POST in a Bulk needs a bulkId (RFC 7644 3.7)."));
        }
        let version = match take(&mut operation, "version") {
            Some(Value::String(version)) if !version.is_empty() && method != Method::Post => {
                Some(version)
            }
            None | Some(Value::String(_)) => None,
            Some(_) => return Err(syntax("version must be a string.")),
        };
        let data = match (method, take(&mut operation, "data")) {
            (Method::Delete, _) => Map::new(),
            (_, Some(Value::Object(data))) => data,
            _ => {
                return Err(syntax(
                    "data is missing: the body that the operation would have by itself.",
                ));
            }
        };
        Ok(Self {
            method,
            kind,
            id,
            version,
            data,
        })
    }

    /// Whether it may take or give up a name that only one resource can have, so that what comes after may depend on it. In
    /// doubt it may: any text that could be the name's attribute counts.
    #[must_use]
    pub fn may_rename(&self) -> bool {
        let attribute = match (self.method, self.kind) {
            // What one of these takes or gives up none of its like can need.
            (Method::Post | Method::Delete, _) => return false,
            (Method::Put, _) => return true,
            (Method::Patch, Kind::User) => "username",
            (Method::Patch, Kind::Group) => "displayname",
        };
        let says = |text: &str| text.to_ascii_lowercase().contains(attribute);
        let mut left: Vec<&Value> = self.data.values().collect();
        while let Some(value) = left.pop() {
            match value {
                Value::String(text) if says(text) => return true,
                Value::Object(object) if object.keys().any(|key| says(key)) => return true,
                Value::Object(object) => left.extend(object.values()),
                Value::Array(items) => left.extend(items),
                Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        // SCIM 1.1's member delta has the attributes of the group beside it.
        self.data.keys().any(|key| says(key))
    }

    /// As the write that it would be by itself.
    ///
    /// # Errors
    /// A PATCH whose body does not parse.
    pub fn write(self, limits: &Limits) -> Result<Write, Fault> {
        let verb = match self.method {
            Method::Post => Verb::Create(self.data),
            Method::Put => Verb::Replace(self.id, self.data),
            Method::Patch => {
                let body = Value::Object(self.data);
                let (count, bounds) = (limits.patch_operations, filter::Bounds::of(limits));
                let operations = patch::Operation::read(self.kind, &body, count, bounds)?;
                Verb::Patch(self.id, operations)
            }
            Method::Delete => Verb::Delete(self.id),
        };
        Ok(Write {
            if_match: self.version,
            ..write(self.kind, verb)
        })
    }
}

/// A write with nothing around it.
#[must_use]
pub fn write(kind: Kind, verb: Verb) -> Write {
    Write {
        kind,
        verb,
        if_match: None,
        if_none_match: None,
        projection: Projection::default(),
    }
}

/// What an operation's path names: relative to our root (3.7), or the whole of a `meta.location`, whatever name it knows
/// our host by.
fn target(method: Method, path: &str) -> Result<(Kind, String), Fault> {
    let path = path.trim();
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => path.trim_start_matches('/'),
    };
    let path = path.strip_prefix("scim/v2/").unwrap_or(path);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let route = Route::of(&path::segments(&format!("/{path}"))?)?;
    match (method, route) {
        (Method::Post, Route::Collection(kind)) => Ok((kind, String::new())),
        (Method::Put | Method::Patch | Method::Delete, Route::Resource(kind, id)) => Ok((kind, id)),
        (Method::Post, Route::Resource(..)) => {
            Err(Fault::MethodNotAllowed(String::from("DELETE, PATCH, PUT")))
        }
        (_, Route::Collection(_)) => Err(Fault::MethodNotAllowed(String::from("POST"))),
        _ => Err(Fault::InvalidValue(String::from(
            "path must be /Users, /Groups, or a resource below them (RFC 7644 3.7).",
        ))),
    }
}

/// A bulkId names one new resource (3.7). Where two have it nobody knows which of them a reference means, so neither is
/// made.
fn only_once(operations: &mut [Operation]) {
    let mut uses: HashMap<String, usize> = HashMap::new();
    for id in operations.iter().filter_map(Operation::defines) {
        *uses.entry(id.to_owned()).or_default() += 1;
    }
    for operation in operations {
        if operation
            .defines()
            .and_then(|id| uses.get(id))
            .is_some_and(|uses| *uses > 1)
        {
            operation.task = Err(Fault::InvalidValue(String::from(
                "bulkId is not unique: another POST of this Bulk has it too (RFC 7644 3.7).",
            )));
        }
    }
}

/// Takes the value under a key in any case out of an object; null is as good as absent.
fn take(object: &mut Map<String, Value>, key: &str) -> Option<Value> {
    let key = name::key(object, key)?.to_owned();
    object.remove(&key).filter(|value| !value.is_null())
}

fn count(value: &Value) -> Option<usize> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok()?,
        value => value.as_u64()?,
    };
    usize::try_from(number).ok()
}

fn syntax(text: &str) -> Fault {
    Fault::InvalidSyntax(text.to_owned())
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// `method`
    pub method: String,
    /// `bulkId`
    pub bulk_id: Option<String>,
    /// `location`; there is none where a POST failed.
    pub location: Option<String>,
    /// The version that it left; `None` where there is nothing any more, or nothing new.
    pub version: Option<String>,
    /// The status of success, or the failure.
    pub ended: Result<u16, Fault>,
}

/// A BulkResponse (3.7.3). An operation that was done has no `response`: who wants to see the resource has its location.
#[must_use]
pub fn response(answers: &[Answer]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        schemas: [&'static str; 1],
        #[serde(rename = "Operations")]
        operations: Vec<Shown<'a>>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Shown<'a> {
        method: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        bulk_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        location: Option<&'a str>,
        status: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        response: Option<Box<RawValue>>,
    }
    let shown = |answer: &'_ Answer| -> (u16, Option<Box<RawValue>>) {
        match &answer.ended {
            Ok(status) => (*status, None),
            Err(fault) => {
                let body = String::from_utf8(fault.body()).ok();
                (
                    fault.status(),
                    body.and_then(|body| RawValue::from_string(body).ok()),
                )
            }
        }
    };
    let operations = answers
        .iter()
        .map(|answer| {
            let (status, response) = shown(answer);
            Shown {
                method: &answer.method,
                bulk_id: answer.bulk_id.as_deref(),
                version: answer.version.as_deref(),
                location: answer.location.as_deref(),
                status: status.to_string(),
                response,
            }
        })
        .collect();
    let body = Body {
        schemas: ["urn:ietf:params:scim:api:messages:2.0:BulkResponse"],
        operations,
    };
    // Strings only: cannot fail.
    serde_json::to_vec(&body).unwrap_or_default()
}

#[cfg(test)]
mod tests;
