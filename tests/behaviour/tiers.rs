//! Nodes that ask other nodes before the origin.

use std::time::Duration;

use futures_util::future::join_all;
use http::HeaderMap;
use seawall::request::Scheme;
use seawall::tier::handover::{Facts, Handover, Relation, SignedHead, TierKey};

use crate::support::{
    Authority, Client, Gate, Large, MIB, Origin, Reply, Response, Seawall, Setup, eventually,
    within,
};

const SECRET: &str = "tier-secret-0123456789";

/// A node of this name in front of the origin.
fn node(origin: &Origin, name: &str) -> Setup {
    Setup::before([origin]).purging().section(&format!(
        "[tiers]\nname = \"{name}\"\nsecret = \"{SECRET}\""
    ))
}

/// An upper tier with these nodes.
fn upper(name: &str, nodes: &[&Seawall], keys: &str) -> String {
    let servers: Vec<String> = nodes
        .iter()
        .map(|node| format!("\"http://{}\"", node.address))
        .collect();
    let servers = servers.join(", ");
    format!("[tiers.upper.{name}]\nservers = [{servers}]\n{keys}")
}

/// A lower tier below these.
fn lower(origin: &Origin, name: &str, uppers: &[&Seawall]) -> Setup {
    node(origin, name)
        .section(&upper("shield", uppers, ""))
        .zone("upper_tiers = [\"shield\"]")
}

/// One lower tier and one upper tier.
async fn pair(origin: &Origin) -> (Seawall, Seawall) {
    let shield = node(origin, "shield-1").start().await;
    let edge = lower(origin, "edge-1", &[&shield]).start().await;
    (edge, shield)
}

fn hops(response: &Response) -> Vec<String> {
    let values = response.all("cache-status");
    values.into_iter().map(str::to_owned).collect()
}

/// The seconds of freshness left that a hop tells of.
fn ttl(hop: &str) -> i64 {
    let ttl = hop.split("ttl=").nth(1).unwrap();
    ttl.split(';').next().unwrap().parse().unwrap()
}

fn age(response: &Response) -> u64 {
    response.field("age").map_or(0, |age| age.parse().unwrap())
}

#[tokio::test]
async fn fifty_keys_asked_for_on_three_nodes_at_once_are_fifty_requests_to_the_origin() {
    let origin = Origin::start(|request| Reply::fresh(&request.target));
    let first = node(&origin, "shield-1").start().await;
    let second = node(&origin, "shield-2").start().await;
    let uppers = [&first, &second];
    let mut edges = Vec::new();
    for name in ["edge-1", "edge-2", "edge-3"] {
        edges.push(lower(&origin, name, &uppers).start().await);
    }
    let targets: Vec<String> = (0..50).map(|number| format!("/{number}")).collect();
    let requests = edges
        .iter()
        .flat_map(|edge| targets.iter().map(move |target| (edge, target)));
    let answers = join_all(requests.map(async |(edge, target)| {
        let response = edge.get(target, &[]).await;
        (response, target)
    }))
    .await;
    for (response, target) in &answers {
        assert_eq!((response.status, response.text()), (200, target.as_str()));
    }
    assert_eq!(origin.requests().len(), 50);
    for target in &targets {
        assert_eq!(origin.count(target), 1, "{target}");
    }
    for shield in uppers {
        let asked = shield
            .metric("seawall_tier_received_total{result=\"accepted\"}")
            .await;
        assert!(asked > 10.0, "keys are spread: {asked}");
    }
    for edge in &edges {
        let hit = edge.get("/7", &[]).await;
        assert_eq!(hit.cache(), "HIT");
    }
    assert_eq!(origin.requests().len(), 50);
}

#[tokio::test]
async fn the_body_streams_through_both_tiers_while_it_arrives() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Reply::chunked(["begin"])
            .then("end", &held)
            .field("Cache-Control: max-age=60")
    });
    let (edge, shield) = pair(&origin).await;
    let other = lower(&origin, "edge-2", &[&shield]).start().await;
    let mut clients = [edge.connect().await, other.connect().await];
    for client in &mut clients {
        client.request("GET", "/", &[]).await;
        client.response_head().await.unwrap();
        assert_eq!(client.chunk().await.unwrap().unwrap(), b"begin");
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.chunk().await.unwrap().unwrap(), b"end");
        assert_eq!(client.chunk().await.unwrap(), None);
    }
    for edge in [&edge, &other] {
        assert_eq!(edge.get("/", &[]).await.cache(), "HIT");
    }
    assert_eq!(origin.count("/"), 1);
}

