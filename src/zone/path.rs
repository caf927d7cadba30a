//! One form for all spellings of a path (RFC 3986 §6.2.2): what rules match, the key holds and the
//! origin receives is the same text.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A `%` without two hexadecimal digits: parsers disagree on what follows.
    #[error("the path has a malformed percent-escape")]
    Escape,
    /// A backslash, which some origins take for a slash.
    #[error("the path has a backslash")]
    Backslash,
    /// An encoded NUL, CR or LF.
    #[error("the path has an encoded control character")]
    Control,
}

/// What several slashes in a row are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slashes {
    /// Empty segments: `//a` and `/a` may be different resources (RFC 3986 §3.3).
    Keep,
    /// One slash, as many applications and file systems take them.
    Merge,
}

/// The canonical form: escapes of unreserved characters undone, other escapes in upper case, dot
/// segments removed. Slashes are left as they are.
///
/// # Errors
/// What no canonical form exists for.
pub fn canonical_path(path: &str) -> Result<Cow<'_, str>, PathError> {
    canonical_path_with(path, Slashes::Keep)
}

/// [`canonical_path`], where a zone may have slashes merged. They are merged before dot segments go,
/// as whoever merges them sees it: `/a//../b` is `/b` then.
///
/// # Errors
/// What no canonical form exists for.
pub fn canonical_path_with(path: &str, slashes: Slashes) -> Result<Cow<'_, str>, PathError> {
    if path.contains('\\') {
        return Err(PathError::Backslash);
    }
    let path = match slashes {
        Slashes::Merge if path.contains("//") => merge_slashes(path),
        _ => Cow::Borrowed(path),
    };
    if !path.contains(['%', '.']) {
        return Ok(path);
    }
    match path {
        Cow::Borrowed(path) => Ok(remove_dot_segments(normalise_escapes(path)?)),
        Cow::Owned(path) => {
            let escaped = normalise_escapes(&path)?;
            Ok(Cow::Owned(remove_dot_segments(escaped).into_owned()))
        }
    }
}

fn merge_slashes(path: &str) -> Cow<'_, str> {
    let mut merged = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    Cow::Owned(merged)
}

fn normalise_escapes(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let digits = after.get(..2).ok_or(PathError::Escape)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(PathError::Escape);
        }
        match u8::from_str_radix(digits, 16).map_err(|_| PathError::Escape)? {
            0 | b'\n' | b'\r' => return Err(PathError::Control),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(char::from(byte));
            }
            _ => {
                out.push('%');
                out.push_str(&digits.to_ascii_uppercase());
            }
        }
        rest = after.get(2..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

/// RFC 3986 §5.2.4.
fn remove_dot_segments(path: Cow<'_, str>) -> Cow<'_, str> {
    let is_dots = |segment: &str| segment == "." || segment == "..";
    if !path.split('/').any(is_dots) {
        return path;
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    // A path that ends in a dot segment names a directory.
    if path.rsplit('/').next().is_some_and(is_dots) {
        kept.push("");
    }
    Cow::Owned(format!("/{}", kept.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_spellings_have_one_form() {
        for (path, expected) in [
            ("/a/b", "/a/b"),
            ("/%61/%7Eb", "/a/~b"),
            ("/a/./b/../c", "/a/c"),
            ("/a/%2e%2E/c", "/c"),
            ("/../../c", "/c"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/static/..%2faccount", "/static/..%2Faccount"),
            ("/a+b%20c", "/a+b%20c"),
            ("//a", "//a"),
            ("/v1.2/file.tar.gz", "/v1.2/file.tar.gz"),
        ] {
            assert_eq!(canonical_path(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn slashes_are_merged_where_the_zone_says_so() {
        for (path, expected) in [
            ("/a/b", "/a/b"),
            ("//a///b//", "/a/b/"),
            ("//", "/"),
            ("/a//../b", "/b"),
            ("/a/./%61//.", "/a/a/"),
            ("/..//c", "/c"),
            ("/a%2F/b", "/a%2F/b"),
        ] {
            let merged = canonical_path_with(path, Slashes::Merge);
            assert_eq!(merged.as_deref(), Ok(expected), "{path}");
        }
        assert_eq!(
            canonical_path_with("//%", Slashes::Merge),
            Err(PathError::Escape)
        );
    }

    #[test]
    fn what_has_no_canonical_form_is_refused() {
        for path in ["/%", "/%4", "/%zz", "/%+1"] {
            assert_eq!(canonical_path(path), Err(PathError::Escape), "{path}");
        }
        assert_eq!(canonical_path("/a\\b"), Err(PathError::Backslash));
        for path in ["/%00", "/a%0a", "/%0D"] {
            assert_eq!(canonical_path(path), Err(PathError::Control), "{path}");
        }
    }

    proptest! {
        #[test]
        fn canonical_paths_are_their_own_canonical_form(path in "/[a-z./%0-9A-F]{0,20}") {
            for slashes in [Slashes::Keep, Slashes::Merge] {
                if let Ok(once) = canonical_path_with(&path, slashes) {
                    prop_assert!(once.starts_with('/'));
                    prop_assert!(slashes == Slashes::Keep || !once.contains("//"));
                    let twice = canonical_path_with(&once, slashes);
                    prop_assert_eq!(twice.as_deref(), Ok(&*once));
                }
            }
        }
    }
}
