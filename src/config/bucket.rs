//! `[pools.NAME.bucket]`: a bucket of object storage as an origin.

use http::StatusCode;

use super::reader::Section;
use super::reserve::{bucket_name, read_key, region};
use super::secret::Secret;
use super::{OriginServer, Pool};

/// A bucket whose objects are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// The region that requests are signed for.
    pub region: String,
    /// What every object's name begins with; empty, or ends with a slash.
    pub prefix: String,
    /// Whether the bucket's name is the first segment of the path rather than of the host.
    pub path_style: bool,
    /// What is served for a path that ends with a slash.
    pub index_document: String,
    /// What a 403 of the bucket becomes. Without the right to list, it says so of objects that are not
    /// there.
    pub forbidden_status: StatusCode,
    /// Whether requests that bring a signature of their own go to the bucket as they are.
    pub presigned: bool,
    /// Whose requests they are; `None` asks a public bucket.
    pub credentials: Option<Credentials>,
}

/// What requests to a bucket are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its name.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Secret,
}

/// Reads the section.
pub(super) fn read_bucket(section: Section<'_>) -> Option<Bucket> {
    let name = section
        .required("name", "\"my-files\"")
        .then(|| section.parsed("name", "a string", bucket_name))
        .flatten();
    let region = section.parsed("region", "a string", region);
    let prefix = section.parsed("prefix", "a string", prefix);
    let path_style = section.boolean("path_style").is_none_or(|it| it.value);
    let index = section.parsed("index_document", "a file's name", index_document);
    let forbidden = section.integer("forbidden_status", 400..=599);
    let presigned = section.boolean("presigned").is_some_and(|it| it.value);
    let credentials = read_credentials(&section);
    section.finish();
    Some(Bucket {
        name: name?.value,
        region: region.map_or_else(|| "us-east-1".to_owned(), |region| region.value),
        prefix: prefix.map_or_else(String::new, |prefix| prefix.value),
        path_style,
        index_document: index.map_or_else(|| "index.html".to_owned(), |index| index.value),
        forbidden_status: forbidden
            .and_then(|status| u16::try_from(status.value).ok())
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(StatusCode::NOT_FOUND),
        presigned,
        credentials,
    })
}

fn read_credentials(section: &Section<'_>) -> Option<Credentials> {
    let access_key = section.string("access_key");
    let secret_key = section.string("secret_key");
    let (access_key, secret_key) = match (access_key, secret_key) {
        (Some(access_key), Some(secret_key)) => (access_key, secret_key),
        (None, None) => return None,
        (Some(_), None) => return needs(section, "access_key", "secret_key"),
        (None, Some(_)) => return needs(section, "secret_key", "access_key"),
    };
    let access_key = read_key(section, "access_key", access_key)?;
    let secret_key = read_key(section, "secret_key", secret_key)?;
    Some(Credentials {
        access_key,
        secret_key: Secret::new(secret_key),
    })
}

/// Says that of two keys that belong together one is not there.
pub(super) fn needs<T>(section: &Section<'_>, there: &str, lacking: &str) -> Option<T> {
    let message = format!("`{there}` needs `{lacking}` beside it");
    section.reader.fault(section.span.clone(), message, None);
    None
}

impl Pool {
    /// The Host that a bucket is asked with at `server`, and that is signed.
    pub fn bucket_host(&self, server: &OriginServer) -> String {
        self.host_header.clone().unwrap_or_else(|| host(server))
    }
}

/// As Host has it: a default port is left out.
fn host(server: &OriginServer) -> String {
    let default = if server.https { 443 } else { 80 };
    let name = if server.host.contains(':') {
        format!("[{}]", server.host)
    } else {
        server.host.clone()
    };
    if server.port == default {
        name
    } else {
        format!("{name}:{}", server.port)
    }
}

/// Names with slashes between them; those around them do not count.
fn prefix(text: &str) -> Result<String, String> {
    let trimmed = text.trim_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let name =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain);
    if trimmed.is_empty() {
        Ok(String::new())
    } else if trimmed.split('/').all(name) {
        Ok(format!("{trimmed}/"))
    } else {
        Err(
            "must be names of letters, digits, dots and dashes, with slashes between them"
                .to_owned(),
        )
    }
}

fn index_document(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    if text.is_empty() || text == "." || text == ".." || !text.bytes().all(plain) {
        return Err("must be a file's name of letters, digits, dots and dashes".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::servers::parse_url;
    use super::*;

    #[test]
    fn the_host_is_written_as_requests_have_it() {
        for (url, expected) in [
            ("https://s3.test", "s3.test"),
            ("https://s3.test:9000", "s3.test:9000"),
            ("http://[::1]:9000", "[::1]:9000"),
            ("http://s3.test:80/", "s3.test"),
        ] {
            assert_eq!(host(&parse_url(url).unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn a_prefix_is_a_folder() {
        assert_eq!(prefix("/a/b.c/").unwrap(), "a/b.c/");
        assert_eq!(prefix("/").unwrap(), "");
        for bad in ["a//b", "a/../b", "a b", "a?b"] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }
}
