//! The cast: an [`Origin`] that follows a script, a [`Seawall`] process, a raw [`Client`].

mod browser;
mod client;
mod crowd;
mod dns;
mod large;
mod origin;
mod redis;
mod seawall;
mod storage;
mod tls;
mod traffic;

use std::future::Future;
use std::time::Duration;

pub use browser::Browser;
pub use client::{Client, Response};
pub use crowd::{answers, connected, crowd};
pub use dns::{NameServer, Records};
pub use large::{Large, MIB};
pub use origin::{Gate, Origin, Received, Reply, echo_fields};
pub use redis::Redis;
pub use seawall::{Seawall, Setup, TOKEN};
pub use storage::{Mood, Storage};
pub use tls::{Authority, Identity};
pub use traffic::Traffic;

/// Longer than anything here takes: a test that gets here is stuck.
pub const STUCK: Duration = Duration::from_secs(15);

/// All values of the field `name` in a message.
fn values<'f>(fields: &'f [(String, String)], name: &str) -> Vec<&'f str> {
    fields
        .iter()
        .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
        .collect()
}

/// `future`, or a panic that names what was waited for.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(STUCK, future).await {
        Ok(done) => done,
        Err(elapsed) => panic!("still waiting for {what}: {elapsed}"),
    }
}

/// Looks again and again until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
