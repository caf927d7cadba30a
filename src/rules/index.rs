//! Which of many rules are worth trying for a request, by what their expressions require of it.
//!
//! Hosts, paths and extensions are looked up by hash, prefixes in a sorted table, and what a text contains by one
//! search for all that rules ask of it. A rule that is found needlessly, by a collision of hashes or because
//! requirements disregard case, is tried and does not match.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use super::expression::{Expression, Part, Requirement};
use super::texts::Texts;
use crate::request::RequestView;

/// Up to so many rules, trying them all is cheaper.
const FEW: usize = 8;

/// Rules by what they require; a rule is its position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// Rules to be tried for every request.
    always: Words,
    by_hash: HashMap<u64, Vec<usize>, BuildHasherDefault<Hashed>>,
    /// Which parts are looked up there.
    hashed: Vec<Part>,
    prefixes: Vec<Prefix>,
    /// What parts contain.
    contained: Vec<(Part, Texts)>,
}

/// A prefix of paths, and the rules for it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Prefix {
    text: Box<[u8]>,
    /// The longest shorter prefix in the table that this one begins with.
    parent: Option<usize>,
    rules: Vec<usize>,
}

/// Rules by the texts that each needs one of.
type ByText<'t> = BTreeMap<&'t [u8], Vec<usize>>;

impl Index {
    /// An index of these expressions.
    pub(super) fn new<'e>(expressions: impl ExactSizeIterator<Item = &'e Expression>) -> Self {
        let mut index = Self {
            always: Words::of(expressions.len()),
            ..Self::default()
        };
        if expressions.len() <= FEW {
            (0..expressions.len()).for_each(|rule| index.always.insert(rule));
            return index;
        }
        let requirements: Vec<_> = expressions.map(Expression::requirements).collect();
        let mut popularity: HashMap<&(Part, Box<[u8]>), usize> = HashMap::new();
        for alternative in requirements
            .iter()
            .flatten()
            .flat_map(|one| &one.alternatives)
        {
            *popularity.entry(alternative).or_default() += 1;
        }
        // The most telling of what a rule requires is what it shares with the fewest rules.
        let sharers = |requirement: &&Requirement| -> usize {
            let alternatives = requirement.alternatives.iter();
            alternatives.filter_map(|one| popularity.get(one)).sum()
        };
        let mut by_part: BTreeMap<Part, ByText<'_>> = BTreeMap::new();
        for (rule, requirements) in requirements.iter().enumerate() {
            let Some(telling) = requirements.iter().min_by_key(sharers) else {
                index.always.insert(rule);
                continue;
            };
            for (part, text) in &telling.alternatives {
                by_part
                    .entry(*part)
                    .or_default()
                    .entry(text)
                    .or_default()
                    .push(rule);
            }
        }
        for (part, texts) in by_part {
            index.add(part, texts);
        }
        index
    }

    fn add(&mut self, part: Part, texts: ByText<'_>) {
        match part {
            Part::PathPrefix => self.prefixes = sorted(texts),
            Part::Host | Part::Path | Part::Extension => {
                self.hashed.push(part);
                for (text, rules) in texts {
                    self.by_hash
                        .entry(hash(part, text))
                        .or_default()
                        .extend(rules);
                }
            }
            Part::InPath | Part::InQuery | Part::InUserAgent | Part::InReferer => {
                let rules: Vec<_> = texts.values().flatten().copied().collect();
                match Texts::new(texts) {
                    Some(texts) => self.contained.push((part, texts)),
                    None => rules.into_iter().for_each(|rule| self.always.insert(rule)),
                }
            }
        }
    }

    /// The rules worth trying for `request`, in order.
    pub(super) fn candidates(&self, request: &RequestView<'_>) -> Candidates {
        let mut words = self.always.clone();
        for part in &self.hashed {
            let rules = self.by_hash.get(&hash(*part, part.of(request)));
            rules
                .into_iter()
                .flatten()
                .for_each(|rule| words.insert(*rule));
        }
        self.find_prefixes(Part::PathPrefix.of(request), &mut words);
        for (part, texts) in &self.contained {
            texts.find(part.of(request), |rule| words.insert(rule));
        }
        Candidates { words, position: 0 }
    }

    /// Every prefix of `path` in the table begins the greatest entry that is not after `path`.
    fn find_prefixes(&self, path: &[u8], words: &mut Words) {
        let folded = || path.iter().map(u8::to_ascii_lowercase);
        let after = self
            .prefixes
            .partition_point(|prefix| prefix.text.iter().copied().le(folded()));
        let mut nearest = after.checked_sub(1).and_then(|at| self.prefixes.get(at));
        let common = nearest.map_or(0, |prefix| {
            let same = prefix.text.iter().copied().zip(folded());
            same.take_while(|(one, other)| one == other).count()
        });
        while let Some(prefix) = nearest {
            if prefix.text.len() <= common {
                prefix.rules.iter().for_each(|rule| words.insert(*rule));
            }
            nearest = prefix.parent.and_then(|parent| self.prefixes.get(parent));
        }
    }
}

