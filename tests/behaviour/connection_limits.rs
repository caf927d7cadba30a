//! More clients than there is room for: those who are in stay in, and room that is given back is used.

use crate::support::{Client, Origin, Reply, Seawall, Setup, eventually};

const REFUSED: &str = "seawall_refused_connections_total";

fn cacheable() -> Origin {
    Origin::start(|request| Reply::fresh(format!("at {}", request.target)))
}

/// So many connections that have had an answer.
async fn served(seawall: &Seawall, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = seawall.connect().await;
        assert_eq!(client.get("/p", &[]).await.text(), "at /p");
        clients.push(client);
    }
    clients
}

/// Whether a new connection is answered.
async fn answers(seawall: &Seawall) -> bool {
    let mut client = seawall.connect().await;
    client.request("GET", "/p", &[]).await;
    client.try_response("GET").await.is_ok()
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_the_others_stay() {
    let origin = cacheable();
    let setup = Setup::before([&origin]).section("[client]\nmax_connections = 3");
    let seawall = setup.start().await;
    // The connections that looked whether it listens are gone.
    eventually("an idle Seawall", async || {
        seawall.metric("seawall_connections").await == 0.0
    })
    .await;

    let mut clients = served(&seawall, 3).await;
    let before = seawall.metric(REFUSED).await;
    assert!(seawall.connect().await.is_closed().await);
    assert!(seawall.metric(REFUSED).await > before);
    for client in &mut clients {
        assert_eq!(client.get("/p", &[]).await.text(), "at /p");
    }

    clients.pop();
    eventually("the room that was given back", async || {
        answers(&seawall).await
    })
    .await;
    assert!(
        seawall
            .stderr()
            .contains("as many client connections as there may be")
    );
}

#[tokio::test]
async fn the_limit_of_connections_follows_a_reload() {
    let origin = cacheable();
    let setup = Setup::before([&origin]).section("[client]\nmax_connections = 2");
    let seawall = setup.start().await;
    eventually("an idle Seawall", async || {
        seawall.metric("seawall_connections").await == 0.0
    })
    .await;

    let _clients = served(&seawall, 2).await;
    assert!(!answers(&seawall).await);
    seawall.reconfigure(|_| Setup::before([&origin]).section("[client]\nmax_connections = 5"));
    seawall.signal("HUP");
    eventually("the new limit", async || answers(&seawall).await).await;
}

#[tokio::test]
async fn without_a_limit_clients_leave_open_files_for_the_origin() {
    let origin = cacheable();
    let seawall = Setup::before([&origin]).open_files(200).start().await;
    let mut first = seawall.connect().await;
    let mut clients = Vec::new();
    for _ in 0..300 {
        clients.push(seawall.connect().await);
    }
    eventually("connections beyond the limit", async || {
        seawall.metric(REFUSED).await > 100.0
    })
    .await;
    assert_eq!(first.get("/new", &[]).await.text(), "at /new");
}

#[tokio::test]
async fn out_of_open_files_existing_connections_live_and_new_ones_follow_when_others_end() {
    let origin = cacheable();
    let setup = Setup::before([&origin]).section("[client]\nmax_connections = 100000");
    let seawall = setup.open_files(100).start().await;
    let mut first = seawall.connect().await;
    assert_eq!(first.get("/p", &[]).await.text(), "at /p");

    let mut crowd = Vec::new();
    eventually("accept to fail", async || {
        for _ in 0..20 {
            crowd.push(seawall.connect().await);
        }
        assert!(crowd.len() < 2000, "files without end");
        seawall.stderr().contains("Accept() failed")
    })
    .await;
    // A hit in memory needs no file.
    for _ in 0..3 {
        assert_eq!(first.get("/p", &[]).await.text(), "at /p");
    }

    drop(crowd);
    assert!(answers(&seawall).await);
    assert_eq!(seawall.get("/another", &[]).await.text(), "at /another");
}
