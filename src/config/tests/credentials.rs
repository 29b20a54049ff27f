//! What opens an application, and whom it is believed to be.

use super::*;

/// An authority's certificate, PEM.
pub(super) fn authority() -> String {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    params.self_signed(&key).expect("a certificate").pem()
}

/// The small file with credentials of one's own.
fn opened_by(credentials: &str, more: &str) -> String {
    let bearer = "{ kind = \"bearer\", token = { env = \"ZOOM_TOKEN\" } }";
    small(more).replace(bearer, &format!("{{ {credentials} }}"))
}

const SERVER: &str = r#"kind = "server_to_server", account_id = "acc", client_id = "cid", client_secret = { env = "ZOOM_CLIENT_SECRET" }"#;

#[test]
fn zooms_own_credentials() {
    let credentials =
        |text: &str| parsed(text).map(|config| config.applications[0].credentials.clone());
    let want = |url: &str| Credentials::ServerToServer {
        account_id: "acc".into(),
        client_id: "cid".into(),
        client_secret: Secret("cl1ent-s3cr3t".into()),
        token_url: url.into(),
    };
    let zooms = want("https://zoom.us/oauth/token");
    assert_eq!(credentials(&opened_by(SERVER, "")), Ok(zooms.clone()));
    assert!(!format!("{zooms:?}").contains("s3cr3t"));
    let local = format!("{SERVER}, token_url = \"http://127.0.0.1:9/oauth/token\"");
    assert_eq!(
        credentials(&opened_by(&local, "")),
        Ok(want("http://127.0.0.1:9/oauth/token"))
    );
}

#[test]
fn mistakes_in_zooms_own_credentials() {
    let with = |from: &str, to: &str| opened_by(&SERVER.replace(from, to), "");
    let and = |more: &str| opened_by(&format!("{SERVER}, {more}"), "");
    let scim = opened_by(SERVER, "base_url = \"https://app.example.com\"\n")
        .replace("profile = \"zoom\"", "profile = \"scim\"");
    for (text, key, part) in [
        (
            with("account_id = \"acc\", ", ""),
            "account_id",
            "App Credentials",
        ),
        (with("\"acc\"", "\"\""), "account_id", "App Credentials"),
        (
            with("\"cid\"", "\"s3cr3t s3cr3t\""),
            "client_id",
            "visible ASCII",
        ),
        (
            with("\"cid\"", "\"s3cr3t:s3cr3t\""),
            "client_id",
            "visible ASCII",
        ),
        (with("\"cid\"", "7"), "client_id", "a text in quotes"),
        (
            with(", client_secret = { env = \"ZOOM_CLIENT_SECRET\" }", ""),
            "client_secret",
            "{ env = \"NAME\" }",
        ),
        (
            with("{ env = \"ZOOM_CLIENT_SECRET\" }", "\"s3cr3t\""),
            "client_secret",
            "never stands in this file",
        ),
        (
            with("ZOOM_CLIENT_SECRET", "NOWHERE"),
            "client_secret.env",
            "one that holds the secret",
        ),
        (
            and("token = { env = \"ZOOM_TOKEN\" }"),
            "token",
            "usher gets tokens itself",
        ),
        (
            and("token_url = \"http://s3cr3t.example.com\""),
            "token_url",
            "plain http, with the client's secret in it",
        ),
        (
            and("token_url = \"s3cr3t\""),
            "token_url",
            "https://zoom.us/oauth/token",
        ),
        (
            and("token_url = \"https://zoom.us/oauth/token?s3cr3t=1\""),
            "token_url",
            "a URL such as",
        ),
        (and("tokenurl = \"s3cr3t\""), "tokenurl", "one of "),
        (scim, "token_url", "has no default"),
    ] {
        let problems = parsed(&text).expect_err(key);
        let told = problems.iter().map(Problem::to_string).collect::<Vec<_>>();
        assert_eq!(problems.len(), 1, "{told:?}");
        assert_eq!(problems[0].key, format!("application[0].credentials.{key}"));
        assert!(told[0].contains(part), "{told:?}");
        assert!(!told[0].contains("s3cr3t"), "{told:?}");
    }
}

