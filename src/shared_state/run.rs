//! The life of the connection: connect, catch up, then read and write until something fails, and so on.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use redis::aio::MultiplexedConnection;

use super::continuity::Continuity;
use super::link::{BATCH, Failure, RawEntry};
use super::record::{Entry, Fields, What};
use super::{Counts, SharedState};
use crate::clock;
use crate::config::WhenUnreachable;
use crate::purge::Position;
use crate::purge::{Announcement, Mode, Scope, Target};
use crate::store::MemoryStore;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest wait for an entry; after it the stream is looked at all the same.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How long invalidations wait for others to be told with.
const TOGETHER: Duration = Duration::from_millis(10);

impl SharedState {
    /// Keeps `store` and other nodes together; never ends.
    pub async fn run(&self, store: &Arc<MemoryStore>) -> Infallible {
        loop {
            let failure = match self.session(store).await {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            self.connected.store(false, Ordering::Release);
            let silent = clock::instant().saturating_duration_since(self.last_contact());
            if silent >= self.timeout && !self.lost.swap(true, Ordering::AcqRel) {
                self.lose(store, &failure, silent).await;
            }
            tokio::time::sleep(PAUSE.min(self.timeout)).await;
        }
    }

    /// The server has been of no use for too long.
    async fn lose(&self, store: &Arc<MemoryStore>, failure: &Failure, silent: Duration) {
        let server = self.link.address();
        match self.when_unreachable {
            WhenUnreachable::Serve => tracing::error!(
                server,
                %failure,
                "the server for shared state cannot be reached: purges of other nodes come later"
            ),
            WhenUnreachable::Validate => {
                tracing::error!(
                    server,
                    %failure,
                    "the server for shared state cannot be reached: what is stored is stale"
                );
                let now = clock::now();
                let since = now.checked_sub(silent).unwrap_or(now);
                self.purge(store, vec![everything(Mode::Soft, since)], None)
                    .await;
            }
        }
    }

    async fn session(&self, store: &Arc<MemoryStore>) -> Result<Infallible, Failure> {
        let mut reader = self.link.connect().await?;
        let mut writer = self.link.connect().await?;
        while self.read(&mut reader, store).await? {}
        // What is not in the stream by now is not there at all.
        self.outbox().send_again();
        store.caught_up();
        self.connected.store(true, Ordering::Release);
        if self.lost.swap(false, Ordering::AcqRel) {
            let server = self.link.address();
            tracing::info!(
                server,
                "the server for shared state is back, all purges are in force"
            );
        }
        tokio::select! {
            failure = self.keep_reading(&mut reader, store) => failure,
            failure = self.keep_writing(&mut writer) => failure,
        }
    }

    async fn keep_reading(
        &self,
        connection: &mut MultiplexedConnection,
        store: &Arc<MemoryStore>,
    ) -> Result<Infallible, Failure> {
        loop {
            if !self.read(connection, store).await? {
                let after = self.position().unwrap_or_default();
                let most = LONGEST_WAIT.min(self.timeout);
                self.link.wait(connection, after, most).await?;
            }
        }
    }

    /// Reads and applies what comes next; whether there may be more.
    async fn read(
        &self,
        connection: &mut MultiplexedConnection,
        store: &Arc<MemoryStore>,
    ) -> Result<bool, Failure> {
        let applied = self.position();
        let mut entries = match applied {
            Some(applied) => self.link.entries(connection, applied).await?,
            None => Vec::new(),
        };
        let next = entries.first().map(|entry| entry.position);
        if applied.is_none() || applied != next {
            let first = self.link.first(connection).await?;
            let continuity = Continuity::of(applied, next, first);
            self.begin_anew(connection, store, continuity).await?;
            return Ok(true);
        }
        self.note_contact();
        let more = entries.len() == BATCH;
        entries.remove(0);
        if !entries.is_empty() {
            self.apply(store, &entries).await;
        }
        Ok(more)
    }

    /// Purges may have been missed: all that is stored counts as purged, and what comes from now on is
    /// read.
    async fn begin_anew(
        &self,
        connection: &mut MultiplexedConnection,
        store: &Arc<MemoryStore>,
        continuity: Continuity,
    ) -> Result<(), Failure> {
        let last = match self.link.last(connection).await? {
            Some(last) => last,
            None => self.begin_stream(connection).await?,
        };
        let mode = self.for_missed();
        let purge = everything(mode, clock::now());
        self.know(last);
        self.purge(store, vec![purge], Some(last)).await;
        if continuity != Continuity::Unknown || self.kept {
            let why = continuity.why();
            tracing::warn!(
                why,
                ?mode,
                "purges may have been missed: everything is purged"
            );
            self.counts.gaps.fetch_add(1, Ordering::Relaxed);
        }
        if continuity == Continuity::Rewound {
            self.put(What::Lost, None);
        }
        Ok(())
    }

    /// Writes a first entry, so that there is a position.
    async fn begin_stream(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Position, Failure> {
        let entry = self.entry(u64::MAX, What::Begin);
        let fields = entry.encode().ok_or(Failure::Garbage)?;
        let added = self.link.append(connection, &[fields]).await?;
        added.first().copied().ok_or(Failure::Garbage)
    }

    /// Puts the purges of other nodes in force.
    async fn apply(&self, store: &Arc<MemoryStore>, entries: &[RawEntry]) {
        let now = clock::now();
        let (mut purges, mut unreadable, mut lost) = (Vec::new(), 0, false);
        for raw in entries {
            match Entry::decode(&raw.fields) {
                Some(entry) if entry.node == self.node => {
                    self.outbox().seen(entry.number, raw.position);
                }
                Some(Entry { what, .. }) => match what {
                    What::Begin => {}
                    What::Lost => lost = true,
                    What::Purge(mut purge) => {
                        // Clocks differ, and nothing is stale from the future on.
                        purge.at = purge.at.min(now);
                        purges.push(purge);
                    }
                },
                None => unreadable += 1,
            }
        }
        let applied = u64::try_from(purges.len()).unwrap_or(u64::MAX);
        let made = purges.last().map(|purge: &Announcement| purge.at);
        if unreadable > 0 {
            // It may have been any purge.
            tracing::error!(
                unreadable,
                "what other nodes say cannot be read: everything is purged"
            );
        }
        if lost {
            tracing::warn!("another node has lost purges: everything is purged");
        }
        let gap = lost || unreadable > 0;
        if gap {
            purges.push(everything(self.for_missed(), now));
        }
        let upto = entries.last().map(|entry| entry.position);
        // Before they are in force: what is fetched because of them must not be what they reach.
        if let Some(upto) = upto {
            self.know(upto);
        }
        self.purge(store, purges, upto).await;
        // Who sees these counts finds the purges in force.
        let Counts {
            applied: all_applied,
            unreadable: all_unreadable,
            gaps,
            ..
        } = &self.counts;
        all_unreadable.fetch_add(unreadable, Ordering::Relaxed);
        gaps.fetch_add(u64::from(gap), Ordering::Relaxed);
        all_applied.fetch_add(applied, Ordering::Relaxed);
        if let Some(made) = made {
            let lag = clock::now().duration_since(made).unwrap_or_default();
            let lag = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
            self.counts.lag.store(lag, Ordering::Relaxed);
        }
    }

    /// Puts purges in force; all up to the entry `last` are then.
    async fn purge(
        &self,
        store: &Arc<MemoryStore>,
        purges: Vec<Announcement>,
        last: Option<Position>,
    ) {
        let written = if purges.is_empty() {
            true
        } else {
            let store = store.clone();
            let purging = move || store.purge_as_told(&purges, clock::now()).is_ok();
            tokio::task::spawn_blocking(purging).await.unwrap_or(false)
        };
        let Some(last) = last else {
            return;
        };
        // What is not written down is to be read again after a restart.
        if written
            && let Some(file) = &self.file
            && let Err(error) = file.write(last)
        {
            tracing::debug!(%error, "the position cannot be written down");
        }
        self.applied.send_replace(Some(last));
    }

    async fn keep_writing(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Infallible, Failure> {
        loop {
            let batch = self.next_batch().await;
            let (numbers, fields): (Vec<u64>, Vec<Fields>) = batch.into_iter().unzip();
            match self.link.append(connection, &fields).await {
                Ok(positions) => {
                    let sent = u64::try_from(positions.len()).unwrap_or(u64::MAX);
                    self.counts.sent.fetch_add(sent, Ordering::Relaxed);
                    let mut outbox = self.outbox();
                    for (number, position) in numbers.into_iter().zip(positions) {
                        outbox.sent(number, position);
                    }
                    let told = outbox.waiting() == 0;
                    drop(outbox);
                    if told {
                        self.mark_untold(false);
                    }
                    if self.refused.swap(false, Ordering::AcqRel) {
                        tracing::info!("purges are told to other nodes again");
                    }
                }
                Err(failure) => {
                    if let Failure::Refused(why) = &failure
                        && !self.refused.swap(true, Ordering::AcqRel)
                    {
                        tracing::error!(why, "purges cannot be told to other nodes, and wait");
                    }
                    // Another server may go by the name by now, such as after a replica took over.
                    return Err(failure);
                }
            }
        }
    }

    /// What is to be written next, as soon as there is something.
    async fn next_batch(&self) -> Vec<(u64, Fields)> {
        loop {
            let filled = self.filled.notified();
            let (waiting, urgent) = {
                let outbox = self.outbox();
                (outbox.waiting(), outbox.is_urgent())
            };
            if waiting == 0 {
                filled.await;
                continue;
            }
            if !urgent {
                tokio::time::sleep(TOGETHER).await;
            }
            let batch = self.batch();
            if !batch.is_empty() {
                return batch;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What waits, encoded; nothing is added to it any more.
    fn batch(&self) -> Vec<(u64, Fields)> {
        let mut outbox = self.outbox();
        let mut batch = Vec::new();
        for (number, what) in outbox.unsent(BATCH) {
            outbox.close(number);
            if let Some(fields) = self.entry(number, what).encode() {
                batch.push((number, fields));
            } else {
                tracing::error!("a purge cannot be told to other nodes");
            }
        }
        batch
    }

    fn entry(&self, number: u64, what: What) -> Entry {
        Entry {
            node: self.node.clone(),
            number,
            what,
        }
    }

    /// What becomes of what may have been purged unheard.
    const fn for_missed(&self) -> Mode {
        match self.when_unreachable {
            WhenUnreachable::Serve => Mode::Soft,
            WhenUnreachable::Validate => Mode::Hard,
        }
    }

    fn note_contact(&self) {
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner) = clock::instant();
    }

    fn last_contact(&self) -> std::time::Instant {
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn everything(mode: Mode, at: SystemTime) -> Announcement {
    Announcement {
        at,
        mode,
        scopes: vec![Scope {
            zone: None,
            target: Target::Everything,
        }],
    }
}
