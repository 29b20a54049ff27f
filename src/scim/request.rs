//! Method, path, query and body -> one closed enum: what a client wants.

use serde_json::{Map, Value};

use super::bulk::Bulk;
use super::condition::Conditions;
use super::dialect;
use super::discovery::Document;
use super::filter::{self, Filter};
use super::name::AttrPath;
use super::patch::Operation;
use super::projection::Projection;
use super::route::Route;
use super::{Kind, json};
use crate::config::shape::Limits;
use crate::error::Fault;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum ScimRequest {
    /// One resource.
    Read {
        /// User or Group.
        kind: Kind,
        /// The outward id.
        id: String,
        /// Which attributes to show.
        projection: Projection,
        /// `If-Match`, as sent.
        if_match: Option<String>,
        /// `If-None-Match`, as sent.
        if_none_match: Option<String>,
    },
    /// A page of resources.
    List {
        /// User or Group; `None`: both, a query at the root (RFC 7644 3.4.2.1).
        kind: Option<Kind>,
        /// Which, and how many.
        query: ListQuery,
    },
    /// A change.
    Write(Write),
    /// Many changes.
    Bulk(Bulk),
    /// What this server can do.
    Discover(Document),
    /// Which methods the endpoint takes.
    Options,
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
    /// `If-None-Match`, as sent.
    pub if_none_match: Option<String>,
    /// Which attributes the answer shows.
    pub projection: Projection,
}

impl Write {
    /// Which version it is for.
    #[must_use]
    pub fn conditions(&self) -> Conditions<'_> {
        Conditions {
            if_match: self.if_match.as_deref(),
            if_none_match: self.if_none_match.as_deref(),
        }
    }
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

/// Filter, order and page of a list (RFC 7644 3.4.2).
#[derive(Debug, Clone, PartialEq)]
pub struct ListQuery {
    /// `filter`
    pub filter: Option<Filter>,
    /// `sortBy` and `sortOrder`; without them lists run in the order of creation.
    pub sort: Option<Sort>,
    /// Where the page begins.
    pub page: Page,
    /// `count`; at most the page limit; 0 asks for the total alone.
    pub count: usize,
    /// Which attributes to show.
    pub projection: Projection,
}

/// `sortBy` and `sortOrder` (RFC 7644 3.4.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    /// By which attribute.
    pub by: AttrPath,
    /// From the last to the first.
    pub descending: bool,
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// `startIndex`, 1-based; less is 1 (RFC 7644 3.4.2.4).
    Index(u64),
    /// `cursor` (RFC 9865): empty for the first page, else as we gave it with the page before.
    Cursor(String),
}

/// The parts of an HTTP request that decoding needs.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The method as sent.
    pub method: &'a str,
    /// Where it goes.
    pub route: &'a Route,
    /// Without the question mark.
    pub query: Option<&'a str>,
    /// The whole body; empty where the route reads none.
    pub body: &'a [u8],
    /// `If-Match`
    pub if_match: Option<&'a str>,
    /// `If-None-Match`
    pub if_none_match: Option<&'a str>,
}

