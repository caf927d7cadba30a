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

/// What ranges are made of: every value but the greatest has a next one.
pub(in crate::rules) trait Bound: Copy + Ord {
    /// The greatest value.
    const GREATEST: Self;
    /// The value after this one.
    fn next(self) -> Option<Self>;
    /// The value before this one, which is not the least.
    fn previous(self) -> Self;
}

macro_rules! bounds {
    ($($integer:ty)+) => {$(
        impl Bound for $integer {
            const GREATEST: Self = <$integer>::MAX;

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn previous(self) -> Self {
                self.saturating_sub(1)
            }
        }
    )+};
}

bounds!(u32 u64 u128 i64);

/// A set of values given as ranges with both ends included: a static tree of blocks, each a line of the
/// processor's cache, so that a lookup among a million waits for memory once or twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rules) struct RangeSet<T> {
    /// Where a range begins, where the next value is that is in none, and so on, in order.
    bounds: Box<[T]>,
    /// The first of every block of `bounds`, of every block of these, and so on, until they are one block.
    above: Box<[Box<[T]>]>,
}

impl<T: Bound> FromIterator<(T, T)> for RangeSet<T> {
    fn from_iter<I: IntoIterator<Item = (T, T)>>(ranges: I) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, previous| {
            let joined = next.0 <= previous.1 || previous.1.next() == Some(next.0);
            if joined {
                previous.1 = previous.1.max(next.1);
            }
            joined
        });
        let ends = ranges.iter();
        let bounds = ends.flat_map(|(first, last)| [Some(*first), last.next()]);
        let bounds: Box<[T]> = bounds.flatten().collect();
        let mut above: Vec<Box<[T]>> = Vec::new();
        loop {
            let below = above.last().unwrap_or(&bounds);
            if below.len() <= Self::BLOCK {
                break;
            }
            let level = below.iter().step_by(Self::BLOCK).copied().collect();
            above.push(level);
        }
        Self {
            bounds,
            above: above.into_boxed_slice(),
        }
    }
}

impl<T: Bound> RangeSet<T> {
    /// Values in a line of the cache.
    const BLOCK: usize = 64 / size_of::<T>();

    /// Whether `value` lies in one of the ranges.
    pub(in crate::rules) fn contains(&self, value: T) -> bool {
        // Ranges begin at even places, and end before odd ones.
        self.nearest(value).is_some_and(|place| place % 2 == 0)
    }

    /// The place of the last bound up to `value`.
    fn nearest(&self, value: T) -> Option<usize> {
        let levels = self.above.iter().rev().chain(std::iter::once(&self.bounds));
        let mut place = 0;
        for level in levels {
            let block = place * Self::BLOCK;
            let end = level.len().min(block + Self::BLOCK);
            let up_to_value = level
                .get(block..end)?
                .partition_point(|bound| *bound <= value);
            place = block + up_to_value.checked_sub(1)?;
        }
        Some(place)
    }

    /// All ranges, in order.
    fn ranges(&self) -> impl Iterator<Item = (T, T)> {
        self.bounds.chunks(2).filter_map(|bounds| {
            let (first, after) = bounds.split_first()?;
            let last = after.first().map_or(T::GREATEST, |after| after.previous());
            Some((*first, last))
        })
    }
}

/// A set of IP addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rules) struct IpSet {
    v4: RangeSet<u32>,
    /// Networks of 64 bits or less, of which only these bits are kept.
    v6_networks: RangeSet<u64>,
    /// The other ranges of IPv6.
    v6: RangeSet<u128>,
    /// What is not in the set all the same.
    except: Option<Box<Self>>,
}

