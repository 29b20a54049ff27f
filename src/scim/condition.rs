//! Versions as clients see them, and requests that depend on one (RFC 7644 3.14, RFC 9110 13).

use std::fmt;

use crate::error::Fault;

/// A resource's version: `meta.version` and the ETag, `W/"7"` or `W/"7-1a2b3c4d"`. Weak, because two replies may differ
/// in spacing.
///
/// The row counts what is written to it. A user's `groups` and what is left of a group's `members` after one of them was
/// deleted change without that, so what is derived from edges has a part of its own. A write changes the row alone: its
/// conditions compare only the row's part, and nobody is refused because somebody was put into a group meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The row's version.
    pub version: u64,
    /// A fingerprint of what is derived from edges; 0 where there is nothing.
    pub derived: u64,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "W/\"{}\"", self.opaque())
    }
}

/// A [`Tag`] without its dressing.
#[derive(Debug, Clone, Copy)]
pub struct Opaque(Tag);

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.derived {
            0 => write!(f, "{}", self.0.version),
            derived => write!(f, "{}-{derived:x}", self.0.version),
        }
    }
}

impl Tag {
    /// What stands between the quotes. It needs no escaping in JSON, which its quotes do.
    #[must_use]
    pub fn opaque(self) -> Opaque {
        Opaque(self)
    }

    /// Reads a tag. `W/` may be missing (weak comparison, RFC 9110 8.8.3.2), and the quotes too.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("W/").unwrap_or(text);
        let text = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(text);
        let number = |text: &str, radix| {
            let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
            plain.then(|| u64::from_str_radix(text, radix).ok())?
        };
        let (version, derived) = match text.split_once('-') {
            Some((version, derived)) => (version, number(derived, 16)?),
            None => (text, 0),
        };
        Some(Self {
            version: number(version, 10)?,
            derived,
        })
    }
}

/// `If-Match` and `If-None-Match`, as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conditions<'a> {
    /// `If-Match`
    pub if_match: Option<&'a str>,
    /// `If-None-Match`
    pub if_none_match: Option<&'a str>,
}

/// What the conditions of a read come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// The client has not got this version: 200.
    New,
    /// It has: 304.
    Known,
}

impl Conditions<'_> {
    /// Whether there are any.
    #[must_use]
    pub fn any(&self) -> bool {
        self.if_match.is_some() || self.if_none_match.is_some()
    }

    /// Whether a read is answered with the resource that has this tag.
    ///
    /// # Errors
    /// 412: `If-Match` names another version.
    pub fn read(&self, tag: Tag) -> Result<Fresh, Fault> {
        if self.refused(|named| named == tag) {
            return Err(Fault::PreconditionFailed);
        }
        let known = |named: &str| lists(named, |named| named == tag);
        Ok(if self.if_none_match.is_some_and(known) {
            Fresh::Known
        } else {
            Fresh::New
        })
    }

    /// Lets a change of what is there, at this version of its row, through.
    ///
    /// # Errors
    /// 412: `If-Match` names another version, or `If-None-Match` this one.
    pub fn write(&self, version: u64) -> Result<(), Fault> {
        let same = |named: Tag| named.version == version;
        let unwanted = |named: &str| lists(named, same);
        if self.refused(same) || self.if_none_match.is_some_and(unwanted) {
            return Err(Fault::PreconditionFailed);
        }
        Ok(())
    }

    fn refused(&self, same: impl Fn(Tag) -> bool + Copy) -> bool {
        self.if_match.is_some_and(|wanted| !lists(wanted, same))
    }
}

/// Whether a list of tags has one that is the same, or is `*`. Our tags hold no comma.
fn lists(tags: &str, same: impl Fn(Tag) -> bool + Copy) -> bool {
    tags.split(',')
        .any(|tag| tag.trim() == "*" || Tag::parse(tag).is_some_and(same))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Ok(true)`: 200, `Ok(false)`: 304, `Err`: 412; and whether a write goes through.
    #[test]
    fn what_conditions_come_to() {
        let now = Tag {
            version: 7,
            derived: 0x1a2b,
        };
        let (yes, known, no) = (Some(Fresh::New), Some(Fresh::Known), None);
        for (if_match, if_none_match, read, write) in [
            (None, None, yes, true),
            (Some("W/\"7-1a2b\""), None, yes, true),
            (Some("\"7-1a2b\""), None, yes, true),
            (Some("7-1a2b"), None, yes, true),
            (Some("*"), None, yes, true),
            (Some("W/\"3\", W/\"7-1a2b\""), None, yes, true),
            // Another membership is another representation, but the same row.
            (Some("W/\"7\""), None, no, true),
            (Some("W/\"7-ff\""), None, no, true),
            (Some("W/\"6-1a2b\""), None, no, false),
            (Some(""), None, no, false),
            (Some("W/\"x\""), None, no, false),
            (Some("W/\"+7-1a2b\""), None, no, false),
            (Some("W/\"7-1a2b"), None, no, false),
            (None, Some("W/\"7-1a2b\""), known, false),
            (None, Some("\"7-1a2b\""), known, false),
            (None, Some("W/\"1\",W/\"7-1a2b\" , W/\"9\""), known, false),
            (None, Some("*"), known, false),
            (None, Some("W/\"7\""), yes, false),
            (None, Some("W/\"6-1a2b\""), yes, true),
            (None, Some(""), yes, true),
            // If-Match is looked at first (RFC 9110 13.2.2).
            (Some("W/\"6\""), Some("*"), no, false),
            (Some("*"), Some("W/\"7-1a2b\""), known, false),
        ] {
            let conditions = Conditions {
                if_match,
                if_none_match,
            };
            let context = format!("{conditions:?}");
            assert_eq!(conditions.read(now).ok(), read, "{context}");
            assert_eq!(conditions.write(7).is_ok(), write, "{context}");
        }
    }

    #[test]
    fn a_tag_reads_as_it_prints() {
        for (version, derived, text) in [(7, 0, "W/\"7\""), (7, 0x1a2b_3c4d, "W/\"7-1a2b3c4d\"")] {
            let tag = Tag { version, derived };
            assert_eq!(tag.to_string(), text);
            assert_eq!(Tag::parse(text), Some(tag));
        }
    }
}
