//! What is asked about: a request as a client would send it, and what the origin would answer.

use std::net::{IpAddr, Ipv4Addr};

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use crate::config::Config;
use crate::request::Scheme;
use crate::zone::HostPattern;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its method.
    pub method: Method,
    /// A URL of `http` or `https`; or a path with or without query, which is asked of the first host.
    pub url: String,
    /// Its fields, as sent. Without a Host among them it is the URL's.
    pub headers: HeaderMap,
    /// Address of the client. By default one of the documentation's (RFC 5737), as visitors are strangers.
    pub client: IpAddr,
    /// Protocol version.
    pub version: Version,
    /// Country of the client, ISO 3166-1 alpha-2 in capitals.
    pub country: Option<[u8; 2]>,
    /// Number of the client's autonomous system.
    pub asn: Option<u32>,
    /// Whether it is of a verified bot. Nobody is looked up for an explanation.
    pub verified_bot: bool,
    /// When it arrives, in seconds since 1970; `None` is now.
    pub time: Option<i64>,
    /// Stands for the random number of splits.
    pub chance: u64,
}

impl Question {
    /// A GET of `url` without any fields.
    pub fn get(url: &str) -> Self {
        Self {
            method: Method::GET,
            url: url.to_owned(),
            headers: HeaderMap::new(),
            client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            version: Version::HTTP_11,
            country: None,
            asn: None,
            verified_bot: false,
            time: None,
            chance: 0,
        }
    }
}

/// What the origin answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginAnswer {
    /// The status.
    pub status: StatusCode,
    /// The fields, as sent.
    pub headers: HeaderMap,
}

impl OriginAnswer {
    /// With a body of this many bytes, unless the fields say so already.
    #[must_use]
    pub fn with_length(mut self, length: Option<u64>) -> Self {
        if let Some(length) = length {
            let length = HeaderValue::from(length);
            self.headers.entry(CONTENT_LENGTH).or_insert(length);
        }
        self
    }
}

/// Why a question cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Neither a URL nor a path.
    #[error("\"{0}\" is neither a URL nor a path: write `https://shop.example/a?b=1` or `/a?b=1`")]
    Url(String),
    /// Another scheme.
    #[error("\"{0}\" is not of http or https")]
    Scheme(String),
    /// Not `name: value`.
    #[error("\"{0}\" is not a field: write `name: value`")]
    Field(String),
    /// No token.
    #[error("\"{0}\" is not a method")]
    Method(String),
    /// Not 200 to 599.
    #[error("{0} is not a status from 200 to 599")]
    Status(u16),
    /// Not an address.
    #[error("\"{0}\" is not an IP address")]
    Client(String),
    /// Not two letters.
    #[error("\"{0}\" is not a country: write two letters, as in `DE`")]
    Country(String),
    /// Not a version.
    #[error("\"{0}\" is not a version: write \"1.0\", \"1.1\" or \"2\"")]
    Version(String),
}

/// A URL in its parts, before anything is made canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url<'q> {
    pub(super) scheme: Scheme,
    pub(super) authority: String,
    pub(super) path: &'q str,
    pub(super) query: Option<&'q str>,
}

