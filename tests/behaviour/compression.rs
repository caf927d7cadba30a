//! Compression of what is stored: who gets which form, what of the origin's answer changes, and what is
//! left alone.

use std::io::Read;

use crate::support::{Origin, Received, Reply, Response, Seawall, Setup, eventually};

const HTML: &str = "Content-Type: text/html; charset=utf-8";
const CODINGS: [&str; 3] = ["zstd", "br", "gzip"];

/// A page of some kilobytes.
fn page(seed: usize) -> String {
    (0..200)
        .map(|row| format!("<tr><td>{seed}</td><td>row {}</td></tr>\n", row * seed))
        .collect()
}

/// A page with everything about its bytes that an origin can say.
fn described(_: &Received) -> Reply {
    Reply::fresh(page(7))
        .field(HTML)
        .field("ETag: \"v1\"")
        .field("Accept-Ranges: bytes")
        .field("Repr-Digest: sha-256=:AAAA:")
        .field("Content-Digest: sha-256=:AAAA:")
        .field("Content-MD5: AAAA")
}

fn accepting(codings: &str) -> String {
    format!("Accept-Encoding: {codings}")
}

fn decoded(response: &Response) -> String {
    let mut text = String::new();
    let body = &response.body[..];
    match response.field("content-encoding") {
        Some("zstd") => zstd::Decoder::new(body).unwrap().read_to_string(&mut text),
        Some("br") => brotli::Decompressor::new(body, 4096).read_to_string(&mut text),
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        _ => return response.text().to_owned(),
    }
    .unwrap();
    text
}

/// Asks for `target` until it comes in `coding`.
async fn encoded(seawall: &Seawall, target: &str, coding: &str) -> Response {
    let mut last = None;
    eventually(&format!("{target} in {coding}"), async || {
        let response = seawall.get(target, &[&accepting(coding)]).await;
        let there = response.field("content-encoding") == Some(coding);
        last = Some(response);
        there
    })
    .await;
    last.unwrap()
}

/// Jobs are done one after the other: once this is compressed, so is all that was asked for before.
async fn all_done(seawall: &Seawall, round: usize) {
    let control = format!("/control/{round}");
    seawall.get(&control, &[]).await;
    encoded(seawall, &control, "gzip").await;
}

async fn compressions(seawall: &Seawall, coding: &str, result: &str) -> f64 {
    let labels = format!("{{coding=\"{coding}\",result=\"{result}\"}}");
    seawall
        .metric(&format!("seawall_compressions_total{labels}"))
        .await
}

#[tokio::test]
async fn a_stored_page_is_served_in_each_coding_and_says_what_it_is() {
    let origin = Origin::start(described);
    let seawall = Seawall::before(&origin).await;
    for coding in CODINGS {
        let target = format!("/{coding}");
        let miss = seawall.get(&target, &[&accepting(coding)]).await;
        assert_eq!((miss.cache(), miss.text()), ("MISS", &*page(7)));
        assert_eq!(miss.all("vary"), ["Accept-Encoding"]);

        let hit = encoded(&seawall, &target, coding).await;
        assert_eq!((hit.status, hit.cache()), (200, "HIT"));
        assert!(hit.cache_status().starts_with("hit; ttl="));
        assert_eq!(decoded(&hit), page(7));
        assert!(hit.body.len() * 4 < page(7).len(), "{}", hit.body.len());
        assert_eq!(hit.all("content-length"), [hit.body.len().to_string()]);
        assert_eq!(hit.all("etag"), ["W/\"v1\""]);
        assert_eq!(hit.all("vary"), ["Accept-Encoding"]);
        for gone in [
            "accept-ranges",
            "repr-digest",
            "content-digest",
            "content-md5",
        ] {
            assert_eq!(hit.field(gone), None, "{gone}");
        }

        let plain = seawall.get(&target, &[]).await;
        assert_eq!((plain.cache(), plain.text()), ("HIT", &*page(7)));
        assert_eq!(plain.field("content-encoding"), None);
        assert_eq!(plain.all("etag"), ["\"v1\""]);
        assert_eq!(plain.all("vary"), ["Accept-Encoding"]);
        assert_eq!(plain.field("repr-digest"), Some("sha-256=:AAAA:"));
        assert_eq!(origin.count(&target), 1);
        assert_eq!(compressions(&seawall, coding, "stored").await, 1.0);
        let out =
            format!("seawall_compression_bytes_total{{coding=\"{coding}\",direction=\"out\"}}");
        let out = seawall.metric(&out).await;
        assert_eq!(out.to_string(), hit.body.len().to_string());
    }
}

