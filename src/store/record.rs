//! The head of a stored response as bytes, for tiers below memory.
//!
//! Everything but the body, behind a byte that tells the version. Reading is total: bytes that are
//! not a head of this version give nothing. Times are wall-clock times and hold after a restart as
//! they are.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::stored::{Content, Selection, Served, StoredId, StoredResponse, shared};
use super::times::Times;
use crate::fields::stored::StoredFields;
use crate::fields::vary::Vary;
use crate::purge::Generation;

/// To be raised with every change of what is written; older heads are misses then.
const VERSION: u8 = 4;

/// A stored response without its body.
#[derive(Clone, Debug)]
pub struct Head {
    /// All but the content, which is empty.
    response: StoredResponse,
    /// How long its body is.
    pub length: u64,
    /// Where its body is.
    pub place: Place,
}

/// Where a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Behind the head.
    Inline,
    /// In the slices of this identity.
    Slices(u64),
}

impl Head {
    /// Which requests it answers.
    pub fn selection(&self) -> &Selection {
        &self.response.selection
    }

    /// Its identity.
    pub fn id(&self) -> StoredId {
        self.response.id
    }

    /// The last purge before its fetch began.
    pub fn generation(&self) -> Generation {
        self.response.generation
    }

    /// The whole response.
    pub fn with(self, content: Content) -> StoredResponse {
        let mut response = self.response;
        response.content = content;
        response.renew_encoded();
        response
    }
}

/// What is written, borrowed from the response or from the bytes.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    id: u64,
    generation: Generation,
    status: u16,
    #[serde(borrow)]
    fields: Vec<(&'a [u8], &'a [u8])>,
    times: Times,
    vary: WrittenVary<'a>,
    key: &'a [u8],
    by_language: Option<&'a [u8]>,
    tags: Vec<&'a str>,
    length: u64,
    place: Place,
}

#[derive(Serialize, Deserialize)]
enum WrittenVary<'a> {
    None,
    #[serde(borrow)]
    Fields(Vec<&'a str>),
    Any,
}

/// The head of `stored`; `None` for parts.
pub fn encode(stored: &StoredResponse, place: Place) -> Option<Bytes> {
    let Content::Complete(body) = &stored.content else {
        return None;
    };
    let written = Written {
        id: stored.id.0,
        generation: stored.generation,
        status: stored.status.as_u16(),
        fields: stored.fields.iter().collect(),
        times: stored.times,
        vary: match &stored.selection.vary {
            Vary::None => WrittenVary::None,
            Vary::Fields(names) => {
                WrittenVary::Fields(names.iter().map(HeaderName::as_str).collect())
            }
            Vary::Any => WrittenVary::Any,
        },
        key: &stored.selection.key,
        by_language: stored.selection.by_language.as_deref(),
        tags: stored.tags.iter().map(|tag| &**tag).collect(),
        length: body.len(),
        place,
    };
    postcard::to_extend(&written, vec![VERSION])
        .ok()
        .map(Bytes::from)
}

