//! What a purge is asked to reach, in Cloudflare's JSON form.

use std::fmt;

use serde::Deserialize;

use crate::request::Scheme;
use crate::zone::{Authority, PathError, canonical_path};

/// As in Cloudflare's API.
const MOST_TARGETS: usize = 100;
const LONGEST_TAG: usize = 1024;
const MOST_REFETCHES: usize = 10_000;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeRequest {
    /// What it reaches; never empty when it was parsed.
    pub targets: Vec<PurgeTarget>,
    /// Whether responses become stale rather than gone: they may be validated, and served where a
    /// stale one may be.
    pub soft: bool,
    /// Whether to count only.
    pub dry_run: bool,
    /// How many of the responses, those served most often, are fetched again in the background.
    pub refetch: usize,
}

/// What one part of a purge reaches. Hosts and paths are in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeTarget {
    /// One resource with all its variants.
    Url(UrlTarget),
    /// What carries this cache tag, lower case.
    Tag(Box<str>),
    /// What lies on `host` and has a path that begins with the bytes of `path`.
    Prefix {
        /// Host without port.
        host: String,
        /// Begins with `/`.
        path: String,
    },
    /// What lies on this host, whatever the port.
    Host(String),
    /// All there is.
    Everything,
}

/// The parts of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlTarget {
    /// Scheme as written.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
    /// Path.
    pub path: String,
    /// Query as written, without its `?`.
    pub query: Option<String>,
}

impl fmt::Display for PurgeTarget {
    /// For the audit log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => {
                let (scheme, authority) = (url.scheme.as_str(), url.authority.as_str());
                write!(f, "url={scheme}://{authority}{}", url.path)?;
                url.query
                    .as_ref()
                    .map_or(Ok(()), |query| write!(f, "?{query}"))
            }
            Self::Tag(tag) => write!(f, "tag={tag}"),
            Self::Prefix { host, path } => write!(f, "prefix={host}{path}"),
            Self::Host(host) => write!(f, "host={host}"),
            Self::Everything => f.write_str("everything"),
        }
    }
}

/// What is wrong with a purge request.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// Not JSON, or not of the right form.
    #[error("the body is not a purge request: {0}")]
    Json(#[from] serde_json::Error),
    /// Nothing is named.
    #[error(
        "nothing to purge: name `files`, `tags`, `prefixes` or `hosts`, or say `\"purge_everything\": true`"
    )]
    Nothing,
    /// Everything, and something.
    #[error("`purge_everything` goes without `files`, `tags`, `prefixes` and `hosts`")]
    EverythingAndMore,
    /// Too much at once.
    #[error("{0} targets; {MOST_TARGETS} are the most in one call")]
    TooMany(usize),
    /// More is to be fetched again than is worth it.
    #[error("`refetch` of {0}; {MOST_REFETCHES} are the most")]
    TooManyRefetches(usize),
    /// A target that cannot be read.
    #[error("the {kind} \"{text}\" {why}")]
    Target {
        /// `file`, `tag`, `prefix` or `host`.
        kind: &'static str,
        /// As written.
        text: String,
        /// A sentence without its subject.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    files: Vec<File>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    prefixes: Vec<String>,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    purge_everything: bool,
    #[serde(default)]
    soft: bool,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    refetch: usize,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "each of `files` must be a URL or {\"url\": URL}; other members are not supported, since all variants are purged"
)]
enum File {
    Url(String),
    Object(FileObject),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileObject {
    url: String,
}

/// Reads `{"files": […], "tags": […], "prefixes": […], "hosts": […], "purge_everything": true,
/// "soft": true, "dry_run": true, "refetch": 100}`.
///
/// # Errors
/// What is wrong with it; nothing of it may be carried out then.
pub fn parse_json(bytes: &[u8]) -> Result<PurgeRequest, PurgeError> {
    let body: Body = serde_json::from_slice(bytes)?;
    let count = body.files.len() + body.tags.len() + body.prefixes.len() + body.hosts.len();
    match (body.purge_everything, count) {
        (false, 0) => return Err(PurgeError::Nothing),
        (true, 1..) => return Err(PurgeError::EverythingAndMore),
        (false, count) if count > MOST_TARGETS => return Err(PurgeError::TooMany(count)),
        _ => {}
    }
    if body.refetch > MOST_REFETCHES {
        return Err(PurgeError::TooManyRefetches(body.refetch));
    }
    let mut targets = Vec::with_capacity(count.max(1));
    if body.purge_everything {
        targets.push(PurgeTarget::Everything);
    }
    for File::Url(url) | File::Object(FileObject { url }) in &body.files {
        targets.push(target("file", url, parse_url(url).map(PurgeTarget::Url))?);
    }
    for tag in &body.tags {
        targets.push(target("tag", tag, parse_tag(tag).map(PurgeTarget::Tag))?);
    }
    for prefix in &body.prefixes {
        targets.push(target("prefix", prefix, parse_prefix(prefix))?);
    }
    for host in &body.hosts {
        targets.push(target(
            "host",
            host,
            parse_host(host).map(PurgeTarget::Host),
        )?);
    }
    Ok(PurgeRequest {
        targets,
        soft: body.soft,
        dry_run: body.dry_run,
        refetch: body.refetch,
    })
}

fn target(
    kind: &'static str,
    text: &str,
    read: Result<PurgeTarget, String>,
) -> Result<PurgeTarget, PurgeError> {
    read.map_err(|why| PurgeError::Target {
        kind,
        text: text.to_owned(),
        why,
    })
}

fn parse_url(text: &str) -> Result<UrlTarget, String> {
    let url: http::Uri = text.parse().map_err(|_| "is not a URL".to_owned())?;
    let scheme = match url.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => return Err("must begin with http:// or https://".to_owned()),
    };
    let authority = url
        .authority()
        .and_then(|authority| Authority::parse(authority.as_str(), scheme))
        .ok_or("has no plain host")?;
    Ok(UrlTarget {
        scheme,
        authority,
        path: canonical(url.path())?,
        query: url.query().map(str::to_owned),
    })
}

