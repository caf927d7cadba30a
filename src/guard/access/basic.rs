//! Names and passwords (RFC 7617), against hashes by bcrypt.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};

use super::Refusal;

/// Longer passwords are none; bcrypt looks at 72 bytes.
const LONGEST: usize = 72;
/// Each one more doubles the time of a check; with this a check takes seconds.
const MOST_COST: u32 = 15;

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basic {
    /// What the browser calls it.
    pub realm: String,
    /// Hashes by name.
    users: BTreeMap<String, String>,
}

/// What a client says of itself, and the hash by which that is found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials<'z> {
    /// The hash of the password; of a user who is not known, somebody else's, so that it takes as long.
    pub hash: &'z str,
    /// Whether there is such a user.
    pub known: bool,
    /// The password.
    pub password: Vec<u8>,
}

/// What a line of a file of users has.
///
/// # Errors
/// What is wrong with it, and the way out.
fn read_line(line: &str) -> Result<(&str, &str), String> {
    let Some((name, hash)) = line.split_once(':') else {
        return Err("is not `name:hash`".to_owned());
    };
    if name.is_empty() {
        return Err("has no name".to_owned());
    }
    let prefixes = ["$2a$", "$2b$", "$2y$"];
    if !prefixes.iter().any(|prefix| hash.starts_with(prefix)) || hash.len() != 60 {
        return Err(format!(
            "has a hash for \"{name}\" that is not bcrypt's: make it with `htpasswd -B`"
        ));
    }
    let cost: Option<u32> = hash.get(4..6).and_then(|cost| cost.parse().ok());
    if cost.is_none_or(|cost| cost > MOST_COST) {
        return Err(format!(
            "has a hash for \"{name}\" that takes too long to check: its cost may be at most {MOST_COST}"
        ));
    }
    Ok((name, hash))
}

impl Basic {
    /// The users of `lines`, `name:hash` each, as `htpasswd -B` writes them.
    ///
    /// # Errors
    /// The index of a line that is none, and what is wrong with it.
    pub fn new<'l>(
        realm: &str,
        lines: impl IntoIterator<Item = &'l str>,
    ) -> Result<Self, (usize, String)> {
        let mut users = BTreeMap::new();
        for (index, line) in lines.into_iter().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hash) = read_line(line).map_err(|why| (index, why))?;
            users.insert(name.to_owned(), hash.to_owned());
        }
        Ok(Self {
            realm: realm.to_owned(),
            users,
        })
    }

    /// How many users there are.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// What a request says; `None` when it says nothing, or nothing that could be right.
    pub fn credentials(&self, fields: &HeaderMap) -> Option<Credentials<'_>> {
        let mut lines = fields.get_all(AUTHORIZATION).iter();
        let (scheme, said) = lines.next()?.as_bytes().split_at_checked(6)?;
        if lines.next().is_some() || !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let said = STANDARD.decode(said.trim_ascii()).ok()?;
        let at = said.iter().position(|byte| *byte == b':')?;
        let (name, password) = said.split_at(at);
        let password = password.get(1..)?.to_vec();
        if password.len() > LONGEST {
            return None;
        }
        let found = std::str::from_utf8(name)
            .ok()
            .and_then(|name| self.users.get(name));
        let any = || self.users.values().next();
        Some(Credentials {
            known: found.is_some(),
            hash: found.or_else(any)?,
            password,
        })
    }

    /// What who shows nothing is asked for.
    pub fn refusal(&self) -> Refusal {
        let realm = self.realm.replace(['"', '\\'], "");
        let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
        let challenge = HeaderValue::try_from(challenge);
        Refusal {
            status: StatusCode::UNAUTHORIZED,
            fields: vec![(
                WWW_AUTHENTICATE,
                challenge.unwrap_or_else(|_| HeaderValue::from_static("Basic")),
            )],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JANE: &str = "jane:$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe";

    fn said(text: &str) -> HeaderMap {
        let mut fields = HeaderMap::new();
        let value = format!("Basic {}", STANDARD.encode(text));
        fields.insert(AUTHORIZATION, value.parse().unwrap());
        fields
    }

    #[test]
    fn a_line_has_a_name_and_a_hash_by_bcrypt() {
        let basic = Basic::new("staging", ["# people", "", JANE]).unwrap();
        assert_eq!(basic.users(), 1);
        for (line, why) in [
            ("jane", "is not `name:hash`"),
            (":x", "has no name"),
            (
                "joe:$apr1$x$y",
                "has a hash for \"joe\" that is not bcrypt's: make it with `htpasswd -B`",
            ),
            (
                &JANE.replace("$05$", "$31$"),
                "has a hash for \"jane\" that takes too long to check: its cost may be at most 15",
            ),
        ] {
            assert_eq!(Basic::new("x", [JANE, line]), Err((1, why.to_owned())));
        }
    }

    #[test]
    fn who_is_not_known_is_checked_as_well_and_who_says_nothing_is_asked() {
        let basic = Basic::new("the \"staging\" site", [JANE]).unwrap();
        let jane = said("jane:pass:word");
        let jane = basic.credentials(&jane).unwrap();
        assert!(jane.known);
        assert_eq!(jane.password, b"pass:word");
        let joe = said("joe:x");
        let joe = basic.credentials(&joe).unwrap();
        assert!(!joe.known);
        assert_eq!(joe.hash, jane.hash);
        assert_eq!(basic.credentials(&HeaderMap::new()), None);
        let long = format!("jane:{}", "x".repeat(73));
        assert_eq!(basic.credentials(&said(&long)), None);
        let refusal = basic.refusal();
        assert_eq!(
            refusal.fields[0].1,
            r#"Basic realm="the staging site", charset="UTF-8""#
        );
    }
}