#[tokio::test]
async fn every_hop_is_told_and_a_later_hit_tells_of_this_node_alone() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let (edge, _shield) = pair(&origin).await;
    let miss = edge.get("/", &[]).await;
    let told = hops(&miss);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("shield-1; fwd=uri-miss; fwd-status=200; stored"),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("edge-1; fwd=uri-miss; fwd-status=200; stored"),
        "{told:?}"
    );
    let hit = edge.get("/", &[]).await;
    let told = hops(&hit);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("edge-1; hit"), "{told:?}");
    assert_eq!(miss.field("x-request-id").map(str::len), Some(32));
    for response in [&miss, &hit] {
        assert_eq!(response.field("seawall-tier"), None);
        assert_eq!(response.all("x-cache").len(), 1);
    }
}

#[tokio::test]
async fn one_name_leads_to_the_request_in_the_logs_of_both_tiers() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let (edge, shield) = pair(&origin).await;
    edge.get("/a", &["X-Forwarded-For: 192.0.2.1"]).await;
    let (below, above) = (edge.logged("/a").await, shield.logged("/a").await);
    assert_eq!(below["request_id"], above["request_id"]);
    assert_eq!(below["upper_tier"], "shield");
    assert_eq!(above["lower_tier"], "edge-1");
    assert_eq!(above["client"], "127.0.0.1");
    assert_eq!(
        origin.last().field("x-request-id"),
        below["request_id"].as_str()
    );
    assert_eq!(origin.last().all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(origin.last().field("seawall-tier"), None);
    assert_eq!(origin.last().all("cdn-loop"), ["edge-1", "shield-1"]);
}

#[tokio::test]
async fn ages_add_up_and_lifetimes_are_not_begun_anew() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/aged" => Reply::fresh("aged").field("Age: 20"),
        _ => Reply::ok("granted"),
    });
    let rule = "edge_ttl = { mode = \"override_origin\", default = \"3s\" }";
    let shield = node(&origin, "shield-1")
        .rule("granted", "/granted*", rule)
        .start()
        .await;
    let setup = |name| lower(&origin, name, &[&shield]).rule("granted", "/granted*", rule);
    let (first, second) = (setup("edge-1").start().await, setup("edge-2").start().await);
    for target in ["/aged", "/granted"] {
        first.get(target, &[]).await;
    }
    // The next second shows in Age.
    eventually("the response to age", async || {
        age(&first.get("/aged", &[]).await) >= 22 && age(&first.get("/granted", &[]).await) >= 2
    })
    .await;
    let late = second.get("/aged", &[]).await;
    // Each hop tells whole seconds.
    assert!(age(&late) >= 21, "{late:?}");
    assert_eq!(origin.count("/aged"), 1);
    let late = second.get("/granted", &[]).await;
    assert!(age(&late) >= 1, "{late:?}");
    let told = hops(&late);
    assert!(ttl(&told[1]) <= 1, "no three seconds more: {told:?}");
    assert_eq!(origin.count("/granted"), 1);
    // Three seconds after the origin answered, nobody has it fresh.
    eventually("the lifetime to be over", async || {
        second.get("/granted", &[]).await.cache() != "HIT"
    })
    .await;
    assert_eq!(origin.count("/granted"), 2);
}

#[tokio::test]
async fn tags_go_down_and_purge_each_node() {
    let origin = Origin::start(|request| {
        Reply::fresh(format!("version {}", request.nth))
            .field("Cache-Tag: news, sport")
            .field("Surrogate-Key: front")
            .field("Seawall-CDN-Cache-Control: max-age=50")
    });
    let (edge, shield) = pair(&origin).await;
    let first = edge.get("/", &[]).await;
    assert_eq!(
        (first.text(), first.field("cache-tag")),
        ("version 0", None)
    );
    assert_eq!(first.field("surrogate-key"), None);
    assert_eq!(first.field("seawall-cdn-cache-control"), None);
    for (tag, version) in [("sport", "version 1"), ("front", "version 2")] {
        let request = format!("{{\"tags\": [\"{tag}\"]}}");
        for node in [&shield, &edge] {
            let purged = node.purge(&request).await;
            assert_eq!(purged["result"]["objects"], 1, "{tag}: {purged}");
        }
        assert_eq!(edge.get("/", &[]).await.text(), version);
    }
}

#[tokio::test]
async fn variants_are_told_apart_on_both_tiers() {
    let origin = Origin::start(|request| {
        Reply::fresh(request.field("x-lang").unwrap_or("none")).field("Vary: X-Lang")
    });
    let (first, shield) = pair(&origin).await;
    let second = lower(&origin, "edge-2", &[&shield]).start().await;
    for edge in [&first, &second, &first] {
        for lang in ["de", "fr", "nl"] {
            let response = edge.get("/", &[&format!("X-Lang: {lang}")]).await;
            assert_eq!(response.text(), lang);
        }
    }
    assert_eq!(origin.count("/"), 3);
}

