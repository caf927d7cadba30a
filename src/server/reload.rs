//! Taking over a changed configuration: on SIGHUP, and when the file's content changes.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::signal::unix::{SignalKind, signal};

use super::{Runtime, Shared};
use crate::clock;
use crate::config::{self, Config, Listener, Outside, Server, TlsFiles};
use crate::edge::Certificates;
use crate::geo::{Geo, Stamps};

/// How often the files are looked at. Looking works for editors that replace a file, for mounted
/// Kubernetes `ConfigMaps` and for network file systems alike.
const LOOK: Duration = Duration::from_secs(1);

/// Reads a configuration file.
///
/// # Errors
/// Why the file cannot be read, or all its faults, fit to be printed.
pub fn load_config(path: &Path) -> Result<Config, config::Diagnostics> {
    load(path).0
}

/// Reads a configuration file; also tells which files it names, whether it has faults or not.
pub(super) fn load(path: &Path) -> (Result<Config, config::Diagnostics>, Named) {
    let named = RefCell::new(Named::new());
    let name = path.display().to_string();
    let read_beside = |file: &Path| {
        let file = path.parent().unwrap_or(Path::new("")).join(file);
        // Before it is read, so that no change is missed.
        let seen = Seen::of(&file);
        let content = match &seen {
            Seen::Small(content) => Ok(content.clone()),
            Seen::Large(_) | Seen::Nothing => std::fs::read(&file),
        };
        named.borrow_mut().push((file, seen));
        let content = content.map_err(|error| error.to_string())?;
        String::from_utf8(content).map_err(|_| "it is not UTF-8".to_owned())
    };
    let config = match std::fs::read_to_string(path) {
        Ok(source) => {
            let outside = Outside {
                env: &|variable| std::env::var(variable).ok(),
                files: &read_beside,
            };
            config::parse_with(&name, &source, outside)
        }
        Err(error) => {
            let fault = config::Diagnostic {
                span: 0..0,
                message: format!("cannot read the file: {error}"),
                help: None,
            };
            Err(config::Diagnostics::new(&name, "", vec![fault]))
        }
    };
    let mut named = named.into_inner();
    if let Ok(config) = &config {
        let tiers = config.tiers.iter().flat_map(|tiers| &tiers.tiers);
        let pools = config.pools.iter().chain(tiers.map(|tier| &tier.pool));
        let files = pools.flat_map(|pool| pool.tls.files());
        named.extend(files.map(|file| (file.to_owned(), Seen::of(file))));
    }
    (config, named)
}

/// Watches the configuration file, the files that it names, and the certificates.
pub(super) struct Reload {
    pub(super) path: PathBuf,
    pub(super) shared: Arc<Shared>,
    pub(super) certificates: Loaded,
    /// The files as they were before they were read for the start, so that no change is missed.
    pub(super) seen: Contents,
    /// The files that the configuration named at the start.
    pub(super) named: Named,
}

/// Certificates in use, by their files.
pub(super) type Loaded = Vec<(TlsFiles, Arc<Certificates>)>;

/// Content of every file that matters; `None` for one that cannot be read.
pub(super) type Contents = Vec<Option<Vec<u8>>>;

/// Files that a configuration names, each as it was when it was read.
pub(super) type Named = Vec<(PathBuf, Seen)>;

/// Files beyond this size are not read every second.
const LARGE: u64 = 1 << 20;

/// What a file was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It could not be read.
    Nothing,
    /// Its content.
    Small(Vec<u8>),
    /// What its directory says of a large one: device, inode, size, and when content and inode changed.
    Large([i128; 5]),
}

impl Seen {
    fn of(file: &Path) -> Self {
        let about = std::fs::metadata(file).ok();
        match about.filter(|about| about.len() > LARGE) {
            None => std::fs::read(file).map_or(Self::Nothing, Self::Small),
            Some(about) => {
                let nanoseconds = |seconds: i64, rest: i64| {
                    i128::from(seconds) * 1_000_000_000 + i128::from(rest)
                };
                Self::Large([
                    about.dev().into(),
                    about.ino().into(),
                    about.len().into(),
                    nanoseconds(about.mtime(), about.mtime_nsec()),
                    nanoseconds(about.ctime(), about.ctime_nsec()),
                ])
            }
        }
    }
}

/// Reads files for comparison.
pub(super) fn contents(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Contents {
    paths
        .into_iter()
        .map(|path| std::fs::read(path).ok())
        .collect()
}

/// The files of `tls` listeners, in order.
pub(super) fn tls_paths<'t>(
    tls: impl Iterator<Item = &'t TlsFiles>,
) -> impl Iterator<Item = &'t Path> {
    tls.flat_map(|files| [files.certificate.as_path(), files.key.as_path()])
}

