//! The site that both lanes stand before: an origin whose answers follow from the request alone, and
//! zones whose rules touch everything that a hit is made of.

use crate::support::{Origin, Received, Reply, Setup};

/// What paths begin with: each has rules of its own.
pub const RULES: &[&str] = &[
    "plain",
    "plain",
    "plain",
    "browser",
    "edge",
    "edge",
    "dressed",
    "answer",
    "split",
    "tint",
    "go",
    "errors",
    "keyed",
    "rare",
    "respect",
    "tags",
    "static",
    "vary",
    "told",
    "old",
    "blog",
    "post",
    "immutable",
    "closed",
    "hidden",
];

/// What paths end with: each is another answer of the origin.
pub const KINDS: &[&str] = &[
    "page",
    "strong",
    "weak",
    "modified",
    "both",
    "dated",
    "vary",
    "language",
    "cookie",
    "tagged",
    "aged",
    "marked",
    "missing",
    "moved",
    "empty",
    "large",
    "unframed",
    "broken",
    "private",
    "stale",
    "style.css",
    "typeless",
    "connection",
    "gone",
    "big-age",
    "nothing",
    "odd",
];

pub const LAST_MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const DATE: &str = "Wed, 01 Jan 2020 10:00:00 GMT";

/// An origin that answers by method, target, fields, and how often it was asked.
pub fn origin() -> Origin {
    Origin::start(answer)
}

fn answer(request: &Received) -> Reply {
    let path = request.target.split('?').next().unwrap_or_default();
    let kind = path.rsplit('/').next().unwrap_or_default();
    // Pages change now and then, so that an answer of yesterday is another one.
    let version = request.nth / 3;
    let tag = match kind {
        "weak" => format!("W/\"{version}\""),
        _ => format!("\"{version}\""),
    };
    if request
        .field("if-none-match")
        .is_some_and(|tags| tags.contains(&tag))
    {
        let reply = Reply::status(304, "").field(format!("ETag: {tag}"));
        return reply
            .field("Cache-Control: max-age=7200")
            .field("X-Validated: yes");
    }
    let said = [
        "accept-language",
        "accept-encoding",
        "cookie",
        "x-split-hero",
        "x-told",
        "x-device-class",
    ];
    let said = crate::support::echo_fields(request, &said);
    let body = format!("{} {} v{version} {said}", request.method, request.target);
    let reply = match kind {
        "missing" => Reply::status(404, body),
        "gone" => Reply::status(410, body),
        "broken" => Reply::status(500, body),
        "moved" => Reply::status(301, body).field("Location: /plain/page"),
        "empty" => Reply::status(204, ""),
        "nothing" => Reply::ok(""),
        "large" => Reply::ok(body.repeat(100 * 1024 / body.len() + 1)),
        "odd" => Reply::status(299, body),
        "unframed" => Reply::chunked([body.as_str(), " and", " more"]),
        _ => Reply::ok(body),
    };
    let reply = match kind {
        "private" => reply.field("Cache-Control: private"),
        "stale" => reply.field("Cache-Control: max-age=60").field("Age: 60"),
        // What rules give no lifetime is kept for moments only, which would not be the same ones.
        "broken" => reply,
        "moved" | "missing" | "gone" => reply.field("Cache-Control: s-maxage=7200"),
        "modified" => reply.field("Expires: Thu, 01 Jan 2099 00:00:00 GMT"),
        _ => reply.field("Cache-Control: max-age=7200"),
    };
    let reply = match kind {
        "typeless" => reply,
        "style.css" => reply.field("Content-Type: text/css"),
        _ => reply.field("Content-Type: text/plain; charset=utf-8"),
    };
    fields(reply, kind, &tag, path)
}

