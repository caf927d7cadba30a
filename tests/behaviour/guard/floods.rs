//! Floods over HTTP/2: the connection is ended with a GOAWAY, memory stays, and others are served.

use std::time::Duration;

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{Origin, Reply, Seawall, Setup, eventually, within};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A GET of `/p` at `site.test`, none of it indexed anew.
const HEAD: &[u8] = b"\x82\x86\x04\x02/p\x01\x09site.test";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Its name, and what makes its pieces.
type Flood = (&'static str, Box<dyn FnMut(u32) -> Vec<u8>>);

async fn seawall(client: &str) -> (Origin, Seawall) {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let setup = Setup::before([&origin])
        .section(&format!("[client]\n{client}"))
        .rule("kept", "/*", "cache = \"eligible\"");
    let seawall = setup.start().await;
    assert_eq!(seawall.get("/p", &[]).await.status, 200);
    (origin, seawall)
}

async fn ended(seawall: &Seawall, why: &str) -> f64 {
    let series = format!(
        "seawall_guard_total{{action=\"block\",module=\"connections\",rule=\"{why}\",zone=\"-\"}}"
    );
    seawall.metric(&series).await
}

/// Sends what `next` makes of the number of the piece until the connection ends or `most` bytes are sent; what came
/// back, and how many pieces went out.
async fn flood(
    seawall: &Seawall,
    most: usize,
    mut next: impl FnMut(u32) -> Vec<u8>,
) -> (Vec<u8>, u32) {
    let stream = TcpStream::connect(seawall.address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        let _ = reader.read_to_end(&mut all).await;
        all
    });
    writer
        .write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat())
        .await
        .unwrap();
    let (mut sent, mut pieces) = (0, 0);
    while sent < most && !reading.is_finished() {
        let piece = next(pieces);
        sent += piece.len();
        if writer.write_all(&piece).await.is_err() {
            break;
        }
        pieces += 1;
    }
    drop(writer);
    (within("the end of a flood", reading).await.unwrap(), pieces)
}

