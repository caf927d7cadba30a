//! Who waits: numbers by the second of arrival, for each span of time in which the clients asked last.

use std::collections::{BTreeMap, VecDeque};

/// Seconds that count as one moment of asking. Pages ask again after 20 to 30 seconds, so that who is there
/// asked in this one or in the one before.
const PERIOD: u64 = 30;
/// Who has not asked for as many of these has lost the place.
const PERIODS: u64 = 10;
/// No place is kept for longer, so that there are no more numbers than seconds of a day.
pub(super) const LONGEST: u64 = 24 * 60 * 60;

/// How long the cookie of one who waits is of use, in seconds.
pub(super) const KEPT: u64 = PERIOD * PERIODS;

/// Clients that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The latest first.
    periods: VecDeque<(u64, Arrivals)>,
}

/// How many came when.
#[derive(Debug, Default)]
struct Arrivals {
    total: u64,
    by_second: BTreeMap<u64, u64>,
    /// The same by minutes, for quick sums.
    by_minute: BTreeMap<u64, u64>,
}

impl Queue {
    /// Forgets who has not asked for too long.
    pub(super) fn advance(&mut self, now: u64) {
        let period = now / PERIOD;
        if self
            .periods
            .front()
            .is_none_or(|(latest, _)| *latest < period)
        {
            self.periods.push_front((period, Arrivals::default()));
        }
        while let Some((oldest, _)) = self.periods.back() {
            if period.saturating_sub(*oldest) < PERIODS {
                break;
            }
            self.periods.pop_back();
        }
    }

    /// Those who have asked lately.
    fn present(&self, now: u64) -> impl Iterator<Item = &Arrivals> {
        let period = now / PERIOD;
        let recent = move |(asked, _): &&(u64, Arrivals)| period.saturating_sub(*asked) <= 1;
        self.periods
            .iter()
            .take_while(recent)
            .map(|(_, arrivals)| arrivals)
    }

    /// How many wait.
    pub(super) fn len(&self, now: u64) -> u64 {
        self.present(now).map(|arrivals| arrivals.total).sum()
    }

    /// How many of those who wait came in an earlier second.
    pub(super) fn before(&self, arrived: u64, now: u64) -> u64 {
        self.present(now)
            .map(|arrivals| arrivals.before(arrived))
            .sum()
    }

    pub(super) fn add(&mut self, arrived: u64, now: u64) {
        self.advance(now);
        if let Some((_, arrivals)) = self.periods.front_mut() {
            arrivals.add(arrived);
        }
    }

    /// Whether one who came at `arrived` has asked in this period.
    fn has(&self, arrived: u64) -> bool {
        let latest = self.periods.front();
        latest.is_some_and(|(_, arrivals)| arrivals.by_second.contains_key(&arrived))
    }

    /// One who came at `arrived` and asked last at `asked` asks again; whether there is one.
    pub(super) fn ask(&mut self, arrived: u64, asked: u64, now: u64) -> bool {
        self.advance(now);
        let period = asked / PERIOD;
        if period == now / PERIOD {
            return self.has(arrived);
        }
        let mut periods = self.periods.iter_mut();
        let then = periods.find(|(of, _)| *of == period);
        if then.is_some_and(|(_, arrivals)| arrivals.take(arrived)) {
            self.add(arrived, now);
            return true;
        }
        // Two requests of a browser at a time come with the same cookie.
        self.has(arrived)
    }

    /// One who came at `arrived` and has asked in this period waits no longer.
    pub(super) fn take(&mut self, arrived: u64) {
        if let Some((_, arrivals)) = self.periods.front_mut() {
            arrivals.take(arrived);
        }
    }

    /// Whether who asked last at `asked` still has a place.
    pub(super) fn keeps(asked: u64, now: u64) -> bool {
        (now / PERIOD).saturating_sub(asked / PERIOD) < PERIODS
    }

    /// Whether who asked last at `asked` is taken for present.
    pub(super) fn is_present(asked: u64, now: u64) -> bool {
        (now / PERIOD).saturating_sub(asked / PERIOD) <= 1
    }
}

impl Arrivals {
    fn add(&mut self, arrived: u64) {
        *self.by_second.entry(arrived).or_default() += 1;
        *self.by_minute.entry(arrived / 60).or_default() += 1;
        self.total += 1;
    }

    fn take(&mut self, arrived: u64) -> bool {
        if !take_one(&mut self.by_second, arrived) {
            return false;
        }
        take_one(&mut self.by_minute, arrived / 60);
        self.total = self.total.saturating_sub(1);
        true
    }

    fn before(&self, arrived: u64) -> u64 {
        let minute = arrived / 60;
        let minutes = self.by_minute.range(..minute).map(|(_, count)| count);
        let seconds = self.by_second.range(minute * 60..arrived);
        minutes.chain(seconds.map(|(_, count)| count)).sum()
    }
}

fn take_one(counts: &mut BTreeMap<u64, u64>, at: u64) -> bool {
    let Some(count) = counts.get_mut(&at) else {
        return false;
    };
    *count -= 1;
    if *count == 0 {
        counts.remove(&at);
    }
    true
}
