//! The `flowsteer` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    flowsteer::cli::run()
}
