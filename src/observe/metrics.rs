//! Prometheus metrics. Labels are names from the configuration and closed sets of words, never
//! anything a client sends.

use std::time::Duration;

use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    Opts, Registry, TextEncoder,
};

use super::compression::CompressionMetrics;
use super::disk_metrics::DiskMetrics;
use super::limit_metrics::LimitMetrics;
use super::origin::Origin;
use super::reserve_metrics::ReserveMetrics;
use super::room_metrics::RoomMetrics;
use super::security::GuardMetrics;
use super::series::RecentSeries;
use super::shared_metrics::SharedMetrics;
use super::tier_metrics::TierMetrics;
use crate::origin::OriginPool;
use crate::server::Site;
use crate::shared_state::SharedStatistics;
use crate::store::{DiskStatistics, ReserveStatistics, StoreStatistics};

/// From a memory hit to a slow report.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Words that count as answered by the cache.
const HITS: &[&str] = &["HIT", "STALE", "UPDATING", "REVALIDATED"];

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    traffic: Traffic,
    origin: Origin,
    process: Process,
    /// Compressions of stored responses.
    pub compression: CompressionMetrics,
    /// What tiers ask of each other.
    pub tiers: TierMetrics,
    /// What the guard found.
    pub guard: GuardMetrics,
    /// The counters of rate limits.
    pub limits: LimitMetrics,
    disk: DiskMetrics,
    reserve: ReserveMetrics,
    shared: SharedMetrics,
    rooms: RoomMetrics,
}

/// Requests as clients see them.
pub(super) struct Traffic {
    pub(super) requests: IntCounterVec,
    pub(super) bytes: IntCounterVec,
    pub(super) responses: IntCounterVec,
    pub(super) seconds: HistogramVec,
    hit_ratio: GaugeVec,
    hit_ratio_bytes: GaugeVec,
    refused: IntCounterVec,
    connections: IntGauge,
    connections_refused: IntCounter,
    lane_hits: IntCounter,
    early_revalidations: IntCounter,
    refetches: IntCounterVec,
    series: RecentSeries,
}

/// The store and the process itself.
struct Process {
    store_objects: IntGauge,
    store_bytes: IntGauge,
    store_capacity: IntGauge,
    purges: IntCounterVec,
    purged_objects: IntCounter,
    reloads: IntCounterVec,
    reload_success: IntGauge,
    reload_time: Gauge,
    log_dropped: IntCounter,
}

/// One finished request.
#[derive(Clone, Copy, Debug)]
pub struct RequestFigures<'a> {
    /// Name of the zone, `-` when none answered.
    pub zone: &'a str,
    /// The `X-Cache` word.
    pub cache: &'static str,
    /// Name of the deciding rule, `default` when none.
    pub rule: &'a str,
    /// Status sent.
    pub status: u16,
    /// Body bytes sent.
    pub bytes: u64,
    /// From the head's arrival to the end.
    pub duration: Duration,
}

