//! Cases of heads: lines, targets, hosts, methods and versions.

use super::cases::{Case, End, case};

/// Lines of a head (RFC 9112 5).
pub(super) fn heads() -> Vec<Case> {
    use End::{Open, Shut};
    let head =
        |name, lines: &str, want, end| case(name, format!("{{get}}{{auth}}{lines}\r\n"), want, end);
    let bad = |name, lines: &str| head(name, &format!("{lines}\r\n\r\n{{delete}}"), &[400], Shut);
    vec![
        case("empty lines first", "\r\n\r\n{get}{auth}\r\n", &[200], Open),
        case(
            "lines that end with LF",
            "GET /scim/v2/Users?count=0 HTTP/1.1\nHost: h\n{bearer}\n",
            &[200],
            Open,
        ),
        bad("a folded line", "X: a\r\n b"),
        bad("NUL in a value", "X: a{byte 00}b"),
        bad("CR in a value", "X: a\rb"),
        bad("a control character in a value", "X: a{byte 7f}b"),
        bad("a space in a name", "X y: a"),
        bad("a space behind a name", "X : a"),
        bad("a space before a name", " X: a"),
        bad("no name", ": a"),
        bad("no colon", "X"),
        bad("a name beyond ASCII", "X{byte e9}: a"),
        head("a value beyond ASCII", "X: {byte e9}\r\n", &[200], Open),
        head("65 lines", &"X: a\r\n".repeat(63), &[431], Shut),
        head("200 lines", &"X: a\r\n".repeat(198), &[431], Shut),
        head(
            "a head over the limit",
            &format!("X: {}\r\n", "a".repeat(16_384)),
            &[431],
            Shut,
        ),
        head(
            "a name over the limit",
            &format!("{}: a\r\n", "X".repeat(16_384)),
            &[431],
            Shut,
        ),
        head(
            "a name over the buffer",
            &format!("{}: a\r\n", "X".repeat(300_000)),
            &[431],
            Shut,
        ),
        head("two tokens", "{bearer}", &[401], Shut),
        head("another token", "Authorization: Bearer x\r\n", &[401], Shut),
        case(
            "space before the method",
            " {get}{auth}\r\n{delete}",
            &[400],
            Shut,
        ),
        case(
            "no token",
            "GET /scim/v2/Users HTTP/1.1\r\nHost: h\r\n\r\n",
            &[401],
            Open,
        ),
        head(
            "method override",
            "X-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nX-Method-Override: DELETE\r\n",
            &[200],
            Open,
        ),
        case(
            "method override on a resource",
            "GET /scim/v2/Users/{victim}?_method=DELETE HTTP/1.1\r\n{auth}X-HTTP-Method-Override: DELETE\r\n\r\n",
            &[200],
            Open,
        ),
        case(
            "method override by POST",
            "POST /scim/v2/Users/{victim} HTTP/1.1\r\n{auth}X-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n",
            &[405],
            Open,
        ),
        head(
            "path override",
            "X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\nX-Forwarded-Prefix: /x\r\n",
            &[200],
            Open,
        ),
    ]
}

