//! The written forms of values: durations, sizes, domains, URLs, digests, names. Pure: text in, value or hint out.

use std::time::Duration;

/// The longest duration that a file may ask for: a century keeps every sum with a timestamp far from overflow.
const CENTURY_MS: u64 = 36_500 * 86_400_000;

const SPANS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const SIZES: [(&str, u64); 5] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// `250ms`, `4s`, `5m`, `1h`, `7d`: a whole number and one unit.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let ms = counted(text, &SPANS)?;
    (ms <= CENTURY_MS).then(|| Duration::from_millis(ms))
}

/// A duration as the file would have it, in the largest unit that holds it whole.
pub(super) fn show_duration(span: Duration) -> String {
    let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return String::from("0s");
    }
    let unit = SPANS
        .iter()
        .rev()
        .find(|(_, unit)| ms.is_multiple_of(*unit));
    let (name, unit) = unit.unwrap_or(&("ms", 1));
    format!("{}{name}", ms / unit)
}

/// What somebody may have meant by a text that is no duration: `4 seconds` is `4s`, `4` is `4s`.
pub(super) fn nearest_duration(text: &str) -> Option<String> {
    let (number, unit) = number_and_rest(text)?;
    let unit = unit.to_ascii_lowercase();
    let unit = match unit.as_str() {
        "ms" => "ms",
        text if text.starts_with("mil") => "ms",
        text if text.starts_with("mo") || text.starts_with('y') => return None,
        text if text.starts_with('m') => "m",
        text if text.starts_with('h') => "h",
        text if text.starts_with('d') => "d",
        text if text.starts_with('w') => return weeks(number),
        _ => "s",
    };
    let meant = format!("{number}{unit}");
    duration(&meant).map(|_| meant)
}

fn weeks(number: &str) -> Option<String> {
    let days = number.parse::<u64>().ok()?.checked_mul(7)?;
    let meant = format!("{days}d");
    duration(&meant).map(|_| meant)
}

/// `512B`, `64KiB`, `1MiB`, `10GiB`: bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    counted(text, &SIZES)
}

/// What somebody may have meant by a text that is no size: `64MB` and `64 mb` are `64MiB`.
pub(super) fn nearest_size(text: &str) -> Option<String> {
    let (number, unit) = number_and_rest(text)?;
    let unit = match unit.chars().next().map(|first| first.to_ascii_lowercase()) {
        Some('k') => "KiB",
        Some('m') => "MiB",
        Some('g') => "GiB",
        Some('t') => "TiB",
        _ => "B",
    };
    let meant = format!("{number}{unit}");
    size(&meant).map(|_| meant)
}

fn counted(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, each) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*each)
}

fn number_and_rest(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(digits)?;
    (!number.is_empty()).then(|| (number, rest.trim()))
}

/// A domain in its ASCII form, folded; a `*.` before it is kept (every subdomain, not the domain itself).
pub(super) fn domain(text: &str) -> Option<String> {
    let (prefix, name) = match text.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", text),
    };
    let name = idna::domain_to_ascii_strict(name).ok()?;
    Some(format!("{prefix}{name}"))
}

/// What somebody may have meant by a text that is no domain: `@example.com` and an address are `example.com`.
pub(super) fn nearest_domain(text: &str) -> Option<String> {
    let name = text
        .trim()
        .rsplit(['@', '/'])
        .find(|part| !part.is_empty())?;
    domain(name.trim_start_matches('.'))
}

/// An absolute http or https URL, without a slash at the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) text: String,
    /// `http`.
    pub(super) plain: bool,
    /// Its host is `localhost` or a loopback address.
    pub(super) loopback: bool,
}

/// Reads a URL that paths are to be added to: no user, query or fragment.
///
/// # Errors
/// What is wrong with it, without repeating it: a URL may hold a password.
pub(super) fn url(text: &str) -> Result<Url, &'static str> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a URL with spaces or letters outside ASCII");
    }
    let uri: hyper::Uri = text.parse().map_err(|_| "something that is no URL")?;
    let plain = match uri.scheme_str() {
        Some("https") => false,
        Some("http") => true,
        Some(_) => return Err("a URL that is neither https nor http"),
        None => return Err("a URL without https:// before it"),
    };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = uri.host().unwrap_or("");
    if authority.contains('@') {
        return Err("a URL with a user or password in it");
    }
    if text.contains(['?', '#']) {
        return Err("a URL with a query or fragment");
    }
    let port = authority.strip_prefix(host).unwrap_or("");
    if host.is_empty() || (!port.is_empty() && uri.port_u16().is_none_or(|port| port == 0)) {
        return Err("a URL without a valid host and port");
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    Ok(Url {
        text: text.trim_end_matches('/').to_owned(),
        plain,
        loopback,
    })
}