#[async_trait]
impl BackgroundService for Reload {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        self.shared.runtime().start();
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::error!("SIGHUP cannot be received; reloads follow the file alone");
            return;
        };
        let mut seen = self.seen.clone();
        let mut named = self.named.clone();
        let mut databases = Databases::default();
        loop {
            let asked = tokio::select! {
                received = hangup.recv() => received.is_some(),
                () = tokio::time::sleep(LOOK) => false,
                _ = shutdown.changed() => return,
            };
            let now = self.contents();
            if asked || now != seen || has_changed(&named) {
                seen = now;
                // Those of a configuration with faults as well: mending one of them may mend it.
                named = self.reload();
            }
            databases.look(&self.shared.runtime());
        }
    }
}

impl Reload {
    fn contents(&self) -> Contents {
        let tls = tls_paths(self.certificates.iter().map(|(files, _)| files));
        contents(std::iter::once(self.path.as_path()).chain(tls))
    }

    /// All or nothing: whatever fails, the configuration in force stays. Gives the files named.
    fn reload(&self) -> Named {
        let (config, named) = load(&self.path);
        let faults = |faults: config::Diagnostics| faults.lines().collect();
        let outcome = config.map_err(faults).and_then(|config| self.apply(config));
        self.shared.metrics.reload(outcome.is_ok());
        match outcome {
            Ok(()) => {
                self.shared.metrics.config_loaded(clock::unix_seconds());
                tracing::info!(file = %self.path.display(), "configuration reloaded");
            }
            Err(faults) => {
                for fault in faults {
                    tracing::error!(fault, "configuration not reloaded; the last good one stays");
                }
            }
        }
        named
    }

    fn apply(&self, config: Config) -> Result<(), Vec<String>> {
        let previous = self.shared.runtime();
        let runtime = Runtime::prepare(config, Some(&previous)).map_err(|why| vec![why])?;
        for (files, certificates) in &self.certificates {
            certificates.reload(files).map_err(|why| vec![why])?;
        }
        warn_of_restart(&previous.config, &runtime.config);
        self.shared.store.set_capacity(runtime.config.cache.memory);
        if let Some(disk) = &runtime.config.cache.disk {
            self.shared.store.set_disk_capacity(disk.capacity);
        }
        runtime.start();
        self.shared.runtime.store(Arc::new(runtime));
        Ok(())
    }
}

/// What has been seen of the databases of addresses.
#[derive(Default)]
struct Databases {
    last: Stamps,
    /// Those that could not be read: they are not tried again.
    broken: Stamps,
}

impl Databases {
    /// Takes databases over that changed, once they stayed the same from one look to the next: they are large,
    /// and may be on their way.
    fn look(&mut self, runtime: &Runtime) {
        let config = &runtime.config.geo;
        let now = Stamps::of(config);
        let settled = now == self.last;
        self.last = now.clone();
        if !settled || now == *runtime.geo.load().stamps() || now == self.broken {
            return;
        }
        match Geo::load(config) {
            Ok(geo) => {
                runtime.geo.store(Arc::new(geo));
                tracing::info!("databases of addresses read again");
            }
            Err(fault) => {
                self.broken = now;
                tracing::error!(fault, "the databases of addresses stay as they were");
            }
        }
    }
}

fn has_changed(named: &Named) -> bool {
    named.iter().any(|(file, seen)| Seen::of(file) != *seen)
}

/// From whom a PROXY header is wanted is looked up for every connection.
fn listeners(config: &Config) -> Vec<Listener> {
    let listeners = config.listeners.iter().cloned();
    let otherwise = listeners.map(|listener| Listener {
        proxy_protocol: None,
        ..listener
    });
    otherwise.collect()
}

fn warn_of_restart(old: &Config, new: &Config) {
    // Its capacity is taken over.
    let disk = |config: &Config| {
        let disk = config.cache.disk.as_ref();
        disk.map(|disk| (disk.directory.clone(), disk.write_rate))
    };
    let server = Server {
        // Read for every request.
        hit_lane: old.server.hit_lane,
        ..new.server.clone()
    };
    let changed = [
        ("listen", listeners(old) != listeners(new)),
        ("admin", old.admin != new.admin),
        ("server", old.server != server),
        ("cache.disk", disk(old) != disk(new)),
        ("cache.reserve", old.cache.reserve != new.cache.reserve),
        ("shared", old.shared != new.shared),
        (
            "client.http2_max_streams",
            old.client.http2_max_streams != new.client.http2_max_streams,
        ),
    ];
    for (key, _) in changed.iter().filter(|(_, changed)| *changed) {
        tracing::warn!(key, "changed, but takes effect only with a restart");
    }
}
