//! Who may ask a pool now, who waits, and who is sent away: a bounded queue, fair between priorities.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::{QueueOrder, QueueSettings};
use crate::rules::phase::Priority;

/// Once the queue has not been empty for so long, the pool counts as overloaded.
const STANDING: Duration = Duration::from_millis(100);

/// The priorities that wait, the highest first, and how many turns each gets while all wait.
const CLASSES: [(Priority, i64); 3] = [
    (Priority::High, 6),
    (Priority::Normal, 3),
    (Priority::Low, 1),
];

pub(super) type Ticket = u64;

/// What becomes of a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It may be sent.
    Granted,
    /// It waits, in place of that one if any.
    Waits(Ticket, Option<Ticket>),
    /// The queue is full of what matters as much.
    Refused,
}

/// The places at a pool and the queue for them.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) outstanding: usize,
    classes: [Class; CLASSES.len()],
    tickets: Ticket,
    /// Since when somebody has been waiting all the time.
    standing_since: Option<Duration>,
    /// About how long a place takes to come free, in seconds.
    pace: Option<f64>,
    /// When a place came free the last time while somebody waited.
    freed: Option<Duration>,
}

#[derive(Debug, Default)]
struct Class {
    waiting: VecDeque<Ticket>,
    credit: i64,
}

impl Line {
    pub(super) fn waiting(&self) -> usize {
        self.classes.iter().map(|class| class.waiting.len()).sum()
    }

    pub(super) fn arrive(
        &mut self,
        limit: usize,
        settings: &QueueSettings,
        priority: Priority,
        now: Duration,
    ) -> Arrival {
        let waiting = self.waiting();
        if waiting == 0 && self.outstanding < limit {
            self.outstanding += 1;
            return Arrival::Granted;
        }
        let Some(own) = CLASSES.iter().position(|(class, _)| *class == priority) else {
            return Arrival::Refused;
        };
        let mut displaced = None;
        if waiting >= settings.length {
            // Who came last of those that matter less.
            let mut lower = self.classes.iter_mut().skip(own + 1).rev();
            displaced = lower.find_map(|class| class.waiting.pop_back());
            if displaced.is_none() {
                return Arrival::Refused;
            }
        }
        self.tickets += 1;
        if let Some(class) = self.classes.get_mut(own) {
            class.waiting.push_back(self.tickets);
        }
        self.standing_since.get_or_insert(now);
        Arrival::Waits(self.tickets, displaced)
    }

