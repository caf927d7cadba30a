//! From the reserve into memory: what a request finds nowhere else.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::client::Failed;
use super::name::{self, Folder};
use super::object::{self, FIRST_READ, Place, ReadBody, Term, What};
use super::{Apart, Look, Reserve};
use crate::clock;
use crate::fields::vary::Vary;
use crate::store::body::Body;
use crate::store::memory::MemoryStore;
use crate::store::purge::Begun;
use crate::store::record::Head;
use crate::store::slices::{SLICE, Sliced, positions};
use crate::store::stored::{Content, Selection, StoreKey, StoredId};
use bytes::Bytes;

/// What a request wants to find.
pub struct Wanted<'a> {
    /// Its key.
    pub key: &'a StoreKey,
    /// What rules add to it.
    pub extras: &'a [u8],
    /// Its selecting key for what varies by these fields.
    pub selecting: &'a (dyn Fn(&Vary) -> Arc<[u8]> + Sync),
    /// Whether it may have a response with this selection.
    pub selects: &'a (dyn Fn(&Selection) -> bool + Sync),
    /// Whether what is found may be kept on disk.
    pub disk: bool,
}

/// A response as it was found.
struct Found {
    name: String,
    term: Term,
    head: Head,
    body: ReadBody,
}

impl MemoryStore {
    /// Brings what the reserve has for a request into memory and onto disk, on behalf of the fetch
    /// `begun`; whether it did.
    pub async fn recall(self: &Arc<Self>, wanted: &Wanted<'_>, begun: &Begun) -> bool {
        let Some(reserve) = self.reserve() else {
            return false;
        };
        // Before, the purges of earlier processes, or those that other nodes made meanwhile, are not known.
        let trusted = reserve.trusted.get().is_some() && !self.purges.is_behind();
        if !trusted || !reserve.known.may_hold(Folder::of(wanted.key)) {
            return false;
        }
        let place = Place {
            key: wanted.key.clone(),
            extras: wanted.extras.into(),
        };
        let look = match reserve.find(&place, wanted).await {
            Ok(found) if !(wanted.selects)(found.head.selection()) => Look::Miss,
            Ok(found) => self.take(reserve, &place, found, wanted.disk, begun),
            Err(look) => look,
        };
        reserve.counts.look(look);
        look == Look::Hit
    }

    /// Stores what was found, as far as the purges leave it.
    fn take(
        self: &Arc<Self>,
        reserve: &Reserve,
        place: &Place,
        found: Found,
        disk: bool,
        begun: &Begun,
    ) -> Look {
        let Found {
            name,
            term,
            head,
            body,
        } = found;
        let trusted = reserve.trusted.get();
        let trusted = trusted.is_some_and(|since| head.generation() >= *since);
        if !trusted || self.purges.disown(head.generation()) {
            reserve.remove(&place.key, vec![name]);
            return Look::Purged;
        }
        let id = self.next_id();
        let body = match body {
            ReadBody::Here(bytes) => Body::of(bytes),
            ReadBody::Apart(stamp, sums) => {
                let apart = Apart {
                    path: name::body(&name, stamp),
                    name: name.clone(),
                    sums,
                };
                reserve.apart.insert(id.0, Arc::new(apart));
                let slices = Sliced::new(id, self.slices.clone()).below(disk);
                Body::sliced(Arc::new(slices), head.length)
            }
        };
        let mut stored = head.with(Content::Complete(Arc::new(body)));
        stored.id = id;
        stored.disk = disk;
        let Some((stored, _reading)) = self.purges.stamp(&place.key, &stored) else {
            reserve.remove(&place.key, vec![name]);
            return Look::Purged;
        };
        reserve.remember(&name, term.written);
        self.insert(&place.key, stored.clone(), begun);
        if term.is_half_over(clock::now(), reserve.retention) {
            self.keep(&place.key, &place.extras, &stored);
        }
        Look::Hit
    }

    /// A slice of a large body of which the reserve has the whole.
    pub async fn recall_slice(&self, id: StoredId, number: u64, len: u64) -> Option<Bytes> {
        let reserve = self.reserve()?;
        let apart = reserve.apart.get(&id.0)?;
        let sum = *apart.sums.get(usize::try_from(number).ok()?)?;
        let wanted = positions(number, len);
        let size = wanted.end.checked_sub(wanted.start)?;
        let slice = reserve.get(&apart.path, wanted.start, size, reserve.timeout);
        let slice = slice.await.ok()?;
        let good = |slice: &Bytes| {
            u64::try_from(slice.len()) == Ok(size) && size <= SLICE && object::sum(slice) == sum
        };
        if let Some(slice) = slice.filter(good) {
            reserve.counts.slices.fetch_add(1, Ordering::Relaxed);
            return Some(slice);
        }
        // Gone or damaged: the origin is asked from now on.
        reserve.counts.look(Look::Corrupt);
        reserve.apart.remove(&id.0);
        None
    }
}

impl Reserve {
    /// The object that answers a request, and how looking for it ended without one.
    async fn find(&self, place: &Place, wanted: &Wanted<'_>) -> Result<Found, Look> {
        let folder = Folder::of(&place.key);
        let prefix = self.client.prefix();
        let began = clock::instant();
        let mut name = folder.base(prefix, &place.extras);
        let mut told = false;
        loop {
            let within = self.timeout.saturating_sub(clock::instant() - began);
            let bytes = self.get(&name, 0, FIRST_READ, within).await;
            let bytes = bytes.map_err(|_| Look::Failed)?.ok_or(Look::Miss)?;
            let Some(object) = object::read(&bytes, place) else {
                self.remove(&place.key, vec![name]);
                return Err(Look::Corrupt);
            };
            let term = object.term;
            if !term.holds(clock::now(), self.retention) {
                self.remove(&place.key, vec![name]);
                return Err(Look::Expired);
            }
            match object.what {
                What::Response { head, body } => {
                    return Ok(Found {
                        name,
                        term,
                        head: *head,
                        body,
                    });
                }
                What::Varies(vary) if !told => {
                    let selecting = (wanted.selecting)(&vary);
                    name = folder.variant(prefix, &place.extras, &selecting);
                    told = true;
                }
                What::Varies(_) => return Err(Look::Miss),
            }
        }
    }

    /// Reads on the reserve's own thread, as far as anybody waits for it.
    async fn get(
        &self,
        path: &str,
        start: u64,
        most: u64,
        within: Duration,
    ) -> Result<Option<Bytes>, Failed> {
        let (client, path) = (self.client.clone(), path.to_owned());
        let get = async move { client.get(&path, start, most, within).await };
        self.there(get).await.unwrap_or(Err(Failed::Failed))
    }

    async fn there<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        struct Abort<T>(tokio::task::JoinHandle<T>);
        impl<T> std::ops::Drop for Abort<T> {
            fn drop(&mut self) {
                self.0.abort();
            }
        }
        let mut task = Abort(self.thread.spawn(task));
        (&mut task.0).await.ok()
    }
}
