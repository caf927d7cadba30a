//! The whole process on one screen: listeners, the proxy behind them, and the services beside it.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage};
use pingora_core::listeners::{ListenerConfig, TcpSocketOptions};
use pingora_core::protocols::TcpKeepalive;
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::background::background_service;
use pingora_core::services::listening::Service;
use tokio::signal::unix::{SignalKind, signal};

use super::connections::{Connections, raise_open_files};
use super::drain::{Drain, InFlight, LAST_LINES};
use super::encoder::Encoder;
use super::key_sets::KeySets;
use super::reload::{Contents, Loaded, Reload, contents, load, tls_paths};
use super::security::Telling;
use super::sharing::{Counting, Sharing};
use super::signals::Signals;
use super::{Passwords, Renewals, Runtime, Shared, ZoneSwitch};
use crate::admin::Admin;
use crate::clock;
use crate::config::{Config, Diagnostics, TlsFiles};
use crate::edge::{BeforeTls, Certificates, Front};
use crate::guard::RateLimiter;
use crate::guard::challenge::Spent;
use crate::guard::connections::Clients;
use crate::guard::limit::Seed;
use crate::observe::{AccessLog, Metrics, SecurityEvents};
use crate::proxy;
use crate::shared_state::{SharedLimits, SharedState};
use crate::store::MemoryStore;

/// Bytes that Pingora reads ahead for each connection: none. It would keep 64 KiB for every one, most of
/// which are idle, and the front reads into memory that connections share.
const READ_BUFFER: usize = 0;

/// Why the process did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has faults.
    #[error("{0}")]
    Config(Diagnostics),
    /// The configuration is fine but cannot be run here.
    #[error("{0}")]
    Environment(String),
}

/// Serves until a signal ends the process: SIGTERM drains, SIGQUIT hands the listening sockets to
/// a process started with `upgrade`, SIGINT ends at once.
///
/// # Errors
/// Why it could not start.
pub fn serve(path: &Path, upgrade: bool) -> Result<(), StartError> {
    let mut seen = contents([path]);
    let (config, named) = load(path);
    let config = config.map_err(StartError::Config)?;
    let environment = StartError::Environment;
    if upgrade {
        prepare_socket(&config).map_err(environment)?;
    } else {
        check_addresses(&config).map_err(environment)?;
    }
    let tls = config
        .listeners
        .iter()
        .filter_map(|listener| listener.tls.as_ref());
    let (certificates, tls) = load_certificates(tls).map_err(environment)?;
    seen.extend(tls);
    let shared = share(config).map_err(environment)?;
    let reload = Reload {
        path: path.to_owned(),
        shared: shared.clone(),
        certificates,
        seen,
        named,
    };
    let server = assemble(upgrade, &shared, reload).map_err(environment)?;
    replace_hangup_default().map_err(environment)?;
    let upgrade_socket = shared.runtime().config.server.upgrade_socket.clone();
    server.run(RunArgs {
        shutdown_signal: Box::new(Signals { upgrade_socket }),
    });
    shared.store.close_disk();
    shared.access_log.flush(LAST_LINES);
    Ok(())
}

/// A SIGHUP before the reload service listens must not end the process. Tokio replaces the default
/// action for good the first time anyone listens.
fn replace_hangup_default() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    let listening = runtime.and_then(|runtime| {
        let _entered = runtime.enter();
        signal(SignalKind::hangup()).map(drop)
    });
    listening.map_err(|error| format!("SIGHUP cannot be received: {error}"))
}

fn share(config: Config) -> Result<Arc<Shared>, String> {
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    metrics.config_loaded(clock::unix_seconds());
    let store = Arc::new(MemoryStore::new(config.cache.memory)?);
    if let Some(reserve) = &config.cache.reserve {
        store.use_reserve(reserve)?;
    }
    let mut kept = config.cache.reserve.is_some();
    if let Some(disk) = &config.cache.disk {
        kept |= store.use_disk(disk)?;
    }
    let shared_state = match &config.shared {
        Some(shared) => {
            let disk = config.cache.disk.as_ref().map(|disk| &*disk.directory);
            // What earlier processes stored may have been purged elsewhere since.
            store.wait_for_purges();
            Some(Arc::new(SharedState::new(shared, disk, kept)?))
        }
        None => None,
    };
    let seed = Seed(clock::secret(), clock::secret());
    let memory = config.guard.rate_limit_memory;
    let limits = Arc::new(RateLimiter::new(memory, seed, config.shared.is_some()));
    let shared_limits = match &config.shared {
        Some(shared) => Some(Arc::new(SharedLimits::new(shared, limits.clone())?)),
        None => None,
    };
    let access_log =
        AccessLog::to_stdout().map_err(|error| format!("no thread for the access log: {error}"))?;
    let encoder = Encoder::start(store.clone(), metrics.compression.clone())
        .map_err(|error| format!("no thread to compress in: {error}"))?;
    let files = raise_open_files();
    if let Some(most) = config
        .client
        .max_connections
        .map(u64::from)
        .filter(|most| *most >= files)
    {
        tracing::warn!(
            client.max_connections = most,
            files,
            "more client connections are allowed than the process may have files open"
        );
    }
    let runtime = Runtime::prepare(config, None)?;
    Ok(Arc::new(Shared {
        runtime: ArcSwap::from_pointee(runtime),
        metrics,
        store,
        encoder,
        purge_limiter: Mutex::default(),
        shared_state,
        limits,
        shared_limits,
        renewals: Renewals::default(),
        access_log,
        passwords: Passwords::default(),
        security: SecurityEvents::default(),
        development: ZoneSwitch::default(),
        under_attack: ZoneSwitch::default(),
        spent: Spent::default(),
        in_flight: InFlight::default(),
        connections: Connections::new(files),
        clients: Clients::default(),
    }))
}

