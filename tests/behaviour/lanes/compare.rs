//! What the two processes said, and where it differs.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::Packet;
use super::site;
use crate::support::{Client, Origin, Seawall, eventually};

/// Differences after which there is no point in going on.
const MANY: usize = 12;

/// A process with an origin of its own.
pub struct Side {
    pub seawall: Seawall,
    origin: Origin,
}

/// One answer, or the end of the connection in place of one.
#[derive(Clone, Debug)]
pub struct Answered {
    head: Option<String>,
    body: Vec<u8>,
}

/// What was found, for people to read.
#[derive(Default)]
pub struct Differences(Vec<String>);

impl Side {
    pub async fn start(lane: bool) -> Self {
        let origin = site::origin();
        let seawall = site::setup(&origin, lane).start().await;
        Self { seawall, origin }
    }

    /// The answers to these packets over one connection; the last is the connection's end.
    pub async fn have(&self, packets: &[Packet]) -> Vec<Answered> {
        let mut client = self.seawall.connect().await;
        let mut answers = Vec::new();
        for packet in packets {
            if packet.cut {
                for byte in &packet.bytes {
                    client.send([*byte]).await;
                }
            } else {
                client.send(&packet.bytes).await;
            }
            for method in &packet.methods {
                loop {
                    let answer = Answered::read(&mut client, method).await;
                    let (ended, interim) = (answer.head.is_none(), answer.is_interim());
                    answers.push(answer);
                    if ended {
                        return answers;
                    }
                    if !interim {
                        break;
                    }
                }
            }
        }
        answers.push(Answered {
            head: None,
            body: client.rest().await,
        });
        answers
    }
}

impl Answered {
    async fn read(client: &mut Client, method: &str) -> Self {
        let Ok(head) = client.raw_head().await else {
            return Self {
                head: None,
                body: client.rest().await,
            };
        };
        let mut answer = Self {
            head: Some(head),
            body: Vec::new(),
        };
        if method == "HEAD" || matches!(answer.status(), 100..=199 | 204 | 304) {
            return answer;
        }
        let value = |name| answer.values(name).first().copied();
        if value("transfer-encoding") == Some("chunked") {
            let mut body = Vec::new();
            while let Ok(Some(chunk)) = client.chunk().await {
                body.extend(chunk);
            }
            answer.body = body;
        } else if let Some(length) = value("content-length") {
            let length = length.parse().unwrap();
            answer.body = client
                .take(length)
                .await
                .unwrap_or_else(|_| b"cut short".to_vec());
        } else {
            answer.body = client.rest().await;
        }
        answer
    }

    fn text(&self) -> &str {
        self.head.as_deref().unwrap_or_default()
    }

    fn status(&self) -> u16 {
        let code = self.text().split(' ').nth(1);
        code.and_then(|code| code.parse().ok()).unwrap_or_default()
    }

    fn is_interim(&self) -> bool {
        matches!(self.status(), 100..=199)
    }

    fn fields(&self) -> impl Iterator<Item = (String, &str)> {
        let lines = self.text().split("\r\n").skip(1);
        let fields = lines.filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
    }

    fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.fields().filter(|(known, _)| known == name);
        fields.map(|(_, value)| value).collect()
    }

    /// The last is ours; origins may have sent others.
    fn id(&self) -> &str {
        self.values("x-request-id").last().copied().unwrap_or("-")
    }

    pub fn is_hit(&self) -> bool {
        self.values("x-cache") == ["HIT"]
    }

    /// Everything that must be the same, but for what [`alike`] allows.
    fn essence(&self) -> (String, BTreeMap<String, Vec<String>>, Vec<u8>) {
        let id = self.id();
        let line = self
            .text()
            .split("\r\n")
            .next()
            .unwrap_or_default()
            .to_owned();
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in self.fields() {
            fields
                .entry(name)
                .or_default()
                .push(value.replace(id, "ID"));
        }
        if !self.is_hit() {
            // What comes from the origin has one when it is not 0.
            fields
                .entry("age".to_owned())
                .or_insert(vec!["0".to_owned()]);
        }
        let body = match std::str::from_utf8(&self.body) {
            Ok(body) => body.replace(id, "ID").into_bytes(),
            Err(_) => self.body.clone(),
        };
        (line, fields, body)
    }

    fn is_like(&self, other: &Self) -> bool {
        let ((line, fields, body), (other_line, other_fields, other_body)) =
            (self.essence(), other.essence());
        line == other_line
            && body == other_body
            && fields.keys().eq(other_fields.keys())
            && fields
                .iter()
                .zip(other_fields.values())
                .all(|((name, values), others)| {
                    values.len() == others.len()
                        && values
                            .iter()
                            .zip(others)
                            .all(|(value, other)| alike(name, value, other))
                })
    }
}

