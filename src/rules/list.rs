//! Named lists, which expressions refer to as `$name`.

/// The lists of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {}
