//! Names and passwords, tokens of others, signed URLs.

#![allow(
    clippy::disallowed_methods,
    reason = "tokens and signatures are of now"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header, encode};
use ring::hmac;
use serde_json::{Value, json};

use crate::support::{Origin, Reply, Setup, eventually};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

fn rule(expression: &str, rest: &str) -> String {
    format!("[[zones.site.access_rules]]\nname = \"gate\"\nexpression = '{expression}'\n{rest}\n")
}

fn basic(text: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(text))
}

fn token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
    encode(&Header::default(), claims, &key).unwrap()
}

#[tokio::test]
async fn who_knows_the_password_shares_the_cache_and_the_origin_does_not_hear_of_it() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let hash = bcrypt::hash("open sesame", 4).unwrap();
    let seawall = Setup::before([&origin])
        .file("users", &format!("# staging\njane:{hash}\n"))
        .rule("pages", "/*", "cache = \"eligible\"")
        .zone(&rule(
            "true",
            "require = \"basic\"\nrealm = \"Staging\"\nusers_file = \"users\"",
        ))
        .start()
        .await;
    let asked = seawall.get("/a", &[]).await;
    assert_eq!(asked.status, 401);
    assert_eq!(
        asked.field("www-authenticate"),
        Some(r#"Basic realm="Staging", charset="UTF-8""#)
    );
    assert_eq!(asked.cache_status(), "detail=unauthorized");
    for wrong in ["jane:wrong", "joe:open sesame", "jane:"] {
        // The second time it is remembered.
        for _ in 0..2 {
            assert_eq!(seawall.get("/a", &[&basic(wrong)]).await.status, 401);
        }
    }
    assert_eq!(origin.requests().len(), 0);
    let right = basic("jane:open sesame");
    for word in ["MISS", "HIT", "HIT"] {
        let answer = seawall.get("/a", &[&right]).await;
        assert_eq!((answer.status, answer.cache()), (200, word));
    }
    assert_eq!(origin.last().field("authorization"), None);
    assert_eq!(seawall.get("/a", &[]).await.status, 401);
    assert_eq!(seawall.send("POST", "/a", &[&right], "x").await.status, 200);
    assert_eq!(seawall.send("POST", "/a", &[], "x").await.status, 401);
}

#[tokio::test]
async fn of_two_rules_that_ask_for_a_password_both_must_be_satisfied() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let hash = |password| bcrypt::hash(password, 4).unwrap();
    let (jane, root) = (hash("jane's"), hash("root's"));
    let seawall = Setup::before([&origin])
        .rule("pages", "/*", "cache = \"eligible\"")
        .zone(&rule(
            r#"starts_with(http.request.uri.path, "/admin")"#,
            &format!("require = \"basic\"\nusers = ['root:{root}']"),
        ))
        .zone(&rule(
            "true",
            &format!("require = \"basic\"\nusers = ['jane:{jane}', 'root:{root}']"),
        ))
        .start()
        .await;
    let (jane, root) = (basic("jane:jane's"), basic("root:root's"));
    // Twice: before and after it is known who is right.
    for _ in 0..2 {
        for (target, who, status) in [
            ("/a", &jane, 200),
            ("/admin", &jane, 401),
            ("/admin", &root, 200),
            ("/a", &root, 200),
        ] {
            let answer = seawall.get(target, &[who]).await;
            assert_eq!(answer.status, status, "{target} {who}");
        }
    }
}

#[tokio::test]
async fn many_wrong_passwords_at_once_hold_up_nobody_who_has_shown_the_right_one() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let hash = bcrypt::hash("right", 10).unwrap();
    let seawall = Setup::before([&origin])
        .rule("pages", "/*", "cache = \"eligible\"")
        .zone(&rule(
            "true",
            &format!("require = \"basic\"\nusers = ['jane:{hash}']"),
        ))
        .start()
        .await;
    let right = basic("jane:right");
    assert_eq!(seawall.get("/a", &[&right]).await.status, 200);
    let mut clients = Vec::new();
    for number in 0..100 {
        let mut client = seawall.connect().await;
        let wrong = basic(&format!("jane:{number}"));
        client.request("GET", "/a", &[&wrong]).await;
        clients.push(client);
    }
    let begun = tokio::time::Instant::now();
    assert_eq!(seawall.get("/a", &[&right]).await.cache(), "HIT");
    let after = begun.elapsed();
    let mut statuses = Vec::new();
    for client in &mut clients {
        statuses.push(client.response().await.status);
    }
    assert!(after.as_millis() < 1000, "{after:?}");
    assert!(statuses.iter().all(|status| [401, 503].contains(status)));
    assert!(statuses.contains(&401));
}

