//! The function table: which functions there are and what they are called.
//!
//! A new function is a variant, a row in [`FUNCTIONS`] and an arm in [`super::call`].

/// A function of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// Whether a comparison holds for at least one element of an array.
    Any,
    /// Whether a comparison holds for every element of an array.
    All,
    /// A string with ASCII letters in lower case.
    Lower,
    /// A string with ASCII letters in upper case.
    Upper,
    /// The number of bytes of a string or of elements of an array.
    Len,
    /// Whether a string begins with another.
    StartsWith,
    /// Whether a string ends with another.
    EndsWith,
}

impl Function {
    /// The function with this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        FUNCTIONS
            .iter()
            .find(|(candidate, _)| *candidate == name)
            .map(|(_, function)| *function)
    }

    /// How many arguments the function takes.
    pub(super) const fn arity(self) -> usize {
        match self {
            Self::Any | Self::All | Self::Lower | Self::Upper | Self::Len => 1,
            Self::StartsWith | Self::EndsWith => 2,
        }
    }
}

/// The names of all functions.
pub(super) fn names() -> impl Iterator<Item = &'static str> + Clone {
    FUNCTIONS.iter().map(|(name, _)| *name)
}

const FUNCTIONS: &[(&str, Function)] = &[
    ("all", Function::All),
    ("any", Function::Any),
    ("ends_with", Function::EndsWith),
    ("len", Function::Len),
    ("lower", Function::Lower),
    ("starts_with", Function::StartsWith),
    ("upper", Function::Upper),
];
