//! Bodies larger than memory should hold: kept in slices, fetched in slices, streamed while they fill.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;

use crate::support::{Gate, Large, MIB, Origin, Reply, Seawall, Setup};

const GIB: u64 = 1024;

/// With so much memory, of which slices take at most half.
fn setup(origin: &Origin, memory: &str) -> Setup {
    Setup::before([origin]).section(&format!(
        "[cache]\nmemory = \"{memory}\"\nmax_object_size = \"2 GiB\""
    ))
}

async fn in_slices(origin: &Origin) -> Seawall {
    setup(origin, "64 MiB")
        .rule("slices", "*", "origin_range_requests = true")
        .start()
        .await
}

fn serves(file: &Large) -> Origin {
    let file = file.clone();
    Origin::start(move |request| file.file(request))
}

/// The ranges that the origin was asked for, in order.
fn ranges(origin: &Origin) -> Vec<String> {
    let requests = origin.requests();
    let ranges = requests.iter().map(|request| request.field("range"));
    ranges
        .map(|range| range.unwrap_or("all").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_passes_in_little_memory() {
    let file = Large::new(GIB, "\"v1\"");
    let origin = serves(&file);
    let seawall = setup(&origin, "64 MiB").start().await;
    seawall.get("/none", &["Range: bytes=0-0"]).await;
    let (before, _) = seawall.resident();
    file.get(&mut seawall.connect().await, "/f").await;
    let (_, most) = seawall.resident();
    let grown = most.saturating_sub(before) / MIB;
    println!("resident memory grew by {grown} MiB");
    assert!(grown < 64, "{grown} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_of_which_a_part_is_stored_passes_in_little_memory() {
    let file = Large::new(GIB, "\"v1\"");
    let origin = serves(&file);
    let seawall = setup(&origin, "64 MiB").start().await;
    seawall.get("/f", &["Range: bytes=0-0"]).await;
    let (before, _) = seawall.resident();
    file.get(&mut seawall.connect().await, "/f").await;
    let (_, most) = seawall.resident();
    let grown = most.saturating_sub(before) / MIB;
    assert!(grown < 64, "{grown} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_in_slices_passes_in_little_memory() {
    let file = Large::new(GIB, "\"v1\"");
    let origin = serves(&file);
    let seawall = in_slices(&origin).await;
    seawall.get("/none", &["Range: bytes=0-0"]).await;
    let (before, _) = seawall.resident();
    file.get(&mut seawall.connect().await, "/f").await;
    let (_, most) = seawall.resident();
    let grown = most.saturating_sub(before) / MIB;
    println!("resident memory grew by {grown} MiB");
    assert!(grown < 64, "{grown} MiB");
    assert_eq!(origin.count("/f"), 1025, "each slice once");
}

#[tokio::test]
async fn readers_stream_while_it_fills() {
    let file = Large::new(12, "\"v1\"");
    let gate = Gate::closed();
    let (held, sent) = (gate.clone(), file.clone());
    let origin = Origin::start(move |_| sent.whole_held(7 * MIB, &held));
    let seawall = setup(&origin, "256 MiB").start().await;
    let mut first = seawall.connect().await;
    first.request("GET", "/f", &[]).await;
    assert_eq!(first.response_head().await.unwrap().status, 200);
    // Pingora holds back the last few bytes of what came.
    let so_far = 7 * MIB - 4096;
    assert_eq!(file.read(&mut first, 0, so_far).await, so_far);
    // The beginning is in slices by now.
    let mut second = seawall.connect().await;
    second.request("GET", "/f", &[]).await;
    assert_eq!(second.response_head().await.unwrap().status, 200);
    assert_eq!(file.read(&mut second, 0, so_far).await, so_far);
    gate.open();
    for client in [&mut first, &mut second] {
        assert_eq!(file.read(client, so_far, file.len).await, file.len);
    }
    assert_eq!(file.get(&mut first, "/f").await, "HIT");
    assert_eq!(
        file.get_range(&mut second, "/f", MIB - 1, 3 * MIB).await,
        "HIT"
    );
    assert_eq!(origin.count("/f"), 1);
}

#[tokio::test]
async fn a_slow_reader_holds_up_nobody_and_gets_all() {
    let file = Large::new(24, "\"v1\"");
    let origin = serves(&file);
    let seawall = setup(&origin, "256 MiB").start().await;
    let mut slow = seawall.connect().await;
    slow.request("GET", "/f", &[]).await;
    slow.response_head().await.unwrap();
    file.read(&mut slow, 0, MIB).await;
    file.get(&mut seawall.connect().await, "/f").await;
    assert_eq!(file.get(&mut seawall.connect().await, "/f").await, "HIT");
    assert_eq!(file.read(&mut slow, MIB, file.len).await, file.len);
    assert_eq!(origin.count("/f"), 1);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_end_the_fill() {
    let file = Large::new(12, "\"v1\"");
    let gate = Gate::closed();
    let (held, sent) = (gate.clone(), file.clone());
    let origin = Origin::start(move |_| sent.whole_held(5 * MIB, &held));
    let seawall = setup(&origin, "256 MiB").start().await;
    let mut client = seawall.connect().await;
    client.request("GET", "/f", &[]).await;
    client.response_head().await.unwrap();
    file.read(&mut client, 0, 2 * MIB).await;
    drop(client);
    gate.open();
    file.get(&mut seawall.connect().await, "/f").await;
    assert_eq!(file.get(&mut seawall.connect().await, "/f").await, "HIT");
    assert_eq!(origin.count("/f"), 1);
}

#[tokio::test]
async fn a_fill_that_is_cut_short_is_not_stored() {
    let file = Large::new(6, "\"v1\"");
    let sent = file.clone();
    let mut origin = Origin::start(move |_| sent.whole_held(4 * MIB, &Gate::closed()));
    let seawall = setup(&origin, "256 MiB").start().await;
    let mut client = seawall.connect().await;
    client.request("GET", "/f", &[]).await;
    client.response_head().await.unwrap();
    // Pingora holds back the last few bytes of what came.
    let so_far = 4 * MIB - 4096;
    assert_eq!(file.read(&mut client, 0, so_far).await, so_far);
    origin.stop().await;
    assert!(file.read(&mut client, so_far, file.len).await < file.len);
    assert_eq!(seawall.get("/f", &[]).await.status, 502);
    assert_eq!(seawall.metric("seawall_store_bytes").await, 0.0);
}

/// Fetches files of 20 MiB one after another until the first slices of `/f` must have left memory.
async fn push_out(seawall: &Seawall) {
    for number in 0..4 {
        for _ in 0..2 {
            let answer = seawall.get(&format!("/other-{number}"), &[]).await;
            assert_eq!(answer.status, 200);
        }
    }
}

/// Serves `file` under `/f` as `reply` says, and files that push it out elsewhere.
fn serves_among_others(
    file: &Large,
    reply: impl Fn(&Large, &crate::support::Received) -> Reply + Send + Sync + 'static,
) -> Origin {
    let file = file.clone();
    let other = Large::new(20, "\"other\"");
    Origin::start(move |request| match request.target.as_str() {
        "/f" => reply(&file, request),
        _ => other.file(request),
    })
}

#[tokio::test]
async fn slices_that_are_gone_are_fetched_again() {
    let file = Large::new(20, "\"v1\"");
    let origin = serves_among_others(&file, Large::file);
    let seawall = setup(&origin, "64 MiB").start().await;
    let mut slow = seawall.connect().await;
    slow.request("GET", "/f", &[]).await;
    slow.response_head().await.unwrap();
    file.read(&mut slow, 0, MIB).await;
    push_out(&seawall).await;
    assert_eq!(file.read(&mut slow, MIB, file.len).await, file.len);
    file.get(&mut seawall.connect().await, "/f").await;
    let requests = origin.requests();
    let again: Vec<_> = requests
        .iter()
        .filter(|request| request.target == "/f" && request.field("range").is_some())
        .collect();
    assert!(!again.is_empty(), "something was gone");
    for request in again {
        assert_eq!(request.field("if-range"), Some("\"v1\""));
    }
}

#[tokio::test]
async fn slices_that_are_gone_come_from_an_origin_without_ranges() {
    let file = Large::new(20, "\"v1\"");
    let origin = serves_among_others(&file, |file, _| file.whole());
    let seawall = setup(&origin, "64 MiB").start().await;
    file.get(&mut seawall.connect().await, "/f").await;
    push_out(&seawall).await;
    let mut client = seawall.connect().await;
    let range = (17 * MIB + 5, 17 * MIB + 9);
    assert_eq!(
        file.get_range(&mut client, "/f", range.0, range.1).await,
        "HIT"
    );
    file.get(&mut client, "/f").await;
}

#[tokio::test]
async fn without_a_validator_a_body_with_gaps_is_fetched_whole() {
    let file = Large::new(20, "");
    let origin = serves_among_others(&file, |file, _| file.whole());
    let seawall = setup(&origin, "64 MiB").start().await;
    file.get(&mut seawall.connect().await, "/f").await;
    assert_eq!(file.get(&mut seawall.connect().await, "/f").await, "HIT");
    push_out(&seawall).await;
    assert_eq!(file.get(&mut seawall.connect().await, "/f").await, "MISS");
    let requests = origin.requests();
    let mut asked = requests.iter().filter(|request| request.target == "/f");
    assert!(asked.all(|request| request.field("range").is_none()));
}

#[tokio::test]
async fn a_cold_range_fetches_the_slices_it_touches() {
    let file = Large::new(100, "\"v1\"");
    let origin = serves(&file);
    let seawall = in_slices(&origin).await;
    let mut client = seawall.connect().await;
    let (first, end) = (41 * MIB - 1, 42 * MIB + 1);
    assert_eq!(file.get_range(&mut client, "/f", first, end).await, "MISS");
    assert_eq!(file.sent(), 3 * MIB);
    assert_eq!(file.get_range(&mut client, "/f", first, end).await, "HIT");
    assert_eq!(file.sent(), 3 * MIB);
    // The end, the length of which is known by now.
    let from = file.len - 10;
    client.request("GET", "/f", &["Range: bytes=-10"]).await;
    assert_eq!(client.response_head().await.unwrap().status, 206);
    file.read(&mut client, from, file.len).await;
    assert_eq!(file.sent(), 3 * MIB + 12_345);
    let beyond = client.get("/f", &["Range: bytes=104900000000-"]).await;
    assert_eq!(beyond.status, 416);
    assert_eq!(origin.count("/f"), 4);
}

#[tokio::test]
async fn a_small_file_asked_for_in_slices_is_stored_whole() {
    let origin = Origin::start(|request| Reply::file(request, "0123456789", "\"v1\""));
    let seawall = in_slices(&origin).await;
    let part = seawall.get("/f", &["Range: bytes=2-3"]).await;
    assert_eq!((part.status, part.text()), (206, "23"));
    let whole = seawall.get("/f", &[]).await;
    assert_eq!((whole.text(), whole.cache()), ("0123456789", "HIT"));
    assert_eq!(whole.field("content-length"), Some("10"));
    assert_eq!(origin.count("/f"), 1);
}

#[tokio::test]
async fn a_herd_on_a_cold_large_object_is_one_fetch_a_slice() {
    let file = Large::new(6, "\"v1\"");
    let origin = serves(&file);
    let seawall = in_slices(&origin).await;
    let readers = (0..30).map(async |_| {
        file.get(&mut seawall.connect().await, "/f").await;
    });
    join_all(readers).await;
    let mut asked = ranges(&origin);
    assert_eq!(asked.len(), 7, "{asked:?}");
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 7);
}

#[tokio::test]
async fn an_origin_without_ranges_is_used_as_it_is() {
    let file = Large::new(3, "\"v1\"");
    let sent = file.clone();
    let origin = Origin::start(move |_| sent.whole());
    let seawall = in_slices(&origin).await;
    let mut client = seawall.connect().await;
    file.get_range(&mut client, "/f", MIB, 2 * MIB).await;
    // The rest of it may still be on its way.
    file.get(&mut client, "/f").await;
    assert_eq!(file.get(&mut client, "/f").await, "HIT");
    assert_eq!(origin.count("/f"), 1);
}

#[tokio::test]
async fn slices_that_nothing_holds_together_are_not_joined() {
    for etag in ["", "W/\"v1\""] {
        let file = Large::new(3, etag);
        let origin = serves(&file);
        let seawall = in_slices(&origin).await;
        let mut client = seawall.connect().await;
        file.get(&mut client, "/f").await;
        let mut client = seawall.connect().await;
        assert_eq!(file.get(&mut client, "/f").await, "HIT", "{etag}");
        assert_eq!(ranges(&origin), ["bytes=0-1048575", "all"], "{etag}");
    }
}

#[tokio::test]
async fn a_change_between_slices_cuts_the_answer_and_removes_the_entry() {
    let (old, new) = (Large::new(5, "\"v1\""), Large::new(5, "\"v2\""));
    let changed = Arc::new(AtomicBool::new(false));
    let (files, now) = ([old.clone(), new.clone()], changed.clone());
    let origin =
        Origin::start(move |request| files[usize::from(now.load(Ordering::SeqCst))].file(request));
    let seawall = in_slices(&origin).await;
    let mut client = seawall.connect().await;
    old.get_range(&mut client, "/f", 0, 2 * MIB).await;
    changed.store(true, Ordering::SeqCst);
    client.request("GET", "/f", &[]).await;
    assert_eq!(client.response_head().await.unwrap().status, 200);
    assert_eq!(old.read(&mut client, 0, old.len).await, 2 * MIB);
    assert!(client.is_closed().await, "the client notices");
    assert_eq!(new.get(&mut seawall.connect().await, "/f").await, "MISS");
    assert_eq!(new.get(&mut seawall.connect().await, "/f").await, "HIT");
}

#[tokio::test]
async fn an_origin_that_fails_for_a_slice_costs_this_answer_alone() {
    let file = Large::new(5, "\"v1\"");
    let fails = Arc::new(AtomicBool::new(false));
    let (sent, now) = (file.clone(), fails.clone());
    let origin = Origin::start(move |request| {
        if now.load(Ordering::SeqCst) {
            Reply::status(503, "closed")
        } else {
            sent.file(request)
        }
    });
    let seawall = in_slices(&origin).await;
    let mut client = seawall.connect().await;
    file.get_range(&mut client, "/f", 0, 2 * MIB).await;
    fails.store(true, Ordering::SeqCst);
    client.request("GET", "/f", &[]).await;
    assert_eq!(client.response_head().await.unwrap().status, 200);
    assert_eq!(file.read(&mut client, 0, file.len).await, 2 * MIB);
    assert!(client.is_closed().await, "the client notices");
    fails.store(false, Ordering::SeqCst);
    assert_eq!(file.get(&mut seawall.connect().await, "/f").await, "HIT");
    assert_eq!(file.sent(), file.len, "each slice once");
}

#[tokio::test]
async fn a_large_body_is_validated_and_kept() {
    let file = Large::new(3, "\"v1\"");
    let sent = file.clone();
    let origin = Origin::start(move |request| sent.file(request).field("Age: 60"));
    for rule in [
        "origin_range_requests = true",
        "origin_range_requests = false",
    ] {
        let seawall = setup(&origin, "64 MiB").rule("r", "*", rule).start().await;
        let before = file.sent();
        file.get(&mut seawall.connect().await, "/f").await;
        file.get(&mut seawall.connect().await, "/f").await;
        assert_eq!(file.sent() - before, file.len, "{rule}");
        assert_eq!(origin.last().field("if-none-match"), Some("\"v1\""));
    }
}

#[tokio::test]
async fn a_purge_takes_the_slices_with_it() {
    let file = Large::new(5, "\"v1\"");
    let origin = serves(&file);
    let seawall = setup(&origin, "64 MiB").purging().start().await;
    file.get(&mut seawall.connect().await, "/f").await;
    assert!(seawall.metric("seawall_store_bytes").await > 5.0 * 1_048_576.0);
    let purged = seawall.purge("{\"purge_everything\": true}").await;
    assert_eq!(purged["result"]["objects"], 1);
    assert!(purged["result"]["bytes"].as_u64().unwrap() > file.len);
    assert_eq!(seawall.metric("seawall_store_bytes").await, 0.0);
    assert_eq!(file.get(&mut seawall.connect().await, "/f").await, "MISS");
}

#[tokio::test]
async fn what_was_fetched_later_is_not_replaced_by_what_was_asked_for_before() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.nth {
        // This one answers before it looked what the page is now.
        0 => Reply::fresh("old").behind(&held),
        _ => Reply::fresh("new"),
    });
    let seawall = Setup::before([&origin])
        .section("[cache]\ncollapse_timeout = \"50ms\"")
        .start()
        .await;
    let mut slow = seawall.connect().await;
    slow.request("GET", "/p", &[]).await;
    origin.asked("/p", 1).await;
    // It waits for the first in vain, and asks for itself.
    assert_eq!(seawall.get("/p", &[]).await.text(), "new");
    gate.open();
    assert_eq!(slow.response().await.text(), "old");
    let later = seawall.get("/p", &[]).await;
    assert_eq!((later.text(), later.cache()), ("new", "HIT"));
}
