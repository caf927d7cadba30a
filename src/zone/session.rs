//! Which cookies mark a session: the frameworks' names, and the site's own.

/// Names that frameworks and platforms give their session and login cookies. A `*` stands for any
/// run of characters; case, and `__Host-` or `__Secure-` in front, do not matter. Wide on purpose: a
/// cookie taken for a session costs a hit, one overlooked could cost a leak.
pub(super) const FRAMEWORK_COOKIES: &[&str] = &[
    // Whatever calls itself a session, a login or a token: sessionid (Django), _app_session and
    // _session_id (Rails), laravel_session, PHPSESSID, JSESSIONID, connect.sid (Express),
    // next-auth.session-token, iron-session, __session (Clerk, Remix), ASP.NET_SessionId, …
    "*session*",
    "*sess",
    "*sessid*",
    "sess*",
    "ssess*",
    "*.sid",
    "sid",
    "*_sid",
    "*token",
    "*-token.*",
    "*token_*",
    "*jwt*",
    "*auth",
    "*auth_*",
    "auth*",
    "*-auth-*",
    "*_auth*",
    "*logged_in*",
    "*login*",
    "remember*", // Devise, Laravel, Symfony
    "*identity", // Keycloak
    "CakePHP",
    "CFID", // ColdFusion
    "CFTOKEN",
    "FedAuth*",
    "_oauth2_proxy*",
    "CF_Authorization",
    ".AspNet*",
    ".ASPXAUTH",
    "ASPSESSIONID*",
    "wordpress_sec_*",
    "wp-postpass_*",
    "woocommerce_items_in_cart",
    "_*_key", // Phoenix
];

/// Names that look like one of the above and are not: cross-site request forgery tokens.
const NOT_SESSIONS: &[&str] = &["*csrf*", "*xsrf*"];

/// The cookie names that mark a session in one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCookies {
    own: Vec<NamePattern>,
    frameworks: Vec<NamePattern>,
    exceptions: Vec<NamePattern>,
}

impl SessionCookies {
    /// The frameworks' names alone.
    pub fn frameworks() -> Self {
        let all = |names: &[&str]| names.iter().map(|name| NamePattern::split(name)).collect();
        Self {
            own: Vec::new(),
            frameworks: all(FRAMEWORK_COOKIES),
            exceptions: all(NOT_SESSIONS),
        }
    }

    /// The frameworks' names and `own` ones.
    ///
    /// # Errors
    /// The first of `own` that is not a cookie name, with what is wrong.
    pub fn with_own<'n>(own: impl IntoIterator<Item = &'n str>) -> Result<Self, String> {
        let mut cookies = Self::frameworks();
        for name in own {
            cookies.own.push(NamePattern::parse(name)?);
        }
        Ok(cookies)
    }

    /// Whether a cookie of this name marks a session.
    pub fn contains(&self, name: &[u8]) -> bool {
        let name = [&b"__Host-"[..], b"__Secure-"]
            .iter()
            .find_map(|prefix| name.strip_prefix(*prefix))
            .unwrap_or(name);
        let name = &name.to_ascii_lowercase()[..];
        let named_by =
            |patterns: &[NamePattern]| patterns.iter().any(|pattern| pattern.matches(name));
        named_by(&self.own) || named_by(&self.frameworks) && !named_by(&self.exceptions)
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
            pieces: text
                .to_ascii_lowercase()
                .split('*')
                .map(str::to_owned)
                .collect(),
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
        let cookies = SessionCookies::with_own(["shop_id", "cart-*"]).unwrap();
        for name in [
            "sessionid",
            "session",
            "_shop_session",
            "_session_id",
            "laravel_session",
            "laravel-session",
            "rack.session",
            "__Host-sessionid",
            "PHPSESSID",
            "JSESSIONID",
            "connect.sid",
            "sails.sid",
            "koa.sess",
            "sid",
            "session_id",
            "sessionToken",
            "token",
            "authToken",
            "auth_token",
            "access_token",
            "__Secure-next-auth.session-token.0",
            "better-auth.session_token",
            "authjs.session-token",
            "appSession",
            "iron-session",
            "wordpress_logged_in_abc",
            "sb-xyz-auth-token",
            "sb-access-token",
            "REMEMBERME",
            "remember_web_abc",
            "PLAY_SESSION",
            "directus_session_token",
            "payload-token",
            "strapi_jwt",
            "ASPSESSIONIDABC",
            ".AspNetCore.Cookies",
            ".AspNet.ApplicationCookie",
            "ASP.NET_SessionId",
            "FedAuth",
            "CFID",
            "MoodleSession",
            "_oauth2_proxy",
            "CF_Authorization",
            "KEYCLOAK_IDENTITY",
            "SSESS1a2b",
            "CAKEPHP",
            "_app_key",
            "shop_id",
            "cart-77",
        ] {
            assert!(cookies.contains(name.as_bytes()), "{name}");
        }
        for name in [
            "csrftoken",
            "XSRF-TOKEN",
            "_csrf_token",
            "_ga",
            "_gid",
            "_fbp",
            "theme",
            "locale",
            "consent",
            "cookieconsent_status",
            "i18n_redirected",
            "sidebar",
            "_key",
            "messages",
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
