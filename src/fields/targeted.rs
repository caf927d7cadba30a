//! Cache directives meant for this kind of cache alone: targeted fields (RFC 9213), which are
//! Structured Fields (RFC 8941).

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::{
    cache_control::{self, CacheControl, Slot},
    syntax,
};

/// For Seawall alone; not passed on to clients.
pub const SEAWALL_CDN_CACHE_CONTROL: HeaderName =
    HeaderName::from_static("seawall-cdn-cache-control");
/// For every CDN (RFC 9213 §3.1); passed on, as a cache before this one may heed it.
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// The target list (RFC 9213 §2.2), the most specific first.
pub const TARGETS: [HeaderName; 2] = [SEAWALL_CDN_CACHE_CONTROL, CDN_CACHE_CONTROL];

/// The directives of the first field of the target list that is valid and not empty. Where there
/// is one, Cache-Control and Expires do not count (RFC 9213 §2.2).
pub fn targeted(headers: &HeaderMap) -> Option<CacheControl> {
    TARGETS.iter().find_map(|name| directives(headers, name))
}

/// The directives of one field. A field that is no Dictionary is as good as absent (§2.2), and so
/// is one with a known directive of the wrong type, unless it forbids something: what its author
/// did not want stored or reused is not, whatever else is wrong with it.
fn directives(headers: &HeaderMap, name: &HeaderName) -> Option<CacheControl> {
    let first = headers.get(name)?;
    let mut lines = headers.get_all(name).iter().skip(1).peekable();
    let dictionary = if lines.peek().is_none() {
        Parser::parse_dictionary(first.as_bytes())
    } else {
        // RFC 8941 §4.2: lines are joined before they are parsed.
        let mut text = first.as_bytes().to_vec();
        for line in lines {
            text.extend_from_slice(b", ");
            text.extend_from_slice(line.as_bytes());
        }
        Parser::parse_dictionary(&text)
    }
    .ok()
    .filter(|dictionary| !dictionary.is_empty())?;
    let (control, types) = read(&dictionary);
    let restricts = control.no_store || control.private || control.no_cache;
    (types == Types::Right || restricts).then_some(control)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Types {
    Right,
    Wrong,
}

/// Each member is a directive; its parameters mean nothing (RFC 9213 §2.1). One of the wrong type
/// is read as the more restrictive: a flag is set, a time is over.
fn read(dictionary: &Dictionary) -> (CacheControl, Types) {
    let mut control = CacheControl::default();
    let mut types = Types::Right;
    for (name, member) in dictionary {
        let value = match member {
            ListEntry::Item(item) => Some(&item.bare_item),
            ListEntry::InnerList(_) => None,
        };
        let right = match (control.slot(name.as_bytes()), value) {
            (None, _) => true,
            (Some(Slot::Flag(flag)), value) => set_flag(flag, value, name),
            (Some(Slot::Qualified(flag)), value) => match value {
                Some(BareItem::String(fields) | BareItem::Token(fields)) => {
                    *flag = cache_control::field_names(fields.as_bytes()).is_none();
                    true
                }
                value => set_flag(flag, value, name),
            },
            (Some(Slot::Time(time)), Some(BareItem::Integer(seconds))) => {
                let seconds = u64::try_from(*seconds).unwrap_or(0);
                *time = Some(Duration::from_secs(seconds.min(syntax::LARGEST_DELTA)));
                true
            }
            (Some(Slot::Time(time)), _) => {
                *time = Some(Duration::ZERO);
                false
            }
        };
        if !right {
            types = Types::Wrong;
        }
    }
    (control, types)
}

/// Sets a flag; whether its value had a type that it may have. `private` may name fields, which
/// makes no difference here (RFC 9111 §5.2.2.7).
fn set_flag(flag: &mut bool, value: Option<&BareItem>, name: &str) -> bool {
    *flag = !matches!(value, Some(BareItem::Boolean(false)));
    match value {
        Some(BareItem::Boolean(_)) => true,
        Some(BareItem::String(_) | BareItem::Token(_)) => name == "private",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, header::CACHE_CONTROL};
    use proptest::prelude::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn cdn(value: &str) -> Option<CacheControl> {
        targeted(&map(&[("cdn-cache-control", value)]))
    }

    fn max_age(value: &str) -> Option<u64> {
        Some(cdn(value)?.max_age?.as_secs())
    }

    #[test]
    fn rfc9213_2_1_members_are_typed_directives() {
        for (value, expected) in [
            ("max-age=3600", Some(3600)),
            ("foobar, max-age=3600", Some(3600)),
            ("max-age=3600;q=1, x=(a b)", Some(3600)),
            ("max-age=99999999999", Some(1 << 31)),
            ("max-age=1, max-age=5", Some(5)),
            ("max-age=-1", Some(0)),
        ] {
            assert_eq!(max_age(value), expected, "{value}");
        }
        let all = "no-store, private, public, must-revalidate, s-maxage=2, immutable";
        let control = cdn(all).unwrap();
        assert!(control.no_store && control.private && control.public && control.immutable);
        assert!(control.must_revalidate && !control.no_cache);
        assert_eq!(control.s_maxage, Some(Duration::from_secs(2)));
        assert_eq!(
            cdn("no-store=?0").map(|control| control.no_store),
            Some(false)
        );
    }

    #[test]
    fn rfc9213_2_2_an_invalid_or_empty_field_is_ignored() {
        for value in [
            "",
            "max-age=10000, &&&&&",
            "max-age=\"10000\"",
            "max-age=1.5",
            "max-age",
            "max-age =100",
            "max-age= 100",
            "MaX-aGe=3600",
            "max-age=(1 2)",
            "max-age=5,",
            "max-age=1234567890123456",
            "public=1, max-age=5",
        ] {
            assert_eq!(cdn(value), None, "{value}");
        }
    }

    #[test]
    fn a_restriction_holds_beside_a_directive_of_the_wrong_type() {
        for value in [
            "private, max-age=\"5\"",
            "no-store=1",
            "no-cache=(a)",
            "private=\"x\"",
        ] {
            let control = cdn(value).unwrap();
            assert!(
                control.private || control.no_store || control.no_cache,
                "{value}"
            );
        }
        assert!(!cdn("no-cache=\"set-cookie\"").unwrap().no_cache);
        assert!(cdn("no-cache=\"content-type\"").unwrap().no_cache);
    }

    #[test]
    fn rfc9213_2_2_the_first_valid_field_of_the_target_list_wins() {
        let (own, all) = ("seawall-cdn-cache-control", "cdn-cache-control");
        for (fields, expected) in [
            (&[(own, "max-age=1"), (all, "max-age=2")][..], Some(1)),
            (&[(own, "max-age="), (all, "max-age=2")], Some(2)),
            (&[(own, ""), (all, "max-age=2")], Some(2)),
            (&[(all, "max-age=2"), (all, "max-age=3")], Some(3)),
            (&[(all, "max-age=2"), (all, "&")], None),
            (&[("cache-control", "max-age=9")], None),
        ] {
            let given = targeted(&map(fields)).and_then(|control| control.max_age);
            assert_eq!(given.map(|age| age.as_secs()), expected, "{fields:?}");
        }
        assert!(!TARGETS.contains(&CACHE_CONTROL));
    }

    proptest! {
        #[test]
        fn parsing_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.append(CDN_CACHE_CONTROL, value.clone());
                headers.append(CDN_CACHE_CONTROL, value);
                let _ = targeted(&headers);
            }
        }

        #[test]
        fn what_looks_like_a_dictionary_is_total_too(
            text in "(max-age|no-store|private|no-cache|x)=?[-(?:\"0-9a-z.;= *)]{0,12}(, (s-maxage|public)=?[-0-9.\"a-z]{0,18})?",
        ) {
            let _ = cdn(&text);
        }
    }
}
