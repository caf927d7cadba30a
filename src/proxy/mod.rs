//! A request from its zone to its log line: Pingora's hooks, and the translation between Pingora's
//! types and the plain values that decisions are made on.
//!
//! In the order of a request: [`mod@requests`] counts and times it, [`arrival`] finds its zone and
//! settings. If it may use the cache, [`cached`] looks it up ([`lookup`]), has it fetched
//! ([`fetching`]) and serves it ([`serve`], [`encoding`]); what goes past the cache is [`passage`] or, on
//! Pingora's way, [`passing`]. [`forward`]
//! prepares requests for the origin, [`answer`] and [`error_page`] responses for the client,
//! [`tiered`] knows the requests of lower tiers,
//! [`record`] writes it all down. [`gateway`] is the list of hooks.

mod answer;
mod arrival;
mod cached;
mod challenging;
mod deadline;
mod downstream;
mod edge_reply;
mod encoding;
mod error_page;
mod exchange;
mod failing;
mod fetching;
mod forward;
mod gateway;
mod guarding;
mod hit;
mod limiting;
mod lookup;
mod passage;
mod passing;
mod record;
mod renewing;
mod reply;
mod requests;
mod serve;
mod source;
mod tiered;
mod upstream;
mod waiting;
mod zone_page;

use std::sync::Arc;

use pingora_core::server::configuration::ServerConf;

use crate::server::Shared;
use gateway::Gateway;
use renewing::Renewer;
use requests::Requests;

/// What handles the requests of all listeners, and what fetches again what was purged.
pub fn requests(shared: Arc<Shared>, conf: &Arc<ServerConf>) -> (Requests, Renewer) {
    let gateway = Gateway::new(shared.clone(), conf);
    let renewer = Renewer {
        gateway: gateway.clone(),
    };
    (Requests::new(gateway, shared, conf), renewer)
}