/// The head that `bytes` hold.
pub fn decode(bytes: &[u8]) -> Option<Head> {
    let (version, rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let (written, rest) = postcard::take_from_bytes::<Written<'_>>(rest).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let mut fields = HeaderMap::with_capacity(written.fields.len());
    for (name, value) in written.fields {
        let name = HeaderName::from_bytes(name).ok()?;
        let value = HeaderValue::from_bytes(value).ok()?;
        fields.try_append(name, value).ok()?;
    }
    let vary = match written.vary {
        WrittenVary::None => Vary::None,
        WrittenVary::Any => Vary::Any,
        WrittenVary::Fields(names) => {
            let names = names.into_iter();
            let names = names.map(|name| HeaderName::from_bytes(name.as_bytes()));
            Vary::Fields(names.collect::<Result<_, _>>().ok()?)
        }
    };
    let response = StoredResponse {
        id: StoredId(written.id),
        generation: written.generation,
        status: StatusCode::from_u16(written.status).ok()?,
        fields: StoredFields::from(&fields),
        times: written.times,
        selection: Selection {
            vary,
            key: shared(written.key.to_vec()),
            by_language: written.by_language.map(Arc::from),
        },
        tags: shared(written.tags.into_iter().map(Box::from).collect()),
        content: Content::Complete(Arc::default()),
        encoded: None,
        disk: true,
        uses: Served::default(),
    };
    Some(Head {
        response,
        length: written.length,
        place: written.place,
    })
}

#[cfg(test)]
mod tests {
    use super::super::body::Body;
    use super::*;
    use crate::cache::reuse::StoredTimes;
    use proptest::prelude::*;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    /// Whole seconds and nanoseconds after the epoch.
    fn time() -> impl Strategy<Value = SystemTime> {
        (0..1_u64 << 33, 0..1_000_000_000_u32)
            .prop_map(|(seconds, nanos)| UNIX_EPOCH + Duration::new(seconds, nanos))
    }

    fn fields() -> impl Strategy<Value = HeaderMap> {
        let value = proptest::collection::vec(
            any::<u8>().prop_filter("of a value", |byte| *byte >= 32 && *byte != 127),
            0..20,
        );
        // Few names, so that some are repeated.
        proptest::collection::vec(("[a-e]{1,2}", value), 0..12).prop_map(|lines| {
            let mut fields = HeaderMap::new();
            for (name, value) in lines {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                fields.append(name, HeaderValue::from_bytes(&value).unwrap());
            }
            fields
        })
    }

    prop_compose! {
        fn times()(
            received in time(),
            fresh_until in time(),
            durations in any::<[u32; 4]>(),
            [validate_always, stale_forbidden, validatable] in any::<[bool; 3]>(),
        ) -> StoredTimes {
            let [age, revalidate, error, overloaded] = durations.map(|millis| Duration::from_millis(millis.into()));
            StoredTimes {
                received,
                initial_age: age,
                fresh_until,
                stale_while_revalidate: revalidate,
                stale_if_error: error,
                stale_when_overloaded: overloaded,
                validate_always,
                stale_forbidden,
                validatable,
            }
        }
    }

    fn selection() -> impl Strategy<Value = Selection> {
        let vary = prop_oneof![
            Just(Vary::None),
            Just(Vary::Any),
            proptest::collection::vec("[a-z]{1,4}", 1..4).prop_map(|names| {
                let names = names.iter();
                Vary::Fields(names.map(|name| name.parse().unwrap()).collect())
            }),
        ];
        let key = proptest::collection::vec(any::<u8>(), 0..20);
        (vary, key.clone(), proptest::option::of(key)).prop_map(|(vary, key, language)| Selection {
            vary,
            key: key.into(),
            by_language: language.map(Arc::from),
        })
    }

    prop_compose! {
        fn response()(
            (id, generation) in any::<(u64, u64)>(),
            status in 100..600_u16,
            fields in fields(),
            times in times(),
            selection in selection(),
            tags in proptest::collection::vec("[ -~]{0,9}", 0..4),
            body in proptest::collection::vec(any::<u8>(), 0..50),
        ) -> StoredResponse {
            StoredResponse {
                id: StoredId(id),
                generation: Generation(generation),
                status: StatusCode::from_u16(status).unwrap(),
                fields: StoredFields::from(&fields),
                times: times.into(),
                selection,
                tags: tags.into_iter().map(String::into_boxed_str).collect(),
                content: Content::Complete(Arc::new(Body::copy_of(&[body.into()]))),
                encoded: None,
                disk: true,
                uses: Served::default(),
            }
        }
    }

    #[test]
    fn the_seeds_of_the_fuzz_target_are_heads() {
        let page = include_bytes!("../../fuzz/seeds/record/page");
        let sliced = include_bytes!("../../fuzz/seeds/record/sliced");
        let place = |seed| decode(seed).map(|head| head.place);
        assert_eq!(place(page), Some(Place::Inline));
        assert!(matches!(place(sliced), Some(Place::Slices(_))));
    }

    proptest! {
        #[test]
        fn a_head_reads_back_as_it_was_written(response in response(), sliced in any::<Option<u64>>()) {
            let place = sliced.map_or(Place::Inline, Place::Slices);
            let bytes = encode(&response, place).unwrap();
            let head = decode(&bytes).unwrap();
            prop_assert_eq!((head.place, Some(head.length)), (place, response.content.complete_length()));
            let read = head.with(response.content.clone());
            prop_assert_eq!(&read.fields, &response.fields);
            prop_assert_eq!(format!("{read:?}"), format!("{response:?}"));
        }

        #[test]
        fn bytes_that_are_no_head_give_nothing(response in response(), cut in 0..400_usize) {
            let bytes = encode(&response, Place::Inline).unwrap();
            prop_assert!(decode(&bytes[..cut % bytes.len()]).is_none());
            prop_assert!(decode(&[&bytes[..], b"x"].concat()).is_none());
            let mut other = bytes.to_vec();
            other[0] += 1;
            prop_assert!(decode(&other).is_none());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&[&[VERSION], &bytes[..]].concat());
        }
    }
}
