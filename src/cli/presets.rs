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
    match Preset::by_name(name) {
        Ok(preset) => {
            print!("{}", preset.toml);
            ExitCode::SUCCESS
        }
        Err(why) => fail(&why),
    }
}
