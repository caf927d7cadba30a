//! The one TOML file: as written ([`mod@file`]) and as it runs ([`Config`]).
//!
//! Reading is pure: text and environment in, a [`Config`] or all its faults out. Files are read at
//! the edges, so that a reload and a test take the same way.

mod access;
mod affinity;
mod bucket;
mod cache_rule;
mod challenge;
mod client;
pub mod diagnostics;
mod disk;
mod file;
mod filters;
mod guard;
mod health;
mod interpolate;
mod key;
mod listen;
mod lists;
mod outside;
mod overload;
mod phase;
mod pool;
mod presets;
mod purge;
mod reader;
mod reserve;
mod resolve;
mod rule;
mod secret;
mod servers;
mod shared;
mod test;
mod tiers;
mod token;
mod ttl;
mod units;
mod vary;
mod zone;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use affinity::{Affinity, AffinityBy, Balance, Failover};
pub use bucket::{Bucket, Credentials};
pub use challenge::Challenge;
pub use client::Client;
pub use diagnostics::{Diagnostic, Diagnostics};
pub use disk::Disk;
pub use guard::Guard;
pub use health::{CheckKind, Counted, HealthCheck, Outliers};
pub use interpolate::Env;
pub use outside::{Files, Outside};
pub use presets::{PRESETS, Preset};
pub use purge::Purge;
pub use reserve::Reserve;
pub use secret::Secret;
pub use servers::parse_servers;
pub use shared::{SharedState, WhenUnreachable};
pub use tiers::{SIBLINGS, Tier, Tiers};

pub use overload::{AdaptiveSettings, BreakerSettings, QueueOrder, QueueSettings};

use crate::explain::RuleTest;
use crate::guard::bots::VerifiedBot;
use crate::guard::client::Networks;
use crate::guard::token::Tokens;
use crate::rules::phase::Phases;
use crate::zone::{HostPattern, SessionCookies};

/// Reads a configuration that names no other files.
///
/// # Errors
/// Every fault of the file at once.
pub fn parse(name: &str, source: &str, env: &Env<'_>) -> Result<Config, Diagnostics> {
    let files = &outside::no_files;
    parse_with(name, source, Outside { env, files })
}

/// Reads a configuration; `name` is the file's name for messages.
///
/// # Errors
/// Every fault of the file at once.
pub fn parse_with(name: &str, source: &str, outside: Outside<'_>) -> Result<Config, Diagnostics> {
    let (file, faults) = file::read(name, source, outside);
    resolve::resolve(name, source, file, faults)
}

/// Everything that runs, resolved and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// Where operators connect; `None` switches the admin listener off.
    pub admin: Option<SocketAddr>,
    /// The process itself.
    pub server: Server,
    /// Limits and deadlines towards clients.
    pub client: Client,
    /// The store.
    pub cache: Cache,
    /// What the guard has for all zones.
    pub guard: Guard,
    /// Databases that tell where clients are.
    pub geo: Geo,
    /// Who may purge; `None` switches purging off.
    pub purge: Option<Purge>,
    /// What nodes share, where there are several.
    pub shared: Option<SharedState>,
    /// What is written where.
    pub log: Log,
    /// Signs what clients keep.
    pub secret: Option<Secret>,
    /// What visitors are asked to do where the guard challenges them.
    pub challenge: Challenge,
    /// Crawlers that are known by where they come from.
    pub verified_bots: Vec<VerifiedBot>,
    /// Origin pools by name.
    pub pools: Vec<Arc<Pool>>,
    /// This node among others; `None` for one on its own.
    pub tiers: Option<Tiers>,
    /// Names of the lists that expressions may refer to.
    pub lists: Vec<String>,
    /// Kinds of tokens.
    pub tokens: Tokens,
    /// Sites, by name.
    pub zones: Vec<Arc<Zone>>,
    /// What requests are expected to come to; nothing that runs looks at it.
    pub tests: Vec<RuleTest>,
}

/// One address that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address and port.
    pub address: SocketAddr,
    /// Certificate files; `None` is cleartext.
    pub tls: Option<TlsFiles>,
    /// Peers that begin a connection with a PROXY header; `None` where nobody does.
    pub proxy_protocol: Option<Networks>,
    /// PEM file of the authorities of which clients must have a certificate.
    pub client_ca: Option<PathBuf>,
}

