//! What is stored outlives the process, and a disk in trouble is nobody's trouble but its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::{Origin, Reply, Response, Seawall, Setup, TOKEN, eventually};

const CAPACITY: &str = "capacity = \"32 MiB\"";
const PAGES: usize = 50;

fn page(number: usize) -> String {
    format!("/page/{number}")
}

/// An origin whose pages tell which request they answer.
fn counting() -> Origin {
    Origin::start(|request| {
        Reply::fresh(format!("{} {}", request.target, request.nth)).field("Cache-Tag: page")
    })
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

async fn records(seawall: &Seawall, count: usize) {
    eventually(&format!("{count} records on disk"), async || {
        seawall.metric("seawall_store_disk_records").await == number(count)
    })
    .await;
}

/// With all pages stored, and on disk.
async fn filled(origin: &Origin) -> Seawall {
    let seawall = Setup::before([origin])
        .purging()
        .disk(CAPACITY)
        .start()
        .await;
    for number in 0..PAGES {
        seawall.get(&page(number), &[]).await;
    }
    records(&seawall, PAGES).await;
    seawall
}

#[tokio::test]
async fn a_restart_serves_what_was_stored_at_once_and_asks_the_origin_nothing() {
    for killed in [false, true] {
        let origin = counting();
        let seawall = filled(&origin).await;
        let seawall = if killed {
            seawall.killed_and_restarted().await
        } else {
            seawall.ended_and_restarted().await
        };
        for number in 0..PAGES {
            let response = seawall.get(&page(number), &[]).await;
            assert_eq!(response.cache(), "HIT", "{response:?}");
            assert_eq!(response.text(), format!("{} 0", page(number)));
        }
        assert_eq!(origin.requests().len(), PAGES, "killed: {killed}");
        assert_eq!(seawall.logged("/page/1").await["tier"], "disk");
        let loads = seawall.metric("seawall_store_disk_loads_total").await;
        assert_eq!(loads, number(PAGES));
    }
}

/// The names of its fields.
fn names(response: &Response) -> Vec<String> {
    let fields = response.fields.iter();
    let mut names: Vec<String> = fields.map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn hits_from_disk_are_the_same_on_both_lanes() {
    let body = "0123456789".repeat(7000);
    let text = body.clone();
    let origin = Origin::start(move |_| Reply::fresh(text.clone()).field("ETag: \"e\""));
    let mut told = Vec::new();
    for lane in [true, false] {
        let seawall = Setup::before([&origin])
            .server(&format!("hit_lane = {lane}"))
            .disk(CAPACITY)
            .start()
            .await;
        let targets = ["/whole", "/range", "/known", "/head"];
        for target in targets {
            seawall.get(target, &[]).await;
        }
        records(&seawall, targets.len()).await;
        let seawall = seawall.killed_and_restarted().await;
        let whole = seawall.get("/whole", &[]).await;
        assert_eq!((whole.text(), whole.cache()), (&*body, "HIT"));
        let range = seawall.get("/range", &["Range: bytes=65530-65539"]).await;
        assert_eq!((range.status, range.text()), (206, "0123456789"));
        let known = seawall.get("/known", &["If-None-Match: \"e\""]).await;
        assert_eq!(known.status, 304);
        let head = seawall.head("/head", &[]).await;
        assert_eq!(head.field("content-length"), Some("70000"));
        let mut lines = Vec::new();
        for target in targets {
            let line = seawall.logged(target).await;
            let names = ["tier", "cache", "status", "response_bytes"];
            lines.push(names.map(|name| line[name].clone()));
            assert_eq!(line["tier"], "disk", "{target}");
        }
        let loads = seawall.metric("seawall_store_disk_loads_total").await;
        assert_eq!(loads, number(targets.len()));
        told.push((lines, names(&whole), names(&range), names(&known)));
    }
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn what_was_purged_is_gone_after_a_restart_too() {
    let scopes = [
        r#""files": ["http://site.test/page/1"]"#,
        r#""tags": ["page"]"#,
        r#""prefixes": ["site.test/page/"]"#,
        r#""hosts": ["site.test"]"#,
        r#""purge_everything": true"#,
    ];
    for scope in scopes {
        let origin = counting();
        let seawall = filled(&origin).await;
        seawall.purge(&format!("{{{scope}}}")).await;
        let seawall = seawall.killed_and_restarted().await;
        let response = seawall.get(&page(1), &[]).await;
        assert_eq!(response.text(), "/page/1 1", "{scope}");
    }
}

#[tokio::test]
async fn the_method_purge_reaches_what_is_on_disk_alone() {
    let origin = counting();
    let seawall = filled(&origin).await.ended_and_restarted().await;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let purged = seawall.send("PURGE", "/page/1", &[&bearer], "").await;
    let told: serde_json::Value = serde_json::from_slice(&purged.body).unwrap();
    assert_eq!(told["objects"], 1, "{told}");
    assert_eq!(seawall.get("/page/1", &[]).await.text(), "/page/1 1");
    assert_eq!(seawall.get("/page/2", &[]).await.text(), "/page/2 0");
}

#[tokio::test]
async fn variants_and_conditions_work_on_what_comes_from_disk() {
    let origin = Origin::start(|request| {
        let language = request.field("accept-language").unwrap_or("none");
        Reply::fresh(language)
            .field("Vary: Accept-Language")
            .field(format!("ETag: \"{language}\""))
    });
    let seawall = Setup::before([&origin]).disk(CAPACITY).start().await;
    for language in ["de", "en"] {
        let field = format!("Accept-Language: {language}");
        seawall.get("/p", &[&field]).await;
    }
    records(&seawall, 2).await;
    let seawall = seawall.killed_and_restarted().await;
    let german = seawall.get("/p", &["Accept-Language: de"]).await;
    assert_eq!((german.text(), german.cache()), ("de", "HIT"));
    let condition = ["Accept-Language: en", "If-None-Match: \"en\""];
    assert_eq!(seawall.get("/p", &condition).await.status, 304);
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn a_large_body_outlives_a_restart_and_its_ranges_are_read_alone() {
    let body: String = (0..400_000).map(|line| format!("{line:07}\n")).collect();
    let whole = body.clone();
    let origin = Origin::start(move |request| Reply::file(request, &whole, "\"v1\""));
    let seawall = Setup::before([&origin]).disk(CAPACITY).start().await;
    assert_eq!(seawall.get("/large", &[]).await.text(), body);
    // The head and four slices.
    records(&seawall, 5).await;
    let seawall = seawall.killed_and_restarted().await;
    let part = seawall
        .get("/large", &["Range: bytes=2000000-2000007"])
        .await;
    assert_eq!(
        (part.status, part.text()),
        (206, &body[2_000_000..2_000_008])
    );
    let response = seawall.get("/large", &[]).await;
    assert_eq!((response.text(), response.cache()), (&*body, "HIT"));
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn a_rule_keeps_responses_off_the_disk() {
    let origin = Origin::start(|request| match &*request.target {
        "/memory/large" => Reply::fresh("x".repeat(3 << 20)),
        _ => Reply::fresh("x"),
    });
    let seawall = Setup::before([&origin])
        .disk(CAPACITY)
        .rule("private", "/memory/*", "disk = false")
        .start()
        .await;
    seawall.get("/memory/large", &[]).await;
    seawall.get("/memory/1", &[]).await;
    seawall.get("/page/1", &[]).await;
    records(&seawall, 1).await;
    assert_eq!(seawall.get("/memory/1", &[]).await.cache(), "HIT");
    let seawall = seawall.ended_and_restarted().await;
    assert_eq!(seawall.get("/memory/1", &[]).await.cache(), "MISS");
    assert_eq!(seawall.get("/page/1", &[]).await.cache(), "HIT");
}

#[tokio::test]
async fn a_freshened_response_is_fresh_after_a_restart() {
    let origin = Origin::start(|request| match request.field("if-none-match") {
        Some(_) => Reply::not_modified().field("Cache-Control: max-age=60"),
        None => Reply::stale("x"),
    });
    let seawall = Setup::before([&origin]).disk(CAPACITY).start().await;
    for word in ["MISS", "REVALIDATED"] {
        assert_eq!(seawall.get("/p", &[]).await.cache(), word);
    }
    let seawall = seawall.ended_and_restarted().await;
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
    assert_eq!(origin.requests().len(), 2);
}

/// The files of the store whose names end like this.
fn files(seawall: &Seawall, extension: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(seawall.path("store")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let found: Vec<_> = paths
        .filter(|path| path.to_string_lossy().contains(extension))
        .collect();
    assert!(!found.is_empty(), "no {extension}");
    found
}

fn damage(path: &Path, at: impl Iterator<Item = usize>) {
    let mut bytes = std::fs::read(path).unwrap();
    for at in at.take_while(|at| *at < bytes.len()).collect::<Vec<_>>() {
        bytes[at] ^= 0x55;
    }
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn damaged_records_are_misses_and_never_wrong_bytes() {
    let origin = counting();
    let mut seawall = filled(&origin).await;
    seawall.signal("TERM");
    seawall.ended().await;
    for path in files(&seawall, ".segment") {
        damage(&path, (300..).step_by(1001));
    }
    let seawall = seawall.restarted().await;
    let mut misses = 0;
    for number in 0..PAGES {
        let response = seawall.get(&page(number), &[]).await;
        let again = usize::from(response.cache() != "HIT");
        assert_eq!(response.text(), format!("{} {again}", page(number)));
        misses += again;
    }
    assert!(misses > 0);
}

#[tokio::test]
async fn with_a_damaged_journal_of_purges_everything_counts_as_purged_and_is_said_to() {
    let origin = counting();
    let mut seawall = filled(&origin).await;
    seawall.signal("TERM");
    seawall.ended().await;
    for path in files(&seawall, "purges-") {
        damage(&path, 17..18);
    }
    let seawall = seawall.restarted().await;
    let log = seawall.stderr();
    assert!(log.contains("the journal of purges is damaged"), "{log}");
    assert_eq!(seawall.get(&page(1), &[]).await.cache(), "MISS");
    let seawall = seawall.ended_and_restarted().await;
    assert_eq!(seawall.get(&page(1), &[]).await.cache(), "HIT");
}

#[tokio::test]
async fn files_of_another_format_are_left_alone() {
    let origin = counting();
    let mut seawall = filled(&origin).await;
    seawall.signal("TERM");
    seawall.ended().await;
    // The version stands behind the eight bytes of the magic.
    for path in files(&seawall, ".segment") {
        damage(&path, 8..9);
    }
    let seawall = seawall.restarted().await;
    assert_eq!(seawall.get(&page(1), &[]).await.cache(), "MISS");
    records(&seawall, 1).await;
    let seawall = seawall.ended_and_restarted().await;
    assert_eq!(seawall.get(&page(1), &[]).await.cache(), "HIT");
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_keeps_seawall_from_starting_and_is_named() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    for unusable in [
        file.clone(),
        file.join("below"),
        PathBuf::from("/proc/seawall"),
    ] {
        let unusable = unusable.display();
        let config = directory.path().join("seawall.toml");
        let toml = format!(
            "listen = [\"127.0.0.1:0\"]\n\
             [cache.disk]\ndirectory = \"{unusable}\"\n{CAPACITY}\n\
             [pools.app]\nservers = [\"http://127.0.0.1:1\"]\n\
             [zones.site]\nhosts = [\"*\"]\npool = \"app\"\n"
        );
        std::fs::write(&config, toml).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
        let output = command.arg("serve").arg(config).output().unwrap();
        assert!(!output.status.success());
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(&format!("cannot use {unusable}")), "{told}");
    }
}

#[tokio::test]
async fn a_successor_has_the_disk_once_its_predecessor_is_gone() {
    let origin = counting();
    let mut old = filled(&origin).await;
    let new = old.successor();
    eventually("the successor to wait", async || {
        old.path("upgrade.sock").exists()
    })
    .await;
    old.signal("QUIT");
    assert!(old.ended().await.success());
    eventually("the successor to have the disk", async || {
        let state = "seawall_store_disk_state{state=\"healthy\"}";
        new.metric(state).await == 1.0 && new.metric("seawall_store_disk_records").await > 0.0
    })
    .await;
    eventually("a hit from disk", async || {
        new.get(&page(1), &[]).await.cache() == "HIT"
    })
    .await;
    // Purged is purged for the next one too.
    new.purge(r#"{"tags": ["page"]}"#).await;
    let new = new.killed_and_restarted().await;
    assert_eq!(new.get(&page(2), &[]).await.cache(), "MISS");
}

#[tokio::test]
async fn capacity_follows_the_configuration_and_the_directory_does_not() {
    let origin = counting();
    let seawall = filled(&origin).await;
    seawall.reconfigure(|setup| setup.without_sections().disk("capacity = \"16 MiB\""));
    eventually("the new capacity", async || {
        seawall.metric("seawall_store_disk_capacity_bytes").await == f64::from(16 << 20)
    })
    .await;
    let elsewhere = "directory = \"DIR/elsewhere\"\ncapacity = \"16 MiB\"";
    seawall.reconfigure(|setup| setup.without_sections().disk(elsewhere));
    eventually("a word about the restart", async || {
        seawall
            .stderr()
            .contains("takes effect only with a restart")
    })
    .await;
    assert!(!seawall.path("elsewhere").exists());
}

/// A small file system of its own, which only root can make.
struct Small(TempDir);

impl Small {
    fn new(size: &str) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        let mounted = mount.arg(directory.path()).output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        if !mounted {
            println!("skipped: no file system can be mounted here");
        }
        mounted.then_some(Self(directory))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_served_over_told_of_once_and_heals() {
    let Some(small) = Small::new("12m") else {
        return;
    };
    let ballast = small.0.path().join("ballast");
    std::fs::write(&ballast, vec![0; 8 << 20]).unwrap();
    let body = "x".repeat(64 << 10);
    let origin = Origin::start(move |_| Reply::fresh(&body));
    let directory = small.0.path().join("store");
    let disk = format!(
        "directory = \"{}\"\ncapacity = \"8 MiB\"",
        directory.display()
    );
    let seawall = Setup::before([&origin]).purging().disk(&disk).start().await;
    let state = |state: &str| format!("seawall_store_disk_state{{state=\"{state}\"}}");
    for number in 0..100 {
        assert_eq!(seawall.get(&page(number), &[]).await.status, 200);
    }
    eventually("the disk to be full", async || {
        seawall.metric(&state("read_only")).await == 1.0
    })
    .await;
    for number in 0..100 {
        assert_eq!(seawall.get(&page(number), &[]).await.cache(), "HIT");
    }
    let told = |what: &str| seawall.stderr().matches(what).count();
    assert_eq!(
        told("the disk store is read only"),
        1,
        "{}",
        seawall.stderr()
    );
    assert_eq!(seawall.admin("/readyz").await.status, 200);
    let dropped = seawall.metric("seawall_store_disk_dropped_total{reason=\"unwritable\"}");
    assert!(dropped.await > 0.0);
    // Purges have room set aside.
    seawall.purge(r#"{"tags": ["page"]}"#).await;

    std::fs::remove_file(&ballast).unwrap();
    eventually("the disk to heal", async || {
        seawall.metric(&state("healthy")).await == 1.0
    })
    .await;
    assert_eq!(
        told("the disk store is read only"),
        1,
        "{}",
        seawall.stderr()
    );
    assert_eq!(told("the disk store is healthy"), 1, "{}", seawall.stderr());
    assert_eq!(seawall.get("/new", &[]).await.cache(), "MISS");
    let seawall = seawall.ended_and_restarted().await;
    assert_eq!(seawall.get("/new", &[]).await.cache(), "HIT");
}

#[tokio::test]
async fn what_memory_lets_go_of_at_once_is_served_from_disk_all_the_same() {
    let origin = Origin::start(|_| Reply::fresh(vec![b'x'; 64 << 10]));
    let seawall = Setup::before([&origin])
        .section("[cache]\nmemory = \"1 MiB\"")
        .disk("capacity = \"64 MiB\"")
        .start()
        .await;
    let targets: Vec<String> = (0..100).map(|page| format!("/{page}")).collect();
    for target in &targets {
        seawall.get(target, &[]).await;
    }
    records(&seawall, 100).await;
    for _ in 0..3 {
        let asked = targets.iter().map(|target| seawall.get(target, &[]));
        for page in futures_util::future::join_all(asked).await {
            assert_eq!(page.cache(), "HIT");
        }
    }
    assert_eq!(origin.requests().len(), 100);
}
