//! The reserved path, at which a visitor gets leave to pass for a solved puzzle or a ticket.

use http::{HeaderName, HeaderValue, Method};
use ring::digest;

use super::Visitor;
use super::seal::{Claim, Holder, Keys, Kind, Sealed, TEXT};
use super::spent::Spent;
use crate::config::Challenge;
use crate::request::{RequestView, Scheme};

/// Paths that begin so are Seawall's own in every zone.
pub const RESERVED: &str = "/.seawall/";
/// Where solutions and tickets go.
pub const PATH: &str = "/.seawall/challenge";
/// The field with a solution: the puzzle's text and eight digits. No form and no other site can send it.
pub const SOLUTION: HeaderName = HeaderName::from_static("seawall-solution");
/// The cookie in cleartext.
pub const COOKIE_NAME: &str = "seawall_clearance";
/// The cookie over TLS (RFC 6265bis §4.1.3.2).
pub const COOKIE_NAME_OVER_TLS: &str = "__Host-seawall_clearance";

/// How long a puzzle can be solved, and a ticket used once it is worth something, in seconds.
const LIFETIME: i64 = 300;
/// By how many seconds the clocks of two nodes may differ.
const SKEW: i64 = 60;
const DIGITS: usize = 8;
/// Longer targets do not find their way through the page.
const LONGEST_TARGET: usize = 1000;

/// What a request for the reserved path comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// A solution is right: here is the cookie.
    Solved(HeaderValue),
    /// A ticket is good: on to this target; with the cookie, unless the visitor has a good one.
    Waited(Option<HeaderValue>, String),
    /// A ticket is not worth anything for so many seconds yet.
    Early(Sealed, String, i64),
    /// Asked about itself: whether the visitor has clearance.
    State(bool),
    /// It is not good, or not any more.
    Refused,
    /// There is nothing of this name.
    Unknown,
}

/// Looks at a request for a path of Seawall's own. `nonce` is another number each time.
pub fn redeem(
    keys: &Keys,
    visitor: &Visitor<'_>,
    request: &RequestView<'_>,
    settings: &Challenge,
    spent: &Spent,
    nonce: u64,
) -> Redeemed {
    if request.path != PATH {
        return Redeemed::Unknown;
    }
    let holder = Holder::of(visitor.zone, request);
    let now = request.facts.unix_seconds;
    let cookie = || cookie(keys, &holder, request.scheme, settings, now, nonce);
    if *request.method == Method::POST {
        let solution = request.headers.get(SOLUTION).map(HeaderValue::as_bytes);
        let solved = solution
            .and_then(|solution| solved(keys, &holder, solution, now))
            .filter(|(sealed, until)| spent.puzzle(sealed.id(), *until, now));
        return solved
            .and_then(|_| cookie())
            .map_or(Redeemed::Refused, Redeemed::Solved);
    }
    let ticket = request.query.and_then(read_ticket);
    let (Method::GET, Some((sealed, target))) = (request.method.clone(), ticket) else {
        return match *request.method {
            Method::GET | Method::HEAD => Redeemed::State(visitor.is_cleared(request)),
            _ => Redeemed::Refused,
        };
    };
    let Some(claim) = keys.open(&sealed, Kind::Ticket, &holder, target.as_bytes()) else {
        return Redeemed::Refused;
    };
    let due = i64::from(claim.time).saturating_add(claim.number.into());
    let until = due.saturating_add(LIFETIME);
    if now > until || i64::from(claim.time) > now.saturating_add(SKEW) {
        Redeemed::Refused
    } else if visitor.is_cleared(request) {
        Redeemed::Waited(None, target)
    } else if now < due {
        Redeemed::Early(sealed, target, due.saturating_sub(now))
    } else if !spent.ticket(sealed.id(), until, now) {
        Redeemed::Refused
    } else {
        cookie().map_or(Redeemed::Refused, |cookie| {
            Redeemed::Waited(Some(cookie), target)
        })
    }
}

