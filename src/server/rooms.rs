//! The waiting rooms of a site, as they run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderValue};
use ring::rand::{SecureRandom, SystemRandom};

use crate::clock;
use crate::config::{Secret, Zone};
use crate::rules::Rule;
use crate::rules::phase::WaitingRoom;
use crate::waiting_room::{COOKIE_PREFIX, Claim, Figures, Limits, Room, Verdict, cookie, read};

/// The rooms of one site, by the ids of their rules.
pub type Rooms = Arc<[OpenRoom]>;

/// A room with its clients.
#[derive(Clone)]
pub struct OpenRoom {
    /// Its name.
    pub name: Arc<str>,
    zone: Arc<str>,
    cookie: Arc<str>,
    /// Whether the cookie is called so over TLS as well.
    named: bool,
    secret: Secret,
    inside: Arc<Inside>,
}

/// What goes on over a reload.
struct Inside {
    room: Mutex<Room>,
    /// For a room without a secret of its own.
    made: Secret,
    limits: Mutex<Limits>,
    admitted: AtomicU64,
    queued: AtomicU64,
    rejected: AtomicU64,
}

/// What happened to clients so far.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Totals {
    /// Who went in.
    pub admitted: u64,
    /// Who had to wait, when they came.
    pub queued: u64,
    /// Who was sent away.
    pub rejected: u64,
}

/// Opens the rooms of `zone`; those that were open stay as they are.
///
/// # Errors
/// When there is no randomness.
pub(super) fn open(zone: &Zone, before: Option<&Rooms>) -> Result<Rooms, String> {
    let rooms = zone.rules.waiting_rooms.rules().iter();
    rooms
        .map(|rule| {
            let mut known = before.into_iter().flat_map(|rooms| rooms.iter());
            let known = known.find(|room| *room.name == *rule.name);
            OpenRoom::of(zone, rule, known)
        })
        .collect()
}

impl OpenRoom {
    fn of(zone: &Zone, rule: &Rule<WaitingRoom>, known: Option<&Self>) -> Result<Self, String> {
        let limits = rule.action.limits;
        // The counts of sessions of another length mean nothing.
        let same =
            known.filter(|known| known.inside.limits().session_duration == limits.session_duration);
        let inside = match same {
            Some(known) => {
                *known.inside.limits() = limits;
                known.inside.clone()
            }
            None => Arc::new(Inside::new(limits)?),
        };
        let plain = rule.name.chars();
        let plain = plain.map(|one| {
            if one.is_ascii_alphanumeric() {
                one
            } else {
                '_'
            }
        });
        let plain: String = plain.collect();
        let named = rule.action.cookie.as_deref();
        Ok(Self {
            name: rule.name.as_str().into(),
            zone: zone.name.as_str().into(),
            cookie: named.map_or_else(
                || format!("{COOKIE_PREFIX}seawall_room_{plain}").into(),
                Into::into,
            ),
            named: named.is_some(),
            secret: rule
                .action
                .secret
                .clone()
                .unwrap_or_else(|| inside.made.clone()),
            inside,
        })
    }

    /// The name of its cookie. In cleartext browsers would not take one with a prefix.
    fn cookie_name(&self, secure: bool) -> &str {
        if secure || self.named {
            return &self.cookie;
        }
        self.cookie
            .strip_prefix(COOKIE_PREFIX)
            .unwrap_or(&self.cookie)
    }

    /// Whether a cookie of this name is its.
    pub fn is_cookie(&self, name: &[u8]) -> bool {
        [true, false]
            .iter()
            .any(|secure| self.cookie_name(*secure).as_bytes() == name)
    }

    /// What the request's cookie says.
    pub fn read(&self, headers: &HeaderMap, secure: bool) -> Option<Claim> {
        let name = self.cookie_name(secure);
        read(headers, name, &self.secret, (&self.zone, &self.name))
    }

    /// A client comes: what becomes of it, and its cookie.
    pub fn ask(
        &self,
        limits: &Limits,
        claim: Option<Claim>,
        secure: bool,
        now: u64,
    ) -> (Verdict, Option<HeaderValue>) {
        let mut room = self.room();
        let verdict = room.ask(limits, claim, now, clock::chance());
        let lifetime = room.session_lifetime();
        drop(room);
        let was_inside = matches!(claim, Some(Claim::Inside { .. }));
        let (told, counter) = match &verdict {
            Verdict::Enter(told) => {
                let new = told.is_some() && !was_inside;
                (told.as_ref(), new.then_some(&self.inside.admitted))
            }
            Verdict::Wait(wait) => {
                let waited = matches!(claim, Some(Claim::Waiting { .. }));
                let ticket = wait.ticket.as_ref();
                (ticket, (!waited).then_some(&self.inside.queued))
            }
            Verdict::Reject => (None, Some(&self.inside.rejected)),
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let name = (self.cookie_name(secure), secure);
        let of = (&*self.zone, &*self.name);
        let cookie = told.and_then(|told| cookie(told, name, &self.secret, of, lifetime));
        (verdict, cookie)
    }

    /// How full it is.
    pub fn figures(&self, now: u64) -> Figures {
        self.room().figures(now)
    }

    /// What happened so far.
    pub fn totals(&self) -> Totals {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            admitted: get(&self.inside.admitted),
            queued: get(&self.inside.queued),
            rejected: get(&self.inside.rejected),
        }
    }

    /// How many may be in it.
    pub fn limits(&self) -> Limits {
        *self.inside.limits()
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.inside
            .room
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn new(limits: Limits) -> Result<Self, String> {
        let mut random = [0; 36];
        let filled = SystemRandom::new().fill(&mut random);
        filled.map_err(|_| "the system has no randomness".to_owned())?;
        let (instance, secret) = random.split_at(4);
        let instance = instance.first_chunk().copied().unwrap_or_default();
        let (first, second) = secret.split_at(16);
        let number = |half: &[u8]| half.first_chunk().copied().map(u128::from_be_bytes);
        let secret = format!(
            "{:032x}{:032x}",
            number(first).unwrap_or_default(),
            number(second).unwrap_or_default()
        );
        Ok(Self {
            room: Mutex::new(Room::new(
                u32::from_be_bytes(instance),
                limits.session_duration,
            )),
            made: Secret::new(secret),
            limits: Mutex::new(limits),
            admitted: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        })
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
