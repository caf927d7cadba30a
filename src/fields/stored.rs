//! The fields of a stored response, in one piece: the lines that go out on HTTP/1.
//!
//! A `HeaderMap` takes about a kilobyte for ten fields, which is as much as a small body. Hits on HTTP/1
//! write the lines as they are, and what else needs the fields has a map made of them.

use std::fmt;
use std::sync::Arc;

use http::header::{AGE, CONNECTION};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::{memchr, memchr_iter};

use super::tags::{CACHE_TAG, SURROGATE_KEY};
use super::targeted::SEAWALL_CDN_CACHE_CONTROL;

/// The one-word summary of what the cache did.
pub const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
/// The id by which a request is found in the logs.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Fields that are for caches, and not passed on unless a rule says so.
const FOR_CACHES: [HeaderName; 3] = [CACHE_TAG, SURROGATE_KEY, SEAWALL_CDN_CACHE_CONTROL];
/// Fields that every answer has anew, or not at all.
const OF_EACH_ANSWER: [HeaderName; 4] = [AGE, CONNECTION, X_CACHE, X_REQUEST_ID];

/// Fields as lines of HTTP/1. Copies share them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StoredFields {
    /// `Name: value`, each with its end of line.
    lines: Arc<[u8]>,
    /// Where those begin that do not go out with every hit.
    kept_back: usize,
}

impl StoredFields {
    /// The lines that go out with every hit.
    pub fn passed_on(&self) -> &[u8] {
        self.lines.get(..self.kept_back).unwrap_or_default()
    }

    /// Each field without its end of line.
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        // A value has no line feed in it (RFC 9110 §5.5).
        memchr_iter(b'\n', &self.lines).filter_map(move |end| {
            let line = self.lines.get(start..end.saturating_sub(1));
            start = end + 1;
            line
        })
    }

    /// Names, as they are written on HTTP/1, and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines().filter_map(|line| {
            // A name has no colon in it (RFC 9110 §5.1).
            let (name, value) = line.split_at_checked(memchr(b':', line)?)?;
            Some((name, value.strip_prefix(b": ")?))
        })
    }

    /// The first value of a field.
    pub fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        let name = name.as_str().as_bytes();
        self.lines().find_map(|line| {
            let (known, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Whether there is such a field.
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }

    /// The fields as a map of its own.
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.iter().count());
        for (name, value) in self.iter() {
            // Both came out of a map, so they are valid.
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            {
                map.append(name, value);
            }
        }
        map
    }

    /// Bytes that they take.
    pub fn weight(&self) -> u64 {
        u64::try_from(self.lines.len()).unwrap_or(u64::MAX)
    }
}

impl From<&HeaderMap> for StoredFields {
    fn from(map: &HeaderMap) -> Self {
        let size =
            |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
        let mut lines = Vec::with_capacity(map.iter().map(size).sum());
        let mut write = |kept_back: bool| {
            for (name, value) in map {
                if is_kept_back(name) == kept_back {
                    write_line(&mut lines, name, value);
                }
            }
            lines.len()
        };
        let kept_back = write(false);
        write(true);
        Self {
            lines: lines.into(),
            kept_back,
        }
    }
}

impl fmt::Debug for StoredFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.to_map()).finish()
    }
}

fn is_kept_back(name: &HeaderName) -> bool {
    OF_EACH_ANSWER.contains(name) || FOR_CACHES.contains(name)
}

/// Appends `Name: value`.
pub fn write_line(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(titled(name).as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// A name as people write it: `Content-Type`.
pub fn titled(name: &HeaderName) -> String {
    let mut begins = true;
    let titled = name.as_str().chars().map(|character| {
        let upper = std::mem::replace(&mut begins, character == '-');
        if upper {
            character.to_ascii_uppercase()
        } else {
            character
        }
    });
    titled.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let fields = fields.iter();
        let fields = fields.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        fields
            .collect::<Vec<(HeaderName, HeaderValue)>>()
            .into_iter()
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
    }

    #[test]
    fn hits_pass_on_what_is_for_clients() {
        let fields = StoredFields::from(&map(&[
            ("cache-tag", "a"),
            ("content-type", "text/html"),
            ("age", "7"),
            ("x-frame-options", ""),
        ]));
        let passed_on = std::str::from_utf8(fields.passed_on()).unwrap();
        assert_eq!(
            passed_on,
            "Content-Type: text/html\r\nX-Frame-Options: \r\n"
        );
        assert_eq!(fields.get(&CACHE_TAG), Some(&b"a"[..]));
        assert_eq!(fields.get(&AGE), Some(&b"7"[..]));
        assert!(!fields.contains(&X_CACHE));
    }

    proptest! {
        #[test]
        fn a_map_reads_back_as_it_was(
            lines in proptest::collection::vec(("[a-e:]{1,2}", proptest::collection::vec(any::<u8>(), 0..9)), 0..9)
        ) {
            let mut map = HeaderMap::new();
            for (name, value) in lines {
                let name = name.replace(':', "age");
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
                }
            }
            let stored = StoredFields::from(&map);
            prop_assert_eq!(stored.to_map(), map.clone());
            for name in map.keys() {
                prop_assert_eq!(stored.get(name), map.get(name).map(HeaderValue::as_bytes));
            }
        }
    }
}
