//! Configuration files: what good ones become, and what bad ones are told.
//!
//! `tests/config/NAME.toml` is a bad file and `NAME.txt` the exact diagnostics it must get;
//! `UPDATE_GOLDENS=1 cargo test --test config` writes the latter anew, to be read before they are
//! committed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail as the test does"
)]

#[path = "config/bad_files.rs"]
mod bad_files;
#[path = "config/docs.rs"]
mod docs;
#[path = "config/good_files.rs"]
mod good_files;
#[path = "config/language.rs"]
mod language;
#[path = "config/lists.rs"]
mod lists;
#[path = "config/reference.rs"]
mod reference;
#[path = "config/schema.rs"]
mod schema;
#[path = "config/shipped_files.rs"]
mod shipped_files;

use std::path::{Path, PathBuf};

use seawall::config::{Config, Diagnostics, parse};

/// The repository's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files in `folder` with this extension, in order.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    found
}

fn parse_bare(source: &str) -> Result<Config, Diagnostics> {
    parse("test.toml", source, &|_| None)
}
