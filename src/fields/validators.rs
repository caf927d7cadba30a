//! Validators and the conditional requests that use them (RFC 9110 §8.8 and §13).

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
        LAST_MODIFIED, RANGE,
    },
};

use super::{date, syntax};

/// An entity tag (RFC 9110 §8.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// Whether it is marked `W/`.
    pub weak: bool,
    /// The bytes between the quotes.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// One entity tag and nothing else; `None` when the bytes are not of that form.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        match Self::split_first(bytes)? {
            (tag, []) => Some(tag),
            _ => None,
        }
    }

    /// Strong comparison (RFC 9110 §8.8.3.2): equal, and neither is weak.
    pub fn matches_strongly(&self, other: &Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Weak comparison (RFC 9110 §8.8.3.2): equal whether weak or not.
    pub fn matches_weakly(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }

    /// The entity tag at the start of `bytes` and what follows it. A backslash escapes nothing.
    fn split_first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (weak, quoted) = match bytes.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, bytes),
        };
        let (opaque, rest) = syntax::split_once(quoted.strip_prefix(b"\"")?, b'"');
        let is_etagc = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..);
        (opaque.iter().all(is_etagc)).then_some((Self { weak, opaque }, rest?))
    }
}

/// The validators of a stored response, with the date that tells whether they are strong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validators<'a> {
    /// Its entity tag.
    pub etag: Option<EntityTag<'a>>,
    /// When it was last modified.
    pub last_modified: Option<SystemTime>,
    /// When it was generated.
    pub date: Option<SystemTime>,
}

impl<'a> Validators<'a> {
    /// The validators among the fields of a response; invalid or repeated ones are left out.
    pub fn of(headers: &'a HeaderMap) -> Self {
        let mut tags = headers.get_all(ETAG).iter();
        let etag = match (tags.next(), tags.next()) {
            (Some(tag), None) => EntityTag::parse(tag.as_bytes()),
            _ => None,
        };
        Self {
            etag,
            last_modified: date::single(headers, &LAST_MODIFIED),
            date: date::date(headers),
        }
    }

    /// Whether the response can be validated at all.
    pub fn any(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    /// Whether both have the same strong validator (RFC 9110 §8.8.3.2 and §8.8.2.2): entity tags
    /// where either has one, else modification dates.
    pub fn matches_strongly(&self, other: &Self) -> bool {
        match (self.etag, other.etag) {
            (Some(one), Some(other)) => one.matches_strongly(&other),
            (None, None) => {
                let modified = self.strong_last_modified();
                modified.is_some() && modified == other.strong_last_modified()
            }
            _ => false,
        }
    }

    /// Whether there is an entity tag that is strong.
    pub fn has_strong_etag(&self) -> bool {
        self.etag.is_some_and(|etag| !etag.weak)
    }

    /// The modification date when it is a strong validator: at least one second older than the
    /// response itself (RFC 9110 §8.8.2.2).
    pub fn strong_last_modified(&self) -> Option<SystemTime> {
        let modified = self.last_modified?;
        let margin = self.date?.duration_since(modified).ok()?;
        (margin >= Duration::from_secs(1)).then_some(modified)
    }
}

/// What a request's preconditions make of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The client has it: answer 304.
    NotModified,
    /// Answer as if there were no condition.
    Proceed,
}

/// Evaluates If-None-Match, else If-Modified-Since, against a stored response that may be reused
/// (RFC 9110 §13.2.2, RFC 9111 §4.3.2). Only a GET or HEAD answered by a successful status can
/// become a 304. Without Last-Modified its Date is compared.
pub fn evaluate(
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    stored: &Validators<'_>,
) -> Condition {
    // RFC 9110 §13.2.1: conditions do not apply to what would not be 2xx without them.
    if !matches!(*method, Method::GET | Method::HEAD) || !status.is_success() {
        return Condition::Proceed;
    }
    let not_modified = if request.contains_key(IF_NONE_MATCH) {
        matches_any(request, stored)
    } else {
        unmodified_since(request, stored)
    };
    if not_modified {
        Condition::NotModified
    } else {
        Condition::Proceed
    }
}

