//! `GET /security/events`: what the guard found within the last hour.

use http::{Response, StatusCode};

use super::purge::render;
use crate::observe::SecurityRecord;
use crate::server::Shared;

/// Groups told when the query asks for no other number.
const USUAL: usize = 100;

/// The groups with the most events; `zone=`, `rule=`, `action=` and `limit=` choose among them.
pub(super) fn answer(query: Option<&str>, shared: &Shared) -> Response<Vec<u8>> {
    let pairs = || query.unwrap_or_default().split('&');
    let wanted = |name: &str| {
        pairs()
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.replace("%20", " ").replace('+', " "))
    };
    let limit = wanted("limit").and_then(|limit| limit.parse().ok());
    let [zone, rule, action] = ["zone", "rule", "action"].map(wanted);
    let all = shared.security.all();
    let fits = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
    let records: Vec<SecurityRecord<'_>> = all
        .iter()
        .filter(|(group, _)| {
            fits(&zone, &group.zone)
                && fits(&rule, &group.rule)
                && fits(&action, group.action.as_str())
        })
        .take(limit.unwrap_or(USUAL))
        .map(SecurityRecord::of_group)
        .collect();
    render(StatusCode::OK, &records)
}
