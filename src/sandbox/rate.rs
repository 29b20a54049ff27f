//! How much at once and how often: Zoom's rate classes and its limit on concurrent calls. Pure: time comes in.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use crate::clock::Timestamp;
use crate::provision::call::Method;

use super::quirks::{Quirks, RateClass, RetryAfter, Window};
use super::zoom::{self, Endpoint, Reply};

const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);

const A_SECOND: &str =
    "You have reached the maximum per-second rate limit for this API. Try again later.";
const A_DAY: &str = "You have reached the maximum daily rate limit for this API. Refer to the response header for details on when you can make another request.";
const AT_ONCE: &str =
    "Too many concurrent requests. A request to disassociate this user has already been made.";

/// A header of an answer.
pub(super) type Header = (&'static str, String);

/// A call that is refused before anything looked at it: the message, and the headers that go with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) message: &'static str,
    pub(super) headers: Vec<Header>,
}

/// What was used up.
#[derive(Debug, Default)]
pub(super) struct Rates {
    seconds: HashMap<Key, Meter>,
    days: HashMap<RateClass, Meter>,
    /// Until when each class was told to wait.
    told: HashMap<RateClass, Timestamp>,
    invitations: Meter,
    under_way: u32,
    users: HashMap<Box<str>, u32>,
}

/// What a rate of the second is of: a class, or by the old rule one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Class(RateClass),
    Endpoint(Method, Endpoint),
}

/// A call that counts as under way until it is handed to [`Rates::ended`].
#[derive(Debug)]
pub(super) struct UnderWay {
    user: Option<Box<str>>,
}

impl Rates {
    /// Takes one of the rate, or refuses. The headers are for the answer, whatever it is.
    pub(super) fn admit(
        &mut self,
        quirks: &Quirks,
        (method, endpoint): (Method, Endpoint),
        now: Timestamp,
    ) -> Result<Vec<Header>, Refused> {
        let class = class(quirks, method, endpoint);
        let (a_second, a_day, name) = match class {
            RateClass::Light => (quirks.light, quirks.light_a_day, "Light"),
            RateClass::Medium => (quirks.medium, quirks.medium_a_day, "Medium"),
        };
        let (key, a_second) = if quirks.legacy_one_rps {
            (Key::Endpoint(method, endpoint), 1)
        } else {
            (Key::Class(class), a_second)
        };
        let day = self.days.entry(class).or_default();
        let second = self.seconds.entry(key).or_default();
        let shown = |kind: &str, limit: u32, left: u32| match quirks.rate_headers_off {
            true => Vec::new(),
            false => vec![
                ("x-ratelimit-category", name.to_owned()),
                ("x-ratelimit-type", kind.to_owned()),
                ("x-ratelimit-limit", limit.to_string()),
                ("x-ratelimit-remaining", left.to_string()),
            ],
        };
        let day_left = day.left(a_day, DAY, Window::Fixed, now);
        if day_left == 0 {
            let mut headers = shown("Daily-limit", a_day, 0);
            let until = next(DAY, now);
            headers.extend(retry_after(quirks.retry_after_day, until, now));
            if quirks.retry_after_day != RetryAfter::None {
                self.told.insert(class, until);
            }
            return Err(Refused {
                message: A_DAY,
                headers,
            });
        }
        let left = second.left(a_second, SECOND, quirks.rate_window, now);
        if left == 0 {
            let mut headers = shown("QPS", a_second, 0);
            let until = second.reset(a_second, quirks.rate_window, now);
            if !quirks.rate_headers_off {
                headers.push(("x-ratelimit-reset", (until.0 / 1000).to_string()));
            }
            headers.extend(retry_after(quirks.retry_after, until, now));
            // By the old rule other endpoints of the class may go on.
            let told = quirks.retry_after != RetryAfter::None || !quirks.rate_headers_off;
            if told && !quirks.legacy_one_rps {
                self.told.insert(class, until);
            }
            return Err(Refused {
                message: A_SECOND,
                headers,
            });
        }
        day.take(a_day);
        second.take(a_second);
        Ok(if a_second > 0 {
            shown("QPS", a_second, left - 1)
        } else if a_day > 0 {
            shown("Daily-limit", a_day, day_left - 1)
        } else {
            Vec::new()
        })
    }

    /// Whether the class of this call was told to wait until later than now.
    pub(super) fn is_early(
        &self,
        quirks: &Quirks,
        (method, endpoint): (Method, Endpoint),
        now: Timestamp,
    ) -> bool {
        self.told
            .get(&class(quirks, method, endpoint))
            .is_some_and(|until| now < *until)
    }

    /// Notes that the class of this call was told to wait until then, by a fault.
    pub(super) fn tell(
        &mut self,
        quirks: &Quirks,
        (method, endpoint): (Method, Endpoint),
        until: Timestamp,
    ) {
        self.told.insert(class(quirks, method, endpoint), until);
    }

