//! Connections to the origin: when one is used again, and what must never come out of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Seawall, Setup, eventually};

/// An origin that counts its connections, and how many of them are open.
struct Counting {
    port: u16,
    opened: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Counting {
    /// Every request gets what `answer` gives for its target; the connection ends with an answer that
    /// is marked so.
    async fn start(answer: fn(&str) -> (&'static str, bool)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (opened, open) = (Arc::default(), Arc::default());
        let origin = Self { port, opened, open };
        let (opened, open) = (origin.opened.clone(), origin.open.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                let open = open.clone();
                tokio::spawn(async move {
                    serve(stream, answer).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        origin
    }

    async fn seawall(&self, pool: &str) -> Seawall {
        Setup::servers([format!("\"http://127.0.0.1:{}\"", self.port)])
            .pool(pool)
            .rule("past the cache", "/*", "cache = \"bypass\"")
            .start()
            .await
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, answer: fn(&str) -> (&'static str, bool)) {
    let mut seen = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut seen).await {
        if !seen.ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8(std::mem::take(&mut seen)).unwrap();
        let target = head.split(' ').nth(1).unwrap();
        let (bytes, ends) = answer(target);
        if stream.write_all(bytes.as_bytes()).await.is_err() || ends {
            return;
        }
    }
}

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole";

#[tokio::test]
async fn a_connection_is_used_again_only_after_an_answer_that_leaves_nothing() {
    let origin = Counting::start(|target| match target {
        "/chunks" => (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\nX: y\r\n\r\n",
            false,
        ),
        "/old-kept" => (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nwhole",
            false,
        ),
        "/says-close" => (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwhole",
            false,
        ),
        "/old" => ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nwhole", false),
        "/more" => (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwholeHTTP/1.1 ",
            false,
        ),
        "/until-close" => ("HTTP/1.1 200 OK\r\n\r\nwhole", true),
        _ => (WHOLE, false),
    })
    .await;
    let seawall = origin.seawall("").await;
    assert_eq!(seawall.get("/first", &[]).await.text(), "whole");
    let mut expected = origin.opened();
    for (target, kept) in [
        ("/length", true),
        ("/chunks", true),
        ("/old-kept", true),
        ("/says-close", false),
        ("/old", false),
        ("/more", false),
        ("/until-close", false),
    ] {
        assert_eq!(seawall.get(target, &[]).await.text(), "whole", "{target}");
        let next = seawall.get("/next", &[]).await;
        assert_eq!(next.text(), "whole", "after {target}");
        expected += usize::from(!kept);
        assert_eq!(origin.opened(), expected, "{target}");
    }
}

#[tokio::test]
async fn an_answer_that_could_be_framed_in_two_ways_is_a_502() {
    let origin = Counting::start(|target| match target {
        "/both" => (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            false,
        ),
        "/two" => (
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nwhole",
            false,
        ),
        "/space" => ("HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nwhole", false),
        "/folded" => (
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5\r\n\r\nwhole",
            false,
        ),
        "/other" => ("HTTP/1.1 101 Switching Protocols\r\n\r\n", false),
        _ => (WHOLE, false),
    })
    .await;
    let seawall = origin.seawall("").await;
    for target in ["/both", "/two", "/space", "/folded", "/other"] {
        assert_eq!(seawall.get(target, &[]).await.status, 502, "{target}");
        assert_eq!(seawall.get("/next", &[]).await.text(), "whole");
    }
}

#[tokio::test]
async fn a_bad_chunk_never_looks_like_an_end() {
    let origin = Counting::start(|_| {
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0x0\r\n\r\n",
            false,
        )
    })
    .await;
    let seawall = origin.seawall("").await;
    let mut client = seawall.connect().await;
    client.request("GET", "/p", &[]).await;
    assert!(client.try_response("GET").await.is_err());
}

#[tokio::test]
async fn a_connection_that_the_origin_closes_is_closed_without_a_request() {
    let origin = Counting::start(|_| (WHOLE, true)).await;
    let seawall = origin.seawall("").await;
    for nth in 1..=3 {
        assert_eq!(seawall.get("/p", &[]).await.text(), "whole");
        assert!(origin.opened() >= nth);
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_its_time() {
    let origin = Counting::start(|_| (WHOLE, false)).await;
    let seawall = origin.seawall("timeouts = { idle = \"1s\" }").await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "whole");
    assert_eq!(origin.open.load(Ordering::SeqCst), 1);
    eventually("the idle connection to be closed", async || {
        origin.open.load(Ordering::SeqCst) == 0
    })
    .await;
}