/// The table of prefixes in order, each with its parent.
fn sorted(prefixes: ByText<'_>) -> Vec<Prefix> {
    let mut table: Vec<Prefix> = Vec::with_capacity(prefixes.len());
    // The prefixes of the last entry, each a prefix of the next.
    let mut open: Vec<usize> = Vec::new();
    for (text, rules) in prefixes {
        let begins = |at: &usize| {
            table
                .get(*at)
                .is_some_and(|prefix| text.starts_with(&prefix.text))
        };
        while open.last().is_some_and(|at| !begins(at)) {
            open.pop();
        }
        let parent = open.last().copied();
        open.push(table.len());
        table.push(Prefix {
            text: text.into(),
            parent,
            rules,
        });
    }
    table
}

/// FNV-1a of the part and the value in lower case.
fn hash(part: Part, value: &[u8]) -> u64 {
    let bytes = std::iter::once(part as u8).chain(value.iter().map(u8::to_ascii_lowercase));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A hasher of what is a hash already.
#[derive(Clone, Copy, Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A set of positions as bits; of the first 1,024 without allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Words {
    Inline([u64; 16]),
    Heap(Vec<u64>),
}

impl Default for Words {
    fn default() -> Self {
        Self::of(0)
    }
}

impl Words {
    /// The empty set of positions below `bound`.
    fn of(bound: usize) -> Self {
        match bound.div_ceil(64) {
            0..=16 => Self::Inline([0; 16]),
            words => Self::Heap(vec![0; words]),
        }
    }

    fn insert(&mut self, position: usize) {
        if let Some(word) = self.as_mut().get_mut(position / 64) {
            *word |= 1 << (position % 64);
        }
    }

    fn as_mut(&mut self) -> &mut [u64] {
        match self {
            Self::Inline(words) => words,
            Self::Heap(words) => words,
        }
    }
}

/// Positions in order.
#[derive(Debug)]
pub(super) struct Candidates {
    words: Words,
    position: usize,
}

impl Iterator for Candidates {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            let word = self.words.as_mut().get_mut(self.position)?;
            if *word == 0 {
                self.position += 1;
                continue;
            }
            let bit = word.trailing_zeros();
            *word &= *word - 1;
            return Some(self.position * 64 + usize::try_from(bit).ok()?);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::{HeaderMap, Method, Version};
    use proptest::prelude::*;

    use super::super::expression::Environment;
    use super::*;
    use crate::request::{Facts, Scheme};

    fn compile(source: &str) -> Expression {
        Expression::compile(source, &Environment::default())
            .unwrap_or_else(|errors| panic!("{source}: {errors:?}"))
    }

