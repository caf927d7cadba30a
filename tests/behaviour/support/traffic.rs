//! Clients that never stop asking, to notice any request that fails meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use super::client::Client;

/// Requests for [`Traffic::TARGET`], one after another, each over a connection of its own.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Tally>,
}

#[derive(Default)]
struct Tally {
    sent: usize,
    failed: Vec<String>,
}

impl Traffic {
    pub const TARGET: &str = "/traffic";

    /// Starts towards `address`.
    pub fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut tally = Tally::default();
            while !stopped.load(Ordering::Relaxed) {
                tally.sent += 1;
                if let Err(why) = ask(address).await {
                    tally.failed.push(why);
                }
            }
            tally
        });
        Self { stop, task }
    }

    /// Stops; not one request may have failed.
    pub async fn ends_without_a_failure(self) {
        self.stop.store(true, Ordering::Relaxed);
        let tally = self.task.await.unwrap();
        assert!(tally.sent > 0);
        assert!(
            tally.failed.is_empty(),
            "of {}: {:?}",
            tally.sent,
            tally.failed
        );
    }
}

async fn ask(address: SocketAddr) -> Result<(), String> {
    let mut client = Client::try_connect(address)
        .await
        .map_err(|error| error.to_string())?;
    client
        .request("GET", Traffic::TARGET, &["Connection: close"])
        .await;
    match client.try_response("GET").await {
        Ok(response) if response.status == 200 => Ok(()),
        Ok(response) => Err(format!("a {}", response.status)),
        Err(truncated) => Err(format!("{truncated:?}")),
    }
}
