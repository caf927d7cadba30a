//! The log of the process itself: JSON lines on standard error, apart from the access log.

use tracing_subscriber::EnvFilter;

/// Starts logging. `SEAWALL_LOG` takes filters such as `debug` or `seawall=debug,pingora=info`.
pub fn init() {
    // Pingora logs at `error` what is every day's business at an edge: clients that go away.
    let default =
        "info,pingora_core=warn,pingora_core::connectors=off,pingora_proxy=off,hickory=error";
    let filter = EnvFilter::try_from_env("SEAWALL_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // A second start in one process, as in tests, keeps the first.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}
