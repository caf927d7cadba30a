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
mod tests {
    use super::*;

    /// Names seen in the wild, and names that look like them.
    #[test]
    fn hashed_assets_knows_a_hash_when_it_sees_one() {
        let rules = Preset::named("hashed_assets")
            .unwrap()
            .rules()
            .unwrap()
            .phases
            .cache_rules;
        let headers = http::HeaderMap::new();
        let matches = |target: &str| {
            let (path, query) = match target.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (target, None),
            };
            let request = crate::request::RequestView {
                method: &http::Method::GET,
                scheme: crate::request::Scheme::Http,
                host: "a.test",
                path,
                query,
                version: http::Version::HTTP_11,
                headers: &headers,
                client: std::net::Ipv4Addr::LOCALHOST.into(),
                session_cookie: false,
                has_body: false,
                facts: crate::request::Facts::default(),
            };
            rules.iter().any(|rule| rule.expression.matches(&request))
        };
        for hashed in [
            "/static/js/main.3f2a9c1b.js",
            "/static/js/2.0d1e5f7a.chunk.js",
            "/static/media/logo.6ce24c58023cc2f8fd88fe9d219db6c6.svg",
            "/static/admin/css/base.55e7cbb9ba48.css",
            "/assets/application-9b5e0c1d2f3a4b5c6d7e8f901234567890abcdef1234567890abcdef12345678.css",
            "/assets/application-9b5e0c1d.js",
            "/assets/index-BxY12abc.js",
            "/build/assets/app-DkT3_fQ1.css",
            "/_astro/hoisted.BxY12abc.js",
            "/_next/static/chunks/main-app.js",
            "/_nuxt/entry.js",
            "/_app/immutable/nodes/0.js",
            "/main-5YLRA3V4.js",
            "/chunk-EQDQRRRY.js",
            "/styles-5INURTSO.css",
            "/js/app.js?id=0c6f1b2a3d4e5f607182",
        ] {
            assert!(matches(hashed), "{hashed}");
        }
        for plain in [
            "/static/js/main.js",
            "/static/report-20240101.js",
            "/static/css/facade-deadbeef.css",
            "/api/me/x.3f2a9c1b.css",
            "/account/json/x.3f2a9c1b.js",
            "/media/user-0a1b2c3d.jpg",
            "/static/550e8400-e29b-41d4-a716-44665544abcd.jpg",
            "/_nuxt/builds/latest.json",
            "/_app/immutable/me",
            "/assets/app-homePage.js",
            "/assets/app-userList.js",
            "/assets/bootstrap-v5-theme.css",
            "/assets/site-2024-new.css",
            "/assets/core-es2022ab.js",
            "/assets/app-release1.js",
            "/assets/intl-pt_BR_br.js",
            "/assets/messages-zh_Hans1.js",
            "/assets/lib-Chart412.js",
            "/assets/x-MyPage01.css",
            "/assets/photo-IMG_0042.jpg",
            "/assets/index-MainPage.js",
            "/json/me.css?id=0c6f1b2a3d4e5f607182",
            "/main-20240101.js",
        ] {
            assert!(!matches(plain), "{plain}");
        }
    }

    #[test]
    fn every_preset_reads_without_a_fault() {
        for preset in PRESETS {
            let rules = preset.rules().unwrap_or_else(|faults| panic!("{faults}"));
            assert!(!rules.phases.cache_rules.is_empty(), "{}", preset.name);
        }
    }
}
