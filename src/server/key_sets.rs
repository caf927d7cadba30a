//! Fetches the keys with which tokens of others are verified, again and again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use reqwest::redirect::Policy;

use super::Shared;
use crate::clock;
use crate::guard::token::{KeySource, Tokens, Verifier};

/// How often it looks whether something is due.
const LOOK: Duration = Duration::from_millis(500);
/// How long it waits after a failure.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a fetch may take.
const LONGEST: Duration = Duration::from_secs(10);
/// The largest set.
const LARGEST: usize = 1 << 20;
/// From one place to the next.
const MOST_REDIRECTS: usize = 3;

/// Keeps the keys of all verifiers fresh until the process ends.
pub(super) struct KeySets {
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl BackgroundService for KeySets {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let client = match client() {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "keys of tokens cannot be fetched");
                return;
            }
        };
        // When each was fetched last, and whether that went well.
        let mut fetched: HashMap<String, (Instant, bool)> = HashMap::new();
        loop {
            let runtime = self.shared.runtime();
            for set in sets(&runtime.config.tokens) {
                let is_fresh = |(at, well): &(Instant, bool)| {
                    let well = *well && set.verifiers.iter().all(|one| one.has_keys());
                    clock::instant() < *at + if well { set.refresh } else { AGAIN }
                };
                if fetched.get(set.url).is_some_and(is_fresh) {
                    continue;
                }
                let result = fetch(&client, set.url).await;
                let result = result.and_then(|text| set.hand_out(&text));
                fetched.insert(set.url.to_owned(), (clock::instant(), result.is_ok()));
                if let Err(why) = result {
                    // A URL may hold a password.
                    let names = set.names();
                    tracing::warn!(jwt = %names, why, "keys of tokens were not fetched");
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

/// A set of keys, and all who verify with it.
struct Set<'c> {
    url: &'c str,
    refresh: Duration,
    verifiers: Vec<&'c Verifier>,
}

impl Set<'_> {
    fn hand_out(&self, text: &str) -> Result<(), String> {
        let mut verifiers = self.verifiers.iter();
        verifiers.try_for_each(|verifier| verifier.use_keys(text).map(|_| ()))
    }

    fn names(&self) -> String {
        let names = self.verifiers.iter();
        let names: Vec<&str> = names.map(|one| one.settings.name.as_str()).collect();
        names.join(", ")
    }
}

/// Each URL once, as often as the most eager of its verifiers wants it.
fn sets(tokens: &Tokens) -> Vec<Set<'_>> {
    let mut sets: Vec<Set<'_>> = Vec::new();
    for verifier in tokens.all() {
        let KeySource::Url { url, refresh } = &verifier.settings.keys else {
            continue;
        };
        if let Some(set) = sets.iter_mut().find(|set| set.url == url) {
            set.refresh = set.refresh.min(*refresh);
            set.verifiers.push(verifier);
        } else {
            sets.push(Set {
                url,
                refresh: *refresh,
                verifiers: vec![verifier],
            });
        }
    }
    sets
}

/// One for all sets. Who is asked over TLS does not lead to where anybody can answer.
fn client() -> reqwest::Result<reqwest::Client> {
    // The process has one provider; whoever is first sets it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirects = Policy::custom(|attempt| {
        let secure = attempt.previous().iter().any(|url| url.scheme() == "https");
        if secure && attempt.url().scheme() != "https" {
            attempt.error("it leads from https to http")
        } else if attempt.previous().len() > MOST_REDIRECTS {
            attempt.error("it leads from one place to the next")
        } else {
            attempt.follow()
        }
    });
    reqwest::Client::builder()
        .timeout(LONGEST)
        .redirect(redirects)
        .build()
}

async fn fetch(client: &reqwest::Client, url: &str) -> Result<String, String> {
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
    String::from_utf8(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::token::{TokenPlace, TokenSettings};

    const KEYS: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "2", "use": "sig",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

    #[test]
    fn all_who_verify_with_a_set_get_it_when_it_is_fetched() {
        let mut tokens = Tokens::default();
        for (name, path, minutes) in [("web", "/a", 10), ("api", "/a", 5), ("other", "/b", 10)] {
            let settings = TokenSettings {
                name: name.to_owned(),
                keys: KeySource::Url {
                    url: format!("https://id.test{path}"),
                    refresh: Duration::from_mins(minutes),
                },
                issuers: Vec::new(),
                audiences: vec![name.to_owned()],
                algorithms: Vec::new(),
                from: TokenPlace::Bearer,
                leeway: 0,
            };
            tokens.insert(Verifier::new(settings).unwrap());
        }
        let sets = sets(&tokens);
        assert_eq!(sets.len(), 2);
        assert_eq!(sets[0].refresh, Duration::from_mins(5));
        sets[0].hand_out(KEYS).unwrap();
        let ready = ["web", "api", "other"].map(|name| tokens.get(name).unwrap().has_keys());
        assert_eq!(ready, [true, true, false]);
    }
}
