//! The compiled tree and its evaluation: total, without panics, and without allocation where fields
//! are tested as they are.
//!
//! **Missing values.** An absent map entry or array position has no value, and neither has a
//! function of it. A comparison with it is false, except `ne`, which is true: `x ne "a"` and
//! `not x eq "a"` mean the same for every request. This is how wirefilter, the open
//! implementation of the language, evaluates by default.

use std::net::IpAddr;
use std::sync::Arc;

use super::array::Array;
use super::ast::Relation;
use super::field::BoolField;
use super::pattern::Pattern;
use super::set::{IpSet, RangeSet, StringSet};
use super::substring::Substring;
use super::value::{IntValue, IpValue, StringValue};
use super::wildcard::Wildcard;
use crate::cache::response::ResponseView;
use crate::guard::token::{Claims, Verifier};
use crate::request::RequestView;
use crate::rules::List;

/// A type-checked boolean expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Predicate {
    Constant(bool),
    Field(BoolField),
    Not(Box<Predicate>),
    And(Box<[Predicate]>),
    Or(Box<[Predicate]>),
    Xor(Box<[Predicate]>),
    String(StringValue, StringTest),
    Int(IntValue, IntTest),
    Ip(IpValue, IpTest),
    /// Whether the request has such a token.
    HasToken(Arc<Verifier>),
    /// Whether it is valid.
    Token(Arc<Verifier>),
    /// True if `body` is for one element at least.
    Any(Array, Box<Predicate>),
    /// True if `body` is for every element, also if there are none.
    All(Array, Box<Predicate>),
}

/// What a string is tested for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StringTest {
    Relation(Relation, Box<[u8]>),
    StartsWith(Box<[u8]>),
    EndsWith(Box<[u8]>),
    Contains(Substring),
    Matches(Pattern),
    Wildcard(Wildcard),
    In(StringSet),
    InList(Arc<List>),
}

/// What an integer is tested for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IntTest {
    Relation(Relation, i64),
    In(RangeSet<i64>),
    InList(Arc<List>),
}

/// What an address is tested for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IpTest {
    Equal(IpAddr),
    NotEqual(IpAddr),
    In(Box<IpSet>),
    InList(Arc<List>),
}

/// What a compiled tree is evaluated against.
#[derive(Clone, Copy)]
pub(super) struct Context<'c> {
    pub(super) request: &'c RequestView<'c>,
    pub(super) response: Option<&'c ResponseView<'c>>,
    /// The element which the enclosing `any` or `all` looks at.
    pub(super) current: Option<&'c [u8]>,
}

impl<'c> Context<'c> {
    /// A request and, where there is one, the response to it.
    pub(super) const fn new(
        request: &'c RequestView<'c>,
        response: Option<&'c ResponseView<'c>>,
    ) -> Self {
        Self {
            request,
            response,
            current: None,
        }
    }

    const fn at(mut self, element: &'c [u8]) -> Self {
        self.current = Some(element);
        self
    }
}

impl Predicate {
    /// Whether the predicate is true.
    pub(super) fn eval(&self, context: Context<'_>) -> bool {
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
            Self::Ip(value, test) => test.accepts(value.eval(context)),
            Self::HasToken(kind) => kind.is_present(context.request.headers),
            Self::Token(kind) => claims(kind, context).is_some(),
            Self::Any(array, body) => array.any(context, |element| body.eval(context.at(element))),
            Self::All(array, body) => {
                !array.any(context, |element| !body.eval(context.at(element)))
            }
        }
    }
}

/// What the valid token of this kind claims.
pub(super) fn claims(kind: &Verifier, context: Context<'_>) -> Option<Arc<Claims>> {
    let now = context.request.facts.unix_seconds;
    kind.verify(context.request.headers, now).ok()
}

impl StringTest {
    pub(super) fn accepts(&self, text: &[u8]) -> bool {
        match self {
            Self::Relation(Relation::Equal, literal) => *text == **literal,
            Self::Relation(Relation::NotEqual, literal) => *text != **literal,
            Self::Relation(relation, literal) => relation.holds(text.cmp(literal)),
            Self::StartsWith(literal) => text.starts_with(literal),
            Self::EndsWith(literal) => text.ends_with(literal),
            Self::Contains(substring) => substring.find(text).is_some(),
            Self::Matches(pattern) => pattern.is_match(text),
            Self::Wildcard(wildcard) => wildcard.matches(text),
            Self::In(set) => set.contains(text),
            Self::InList(list) => list.contains_string(text),
        }
    }
}

impl IntTest {
    pub(super) fn accepts(&self, number: i64) -> bool {
        match self {
            Self::Relation(relation, literal) => relation.holds(number.cmp(literal)),
            Self::In(set) => set.contains(number),
            Self::InList(list) => list.contains_number(number),
        }
    }
}

impl IpTest {
    pub(super) fn accepts(&self, address: IpAddr) -> bool {
        match self {
            Self::Equal(literal) => address == *literal,
            Self::NotEqual(literal) => address != *literal,
            Self::In(set) => set.contains(address),
            Self::InList(list) => list.contains_address(address),
        }
    }
}
