//! A Redis server of the test's own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A running server, ended when dropped.
pub struct Redis {
    address: SocketAddr,
    directory: TempDir,
    child: Child,
}

impl Redis {
    /// Starts it, empty.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Another process may take the port between choosing and listening.
        for _ in 0..5 {
            let probe = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = probe.local_addr().unwrap();
            drop(probe);
            if let Some(child) = spawn(address, &directory) {
                return Self {
                    address,
                    directory,
                    child,
                };
            }
        }
        panic!("redis-server does not start: scripts/setup-test.sh installs it");
    }

    /// What `[shared]` says of it.
    pub fn section(&self, more: &str) -> String {
        format!(
            "[shared]\nredis = \"redis://{}\"\ntimeout = \"300ms\"\n{more}",
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
        self.child = spawn(self.address, &self.directory).expect("it starts again");
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
fn spawn(address: SocketAddr, directory: &TempDir) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
        .args(["--port", &address.port().to_string()])
        .args(["--appendfsync", "always", "--dir"])
        .arg(directory.path())
        .stdout(Stdio::null())
        .spawn()
        .ok()?;
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