/// What stands in the request line (RFC 9112 3.2). Each of these would delete somebody if it were read generously.
pub(super) fn targets() -> Vec<Case> {
    use End::{Open, Shut};
    let target = |name, target: &str, want, end| {
        case(
            name,
            format!("DELETE {target} HTTP/1.1\r\n{{auth}}\r\n"),
            want,
            end,
        )
    };
    let none = |name, text: &str| target(name, text, &[404], Open);
    let mut all = vec![
        none("dots that climb", "/scim/v2/Groups/../Users/{victim}"),
        none("a dot that stays", "/scim/v2/./Users/{victim}"),
        none("encoded dots", "/scim/v2/Groups/%2e%2e/Users/{victim}"),
        none(
            "dots and an encoded slash",
            "/scim/v2/Groups/..%2fUsers/{victim}",
        ),
        none("an encoded slash", "/scim/v2/Users%2F{victim}"),
        none(
            "an encoded slash in an id",
            "/scim/v2/Users/x%2F..%2F{victim}",
        ),
        none("encoded twice", "/scim/v2/Groups/%252e%252e/Users/{victim}"),
        none("two slashes first", "//scim/v2/Users/{victim}"),
        none("two slashes", "/scim/v2//Users/{victim}"),
        none("two slashes before an id", "/scim/v2/Users//{victim}"),
        none("a backslash", "/scim/v2\\Users/{victim}"),
        none("an encoded letter", "/scim/v2/%55sers/{victim}"),
        none("another case of the root", "/SCIM/v2/Users/{victim}"),
        none("parameters", "/scim/v2/Users;a=b/{victim}"),
        none("parameters of an id", "/scim/v2/Users/{victim};a=b"),
        none("NUL, encoded", "/scim/v2/Users/{victim}%00"),
        none("an overlong slash", "/scim/v2/Users%c0%af{victim}"),
        none("an overlong byte in an id", "/scim/v2/Users/{victim}%c0%80"),
        none("a suffix", "/scim/v2/Users/{victim}.json"),
        none("a segment more", "/scim/v2/Users/{victim}/x"),
        none("an encoded question mark", "/scim/v2/Users/{victim}%3Fa"),
        none("an encoded space", "/scim/v2/Users/{victim}%20"),
        none("half an escape", "/scim/v2/Users/{victim}%2"),
        none("full-width letters", "/scim/v2/%EF%BC%B5sers/{victim}"),
        target(
            "bytes beyond ASCII",
            "/scim/v2/{byte c3}{byte bc}sers/{victim}",
            &[404],
            Open,
        ),
        target("NUL", "/scim/v2/Users/{victim}{byte 00}", &[400], Shut),
        target("a space", "/scim/v2/Users /{victim}", &[400], Shut),
        target("no slash first", "scim/v2/Users/{victim}", &[400], Shut),
        target("an authority", "h:80", &[400], Shut),
        target(
            "another authority",
            "http://elsewhere/scim/v2/Users/{victim}",
            &[400],
            Shut,
        ),
        target(
            "an authority with a user",
            "http://a@h/scim/v2/Users/{victim}",
            &[400],
            Shut,
        ),
        target("an authority and no path", "http://h", &[404], Open),
        target("a star", "*", &[404], Open),
        target(
            "8 KiB and one",
            &format!("/scim/v2/Users/{}", "a".repeat(8_192 - 14)),
            &[414],
            Shut,
        ),
        target(
            "over what is read of a head",
            &format!("/{}", "a".repeat(65_600)),
            &[431],
            Shut,
        ),
        case(
            "OPTIONS of a star",
            "OPTIONS * HTTP/1.1\r\n{auth}\r\n",
            &[404],
            Open,
        ),
        case(
            "its own authority",
            "GET http://h/scim/v2/Users?count=0 HTTP/1.1\r\n{auth}\r\n",
            &[200],
            Open,
        ),
        // A fragment is for the client alone (RFC 3986 3.5); hyper drops it.
        case(
            "a fragment",
            "GET /scim/v2/Users?count=0#/../x HTTP/1.1\r\n{auth}\r\n",
            &[200],
            Open,
        ),
        case(
            "two question marks",
            "GET /scim/v2/Users?count=0?x=/../ HTTP/1.1\r\n{auth}\r\n",
            &[400],
            Open,
        ),
    ];
    // Who is unknown hears no more of a path than whether it could be one of ours.
    let unknown = |known: &Case| {
        let send = known.send.replace("{auth}", "Host: h\r\n");
        let ours = send.contains(" /scim/v2/") || send.contains("h/scim/v2/");
        let inside =
            matches!(*known.want, [200 | 404]) || *known.want == [400] && known.end == Open;
        let want = if ours && inside {
            vec![401]
        } else {
            known.want.clone()
        };
        case(&format!("{}, unknown", known.name), send, &want, known.end)
    };
    let unknowns: Vec<Case> = all.iter().map(unknown).collect();
    all.extend(unknowns);
    all
}