fn assemble(upgrade: bool, shared: &Arc<Shared>, reload: Reload) -> Result<Server, String> {
    let config = shared.runtime().config.clone();
    let options = Opt {
        upgrade,
        ..Opt::default()
    };
    let mut server = Server::new_with_opt_and_conf(options, server_conf(&config));
    server.bootstrap();

    let (requests, renewer) = proxy::requests(shared.clone(), &server.configuration);
    let mut edge = Service::new("edge".to_owned(), Front::new(requests, shared.clone()));
    let before = BeforeTls::new(shared.clone());
    edge.endpoints().set_pre_tls_callback(Arc::new(before));
    for listener in &config.listeners {
        let address = listener.address.to_string();
        let endpoint = ListenerConfig::tcp(address.as_str())
            .tcp_socket_options(socket_options())
            .l4_buffer(L4BufferSettings::default().read(READ_BUFFER));
        let Some(files) = &listener.tls else {
            edge.add_listener(endpoint);
            continue;
        };
        let mut loaded = reload.certificates.iter();
        let (_, certificates) = loaded
            .find(|(loaded, _)| loaded == files)
            .ok_or_else(|| format!("{address} has no certificate"))?;
        edge.add_listener(endpoint.tls(certificates.settings(listener.client_ca.as_deref())?));
    }
    server.add_service(edge);
    if let Some(address) = config.admin {
        let mut admin = Service::new("admin".to_owned(), Admin::new(shared.clone()));
        admin.threads = Some(1);
        admin.add_tcp(&address.to_string());
        server.add_service(admin);
    }
    server.add_service(background_service("origins and reload", reload));
    if shared.shared_state.is_some() {
        let sharing = Sharing {
            shared: shared.clone(),
        };
        server.add_service(background_service("shared state", sharing));
        let counting = Counting {
            shared: shared.clone(),
        };
        server.add_service(background_service("shared limits", counting));
    }
    server.add_service(background_service("refetches", renewer));
    let telling = Telling {
        shared: shared.clone(),
    };
    server.add_service(background_service("security events", telling));
    let key_sets = KeySets {
        shared: shared.clone(),
    };
    server.add_service(background_service("keys of tokens", key_sets));
    server.add_service(background_service(
        "drain",
        Drain {
            shared: shared.clone(),
        },
    ));
    for listener in &config.listeners {
        let scheme = if listener.tls.is_some() {
            "https"
        } else {
            "http"
        };
        tracing::info!(address = %listener.address, scheme, "listening");
    }
    Ok(server)
}

fn server_conf(config: &Config) -> ServerConf {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    ServerConf {
        threads: config.server.threads.unwrap_or(cores),
        work_stealing: false,
        upgrade_sock: config.server.upgrade_socket.display().to_string(),
        // Draining ends the process as soon as it is done; this is only the last resort.
        grace_period_seconds: Some(config.server.drain_timeout.as_secs() + 5),
        graceful_shutdown_timeout_seconds: Some(1),
        upstream_keepalive_pool_size: 512,
        // Retries are decided per request; this only bounds them.
        max_retries: 12,
        ..ServerConf::default()
    }
}

fn socket_options() -> TcpSocketOptions {
    let mut options = TcpSocketOptions::default();
    options.tcp_keepalive = Some(TcpKeepalive {
        idle: std::time::Duration::from_mins(1),
        interval: std::time::Duration::from_secs(10),
        count: 5,
        #[cfg(target_os = "linux")]
        user_timeout: std::time::Duration::ZERO,
    });
    options
}

/// The old process connects to a socket that Pingora makes in this directory.
fn prepare_socket(config: &Config) -> Result<(), String> {
    let socket = &config.server.upgrade_socket;
    let directory = socket.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)
        .map_err(|error| format!("cannot make {}: {error}", directory.display()))
}

/// Pingora ends a service that cannot listen but not the process; this finds out before.
fn check_addresses(config: &Config) -> Result<(), String> {
    let public = config.listeners.iter().map(|listener| listener.address);
    for address in public.chain(config.admin) {
        bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    }
    Ok(())
}

/// Binds without listening, so that no probe finds a server that is not there yet.
fn bind(address: SocketAddr) -> nix::Result<()> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    socket::setsockopt(&socket, socket::sockopt::ReuseAddr, &true)?;
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(address))
}

/// Reads the certificates, and what their files held before.
fn load_certificates<'t>(
    tls: impl Iterator<Item = &'t TlsFiles>,
) -> Result<(Loaded, Contents), String> {
    let mut loaded = Loaded::new();
    let mut seen = Contents::new();
    for files in tls {
        if !loaded.iter().any(|(known, _)| known == files) {
            seen.extend(contents(tls_paths(std::iter::once(files))));
            loaded.push((files.clone(), Certificates::load(files)?));
        }
    }
    Ok((loaded, seen))
}
