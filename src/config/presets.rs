//! Presets: named rule sets, written as a user could have written them.

use super::diagnostics::{Diagnostic, Diagnostics};
use super::file::read_preset;
use super::phase::PhasesFile;

/// A named rule set.
#[derive(Debug)]
pub struct Preset {
    /// Name in `presets = [...]`.
    pub name: &'static str,
    /// The TOML.
    pub toml: &'static str,
}

/// All presets.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "hashed_assets",
        toml: include_str!("../../conf/presets/hashed_assets.toml"),
    },
    Preset {
        name: "bypass_private",
        toml: include_str!("../../conf/presets/bypass_private.toml"),
    },
    Preset {
        name: "django",
        toml: include_str!("../../conf/presets/django.toml"),
    },
    Preset {
        name: "nextjs",
        toml: include_str!("../../conf/presets/nextjs.toml"),
    },
    Preset {
        name: "rails",
        toml: include_str!("../../conf/presets/rails.toml"),
    },
    Preset {
        name: "laravel",
        toml: include_str!("../../conf/presets/laravel.toml"),
    },
    Preset {
        name: "wordpress",
        toml: include_str!("../../conf/presets/wordpress.toml"),
    },
    Preset {
        name: "static_site",
        toml: include_str!("../../conf/presets/static_site.toml"),
    },
];

/// What a preset contributes to a zone.
pub(super) struct PresetRules {
    pub(super) session_cookies: Vec<String>,
    pub(super) phases: PhasesFile,
}

impl Preset {
    /// The preset of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// Its rules.
    pub(super) fn rules(&self) -> Result<PresetRules, Diagnostics> {
        let file = format!("preset {}", self.name);
        let (session_cookies, phases, faults) = read_preset(self.toml, &file);
        if faults.is_empty() {
            Ok(PresetRules {
                session_cookies,
                phases,
            })
        } else {
            Err(Diagnostics::new(&file, self.toml, faults))
        }
    }
}

/// A fault that names the presets there are.
pub(super) fn unknown_preset(name: &str, span: std::ops::Range<usize>) -> Diagnostic {
    let names = PRESETS.iter().map(|preset| preset.name);
    let known = || {
        names
            .clone()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    Diagnostic {
        span,
        message: format!("unknown preset `{name}`"),
        help: super::diagnostics::did_you_mean(name, names.clone()).or_else(|| {
            Some(format!(
                "known are {}; `seawall presets` prints them",
                known()
            ))
        }),
    }
}

#[cfg(test)]
#[path = "presets_tests.rs"]
mod tests;
