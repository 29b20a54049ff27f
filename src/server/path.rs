//! The one normaliser of paths. Every spelling that it does not know is no path at all, so that nothing behind it can
//! read one path in two ways. Pure.

use percent_encoding::percent_decode_str;

use crate::error::Fault;

/// The most segments of a path.
const SEGMENTS: usize = 16;

/// A path's segments. Structural ones are `[A-Za-z0-9.]+` as they stand; the one after a collection is an id, decoded
/// once. One slash at the end is tolerated.
///
/// # Errors
/// [`Fault::NotFound`] for every other spelling: dots that climb, empty segments, slashes and control characters in
/// an id, bad escapes.
pub fn segments(path: &str) -> Result<Vec<String>, Fault> {
    parse(path).ok_or_else(|| Fault::NotFound("There is no such endpoint.".into()))
}

/// What is followed by an id (RFC 7644 3.2).
const COLLECTIONS: [&str; 4] = ["Users", "Groups", "Schemas", "ResourceTypes"];

fn parse(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/')?;
    if path.is_empty() {
        return Some(Vec::new());
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut segments: Vec<String> = Vec::new();
    for raw in path.split('/') {
        let after = segments.last().map(String::as_str);
        let collection = |last: &str| {
            COLLECTIONS
                .iter()
                .any(|name| last.eq_ignore_ascii_case(name))
        };
        let segment = if after.is_some_and(collection) {
            id(raw)?
        } else {
            structural(raw)?
        };
        if segments.len() == SEGMENTS {
            return None;
        }
        segments.push(segment);
    }
    Some(segments)
}

fn structural(raw: &str) -> Option<String> {
    let plain = raw.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    (plain && !raw.bytes().all(|b| b == b'.')).then(|| raw.to_owned())
}

fn id(raw: &str) -> Option<String> {
    let escapes = raw.split('%').skip(1).all(|rest| {
        rest.as_bytes()
            .get(..2)
            .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    });
    if !escapes {
        return None;
    }
    let id = percent_decode_str(raw).decode_utf8().ok()?;
    let plain = !id.contains(|c: char| c == '/' || c.is_control());
    (plain && !matches!(&*id, "" | "." | "..")).then(|| id.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let table: &[(&str, Option<&[&str]>)] = &[
            ("/", Some(&[])),
            ("/scim/v2/Users", Some(&["scim", "v2", "Users"])),
            ("/scim/v2/Users/", Some(&["scim", "v2", "Users"])),
            (
                "/scim/v2/Users/k%26Kd",
                Some(&["scim", "v2", "Users", "k&Kd"]),
            ),
            (
                "/scim/v2/Users/a-b_c/",
                Some(&["scim", "v2", "Users", "a-b_c"]),
            ),
            (
                "/scim/v2/users/a-b_c",
                Some(&["scim", "v2", "users", "a-b_c"]),
            ),
            (
                "/scim/v2/Groups/%C3%A9",
                Some(&["scim", "v2", "Groups", "\u{e9}"]),
            ),
            (
                "/scim/v2/Users/%2541",
                Some(&["scim", "v2", "Users", "%41"]),
            ),
            (
                "/scim/v2/Users/.search",
                Some(&["scim", "v2", "Users", ".search"]),
            ),
            (
                "/scim/v2/Schemas/urn:a:b:2.0:User",
                Some(&["scim", "v2", "Schemas", "urn:a:b:2.0:User"]),
            ),
            (
                "/scim/v2/ResourceTypes/User",
                Some(&["scim", "v2", "ResourceTypes", "User"]),
            ),
            ("/scim/v2/.search", Some(&["scim", "v2", ".search"])),
            ("", None),
            ("*", None),
            ("//", None),
            ("/scim/v2//Users", None),
            ("/scim/v2/Users//", None),
            ("//scim/v2/Users", None),
            ("/scim/../admin", None),
            ("/scim/./v2/Users", None),
            ("/scim/v2/%55sers", None),
            ("/scim/v2/Us%65rs", None),
            ("/scim/v2;x/Users", None),
            ("/scim/v2/Users;x", None),
            ("/scim\\v2/Users", None),
            ("/scim/v2/Us ers", None),
            ("/scim/v2/Us\u{e9}rs", None),
            ("/scim/v2/Users/.", None),
            ("/scim/v2/Users/..", None),
            ("/scim/v2/Users/%2e%2E", None),
            ("/scim/v2/Users/..%2fGroups", None),
            ("/scim/v2/Users/a%2Fb", None),
            ("/scim/v2/Users/a%00", None),
            ("/scim/v2/Users/a%7f", None),
            ("/scim/v2/Users/a%0Ab", None),
            ("/scim/v2/Users/%C2%85", None),
            ("/scim/v2/Users/%", None),
            ("/scim/v2/Users/%4", None),
            ("/scim/v2/Users/%zz", None),
            ("/scim/v2/Users/%FF", None),
            ("/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a", None),
        ];
        for (path, want) in table {
            match (segments(path), want) {
                (Ok(got), Some(want)) => assert_eq!(got, *want, "{path}"),
                (Err(Fault::NotFound(_)), None) => {}
                (got, _) => panic!("{path}: {got:?}"),
            }
        }
    }

    proptest::proptest! {
        /// Any id that may be one comes out of its own encoding; nothing that comes out climbs or hides.
        #[test]
        fn ids_survive_encoding(id in "[^/]{1,20}", path in "[/%.a-zA-Z0-9~-]{0,40}") {
            let encoded = percent_encoding::utf8_percent_encode(&id, percent_encoding::NON_ALPHANUMERIC);
            if !id.contains(char::is_control) && id != "." && id != ".." {
                let got = segments(&format!("/scim/v2/Users/{encoded}"));
                proptest::prop_assert_eq!(got.unwrap().pop(), Some(id));
            }
            for segment in segments(&path).unwrap_or_default() {
                proptest::prop_assert!(!segment.contains('/') && segment != ".." && segment != ".");
            }
        }
    }
}
