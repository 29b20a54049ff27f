//! What goes wrong with the next calls: told one by one, or by chance. Pure; the chance is a seed's.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::provision::call::Method;

use super::{token, zoom};

/// What happens to the next calls that match.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Wire")]
pub struct Fault {
    /// How many calls it is for.
    pub calls: u32,
    /// Only calls of this method whose path below the base URL starts so (`/Users`). `None`: any call. For the token
    /// endpoint exactly `POST` and `/oauth/token`; nothing else is for it.
    pub matching: Option<(Method, String)>,
    /// What happens to them.
    pub what: What,
}

/// What can go wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// It has no effect and is answered so.
    Status {
        /// The status.
        status: u16,
        /// `Retry-After`, as it is to stand there.
        #[serde(default)]
        retry_after: Option<String>,
        /// The body. `None`: Zoom's for that status.
        #[serde(default)]
        body: Option<String>,
    },
    /// It has its effect at once and is answered so many milliseconds later, on the sandbox's clock.
    Delay(u64),
    /// It has its effect; of the answer (head included) only so many bytes come, then the connection closes.
    CutAfter(u64),
    /// The connection closes, without effect.
    LoseBefore,
    /// It has its effect, and the connection closes without an answer.
    LoseAfter,
    /// Nothing happens until [`super::State::release`]; then it goes on as usual. A caller that went away before then is
    /// forgotten, and its call has no effect.
    Hold,
    /// It has its effect; a good answer becomes 201 (POST) or 200 with a body that is not JSON.
    Garbage,
}

/// Calls that fail by chance. The percentages are of all writes, and of what else is named; what they leave is answered
/// as usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chaos {
    /// The same seed gives the same sequence.
    pub seed: u64,
    /// See [`What::LoseBefore`].
    #[serde(default)]
    pub lose_before_percent: u8,
    /// See [`What::LoseAfter`].
    #[serde(default)]
    pub lose_after_percent: u8,
    /// 429, 500, 502 or 503, without effect.
    #[serde(default)]
    pub error_percent: u8,
    /// See [`What::Garbage`].
    #[serde(default)]
    pub garbage_percent: u8,
    /// See [`What::CutAfter`]: somewhere in the first 400 bytes.
    #[serde(default)]
    pub cut_percent: u8,
    /// See [`What::Delay`]: up to [`Chaos::delay_ms`].
    #[serde(default)]
    pub delay_percent: u8,
    /// The longest delay, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// Reads fail too.
    #[serde(default)]
    pub reads: bool,
    /// Calls of the token endpoint fail too.
    #[serde(default)]
    pub tokens: bool,
}

/// What waits to go wrong.
#[derive(Debug, Default)]
pub(super) struct Faults {
    next: VecDeque<Fault>,
    chaos: Option<Chaos>,
    drawn: u64,
}

impl Faults {
    /// Adds one behind those that wait.
    pub(super) fn push(&mut self, fault: Fault) {
        if fault.calls > 0 {
            self.next.push_back(fault);
        }
    }

    /// Forgets those that wait.
    pub(super) fn clear(&mut self) {
        self.next.clear();
    }

    /// Starts, replaces or ends the random mode.
    pub(super) fn set_chaos(&mut self, chaos: Option<Chaos>) {
        self.chaos = chaos;
        self.drawn = 0;
    }

    /// What happens to this call: the first fault that matches, else by chance.
    pub(super) fn take(&mut self, method: Option<Method>, path: &str) -> Option<What> {
        let found = self.next.iter().position(|f| f.matches(method, path));
        match found {
            Some(at) => self.take_at(at),
            None => {
                let reads = self.chaos.is_some_and(|chaos| chaos.reads);
                if method? == Method::Get && !reads {
                    return None;
                }
                self.draw()
            }
        }
    }

    /// The same for a call of the token endpoint: only a fault that names it is for it.
    pub(super) fn take_for_token(&mut self) -> Option<What> {
        let found = self.next.iter().position(|fault| {
            let named = fault.matching.as_ref();
            named.is_some_and(|(method, path)| *method == Method::Post && path == token::PATH)
        });
        match found {
            Some(at) => self.take_at(at),
            None => {
                self.chaos.filter(|chaos| chaos.tokens)?;
                self.draw()
            }
        }
    }

