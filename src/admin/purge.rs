//! `POST /purge`, `POST /zones/NAME/purge_cache` and Cloudflare's spelling of the latter, answered in
//! Cloudflare's envelope.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use pingora_core::protocols::http::ServerSession;
use serde::Serialize;

use super::{audit, plain, respond};
use crate::clock;
use crate::config::Config;
use crate::purge::access::token;
use crate::purge::{
    Limiter, PurgeOutcome, PurgeRequest, Purger, Refusal, ScopeError, admit, parse_json, scopes,
};

const LARGEST_BODY: usize = 256 << 10;
/// For a whole body; operators' clients are near.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

const USAGE: &str = r#"POST /purge                       purges in all zones
POST /zones/NAME/purge_cache      purges in one zone

  Authorization: Bearer TOKEN

  {"files": ["https://shop.test/a?b=1"]}       URLs, with all their variants
  {"tags": ["product-7"]}                      cache tags
  {"prefixes": ["shop.test/blog/"]}            hosts with the beginning of a path
  {"hosts": ["shop.test"]}                     hosts
  {"purge_everything": true}                   all there is

  "soft": true      makes responses stale instead of removing them
  "dry_run": true   counts only
  "refetch": 100    fetches so many of them again in the background, those served most often first

`seawall purge --help` does the same from the command line.
"#;

/// Where a purge was addressed: a zone, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route<'p> {
    zone: Option<&'p str>,
}

/// The purge that `path` stands for.
pub(super) fn route(path: &str) -> Option<Route<'_>> {
    if path == "/purge" {
        return Some(Route { zone: None });
    }
    let path = path.strip_prefix("/client/v4").unwrap_or(path);
    let zone = path.strip_prefix("/zones/")?.strip_suffix("/purge_cache")?;
    let plain = !zone.is_empty() && !zone.contains('/');
    plain.then_some(Route { zone: Some(zone) })
}

#[derive(Serialize)]
struct Envelope<'a> {
    success: bool,
    errors: Vec<Message<'a>>,
    messages: [(); 0],
    result: Option<Outcome>,
}

#[derive(Serialize)]
struct Message<'a> {
    code: u16,
    message: &'a str,
}

#[derive(Serialize)]
struct Outcome {
    objects: u64,
    bytes: u64,
    dry_run: bool,
    refetched: usize,
    /// Whether the server through which nodes share has it, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    broadcast: Option<bool>,
    /// Its position there, for `/purges/wait`.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
}

/// Why a request was not carried out.
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// In seconds.
    retry_after: Option<u64>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: &(impl ToString + ?Sized)) -> Self {
        Self {
            status,
            message: message.to_string(),
            retry_after: None,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::FORBIDDEN);
        Self {
            retry_after: refusal.retry_after(),
            ..Self::new(status, &refusal)
        }
    }
}

/// Answers one request for a purge.
pub(super) async fn answer(
    session: &mut ServerSession,
    route: Route<'_>,
    config: &Config,
    limiter: &Mutex<Limiter>,
    purger: Arc<dyn Purger>,
) -> Response<Vec<u8>> {
    let client = client(session);
    match attempt(session, client, route, config, limiter, purger).await {
        Ok((request, outcome)) => {
            audit::purged(client, route.zone, &request, outcome);
            done(&request, outcome)
        }
        Err(failure) => {
            let status = failure.status.as_u16();
            audit::refused(client, route.zone, status, &failure.message);
            failed(&failure)
        }
    }
}

async fn attempt(
    session: &mut ServerSession,
    client: IpAddr,
    route: Route<'_>,
    config: &Config,
    limiter: &Mutex<Limiter>,
    purger: Arc<dyn Purger>,
) -> Result<(PurgeRequest, PurgeOutcome), Failure> {
    let headers = &session.req_header().headers;
    admit(
        config.purge.as_ref(),
        &mut limiter.lock().unwrap_or_else(PoisonError::into_inner),
        token(headers),
        client,
        clock::uptime(),
    )?;
    let body = read_body(session).await?;
    let request = understand(&body, route, config)?;
    let zone = route.zone.map(str::to_owned);
    // Counting a large store takes its time, and so does writing the journal.
    let carried_out = tokio::task::spawn_blocking(move || {
        let outcome = purger.purge(zone.as_deref(), &request)?;
        Ok((request, outcome))
    });
    let failed = |error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, &error);
    carried_out.await.map_err(failed)?
}

fn understand(body: &[u8], route: Route<'_>, config: &Config) -> Result<PurgeRequest, Failure> {
    let bad = |error: &dyn std::error::Error| Failure::new(StatusCode::BAD_REQUEST, error);
    let request = parse_json(body).map_err(|error| bad(&error))?;
    match scopes(&request, route.zone, &config.zones) {
        Ok(_) => Ok(request),
        Err(error @ ScopeError::UnknownZone(_)) => Err(Failure::new(StatusCode::NOT_FOUND, &error)),
        Err(error) => Err(bad(&error)),
    }
}

