//! Paths without what is particular about one visitor: `/orders/1234` is `/orders/*`.

/// Longest template.
const LONGEST: usize = 120;
/// Most segments of one.
const MOST_SEGMENTS: usize = 8;
/// Longer segments are taken for somebody's.
const LONGEST_WORD: usize = 40;

/// The template of `path`: segments that look like numbers, names for one thing, or anything that was made up
/// become `*`, and a long path is cut off.
pub fn template(path: &str) -> String {
    let mut out = String::new();
    let mut segments = path.split('/').skip(1);
    for segment in segments.by_ref().take(MOST_SEGMENTS) {
        let shown = if is_word(segment) { segment } else { "*" };
        if out.len() + shown.len() + 1 > LONGEST {
            out.push_str("/…");
            return out;
        }
        out.push('/');
        out.push_str(shown);
    }
    if segments.next().is_some() {
        out.push_str("/…");
    }
    out
}

/// Whether a segment is part of the site rather than of a visitor's request.
fn is_word(segment: &str) -> bool {
    let bytes = || segment.bytes();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let digits = bytes().filter(u8::is_ascii_digit).count();
    let letters = bytes().filter(u8::is_ascii_alphabetic).count();
    let numeric = digits > 0 && digits >= letters;
    // Hashes, UUIDs, tokens.
    let made_up = digits >= 4 && segment.len() >= 16;
    segment.len() <= LONGEST_WORD && bytes().all(plain) && !numeric && !made_up
}

#[cfg(test)]
mod tests {
    use super::template;

    #[test]
    fn what_is_one_visitors_becomes_a_star() {
        for (path, expected) in [
            ("/", "/"),
            ("/login", "/login"),
            ("/orders/1234", "/orders/*"),
            ("/orders/1234/items/", "/orders/*/items/"),
            ("/u/6f9619ff-8b86-d011-b42d-00c04fc964ff", "/u/*"),
            ("/reset/eyJhbGciOiJIUzI1NiJ9abc1234", "/reset/*"),
            ("/mail/jane%40example.com", "/mail/*"),
            ("/wp-login.php", "/wp-login.php"),
            ("/static/app.3f2a9c1b.css", "/static/*"),
            ("/a/b/c/d/e/f/g/h/i", "/a/b/c/d/e/f/g/h/…"),
        ] {
            assert_eq!(template(path), expected, "{path}");
        }
        assert!(template(&"/word".repeat(100)).len() <= 130);
    }
}
