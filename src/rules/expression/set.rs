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

/// A set of values given as ranges with both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rules) struct RangeSet<T>(Box<[(T, T)]>);

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
        Self(ranges.into_boxed_slice())
    }
}

impl<T: Copy + Ord> RangeSet<T> {
    /// Whether `value` lies in one of the ranges.
    pub(in crate::rules) fn contains(&self, value: T) -> bool {
        let starting_up_to_value = self.0.partition_point(|(first, _)| *first <= value);
        starting_up_to_value
            .checked_sub(1)
            .and_then(|nearest| self.0.get(nearest))
            .is_some_and(|(_, last)| value <= *last)
    }
}

/// A set of IP addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rules) struct IpSet {
    v4: RangeSet<u32>,
    v6: RangeSet<u128>,
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
        }
    }
}

impl IpSet {
    /// Whether `address` is in the set.
    pub(in crate::rules) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        }
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
    }
}
