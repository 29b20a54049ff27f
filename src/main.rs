//! usher: flags -> command -> exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    usher::cli::main()
}
