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
    let telling = ["..", "%25", "%C0%", "%C1%", "%E0%80%", "%E0%81%", "%F0%80%"];
    if !telling.iter().any(|text| path.contains(text)) {
        return false;
    }
    readings(path.as_bytes()).any(|reading| has_parent(&reading))
}

/// Whether some reading of `value` has `..` between slashes, as a whole.
pub(super) fn climbs_in_value(value: &str) -> bool {
    readings(value.as_bytes()).any(|reading| has_parent(&reading))
}

/// What else origins might take `path` for, which is in canonical form. They undo escapes once or more, take
/// backslashes for slashes, several slashes for one, drop what stands behind a `;`, and end a path at an encoded `?`,
/// `#` or NUL, each of them or not, before they resolve dot segments, or do not.
pub(super) fn other_readings(path: &str) -> Vec<Vec<u8>> {
    if memchr::memchr2(b'%', b';', path.as_bytes()).is_none() && !path.contains("//") {
        return Vec::new();
    }
    let mut all: Vec<Vec<u8>> = readings(path.as_bytes()).map(Cow::into_owned).collect();
    for leniency in [cut, with_slashes, without_parameters, merged, resolved] {
        let more: Vec<_> = all.iter().filter_map(|path| leniency(path)).collect();
        all.extend(more);
    }
    all.retain(|reading| reading != path.as_bytes());
    all
}

/// A pattern of paths with what its escapes encode in their place; `None` where it has none.
pub(super) fn literal_pattern(pattern: &str) -> Option<String> {
    let upper = pattern.replace("%5c", "%5C").replace("%2a", "%2A");
    // Neither becomes a sign of the pattern.
    let escaped = upper.replace("%5C", "%5C%5C").replace("%2A", "%5C%2A");
    String::from_utf8(decoded(escaped.as_bytes())?).ok()
}

/// Up to an encoded `?`, `#` or NUL.
fn cut(path: &[u8]) -> Option<Vec<u8>> {
    let end = memchr::memchr3(b'?', b'#', 0, path)?;
    path.get(..end).map(<[u8]>::to_vec)
}

fn with_slashes(path: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr(b'\\', path)?;
    let slash = |byte: &u8| if *byte == b'\\' { b'/' } else { *byte };
    Some(path.iter().map(slash).collect())
}

fn without_parameters(path: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr(b';', path)?;
    let segments = path.split(|byte| *byte == b'/');
    let segments = segments.map(|segment| segment.split(|byte| *byte == b';').next());
    Some(
        segments
            .map(Option::unwrap_or_default)
            .collect::<Vec<_>>()
            .join(&b'/'),
    )
}

fn merged(path: &[u8]) -> Option<Vec<u8>> {
    let mut merged = path.to_vec();
    merged.dedup_by(|next, before| (*next, *before) == (b'/', b'/'));
    (merged.len() < path.len()).then_some(merged)
}

/// RFC 3986 §5.2.4.
fn resolved(path: &[u8]) -> Option<Vec<u8>> {
    let segments = || path.split(|byte| *byte == b'/');
    let is_dots = |segment: &[u8]| matches!(segment, b"." | b"..");
    if !segments().any(is_dots) {
        return None;
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in segments().skip(1) {
        match segment {
            b"." => {}
            b".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    if segments().next_back().is_some_and(is_dots) {
        kept.push(b"");
    }
    let mut path = vec![b'/'];
    path.extend(kept.join(&b'/'));
    Some(path)
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
        [.., 0xf0, 0x80, middle @ (0x80 | 0x81), next @ 0x80..=0xbf] => {
            ((middle & 1) << 6 | (next & 0x3f), 4)
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
            "/a/%F0%80%80%AE%F0%80%80%AE/b",
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
    fn what_careless_origins_would_serve_is_among_the_readings() {
        for (path, expected) in [
            ("//admin", "/admin"),
            ("//admin/", "/admin/"),
            ("/x/..%2Fadmin/", "/admin/"),
            ("/%2Fadmin", "/admin"),
            ("/;x/admin", "/admin"),
            ("/admin;x=1/y", "/admin/y"),
            ("/admin%3Bx/", "/admin/"),
            ("/%2561dmin", "/admin"),
            ("/x%5C..%5Cadmin", "/admin"),
            ("/y/x%5C..%2F..%2Fadmin", "/y/admin"),
            ("/x/..%2Fadmin%2F..%252Fy", "/admin/..%2Fy"),
            ("/admin%3F.css", "/admin"),
            ("/admin%2500.css", "/admin"),
            ("/x%3F/../../admin", "/x"),
            ("/x/%F0%80%80%AE%F0%80%80%AE/admin", "/admin"),
        ] {
            let readings = other_readings(path);
            assert!(readings.contains(&expected.as_bytes().to_vec()), "{path}");
            assert!(!readings.contains(&path.as_bytes().to_vec()), "{path}");
        }
        for path in ["/", "/admin", "/a.b/c-d/", "/a/..b"] {
            assert!(other_readings(path).is_empty(), "{path}");
        }
        // Each of the ways to be lenient doubles them at most, at each of the depths.
        let worst = "/%255C..;%2500//%255C".repeat(100);
        assert!(other_readings(&worst).len() <= 32 * (DEPTH + 1));
    }
}
