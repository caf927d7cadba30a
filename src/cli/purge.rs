//! `seawall purge …`: asks the admin listener of a running Seawall.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{fail, reachable};
use crate::config::Config;
use crate::server::load_config;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// An answer is a line.
const LARGEST_ANSWER: u64 = 1 << 20;
const TOKEN_VARIABLE: &str = "SEAWALL_PURGE_TOKEN";

/// What to purge, and whom to ask.
#[derive(Args)]
pub(super) struct PurgeArguments {
    /// A URL, with all its variants
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// A cache tag
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// A host with the beginning of a path, `shop.example/blog/`
    #[arg(long = "prefix", value_name = "PREFIX")]
    prefixes: Vec<String>,
    /// A host
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// All there is
    #[arg(long)]
    everything: bool,
    /// Make responses stale instead of removing them
    #[arg(long)]
    soft: bool,
    /// Only say how much it would be
    #[arg(long)]
    dry_run: bool,
    /// Fetch so many of them again in the background, those served most often first
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    refetch: usize,
    /// In this zone only
    #[arg(long)]
    zone: Option<String>,
    /// The admin listener; by default the configuration's
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// The token; by default the configuration's, or else from `SEAWALL_PURGE_TOKEN`, which other
    /// users of the machine do not see
    #[arg(long)]
    token: Option<String>,
    /// The configuration file, for the admin listener and the token
    file: Option<PathBuf>,
}

/// Prints how much was purged: exit status 0; 1 when it was refused or nobody answered, 2 when the
/// arguments do not suffice.
pub(super) fn run(arguments: &PurgeArguments) -> ExitCode {
    let config = match arguments.file.as_deref().map(load_config) {
        Some(Err(faults)) => return fail(&faults.to_string()),
        Some(Ok(config)) => Some(config),
        None => None,
    };
    let variable = std::env::var(TOKEN_VARIABLE).ok();
    let request = match Request::new(arguments, config.as_ref(), variable) {
        Ok(request) => request,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    match request.send().and_then(|answer| understand(&answer)) {
        Ok(result) => {
            println!("{}", summary(&result, arguments.soft));
            ExitCode::SUCCESS
        }
        Err(why) => fail(&why),
    }
}

struct Request {
    admin: SocketAddr,
    token: String,
    path: String,
    body: String,
}

impl Request {
    fn new(
        arguments: &PurgeArguments,
        config: Option<&Config>,
        variable: Option<String>,
    ) -> Result<Self, String> {
        let admin = match &arguments.admin {
            Some(text) => resolve(text)?,
            None => config.and_then(|config| config.admin).ok_or(
                "which Seawall? give `--admin ADDRESS`, or a configuration file with `[admin]`",
            )?,
        };
        let configured = || Some(config?.purge.as_ref()?.token.reveal().to_owned());
        let token = arguments.token.clone().or_else(configured).or(variable);
        Ok(Self {
            admin: reachable(admin),
            token: token
                .filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()))
                .ok_or_else(|| {
                    format!("give the token: `--token`, {TOKEN_VARIABLE}, or a configuration file with `[purge]`")
                })?,
            path: path(arguments.zone.as_deref())?,
            body: body(arguments)?,
        })
    }

    fn send(&self) -> Result<Vec<u8>, String> {
        let exchange = || -> io::Result<Vec<u8>> {
            let mut stream = TcpStream::connect_timeout(&self.admin, CONNECT_TIMEOUT)?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
            let Self {
                admin,
                token,
                path,
                body,
            } = self;
            let length = body.len();
            stream.write_all(
                format!(
                    "POST {path} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {token}\r\n\
                     Content-Type: application/json\r\nContent-Length: {length}\r\n\
                     Connection: close\r\n\r\n{body}"
                )
                .as_bytes(),
            )?;
            let mut answer = Vec::new();
            stream.take(LARGEST_ANSWER).read_to_end(&mut answer)?;
            Ok(answer)
        };
        exchange().map_err(|error| format!("{}: {error}", self.admin))
    }
}

fn resolve(text: &str) -> Result<SocketAddr, String> {
    let mut found = text
        .to_socket_addrs()
        .map_err(|error| format!("`--admin {text}`: {error}; write for example 127.0.0.1:9090"))?;
    found
        .next()
        .ok_or_else(|| format!("`--admin {text}` has no address"))
}

