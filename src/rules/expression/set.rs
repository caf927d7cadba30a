//! Sets of literals, prepared for lookup: sorted, and ranges merged.

use std::cmp::Ordering;
use std::net::IpAddr;

/// Up to this size, comparing one by one beats a binary search.
const LINEAR: usize = 8;

/// A set of strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StringSet(Box<[Box<[u8]>]>);

impl FromIterator<Vec<u8>> for StringSet {
    fn from_iter<I: IntoIterator<Item = Vec<u8>>>(strings: I) -> Self {
        let mut strings: Vec<_> = strings.into_iter().map(Vec::into_boxed_slice).collect();
        strings.sort_unstable_by(|a, b| shortest_first(a, b));
        strings.dedup();
        Self(strings.into_boxed_slice())
    }
}

impl StringSet {
    /// The members.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Whether `string` is in the set.
    pub(in crate::rules) fn contains(&self, string: &[u8]) -> bool {
        if self.0.len() <= LINEAR {
            return self.0.iter().any(|member| **member == *string);
        }
        self.0
            .binary_search_by(|member| shortest_first(member, string))
            .is_ok()
    }
}

/// An order in which most comparisons need not look at the bytes.
fn shortest_first(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Values in a block: 64 bytes of IPv4 addresses, a line of the processor's cache.
const BLOCK: usize = 16;

/// A set of values given as ranges with both ends included: a static tree of blocks, so that a lookup among a
/// million touches five of them, the uppermost of which stay in the processor's cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rules) struct RangeSet<T> {
    /// Where the ranges begin, in order.
    first: Box<[T]>,
    /// Where they end.
    last: Box<[T]>,
    /// The first of every block of `first`, of every block of these, and so on, until they are one block.
    above: Box<[Box<[T]>]>,
}

impl<T: Copy + Ord> FromIterator<(T, T)> for RangeSet<T> {
    fn from_iter<I: IntoIterator<Item = (T, T)>>(ranges: I) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, previous| {
            let overlap = next.0 <= previous.1;
            if overlap {
                previous.1 = previous.1.max(next.1);
            }
            overlap
        });
        let first: Box<[T]> = ranges.iter().map(|(first, _)| *first).collect();
        let last = ranges.iter().map(|(_, last)| *last).collect();
        let mut above: Vec<Box<[T]>> = Vec::new();
        loop {
            let below = above.last().unwrap_or(&first);
            if below.len() <= BLOCK {
                break;
            }
            let level = below.iter().step_by(BLOCK).copied().collect();
            above.push(level);
        }
        Self {
            first,
            last,
            above: above.into_boxed_slice(),
        }
    }
}

impl<T: Copy + Ord> RangeSet<T> {
    /// Whether `value` lies in one of the ranges.
    pub(in crate::rules) fn contains(&self, value: T) -> bool {
        self.nearest(value)
            .and_then(|nearest| self.last.get(nearest))
            .is_some_and(|last| value <= *last)
    }

    /// The last range that begins at or before `value`.
    fn nearest(&self, value: T) -> Option<usize> {
        let levels = self.above.iter().rev().chain(std::iter::once(&self.first));
        let mut place = 0;
        for level in levels {
            let block = place * BLOCK;
            let end = level.len().min(block + BLOCK);
            let starting_up_to_value = level
                .get(block..end)?
                .partition_point(|first| *first <= value);
            place = block + starting_up_to_value.checked_sub(1)?;
        }
        Some(place)
    }

    /// All ranges, in order.
    fn ranges(&self) -> impl Iterator<Item = (T, T)> {
        self.first.iter().copied().zip(self.last.iter().copied())
    }
}

/// A set of IP addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rules) struct IpSet {
    v4: RangeSet<u32>,
    v6: RangeSet<u128>,
    /// What is not in the set all the same.
    except: Option<Box<Self>>,
}

impl FromIterator<(IpAddr, IpAddr)> for IpSet {
    fn from_iter<I: IntoIterator<Item = (IpAddr, IpAddr)>>(ranges: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            match range {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.to_bits(), last.to_bits())),
                (IpAddr::V6(first), IpAddr::V6(last)) => v6.push((first.to_bits(), last.to_bits())),
                _ => {}
            }
        }
        Self {
            v4: v4.into_iter().collect(),
            v6: v6.into_iter().collect(),
            except: None,
        }
    }
}

impl IpSet {
    /// The set without what `except` holds.
    pub(in crate::rules) fn without(self, except: Self) -> Self {
        Self {
            except: Some(Box::new(except)),
            ..self
        }
    }

    /// Whether `address` is in the set.
    pub(in crate::rules) fn contains(&self, address: IpAddr) -> bool {
        let listed = match address {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        };
        listed
            && self
                .except
                .as_ref()
                .is_none_or(|except| !except.contains(address))
    }

    /// Its ranges, exceptions among them.
    pub(in crate::rules) fn ranges(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        let v4 = self.v4.ranges();
        let v4 = v4.map(|(first, last)| (IpAddr::V4(first.into()), IpAddr::V4(last.into())));
        let v6 = self.v6.ranges();
        v4.chain(v6.map(|(first, last)| (IpAddr::V6(first.into()), IpAddr::V6(last.into()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_range_set_agrees_with_its_ranges(
            ranges in prop::collection::vec((0u8..40, 0u8..10), 0..8),
            value in 0u8..60,
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(first, length)| (first, first + length)).collect();
            let expected = ranges.iter().any(|(first, last)| (*first..=*last).contains(&value));
            prop_assert_eq!(ranges.into_iter().collect::<RangeSet<_>>().contains(value), expected);
        }

        #[test]
        fn many_ranges_agree_with_a_search_one_by_one(
            ranges in prop::collection::vec((0u32..100_000, 0u32..20), 0..2_000),
            values in prop::collection::vec(0u32..101_000, 50),
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(first, length)| (first, first + length)).collect();
            let set: RangeSet<u32> = ranges.iter().copied().collect();
            for value in values {
                let expected = ranges.iter().any(|(first, last)| (*first..=*last).contains(&value));
                prop_assert_eq!(set.contains(value), expected);
            }
        }

        #[test]
        fn a_string_set_agrees_with_its_members(
            members in prop::collection::vec("[ab]{0,3}", 0..20),
            string in "[ab]{0,3}",
        ) {
            let set: StringSet = members.iter().map(|member| member.clone().into_bytes()).collect();
            prop_assert_eq!(set.contains(string.as_bytes()), members.contains(&string));
        }
    }

    #[test]
    fn addresses_are_looked_up_in_their_family() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let set: IpSet = [
            (ip("10.0.0.0"), ip("10.255.255.255")),
            (ip("::1"), ip("::1")),
        ]
        .into_iter()
        .collect();
        for (address, expected) in [
            ("10.1.2.3", true),
            ("11.0.0.0", false),
            ("::1", true),
            ("::2", false),
            ("::a00:1", false),
            ("0.0.0.1", false),
        ] {
            assert_eq!(set.contains(ip(address)), expected, "{address}");
        }
        let except: IpSet = [(ip("10.1.0.0"), ip("10.1.255.255"))].into_iter().collect();
        let set = set.without(except);
        for (address, expected) in [("10.1.2.3", false), ("10.2.0.0", true), ("::1", true)] {
            assert_eq!(set.contains(ip(address)), expected, "{address}");
        }
    }
}
