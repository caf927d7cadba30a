use super::*;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::cache::eligibility::{BypassReason, RequestDecision, eligibility};
use crate::cache::settings::{CacheSettings, EdgeTtlMode, QueryKey};
use crate::request::{Facts, RequestView, Scheme};
use crate::rules::CacheRuleset;
use crate::zone::SessionCookies;

/// A zone with these presets and nothing else.
struct Zone {
    rules: CacheRuleset,
    cookies: SessionCookies,
}

impl Zone {
    fn with(presets: &[&str]) -> Self {
        let read = presets
            .iter()
            .map(|name| Preset::named(name).unwrap().rules().unwrap());
        let (mut rules, mut cookies) = (Vec::new(), Vec::new());
        for preset in read {
            rules.extend(preset.phases.cache_rules);
            cookies.extend(preset.session_cookies);
        }
        Self {
            rules: CacheRuleset::new(rules, 1 << 20),
            cookies: SessionCookies::with_own(cookies.iter().map(String::as_str)).unwrap(),
        }
    }

    /// What is decided about a GET of `target` with these header lines.
    fn get(&self, target: &str, lines: &[&str]) -> (CacheSettings, RequestDecision) {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let session_cookie = headers.get_all("cookie").iter().any(|value| {
            let names = value.to_str().unwrap().split("; ");
            names
                .filter_map(|pair| pair.split('=').next())
                .any(|name| self.cookies.contains(name.as_bytes()))
        });
        let request = RequestView {
            method: &Method::GET,
            scheme: Scheme::Https,
            host: "a.test",
            path,
            query,
            version: Version::HTTP_11,
            headers: &headers,
            client: std::net::Ipv4Addr::LOCALHOST.into(),
            session_cookie,
            has_body: false,
            facts: Facts::default(),
        };
        let settings = self.rules.evaluate(&request);
        let decision = eligibility(&request, &settings);
        (settings, decision)
    }

    /// In one word: `year` in the cache for a year, `lookup` as long as the origin says, a number of
    /// `seconds` where it says nothing, or why past the cache: `session`, or the rule.
    fn verdict(&self, target: &str, lines: &[&str]) -> String {
        let (settings, decision) = self.get(target, lines);
        match decision {
            RequestDecision::Bypass(BypassReason::Rule(id)) => {
                self.rules.rules.get(id).unwrap().name.clone()
            }
            RequestDecision::Bypass(BypassReason::SessionCookie(_)) => "session".to_owned(),
            RequestDecision::Bypass(reason) => reason.as_str().to_owned(),
            RequestDecision::Lookup => {
                let ttl = settings.edge_ttl.value;
                match (ttl.mode, ttl.default.map(|ttl| ttl.as_secs())) {
                    (EdgeTtlMode::OverrideOrigin, Some(31_536_000)) => "year".to_owned(),
                    (EdgeTtlMode::RespectOrigin, Some(seconds)) => seconds.to_string(),
                    (EdgeTtlMode::RespectOrigin, None) => "lookup".to_owned(),
                    other => panic!("{target}: {other:?}"),
                }
            }
        }
    }

    fn check(&self, cases: &[(&str, &[&str], &str)]) {
        for (target, lines, verdict) in cases {
            assert_eq!(self.verdict(target, lines), *verdict, "{target} {lines:?}");
        }
    }
}

#[test]
fn every_preset_reads_without_a_fault() {
    for preset in PRESETS {
        let rules = preset.rules().unwrap_or_else(|faults| panic!("{faults}"));
        assert!(!rules.phases.cache_rules.is_empty(), "{}", preset.name);
    }
}

/// Whatever a preset ignores a session cookie for is a file that is the same for everybody.
#[test]
fn no_preset_lets_pages_with_a_session_into_the_cache() {
    for preset in PRESETS {
        let zone = Zone::with(&[preset.name]);
        for page in [
            "/",
            "/account",
            "/a/b.html",
            "/orders/1?page=2",
            "/x.json",
            "/feed/",
        ] {
            for cookie in ["Cookie: theme=dark; sessionid=1", "Cookie: my_session=1"] {
                assert!(
                    matches!(zone.get(page, &[cookie]).1, RequestDecision::Bypass(_)),
                    "{}: {page} {cookie}",
                    preset.name
                );
            }
        }
    }
}

