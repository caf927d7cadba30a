//! Named lists, which expressions refer to as `$name`: of addresses, numbers or strings.

mod format;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::expression::ast::{Literal, Span};
use super::expression::literal::{QUOTES_HELP, number_or_address};
use super::expression::set::{IpSet, RangeSet};

pub use format::ListFormat;

/// The lists of a configuration, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists(BTreeMap<String, Arc<List>>);

impl Lists {
    /// Adds a list, in place of one of the same name.
    pub fn insert(&mut self, name: String, list: List) {
        self.0.insert(name, Arc::new(list));
    }

    /// The list of this name, without a `$`.
    pub fn get(&self, name: &str) -> Option<&Arc<List>> {
        self.0.get(name)
    }

    /// Takes what is in `exceptions` out of a list.
    pub fn spare<'l>(&mut self, name: &str, exceptions: impl IntoIterator<Item = &'l List>) {
        if let Some(list) = self.0.get_mut(name) {
            let whole = std::mem::take(Arc::make_mut(list));
            *list = Arc::new(whole.without(exceptions, false));
        }
    }

    /// The names of all lists, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.keys().map(String::as_str)
    }
}

/// What a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// IP addresses, ranges of them and CIDR blocks.
    Ip,
    /// Integers and ranges of them.
    Number,
    /// Strings, compared byte by byte.
    String,
}

impl fmt::Display for ListKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ip => "IP addresses",
            Self::Number => "integers",
            Self::String => "strings",
        })
    }
}

/// What is wrong with an item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFault {
    /// The line (from 1) or the index (from 0) of the item.
    pub place: usize,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// The way out, where it can be guessed.
    pub help: Option<String>,
}

/// More faults of one list than this are not told.
const MOST_FAULTS: usize = 10;

/// A list, prepared for lookup. The default is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List(Items);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Items {
    /// No items, and nothing said of which kind they would be.
    #[default]
    Nothing,
    Addresses(IpSet),
    Numbers(RangeSet<i64>),
    Strings(HashSet<Box<[u8]>>),
}

impl List {
    /// Reads a list with one item a line, as [`Self::lines`] finds them.
    ///
    /// # Errors
    /// The faulty items by line, the first few of them.
    pub fn of_lines(kind: Option<ListKind>, text: &str) -> Result<Self, Vec<ListFault>> {
        Self::new(kind, Self::lines(text))
    }

    /// The items of a text with one a line, each with its line from 1. `#` begins a comment, at the
    /// start of a line or after white space; empty lines say nothing.
    pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
        let item = |line: &'_ str| -> usize {
            let begins_comment =
                |(at, _): &(usize, &str)| line.get(..*at).is_some_and(ends_with_space);
            let comment = line.match_indices('#').find(begins_comment);
            comment.map_or(line.len(), |(at, _)| at)
        };
        (1..)
            .zip(text.lines())
            .map(move |(number, line)| (number, line.get(..item(line)).unwrap_or_default().trim()))
            .filter(|(_, item)| !item.is_empty())
    }

    /// Reads items with their places. Without a `kind`, the first item tells it.
    ///
    /// # Errors
    /// The faulty items by place, the first few of them.
    pub fn new<'t>(
        kind: Option<ListKind>,
        items: impl IntoIterator<Item = (usize, &'t str)>,
    ) -> Result<Self, Vec<ListFault>> {
        let mut items = items.into_iter().peekable();
        let kind = kind.or_else(|| items.peek().map(|(_, first)| kind_of(first)));
        let items = match kind {
            None => Items::Nothing,
            Some(ListKind::Ip) => Items::Addresses(parse_each(items, address_range)?),
            Some(ListKind::Number) => Items::Numbers(parse_each(items, number_range)?),
            Some(ListKind::String) => {
                Items::Strings(items.map(|(_, item)| item.as_bytes().into()).collect())
            }
        };
        Ok(Self(items))
    }

    /// The list without what is in `exceptions`, and with `private` without what no list of others should
    /// hold; a list of anything but addresses as it is.
    #[must_use]
    pub fn without<'l>(
        self,
        exceptions: impl IntoIterator<Item = &'l Self>,
        private: bool,
    ) -> Self {
        let Items::Addresses(set) = self.0 else {
            return self;
        };
        let listed = exceptions.into_iter().filter_map(|list| match &list.0 {
            Items::Addresses(set) => Some(set.ranges()),
            _ => None,
        });
        let private = PRIVATE.iter().filter(|_| private);
        let private = private.filter_map(|block| address_range(block).ok());
        let except: IpSet = listed.flatten().chain(private).collect();
        Self(Items::Addresses(set.without(&except)))
    }

    /// What the list holds; `None` when it is empty, and fits any use.
    pub const fn kind(&self) -> Option<ListKind> {
        match self.0 {
            Items::Nothing => None,
            Items::Addresses(_) => Some(ListKind::Ip),
            Items::Numbers(_) => Some(ListKind::Number),
            Items::Strings(_) => Some(ListKind::String),
        }
    }

    /// Whether the list holds `address`.
    pub fn contains_address(&self, address: IpAddr) -> bool {
        matches!(&self.0, Items::Addresses(set) if set.contains(address))
    }

    /// Whether the list holds `number`.
    pub fn contains_number(&self, number: i64) -> bool {
        matches!(&self.0, Items::Numbers(set) if set.contains(number))
    }

    /// Whether the list holds `string`.
    pub(super) fn contains_string(&self, string: &[u8]) -> bool {
        matches!(&self.0, Items::Strings(set) if set.contains(string))
    }
}

