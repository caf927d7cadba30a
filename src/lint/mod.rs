//! What is odd about a configuration that is without fault: rules that have no effect, and rules
//! that share what may be somebody's own.
//!
//! [`lint`] errs towards silence. A rule that is meant so says it: `lint_allow = ["CODE"]`.

mod challenge;
mod clients;
mod codes;
mod expressions;
mod finding;
mod guarding;
mod order;
mod origin;
mod pools;
mod rates;
mod redirects;
mod rooms;
mod sharing;
mod tiers;
mod unused;
mod written;
mod zones;

pub use codes::{CODES, Code, Severity};
pub use finding::{Finding, Findings};

use crate::config::Config;

/// What is odd about `config`, in the order of the file. `name` and `source` are those it was read
/// from; `now` is in seconds since 1970.
pub fn lint(name: &str, source: &str, config: &Config, now: i64) -> Findings {
    let mut found = Findings::new(name, source);
    for (at, zone) in config.zones.iter().enumerate() {
        let rules = written::of(&zone.rules);
        expressions::check(&rules, now, &mut found);
        order::check(&zone.rules, &mut found);
        rates::check(&zone.rules, &mut found);
        sharing::check(zone, &mut found);
        origin::check(&zone.rules, &mut found);
        redirects::check(zone, &mut found);
        rooms::check(&zone.rules, &mut found);
        guarding::check(&zone.rules, &config.geo, &mut found);
        zones::check(config, at, &rules, &mut found);
    }
    clients::check(config, &mut found);
    challenge::check(config, &mut found);
    pools::check(config, &mut found);
    unused::check(config, &mut found);
    tiers::check(config, &mut found);
    found.in_order()
}

#[cfg(test)]
mod testing {
    use super::lint;
    use crate::config::parse;

    /// The names of what is found in a zone with these rules, in order; 2026 is the year.
    pub(super) fn codes(rules: &str) -> Vec<&'static str> {
        found(rules).into_iter().map(|(code, _)| code).collect()
    }

    /// Code and message of what is found.
    pub(super) fn found(rules: &str) -> Vec<(&'static str, String)> {
        let source = format!(
            "listen = \"[::]:80\"\n[pools.app]\nservers = \"http://localhost\"\n\
             [zones.site]\nhosts = [\"a.test\", \"b.test\"]\npool = \"app\"\n{rules}"
        );
        let config =
            parse("test.toml", &source, &|_| None).unwrap_or_else(|faults| panic!("{faults}"));
        lint("test.toml", &source, &config, 1_790_000_000)
            .list()
            .iter()
            .map(|finding| (finding.code.name, finding.message.clone()))
            .collect()
    }

    /// Rules of one phase from the lines of each.
    pub(super) fn rules(phase: &str, rules: &[&str]) -> String {
        let tables = rules.iter();
        let tables: Vec<_> = tables
            .map(|rule| format!("[[zones.site.{phase}]]\n{rule}\n"))
            .collect();
        tables.concat()
    }
}
