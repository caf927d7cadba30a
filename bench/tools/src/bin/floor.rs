//! The practical limit: a tokio loop that parses a request head and writes one constant answer. It looks
//! nothing up, logs nothing and counts nothing.
//!
//! `floor ADDRESS=BYTES...` listens on each address with answers of that size.

use std::sync::Arc;

use seawall_bench_tools::{MOST_FIELDS, http_date, listen, runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn main() -> std::io::Result<()> {
    runtime()?.block_on(async {
        let mut listeners = Vec::new();
        for argument in std::env::args().skip(1) {
            let (address, size) = argument.split_once('=').expect("ADDRESS=BYTES");
            let listener = listen(address)?;
            let answer: Arc<[u8]> = answer(size.parse().expect("a number of bytes")).into();
            listeners.push(tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let answer = answer.clone();
                    tokio::spawn(async move { serve(stream, &answer).await });
                }
            }));
        }
        for listener in listeners {
            let _ = listener.await;
        }
        Ok(())
    })
}

fn answer(size: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {size}\r\n\
         Cache-Control: public, max-age=86400\r\nETag: \"{size}\"\r\nDate: {}\r\nAge: 1\r\n\r\n",
        http_date()
    )
    .into_bytes();
    answer.resize(answer.len() + size, b'x');
    answer
}

async fn serve(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(8192);
    loop {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        match httparse::Request::new(&mut fields).parse(&buffer) {
            Ok(httparse::Status::Complete(length)) => {
                buffer.drain(..length);
                stream.write_all(answer).await?;
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