    fn take_at(&mut self, at: usize) -> Option<What> {
        let fault = self.next.get_mut(at)?;
        fault.calls -= 1;
        if fault.calls > 0 {
            return Some(fault.what.clone());
        }
        self.next.remove(at).map(|fault| fault.what)
    }

    fn draw(&mut self) -> Option<What> {
        let chaos = self.chaos?;
        self.drawn += 1;
        let drawn = mix(chaos.seed ^ mix(self.drawn));
        let roll = drawn % 100;
        let before = u64::from(chaos.lose_before_percent);
        let after = before + u64::from(chaos.lose_after_percent);
        let error = after + u64::from(chaos.error_percent);
        let garbage = error + u64::from(chaos.garbage_percent);
        let cut = garbage + u64::from(chaos.cut_percent);
        let delay = cut + u64::from(chaos.delay_percent);
        if roll < before {
            Some(What::LoseBefore)
        } else if roll < after {
            Some(What::LoseAfter)
        } else if roll < error {
            let status = match (drawn / 100) % 4 {
                0 => 429,
                1 => 500,
                2 => 502,
                _ => 503,
            };
            Some(What::Status {
                status,
                retry_after: None,
                body: None,
            })
        } else if roll < garbage {
            Some(What::Garbage)
        } else if roll < cut {
            Some(What::CutAfter(drawn / 100 % 400))
        } else if roll < delay {
            let most = chaos.delay_ms.saturating_add(1);
            Some(What::Delay(drawn / 100 % most))
        } else {
            None
        }
    }
}

impl Fault {
    fn matches(&self, method: Option<Method>, path: &str) -> bool {
        self.matching.as_ref().is_none_or(|(wanted, prefix)| {
            Some(*wanted) == method && path.starts_with(prefix.as_str())
        })
    }
}

/// The body that goes with a status nobody gave a body for. Zoom's common layer answers 401 and 429 in the form of its
/// REST API, the rest in SCIM's.
pub(super) fn body_for(status: u16) -> serde_json::Value {
    let rest = |code: u16, message: &str| serde_json::json!({"code": code, "message": message});
    match status {
        401 => rest(124, "Invalid access token."),
        429 => rest(
            429,
            "You have reached the maximum per-second rate limit for this API. Try again later.",
        ),
        _ => zoom::error_body(status, "The sandbox was told to fail."),
    }
}

/// One step of `SplitMix64`: a cheap, well spread, reproducible number.
pub(super) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A [`Fault`] as `/control/fail` reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(default = "one")]
    calls: u32,
    #[serde(default)]
    matching: Option<(String, String)>,
    what: What,
}

fn one() -> u32 {
    1
}

impl TryFrom<Wire> for Fault {
    type Error = String;

