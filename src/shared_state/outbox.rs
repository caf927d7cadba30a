//! Purges of this node that others are to be told.
//!
//! An entry stays here until it was read back from the stream: an answer alone does not prove that the
//! server still has it after an accident. What is told twice is merely purged twice.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::time::SystemTime;

use super::record::What;
use crate::purge::Position;
use crate::purge::{Announcement, Mode, Scope};

/// With more scopes than this waiting, others are told that purges were lost, which to them is a purge of
/// everything.
const MOST_SCOPES: usize = 20_000;
/// Invalidations that are told in one entry, so that many unsafe requests make few entries.
const MOST_TOGETHER: usize = 256;

/// What waits to be told.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    items: VecDeque<Item>,
    /// Scopes of all items.
    scopes: usize,
    /// The number of the next item.
    next: u64,
}

#[derive(Debug)]
struct Item {
    number: u64,
    what: What,
    /// Whether more invalidations may be told with it.
    open: bool,
    sent: bool,
    /// Who waits for its position.
    waiter: Option<SyncSender<Position>>,
}

/// Whether all could be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    All,
    /// Too much waited; others will be told that purges were lost.
    Overflowed,
}

impl Outbox {
    /// Adds a purge; `waiter` gets its position once the server has it.
    pub(super) fn push(&mut self, what: What, waiter: Option<SyncSender<Position>>) -> Kept {
        self.add(what, false, waiter)
    }

    /// Adds an invalidation of single keys, to be told with others.
    pub(super) fn push_invalidation(&mut self, scopes: &[Scope], at: SystemTime) -> Kept {
        if let Some(item) = self.items.back_mut()
            && item.open
            && !item.sent
            && let What::Purge(purge) = &mut item.what
            && purge.scopes.len() < MOST_TOGETHER
        {
            for scope in scopes {
                if !purge.scopes.contains(scope) {
                    purge.scopes.push(scope.clone());
                    self.scopes += 1;
                }
            }
            return self.bounded();
        }
        let purge = Announcement {
            at,
            mode: Mode::Hard,
            scopes: scopes.to_vec(),
        };
        self.add(What::Purge(purge), true, None)
    }

    fn add(&mut self, what: What, open: bool, waiter: Option<SyncSender<Position>>) -> Kept {
        self.scopes += weight(&what);
        self.items.push_back(Item {
            number: self.next,
            what,
            open,
            sent: false,
            waiter,
        });
        self.next += 1;
        self.bounded()
    }

    fn bounded(&mut self) -> Kept {
        if self.scopes <= MOST_SCOPES {
            return Kept::All;
        }
        self.items.clear();
        self.scopes = 0;
        self.add(What::Lost, false, None);
        Kept::Overflowed
    }

    /// The first items that are not sent yet, with their numbers.
    pub(super) fn unsent(&self, most: usize) -> Vec<(u64, What)> {
        let unsent = self.items.iter().filter(|item| !item.sent).take(most);
        unsent
            .map(|item| (item.number, item.what.clone()))
            .collect()
    }

    /// How many are not sent yet.
    pub(super) fn waiting(&self) -> usize {
        self.items.iter().filter(|item| !item.sent).count()
    }

    /// Whether something waits that somebody waits for.
    pub(super) fn is_urgent(&self) -> bool {
        self.items.iter().any(|item| !item.sent && !item.open)
    }

    /// Item `number` is about to be sent: nothing is added to it any more.
    pub(super) fn close(&mut self, number: u64) {
        if let Some(item) = self.items.iter_mut().find(|item| item.number == number) {
            item.open = false;
        }
    }

    /// The server has item `number`, at this position.
    pub(super) fn sent(&mut self, number: u64, position: Position) {
        if let Some(item) = self.items.iter_mut().find(|item| item.number == number) {
            item.sent = true;
            item.tell(position);
        }
    }

