//! TLS towards clients: protocols by ALPN, certificates that change without a restart.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::support::{Authority, Identity, Origin, Reply, Seawall, Setup, eventually};

const LISTEN: &str =
    "{ address = \"ADDRESS\", tls = { certificate = \"DIR/site.pem\", key = \"DIR/site.key\" } }";

async fn start(origin: &Origin, authority: &Authority) -> Seawall {
    let site = authority.identity("site.test");
    Setup::before([origin])
        .listen(LISTEN)
        .file("site.pem", &site.certificate)
        .file("site.key", &site.key)
        .start()
        .await
}

struct Answer {
    protocol: Option<Vec<u8>>,
    certificate: CertificateDer<'static>,
    text: String,
}

/// One HTTP/1.1 request over TLS.
async fn ask(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<Answer> {
    let ask = move || {
        let name = ServerName::try_from("site.test").unwrap();
        let connection = ClientConnection::new(config, name).unwrap();
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut stream = StreamOwned::new(connection, socket);
        stream.write_all(b"GET /p HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        Ok(Answer {
            protocol: stream.conn.alpn_protocol().map(<[u8]>::to_vec),
            certificate: stream.conn.peer_certificates().unwrap()[0]
                .clone()
                .into_owned(),
            text,
        })
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

#[tokio::test]
async fn http1_is_spoken_to_those_who_ask_for_it_or_for_nothing() {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let authority = Authority::new();
    let seawall = start(&origin, &authority).await;

    for (offered, chosen) in [(&["http/1.1"][..], Some(&b"http/1.1"[..])), (&[], None)] {
        let answer = ask(seawall.address, authority.client(offered))
            .await
            .unwrap();
        assert_eq!(answer.protocol.as_deref(), chosen);
        assert!(answer.text.starts_with("HTTP/1.1 200 "), "{}", answer.text);
        assert!(answer.text.ends_with("\r\n\r\nhello"));
    }
    assert_eq!(origin.last().field("x-forwarded-proto"), Some("https"));
}

#[tokio::test]
async fn http2_is_spoken_to_those_who_offer_it() {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let authority = Authority::new();
    let seawall = start(&origin, &authority).await;

    let tls = Arc::unwrap_or_clone(authority.client(&["h2", "http/1.1"]));
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .resolve("site.test", seawall.address)
        .no_proxy()
        .build()
        .unwrap();
    let url = format!("https://site.test:{}/p", seawall.address.port());
    for word in ["MISS", "HIT"] {
        let response = client.get(&url).send().await.unwrap();
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
        assert_eq!(response.headers()["x-cache"], word);
        assert_eq!(response.text().await.unwrap(), "hello");
    }
    assert_eq!(origin.last().field("x-forwarded-proto"), Some("https"));
}

#[tokio::test]
async fn a_new_certificate_takes_effect_on_sighup() {
    let origin = Origin::start(|_| Reply::ok("hello"));
    let authority = Authority::new();
    let seawall = start(&origin, &authority).await;
    let first = ask(seawall.address, authority.client(&[]))
        .await
        .unwrap()
        .certificate;

    let next = authority.identity("site.test");
    std::fs::write(seawall.path("site.key"), &next.key).unwrap();
    std::fs::write(seawall.path("site.pem"), &next.certificate).unwrap();
    seawall.signal("HUP");
    eventually("the new certificate", async || {
        let answer = ask(seawall.address, authority.client(&[])).await.unwrap();
        answer.certificate != first
    })
    .await;
}

#[tokio::test]
async fn a_broken_certificate_leaves_the_last_good_one() {
    let origin = Origin::start(|_| Reply::ok("hello"));
    let authority = Authority::new();
    let seawall = start(&origin, &authority).await;

    std::fs::write(seawall.path("site.pem"), "nonsense").unwrap();
    seawall.signal("HUP");
    eventually("the failure to be counted", async || {
        seawall
            .metric("seawall_config_reloads_total{result=\"failure\"}")
            .await
            > 0.0
    })
    .await;
    assert!(ask(seawall.address, authority.client(&[])).await.is_ok());
    assert!(
        seawall.stderr().contains("site.pem"),
        "{}",
        seawall.stderr()
    );
}

#[tokio::test]
async fn a_listener_for_nodes_of_a_lower_tier_demands_their_certificate() {
    let (nodes, strangers) = (Authority::new(), Authority::new());
    let origin = Origin::start(|_| Reply::fresh("page"));
    let own = nodes.identity("127.0.0.1");
    let upper = Setup::before([&origin])
        .listen("{ address = \"ADDRESS\", tls = { certificate = \"DIR/site.pem\", key = \"DIR/site.key\", client_ca = \"DIR/ca.pem\" } }")
        .file("site.pem", &own.certificate)
        .file("site.key", &own.key)
        .file("ca.pem", &nodes.pem())
        .start()
        .await;
    let lower = |identity: &Identity| {
        Setup::servers([format!("\"https://{}\"", upper.address)])
            .file("ca.pem", &nodes.pem())
            .file("client.pem", &identity.certificate)
            .file("client.key", &identity.key)
            .pool("tls = { ca = \"DIR/ca.pem\", client_certificate = \"DIR/client.pem\", client_key = \"DIR/client.key\" }")
    };
    let node = lower(&nodes.identity("node.test")).start().await;
    assert_eq!(node.get("/p", &[]).await.text(), "page");
    let stranger = lower(&strangers.identity("node.test")).start().await;
    assert_eq!(stranger.get("/q", &[]).await.status, 502);
    assert!(
        ask(upper.address, nodes.client(&[]))
            .await
            .map_or(true, |answer| answer.text.is_empty())
    );
    assert_eq!(origin.count("/q"), 0);
}
