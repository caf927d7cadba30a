//! Which replica gets the next request, as a function of what is known of each. Random numbers are given.

use crate::config::Balance;

/// What selection knows of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Tells it from the others, today and after a restart.
    pub id: u64,
    /// Share relative to the others; at least 1.
    pub weight: u32,
    /// Requests it has not answered yet.
    pub outstanding: u32,
    /// How much this request wants to avoid it; only the least avoided candidates are asked.
    pub avoid: Avoid,
    /// Of those, the ones with the lowest number.
    pub priority: u8,
    /// Whether it is where this node is.
    pub local: bool,
}

/// Reasons to prefer another replica, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Avoid {
    /// None.
    No,
    /// It refused a connection a moment ago.
    ConnectFailed,
    /// Its health checks fail, or it is ejected. With all replicas in this state, one is tried all the same.
    Unhealthy,
    /// This very request was tried on it before.
    Tried,
    /// It has as many requests as it may have. Not even chosen when all are.
    Full,
}

/// How a pool chooses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy<'a> {
    /// Among those that may be asked.
    pub balance: &'a Balance,
    /// Replicas elsewhere are asked as well when less than this percentage of the local ones can be.
    pub local_percent: u32,
}

/// What differs from request to request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    /// The hash of the value that requests are kept together by.
    pub hash: Option<u64>,
    /// A random number.
    pub chance: u64,
}

/// A choice; `None` without candidates.
pub(super) fn choose(
    candidates: &[Candidate],
    policy: Policy<'_>,
    turns: &mut RoundRobin,
    draw: Draw,
) -> Option<usize> {
    let eligible = eligible(candidates, policy.local_percent);
    match (policy.balance, draw.hash) {
        (Balance::RoundRobin, _) => turns.pick(candidates, &eligible),
        (Balance::Random, _) => at_weight(&eligible, draw.chance).map(|(index, _)| index),
        (Balance::Hash { bound, .. }, Some(hash)) => rendezvous(&eligible, hash, *bound),
        // What has no value need not be kept together with anything.
        (Balance::LeastOutstanding | Balance::Hash { .. }, _) => {
            least_outstanding(eligible, draw.chance)
        }
    }
}

/// With less than `threshold` percent of the replicas healthy that would be asked, the few would be
/// overrun: all of these are asked, whatever their health. Whether that is so.
pub(super) fn relieve(candidates: &mut [Candidate], threshold: u32) -> bool {
    let healthy = |one: &Candidate| one.avoid < Avoid::Unhealthy;
    let lowest = candidates.iter().filter(|one| healthy(one));
    let Some(asked) = lowest.map(|one| one.priority).min() else {
        // None at all: they are alike already.
        return !candidates.is_empty();
    };
    let group = candidates.iter().filter(|one| one.priority == asked);
    let (all, well) = group.fold((0, 0), |(all, well), one| {
        (all + 1, well + u64::from(healthy(one)))
    });
    let panics = well * 100 < all * u64::from(threshold);
    for one in candidates.iter_mut().filter(|_| panics) {
        if one.priority == asked && one.avoid == Avoid::Unhealthy {
            one.avoid = Avoid::No;
        }
    }
    panics
}

type Eligible<'c> = Vec<(usize, &'c Candidate)>;

/// Those among which the method chooses.
fn eligible(candidates: &[Candidate], local_percent: u32) -> Eligible<'_> {
    let Some((least, lowest)) = candidates.iter().map(|one| (one.avoid, one.priority)).min() else {
        return Vec::new();
    };
    let mut eligible: Eligible<'_> = candidates
        .iter()
        .enumerate()
        .filter(|(_, one)| (one.avoid, one.priority) == (least, lowest))
        .collect();
    let here = |one: &Candidate| one.local && one.priority == lowest;
    let all = candidates.iter().filter(|one| here(one)).count();
    let available = eligible.iter().filter(|(_, one)| one.local).count();
    let wanted = u64::from(local_percent) * count(all);
    if available > 0 && count(available) * 100 >= wanted {
        eligible.retain(|(_, one)| one.local);
    }
    eligible
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The candidate that `number` falls on.
fn at_weight<'c>(eligible: &Eligible<'c>, number: u64) -> Option<(usize, &'c Candidate)> {
    let total: u64 = eligible.iter().map(|(_, one)| weight(one)).sum();
    let mut rest = number.checked_rem(total)?;
    eligible.iter().copied().find(|(_, one)| {
        let found = rest < weight(one);
        rest = rest.saturating_sub(weight(one));
        found
    })
}

