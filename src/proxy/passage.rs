//! A request without body that goes past the cache, on its way without Pingora's proxy: most of what the
//! proxy does for it, such as reading its head once more, is not needed for it. [`Fetcher`] asks, as it does
//! for the cache. What has no answer goes to Pingora's lane, for a page that says so.

use std::io::{ErrorKind, Write};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, EXPECT, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, StatusCode, Version};
use pingora_http::ResponseHeader;
use tokio::sync::mpsc::UnboundedSender;

use super::exchange::{Evaluated, Exchange, SiteRequest};
use super::fetching::{Watcher, origin_request};
use super::record::{self, Finished};
use super::{answer, hit, passing, zone_page};
use crate::cache::eligibility::RequestDecision;
use crate::clock;
use crate::edge::lane::{self, Cut, Pass, Sent};
use crate::origin::{Answer, AnswerBody, FetchFailure, FetchReport, Fetcher, Terms};
use crate::server::Shared;

/// One such request.
pub struct Passage {
    shared: Arc<Shared>,
    fetcher: Arc<Fetcher>,
    exchange: Box<Exchange>,
    asked: Arc<Parts>,
    report: FetchReport,
    head: Option<ResponseHeader>,
    body: Option<AnswerBody>,
    chunked: bool,
    /// Why there is no answer, or not all of it.
    failure: Option<FetchFailure>,
}

impl Passage {
    /// Whether a request can go this way. What may write, and what is particular about its framing, is for
    /// Pingora's lane.
    pub(super) fn takes(exchange: &Exchange, asked: &Parts) -> bool {
        let Some(request) = exchange.request.as_deref() else {
            return false;
        };
        let framing = [EXPECT, CONTENT_LENGTH, TRANSFER_ENCODING];
        matches!(request.decision, RequestDecision::Bypass(_))
            && exchange.edge.is_none()
            && exchange.refusal.is_none()
            && matches!(asked.method, Method::GET | Method::HEAD)
            && asked.version == Version::HTTP_11
            && !framing.iter().any(|name| asked.headers.contains_key(name))
    }

    pub(super) fn new(
        shared: Arc<Shared>,
        fetcher: Arc<Fetcher>,
        exchange: Box<Exchange>,
        asked: Arc<Parts>,
    ) -> Self {
        Self {
            shared,
            fetcher,
            exchange,
            asked,
            report: FetchReport::default(),
            head: None,
            body: None,
            chunked: false,
            failure: None,
        }
    }

    async fn fetch(
        &mut self,
        request: &SiteRequest,
        interim: &UnboundedSender<ResponseHeader>,
    ) -> Result<Answer, FetchFailure> {
        let id = self.exchange.request_id;
        let head =
            origin_request(&self.asked, request, id, |_| {}).map_err(|_| FetchFailure::Protocol)?;
        let pool = &request.site.pool;
        let terms = Terms {
            started: self.exchange.started,
            first_byte: request.first_byte(),
            origin: &request.applied.origin,
            priority: request.priority(&self.asked),
            hash: pool.hash(&request.view(&self.asked)),
            client: Some(request.client_of(&self.asked)),
        };
        let mut watcher = Watcher {
            shared: &self.shared,
            pool: &pool.config.name,
            interim: Some(interim),
        };
        let report = &mut self.report;
        let answer = self
            .fetcher
            .fetch(pool, &head, terms, report, &mut watcher)
            .await?;
        self.shared.metrics.origin_first_byte(
            &pool.config.name,
            self.report.first_byte_after.unwrap_or_default(),
        );
        if answer::is_decodable(&answer.head) {
            Ok(answer)
        } else {
            Err(FetchFailure::Protocol)
        }
    }

    /// The body was cut short.
    fn cut(&mut self, failure: FetchFailure) -> Cut {
        if let Some(pool) = self.exchange.pool() {
            let replicas = pool.replicas();
            let asked = |address| Some(address) == self.report.replica;
            let replica = replicas.iter().find(|replica| asked(replica.address));
            if let Some(replica) = replica {
                pool.record(replica, failure.outcome());
            }
            let metrics = &self.shared.metrics;
            metrics.origin_failure(&pool.config.name, failure.kind());
        }
        self.body = None;
        self.failure = Some(failure);
        Cut
    }
}