#[tokio::test]
async fn nobody_gets_a_coding_that_they_do_not_accept() {
    let origin = Origin::start(described);
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    for coding in CODINGS {
        encoded(&seawall, "/p", coding).await;
    }
    for (accepted, coding) in [
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip, deflate, br", Some("br")),
        ("gzip", Some("gzip")),
        ("gzip, identity;q=0", Some("gzip")),
        ("identity;q=0", None),
        ("zstd;q=0.1, br;q=0.3, gzip;q=0.2", Some("br")),
        ("*", Some("zstd")),
        ("*, zstd;q=0", Some("br")),
        ("identity, br;q=0.5", None),
        ("deflate", None),
        ("", None),
    ] {
        let response = seawall.get("/p", &[&accepting(accepted)]).await;
        assert_eq!(response.field("content-encoding"), coding, "{accepted}");
        assert_eq!(decoded(&response), page(7), "{accepted}");
    }
    let forbids = [&*accepting("gzip"), "Cache-Control: no-transform"];
    let response = seawall.get("/p", &forbids).await;
    assert_eq!(response.text(), page(7));
    assert_eq!(origin.count("/p"), 1);
}

#[tokio::test]
async fn conditions_are_met_by_the_tag_of_either_form() {
    let origin = Origin::start(described);
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    encoded(&seawall, "/p", "br").await;
    for (accepted, own) in [("br", "W/\"v1\""), ("identity", "\"v1\"")] {
        for (tag, status) in [("\"v1\"", 304), ("W/\"v1\"", 304), ("W/\"v2\"", 200)] {
            let condition = format!("If-None-Match: {tag}");
            let response = seawall.get("/p", &[&accepting(accepted), &condition]).await;
            assert_eq!(response.status, status, "{accepted} {tag}");
            assert_eq!(response.all("etag"), [own], "{accepted} {tag}");
            assert_eq!(response.all("vary"), ["Accept-Encoding"]);
        }
    }
    assert_eq!(origin.count("/p"), 1);
}

#[tokio::test]
async fn ranges_are_of_the_page_as_the_origin_sent_it() {
    let origin = Origin::start(described);
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    encoded(&seawall, "/p", "gzip").await;
    let gzip = accepting("gzip");
    let part = seawall.get("/p", &[&gzip, "Range: bytes=4-9"]).await;
    assert_eq!((part.status, part.text()), (206, &page(7)[4..10]));
    assert_eq!(part.field("content-encoding"), None);
    assert_eq!(part.all("etag"), ["\"v1\""]);
    assert_eq!(part.all("vary"), ["Accept-Encoding"]);
    for (tag, status) in [("\"v1\"", 206), ("W/\"v1\"", 200)] {
        let condition = format!("If-Range: {tag}");
        let fields = [&*gzip, "Range: bytes=4-9", &*condition];
        let response = seawall.get("/p", &fields).await;
        assert_eq!(response.status, status, "{tag}");
        assert_eq!(response.field("content-encoding"), None, "{tag}");
    }
}

#[tokio::test]
async fn head_has_the_head_of_get() {
    let origin = Origin::start(described);
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    encoded(&seawall, "/p", "zstd").await;
    for accepted in ["zstd", "identity"] {
        let get = seawall.get("/p", &[&accepting(accepted)]).await;
        let head = seawall.head("/p", &[&accepting(accepted)]).await;
        for field in [
            "content-length",
            "content-encoding",
            "etag",
            "vary",
            "content-type",
        ] {
            assert_eq!(head.all(field), get.all(field), "{accepted} {field}");
        }
    }
}

#[tokio::test]
async fn what_is_not_for_compressing_is_left_alone() {
    let origin = Origin::start(|request| {
        let text = page(3);
        match request.target.as_str() {
            "/forbidden" => Reply::fresh(text)
                .field(HTML)
                .field("Cache-Control: no-transform"),
            "/image" => Reply::fresh(text).field("Content-Type: image/png"),
            "/events" => Reply::fresh(text).field("Content-Type: text/event-stream"),
            "/untyped" => Reply::fresh(text),
            "/small" => Reply::fresh(&text[..1023]).field(HTML),
            "/error" => Reply::status(404, text)
                .field(HTML)
                .field("Cache-Control: max-age=60"),
            "/encoded" => Reply::fresh(text)
                .field(HTML)
                .field("Content-Encoding: x-own"),
            _ => Reply::fresh(text).field(HTML),
        }
    });
    let seawall = Seawall::before(&origin).await;
    let targets = [
        "/forbidden",
        "/image",
        "/events",
        "/untyped",
        "/small",
        "/error",
        "/encoded",
    ];
    let fields = [&*accepting("gzip, br, zstd")];
    for round in [0, 1] {
        for target in targets {
            let first = seawall.get(target, &fields).await;
            let hit = seawall.get(target, &fields).await;
            for response in [first, hit] {
                let own = (target == "/encoded").then_some("x-own");
                assert_eq!(response.field("content-encoding"), own, "{target} {round}");
                assert_eq!(response.all("vary"), [""; 0], "{target} {round}");
            }
        }
        all_done(&seawall, round).await;
    }
}

