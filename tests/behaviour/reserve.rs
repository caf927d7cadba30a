//! What is kept in object storage comes back when memory and disk have lost it, and only then.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Mood, Origin, Reply, Seawall, Setup, Storage, TOKEN, eventually};

const CAPACITY: &str = "capacity = \"32 MiB\"";
/// In the reserve and not on disk, so that a restart leaves nothing else.
const KEPT: &str = "reserve = true\ndisk = false";

/// An origin whose pages tell which request they answer.
fn counting() -> Origin {
    Origin::start(|request| {
        Reply::fresh(format!("{} {}", request.target, request.nth)).field("Cache-Tag: page")
    })
}

fn before(origin: &Origin, storage: &Storage, settings: &str) -> Setup {
    Setup::before([origin])
        .purging()
        .disk(CAPACITY)
        .reserve(storage, settings)
}

/// Waits until so many responses were written by this process.
async fn written(seawall: &Seawall, count: u32) {
    eventually(&format!("{count} responses in the reserve"), async || {
        seawall.metric("seawall_store_reserve_written_total").await == f64::from(count)
    })
    .await;
}

/// Waits until what earlier processes wrote may be used.
async fn ready(seawall: Seawall) -> Seawall {
    eventually("the reserve to be ready", async || {
        seawall.metric("seawall_store_reserve_ready").await == 1.0
    })
    .await;
    seawall
}

async fn restarted(seawall: Seawall) -> Seawall {
    ready(seawall.killed_and_restarted().await).await
}

async fn lookups(seawall: &Seawall, result: &str) -> f64 {
    let series = format!("seawall_store_reserve_lookups_total{{result=\"{result}\"}}");
    seawall.metric(&series).await
}

async fn dropped(seawall: &Seawall, reason: &str) -> f64 {
    let series = format!("seawall_store_reserve_dropped_total{{reason=\"{reason}\"}}");
    seawall.metric(&series).await
}

#[tokio::test]
async fn what_a_rule_keeps_comes_back_when_memory_and_disk_have_lost_it() {
    let (origin, storage) = (counting(), Storage::start().await);
    let setup = before(&origin, &storage, "").rule("long", "/page/*", KEPT);
    let seawall = setup.rule("off", "/other/*", "disk = false").start().await;
    for target in ["/page/1", "/other/1"] {
        seawall.get(target, &[]).await;
    }
    written(&seawall, 1).await;
    assert_eq!(storage.names().await.len(), 1);
    let seawall = restarted(seawall).await;
    let response = seawall.get("/page/1", &[]).await;
    assert_eq!((response.text(), response.cache()), ("/page/1 0", "HIT"));
    assert_eq!(seawall.get("/other/1", &[]).await.cache(), "MISS");
    // Nobody asks for what is not there.
    assert_eq!(seawall.get("/page/2", &[]).await.cache(), "MISS");
    assert_eq!(storage.reads(), 1);
    assert_eq!(lookups(&seawall, "hit").await, 1.0);
    assert_eq!(origin.count("/page/1"), 1);
}

#[tokio::test]
async fn hits_in_memory_and_on_disk_do_not_ask_it() {
    let (origin, storage) = (counting(), Storage::start().await);
    let setup = before(&origin, &storage, "").rule("long", "/*", "reserve = true");
    let seawall = setup.start().await;
    seawall.get("/p", &[]).await;
    written(&seawall, 1).await;
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
    eventually("the response on disk", async || {
        seawall.metric("seawall_store_disk_records").await == 1.0
    })
    .await;
    let seawall = ready(seawall.ended_and_restarted().await).await;
    for _ in 0..2 {
        assert_eq!(seawall.get("/p", &[]).await.text(), "/p 0");
    }
    assert_eq!(seawall.metric("seawall_store_disk_loads_total").await, 1.0);
    assert_eq!(storage.reads(), 0);
}

#[tokio::test]
async fn what_comes_back_is_on_disk_again() {
    let (origin, storage) = (counting(), Storage::start().await);
    let setup = before(&origin, &storage, "").rule("long", "/*", "reserve = true");
    let seawall = setup.start().await;
    seawall.get("/p", &[]).await;
    written(&seawall, 1).await;
    let mut seawall = seawall;
    seawall.kill();
    for file in std::fs::read_dir(seawall.path("store")).unwrap() {
        let path = file.unwrap().path();
        if path.to_string_lossy().contains(".segment") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let seawall = ready(seawall.restarted().await).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "/p 0");
    eventually("the response on disk", async || {
        seawall.metric("seawall_store_disk_records").await == 1.0
    })
    .await;
    let seawall = ready(seawall.ended_and_restarted().await).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "/p 0");
    assert_eq!(storage.reads(), 1);
}

