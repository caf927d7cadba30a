//! Findings about rules that stand in the wrong place among others.

use super::codes::{SHADOWED_RULE, UNDONE_BYPASS, UNREACHABLE_RULE};
use super::finding::Findings;
use super::written::Place;
use crate::cache::settings::{CachePatch, CredentialPolicy, Eligibility, StaleWindows};
use crate::guard::CustomRule;
use crate::rules::expression::{Environment, Expression};
use crate::rules::phase::{OriginPatch, Phases, Rewrite};
use crate::rules::{CacheRule, Rule, Value};

/// A rule is compared with so many that follow: time grows with their product.
const MOST_COMPARED: usize = 2_000;

pub(super) fn check(phases: &Phases, found: &mut Findings) {
    let cache_rules = phases.cache_rules.rules.rules();
    shadowed(cache_rules, cache_keys, overwrites, found);
    let origin = |patch: &OriginPatch| keys(patch.describe());
    shadowed(phases.origin_rules.rules(), origin, |_, _, _| true, found);
    let fixed = |rewrite: &Rewrite, key: &str| {
        let value = if key == "path" {
            &rewrite.path
        } else {
            &rewrite.query
        };
        // A computed one may have no value, and then the earlier one holds.
        matches!(value, Some(Value::Text(_)))
    };
    shadowed(
        phases.rewrite_rules.rules(),
        |rewrite: &Rewrite| keys(rewrite.describe()),
        |_, later, key| fixed(later, key),
        found,
    );
    unreachable(phases.custom_rules.rules(), CustomRule::ends, found);
    unreachable(phases.maintenance.rules(), |_| true, found);
    unreachable(phases.waiting_rooms.rules(), |_| true, found);
    unreachable(phases.error_rules.rules(), |_| true, found);
    unreachable(
        phases.redirect_rules.rules(),
        // A computed target may be the request itself, which is not redirected.
        |redirect| matches!(redirect.target, Value::Text(_)),
        found,
    );
    undone(cache_rules, found);
}

fn keys(sets: Vec<(&'static str, String)>) -> Vec<&'static str> {
    sets.into_iter().map(|(key, _)| key).collect()
}

fn cache_keys(patch: &CachePatch) -> Vec<&'static str> {
    keys(patch.describe())
}

/// Whether nothing is left of what `earlier` sets under `key` when `later` sets it as well.
fn overwrites(earlier: &CachePatch, later: &CachePatch, key: &str) -> bool {
    let given = |windows: &StaleWindows| {
        [
            windows.while_revalidating.is_some(),
            windows.if_error.is_some(),
            windows.when_overloaded.is_some(),
            windows.with_s_maxage.is_some(),
        ]
    };
    match (key, &earlier.serve_stale, &later.serve_stale) {
        ("serve_stale", Some(earlier), Some(later)) => given(earlier)
            .into_iter()
            .zip(given(later))
            .all(|(earlier, later)| later || !earlier),
        _ => true,
    }
}

/// Whether `later` holds whenever `earlier` does, as long as that does.
pub(super) fn covers<A>(later: &Rule<A>, earlier: &Rule<A>) -> bool {
    let outlives = match (later.expires, earlier.expires) {
        (None, _) => true,
        (Some(later), Some(earlier)) => later >= earlier,
        (Some(_), None) => false,
    };
    outlives && earlier.expression.implies(&later.expression)
}

/// Whether `earlier` belongs to a preset which `later` does not: then it is overruled on purpose.
fn overrules_preset<A>(later: &Rule<A>, earlier: &Rule<A>) -> bool {
    later.source.file != earlier.source.file && earlier.source.file.starts_with("preset ")
}

fn shadowed<A>(
    rules: &[Rule<A>],
    keys: impl Fn(&A) -> Vec<&'static str>,
    overwrites: impl Fn(&A, &A, &str) -> bool,
    found: &mut Findings,
) {
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| (rule, keys(&rule.action)))
        .collect();
    for (position, (rule, sets)) in rules.iter().enumerate() {
        let mut left = sets.clone();
        let mut by: Vec<&str> = Vec::new();
        if left.is_empty() {
            continue;
        }
        for (later, sets) in rules.iter().skip(position + 1).take(MOST_COMPARED) {
            let again =
                |key: &&str| sets.contains(key) && overwrites(&rule.action, &later.action, key);
            if left.iter().any(again) && !overrules_preset(later, rule) && covers(later, rule) {
                left.retain(|key| !again(key));
                by.push(&later.name);
            }
            if left.is_empty() {
                break;
            }
        }
        if left.is_empty() {
            let message = format!(
                "nothing is left of what the rule \"{}\" sets: {} overrules it",
                rule.name,
                names(&by)
            );
            found.add(SHADOWED_RULE, &Place::of(rule), "", message, None);
        }
    }
}

