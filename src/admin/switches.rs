//! `POST /zones/NAME/development_mode` and `/zones/NAME/under_attack`: change what a zone does for a while.

use http::{Method, Response, StatusCode};
use pingora_core::protocols::http::ServerSession;
use serde::{Deserialize, Serialize};

use super::purge::{Failure, client, failed, read_body, render};
use super::{audit, plain};
use crate::clock;
use crate::purge::access::token;
use crate::server::{Shared, ZoneSwitch};

/// A month: what is meant to last belongs into the configuration.
const MOST_SECONDS: u64 = 30 * 24 * 60 * 60;

/// What an operator can switch.
pub(super) struct Kind {
    /// As paths have it.
    name: &'static str,
    /// How long it is on unless the operator says.
    seconds: u64,
    usage: &'static str,
    /// The key for what is meant to last.
    key: &'static str,
    of: fn(&Shared) -> &ZoneSwitch,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "development_mode",
        // As long as Cloudflare's.
        seconds: 3 * 60 * 60,
        usage: r#"POST /zones/NAME/development_mode

  Authorization: Bearer TOKEN, that of [purge]

  {"value": "on"}                     nothing of the zone is looked up or stored, for three hours
  {"value": "on", "seconds": 600}     or for so long
  {"value": "off"}                    ends it
"#,
        key: "development_mode_until",
        of: |shared| &shared.development,
    },
    Kind {
        name: "under_attack",
        seconds: 60 * 60,
        usage: r#"POST /zones/NAME/under_attack

  Authorization: Bearer TOKEN, that of [purge]

  {"value": "on"}                     everybody who comes to the zone is challenged, for an hour
  {"value": "on", "seconds": 600}     or for so long
  {"value": "off"}                    ends it, unless the configuration says `under_attack = true`
"#,
        key: "under_attack",
        of: |shared| &shared.under_attack,
    },
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    value: Switch,
    seconds: Option<u64>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Switch {
    On,
    Off,
}

#[derive(Serialize)]
struct State {
    value: Switch,
    /// Seconds until it ends.
    seconds: u64,
}

/// The zone that `path` is about, and what of it is switched.
pub(super) fn route(path: &str) -> Option<(&str, &'static Kind)> {
    let path = path.strip_prefix("/client/v4").unwrap_or(path);
    let (zone, name) = path.strip_prefix("/zones/")?.split_once('/')?;
    let kind = KINDS.iter().find(|kind| kind.name == name)?;
    Some((zone, kind)).filter(|(zone, _)| !zone.is_empty())
}

/// Answers one request.
pub(super) async fn answer(
    session: &mut ServerSession,
    (zone, kind): (&str, &Kind),
    shared: &Shared,
) -> Response<Vec<u8>> {
    if session.req_header().method != Method::POST {
        return plain(StatusCode::OK, kind.usage);
    }
    let client = client(session);
    match attempt(session, zone, kind, shared).await {
        Ok(state) => {
            audit::switched(client, zone, kind.name, state.seconds);
            render(StatusCode::OK, &state)
        }
        Err(failure) => {
            audit::refused(
                client,
                Some(zone),
                failure.status.as_u16(),
                &failure.message,
            );
            failed(&failure)
        }
    }
}

async fn attempt(
    session: &mut ServerSession,
    zone: &str,
    kind: &Kind,
    shared: &Shared,
) -> Result<State, Failure> {
    let runtime = shared.runtime();
    shared.admit_operator(token(&session.req_header().headers), client(session))?;
    let mut zones = runtime.config.zones.iter();
    if !zones.any(|known| known.name == zone) {
        let message = format!("there is no zone \"{zone}\"");
        return Err(Failure::new(StatusCode::NOT_FOUND, &message));
    }
    let body = read_body(session).await?;
    let change: Change = serde_json::from_slice(&body)
        .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, &error))?;
    let seconds = match change.value {
        Switch::On => change.seconds.unwrap_or(kind.seconds),
        Switch::Off => 0,
    };
    if seconds > MOST_SECONDS {
        let message = format!("more than {MOST_SECONDS} seconds; see {}", kind.key);
        return Err(Failure::new(StatusCode::BAD_REQUEST, &message));
    }
    let now = clock::unix_seconds_of(clock::now());
    let until = now.saturating_add_unsigned(seconds);
    (kind.of)(shared).set(zone, until, now);
    Ok(State {
        value: change.value,
        seconds,
    })
}
