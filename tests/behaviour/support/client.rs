//! A raw HTTP/1.1 client: sends the bytes it is told, reads exactly one response at a time.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{values, within};

/// One connection.
pub struct Client {
    stream: TcpStream,
    /// Read but not yet part of a response.
    buffer: Vec<u8>,
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The connection ended before the response did.
#[derive(Debug)]
pub struct Truncated;

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.expect("connect")
    }

    pub async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = within("a connection", TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// Sends `bytes`; a peer that stopped listening shows in what it answers.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("sending", self.stream.write_all(bytes.as_ref())).await;
    }

    /// Sends a request head; without a Host among `fields` it is `site.test`.
    pub async fn request(&mut self, method: &str, target: &str, fields: &[&str]) {
        self.send(head(method, target, fields)).await;
    }

    /// Sends a GET and reads the response.
    pub async fn get(&mut self, target: &str, fields: &[&str]) -> Response {
        self.request("GET", target, fields).await;
        self.response().await
    }

    /// The next response, which must be whole.
    pub async fn response(&mut self) -> Response {
        self.try_response("GET").await.expect("a whole response")
    }

    /// The next response, which answers a HEAD and so has no body.
    pub async fn response_to_head(&mut self) -> Response {
        self.try_response("HEAD").await.expect("a whole response")
    }

    /// The next response to a request with `method`.
    pub async fn try_response(&mut self, method: &str) -> Result<Response, Truncated> {
        let mut response = self.response_head().await?;
        let bodiless = method == "HEAD" || matches!(response.status, 100..=199 | 204 | 304);
        if bodiless {
            return Ok(response);
        }
        if response.field("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await? {
                response.body.extend(chunk);
            }
        } else if let Some(length) = response.field("content-length") {
            let length = length.parse().unwrap();
            response.body = self.take(length).await?;
        } else {
            response.body = self.rest().await;
        }
        Ok(response)
    }

    /// The next response's head alone; its body is left to [`Self::chunk`] or [`Self::take`].
    pub async fn response_head(&mut self) -> Result<Response, Truncated> {
        let head = self.raw_head().await?;
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap();
        let status = status_line.split(' ').nth(1).unwrap().parse().unwrap();
        let fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Response {
            status,
            fields,
            body: Vec::new(),
        })
    }

    /// The next response's head as it came.
    pub async fn raw_head(&mut self) -> Result<String, Truncated> {
        let head = self.take_until(b"\r\n\r\n").await?;
        Ok(String::from_utf8(head).unwrap())
    }

    /// All that still comes before the connection ends.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffer)
    }

    /// The next chunk of a chunked body; `None` for the last.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Truncated> {
        let line = String::from_utf8(self.take_until(b"\r\n").await?).unwrap();
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = self.take(size + 2).await?;
        chunk.truncate(size);
        Ok((size > 0).then_some(chunk))
    }

    /// The next `length` bytes.
    pub async fn take(&mut self, length: usize) -> Result<Vec<u8>, Truncated> {
        while self.buffer.len() < length {
            if !self.fill().await {
                return Err(Truncated);
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// Whether the peer closed, with nothing more to say.
    pub async fn is_closed(&mut self) -> bool {
        !self.fill().await && self.buffer.is_empty()
    }

    async fn take_until(&mut self, end: &[u8]) -> Result<Vec<u8>, Truncated> {
        loop {
            let found = self.buffer.windows(end.len()).position(|w| w == end);
            if let Some(at) = found {
                return self.take(at + end.len()).await;
            }
            if !self.fill().await {
                return Err(Truncated);
            }
        }
    }

    /// Reads what is there; `false` at the end of the connection.
    async fn fill(&mut self) -> bool {
        let read = within("bytes from Seawall", self.stream.read_buf(&mut self.buffer));
        matches!(read.await, Ok(1..))
    }
}

impl Response {
    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        values(&self.fields, name)
    }

    /// The word of `X-Cache`.
    pub fn cache(&self) -> &str {
        self.field("x-cache").unwrap_or("none")
    }

    /// What `Cache-Status` says after the cache's name.
    pub fn cache_status(&self) -> &str {
        let value = self.field("cache-status").unwrap_or_default();
        value.strip_prefix("Seawall; ").unwrap_or(value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }
}

/// A request head.
pub(super) fn head(method: &str, target: &str, fields: &[&str]) -> String {
    let has_host = fields
        .iter()
        .any(|field| field.to_ascii_lowercase().starts_with("host:"));
    let host = if has_host { "" } else { "Host: site.test\r\n" };
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("{method} {target} HTTP/1.1\r\n{host}{fields}\r\n")
}
