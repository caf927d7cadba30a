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
    /// Values that are compared with at once.
    type Block: AsRef<[Self]> + AsMut<[Self]> + Copy + std::fmt::Debug + Eq;
    /// A block of this value alone.
    fn block(self) -> Self::Block;
    /// The value after this one.
    fn next(self) -> Option<Self>;
    /// The value before this one, which is not the least.
    fn previous(self) -> Self;
}

macro_rules! bounds {
    ($($integer:ty: $block:literal,)+) => {$(
        impl Bound for $integer {
            const GREATEST: Self = <$integer>::MAX;
            type Block = [Self; $block];

            fn block(self) -> Self::Block {
                [self; $block]
            }

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn previous(self) -> Self {
                self.saturating_sub(1)
            }
        }
    )+};
}

// A line of the processor's cache, or two that are fetched together: fewer blocks have to be waited for one after
// the other.
bounds!(u32: 16, u64: 16, u128: 8, i64: 16,);

/// A block, which begins where a line of the processor's cache does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(64))]
struct Line<B>(B);

/// A level of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    /// The place of its first block among all.
    start: usize,
    /// How many values it has.
    values: usize,
}

/// Values in order: a static tree of blocks, so that a search among a million waits for memory once or twice.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tree<T: Bound> {
    /// The blocks of all levels. Where there is no value left the greatest fills them up.
    blocks: Box<[Line<T::Block>]>,
    /// The last one has the values. Each one above has the first of every block of the next one; the first level is
    /// one block.
    levels: Box<[Level]>,
}

impl<T: Bound> Tree<T> {
    /// Values in a block.
    const BLOCK: usize = size_of::<T::Block>() / size_of::<T>();

    /// The tree above `values`, which are in order.
    fn new(values: Vec<T>) -> Self {
        let mut levels = Vec::new();
        let mut level = values;
        while level.len() > Self::BLOCK {
            let above = level.iter().step_by(Self::BLOCK).copied().collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        levels.push(level);
        levels.retain(|level| !level.is_empty());
        let blocks = levels.iter().map(|level| level.len().div_ceil(Self::BLOCK));
        let mut all = Vec::with_capacity(blocks.sum());
        let mut places = Vec::with_capacity(levels.len());
        for level in levels.iter().rev() {
            places.push(Level {
                start: all.len(),
                values: level.len(),
            });
            all.extend(level.chunks(Self::BLOCK).map(|values| {
                let mut block = T::GREATEST.block();
                for (place, value) in block.as_mut().iter_mut().zip(values) {
                    *place = *value;
                }
                Line(block)
            }));
        }
        Self {
            blocks: all.into_boxed_slice(),
            levels: places.into_boxed_slice(),
        }
    }

    /// Whether there are no values.
    fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// The place of the last one up to `value`.
    fn nearest(&self, value: T) -> Option<usize> {
        let mut place = None;
        for level in &self.levels {
            let block = place.unwrap_or(0);
            let Line(values) = self.blocks.get(level.start + block)?;
            // All of them, without a branch: what it would save costs more when it is guessed wrong.
            let up_to_value = values.as_ref().iter();
            let up_to_value: usize = up_to_value.map(|bound| usize::from(*bound <= value)).sum();
            let within = block * Self::BLOCK + up_to_value.checked_sub(1)?;
            // What fills a block up is not there.
            place = Some(within.min(level.values - 1));
        }
        place
    }

    /// The value at this place.
    fn get(&self, place: usize) -> Option<T> {
        let level = self.levels.last().filter(|level| place < level.values)?;
        let Line(values) = self.blocks.get(level.start + place / Self::BLOCK)?;
        values.as_ref().get(place % Self::BLOCK).copied()
    }

    /// All values, in order.
    fn iter(&self) -> impl Iterator<Item = T> {
        let last = self.levels.last();
        let (start, values) = last.map_or((0, 0), |level| (level.start, level.values));
        let blocks = self.blocks.get(start..).unwrap_or_default();
        let all = blocks.iter().flat_map(|Line(block)| block.as_ref());
        all.copied().take(values)
    }
}

/// A set of values given as ranges with both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rules) struct RangeSet<T: Bound> {
    /// Where a range begins, where the next value is that is in none, and so on.
    bounds: Tree<T>,
}

impl<T: Bound> FromIterator<(T, T)> for RangeSet<T> {
    fn from_iter<I: IntoIterator<Item = (T, T)>>(ranges: I) -> Self {
        let ranges = joined(ranges.into_iter().collect());
        let ends = ranges.iter();
        let bounds = ends.flat_map(|(first, last)| [Some(*first), last.next()]);
        Self {
            bounds: Tree::new(bounds.flatten().collect()),
        }
    }
}

