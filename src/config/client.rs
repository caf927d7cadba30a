//! `[client]`: whom to believe about clients, and limits and deadlines towards them.

use std::time::Duration;

use http::HeaderName;

use super::file::{SHORTEST, bounded_size, put, put_number};
use super::reader::{Located, Section};
use crate::guard::client::{ClientField, Networks, Trust};
use crate::guard::connections::ClientLimits;
use crate::guard::pace::MinRate;
use crate::rules::{List, ListFault, ListKind, Lists};

/// So slow is nobody who wants an answer.
const LEAST: MinRate = MinRate {
    bytes: 100,
    over: Duration::from_secs(30),
};

/// Limits and deadlines towards clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Deadline for a whole request head, from its first byte.
    pub header_timeout: Duration,
    /// How long a keep-alive connection may stay idle.
    pub idle_timeout: Duration,
    /// Longest pause between two reads of a request body.
    pub body_timeout: Duration,
    /// Longest time one write to the client may take.
    pub write_timeout: Duration,
    /// Largest request head in bytes, request line included.
    pub max_header_size: usize,
    /// Most header fields in a request.
    pub max_headers: usize,
    /// Longest request target in bytes.
    pub max_uri_length: usize,
    /// Largest request body in bytes.
    pub max_body_size: u64,
    /// Who is believed about clients.
    pub trust: Trust,
    /// What one client may do.
    pub limits: ClientLimits,
    /// The least that a client sends of a body.
    pub min_body_rate: MinRate,
    /// The least that a client takes of an answer.
    pub min_read_rate: MinRate,
    /// Connections at a time; by default some of the open files that the process may have stay free.
    pub max_connections: Option<u32>,
    /// TLS handshakes at a time; by default half of the connections.
    pub max_tls_handshakes: Option<u32>,
    /// Requests served on one HTTP/1 connection before it is closed.
    pub max_requests_per_connection: u32,
    /// Concurrent HTTP/2 streams per connection.
    pub http2_max_streams: u32,
    /// Streams of an HTTP/2 connection that may be reset at once; a tenth of that a second.
    pub http2_max_resets: u32,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_mins(1),
            max_header_size: 32 << 10,
            max_headers: 100,
            max_uri_length: 8 << 10,
            max_body_size: 100 << 20,
            trust: Trust::default(),
            limits: ClientLimits::default(),
            min_body_rate: LEAST,
            min_read_rate: LEAST,
            max_connections: None,
            max_tls_handshakes: None,
            max_requests_per_connection: 10_000,
            http2_max_streams: 100,
            http2_max_resets: 200,
        }
    }
}

pub(super) fn read_client(section: Section<'_>, lists: &Lists) -> Client {
    let mut client = Client::default();
    put(
        &mut client.header_timeout,
        section.duration_of("header_timeout", SHORTEST),
    );
    put(
        &mut client.idle_timeout,
        section.duration_of("idle_timeout", SHORTEST),
    );
    put(
        &mut client.body_timeout,
        section.duration_of("body_timeout", SHORTEST),
    );
    put(
        &mut client.write_timeout,
        section.duration_of("write_timeout", SHORTEST),
    );
    // Pingora's own ceilings: 1 MiB of head and 256 fields.
    put_number(
        &mut client.max_header_size,
        bounded_size(&section, "max_header_size", 1024..=1_000_000),
    );
    put_number(
        &mut client.max_headers,
        section.integer("max_headers", 8..=250),
    );
    put_number(
        &mut client.max_uri_length,
        bounded_size(&section, "max_uri_length", 256..=1_000_000),
    );
    put(&mut client.max_body_size, section.size("max_body_size"));
    client.max_connections = some_number(&section, "max_connections");
    client.max_tls_handshakes = some_number(&section, "max_tls_handshakes");
    client.limits = ClientLimits {
        connections: some_number(&section, "max_connections_per_client"),
        connection_rate: some_rate(&section, "connection_rate_per_client"),
        request_rate: some_rate(&section, "request_rate_per_client"),
    };
    client.trust = read_trust(&section, lists);
    read_rates(&section, &mut client);
    put_number(
        &mut client.max_requests_per_connection,
        section.integer("max_requests_per_connection", 1..=u64::from(u32::MAX)),
    );
    put_number(
        &mut client.http2_max_streams,
        section.integer("http2_max_streams", 1..=10_000),
    );
    put_number(
        &mut client.http2_max_resets,
        section.integer("http2_max_resets", 10..=1_000_000),
    );
    section.finish();
    client
}

