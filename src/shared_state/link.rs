//! The commands that are sent to the server, each within a deadline.

use std::future::Future;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisError, TlsCertificates, Value};

use super::record::Fields;
use crate::config;
use crate::purge::Position;

/// Entries read at a time.
pub(super) const BATCH: usize = 128;

/// A server, and the stream there.
pub(super) struct Link {
    client: Client,
    /// The stream's name.
    pub(super) stream: String,
    timeout: Duration,
    history: u64,
}

/// An entry as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawEntry {
    pub(super) position: Position,
    pub(super) fields: Fields,
}

/// Why the server could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Broken(String),
    /// It answers, but does not do what it is asked.
    #[error("{0}")]
    Refused(String),
    #[error("an answer that makes no sense")]
    Garbage,
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(_) | ErrorKind::Extension => Self::Refused(error.to_string()),
            _ => Self::Broken(error.to_string()),
        }
    }
}

impl Link {
    /// # Errors
    /// When the configuration cannot be used; the URL is not part of what is said.
    pub(super) fn new(config: &config::SharedState) -> Result<Self, String> {
        // Only the first counts, and all install this one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = config.redis.reveal();
        let client = match &config.ca {
            None => Client::open(url),
            Some(path) => {
                let pem = std::fs::read(path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(pem),
                };
                Client::build_with_tls(url, certificates)
            }
        };
        let client = client.map_err(|error| format!("`shared.redis` cannot be used: {error}"))?;
        Ok(Self {
            client,
            stream: format!("{}:purges", config.prefix),
            timeout: config.timeout,
            history: config.history,
        })
    }

    /// Where the server is, without what is secret.
    pub(super) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// A connection; many may use it at a time.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        // The deadlines are those here, as one command waits longer than others.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        within(self.timeout, connecting).await
    }

    /// The first entries from `from` on, that one included.
    pub(super) async fn entries(
        &self,
        connection: &mut MultiplexedConnection,
        from: Position,
    ) -> Result<Vec<RawEntry>, Failure> {
        let mut command = redis::cmd("XRANGE");
        command.arg(&self.stream).arg(from.to_string()).arg("+");
        self.read(connection, command.arg("COUNT").arg(BATCH)).await
    }

    /// The first entry of all.
    pub(super) async fn first(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Option<Position>, Failure> {
        let mut command = redis::cmd("XRANGE");
        command.arg(&self.stream).arg("-").arg("+");
        self.read_one(connection, &mut command).await
    }

    /// The last entry of all.
    pub(super) async fn last(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Option<Position>, Failure> {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(&self.stream).arg("+").arg("-");
        self.read_one(connection, &mut command).await
    }

    /// Waits until there is an entry after `after`, for no longer than `most`.
    pub(super) async fn wait(
        &self,
        connection: &mut MultiplexedConnection,
        after: Position,
        most: Duration,
    ) -> Result<(), Failure> {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(1);
        command
            .arg("BLOCK")
            .arg(u64::try_from(most.as_millis()).unwrap_or(1).max(1));
        command
            .arg("STREAMS")
            .arg(&self.stream)
            .arg(after.to_string());
        let reading = command.query_async::<Value>(connection);
        within(self.timeout.saturating_add(most), reading).await?;
        Ok(())
    }

    /// Adds entries, and tells where they are.
    pub(super) async fn append(
        &self,
        connection: &mut MultiplexedConnection,
        entries: &[Fields],
    ) -> Result<Vec<Position>, Failure> {
        let mut pipe = redis::pipe();
        for fields in entries {
            // Trimming to about so many costs the server less.
            let command = pipe.cmd("XADD").arg(&self.stream);
            command.arg("MAXLEN").arg("~").arg(self.history).arg("*");
            for (name, value) in fields {
                command.arg(&**name).arg(&**value);
            }
        }
        let adding = pipe.query_async::<Vec<String>>(connection);
        let added = within(self.timeout, adding).await?;
        let positions = added.iter().map(|position| position.parse());
        let positions: Result<Vec<Position>, _> = positions.collect();
        positions
            .ok()
            .filter(|positions| positions.len() == entries.len())
            .ok_or(Failure::Garbage)
    }

    async fn read_one(
        &self,
        connection: &mut MultiplexedConnection,
        command: &mut Cmd,
    ) -> Result<Option<Position>, Failure> {
        let found = self.read(connection, command.arg("COUNT").arg(1)).await?;
        Ok(found.first().map(|entry| entry.position))
    }

    async fn read(
        &self,
        connection: &mut MultiplexedConnection,
        command: &Cmd,
    ) -> Result<Vec<RawEntry>, Failure> {
        let answer = within(self.timeout, command.query_async::<Value>(connection)).await?;
        let Value::Array(entries) = answer else {
            return Err(Failure::Garbage);
        };
        let entries = entries.into_iter().map(raw_entry);
        entries.collect::<Option<_>>().ok_or(Failure::Garbage)
    }
}

fn raw_entry(value: Value) -> Option<RawEntry> {
    let Value::Array(parts) = value else {
        return None;
    };
    let [position, fields] = <[Value; 2]>::try_from(parts).ok()?;
    let position = std::str::from_utf8(&bytes(position)?).ok()?.parse().ok()?;
    let Value::Array(values) = fields else {
        return None;
    };
    let mut values = values.into_iter();
    let mut fields = Fields::new();
    while let Some(name) = values.next() {
        fields.push((bytes(name)?, bytes(values.next()?)?));
    }
    Some(RawEntry { position, fields })
}

fn bytes(value: Value) -> Option<Box<[u8]>> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        Value::SimpleString(text) => Some(text.into_bytes().into()),
        _ => None,
    }
}

pub(super) async fn within<T>(
    most: Duration,
    asking: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(most, asking).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::Timeout),
    }
}