fn path(zone: Option<&str>) -> Result<String, String> {
    let Some(zone) = zone else {
        return Ok("/purge".to_owned());
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if zone.is_empty() || !zone.bytes().all(plain) {
        return Err(format!("`--zone {zone}` is no zone's name"));
    }
    Ok(format!("/zones/{zone}/purge_cache"))
}

fn body(arguments: &PurgeArguments) -> Result<String, String> {
    let PurgeArguments {
        urls,
        tags,
        prefixes,
        hosts,
        everything,
        soft,
        dry_run,
        refetch,
        ..
    } = arguments;
    let named = [urls, tags, prefixes, hosts]
        .iter()
        .any(|list| !list.is_empty());
    match (named, everything) {
        (false, false) => {
            return Err(
                "purge what? give --url, --tag, --prefix, --host or --everything".to_owned(),
            );
        }
        (true, true) => {
            return Err("`--everything` goes without --url, --tag, --prefix and --host".to_owned());
        }
        _ => {}
    }
    let body = json!({
        "files": urls, "tags": tags, "prefixes": prefixes, "hosts": hosts,
        "purge_everything": everything, "soft": soft, "dry_run": dry_run,
        "refetch": refetch,
    });
    Ok(body.to_string())
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Outcome {
    objects: u64,
    bytes: u64,
    dry_run: bool,
    #[serde(default)]
    refetched: u64,
}

#[derive(Deserialize)]
struct Envelope {
    errors: Vec<Message>,
    result: Option<Outcome>,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

fn understand(answer: &[u8]) -> Result<Outcome, String> {
    let foreign = || "the answer is not one of Seawall's: is it the admin listener?".to_owned();
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = head.parse(answer) else {
        return Err(foreign());
    };
    let status = head.code.unwrap_or_default();
    let body = answer.get(length..).unwrap_or_default();
    let envelope: Envelope = serde_json::from_slice(body).map_err(|_| foreign())?;
    match envelope.result {
        Some(outcome) if status == 200 => Ok(outcome),
        _ => {
            let errors: Vec<String> = envelope
                .errors
                .into_iter()
                .map(|error| error.message)
                .collect();
            Err(format!("refused ({status}): {}", errors.join("; ")))
        }
    }
}

fn summary(outcome: &Outcome, soft: bool) -> String {
    let Outcome {
        objects,
        bytes,
        dry_run,
        refetched,
    } = outcome;
    let done = match (dry_run, soft) {
        (false, false) => "purged",
        (false, true) => "made stale",
        (true, false) => "would be purged",
        (true, true) => "would be made stale",
    };
    let plural = if *objects == 1 { "" } else { "s" };
    let again = match refetched {
        0 => String::new(),
        count => format!("; {count} of them are fetched again"),
    };
    format!("{objects} object{plural}, {bytes} bytes {done}{again}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        purge: PurgeArguments,
    }

    fn arguments(line: &str) -> PurgeArguments {
        Line::parse_from(format!("purge {line}").split_whitespace()).purge
    }

    fn config() -> Config {
        let source = "listen = \"[::]:1\"\nadmin.listen = \"0.0.0.0:9090\"\n\
            purge.token = \"from-the-configuration\"\npools.app.servers = \"http://127.0.0.1:2\"\n\
            zones.shop = { hosts = \"*\", pool = \"app\" }";
        parse("test.toml", source, &|_| None).unwrap()
    }

    fn request(line: &str, config: Option<&Config>) -> Result<Request, String> {
        let variable = Some("from-the-environment".to_owned());
        Request::new(&arguments(line), config, variable)
    }

    #[test]
    fn address_and_token_come_from_the_nearest_place() {
        let config = config();
        for (line, config, admin, token) in [
            (
                "--tag a",
                Some(&config),
                "127.0.0.1:9090",
                "from-the-configuration",
            ),
            (
                "--tag a --token t --admin [::]:7",
                Some(&config),
                "[::1]:7",
                "t",
            ),
            (
                "--tag a --admin 10.0.0.1:7",
                None,
                "10.0.0.1:7",
                "from-the-environment",
            ),
        ] {
            let request = request(line, config).unwrap();
            assert_eq!(
                (request.admin.to_string().as_str(), request.token.as_str()),
                (admin, token)
            );
        }
    }

    #[test]
    fn what_does_not_suffice_is_said() {
        for (line, why) in [
            ("--tag a", "which Seawall?"),
            ("--admin 127.0.0.1:1", "purge what?"),
            ("--admin 127.0.0.1:1 --everything --tag a", "goes without"),
            ("--admin 127.0.0.1 --tag a", "127.0.0.1:9090"),
            ("--admin 127.0.0.1:1 --tag a --zone a/b", "no zone's name"),
            ("--admin 127.0.0.1:1 --tag a --token é", "give the token"),
        ] {
            let error = request(line, None).err().unwrap();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn arguments_become_a_request_that_the_admin_listener_reads() {
        let line = "--admin 127.0.0.1:1 --zone shop --soft --url https://a.test/ --tag a --tag b";
        let request = request(line, None).unwrap();
        assert_eq!(request.path, "/zones/shop/purge_cache");
        let read = crate::purge::parse_json(request.body.as_bytes()).unwrap();
        assert_eq!(read.targets.len(), 3);
        assert!(read.soft && !read.dry_run);
        let everything = body(&arguments("--everything --dry-run")).unwrap();
        let read = crate::purge::parse_json(everything.as_bytes()).unwrap();
        assert_eq!(read.targets, [crate::purge::PurgeTarget::Everything]);
        assert!(read.dry_run);
    }

    #[test]
    fn answers_are_understood() {
        let good = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n\
            {\"success\":true,\"errors\":[],\"messages\":[],\"result\":{\"objects\":1,\"bytes\":9,\"dry_run\":false}}\n";
        let outcome = understand(good).unwrap();
        assert_eq!(summary(&outcome, false), "1 object, 9 bytes purged");
        assert_eq!(summary(&outcome, true), "1 object, 9 bytes made stale");
        let bad = b"HTTP/1.1 401 Unauthorized\r\n\r\n\
            {\"errors\":[{\"code\":401,\"message\":\"the token is wrong\"}],\"result\":null}";
        assert_eq!(
            understand(bad),
            Err("refused (401): the token is wrong".to_owned())
        );
        for foreign in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"SSH-2.0",
            b"HTTP/1.1 200 OK\r\n\r\nok",
        ] {
            assert!(understand(foreign).is_err());
        }
    }
}
