//! Who a client is: the peer, or whom trusted proxies say that they speak for. And what clients are counted by.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::fields::untrusted::is_untrusted;
use crate::request::Scheme;
use crate::rules::List;

/// Most hops that are followed from the peer towards the client.
const MOST_HOPS: usize = 32;

const X_FORWARDED_PROTO: &str = "x-forwarded-proto";

/// What limits and counters know a client by: an IPv4 address, or the 64 bits of an IPv6 address that are one
/// customer's, with the others zero. An IPv4 address written as an IPv6 one is the IPv4 address, and so is one that
/// a gateway makes an IPv6 address of: behind it all of IPv4 would be one client, and one host many.
pub fn client_key(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            if let Some(translated) = translated(address) {
                return IpAddr::V4(translated);
            }
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// The IPv4 address that an address of NAT64 (RFC 6052 §2.1) or 6to4 (RFC 3056 §2) stands for.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let two = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(two(high, low)),
        _ => None,
    }
}

/// Networks, some of them by the names of lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Those that are written where they are used.
    pub own: List,
    /// Those of lists.
    pub lists: Vec<Arc<List>>,
}

impl Networks {
    /// Whether `address`, which is no IPv4 address written as IPv6, is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let mut lists = self.lists.iter();
        self.own.contains_address(address) || lists.any(|list| list.contains_address(address))
    }

    /// The lists that they are of.
    pub fn parts(&self) -> impl Iterator<Item = &List> {
        let lists = self.lists.iter().map(AsRef::as_ref);
        std::iter::once(&self.own).chain(lists)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.own.kind().is_none() && self.lists.is_empty()
    }
}

/// Whom to believe what about clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Proxies that are believed.
    pub proxies: Networks,
    /// The fields that they say it in; the first that a request has counts.
    pub fields: Vec<ClientField>,
    /// Whether they are believed the scheme as well.
    pub forwarded_proto: bool,
}

impl Trust {
    /// Takes out the fields that speak of clients in this configuration alone. Those that do everywhere never
    /// reach an origin.
    pub fn remove_spoken(&self, fields: &mut HeaderMap) {
        for field in &self.fields {
            if let ClientField::Single(name) = field
                && !is_untrusted(name)
            {
                fields.remove(name);
            }
        }
    }
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            proxies: Networks::default(),
            fields: vec![ClientField::XForwardedFor],
            forwarded_proto: false,
        }
    }
}

/// A field in which a proxy says whom it speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientField {
    /// `X-Forwarded-For`, a list.
    XForwardedFor,
    /// `Forwarded` (RFC 7239), a list.
    Forwarded,
    /// One that holds a single address, such as `CF-Connecting-IP`.
    Single(HeaderName),
}

impl ClientField {
    /// The field of this name.
    pub fn of(name: HeaderName) -> Self {
        match name.as_str() {
            "x-forwarded-for" => Self::XForwardedFor,
            "forwarded" => Self::Forwarded,
            _ => Self::Single(name),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
            Self::Single(name) => name.as_str(),
        }
    }
}

/// Who a client is, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity<'t> {
    /// The client.
    pub client: IpAddr,
    /// The trusted proxies that the request came by, from the client's side to the peer. None where the peer is
    /// the client.
    pub hops: Hops,
    /// What the proxies say of the client's scheme, where that is believed.
    pub scheme: Option<Scheme>,
    /// The field that says so; `None` where the peer is the client.
    pub by: Option<&'t ClientField>,
}

/// Proxies that a request came by.
pub type Hops = SmallVec<[IpAddr; 1]>;

/// Finds out who sent a request with these fields. A field is read from its end: each trusted hop vouches for the
/// one before it, so that the first that is not trusted is the client, whatever stands further left. What cannot
/// be read ends it as well: then the last trusted hop counts.
pub fn identify<'t>(peer: IpAddr, fields: &HeaderMap, trust: &'t Trust) -> Identity<'t> {
    let peer = peer.to_canonical();
    let mut identity = Identity {
        client: peer,
        hops: Hops::new(),
        scheme: None,
        by: None,
    };
    if trust.proxies.is_empty() || !trust.proxies.contains(peer) {
        return identity;
    }
    let mut there = trust.fields.iter();
    let field = there.find(|field| fields.contains_key(field.name()));
    let mut scheme = None;
    if let Some(field) = field {
        identity.by = Some(field);
        scheme = identity.follow(field, fields, trust);
    }
    if trust.forwarded_proto {
        identity.scheme = scheme.or_else(|| only(fields, X_FORWARDED_PROTO).and_then(scheme_of));
    }
    identity.hops.reverse();
    identity
}

