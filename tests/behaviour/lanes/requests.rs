//! Requests out of a seed: mostly ordinary ones for a few URLs, so that many are hits, with
//! everything mixed in that clients may say.

use super::site::{DEBUG, KINDS, LAST_MODIFIED, RULES};
use crate::support::TOKEN;

/// Numbers that look random and follow from a seed (`SplitMix64`).
pub struct Dice {
    state: u64,
    /// The cookie of a client that has its variant of a split.
    split_cookie: String,
    /// Whether the conversation may have what is refused, which mostly ends it.
    wild: bool,
}

/// Bytes to be written at once, and what answers to wait for.
pub struct Packet {
    pub bytes: Vec<u8>,
    /// The methods of its requests.
    pub methods: Vec<String>,
    /// Whether it is written byte by byte.
    pub cut: bool,
}

impl Dice {
    pub fn new(seed: u64, split_cookie: &str) -> Self {
        let split_cookie = split_cookie.to_owned();
        Self {
            state: seed,
            split_cookie,
            wild: false,
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len())]
    }
}

const CHUNKED: &str = "5\r\nhello\r\n0\r\n\r\n";

/// What one connection sends, a packet after the answers to the one before.
pub fn conversation(dice: &mut Dice) -> Vec<Packet> {
    dice.wild = dice.one_in(4);
    let paths: Vec<String> = (0..=dice.below(2)).map(|_| path(dice)).collect();
    let mut packets: Vec<Packet> = (0..=dice.below(14)).map(|_| packet(dice, &paths)).collect();
    // However it went, this one tells whether the connection is still there, and ends it.
    let bytes =
        b"GET /plain/last HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n".to_vec();
    packets.push(Packet {
        bytes,
        methods: vec!["GET".to_owned()],
        cut: false,
    });
    packets
}

fn path(dice: &mut Dice) -> String {
    let rules = dice.of(RULES);
    // The second is rare enough to find most paths stored.
    let part = if dice.one_in(8) { "a/" } else { "" };
    format!("/{rules}/{part}{}", dice.of(KINDS))
}

fn packet(dice: &mut Dice, paths: &[String]) -> Packet {
    let count = match dice.below(10) {
        0..7 => 1,
        7 | 8 => 2,
        _ => 3,
    };
    let mut packet = Packet {
        bytes: Vec::new(),
        methods: Vec::new(),
        cut: dice.one_in(40),
    };
    for _ in 0..count {
        let path = &paths[dice.below(paths.len())];
        let method = method(dice);
        let request = request(dice, method, path);
        packet.bytes.extend_from_slice(request.as_bytes());
        packet.methods.push(method.to_owned());
        if request.ends_with(CHUNKED)
            || request.contains(
                "
Upgrade:",
            )
        {
            // What comes together with the end of a chunked body, or with an upgrade, may make
            // Pingora refuse that, depending on when it looks: either lane hands it such requests.
            break;
        }
    }
    packet
}

fn method(dice: &mut Dice) -> &'static str {
    match dice.below(100) {
        0..78 => "GET",
        78..89 => "HEAD",
        89..92 => "POST",
        92..94 => "OPTIONS",
        94..96 => "PURGE",
        96 => "DELETE",
        97 => "PUT",
        98 => "get",
        _ => "ODD",
    }
}

fn request(dice: &mut Dice, method: &str, path: &str) -> String {
    let host = match dice.below(24) {
        0..20 => dice.of(&["site.test", "site.test", "site.test", "second.test"]),
        _ if !dice.wild => dice.of(&["SITE.Test", "site.test:80", "site.test."]),
        _ => dice.of(&[
            "SITE.Test",
            "site.test:80",
            "site.test.",
            "www.site.test",
            "nowhere.test",
            "a@b",
            "",
            "site.test:81",
        ]),
    };
    let target = target(dice, host, path);
    let old = if dice.wild { 10 } else { 50 };
    let version = if dice.one_in(old) { "1.0" } else { "1.1" };
    let mut head = format!("{method} {target} HTTP/{version}\r\n");
    if !(version == "1.0" && dice.one_in(6)) {
        head += dice.of(&["Host", "Host", "Host", "host", "HOST"]);
        head += ": ";
        head += host;
        head += "\r\n";
    }
    for _ in 0..dice.below(4) {
        head += &field(dice);
        head += "\r\n";
    }
    let body = if matches!(method, "POST" | "PUT") || dice.one_in(60) {
        Some(body(dice))
    } else {
        None
    };
    let (framing, body) = body.unwrap_or_default();
    format!("{head}{framing}\r\n{body}")
}

