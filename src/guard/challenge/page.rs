//! The page with the challenge: one small file that needs nothing else.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use ring::digest;

use super::redeem::{PATH, local_target, percent_encoded};
use super::seal::{Claim, Holder, Keys, Kind, Sealed};
use crate::config::Challenge;
use crate::request::RequestView;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What is the same for everybody.
static TEMPLATE: LazyLock<String> = LazyLock::new(|| {
    include_str!("page.html")
        .replace("{{style}}", STYLE.trim())
        .replace("{{script}}", SCRIPT.trim())
});

/// The Content-Security-Policy of the page: its own script and style, known by their hashes, and the script's
/// worker. The policy needs no nonce, as nothing else can be in the page.
pub static SECURITY_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| {
        STANDARD.encode(digest::digest(&digest::SHA256, text.trim().as_bytes()).as_ref())
    };
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; worker-src blob:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
        hash(SCRIPT),
        hash(STYLE)
    );
    HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

/// What a visitor may do to get leave to pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    puzzle: Sealed,
    bits: u8,
    ticket: Option<Ticket>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Ticket {
    sealed: Sealed,
    /// Where it leads.
    target: String,
    /// In how many seconds it is worth something.
    left: i64,
}

/// An offer to who sent `request`. `nonce` is another number each time.
pub fn offer(
    keys: &Keys,
    zone: &str,
    request: &RequestView<'_>,
    settings: &Challenge,
    nonce: u64,
) -> Offer {
    let holder = Holder::of(zone, request);
    let time = u32::try_from(request.facts.unix_seconds).unwrap_or_default();
    let claim = Claim {
        kind: Kind::Puzzle,
        number: settings.difficulty,
        time,
        nonce,
    };
    let ticket = settings.noscript_delay.map(|number| {
        let target = local_target(request.path, request.query);
        let claim = Claim {
            kind: Kind::Ticket,
            number,
            ..claim
        };
        Ticket {
            sealed: keys.seal(claim, &holder, target.as_bytes()),
            target,
            left: number.into(),
        }
    });
    Offer {
        puzzle: keys.seal(claim, &holder, b""),
        bits: settings.difficulty,
        ticket,
    }
}

impl Offer {
    /// With a ticket that the visitor has already, and `left` seconds until it is worth something.
    #[must_use]
    pub fn with_ticket(mut self, sealed: Sealed, target: String, left: i64) -> Self {
        self.ticket = Some(Ticket {
            sealed,
            target,
            left,
        });
        self
    }

    /// The puzzle, and how many zero bits its solution must give.
    pub fn puzzle(&self) -> (&Sealed, u8) {
        (&self.puzzle, self.bits)
    }

    /// The page that makes the offer.
    pub fn page(&self, host: &str, request_id: &str) -> String {
        let (refresh, noscript) = match &self.ticket {
            None => (
                String::new(),
                "<noscript><p>Please allow JavaScript for this site.</p></noscript>\n".to_owned(),
            ),
            Some(ticket) => {
                let (text, target) = (ticket.sealed.text(), percent_encoded(&ticket.target));
                let url = format!("{PATH}?ticket={text}&amp;to={target}");
                let left = ticket.left.saturating_add(1);
                let refresh = format!(
                    "<noscript><meta http-equiv=\"refresh\" content=\"{left}; url={url}\"></noscript>\n"
                );
                let noscript = format!(
                    "<noscript><p>JavaScript is off, so it takes {left} seconds. Then the page loads by itself, \
                     or you may <a href=\"{url}\">go on to it</a>.</p></noscript>\n"
                );
                (refresh, noscript)
            }
        };
        TEMPLATE
            .replace("{{refresh}}", &refresh)
            .replace("{{noscript}}", &noscript)
            .replace("{{puzzle}}", &self.puzzle.text())
            .replace("{{bits}}", &self.bits.to_string())
            .replace("{{host}}", &escaped(host))
            .replace("{{request_id}}", &escaped(request_id))
    }
}

/// Hosts and names of requests have none of these, which is for others to know.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method, Version};

    use super::*;
    use crate::request::{Facts, Scheme};

    #[test]
    fn the_page_is_small_and_has_nothing_of_others_in_it() {
        let headers = HeaderMap::new();
        let request = RequestView {
            method: &Method::GET,
            scheme: Scheme::Https,
            host: "shop.test",
            path: "/\"><script>alert(1)</script>",
            query: Some("a=1&b=\"2\""),
            version: Version::HTTP_11,
            headers: &headers,
            client: [192, 0, 2, 1].into(),
            session_cookie: false,
            has_body: false,
            facts: Facts::default(),
        };
        let settings = Challenge::default();
        let offer = offer(&Keys::new(b"k"), "shop", &request, &settings, 1);
        let page = offer.page("shop.test", "0123456789abcdef0123456789abcdef");
        assert!(page.len() < 6 << 10, "{} bytes", page.len());
        assert!(!page.contains("{{") && !page.contains("alert("), "{page}");
        assert!(!page.contains("http://") && !page.contains("https://"));
        assert_eq!(page.matches("<script").count(), 1);
        for part in [
            "lang=\"en\"",
            "aria-live=\"polite\"",
            "color-scheme:light dark",
        ] {
            assert!(page.contains(part), "{part}");
        }
        // No motion but that of the bar, which moves with the work.
        assert!(!page.contains("animation") && !page.contains("transition"));
        let without = Challenge {
            noscript_delay: None,
            ..settings
        };
        let offer = super::offer(&Keys::new(b"k"), "shop", &request, &without, 1);
        assert!(!offer.page("shop.test", "x").contains("refresh"));
    }
}