/// PEM files of a TLS listener; both are read again on reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Settings of the process; most take effect at start only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Worker threads; by default one per core.
    pub threads: Option<usize>,
    /// Where this node is; servers of the same place are preferred. This one takes effect at once.
    pub locality: Option<String>,
    /// How long requests in flight may take to finish after SIGTERM.
    pub drain_timeout: Duration,
    /// Socket over which listening sockets are handed to a new binary.
    pub upgrade_socket: PathBuf,
    /// Whether hits in memory are answered before Pingora sees the request. This one takes effect at
    /// once.
    pub hit_lane: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            threads: None,
            locality: None,
            drain_timeout: Duration::from_secs(30),
            // A directory of its own: who can put a socket there can take the listeners over.
            upgrade_socket: PathBuf::from("/run/seawall/upgrade.sock"),
            hit_lane: true,
        }
    }
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Bytes of memory for stored responses.
    pub memory: u64,
    /// Largest response to store, unless a rule says otherwise.
    pub max_object_size: u64,
    /// How long a request waits for another one that fetches the same resource.
    pub collapse_timeout: Duration,
    /// A disk behind the memory; `None` keeps everything in memory alone.
    pub disk: Option<Disk>,
    /// Object storage below the disk.
    pub reserve: Option<Reserve>,
    /// Shows the key in `Cache-Status` to clients that send it in `Seawall-Debug`.
    pub debug_token: Option<Secret>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            max_object_size: 32 << 20,
            collapse_timeout: Duration::from_secs(30),
            disk: None,
            reserve: None,
            debug_token: None,
        }
    }
}

/// Databases in the format of `MaxMind`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Geo {
    /// Countries by address.
    pub country_database: Option<PathBuf>,
    /// Autonomous systems by address.
    pub asn_database: Option<PathBuf>,
}

/// What is written where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Whether each request writes a JSON line to standard output.
    pub access: bool,
    /// Whether what the guard finds does, a few of each kind.
    pub security_events: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            access: true,
            security_events: true,
        }
    }
}

/// A set of origin servers that serve the same application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name in the file.
    pub name: String,
    /// The servers as configured; a name may resolve to several replicas.
    pub servers: Vec<OriginServer>,
    /// A file of further servers, which is read again and again.
    pub servers_file: Option<PathBuf>,
    /// Who is asked for names; `None` asks whom the system asks.
    pub resolver: Option<SocketAddr>,
    /// How one of them is chosen.
    pub balance: Balance,
    /// Where this node is, if that matters.
    pub locality: Option<String>,
    /// Servers elsewhere are asked as well when less than this percentage of the local ones can be.
    pub local_percent: u32,
    /// Whether requests of a session stay at one replica.
    pub affinity: Option<Affinity>,
    /// Over which time a replica that comes into service gets its full weight.
    pub slow_start: Option<Duration>,
    /// All replicas are used when less than this percentage is healthy.
    pub panic_threshold: u32,
    /// When answers take a replica out; `None` never.
    pub outliers: Option<Outliers>,
    /// Active health checks; `None` trusts every replica.
    pub health_check: Option<HealthCheck>,
    /// The Host sent to the origin; `None` passes the client's.
    pub host_header: Option<String>,
    /// Requests that may be outstanding at its servers at once; others wait their turn.
    pub max_requests: usize,
    /// Those that may be outstanding at each replica of a server that does not say so itself.
    pub max_requests_per_replica: Option<usize>,
    /// Those that wait.
    pub queue: QueueSettings,
    /// When the pool is left alone; `None` for never.
    pub breaker: Option<BreakerSettings>,
    /// How the places are learnt, up to `max_requests`; `None` for not.
    pub adaptive_concurrency: Option<AdaptiveSettings>,
    /// Deadlines towards the origin.
    pub timeouts: OriginTimeouts,
    /// Retries of a request on another replica.
    pub retries: Retries,
    /// Verification of `https` origins.
    pub tls: OriginTls,
    /// For how long the answer to a name holds at most.
    pub resolve_interval: Duration,
    /// Whether its servers are asked over HTTP/2.
    pub http2: Http2,
    /// Requests at a time on one connection of HTTP/2.
    pub http2_max_streams: usize,
    /// Largest request body for its servers in bytes, in place of what holds for all clients.
    pub max_body_size: Option<u64>,
    /// The bucket that its servers have.
    pub bucket: Option<Bucket>,
}

