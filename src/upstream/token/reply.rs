//! What a token endpoint says (RFC 6749 5; Zoom: <https://developers.zoom.us/docs/internal-apps/s2s-oauth>). Pure and
//! total: any status and any bytes have a meaning.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::config::shape::Secret;

/// What every refusal begins with.
pub const NO_TOKEN: &str = "no token: ";
/// The largest reply that is read, in bytes.
pub const REPLY: usize = 64 * 1024;
/// The longest token: it goes into a header of every call.
const TOKEN: usize = 16 * 1024;
/// A reply that does not say how long its token lives: RFC 6749 leaves it to the documentation, and Zoom's are an hour.
const HOUR: Duration = Duration::from_secs(3_600);
/// A token that dies at once would be asked for with every call.
const SHORTEST: Duration = Duration::from_secs(60);
/// Beyond this nobody knows whether the credentials still hold.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// The most of an endpoint's own words that is shown, in characters.
const WORDS: usize = 200;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Visible ASCII, so that a header can carry it.
    pub token: Secret,
    /// How long it lives from the moment of the reply: a minute to a day, whatever the reply said.
    pub lives: Duration,
    /// What it is good for, if the reply said so.
    pub scope: Option<Vec<String>>,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The client's id or secret is wrong.
    Client,
    /// The account's id is wrong, or of another account than the app's.
    Account,
    /// The app is switched off.
    Inactive,
    /// The app is of another type: it may not ask for tokens in this way.
    AppType,
    /// Too many requests.
    TooMany,
    /// The endpoint cannot answer now.
    Down,
    /// There is no token endpoint at this URL.
    NotThere,
    /// The endpoint refused for another reason.
    Other,
    /// It answered something that is no answer to this.
    Nonsense,
}

/// A refusal, or what has to count as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: Why,
    /// The HTTP status.
    pub status: u16,
    /// The endpoint's own words, in visible characters. They are shortened where they are shown.
    pub said: Option<String>,
}

impl Refused {
    /// What is wrong and where to mend it, for the person who set it up.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self.why {
            Why::Client => {
                "client_id or client_secret is wrong: compare them with marketplace.zoom.us > Manage > your Server-to-Server OAuth app > App Credentials"
            }
            Why::Account => {
                "account_id is wrong: take it from marketplace.zoom.us > Manage > your Server-to-Server OAuth app > App Credentials"
            }
            Why::Inactive => {
                "the app is not active: marketplace.zoom.us > Manage > your Server-to-Server OAuth app > Activation > Activate your app"
            }
            Why::AppType => {
                "the app is of another type: marketplace.zoom.us > Develop > Build App > Server-to-Server OAuth app, and take the credentials of that one"
            }
            Why::TooMany => {
                "too many token requests: nothing to mend unless something else uses the same app; give every program an app of its own"
            }
            Why::Down => "the token endpoint cannot answer now: nothing to mend on this side",
            Why::NotThere => {
                "there is no token endpoint at token_url: Zoom's is https://zoom.us/oauth/token"
            }
            Why::Other => {
                "compare account_id, client_id and client_secret with marketplace.zoom.us > Manage > your Server-to-Server OAuth app > App Credentials, and see that the app is activated"
            }
            Why::Nonsense => {
                "what answers at token_url is no token endpoint: Zoom's is https://zoom.us/oauth/token, and a proxy on the way must let it pass"
            }
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NO_TOKEN}{}", self.advice())?;
        match &self.said {
            Some(said) => {
                let said: String = said.chars().take(WORDS).collect();
                write!(f, " (status {}: {said})", self.status)
            }
            None => write!(f, " (status {})", self.status),
        }
    }
}