#[tokio::test]
async fn what_rules_below_make_of_a_request_holds_above() {
    let origin = Origin::start(|request| {
        let seen = request.field("x-plan").unwrap_or("none");
        Reply::fresh(format!("{} {seen}", request.target))
    });
    let rules = "[[zones.site.rewrite_rules]]\nname = \"move\"\n\
         expression = 'starts_with(http.request.uri.path, \"/old/\")'\n\
         path = { expression = 'concat(\"/new\", http.request.uri.path)' }\n\
         [[zones.site.request_header_rules]]\nname = \"plan\"\nexpression = 'true'\n\
         set = { x-plan = { expression = 'http.request.cookies[\"plan\"][0]' } }\n\
         [[zones.site.redirect_rules]]\nname = \"away\"\n\
         expression = 'http.request.uri.path eq \"/new/old/x\"'\ntarget = \"/lost\"\n";
    let shield = node(&origin, "shield-1").zone(rules).start().await;
    let edge = lower(&origin, "edge-1", &[&shield])
        .zone(rules)
        .start()
        .await;
    for plan in ["a", "b", "a"] {
        let response = edge.get("/old/x", &[&format!("Cookie: plan={plan}")]).await;
        assert_eq!(response.text(), format!("/new/old/x {plan}"));
    }
    assert_eq!(origin.count("/new/old/x"), 2);
    let logged = shield.logged("/old/x").await;
    assert_eq!(logged["rewritten"], "/new/old/x");
}

#[tokio::test]
async fn what_is_stale_above_is_stale_below() {
    let origin = Origin::start(|request| {
        Reply::fresh(format!("version {}", request.nth))
            .field("Cache-Control: stale-while-revalidate=600")
            .field(format!("ETag: \"v{}\"", request.nth))
    });
    let (first, shield) = pair(&origin).await;
    let second = lower(&origin, "edge-2", &[&shield]).start().await;
    first.get("/", &[]).await;
    shield
        .purge("{\"purge_everything\": true, \"soft\": true}")
        .await;
    let stale = second.get("/", &[]).await;
    assert_eq!(stale.text(), "version 0");
    let told = hops(&stale);
    assert!(told[0].starts_with("shield-1; hit; ttl="), "{told:?}");
    assert!(
        told[0].ends_with("detail=stale-while-revalidate"),
        "{told:?}"
    );
    assert!(ttl(&told[1]) <= 0, "not fresh for a minute: {told:?}");
    origin.asked("/", 2).await;
    eventually("the new version below", async || {
        second.get("/", &[]).await.text() == "version 1"
    })
    .await;
}

#[tokio::test]
async fn a_soft_purge_below_asks_above_for_a_validation() {
    let origin = Origin::start(|request| {
        if request.field("if-none-match").is_some() {
            return Reply::not_modified().field("Cache-Control: max-age=60");
        }
        Reply::fresh("page").field("ETag: \"v1\"")
    });
    let (edge, _shield) = pair(&origin).await;
    edge.get("/", &[]).await;
    edge.purge("{\"purge_everything\": true, \"soft\": true}")
        .await;
    let validated = edge.get("/", &[]).await;
    assert_eq!(
        (validated.cache(), validated.text()),
        ("REVALIDATED", "page")
    );
    let told = hops(&validated);
    assert!(told[0].starts_with("shield-1; hit"), "{told:?}");
    assert!(
        told[1].starts_with("edge-1; fwd=stale; fwd-status=304; stored"),
        "{told:?}"
    );
    assert_eq!(
        origin.count("/"),
        1,
        "the upper tier answers from its store"
    );
    assert_eq!(edge.get("/", &[]).await.cache(), "HIT");
}

#[tokio::test]
async fn clients_conditions_and_ranges_are_answered_through_tiers() {
    let origin = Origin::start(|request| Reply::file(request, "0123456789", "\"v1\""));
    let (edge, _shield) = pair(&origin).await;
    let part = edge.get("/", &["Range: bytes=2-4"]).await;
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(part.field("content-range"), Some("bytes 2-4/10"));
    let whole = edge.get("/whole", &[]).await;
    assert_eq!(whole.text(), "0123456789");
    let same = edge.get("/whole", &["If-None-Match: \"v1\""]).await;
    assert_eq!(same.status, 304);
    let cold = edge.get("/cold", &["If-None-Match: \"v1\""]).await;
    assert_eq!(cold.status, 304);
    let head = edge.head("/cold-head", &[]).await;
    assert_eq!(
        (head.status, head.field("content-length")),
        (200, Some("10"))
    );
}

