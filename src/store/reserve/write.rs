//! Into the reserve: responses as objects, one after the other for one URI.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use object_store::path::Path;
use tokio::sync::mpsc;

use super::client::Failed;
use super::name::{self, Folder};
use super::object::{self, Place, Term};
use super::queue::{Job, Task, digest};
use super::{Apart, Reserve, Why, add};
use crate::clock;
use crate::fields::vary::Vary;
use crate::store::memory::MemoryStore;
use crate::store::record;
use crate::store::slices::{SLICE, positions};
use crate::store::stored::{Content, StoredResponse};

/// Slices written in one request; parts have at least 5 MiB.
const PART: usize = 8;

/// Carries out what comes, one after the other.
pub(super) async fn work(store: Weak<MemoryStore>, mut jobs: mpsc::UnboundedReceiver<Job>) {
    while let Some(job) = jobs.recv().await {
        let Some(store) = store.upgrade() else {
            return;
        };
        if let Some(reserve) = store.reserve() {
            reserve.carry_out(&store, job).await;
        }
    }
}

impl Reserve {
    async fn carry_out(&self, store: &Arc<MemoryStore>, job: Job) {
        match job.what {
            Task::Write(stored, _begun) => {
                let folder = Folder::of(&job.place.key);
                match self.write(store, &job.place, &stored).await {
                    Ok(bytes) => {
                        add(Some(&self.counts.written), 1);
                        add(Some(&self.counts.written_bytes), bytes);
                    }
                    Err(why) => {
                        self.counts.drop(why);
                        if why == Why::Failed {
                            self.known.doubt(folder);
                        }
                        if !matches!(why, Why::Outdated | Why::Resting) {
                            // What was there is older.
                            let _ = self.empty_now(folder).await;
                        }
                    }
                }
            }
            Task::Remove(names) => {
                let paths = names.iter().map(|name| Path::from(name.as_str()));
                if let Ok(count) = self.client.remove(paths.collect()).await {
                    add(Some(&self.counts.removed), count);
                }
            }
            Task::Empty(records, emptying) => {
                let folder = Folder::of(&job.place.key);
                if !records.is_empty() {
                    let purges = store.purges.clone();
                    let write = move || purges.write_down(&records);
                    let _ = tokio::task::spawn_blocking(write).await;
                }
                let emptied = self.empty_now(folder).await.is_ok();
                if let Some(emptying) = emptying
                    && (!emptied || self.known.is_doubtful(folder))
                {
                    emptying.fail();
                }
            }
        }
    }

    async fn empty_now(&self, folder: Folder) -> Result<(), Failed> {
        let path = folder.path(self.client.prefix());
        let count = self.client.empty(&path, |_| true).await?;
        add(Some(&self.counts.removed), count);
        self.known.remove(folder);
        Ok(())
    }

    /// Writes one response; gives the bytes that it took.
    async fn write(
        &self,
        store: &Arc<MemoryStore>,
        place: &Place,
        stored: &StoredResponse,
    ) -> Result<u64, Why> {
        let folder = Folder::of(&place.key);
        let name = self.name_of(place, stored);
        self.known.add(folder);
        // In this order: a purge from before that moment is one that the stamp knows of.
        let term = Term {
            written: clock::now(),
            retention: self.retention,
        };
        let stamped = store.purges.stamp(&place.key, stored);
        let (stored, _reading) = stamped.ok_or(Why::Outdated)?;
        let known = store.peek(&place.key);
        let newer = known.is_some_and(|known| {
            let mut known = known.variants().iter();
            known.any(|known| known.selection == stored.selection && known.id > stored.id)
        });
        if newer {
            return Err(Why::Outdated);
        }
        let Content::Complete(body) = &stored.content else {
            return Err(Why::Unfit);
        };
        let bytes = if body.len() <= SLICE {
            let chunks = body.in_memory(0..body.len()).ok_or(Why::Unfit)?;
            let head = record::encode(&stored, record::Place::Inline).ok_or(Why::Unfit)?;
            let object = object::whole(place, term, &head, &chunks).ok_or(Why::Unfit)?;
            let bytes = length(&object);
            self.put(&name, object).await?;
            bytes
        } else {
            self.write_large(place, term, &name, &stored).await?
        };
        if let Some(told) = object::varies(place, term, &stored.selection.vary) {
            self.tell_vary(place, &stored.selection.vary, term, told)
                .await?;
        }
        self.remember(&name, term.written);
        Ok(bytes)
    }