fn weight(candidate: &Candidate) -> u64 {
    u64::from(candidate.weight.max(1))
}

/// Two by chance, and of these the one with less to do for its weight.
fn least_outstanding(mut eligible: Eligible<'_>, chance: u64) -> Option<usize> {
    let (first, one) = at_weight(&eligible, chance)?;
    eligible.retain(|(index, _)| *index != first);
    let Some((second, other)) = at_weight(&eligible, mix(chance)) else {
        return Some(first);
    };
    let load = |of: &Candidate, by: &Candidate| u64::from(of.outstanding) * weight(by);
    Some(if load(other, one) < load(one, other) {
        second
    } else {
        first
    })
}

/// Weighted rendezvous hashing: each candidate draws a number from the hash, the highest wins. When one
/// leaves, only what it had moves. With a bound, those which have more than their share times so many
/// percent are passed over.
fn rendezvous(eligible: &Eligible<'_>, hash: u64, bound: Option<u32>) -> Option<usize> {
    let mut ranked: Vec<(f64, usize, &Candidate)> = eligible
        .iter()
        .map(|(index, one)| (score(one, hash), *index, *one))
        .collect();
    ranked.sort_by(|one, other| other.0.total_cmp(&one.0));
    let weights: u64 = ranked.iter().map(|(_, _, one)| weight(one)).sum();
    let outstanding = ranked.iter().map(|(_, _, one)| u64::from(one.outstanding));
    let all = outstanding.sum::<u64>() + 1;
    let within = |one: &Candidate| match bound {
        None => true,
        Some(percent) => {
            let most = (u64::from(percent) * all * weight(one)).div_ceil(100 * weights.max(1));
            u64::from(one.outstanding) < most
        }
    };
    let first = ranked.first()?.1;
    let found = ranked.iter().find(|(_, _, one)| within(one));
    Some(found.map_or(first, |(_, index, _)| *index))
}

/// The logarithm makes the weights exact: the candidate with the highest score is one in proportion to
/// its weight.
#[allow(
    clippy::cast_precision_loss,
    reason = "53 bits fit into the mantissa of a double"
)]
fn score(candidate: &Candidate, hash: u64) -> f64 {
    let drawn = mix(hash ^ mix(candidate.id)) >> 11;
    let fraction = (drawn as f64 + 0.5) / (1_u64 << 53) as f64;
    -f64::from(candidate.weight.max(1)) / fraction.ln()
}

/// Spreads the bits of a number (the finalizer of `SplitMix64`).
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The turns taken so far, per replica.
#[derive(Clone, Debug, Default)]
pub(super) struct RoundRobin {
    credit: Vec<i64>,
}

