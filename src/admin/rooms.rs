//! `GET /waiting-rooms`: how full they are.

use http::{Response, StatusCode};
use serde::Serialize;

use super::purge::render;
use crate::clock;
use crate::server::{Runtime, Totals};
use crate::waiting_room::Figures;

#[derive(Serialize)]
struct Report<'r> {
    zone: &'r str,
    name: &'r str,
    total_active_users: u64,
    new_users_per_minute: u64,
    queue_all: bool,
    #[serde(flatten)]
    figures: Figures,
    since_start: Totals,
}

/// All waiting rooms.
pub(super) fn list(runtime: &Runtime) -> Response<Vec<u8>> {
    let now = u64::try_from(clock::unix_seconds_of(clock::now())).unwrap_or_default();
    let mut reports = Vec::new();
    for site in runtime.sites() {
        reports.extend(site.rooms.iter().map(|room| {
            let limits = room.limits();
            Report {
                zone: &site.zone.name,
                name: &room.name,
                total_active_users: limits.total_active_users,
                new_users_per_minute: limits.new_users_per_minute,
                queue_all: limits.queue_all,
                figures: room.figures(now),
                since_start: room.totals(),
            }
        }));
    }
    render(StatusCode::OK, &reports)
}