impl<'q> Url<'q> {
    /// Reads what is asked about.
    ///
    /// # Errors
    /// When it is neither a URL nor a path.
    pub(super) fn read(text: &'q str, config: &Config) -> Result<Self, QuestionError> {
        let text = text.split('#').next().unwrap_or(text);
        let (scheme, authority, rest) = if text.starts_with('/') && !text.starts_with("//") {
            let (scheme, host) = first_host(config);
            (scheme, host, text)
        } else {
            let unreadable = || QuestionError::Url(text.to_owned());
            let (scheme, rest) = text.split_once("://").ok_or_else(unreadable)?;
            let scheme = match &*scheme.to_ascii_lowercase() {
                "http" => Scheme::Http,
                "https" => Scheme::Https,
                _ => return Err(QuestionError::Scheme(text.to_owned())),
            };
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at_checked(end).ok_or_else(unreadable)?;
            if authority.is_empty() {
                return Err(unreadable());
            }
            (scheme, authority.to_owned(), rest)
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        Ok(Self {
            scheme,
            authority,
            path,
            query,
        })
    }
}

/// Where a path alone is asked: the first zone's first host with a name of its own, over TLS when
/// that is all there is.
fn first_host(config: &Config) -> (Scheme, String) {
    let scheme = if config
        .listeners
        .iter()
        .all(|listener| listener.tls.is_some())
    {
        Scheme::Https
    } else {
        Scheme::Http
    };
    let hosts = config.zones.first().map(|zone| &zone.hosts);
    let named = hosts.into_iter().flatten().find_map(|host| match host {
        HostPattern::Exact(name) => Some(name.clone()),
        HostPattern::Below(_) | HostPattern::Any => None,
    });
    (scheme, named.unwrap_or_else(|| "localhost".to_owned()))
}

/// Reads a method.
///
/// # Errors
/// When it is none.
pub fn method(text: &str) -> Result<Method, QuestionError> {
    Method::from_bytes(text.as_bytes()).map_err(|_| QuestionError::Method(text.to_owned()))
}

/// Reads a final status.
///
/// # Errors
/// When it is none.
pub fn status(code: u16) -> Result<StatusCode, QuestionError> {
    StatusCode::from_u16(code)
        .ok()
        .filter(|status| (200..=599).contains(&status.as_u16()))
        .ok_or(QuestionError::Status(code))
}

/// Reads a client's address.
///
/// # Errors
/// When it is none.
pub fn client(text: &str) -> Result<IpAddr, QuestionError> {
    let address: Result<IpAddr, _> = text.parse();
    address.map_err(|_| QuestionError::Client(text.to_owned()))
}

/// Reads a country's two letters.
///
/// # Errors
/// When it has others.
pub fn country(text: &str) -> Result<[u8; 2], QuestionError> {
    let letters = text.to_ascii_uppercase();
    <[u8; 2]>::try_from(letters.as_bytes())
        .ok()
        .filter(|letters| letters.iter().all(u8::is_ascii_uppercase))
        .ok_or_else(|| QuestionError::Country(text.to_owned()))
}

/// Reads a protocol version.
///
/// # Errors
/// When it is none that is served.
pub fn version(text: &str) -> Result<Version, QuestionError> {
    match text {
        "1.0" => Ok(Version::HTTP_10),
        "1.1" => Ok(Version::HTTP_11),
        "2" => Ok(Version::HTTP_2),
        _ => Err(QuestionError::Version(text.to_owned())),
    }
}

/// Reads a field.
///
/// # Errors
/// When name or value can be none.
pub fn field(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), QuestionError> {
    let unreadable = || QuestionError::Field(format!("{name}: {value}"));
    let parsed = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| unreadable())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| unreadable())?;
    Ok((parsed, value))
}

/// Reads `name: value`.
///
/// # Errors
/// When it is not of that form.
pub fn field_line(line: &str) -> Result<(HeaderName, HeaderValue), QuestionError> {
    let (name, value) = line
        .split_once(':')
        .ok_or_else(|| QuestionError::Field(line.to_owned()))?;
    field(name, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn config(listen: &str, hosts: &str) -> Config {
        let source = format!(
            "listen = {listen}\npools.app.servers = \"http://127.0.0.1:1\"\n\
             zones.a = {{ hosts = {hosts}, pool = \"app\" }}"
        );
        parse("test.toml", &source, &|_| None).unwrap()
    }

    fn url(config: &Config, text: &str) -> Result<String, QuestionError> {
        let url = Url::read(text, config)?;
        let target = crate::rules::target_text(url.path, url.query);
        Ok(format!(
            "{} {} {target}",
            url.scheme.as_str(),
            url.authority
        ))
    }

    #[test]
    fn urls_and_paths_are_read_and_nothing_else() {
        let named = config("\"[::]:80\"", "[\"*.b.test\", \"a.test\"]");
        for (text, expected) in [
            ("/a?b#c", "http a.test /a?b"),
            ("https://B.test:8443", "https B.test:8443 "),
            ("HTTP://b.test?x=1", "http b.test ?x=1"),
            ("http://b.test/a//b", "http b.test /a//b"),
        ] {
            assert_eq!(url(&named, text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["", "a.test/x", "//a.test/x", "ftp://a.test/", "http:///x"] {
            assert!(url(&named, text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_alone_is_asked_where_somebody_listens() {
        let tls = "{ address = \"[::]:443\", tls = { certificate = \"c\", key = \"k\" } }";
        assert_eq!(
            url(&config(tls, "\"*\""), "/a").unwrap(),
            "https localhost /a"
        );
    }

    #[test]
    fn what_is_no_field_status_address_country_or_version_is_refused() {
        assert!(field_line("Cookie").is_err() && field_line("a b: c").is_err());
        let (name, value) = field_line("X-A:  b: c ").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-a", "b: c"));
        assert!(status(199).is_err() && status(600).is_err() && status(404).is_ok());
        assert!(client("localhost").is_err() && client("::1").is_ok());
        assert_eq!(country("de"), Ok(*b"DE"));
        assert!(country("DEU").is_err() && country("1A").is_err());
        assert!(version("3").is_err() && method("G T").is_err());
    }
}
