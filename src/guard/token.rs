//! JSON Web Tokens (RFC 7519) of others: whether one is valid, and what it claims. Keys and what a token must
//! say are pinned by the configuration; nothing is taken from the token but the name of its key.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use jsonwebtoken::jwk::{JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use quick_cache::sync::Cache;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};

use crate::fields::cookies::cookies;

/// Longer tokens are not looked at.
const LONGEST: usize = 16 << 10;
/// Tokens whose signatures are known to be right.
const KNOWN: usize = 10_000;
/// Tokens that are known to be none, as several rules may ask about one.
const REFUSED: usize = 1_000;

/// What a token must be. Rules know it by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// Its name.
    pub name: String,
    /// Where its keys are.
    pub keys: KeySource,
    /// Whose tokens are taken; empty for anybody's who has the key.
    pub issuers: Vec<String>,
    /// For whom a token must be; empty for anybody.
    pub audiences: Vec<String>,
    /// How it may be signed.
    pub algorithms: Vec<Algorithm>,
    /// Where requests have it.
    pub from: TokenPlace,
    /// By how many seconds clocks may differ.
    pub leeway: u64,
}

/// Where the keys of tokens are.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A key that both sides have.
    Secret(Arc<[u8]>),
    /// A set of public keys (RFC 7517), as its text.
    Set(Arc<str>),
    /// The same at a URL, fetched again and again.
    Url {
        /// The URL.
        url: String,
        /// How often.
        refresh: Duration,
    },
}

/// Secrets are not shown.
impl fmt::Debug for KeySource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(_) => formatter.write_str("Secret"),
            Self::Set(_) => formatter.write_str("Set"),
            Self::Url { url, .. } => write!(formatter, "Url({url})"),
        }
    }
}

/// Where requests have a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// After `Bearer` in Authorization (RFC 6750 §2.1).
    Bearer,
    /// As the whole of a field.
    Header(HeaderName),
    /// In a cookie.
    Cookie(String),
}

/// Why a token is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// There is none.
    Missing,
    /// It is not signed by one of the keys, or not for this.
    Invalid,
    /// Its time is over, or has not come.
    Expired,
}

/// What a valid token claims.
pub type Claims = Map<String, Value>;

/// A key, and its name in its set.
struct Key {
    id: Option<String>,
    key: DecodingKey,
}

/// A token whose signature is right.
#[derive(Clone)]
struct Known {
    claims: Arc<Claims>,
    expires: i64,
    begins: Option<i64>,
}

/// Verifies tokens of one kind.
pub struct Verifier {
    /// What they must be.
    pub settings: TokenSettings,
    keys: ArcSwap<Vec<Key>>,
    known: Cache<[u8; 32], Known>,
    refused: Cache<[u8; 32], ()>,
}

impl PartialEq for Verifier {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for Verifier {}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(formatter)
    }
}

impl Verifier {
    /// A verifier, which has no keys yet when they are at a URL.
    ///
    /// # Errors
    /// What is wrong with the keys.
    pub fn new(settings: TokenSettings) -> Result<Self, String> {
        let keys = match &settings.keys {
            KeySource::Secret(secret) => vec![Key {
                id: None,
                key: DecodingKey::from_secret(secret).map_err(|error| error.to_string())?,
            }],
            KeySource::Set(text) => read_keys(text)?,
            KeySource::Url { .. } => Vec::new(),
        };
        Ok(Self {
            settings,
            keys: ArcSwap::from_pointee(keys),
            known: Cache::new(KNOWN),
            refused: Cache::new(REFUSED),
        })
    }

    /// Takes the keys that were fetched in place of those it has; how many there are.
    ///
    /// # Errors
    /// What is wrong with them; those it has stay.
    pub fn use_keys(&self, text: &str) -> Result<usize, String> {
        let keys = read_keys(text)?;
        let count = keys.len();
        if count == 0 {
            return Err("there is nothing in it".to_owned());
        }
        self.keys.store(Arc::new(keys));
        // A key that was withdrawn vouches for nothing any more.
        self.known.clear();
        self.refused.clear();
        Ok(count)
    }

    /// Whether it has any.
    pub fn has_keys(&self) -> bool {
        !self.keys.load().is_empty()
    }

    /// Takes over the keys of an earlier verifier of the same kind.
    pub fn inherit(&self, earlier: &Self) {
        if self == earlier && matches!(self.settings.keys, KeySource::Url { .. }) {
            self.keys.store(earlier.keys.load_full());
        }
    }

    /// Whether requests have something in the token's place.
    pub fn is_present(&self, fields: &HeaderMap) -> bool {
        !matches!(self.find(fields), Err(TokenFault::Missing))
    }