impl ScimRequest {
    /// Decodes.
    ///
    /// # Errors
    /// 405 for a method that the endpoint does not take, 501 for `/Me`, 400 for what does not parse.
    pub fn decode(parts: Parts<'_>, limits: &Limits) -> Result<Self, Fault> {
        let Parts {
            method,
            route,
            query,
            body,
            ..
        } = parts;
        if !route.methods().contains(&method) {
            return Err(Fault::MethodNotAllowed(route.methods().join(", ")));
        }
        let write = |kind, verb| {
            Ok(Self::Write(Write {
                kind,
                verb,
                if_match: parts.if_match.map(str::to_owned),
                if_none_match: parts.if_none_match.map(str::to_owned),
                projection: Asked::of_query(query)?.projection()?,
            }))
        };
        match (method, route) {
            // RFC 7644 3.11: a server that does not have it says so.
            (_, Route::Me) => Err(Fault::NotImplemented(String::from(
                "There is no /Me here: a client is an identity provider, not a person (RFC 7644 3.11).",
            ))),
            ("OPTIONS", _) => Ok(Self::Options),
            ("POST", Route::Search(kind)) => Ok(Self::List {
                kind: *kind,
                query: Asked::of_body(&object(body, limits)?)?.list(limits)?,
            }),
            ("POST", Route::Bulk) => Bulk::read(object(body, limits)?, limits).map(Self::Bulk),
            ("POST", Route::Collection(kind)) => write(*kind, Verb::Create(object(body, limits)?)),
            ("PUT", Route::Resource(kind, id)) => {
                write(*kind, Verb::Replace(id.clone(), object(body, limits)?))
            }
            ("PATCH", Route::Resource(kind, id)) => {
                let body = Value::Object(object(body, limits)?);
                let bounds = filter::Bounds::of(limits);
                let operations = Operation::read(*kind, &body, limits.patch_operations, bounds)?;
                write(*kind, Verb::Patch(id.clone(), operations))
            }
            ("DELETE", Route::Resource(kind, id)) => write(*kind, Verb::Delete(id.clone())),
            // GET, and HEAD, which is a GET whose body stays here (RFC 9110 9.3.2).
            (_, Route::Resource(kind, id)) => Ok(Self::Read {
                kind: *kind,
                id: id.clone(),
                projection: Asked::of_query(query)?.projection()?,
                if_match: parts.if_match.map(str::to_owned),
                if_none_match: parts.if_none_match.map(str::to_owned),
            }),
            (_, Route::Collection(kind)) => Ok(Self::List {
                kind: Some(*kind),
                query: Asked::of_query(query)?.list(limits)?,
            }),
            (_, Route::Root) => Ok(Self::List {
                kind: None,
                query: Asked::of_query(query)?.list(limits)?,
            }),
            // RFC 7644 4: a filter on these is refused; other parameters are ignored.
            (_, route) if is_filtered(query) => Err(Fault::Forbidden(format!(
                "{} cannot be filtered (RFC 7644 4).",
                match route {
                    Route::Schemas | Route::Schema(_) => "Schemas",
                    Route::ServiceProviderConfig => "ServiceProviderConfig",
                    _ => "ResourceTypes",
                }
            ))),
            (_, Route::ServiceProviderConfig) => {
                Ok(Self::Discover(Document::ServiceProviderConfig))
            }
            (_, Route::ResourceTypes) => Ok(Self::Discover(Document::ResourceTypes)),
            (_, Route::ResourceType(name)) => {
                Ok(Self::Discover(Document::ResourceType(name.clone())))
            }
            (_, Route::Schemas) => Ok(Self::Discover(Document::Schemas)),
            (_, Route::Schema(urn)) => Ok(Self::Discover(Document::Schema(urn.clone()))),
            (_, Route::Search(_) | Route::Bulk) => {
                Err(Fault::MethodNotAllowed(route.methods().join(", ")))
            }
        }
    }
}

/// Whether the query has a filter, whatever else it has.
fn is_filtered(query: Option<&str>) -> bool {
    query.unwrap_or("").split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        name.eq_ignore_ascii_case("filter")
    })
}

fn object(body: &[u8], limits: &Limits) -> Result<Map<String, Value>, Fault> {
    match json::read(body, json::Bounds::of(limits))? {
        Value::Object(map) => Ok(map),
        _ => Err(Fault::InvalidSyntax(String::from(
            "The body must be a JSON object.",
        ))),
    }
}

/// What a query string or a SearchRequest (RFC 7644 3.4.3) asks for, as it was written.
#[derive(Debug, Default)]
struct Asked {
    filter: Option<String>,
    sort_by: Option<String>,
    sort_order: Option<String>,
    start_index: Option<i64>,
    count: Option<i64>,
    cursor: Option<String>,
    attributes: Vec<String>,
    excluded: Vec<String>,
}

