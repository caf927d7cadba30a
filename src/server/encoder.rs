//! The thread that compresses stored responses, once each, while nobody waits for it.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use bytes::Bytes;
use rustix::process::nice;
use smallvec::SmallVec;

use crate::fields::content_coding::Coding;
use crate::observe::CompressionMetrics;
use crate::store::{Body, Content, Kept, MemoryStore, StoreKey, StoredId, StoredResponse};

/// Jobs that wait. A job is a key and no body: what is evicted meanwhile is passed over, and what does
/// not fit is asked for again by a later hit.
const WAITING: usize = 1024;

/// Compresses in the background.
pub struct Encoder {
    queue: SyncSender<Job>,
    metrics: CompressionMetrics,
}

struct Job {
    key: StoreKey,
    id: StoredId,
    coding: Coding,
}

impl Encoder {
    /// Starts the thread, which ends with the encoder.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(store: Arc<MemoryStore>, metrics: CompressionMetrics) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(WAITING);
        let counted = metrics.clone();
        thread::Builder::new()
            .name("encoder".to_owned())
            .spawn(move || work(&jobs, &store, &counted))?;
        Ok(Self { queue, metrics })
    }

    /// Has `stored` made available in `coding`, unless that is under way. Does not wait.
    pub fn ask(&self, key: &StoreKey, stored: &StoredResponse, coding: Coding) {
        let Some(encoded) = stored.encoded.as_ref().filter(|known| known.ask(coding)) else {
            return;
        };
        let job = Job {
            key: key.clone(),
            id: stored.id,
            coding,
        };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.queue.try_send(job)
        {
            encoded.dismiss(coding);
            self.metrics.ended(coding.as_str(), "dropped");
        }
    }
}

fn work(jobs: &Receiver<Job>, store: &MemoryStore, metrics: &CompressionMetrics) {
    // On Linux this is the thread's own priority: the least there is, so that requests come first.
    if let Err(error) = nice(19) {
        tracing::debug!(%error, "the encoder runs at the priority of all threads");
    }
    for job in jobs {
        let coding = job.coding.as_str();
        let Some(stored) = store.to_encode(&job.key, job.id, job.coding) else {
            metrics.ended(coding, "gone");
            continue;
        };
        let Some(bytes) = in_memory(&stored.content) else {
            // Slices of it are elsewhere; a later hit asks again.
            dismiss(&stored, job.coding);
            metrics.ended(coding, "gone");
            continue;
        };
        let result = match encode(&bytes, job.coding) {
            Ok(body) => {
                let (before, after) = (stored.content.len(), body.len());
                let kept = store.keep_encoded(&job.key, &stored, job.coding, body);
                if kept == Kept::Stored {
                    metrics.saved(coding, before, after);
                }
                kept.as_str()
            }
            Err(error) => {
                tracing::warn!(%error, coding, "a stored response could not be compressed");
                "failed"
            }
        };
        dismiss(&stored, job.coding);
        metrics.ended(coding, result);
    }
}

fn dismiss(stored: &StoredResponse, coding: Coding) {
    if let Some(encoded) = &stored.encoded {
        encoded.dismiss(coding);
    }
}

/// The whole body, if all of it is in memory.
fn in_memory(content: &Content) -> Option<SmallVec<[Bytes; 2]>> {
    match content {
        Content::Complete(body) => body.in_memory(0..body.len()),
        Content::Parts(_) => None,
    }
}

/// Up to this size a body is compressed as well as can be in brotli.
const BEST_BROTLI: usize = 1 << 20;

/// A body in `coding`. Measured on pages, styles and scripts of 70 KB to 1.9 MB, one core of a
/// small virtual machine, and what was left of a script of 290 KB:
///
/// | | s/MiB | size |
/// |---|---|---|
/// | brotli 11 | 1.0 | 24.4 % |
/// | brotli 9 | 0.1 | 26.8 % |
/// | zstd 19 | 0.2 | 25.7 % |
/// | gzip 9 | 0.02 | 29.4 % |
///
/// As it is done once and nobody waits, the best level is right, as long as one job does not keep the
/// others waiting for more than a second or two: brotli 11 is for at most 1 MiB.
///
/// # Errors
/// When an encoder fails, which would be a fault of its own.
fn encode(bytes: &[Bytes], coding: Coding) -> io::Result<Body> {
    let length = bytes.iter().map(Bytes::len).sum();
    let mut bytes = Reader { bytes, at: 0 };
    let mut out = Vec::new();
    match coding {
        Coding::Zstd => {
            let mut encoder = zstd::Encoder::new(&mut out, 19)?;
            // RFC 9659 §3: clients need not have more than 8 MiB for the window.
            encoder.window_log(23)?;
            encoder.set_pledged_src_size(u64::try_from(length).ok())?;
            io::copy(&mut bytes, &mut encoder)?;
            encoder.finish()?;
        }
        Coding::Br => {
            let parameters = brotli::enc::BrotliEncoderParams {
                quality: if length <= BEST_BROTLI { 11 } else { 9 },
                size_hint: length,
                ..Default::default()
            };
            brotli::BrotliCompress(&mut bytes, &mut out, &parameters)?;
        }
        Coding::Gzip => {
            let level = flate2::Compression::best();
            let mut encoder = flate2::write::GzEncoder::new(&mut out, level);
            io::copy(&mut bytes, &mut encoder)?;
            encoder.finish()?;
        }
    }
    Ok(Body::copy_of(&[Bytes::from(out)]))
}

/// Reads pieces one after the other.
struct Reader<'b> {
    bytes: &'b [Bytes],
    /// Within the first of them.
    at: usize,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some((first, others)) = self.bytes.split_first() {
            let mut rest = first.get(self.at..).unwrap_or_default();
            if !rest.is_empty() {
                let read = rest.read(buffer)?;
                self.at += read;
                return Ok(read);
            }
            (self.bytes, self.at) = (others, 0);
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match coding {
            Coding::Zstd => zstd::Decoder::new(bytes).unwrap().read_to_end(&mut out),
            Coding::Br => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        }
        .unwrap();
        out
    }

    #[test]
    fn every_coding_gives_back_bodies_of_one_piece_and_of_several() {
        for length in [1_usize, 5_000, (1 << 20) + 77] {
            let text: Vec<u8> = (0..length).map(|n| b"abcdefghijk"[n * n % 11]).collect();
            let bytes: Vec<Bytes> = text.chunks(1 << 19).map(Bytes::copy_from_slice).collect();
            for coding in Coding::ALL {
                let encoded = encode(&bytes, coding).unwrap();
                let encoded = encoded.in_memory(0..encoded.len()).unwrap().concat();
                assert!(decoded(coding, &encoded) == text, "{coding:?} of {length}");
            }
        }
    }
}