/// Names seen in the wild, and names that look like them.
#[test]
fn hashed_assets_knows_a_hash_when_it_sees_one() {
    let zone = Zone::with(&["hashed_assets"]);
    for hashed in [
        "/static/js/main.3f2a9c1b.js",
        "/static/js/2.0d1e5f7a.chunk.js",
        "/static/media/logo.6ce24c58023cc2f8fd88fe9d219db6c6.svg",
        "/static/admin/css/base.55e7cbb9ba48.css",
        "/assets/application-9b5e0c1d2f3a4b5c6d7e8f901234567890abcdef1234567890abcdef12345678.css",
        "/assets/application-9b5e0c1d.js",
        "/assets/index-BxY12abc.js",
        "/build/assets/app-DkT3_fQ1.css",
        "/_astro/hoisted.BxY12abc.js",
        "/_next/static/chunks/main-app.js",
        "/_nuxt/entry.js",
        "/_app/immutable/nodes/0.js",
        "/main-5YLRA3V4.js",
        "/chunk-EQDQRRRY.js",
        "/styles-5INURTSO.css",
        "/js/app.js?id=0c6f1b2a3d4e5f607182",
    ] {
        assert_eq!(zone.verdict(hashed, &[]), "year", "{hashed}");
    }
    for plain in [
        "/static/js/main.js",
        "/static/report-20240101.js",
        "/static/css/facade-deadbeef.css",
        "/api/me/x.3f2a9c1b.css",
        "/account/json/x.3f2a9c1b.js",
        "/media/user-0a1b2c3d.jpg",
        "/static/550e8400-e29b-41d4-a716-44665544abcd.jpg",
        "/_nuxt/builds/latest.json",
        "/_app/immutable/me",
        "/assets/app-homePage.js",
        "/assets/app-userList.js",
        "/assets/bootstrap-v5-theme.css",
        "/assets/site-2024-new.css",
        "/assets/core-es2022ab.js",
        "/assets/app-release1.js",
        "/assets/intl-pt_BR_br.js",
        "/assets/messages-zh_Hans1.js",
        "/assets/lib-Chart412.js",
        "/assets/x-MyPage01.css",
        "/assets/photo-IMG_0042.jpg",
        "/assets/index-MainPage.js",
        "/json/me.css?id=0c6f1b2a3d4e5f607182",
        "/main-20240101.js",
    ] {
        assert_eq!(zone.verdict(plain, &[]), "lookup", "{plain}");
    }
}

#[test]
fn nextjs_keeps_what_is_for_everybody_alone() {
    Zone::with(&["nextjs"]).check(&[
        ("/", &[], "lookup"),
        ("/products/7?_rsc=1x2y", &["RSC: 1"], "lookup"),
        (
            "/_next/data/build/index.json",
            &["X-Nextjs-Data: 1"],
            "lookup",
        ),
        (
            "/_next/static/chunks/main-app.js",
            &["Cookie: sessionid=1"],
            "year",
        ),
        ("/_next/static/build/_buildManifest.js", &[], "year"),
        ("/_next/static/me", &["Cookie: sessionid=1"], "session"),
        ("/_next/image?url=%2Fa.png&w=64&q=75", &[], "lookup"),
        (
            "/_next/image?url=%2Fa.png&w=64&q=75",
            &["Cookie: sessionid=1"],
            "session",
        ),
        ("/", &["Cookie: __prerender_bypass=1"], "session"),
        ("/", &["Cookie: a=b; __next_preview_data=ey"], "session"),
        ("/", &["Next-Action: 7f"], "nextjs: server actions"),
        (
            "/",
            &["X-Now-Route-Matches: 1"],
            "nextjs: data instead of a page",
        ),
        ("/?__nextDataReq=1", &[], "nextjs: data instead of a page"),
        ("/api/auth/session", &[], "nextjs: login"),
    ]);
}