/// The puzzle that `solution` solves, and until when it could be.
fn solved(keys: &Keys, holder: &Holder<'_>, solution: &[u8], now: i64) -> Option<(Sealed, i64)> {
    let (puzzle, digits) = solution.split_at_checked(TEXT)?;
    let plain = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != DIGITS || !digits.iter().all(plain) {
        return None;
    }
    let sealed = Sealed::parse(puzzle)?;
    // The difficulty is what was signed, not what the client says.
    let claim = keys.open(&sealed, Kind::Puzzle, holder, b"")?;
    let (made, until) = (
        i64::from(claim.time),
        i64::from(claim.time).saturating_add(LIFETIME),
    );
    if now > until || made > now.saturating_add(SKEW) {
        return None;
    }
    let hash = digest::digest(&digest::SHA256, solution);
    let first = hash.as_ref().first_chunk().copied().unwrap_or([255; 8]);
    let zeros = u64::from_be_bytes(first).leading_zeros();
    (zeros >= u32::from(claim.number)).then_some((sealed, until))
}

/// The name of the cookie on connections of this kind.
pub(super) const fn cookie_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Http => COOKIE_NAME,
        Scheme::Https => COOKIE_NAME_OVER_TLS,
    }
}

fn cookie(
    keys: &Keys,
    holder: &Holder<'_>,
    scheme: Scheme,
    settings: &Challenge,
    now: i64,
    nonce: u64,
) -> Option<HeaderValue> {
    let lasts = settings.clearance.as_secs();
    let claim = Claim {
        kind: Kind::Clearance,
        number: 0,
        time: u32::try_from(now.saturating_add_unsigned(lasts)).ok()?,
        nonce,
    };
    let (name, text) = (cookie_name(scheme), keys.seal(claim, holder, b"").text());
    let secure = if scheme == Scheme::Https {
        "; Secure"
    } else {
        ""
    };
    HeaderValue::try_from(format!(
        "{name}={text}; Path=/; Max-Age={lasts}; HttpOnly; SameSite=Lax{secure}"
    ))
    .ok()
}

/// Ticket and target of a query that the page has made.
fn read_ticket(query: &str) -> Option<(Sealed, String)> {
    let (ticket, target) = query.strip_prefix("ticket=")?.split_once("&to=")?;
    let target = percent_decoded(target)?;
    // It is signed as well, but nothing here leads to another site whatever is signed.
    let own = is_local(&target).then_some(target)?;
    Some((Sealed::parse(ticket.as_bytes())?, own))
}

/// Path and query of a request, where a redirect leads to no other site by them; else the front page.
pub(super) fn local_target(path: &str, query: Option<&str>) -> String {
    let target = crate::rules::target_text(path, query);
    if is_local(&target) {
        target
    } else {
        "/".to_owned()
    }
}