    /// What the token in `fields` claims; `now` in seconds since 1970.
    ///
    /// # Errors
    /// Why it is not valid.
    pub fn verify(&self, fields: &HeaderMap, now: i64) -> Result<Arc<Claims>, TokenFault> {
        let token = self.find(fields)?;
        if token.len() > LONGEST {
            return Err(TokenFault::Invalid);
        }
        let hash = digest(&SHA256, token);
        let hash = *hash.as_ref().first_chunk().unwrap_or(&[0; 32]);
        let known = if let Some(known) = self.known.get(&hash) {
            known
        } else {
            if self.refused.get(&hash).is_some() {
                return Err(TokenFault::Invalid);
            }
            let keys = self.keys.load_full();
            let known = self.decode(token, &keys);
            // What is found out with keys that were withdrawn meanwhile is not kept.
            let lasts = Arc::ptr_eq(&keys, &self.keys.load());
            match &known {
                Some(known) if lasts => self.known.insert(hash, known.clone()),
                None if lasts => self.refused.insert(hash, ()),
                _ => {}
            }
            known.ok_or(TokenFault::Invalid)?
        };
        let leeway = i64::try_from(self.settings.leeway).unwrap_or(i64::MAX);
        let begun = known
            .begins
            .is_none_or(|begins| begins.saturating_sub(leeway) <= now);
        // RFC 7519 §4.1.4: not on or after that time.
        if begun && now < known.expires.saturating_add(leeway) {
            Ok(known.claims)
        } else {
            Err(TokenFault::Expired)
        }
    }

    /// What is in the token's place. Where that is there twice, the application may take the one for the
    /// token that was not verified.
    fn find<'f>(&self, fields: &'f HeaderMap) -> Result<&'f [u8], TokenFault> {
        let mut there = match &self.settings.from {
            TokenPlace::Bearer => fields.get_all(AUTHORIZATION).iter(),
            TokenPlace::Header(name) => fields.get_all(name).iter(),
            TokenPlace::Cookie(name) => {
                let mut found = cookies(fields).filter(|(found, _)| *found == name.as_bytes());
                let (_, token) = found.next().ok_or(TokenFault::Missing)?;
                return match found.next() {
                    None => some_of(token),
                    Some(_) => Err(TokenFault::Invalid),
                };
            }
        };
        let value = there.next().ok_or(TokenFault::Missing)?.as_bytes();
        if there.next().is_some() {
            return Err(TokenFault::Invalid);
        }
        if self.settings.from != TokenPlace::Bearer {
            return some_of(value);
        }
        match value.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => some_of(token),
            _ => Err(TokenFault::Missing),
        }
    }

    /// Verifies the signature, and all of the claims but times.
    fn decode(&self, token: &[u8], keys: &[Key]) -> Option<Known> {
        let header = decode_header(token).ok()?;
        // RFC 7515 §4.1.11: what must be understood, and is not.
        if header.crit.is_some() {
            return None;
        }
        let fits = |key: &&Key| match (&header.kid, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            _ => true,
        };
        let claims = keys.iter().filter(fits).find_map(|key| {
            let validation = self.validation(&key.key)?;
            decode::<Claims>(token, &key.key, &validation).ok()
        })?;
        let claims = claims.claims;
        let seconds = |name: &str| {
            let value = claims.get(name)?;
            value.as_i64().or_else(|| {
                let written = value.as_f64()?;
                i64::from_str(&format!("{:.0}", written.floor())).ok()
            })
        };
        // A claim that cannot be read is none that holds.
        if claims.contains_key("nbf") && seconds("nbf").is_none() {
            return None;
        }
        Some(Known {
            expires: seconds("exp")?,
            begins: seconds("nbf"),
            claims: Arc::new(claims),
        })
    }

    /// What a token signed with `key` must be; `None` when no algorithm that is allowed is for such a key.
    fn validation(&self, key: &DecodingKey) -> Option<Validation> {
        let settings = &self.settings;
        let mut algorithms = settings.algorithms.iter().copied();
        let first = algorithms.find(|algorithm| algorithm.family() == key.family())?;
        let mut validation = Validation::new(first);
        validation
            .algorithms
            .extend(algorithms.filter(|other| other.family() == key.family()));
        // Times are for the caller, who knows what time it is.
        validation.validate_exp = false;
        validation.validate_aud = !settings.audiences.is_empty();
        let mut required = HashSet::from(["exp".to_owned()]);
        if !settings.audiences.is_empty() {
            validation.set_audience(&settings.audiences);
            required.insert("aud".to_owned());
        }
        if !settings.issuers.is_empty() {
            validation.set_issuer(&settings.issuers);
            required.insert("iss".to_owned());
        }
        validation.required_spec_claims = required;
        Some(validation)
    }
}

