//! Everything that is shown and is no credential.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{hex, token};

/// Whoever shows one of these is nobody.
pub(super) fn nobodies(
    good: &str,
    stale: &[&str],
    application: &str,
) -> Vec<(String, String, String)> {
    let line = |value: &str| format!("Authorization: {value}\r\n");
    let basic = |text: &str| line(&format!("Basic {}", BASE64_STANDARD.encode(text)));
    let (cut, good_line) = (&good[..good.len() - 1], line(&format!("Bearer {good}")));
    let mut all = vec![
        ("nothing", String::new(), String::new()),
        ("an empty header", line(""), String::new()),
        ("Bearer", line("Bearer"), String::new()),
        ("Bearer and spaces", line("Bearer    "), String::new()),
        ("Bearer and a tab", line("Bearer \t"), String::new()),
        (
            "a tab between",
            line(&format!("Bearer\t{good}")),
            String::new(),
        ),
        (
            "a comma between",
            line(&format!("Bearer,{good}")),
            String::new(),
        ),
        (
            "nothing between",
            line(&format!("Bearer{good}")),
            String::new(),
        ),
        (
            "the token as a password",
            basic(&format!("okta:{good}")),
            String::new(),
        ),
        (
            "the token as a user",
            basic(&format!("{good}:")),
            String::new(),
        ),
        (
            "Basic and the token",
            line(&format!("Basic {good}")),
            String::new(),
        ),
        ("the token alone", line(good), String::new()),
        ("a wrong token", line("Bearer wrong"), String::new()),
        (
            "the token's hash",
            line(&format!("Bearer {}", hex(good))),
            String::new(),
        ),
        (
            "the token, cut",
            line(&format!("Bearer {cut}")),
            String::new(),
        ),
        (
            "the token and more",
            line(&format!("Bearer {good}x")),
            String::new(),
        ),
        (
            "the token in quotes",
            line(&format!("Bearer \"{good}\"")),
            String::new(),
        ),
        (
            "the token, upper case",
            line(&format!("Bearer {}", good.to_uppercase())),
            String::new(),
        ),
        (
            "the token twice in one",
            line(&format!("Bearer {good} {good}")),
            String::new(),
        ),
        (
            "a list of two",
            line(&format!("Bearer {good}, Bearer {good}")),
            String::new(),
        ),
        ("two headers", good_line.repeat(2), String::new()),
        (
            "a second header, empty",
            good_line.clone() + &line(""),
            String::new(),
        ),
        (
            "a first header, wrong",
            line("Bearer wrong") + &good_line,
            String::new(),
        ),
        (
            "the token in base64",
            line(&format!("Bearer {}", BASE64_STANDARD.encode(good))),
            String::new(),
        ),
        (
            "a token of nobody's JWT",
            line("Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJva3RhIn0."),
            String::new(),
        ),
        (
            "the application's token",
            line(&format!("Bearer {application}")),
            String::new(),
        ),
        // RFC 6750 2.3, which the one who knows better leaves out.
        (
            "the token in the query",
            String::new(),
            format!("?access_token={good}"),
        ),
        (
            "the token in a cookie",
            format!("Cookie: access_token={good}; Authorization=Bearer {good}\r\n"),
            String::new(),
        ),
        (
            "for a proxy",
            format!("Proxy-Authorization: Bearer {good}\r\n"),
            String::new(),
        ),
        (
            "a key",
            format!("X-API-Key: {good}\r\nX-Auth-Token: {good}\r\n"),
            String::new(),
        ),
        (
            "another's word for it",
            String::from(
                "X-Forwarded-User: okta\r\nX-Remote-User: okta\r\nX-Forwarded-For: 127.0.0.1\r\nX-SSL-Client-Verify: SUCCESS\r\nForwarded: for=127.0.0.1\r\n",
            ),
            String::new(),
        ),
    ];
    for name in stale {
        all.push((
            "revoked by a reload",
            line(&format!("Bearer {}", token(name))),
            String::new(),
        ));
    }
    let named = |(name, lines, query): (&str, String, String)| (name.to_owned(), lines, query);
    all.into_iter().map(named).collect()
}
