//! The servers of a pool: URLs, in the configuration or in a file of their own.

use std::net::Ipv6Addr;

use super::OriginServer;
use super::file::put_number;
use super::reader::{Located, Section, StringOrSection};

pub(super) fn read_servers(section: &Section<'_>) -> Vec<OriginServer> {
    let items = section.strings_or_sections("servers").unwrap_or_default();
    if items.is_empty() && !section.has("servers_file") {
        let message = format!("[{}] has no `servers`", section.name());
        let help = "write `servers = [\"http://127.0.0.1:8000\"]`".to_owned();
        section
            .reader
            .fault(section.span.clone(), message, Some(help));
    }
    items
        .into_iter()
        .filter_map(|item| match item {
            StringOrSection::String(url) => read_url(section, url),
            StringOrSection::Section(server) => {
                let url = server.required_string("url", "\"http://127.0.0.1:8000\"");
                let mut weight = 1;
                put_number(&mut weight, server.integer("weight", 1..=256));
                let mut priority = 0;
                put_number(&mut priority, server.integer("priority", 0..=9));
                let most = server.integer("max_requests", 1..=100_000);
                let locality = server.string("locality").map(|place| place.value);
                let read = url.and_then(|url| read_url(&server, url));
                server.finish();
                read.map(|read| OriginServer {
                    weight,
                    max_requests: most.and_then(|most| usize::try_from(most.value).ok()),
                    priority,
                    locality,
                    ..read
                })
            }
        })
        .collect()
}

fn read_url(section: &Section<'_>, url: Located<String>) -> Option<OriginServer> {
    match parse_url(&url.value) {
        Ok(server) => Some(server),
        Err(why) => {
            // A password in the URL must not end up in a log.
            let shown = url
                .value
                .rsplit_once('@')
                .map_or(&*url.value, |(_, host)| host);
            let message = format!("the server \"{shown}\" {why}");
            let help = "write for example \"http://127.0.0.1:8000\" or \"https://app.internal\"";
            section
                .reader
                .fault(url.span, message, Some(help.to_owned()));
            None
        }
    }
}

/// The servers in a file: URLs, one a line, or a JSON list of them. `#` begins a comment.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub fn parse_servers(text: &str) -> Result<Vec<OriginServer>, String> {
    let urls: Vec<String> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        let lines = text.lines().map(|line| line.split('#').next());
        let lines = lines.map(|line| line.unwrap_or_default().trim());
        let lines = lines.filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    };
    if urls.is_empty() {
        return Err("it names no server".to_owned());
    }
    let parse = |url: &String| {
        let shown = url.rsplit_once('@').map_or(url.as_str(), |(_, host)| host);
        parse_url(url).map_err(|why| format!("the server \"{shown}\" {why}"))
    };
    urls.iter().map(parse).collect()
}

fn parse_srv(name: &str) -> Result<OriginServer, &'static str> {
    let name = name.strip_suffix('/').unwrap_or(name);
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if name.is_empty() || !name.chars().all(legal) {
        return Err("has no valid name after srv://");
    }
    Ok(OriginServer {
        https: false,
        srv: Some(name.to_ascii_lowercase()),
        host: String::new(),
        port: 0,
        weight: 1,
        max_requests: None,
        priority: 0,
        locality: None,
    })
}

pub(super) fn parse_url(text: &str) -> Result<OriginServer, &'static str> {
    if let Some(name) = text.strip_prefix("srv://") {
        return parse_srv(name);
    }
    let (https, rest) = match text.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some(_) => return Err("must begin with http:// or https://"),
        None => return Err("needs its scheme, http:// or https://"),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '@', ' ']) {
        return Err("must be scheme, host and port alone");
    }
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']').ok_or("has a `[` without its `]`")?;
            host.parse::<Ipv6Addr>()
                .map_err(|_| "has a malformed IPv6 address")?;
            (host, port.strip_prefix(':'))
        }
        None if rest.matches(':').count() > 1 => {
            return Err("has an IPv6 address without its brackets");
        }
        None => match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let port = match port {
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or("has a bad port")?,
        None if https => 443,
        None => 80,
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    if host.is_empty() || !host.chars().all(legal) {
        return Err("has no valid host name");
    }
    Ok(OriginServer {
        https,
        srv: None,
        host: host.to_ascii_lowercase(),
        port,
        weight: 1,
        max_requests: None,
        priority: 0,
        locality: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_url_on_each_line_or_a_list_of_them() {
        let hosts = |text: &str| {
            let servers = parse_servers(text)?;
            let ports = servers.into_iter().map(|server| server.port);
            Ok::<Vec<u16>, String>(ports.collect())
        };
        assert_eq!(
            hosts("# mine\nhttp://a:1\n\n http://b:2 # the other\n"),
            Ok(vec![1, 2])
        );
        assert_eq!(hosts(r#"["http://a:1", "http://b:2"]"#), Ok(vec![1, 2]));
        for bad in ["", "# none", "[]", "http://a/b", "[1]", "http://a:1\nb"] {
            assert!(hosts(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_service_is_a_name() {
        let server = parse_url("srv://_http._tcp.app.internal").unwrap();
        assert_eq!(server.srv.as_deref(), Some("_http._tcp.app.internal"));
        assert!(parse_url("srv://").is_err());
        assert!(parse_url("srv://a:80").is_err());
    }

    #[test]
    fn server_urls_are_scheme_host_and_port() {
        let server = |text| parse_url(text).map(|s| (s.https, s.host, s.port));
        assert_eq!(
            server("http://127.0.0.1:8001"),
            Ok((false, "127.0.0.1".into(), 8001))
        );
        assert_eq!(
            server("https://App.internal/"),
            Ok((true, "app.internal".into(), 443))
        );
        assert_eq!(server("http://[::1]:81"), Ok((false, "::1".into(), 81)));
        assert_eq!(server("http://[::1]"), Ok((false, "::1".into(), 80)));
        for bad in [
            "127.0.0.1:80",
            "ftp://a",
            "http://a/b",
            "http://a:0",
            "http://a:x",
            "http://",
            "http://u@a",
            "http://::1",
            "http://::1:8001",
            "http://[::1",
            "http://a b",
        ] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }
}
