//! What must hold for a whole request, from its first line to what a client wants.

use std::path::Path;
use std::sync::OnceLock;

use hyper::Request;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, HOST, HeaderMap, HeaderName, HeaderValue, IF_MATCH,
    IF_NONE_MATCH, TRANSFER_ENCODING,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::WIDE;
use crate::auth::Authority;
use crate::config::Config;
use crate::config::shape::Limits;
use crate::error::Fault;
use crate::scim::filter::Filter;
use crate::scim::path::Path as AttributePath;
use crate::scim::projection::Projection;
use crate::scim::request::{ListQuery, Page, Parts, ScimRequest, Verb};
use crate::scim::route::{METHODS, Route};
use crate::scim::{Kind, name};
use crate::server::media;
use crate::server::service::{self, segments};

/// A request: `METHOD /path?query` in the first line, then a line for each header, then the body.
///
/// A head that is let through keeps the caps, and only who bears the one token there is gets known. Decoding gives the same twice; what it gives keeps the limits, is a write only where a client that may only read is
/// stopped, and prints as a request that means the same; what it refuses, it refuses with a status and a scimType that
/// RFC 7644 3.12 has.
pub fn request(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (head, rest) = data.split_at(end.unwrap_or(data.len()));
    let (headers, body) = fields(rest.get(1..).unwrap_or_default());
    let Ok(head) = std::str::from_utf8(head) else {
        return;
    };
    let (method, target) = head.split_once(' ').unwrap_or((head, "/"));
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    self::head(method, target, &headers);
    let route = match segments(path).and_then(|segments| Route::of(&segments)) {
        Ok(route) => route,
        Err(fault) => return refused(&fault, &[404]),
    };
    let condition = |name| {
        let value = headers.get(name);
        value.map(|value: &HeaderValue| value.to_str().unwrap_or_default())
    };
    let conditions = (condition(IF_MATCH), condition(IF_NONE_MATCH));
    let decode = |method, query| decode(&route, method, query, body, conditions);
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
            let carried = (write.if_match.as_deref(), write.if_none_match.as_deref());
            assert_eq!(carried, conditions);
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
        ScimRequest::Read {
            if_match,
            if_none_match,
            ..
        } => assert_eq!((if_match.as_deref(), if_none_match.as_deref()), conditions),
        ScimRequest::Discover(_) | ScimRequest::Options => {}
    }
}

/// The lines `Name: value` that something begins with, and what follows them or the empty line behind them.
pub(crate) fn fields(data: &[u8]) -> (HeaderMap, &[u8]) {
    let (mut headers, mut rest) = (HeaderMap::new(), data);
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
        let after = after.get(1..).unwrap_or_default();
        if line.is_empty() {
            return (headers, after);
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or_default());
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        // No JSON begins with a name and a colon.
        let Ok(name) = HeaderName::from_bytes(name) else {
            return (headers, rest);
        };
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return (headers, rest);
        };
        headers.append(name, value);
        rest = after;
    }
}

/// The caps on a head, and who it is from.
fn head(method: &str, target: &str, headers: &HeaderMap) {
    let request = Request::builder().method(method).uri(target).body(());
    let Ok(mut request) = request else {
        return;
    };
    *request.headers_mut() = headers.clone();
    let all = |name: HeaderName| headers.get_all(name).iter();
    match service::head(&request) {
        Ok(()) => {
            let bytes =
                |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
            assert!(headers.iter().map(bytes).sum::<usize>() <= service::HEADER);
            assert!(headers.len() <= service::HEADERS && target.len() <= service::URI + 64);
            assert!(METHODS.contains(&method));
            assert_eq!(all(HOST).count(), 1);
            assert!(all(AUTHORIZATION).count() <= 1 && all(TRANSFER_ENCODING).count() <= 1);
            assert!(all(TRANSFER_ENCODING).all(|coding| coding.len() == "chunked".len()));
            assert!(all(CONTENT_ENCODING).all(|coding| coding.len() == "identity".len()));
        }
        Err(fault) => refused(&fault, &[400, 401, 405, 414, 415, 417, 431]),
    }
    if let Err(fault) = media::is_json(headers) {
        refused(&fault, &[415]);
    }
    let shown = headers.get(AUTHORIZATION);
    let known = shown.is_some_and(|value| {
        let scheme = value.as_bytes().get(..7).unwrap_or_default();
        let rest = value.as_bytes().get(7..).unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"Bearer ") && rest.trim_ascii() == b"fuzz"
    });
    match authority().identify(shown, None) {
        Ok(client) => assert!(known && client.name() == "a"),
        Err(fault) => {
            assert!(!known);
            refused(&fault, &[401]);
        }
    }
}

/// One client, who bears `fuzz`.
fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let hash = crate::auth::hash(b"fuzz");
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Authority::new(&config("", &hash).clients)
    })
}

/// Small ones, so that short inputs go over them.
pub(super) fn limits() -> &'static Limits {
    static LIMITS: OnceLock<Limits> = OnceLock::new();
    LIMITS.get_or_init(|| {
        let limits = "[server.limits]\npatch_operations = 3\nbulk_operations = 3\npage = 7\njson_depth = 8\nfilter_length = 256\n";
        config(limits, &"0123456789abcdef".repeat(4)).limits
    })
}

/// A configuration with one client.
fn config(tables: &str, hash: &str) -> Config {
    let text = format!("{tables}[[client]]\nname = \"a\"\ntoken_sha256 = [\"{hash}\"]\n");
    match crate::config::parse(&text, Path::new("usher.toml"), &|_| None) {
        Ok(config) => config,
        Err(problems) => panic!("{problems:?}"),
    }
}

fn decode(
    route: &Route,
    method: &str,
    query: Option<&str>,
    body: &[u8],
    (if_match, if_none_match): (Option<&str>, Option<&str>),
) -> Result<ScimRequest, Fault> {
    let parts = Parts {
        method,
        route,
        query,
        body,
        if_match,
        if_none_match,
    };
    ScimRequest::decode(parts, limits())
}

/// RFC 7644 3.12: a status, a scimType wherever it is 400, and a text for the person who reads it.
pub(crate) fn refused(fault: &Fault, statuses: &[u16]) {
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
        decode(
            &collection,
            "GET",
            Some(&pairs.join("&")),
            b"",
            (None, None)
        ),
        wanted
    );
    assert_eq!(
        decode(
            &Route::Search(kind),
            "POST",
            None,
            body.as_bytes(),
            (None, None)
        ),
        wanted
    );
}
