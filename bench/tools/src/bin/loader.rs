//! Fills a cache: asks for COUNT objects, `PREFIX0` and on, pipelined over a few connections.
//!
//! `loader ADDRESS PREFIX COUNT [CONNECTIONS=8] [DEPTH=32]` ends with an error when an answer is not 200.

use std::io::{Error, Result};
use std::ops::Range;
use std::time::Instant;

use seawall_bench_tools::{MOST_FIELDS, runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, prefix, count, rest @ ..] = arguments.as_slice() else {
        return Err(Error::other(
            "loader ADDRESS PREFIX COUNT [CONNECTIONS] [DEPTH]",
        ));
    };
    let number = |text: &String| text.parse::<u64>().map_err(Error::other);
    let count = number(count)?;
    let connections = rest.first().map_or(Ok(8), number)?.clamp(1, 1000);
    let depth = rest.get(1).map_or(Ok(32), number)?.max(1);
    let began = Instant::now();
    runtime()?.block_on(async {
        let mut tasks = JoinSet::new();
        for index in 0..connections {
            let share = count * index / connections..count * (index + 1) / connections;
            tasks.spawn(ask(address.clone(), prefix.clone(), share, depth));
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(Error::other)??;
        }
        Ok::<(), Error>(())
    })?;
    println!("{count} objects in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Asks for a share of the objects, over as many connections in turn as the server allows them.
async fn ask(address: String, prefix: String, share: Range<u64>, depth: u64) -> Result<()> {
    let (mut next, mut fruitless) = (share.start, 0);
    while next < share.end {
        let before = next;
        let mut stream = TcpStream::connect(&address).await?;
        stream.set_nodelay(true)?;
        next = ask_over(&mut stream, &prefix, next..share.end, depth).await?;
        fruitless = if next == before { fruitless + 1 } else { 0 };
        if fruitless > 3 {
            return Err(Error::other(format!("no answer to {prefix}{next}")));
        }
    }
    Ok(())
}

/// The first object that was not answered.
async fn ask_over(
    stream: &mut TcpStream,
    prefix: &str,
    share: Range<u64>,
    depth: u64,
) -> Result<u64> {
    let (mut sent, mut answered) = (share.start, share.start);
    let (mut buffer, mut requests) = (Vec::with_capacity(1 << 18), Vec::new());
    while answered < share.end {
        // Half a window at a time, so that requests and answers go in large pieces.
        if sent - answered <= depth / 2 && sent < share.end {
            requests.clear();
            let until = share.end.min(answered + depth);
            for object in sent..until {
                let request = format!("GET {prefix}{object} HTTP/1.1\r\nHost: bench.test\r\n\r\n");
                requests.extend_from_slice(request.as_bytes());
            }
            sent = until;
            if stream.write_all(&requests).await.is_err() {
                return Ok(answered);
            }
        }
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return Ok(answered);
        }
        let mut used = 0;
        while let Some(length) = answer_length(&buffer[used..])? {
            used += length;
            answered += 1;
        }
        buffer.drain(..used);
    }
    Ok(answered)
}

/// The length of the answer in front, once all of it is there.
fn answer_length(buffer: &[u8]) -> Result<Option<usize>> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = response.parse(buffer).map_err(Error::other)? else {
        return Ok(None);
    };
    if response.code != Some(200) {
        return Err(Error::other(format!("status {:?}", response.code)));
    }
    let body = response
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let body = body.and_then(|field| std::str::from_utf8(field.value).ok()?.parse::<usize>().ok());
    let length = head + body.ok_or_else(|| Error::other("an answer without Content-Length"))?;
    Ok((buffer.len() >= length).then_some(length))
}
