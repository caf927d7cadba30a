//! A request arrives: one canonical form, its zone, its settings, and whether it may use the cache.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{CONNECTION, COOKIE, HOST, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Version};

use super::challenging;
use super::edge_reply::EdgeReply;
use super::exchange::{Applied, Exchange, RequestId, SiteRequest};
use super::guarding::{Guarded, guard};
use super::limiting;
use super::tiered::{self, LowerTier};
use super::waiting::{self, Visit};
use crate::cache::eligibility::{BypassReason, RequestDecision, eligibility, post_may_fill};
use crate::cache::query::keyed_query;
use crate::cache::settings::KeySettings;
use crate::clock;
use crate::config::{Bucket, Config, Zone};
use crate::geo::Place;
use crate::guard::client::{Hops, identify};
use crate::origin::remove_cookies;
use crate::request::Scheme;
use crate::request::arrival::{self, Arrival, Refusal};
use crate::request::object::{Fate, fate, strip_credentials};
use crate::rules::{Circumstances, Plan, Planned, plan, plan_for_tier, target_text};
use crate::server::Shared;
use crate::tier::handover::Handover;
use crate::zone::{Authority, Slashes};

/// Holds the token that lets a client see keys in Cache-Status.
const SEAWALL_DEBUG: &str = "seawall-debug";

/// The connection that a request came on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Downstream {
    /// Whose it is.
    pub(super) client: IpAddr,
    /// Who it is from.
    pub(super) peer: IpAddr,
    pub(super) scheme: Scheme,
    /// Whether it has a body that no field announces, as only HTTP/2 allows (RFC 9113 §8.1).
    pub(super) unannounced_body: bool,
}

/// Fills `exchange` from `head`, and brings that into its one form.
///
/// # Errors
/// An HTTP status when no zone may answer: 400, 413, 421.
pub(super) fn receive(
    shared: &Shared,
    head: &mut Parts,
    downstream: Downstream,
    exchange: &mut Exchange,
) -> Arrival<()> {
    arrival::check_form(&head.method, &head.headers)?;
    let node = exchange.runtime.tiers.as_ref().map(|tiers| &*tiers.node);
    let handover = tiered::receive(&shared.metrics, node, head, downstream.client)?;
    let (client, scheme, hops) = if let Some(handover) = &handover {
        (handover.client, handover.scheme(), Hops::new())
    } else {
        // Before anything is taken out of the head.
        let trust = &exchange.runtime.config.client.trust;
        let known = identify(downstream.client, &head.headers, trust);
        (
            known.client,
            known.scheme.unwrap_or(downstream.scheme),
            known.hops,
        )
    };
    let mut clearance = None;
    if handover.is_none() {
        let trust = &exchange.runtime.config.client.trust;
        trust.remove_spoken(&mut head.headers);
        tidy(&mut head.headers);
        clearance = challenging::take_clearance(&mut head.headers, scheme);
    }
    let in_target = head.uri.authority().map(http::uri::Authority::as_str);
    let authority = arrival::authority(&head.headers, in_target, scheme)?;
    let site = exchange.runtime.site(authority.host());
    let merges = site.is_some_and(|site| site.zone.merge_slashes);
    let slashes = if merges {
        Slashes::Merge
    } else {
        Slashes::Keep
    };
    normalise(head, &authority, slashes)?;
    let target = head
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    let most = &exchange.runtime.config.client;
    if handover.is_none() {
        // A lower tier has done so, and added fields since.
        arrival::check_size(target, &head.headers, most)?;
    }
    let Some(site) = site else {
        // RFC 9110 §15.5.20.
        return refuse(421, "no zone answers for this host");
    };
    let unix_seconds = clock::unix_seconds_of(exchange.arrived);
    let bots = &exchange.runtime.bots;
    let request = SiteRequest {
        clearance,
        verified_bot: bots.is_verified(&head.headers, client, unix_seconds),
        session_cookie: arrival::session_cookie(&head.headers, &site.zone.session_cookies)
            .is_some(),
        has_body: downstream.unannounced_body || arrival::has_body(&head.headers),
        body_size: arrival::announced_length(&head.headers),
        upgrade: head.version == Version::HTTP_11 && head.headers.contains_key(UPGRADE),
        settings: site.zone.rules.cache_rules.no_settings(),
        decision: RequestDecision::Lookup,
        applied: Applied::default(),
        unix_seconds,
        place: match &handover {
            Some(handover) => Place {
                country: handover.country(),
                asn: handover.asn,
            },
            None => exchange.runtime.geo.load().place(client),
        },
        site: site.clone(),
        client,
        peer: downstream.peer,
        hops,
        scheme,
        authority,
        version: handover.as_ref().map_or(head.version, Handover::version),
        lower: handover.as_ref().map(LowerTier::of),
    };
    if let Some(reply) = limiting::by_proxy(shared, head, &request, downstream.client, exchange) {
        arrival::check_body(&head.headers, most.max_body_size)?;
        exchange.edge = Some(reply);
        exchange.request = Some(Arc::new(request));
        return Ok(());
    }
    let arrived = Suspended { request, slashes };
    decide(shared, head, arrived, handover, exchange)
}

