//! An origin that follows a script: a function from the request it got to what it does then.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::large::Piece;
use super::{eventually, values};

type Script = dyn Fn(&Received) -> Reply + Send + Sync;

/// A server on a port of its own that writes down every request.
pub struct Origin {
    pub address: SocketAddr,
    script: Arc<Script>,
    log: Arc<Mutex<Log>>,
    server: Option<JoinHandle<()>>,
    /// Holds the port while nobody listens, so that no other test's origin gets it.
    reserved: Option<TcpSocket>,
}

#[derive(Default)]
struct Log {
    requests: Vec<Received>,
    /// Requests without an answer, and the most there were.
    outstanding: usize,
    most_outstanding: usize,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Requests for the same target that came before.
    pub nth: usize,
}

/// What the origin does with a request.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    fields: Vec<String>,
    framing: Framing,
    /// Sent before everything else, whatever the gate.
    interim: Vec<u8>,
    before: Option<Gate>,
}

#[derive(Clone, Debug)]
enum Framing {
    /// Content-Length and a body.
    Whole(Vec<u8>),
    /// Chunks, each sent once its gate is open, and the last chunk.
    Chunks(Vec<(Vec<u8>, Option<Gate>)>),
    /// Content-Length and some of a large file.
    Piece(Piece),
    /// These bytes instead of a head and a body; the connection ends with them unless it is kept.
    Raw { bytes: Vec<u8>, kept: bool },
}

/// Keeps an origin waiting until the test opens it.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    pub fn closed() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Lets everybody through, now and from now on.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn pass(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

