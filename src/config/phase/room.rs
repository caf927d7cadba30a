//! `waiting_rooms`: who waits when more come than the application can take.

use std::time::Duration;

use http::StatusCode;

use super::super::reader::{Located, Section};
use super::super::rule::{RuleFile, RuleKind, read_rules};
use super::super::secret::read_secret;
use super::page::{read_page, read_status};
use crate::rules::Rule;
use crate::rules::phase::{Guards, WaitingRoom};
use crate::waiting_room::{Limits, Method};

const METHODS: &[(&str, Method)] = &[
    ("fifo", Method::Fifo),
    ("random", Method::Random),
    ("passthrough", Method::Passthrough),
    ("reject", Method::Reject),
];
const GUARDS: &[(&str, Guards)] = &[("origin", Guards::Origin), ("all", Guards::All)];
const SESSION: Duration = Duration::from_mins(5);
const LONGEST_SESSION: Duration = Duration::from_hours(24);
const MOST_USERS: u64 = 100_000_000;

pub(super) fn read_waiting_rooms(
    section: &Section<'_>,
    from: RuleFile<'_>,
) -> Vec<Rule<WaitingRoom>> {
    let kind = RuleKind {
        key: "waiting_rooms",
        response: false,
        for_all: true,
        example: "total_active_users = 1000",
    };
    let rooms = read_rules(section, &kind, from, |rule, _| {
        let limits = read_limits(rule);
        let has_page = rule.has("content") || rule.has("file") || rule.has("content_type");
        let page = has_page.then(|| read_page(rule)).flatten();
        Some(WaitingRoom {
            guards: rule
                .word("guards", GUARDS)
                .map_or_else(Guards::default, |guards| guards.value),
            page,
            json_response: rule.boolean("json_response").is_none_or(|json| json.value),
            status: read_status(rule).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            cookie: rule
                .string("cookie")
                .and_then(|name| read_cookie(rule, name)),
            secret: rule
                .string("secret")
                .and_then(|text| read_secret(rule, "secret", text))
                .or_else(|| from.secret.cloned()),
            // Last, so that the other keys are read with a fault in these as well.
            limits: limits?,
        })
    });
    for (index, room) in rooms.iter().enumerate() {
        let earlier = rooms.iter().take(index);
        if earlier.clone().any(|other| other.name == room.name) {
            let message = format!("two waiting rooms have the name \"{}\"", room.name);
            let help = "cookies name the room they are for: give each a `name` of its own";
            let place = section.place_of("waiting_rooms");
            section.reader.fault(place, message, Some(help.to_owned()));
        }
    }
    rooms
}

fn read_limits(rule: &Section<'_>) -> Option<Limits> {
    rule.required("total_active_users", "1000");
    let users = rule.integer("total_active_users", 1..=MOST_USERS);
    let pace = rule.integer("new_users_per_minute", 1..=MOST_USERS);
    let session = rule.duration_of("session_duration", Duration::from_secs(1));
    if let Some(session) = &session
        && session.value > LONGEST_SESSION
    {
        let message = "`session_duration` may be a day at most";
        rule.reader.fault(session.span.clone(), message, None);
    }
    let method = rule.word("queueing_method", METHODS);
    let renewal = rule.boolean("disable_session_renewal");
    let queue_all = rule.boolean("queue_all");
    let users = users?.value;
    Some(Limits {
        total_active_users: users,
        new_users_per_minute: pace.map_or(users, |pace| pace.value),
        session_duration: session.map_or(SESSION, |session| session.value),
        renewal: renewal.is_none_or(|disabled| !disabled.value),
        method: method.map_or_else(Method::default, |method| method.value),
        queue_all: queue_all.is_some_and(|all| all.value),
    })
}

fn read_cookie(rule: &Section<'_>, name: Located<String>) -> Option<String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if !name.value.is_empty() && name.value.bytes().all(legal) {
        return Some(name.value);
    }
    let message = format!("\"{}\" cannot be the name of a cookie", name.value);
    let help = "use letters, digits, `_`, `-` and `.`".to_owned();
    rule.reader.fault(name.span, message, Some(help));
    None
}
