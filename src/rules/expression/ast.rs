//! The syntax tree: what was written and where, before fields, functions and types are looked up.

use std::cmp::Ordering;
use std::net::IpAddr;

use super::literal::StringLiteral;

/// A stretch of the source, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rules) struct Span {
    pub(in crate::rules) start: usize,
    pub(in crate::rules) end: usize,
}

impl Span {
    /// The stretch from the start of `self` to the end of `last`.
    pub(super) const fn to(self, last: Self) -> Self {
        Self {
            start: self.start,
            end: last.end,
        }
    }

    /// The text of this stretch.
    pub(super) fn text(self, source: &str) -> &str {
        source.get(self.start..self.end).unwrap_or_default()
    }
}

/// Something with its place in the source.
#[derive(Clone, Debug)]
pub(super) struct Spanned<T> {
    pub(super) node: T,
    pub(super) span: Span,
}

/// An expression. Operands of one logical operator lie side by side, so that depth is nesting only.
#[derive(Clone, Debug)]
pub(super) enum Expr<'s> {
    /// Two or more operands joined by one operator.
    Logic(LogicalOperator, Vec<Expr<'s>>),
    /// A negation, with the place of its operator.
    Not(Span, Box<Expr<'s>>),
    /// A value with the condition it must meet.
    Comparison(Value<'s>, Condition<'s>),
    /// `value in $name`, with the name's place.
    InList(Value<'s>, Spanned<&'s str>),
    /// A value on its own.
    Value(Value<'s>),
}

impl Expr<'_> {
    /// The stretch from the first to the last token, without enclosing parentheses.
    pub(super) fn span(&self) -> Span {
        match self {
            Self::Logic(_, operands) => match (operands.first(), operands.last()) {
                (Some(first), Some(last)) => first.span().to(last.span()),
                _ => Span { start: 0, end: 0 },
            },
            Self::Not(operator, operand) => operator.to(operand.span()),
            Self::Comparison(value, condition) => value.span.to(condition.span()),
            Self::InList(value, name) => value.span.to(name.span),
            Self::Value(value) => value.span,
        }
    }
}

/// A logical operator with two or more operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogicalOperator {
    And,
    Xor,
    Or,
}

/// An operator with its right-hand side.
#[derive(Clone, Debug)]
pub(super) enum Condition<'s> {
    /// A comparison with one literal.
    Compare(Spanned<ComparisonOperator>, Spanned<Literal<'s>>),
    /// `in {…}` with the place of `in`; the set is never empty.
    In(Span, Spanned<Vec<Spanned<Literal<'s>>>>),
}

impl Condition<'_> {
    const fn span(&self) -> Span {
        match self {
            Self::Compare(_, literal) => literal.span,
            Self::In(_, set) => set.span,
        }
    }
}

/// A comparison operator other than `in`, whichever way it was spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ComparisonOperator {
    Relation(Relation),
    Contains,
    Matches,
    Wildcard,
    StrictWildcard,
}

/// An operator on values which have an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Relation {
    /// Whether values ordered so stand in this relation.
    pub(super) const fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// A field, call or literal with the indexes which follow it.
#[derive(Clone, Debug)]
pub(super) struct Value<'s> {
    pub(super) base: Spanned<Base<'s>>,
    pub(super) indexes: Vec<Spanned<Index<'s>>>,
    /// Base and indexes together.
    pub(super) span: Span,
}

/// What a value starts with.
#[derive(Clone, Debug)]
pub(super) enum Base<'s> {
    /// A field name.
    Field(&'s str),
    /// A function call.
    Call(Spanned<&'s str>, Vec<Expr<'s>>),
    Literal(Literal<'s>),
}

/// An index in brackets.
#[derive(Clone, Debug)]
pub(super) enum Index<'s> {
    /// `["key"]`
    Key(StringLiteral<'s>),
    /// `[0]`
    Position(usize),
    /// `[*]`
    Each,
}

/// A literal value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rules) enum Literal<'s> {
    Bool(bool),
    String(StringLiteral<'s>),
    Int(i64),
    /// `first..last`, both included.
    IntRange(i64, i64),
    Ip(IpAddr),
    /// `first..last` or a CIDR block; both ends included and of one family.
    IpRange(IpAddr, IpAddr),
}

impl Literal<'_> {
    /// The kind of literal, with its article.
    pub(in crate::rules) const fn describe(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a boolean",
            Self::String(_) => "a string",
            Self::Int(_) => "an integer",
            Self::IntRange(..) => "a range of integers",
            Self::Ip(_) => "an IP address",
            Self::IpRange(..) => "a range of IP addresses",
        }
    }
}