#[tokio::test]
async fn variants_are_told_apart() {
    let storage = Storage::start().await;
    let origin = Origin::start(|request| {
        let language = request.field("accept-language").unwrap_or("none");
        Reply::fresh(format!("{language} {}", request.nth)).field("Vary: Accept-Language")
    });
    let setup = before(&origin, &storage, "").rule("long", "/*", KEPT);
    let seawall = setup.start().await;
    for language in ["de", "en"] {
        seawall
            .get("/p", &[&format!("Accept-Language: {language}")])
            .await;
    }
    written(&seawall, 2).await;
    let seawall = restarted(seawall).await;
    for (language, text, cache) in [
        ("en", "en 1", "HIT"),
        ("de", "de 0", "HIT"),
        ("fr", "fr 2", "MISS"),
    ] {
        let field = format!("Accept-Language: {language}");
        let response = seawall.get("/p", &[&field]).await;
        assert_eq!((response.text(), response.cache()), (text, cache));
    }
}

#[tokio::test]
async fn what_was_purged_does_not_come_back() {
    for scope in [
        r#""files": ["http://site.test/page/1"]"#,
        r#""tags": ["page"]"#,
        r#""prefixes": ["site.test/page/"]"#,
        r#""hosts": ["site.test"]"#,
        r#""purge_everything": true"#,
    ] {
        let (origin, storage) = (counting(), Storage::start().await);
        let setup = before(&origin, &storage, "").rule("long", "/*", KEPT);
        let seawall = setup.start().await;
        seawall.get("/page/1", &[]).await;
        written(&seawall, 1).await;
        seawall.purge(&format!("{{{scope}}}")).await;
        let seawall = restarted(seawall).await;
        let response = seawall.get("/page/1", &[]).await;
        assert_eq!(response.text(), "/page/1 1", "{scope}");
    }
}

#[tokio::test]
async fn a_purge_by_url_and_an_unsafe_request_remove_the_object() {
    let (origin, storage) = (counting(), Storage::start().await);
    let setup = before(&origin, &storage, "").rule("long", "/*", KEPT);
    let seawall = setup.start().await;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for (count, method) in [(1, "PURGE"), (2, "POST")] {
        seawall.get("/page/1", &[]).await;
        written(&seawall, count).await;
        assert_eq!(storage.names().await.len(), 1);
        let response = seawall.send(method, "/page/1", &[&bearer], "").await;
        assert_eq!(response.status, 200);
        eventually("the object to be gone", async || {
            storage.names().await.is_empty()
        })
        .await;
    }
}

