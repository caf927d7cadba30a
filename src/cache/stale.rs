//! For how long a response may be served after its freshness has ended (RFC 9111 §4.2.4, RFC 5861).

use std::time::Duration;

use super::settings::{CacheSettings, EdgeTtlMode, Setting};
use crate::fields::cache_control::CacheControl;

/// What may be done with a response once it is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Staleness {
    /// How long it may be served while it is validated (RFC 5861 §3).
    pub(super) while_revalidating: Duration,
    /// How long it may be served when the origin fails (RFC 5861 §4).
    pub(super) if_error: Duration,
    /// How long it may be served when the origin has as much to do as it may, or is left alone.
    pub(super) when_overloaded: Duration,
    /// Whether it is not to be served beyond these, to a client that would accept it either.
    pub(super) forbidden: bool,
}

impl Staleness {
    /// Never served stale.
    pub(super) const NEVER: Self = Self {
        while_revalidating: Duration::ZERO,
        if_error: Duration::ZERO,
        when_overloaded: Duration::ZERO,
        forbidden: true,
    };

    /// What the origin and the settings allow.
    pub(super) fn of(control: &CacheControl, settings: &CacheSettings) -> Self {
        let Setting { value, rule } = settings.serve_stale;
        if control.s_maxage.is_some() && value.with_s_maxage == Some(false) {
            return Self::NEVER;
        }
        let mode = settings.edge_ttl.value.mode;
        let window =
            |ruled, given| stale_window(Setting { value: ruled, rule }, given, control, mode);
        Self {
            while_revalidating: window(value.while_revalidating, control.stale_while_revalidate),
            if_error: window(value.if_error, control.stale_if_error),
            // No directive of the origin's speaks of it.
            when_overloaded: window(value.when_overloaded, None),
            forbidden: forbids_stale(control, settings),
        }
    }
}

/// One stale window: the settings' before the origin's.
///
/// `must-revalidate` and `proxy-revalidate` forbid both (RFC 9111 §4.2.4), except where a rule
/// that overrides the origin's lifetimes gives a window as well. `s-maxage` implies
/// `proxy-revalidate` (§5.2.2.10), but a window that the origin or a rule states beside it is
/// meant, so only a built-in window yields to it, unless the settings take it by the letter.
fn stale_window(
    ruled: Setting<Option<Duration>>,
    given: Option<Duration>,
    control: &CacheControl,
    mode: EdgeTtlMode,
) -> Duration {
    let by_rule = ruled.value.filter(|_| ruled.rule.is_some());
    if control.must_revalidate || control.proxy_revalidate {
        let overriding = by_rule.filter(|_| mode == EdgeTtlMode::OverrideOrigin);
        return overriding.unwrap_or_default();
    }
    if control.s_maxage.is_some() {
        return by_rule.or(given).unwrap_or_default();
    }
    ruled.value.or(given).unwrap_or_default()
}

