//! Presets: named rule sets, written as a user could have written them.

use super::Config;
use super::diagnostics::{Diagnostic, Diagnostics};
use super::file::read_preset;
use super::phase::PhasesFile;
use crate::explain::RuleTest;

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
    pub(super) tests: Vec<RuleTest>,
}

impl Preset {
    /// The preset of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The preset of this name.
    ///
    /// # Errors
    /// A sentence that names those there are.
    pub fn by_name(name: &str) -> Result<&'static Self, String> {
        Self::named(name).ok_or_else(|| {
            let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
            format!("no preset \"{name}\"; there are {}", names.join(", "))
        })
    }

    /// Its rules.
    pub(super) fn rules(&self) -> Result<PresetRules, Diagnostics> {
        let file = format!("preset {}", self.name);
        let (rules, faults) = read_preset(self.toml, &file);
        if faults.is_empty() {
            Ok(rules)
        } else {
            Err(Diagnostics::new(&file, self.toml, faults))
        }
    }

    /// A configuration of one zone with this preset alone, which answers for every host, and the
    /// preset's tests.
    ///
    /// # Errors
    /// Every fault of the preset.
    pub fn alone(&self) -> Result<Config, Diagnostics> {
        let source = format!(
            "listen = \"[::]:80\"\npools.app.servers = \"http://localhost\"\n\
             zones.{name} = {{ hosts = \"*\", pool = \"app\", presets = \"{name}\" }}",
            name = self.name
        );
        let config = super::parse(self.name, &source, &|_| None)?;
        let tests = self.rules()?.tests;
        Ok(Config { tests, ..config })
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