#[test]
fn nextjs_tells_a_page_from_its_data() {
    let zone = Zone::with(&["nextjs"]);
    let key = zone.get("/products/7", &[]).0.key.value;
    for field in [
        "rsc",
        "next-router-prefetch",
        "next-router-segment-prefetch",
        "next-router-state-tree",
    ] {
        assert!(key.headers.iter().any(|known| known == field), "{field}");
    }
    assert_eq!(key.header_presence, ["x-nextjs-data"]);
    assert_eq!(
        zone.get("/_next/image", &[]).0.key.value.headers,
        ["accept"]
    );
    assert_eq!(
        zone.get("/", &[]).0.serve_stale.value.with_s_maxage,
        Some(true)
    );
}

#[test]
fn rails_keeps_what_is_for_everybody_alone() {
    let zone = Zone::with(&["rails"]);
    zone.check(&[
        ("/", &[], "lookup"),
        ("/posts/7", &["Turbo-Frame: comments"], "lookup"),
        ("/", &["Cookie: _shop_session=1"], "session"),
        ("/", &["Cookie: session_id=1"], "session"),
        ("/", &["Cookie: remember_user_token=1"], "session"),
        ("/session/new", &[], "rails: accounts"),
        ("/users/sign_in", &[], "rails: accounts"),
        ("/sessionless", &[], "lookup"),
        ("/cable", &[], "rails: Action Cable, mail, Active Storage"),
        (
            "/rails/active_storage/blobs/redirect/x/a.png",
            &[],
            "rails: Action Cable, mail, Active Storage",
        ),
        (
            "/rails/active_storage/disk/x/a.png",
            &[],
            "rails: Action Cable, mail, Active Storage",
        ),
        ("/rails/active_storage/blobs/proxy/x/a.png", &[], "lookup"),
        (
            "/rails/active_storage/blobs/proxy/x/a.png",
            &["Cookie: _a_session=1"],
            "session",
        ),
        (
            "/rails/conductor/action_mailbox/inbound_emails",
            &[],
            "rails: Action Cable, mail, Active Storage",
        ),
        ("/sidekiq/queues", &[], "rails: dashboards"),
        (
            "/posts/7",
            &["Accept: text/vnd.turbo-stream.html, text/html"],
            "rails: other forms of a page",
        ),
        (
            "/posts/7",
            &["Accept: application/json"],
            "rails: other forms of a page",
        ),
        (
            "/posts/7",
            &["X-Requested-With: XMLHttpRequest"],
            "rails: other forms of a page",
        ),
        (
            "/assets/app-2f1a9c0b.css",
            &["Cookie: _a_session=1"],
            "year",
        ),
        ("/assets/app-20240101.css", &[], "lookup"),
        ("/assets/app-facadeed.css", &[], "lookup"),
        ("/assets/app.css", &["Cookie: _a_session=1"], "session"),
        ("/account/app-2f1a9c0b.css", &[], "rails: accounts"),
    ]);
    assert_eq!(zone.get("/", &[]).0.key.value.headers, ["turbo-frame"]);
}

#[test]
fn laravel_keeps_what_is_for_everybody_alone() {
    Zone::with(&["laravel"]).check(&[
        ("/", &[], "lookup"),
        ("/", &["Cookie: laravel_session=1"], "session"),
        ("/", &["Cookie: my-shop-session=1"], "session"),
        ("/", &["Cookie: XSRF-TOKEN=1"], "session"),
        ("/", &["Cookie: remember_web_59ba36addc2b2f94=1"], "session"),
        ("/login", &[], "laravel: accounts"),
        ("/sanctum/csrf-cookie", &[], "laravel: accounts"),
        ("/userguide", &[], "lookup"),
        ("/horizon/api/stats", &[], "laravel: dashboards"),
        (
            "/storage/reports/7.pdf?expiration=1&signature=ab",
            &[],
            "laravel: signed URLs",
        ),
        ("/storage/logo.png", &[], "lookup"),
        ("/livewire/preview-file/a.png", &[], "laravel: Livewire"),
        (
            "/livewire-1a2b3c4d/preview-file/a.png",
            &[],
            "laravel: Livewire",
        ),
        ("/livewire/livewire.min.js?id=df3a17f2", &[], "lookup"),
        ("/livewire-1a2b3c4d/livewire.csp.min.js", &[], "lookup"),
        ("/posts", &["X-Livewire: 1"], "laravel: Livewire"),
        (
            "/posts",
            &["X-Inertia: true"],
            "laravel: other forms of a page",
        ),
        (
            "/posts",
            &["Accept: application/json"],
            "laravel: other forms of a page",
        ),
        (
            "/build/assets/app-DkT3_fQ1.css",
            &["Cookie: laravel_session=1"],
            "year",
        ),
        ("/build/manifest.json", &[], "lookup"),
    ]);
}

