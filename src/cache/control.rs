//! Which directives of a response hold here: a targeted field's, else Cache-Control's.

use http::HeaderMap;

use crate::fields::{cache_control::CacheControl, targeted::targeted};

/// Where the directives that hold were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlSource {
    /// Cache-Control; Expires counts beside it.
    CacheControl,
    /// A targeted field; Cache-Control and Expires do not count (RFC 9213 §2.2).
    Targeted,
}

/// The directives that hold for this cache.
pub fn control_of(headers: &HeaderMap) -> (CacheControl, ControlSource) {
    match targeted(headers) {
        Some(control) => (control, ControlSource::Targeted),
        None => (CacheControl::of(headers), ControlSource::CacheControl),
    }
}

/// Whether the origin calls the response private or not to be stored in any of its fields, whether
/// they hold here or for other caches.
pub(super) fn is_restricted_anywhere(headers: &HeaderMap) -> bool {
    let everyone = CacheControl::of(headers);
    let restricts = |control: CacheControl| control.no_store || control.private;
    restricts(everyone) || targeted(headers).is_some_and(restricts)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::map;
    use super::*;

    #[test]
    fn rfc9213_2_2_a_targeted_field_replaces_cache_control() {
        let headers = map(&[
            ("cache-control", "no-store"),
            ("cdn-cache-control", "max-age=60"),
        ]);
        let (control, source) = control_of(&headers);
        assert_eq!(source, ControlSource::Targeted);
        assert!(!control.no_store && control.max_age.is_some());
        assert!(is_restricted_anywhere(&headers));
        let headers = map(&[
            ("cache-control", "max-age=60"),
            ("cdn-cache-control", "max-age=60, &"),
        ]);
        assert_eq!(control_of(&headers).1, ControlSource::CacheControl);
        assert!(!is_restricted_anywhere(&headers));
    }
}
