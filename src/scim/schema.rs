//! The core schemas (RFC 7643 4 and 8.7.1) as one static table: User, Group and the enterprise extension; and those of the
//! discovery documents (8.7.2).
//!
//! The table drives spelling, types, comparison and what a client may write, and is what `/Schemas` serves.
//! [`normalise`](normalise::normalise) brings a client's body to it.

mod normalise;
mod table;

use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization as _;

use super::Kind;
use super::dialect;
use super::name::{self, AttrPath, ENTERPRISE};

pub(crate) use normalise::{VALUES, coerce, is_password, required, single, too_many};
pub use normalise::{check_required, normalise};

/// A data type (RFC 7643 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the RFC's type of that name")]
pub enum Type {
    String,
    Boolean,
    Integer,
    Decimal,
    DateTime,
    Reference,
    Complex,
    Binary,
}

impl Type {
    /// The name that `/Schemas` gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::DateTime => "dateTime",
            Self::Reference => "reference",
            Self::Complex => "complex",
            Self::Binary => "binary",
        }
    }
}

/// Who may write it (RFC 7643 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the RFC's word")]
pub enum Mutability {
    ReadOnly,
    ReadWrite,
    Immutable,
    WriteOnly,
}

impl Mutability {
    /// The name that `/Schemas` gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "readOnly",
            Self::ReadWrite => "readWrite",
            Self::Immutable => "immutable",
            Self::WriteOnly => "writeOnly",
        }
    }
}

/// When a reply holds it (RFC 7643 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the RFC's word")]
pub enum Returned {
    Always,
    Never,
    Default,
    Request,
}

impl Returned {
    /// The name that `/Schemas` gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Never => "never",
            Self::Default => "default",
            Self::Request => "request",
        }
    }
}

/// How unique its values are (RFC 7643 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the RFC's word")]
pub enum Uniqueness {
    None,
    Server,
    Global,
}

impl Uniqueness {
    /// The name that `/Schemas` gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Server => "server",
            Self::Global => "global",
        }
    }
}

/// One attribute or sub-attribute (RFC 7643 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute {
    /// The schema's spelling.
    pub name: &'static str,
    /// What it says, for people.
    pub description: &'static str,
    /// Its data type.
    pub kind: Type,
    /// An array of values.
    pub multi: bool,
    /// A resource cannot be without it.
    pub required: bool,
    /// Values differ by case.
    pub case_exact: bool,
    /// Who may write it.
    pub mutability: Mutability,
    /// When a reply holds it.
    pub returned: Returned,
    /// How unique its values are.
    pub uniqueness: Uniqueness,
    /// Suggested values; others are taken too.
    pub canonical: &'static [&'static str],
    /// What a reference may refer to.
    pub references: &'static [&'static str],
    /// The sub-attributes of a complex one.
    pub subs: &'static [Self],
}

impl Attribute {
    /// The sub-attribute of this name in any case.
    #[must_use]
    pub fn sub(&self, name: &str) -> Option<&'static Self> {
        self.subs.iter().find(|sub| name::same(sub.name, name))
    }
}

/// One schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// Its id.
    pub urn: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it describes, for people.
    pub description: &'static str,
    /// Its attributes, without those that every resource has.
    pub attributes: &'static [Attribute],
}

impl Schema {
    /// The attribute of this name in any case.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        self.attributes
            .iter()
            .find(|attribute| name::same(attribute.name, name))
    }
}

pub use table::{
    COMMON, ENTERPRISE_USER, GROUP, RESOURCE_TYPE, SCHEMA, SERVICE_PROVIDER_CONFIG, USER,
};

/// The schemas of a resource type, the core schema first.
#[must_use]
pub fn schemas(kind: Kind) -> &'static [&'static Schema] {
    static OF_USER: [&Schema; 2] = [&USER, &ENTERPRISE_USER];
    static OF_GROUP: [&Schema; 1] = [&GROUP];
    match kind {
        Kind::User => &OF_USER,
        Kind::Group => &OF_GROUP,
    }
}

/// The attribute or sub-attribute that a path names. Without a URN, of the core schema or common to all resources.
#[must_use]
pub fn find(kind: Kind, path: &AttrPath) -> Option<&'static Attribute> {
    let attribute = match &path.urn {
        Some(urn) if kind == Kind::User && dialect::is_enterprise(urn) => {
            ENTERPRISE_USER.attribute(&path.attr)?
        }
        Some(urn) if !name::same(urn, kind.schema()) => return None,
        _ => core(kind, &path.attr)?,
    };
    match &path.sub {
        None => Some(attribute),
        Some(sub) => attribute.sub(sub),
    }
}

/// For comparing where `caseExact` is false, and for uniqueness: NFC, then lower case.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // Lower-casing can decompose, so it is composed again afterwards.
    text.nfc()
        .collect::<String>()
        .to_lowercase()
        .nfc()
        .collect()
}

/// Whether two texts fold to the same.
pub(crate) fn same_folded(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() {
        return one.eq_ignore_ascii_case(other);
    }
    fold(one) == fold(other)
}

/// An attribute of the core schema, or one that every resource has.
pub(crate) fn core(kind: Kind, name: &str) -> Option<&'static Attribute> {
    schemas(kind)
        .first()
        .and_then(|schema| schema.attribute(name))
        .or_else(|| COMMON.iter().find(|common| name::same(common.name, name)))
}