    /// Takes one of the day's invitations: creates that become pending.
    pub(super) fn invite(&mut self, a_day: u32, now: Timestamp) -> bool {
        if self.invitations.left(a_day, DAY, Window::Fixed, now) == 0 {
            return false;
        }
        self.invitations.take(a_day);
        true
    }

    /// Begins a call, on that user if it is one of theirs, or refuses it.
    pub(super) fn begin(
        &mut self,
        quirks: &Quirks,
        user: Option<&str>,
    ) -> Result<UnderWay, Refused> {
        let too_many = quirks.concurrency > 0 && self.under_way >= quirks.concurrency;
        let doubled =
            quirks.one_call_a_user && user.is_some_and(|user| self.users.contains_key(user));
        if too_many || doubled {
            return Err(Refused {
                message: AT_ONCE,
                headers: Vec::new(),
            });
        }
        self.under_way += 1;
        if let Some(user) = user {
            *self.users.entry(user.into()).or_default() += 1;
        }
        Ok(UnderWay {
            user: user.map(Into::into),
        })
    }

    /// Ends a call.
    pub(super) fn ended(&mut self, call: &UnderWay) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(user) = &call.user
            && let Some(count) = self.users.get_mut(user)
        {
            *count -= 1;
            if *count == 0 {
                self.users.remove(user);
            }
        }
    }

    /// Forgets what was used up, and not what is under way.
    pub(super) fn clear(&mut self) {
        self.seconds.clear();
        self.days.clear();
        self.told.clear();
        self.invitations = Meter::default();
    }
}

/// The answer to one call too many of the UTC day.
pub(super) fn too_many_a_day(quirks: &Quirks, now: Timestamp) -> Reply {
    let mut reply = Reply::rest(429, 429, A_DAY);
    let header = retry_after(quirks.retry_after_day, next(DAY, now), now);
    reply.headers.extend(header);
    reply
}

/// Zoom's label of an endpoint.
fn class(quirks: &Quirks, method: Method, endpoint: Endpoint) -> RateClass {
    match (method, endpoint) {
        (Method::Get, Endpoint::Users | Endpoint::Groups) => RateClass::Medium,
        (Method::Patch, Endpoint::Group) => quirks.group_patch,
        _ => RateClass::Light,
    }
}

/// How much of one rate is used up.
#[derive(Debug, Default)]
struct Meter {
    /// The last time that it was looked at.
    at: Timestamp,
    /// In thousandths of a call, so that a bucket can fill by the millisecond.
    used: u64,
}

impl Meter {
    /// How many calls are left now. With no limit there is always one.
    fn left(&mut self, limit: u32, span: Duration, window: Window, now: Timestamp) -> u32 {
        if limit == 0 {
            return 1;
        }
        match window {
            Window::Fixed if next(span, self.at) != next(span, now) => self.used = 0,
            Window::Fixed => {}
            // So many calls a second are so many thousandths a millisecond.
            Window::Bucket => {
                let elapsed = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
                let filled = elapsed.saturating_mul(limit.into());
                self.used = self.used.saturating_sub(filled);
            }
        }
        self.at = now;
        let left = (u64::from(limit) * 1000).saturating_sub(self.used) / 1000;
        u32::try_from(left).unwrap_or(limit)
    }

    fn take(&mut self, limit: u32) {
        if limit > 0 {
            self.used += 1000;
        }
    }

    /// The full second from which on there is a call again, of a rate of the second that is used up.
    fn reset(&self, limit: u32, window: Window, now: Timestamp) -> Timestamp {
        match window {
            Window::Fixed => next(SECOND, now),
            Window::Bucket => {
                let full = u64::from(limit) * 1000;
                let missing = (self.used + 1000).saturating_sub(full);
                let wait = missing.div_ceil(u64::from(limit).max(1));
                let at = now.plus(Duration::from_millis(wait));
                Timestamp(at.0.div_ceil(1000) * 1000)
            }
        }
    }
}

/// The end of the clock's second or UTC day that holds `now`.
fn next(span: Duration, now: Timestamp) -> Timestamp {
    let span = u64::try_from(span.as_millis()).unwrap_or(1).max(1);
    Timestamp((now.0 / span + 1).saturating_mul(span))
}

fn retry_after(form: RetryAfter, until: Timestamp, now: Timestamp) -> Option<Header> {
    let text = match form {
        RetryAfter::None => return None,
        RetryAfter::Iso => zoom::zulu(until),
        RetryAfter::Seconds => until.since(now).as_millis().div_ceil(1000).to_string(),
        RetryAfter::HttpDate => {
            httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(until.0))
        }
    };
    Some(("retry-after", text))
}