    /// Somebody does not wait any more.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        for class in &mut self.classes {
            class.waiting.retain(|waiting| *waiting != ticket);
        }
        self.settle();
    }

    /// A place came free.
    pub(super) fn release(&mut self, now: Duration) {
        self.outstanding = self.outstanding.saturating_sub(1);
        if self.waiting() == 0 {
            self.freed = None;
            return;
        }
        if let Some(before) = self.freed.replace(now) {
            let took = now.saturating_sub(before).as_secs_f64();
            let pace = self.pace.unwrap_or(took);
            self.pace = Some(pace + (took - pace) / 16.0);
        }
    }

    /// Who gets a place, if there is one.
    pub(super) fn next(
        &mut self,
        limit: usize,
        settings: &QueueSettings,
        now: Duration,
    ) -> Option<Ticket> {
        if self.outstanding >= limit {
            return None;
        }
        let newest_first = settings.order == QueueOrder::AdaptiveLifo && self.is_standing(now);
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, (class, (_, weight))) in self.classes.iter_mut().zip(CLASSES).enumerate() {
            if class.waiting.is_empty() {
                // Not saved up.
                class.credit = 0;
                continue;
            }
            total += weight;
            class.credit += weight;
            if best.is_none_or(|(_, most)| class.credit > most) {
                best = Some((index, class.credit));
            }
        }
        let class = self.classes.get_mut(best?.0)?;
        class.credit -= total;
        let ticket = if newest_first {
            class.waiting.pop_back()
        } else {
            class.waiting.pop_front()
        };
        self.outstanding += 1;
        self.settle();
        ticket
    }

    fn settle(&mut self) {
        if self.waiting() == 0 {
            self.standing_since = None;
        }
    }

    pub(super) fn is_standing(&self, now: Duration) -> bool {
        self.standing_since
            .is_some_and(|since| now.saturating_sub(since) >= STANDING)
    }

    /// How long the queue as it is takes to be served; nothing without a queue.
    pub(super) fn drained_after(&self) -> Option<Duration> {
        let waiting = u32::try_from(self.waiting()).unwrap_or(u32::MAX);
        let seconds = f64::from(waiting) * self.pace?;
        (waiting > 0).then(|| Duration::from_secs_f64(seconds.clamp(0.0, 300.0)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use proptest::prelude::*;

    const SETTINGS: QueueSettings = QueueSettings {
        length: 100,
        order: QueueOrder::Fifo,
    };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn waits(line: &mut Line, settings: &QueueSettings, priority: Priority) -> Ticket {
        match line.arrive(0, settings, priority, at(0)) {
            Arrival::Waits(ticket, None) => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn those_that_matter_more_get_more_turns_and_nobody_is_forgotten() {
        let mut line = Line::default();
        let mut priorities = HashMap::new();
        for priority in [Priority::Low, Priority::Normal, Priority::High] {
            for _ in 0..30 {
                priorities.insert(waits(&mut line, &SETTINGS, priority), priority);
            }
        }
        let mut turns = HashMap::new();
        for _ in 0..30 {
            let ticket = line.next(1, &SETTINGS, at(0)).unwrap();
            *turns.entry(priorities[&ticket].as_str()).or_insert(0) += 1;
            line.release(at(0));
        }
        assert_eq!((turns["high"], turns["normal"], turns["low"]), (18, 9, 3));
    }

    #[test]
    fn a_full_queue_sheds_the_last_of_what_matters_least() {
        let settings = QueueSettings {
            length: 3,
            ..SETTINGS
        };
        let mut line = Line::default();
        let normal = waits(&mut line, &settings, Priority::Normal);
        waits(&mut line, &settings, Priority::Low);
        let low = waits(&mut line, &settings, Priority::Low);
        let arrive = |line: &mut Line, priority| line.arrive(0, &settings, priority, at(0));
        assert_eq!(arrive(&mut line, Priority::Low), Arrival::Refused);
        let Arrival::Waits(_, Some(displaced)) = arrive(&mut line, Priority::High) else {
            panic!("high is let in");
        };
        assert_eq!(displaced, low);
        assert!(matches!(
            arrive(&mut line, Priority::High),
            Arrival::Waits(_, Some(_))
        ));
        let Arrival::Waits(_, displaced) = arrive(&mut line, Priority::High) else {
            panic!("high is let in");
        };
        assert_eq!(displaced, Some(normal));
        assert_eq!(arrive(&mut line, Priority::High), Arrival::Refused);
    }

    #[test]
    fn what_nobody_waits_for_does_not_wait() {
        let mut line = Line::default();
        let arrive = |line: &mut Line| line.arrive(1, &SETTINGS, Priority::Background, at(0));
        assert_eq!(arrive(&mut line), Arrival::Granted);
        assert_eq!(arrive(&mut line), Arrival::Refused);
    }

    #[test]
    fn adaptive_order_serves_the_newest_once_the_queue_stands() {
        let settings = QueueSettings {
            order: QueueOrder::AdaptiveLifo,
            ..SETTINGS
        };
        let mut line = Line::default();
        let tickets: Vec<_> = (0..4)
            .map(|_| waits(&mut line, &settings, Priority::Normal))
            .collect();
        assert_eq!(line.next(1, &settings, at(10)), Some(tickets[0]));
        line.release(at(200));
        assert_eq!(line.next(1, &settings, at(200)), Some(tickets[3]));
        line.release(at(300));
        assert_eq!(line.next(1, &settings, at(300)), Some(tickets[2]));
    }

    #[test]
    fn the_time_until_it_is_served_follows_the_pace() {
        let mut line = Line::default();
        for _ in 0..60 {
            waits(&mut line, &SETTINGS, Priority::Normal);
        }
        assert_eq!(line.drained_after(), None);
        for turn in 0..30 {
            line.next(1, &SETTINGS, at(turn * 500));
            line.release(at(turn * 500));
        }
        let after = line.drained_after().unwrap();
        assert!((14.0..16.0).contains(&after.as_secs_f64()), "{after:?}");
    }

    proptest! {
        #[test]
        fn places_are_never_given_twice_and_never_lost(
            steps in proptest::collection::vec((0..4_u8, 0..4_usize), 1..300),
        ) {
            let settings = QueueSettings { length: 5, ..SETTINGS };
            let mut line = Line::default();
            let (mut out, mut waiting, mut limit) = (0_usize, Vec::new(), 3);
            for (now, (step, value)) in steps.into_iter().enumerate() {
                let now = at(u64::try_from(now).unwrap());
                match step {
                    0 => {
                        let priority = [
                            Priority::Background, Priority::Low, Priority::Normal, Priority::High,
                        ][value];
                        match line.arrive(limit, &settings, priority, now) {
                            Arrival::Granted => out += 1,
                            Arrival::Waits(ticket, displaced) => {
                                waiting.retain(|waiting| Some(*waiting) != displaced);
                                waiting.push(ticket);
                            }
                            Arrival::Refused => {}
                        }
                    }
                    1 if out > 0 => {
                        out -= 1;
                        line.release(now);
                    }
                    2 if !waiting.is_empty() => {
                        let ticket = waiting.remove(value % waiting.len());
                        line.leave(ticket);
                    }
                    3 => limit = value + 1,
                    _ => {}
                }
                while let Some(ticket) = line.next(limit, &settings, now) {
                    prop_assert!(waiting.contains(&ticket));
                    waiting.retain(|waiting| *waiting != ticket);
                    out += 1;
                    prop_assert!(out <= limit);
                }
                prop_assert_eq!(line.outstanding, out);
                prop_assert_eq!(line.waiting(), waiting.len());
                prop_assert!(line.waiting() <= settings.length);
                prop_assert!(waiting.is_empty() || out >= limit);
            }
        }
    }
}
