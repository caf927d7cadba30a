//! A stored body as slices of at most a mebibyte, so that a range touches only what it needs.

use bytes::{Bytes, BytesMut};

const SLICE: usize = 1 << 20;

/// An immutable body.
#[derive(Debug, Default)]
pub struct Body {
    slices: Vec<Bytes>,
    len: u64,
}

impl Body {
    /// Copies `chunks` into slices of their own: a network buffer must not be kept alive for a few
    /// bytes of it.
    pub fn copy_of(chunks: &[Bytes]) -> Self {
        let total: usize = chunks.iter().map(Bytes::len).sum();
        let mut slices = Vec::with_capacity(total.div_ceil(SLICE));
        let mut slice = BytesMut::with_capacity(total.min(SLICE));
        let mut rest = total;
        for chunk in chunks {
            let mut chunk = chunk.clone();
            while !chunk.is_empty() {
                let part = chunk.split_to(chunk.len().min(SLICE - slice.len()));
                slice.extend_from_slice(&part);
                if slice.len() == SLICE {
                    rest -= SLICE;
                    let next = BytesMut::with_capacity(rest.min(SLICE));
                    slices.push(std::mem::replace(&mut slice, next).freeze());
                }
            }
        }
        if !slice.is_empty() {
            slices.push(slice.freeze());
        }
        Self {
            slices,
            len: u64::try_from(total).unwrap_or(u64::MAX),
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes from `start` to `end`, slice by slice.
    pub fn chunks(&self, start: u64, end: u64) -> Vec<Bytes> {
        let mut at = start;
        std::iter::from_fn(|| {
            let bytes = self.read(at, end)?;
            at = at.saturating_add(u64::try_from(bytes.len()).ok()?);
            Some(bytes)
        })
        .collect()
    }

    /// The bytes from `start` to the end of their slice, but not beyond `end`; `None` past the end.
    pub fn read(&self, start: u64, end: u64) -> Option<Bytes> {
        let end = end.min(self.len);
        if start >= end {
            return None;
        }
        let slice_size = u64::try_from(SLICE).ok()?;
        let slice = self.slices.get(usize::try_from(start / slice_size).ok()?)?;
        let from = usize::try_from(start % slice_size).ok()?;
        let wanted = usize::try_from(end - start).unwrap_or(usize::MAX);
        let to = slice.len().min(from.saturating_add(wanted));
        (from < to).then(|| slice.slice(from..to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_reads_back_whole_and_in_ranges() {
        let content: Vec<u8> = (0..2_500_000_u32).map(|n| (n % 251) as u8).collect();
        let chunks: Vec<Bytes> = content.chunks(70_001).map(Bytes::copy_from_slice).collect();
        let body = Body::copy_of(&chunks);
        assert_eq!(body.len(), 2_500_000);
        for (start, end) in [
            (0, u64::MAX),
            (1_048_575, 1_048_577),
            (2_499_999, 2_500_000),
            (7, 7),
        ] {
            let mut read = Vec::new();
            let mut at = start;
            while let Some(bytes) = body.read(at, end) {
                at += bytes.len() as u64;
                read.extend_from_slice(&bytes);
            }
            let at = |offset: u64| usize::try_from(offset.min(2_500_000)).unwrap();
            let expected = &content[at(start)..at(end)];
            assert_eq!(read, expected, "{start}..{end}");
        }
        assert!(Body::copy_of(&[]).read(0, 1).is_none());
    }
}