/// When servers are asked over HTTP/2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http2 {
    /// Never.
    #[default]
    Off,
    /// Where TLS comes to it (ALPN, RFC 9113 §3.2).
    Negotiate,
    /// Always, in cleartext as well (RFC 9113 §3.3).
    PriorKnowledge,
}

/// One configured server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginServer {
    /// Whether to speak TLS to it.
    pub https: bool,
    /// The name whose SRV records say where it is.
    pub srv: Option<String>,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Share of the requests relative to the others.
    pub weight: u16,
    /// Requests that may be outstanding at each of its replicas; `None` for what the pool says.
    pub max_requests: Option<usize>,
    /// Asked when no server with a lower number is available.
    pub priority: u8,
    /// Where it is.
    pub locality: Option<String>,
}

/// Deadlines towards the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginTimeouts {
    /// How long a request waits for its turn when `max_requests` are outstanding.
    pub queue: Duration,
    /// TCP and TLS connect together.
    pub connect: Duration,
    /// From the request sent to the response's head.
    pub first_byte: Duration,
    /// Longest pause within the response; at least `first_byte`.
    pub between_bytes: Duration,
    /// From the request's arrival to the response's end.
    pub total: Duration,
    /// Longest pause on an upgraded (WebSocket) connection.
    pub upgraded_idle: Duration,
    /// How long an idle connection is kept for reuse.
    pub idle: Duration,
}

impl Default for OriginTimeouts {
    fn default() -> Self {
        Self {
            queue: Duration::from_secs(10),
            connect: Duration::from_secs(3),
            first_byte: Duration::from_secs(30),
            between_bytes: Duration::from_mins(1),
            total: Duration::from_hours(1),
            upgraded_idle: Duration::from_hours(1),
            idle: Duration::from_secs(50),
        }
    }
}

/// Retries of a request on another replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Retries of one request.
    pub max: u32,
    /// Retries allowed per hundred requests of the pool, above a small constant.
    pub budget_percent: u32,
    /// Whether a safe request is sent to another replica when one answers nobody in time.
    pub on_timeout: bool,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            max: 2,
            budget_percent: 20,
            on_timeout: true,
        }
    }
}

/// Verification of `https` origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginTls {
    /// Whether the certificate must be valid for the name.
    pub verify: bool,
    /// Name sent as SNI and verified; by default the server's own name.
    pub server_name: Option<String>,
    /// PEM file of certificate authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// What Seawall proves its own name with.
    pub client: Option<TlsFiles>,
}

impl OriginTls {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let client = self.client.iter();
        let client = client.flat_map(|files| [&files.certificate, &files.key]);
        self.ca.iter().chain(client).map(PathBuf::as_path)
    }
}

impl Default for OriginTls {
    fn default() -> Self {
        Self {
            verify: true,
            server_name: None,
            ca: None,
            client: None,
        }
    }
}

/// A site: the hosts it answers for, its pool and its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name in the file.
    pub name: String,
    /// Hosts it answers for.
    pub hosts: Vec<HostPattern>,
    /// Name of its pool.
    pub pool: String,
    /// Names of the tiers that are asked before the origin, in this order.
    pub upper_tiers: Vec<String>,
    /// Requests that may be outstanding at the origin when no tier answers; `None` leaves it to the pool.
    pub origin_fallback_max_requests: Option<usize>,
    /// Hosts that the origin may be asked with in place of the client's, as they are written: under
    /// these, rules that say so store what clients ask for under any host of the zone.
    pub origin_hosts: Vec<String>,
    /// Whether `//` in a path is one slash.
    pub merge_slashes: bool,
    /// Cookie names that mark a session.
    pub session_cookies: SessionCookies,
    /// Whether everybody is challenged.
    pub under_attack: bool,
    /// Its rules, presets first.
    pub rules: Phases,
}
