//! What must hold for a whole request, from its first line to what a client wants.

use std::path::Path;
use std::sync::OnceLock;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::WIDE;
use crate::config::shape::Limits;
use crate::error::Fault;
use crate::scim::filter::Filter;
use crate::scim::path::Path as AttributePath;
use crate::scim::projection::Projection;
use crate::scim::request::{ListQuery, Page, Parts, ScimRequest, Verb};
use crate::scim::route::{METHODS, Route};
use crate::scim::{Kind, name};
use crate::server::service::segments;

/// A request: `METHOD /path?query` in the first line, then the body.
///
/// Decoding gives the same twice; what it gives keeps the limits, is a write only where a client that may only read is
/// stopped, and prints as a request that means the same; what it refuses, it refuses with a status and a scimType that
/// RFC 7644 3.12 has.
pub fn request(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (head, body) = data.split_at(end.unwrap_or(data.len()));
    let body = body.get(1..).unwrap_or_default();
    let Ok(head) = std::str::from_utf8(head) else {
        return;
    };
    let (method, target) = head.split_once(' ').unwrap_or((head, "/"));
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let route = match segments(path).and_then(|segments| Route::of(&segments)) {
        Ok(route) => route,
        Err(fault) => return refused(&fault, &[404]),
    };
    let decode = |method, query| decode(&route, method, query, body);
    let decoded = decode(method, query);
    assert_eq!(decoded, decode(method, query));
    // RFC 9110 9.3.2: a HEAD is a GET. It reads no body and neither does a GET.
    if method == "HEAD" {
        assert_eq!(decoded, decode("GET", query));
    }
    // RFC 7644 3.4.2: what is not known of a query is ignored.
    let more = format!("{}&an.unknown=one", query.unwrap_or_default());
    assert_eq!(decoded, decode(method, Some(&more)));
    let wanted = match decoded {
        Ok(wanted) => wanted,
        Err(fault) => {
            let taken = route.methods().contains(&method);
            assert_eq!(fault.status() == 405, !taken, "{fault}");
            return refused(&fault, &[400, 403, 405, 413, 501]);
        }
    };
    assert!(METHODS.contains(&method) && route.methods().contains(&method));
    let writes = matches!(wanted, ScimRequest::Write(_) | ScimRequest::Bulk(_));
    assert_eq!(writes, route.writes(method));
    match wanted {
        ScimRequest::List { kind, query } => list(kind, query),
        ScimRequest::Write(write) => {
            assert_eq!(
                write.verb.id().is_none(),
                matches!(write.verb, Verb::Create(_))
            );
            if let Verb::Patch(_, operations) = write.verb {
                // Without Operations it is the member delta of SCIM 1.1, one operation a member.
                let given: Value = serde_json::from_slice(body).unwrap_or_default();
                let given = given.as_object();
                if given.is_some_and(|given| name::key(given, "Operations").is_some()) {
                    assert!(operations.len() <= limits().patch_operations);
                }
                for path in operations.into_iter().filter_map(|one| one.path) {
                    assert_eq!(
                        AttributePath::parse(&path.to_string(), WIDE).as_ref(),
                        Ok(&path)
                    );
                }
            }
        }
        ScimRequest::Bulk(bulk) => {
            assert!(bulk.operations.len() <= limits().bulk_operations);
        }
        ScimRequest::Read { .. } | ScimRequest::Discover(_) | ScimRequest::Options => {}
    }
}

/// Small ones, so that short inputs go over them.
pub(super) fn limits() -> &'static Limits {
    static LIMITS: OnceLock<Limits> = OnceLock::new();
    LIMITS.get_or_init(|| {
        let text = format!(
            "[server.limits]\npatch_operations = 3\nbulk_operations = 3\npage = 7\njson_depth = 8\nfilter_length = 256\n\
             [[client]]\nname = \"a\"\ntoken_sha256 = [\"{}\"]\n",
            "0123456789abcdef".repeat(4)
        );
        match crate::config::parse(&text, Path::new("usher.toml"), &|_| None) {
            Ok(config) => config.limits,
            Err(problems) => panic!("{problems:?}"),
        }
    })
}

fn decode(
    route: &Route,
    method: &str,
    query: Option<&str>,
    body: &[u8],
) -> Result<ScimRequest, Fault> {
    let parts = Parts {
        method,
        route,
        query,
        body,
        if_match: None,
        if_none_match: None,
    };
    ScimRequest::decode(parts, limits())
}

/// RFC 7644 3.12: a status, a scimType wherever it is 400, and a text for the person who reads it.
pub(super) fn refused(fault: &Fault, statuses: &[u16]) {
    assert!(statuses.contains(&fault.status()), "{fault:?}");
    assert_eq!(
        fault.scim_type().is_some(),
        fault.status() == 400,
        "{fault:?}"
    );
    let body: Value = match serde_json::from_slice(&fault.body()) {
        Ok(body) => body,
        Err(error) => panic!("{error}: {fault:?}"),
    };
    assert_eq!(body["status"], json!(fault.status().to_string()));
    assert!(body["detail"].as_str().is_some_and(|text| !text.is_empty()));
    if let Fault::MethodNotAllowed(allow) = fault {
        assert!(!allow.is_empty());
    }
}

/// A list keeps the limits, and what it asks for means the same when it is printed: as a query string, and as a
/// SearchRequest (RFC 7644 3.4.3).
fn list(kind: Option<Kind>, query: ListQuery) {
    assert!(query.count <= limits().page);
    assert!(!matches!(query.page, Page::Index(0)));
    let mut fields = vec![("count", query.count.to_string())];
    match &query.page {
        Page::Index(start) => fields.push(("startIndex", start.to_string())),
        Page::Cursor(cursor) => fields.push(("cursor", cursor.clone())),
    }
    if let Some(filter) = &query.filter {
        let text = filter.to_string();
        assert_eq!(Filter::parse(&text, WIDE).as_ref(), Ok(filter));
        // Printed it may be too long to be sent again.
        if text.len() > limits().filter_length {
            return;
        }
        fields.push(("filter", text));
    }
    if let Some(sort) = &query.sort {
        let order = if sort.descending {
            "descending"
        } else {
            "ascending"
        };
        fields.push(("sortBy", sort.by.to_string()));
        fields.push(("sortOrder", order.to_owned()));
    }
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, text)| format!("{name}={}", utf8_percent_encode(text, NON_ALPHANUMERIC)))
        .collect();
    let fields = fields
        .into_iter()
        .map(|(name, text)| (name.to_owned(), Value::from(text)));
    let body = Value::Object(fields.collect()).to_string();
    let collection = kind.map_or(Route::Root, Route::Collection);
    let wanted = Ok(ScimRequest::List {
        kind,
        query: ListQuery {
            projection: Projection::default(),
            ..query
        },
    });
    assert_eq!(
        decode(&collection, "GET", Some(&pairs.join("&")), b""),
        wanted
    );
    assert_eq!(
        decode(&Route::Search(kind), "POST", None, body.as_bytes()),
        wanted
    );
}
