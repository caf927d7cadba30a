//! Values computed from a request: strings, integers and addresses.
//!
//! A string which would be longer than [`MAX_LENGTH`] has no value, so that no rule makes a request
//! cost more than its length warrants.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, Version};

use super::array::Array;
use super::decode::{self, Decoding};
use super::eval::{Context, Predicate, claims};
use super::field::{IntField, IpField, StringField};
use super::json::{self, Step};
use super::replace::Replacement;
use super::text::Text;
use crate::guard::token::{Verifier, claim};
use crate::request::{Facts, RequestView, Scheme};

/// The longest string that a function builds, in bytes.
pub const MAX_LENGTH: usize = 64 * 1024;

/// A string computed from the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StringValue {
    Literal(Box<[u8]>),
    Field(StringField),
    /// The element of an array at a position.
    Element(Array, usize),
    /// The element which the enclosing `any` or `all` looks at.
    Current,
    Lower(Box<StringValue>),
    Upper(Box<StringValue>),
    /// The parts, one after the other.
    Concat(Box<[StringValue]>),
    /// From the first offset up to the second; negative ones count from the end.
    Substring(Box<StringValue>, i64, Option<i64>),
    Replace(Box<StringValue>, Box<Replacement>),
    WithoutArguments(Box<StringValue>, Box<[Box<[u8]>]>),
    WithoutBytes(Box<StringValue>, Box<[u8]>),
    Decode(Box<StringValue>, Decoding),
    Json(Box<StringValue>, Box<[Step]>),
    /// The elements with a separator between them.
    Join(Box<Array>, Box<[u8]>),
    Int(Box<IntValue>),
    Ip(Box<IpValue>),
    Bool(Box<Predicate>),
    /// What the valid token of this kind claims, from the outside in.
    Claim(Arc<Verifier>, Box<[Box<str>]>),
}

/// An integer computed from the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IntValue {
    Literal(i64),
    Field(IntField),
    Length(StringValue),
    Count(Array),
    Json(StringValue, Box<[Step]>),
}

/// An address computed from the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IpValue {
    Literal(IpAddr),
    Field(IpField),
    /// The network's address, with as many bits kept for IPv4 and for IPv6.
    Network(Box<IpValue>, u8, u8),
}

impl StringValue {
    /// The string, where it has a value.
    pub(super) fn eval<'c>(&'c self, context: Context<'c>) -> Option<Text<'c>> {
        match self {
            Self::Literal(bytes) => Some(Text::Borrowed(bytes)),
            Self::Field(field) => field.read(context),
            Self::Element(array, position) => array.nth(context, *position),
            Self::Current => context.current.map(Text::Borrowed),
            Self::Lower(value) => value.eval(context).map(Text::lower),
            Self::Upper(value) => value.eval(context).map(Text::upper),
            Self::Concat(parts) => concat(parts, context),
            Self::Substring(value, start, end) => value
                .eval(context)?
                .part(|bytes| substring(bytes, *start, *end)),
            Self::Replace(value, replacement) => replacement.apply(value.eval(context)?),
            Self::WithoutArguments(value, names) => {
                Some(without_arguments(value.eval(context)?, names))
            }
            Self::WithoutBytes(value, bytes) => {
                let mut text = value.eval(context)?.into_bytes();
                text.retain(|byte| !bytes.contains(byte));
                Some(Text::Heap(text))
            }
            Self::Decode(value, decoding) => Some(decode::decode(value.eval(context)?, *decoding)),
            Self::Json(value, path) => {
                json::string(value.eval(context)?.bytes(), path).map(Text::Heap)
            }
            Self::Join(array, separator) => array.join(context, separator),
            Self::Claim(kind, path) => {
                let claims = claims(kind, context)?;
                claim(&claims, path).map(|text| Text::Heap(text.into_bytes()))
            }
            Self::Int(value) => Some(shown(&value.eval(context)?)),
            Self::Ip(value) => Some(shown(&value.eval(context))),
            Self::Bool(value) => Some(shown(&value.eval(context))),
        }
    }

    /// The same value, computed now where it depends on no request.
    pub(super) fn folded(self) -> Self {
        if !self.is_constant() {
            return self;
        }
        let headers = HeaderMap::new();
        let request = no_request(&headers);
        let text = self.eval(Context::new(&request, None));
        match text.map(Text::into_bytes) {
            Some(bytes) => Self::Literal(bytes.into()),
            None => self,
        }
    }

    /// Whether this is a function of literals alone.
    fn is_constant(&self) -> bool {
        let literal = |value: &Self| matches!(value, Self::Literal(_));
        match self {
            Self::Lower(value)
            | Self::Upper(value)
            | Self::Substring(value, ..)
            | Self::Replace(value, _)
            | Self::WithoutArguments(value, _)
            | Self::WithoutBytes(value, _)
            | Self::Decode(value, _)
            | Self::Json(value, _) => literal(value),
            Self::Concat(parts) => parts.iter().all(literal),
            Self::Int(value) => matches!(**value, IntValue::Literal(_)),
            Self::Ip(value) => matches!(**value, IpValue::Literal(_)),
            Self::Bool(value) => matches!(**value, Predicate::Constant(_)),
            _ => false,
        }
    }
}