/// A request whose zone is known, before anything is decided about it.
pub(super) struct Suspended {
    pub(super) request: SiteRequest,
    slashes: Slashes,
}

/// Goes on with a request that waited until all nodes were asked about it.
///
/// # Errors
/// As [`receive`].
pub(super) fn resume(
    shared: &Shared,
    head: &mut Parts,
    suspended: Suspended,
    exchange: &mut Exchange,
) -> Arrival<()> {
    decide(shared, head, suspended, None, exchange)
}

/// Asks guard and rules what becomes of a request whose zone is known.
fn decide(
    shared: &Shared,
    head: &mut Parts,
    Suspended {
        mut request,
        slashes,
    }: Suspended,
    handover: Option<Handover>,
    exchange: &mut Exchange,
) -> Arrival<()> {
    let most_body = exchange.runtime.config.client.max_body_size;
    if let Some(reply) = challenging::reserved(shared, head, &request, exchange) {
        arrival::check_body(&head.headers, most_body)?;
        exchange.edge = Some(reply);
        exchange.request = Some(Arc::new(request));
        return Ok(());
    }
    // A lower tier has guarded its own clients' requests.
    if request.lower.is_none() {
        match guard(shared, head, &request, exchange)? {
            Guarded::Passes => {}
            Guarded::Stopped => {
                arrival::check_body(&head.headers, most_body)?;
                exchange.request = Some(Arc::new(request));
                return Ok(());
            }
            Guarded::Asks(asks) => {
                let waiting = Box::new((asks, Suspended { request, slashes }));
                exchange.limits.get_or_insert_default().waiting = Some(waiting);
                return Ok(());
            }
        }
    }
    if head.method.as_str() == "PURGE" {
        arrival::check_body(&head.headers, most_body)?;
        // It is about the URL, not for it.
        request.decision = eligibility(&request.view(head), &request.settings);
        exchange.request = Some(Arc::new(request));
        return Ok(());
    }
    let zone = request.site.zone.clone();
    let circumstances = Circumstances {
        chance: chance(&zone),
        slashes,
        development_mode: shared.development.is_on(&zone.name, request.unix_seconds),
    };
    let developing = circumstances.development_mode;
    let planned = match handover {
        Some(handover) => taken_over(head, &mut request, handover, exchange, developing),
        None => plan(&zone.rules, &request.view(head), &circumstances, &mut ()),
    };
    let room = match planned {
        Planned::Answer(answer) => {
            arrival::check_body(&head.headers, most_body)?;
            let reply = EdgeReply::of(answer, &zone.rules, exchange.request_id.as_str());
            exchange.edge = Some(reply);
            exchange.request = Some(Arc::new(request));
            return Ok(());
        }
        Planned::Forward(plan) => {
            let room = plan.room;
            follow(head, &mut request, *plan, exchange)?;
            room
        }
    };
    if let Err(refusal) = for_pool(head, &mut request, most_body) {
        exchange.request = Some(Arc::new(request));
        return Err(refusal);
    }
    if request.decision == RequestDecision::Lookup
        || post_may_fill(&request.view(head), &request.settings)
    {
        key_query(head, &request.settings.key.value)?;
    }
    exchange.room = room.and_then(|room| Visit::of(room, &request, &head.headers));
    hide_sessions(&mut head.headers, &request, exchange);
    exchange.debug = may_see_keys(&head.headers, &exchange.runtime.config);
    exchange.request = Some(Arc::new(request));
    if exchange.pending.is_empty() {
        exchange.edge = waiting::on_arrival(exchange);
    }
    Ok(())
}

/// A random number for splits; nobody else asks for it.
fn chance(zone: &Zone) -> u64 {
    if zone.rules.splits.is_empty() {
        0
    } else {
        clock::chance()
    }
}

/// The plan for a request of a lower tier, which has gone by the rules up to those of the origin.
fn taken_over<'z>(
    head: &Parts,
    request: &mut SiteRequest,
    handover: Handover,
    exchange: &mut Exchange,
    development_mode: bool,
) -> Planned<'z> {
    if let Some(id) = RequestId::parse(&handover.request_id) {
        exchange.request_id = id;
    }
    let key = handover.key();
    request.applied.splits = handover.splits();
    request.applied.raw_target = handover.raw_target;
    let rules = &request.site.zone.rules;
    let view = request.view(head);
    let plan = plan_for_tier(rules, &view, key, development_mode, &mut ());
    Planned::Forward(Box::new(plan))
}

/// Makes the request what the plan says.
fn follow(
    head: &mut Parts,
    request: &mut SiteRequest,
    plan: Plan,
    exchange: &Exchange,
) -> Arrival<()> {
    if let Some(target) = plan.target {
        request.applied.raw_target = Some(target_text(head.uri.path(), head.uri.query()));
        if target.len() > exchange.runtime.config.client.max_uri_length {
            return refuse(414, "the rewritten target is too long");
        }
        set_target(head, &target)?;
    }
    if let Some(name) = &plan.origin.pool
        && let Some(pool) = exchange.runtime.pool(name)
    {
        request.site.pool = pool.clone();
    }
    request.settings = plan.settings;
    request.decision = plan.decision;
    request.applied.splits = plan.splits;
    request.applied.cookies = plan.cookies;
    request.applied.by_cookie = plan.by_cookie;
    request.applied.headers = plan.headers;
    request.applied.origin = plan.origin;
    request.applied.key = plan.key;
    Ok(())
}

