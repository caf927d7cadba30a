//! Origins reached over TLS are verified.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::{Authority, Setup, eventually};

/// An origin that says "secret" over TLS, one request a connection.
fn secret(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, socket);
            let mut head = [0; 4096];
            if stream.read(&mut head).is_ok() {
                let answer =
                    "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret";
                let _ = stream.write_all(answer.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    address
}

#[tokio::test]
async fn only_an_origin_that_proves_its_name_is_trusted() {
    let authority = Authority::new();
    let named = secret(authority.identity("app.test").server());
    let addressed = secret(authority.identity("127.0.0.1").server());
    let trusted = "ca = \"DIR/ca.pem\"";

    for (origin, tls, status) in [
        (named, format!("{trusted}, server_name = \"app.test\""), 200),
        (
            named,
            format!("{trusted}, server_name = \"other.test\""),
            502,
        ),
        (named, trusted.to_owned(), 502),
        (addressed, trusted.to_owned(), 200),
        (named, "server_name = \"app.test\"".to_owned(), 502),
        (named, "verify = false".to_owned(), 200),
    ] {
        let seawall = Setup::servers([format!("\"https://{origin}\"")])
            .file("ca.pem", &authority.pem())
            .pool(&format!("tls = {{ {tls} }}"))
            .start()
            .await;
        let response = seawall.get("/p", &[]).await;
        assert_eq!(response.status, status, "{tls}");
        assert_eq!(response.text() == "secret", status == 200, "{tls}");
    }
}

#[tokio::test]
async fn an_origin_that_demands_a_certificate_gets_the_pools_own() {
    let authority = Authority::new();
    let others = Authority::new();
    let demanding = authority
        .identity("127.0.0.1")
        .server_with(&[], Some(&authority));
    let origin = secret(demanding);
    let ours = authority.identity("seawall.test");
    let strange = others.identity("seawall.test");
    let keys = "client_certificate = \"DIR/client.pem\", client_key = \"DIR/client.key\"";
    let setup = |identity: &crate::support::Identity, keys: &str| {
        Setup::servers([format!("\"https://{origin}\"")])
            .file("ca.pem", &authority.pem())
            .file("client.pem", &identity.certificate)
            .file("client.key", &identity.key)
            .pool(&format!("tls = {{ ca = \"DIR/ca.pem\", {keys} }}"))
    };
    let without = Setup::servers([format!("\"https://{origin}\"")])
        .file("ca.pem", &authority.pem())
        .pool("tls = { ca = \"DIR/ca.pem\" }");
    assert_eq!(without.start().await.get("/p", &[]).await.status, 502);

    let seawall = setup(&strange, keys).start().await;
    assert_eq!(seawall.get("/p", &[]).await.status, 502);
    // A renewed certificate is noticed, one that does not fit is not taken.
    std::fs::write(seawall.path("client.pem"), &ours.certificate).unwrap();
    eventually("the fault", async || {
        seawall.stderr().contains("client.key: ")
    })
    .await;
    std::fs::write(seawall.path("client.key"), &ours.key).unwrap();
    seawall.signal("HUP");
    eventually("the certificate", async || {
        seawall.get("/p", &[]).await.status == 200
    })
    .await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "secret");
}
