//! Whether a response is what its URL's extension promises.
//!
//! Web cache deception lures a victim to `/account/x.css`: the origin answers with the account
//! page, and a cache that goes by the extension keeps it for everyone.

use http::{HeaderMap, header::CONTENT_TYPE};

/// Whether the path ends like an asset while the response is a page.
pub(super) fn is_page_under_asset_name(path: &str, headers: &HeaderMap) -> bool {
    has_asset_extension(path)
        && headers
            .get_all(CONTENT_TYPE)
            .iter()
            .any(|value| is_page(value.as_bytes()))
}

fn has_asset_extension(path: &str) -> bool {
    let segment = path.rsplit('/').next().unwrap_or_default();
    segment.rsplit_once('.').is_some_and(|(_, extension)| {
        ASSET_EXTENSIONS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(extension))
    })
}

fn is_page(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next();
    let media_type = media_type.unwrap_or_default().trim_ascii();
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
