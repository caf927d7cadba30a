//! Who the client is: the peer, unless a proxy that is trusted says otherwise.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;

use crate::support::{Authority, Origin, Reply, Seawall, Setup, TOKEN, eventually};

const TRUSTED: &str = "[client]\ntrusted_proxies = [\"127.0.0.0/8\", \"$ours\"]\n\
                       [lists]\nours = [\"10.0.0.0/8\"]\n";

/// Tells the address that rules see.
const TELLING: &str = "[[zones.site.custom_rules]]\nname = \"banned\"\n\
                       expression = 'ip.src eq 198.51.100.7'\naction = \"block\"\n";

async fn behind_proxies(client: &str) -> (Origin, Seawall) {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let setup = Setup::before([&origin])
        .section(&TRUSTED.replace("[lists]", &format!("{client}\n[lists]")));
    let seawall = setup.zone(TELLING).start().await;
    (origin, seawall)
}

#[tokio::test]
async fn rules_log_and_origin_see_the_client_that_trusted_proxies_speak_for() {
    let (origin, seawall) = behind_proxies("").await;
    let banned = [
        "X-Forwarded-For: 192.0.2.9, 198.51.100.7",
        "X-Forwarded-For: 10.1.1.1",
    ];
    assert_eq!(seawall.get("/banned", &banned).await.status, 403);

    let fields = [
        "X-Forwarded-For: 198.51.100.7",
        "X-Forwarded-For: 198.51.100.8:4711, 10.1.1.1",
    ];
    assert_eq!(seawall.get("/p", &fields).await.status, 200);
    let asked = origin.last();
    for (name, value) in [
        ("X-Forwarded-For", "198.51.100.8, 10.1.1.1, 127.0.0.1"),
        ("X-Real-IP", "198.51.100.8"),
        (
            "Forwarded",
            "for=198.51.100.8;host=\"site.test\";proto=http, for=10.1.1.1, for=127.0.0.1",
        ),
    ] {
        assert_eq!(asked.all(name), [value], "{name}");
    }
    let line = seawall.logged("/p").await;
    assert_eq!(line["client"], "198.51.100.8");
    assert_eq!(line["peer"], "127.0.0.1");

    seawall.get("/direct", &[]).await;
    let line = seawall.logged("/direct").await;
    assert_eq!(
        (&line["client"], &line["peer"]),
        (&"127.0.0.1".into(), &Value::Null)
    );
}

#[tokio::test]
async fn without_trusted_proxies_nobody_is_believed() {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let seawall = Setup::before([&origin]).zone(TELLING).start().await;
    for field in [
        "X-Forwarded-For: 198.51.100.7",
        "Forwarded: for=198.51.100.7",
        "CF-Connecting-IP: 198.51.100.7",
    ] {
        assert_eq!(seawall.get("/p", &[field]).await.status, 200, "{field}");
    }
    assert_eq!(origin.last().all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seawall.logged("/p").await["client"], "127.0.0.1");
}

#[tokio::test]
async fn a_client_over_http2_is_seen_as_well() {
    let (origin, seawall) = behind_proxies("").await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap();
    for (address, status) in [("198.51.100.7", 403), ("198.51.100.8", 200)] {
        let url = format!("http://{}/h2", seawall.address);
        let answer = client
            .get(url)
            .header("X-Forwarded-For", address)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status);
    }
    assert_eq!(
        origin.last().all("x-forwarded-for"),
        ["198.51.100.8, 127.0.0.1"]
    );
}