    fn request<'r>(headers: &'r HeaderMap, host: &'r str, path: &'r str) -> RequestView<'r> {
        RequestView {
            method: &Method::GET,
            scheme: Scheme::Https,
            host,
            path,
            query: None,
            version: Version::HTTP_11,
            headers,
            client: IpAddr::from([127, 0, 0, 1]),
            session_cookie: false,
            has_body: false,
            facts: Facts::default(),
        }
    }

    #[test]
    fn only_what_a_request_could_match_is_tried() {
        let expressions: Vec<_> = (0..3000)
            .map(|number| match number % 3 {
                0 => compile(&format!("http.host eq \"h{number}.test\"")),
                1 => compile(&format!(
                    "starts_with(http.request.uri.path, \"/p{number}/\")"
                )),
                _ => compile(&format!("http.request.uri.path.extension eq \"e{number}\"")),
            })
            .collect();
        let index = Index::new(expressions.iter());
        let headers = HeaderMap::new();
        for (host, path, expected) in [
            ("h3.test", "/p1/x.e5", &[1, 3, 5][..]),
            ("h2997.test", "/P2998/x.E2999", &[2997, 2998, 2999]),
            ("h1.test", "/p0/x.e0", &[]),
            ("h3.test", "/p1", &[3]),
        ] {
            let request = request(&headers, host, path);
            let found: Vec<_> = index.candidates(&request).collect();
            assert_eq!(found, expected, "{host}{path}");
        }
    }

    #[test]
    fn what_rules_share_does_not_find_them() {
        let one_prefix: Vec<_> = (0..100)
            .map(|number| {
                compile(&format!(
                    "http.host eq \"h{number}.test\" and starts_with(http.request.uri.path, \"/api/\")"
                ))
            })
            .collect();
        let index = Index::new(one_prefix.iter());
        let headers = HeaderMap::new();
        let found = index.candidates(&request(&headers, "h7.test", "/api/x"));
        assert_eq!(found.collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn nested_prefixes_are_all_found() {
        let prefixes = [
            "/", "/a", "/a/", "/a/b", "/a/b/c", "/a/bb", "/b", "/a-", "/a/a", "/aa",
        ];
        let expressions: Vec<_> = prefixes
            .iter()
            .map(|prefix| compile(&format!("starts_with(http.request.uri.path, \"{prefix}\")")))
            .collect();
        let index = Index::new(expressions.iter());
        let headers = HeaderMap::new();
        for path in [
            "/", "/a", "/a/b", "/a/b/c/d", "/A/B", "/a/ba", "/c", "/a/", "/ab", "/a/c",
        ] {
            let request = request(&headers, "h", path);
            let found: Vec<_> = index.candidates(&request).map(|at| prefixes[at]).collect();
            let expected: Vec<_> = prefixes
                .iter()
                .copied()
                .filter(|prefix| path.to_ascii_lowercase().starts_with(prefix))
                .collect();
            assert_eq!(found, expected, "{path}");
        }
    }

    const OPERANDS: &[&str] = &[
        r#"http.host eq "a.test""#,
        r#"http.host in {"a.test" "b.test"}"#,
        r#"http.request.uri.path eq "/a/b""#,
        r#"starts_with(http.request.uri.path, "/a")"#,
        r#"http.request.uri.path wildcard "/A/*""#,
        r#"http.request.uri.path strict wildcard "/A/*""#,
        r#"http.request.uri.path matches "^/a/b?""#,
        r#"lower(http.request.uri.path) eq "/a/b""#,
        r#"http.request.uri.path.extension in {"css" "js"}"#,
        r#"http.request.full_uri wildcard "https://a.test/a/*""#,
        r#"starts_with(http.request.uri, "/a/b")"#,
        r#"http.request.uri.path contains "/B""#,
        r#"lower(http.request.uri.path) contains "/b""#,
        r#"ends_with(http.request.uri.path, ".css")"#,
        r#"http.request.uri.path wildcard "*/b*.CSS""#,
        r#"http.request.uri.path matches "(?i)/b|\\.css$""#,
        r#"http.request.uri matches "[by]=?1""#,
        r#"http.user_agent matches "bot(/1)?$""#,
        r#"http.request.uri contains "b?""#,
        r#"http.request.uri contains "?X""#,
        r#"http.request.uri contains "y=""#,
        r#"http.request.uri.query contains "y=1""#,
        r#"http.user_agent contains "Bot""#,
        r#"http.user_agent in {"Bot/1" ""}"#,
        r#"http.referer wildcard "*BOT*""#,
        "ssl",
        "false",
        r#"not http.host eq "a.test""#,
    ];

    fn source() -> impl Strategy<Value = String> {
        let operand = prop::sample::select(OPERANDS).prop_map(str::to_owned);
        let operator = prop::sample::select(&["and", "or", "xor"][..]);
        operand.prop_recursive(3, 8, 2, move |inner| {
            (inner.clone(), operator.clone(), inner)
                .prop_map(|(left, operator, right)| format!("({left} {operator} {right})"))
        })
    }

    proptest! {
        #[test]
        fn no_rule_that_matches_is_missed(
            sources in prop::collection::vec(source(), 9..40),
            host in prop::sample::select(&["a.test", "b.test", "c.test"][..]),
            path in "/[aA]?(/[bB]?)?(\\.css|\\.JS)?",
            query in prop::option::of("[xX]?y?=?1?[?]?"),
            agent in prop::option::of("(Ro)?[bB]ot(/1)?"),
        ) {
            let expressions: Vec<_> = sources.iter().map(|source| compile(source)).collect();
            let mut headers = HeaderMap::new();
            for name in [http::header::USER_AGENT, http::header::REFERER] {
                let agent = agent.as_ref().and_then(|agent| agent.parse().ok());
                headers.extend(agent.map(|agent| (name, agent)));
            }
            let mut request = request(&headers, host, &path);
            request.query = query.as_deref();
            let index = Index::new(expressions.iter());
            let found: Vec<_> = index
                .candidates(&request)
                .filter(|at| expressions[*at].matches(&request))
                .collect();
            let expected: Vec<_> = (0..expressions.len())
                .filter(|at| expressions[*at].matches(&request))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
