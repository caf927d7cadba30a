//! The position in the stream up to which purges are in force and written down: a file beside the
//! journal of purges.
//!
//! It may be behind, as purging twice does no harm, and is never ahead. One that is not whole, or about
//! another stream, is as none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::purge::Position;

const NAME: &str = "shared-position";
const UNTOLD: &str = "shared-untold";

#[derive(Debug)]
pub(super) struct PositionFile {
    path: PathBuf,
    new: PathBuf,
    untold: PathBuf,
    /// Its first line.
    head: String,
}

impl PositionFile {
    /// In `directory`, about `stream`.
    pub(super) fn new(directory: &Path, stream: &str) -> Self {
        Self {
            path: directory.join(NAME),
            untold: directory.join(UNTOLD),
            // Another process may hand over to this one.
            new: directory.join(format!("{NAME}-{}.new", std::process::id())),
            head: format!("seawall position 1 {stream}\n"),
        }
    }

    pub(super) fn read(&self) -> Option<Position> {
        let text = fs::read_to_string(&self.path).ok()?;
        let position = text.strip_prefix(&self.head)?.strip_suffix('\n')?;
        position.parse().ok()
    }

    /// Whether purges waited to be told when the last process ended.
    pub(super) fn is_untold(&self) -> bool {
        self.untold.exists()
    }

    /// Notes whether purges wait to be told.
    pub(super) fn mark_untold(&self, untold: bool) -> io::Result<()> {
        if untold {
            return fs::write(&self.untold, b"");
        }
        match fs::remove_file(&self.untold) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// It need not reach the disk at once: an older one does as well.
    pub(super) fn write(&self, position: Position) -> io::Result<()> {
        fs::write(&self.new, format!("{}{position}\n", self.head))?;
        fs::rename(&self.new, &self.path)
    }
}

impl Drop for PositionFile {
    fn drop(&mut self) {
        // A write that failed half way.
        let _ = fs::remove_file(&self.new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_outlives_the_process_and_is_about_one_stream() {
        let directory = tempfile::tempdir().unwrap();
        let open = |stream| PositionFile::new(directory.path(), stream);
        assert_eq!(open("a").read(), None);
        for number in [7, 8] {
            let position = Position {
                milliseconds: 1,
                number,
            };
            open("a").write(position).unwrap();
            assert_eq!(open("a").read(), Some(position));
            assert_eq!(open("b").read(), None);
        }
        let path = directory.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(open("a").read(), None, "{length}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
