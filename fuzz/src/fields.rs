//! Header fields, lines of a field or of a message.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AGE, CACHE_CONTROL, CONTENT_RANGE, DATE, ETAG,
    EXPIRES, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, PRAGMA, RANGE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use seawall::fields::accept_encoding::AcceptedCodings;
use seawall::fields::cache_control::CacheControl;
use seawall::fields::content_range::{ContentRange, unsatisfied_length};
use seawall::fields::range::{MOST_RANGES, RangeOutcome, RangeSpec};
use seawall::fields::request_control::RequestControl;
use seawall::fields::targeted::{CDN_CACHE_CONTROL, SEAWALL_CDN_CACHE_CONTROL};
use seawall::fields::validators::{
    Condition, EntityTag, RangeCondition, Validators, evaluate, evaluate_if_range, make_validating,
};
use seawall::fields::{date, hop_by_hop, tags};

use super::{first_line, lines_of, message};

/// No line hides another that forbids something.
pub(super) fn cache_control(data: &[u8]) {
    let mut headers = lines_of(&CACHE_CONTROL, data);
    let alone = CacheControl::of(&headers);
    headers.append(
        CACHE_CONTROL,
        HeaderValue::from_static("no-store, private, no-cache, must-revalidate, max-age=0"),
    );
    let control = CacheControl::of(&headers);
    assert!(control.no_store && control.private && control.no_cache && control.must_revalidate);
    assert!(control.max_age.is_some_and(|age| age.is_zero()));
    assert!(control.no_store >= alone.no_store && control.private >= alone.private);
    assert_eq!(control.s_maxage, alone.s_maxage);
}

/// No line hides another; Pragma counts without Cache-Control alone.
pub(super) fn request_control(data: &[u8]) {
    let mut headers = message(data);
    let alone = RequestControl::of(&headers);
    if alone.no_cache && !headers.contains_key(CACHE_CONTROL) {
        assert!(headers.contains_key(PRAGMA));
    }
    headers.append(
        CACHE_CONTROL,
        HeaderValue::from_static("no-store, only-if-cached, max-age=0"),
    );
    let control = RequestControl::of(&headers);
    assert!(control.no_store && control.only_if_cached);
    assert!(control.max_age.is_some_and(|age| age.is_zero()));
    assert_eq!(control.min_fresh, alone.min_fresh);
}

/// The most specific field that is valid speaks alone.
pub(super) fn targeted(data: &[u8]) {
    let mut headers = lines_of(&CDN_CACHE_CONTROL, data);
    let alone = seawall::fields::targeted::targeted(&headers);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=7"));
    assert_eq!(seawall::fields::targeted::targeted(&headers), alone);
    headers.insert(
        SEAWALL_CDN_CACHE_CONTROL,
        HeaderValue::from_static("no-store"),
    );
    let ours = seawall::fields::targeted::targeted(&headers);
    let expected = CacheControl {
        no_store: true,
        ..CacheControl::default()
    };
    assert_eq!(ours, Some(expected));
}

/// What is forwarded means what the client asked.
pub(super) fn accept_encoding(data: &[u8]) {
    let Some(codings) = AcceptedCodings::of(&lines_of(&ACCEPT_ENCODING, data)) else {
        return;
    };
    let canonical = HeaderMap::from_iter([(ACCEPT_ENCODING, codings.to_value())]);
    assert_eq!(AcceptedCodings::of(&canonical), Some(codings));
}

/// The canonical value is its own canonical value, and prefers the same.
pub(super) fn accept_language(data: &[u8]) {
    use seawall::fields::accept_language::{best_of, first_choice, normalized};
    let offered = ["en", "de-CH", "zh-Hant"].map(str::to_owned);
    let headers = lines_of(&ACCEPT_LANGUAGE, data);
    let best = best_of(&headers, &offered);
    assert!(offered.iter().any(|language| language == best));
    let Some(value) = normalized(&headers) else {
        return;
    };
    let canonical = HeaderMap::from_iter([(ACCEPT_LANGUAGE, value.clone())]);
    assert_eq!(normalized(&canonical), Some(value));
    assert_eq!(first_choice(&canonical), first_choice(&headers));
    assert_eq!(best_of(&canonical, &offered), best);
}

/// Accept has no canonical form.
pub(super) fn accept(data: &[u8]) {
    let headers = lines_of(&ACCEPT, data);
    seawall::fields::accept::error_format(&headers);
    seawall::fields::accept::prefers_json(&headers);
}

/// The first member counts, whatever follows it.
pub(super) fn age(data: &[u8]) {
    let mut headers = lines_of(&AGE, data);
    let alone = seawall::fields::age::age(&headers);
    if headers.contains_key(AGE) {
        headers.append(AGE, HeaderValue::from_static("1"));
        assert_eq!(seawall::fields::age::age(&headers), alone);
    }
}

