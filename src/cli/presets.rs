//! `seawall presets [NAME]`.

use std::process::ExitCode;

use super::fail;
use crate::config::{PRESETS, Preset};

/// Prints presets as they are written.
pub(super) fn run(name: Option<&str>) -> ExitCode {
    let Some(name) = name else {
        let all: Vec<&str> = PRESETS.iter().map(|preset| preset.toml).collect();
        print!("{}", all.join("\n"));
        return ExitCode::SUCCESS;
    };
    if let Some(preset) = Preset::named(name) {
        print!("{}", preset.toml);
        return ExitCode::SUCCESS;
    }
    let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
    fail(&format!(
        "no preset \"{name}\"; there are {}",
        names.join(", ")
    ))
}