#[tokio::test]
async fn slices_come_from_the_upper_tier() {
    let file = Large::new(5, "\"v1\"");
    let served = file.clone();
    let origin = Origin::start(move |request| served.file(request));
    let slices = "origin_range_requests = true";
    let shield = node(&origin, "shield-1")
        .rule("slices", "*", slices)
        .start()
        .await;
    let edge = lower(&origin, "edge-1", &[&shield])
        .rule("slices", "*", slices)
        .start()
        .await;
    let other = lower(&origin, "edge-2", &[&shield])
        .rule("slices", "*", slices)
        .start()
        .await;
    for edge in [&edge, &other] {
        let mut client = edge.connect().await;
        file.get_range(&mut client, "/f", 2 * MIB + 5, 3 * MIB + 9)
            .await;
        file.get(&mut client, "/f").await;
    }
    assert!(
        file.sent() <= file.len + MIB,
        "each slice left the origin once: {}",
        file.sent()
    );
}

#[tokio::test]
async fn what_is_not_stored_above_is_not_stored_below() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/missing" => Reply::status(404, "nothing"),
        "/missing-for-a-minute" => Reply::status(404, "nothing").field("Cache-Control: max-age=60"),
        _ => Reply::ok("mine").field("Cache-Control: private"),
    });
    let (edge, shield) = pair(&origin).await;
    for _ in 0..2 {
        assert_eq!(edge.get("/missing", &[]).await.status, 404);
        let private = edge.get("/private", &[]).await;
        assert_eq!(private.cache(), "BYPASS");
        let told = hops(&private);
        assert!(told[0].ends_with("detail=private"), "{told:?}");
    }
    assert_eq!(origin.count("/private"), 2);
    assert_eq!(shield.metric("seawall_store_objects").await, 0.0);
    assert_eq!(edge.metric("seawall_store_objects").await, 0.0);
    for _ in 0..2 {
        assert_eq!(edge.get("/missing-for-a-minute", &[]).await.status, 404);
    }
    assert_eq!(origin.count("/missing-for-a-minute"), 1);
}

#[tokio::test]
async fn rules_above_that_keep_a_response_out_keep_it_out_below() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let shield = node(&origin, "shield-1")
        .rule("never", "*", "cache = \"bypass\"")
        .start()
        .await;
    let edge = lower(&origin, "edge-1", &[&shield]).start().await;
    for count in 1..=3 {
        assert_eq!(edge.get("/", &[]).await.text(), "page");
        assert_eq!(origin.count("/"), count);
    }
}

#[tokio::test]
async fn what_goes_past_the_cache_goes_past_the_tiers() {
    let origin = Origin::start(|_| Reply::ok("done"));
    let (edge, shield) = pair(&origin).await;
    edge.send("POST", "/form", &[], "a=1").await;
    edge.get("/mine", &["Cookie: sessionid=abc"]).await;
    assert_eq!(origin.requests().len(), 2);
    assert_eq!(origin.last().all("cdn-loop"), ["edge-1"]);
    let received = "seawall_tier_received_total{result=\"accepted\"}";
    assert_eq!(shield.metric(received).await, 0.0);
}

#[tokio::test]
async fn browsers_are_told_by_the_lower_tier_alone() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let rules = "[[zones.site.response_header_rules]]\nname = \"count\"\nexpression = 'true'\n\
         add = { x-counted = \"once\" }\n\
         [[zones.site.cache_rules]]\nname = \"browsers\"\nexpression = 'true'\n\
         browser_ttl = \"7s\"\n";
    let shield = node(&origin, "shield-1").zone(rules).start().await;
    let edge = lower(&origin, "edge-1", &[&shield])
        .zone(rules)
        .start()
        .await;
    for _ in 0..2 {
        let response = edge.get("/", &[]).await;
        assert_eq!(response.all("x-counted"), ["once"]);
        assert_eq!(response.field("cache-control"), Some("public, max-age=7"));
    }
    let cached = edge.get("/", &[]).await;
    assert!(cached.cache_status().contains("ttl=5"), "{cached:?}");
}

