//! What was redeemed, so that it is not redeemed again.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Most that are remembered of a kind. Beyond that the oldest are forgotten: who redeems so many can make
/// the first count again, and gains what a copy of a clearance gives as well.
const MOST: usize = 1 << 17;

/// Everything redeemed that has not expired by itself. Tickets cost nothing, so they have a memory of their
/// own: no number of them makes a solved puzzle forgotten.
#[derive(Debug, Default)]
pub struct Spent {
    puzzles: Mutex<Memory>,
    tickets: Mutex<Memory>,
}

impl Spent {
    /// Redeems a puzzle that expires at `until`; `false` when it was redeemed before.
    pub fn puzzle(&self, id: u64, until: i64, now: i64) -> bool {
        redeem(&self.puzzles, id, until, now)
    }

    /// Redeems a ticket that expires at `until`; `false` when it was redeemed before.
    pub fn ticket(&self, id: u64, until: i64, now: i64) -> bool {
        redeem(&self.tickets, id, until, now)
    }
}

fn redeem(memory: &Mutex<Memory>, id: u64, until: i64, now: i64) -> bool {
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    memory.redeem(id, until, now, MOST)
}

#[derive(Debug, Default)]
struct Memory {
    known: HashSet<u64>,
    /// In the order in which they were redeemed.
    order: VecDeque<(u64, i64)>,
}

impl Memory {
    fn redeem(&mut self, id: u64, until: i64, now: i64, most: usize) -> bool {
        while self.order.front().is_some_and(|(_, until)| *until < now) {
            self.forget();
        }
        if !self.known.insert(id) {
            return false;
        }
        if self.order.len() >= most {
            self.forget();
        }
        self.order.push_back((id, until));
        true
    }

    fn forget(&mut self) {
        if let Some((id, _)) = self.order.pop_front() {
            self.known.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_redeemed_once_while_it_lasts() {
        let spent = Spent::default();
        assert!(spent.puzzle(1, 300, 0));
        assert!(!spent.puzzle(1, 300, 300));
        assert!(spent.ticket(1, 300, 0));
        assert!(spent.puzzle(2, 301, 1));
        // Expired, and so forgotten: nobody asks for it any more.
        assert!(spent.puzzle(3, 700, 400));
        assert_eq!(spent.puzzles.lock().unwrap().order.len(), 1);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut memory = Memory::default();
        for id in 0..10_000 {
            assert!(memory.redeem(id, 300, 0, 100));
        }
        assert_eq!((memory.known.len(), memory.order.len()), (100, 100));
        assert!(!memory.redeem(9_999, 300, 0, 100));
        assert!(!memory.redeem(9_900, 300, 0, 100));
        assert!(memory.redeem(9_000, 300, 0, 100));
    }
}