#[tokio::test]
async fn the_fields_that_are_configured_count_and_reach_no_origin() {
    let (origin, seawall) =
        behind_proxies("trusted_headers = [\"x-our-client\", \"forwarded\"]").await;
    let both = [
        "X-Our-Client: 198.51.100.7",
        "Forwarded: for=192.0.2.1",
        "X-Forwarded-For: 192.0.2.2",
    ];
    assert_eq!(seawall.get("/p", &both).await.status, 403);
    assert_eq!(
        seawall
            .get("/p", &["Forwarded: for=\"198.51.100.7:80\""])
            .await
            .status,
        403
    );
    let other = [
        "X-Our-Client: 192.0.2.1",
        "X-Forwarded-For: 198.51.100.7",
        "Fly-Client-IP: 198.51.100.7",
    ];
    assert_eq!(seawall.get("/p", &other).await.status, 200);
    let asked = origin.last();
    assert_eq!(asked.all("x-real-ip"), ["192.0.2.1"]);
    for name in ["x-our-client", "fly-client-ip"] {
        assert_eq!(asked.field(name), None, "{name}");
    }
}

#[tokio::test]
async fn the_scheme_is_believed_only_where_that_is_configured() {
    let fields = ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"];
    let (origin, seawall) = behind_proxies("").await;
    seawall.get("/p", &fields).await;
    assert_eq!(origin.last().all("x-forwarded-proto"), ["http"]);
    let (origin, seawall) = behind_proxies("trust_forwarded_proto = true").await;
    seawall.get("/p", &fields).await;
    assert_eq!(origin.last().all("x-forwarded-proto"), ["https"]);
    seawall.get("/p", &[]).await;
    assert_eq!(origin.last().all("x-forwarded-proto"), ["http"]);
}

#[tokio::test]
async fn purges_at_the_public_port_are_taken_from_clients_and_not_from_their_proxy() {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let seawall = Setup::before([&origin])
        .section(TRUSTED)
        .purging()
        .start()
        .await;
    let token = format!("Authorization: Bearer {TOKEN}");
    let elsewhere = [token.as_str(), "X-Forwarded-For: 192.0.2.1"];
    for (fields, status) in [(&elsewhere[..], 403), (&elsewhere[..1], 200)] {
        let mut client = seawall.connect().await;
        client.request("PURGE", "/p", fields).await;
        assert_eq!(client.response().await.status, status);
    }
}

fn version_2(command: u8, source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, 0x11, 0, 12]);
    header.extend(source);
    header.extend([127, 0, 0, 1, 1, 2, 0, 80]);
    header
}

#[tokio::test]
async fn a_proxy_header_says_whose_the_connection_is() {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let seawall = Setup::before([&origin])
        .listen("{ address = \"ADDRESS\", proxy_protocol = { from = [\"127.0.0.1\"] } }")
        .zone(TELLING);
    let seawall = seawall.start().await;
    for (number, (header, status, client)) in [
        (
            b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n".to_vec(),
            200,
            "192.0.2.1",
        ),
        (
            b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(),
            200,
            "2001:db8::1",
        ),
        (
            b"PROXY TCP4 198.51.100.7 127.0.0.1 1 2\r\n".to_vec(),
            403,
            "198.51.100.7",
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), 200, "127.0.0.1"),
        (version_2(1, [192, 0, 2, 2]), 200, "192.0.2.2"),
        (version_2(1, [198, 51, 100, 7]), 403, "198.51.100.7"),
        (version_2(0, [198, 51, 100, 7]), 200, "127.0.0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut proxy = seawall.connect().await;
        // Together with the request, and in pieces.
        let (first, rest) = header.split_at(number * 2);
        proxy.send(first).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let target = format!("/{number}");
        let request = format!("GET {target} HTTP/1.1\r\nHost: site.test\r\n\r\n");
        proxy.send([rest, request.as_bytes()].concat()).await;
        assert_eq!(proxy.response().await.status, status, "{client}");
        // It is the connection's.
        assert_eq!(
            proxy.get(&format!("{target}/again"), &[]).await.status,
            status
        );
        let line = seawall.logged(&target).await;
        assert_eq!(line["client"], client);
        let told = if client == "127.0.0.1" {
            Value::Null
        } else {
            "127.0.0.1".into()
        };
        assert_eq!(line["peer"], told);
    }
    for header in [
        "GET / HTTP/1.1\r\nHost: site.test\r\n\r\n",
        "PROXY TCP4 x\r\n",
    ] {
        let mut proxy = seawall.connect().await;
        proxy.send(header).await;
        assert!(proxy.is_closed().await, "{header}");
    }
    let refused = "seawall_guard_total{action=\"block\",module=\"connections\",rule=\"proxy_protocol\",zone=\"-\"}";
    assert!(seawall.metric(refused).await >= 2.0);
}

