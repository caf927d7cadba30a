//! An object storage that speaks S3, behind a proxy that counts what it is asked.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

use super::{Client, within};

const BUCKET: &str = "/bucket";

/// A running server with an empty bucket, ended when dropped.
pub struct Storage {
    /// Where the proxy is.
    pub address: SocketAddr,
    server: SocketAddr,
    child: Child,
    state: Arc<Mutex<State>>,
}

/// What the proxy does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Passes it on.
    Good,
    /// Closes it.
    Closed,
    /// Takes all and says nothing.
    Silent,
    /// Answers with this status.
    Refusing(u16),
}

struct State {
    mood: Mood,
    /// Method and target of every request.
    requests: Vec<String>,
}

impl Storage {
    /// Starts it, with a bucket.
    pub async fn start() -> Self {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/storage/.venv/bin/python");
        assert!(
            python.exists(),
            "the object storage for tests is not installed: scripts/setup-test.sh"
        );
        let mut child = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the object storage starts");
        let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
        let server = told.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("http://")?;
            address.trim().parse().ok()
        });
        // What it says later is read, so that it does not wait for that.
        std::thread::spawn(move || told.map_while(Result::ok).for_each(drop));
        let server = server.expect("the object storage tells its address");
        let state = Arc::new(Mutex::new(State {
            mood: Mood::Good,
            requests: Vec::new(),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(accept(listener, server, state.clone()));
        let storage = Self {
            address,
            server,
            child,
            state,
        };
        storage.ask("PUT", BUCKET, b"").await;
        storage
    }

    /// A user who may do what `actions` say with the bucket, and nobody else from now on: signatures are
    /// verified. Gives the user's access key and secret.
    pub async fn guarded(&self, actions: &str) -> (String, String) {
        let policy = format!(
            "{{\"Version\":\"2012-10-17\",\"Statement\":{{\"Effect\":\"Allow\",\"Action\":[{actions}],\
             \"Resource\":\"*\"}}}}"
        );
        let policy: String = policy.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.manage("CreateUser&UserName=seawall").await;
        self.manage(&format!(
            "PutUserPolicy&UserName=seawall&PolicyName=reads&PolicyDocument={policy}"
        ))
        .await;
        let made = self.manage("CreateAccessKey&UserName=seawall").await;
        let of = |name: &str| {
            let (_, rest) = made.split_once(&format!("<{name}>")).unwrap();
            rest.split_once('<').unwrap().0.to_owned()
        };
        self.request("POST", "/moto-api/reset-auth", "s3", b"0")
            .await;
        (of("AccessKeyId"), of("SecretAccessKey"))
    }

    async fn manage(&self, action: &str) -> String {
        let body = format!("Version=2010-05-08&Action={action}");
        let told = self.request("POST", "/", "iam", body.as_bytes()).await;
        String::from_utf8(told).unwrap()
    }

    /// What the proxy does from now on, with connections that are open as well.
    pub fn set(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// Requests so far that begin like this, such as `GET /bucket/`.
    pub fn count(&self, beginning: &str) -> usize {
        let state = self.state.lock().unwrap();
        let mut requests = state.requests.iter();
        requests
            .by_ref()
            .filter(|request| request.starts_with(beginning))
            .count()
    }

    /// Objects that were asked for so far.
    pub fn reads(&self) -> usize {
        let lists = self.count("GET /bucket?");
        self.count("GET /bucket") - lists
    }

    /// Names of all objects.
    pub async fn names(&self) -> Vec<String> {
        let list = self.ask("GET", "/bucket?list-type=2", b"").await;
        let list = String::from_utf8(list).unwrap();
        let names = list.split("<Key>").skip(1);
        names
            .map(|rest| rest.split("</Key>").next().unwrap().to_owned())
            .collect()
    }

    /// The bytes of an object.
    pub async fn object(&self, name: &str) -> Vec<u8> {
        self.ask("GET", &format!("{BUCKET}/{name}"), b"").await
    }

    /// Puts other bytes into an object.
    pub async fn put(&self, name: &str, bytes: &[u8]) {
        self.ask("PUT", &format!("{BUCKET}/{name}"), bytes).await;
    }

    /// A request past the proxy.
    async fn ask(&self, method: &str, target: &str, body: &[u8]) -> Vec<u8> {
        self.request(method, target, "s3", body).await
    }

    async fn request(&self, method: &str, target: &str, service: &str, body: &[u8]) -> Vec<u8> {
        let mut client = Client::connect(self.server).await;
        let length = format!("Content-Length: {}", body.len());
        let host = format!("Host: {}", self.server);
        // It looks at whose request it is, and not at the signature.
        let signed = format!(
            "Authorization: AWS4-HMAC-SHA256 \
             Credential=key/20260101/us-east-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=0"
        );
        let form = "Content-Type: application/x-www-form-urlencoded";
        let mut fields = vec![host.as_str(), &length, &signed];
        fields.extend((service == "iam").then_some(form));
        client.request(method, target, &fields).await;
        client.send(body).await;
        let response = client.response().await;
        assert_eq!(response.status, 200, "{method} {target}: {response:?}");
        response.body
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, state: Arc<Mutex<State>>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(pass(client, server, state.clone()));
    }
}

async fn pass(client: TcpStream, server: SocketAddr, state: Arc<Mutex<State>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut from_server, mut to_server) = server.into_split();
    let mut buffer = vec![0; 64 << 10];
    let (tell, told) = tokio::sync::oneshot::channel();
    let answering = tokio::spawn(async move {
        let _ = copy(&mut from_server, &mut to_client).await;
        let _ = tell.send(to_client);
    });
    loop {
        let count = match from_client.read(&mut buffer).await {
            Ok(count) if count > 0 => count,
            _ => return,
        };
        let mood = {
            let mut state = state.lock().unwrap();
            state.requests.extend(requests(&buffer[..count]));
            state.mood
        };
        match mood {
            Mood::Good => {
                if to_server.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
            Mood::Closed => {
                answering.abort();
                return;
            }
            Mood::Silent => {}
            Mood::Refusing(status) => {
                drop(to_server);
                let mut to_client = within("the end of the server's side", told).await.unwrap();
                let answer = format!(
                    "HTTP/1.1 {status} No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
                );
                let _ = to_client.write_all(answer.as_bytes()).await;
                return;
            }
        }
    }
}

/// Method and target of the requests whose heads begin in `bytes`.
fn requests(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split("\r\n");
    lines
        .filter_map(|line| {
            let request = line.strip_suffix(" HTTP/1.1")?;
            let (method, target) = request.split_once(' ')?;
            let known = ["GET", "PUT", "POST", "DELETE", "HEAD"].contains(&method);
            (known && target.starts_with('/')).then(|| request.to_owned())
        })
        .collect()
}