#[tokio::test]
async fn a_purge_by_url_holds_though_the_object_cannot_be_removed() {
    let (origin, storage) = (counting(), Storage::start().await);
    let setup = before(&origin, &storage, "").rule("long", "/*", KEPT);
    let seawall = setup.start().await;
    for target in ["/page/1", "/page/2"] {
        seawall.get(target, &[]).await;
    }
    written(&seawall, 2).await;
    storage.set(Mood::Refusing(403));
    seawall
        .purge(r#"{"files": ["http://site.test/page/1", "http://site.test/page/2"]}"#)
        .await;
    eventually("the failures", async || {
        seawall.metric("seawall_store_reserve_failures_total").await >= 2.0
            && seawall.metric("seawall_store_reserve_waiting").await == 0.0
    })
    .await;
    storage.set(Mood::Good);
    assert_eq!(storage.names().await.len(), 2);
    let response = seawall.get("/page/2", &[]).await;
    assert_eq!(response.text(), "/page/2 1");
    let seawall = restarted(seawall).await;
    let response = seawall.get("/page/1", &[]).await;
    assert_eq!(response.text(), "/page/1 1");
    assert_eq!(lookups(&seawall, "purged").await, 1.0);
}

#[tokio::test]
async fn a_soft_purge_has_it_validated() {
    let storage = Storage::start().await;
    let origin = Origin::start(|request| match request.field("if-none-match") {
        Some(_) => Reply::not_modified().field("Cache-Control: max-age=60"),
        None => Reply::fresh("x").field("ETag: \"v1\""),
    });
    let setup = before(&origin, &storage, "").rule("long", "/*", KEPT);
    let seawall = setup.start().await;
    seawall.get("/p", &[]).await;
    written(&seawall, 1).await;
    seawall
        .purge(r#"{"files": ["http://site.test/p"], "soft": true}"#)
        .await;
    let seawall = restarted(seawall).await;
    let response = seawall.get("/p", &[]).await;
    assert_eq!((response.text(), response.cache()), ("x", "REVALIDATED"));
}

#[tokio::test]
async fn what_is_stale_by_now_is_validated_and_not_fetched_anew() {
    let storage = Storage::start().await;
    let origin = Origin::start(|request| match request.field("if-none-match") {
        Some(_) => Reply::not_modified().field("Cache-Control: max-age=60"),
        None => Reply::stale("x"),
    });
    let setup = before(&origin, &storage, "").rule("long", "/*", KEPT);
    let seawall = setup.start().await;
    seawall.get("/p", &[]).await;
    written(&seawall, 1).await;
    let seawall = restarted(seawall).await;
    for word in ["REVALIDATED", "HIT"] {
        let response = seawall.get("/p", &[]).await;
        assert_eq!((response.text(), response.cache()), ("x", word));
    }
    let last = origin.last();
    assert_eq!(last.field("if-none-match"), Some("\"v1\""));
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn a_changed_object_is_a_miss_and_never_wrong_bytes() {
    let (origin, storage) = (counting(), Storage::start().await);
    let setup = before(&origin, &storage, "").rule("long", "/*", KEPT);
    let mut seawall = setup.start().await;
    seawall.get("/page/1", &[]).await;
    written(&seawall, 1).await;
    let name = storage.names().await.remove(0);
    let good = storage.object(&name).await;
    let changed = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let cases = [
        changed(good.len() - 1),
        changed(30),
        changed(0),
        good[..good.len() - 1].to_vec(),
        b"garbage".to_vec(),
    ];
    for (round, bytes) in cases.into_iter().enumerate() {
        storage.put(&name, &bytes).await;
        seawall = restarted(seawall).await;
        let response = seawall.get("/page/1", &[]).await;
        assert_eq!(response.text(), format!("/page/1 {}", round + 1));
        assert_eq!(lookups(&seawall, "corrupt").await, 1.0);
        written(&seawall, 1).await;
    }
}

#[tokio::test]
async fn what_is_of_another_key_is_not_served() {
    let (origin, storage) = (counting(), Storage::start().await);
    let setup = before(&origin, &storage, "").rule("long", "/*", KEPT);
    let seawall = setup.start().await;
    for target in ["/page/1", "/page/2"] {
        seawall.get(target, &[]).await;
    }
    written(&seawall, 2).await;
    let names = storage.names().await;
    let [one, other] = [
        storage.object(&names[0]).await,
        storage.object(&names[1]).await,
    ];
    storage.put(&names[0], &other).await;
    storage.put(&names[1], &one).await;
    let seawall = restarted(seawall).await;
    for target in ["/page/1", "/page/2"] {
        let response = seawall.get(target, &[]).await;
        assert_eq!(response.text(), format!("{target} 1"));
    }
    assert_eq!(lookups(&seawall, "corrupt").await, 2.0);
}

#[tokio::test]
async fn while_it_is_down_or_slow_the_origin_answers() {
    for mood in [Mood::Closed, Mood::Silent, Mood::Refusing(503)] {
        let (origin, storage) = (counting(), Storage::start().await);
        let setup = before(&origin, &storage, "timeout = \"50ms\"").rule("long", "/*", KEPT);
        let seawall = setup.start().await;
        for number in 0..8 {
            seawall.get(&format!("/page/{number}"), &[]).await;
        }
        written(&seawall, 8).await;
        let seawall = restarted(seawall).await;
        storage.set(mood);
        let began = Instant::now();
        for number in 0..8 {
            let target = format!("/page/{number}");
            let response = seawall.get(&target, &[]).await;
            assert_eq!(response.text(), format!("{target} 1"), "{mood:?}");
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{mood:?}");
        assert_eq!(seawall.metric("seawall_store_reserve_healthy").await, 0.0);
        let told = "the reserve fails and is left alone";
        assert_eq!(seawall.stderr().matches(told).count(), 1, "{mood:?}");
        assert!(lookups(&seawall, "failed").await >= 1.0);
    }
}

#[tokio::test]
async fn it_is_used_again_once_it_answers() {
    let (origin, storage) = (counting(), Storage::start().await);
    let setup = before(&origin, &storage, "").rule("long", "/*", KEPT);
    let seawall = setup.start().await;
    storage.set(Mood::Closed);
    for number in 0..6 {
        seawall.get(&format!("/page/{number}"), &[]).await;
    }
    eventually("the reserve to be left alone", async || {
        seawall.metric("seawall_store_reserve_healthy").await == 0.0
    })
    .await;
    storage.set(Mood::Good);
    let mut number = 10;
    eventually("the reserve to be used again", async || {
        number += 1;
        seawall.get(&format!("/page/{number}"), &[]).await;
        !storage.names().await.is_empty()
    })
    .await;
    eventually("word of that", async || {
        seawall.stderr().contains("the reserve answers again")
    })
    .await;
    assert!(dropped(&seawall, "resting").await >= 1.0);
}

#[tokio::test]
async fn a_large_body_comes_back_slice_by_slice() {
    let whole: String = (0..2_000_000).map(|n| format!("{n:09}\n")).collect();
    let expected = whole.clone();
    let storage = Storage::start().await;
    let origin = Origin::start(move |request| Reply::file(request, &whole, "\"v1\""));
    let setup = before(&origin, &storage, "timeout = \"5s\"").rule("long", "/*", KEPT);
    let seawall = setup.start().await;
    seawall.get("/big", &[]).await;
    written(&seawall, 1).await;
    assert_eq!(storage.names().await.len(), 2);
    let seawall = restarted(seawall).await;
    let range = "Range: bytes=10485760-10485769";
    let part = seawall.get("/big", &[range]).await;
    assert_eq!(
        (part.status, part.text()),
        (206, &expected[10_485_760..10_485_770])
    );
    let reads = storage.reads();
    assert!(reads <= 4, "{reads} reads for ten bytes");
    let response = seawall.get("/big", &[]).await;
    assert_eq!(response.cache(), "HIT");
    assert!(response.body == expected.as_bytes());
    assert_eq!(origin.requests().len(), 1);
    let slices = seawall.metric("seawall_store_reserve_slices_total").await;
    assert_eq!(slices, 20.0);
}

#[tokio::test]
async fn a_slice_that_is_gone_or_changed_is_asked_of_the_origin() {
    let whole: String = (0..300_000).map(|n| format!("{n:09}\n")).collect();
    let expected = whole.clone();
    let storage = Storage::start().await;
    let origin = Origin::start(move |request| Reply::file(request, &whole, "\"v1\""));
    let setup = before(&origin, &storage, "timeout = \"5s\"").rule("long", "/*", KEPT);
    let seawall = setup.start().await;
    seawall.get("/big", &[]).await;
    written(&seawall, 1).await;
    let names = storage.names().await;
    let body = names.iter().find(|name| name.contains('.')).unwrap();
    let mut bytes = storage.object(body).await;
    bytes[1_500_000] ^= 1;
    storage.put(body, &bytes).await;
    let seawall = restarted(seawall).await;
    let response = seawall.get("/big", &[]).await;
    assert!(response.body == expected.as_bytes());
    assert!(origin.requests().len() > 1);
}

#[tokio::test]
async fn what_is_smaller_than_a_rule_says_is_not_kept() {
    let storage = Storage::start().await;
    let origin = Origin::start(|request| match &*request.target {
        "/small" => Reply::fresh("x".repeat(999)),
        _ => Reply::fresh("x".repeat(1000)),
    });
    let setup = before(&origin, &storage, "");
    let settings = format!("{KEPT}\nreserve_min_size = \"1 KB\"");
    let seawall = setup.rule("long", "/*", &settings).start().await;
    for target in ["/small", "/large"] {
        seawall.get(target, &[]).await;
    }
    written(&seawall, 1).await;
    assert_eq!(storage.names().await.len(), 1);
}

#[tokio::test]
async fn reading_renews_what_has_less_than_half_of_its_time_left() {
    let (origin, storage) = (counting(), Storage::start().await);
    let setup = before(&origin, &storage, "retention = \"8s\"").rule("long", "/*", KEPT);
    let seawall = setup.start().await;
    seawall.get("/p", &[]).await;
    written(&seawall, 1).await;
    let since = Instant::now();
    let name = storage.names().await.remove(0);
    let first = storage.object(&name).await;
    let seawall = restarted(seawall).await;
    // Time has to pass, and nothing else.
    tokio::time::sleep(Duration::from_secs(4).saturating_sub(since.elapsed())).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "/p 0");
    written(&seawall, 1).await;
    let second = storage.object(&name).await;
    assert!(first != second && first.len() == second.len());
    // The first would be too old by now.
    let seawall = restarted(seawall).await;
    tokio::time::sleep(Duration::from_millis(8500).saturating_sub(since.elapsed())).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "/p 0");
}

#[tokio::test]
async fn what_nobody_asks_for_is_removed_after_its_time() {
    let (origin, storage) = (counting(), Storage::start().await);
    let setup = before(&origin, &storage, "retention = \"2s\"").rule("long", "/*", KEPT);
    let seawall = setup.start().await;
    seawall.get("/p", &[]).await;
    written(&seawall, 1).await;
    assert_eq!(storage.names().await.len(), 1);
    let seawall = restarted(seawall).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "/p 1", "too old");
    let mut seawall = seawall;
    seawall.kill();
    let seawall = seawall.restarted().await;
    eventually("the object to be gone", async || {
        storage.names().await.is_empty()
    })
    .await;
    drop(seawall);
}

#[tokio::test]
async fn a_herd_asks_it_once() {
    let (origin, storage) = (counting(), Storage::start().await);
    let setup = before(&origin, &storage, "timeout = \"5s\"").rule("long", "/*", KEPT);
    let seawall = setup.start().await;
    seawall.get("/p", &[]).await;
    written(&seawall, 1).await;
    let seawall = restarted(seawall).await;
    let clients = (0..20).map(|_| seawall.get("/p", &[]));
    for response in futures_util::future::join_all(clients).await {
        assert_eq!(response.text(), "/p 0");
    }
    assert_eq!(storage.reads(), 1);
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn nothing_is_used_for_which_purges_were_not_kept() {
    let (origin, storage) = (counting(), Storage::start().await);
    let setup = before(&origin, &storage, "").rule("long", "/*", KEPT);
    let seawall = setup.start().await;
    seawall.get("/p", &[]).await;
    written(&seawall, 1).await;
    // A while without the reserve.
    let without = |setup: Setup| setup.without_sections().purging().disk(CAPACITY);
    seawall.reconfigure(without);
    let seawall = seawall.killed_and_restarted().await;
    seawall.get("/other", &[]).await;
    seawall.reconfigure(|setup| setup);
    let seawall = restarted(seawall).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "/p 1");
    written(&seawall, 1).await;
    // The journal of purges is lost.
    let mut seawall = seawall;
    seawall.kill();
    std::fs::remove_dir_all(seawall.path("store")).unwrap();
    let seawall = ready(seawall.restarted().await).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "/p 2");
}

