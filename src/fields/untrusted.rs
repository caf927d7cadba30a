//! Fields that no client is believed.

use http::{HeaderName, Method};

/// Fields by which a proxy tells the app about the client, or an app lets the client override the
/// request. None of them is in the key: from a client they could change a shared response.
const CLIENTS_MAY_NOT_SEND: &[&str] = &[
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "fastly-client-ip",
    "fly-client-ip",
    "do-connecting-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-appengine-user-ip",
    "x-envoy-external-address",
    "x-nf-client-connection-ip",
    "x-vercel-forwarded-for",
    "incap-client-ip",
    "client-ip",
    "x-host",
    "x-http-host-override",
    "x-scheme",
    "x-url-scheme",
    "front-end-https",
    "x-request-id",
    "x-device-class",
    "x-country",
    "seawall-debug",
    "seawall-tier",
    // CGI makes it HTTP_PROXY (httpoxy, CVE-2016-5385).
    "proxy",
];

/// The same, by the beginning of their names.
const CLIENTS_MAY_NOT_SEND_ANY: &[&str] = &[
    "x-forwarded-",
    "x-original-",
    "x-rewrite-",
    "x-auth-request-",
    "x-accel-",
    "x-sendfile",
    // Next.js once took `x-middleware-subrequest` for its own (CVE-2025-29927).
    "x-middleware-",
    "x-invoke-",
    "x-matched-path",
    "x-script-name",
    "x-ssl-",
    "ssl-",
    "remote-user",
    "remote-addr",
    "base-url",
];

/// Fields that turn a GET into another method at the origin.
const METHOD_OVERRIDES: &[&str] = &[
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// Fields that make an app answer for another path or host, or pass its checks by.
const TARGET_OVERRIDES: &[&str] = &[
    "x-original-url",
    "x-original-uri",
    "x-original-host",
    "x-rewrite-url",
    "x-host",
    "x-http-host-override",
    "x-middleware-subrequest",
];

/// Whether the field would make the request of this method another one at the origin. None of these reaches
/// it.
pub fn overrides_request(name: &HeaderName, method: &Method) -> bool {
    TARGET_OVERRIDES.contains(&name.as_str()) || overrides_method(name, method)
}

/// Whether the field would make a request of a safe method one of another.
pub fn overrides_method(name: &HeaderName, method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && METHOD_OVERRIDES.contains(&name.as_str())
}

/// Whether the origin never gets the field from a client.
pub fn is_untrusted(name: &HeaderName) -> bool {
    let name = name.as_str();
    let mut beginnings = CLIENTS_MAY_NOT_SEND_ANY.iter();
    CLIENTS_MAY_NOT_SEND.contains(&name) || beginnings.any(|beginning| name.starts_with(beginning))
}
