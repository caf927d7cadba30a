//! Settings in the words of the configuration, for people.

use std::sync::Arc;
use std::time::Duration;

use super::{
    BrowserTtl, CredentialPolicy, EdgeTtl, EdgeTtlMode, Eligibility, HostKey, KeySettings,
    QueryKey, ReadTimeout, RequestCacheControl, StaleWindows, TtlValue, VaryForm, VarySettings,
};
use crate::fields::content_coding::Codings;

/// The value of a setting.
pub(super) trait SettingValue: Clone {
    /// What holds when a rule says this and earlier rules said `earlier`: by default this.
    fn over(&self, _earlier: &Self) -> Self {
        self.clone()
    }

    /// The value as the configuration would say it, but for brackets and quotes.
    fn in_words(&self) -> String;
}

impl<T: SettingValue> SettingValue for Arc<T> {
    fn in_words(&self) -> String {
        T::in_words(self)
    }
}

impl SettingValue for bool {
    fn in_words(&self) -> String {
        self.to_string()
    }
}

impl SettingValue for u32 {
    fn in_words(&self) -> String {
        self.to_string()
    }
}

/// Bytes.
impl SettingValue for u64 {
    fn in_words(&self) -> String {
        size(*self)
    }
}

impl SettingValue for Arc<[Box<str>]> {
    fn in_words(&self) -> String {
        if self.is_empty() {
            "none".to_owned()
        } else {
            self.join(", ")
        }
    }
}

impl SettingValue for Codings {
    fn in_words(&self) -> String {
        let names = self.iter().map(|coding| coding.as_str().to_owned());
        or_else(names, ", ", "false")
    }
}

impl SettingValue for Eligibility {
    fn in_words(&self) -> String {
        match self {
            Self::Eligible => "eligible",
            Self::Bypass => "bypass",
            Self::DevelopmentMode => "development mode",
        }
        .to_owned()
    }
}

impl SettingValue for CredentialPolicy {
    fn in_words(&self) -> String {
        match self {
            Self::Bypass => "bypass",
            Self::Ignore => "ignore",
        }
        .to_owned()
    }
}

impl SettingValue for RequestCacheControl {
    fn in_words(&self) -> String {
        match self {
            Self::Ignore => "ignore",
            Self::Respect => "respect",
        }
        .to_owned()
    }
}

impl SettingValue for Duration {
    fn in_words(&self) -> String {
        duration(*self)
    }
}

impl SettingValue for ReadTimeout {
    fn in_words(&self) -> String {
        match self {
            Self::OfPool => "pool".to_owned(),
            Self::After(time) => duration(*time),
        }
    }
}

/// `override_origin 60s, 404 10s, 500-599 no-store`.
impl SettingValue for EdgeTtl {
    fn in_words(&self) -> String {
        let mode = match self.mode {
            EdgeTtlMode::RespectOrigin => "respect_origin",
            EdgeTtlMode::OverrideOrigin => "override_origin",
            EdgeTtlMode::BypassByDefault => "bypass_by_default",
        };
        let default = self.default.map(|ttl| format!(" {}", duration(ttl)));
        let mut parts = vec![format!("{mode}{}", default.unwrap_or_default())];
        parts.extend(self.status.iter().map(|status| {
            let ttl = match status.ttl {
                TtlValue::For(Duration::ZERO) => "no-cache".to_owned(),
                TtlValue::For(ttl) => duration(ttl),
                TtlValue::NoStore => "no-store".to_owned(),
            };
            if status.from == status.to {
                format!("{} {ttl}", status.from)
            } else {
                format!("{}-{} {ttl}", status.from, status.to)
            }
        }));
        parts.extend(self.heuristic.map(|heuristic| {
            let longest = duration(heuristic.longest);
            format!("heuristic {}% up to {longest}", heuristic.percent)
        }));
        parts.join(", ")
    }
}

impl SettingValue for BrowserTtl {
    fn in_words(&self) -> String {
        match self {
            Self::RespectOrigin => "respect_origin".to_owned(),
            Self::Bypass => "bypass".to_owned(),
            Self::Override { ttl, immutable } => {
                let immutable = if *immutable { " immutable" } else { "" };
                format!("override_origin {}{immutable}", duration(*ttl))
            }
        }
    }
}

