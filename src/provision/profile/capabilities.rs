//! What an application can do, as it says itself (RFC 7643 section 5) and as its answers showed. Pure.

use serde_json::Value;

/// What is known of one application. Nothing known: it is tried, by the letter of RFC 7644.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// `patch.supported`.
    pub patch: Option<bool>,
    /// `filter.supported`. Servers say no and mean that they take a few: it is tried all the same, and only a miss is not
    /// believed.
    pub filter: Option<bool>,
    /// A PATCH of attributes was refused as something that is not there, whatever `patch.supported` says.
    pub puts_attributes: bool,
    /// The same for a PATCH of `active`.
    pub puts_active: bool,
}

/// What the answer to `GET /ServiceProviderConfig` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// This.
    Known(Capabilities),
    /// There is none, or none that can be read: that does not change by asking again soon.
    Silent,
    /// An outage or a lack of rights: nothing is known.
    Unclear,
}

impl Capabilities {
    /// Reads an answer.
    #[must_use]
    pub fn read(status: u16, body: &[u8]) -> Told {
        match status {
            200..=299 => {}
            401 | 403 | 408 | 425 | 429 | 500 | 502..=599 => return Told::Unclear,
            _ => return Told::Silent,
        }
        let Ok(Value::Object(said)) = serde_json::from_slice(body) else {
            return Told::Silent;
        };
        let supported = |feature: &str| {
            let value = said.get(feature)?.get("supported")?;
            match value {
                Value::Bool(value) => Some(*value),
                Value::String(value) if value.eq_ignore_ascii_case("true") => Some(true),
                Value::String(value) if value.eq_ignore_ascii_case("false") => Some(false),
                _ => None,
            }
        };
        let capabilities = Self {
            patch: supported("patch"),
            filter: supported("filter"),
            ..Self::default()
        };
        if capabilities == Self::default() {
            return Told::Silent;
        }
        Told::Known(capabilities)
    }

    /// Whether attributes of an account are written by reading it and putting it back, changed.
    #[must_use]
    pub fn rewrites_attributes(self) -> bool {
        self.puts_attributes || self.patch == Some(false)
    }

    /// The same for `active`.
    #[must_use]
    pub fn rewrites_active(self) -> bool {
        self.puts_active || self.patch == Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_and_what_is_not() {
        let read = |status, body: &str| Capabilities::read(status, body.as_bytes());
        let said = r#"{"patch":{"supported":false},"filter":{"supported":"True","maxResults":5},"bulk":{}}"#;
        let known = Capabilities {
            patch: Some(false),
            filter: Some(true),
            ..Capabilities::default()
        };
        assert_eq!(read(200, said), Told::Known(known));
        assert!(known.rewrites_attributes() && known.rewrites_active());
        for (status, body) in [
            (200, ""),
            (200, "<html>"),
            (200, "[]"),
            (200, r#"{"patch":true}"#),
            (302, ""),
            (404, "{}"),
            (405, ""),
            (501, ""),
        ] {
            assert_eq!(read(status, body), Told::Silent, "{status} {body}");
        }
        for status in [401, 403, 429, 500, 503] {
            assert_eq!(read(status, said), Told::Unclear, "{status}");
        }
        let nothing = Capabilities::default();
        assert!(!nothing.rewrites_attributes() && !nothing.rewrites_active());
    }
}