    /// Item `number` was read back.
    pub(super) fn seen(&mut self, number: u64, position: Position) {
        let index = self.items.iter().position(|item| item.number == number);
        if let Some(mut item) = index.and_then(|index| self.items.remove(index)) {
            self.scopes = self.scopes.saturating_sub(weight(&item.what));
            item.tell(position);
        }
    }

    /// Whatever was not read back is to be sent again.
    pub(super) fn send_again(&mut self) {
        for item in &mut self.items {
            item.sent = false;
        }
    }
}

impl Item {
    fn tell(&mut self, position: Position) {
        if let Some(waiter) = self.waiter.take() {
            // Who has waited too long is gone.
            let _ = waiter.try_send(position);
        }
    }
}

fn weight(what: &What) -> usize {
    match what {
        What::Purge(purge) => purge.scopes.len().max(1),
        What::Begin | What::Lost => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purge::Target;
    use std::sync::mpsc::sync_channel;
    use std::time::UNIX_EPOCH;

    fn scope(name: usize) -> Scope {
        Scope {
            zone: None,
            target: Target::Tag(name.to_string().into()),
        }
    }

    fn purge(scopes: impl IntoIterator<Item = usize>) -> What {
        What::Purge(Announcement {
            at: UNIX_EPOCH,
            mode: Mode::Hard,
            scopes: scopes.into_iter().map(scope).collect(),
        })
    }

    fn at(milliseconds: u64) -> Position {
        Position {
            milliseconds,
            number: 0,
        }
    }

    #[test]
    fn what_was_not_read_back_is_sent_again() {
        let mut outbox = Outbox::default();
        for number in 0..3 {
            outbox.push(purge([number]), None);
        }
        for (number, _) in outbox.unsent(2) {
            outbox.sent(number, at(number));
        }
        assert_eq!(outbox.waiting(), 1);
        outbox.seen(0, at(0));
        outbox.send_again();
        let numbers: Vec<u64> = outbox.unsent(9).iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 2]);
    }

    #[test]
    fn who_waits_is_told_the_position_once() {
        let mut outbox = Outbox::default();
        let (tell, told) = sync_channel(1);
        outbox.push(purge([1]), Some(tell));
        outbox.sent(0, at(7));
        outbox.seen(0, at(7));
        assert_eq!(told.iter().collect::<Vec<_>>(), [at(7)]);
    }

    #[test]
    fn invalidations_are_told_together_and_purges_alone() {
        let mut outbox = Outbox::default();
        outbox.push_invalidation(&[scope(1), scope(2)], UNIX_EPOCH);
        outbox.push_invalidation(&[scope(2), scope(3)], UNIX_EPOCH);
        assert!(!outbox.is_urgent());
        outbox.push(purge([4]), None);
        assert!(outbox.is_urgent());
        outbox.push_invalidation(&[scope(5)], UNIX_EPOCH);
        let unsent: Vec<What> = outbox.unsent(9).into_iter().map(|(_, what)| what).collect();
        assert_eq!(unsent, [purge([1, 2, 3]), purge([4]), purge([5])]);
        // What is on its way is not changed.
        outbox.close(2);
        outbox.push_invalidation(&[scope(6)], UNIX_EPOCH);
        assert_eq!(outbox.waiting(), 4);
    }

    #[test]
    fn when_too_much_waits_others_are_told_that_purges_were_lost() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(purge(0..MOST_SCOPES), None), Kept::All);
        assert_eq!(outbox.push(purge([1]), None), Kept::Overflowed);
        assert_eq!(outbox.push(purge([2]), None), Kept::All);
        let unsent: Vec<What> = outbox.unsent(9).into_iter().map(|(_, what)| what).collect();
        assert_eq!(unsent, [What::Lost, purge([2])]);
        outbox.push_invalidation(&[scope(3)], UNIX_EPOCH);
        for number in 0..MOST_SCOPES {
            outbox.push_invalidation(&[scope(number)], UNIX_EPOCH);
        }
        assert!(outbox.waiting() <= MOST_SCOPES / MOST_TOGETHER + 3);
    }
}