/// Reads a reply.
///
/// # Errors
/// [`Refused`]: there is no token in it that can be used.
pub fn read(status: u16, body: &[u8]) -> Result<Granted, Refused> {
    let nonsense = || Refused {
        why: Why::Nonsense,
        status,
        said: None,
    };
    if body.len() > REPLY {
        return Err(nonsense());
    }
    let value: Option<Value> = serde_json::from_slice(body).ok();
    if !(200..300).contains(&status) {
        return Err(refused(status, value.as_ref()));
    }
    let value = value.ok_or_else(nonsense)?;
    let Some(token) = value.get("access_token") else {
        // Said to be a success, and is an error by its body.
        let error = value.get("error").is_some() || value.get("code").is_some();
        return Err(if error {
            refused(status, Some(&value))
        } else {
            nonsense()
        });
    };
    let fits = |token: &&str| {
        (1..=TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let token = token.as_str().filter(fits).ok_or_else(nonsense)?;
    // RFC 6749 7.1: a token of a type that is not understood is not used.
    let kind = value.get("token_type").and_then(Value::as_str);
    if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(nonsense());
    }
    Ok(Granted {
        token: Secret(token.to_owned()),
        lives: lives(value.get("expires_in")),
        scope: value.get("scope").and_then(scope),
    })
}

/// Seconds, as a number or as text.
fn lives(value: Option<&Value>) -> Duration {
    let seconds = match value {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        _ => None,
    };
    let Some(seconds) = seconds.filter(|seconds| seconds.is_finite()) else {
        return HOUR;
    };
    let seconds = seconds.clamp(SHORTEST.as_secs_f64(), LONGEST.as_secs_f64());
    Duration::from_secs_f64(seconds)
}

/// Names, in one text with spaces (RFC 6749 3.3) or commas, or as a list.
fn scope(value: &Value) -> Option<Vec<String>> {
    let names = |text: &str| -> Vec<String> {
        text.split([' ', ','])
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    };
    match value {
        Value::String(text) => Some(names(text)),
        Value::Array(list) => Some(
            list.iter()
                .filter_map(Value::as_str)
                .flat_map(names)
                .collect(),
        ),
        _ => None,
    }
}

/// Zoom has two shapes: `{"reason":"...","error":"invalid_client"}` and `{"code":4702,"message":"..."}`
/// (<https://developers.zoom.us/docs/integrations/oauth-error-messages/>). Its statuses say little: a wrong secret is 400
/// or 401.
fn refused(status: u16, body: Option<&Value>) -> Refused {
    let text = |name: &str| {
        let text = body?.get(name)?.as_str()?;
        Some(text).filter(|text| !text.is_empty())
    };
    let error = text("error").unwrap_or_default();
    let words = ["reason", "message", "error_description", "errorMessage"];
    let words = words.into_iter().find_map(text);
    let code = body.and_then(|body| body.get("code")?.as_u64());
    let low = words.unwrap_or_default().to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| low.contains(part));
    let why = if status == 429 {
        Why::TooMany
    } else if matches!(status, 408 | 425 | 500..) {
        Why::Down
    } else if says(&["disabled", "deactivated", "not active", "inactive"]) {
        Why::Inactive
    } else if matches!(error, "unsupported_grant_type" | "unauthorized_client")
        || code == Some(4705)
        || says(&["grant type"])
    {
        Why::AppType
    } else if says(&["account"]) {
        Why::Account
    } else if error == "invalid_client"
        || matches!(code, Some(4702 | 4704 | 4706))
        || says(&["client_id", "client id", "client secret", "client_secret"])
    {
        Why::Client
    } else if status == 404 || status == 405 {
        Why::NotThere
    } else if (200..400).contains(&status) && error.is_empty() && code.is_none() {
        Why::Nonsense
    } else {
        Why::Other
    };
    let shown = words.or(Some(error)).filter(|words| !words.is_empty());
    Refused {
        why,
        status,
        said: shown.map(visible),
    }
}

