//! `usher import`: has the running gateway take in what is in an application, and tells what came of it.

use std::fmt::Write as _;
use std::process::ExitCode;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::socket::{self, Door, Failed};
use super::{Format, TEMPORARY, complain, progress, say};
use crate::scim::Kind;
use crate::store::{Counted, Import};

/// `usher import`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Only reads there. Each account is matched with the directory's users by userName, externalId or e-mail address, and\nlinked; or else created here, as nobody's: readable, and in no plan until a client writes to it, a group of a policy has\nit, or --claim says that it is ours. Imported again, it finds the same and creates nothing. The gateway carries it to its end\nthough this command is interrupted, and goes on with it after a restart.\nWith --socket and without --config, only the socket is tried.\nExit code: 0 done (conflicts are listed), 64 wrong usage or no such application, 70 a failure, 75 the gateway or the\napplication does not answer: the next import goes on where this one ended.\n\nExample:\n  usher import zoom --config /etc/usher/usher.toml"
)]
pub struct Args {
    /// The application's name in the configuration
    #[arg(value_name = "APPLICATION")]
    application: String,
    /// What is there is ours from now on: it is planned like what usher made, removals counted first
    #[arg(long)]
    claim: bool,
    /// json: one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    door: Door,
}

/// Asks, shows how far it is, and prints what came of it.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match ask(&args) {
        Ok(import) => {
            say(&match args.format {
                Format::Text => text(&import),
                // Texts and numbers: cannot fail.
                Format::Json => serde_json::to_string(&import).unwrap_or_default() + "\n",
            });
            if let Some(why) = &import.failed {
                complain(&format!(
                    "usher: {} gives no good answer, and the next import goes on where this one ended: {why}\n",
                    import.application
                ));
                return ExitCode::from(TEMPORARY);
            }
            ExitCode::SUCCESS
        }
        Err(Failed(code, text)) => {
            complain(&format!("usher: {text}\n"));
            ExitCode::from(code)
        }
    }
}

fn ask(args: &Args) -> Result<Import, Failed> {
    let name = utf8_percent_encode(&args.application, NON_ALPHANUMERIC).to_string();
    let target = format!("/import?application={name}&claim={}", args.claim);
    let so_far = format!("/import?application={name}");
    let body = progress::carried(&args.door, target, &so_far, |told| {
        let so_far: Option<Import> = serde_json::from_slice(told).ok()?;
        // Groups are few: the bar is the users'.
        let so_far = so_far.filter(|import| import.at == Kind::User && import.ended.is_none())?;
        let wide = |number: usize| u64::try_from(number).ok();
        Some((wide(so_far.next.saturating_sub(1))?, wide(so_far.total?)?))
    })?;
    serde_json::from_slice(&body).map_err(|_| socket::foreign())
}

fn text(import: &Import) -> String {
    let mut out = String::from("        FOUND     MATCHED   CREATED   CONFLICTED\n");
    let mut line = |of: &str, counted: Counted| {
        let Counted {
            found,
            matched,
            created,
            conflicted,
        } = counted;
        let line = format!("{of:<7} {found:<9} {matched:<9} {created:<9} {conflicted}");
        let _never = writeln!(out, "{line}");
    };
    line("users", import.users);
    line("groups", import.groups);
    if let Some(why) = &import.without_groups {
        let _never = writeln!(out, "\nGroups were left out: {why}");
    }
    if !import.conflicts.is_empty() {
        out.push_str("\nNot taken in:\n");
        for clash in &import.conflicts {
            let _never = writeln!(
                out,
                "  {:<5}  {:<24}  {:<28}  {}: {}",
                clash.kind.name(),
                clash.remote_id,
                clash.name,
                clash.code,
                clash.reason
            );
        }
        let named = u64::try_from(import.conflicts.len()).unwrap_or(u64::MAX);
        let all = import.users.conflicted + import.groups.conflicted;
        if all > named {
            let _never = writeln!(
                out,
                "  and {} more: `usher report --application {} --operation import --status warning`",
                all - named,
                import.application
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::store::Clash;

    #[test]
    fn people_get_counts_and_the_conflicts() {
        let mut import = Import::after(None, "zoom", false, Timestamp(1));
        import.at = Kind::User;
        import.users = Counted {
            found: 1200,
            matched: 7,
            created: 1190,
            conflicted: 2,
        };
        import.clashes(Clash {
            kind: Kind::User,
            remote_id: String::from("k&K"),
            name: String::from("ada@x.example"),
            code: String::from("ambiguous"),
            reason: String::from("two have it"),
        });
        let squeeze = |text: &str| -> Vec<String> {
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            text.lines().map(words).collect()
        };
        assert_eq!(
            squeeze(&text(&import)),
            [
                "FOUND MATCHED CREATED CONFLICTED",
                "users 1200 7 1190 3",
                "groups 0 0 0 0",
                "",
                "Not taken in:",
                "User k&K ada@x.example ambiguous: two have it",
                "and 2 more: `usher report --application zoom --operation import --status warning`",
            ]
        );
    }
}
