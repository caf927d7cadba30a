//! What good files become.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, Method, Version};
use seawall::cache::settings::{
    BrowserTtl, CacheSettings, CredentialPolicy, EdgeTtlMode, Eligibility, Heuristic, HostKey,
    KeySettings, QueryKey, ReadTimeout, RequestCacheControl, StaleWindows, StatusTtl, TtlValue,
    VaryForm, VarySettings,
};
use seawall::config::{
    Cache, Client, Config, Listener, Log, OriginServer, OriginTimeouts, OriginTls, Retries,
    TlsFiles, parse,
};
use seawall::request::{RequestView, Scheme};
use seawall::zone::HostPattern;

use super::parse_bare;

/// A whole file around `rules`, which belong to its only zone.
fn site(zone: &str) -> String {
    format!(
        "listen = [\"[::]:8080\"]\n\
         [pools.app]\n\
         servers = [\"http://127.0.0.1:8001\"]\n\
         [zones.shop]\n\
         hosts = [\"*\"]\n\
         pool = \"app\"\n\
         {zone}"
    )
}

fn good(source: &str) -> Config {
    parse_bare(source).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The settings for an anonymous GET of `path`.
fn settings(config: &Config, path: &str) -> CacheSettings {
    settings_for(config, path, false)
}

fn settings_for(config: &Config, path: &str, session_cookie: bool) -> CacheSettings {
    config.zones[0].rules.cache_rules.evaluate(&RequestView {
        method: &Method::GET,
        scheme: Scheme::Http,
        host: "shop.test",
        path,
        query: None,
        version: Version::HTTP_11,
        headers: &HeaderMap::new(),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        session_cookie,
        has_body: false,
        facts: seawall::request::Facts::default(),
    })
}

#[test]
fn what_is_not_written_has_its_default() {
    let config = good(&site(""));
    assert_eq!(
        config.listeners,
        [Listener {
            address: "[::]:8080".parse().unwrap(),
            tls: None,
            client_ca: None
        }]
    );
    assert_eq!(config.admin, None);
    assert_eq!(config.server.threads, None);
    assert_eq!(config.server.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.client, Client::default());
    assert_eq!(config.cache, Cache::default());
    assert_eq!(
        config.log,
        Log {
            access: true,
            security_events: true
        }
    );
    assert_eq!(config.purge, None);
    let pool = &config.pools[0];
    assert_eq!(pool.name, "app");
    assert_eq!(
        pool.servers,
        [OriginServer {
            https: false,
            srv: None,
            host: "127.0.0.1".to_owned(),
            port: 8001,
            weight: 1,
            max_requests: None,
            priority: 0,
            locality: None,
        }]
    );
    assert_eq!(pool.health_check, None);
    assert_eq!(pool.host_header, None);
    assert_eq!(pool.max_requests, 1000);
    assert_eq!(pool.timeouts.queue, Duration::from_secs(10));
    assert_eq!(pool.timeouts, OriginTimeouts::default());
    assert_eq!(pool.retries, Retries::default());
    assert_eq!(pool.tls, OriginTls::default());
    let zone = &config.zones[0];
    assert_eq!((zone.name.as_str(), zone.pool.as_str()), ("shop", "app"));
    assert_eq!(zone.hosts, [HostPattern::Any]);
    assert!(!zone.merge_slashes);
    assert!(zone.rules.cache_rules.rules.rules().is_empty());
}

#[test]
fn without_a_rule_the_origin_decides_and_credentials_bypass() {
    let settings = settings(&good(&site("")), "/");
    assert_eq!(settings.eligibility.value, Eligibility::Eligible);
    assert_eq!(settings.authorization.value, CredentialPolicy::Bypass);
    assert_eq!(settings.session_cookie.value, CredentialPolicy::Bypass);
    assert_eq!(settings.edge_ttl.value.mode, EdgeTtlMode::RespectOrigin);
    assert_eq!(settings.browser_ttl.value, BrowserTtl::RespectOrigin);
    assert_eq!(settings.serve_stale.value, StaleWindows::default());
    assert!(!settings.strip_set_cookie.value);
    assert_eq!(
        settings.max_object_size.value,
        Cache::default().max_object_size
    );
    assert_eq!(
        settings.request_cache_control.value,
        RequestCacheControl::Ignore
    );
    assert!(!settings.cache_client_errors.value);
    assert!(!settings.cache_post.value);
    assert!(!settings.pass_cache_tags.value);
    assert_eq!(*settings.key.value, KeySettings::default());
    assert_eq!(*settings.vary.value, VarySettings::default());
}

#[test]
fn the_environment_fills_references_in() {
    let source = site("").replace("8080", "${PORT:-8080}").replace(
        "\"http://127.0.0.1:8001\"",
        "\"${APP:-http://127.0.0.1:8001}\"",
    );
    for (set, port, host) in [
        (None, 8080, "127.0.0.1"),
        (Some(("PORT", "9000")), 9000, "127.0.0.1"),
        (Some(("PORT", "")), 8080, "127.0.0.1"),
        (Some(("APP", "http://app.internal")), 8080, "app.internal"),
    ] {
        let env = |name: &str| {
            set.filter(|(known, _)| *known == name)
                .map(|(_, value)| value.to_owned())
        };
        let config = parse("test.toml", &source, &env).unwrap();
        assert_eq!(config.listeners[0].address.port(), port, "{set:?}");
        assert_eq!(config.pools[0].servers[0].host, host, "{set:?}");
    }
}

#[test]
fn the_environment_cannot_change_the_structure() {
    let source = site("").replace("8001", "${APP_PORT}");
    let env = |_: &str| Some("1\", \"http://evil.test".to_owned());
    let faults = parse("test.toml", &source, &env).unwrap_err();
    assert_eq!(faults.list().len(), 1, "{faults}");
}

#[test]
fn a_doubled_dollar_is_a_literal_one() {
    let config = good(&site(
        "cache_rules = [{ expression = 'http.host eq \"$${A}\"', cache = \"bypass\" }]",
    ));
    let rules = &config.zones[0].rules.cache_rules;
    assert_eq!(
        rules.rules.rules()[0].expression.source(),
        "http.host eq \"${A}\""
    );
}

#[test]
fn numbers_may_come_from_the_environment() {
    let source = format!(
        "{}\n[client]\nmax_headers = \"${{FIELDS}}\"\nmax_body_size = \"${{BODY}}\"",
        site("")
    );
    let env = |name: &str| match name {
        "FIELDS" => Some("64".to_owned()),
        "BODY" => Some("1 MiB".to_owned()),
        _ => None,
    };
    let config = parse("test.toml", &source, &env).unwrap();
    assert_eq!(config.client.max_headers, 64);
    assert_eq!(config.client.max_body_size, 1 << 20);
}

#[test]
fn addresses_to_listen_on_are_read_as_people_write_them() {
    for (text, expected) in [
        ("0.0.0.0:8080", "0.0.0.0:8080"),
        ("[::]:8080", "[::]:8080"),
        (":8080", "[::]:8080"),
        ("localhost:8080", "127.0.0.1:8080"),
    ] {
        let config = good(&site("").replace("[::]:8080", text));
        assert_eq!(config.listeners[0].address.to_string(), expected, "{text}");
    }
}

#[test]
fn one_string_stands_for_a_list_of_one() {
    let config = good(
        "listen = \"[::]:8080\"\n\
         pools.app.servers = \"http://127.0.0.1:8001\"\n\
         zones.shop = { hosts = \"shop.test\", pool = \"app\", presets = \"django\" }",
    );
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.pools[0].servers.len(), 1);
    assert_eq!(
        config.zones[0].hosts,
        [HostPattern::Exact("shop.test".to_owned())]
    );
    assert!(!config.zones[0].rules.cache_rules.rules.rules().is_empty());
}

