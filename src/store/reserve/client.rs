//! Requests to the object storage, and whether it is worth asking.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore as _,
    ObjectStoreExt as _, PutPayload, RetryConfig,
};

use crate::clock;
use crate::config;

/// Failures in a row after which it is left alone.
const MOST_FAILURES: u32 = 5;
/// How long it is left alone before one request tries again.
const REST: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);
/// One request that is nobody's wait.
const TRANSFER: Duration = Duration::from_secs(30);

/// The bucket below the prefix.
pub(super) struct Client {
    storage: AmazonS3,
    prefix: String,
    breaker: Mutex<Breaker>,
    pub(super) failures: AtomicU64,
}

#[derive(Debug, Default)]
struct Breaker {
    in_a_row: u32,
    /// When one request may try again.
    until: Option<Instant>,
}

/// Why there is no answer; it is counted and told by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failed {
    /// It was not asked, having failed often.
    #[error("the reserve is left alone")]
    Resting,
    #[error("the reserve failed")]
    Failed,
}

/// An object as it is listed.
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) modified: SystemTime,
}

impl Client {
    pub(super) fn new(config: &config::Reserve) -> Result<Self, String> {
        // The process has one provider; whoever is first sets it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = ClientOptions::new()
            .with_allow_http(config.endpoint.starts_with("http://"))
            .with_connect_timeout(CONNECT)
            .with_timeout(TRANSFER);
        let retry = RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        };
        let storage = AmazonS3Builder::new()
            .with_endpoint(&config.endpoint)
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_access_key_id(&config.access_key)
            .with_secret_access_key(config.secret_key.reveal())
            .with_client_options(options)
            .with_retry(retry)
            .build()
            .map_err(|error| format!("the reserve cannot be used: {error}"))?;
        Ok(Self {
            storage,
            prefix: config.prefix.clone(),
            breaker: Mutex::default(),
            failures: AtomicU64::new(0),
        })
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether it answered when it was last asked.
    pub(super) fn is_healthy(&self) -> bool {
        self.breaker().in_a_row < MOST_FAILURES
    }

