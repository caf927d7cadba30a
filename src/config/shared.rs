//! `[shared]`: what nodes tell each other through Redis.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::file::{SHORTEST, put, put_number};
use super::reader::{Located, Section};
use super::secret::Secret;

/// With less, the stream may be trimmed before a node that is busy has read it.
const SHORTEST_HISTORY: u64 = 100;
const LONGEST_HISTORY: u64 = 10_000_000;

/// With less, no server could answer in time.
const SHORTEST_STRICT: Duration = Duration::from_millis(1);

/// How nodes share what they must all know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedState {
    /// URL of a Redis or Valkey server; it may hold a password.
    pub redis: Secret,
    /// Authorities to trust, with `rediss://`; by default the system's.
    pub ca: Option<PathBuf>,
    /// What the names of all keys begin with.
    pub prefix: String,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a request may wait for an answer, where a strict rule has it wait.
    pub strict_timeout: Duration,
    /// What becomes of stored responses while the server cannot be reached.
    pub when_unreachable: WhenUnreachable,
    /// Purges that are kept for nodes that are away.
    pub history: u64,
}

/// What becomes of stored responses when purges of other nodes may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnreachable {
    /// They are served as before; what may have been purged without this node's knowledge is stale.
    Serve,
    /// They are stale; what may have been purged without this node's knowledge is gone.
    Validate,
}

/// Reads the section; `None` when it lacks what it must have.
pub(super) fn read_shared(section: Section<'_>) -> Option<SharedState> {
    let redis = section.required_string("redis", "\"redis://redis.internal:6379\"");
    let redis = redis.and_then(|redis| read_url(&section, redis));
    let ca = section.string("ca").map(|path| PathBuf::from(path.value));
    let prefix = section.parsed("prefix", "a string", prefix);
    let mut timeout = Duration::from_secs(1);
    put(&mut timeout, section.duration_of("timeout", SHORTEST));
    let mut strict_timeout = Duration::from_millis(5);
    let strict = section.duration_of("strict_timeout", SHORTEST_STRICT);
    put(&mut strict_timeout, strict);
    let mut when_unreachable = WhenUnreachable::Serve;
    let words = [
        ("serve", WhenUnreachable::Serve),
        ("validate", WhenUnreachable::Validate),
    ];
    put(
        &mut when_unreachable,
        section.word("when_unreachable", &words),
    );
    let mut history = 100_000;
    let bounds = SHORTEST_HISTORY..=LONGEST_HISTORY;
    put_number(&mut history, section.integer("history", bounds));
    section.finish();
    Some(SharedState {
        redis: redis?,
        ca,
        prefix: prefix.map_or_else(|| "seawall".to_owned(), |prefix| prefix.value),
        timeout,
        strict_timeout,
        when_unreachable,
        history,
    })
}

/// Faults do not repeat the URL, nor show its place: it may hold a password.
fn read_url(section: &Section<'_>, text: Located<String>) -> Option<Secret> {
    let uri: Option<Uri> = text.value.parse().ok();
    let uri = uri.filter(|uri| {
        matches!(uri.scheme_str(), Some("redis" | "rediss"))
            && uri.host().is_some_and(|host| !host.is_empty())
    });
    if uri.is_some() {
        return Some(Secret::new(text.value));
    }
    let why = "`redis` must be a URL that begins with redis:// or rediss://";
    let help = "such as \"redis://redis.internal:6379\" or \"rediss://user:${REDIS_PASSWORD}@redis.internal:6380/0\"; \
                what is special in a URL is percent-encoded in a password";
    let span = section.span.clone();
    section.reader.fault(span, why, Some(help.to_owned()));
    None
}

fn prefix(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/{}".contains(&byte);
    if !(1..=100).contains(&text.len()) || !text.bytes().all(plain) {
        return Err("must be 1 to 100 letters, digits and any of -_.:/{}".to_owned());
    }
    Ok(text.to_owned())
}
