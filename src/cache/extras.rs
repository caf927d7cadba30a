//! What rules add to the key beside the URI.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::device::device;
use super::key::{CacheKey, write_bytes, write_text};
use super::settings::KeySettings;
use crate::fields::cookies::cookies;
use crate::request::RequestView;

/// One addition to the key: what of the request it looks at, and what it found there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra<'a> {
    kind: Kind,
    /// Name of the field or cookie; empty for what has none.
    name: &'a str,
    found: Found<'a>,
}

/// What an addition looks at. None is 0, the first byte of a selecting key: extras cannot run into
/// what follows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Header = 1,
    HeaderPresence = 2,
    Cookie = 3,
    CookiePresence = 4,
    Device = 5,
    HeaderContains = 6,
    Country = 7,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Found<'a> {
    Values(Vec<Cow<'a, [u8]>>),
    Present(bool),
}

/// What `settings` make of a request beside its URI, in the order of the key.
pub fn extras<'a>(request: &RequestView<'a>, settings: &'a KeySettings) -> Vec<Extra<'a>> {
    let headers = request.headers;
    let mut extras = Vec::new();
    let mut push = |kind, name, found| extras.push(Extra { kind, name, found });
    for name in &settings.headers {
        let values = headers.get_all(name.as_str()).into_iter();
        let values = values.map(|value| Cow::Borrowed(value.as_bytes()));
        push(Kind::Header, name, Found::Values(values.collect()));
    }
    for name in &settings.header_presence {
        let present = headers.contains_key(name.as_str());
        push(Kind::HeaderPresence, name, Found::Present(present));
    }
    for (name, texts) in &settings.header_contains {
        let texts = contained(headers, name, texts);
        let texts = texts.map(|text| Cow::Borrowed(text.as_bytes()));
        push(Kind::HeaderContains, name, Found::Values(texts.collect()));
    }
    for name in &settings.cookies {
        let values = cookies_named(headers, name).map(Cow::Borrowed);
        push(Kind::Cookie, name, Found::Values(values.collect()));
    }
    for name in &settings.cookie_presence {
        let present = cookies_named(headers, name).next().is_some();
        push(Kind::CookiePresence, name, Found::Present(present));
    }
    if settings.device {
        let word = Cow::Borrowed(device(headers).as_str().as_bytes());
        push(Kind::Device, "", Found::Values(vec![word]));
    }
    if settings.country {
        let country = request.facts.country.map(|code| Cow::Owned(code.to_vec()));
        let country = country.into_iter().collect();
        push(Kind::Country, "", Found::Values(country));
    }
    extras
}

/// Appends [`extras`]; nothing when the settings name nothing.
///
/// This goes in front of the selecting key and not into the primary key, so that a purge or an
/// invalidation of the URI reaches all of it. Every part says what it is and how long: equal bytes
/// are equal names and values.
pub fn write_extras(request: &RequestView<'_>, settings: &KeySettings, out: &mut Vec<u8>) {
    for extra in extras(request, settings) {
        out.push(extra.kind as u8);
        write_text(extra.name, out);
        match extra.found {
            Found::Present(present) => out.push(u8::from(present)),
            Found::Values(values) => {
                // Each is counted by a 1 before it, and a 0 ends them: none differs from an empty one.
                for value in values {
                    out.push(1);
                    write_bytes(&value, out);
                }
                out.push(0);
            }
        }
    }
}

/// The whole key of a request for people: `shop https://shop.test/a?b=1; cookie currency="EUR";
/// device "mobile"`. What is absent has no value.
pub fn readable_key(
    key: &CacheKey<'_>,
    request: &RequestView<'_>,
    settings: &KeySettings,
) -> String {
    use fmt::Write;

    let mut text = key.to_string();
    for extra in extras(request, settings) {
        // Writing to a string does not fail.
        let _ = write!(text, "; {extra}");
    }
    text
}

/// Of a field that counts by what it contains, leaves the texts that were found: more of it must not
/// reach the origin. What is reduced stays as it is.
pub fn reduce(headers: &mut HeaderMap, settings: &KeySettings) {
    for (name, value) in reductions(headers, settings) {
        match value {
            Some(value) => drop(headers.insert(name, value)),
            None => drop(headers.remove(name)),
        }
    }
}

/// The fields that [`reduce`] changes: to these values, or to nothing.
pub fn reductions(
    headers: &HeaderMap,
    settings: &KeySettings,
) -> Vec<(HeaderName, Option<HeaderValue>)> {
    let reduced = |(name, texts): &(String, Vec<String>)| {
        let found: Vec<&str> = contained(headers, name, texts).collect();
        let value = HeaderValue::try_from(found.join(", ")).ok()?;
        let name = HeaderName::try_from(name.as_str()).ok()?;
        Some((name, Some(value).filter(|_| !found.is_empty())))
    };
    settings
        .header_contains
        .iter()
        .filter_map(reduced)
        .collect()
}

/// The listed `texts` that the field contains, whatever their case, in the order of the list.
pub fn contained<'a>(
    headers: &'a HeaderMap,
    name: &'a str,
    texts: &'a [String],
) -> impl Iterator<Item = &'a str> {
    let holds = move |text: &str| {
        headers.get_all(name).iter().any(|line| {
            let mut windows = line.as_bytes().windows(text.len().max(1));
            windows.any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
        })
    };
    texts
        .iter()
        .map(String::as_str)
        .filter(move |text| holds(text))
}

fn cookies_named<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    cookies(headers)
        .filter(move |(found, _)| *found == name.as_bytes())
        .map(|(_, value)| value)
}

/// `header accept contains "image/webp"`, `cookie beta present`, `country absent`.
impl fmt::Display for Extra<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::Header | Kind::HeaderPresence | Kind::HeaderContains => "header ",
            Kind::Cookie | Kind::CookiePresence => "cookie ",
            Kind::Device => "device",
            Kind::Country => "country",
        };
        write!(f, "{what}{}", self.name)?;
        let (verb, nothing) = match self.kind {
            Kind::HeaderContains => (" contains", " contains nothing"),
            _ => ("", " absent"),
        };
        match &self.found {
            Found::Present(true) => f.write_str(" present"),
            Found::Present(false) => f.write_str(" absent"),
            Found::Values(values) if values.is_empty() => f.write_str(nothing),
            Found::Values(values) => {
                f.write_str(verb)?;
                for (position, value) in values.iter().enumerate() {
                    let comma = if position > 0 { "," } else { "" };
                    write!(f, "{comma} \"{}\"", value.escape_ascii())?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
#[path = "extras_tests.rs"]
mod tests;
