//! The log of the process itself: JSON lines on standard error, apart from the access log.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::clock;

/// Starts logging. `SEAWALL_LOG` takes filters such as `debug` or `seawall=debug,pingora=info`.
pub fn init() {
    // Pingora logs at `error` what is every day's business at an edge: clients that go away.
    let default =
        "info,pingora_core=warn,pingora_core::connectors=off,pingora_proxy=off,hickory=error";
    let filter = EnvFilter::try_from_env("SEAWALL_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .finish();
    // A second start in one process, as in tests, keeps the first.
    let _ = log.with(Seldom::default()).try_init();
}

/// How often a line tells of what every stranger can bring about.
const BETWEEN: Duration = Duration::from_secs(10);

/// Lets a line about a handshake that failed pass only now and then: a flood of refused connections would be a
/// flood of lines.
#[derive(Default)]
struct Seldom {
    last: Mutex<Option<Instant>>,
}

impl<S: Subscriber> Layer<S> for Seldom {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if *event.metadata().level() != Level::ERROR {
            return true;
        }
        let mut found = IsOfAHandshake(false);
        event.record(&mut found);
        if !found.0 {
            return true;
        }
        let now = clock::instant();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= BETWEEN);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// Whether the message of an event is Pingora's about a handshake.
struct IsOfAHandshake(bool);

impl Visit for IsOfAHandshake {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}").starts_with("Downstream handshake");
        }
    }
}
