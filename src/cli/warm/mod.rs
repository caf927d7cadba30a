//! `seawall warm …`: asks for every page of a sitemap or a list, so that visitors find them stored.

mod connect;
mod sitemap;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Response;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::fail;
use connect::Edge;
use sitemap::{LARGEST, Listing, parse};

/// Most failures that are told one by one.
const TOLD: usize = 20;
/// Most lists that an index may name, itself included.
const MOST_LISTS: usize = 1_000;

/// What to ask for, and whom.
#[derive(Args)]
pub(super) struct WarmArguments {
    /// Sitemaps, indexes of sitemaps, or texts with a URL a line: files, URLs, or `-`
    #[arg(required = true, value_name = "SITEMAP|LIST")]
    sources: Vec<String>,
    /// Connect to this address, `HOST:PORT`, whatever host a URL names
    #[arg(long, value_name = "ADDRESS")]
    connect: Option<String>,
    /// Connect to the listeners of this configuration file: to the first without TLS for `http`, to
    /// the first with TLS for `https`
    #[arg(long, value_name = "FILE", conflicts_with = "connect")]
    config: Option<PathBuf>,
    /// Most requests a second
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Most requests at once
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    concurrency: u32,
    /// A field to send, `Name: value`, such as the Accept-Language of most visitors
    #[arg(short = 'H', long = "header", value_name = "FIELD", value_parser = field)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Longest time for one response, in seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    timeout: u64,
    /// Take any certificate
    #[arg(long)]
    insecure: bool,
}

/// What became of the requests.
#[derive(Debug, Default)]
struct Summary {
    asked: usize,
    bytes: u64,
    /// How many were answered with each `X-Cache` word.
    words: BTreeMap<String, usize>,
    failures: Vec<String>,
}

