//! Findings about what the origin gets and what counts in the key.

use super::codes::{PER_CLIENT_KEY, UNKEYED_INPUT};
use super::finding::Findings;
use super::written::Place;
use crate::cache::settings::KeySettings;
use crate::rules::expression::CLIENTS_OWN;
use crate::rules::phase::{HeaderOperation, HeaderTransform, Phases};
use crate::rules::{CacheRule, Rule, Value};

pub(super) fn check(phases: &Phases, found: &mut Findings) {
    for rule in phases.request_header_rules.rules() {
        let written = rule.action.operations.iter().filter_map(field_and_value);
        for (name, value) in written {
            if rule.action.keyed {
                keyed(rule, name, value, found);
            } else {
                unkeyed(rule, name, value, found);
            }
        }
    }
    for rule in phases.cache_rules.rules.rules() {
        if let Some(key) = &rule.action.key {
            key_of(rule, key, found);
        }
    }
}

fn field_and_value(operation: &HeaderOperation) -> Option<(&str, &Value)> {
    match operation {
        HeaderOperation::Set(name, value) | HeaderOperation::Add(name, value) => {
            Some((name.as_str(), value))
        }
        HeaderOperation::Remove(_) => None,
    }
}

fn keyed(rule: &Rule<HeaderTransform>, name: &str, value: &Value, found: &mut Findings) {
    let Value::Computed(expression) = value else {
        return;
    };
    if let Some(field) = expression.tells_clients_apart() {
        let message = format!("`{name}` has `{field}` in it, and counts in the key");
        let help = "write `keyed = false` where the application does not answer by it, and \
                    `lint_allow = [\"unkeyed-input\"]`";
        let mark = expression.source();
        found.add(
            PER_CLIENT_KEY,
            &Place::of(rule),
            mark,
            message,
            Some(help.to_owned()),
        );
    }
}

fn unkeyed(rule: &Rule<HeaderTransform>, name: &str, value: &Value, found: &mut Findings) {
    let mut fields = rule.expression.reads_beside_the_uri();
    if let Value::Computed(expression) = value {
        fields.extend(expression.reads_beside_the_uri());
    }
    if let Some(field) = fields.first() {
        let message =
            format!("the origin gets `{name}`, which depends on `{field}`, and the key does not");
        found.add(UNKEYED_INPUT, &Place::of(rule), "keyed", message, None);
    }
}

fn key_of(rule: &CacheRule, key: &KeySettings, found: &mut Findings) {
    for name in key
        .headers
        .iter()
        .filter(|name| CLIENTS_OWN.contains(&name.as_str()))
    {
        let message = format!("`{name}` counts in the key of the rule \"{}\"", rule.name);
        let help = (name == "user-agent")
            .then_some("write `key = { device = true }` to tell classes of devices apart");
        let help = help.map(str::to_owned);
        found.add(
            PER_CLIENT_KEY,
            &Place::of(rule),
            &format!("\"{name}\""),
            message,
            help,
        );
    }
    for name in &key.header_presence {
        if key.headers.contains(name) {
            continue;
        }
        let message =
            format!("of `{name}` the key has the presence, and the origin gets the value");
        let help = format!(
            "write `key = {{ headers = [\"{name}\"] }}`, or `lint_allow = [\"{}\"]` where the \
             application looks for the field alone",
            UNKEYED_INPUT.name
        );
        found.add(UNKEYED_INPUT, &Place::of(rule), name, message, Some(help));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, rules};

    fn of_header(expression: &str, value: &str, keyed: bool) -> Vec<&'static str> {
        let rule = format!(
            "expression = '{expression}'\nkeyed = {keyed}\nset = {{ \"X-Seen\" = {value} }}"
        );
        codes(&rules("request_header_rules", &[&rule]))
    }

    #[test]
    fn what_the_origin_gets_and_the_key_does_not_is_told() {
        let country = "{ expression = 'ip.src.country' }";
        assert_eq!(of_header("true", country, false), ["unkeyed-input"]);
        assert_eq!(
            of_header("http.cookie contains \"x\"", "\"1\"", false),
            ["unkeyed-input"]
        );
        assert_eq!(of_header("true", country, true), [""; 0]);
        assert_eq!(of_header("ssl", "\"1\"", false), [""; 0]);
        let path = "{ expression = 'lower(http.request.uri.path)' }";
        assert_eq!(of_header("true", path, false), [""; 0]);
    }

    #[test]
    fn what_makes_an_entry_for_every_client_is_told() {
        let address = "{ expression = 'to_string(ip.src)' }";
        assert_eq!(of_header("true", address, true), ["per-client-key"]);
        let class = "{ expression = 'ip.src in {10.0.0.0/8}' }";
        assert_eq!(of_header("true", class, true), [""; 0]);
        for (header, expected) in [
            ("user-agent", &["per-client-key"][..]),
            ("referer", &["per-client-key"]),
            ("accept", &[]),
        ] {
            let rule = format!("expression = 'ssl'\nkey = {{ headers = [\"{header}\"] }}");
            assert_eq!(codes(&rules("cache_rules", &[&rule])), expected, "{header}");
        }
    }

    #[test]
    fn a_field_of_which_the_presence_counts_and_the_value_arrives_is_told() {
        for (key, expected) in [
            ("header_presence = [\"x-preview\"]", &["unkeyed-input"][..]),
            (
                "header_presence = [\"x-preview\"], headers = [\"x-preview\"]",
                &[],
            ),
            ("cookie_presence = [\"preview\"]", &[]),
        ] {
            let rule = format!("expression = 'ssl'\nkey = {{ {key} }}");
            assert_eq!(codes(&rules("cache_rules", &[&rule])), expected, "{key}");
        }
    }
}
