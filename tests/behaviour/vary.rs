//! Variants of one page are kept apart (RFC 9111 §4.1).

use crate::support::{Origin, Reply, Seawall, Setup};

#[tokio::test]
async fn codings_are_kept_apart_and_their_spellings_together() {
    let origin = Origin::start(|request| {
        let codings = request.field("accept-encoding").unwrap_or_default();
        let reply = if codings.contains("gzip") {
            Reply::fresh("squeezed").field("Content-Encoding: gzip")
        } else {
            Reply::fresh("plain")
        };
        reply.field("Vary: Accept-Encoding")
    });
    let seawall = Seawall::before(&origin).await;

    for (codings, body, word) in [
        (&["Accept-Encoding: gzip"][..], "squeezed", "MISS"),
        (&[], "plain", "MISS"),
        (&["Accept-Encoding: gzip"], "squeezed", "HIT"),
        (&["Accept-Encoding:  GZIP;q=1.0 "], "squeezed", "HIT"),
        (&[], "plain", "HIT"),
        (&["Accept-Encoding: gzip;q=0"], "plain", "*"),
    ] {
        let response = seawall.get("/p", codings).await;
        assert_eq!(response.text(), body, "{codings:?}");
        assert!(
            word == "*" || response.cache() == word,
            "{codings:?} {response:?}"
        );
    }
}

#[tokio::test]
async fn languages_are_kept_apart() {
    let origin = Origin::start(|request| {
        let language = request.field("accept-language").unwrap_or("none");
        Reply::fresh(format!("in {language}"))
            .field("Vary: Cookie-Consent")
            .field("Vary: Accept-Language")
    });
    let seawall = Seawall::before(&origin).await;

    for word in ["MISS", "HIT"] {
        for language in ["de", "fr"] {
            let response = seawall
                .get("/p", &[&format!("Accept-Language: {language}")])
                .await;
            assert_eq!(
                (response.text(), response.cache()),
                (&*format!("in {language}"), word)
            );
        }
    }
}

#[tokio::test]
async fn an_origin_that_starts_to_vary_is_believed() {
    let origin = Origin::start(|request| {
        let language = request
            .field("accept-language")
            .unwrap_or("none")
            .to_owned();
        match request.nth {
            0 => Reply::stale(format!("in {language}")),
            _ => Reply::fresh(format!("in {language}")).field("Vary: Accept-Language"),
        }
    });
    let seawall = Seawall::before(&origin).await;

    for language in ["de", "de", "fr", "de", "fr"] {
        let response = seawall
            .get("/p", &[&format!("Accept-Language: {language}")])
            .await;
        assert_eq!(response.text(), format!("in {language}"));
    }
}

#[tokio::test]
async fn normalized_spellings_of_languages_share_a_variant() {
    let origin = Origin::start(|request| {
        let language = request.field("accept-language").unwrap_or("none");
        Reply::fresh(format!("in {language}")).field("Vary: Accept-Language")
    });
    let seawall = Setup::before([&origin])
        .rule(
            "languages",
            "*",
            "vary = { accept-language = \"normalize\" }",
        )
        .start()
        .await;
    for (language, word) in [
        ("de-DE, de;q=0.9, en;q=0.5", "MISS"),
        ("en;q=0.50,de;q=0.900,DE-de", "HIT"),
        ("de-DE;q=1.0 , de;q=0.9,en;q=0.5", "HIT"),
        ("en, de;q=0.9", "MISS"),
    ] {
        let response = seawall
            .get("/p", &[&format!("Accept-Language: {language}")])
            .await;
        assert_eq!(response.cache(), word, "{language}: {response:?}");
    }
}

#[tokio::test]
async fn listed_languages_are_the_only_variants() {
    let origin = Origin::start(|request| {
        let language = request.field("accept-language").unwrap_or("none");
        Reply::fresh(format!("in {language}")).field("Vary: Accept-Language")
    });
    let seawall = Setup::before([&origin])
        .rule(
            "languages",
            "*",
            "vary = { accept-language = [\"en\", \"de\"] }",
        )
        .start()
        .await;
    for (languages, body, word) in [
        (&["Accept-Language: de-AT, fr;q=0.5"][..], "in de", "MISS"),
        (&["Accept-Language: fr, de;q=0.5, en;q=0.1"], "in de", "HIT"),
        (&["Accept-Language: fr"], "in en", "MISS"),
        (&[], "in en", "HIT"),
        (&["Accept-Language: en-GB"], "in en", "HIT"),
    ] {
        let response = seawall.get("/p", languages).await;
        assert_eq!(
            (response.text(), response.cache()),
            (body, word),
            "{languages:?}"
        );
    }
}