fn unreachable<A>(rules: &[Rule<A>], answers: impl Fn(&A) -> bool, found: &mut Findings) {
    for (position, rule) in rules.iter().enumerate() {
        let earlier = rules.iter().take(position).rev().take(MOST_COMPARED);
        let before = earlier
            .filter(|earlier| answers(&earlier.action))
            .find(|earlier| covers(earlier, rule));
        if let Some(before) = before {
            let message = format!(
                "the rule \"{}\" is never reached: \"{}\" ({}) answers before",
                rule.name, before.name, before.source
            );
            let mark = rule.expression.source();
            found.add(UNREACHABLE_RULE, &Place::of(rule), mark, message, None);
        }
    }
}

/// `"a"`, `"b"` and so on.
fn names(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    quoted.join(", then ")
}

/// Eligible again what an earlier rule bypassed: harmless for assets, and for what is narrower, which
/// is an exception on purpose.
fn undone(rules: &[CacheRule], found: &mut Findings) {
    let credentials = Credentials::new();
    let bypasses: Vec<(usize, &CacheRule)> = with(rules, Eligibility::Bypass);
    for (position, rule) in with(rules, Eligibility::Eligible) {
        let armed = rule.action.cache_deception_armor != Some(false);
        if armed && rule.expression.is_of_assets() {
            continue;
        }
        let undone: Vec<&str> = bypasses
            .iter()
            .take_while(|(earlier, _)| *earlier < position)
            .take(MOST_COMPARED)
            .filter(|(_, bypass)| !credentials.still_bypass(bypass, rule))
            .filter(|(_, bypass)| !rule.expression.implies(&bypass.expression))
            .filter(|(_, bypass)| !rule.expression.excludes(&bypass.expression))
            .map(|(_, bypass)| &*bypass.name)
            .collect();
        if let Some((first, more)) = undone.split_first() {
            let others = match more.len() {
                0 => String::new(),
                1 => " and another one".to_owned(),
                number => format!(" and {number} others"),
            };
            let message = format!(
                "the rule \"{}\" undoes the bypass of \"{first}\"{others}",
                rule.name
            );
            found.add(
                UNDONE_BYPASS,
                &Place::of(rule),
                "cache = \"eligible\"",
                message,
                None,
            );
        }
    }
}

fn with(rules: &[CacheRule], eligibility: Eligibility) -> Vec<(usize, &CacheRule)> {
    let rules = rules.iter().enumerate();
    rules
        .filter(|(_, rule)| rule.action.eligibility == Some(eligibility))
        .collect()
}

/// Credentials bypass whatever `cache` says, until a rule says that they are to be ignored.
struct Credentials {
    session: Option<Expression>,
    authorization: Option<Expression>,
}

impl Credentials {
    fn new() -> Self {
        let compile = |source| Expression::compile(source, &Environment::default()).ok();
        Self {
            session: compile("seawall.session_cookie"),
            authorization: compile("any(http.request.headers.names[*] eq \"authorization\")"),
        }
    }

