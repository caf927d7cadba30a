//! Findings about rules that may give one user's response to another.

use super::codes::{
    BROAD_OVERRIDE, PERSONALISED_PAGE, REMOVED_NO_STORE, S_MAXAGE_WITHOUT_STALE, STORES_SET_COOKIE,
    STRIPS_SET_COOKIE,
};
use super::finding::Findings;
use super::written::Place;
use crate::cache::settings::{CredentialPolicy, EdgeTtlMode};
use crate::config::Zone;
use crate::rules::phase::{DirectiveEdit, ResponsePatch};
use crate::rules::{CacheRule, Rule};

pub(super) fn check(zone: &Zone, found: &mut Findings) {
    let cache_rules = zone.rules.cache_rules.rules.rules();
    let is_next = |rule: &CacheRule| *rule.source.file == *"preset nextjs";
    let next = cache_rules.iter().any(is_next);
    for rule in cache_rules {
        set_cookie(rule, found);
        credentials(rule, found);
        lifetimes(rule, next, found);
    }
    for rule in zone.rules.cache_response_rules.rules() {
        response(rule, found);
    }
}

/// Whether it is for whatever looks like a page.
fn is_broad<A>(rule: &Rule<A>) -> bool {
    !rule.expression.is_narrow() && !rule.expression.is_of_assets()
}

fn set_cookie(rule: &CacheRule, found: &mut Findings) {
    let place = Place::of(rule);
    if rule.action.store_set_cookie == Some(true) {
        let message = format!(
            "the rule \"{}\" stores responses with their Set-Cookie",
            rule.name
        );
        found.add(STORES_SET_COOKIE, &place, "store_set_cookie", message, None);
    }
    if rule.action.strip_set_cookie == Some(true) && is_broad(rule) {
        stripped(&rule.name, &place, found);
    }
}

fn stripped(name: &str, place: &Place<'_>, found: &mut Findings) {
    let message = format!("the rule \"{name}\" removes Set-Cookie from all pages");
    found.add(STRIPS_SET_COOKIE, place, "strip_set_cookie", message, None);
}

fn credentials(rule: &CacheRule, found: &mut Findings) {
    let patch = &rule.action;
    let ignores = Some(CredentialPolicy::Ignore);
    let by_cookie = patch
        .key
        .as_ref()
        .is_some_and(|key| !key.cookies.is_empty());
    let credentials = [
        (
            "session_cookie",
            patch.session_cookie == ignores && !by_cookie,
        ),
        ("authorization", patch.authorization == ignores),
    ];
    for (key, ignored) in credentials {
        if ignored && is_broad(rule) {
            let message = format!(
                "the rule \"{}\" has `{key} = \"ignore\"` for all pages",
                rule.name
            );
            found.add(PERSONALISED_PAGE, &Place::of(rule), key, message, None);
        }
    }
}

fn lifetimes(rule: &CacheRule, next: bool, found: &mut Findings) {
    let patch = &rule.action;
    let overrides = |ttl: &EdgeTtlMode| *ttl == EdgeTtlMode::OverrideOrigin;
    if patch
        .edge_ttl
        .as_ref()
        .is_some_and(|ttl| overrides(&ttl.mode))
        && is_broad(rule)
    {
        let message = format!(
            "the rule \"{}\" overrides the lifetime of all pages",
            rule.name
        );
        found.add(BROAD_OVERRIDE, &Place::of(rule), "edge_ttl", message, None);
    }
    let Some(stale) = &patch.serve_stale else {
        return;
    };
    if stale.with_s_maxage == Some(false) && next {
        let message = format!(
            "the rule \"{}\" serves nothing stale of what Next.js renders",
            rule.name
        );
        found.add(
            S_MAXAGE_WITHOUT_STALE,
            &Place::of(rule),
            "with_s_maxage",
            message,
            None,
        );
    } else if stale.with_s_maxage == Some(false)
        && let Some(window) = stale.while_revalidating.filter(|window| !window.is_zero())
    {
        let message = format!(
            "the rule \"{}\" gives {} of stale responses, but none beside `s-maxage`",
            rule.name,
            crate::cache::settings::duration_in_words(window)
        );
        found.add(
            S_MAXAGE_WITHOUT_STALE,
            &Place::of(rule),
            "with_s_maxage",
            message,
            None,
        );
    }
}

