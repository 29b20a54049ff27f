//! What must hold for cursors (RFC 9865).

use crate::error::Fault;
use crate::scim::Kind;
use crate::scim::cursor::{Cursor, Fingerprint, POSITION};
use crate::scim::projection::Projection;
use crate::scim::request::{ListQuery, Page};

/// A cursor that we give is taken back, by its own query only; one that was changed on the way is refused, or is one that
/// we could have given.
///
/// The input: the part, which character of the text to change, into what, and then the position.
pub fn cursor(data: &[u8]) {
    let query = ListQuery {
        filter: None,
        sort: None,
        page: Page::Cursor(String::new()),
        count: 1,
        projection: Projection::default(),
    };
    let ours = Fingerprint::of("one", Some(Kind::User), &query);
    // Anything at all, as it comes.
    if let Ok(text) = std::str::from_utf8(data) {
        check(text, ours);
    }
    let [part, at, with, position @ ..] = data else {
        return;
    };
    let given = Cursor {
        part: *part,
        position: position.iter().copied().take(POSITION).collect(),
    };
    let text = given.encode(ours);
    // RFC 9865 2: unreserved characters.
    assert!(
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    );
    assert_eq!(Cursor::decode(&text, ours).as_ref(), Ok(&given));
    let others = [
        Fingerprint::of("other", Some(Kind::User), &query),
        Fingerprint::of("one", Some(Kind::Group), &query),
        Fingerprint::of("one", None, &query),
    ];
    for other in others {
        let refused = Cursor::decode(&text, other);
        assert!(
            matches!(refused, Err(Fault::InvalidCursor(_))),
            "{refused:?}"
        );
    }
    let mut changed = text.into_bytes();
    let at = usize::from(*at) % changed.len();
    if let Some(byte) = changed.get_mut(at) {
        *byte = *with;
    }
    if let Ok(text) = std::str::from_utf8(&changed) {
        check(text, ours);
    }
}

/// One cursor has one text: a decoder that takes others would take what was never given.
fn check(text: &str, query: Fingerprint) {
    match Cursor::decode(text, query) {
        Ok(cursor) => assert_eq!(cursor.encode(query), text),
        Err(fault) => assert_eq!(fault.scim_type(), Some("invalidCursor")),
    }
}