fn some_number(section: &Section<'_>, key: &'static str) -> Option<u32> {
    let number = section.integer(key, 1..=u64::from(u32::MAX))?;
    u32::try_from(number.value).ok()
}

/// So many a second.
fn some_rate(section: &Section<'_>, key: &'static str) -> Option<u32> {
    let number = section.integer(key, 1..=1_000_000)?;
    u32::try_from(number.value).ok()
}

fn read_rates(section: &Section<'_>, client: &mut Client) {
    put(
        &mut client.min_body_rate.bytes,
        bounded_size(section, "min_body_rate", 0..=1 << 20),
    );
    put(
        &mut client.min_read_rate.bytes,
        bounded_size(section, "min_read_rate", 0..=1 << 20),
    );
    let over = section.duration_of("min_rate_over", Duration::from_secs(1));
    if let Some(over) = over {
        client.min_body_rate.over = over.value;
        client.min_read_rate.over = over.value;
    }
}

fn read_trust(section: &Section<'_>, lists: &Lists) -> Trust {
    let mut trust = Trust::default();
    if let Some(proxies) = read_networks(section, "trusted_proxies", lists) {
        trust.proxies = proxies;
    }
    if let Some(names) = section.strings("trusted_headers") {
        let fields = names.into_iter();
        trust.fields = fields
            .filter_map(|name| read_field(section, name))
            .collect();
    }
    put(
        &mut trust.forwarded_proto,
        section.boolean("trust_forwarded_proto"),
    );
    trust
}

fn read_field(section: &Section<'_>, name: Located<String>) -> Option<ClientField> {
    let Ok(field) = HeaderName::try_from(name.value.as_str()) else {
        let message = format!("`{}` is not a field name", name.value);
        section.reader.fault(name.span, message, None);
        return None;
    };
    Some(ClientField::of(field))
}

/// Addresses, networks, ranges, and lists as `$name`.
pub(super) fn read_networks(
    section: &Section<'_>,
    key: &'static str,
    lists: &Lists,
) -> Option<Networks> {
    let mut networks = Networks::default();
    let mut own = Vec::new();
    for item in section.strings(key)? {
        let Some(name) = item.value.strip_prefix('$') else {
            own.push(item);
            continue;
        };
        match lists.get(name) {
            Some(list) if list.kind().is_none_or(|kind| kind == ListKind::Ip) => {
                networks.lists.push(list.clone());
            }
            found => {
                let message = match found {
                    Some(_) => format!("the list `${name}` does not hold IP addresses"),
                    None => format!("there is no list `${name}`"),
                };
                section.reader.fault(item.span, message, None);
            }
        }
    }
    let told = |fault: ListFault| {
        if let Some(item) = own.get(fault.place) {
            let help = "write an address, a network such as \"10.0.0.0/8\", or a list as \"$name\"";
            let better = fault.help.filter(|help| help.starts_with("write"));
            let help = better.unwrap_or(help.to_owned());
            (section.reader).fault(item.span.clone(), fault.message, Some(help));
        }
    };
    let kind = (!own.is_empty()).then_some(ListKind::Ip);
    let texts = own.iter().map(|item| item.value.as_str()).enumerate();
    match List::new(kind, texts) {
        Ok(list) => networks.own = list,
        Err(faults) => faults.into_iter().for_each(told),
    }
    Some(networks)
}
