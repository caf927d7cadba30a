//! `POST /zones/NAME/development_mode`: switches a zone's cache off for a while, and on again.

use http::{Method, Response, StatusCode};
use pingora_core::protocols::http::ServerSession;
use serde::{Deserialize, Serialize};

use super::purge::{Failure, client, failed, read_body, render};
use super::{audit, plain};
use crate::clock;
use crate::purge::access::token;
use crate::server::Shared;

/// As long as Cloudflare's.
const SECONDS: u64 = 3 * 60 * 60;
/// A month: what is meant to last belongs into the configuration.
const MOST_SECONDS: u64 = 30 * 24 * 60 * 60;

const USAGE: &str = r#"POST /zones/NAME/development_mode

  Authorization: Bearer TOKEN, that of [purge]

  {"value": "on"}                     nothing of the zone is looked up or stored, for three hours
  {"value": "on", "seconds": 600}     or for so long
  {"value": "off"}                    ends it
"#;

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

/// The zone whose development mode `path` is.
pub(super) fn route(path: &str) -> Option<&str> {
    let path = path.strip_prefix("/client/v4").unwrap_or(path);
    let zone = path
        .strip_prefix("/zones/")?
        .strip_suffix("/development_mode")?;
    Some(zone).filter(|zone| !zone.is_empty() && !zone.contains('/'))
}

/// Answers one request.
pub(super) async fn answer(
    session: &mut ServerSession,
    zone: &str,
    shared: &Shared,
) -> Response<Vec<u8>> {
    if session.req_header().method != Method::POST {
        return plain(StatusCode::OK, USAGE);
    }
    let client = client(session);
    match attempt(session, zone, shared).await {
        Ok(state) => {
            audit::development_mode(client, zone, state.seconds);
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
        Switch::On => change.seconds.unwrap_or(SECONDS),
        Switch::Off => 0,
    };
    if seconds > MOST_SECONDS {
        let message = format!("more than {MOST_SECONDS} seconds; see development_mode_until");
        return Err(Failure::new(StatusCode::BAD_REQUEST, &message));
    }
    let now = clock::unix_seconds_of(clock::now());
    let until = now.saturating_add_unsigned(seconds);
    shared.development.set(zone, until, now);
    Ok(State {
        value: change.value,
        seconds,
    })
}
