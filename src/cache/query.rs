//! The query that counts: what the key holds and what the origin receives.
//!
//! Parameters are what `&` separates, byte for byte. A `;` or an encoded `&` within one is part of it,
//! whatever an origin makes of it: it is kept or dropped with its parameter, and never part of the
//! key without being forwarded, or the other way round.

use std::borrow::Cow;

use super::settings::{KeySettings, QueryKey};

/// The query as key and origin get it; `None` when nothing of it counts.
///
/// Names are compared as they decode, with their case. A filtered or sorted query has no empty
/// parameters; sorting is by name, and parameters of one name keep their order, which applications
/// see.
pub fn keyed_query<'q>(query: Option<&'q str>, settings: &KeySettings) -> Option<Cow<'q, str>> {
    let query = query?;
    if settings.query == QueryKey::All && !settings.sort_query {
        return Some(Cow::Borrowed(query));
    }
    let mut kept: Vec<Parameter<'q>> = parameters(query)
        .filter(|parameter| counts(&parameter.name, &settings.query))
        .collect();
    if settings.sort_query {
        kept.sort_by(|one, other| one.name.cmp(&other.name));
    }
    if kept.is_empty() {
        // Without a filter `?` remains: it differs from no query (RFC 3986 §6.2.3).
        return (settings.query == QueryKey::All).then_some(Cow::Borrowed(""));
    }
    let texts: Vec<&str> = kept.iter().map(|parameter| parameter.text).collect();
    let joined = texts.join("&");
    Some(if joined == query {
        Cow::Borrowed(query)
    } else {
        Cow::Owned(joined)
    })
}

struct Parameter<'q> {
    /// As sent, name and value.
    text: &'q str,
    /// Decoded.
    name: Cow<'q, [u8]>,
}

fn parameters(query: &str) -> impl Iterator<Item = Parameter<'_>> {
    query
        .split('&')
        .filter(|text| !text.is_empty())
        .map(|text| {
            let name = text.split_once('=').map_or(text, |(name, _)| name);
            Parameter {
                text,
                name: decode(name),
            }
        })
}

fn counts(name: &[u8], key: &QueryKey) -> bool {
    let listed = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
    match key {
        QueryKey::All => true,
        QueryKey::None => false,
        QueryKey::Include(patterns) => listed(patterns),
        QueryKey::Exclude(patterns) => !listed(patterns),
    }
}

fn matches(pattern: &str, name: &[u8]) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning.as_bytes()),
        None => name == pattern.as_bytes(),
    }
}