#[test]
fn wordpress_keeps_what_is_for_everybody_alone() {
    let (admin, shop, action) = (
        "wordpress: administration and login",
        "wordpress: cart, checkout, account",
        "wordpress: previews, searches, actions",
    );
    Zone::with(&["wordpress"]).check(&[
        ("/", &[], "lookup"),
        (
            "/2024/hello-world/",
            &["Cookie: _ga=1; wordpress_test_cookie=1"],
            "lookup",
        ),
        ("/", &["Cookie: wordpress_logged_in_1a2b=alice"], "session"),
        ("/", &["Cookie: wordpress_sec_1a2b=alice"], "session"),
        ("/", &["Cookie: wp-postpass_1a2b=x"], "session"),
        ("/", &["Cookie: comment_author_1a2b=Alice"], "session"),
        ("/", &["Cookie: comment_author_email_1a2b=a"], "session"),
        ("/", &["Cookie: woocommerce_items_in_cart=1"], "session"),
        ("/", &["Cookie: woocommerce_cart_hash=x"], "session"),
        ("/", &["Cookie: wp_woocommerce_session_1a2b=x"], "session"),
        ("/", &["Cookie: woocommerce_recently_viewed=1|2"], "session"),
        ("/wp-admin", &[], admin),
        ("/blog/wp-admin/admin-ajax.php", &[], admin),
        ("/wp-login.php", &[], admin),
        ("/WP-Login.php", &[], admin),
        ("/wp-cron.php", &[], admin),
        ("/xmlrpc.php", &[], admin),
        ("/wp-json/wp/v2/users/me", &[], admin),
        ("/cart/", &[], shop),
        ("/en/checkout/order-received/7/", &[], shop),
        ("/my-account/orders/", &[], shop),
        ("/cartoons/", &[], "lookup"),
        ("/?s=boat", &[], action),
        ("/hello/?preview=true", &[], action),
        ("/hello/?unapproved=7&moderation-hash=ab", &[], action),
        ("/?rest_route=/wp/v2/users/me", &[], action),
        ("/?wc-ajax=get_refreshed_fragments", &[], action),
        ("/shop/?add-to-cart=7", &[], action),
        ("/?p=7", &[], "lookup"),
        (
            "/wp-content/themes/a/style.css?ver=6.5",
            &["Cookie: wordpress_logged_in_1=a"],
            "86400",
        ),
        (
            "/blog/wp-includes/js/jquery/jquery.min.js?ver=3.7",
            &[],
            "86400",
        ),
        (
            "/wp-content/plugins/a/export.php",
            &["Cookie: wordpress_logged_in_1=a"],
            "session",
        ),
        ("/wp-content/uploads/2024/01/a.jpg", &[], "3600"),
        (
            "/wp-content/uploads/2024/01/a.jpg",
            &["Cookie: wordpress_logged_in_1=a"],
            "session",
        ),
        ("/wp-content/uploads/2024/01/a.pdf", &[], "lookup"),
    ]);
}

#[test]
fn static_site_keeps_pages_for_a_minute_and_files_for_longer() {
    let zone = Zone::with(&["static_site", "hashed_assets"]);
    zone.check(&[
        ("/", &[], "60"),
        ("/posts/hello", &[], "60"),
        ("/posts/hello.html?page=2", &[], "60"),
        ("/feed.xml", &[], "60"),
        ("/img/boat.webp", &[], "3600"),
        ("/app.3f2a9c1b.js", &[], "year"),
        ("/download.zip", &[], "lookup"),
        ("/", &["Cookie: nf_jwt=1"], "session"),
    ]);
    let QueryKey::Exclude(dropped) = &zone.get("/", &[]).0.key.value.query else {
        panic!("every parameter counts");
    };
    assert!(dropped.iter().any(|name| name == "utm_*"), "{dropped:?}");
    assert!(!dropped.iter().any(|name| name == "v"), "{dropped:?}");
}
