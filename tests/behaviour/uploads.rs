//! Large bodies on their way to the origin.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Client, Setup};

const MIB: usize = 1 << 20;

/// An origin that takes `pause` for each of the first reads, and says how many bytes it got.
async fn sink(pause: Duration, pauses: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
                let (_, length) = head.split_once("content-length: ").unwrap();
                let length: usize = length.split_once('\r').unwrap().0.parse().unwrap();
                let mut buffer = vec![0; 256 << 10];
                let (mut read, mut reads) = (0, 0);
                while read < length {
                    if reads < pauses {
                        tokio::time::sleep(pause).await;
                    }
                    reads += 1;
                    read += stream.read(&mut buffer).await?;
                }
                let said = format!("{read}");
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}",
                    said.len()
                );
                stream.write_all(answer.as_bytes()).await
            });
        }
    });
    address
}

async fn put(client: &mut Client, target: &str, mebibytes: usize) {
    let length = format!("Content-Length: {}", mebibytes * MIB);
    client.request("PUT", target, &[&length]).await;
    let piece = vec![b'x'; MIB];
    for _ in 0..mebibytes {
        client.send(&piece).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_goes_to_a_bucket_without_taking_memory() {
    let origin = sink(Duration::from_millis(2), 500).await;
    let bucket = "[pools.app.bucket]\nname = \"bucket\"\npresigned = true";
    let seawall = Setup::servers([format!("\"http://{origin}\"")])
        .pool(&format!("max_body_size = \"2 GiB\"\n{bucket}"))
        .start()
        .await;
    let (_, before) = seawall.resident();
    let mut client = seawall.connect().await;
    put(
        &mut client,
        "/bucket/big?X-Amz-Credential=a&X-Amz-Signature=b",
        1024,
    )
    .await;
    let response = client.response().await;
    assert_eq!(response.text(), (1024 * MIB).to_string());
    let (_, after) = seawall.resident();
    let grown = after.saturating_sub(before);
    println!("grown by {} KiB", grown >> 10);
    assert!(grown < 64 << 20, "grown by {grown} bytes");
}

#[tokio::test]
async fn a_pool_takes_larger_bodies_than_all_others() {
    let origin = sink(Duration::ZERO, 0).await;
    let client = "[client]\nmax_body_size = \"1 MiB\"";
    let servers = || Setup::servers([format!("\"http://{origin}\"")]).section(client);
    let small = servers().start().await;
    let mut refused = small.connect().await;
    let length = format!("Content-Length: {}", 2 * MIB);
    refused.request("PUT", "/x", &[&length]).await;
    assert_eq!(refused.response().await.status, 413);

    let large = servers().pool("max_body_size = \"4 MiB\"").start().await;
    let mut client = large.connect().await;
    put(&mut client, "/x", 4).await;
    assert_eq!(client.response().await.text(), (4 * MIB).to_string());
    let mut refused = large.connect().await;
    let length = format!("Content-Length: {}", 5 * MIB);
    refused.request("PUT", "/x", &[&length]).await;
    assert_eq!(refused.response().await.status, 413);
}

#[tokio::test]
async fn an_upload_may_take_longer_than_the_origin_has_for_its_answer() {
    let origin = sink(Duration::from_millis(20), 60).await;
    let seawall = Setup::servers([format!("\"http://{origin}\"")])
        .pool("timeouts = { first_byte = \"400ms\", between_bytes = \"400ms\" }")
        .start()
        .await;
    let mut client = seawall.connect().await;
    put(&mut client, "/x", 24).await;
    let response = client.response().await;
    assert_eq!(
        (response.status, response.text().to_owned()),
        (200, (24 * MIB).to_string())
    );
}
