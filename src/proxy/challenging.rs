//! The challenge towards clients: the page with it, and the paths of Seawall's own at which it is taken.

use http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::edge_reply::EdgeReply;
use super::error_page;
use super::exchange::{Exchange, SiteRequest};
use crate::clock;
use crate::guard::challenge::{
    Keys, Offer, RESERVED, Redeemed, SECURITY_POLICY, Sealed, Visitor, clearance, gets_page,
    has_own_cookie, is_own_cookie, offer, redeem,
};
use crate::origin::remove_cookies;
use crate::request::{RequestView, Scheme};
use crate::server::Shared;

const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HINT: &str = "This site asks browsers to pass a check first. Open one of its pages in a browser, and try \
                    again from there.";
/// What the log calls the answers on Seawall's own paths.
const NAME: &str = "challenge";

/// Takes the clearance out of a request: neither rules nor key nor origin see it.
pub(super) fn take_clearance(fields: &mut HeaderMap, scheme: Scheme) -> Option<Sealed> {
    if !has_own_cookie(fields) {
        return None;
    }
    let taken = clearance(fields, scheme);
    remove_cookies(fields, is_own_cookie);
    taken
}

/// What the guard knows of who sent `request`.
pub(super) fn visitor<'a>(
    shared: &Shared,
    request: &'a SiteRequest,
    keys: &'a Keys,
) -> Visitor<'a> {
    let zone = &request.site.zone;
    Visitor {
        keys: Some(keys),
        zone: &zone.name,
        clearance: request.clearance.as_ref(),
        under_attack: zone.under_attack
            || shared.under_attack.is_on(&zone.name, request.unix_seconds),
    }
}

/// The answer to a request that is challenged.
pub(super) fn demanded(
    request: &RequestView<'_>,
    visitor: &Visitor<'_>,
    rule: (String, String),
    exchange: &Exchange,
) -> EdgeReply {
    let id = exchange.request_id.as_str();
    if !gets_page(request) {
        let (content_type, body) = error_page::problem(StatusCode::FORBIDDEN, HINT, id);
        let fields = vec![
            (CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (X_ROBOTS_TAG, HeaderValue::from_static("noindex")),
        ];
        return EdgeReply::of_challenge(StatusCode::FORBIDDEN, fields, body, rule);
    }
    let keys = &exchange.runtime.challenge_keys;
    let settings = &exchange.runtime.config.challenge;
    let offer = offer(keys, visitor.zone, request, settings, clock::chance());
    page(&offer, request, rule, id)
}

fn page(offer: &Offer, request: &RequestView<'_>, rule: (String, String), id: &str) -> EdgeReply {
    let fields = vec![
        (CONTENT_TYPE, HTML),
        (CONTENT_SECURITY_POLICY, SECURITY_POLICY.clone()),
        (X_ROBOTS_TAG, HeaderValue::from_static("noindex")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    ];
    let body = offer.page(request.host, id);
    EdgeReply::of_challenge(StatusCode::FORBIDDEN, fields, body, rule)
}

/// The answer on a path that is Seawall's own in every zone, whatever the rules say.
pub(super) fn reserved(
    shared: &Shared,
    head: &Parts,
    request: &SiteRequest,
    exchange: &Exchange,
) -> Option<EdgeReply> {
    if !head.uri.path().starts_with(RESERVED) {
        return None;
    }
    let (view, visitor) = (
        request.view(head),
        visitor(shared, request, &exchange.runtime.challenge_keys),
    );
    let keys = &exchange.runtime.challenge_keys;
    let settings = &exchange.runtime.config.challenge;
    let chance = clock::chance();
    let redeemed = redeem(keys, &visitor, &view, settings, &shared.spent, chance);
    if let Some(outcome) = outcome(&redeemed) {
        shared.metrics.guard.redeemed(visitor.zone, outcome);
    }
    let rule = (NAME.to_owned(), String::new());
    let short = |status, fields, body: &str| {
        let fields = [vec![(CONTENT_TYPE, TEXT)], fields].concat();
        EdgeReply::of_challenge(status, fields, body.to_owned(), rule.clone())
    };
    Some(match redeemed {
        Redeemed::Solved(cookie) => short(StatusCode::OK, vec![(SET_COOKIE, cookie)], "passed\n"),
        Redeemed::Waited(cookie, target) => {
            let mut fields: Vec<_> = cookie
                .map(|cookie| (SET_COOKIE, cookie))
                .into_iter()
                .collect();
            // It was checked to be visible ASCII.
            let target = HeaderValue::try_from(target);
            let target = target.unwrap_or_else(|_| HeaderValue::from_static("/"));
            fields.push((LOCATION, target));
            short(StatusCode::SEE_OTHER, fields, "passed\n")
        }
        Redeemed::Early(ticket, target, left) => {
            let offer = offer(keys, visitor.zone, &view, settings, chance);
            let offer = offer.with_ticket(ticket, target, left);
            page(&offer, &view, rule, exchange.request_id.as_str())
        }
        Redeemed::State(true) => short(StatusCode::OK, Vec::new(), "passed\n"),
        Redeemed::State(false) => short(StatusCode::FORBIDDEN, Vec::new(), "not passed\n"),
        Redeemed::Refused => short(StatusCode::FORBIDDEN, Vec::new(), "refused\n"),
        Redeemed::Unknown => short(StatusCode::NOT_FOUND, Vec::new(), "not found\n"),
    })
}

/// What is counted.
const fn outcome(redeemed: &Redeemed) -> Option<&'static str> {
    match redeemed {
        Redeemed::Solved(_) => Some("solved"),
        Redeemed::Waited(Some(_), _) => Some("waited"),
        Redeemed::Refused => Some("refused"),
        _ => None,
    }
}
