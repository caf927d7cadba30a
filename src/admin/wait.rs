//! `GET /purges/wait?position=…&timeout=…`: answers once the purges up to a position, which the answer to a
//! purge on any node tells, are in force on this one.

use std::time::Duration;

use http::{Response, StatusCode};

use super::plain;
use crate::purge::Position;
use crate::server::Shared;

/// Whoever waits longer asks again.
const LONGEST: Duration = Duration::from_mins(1);
const USAGE: &str = "write /purges/wait?position=MILLISECONDS-NUMBER&timeout=10s, at most 1m\n";

/// 200 when they are, 504 when they are not in time, 404 when nothing is shared.
pub(super) async fn answer(query: Option<&str>, shared: &Shared) -> Response<Vec<u8>> {
    let Some(state) = &shared.shared_state else {
        return plain(
            StatusCode::NOT_FOUND,
            "no purges are shared: there is no [shared]\n",
        );
    };
    let (mut position, mut most) = (None, Duration::from_secs(10));
    for (name, value) in query
        .unwrap_or_default()
        .split('&')
        .filter_map(|part| part.split_once('='))
    {
        match name {
            "position" => match value.parse::<Position>() {
                Ok(wanted) => position = Some(wanted),
                Err(why) => return plain(StatusCode::BAD_REQUEST, &format!("{why}\n")),
            },
            "timeout" => match humantime::parse_duration(value) {
                Ok(time) if time <= LONGEST => most = time,
                _ => return plain(StatusCode::BAD_REQUEST, USAGE),
            },
            _ => return plain(StatusCode::BAD_REQUEST, USAGE),
        }
    }
    let Some(position) = position else {
        return plain(StatusCode::BAD_REQUEST, USAGE);
    };
    let reached = state.reaches(position, most).await;
    let told = state
        .position()
        .map_or("none".to_owned(), |position| position.to_string());
    let status = if reached {
        StatusCode::OK
    } else {
        StatusCode::GATEWAY_TIMEOUT
    };
    plain(status, &format!("{told}\n"))
}
