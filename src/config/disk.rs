//! `[cache.disk]`: a tier of the store that survives restarts.

use std::path::PathBuf;

use super::file::bounded_size;
use super::reader::Section;

/// Below this there is no room for a few segments.
const SMALLEST: u64 = 4 << 20;

/// Where stored responses are kept beside memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// A directory for the store alone.
    pub directory: PathBuf,
    /// Bytes it may take there.
    pub capacity: u64,
    /// Bytes written a second at most.
    pub write_rate: Option<u64>,
}

/// Reads the section; `None` when it lacks what it must have.
pub(super) fn read_disk(section: Section<'_>) -> Option<Disk> {
    let directory = section.required_string("directory", "\"/var/cache/seawall\"");
    let directory = directory.and_then(|directory| {
        if !directory.value.is_empty() {
            return Some(PathBuf::from(directory.value));
        }
        let message = "`directory` cannot be empty";
        section.reader.fault(directory.span, message, None);
        None
    });
    let capacity = section
        .required("capacity", "\"20 GiB\"")
        .then(|| bounded_size(&section, "capacity", SMALLEST..=u64::MAX))
        .flatten();
    let write_rate = bounded_size(&section, "write_rate", 64 << 10..=u64::MAX);
    section.finish();
    Some(Disk {
        directory: directory?,
        capacity: capacity?.value,
        write_rate: write_rate.map(|rate| rate.value),
    })
}