fn body(dice: &mut Dice) -> (&'static str, &'static str) {
    match dice.below(8) {
        0..4 => ("Content-Length: 5\r\n", "hello"),
        4 | 5 => ("Transfer-Encoding: chunked\r\n", CHUNKED),
        6 => ("Content-Length: 0\r\n", ""),
        _ => (
            "Content-Length: 57\r\n",
            "GET /plain/smuggled HTTP/1.1\r\nHost: site.test\r\nX: 12345\r\n",
        ),
    }
}

fn target(dice: &mut Dice, host: &str, path: &str) -> String {
    let query = match dice.below(8) {
        0..5 => "",
        _ => dice.of(&[
            "?a=1",
            "?utm_source=x",
            "?b=2&a=1",
            "?a=1&b=2",
            "?",
            "?a=%31&utm_x=2",
            "?a={1}",
        ]),
    };
    let path = match dice.below(40) {
        0 => path.replacen('/', "//", 1),
        1 => path.replacen('/', "/x/../", 1),
        2 => path.replacen('/', "/./", 1),
        3 => path.replacen("/p", "/%70", 1),
        4 => path.replacen('e', "%65", 1),
        5..40 if !dice.wild => path.to_owned(),
        5 => format!("{path}%2f"),
        6 => format!("{path}/"),
        7 => format!("{path}%0a"),
        8 => format!("{path};x=1"),
        9 => format!("{path}%zz"),
        10 => "*".to_owned(),
        11 => format!("{path}{}", "x".repeat(600)),
        _ => path.to_owned(),
    };
    match dice.below(20) {
        0 => format!("http://{host}{path}{query}"),
        1 if dice.wild => {
            let odd = dice.of(&[
                "https://SITE.test",
                "http://",
                "ftp://site.test",
                "HTTP://site.test",
                "http://a@site.test",
                "http://site.test:80",
                "http:/",
                "http://[::1]",
                "//site.test",
                "http://site.test.",
            ]);
            format!("{odd}{path}{query}")
        }
        _ => format!("{path}{query}"),
    }
}

/// One field line, without its end.
fn field(dice: &mut Dice) -> String {
    let version = dice.below(4);
    match dice.below(30) {
        0..7 => condition(dice, version),
        7..10 => range(dice),
        10..13 => {
            let value = dice.of(&[
                "gzip",
                "br, gzip",
                "gzip, br",
                "gzip;q=0.5, br",
                "identity",
                "*",
                "",
            ]);
            format!("Accept-Encoding: {value}")
        }
        13..15 => format!(
            "Accept-Language: {}",
            dice.of(&["de", "en", "de, en;q=0.5", "fr", "en-GB,en", ""])
        ),
        15..18 => cookie(dice),
        18 => format!("Authorization: Bearer {}", dice.of(&[TOKEN, "secret", ""])),
        19 | 20 => {
            let value = dice.of(&[
                "no-cache",
                "no-store",
                "max-age=0",
                "only-if-cached",
                "min-fresh=7100",
                "max-stale",
                "max-age=100000, max-stale=5",
                "No-Cache",
                "max-age=x",
                "",
            ]);
            format!("Cache-Control: {value}")
        }
        21 => format!(
            "Connection: {}",
            dice.of(&[
                "close",
                "keep-alive",
                "Keep-Alive, X-Told",
                "X-Told, close",
                "cookie",
                "TE, close",
                ""
            ])
        ),
        22 => format!("X-User: {}", dice.of(&["one", "two", "three", ""])),
        23 => format!("X-Told: {}", dice.of(&["yes", "no", "  spaced  "])),
        24 => format!("Seawall-Debug: {}", dice.of(&[DEBUG, "wrong"])),
        25 => format!(
            "Accept: {}",
            dice.of(&[
                "text/html",
                "image/webp,*/*",
                "application/json",
                "IMAGE/AVIF, image/webp",
                "*/*;q=0.1",
                ""
            ])
        ),
        28 | 29 if !dice.wild => "X-Other: 1".to_owned(),
        26 => format!(
            "User-Agent: {}",
            dice.of(&[
                "Mozilla/5.0 (iPhone; Mobile)",
                "curl/8",
                "\u{e9}",
                "Mozilla/5.0 (iPad)",
                ""
            ])
        ),
        27 => dice
            .of(&[
                "Pragma: no-cache",
                "X_Told: yes",
                "X-Forwarded-For: 192.0.2.1",
                "X-Split-Hero: a",
                "X-Empty:",
                "Max-Forwards: 0",
                "TE: trailers",
            ])
            .to_owned(),
        28 => dice
            .of(&[
                "Expect: 100-continue",
                "Expect: other",
                "Upgrade: h2c",
                "Content-Length: 0",
                "X-Request-Id: mine",
                "If-Match: *",
                "If-Match: \"x\"",
                "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
            ])
            .to_owned(),
        _ => strange(dice),
    }
}

