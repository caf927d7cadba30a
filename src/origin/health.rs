//! Health of one replica as a function of its checks.

/// Whether a replica is in service, and how far the checks point the other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Health {
    /// In service.
    pub healthy: bool,
    /// Checks in a row that contradict `healthy`.
    contrary: u32,
}

/// A replica entered or left service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// `rise` successes in a row.
    Recovered,
    /// `fall` failures in a row.
    Failed,
}

impl Default for Health {
    /// New replicas are in service: without a check yet, an assumption has to be made, and the
    /// other one would refuse every request after a start.
    fn default() -> Self {
        Self {
            healthy: true,
            contrary: 0,
        }
    }
}

impl Health {
    /// Takes a check's outcome into account.
    pub(super) fn record(self, success: bool, rise: u32, fall: u32) -> (Self, Option<Transition>) {
        if success == self.healthy {
            return (
                Self {
                    contrary: 0,
                    ..self
                },
                None,
            );
        }
        let contrary = self.contrary.saturating_add(1);
        let needed = if success { rise } else { fall };
        if contrary < needed {
            return (Self { contrary, ..self }, None);
        }
        let transition = if success {
            Transition::Recovered
        } else {
            Transition::Failed
        };
        (
            Self {
                healthy: success,
                contrary: 0,
            },
            Some(transition),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_falls_and_rises_only_after_enough_checks_in_a_row() {
        let mut health = Health::default();
        let mut seen = Vec::new();
        for success in [
            false, false, true, false, false, false, true, false, true, true,
        ] {
            let (next, transition) = health.record(success, 2, 3);
            health = next;
            seen.push(transition);
        }
        let mut expected = vec![None; 10];
        expected[5] = Some(Transition::Failed);
        expected[9] = Some(Transition::Recovered);
        assert_eq!(seen, expected);
        assert!(health.healthy);
    }
}
