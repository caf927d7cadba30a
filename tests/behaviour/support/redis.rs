//! A Redis server of the test's own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::Authority;

/// A running server, ended when dropped.
pub struct Redis {
    address: SocketAddr,
    directory: TempDir,
    child: Child,
    tls: bool,
}

impl Redis {
    /// Starts it, empty.
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), false)
    }

    /// Starts it, empty, with nothing but TLS, and a certificate for its address.
    pub fn start_with_tls(authority: &Authority) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let identity = authority.identity("127.0.0.1");
        for (name, pem) in [
            ("ca.pem", authority.pem()),
            ("server.pem", identity.certificate),
            ("server.key", identity.key),
        ] {
            std::fs::write(directory.path().join(name), pem).unwrap();
        }
        Self::start_in(directory, true)
    }

    fn start_in(directory: TempDir, tls: bool) -> Self {
        // Another process may take the port between choosing and listening.
        for _ in 0..5 {
            let probe = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = probe.local_addr().unwrap();
            drop(probe);
            if let Some(child) = spawn(address, &directory, tls) {
                return Self {
                    address,
                    directory,
                    child,
                    tls,
                };
            }
        }
        panic!("redis-server does not start: scripts/setup-test.sh installs it");
    }

    /// What `[shared]` says of it.
    pub fn section(&self, more: &str) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!(
            "[shared]\nredis = \"{scheme}://{}\"\ntimeout = \"300ms\"\n{more}",
            self.address
        )
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again where it was, with or without what it held.
    pub fn restart(&mut self, with_data: bool) {
        self.kill();
        if !with_data {
            std::fs::remove_dir_all(self.directory.path().join("appendonlydir")).unwrap();
        }
        self.child = spawn(self.address, &self.directory, self.tls).expect("it starts again");
    }

    /// Stops it as if it hung, or lets it go on.
    pub fn hang(&self, hangs: bool) {
        let signal = if hangs { "-STOP" } else { "-CONT" };
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &id]).status();
        assert!(status.unwrap().success());
    }

    /// What it answers to a command.
    pub fn ask(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream
            .write_all(format!("{command}\r\nQUIT\r\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a server and waits until it listens; `None` when it ends instead.
fn spawn(address: SocketAddr, directory: &TempDir, tls: bool) -> Option<Child> {
    let mut command = Command::new("redis-server");
    let port = address.port().to_string();
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "always", "--dir"])
        .arg(directory.path());
    if tls {
        command.args([
            "--port",
            "0",
            "--tls-port",
            &port,
            "--tls-auth-clients",
            "no",
        ]);
        for (option, file) in [
            ("--tls-ca-cert-file", "ca.pem"),
            ("--tls-cert-file", "server.pem"),
            ("--tls-key-file", "server.key"),
        ] {
            command.arg(option).arg(directory.path().join(file));
        }
    } else {
        command.args(["--port", &port]);
    }
    let mut child = command.stdout(Stdio::null()).spawn().ok()?;
    for _ in 0..500 {
        if TcpStream::connect(address).is_ok() {
            return Some(child);
        }
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}
