//! Which replica gets the next request: smooth weighted round robin.

/// What selection knows of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Share relative to the others; at least 1.
    pub weight: u16,
    /// How much this request wants to avoid it; the least avoided candidates take turns.
    pub avoid: Avoid,
}

/// Reasons to prefer another replica, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Avoid {
    /// None.
    No,
    /// It refused a connection a moment ago.
    ConnectFailed,
    /// Its health checks fail. With all replicas in this state, one is tried all the same.
    Unhealthy,
    /// This very request was tried on it before.
    Tried,
    /// It has as many requests as it may have. Not even chosen when all are.
    Full,
}

/// The turns taken so far, per replica.
#[derive(Clone, Debug, Default)]
pub(super) struct RoundRobin {
    credit: Vec<i64>,
}

impl RoundRobin {
    /// Picks among the least avoided candidates, in proportion to their weights and evenly spread
    /// over time. `None` without candidates.
    pub(super) fn pick(&mut self, candidates: &[Candidate]) -> Option<usize> {
        if self.credit.len() != candidates.len() {
            self.credit = vec![0; candidates.len()];
        }
        let least = candidates.iter().map(|candidate| candidate.avoid).min()?;
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, (candidate, credit)) in candidates.iter().zip(&mut self.credit).enumerate() {
            if candidate.avoid != least {
                // Not saved up: a replica that comes back must not be flooded.
                *credit = 0;
                continue;
            }
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

    fn turns(candidates: &[Candidate], count: usize) -> Vec<usize> {
        let mut turns = RoundRobin::default();
        (0..count)
            .map(|_| turns.pick(candidates).unwrap())
            .collect()
    }

    fn candidate(weight: u16, avoid: Avoid) -> Candidate {
        Candidate { weight, avoid }
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
        assert_eq!(RoundRobin::default().pick(&[]), None);
    }
}