impl SettingValue for StaleWindows {
    fn over(&self, earlier: &Self) -> Self {
        Self {
            while_revalidating: self.while_revalidating.or(earlier.while_revalidating),
            if_error: self.if_error.or(earlier.if_error),
            when_overloaded: self.when_overloaded.or(earlier.when_overloaded),
            with_s_maxage: self.with_s_maxage.or(earlier.with_s_maxage),
        }
    }

    fn in_words(&self) -> String {
        let windows = [
            ("while_revalidating", self.while_revalidating),
            ("if_error", self.if_error),
            ("when_overloaded", self.when_overloaded),
        ];
        let windows = windows
            .into_iter()
            .filter_map(|(name, window)| Some(format!("{name} {}", duration(window?))));
        let with = self
            .with_s_maxage
            .map(|with| format!("with_s_maxage {with}"));
        or_else(windows.chain(with), ", ", "respect_origin")
    }
}

impl SettingValue for KeySettings {
    fn in_words(&self) -> String {
        let query = match &self.query {
            QueryKey::All => "query all".to_owned(),
            QueryKey::None => "query none".to_owned(),
            QueryKey::Include(names) => format!("query include {}", names.join(", ")),
            QueryKey::Exclude(names) => format!("query exclude {}", names.join(", ")),
        };
        let lists = [
            ("headers", &self.headers),
            ("header_presence", &self.header_presence),
            ("cookies", &self.cookies),
            ("cookie_presence", &self.cookie_presence),
        ];
        let lists = lists
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(key, names)| format!("{key} {}", names.join(", ")));
        let contains = self
            .header_contains
            .iter()
            .map(|(name, texts)| format!("header_contains {name} {}", texts.join(", ")));
        let switches = [
            ("sort_query", self.sort_query),
            ("device", self.device),
            ("country", self.country),
            ("host resolved", self.host == HostKey::Resolved),
        ];
        let switches = switches
            .into_iter()
            .filter(|(_, on)| *on)
            .map(|(words, _)| words.to_owned());
        let parts = std::iter::once(query).chain(lists).chain(contains);
        or_else(parts.chain(switches), "; ", "")
    }
}

impl SettingValue for VarySettings {
    fn in_words(&self) -> String {
        let fields = self.fields.iter().map(|(name, form)| {
            let form = match form {
                VaryForm::PassThrough => "pass_through".to_owned(),
                VaryForm::Normalize => "normalize".to_owned(),
                VaryForm::Bypass => "bypass".to_owned(),
                VaryForm::Best(choices) => choices.join(", "),
            };
            format!("{name} {form}")
        });
        let switches = [
            ("default bypass", self.bypass_others),
            ("validate_variants", self.validate_variants),
        ];
        let switches = switches
            .into_iter()
            .filter(|(_, on)| *on)
            .map(|(words, _)| words.to_owned());
        or_else(fields.chain(switches), "; ", "default pass_through")
    }
}

fn or_else(parts: impl Iterator<Item = String>, separator: &str, nothing: &str) -> String {
    let parts: Vec<_> = parts.collect();
    if parts.is_empty() {
        nothing.to_owned()
    } else {
        parts.join(separator)
    }
}

/// In the largest unit of which there is a whole number: `90s`, `2m`, `1h`, `1 day`, `365 days`. A
/// minute is `60s`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_millis() > 0 {
        return format!("{}ms", duration.as_millis());
    }
    match seconds {
        0 => "0s".to_owned(),
        86_400 => "1 day".to_owned(),
        days if days % 86_400 == 0 => format!("{} days", days / 86_400),
        hours if hours % 3_600 == 0 => format!("{}h", hours / 3_600),
        minutes if minutes % 60 == 0 && minutes > 60 => format!("{}m", minutes / 60),
        seconds => format!("{seconds}s"),
    }
}