impl RoundRobin {
    /// Picks among the eligible candidates, in proportion to their weights and evenly spread over time.
    fn pick(&mut self, candidates: &[Candidate], eligible: &Eligible<'_>) -> Option<usize> {
        if self.credit.len() != candidates.len() {
            self.credit = vec![0; candidates.len()];
        }
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, credit) in self.credit.iter_mut().enumerate() {
            let Some((_, candidate)) = eligible.iter().find(|(other, _)| *other == index) else {
                // Not saved up: a replica that comes back must not be flooded.
                *credit = 0;
                continue;
            };
            let weight = i64::from(candidate.weight.max(1));
            total += weight;
            *credit += weight;
            if best.is_none_or(|(_, most)| *credit > most) {
                best = Some((index, *credit));
            }
        }
        let (index, _) = best?;
        if let Some(credit) = self.credit.get_mut(index) {
            *credit -= total;
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: Balance = Balance::Hash {
        by: None,
        bound: None,
    };

    fn chosen(balance: &Balance, candidates: &[Candidate], draw: Draw) -> Option<usize> {
        let policy = Policy {
            balance,
            local_percent: 70,
        };
        choose(candidates, policy, &mut RoundRobin::default(), draw)
    }

    fn turns(candidates: &[Candidate], count: usize) -> Vec<usize> {
        let mut turns = RoundRobin::default();
        let policy = Policy {
            balance: &Balance::RoundRobin,
            local_percent: 70,
        };
        let draw = Draw {
            hash: None,
            chance: 0,
        };
        (0..count)
            .map(|_| choose(candidates, policy, &mut turns, draw).unwrap())
            .collect()
    }

    /// How often each of the candidates is chosen, for so many chances or hashes.
    fn shares(balance: &Balance, candidates: &[Candidate], count: u64) -> Vec<usize> {
        let mut shares = vec![0; candidates.len()];
        for number in 0..count {
            let draw = Draw {
                hash: Some(mix(number)),
                chance: mix(number),
            };
            shares[chosen(balance, candidates, draw).unwrap()] += 1;
        }
        shares
    }

    fn candidate(weight: u32, avoid: Avoid) -> Candidate {
        Candidate {
            id: u64::from(weight),
            weight,
            outstanding: 0,
            avoid,
            priority: 0,
            local: false,
        }
    }

    fn numbered(count: u64) -> Vec<Candidate> {
        let one = candidate(1, Avoid::No);
        (0..count).map(|id| Candidate { id, ..one }).collect()
    }

    #[test]
    fn turns_follow_the_weights_and_are_spread() {
        let picked = turns(
            &[
                candidate(5, Avoid::No),
                candidate(1, Avoid::No),
                candidate(1, Avoid::No),
            ],
            7,
        );
        assert_eq!(picked, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn avoided_replicas_get_nothing_while_another_is_left() {
        let picked = turns(
            &[candidate(9, Avoid::Unhealthy), candidate(1, Avoid::No)],
            3,
        );
        assert_eq!(picked, [1, 1, 1]);
        let picked = turns(
            &[candidate(1, Avoid::Tried), candidate(1, Avoid::Unhealthy)],
            2,
        );
        assert_eq!(picked, [1, 1]);
    }

    #[test]
    fn with_all_replicas_down_one_is_tried_anyway() {
        let picked = turns(
            &[
                candidate(1, Avoid::Unhealthy),
                candidate(1, Avoid::Unhealthy),
            ],
            4,
        );
        assert_eq!(picked, [0, 1, 0, 1]);
        let draw = Draw {
            hash: Some(1),
            chance: 1,
        };
        for balance in [
            Balance::LeastOutstanding,
            Balance::RoundRobin,
            Balance::Random,
            HASH,
        ] {
            assert_eq!(chosen(&balance, &[], draw), None);
        }
    }

    #[test]
    fn chance_and_hash_follow_the_weights() {
        let candidates = [candidate(3, Avoid::No), candidate(1, Avoid::No)];
        for balance in [Balance::Random, HASH] {
            let shares = shares(&balance, &candidates, 10_000);
            assert!(
                (7_300..7_700).contains(&shares[0]),
                "{balance:?} {shares:?}"
            );
        }
    }

    #[test]
    fn of_two_the_one_with_less_to_do_for_its_weight_is_asked() {
        let mut candidates = [candidate(2, Avoid::No), candidate(1, Avoid::No)];
        candidates[0].outstanding = 3;
        candidates[1].outstanding = 1;
        assert_eq!(
            shares(&Balance::LeastOutstanding, &candidates, 100),
            [0, 100]
        );
        candidates[1].outstanding = 2;
        assert_eq!(
            shares(&Balance::LeastOutstanding, &candidates, 100),
            [100, 0]
        );
    }

    #[test]
    fn backups_are_asked_when_nothing_before_them_is_available() {
        let mut candidates = [candidate(1, Avoid::No), candidate(9, Avoid::No)];
        candidates[1].priority = 1;
        assert_eq!(shares(&Balance::Random, &candidates, 50), [50, 0]);
        candidates[0].avoid = Avoid::Unhealthy;
        assert_eq!(shares(&Balance::Random, &candidates, 50), [0, 50]);
        candidates[1].avoid = Avoid::Unhealthy;
        assert_eq!(shares(&Balance::Random, &candidates, 50), [50, 0]);
    }

    #[test]
    fn with_too_few_healthy_ones_all_are_asked() {
        let mut candidates = numbered(4);
        for one in &mut candidates[..3] {
            one.avoid = Avoid::Unhealthy;
        }
        let mut relieved = candidates.clone();
        assert!(!relieve(&mut relieved, 25));
        assert_eq!(relieved, candidates);
        assert!(relieve(&mut relieved, 26));
        assert_eq!(relieved, numbered(4));
        // A backup is better than that.
        candidates[3].priority = 1;
        let mut relieved = candidates.clone();
        assert!(!relieve(&mut relieved, 90));
        assert_eq!(relieved, candidates);
    }

    #[test]
    fn local_replicas_are_asked_while_enough_of_them_can_be() {
        let mut candidates = numbered(6);
        for one in &mut candidates[..4] {
            one.local = true;
        }
        candidates[0].avoid = Avoid::Unhealthy;
        let three_of_four = shares(&Balance::Random, &candidates, 100);
        assert_eq!(three_of_four[4..], [0, 0]);
        candidates[1].avoid = Avoid::Unhealthy;
        let half = shares(&Balance::Random, &candidates, 100);
        assert!(half[2..].iter().all(|share| *share > 0), "{half:?}");
    }

    #[test]
    fn when_a_replica_leaves_only_its_keys_move() {
        let before = numbered(5);
        let mut after = before.clone();
        after[2].avoid = Avoid::Unhealthy;
        for number in 0..1000 {
            let draw = Draw {
                hash: Some(number),
                chance: 0,
            };
            let was = chosen(&HASH, &before, draw).unwrap();
            let is = chosen(&HASH, &after, draw).unwrap();
            assert!(was == is || was == 2, "{number}: {was} to {is}");
        }
    }

    #[test]
    fn a_replica_above_the_bound_passes_keys_on() {
        let bounded = Balance::Hash {
            by: None,
            bound: Some(150),
        };
        let mut candidates = numbered(3);
        let draw = Draw {
            hash: Some(7),
            chance: 0,
        };
        let home = chosen(&bounded, &candidates, draw).unwrap();
        candidates[home].outstanding = 2;
        let other = chosen(&bounded, &candidates, draw).unwrap();
        assert_ne!(other, home);
        // Everybody has as much to do: it is at home again.
        for one in &mut candidates {
            one.outstanding = 2;
        }
        assert_eq!(chosen(&bounded, &candidates, draw), Some(home));
    }

    #[test]
    fn without_a_value_a_hash_is_the_least_outstanding() {
        let mut candidates = [candidate(1, Avoid::No), candidate(1, Avoid::No)];
        candidates[0].outstanding = 1;
        let draw = Draw {
            hash: None,
            chance: 0,
        };
        assert_eq!(chosen(&HASH, &candidates, draw), Some(1));
    }

    proptest::proptest! {
        #[test]
        fn only_the_least_avoided_of_the_first_priority_are_chosen(
            rows in proptest::collection::vec(
                (1_u32..500, 0_u32..9, 0_usize..4, 0_u8..3, proptest::bool::ANY),
                1..9,
            ),
            hash: u64,
            chance: u64,
        ) {
            let avoid = [Avoid::No, Avoid::ConnectFailed, Avoid::Unhealthy, Avoid::Tried];
            let candidates: Vec<Candidate> = rows
                .iter()
                .zip(0..)
                .map(|(&(weight, outstanding, reason, priority, local), id)| Candidate {
                    id,
                    weight,
                    outstanding,
                    avoid: avoid[reason],
                    priority,
                    local,
                })
                .collect();
            let draw = Draw { hash: Some(hash), chance };
            let bounded = Balance::Hash { by: None, bound: Some(125) };
            for balance in [Balance::LeastOutstanding, Balance::RoundRobin, Balance::Random, HASH, bounded] {
                let chosen = candidates[chosen(&balance, &candidates, draw).unwrap()];
                let best = candidates.iter().map(|one| (one.avoid, one.priority)).min().unwrap();
                proptest::prop_assert_eq!((chosen.avoid, chosen.priority), best);
            }
        }
    }
}
