//! Lists, in the file and beside it.

use std::net::IpAddr;
use std::path::Path;

use http::{HeaderMap, Method, Version};
use seawall::cache::settings::Eligibility;
use seawall::config::{Config, Outside, parse_with};
use seawall::request::{Facts, RequestView, Scheme};

const SOURCE: &str = r#"
listen = ["[::]:8080"]

[lists]
office = ["10.0.0.0/8", "2001:db8::/32"]
asns = [64500, "64510..64520"]
hosts = { file = "hosts.txt", items = ["extra.test"], kind = "string" }

[pools.app]
servers = ["http://127.0.0.1:8001"]

[zones.shop]
hosts = ["*"]
pool = "app"

[[zones.shop.cache_rules]]
expression = '''
  ip.src in $office and ip.src.asnum in $asns and http.host in $hosts
  and regex_replace(http.request.uri.path, "^/(.*)/(.*)$", "/${2}/${1}") eq "/b/a"
'''
cache = "bypass"
"#;

fn config(hosts: &str) -> Config {
    let files = |path: &Path| match path.to_str() {
        Some("hosts.txt") => Ok(hosts.to_owned()),
        _ => Err("no such file".to_owned()),
    };
    let outside = Outside {
        env: &|_| None,
        files: &files,
    };
    parse_with("test.toml", SOURCE, outside).unwrap_or_else(|faults| panic!("{faults}"))
}

fn bypassed(config: &Config, host: &str, client: [u8; 4], asn: u32) -> bool {
    let headers = HeaderMap::new();
    let request = RequestView {
        method: &Method::GET,
        scheme: Scheme::Http,
        host,
        path: "/a/b",
        query: None,
        version: Version::HTTP_11,
        headers: &headers,
        client: IpAddr::from(client),
        session_cookie: false,
        has_body: false,
        facts: Facts {
            asn: Some(asn),
            ..Facts::default()
        },
    };
    let settings = config.zones[0].rules.cache_rules.evaluate(&request);
    settings.eligibility.value == Eligibility::Bypass
}

#[test]
fn rules_refer_to_lists_in_the_file_and_beside_it() {
    let config = config("# ours\na.test\n\nb.test # too\n");
    for (host, client, asn, expected) in [
        ("a.test", [10, 1, 2, 3], 64500, true),
        ("b.test", [10, 1, 2, 3], 64515, true),
        ("extra.test", [10, 1, 2, 3], 64500, true),
        ("c.test", [10, 1, 2, 3], 64500, false),
        ("a.test", [11, 1, 2, 3], 64500, false),
        ("a.test", [10, 1, 2, 3], 64501, false),
    ] {
        assert_eq!(bypassed(&config, host, client, asn), expected, "{host}");
    }
}

#[test]
fn a_list_in_a_file_tells_configurations_apart() {
    let one = config("a.test");
    assert_eq!(one, config("a.test\n# with a comment"));
    assert_ne!(one, config("b.test"));
}

#[test]
fn lists_of_others_hold_neither_private_addresses_nor_trusted_proxies() {
    let source = SOURCE
        .replace(
            "[lists]",
            "[client]\ntrusted_proxies = [\"203.0.113.0/24\", \"$edge\"]\n[lists]\n\
             edge = { file = \"edge\", format = \"netset\" }\n\
             drop = { file = \"drop\", format = \"netset\" }\n\
             ours = { file = \"drop\" }",
        )
        .replace("ip.src in $office", "LIST");
    let files = |path: &Path| match path.to_str() {
        Some("hosts.txt") => Ok("a.test\n".to_owned()),
        Some("edge") => Ok("198.51.100.0/25\n".to_owned()),
        Some("drop") => Ok("203.0.0.0/16\n198.51.100.0/24\n10.0.0.0/8\n".to_owned()),
        _ => Err("no such file".to_owned()),
    };
    for (list, client, listed) in [
        ("$drop", [203, 0, 112, 1], true),
        ("$drop", [203, 0, 113, 1], false),
        ("$drop", [198, 51, 100, 1], false),
        ("$drop", [198, 51, 100, 200], true),
        ("$drop", [10, 0, 0, 1], false),
        ("$ours", [203, 0, 113, 1], true),
        ("$ours", [10, 0, 0, 1], true),
    ] {
        let outside = Outside {
            env: &|_| None,
            files: &files,
        };
        let source = source.replace("LIST", &format!("ip.src in {list}"));
        let config = parse_with("test.toml", &source, outside);
        let config = config.unwrap_or_else(|faults| panic!("{faults}"));
        let bypassed = bypassed(&config, "a.test", client, 64_500);
        assert_eq!(bypassed, listed, "{client:?} in {list}");
    }
}
