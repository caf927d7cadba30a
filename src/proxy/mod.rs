//! A request from its zone to its log line: Pingora's hooks, and the translation between Pingora's
//! types and the plain values that decisions are made on.
//!
//! In the order of a request: [`mod@requests`] counts and times it, [`arrival`] finds its zone and
//! settings, [`caching`] asks the policy, [`forward`] prepares it for the origin, [`answer`] and
//! [`error_page`] for the client, [`record`] writes it down. [`gateway`] is the list of hooks.

mod answer;
mod arrival;
mod caching;
mod collapse;
mod deadline;
mod error_page;
mod exchange;
mod forward;
mod gateway;
mod record;
mod requests;

use std::sync::Arc;

use pingora_core::server::configuration::ServerConf;

use crate::server::Shared;
use gateway::Gateway;
use requests::Requests;

/// What handles the requests of all listeners.
pub fn requests(shared: Arc<Shared>, conf: &Arc<ServerConf>) -> Requests {
    let gateway = Gateway::new(shared.clone());
    Requests::new(gateway, shared, conf)
}
