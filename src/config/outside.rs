//! What a configuration takes from outside of itself, so that reading one stays a pure function.

use std::path::Path;

use super::interpolate::Env;

/// Gives the text of a file that a configuration names; a relative path begins at the configuration
/// file's folder. `Err` says why there is none.
pub type Files<'a> = dyn Fn(&Path) -> Result<String, String> + 'a;

/// The environment and the files.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// Looks up environment variables.
    pub env: &'a Env<'a>,
    /// Reads files.
    pub files: &'a Files<'a>,
}

/// No files.
pub(super) fn no_files(_: &Path) -> Result<String, String> {
    Err("no files are read here".to_owned())
}