#[test]
fn a_tls_listener_names_its_files() {
    let config = good(&site("").replace(
        "[\"[::]:8080\"]",
        "[{ address = \"[::]:8443\", tls = { certificate = \"a.pem\", key = \"a.key\" } }]",
    ));
    assert_eq!(
        config.listeners[0].tls,
        Some(TlsFiles {
            certificate: PathBuf::from("a.pem"),
            key: PathBuf::from("a.key")
        })
    );
}

#[test]
fn a_longer_first_byte_takes_between_bytes_along() {
    let config = good(&site("[pools.app.timeouts]\nfirst_byte = \"5m\""));
    let timeouts = &config.pools[0].timeouts;
    assert_eq!(timeouts.first_byte, Duration::from_mins(5));
    assert_eq!(timeouts.between_bytes, Duration::from_mins(5));
}

#[test]
fn own_rules_come_after_the_presets() {
    let config = good(&site(
        "presets = [\"bypass_private\", \"hashed_assets\"]\n\
         [[zones.shop.cache_rules]]\n\
         name = \"own\"\n\
         expression = 'http.request.uri.path eq \"/api/status\"'\n\
         cache = \"eligible\"",
    ));
    let rules = &config.zones[0].rules.cache_rules;
    let deciding = |path| {
        let eligibility = settings(&config, path).eligibility;
        let rule = eligibility.rule.and_then(|id| rules.rules.get(id));
        (eligibility.value, rule.map(|rule| rule.name.as_str()))
    };
    for (path, value, rule) in [
        ("/", Eligibility::Eligible, None),
        ("/api/x", Eligibility::Bypass, Some("bypass_private: API")),
        ("/api/status", Eligibility::Eligible, Some("own")),
        (
            "/app.3f2a9c1b.js",
            Eligibility::Eligible,
            Some("hashed_assets: hexadecimal hash"),
        ),
    ] {
        assert_eq!(deciding(path), (value, rule), "{path}");
    }
    let own = rules.rules.rules().last().unwrap();
    assert_eq!((&*own.source.file, own.source.line), ("test.toml", 8));
    assert_eq!(
        &*rules.rules.rules()[0].source.file,
        "preset bypass_private"
    );
}

