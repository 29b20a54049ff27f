//! The core User attributes (RFC 7643 4.1) as far as rules need them: their spelling, what fits into them, their parts.

/// What fits into a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    Text,
    /// A boolean.
    Flag,
    /// An object with these parts.
    Complex(&'static [&'static str]),
    /// A list of objects with these parts.
    Many(&'static [&'static str]),
    /// An extension's attribute: anything.
    Any,
}

const NAME: &[&str] = &[
    "formatted",
    "familyName",
    "givenName",
    "middleName",
    "honorificPrefix",
    "honorificSuffix",
];
const ENTRY: &[&str] = &["value", "display", "type", "primary"];
const ADDRESS: &[&str] = &[
    "formatted",
    "streetAddress",
    "locality",
    "region",
    "postalCode",
    "country",
    "type",
    "primary",
];

/// The core User attributes that can be written (RFC 7643 4.1).
const CORE: [(&str, Shape); 20] = [
    ("userName", Shape::Text),
    ("externalId", Shape::Text),
    ("name", Shape::Complex(NAME)),
    ("displayName", Shape::Text),
    ("nickName", Shape::Text),
    ("profileUrl", Shape::Text),
    ("title", Shape::Text),
    ("userType", Shape::Text),
    ("preferredLanguage", Shape::Text),
    ("locale", Shape::Text),
    ("timezone", Shape::Text),
    ("active", Shape::Flag),
    ("emails", Shape::Many(ENTRY)),
    ("phoneNumbers", Shape::Many(ENTRY)),
    ("ims", Shape::Many(ENTRY)),
    ("photos", Shape::Many(ENTRY)),
    ("addresses", Shape::Many(ADDRESS)),
    ("entitlements", Shape::Many(ENTRY)),
    ("roles", Shape::Many(ENTRY)),
    ("x509Certificates", Shape::Many(ENTRY)),
];

/// What the application or we alone decide, or what must not travel.
pub(super) const CLOSED: [&str; 6] = ["id", "meta", "schemas", "groups", "members", "password"];

/// A core attribute in the schema's spelling; the name is folded.
pub(super) fn core(name: &str) -> Option<(&'static str, Shape)> {
    CORE.iter()
        .copied()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
}

/// Why a path of names finds nothing in any directory user, if that is certain: JSONPath knows case, SCIM does not.
pub(super) fn misread(names: &[&str]) -> Option<String> {
    let first = names.first()?;
    if CLOSED.contains(first) {
        return Some(format!(
            "`{first}` is not among the attributes that a rule reads"
        ));
    }
    let (name, shape) = core(first)?;
    if name != *first {
        return Some(format!(
            "the directory spells it `{name}`, not `{first}`, and a JSONPath minds the case"
        ));
    }
    let (Shape::Complex(parts) | Shape::Many(parts)) = shape else {
        return None;
    };
    let second = names.get(1)?;
    let part = parts
        .iter()
        .find(|part| part.eq_ignore_ascii_case(second))?;
    (part != second).then(|| {
        format!("the directory spells it `{part}`, not `{second}`, and a JSONPath minds the case")
    })
}

/// Every core attribute's name.
pub(super) fn names() -> Vec<&'static str> {
    CORE.iter().map(|(name, _)| *name).collect()
}