    /// At most `most` bytes of an object from `start`; `None` when it is not there.
    pub(super) async fn get(
        &self,
        path: &str,
        start: u64,
        most: u64,
        within: Duration,
    ) -> Result<Option<Bytes>, Failed> {
        let range = GetRange::Bounded(start..start.saturating_add(most));
        let options = GetOptions::new().with_range(Some(range));
        let path = Path::from(path);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let get = async {
            let found = match self.storage.get_opts(&path, options).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                found => found?,
            };
            let mut bytes = BytesMut::new();
            let mut stream = found.into_stream();
            while let Some(chunk) = stream.try_next().await? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > most {
                    break;
                }
            }
            Ok(Some(bytes.freeze()))
        };
        self.ask(within, get).await
    }

    pub(super) async fn put(&self, path: &str, object: Bytes) -> Result<(), Failed> {
        let path = Path::from(path);
        let put = async {
            let put = self.storage.put(&path, PutPayload::from_bytes(object));
            put.await.map(drop)
        };
        self.ask(TRANSFER, put).await
    }

    /// Copies an object within the storage.
    pub(super) async fn copy(&self, from: &str, to: &str) -> Result<(), Failed> {
        let (from, to) = (Path::from(from), Path::from(to));
        self.ask(TRANSFER, self.storage.copy(&from, &to)).await
    }

    /// Begins an object that is written in parts.
    pub(super) async fn begin(&self, path: &str) -> Result<Box<dyn MultipartUpload>, Failed> {
        let path = Path::from(path);
        self.ask(TRANSFER, self.storage.put_multipart(&path)).await
    }

    pub(super) async fn put_part(
        &self,
        upload: &mut dyn MultipartUpload,
        part: Vec<Bytes>,
    ) -> Result<(), Failed> {
        let part = upload.put_part(part.into_iter().collect());
        self.ask(TRANSFER, part).await
    }

    pub(super) async fn finish(&self, upload: &mut dyn MultipartUpload) -> Result<(), Failed> {
        let finish = async { upload.complete().await.map(drop) };
        self.ask(TRANSFER, finish).await
    }

    /// Removes what is in a folder and `which` says; gives their number.
    pub(super) async fn empty(
        &self,
        folder: &str,
        which: impl Fn(&str) -> bool,
    ) -> Result<u64, Failed> {
        let folder = Path::from(folder);
        let found = self.storage.list(Some(&folder)).try_collect::<Vec<_>>();
        let found = self.ask(TRANSFER, found).await?;
        let found = found.into_iter().map(|object| object.location);
        let found = found.filter(|path| which(path.as_ref()));
        self.remove(found.collect()).await
    }

    /// Removes objects; gives their number.
    pub(super) async fn remove(&self, paths: Vec<Path>) -> Result<u64, Failed> {
        let count = u64::try_from(paths.len()).unwrap_or(u64::MAX);
        if count == 0 {
            return Ok(0);
        }
        let paths = futures_util::stream::iter(paths).map(Ok).boxed();
        let removing = async {
            let mut removed = self.storage.delete_stream(paths);
            while let Some(one) = removed.next().await {
                match one {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        self.ask(TRANSFER, removing).await?;
        Ok(count)
    }

    /// Tells `each` of every object there is.
    pub(super) async fn list(&self, mut each: impl FnMut(Listed)) -> Result<(), Failed> {
        let prefix = Path::from(self.prefix.as_str());
        let mut listed = self.storage.list(Some(&prefix));
        loop {
            // Time is counted for every object anew: there may be millions.
            match self.ask(TRANSFER, listed.try_next()).await? {
                Some(ObjectMeta {
                    location,
                    last_modified,
                    ..
                }) => each(Listed {
                    path: location.to_string(),
                    modified: last_modified.into(),
                }),
                None => return Ok(()),
            }
        }
    }

    async fn ask<T>(
        &self,
        within: Duration,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Failed> {
        if !self.may_ask() {
            return Err(Failed::Resting);
        }
        match tokio::time::timeout(within, request).await {
            Ok(Ok(answer)) => {
                self.answered();
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.failed(&error.to_string())),
            Err(_) => Err(self.failed(&format!("no answer within {within:?}"))),
        }
    }

    fn may_ask(&self) -> bool {
        let mut breaker = self.breaker();
        let now = clock::instant();
        match breaker.until {
            _ if breaker.in_a_row < MOST_FAILURES => true,
            Some(until) if now < until => false,
            _ => {
                breaker.until = Some(now + REST);
                true
            }
        }
    }

    fn answered(&self) {
        let mut breaker = self.breaker();
        if breaker.in_a_row >= MOST_FAILURES {
            tracing::info!("the reserve answers again");
        }
        *breaker = Breaker::default();
    }

    fn failed(&self, why: &str) -> Failed {
        self.failures.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(why, "a request to the reserve failed");
        let mut breaker = self.breaker();
        breaker.in_a_row = breaker.in_a_row.saturating_add(1);
        if breaker.in_a_row >= MOST_FAILURES {
            breaker.until = Some(clock::instant() + REST);
        }
        if breaker.in_a_row == MOST_FAILURES {
            tracing::warn!(
                why,
                "the reserve fails and is left alone until it answers again"
            );
        }
        Failed::Failed
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_speaks_tls_with_the_processes_provider() {
        let config = config::Reserve {
            endpoint: "https://localhost:9".to_owned(),
            bucket: "bucket".to_owned(),
            region: "us-east-1".to_owned(),
            prefix: "p".to_owned(),
            access_key: "key".to_owned(),
            secret_key: config::Secret::new("secret"),
            retention: Duration::from_hours(1),
            timeout: Duration::from_secs(1),
            max_uploads: 1,
        };
        let client = Client::new(&config).unwrap();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        for _ in 0..MOST_FAILURES {
            let got = runtime.block_on(client.get("p/x", 0, 1, CONNECT));
            assert_eq!(got, Err(Failed::Failed));
        }
        assert!(!client.is_healthy());
        let got = runtime.block_on(client.get("p/x", 0, 1, CONNECT));
        assert_eq!(got, Err(Failed::Resting));
    }
}
