//! How a pool chooses a replica: `balance`, and `[pools.NAME.affinity]`.

use std::time::Duration;

use http::HeaderName;

use super::reader::Section;
use super::rule::{RuleFile, read_value_expression};
use super::secret::Secret;
use crate::rules::expression::ValueExpression;

/// How a pool chooses among its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Of two by chance, the one with fewer outstanding requests for its weight.
    LeastOutstanding,
    /// In turn.
    RoundRobin,
    /// By chance.
    Random,
    /// Equal values go to the same replica.
    Hash {
        /// The value; `None` where its expression has a fault, which is told.
        by: Option<ValueExpression>,
        /// Most outstanding requests of a replica, in percent of its share.
        bound: Option<u32>,
    },
}

impl Balance {
    /// The word of the configuration.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::LeastOutstanding => "least_outstanding",
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::Hash { .. } => "hash",
        }
    }
}

/// Requests of a session stay at one replica, as far as they go past the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// How a session is known.
    pub by: AffinityBy,
    /// What happens when its replica is not available.
    pub failover: Failover,
}

/// How a session is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AffinityBy {
    /// By a cookie that Seawall sets.
    Cookie {
        /// Its name.
        name: String,
        /// How long it lasts.
        ttl: Duration,
        /// Signs it.
        secret: Secret,
    },
    /// By a field of the request.
    Header(HeaderName),
}

/// What becomes of a session whose replica is not available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    /// It gets a 503.
    None,
    /// It is at another one for the time being.
    Temporary,
    /// It moves.
    Sticky,
}

const METHODS: &[(&str, Balance)] = &[
    ("least_outstanding", Balance::LeastOutstanding),
    ("round_robin", Balance::RoundRobin),
    ("random", Balance::Random),
    (
        "hash",
        Balance::Hash {
            by: None,
            bound: None,
        },
    ),
];

pub(super) fn read_balance(section: &Section<'_>, from: RuleFile<'_>) -> Balance {
    let names: Vec<(&str, usize)> = METHODS
        .iter()
        .enumerate()
        .map(|(index, (name, _))| (*name, index))
        .collect();
    let written = section.word("balance", &names);
    let method = written
        .and_then(|index| METHODS.get(index.value))
        .map_or(Balance::LeastOutstanding, |(_, method)| method.clone());
    if !matches!(method, Balance::Hash { .. }) {
        for key in ["hash_by", "hash_bound"] {
            // Beside another method it is there on purpose, for later.
            if section.has(key) && !section.has("balance") {
                let message = format!("`{key}` needs `balance = \"hash\"`");
                section.reader.fault(section.place_of(key), message, None);
            }
        }
        let _ = (
            section.string("hash_by"),
            section.integer("hash_bound", 101..=1000),
        );
        return method;
    }
    let bound = section.integer("hash_bound", 101..=1000);
    Balance::Hash {
        by: section
            .required_string("hash_by", "'http.request.uri.path'")
            .and_then(|text| read_value_expression(section, &text, from)),
        bound: bound.and_then(|bound| u32::try_from(bound.value).ok()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SessionBy {
    Cookie,
    Header,
}

pub(super) fn read_affinity(
    pool: &str,
    section: Section<'_>,
    from: RuleFile<'_>,
) -> Option<Affinity> {
    section.required("by", "\"cookie\"");
    let words = [("cookie", SessionBy::Cookie), ("header", SessionBy::Header)];
    let by = section.word("by", &words).map(|by| by.value);
    let words = [
        ("none", Failover::None),
        ("temporary", Failover::Temporary),
        ("sticky", Failover::Sticky),
    ];
    let written = section.word("failover", &words);
    let name = section.string("name");
    let ttl = section.duration_of("ttl", Duration::from_secs(1));
    let fault = |message: &str, help: Option<&str>| {
        let help = help.map(str::to_owned);
        section.reader.fault(section.span.clone(), message, help);
    };
    let by = match by? {
        SessionBy::Cookie => {
            let name = name.map_or_else(|| format!("seawall_affinity_{pool}"), |name| name.value);
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            if name.is_empty() || !name.bytes().all(legal) {
                let help = "give it a `name` of letters, digits, `_`, `-` and `.`";
                fault(
                    &format!("\"{name}\" cannot be the name of a cookie"),
                    Some(help),
                );
            }
            let help = "write `secret = \"${SEAWALL_SECRET}\"` at the top of the file: it signs the \
                        cookies that keep a session's replica";
            if from.secret.is_none() {
                fault("affinity by cookie needs a `secret`", Some(help));
            }
            from.secret.map(|secret| AffinityBy::Cookie {
                name,
                ttl: ttl.map_or(Duration::from_hours(1), |ttl| ttl.value),
                secret: secret.clone(),
            })
        }
        SessionBy::Header => {
            if ttl.is_some() {
                fault("`ttl` is for affinity by cookie", None);
            }
            if written
                .as_ref()
                .is_some_and(|word| word.value == Failover::Sticky)
            {
                let help = "a field says the same before and after a move; use \"temporary\"";
                fault(
                    "`failover = \"sticky\"` is for affinity by cookie",
                    Some(help),
                );
            }
            if name.is_none() {
                fault("affinity by header needs the `name` of the field", None);
            }
            name.and_then(|name| {
                let parsed = HeaderName::try_from(&name.value).ok();
                if parsed.is_none() {
                    fault(&format!("\"{}\" is not a field name", name.value), None);
                }
                parsed.map(AffinityBy::Header)
            })
        }
    };
    section.finish();
    Some(Affinity {
        by: by?,
        failover: written.map_or(Failover::Temporary, |word| word.value),
    })
}
