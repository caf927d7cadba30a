//! Who a client is, as proxies write it; frames of HTTP/2.

use std::net::IpAddr;
use std::time::Duration;

use seawall::guard::client::{ClientField, Networks, Trust, identify};
use seawall::guard::http2::Http2Watch;
use seawall::guard::proxy_header;
use seawall::rules::List;

use super::message;

/// Whatever stands in the fields, what the trusted proxy appends is the client, and the same from request to
/// request.
pub(super) fn client(data: &[u8]) {
    let own = List::new(None, [(0, "10.0.0.0/8")]);
    let names = ["x-forwarded-for", "forwarded", "x-real-ip"];
    let trust = |name: &str| Trust {
        proxies: Networks {
            own: own.clone().unwrap_or_default(),
            lists: Vec::new(),
        },
        fields: name.parse().map(ClientField::of).into_iter().collect(),
        forwarded_proto: true,
    };
    let peer = IpAddr::from([10, 0, 0, 1]);
    let mut fields = message(data);
    for name in names {
        let trust = trust(name);
        let known = identify(peer, &fields, &trust);
        assert_eq!(known, identify(peer, &fields, &trust));
    }
    if let Ok(appended) = "198.51.100.7".parse() {
        fields.append("x-forwarded-for", appended);
    }
    let trust = trust("x-forwarded-for");
    let known = identify(peer, &fields, &trust);
    assert_eq!(known.client, IpAddr::from([198, 51, 100, 7]));
}

/// A header is whole as soon as it is there, not before, whatever follows.
pub(super) fn proxy_header(data: &[u8]) {
    let Ok(Some(header)) = proxy_header::read(data) else {
        return;
    };
    let (whole, _) = data.split_at(header.length);
    assert_eq!(proxy_header::read(whole), Ok(Some(header)));
    for length in 0..whole.len().min(200) {
        let (part, _) = whole.split_at(length);
        assert_eq!(proxy_header::read(part), Ok(None));
    }
}

/// What passes is counted the same in one piece and byte by byte.
pub(super) fn frames(data: &[u8]) {
    let now = Duration::from_secs(1);
    let (mut whole, mut pieces) = (Http2Watch::new(u32::MAX), Http2Watch::new(u32::MAX));
    let (one, sent) = (whole.received(data, now), whole.sent(data, now));
    let count = |watch: &mut Http2Watch| {
        let bytes = data.chunks(1);
        let received: u32 = bytes.map(|byte| watch.received(byte, now).resets).sum();
        let bytes = data.chunks(1);
        let sent: u32 = bytes.map(|byte| watch.sent(byte, now).resets).sum();
        (received, sent)
    };
    assert_eq!(count(&mut pieces), (one.resets, sent.resets));
    assert_eq!(whole.goodbye(), pieces.goodbye());
}