#[test]
fn the_presets_order_is_the_zones() {
    let cached_for = |presets: &str| {
        let config = good(&site(&format!("presets = {presets}")));
        settings_for(&config, "/app.3f2a9c1b.js", true)
            .eligibility
            .value
    };
    assert_eq!(
        cached_for("[\"bypass_private\", \"hashed_assets\"]"),
        Eligibility::Eligible
    );
    assert_eq!(
        cached_for("[\"hashed_assets\", \"bypass_private\"]"),
        Eligibility::Bypass
    );
}

#[test]
fn later_rules_win_setting_by_setting() {
    let config = good(&site(
        "[[zones.shop.cache_rules]]\n\
         expression = 'true'\n\
         browser_ttl = \"60s\"\n\
         serve_stale = { while_revalidating = \"30s\", if_error = \"1h\" }\n\
         [[zones.shop.cache_rules]]\n\
         expression = 'http.request.uri.path wildcard \"/news/*\"'\n\
         browser_ttl = { default = \"1 year\", immutable = true }\n\
         serve_stale = { if_error = \"1 day\" }\n\
         [[zones.shop.cache_rules]]\n\
         enabled = false\n\
         expression = 'true'\n\
         browser_ttl = \"bypass\"",
    ));
    let for_seconds = |seconds, immutable| BrowserTtl::Override {
        ttl: Duration::from_secs(seconds),
        immutable,
    };
    assert_eq!(
        settings(&config, "/").browser_ttl.value,
        for_seconds(60, false)
    );
    let news = settings(&config, "/news/1");
    assert_eq!(news.browser_ttl.value, for_seconds(31_536_000, true));
    assert_eq!(
        news.serve_stale.value,
        StaleWindows {
            while_revalidating: Some(Duration::from_secs(30)),
            if_error: Some(Duration::from_hours(24)),
            ..StaleWindows::default()
        }
    );
}

#[test]
fn edge_ttls_read_in_each_form() {
    for (text, mode, default) in [
        ("\"respect_origin\"", EdgeTtlMode::RespectOrigin, None),
        ("\"bypass_by_default\"", EdgeTtlMode::BypassByDefault, None),
        (
            "{ default = \"60s\" }",
            EdgeTtlMode::OverrideOrigin,
            Some(60),
        ),
        (
            "{ mode = \"respect_origin\", default = \"60s\" }",
            EdgeTtlMode::RespectOrigin,
            Some(60),
        ),
        (
            "{ status = { \"404\" = \"5s\" } }",
            EdgeTtlMode::RespectOrigin,
            None,
        ),
    ] {
        let config = good(&site(&format!(
            "cache_rules = [{{ expression = 'true', edge_ttl = {text} }}]"
        )));
        let edge_ttl = settings(&config, "/").edge_ttl.value;
        assert_eq!(edge_ttl.mode, mode, "{text}");
        assert_eq!(edge_ttl.default, default.map(Duration::from_secs), "{text}");
    }
}

#[test]
fn status_lifetimes_take_durations_and_words() {
    let config = good(&site(
        "cache_rules = [{ expression = 'true', edge_ttl.status = { \
         \"301\" = \"1h\", \"302\" = \"no-cache\", \"500-599\" = \"no-store\" } }]",
    ));
    let status = |from, to, ttl| StatusTtl { from, to, ttl };
    assert_eq!(
        settings(&config, "/").edge_ttl.value.status,
        [
            status(301, 301, TtlValue::For(Duration::from_hours(1))),
            status(302, 302, TtlValue::For(Duration::ZERO)),
            status(500, 599, TtlValue::NoStore),
        ]
    );
}