fn some_of(token: &[u8]) -> Result<&[u8], TokenFault> {
    let token = token.trim_ascii();
    if token.is_empty() {
        Err(TokenFault::Missing)
    } else {
        Ok(token)
    }
}

/// The keys of a set that verify signatures; those of a kind that is not known are passed over.
fn read_keys(text: &str) -> Result<Vec<Key>, String> {
    if text.trim().is_empty() {
        // A file that is still to be filled.
        return Ok(Vec::new());
    }
    let set: JwkSet = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let signs = set.keys.iter().filter(|jwk| {
        let for_what = jwk.common.public_key_use.as_ref();
        for_what.is_none_or(|what| *what == PublicKeyUse::Signature)
    });
    let keys: Vec<Key> = signs
        .filter_map(|jwk| {
            Some(Key {
                id: jwk.common.key_id.clone(),
                key: DecodingKey::from_jwk(jwk).ok()?,
            })
        })
        .collect();
    if keys.is_empty() {
        return Err("there is no key in it that verifies signatures".to_owned());
    }
    Ok(keys)
}

/// What a claim says, as text: of an object, the entry that the next name tells; of a list, its first element.
pub fn claim(claims: &Claims, path: &[Box<str>]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let mut value = claims.get(&**first)?;
    for name in rest {
        value = value.get(&**name)?;
    }
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Array(all) => all.first()?.as_str().map(str::to_owned),
        Value::Null | Value::Object(_) => None,
    }
}

/// All verifiers of a configuration, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(Vec<Arc<Verifier>>);