impl Identity<'_> {
    /// Goes from hop to hop; what the one next to the client says of the scheme.
    fn follow(&mut self, field: &ClientField, fields: &HeaderMap, trust: &Trust) -> Option<Scheme> {
        let lines = fields.get_all(field.name()).iter().rev();
        let lines = lines.map(HeaderValue::as_bytes);
        match field {
            ClientField::Single(name) => {
                let node = only(fields, name.as_str()).and_then(address);
                self.hop(node, trust);
                None
            }
            ClientField::XForwardedFor => {
                let elements = lines.flat_map(|line| line.rsplit(|byte| *byte == b','));
                let mut elements = elements.filter(|element| !element.trim_ascii().is_empty());
                let _ = elements.all(|element| self.hop(address(element), trust));
                None
            }
            ClientField::Forwarded => {
                let mut scheme = None;
                let mut elements = lines.flat_map(forwarded);
                let _ = elements.all(|element| {
                    let element = read_element(element).unwrap_or_default();
                    if element.node.is_some() {
                        scheme = element.scheme;
                    }
                    self.hop(element.node, trust)
                });
                scheme
            }
        }
    }

    /// Takes the hop before the last one, where that is known; whether there may be another.
    fn hop(&mut self, before: Option<IpAddr>, trust: &Trust) -> bool {
        let Some(before) = before.filter(|_| self.hops.len() < MOST_HOPS) else {
            return false;
        };
        self.hops.push(self.client);
        self.client = before;
        trust.proxies.contains(before)
    }
}

/// The value of a field that is there once.
fn only<'f>(fields: &'f HeaderMap, name: &str) -> Option<&'f [u8]> {
    let mut values = fields.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

fn scheme_of(text: &[u8]) -> Option<Scheme> {
    let text = text.trim_ascii();
    if text.eq_ignore_ascii_case(b"https") {
        return Some(Scheme::Https);
    }
    text.eq_ignore_ascii_case(b"http").then_some(Scheme::Http)
}

/// An address as proxies write it: with a port or without, IPv6 in brackets or without.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        let address = address.parse::<Ipv6Addr>().ok().filter(|_| fits)?;
        IpAddr::V6(address)
    } else if let Ok(address) = text.parse() {
        address
    } else {
        let (address, port) = text.split_once(':')?;
        let address = address.parse::<Ipv4Addr>().ok();
        IpAddr::V4(address.filter(|_| is_port(port))?)
    };
    Some(address.to_canonical())
}

/// RFC 7239 §6: it may be obfuscated.
fn is_port(text: &str) -> bool {
    text.starts_with('_') || text.parse::<u16>().is_ok()
}

/// One element of a Forwarded field (RFC 7239 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Element {
    /// `None` for an unknown or obfuscated node as well (RFC 7239 §6.2, §6.3).
    node: Option<IpAddr>,
    scheme: Option<Scheme>,
}

/// The elements of a line, the last first. They are told apart from the end of the line: what a client has sent
/// stands before what proxies put behind it, and no quote that it leaves open may swallow that.
fn forwarded(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    let elements = std::iter::from_fn(move || {
        let line = rest?;
        let Some(comma) = last_comma(line) else {
            return rest.take();
        };
        rest = line.get(..comma);
        line.get(comma + 1..)
    });
    elements.filter(|element| !element.trim_ascii().is_empty())
}

