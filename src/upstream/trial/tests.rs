//! Every step that can fail, and every text of Zoom's that says why.

use super::*;

fn reply(status: u16, body: &str) -> Answer {
    Answer::reply(status, body, None)
}

fn well() -> Findings {
    Findings {
        profile: ProfileName::Zoom,
        host: "api.zoom.us".into(),
        now: Timestamp(1_795_465_845_000 - 3 * 86_400_000),
        name: Ok(vec!["192.0.2.1".into()]),
        tls: Some(Ok(Connected::Tls(Some(Timestamp(1_795_465_845_000))))),
        token: Some(Ok(Had::Token {
            lives: Duration::from_secs(3_000),
            scope: Some(vec!["user:read".into(), "scim2:admin".into()]),
        })),
        read: Some(reply(200, r#"{"totalResults":7,"Resources":[{}]}"#)),
    }
}

/// The outcomes' first letters, and what to mend.
fn judged(found: &Findings) -> (String, String) {
    let trial = Trial::of("zoom", found);
    assert_eq!(
        trial
            .steps
            .iter()
            .map(|step| step.step.as_str())
            .collect::<Vec<_>>(),
        ["name", "tls", "token", "scope", "sso", "read"]
    );
    let failed = trial
        .steps
        .iter()
        .filter(|step| step.outcome == Outcome::Failed);
    assert_eq!(failed.count(), usize::from(!trial.ok));
    assert_eq!(trial.mend.is_none(), trial.ok);
    let letters = trial.steps.iter().map(|step| match step.outcome {
        Outcome::Ok => 'o',
        Outcome::Failed => 'F',
        Outcome::Skipped => '-',
    });
    (letters.collect(), trial.mend.unwrap_or_default())
}

#[test]
fn all_is_well() {
    let trial = Trial::of("zoom", &well());
    assert_eq!(
        judged(&well()),
        (String::from("oooooo"), String::new()),
        "{trial:?}"
    );
    assert!(
        trial.steps[1].detail.contains("2026-11-23, in 3 days"),
        "{:?}",
        trial.steps[1]
    );
    assert!(trial.steps[5].detail.contains("totalResults 7"));
    let scim = Findings {
        profile: ProfileName::Scim,
        tls: Some(Ok(Connected::Plain)),
        token: Some(Ok(Had::Bearer)),
        read: Some(reply(200, r#"{"totalResults":0}"#)),
        ..well()
    };
    assert_eq!(judged(&scim), (String::from("o-o--o"), String::new()));
    let bearer = Findings {
        token: Some(Ok(Had::Bearer)),
        ..well()
    };
    assert_eq!(judged(&bearer), (String::from("ooo-oo"), String::new()));
}

#[test]
fn the_first_failure_says_what_to_mend() {
    let token = |scope: &[&str]| {
        let scope = scope.iter().map(|name| (*name).to_owned()).collect();
        let (lives, scope) = (Duration::from_secs(9), Some(scope));
        Some(Ok(Had::Token { lives, scope }))
    };
    for (found, letters, mend) in [
        (
            Findings {
                name: Err("no such name".into()),
                tls: None,
                token: None,
                read: None,
                ..well()
            },
            "F-----",
            "DNS",
        ),
        (
            Findings {
                tls: Some(Err("its certificate has expired".into())),
                token: None,
                read: None,
                ..well()
            },
            "oF----",
            "has expired",
        ),
        (
            Findings {
                token: Some(Err(
                    "no token: client_id or client_secret is wrong (status 400)".into(),
                )),
                read: None,
                ..well()
            },
            "ooF---",
            "There is no token: client_id or client_secret is wrong",
        ),
        (
            Findings {
                token: token(&["user:read"]),
                read: None,
                ..well()
            },
            "oooF--",
            "add scim2:admin",
        ),
        (
            Findings {
                token: token(&[]),
                read: None,
                ..well()
            },
            "oooF--",
            "Scopes",
        ),
    ] {
        let (found, told) = judged(&found);
        assert_eq!(found, letters, "{told}");
        assert!(told.contains(mend), "{told}");
    }
}

#[test]
fn refused_reads_say_what_to_mend() {
    let scim = |detail: &str, status: u16| {
        let body = serde_json::json!({"detail": detail, "status": status});
        reply(status, &body.to_string())
    };
    let rest = |code: u16, message: &str, status: u16| {
        let body = serde_json::json!({"code": code, "message": message});
        reply(status, &body.to_string())
    };
    for (answer, letters, mend) in [
        (
            scim("Account has not enabled Single Sign-On.", 400),
            "ooooF-",
            "account/sso",
        ),
        (
            rest(
                4700,
                "Invalid access token, does not contain scopes:[scim2].",
                400,
            ),
            "oooF--",
            "add scim2:admin",
        ),
        (
            rest(4711, "The token lacks a scope.", 401),
            "oooF--",
            "add scim2:admin",
        ),
        (rest(4700, "", 401), "oooF--", "add scim2:admin"),
        (
            rest(4700, "Token cannot be empty.", 401),
            "oooo-F",
            "activated",
        ),
        (
            rest(124, "Invalid access token.", 401),
            "oooo-F",
            "activated",
        ),
        (
            scim(
                "The request was denied due to insufficient permissions: \"User:Read\".",
                403,
            ),
            "oooo-F",
            "Roles",
        ),
        (
            scim("Your account has no vanity URL", 400),
            "oooo-F",
            "Vanity URL",
        ),
        (rest(1, "what?", 400), "oooo-F", "Business or Education"),
        (reply(404, ""), "oooo-F", "base_url"),
        (reply(302, ""), "oooo-F", "redirects"),
        (reply(429, ""), "oooo-F", "patience"),
        (reply(503, "<html>"), "oooo-F", "failure of its own"),
        (reply(200, "<html>"), "oooooF", "no SCIM server"),
        (
            reply(200, r#"{"totalResults":3}"#),
            "oooooF",
            "no SCIM server",
        ),
        (Answer::Lost("no answer".into()), "oooo-F", "did not answer"),
        (
            Answer::NotSent("no token in time".into()),
            "oooo-F",
            "no token in time",
        ),
    ] {
        let read = Some(answer);
        let (found, told) = judged(&Findings { read, ..well() });
        assert_eq!(found, letters, "{told}");
        assert!(told.contains(mend), "{told}");
    }
    let bearer = Findings {
        token: Some(Ok(Had::Bearer)),
        read: Some(reply(401, "")),
        ..well()
    };
    assert!(judged(&bearer).1.contains("a new one"));
    let other = Findings {
        profile: ProfileName::Scim,
        read: Some(reply(403, "")),
        ..well()
    };
    assert_eq!(judged(&other).0, "ooo--F");
}