fn fields(reply: Reply, kind: &str, tag: &str, path: &str) -> Reply {
    let tagged = |reply: Reply| reply.field(format!("ETag: {tag}"));
    let modified = |reply: Reply| reply.field(format!("Last-Modified: {LAST_MODIFIED}"));
    match kind {
        "strong" | "weak" | "large" | "vary" | "stale" | "style.css" => tagged(reply),
        "modified" => modified(reply),
        "both" | "unframed" | "odd" => modified(tagged(reply)),
        "dated" => modified(reply)
            .field(format!("Date: {DATE}"))
            .field("Accept-Ranges: bytes"),
        "language" => reply
            .field("Vary: Accept-Language")
            .field("Content-Language: de"),
        "cookie" => reply
            .field("Set-Cookie: a=1; Path=/")
            .field("Set-Cookie: b=2"),
        "tagged" => tagged(reply)
            .field("Cache-Tag: one, two")
            .field("Surrogate-Key: three")
            .field("Seawall-CDN-Cache-Control: max-age=9000"),
        "aged" => modified(reply).field("Age: 17"),
        "big-age" => reply.field("Age: 7000").field("Expires: 0"),
        "marked" => reply
            .field("Cache-Status: Inner; hit")
            .field("Via: 1.1 inner")
            .field("X-Cache: HIT from inner")
            .field("X-Request-Id: of-the-origin")
            .field("Warning: 110 - \"stale\"")
            .field("X-Twice: 1")
            .field("X-Other: between")
            .field("X-Twice: 2")
            .field("X-Empty:")
            .field("Server: scripted"),
        "connection" => reply
            .field("Connection: X-Hop")
            .field("X-Hop: 1")
            .field("Keep-Alive: timeout=5")
            .field("Proxy-Connection: keep-alive")
            .field("Content-Location: /plain/page"),
        _ if path.starts_with("/post/") => reply.field(format!("Content-Location: {path}")),
        _ => reply,
    }
    .fields_of_vary(kind)
}

trait Varying {
    fn fields_of_vary(self, kind: &str) -> Self;
}

impl Varying for Reply {
    fn fields_of_vary(self, kind: &str) -> Self {
        match kind {
            "vary" => self.field("Vary: Accept-Encoding").field("Vary: X-Told"),
            _ => self,
        }
    }
}

/// The token by which clients see keys.
pub const DEBUG: &str = "debug-token-0123456789";

/// Seawall before `origin`, with or without the lane.
pub fn setup(origin: &Origin, lane: bool) -> Setup {
    Setup::before([origin])
        .top("secret = \"0123456789abcdef0123456789abcdef\"")
        .purging()
        // What is fetched is then stored before the next request is looked at, as a rule.
        .threads(1)
        .section("[client]\nmax_header_size = \"4 KiB\"\nmax_headers = 40\nmax_uri_length = 512")
        .section(&format!("[cache]\ndebug_token = \"{DEBUG}\""))
        .server(&format!("hit_lane = {lane:5}"))
        .hosts("[\"site.test\", \"*.site.test\"]")
        .zone(ZONES)
}

const ZONES: &str = r#"
[[zones.site.custom_rules]]
name = "scanners"
expression = 'http.request.uri.path contains ".php"'
action = "block"

[[zones.site.custom_rules]]
name = "seen"
expression = 'starts_with(http.request.uri.path, "/plain/")'
action = "log"

[[zones.site.maintenance]]
expression = 'starts_with(http.request.uri.path, "/closed/")'
content = "closed {{request_id}}"
retry_after = "10m"

[[zones.site.redirect_rules]]
name = "go"
expression = 'starts_with(http.request.uri.path, "/go/")'
target = { expression = 'concat("/plain/", http.request.headers["accept-language"][0])' }
preserve_query = true

[[zones.site.splits]]
name = "hero"
expression = 'starts_with(http.request.uri.path, "/split/")'
variants = { a = 0, b = 1 }
by = "cookie"

[[zones.site.splits]]
name = "tint"
expression = 'starts_with(http.request.uri.path, "/tint/")'
variants = { a = 1, b = 1 }
by = { expression = 'http.request.headers["x-user"][0]' }
header = "X-Split-Hero"

[[zones.site.rewrite_rules]]
expression = 'starts_with(http.request.uri.path, "/old/")'
path = { expression = 'regex_replace(http.request.uri.path, "^/old/", "/plain/")' }