/// The ranges in order, those in one that overlap or meet.
fn joined<T: Bound>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, previous| {
        let joined = next.0 <= previous.1 || previous.1.next() == Some(next.0);
        if joined {
            previous.1 = previous.1.max(next.1);
        }
        joined
    });
    ranges
}

impl<T: Bound> RangeSet<T> {
    /// Whether `value` lies in one of the ranges.
    pub(in crate::rules) fn contains(&self, value: T) -> bool {
        // Ranges begin at even places, and end before odd ones.
        self.bounds
            .nearest(value)
            .is_some_and(|place| place % 2 == 0)
    }

    /// Whether there are none.
    pub(in crate::rules) fn is_empty(&self) -> bool {
        self.bounds.is_empty()
    }

    /// All ranges, in order.
    fn ranges(&self) -> impl Iterator<Item = (T, T)> {
        let mut bounds = self.bounds.iter();
        std::iter::from_fn(move || {
            let first = bounds.next()?;
            let last = bounds.next().map_or(T::GREATEST, Bound::previous);
            Some((first, last))
        })
    }
}

/// Networks of IPv6 of 64 bits or less in the lower half of all addresses, where every address is that the Internet
/// knows.
///
/// A network is one number: its bits, a one, and zeros. So a million of them takes half of what beginnings and ends
/// would, which decides how much of them the processor has at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NetworkSet(Tree<u64>);

impl NetworkSet {
    /// The first 64 bits of the last address in the lower half.
    const LAST: u64 = u64::MAX >> 1;

    /// The networks that `ranges` of first 64 bits, none of them above [`Self::LAST`], are made of.
    fn new(ranges: Vec<(u64, u64)>) -> Self {
        let mut networks = Vec::with_capacity(ranges.len());
        for (mut first, last) in joined(ranges) {
            loop {
                // As wide as where it begins and what is left allow.
                let left = (last - first + 1).ilog2();
                let zeros = first.trailing_zeros().min(left);
                networks.push(first << 1 | 1 << zeros);
                match first + ((1 << zeros) - 1) {
                    end if end >= last => break,
                    end => first = end + 1,
                }
            }
        }
        Self(Tree::new(networks))
    }

    /// Whether an address with these first 64 bits is in one of the networks.
    fn contains(&self, bits: u64) -> bool {
        if bits > Self::LAST || self.0.is_empty() {
            return false;
        }
        let bits = bits << 1;
        let holds = |network: u64| (network ^ bits) >> network.trailing_zeros() >> 1 == 0;
        // The one that stands for a network is in its middle.
        let before = self.0.nearest(bits);
        let after = before.map_or(0, |place| place + 1);
        let networks = before.into_iter().chain([after]);
        networks.filter_map(|place| self.0.get(place)).any(holds)
    }

    /// First and last 64 bits of all networks, in order.
    fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|network| {
            let first = (network & (network - 1)) >> 1;
            (first, first + ((1 << network.trailing_zeros()) - 1))
        })
    }
}

/// What is left of `ranges` without those of `except`.
fn without<T: Bound>(
    ranges: impl Iterator<Item = (T, T)>,
    except: &RangeSet<T>,
) -> impl Iterator<Item = (T, T)> {
    let except: Vec<_> = except.ranges().collect();
    ranges.flat_map(move |(first, last)| {
        let from = except.partition_point(|(_, end)| *end < first);
        let mut left = Vec::new();
        let mut first = Some(first);
        let reaching = except.iter().skip(from);
        for (begin, end) in reaching.take_while(|(begin, _)| *begin <= last) {
            if let Some(first) = first.filter(|first| first < begin) {
                left.push((first, begin.previous()));
            }
            first = end.next();
        }
        left.extend(
            first
                .filter(|first| *first <= last)
                .map(|first| (first, last)),
        );
        left
    })
}