/// Whether two values of a field mean the same: the processes are asked moments apart.
fn alike(name: &str, value: &str, other: &str) -> bool {
    match name {
        _ if value == other => true,
        "age" => near(value, other),
        // What was generated now.
        "date" | "expires" => {
            let both = [value, other].map(|date| httpdate::parse_http_date(date).ok());
            both.iter().all(|date| date.is_some_and(is_recent))
        }
        "cache-status" | "cache_status" => {
            let (before, ttl) = split_ttl(value);
            let (other_before, other_ttl) = split_ttl(other);
            before == other_before && near(&ttl, &other_ttl)
        }
        _ => false,
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test of dates made now compares them with the clock"
)]
fn is_recent(date: SystemTime) -> bool {
    let now = SystemTime::now();
    let away = now
        .duration_since(date)
        .or_else(|_| date.duration_since(now));
    away.is_ok_and(|away| away < Duration::from_secs(30))
}

fn near(value: &str, other: &str) -> bool {
    let both = value.parse::<i64>().ok().zip(other.parse::<i64>().ok());
    both.is_some_and(|(value, other)| (value - other).abs() <= 1)
}

/// The value without the number of its `ttl`, and that number.
fn split_ttl(value: &str) -> (String, String) {
    let Some((before, after)) = value.split_once("ttl=") else {
        return (value.to_owned(), String::new());
    };
    let digits = |c: char| c.is_ascii_digit() || c == '-';
    let end = after.find(|c| !digits(c)).unwrap_or(after.len());
    (
        format!("{before}ttl=N{}", &after[end..]),
        after[..end].to_owned(),
    )
}

impl Differences {
    pub fn are_few(&self) -> bool {
        self.0.len() < MANY
    }

    pub fn are_none(&self, seed: u64) {
        assert!(
            self.0.is_empty(),
            "seed {seed}, {} differences:\n{}",
            self.0.len(),
            self.0.join("\n")
        );
    }

    pub fn of_answers(&mut self, packets: &[Packet], fast: &[Answered], slow: &[Answered]) {
        let first = fast
            .iter()
            .zip(slow)
            .position(|(fast, slow)| !fast.is_like(slow));
        let first = first.or((fast.len() != slow.len()).then_some(fast.len().min(slow.len())));
        if let Some(first) = first {
            let sent: String = packets
                .iter()
                .map(|packet| shown(&packet.bytes) + "|")
                .collect();
            let [fast, slow] = [fast, slow].map(|answers| match answers.get(first) {
                Some(answer) => format!("{} / {}", answer.text(), shown(&answer.body)),
                None => "nothing".to_owned(),
            });
            self.0.push(format!(
                "answer {first} to\n{sent}\n--- with the lane\n{fast}\n--- without\n{slow}\n"
            ));
        }
    }

    /// The access logs, line by line as the answers came.
    pub async fn of_logs(&mut self, sides: &[Side; 2], all: &[Vec<Answered>; 2]) {
        let mut lines = Vec::new();
        for (side, answers) in sides.iter().zip(all) {
            let ids: Vec<&str> = answers
                .iter()
                .map(Answered::id)
                .filter(|id| id.len() == 32)
                .collect();
            let last = ids.last().copied().unwrap_or_default().to_owned();
            eventually("the last access log line", async || {
                side.seawall.stdout().contains(&last)
            })
            .await;
            let log = records(&side.seawall);
            lines.push(
                ids.into_iter()
                    .map(|id| log.get(id).cloned())
                    .collect::<Vec<_>>(),
            );
        }
        for (fast, slow) in lines[0].iter().zip(&lines[1]) {
            let same = match (fast, slow) {
                (Some(fast), Some(slow)) => {
                    fast.len() == slow.len()
                        && fast
                            .iter()
                            .zip(slow)
                            .all(|((name, value), (other_name, other))| {
                                name == other_name && alike(name, value, other)
                            })
                }
                _ => false,
            };
            if !same && self.are_few() {
                self.0.push(format!("log\n{fast:?}\n{slow:?}\n"));
            }
        }
        let counts = sides.each_ref().map(|side| {
            side.seawall
                .stdout()
                .lines()
                .filter(is_of_a_request)
                .count()
        });
        if counts[0] != counts[1] {
            self.0.push(format!("log lines: {counts:?}"));
        }
    }