fn response(rule: &Rule<ResponsePatch>, found: &mut Findings) {
    if rule.action.strip_set_cookie == Some(true) && is_broad(rule) {
        stripped(&rule.name, &Place::of(rule), found);
    }
    if rule.expression.is_of_assets() {
        return;
    }
    for (name, edit) in &rule.action.cache_control {
        if *edit == DirectiveEdit::Remove && ["private", "no-store"].contains(&name.as_str()) {
            let message = format!("the rule \"{}\" removes the origin's `{name}`", rule.name);
            found.add(REMOVED_NO_STORE, &Place::of(rule), name, message, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, rules};

    const BROAD: &[&str] = &[
        "true",
        r#"http.host eq "a.test""#,
        r#"http.request.uri.path.extension in {"" "html"}"#,
    ];
    const NARROW: &[&str] = &[
        r#"starts_with(http.request.uri.path, "/a/")"#,
        r#"http.request.uri.path.extension in {"css" "js"}"#,
    ];

    /// For what is broad there is the finding, for what is narrow there is none.
    fn told_when_broad(phase: &str, sets: &str, code: &'static str) {
        for (expressions, expected) in [(BROAD, &[code][..]), (NARROW, &[])] {
            for expression in expressions {
                let rule = format!("expression = '{expression}'\n{sets}");
                assert_eq!(codes(&rules(phase, &[&rule])), expected, "{rule}");
            }
        }
    }

    #[test]
    fn what_shares_all_pages_is_told() {
        let of_cache = |sets, code| told_when_broad("cache_rules", sets, code);
        of_cache("strip_set_cookie = true", "strips-set-cookie");
        of_cache("session_cookie = \"ignore\"", "personalised-page");
        of_cache("authorization = \"ignore\"", "personalised-page");
        of_cache("edge_ttl = { default = \"60s\" }", "broad-override");
        told_when_broad(
            "cache_response_rules",
            "strip_set_cookie = true",
            "strips-set-cookie",
        );
    }

    #[test]
    fn what_leaves_decisions_to_the_origin_is_not_told() {
        for sets in [
            "strip_set_cookie = false",
            "session_cookie = \"bypass\"",
            "session_cookie = \"ignore\"\nkey = { cookies = [\"tenant\"] }",
            "edge_ttl = { mode = \"respect_origin\", default = \"60s\" }",
        ] {
            let rule = format!("expression = 'true'\n{sets}");
            assert_eq!(codes(&rules("cache_rules", &[&rule])), [""; 0], "{sets}");
        }
    }

    #[test]
    fn storing_set_cookie_is_told_wherever_it_is() {
        for (value, expected) in [("true", &["stores-set-cookie"][..]), ("false", &[])] {
            let rule = format!("expression = '{}'\nstore_set_cookie = {value}", NARROW[0]);
            assert_eq!(codes(&rules("cache_rules", &[&rule])), expected);
        }
    }

    #[test]
    fn a_window_that_s_maxage_closes_is_told() {
        for (stale, expected) in [
            (
                "while_revalidating = \"1h\", with_s_maxage = false",
                &["s-maxage-without-stale"][..],
            ),
            ("while_revalidating = \"1h\"", &[]),
            ("with_s_maxage = false", &[]),
        ] {
            let rule = format!("expression = 'ssl'\nserve_stale = {{ {stale} }}");
            assert_eq!(codes(&rules("cache_rules", &[&rule])), expected, "{stale}");
        }
        let rule = "expression = 'ssl'\nserve_stale = { with_s_maxage = false }";
        let zone = format!("presets = [\"nextjs\"]\n{}", rules("cache_rules", &[rule]));
        assert_eq!(codes(&zone), ["s-maxage-without-stale"]);
    }

    #[test]
    fn removing_what_keeps_private_is_told_but_for_assets() {
        for (expression, sets, expected) in [
            ("true", "no-store = false", &["removed-no-store"][..]),
            (NARROW[0], "private = false", &["removed-no-store"]),
            (NARROW[0], "no-cache = false", &[]),
            (NARROW[0], "no-store = true", &[]),
            (NARROW[1], "no-store = false", &[]),
        ] {
            let rule = format!("expression = '{expression}'\ncache_control = {{ {sets} }}");
            assert_eq!(
                codes(&rules("cache_response_rules", &[&rule])),
                expected,
                "{rule}"
            );
        }
    }
}