#[tokio::test]
async fn a_forged_field_has_no_effect() {
    let origin = Origin::start(|request| {
        Reply::fresh(request.field("x-forwarded-for").unwrap_or("none"))
            .field("Cache-Tag: secret-tag")
            .field("Seawall-Tier: v=1; fresh-ms=1")
    });
    let (_edge, shield) = pair(&origin).await;
    let forged = sign("another-secret-0123456789", 0, "/", "10.9.8.7");
    for (target, value) in [("/", forged.as_str()), ("/b", "x.y"), ("/c", "")] {
        let field = format!("Seawall-Tier: {value}");
        let response = shield.get(target, &[&field]).await;
        assert_eq!((response.status, response.text()), (200, "127.0.0.1"));
        assert_eq!(response.field("cache-tag"), None);
        assert_eq!(response.field("seawall-tier"), None);
        assert_eq!(origin.last().field("seawall-tier"), None);
    }
    let genuine = sign(SECRET, 0, "/d", "10.9.8.7");
    let fields = [format!("Seawall-Tier: {genuine}")];
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let response = shield.get("/d", &fields).await;
    assert_eq!(response.field("cache-tag"), Some("secret-tag"));
    assert!(response.field("seawall-tier").is_some());
    // The same for another request is nobody's word.
    for (target, more) in [("/e", ""), ("/d", "X-Forwarded-Host: evil.test")] {
        let mut fields = fields.clone();
        fields.extend(Some(more).filter(|more| !more.is_empty()));
        let response = shield.get(target, &fields).await;
        assert_eq!(response.field("cache-tag"), None, "{target} {more}");
    }
}

#[tokio::test]
async fn what_was_signed_long_ago_is_refused() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let (_edge, shield) = pair(&origin).await;
    for (ago, status) in [(0, 200), (50, 200), (70, 403), (3600, 403), (-90, 403)] {
        let field = format!("Seawall-Tier: {}", sign(SECRET, ago, "/", "10.9.8.7"));
        assert_eq!(shield.get("/", &[&field]).await.status, status, "{ago}");
    }
}

/// The field of a request for `target` without other fields, signed so many seconds ago.
fn sign(secret: &str, ago: i64, target: &str, client: &str) -> String {
    #[allow(
        clippy::disallowed_methods,
        reason = "the node under test reads the clock as well"
    )]
    let now = std::time::SystemTime::now();
    let by = Duration::from_secs(ago.unsigned_abs());
    let sent = if ago < 0 { now + by } else { now - by };
    let facts = Facts {
        node: "edge-9",
        relation: Relation::Lower,
        request_id: "0123456789abcdef0123456789abcdef",
        client: client.parse().unwrap(),
        scheme: Scheme::Http,
        version: http::Version::HTTP_11,
        country: None,
        asn: None,
        raw_target: None,
        splits: &[],
        key: &[],
        purges: None,
    };
    let head = SignedHead {
        method: &http::Method::GET,
        host: b"site.test",
        target,
        fields: &HeaderMap::new(),
    };
    let value = Handover::new(&facts, sent).sign(&head, &TierKey::new(secret));
    value.unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_that_came_by_is_refused() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let alone = node(&origin, "edge-1").start().await;
    let looped = alone.get("/", &["CDN-Loop: other, edge-1; a=b"]).await;
    assert_eq!(looped.status, 508);
    // Nobody may have the field taken out.
    let hidden = ["Connection: cdn-loop", "CDN-Loop: edge-1"];
    assert_eq!(alone.get("/", &hidden).await.status, 508);
    let passed = alone.get("/", &["CDN-Loop: other"]).await;
    assert_eq!(passed.status, 200);
    assert_eq!(origin.last().all("cdn-loop"), ["other", "edge-1"]);
    assert_eq!(alone.metric("seawall_tier_loops_total").await, 2.0);
}

#[tokio::test]
async fn nodes_that_ask_each_other_end_at_the_origin() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let first = node(&origin, "one").start().await;
    let second = lower(&origin, "two", &[&first]).start().await;
    first.reconfigure(|setup| {
        setup
            .section(&upper("shield", &[&second], ""))
            .zone("upper_tiers = [\"shield\"]")
    });
    first.signal("HUP");
    eventually("the new configuration", async || {
        first
            .metric("seawall_config_reloads_total{result=\"success\"}")
            .await
            >= 1.0
    })
    .await;
    for node in [&first, &second] {
        let target = format!("/{}", node.address.port());
        let response = within("an answer", node.get(&target, &[])).await;
        assert_eq!((response.status, response.text()), (200, "page"));
        assert_eq!(origin.count(&target), 1);
    }
}