[[zones.site.request_header_rules]]
expression = 'starts_with(http.request.uri.path, "/told/")'
set = { "X-Told" = { expression = 'http.request.headers["accept-language"][0]' } }

[[zones.site.cache_response_rules]]
expression = 'starts_with(http.request.uri.path, "/answer/")'
strip_set_cookie = true
strip_etag = true
set_tags = ["pages"]
[zones.site.cache_response_rules.cache_control]
public = true
s-maxage = "2h"

[[zones.site.error_rules]]
name = "missing"
expression = 'http.response.code eq 404 and starts_with(http.request.uri.path, "/errors/")'
content = "not here {{request_id}}"
status = 410
[[zones.site.error_rules]]
name = "broken"
expression = 'http.response.code ge 500 and starts_with(http.request.uri.path, "/errors/")'
content = "sorry {{status}}"

[[zones.site.response_header_rules]]
expression = 'starts_with(http.request.uri.path, "/dressed/")'
remove = ["Server", "ETag", "Via"]
set = { "X-Frame-Options" = "DENY", "X-Lang" = { expression = 'http.request.headers["accept-language"][0]' } }
add = { "Vary" = "Origin" }
[[zones.site.response_header_rules]]
expression = 'http.response.code eq 304 and starts_with(http.request.uri.path, "/dressed/")'
set = { "X-Not-Modified" = "1" }

[[zones.site.cache_rules]]
name = "all"
expression = 'true'
cache = "eligible"
[[zones.site.cache_rules]]
name = "browser"
expression = 'starts_with(http.request.uri.path, "/browser/")'
browser_ttl = "7m"
[[zones.site.cache_rules]]
name = "immutable"
expression = 'starts_with(http.request.uri.path, "/immutable/")'
browser_ttl = { mode = "override_origin", default = "1 year", immutable = true }
[[zones.site.cache_rules]]
name = "edge"
expression = 'starts_with(http.request.uri.path, "/edge/") or starts_with(http.request.uri.path, "/errors/")'
edge_ttl = { mode = "override_origin", default = "3h", status = { "404" = "2h", "410" = "2h", "500-599" = "2h" } }
browser_ttl = "bypass"
[[zones.site.cache_rules]]
name = "keyed"
expression = 'starts_with(http.request.uri.path, "/keyed/")'
key = { query = { exclude = ["utm_*"] }, sort_query = true, headers = ["x-user"], header_presence = ["x-told"], cookies = ["currency"], cookie_presence = ["theme"], header_contains = { accept = ["image/webp", "image/avif"] }, device = true }
[[zones.site.cache_rules]]
name = "rare"
expression = 'starts_with(http.request.uri.path, "/rare/")'
min_uses = 3
[[zones.site.cache_rules]]
name = "respect"
expression = 'starts_with(http.request.uri.path, "/respect/")'
request_cache_control = "respect"
[[zones.site.cache_rules]]
name = "tags"
expression = 'starts_with(http.request.uri.path, "/tags/")'
pass_cache_tags = true
tags = ["of-the-rule"]
[[zones.site.cache_rules]]
name = "static"
expression = 'starts_with(http.request.uri.path, "/static/")'
session_cookie = "ignore"
authorization = "ignore"
strip_set_cookie = true
[[zones.site.cache_rules]]
name = "vary"
expression = 'starts_with(http.request.uri.path, "/vary/")'
vary = { accept-language = ["en", "de"], accept = "normalize", x-told = "bypass" }
store_set_cookie = true
[[zones.site.cache_rules]]
name = "post"
expression = 'starts_with(http.request.uri.path, "/post/")'
cache_post = true
[[zones.site.cache_rules]]
name = "hidden"
expression = 'starts_with(http.request.uri.path, "/hidden/")'
cache = "bypass"

[zones.second]
hosts = ["second.test"]
pool = "app"
merge_slashes = true

[[zones.second.cache_rules]]
expression = 'true'
cache = "eligible"
key = { query = "none", host = "resolved" }
edge_ttl = { mode = "override_origin", default = "1 day" }
"#;