/// 64 hex digits.
pub(super) fn digest(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let high = char::from(*high).to_digit(16)?;
        let low = char::from(*low).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

/// Whether this may name a client or an application: `[a-z0-9_-]{1,64}`.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// The word that somebody most likely meant.
pub(super) fn nearest<'w>(text: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let text = text.to_lowercase();
    // A third of the letters may be wrong; a word of three or four only by one.
    let allowed = (text.chars().count() / 3).max(1);
    words
        .into_iter()
        .map(|word| {
            let begun = text.len() >= 3 && (word.starts_with(&text) || text.starts_with(word));
            let distance = strsim::damerau_levenshtein(&text, &word.to_lowercase());
            (if begun { distance.min(1) } else { distance }, word)
        })
        .filter(|(distance, word)| *distance <= allowed && *distance < word.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = Duration::from_millis;
        for (text, wanted) in [
            ("0s", Some(ms(0))),
            ("250ms", Some(ms(250))),
            ("4s", Some(ms(4_000))),
            ("5m", Some(ms(300_000))),
            ("1h", Some(ms(3_600_000))),
            ("400d", Some(ms(400 * 86_400_000))),
            ("", None),
            ("s", None),
            ("4", None),
            ("4 s", None),
            ("-4s", None),
            ("4.5s", None),
            ("4S", None),
            ("99999999999999999999s", None),
            ("36501d", None),
        ] {
            assert_eq!(duration(text), wanted, "{text}");
            if let Some(span) = wanted {
                assert_eq!(duration(&show_duration(span)), Some(span), "{text}");
            }
        }
        for (text, meant) in [
            ("4 seconds", Some("4s")),
            ("4", Some("4s")),
            ("10 min", Some("10m")),
            ("2 weeks", Some("14d")),
            ("3 months", None),
            ("soon", None),
        ] {
            assert_eq!(nearest_duration(text).as_deref(), meant, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, wanted) in [
            ("1B", Some(1)),
            ("64KiB", Some(65_536)),
            ("1MiB", Some(1_048_576)),
            ("10GiB", Some(10_737_418_240)),
            ("1MB", None),
            ("1", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(size(text), wanted, "{text}");
        }
        assert_eq!(nearest_size("64 mb").as_deref(), Some("64MiB"));
        assert_eq!(nearest_size("big"), None);
    }

    #[test]
    fn domains() {
        for (text, wanted) in [
            ("Example.COM", Some("example.com")),
            ("*.example.org", Some("*.example.org")),
            ("B\u{fc}cher.example", Some("xn--bcher-kva.example")),
            ("*.B\u{fc}cher.example", Some("*.xn--bcher-kva.example")),
            ("", None),
            ("*.", None),
            ("*", None),
            ("a.*.example", None),
            ("@example.com", None),
            ("exa mple.com", None),
        ] {
            assert_eq!(domain(text).as_deref(), wanted, "{text}");
        }
        assert_eq!(
            nearest_domain("@example.com").as_deref(),
            Some("example.com")
        );
    }

    #[test]
    fn urls() {
        let good = |text: &str, plain, loopback| {
            Ok(Url {
                text: text.to_owned(),
                plain,
                loopback,
            })
        };
        for (text, wanted) in [
            (
                "https://api.zoom.us/scim2/",
                good("https://api.zoom.us/scim2", false, false),
            ),
            (
                "http://127.0.0.1:9/v2",
                good("http://127.0.0.1:9/v2", true, true),
            ),
            ("http://[::1]:9", good("http://[::1]:9", true, true)),
            ("http://localhost", good("http://localhost", true, true)),
            (
                "http://localhost.example",
                good("http://localhost.example", true, false),
            ),
            (
                "ftp://x.example",
                Err("a URL that is neither https nor http"),
            ),
            ("api.zoom.us", Err("a URL without https:// before it")),
            ("", Err("something that is no URL")),
            (
                "https://me:pw@x.example",
                Err("a URL with a user or password in it"),
            ),
            (
                "https://x.example/a?b=c",
                Err("a URL with a query or fragment"),
            ),
            (
                "https://x.example/a#b",
                Err("a URL with a query or fragment"),
            ),
            (
                "https://x.example:0/",
                Err("a URL without a valid host and port"),
            ),
        ] {
            assert_eq!(url(text), wanted, "{text}");
        }
    }

    #[test]
    fn digests_and_names() {
        let text = "00ff".repeat(16);
        assert_eq!(
            digest(&text).map(|bytes| (bytes[0], bytes[1])),
            Some((0, 255))
        );
        assert_eq!(digest(&text.to_uppercase()), digest(&text));
        assert_eq!(digest(&"0".repeat(63)), None);
        assert_eq!(digest(&"+f".repeat(32)), None);
        assert!(is_name("okta-2_b"));
        for name in ["", "Okta", "a b", "\u{e9}", &"a".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn nearest_words() {
        for (text, wanted) in [
            ("queu", Some("queue")),
            ("refues", Some("refuse")),
            ("Queue", Some("queue")),
            ("drop", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, ["queue", "refuse"]), wanted, "{text}");
        }
        assert_eq!(
            nearest("token", ["name", "token_sha256"]),
            Some("token_sha256")
        );
        assert_eq!(
            nearest("on_deleted", ["on_leave", "on_delete"]),
            Some("on_delete")
        );
    }
}
