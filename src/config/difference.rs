//! What is different between two configurations: for whoever reloads one. Pure.

use sha2::{Digest, Sha256};

use super::shape::{Application, Config};

/// Names, each list in the file's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Not there before.
    pub added: Vec<String>,
    /// Not there any more.
    pub removed: Vec<String>,
    /// There before too, and something of it is different.
    pub changed: Vec<String>,
}

impl Names {
    /// Compares two lists of things that have names.
    pub fn of<T: PartialEq>(before: &[T], after: &[T], name: impl Fn(&T) -> &str) -> Self {
        let mut names = Self::default();
        for one in after {
            match before.iter().find(|other| name(other) == name(one)) {
                None => names.added.push(name(one).to_owned()),
                Some(other) if other != one => names.changed.push(name(one).to_owned()),
                Some(_) => {}
            }
        }
        let gone = |one: &&T| !after.iter().any(|other| name(other) == name(one));
        let removed = before.iter().filter(gone);
        names.removed = removed.map(|one| name(one).to_owned()).collect();
        names
    }

    /// Whether there is no difference.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// A key whose new value counts with the next start only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// The key, with its table.
    pub key: &'static str,
    /// What runs.
    pub runs: String,
    /// What the file says now.
    pub wanted: String,
}

impl std::fmt::Display for Restart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key, runs, wanted } = self;
        write!(
            f,
            "{key} needs a restart: {runs} stays until then, and the file says {wanted}"
        )
    }
}

/// The keys that a process holds from its start to its end, as `started` and `wanted` have them, where they differ.
#[must_use]
pub fn restarts(started: &Config, wanted: &Config) -> Vec<Restart> {
    let mut found = Vec::new();
    let mut compare = |key, runs: String, wanted: String| {
        if runs != wanted {
            found.push(Restart { key, runs, wanted });
        }
    };
    let mut both = |key, show: &dyn Fn(&Config) -> String| {
        compare(key, show(started), show(wanted));
    };
    both("server.listen", &|config| config.server.listen.to_string());
    // Other certificates count for new connections; none where there was one is another kind of listener.
    both("server.tls", &|config| {
        let there = config.server.tls.is_some();
        String::from(if there { "a certificate" } else { "no TLS" })
    });
    both("server.limits.connections", &|config| {
        config.limits.connections.to_string()
    });
    both("server.limits.header_timeout", &|config| {
        format!("{:?}", config.limits.header_timeout)
    });
    // What gives up by itself goes by the new one at once.
    both(
        "server.limits.request_timeout, as far as it is how long a client may take to read its answer,",
        &|config| format!("{:?}", config.limits.request_timeout),
    );
    both("admin.listen", &|config| config.admin.listen.to_string());
    both("admin.socket", &|config| {
        config.admin.socket.display().to_string()
    });
    both("store.path", &|config| {
        config.store.path.display().to_string()
    });
    both("store.cache", &|config| {
        format!("{} bytes", config.store.cache)
    });
    both("log.format", &|config| {
        String::from(if config.log.json { "json" } else { "text" })
    });
    found
}

