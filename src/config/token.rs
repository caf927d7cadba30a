//! `[[jwt]]`: kinds of tokens, which access rules and expressions name.

use std::str::FromStr;
use std::time::Duration;

use http::{HeaderName, Uri};
use jsonwebtoken::Algorithm;

use super::reader::{Located, Section};
use crate::guard::token::{KeySource, TokenPlace, TokenSettings, Tokens, Verifier};

/// What public keys may sign with, unless the configuration says less.
const PUBLIC: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
const SHARED: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
/// RFC 7518 §3.2: a key has as many bits as the hash.
const SHORTEST_SECRET: usize = 32;
const REFRESH: Duration = Duration::from_mins(10);
const SHORTEST_REFRESH: Duration = Duration::from_secs(10);
const LEEWAY: Duration = Duration::from_secs(30);

/// Reads all kinds of tokens.
pub(super) fn read_tokens(root: &Section<'_>) -> Tokens {
    let mut tokens = Tokens::default();
    for section in root.sections("jwt") {
        let span = section.span.clone();
        let name = section.required_string("name", "\"app\"");
        let again = |name: &Located<String>| tokens.get(&name.value).is_some();
        if let Some(name) = name.as_ref().filter(|name| again(name)) {
            let message = format!("there are two kinds of tokens \"{}\"", name.value);
            root.reader.fault(name.span.clone(), message, None);
        }
        let settings = read(&section, name);
        section.finish();
        match settings.map(Verifier::new) {
            Some(Ok(verifier)) => tokens.insert(verifier),
            Some(Err(why)) => {
                let help = "a set of keys is JSON: {\"keys\": […]}".to_owned();
                let message = format!("its keys cannot be used: {why}");
                root.reader.fault(span, message, Some(help));
            }
            None => {}
        }
    }
    tokens
}

fn read(section: &Section<'_>, name: Option<Located<String>>) -> Option<TokenSettings> {
    let keys = read_keys(section);
    let public = !matches!(keys, Some(KeySource::Secret(_)));
    let algorithms = read_algorithms(section, public);
    let header = section.parsed("header", "the name of a field", |text| {
        HeaderName::try_from(text).map_err(|_| "is not the name of a field".to_owned())
    });
    let cookie = section.string("cookie");
    let from = match (header, cookie) {
        (Some(_), Some(cookie)) => {
            let help = "keep one of the two".to_owned();
            let message = "a token is in a `header` or in a `cookie`";
            section.reader.fault(cookie.span, message, Some(help));
            return None;
        }
        (Some(header), None) => TokenPlace::Header(header.value),
        (None, Some(cookie)) => TokenPlace::Cookie(cookie.value),
        (None, None) => TokenPlace::Bearer,
    };
    let texts = |key| {
        let written = section.strings(key).unwrap_or_default();
        written.into_iter().map(|text| text.value).collect()
    };
    let leeway = section.duration("leeway").map_or(LEEWAY, |time| time.value);
    Some(TokenSettings {
        name: name?.value,
        issuers: texts("issuer"),
        audiences: texts("audience"),
        algorithms,
        from,
        leeway: leeway.as_secs(),
        keys: keys?,
    })
}

fn read_keys(section: &Section<'_>) -> Option<KeySource> {
    let written: Vec<&str> = ["secret", "jwks_file", "jwks_url"]
        .into_iter()
        .filter(|key| section.has(key))
        .collect();
    let refresh = section.duration_of("refresh", SHORTEST_REFRESH);
    if written.len() != 1 {
        let message = match written.as_slice() {
            [] => "there is nothing to verify tokens with".to_owned(),
            several => format!("{} are one too many", several.join(" and ")),
        };
        let help = "write one of `jwks_url = \"https://…\"`, `jwks_file` and `secret`".to_owned();
        section
            .reader
            .fault(section.span.clone(), message, Some(help));
        return None;
    }
    if let Some(secret) = section.string("secret") {
        if secret.value.len() < SHORTEST_SECRET {
            let message = format!("`secret` must have at least {SHORTEST_SECRET} bytes");
            let help = "`openssl rand -hex 32` makes a good one".to_owned();
            // The place of the value would show it.
            section
                .reader
                .fault(section.span.clone(), message, Some(help));
            return None;
        }
        return Some(KeySource::Secret(secret.value.as_bytes().into()));
    }
    if let Some(file) = section.file("jwks_file") {
        return Some(KeySource::Set(file.value.text.into()));
    }
    let url = section.parsed("jwks_url", "a URL", |text| {
        let uri = Uri::from_str(text).map_err(|error| format!("is not a URL: {error}"))?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        if known && uri.host().is_some() {
            return Ok(text.to_owned());
        }
        Err("is not an http or https URL".to_owned())
    })?;
    Some(KeySource::Url {
        url: url.value,
        refresh: refresh.map_or(REFRESH, |time| time.value),
    })
}

fn read_algorithms(section: &Section<'_>, public: bool) -> Vec<Algorithm> {
    let usual: &[Algorithm] = if public { &PUBLIC } else { &SHARED[..1] };
    let Some(written) = section.strings("algorithms") else {
        return usual.to_vec();
    };
    let possible: &[Algorithm] = if public { &PUBLIC } else { &SHARED };
    let mut algorithms = Vec::new();
    for name in written {
        let known = Algorithm::from_str(&name.value).ok();
        if let Some(known) = known.filter(|known| possible.contains(known)) {
            algorithms.push(known);
            continue;
        }
        let names: Vec<String> = possible.iter().map(|one| format!("{one:?}")).collect();
        let message = format!(
            "tokens with such a key are not signed with \"{}\"",
            name.value
        );
        let help = format!("known are {}", names.join(", "));
        section.reader.fault(name.span, message, Some(help));
    }
    algorithms
}
