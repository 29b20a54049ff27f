//! Which media types are taken and given. Pure.
//!
//! Tolerant on both sides: a console that shows nothing but "406" helps nobody, so that an answer is always given; and
//! what is JSON by its name is read as JSON.

use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName};

use crate::error::Fault;

/// The media type of SCIM (RFC 7644 8.1).
pub const SCIM_JSON: &str = "application/scim+json";
/// Plain JSON, for clients that want it.
pub const JSON: &str = "application/json";

/// Whether a client takes plain JSON and nothing else that we would give (RFC 7644 3.1). Without that, it gets the type
/// that is configured for it, whatever it accepts.
#[must_use]
pub fn wants_plain_json(headers: &HeaderMap) -> bool {
    let mut plain = false;
    for range in values(headers, &ACCEPT).flat_map(|value| value.split(',')) {
        let (range, parameters) = range.split_once(';').unwrap_or((range, ""));
        let refused = parameters.split(';').any(|parameter| {
            let parameter = parameter.trim().to_ascii_lowercase();
            let weight = parameter.strip_prefix("q=");
            weight.is_some_and(|weight| weight.trim().parse::<f32>().is_ok_and(|q| q <= 0.0))
        });
        let is = |name: &str| range.trim().eq_ignore_ascii_case(name);
        if refused {
            continue;
        }
        if ["*/*", "application/*", SCIM_JSON].into_iter().any(is) {
            return false;
        }
        plain |= is(JSON);
    }
    plain
}

/// Whether a body is JSON by its Content-Type: the two types of RFC 7644 3.1, whatever ends in `+json`, and what is not
/// named at all.
///
/// # Errors
/// 415 naming what is taken.
pub fn is_json(headers: &HeaderMap) -> Result<(), Fault> {
    let json = |value: &str| {
        let kind = value.split(';').next().unwrap_or_default().trim();
        let kind = kind.to_ascii_lowercase();
        kind.is_empty() || kind == JSON || kind == "text/json" || kind.ends_with("+json")
    };
    if headers.get_all(CONTENT_TYPE).iter().count() == values(headers, &CONTENT_TYPE).count()
        && values(headers, &CONTENT_TYPE).all(json)
    {
        return Ok(());
    }
    Err(Fault::UnsupportedMediaType(format!(
        "A body here is JSON: Content-Type {SCIM_JSON} or {JSON}."
    )))
}

/// The values of a header that are text.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn accepted_types() {
        for (values, plain) in [
            (&[][..], false),
            (&[""], false),
            (&["*/*"], false),
            (&["application/*"], false),
            (&["application/scim+json"], false),
            (&["application/json, application/scim+json"], false),
            (&["application/json", "Application/SCIM+JSON"], false),
            (&["application/json, */*;q=0.1"], false),
            (&["application/json"], true),
            (&["APPLICATION/JSON; charset=utf-8"], true),
            (&["text/html, application/json;q=0.5"], true),
            (&["application/json, */*;q=0"], true),
            (&["application/json, application/scim+json; Q=0.000"], true),
            (&["application/json;q=0"], false),
            (&["text/html"], false),
        ] {
            assert_eq!(
                wants_plain_json(&headers(ACCEPT, values)),
                plain,
                "{values:?}"
            );
        }
    }

    #[test]
    fn bodies() {
        for (values, taken) in [
            (&[][..], true),
            (&[""], true),
            (&["application/scim+json"], true),
            (&["Application/SCIM+json;charset=UTF-8"], true),
            (&["application/json"], true),
            (&["application/vnd.x+json; v=1"], true),
            (&["text/json"], true),
            (&["text/xml"], false),
            (&["application/x-www-form-urlencoded"], false),
            (&["application/jsonp"], false),
            (&["application/json", "text/xml"], false),
            (&["\u{e4}"], false),
        ] {
            assert_eq!(
                is_json(&headers(CONTENT_TYPE, values)).is_ok(),
                taken,
                "{values:?}"
            );
        }
    }
}