/// The whole body of a request.
///
/// # Errors
/// What the client is told when it is too large or does not come.
pub(super) async fn read_body(session: &mut ServerSession) -> Result<Vec<u8>, Failure> {
    let expects = session.req_header().headers.contains_key(header::EXPECT);
    let mut body = Vec::new();
    let reading = async {
        if expects {
            session.write_continue_response().await?;
        }
        while let Some(part) = session.read_request_body().await? {
            body.extend_from_slice(&part);
            if body.len() > LARGEST_BODY {
                break;
            }
        }
        Ok::<_, Box<pingora_error::Error>>(())
    };
    match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Err(_) => Err(Failure::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not come in time",
        )),
        Ok(Err(error)) => Err(Failure::new(StatusCode::BAD_REQUEST, &error)),
        Ok(Ok(())) if body.len() > LARGEST_BODY => {
            session.set_keepalive(None);
            Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                &format!("the body has more than {LARGEST_BODY} bytes"),
            ))
        }
        Ok(Ok(())) => Ok(body),
    }
}

pub(super) fn client(session: &ServerSession) -> IpAddr {
    session
        .client_addr()
        .and_then(|address| address.as_inet())
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| {
            address.ip().to_canonical()
        })
}

fn done(request: &PurgeRequest, outcome: PurgeOutcome) -> Response<Vec<u8>> {
    let envelope = Envelope {
        success: true,
        errors: Vec::new(),
        messages: [],
        result: Some(Outcome {
            objects: outcome.objects,
            bytes: outcome.bytes,
            dry_run: request.dry_run,
            refetched: outcome.refetched,
            broadcast: outcome.told.map(|told| told.is_some()),
            position: outcome.told.flatten().map(|told| told.to_string()),
        }),
    };
    render(StatusCode::OK, &envelope)
}

pub(super) fn failed(failure: &Failure) -> Response<Vec<u8>> {
    let envelope = Envelope {
        success: false,
        errors: vec![Message {
            code: failure.status.as_u16(),
            message: &failure.message,
        }],
        messages: [],
        result: None,
    };
    let mut response = render(failure.status, &envelope);
    let headers = response.headers_mut();
    if failure.status == StatusCode::UNAUTHORIZED {
        // RFC 6750 §3.
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"purge\""),
        );
    }
    if let Some(seconds) = failure.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

pub(super) fn render(status: StatusCode, envelope: &impl Serialize) -> Response<Vec<u8>> {
    match serde_json::to_vec(envelope) {
        Ok(mut json) => {
            json.push(b'\n');
            respond(status, "application/json", json)
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

/// How to use it, and whether one can.
pub(super) fn usage(config: &Config) -> Response<Vec<u8>> {
    let off = match config.purge {
        Some(_) => String::new(),
        None => format!("{}\n\n", Refusal::Off),
    };
    plain(StatusCode::OK, &format!("{off}{USAGE}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn config(purge: &str) -> Config {
        let source = format!(
            "listen = \"[::]:1\"\npools.app.servers = \"http://127.0.0.1:2\"\n\
             zones.shop = {{ hosts = \"shop.test\", pool = \"app\" }}\n{purge}"
        );
        parse("test.toml", &source, &|_| None).unwrap()
    }

    fn on() -> Config {
        config("[purge]\ntoken = \"0123456789abcdef\"\nrate = 2")
    }

    #[test]
    fn purges_beyond_the_rate_are_told_when_to_come_again() {
        let response = failed(&Refusal::TooMany(Duration::from_millis(29_500)).into());
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "30");
    }

    #[test]
    fn bodies_must_name_what_there_is() {
        let status = |zone, body: &str| {
            understand(body.as_bytes(), Route { zone }, &on())
                .err()
                .map(|failure| failure.status.as_u16())
        };
        assert_eq!(status(None, r#"{"tags": ["a"]}"#), None);
        assert_eq!(status(Some("shop"), r#"{"hosts": ["shop.test"]}"#), None);
        assert_eq!(status(Some("shpo"), r#"{"tags": ["a"]}"#), Some(404));
        assert_eq!(status(None, r#"{"hosts": ["other.test"]}"#), Some(400));
        assert_eq!(status(None, "{}"), Some(400));
    }

    #[test]
    fn a_purge_is_addressed_to_all_zones_or_to_one() {
        let zone = |path| route(path).map(|route| route.zone);
        assert_eq!(zone("/purge"), Some(None));
        assert_eq!(zone("/zones/shop/purge_cache"), Some(Some("shop")));
        assert_eq!(
            zone("/client/v4/zones/shop/purge_cache"),
            Some(Some("shop"))
        );
        for other in [
            "/",
            "/purge/",
            "/zones//purge_cache",
            "/zones/a/b/purge_cache",
            "/zones/a",
        ] {
            assert_eq!(zone(other), None, "{other}");
        }
    }

    #[test]
    fn answers_come_in_cloudflares_envelope() {
        let request = parse_json(br#"{"purge_everything": true, "dry_run": true}"#).unwrap();
        let outcome = PurgeOutcome {
            objects: 2,
            bytes: 300,
            refetched: 0,
            told: None,
        };
        assert_eq!(
            String::from_utf8(done(&request, outcome).into_body()).unwrap(),
            "{\"success\":true,\"errors\":[],\"messages\":[],\
             \"result\":{\"objects\":2,\"bytes\":300,\"dry_run\":true,\"refetched\":0}}\n"
        );
        let refused = failed(&Refusal::WrongToken.into());
        assert!(refused.headers().contains_key(header::WWW_AUTHENTICATE));
        assert_eq!(
            String::from_utf8(refused.into_body()).unwrap(),
            "{\"success\":false,\"errors\":[{\"code\":401,\"message\":\"the token is wrong\"}],\
             \"messages\":[],\"result\":null}\n"
        );
    }
}
