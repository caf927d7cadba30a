//! The real binary, started with a configuration written for the test.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

use super::client::{Client, Response};
use super::{Origin, Storage, eventually};

/// A configuration to start Seawall with. Each part is TOML put into its section.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    servers: Vec<String>,
    listen: Option<String>,
    top: String,
    threads: Option<usize>,
    server: String,
    sections: String,
    pool: String,
    hosts: Option<String>,
    zone: String,
    files: Vec<(String, Vec<u8>)>,
    open_files: Option<u32>,
}

/// A running Seawall, killed when dropped.
pub struct Seawall {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    setup: Setup,
    directory: Arc<TempDir>,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// What purges must show.
pub const TOKEN: &str = "purge-token-0123456789";

type Lines = Arc<Mutex<Vec<String>>>;

impl Setup {
    /// In front of these origins.
    pub fn before<'o>(origins: impl IntoIterator<Item = &'o Origin>) -> Self {
        let servers = origins
            .into_iter()
            .map(|origin| format!("\"http://{}\"", origin.address));
        Self {
            servers: servers.collect(),
            ..Self::default()
        }
    }

    /// In front of these servers, each a TOML value.
    pub fn servers(servers: impl IntoIterator<Item = String>) -> Self {
        Self {
            servers: servers.into_iter().collect(),
            ..Self::default()
        }
    }

    /// In front of a bucket at `endpoint`; `keys` are those of its table.
    pub fn bucket(endpoint: SocketAddr, keys: &str) -> Self {
        Self::servers([format!("\"http://{endpoint}\"")])
            .pool(&format!("[pools.app.bucket]\nname = \"bucket\"\n{keys}"))
    }

    /// With purging on, by [`TOKEN`].
    pub fn purging(self) -> Self {
        self.section(&format!("[purge]\ntoken = \"{TOKEN}\""))
    }

    /// What to listen on instead of a cleartext address; `ADDRESS`, `PORT` and `DIR` are filled in.
    pub fn listen(mut self, listen: &str) -> Self {
        self.listen = Some(listen.to_owned());
        self
    }

    /// Keys that belong to no section.
    pub fn top(mut self, toml: &str) -> Self {
        self.top += toml;
        self.top += "\n";
        self
    }

    /// This many worker threads instead of two.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Keys of `[server]`.
    pub fn server(mut self, toml: &str) -> Self {
        self.server += toml;
        self.server += "\n";
        self
    }

    /// Whole sections such as `[client]`.
    pub fn section(mut self, toml: &str) -> Self {
        self.sections += toml;
        self.sections += "\n";
        self
    }

    /// With none of the sections so far.
    pub fn without_sections(mut self) -> Self {
        self.sections.clear();
        self
    }

    /// Keys of the pool; `DIR` is the directory of [`Self::file`].
    pub fn pool(mut self, toml: &str) -> Self {
        self.pool += toml;
        self.pool += "\n";
        self
    }

    /// The zone's hosts instead of `["*"]`.
    pub fn hosts(mut self, toml: &str) -> Self {
        self.hosts = Some(toml.to_owned());
        self
    }

    /// Keys of the zone.
    pub fn zone(mut self, toml: &str) -> Self {
        self.zone += toml;
        self.zone += "\n";
        self
    }

    /// A cache rule for paths that match the wildcard `path`.
    pub fn rule(self, name: &str, path: &str, settings: &str) -> Self {
        let expression = format!("http.request.uri.path wildcard \"{path}\"");
        self.zone(&format!(
            "[[zones.site.cache_rules]]\nname = \"{name}\"\nexpression = '{expression}'\n{settings}"
        ))
    }

    /// With a disk behind the memory, in `DIR/store` unless `settings` say otherwise.
    pub fn disk(self, settings: &str) -> Self {
        let directory = if settings.contains("directory") {
            ""
        } else {
            "directory = \"DIR/store\"\n"
        };
        self.section(&format!("[cache.disk]\n{directory}{settings}"))
    }

    /// With a reserve below the disk.
    pub fn reserve(self, storage: &Storage, settings: &str) -> Self {
        self.section(&format!(
            "[cache.reserve]\nendpoint = \"http://{}\"\nbucket = \"bucket\"\n\
             access_key = \"key\"\nsecret_key = \"secret\"\n{settings}",
            storage.address
        ))
    }

