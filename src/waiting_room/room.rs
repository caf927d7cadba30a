//! Who goes in, and who waits.

use std::time::Duration;

use super::count::Lately;
use super::queue::{LONGEST, Queue};
use super::sessions::Sessions;

/// Over how many seconds the pace of the queue is measured.
const PACE: u64 = 300;

/// In which order clients go in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Who came first.
    #[default]
    Fifo,
    /// By lot among all who wait.
    Random,
    /// All at once; they are only counted.
    Passthrough,
    /// Nobody waits: who finds no place is sent away.
    Reject,
}

/// How many may go in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clients inside at a time.
    pub total_active_users: u64,
    /// Clients that go in within any minute.
    pub new_users_per_minute: u64,
    /// How long a client that is not seen counts as inside.
    pub session_duration: Duration,
    /// Whether each request begins that time anew.
    pub renewal: bool,
    /// In which order they go in.
    pub method: Method,
    /// Nobody goes in for now.
    pub queue_all: bool,
}

/// What a client's cookie says, in seconds since 1970. `instance` is the room that has counted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is inside.
    Inside {
        /// Who has counted it.
        instance: u32,
        /// When it was counted last.
        seen: u64,
    },
    /// It waits.
    Waiting {
        /// Who has counted it.
        instance: u32,
        /// When it came.
        arrived: u64,
        /// When it asked last.
        asked: u64,
    },
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, with a new cookie if there is one.
    Enter(Option<Claim>),
    /// It waits.
    Wait(Wait),
    /// There is no place, and nobody waits here.
    Reject,
}

/// How a client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Its cookie; `None` leaves it the one it has.
    pub ticket: Option<Claim>,
    /// How many go in before it; by lot it is all others.
    pub ahead: u64,
    /// How long that takes at the present pace, in seconds; `None` when nobody knows.
    pub seconds: Option<u64>,
}

/// How full a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Figures {
    /// Clients inside.
    pub active: u64,
    /// Clients that wait.
    pub queued: u64,
    /// Clients that went in during the last minute.
    pub admitted_last_minute: u64,
}

/// A room.
#[derive(Debug)]
pub struct Room {
    /// Tells the cookies of this one, which has counted them, from those of others.
    instance: u32,
    /// The latest time that it was told: clocks that go back change nothing.
    latest: u64,
    sessions: Sessions,
    queue: Queue,
    /// Who went in.
    admitted: Lately,
    /// Who went in after waiting.
    drained: Lately,
    /// Since when somebody has been waiting.
    waiting_since: Option<u64>,
}

impl Room {
    /// An empty room.
    pub fn new(instance: u32, session_duration: Duration) -> Self {
        Self {
            instance,
            latest: 0,
            sessions: Sessions::new(session_duration),
            queue: Queue::default(),
            admitted: Lately::new(60),
            drained: Lately::new(PACE),
            waiting_since: None,
        }
    }

    /// A request comes with what its cookie says, at `now` in seconds since 1970. `chance` is a random
    /// number.
    pub fn ask(&mut self, limits: &Limits, claim: Option<Claim>, now: u64, chance: u64) -> Verdict {
        let now = self.advance(now);
        match claim {
            Some(Claim::Inside { instance, seen }) if self.sessions.lasts(seen, now) => {
                Verdict::Enter(self.seen_again(limits, instance, seen.min(now), now))
            }
            Some(Claim::Waiting {
                instance,
                arrived,
                asked,
            }) if arrived <= asked && asked <= now && now - arrived <= LONGEST => {
                self.asked_again(limits, (instance, arrived, asked), now, chance)
            }
            _ => self.arrives(limits, now, chance),
        }
    }

    /// How full it is.
    pub fn figures(&mut self, now: u64) -> Figures {
        let now = self.advance(now);
        Figures {
            active: self.sessions.total(now),
            queued: self.queue.len(now),
            admitted_last_minute: self.admitted.total(now),
        }
    }

    /// How long the cookie of a client inside is of use, in seconds.
    pub fn session_lifetime(&self) -> u64 {
        self.sessions.lifetime()
    }

    fn advance(&mut self, now: u64) -> u64 {
        self.latest = self.latest.max(now);
        self.queue.advance(self.latest);
        if self.queue.len(self.latest) == 0 {
            self.waiting_since = None;
        }
        self.latest
    }

