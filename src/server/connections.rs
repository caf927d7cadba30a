//! Client connections: how many are open, and how many may be. Each takes a file descriptor, and so
//! does each connection to an origin: clients alone must not use all of them up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::clock;
use crate::observe::{Connection, Metrics};

/// Unless the configuration says otherwise, clients leave one in so many of the open files that the
/// process may have, for origins, files and operators.
const LEFT: u64 = 4;
/// And at least so many: some 40 are open from the start.
const LEAST_LEFT: u64 = 64;

/// Between two log lines about refused connections.
const QUIET: Duration = Duration::from_secs(10);

/// Counts client connections.
#[derive(Debug)]
pub struct Connections {
    open: Arc<AtomicU64>,
    /// Those of them whose TLS handshake is in progress.
    handshaking: Arc<AtomicU64>,
    /// How many there may be where the configuration sets nothing.
    by_files: u64,
    /// When refusals were last logged, in milliseconds of uptime; 0 before the first.
    logged: AtomicU64,
}

/// A connection that counts until dropped.
pub struct Admitted {
    _open: Counted,
    _metric: Connection,
}

/// One more, until dropped.
pub struct Counted(Arc<AtomicU64>);

impl Counted {
    /// One more of `all`, unless there are `most`.
    fn within(all: &Arc<AtomicU64>, most: u64) -> Option<Self> {
        let one_more = |count: u64| (count < most).then(|| count.saturating_add(1));
        let counted = all.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        counted.is_ok().then(|| Self(all.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Connections {
    /// For a process that may have so many files open.
    pub fn new(files: u64) -> Self {
        Self {
            open: Arc::default(),
            handshaking: Arc::default(),
            by_files: files.saturating_sub(LEAST_LEFT.max(files / LEFT)).max(1),
            logged: AtomicU64::new(0),
        }
    }

    /// Room for one more, or none: the connection is to be closed at once. `most` is the configured
    /// limit.
    pub fn admit(&self, most: Option<u32>, metrics: &Metrics) -> Option<Admitted> {
        let most = self.most(most);
        let Some(open) = Counted::within(&self.open, most) else {
            metrics.connection_refused();
            self.tell(most);
            return None;
        };
        Some(Admitted {
            _open: open,
            _metric: metrics.connection(),
        })
    }

    /// Room for one more TLS handshake, or none. Both limits are the configured ones.
    pub fn handshake(&self, most: Option<u32>, of: Option<u32>) -> Option<Counted> {
        let most = most.map_or_else(|| self.most(of).div_ceil(2), u64::from);
        Counted::within(&self.handshaking, most)
    }

    fn most(&self, configured: Option<u32>) -> u64 {
        configured.map_or(self.by_files, u64::from)
    }

    /// Logs that connections are refused, but not for each.
    fn tell(&self, most: u64) {
        let now = u64::try_from(clock::uptime().as_millis()).unwrap_or(u64::MAX);
        let quiet = u64::try_from(QUIET.as_millis()).unwrap_or(u64::MAX);
        let due =
            |logged: u64| (logged == 0 || now - logged.min(now) >= quiet).then_some(now.max(1));
        let logging = self
            .logged
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, due);
        if logging.is_ok() {
            tracing::warn!(
                most,
                "as many client connections as there may be: new ones are closed"
            );
        }
    }
}

/// Raises the soft limit on open files to the hard one: the soft one is often 1024, for the sake of
/// programs that use `select`. Returns what holds now.
pub(super) fn raise_open_files() -> u64 {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files is unknown");
            return 1024;
        }
    };
    if soft >= hard {
        return soft;
    }
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(%error, soft, hard, "the limit on open files stays");
            soft
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_beyond_the_limit_find_no_room_until_others_end() {
        let metrics = Metrics::new().unwrap();
        let connections = Connections::new(1000);
        let first = connections.admit(Some(2), &metrics);
        let second = connections.admit(Some(2), &metrics);
        assert!(first.is_some() && second.is_some());
        assert!(connections.admit(Some(2), &metrics).is_none());
        assert!(connections.admit(Some(3), &metrics).is_some());
        drop(first);
        assert!(connections.admit(Some(2), &metrics).is_some());
    }

    #[test]
    fn by_default_half_of_the_connections_may_be_in_their_handshake() {
        let connections = Connections::new(1000);
        for (most, of, room) in [(None, Some(5), 3), (Some(4), Some(5), 4), (None, None, 375)] {
            let begun: Vec<_> = (0..room).map(|_| connections.handshake(most, of)).collect();
            assert!(begun.iter().all(Option::is_some));
            assert!(connections.handshake(most, of).is_none());
        }
    }

    #[test]
    fn by_default_clients_leave_a_quarter_of_the_open_files_and_no_fewer_than_64() {
        for (files, room) in [(1024, 768), (100, 36), (10, 1)] {
            let metrics = Metrics::new().unwrap();
            let connections = Connections::new(files);
            let admitted: Vec<_> = (0..room)
                .map(|_| connections.admit(None, &metrics))
                .collect();
            assert!(admitted.iter().all(Option::is_some));
            assert!(connections.admit(None, &metrics).is_none());
        }
    }
}