/// Prints what became of the requests: exit status 0 when all were answered, 1 when not.
pub(super) fn run(arguments: &WarmArguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let warmed = match runtime {
        Ok(runtime) => runtime.block_on(warm(arguments)),
        Err(error) => Err(format!("no runtime: {error}")),
    };
    match warmed {
        Ok(summary) => {
            println!("{}", summary.text());
            if summary.failures.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(why) => fail(&why),
    }
}

async fn warm(arguments: &WarmArguments) -> Result<Summary, String> {
    let edge = Edge::new(
        arguments.connect.as_deref(),
        arguments.config.as_deref(),
        Duration::from_secs(arguments.timeout),
        arguments.insecure,
    )?;
    let pages = pages(&edge, &arguments.sources).await?;
    let fields: HeaderMap = arguments.headers.iter().cloned().collect();
    Ok(ask(edge, pages, fields, arguments.rate, arguments.concurrency).await)
}

/// All that the lists name, in order, each once.
async fn pages(edge: &Edge, sources: &[String]) -> Result<Vec<String>, String> {
    let mut pages = Vec::new();
    let mut lists: Vec<String> = sources.to_vec();
    let mut read = 0;
    while read < lists.len() {
        let Some(source) = lists.get(read).cloned() else {
            break;
        };
        let failed = |why: String| format!("{source}: {why}");
        read += 1;
        let bytes = fetch(edge, &source).await.map_err(failed)?;
        match parse(&bytes).map_err(failed)? {
            Listing::Pages(found) => pages.extend(found),
            Listing::Sitemaps(found) => {
                for list in found {
                    // An index that names itself is read once.
                    if !lists.contains(&list) {
                        lists.push(list);
                    }
                }
            }
        }
        if lists.len() > MOST_LISTS {
            return Err(failed(format!("more than {MOST_LISTS} lists")));
        }
    }
    let mut seen = std::collections::HashSet::new();
    pages.retain(|page| seen.insert(page.clone()));
    Ok(pages)
}

/// The content of a list.
async fn fetch(edge: &Edge, source: &str) -> Result<Vec<u8>, String> {
    if source.starts_with("http://") || source.starts_with("https://") {
        let response = edge.get(source, &HeaderMap::new()).await?;
        if !response.status().is_success() {
            return Err(format!("answered with {}", response.status()));
        }
        let mut content = Vec::new();
        read_body(response, |chunk| {
            content.extend_from_slice(chunk);
            u64::try_from(content.len()).unwrap_or(u64::MAX) <= LARGEST
        })
        .await?;
        return Ok(content);
    }
    let read = match source {
        "-" => std::io::read_to_string(std::io::stdin()).map(String::into_bytes),
        path => std::fs::read(Path::new(path)),
    };
    read.map_err(|error| error.to_string())
}

/// Asks for `pages` at the given pace.
async fn ask(
    edge: Edge,
    pages: Vec<String>,
    fields: HeaderMap,
    rate: u32,
    concurrency: u32,
) -> Summary {
    let (edge, fields) = (Arc::new(edge), Arc::new(fields));
    let room = Arc::new(Semaphore::new(
        usize::try_from(concurrency).unwrap_or(usize::MAX),
    ));
    let mut pace = interval(Duration::from_secs(1) / rate);
    // A slow site is not made up for by a burst.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking = JoinSet::new();
    let mut summary = Summary::default();
    for page in pages {
        let Ok(room) = room.clone().acquire_owned().await else {
            break;
        };
        pace.tick().await;
        let (edge, fields) = (edge.clone(), fields.clone());
        asking.spawn(async move {
            let answer = ask_one(&edge, &page, &fields).await;
            drop(room);
            answer.map_err(|why| format!("{page}: {why}"))
        });
        while let Some(answered) = asking.try_join_next() {
            summary.add(answered);
        }
    }
    while let Some(answered) = asking.join_next().await {
        summary.add(answered);
    }
    summary
}

/// The `X-Cache` word and the length of an answer, which is read to its end.
async fn ask_one(edge: &Edge, page: &str, fields: &HeaderMap) -> Result<(String, u64), String> {
    let response = edge.get(page, fields).await?;
    let status = response.status();
    let word = response.headers().get("x-cache");
    let word = word.and_then(|word| word.to_str().ok()).unwrap_or("-");
    let word = word.to_owned();
    let mut length = 0;
    read_body(response, |chunk| {
        length += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        true
    })
    .await?;
    if status.is_client_error() || status.is_server_error() {
        return Err(format!("answered with {status}"));
    }
    Ok((word, length))
}

/// Gives the chunks of a body to `take`, until that wants no more.
async fn read_body(
    mut response: Response,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<(), String> {
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if take(&chunk) => {}
            Ok(Some(_)) => return Err("it is too large".to_owned()),
            Ok(None) => return Ok(()),
            Err(error) => return Err(connect::why(&error)),
        }
    }
}

impl Summary {
    fn add(&mut self, answered: Result<Result<(String, u64), String>, tokio::task::JoinError>) {
        self.asked += 1;
        match answered {
            Ok(Ok((word, bytes))) => {
                *self.words.entry(word).or_default() += 1;
                self.bytes += bytes;
            }
            Ok(Err(why)) => {
                if self.failures.len() < TOLD {
                    eprintln!("{why}");
                }
                self.failures.push(why);
            }
            Err(error) => self.failures.push(error.to_string()),
        }
    }

    fn text(&self) -> String {
        let words = self
            .words
            .iter()
            .map(|(word, count)| format!("{count} {word}"));
        let mut told: Vec<String> = words.collect();
        if !self.failures.is_empty() {
            told.push(format!("{} failed", self.failures.len()));
        }
        let told = if told.is_empty() {
            "nothing to ask for".to_owned()
        } else {
            told.join(", ")
        };
        format!(
            "{} requests, {} bytes of content: {told}",
            self.asked, self.bytes
        )
    }
}

fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("write it as \"Name: value\"".to_owned())?;
    let name = name.trim().parse::<HeaderName>();
    let value = value.trim().parse::<HeaderValue>();
    Ok((
        name.map_err(|error| error.to_string())?,
        value.map_err(|error| error.to_string())?,
    ))
}
