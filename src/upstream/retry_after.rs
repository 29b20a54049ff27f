//! `Retry-After` in the forms that applications send: seconds and HTTP date (RFC 9110 10.2.3), and ISO 8601, which
//! Zoom sends with its daily limits. Pure.

use std::time::{Duration, UNIX_EPOCH};

use crate::clock::Timestamp;

/// The longest wait that is believed. Zoom's daily limits end within it.
pub const CAP: Duration = Duration::from_secs(24 * 60 * 60);

/// How long after `now` the application wants to be left alone: zero for what lies in the past, at most [`CAP`].
/// `None` if the value is none of the three forms.
#[must_use]
pub fn parse(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    seconds(value)
        .or_else(|| http_date(value).map(|at| at.since(now)))
        .or_else(|| Timestamp::parse(value).map(|at| at.since(now)))
        .map(|wait| wait.min(CAP))
}

fn seconds(value: &str) -> Option<Duration> {
    let (negative, digits) = match value.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if negative {
        return Some(Duration::ZERO);
    }
    // More digits than a u64 holds is still a wait, a long one.
    Some(digits.parse().map_or(CAP, Duration::from_secs))
}

fn http_date(value: &str) -> Option<Timestamp> {
    let at = httpdate::parse_http_date(value).ok()?;
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T20:30:45Z
    const NOW: Timestamp = Timestamp(1_795_465_845_000);

    fn check(value: &str, seconds: Option<u64>) {
        assert_eq!(
            parse(value, NOW),
            seconds.map(Duration::from_secs),
            "{value:?}"
        );
    }

    #[test]
    fn every_form() {
        for (value, seconds) in [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("-7", Some(0)),
            ("86400", Some(86_400)),
            ("86401", Some(86_400)),
            ("99999999999999999999999999", Some(86_400)),
            ("Mon, 23 Nov 2026 20:31:45 GMT", Some(60)),
            ("Mon, 23 Nov 2026 20:29:45 GMT", Some(0)),
            ("Wed, 23 Nov 2033 20:29:45 GMT", Some(86_400)),
            ("2026-11-23T20:31:45Z", Some(60)),
            ("2026-11-23T21:31:45+01:00", Some(60)),
            ("2026-11-24T00:00:00Z", Some(12_555)),
            ("2020-04-19T00:00:00Z", Some(0)),
            ("", None),
            ("-", None),
            ("+5", None),
            ("soon", None),
            ("1.5e3", None),
            ("2026-11-23", None),
        ] {
            check(value, seconds);
        }
    }

    proptest::proptest! {
        #[test]
        fn never_more_than_the_cap(value in ".{0,40}", now: u64) {
            proptest::prop_assert!(parse(&value, Timestamp(now)).is_none_or(|wait| wait <= CAP));
        }
    }
}
