//! Whether what is in the reserve may be used at all: only what was written since purges have been kept
//! for it without a gap.
//!
//! A file beside the journal of purges says which reserve that is, and since which purge. Without one,
//! or with another reserve, everything that was written before counts as purged. A process without a
//! reserve removes the file, as it does not keep purges for one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use crate::config;
use crate::purge::Generation;

const NAME: &str = "reserve";

/// Which reserve a file is about.
pub(super) fn identity(config: &config::Reserve) -> String {
    format!("{} {} {}", config.endpoint, config.bucket, config.prefix)
}

/// Since which purge the reserve can be trusted; from `now` on, if that is not known.
pub(super) fn since(directory: &Path, identity: &str, now: Generation) -> io::Result<Generation> {
    let path = directory.join(NAME);
    if let Some(since) = fs::read_to_string(&path)
        .ok()
        .and_then(|text| read(&text, identity))
    {
        return Ok(since);
    }
    let new = directory.join(format!("{NAME}.new"));
    let mut file = File::create(&new)?;
    writeln!(file, "{identity}\n{}", now.0)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    File::open(directory)?.sync_all()?;
    Ok(now)
}

fn read(text: &str, identity: &str) -> Option<Generation> {
    let since = text.strip_suffix('\n')?.strip_prefix(identity)?;
    since.strip_prefix('\n')?.parse().ok().map(Generation)
}

/// There is no reserve for which purges are kept.
pub(crate) fn end(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join(NAME)) {
        Ok(()) => File::open(directory)?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_is_trusted_since_it_was_first_used_without_a_gap() {
        let directory = tempfile::tempdir().unwrap();
        let since = |identity, now| since(directory.path(), identity, Generation(now)).unwrap();
        assert_eq!(since("a", 5), Generation(5));
        assert_eq!(since("a", 9), Generation(5));
        assert_eq!(since("b", 10), Generation(10), "another one");
        assert_eq!(since("a", 11), Generation(11), "a gap");
        end(directory.path()).unwrap();
        end(directory.path()).unwrap();
        assert_eq!(since("a", 12), Generation(12), "another gap");
        fs::write(directory.path().join(NAME), "a\n12x\n").unwrap();
        assert_eq!(since("a", 13), Generation(13), "damage");
    }
}
