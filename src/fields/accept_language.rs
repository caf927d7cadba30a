//! Accept-Language in one form, and what it prefers (RFC 9110 §12.5.4, RFC 4647).
//!
//! What the selecting key says and what the origin is asked must be the same: the shell forwards
//! the value that the key was made from.

use http::{HeaderMap, HeaderValue, header::ACCEPT_LANGUAGE};

use super::syntax;
use super::weights::{self, Weighted};

/// More languages than this are not told apart; the rest is dropped.
const MOST_LANGUAGES: usize = 32;

/// All lines as one canonical value: lower case, the heaviest first, then by name, each once, with
/// weights as short as they can be. `None` without the field.
pub fn normalized(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ACCEPT_LANGUAGE)?;
    let mut text = Vec::new();
    write_normalized(headers, &mut text);
    // Made of bytes of valid values.
    HeaderValue::from_bytes(&text).ok()
}

/// Appends the canonical value to `out`.
pub(super) fn write_normalized(headers: &HeaderMap, out: &mut Vec<u8>) {
    weights::write(&languages(headers), out);
}

/// Which of `languages` suits the client best: the one that its heaviest range matches, by the
/// basic filtering of RFC 4647 §3.3.1, else by lookup (§3.4), which shortens the range until one
/// matches. Where ranges weigh the same, and for `*`, the earlier of `languages` wins. Without a
/// match the first; empty when there are none.
pub fn best_of<'a>(headers: &HeaderMap, languages: &'a [String]) -> &'a str {
    let accepted = self::languages(headers);
    let refused = |language: &str| {
        accepted
            .iter()
            .any(|range| range.weight == 0 && range.range.eq_ignore_ascii_case(language.as_bytes()))
    };
    weights::best(languages, |language| {
        if refused(language) {
            return None;
        }
        accepted
            .iter()
            .filter(|accepted| accepted.weight > 0)
            .filter_map(|accepted| {
                let closeness = closeness(&accepted.range, language.as_bytes())?;
                Some((accepted.weight, closeness))
            })
            .max()
    })
}

/// The language the client wants most, lower case: the one range that outweighs all others.
/// `None` when there is no such, or when it is `*`.
pub fn first_choice(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut accepted = languages(headers).into_iter();
    let first = accepted.next()?;
    let unique = accepted
        .next()
        .is_none_or(|next| next.weight < first.weight);
    (unique && first.weight > 0 && first.range != b"*").then_some(first.range)
}

/// The language ranges the client accepts, lower case, the heaviest first.
pub fn accepted(headers: &HeaderMap) -> impl Iterator<Item = Vec<u8>> {
    languages(headers)
        .into_iter()
        .filter(|language| language.weight > 0)
        .map(|language| language.range)
}

/// How well a range fits a language: equal best, then a prefix of it, then what is left of the
/// range when subtags are cut off its end, then `*`.
fn closeness(range: &[u8], language: &[u8]) -> Option<u8> {
    if range == b"*" {
        return Some(0);
    }
    if range.eq_ignore_ascii_case(language) {
        Some(3)
    } else if begins(language, range) {
        Some(2)
    } else if begins(range, language) {
        Some(1)
    } else {
        None
    }
}

/// Whether `text` begins with `prefix` and a hyphen.
fn begins(text: &[u8], prefix: &[u8]) -> bool {
    text.split_at_checked(prefix.len())
        .is_some_and(|(head, rest)| {
            head.eq_ignore_ascii_case(prefix) && rest.first() == Some(&b'-')
        })
}

/// What the field names, each range once with its greatest weight, the heaviest first.
fn languages(headers: &HeaderMap) -> Vec<Weighted> {
    let found = headers
        .get_all(ACCEPT_LANGUAGE)
        .iter()
        .flat_map(|line| syntax::members(line.as_bytes()))
        .take(MOST_LANGUAGES)
        .map(syntax::weighted)
        .filter(|(range, _)| is_range(range))
        .map(|(range, weight)| Weighted {
            range: range.to_ascii_lowercase(),
            weight,
        });
    weights::ranked(found)
}

