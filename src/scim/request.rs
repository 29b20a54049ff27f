//! Method, path, query and body -> one closed enum: what a client wants.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::filter::{self, Filter};
use super::patch::Operation;
use super::{Kind, json};
use crate::config::shape::Limits;
use crate::error::Fault;

/// A read or a write that a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum ScimRequest {
    /// One resource.
    Read {
        /// User or Group.
        kind: Kind,
        /// The outward id.
        id: String,
        /// `excludedAttributes` names `members`: Entra always asks so, and a group may have 100,000.
        without_members: bool,
    },
    /// A page of resources.
    List {
        /// User or Group.
        kind: Kind,
        /// Which, and how many.
        query: ListQuery,
    },
    /// A change.
    Write(Write),
}

/// A change that a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// User or Group.
    pub kind: Kind,
    /// What.
    pub verb: Verb,
    /// `If-Match`, as sent.
    pub if_match: Option<String>,
}

/// What a change does.
#[derive(Debug, Clone, PartialEq)]
pub enum Verb {
    /// POST (RFC 7644 3.3).
    Create(Map<String, Value>),
    /// PUT (3.5.1).
    Replace(String, Map<String, Value>),
    /// PATCH (3.5.2).
    Patch(String, Vec<Operation>),
    /// DELETE (3.6).
    Delete(String),
}

impl Verb {
    /// The id that it is about; none yet for a create.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Create(_) => None,
            Self::Replace(id, _) | Self::Patch(id, _) | Self::Delete(id) => Some(id),
        }
    }
}

/// Filter and page of a list (RFC 7644 3.4.2).
#[derive(Debug, Clone, PartialEq)]
pub struct ListQuery {
    /// `filter`
    pub filter: Option<Filter>,
    /// `startIndex`, 1-based; less is 1 (3.4.2.4).
    pub start_index: u64,
    /// `count`; at most the page limit; 0 asks for the total alone.
    pub count: usize,
    /// `excludedAttributes` names `members`.
    pub without_members: bool,
}

/// The parts of an HTTP request that decoding needs. The path is cut into segments below `/scim/v2` already.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The method as sent.
    pub method: &'a str,
    /// `["Users"]`, `["Users", "<id>"]`.
    pub segments: &'a [String],
    /// Without the question mark.
    pub query: Option<&'a str>,
    /// The whole body.
    pub body: &'a [u8],
    /// `If-Match`.
    pub if_match: Option<&'a str>,
}

impl ScimRequest {
    /// Whether it changes anything: known before the body is read.
    #[must_use]
    pub fn writes(method: &str) -> bool {
        method != "GET"
    }

    /// Decodes.
    ///
    /// # Errors
    /// 404 for an endpoint that is not there, 405 for a method that it does not take, 400 for what does not parse.
    pub fn decode(parts: Parts<'_>, limits: &Limits) -> Result<Self, Fault> {
        let (kind, id) = match parts.segments {
            [endpoint] => (endpoint_kind(endpoint)?, None),
            [endpoint, id] => (endpoint_kind(endpoint)?, Some(id.clone())),
            _ => return Err(no_endpoint()),
        };
        let write = |verb| {
            Ok(Self::Write(Write {
                kind,
                verb,
                if_match: parts.if_match.map(str::to_owned),
            }))
        };
        match (parts.method, id) {
            ("GET", Some(id)) => {
                let query = Query::read(parts.query, limits)?;
                Ok(Self::Read {
                    kind,
                    id,
                    without_members: query.without_members,
                })
            }
            ("GET", None) => {
                let query = Query::read(parts.query, limits)?;
                let query = ListQuery {
                    filter: query.filter,
                    start_index: query.start_index.unwrap_or(1).max(1).unsigned_abs(),
                    count: query.count.map_or(limits.page, |count| {
                        usize::try_from(count).unwrap_or(0).min(limits.page)
                    }),
                    without_members: query.without_members,
                };
                Ok(Self::List { kind, query })
            }
            ("POST", None) => write(Verb::Create(object(parts.body, limits)?)),
            ("PUT", Some(id)) => write(Verb::Replace(id, object(parts.body, limits)?)),
            ("PATCH", Some(id)) => {
                let body = Value::Object(object(parts.body, limits)?);
                write(Verb::Patch(
                    id,
                    Operation::read(kind, &body, limits.patch_operations)?,
                ))
            }
            ("DELETE", Some(id)) => write(Verb::Delete(id)),
            _ => Err(Fault::MethodNotAllowed),
        }
    }
}

/// Endpoints are matched as RFC 7644 3.2 spells them; one client of Zoom's writes `/users`, so case is folded.
fn endpoint_kind(segment: &str) -> Result<Kind, Fault> {
    [Kind::User, Kind::Group]
        .into_iter()
        .find(|kind| kind.endpoint().eq_ignore_ascii_case(segment))
        .ok_or_else(no_endpoint)
}

fn no_endpoint() -> Fault {
    Fault::NotFound(String::from(
        "There is no such endpoint. SCIM is served under /scim/v2: /Users and /Groups.",
    ))
}

fn object(body: &[u8], limits: &Limits) -> Result<Map<String, Value>, Fault> {
    match json::read(
        body,
        json::Bounds {
            depth: limits.json_depth,
        },
    )? {
        Value::Object(map) => Ok(map),
        _ => Err(Fault::InvalidSyntax(String::from(
            "The body must be a JSON object.",
        ))),
    }
}

#[derive(Debug, Default)]
struct Query {
    filter: Option<Filter>,
    start_index: Option<i64>,
    count: Option<i64>,
    without_members: bool,
}

impl Query {
    /// Unknown parameters are ignored (RFC 7644 3.4.2; Entra's `aadOptscim062020` may be among them). Names fold case.
    fn read(query: Option<&str>, limits: &Limits) -> Result<Self, Fault> {
        let mut read = Self::default();
        for pair in query.unwrap_or("").split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace('+', " ");
            let Ok(value) = percent_decode_str(&value).decode_utf8() else {
                return Err(Fault::InvalidSyntax(String::from(
                    "The query is not UTF-8.",
                )));
            };
            let number = |text: &str| {
                let wanted = format!("{name} must be a whole number.");
                text.trim()
                    .parse::<i64>()
                    .map(Some)
                    .map_err(|_| Fault::InvalidValue(wanted))
            };
            match name.to_ascii_lowercase().as_str() {
                "filter" if !value.trim().is_empty() => {
                    let bounds = filter::Bounds {
                        length: limits.filter_length,
                        depth: limits.filter_depth,
                    };
                    let parsed = Filter::parse(&value, bounds);
                    read.filter = Some(parsed.map_err(|why| {
                        Fault::InvalidFilter(format!("At byte {}: {}", why.at, why.text))
                    })?);
                }
                "startindex" if !value.is_empty() => read.start_index = number(&value)?,
                "count" if !value.is_empty() => read.count = number(&value)?,
                "excludedattributes" => {
                    read.without_members = value
                        .split(',')
                        .any(|attribute| attribute.trim().eq_ignore_ascii_case("members"));
                }
                _ => {}
            }
        }
        Ok(read)
    }
}
