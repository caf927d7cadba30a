//! Other ways in which an origin might read a path: decoded once more, backslashes and path parameters taken
//! for what some servers take them, overlong UTF-8 for the characters that it hides.

use std::borrow::Cow;

/// Deeper than this nobody decodes.
const DEPTH: usize = 3;

/// Whether some reading of `path`, which is in canonical form, climbs up with `..`.
pub(super) fn climbs(path: &str) -> bool {
    if memchr::memchr2(b'%', b';', path.as_bytes()).is_none() {
        return false;
    }
    // In canonical form a dot is encoded only twice, or as overlong UTF-8.
    let telling = ["..", "%25", "%C0%", "%C1%", "%E0%80%", "%E0%81%"];
    if !telling.iter().any(|text| path.contains(text)) {
        return false;
    }
    readings(path.as_bytes()).any(|reading| has_parent(&reading))
}

/// Whether some reading of `value` has `..` between slashes, as a whole.
pub(super) fn climbs_in_value(value: &str) -> bool {
    readings(value.as_bytes()).any(|reading| has_parent(&reading))
}

/// The path as the most lenient of origins would read it; `None` when that is what it is anyway.
pub(super) fn lenient(path: &str) -> Option<String> {
    if memchr::memchr2(b'%', b';', path.as_bytes()).is_none() && !path.contains("//") {
        return None;
    }
    let reading = readings(path.as_bytes()).last()?;
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in segments(&reading) {
        match segment {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let path = kept.join(&b'/');
    Some(format!("/{}", String::from_utf8_lossy(&path)))
}

/// `text`, and what it becomes when it is decoded again and again.
fn readings(text: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let first = Some(Cow::Borrowed(text));
    let next = |reading: &Cow<'_, [u8]>| decoded(reading).map(Cow::Owned);
    std::iter::successors(first, next).take(DEPTH + 1)
}

fn has_parent(reading: &[u8]) -> bool {
    segments(reading).any(|segment| segment == b"..")
}

/// What stands between slashes of either kind, without the parameters of a segment.
fn segments(reading: &[u8]) -> impl Iterator<Item = &[u8]> {
    let segments = reading.split(|byte| matches!(byte, b'/' | b'\\'));
    segments.map(|segment| {
        segment
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or(segment)
    })
}

/// Decodes escapes once; `None` when there are none.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut found = false;
    while let Some((byte, after)) = rest.split_first() {
        let escaped = after.first_chunk::<2>().filter(|_| *byte == b'%');
        let escaped = escaped.and_then(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
        let (byte, length) = match escaped {
            Some(byte) => (byte, 3),
            None => (*byte, 1),
        };
        found |= escaped.is_some();
        out.push(byte);
        unhide(&mut out);
        rest = rest.get(length..).unwrap_or_default();
    }
    found.then_some(out)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Puts the ASCII character that overlong UTF-8 (RFC 3629 §3) at the end of `out` hides in its place.
fn unhide(out: &mut Vec<u8>) {
    let (hidden, length) = match *out.as_slice() {
        [.., lead @ (0xc0 | 0xc1), next @ 0x80..=0xbf] => ((lead & 1) << 6 | (next & 0x3f), 2),
        [.., 0xe0, middle @ (0x80 | 0x81), next @ 0x80..=0xbf] => {
            ((middle & 1) << 6 | (next & 0x3f), 3)
        }
        _ => return,
    };
    out.truncate(out.len() - length);
    out.push(hidden);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_climb_in_some_reading_are_found() {
        for path in [
            "/static/..%2Faccount",
            "/static/..%5Caccount",
            "/a%2F..%2F..%2Fb",
            "/a/%252e%252e/b",
            "/a/%252E%252E%252Fb",
            "/a/%25252e%25252e/b",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a/%C0%AE%C0%AE/b",
            "/a/..%C0%AFb",
            "/a/..%E0%80%AFb",
            "/a/..%C1%9Cb",
            "/..%252f..%252fetc/passwd",
        ] {
            assert!(climbs(path), "{path}");
        }
    }

    #[test]
    fn paths_of_ordinary_sites_do_not_climb() {
        for path in [
            "/",
            "/a/b;v=1/c",
            "/a...b/c..d%20e",
            "/files/report..final%20(2).pdf",
            "/%D0%BF%D1%80%D0%B8%D0%B2%D0%B5%D1%82",
            "/%E0%B8%81%E0%B8%82",
            "/100%25/off",
            "/compare/main...feature%2Fx",
            "/r/https%3A%2F%2Fexample.com%2Fa",
            "/v1.2/..x/x..",
            "/wiki/C%2B%2B;jsessionid=1A",
        ] {
            assert!(!climbs(path), "{path}");
        }
    }

    #[test]
    fn a_lenient_reading_is_what_a_careless_origin_would_serve() {
        for (path, expected) in [
            ("/admin", None),
            ("//admin", Some("/admin")),
            ("/x/..%2Fadmin", Some("/admin")),
            ("/%2Fadmin", Some("/admin")),
            ("/;x/admin", Some("/admin")),
            ("/admin;x=1/y", Some("/admin/y")),
            ("/%2561dmin", Some("/admin")),
            ("/x%5C..%5Cadmin", Some("/admin")),
        ] {
            assert_eq!(lenient(path).as_deref(), expected, "{path}");
        }
    }
}
