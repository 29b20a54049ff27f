//! The caps that hold before anything is thought about, and the two shapes that leave the house: a reply and a fault.
//!
//! hyper parses; it is not an edge proxy. What it lets through (two Hosts, `..`, CONNECT, a body that drips for ever)
//! is refused here. Nothing here knows SCIM beyond where an id stands in a path.

use hyper::body::Body as _;
use hyper::header::{
    ALLOW, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LOCATION, CONTENT_TYPE, ETAG,
    EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, TRANSFER_ENCODING,
    UPGRADE, WWW_AUTHENTICATE,
};
use hyper::http::uri::Authority;
use hyper::{Request, Response, StatusCode, Version};

use super::outgoing::Outgoing;
use crate::error::Fault;
use crate::scim::route::METHODS;

pub use super::body::body;
pub use super::path::segments;

/// The longest request target, in bytes.
pub const URI: usize = 8 * 1024;
/// The largest head without its first line, in bytes: names, values and four more a line.
pub const HEADER: usize = 16 * 1024;
/// The most header lines.
pub const HEADERS: usize = 64;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Looks at a request's head.
///
/// # Errors
/// The first cap that it breaks.
pub fn head<B>(request: &Request<B>) -> Result<(), Fault> {
    let uri = request.uri();
    if uri.path_and_query().map_or(0, |path| path.as_str().len()) > URI {
        return Err(Fault::UriTooLong(URI));
    }
    let headers = request.headers();
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if bytes > HEADER {
        return Err(Fault::HeaderTooLarge(HEADER));
    }
    if headers.len() > HEADERS {
        return Err(Fault::TooManyHeaders(HEADERS));
    }
    if !METHODS.contains(&request.method().as_str()) {
        return Err(Fault::MethodNotAllowed(METHODS.join(", ")));
    }
    framing(headers)?;
    if let Some(coding) = other_than(headers, &CONTENT_ENCODING, "identity") {
        return Err(Fault::UnsupportedMediaType(format!(
            "Content-Encoding {coding:?} is not read here; send the body as it is."
        )));
    }
    // hyper takes every other one for none; RFC 9110 10.1.1 has an answer for them.
    if other_than(headers, &EXPECT, "100-continue").is_some() {
        return Err(Fault::ExpectationFailed);
    }
    host(headers, uri.authority(), request.version())?;
    // Two credentials: whichever was meant, the other one was not.
    if headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        return Err(Fault::Unauthorized);
    }
    Ok(())
}

/// hyper takes `identity, chunked` and twice `chunked`; a proxy in front may read them otherwise.
fn framing(headers: &HeaderMap) -> Result<(), Fault> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let exact = codings
        .next()
        .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !exact || codings.next().is_some() {
        return Err(Fault::InvalidSyntax(
            "Transfer-Encoding can only be chunked.".into(),
        ));
    }
    // Java's own client offers h2c on every first plain request; not taking it up is an answer (RFC 9110 7.8).
    if let Some(protocol) = other_than(headers, &UPGRADE, "h2c") {
        return Err(Fault::InvalidSyntax(format!(
            "There is no upgrade to {protocol:?} here."
        )));
    }
    Ok(())
}

/// Exactly one Host (RFC 9112 3.2), which is a host, and the one in the request line if that names one. In HTTP/2
/// `:authority` takes its place; a Host beside it says the same (RFC 9113 8.3.1).
fn host(headers: &HeaderMap, authority: Option<&Authority>, version: Version) -> Result<(), Fault> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Authority::try_from(host.as_bytes()).ok(),
        (None, None) if version == Version::HTTP_2 => authority.cloned(),
        _ => None,
    };
    let fits = host.is_some_and(|host| {
        !host.as_str().contains('@')
            && has_port_or_none(&host)
            && authority.is_none_or(|named| *named == host)
    });
    if fits {
        Ok(())
    } else {
        Err(Fault::InvalidSyntax(
            "A request needs exactly one Host, the one that it is for.".into(),
        ))
    }
}

/// What follows the host is nothing, or a port; [`Authority`] takes `h:80x`. RFC 3986 3.2.3 lets a port be empty.
fn has_port_or_none(host: &Authority) -> bool {
    let rest = host.as_str().strip_prefix(host.host());
    rest.is_some_and(|rest| matches!(rest, "" | ":")) || host.port_u16().is_some()
}

