//! What a request asks of caches: the Cache-Control directives of requests (RFC 9111 §5.2.1) and
//! Pragma (§5.4).

use std::time::Duration;

use http::{
    HeaderMap,
    header::{CACHE_CONTROL, PRAGMA},
};

use super::syntax;

/// The request's directives, all lines combined; `default()` asks nothing.
///
/// Of repeated directives the stricter holds. A time that cannot be read is 0 for `max-age`, and
/// makes `min-fresh` and `max-stale` as good as absent: what cannot be read permits nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestControl {
    /// Nothing stored without validation (§5.2.1.4).
    pub no_cache: bool,
    /// Nothing of this exchange is to be stored (§5.2.1.5).
    pub no_store: bool,
    /// Only what is stored, or 504 (§5.2.1.7).
    pub only_if_cached: bool,
    /// Nothing older than this (§5.2.1.1).
    pub max_age: Option<Duration>,
    /// Only what stays fresh for at least this long (§5.2.1.3).
    pub min_fresh: Option<Duration>,
    /// Stale responses are welcome (§5.2.1.2).
    pub max_stale: Option<MaxStale>,
}

/// How stale a response the client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MaxStale {
    /// Stale by no more than this.
    UpTo(Duration),
    /// However stale.
    Any,
}

impl RequestControl {
    /// What the request asks. `Pragma: no-cache` counts only without Cache-Control (§5.4).
    pub fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        if !headers.contains_key(CACHE_CONTROL) {
            control.no_cache = headers
                .get_all(PRAGMA)
                .iter()
                .flat_map(|line| syntax::members(line.as_bytes()))
                .any(|member| member.eq_ignore_ascii_case(b"no-cache"));
            return control;
        }
        for line in headers.get_all(CACHE_CONTROL) {
            for member in syntax::members(line.as_bytes()) {
                control.add(member);
            }
        }
        control
    }

    fn add(&mut self, member: &[u8]) {
        let (name, argument) = syntax::directive(member);
        let seconds = || syntax::delta_seconds(argument?);
        let is = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
        if is("no-cache") {
            self.no_cache = true;
        } else if is("no-store") {
            self.no_store = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            let given = seconds().unwrap_or_default();
            self.max_age = Some(self.max_age.map_or(given, |known| known.min(given)));
        } else if is("min-fresh") {
            // `None` is less than any time.
            self.min_fresh = self.min_fresh.max(seconds());
        } else if is("max-stale") {
            let given = match argument {
                None => Some(MaxStale::Any),
                Some(_) => seconds().map(MaxStale::UpTo),
            };
            if let Some(given) = given {
                self.max_stale = Some(self.max_stale.map_or(given, |known| known.min(given)));
            }
        }
    }
}

/// Whether the client asks that nobody on the way transforms the response (§5.2.1.6).
pub fn forbids_transforming(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CACHE_CONTROL).iter();
    let says = |member: &[u8]| {
        syntax::directive(member)
            .0
            .eq_ignore_ascii_case(b"no-transform")
    };
    lines.any(|line| syntax::members(line.as_bytes()).any(says))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn read(fields: &[(&'static str, &str)]) -> RequestControl {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        RequestControl::of(&headers)
    }

    fn control(value: &str) -> RequestControl {
        read(&[("cache-control", value)])
    }

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    const fn up_to(count: u64) -> MaxStale {
        MaxStale::UpTo(seconds(count))
    }

    #[test]
    fn rfc9111_5_2_1_every_directive_is_recognised() {
        let all = RequestControl {
            no_cache: true,
            no_store: true,
            only_if_cached: true,
            max_age: Some(seconds(1)),
            min_fresh: Some(seconds(2)),
            max_stale: Some(up_to(3)),
        };
        let text = "No-Cache, no-store, ONLY-if-cached, max-age=1, min-fresh=\"2\", max-stale=3";
        assert_eq!(control(text), all);
        assert_eq!(control("private, s-maxage=5, x"), RequestControl::default());
        assert_eq!(read(&[]), RequestControl::default());
    }

    #[test]
    fn rfc9111_5_2_1_times_and_their_doubts() {
        let max_age = |text| control(text).max_age;
        assert_eq!(max_age("max-age=5, max-age=9"), Some(seconds(5)));
        assert_eq!(max_age("max-age=x"), Some(seconds(0)));
        assert_eq!(max_age("max-age"), Some(seconds(0)));
        let min_fresh = |text| control(text).min_fresh;
        assert_eq!(min_fresh("min-fresh=5, min-fresh=9"), Some(seconds(9)));
        assert_eq!(min_fresh("min-fresh=x"), None);
        let max_stale = |text| control(text).max_stale;
        assert_eq!(max_stale("max-stale"), Some(MaxStale::Any));
        assert_eq!(max_stale("max-stale, max-stale=5"), Some(up_to(5)));
        assert_eq!(max_stale("max-stale=x"), None);
        assert_eq!(max_stale("max-stale=-1"), None);
    }

    #[test]
    fn rfc9111_5_4_pragma_counts_only_without_cache_control() {
        assert!(read(&[("pragma", "x, No-Cache")]).no_cache);
        assert!(!read(&[("pragma", "x")]).no_cache);
        assert!(!read(&[("pragma", "no-cache"), ("cache-control", "max-stale")]).no_cache);
    }

    proptest! {
        #[test]
        fn parsing_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(CACHE_CONTROL, value);
                let _ = RequestControl::of(&headers);
            }
        }
    }
}