/// Where the last comma is that is outside of quotes.
fn last_comma(line: &[u8]) -> Option<usize> {
    let mut quoted = false;
    line.iter().enumerate().rev().find_map(|(at, byte)| {
        match byte {
            b'"' if quoted => {
                let before = line.get(..at).unwrap_or_default().iter().rev();
                let escapes = before.take_while(|byte| **byte == b'\\').count();
                quoted = escapes % 2 == 1;
            }
            b'"' => quoted = true,
            b',' if !quoted => return Some(at),
            _ => {}
        }
        None
    })
}

fn read_element(element: &[u8]) -> Option<Element> {
    let (mut read, mut named) = (Element::default(), false);
    for pair in split(element, b';')? {
        if pair.trim_ascii().is_empty() {
            continue;
        }
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (pair.get(..equals)?.trim_ascii(), pair.get(equals + 1..)?);
        let value = unquoted(value.trim_ascii())?;
        if name.eq_ignore_ascii_case(b"for") {
            // RFC 7239 §4: each parameter once.
            if std::mem::replace(&mut named, true) {
                return None;
            }
            read.node = address(&value);
        } else if name.eq_ignore_ascii_case(b"proto") {
            read.scheme = scheme_of(&value);
        }
    }
    Some(read)
}

/// The parts between separators that are outside of quotes; `None` when a quote does not end.
fn split(text: &[u8], separator: u8) -> Option<SmallVec<[&[u8]; 4]>> {
    let mut parts = SmallVec::new();
    let (mut from, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            byte if *byte == separator && !quoted => {
                parts.push(text.get(from..at)?);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(from..)?);
    (!quoted).then_some(parts)
}

/// What a token or a quoted string stands for (RFC 9110 §5.6.4).
fn unquoted(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(rest) = value.strip_prefix(b"\"") else {
        return (!value.contains(&b'"')).then_some(Cow::Borrowed(value));
    };
    let inside = rest.strip_suffix(b"\"")?;
    if !inside.contains(&b'\\') {
        return Some(Cow::Borrowed(inside));
    }
    let mut out = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(byte) = bytes.next() {
        out.push(*if *byte == b'\\' { bytes.next()? } else { byte });
    }
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::ListKind;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn trust(fields: &[&str]) -> Trust {
        let items = ["10.0.0.0/8", "2001:db8:ffff::/48"];
        let items = items.into_iter().enumerate();
        let fields = fields.iter();
        Trust {
            proxies: Networks {
                own: List::new(Some(ListKind::Ip), items).unwrap(),
                lists: Vec::new(),
            },
            fields: fields
                .map(|name| ClientField::of(name.parse().unwrap()))
                .collect(),
            forwarded_proto: true,
        }
    }

    fn fields(lines: &[(&str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        fields
    }

    /// The client and the hops behind it, of a request with these X-Forwarded-For lines.
    fn walked(peer: &str, lines: &[&str]) -> (String, Vec<String>) {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("x-forwarded-for", *line))
            .collect();
        let trust = trust(&["x-forwarded-for"]);
        let identity = identify(ip(peer), &fields(&lines), &trust);
        let hops = identity.hops.iter().map(ToString::to_string);
        (identity.client.to_string(), hops.collect())
    }

    #[test]
    fn clients_are_counted_by_address_or_by_64_bits() {
        for (client, key) in [
            ("203.0.113.9", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            // By way of NAT64, and of 6to4.
            ("64:ff9b::203.0.113.9", "203.0.113.9"),
            ("2002:cb00:7109:2:3:4:5:6", "203.0.113.9"),
            ("64:ff9b:1::203.0.113.9", "64:ff9b:1::"),
        ] {
            assert_eq!(client_key(ip(client)), ip(key));
        }
    }

    #[test]
    fn the_first_hop_from_the_right_that_is_not_trusted_is_the_client() {
        for (peer, lines, client, hops) in [
            ("203.0.113.1", vec!["198.51.100.7"], "203.0.113.1", vec![]),
            ("10.0.0.1", vec![], "10.0.0.1", vec![]),
            (
                "10.0.0.1",
                vec!["198.51.100.7"],
                "198.51.100.7",
                vec!["10.0.0.1"],
            ),
            (
                "10.0.0.1",
                vec!["1.1.1.1, 198.51.100.7 ,10.0.0.2"],
                "198.51.100.7",
                vec!["10.0.0.2", "10.0.0.1"],
            ),
            (
                "::ffff:10.0.0.1",
                vec!["1.1.1.1", "198.51.100.7", "10.0.0.3, 10.0.0.2"],
                "198.51.100.7",
                vec!["10.0.0.3", "10.0.0.2", "10.0.0.1"],
            ),
            (
                "10.0.0.1",
                vec!["10.0.0.3,10.0.0.2"],
                "10.0.0.3",
                vec!["10.0.0.2", "10.0.0.1"],
            ),
            (
                "10.0.0.1",
                vec!["[2001:db8::7]:4711"],
                "2001:db8::7",
                vec!["10.0.0.1"],
            ),
            (
                "10.0.0.1",
                vec!["2001:db8::7"],
                "2001:db8::7",
                vec!["10.0.0.1"],
            ),
            (
                "10.0.0.1",
                vec!["::ffff:198.51.100.7"],
                "198.51.100.7",
                vec!["10.0.0.1"],
            ),
            (
                "10.0.0.1",
                vec!["198.51.100.7:80, , "],
                "198.51.100.7",
                vec!["10.0.0.1"],
            ),
        ] {
            let hops: Vec<String> = hops.into_iter().map(str::to_owned).collect();
            assert_eq!(walked(peer, &lines), (client.to_owned(), hops), "{lines:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_ends_at_the_last_trusted_hop() {
        for malformed in [
            "unknown",
            "evil",
            "198.51.100.7:http",
            "198.51.100.7:99999",
            "[::1",
            "[::1]x",
            "1.2.3",
            "1.2.3.4.5",
            "fe80::1%eth0",
            "\"198.51.100.7\"",
            "198.51.100.7;1",
        ] {
            assert_eq!(
                walked("10.0.0.1", &[malformed]).0,
                "10.0.0.1",
                "{malformed}"
            );
            let line = format!("198.51.100.7, {malformed}, 10.0.0.2");
            assert_eq!(walked("10.0.0.1", &[&line]).0, "10.0.0.2", "{malformed}");
        }
    }

    #[test]
    fn the_first_field_of_the_list_that_is_there_counts() {
        let trust = trust(&["cf-connecting-ip", "forwarded"]);
        for (lines, client, by) in [
            (vec![("x-forwarded-for", "192.0.2.1")], "10.0.0.1", None),
            (
                vec![
                    ("forwarded", "for=192.0.2.1"),
                    ("cf-connecting-ip", "192.0.2.2"),
                ],
                "192.0.2.2",
                Some("cf-connecting-ip"),
            ),
            (
                vec![("forwarded", "for=192.0.2.1")],
                "192.0.2.1",
                Some("forwarded"),
            ),
            (
                vec![
                    ("cf-connecting-ip", "192.0.2.2"),
                    ("cf-connecting-ip", "192.0.2.3"),
                ],
                "10.0.0.1",
                Some("cf-connecting-ip"),
            ),
            (
                vec![("cf-connecting-ip", "192.0.2.2, 1.1.1.1")],
                "10.0.0.1",
                Some("cf-connecting-ip"),
            ),
        ] {
            let fields = fields(&lines);
            let identity = identify(ip("10.0.0.1"), &fields, &trust);
            assert_eq!(identity.client, ip(client), "{lines:?}");
            assert_eq!(identity.by.map(ClientField::name), by);
        }
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_has_it() {
        let trust = trust(&["forwarded"]);
        for (line, client, scheme) in [
            ("for=192.0.2.1", "192.0.2.1", None),
            (
                "For=\"[2001:db8::7]:47\";proto=https;by=10.0.0.9",
                "2001:db8::7",
                Some(Scheme::Https),
            ),
            (
                "for=192.0.2.1;proto=http, for=10.0.0.2;proto=https",
                "192.0.2.1",
                Some(Scheme::Http),
            ),
            ("for=1.1.1.1, for=\"192.0.2.1:_x\"", "192.0.2.1", None),
            ("for=1.1.1.1, for=unknown, for=10.0.0.2", "10.0.0.2", None),
            ("for=1.1.1.1, for=_hidden", "10.0.0.1", None),
            ("for=192.0.2.1;host=\"a,b;for=9.9.9.9\"", "192.0.2.1", None),
            ("for=1.1.1.1, by=10.0.0.2", "10.0.0.1", None),
            ("for=192.0.2.1;for=192.0.2.2", "10.0.0.1", None),
            ("for=\"192.0.2.1", "10.0.0.1", None),
            ("for=\"192.0.2.\\1\"", "192.0.2.1", None),
            // A client leaves a quote open, to be taken for the proxy.
            ("for=\", for=192.0.2.1", "192.0.2.1", None),
            (
                "for=1.1.1.1;by=\"\\, for=\"192.0.2.1:80\"",
                "192.0.2.1",
                None,
            ),
            (
                "for=1.1.1.1;by=\"a\\\", for=\"192.0.2.1\"",
                "192.0.2.1",
                None,
            ),
            ("for=unknown;for=192.0.2.1", "10.0.0.1", None),
        ] {
            let fields = fields(&[("forwarded", line)]);
            let identity = identify(ip("10.0.0.1"), &fields, &trust);
            assert_eq!(
                (identity.client, identity.scheme),
                (ip(client), scheme),
                "{line}"
            );
        }
    }

    #[test]
    fn the_scheme_is_believed_of_trusted_proxies_alone() {
        let fields = fields(&[
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "HTTPS"),
        ]);
        let mut trust = trust(&["x-forwarded-for"]);
        let scheme = |peer, trust: &Trust| identify(ip(peer), &fields, trust).scheme;
        assert_eq!(scheme("10.0.0.1", &trust), Some(Scheme::Https));
        assert_eq!(scheme("192.0.2.9", &trust), None);
        trust.forwarded_proto = false;
        assert_eq!(scheme("10.0.0.1", &trust), None);
    }

    fn hop() -> impl Strategy<Value = String> {
        prop_oneof![
            (1..=3_u8).prop_map(|last| format!("10.0.0.{last}")),
            any::<Ipv4Addr>().prop_map(|address| address.to_string()),
            any::<Ipv6Addr>().prop_map(|address| format!("[{address}]:80")),
            "[ -~]{0,12}",
        ]
    }

    proptest! {
        /// Whatever a client writes, what the proxies append decides.
        #[test]
        fn nothing_to_the_left_of_the_client_changes_who_it_is(
            forged in proptest::collection::vec(hop(), 0..5),
            client in any::<Ipv4Addr>(),
            proxies in 0..3_usize,
            lines in any::<bool>(),
        ) {
            prop_assume!(client.octets()[0] != 10);
            let mut elements: Vec<String> = forged;
            elements.push(client.to_string());
            elements.extend((0..proxies).map(|last| format!("10.0.0.{last}")));
            let (found, hops) = if lines {
                let lines: Vec<&str> = elements.iter().map(String::as_str).collect();
                walked("10.0.0.9", &lines)
            } else {
                walked("10.0.0.9", &[&elements.join(", ")])
            };
            prop_assert_eq!(found, client.to_string());
            prop_assert_eq!(hops.len(), proxies + 1);
        }

        #[test]
        fn forwarded_never_fails(line in "[ -~]{0,60}") {
            let _ = forwarded(line.as_bytes()).count();
        }

        #[test]
        fn nothing_in_a_forwarded_line_changes_what_proxies_put_behind_it(
            forged in "[ -~]{0,30}|[,\"\\\\=;a]{0,8}",
            client in any::<Ipv4Addr>(),
            quoted in any::<bool>(),
        ) {
            prop_assume!(client.octets()[0] != 10);
            let own = if quoted {
                format!("for=\"{client}:80\";by=\"10.0.0.2\"")
            } else {
                format!("for={client}")
            };
            let line = format!("{forged}, {own}, for=\"10.0.0.2\";proto=https");
            let trust = trust(&["forwarded"]);
            let identity = identify(ip("10.0.0.9"), &fields(&[("forwarded", &line)]), &trust);
            prop_assert_eq!(identity.client, IpAddr::V4(client));
        }
    }
}
