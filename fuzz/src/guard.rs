//! What clients send to pass a challenge.

use http::{HeaderMap, HeaderValue, Method, Version};
use seawall::config::Challenge;
use seawall::guard::challenge::{
    Keys, PATH, Redeemed, SOLUTION, Spent, Visitor, clearance, redeem,
};
use seawall::request::{Facts, RequestView, Scheme};

use super::text;

/// Nobody passes by what nobody signed: one line is a solution, a query and a cookie in turn.
pub(super) fn challenge(data: &[u8]) {
    let keys = Keys::new(b"0123456789abcdef");
    let (settings, spent) = (Challenge::default(), Spent::default());
    for line in data.split(|byte| *byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(line) else {
            continue;
        };
        let mut headers = HeaderMap::new();
        headers.insert(SOLUTION, value.clone());
        headers.insert(http::header::COOKIE, value);
        let clearance = clearance(&headers, Scheme::Https);
        let visitor = Visitor {
            keys: Some(&keys),
            zone: "shop",
            clearance: clearance.as_ref(),
            under_attack: true,
        };
        for method in [&Method::POST, &Method::GET] {
            let request = RequestView {
                method,
                scheme: Scheme::Https,
                host: "shop.test",
                path: PATH,
                query: text(line),
                version: Version::HTTP_11,
                headers: &headers,
                client: [192, 0, 2, 1].into(),
                session_cookie: false,
                has_body: false,
                facts: Facts {
                    unix_seconds: 1_800_000_000,
                    ..Facts::default()
                },
            };
            let redeemed = redeem(&keys, &visitor, &request, &settings, &spent, 1);
            assert!(matches!(
                redeemed,
                Redeemed::Refused | Redeemed::State(false)
            ));
        }
    }
}