#[tokio::test]
async fn a_killed_upper_tier_fails_no_request() {
    let origin = Origin::start(|request| Reply::fresh(&request.target));
    let mut first = node(&origin, "shield-1").start().await;
    let second = node(&origin, "shield-2").start().await;
    let edge = lower(&origin, "edge-1", &[&first, &second]).start().await;
    for number in 0..10 {
        assert_eq!(edge.get(&format!("/a{number}"), &[]).await.status, 200);
    }
    first.kill();
    for number in 0..20 {
        let target = format!("/b{number}");
        let response = edge.get(&target, &[]).await;
        assert_eq!((response.status, response.text()), (200, target.as_str()));
        assert_eq!(origin.count(&target), 1);
        assert_eq!(hops(&response).len(), 2, "the other shield answers");
    }
    eventually("the log to tell of it", async || {
        edge.stderr().contains("does not answer")
    })
    .await;
    let mut second = second;
    second.kill();
    for number in 0..20 {
        let target = format!("/c{number}");
        assert_eq!(edge.get(&target, &[]).await.text(), target);
    }
    let fell_back = edge
        .metric("seawall_tier_fallbacks_total{zone=\"site\"}")
        .await;
    assert_eq!(fell_back, 20.0);
    // It is asked again once it is back.
    let _second = second.restarted().await;
    let mut number = 0;
    eventually("the shield to be asked again", async || {
        number += 1;
        let response = edge.get(&format!("/d{number}"), &[]).await;
        hops(&response).len() == 2
    })
    .await;
    eventually("the log to tell of it", async || {
        edge.stderr().contains("answers again")
    })
    .await;
}

#[tokio::test]
async fn the_next_tier_is_asked_when_the_first_is_gone() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let mut near = node(&origin, "near").start().await;
    let far = node(&origin, "far").start().await;
    let edge = node(&origin, "edge-1")
        .section(&upper("near", &[&near], ""))
        .section(&upper("far", &[&far], ""))
        .zone("upper_tiers = [\"near\", \"far\"]")
        .start()
        .await;
    assert!(hops(&edge.get("/a", &[]).await)[0].starts_with("near;"));
    near.kill();
    assert!(hops(&edge.get("/b", &[]).await)[0].starts_with("far;"));
}

#[tokio::test]
async fn without_tiers_the_origin_gets_no_more_than_its_cap() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| Reply::fresh(&request.target).behind(&held));
    let mut shield = node(&origin, "shield-1").start().await;
    let edge = lower(&origin, "edge-1", &[&shield])
        .zone("origin_fallback_max_requests = 2")
        .start()
        .await;
    shield.kill();
    let mut clients = Vec::new();
    for number in 0..8 {
        let mut client: Client = edge.connect().await;
        client.request("GET", &format!("/{number}"), &[]).await;
        clients.push(client);
    }
    eventually("all to have given the shield up", async || {
        edge.metric("seawall_tier_fallbacks_total{zone=\"site\"}")
            .await
            >= 8.0
    })
    .await;
    gate.open();
    for mut client in clients {
        assert_eq!(client.response().await.status, 200);
    }
    assert_eq!(origin.most_outstanding(), 2);
}

#[tokio::test]
async fn an_origin_that_fails_is_not_asked_again_from_below() {
    let origin = Origin::start(|_| Reply::hang_up());
    let shield = node(&origin, "shield-1")
        .pool("retries.max = 0")
        .start()
        .await;
    let edge = lower(&origin, "edge-1", &[&shield])
        .pool("retries.max = 0")
        .start()
        .await;
    let failed = edge.get("/", &[]).await;
    assert_eq!(failed.status, 502);
    assert_eq!(origin.count("/"), 1);
    let told = hops(&failed);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        edge.metric("seawall_tier_fallbacks_total{zone=\"site\"}")
            .await,
        0.0
    );
    let failed = "seawall_tier_requests_total{result=\"origin-failed\",tier=\"shield\"}";
    assert_eq!(edge.metric(failed).await, 1.0);
}

#[tokio::test]
async fn errors_of_the_application_go_down_as_they_are() {
    let origin = Origin::start(|_| Reply::status(503, "overloaded").field("Retry-After: 7"));
    let (edge, _shield) = pair(&origin).await;
    let failed = edge.get("/", &[]).await;
    assert_eq!((failed.status, failed.text()), (503, "overloaded"));
    assert_eq!(failed.field("retry-after"), Some("7"));
    assert_eq!(origin.count("/"), 1);
}

#[tokio::test]
async fn stale_below_hides_an_origin_that_fails_above() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::fresh("page").field("Cache-Control: stale-if-error=600"),
        _ => Reply::hang_up(),
    });
    let (edge, shield) = pair(&origin).await;
    edge.get("/", &[]).await;
    shield.purge("{\"purge_everything\": true}").await;
    edge.purge("{\"purge_everything\": true, \"soft\": true}")
        .await;
    let stale = edge.get("/", &[]).await;
    assert_eq!(
        (stale.status, stale.text(), stale.cache()),
        (200, "page", "STALE")
    );
}