/// The first value of `name` that is not `only`.
fn other_than<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    only: &str,
) -> Option<&'a HeaderValue> {
    headers
        .get_all(name)
        .iter()
        .find(|value| !value.as_bytes().eq_ignore_ascii_case(only.as_bytes()))
}

/// A reply on its way out.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// `ETag`
    pub etag: Option<String>,
    /// `Location`, and `Content-Location`, which RFC 7643 3.1 wants to equal `meta.location`.
    pub location: Option<String>,
    /// `Allow`
    pub allow: Option<String>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The connection is of no more use: bytes of this request may still be on their way, or its framing is such that
    /// somebody on the way may see another request behind it.
    pub close: bool,
    /// The body.
    pub body: Outgoing,
}

impl Reply {
    /// A status and a body.
    #[must_use]
    pub fn new(status: u16, body: Outgoing) -> Self {
        Self {
            status,
            etag: None,
            location: None,
            allow: None,
            retry_after: None,
            close: false,
            body,
        }
    }

    /// One without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self::new(status, Outgoing::whole(""))
    }

    /// A fault as a SCIM error (RFC 7644 3.12).
    #[must_use]
    pub fn fault(fault: &Fault) -> Self {
        Self {
            retry_after: fault.retry_after(),
            // RFC 9110 15.5.6
            allow: match fault {
                Fault::MethodNotAllowed(allow) => Some(allow.clone()),
                _ => None,
            },
            close: matches!(fault.status(), 408 | 413 | 414 | 431),
            ..Self::new(fault.status(), Outgoing::whole(fault.body()))
        }
    }

    /// The response. Without a body it has no Content-Type. What cannot stand in a header is left out.
    #[must_use]
    pub fn send(self, content_type: &str, request_id: &str) -> Response<Outgoing> {
        let kind = (!self.body.is_end_stream()).then_some(content_type);
        let mut response = Response::new(self.body.of_request(request_id));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        let text = |value: &str| HeaderValue::from_str(value).ok();
        if let Some(location) = self.location.as_deref().and_then(text) {
            headers.insert(CONTENT_LOCATION, location.clone());
            headers.insert(LOCATION, location);
        }
        for (name, value) in [
            (CONTENT_TYPE, kind),
            (ETAG, self.etag.as_deref()),
            (ALLOW, self.allow.as_deref()),
            (REQUEST_ID, Some(request_id)),
        ] {
            if let Some(value) = value.and_then(text) {
                headers.insert(name, value);
            }
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        // RFC 9110 11.6.1
        if self.status == 401 {
            let scheme = HeaderValue::from_static("Bearer realm=\"usher\"");
            headers.insert(WWW_AUTHENTICATE, scheme);
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    /// The status of what `head` says; 0 if it lets the request through.
    fn check(method: &str, uri: &str, headers: &[(&str, &str)], want: u16) {
        let got = head(&request(method, uri, headers)).map_or_else(|fault| fault.status(), |()| 0);
        assert_eq!(got, want, "{method} {uri:.40} {headers:.1?}");
    }

    #[test]
    fn heads() {
        let here = ("host", "here:8080");
        for method in ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] {
            check(method, "/scim/v2/Users", &[here], 0);
        }
        for method in ["TRACE", "get", "BREW"] {
            check(method, "/", &[here], 405);
        }
        check("CONNECT", "here:8080", &[here], 405);
        for (header, want) in [
            (("transfer-encoding", "chunked"), 0),
            (("transfer-encoding", "Chunked"), 0),
            (("transfer-encoding", "identity, chunked"), 400),
            (("transfer-encoding", "chunked, chunked"), 400),
            (("transfer-encoding", "gzip"), 400),
            (("content-encoding", "identity"), 0),
            (("content-encoding", "gzip"), 415),
            (("content-encoding", "identity, gzip"), 415),
            (("upgrade", "h2c"), 0),
            (("upgrade", "websocket"), 400),
            (("expect", "100-Continue"), 0),
            (("expect", "200-ok"), 417),
            (("host", "here:8080"), 400),
            (("host", "elsewhere"), 400),
            (("authorization", "Bearer x"), 0),
        ] {
            check("POST", "/", &[here, header], want);
        }
        let twice = ("transfer-encoding", "chunked");
        check("POST", "/", &[here, twice, twice], 400);
        let two = ("authorization", "Bearer x");
        check("GET", "/", &[here, two, two], 401);
    }

    #[test]
    fn hosts() {
        for (uri, host, want) in [
            ("/", "here", 0),
            ("/", "[::1]:8080", 0),
            ("/", "here:", 0),
            ("/", "here:80x", 400),
            ("/", "here:65536", 400),
            ("/", "[::1]x", 400),
            ("/", "", 400),
            ("/", "a@here", 400),
            ("/", "a/b", 400),
            ("/", "a b", 400),
            ("http://here/", "here", 0),
            ("http://HERE/", "here", 0),
            ("http://elsewhere/", "here", 400),
        ] {
            check("GET", uri, &[("host", host)], want);
        }
        check("GET", "/", &[], 400);
    }

    #[test]
    fn hosts_in_http_2() {
        for (uri, host, want) in [
            ("https://here/", None, 0),
            ("https://here/", Some("here"), 0),
            ("https://here/", Some("elsewhere"), 400),
            ("https://a@here/", None, 400),
            ("/", Some("here"), 0),
            ("/", None, 400),
        ] {
            let headers: Vec<_> = host.map(|host| ("host", host)).into_iter().collect();
            let mut request = request("GET", uri, &headers);
            *request.version_mut() = Version::HTTP_2;
            let got = head(&request).map_or_else(|fault| fault.status(), |()| 0);
            assert_eq!(got, want, "{uri} {host:?}");
        }
    }

    #[test]
    fn head_limits_at_the_edge() {
        let here = ("host", "h");
        let uri = |length: usize| format!("/{}", "a".repeat(length - 1));
        check("GET", &uri(URI), &[here], 0);
        check("GET", &uri(URI + 1), &[here], 414);
        // `host: h` and `x: ...` are 4 + 1 + 4 and 1 + n + 4 bytes.
        let value = |length: usize| "a".repeat(length - 14);
        check("GET", "/", &[here, ("x", &value(HEADER))], 0);
        check("GET", "/", &[here, ("x", &value(HEADER + 1))], 431);
        let many = |count: usize| [vec![here], vec![("x", ""); count - 1]].concat();
        check("GET", "/", &many(HEADERS), 0);
        check("GET", "/", &many(HEADERS + 1), 431);
    }

    fn header<'a>(response: &'a Response<Outgoing>, name: &str) -> Option<&'a str> {
        let value = response.headers().get(name)?;
        Some(value.to_str().unwrap())
    }

    #[test]
    fn replies() {
        let kind = "application/scim+json";
        let whole = Reply {
            etag: Some(String::from("W/\"1\"")),
            location: Some(String::from("http://h/1")),
            retry_after: Some(7),
            ..Reply::new(201, Outgoing::whole("{}"))
        };
        let whole = whole.send(kind, "r-1");
        assert_eq!(whole.status(), 201);
        for (name, want) in [
            ("content-type", Some(kind)),
            ("etag", Some("W/\"1\"")),
            ("location", Some("http://h/1")),
            ("content-location", Some("http://h/1")),
            ("retry-after", Some("7")),
            ("x-request-id", Some("r-1")),
            ("connection", None),
            ("allow", None),
        ] {
            assert_eq!(header(&whole, name), want, "{name}");
        }
        let empty = Reply {
            location: Some(String::from("http://h/\r\nX: y")),
            ..Reply::empty(204)
        };
        let empty = empty.send(kind, "r");
        assert_eq!(empty.headers().len(), 1, "{empty:?}");
    }

    #[test]
    fn faults() {
        let (kind, close, bearer) = ("application/json", "close", "Bearer realm=\"usher\"");
        for (what, status, name, want) in [
            (Fault::TooLarge(8), 413, "connection", Some(close)),
            (Fault::BodyTimeout, 408, "connection", Some(close)),
            (Fault::UriTooLong(8), 414, "connection", Some(close)),
            (Fault::HeaderTooLarge(8), 431, "connection", Some(close)),
            (
                Fault::MethodNotAllowed("GET".into()),
                405,
                "allow",
                Some("GET"),
            ),
            (Fault::Unauthorized, 401, "www-authenticate", Some(bearer)),
            (Fault::TooManyRequests(3), 429, "retry-after", Some("3")),
            (Fault::Internal("x".into()), 500, "content-type", Some(kind)),
        ] {
            let response = Reply::fault(&what).send(kind, "r");
            assert_eq!(response.status(), status);
            assert_eq!(header(&response, name), want, "{status} {name}");
            assert_eq!(header(&response, "x-request-id"), Some("r"));
        }
    }
}
