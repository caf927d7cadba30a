//! Paths without what is particular about one visitor: `/orders/1234` is `/orders/*`.

/// Longest template.
const LONGEST: usize = 120;
/// Most segments of one.
const MOST_SEGMENTS: usize = 8;
/// What comes after these is a secret: of links in mails.
const BEFORE_SECRETS: [&str; 21] = [
    "reset",
    "verify",
    "verification",
    "confirm",
    "confirmation",
    "activate",
    "activation",
    "invite",
    "invites",
    "invitation",
    "invitations",
    "unsubscribe",
    "token",
    "tokens",
    "magic",
    "otp",
    "code",
    "share",
    "shared",
    "s",
    "unlock",
];
/// And after these, somebody's name.
const BEFORE_NAMES: [&str; 11] = [
    "u",
    "user",
    "users",
    "profile",
    "profiles",
    "member",
    "members",
    "customer",
    "customers",
    "author",
    "people",
];
/// But for these.
const PAGES: [&str; 14] = [
    "", "login", "logout", "sign_in", "sign_out", "signin", "signup", "sign_up", "register",
    "password", "new", "edit", "search", "me",
];
/// Longer runs of letters are no word.
const LONGEST_RUN: usize = 24;
/// Longer segments are taken for somebody's.
const LONGEST_WORD: usize = 40;

/// The template of `path`: segments that look like numbers, names for one thing, or anything that was made up
/// become `*`, and a long path is cut off.
pub fn template(path: &str) -> String {
    let mut out = String::new();
    let mut segments = path.split('/').skip(1);
    let mut of_somebody = false;
    for segment in segments.by_ref().take(MOST_SEGMENTS) {
        let shown = if is_word(segment) && (!of_somebody || is_page(segment)) {
            segment
        } else {
            "*"
        };
        of_somebody = leads_to_somebody(segment);
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
    let lower = bytes().any(|byte| byte.is_ascii_lowercase());
    let upper = bytes().filter(u8::is_ascii_uppercase).count();
    let longest = segment.split(|letter: char| !letter.is_ascii_alphanumeric());
    let longest = longest.map(str::len).max().unwrap_or_default();
    // Hashes, UUIDs, tokens: with digits among the letters, or cases mixed more often than words have it.
    let made_up = (digits >= 4 && segment.len() >= 16)
        || (digits > 0 && longest >= 16)
        || (digits > 0 && lower && upper > 0 && longest >= 8)
        || (lower && longest >= 8 && upper * 3 > longest)
        || longest > LONGEST_RUN;
    segment.len() <= LONGEST_WORD && bytes().all(plain) && !numeric && !made_up
}

/// Whether the next segment is a secret, or somebody's name.
fn leads_to_somebody(segment: &str) -> bool {
    let is = |word: &&str, text: &str| text.eq_ignore_ascii_case(word);
    let mut parts = segment.split(['-', '_']);
    parts.any(|part| BEFORE_SECRETS.iter().any(|word| is(word, part)))
        || BEFORE_NAMES.iter().any(|word| is(word, segment))
}

fn is_page(segment: &str) -> bool {
    PAGES.iter().any(|page| segment.eq_ignore_ascii_case(page))
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
            ("/reset/abcdef", "/reset/*"),
            ("/password-reset/abcdef/", "/password-reset/*/"),
            ("/users/jane", "/users/*"),
            ("/users/sign_in", "/users/sign_in"),
            ("/p/qZxKwVbNmPtR", "/p/*"),
            ("/p/V1StGXRaZjdH", "/p/*"),
            ("/p/mfrggzdfmztwqalk2", "/p/*"),
            ("/MyAccount/OrderHistory", "/MyAccount/OrderHistory"),
            ("/getting-started-with-rust", "/getting-started-with-rust"),
            ("/blog/html5-in-2024", "/blog/html5-in-2024"),
            ("/static/app.3f2a9c1b.css", "/static/*"),
            ("/a/b/c/d/e/f/g/h/i", "/a/b/c/d/e/f/g/h/…"),
        ] {
            assert_eq!(template(path), expected, "{path}");
        }
        assert!(template(&"/word".repeat(100)).len() <= 130);
    }
}