#[tokio::test]
async fn a_node_that_knows_another_secret_is_no_tier() {
    let origin = Origin::start(|_| Reply::fresh("page").field("Cache-Tag: a"));
    let shield = Setup::before([&origin])
        .section("[tiers]\nname = \"shield-1\"\nsecret = \"another-secret-0123456789\"")
        .start()
        .await;
    let edge = lower(&origin, "edge-1", &[&shield]).start().await;
    let response = edge.get("/", &[]).await;
    assert_eq!((response.status, response.text()), (200, "page"));
    assert_eq!(hops(&response).len(), 1, "the origin answered");
    assert_eq!(
        edge.purge("{\"tags\": [\"a\"]}").await["result"]["objects"],
        1
    );
    eventually("the log to tell of it", async || {
        edge.stderr().contains("not-a-tier")
    })
    .await;
}

#[tokio::test]
async fn a_slow_upper_tier_is_outrun_by_another() {
    let gate = Gate::closed();
    let held = gate.clone();
    let slow_origin = Origin::start(move |_| Reply::fresh("slow").behind(&held));
    let origin = Origin::start(|_| Reply::fresh("quick"));
    let slow = node(&slow_origin, "slow").start().await;
    let quick = node(&origin, "quick").start().await;
    let edge = node(&origin, "edge-1")
        .section(&upper("first", &[&slow], "hedge_after = \"50ms\""))
        .section(&upper("second", &[&quick], ""))
        .zone("upper_tiers = [\"first\", \"second\"]")
        .start()
        .await;
    let response = edge.get("/", &[]).await;
    assert_eq!(response.text(), "quick");
    assert!(hops(&response)[0].starts_with("quick;"), "{response:?}");
    assert_eq!(slow_origin.count("/"), 1);
    assert_eq!(
        edge.metric("seawall_tier_hedges_total{tier=\"first\"}")
            .await,
        1.0
    );
    gate.open();
}

#[tokio::test]
async fn each_key_has_one_owner_among_siblings() {
    let origin = Origin::start(|request| Reply::fresh(&request.target));
    let mut nodes = Vec::new();
    for name in ["one", "two", "three"] {
        nodes.push(node(&origin, name).start().await);
    }
    let servers: Vec<String> = nodes
        .iter()
        .map(|node| format!("\"http://{}\"", node.address))
        .collect();
    let servers = servers.join(", ");
    for node in &nodes {
        node.reconfigure(|setup| {
            setup
                .section(&format!(
                    "[tiers.siblings]\nself = \"ADDRESS\"\nservers = [{servers}]"
                ))
                .zone("upper_tiers = [\"siblings\"]\norigin_fallback_max_requests = 1")
        });
        node.signal("HUP");
        eventually("the new configuration", async || {
            node.metric("seawall_config_reloads_total{result=\"success\"}")
                .await
                >= 1.0
        })
        .await;
    }
    let mut owners = [0, 0, 0];
    for number in 0..30 {
        let target = format!("/{number}");
        let answers = join_all(nodes.iter().map(|node| node.get(&target, &[]))).await;
        for (owned, answer) in owners.iter_mut().zip(&answers) {
            assert_eq!(answer.text(), target);
            *owned += usize::from(hops(answer).len() == 1);
        }
        assert_eq!(origin.count(&target), 1);
    }
    assert_eq!(owners.iter().sum::<usize>(), 30, "one owner each");
    assert!(owners.iter().all(|owned| *owned > 0), "{owners:?}");
    for node in &nodes {
        let fell_back = node
            .metric("seawall_tier_fallbacks_total{zone=\"site\"}")
            .await;
        assert_eq!(fell_back, 0.0, "the owner asks as a matter of course");
    }
    nodes[2].kill();
    for number in 30..60 {
        let target = format!("/{number}");
        let answers = join_all(nodes[..2].iter().map(|node| node.get(&target, &[]))).await;
        assert!(answers.iter().all(|answer| answer.text() == target));
        assert_eq!(origin.count(&target), 1, "the next in line owns it");
    }
}

#[tokio::test]
async fn three_tiers_are_three_hops() {
    let origin = Origin::start(|_| Reply::fresh("page").field("Cache-Tag: a"));
    let top = node(&origin, "top").start().await;
    let middle = lower(&origin, "middle", &[&top]).start().await;
    let edge = lower(&origin, "edge-1", &[&middle]).start().await;
    let miss = edge.get("/", &["X-Real-IP: 192.0.2.1"]).await;
    let names: Vec<String> = hops(&miss)
        .iter()
        .map(|hop| hop.split(';').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["top", "middle", "edge-1"]);
    assert_eq!(origin.last().all("cdn-loop"), ["edge-1", "middle", "top"]);
    for node in [&top, &middle, &edge] {
        assert_eq!(
            node.purge("{\"tags\": [\"a\"]}").await["result"]["objects"],
            1
        );
    }
}