/// A request that says nothing, for what depends on none.
fn no_request(headers: &HeaderMap) -> RequestView<'_> {
    RequestView {
        method: &Method::GET,
        scheme: Scheme::Http,
        host: "",
        path: "/",
        query: None,
        version: Version::HTTP_11,
        headers,
        client: IpAddr::from([0, 0, 0, 0]),
        session_cookie: false,
        has_body: false,
        facts: Facts::default(),
    }
}

fn shown<'c>(value: &impl ToString) -> Text<'c> {
    Text::Heap(value.to_string().into_bytes())
}

fn concat<'c>(parts: &'c [StringValue], context: Context<'c>) -> Option<Text<'c>> {
    let mut whole = Vec::new();
    for part in parts {
        append(&mut whole, part.eval(context)?.bytes())?;
    }
    Some(Text::Heap(whole))
}

/// Appends to a string unless it gets too long.
pub(super) fn append(whole: &mut Vec<u8>, part: &[u8]) -> Option<()> {
    if whole.len().saturating_add(part.len()) > MAX_LENGTH {
        return None;
    }
    whole.extend_from_slice(part);
    Some(())
}

/// The part from `start` up to `end`, as far as there is one.
fn substring(bytes: &[u8], start: i64, end: Option<i64>) -> Option<&[u8]> {
    let offset = |position: i64| {
        let distance = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
        if position < 0 {
            bytes.len().saturating_sub(distance)
        } else {
            distance.min(bytes.len())
        }
    };
    let end = end.map_or(bytes.len(), offset);
    bytes.get(offset(start).min(end)..end)
}

fn without_arguments<'c>(query: Text<'c>, names: &[Box<[u8]>]) -> Text<'c> {
    let removed = |argument: &&[u8]| {
        let name = argument.split(|byte| *byte == b'=').next();
        names.iter().any(|listed| Some(&**listed) == name)
    };
    let arguments = || query.bytes().split(|byte| *byte == b'&');
    if !arguments().any(|argument| removed(&argument)) {
        return query;
    }
    let kept: Vec<&[u8]> = arguments().filter(|argument| !removed(argument)).collect();
    Text::Heap(kept.join(&b'&'))
}

impl IntValue {
    /// The integer, where it has a value.
    pub(super) fn eval(&self, context: Context<'_>) -> Option<i64> {
        let count = match self {
            Self::Literal(number) => return Some(*number),
            Self::Field(field) => return field.read(context),
            Self::Json(value, path) => return json::integer(value.eval(context)?.bytes(), path),
            Self::Length(value) => value.eval(context)?.bytes().len(),
            Self::Count(array) => array.count(context)?,
        };
        Some(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

impl IpValue {
    /// The address.
    pub(super) fn eval(&self, context: Context<'_>) -> IpAddr {
        match self {
            Self::Literal(address) => *address,
            Self::Field(field) => field.read(context.request),
            Self::Network(value, v4, v6) => match value.eval(context) {
                IpAddr::V4(address) => {
                    let mask = u32::MAX.checked_shl(32_u32.saturating_sub((*v4).into()));
                    IpAddr::V4((address.to_bits() & mask.unwrap_or(0)).into())
                }
                IpAddr::V6(address) => {
                    let mask = u128::MAX.checked_shl(128_u32.saturating_sub((*v6).into()));
                    IpAddr::V6((address.to_bits() & mask.unwrap_or(0)).into())
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_offsets_count_from_the_end() {
        for (start, end, expected) in [
            (2, Some(5), "dfg"),
            (2, None, "dfghjk"),
            (-2, None, "jk"),
            (0, Some(-2), "asdfgh"),
            (-100, Some(100), "asdfghjk"),
            (100, None, ""),
            (5, Some(2), ""),
            (i64::MIN, Some(i64::MAX), "asdfghjk"),
        ] {
            let found = substring(b"asdfghjk", start, end);
            assert_eq!(found, Some(expected.as_bytes()), "{start} {end:?}");
        }
    }

    #[test]
    fn arguments_are_removed_and_the_others_stay_as_they_are() {
        for (query, names, expected) in [
            ("order=asc&country=GB", &["country"][..], "order=asc"),
            ("order=asc&country=GB", &["order"], "country=GB"),
            ("order=asc&country=GB", &["search"], "order=asc&country=GB"),
            (
                "category=Foo&order=desc&category=Bar",
                &["category"],
                "order=desc",
            ),
            ("a&a=1&ab=2&&b", &["a", "b"], "ab=2&"),
            ("a=1", &["a"], ""),
            ("", &["a"], ""),
        ] {
            let names: Vec<Box<[u8]>> = names.iter().map(|name| name.as_bytes().into()).collect();
            let text = without_arguments(Text::Borrowed(query.as_bytes()), &names);
            assert_eq!(text.bytes(), expected.as_bytes(), "{query}");
        }
    }
}
