//! The kind of device a request comes from, as far as a page's layout cares.

use http::HeaderMap;
use http::header::USER_AGENT;

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// A phone.
    Mobile,
    /// A tablet.
    Tablet,
    /// Everything else, robots included.
    Desktop,
}

impl Device {
    /// The word for it: what `X-Device-Class` tells the origin.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Tablet => "tablet",
            Self::Desktop => "desktop",
        }
    }
}

const TABLETS: &[&str] = &["ipad", "tablet", "playbook", "kindle"];
const PHONES: &[&str] = &[
    "mobi", // Chrome, Firefox and Safari on phones; Googlebot's smartphone
    "phone",
    "ipod",
    "blackberry",
    "opera mini",
    "palm",
    "windows ce",
    "avantgo",
    "docomo",
    "kaios",
];

/// The kind of device by `Sec-CH-UA-Mobile: ?1` (User-Agent Client Hints) or User-Agent.
pub fn device(headers: &HeaderMap) -> Device {
    let hint = headers.get("sec-ch-ua-mobile");
    if hint.is_some_and(|hint| hint.as_bytes() == b"?1") {
        return Device::Mobile;
    }
    let agent = headers
        .get(USER_AGENT)
        .map(|agent| agent.as_bytes().to_ascii_lowercase())
        .unwrap_or_default();
    let names = |word: &str| {
        agent
            .windows(word.len())
            .any(|found| found == word.as_bytes())
    };
    let any = |words: &[&str]| words.iter().any(|word| names(word));
    if any(TABLETS) {
        Device::Tablet
    } else if any(PHONES) {
        Device::Mobile
    } else if any(&["android", "silk"]) {
        // Android says "Mobile" on phones alone.
        Device::Tablet
    } else {
        Device::Desktop
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::map;
    use super::*;

    #[test]
    fn agents_are_told_apart_as_pages_care() {
        for (agent, expected) in [
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148 Safari/604.1",
                Device::Mobile,
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36",
                Device::Mobile,
            ),
            (
                "Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0",
                Device::Mobile,
            ),
            (
                "Opera/9.80 (J2ME/MIDP; Opera Mini/7.1) Presto/2.8.119",
                Device::Mobile,
            ),
            (
                "Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) Version/12.1 Mobile/15E148 Safari/604.1",
                Device::Tablet,
            ),
            (
                "Mozilla/5.0 (Linux; Android 13; SM-X906C) AppleWebKit/537.36 Chrome/126.0 Safari/537.36",
                Device::Tablet,
            ),
            (
                "Mozilla/5.0 (Android 14; Tablet; rv:127.0) Gecko/127.0 Firefox/127.0",
                Device::Tablet,
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36",
                Device::Desktop,
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) Version/17.5 Safari/605.1.15",
                Device::Desktop,
            ),
            ("curl/8.8.0", Device::Desktop),
            ("", Device::Desktop),
        ] {
            assert_eq!(device(&map(&[("user-agent", agent)])), expected, "{agent}");
        }
        assert_eq!(device(&map(&[])), Device::Desktop);
    }

    #[test]
    fn a_hint_that_says_mobile_comes_first() {
        let hinted = |hint| map(&[("sec-ch-ua-mobile", hint), ("user-agent", "Android 13")]);
        assert_eq!(device(&hinted("?1")), Device::Mobile);
        assert_eq!(device(&hinted("?0")), Device::Tablet);
    }
}
