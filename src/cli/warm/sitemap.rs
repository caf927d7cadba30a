//! Lists of URLs: sitemaps (sitemaps.org 0.9), indexes of sitemaps, and plain text, a URL a line.

use std::io::Read;

use flate2::read::GzDecoder;
use quick_xml::Reader;
use quick_xml::events::Event;

/// Largest list, uncompressed: what sitemaps.org allows.
pub(super) const LARGEST: u64 = 50 << 20;

/// What a list names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// Pages.
    Pages(Vec<String>),
    /// Further lists.
    Sitemaps(Vec<String>),
}

/// Reads a list, compressed by gzip or not.
///
/// # Errors
/// Why it is none.
pub(super) fn parse(bytes: &[u8]) -> Result<Listing, String> {
    let mut unpacked = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unpacking = GzDecoder::new(bytes).take(LARGEST + 1);
        let read = unpacking.read_to_end(&mut unpacked);
        read.map_err(|error| format!("it cannot be unpacked: {error}"))?;
    } else {
        unpacked.extend_from_slice(bytes);
    }
    if u64::try_from(unpacked.len()).unwrap_or(u64::MAX) > LARGEST {
        return Err("it is larger than 50 MiB".to_owned());
    }
    let text = String::from_utf8(unpacked).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.starts_with('<') {
        return xml(text);
    }
    let lines = text.lines().map(str::trim);
    let urls = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(Listing::Pages(urls.map(str::to_owned).collect()))
}

/// Takes the `<loc>` of every `<url>` or `<sitemap>`; those of images and videos are no pages.
fn xml(text: &str) -> Result<Listing, String> {
    let mut reader = Reader::from_str(text);
    let (mut pages, mut sitemaps) = (Vec::new(), Vec::new());
    let mut path: Vec<Vec<u8>> = Vec::new();
    let mut location = String::new();
    loop {
        let at = reader.buffer_position();
        let malformed = |error: &dyn std::fmt::Display| format!("at byte {at}: {error}");
        match reader.read_event().map_err(|error| malformed(&error))? {
            Event::Start(start) => path.push(start.name().as_ref().to_vec()),
            Event::End(_) => {
                let list = match path.iter().map(Vec::as_slice).collect::<Vec<_>>()[..] {
                    [_, b"url", b"loc"] => Some(&mut pages),
                    [_, b"sitemap", b"loc"] => Some(&mut sitemaps),
                    _ => None,
                };
                if let Some(list) = list {
                    list.push(location.trim().to_owned());
                    location.clear();
                }
                path.pop();
            }
            Event::Text(text) if is_location(&path) => {
                location.push_str(&text.decode().map_err(|error| malformed(&error))?);
            }
            Event::CData(text) if is_location(&path) => {
                location.push_str(&text.decode().map_err(|error| malformed(&error))?);
            }
            Event::GeneralRef(name) if is_location(&path) => {
                let name = name.decode().map_err(|error| malformed(&error))?;
                let entity = format!("&{name};");
                let meant = quick_xml::escape::unescape(&entity);
                location.push_str(&meant.map_err(|error| malformed(&error))?);
            }
            Event::Eof if path.is_empty() => break,
            Event::Eof => return Err("it ends too early".to_owned()),
            _ => {}
        }
    }
    match (pages.is_empty(), sitemaps.is_empty()) {
        (_, true) => Ok(Listing::Pages(pages)),
        (true, false) => Ok(Listing::Sitemaps(sitemaps)),
        (false, false) => Err("it is a sitemap and an index of sitemaps at once".to_owned()),
    }
}

fn is_location(path: &[Vec<u8>]) -> bool {
    path.len() == 3 && path.last().is_some_and(|name| name == b"loc")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const SITEMAP: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"
        xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
  <url><loc> https://shop.test/a?x=1&amp;y=2&#38;z=3 </loc><lastmod>2026-01-01</lastmod>
    <image:image><image:loc>https://shop.test/a.jpg</image:loc></image:image></url>
  <url><loc><![CDATA[https://shop.test/b]]></loc></url>
</urlset>"#;

    fn pages(urls: &[&str]) -> Listing {
        Listing::Pages(urls.iter().copied().map(str::to_owned).collect())
    }

    #[test]
    fn a_sitemap_names_pages_and_not_their_images() {
        let wanted = pages(&["https://shop.test/a?x=1&y=2&z=3", "https://shop.test/b"]);
        assert_eq!(parse(SITEMAP.as_bytes()).as_ref(), Ok(&wanted));
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(SITEMAP.as_bytes()).unwrap();
        assert_eq!(parse(&packed.finish().unwrap()), Ok(wanted));
    }

    #[test]
    fn an_index_names_further_sitemaps() {
        let index =
            "<sitemapindex><sitemap><loc>https://shop.test/1.xml</loc></sitemap></sitemapindex>";
        let wanted = Listing::Sitemaps(vec!["https://shop.test/1.xml".to_owned()]);
        assert_eq!(parse(index.as_bytes()), Ok(wanted));
    }

    #[test]
    fn a_text_is_a_url_a_line() {
        let text = "\u{feff}# the shop\nhttps://shop.test/a\r\n\n  https://shop.test/b\n";
        let wanted = pages(&["https://shop.test/a", "https://shop.test/b"]);
        assert_eq!(parse(text.as_bytes()), Ok(wanted));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for bad in [
            &b"<urlset><url><loc>https://shop.test/</loc></url>"[..],
            b"<urlset></wrong>",
            b"\xff\xfe",
            b"\x1f\x8bnothing",
            b"<urlset><url><loc>&nothing;</loc></url></urlset>",
        ] {
            assert!(parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
