//! Fetches the keys with which tokens of others are verified, again and again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;

use super::Shared;
use crate::clock;
use crate::guard::token::{KeySource, Verifier};

/// How often it looks whether something is due.
const LOOK: Duration = Duration::from_millis(500);
/// How long it waits after a failure.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a fetch may take.
const LONGEST: Duration = Duration::from_secs(10);
/// The largest set.
const LARGEST: usize = 1 << 20;

/// Keeps the keys of all verifiers fresh until the process ends.
pub(super) struct KeySets {
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl BackgroundService for KeySets {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        // When each was fetched last, and whether that went well.
        let mut fetched: HashMap<String, (Instant, bool)> = HashMap::new();
        loop {
            let runtime = self.shared.runtime();
            for verifier in runtime.config.tokens.all() {
                let KeySource::Url { url, refresh } = &verifier.settings.keys else {
                    continue;
                };
                let is_fresh = |(at, well): &(Instant, bool)| {
                    let well = *well && verifier.has_keys();
                    clock::instant() < *at + if well { *refresh } else { AGAIN }
                };
                if fetched.get(url).is_some_and(is_fresh) {
                    continue;
                }
                let result = fetch(url, verifier).await;
                fetched.insert(url.clone(), (clock::instant(), result.is_ok()));
                if let Err(why) = result {
                    let name = &verifier.settings.name;
                    tracing::warn!(jwt = %name, %url, why, "keys of tokens were not fetched");
                }
            }
            drop(runtime);
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}

async fn fetch(url: &str, verifier: &Verifier) -> Result<usize, String> {
    // The process has one provider; whoever is first sets it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .timeout(LONGEST)
        .build()
        .map_err(|error| error.to_string())?;
    let answer = client.get(url).send().await;
    let mut answer = answer
        .and_then(reqwest::Response::error_for_status)
        .map_err(|error| error.without_url().to_string())?;
    let mut text = Vec::new();
    while let Some(bytes) = answer.chunk().await.map_err(|error| error.to_string())? {
        text.extend_from_slice(&bytes);
        if text.len() > LARGEST {
            return Err("the set is too large".to_owned());
        }
    }
    let text = String::from_utf8(text).map_err(|error| error.to_string())?;
    verifier.use_keys(&text)
}
