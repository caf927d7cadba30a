//! Findings about what nothing refers to.

use super::codes::{UNUSED_LIST, UNUSED_POOL};
use super::finding::Findings;
use crate::config::Config;

pub(super) fn check(config: &Config, found: &mut Findings) {
    for pool in &config.pools {
        let name = &pool.name;
        // A rule that is switched off is not there any more, and refers to it all the same.
        let mentioned = found.source().contains(&format!("pool = \"{name}\""));
        if !mentioned && !is_used(config, name) {
            let message = format!("nothing uses the pool \"{name}\"");
            found.add_table(UNUSED_POOL, "pools", name, message);
        }
    }
    for name in &config.lists {
        if !names_list(found.source(), name) {
            let message = format!("nothing uses the list `${name}`");
            found.add_table(UNUSED_LIST, "lists", name, message);
        }
    }
}

fn is_used(config: &Config, pool: &str) -> bool {
    config.zones.iter().any(|zone| {
        let rules = zone.rules.origin_rules.rules().iter();
        let mut named = rules.filter_map(|rule| rule.action.pool.as_deref());
        zone.pool == pool || named.any(|name| name == pool)
    })
}

/// Whether `$name` stands somewhere, be it in a rule that is switched off.
fn names_list(source: &str, name: &str) -> bool {
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '-';
    source
        .split('$')
        .skip(1)
        .filter_map(|rest| rest.strip_prefix(name))
        .any(|rest| !rest.starts_with(in_name))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, rules};

    #[test]
    fn a_pool_that_nothing_uses_is_told() {
        let other = "[pools.other]\nservers = \"http://localhost:1\"\n";
        assert_eq!(codes(other), ["unused-pool"]);
        let rule = "expression = 'ssl'\npool = \"other\"";
        let used = rules("origin_rules", &[rule]);
        assert_eq!(codes(&format!("{used}{other}")), [""; 0]);
        let off = rules("origin_rules", &[&format!("{rule}\nenabled = false")]);
        assert_eq!(codes(&format!("{off}{other}")), [""; 0]);
    }

    #[test]
    fn a_list_that_nothing_uses_is_told() {
        let lists = "[lists]\nbots = [\"192.0.2.0/24\"]\n";
        assert_eq!(codes(lists), ["unused-list"]);
        let rule = |list: &str| {
            let rule = format!("expression = 'ip.src in ${list}'\ncache = \"bypass\"");
            rules("cache_rules", &[&rule])
        };
        assert_eq!(codes(&format!("{}{lists}", rule("bots"))), [""; 0]);
        let both = format!("{}{lists}bots_2 = [\"192.0.2.1\"]\n", rule("bots_2"));
        assert_eq!(codes(&both), ["unused-list"]);
    }
}
