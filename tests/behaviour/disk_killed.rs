//! Killed at any moment under load, Seawall never serves something older than it served before, nor
//! what was purged, nor wrong bytes. `SEAWALL_KILLS` says how often it is killed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{Client, Origin, Reply, Response, Setup, TOKEN};

const CLIENTS: usize = 4;
/// Pages of each client, which nobody else asks for.
const PAGES: usize = 12;

/// Not good, and good enough to mix things up.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The body of a version of a page: its name and a length and bytes that follow from both.
fn body(target: &str, version: u64) -> String {
    let name = format!("{target} {version} ");
    let sum = name.bytes().map(u64::from).sum::<u64>();
    let length = usize::try_from((sum * 7919 + version * 104_729) % 150_000).unwrap();
    name.repeat(length / name.len() + 1)
}

/// The version that a response is, whose bytes are right to the last.
fn version(target: &str, response: &Response) -> u64 {
    assert_eq!(response.status, 200, "{target}");
    let text = response.text();
    let version = text.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(text == body(target, version), "wrong bytes for {target}");
    version
}

async fn ask(address: SocketAddr, method: &str, target: &str, fields: &[&str]) -> Option<Response> {
    let mut client = Client::try_connect(address).await.ok()?;
    client.request(method, target, fields).await;
    client.try_response(method).await.ok()
}

/// One client: what it saw of each of its pages.
struct Visitor {
    name: usize,
    random: Random,
    /// The last version seen of each page, and whether it was purged since.
    seen: HashMap<String, (u64, bool)>,
    acknowledged_purges: u64,
}

impl Visitor {
    fn see(&mut self, target: &str, response: &Response) {
        let version = version(target, response);
        let (last, purged) = self.seen.entry(target.to_owned()).or_default();
        let purged = std::mem::take(purged);
        assert!(
            version > *last || (version == *last && !purged),
            "{target}: {version} after {last}, purged: {purged}"
        );
        *last = version;
    }

    /// Does one thing after another until Seawall is gone.
    async fn roam(mut self, address: SocketAddr) -> Self {
        let bearer = format!("Authorization: Bearer {TOKEN}");
        loop {
            let page = self.random.below(PAGES as u64);
            let target = format!("/{}/{page}", self.name);
            match self.random.below(10) {
                0 => {
                    let Some(purged) = ask(address, "PURGE", &target, &[&bearer]).await else {
                        return self;
                    };
                    assert_eq!(purged.status, 200, "{}", purged.text());
                    self.seen.entry(target).or_default().1 = true;
                    self.acknowledged_purges += 1;
                }
                1..4 => {
                    let fields = ["Cache-Control: no-cache"];
                    let Some(response) = ask(address, "GET", &target, &fields).await else {
                        return self;
                    };
                    self.see(&target, &response);
                }
                _ => {
                    let Some(response) = ask(address, "GET", &target, &[]).await else {
                        return self;
                    };
                    self.see(&target, &response);
                }
            }
        }
    }

    /// Looks at all its pages; how many were still stored.
    async fn review(&mut self, address: SocketAddr) -> usize {
        let mut hits = 0;
        for page in 0..PAGES {
            let target = format!("/{}/{page}", self.name);
            let response = ask(address, "GET", &target, &[]).await.unwrap();
            hits += usize::from(response.cache() == "HIT");
            self.see(&target, &response);
        }
        hits
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_it_never_serves_anything_older_purged_or_wrong() {
    let kills = std::env::var("SEAWALL_KILLS").map_or(10, |kills| kills.parse().unwrap());
    let counts = std::sync::Mutex::new(HashMap::<String, u64>::new());
    let origin = Origin::start(move |request| {
        let mut counts = counts.lock().unwrap();
        let version = counts.entry(request.target.clone()).or_default();
        *version += 1;
        Reply::fresh(body(&request.target, *version)).field("Cache-Control: max-age=600")
    });
    let purge = format!("[purge]\ntoken = \"{TOKEN}\"\nrate = 1000000");
    let mut seawall = Setup::before([&origin])
        .section("[cache]\nmemory = \"4 MiB\"")
        .section(&purge)
        .disk("capacity = \"32 MiB\"")
        .rule("reload", "/*", "request_cache_control = \"respect\"")
        .start()
        .await;
    let mut visitors: Vec<Visitor> = (0..CLIENTS)
        .map(|name| Visitor {
            name,
            random: Random(0x9e37_79b9_7f4a_7c15 ^ (name as u64 + 1)),
            seen: HashMap::new(),
            acknowledged_purges: 0,
        })
        .collect();
    let mut hits = 0;
    for kill in 0..kills {
        let address = seawall.address;
        let roaming = visitors.into_iter();
        let roaming: Vec<_> = roaming
            .map(|visitor| tokio::spawn(visitor.roam(address)))
            .collect();
        let after = 50 + (kill * 37) % 250;
        tokio::time::sleep(Duration::from_millis(after)).await;
        seawall.kill();
        visitors = Vec::new();
        for visitor in roaming {
            visitors.push(visitor.await.unwrap());
        }
        seawall = seawall.restarted().await;
        for visitor in &mut visitors {
            hits += visitor.review(seawall.address).await;
        }
    }
    let purges: u64 = visitors.iter().map(|one| one.acknowledged_purges).sum();
    println!("{kills} kills, {purges} purges, {hits} hits after restarts");
    assert!(purges > 0 && hits > 0, "nothing was tested");
}
