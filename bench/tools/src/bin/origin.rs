//! An origin quick enough not to be what is measured. `origin ADDRESS` answers
//!
//! * `/hit/BYTES/ANYTHING`: so many bytes, cacheable for a day;
//! * `/slow/BYTES/ANYTHING`: the same after 300 ms, for a herd to gather;
//! * `/pass/BYTES/ANYTHING`: so many bytes, not cacheable;
//! * `/count`: how many requests of the first three kinds there were.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use seawall_bench_tools::{MOST_FIELDS, http_date, listen, runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).expect("ADDRESS");
    LocalSet::new().block_on(&runtime()?, async {
        let listener = listen(&address)?;
        let count = Rc::new(Cell::new(0));
        loop {
            let (stream, _) = listener.accept().await?;
            let count = count.clone();
            spawn_local(async move { serve(stream, &count).await });
        }
    })
}

async fn serve(mut stream: TcpStream, count: &Cell<u64>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut answer) = (Vec::with_capacity(8192), Vec::new());
    loop {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(&buffer) {
            Ok(httparse::Status::Complete(length)) => {
                let target = request.path.unwrap_or_default();
                if target.starts_with("/slow/") {
                    count.set(count.get() + 1);
                    tokio::time::sleep(Duration::from_millis(300)).await;
                } else if target != "/count" {
                    count.set(count.get() + 1);
                }
                write_answer(&mut answer, target, count.get());
                buffer.drain(..length);
                stream.write_all(&answer).await?;
            }
            Ok(httparse::Status::Partial) => {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            }
            Err(_) => return Ok(()),
        }
    }
}

fn write_answer(answer: &mut Vec<u8>, target: &str, count: u64) {
    answer.clear();
    let mut segments = target.split(['/', '?']).skip(1);
    let (kind, size) = (segments.next(), segments.next());
    let (body, length) = match (kind, size.and_then(|size| size.parse().ok())) {
        (Some("count"), _) => (count.to_string(), None),
        (_, Some(length)) => (String::new(), Some(length)),
        _ => ("no such path".to_owned(), None),
    };
    let length: usize = length.unwrap_or(body.len());
    let caching = match kind {
        Some("hit" | "slow") => "public, max-age=86400",
        _ => "no-store",
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\
         Cache-Control: {caching}\r\nETag: \"{length}\"\r\nDate: {}\r\n\r\n{body}",
        http_date()
    );
    answer.extend_from_slice(head.as_bytes());
    answer.resize(answer.len() + length - body.len(), b'x');
}
