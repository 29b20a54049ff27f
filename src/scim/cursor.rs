//! Cursors (RFC 9865): where a page of a list ended, as text.
//!
//! Nothing is kept for a cursor between two pages, so it never expires and costs nothing. It holds a place in the list's
//! order and not a number of resources: whoever is there the whole time is on one page, whoever comes and goes. It is
//! opaque, not secret: it holds what its client has just been shown, and any bytes in its stead do no more than begin
//! the page elsewhere. A fingerprint tells a cursor of another query, which is a mistake that the client wants to hear of.

use sha2::{Digest as _, Sha256};

use super::Kind;
use super::request::ListQuery;
use crate::error::Fault;

/// Bytes of a position: a cursor has to fit into a request line.
pub const POSITION: usize = 1_024;

const HEAD: usize = 10;
/// Changes with what a position means, so that a cursor from before an update is refused and not misread.
const VERSION: u8 = 1;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What makes two queries the same list: who asks, of what, filtered and sorted how. Not the page's size and what is shown
/// of each resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 8]);

impl Fingerprint {
    /// Of one client's query.
    #[must_use]
    pub fn of(client: &str, kind: Option<Kind>, query: &ListQuery) -> Self {
        let mut digest = Sha256::new();
        let mut part = |text: &str| {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        };
        part(client);
        part(kind.map_or("", Kind::name));
        part(
            &query
                .filter
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
        );
        if let Some(sort) = &query.sort {
            part(&sort.by.to_string().to_ascii_lowercase());
            part(if sort.descending { "down" } else { "up" });
        }
        let digest: [u8; 32] = digest.finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Self([a, b, c, d, e, f, g, h])
    }
}

/// A place in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// In which of the list's parts: a list may run through several indexes, one after the other.
    pub part: u8,
    /// Behind which position there, at most [`POSITION`] bytes. What they mean is the part's affair.
    pub position: Vec<u8>,
}

impl Cursor {
    /// As text of unreserved characters only (RFC 9865 2, RFC 3986 2.3).
    #[must_use]
    pub fn encode(&self, query: Fingerprint) -> String {
        let mut bytes = Vec::with_capacity(HEAD + self.position.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&query.0);
        bytes.push(self.part);
        bytes.extend_from_slice(&self.position);
        base64(&bytes)
    }

    /// Reads a cursor that a client sent.
    ///
    /// # Errors
    /// 400 `invalidCursor`: it is none of ours, or of another query.
    pub fn decode(text: &str, query: Fingerprint) -> Result<Self, Fault> {
        let read = || {
            let bytes = unbase64(text)?;
            let (&[VERSION, a, b, c, d, e, f, g, h, part], position) =
                bytes.split_first_chunk::<HEAD>()?
            else {
                return None;
            };
            (position.len() <= POSITION).then(|| {
                let cursor = Self {
                    part,
                    position: position.to_vec(),
                };
                (Fingerprint([a, b, c, d, e, f, g, h]), cursor)
            })
        };
        match read() {
            Some((of, cursor)) if of == query => Ok(cursor),
            Some(_) => Err(Fault::InvalidCursor(String::from(
                "This cursor belongs to another query: filter, sortBy, sortOrder, the endpoint and the client have to stay what they were on the first page (RFC 9865 2).",
            ))),
            None => Err(unknown()),
        }
    }
}

/// A cursor that was not given here.
pub(crate) fn unknown() -> Fault {
    Fault::InvalidCursor(String::from(
        "This cursor is none that was given here. An empty cursor asks for the first page, nextCursor of that page for the next.",
    ))
}

/// Base64 for URLs without padding (RFC 4648 5).
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = 0_u32;
        for at in 0..3 {
            group = group << 8 | u32::from(chunk.get(at).copied().unwrap_or(0));
        }
        for at in 0..=chunk.len() {
            let digit = group >> (18 - 6 * at) & 0x3f;
            let digit = ALPHABET.get(digit as usize).copied().unwrap_or(b'A');
            text.push(char::from(digit));
        }
    }
    text
}