/// Takes out the cookies that keep sessions at replicas and places in waiting rooms: they are for no origin, and no part of a key. The
/// one of the request's own pool stays until a replica is chosen.
fn hide_sessions(fields: &mut HeaderMap, request: &SiteRequest, exchange: &Exchange) {
    let pools = &exchange.runtime.pools;
    let names = || pools.iter().filter_map(|pool| pool.affinity_cookie());
    let rooms = &request.site.rooms;
    if (names().next().is_none() && rooms.is_empty()) || !fields.contains_key(COOKIE) {
        return;
    }
    let lookup = request.decision == RequestDecision::Lookup;
    let own = request.site.pool.affinity_cookie().filter(|_| !lookup);
    remove_cookies(fields, |name| {
        let is = |other: &str| name == other.as_bytes();
        let of_room = || rooms.iter().any(|room| room.is_cookie(name));
        (names().any(is) && !own.is_some_and(is)) || of_room()
    });
}

/// Refuses what the pool does not take, and makes the request what it wants.
fn for_pool(head: &mut Parts, request: &mut SiteRequest, most_body: u64) -> Arrival<()> {
    let pool = request.site.pool.config.clone();
    arrival::check_body(&head.headers, pool.max_body_size.unwrap_or(most_body))?;
    match &pool.bucket {
        Some(bucket) => for_bucket(bucket, head, request),
        None => Ok(()),
    }
}

/// Makes the request one for a bucket: an object is its path, and the same for everybody.
fn for_bucket(bucket: &Bucket, head: &mut Parts, request: &mut SiteRequest) -> Arrival<()> {
    match fate(bucket, &request.view(head), &request.settings) {
        Fate::Refused(refusal) => return Err(refusal),
        Fate::Presigned => {
            request.decision = RequestDecision::Bypass(BypassReason::Presigned);
        }
        Fate::Object(decision) => {
            request.decision = decision;
            request.session_cookie = false;
            strip_credentials(&mut head.headers);
            if head.uri.query().is_some() {
                let path = head.uri.path().to_owned();
                set_target(head, &path)?;
            }
        }
    }
    Ok(())
}

/// What does not count in the key does not reach the origin either: it could change a response that
/// others get.
fn key_query(head: &mut Parts, settings: &KeySettings) -> Arrival<()> {
    let keyed = keyed_query(head.uri.query(), settings);
    if keyed.as_deref() == head.uri.query() {
        return Ok(());
    }
    let target = target_text(head.uri.path(), keyed.as_deref());
    set_target(head, &target)
}

/// Whether the client sent the operators' token.
fn may_see_keys(headers: &HeaderMap, config: &Config) -> bool {
    let sent = headers.get(SEAWALL_DEBUG).map(http::HeaderValue::as_bytes);
    let wanted = config.cache.debug_token.as_ref();
    sent.zip(wanted)
        .is_some_and(|(sent, wanted)| wanted.matches(sent))
}

fn refuse<T>(status: u16, why: &'static str) -> Arrival<T> {
    let why = why.into();
    Err(Refusal { status, why })
}

/// Takes out what neither rules, key nor Vary would see, and makes Cookie one line.
fn tidy(fields: &mut HeaderMap) {
    for name in arrival::unkeyed(fields) {
        fields.remove(&name);
    }
    if fields.contains_key(CONNECTION) {
        match arrival::connection(fields) {
            Some(options) => drop(fields.insert(CONNECTION, options)),
            None => drop(fields.remove(CONNECTION)),
        }
    }
    if let Some(cookies) = arrival::joined_cookies(fields) {
        fields.insert(COOKIE, cookies);
    }
}

/// Rewrites target and Host to their canonical form: what is matched, keyed and forwarded is one.
fn normalise(head: &mut Parts, authority: &Authority, slashes: Slashes) -> Arrival<()> {
    let uri = &head.uri;
    let target = arrival::canonical_target(uri.path(), uri.query(), slashes)?;
    // An absolute target loses what Host says.
    let shortened = || {
        uri.authority()
            .map(|_| target_text(uri.path(), uri.query()))
    };
    if let Some(target) = target.or_else(shortened) {
        set_target(head, &target)?;
    }
    let host = head.headers.get(HOST);
    if host.is_none_or(|host| host.as_bytes() != authority.as_str().as_bytes()) {
        let host = HeaderValue::from_str(authority.as_str());
        head.headers
            .insert(HOST, host.or_else(|_| refuse(400, "a malformed Host"))?);
    }
    Ok(())
}

pub(super) fn set_target(head: &mut Parts, target: &str) -> Arrival<()> {
    head.uri = arrival::parse_target(target)?;
    Ok(())
}
