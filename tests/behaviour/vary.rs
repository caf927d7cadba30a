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

/// An origin that shows a field of the request and varies by it, behind a rule with this `vary`.
async fn varying(name: &'static str, vary: &str) -> (Origin, Seawall) {
    let origin = Origin::start(move |request| {
        Reply::fresh(request.all(name).join(" | ")).field(format!("Vary: {name}"))
    });
    let seawall = Setup::before([&origin])
        .rule("varying", "*", &format!("vary = {vary}"))
        .start()
        .await;
    (origin, seawall)
}

#[tokio::test]
async fn the_best_of_the_listed_types_stands_for_accept() {
    let vary = r#"{ accept = ["image/jpeg", "image/avif", "image/webp"] }"#;
    let (_origin, seawall) = varying("accept", vary).await;
    for (accept, best, word) in [
        (
            "Accept: image/avif,image/webp,image/apng,*/*;q=0.8",
            "image/avif",
            "MISS",
        ),
        ("Accept: image/avif, evil/type", "image/avif", "HIT"),
        ("Accept: image/webp,*/*", "image/webp", "MISS"),
        ("Accept: */*", "image/jpeg", "MISS"),
        ("Accept: text/html", "image/jpeg", "HIT"),
        ("X-Other: none", "image/jpeg", "HIT"),
    ] {
        let response = seawall.get("/p", &[accept]).await;
        let got = (response.text(), response.cache());
        assert_eq!(got, (best, word), "{accept}");
    }
}

#[tokio::test]
async fn normalized_fields_reach_the_origin_in_the_form_in_which_they_count() {
    for (name, steps) in [
        (
            "accept",
            [
                ("Text/HTML, */*;q=0.80", "text/html,*/*;q=0.8", "MISS"),
                ("*/*;q=0.8,text/html", "text/html,*/*;q=0.8", "HIT"),
            ],
        ),
        (
            "x-features",
            [("B, a ,b", "a,b", "MISS"), ("a,B", "a,b", "HIT")],
        ),
        (
            "accept-language",
            [
                ("DE, en;q=0.50", "de,en;q=0.5", "MISS"),
                ("en;q=0.5, de", "de,en;q=0.5", "HIT"),
            ],
        ),
    ] {
        let vary = format!("{{ {name} = \"normalize\" }}");
        let (_origin, seawall) = varying(name, &vary).await;
        for (sent, received, word) in steps {
            let response = seawall.get("/p", &[&format!("{name}: {sent}")]).await;
            let got = (response.text(), response.cache());
            assert_eq!(got, (received, word), "{name}: {sent}");
        }
    }
}

#[tokio::test]
async fn codings_that_pass_reach_the_origin_as_they_are_sent() {
    let vary = r#"{ accept-encoding = "pass_through" }"#;
    let (_origin, seawall) = varying("accept-encoding", vary).await;
    for (sent, word) in [
        ("gzip;q=0.5", "MISS"),
        ("gzip", "MISS"),
        ("gzip;q=0.5", "HIT"),
    ] {
        let response = seawall
            .get("/p", &[&format!("Accept-Encoding: {sent}")])
            .await;
        assert_eq!((response.text(), response.cache()), (sent, word));
    }
}

#[tokio::test]
async fn what_varies_by_a_bypassed_field_is_not_stored() {
    for (name, vary, word) in [
        ("user-agent", r#"{ user-agent = "bypass" }"#, "BYPASS"),
        ("x-other", r#"{ user-agent = "bypass" }"#, "HIT"),
        ("x-other", r#"{ default = "bypass" }"#, "BYPASS"),
        ("accept-encoding", r#"{ default = "bypass" }"#, "HIT"),
        (
            "accept-encoding",
            r#"{ accept-encoding = "bypass" }"#,
            "BYPASS",
        ),
        (
            "x-other",
            r#"{ default = "bypass", x-other = "pass_through" }"#,
            "HIT",
        ),
    ] {
        let (_origin, seawall) = varying(name, vary).await;
        seawall.get("/p", &[]).await;
        let response = seawall.get("/p", &[]).await;
        assert_eq!(response.cache(), word, "{name} {vary}");
        let bypassed = response
            .cache_status()
            .contains("detail=vary-bypass:rule-0");
        assert_eq!(bypassed, word == "BYPASS", "{name} {vary}");
    }
}

#[tokio::test]
async fn the_answer_to_a_post_is_asked_for_in_the_form_in_which_it_counts() {
    let origin = Origin::start(|request| {
        let language = request.field("accept-language").unwrap_or("none");
        Reply::fresh(format!("in {language}"))
            .field("Content-Location: /p")
            .field("Vary: Accept-Language")
    });
    let seawall = Setup::before([&origin])
        .rule(
            "posted",
            "*",
            "cache_post = true\nvary = { accept-language = [\"en\", \"de\"] }",
        )
        .start()
        .await;
    let french = &["Accept-Language: fr"];
    let posted = seawall.send("POST", "/p", french, "x").await;
    assert_eq!(posted.text(), "in en");
    let response = seawall.get("/p", &["Accept-Language: en"]).await;
    assert_eq!((response.text(), response.cache()), ("in en", "HIT"));
}
