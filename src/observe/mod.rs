//! What is told about the work done: metrics and the access log. Renders decisions, makes none.

mod access_line;
mod access_log;
mod compression;
mod disk_metrics;
mod limit_metrics;
mod logging;
mod metrics;
mod origin;
mod reserve_metrics;
mod room_metrics;
mod security;
mod series;
mod shared_metrics;
mod tier_metrics;

pub use access_log::{AccessLog, AccessRecord, KeyHash, OrEmpty, Shown, Time};
pub use compression::CompressionMetrics;
pub use limit_metrics::LimitMetrics;
pub use logging::init as init_logging;
pub use metrics::{Connection, Metrics, RequestFigures};
pub use security::{GuardMetrics, SecurityEvents, SecurityRecord};
pub use tier_metrics::TierMetrics;