    /// What the origins were asked, in order.
    pub fn of_origins(&mut self, sides: &[Side; 2]) {
        let asked = sides.each_ref().map(|side| {
            let asked = side.origin.requests().into_iter().map(|mut request| {
                request
                    .fields
                    .retain(|(name, _)| !name.eq_ignore_ascii_case("x-request-id"));
                let mut fields = request.fields;
                for (name, _) in &mut fields {
                    name.make_ascii_lowercase();
                }
                fields.sort();
                format!(
                    "{} {} {fields:?} {:?}",
                    request.method,
                    request.target,
                    shown(&request.body)
                )
            });
            asked.collect::<Vec<_>>()
        });
        let first = asked[0]
            .iter()
            .zip(&asked[1])
            .position(|(fast, slow)| fast != slow);
        if let Some(first) = first {
            self.0.push(format!(
                "origin\n{}\n{}\n",
                asked[0][first], asked[1][first]
            ));
        }
        let counts = asked.each_ref().map(Vec::len);
        println!("{} requests to each origin", counts[0]);
        if counts[0] != counts[1] {
            self.0.push(format!("requests to the origin: {counts:?}"));
        }
    }

    /// All counts; durations are sums and buckets.
    pub async fn of_metrics(&mut self, sides: &[Side; 2]) {
        let counts = async |side: &Side| {
            let text = side.seawall.admin("/metrics").await.text().to_owned();
            let is_count = |line: &&str| {
                !["#", "_bucket{", "_sum{", "timestamp", "hit_lane"]
                    .iter()
                    .any(|part| line.contains(part))
            };
            text.lines()
                .filter(is_count)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        for side in sides {
            eventually("the connections to end", async || {
                side.seawall.metric("seawall_connections").await == 0.0
            })
            .await;
        }
        let (fast, slow) = (counts(&sides[0]).await, counts(&sides[1]).await);
        assert!(fast.len() > 30, "{fast:?}");
        println!("{} series", fast.len());
        let only = |these: &[String], those: &[String]| {
            these
                .iter()
                .filter(|line| !those.contains(line))
                .cloned()
                .collect::<Vec<_>>()
        };
        if fast != slow {
            self.0.push(format!(
                "metrics\n{:#?}\n{:#?}",
                only(&fast, &slow),
                only(&slow, &fast)
            ));
        }
    }
}

/// Not one of the lines about security events, which come when it is time for them.
fn is_of_a_request(line: &&str) -> bool {
    !line.contains("\"event\":\"security\"")
}

/// The records by request id, without what differs from time to time.
fn records(seawall: &Seawall) -> HashMap<String, Vec<(String, String)>> {
    let directory = seawall.path("").display().to_string();
    let mut records = HashMap::new();
    for line in seawall.stdout().lines().filter(is_of_a_request) {
        let Value::Object(mut record) = serde_json::from_str(line).unwrap() else {
            panic!("not a record: {line}");
        };
        let id = record.remove("request_id").unwrap();
        // Whether a member is there counts; of a duration, no more.
        let fields = record.into_iter().map(|(name, value)| {
            let masked = name == "time" || name == "upstream" || name.ends_with("_ms");
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let value = if masked {
                String::new()
            } else {
                value.replace(&directory, "DIR/")
            };
            (name, value)
        });
        records.insert(id.as_str().unwrap().to_owned(), fields.collect());
    }
    records
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(1500) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], bytes.len()),
        None => text.into_owned(),
    }
}
