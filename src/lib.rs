//! Seawall: an edge caching reverse proxy and origin shield, from one TOML file.
//!
//! The modules in the order a request meets them. *Core* modules are pure functions over plain
//! values; they name neither Pingora nor a clock (`tests/architecture.rs` holds them to it).
//! *Shell* modules own sockets, clocks, tasks and Pingora.
//!
//! | module | | owns |
//! |---|---|---|
//! | [`cli`] | shell | `serve`, `check`, `explain`, `test`, `purge`, `presets`, `store`, `schema` |
//! | [`config`] | core | the TOML file, as written and as it runs |
//! | [`server`] | shell | the process: assembly, reload, draining |
//! | [`edge`] | shell | listeners, TLS, strict request heads |
//! | [`proxy`] | shell | Pingora's hooks; a request from its zone to its log line |
//! | [`zone`] | core | host to zone, canonical paths, session cookies |
//! | [`request`] | core | the request as decisions see it, and what becomes of its head before |
//! | [`guard`] | core + shell | who the client is; what stops a connection or a request; security events |
//! | [`rules`] | core | expressions, the phases of a zone, and the plan they make |
//! | [`geo`] | shell | country and network of an address |
//! | [`fields`] | core | HTTP header fields |
//! | [`cache`] | core | eligibility, key, reuse, storing, freshening, status |
//! | [`explain`] | core | what would become of a described request, and why; rule tests |
//! | [`lint`] | core | what is odd about a configuration without fault |
//! | [`store`] | shell | stored responses and fills in progress |
//! | [`shared_state`] | core + shell | what nodes tell each other through Redis: purges, rate limits |
//! | [`origin`] | core + shell | pools, selection, health, discovery |
//! | [`tier`] | core | tiers of caches: what they say to each other, which node is asked |
//! | [`waiting_room`] | core | who goes on to the application when many come, and who waits |
//! | [`purge`] | core | what is purged, by whom, and what of the store it reaches |
//! | [`observe`] | shell | metrics and logs |
//! | [`admin`] | shell | the operators' listener |

pub mod admin;
pub mod cache;
pub mod cli;
mod clock;
pub mod config;
pub mod edge;
pub mod explain;
pub mod fields;
pub mod geo;
pub mod guard;
pub mod lint;
pub mod observe;
pub mod origin;
pub mod proxy;
pub mod purge;
pub mod request;
pub mod rules;
pub mod server;
pub mod shared_state;
pub mod store;
pub mod tier;
pub mod waiting_room;
pub mod zone;
