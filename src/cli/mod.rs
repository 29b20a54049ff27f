//! The command line: one file a command, each with its `Args` and its `run`.
//!
//! Exit codes are those of sysexits: 0 done, 1 done and a person may have to look, 64 wrong usage or a configuration with
//! mistakes, 65 a data file that is not the one expected, 66 no data file, 70 a failure of our own, 75 try again.

pub mod backup;
pub mod check;
pub mod confirm;
pub mod demo;
pub mod holds;
pub mod import;
pub mod links;
pub mod log;
mod progress;
pub mod reconcile;
pub mod replay;
pub mod report;
pub mod restore;
pub mod retry;
pub mod sandbox;
pub mod serve;
mod socket;
pub mod status;
pub mod test;
pub mod token;
pub mod undo;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Wrong usage, or a configuration with mistakes (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// The data is not what was expected, or damaged (`EX_DATAERR`).
pub const DATA: u8 = 65;
/// There is no such file (`EX_NOINPUT`).
pub const NO_INPUT: u8 = 66;
/// Try again (`EX_TEMPFAIL`): the data file is in use, or a commit failed and its outcome is unknown.
pub const TEMPORARY: u8 = 75;
/// A failure of our own or of the system below us (`EX_SOFTWARE`).
pub const FAILURE: u8 = 70;

/// usher, an embedded SCIM gateway.
#[derive(Debug, Parser)]
#[command(
    name = "usher",
    version,
    about = "An embedded SCIM gateway: keeps what the identity provider said and brings applications to that state.",
    after_help = "Example:\n  usher check --config usher.toml"
)]
struct Usher {
    #[command(subcommand)]
    command: Command,
}

/// What to do. A command is one line here and one in [`Command::run`].
#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway
    Serve(serve::Args),
    /// Shows a short day of an identity provider, sandbox and gateway in one process
    Demo(demo::Args),
    /// Runs the stand-in for Zoom's SCIM API
    Sandbox(sandbox::Args),
    /// Shows what was provisioned, for whom, and how it ended
    Report(report::Args),
    /// Tries the way to an application: name, TLS, token, scope, single sign-on, one read
    Test(test::Args),
    /// Takes in what is in an application and not here: users and groups, by reading calls alone
    Import(import::Args),
    /// Compares an application with what was left there: missing, foreign and drifted accounts
    Reconcile(reconcile::Args),
    /// Writes a backup of the directory, also while the gateway runs
    Backup(backup::Args),
    /// Puts a backup in the data file's place; the gateway then only reads until `usher confirm`
    Restore(restore::Args),
    /// Says that what was restored is right: writes are taken again, and every account is read back
    Confirm(confirm::Args),
    /// Brings people and groups back to where they were before a client's writes
    Undo(undo::Args),
    /// Shows what another configuration would have done with the requests of the last days, and sends nothing
    Replay(replay::Args),
    /// Shows how a running gateway and its applications are
    Status(status::Args),
    /// Lists removals that the safety limit stopped; releases or rejects them
    Holds(holds::Args),
    /// Shows which accounts are whose; forgets one, or has it looked up again
    Links(links::Args),
    /// Tries again now what failed, in quarantine too
    Retry(retry::Args),
    /// Checks a configuration and tells every mistake in it
    Check(check::Args),
    /// Makes a new token for a client and the lines that let it in
    Token(token::Args),
}

impl Command {
    fn run(self) -> ExitCode {
        match self {
            Self::Serve(args) => serve::run(args),
            Self::Demo(args) => demo::run(args),
            Self::Sandbox(args) => sandbox::run(args),
            Self::Report(args) => report::run(args),
            Self::Test(args) => test::run(args),
            Self::Import(args) => import::run(args),
            Self::Reconcile(args) => reconcile::run(args),
            Self::Backup(args) => backup::run(args),
            Self::Restore(args) => restore::run(args),
            Self::Confirm(args) => confirm::run(args),
            Self::Undo(args) => undo::run(args),
            Self::Replay(args) => replay::run(args),
            Self::Status(args) => status::run(args),
            Self::Holds(args) => holds::run(args),
            Self::Links(args) => links::run(args),
            Self::Retry(args) => retry::run(args),
            Self::Check(args) => check::run(args),
            Self::Token(args) => token::run(args),
        }
    }
}

/// How a command's answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}

/// Reads the process's arguments and runs the command that they name.
#[must_use]
pub fn main() -> ExitCode {
    match read(std::env::args_os()) {
        Ok(command) => command.run(),
        Err((code, text)) => {
            if code == 0 {
                say(&text);
            } else {
                complain(&text);
            }
            ExitCode::from(code)
        }
    }
}

/// The command, or the exit code and what to print with it: help and version are 0, all else is [`USAGE`].
fn read(args: impl IntoIterator<Item = OsString>) -> Result<Command, (u8, String)> {
    Usher::try_parse_from(args)
        .map(|usher| usher.command)
        .map_err(|error| {
            // clap's own code is 2, which scripts cannot tell from many another program's failure.
            let code = if error.use_stderr() { USAGE } else { 0 };
            (code, error.render().to_string())
        })
}

/// Writes to standard output. A reader that went away (`usher ... | head`) is no failure.
pub fn say(text: &str) {
    let _gone = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Writes to standard error.
pub fn complain(text: &str) {
    let _gone = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_have_exit_codes() {
        for (line, code) in [
            ("usher", 64),
            ("usher chekc", 64),
            ("usher check --config", 64),
            ("usher check --format yaml", 64),
            ("usher token", 64),
            ("usher report --limit 0", 64),
            ("usher sandbox --listen here", 64),
            ("usher --help", 0),
            ("usher --version", 0),
            ("usher check --help", 0),
            ("usher report --help", 0),
            ("usher sandbox --help", 0),
            ("usher replay --config new.toml", 64),
            ("usher replay --help", 0),
            ("usher backup", 64),
            ("usher restore", 64),
            ("usher backup --help", 0),
            ("usher restore --help", 0),
            ("usher confirm --help", 0),
            ("usher import", 64),
            ("usher import --help", 0),
            ("usher reconcile", 64),
            ("usher reconcile --help", 0),
            ("usher links --help", 0),
            ("usher links show", 64),
            ("usher links --state odd", 64),
            ("usher links --limit 0", 64),
            ("usher links unlink a@x.example", 64),
            ("usher links unlink --help", 0),
            ("usher links rematch --help", 0),
            ("usher retry", 64),
            ("usher retry --all --person a@x.example", 64),
            ("usher retry --help", 0),
        ] {
            let read = read(line.split(' ').map(OsString::from));
            let (found, text) = read.expect_err(line);
            assert_eq!(found, code, "{line}: {text}");
        }
        let check = read(
            "usher check --config a.toml --format json"
                .split(' ')
                .map(OsString::from),
        );
        assert!(matches!(check, Ok(Command::Check(_))), "{check:?}");
    }

    #[test]
    fn every_command_has_an_example() {
        let mut usher = Usher::command();
        usher.build();
        for command in usher.get_subcommands_mut() {
            let name = command.get_name().to_owned();
            if name == "help" {
                continue;
            }
            let help = command.render_long_help().to_string();
            assert!(
                help.contains(&format!("Example:\n  usher {name} ")),
                "{help}"
            );
        }
    }
}