/// Two slashes, or one and what browsers take for one, would begin a host.
fn is_local(target: &str) -> bool {
    target.len() <= LONGEST_TARGET
        && target.starts_with('/')
        && !target.starts_with("//")
        && !target.contains('\\')
        && target.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `text` for a query, an attribute and the `url=` of a refresh.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                let digit = char::from_digit(digit.into(), 16).unwrap_or('0');
                out.push(digit.to_ascii_uppercase());
            }
        }
    }
    out
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        out.push(u8::try_from(high << 4 | low).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, Version};
    use proptest::prelude::*;

    use super::super::page::offer;
    use super::super::{clearance, demand};
    use super::*;
    use crate::request::Facts;

    const START: i64 = 1_800_000_000;

    struct Scene {
        keys: Keys,
        spent: Spent,
        settings: Challenge,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                keys: Keys::new(b"0123456789abcdef"),
                spent: Spent::default(),
                settings: Challenge {
                    difficulty: 6,
                    clearance: Duration::from_mins(10),
                    noscript_delay: Some(15),
                },
            }
        }

        fn visitor(&self) -> Visitor<'_> {
            Visitor {
                keys: Some(&self.keys),
                zone: "shop",
                ..Visitor::default()
            }
        }

        fn redeem(&self, request: &RequestView<'_>) -> Redeemed {
            redeem(
                &self.keys,
                &self.visitor(),
                request,
                &self.settings,
                &self.spent,
                9,
            )
        }

        fn solution(&self, request: &RequestView<'_>) -> String {
            let offer = offer(&self.keys, "shop", request, &self.settings, 5);
            let (puzzle, bits) = offer.puzzle();
            let text = puzzle.text();
            let tried = (0..u32::MAX).map(|n| format!("{text}{n:08x}"));
            let mut right = tried.filter(|text| {
                let hash = digest::digest(&digest::SHA256, text.as_bytes());
                u32::from_be_bytes(*hash.as_ref().first_chunk().unwrap()).leading_zeros()
                    >= bits.into()
            });
            right.next().unwrap()
        }
    }

    fn fields(solution: &str) -> HeaderMap {
        HeaderMap::from_iter([(SOLUTION, HeaderValue::try_from(solution).unwrap())])
    }

    fn view<'a>(method: &'a Method, headers: &'a HeaderMap, after: i64) -> RequestView<'a> {
        RequestView {
            method,
            scheme: Scheme::Https,
            host: "shop.test",
            path: PATH,
            query: None,
            version: Version::HTTP_11,
            headers,
            client: [203, 0, 113, 9].into(),
            session_cookie: false,
            has_body: false,
            facts: Facts {
                unix_seconds: START + after,
                ..Facts::default()
            },
        }
    }

    #[test]
    fn a_solution_is_redeemed_once_and_its_cookie_lets_its_holder_pass_until_it_ends() {
        let scene = Scene::new();
        let none = HeaderMap::new();
        let solution = fields(&scene.solution(&view(&Method::GET, &none, 0)));
        let Redeemed::Solved(cookie) = scene.redeem(&view(&Method::POST, &solution, 1)) else {
            panic!("refused")
        };
        assert_eq!(
            scene.redeem(&view(&Method::POST, &solution, 2)),
            Redeemed::Refused
        );
        let cookie = cookie.to_str().unwrap();
        for part in [
            "__Host-",
            "Path=/;",
            "Max-Age=600",
            "HttpOnly",
            "SameSite=Lax",
            "Secure",
        ] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let pair = cookie.split(';').next().unwrap();
        let sent = HeaderMap::from_iter([(http::header::COOKIE, pair.parse().unwrap())]);
        let clearance = clearance(&sent, Scheme::Https).unwrap();
        let visitor = Visitor {
            clearance: Some(&clearance),
            ..scene.visitor()
        };
        let passes = |request: &RequestView<'_>| demand(&visitor, request).is_none();
        assert!(passes(&view(&Method::POST, &none, 600)));
        assert!(!passes(&view(&Method::POST, &none, 601)));
        let elsewhere = RequestView {
            client: [203, 0, 114, 9].into(),
            ..view(&Method::GET, &none, 2)
        };
        assert!(!passes(&elsewhere));
        let other_host = RequestView {
            host: "www.shop.test",
            ..view(&Method::GET, &none, 2)
        };
        assert!(!passes(&other_host));
        let other_zone = Visitor {
            zone: "blog",
            ..visitor
        };
        assert!(demand(&other_zone, &view(&Method::GET, &none, 2)).is_some());
    }

    #[test]
    fn expired_foreign_and_wrong_solutions_are_refused() {
        let scene = Scene::new();
        let none = HeaderMap::new();
        let text = scene.solution(&view(&Method::GET, &none, 0));
        let solution = fields(&text);
        let refused = |request: &RequestView<'_>| scene.redeem(request) == Redeemed::Refused;
        assert!(refused(&view(&Method::POST, &solution, LIFETIME + 1)));
        assert!(refused(&view(&Method::POST, &solution, -SKEW - 1)));
        assert!(refused(&view(&Method::POST, &none, 1)));
        for foreign in [
            RequestView {
                client: "2001:db8::1".parse().unwrap(),
                ..view(&Method::POST, &solution, 1)
            },
            RequestView {
                host: "blog.test",
                ..view(&Method::POST, &solution, 1)
            },
        ] {
            assert!(refused(&foreign));
        }
        // Not solved: the number of zero bits is the server's to say.
        let wrong = (0..1000_u32)
            .map(|n| format!("{}{n:08x}", &text[..TEXT]))
            .find(|text| digest::digest(&digest::SHA256, text.as_bytes()).as_ref()[0] > 3);
        assert!(refused(&view(&Method::POST, &fields(&wrong.unwrap()), 1)));
        assert!(refused(&view(
            &Method::POST,
            &fields(&text.to_uppercase()),
            1
        )));
        assert!(!refused(&view(&Method::POST, &solution, LIFETIME)));
    }

    #[test]
    fn a_ticket_is_good_once_its_time_has_come_and_leads_where_it_was_signed_for() {
        let scene = Scene::new();
        let none = HeaderMap::new();
        let first = RequestView {
            path: "/a/b",
            query: Some("x=1&y=%20"),
            ..view(&Method::GET, &none, 0)
        };
        let page = offer(&scene.keys, "shop", &first, &scene.settings, 5).page("shop.test", "id");
        let (_, url) = page.split_once("url=/.seawall/challenge?").unwrap();
        let query = url.split('"').next().unwrap().replace("&amp;", "&");
        let at = |after| RequestView {
            query: Some(&query),
            ..view(&Method::GET, &none, after)
        };
        assert!(matches!(scene.redeem(&at(14)), Redeemed::Early(_, _, 1)));
        let Redeemed::Waited(Some(_), target) = scene.redeem(&at(15)) else {
            panic!("refused")
        };
        assert_eq!(target, "/a/b?x=1&y=%20");
        assert_eq!(scene.redeem(&at(16)), Redeemed::Refused);
        assert_eq!(scene.redeem(&at(16 + LIFETIME)), Redeemed::Refused);
        for to in [
            "/evil",
            "//evil.test",
            "https%3A//evil.test",
            "/%5Cevil.test",
        ] {
            let (ticket, _) = query.split_once("&to=").unwrap();
            let query = format!("{ticket}&to={to}");
            let request = RequestView {
                query: Some(&query),
                ..view(&Method::GET, &none, 20)
            };
            assert_eq!(
                scene.redeem(&request),
                Redeemed::State(false).refused_unless_signed(to)
            );
        }
    }

    impl Redeemed {
        /// What is no target of ours is no ticket either, but a question about the state.
        fn refused_unless_signed(self, to: &str) -> Self {
            if to == "/evil" { Self::Refused } else { self }
        }
    }

    #[test]
    fn no_target_leads_to_another_site() {
        for (path, query, target) in [
            ("/a", Some("b=//c"), "/a?b=//c"),
            ("//evil.test/", None, "/"),
            ("/\\evil.test", None, "/"),
            ("/a", Some("\\"), "/"),
        ] {
            assert_eq!(local_target(path, query), target);
        }
        assert_eq!(local_target(&format!("/{}", "a".repeat(1000)), None), "/");
    }

    proptest! {
        #[test]
        fn a_target_comes_back_as_it_was(target in "/[!-~]{0,50}") {
            let encoded = percent_encoded(&target);
            prop_assert_eq!(percent_decoded(&encoded), Some(target));
        }

        #[test]
        fn a_solution_with_any_byte_changed_is_refused(at in 0..TEXT, to in 33_u8..127) {
            let scene = Scene::new();
            let none = HeaderMap::new();
            let mut text = scene.solution(&view(&Method::GET, &none, 0)).into_bytes();
            prop_assume!(text[at] != to);
            text[at] = to;
            let fields = fields(std::str::from_utf8(&text).unwrap());
            prop_assert_eq!(scene.redeem(&view(&Method::POST, &fields, 1)), Redeemed::Refused);
        }
    }
}