    /// A file in the directory of the configuration.
    pub fn file(self, name: &str, content: &str) -> Self {
        self.bytes(name, content.as_bytes())
    }

    /// The same, of any bytes.
    pub fn bytes(mut self, name: &str, content: &[u8]) -> Self {
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    /// How many files the process may have open.
    pub fn open_files(mut self, most: u32) -> Self {
        self.open_files = Some(most);
        self
    }

    /// Starts it and waits until it listens.
    pub async fn start(self) -> Seawall {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        for (name, content) in &self.files {
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        // Another process may take a port between choosing and listening.
        for _ in 0..5 {
            let [address, admin] = free_addresses();
            let config = self.toml(address, admin, &directory);
            std::fs::write(directory.path().join("seawall.toml"), config).unwrap();
            let mut seawall =
                Seawall::spawn(self.clone(), address, admin, directory.clone(), false);
            if seawall.listens().await {
                return seawall;
            }
            let faults = seawall.stderr();
            assert!(
                faults.contains("cannot listen"),
                "Seawall did not start: {faults}"
            );
        }
        panic!("no free port");
    }

    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_seawall");
        let Some(most) = self.open_files else {
            return Command::new(binary);
        };
        let mut command = Command::new("sh");
        let limited = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        command.args(["-c", &limited, binary]);
        command
    }

    fn toml(&self, address: SocketAddr, admin: SocketAddr, directory: &TempDir) -> String {
        let listen = self.listen.as_deref().unwrap_or("\"ADDRESS\"");
        let hosts = self.hosts.as_deref().unwrap_or("[\"*\"]");
        let toml = format!(
            "listen = [{listen}]\n\
             {}\n\
             [admin]\nlisten = \"{admin}\"\n\
             [server]\nthreads = {}\nupgrade_socket = \"DIR/upgrade.sock\"\ndrain_timeout = \"5s\"\n\
             {}\n{}\n\
             [pools.app]\nservers = [{}]\n{}\n\
             [zones.site]\nhosts = {hosts}\npool = \"app\"\n{}",
            self.top,
            self.threads.unwrap_or(2),
            self.server,
            self.sections,
            self.servers.join(", "),
            self.pool,
            self.zone,
        );
        let directory = directory.path().display().to_string();
        toml.replace("ADDRESS", &address.to_string())
            .replace("PORT", &address.port().to_string())
            .replace("DIR", &directory)
    }
}

impl Seawall {
    /// Starts in front of one origin, with nothing configured.
    pub async fn before(origin: &Origin) -> Self {
        Setup::before([origin]).start().await
    }

    fn spawn(
        setup: Setup,
        address: SocketAddr,
        admin: SocketAddr,
        directory: Arc<TempDir>,
        upgrade: bool,
    ) -> Self {
        let mut command = setup.command();
        command
            .arg("serve")
            .arg(directory.path().join("seawall.toml"));
        if upgrade {
            command.arg("--upgrade");
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        Self {
            address,
            admin,
            setup,
            directory,
            stdout: collect(child.stdout.take().unwrap()),
            stderr: collect(child.stderr.take().unwrap()),
            child,
        }
    }

    /// Starts another process that waits for this one to hand its listening sockets over.
    pub fn successor(&self) -> Self {
        let directory = self.directory.clone();
        Self::spawn(
            self.setup.clone(),
            self.address,
            self.admin,
            directory,
            true,
        )
    }

    /// Kills it, whatever it is doing.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills it, whatever it is doing, and starts it again.
    pub async fn killed_and_restarted(mut self) -> Self {
        self.kill();
        self.restarted().await
    }

    /// Ends it in order and starts it again.
    pub async fn ended_and_restarted(mut self) -> Self {
        self.signal("TERM");
        assert!(self.ended().await.success());
        self.restarted().await
    }

    /// Starts it again, with the same configuration and files.
    pub async fn restarted(self) -> Self {
        let directory = self.directory.clone();
        let (setup, address, admin) = (self.setup.clone(), self.address, self.admin);
        drop(self);
        let mut restarted = Self::spawn(setup, address, admin, directory, false);
        assert!(restarted.listens().await, "{}", restarted.stderr());
        restarted
    }

    /// Whether it came to listen, rather than ended.
    async fn listens(&mut self) -> bool {
        let mut listening = false;
        eventually("Seawall to listen", async || {
            listening = self.is_up().await;
            listening || self.child.try_wait().unwrap().is_some()
        })
        .await;
        listening
    }

    /// Asks the admin listener first: a connection alone may be one to the check of the addresses
    /// that comes before listening.
    async fn is_up(&self) -> bool {
        let Ok(mut admin) = Client::try_connect(self.admin).await else {
            return false;
        };
        admin.request("GET", "/healthz", &[]).await;
        admin.try_response("GET").await.is_ok() && Client::try_connect(self.address).await.is_ok()
    }

    /// The most memory that the process has had at once, in bytes.
    pub fn peak_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .unwrap();
        kilobytes.trim().parse::<usize>().unwrap() << 10
    }

