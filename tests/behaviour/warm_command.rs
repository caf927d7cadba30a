//! `seawall warm …`.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::{Authority, Origin, Reply, Seawall, Setup};

async fn warm(arguments: &[&str], file: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
    command.arg("warm").args(arguments).args(file);
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.unwrap().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An index, whose one sitemap has two pages of a site.
fn site() -> Origin {
    Origin::start(|request| match &*request.target {
        "/sitemap.xml" => Reply::stale(
            "<sitemapindex><sitemap><loc>http://shop.test/pages.xml</loc></sitemap></sitemapindex>",
        ),
        "/pages.xml" => Reply::stale(
            "<urlset><url><loc>http://shop.test/a?x=1&amp;y=2</loc></url>\
             <url><loc>http://shop.test/b</loc></url></urlset>",
        ),
        "/gone" => Reply::status(404, "gone"),
        _ => Reply::fresh("page"),
    })
}

fn address(seawall: &Seawall) -> String {
    seawall.address.to_string()
}

#[tokio::test]
async fn pages_of_a_sitemap_are_hits_for_visitors_afterwards() {
    let origin = site();
    let seawall = Setup::before([&origin]).start().await;
    let (sitemap, edge) = ("http://shop.test/sitemap.xml", address(&seawall));

    let output = warm(&[sitemap, "--connect", &edge], None).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        "2 requests, 8 bytes of content: 2 MISS\n"
    );
    let output = warm(&[sitemap, "--connect", &edge], None).await;
    assert_eq!(
        text(&output.stdout),
        "2 requests, 8 bytes of content: 2 HIT\n"
    );
    assert_eq!(origin.count("/a?x=1&y=2"), 1);
    assert_eq!(origin.count("/b"), 1);
    let last = origin.last();
    assert_eq!(last.field("host"), Some("shop.test"));
}

#[tokio::test]
async fn a_list_is_asked_for_at_the_given_pace_and_failures_are_told() {
    let origin = site();
    let seawall = Setup::before([&origin]).start().await;
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("urls.txt");
    let pages: String = (0..5)
        .map(|page| format!("http://shop.test/{page}\n"))
        .collect();
    let lines = format!(
        "# five pages, one of them twice, and a dead one\n{pages}{pages}http://shop.test/gone\nftp://x/\n"
    );
    std::fs::write(&list, lines).unwrap();

    let began = tokio::time::Instant::now();
    let edge = address(&seawall);
    let field = "Accept-Language: de";
    let arguments = ["--connect", &edge, "--rate", "20", "-H", field];
    let output = warm(&arguments, Some(&list)).await;
    // The first is asked at once, the other six of them a twentieth of a second later each.
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        "7 requests, 20 bytes of content: 5 MISS, 2 failed\n"
    );
    let told = text(&output.stderr);
    assert!(
        told.contains("http://shop.test/gone: answered with 404"),
        "{told}"
    );
    assert!(
        told.contains("ftp://x/: it is neither http nor https"),
        "{told}"
    );
    let asked = origin.requests();
    assert!(
        asked
            .iter()
            .all(|request| request.field("accept-language") == Some("de"))
    );
}

#[tokio::test]
async fn https_pages_are_asked_for_over_tls_under_their_own_name() {
    let origin = site();
    let site = Authority::new().identity("shop.test");
    let tls = "{ address = \"ADDRESS\", tls = { certificate = \"DIR/site.pem\", key = \"DIR/site.key\" } }";
    let seawall = Setup::before([&origin])
        .listen(tls)
        .file("site.pem", &site.certificate)
        .file("site.key", &site.key)
        .start()
        .await;
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("urls.txt");
    std::fs::write(&list, "https://shop.test/a\nhttp://shop.test/a\n").unwrap();

    let config = seawall.path("seawall.toml");
    let config = config.to_str().unwrap();
    let output = warm(&["--config", config, "--insecure"], Some(&list)).await;
    let told = text(&output.stderr);
    assert_eq!(
        text(&output.stdout),
        "2 requests, 4 bytes of content: 1 MISS, 1 failed\n",
        "{told}"
    );
    assert!(told.contains("no listener takes http"), "{told}");
    let refused = warm(&["--config", config], Some(&list)).await;
    assert!(text(&refused.stderr).contains("certificate"));
}

#[tokio::test]
async fn what_is_no_list_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("sitemap.xml");
    std::fs::write(&list, "<urlset><url>").unwrap();
    let output = warm(&[], Some(&list)).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("sitemap.xml: it ends too early"));
    let output = warm(&["nothing.txt"], None).await;
    assert!(text(&output.stderr).contains("nothing.txt: No such file"));
}
