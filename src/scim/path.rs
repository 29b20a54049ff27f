//! The path of a PATCH operation (RFC 7644 3.5.2): `members`, `name.familyName`, `emails[type eq "work"].value`,
//! `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager`.

use std::fmt;

use super::filter::{self, Bounds, Filter, FilterError};
use super::name::{self, AttrPath};

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// The attribute; its `sub` is always `None`.
    pub attr: AttrPath,
    /// Which of its values.
    pub filter: Option<Filter>,
    /// Which sub-attribute of it, or of those values.
    pub sub: Option<String>,
}

impl Path {
    /// Parses a path. Values in the filter must be quoted.
    ///
    /// # Errors
    /// Says where and why.
    pub fn parse(text: &str, bounds: Bounds) -> Result<Self, FilterError> {
        let error = |at: usize, text: String| FilterError { at, text };
        if text.len() > bounds.length {
            return Err(error(
                bounds.length,
                format!("longer than {} bytes", bounds.length),
            ));
        }
        let wrong = |why: &str| {
            error(
                0,
                format!("the path does not start with an attribute: {why}"),
            )
        };
        let Some((attr, _)) = text.split_once('[') else {
            let mut attr = AttrPath::parse(text).map_err(wrong)?;
            let sub = attr.sub.take();
            return Ok(Self {
                attr,
                filter: None,
                sub,
            });
        };
        let open = attr.len() + 1;
        let attr = AttrPath::parse(attr).map_err(wrong)?;
        if attr.sub.is_some() || attr.attr.is_empty() {
            return Err(error(
                open,
                "[ ] follows an attribute, not a sub-attribute".into(),
            ));
        }
        let (filter, close) = filter::parse_brackets(text, open, bounds)?;
        let sub = match text.get(close..).unwrap_or_default() {
            "" => None,
            rest => match rest.strip_prefix('.') {
                Some(sub) if name::is_name(sub) => Some(sub.to_owned()),
                _ => {
                    return Err(error(
                        close,
                        "after ] the path ends, or goes on with a dot and one sub-attribute".into(),
                    ));
                }
            },
        };
        Ok(Self {
            attr,
            filter: Some(filter),
            sub,
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.attr.fmt(f)?;
        if let Some(filter) = &self.filter {
            write!(f, "[{filter}]")?;
        }
        match &self.sub {
            Some(sub) => write!(f, ".{sub}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../tests/data/vectors/paths.json")).unwrap()
    }

    fn check_prints_back(text: &str) -> Option<Path> {
        let path = Path::parse(text, Bounds::default()).ok()?;
        let printed = path.to_string();
        let wide = Bounds {
            length: 1 << 16,
            ..Bounds::default()
        };
        assert_eq!(
            Path::parse(&printed, wide),
            Ok(path.clone()),
            "{text:?} {printed:?}"
        );
        Some(path)
    }

    #[test]
    fn the_vectors_parse() {
        for case in vectors()["valid"].as_array().unwrap() {
            let text = case["path"].as_str().unwrap();
            let path = check_prints_back(text).unwrap_or_else(|| panic!("{text}"));
            let attr = case["attr"].as_str().unwrap_or("");
            assert!(name::same(&path.attr.attr, attr), "{text}");
            assert_eq!(path.sub.as_deref(), case["sub"].as_str(), "{text}");
            assert_eq!(path.filter.is_some(), text.contains('['), "{text}");
            assert_eq!(path.attr.urn.is_some(), text.starts_with("urn:"), "{text}");
        }
    }

    #[test]
    fn the_wrong_vectors_do_not() {
        let data = vectors();
        let cases = data["invalid"].as_array().unwrap();
        assert!(cases.len() > 15);
        for case in cases {
            let text = case["path"].as_str().unwrap();
            assert!(Path::parse(text, Bounds::default()).is_err(), "{text}");
        }
    }

    #[test]
    fn long_and_deep_paths_are_refused() {
        for text in [
            "a".repeat(4097),
            format!("a[{}b pr{}]", "(".repeat(17), ")".repeat(17)),
        ] {
            assert!(Path::parse(&text, Bounds::default()).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_path_prints_as_it_parses(text in "(urn:a:b:)?[a-c]{1,2}(\\[(not )?\\(?[a-c] (pr|eq \"[ab\\]\\\\.]{0,3}\"|Ne 1)\\)?( and b pr)?\\])?(\\.[a-c])?") {
            check_prints_back(&text);
        }
    }
}