#[test]
fn one_status_comes_before_a_range_that_contains_it() {
    // `cache::freshness` takes the first that contains the status.
    let config = good(&site(
        "cache_rules = [{ expression = 'true', edge_ttl.status = { \
         \"404\" = \"5s\", \"400-599\" = \"no-store\" } }]",
    ));
    let status = &settings(&config, "/").edge_ttl.value.status;
    let first = status
        .iter()
        .find(|range| (range.from..=range.to).contains(&404));
    assert_eq!(
        first.map(|range| range.ttl),
        Some(TtlValue::For(Duration::from_secs(5)))
    );
}

#[test]
fn session_cookies_are_the_frameworks_the_presets_and_the_zones() {
    let config = good(&site("session_cookies = [\"shop_sid\", \"tenant_*\"]"));
    let cookies = &config.zones[0].session_cookies;
    for (name, expected) in [
        ("sessionid", true),
        ("shop_sid", true),
        ("__Host-shop_sid", true),
        ("tenant_7", true),
        ("theme", false),
    ] {
        assert_eq!(cookies.contains(name.as_bytes()), expected, "{name}");
    }
}

/// The settings of a zone whose only rule matches everything and says `rule`.
fn ruled(rule: &str) -> CacheSettings {
    let config = good(&site(&format!(
        "cache_rules = [{{ expression = 'true', {rule} }}]"
    )));
    settings(&config, "/")
}

#[test]
fn the_settings_of_the_engine_are_read() {
    let settings = ruled(
        "request_cache_control = \"respect\", cache_client_errors = true, cache_post = true, \
         pass_cache_tags = true, origin_range_requests = true, early_revalidation = \"2s\", serve_stale = { with_s_maxage = false }",
    );
    assert_eq!(
        settings.request_cache_control.value,
        RequestCacheControl::Respect
    );
    assert!(settings.cache_client_errors.value);
    assert!(settings.cache_post.value);
    assert!(settings.pass_cache_tags.value);
    assert!(settings.origin_range_requests.value);
    assert_eq!(settings.early_revalidation.value, Duration::from_secs(2));
    assert_eq!(settings.serve_stale.value.with_s_maxage, Some(false));
}

#[test]
fn a_heuristic_has_its_defaults_and_leaves_the_mode() {
    for (text, percent, longest) in [
        ("{}", 10, Duration::from_hours(24)),
        ("{ percent = 50 }", 50, Duration::from_hours(24)),
        (
            "{ percent = 100, longest = \"1h\" }",
            100,
            Duration::from_hours(1),
        ),
    ] {
        let edge_ttl = ruled(&format!("edge_ttl = {{ heuristic = {text} }}")).edge_ttl;
        assert_eq!(edge_ttl.value.mode, EdgeTtlMode::RespectOrigin, "{text}");
        assert_eq!(
            edge_ttl.value.heuristic,
            Some(Heuristic { percent, longest })
        );
    }
}

#[test]
fn keys_are_read_in_one_form() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    for (text, expected) in [
        ("{}", KeySettings::default()),
        ("{ query = \"all\" }", KeySettings::default()),
        (
            "{ query = \"none\", device = true }",
            KeySettings {
                query: QueryKey::None,
                device: true,
                ..KeySettings::default()
            },
        ),
        (
            "{ query = { include = [\"q\", \"a[]\", \"q\"] }, sort_query = true }",
            KeySettings {
                query: QueryKey::Include(names(&["a[]", "q"])),
                sort_query: true,
                ..KeySettings::default()
            },
        ),
        (
            "{ query = { exclude = \"utm_*\" } }",
            KeySettings {
                query: QueryKey::Exclude(names(&["utm_*"])),
                ..KeySettings::default()
            },
        ),
        (
            "{ header_contains = { X-Foo = \"b\", Accept = [\"image/webp\", \"IMAGE/webp\", \"a\"] }, \
             host = \"resolved\", country = true }",
            KeySettings {
                header_contains: vec![
                    ("accept".to_owned(), names(&["image/webp", "a"])),
                    ("x-foo".to_owned(), names(&["b"])),
                ],
                host: HostKey::Resolved,
                country: true,
                ..KeySettings::default()
            },
        ),
        (
            "{ headers = [\"X-Foo\", \"Accept\"], header_presence = \"X-Bar\", \
             cookies = [\"Theme\"], cookie_presence = [\"b\", \"a\"] }",
            KeySettings {
                headers: names(&["accept", "x-foo"]),
                header_presence: names(&["x-bar"]),
                cookies: names(&["Theme"]),
                cookie_presence: names(&["a", "b"]),
                ..KeySettings::default()
            },
        ),
    ] {
        assert_eq!(
            *ruled(&format!("key = {text}")).key.value,
            expected,
            "{text}"
        );
    }
}