/// Host (RFC 9112 3.2).
pub(super) fn hosts() -> Vec<Case> {
    use End::Shut;
    let host = |name, lines: &str| {
        case(
            name,
            format!("{{get}}{{bearer}}{lines}\r\n{{delete}}"),
            &[400],
            Shut,
        )
    };
    vec![
        host("no Host", ""),
        host("two Hosts", "Host: h\r\nHost: elsewhere\r\n"),
        host("the same Host twice", "Host: h\r\nHost: h\r\n"),
        host("an empty Host", "Host:\r\n"),
        host("a user in Host", "Host: a@h\r\n"),
        host("a path in Host", "Host: h/scim/v2\r\n"),
        host("a query in Host", "Host: h?a\r\n"),
        host("a space in Host", "Host: h h\r\n"),
        host("a list in Host", "Host: h, h\r\n"),
        host("a port that is none in Host", "Host: h:80x\r\n"),
        case(
            "no Host by HTTP/1.0",
            "GET /scim/v2/Users HTTP/1.0\r\n{bearer}\r\n",
            &[400],
            Shut,
        ),
    ]
}

/// Methods, versions, and other protocols.
pub(super) fn protocols() -> Vec<Case> {
    use End::{Open, Shut};
    let method = |name, method: &str, want, end| {
        case(
            name,
            format!("{method} /scim/v2/Users/{{victim}} HTTP/1.1\r\n{{auth}}\r\n"),
            want,
            end,
        )
    };
    let version = |name, version: &str| {
        case(
            name,
            format!("GET /scim/v2/Users {version}\r\n{{auth}}\r\n{{delete}}"),
            &[400],
            Shut,
        )
    };
    vec![
        method("a method in lower case", "delete", &[405], Shut),
        method("a method that nobody knows", "BREW", &[405], Shut),
        method("TRACE", "TRACE", &[405], Shut),
        method("a method that is none", "DE(LETE", &[400], Shut),
        case(
            "CONNECT",
            "CONNECT h:443 HTTP/1.1\r\n{auth}\r\n{delete}",
            &[405],
            Shut,
        ),
        case(
            "CONNECT with a path",
            "CONNECT /scim/v2/Users/{victim} HTTP/1.1\r\n{auth}\r\n{delete}",
            &[405],
            Shut,
        ),
        case(
            "Upgrade to WebSocket",
            "{get}{auth}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n{delete}",
            &[400],
            Shut,
        ),
        case(
            "Upgrade to h2c",
            "{get}{auth}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            &[200],
            Open,
        ),
        case(
            "Upgrade to two",
            "{get}{auth}Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n\r\n{delete}",
            &[400],
            Shut,
        ),
        version("HTTP/2.0", "HTTP/2.0"),
        version("HTTP/1.2", "HTTP/1.2"),
        version("HTTP/1.10", "HTTP/1.10"),
        version("http/1.1", "http/1.1"),
        case("HTTP/0.9", "GET /scim/v2/Users\r\n{delete}", &[400], Shut),
        case(
            "HTTP/1.0",
            "GET /scim/v2/Users?count=0 HTTP/1.0\r\n{auth}\r\n{delete}",
            &[200],
            Shut,
        ),
        case(
            "HTTP/1.0 that is kept",
            "GET /scim/v2/Users?count=0 HTTP/1.0\r\n{auth}Connection: keep-alive\r\n\r\n",
            &[200],
            Open,
        ),
        case(
            "the preface of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{delete}",
            &[],
            Shut,
        ),
        case(
            "TLS",
            "{byte 16}{byte 03}{byte 01}{byte 00}{byte f4}{byte 01}{byte 00}{byte 00}{byte f0}{byte 03}{byte 03}\r\n\r\n",
            &[400],
            Shut,
        ),
        case("SMTP", "EHLO h\r\nMAIL FROM:<a@h>\r\n\r\n", &[400], Shut),
    ]
}
