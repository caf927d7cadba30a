//! Findings about challenges.

use super::codes::CHALLENGE_WITHOUT_SECRET;
use super::finding::Findings;
use crate::config::{Config, Zone};
use crate::guard::{Action, CustomAction, IpAccessAction};

pub(super) fn check(config: &Config, found: &mut Findings) {
    let several = config.tiers.is_some() || config.shared.is_some();
    if !several || config.secret.is_some() {
        return;
    }
    for zone in config.zones.iter().filter(|zone| challenges(zone)) {
        let name = &zone.name;
        let message = format!("the zone \"{name}\" challenges visitors without a `secret`");
        found.add_table(CHALLENGE_WITHOUT_SECRET, "zones", name, message);
    }
}

fn challenges(zone: &Zone) -> bool {
    let rules = &zone.rules;
    let mut custom = rules.custom_rules.rules().iter();
    let mut limits = rules.rate_limits.rules.rules().iter();
    let mut clients = rules.ip_access_rules.rules().iter();
    zone.under_attack
        || custom.any(|rule| rule.action.action == CustomAction::Challenge)
        || limits.any(|rule| rule.action.action() == Action::Challenge)
        || clients.any(|rule| rule.action == IpAccessAction::Challenge)
}

#[cfg(test)]
mod tests {
    use super::super::lint;
    use crate::config::parse;

    #[test]
    fn nodes_that_challenge_with_secrets_of_their_own_are_told() {
        let codes = |top: &str, zone: &str| {
            let source = format!(
                "listen = \"[::]:80\"\n{top}\n[pools.app]\nservers = \"http://localhost\"\n\
                 [zones.site]\nhosts = \"*\"\npool = \"app\"\n{zone}"
            );
            let config = parse("test.toml", &source, &|_| None).unwrap();
            let found = lint("test.toml", &source, &config, 1_790_000_000);
            let codes: Vec<_> = found.list().iter().map(|one| one.code.name).collect();
            codes
        };
        let shared = "[shared]\nredis = \"redis://localhost\"";
        let told = ["challenge-without-secret"];
        assert_eq!(codes(shared, "under_attack = true"), told);
        let rule = "[[zones.site.custom_rules]]\nexpression = \"ssl\"\naction = \"challenge\"";
        assert_eq!(codes(shared, rule), told);
        let with_secret = format!("secret = \"0123456789abcdef\"\n{shared}");
        assert!(codes(&with_secret, "under_attack = true").is_empty());
        assert!(codes("", "under_attack = true").is_empty());
        assert!(codes(shared, "").is_empty());
    }
}