/// A date in any format is that date in the preferred one.
pub(super) fn dates(data: &[u8]) {
    let headers = message(data);
    date::date(&headers);
    date::expires(&headers);
    for name in [DATE, EXPIRES, LAST_MODIFIED] {
        let Some(time) = headers.get(name).and_then(date::parse) else {
            continue;
        };
        let preferred = httpdate::fmt_http_date(time);
        let again = HeaderValue::from_str(&preferred).ok();
        assert_eq!(again.as_ref().and_then(date::parse), Some(time));
    }
}

/// Each tag is in canonical form, once, and within the bounds.
pub(super) fn cache_tags(data: &[u8]) {
    let found = tags::cache_tags(&message(data));
    assert!(found.len() <= tags::MOST_TAGS && found.is_sorted());
    assert!(found.iter().map(|tag| tag.len()).sum::<usize>() <= tags::MOST_BYTES);
    for tag in &found {
        assert_eq!(tags::normalised(tag.as_bytes()).as_ref(), Some(tag));
    }
    assert!(found.windows(2).all(|two| two.first() != two.last()));
}

/// What is nominated or hop-by-hop is gone at once.
pub(super) fn connection(data: &[u8]) {
    let mut headers = message(data);
    let nominated = hop_by_hop::nominated(&headers);
    hop_by_hop::strip_for_forwarding(&mut headers);
    assert!(nominated.iter().all(|name| !headers.contains_key(name)));
    let forwarded = headers.clone();
    hop_by_hop::strip_for_forwarding(&mut headers);
    assert_eq!(headers, forwarded);
    hop_by_hop::strip_for_storing(&mut headers);
    let stored = headers.clone();
    hop_by_hop::strip_for_storing(&mut headers);
    assert_eq!(headers, stored);
    assert!(!stored.contains_key("set-cookie"));
}

/// Entity tags compare as RFC 9110 §8.8.3.2 says, and what the origin is asked matches what is
/// stored. The first line is the stored response's entity tag, the rest is If-None-Match.
pub(super) fn entity_tags(data: &[u8]) {
    let (stored_tag, asked) = first_line(data);
    let mut request = lines_of(&IF_NONE_MATCH, asked);
    let mut stored = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(stored_tag) {
        stored.insert(ETAG, value);
    }
    let validators = Validators::of(&stored);
    let conditions = |request: &HeaderMap| {
        evaluate(&Method::GET, request, StatusCode::OK, &validators) == Condition::NotModified
    };
    conditions(&request);
    evaluate_if_range(&request, &validators);
    if let Some(tag) = EntityTag::parse(stored_tag) {
        assert!(tag.matches_weakly(&tag));
        for line in request.get_all(IF_NONE_MATCH) {
            if let Some(other) = EntityTag::parse(line.as_bytes()) {
                assert!(!tag.matches_strongly(&other) || tag.matches_weakly(&other));
                assert_eq!(tag.matches_weakly(&other), other.matches_weakly(&tag));
                assert!(!tag.matches_weakly(&other) || conditions(&request));
            }
        }
    }
    if make_validating(&mut request, &[&stored]) {
        assert!(conditions(&request) && !request.contains_key(IF_MODIFIED_SINCE));
    } else {
        assert!(request.is_empty());
    }
}

/// Ranges are within the length, not empty and disjoint. The first line is the length.
pub(super) fn range(data: &[u8]) {
    let (length, value) = first_line(data);
    let length = super::text(length).and_then(|text| text.parse().ok());
    let length = length.unwrap_or(10);
    if let RangeOutcome::Partial(ranges) = seawall::fields::range::parse(value, length) {
        assert!((1..=MOST_RANGES).contains(&ranges.len()));
        let mut sorted = ranges;
        sorted.sort_unstable_by_key(|range| range.start);
        let mut end = 0;
        for range in sorted {
            assert!(end <= range.start && range.start < range.end && range.end <= length);
            end = range.end;
        }
    }
    let headers = lines_of(&RANGE, value);
    if let Some(range) = RangeSpec::of(&headers).and_then(|spec| spec.resolve(length)) {
        assert!(range.start < range.end && range.end <= length);
        let stored = HeaderMap::new();
        let whole = seawall::fields::range::select(
            &Method::GET,
            &headers,
            &Validators::of(&stored),
            length,
        );
        assert_eq!(whole, RangeOutcome::Partial(vec![range]));
        assert_eq!(
            evaluate_if_range(&headers, &Validators::of(&stored)),
            RangeCondition::Apply
        );
    }
}

/// A range is one, and written out it is the same.
pub(super) fn content_range(data: &[u8]) {
    let headers = lines_of(&CONTENT_RANGE, data);
    let unsatisfied = unsatisfied_length(&headers);
    let Some(found) = ContentRange::of(&headers) else {
        return;
    };
    assert!(unsatisfied.is_none() && !found.range().is_empty());
    assert!(
        found
            .complete
            .is_none_or(|length| found.range().end <= length)
    );
    let again = lines_of(&CONTENT_RANGE, found.to_text().as_bytes());
    assert_eq!(ContentRange::of(&again), Some(found));
}
