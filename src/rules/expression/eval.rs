//! The compiled tree and its evaluation: total, without panics, and without allocation unless a
//! string has to be built which is longer than a stack buffer.
//!
//! **Missing values.** An absent map entry or array position has no value, and neither has a
//! function of it. A comparison with it is false, except `ne`, which is true: `x ne "a"` and
//! `not x eq "a"` mean the same for every request. This is how wirefilter, the open
//! implementation of the language, evaluates by default.

use std::net::IpAddr;

use regex::bytes::Regex;

use super::ast::Relation;
use super::field::{Array, BoolField, IpField, StringField};
use super::set::{IpSet, RangeSet, StringSet};
use super::substring::Substring;
use super::text::Text;
use super::wildcard::Wildcard;
use crate::request::RequestView;

/// A type-checked boolean expression.
#[derive(Clone, Debug)]
pub(super) enum Predicate {
    Constant(bool),
    Field(BoolField),
    Not(Box<Predicate>),
    And(Box<[Predicate]>),
    Or(Box<[Predicate]>),
    Xor(Box<[Predicate]>),
    String(StringValue, StringTest),
    Int(IntValue, IntTest),
    Ip(IpField, IpTest),
    /// True if `body` is for one element at least.
    Any(Array, Box<Predicate>),
    /// True if `body` is for every element, also if there are none.
    All(Array, Box<Predicate>),
}

/// A string computed from the request.
#[derive(Clone, Debug)]
pub(super) enum StringValue {
    Field(StringField),
    /// The element of an array at a position.
    Element(Array, usize),
    /// The element which the enclosing `any` or `all` looks at.
    Current,
    Lower(Box<StringValue>),
    Upper(Box<StringValue>),
}

/// What a string is tested for.
#[derive(Clone, Debug)]
pub(super) enum StringTest {
    Relation(Relation, Box<[u8]>),
    StartsWith(Box<[u8]>),
    EndsWith(Box<[u8]>),
    Contains(Substring),
    Matches(Regex),
    Wildcard(Wildcard),
    In(StringSet),
}

/// An integer computed from the request.
#[derive(Clone, Debug)]
pub(super) enum IntValue {
    Length(StringValue),
    Count(Array),
}

/// What an integer is tested for.
#[derive(Clone, Debug)]
pub(super) enum IntTest {
    Relation(Relation, i64),
    In(RangeSet<i64>),
}

/// What an address is tested for.
#[derive(Clone, Debug)]
pub(super) enum IpTest {
    Equal(IpAddr),
    NotEqual(IpAddr),
    In(IpSet),
}

/// What a compiled tree is evaluated against.
#[derive(Clone, Copy)]
struct Context<'c, 'r> {
    request: &'c RequestView<'r>,
    /// The element which the enclosing `any` or `all` looks at.
    current: Option<&'r [u8]>,
}

impl Predicate {
    /// Whether the predicate is true of `request`.
    pub(super) fn matches(&self, request: &RequestView<'_>) -> bool {
        self.eval(Context {
            request,
            current: None,
        })
    }

    fn eval(&self, context: Context<'_, '_>) -> bool {
        match self {
            Self::Constant(truth) => *truth,
            Self::Field(field) => field.read(context.request),
            Self::Not(operand) => !operand.eval(context),
            Self::And(operands) => operands.iter().all(|operand| operand.eval(context)),
            Self::Or(operands) => operands.iter().any(|operand| operand.eval(context)),
            Self::Xor(operands) => operands
                .iter()
                .fold(false, |truth, operand| truth ^ operand.eval(context)),
            Self::String(value, test) => match value.eval(context) {
                Some(string) => test.accepts(string.bytes()),
                None => matches!(test, StringTest::Relation(Relation::NotEqual, _)),
            },
            Self::Int(value, test) => match value.eval(context) {
                Some(number) => test.accepts(number),
                None => matches!(test, IntTest::Relation(Relation::NotEqual, _)),
            },
            Self::Ip(field, test) => test.accepts(field.read(context.request)),
            Self::Any(array, body) => {
                array.any(context.request, |element| body.eval(context.at(element)))
            }
            Self::All(array, body) => {
                !array.any(context.request, |element| !body.eval(context.at(element)))
            }
        }
    }
}

impl<'r> Context<'_, 'r> {
    const fn at(mut self, element: &'r [u8]) -> Self {
        self.current = Some(element);
        self
    }
}

impl StringValue {
    fn eval<'r>(&self, context: Context<'_, 'r>) -> Option<Text<'r>> {
        match self {
            Self::Field(field) => Some(field.read(context.request)),
            Self::Element(array, position) => {
                array.nth(context.request, *position).map(Text::Borrowed)
            }
            Self::Current => context.current.map(Text::Borrowed),
            Self::Lower(value) => value.eval(context).map(Text::lower),
            Self::Upper(value) => value.eval(context).map(Text::upper),
        }
    }
}

impl StringTest {
    fn accepts(&self, text: &[u8]) -> bool {
        match self {
            Self::Relation(Relation::Equal, literal) => *text == **literal,
            Self::Relation(Relation::NotEqual, literal) => *text != **literal,
            Self::Relation(relation, literal) => relation.holds(text.cmp(literal)),
            Self::StartsWith(literal) => text.starts_with(literal),
            Self::EndsWith(literal) => text.ends_with(literal),
            Self::Contains(substring) => substring.find(text).is_some(),
            Self::Matches(regex) => regex.is_match(text),
            Self::Wildcard(wildcard) => wildcard.matches(text),
            Self::In(set) => set.contains(text),
        }
    }
}

impl IntValue {
    fn eval(&self, context: Context<'_, '_>) -> Option<i64> {
        let count = match self {
            Self::Length(value) => value.eval(context)?.bytes().len(),
            Self::Count(array) => array.count(context.request)?,
        };
        Some(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

impl IntTest {
    fn accepts(&self, number: i64) -> bool {
        match self {
            Self::Relation(relation, literal) => relation.holds(number.cmp(literal)),
            Self::In(set) => set.contains(number),
        }
    }
}

impl IpTest {
    fn accepts(&self, address: IpAddr) -> bool {
        match self {
            Self::Equal(literal) => address == *literal,
            Self::NotEqual(literal) => address != *literal,
            Self::In(set) => set.contains(address),
        }
    }
}