/// RFC 4647 §2.1, without its limits of length; `*` alone among the wildcards.
fn is_range(range: &[u8]) -> bool {
    range == b"*"
        || (range.len() <= 64
            && range
                .split(|byte| *byte == b'-')
                .all(|subtag| !subtag.is_empty() && subtag.iter().all(u8::is_ascii_alphanumeric)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_str(value).unwrap());
        headers
    }

    fn canonical(value: &str) -> String {
        let value = normalized(&map(value)).unwrap();
        value.to_str().unwrap().to_owned()
    }

    #[test]
    fn rfc9110_12_5_4_spellings_of_one_preference_become_one_value() {
        for (value, expected) in [
            ("en, de", "de,en"),
            ("de, en", "de,en"),
            ("eN ,  De,", "de,en"),
            ("fr;q=0.5, de;q=1.0", "de,fr;q=0.5"),
            ("en-GB, en;q=0.90, *;q=0.1", "en-gb,en;q=0.9,*;q=0.1"),
            ("de;q=0.5, de", "de"),
            ("de;q=0.000, en;q=0.125", "en;q=0.125,de;q=0"),
            ("de;q=x", "de;q=0"),
            ("de_DE, e n, \"x\", en", "en"),
            ("", ""),
        ] {
            assert_eq!(canonical(value), expected, "{value}");
            assert_eq!(canonical(expected), expected);
        }
        assert_eq!(normalized(&HeaderMap::new()), None);
    }

    #[test]
    fn rfc4647_3_the_best_of_the_languages_there_are() {
        let languages: Vec<String> = ["en", "de", "pt-BR", "zh-Hant"]
            .into_iter()
            .map(str::to_owned)
            .collect();
        for (value, expected) in [
            ("de", "de"),
            ("DE-at", "de"),
            ("pt", "pt-BR"),
            ("pt-br", "pt-BR"),
            ("pt-PT", "en"),
            ("zh-Hant-TW, de;q=0.9", "zh-Hant"),
            ("fr, de;q=0.5", "de"),
            ("fr", "en"),
            ("*", "en"),
            ("*, de;q=0.5", "en"),
            ("*, en;q=0", "de"),
            ("en;q=0", "en"),
            ("de, en", "en"),
            ("", "en"),
        ] {
            assert_eq!(best_of(&map(value), &languages), expected, "{value}");
        }
        assert_eq!(best_of(&HeaderMap::new(), &languages), "en");
        assert_eq!(best_of(&map("de"), &[]), "");
    }

    #[test]
    fn the_first_choice_outweighs_all_others() {
        for (value, expected) in [
            ("fr;q=0.5, de;q=1.0", Some("de")),
            ("De", Some("de")),
            ("de, en", None),
            ("*, de;q=0.9", None),
            ("de;q=0", None),
            ("", None),
        ] {
            let expected = expected.map(|text| text.as_bytes().to_vec());
            assert_eq!(first_choice(&map(value)), expected, "{value}");
        }
        assert_eq!(first_choice(&HeaderMap::new()), None);
    }

    proptest! {
        #[test]
        fn reading_is_total_and_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(ACCEPT_LANGUAGE, value);
                let once = normalized(&headers).unwrap();
                headers.insert(ACCEPT_LANGUAGE, once.clone());
                prop_assert_eq!(normalized(&headers), Some(once));
                let _ = (first_choice(&headers), best_of(&headers, &["en".to_owned()]));
            }
        }

        #[test]
        fn order_case_and_spacing_do_not_count(
            mut members in proptest::collection::vec("[a-c]{2}(-[A-C]{2})?(;q=0\\.[1-9])?", 1..5),
        ) {
            let one = canonical(&members.join(","));
            members.reverse();
            prop_assert_eq!(one, canonical(&members.join(" , ").to_ascii_uppercase()));
        }
    }
}
