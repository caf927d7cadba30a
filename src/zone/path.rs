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

/// The canonical form: escapes of unreserved characters undone, other escapes in upper case, dot
/// segments removed. Slashes are left as they are: `//a` and `/a` may be different resources.
///
/// # Errors
/// What no canonical form exists for.
pub fn canonical_path(path: &str) -> Result<Cow<'_, str>, PathError> {
    if path.contains('\\') {
        return Err(PathError::Backslash);
    }
    if !path.contains(['%', '.']) {
        return Ok(Cow::Borrowed(path));
    }
    Ok(remove_dot_segments(normalise_escapes(path)?))
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
            if let Ok(once) = canonical_path(&path) {
                prop_assert!(once.starts_with('/'));
                let twice = canonical_path(&once);
                prop_assert_eq!(twice.as_deref(), Ok(&*once));
            }
        }
    }
}