/// Counts a connection as open while it lives.
pub struct Connection {
    open: IntGauge,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl Traffic {
    fn new(to: &Registry) -> Result<Self, prometheus::Error> {
        let by = ["zone", "cache_status", "rule"];
        let of_all = "Share of requests answered by the cache since start";
        let of_bytes = "Share of body bytes answered by the cache since start";
        let beyond = name("refused_connections_total");
        Ok(Self {
            requests: counters(to, "requests_total", "Requests", &by)?,
            bytes: counters(
                to,
                "response_bytes_total",
                "Body bytes sent to clients",
                &by,
            )?,
            responses: counters(to, "responses_total", "Responses", &["zone", "status"])?,
            seconds: histograms(
                to,
                "request_duration_seconds",
                "Time to answer a request",
                &["zone", "cache_status"],
            )?,
            hit_ratio: gauges(to, "cache_hit_ratio", of_all, &["zone"])?,
            hit_ratio_bytes: gauges(to, "cache_hit_ratio_bytes", of_bytes, &["zone"])?,
            refused: counters(
                to,
                "refused_requests_total",
                "Requests refused before any rule",
                &["reason"],
            )?,
            connections: gauge(to, "connections", "Open client connections")?,
            connections_refused: register(
                to,
                IntCounter::new(beyond, "Client connections beyond the limit")?,
            )?,
            lane_hits: register(
                to,
                IntCounter::new(
                    name("hit_lane_total"),
                    "Hits that were answered on the hit lane",
                )?,
            )?,
            early_revalidations: register(
                to,
                IntCounter::new(
                    name("early_revalidations_total"),
                    "Hits that had the stored response validated before it was stale",
                )?,
            )?,
            refetches: register(
                to,
                IntCounterVec::new(
                    Opts::new(
                        name("refetches_total"),
                        "What was purged and was to be fetched again, by what came of it",
                    ),
                    &["result"],
                )?,
            )?,
            series: RecentSeries::default(),
        })
    }
}

impl Process {
    fn new(to: &Registry) -> Result<Self, prometheus::Error> {
        let time = name("config_last_reload_success_timestamp_seconds");
        let dropped = name("access_log_dropped_total");
        let purged = name("purged_objects_total");
        Ok(Self {
            store_objects: gauge(to, "store_objects", "Stored responses")?,
            store_bytes: gauge(to, "store_bytes", "Bytes of stored responses")?,
            store_capacity: gauge(to, "store_capacity_bytes", "Bytes the store may hold")?,
            purges: counters(to, "purges_total", "Purges asked for", &["result"])?,
            purged_objects: register(
                to,
                IntCounter::new(purged, "Stored responses that purges reached")?,
            )?,
            reloads: counters(
                to,
                "config_reloads_total",
                "Configuration reloads",
                &["result"],
            )?,
            reload_success: gauge(
                to,
                "config_last_reload_successful",
                "Whether the last reload took effect",
            )?,
            reload_time: register(
                to,
                Gauge::new(time, "When a configuration last took effect")?,
            )?,
            log_dropped: register(to, IntCounter::new(dropped, "Access log lines dropped")?)?,
        })
    }
}

impl Metrics {
    /// A fresh set.
    ///
    /// # Errors
    /// When two metrics have one name, which a test rules out.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        Ok(Self {
            traffic: Traffic::new(&registry)?,
            origin: Origin::new(&registry)?,
            process: Process::new(&registry)?,
            compression: CompressionMetrics::new(&registry)?,
            tiers: TierMetrics::new(&registry)?,
            guard: GuardMetrics::new(&registry)?,
            limits: LimitMetrics::new(&registry)?,
            disk: DiskMetrics::new()?,
            reserve: ReserveMetrics::new()?,
            shared: SharedMetrics::new()?,
            rooms: RoomMetrics::new()?,
            registry,
        })
    }

    /// Counts a finished request.
    pub fn request(&self, figures: RequestFigures<'_>) {
        self.traffic.series.with(&self.traffic, &figures, |series| {
            series.requests.inc();
            series.bytes.inc_by(figures.bytes);
            series.responses.inc();
            series.seconds.observe(figures.duration.as_secs_f64());
        });
    }

    /// Counts a hit that was answered on the hit lane.
    pub fn lane_hit(&self) {
        self.traffic.lane_hits.inc();
    }

    /// Counts a hit that had the stored response validated before it was stale.
    pub fn early_revalidation(&self) {
        self.traffic.early_revalidations.inc();
    }

    /// Counts what was purged and was to be fetched again: whether it was.
    pub fn renewal(&self, begun: bool) {
        let result = if begun { "fetched" } else { "passed over" };
        let counter = self.traffic.refetches.with_label_values(&[result]);
        counter.inc();
    }

    /// Counts a request sent to the origin.
    pub fn origin_request(&self, pool: &str) {
        self.origin.requests.with_label_values(&[pool]).inc();
    }

    /// Counts a request to the origin that failed; `kind` is one of a closed set.
    pub fn origin_failure(&self, pool: &str, kind: &'static str) {
        self.origin.failures.with_label_values(&[pool, kind]).inc();
    }

    /// Counts a request that was not sent, so as not to give the origin more to do; reason and priority
    /// are of closed sets.
    pub fn shed(&self, pool: &str, reason: &'static str, priority: &'static str) {
        let labels = [pool, reason, priority];
        self.origin.shed.with_label_values(&labels).inc();
    }

    /// Counts a retry.
    pub fn origin_retry(&self, pool: &str) {
        self.origin.retries.with_label_values(&[pool]).inc();
    }

    /// Records how long the origin took to begin its answer.
    pub fn origin_first_byte(&self, pool: &str, after: Duration) {
        self.origin
            .seconds
            .with_label_values(&[pool])
            .observe(after.as_secs_f64());
    }

    /// Counts a connection until the result is dropped.
    pub fn connection(&self) -> Connection {
        self.traffic.connections.inc();
        Connection {
            open: self.traffic.connections.clone(),
        }
    }

    /// Counts a connection that was closed because there were too many.
    pub fn connection_refused(&self) {
        self.traffic.connections_refused.inc();
    }

    /// Client connections open now.
    pub fn open_connections(&self) -> i64 {
        self.traffic.connections.get()
    }

    /// Counts a request refused at the edge.
    pub fn refused(&self, reason: &'static str) {
        self.traffic.refused.with_label_values(&[reason]).inc();
    }

    /// Counts a purge that reached `objects` stored responses.
    pub fn purged(&self, objects: u64) {
        self.process.purges.with_label_values(&["success"]).inc();
        self.process.purged_objects.inc_by(objects);
    }

    /// Counts a purge that was not carried out.
    pub fn purge_refused(&self) {
        self.process.purges.with_label_values(&["refused"]).inc();
    }

    /// Counts an access log line that had to be dropped.
    pub fn log_dropped(&self) {
        self.process.log_dropped.inc();
    }

    /// Records that a configuration took effect, at start or by a reload; `now` in seconds since
    /// the epoch.
    pub fn config_loaded(&self, now: f64) {
        self.process.reload_success.set(1);
        self.process.reload_time.set(now);
    }

    /// Counts a reload.
    pub fn reload(&self, success: bool) {
        let result = if success { "success" } else { "failure" };
        self.process.reloads.with_label_values(&[result]).inc();
        self.process.reload_success.set(i64::from(success));
    }

    /// The text format, with what is measured at scrape time filled in.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn render<'p>(
        &self,
        store: StoreStatistics,
        (disk, reserve): (Option<&DiskStatistics>, Option<&ReserveStatistics>),
        shared: Option<&SharedStatistics>,
        pools: impl Iterator<Item = &'p OriginPool>,
        sites: &[Site],
    ) -> Result<Vec<u8>, prometheus::Error> {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.process.store_objects.set(signed(store.objects));
        self.process.store_bytes.set(signed(store.bytes));
        self.process.store_capacity.set(signed(store.capacity));
        self.origin.forget();
        for pool in pools {
            self.origin.measure(pool);
        }
        set_ratios(&self.traffic.requests, &self.traffic.hit_ratio);
        set_ratios(&self.traffic.bytes, &self.traffic.hit_ratio_bytes);
        let mut text = Vec::new();
        let mut families = self.registry.gather();
        families.extend(disk.into_iter().flat_map(|disk| self.disk.gather(disk)));
        let reserve = reserve.into_iter();
        families.extend(reserve.flat_map(|reserve| self.reserve.gather(reserve)));
        families.extend(
            shared
                .into_iter()
                .flat_map(|shared| self.shared.gather(shared)),
        );
        families.extend(self.rooms.gather(sites));
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

/// Sets each zone's ratio of hits from counters by zone, cache status and rule.
fn set_ratios(counters: &IntCounterVec, ratios: &GaugeVec) {
    use prometheus::core::Collector;
    let mut zones: std::collections::BTreeMap<String, (f64, f64)> =
        std::collections::BTreeMap::new();
    for family in counters.collect() {
        for metric in family.get_metric() {
            let label = |name: &str| {
                let found = metric.get_label().iter().find(|label| label.name() == name);
                found.map_or("", prometheus::proto::LabelPair::value)
            };
            let (hits, all) = zones.entry(label("zone").to_owned()).or_default();
            let value = metric.get_counter().get_value();
            *all += value;
            if HITS.contains(&label("cache_status")) {
                *hits += value;
            }
        }
    }
    for (zone, (hits, all)) in zones {
        let ratio = if all > 0.0 { hits / all } else { 0.0 };
        ratios.with_label_values(&[zone.as_str()]).set(ratio);
    }
}

pub(super) fn status_class(status: u16) -> &'static str {
    match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500..600 => "5xx",
        _ => "none",
    }
}