impl Tokens {
    /// Adds one.
    pub fn insert(&mut self, verifier: Verifier) {
        self.0.push(Arc::new(verifier));
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Verifier>> {
        self.0.iter().find(|one| one.settings.name == name)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.iter().map(|one| one.settings.name.as_str())
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Verifier>] {
        &self.0
    }

    /// Takes the keys over that an earlier configuration has fetched.
    pub fn inherit(&self, earlier: &Self) {
        for verifier in &self.0 {
            if let Some(before) = earlier.get(&verifier.settings.name) {
                verifier.inherit(before);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    const SECRET: &[u8] = b"a secret that both sides have";

    fn verifier(change: impl FnOnce(&mut TokenSettings)) -> Verifier {
        let mut settings = TokenSettings {
            name: "app".to_owned(),
            keys: KeySource::Secret(SECRET.into()),
            issuers: vec!["https://id.test".to_owned()],
            audiences: vec!["shop".to_owned()],
            algorithms: vec![Algorithm::HS256],
            from: TokenPlace::Bearer,
            leeway: 0,
        };
        change(&mut settings);
        Verifier::new(settings).unwrap()
    }

    fn signed(claims: &Value, header: &Header) -> String {
        let key = EncodingKey::from_secret(SECRET).unwrap();
        encode(header, claims, &key).unwrap()
    }

    fn bearer(token: &str) -> HeaderMap {
        let mut fields = HeaderMap::new();
        fields.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        fields
    }

    fn good() -> Value {
        json!({"iss": "https://id.test", "aud": "shop", "exp": 1000, "sub": "jane", "org": {"role": "admin"}})
    }

    #[test]
    fn a_valid_token_tells_its_claims_until_it_expires() {
        let verifier = verifier(|_| {});
        let fields = bearer(&signed(&good(), &Header::default()));
        let claims = verifier.verify(&fields, 999).unwrap();
        assert_eq!(claim(&claims, &["sub".into()]).as_deref(), Some("jane"));
        let role = ["org".into(), "role".into()];
        assert_eq!(claim(&claims, &role).as_deref(), Some("admin"));
        assert_eq!(claim(&claims, &["org".into()]), None);
        assert_eq!(verifier.verify(&fields, 1000), Err(TokenFault::Expired));
        assert_eq!(
            verifier.verify(&HeaderMap::new(), 0),
            Err(TokenFault::Missing)
        );
    }

    #[test]
    fn two_tokens_are_none_that_is_valid_and_are_there_all_the_same() {
        let token = signed(&good(), &Header::default());
        let name = HeaderName::from_static("x-token");
        let bearer = format!("Bearer {token}");
        for (from, field, value) in [
            (TokenPlace::Bearer, AUTHORIZATION, bearer.as_str()),
            (TokenPlace::Header(name.clone()), name, token.as_str()),
        ] {
            let verifier = verifier(|settings| settings.from = from);
            let mut fields = HeaderMap::new();
            fields.append(field.clone(), value.parse().unwrap());
            assert!(verifier.verify(&fields, 1).is_ok());
            fields.append(field, "forged".parse().unwrap());
            assert_eq!(verifier.verify(&fields, 1), Err(TokenFault::Invalid));
            assert!(verifier.is_present(&fields));
        }
        let verifier = verifier(|settings| settings.from = TokenPlace::Cookie("t".to_owned()));
        let cookies =
            |text: String| HeaderMap::from_iter([(http::header::COOKIE, text.parse().unwrap())]);
        assert!(verifier.verify(&cookies(format!("t={token}")), 1).is_ok());
        let twice = cookies(format!("t={token}; t=forged"));
        assert_eq!(verifier.verify(&twice, 1), Err(TokenFault::Invalid));
        assert!(verifier.is_present(&twice));
    }

    #[test]
    fn an_empty_set_does_not_take_the_keys_away() {
        let verifier = verifier(|_| {});
        assert!(verifier.use_keys("").is_err());
        assert!(verifier.use_keys("{\"keys\": []}").is_err());
        assert!(verifier.has_keys());
    }

    #[test]
    fn a_token_with_any_byte_changed_is_refused() {
        let verifier = verifier(|_| {});
        let token = signed(&good(), &Header::default());
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            let result = verifier.verify(&bearer(&changed), 1);
            // The last digit of a signature has bits that mean nothing.
            let same = at + 1 == token.len();
            assert!(result.is_err() || same, "{at}");
        }
    }

    #[test]
    fn what_is_not_for_us_not_by_the_issuer_or_never_ends_is_refused() {
        let verifier = verifier(|_| {});
        for change in [
            json!({"aud": "other"}),
            json!({"aud": null}),
            json!({"iss": "https://evil.test"}),
            json!({"iss": null}),
            json!({"exp": null}),
            json!({"exp": "soon"}),
            json!({"nbf": "x"}),
            json!({"nbf": 500}),
        ] {
            let mut claims = good();
            for (name, value) in change.as_object().unwrap() {
                claims[name] = value.clone();
            }
            let fields = bearer(&signed(&claims, &Header::default()));
            assert!(verifier.verify(&fields, 100).is_err(), "{change}");
        }
        let several =
            json!({"iss": "https://id.test", "aud": ["x", "shop"], "exp": 1000.5, "nbf": 1});
        let fields = bearer(&signed(&several, &Header::default()));
        assert!(verifier.verify(&fields, 100).is_ok());
    }

    #[test]
    fn only_the_algorithms_that_are_allowed_are_taken_and_none_never_is() {
        let verifier = verifier(|_| {});
        let other = signed(&good(), &Header::new(Algorithm::HS512));
        assert!(verifier.verify(&bearer(&other), 1).is_err());
        let token = signed(&good(), &Header::default());
        let rest = token.split_once('.').unwrap().1;
        // {"alg":"none"}
        let none = format!("eyJhbGciOiJub25lIn0.{rest}");
        assert!(verifier.verify(&bearer(&none), 1).is_err());
    }

    #[test]
    fn a_public_key_is_no_secret_with_which_somebody_may_sign() {
        // RFC 7517 appendix A.1, the elliptic curve key.
        let set = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1","use":"sig",
            "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;
        let verifier = verifier(|settings| {
            settings.keys = KeySource::Set(set.into());
            settings.algorithms = vec![Algorithm::ES256, Algorithm::HS256];
        });
        let header = Header {
            kid: Some("1".to_owned()),
            ..Header::default()
        };
        assert!(
            verifier
                .verify(&bearer(&signed(&good(), &header)), 1)
                .is_err()
        );
        assert!(verifier.use_keys("{}").is_err());
        assert!(verifier.use_keys(r#"{"keys":[]}"#).is_err());
        assert_eq!(verifier.use_keys(set), Ok(1));
    }

    #[test]
    fn a_token_is_found_in_a_field_or_a_cookie_as_well() {
        let token = signed(&good(), &Header::default());
        let mut fields = HeaderMap::new();
        fields.insert("x-token", token.parse().unwrap());
        fields.insert("cookie", format!("a=1; jwt={token}").parse().unwrap());
        for from in [
            TokenPlace::Header(HeaderName::from_static("x-token")),
            TokenPlace::Cookie("jwt".to_owned()),
        ] {
            let verifier = verifier(|settings| settings.from = from);
            assert!(verifier.verify(&fields, 1).is_ok());
        }
    }
}
