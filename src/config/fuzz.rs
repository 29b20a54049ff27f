//! The body of the fuzz target over the configuration file.
//!
//! It panics where a promise is broken, which is its whole purpose; nothing else calls it.
#![allow(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise must stop the fuzzer"
)]

use std::collections::BTreeSet;
use std::path::Path;

use super::Problem;
use super::check::{Refusal, Surroundings, check, places};

/// Every secret that a file names. Nobody types it by chance.
const SECRET: &str = "5ecret-0f-n0b0dy-else";

/// A configuration's text. No file and no variable is read: every secret is there, no certificate is.
///
/// It is whole or all of its mistakes are told: each where it stands, in order, with what is wanted instead and without a
/// secret. Who only asks for the places gets those of the whole.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let beside = Path::new("/etc/usher");
    let around = Surroundings {
        file: String::from("usher.toml"),
        beside,
        secret: &|_| Ok(SECRET.to_owned()),
        public: &|_| {
            Err(Refusal {
                found: String::from("no file"),
                wanted: String::from("a file"),
            })
        },
        opens: true,
    };
    let checked = check(text, &around);
    let places = places(text, String::from("usher.toml"), beside);
    match &checked {
        Ok(config) => {
            assert!(!format!("{config:?}").contains(SECRET));
            let places = places.as_ref().ok();
            let found = places.map(|places| (&places.socket, &places.store));
            assert_eq!(found, Some((&config.admin.socket, &config.store.path)));
            let clients = config.clients.iter().map(|client| &client.name);
            assert_eq!(clients.collect::<BTreeSet<_>>().len(), config.clients.len());
            let applications = config.applications.iter().map(|one| &one.name);
            let count = config.applications.len();
            assert_eq!(applications.collect::<BTreeSet<_>>().len(), count);
            // Nobody is let in by nothing, and nobody by what is somebody else's.
            let mut tokens = BTreeSet::new();
            for client in &config.clients {
                assert!(!(client.token_sha256.is_empty() && client.certificate_sha256.is_empty()));
                assert!(client.token_sha256.iter().all(|hash| tokens.insert(hash)));
            }
            assert!(config.fingerprint.len() == 64 && config.limits.body > 0);
        }
        Err(problems) => told(text, problems),
    }
    if let Err(problems) = &places {
        told(text, problems);
        assert!(checked.is_err());
    }
}

fn told(text: &str, problems: &[Problem]) {
    assert!(!problems.is_empty());
    let lines: Vec<&str> = text.split('\n').collect();
    let mut last = (0, 0);
    for problem in problems {
        let at = (problem.line, problem.column);
        let line = problem.line.checked_sub(1).and_then(|at| lines.get(at));
        let inside =
            line.is_some_and(|line| (1..=line.chars().count() + 1).contains(&problem.column));
        assert!(inside && at >= last, "{problem:?}");
        assert!(
            !problem.found.is_empty() && !problem.wanted.is_empty(),
            "{problem:?}"
        );
        let shown = problem.to_string();
        assert!(
            !shown.contains(SECRET) && shown.len() < 2_000,
            "{problem:?}"
        );
        last = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spoil::storm;

    #[test]
    fn spoiled_files_break_no_promise() {
        let hash = "4b1f0c6f2e9d7a83c5e1b0d94a7263f8150eab9cd27f4e6618b3a05d9c72e4f1";
        let other = hash.replace('4', "5");
        let client = format!("[[client]]\nname = \"okta\"\ntoken_sha256 = [\"{hash}\"]\n");
        let two = format!(
            "{client}rate = {{ per_second = 50, burst = 100 }}\nread_only = true\n[[client]]\nname = 'entra'\ntoken_sha256 = [\"{other}\", \"{hash}\"]\ncertificate_sha256 = [\"{other}\"]\n"
        );
        let bearer = format!(
            "{client}[[application]]\nname = \"app\"\nprofile = \"scim\"\nbase_url = \"https://app.example.com/scim\"\ncredentials = {{ kind = \"bearer\", token = {{ file = \"t\\u00e9\" }} }}\ncondition = 'userType ne \"x\"'\n[[application.map.user]]\nto = \"title\"\nfrom = \"$.title\"\ntransform = [\"trim\"]\n"
        );
        let server = format!(
            "[admin]\nsocket = \"s\"\n[store]\npath = \"d\"\ncache = \"64MiB\"\n{client}[[application]]\nname = \"zoom\"\nprofile = \"zoom\"\ncredentials = {{ kind = \"server_to_server\", account_id = \"a\", client_id = \"b\", client_secret = {{ env = \"S\" }} }}\nwait = \"4s\"\n[application.safety]\nmax_removals = \"auto\"\n"
        );
        let env = |_: &str| Some(SECRET.to_owned());
        for good in [
            &*client,
            &server,
            &bearer.replace("{ file = \"t\\u00e9\" }", "{ env = \"T\" }"),
        ] {
            let parsed = crate::config::parse(good, Path::new("usher.toml"), &env);
            assert!(parsed.is_ok(), "{parsed:?}");
        }
        let seeds = [&*client, &two, &bearer, &server];
        storm(config, &seeds);
        // The shipped file, a line less each time.
        let shipped = include_str!("../../config/usher.toml");
        let lines: Vec<&str> = shipped.lines().collect();
        for left_out in 0..lines.len() {
            let mut lines = lines.clone();
            lines.remove(left_out);
            config(lines.join("\n").as_bytes());
        }
    }
}
