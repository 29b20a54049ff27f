//! The rate-limit headers of an answer: `X-RateLimit-Type` (`QPS` or `Daily-limit`), `X-RateLimit-Limit` and
//! `X-RateLimit-Reset`, as Zoom sends them. Pure. What makes no sense is as if it were not there.

use std::time::Duration;

use hyper::header::HeaderMap;

use crate::clock::Timestamp;
use crate::provision::call::{Limits, Span};
use crate::upstream::retry_after::CAP;

/// A smaller number in `X-RateLimit-Reset` counts seconds from now; a larger one is Unix time. Both are in use.
const UNIX: u64 = 1_000_000_000;

/// Reads an answer's headers at `now`.
#[must_use]
pub fn read(headers: &HeaderMap, now: Timestamp) -> Limits {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let span = text("x-ratelimit-type").and_then(|value| {
        if value.eq_ignore_ascii_case("qps") {
            Some(Span::Second)
        } else if value.eq_ignore_ascii_case("daily-limit") {
            Some(Span::Day)
        } else {
            None
        }
    });
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    Limits {
        span,
        granted: number("x-ratelimit-limit").and_then(|limit| u32::try_from(limit).ok()),
        reset: number("x-ratelimit-reset").map(|reset| until(reset, now)),
    }
}

fn until(reset: u64, now: Timestamp) -> Duration {
    let wait = if reset < UNIX {
        Duration::from_secs(reset)
    } else {
        Timestamp(reset.saturating_mul(1_000)).since(now)
    };
    wait.min(CAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T20:30:45Z
    const NOW: Timestamp = Timestamp(1_795_465_845_000);

    #[test]
    fn headers_are_read_and_nonsense_is_not() {
        let limits = |span, granted, reset: Option<u64>| Limits {
            span,
            granted,
            reset: reset.map(Duration::from_secs),
        };
        let none = Limits::default();
        let table: [(&[(&'static str, &'static str)], Limits); 9] = [
            (&[], none),
            (
                &[
                    ("x-ratelimit-type", "QPS"),
                    ("x-ratelimit-limit", "80"),
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "1795465846"),
                ],
                limits(Some(Span::Second), Some(80), Some(1)),
            ),
            (
                &[
                    ("x-ratelimit-type", "Daily-limit"),
                    ("x-ratelimit-limit", "6000"),
                ],
                limits(Some(Span::Day), Some(6_000), None),
            ),
            (&[("x-ratelimit-type", "Weekly")], none),
            (&[("x-ratelimit-limit", "99999999999")], none),
            (&[("x-ratelimit-limit", "-4")], none),
            (
                &[("x-ratelimit-reset", " 30 ")],
                limits(None, None, Some(30)),
            ),
            (
                &[("x-ratelimit-reset", "1700000000")],
                limits(None, None, Some(0)),
            ),
            (
                &[("x-ratelimit-reset", "18446744073709551615")],
                limits(None, None, Some(86_400)),
            ),
        ];
        for (headers, want) in table {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            assert_eq!(read(&map, NOW), want, "{headers:?}");
        }
    }
}