    /// Tells what responses vary by, unless that was told lately.
    async fn tell_vary(
        &self,
        place: &Place,
        vary: &Vary,
        term: Term,
        told: Bytes,
    ) -> Result<(), Why> {
        let folder = Folder::of(&place.key);
        let base = folder.base(self.client.prefix(), &place.extras);
        let mark = format!("{base} {vary:?}");
        let written = self.written.get(&digest(&mark));
        let recent = |written| {
            let half = Term {
                written,
                retention: term.retention / 2,
            };
            !half.is_half_over(term.written, term.retention)
        };
        if !written.is_some_and(recent) {
            self.put(&base, told).await?;
            self.remember(&mark, term.written);
        }
        Ok(())
    }

    /// The body as an object of its own first, then the head, then what was there before goes.
    async fn write_large(
        &self,
        place: &Place,
        term: Term,
        name: &str,
        stored: &StoredResponse,
    ) -> Result<u64, Why> {
        // Not used before for this name.
        let stamp = clock::chance();
        let path = name::body(name, stamp);
        let id = stored.content.slices().map(|slices| slices.id().0);
        let known = id.and_then(|id| self.apart.get(&id));
        let sums = match known.filter(|known| known.name == name) {
            Some(known) => {
                self.client.copy(&known.path, &path).await.map_err(why)?;
                known.sums.clone()
            }
            None => self.write_body(&path, stored).await?,
        };
        let slices = record::Place::Slices(0);
        let head = record::encode(stored, slices).ok_or(Why::Unfit)?;
        let object = object::without_body(place, term, &head, (stamp, &sums));
        self.put(name, object.ok_or(Why::Unfit)?).await?;
        if let Some(id) = id {
            let apart = Apart {
                name: name.to_owned(),
                path: path.clone(),
                sums,
            };
            self.apart.insert(id, Arc::new(apart));
        }
        let bodies = format!("{name}.");
        let older = |other: &str| other.starts_with(&bodies) && *other != path;
        let folder = Folder::of(&place.key).path(self.client.prefix());
        let _ = self.client.empty(&folder, older).await;
        Ok(stored.content.len())
    }

    /// Writes a body in parts; gives the checksums of its slices.
    async fn write_body(&self, path: &str, stored: &StoredResponse) -> Result<Arc<[u64]>, Why> {
        if !stored.content.is_whole() {
            return Err(Why::Unfit);
        }
        let len = stored.content.len();
        let mut upload = self.client.begin(path).await.map_err(why)?;
        let mut sums = Vec::new();
        let mut part = Vec::new();
        let slices = len.div_ceil(SLICE);
        for number in 0..slices {
            let wanted = positions(number, len);
            let slice = stored.content.read(wanted.start, wanted.end).await;
            let slice = slice.ok().flatten();
            let slice = slice.filter(|slice| length(slice) == wanted.end - wanted.start);
            let Some(slice) = slice else {
                // It has left meanwhile.
                let _ = upload.abort().await;
                return Err(Why::Unfit);
            };
            sums.push(object::sum(&slice));
            part.push(slice);
            if part.len() == PART || number + 1 == slices {
                let part = std::mem::take(&mut part);
                if let Err(failed) = self.client.put_part(&mut *upload, part).await {
                    let _ = upload.abort().await;
                    return Err(why(failed));
                }
            }
        }
        self.client.finish(&mut *upload).await.map_err(why)?;
        Ok(sums.into())
    }

    async fn put(&self, name: &str, object: Bytes) -> Result<(), Why> {
        self.client.put(name, object).await.map_err(why)
    }
}

fn why(failed: Failed) -> Why {
    match failed {
        Failed::Resting => Why::Resting,
        Failed::Failed => Why::Failed,
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