#[test]
fn an_authority_is_read_and_looked_through() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    let line = format!("ca = \"{}\"\n", path.display());
    let pem = authority();
    std::fs::write(&path, &pem).expect("written");
    let config = parsed(&small(&line)).expect("an authority");
    assert_eq!(config.applications[0].ca.as_deref(), Some(pem.as_bytes()));
    // Relative to the configuration's own folder.
    let beside = parse(
        &small("ca = \"ca.pem\"\n"),
        &folder.path().join("usher.toml"),
        &env,
    );
    assert!(beside.is_ok());
    let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let cut = pem.get(..pem.len() - 40).expect("most of it").to_owned();
    let damaged = pem.replacen("MII", "MIJ", 1);
    for (content, part) in [
        ("", "without a PEM certificate"),
        ("not PEM at all", "without a PEM certificate"),
        (key.as_str(), "without a PEM certificate"),
        (cut.as_str(), "damaged PEM certificate"),
        (damaged.as_str(), "cannot be a root"),
    ] {
        std::fs::write(&path, content).expect("written");
        let problems = parsed(&small(&line)).expect_err(part);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].key, "application[0].ca");
        let told = problems[0].to_string();
        assert!(told.contains(part) && told.contains("ca.pem"), "{told}");
    }
    std::fs::remove_file(&path).expect("removed");
    let problems = parsed(&small(&line)).expect_err("gone");
    assert!(problems[0].to_string().contains("cannot be read"));
}

#[test]
fn what_systemd_hands_over_may_show_as_readable_by_its_group() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().expect("a folder");
    let credentials = home.path().join("credentials");
    let elsewhere = home.path().join("elsewhere");
    for folder in [&credentials, &elsewhere] {
        std::fs::create_dir(folder).expect("a folder");
    }
    let write = |folder: &Path, mode: u32| {
        let path = folder.join("zoom");
        let _gone = std::fs::remove_file(&path);
        std::fs::write(&path, "s3cr3t\n").expect("written");
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode).expect("a mode");
        path
    };
    let load = |path: &Path, credentials: Option<&Path>| {
        let text = small("").replace(
            "{ env = \"ZOOM_TOKEN\" }",
            &format!("{{ file = '{}' }}", path.display()),
        );
        assert!(text.contains("file = "), "{text}");
        let env = |name: &str| {
            let folder = credentials.filter(|_| name == "CREDENTIALS_DIRECTORY")?;
            folder.to_str().map(str::to_owned)
        };
        parse(&text, Path::new("usher.toml"), &env).map_err(|problems| problems[0].to_string())
    };
    for (mode, taken) in [
        (0o440, true),
        (0o400, true),
        (0o640, false),
        (0o444, false),
        (0o404, false),
    ] {
        let loaded = load(&write(&credentials, mode), Some(&credentials));
        assert_eq!(loaded.is_ok(), taken, "{mode:o}: {loaded:?}");
    }
    let inside = write(&credentials, 0o440);
    let outside = write(&elsewhere, 0o440);
    let by_dots = credentials.join("../elsewhere/zoom");
    let by_link = credentials.join("link");
    std::os::unix::fs::symlink(&outside, &by_link).expect("a link");
    let folders: [(&Path, Option<&Path>); 5] = [
        (&inside, None),
        (&outside, Some(&credentials)),
        (&by_dots, Some(&credentials)),
        (&by_link, Some(&credentials)),
        // Not absolute: nobody knows where that is.
        (&inside, Some(Path::new("."))),
    ];
    for (path, credentials) in folders {
        let told = load(path, credentials).expect_err("others may read it");
        assert!(told.contains("(mode 0440)"), "{told}");
    }
}
