//! Findings about rate limits that do not limit what they are meant to.

use super::codes::{EVADABLE_LIMIT, NEVER_MATCHES, SHORT_MITIGATION, UNREACHABLE_RULE};
use super::finding::Findings;
use super::order::covers;
use super::written::Place;
use crate::guard::LimitRule;
use crate::guard::limit::{CharacteristicSource, LimitAction};
use crate::rules::Rule;
use crate::rules::phase::Phases;

/// Maps of which clients write what they like.
const WRITTEN_BY_CLIENTS: [&str; 3] = [
    "http.request.cookies",
    "http.request.headers",
    "http.request.uri.args",
];

pub(super) fn check(phases: &Phases, found: &mut Findings) {
    let rules = phases.rate_limits.rules.rules();
    for (position, rule) in rules.iter().enumerate() {
        let mut before = rules.iter().take(position);
        if let Some(stricter) = before.find(|earlier| is_stricter(earlier, rule)) {
            let message = format!(
                "the limit of \"{}\" is never reached: \"{}\" ({}) stops such requests before",
                rule.name, stricter.name, stricter.source
            );
            found.add(UNREACHABLE_RULE, &Place::of(rule), "", message, None);
        }
        counts_nothing(rule, found);
        evadable(rule, rules, found);
        let limit = &rule.action;
        let timeout = limit.mitigation_timeout;
        if !timeout.is_zero() && timeout < limit.period {
            let message = format!(
                "\"{}\" stops requests for {} s and counts them for {} s",
                rule.name,
                timeout.as_secs_f64(),
                limit.period.as_secs_f64()
            );
            let mark = "mitigation_timeout";
            found.add(SHORT_MITIGATION, &Place::of(rule), mark, message, None);
        }
    }
}

/// Whether `earlier` lets so little through that nothing is too much for `later`.
fn is_stricter(earlier: &Rule<LimitRule>, later: &Rule<LimitRule>) -> bool {
    let (first, second) = (&earlier.action, &later.action);
    let blocks = first.stops() && matches!(first.action, LimitAction::Block(_));
    let all_count = |limit: &LimitRule| {
        let counting = &limit.counting;
        counting.expression.is_none() && !counting.is_after()
    };
    blocks
        && all_count(first)
        && all_count(second)
        && first.characteristics == second.characteristics
        && first.limit <= second.limit
        && first.period >= second.period
        && covers(earlier, later)
}

fn counts_nothing(rule: &Rule<LimitRule>, found: &mut Findings) {
    let counting = rule.action.counting.expression.as_ref();
    let Some(counting) = counting.filter(|expression| expression.is_never()) else {
        return;
    };
    let message = format!("no request counts towards the limit of \"{}\"", rule.name);
    let mark = counting.source();
    found.add(NEVER_MATCHES, &Place::of(rule), mark, message, None);
}

/// Rules about what clients may write as they like, where nothing else limits these clients.
fn evadable(rule: &Rule<LimitRule>, rules: &[Rule<LimitRule>], found: &mut Findings) {
    let limit = &rule.action;
    if !limit.stops()
        || !limit
            .characteristics
            .iter()
            .all(|one| chosen(&one.source, &one.text))
    {
        return;
    }
    let limited = rules.iter().any(|other| {
        let mut sources = other.action.characteristics.iter().map(|one| &one.source);
        other.action.stops()
            && sources.any(|source| *source == CharacteristicSource::Client)
            && covers(other, rule)
    });
    if limited {
        return;
    }
    let mark = limit.characteristics.first().map_or("", |one| &one.text);
    let message = format!("clients choose what \"{}\" tells them apart by", rule.name);
    found.add(EVADABLE_LIMIT, &Place::of(rule), mark, message, None);
}

fn chosen(source: &CharacteristicSource, text: &str) -> bool {
    match source {
        CharacteristicSource::Client => false,
        CharacteristicSource::Header(_) => true,
        CharacteristicSource::Value(_) => {
            text == "http.user_agent" || WRITTEN_BY_CLIENTS.iter().any(|map| text.starts_with(map))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, rules};

    fn limits(each: &[&str]) -> Vec<&'static str> {
        let each: Vec<String> = (0..)
            .zip(each)
            .map(|(number, rest)| format!("name = \"{number}\"\n{rest}"))
            .collect();
        let each: Vec<&str> = each.iter().map(String::as_str).collect();
        codes(&rules("rate_limit_rules", &each))
    }

    const TEN: &str = "requests_per_period = 10\nperiod = \"1m\"";

    #[test]
    fn a_limit_that_an_earlier_one_keeps_from_being_reached_is_told() {
        let twenty = "requests_per_period = 20\nperiod = \"30s\"";
        let part = format!("expression = 'http.request.uri.path eq \"/a\"'\n{twenty}");
        assert_eq!(limits(&[TEN, &part]), ["unreachable-rule"]);
        for (first, second) in [
            (twenty, TEN),
            (&part, TEN),
            (&format!("{TEN}\naction = \"log\""), twenty),
            (&format!("{TEN}\ndry_run = true"), twenty),
            (&format!("{TEN}\nrequests_to_origin = true"), twenty),
            (TEN, "requests_per_period = 20\nperiod = \"2m\""),
            (TEN, &format!("characteristics = [\"http.host\"]\n{twenty}")),
        ] {
            assert_eq!(limits(&[first, second]), [""; 0], "{first} {second}");
        }
    }

    #[test]
    fn limits_that_clients_evade_are_told_unless_others_limit_them() {
        let by = |what: &str| format!("characteristics = ['{what}']\n{TEN}");
        for what in [
            r#"http.request.headers["x-user"]"#,
            r#"http.request.cookies["session"]"#,
            "http.user_agent",
        ] {
            assert_eq!(limits(&[&by(what)]), ["evadable-limit"], "{what}");
            assert_eq!(limits(&[&by(what), TEN]), [""; 0], "{what}");
            let more = by(what).replace("']", "', 'ip.src']");
            assert_eq!(limits(&[&more]), [""; 0], "{what}");
        }
        assert_eq!(limits(&[&by("http.host")]), [""; 0]);
    }

    #[test]
    fn limits_that_count_nothing_or_stop_for_too_short_are_told() {
        let never = format!("counting_expression = 'http.host eq \"A.test\"'\n{TEN}");
        assert_eq!(limits(&[&never]), ["never-matches"]);
        let short = format!("mitigation_timeout = \"10s\"\n{TEN}");
        assert_eq!(limits(&[&short]), ["short-mitigation"]);
        let long = format!("mitigation_timeout = \"1m\"\n{TEN}");
        assert_eq!(limits(&[&long]), [""; 0]);
    }
}
