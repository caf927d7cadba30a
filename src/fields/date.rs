//! HTTP dates: the Date and Expires fields (RFC 9110 §5.6.7 and §6.6.1, RFC 9111 §5.3).

use std::time::SystemTime;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{DATE, EXPIRES},
};

/// What Expires says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Stale from this time on.
    At(SystemTime),
    /// A value that is no date, "0" above all: already expired (RFC 9111 §5.3).
    AlreadyExpired,
}

/// An HTTP-date in any of its three formats; `None` when it is none. Dates before 1970 are none.
pub fn parse(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()
}

/// When the response was generated. Of several valid dates the earliest, which makes the response
/// the oldest; `None` without a valid one.
pub fn date(headers: &HeaderMap) -> Option<SystemTime> {
    headers.get_all(DATE).iter().filter_map(parse).min()
}

/// When the response expires; `None` without an Expires field. Of several lines the earliest date
/// holds, and one invalid line makes the response expired (RFC 9111 §4.2.1).
pub fn expires(headers: &HeaderMap) -> Option<Expiry> {
    headers
        .get_all(EXPIRES)
        .iter()
        .map(|line| parse(line).map_or(Expiry::AlreadyExpired, Expiry::At))
        .reduce(|one, other| match (one, other) {
            (Expiry::At(one), Expiry::At(other)) => Expiry::At(one.min(other)),
            _ => Expiry::AlreadyExpired,
        })
}

/// The date in a field that must occur once; `None` when it is absent, repeated or invalid.
pub fn single(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => parse(line),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATE: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

    fn early() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    fn headers(name: &HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for value in values {
            map.append(name.clone(), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn rfc9110_5_6_7_three_formats_are_read() {
        for text in [
            EARLY,
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(&HeaderValue::from_static(text)), Some(early()));
        }
    }

    #[test]
    fn rfc9111_5_3_invalid_expires_is_already_expired() {
        for text in [
            "0",
            "-1",
            "",
            "never",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Thu, 01 Jan 1960 00:00:00 GMT",
        ] {
            assert_eq!(
                expires(&headers(&EXPIRES, &[text])),
                Some(Expiry::AlreadyExpired),
                "{text}"
            );
        }
        assert_eq!(expires(&HeaderMap::new()), None);
    }

    #[test]
    fn rfc9111_4_2_1_of_several_expires_the_earliest_holds() {
        let at = Some(Expiry::At(early()));
        assert_eq!(expires(&headers(&EXPIRES, &[LATE, EARLY])), at);
        assert_eq!(expires(&headers(&EXPIRES, &[EARLY, LATE])), at);
        assert_eq!(
            expires(&headers(&EXPIRES, &[LATE, "0"])),
            Some(Expiry::AlreadyExpired)
        );
    }

    #[test]
    fn of_several_dates_the_earliest_valid_one_holds() {
        assert_eq!(date(&headers(&DATE, &[LATE, EARLY, "x"])), Some(early()));
        assert_eq!(date(&headers(&DATE, &["x"])), None);
    }

    #[test]
    fn a_repeated_single_date_is_ignored() {
        assert_eq!(single(&headers(&DATE, &[EARLY]), &DATE), Some(early()));
        assert_eq!(single(&headers(&DATE, &[EARLY, EARLY]), &DATE), None);
    }

    proptest! {
        #[test]
        fn parsing_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let _ = parse(&value);
            }
        }
    }
}