/// Lower case, since tags are compared without regard to it.
fn parse_tag(text: &str) -> Result<Box<str>, String> {
    if text.is_empty() || text.len() > LONGEST_TAG {
        return Err(format!("must have from 1 to {LONGEST_TAG} characters"));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic() && b != b',') {
        return Err("must be of visible ASCII characters without commas".to_owned());
    }
    Ok(text.to_ascii_lowercase().into())
}

fn parse_prefix(text: &str) -> Result<PurgeTarget, String> {
    // Copied from an address bar more often than not.
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text);
    if rest.contains(['?', '#']) {
        return Err("must be a host and the beginning of a path, without a query".to_owned());
    }
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    if !path.bytes().all(|b| b.is_ascii_graphic() || !b.is_ascii()) {
        return Err("has a space or control character; write it percent-encoded".to_owned());
    }
    Ok(PurgeTarget::Prefix {
        host: parse_host(host)?,
        path: canonical(path)?,
    })
}

fn parse_host(text: &str) -> Result<String, String> {
    if text.contains(['/', '*']) {
        return Err("must be one host name alone".to_owned());
    }
    // Both schemes, so that no port passes for a default.
    let with = |scheme| Authority::parse(text, scheme);
    match with(Scheme::Http).zip(with(Scheme::Https)) {
        Some((one, other)) if one.host() == one.as_str() && one == other => {
            Ok(one.host().to_owned())
        }
        Some(_) => Err("must not have a port; every port is meant".to_owned()),
        None => Err("is not a host name".to_owned()),
    }
}

