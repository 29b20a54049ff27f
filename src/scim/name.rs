//! Attribute names and paths (RFC 7643 2.1, RFC 7644 3.10): `userName`, `name.givenName`,
//! `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value`.
//!
//! Names compare without regard to case. Parsing keeps the spelling that it was given and knows no schema, except that
//! the three URNs of the core are recognised when they stand alone. It never splits a URN at the dot of `2.0`.

use serde_json::{Map, Value};

/// The URN of the enterprise extension (RFC 7643 4.3).
pub const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// The URNs that may stand alone as a path and then mean the whole schema.
const KNOWN: [&str; 3] = [
    "urn:ietf:params:scim:schemas:core:2.0:User",
    "urn:ietf:params:scim:schemas:core:2.0:Group",
    ENTERPRISE,
];

/// `[urn:]attribute[.sub-attribute]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttrPath {
    /// The schema's URN as it was written, without the colon after it.
    pub urn: Option<String>,
    /// The attribute as it was written. Empty when the path is a known schema's URN alone: all of that schema.
    pub attr: String,
    /// The sub-attribute as it was written.
    pub sub: Option<String>,
}

impl AttrPath {
    /// Parses a path. The text may not contain spaces or a value filter.
    ///
    /// # Errors
    /// A sentence that names no part of the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if !is_urn(text) {
            let (attr, sub) = names(text)?;
            return Ok(Self {
                urn: None,
                attr,
                sub,
            });
        }
        for known in KNOWN {
            let Some((head, rest)) = text.split_at_checked(known.len()) else {
                continue;
            };
            if !same(head, known) {
                continue;
            }
            if rest.is_empty() {
                return Ok(Self {
                    urn: Some(text.to_owned()),
                    attr: String::new(),
                    sub: None,
                });
            }
            // Entra's old job type writes a dot where the colon belongs (fact 36).
            if let Some(rest) = rest.strip_prefix('.') {
                let (attr, sub) = names(rest)?;
                return Ok(Self {
                    urn: Some(head.to_owned()),
                    attr,
                    sub,
                });
            }
        }
        let Some((urn, rest)) = text.rsplit_once(':') else {
            return Err("a URN needs an attribute after its last colon");
        };
        if urn.len() < "urn:x".len() || urn.split(':').any(str::is_empty) {
            return Err("a URN may not have an empty part");
        }
        if !urn.bytes().all(is_urn_byte) {
            return Err("a URN may not hold this character");
        }
        let (attr, sub) = names(rest)?;
        Ok(Self {
            urn: Some(urn.to_owned()),
            attr,
            sub,
        })
    }

    /// The path without its sub-attribute.
    #[must_use]
    pub fn without_sub(&self) -> Self {
        Self {
            urn: self.urn.clone(),
            attr: self.attr.clone(),
            sub: None,
        }
    }

    /// Whether the two name the same thing, whatever their case.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        same_option(self.urn.as_deref(), other.urn.as_deref())
            && same(&self.attr, &other.attr)
            && same_option(self.sub.as_deref(), other.sub.as_deref())
    }
}

impl std::fmt::Display for AttrPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(urn) = &self.urn {
            f.write_str(urn)?;
            if self.attr.is_empty() {
                return Ok(());
            }
            f.write_str(":")?;
        }
        f.write_str(&self.attr)?;
        if let Some(sub) = &self.sub {
            write!(f, ".{sub}")?;
        }
        Ok(())
    }
}

/// Whether two attribute names or URNs are the same (RFC 7643 2.1: case-insensitive, and ASCII only).
#[must_use]
pub fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Whether the text starts as a URN does: the key of a schema extension.
#[must_use]
pub fn is_urn(text: &str) -> bool {
    text.get(..4).is_some_and(|head| same(head, "urn:"))
}

/// Whether the text is an attribute name: a letter or `$`, then letters, digits, `-`, `_`, `$`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'$')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'$'))
}

/// The key of an object that names this attribute, in the object's spelling.
#[must_use]
pub fn key<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    if let Some((key, _)) = object.get_key_value(name) {
        return Some(key);
    }
    object
        .keys()
        .find(|key| same(key, name))
        .map(String::as_str)
}

/// The value under this name, whatever the case of the key.
#[must_use]
pub fn get<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).or_else(|| {
        object
            .iter()
            .find(|(key, _)| same(key, name))
            .map(|(_, value)| value)
    })
}

fn same_option(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => same(one, other),
        _ => false,
    }
}

fn is_urn_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b':' | b'.' | b'-' | b'_' | b'+' | b'%' | b'/' | b'~')
}

fn names(text: &str) -> Result<(String, Option<String>), &'static str> {
    let (attr, sub) = match text.split_once('.') {
        Some((attr, sub)) => (attr, Some(sub)),
        None => (text, None),
    };
    if !is_name(attr) {
        return Err("an attribute name starts with a letter and holds letters, digits, - and _");
    }
    if sub.is_some_and(|sub| !is_name(sub)) {
        return Err(
            "after the dot one sub-attribute is wanted: a letter, then letters, digits, - and _",
        );
    }
    Ok((attr.to_owned(), sub.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_split_after_the_urn_and_never_at_the_dot_of_its_version() {
        let e = ENTERPRISE;
        let cases: &[(&str, Option<&str>, &str, Option<&str>)] = &[
            ("userName", None, "userName", None),
            ("name.givenName", None, "name", Some("givenName")),
            ("members.$ref", None, "members", Some("$ref")),
            (&format!("{e}:department"), Some(e), "department", None),
            (
                &format!("{e}:manager.$ref"),
                Some(e),
                "manager",
                Some("$ref"),
            ),
            (&format!("{e}.department"), Some(e), "department", None),
            (e, Some(e), "", None),
            ("urn:x:1.0:T:a-b.c", Some("urn:x:1.0:T"), "a-b", Some("c")),
        ];
        for (text, urn, attr, sub) in cases {
            let path = AttrPath::parse(text).unwrap();
            assert_eq!(path.urn.as_deref(), *urn, "{text}");
            assert_eq!(path.attr, *attr, "{text}");
            assert_eq!(path.sub.as_deref(), *sub, "{text}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a.b.c",
            "1a",
            "_a",
            "-a",
            "a b",
            "a/b",
            "urn:",
            "urn:a",
            "urn::a:b",
            "urn:ietf:params:scim:schemas:core:2.0:User:",
            "a\u{0}",
            "\u{e4}",
        ] {
            assert!(AttrPath::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_path_prints_as_it_parses(text in "(urn:[a-z]{1,3}(:[a-z0-9.]{1,4}){0,3}:)?[a-zA-Z$][a-z_0-9-]{0,4}(\\.[a-z$]{1,4})?") {
            let path = AttrPath::parse(&text).unwrap();
            prop_assert_eq!(path.to_string(), text.clone());
            prop_assert!(path.same(&AttrPath::parse(&text.to_uppercase()).unwrap()));
        }
    }
}