    fn try_from(wire: Wire) -> Result<Self, String> {
        let matching = match wire.matching {
            None => None,
            Some((name, path)) => {
                let method = zoom::method(&name).ok_or_else(|| {
                    format!("matching: `{name}` is not GET, POST, PUT, PATCH or DELETE")
                })?;
                Some((method, path))
            }
        };
        Ok(Self {
            calls: wire.calls,
            matching,
            what: wire.what,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(calls: u32, matching: Option<(Method, &str)>, what: What) -> Fault {
        Fault {
            calls,
            matching: matching.map(|(method, path)| (method, path.to_owned())),
            what,
        }
    }

    #[test]
    fn faults_are_used_up_in_order() {
        let mut faults = Faults::default();
        faults.push(fault(2, Some((Method::Post, "/Users")), What::LoseAfter));
        faults.push(fault(0, None, What::Hold));
        faults.push(fault(1, None, What::Delay(5)));
        faults.push(fault(1, None, What::LoseBefore));
        let mut check = |method, path: &str, wanted| {
            assert_eq!(faults.take(Some(method), path), wanted, "{method:?} {path}");
        };
        check(Method::Post, "/Users", Some(What::LoseAfter));
        check(Method::Get, "/Users", Some(What::Delay(5)));
        check(Method::Post, "/Users/x", Some(What::LoseAfter));
        check(Method::Post, "/Users", Some(What::LoseBefore));
        check(Method::Post, "/Users", None);
    }

    #[test]
    fn chaos_is_of_writes_and_of_its_seed() {
        let run = |seed| {
            let mut faults = Faults::default();
            faults.set_chaos(Some(Chaos {
                seed,
                lose_before_percent: 10,
                lose_after_percent: 20,
                error_percent: 30,
                ..Chaos::default()
            }));
            let drawn: Vec<_> = (0..10_000)
                .map(|_| faults.take(Some(Method::Put), "/Users/x"))
                .collect();
            assert_eq!(faults.take(Some(Method::Get), "/Users/x"), None);
            drawn
        };
        let drawn = run(1);
        assert_eq!(drawn, run(1));
        assert_ne!(drawn, run(2));
        let near = |wanted: usize, of: fn(&Option<What>) -> bool| {
            let found = drawn.iter().filter(|what| of(what)).count();
            assert!(found.abs_diff(wanted) < 300, "{found} of {wanted}");
        };
        near(1_000, |what| *what == Some(What::LoseBefore));
        near(2_000, |what| *what == Some(What::LoseAfter));
        near(3_000, |what| matches!(what, Some(What::Status { .. })));
        near(4_000, Option::is_none);
    }

    #[test]
    fn chaos_delays_cuts_and_garbles() {
        let mut faults = Faults::default();
        let chaos = Chaos {
            garbage_percent: 10,
            cut_percent: 20,
            delay_percent: 30,
            delay_ms: 50,
            reads: true,
            ..Chaos::default()
        };
        faults.set_chaos(Some(chaos));
        assert_eq!(faults.take_for_token(), None);
        let drawn: Vec<_> = (0..10_000)
            .map(|_| faults.take(Some(Method::Get), "/Users"))
            .collect();
        let near = |wanted: usize, of: fn(&Option<What>) -> bool| {
            let found = drawn.iter().filter(|what| of(what)).count();
            assert!(found.abs_diff(wanted) < 300, "{found} of {wanted}");
        };
        near(1_000, |what| *what == Some(What::Garbage));
        near(2_000, |what| matches!(what, Some(What::CutAfter(0..400))));
        near(3_000, |what| matches!(what, Some(What::Delay(0..=50))));
        near(4_000, Option::is_none);
    }

    #[test]
    fn a_fault_for_tokens_names_the_token_endpoint() {
        let mut faults = Faults::default();
        faults.push(fault(1, None, What::Hold));
        faults.push(fault(1, Some((Method::Post, "/Users")), What::Hold));
        let token = Some((Method::Post, "/oauth/token"));
        faults.push(fault(1, token, What::LoseAfter));
        assert_eq!(faults.take_for_token(), Some(What::LoseAfter));
        assert_eq!(faults.take_for_token(), None);
    }

    #[test]
    fn faults_read_from_json() {
        let check = |text: &str, wanted: Option<Fault>| {
            assert_eq!(serde_json::from_str::<Fault>(text).ok(), wanted, "{text}");
        };
        check(r#"{"what":"hold"}"#, Some(fault(1, None, What::Hold)));
        check(
            r#"{"calls":3,"matching":["PATCH","/Groups"],"what":{"delay":250}}"#,
            Some(fault(3, Some((Method::Patch, "/Groups")), What::Delay(250))),
        );
        let busy = What::Status {
            status: 429,
            retry_after: Some(String::from("2")),
            body: None,
        };
        check(
            r#"{"what":{"status":{"status":429,"retry_after":"2"}}}"#,
            Some(fault(1, None, busy)),
        );
        check(
            r#"{"what":{"cut_after":7}}"#,
            Some(fault(1, None, What::CutAfter(7))),
        );
        check(r#"{"what":"explode"}"#, None);
        check(r#"{"matching":["BREW","/"],"what":"hold"}"#, None);
        check(r#"{"what":"hold","count":1}"#, None);
    }
}
