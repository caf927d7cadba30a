//! Every request, HTTP/1 or HTTP/2, passes here on its way into Pingora's proxy: counted as in
//! flight, and under the deadlines that Pingora has no timer for.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;

use super::deadline;
use super::gateway::Gateway;
use crate::origin::Fetcher;
use crate::server::Shared;

/// Handles requests one by one.
#[derive(Clone)]
pub struct Requests {
    proxy: Arc<HttpProxy<Gateway>>,
    options: Arc<HttpServerOptions>,
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) shared: Arc<Shared>,
}

impl Requests {
    pub(super) fn new(gateway: Gateway, shared: Arc<Shared>, conf: &Arc<ServerConf>) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        options.h2_idle_timeout = Some(shared.runtime().config.client.idle_timeout);
        let fetcher = gateway.fetcher.clone();
        let mut proxy = HttpProxy::new(gateway, conf.clone());
        proxy.handle_init_modules();
        Self {
            proxy: Arc::new(proxy),
            options: Arc::new(options),
            fetcher,
            shared,
        }
    }
}

#[async_trait]
impl HttpServerApp for Requests {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let _in_flight = self.shared.in_flight.enter();
        if session.is_http2() {
            let client = &self.shared.runtime().config.client;
            session.set_write_timeout(Some(client.write_timeout));
            session.set_total_drain_timeout(Some(client.body_timeout));
        }
        let request = self.proxy.process_new_http(session, shutdown);
        deadline::watch(request).await.flatten()
    }

    fn h2_options(&self) -> Option<H2Options> {
        let client = &self.shared.runtime().config.client;
        let mut options = default_h2_options();
        options.max_concurrent_streams(client.http2_max_streams);
        options.max_header_list_size(u32::try_from(client.max_header_size).unwrap_or(u32::MAX));
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&*self.options)
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