    /// Whether what `bypass` is for bypasses the cache for its credential, also under `rule`.
    fn still_bypass(&self, bypass: &CacheRule, rule: &CacheRule) -> bool {
        let holds = |credential: &Option<Expression>, policy: Option<CredentialPolicy>| {
            policy != Some(CredentialPolicy::Ignore)
                && credential
                    .as_ref()
                    .is_some_and(|credential| bypass.expression.implies(credential))
        };
        holds(&self.session, rule.action.session_cookie)
            || holds(&self.authorization, rule.action.authorization)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, found, rules};

    fn of_cache(sets: &[(&str, &str)]) -> Vec<&'static str> {
        let written: Vec<_> = sets
            .iter()
            .map(|(expression, sets)| format!("expression = '{expression}'\n{sets}"))
            .collect();
        let written: Vec<&str> = written.iter().map(String::as_str).collect();
        codes(&rules("cache_rules", &written))
    }

    const PREFIX: &str = r#"starts_with(http.request.uri.path, "/a/")"#;
    const LONGER: &str = r#"starts_with(http.request.uri.path, "/a/b/")"#;
    const TTL: &str = "edge_ttl = { default = \"60s\" }";

    #[test]
    fn a_rule_of_which_nothing_is_left_is_told() {
        assert_eq!(of_cache(&[(LONGER, TTL), (PREFIX, TTL)]), ["shadowed-rule"]);
        let both = format!("{TTL}\nmin_uses = 2");
        let parts = [
            (LONGER, &*both),
            (PREFIX, TTL),
            ("ssl or not ssl", "min_uses = 3"),
        ];
        assert_eq!(of_cache(&parts), [""; 0], "undecided");
        let parts = [(LONGER, &*both), (PREFIX, TTL), ("true", "min_uses = 3")];
        assert_eq!(of_cache(&parts), ["shadowed-rule"]);
    }

    #[test]
    fn a_rule_of_which_something_is_left_is_not_told() {
        assert_eq!(of_cache(&[(PREFIX, TTL), (LONGER, TTL)]), [""; 0]);
        let both = format!("{TTL}\nmin_uses = 2");
        assert_eq!(of_cache(&[(LONGER, &both), (PREFIX, TTL)]), [""; 0]);
        let later = format!("expires = 2030-01-01T00:00:00Z\n{TTL}");
        assert_eq!(of_cache(&[(LONGER, TTL), (PREFIX, &later)]), [""; 0]);
        let windows = "serve_stale = { while_revalidating = \"1s\" }";
        let other = "serve_stale = { if_error = \"1s\" }";
        assert_eq!(of_cache(&[(LONGER, windows), (PREFIX, other)]), [""; 0]);
    }

    #[test]
    fn a_preset_may_be_overruled() {
        let zone = "presets = [\"bypass_private\"]\n";
        let rule = "expression = 'true'\ncache = \"bypass\"";
        assert_eq!(
            codes(&format!("{zone}{}", rules("cache_rules", &[rule]))),
            [""; 0]
        );
    }

    #[test]
    fn origin_rules_and_rewrites_stack_as_well() {
        let all = |sets: &str| format!("expression = 'true'\n{sets}");
        let ports = [&*all("port = 1"), &*all("port = 2")];
        assert_eq!(codes(&rules("origin_rules", &ports)), ["shadowed-rule"]);
        let differ = [&*all("port = 1"), &*all("sni = \"a\"")];
        assert_eq!(codes(&rules("origin_rules", &differ)), [""; 0]);
        let paths = [&*all("path = \"/a\""), &*all("path = \"/b\"")];
        assert_eq!(codes(&rules("rewrite_rules", &paths)), ["shadowed-rule"]);
        let computed = all("path = { expression = 'http.request.uri.args[\"p\"][0]' }");
        let paths = [&*all("path = \"/a\""), &*computed];
        assert_eq!(codes(&rules("rewrite_rules", &paths)), [""; 0]);
    }

    #[test]
    fn a_rule_behind_one_that_always_answers_is_told() {
        let redirect = |expression: &str, target: &str| {
            format!("expression = '{expression}'\ntarget = {target}")
        };
        let first = redirect(PREFIX, "\"/x\"");
        let second = redirect(LONGER, "\"/y\"");
        assert_eq!(
            codes(&rules("redirect_rules", &[&first, &second])),
            ["unreachable-rule"]
        );
        assert_eq!(codes(&rules("redirect_rules", &[&second, &first])), [""; 0]);
        let computed = redirect(
            "true",
            "{ expression = 'concat(\"https://a.test\", http.request.uri.path)' }",
        );
        assert_eq!(
            codes(&rules("redirect_rules", &[&computed, &second])),
            [""; 0]
        );
        let page = |expression: &str| format!("expression = '{expression}'\ncontent = \"x\"");
        let wide = page("http.response.code ge 500");
        let narrow = page("http.response.code eq 503");
        assert_eq!(
            codes(&rules("error_rules", &[&wide, &narrow])),
            ["unreachable-rule"]
        );
        assert_eq!(codes(&rules("error_rules", &[&narrow, &wide])), [""; 0]);
    }

    const BYPASS: &str = "cache = \"bypass\"";
    const ELIGIBLE: &str = "cache = \"eligible\"";
    const NO_EXTENSION: &str = r#"http.request.uri.path.extension eq """#;

    #[test]
    fn a_bypass_that_is_undone_is_told() {
        assert_eq!(
            of_cache(&[(PREFIX, BYPASS), (NO_EXTENSION, ELIGIBLE)]),
            ["undone-bypass"]
        );
        let ignoring = "cache = \"eligible\"\nsession_cookie = \"ignore\"";
        let catalogue = r#"starts_with(http.request.uri.path, "/catalogue/")"#;
        let session = "seawall.session_cookie";
        assert_eq!(
            of_cache(&[(session, BYPASS), (catalogue, ignoring)]),
            ["undone-bypass"]
        );
        let several = rules(
            "cache_rules",
            &[
                &format!("name = \"one\"\nexpression = '{PREFIX}'\n{BYPASS}"),
                &format!("expression = 'http.cookie contains \"x\"'\n{BYPASS}"),
                &format!("name = \"pages\"\nexpression = '{NO_EXTENSION}'\n{ELIGIBLE}"),
            ],
        );
        let message = "the rule \"pages\" undoes the bypass of \"one\" and another one";
        assert_eq!(found(&several), [("undone-bypass", message.to_owned())]);
    }

    #[test]
    fn a_bypass_that_holds_or_has_an_exception_is_not_told() {
        let session = "seawall.session_cookie";
        let authorization = r#"any(http.request.headers.names[*] eq "authorization")"#;
        let other = r#"starts_with(http.request.uri.path, "/b/")"#;
        let assets = r#"http.request.uri.path.extension in {"css" "js"}"#;
        for (bypass, rule, sets) in [
            (PREFIX, other, ELIGIBLE),
            (PREFIX, LONGER, ELIGIBLE),
            (PREFIX, NO_EXTENSION, "min_uses = 2"),
            (session, PREFIX, ELIGIBLE),
            (authorization, PREFIX, ELIGIBLE),
            (
                session,
                assets,
                "cache = \"eligible\"\nsession_cookie = \"ignore\"",
            ),
        ] {
            assert_eq!(
                of_cache(&[(bypass, BYPASS), (rule, sets)]),
                [""; 0],
                "{bypass} {rule}"
            );
        }
    }

    #[test]
    fn a_rule_may_say_that_it_is_meant_so() {
        let allowed = format!("lint_allow = [\"undone-bypass\"]\n{ELIGIBLE}");
        assert_eq!(
            of_cache(&[(PREFIX, BYPASS), (NO_EXTENSION, &allowed)]),
            [""; 0]
        );
    }
}