#[tokio::test]
async fn a_proxy_header_from_anybody_else_is_refused() {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let seawall = Setup::before([&origin])
        .listen("{ address = \"ADDRESS\", proxy_protocol = { from = [\"10.0.0.0/8\"] } }")
        .start()
        .await;
    for header in [
        b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n".to_vec(),
        version_2(1, [192, 0, 2, 2]),
    ] {
        let mut stranger = seawall.connect().await;
        stranger
            .send([&header[..], b"GET /p HTTP/1.1\r\nHost: site.test\r\n\r\n"].concat())
            .await;
        let refused = stranger.response().await.status;
        assert!([400, 505].contains(&refused), "{refused}");
        assert!(stranger.is_closed().await);
    }
    assert_eq!(seawall.get("/p", &[]).await.status, 200);
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn a_proxy_header_comes_before_tls() {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let authority = Authority::new();
    let site = authority.identity("site.test");
    let seawall = Setup::before([&origin])
        .listen(
            "{ address = \"ADDRESS\", proxy_protocol = { from = [\"127.0.0.1\"] }, \
             tls = { certificate = \"DIR/site.pem\", key = \"DIR/site.key\" } }",
        )
        .file("site.pem", &site.certificate)
        .file("site.key", &site.key)
        .zone(TELLING)
        .start()
        .await;
    for (header, status) in [
        (
            b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n".to_vec(),
            Some("200"),
        ),
        (version_2(1, [198, 51, 100, 7]), Some("403")),
        (Vec::new(), None),
    ] {
        let (address, config) = (seawall.address, authority.client(&[]));
        let answer = tokio::task::spawn_blocking(move || over_tls(address, &header, config));
        let answer = answer.await.unwrap();
        assert_eq!(
            answer.as_deref().and_then(|text| text.split(' ').nth(1)),
            status
        );
    }
    assert_eq!(origin.last().all("x-real-ip"), ["192.0.2.1"]);
}

fn over_tls(
    address: SocketAddr,
    header: &[u8],
    config: std::sync::Arc<rustls::ClientConfig>,
) -> Option<String> {
    let name = ServerName::try_from("site.test").unwrap();
    let mut socket = TcpStream::connect(address).ok()?;
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket.write_all(header).ok()?;
    let connection = ClientConnection::new(config, name).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    stream
        .write_all(b"GET /p HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    Some(text).filter(|text| !text.is_empty())
}

#[tokio::test]
async fn a_database_that_changes_is_taken_over_and_a_broken_one_is_not() {
    let fixture = |name| format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let origin = Origin::start(|request| Reply::ok(request.field("x-country").unwrap_or("none")));
    let seawall = Setup::before([&origin])
        .section("[geo]\ncountry_database = \"DIR/places.mmdb\"")
        .rule(
            "by country",
            "/*",
            "cache = \"eligible\"\nkey = { country = true }",
        );
    let places = |seawall: &Seawall, content: &[u8]| {
        let next = seawall.path("next.mmdb");
        std::fs::write(&next, content).unwrap();
        std::fs::rename(next, seawall.path("places.mmdb")).unwrap();
    };
    let (without, with) = (fixture("asn.mmdb"), fixture("country.mmdb"));
    let seawall = seawall
        .bytes("places.mmdb", &std::fs::read(without).unwrap())
        .start()
        .await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "none");
    places(&seawall, &std::fs::read(with).unwrap());
    eventually("the new database", async || {
        seawall.get("/p", &[]).await.text() == "DE"
    })
    .await;
    places(&seawall, b"nothing of the kind");
    eventually("the fault in the log", async || {
        seawall
            .stderr()
            .contains("the databases of addresses stay as they were")
    })
    .await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "DE");
}