#[tokio::test]
async fn what_waits_is_written_before_the_process_ends() {
    let (origin, storage) = (counting(), Storage::start().await);
    let setup = before(&origin, &storage, "max_uploads = 1").rule("long", "/*", KEPT);
    let mut seawall = setup.start().await;
    for number in 0..20 {
        seawall.get(&format!("/page/{number}"), &[]).await;
    }
    seawall.signal("TERM");
    seawall.ended().await;
    assert_eq!(storage.names().await.len(), 20);
}

#[tokio::test]
async fn a_response_that_is_no_longer_stored_is_not_kept_either() {
    let storage = Storage::start().await;
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::stale("x"),
        _ => Reply::ok("private").field("Cache-Control: no-store"),
    });
    let setup = before(&origin, &storage, "").rule("long", "/*", KEPT);
    let seawall = setup.start().await;
    seawall.get("/p", &[]).await;
    written(&seawall, 1).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "private");
    eventually("the object to be gone", async || {
        storage.names().await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn what_is_stale_by_now_stands_in_for_an_origin_that_fails() {
    let storage = Storage::start().await;
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::ok("x")
            .field("Cache-Control: max-age=60, stale-if-error=600")
            .field("Age: 60")
            .field("ETag: \"v1\""),
        _ => Reply::status(503, "down"),
    });
    let setup = before(&origin, &storage, "").rule("long", "/*", KEPT);
    let seawall = setup.start().await;
    seawall.get("/p", &[]).await;
    written(&seawall, 1).await;
    let seawall = restarted(seawall).await;
    let response = seawall.get("/p", &[]).await;
    assert_eq!((response.text(), response.cache()), ("x", "STALE"));
    assert_eq!(origin.requests().len(), 2);
}
