//! Chromium without a window, driven over its own protocol.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::within;

/// One page of a browser of its own, which is killed when dropped.
pub struct Browser {
    child: Child,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: String,
    sent: u64,
    _profile: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// Starts `chromium`, for which `site.test` is the loopback address and nothing else is there.
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new("chromium")
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--remote-debugging-port=0",
                "--host-resolver-rules=MAP site.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("chromium; `make browser` installs it");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = tokio::task::spawn_blocking(move || {
            let url = lines.by_ref().map_while(Result::ok).find_map(|line| {
                line.strip_prefix("DevTools listening on ")
                    .map(str::to_owned)
            });
            // Read on, so that it never waits for somebody to do so.
            std::thread::spawn(move || lines.for_each(drop));
            url
        });
        let url = within("Chromium to start", url)
            .await
            .unwrap()
            .expect("an address");
        let (socket, _) = within("a connection to Chromium", connect_async(url))
            .await
            .unwrap();
        let mut browser = Self {
            child,
            socket,
            session: String::new(),
            sent: 0,
            _profile: profile,
        };
        let target = browser
            .call("Target.createTarget", json!({"url": "about:blank"}))
            .await;
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", target).await;
        attached["sessionId"]
            .as_str()
            .unwrap()
            .clone_into(&mut browser.session);
        browser.call("Page.enable", json!({})).await;
        browser
    }

    /// Calls a method of the protocol; what it gives.
    pub async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.sent += 1;
        let id = self.sent;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.socket
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
        within(method, async {
            loop {
                let message = self.socket.next().await.unwrap().unwrap();
                let Ok(text) = message.to_text() else {
                    continue;
                };
                let Ok(answer) = serde_json::from_str::<Value>(text) else {
                    continue;
                };
                if answer["id"] == id {
                    assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                    return answer["result"].clone();
                }
            }
        })
        .await
    }

    /// Goes to a URL, and does not wait for what comes.
    pub async fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url})).await;
    }

    /// The value of an expression in the page, once it has one.
    pub async fn value(&mut self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        self.call("Runtime.evaluate", parameters).await["result"]["value"].clone()
    }

    /// The text that the page shows.
    pub async fn text(&mut self) -> String {
        let text = self
            .value("document.body ? document.body.innerText : ''")
            .await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page shows `text`.
    pub async fn shows(&mut self, text: &str) {
        let mut seen = String::new();
        let shown = async {
            while !seen.contains(text) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                seen = self.text().await;
            }
        };
        within(&format!("{text} to be shown"), shown).await;
    }

    /// A picture of the page, in the colours that a visitor likes.
    pub async fn picture(&mut self, scheme: &str) -> Vec<u8> {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", media).await;
        let picture = self.call("Page.captureScreenshot", json!({})).await;
        let picture = picture["data"].as_str().unwrap().to_owned();
        base64::engine::general_purpose::STANDARD
            .decode(picture)
            .unwrap()
    }
}
