use super::*;

const LIMITS: Limits = Limits {
    total_active_users: 2,
    new_users_per_minute: 1000,
    session_duration: Duration::from_mins(5),
    renewal: true,
    method: Method::Fifo,
    queue_all: false,
};
const NOW: u64 = 1_800_000_000;

fn room() -> Room {
    Room::new(7, LIMITS.session_duration)
}

fn ticket(verdict: Verdict) -> Claim {
    match verdict {
        Verdict::Wait(wait) => wait.ticket.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn pass(verdict: Verdict) -> Claim {
    match verdict {
        Verdict::Enter(Some(pass)) => pass,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_comes_when_it_is_full_waits_until_a_session_ends() {
    let mut room = room();
    pass(room.ask(&LIMITS, None, NOW, 0));
    pass(room.ask(&LIMITS, None, NOW, 0));
    let mut waiting = ticket(room.ask(&LIMITS, None, NOW, 0));
    let mut entered = None;
    for now in (NOW + 25..NOW + 400).step_by(25) {
        match room.ask(&LIMITS, Some(waiting), now, 0) {
            Verdict::Wait(wait) => waiting = wait.ticket.unwrap(),
            Verdict::Enter(Some(_)) => {
                entered = Some(now - NOW);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    // Five minutes, and what the measure of time adds.
    let entered = entered.unwrap();
    assert!((301..=360).contains(&entered), "{entered}");
}

#[test]
fn who_is_inside_stays_as_long_as_it_is_seen() {
    let mut room = room();
    let mut inside = pass(room.ask(&LIMITS, None, NOW, 0));
    for now in (NOW..NOW + 3000).step_by(200) {
        match room.ask(&LIMITS, Some(inside), now, 0) {
            Verdict::Enter(Some(renewed)) => inside = renewed,
            Verdict::Enter(None) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(room.figures(now).active, 1);
    }
    assert_eq!(room.figures(NOW + 3400).active, 0);
}

#[test]
fn without_renewal_a_session_ends_in_spite_of_use() {
    let limits = Limits {
        renewal: false,
        total_active_users: 1,
        ..LIMITS
    };
    let mut room = room();
    let inside = pass(room.ask(&limits, None, NOW, 0));
    let again = room.ask(&limits, Some(inside), NOW + 200, 0);
    assert_eq!(again, Verdict::Enter(None));
    assert_eq!(room.figures(NOW + 400).active, 0);
    pass(room.ask(&limits, Some(inside), NOW + 400, 0));
}

#[test]
fn a_copied_ticket_brings_in_one_client() {
    let mut room = room();
    let limits = Limits {
        total_active_users: 1,
        ..LIMITS
    };
    pass(room.ask(&limits, None, NOW, 0));
    let waiting = ticket(room.ask(&limits, None, NOW, 0));
    let limits = Limits {
        total_active_users: 100,
        ..limits
    };
    pass(room.ask(&limits, Some(waiting), NOW + 1, 0));
    for _ in 0..10 {
        let copy = room.ask(&limits, Some(waiting), NOW + 1, 0);
        assert!(
            matches!(copy, Verdict::Wait(Wait { ticket: None, .. })),
            "{copy:?}"
        );
    }
    assert_eq!(room.figures(NOW + 1).active, 2);
}

#[test]
fn a_copied_pass_counts_once() {
    let mut room = room();
    let inside = pass(room.ask(&LIMITS, None, NOW, 0));
    for _ in 0..10 {
        room.ask(&LIMITS, Some(inside), NOW + 90, 0);
    }
    assert_eq!(room.figures(NOW + 90).active, 1);
}

#[test]
fn who_does_not_ask_any_more_holds_nobody_up_and_keeps_the_place_for_minutes() {
    let one = Limits {
        total_active_users: 1,
        ..LIMITS
    };
    let two = Limits {
        total_active_users: 2,
        ..LIMITS
    };
    let mut room = room();
    pass(room.ask(&one, None, NOW, 0));
    let away = ticket(room.ask(&one, None, NOW, 0));
    let late = ticket(room.ask(&one, None, NOW + 70, 0));
    // The first one has not asked for more than a minute: the place is the second's.
    assert_eq!(room.figures(NOW + 70).queued, 1);
    // Back again, it is before the second.
    ticket(room.ask(&one, Some(away), NOW + 80, 0));
    assert!(matches!(
        room.ask(&two, Some(late), NOW + 90, 0),
        Verdict::Wait(Wait { ahead: 1, .. })
    ));
    // After five minutes it has lost its place.
    let closed = Limits {
        queue_all: true,
        ..one
    };
    let wait = room.ask(&closed, Some(away), NOW + 400, 0);
    assert_eq!(
        ticket(wait),
        Claim::Waiting {
            instance: 7,
            arrived: NOW + 400,
            asked: NOW + 400
        }
    );
}

#[test]
fn a_cookie_of_a_restarted_room_keeps_place_and_session() {
    let mut room = room();
    let limits = Limits {
        total_active_users: 1,
        ..LIMITS
    };
    let inside = Claim::Inside {
        instance: 1,
        seen: NOW - 100,
    };
    pass(room.ask(&limits, Some(inside), NOW, 0));
    let newcomer = ticket(room.ask(&limits, None, NOW, 0));
    let old = Claim::Waiting {
        instance: 1,
        arrived: NOW - 500,
        asked: NOW - 20,
    };
    ticket(room.ask(&limits, Some(old), NOW, 0));
    let Verdict::Wait(wait) = room.ask(&limits, Some(newcomer), NOW + 1, 0) else {
        panic!("no place was free");
    };
    assert_eq!(wait.ahead, 1);
}

#[test]
fn methods_other_than_the_queue() {
    let with = |method, queue_all| Limits {
        method,
        queue_all,
        total_active_users: 1,
        ..LIMITS
    };
    let mut room = room();
    pass(room.ask(&with(Method::Reject, false), None, NOW, 0));
    assert_eq!(
        room.ask(&with(Method::Reject, false), None, NOW, 0),
        Verdict::Reject
    );
    pass(room.ask(&with(Method::Passthrough, false), None, NOW, 0));
    ticket(room.ask(&with(Method::Passthrough, true), None, NOW, 0));
    let mut empty = Room::new(7, LIMITS.session_duration);
    let random = with(Method::Random, false);
    let first = ticket(empty.ask(&with(Method::Random, true), None, NOW, 0));
    ticket(empty.ask(&with(Method::Random, true), None, NOW, 0));
    // One place for two: the lot decides.
    ticket(empty.ask(&random, Some(first), NOW, 1));
    pass(empty.ask(&random, Some(first), NOW, 2));
}

/// A client of the simulation.
struct Visitor {
    came: u64,
    claim: Option<Claim>,
    asks_at: u64,
    leaves_at: u64,
    inside: bool,
}

/// A crowd that comes, waits, gives up, forges and leaves: the order holds and the caps are never exceeded.
#[test]
fn in_a_crowd_the_order_holds_and_caps_are_never_exceeded() {
    for seed in 1..=20 {
        crowd(seed);
    }
}

fn crowd(seed: u64) {
    let limits = Limits {
        total_active_users: 40,
        new_users_per_minute: 15,
        session_duration: Duration::from_mins(1),
        ..LIMITS
    };
    let mut state = seed;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let mut room = Room::new(7, limits.session_duration);
    let mut visitors: Vec<Visitor> = Vec::new();
    let mut entries: Vec<u64> = Vec::new();
    for now in NOW..NOW + 1200 {
        if random(3) == 0 {
            visitors.push(Visitor {
                came: now,
                claim: None,
                asks_at: now,
                leaves_at: now + 30 + random(900),
                inside: false,
            });
        }
        visitors.retain(|visitor| visitor.leaves_at > now);
        for index in 0..visitors.len() {
            if visitors[index].asks_at > now {
                continue;
            }
            let visitor = &visitors[index];
            let (came, was_inside, claim) = (visitor.came, visitor.inside, visitor.claim);
            let verdict = room.ask(&limits, claim, now, random(1000));
            match verdict {
                Verdict::Enter(cookie) => {
                    if !was_inside {
                        entries.push(now);
                        let earlier = visitors
                            .iter()
                            .filter(|one| !one.inside && one.came < came && one.claim.is_some());
                        let ahead = earlier.count() as u64;
                        let active = room.figures(now).active;
                        // There is a place for each of those who came before.
                        assert!(active + ahead <= 40, "{seed}: {active} and {ahead} ahead");
                    }
                    visitors[index].inside = true;
                    visitors[index].claim = cookie.or(claim);
                    visitors[index].asks_at = now + 1 + random(50);
                }
                Verdict::Wait(wait) => {
                    assert!(!was_inside, "{seed}: put out");
                    visitors[index].claim = wait.ticket.or(claim);
                    visitors[index].asks_at = now + 20 + random(10);
                }
                Verdict::Reject => panic!("rejected"),
            }
            assert!(room.figures(now).active <= 40);
        }
    }
    assert!(entries.len() > 100, "{}", entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let within = entries[index..].iter().take_while(|one| **one < entry + 60);
        assert!(within.count() <= 15);
    }
}
