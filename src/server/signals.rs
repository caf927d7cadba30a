//! Which signals end the process, and how.

use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM drains, SIGINT ends at once, SIGQUIT hands over, but only to a process that waits.
pub(super) struct Signals {
    pub(super) upgrade_socket: PathBuf,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (mut quit, mut terminate, mut interrupt) = (
            listen(SignalKind::quit()),
            listen(SignalKind::terminate()),
            listen(SignalKind::interrupt()),
        );
        loop {
            tokio::select! {
                () = arrival(&mut terminate) => return ShutdownSignal::GracefulTerminate,
                () = arrival(&mut interrupt) => return ShutdownSignal::FastShutdown,
                () = arrival(&mut quit) => {
                    if self.successor_waits() {
                        return ShutdownSignal::GracefulUpgrade;
                    }
                    tracing::error!(
                        socket = %self.upgrade_socket.display(),
                        "SIGQUIT ignored: no process started with --upgrade waits at the socket"
                    );
                }
            }
        }
    }
}

impl Signals {
    fn successor_waits(&self) -> bool {
        std::fs::metadata(&self.upgrade_socket).is_ok_and(|file| file.file_type().is_socket())
    }
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind)
        .inspect_err(|error| tracing::error!(%error, "a signal cannot be received"))
        .ok()
}

async fn arrival(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}
