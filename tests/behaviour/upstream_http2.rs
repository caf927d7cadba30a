//! Origins that are asked over HTTP/2, and gRPC through them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::{Authority, Seawall, Setup, within};

/// An origin of HTTP/2, and how many connections it has got.
struct Origin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Origin {
    async fn start<F>(
        answer: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start_with(None, answer).await
    }

    async fn start_with<F>(
        tls: Option<Arc<rustls::ServerConfig>>,
        answer: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let (tls, answer) = (tls.clone(), answer.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, answer).await,
                        Some(config) => {
                            let accepted = TlsAcceptor::from(config).accept(stream).await;
                            if let Ok(stream) = accepted {
                                serve(stream, answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            connections,
        }
    }

    fn setup(&self) -> Setup {
        Setup::servers([format!("\"http://{}\"", self.address)]).pool("http2 = \"prior_knowledge\"")
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve<F>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        if request.uri().path() == "/last" {
            connection.graceful_shutdown();
        }
        tokio::spawn(answer(request, respond));
    }
}

/// Says what it was asked, and echoes the body.
async fn echo(mut request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut said = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        said.extend([name.as_str(), ": ", value.to_str().unwrap(), "\n"]);
    }
    while let Some(Ok(piece)) = request.body_mut().data().await {
        let _ = request
            .body_mut()
            .flow_control()
            .release_capacity(piece.len());
        said += std::str::from_utf8(&piece).unwrap();
    }
    let response = Response::builder()
        .header("cache-control", "max-age=60")
        .body(())
        .unwrap();
    if let Ok(mut body) = respond.send_response(response, false) {
        send(&mut body, said.into(), false).await;
        let _ = body.send_data(Bytes::new(), true);
    }
}

/// Sends as much as the other side takes.
async fn send(body: &mut SendStream<Bytes>, mut bytes: Bytes, end: bool) {
    while !bytes.is_empty() {
        body.reserve_capacity(bytes.len());
        let Some(Ok(room)) = std::future::poll_fn(|context| body.poll_capacity(context)).await
        else {
            return;
        };
        let piece = bytes.split_to(room.min(bytes.len()));
        if body.send_data(piece, end && bytes.is_empty()).is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn pages_come_over_http2_whether_they_are_cached_or_not() {
    let origin = Origin::start(echo).await;
    let seawall = origin
        .setup()
        .rule("past", "/past", "cache = \"bypass\"")
        .start()
        .await;
    let asked = "GET http://site.test/cached/a?b=c\n";
    for expected in ["MISS", "HIT"] {
        let response = seawall.get("/cached/a?b=c", &["TE: trailers"]).await;
        assert_eq!((response.status, response.cache()), (200, expected));
        assert!(response.text().starts_with(asked), "{}", response.text());
        assert!(!response.text().contains("\nhost: "), "{}", response.text());
    }
    let past = seawall.get("/past", &[]).await;
    assert_eq!((past.status, past.cache()), (200, "BYPASS"));
    let posted = seawall
        .send("POST", "/post", &[], &"x".repeat(300_000))
        .await;
    assert!(posted.text().starts_with("POST http://site.test/post\n"));
    assert!(posted.text().ends_with(&"x".repeat(300_000)));
    let head = seawall.head("/past", &[]).await;
    assert_eq!(head.status, 200);
    // One for what is fetched, one for what passes.
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn requests_share_a_connection_as_far_as_the_pool_allows() {
    let origin = Origin::start(|request, respond| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        echo(request, respond).await;
    })
    .await;
    for (streams, most) in [(100, 20), (1, 30)] {
        let seawall = origin
            .setup()
            .pool(&format!("http2_max_streams = {streams}"))
            .start()
            .await;
        seawall.get("/first", &[]).await;
        let before = origin.connections();
        let all = join_all((0..30).map(|nth| {
            let target = format!("/{nth}");
            let seawall = &seawall;
            async move { seawall.get(&target, &[]).await.status }
        }));
        assert!(all.await.iter().all(|status| *status == 200));
        // Who comes while another one takes its stream makes a connection of its own.
        let made = origin.connections() - before;
        assert!(made <= most, "{made}");
        assert!(streams > 1 || made >= 28, "{made}");
    }
}

#[tokio::test]
async fn a_version_is_negotiated_with_https_origins() {
    let authority = Authority::new();
    let identity = authority.identity("127.0.0.1");
    for (protocols, version) in [(&["h2", "http/1.1"][..], "2"), (&["http/1.1"], "1.1")] {
        let tls = identity.server_with(protocols, None);
        let address = if version == "2" {
            Origin::start_with(Some(tls), echo).await.address
        } else {
            plain(tls).await
        };
        let seawall = Setup::servers([format!("\"https://{address}\"")])
            .file("ca.pem", &authority.pem())
            .pool("http2 = \"negotiate\"\ntls = { ca = \"DIR/ca.pem\" }")
            .start()
            .await;
        for _ in 0..2 {
            let response = seawall.get("/p", &[]).await;
            assert_eq!(response.status, 200, "{version}");
            let over_2 = response.text().starts_with("GET https://site.test/p\n");
            assert_eq!(over_2, version == "2", "{}", response.text());
        }
    }
}

/// An origin of HTTP/1.1 over TLS, one request a connection.
async fn plain(tls: Arc<rustls::ServerConfig>) -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = TlsAcceptor::from(tls.clone());
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await?;
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await
            });
        }
    });
    address
}

