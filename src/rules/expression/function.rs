//! The function table: which functions there are, what they are called, what they take and give.
//!
//! A new function is a variant, a row in [`FUNCTIONS`] and an arm in [`super::call`].

use super::field::Type;

/// A function of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Any,
    All,
    Cidr,
    Cidr6,
    Concat,
    EndsWith,
    IsJwtPresent,
    IsJwtValid,
    Join,
    JwtClaim,
    Len,
    LookupJsonInteger,
    LookupJsonString,
    Lower,
    RegexReplace,
    RemoveBytes,
    RemoveQueryArgs,
    Split,
    StartsWith,
    Substring,
    ToString,
    Upper,
    UrlDecode,
    WildcardReplace,
}

impl Function {
    /// The function with this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        FUNCTIONS
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.function)
    }

    /// How many arguments the function takes, in words.
    pub(super) fn arity(self) -> String {
        let row = FUNCTIONS.iter().find(|row| row.function == self);
        let (least, most) = row.map_or((0, 0), |row| row.arity);
        match most {
            MANY if least == 1 => "at least 1 argument".to_owned(),
            MANY => format!("at least {least} arguments"),
            1 => "1 argument".to_owned(),
            _ if least == most => format!("{most} arguments"),
            _ => format!("{least} or {most} arguments"),
        }
    }
}

/// The names of all functions.
pub(super) fn names() -> impl Iterator<Item = &'static str> + Clone {
    FUNCTIONS.iter().map(|row| row.name)
}

/// A function as documentation shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    /// Its name.
    pub name: &'static str,
    /// What it takes; `?` follows what may be left out, `…` what may be repeated.
    pub parameters: &'static str,
    /// The type of what it gives, as Cloudflare writes it.
    pub type_name: &'static str,
    /// What it gives, in one line.
    pub description: &'static str,
}

/// All functions, by name.
pub fn functions() -> impl Iterator<Item = FunctionInfo> {
    FUNCTIONS.iter().map(|row| FunctionInfo {
        name: row.name,
        parameters: row.parameters,
        type_name: row.result.name(),
        description: row.description,
    })
}

struct Row {
    name: &'static str,
    function: Function,
    parameters: &'static str,
    result: Type,
    /// The least and the most arguments.
    arity: (usize, usize),
    description: &'static str,
}

const MANY: usize = usize::MAX;

const fn row(
    name: &'static str,
    function: Function,
    (parameters, arity): (&'static str, (usize, usize)),
    result: Type,
    description: &'static str,
) -> Row {
    Row {
        name,
        function,
        parameters,
        result,
        arity,
        description,
    }
}

const FUNCTIONS: &[Row] = &[
    row(
        "all",
        Function::All,
        ("condition", (1, 1)),
        Type::Bool,
        "whether the condition holds for every element that `[*]` stands for",
    ),
    row(
        "any",
        Function::Any,
        ("condition", (1, 1)),
        Type::Bool,
        "whether the condition holds for one element at least that `[*]` stands for",
    ),
    row(
        "cidr",
        Function::Cidr,
        ("address, ipv4_bits, ipv6_bits", (3, 3)),
        Type::Ip,
        "the network's address, with so many bits kept of the address",
    ),
    row(
        "cidr6",
        Function::Cidr6,
        ("address, ipv6_bits", (2, 2)),
        Type::Ip,
        "the network's address of an IPv6 address; an IPv4 address stays as it is",
    ),
    row(
        "concat",
        Function::Concat,
        ("value…", (1, MANY)),
        Type::String,
        "the values, one after the other; numbers, booleans and addresses as text",
    ),
    row(
        "ends_with",
        Function::EndsWith,
        ("string, \"end\"", (2, 2)),
        Type::Bool,
        "whether the string ends so",
    ),
    row(
        "is_jwt_present",
        Function::IsJwtPresent,
        ("\"name\"", (1, 1)),
        Type::Bool,
        "whether the request has a token where its kind is looked for",
    ),
    row(
        "is_jwt_valid",
        Function::IsJwtValid,
        ("\"name\"", (1, 1)),
        Type::Bool,
        "whether that token is signed, for us, and not over, as its kind must be",
    ),
    row(
        "join",
        Function::Join,
        ("array, \"separator\"", (2, 2)),
        Type::String,
        "the elements with the separator between them",
    ),
    row(
        "jwt_claim",
        Function::JwtClaim,
        ("\"name\", \"claim\"…", (2, MANY)),
        Type::String,
        "what the valid token of this kind claims, from the outside in; the first of a list",
    ),
    row(
        "len",
        Function::Len,
        ("string_or_array", (1, 1)),
        Type::Int,
        "the bytes of a string, or the elements of an array",
    ),
    row(
        "lookup_json_integer",
        Function::LookupJsonInteger,
        ("json, key…", (2, MANY)),
        Type::Int,
        "the integer in a JSON document; keys are names and positions, from the outside in",
    ),
    row(
        "lookup_json_string",
        Function::LookupJsonString,
        ("json, key…", (2, MANY)),
        Type::String,
        "the string in a JSON document; keys are names and positions, from the outside in",
    ),
    row(
        "lower",
        Function::Lower,
        ("string", (1, 1)),
        Type::String,
        "the string with ASCII letters in lower case",
    ),
    row(
        "regex_replace",
        Function::RegexReplace,
        ("string, \"regex\", \"replacement\"", (3, 3)),
        Type::String,
        "the string with its first match replaced; `${1}` is what the first group matched",
    ),
    row(
        "remove_bytes",
        Function::RemoveBytes,
        ("string, \"bytes\"", (2, 2)),
        Type::String,
        "the string without these bytes, wherever they are",
    ),
    row(
        "remove_query_args",
        Function::RemoveQueryArgs,
        ("query, \"name\"…", (2, MANY)),
        Type::String,
        "the query without the arguments of these names",
    ),
    row(
        "split",
        Function::Split,
        ("string, \"separator\", limit", (3, 3)),
        Type::Array,
        "the parts of the string, at most 128; the last one holds the rest",
    ),
    row(
        "starts_with",
        Function::StartsWith,
        ("string, \"beginning\"", (2, 2)),
        Type::Bool,
        "whether the string begins so",
    ),
    row(
        "substring",
        Function::Substring,
        ("string, start, end?", (2, 3)),
        Type::String,
        "the bytes from start up to end, from 0; negative ones count from the end",
    ),
    row(
        "to_string",
        Function::ToString,
        ("value", (1, 1)),
        Type::String,
        "a number, boolean or address as text",
    ),
    row(
        "upper",
        Function::Upper,
        ("string", (1, 1)),
        Type::String,
        "the string with ASCII letters in upper case",
    ),
    row(
        "url_decode",
        Function::UrlDecode,
        ("string, \"ru\"?", (1, 2)),
        Type::String,
        "the string percent-decoded, `+` too; `r`: repeatedly, `u`: also `%uHHHH`",
    ),
    row(
        "wildcard_replace",
        Function::WildcardReplace,
        ("string, \"pattern\", \"replacement\", \"s\"?", (3, 4)),
        Type::String,
        "the replacement, if the string fits the pattern; `${1}` is the first `*`, `s`: minds case",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sorted() {
        assert!(names().is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn the_listing_describes_every_function_in_one_line() {
        assert_eq!(functions().count(), FUNCTIONS.len());
        assert!(functions().all(|function| !function.description.is_empty()
            && !function.description.contains('\n')
            && !function.parameters.is_empty()));
    }
}