    /// A file in the directory of the configuration.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the configuration anew; `change` gets the one it was started with.
    pub fn reconfigure(&self, change: impl FnOnce(Setup) -> Setup) {
        let toml = change(self.setup.clone()).toml(self.address, self.admin, &self.directory);
        // Replaced as a whole, as a careful editor does.
        let next = self.path("next.toml");
        std::fs::write(&next, toml).unwrap();
        std::fs::rename(next, self.path("seawall.toml")).unwrap();
    }

    /// Sends a signal such as `HUP`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Resident memory of the process in bytes: now, and the most there was.
    pub fn resident(&self) -> (u64, u64) {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let of = |key: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
            kibibytes.parse::<u64>().unwrap() * 1024
        };
        (of("VmRSS:"), of("VmHWM:"))
    }

    /// Waits for the process to end.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("Seawall to end", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// A new connection.
    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// A GET over a connection of its own.
    pub async fn get(&self, target: &str, fields: &[&str]) -> Response {
        self.connect().await.get(target, fields).await
    }

    /// A HEAD over a connection of its own.
    pub async fn head(&self, target: &str, fields: &[&str]) -> Response {
        let mut client = self.connect().await;
        client.request("HEAD", target, fields).await;
        client.response_to_head().await
    }

    /// A request with a body over a connection of its own.
    pub async fn send(&self, method: &str, target: &str, fields: &[&str], body: &str) -> Response {
        let length = format!("Content-Length: {}", body.len());
        let mut client = self.connect().await;
        client
            .request(method, target, &[fields, &[length.as_str()]].concat())
            .await;
        client.send(body).await;
        client.response().await
    }

    /// What the admin listener answers.
    pub async fn admin(&self, path: &str) -> Response {
        Client::connect(self.admin).await.get(path, &[]).await
    }

    /// A purge at the admin listener, with the token; what it answers.
    pub async fn purge(&self, request: &str) -> Value {
        let bearer = format!("Authorization: Bearer {TOKEN}");
        let response = self.post_admin("/purge", &[&bearer], request).await;
        assert_eq!(response.status, 200, "{request}: {response:?}");
        serde_json::from_slice(&response.body).unwrap()
    }

    /// What the admin listener answers to a POST.
    pub async fn post_admin(&self, path: &str, fields: &[&str], body: &str) -> Response {
        let length = format!("Content-Length: {}", body.len());
        let mut client = Client::connect(self.admin).await;
        client
            .request("POST", path, &[fields, &[length.as_str()]].concat())
            .await;
        client.send(body).await;
        client.response().await
    }

    /// The value of a metric, given with its labels as the text format has them; 0 while absent.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.admin("/metrics").await;
        let value = text
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
            .map(|value| value.parse().unwrap());
        value.unwrap_or_default()
    }

    /// The access log's line for `target`, once it is written.
    pub async fn logged(&self, target: &str) -> Value {
        let mut found = None;
        eventually(&format!("an access log line for {target}"), async || {
            let lines = self.stdout.lock().unwrap();
            found = lines
                .iter()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|record| record["target"] == target);
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Everything on standard output so far: the access log.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().join("\n")
    }

    /// Everything on standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().join("\n")
    }
}

impl Drop for Seawall {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both are held until both are known, so that they differ.
fn free_addresses() -> [SocketAddr; 2] {
    let listeners = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners
        .each_ref()
        .map(|listener| listener.local_addr().unwrap())
}

fn collect(output: impl Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let collected = lines.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            collected.lock().unwrap().push(line);
        }
    });
    lines
}