/// In the largest unit of which there is a whole number: `32 MiB`, `1500 bytes`.
fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units
        .into_iter()
        .find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match unit {
        Some((unit, shift)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CachePatch, CacheSettings, Heuristic, RuleId, StatusTtl};
    use super::*;
    use http::HeaderName;

    const fn status(from: u16, to: u16, ttl: TtlValue) -> StatusTtl {
        StatusTtl { from, to, ttl }
    }

    fn patch() -> CachePatch {
        let text = |text: &str| text.to_owned();
        CachePatch {
            eligibility: Some(Eligibility::Bypass),
            edge_ttl: Some(Arc::new(EdgeTtl {
                mode: EdgeTtlMode::OverrideOrigin,
                default: Some(Duration::from_mins(1)),
                status: vec![
                    status(404, 404, TtlValue::For(Duration::from_secs(10))),
                    status(410, 410, TtlValue::For(Duration::ZERO)),
                    status(500, 599, TtlValue::NoStore),
                ],
                heuristic: None,
            })),
            browser_ttl: Some(BrowserTtl::Override {
                ttl: Duration::from_hours(365 * 24),
                immutable: true,
            }),
            max_object_size: Some(64 << 20),
            min_uses: Some(3),
            tags: Some(Arc::from(["catalog".into(), "shop".into()])),
            read_timeout: Some(ReadTimeout::After(Duration::from_millis(2500))),
            key: Some(Arc::new(KeySettings {
                query: QueryKey::Exclude(vec![text("utm_*"), text("fbclid")]),
                sort_query: true,
                headers: vec![text("x-tenant")],
                header_contains: vec![(
                    text("accept"),
                    vec![text("image/webp"), text("image/avif")],
                )],
                country: true,
                host: HostKey::Resolved,
                ..KeySettings::default()
            })),
            vary: Some(Arc::new(VarySettings {
                fields: vec![(
                    HeaderName::from_static("accept-language"),
                    VaryForm::Best(vec![text("en"), text("de")]),
                )],
                bypass_others: true,
                validate_variants: false,
            })),
            ..CachePatch::default()
        }
    }

    #[test]
    fn a_rule_is_told_in_the_words_of_the_configuration() {
        let expected = [
            ("cache", "bypass"),
            (
                "edge_ttl",
                "override_origin 60s, 404 10s, 410 no-cache, 500-599 no-store",
            ),
            ("browser_ttl", "override_origin 365 days immutable"),
            ("max_object_size", "64 MiB"),
            ("min_uses", "3"),
            ("tags", "catalog, shop"),
            (
                "key",
                "query exclude utm_*, fbclid; headers x-tenant; header_contains accept image/webp, \
                 image/avif; sort_query; country; host resolved",
            ),
            ("vary", "accept-language en, de; default bypass"),
            ("read_timeout", "2500ms"),
        ]
        .map(|(key, words)| (key, words.to_owned()));
        assert_eq!(patch().describe(), expected);
        assert!(CachePatch::default().describe().is_empty());
    }

    #[test]
    fn settings_in_force_name_the_rule_that_set_them() {
        let mut settings = CacheSettings::default();
        patch().apply(RuleId(4), &mut settings);
        let told = settings.describe();
        let of = |key| told.iter().find(|(known, ..)| *known == key).unwrap();
        assert_eq!(
            *of("min_uses"),
            ("min_uses", "3".to_owned(), Some(RuleId(4)))
        );
        assert_eq!(*of("cache_post"), ("cache_post", "false".to_owned(), None));
        for (key, words) in [
            ("edge_ttl", "respect_origin"),
            ("serve_stale", "respect_origin"),
            ("key", "query all"),
            ("vary", "default pass_through"),
            ("tags", "none"),
            ("read_timeout", "pool"),
        ] {
            let told = CacheSettings::default().describe();
            assert!(told.contains(&(key, words.to_owned(), None)), "{key}");
        }
    }

    #[test]
    fn stale_windows_stack_one_by_one() {
        let windows = |while_revalidating, if_error| StaleWindows {
            while_revalidating: Option::map(while_revalidating, Duration::from_secs),
            if_error: Option::map(if_error, Duration::from_secs),
            when_overloaded: None,
            with_s_maxage: None,
        };
        let both = windows(Some(1), None).over(&windows(Some(2), Some(3600)));
        assert_eq!(both, windows(Some(1), Some(3600)));
        assert_eq!(both.in_words(), "while_revalidating 1s, if_error 1h");
    }

    #[test]
    fn numbers_are_written_with_the_unit_that_fits() {
        for (seconds, text) in [
            (0, "0s"),
            (1, "1s"),
            (60, "60s"),
            (90, "90s"),
            (120, "2m"),
            (3_600, "1h"),
            (86_400, "1 day"),
            (172_800, "2 days"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
        for (bytes, text) in [
            (0, "0 bytes"),
            (1500, "1500 bytes"),
            (65_536, "64 KiB"),
            (1 << 30, "1 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        let heuristic = EdgeTtl {
            heuristic: Some(Heuristic {
                percent: 10,
                longest: Duration::from_hours(24),
            }),
            ..EdgeTtl::default()
        };
        assert_eq!(
            heuristic.in_words(),
            "respect_origin, heuristic 10% up to 1 day"
        );
    }
}