#[tokio::test]
async fn what_the_origin_encodes_itself_stays_as_it_is() {
    let origin = Origin::start(|request| {
        let reply = match request.field("accept-encoding") {
            Some(codings) if codings.contains("gzip") => {
                Reply::fresh(page(1)).field("Content-Encoding: gzip")
            }
            _ => Reply::fresh(page(2)),
        };
        reply
            .field(HTML)
            .field("ETag: \"own\"")
            .field("Vary: Accept-Encoding")
    });
    let seawall = Seawall::before(&origin).await;
    let gzip = accepting("gzip, br, zstd");
    for word in ["MISS", "HIT", "HIT"] {
        let response = seawall.get("/p", &[&gzip]).await;
        assert_eq!(response.cache(), word);
        assert_eq!(response.text(), page(1));
        assert_eq!(response.all("content-encoding"), ["gzip"]);
        assert_eq!(response.all("etag"), ["\"own\""]);
        assert_eq!(response.all("vary"), ["Accept-Encoding"]);
    }
    assert_eq!(
        origin.last().field("accept-encoding"),
        Some("br,gzip,identity,zstd")
    );
    // Its other variant is one like any other.
    seawall.get("/p", &[&accepting("br")]).await;
    let other = encoded(&seawall, "/p", "br").await;
    assert_eq!(decoded(&other), page(2));
    assert_eq!(other.all("vary"), ["Accept-Encoding"]);
    assert_eq!(origin.count("/p"), 2);
}

#[tokio::test]
async fn what_does_not_become_smaller_is_tried_once() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/noise" => {
            let mut state = 1_u32;
            let noise: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .take(4096)
            .collect();
            Reply::fresh(noise).field(HTML)
        }
        _ => described(request),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/noise", &[]).await;
    for round in [0, 1] {
        seawall.get("/noise", &[&accepting("gzip")]).await;
        all_done(&seawall, round).await;
        assert_eq!(compressions(&seawall, "gzip", "not_smaller").await, 1.0);
    }
    let response = seawall.get("/noise", &[&accepting("gzip")]).await;
    assert_eq!(response.field("content-encoding"), None);
    assert_eq!(response.body.len(), 4096);
}

#[tokio::test]
async fn rules_say_in_which_codings_if_any() {
    let origin = Origin::start(described);
    let seawall = Setup::before([&origin])
        .rule("off", "/off", "compression = false")
        .rule("one", "/one", "compression = [\"br\"]")
        .start()
        .await;
    let all = accepting("gzip, br, zstd");
    for target in ["/off", "/one"] {
        seawall.get(target, &[&all]).await;
        seawall.get(target, &[&all]).await;
    }
    all_done(&seawall, 0).await;
    let off = seawall.get("/off", &[&all]).await;
    assert_eq!((off.cache(), off.text()), ("HIT", &*page(7)));
    assert_eq!(off.all("vary"), [""; 0]);
    let one = seawall.get("/one", &[&all]).await;
    assert_eq!(one.field("content-encoding"), Some("br"));
    let other = seawall.get("/one", &[&accepting("gzip")]).await;
    assert_eq!(other.field("content-encoding"), None);
    assert_eq!(other.all("vary"), ["Accept-Encoding"]);
}

#[tokio::test]
async fn a_reload_that_switches_it_off_holds_for_what_is_there() {
    let origin = Origin::start(described);
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    encoded(&seawall, "/p", "gzip").await;
    seawall.reconfigure(|setup| setup.rule("off", "*", "compression = false"));
    seawall.signal("HUP");
    eventually("the page without coding", async || {
        let response = seawall.get("/p", &[&accepting("gzip")]).await;
        assert_eq!(response.cache(), "HIT");
        response.field("content-encoding").is_none()
    })
    .await;
}