#[tokio::test]
async fn refused_streams_and_closing_connections_are_tried_again() {
    let refusals = Arc::new(AtomicUsize::new(0));
    let refused = refusals.clone();
    let origin = Origin::start(move |request, mut respond| {
        let refused = refused.clone();
        async move {
            let path = request.uri().path().to_owned();
            if path.starts_with("/refused")
                && refused.fetch_add(1, Ordering::Relaxed).is_multiple_of(2)
            {
                respond.send_reset(Reason::REFUSED_STREAM);
            } else {
                echo(request, respond).await;
            }
        }
    })
    .await;
    let seawall = origin.setup().start().await;
    assert_eq!(seawall.get("/refused", &[]).await.status, 200);
    // It was not looked at, so that even this may be sent again.
    let posted = seawall.send("POST", "/refused", &[], "body").await;
    assert_eq!(posted.status, 200);
    assert!(posted.text().ends_with("body"), "{}", posted.text());
    assert_eq!(refusals.load(Ordering::Relaxed), 4);
    for _ in 0..3 {
        assert_eq!(seawall.get("/last", &[]).await.status, 200);
        assert_eq!(seawall.send("POST", "/last", &[], "x").await.status, 200);
    }
}

#[tokio::test]
async fn an_origin_that_says_nothing_is_not_waited_for() {
    let origin = Origin::start(|mut request, respond| async move {
        while request.body_mut().data().await.is_some() {}
        // Until the other side gives up.
        let mut respond = respond;
        let _ = std::future::poll_fn(|context| respond.poll_reset(context)).await;
    })
    .await;
    let seawall = origin
        .setup()
        .rule("all", "*", "cache = \"bypass\"")
        .pool("timeouts = { first_byte = \"200ms\", between_bytes = \"200ms\", total = \"600ms\" }")
        .start()
        .await;
    assert_eq!(seawall.get("/a", &[]).await.status, 504);
    let mut client = seawall.connect().await;
    let fields = ["Content-Length: 4"];
    client.request("DELETE", "/b", &fields[..0]).await;
    assert_eq!(client.response().await.status, 504);
    // The time runs while a body is sent, so that there is no more than the whole to go by.
    let mut client = seawall.connect().await;
    client.request("POST", "/c", &fields).await;
    client.send("body").await;
    assert_eq!(client.response().await.status, 504);
    assert_eq!(seawall.logged("/c").await["status"], 504);
}

