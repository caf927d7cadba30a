//! Rules by address, where ranges overlap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;

/// From each address on, up to the next one, the rule that holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Intervals {
    from: Vec<u128>,
    rules: Vec<Option<usize>>,
}

impl Intervals {
    /// Of `ranges` with their rules. Of several that hold an address the narrowest counts, and of equals the
    /// first rule.
    pub(super) fn new(ranges: Vec<((IpAddr, IpAddr), usize)>) -> Self {
        let ranges = ranges.into_iter();
        let mut ranges: Vec<_> = ranges
            .map(|((first, last), rule)| (position(first), position(last), rule))
            .collect();
        ranges.sort_unstable();
        let ends = ranges.iter().filter_map(|(_, last, _)| last.checked_add(1));
        let mut places: Vec<u128> = ranges
            .iter()
            .map(|(first, ..)| *first)
            .chain(ends)
            .collect();
        places.sort_unstable();
        places.dedup();
        let mut intervals = Self::default();
        let mut coming = ranges.into_iter().peekable();
        // The narrowest on top; what has ended is removed when it gets there.
        let mut open: BinaryHeap<Reverse<(u128, usize, u128)>> = BinaryHeap::new();
        for place in places {
            while let Some((first, last, rule)) = coming.next_if(|(first, ..)| *first == place) {
                open.push(Reverse((last - first, rule, last)));
            }
            while open
                .peek()
                .is_some_and(|Reverse((_, _, last))| *last < place)
            {
                open.pop();
            }
            let rule = open.peek().map(|Reverse((_, rule, _))| *rule);
            if intervals.rules.last() != Some(&rule) {
                intervals.from.push(place);
                intervals.rules.push(rule);
            }
        }
        intervals
    }

    /// The rule for `address`.
    pub(super) fn find(&self, address: IpAddr) -> Option<usize> {
        if self.from.is_empty() {
            return None;
        }
        let position = position(address);
        let after = self.from.partition_point(|from| *from <= position);
        self.rules.get(after.checked_sub(1)?).copied().flatten()
    }
}

/// One order for both families: IPv4 where IPv6 maps it (RFC 4291 §2.5.5.2).
fn position(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_narrowest_range_counts_and_of_equals_the_first_rule(
            ranges in prop::collection::vec((0u32..40, 0u32..12), 0..10),
            value in 0u32..60,
        ) {
            let address = |bits: u32| IpAddr::V4(Ipv4Addr::from_bits(bits));
            let given = ranges.iter().enumerate();
            let intervals = Intervals::new(
                given
                    .clone()
                    .map(|(rule, (first, length))| ((address(*first), address(first + length)), rule))
                    .collect(),
            );
            let holding = given.filter(|(_, (first, length))| (*first..=first + length).contains(&value));
            let expected = holding.min_by_key(|(rule, (_, length))| (*length, *rule));
            prop_assert_eq!(intervals.find(address(value)), expected.map(|(rule, _)| rule));
        }
    }

    #[test]
    fn both_families_and_the_last_address_are_covered() {
        let all = |text: &str| text.parse::<IpAddr>().unwrap();
        let intervals = Intervals::new(vec![
            (
                (all("::"), all("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
                0,
            ),
            ((all("10.0.0.0"), all("10.255.255.255")), 1),
        ]);
        for (address, expected) in [
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0),
            ("2001:db8::1", 0),
            ("10.1.2.3", 1),
            ("11.0.0.0", 0),
        ] {
            assert_eq!(intervals.find(all(address)), Some(expected), "{address}");
        }
    }
}