/// Whether the origin forbids to serve the response stale to a client that would accept it
/// (RFC 9111 §4.2.4). `s-maxage` does (§5.2.2.10), except where a rule says that it does not.
fn forbids_stale(control: &CacheControl, settings: &CacheSettings) -> bool {
    let by_s_maxage =
        control.s_maxage.is_some() && settings.serve_stale.value.with_s_maxage != Some(true);
    control.must_revalidate || control.proxy_revalidate || by_s_maxage
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{by_rule, map, seconds, settings, with_ttl};
    use super::super::settings::StaleWindows;
    use super::*;

    fn windows(control: &str, settings: &CacheSettings) -> (u64, u64) {
        let staleness = staleness(control, settings);
        (
            staleness.while_revalidating.as_secs(),
            staleness.if_error.as_secs(),
        )
    }

    fn staleness(control: &str, settings: &CacheSettings) -> Staleness {
        let control = CacheControl::of(&map(&[("cache-control", control)]));
        Staleness::of(&control, settings)
    }

    #[test]
    fn rfc5861_and_rfc9111_4_2_4_stale_windows() {
        use EdgeTtlMode::{OverrideOrigin, RespectOrigin};
        let built_in = |mode, windows| {
            let mut settings = with_ttl(mode, Some(60), &[]);
            settings.serve_stale = Setting::default_value(windows);
            settings
        };
        let ruled = |mode, windows| {
            let mut settings = with_ttl(mode, Some(60), &[]);
            settings.serve_stale = by_rule(windows);
            settings
        };
        let unset = StaleWindows::default();
        let both = StaleWindows {
            while_revalidating: Some(seconds(3)),
            if_error: Some(seconds(4)),
            ..StaleWindows::default()
        };
        let none = StaleWindows {
            while_revalidating: Some(Duration::ZERO),
            if_error: Some(Duration::ZERO),
            ..StaleWindows::default()
        };
        let origin = "max-age=9, stale-while-revalidate=1, stale-if-error=2";
        let table = [
            ("max-age=9", built_in(RespectOrigin, unset), (0, 0)),
            (origin, built_in(RespectOrigin, unset), (1, 2)),
            (origin, ruled(RespectOrigin, both), (3, 4)),
            (origin, ruled(RespectOrigin, none), (0, 0)),
            ("max-age=9", built_in(RespectOrigin, both), (3, 4)),
            (
                "s-maxage=9, stale-while-revalidate=1",
                built_in(RespectOrigin, unset),
                (1, 0),
            ),
            ("s-maxage=9", built_in(RespectOrigin, both), (0, 0)),
            ("s-maxage=9", ruled(RespectOrigin, both), (3, 4)),
            (
                "max-age=9, must-revalidate, stale-if-error=2",
                built_in(RespectOrigin, both),
                (0, 0),
            ),
            (
                "max-age=9, must-revalidate",
                ruled(RespectOrigin, both),
                (0, 0),
            ),
            (
                "max-age=9, proxy-revalidate",
                ruled(RespectOrigin, both),
                (0, 0),
            ),
            (
                "max-age=9, must-revalidate",
                ruled(OverrideOrigin, both),
                (3, 4),
            ),
            (
                "must-revalidate, stale-if-error=2",
                ruled(OverrideOrigin, unset),
                (0, 0),
            ),
            (
                "max-age=9, must-revalidate",
                built_in(OverrideOrigin, both),
                (0, 0),
            ),
        ];
        for (control, settings, expected) in table {
            assert_eq!(
                windows(control, &settings),
                expected,
                "{control} {:?}",
                settings.serve_stale
            );
        }
    }

    #[test]
    fn rfc9111_4_2_4_what_forbids_to_serve_stale_to_who_accepts_it() {
        let with = |with_s_maxage| {
            let mut settings = settings();
            settings.serve_stale.value.with_s_maxage = with_s_maxage;
            settings
        };
        for (control, setting, expected) in [
            ("max-age=9", None, false),
            ("max-age=9, must-revalidate", None, true),
            ("max-age=9, must-revalidate", Some(true), true),
            ("max-age=9, proxy-revalidate", None, true),
            ("s-maxage=9", None, true),
            ("s-maxage=9", Some(false), true),
            ("s-maxage=9", Some(true), false),
        ] {
            let forbidden = staleness(control, &with(setting)).forbidden;
            assert_eq!(forbidden, expected, "{control} {setting:?}");
        }
    }

    #[test]
    fn rfc9111_5_2_2_10_s_maxage_by_the_letter_leaves_no_stale_window() {
        let control = "s-maxage=9, stale-while-revalidate=1, stale-if-error=2";
        for (with_s_maxage, expected) in
            [(None, (3, 2)), (Some(true), (3, 2)), (Some(false), (0, 0))]
        {
            let mut settings = settings();
            settings.serve_stale = by_rule(StaleWindows {
                while_revalidating: Some(seconds(3)),
                with_s_maxage,
                ..StaleWindows::default()
            });
            assert_eq!(windows(control, &settings), expected, "{with_s_maxage:?}");
        }
    }
}
