//! `[cache.reserve]`: object storage below the disk.

use std::time::Duration;

use http::Uri;

use super::file::{SHORTEST, put, put_number};
use super::reader::{Located, Section};
use super::secret::Secret;

/// With less, objects would be rewritten all the time.
const SHORTEST_RETENTION: Duration = Duration::from_secs(1);

/// Where stored responses are kept for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Where the object storage is reached: scheme, host and port.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// Its region, as requests are signed for it.
    pub region: String,
    /// What all objects' names begin with; it belongs to this store alone.
    pub prefix: String,
    /// Whose requests they are.
    pub access_key: String,
    /// What requests are signed with.
    pub secret_key: Secret,
    /// How long an object is kept after it was last written.
    pub retention: Duration,
    /// How long a request waits for the reserve before it goes to the origin.
    pub timeout: Duration,
    /// Objects written at the same time.
    pub max_uploads: usize,
}

/// Reads the section; `None` when it lacks what it must have.
pub(super) fn read_reserve(section: Section<'_>) -> Option<Reserve> {
    let endpoint = section
        .required("endpoint", "\"https://s3.eu-central-1.amazonaws.com\"")
        .then(|| section.parsed("endpoint", "a URL", endpoint))
        .flatten();
    let bucket = section
        .required("bucket", "\"seawall\"")
        .then(|| section.parsed("bucket", "a string", bucket_name))
        .flatten();
    let region = section.parsed("region", "a string", region);
    let prefix = section.parsed("prefix", "a string", prefix);
    let access_key = section.required_string("access_key", "\"${SEAWALL_RESERVE_KEY}\"");
    let access_key = access_key.and_then(|key| read_key(&section, "access_key", key));
    let secret_key = section.required_string("secret_key", "\"${SEAWALL_RESERVE_SECRET}\"");
    let secret_key = secret_key.and_then(|key| read_key(&section, "secret_key", key));
    let mut retention = Duration::from_hours(30 * 24);
    put(
        &mut retention,
        section.duration_of("retention", SHORTEST_RETENTION),
    );
    let mut timeout = Duration::from_millis(500);
    put(&mut timeout, section.duration_of("timeout", SHORTEST));
    let mut max_uploads = 4;
    put_number(&mut max_uploads, section.integer("max_uploads", 1..=64));
    section.finish();
    Some(Reserve {
        endpoint: endpoint?.value,
        bucket: bucket?.value,
        region: region.map_or_else(|| "us-east-1".to_owned(), |region| region.value),
        prefix: prefix.map_or_else(|| "seawall".to_owned(), |prefix| prefix.value),
        access_key: access_key?,
        secret_key: Secret::new(secret_key?),
        retention,
        timeout,
        max_uploads,
    })
}

fn endpoint(text: &str) -> Result<String, String> {
    let why =
        "must be a scheme, a host and perhaps a port, such as \"https://storage.internal:9000\"";
    let uri: Uri = text.parse().map_err(|_| why.to_owned())?;
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let user = text.contains('@');
    if !scheme || user || uri.host().is_none_or(str::is_empty) || !matches!(uri.path(), "" | "/") {
        return Err(why.to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// A bucket's name.
pub(super) fn bucket_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !(3..=63).contains(&text.len()) || !text.bytes().all(plain) {
        return Err("must be a bucket's name: 3 to 63 letters, digits, dots and dashes".to_owned());
    }
    Ok(text.to_owned())
}

/// A region's name.
pub(super) fn region(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if text.is_empty() || !text.bytes().all(plain) {
        return Err("must be letters, digits and dashes".to_owned());
    }
    Ok(text.to_owned())
}

/// Names without a slash at either end, which makes one folder of it.
fn prefix(text: &str) -> Result<String, String> {
    if text.split('/').all(|part| region(part).is_ok()) {
        Ok(text.to_owned())
    } else {
        Err("must be names of letters, digits and dashes, with slashes between them".to_owned())
    }
}

/// Faults do not repeat what may be a secret.
pub(super) fn read_key(section: &Section<'_>, key: &str, text: Located<String>) -> Option<String> {
    if !text.value.is_empty() && text.value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(text.value);
    }
    let why = format!("`{key}` must be of visible ASCII characters, and not empty");
    section.reader.fault(section.span.clone(), why, None);
    None
}
