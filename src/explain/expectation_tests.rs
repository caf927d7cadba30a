use super::*;
use crate::config::parse;
use std::time::UNIX_EPOCH;

const ZONE: &str = r#"
listen = "[::]:80"
pools.app.servers = "http://127.0.0.1:1"
pools.blog.servers = "http://127.0.0.1:2"
pools.blog.host_header = "blog.internal"

[zones.shop]
hosts = ["shop.test", "*.shop.test"]
pool = "app"

[[zones.shop.redirect_rules]]
name = "old catalogue"
expression = 'http.request.uri.path eq "/old"'
target = "https://shop.test/catalog/"
status = 301

[[zones.shop.rewrite_rules]]
name = "blog below one folder"
expression = 'http.host eq "blog.shop.test"'
path = "/blog/"

[[zones.shop.request_header_rules]]
name = "tell the app"
expression = 'http.host eq "blog.shop.test"'
set = { x-section = "blog" }

[[zones.shop.origin_rules]]
name = "blog pool"
expression = 'http.host eq "blog.shop.test"'
pool = "blog"

[[zones.shop.cache_rules]]
name = "catalogue"
expression = 'starts_with(http.request.uri.path, "/catalog/")'
edge_ttl = { mode = "override_origin", default = "60s" }
browser_ttl = "5m"
key = { query = { exclude = ["utm_*"] } }

[[zones.shop.cache_rules]]
name = "basket"
expression = 'http.request.uri.path eq "/basket"'
cache = "bypass"

[[zones.shop.cache_response_rules]]
name = "no cookies on pages"
expression = 'http.request.uri.path eq "/catalog/clean"'
strip_set_cookie = true

[[zones.shop.error_rules]]
name = "sorry"
expression = 'http.request.uri.path eq "/broken"'
content = "sorry"
content_type = "text/plain"

[[zones.shop.response_header_rules]]
name = "frames"
expression = 'http.request.uri.path eq "/catalog/"'
set = { x-frame-options = "DENY" }
remove = ["server"]
"#;

/// What is otherwise than one test, the lines below `[[test]]`, expects.
fn mismatches(test: &str) -> Vec<(String, String, String)> {
    let source = format!("{ZONE}\n[[test]]\n{test}");
    let config = parse("test.toml", &source, &|_| None).unwrap_or_else(|faults| panic!("{faults}"));
    let now = UNIX_EPOCH + Duration::from_millis(1_000_000_000_700);
    let outcome = run(&config, &config.tests[0], now).unwrap();
    let told = outcome.mismatches.into_iter();
    told.map(|one| (one.what, one.expected, one.actual))
        .collect()
}

#[test]
fn what_holds_passes() {
    for test in [
        "request = \"/old\"\nexpect = { verdict = \"redirect\", status = 301, redirect = \"https://shop.test/catalog/\", decided_by = \"old catalogue\" }",
        "request = \"http://blog.shop.test/x\"\nexpect = { path = \"/blog/\", pool = \"blog\", host = \"blog.internal\", origin_header = { x-section = \"blog\", x-other = \"\" }, key_contains = [\"x-section \\\"blog\\\"\"], zone = \"shop\", rules = [\"blog pool\"] }",
        "request = \"/basket\"\nresponse = {}\nexpect = { verdict = \"bypass\", reason = \"rule\", decided_by = \"basket\", stored = false, x_cache = \"BYPASS\", second = \"BYPASS\" }",
        "request = \"/catalog/\"\nresponse = { headers = { cache-control = \"max-age=1\", server = \"x\" } }\nexpect = { stored = true, ttl = \"60s\", x_cache = \"MISS\", second = \"HIT\", browser_cache_control = \"public, max-age=300\", response_header = { x-frame-options = \"DENY\", server = \"\" } }",
        "request = \"/\"\nresponse = { headers = { cache-control = \"max-age=60\" } }\nexpect = { ttl = \"60s\", x_cache = \"MISS\" }",
        "request = \"/catalog/\"\nresponse = {}\nafter = \"61s\"\nexpect = { second = \"EXPIRED\" }",
        "request = \"/catalog/\"\nresponse = { headers = { set-cookie = \"a=1\" } }\nexpect = { stored = false, store_reason = \"set-cookie\", x_cache = \"BYPASS\", browser_cache_control = \"\" }",
        "request = \"/catalog/clean\"\nresponse = { headers = { set-cookie = \"a=1\" } }\nexpect = { stored = true, rules = [\"no cookies on pages\"] }",
        "request = \"/broken\"\nresponse = { status = 500, headers = { etag = '\"1\"' } }\nexpect = { status = 500, rules = [\"sorry\"], response_header = { content-type = \"text/plain\", etag = \"\" } }",
        "request = { method = \"POST\", url = \"/catalog/\" }\nresponse = {}\nexpect = { verdict = \"bypass\", reason = \"method\", x_cache = \"DYNAMIC\" }",
        "request = \"https://elsewhere.test/\"\nexpect = { verdict = \"refused\", status = 421 }",
        "request = \"/catalog/?utm_source=x&a=1\"\nsame_key_as = \"/catalog/?a=1&utm_medium=y\"\nother_key_than = \"/catalog/?a=2\"\nexpect = { query = \"a=1\" }",
        "request = { url = \"/catalog/\", headers = { accept = \"image/avif\" } }\nresponse = { headers = { vary = \"accept\" } }\nother_key_than = { url = \"/catalog/\", headers = { accept = \"image/webp\" } }",
    ] {
        assert_eq!(mismatches(test), [], "{test}");
    }
}

#[test]
fn what_does_not_hold_is_told_with_what_does() {
    let told = |what: &str, expected: &str, actual: &str| {
        (what.to_owned(), expected.to_owned(), actual.to_owned())
    };
    for (test, expected) in [
        (
            "request = \"/catalog/\"\nexpect = { verdict = \"bypass\", reason = \"session-cookie\" }",
            vec![
                told("verdict", "bypass", "lookup"),
                told("reason", "session-cookie", "none"),
            ],
        ),
        (
            "request = \"/catalog/\"\nresponse = {}\nexpect = { ttl = \"5m\", second = \"EXPIRED\" }",
            vec![told("ttl", "5m", "60s"), told("second", "EXPIRED", "HIT")],
        ),
        (
            "request = \"/basket\"\nexpect = { rules = [\"catalogue\"], not_rules = [\"basket\"] }",
            vec![
                told("rules", "catalogue", "basket"),
                told("not_rules", "without basket", "basket"),
            ],
        ),
        (
            "request = \"/basket\"\nother_key_than = \"/catalog/\"",
            vec![told("other_key_than", "a key", "no key: bypass (rule)")],
        ),
        (
            "request = \"/catalog/?a=1\"\nsame_key_as = \"/catalog/?a=2\"",
            vec![told(
                "same_key_as",
                "shop http://shop.test/catalog/?a=1",
                "shop http://shop.test/catalog/?a=2",
            )],
        ),
        (
            "request = \"/catalog/?utm_x=1\"\nother_key_than = \"/catalog/\"",
            vec![told(
                "other_key_than",
                "another key",
                "the same, shop http://shop.test/catalog/",
            )],
        ),
    ] {
        assert_eq!(mismatches(test), expected, "{test}");
    }
}
