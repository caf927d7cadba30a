//! Looks at how fast a client takes or sends bytes while it is waited for.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

use crate::clock;
use crate::guard::pace::{MinRate, Pace};

/// The pace of one direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Paced {
    pace: Pace,
    /// Since when the client is waited for.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    /// Looks at what reading or writing came to: so many bytes, or that the client is to be waited for.
    ///
    /// # Errors
    /// When the client is slower than it may be.
    pub(super) fn look(
        &mut self,
        least: MinRate,
        moved: Poll<usize>,
        context: &mut Context<'_>,
    ) -> io::Result<()> {
        if least.bytes == 0 {
            return Ok(());
        }
        match moved {
            // Most is done at once, and the clock is not asked.
            Poll::Ready(bytes) => {
                let waited = match self.since.take() {
                    Some(since) => clock::instant().saturating_duration_since(since),
                    None => std::time::Duration::ZERO,
                };
                self.pace
                    .add(waited, u64::try_from(bytes).unwrap_or(u64::MAX));
                self.judge(least)
            }
            Poll::Pending => self.wait(least, context),
        }
    }

    fn wait(&mut self, least: MinRate, context: &mut Context<'_>) -> io::Result<()> {
        loop {
            let since = *self.since.get_or_insert_with(clock::instant);
            let until = (since + self.pace.left(least)).into();
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(until)));
            if timer.deadline() != until {
                timer.as_mut().reset(until);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Ok(());
            }
            let now = clock::instant();
            self.pace.add(now.saturating_duration_since(since), 0);
            self.since = Some(now);
            self.judge(least)?;
        }
    }

    fn judge(&mut self, least: MinRate) -> io::Result<()> {
        if self.pace.is_too_slow(least) {
            return Err(too_slow());
        }
        Ok(())
    }
}

/// Stands for the error that a client which is too slow is ended with.
#[derive(Debug, thiserror::Error)]
#[error("the client is too slow")]
struct TooSlow;

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, TooSlow)
}

/// Whether it is the error of a client that is too slow.
pub(super) fn is_too_slow(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner
        .and_then(|error| error.downcast_ref::<TooSlow>())
        .is_some()
}