impl Reply {
    /// A 200 with `body`, which gives no lifetime.
    pub fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::status(200, body)
    }

    /// A 200 with `body`, fresh for a minute.
    pub fn fresh(body: impl AsRef<[u8]>) -> Self {
        Self::ok(body).field("Cache-Control: max-age=60")
    }

    /// A 200 with `body` that is stale on arrival, with an entity tag to validate it by.
    pub fn stale(body: impl AsRef<[u8]>) -> Self {
        Self::ok(body)
            .field("Cache-Control: max-age=60")
            .field("Age: 60")
            .field("ETag: \"v1\"")
    }

    /// A 304 to a request that has the entity tag of [`Self::stale`].
    pub fn not_modified() -> Self {
        Self::status(304, "").field("ETag: \"v1\"")
    }

    pub fn status(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self {
            status,
            fields: Vec::new(),
            framing: Framing::Whole(body.as_ref().to_vec()),
            interim: Vec::new(),
            before: None,
        }
    }

    /// Some of a large file.
    pub(super) fn piece(status: u16, piece: Piece) -> Self {
        let mut reply = Self::status(status, "");
        reply.framing = Framing::Piece(piece);
        reply
    }

    /// What a server of static files answers: `whole`, or the range of it that is asked for.
    pub fn file(request: &Received, whole: &str, etag: &str) -> Self {
        let current = request.field("if-range").is_none_or(|tag| tag == etag);
        let reply = match request.range(whole.len()).filter(|_| current) {
            Some((first, last)) => Self::part(whole, first, last),
            None => Self::fresh(whole),
        };
        reply.field(format!("ETag: {etag}"))
    }

    /// A 206 with these bytes of `whole`, fresh for a minute.
    pub fn part(whole: &str, first: usize, last: usize) -> Self {
        let described = format!("Content-Range: bytes {first}-{last}/{}", whole.len());
        Self::status(206, &whole[first..=last])
            .field(described)
            .field("Cache-Control: max-age=60")
    }

    /// A chunked 200.
    pub fn chunked<B: AsRef<[u8]>>(chunks: impl IntoIterator<Item = B>) -> Self {
        let chunks = chunks
            .into_iter()
            .map(|chunk| (chunk.as_ref().to_vec(), None));
        let mut reply = Self::ok("");
        reply.framing = Framing::Chunks(chunks.collect());
        reply
    }

    /// These bytes and the end of the connection.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        let mut reply = Self::ok("");
        reply.framing = Framing::Raw { bytes, kept: false };
        reply
    }

    /// These bytes, and the connection is kept for the next request.
    pub fn raw_kept(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        let mut reply = Self::ok("");
        reply.framing = Framing::Raw { bytes, kept: true };
        reply
    }

    /// No answer, the connection closed.
    pub fn hang_up() -> Self {
        Self::raw("")
    }

    /// Sends an interim response first, with a field.
    pub fn after_interim(mut self, status_line: &str, field: &str) -> Self {
        let interim = format!("HTTP/1.1 {status_line}\r\n{field}\r\n\r\n");
        self.interim.extend_from_slice(interim.as_bytes());
        self
    }

    /// Adds `Name: value`.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.fields.push(field.into());
        self
    }

    /// Says nothing until `gate` is open.
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.before = Some(gate.clone());
        self
    }

    /// Adds a chunk that is sent once `gate` is open.
    pub fn then(mut self, chunk: impl AsRef<[u8]>, gate: &Gate) -> Self {
        if let Framing::Chunks(chunks) = &mut self.framing {
            chunks.push((chunk.as_ref().to_vec(), Some(gate.clone())));
        }
        self
    }

    /// Waits until the reply may be played.
    async fn wait(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        stream.write_all(&self.interim).await?;
        if let Some(gate) = &self.before {
            gate.pass().await;
        }
        Ok(())
    }

    /// Plays the reply; `false` when the connection ends with it.
    async fn play(self, method: &str, stream: &mut TcpStream) -> std::io::Result<bool> {
        let framing = match &self.framing {
            Framing::Raw { bytes, kept } => {
                stream.write_all(bytes).await?;
                return Ok(*kept);
            }
            Framing::Whole(_) if self.status == 304 => String::new(),
            Framing::Whole(body) => format!("Content-Length: {}\r\n", body.len()),
            Framing::Piece(piece) => format!("Content-Length: {}\r\n", piece.len()),
            Framing::Chunks(_) => "Transfer-Encoding: chunked\r\n".to_owned(),
        };
        let fields: String = self.fields.iter().map(|f| format!("{f}\r\n")).collect();
        let head = format!("HTTP/1.1 {} Scripted\r\n{framing}{fields}\r\n", self.status);
        match self.framing {
            Framing::Whole(body) if method != "HEAD" => {
                // One write, so that they mostly arrive together.
                let whole = [head.as_bytes(), &body].concat();
                stream.write_all(&whole).await?;
            }
            Framing::Piece(piece) if method != "HEAD" => {
                stream.write_all(head.as_bytes()).await?;
                piece.send(stream).await?;
            }
            Framing::Chunks(chunks) if method != "HEAD" => {
                // What no gate holds back goes out in one write, too.
                let mut out = head.into_bytes();
                for (chunk, gate) in chunks {
                    if let Some(gate) = gate {
                        stream.write_all(&std::mem::take(&mut out)).await?;
                        gate.pass().await;
                    }
                    out.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                    out.extend(chunk);
                    out.extend(b"\r\n");
                }
                out.extend(b"0\r\n\r\n");
                stream.write_all(&out).await?;
            }
            _ => stream.write_all(head.as_bytes()).await?,
        }
        Ok(true)
    }
}

