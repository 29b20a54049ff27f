//! Bytes in, and what must come out. `{..}` is filled in by the test: `{post}` is a POST's first line with all that it
//! needs except its framing, `{auth}` Host and token, `{body}` a user, `{chunked}` the same in chunks, `{delete}` a whole
//! request that would delete somebody.

use super::heads;

/// How a connection goes on when the answers have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It takes another request, which is the next one.
    Open,
    /// The gateway closes it.
    Shut,
    /// The client says that no more comes, and gets what there is.
    Cut,
}

/// One case.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) send: String,
    /// The methods of its requests, where an answer's length depends on them.
    pub(super) methods: &'static [&'static str],
    /// The statuses of all answers.
    pub(super) want: Vec<u16>,
    pub(super) end: End,
    /// Whether its user is there afterwards.
    pub(super) makes: bool,
}

pub(super) fn case(name: &str, send: impl Into<String>, want: &[u16], end: End) -> Case {
    Case {
        name: name.to_owned(),
        send: send.into(),
        methods: &[],
        want: want.to_vec(),
        end,
        makes: want.contains(&201),
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = lengths();
    all.extend(codings());
    all.extend(chunks());
    all.extend(heads::heads());
    all.extend(heads::targets());
    all.extend(heads::hosts());
    all.extend(heads::protocols());
    all.extend(bodies());
    all
}

/// Content-Length (RFC 9112 6.3).
fn lengths() -> Vec<Case> {
    use End::{Open, Shut};
    let length = |name, value: &str, want| {
        let text = format!("{{post}}Content-Length:{value}\r\n\r\n{{body}}{{delete}}");
        case(name, text, want, Shut)
    };
    vec![
        case(
            "a length",
            "{post}Content-Length: {length}\r\n\r\n{body}",
            &[201],
            Open,
        ),
        // RFC 9112 6.1: the coding counts, and the connection ends.
        case(
            "length, then chunked",
            "{post}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}",
            &[201],
            Shut,
        ),
        case(
            "chunked, then length",
            "{post}Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n{chunked}",
            &[201],
            Shut,
        ),
        case(
            "length 0 and chunked, a request behind",
            "{post}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{delete}",
            &[201],
            Shut,
        ),
        case(
            "a request in the length, behind the last chunk",
            "{post}Content-Length: {delete-after-chunks}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{delete}",
            &[400],
            Shut,
        ),
        case(
            "the same, chunked first",
            "{post}Transfer-Encoding: chunked\r\nContent-Length: {delete-after-chunks}\r\n\r\n0\r\n\r\n{delete}",
            &[400],
            Shut,
        ),
        case(
            "garbage length and chunked",
            "{post}Content-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{delete}",
            &[400],
            Shut,
        ),
        case(
            "two equal lengths",
            "{post}Content-Length: {length}\r\nContent-Length: {length}\r\n\r\n{body}",
            &[201],
            Open,
        ),
        case(
            "two lengths",
            "{post}Content-Length: {length}\r\nContent-Length: 0\r\n\r\n{body}{delete}",
            &[400],
            Shut,
        ),
        case(
            "two lengths, the smaller first",
            "{post}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{body}{delete}",
            &[400],
            Shut,
        ),
        length("a list of lengths", " {length}, {length}", &[400]),
        length("a length with a plus", " +{length}", &[400]),
        length("a length with a minus", " -{length}", &[400]),
        length("a length in hex", " 0x{hex}", &[400]),
        length("a length with a space", " 1 3", &[400]),
        length("a length with a dot", " {length}.0", &[400]),
        length("no length", "", &[400]),
        length("a length over 64 bits", " 18446744073709551617", &[400]),
        length("a length in other digits", " {byte d9}{byte a1}", &[400]),
    ]
}

/// Transfer-Encoding (RFC 9112 6.1).
fn codings() -> Vec<Case> {
    use End::{Open, Shut};
    let coding = |name, line: &str, want| {
        let text = format!("{{post}}{line}\r\n\r\n{{chunked}}{{delete}}");
        case(name, text, want, Shut)
    };
    vec![
        case(
            "chunked",
            "{post}Transfer-Encoding: chunked\r\n\r\n{chunked}",
            &[201],
            Open,
        ),
        case(
            "chunked, loud",
            "{post}TRANSFER-ENCODING: CHUNKED\r\n\r\n{chunked}",
            &[201],
            Open,
        ),
        case(
            "chunked behind a tab",
            "{post}Transfer-Encoding:\tchunked\t\r\n\r\n{chunked}",
            &[201],
            Open,
        ),
        coding(
            "identity, chunked",
            "Transfer-Encoding: identity, chunked",
            &[400],
        ),
        coding(
            "chunked, identity",
            "Transfer-Encoding: chunked, identity",
            &[400],
        ),
        coding(
            "chunked, chunked",
            "Transfer-Encoding: chunked, chunked",
            &[400],
        ),
        coding("gzip, chunked", "Transfer-Encoding: gzip, chunked", &[400]),
        coding(
            "chunked twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            &[400],
        ),
        coding(
            "identity, then chunked",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            &[400],
        ),
        coding(
            "chunked, then identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            &[400],
        ),
        coding("xchunked", "Transfer-Encoding: xchunked", &[400]),
        coding("identity", "Transfer-Encoding: identity", &[400]),
        coding("a comma first", "Transfer-Encoding: , chunked", &[400]),
        coding("a parameter", "Transfer-Encoding: chunked;q=1", &[400]),
        coding("quoted", "Transfer-Encoding: \"chunked\"", &[400]),
        coding("a vertical tab", "Transfer-Encoding: \u{b}chunked", &[400]),
        coding(
            "a space before the colon",
            "Transfer-Encoding : chunked",
            &[400],
        ),
        coding(
            "a tab before the colon",
            "Transfer-Encoding\t: chunked",
            &[400],
        ),
        coding("folded", "Transfer-Encoding:\r\n chunked", &[400]),
        coding(
            "hidden in another line",
            "X: y\rTransfer-Encoding: chunked",
            &[400],
        ),
        coding("no coding", "Transfer-Encoding:", &[400]),
        // No header that counts: the body is none, and what follows is no request.
        coding("an underscore", "Transfer_Encoding: chunked", &[400, 400]),
        case(
            "chunked by HTTP/1.0",
            "POST /scim/v2/Users HTTP/1.0\r\n{auth}Transfer-Encoding: chunked\r\n\r\n{chunked}{delete}",
            &[400],
            Shut,
        ),
        case(
            "chunked and unknown to us",
            "POST /scim/v2/Users HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity, chunked\r\n\r\n{chunked}{delete}",
            &[400],
            Shut,
        ),
    ]
}

/// What a chunked body may look like (RFC 9112 7.1). A chunk that is none ends the connection: the request behind it is
/// not looked for.
fn chunks() -> Vec<Case> {
    use End::{Cut, Open, Shut};
    let chunks = |name, chunks: &str, want, end| {
        let text = format!("{{post}}Transfer-Encoding: chunked\r\n\r\n{chunks}");
        case(name, text, want, end)
    };
    let broken = |name, text: &str| chunks(name, &format!("{text}{{delete}}"), &[400], Shut);
    let long = "x".repeat(20_000);
    vec![
        chunks(
            "an extension",
            "{hex};a=b\r\n{body}\r\n0;c\r\n\r\n",
            &[201],
            Open,
        ),
        chunks(
            "zeros in front",
            "0000{hex}\r\n{body}\r\n000\r\n\r\n",
            &[201],
            Open,
        ),
        chunks(
            "trailers",
            "{hex}\r\n{body}\r\n0\r\nContent-Length: 9\r\nAuthorization: Bearer x\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n",
            &[201],
            Open,
        ),
        broken("a size over 64 bits", "10000000000000000\r\nx\r\n0\r\n\r\n"),
        broken("a negative size", "-5\r\nx\r\n0\r\n\r\n"),
        broken("a size with 0x", "0x5\r\nxxxxx\r\n0\r\n\r\n"),
        broken("a size with a plus", "+5\r\nxxxxx\r\n0\r\n\r\n"),
        broken("no size", "\r\nx\r\n0\r\n\r\n"),
        broken("a size that is none", "zz\r\nx\r\n0\r\n\r\n"),
        broken("a chunk longer than it says", "1\r\nxxxxx\r\n0\r\n\r\n"),
        broken("no CRLF behind a chunk", "{hex}\r\n{body}0\r\n\r\n"),
        broken("LF behind a size", "{hex}\n{body}\r\n0\r\n\r\n"),
        broken("LF behind a chunk", "{hex}\r\n{body}\n0\r\n\r\n"),
        broken("CR behind a size", "{hex}\r{body}\r\n0\r\n\r\n"),
        broken("LF in an extension", "{hex};a\nb\r\n{body}\r\n0\r\n\r\n"),
        broken(
            "a huge extension",
            &format!("{{hex}};{long}\r\n{{body}}\r\n0\r\n\r\n"),
        ),
        broken(
            "huge trailers",
            &format!("{{hex}}\r\n{{body}}\r\n0\r\nX: {long}\r\n\r\n"),
        ),
        chunks(
            "a body that breaks off",
            "{hex}\r\n{\"userName\"",
            &[400],
            Cut,
        ),
        chunks("no last chunk", "{hex}\r\n{body}\r\n", &[400], Cut),
        chunks(
            "over the limit",
            &format!(
                "{:x}\r\n{}\r\n0\r\n\r\n{{delete}}",
                1_048_577,
                " ".repeat(1_048_577)
            ),
            &[413],
            Shut,
        ),
    ]
}

/// Bodies where none belongs, and requests one behind the other.
fn bodies() -> Vec<Case> {
    use End::{Cut, Open, Shut};
    let mut head = case(
        "HEAD",
        "HEAD /scim/v2/Users HTTP/1.1\r\n{auth}\r\n",
        &[200],
        Open,
    );
    head.methods = &["HEAD"];
    let mut body = case(
        "HEAD with a body",
        "HEAD /scim/v2/Users HTTP/1.1\r\n{auth}Content-Length: {delete-length}\r\n\r\n{delete}",
        &[200],
        Open,
    );
    body.methods = &["HEAD"];
    let coded = |name, line: &str, want| {
        case(
            name,
            format!("{{post}}{line}\r\nContent-Length: {{length}}\r\n\r\n{{body}}{{delete}}"),
            want,
            Shut,
        )
    };
    vec![
        head,
        body,
        case(
            "GET with a request as its body",
            "{get}{auth}Content-Length: {delete-length}\r\n\r\n{delete}",
            &[200],
            Open,
        ),
        case(
            "GET with a body in chunks",
            "{get}{auth}Transfer-Encoding: chunked\r\n\r\n{chunked}",
            &[200],
            Open,
        ),
        case(
            "DELETE with a body",
            "DELETE /scim/v2/Users/nobody HTTP/1.1\r\n{auth}Content-Length: {delete-length}\r\n\r\n{delete}",
            &[404],
            Open,
        ),
        case(
            "unknown, with a request as its body",
            "POST /scim/v2/Users HTTP/1.1\r\nHost: h\r\nContent-Length: {delete-length}\r\n\r\n{delete}",
            &[401],
            Open,
        ),
        case(
            "a length too short",
            "{post}Content-Length: 5\r\n\r\n{body}",
            &[400, 400],
            Shut,
        ),
        case(
            "a length too long",
            "{post}Content-Length: 4096\r\n\r\n{body}{delete}",
            &[400],
            Cut,
        ),
        case(
            "a request that breaks off",
            "{get}Host: h\r\nAuthor",
            &[],
            Cut,
        ),
        case("nothing", "", &[], Cut),
        coded("gzip", "Content-Encoding: gzip", &[415]),
        coded("identity, gzip", "Content-Encoding: identity, gzip", &[415]),
        coded(
            "a body in gzip and identity",
            "Content-Encoding: gzip\r\nContent-Encoding: identity",
            &[415],
        ),
        coded("another expectation", "Expect: 200-ok", &[417]),
        coded(
            "two expectations",
            "Expect: 100-continue\r\nExpect: x",
            &[417],
        ),
        case(
            "100-continue",
            "{post}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n{body}",
            &[100, 201],
            Open,
        ),
        case(
            "100-continue by somebody unknown",
            "POST /scim/v2/Users HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n",
            &[401],
            Shut,
        ),
        case(
            "100-continue over the limit",
            "{post}Expect: 100-continue\r\nContent-Length: 1048577\r\n\r\n",
            &[413],
            Shut,
        ),
        case(
            "a form",
            "POST /scim/v2/Users HTTP/1.1\r\n{auth}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}",
            &[415],
            Open,
        ),
        case(
            "200 requests in one go",
            "{get}{auth}\r\n".repeat(200),
            &[200; 200],
            Open,
        ),
        case(
            "one that is unknown between two",
            "{get}{auth}\r\n{get}Host: h\r\n\r\n{get}{auth}\r\n",
            &[200, 401, 200],
            Open,
        ),
        case(
            "Connection names what counts",
            "{get}{auth}Connection: Host, Authorization, Content-Length\r\n\r\n",
            &[200],
            Open,
        ),
        case(
            "close, then another",
            "{get}{auth}Connection: close\r\n\r\n{delete}",
            &[200],
            Shut,
        ),
        case(
            "close and keep-alive, then another",
            "{get}{auth}Connection: close\r\nConnection: keep-alive\r\n\r\n{delete}",
            &[200],
            Shut,
        ),
    ]
}
