//! What Seawall does, seen from outside: the real binary between a scripted origin and raw clients.
//!
//! Every test reads as a story – the origin says, the client sends, expect – and owns all its
//! processes, ports and files, so that tests run side by side. Nothing sleeps for luck: tests wait
//! for conditions, and staleness is made by an `Age` the origin sends rather than by waiting.
//!
//! What belongs here is behaviour that only shows with sockets and processes. Decisions of the
//! core have their tables beside the code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
#![allow(
    clippy::float_cmp,
    reason = "metrics are compared where they are whole numbers or exact fractions"
)]
#![allow(
    clippy::format_collect,
    reason = "heads of a few lines are easier to read that way"
)]
#![allow(unreachable_pub, reason = "one binary, nothing of it is reachable")]

mod support;

mod access_log;
mod background;
mod buckets;
mod cache_rules;
mod cache_status;
mod client_limits;
mod cloaking;
mod collapsing;
mod compression;
mod conditional;
mod connection_limits;
mod credentials;
mod dates;
mod directives;
mod disk;
mod disk_killed;
mod error_pages;
mod explain;
mod followers;
mod forwarding;
mod guard;
mod head;
mod herd;
mod hits;
mod http2;
mod interim;
mod invalidation;
mod keys;
mod lanes;
mod large_bodies;
mod metrics;
mod origin_connections;
mod origin_discovery;
mod origin_failures;
mod origin_pool;
mod origin_selection;
mod origin_tls;
mod overload;
mod pages;
mod partial;
mod passing;
mod places;
mod poisoning;
mod presets;
mod purging;
mod ranges;
mod redirects;
mod reload;
mod reserve;
mod rules;
mod shared_state;
mod shutdown;
mod smuggling;
mod splits;
mod stale;
mod stitching;
mod store_command;
mod storing;
mod streaming;
mod tiers;
mod tls;
mod transforms;
mod uploads;
mod upstream_http2;
mod validation;
mod vary;
mod waiting_rooms;
mod warm_command;
mod websocket;
