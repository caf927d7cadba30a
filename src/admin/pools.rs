//! `GET /pools` and `POST /pools/NAME/replicas/ADDRESS`: replicas as they are, drained and weighed by hand.

use std::net::SocketAddr;

use http::{Response, StatusCode};
use pingora_core::protocols::http::ServerSession;
use serde::{Deserialize, Deserializer, Serialize};

use super::audit;
use super::purge::{Failure, client, failed, read_body, render};
use crate::origin::ReplicaReport;
use crate::purge::access::token;
use crate::server::{Runtime, Shared};

/// The largest weight, as in the configuration.
const MOST_WEIGHT: u16 = 256;

#[allow(
    clippy::option_option,
    reason = "`null` and what is not there mean different things"
)]
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Change {
    /// No new requests.
    drain: Option<bool>,
    /// Takes the place of the configured weight; `null` gives that its place back.
    #[serde(default, deserialize_with = "present")]
    weight: Option<Option<u16>>,
}

/// Tells `null` from what is not there.
#[allow(
    clippy::option_option,
    reason = "`null` and what is not there mean different things"
)]
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<u16>>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

#[derive(Serialize)]
struct PoolReport<'a> {
    name: &'a str,
    panic: bool,
    replicas: Vec<ReplicaReport>,
}

/// Pool and address that `path` names.
pub(super) fn route(path: &str) -> Option<(&str, &str)> {
    let (pool, address) = path.strip_prefix("/pools/")?.split_once("/replicas/")?;
    let plain = |part: &str| !part.is_empty() && !part.contains('/');
    (plain(pool) && plain(address)).then_some((pool, address))
}

/// All pools.
pub(super) fn list(runtime: &Runtime) -> Response<Vec<u8>> {
    let reports: Vec<PoolReport<'_>> = runtime
        .pools
        .iter()
        .map(|pool| PoolReport {
            name: &pool.config.name,
            panic: pool.is_panicking(),
            replicas: pool.report(),
        })
        .collect();
    render(StatusCode::OK, &reports)
}

/// Carries one change out.
pub(super) async fn change(
    session: &mut ServerSession,
    (pool, address): (&str, &str),
    shared: &Shared,
) -> Response<Vec<u8>> {
    let client = client(session);
    match attempt(session, (pool, address), shared).await {
        Ok((change, report)) => {
            audit::replica(client, pool, address, change.drain, report.weight);
            render(StatusCode::OK, &report)
        }
        Err(failure) => {
            let status = failure.status.as_u16();
            audit::refused(client, None, status, &failure.message);
            failed(&failure)
        }
    }
}

async fn attempt(
    session: &mut ServerSession,
    (pool, address): (&str, &str),
    shared: &Shared,
) -> Result<(Change, ReplicaReport), Failure> {
    let runtime = shared.runtime();
    shared.admit_operator(token(&session.req_header().headers), client(session))?;
    let body = read_body(session).await?;
    let change = understand(&body)?;
    let missing = |what: String| Failure::new(StatusCode::NOT_FOUND, &what);
    let found = runtime
        .pool(pool)
        .ok_or_else(|| missing(format!("there is no pool \"{pool}\"")))?;
    let none = || missing(format!("the pool has no replica at {address}"));
    let address: SocketAddr = address.parse().map_err(|_| none())?;
    let report = found.set_by_hand(address, |by_hand| {
        by_hand.drain = change.drain.unwrap_or(by_hand.drain);
        by_hand.weight = change.weight.unwrap_or(by_hand.weight);
    });
    Ok((change, report.ok_or_else(none)?))
}

fn understand(body: &[u8]) -> Result<Change, Failure> {
    let bad = |why: &dyn ToString| Failure::new(StatusCode::BAD_REQUEST, &why.to_string());
    let change: Change = serde_json::from_slice(body).map_err(|error| bad(&error))?;
    if let Some(Some(weight)) = change.weight
        && !(1..=MOST_WEIGHT).contains(&weight)
    {
        let why = format!("a weight is from 1 to {MOST_WEIGHT}; to send nothing, drain");
        return Err(bad(&why));
    }
    if change.drain.is_none() && change.weight.is_none() {
        return Err(bad(&r#"neither "drain" nor "weight""#));
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_pool_and_address() {
        let path = "/pools/app/replicas/127.0.0.1:80";
        assert_eq!(route(path), Some(("app", "127.0.0.1:80")));
        assert_eq!(
            route("/pools/app/replicas/[::1]:80"),
            Some(("app", "[::1]:80"))
        );
        for other in [
            "/pools",
            "/pools/app",
            "/pools//replicas/a",
            "/pools/a/replicas/",
        ] {
            assert_eq!(route(other), None, "{other}");
        }
    }

    #[test]
    fn a_weight_is_set_or_given_back() {
        let weight = |body: &str| understand(body.as_bytes()).ok().map(|one| one.weight);
        assert_eq!(weight(r#"{"weight": 3}"#), Some(Some(Some(3))));
        assert_eq!(weight(r#"{"weight": null}"#), Some(Some(None)));
        assert_eq!(weight(r#"{"drain": true}"#), Some(None));
        for bad in [
            r#"{"weight": 0}"#,
            r#"{"weight": 257}"#,
            "{}",
            r#"{"drian": true}"#,
        ] {
            assert_eq!(weight(bad), None, "{bad}");
        }
    }
}
