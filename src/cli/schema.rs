//! `seawall schema`.

use std::process::ExitCode;

/// Prints the JSON Schema of configuration files, which a test makes of the reference.
pub(super) fn run() -> ExitCode {
    print!("{}", include_str!("../../conf/seawall.schema.json"));
    ExitCode::SUCCESS
}
