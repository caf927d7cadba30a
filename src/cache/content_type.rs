//! Whether a response is what its URL's extension promises.
//!
//! Web cache deception lures a victim to `/account/x.css`: the origin answers with the account
//! page, and a cache that goes by the extension keeps it for everyone.

use http::{HeaderMap, header::CONTENT_TYPE};

/// Whether a successful response has another type than its URL's extension promises, or none.
/// Only extensions whose types are well known make a promise.
pub(super) fn breaks_promise(path: &str, headers: &HeaderMap) -> bool {
    let Some(extension) = extension(path) else {
        return false;
    };
    let extension = extension.to_ascii_lowercase();
    let promised = PROMISES
        .iter()
        .find(|(extensions, _)| extensions.contains(&extension.as_str()));
    let Some((_, types)) = promised else {
        return false;
    };
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    match (given.next(), given.next()) {
        (Some(one), None) => {
            let media_type = media_type(one.as_bytes()).to_ascii_lowercase();
            !types
                .iter()
                .any(|promised| media_type.starts_with(promised.as_bytes()))
        }
        _ => true,
    }
}

/// Extensions and the beginnings of the types that fit them.
const PROMISES: &[(&[&str], &[&str])] = &[
    (&["css"], &["text/css"]),
    (
        &["js", "mjs"],
        &[
            "text/javascript",
            "application/javascript",
            "application/x-javascript",
            "text/ecmascript",
            "application/ecmascript",
        ],
    ),
    (
        &[
            "png", "jpg", "jpeg", "gif", "webp", "avif", "svg", "ico", "bmp", "tif", "tiff",
        ],
        &["image/"],
    ),
    (
        &["woff", "woff2", "ttf", "otf", "eot"],
        &[
            "font/",
            "application/font",
            "application/x-font",
            "application/vnd.ms-fontobject",
            "application/octet-stream",
        ],
    ),
    (&["wasm"], &["application/wasm", "application/octet-stream"]),
    (
        &["mp4", "webm", "mov"],
        &["video/", "audio/", "application/octet-stream"],
    ),
    (
        &["mp3", "wav", "flac", "aac"],
        &["audio/", "application/octet-stream"],
    ),
];

/// Whether the path ends like an asset while the response is a page.
pub(super) fn is_page_under_asset_name(path: &str, headers: &HeaderMap) -> bool {
    has_asset_extension(path)
        && headers
            .get_all(CONTENT_TYPE)
            .iter()
            .any(|value| is_page(value.as_bytes()))
}

fn has_asset_extension(path: &str) -> bool {
    extension(path).is_some_and(|extension| {
        ASSET_EXTENSIONS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(extension))
    })
}

fn extension(path: &str) -> Option<&str> {
    let segment = path.rsplit('/').next().unwrap_or_default();
    segment.rsplit_once('.').map(|(_, extension)| extension)
}

fn media_type(content_type: &[u8]) -> &[u8] {
    let media_type = content_type.split(|byte| *byte == b';').next();
    media_type.unwrap_or_default().trim_ascii()
}

fn is_page(content_type: &[u8]) -> bool {
    let media_type = media_type(content_type);
    [&b"text/html"[..], b"application/xhtml+xml"]
        .iter()
        .any(|page| page.eq_ignore_ascii_case(media_type))
}

/// Extensions that never name a page: style, script, image, font, sound, film, archive, document.
const ASSET_EXTENSIONS: [&str; 46] = [
    "7z", "aac", "apk", "avif", "bin", "bmp", "bz2", "css", "csv", "dmg", "doc", "docx", "eot",
    "exe", "flac", "gif", "gz", "ico", "iso", "jar", "jpeg", "jpg", "js", "json", "map", "mjs",
    "mov", "mp3", "mp4", "ogg", "otf", "pdf", "png", "ppt", "pptx", "svg", "tar", "tif", "tiff",
    "ttf", "wasm", "wav", "webm", "webp", "woff", "woff2",
];

#[cfg(test)]
mod tests {
    use super::super::fixtures::map;
    use super::*;

    #[test]
    fn only_the_promised_type_is_believed() {
        for (path, content_type, breaks) in [
            ("/x.css", Some("text/css; charset=utf-8"), false),
            ("/x.css", Some("application/json"), true),
            ("/x.css", None, true),
            ("/x.JS", Some("Text/JavaScript"), false),
            ("/x.js", Some("text/plain"), true),
            ("/x.svg", Some("image/svg+xml"), false),
            ("/x.woff2", Some("application/octet-stream"), false),
            ("/x.pdf", Some("text/plain"), false),
            ("/x", None, false),
        ] {
            let headers = content_type.map_or_else(HeaderMap::new, |t| map(&[("content-type", t)]));
            assert_eq!(
                breaks_promise(path, &headers),
                breaks,
                "{path} {content_type:?}"
            );
        }
    }

    #[test]
    fn pages_under_asset_names_are_recognised() {
        let table = [
            ("/account/x.css", "text/html", true),
            ("/account;x.CSS", "Text/HTML; charset=utf-8", true),
            ("/account%2fx.js", "application/xhtml+xml", true),
            ("/x.css", "text/css", false),
            ("/x.png", "image/png", false),
            ("/x.css", "", false),
            ("/x.html", "text/html", false),
            ("/x", "text/html", false),
            ("/v1.css/x", "text/html", false),
            ("", "text/html", false),
        ];
        for (path, content_type, expected) in table {
            let headers = map(&[("content-type", content_type)]);
            assert_eq!(is_page_under_asset_name(path, &headers), expected, "{path}");
        }
        assert!(!is_page_under_asset_name("/x.css", &HeaderMap::new()));
    }
}