/// A set of IP addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rules) struct IpSet {
    v4: RangeSet<u32>,
    v6_networks: NetworkSet,
    /// The other ranges of IPv6.
    v6: RangeSet<u128>,
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
                        ((first, 0), (last, u64::MAX)) if first <= NetworkSet::LAST => {
                            v6_networks.push((first, last.min(NetworkSet::LAST)));
                            if last > NetworkSet::LAST {
                                v6.push((1 << 127, u128::from(last) << 64 | u128::from(u64::MAX)));
                            }
                        }
                        _ => v6.push((first, last)),
                    }
                }
                _ => {}
            }
        }
        Self {
            v4: v4.into_iter().collect(),
            v6_networks: NetworkSet::new(v6_networks),
            v6: v6.into_iter().collect(),
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
    pub(in crate::rules) fn without(&self, except: &Self) -> Self {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => Err(address.to_bits()),
            IpAddr::V6(address) => Ok(address.to_bits()),
        };
        // Those of IPv6 in one: an exception may be narrower than the network that it is of.
        let except_v6: RangeSet<u128> = (except.ranges())
            .filter_map(|(first, last)| Some((bits(first).ok()?, bits(last).ok()?)))
            .collect();
        let v6 = self.ranges();
        let v6 = v6.filter_map(|(first, last)| Some((bits(first).ok()?, bits(last).ok()?)));
        let v4 = without(self.v4.ranges(), &except.v4);
        let v4 = v4.map(|(first, last)| (IpAddr::V4(first.into()), IpAddr::V4(last.into())));
        let v6 = without(v6, &except_v6);
        let v6 = v6.map(|(first, last)| (IpAddr::V6(first.into()), IpAddr::V6(last.into())));
        v4.chain(v6).collect()
    }

    /// Whether no address is in the set.
    pub(in crate::rules) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6_networks.0.is_empty() && self.v6.is_empty()
    }

    /// Whether `address` is in the set.
    pub(in crate::rules) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                self.v6_networks.contains(halves(bits).0) || self.v6.contains(bits)
            }
        }
    }

    /// Its ranges.
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
        fn what_is_left_without_ranges_is_in_the_one_and_not_in_the_other(
            ranges in prop::collection::vec((0u32..60, 0u32..12), 0..8),
            except in prop::collection::vec((0u32..60, 0u32..6), 0..8),
            greatest in any::<bool>(),
        ) {
            // At either end of all values.
            let value = |value: u32| if greatest { u32::MAX - value } else { value };
            let set = |ranges: Vec<(u32, u32)>| -> RangeSet<u32> {
                let ranges = ranges.into_iter();
                ranges
                    .map(|(first, length)| {
                        let (first, last) = (value(first), value(first.saturating_sub(length)));
                        (first.min(last), first.max(last))
                    })
                    .collect()
            };
            let (set, except) = (set(ranges), set(except));
            let left: RangeSet<u32> = without(set.ranges(), &except).collect();
            for number in 0..80 {
                let number = value(number);
                let expected = set.contains(number) && !except.contains(number);
                prop_assert_eq!(left.contains(number), expected);
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
        fn networks_agree_with_their_ranges(
            ranges in prop::collection::vec((0u64..70, 0u64..20), 0..30),
            end in any::<bool>(),
            scale in 0u32..50,
        ) {
            // Small or large, at either end of the lower half.
            let bits = |number: u64| {
                let number = number << scale;
                if end { NetworkSet::LAST - number } else { number }
            };
            let ranges: Vec<_> = ranges
                .into_iter()
                .map(|(first, length)| {
                    let (one, other) = (bits(first), bits(first + length));
                    (one.min(other), one.max(other))
                })
                .collect();
            let set = NetworkSet::new(ranges.clone());
            prop_assert_eq!(joined(set.ranges().collect()), joined(ranges.clone()));
            for number in 0..100 {
                let near = [bits(number).saturating_sub(1), bits(number), bits(number) + 1];
                for value in near.into_iter().filter(|value| *value <= NetworkSet::LAST) {
                    let expected = ranges.iter().any(|(first, last)| (*first..=*last).contains(&value));
                    prop_assert_eq!(set.contains(value), expected, "{}", value);
                }
            }
        }

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

    #[test]
    fn a_block_may_be_of_both_halves_of_ipv6() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let all: IpSet = [(ip("::"), ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))]
            .into_iter()
            .collect();
        for address in [
            "::",
            "::1",
            "2001:db8::1",
            "7fff::",
            "8000::",
            "fe80::1",
            "ffff::",
        ] {
            assert!(all.contains(ip(address)), "{address}");
        }
        assert!(!all.contains(ip("192.0.2.1")));
        let local: IpSet = [(ip("fe80::"), ip("fe80::ffff:ffff:ffff:ffff"))]
            .into_iter()
            .collect();
        assert!(local.contains(ip("fe80::1")) && !local.contains(ip("fe81::1")));
        assert!(!local.contains(ip("7e80::1")));
    }

    #[test]
    fn what_is_excepted_may_be_narrower_than_a_network_or_all_of_it() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let network = (ip("2001:db8::"), ip("2001:db8:0:ffff:ffff:ffff:ffff:ffff"));
        let set: IpSet = [network].into_iter().collect();
        let one: IpSet = [(ip("2001:db8::1"), ip("2001:db8::1"))]
            .into_iter()
            .collect();
        let left = set.without(&one);
        for (address, expected) in [
            ("2001:db8::", true),
            ("2001:db8::1", false),
            ("2001:db8::2", true),
            ("2001:db8:0:ffff::1", true),
        ] {
            assert_eq!(left.contains(ip(address)), expected, "{address}");
        }
        assert!(set.without(&set).is_empty());
        // An exception of an exception is in the set again.
        assert!(set.without(&set.without(&one)).contains(ip("2001:db8::1")));
    }
}
