use super::*;
use crate::clock::Timestamp;
use crate::provision::link::Uncertain;
use crate::scim::{Handle, Id, Kind};

use serde_json::json;

/// An application that pushes `staff` and everything that starts with `zoom-`, changed by lines of its table.
pub(in crate::provision::group) fn application(groups: &str, lines: &str) -> Application {
    of("profile = \"zoom\"", groups, lines)
}

/// Any SCIM server.
pub(in crate::provision::group) fn scim() -> Application {
    let profile = "profile = \"scim\"\nbase_url = \"https://app.example/scim\"";
    of(profile, "", "")
}

fn of(profile: &str, groups: &str, lines: &str) -> Application {
    let text = format!(
        r#"
[[client]]
name = "okta"
token_sha256 = ["{}"]
[[application]]
name = "zoom"
{profile}
credentials = {{ kind = "bearer", token = {{ env = "T" }} }}
{lines}
[application.groups]
push = ["staff", "zoom-*"]
{groups}
"#,
        "0".repeat(64)
    );
    let origin = std::path::Path::new("usher.toml");
    let config = crate::config::parse(&text, origin, &|_| Some(String::from("token")));
    let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
    Application::compile(config.applications[0].clone())
}

pub(in crate::provision::group) fn link(remote_id: Option<&str>, origin: Origin) -> Link {
    Link {
        application: String::from("zoom"),
        remote_id: remote_id.map(str::to_owned),
        origin,
        state: crate::provision::link::State::Active,
        uncertain: None,
        sent: remote_id.map(|_| body("Staff")),
        seen_name: None,
        dropped: Vec::new(),
        fresh: false,
        removal: None,
        kept: false,
        untaken: None,
    }
}

pub(in crate::provision::group) fn body(name: &str) -> Map<String, Value> {
    json!({ "displayName": name }).as_object().unwrap().clone()
}

fn group(name: &str, link: Option<Link>) -> Resource {
    Resource {
        handle: Handle(1),
        id: Id::from("g"),
        kind: Kind::Group,
        version: 1,
        created: Timestamp(0),
        modified: Timestamp(0),
        owner: String::from("okta"),
        deleted: None,
        attributes: body(name),
        links: link.into_iter().collect(),
    }
}

const QUIET: Facts = Facts {
    in_doubt: false,
    refused: false,
    any_sent: false,
};
const DOUBT: Facts = Facts {
    in_doubt: true,
    ..QUIET
};
const REFUSED: Facts = Facts {
    refused: true,
    ..QUIET
};
const SENT: Facts = Facts {
    any_sent: true,
    ..QUIET
};

/// What is planned: the act's name, the note's code, and whether a link stays.
fn told(decision: &Decision) -> (&'static str, &'static str, bool) {
    let act = match decision.act {
        Act::Nothing => "nothing",
        Act::Give { .. } => "give",
        Act::Update { .. } => "update",
        Act::Members => "members",
        Act::Delete => "delete",
        Act::Leave => "leave",
    };
    let code = decision.note.as_ref().map_or("", |note| note.code);
    (act, code, decision.link.is_some())
}

#[test]
fn the_table() {
    let made = || Some(link(Some("r"), Origin::Created));
    let adopted = || Some(link(Some("r"), Origin::Adopted));
    let changed = |change: &dyn Fn(&mut Link)| {
        let mut link = link(Some("r"), Origin::Created);
        change(&mut link);
        Some(link)
    };
    let doubt = Uncertain {
        intended: Timestamp(1),
        sent: Timestamp(1),
    };
    let unborn = || {
        let mut link = link(None, Origin::Created);
        link.uncertain = Some(doubt);
        Some(link)
    };
    let refusing = || {
        let mut link = link(None, Origin::Created);
        link.kept = true;
        link.seen_name = Some(String::from("Staff"));
        Some(link)
    };
    let no_members = || changed(&|link| link.dropped = vec![String::from("members")]);
    type Line = (
        &'static str,
        &'static str,
        Option<Link>,
        Facts,
        (&'static str, &'static str, bool),
    );
    let table: Vec<Line> = vec![
        ("", "Other", None, QUIET, ("nothing", "not_pushed", false)),
        ("", "Staff", None, QUIET, ("give", "", false)),
        ("", "ZOOM-x", None, QUIET, ("give", "", false)),
        (
            "create = false",
            "Staff",
            None,
            QUIET,
            ("nothing", "create_off", false),
        ),
        (
            "create = false",
            "Staff",
            unborn(),
            QUIET,
            ("give", "", true),
        ),
        (
            "",
            "Staff",
            refusing(),
            QUIET,
            ("nothing", "unsupported", true),
        ),
        ("", "zoom-new", refusing(), QUIET, ("give", "", false)),
        ("", "Staff", made(), QUIET, ("nothing", "", true)),
        ("", "Staff", made(), DOUBT, ("members", "", true)),
        ("", "Staff", made(), REFUSED, ("members", "", true)),
        (
            "membership = false",
            "Staff",
            made(),
            DOUBT,
            ("nothing", "membership_off", true),
        ),
        (
            "",
            "Staff",
            no_members(),
            DOUBT,
            ("nothing", "unsupported", true),
        ),
        ("", "zoom-new", made(), QUIET, ("update", "", true)),
        // Members first, but those that were refused only when there is nothing else.
        ("", "zoom-new", made(), DOUBT, ("members", "", true)),
        ("", "zoom-new", made(), REFUSED, ("update", "", true)),
        (
            "update = false",
            "zoom-new",
            made(),
            QUIET,
            ("nothing", "update_off", true),
        ),
        (
            "",
            "Staff",
            changed(&|link| link.uncertain = Some(doubt)),
            QUIET,
            ("update", "", true),
        ),
        ("", "Other", made(), DOUBT, ("delete", "", true)),
        ("", "Other", unborn(), QUIET, ("delete", "", true)),
        (
            "delete = false",
            "Other",
            made(),
            QUIET,
            ("nothing", "delete_off", true),
        ),
        (
            "",
            "Other",
            changed(&|link| link.kept = true),
            QUIET,
            ("nothing", "kept", true),
        ),
        (
            "",
            "Staff",
            changed(&|link| link.kept = true),
            QUIET,
            ("nothing", "", true),
        ),
        // What was there before us stays.
        ("", "Other", adopted(), SENT, ("leave", "", true)),
        ("", "Other", adopted(), QUIET, ("nothing", "left", false)),
        (
            "membership = false",
            "Other",
            adopted(),
            SENT,
            ("nothing", "left", false),
        ),
        (
            "",
            "Other",
            refusing(),
            QUIET,
            ("nothing", "not_pushed", false),
        ),
        ("", " ", made(), QUIET, ("delete", "", true)),
    ];
    for (switches, name, link, facts, wanted) in table {
        let application = application(switches, "");
        let decision = plan(&application, &group(name, link.clone()), facts);
        assert_eq!(
            told(&decision),
            wanted,
            "{switches} {name} {link:?} {facts:?}"
        );
        // Deleted here is as if it were not pushed.
        let mut dead = group(name, link.clone());
        dead.deleted = Some(Timestamp(2));
        let dead = plan(&application, &dead, facts);
        let mut unwanted = group("Other", link);
        unwanted
            .attributes
            .insert("displayName".into(), json!("Other"));
        assert_eq!(told(&dead), told(&plan(&application, &unwanted, facts)));
    }
}

#[test]
fn simulate_mode_says_what_would_have_gone() {
    let application = application("", "mode = \"simulate\"");
    let decision = plan(&application, &group("Staff", None), QUIET);
    assert_eq!(told(&decision), ("give", "simulate", false));
}