impl Asked {
    /// Unknown parameters are ignored (RFC 7644 3.4.2; Entra's `aadOptscim062020` may be among them, facts 31 and 35).
    /// Names fold case.
    fn of_query(query: Option<&str>) -> Result<Self, Fault> {
        let mut asked = Self::default();
        for part in dialect::query_parts(query.unwrap_or_default()) {
            let (name, value) =
                part.map_err(|_| Fault::InvalidSyntax(String::from("The query is not UTF-8.")))?;
            let number = |text: &str| match text.trim() {
                "" => Ok(None),
                text => text.parse::<i64>().map(Some).map_err(|_| whole(name)),
            };
            let list = || value.split(',').map(str::to_owned).collect();
            match name.to_ascii_lowercase().as_str() {
                "filter" => asked.filter = Some(value),
                "sortby" => asked.sort_by = Some(value),
                "sortorder" => asked.sort_order = Some(value),
                "startindex" => asked.start_index = number(&value)?,
                "count" => asked.count = number(&value)?,
                "cursor" => asked.cursor = Some(value),
                "attributes" => asked.attributes = list(),
                "excludedattributes" => asked.excluded = list(),
                _ => {}
            }
        }
        Ok(asked)
    }

    /// A SearchRequest. As tolerant as a query: names fold case, numbers may come as texts, unknown ones are ignored.
    fn of_body(body: &Map<String, Value>) -> Result<Self, Fault> {
        let mut asked = Self::default();
        for (name, value) in body {
            let wrong = |wanted: &str| Fault::InvalidValue(format!("{name} must be {wanted}."));
            let text = || match value {
                Value::Null => Ok(None),
                Value::String(text) => Ok(Some(text.clone())),
                _ => Err(wrong("a string")),
            };
            let number = || match value {
                Value::Null => Ok(None),
                Value::Number(number) => number.as_i64().map(Some).ok_or_else(|| whole(name)),
                Value::String(text) => text.trim().parse().map(Some).map_err(|_| whole(name)),
                _ => Err(whole(name)),
            };
            let list = || match value {
                Value::Null => Ok(Vec::new()),
                Value::String(text) => Ok(text.split(',').map(str::to_owned).collect()),
                Value::Array(names) => names
                    .iter()
                    .map(|name| name.as_str().map(str::to_owned))
                    .collect::<Option<_>>()
                    .ok_or_else(|| wrong("an array of strings")),
                _ => Err(wrong("an array of strings")),
            };
            match name.to_ascii_lowercase().as_str() {
                "filter" => asked.filter = text()?,
                "sortby" => asked.sort_by = text()?,
                "sortorder" => asked.sort_order = text()?,
                "startindex" => asked.start_index = number()?,
                "count" => asked.count = number()?,
                "cursor" => asked.cursor = text()?,
                "attributes" => asked.attributes = list()?,
                "excludedattributes" => asked.excluded = list()?,
                _ => {}
            }
        }
        Ok(asked)
    }

    fn projection(&self) -> Result<Projection, Fault> {
        Projection::read(
            self.attributes.iter().map(String::as_str),
            self.excluded.iter().map(String::as_str),
        )
    }

    fn list(&self, limits: &Limits) -> Result<ListQuery, Fault> {
        let given = |text: &Option<String>| {
            let text = text.as_deref().map(str::trim);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let bounds = filter::Bounds::of(limits);
        let filter = given(&self.filter)
            .map(|text| Filter::parse(&text, bounds))
            .transpose()
            .map_err(|why| Fault::InvalidFilter(format!("At byte {}: {}", why.at, why.text)))?;
        let by = given(&self.sort_by)
            .map(|by| AttrPath::parse(&by))
            .transpose()
            .map_err(|why| Fault::InvalidValue(format!("sortBy: {why}.")))?;
        let descending = match given(&self.sort_order) {
            None => false,
            Some(order) if order.eq_ignore_ascii_case("ascending") => false,
            Some(order) if order.eq_ignore_ascii_case("descending") => true,
            Some(_) => {
                return Err(Fault::InvalidValue(String::from(
                    "sortOrder must be ascending or descending.",
                )));
            }
        };
        let start = self.start_index.unwrap_or(1).max(1).unsigned_abs();
        Ok(ListQuery {
            filter,
            sort: by.map(|by| Sort { by, descending }),
            page: match &self.cursor {
                Some(cursor) => Page::Cursor(cursor.clone()),
                None => Page::Index(start),
            },
            count: self.count.map_or(limits.page, |count| {
                usize::try_from(count).unwrap_or(0).min(limits.page)
            }),
            projection: self.projection()?,
        })
    }
}

fn whole(name: &str) -> Fault {
    Fault::InvalidValue(format!("{name} must be a whole number."))
}
