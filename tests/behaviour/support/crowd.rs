//! Many clients that ask for one page at once.

use futures_util::future::join_all;

use super::client::{Client, Response};
use super::{Seawall, eventually};

/// Connects `count` clients that have all asked for `target`.
pub async fn crowd(seawall: &Seawall, count: usize, target: &str) -> Vec<Client> {
    join_all((0..count).map(|_| async {
        let mut client = seawall.connect().await;
        client.request("GET", target, &[]).await;
        client
    }))
    .await
}

/// Waits until Seawall has taken up `count` connections, so that their requests are under way.
pub async fn connected(seawall: &Seawall, count: u32) {
    eventually("all clients to be connected", async || {
        seawall.metric("seawall_connections").await >= f64::from(count)
    })
    .await;
}

/// What each of them gets, which must be whole.
pub async fn answers(clients: Vec<Client>) -> Vec<Response> {
    join_all(
        clients
            .into_iter()
            .map(async |mut client| client.response().await),
    )
    .await
}