impl Pass for Passage {
    async fn ask(&mut self, interim: UnboundedSender<ResponseHeader>) -> bool {
        let Some(request) = self.exchange.request.clone() else {
            return false;
        };
        let answer = self.fetch(&request, &interim).await;
        let status = answer.as_ref().map(|answer| answer.head.status);
        let exchange = &mut self.exchange;
        exchange.origin.fetched(&self.report, status.ok());
        match answer {
            Ok(answer) if zone_page::takes_over(&self.asked, exchange, &answer.head) => {}
            Ok(answer) => {
                self.head = Some(answer.head);
                self.body = Some(answer.body);
            }
            Err(failure) => self.failure = Some(failure),
        }
        self.head.is_some()
    }

    fn hand_over(mut self: Box<Self>) -> lane::Evaluated {
        self.exchange.failure = self.failure;
        Box::new(Evaluated {
            exchange: self.exchange,
            head: self.asked,
        })
    }

    fn write_head(&mut self, keep: bool, out: &mut Vec<u8>) {
        let Some(head) = &mut self.head else {
            return;
        };
        let exchange = &mut self.exchange;
        let bodiless = self.asked.method == Method::HEAD
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        // RFC 9112 §6.3, rule 3: a transfer coding overrides the length.
        let coded = head.headers.contains_key(TRANSFER_ENCODING);
        self.chunked = !bodiless && (coded || !head.headers.contains_key(CONTENT_LENGTH));
        if self.chunked {
            // What ends with the connection from the origin need not end the client's.
            head.set_version(Version::HTTP_11);
        }
        let told = passing::status(exchange);
        exchange.status = Some(told);
        let now = clock::now();
        answer::pass_on(head, &self.asked, exchange, &told, now);
        if self.chunked || (coded && head.status != StatusCode::NO_CONTENT) {
            head.remove_header(&CONTENT_LENGTH);
            let _ = head.insert_header(TRANSFER_ENCODING, "chunked");
        }
        if !head.headers.contains_key(DATE) {
            // RFC 9110 §6.6.1.
            let _ = head.insert_header(DATE, httpdate::fmt_http_date(now));
        }
        let _ = head.insert_header(CONNECTION, if keep { "keep-alive" } else { "close" });
        let version = u8::from(head.version > Version::HTTP_10);
        let reason = head.get_reason_phrase().unwrap_or_default();
        // Writing into memory does not fail.
        let _ = write!(
            out,
            "HTTP/1.{version} {} {reason}\r\n",
            head.status.as_u16()
        );
        head.header_to_h1_wire(out);
        out.extend_from_slice(b"\r\n");
    }

    fn is_chunked(&self) -> bool {
        self.chunked
    }

    async fn read(&mut self) -> Result<Option<Bytes>, Cut> {
        let Some(body) = &mut self.body else {
            return Ok(None);
        };
        match body.read().await {
            Ok(Some(bytes)) => Ok(Some(bytes)),
            Ok(None) => {
                if let Some(body) = self.body.take() {
                    self.fetcher.release(body).await;
                }
                Ok(None)
            }
            Err(failure) => Err(self.cut(failure)),
        }
    }

    fn finish(mut self: Box<Self>, sent: Sent) {
        if self.head.is_none() {
            self.exchange.origin.fetched(&self.report, None);
        }
        let error = sent.error.map(|error| match error.kind() {
            ErrorKind::ConnectionAborted => "ConnectionClosed: the client left".to_owned(),
            _ => hit::error_text(&error),
        });
        self.exchange.failure = self.failure;
        let status = self.head.as_ref().filter(|_| sent.head);
        let finished = Finished {
            head: &self.asked,
            client: None,
            status: status.map(|head| head.status),
            sent: sent.body,
            error: error.map(Into::into),
            duration: clock::instant().saturating_duration_since(self.exchange.started),
        };
        record::write(&self.shared, &self.exchange, &finished);
    }
}