fn canonical(path: &str) -> Result<String, String> {
    let path = canonical_path(path).map_err(|why: PathError| format!("is refused: {why}"))?;
    Ok(path.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<PurgeRequest, String> {
        parse_json(json.as_bytes()).map_err(|error| error.to_string())
    }

    fn only(json: &str) -> PurgeTarget {
        let mut targets = parse(json).unwrap().targets;
        assert_eq!(targets.len(), 1, "{json}");
        targets.remove(0)
    }

    fn url(scheme: Scheme, authority: &str, path: &str, query: Option<&str>) -> PurgeTarget {
        PurgeTarget::Url(UrlTarget {
            scheme,
            authority: Authority::parse(authority, scheme).unwrap(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
        })
    }

    #[test]
    fn every_kind_of_target_is_read_in_its_order() {
        let request = parse(
            r#"{"files": ["https://A.test/x?y=1", {"url": "http://a.test:8080/%7Eb/../c"}],
                "tags": ["Product-1"], "prefixes": ["A.test/blog"], "hosts": ["a.TEST."],
                "soft": true, "dry_run": true}"#,
        )
        .unwrap();
        assert_eq!(
            request.targets,
            [
                url(Scheme::Https, "a.test", "/x", Some("y=1")),
                url(Scheme::Http, "a.test:8080", "/c", None),
                PurgeTarget::Tag("product-1".into()),
                PurgeTarget::Prefix {
                    host: "a.test".into(),
                    path: "/blog".into()
                },
                PurgeTarget::Host("a.test".into()),
            ]
        );
        assert!(request.soft && request.dry_run);
        let shown: Vec<String> = request.targets.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown.join(" "),
            "url=https://a.test/x?y=1 url=http://a.test:8080/c tag=product-1 \
             prefix=a.test/blog host=a.test"
        );
        let everything = parse(r#"{"purge_everything": true}"#).unwrap();
        assert_eq!(everything.targets, [PurgeTarget::Everything]);
        assert!(!everything.soft && !everything.dry_run);
    }

    #[test]
    fn urls_and_prefixes_have_one_form() {
        for (written, expected) in [
            ("https://a.test", url(Scheme::Https, "a.test", "/", None)),
            (
                "https://a.test:443/?",
                url(Scheme::Https, "a.test", "/", Some("")),
            ),
            (
                "https://a.test/x#top",
                url(Scheme::Https, "a.test", "/x", None),
            ),
            ("http://[0::1]/%61", url(Scheme::Http, "[::1]", "/a", None)),
        ] {
            assert_eq!(only(&format!(r#"{{"files": ["{written}"]}}"#)), expected);
        }
        for (written, host, path) in [
            ("a.test", "a.test", "/"),
            ("a.test/", "a.test", "/"),
            ("https://a.test/b/./c", "a.test", "/b/c"),
            ("[::1]/b", "[::1]", "/b"),
        ] {
            let expected = PurgeTarget::Prefix {
                host: host.to_owned(),
                path: path.to_owned(),
            };
            assert_eq!(only(&format!(r#"{{"prefixes": ["{written}"]}}"#)), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let many = format!(r#"{{"tags": [{}"a"]}}"#, r#""a","#.repeat(100));
        for (json, why) in [
            ("", "not a purge request: EOF"),
            ("7", "not a purge request"),
            ("{}", "nothing to purge"),
            (r#"{"tags": []}"#, "nothing to purge"),
            (r#"{"purge_everything": false}"#, "nothing to purge"),
            (r#"{"purge_everything": "yes"}"#, "expected a boolean"),
            (
                r#"{"tagz": ["a"]}"#,
                "unknown field `tagz`, expected one of `files`",
            ),
            (
                r#"{"tags": ["a"], "tags": ["b"]}"#,
                "duplicate field `tags`",
            ),
            (r#"{"tags": "a"}"#, "expected a sequence"),
            (r#"{"tags": ["a"]} x"#, "trailing characters"),
            (
                r#"{"purge_everything": true, "tags": ["a"]}"#,
                "goes without",
            ),
            (&many, "101 targets; 100 are the most"),
            (
                r#"{"files": ["/x"]}"#,
                "the file \"/x\" must begin with http://",
            ),
            (r#"{"files": ["a b"]}"#, "the file \"a b\" is not a URL"),
            (r#"{"files": ["ftp://a.test/"]}"#, "must begin with http://"),
            (r#"{"files": ["https://u@a.test/"]}"#, "has no plain host"),
            (
                r#"{"files": ["https://a.test/%zz"]}"#,
                "malformed percent-escape",
            ),
            (
                r#"{"files": [{"url": "https://a.test/", "headers": {}}]}"#,
                "all variants are purged",
            ),
            (r#"{"tags": [""]}"#, "from 1 to 1024 characters"),
            (r#"{"tags": ["a,b"]}"#, "without commas"),
            (r#"{"tags": ["a b"]}"#, "visible ASCII"),
            (r#"{"hosts": ["*.a.test"]}"#, "one host name alone"),
            (r#"{"hosts": ["a.test:80"]}"#, "must not have a port"),
            (r#"{"hosts": ["a.test:443"]}"#, "must not have a port"),
            (r#"{"hosts": [""]}"#, "is not a host name"),
            (r#"{"prefixes": ["/blog"]}"#, "is not a host name"),
            (r#"{"prefixes": ["a.test/x?y"]}"#, "without a query"),
            (r#"{"prefixes": ["a.test/x y"]}"#, "has a space"),
        ] {
            let error = parse(json).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}