#[tokio::test]
async fn an_endless_answer_ends_with_the_whole_time_and_is_told_of() {
    let origin = Origin::start(|_, mut respond| async move {
        let Ok(mut body) = respond.send_response(Response::new(()), false) else {
            return;
        };
        while body.send_data(Bytes::from_static(b"drop"), false).is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let seawall = origin
        .setup()
        .rule("all", "*", "cache = \"bypass\"")
        .pool("timeouts = { first_byte = \"300ms\", total = \"600ms\" }")
        .start()
        .await;
    let mut client = seawall.connect().await;
    client.request("DELETE", "/a", &[]).await;
    assert!(client.try_response("DELETE").await.is_err());
    let logged = seawall.logged("/a").await;
    assert_eq!(logged["status"], 200);
    assert!(
        logged["error"].as_str().unwrap().contains("total"),
        "{logged}"
    );
    let failures = "seawall_origin_failures_total{kind=\"timeout\",pool=\"app\"}";
    assert_eq!(seawall.metric(failures).await, 1.0);
}

/// A client's side of a gRPC call.
struct Call {
    response: h2::client::ResponseFuture,
    body: SendStream<Bytes>,
}

async fn call(seawall: &Seawall, path: &str) -> Call {
    let stream = TcpStream::connect(seawall.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method("POST")
        .uri(format!("http://site.test{path}"))
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let mut client = client.ready().await.unwrap();
    let (response, body) = client.send_request(request, false).unwrap();
    Call { response, body }
}

/// A service that echoes each message as it comes, and ends with a status in trailers.
async fn service(mut request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    assert_eq!(request.headers()["te"], "trailers");
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("grpc-message", HeaderValue::from_static("well"));
    let mut response = Response::builder().header("content-type", "application/grpc+proto");
    if request.uri().path() == "/refusing" {
        response = response.header("grpc-status", "12");
        let _ = respond.send_response(response.body(()).unwrap(), true);
        return;
    }
    let mut body = respond
        .send_response(response.body(()).unwrap(), false)
        .unwrap();
    while let Some(Ok(message)) = request.body_mut().data().await {
        let _ = request
            .body_mut()
            .flow_control()
            .release_capacity(message.len());
        send(&mut body, message, false).await;
    }
    let _ = body.send_trailers(trailers);
}

#[tokio::test]
async fn a_call_streams_both_ways_for_longer_than_any_answer_may_take() {
    let origin = Origin::start(service).await;
    let seawall = origin
        .setup()
        .pool("timeouts = { first_byte = \"200ms\", between_bytes = \"200ms\", total = \"500ms\" }")
        .start()
        .await;
    let Call { response, mut body } = call(&seawall, "/shop.Carts/Watch").await;
    let response = within("the head", response).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc+proto");
    let mut answers = response.into_body();
    for nth in 0..3 {
        let message = Bytes::from(format!("message {nth}"));
        body.send_data(message.clone(), false).unwrap();
        let answer = within("an answer", answers.data()).await.unwrap().unwrap();
        assert_eq!(answer, message);
        let _ = answers.flow_control().release_capacity(answer.len());
        tokio::time::sleep(Duration::from_millis(350)).await;
    }
    body.send_data(Bytes::new(), true).unwrap();
    assert!(within("the end", answers.data()).await.is_none());
    let trailers = within("trailers", answers.trailers()).await.unwrap();
    let trailers = trailers.expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["grpc-message"], "well");
}

#[tokio::test]
async fn a_call_without_messages_has_its_status() {
    let origin = Origin::start(service).await;
    let seawall = origin.setup().start().await;
    let Call { response, mut body } = call(&seawall, "/refusing").await;
    body.send_data(Bytes::new(), true).unwrap();
    let response = within("the head", response).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "12");
}

#[tokio::test]
async fn an_idle_call_ends() {
    let origin = Origin::start(service).await;
    let seawall = origin
        .setup()
        .pool("timeouts = { upgraded_idle = \"300ms\" }")
        .start()
        .await;
    let Call { response, mut body } = call(&seawall, "/shop.Carts/Watch").await;
    body.send_data(Bytes::from_static(b"once"), false).unwrap();
    let mut answers = within("the head", response).await.unwrap().into_body();
    assert_eq!(
        within("an answer", answers.data()).await.unwrap().unwrap(),
        "once"
    );
    let ended = within("the end", answers.data()).await;
    assert!(matches!(ended, None | Some(Err(_))), "{ended:?}");
}