/// As forms decode: `%XX`, and `+` for a space. A malformed escape stands for itself.
fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.split_at_checked(2).and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits).ok()?;
            // `from_str_radix` would take a sign as well.
            let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
            let byte = plain.then(|| u8::from_str_radix(digits, 16).ok())??;
            Some((byte, after))
        });
        match (first, escaped) {
            (b'%', Some((byte, after))) => {
                out.push(byte);
                rest = after;
            }
            (b'+', _) => {
                out.push(b' ');
                rest = tail;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn settings(query: QueryKey, sort_query: bool) -> KeySettings {
        KeySettings {
            query,
            sort_query,
            ..KeySettings::default()
        }
    }

    fn keyed(query: &str, key: QueryKey, sort: bool) -> Option<String> {
        keyed_query(Some(query), &settings(key, sort)).map(Cow::into_owned)
    }

    #[test]
    fn by_default_the_query_is_the_clients() {
        for query in ["", "a=1", "b&&a", "a=1;b=2&%61"] {
            assert_eq!(keyed(query, QueryKey::All, false).as_deref(), Some(query));
        }
        assert_eq!(keyed_query(None, &KeySettings::default()), None);
        assert_eq!(keyed_query(None, &settings(QueryKey::None, true)), None);
    }

    #[test]
    fn parameters_are_kept_or_dropped_by_name() {
        let include = || QueryKey::Include(names(&["a", "utm_*", "x y"]));
        let exclude = || QueryKey::Exclude(names(&["a", "utm_*", "x y"]));
        for (query, included, excluded) in [
            ("", None, None),
            ("&", None, None),
            ("a=1&b=2", Some("a=1"), Some("b=2")),
            ("a=1&a=2&a", Some("a=1&a=2&a"), None),
            ("A=1", None, Some("A=1")),
            ("ab=1", None, Some("ab=1")),
            (
                "utm_source=x&utm_=y&utm=z",
                Some("utm_source=x&utm_=y"),
                Some("utm=z"),
            ),
            ("%61=1&u%74m_x&utm%5Fy", Some("%61=1&u%74m_x&utm%5Fy"), None),
            ("x+y=1&x%20y=2", Some("x+y=1&x%20y=2"), None),
            ("%6=1&%=2&%zz&%+1", None, Some("%6=1&%=2&%zz&%+1")),
            ("=a&&b", None, Some("=a&b")),
        ] {
            assert_eq!(
                keyed(query, include(), false).as_deref(),
                included,
                "{query}"
            );
            assert_eq!(
                keyed(query, exclude(), false).as_deref(),
                excluded,
                "{query}"
            );
            assert_eq!(keyed(query, QueryKey::None, false), None, "{query}");
        }
    }

    #[test]
    fn a_cloaked_parameter_goes_where_its_carrier_goes() {
        let exclude = || QueryKey::Exclude(names(&["utm_*"]));
        for (query, expected) in [
            ("a=1;utm_x=1&a=evil", Some("a=1;utm_x=1&a=evil")),
            ("utm_x=1;a=evil&a=1", Some("a=1")),
            ("utm_x=1%26a=evil&a=1", Some("a=1")),
            ("a=1%26utm_x=2", Some("a=1%26utm_x=2")),
            ("a%26utm_x=2", Some("a%26utm_x=2")),
            ("a;utm_x=2", Some("a;utm_x=2")),
        ] {
            assert_eq!(
                keyed(query, exclude(), false).as_deref(),
                expected,
                "{query}"
            );
        }
    }

    #[test]
    fn sorting_is_by_name_and_keeps_duplicates_in_their_order() {
        for (query, expected) in [
            ("", ""),
            ("&", ""),
            ("b=1&a=2", "a=2&b=1"),
            ("b=2&a=1&b=1", "a=1&b=2&b=1"),
            ("b&%61=2&a=1", "%61=2&a=1&b"),
            ("a=1&a-b=1", "a=1&a-b=1"),
            ("b=1;a=2&a=3", "a=3&b=1;a=2"),
        ] {
            assert_eq!(keyed(query, QueryKey::All, true).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_does_not_change_is_borrowed() {
        let sorted = settings(QueryKey::Exclude(names(&["x"])), true);
        let query = keyed_query(Some("a=1&b=2"), &sorted);
        assert!(matches!(query, Some(Cow::Borrowed(_))));
    }

    fn any_settings() -> impl Strategy<Value = KeySettings> {
        let names = || proptest::collection::vec("[ab]\\*?", 0..3);
        let query = prop_oneof![
            Just(QueryKey::All),
            Just(QueryKey::None),
            names().prop_map(QueryKey::Include),
            names().prop_map(QueryKey::Exclude),
        ];
        (query, any::<bool>()).prop_map(|(query, sort)| settings(query, sort))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn a_keyed_query_is_its_own(query in "[ab%61=;&+]{0,12}", settings in any_settings()) {
            let once = keyed_query(Some(&query), &settings);
            if let Some(once) = &once {
                let twice = keyed_query(Some(once), &settings);
                prop_assert_eq!(twice.as_deref(), Some(&**once));
            }
        }

        /// Equal results exactly when what counts is equal: the kept parameters in the order that
        /// counts.
        #[test]
        fn queries_are_equal_exactly_when_what_counts_is(
            one in "[ab=&]{0,6}",
            other in "[ab=&]{0,6}",
            settings in any_settings(),
        ) {
            let tuple = |query: &str| {
                if settings.query == QueryKey::All && !settings.sort_query {
                    return vec![query.to_owned()];
                }
                let name = |text: &String| text.split('=').next().unwrap_or_default().to_owned();
                let mut kept: Vec<String> = query
                    .split('&')
                    .filter(|text| !text.is_empty())
                    .map(str::to_owned)
                    .filter(|text| counts(name(text).as_bytes(), &settings.query))
                    .collect();
                if settings.sort_query {
                    kept.sort_by_key(name);
                }
                kept
            };
            let same = keyed_query(Some(&one), &settings) == keyed_query(Some(&other), &settings);
            prop_assert_eq!(same, tuple(&one) == tuple(&other));
        }
    }
}
