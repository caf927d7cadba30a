//! Findings about waiting rooms.

use super::codes::FORGETFUL_ROOM;
use super::finding::Findings;
use super::written::Place;
use crate::rules::phase::Phases;

pub(super) fn check(phases: &Phases, found: &mut Findings) {
    for rule in phases.waiting_rooms.rules() {
        if rule.action.secret.is_none() {
            let name = &rule.name;
            let message = format!("the waiting room \"{name}\" has no secret");
            found.add(
                FORGETFUL_ROOM,
                &Place::of(rule),
                "total_active_users",
                message,
                None,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, rules};

    #[test]
    fn a_room_without_a_secret_forgets_who_waits() {
        let room = |more: &str| {
            let room = format!("name = \"sale\"\ntotal_active_users = 10\n{more}");
            codes(&rules("waiting_rooms", &[&room]))
        };
        assert_eq!(room(""), ["forgetful-waiting-room"]);
        assert_eq!(room("secret = \"0123456789abcdef\""), [""; 0]);
        let meant = "lint_allow = [\"forgetful-waiting-room\"]";
        assert_eq!(room(meant), [""; 0]);
    }
}
