//! A deadline that moves with every request, without a new timer for each.

use std::pin::Pin;
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

use crate::clock;

/// One timer for all deadlines of a connection. It stays set to an earlier one until that passes.
#[derive(Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Waits until `deadline`.
    pub(crate) async fn until(&mut self, deadline: Instant) {
        let until = tokio::time::Instant::from_std(deadline);
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        loop {
            sleep.as_mut().await;
            if clock::instant() >= deadline {
                return;
            }
            sleep.as_mut().reset(until);
        }
    }
}