/// What If-Range makes of the Range field beside it (RFC 9110 §13.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeCondition {
    /// Without If-Range, or it names exactly this response: ranges apply.
    Apply,
    /// It names another, or weakly: ignore Range and send the whole.
    Ignore,
}

/// Evaluates If-Range: only a strong match counts, by entity tag or by exact date.
pub fn evaluate_if_range(request: &HeaderMap, stored: &Validators<'_>) -> RangeCondition {
    let mut lines = request.get_all(IF_RANGE).iter();
    let matches = match (lines.next(), lines.next()) {
        (None, _) => true,
        (Some(line), None) => names_strongly(line, stored),
        _ => false,
    };
    if matches {
        RangeCondition::Apply
    } else {
        RangeCondition::Ignore
    }
}

/// Makes `request` ask the origin which of the `stored` responses is still good (RFC 9111 §4.3.1):
/// every precondition and range of the client is replaced by their validators, as the origin wrote
/// them: all their entity tags, and the first response's modification date. False when there are
/// none; the request is then unconditional.
pub fn make_validating(request: &mut HeaderMap, stored: &[&HeaderMap]) -> bool {
    for name in [
        IF_MATCH,
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_UNMODIFIED_SINCE,
        IF_RANGE,
        RANGE,
    ] {
        request.remove(name);
    }
    let mut tags: Vec<&HeaderValue> = Vec::with_capacity(stored.len());
    for response in stored {
        let etag = response
            .get(ETAG)
            .filter(|_| Validators::of(response).etag.is_some());
        tags.extend(etag.filter(|etag| !tags.contains(etag)));
    }
    let etags = match tags.as_slice() {
        [] => None,
        [one] => Some((*one).clone()),
        several => {
            let lines: Vec<_> = several.iter().map(|tag| tag.as_bytes()).collect();
            HeaderValue::from_bytes(&lines.join(&b", "[..])).ok()
        }
    };
    let modified = stored.first().and_then(|first| {
        let valid = Validators::of(first).last_modified.is_some();
        first.get(LAST_MODIFIED).filter(|_| valid).cloned()
    });
    let any = etags.is_some() || modified.is_some();
    for (name, value) in [(IF_NONE_MATCH, etags), (IF_MODIFIED_SINCE, modified)] {
        if let Some(value) = value {
            request.insert(name, value);
        }
    }
    any
}

fn matches_any(request: &HeaderMap, stored: &Validators<'_>) -> bool {
    request.get_all(IF_NONE_MATCH).iter().any(|line| {
        let line = syntax::trim_ows(line.as_bytes());
        line == b"*"
            || tags(line).any(|tag| stored.etag.is_some_and(|etag| etag.matches_weakly(&tag)))
    })
}

fn unmodified_since(request: &HeaderMap, stored: &Validators<'_>) -> bool {
    let since = date::single(request, &IF_MODIFIED_SINCE);
    let modified = stored.last_modified.or(stored.date);
    since
        .zip(modified)
        .is_some_and(|(since, modified)| modified <= since)
}

fn names_strongly(line: &HeaderValue, stored: &Validators<'_>) -> bool {
    if let Some(tag) = EntityTag::parse(line.as_bytes()) {
        return stored.etag.is_some_and(|etag| etag.matches_strongly(&tag));
    }
    date::parse(line)
        .zip(stored.strong_last_modified())
        .is_some_and(|(named, modified)| named == modified)
}

/// The well-formed entity tags of a list; what lies between them up to a comma is skipped.
fn tags(line: &[u8]) -> impl Iterator<Item = EntityTag<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            rest = syntax::trim_ows(rest);
            let (tag, after) = match EntityTag::split_first(rest) {
                Some((tag, after)) => (Some(tag), after),
                None => (None, rest),
            };
            let (between, tail) = syntax::split_once(after, b',');
            rest = tail.unwrap_or_default();
            if tag.is_some() && syntax::trim_ows(between).is_empty() {
                return tag;
            }
        }
        None
    })
}

#[cfg(test)]
#[path = "validators_tests.rs"]
mod tests;
