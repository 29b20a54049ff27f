//! The body of the fuzz target over `from`: a path out of a configuration file, and a user.

use serde_json::{Map, Value, json};

use super::rule::{Row, Rule};
use super::walk::{Path, Subject, library};

/// Reads a path up to the first line feed and, behind it, a user as JSON (a plain one if it is not). Compiling must not
/// panic, and a direct walk must give what jsonpath-rust gives.
///
/// # Panics
/// When it does not: that is the finding.
pub fn jsonpath(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (from, user) = text.split_once('\n').unwrap_or((text, ""));
    let user = match serde_json::from_str(user) {
        Ok(Value::Object(user)) => user,
        _ => plain(),
    };
    let row = Row {
        to: String::from("title"),
        from: Some(from.to_owned()),
        ..Row::default()
    };
    let compiled = Rule::compile(row);
    let Ok(path) = Path::parse(from) else {
        assert!(compiled.is_err(), "compiled a path that does not parse");
        return;
    };
    let mut given = Vec::new();
    path.each(&Subject::new(&user), |value| {
        given.push(value.clone());
        true
    });
    assert_eq!(given, library(from, &user), "{from}");
}

fn plain() -> Map<String, Value> {
    let user = json!({
        "userName": "ada@example.com",
        "name": {"givenName": "Ada", "familyName": "King"},
        "emails": [{"type": "home", "value": "a@home.example"}, {"type": "work", "value": "ada@example.com", "primary": true}],
        "active": true,
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "R&D"}
    });
    match user {
        Value::Object(user) => user,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seeds() {
        for seed in [
            "$.emails[?@.type=='work'].value",
            "$.emails[?@.type=='work'].value\n{\"emails\":{\"a\":{\"type\":\"work\",\"value\":[]}}}",
            "$..*",
            "$[?length(@.a)>1]\n[]",
            "$.emails[::-1]",
            "$['\\u0041']",
            "",
            "$",
        ] {
            jsonpath(seed.as_bytes());
        }
        jsonpath(&[0xff, 0xfe]);
        // As deep as it may be: the parser tries each level several times over.
        jsonpath(format!("$[?{}", "length(".repeat(8)).as_bytes());
        jsonpath(format!("$[?{}@.a", "(".repeat(8)).as_bytes());
        jsonpath(format!("${}", "[?@".repeat(32)).as_bytes());
        jsonpath(format!("${}@.a{}", "[?@".repeat(32), "]".repeat(32)).as_bytes());
    }

    proptest! {
        #[test]
        fn whatever_comes(text in ".{0,60}") {
            jsonpath(text.as_bytes());
        }

        #[test]
        fn what_looks_like_a_path(pieces in proptest::collection::vec(
            "\\$|@|\\.|\\.\\.|\\[|\\]|\\?|\\(|\\)|'|\"|type|emails|value|'work'|==|!=|<|&&|\\|\\||!|\\*|:|-1|0|9007199254740991|length|search|true|null|\\\\u00e9| ",
            0..14,
        )) {
            jsonpath(format!("${}", pieces.concat()).as_bytes());
        }
    }
}