pub(super) fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

pub(super) fn name(short: &str) -> String {
    format!("seawall_{short}")
}

pub(super) fn counters(
    registry: &Registry,
    short: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    register(
        registry,
        IntCounterVec::new(Opts::new(name(short), help), labels)?,
    )
}

fn gauges(
    registry: &Registry,
    short: &str,
    help: &str,
    labels: &[&str],
) -> Result<GaugeVec, prometheus::Error> {
    register(
        registry,
        GaugeVec::new(Opts::new(name(short), help), labels)?,
    )
}

pub(super) fn gauge(
    registry: &Registry,
    short: &str,
    help: &str,
) -> Result<IntGauge, prometheus::Error> {
    register(registry, IntGauge::new(name(short), help)?)
}

pub(super) fn histograms(
    registry: &Registry,
    short: &str,
    help: &str,
    labels: &[&str],
) -> Result<HistogramVec, prometheus::Error> {
    let options = HistogramOpts::new(name(short), help).buckets(SECONDS.to_vec());
    register(registry, HistogramVec::new(options, labels)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_counts_hits_among_all_requests_of_a_zone() {
        let metrics = Metrics::new().unwrap();
        for (cache, bytes) in [
            ("HIT", 300),
            ("MISS", 100),
            ("BYPASS", 0),
            ("UPDATING", 100),
        ] {
            metrics.request(RequestFigures {
                zone: "shop",
                cache,
                rule: "default",
                status: 200,
                bytes,
                duration: Duration::from_millis(1),
            });
        }
        let store = StoreStatistics {
            objects: 1,
            bytes: 2,
            capacity: 3,
        };
        let text = String::from_utf8(
            metrics
                .render(store, (None, None), None, std::iter::empty(), &[])
                .unwrap(),
        )
        .unwrap();
        assert!(
            text.contains("seawall_cache_hit_ratio{zone=\"shop\"} 0.5\n"),
            "{text}"
        );
        assert!(
            text.contains("seawall_cache_hit_ratio_bytes{zone=\"shop\"} 0.8\n"),
            "{text}"
        );
        assert!(text.contains("seawall_store_bytes 2\n"), "{text}");
    }
}
