//! What belongs to one user never meets the cache.

use crate::support::{Origin, Received, Reply, Seawall, Setup};

/// An app that shows who asks, and wrongly lets caches keep it.
fn greet(request: &Received) -> Reply {
    let who = request
        .field("cookie")
        .or_else(|| request.field("authorization"))
        .unwrap_or("nobody");
    Reply::fresh(format!("hello {who}"))
}

const CREDENTIALS: [&str; 6] = [
    "Authorization: Basic dTpw",
    "Authorization: Bearer x",
    "Cookie: sessionid=alice",
    "Cookie: theme=dark; PHPSESSID=alice",
    "Cookie: __Host-sessionid=alice",
    "Cookie: _shop_session=alice",
];

#[tokio::test]
async fn a_stored_page_is_not_served_to_somebody_with_credentials() {
    let origin = Origin::start(greet);
    let seawall = Seawall::before(&origin).await;
    assert_eq!(seawall.get("/", &[]).await.text(), "hello nobody");

    for credential in CREDENTIALS {
        let (_, value) = credential.split_once(": ").unwrap();
        let own = seawall.get("/", &[credential]).await;
        assert_eq!(
            (own.text(), own.cache()),
            (&*format!("hello {value}"), "BYPASS")
        );
    }
    assert_eq!(seawall.get("/", &[]).await.cache(), "HIT");
}

#[tokio::test]
async fn a_page_for_somebody_with_credentials_is_not_stored() {
    let origin = Origin::start(greet);
    let seawall = Seawall::before(&origin).await;

    for (nth, credential) in CREDENTIALS.iter().enumerate() {
        let target = format!("/{nth}");
        seawall.get(&target, &[credential]).await;
        let other = seawall.get(&target, &[]).await;
        assert_eq!((other.text(), other.cache()), ("hello nobody", "MISS"));
    }
}

#[tokio::test]
async fn credentials_spread_over_several_lines_count() {
    let origin = Origin::start(greet);
    let seawall = Seawall::before(&origin).await;
    seawall.get("/", &[]).await;

    let own = seawall
        .get("/", &["Cookie: a=b", "Cookie: sessionid=alice"])
        .await;
    assert_eq!(own.cache(), "BYPASS");
}

#[tokio::test]
async fn other_cookies_share_the_stored_page() {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let seawall = Seawall::before(&origin).await;
    seawall.get("/", &["Cookie: _ga=1"]).await;
    assert_eq!(
        seawall
            .get("/", &["Cookie: _ga=2; theme=dark"])
            .await
            .cache(),
        "HIT"
    );
}

#[tokio::test]
async fn a_zones_own_session_cookie_counts() {
    let origin = Origin::start(greet);
    let seawall = Setup::before([&origin])
        .zone("session_cookies = [\"shop_login\"]")
        .start()
        .await;
    seawall.get("/", &[]).await;
    let own = seawall.get("/", &["Cookie: shop_login=alice"]).await;
    assert_eq!(
        (own.text(), own.cache()),
        ("hello shop_login=alice", "BYPASS")
    );
}

#[tokio::test]
async fn with_authorization_ignored_only_what_says_so_is_shared() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/public" => greet(request).field("Cache-Control: public"),
        _ => greet(request),
    });
    let seawall = Setup::before([&origin])
        .rule("shared", "/*", "authorization = \"ignore\"")
        .start()
        .await;

    for (target, second) in [("/public", "HIT"), ("/quiet", "MISS")] {
        seawall.get(target, &["Authorization: Basic YQ=="]).await;
        let other = seawall.get(target, &[]).await;
        assert_eq!(other.cache(), second, "{target}");
    }
}