/// Where in a resource's attributes a path leads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    /// The key of the extension's object, or `None` for the top level.
    pub(crate) extension: Option<String>,
    /// The key in that object: the schema's spelling, else the one found there, else the one given. Empty: all of it.
    pub(crate) key: String,
    /// What the schema says of it.
    pub(crate) attribute: Option<&'static Attribute>,
}

/// Finds where `path` (its sub-attribute does not matter here) leads in `attributes`.
///
/// A bare name that only the enterprise extension knows means that one, unless the top level holds such a key: Entra
/// asks for `manager eq "..."` and writes to the path `manager`.
pub(crate) fn place(kind: Kind, attributes: &Map<String, Value>, path: &AttrPath) -> Place {
    let enterprise = |attribute: Option<&'static Attribute>, inner: &str| Place {
        extension: Some(ENTERPRISE.to_owned()),
        key: spelling(
            attributes.get(ENTERPRISE).and_then(Value::as_object),
            attribute,
            inner,
        ),
        attribute,
    };
    match &path.urn {
        Some(urn) if kind == Kind::User && dialect::is_enterprise(urn) => {
            enterprise(ENTERPRISE_USER.attribute(&path.attr), &path.attr)
        }
        Some(urn) if !name::same(urn, kind.schema()) => {
            let extension = name::key(attributes, urn).unwrap_or(urn);
            Place {
                extension: Some(extension.to_owned()),
                key: spelling(
                    attributes.get(extension).and_then(Value::as_object),
                    None,
                    &path.attr,
                ),
                attribute: None,
            }
        }
        _ => {
            let attribute = core(kind, &path.attr);
            if attribute.is_none() && kind == Kind::User && path.urn.is_none() {
                let foreign = ENTERPRISE_USER.attribute(&path.attr);
                if foreign.is_some() && name::key(attributes, &path.attr).is_none() {
                    return enterprise(foreign, &path.attr);
                }
            }
            Place {
                extension: None,
                key: spelling(Some(attributes), attribute, &path.attr),
                attribute,
            }
        }
    }
}

/// How an attribute is spelled: by the schema, else as the object has it, else as given.
fn spelling(
    object: Option<&Map<String, Value>>,
    attribute: Option<&Attribute>,
    given: &str,
) -> String {
    match attribute {
        Some(attribute) => attribute.name.to_owned(),
        None => object
            .and_then(|object| name::key(object, given))
            .unwrap_or(given)
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_by_any_spelling() {
        let cases = [
            (Kind::User, "USERNAME", Some("userName")),
            (Kind::User, "name.GIVENname", Some("givenName")),
            (Kind::User, "emails.$REF", None),
            (
                Kind::User,
                "urn:IETF:params:scim:schemas:core:2.0:user:emails.Primary",
                Some("primary"),
            ),
            (
                Kind::User,
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.$ref",
                Some("$ref"),
            ),
            (Kind::User, "department", None),
            (Kind::User, "meta.lastmodified", Some("lastModified")),
            (Kind::User, "members", None),
            (Kind::Group, "members.Value", Some("value")),
            (
                Kind::Group,
                "urn:ietf:params:scim:schemas:core:2.0:User:userName",
                None,
            ),
            (
                Kind::Group,
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
                None,
            ),
            (Kind::User, "urn:x:1.0:T:userName", None),
        ];
        for (kind, text, wanted) in cases {
            let found = find(kind, &AttrPath::parse(text).unwrap());
            assert_eq!(found.map(|attribute| attribute.name), wanted, "{text}");
        }
    }

    #[test]
    fn the_table_is_sound() {
        fn sound(attributes: &[Attribute], top: bool) {
            for (at, attribute) in attributes.iter().enumerate() {
                assert!(name::is_name(attribute.name));
                assert!(attribute.description.ends_with('.'), "{}", attribute.name);
                // RFC 7643 2.3.6 and 2.3.7; the URNs in `schemas` are the same in any case.
                assert!(
                    attribute.case_exact
                        || attribute.name == "schemas"
                        || !matches!(attribute.kind, Type::Reference | Type::Binary),
                    "{}",
                    attribute.name
                );
                assert_eq!(
                    attribute.kind == Type::Complex,
                    !attribute.subs.is_empty(),
                    "{}",
                    attribute.name
                );
                assert_eq!(
                    attribute.kind == Type::Reference,
                    !attribute.references.is_empty(),
                    "{}",
                    attribute.name
                );
                assert!(
                    top || attribute.kind != Type::Complex || attribute.name == "subAttributes",
                    "RFC 7643 2.3.8"
                );
                assert!(
                    attributes[..at]
                        .iter()
                        .all(|other| !name::same(other.name, attribute.name))
                );
                sound(attribute.subs, false);
            }
        }
        for attributes in [
            USER.attributes,
            GROUP.attributes,
            ENTERPRISE_USER.attributes,
            SERVICE_PROVIDER_CONFIG.attributes,
            RESOURCE_TYPE.attributes,
            SCHEMA.attributes,
            COMMON,
        ] {
            sound(attributes, true);
        }
        // RFC 7643 4.1, 4.2, 4.3
        assert_eq!(
            (
                USER.attributes.len(),
                GROUP.attributes.len(),
                ENTERPRISE_USER.attributes.len()
            ),
            (21, 2, 6)
        );
    }

    #[test]
    fn folds_by_nfc_and_lower_case() {
        assert_eq!(fold("BJensen@Example.COM"), "bjensen@example.com");
        assert_eq!(fold("JU\u{308}RGEN"), fold("j\u{fc}rgen"));
        assert_ne!(fold("a"), fold("b"));
    }
}
