//! Which cookies mark a session: the frameworks' names, and the site's own.

/// Names that frameworks and platforms give their session and login cookies. A `*` stands for any
/// run of characters. `__Host-` and `__Secure-` in front of a name do not matter.
pub(super) const FRAMEWORK_COOKIES: &[&str] = &[
    "sessionid", // Django
    "session",   // Flask, Starlette
    "*_session", // Rails, Laravel
    "laravel_session",
    "remember_*", // Devise, Laravel
    "PHPSESSID",  // PHP, Symfony
    "SESS*",      // Drupal
    "SSESS*",
    "wordpress_logged_in_*",
    "wordpress_sec_*",
    "wp-postpass_*",
    "wp_woocommerce_session_*",
    "woocommerce_items_in_cart",
    "connect.sid",              // Express
    "next-auth.session-token*", // NextAuth, Auth.js
    "authjs.session-token*",
    "sb-*-auth-token*", // Supabase
    "__session",        // Clerk, Firebase Hosting, Remix
    "JSESSIONID",       // Java servlets
    "SESSION",          // Spring Session
    "ASP.NET_SessionId",
    ".ASPXAUTH",
    ".AspNetCore.*",
    "_*_key", // Phoenix
    "auth_token",
    "access_token",
    "refresh_token",
    "id_token",
    "jwt",
];

/// The cookie names that mark a session in one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCookies {
    patterns: Vec<NamePattern>,
}

impl SessionCookies {
    /// The frameworks' names alone.
    pub fn frameworks() -> Self {
        Self {
            patterns: FRAMEWORK_COOKIES
                .iter()
                .map(|name| NamePattern::split(name))
                .collect(),
        }
    }

    /// The frameworks' names and `own` ones.
    ///
    /// # Errors
    /// The first of `own` that is not a cookie name, with what is wrong.
    pub fn with_own<'n>(own: impl IntoIterator<Item = &'n str>) -> Result<Self, String> {
        let mut cookies = Self::frameworks();
        for name in own {
            cookies.patterns.push(NamePattern::parse(name)?);
        }
        Ok(cookies)
    }

    /// Whether a cookie of this name marks a session.
    pub fn contains(&self, name: &[u8]) -> bool {
        let name = [&b"__Host-"[..], b"__Secure-"]
            .iter()
            .find_map(|prefix| name.strip_prefix(*prefix))
            .unwrap_or(name);
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }
}

/// A name in which each `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NamePattern {
    /// Literal pieces between the stars.
    pieces: Vec<String>,
}

impl NamePattern {
    fn parse(text: &str) -> Result<Self, String> {
        let legal = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b);
        if text.is_empty() || !text.bytes().all(legal) {
            return Err(format!("`{text}` is not a cookie name"));
        }
        if text.bytes().all(|b| b == b'*') {
            return Err(format!("`{text}` would make every cookie a session"));
        }
        Ok(Self::split(text))
    }

    fn split(text: &str) -> Self {
        Self {
            pieces: text.split('*').map(str::to_owned).collect(),
        }
    }

    fn matches(&self, name: &[u8]) -> bool {
        let (Some((first, rest)), Some(last)) = (self.pieces.split_first(), self.pieces.last())
        else {
            return false;
        };
        if rest.is_empty() {
            return name == first.as_bytes();
        }
        let Some(mut middle) = name
            .strip_prefix(first.as_bytes())
            .and_then(|name| name.strip_suffix(last.as_bytes()))
        else {
            return false;
        };
        // The first place a middle piece fits is the best one, as for any glob without classes.
        rest.iter().take(rest.len() - 1).all(|piece| {
            let found = find(middle, piece.as_bytes());
            middle = found
                .and_then(|at| middle.get(at + piece.len()..))
                .unwrap_or_default();
            found.is_some()
        })
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framework_sessions_are_recognised_and_other_cookies_are_not() {
        let cookies = SessionCookies::with_own(["shop_sid", "cart-*"]).unwrap();
        for name in [
            "sessionid",
            "_shop_session",
            "laravel_session",
            "__Host-sessionid",
            "__Secure-next-auth.session-token.0",
            "wordpress_logged_in_abc",
            "sb-xyz-auth-token",
            ".AspNetCore.Cookies",
            "shop_sid",
            "cart-77",
            "_app_key",
        ] {
            assert!(cookies.contains(name.as_bytes()), "{name}");
        }
        for name in [
            "csrftoken",
            "_ga",
            "theme",
            "sessionid2",
            "xsessionid",
            "locale",
            "sb-",
            "_key",
        ] {
            assert!(!cookies.contains(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for name in ["", "a b", "a=b", "*", "**"] {
            assert!(SessionCookies::with_own([name]).is_err(), "{name:?}");
        }
    }
}