/// Addresses that are never somebody on the Internet: loopback, private, shared and link-local (RFC 6890, RFC
/// 4193, RFC 4291).
const PRIVATE: &[&str] = &[
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "::1",
    "fc00::/7",
    "fe80::/10",
];

fn ends_with_space(text: &str) -> bool {
    text.is_empty() || text.ends_with(char::is_whitespace)
}

fn kind_of(item: &str) -> ListKind {
    match literal(item) {
        Ok(Literal::Ip(_) | Literal::IpRange(..)) => ListKind::Ip,
        Ok(Literal::Int(_) | Literal::IntRange(..)) => ListKind::Number,
        _ if looks_like_a_block(item) => ListKind::Ip,
        _ => ListKind::String,
    }
}

/// Whether this is an address with something amiss after its slash.
fn looks_like_a_block(item: &str) -> bool {
    item.split_once('/')
        .is_some_and(|(address, _)| address.parse::<IpAddr>().is_ok())
}

/// A value, or what is wrong and the way out.
type Parsed<T> = Result<T, (String, Option<String>)>;

fn parse_each<'t, T, S: FromIterator<T>>(
    items: impl Iterator<Item = (usize, &'t str)>,
    parse: fn(&str) -> Parsed<T>,
) -> Result<S, Vec<ListFault>> {
    let mut faults = Vec::new();
    let parsed = items
        .filter_map(|(place, item)| {
            let (message, help) = match parse(item) {
                Ok(parsed) => return Some(parsed),
                Err(fault) => fault,
            };
            faults.push(ListFault {
                place,
                message,
                help,
            });
            None
        })
        .collect();
    if faults.is_empty() {
        return Ok(parsed);
    }
    let untold = faults.len().saturating_sub(MOST_FAULTS);
    faults.truncate(MOST_FAULTS);
    if let Some(last) = faults.last_mut()
        && untold > 0
    {
        last.message = format!("{}, and {untold} more items are faulty", last.message);
    }
    Err(faults)
}

/// The addresses that an item of a list stands for.
///
/// # Errors
/// What is wrong, in one sentence, and the way out where there is one.
pub fn address_range(item: &str) -> Result<(IpAddr, IpAddr), (String, Option<String>)> {
    match literal(item)? {
        Literal::Ip(address) => Ok((address, address)),
        Literal::IpRange(first, last) => Ok((first, last)),
        other => Err(misplaced(item, &other, ListKind::Ip)),
    }
}

fn number_range(item: &str) -> Parsed<(i64, i64)> {
    match literal(item)? {
        Literal::Int(number) => Ok((number, number)),
        Literal::IntRange(first, last) => Ok((first, last)),
        other => Err(misplaced(item, &other, ListKind::Number)),
    }
}

fn literal(item: &str) -> Parsed<Literal<'static>> {
    let span = Span {
        start: 0,
        end: item.len(),
    };
    number_or_address(item, span).map_err(|error| match error.help {
        Some(help) if help == QUOTES_HELP => (error.message, Some(KIND_HELP.to_owned())),
        help => (format!("`{item}`: {}", error.message), help),
    })
}

