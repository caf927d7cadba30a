//! The Cache-Control field of a response (RFC 9111 §5.2, RFC 5861, RFC 8246).

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, SET_COOKIE},
};

use super::{hop_by_hop, syntax, targeted};

/// Cache-Control's directives, all lines combined.
///
/// Every doubt is read as the more restrictive: of repeated directives the shorter time holds
/// (RFC 9111 §4.2.1), an argument that is not a number of seconds counts as 0, and the qualified
/// form `private="…"` counts as unqualified (§5.2.2.7 allows it). The qualified `no-cache="…"`
/// counts as unqualified where it names no fields, or such as the response cannot do without.
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

    fn add(&mut self, member: &[u8]) {
        let (name, argument) = syntax::directive(member);
        match self.slot(name) {
            Some(Slot::Flag(flag)) => *flag = true,
            Some(Slot::Qualified(flag)) => *flag |= argument.and_then(field_names).is_none(),
            Some(Slot::Time(time)) => {
                let given = syntax::delta_seconds(argument.unwrap_or_default());
                let given = given.unwrap_or_default();
                *time = Some(time.map_or(given, |known| known.min(given)));
            }
            None => {}
        }
    }

    /// What the directive `name` sets; `None` for an extension.
    pub(super) fn slot(&mut self, name: &[u8]) -> Option<Slot<'_>> {
        let (_, directive) = NAMES
            .iter()
            .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))?;
        Some(match directive {
            Directive::NoStore => Slot::Flag(&mut self.no_store),
            Directive::NoCache => Slot::Qualified(&mut self.no_cache),
            Directive::Private => Slot::Flag(&mut self.private),
            Directive::Public => Slot::Flag(&mut self.public),
            Directive::MustRevalidate => Slot::Flag(&mut self.must_revalidate),
            Directive::ProxyRevalidate => Slot::Flag(&mut self.proxy_revalidate),
            Directive::MustUnderstand => Slot::Flag(&mut self.must_understand),
            Directive::NoTransform => Slot::Flag(&mut self.no_transform),
            Directive::Immutable => Slot::Flag(&mut self.immutable),
            Directive::MaxAge => Slot::Time(&mut self.max_age),
            Directive::SMaxage => Slot::Time(&mut self.s_maxage),
            Directive::StaleWhileRevalidate => Slot::Time(&mut self.stale_while_revalidate),
            Directive::StaleIfError => Slot::Time(&mut self.stale_if_error),
        })
    }
}

/// Where a directive's meaning is kept, by the kind of its argument.
pub(super) enum Slot<'a> {
    /// Set by its name alone.
    Flag(&'a mut bool),
    /// Set by its name, unless an argument restricts it to some fields.
    Qualified(&'a mut bool),
    /// A number of seconds.
    Time(&'a mut Option<Duration>),
}

/// The fields that a qualified `no-cache="…"` keeps from being reused without validation
/// (RFC 9111 §5.2.2.4), in Cache-Control or a targeted field: the rest may be stored without them.
pub(super) fn no_cache_fields(headers: &HeaderMap) -> Vec<HeaderName> {
    let [own, shared] = targeted::TARGETS;
    [CACHE_CONTROL, own, shared]
        .iter()
        .flat_map(|name| headers.get_all(name))
        .flat_map(|line| syntax::members(line.as_bytes()))
        .map(syntax::directive)
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"no-cache"))
        .filter_map(|(_, argument)| field_names(argument?))
        .flatten()
        .collect()
}

/// The names in the argument of a qualified directive. `None` when one is no field name, or names
/// a field without which the rest of the response would mean something else.
pub(super) fn field_names(argument: &[u8]) -> Option<Vec<HeaderName>> {
    let names: Vec<_> = syntax::members(argument)
        .map(|name| HeaderName::from_bytes(name).ok())
        .collect::<Option<_>>()?;
    let essential = |name: &HeaderName| hop_by_hop::is_essential(name) && *name != SET_COOKIE;
    (!names.is_empty() && !names.iter().any(essential)).then_some(names)
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
    fn rfc9111_5_2_2_7_qualified_private_counts_as_unqualified() {
        assert!(parse(&[r#"private="x-user, x-cart""#]).private);
        assert!(parse(&["private = \"x\""]).private);
    }

    #[test]
    fn rfc9111_5_2_2_4_qualified_no_cache_concerns_the_fields_it_names() {
        for (line, unqualified) in [
            ("no-cache=\"set-cookie, x-user\"", false),
            ("no-cache=x-user", false),
            ("no-cache=\"x-user\", no-cache", true),
            ("no-cache=\"\"", true),
            ("no-cache=", true),
            ("no-cache=\"a b\"", true),
            ("no-cache = \"x-user\"", true),
            ("no-cache=\"x-user, content-type\"", true),
            ("no-cache=\"x-user", true),
        ] {
            assert_eq!(parse(&[line]).no_cache, unqualified, "{line}");
        }
        let mut headers = HeaderMap::new();
        for line in [
            "no-cache=\"A, b\", max-age=5",
            "no-cache=etag",
            "No-Cache=c",
        ] {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        assert_eq!(no_cache_fields(&headers), ["a", "b", "c"]);
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