/// The frames there are: kind, and the code of a GOAWAY.
fn goodbye(mut bytes: &[u8]) -> Option<u32> {
    while bytes.len() >= 9 {
        let length =
            usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
        let payload = bytes.get(9..9 + length)?;
        if bytes[3] == 7 {
            return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        bytes = &bytes[9 + length..];
    }
    None
}

#[tokio::test]
async fn frames_that_bring_nothing_end_the_connection_and_take_no_memory() {
    let (_origin, seawall) = seawall("").await;
    let (before, _) = seawall.resident();
    let open = |flags| frame(1, flags, 1, HEAD);
    let floods: Vec<Flood> = vec![
        (
            "SETTINGS",
            Box::new(|_| frame(4, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ),
        ("PING", Box::new(|_| frame(6, 0, 0, &[0; 8]))),
        ("PRIORITY", Box::new(|_| frame(2, 0, 1, &[0, 0, 0, 3, 16]))),
        ("WINDOW_UPDATE", Box::new(|_| frame(8, 0, 0, &[0, 0, 0, 1]))),
        ("unknown", Box::new(|_| frame(0x77, 0, 0, &[]))),
        (
            "empty DATA",
            Box::new(move |number| {
                if number == 0 {
                    open(4)
                } else {
                    frame(0, 0, 1, &[])
                }
            }),
        ),
        (
            "CONTINUATION",
            Box::new(move |number| {
                if number == 0 {
                    open(0)
                } else {
                    frame(9, 0, 1, b"\x00\x01a\x01b")
                }
            }),
        ),
    ];
    for (name, flood_of) in floods {
        let (back, pieces) = flood(&seawall, 64 << 20, flood_of).await;
        assert!(pieces < 2_000_000, "{name}: {pieces}");
        if let Some(code) = goodbye(&back) {
            assert!([0xb, 1].contains(&code), "{name}: {code}");
        }
        assert_eq!(seawall.get("/p", &[]).await.status, 200, "{name}");
    }
    assert!(ended(&seawall, "http2_empty_frames").await >= 4.0);
    let (after, _) = seawall.resident();
    assert!(after < before + (32 << 20), "{before} and then {after}");
}

#[tokio::test]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let (origin, seawall) = seawall("http2_max_resets = 50").await;
    let reset = |number: u32| {
        let stream = number * 2 + 1;
        [
            frame(1, 5, stream, HEAD),
            frame(3, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat()
    };
    let (back, _) = flood(&seawall, 64 << 20, reset).await;
    assert!(goodbye(&back).is_none_or(|code| code == 0xb));
    // Rule breaking for which the server resets the stream (CVE-2025-8671).
    let made = |number: u32| {
        let stream = number * 2 + 1;
        [
            frame(1, 5, stream, HEAD),
            frame(8, 0, stream, &[0, 0, 0, 0]),
        ]
        .concat()
    };
    let (back, _) = flood(&seawall, 64 << 20, made).await;
    assert!(goodbye(&back).is_none_or(|code| [0xb, 1].contains(&code)));
    assert_eq!(seawall.get("/p", &[]).await.status, 200);
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn heads_that_grow_when_they_are_decoded_take_no_memory() {
    let (_origin, seawall) = seawall("").await;
    let (before, _) = seawall.resident();
    // A field of 4,000 bytes that is put into the table, and then named by one byte each time.
    let mut long = b"\x40\x01a\x7f\xa1\x1e".to_vec();
    long.extend([b'x'; 4000]);
    let first = [HEAD, &long].concat();
    let bomb = [HEAD, &[0xbe; 16_000]].concat();
    let no_window = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let pieces = |number: u32| {
        let stream = number * 2 + 1;
        match number {
            0 => [no_window.as_slice(), &frame(1, 5, stream, &first)].concat(),
            _ => frame(1, 5, stream, &bomb),
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), flood(&seawall, 32 << 20, pieces)).await;
    assert_eq!(seawall.get("/p", &[]).await.status, 200);
    let (_, most) = seawall.resident();
    assert!(most < before + (96 << 20), "{before} and at most {most}");
}

#[tokio::test]
async fn a_client_that_comes_back_to_reset_more_is_ended_sooner() {
    let (_origin, seawall) = seawall("http2_max_resets = 20").await;
    let mut counts = Vec::new();
    for _ in 0..10 {
        counts.push(resets(&seawall, 100).await);
    }
    // Five connections' worth, and then next to none.
    assert!(counts[0] >= 15, "{counts:?}");
    assert!(counts[9] <= 10, "{counts:?}");
    assert!(ended(&seawall, "http2_max_resets").await >= 5.0);
}

/// How many streams a real client could begin and reset, one after the other.
async fn resets(seawall: &Seawall, most: u32) -> u32 {
    let stream = TcpStream::connect(seawall.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    for number in 0..most {
        let Ok(ready) = client.ready().await else {
            return number;
        };
        client = ready;
        let request = Request::post("http://site.test/p").body(()).unwrap();
        let Ok((_, mut body)) = client.send_request(request, false) else {
            return number;
        };
        body.send_reset(h2::Reason::CANCEL);
        tokio::time::sleep(Duration::from_millis(2)).await;
        if connection.is_finished() {
            return number;
        }
    }
    most
}

#[tokio::test]
async fn an_ordinary_client_of_http2_is_in_no_ones_way() {
    let (_origin, seawall) = seawall("").await;
    let stream = TcpStream::connect(seawall.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for number in 0..2000 {
        client = client.ready().await.unwrap();
        let request = Request::get("http://site.test/p").body(()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        // Some are not wanted any more, as when somebody leaves a page.
        if number % 50 == 0 {
            drop(answer);
            continue;
        }
        let mut body = answer.await.unwrap().into_body();
        while let Some(piece) = body.data().await {
            let length = piece.unwrap().len();
            let _ = body.flow_control().release_capacity(length);
        }
    }
    assert!(ended(&seawall, "http2_max_resets").await < 0.5);
    assert!(ended(&seawall, "http2_empty_frames").await < 0.5);
}

/// The slowest but one in a hundred of so many hits.
async fn p99(seawall: &Seawall, count: usize) -> Duration {
    let mut client = seawall.connect().await;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        assert_eq!(client.get("/p", &[]).await.status, 200);
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times[count * 99 / 100]
}

#[tokio::test]
async fn bystanders_are_served_through_a_flood() {
    let (_origin, seawall) = seawall("").await;
    let quiet = p99(&seawall, 500).await;
    let mut flooded = Duration::ZERO;
    let mut ended_before = 0.0;
    eventually(
        "a flood that was ended while others were served",
        async || {
            let reset = |number: u32| {
                let stream = number * 2 + 1;
                [
                    frame(1, 5, stream, HEAD),
                    frame(3, 0, stream, &[0, 0, 0, 8]),
                ]
                .concat()
            };
            let attack = async {
                for _ in 0..20 {
                    flood(&seawall, 1 << 20, reset).await;
                }
            };
            let (time, ()) = tokio::join!(p99(&seawall, 500), attack);
            flooded = time;
            ended_before += 1.0;
            ended(&seawall, "http2_max_resets").await >= ended_before
        },
    )
    .await;
    // The machine that runs the tests runs the flood too.
    let bound = (quiet * 5).max(Duration::from_millis(50));
    assert!(flooded < bound, "{quiet:?} and in the flood {flooded:?}");
}