const KIND_HELP: &str = "a list holds one kind of items; for strings write `kind = \"string\"`";

fn misplaced(item: &str, found: &Literal<'_>, kind: ListKind) -> (String, Option<String>) {
    let message = format!("`{item}` is {} in a list of {kind}", found.describe());
    (message, Some(KIND_HELP.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn lines_may_be_empty_and_hold_comments() {
        let text = "# the office\n10.0.0.0/8\n\n  192.0.2.1  # the printer\r\n2001:db8::/32\n\
                    198.51.100.3..198.51.100.7";
        let list = List::of_lines(None, text).unwrap();
        assert_eq!(list.kind(), Some(ListKind::Ip));
        for (address, expected) in [
            ("10.9.8.7", true),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("2001:db8::5", true),
            ("198.51.100.7", true),
        ] {
            assert_eq!(list.contains_address(ip(address)), expected, "{address}");
        }
        let strings = List::of_lines(None, "a#b\nc #d\n#e").unwrap();
        assert_eq!(strings.kind(), Some(ListKind::String));
        assert!(strings.contains_string(b"a#b"));
        assert!(strings.contains_string(b"c"));
        assert!(!strings.contains_string(b"d"));
    }

    #[test]
    fn the_first_item_tells_the_kind_unless_it_is_said() {
        for (kind, text, expected) in [
            (None, "64496\n64500..64510", Some(ListKind::Number)),
            (None, "example.com\n64500", Some(ListKind::String)),
            (None, "", None),
            (None, "# nothing\n", None),
            (
                Some(ListKind::String),
                "10.0.0.1\n1",
                Some(ListKind::String),
            ),
            (Some(ListKind::Ip), "", Some(ListKind::Ip)),
        ] {
            let list = List::of_lines(kind, text).unwrap();
            assert_eq!(list.kind(), expected, "{text}");
        }
        let numbers = List::of_lines(None, "64496\n64500..64510").unwrap();
        assert!(numbers.contains_number(64505));
        assert!(!numbers.contains_number(64499));
        assert!(!numbers.contains_string(b"64496"));
    }

    #[test]
    fn every_faulty_item_is_told_with_its_line() {
        let text = "10.0.0.0/8\n10.0.0.1/8\n\nexample.com\n5\n::/129";
        let faults = List::of_lines(None, text).unwrap_err();
        let told: Vec<_> = faults
            .iter()
            .map(|fault| (fault.place, fault.message.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (2, "`10.0.0.1/8`: the address has bits set after its prefix"),
                (4, "`example.com` is neither a number nor an IP address"),
                (5, "`5` is an integer in a list of IP addresses"),
                (
                    6,
                    "`::/129`: the prefix length of this address is at most 128"
                ),
            ]
        );
        assert_eq!(faults[0].help.as_deref(), Some("write `10.0.0.0/8`"));
        assert_eq!(faults[1].help.as_deref(), Some(KIND_HELP));
    }

    #[test]
    fn many_faults_are_told_as_a_few() {
        let text = "1\n".to_owned() + &"x\n".repeat(1000);
        let faults = List::of_lines(None, &text).unwrap_err();
        assert_eq!(faults.len(), MOST_FAULTS);
        assert!(
            faults
                .last()
                .unwrap()
                .message
                .ends_with("and 990 more items are faulty")
        );
    }

    #[test]
    fn hundreds_of_thousands_of_items_are_looked_up() {
        let addresses: Vec<_> = (0..200_000_u32)
            .map(|number| std::net::Ipv4Addr::from(number * 2).to_string())
            .collect();
        let list = List::of_lines(None, &addresses.join("\n")).unwrap();
        assert!(list.contains_address(std::net::Ipv4Addr::from(399_998).into()));
        assert!(!list.contains_address(std::net::Ipv4Addr::from(399_999).into()));
        let hosts: Vec<_> = (0..200_000)
            .map(|number| format!("h{number}.test"))
            .collect();
        let list = List::of_lines(None, &hosts.join("\n")).unwrap();
        assert!(list.contains_string(b"h199999.test"));
        assert!(!list.contains_string(b"h200000.test"));
    }
}
