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
/// Case does not matter (RFC 9111 §4.2), a zone other than GMT does.
pub fn parse(value: &HeaderValue) -> Option<SystemTime> {
    let text = value.to_str().ok()?.trim();
    httpdate::parse_http_date(text)
        .or_else(|_| httpdate::parse_http_date(&in_canonical_case(text)))
        .ok()
}

/// Words as dates have them: `Sun`, `Sunday`, `Nov`, and `GMT`.
fn in_canonical_case(text: &str) -> String {
    let mut within_word = false;
    let cased = text.chars().map(|letter| {
        let cased = if within_word {
            letter.to_ascii_lowercase()
        } else {
            letter.to_ascii_uppercase()
        };
        within_word = letter.is_ascii_alphabetic();
        cased
    });
    let text: String = cased.collect();
    match text.strip_suffix(" Gmt") {
        Some(start) => format!("{start} GMT"),
        None => text,
    }
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
    fn rfc9111_4_2_dates_are_read_whatever_their_case() {
        for text in [
            "SUN, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 NOV 1994 08:49:37 GMT",
            "sun, 06 nov 1994 08:49:37 gMT",
            "SUNDAY, 06-nov-94 08:49:37 gmt",
            "sun NOV  6 08:49:37 1994",
        ] {
            assert_eq!(
                parse(&HeaderValue::from_static(text)),
                Some(early()),
                "{text}"
            );
        }
        for (text, seconds) in [
            ("Thursday, 18-Aug-50 02:01:18 GMT", 2_544_400_878),
            ("Sun, 21 Nov 2286 04:46:39 GMT", 10_000_039_599),
        ] {
            let expected = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(
                parse(&HeaderValue::from_static(text)),
                Some(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn rfc9110_5_6_7_what_is_nearly_a_date_is_none() {
        for text in [
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18 AEST",
            "Thu, 18 Aug 2050 02:01:18",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18 G MT",
        ] {
            assert_eq!(parse(&HeaderValue::from_static(text)), None, "{text}");
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