    /// How many may go in now.
    fn free(&mut self, limits: &Limits, now: u64) -> u64 {
        if limits.queue_all {
            return 0;
        }
        let places = limits
            .total_active_users
            .saturating_sub(self.sessions.total(now));
        let pace = limits
            .new_users_per_minute
            .saturating_sub(self.admitted.total(now));
        places.min(pace)
    }

    /// A client inside is seen again. Gives its new cookie, if it needs one.
    fn seen_again(&mut self, limits: &Limits, instance: u32, seen: u64, now: u64) -> Option<Claim> {
        let counted = instance == self.instance;
        let until = if limits.renewal { now } else { seen };
        if !counted {
            // Another node, or this one before it was restarted, has let it in.
            self.sessions.add(until);
        } else if self.sessions.moment(seen) == self.sessions.moment(until) {
            return None;
        } else {
            self.sessions.renew(seen, until);
        }
        Some(Claim::Inside {
            instance: self.instance,
            seen: until,
        })
    }

    fn arrives(&mut self, limits: &Limits, now: u64, chance: u64) -> Verdict {
        let free = self.free(limits, now);
        let waiting = self.queue.len(now);
        // A free place is for one who waits already.
        let enters = match limits.method {
            Method::Passthrough => !limits.queue_all,
            Method::Reject => free > 0,
            Method::Fifo => waiting < free,
            Method::Random => is_drawn(free, waiting + 1, chance),
        };
        if enters {
            return self.enter(now);
        }
        if limits.method == Method::Reject {
            return Verdict::Reject;
        }
        self.waiting_since.get_or_insert(now);
        self.queue.add(now, now);
        self.wait(limits, now, true, now)
    }

    fn asked_again(
        &mut self,
        limits: &Limits,
        (instance, arrived, asked): (u32, u64, u64),
        now: u64,
        chance: u64,
    ) -> Verdict {
        if instance == self.instance {
            if !Queue::keeps(asked, now) {
                return self.arrives(limits, now, chance);
            }
            if !self.queue.ask(arrived, asked, now) {
                // Somebody has used the place: this client's other request, or a copy of its cookie.
                return self.wait(limits, arrived, false, now);
            }
        } else if Queue::is_present(asked, now) {
            // Another node, or this one before it was restarted, has counted it.
            self.queue.add(arrived, now);
        } else {
            return self.arrives(limits, now, chance);
        }
        let free = self.free(limits, now);
        let enters = match limits.method {
            Method::Passthrough => !limits.queue_all,
            // Those who waited when the method was changed come before who comes now.
            Method::Fifo | Method::Reject => self.queue.before(arrived, now) < free,
            Method::Random => is_drawn(free, self.queue.len(now), chance),
        };
        if enters {
            self.queue.take(arrived);
            self.drained.add(now);
            return self.enter(now);
        }
        self.waiting_since.get_or_insert(now);
        self.wait(limits, arrived, true, now)
    }

    fn enter(&mut self, now: u64) -> Verdict {
        self.sessions.add(now);
        self.admitted.add(now);
        Verdict::Enter(Some(Claim::Inside {
            instance: self.instance,
            seen: now,
        }))
    }

    fn wait(&mut self, limits: &Limits, arrived: u64, counted: bool, now: u64) -> Verdict {
        let ahead = match limits.method {
            Method::Random => self.queue.len(now).saturating_sub(1),
            _ => self.queue.before(arrived, now),
        };
        let ticket = Claim::Waiting {
            instance: self.instance,
            arrived,
            asked: now,
        };
        Verdict::Wait(Wait {
            ticket: counted.then_some(ticket),
            ahead,
            seconds: self.estimate(limits, ahead, now),
        })
    }

    /// How long it takes until as many have gone in, and one more.
    fn estimate(&mut self, limits: &Limits, ahead: u64, now: u64) -> Option<u64> {
        if limits.queue_all {
            return None;
        }
        let drained = self.drained.total(now);
        let waited = now.saturating_sub(self.waiting_since?).clamp(1, PACE);
        if drained == 0 {
            return None;
        }
        let at_pace = (ahead + 1).saturating_mul(waited) / drained;
        let at_most = (ahead + 1).saturating_mul(60) / limits.new_users_per_minute.max(1);
        Some(at_pace.max(at_most))
    }
}

/// Whether one of `waiting` gets one of `free` places.
fn is_drawn(free: u64, waiting: u64, chance: u64) -> bool {
    chance % waiting.max(1) < free
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