fn visible(words: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    words.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn granted(more: &str) -> Granted {
        read(
            200,
            format!("{{\"access_token\":\"t0k\"{more}}}").as_bytes(),
        )
        .expect(more)
    }

    #[test]
    fn lives_and_scopes() {
        for (more, seconds) in [
            ("", 3_600),
            (r#","expires_in":3599"#, 3_599),
            (r#","expires_in":"3599""#, 3_599),
            (r#","expires_in":" 120 ""#, 120),
            (r#","expires_in":0"#, 60),
            (r#","expires_in":-5"#, 60),
            (r#","expires_in":59.9"#, 60),
            (r#","expires_in":1e300"#, 86_400),
            (r#","expires_in":"inf""#, 3_600),
            (r#","expires_in":"NaN""#, 3_600),
            (r#","expires_in":"soon""#, 3_600),
            (r#","expires_in":null"#, 3_600),
        ] {
            assert_eq!(granted(more).lives.as_secs(), seconds, "{more}");
        }
        let both = Some(vec![String::from("scim2"), String::from("user:read:admin")]);
        for (more, want) in [
            ("", None),
            (r#","scope":null"#, None),
            (r#","scope":"""#, Some(Vec::new())),
            (r#","scope":"scim2 user:read:admin""#, both.clone()),
            (r#","scope":"scim2,user:read:admin""#, both.clone()),
            (r#","scope":["scim2","user:read:admin",7]"#, both),
        ] {
            assert_eq!(granted(more).scope, want, "{more}");
        }
        assert_eq!(
            granted(r#","token_type":"Bearer""#).token,
            Secret("t0k".into())
        );
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let long = format!("{{\"access_token\":\"{}\"}}", "x".repeat(TOKEN + 1));
        let huge = vec![b' '; REPLY + 1];
        for body in [
            &b""[..],
            b"<html>",
            b"[]",
            b"{}",
            br#"{"access_token":""}"#,
            br#"{"access_token":7}"#,
            br#"{"access_token":"a b"}"#,
            br#"{"access_token":"a\r\nX-Evil: 1"}"#,
            "{\"access_token\":\"s3cr\u{e9}t\"}".as_bytes(),
            br#"{"access_token":"a","token_type":"mac"}"#,
            long.as_bytes(),
            &huge,
        ] {
            assert_eq!(
                read(200, body).map_err(|refused| refused.why),
                Err(Why::Nonsense)
            );
        }
        let fits = format!("{{\"access_token\":\"{}\"}}", "x".repeat(TOKEN));
        assert!(read(200, fits.as_bytes()).is_ok());
        let mut full = fits.into_bytes();
        full.resize(REPLY, b' ');
        assert!(read(200, &full).is_ok());
    }

    #[test]
    fn refusals_have_their_reason() {
        for (status, body, why) in [
            (
                400,
                r#"{"reason":"Invalid client_id or client_secret","error":"invalid_client"}"#,
                Why::Client,
            ),
            (
                401,
                r#"{"code":4702,"message":"Invalid client."}"#,
                Why::Client,
            ),
            (
                400,
                r#"{"code":4705,"message":"Not supported."}"#,
                Why::AppType,
            ),
            (
                400,
                r#"{"reason":"unsupported grant type","error":"unsupported_grant_type"}"#,
                Why::AppType,
            ),
            (
                400,
                r#"{"reason":"Account does not exist","error":"invalid_request"}"#,
                Why::Account,
            ),
            (
                400,
                r#"{"reason":"This app has been disabled.","error":"invalid_client"}"#,
                Why::Inactive,
            ),
            (
                400,
                r#"{"reason":"Bad Request","error":"invalid_request"}"#,
                Why::Other,
            ),
            (
                200,
                r#"{"reason":"Invalid client_id or client_secret","error":"invalid_client"}"#,
                Why::Client,
            ),
            (302, "", Why::Nonsense),
            (404, "<html>", Why::NotThere),
            (405, "", Why::NotThere),
            (429, r#"{"code":429,"message":"slow down"}"#, Why::TooMany),
            (500, "oops", Why::Down),
            (503, "", Why::Down),
        ] {
            let refused = read(status, body.as_bytes()).expect_err(body);
            assert_eq!(refused.why, why, "{status} {body}");
            assert!(
                refused.to_string().contains(&status.to_string()),
                "{refused}"
            );
        }
        let said = read(400, br#"{"reason":"no\u0007 \u001b[31mway"}"#).expect_err("refused");
        assert_eq!(said.said.as_deref(), Some("no   [31mway"));
        let long = format!("{{\"message\":\"{}\"}}", "\u{e9}".repeat(1_000));
        let long = read(400, long.as_bytes()).expect_err("refused");
        let shown = long.to_string().matches('\u{e9}').count();
        assert_eq!(shown, WORDS);
    }

    proptest! {
        #[test]
        fn anything_has_a_meaning(status: u16, body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _read = read(status, &body);
        }

        #[test]
        fn a_token_always_fits_a_header_and_lives_a_while(
            token in ".{0,20}", expires in "[-0-9.eE]{0,20}", quoted: bool
        ) {
            let expires = if quoted || expires.parse::<f64>().is_err() { Value::from(expires) } else {
                serde_json::from_str(&expires).unwrap_or(Value::Null)
            };
            let body = serde_json::json!({"access_token": token, "expires_in": expires}).to_string();
            if let Ok(granted) = read(200, body.as_bytes()) {
                let Secret(token) = &granted.token;
                prop_assert!(hyper::header::HeaderValue::from_str(token).is_ok() && !token.is_empty());
                prop_assert!((SHORTEST..=LONGEST).contains(&granted.lives));
                let (shown, quoted) = (format!("{:?}", granted), format!("{:?}", token));
                prop_assert!(!shown.contains(&quoted));
            }
        }
    }
}
