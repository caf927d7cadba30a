//! Names of objects: digests of keys, one folder for a URI, so that purging a URI empties a folder.

use ring::digest::{Context, SHA256};

use crate::store::stored::StoreKey;

/// What a URI's objects have in common, and what the index knows them by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Folder(u128);

impl Folder {
    pub(super) fn of(key: &StoreKey) -> Self {
        Self(digest(&[&key.0]))
    }

    /// Its path below `prefix`.
    pub(super) fn path(self, prefix: &str) -> String {
        let digest = format!("{:032x}", self.0);
        let first = digest.get(..2).unwrap_or_default();
        format!("{prefix}/{first}/{digest}")
    }

    /// The folder that holds an object of this path, if it is one of ours.
    pub(super) fn holding(path: &str) -> Option<Self> {
        let folder = path.rsplit('/').nth(1).filter(|name| name.len() == 32)?;
        u128::from_str_radix(folder, 16).ok().map(Self)
    }

    /// Enough of it to tell it from others.
    pub(super) fn short(self) -> u64 {
        u64::try_from(self.0 >> 64).unwrap_or(0)
    }

    /// Where the response for these extras is, or is told what it varies by.
    pub(super) fn base(self, prefix: &str, extras: &[u8]) -> String {
        format!("{}/{:032x}", self.path(prefix), digest(&[extras]))
    }

    /// Where the response for this selecting key is.
    pub(super) fn variant(self, prefix: &str, extras: &[u8], selecting: &[u8]) -> String {
        let selecting = digest(&[selecting]);
        format!("{}-{selecting:032x}", self.base(prefix, extras))
    }
}

/// Where the body of the object `name` is that was written at `stamp`.
pub(super) fn body(name: &str, stamp: u64) -> String {
    format!("{name}.{stamp:016x}")
}

fn digest(parts: &[&[u8]]) -> u128 {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_le_bytes());
        context.update(part);
    }
    let digest = context.finish();
    let first = digest.as_ref().first_chunk().copied();
    first.map_or(0, u128::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn objects_of_a_uri_are_in_one_folder_which_their_paths_tell() {
        let folder = Folder::of(&StoreKey(Arc::from(&b"key"[..])));
        let base = folder.base("a/b", b"");
        let variant = folder.variant("a/b", b"", b"gzip");
        for path in [&base, &variant, &body(&variant, 7)] {
            assert!(
                path.starts_with(&format!("{}/", folder.path("a/b"))),
                "{path}"
            );
            assert_eq!(Folder::holding(path), Some(folder), "{path}");
        }
        assert_ne!(base, folder.base("a/b", b"device"));
        assert_ne!(variant, folder.variant("a/b", b"", b"br"));
        assert_ne!(folder, Folder::of(&StoreKey(Arc::from(&b"kez"[..]))));
        for other in ["a/b/x", "a/b/c/d", "", "/"] {
            assert_eq!(Folder::holding(other), None);
        }
    }
}