#[tokio::test]
async fn a_token_lets_in_until_it_expires_and_rules_may_ask_for_its_claims() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let seawall = Setup::before([&origin])
        .top(&format!(
            "[[jwt]]\nname = \"app\"\nsecret = \"{SECRET}\"\nissuer = \"https://id.test\"\naudience = \"shop\"\n"
        ))
        .zone(&rule(
            r#"starts_with(http.request.uri.path, "/api/")"#,
            "require = \"jwt\"\njwt = \"app\"",
        ))
        .zone(
            "[[zones.site.custom_rules]]\nname = \"admins\"\naction = \"block\"\n\
             expression = 'http.request.uri.path eq \"/api/admin\" and \
             jwt_claim(\"app\", \"role\") ne \"admin\"'",
        )
        .start()
        .await;
    let claims = |role: &str, ttl: i64| {
        let exp = i64::try_from(now()).unwrap() + ttl;
        json!({"iss": "https://id.test", "aud": "shop", "exp": exp, "role": role})
    };
    let bearer = |token: String| format!("Authorization: Bearer {token}");
    let user = bearer(token(&claims("user", 600)));
    let admin = bearer(token(&claims("admin", 600)));
    let late = bearer(token(&claims("admin", -600)));
    let missing = seawall.get("/api/x", &[]).await;
    assert_eq!(missing.status, 401);
    assert_eq!(missing.field("www-authenticate"), Some("Bearer"));
    for (target, field, status) in [
        ("/api/x", &user, 200),
        ("/api/x", &late, 401),
        ("/api/x", &format!("{user}x"), 401),
        ("/api/admin", &user, 403),
        ("/api/admin", &admin, 200),
        ("/api/admin", &late, 403),
        ("/page", &late, 200),
    ] {
        let answer = seawall.get(target, &[field]).await;
        assert_eq!(answer.status, status, "{target} {field}");
    }
    // The application wants to know who it is.
    let passed = seawall.get("/api/x", &[&user]).await;
    assert_eq!(passed.cache(), "BYPASS");
    assert!(origin.last().field("authorization").is_some());
}

#[tokio::test]
async fn keys_are_fetched_and_survive_a_reload_and_a_server_that_is_away() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let key = URL_SAFE_NO_PAD.encode(SECRET);
    let keys = json!({"keys": [
        {"kty": "oct", "kid": "1", "k": key},
        {"kty": "EC", "crv": "P-256", "kid": "2", "use": "sig",
         "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
         "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}
    ]});
    let keys = keys.to_string();
    let mut server = Origin::start(move |_| Reply::ok(&keys));
    let url = format!("http://{}/keys", server.address);
    let seawall = Setup::before([&origin])
        .top(&format!("[[jwt]]\nname = \"app\"\njwks_url = \"{url}\"\n"))
        .zone(&rule("true", "require = \"jwt\"\njwt = \"app\""))
        .start()
        .await;
    eventually("the keys to be fetched", async || {
        !server.requests().is_empty()
    })
    .await;
    // A set from elsewhere has no secrets that tokens may be signed with.
    let forged = token(&json!({"exp": now() + 600}));
    let forged = format!("Authorization: Bearer {forged}");
    assert_eq!(seawall.get("/a", &[&forged]).await.status, 401);
    server.stop().await;
    seawall.reconfigure(|setup| setup.rule("more", "/more", "cache = \"eligible\""));
    eventually("the reload", async || {
        let reloads = "seawall_config_reloads_total{result=\"success\"}";
        seawall.metric(reloads).await > 0.5
    })
    .await;
    assert_eq!(seawall.get("/a", &[&forged]).await.status, 401);
    assert!(!seawall.stderr().contains("were not fetched"));
}

#[tokio::test]
async fn a_signed_url_is_let_in_cached_without_its_signature_and_not_for_long() {
    let origin = Origin::start(|_| Reply::fresh("film"));
    let seawall = Setup::before([&origin])
        .rule("media", "/media/*", "cache = \"eligible\"")
        .zone(&rule(
            r#"starts_with(http.request.uri.path, "/media/")"#,
            &format!("require = \"signed_url\"\nsecrets = [\"{SECRET}\"]\nvalid_for = \"1h\""),
        ))
        .start()
        .await;
    let signed = |target: &str, time: u64| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let tag = hmac::sign(&key, format!("{target}{time}").as_bytes());
        let joint = if target.contains('?') { '&' } else { '?' };
        format!(
            "{target}{joint}verify={time}-{}",
            URL_SAFE_NO_PAD.encode(tag)
        )
    };
    for target in ["/media/a", "/media/a?w=100"] {
        for (time, word) in [(now(), "MISS"), (now() - 5, "HIT")] {
            let answer = seawall.get(&signed(target, time), &[]).await;
            assert_eq!((answer.status, answer.cache()), (200, word));
        }
        assert_eq!(origin.last().target, target);
    }
    // What is signed is the path and then the time, with nothing between them.
    let moved = signed("/media/10", now()).replace("10?verify=", "1?verify=0");
    let other = signed("/media/a", now()).replace("/media/a", "/media/b");
    for refused in [
        "/media/a".to_owned(),
        signed("/media/a", now() - 4000),
        signed("/media/a", now() + 4000),
        format!("{}&x=1", signed("/media/a", now())),
        other,
        moved,
        // What an origin may take for it.
        "//media/a".to_owned(),
        "/%2Fmedia/a".to_owned(),
        "/media;x/a".to_owned(),
        "/media%2Fa".to_owned(),
    ] {
        assert_eq!(seawall.get(&refused, &[]).await.status, 403, "{refused}");
    }
}