impl Origin {
    /// Starts with the script that answers each request.
    pub fn start(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let mut origin = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            script: Arc::new(script),
            log: Arc::default(),
            server: None,
            reserved: None,
        };
        origin.listen();
        origin
    }

    /// Stops listening and drops every connection.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
            self.reserved = Some(bound(self.address));
        }
    }

    /// Listens again on the same port.
    pub fn listen(&mut self) {
        let socket = self.reserved.take().unwrap_or_else(|| bound(self.address));
        let listener = socket.listen(1024).expect("to listen");
        self.address = listener.local_addr().unwrap();
        let (script, log) = (self.script.clone(), self.log.clone());
        self.server = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, script.clone(), log.clone()));
            }
        }));
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Received> {
        self.log.lock().unwrap().requests.clone()
    }

    /// Requests so far for `target`.
    pub fn count(&self, target: &str) -> usize {
        let log = self.log.lock().unwrap();
        log.requests
            .iter()
            .filter(|request| request.target == target)
            .count()
    }

    /// The last request.
    pub fn last(&self) -> Received {
        let log = self.log.lock().unwrap();
        log.requests.last().expect("a request").clone()
    }

    /// The most requests that waited for their answer at once.
    pub fn most_outstanding(&self) -> usize {
        self.log.lock().unwrap().most_outstanding
    }

    /// Waits until `target` was asked for `count` times.
    pub async fn asked(&self, target: &str, count: usize) {
        eventually(&format!("{count} requests for {target}"), async || {
            self.count(target) >= count
        })
        .await;
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

impl Received {
    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        values(&self.fields, name)
    }

    /// The positions that a Range with one member asks for, of `length` bytes.
    pub(super) fn range(&self, length: usize) -> Option<(usize, usize)> {
        let range = self.field("range")?.strip_prefix("bytes=")?;
        let (first, last) = range.split_once('-')?;
        match (first.parse().ok(), last.parse().ok()) {
            (Some(first), Some(last)) => Some((first, length.min(last + 1) - 1)),
            (Some(first), None) => Some((first, length - 1)),
            (None, Some(count)) => Some((length.saturating_sub(count), length - 1)),
            (None, None) => None,
        }
    }
}

/// A body that lists what the request said in the fields named.
pub fn echo_fields(request: &Received, names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("{name}={:?};", request.all(name)))
        .collect()
}

/// A socket with the port of `address`, on which connections are still refused.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).expect("a port");
    socket
}

async fn serve(mut stream: TcpStream, script: Arc<Script>, log: Arc<Mutex<Log>>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Some(mut request) = receive(&mut stream, &mut buffer).await {
        {
            let mut log = log.lock().unwrap();
            let same = log
                .requests
                .iter()
                .filter(|known| known.target == request.target);
            request.nth = same.count();
            log.requests.push(request.clone());
            log.outstanding += 1;
            log.most_outstanding = log.most_outstanding.max(log.outstanding);
        }
        let reply = script(&request);
        let waited = reply.wait(&mut stream).await;
        log.lock().unwrap().outstanding -= 1;
        if waited.is_err() {
            return;
        }
        let kept = reply.play(&request.method, &mut stream).await;
        let close = request.field("connection") == Some("close");
        if close || !matches!(kept, Ok(true)) {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

/// The next request; `None` at the end of the connection.
async fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let head = take_until(stream, buffer, b"\r\n\r\n").await?;
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.trim_end().split("\r\n");
    let mut line = lines.next()?.split(' ');
    let mut request = Received {
        method: line.next()?.to_owned(),
        target: line.next()?.to_owned(),
        fields: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect(),
        body: Vec::new(),
        nth: 0,
    };
    if request.field("expect").is_some() {
        let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
        stream.write_all(go_on).await.ok()?;
    }
    if request.field("transfer-encoding").is_some() {
        loop {
            let line = take_until(stream, buffer, b"\r\n").await?;
            let size = usize::from_str_radix(String::from_utf8(line).ok()?.trim(), 16).ok()?;
            let chunk = take(stream, buffer, size + 2).await?;
            request.body.extend(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = request.field("content-length") {
        request.body = take(stream, buffer, length.parse().ok()?).await?;
    }
    Some(request)
}

async fn take(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
    while buffer.len() < length {
        fill(stream, buffer).await?;
    }
    Some(buffer.drain(..length).collect())
}

async fn take_until(stream: &mut TcpStream, buffer: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = buffer.windows(end.len()).position(|window| window == end) {
            return take(stream, buffer, at + end.len()).await;
        }
        fill(stream, buffer).await?;
    }
}

async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    match stream.read_buf(buffer).await {
        Ok(1..) => Some(()),
        _ => None,
    }
}
