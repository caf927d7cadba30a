//! A name server that answers what the test says at the moment.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Records of one name.
#[derive(Clone, Debug)]
pub enum Records {
    /// Addresses.
    A(Vec<Ipv4Addr>),
    /// Priority, weight, port and target.
    Srv(Vec<(u16, u16, u16, &'static str)>),
    /// The name of an address.
    Ptr(&'static str),
    /// RFC 1035 §4.1.1: the server was unable to answer.
    Failure,
}

/// Answers over UDP on a loopback port.
pub struct NameServer {
    pub address: SocketAddr,
    zone: Arc<Mutex<HashMap<&'static str, (u32, Records)>>>,
    asked: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NameServer {
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone: Arc<Mutex<HashMap<&'static str, (u32, Records)>>> = Arc::default();
        let asked: Arc<Mutex<usize>> = Arc::default();
        let (known, count) = (zone.clone(), asked.clone());
        let task = tokio::spawn(async move {
            let mut query = [0; 1500];
            while let Ok((length, client)) = socket.recv_from(&mut query).await {
                *count.lock().unwrap() += 1;
                let answer = answer(&query[..length], &known.lock().unwrap());
                let _ = socket.send_to(&answer, client).await;
            }
        });
        Self {
            address,
            zone,
            asked,
            task,
        }
    }

    /// From now on, `name` has these records for so many seconds.
    pub fn set(&self, name: &'static str, ttl: u32, records: Records) {
        self.zone.lock().unwrap().insert(name, (ttl, records));
    }

    /// Queries so far.
    pub fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

/// RFC 1035 §4.
fn answer(query: &[u8], zone: &HashMap<&'static str, (u32, Records)>) -> Vec<u8> {
    let mut end = 12;
    let mut labels = Vec::new();
    while query[end] != 0 {
        let length = usize::from(query[end]);
        labels.push(String::from_utf8_lossy(&query[end + 1..=end + length]).to_lowercase());
        end += length + 1;
    }
    let question = &query[12..end + 5];
    let kind = u16::from_be_bytes([query[end + 1], query[end + 2]]);
    let found = zone.get(labels.join(".").as_str());
    let mut code = 0;
    let (ttl, data): (u32, Vec<Vec<u8>>) = match (found, kind) {
        (None, _) => {
            code = 3;
            (0, Vec::new())
        }
        (Some((_, Records::Failure)), _) => {
            code = 2;
            (0, Vec::new())
        }
        (Some((ttl, Records::A(addresses))), 1) => {
            let data = addresses.iter().map(|address| address.octets().to_vec());
            (*ttl, data.collect())
        }
        (Some((ttl, Records::Srv(services))), 33) => {
            let data = services.iter().map(|(priority, weight, port, target)| {
                let numbers = [priority, weight, port];
                let mut data: Vec<u8> = numbers.iter().flat_map(|one| one.to_be_bytes()).collect();
                data.extend(labels_of(target));
                data
            });
            (*ttl, data.collect())
        }
        (Some((ttl, Records::Ptr(name))), 12) => (*ttl, vec![labels_of(name)]),
        _ => (0, Vec::new()),
    };
    let mut out = query[..2].to_vec();
    // A response, authoritative, recursion available.
    out.extend([0x85, 0x80 | code, 0, 1]);
    out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    out.extend([0; 4]);
    out.extend(question);
    for data in data {
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(ttl.to_be_bytes());
        out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend(data);
    }
    out
}

fn labels_of(name: &str) -> Vec<u8> {
    let mut data = Vec::new();
    for label in name.split('.') {
        data.push(u8::try_from(label.len()).unwrap());
        data.extend(label.as_bytes());
    }
    data.push(0);
    data
}
