//! The tags by which a stored response can be purged: `Cache-Tag` and `Surrogate-Key`.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName};

use super::syntax;

/// Tags between commas.
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// Tags between spaces.
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// Bytes of field values read in all; what is beyond them is dropped.
pub const MOST_BYTES: usize = 16 << 10;
/// Tags kept; further ones are dropped.
pub const MOST_TAGS: usize = 1000;

/// The tags of a response, lower case, each once, sorted. What is not printable ASCII is no tag.
pub fn cache_tags(headers: &HeaderMap) -> Vec<Box<str>> {
    let mut budget = MOST_BYTES;
    let mut tags = BTreeSet::new();
    for (name, separator) in [(CACHE_TAG, b','), (SURROGATE_KEY, b' ')] {
        for line in headers.get_all(name) {
            for tag in line.as_bytes().split(|byte| *byte == separator) {
                let size = tag.len().saturating_add(1);
                if size > budget || tags.len() >= MOST_TAGS {
                    return tags.into_iter().collect();
                }
                budget -= size;
                tags.extend(normalised(tag));
            }
        }
    }
    tags.into_iter().collect()
}

/// The tags of a response and `further` ones, which are in the form in which tags are compared.
pub fn cache_tags_with(headers: &HeaderMap, further: &[Box<str>]) -> Vec<Box<str>> {
    let mut tags = cache_tags(headers);
    if !further.is_empty() {
        tags.extend_from_slice(further);
        tags.sort();
        tags.dedup();
    }
    tags
}

/// One tag in the form in which tags are compared; `None` when it is none.
pub fn normalised(tag: &[u8]) -> Option<Box<str>> {
    let tag = syntax::trim_ows(tag);
    let printable = !tag.is_empty() && tag.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let text = printable.then(|| std::str::from_utf8(tag).ok())??;
    Some(text.to_ascii_lowercase().into_boxed_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn tags(fields: &[(HeaderName, &[u8])]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        cache_tags(&map).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn both_fields_and_all_their_lines_count_once_and_in_lower_case() {
        let fields = [
            (CACHE_TAG, &b"Product-1, catalog ,, new arrivals"[..]),
            (CACHE_TAG, b"CATALOG"),
            (SURROGATE_KEY, b"product-1  page/2"),
        ];
        let expected = ["catalog", "new arrivals", "page/2", "product-1"];
        assert_eq!(tags(&fields), expected);
        assert!(tags(&[]).is_empty());
    }

    #[test]
    fn further_tags_stand_beside_the_responses_own() {
        let mut map = HeaderMap::new();
        map.insert(CACHE_TAG, HeaderValue::from_static("b, d"));
        let further = ["a".into(), "b".into(), "c".into()];
        assert_eq!(
            cache_tags_with(&map, &further),
            ["a", "b", "c", "d"].map(Box::from)
        );
        assert_eq!(cache_tags_with(&map, &[]), cache_tags(&map));
    }

    #[test]
    fn what_is_not_printable_ascii_is_no_tag() {
        assert_eq!(tags(&[(CACHE_TAG, b"a\tb, caf\xe9, ok")]), ["ok"]);
        assert_eq!(normalised(b" A "), Some("a".into()));
        assert_eq!(normalised(b" "), None);
    }

    #[test]
    fn tags_beyond_the_bounds_are_dropped() {
        let many: Vec<_> = (0..3000).map(|n| format!("t{n}")).collect();
        assert_eq!(
            tags(&[(CACHE_TAG, many.join(",").as_bytes())]).len(),
            MOST_TAGS
        );
        let long = "x".repeat(10 << 10);
        let fields = [
            (CACHE_TAG, long.as_bytes()),
            (CACHE_TAG, long.as_bytes()),
            (SURROGATE_KEY, b"late"),
        ];
        assert_eq!(tags(&fields), [long.as_str()]);
    }

    proptest! {
        #[test]
        fn reading_is_total_and_normal(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.append(CACHE_TAG, value.clone());
                headers.append(SURROGATE_KEY, value);
                for tag in cache_tags(&headers) {
                    prop_assert_eq!(normalised(tag.as_bytes()), Some(tag));
                }
            }
        }
    }
}
