//! Connections that leave HTTP for WebSocket.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Origin, Reply, Seawall, Setup, within};

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
