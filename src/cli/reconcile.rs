//! `usher reconcile`: has the running gateway compare an application with what was left there, and tells what differs.

use std::fmt::Write as _;
use std::process::ExitCode;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::socket::{self, Door, Failed};
use super::{Format, complain, progress, say};
use crate::settle::{Account, Reconciled, Told};

/// Something differs: a person may want to look.
const DIFFERS: u8 = 1;
/// Accounts of each kind that people are shown.
const SHOWN: usize = 50;

/// `usher reconcile`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reads every account there. Missing: linked here and not there. Foreign: there and nobody's here (`usher import` takes\nthem in). Drifted: not as it was sent, or seen last, attribute by attribute. --fix marks missing and drifted ones, and the\nqueue brings them to what they should be as far as policy allows, removals counted first; foreign ones are never touched.\nA list that is much shorter than it should be is not believed.\nWith --socket and without --config, only the socket is tried.\nExit code: 0 nothing differs, 1 something does, 64 wrong usage or no such application, 65 the list is too short to be\nbelieved and nothing was changed, 70 a failure, 75 the gateway or the application does not answer: try again.\n\nExample:\n  usher reconcile zoom --fix --config /etc/usher/usher.toml"
)]
pub struct Args {
    /// The application's name in the configuration
    #[arg(value_name = "APPLICATION")]
    application: String,
    /// Mark what differs, so that it is mended
    #[arg(long)]
    fix: bool,
    /// json: one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    door: Door,
}

/// Asks, shows how far it is, and prints what differs.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match ask(&args) {
        Ok(found) => {
            say(&match args.format {
                Format::Text => text(&found, args.fix),
                // Texts and numbers: cannot fail.
                Format::Json => serde_json::to_string(&found).unwrap_or_default() + "\n",
            });
            ExitCode::from(if found.is_same() { 0 } else { DIFFERS })
        }
        Err(Failed(code, text)) => {
            complain(&format!("usher: {text}\n"));
            ExitCode::from(code)
        }
    }
}

fn ask(args: &Args) -> Result<Reconciled, Failed> {
    let name = utf8_percent_encode(&args.application, NON_ALPHANUMERIC).to_string();
    let target = format!("/reconcile?application={name}&fix={}", args.fix);
    let so_far = format!("/reconcile?application={name}");
    let body = progress::carried(&args.door, target, &so_far, |told| {
        let so_far: Value = serde_json::from_slice(told).ok()?;
        Some((so_far["done"].as_u64()?, so_far["of"].as_u64()?))
    })?;
    serde_json::from_slice(&body).map_err(|_| socket::foreign())
}

fn text(found: &Reconciled, fix: bool) -> String {
    let mut out = format!(
        "{}: {} accounts there, {} linked here\nmissing {}, foreign {}, drifted {}\n",
        found.application,
        found.accounts,
        found.links,
        found.missing.count,
        found.foreign.count,
        found.drifted.count
    );
    if fix {
        let _never = writeln!(
            out,
            "marked to be mended {}, left alone {}",
            found.marked, found.left
        );
    }
    let kinds = [
        ("Missing", &found.missing),
        ("Foreign", &found.foreign),
        ("Drifted", &found.drifted),
    ];
    for (kind, Told { count, accounts }) in kinds {
        if accounts.is_empty() {
            continue;
        }
        let _never = writeln!(out, "\n{kind}:");
        for account in accounts.iter().take(SHOWN) {
            out.push_str(&one(account));
        }
        let named = u64::try_from(accounts.len().min(SHOWN)).unwrap_or(u64::MAX);
        if *count > named {
            let _never = writeln!(
                out,
                "  and {} more: --format json names more",
                count - named
            );
        }
    }
    out
}

fn one(account: &Account) -> String {
    let mut out = format!("  {:<24}  {}\n", account.remote_id, account.user);
    for drifted in &account.attributes {
        let value = |value: &Option<Value>| {
            value
                .as_ref()
                .map_or_else(|| String::from("(not shown)"), Value::to_string)
        };
        let _never = writeln!(
            out,
            "    {}: {} -> {}",
            drifted.attribute,
            value(&drifted.was),
            value(&drifted.now)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::drift::Drifted;

    #[test]
    fn people_get_what_differs() {
        let account = |id: &str, user: &str| Account {
            remote_id: id.to_owned(),
            user: user.to_owned(),
            attributes: Vec::new(),
        };
        let mut found = Reconciled {
            application: String::from("zoom"),
            accounts: 9,
            links: 8,
            marked: 1,
            ..Reconciled::default()
        };
        assert!(found.is_same());
        found.foreign = Told {
            count: 80,
            accounts: (0..80).map(|at| account(&at.to_string(), "x")).collect(),
        };
        let mut drifted = account("7", "ada@x.example");
        drifted.attributes.push(Drifted {
            attribute: String::from("displayName"),
            was: Some(Value::from("Ada")),
            now: None,
        });
        found.drifted = Told {
            count: 1,
            accounts: vec![drifted],
        };
        assert!(!found.is_same());
        let told = text(&found, true);
        for part in [
            "zoom: 9 accounts there, 8 linked here\nmissing 0, foreign 80, drifted 1\nmarked to be mended 1, left alone 0\n",
            "  and 30 more",
            "    displayName: \"Ada\" -> (not shown)\n",
        ] {
            assert!(told.contains(part), "{told}");
        }
    }
}
