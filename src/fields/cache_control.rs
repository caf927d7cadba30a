//! The Cache-Control field of a response (RFC 9111 §5.2, RFC 5861, RFC 8246).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};

use super::syntax;

/// Cache-Control's directives, all lines combined.
///
/// Every doubt is read as the more restrictive: of repeated directives the shorter time holds
/// (RFC 9111 §4.2.1), an argument that is not a number of seconds counts as 0, and the qualified
/// forms `private="…"` and `no-cache="…"` count as unqualified (§5.2.2.7 and §5.2.2.4 allow it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is one independent directive of the RFC, under its own name"
)]
pub struct CacheControl {
    /// Nothing may be stored (§5.2.2.5).
    pub no_store: bool,
    /// Stored responses need validation before each reuse (§5.2.2.4).
    pub no_cache: bool,
    /// Not for shared caches (§5.2.2.7).
    pub private: bool,
    /// May be stored although otherwise it might not be (§5.2.2.9).
    pub public: bool,
    /// Never reused stale (§5.2.2.2).
    pub must_revalidate: bool,
    /// Never reused stale by a shared cache (§5.2.2.8).
    pub proxy_revalidate: bool,
    /// To be stored only by caches that understand the status (§5.2.2.3).
    pub must_understand: bool,
    /// The content must not be transformed (§5.2.2.6).
    pub no_transform: bool,
    /// Clients need not revalidate on reload (RFC 8246 §2).
    pub immutable: bool,
    /// Freshness lifetime (§5.2.2.1).
    pub max_age: Option<Duration>,
    /// Freshness lifetime for shared caches (§5.2.2.10).
    pub s_maxage: Option<Duration>,
    /// How long it may be served stale while it is validated (RFC 5861 §3).
    pub stale_while_revalidate: Option<Duration>,
    /// How long it may be served stale when the origin fails (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
}

impl CacheControl {
    /// The directives of every Cache-Control line among `headers`.
    pub fn of(headers: &HeaderMap) -> Self {
        Self::parse(headers.get_all(CACHE_CONTROL))
    }

    /// The directives of all `values`, the lines of one field.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        let mut parsed = Self::default();
        for value in values {
            for directive in syntax::members(value.as_bytes()) {
                parsed.add(directive);
            }
        }
        parsed
    }

    fn add(&mut self, directive: &[u8]) {
        let (name, argument) = split_argument(directive);
        let known = NAMES
            .iter()
            .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        let Some((_, directive)) = known else {
            return;
        };
        match directive {
            Directive::NoStore => self.no_store = true,
            Directive::NoCache => self.no_cache = true,
            Directive::Private => self.private = true,
            Directive::Public => self.public = true,
            Directive::MustRevalidate => self.must_revalidate = true,
            Directive::ProxyRevalidate => self.proxy_revalidate = true,
            Directive::MustUnderstand => self.must_understand = true,
            Directive::NoTransform => self.no_transform = true,
            Directive::Immutable => self.immutable = true,
            Directive::MaxAge => shorten(&mut self.max_age, argument),
            Directive::SMaxage => shorten(&mut self.s_maxage, argument),
            Directive::StaleWhileRevalidate => {
                shorten(&mut self.stale_while_revalidate, argument);
            }
            Directive::StaleIfError => shorten(&mut self.stale_if_error, argument),
        }
    }
}

#[derive(Clone, Copy)]
enum Directive {
    NoStore,
    NoCache,
    Private,
    Public,
    MustRevalidate,
    ProxyRevalidate,
    MustUnderstand,
    NoTransform,
    Immutable,
    MaxAge,
    SMaxage,
    StaleWhileRevalidate,
    StaleIfError,
}

const NAMES: [(&str, Directive); 13] = [
    ("max-age", Directive::MaxAge),
    ("s-maxage", Directive::SMaxage),
    ("public", Directive::Public),
    ("private", Directive::Private),
    ("no-store", Directive::NoStore),
    ("no-cache", Directive::NoCache),
    ("must-revalidate", Directive::MustRevalidate),
    ("proxy-revalidate", Directive::ProxyRevalidate),
    ("stale-while-revalidate", Directive::StaleWhileRevalidate),
    ("stale-if-error", Directive::StaleIfError),
    ("immutable", Directive::Immutable),
    ("must-understand", Directive::MustUnderstand),
    ("no-transform", Directive::NoTransform),
];

/// Name and argument. The grammar has no whitespace around `=`: an argument written so is empty,
/// hence invalid, while the name still counts.
fn split_argument(directive: &[u8]) -> (&[u8], &[u8]) {
    let (name, argument) = syntax::split_once(directive, b'=');
    let trimmed = syntax::trim_ows(name);
    let argument = if trimmed.len() == name.len() {
        argument.unwrap_or_default()
    } else {
        b""
    };
    (trimmed, argument)
}