#[tokio::test]
async fn clients_of_an_upper_tier_and_of_a_lower_one_share_what_is_stored_there() {
    let origin = Origin::start(|request| {
        Reply::fresh(format!("{} {:?}", request.target, request.field("x-plan")))
    });
    let rules = "[[zones.site.request_header_rules]]\nname = \"plan\"\nexpression = 'true'\n\
         set = { x-plan = \"gold\" }\n\
         [[zones.site.origin_rules]]\nname = \"host\"\nexpression = 'true'\n\
         host_header = \"app.internal\"\n\
         [[zones.site.cache_rules]]\nname = \"keys\"\nexpression = 'true'\n\
         key = { device = true, query = { include = [\"a\"] } }\n";
    let shield = node(&origin, "shield-1").zone(rules).start().await;
    let edge = lower(&origin, "edge-1", &[&shield])
        .zone(rules)
        .start()
        .await;
    let above = shield.get("/p?b=1&a=2", &[]).await;
    let below = edge.get("/p?a=2&b=3", &[]).await;
    assert_eq!(above.text(), "/p?a=2 Some(\"gold\")");
    assert_eq!(below.text(), above.text());
    assert!(hops(&below)[0].starts_with("shield-1; hit"), "{below:?}");
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(origin.last().field("host"), Some("app.internal"));
    assert_eq!(origin.last().field("x-device-class"), Some("desktop"));
}

#[tokio::test]
async fn what_stands_in_above_for_an_origin_that_fails_is_stale_below() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::fresh("page")
            .field("Age: 58")
            .field("Cache-Control: stale-if-error=600"),
        _ => Reply::hang_up(),
    });
    let (edge, shield) = pair(&origin).await;
    shield.get("/", &[]).await;
    eventually("the response to be stale", async || {
        shield.get("/", &[]).await.cache() == "STALE"
    })
    .await;
    let stale = edge.get("/", &[]).await;
    assert_eq!((stale.status, stale.text()), (200, "page"));
    let told = hops(&stale);
    assert!(told[0].contains("hit") && ttl(&told[0]) <= 0, "{told:?}");
    assert!(ttl(&told[1]) <= 0, "{told:?}");
    assert!(told[0].ends_with("detail=stale-if-error"), "{told:?}");
    assert!(!edge.get("/", &[]).await.cache().contains("HIT"));
}

#[tokio::test]
async fn tiers_speak_tls() {
    let authority = Authority::new();
    let identity = authority.identity("127.0.0.1");
    let origin =
        Origin::start(|request| Reply::fresh(request.field("x-forwarded-proto").unwrap_or("none")));
    let shield = node(&origin, "shield-1")
        .listen(
            "{ address = \"ADDRESS\", tls = { certificate = \"DIR/site.pem\", key = \"DIR/site.key\" } }",
        )
        .file("site.pem", &identity.certificate)
        .file("site.key", &identity.key)
        .start()
        .await;
    let tier = format!(
        "[tiers.upper.shield]\nservers = [\"https://{}\"]\ntls = {{ ca = \"DIR/ca.pem\" }}",
        shield.address
    );
    let edge = node(&origin, "edge-1")
        .file("ca.pem", &authority.pem())
        .section(&tier)
        .zone("upper_tiers = [\"shield\"]")
        .start()
        .await;
    let response = edge.get("/", &[]).await;
    assert_eq!(hops(&response).len(), 2, "{}", edge.stderr());
    assert_eq!(response.text(), "http", "the client's own scheme");
}

#[tokio::test]
async fn a_body_goes_on_from_elsewhere_when_its_upper_tier_dies() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        if request.field("range").is_some() {
            return Reply::file(request, "beginend", "\"v1\"");
        }
        Reply::chunked(["begin"])
            .then("end", &held)
            .field("Cache-Control: max-age=60")
            .field("ETag: \"v1\"")
    });
    let (edge, mut shield) = pair(&origin).await;
    let mut client = edge.connect().await;
    client.request("GET", "/", &[]).await;
    client.response_head().await.unwrap();
    assert_eq!(client.chunk().await.unwrap().unwrap(), b"begin");
    shield.kill();
    assert_eq!(client.chunk().await.unwrap().unwrap(), b"end");
    assert_eq!(client.chunk().await.unwrap(), None);
    assert_eq!(origin.last().field("range"), Some("bytes=5-"));
    assert_eq!(origin.last().field("if-range"), Some("\"v1\""));
    let hit = edge.get("/", &[]).await;
    assert_eq!((hit.cache(), hit.text()), ("HIT", "beginend"));
    gate.open();
}
