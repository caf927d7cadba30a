//! Connections that leave HTTP for WebSocket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Authority, Client, Origin, Reply, Seawall, Setup, eventually, within};

/// An origin that echoes what it is told, once it took `pause` for the handshake.
async fn echo(pause: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
                    return;
                };
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_close() || socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

/// An origin that agrees to anything, and then echoes every byte.
async fn echo_bytes() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
                stream.write_all(agreed.as_bytes()).await?;
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    address
}

#[tokio::test]
async fn messages_pass_in_both_directions() {
    // Pingora 0.9.1 ends the connection when the 101 is faster than the end of the empty request
    // body is processed (cloudflare/pingora#946).
    let origin = echo(Duration::from_millis(50)).await;
    let setup = Setup::servers([format!("\"http://{origin}\"")]);
    // Longer than any pause within an ordinary response may be.
    let seawall = setup
        .pool("timeouts = { first_byte = \"300ms\", between_bytes = \"300ms\" }")
        .start()
        .await;

    let url = format!("ws://{}/ws", seawall.address);
    let connecting = tokio_tungstenite::connect_async(url);
    let (mut socket, response) = within("the handshake", connecting).await.unwrap();
    assert_eq!(response.status(), 101);
    for text in ["one", "two", &"x".repeat(200_000)] {
        socket.send(Message::text(text)).await.unwrap();
        let echoed = within("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echoed.to_text().unwrap(), text);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    socket.send(Message::binary(vec![0, 1, 2])).await.unwrap();
    let echoed = within("the echo", socket.next()).await.unwrap().unwrap();
    assert_eq!(echoed.into_data().as_ref(), [0, 1, 2]);
    socket.close(None).await.unwrap();
}

#[tokio::test]
async fn an_upgrade_bypasses_the_store() {
    let origin = Origin::start(|_| Reply::fresh("no upgrade here"));
    let seawall = Seawall::before(&origin).await;
    for _ in 0..2 {
        let response = seawall
            .get("/ws", &["Connection: Upgrade", "Upgrade: websocket"])
            .await;
        assert_eq!((response.status, response.cache()), (200, "DYNAMIC"));
    }
    assert_eq!(origin.count("/ws"), 2);
    assert_eq!(origin.last().field("upgrade"), Some("websocket"));
}

#[tokio::test]
async fn an_origin_that_is_quick_to_shake_hands_keeps_the_connection() {
    let origin = echo(Duration::ZERO).await;
    let setup = Setup::servers([format!("\"http://{origin}\"")]);
    let seawall = setup.start().await;
    for _ in 0..200 {
        let url = format!("ws://{}/ws", seawall.address);
        let connecting = tokio_tungstenite::connect_async(url);
        let (mut socket, _) = within("the handshake", connecting).await.unwrap();
        socket.send(Message::text("one")).await.unwrap();
        let echoed = within("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echoed.to_text().unwrap(), "one");
    }
}

#[tokio::test]
async fn what_the_client_says_with_its_handshake_goes_through_the_tunnel() {
    let origin = echo_bytes().await;
    let seawall = Setup::servers([format!("\"http://{origin}\"")])
        .start()
        .await;
    let handshake =
        "GET /ws HTTP/1.1\r\nHost: site.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    // The second is more than is kept back.
    for early in ["early".to_owned(), "x".repeat(300_000)] {
        let mut client = seawall.connect().await;
        let mut sent = early.clone();
        client.send(format!("{handshake}{early}")).await;
        let head = client.raw_head().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        for late in ["", " and late"] {
            client.send(late).await;
            sent.push_str(late);
        }
        let echoed = within("the echo", client.take(sent.len())).await.unwrap();
        assert!(echoed == sent.as_bytes(), "{} bytes", sent.len());
    }
}

/// The same as [`echo`], over TLS.
async fn echo_over_tls(config: Arc<rustls::ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = TlsAcceptor::from(config.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.ok()?;
                let mut socket = tokio_tungstenite::accept_async(stream).await.ok()?;
                while let Some(Ok(message)) = socket.next().await {
                    socket.send(message).await.ok()?;
                }
                Some(())
            });
        }
    });
    address
}

#[tokio::test]
async fn a_tunnel_leads_to_an_https_origin_whatever_version_the_pool_speaks() {
    let authority = Authority::new();
    let origin = echo_over_tls(authority.identity("127.0.0.1").server()).await;
    for http2 in ["off", "negotiate"] {
        let seawall = Setup::servers([format!("\"https://{origin}\"")])
            .file("ca.pem", &authority.pem())
            .pool(&format!(
                "http2 = \"{http2}\"\ntls = {{ ca = \"DIR/ca.pem\" }}"
            ))
            .start()
            .await;
        let url = format!("ws://{}/ws", seawall.address);
        let connecting = tokio_tungstenite::connect_async(url);
        let (mut socket, _) = within("the handshake", connecting).await.unwrap();
        for text in ["one", &"x".repeat(200_000)] {
            socket.send(Message::text(text)).await.unwrap();
            let echoed = within("the echo", socket.next()).await.unwrap().unwrap();
            assert_eq!(echoed.to_text().unwrap(), text);
        }
    }
}

#[tokio::test]
async fn a_tunnel_stays_while_the_process_drains() {
    let origin = echo(Duration::ZERO).await;
    let mut seawall = Setup::servers([format!("\"http://{origin}\"")])
        .start()
        .await;
    let url = format!("ws://{}/ws", seawall.address);
    let connecting = tokio_tungstenite::connect_async(url);
    let (mut socket, _) = within("the handshake", connecting).await.unwrap();
    seawall.signal("TERM");
    eventually("new connections to be refused", async || {
        Client::try_connect(seawall.address).await.is_err()
    })
    .await;
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        let echoed = within("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echoed.to_text().unwrap(), text);
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = within("the end", socket.next()).await {}
    assert!(seawall.ended().await.success());
    assert!(seawall.stderr().contains("\"cut_off\":0") || seawall.stderr().contains("cut_off=0"));
}