fn strange(dice: &mut Dice) -> String {
    match dice.below(12) {
        0 => "Host: other.test".to_owned(),
        1 => "X Y: a".to_owned(),
        2 => "X: a\nY: b".to_owned(),
        3 => " folded: a".to_owned(),
        4 => "Transfer-Encoding: gzip, chunked".to_owned(),
        5 => "Content-Length: +0".to_owned(),
        6 => format!("X-Long: {}", "a".repeat(5000)),
        7 => vec!["X: many"; 50].join("\r\n"),
        8 => format!("X-Long: {}", "b".repeat(1000)),
        9 => "Connection: close\r\nConnection: keep-alive".to_owned(),
        10 => "Range: bytes=0-1\r\nRange: bytes=2-3".to_owned(),
        _ => "Cookie: theme=dark\r\nCookie: currency=EUR\r\nCookie: sessionid=".to_owned(),
    }
}

fn condition(dice: &mut Dice, version: usize) -> String {
    match dice.below(12) {
        0..3 => format!("If-None-Match: \"{version}\""),
        3 => format!("If-None-Match: W/\"{version}\""),
        4 => format!("If-None-Match: \"x\", W/\"0\",\"{version}\""),
        5 => format!(
            "If-None-Match: {}",
            dice.of(&[
                "*",
                "",
                "x",
                "\"0",
                "W/0",
                ",",
                "\"x\"\r\nIf-None-Match: \"0\"",
                "\"0\", *"
            ])
        ),
        6 | 7 => format!("If-Modified-Since: {LAST_MODIFIED}"),
        8 => {
            let date = dice.of(&[
                "Sun, 06 Nov 1994 08:49:36 GMT",
                "Sun, 06 Nov 1994 08:49:38 GMT",
                "Sunday, 06-Nov-94 08:49:37 GMT",
                "Sun Nov  6 08:49:37 1994",
                "yesterday",
                "0",
                "",
                "Thu, 01 Jan 2099 00:00:00 GMT",
            ]);
            format!("If-Modified-Since: {date}")
        }
        9 => format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {LAST_MODIFIED}"),
        10 => format!("If-None-Match: \"{version}\"\r\nRange: bytes=0-3"),
        _ => format!("If-Range: \"{version}\"\r\nRange: bytes=0-3"),
    }
}

fn range(dice: &mut Dice) -> String {
    let range = dice.of(&[
        "bytes=0-3",
        "bytes=2-",
        "bytes=-4",
        "bytes=0-0",
        "bytes=0-0,2-3",
        "bytes=0-5,3-9, -1",
        "bytes=100000-200000",
        "bytes=999999999-",
        "bytes=-0",
        "bytes=3-2",
        "bytes=a-b",
        "items=0-1",
        "bytes=0-99999999",
        "BYTES=0-1",
        "bytes=",
        "bytes=0-1,4-5,8-9,12-13,16-17",
        "bytes=10-60000",
        "bytes= 0-1",
        "bytes=18446744073709551615-",
    ]);
    let condition = match dice.below(5) {
        0 => format!("\r\nIf-Range: \"{}\"", dice.below(2)),
        1 => format!(
            "\r\nIf-Range: {}",
            dice.of(&[
                LAST_MODIFIED,
                "W/\"0\"",
                "Sun, 06 Nov 1994 08:49:38 GMT",
                "x",
                ""
            ])
        ),
        _ => String::new(),
    };
    format!("Range: {range}{condition}")
}

fn cookie(dice: &mut Dice) -> String {
    if dice.one_in(5) {
        return format!("Cookie: {}", dice.split_cookie);
    }
    let cookies = dice.of(&[
        "theme=dark",
        "currency=EUR",
        "currency=USD; theme=x",
        "sessionid=secret",
        "a=1; sessionid=x; currency=EUR",
        "seawall_split_hero=b.forged",
        "",
        "=",
        "csrftoken=1",
        "currency=EUR; currency=USD",
    ]);
    format!("Cookie: {cookies}")
}
