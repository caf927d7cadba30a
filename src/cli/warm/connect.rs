//! A client that asks one Seawall, whatever host a URL names.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, HeaderValue};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, Url};

use crate::cli::reachable;
use crate::server::load_config;

/// Whom to ask.
pub(super) enum Edge {
    /// Whoever a URL names.
    Named(Client),
    /// These, whatever a URL names.
    Fixed {
        http: Option<Way>,
        https: Option<Way>,
    },
}

/// How one scheme is asked.
pub(super) struct Way {
    client: Client,
    address: SocketAddr,
}

/// Every name is at this address; the port is the URL's.
struct Always(IpAddr);

impl Resolve for Always {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(std::iter::once(SocketAddr::new(self.0, 0)));
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

impl Edge {
    /// The Seawall at `connect`, or the one of the configuration file, or wherever the URLs say.
    pub(super) fn new(
        connect: Option<&str>,
        config: Option<&Path>,
        timeout: Duration,
        insecure: bool,
    ) -> Result<Self, String> {
        // The process has one provider; whoever is first sets it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .user_agent(concat!("seawall/", env!("CARGO_PKG_VERSION"), " (warm)"))
                // HTTP/2 has no Host beside the address connected to.
                .http1_only()
                .redirect(Policy::none())
                .no_proxy()
                .timeout(timeout)
                .tls_danger_accept_invalid_certs(insecure)
        };
        let built = |builder: ClientBuilder| builder.build().map_err(|error| why(&error));
        let (http, https) = match (connect, config) {
            (Some(text), _) => (Some(resolve(text)?), Some(resolve(text)?)),
            (None, Some(path)) => listeners(path)?,
            (None, None) => return Ok(Self::Named(built(builder())?)),
        };
        let way = |address: Option<SocketAddr>| -> Result<Option<Way>, String> {
            let Some(address) = address else {
                return Ok(None);
            };
            let client = built(builder().dns_resolver(Arc::new(Always(address.ip()))))?;
            Ok(Some(Way { client, address }))
        };
        Ok(Self::Fixed {
            http: way(http)?,
            https: way(https)?,
        })
    }

    /// Asks for `url` with these fields. Redirects are not followed: they are what is stored.
    pub(super) async fn get(&self, url: &str, fields: &HeaderMap) -> Result<Response, String> {
        let mut target = Url::parse(url).map_err(|error| error.to_string())?;
        let host = target.host_str().ok_or("it names no host")?;
        let host = match target.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let host = HeaderValue::try_from(host).map_err(|error| error.to_string())?;
        let client = match (self, target.scheme()) {
            (Self::Named(client), "http" | "https") => client,
            (Self::Fixed { http: way, .. }, "http") | (Self::Fixed { https: way, .. }, "https") => {
                let way = way.as_ref();
                let way = way.ok_or_else(|| format!("no listener takes {}", target.scheme()))?;
                // It has a host and is of HTTP, so that neither fails.
                let _ = target.set_port(Some(way.address.port()));
                if target.domain().is_none() {
                    let _ = target.set_ip_host(way.address.ip());
                }
                &way.client
            }
            _ => return Err("it is neither http nor https".to_owned()),
        };
        let request = client.get(target).headers(fields.clone());
        let answer = request.header(HOST, host).send().await;
        answer.map_err(|error| why(&error))
    }
}

/// The first listener without TLS, and the first with it.
fn listeners(path: &Path) -> Result<(Option<SocketAddr>, Option<SocketAddr>), String> {
    let config = load_config(path).map_err(|faults| faults.to_string())?;
    let first = |tls: bool| {
        let mut listeners = config.listeners.iter();
        let found = listeners.find(|listener| listener.tls.is_some() == tls);
        found.map(|listener| reachable(listener.address))
    };
    Ok((first(false), first(true)))
}

fn resolve(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs();
    let mut found = found.map_err(|error| format!("{text}: {error}; write HOST:PORT"))?;
    found.next().ok_or_else(|| format!("{text} has no address"))
}

/// What is behind an error: the error itself says little more than the URL.
pub(super) fn why(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