fn shorten(time: &mut Option<Duration>, argument: &[u8]) {
    let given = syntax::delta_seconds(unquote(argument)).unwrap_or_default();
    *time = Some(time.map_or(given, |known| known.min(given)));
}

/// RFC 9111 §5.2: both argument forms, token and quoted-string, are to be accepted.
fn unquote(argument: &[u8]) -> &[u8] {
    match argument {
        [b'"', inner @ .., b'"'] => inner,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(lines: &[&str]) -> CacheControl {
        let values: Vec<_> = lines
            .iter()
            .map(|line| HeaderValue::from_str(line).unwrap())
            .collect();
        CacheControl::parse(&values)
    }

    fn max_age(lines: &[&str]) -> Option<u64> {
        parse(lines).max_age.map(|age| age.as_secs())
    }

    #[test]
    fn rfc9111_5_2_names_are_case_insensitive_and_extensions_ignored() {
        let parsed = parse(&["No-Store, PRIVATE", "community=\"UCI\", Max-Age=5"]);
        assert!(parsed.no_store && parsed.private);
        assert_eq!(parsed.max_age, Some(Duration::from_secs(5)));
        assert_eq!(parse(&["no-storex, xprivate"]), CacheControl::default());
    }

    #[test]
    fn rfc9111_5_2_2_every_directive_is_recognised() {
        let parsed = parse(&[
            "no-store, no-cache, private, public, must-revalidate, proxy-revalidate, \
             must-understand, no-transform, immutable, max-age=1, s-maxage=2, \
             stale-while-revalidate=3, stale-if-error=4",
        ]);
        let seconds = |count| Some(Duration::from_secs(count));
        assert_eq!(
            parsed,
            CacheControl {
                no_store: true,
                no_cache: true,
                private: true,
                public: true,
                must_revalidate: true,
                proxy_revalidate: true,
                must_understand: true,
                no_transform: true,
                immutable: true,
                max_age: seconds(1),
                s_maxage: seconds(2),
                stale_while_revalidate: seconds(3),
                stale_if_error: seconds(4),
            }
        );
    }

    #[test]
    fn rfc9111_1_2_2_arguments_that_are_no_delta_seconds_are_stale() {
        let table: &[(&[&str], Option<u64>)] = &[
            (&["public"], None),
            (&["max-age=60"], Some(60)),
            (&["max-age=\"60\""], Some(60)),
            (&["max-age=0060"], Some(60)),
            (&["max-age"], Some(0)),
            (&["max-age="], Some(0)),
            (&["max-age=-1"], Some(0)),
            (&["max-age=60.0"], Some(0)),
            (&["max-age='60'"], Some(0)),
            (&["max-age=a60"], Some(0)),
            (&["max-age= 60"], Some(0)),
            (&["max-age =60"], Some(0)),
            (&["max-age=99999999999999999999"], Some(1 << 31)),
        ];
        for (lines, expected) in table {
            assert_eq!(max_age(lines), *expected, "{lines:?}");
        }
    }

    #[test]
    fn rfc9111_4_2_1_of_duplicates_the_shortest_holds() {
        assert_eq!(max_age(&["max-age=9, max-age=1"]), Some(1));
        assert_eq!(max_age(&["max-age=1", "max-age=9"]), Some(1));
        assert_eq!(max_age(&["max-age=9", "max-age=x"]), Some(0));
    }

    #[test]
    fn directives_inside_quoted_strings_do_not_count() {
        let parsed = parse(&[r#"ext="no-store, max-age=3600", max-age=1"#]);
        assert!(!parsed.no_store);
        assert_eq!(parsed.max_age, Some(Duration::from_secs(1)));
    }

    #[test]
    fn restrictions_behind_an_unclosed_quote_still_count() {
        assert!(parse(&[r#"ext="oops, no-store"#]).no_store);
    }

    #[test]
    fn qualified_private_and_no_cache_count_as_unqualified() {
        let parsed = parse(&[r#"private="x-user, x-cart", no-cache="set-cookie""#]);
        assert!(parsed.private && parsed.no_cache);
        assert!(parse(&["private = \"x\""]).private);
    }

    proptest! {
        #[test]
        fn parsing_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let _ = CacheControl::parse([&value]);
            }
        }

        #[test]
        fn no_store_is_found_among_any_extensions(before in "[a-z=;, ]{0,20}", after in "[ -~]{0,20}") {
            let line = format!("{before},No-Store,{after}");
            let value = HeaderValue::from_str(&line).unwrap();
            prop_assert!(CacheControl::parse([&value]).no_store);
        }
    }
}
