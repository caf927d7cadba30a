//! Why an origin gives no answer.

use pingora_error::{Error, ErrorType};

use super::outlier::Outcome;
use super::overload::Shed;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FetchFailure {
    /// The pool has no replica.
    #[error("the pool has no replica")]
    NoReplica,
    /// All replicas have as many requests outstanding as they may.
    #[error("the pool is busy")]
    Busy,
    /// The pool has as much to do as it may, or is left alone.
    #[error("the pool has as much to do as it may: {}", .0.as_str())]
    Shed(Shed),
    /// No connection.
    #[error("no connection to the origin")]
    Connect,
    /// No connection in time.
    #[error("no connection to the origin in time")]
    ConnectTimeout,
    /// TLS failed.
    #[error("TLS with the origin failed")]
    Tls,
    /// The connection ended before the answer.
    #[error("the origin closed the connection")]
    Closed,
    /// No answer in time.
    #[error("the origin did not answer in time")]
    Timeout,
    /// What came is not HTTP.
    #[error("the origin's answer is malformed")]
    Protocol,
}

impl FetchFailure {
    /// The kind of a failure, as a metric label.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::NoReplica => "no-replica",
            Self::Busy => "busy",
            Self::Shed(shed) => shed.as_str(),
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect-timeout",
            Self::Tls => "tls",
            Self::Closed => "connection",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
        }
    }

    /// Whether the origin was not asked, so as not to give it more to do.
    pub const fn is_limit(self) -> bool {
        matches!(self, Self::Busy | Self::Shed(_))
    }

    /// The failure of this kind.
    pub fn named(kind: &str) -> Option<Self> {
        let all = [
            Self::NoReplica,
            Self::Busy,
            Self::Shed(Shed::QueueFull),
            Self::Shed(Shed::QueueTimeout),
            Self::Shed(Shed::BreakerOpen),
            Self::Connect,
            Self::ConnectTimeout,
            Self::Tls,
            Self::Closed,
            Self::Timeout,
            Self::Protocol,
        ];
        all.into_iter().find(|failure| failure.kind() == kind)
    }

    /// What it says of the replica.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::NoReplica
            | Self::Busy
            | Self::Shed(_)
            | Self::Connect
            | Self::ConnectTimeout
            | Self::Tls => Outcome::NotConnected,
            Self::Timeout => Outcome::TimedOut,
            Self::Closed | Self::Protocol => Outcome::Broken,
        }
    }

    /// What Pingora's error comes to.
    pub(super) fn of(error: &Error) -> Self {
        match error.etype() {
            ErrorType::ConnectTimedout => Self::ConnectTimeout,
            ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::SocketError => Self::Connect,
            ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::InvalidCert => Self::Tls,
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => Self::Timeout,
            ErrorType::InvalidHTTPHeader | ErrorType::H2Error | ErrorType::InvalidH2 => {
                Self::Protocol
            }
            _ => Self::Closed,
        }
    }
}
