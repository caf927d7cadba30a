//! The challenge: a browser does a little work before it is answered. It computes for a moment or, without
//! scripts, waits for a while, and gets a signed cookie for it. Nothing is kept of those who were asked.

mod page;
mod redeem;
mod seal;
mod spent;

use http::header::COOKIE;
use http::{HeaderMap, Method, StatusCode};

pub use page::{Offer, SECURITY_POLICY, offer};
pub use redeem::{COOKIE_NAME, COOKIE_NAME_OVER_TLS, PATH, RESERVED, Redeemed, SOLUTION, redeem};
pub use seal::{Claim, Holder, Keys, Kind, Sealed, TEXT};
pub use spent::Spent;

use super::decision::Stop;
use crate::cache::status::EdgeReason;
use crate::fields::accept::{ErrorFormat, error_format};
use crate::fields::cookies::cookies;
use crate::request::{RequestView, Scheme};

/// What is known of who sends a request when it comes to challenges. By default nobody has passed one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visitor<'a> {
    /// What clearances are signed with.
    pub keys: Option<&'a Keys>,
    /// The zone's name.
    pub zone: &'a str,
    /// The clearance sent, whoever it is from.
    pub clearance: Option<&'a Sealed>,
    /// Whether the zone is under attack, so that everybody is challenged.
    pub under_attack: bool,
}

impl Visitor<'_> {
    /// Whether the clearance is genuine, the visitor's own, and lasts. Costs a signature.
    pub fn is_cleared(&self, request: &RequestView<'_>) -> bool {
        let (Some(keys), Some(clearance)) = (self.keys, self.clearance) else {
            return false;
        };
        let holder = Holder::of(self.zone, request);
        let claim = keys.open(clearance, Kind::Clearance, &holder, b"");
        claim.is_some_and(|claim| request.facts.unix_seconds < i64::from(claim.time))
    }
}

/// Challenges a request: `None` lets it pass, as its sender has passed a challenge, or is never asked.
pub fn demand(visitor: &Visitor<'_>, request: &RequestView<'_>) -> Option<Stop<'static>> {
    if is_spared(request) || visitor.is_cleared(request) {
        return None;
    }
    Some(Stop {
        reason: EdgeReason::Challenge,
        status: StatusCode::FORBIDDEN,
        page: None,
        fields: Vec::new(),
    })
}

/// Whether a request gets the page with the challenge, rather than words that it cannot pass here: that
/// takes a browser which shows a page.
pub fn gets_page(request: &RequestView<'_>) -> bool {
    reads(request.method) && error_format(request.headers) == ErrorFormat::Html
}

/// Whether nobody is challenged for it: verified bots, and what programs read that cannot pass.
pub fn is_spared(request: &RequestView<'_>) -> bool {
    request.facts.verified_bot || (reads(request.method) && is_for_programs(request.path))
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Paths of feeds, and those that programs know. Not by Accept, which anybody may send.
fn is_for_programs(path: &str) -> bool {
    const FEEDS: [&str; 8] = [
        "feed",
        "rss",
        "atom",
        "feed.xml",
        "rss.xml",
        "atom.xml",
        "index.xml",
        "feed.json",
    ];
    if path == "/robots.txt" || path.starts_with("/.well-known/") {
        return true;
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let (_, last) = path.rsplit_once('/').unwrap_or_default();
    let extension = last.rsplit_once('.').map(|(_, extension)| extension);
    FEEDS.contains(&last) || matches!(extension, Some("rss" | "atom"))
}

/// Whether a cookie is one of the challenge, which neither rules nor origin see.
pub fn is_own_cookie(name: &[u8]) -> bool {
    name == COOKIE_NAME.as_bytes() || name == COOKIE_NAME_OVER_TLS.as_bytes()
}

/// Whether there is such a cookie; quick, as nearly every request has none.
pub fn has_own_cookie(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(COOKIE).iter();
    let mut named = lines.map(|line| memchr::memmem::find(line.as_bytes(), COOKIE_NAME.as_bytes()));
    named.any(|found| found.is_some())
}

/// The clearance that a request carries.
pub fn clearance(headers: &HeaderMap, scheme: Scheme) -> Option<Sealed> {
    let name = redeem::cookie_name(scheme).as_bytes();
    let mut sent = cookies(headers).filter(|(sent, _)| *sent == name);
    sent.find_map(|(_, value)| Sealed::parse(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixtures::map;

    #[test]
    fn programs_are_not_challenged_for_what_is_theirs() {
        for path in [
            "/robots.txt",
            "/.well-known/acme-challenge/x",
            "/feed",
            "/blog/feed/",
            "/rss.xml",
            "/news.rss",
            "/a/b.atom",
        ] {
            assert!(is_for_programs(path), "{path}");
        }
        for path in [
            "/",
            "/feeds",
            "/robots.txt/x",
            "/a.rss/b",
            "/x/.well-known/y",
            "/index.html",
        ] {
            assert!(!is_for_programs(path), "{path}");
        }
    }

    #[test]
    fn over_tls_only_the_cookie_counts_that_a_neighbour_cannot_set() {
        let text = Keys::new(b"k")
            .seal(
                Claim {
                    kind: Kind::Clearance,
                    number: 0,
                    time: 1,
                    nonce: 1,
                },
                &Holder {
                    zone: "a",
                    host: "b",
                    client: [192, 0, 2, 1].into(),
                    user_agent: b"",
                },
                b"",
            )
            .text();
        let plain = map(&[("cookie", &format!("a=1; seawall_clearance={text}"))]);
        assert!(has_own_cookie(&plain));
        assert!(clearance(&plain, Scheme::Http).is_some());
        assert!(clearance(&plain, Scheme::Https).is_none());
        let host = map(&[("cookie", &format!("__Host-seawall_clearance={text}"))]);
        assert!(has_own_cookie(&host));
        assert!(clearance(&host, Scheme::Https).is_some());
        assert!(!has_own_cookie(&map(&[("cookie", "theme=dark")])));
    }
}
