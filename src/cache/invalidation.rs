//! Which stored responses an unsafe request makes invalid (RFC 9111 §4.4).

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, Method, StatusCode};

use super::target::Target;
use crate::request::RequestView;

/// A URI whose stored responses are to be invalidated, with its whole query: what a key drops of it
/// is for the caller to drop.
pub type Invalidated = Target;

/// The URIs that an answer invalidates, each once: the target, and what Location and
/// Content-Location name at the same origin. None for a safe method or an error.
///
/// A method that is not known may change anything, so it counts as unsafe.
pub fn invalidated(
    method: &Method,
    status: StatusCode,
    request: &RequestView<'_>,
    response: &HeaderMap,
) -> Vec<Invalidated> {
    let error = !(status.is_success() || status.is_redirection());
    if error || is_safe(method) {
        return Vec::new();
    }
    let named = [LOCATION, CONTENT_LOCATION]
        .into_iter()
        .flat_map(|name| response.get_all(name))
        .filter_map(|line| Target::resolve(request, line.as_bytes()));
    let mut found = vec![Target::of(request)];
    for target in named {
        if !found.contains(&target) {
            found.push(target);
        }
    }
    found
}

/// RFC 9110 §9.2.1.
fn is_safe(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{get, map};
    use super::*;

    fn paths(method: &str, status: u16, response: &[(&'static str, &str)]) -> Vec<String> {
        let headers = map(&[]);
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = RequestView {
            method: &method,
            ..get("/cart", &headers)
        };
        let status = StatusCode::from_u16(status).unwrap();
        invalidated(&method, status, &request, &map(response))
            .into_iter()
            .map(|target| target.path)
            .collect()
    }

    #[test]
    fn rfc9111_4_4_unsafe_methods_that_succeed_invalidate_the_target() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "FOO"] {
            for status in [200, 201, 204, 299, 303, 307] {
                assert_eq!(paths(method, status, &[]), ["/cart"], "{method} {status}");
            }
            for status in [100, 400, 404, 500, 503, 599, 999] {
                assert!(paths(method, status, &[]).is_empty(), "{method} {status}");
            }
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            assert!(paths(method, 200, &[]).is_empty(), "{method}");
        }
    }

    #[test]
    fn rfc9111_4_4_location_and_content_location_of_the_same_origin_too() {
        let fields = [
            ("location", "/order/7"),
            ("content-location", "cart/lines"),
            ("content-location", "/cart"),
            ("location", "https://elsewhere.example/order/8"),
        ];
        assert_eq!(
            paths("POST", 201, &fields),
            ["/cart", "/order/7", "/cart/lines"]
        );
        assert!(paths("POST", 500, &fields).is_empty());
    }
}