#[test]
fn fields_that_vary_have_a_word_or_a_list() {
    let list = |choices: &[&str]| {
        VaryForm::Best(choices.iter().map(|choice| (*choice).to_owned()).collect())
    };
    for (name, text, expected) in [
        ("accept-language", "\"pass_through\"", VaryForm::PassThrough),
        ("Accept-Language", "\"normalize\"", VaryForm::Normalize),
        (
            "accept-language",
            "[\"en\", \"pt-BR\", \"EN\"]",
            list(&["en", "pt-BR"]),
        ),
        (
            "accept",
            "[\"text/html\", \"image/avif\"]",
            list(&["text/html", "image/avif"]),
        ),
        ("accept", "\"normalize\"", VaryForm::Normalize),
        ("accept-encoding", "\"bypass\"", VaryForm::Bypass),
        ("user-agent", "\"bypass\"", VaryForm::Bypass),
        ("X-Tenant", "\"normalize\"", VaryForm::Normalize),
    ] {
        let vary = ruled(&format!("vary = {{ {name} = {text} }}")).vary.value;
        let name: http::HeaderName = name.parse().unwrap();
        assert_eq!(vary.fields, [(name, expected)], "{text}");
        assert!(!vary.bypass_others);
    }
    let vary = ruled("vary = { user-agent = \"pass_through\", default = \"bypass\" }").vary;
    assert!(vary.value.bypass_others);
}

#[test]
fn the_lesser_settings_of_a_rule_are_read() {
    let settings = ruled(
        "min_uses = 3, tags = [\"Shop\", \"catalog\", \"shop\"], read_timeout = \"20s\", \
         cache_deception_armor = false, origin_error_page_pass_through = true",
    );
    assert_eq!(settings.min_uses.value, 3);
    assert_eq!(settings.tags.value.join(" "), "catalog shop");
    assert_eq!(
        settings.read_timeout.value,
        ReadTimeout::After(Duration::from_secs(20))
    );
    assert!(!settings.cache_deception_armor.value);
    assert!(settings.origin_error_page_pass_through.value);
}

#[test]
fn compression_is_a_switch_or_a_list_of_codings() {
    for (text, expected) in [
        ("min_uses = 1", "zstd, br, gzip"),
        ("compression = true", "zstd, br, gzip"),
        ("compression = false", "false"),
        ("compression = []", "false"),
        ("compression = \"gzip\"", "gzip"),
        ("compression = [\"gzip\", \"zstd\"]", "zstd, gzip"),
    ] {
        let told = ruled(text).describe();
        let words = told.iter().find(|(key, ..)| *key == "compression");
        assert_eq!(words.unwrap().1, expected, "{text}");
    }
}

#[test]
fn purging_takes_its_token_from_the_environment_and_shows_it_nowhere() {
    let source = format!(
        "{}\n[cache]\ndebug_token = \"${{TOKEN}}\"\n[purge]\ntoken = \"${{TOKEN}}\"",
        site("merge_slashes = true")
    );
    let env = |_: &str| Some("not-to-be-seen-by-anyone".to_owned());
    let config = parse("test.toml", &source, &env).unwrap();
    let purge = config.purge.as_ref().unwrap();
    assert!(purge.token.matches(b"not-to-be-seen-by-anyone"));
    assert!(config.cache.debug_token.is_some());
    assert!(config.zones[0].merge_slashes);
    let allow: Vec<String> = purge.allow.iter().map(ToString::to_string).collect();
    assert_eq!(allow, ["127.0.0.0/8", "::1/128"]);
    assert_eq!(purge.rate, 60);
    assert!(!format!("{config:?}").contains("not-to-be-seen"));
}

#[test]
fn purging_is_allowed_from_addresses_and_networks() {
    let config = good(&format!(
        "{}\n[purge]\ntoken = \"0123456789abcdef\"\nallow = [\"10.1.2.3/8\", \"::1\"]\nrate = 5",
        site("")
    ));
    let purge = config.purge.unwrap();
    let allow: Vec<String> = purge.allow.iter().map(ToString::to_string).collect();
    assert_eq!(allow, ["10.0.0.0/8", "::1/128"]);
    assert_eq!(purge.rate, 5);
}

#[test]
fn a_token_is_not_repeated_by_its_faults() {
    let source = format!("{}\n[purge]\ntoken = \"secret\"", site(""));
    let faults = parse_bare(&source).unwrap_err();
    assert!(!faults.to_string().contains("secret"), "{faults}");
}