/// SHA-256, in hex, of all that planning reads of an application. Where it differs from the one that decided last,
/// everybody is planned again. The program's version is in it, because what it brings itself (the profile's rules) may be
/// another with each. No secret is.
#[must_use]
pub fn planning(application: &Application) -> String {
    // Whole, so that a new key does not build until somebody has said whether planning reads it.
    let Application {
        name: _,
        profile,
        base_url: _,
        credentials: _,
        ca: _,
        keep_ids: _,
        lookup_lag: _,
        mode,
        delivery: _,
        wait: _,
        when_unavailable: _,
        out_of_scope: _,
        adopt: _,
        authorized_domains,
        condition,
        users,
        groups,
        safety,
        import_every: _,
        pace: _,
        policies,
        map_user,
        map_group,
    } = application;
    let version = env!("CARGO_PKG_VERSION");
    let protected = &safety.protected;
    // A policy of another name is the same policy.
    let groups_of: Vec<_> = policies.iter().map(|policy| &policy.group).collect();
    let read = format!(
        "{version} {profile:?} {mode:?} {authorized_domains:?} {condition:?} {users:?} {groups:?} {protected:?} {groups_of:?} {map_user:?} {map_group:?}"
    );
    let digest = Sha256::digest(read.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parsed(text: &str) -> Config {
        crate::config::parse(text, Path::new("/etc/usher/usher.toml"), &|_| {
            Some("secret".into())
        })
        .expect("no mistake")
    }

    const CLIENT: &str = "[[client]]\nname = 'okta'\ntoken_sha256 = ['abababababababababababababababababababababababababababababababab']\n";

    fn application(name: &str, lines: &str) -> String {
        format!(
            "[[application]]\nname = '{name}'\nprofile = 'zoom'\ncredentials = {{ kind = 'bearer', token = {{ env = 'T' }} }}\n{lines}\n"
        )
    }

    #[test]
    fn names_of_what_differs() {
        let before = parsed(&(CLIENT.to_owned() + &application("a", "") + &application("b", "")));
        let after =
            parsed(&(CLIENT.to_owned() + &application("c", "") + &application("b", "wait = '5s'")));
        let names = Names::of(&before.applications, &after.applications, |one| &one.name);
        assert_eq!(
            names,
            Names {
                added: vec!["c".into()],
                removed: vec!["a".into()],
                changed: vec!["b".into()],
            }
        );
        assert!(Names::of(&before.clients, &after.clients, |one| &one.name).is_empty());
    }

    #[test]
    fn what_needs_a_restart_is_named_with_both_values() {
        let before = parsed(CLIENT);
        assert_eq!(restarts(&before, &before), []);
        let after = parsed(&format!(
            "[server]\nlisten = '127.0.0.1:9000'\n[server.limits]\nconnections = 7\nheader_timeout = '9s'\nrequest_timeout = '20s'\npage = 9\n[admin]\nsocket = 'other.sock'\nlisten = '127.0.0.1:9001'\n[store]\npath = 'other.redb'\ncache = '1MiB'\n[log]\nlevel = 'debug'\nformat = 'json'\n{CLIENT}"
        ));
        let told: Vec<String> = restarts(&before, &after)
            .iter()
            .map(ToString::to_string)
            .collect();
        let all = told.join("\n");
        assert_eq!(told.len(), 9, "{all}");
        for (key, runs, wanted) in [
            ("server.listen", "127.0.0.1:8080", "127.0.0.1:9000"),
            ("server.limits.connections", "10000", "7"),
            ("server.limits.header_timeout", "10s", "9s"),
            (
                "server.limits.request_timeout, as far as it is how long a client may take to read its answer,",
                "30s",
                "20s",
            ),
            ("admin.listen", "127.0.0.1:8081", "127.0.0.1:9001"),
            (
                "admin.socket",
                "/etc/usher/usher.sock",
                "/etc/usher/other.sock",
            ),
            (
                "store.path",
                "/etc/usher/usher.redb",
                "/etc/usher/other.redb",
            ),
            ("store.cache", "67108864 bytes", "1048576 bytes"),
            ("log.format", "text", "json"),
        ] {
            let line = format!(
                "{key} needs a restart: {runs} stays until then, and the file says {wanted}"
            );
            assert!(told.contains(&line), "{line}\n{all}");
        }
    }

    #[test]
    fn planning_is_known_by_what_it_reads() {
        let one = |lines: &str| {
            planning(&parsed(&(CLIENT.to_owned() + &application("a", lines))).applications[0])
        };
        let plain = one("");
        for same in [
            "wait = '5s'",
            "delivery = 'queued'",
            "when_unavailable = 'refuse'",
            "base_url = 'https://elsewhere.example/scim2'",
            "[application.pace]\nconcurrency = 3",
            "[application.safety]\nwindow = '2h'\nmax_removals = 3",
        ] {
            assert_eq!(one(same), plain, "{same}");
        }
        let mut seen = vec![plain];
        for other in [
            "mode = 'simulate'",
            "authorized_domains = ['example.com']",
            "condition = 'userType eq \"A\"'",
            "[application.users]\ndelete_after = '1d'",
            "[application.users]\non_leave = 'keep'",
            "[application.safety]\nprotected = ['a@example.com']",
            "[[application.map.user]]\nto = 'displayName'\nfrom = '$.nickName'",
            "[[application.map.user]]\nto = 'displayName'\nfrom = '$.displayName'",
            "[[application.map.user]]\nto = 'displayName'\nfrom = '$.displayName'\ntable = { A = 'x', B = 'y' }",
            "[[application.map.user]]\nto = 'displayName'\nfrom = '$.displayName'\ntable = { A = 'x', B = 'z' }",
        ] {
            let it = one(other);
            assert!(!seen.contains(&it), "{other}");
            // Whoever computes it again, in this process or in the next, gets the same.
            assert_eq!(one(other), it, "{other}");
            seen.push(it);
        }
    }
}