impl FromIterator<(IpAddr, IpAddr)> for IpSet {
    fn from_iter<I: IntoIterator<Item = (IpAddr, IpAddr)>>(ranges: I) -> Self {
        let (mut v4, mut v6_networks, mut v6) = (Vec::new(), Vec::new(), Vec::new());
        for range in ranges {
            match range {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.to_bits(), last.to_bits())),
                (IpAddr::V6(first), IpAddr::V6(last)) => {
                    let (first, last) = (first.to_bits(), last.to_bits());
                    match (halves(first), halves(last)) {
                        ((network, 0), (last, u64::MAX)) => v6_networks.push((network, last)),
                        _ => v6.push((first, last)),
                    }
                }
                _ => {}
            }
        }
        Self {
            v4: v4.into_iter().collect(),
            v6_networks: v6_networks.into_iter().collect(),
            v6: v6.into_iter().collect(),
            except: None,
        }
    }
}

/// Network and interface of an IPv6 address (RFC 4291 §2.5.1).
fn halves(address: u128) -> (u64, u64) {
    let low = address & u128::from(u64::MAX);
    let half = |bits: u128| u64::try_from(bits).unwrap_or(u64::MAX);
    (half(address >> 64), half(low))
}

impl IpSet {
    /// The set without what `except` holds.
    pub(in crate::rules) fn without(mut self, except: &Self) -> Self {
        let before = self.except.take();
        let before = before.iter().flat_map(|before| before.ranges());
        let except = before.chain(except.ranges()).collect();
        self.except = Some(Box::new(except));
        self
    }

    /// Whether `address` is in the set.
    pub(in crate::rules) fn contains(&self, address: IpAddr) -> bool {
        let listed = match address {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                self.v6_networks.contains(halves(bits).0) || self.v6.contains(bits)
            }
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
        let networks = self.v6_networks.ranges();
        let networks = networks.map(|(first, last)| {
            let last = u128::from(last) << 64 | u128::from(u64::MAX);
            (u128::from(first) << 64, last)
        });
        let v6 = networks.chain(self.v6.ranges());
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
            ranges in prop::collection::vec((0u32..40, 0u32..10), 0..8),
            value in 0u32..60,
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

    proptest! {
        #[test]
        fn the_ranges_of_a_set_make_the_same_set(
            ranges in prop::collection::vec((any::<u32>(), 0u32..1000), 0..40),
            wide in prop::collection::vec((any::<u128>(), 0u32..3), 0..10),
        ) {
            let v4 = ranges.iter().map(|(first, length)| {
                let last = first.saturating_add(*length);
                (IpAddr::V4((*first).into()), IpAddr::V4(last.into()))
            });
            let v6 = wide.iter().map(|(bits, kind)| {
                let low = u128::from(u64::MAX);
                let (first, last) = match kind {
                    0 => (bits & !low, bits | low),
                    1 => (*bits, *bits),
                    _ => (*bits, u128::MAX),
                };
                (IpAddr::V6(first.into()), IpAddr::V6(last.into()))
            });
            let all: Vec<_> = v4.chain(v6).collect();
            let set: IpSet = all.iter().copied().collect();
            for (first, last) in &all {
                prop_assert!(set.contains(*first) && set.contains(*last));
            }
            let again: IpSet = set.ranges().collect();
            prop_assert_eq!(again.ranges().collect::<Vec<_>>(), set.ranges().collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_least_and_the_greatest_value_may_be_in_a_set() {
        let set: RangeSet<u32> = [(0, 0), (u32::MAX - 1, u32::MAX), (1, 1)]
            .into_iter()
            .collect();
        assert_eq!(
            set.ranges().collect::<Vec<_>>(),
            [(0, 1), (u32::MAX - 1, u32::MAX)]
        );
        for (value, expected) in [(0, true), (1, true), (2, false), (u32::MAX, true)] {
            assert_eq!(set.contains(value), expected, "{value}");
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
        let set = set.without(&except);
        for (address, expected) in [("10.1.2.3", false), ("10.2.0.0", true), ("::1", true)] {
            assert_eq!(set.contains(ip(address)), expected, "{address}");
        }
    }
}