/// ... and back; only what [`base64`] gives, and no more than a cursor may hold.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    if text.len() > (HEAD + POSITION).div_ceil(3) * 4 || text.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        let mut group = 0_u32;
        for at in 0..4 {
            let digit = match chunk.get(at) {
                Some(byte) => ALPHABET.iter().position(|one| one == byte)?,
                None => 0,
            };
            group = group << 6 | u32::try_from(digit).ok()?;
        }
        let [_, whole @ ..] = group.to_be_bytes();
        let (kept, rest) = whole.split_at_checked(chunk.len() - 1)?;
        if rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(kept);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scim::filter::{Bounds, Filter};
    use crate::scim::name::AttrPath;
    use crate::scim::projection::Projection;
    use crate::scim::request::{Page, Sort};

    fn query(filter: &str, by: Option<(&str, bool)>) -> ListQuery {
        ListQuery {
            filter: (!filter.is_empty()).then(|| Filter::parse(filter, Bounds::default()).unwrap()),
            sort: by.map(|(by, descending)| Sort {
                by: AttrPath::parse(by).unwrap(),
                descending,
            }),
            page: Page::Index(1),
            count: 10,
            projection: Projection::default(),
        }
    }

    #[test]
    fn a_cursor_is_good_for_its_own_query_only() {
        let all = [
            ("okta", None, query("", None)),
            ("okta", Some(Kind::User), query("", None)),
            ("okta", Some(Kind::Group), query("", None)),
            ("entra", Some(Kind::User), query("", None)),
            ("okta", Some(Kind::User), query("title pr", None)),
            ("okta", Some(Kind::User), query("title eq \"x\"", None)),
            (
                "okta",
                Some(Kind::User),
                query("title pr", Some(("title", false))),
            ),
            (
                "okta",
                Some(Kind::User),
                query("title pr", Some(("title", true))),
            ),
            (
                "okta",
                Some(Kind::User),
                query("title pr", Some(("userName", true))),
            ),
        ]
        .map(|(client, kind, query)| Fingerprint::of(client, kind, &query));
        let cursor = Cursor {
            part: 3,
            position: vec![7; 9],
        };
        for (at, one) in all.iter().enumerate() {
            let text = cursor.encode(*one);
            for (other, query) in all.iter().enumerate() {
                match Cursor::decode(&text, *query) {
                    Ok(read) => assert_eq!((at, &read), (other, &cursor)),
                    Err(Fault::InvalidCursor(why)) => {
                        assert_ne!(at, other);
                        assert!(why.contains("another query"), "{why}");
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
        // How it was written does not matter.
        let one = Fingerprint::of("okta", None, &query("title pr", Some(("TITLE", true))));
        let two = Fingerprint::of("okta", None, &query("(title PR)", Some(("title", true))));
        assert_eq!(one, two);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let query = Fingerprint([1; 8]);
        let longest = Cursor {
            part: 0,
            position: vec![0xff; POSITION],
        };
        let text = longest.encode(query);
        assert_eq!(Cursor::decode(&text, query), Ok(longest));
        for wrong in [
            String::from("A"),
            String::from("AQ=="),
            String::from("hello world"),
            String::from("\u{e4}\u{e4}"),
            "A".repeat(20),
            format!("{text}AAAA"),
            "A".repeat(1 << 20),
        ] {
            assert_eq!(Cursor::decode(&wrong, query), Err(unknown()), "{wrong:.40}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back(part: u8, position in proptest::collection::vec(any::<u8>(), 0..40), query: [u8; 8]) {
            let cursor = Cursor { part, position };
            let text = cursor.encode(Fingerprint(query));
            prop_assert!(text.bytes().all(|byte| ALPHABET.contains(&byte)));
            prop_assert_eq!(Cursor::decode(&text, Fingerprint(query)), Ok(cursor));
        }

        #[test]
        fn any_text_is_harmless(text in ".{0,60}") {
            let read = Cursor::decode(&text, Fingerprint([0; 8]));
            if let Ok(cursor) = read {
                prop_assert_eq!(cursor.encode(Fingerprint([0; 8])), text);
            }
        }
    }
}