#[tokio::test]
async fn a_purge_takes_every_form_and_their_memory() {
    let origin = Origin::start(|request| {
        Reply::fresh(page(request.nth + 1))
            .field(HTML)
            .field("Cache-Tag: t")
    });
    let seawall = Setup::before([&origin]).purging().start().await;
    seawall.get("/p", &[]).await;
    let before = seawall.metric("seawall_store_bytes").await;
    let mut sizes = 0.0;
    for coding in CODINGS {
        let response = encoded(&seawall, "/p", coding).await;
        sizes += f64::from(u32::try_from(response.body.len()).unwrap());
    }
    let after = seawall.metric("seawall_store_bytes").await;
    // The fields of each form count as well.
    assert!(after - before > sizes, "{before} {after} {sizes}");
    assert!(after - before < sizes + 3000.0, "{before} {after} {sizes}");
    assert_eq!(seawall.metric("seawall_store_objects").await, 1.0);

    seawall.purge(r#"{"tags": ["t"]}"#).await;
    assert_eq!(seawall.metric("seawall_store_bytes").await, 0.0);
    for coding in CODINGS {
        let response = seawall.get("/p", &[&accepting(coding)]).await;
        assert_eq!(decoded(&response), page(2), "{coding}");
    }
    assert_eq!(decoded(&encoded(&seawall, "/p", "br").await), page(2));
}

#[tokio::test]
async fn a_304_renews_the_fields_of_every_form_and_keeps_its_bytes() {
    let origin = Origin::start(|request| match request.nth {
        0 => described(request),
        nth => Reply::not_modified()
            .field("Cache-Control: max-age=60")
            .field(format!("X-Version: {nth}")),
    });
    let seawall = Setup::before([&origin]).purging().start().await;
    seawall.get("/p", &[]).await;
    encoded(&seawall, "/p", "br").await;
    seawall
        .purge(r#"{"files": ["http://site.test/p"], "soft": true}"#)
        .await;
    for word in ["REVALIDATED", "HIT"] {
        let response = seawall.get("/p", &[&accepting("br")]).await;
        assert_eq!(response.cache(), word);
        assert_eq!(response.all("content-encoding"), ["br"], "{word}");
        assert_eq!(response.all("x-version"), ["1"], "{word}");
        assert_eq!(response.all("etag"), ["W/\"v1\""], "{word}");
        assert_eq!(response.all("vary"), ["Accept-Encoding"], "{word}");
        assert_eq!(decoded(&response), page(7), "{word}");
    }
    assert_eq!(compressions(&seawall, "br", "stored").await, 1.0);
}

#[tokio::test]
async fn a_304_that_forbids_transforming_ends_it() {
    let origin = Origin::start(|request| match request.nth {
        0 => described(request),
        _ => Reply::not_modified().field("Cache-Control: max-age=60, no-transform"),
    });
    let seawall = Setup::before([&origin]).purging().start().await;
    seawall.get("/p", &[]).await;
    encoded(&seawall, "/p", "br").await;
    seawall
        .purge(r#"{"files": ["http://site.test/p"], "soft": true}"#)
        .await;
    for word in ["REVALIDATED", "HIT"] {
        let response = seawall.get("/p", &[&accepting("br")]).await;
        assert_eq!((response.cache(), response.text()), (word, &*page(7)));
        assert_eq!(response.all("etag"), ["\"v1\""], "{word}");
    }
}

#[tokio::test]
async fn a_body_in_parts_is_compressed_once_it_is_whole() {
    let origin = Origin::start(|request| Reply::file(request, &page(7), "\"v1\"").field(HTML));
    let seawall = Seawall::before(&origin).await;
    let gzip = accepting("gzip");
    let part = seawall.get("/p", &["Range: bytes=0-9"]).await;
    assert_eq!(part.status, 206);
    assert_eq!(part.all("vary"), ["Accept-Encoding"]);
    let whole = seawall.get("/p", &[&gzip]).await;
    assert_eq!(decoded(&whole), page(7));
    let hit = encoded(&seawall, "/p", "gzip").await;
    assert_eq!(decoded(&hit), page(7));
}

#[tokio::test]
async fn a_body_of_several_slices_is_compressed_as_well() {
    let rows = || (0..40_000).map(|row| format!("<tr><td>{row}</td><td>{}</td></tr>\n", row * row));
    let text: String = rows().collect();
    assert!(text.len() > 1 << 20);
    let whole = text.clone();
    let origin = Origin::start(move |_| Reply::fresh(&whole).field(HTML));
    let seawall = Seawall::before(&origin).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), text);
    let hit = encoded(&seawall, "/p", "gzip").await;
    assert_eq!((hit.cache(), &*decoded(&hit)), ("HIT", &*text));
    assert_eq!(seawall.get("/p", &[]).await.text(), text);
}
